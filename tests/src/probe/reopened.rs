//! A file that is written while others open and read it all the time: once a write is complete, every read shows it.

use super::{Found, demand, tried};
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

const LENGTH: usize = 256 << 10;
/// Of one write: several pages, of which the kernel may have to wait for one.
const BYTES: usize = 64 << 10;
const PAGE: usize = 4096;
const READERS: usize = 2;

/// So many writes of a new file, each read back. What the file system may have the kernel forget whenever a file is opened must
/// not be what a write is about to make of it.
pub fn run(file: &str, writes: usize) -> Found {
    let f = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(file);
    let f = tried(file, f)?;
    tried(file, f.write_all_at(&vec![0; LENGTH], 0))?;
    let (done, read) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..READERS {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    match fs::read(file) {
                        Ok(_) => read.fetch_add(1, Ordering::Relaxed),
                        Err(_) => return,
                    };
                }
            });
        }
        let found = (1..=writes).try_for_each(|n| write_and_read(&f, n));
        done.store(true, Ordering::Relaxed);
        found
    })?;
    let read = read.into_inner();
    demand(read > writes / 100, format!("it was opened and read {read} times only beside {writes} writes"))
}

fn write_and_read(f: &File, n: usize) -> Found {
    let byte = (n % 255) as u8 + 1;
    // Everywhere in turn, and seldom where the one before was.
    let at = (n * 7 % ((LENGTH - BYTES) / PAGE)) * PAGE;
    tried(format!("write {n}"), f.write_all_at(&[byte; BYTES], at as u64))?;
    let mut got = vec![0; BYTES];
    tried(format!("read {n}"), f.read_exact_at(&mut got, at as u64))?;
    let stale = got.iter().filter(|b| **b != byte).count();
    demand(stale == 0, format!("write {n} is complete, and {stale} of its bytes at {at} are read as they were before"))
}
