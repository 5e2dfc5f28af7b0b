//! How fast the chunk store is on the disk that a directory is on: `cargo run --release --example chunk_speed -- DIR`.
//! Makes a directory in DIR and removes it again.

use raidfs_common::id::{ChunkId, Ino};
use raidfs_fsd::chunk::ChunkStore;
use raidfs_fsd::chunk::disk::DiskChunks;
use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

const BLOCK: usize = 4096;
const FILES: u64 = 20_000;
const LARGE_CHUNKS: u32 = 64;

fn timed<T>(what: &str, count: u64, bytes: u64, work: impl FnOnce() -> Result<T, Box<dyn Error>>) {
    let (start, cpu) = (Instant::now(), cpu_seconds());
    match work() {
        Ok(_) => {
            let (s, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds() - cpu);
            let (rate, each, cpu) = (count as f64 / s, s * 1e6 / count as f64, cpu * 1e6 / count as f64);
            let gigabytes = bytes as f64 / s / 1e9;
            println!("{what:<36} {rate:>12.0}/s {each:>9.2} us, {cpu:>8.2} us of CPU {gigabytes:>7.2} GB/s");
        }
        Err(e) => println!("{what:<40} failed: {e}"),
    }
}

/// CPU time of this process, the kernel's share included.
fn cpu_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a structure that outlives the call.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn main() -> Result<(), Box<dyn Error>> {
    let under = std::env::args().nth(1).ok_or("give a directory to work in")?;
    let root = PathBuf::from(under).join("chunk_speed");
    std::fs::create_dir_all(root.join("chunks"))?;
    std::fs::create_dir_all(root.join("notes"))?;
    let open = || DiskChunks::open(&root.join("chunks"), &root.join("notes"));
    let store = open()?;
    let small = |n: u64| ChunkId { ino: Ino(n + 2), index: 0 };
    let large = |n: u32| ChunkId { ino: Ino(1), index: n };
    let block = vec![7u8; BLOCK];
    let mebibyte: Vec<u8> = (0..1 << 20).map(|i: u32| (i % 251) as u8).collect();
    let mib = 1u32 << 20;

    timed("4 KiB into new files", FILES, FILES * 4096, || {
        Ok((0..FILES).try_for_each(|n| store.write(small(n), 0, &block).map(drop))?)
    });
    timed("sync of everything", 1, FILES * 4096, || Ok(store.sync_all()?));
    timed("100 bytes appended to them", FILES, FILES * 100, || {
        Ok((0..FILES).try_for_each(|n| store.write(small(n), 4096, &block[..100]).map(drop))?)
    });
    timed("4 KiB over them", FILES, FILES * 4096, || {
        Ok((0..FILES).try_for_each(|n| store.write(small(n), 0, &block).map(drop))?)
    });
    timed("4 KiB read back, files not open", 10_000, 10_000 * 4096, || {
        Ok((0..10_000).try_for_each(|n| store.read(small(n), 0, 4096).map(drop))?)
    });
    timed("1 MiB into a new file", 256, 256 << 20, || {
        let all = (0..LARGE_CHUNKS).flat_map(|n| (0..4).map(move |part| (n, part)));
        Ok(all.into_iter().try_for_each(|(n, part)| store.write(large(n), part * mib, &mebibyte).map(drop))?)
    });
    timed("sync of everything", 1, 256 << 20, || Ok(store.sync_all()?));
    timed("1 MiB over it", 256, 256 << 20, || {
        let all = (0..LARGE_CHUNKS).flat_map(|n| (0..4).map(move |part| (n, part)));
        Ok(all.into_iter().try_for_each(|(n, part)| store.write(large(n), part * mib, &mebibyte).map(drop))?)
    });
    let place = |n: u64| {
        let at = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        (large(at as u32 % LARGE_CHUNKS), (at >> 6) as u32 % 1024 * BLOCK as u32)
    };
    timed("4 KiB reads at random, cached", 200_000, 200_000 * 4096, || {
        (0..200_000).map(place).try_for_each(|(chunk, at)| {
            store.read_cached(chunk, at, 4096).ok_or("not cached")??;
            Ok(())
        })
    });
    timed("4 KiB reads at random", 200_000, 200_000 * 4096, || {
        Ok((0..200_000).map(place).try_for_each(|(chunk, at)| store.read(chunk, at, 4096).map(drop))?)
    });
    timed("128 KiB reads in order, cached", 2048, 256 << 20, || {
        (0..2048u32).try_for_each(|n| {
            store.read_cached(large(n / 32), n % 32 * (128 << 10), 128 << 10).ok_or("not cached")??;
            Ok(())
        })
    });
    timed("1 MiB reads in order", 256, 256 << 20, || {
        Ok((0..256u32).try_for_each(|n| store.read(large(n / 4), n % 4 * mib, mib).map(drop))?)
    });
    timed("4 KiB writes at random", 50_000, 50_000 * 4096, || {
        Ok((0..50_000).map(place).try_for_each(|(chunk, at)| store.write(chunk, at, &block).map(drop))?)
    });
    timed("100 byte writes at random", 50_000, 50_000 * 100, || {
        let part = &block[..100];
        Ok((0..50_000).map(place).try_for_each(|(chunk, at)| store.write(chunk, at + 50, part).map(drop))?)
    });
    timed("4 KiB write and sync", 500, 500 * 4096, || {
        Ok((0..500).map(place).try_for_each(|(chunk, at)| {
            store.write(chunk, at, &block)?;
            store.sync(&[chunk])
        })?)
    });
    timed("4 KiB new file and sync", 500, 500 * 4096, || {
        Ok((0..500).map(|n| small(FILES + n)).try_for_each(|chunk| {
            store.write(chunk, 0, &block)?;
            store.sync(&[chunk])
        })?)
    });
    store.begin_notes()?;
    store.drop_notes()?;
    timed("notes, one after the other", 500, 0, || Ok((0..500).try_for_each(|n| store.note(small(n)).map(drop))?));
    timed("notes of what is noted", 500_000, 0, || {
        Ok((0..500_000).try_for_each(|n| store.note(small(n % 500)).map(drop))?)
    });
    drop(store);
    let mut store = None;
    timed("opening the store, per chunk", FILES, 0, || {
        store = Some(open()?);
        Ok(())
    });
    let store = store.ok_or("not opened")?;
    timed("summary with all blocks read", FILES, FILES * 4096, || {
        Ok((0..FILES).try_for_each(|n| store.summary(small(n), true).map(drop))?)
    });
    timed("copies out and in", 2000, 2000 * 8192, || {
        Ok((0..2000).try_for_each(|n| store.import(small(n + 500_000), store.export(small(n), false)?.as_ref()))?)
    });
    timed("removing them", FILES, 0, || Ok((0..FILES).try_for_each(|n| store.reap(small(n).ino).map(drop))?));
    std::fs::remove_dir_all(root)?;
    Ok(())
}
