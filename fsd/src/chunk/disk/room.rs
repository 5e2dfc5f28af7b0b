//! How much may still be written: the file system's free space, less a reserve that the log and the names live from
//! when files have filled the disk.
//!
//! Asks the file system only now and then while there is plenty; whenever little is left, each time.

use crate::chunk::io;
use parking_lot::Mutex;
use raidfs_common::pair::Space;
use std::fs::File;
use std::time::{Duration, Instant};

/// Least reserve of a disk that is not tiny.
const RESERVE_MIN_BYTES: u64 = 64 << 20;
/// Largest reserve, however large the disk.
const RESERVE_MAX_BYTES: u64 = 4 << 30;
/// Less than this left is little.
const LITTLE_BYTES: u64 = 256 << 20;
/// What was learned is used for so long.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// What of a disk of so many bytes counts as not free: a hundredth within bounds, and of a tiny disk a tenth at most.
pub fn reserve(total: u64) -> u64 {
    (total / 100).clamp(RESERVE_MIN_BYTES, RESERVE_MAX_BYTES).min(total / 10)
}

/// What files do not get in any case. Between this and [`reserve`] nothing is free, and still a change is made: two
/// mirrors that fill up together refuse changes when neither has anything free, before one of them is at its end.
fn untouched(total: u64) -> u64 {
    reserve(total) / 2
}

/// The room of one file system.
#[derive(Debug)]
pub struct Room {
    dir: File,
    known: Mutex<Option<(Instant, u64)>>,
}

impl Room {
    /// The room of the file system that `dir` is on.
    pub fn new(dir: File) -> Room {
        Room { dir, known: Mutex::new(None) }
    }

    /// In all, and free for chunks.
    pub fn space(&self) -> std::io::Result<Space> {
        let (total, free) = io::room(&self.dir)?;
        Ok(Space { total, free: free.saturating_sub(reserve(total)) })
    }

    fn left(&self) -> std::io::Result<u64> {
        let (total, free) = io::room(&self.dir)?;
        Ok(free.saturating_sub(untouched(total)))
    }

    /// Whether `bytes` more may be written. True promises nothing, as others use the disk, too.
    pub fn take(&self, bytes: u64) -> std::io::Result<bool> {
        let mut known = self.known.lock();
        if let Some((asked, left)) = known.as_mut()
            && *left > LITTLE_BYTES + bytes
            && asked.elapsed() < ASK_EVERY
        {
            *left -= bytes;
            return Ok(true);
        }
        let left = self.left()?;
        let enough = left >= bytes;
        *known = Some((Instant::now(), if enough { left - bytes } else { left }));
        Ok(enough)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_suits_the_disk() {
        assert_eq!(reserve(100 << 20), 10 << 20);
        assert_eq!(reserve(4 << 30), 64 << 20);
        assert_eq!(reserve(100 << 30), 1 << 30);
        assert_eq!(reserve(100 << 40), 4 << 30);
    }
}
