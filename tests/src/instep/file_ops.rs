//! Operations on the contents of files: open, read, write, cut, allocate, copy, sync.

use super::differences::{self, is_far};
use super::names::{Spot, Subject, c_path, slot, spot};
use super::seen::{Seen, Value};
use super::side::Side;
use super::sys::{Call, call};
use crate::dice::Dice;
use serde::{Deserialize, Serialize};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// An operation on the contents of files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "named as the system calls and their arguments are")]
pub enum FileOp {
    Open { slot: u8, at: Spot, flags: String, mode: u32 },
    Close { slot: u8 },
    Dup { from: u8, to: u8 },
    SetFlags { slot: u8, flags: String },
    GetFlags { slot: u8 },
    Read { slot: u8, length: usize },
    Pread { slot: u8, offset: i64, length: usize },
    Readv { slot: u8, lengths: Vec<usize> },
    Write { slot: u8, length: usize, fill: u8 },
    Pwrite { slot: u8, offset: i64, length: usize, fill: u8 },
    Writev { slot: u8, lengths: Vec<usize>, fill: u8 },
    Pwritev2 { slot: u8, offset: i64, length: usize, fill: u8, flags: String },
    Limited { slot: u8, offset: i64, length: usize, limit: u64 },
    Seek { slot: u8, offset: i64, whence: i32 },
    Ftruncate { slot: u8, length: i64 },
    Truncate { at: Spot, length: i64 },
    Allocate { slot: u8, mode: i32, offset: i64, length: i64 },
    Copy { from: u8, from_offset: Option<i64>, to: u8, to_offset: Option<i64>, length: usize },
    SendFile { from: u8, offset: Option<i64>, to: u8, length: usize },
    Splice { from: u8, from_offset: Option<i64>, to: u8, to_offset: Option<i64>, length: usize },
    Sync { slot: u8, data: bool },
    SyncFs { slot: u8 },
    Forget { slot: u8 },
}

const FLAGS: [(&str, i32); 15] = [
    ("RDONLY", libc::O_RDONLY),
    ("WRONLY", libc::O_WRONLY),
    ("RDWR", libc::O_RDWR),
    ("CREAT", libc::O_CREAT),
    ("EXCL", libc::O_EXCL),
    ("TRUNC", libc::O_TRUNC),
    ("APPEND", libc::O_APPEND),
    ("DIRECT", libc::O_DIRECT),
    ("SYNC", libc::O_SYNC),
    ("DSYNC", libc::O_DSYNC),
    ("NOFOLLOW", libc::O_NOFOLLOW),
    ("PATH", libc::O_PATH),
    ("DIRECTORY", libc::O_DIRECTORY),
    ("TMPFILE", libc::O_TMPFILE),
    ("NOATIME", libc::O_NOATIME),
];

/// The flags of open that the words say.
pub fn flags_of(words: &str) -> i32 {
    let flag = |word: &str| FLAGS.iter().find(|(name, _)| *name == word).map_or(0, |(_, flag)| *flag);
    words.split('|').map(flag).fold(0, |all, flag| all | flag)
}

fn open_flags(dice: &mut Dice) -> String {
    let mut words = vec![dice.weighed(&[(3, "RDONLY"), (2, "WRONLY"), (6, "RDWR")])];
    for (chance, word) in [(45, "CREAT"), (10, "EXCL"), (12, "TRUNC"), (12, "APPEND"), (7, "DIRECT"), (3, "SYNC")] {
        if dice.percent(chance) {
            words.push(word);
        }
    }
    for (chance, word) in [(3, "DSYNC"), (7, "NOFOLLOW"), (4, "PATH"), (6, "DIRECTORY"), (3, "NOATIME")] {
        if dice.percent(chance) {
            words.push(word);
        }
    }
    words.join("|")
}

/// An offset: mostly near the beginning, at times at a boundary of pages or chunks, seldom far away.
pub fn offset(dice: &mut Dice) -> i64 {
    let near = dice.below(20_000) as i64;
    match dice.below(100) {
        0..=54 => near,
        55..=74 => dice.pick(&[0, 1, 511, 512, 4095, 4096, 4097, 8192, 12_288]),
        75..=84 => (4 << 20) + dice.pick(&[-4097, -4096, -1, 0, 1, 4096]),
        85..=90 => (8 << 20) - dice.below(10_000) as i64,
        91..=93 => 100_000 + near,
        94..=96 => (1 << 31) + dice.pick(&[-5000, -1, 0, 1]),
        97 => (1 << 40) + near,
        98 => -1,
        _ => dice.pick(&[i64::MAX, i64::MAX - 10, i64::MIN, -4096]),
    }
}

/// A length: mostly less than some pages.
pub fn length(dice: &mut Dice) -> usize {
    match dice.below(100) {
        0..=3 => 0,
        4..=49 => dice.below(5000) as usize,
        50..=84 => dice.pick(&[1, 511, 512, 4095, 4096, 4097, 8192, 16_384]),
        85..=96 => dice.below(70_000) as usize,
        _ => dice.pick(&[131_072, 300_000, 1_048_576, 1_100_000]),
    }
}

/// Lengths of several buffers.
pub fn lengths(dice: &mut Dice) -> Vec<usize> {
    (0..dice.below(5)).map(|_| length(dice).min(40_000)).collect()
}

fn maybe_offset(dice: &mut Dice) -> Option<i64> {
    dice.percent(70).then(|| offset(dice))
}

/// A length for a file to be cut to, or to grow to.
fn cut(dice: &mut Dice) -> i64 {
    if dice.percent(20) { 0 } else { offset(dice) }
}

/// Any of them.
pub fn random(dice: &mut Dice) -> FileOp {
    let fill = b'a' + dice.below(26) as u8;
    let s = slot(dice);
    match dice.below(100) {
        0..=21 => FileOp::Open { slot: s, at: spot(dice), flags: open_flags(dice), mode: mode(dice) },
        22 => FileOp::Open { slot: s, at: spot(dice), flags: "RDWR|TMPFILE".to_owned(), mode: 0o600 },
        23..=25 => FileOp::Close { slot: s },
        26..=27 => FileOp::Dup { from: s, to: slot(dice) },
        28 => FileOp::SetFlags { slot: s, flags: dice.pick(&["", "APPEND", "DIRECT", "APPEND|DIRECT"]).to_owned() },
        29 => FileOp::GetFlags { slot: s },
        30..=35 => FileOp::Read { slot: s, length: length(dice) },
        36..=41 => FileOp::Pread { slot: s, offset: offset(dice), length: length(dice) },
        42..=43 => FileOp::Readv { slot: s, lengths: lengths(dice) },
        44..=49 => FileOp::Write { slot: s, length: length(dice), fill },
        50..=57 => FileOp::Pwrite { slot: s, offset: offset(dice), length: length(dice), fill },
        58..=59 => FileOp::Writev { slot: s, lengths: lengths(dice), fill },
        60..=61 => {
            let flags = dice.pick(&["", "APPEND", "SYNC", "DSYNC", "APPEND|DSYNC"]).to_owned();
            FileOp::Pwritev2 { slot: s, offset: offset(dice), length: length(dice), fill, flags }
        }
        62 => FileOp::Limited { slot: s, offset: offset(dice), length: length(dice), limit: dice.below(30_000) },
        63..=69 => FileOp::Seek { slot: s, offset: offset(dice), whence: dice.below(6) as i32 },
        70..=73 => FileOp::Ftruncate { slot: s, length: cut(dice) },
        74..=77 => FileOp::Truncate { at: spot(dice), length: cut(dice) },
        78..=83 => allocate(dice, s),
        84..=87 => {
            let (from_offset, to_offset) = (maybe_offset(dice), maybe_offset(dice));
            // More of them long than of other lengths: those the servers copy.
            let length = if dice.percent(25) { dice.pick(&[131_072, 200_000, 1_100_000]) } else { length(dice) };
            FileOp::Copy { from: s, from_offset, to: slot(dice), to_offset, length }
        }
        88..=89 => FileOp::SendFile { from: s, offset: maybe_offset(dice), to: slot(dice), length: length(dice) },
        90..=91 => {
            let (from_offset, to_offset) = (maybe_offset(dice), maybe_offset(dice));
            FileOp::Splice { from: s, from_offset, to: slot(dice), to_offset, length: length(dice) }
        }
        92..=96 => FileOp::Sync { slot: s, data: dice.percent(50) },
        97 => FileOp::SyncFs { slot: s },
        _ => FileOp::Forget { slot: s },
    }
}

fn mode(dice: &mut Dice) -> u32 {
    dice.pick(&[0o644, 0o600, 0o666, 0o777, 0o400, 0o000, 0o4755, 0o2755, 0o6777, 0o1666])
}

fn allocate(dice: &mut Dice, slot: u8) -> FileOp {
    const KEEP: i32 = libc::FALLOC_FL_KEEP_SIZE;
    let mode = dice.pick(&[
        0,
        KEEP,
        libc::FALLOC_FL_PUNCH_HOLE | KEEP,
        libc::FALLOC_FL_PUNCH_HOLE | KEEP,
        libc::FALLOC_FL_PUNCH_HOLE,
        libc::FALLOC_FL_ZERO_RANGE,
        libc::FALLOC_FL_ZERO_RANGE | KEEP,
        libc::FALLOC_FL_COLLAPSE_RANGE,
        libc::FALLOC_FL_INSERT_RANGE,
        libc::FALLOC_FL_UNSHARE_RANGE,
        libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_ZERO_RANGE | KEEP,
        // FALLOC_FL_WRITE_ZEROES, and one that there is not.
        0x80,
        0x1000,
    ]);
    FileOp::Allocate { slot, mode, offset: offset(dice), length: length(dice) as i64 - i64::from(dice.percent(2)) }
}

/// What it may have changed.
pub fn touches(op: &FileOp) -> Vec<Subject> {
    match op {
        FileOp::Open { slot, at, .. } => vec![Subject::Slot(*slot), Subject::Link(at.clone())],
        FileOp::Truncate { at, .. } => vec![Subject::Path(at.clone())],
        FileOp::Copy { from, to, .. } | FileOp::SendFile { from, to, .. } | FileOp::Splice { from, to, .. } => {
            vec![Subject::Slot(*from), Subject::Slot(*to)]
        }
        FileOp::Close { .. } | FileOp::Dup { .. } | FileOp::SyncFs { .. } | FileOp::Forget { .. } => Vec::new(),
        FileOp::SetFlags { slot, .. }
        | FileOp::GetFlags { slot }
        | FileOp::Read { slot, .. }
        | FileOp::Pread { slot, .. }
        | FileOp::Readv { slot, .. }
        | FileOp::Write { slot, .. }
        | FileOp::Pwrite { slot, .. }
        | FileOp::Writev { slot, .. }
        | FileOp::Pwritev2 { slot, .. }
        | FileOp::Limited { slot, .. }
        | FileOp::Seek { slot, .. }
        | FileOp::Ftruncate { slot, .. }
        | FileOp::Allocate { slot, .. }
        | FileOp::Sync { slot, .. } => vec![Subject::Slot(*slot)],
    }
}

/// Bytes that say where they were meant to lie.
fn pattern(fill: u8, length: usize) -> Vec<u8> {
    (0..length).map(|at| fill.wrapping_add((at / 64) as u8 & 7)).collect()
}

/// Buffers as readv and writev take them.
pub fn vectors(buffers: &mut [Vec<u8>]) -> Vec<libc::iovec> {
    buffers.iter_mut().map(|b| libc::iovec { iov_base: b.as_mut_ptr().cast(), iov_len: b.len() }).collect()
}

/// Does it.
pub fn perform(op: &FileOp, side: &mut Side) -> Vec<Seen> {
    let returned = |call: Call| vec![Seen::returned(call)];
    match op {
        FileOp::Read { slot, length } => {
            let mut buffer = vec![0u8; *length];
            let call = call!(libc::read(side.fd(*slot), buffer.as_mut_ptr().cast(), buffer.len()));
            Seen::with_bytes(call, &buffer)
        }
        FileOp::Pread { slot, offset, length } => {
            let mut buffer = vec![0u8; *length];
            let call = call!(libc::pread(side.fd(*slot), buffer.as_mut_ptr().cast(), buffer.len(), *offset));
            Seen::with_bytes(call, &buffer)
        }
        FileOp::Readv { slot, lengths } => {
            let mut buffers: Vec<Vec<u8>> = lengths.iter().map(|n| vec![0; *n]).collect();
            let vectors = vectors(&mut buffers);
            let call = call!(libc::readv(side.fd(*slot), vectors.as_ptr(), vectors.len() as i32));
            Seen::with_bytes(call, &buffers.concat())
        }
        FileOp::Copy { to_offset: Some(offset), .. }
        | FileOp::SendFile { offset: Some(offset), .. }
        | FileOp::Splice { from_offset: Some(offset), .. }
        | FileOp::Splice { to_offset: Some(offset), .. }
            if is_far(*offset) =>
        {
            Vec::new()
        }
        FileOp::Copy { from, from_offset, to, to_offset, length } => {
            let (mut from_at, mut to_at) = (*from_offset, *to_offset);
            let (from, to) = (side.fd(*from), side.fd(*to));
            let call = call!(libc::copy_file_range(from, place(&mut from_at), to, place(&mut to_at), *length, 0));
            vec![Seen::returned(call), Seen::text("offsets", format!("{from_at:?} {to_at:?}"))]
        }
        // Pages that wait in a pipe change when the file is written, unless they are copies (O_DIRECT): what is moved onto
        // itself, or into a pipe of the tree, depends on the cache.
        FileOp::SendFile { from, to, .. } | FileOp::Splice { from, to, .. }
            if is_one_file(side.fd(*from), side.fd(*to)) || is_fifo(side.fd(*to)) =>
        {
            Vec::new()
        }
        FileOp::SendFile { from, offset, to, length } => {
            let mut at = *offset;
            let call = call!(libc::sendfile(side.fd(*to), side.fd(*from), place(&mut at), *length));
            vec![Seen::returned(call), Seen::text("offset", format!("{at:?}"))]
        }
        FileOp::Splice { from, from_offset, to, to_offset, length } => {
            let (from, to) = (side.fd(*from), side.fd(*to));
            splice((from, *from_offset), (to, *to_offset), (*length).min(60_000))
        }
        // A place in a directory is a word of its file system's own, but for its beginning.
        FileOp::Seek { slot, offset, whence }
            if (*offset, *whence) != (0, libc::SEEK_SET) && is_dir(side.fd(*slot)) =>
        {
            Vec::new()
        }
        FileOp::Seek { offset, .. } if is_far(*offset) => Vec::new(),
        FileOp::Seek { slot, offset, whence: whence @ (libc::SEEK_DATA | libc::SEEK_HOLE) } => {
            let fd = side.fd(*slot);
            // Back to where it was: what differs by design must not make what follows differ.
            let place = call!(libc::lseek(fd, 0, libc::SEEK_CUR));
            let sought = call!(libc::lseek(fd, *offset, *whence));
            let back = place.and_then(|place| call!(libc::lseek(fd, place, libc::SEEK_SET)));
            let value = Value::Sought(*whence == libc::SEEK_DATA, sought);
            vec![Seen { what: "found".to_owned(), value }, Seen::returned(back)]
        }
        FileOp::GetFlags { slot } => {
            // O_DIRECT is not asked of the local side, whose rules of alignment are not ours.
            let call = call!(libc::fcntl(side.fd(*slot), libc::F_GETFL));
            returned(call.map(|flags| flags & !i64::from(libc::O_DIRECT | libc::O_LARGEFILE)))
        }
        _ => returned(change(op, side)),
    }
}

fn stat_of(fd: i32) -> Result<super::seen::Stat, i32> {
    super::side::stat(fd, c"".as_ptr(), libc::AT_EMPTY_PATH)
}

/// Whether it is a pipe with a name that is open there.
fn is_fifo(fd: i32) -> bool {
    stat_of(fd).is_ok_and(|stat| differences::is_fifo(&stat))
}

/// Whether it is a directory that is open there.
pub fn is_dir(fd: i32) -> bool {
    stat_of(fd).is_ok_and(|s| s.mode & libc::S_IFMT == libc::S_IFDIR)
}

fn is_one_file(a: i32, b: i32) -> bool {
    matches!((stat_of(a), stat_of(b)), (Ok(a), Ok(b)) if a.ino == b.ino)
}

/// The operations that return nothing but a number.
fn change(op: &FileOp, side: &mut Side) -> Call {
    match op {
        FileOp::Open { slot, at, flags, mode } => {
            let path = c_path(&at.path);
            // Never waits for the other end of a fifo.
            let flags = flags_of(flags) | libc::O_NONBLOCK | libc::O_CLOEXEC;
            let opened = call!(libc::openat(at.dirfd(side), path.as_ptr(), flags, *mode));
            let kept = side.keep(*slot, opened);
            if kept.is_ok() && flags & libc::O_DIRECT != 0 && !side.is_mount {
                // Of O_PATH there is nothing to take back.
                let _ = call!(libc::fcntl(side.fd(*slot), libc::F_SETFL, flags & !libc::O_DIRECT));
            }
            kept
        }
        FileOp::Close { slot } => side.close(*slot),
        FileOp::Dup { from, to } => {
            let copy = call!(libc::fcntl(side.fd(*from), libc::F_DUPFD_CLOEXEC, 0));
            side.keep(*to, copy)
        }
        FileOp::SetFlags { slot, flags } => {
            let flags = flags_of(flags) | libc::O_NONBLOCK;
            let set = call!(libc::fcntl(side.fd(*slot), libc::F_SETFL, flags));
            if set.is_ok() && flags & libc::O_DIRECT != 0 && !side.is_mount {
                call!(libc::fcntl(side.fd(*slot), libc::F_SETFL, flags & !libc::O_DIRECT))?;
            }
            set
        }
        FileOp::Write { slot, length, fill } => {
            let bytes = pattern(*fill, *length);
            call!(libc::write(side.fd(*slot), bytes.as_ptr().cast(), bytes.len()))
        }
        FileOp::Pwrite { slot, offset, length, fill } => {
            let bytes = pattern(*fill, *length);
            call!(libc::pwrite(side.fd(*slot), bytes.as_ptr().cast(), bytes.len(), *offset))
        }
        FileOp::Writev { slot, lengths, fill } => {
            let mut buffers: Vec<Vec<u8>> = lengths.iter().map(|n| pattern(*fill, *n)).collect();
            let vectors = vectors(&mut buffers);
            call!(libc::writev(side.fd(*slot), vectors.as_ptr(), vectors.len() as i32))
        }
        FileOp::Pwritev2 { slot, offset, length, fill, flags } => {
            let mut buffers = [pattern(*fill, *length)];
            let vectors = vectors(&mut buffers);
            call!(libc::pwritev2(side.fd(*slot), vectors.as_ptr(), 1, *offset, write_flags(flags)))
        }
        FileOp::Limited { slot, offset, length, limit } => {
            let bytes = pattern(b'L', *length);
            limited(*limit, || call!(libc::pwrite(side.fd(*slot), bytes.as_ptr().cast(), bytes.len(), *offset)))
        }
        FileOp::Seek { slot, offset, whence } => call!(libc::lseek(side.fd(*slot), *offset, *whence)),
        FileOp::Ftruncate { slot, length } => call!(libc::ftruncate(side.fd(*slot), *length)),
        FileOp::Truncate { at, length } => {
            let path = c_path(&at.path);
            call!(libc::truncate(path.as_ptr(), *length))
        }
        FileOp::Allocate { slot, mode, offset, length } => {
            call!(libc::fallocate(side.fd(*slot), *mode, *offset, *length))
        }
        FileOp::Sync { slot, data: false } => call!(libc::fsync(side.fd(*slot))),
        FileOp::Sync { slot, data: true } => call!(libc::fdatasync(side.fd(*slot))),
        FileOp::SyncFs { slot } => call!(libc::syncfs(side.fd(*slot))),
        FileOp::Forget { slot } => {
            // Only a hint, whose answer is nobody's business.
            let _ = call!(libc::posix_fadvise(side.fd(*slot), 0, 0, libc::POSIX_FADV_DONTNEED));
            Ok(0)
        }
        _ => unreachable!("it returns more than a number"),
    }
}

fn place(offset: &mut Option<i64>) -> *mut i64 {
    offset.as_mut().map_or(std::ptr::null_mut(), std::ptr::from_mut)
}

fn write_flags(words: &str) -> i32 {
    let flag = |word: &str| match word {
        "APPEND" => libc::RWF_APPEND,
        "SYNC" => libc::RWF_SYNC,
        "DSYNC" => libc::RWF_DSYNC,
        _ => 0,
    };
    words.split('|').map(flag).fold(0, |all, flag| all | flag)
}

/// Does `what` while no file may grow beyond `limit`.
pub fn limited(limit: u64, what: impl FnOnce() -> Call) -> Call {
    let mut before = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    call!(libc::getrlimit(libc::RLIMIT_FSIZE, &mut before))?;
    // A limit that is hit ends the process, unless it does not listen.
    let listened = call!(libc::signal(libc::SIGXFSZ, libc::SIG_IGN));
    let lower = libc::rlimit { rlim_cur: limit, rlim_max: before.rlim_max };
    call!(libc::setrlimit(libc::RLIMIT_FSIZE, &lower))?;
    let result = what();
    call!(libc::setrlimit(libc::RLIMIT_FSIZE, &before))?;
    listened.and(result)
}

/// Moves bytes from one file into a pipe, and from there into the other.
fn splice(from: (i32, Option<i64>), to: (i32, Option<i64>), length: usize) -> Vec<Seen> {
    let mut ends = [0; 2];
    if let Err(errno) = call!(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK)) {
        return vec![Seen::returned(Err(errno))];
    }
    // SAFETY: the kernel has just given us these two, and nobody else knows them.
    let [out, into] = ends.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
    let (mut from_at, mut to_at) = (from.1, to.1);
    let mode = libc::SPLICE_F_NONBLOCK;
    // However the bytes lie in pages, a pipe takes them a few pages at a time; what it takes at once is no promise.
    let mut taken = 0;
    let mut first = Ok(0);
    let mut second = Ok(0);
    let mut given = 0;
    while taken < length as i64 {
        first = call!(libc::splice(
            from.0,
            place(&mut from_at),
            into.as_raw_fd(),
            std::ptr::null_mut(),
            length - taken as usize,
            mode
        ));
        let Ok(n @ 1..) = first else { break };
        taken += n;
        while given < taken {
            let rest = (taken - given) as usize;
            second = call!(libc::splice(out.as_raw_fd(), std::ptr::null_mut(), to.0, place(&mut to_at), rest, mode));
            let Ok(n @ 1..) = second else { break };
            given += n;
        }
        if given < taken {
            break;
        }
    }
    let ends = |call: Call| call.map(|_| 0);
    vec![
        Seen::returned(ends(first)),
        Seen { what: "into the file".to_owned(), ..Seen::returned(ends(second)) },
        Seen::text("moved", format!("{given}")),
        Seen::text("offsets", format!("{from_at:?} {to_at:?}")),
    ]
}
