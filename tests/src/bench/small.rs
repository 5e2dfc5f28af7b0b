//! Files of 4 KiB: each written and closed, each read cold.

use super::{Caches, Failed, Run, tried};
use std::fs;
use std::path::Path;

const FILES: usize = 1_000;
const BYTES: usize = 4096;

/// The group.
pub fn run(run: &mut Run<'_>, dir: &Path) -> Result<(), Failed> {
    if !run.wants_any(&["file-write", "file-read"]) {
        return Ok(());
    }
    let file = |n: usize| dir.join(format!("small{n:05}"));
    let text = [b'x'; BYTES];
    run.time("file-write", Caches::Settled, FILES as f64, || {
        (0..FILES).try_for_each(|n| tried("write", fs::write(file(n), text)))
    })?;
    if run.wants("file-read") {
        run.time("file-read", Caches::Cold, FILES as f64, || {
            (0..FILES).try_for_each(|n| match tried("read", fs::read(file(n)))?.len() {
                BYTES => Ok(()),
                other => Err(format!("{other} bytes were read")),
            })
        })?;
    }
    Ok(())
}
