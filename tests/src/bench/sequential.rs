//! Large files, 1 MiB at a time: written with fsync, read cold, read again.

use super::{Caches, Failed, Run, tried};
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

const MIB: usize = 1 << 20;
const BLOCKS: usize = 512;

/// The group.
pub fn run(run: &mut Run<'_>, dir: &Path) -> Result<(), Failed> {
    if !run.wants_any(&["seq-write", "seq-read", "seq-reread"]) {
        return Ok(());
    }
    let path = dir.join("large");
    let amount = (BLOCKS * MIB) as f64;
    let block: Vec<u8> = (0..MIB).map(|n| (n * 7 + n / 251) as u8).collect();
    run.time("seq-write", Caches::Settled, amount, || {
        let mut file = tried("create", File::create(&path))?;
        for _ in 0..BLOCKS {
            tried("write", file.write_all(&block))?;
        }
        tried("fsync", file.sync_all())
    })?;
    if run.wants_any(&["seq-read", "seq-reread"]) {
        run.time("seq-read", Caches::Cold, amount, || read(&path))?;
        run.time("seq-reread", Caches::Settled, amount, || read(&path))?;
    }
    Ok(())
}

fn read(path: &Path) -> Result<(), Failed> {
    let mut file = tried("open", File::open(path))?;
    let mut block = vec![0; MIB];
    for _ in 0..BLOCKS {
        tried("read", file.read_exact(&mut block))?;
    }
    Ok(())
}
