//! One file by three ways at once: through the page cache, past it (O_DIRECT), and by a shared mapping. Each sees what
//! the others did, in the order in which it was done.

use super::dice::Dice;
use super::{Found, demand, tried};
use std::fs::{File, OpenOptions};
use std::io::{Error, Result};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};

const BLOCK: u64 = 4096;
/// The file never gets longer; it is mapped as a whole.
const BLOCKS: u64 = 300;
const LENGTH: usize = (BLOCK * BLOCKS) as usize;
/// Of one step.
const BLOCKS_AT_ONCE: u64 = 40;

struct Ways {
    cached: File,
    direct: File,
    /// The whole file, until the process ends. No reference: it changes by the other ways, too.
    map: *mut u8,
    /// Begins on a block's bound, which a local disk asks of O_DIRECT.
    room: Vec<u8>,
}

/// So many steps on a new file, each compared with what must come of it.
pub fn run(file: &str, steps: usize, seed: u64) -> Found {
    let mut ways = tried(file, open(file))?;
    let mut dice = Dice::new(seed);
    let mut expected = vec![0u8; LENGTH];
    for step in 0..steps {
        let at = dice.below(BLOCKS);
        let blocks = 1 + dice.below((BLOCKS - at).min(BLOCKS_AT_ONCE));
        // What goes past the cache is in whole blocks, the rest is not.
        let way = dice.below(3);
        let shift = if way == 0 { 0 } else { dice.below(BLOCK) };
        let range = (at * BLOCK + shift) as usize..((at + blocks) * BLOCK) as usize;
        let what = dice.below(8);
        let said = |e: Error| format!("seed {seed}, step {step}: {what} by way {way} at {range:?}: {e}");
        match what {
            0..=2 => {
                let bytes = dice.bytes(range.len());
                expected[range.clone()].copy_from_slice(&bytes);
                ways.write(way, range.start, &bytes).map_err(said)?;
            }
            3 => {
                expected[range.clone()].fill(0);
                let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
                // SAFETY: only changes an open file.
                let done =
                    unsafe { libc::fallocate(ways.cached.as_raw_fd(), mode, range.start as i64, range.len() as i64) };
                if done != 0 {
                    return Err(said(Error::last_os_error()));
                }
            }
            4 => {
                // Cut and made as long again, since the mapping must not reach beyond the end when it is used.
                expected[range.start..].fill(0);
                let cut = ways.cached.set_len(range.start as u64);
                cut.and_then(|()| ways.direct.set_len(LENGTH as u64)).map_err(said)?;
            }
            _ => {
                let got = ways.read(way, range.start, range.len()).map_err(said)?;
                let wrong = (0..got.len()).find(|&n| got[n] != expected[range.start + n]);
                demand(
                    wrong.is_none() && got.len() == range.len(),
                    format!(
                        "seed {seed}, step {step}: way {way}, {range:?}: wrong from {wrong:?}, {} bytes",
                        got.len()
                    ),
                )?;
            }
        }
    }
    Ok(())
}

fn open(file: &str) -> Result<Ways> {
    let cached = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(file)?;
    cached.set_len(LENGTH as u64)?;
    let direct = OpenOptions::new().read(true).write(true).custom_flags(libc::O_DIRECT).open(file)?;
    let (fd, access) = (cached.as_raw_fd(), libc::PROT_READ | libc::PROT_WRITE);
    // SAFETY: a fresh mapping of an open file, checked for failure before use.
    let address = unsafe { libc::mmap(std::ptr::null_mut(), LENGTH, access, libc::MAP_SHARED, fd, 0) };
    if address == libc::MAP_FAILED {
        return Err(Error::last_os_error());
    }
    Ok(Ways { cached, direct, map: address.cast::<u8>(), room: vec![0; ((BLOCKS_AT_ONCE + 1) * BLOCK) as usize] })
}

impl Ways {
    fn aligned(&mut self, length: usize) -> &mut [u8] {
        let from = self.room.as_ptr().align_offset(BLOCK as usize);
        &mut self.room[from..from + length]
    }

    fn write(&mut self, way: u64, at: usize, bytes: &[u8]) -> Result<()> {
        match way {
            0 => {
                self.aligned(bytes.len()).copy_from_slice(bytes);
                let from = self.room.as_ptr().align_offset(BLOCK as usize);
                self.direct.write_all_at(&self.room[from..from + bytes.len()], at as u64)
            }
            1 => self.cached.write_all_at(bytes, at as u64),
            _ => {
                demand_inside(at, bytes.len())?;
                // SAFETY: inside the mapping.
                unsafe { self.map.add(at).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
                Ok(())
            }
        }
    }

    fn read(&mut self, way: u64, at: usize, length: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        match way {
            0 => {
                let from = self.room.as_ptr().align_offset(BLOCK as usize);
                self.direct.read_exact_at(&mut self.room[from..from + length], at as u64)?;
                bytes.copy_from_slice(self.aligned(length));
            }
            1 => self.cached.read_exact_at(&mut bytes, at as u64)?,
            _ => {
                demand_inside(at, length)?;
                // SAFETY: inside the mapping.
                unsafe { self.map.add(at).copy_to_nonoverlapping(bytes.as_mut_ptr(), length) };
            }
        }
        Ok(bytes)
    }
}

fn demand_inside(at: usize, length: usize) -> Result<()> {
    if at + length <= LENGTH { Ok(()) } else { Err(Error::from_raw_os_error(libc::ERANGE)) }
}
