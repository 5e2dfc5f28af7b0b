//! Reading directories: whole, from a descriptor again, and by going back to a place.

use super::names::{Spot, Subject, c_path, slot, spot};
use super::seen::{Seen, Value};
use super::side::Side;
use super::sys::{Call, call};
use crate::dice::Dice;
use serde::{Deserialize, Serialize};
use std::ffi::CStr;

/// An operation on a directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "named as what they do")]
pub enum DirOp {
    /// opendir, readdir to the end with telldir in the middle, seekdir back there, readdir to the end again.
    List { at: Spot, tell: u32 },
    /// Reads a directory that is open in a slot from its beginning, as it is now.
    Again { slot: u8 },
}

/// Any of them.
pub fn random(dice: &mut Dice) -> DirOp {
    if dice.percent(60) {
        let at = if dice.percent(50) { Spot::at(dice.pick(&[".", "d", "e", "d/e", "e/d"])) } else { spot(dice) };
        DirOp::List { at, tell: dice.below(6) as u32 }
    } else {
        DirOp::Again { slot: slot(dice) }
    }
}

/// What it may have changed.
pub fn touches(op: &DirOp) -> Vec<Subject> {
    match op {
        DirOp::List { at, .. } => vec![Subject::Path(at.clone())],
        DirOp::Again { slot } => vec![Subject::Slot(*slot)],
    }
}

/// Does it.
pub fn perform(op: &DirOp, side: &Side) -> Vec<Seen> {
    let (opened, tell) = match op {
        DirOp::List { at, tell } => {
            let path = c_path(&at.path);
            let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
            (call!(libc::openat(at.dirfd(side), path.as_ptr(), flags)), *tell)
        }
        // A copy of the descriptor: closing the stream closes what it reads from.
        DirOp::Again { slot } => (call!(libc::fcntl(side.fd(*slot), libc::F_DUPFD_CLOEXEC, 0)), 1),
    };
    let fd = match opened {
        Ok(fd) => fd as i32,
        Err(errno) => return vec![Seen::returned(Err(errno))],
    };
    // SAFETY: the descriptor is open and ours; the stream owns it if there is one, else it is closed here.
    let stream = unsafe { libc::fdopendir(fd) };
    if stream.is_null() {
        let refused = super::sys::called(-1);
        let _ = call!(libc::close(fd));
        return vec![Seen::returned(refused)];
    }
    let mut seen = read(stream, tell);
    if let Some(Seen { value: Value::Entries(entries), .. }) = seen.last() {
        seen.push(Seen::text("entries are", are_what_they_say(fd, entries)));
    }
    let _ = call!(libc::closedir(stream));
    seen
}

/// Whether each entry says the number and the kind of what it leads to; what `..` leads to at the root of the world is
/// that itself, whatever its entry says.
fn are_what_they_say(dir: i32, entries: &[Entry]) -> String {
    let mut wrong = Vec::new();
    let number = |path: &CStr| super::side::stat(dir, path.as_ptr(), libc::AT_SYMLINK_NOFOLLOW).map(|stat| stat.ino);
    let is_root = number(c"..") == number(c".");
    for (name, kind, ino) in entries.iter().filter(|(name, ..)| !is_root || name != b"..") {
        let path = std::ffi::CString::new(name.clone()).expect("a name ends with a NUL");
        let said = (u64::from(*kind), *ino);
        // Who may not look into the directory may still list it.
        let is = match super::side::stat(dir, path.as_ptr(), libc::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => (u64::from(stat.mode >> 12), stat.ino),
            Err(libc::EACCES) => continue,
            Err(errno) => (errno as u64, 0),
        };
        if is != said {
            wrong.push(format!("{} is {is:?}, said {said:?}", String::from_utf8_lossy(name)));
        }
    }
    wrong.join(", ")
}

/// An entry: name, type, inode; and where the stream was before it.
type Entry = (Vec<u8>, u8, u64);

fn read(stream: *mut libc::DIR, tell: u32) -> Vec<Seen> {
    // SAFETY: the stream is open.
    unsafe { libc::rewinddir(stream) };
    let mut before = Vec::new();
    for _ in 0..tell {
        match next(stream) {
            Ok(Some(entry)) => before.push(entry),
            Ok(None) => break,
            Err(errno) => return vec![Seen::returned(Err(errno))],
        }
    }
    // SAFETY: the stream is open.
    let place = unsafe { libc::telldir(stream) };
    let first = rest(stream);
    // SAFETY: the stream is open, and gave us the place itself.
    unsafe { libc::seekdir(stream, place) };
    let second = rest(stream);
    let (Ok(first), Ok(second)) = (first, second) else { return vec![Seen::text("read", "it failed in the middle")] };
    let again = if first == second { "the same" } else { "something else" };
    before.extend(first);
    before.sort();
    vec![
        Seen::returned(Ok(before.len() as i64)),
        Seen::text("behind seekdir", again),
        Seen { what: "entries".to_owned(), value: Value::Entries(before) },
    ]
}

fn rest(stream: *mut libc::DIR) -> Result<Vec<Entry>, i32> {
    let mut entries = Vec::new();
    while let Some(entry) = next(stream)? {
        entries.push(entry);
    }
    Ok(entries)
}

fn next(stream: *mut libc::DIR) -> Result<Option<Entry>, i32> {
    // SAFETY: errno is this thread's; the stream is open.
    let entry = unsafe {
        *libc::__errno_location() = 0;
        libc::readdir(stream)
    };
    if entry.is_null() {
        let ended: Call = super::sys::called(-1);
        return match ended {
            Err(0) | Ok(_) => Ok(None),
            Err(errno) => Err(errno),
        };
    }
    // SAFETY: the entry is valid until the next call on the stream, and its name ends in NUL.
    let (name, kind, ino) = unsafe { (CStr::from_ptr((*entry).d_name.as_ptr()), (*entry).d_type, (*entry).d_ino) };
    Ok(Some((name.to_bytes().to_vec(), kind, ino)))
}
