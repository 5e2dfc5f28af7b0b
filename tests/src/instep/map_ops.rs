//! Mapped files: private and shared, read and written through the mapping, and synced.

use super::names::slot;
use super::seen::Seen;
use super::side::Side;
use super::sys::{call, called};
use crate::dice::Dice;
use serde::{Deserialize, Serialize};

const PAGE: usize = 4096;

/// Maps some pages of a file, reads them, maybe writes some bytes, and unmaps them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapOp {
    /// The file.
    pub slot: u8,
    /// MAP_SHARED, else MAP_PRIVATE.
    pub shared: bool,
    /// The first page.
    pub page: usize,
    /// How many.
    pub pages: usize,
    /// Writes so many bytes at this place in the mapping; 0 maps for reading only.
    pub write: (usize, usize),
    /// With msync at the end.
    pub sync: bool,
}

/// Any of them.
pub fn random(dice: &mut Dice) -> MapOp {
    let pages = 1 + dice.below(6) as usize;
    let length = if dice.percent(30) { 0 } else { 1 + dice.below(6000) as usize };
    MapOp {
        slot: slot(dice),
        shared: dice.percent(70),
        page: dice.pick(&[0, 0, 0, 1, 2, 1023, 1024]),
        pages,
        write: (dice.below((pages * PAGE) as u64) as usize, length),
        sync: dice.percent(40),
    }
}

/// Does it. What is behind the end of the file is not touched: that would be a signal, not an answer.
pub fn perform(op: &MapOp, side: &Side) -> Vec<Seen> {
    let fd = side.fd(op.slot);
    let protection = if op.write.1 > 0 { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
    let flags = if op.shared { libc::MAP_SHARED } else { libc::MAP_PRIVATE };
    let (from, length) = (op.page * PAGE, op.pages * PAGE);
    let size = super::side::stat(fd, c"".as_ptr(), libc::AT_EMPTY_PATH).map_or(0, |stat| stat.size as usize);
    // SAFETY: a fresh mapping, checked for failure before use.
    let address = unsafe { libc::mmap(std::ptr::null_mut(), length, protection, flags, fd, from as i64) };
    if address == libc::MAP_FAILED {
        return vec![Seen::returned(called(-1))];
    }
    // What is written behind the end, in the last page, is there until the kernel looks at the page again: at any time.
    let usable = size.saturating_sub(from).min(length);
    // SAFETY: the mapping is `length` bytes long, the file reaches into its first `usable` ones, and nobody cuts it
    // meanwhile; it lives until the munmap below.
    let bytes = unsafe { std::slice::from_raw_parts_mut(address.cast::<u8>(), usable) };
    let before = bytes.to_vec();
    let (at, count) = (op.write.0.min(usable), op.write.1);
    if count > 0 {
        let end = (at + count).min(usable);
        bytes[at..end].fill(b'M');
    }
    let synced = if op.sync { call!(libc::msync(address, length, libc::MS_SYNC)) } else { Ok(0) };
    let after = bytes.to_vec();
    let unmapped = call!(libc::munmap(address, length));
    vec![
        Seen::returned(unmapped),
        Seen { what: "msync".to_owned(), ..Seen::returned(synced) },
        Seen::bytes("mapped bytes", before),
        Seen::bytes("mapped bytes behind it", after),
    ]
}
