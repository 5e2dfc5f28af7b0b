//! The steps of one racer: each is a call or a few on random names, with the errors that it may end with.

use super::super::dice::Dice;
use super::super::{Found, listen, told_to_end, tried};
use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{Error, Read, Result};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Directories that are always there: `run` makes them, and no racer can name them.
pub const KEPT: [&str; 2] = ["1", "2"];
/// Few names, so that everybody meets everybody. What is in them changes kind all the time.
const DIRS: [&str; 8] = ["1", "2", "1", "2", "1/a", "2/b", "1/b/a", "2/b/c/d"];
const NAMES: [&str; 7] = ["a", "b", "c", "d", "e", "f", "a name that is longer than what is kept in line \u{1f40c}"];
/// What symbolic links lead to: something that may be there, themselves, out of the way.
const TARGETS: [&str; 6] = ["a", "b", "../a", "./c/d", "e", "nothing"];
/// Files reach over the end of a chunk.
const LENGTH: u64 = 5 << 20;
const BYTES: u64 = 70_000;
/// Files that are held open, whatever becomes of their names.
const HELD: usize = 4;

/// Whatever a path leads through may be gone, no directory, or a circle of links.
const ALWAYS: [i32; 3] = [libc::ENOENT, libc::ENOTDIR, libc::ELOOP];

type Step = (&'static str, fn(&mut Racer) -> Result<()>, &'static [i32]);
const STEPS: [Step; 24] = [
    ("create", Racer::create, &[libc::EEXIST]),
    ("open", Racer::open, &[libc::EISDIR]),
    ("write", Racer::write, &[]),
    ("append", Racer::append, &[libc::EISDIR]),
    ("read", Racer::read, &[]),
    // A fifo cannot be opened so.
    ("direct", Racer::direct, &[libc::EISDIR, libc::EINVAL]),
    ("cut", Racer::cut, &[]),
    ("cut-by-name", Racer::cut_by_name, &[libc::EISDIR, libc::EINVAL]),
    ("punch", Racer::punch, &[]),
    ("copy", Racer::copy, &[]),
    ("sync", Racer::sync, &[]),
    ("mkdir", Racer::mkdir, &[libc::EEXIST]),
    ("mkfifo", Racer::mkfifo, &[libc::EEXIST]),
    ("symlink", Racer::symlink, &[libc::EEXIST]),
    ("link", Racer::link, &[libc::EEXIST, libc::EPERM]),
    ("rename", Racer::rename, &[libc::EISDIR, libc::ENOTEMPTY, libc::EINVAL]),
    ("exchange", Racer::exchange, &[libc::EINVAL]),
    ("no-replace", Racer::no_replace, &[libc::EEXIST, libc::EINVAL]),
    ("unlink", Racer::unlink, &[libc::EISDIR]),
    ("rmdir", Racer::rmdir, &[libc::ENOTEMPTY]),
    ("chmod", Racer::chmod, &[]),
    ("xattr", Racer::xattr, &[libc::EPERM]),
    ("stat", Racer::stat, &[]),
    ("list", Racer::list, &[]),
];

/// Runs so many steps, or until told if that is 0, and prints how often each kind was done without an error.
pub fn run(dir: &str, steps: usize, seed: u64) -> Found {
    listen();
    let mut racer = Racer { dir: dir.into(), dice: Dice::new(seed), held: Vec::new() };
    let mut done = [0u64; STEPS.len()];
    let mut taken = 0;
    while !told_to_end() && (steps == 0 || taken < steps) {
        let kind = racer.dice.below(STEPS.len() as u64) as usize;
        let (what, step, may) = STEPS[kind];
        match step(&mut racer) {
            Ok(()) => done[kind] += 1,
            Err(e) if e.raw_os_error().is_some_and(|n| ALWAYS.contains(&n) || may.contains(&n)) => {}
            Err(e) => return Err(format!("seed {seed}, step {taken}: {what}: {e}")),
        }
        taken += 1;
    }
    for ((what, ..), done) in STEPS.iter().zip(done) {
        tried("say so", std::io::Write::write_all(&mut std::io::stdout(), format!("{what}={done}\n").as_bytes()))?;
    }
    Ok(())
}

struct Racer {
    dir: PathBuf,
    dice: Dice,
    held: Vec<File>,
}

fn c(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).expect("no name has a NUL in it")
}

fn answered(code: impl Into<i64>) -> Result<()> {
    if code.into() < 0 { Err(Error::last_os_error()) } else { Ok(()) }
}

impl Racer {
    fn path(&mut self) -> PathBuf {
        let (dir, name) = (self.dice.pick(&DIRS), self.dice.pick(&NAMES));
        self.dir.join(dir).join(name)
    }

    fn dir(&mut self) -> PathBuf {
        self.dir.join(self.dice.pick(&DIRS))
    }

    /// Keeps a regular file open, in place of one that was; what else has that name may have no bytes.
    fn hold(&mut self, file: File) -> Result<()> {
        if file.metadata()?.is_file() {
            if self.held.len() == HELD {
                let at = self.dice.below(HELD as u64) as usize;
                drop(self.held.swap_remove(at));
            }
            self.held.push(file);
        }
        Ok(())
    }

    fn held(&mut self) -> Result<&File> {
        if self.held.is_empty() {
            return Err(Error::from_raw_os_error(libc::ENOENT));
        }
        let at = self.dice.below(self.held.len() as u64) as usize;
        Ok(&self.held[at])
    }

    fn options() -> OpenOptions {
        let mut options = OpenOptions::new();
        // Of a fifo nobody may have the other end.
        options.read(true).write(true).custom_flags(libc::O_NONBLOCK);
        options
    }

    fn create(&mut self) -> Result<()> {
        let path = self.path();
        self.hold(Self::options().create_new(true).open(path)?)
    }

    fn open(&mut self) -> Result<()> {
        let (path, cut) = (self.path(), self.dice.below(4) == 0);
        self.hold(Self::options().create(true).truncate(cut).open(path)?)
    }

    fn write(&mut self) -> Result<()> {
        let (at, length) = (self.dice.below(LENGTH), self.dice.below(BYTES) as usize);
        let bytes = self.dice.bytes(length);
        self.held()?.write_all_at(&bytes, at)
    }

    fn append(&mut self) -> Result<()> {
        let path = self.path();
        let file = OpenOptions::new().append(true).custom_flags(libc::O_NONBLOCK).open(path);
        match file {
            // A fifo that nobody reads.
            Err(e) if e.raw_os_error() == Some(libc::ENXIO) => Ok(()),
            file => {
                let file = file?;
                if file.metadata()?.is_file() {
                    std::io::Write::write_all(&mut &file, b"one more line\n")
                } else {
                    Ok(())
                }
            }
        }
    }

    fn read(&mut self) -> Result<()> {
        let (at, length) = (self.dice.below(LENGTH), self.dice.below(BYTES) as usize);
        self.held()?.read_at(&mut vec![0; length], at).map(drop)
    }

    fn direct(&mut self) -> Result<()> {
        let (path, at) = (self.path(), self.dice.below(LENGTH) & !4095);
        let flags = libc::O_DIRECT | libc::O_NONBLOCK | libc::O_NOFOLLOW;
        let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)?;
        if !file.metadata()?.is_file() {
            return Ok(());
        }
        // Where a local disk wants memory on a block's bounds, it gets it.
        let mut room = vec![7; 3 * 4096];
        let from = room.as_ptr().align_offset(4096);
        file.write_all_at(&room[from..from + 8192], at)?;
        file.read_at(&mut room[from..from + 8192], at).map(drop)
    }

    fn cut(&mut self) -> Result<()> {
        let length = self.dice.below(LENGTH);
        self.held()?.set_len(length)
    }

    fn cut_by_name(&mut self) -> Result<()> {
        let (path, length) = (self.path(), self.dice.below(LENGTH) as i64);
        // SAFETY: the path ends in NUL and lives through the call.
        answered(unsafe { libc::truncate(c(&path).as_ptr(), length) })
    }

    fn punch(&mut self) -> Result<()> {
        let keep = libc::FALLOC_FL_KEEP_SIZE;
        let mode = *self.dice.pick(&[0, keep, keep | libc::FALLOC_FL_PUNCH_HOLE, libc::FALLOC_FL_ZERO_RANGE]);
        let (at, length) = (self.dice.below(LENGTH) as i64, 1 + self.dice.below(BYTES) as i64);
        // SAFETY: only changes an open file.
        answered(unsafe { libc::fallocate(self.held()?.as_raw_fd(), mode, at, length) })
    }

    fn copy(&mut self) -> Result<()> {
        let (from, to) = (self.held()?.as_raw_fd(), self.held()?.as_raw_fd());
        // Both may be one file, and ranges of one file must not overlap.
        let half = LENGTH / 2;
        let (mut at, mut put) = (self.dice.below(half - BYTES) as i64, (half + self.dice.below(half)) as i64);
        let length = self.dice.below(BYTES) as usize;
        // SAFETY: both offsets live through the call.
        answered(unsafe { libc::copy_file_range(from, &mut at, to, &mut put, length, 0) } as i64)
    }

    fn sync(&mut self) -> Result<()> {
        // Seldom: everybody would wait for the disk all the time.
        if self.dice.below(8) == 0 { self.held()?.sync_data() } else { Ok(()) }
    }

    fn mkdir(&mut self) -> Result<()> {
        fs::create_dir(self.path())
    }

    fn mkfifo(&mut self) -> Result<()> {
        // SAFETY: the path ends in NUL and lives through the call.
        answered(unsafe { libc::mkfifo(c(&self.path()).as_ptr(), 0o600) })
    }

    fn symlink(&mut self) -> Result<()> {
        let target = *self.dice.pick(&TARGETS);
        std::os::unix::fs::symlink(target, self.path())
    }

    fn link(&mut self) -> Result<()> {
        fs::hard_link(self.path(), self.path())
    }

    fn rename(&mut self) -> Result<()> {
        self.rename_as(0)
    }

    fn exchange(&mut self) -> Result<()> {
        self.rename_as(libc::RENAME_EXCHANGE)
    }

    fn no_replace(&mut self) -> Result<()> {
        self.rename_as(libc::RENAME_NOREPLACE)
    }

    fn rename_as(&mut self, flags: u32) -> Result<()> {
        let (from, to) = (c(&self.path()), c(&self.path()));
        // SAFETY: both paths end in NUL and live through the call.
        answered(unsafe { libc::renameat2(libc::AT_FDCWD, from.as_ptr(), libc::AT_FDCWD, to.as_ptr(), flags) })
    }

    fn unlink(&mut self) -> Result<()> {
        fs::remove_file(self.path())
    }

    fn rmdir(&mut self) -> Result<()> {
        fs::remove_dir(self.path())
    }

    fn chmod(&mut self) -> Result<()> {
        let mode = 0o600 | (self.dice.next() as u32 & 0o7177);
        fs::set_permissions(self.path(), fs::Permissions::from_mode(mode))
    }

    fn xattr(&mut self) -> Result<()> {
        let (path, value) = (c(&self.path()), self.dice.bytes(100));
        let name = *self.dice.pick(&[c"user.one", c"user.two"]);
        let length = self.dice.below(100) as usize;
        // SAFETY: the strings end in NUL, and the value is as long as it says.
        let code = unsafe {
            match length % 4 {
                0 => libc::removexattr(path.as_ptr(), name.as_ptr()),
                1 => libc::listxattr(path.as_ptr(), std::ptr::null_mut(), 0) as i32,
                _ => libc::setxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), length, 0),
            }
        };
        match answered(code) {
            Err(e) if e.raw_os_error() == Some(libc::ENODATA) => Ok(()),
            result => result,
        }
    }

    fn stat(&mut self) -> Result<()> {
        let path = self.path();
        if self.dice.below(2) == 0 { fs::metadata(path).map(drop) } else { fs::symlink_metadata(path).map(drop) }
    }

    fn list(&mut self) -> Result<()> {
        let dir = self.dir();
        for entry in fs::read_dir(dir)? {
            // Each by its name, which may be gone by now.
            let path = entry?.path();
            match fs::symlink_metadata(&path) {
                Err(e) if e.raw_os_error().is_some_and(|n| ALWAYS.contains(&n)) => {}
                Ok(meta) if meta.is_file() && self.dice.below(8) == 0 => {
                    let mut text = [0; 512];
                    // It may be another kind by now, one that waits or cannot be read.
                    let options = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&path);
                    let _ = options.and_then(|mut f| f.read(&mut text));
                }
                Ok(_) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}
