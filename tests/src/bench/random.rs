//! One file, 4 KiB at random places, by four threads with a descriptor each.

use super::{Caches, Failed, Run, tried};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

const BLOCK: usize = 4096;
const BLOCKS: u64 = 65_536;
const THREADS: u64 = 4;
const READS: u64 = 4_000;
const WRITES: u64 = 4_000;
const SYNCED: u64 = 1_000;

/// The group.
pub fn run(run: &mut Run<'_>, dir: &Path) -> Result<(), Failed> {
    if !run.wants_any(&["rand-read", "rand-write", "rand-fsync"]) {
        return Ok(());
    }
    let path = dir.join("blocks");
    fill(&path)?;
    let all = |each: u64| (THREADS * each) as f64;
    if run.wants("rand-read") {
        run.time("rand-read", Caches::Cold, all(READS), || {
            in_threads(&path, READS, |file, at, block| file.read_exact_at(block, at))
        })?;
    }
    if run.wants("rand-write") {
        run.time("rand-write", Caches::Settled, all(WRITES), || {
            in_threads(&path, WRITES, |file, at, block| file.write_all_at(block, at))
        })?;
    }
    if run.wants("rand-fsync") {
        run.time("rand-fsync", Caches::Settled, all(SYNCED), || {
            in_threads(&path, SYNCED, |file, at, block| file.write_all_at(block, at).and_then(|()| file.sync_all()))
        })?;
    }
    Ok(())
}

fn fill(path: &Path) -> Result<(), Failed> {
    let file = tried("create", File::create(path))?;
    let block = vec![42; 1 << 20];
    for n in 0..BLOCKS * BLOCK as u64 / block.len() as u64 {
        tried("write", file.write_all_at(&block, n * block.len() as u64))?;
    }
    tried("fsync", file.sync_all())
}

/// Each thread does `operation` so many times, at places of its own random sequence; the same ones in every run.
fn in_threads(
    path: &Path,
    times: u64,
    operation: impl Fn(&File, u64, &mut [u8]) -> std::io::Result<()> + Sync,
) -> Result<(), Failed> {
    let one = |thread: u64| {
        let file = tried("open", OpenOptions::new().read(true).write(true).open(path))?;
        let mut block = vec![thread as u8; BLOCK];
        let mut state = 0x9E37_79B9_7F4A_7C15u64.wrapping_mul(thread + 1);
        for _ in 0..times {
            // xorshift64: enough to jump about.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            tried("at random", operation(&file, state % BLOCKS * BLOCK as u64, &mut block))?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|n| scope.spawn(move || one(n))).collect();
        threads.into_iter().try_for_each(|t| t.join().expect("the threads do not panic"))
    })
}
