//! An append log, each line of which is made durable: what was acknowledged must be there afterwards, in order, once.

use super::{Found, demand, listen, told_to_end, tried};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

/// How a line is made durable.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// With fsync after it.
    Fsync,
    /// The file was opened with O_SYNC.
    OSync,
    /// It is written through a mapping, and that synced with msync.
    Msync,
}

impl By {
    /// By the word for it.
    pub fn named(word: &str) -> Result<By, String> {
        match word {
            "fsync" => Ok(By::Fsync),
            "osync" => Ok(By::OSync),
            "msync" => Ok(By::Msync),
            _ => Err(format!("{word:?} is no way to make a line durable")),
        }
    }
}

/// Appends numbered lines until told, each made durable. After that the number goes to standard output: redirected
/// to a file elsewhere, that is the record of what was acknowledged, even if this process is killed.
pub fn write(file: &str, by: By) -> Found {
    listen();
    let flags = if by == By::OSync { libc::O_SYNC } else { 0 };
    let mut options = OpenOptions::new();
    options.read(by == By::Msync).append(true).create(true).custom_flags(flags);
    let mut log = tried(file, options.open(file))?;
    let mut acknowledged = std::io::stdout();
    let (mut number, mut end) = (0u64, 0);
    while !told_to_end() {
        number += 1;
        let line = format!("line {number}\n");
        match by {
            By::Fsync => {
                tried(format!("append line {number}"), log.write_all(line.as_bytes()))?;
                tried(format!("fsync line {number}"), log.sync_all())?;
            }
            By::OSync => tried(format!("append line {number}"), log.write_all(line.as_bytes()))?,
            By::Msync => {
                tried(format!("make room for line {number}"), log.set_len(end + line.len() as u64))?;
                tried(format!("fsync room for line {number}"), log.sync_all())?;
                map_line(&log, end, line.as_bytes()).map_err(|e| format!("msync line {number}: {e}"))?;
            }
        }
        end += line.len() as u64;
        tried("say so", writeln!(acknowledged, "{number}"))?;
    }
    Ok(())
}

/// Writes bytes through a mapping of their own, and syncs that.
fn map_line(log: &File, at: u64, line: &[u8]) -> std::io::Result<()> {
    const PAGE: u64 = 4096;
    let start = at / PAGE * PAGE;
    let length = (at - start) as usize + line.len();
    let (access, shared) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
    // SAFETY: a new mapping of an open file.
    let map =
        unsafe { libc::mmap(std::ptr::null_mut(), length, access, shared, log.as_raw_fd(), start as libc::off_t) };
    if map == libc::MAP_FAILED {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: the mapping is that long, the file reaches to its end, and nobody else uses it.
    unsafe {
        let bytes = map.cast::<u8>().add((at - start) as usize);
        std::ptr::copy_nonoverlapping(line.as_ptr(), bytes, line.len());
        let synced = libc::msync(map, length, libc::MS_SYNC);
        let result = if synced == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) };
        libc::munmap(map, length);
        result
    }
}

/// Every acknowledged line is in the log, all lines are in order, and none is there twice.
pub fn check(file: &str, acknowledged: &str) -> Found {
    let log = tried(file, std::fs::read_to_string(file))?;
    let acknowledged = tried(acknowledged, std::fs::read_to_string(acknowledged))?;
    let last: u64 = acknowledged.lines().rev().find_map(|l| l.parse().ok()).unwrap_or(0);
    demand(last > 0, "nothing was acknowledged: this proves nothing")?;
    let mut expected = 1;
    for line in log.lines() {
        // Only the very last line, which nobody acknowledged, may be cut short.
        let wanted = format!("line {expected}");
        if line != wanted {
            return demand(expected > last, format!("line {expected} is {line:?}, and {last} were acknowledged"));
        }
        expected += 1;
    }
    demand(expected > last, format!("the log ends after {} lines, and {last} were acknowledged", expected - 1))?;
    println!("acknowledged={last} found={}", expected - 1);
    Ok(())
}
