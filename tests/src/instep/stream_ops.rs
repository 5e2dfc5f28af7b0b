//! Directories that are read step by step, by buffers that hold a part of them, and gone back in, while entries come and
//! go. In which order entries come is each file system's own affair: judged is what POSIX promises, on each side alone.

use super::names::{Spot, Subject, c_path};
use super::seen::Seen;
use super::side::Side;
use super::sys::{Call, call};
use crate::dice::Dice;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::rc::Rc;

/// Directories that are being read at once.
pub const STREAMS: usize = 2;
/// Places that are remembered of each.
const PLACES: usize = 4;
/// Bytes of a buffer that holds any entry.
const ENTRY_MAX: usize = 24 + 256;

/// An operation on directories that are being read, or one that makes large directories.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "named as what they do")]
pub enum StreamOp {
    /// opendir.
    Begin { stream: u8, at: Spot },
    /// getdents64 with a buffer of so many bytes.
    Next { stream: u8, size: usize },
    /// telldir: remembers the place before the last so many entries of the last buffer.
    Tell { stream: u8, place: u8, short: usize },
    /// seekdir to a place that is remembered.
    Seek { stream: u8, place: u8 },
    /// rewinddir.
    Rewind { stream: u8 },
    /// closedir.
    End { stream: u8 },
    /// Makes so many sockets, whose names are `pad` bytes longer than a number.
    Fill { at: Spot, first: u32, count: u32, pad: usize },
    /// Removes every so-many-th of them.
    Thin { at: Spot, first: u32, count: u32, every: u32, pad: usize },
    /// Renames one of them.
    Move { at: Spot, from: u32, to: u32, pad: usize, flags: u32 },
}

fn any_place(dice: &mut Dice) -> Spot {
    Spot::at(dice.weighed(&[(4, "d"), (3, "."), (2, "e"), (1, "d/e")]))
}

/// Any of them.
pub fn random(dice: &mut Dice) -> StreamOp {
    let stream = dice.below(STREAMS as u64) as u8;
    let place = dice.below(PLACES as u64) as u8;
    // Names of other lengths never meet.
    let pad = dice.weighed(&[(5, 200), (1, 0)]);
    // Mostly one of the first names, of which there are some most of the time.
    let below = dice.weighed(&[(3, 4), (2, 30), (1, 120)]);
    match dice.below(100) {
        0..=11 => StreamOp::Begin { stream, at: any_place(dice) },
        12..=49 => {
            StreamOp::Next { stream, size: dice.pick(&[ENTRY_MAX, 512, 1024, 1024, 4096, 4096, 10_000, 32_768]) }
        }
        50..=59 => StreamOp::Tell { stream, place, short: dice.below(5) as usize },
        60..=66 => StreamOp::Seek { stream, place },
        67..=69 => StreamOp::Rewind { stream },
        70..=73 => StreamOp::End { stream },
        74..=78 => StreamOp::Fill {
            at: any_place(dice),
            first: dice.pick(&[0, 0, 0, 20, 70]),
            // More than a page of the kernel's, than a buffer of the C library's, and than a page of the servers'.
            count: dice.weighed(&[(10, 3), (14, 20), (7, 60), (3, 170), (1, 1100)]),
            pad,
        },
        79..=85 => StreamOp::Thin {
            at: any_place(dice),
            first: dice.pick(&[0, 5, 20, 70, 140]),
            count: if dice.percent(10) { 1200 } else { 1 + dice.below(60) as u32 },
            every: 1 + dice.below(4) as u32,
            pad,
        },
        _ => StreamOp::Move {
            at: any_place(dice),
            from: dice.below(below) as u32,
            to: dice.below(120) as u32,
            pad,
            flags: dice.weighed(&[(3, 0), (1, libc::RENAME_EXCHANGE), (1, libc::RENAME_NOREPLACE)]),
        },
    }
}

/// What it may have changed.
pub fn touches(op: &StreamOp) -> Vec<Subject> {
    match op {
        StreamOp::Fill { at, .. } | StreamOp::Thin { at, .. } | StreamOp::Move { at, .. } => {
            vec![Subject::Path(at.clone())]
        }
        _ => Vec::new(),
    }
}

/// The names of a directory since a reading of it began.
#[derive(Debug)]
pub struct Names {
    /// Those that were there all the time.
    always: BTreeSet<Vec<u8>>,
    /// Those that were there at some time.
    ever: BTreeSet<Vec<u8>>,
}

/// What has come of a reading.
type Returned = BTreeSet<Vec<u8>>;

/// A directory that is being read.
pub struct Reading {
    dir: OwnedFd,
    /// Another descriptor of it, for looking at all its names.
    watch: OwnedFd,
    /// When it was last looked at whether it has changed: its time of change then.
    looked: Option<i128>,
    returned: Returned,
    /// The last buffer: names, and the place behind each; what had been returned before it, and where it began.
    last: Vec<(Vec<u8>, i64)>,
    before: (Returned, i64),
    places: [Option<(i64, Returned)>; PLACES],
}

/// Looks at the names of what is being read on the side where looking does not change anything that is tested. Called
/// behind each step: what is in `watched` then is exact.
pub fn watch(side: &mut Side) {
    for (reading, names) in side.readings.iter_mut().zip(&mut side.watched) {
        let Some(reading) = reading else {
            *names = None;
            continue;
        };
        let now = super::side::stat(reading.watch.as_raw_fd(), c"".as_ptr(), libc::AT_EMPTY_PATH).map(|s| s.mtime).ok();
        let begins = reading.looked.is_none();
        if !begins && reading.looked == now {
            continue;
        }
        reading.looked = now;
        let listed = list(reading.watch.as_raw_fd());
        *names = match names {
            Some(names) if !begins => Some(Rc::new(Names {
                always: names.always.intersection(&listed).cloned().collect(),
                ever: names.ever.union(&listed).cloned().collect(),
            })),
            _ => Some(Rc::new(Names { always: listed.clone(), ever: listed })),
        };
    }
}

/// All names, from the beginning; none of what has been removed.
fn list(fd: i32) -> BTreeSet<Vec<u8>> {
    let mut listed = BTreeSet::new();
    let _ = call!(libc::lseek(fd, 0, libc::SEEK_SET));
    while let Ok(part) = part(fd, 65_536) {
        if part.is_empty() {
            break;
        }
        listed.extend(part.into_iter().map(|(name, _)| name));
    }
    listed
}

/// Names and the places behind them, as many as a buffer holds.
fn part(fd: i32, size: usize) -> Result<Vec<(Vec<u8>, i64)>, i32> {
    let mut buffer = vec![0u8; size];
    let length = call!(libc::syscall(libc::SYS_getdents64, fd, buffer.as_mut_ptr(), buffer.len()))? as usize;
    let (mut entries, mut rest) = (Vec::new(), &buffer[..length]);
    // The kernel's `struct linux_dirent64`: number, place, length of all, kind, name.
    while let [_, _, _, _, _, _, _, _, p0, p1, p2, p3, p4, p5, p6, p7, l0, l1, _, name @ ..] = rest {
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default().to_vec();
        entries.push((name, i64::from_le_bytes([*p0, *p1, *p2, *p3, *p4, *p5, *p6, *p7])));
        rest = rest.get(usize::from(u16::from_le_bytes([*l0, *l1]))..).unwrap_or_default();
    }
    Ok(entries)
}

/// Does it.
pub fn perform(op: &StreamOp, side: &mut Side) -> Vec<Seen> {
    match op {
        // Behind the back of a reader in the shared tree others change what it reads.
        StreamOp::Begin { .. } if side.is_shared => Vec::new(),
        StreamOp::Begin { stream, at } => {
            let (begun, stream) = (begin(at, side), usize::from(*stream));
            let returned = begun.as_ref().map(|_| 0).map_err(|errno| *errno);
            if let Ok(begun) = begun {
                side.readings[stream] = Some(begun);
            }
            vec![Seen::returned(returned)]
        }
        StreamOp::Next { stream, size } => {
            let stream = usize::from(*stream);
            match (&mut side.readings[stream], &side.watched[stream]) {
                (Some(reading), Some(names)) => next(reading, names, *size),
                _ => vec![Seen::returned(Err(libc::EBADF))],
            }
        }
        StreamOp::End { stream } => {
            let ended = side.readings[usize::from(*stream)].take();
            vec![Seen::returned(ended.map(|_| 0).ok_or(libc::EBADF))]
        }
        StreamOp::Tell { stream, .. } | StreamOp::Seek { stream, .. } | StreamOp::Rewind { stream } => {
            match &mut side.readings[usize::from(*stream)] {
                Some(reading) => vec![Seen::returned(place(op, reading))],
                None => vec![Seen::returned(Err(libc::EBADF))],
            }
        }
        StreamOp::Fill { .. } | StreamOp::Thin { .. } | StreamOp::Move { .. } => {
            let (done, refused) = change(op, side);
            vec![Seen::returned(Ok(done)), Seen { what: "refused".to_owned(), ..Seen::returned(refused) }]
        }
    }
}

fn begin(at: &Spot, side: &Side) -> Result<Reading, i32> {
    let path = c_path(&at.path);
    let open = || {
        let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
        let fd = call!(libc::openat(at.dirfd(side), path.as_ptr(), flags))?;
        // SAFETY: the kernel has just given us this descriptor, and nobody else knows it.
        Ok::<_, i32>(unsafe { OwnedFd::from_raw_fd(fd as i32) })
    };
    Ok(Reading {
        dir: open()?,
        watch: open()?,
        looked: None,
        returned: Returned::new(),
        last: Vec::new(),
        before: (Returned::new(), 0),
        places: Default::default(),
    })
}

/// Reads on, and says what POSIX does not allow: an entry that comes twice, one that was never there, and at the end one
/// that was there all the time and has not come.
fn next(reading: &mut Reading, names: &Names, size: usize) -> Vec<Seen> {
    let place = call!(libc::lseek(reading.dir.as_raw_fd(), 0, libc::SEEK_CUR)).unwrap_or(-1);
    let part = match part(reading.dir.as_raw_fd(), size) {
        Ok(part) => part,
        Err(errno) => return vec![Seen::returned(Err(errno))],
    };
    reading.before = (reading.returned.clone(), place);
    let mut wrong = Vec::new();
    let shown = |name: &[u8]| String::from_utf8_lossy(&name[..name.len().min(12)]).into_owned();
    for (name, _) in &part {
        if !names.ever.contains(name) {
            wrong.push(format!("{} was never there", shown(name)));
        }
        if !reading.returned.insert(name.clone()) && names.always.contains(name) {
            wrong.push(format!("{} comes twice", shown(name)));
        }
    }
    if part.is_empty() {
        wrong.extend(names.always.difference(&reading.returned).map(|name| format!("{} is missed", shown(name))));
    }
    reading.last = part;
    vec![Seen::returned(Ok(0)), Seen::text("entries", wrong.join(", "))]
}

fn place(op: &StreamOp, reading: &mut Reading) -> Call {
    let fd = reading.dir.as_raw_fd();
    match op {
        StreamOp::Tell { place, short, .. } => {
            let count = reading.last.len().saturating_sub(*short);
            let (mut returned, mut at) = reading.before.clone();
            for (name, behind) in &reading.last[..count] {
                returned.insert(name.clone());
                at = *behind;
            }
            reading.places[usize::from(*place)] = Some((at, returned));
        }
        StreamOp::Seek { place, .. } => {
            let (at, returned) = reading.places[usize::from(*place)].clone().ok_or(libc::EBADF)?;
            call!(libc::lseek(fd, at, libc::SEEK_SET))?;
            (reading.returned, reading.last) = (returned.clone(), Vec::new());
            reading.before = (returned, at);
        }
        StreamOp::Rewind { .. } => {
            call!(libc::lseek(fd, 0, libc::SEEK_SET))?;
            (reading.returned, reading.last, reading.looked) = (Returned::new(), Vec::new(), None);
            reading.before = (Returned::new(), 0);
            // Where they lead behind a rewinddir is undefined.
            reading.places = Default::default();
        }
        _ => unreachable!("it is about no place"),
    }
    Ok(0)
}

/// How many names were changed, and what was said of the first that was not.
fn change(op: &StreamOp, side: &Side) -> (i64, Call) {
    let path = |at: &Spot, n: u32, pad: usize| c_path(&format!("{}/f{n}{{{pad}}}", at.path));
    let mut done = 0;
    let mut refused = Ok(0);
    let mut count = |call: Call| match call {
        Ok(_) => done += 1,
        Err(errno) if refused.is_ok() => refused = Err(errno),
        Err(_) => {}
    };
    match op {
        StreamOp::Fill { at, first, count: of, pad } => {
            for n in *first..first + of {
                count(call!(libc::mknodat(at.dirfd(side), path(at, n, *pad).as_ptr(), libc::S_IFSOCK | 0o644, 0)));
            }
        }
        StreamOp::Thin { at, first, count: of, every, pad } => {
            for n in (*first..first + of).step_by((*every).max(1) as usize) {
                count(call!(libc::unlinkat(at.dirfd(side), path(at, n, *pad).as_ptr(), 0)));
            }
        }
        StreamOp::Move { at, from, to, pad, flags } => {
            let (from, to, fd) = (path(at, *from, *pad), path(at, *to, *pad), at.dirfd(side));
            count(call!(libc::renameat2(fd, from.as_ptr(), fd, to.as_ptr(), *flags)));
        }
        _ => unreachable!("it changes no names"),
    }
    (done, refused)
}
