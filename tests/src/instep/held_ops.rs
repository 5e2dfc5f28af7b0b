//! Mappings that stay from step to step, while the file is written, cut, punched, moved and unlinked by other calls. What
//! they hold is touched by system calls that copy from and to it: behind the end of a file they answer `EFAULT` where a
//! program would get a signal.

use super::names::slot;
use super::seen::Seen;
use super::side::{Side, stat, stat_seen};
use super::sys::{Call, call, called, errno_name};
use crate::dice::Dice;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Mappings that a history holds at once.
pub const MAPS: usize = 3;

const PAGE: usize = 4096;

/// An operation on mappings that are held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "named as the system calls and their arguments are")]
pub enum HeldOp {
    /// Maps some pages of a file, in place of what was mapped there.
    Map {
        map: u8,
        slot: u8,
        shared: bool,
        write: bool,
        page: usize,
        pages: usize,
    },
    /// Reads some pages of a mapping.
    Load {
        map: u8,
        page: usize,
        pages: usize,
    },
    /// Writes so many bytes at this place in a mapping, as far as the file goes; or (`past`) as far as its last page goes,
    /// where nobody is to find them.
    Store {
        map: u8,
        at: usize,
        length: usize,
        fill: u8,
        sync: bool,
        #[serde(default)]
        past: bool,
    },
    Sync {
        map: u8,
        flags: i32,
    },
    Advise {
        map: u8,
        page: usize,
        pages: usize,
        advice: i32,
    },
    Protect {
        map: u8,
        write: bool,
    },
    Resize {
        map: u8,
        pages: usize,
    },
    Unmap {
        map: u8,
    },
}

/// Any of them.
pub fn random(dice: &mut Dice) -> HeldOp {
    let map = dice.below(MAPS as u64) as u8;
    let (page, pages) = (dice.below(5) as usize, 1 + dice.below(6) as usize);
    match dice.below(100) {
        0..=19 => HeldOp::Map {
            map,
            slot: slot(dice),
            shared: dice.percent(70),
            write: dice.percent(75),
            page: dice.pick(&[0, 0, 0, 0, 1, 2, 1023, 1024]),
            pages,
        },
        20..=49 => HeldOp::Load { map, page: dice.pick(&[0, 0, page]), pages },
        50..=77 => HeldOp::Store {
            map,
            at: dice.below((3 * PAGE) as u64) as usize,
            length: 1 + dice.below(6000) as usize,
            fill: b'0' + dice.below(10) as u8,
            sync: dice.percent(20),
            past: dice.percent(30),
        },
        78..=82 => HeldOp::Sync {
            map,
            flags: dice.pick(&[
                libc::MS_SYNC,
                libc::MS_SYNC,
                libc::MS_ASYNC,
                libc::MS_SYNC | libc::MS_INVALIDATE,
                3,
                5,
            ]),
        },
        83..=90 => HeldOp::Advise {
            map,
            page,
            pages: pages.min(3),
            advice: dice.pick(&[
                libc::MADV_DONTNEED,
                libc::MADV_REMOVE,
                libc::MADV_REMOVE,
                libc::MADV_WILLNEED,
                libc::MADV_POPULATE_READ,
                libc::MADV_POPULATE_WRITE,
                libc::MADV_FREE,
            ]),
        },
        91..=93 => HeldOp::Protect { map, write: dice.percent(60) },
        94..=96 => HeldOp::Resize { map, pages },
        _ => HeldOp::Unmap { map },
    }
}

/// A mapping, and its file.
pub struct Held {
    address: usize,
    length: usize,
    /// Where in the file it begins.
    from: usize,
    shared: bool,
    file: OwnedFd,
    /// The inode's number.
    ino: u64,
    /// Something was stored that may not have been written back yet: until then the mount does not know of it, and does
    /// not set the file's times.
    dirty: bool,
}

impl Drop for Held {
    fn drop(&mut self) {
        // What failed has left it mapped, and its address is not used again.
        let _ = self.unmap();
    }
}

impl Held {
    fn at(&self, offset: usize) -> *mut libc::c_void {
        (self.address + offset) as *mut libc::c_void
    }

    fn unmap(&mut self) -> Call {
        let length = std::mem::take(&mut self.length);
        if length == 0 { Ok(0) } else { call!(libc::munmap(self.at(0), length)) }
    }

    /// Bytes of the mapping that the file reaches into.
    fn usable(&self) -> usize {
        self.stat().map_or(0, |stat| (stat.size as usize).saturating_sub(self.from).min(self.length))
    }

    fn stat(&self) -> Result<super::seen::Stat, i32> {
        stat(self.file.as_raw_fd(), c"".as_ptr(), libc::AT_EMPTY_PATH)
    }

    fn seen(&self) -> Seen {
        stat_seen("the mapped file", self.stat())
    }
}

/// The inodes of the mappings whose bytes may not have been written back.
pub fn dirty(maps: &[Option<Held>]) -> Vec<u64> {
    maps.iter().flatten().filter(|held| held.dirty).map(|held| held.ino).collect()
}

/// The inodes of all mappings.
pub fn mapped(maps: &[Option<Held>]) -> Vec<u64> {
    maps.iter().flatten().map(|held| held.ino).collect()
}

/// Does it.
pub fn perform(op: &HeldOp, side: &mut Side) -> Vec<Seen> {
    if let HeldOp::Map { map, slot, shared, write, page, pages } = op {
        let held = make(side.fd(*slot), *shared, *write, page * PAGE, pages * PAGE);
        let returned = Seen::returned(held.as_ref().map(|_| 0).map_err(|errno| *errno));
        let mut seen = vec![returned];
        if let Ok(held) = held {
            seen.extend(close(side.maps[usize::from(*map)].replace(held)));
        }
        return seen;
    }
    let settled = side.is_shared;
    match op {
        HeldOp::Unmap { map } => {
            let held = side.maps[usize::from(*map)].take();
            if held.is_none() { vec![Seen::returned(Err(libc::EBADF))] } else { close(held) }
        }
        HeldOp::Load { map, .. }
        | HeldOp::Store { map, .. }
        | HeldOp::Sync { map, .. }
        | HeldOp::Advise { map, .. }
        | HeldOp::Protect { map, .. }
        | HeldOp::Resize { map, .. } => match &mut side.maps[usize::from(*map)] {
            Some(held) => {
                let mut seen = touch(op, held, settled);
                seen.push(held.seen());
                seen
            }
            None => vec![Seen::returned(Err(libc::EBADF))],
        },
        HeldOp::Map { .. } => unreachable!("it needs no mapping"),
    }
}

fn make(fd: i32, shared: bool, write: bool, from: usize, length: usize) -> Result<Held, i32> {
    let protection = if write { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
    let flags = if shared { libc::MAP_SHARED } else { libc::MAP_PRIVATE };
    // SAFETY: a fresh mapping, checked for failure before use.
    let address = unsafe { libc::mmap(std::ptr::null_mut(), length, protection, flags, fd, from as i64) };
    if address == libc::MAP_FAILED {
        return Err(called(-1).err().unwrap_or(libc::EIO));
    }
    let copy = call!(libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 0));
    // SAFETY: the kernel has just given us this descriptor, and nobody else knows it.
    let file = unsafe { OwnedFd::from_raw_fd(copy? as i32) };
    let mut held = Held { address: address as usize, length, from, shared, file, ino: 0, dirty: false };
    held.ino = held.stat()?.ino;
    Ok(held)
}

/// Unmaps it and looks at its file then, which may be settled by that.
fn close(held: Option<Held>) -> Vec<Seen> {
    let Some(mut held) = held else { return Vec::new() };
    let unmapped = held.unmap();
    vec![Seen { what: "munmap".to_owned(), ..Seen::returned(unmapped) }, held.seen()]
}

/// What needs a mapping. `settled`: other processes look at the file, too, and know nothing of what is not written back.
fn touch(op: &HeldOp, held: &mut Held, settled: bool) -> Vec<Seen> {
    match op {
        HeldOp::Load { page, pages, .. } => load(held, *page, *pages),
        HeldOp::Store { at, length, fill, sync, past, .. } => {
            let mut seen = vec![store(held, *at..*at + *length, *fill, *past)];
            if *sync || settled {
                let synced = msync(held, libc::MS_SYNC);
                seen.push(Seen { what: "msync".to_owned(), ..Seen::returned(synced) });
            }
            seen
        }
        HeldOp::Sync { flags, .. } => vec![Seen::returned(msync(held, *flags))],
        HeldOp::Advise { page, pages, advice, .. } => {
            if *advice == libc::MADV_POPULATE_WRITE && settled {
                return Vec::new();
            }
            // Not beyond it: what lies there is the program's own.
            let (from, end) = (page * PAGE, ((page + pages) * PAGE).min(held.length));
            if from >= end {
                return Vec::new();
            }
            let call = call!(libc::madvise(held.at(from), end - from, *advice));
            // However far it came.
            held.dirty |= held.shared && *advice == libc::MADV_POPULATE_WRITE;
            vec![Seen::returned(call)]
        }
        HeldOp::Protect { write, .. } => {
            let protection = if *write { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
            vec![Seen::returned(call!(libc::mprotect(held.at(0), held.length, protection)))]
        }
        HeldOp::Resize { pages, .. } => {
            let length = pages * PAGE;
            // SAFETY: the mapping is ours, and nobody keeps its address but `held`.
            let address = unsafe { libc::mremap(held.at(0), held.length, length, libc::MREMAP_MAYMOVE) };
            if address == libc::MAP_FAILED {
                return vec![Seen::returned(called(-1))];
            }
            (held.address, held.length) = (address as usize, length);
            vec![Seen::returned(Ok(0))]
        }
        HeldOp::Map { .. } | HeldOp::Unmap { .. } => unreachable!("they are made elsewhere"),
    }
}

fn msync(held: &mut Held, flags: i32) -> Call {
    let synced = call!(libc::msync(held.at(0), held.length, flags));
    if synced.is_ok() && flags & libc::MS_SYNC != 0 {
        held.dirty = false;
    }
    synced
}

/// A file in memory, as a stop for bytes on their way from or to a mapping.
fn stop() -> Result<OwnedFd, i32> {
    let fd = call!(libc::memfd_create(c"stop".as_ptr(), libc::MFD_CLOEXEC))?;
    // SAFETY: the kernel has just given us this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Page by page, as far as the file goes; pages behind its end, and all of a page that does not come, are an errno.
fn load(held: &Held, page: usize, pages: usize) -> Vec<Seen> {
    let Ok(stop) = stop() else { return vec![Seen::text("load", "no memory")] };
    let usable = held.usable();
    let (mut bytes, mut words) = (Vec::new(), String::new());
    for at in (page..page + pages).map(|page| page * PAGE).take_while(|at| *at < held.length) {
        // What lies behind the end, in the last page, is there until the kernel looks at the page again: at any time.
        let length = match usable.saturating_sub(at) {
            0 => PAGE,
            there => there.min(PAGE),
        };
        match call!(libc::pwrite(stop.as_raw_fd(), held.at(at), length, 0)) {
            Ok(n) if n as usize == length => {
                let mut buffer = vec![0u8; length];
                let read = call!(libc::pread(stop.as_raw_fd(), buffer.as_mut_ptr().cast(), length, 0));
                words.push_str(if read == Ok(n) { "bytes " } else { "lost " });
                bytes.extend(buffer);
            }
            Ok(n) => words.push_str(&format!("{n} bytes ")),
            Err(errno) => words.push_str(&format!("{} ", errno_name(errno))),
        }
    }
    vec![Seen::text("load", words), Seen::bytes("mapped bytes", bytes)]
}

fn store(held: &mut Held, range: Range<usize>, fill: u8, past: bool) -> Seen {
    let Ok(stop) = stop() else { return Seen::text("store", "no memory") };
    let source = vec![fill; PAGE];
    let filled = call!(libc::pwrite(stop.as_raw_fd(), source.as_ptr().cast(), PAGE, 0));
    let usable = held.usable();
    let mut words = format!("{:?} ", filled.is_ok());
    let (mut at, end) = (range.start, range.end.min(held.length));
    while at < end {
        let next = (at - at % PAGE + PAGE).min(end);
        // Behind the end of the file, but in its last page, a program may write what nobody keeps; a page that is not
        // there cannot be written.
        let last_page = usable.next_multiple_of(PAGE);
        let stop_at = if at < last_page && !past { next.min(usable) } else { next };
        if stop_at > at {
            let call = call!(libc::pread(stop.as_raw_fd(), held.at(at), stop_at - at, 0));
            held.dirty |= held.shared && call.is_ok();
            words.push_str(&call.map_or_else(errno_name, |n| n.to_string()));
            words.push(' ');
        }
        at = next;
    }
    Seen::text("store", words)
}
