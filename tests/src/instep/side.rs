//! One of the two trees: its root, the descriptors that are open in it, and who the program is there.

use super::handle_ops::HANDLES;
use super::held_ops::{Held, MAPS, dirty, mapped};
use super::seen::{Seen, Stat, Value};
use super::stream_ops::{Names, Reading, STREAMS};
use super::sys::{Call, call};
use crate::file_handle::Handle;
use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::rc::Rc;

/// Descriptors that a history holds at once.
pub const SLOTS: usize = 6;

/// Whom an operation is made as: user, group, further groups.
pub const USERS: [(u32, u32, &[u32]); 3] = [(0, 0, &[]), (1001, 1001, &[1003]), (1002, 1002, &[1001, 1003])];

/// One tree.
pub struct Side {
    root: File,
    slots: [Option<OwnedFd>; SLOTS],
    /// Mappings that are held.
    pub maps: [Option<Held>; MAPS],
    /// Handles that were taken.
    pub handles: [Option<Handle>; HANDLES],
    /// Directories that are being read.
    pub readings: [Option<Reading>; STREAMS],
    /// The names that these had and have; known of the local side, and the same on the other.
    pub watched: [Option<Rc<Names>>; STREAMS],
    /// It is on the mount.
    pub is_mount: bool,
    /// Other processes work in it, too.
    pub is_shared: bool,
}

impl Side {
    /// A tree whose root is `root`.
    pub fn new(root: File, is_mount: bool, is_shared: bool) -> Side {
        Side {
            root,
            slots: Default::default(),
            maps: Default::default(),
            handles: Default::default(),
            readings: Default::default(),
            watched: Default::default(),
            is_mount,
            is_shared,
        }
    }

    /// A descriptor of its root.
    pub fn root(&self) -> RawFd {
        self.root.as_raw_fd()
    }

    /// Inodes of this side that were stored to through a mapping, which the file system may not have been told of yet.
    pub fn unsettled(&self) -> Vec<u64> {
        dirty(&self.maps)
    }

    /// Makes this tree the whole world: `/`, `..` of its root and absolute links lead to its root.
    pub fn enter(&self) {
        let moved = call!(libc::fchdir(self.root.as_raw_fd())).and_then(|_| call!(libc::chroot(c".".as_ptr())));
        assert!(moved.is_ok(), "chroot to a tree failed: {moved:?}; the steps need root");
    }

    /// The descriptor of a slot; one that is not open is no descriptor.
    pub fn fd(&self, slot: u8) -> RawFd {
        self.slots.get(usize::from(slot)).and_then(Option::as_ref).map_or(-1, AsRawFd::as_raw_fd)
    }

    /// Whether this process has that inode open, for more than its path, or mapped.
    pub fn holds(&self, ino: u64) -> bool {
        self.has(ino, |fd| {
            let flags = call!(libc::fcntl(fd.as_raw_fd(), libc::F_GETFL));
            flags.is_ok_and(|flags| flags as i32 & libc::O_PATH == 0)
        })
    }

    /// Whether this process has a descriptor of that inode, if only of its path, or has it mapped.
    pub fn knows(&self, ino: u64) -> bool {
        self.has(ino, |_| true)
    }

    fn has(&self, ino: u64, counts: impl Fn(&OwnedFd) -> bool) -> bool {
        let is_it =
            |fd: &&OwnedFd| stat(fd.as_raw_fd(), c"".as_ptr(), libc::AT_EMPTY_PATH).is_ok_and(|of| of.ino == ino);
        self.slots.iter().flatten().filter(is_it).any(counts) || mapped(&self.maps).contains(&ino)
    }

    /// Puts a descriptor that a call returned into a slot, and closes what was there; says only whether it came.
    pub fn keep(&mut self, slot: u8, opened: Call) -> Call {
        let Ok(fd) = opened else { return opened };
        // SAFETY: the kernel has just given us this descriptor, and nobody else knows it.
        self.slots[usize::from(slot)] = Some(unsafe { OwnedFd::from_raw_fd(fd as RawFd) });
        Ok(0)
    }

    /// Closes a slot.
    pub fn close(&mut self, slot: u8) -> Call {
        let fd = self.slots[usize::from(slot)].take().ok_or(libc::EBADF)?;
        call!(libc::close(std::os::fd::IntoRawFd::into_raw_fd(fd)))
    }

    /// Closes everything.
    pub fn close_all(&mut self) {
        self.slots = Default::default();
    }
}

/// Does `what` as one of [`USERS`]; the program is root again behind it.
pub fn as_user<T>(user: u8, what: impl FnOnce() -> T) -> T {
    let (uid, gid, groups) = USERS[usize::from(user) % USERS.len()];
    if uid == 0 {
        return what();
    }
    become_(uid, gid, groups);
    let result = what();
    become_(0, 0, &[]);
    result
}

/// The real and effective ids of this thread; the saved user stays root, so that there is a way back.
fn become_(uid: u32, gid: u32, groups: &[u32]) {
    let back = if uid == 0 { call!(libc::syscall(libc::SYS_setresuid, 0, 0, 0)) } else { Ok(0) };
    let done = back
        .and_then(|_| call!(libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr())))
        .and_then(|_| call!(libc::syscall(libc::SYS_setresgid, gid, gid, 0)))
        .and_then(|_| call!(libc::syscall(libc::SYS_setresuid, uid, uid, 0)));
    assert!(done.is_ok(), "becoming user {uid} failed: {done:?}");
}

/// Attributes of `path` below `dirfd`; `flags` as for statx.
pub fn stat(dirfd: RawFd, path: *const libc::c_char, flags: i32) -> Result<Stat, i32> {
    // SAFETY: statx is plain data, for which zeros are a value.
    let mut x: libc::statx = unsafe { std::mem::zeroed() };
    let mask = libc::STATX_BASIC_STATS | libc::STATX_BTIME;
    call!(libc::statx(dirfd, path, flags | libc::AT_NO_AUTOMOUNT, mask, &mut x))?;
    let nanos = |t: libc::statx_timestamp| i128::from(t.tv_sec) * 1_000_000_000 + i128::from(t.tv_nsec);
    Ok(Stat {
        ino: x.stx_ino,
        mode: u32::from(x.stx_mode),
        nlink: x.stx_nlink,
        uid: x.stx_uid,
        gid: x.stx_gid,
        rdev: libc::makedev(x.stx_rdev_major, x.stx_rdev_minor),
        size: x.stx_size,
        blocks: x.stx_blocks,
        atime: nanos(x.stx_atime),
        mtime: nanos(x.stx_mtime),
        ctime: nanos(x.stx_ctime),
        btime: nanos(x.stx_btime),
        settled: false,
    })
}

/// What statx says, as something that was seen.
pub fn stat_seen(what: &str, stat: Result<Stat, i32>) -> Seen {
    let value = match stat {
        Ok(stat) => Value::Stat(Box::new(stat)),
        Err(errno) => Value::Returned(Err(errno)),
    };
    Seen { what: what.to_owned(), value }
}
