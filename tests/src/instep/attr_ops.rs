//! Operations on attributes: chmod, chown, utimensat, stat, statfs, access.

use super::names::{Spot, Subject, slot, spot, subject};
use super::seen::{Seen, Value};
use super::side::{Side, stat, stat_seen};
use super::sys::{Call, call};
use super::xattr_ops::{self, XattrOp};
use crate::dice::Dice;
use serde::{Deserialize, Serialize};

/// A time for utimensat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum When {
    /// UTIME_NOW
    Now,
    /// UTIME_OMIT
    Omit,
    /// Seconds since 1970 and nanoseconds.
    At(i64, i64),
}

/// An operation on attributes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "named as the system calls and their arguments are")]
pub enum AttrOp {
    Chmod {
        of: Subject,
        mode: u32,
    },
    Chown {
        of: Subject,
        uid: u32,
        gid: u32,
    },
    Times {
        of: Subject,
        atime: When,
        mtime: When,
    },
    TimesNull {
        of: Subject,
    },
    Stat {
        of: Subject,
    },
    StatFs {
        slot: u8,
    },
    /// statx with these flags beside its own, and this mask.
    Statx {
        of: Subject,
        flags: i32,
        mask: u32,
    },
    Access {
        at: Spot,
        mode: i32,
        effective: bool,
    },
}

const KEEP: u32 = u32::MAX;

fn when(dice: &mut Dice) -> When {
    match dice.below(10) {
        0..=2 => When::Now,
        3..=4 => When::Omit,
        5 => When::At(dice.pick(&[-1, -86_400, -2_000_000_000, -(1 << 31)]), dice.below(1_000_000_000) as i64),
        // After 2038 and after 2106, and before ext4 has no more seconds (2446).
        6 => When::At(dice.pick(&[1 << 31, (1 << 32) + 5, 15_000_000_000]), dice.below(1_000_000_000) as i64),
        7 => When::At(0, dice.pick(&[0, 999_999_999, 1_000_000_000, -1])),
        _ => When::At(dice.below(2_000_000_000) as i64, dice.below(1_000_000_000) as i64),
    }
}

/// Any of them.
pub fn random(dice: &mut Dice) -> AttrOp {
    let modes =
        [0o644, 0o600, 0o777, 0o000, 0o4755, 0o2755, 0o2745, 0o6777, 0o1777, 0o700, 0o070, 0o007, 0o444, 0o4644];
    let owners = [KEEP, 0, 1001, 1002];
    let groups = [KEEP, 0, 1001, 1002, 1003];
    match dice.below(100) {
        0..=24 => AttrOp::Chmod { of: subject(dice), mode: dice.pick(&modes) },
        25..=44 => AttrOp::Chown { of: subject(dice), uid: dice.pick(&owners), gid: dice.pick(&groups) },
        45..=63 => AttrOp::Times { of: subject(dice), atime: when(dice), mtime: when(dice) },
        64..=66 => AttrOp::TimesNull { of: subject(dice) },
        67..=75 => AttrOp::Stat { of: subject(dice) },
        76..=79 => AttrOp::Statx {
            of: subject(dice),
            flags: dice.pick(&[0, libc::AT_STATX_FORCE_SYNC, libc::AT_STATX_DONT_SYNC, libc::AT_STATX_SYNC_TYPE, 1]),
            mask: dice.weighed(&[
                (4, libc::STATX_BASIC_STATS),
                (2, libc::STATX_SIZE),
                (1, 0),
                (1, 0x1000),
                (1, 1 << 31),
            ]),
        },
        80..=81 => AttrOp::StatFs { slot: slot(dice) },
        _ => AttrOp::Access { at: spot(dice), mode: dice.below(8) as i32, effective: dice.percent(40) },
    }
}

/// What it may have changed.
pub fn touches(op: &AttrOp) -> Vec<Subject> {
    match op {
        AttrOp::Chmod { of, .. } | AttrOp::Chown { of, .. } | AttrOp::Times { of, .. } | AttrOp::TimesNull { of } => {
            vec![of.clone()]
        }
        AttrOp::Stat { .. } | AttrOp::StatFs { .. } | AttrOp::Statx { .. } | AttrOp::Access { .. } => Vec::new(),
    }
}

/// Does it.
pub fn perform(op: &AttrOp, side: &Side) -> Vec<Seen> {
    match op {
        AttrOp::Stat { of } => vec![look("stat", of, side)],
        AttrOp::StatFs { slot } => statfs(side.fd(*slot)),
        AttrOp::Statx { of, flags, mask } => statx(of, *flags, *mask, side),
        AttrOp::Chown { of, uid: KEEP, gid: KEEP } if is_stranger() || has_capability(of, side) => Vec::new(),
        _ => vec![Seen::returned(change(op, side))],
    }
}

/// [`super::differences::IDLE_CHOWN`].
fn is_stranger() -> bool {
    call!(libc::geteuid()) != Ok(0)
}

/// [`super::differences::IDLE_CHOWN`].
fn has_capability(of: &Subject, side: &Side) -> bool {
    let name = xattr_ops::CAPABILITY;
    let op = XattrOp::Get { of: of.clone(), name: name.to_owned(), size: 0 };
    matches!(xattr_ops::perform(&op, side).first(), Some(Seen { value: Value::Returned(Ok(_)), .. }))
}

/// The attributes of something.
pub fn look(what: &str, of: &Subject, side: &Side) -> Seen {
    let seen = std::cell::Cell::new(Err(0));
    let call = of.with(
        side,
        |fd| {
            seen.set(stat(fd, c"".as_ptr(), libc::AT_EMPTY_PATH));
            Ok(0)
        },
        |dirfd, path, flags| {
            seen.set(stat(dirfd, path, flags));
            Ok(0)
        },
    );
    stat_seen(what, call.and(seen.into_inner()))
}

fn change(op: &AttrOp, side: &Side) -> Call {
    match op {
        AttrOp::Chmod { of, mode } => of.with(
            side,
            |fd| call!(libc::fchmod(fd, *mode)),
            |dirfd, path, flags| call!(libc::syscall(libc::SYS_fchmodat2, dirfd, path, *mode, flags)),
        ),
        AttrOp::Chown { of, uid, gid } => of.with(
            side,
            |fd| call!(libc::fchown(fd, *uid, *gid)),
            |dirfd, path, flags| call!(libc::fchownat(dirfd, path, *uid, *gid, flags)),
        ),
        AttrOp::Times { of, atime, mtime } => {
            let times = [spec(*atime), spec(*mtime)];
            utimens(of, side, times.as_ptr())
        }
        AttrOp::TimesNull { of } => utimens(of, side, std::ptr::null()),
        AttrOp::Access { at, mode, effective } => {
            let path = super::names::c_path(&at.path);
            let flags = if *effective { libc::AT_EACCESS } else { 0 };
            call!(libc::syscall(libc::SYS_faccessat2, at.dirfd(side), path.as_ptr(), *mode, flags))
        }
        AttrOp::Stat { .. } | AttrOp::StatFs { .. } | AttrOp::Statx { .. } => {
            unreachable!("they return more than a number")
        }
    }
}

fn utimens(of: &Subject, side: &Side, times: *const libc::timespec) -> Call {
    of.with(
        side,
        |fd| call!(libc::futimens(fd, times)),
        |dirfd, path, flags| call!(libc::utimensat(dirfd, path, times, flags)),
    )
}

fn spec(when: When) -> libc::timespec {
    match when {
        When::Now => libc::timespec { tv_sec: 0, tv_nsec: libc::UTIME_NOW },
        When::Omit => libc::timespec { tv_sec: 0, tv_nsec: libc::UTIME_OMIT },
        When::At(tv_sec, tv_nsec) => libc::timespec { tv_sec, tv_nsec },
    }
}

/// What statx says beside [`super::side::stat`]: whether it gives what is always asked for, whose file system and mount it
/// is, the blocks of input and output, and the attributes that chattr sets.
fn statx(of: &Subject, flags: i32, mask: u32, side: &Side) -> Vec<Seen> {
    // SAFETY: statx is plain data, for which zeros are a value.
    let [x, mut root]: [libc::statx; 2] = unsafe { std::mem::zeroed() };
    let x = std::cell::Cell::new(x);
    let always = mask | libc::STATX_BASIC_STATS | 0x1000;
    let call = of.with(
        side,
        |fd| call!(libc::statx(fd, c"".as_ptr(), libc::AT_EMPTY_PATH | flags, always, x.as_ptr())),
        |dirfd, path, at| call!(libc::statx(dirfd, path, at | flags, always, x.as_ptr())),
    );
    if call.is_err() {
        return vec![Seen::returned(call)];
    }
    let x = x.into_inner();
    let of_root = call!(libc::statx(side.root(), c"".as_ptr(), libc::AT_EMPTY_PATH, 0x1000, &mut root));
    let is_here =
        (x.stx_dev_major, x.stx_dev_minor, x.stx_mnt_id) == (root.stx_dev_major, root.stx_dev_minor, root.stx_mnt_id);
    let basic = x.stx_mask & libc::STATX_BASIC_STATS == libc::STATX_BASIC_STATS;
    let marks = libc::STATX_ATTR_IMMUTABLE | libc::STATX_ATTR_APPEND | libc::STATX_ATTR_MOUNT_ROOT;
    let marked = x.stx_attributes & marks as u64;
    let text = format!("basic {basic}, here {is_here}, blocks of {}, marked {marked:#x}", x.stx_blksize);
    vec![
        Seen::returned(call),
        Seen { what: "of the root".to_owned(), ..Seen::returned(of_root) },
        Seen::text("statx", text),
    ]
}

/// What statfs says that has to be the same: how long names are, how large blocks, that the numbers fit together.
fn statfs(fd: i32) -> Vec<Seen> {
    // SAFETY: statvfs is plain data, for which zeros are a value.
    let mut s: libc::statvfs = unsafe { std::mem::zeroed() };
    let call = call!(libc::fstatvfs(fd, &mut s));
    let fits = s.f_bavail <= s.f_bfree && s.f_bfree <= s.f_blocks && s.f_ffree <= s.f_files;
    let text = format!("names of {} bytes, blocks of {}/{}, fits {fits}", s.f_namemax, s.f_bsize, s.f_frsize);
    vec![Seen::returned(call), Seen::text("statfs", text)]
}
