//! Whose a data directory is: found out, or made so, before anything in it is opened.
//!
//! ```text
//! DIR/identity   cluster, server, format and the directory's number, in text with a checksum; written once, last of all
//! DIR/life       which life of the server this is, in which boot of the machine, and whether it ended cleanly
//! DIR/lock       held by the process that uses the directory, and its number
//! DIR/names, DIR/log, DIR/chunks, DIR/notes       (the witness has only log)
//! ```
//!
//! A directory without `identity` is taken only if it is empty or holds nothing but the beginnings of one; whatever else
//! it is, it is refused and not touched. Once there is an identity, everything else that belongs to it has been there,
//! so what is missing later is damage. What is made or taken is for its owner alone (mode 0700): the bytes of everybody's
//! files lie there, and the modes of the files mean nothing in it. Driven by the server's start, and by offline tools through [`OfflineDir`].

mod life;
mod record;

pub use life::Life;

use crate::chunk::io;
use life::LifeRecord;
use parking_lot::Mutex;
use raidfs_common::id::{ClusterId, Incarnation, ServerId};
use record::Unreadable;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The format of data directories that this program makes, and the only one that it opens.
pub const FORMAT: u32 = 1;

const IDENTITY: &str = "identity";
const LIFE: &str = "life";
const LOCK: &str = "lock";
/// The mode of a data directory.
const PRIVATE: u32 = 0o700;
const UNFINISHED: &str = ".new";
const ROOMS: [&str; 4] = ["names", "log", "chunks", "notes"];
const WITNESS_ROOMS: [&str; 1] = ["log"];

/// Who a directory belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster's configured name.
    pub cluster: String,
    /// Its identity.
    pub cluster_id: ClusterId,
    /// Which server of it.
    pub server: ServerId,
}

/// Why a directory is not used. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Another process has it.
    #[error("{} is already used by process {process}; stop that one first (each server has a directory of its own)", dir.display())]
    InUse {
        /// Which directory.
        dir: PathBuf,
        /// The process, as it says itself.
        process: String,
    },
    /// Another cluster's.
    #[error(
        "{} belongs to the cluster {found:?}, and the configuration says {wanted:?}; give the directory of this cluster, or an empty one", dir.display()
    )]
    OtherCluster {
        /// Which directory.
        dir: PathBuf,
        /// The cluster it is of.
        found: String,
        /// The cluster that was asked for.
        wanted: String,
    },
    /// Another server's.
    #[error("{} is the data of {found}, not of {wanted}; start {found} with it, or give the directory of {wanted}", dir.display())]
    OtherServer {
        /// Which directory.
        dir: PathBuf,
        /// The server it is of.
        found: ServerId,
        /// The server that was asked for.
        wanted: ServerId,
    },
    /// Written by a newer program.
    #[error("{} has format {found}, and this program knows format {FORMAT}; use the newer program that wrote it", dir.display())]
    Newer {
        /// Which directory.
        dir: PathBuf,
        /// Its format.
        found: u32,
    },
    /// Ours, but not whole.
    #[error(
        "{}: {what}; restore it, or, if this server's mirror is well, give it up (`raidfs replace`) and start with an empty directory: \
         all is copied back",
        dir.display()
    )]
    Damaged {
        /// Which directory.
        dir: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// Something else's.
    #[error("{} is no data directory of raidfs and not empty (it holds {holds:?}); give a new or an empty directory", dir.display())]
    NotOurs {
        /// Which directory.
        dir: PathBuf,
        /// Something in it.
        holds: String,
    },
    /// The system said no.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
}

/// A data directory that is this process's as long as this lives.
#[derive(Debug)]
pub struct DataDir {
    root: PathBuf,
    identity: Identity,
    life: Life,
    book: Arc<LifeBook>,
    _lock: File,
}

/// What is written down of this life, for whoever finds something out about it.
#[derive(Debug)]
pub struct LifeBook {
    root: PathBuf,
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    record: LifeRecord,
    disk_failed: bool,
}

impl DataDir {
    /// Whether there is a data directory, whosever it is: opening it makes nothing then.
    pub fn is_made(root: &Path) -> bool {
        root.join(IDENTITY).exists()
    }

    /// Opens a server's data directory, making it if there is none, and begins a new life in it. What begins is durable
    /// before this returns.
    pub fn open(root: &Path, wanted: &Identity) -> Result<DataDir, IdentityError> {
        DataDir::open_after(root, wanted, false)
    }

    /// The same; `distrusted`: the life before could not write down that its disk had failed.
    pub fn open_after(root: &Path, wanted: &Identity, distrusted: bool) -> Result<DataDir, IdentityError> {
        let fresh = match record::read(&root.join(IDENTITY)) {
            Err(Unreadable::Missing) => {
                beginnings(root)?;
                true
            }
            _ => false,
        };
        if fresh {
            make_private(root).map_err(failed("make", root))?;
        }
        say_if_open(root);
        let lock = lock(root)?;
        if fresh {
            // Again, as another process may have made it meanwhile.
            if let Err(Unreadable::Missing) = record::read(&root.join(IDENTITY)) {
                make(root, wanted)?;
            }
        }
        let (identity, directory) = check(root, wanted)?;
        let (life, record) = life::begin(root, directory, distrusted)?;
        Ok(DataDir { root: root.to_owned(), identity, life, book: LifeBook::new(root, record), _lock: lock })
    }

    /// Whose it is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// This life of the server.
    pub fn life(&self) -> Life {
        self.life
    }

    /// Its number.
    pub fn incarnation(&self) -> Incarnation {
        self.life.incarnation
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the witness writes down which data directories the cluster knows.
    pub fn lives(&self) -> PathBuf {
        self.root.join("lives")
    }

    /// Where the namespace's tables are.
    pub fn names(&self) -> PathBuf {
        self.root.join("names")
    }

    /// Where the log is.
    pub fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    /// Where the chunks are.
    pub fn chunks(&self) -> PathBuf {
        self.root.join("chunks")
    }

    /// Where it is written down which cuts were carried out.
    pub fn cuts(&self) -> PathBuf {
        self.root.join("cuts")
    }

    /// Where it is written down how far the chunks are looked through.
    pub fn scrub(&self) -> PathBuf {
        self.root.join("scrub")
    }

    /// Where it is written down that the last life ended with every change whole.
    pub fn settled(&self) -> PathBuf {
        self.root.join("settled")
    }

    /// Where the write intents are.
    pub fn notes(&self) -> PathBuf {
        self.root.join("notes")
    }

    /// Ends this life cleanly: to be called last, once everything in the directory is durable.
    pub fn end_cleanly(self) -> Result<(), IdentityError> {
        self.book.note(|kept| kept.record.clean = true)
    }

    /// Something that was acknowledged may be missing here: lives start as after a power loss, whatever the machine
    /// does, until [`DataDir::trust`]. A life that does start so needs not say it again.
    pub fn distrust(&self) -> Result<(), IdentityError> {
        self.book.note(|kept| kept.record.distrusted = true)
    }

    /// Whatever was missing here is there again, or the others know that it is not. Nothing makes up in this life for a disk
    /// that failed in it.
    pub fn trust(&self) -> Result<(), IdentityError> {
        self.book.note(|kept| kept.record.distrusted = kept.disk_failed)
    }

    /// What was missing because the directory was made empty has all been brought to it: from now on it holds a copy.
    pub fn fill(&self) -> Result<(), IdentityError> {
        self.book.note(|kept| kept.record.empty = false)
    }

    /// What is written down of this life.
    pub fn book(&self) -> Arc<LifeBook> {
        self.book.clone()
    }
}

impl LifeBook {
    fn new(root: &Path, record: LifeRecord) -> Arc<LifeBook> {
        let kept = Mutex::new(Kept { record, disk_failed: false });
        Arc::new(LifeBook { root: root.to_owned(), kept })
    }

    /// The disk failed to keep something: the next life starts as after a power loss, however soon that is. Durable when
    /// this returns. Blocking.
    pub fn disk_failed(&self) -> Result<(), IdentityError> {
        self.note(|kept| {
            kept.disk_failed = true;
            kept.record.distrusted = true;
        })
    }

    /// Changes what is kept; durable when this returns, and to be tried again if it fails.
    fn note(&self, change: impl FnOnce(&mut Kept)) -> Result<(), IdentityError> {
        let mut kept = self.kept.lock();
        let before = kept.record.clone();
        change(&mut kept);
        if kept.record == before {
            return Ok(());
        }
        let written = life::write(&self.root, &kept.record).or_else(|error| match error {
            // On a full disk, for which this life may end in a moment.
            IdentityError::Io { ref source, .. } if io::is_full(source) && kept.record.distrusted => {
                life::write_over(&self.root, &kept.record)
            }
            error => Err(error),
        });
        written.inspect_err(|_| kept.record = before)
    }
}

/// The data directory of a server that does not run, for reading: no server can start in it while this lives.
#[derive(Debug)]
pub struct OfflineDir {
    root: PathBuf,
    identity: Identity,
    _lock: Option<File>,
}

impl OfflineDir {
    /// Whether there is a data directory, whosever it is.
    pub fn is_made(root: &Path) -> bool {
        root.join(IDENTITY).is_file() && root.join(WITNESS_ROOMS[0]).is_dir()
    }

    /// Whether anything is there that only a data directory has, however damaged it is. A `log` many directories have.
    pub fn is_one_in_part(root: &Path) -> bool {
        [IDENTITY]
            .into_iter()
            .chain(ROOMS)
            .filter(|part| !WITNESS_ROOMS.contains(part))
            .any(|part| root.join(part).exists())
    }

    /// Opens it, whoever's it is; refused if a server runs in it. Changes nothing, and works on a read-only file system.
    pub fn open(root: &Path) -> Result<OfflineDir, IdentityError> {
        let (identity, _) = readable(root, record::read(&root.join(IDENTITY)))?;
        let path = root.join(LOCK);
        let lock = match File::open(&path) {
            Ok(file) => {
                file.try_lock_shared().map_err(|e| not_locked(root, &path, e))?;
                Some(file)
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
            Err(e) => return Err(failed("open", &path)(e)),
        };
        Ok(OfflineDir { root: root.to_owned(), identity, _lock: lock })
    }

    /// Whose it is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The directory of one of its parts: `names`, `log`, `chunks`, `notes`.
    pub fn part(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> IdentityError + use<> {
    let path = path.to_owned();
    move |source| IdentityError::Io { action, path, source }
}

fn rooms(server: ServerId) -> &'static [&'static str] {
    if server.is_witness() { &WITNESS_ROOMS } else { &ROOMS }
}

/// Fails unless the directory is not there, is empty, or holds nothing but what [`make`] had begun.
fn beginnings(root: &Path) -> Result<(), IdentityError> {
    let entries = match std::fs::read_dir(root) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(failed("list", root)(e)),
    };
    for entry in entries {
        let entry = entry.map_err(failed("list", root))?;
        let holds = entry.file_name().to_string_lossy().into_owned();
        let begun = match holds.strip_suffix(UNFINISHED).unwrap_or(&holds) {
            IDENTITY | LIFE | LOCK => true,
            // An empty file system has this one.
            "lost+found" => is_empty_dir(&entry.path()),
            room => ROOMS.contains(&room) && is_empty_dir(&entry.path()),
        };
        if !begun {
            return Err(IdentityError::NotOurs { dir: root.to_owned(), holds });
        }
    }
    Ok(())
}

fn is_empty_dir(path: &Path) -> bool {
    std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
}

/// Makes a directory that only its owner can look into; one that is there becomes so if it is ours.
pub fn make_private(root: &Path) -> std::io::Result<()> {
    if let Some(above) = root.parent() {
        std::fs::create_dir_all(above)?;
    }
    match std::fs::DirBuilder::new().mode(PRIVATE).create(root) {
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
            let there = std::fs::metadata(root)?;
            // SAFETY: geteuid cannot fail and touches nothing.
            let is_mine = there.uid() == unsafe { libc::geteuid() };
            if is_mine && there.is_dir() && is_open(&there) {
                std::fs::set_permissions(root, std::fs::Permissions::from_mode(PRIVATE))?;
            }
            Ok(())
        }
        made => made,
    }
}

fn is_open(dir: &std::fs::Metadata) -> bool {
    dir.mode() & 0o077 != 0
}

/// An older or another's directory is left as its owner has it, but not without a word.
fn say_if_open(root: &Path) {
    if std::fs::metadata(root).is_ok_and(|m| m.is_dir() && is_open(&m)) {
        let dir = root.display();
        tracing::warn!(
            "{dir} can be looked into by other users of this machine: `chmod 700 {dir}`, unless they may read all files"
        );
    }
}

fn lock(root: &Path) -> Result<File, IdentityError> {
    let path = root.join(LOCK);
    let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
    let mut file = options.map_err(failed("open", &path))?;
    file.try_lock().map_err(|e| not_locked(root, &path, e))?;
    let noted = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    noted.map_err(failed("write", &path))?;
    Ok(file)
}

fn not_locked(root: &Path, path: &Path, error: TryLockError) -> IdentityError {
    match error {
        TryLockError::WouldBlock => {
            let process = std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
            let process = if process.is_empty() { "(unknown)".to_owned() } else { process };
            IdentityError::InUse { dir: root.to_owned(), process }
        }
        TryLockError::Error(source) => failed("lock", path)(source),
    }
}

/// Makes a new data directory: the identity last, so that with it all is there.
fn make(root: &Path, identity: &Identity) -> Result<(), IdentityError> {
    for room in rooms(identity.server) {
        let path = root.join(room);
        match std::fs::create_dir(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => return Err(failed("make", &path)(e)),
            _ => {}
        }
    }
    life::write(root, &LifeRecord::first())?;
    write_whole(root, IDENTITY, &record::encode(identity, life::draw()?))
}

/// Writes a file so that it is there wholly or not at all, durably.
fn write_whole(root: &Path, name: &str, text: &str) -> Result<(), IdentityError> {
    let path = root.join(name);
    let unfinished = root.join(format!("{name}{UNFINISHED}"));
    let written = (|| {
        let mut file = File::create(&unfinished)?;
        file.write_all(text.as_bytes())?;
        io::sync_all(&file)?;
        std::fs::rename(&unfinished, &path)?;
        io::sync_all(&File::open(root)?)
    })();
    written.map_err(failed("write", &path))
}

fn readable<T>(root: &Path, read: Result<T, Unreadable>) -> Result<T, IdentityError> {
    let dir = || root.to_owned();
    read.map_err(|e| match e {
        Unreadable::Missing => IdentityError::Damaged {
            dir: dir(),
            what: "it has no file `identity`, so it is no data directory".to_owned(),
        },
        Unreadable::Newer(found) => IdentityError::Newer { dir: dir(), found },
        Unreadable::Damaged => {
            IdentityError::Damaged { dir: dir(), what: "its file `identity` does not match its checksum".to_owned() }
        }
        Unreadable::Io(source) => failed("read", &root.join(IDENTITY))(source),
    })
}

fn check(root: &Path, wanted: &Identity) -> Result<(Identity, u32), IdentityError> {
    let (found, directory) = readable(root, record::read(&root.join(IDENTITY)))?;
    if found.cluster_id != wanted.cluster_id || found.cluster != wanted.cluster {
        let (found, wanted) = (found.cluster, wanted.cluster.clone());
        return Err(IdentityError::OtherCluster { dir: root.to_owned(), found, wanted });
    }
    if found.server != wanted.server {
        return Err(IdentityError::OtherServer { dir: root.to_owned(), found: found.server, wanted: wanted.server });
    }
    for room in rooms(found.server) {
        if !root.join(room).is_dir() {
            let what = format!("its directory `{room}` is missing");
            return Err(IdentityError::Damaged { dir: root.to_owned(), what });
        }
    }
    Ok((found, directory))
}

#[cfg(test)]
mod tests;
