//! What the servers' disks would hold if the power failed now: of each file what was there at its last sync, of each
//! directory the names that were. `hooks` tells of the syncs; [`cut`] leaves, of what came later, all, nothing or some of it.
//!
//! Harsher than most disks: sectors of an unsynced file survive or not one by one, whatever their order was. The names of a
//! directory survive all or none. Only where the store of names lives, a file's sync keeps its name, too, as on every
//! journaling file system: that store is not ours.
//!
//! A disk can also be slow, full, or failing ([`trouble`]): `hooks` asks before each call that would wait for it.

use super::world;
use parking_lot::Mutex;
use raidfs_tests::dice::Dice;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What a disk writes whole or not at all, in bytes.
const SECTOR: usize = 512;

/// A file's length, and its bytes where it is not a hole.
#[derive(Clone, PartialEq, Eq)]
struct Content {
    length: u64,
    pieces: BTreeMap<u64, Vec<u8>>,
}

#[derive(Default)]
struct Disks {
    root: PathBuf,
    /// By inode number.
    files: BTreeMap<u64, Content>,
    /// By directory: inode numbers by name.
    names: BTreeMap<PathBuf, BTreeMap<OsString, u64>>,
}

static DISKS: Mutex<Option<Disks>> = Mutex::new(None);

/// What is wrong with a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Every operation takes so long, in milliseconds.
    Slow(u64),
    /// The same of chunks alone.
    SlowChunks(u64),
    /// The same of syncs alone.
    SlowSyncs(u64),
    /// Nothing is free.
    Full,
    /// Calls of this kind fail (EIO), on these files.
    Fails(Call, Part),
}

/// What is asked of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Bytes of a file.
    Read,
    /// To change a file.
    Write,
    /// To make a file or a directory durable.
    Sync,
}

/// Files of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The chunks.
    Chunks,
    /// The log.
    Log,
    /// All of them.
    All,
}

/// What is wrong with whose disk, by directory; without an entry: nothing ever was.
static TROUBLES: Mutex<BTreeMap<PathBuf, Option<Trouble>>> = Mutex::new(BTreeMap::new());
/// Something is wrong with one of them.
static IN_TROUBLE: AtomicBool = AtomicBool::new(false);

/// From now on the disk of the server with this directory is so; None: it is well.
pub fn trouble(dir: &Path, trouble: Option<Trouble>) {
    let mut troubles = TROUBLES.lock();
    if trouble.is_some() || troubles.contains_key(dir) {
        troubles.insert(dir.to_owned(), trouble);
    }
    IN_TROUBLE.store(troubles.values().any(Option::is_some), Ordering::SeqCst);
}

/// Whether something was ever wrong with the disk of a server.
pub fn had_trouble(dir: &Path) -> bool {
    TROUBLES.lock().contains_key(dir)
}

thread_local! {
    /// What this thread reads and writes, it does for this account.
    static OWN: Cell<bool> = const { Cell::new(false) };
}

/// Does something with the account, by calls that no disk gets in the way of.
fn account<R>(work: impl FnOnce(&mut Disks) -> R) -> Option<R> {
    OWN.set(true);
    let done = DISKS.lock().as_mut().map(work);
    OWN.set(false);
    done
}

fn trouble_of(fd: RawFd) -> Option<(Trouble, PathBuf)> {
    if !IN_TROUBLE.load(Ordering::SeqCst) || OWN.get() {
        return None;
    }
    let path = fs::read_link(format!("/proc/self/fd/{fd}")).ok()?;
    let troubles = TROUBLES.lock();
    let found = troubles.iter().find(|(dir, _)| path.starts_with(dir)).and_then(|(_, trouble)| *trouble);
    found.map(|trouble| (trouble, path))
}

/// Waits as long as the disk takes for this call on a descriptor. False: it fails.
pub fn serves(fd: RawFd, call: Call) -> bool {
    let Some((trouble, path)) = trouble_of(fd) else { return true };
    let of = |room: &str| path.iter().any(|name| name == room);
    match trouble {
        Trouble::SlowChunks(_) if !of("chunks") && !of("notes") => true,
        Trouble::SlowSyncs(_) if call != Call::Sync => true,
        Trouble::Slow(millis) | Trouble::SlowChunks(millis) | Trouble::SlowSyncs(millis) => {
            world::rest(Duration::from_millis(millis));
            true
        }
        Trouble::Full => true,
        Trouble::Fails(what, part) => {
            let there = match part {
                Part::Chunks => of("chunks") || of("notes"),
                Part::Log => of("log"),
                Part::All => true,
            };
            !there || what != call
        }
    }
}

/// Whether what is read of this descriptor may be in memory.
pub fn is_at_hand(fd: RawFd) -> bool {
    !matches!(trouble_of(fd), Some((Trouble::Slow(_) | Trouble::SlowChunks(_) | Trouble::Fails(Call::Read, _), _)))
}

/// Whether the disk of this descriptor is full.
pub fn is_full(fd: RawFd) -> bool {
    matches!(trouble_of(fd), Some((Trouble::Full, _)))
}

/// The machine with this directory is lost, with all that it had.
pub fn lose(dir: &Path) {
    account(|disks| {
        if dir.is_dir() {
            remove(dir);
        }
        disks.names.retain(|path, _| !path.starts_with(dir));
    });
}

/// From now on syncs below `root` are kept account of.
pub fn begin(root: &Path) {
    *DISKS.lock() = Some(Disks { root: root.to_owned(), ..Disks::default() });
}

/// This descriptor's file or directory was synced.
pub fn synced(fd: RawFd) {
    account(|disks| {
        if let Some(path) = disks.path_of(fd) {
            disks.keep(&path, fd);
        }
    });
}

/// Everything on the disk that this descriptor's file is on was synced: all that its server has.
pub fn all_synced(fd: RawFd) {
    account(|disks| {
        let Some(path) = disks.path_of(fd) else { return };
        if let Some(server) = path.strip_prefix(&disks.root).ok().and_then(|below| below.iter().next()) {
            disks.keep_all(&disks.root.join(server));
        }
    });
}

/// The power of the machine with this directory fails. `all`: whatever was not synced is gone.
pub fn cut(dir: &Path, all: bool, dice: &mut Dice) {
    account(|disks| {
        disks.cut(dir, all, dice);
        disks.names.retain(|path, _| !path.starts_with(dir));
        disks.keep_all(dir);
    });
}

impl Disks {
    fn path_of(&self, fd: RawFd) -> Option<PathBuf> {
        let path = fs::read_link(format!("/proc/self/fd/{fd}")).ok()?;
        path.starts_with(&self.root).then_some(path)
    }

    fn keep(&mut self, path: &Path, fd: RawFd) {
        let file = File::open(format!("/proc/self/fd/{fd}")).expect("what is synced can be read");
        let meta = file.metadata().expect("an open file");
        if meta.is_dir() {
            self.names.insert(path.to_owned(), listing(path));
            return;
        }
        self.files.insert(meta.ino(), content(&file));
        if let (Some(dir), Some(name)) = (path.parent(), path.file_name())
            && is_foreign(path)
        {
            self.names.entry(dir.to_owned()).or_default().insert(name.to_owned(), meta.ino());
        }
    }

    fn keep_all(&mut self, dir: &Path) {
        self.names.insert(dir.to_owned(), listing(dir));
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            match File::open(&path) {
                Ok(_) if path.is_dir() => self.keep_all(&path),
                Ok(file) => {
                    let ino = file.metadata().expect("an open file").ino();
                    self.files.insert(ino, content(&file));
                }
                Err(_) => {}
            }
        }
    }

    fn cut(&mut self, dir: &Path, all: bool, dice: &mut Dice) {
        let current = listing(dir);
        // A directory that was never synced is younger than anything that relies on it, or belongs to the test.
        let durable = self.names.get(dir).cloned().unwrap_or_else(|| current.clone());
        let left = if all || dice.once_in(2) { durable } else { current.clone() };
        for (name, ino) in &current {
            if left.get(name) != Some(ino) {
                remove(&dir.join(name));
            }
        }
        for (name, ino) in left {
            let path = dir.join(&name);
            if current.get(&name) != Some(&ino) {
                // It was removed or replaced, and that is undone.
                if let Some(durable) = self.files.get(&ino) {
                    write(&path, durable);
                }
            } else if path.is_dir() {
                self.cut(&path, all, dice);
            } else if let Ok(file) = File::open(&path) {
                let now = content(&file);
                let durable = self.files.get(&ino).cloned().unwrap_or(Content { length: 0, pieces: BTreeMap::new() });
                if now != durable {
                    write(&path, &if all { durable } else { mixed(&durable, &now, dice) });
                }
            }
        }
    }
}

/// Whether a file belongs to the store of names.
fn is_foreign(path: &Path) -> bool {
    path.iter().any(|part| part == "names")
}

fn listing(dir: &Path) -> BTreeMap<OsString, u64> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some((entry.file_name(), entry.metadata().ok()?.ino()))).collect()
}

fn remove(path: &Path) {
    let gone = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    gone.expect("a directory of the test can be changed");
}

fn seek(file: &File, at: u64, whence: libc::c_int) -> Option<u64> {
    // SAFETY: plain numbers and an open descriptor of our own.
    let found = unsafe { libc::lseek(file.as_raw_fd(), at as libc::off_t, whence) };
    u64::try_from(found).ok()
}

fn content(file: &File) -> Content {
    let length = file.metadata().map_or(0, |meta| meta.len());
    let mut pieces = BTreeMap::new();
    let mut at = 0;
    while let Some(start) = seek(file, at, libc::SEEK_DATA) {
        at = seek(file, start, libc::SEEK_HOLE).unwrap_or(length);
        let mut bytes = vec![0; (at - start) as usize];
        file.read_exact_at(&mut bytes, start).expect("a file of the test can be read");
        pieces.insert(start, bytes);
    }
    Content { length, pieces }
}

fn write(path: &Path, content: &Content) {
    let write = || {
        let file = File::create(path)?;
        content.pieces.iter().try_for_each(|(start, bytes)| file.write_all_at(bytes, *start))?;
        file.set_len(content.length)
    };
    write().expect("a file of the test can be written");
}

/// What is left of a file: as it was synced, as it was, or some sectors of the one and some of the other.
fn mixed(durable: &Content, now: &Content, dice: &mut Dice) -> Content {
    let kind = dice.below(3);
    if kind < 2 {
        return if kind == 0 { durable.clone() } else { now.clone() };
    }
    let length = if dice.once_in(2) { durable.length } else { now.length };
    let sectors = |content: &Content| {
        let mut found: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
        for (start, bytes) in &content.pieces {
            for (at, byte) in (*start..).zip(bytes) {
                let sector = found.entry(at / SECTOR as u64).or_insert_with(|| vec![0; SECTOR]);
                sector[(at % SECTOR as u64) as usize] = *byte;
            }
        }
        found
    };
    let (old, mut new) = (sectors(durable), sectors(now));
    let all: Vec<u64> = old.keys().chain(new.keys()).copied().collect();
    for at in all {
        if old.get(&at) != new.get(&at) && dice.once_in(2) {
            match old.get(&at) {
                Some(bytes) => drop(new.insert(at, bytes.clone())),
                None => drop(new.remove(&at)),
            }
        }
    }
    let mut pieces: BTreeMap<u64, Vec<u8>> = new.into_iter().map(|(at, bytes)| (at * SECTOR as u64, bytes)).collect();
    pieces.retain(|start, _| *start < length);
    for (start, bytes) in &mut pieces {
        bytes.truncate((length - start) as usize);
    }
    Content { length, pieces }
}
