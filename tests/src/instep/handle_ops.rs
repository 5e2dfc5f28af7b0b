//! Handles of files: taken by name or descriptor, kept, and opened later, when the name may mean another inode or none
//! may be left.

use super::names::{Subject, c_path, slot, subject};
use super::seen::{Seen, Stat};
use super::side::{Side, stat, stat_seen};
use super::sys::{Call, call, called};
use crate::dice::Dice;
use crate::file_handle::{HANDLE_MAX_BYTES, Handle};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// Handles that a history keeps at once.
pub const HANDLES: usize = 4;

/// An operation on handles.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "named as the system calls and their arguments are")]
pub enum HandleOp {
    /// `room`: bytes that the handle may have.
    Take { handle: u8, of: Subject, flags: i32, room: usize },
    /// What it opens comes into a slot.
    Open { handle: u8, slot: u8, flags: String },
}

/// The kernel's `AT_HANDLE_FID` and `AT_HANDLE_MNT_ID_UNIQUE`, which it does not take for the old number of a mount.
const FLAGS: [(u64, i32); 3] = [(12, 0), (1, libc::AT_REMOVEDIR), (1, 0x4000)];

/// Any of them.
pub fn random(dice: &mut Dice) -> HandleOp {
    let handle = dice.below(HANDLES as u64) as u8;
    if dice.percent(45) {
        let room = dice.weighed(&[(12, HANDLE_MAX_BYTES), (1, 0), (1, 4)]);
        return HandleOp::Take { handle, of: subject(dice), flags: dice.weighed(&FLAGS), room };
    }
    let flags = dice.pick(&["RDONLY", "RDWR", "RDWR", "WRONLY|APPEND", "RDONLY|DIRECTORY", "PATH", "RDWR|TRUNC"]);
    HandleOp::Open { handle, slot: slot(dice), flags: flags.to_owned() }
}

/// What it may have changed.
pub fn touches(op: &HandleOp) -> Vec<Subject> {
    match op {
        HandleOp::Take { .. } => Vec::new(),
        HandleOp::Open { slot, .. } => vec![Subject::Slot(*slot)],
    }
}

/// Does it.
pub fn perform(op: &HandleOp, side: &mut Side) -> Vec<Seen> {
    match op {
        HandleOp::Take { handle, of, flags, room } => {
            let mut taken = Handle::room(*room);
            let call = take(of, *flags, &mut taken, side);
            if call.is_ok() {
                side.handles[usize::from(*handle)] = Some(taken);
            }
            vec![Seen::returned(call)]
        }
        HandleOp::Open { handle, slot, flags } => {
            let flags = super::file_ops::flags_of(flags) | libc::O_NONBLOCK | libc::O_CLOEXEC;
            let root = side.root();
            let left = left_once_closed(*handle, side);
            if flags & libc::O_PATH == 0 && left.is_some_and(|of| is_nameless(of, side)) {
                return Vec::new();
            }
            let opened = match &mut side.handles[usize::from(*handle)] {
                Some(handle) => called(handle.open(root, flags)),
                None => Err(libc::EBADF),
            };
            let kept = side.keep(*slot, opened);
            let mut seen = vec![Seen::returned(kept)];
            if kept.is_ok() {
                let of = stat(side.fd(*slot), c"".as_ptr(), libc::AT_EMPTY_PATH);
                seen.push(stat_seen("what it stands for", of));
            }
            seen
        }
    }
}

/// What a handle stands for, if that has no name any more.
fn left_of(handle: u8, side: &Side) -> Option<Stat> {
    let mut handle = side.handles[usize::from(handle)].clone()?;
    let fd = called(handle.open(side.root(), libc::O_PATH | libc::O_CLOEXEC)).ok()?;
    let of = stat(fd as i32, c"".as_ptr(), libc::AT_EMPTY_PATH);
    let closed = call!(libc::close(fd as i32));
    of.ok().filter(|of| of.nlink == 0 && closed.is_ok())
}

/// [`super::differences::NAMELESS`]
fn is_nameless(of: Stat, side: &Side) -> bool {
    of.mode & libc::S_IFMT == libc::S_IFREG && !side.holds(of.ino)
}

/// The same: of a last close a FUSE file system hears when the program has gone on, and holds the inode until then.
fn left_once_closed(handle: u8, side: &Side) -> Option<Stat> {
    let began = Instant::now();
    loop {
        let left = left_of(handle, side);
        let goes = left.as_ref().is_some_and(|of| !side.knows(of.ino));
        if !goes || began.elapsed() >= GOES_WITHIN {
            return left;
        }
        std::thread::yield_now();
    }
}
const GOES_WITHIN: Duration = Duration::from_millis(200);

/// The number of the mount is left out: it is another one on each side.
fn take(of: &Subject, flags: i32, handle: &mut Handle, side: &Side) -> Call {
    let (dirfd, path, at) = match of {
        Subject::Slot(slot) => (side.fd(*slot), c"".to_owned(), libc::AT_EMPTY_PATH),
        Subject::Path(spot) => (spot.dirfd(side), c_path(&spot.path), libc::AT_SYMLINK_FOLLOW),
        Subject::Link(spot) => (spot.dirfd(side), c_path(&spot.path), 0),
    };
    called(handle.take(dirfd, &path, at | flags).0)
}
