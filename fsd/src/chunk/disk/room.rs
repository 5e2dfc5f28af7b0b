//! How much may still be written: the file system's free space, less a reserve that the log and the names live from
//! when files have filled the disk.
//!
//! Asks the file system only now and then while there is plenty; whenever little is left, each time.

use crate::chunk::io;
use parking_lot::Mutex;
use raidfs_common::checksum;
use raidfs_common::pair::Space;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

/// Tells this machine, and this boot of it, from others: numbers of devices are given anew at each.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
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

    /// Which file system it is: a number that no other of this boot of this machine has, nor of another machine; 0 if it
    /// cannot be told.
    pub fn file_system(&self) -> u64 {
        let (Ok(found), Ok(boot)) = (self.dir.metadata(), std::fs::read(BOOT_ID)) else { return 0 };
        checksum::name(boot.into_iter().chain(found.dev().to_le_bytes()))
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
    fn directories_of_one_file_system_know_each_other() {
        let number = |path: &std::path::Path| Room::new(File::open(path).unwrap()).file_system();
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        assert_eq!(number(one.path()), number(two.path()));
        assert_ne!(number(one.path()), number(std::path::Path::new("/proc")));
        assert_ne!(number(one.path()), 0);
    }

    #[test]
    fn the_reserve_suits_the_disk() {
        assert_eq!(reserve(100 << 20), 10 << 20);
        assert_eq!(reserve(4 << 30), 64 << 20);
        assert_eq!(reserve(100 << 30), 1 << 30);
        assert_eq!(reserve(100 << 40), 4 << 30);
    }
}
