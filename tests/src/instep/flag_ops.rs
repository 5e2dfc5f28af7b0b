//! Calls on files with flags, limits and advice that few programs give.

use super::file_ops::{length, lengths, offset, vectors};
use super::names::{Subject, slot};
use super::seen::Seen;
use super::side::{Side, stat};
use super::sys::{Call, call};
use crate::dice::Dice;
use serde::{Deserialize, Serialize};

/// An operation with flags, limits or advice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "named as the system calls and their arguments are")]
pub enum FlagOp {
    Preadv2 {
        slot: u8,
        offset: i64,
        lengths: Vec<usize>,
        flags: String,
    },
    Pwritev2 {
        slot: u8,
        offset: i64,
        length: usize,
        fill: u8,
        flags: String,
    },
    CopyWithFlags {
        from: u8,
        to: u8,
        flags: u32,
    },
    SyncRange {
        slot: u8,
        offset: i64,
        length: i64,
        flags: u32,
    },
    Advise {
        slot: u8,
        offset: i64,
        length: i64,
        advice: i32,
    },
    ReadAhead {
        slot: u8,
        offset: i64,
        length: usize,
    },
    /// ftruncate while no file may grow beyond `limit`.
    LimitedCut {
        slot: u8,
        length: i64,
        limit: u64,
    },
    /// fallocate while no file may grow beyond `limit`.
    LimitedAllocate {
        slot: u8,
        mode: i32,
        length: i64,
        limit: u64,
    },
    /// poll for reading and writing, without waiting.
    Poll {
        slot: u8,
    },
}

const FLAGS: [(&str, i32); 9] = [
    ("HIPRI", libc::RWF_HIPRI),
    ("DSYNC", libc::RWF_DSYNC),
    ("SYNC", libc::RWF_SYNC),
    ("NOWAIT", libc::RWF_NOWAIT),
    ("APPEND", libc::RWF_APPEND),
    ("NOAPPEND", libc::RWF_NOAPPEND),
    ("ATOMIC", libc::RWF_ATOMIC),
    ("DONTCACHE", libc::RWF_DONTCACHE),
    ("UNKNOWN", 0x4000_0000),
];

/// The flags of preadv2 and pwritev2 that the words say.
pub fn flags_of(words: &str) -> i32 {
    let flag = |word: &str| FLAGS.iter().find(|(name, _)| *name == word).map_or(0, |(_, flag)| *flag);
    words.split('|').map(flag).fold(0, |all, flag| all | flag)
}

/// Any of them.
pub fn random(dice: &mut Dice) -> FlagOp {
    let s = slot(dice);
    match dice.below(100) {
        0..=24 => {
            let flags =
                dice.pick(&["HIPRI", "NOWAIT", "DSYNC", "SYNC", "APPEND", "NOAPPEND", "DONTCACHE", "UNKNOWN", ""]);
            let lengths = lengths(dice);
            // Of nothing nothing is refused.
            let flags = if lengths.iter().sum::<usize>() == 0 { "" } else { flags };
            FlagOp::Preadv2 { slot: s, offset: offset(dice), lengths, flags: flags.to_owned() }
        }
        25..=54 => {
            let flags = dice.pick(&[
                "HIPRI",
                "NOWAIT",
                "DSYNC",
                "SYNC",
                "NOAPPEND",
                "NOAPPEND",
                "APPEND|NOAPPEND",
                "APPEND|SYNC",
                "APPEND|HIPRI",
                "DONTCACHE",
                "ATOMIC",
                "UNKNOWN",
            ]);
            let length = length(dice).max(1);
            FlagOp::Pwritev2 { slot: s, offset: offset(dice), length, fill: b'A', flags: flags.to_owned() }
        }
        55..=57 => FlagOp::CopyWithFlags { from: s, to: slot(dice), flags: dice.pick(&[1, 2, 1 << 31]) },
        58..=67 => {
            let flags = dice.pick(&[0, 1, 2, 4, 7, 8]);
            FlagOp::SyncRange { slot: s, offset: offset(dice), length: length(dice) as i64, flags }
        }
        68..=75 => {
            // DONTNEED is what [`super::file_ops::FileOp::Forget`] does.
            let advice = dice.pick(&[
                libc::POSIX_FADV_NORMAL,
                libc::POSIX_FADV_SEQUENTIAL,
                libc::POSIX_FADV_RANDOM,
                libc::POSIX_FADV_WILLNEED,
                libc::POSIX_FADV_NOREUSE,
                77,
            ]);
            FlagOp::Advise { slot: s, offset: offset(dice), length: length(dice) as i64, advice }
        }
        76..=79 => FlagOp::ReadAhead { slot: s, offset: offset(dice), length: length(dice) },
        80..=86 => FlagOp::LimitedCut { slot: s, length: offset(dice), limit: dice.below(30_000) },
        87..=94 => {
            let mode = dice.pick(&[0, libc::FALLOC_FL_KEEP_SIZE, libc::FALLOC_FL_ZERO_RANGE]);
            FlagOp::LimitedAllocate { slot: s, mode, length: length(dice) as i64, limit: dice.below(30_000) }
        }
        _ => FlagOp::Poll { slot: s },
    }
}

/// What it may have changed.
pub fn touches(op: &FlagOp) -> Vec<Subject> {
    match op {
        FlagOp::CopyWithFlags { from, to, .. } => vec![Subject::Slot(*from), Subject::Slot(*to)],
        FlagOp::Preadv2 { slot, .. }
        | FlagOp::Pwritev2 { slot, .. }
        | FlagOp::SyncRange { slot, .. }
        | FlagOp::Advise { slot, .. }
        | FlagOp::ReadAhead { slot, .. }
        | FlagOp::LimitedCut { slot, .. }
        | FlagOp::LimitedAllocate { slot, .. } => vec![Subject::Slot(*slot)],
        FlagOp::Poll { .. } => Vec::new(),
    }
}

/// Does it.
pub fn perform(op: &FlagOp, side: &Side) -> Vec<Seen> {
    match op {
        FlagOp::Preadv2 { slot, flags, .. } | FlagOp::Pwritev2 { slot, flags, .. }
            if flags_of(flags) & libc::RWF_NOWAIT != 0 && !is_of_disk(side.fd(*slot)) =>
        {
            // A fifo can do without waiting.
            Vec::new()
        }
        FlagOp::Preadv2 { slot, offset, lengths, flags } => {
            let mut buffers: Vec<Vec<u8>> = lengths.iter().map(|n| vec![0; *n]).collect();
            let vectors = vectors(&mut buffers);
            let count = vectors.len() as i32;
            let call = call!(libc::preadv2(side.fd(*slot), vectors.as_ptr(), count, *offset, flags_of(flags)));
            Seen::with_bytes(call, &buffers.concat())
        }
        FlagOp::Poll { slot } => {
            let mut asked = libc::pollfd { fd: side.fd(*slot), events: libc::POLLIN | libc::POLLOUT, revents: 0 };
            let call = call!(libc::poll(&mut asked, 1, 0));
            vec![Seen::returned(call), Seen::text("poll", format!("{:#x}", asked.revents))]
        }
        FlagOp::LimitedAllocate { slot, mode, length, limit }
            if !side.is_mount && *length as u64 > *limit && grows(side.fd(*slot), *mode, *length) =>
        {
            // [`super::differences::LIMITED`]
            vec![Seen::returned(Err(libc::EFBIG))]
        }
        _ => vec![Seen::returned(change(op, side))],
    }
}

/// Whether that much can be reserved, and the file is longer then.
fn grows(fd: i32, mode: i32, length: i64) -> bool {
    let writes = call!(libc::fcntl(fd, libc::F_GETFL))
        .is_ok_and(|flags| flags as i32 & libc::O_ACCMODE != libc::O_RDONLY && flags as i32 & libc::O_PATH == 0);
    let shorter = |s: super::seen::Stat| s.mode & libc::S_IFMT == libc::S_IFREG && (s.size as i64) < length;
    writes && mode & libc::FALLOC_FL_KEEP_SIZE == 0 && stat(fd, c"".as_ptr(), libc::AT_EMPTY_PATH).is_ok_and(shorter)
}

/// A file or a directory; also what is not open, as that is refused anyway.
fn is_of_disk(fd: i32) -> bool {
    let kind = stat(fd, c"".as_ptr(), libc::AT_EMPTY_PATH).map(|s| s.mode & libc::S_IFMT);
    !matches!(kind, Ok(kind) if kind != libc::S_IFREG && kind != libc::S_IFDIR)
}

/// The operations that return nothing but a number.
fn change(op: &FlagOp, side: &Side) -> Call {
    match op {
        FlagOp::Pwritev2 { slot, offset, length, fill, flags } => {
            let mut buffers = [vec![*fill; *length]];
            let vectors = vectors(&mut buffers);
            call!(libc::pwritev2(side.fd(*slot), vectors.as_ptr(), 1, *offset, flags_of(flags)))
        }
        FlagOp::CopyWithFlags { from, to, flags } => {
            let nowhere = std::ptr::null_mut;
            call!(libc::copy_file_range(side.fd(*from), nowhere(), side.fd(*to), nowhere(), 1, *flags))
        }
        FlagOp::SyncRange { slot, offset, length, flags } => {
            call!(libc::sync_file_range(side.fd(*slot), *offset, *length, *flags))
        }
        FlagOp::Advise { slot, offset, length, advice } => {
            // It answers with the error itself.
            match call!(libc::posix_fadvise(side.fd(*slot), *offset, *length, *advice))? {
                0 => Ok(0),
                errno => Err(errno as i32),
            }
        }
        FlagOp::ReadAhead { slot, offset, length } => {
            call!(libc::readahead(side.fd(*slot), *offset, *length))
        }
        FlagOp::LimitedCut { slot, length, limit } => {
            super::file_ops::limited(*limit, || call!(libc::ftruncate(side.fd(*slot), *length)))
        }
        FlagOp::LimitedAllocate { slot, mode, length, limit } => {
            super::file_ops::limited(*limit, || call!(libc::fallocate(side.fd(*slot), *mode, 0, *length)))
        }
        FlagOp::Preadv2 { .. } | FlagOp::Poll { .. } => unreachable!("they return more than a number"),
    }
}
