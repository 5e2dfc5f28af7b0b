//! The mount table: what is mounted where, with which options; and following it, because mount(8) can change the options
//! of a mount without a word to whoever serves it.

use crate::vfs::{Atime, AtimeRule};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

const TABLE: &str = "/proc/self/mountinfo";
/// The type of our mounts.
pub const KIND: &str = "fuse.raidfs";

/// A line of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The number of its device, `major:minor`.
    pub device: String,
    /// Where.
    pub path: PathBuf,
    /// The type of file system.
    pub kind: String,
    /// What is mounted.
    pub source: String,
    /// Of the file system as a whole, and then of this mount.
    pub options: String,
}

impl Line {
    /// Whether it is a raidfs mount.
    pub fn is_ours(&self) -> bool {
        self.kind == KIND
    }

    /// Whether nothing is mounted there yet: whoever opens it has an automounter do so, but for that one's own processes.
    pub fn is_automount(&self) -> bool {
        self.kind == "autofs"
    }

    fn has(&self, option: &str) -> bool {
        self.options.split(',').any(|each| each == option)
    }

    /// Whether nothing can be changed through it.
    pub fn is_read_only(&self) -> bool {
        self.has("ro")
    }

    /// Whether changes of names are to be on stable storage when they return.
    pub fn is_synchronous(&self) -> bool {
        self.has("sync") || self.has("dirsync")
    }

    /// Which reads move access times.
    pub fn atime_rule(&self) -> AtimeRule {
        let atime = if self.is_read_only() || self.has("noatime") {
            Atime::Off
        } else if self.has("relatime") {
            Atime::Relative
        } else {
            Atime::Strict
        };
        AtimeRule { atime, no_dirs: self.has("nodiratime") }
    }
}

/// What is mounted at exactly this path, the uppermost.
pub fn mounted_at(path: &Path) -> io::Result<Option<Line>> {
    Ok(uppermost(&std::fs::read(TABLE)?, |there| there == path))
}

/// Whether the mount with this device number, `major:minor`, is a raidfs mount.
pub fn is_ours(device: &str) -> bool {
    let Ok(table) = std::fs::read(TABLE) else { return false };
    table.split(|b| *b == b'\n').filter_map(line).any(|line| line.device == device && line.is_ours())
}

/// Whether raidfs is mounted at this path where a process sees it; also if we may not know. Who is ending sees nothing.
pub fn is_mounted_for(process: u32, path: &Path) -> bool {
    // The path comes from a session's holder, which has what can be read of it.
    let same = |there: &Path| there.to_string_lossy() == path.to_string_lossy();
    match std::fs::read(format!("/proc/{process}/mountinfo")) {
        Ok(table) => uppermost(&table, same).is_some_and(|line| line.is_ours()),
        Err(error) => error.kind() == io::ErrorKind::PermissionDenied,
    }
}

fn uppermost(table: &[u8], is_there: impl Fn(&Path) -> bool) -> Option<Line> {
    table.split(|b| *b == b'\n').filter_map(line).rfind(|line| is_there(&line.path))
}

/// Follows one mount for as long as it is there.
pub struct Follower {
    table: File,
    path: PathBuf,
    device: String,
}

impl Follower {
    /// Of what is mounted at `path`; gives how it is now, too.
    pub fn new(path: &Path) -> io::Result<(Follower, Line)> {
        let mut follower = Follower { table: File::open(TABLE)?, path: path.to_owned(), device: String::new() };
        let now = uppermost(&follower.read()?, |there| there == path).ok_or(io::ErrorKind::NotFound)?;
        follower.device.clone_from(&now.device);
        Ok((follower, now))
    }

    /// Waits until the table has changed. None: the mount has gone.
    pub fn next(&mut self) -> io::Result<Option<Line>> {
        let mut poll = libc::pollfd { fd: self.table.as_raw_fd(), events: libc::POLLPRI, revents: 0 };
        // SAFETY: it is one structure, which lives until the call has returned.
        while unsafe { libc::poll(&raw mut poll, 1, -1) } < 0 {
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
        let text = self.read()?;
        Ok(of_device(&text, &self.device, &self.path))
    }

    fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        self.table.rewind()?;
        self.table.read_to_end(&mut text)?;
        Ok(text)
    }
}

/// The mount of this device that is at `path`, though others may be over it; else another of it: it was moved, or is mounted
/// elsewhere besides.
fn of_device(table: &[u8], device: &str, path: &Path) -> Option<Line> {
    let ours = || table.split(|b| *b == b'\n').filter_map(line).filter(|line| line.device == device && line.is_ours());
    ours().find(|line| line.path == path).or_else(|| ours().next())
}

/// The same, of the table of now.
pub fn mounted_of(device: &str, path: &Path) -> io::Result<Option<Line>> {
    Ok(of_device(&std::fs::read(TABLE)?, device, path))
}

fn line(line: &[u8]) -> Option<Line> {
    let fields: Vec<&[u8]> = line.split(|b| *b == b' ').collect();
    let separator = fields.iter().position(|f| *f == b"-")?;
    let text = |at: usize| fields.get(at).map(|f| String::from_utf8_lossy(f).into_owned());
    let path = unescaped(fields.get(4)?);
    Some(Line {
        device: text(2)?,
        path: PathBuf::from(OsStr::from_bytes(&path)),
        kind: text(separator + 1)?,
        source: text(separator + 2)?,
        options: format!("{},{}", text(separator + 3)?, text(5)?),
    })
}

/// Octal escapes of mountinfo (`\040` for a space) as the bytes that they stand for.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut at = 0;
    while at < field.len() {
        let octal = field.get(at + 1..at + 4).and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 8).ok()
        });
        match (field[at], octal) {
            (b'\\', Some(byte)) => {
                out.push(byte);
                at += 4;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read() {
        let text = br"36 35 0:46 / /mnt/a\040b rw,nosuid shared:7 - fuse.raidfs raidfs:home rw,user_id=0";
        let got = line(text).expect("a whole line");
        let want = Line {
            device: "0:46".into(),
            path: "/mnt/a b".into(),
            kind: "fuse.raidfs".into(),
            source: "raidfs:home".into(),
            options: "rw,user_id=0,rw,nosuid".into(),
        };
        assert_eq!(got, want);
        assert!(got.is_ours());
        assert_eq!(line(b""), None);
        assert_eq!(unescaped(br"\1"), br"\1");
        assert_eq!(unescaped(br"/mnt/a\040b\134c"), br"/mnt/a b\c");
    }

    #[test]
    fn options_say_which_reads_move_access_times() {
        let rule = |options: &str| {
            let text = format!("36 35 0:46 / /mnt {options} - fuse.raidfs raidfs:home rw,user_id=0");
            line(text.as_bytes()).expect("a whole line").atime_rule()
        };
        let whole = |atime| AtimeRule { atime, no_dirs: false };
        assert_eq!(rule("rw,relatime"), whole(Atime::Relative));
        assert_eq!(rule("rw,nosuid"), whole(Atime::Strict));
        assert_eq!(rule("rw,noatime"), whole(Atime::Off));
        assert_eq!(rule("ro,relatime"), whole(Atime::Off));
        assert_eq!(rule("rw,nodiratime,relatime"), AtimeRule { atime: Atime::Relative, no_dirs: true });
    }

    #[test]
    fn a_mount_is_found_where_it_is_and_nothing_foreign_in_its_place() {
        let ours = "36 35 0:46 / /mnt rw - fuse.raidfs raidfs:home rw\n";
        let over = "37 36 0:50 / /mnt rw - tmpfs x rw\n";
        let bound = "38 35 0:46 /d /srv rw - fuse.raidfs raidfs:home rw\n";
        let foreign = "39 35 0:46 / /mnt rw - tmpfs x rw\n";
        let found = |table: &str| of_device(table.as_bytes(), "0:46", Path::new("/mnt")).map(|line| line.path);
        let mnt = Some(PathBuf::from("/mnt"));
        assert_eq!(found(ours), mnt);
        assert_eq!(found(&[bound, ours, over].concat()), mnt, "though something is mounted over it, and it elsewhere");
        assert_eq!(found(&[bound, over].concat()), Some(PathBuf::from("/srv")));
        assert_eq!(found(&[over, foreign].concat()), None, "the number was given out again");
    }
}
