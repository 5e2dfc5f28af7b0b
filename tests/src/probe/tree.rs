//! A tree of many files, the same for the same seed: mostly small ones, some over several chunks, in nested directories.

use super::dice::Dice;
use super::{Found, tried};
use std::fs;
use std::path::Path;

/// Makes `files` files in a new directory.
pub fn make(dir: &str, files: usize, seed: u64) -> Found {
    let mut random = Dice::new(seed);
    for n in 0..files {
        let folder = Path::new(dir).join(format!("d{}/e{}", n % 17, n % 5));
        if n < 17 * 5 {
            tried(folder.display(), fs::create_dir_all(&folder))?;
        }
        let length = match random.next() % 100 {
            0 if files < 5000 => random.next() % 300_000,
            0..=9 => random.next() % 40_000,
            _ => random.next() % 4_000,
        };
        let path = folder.join(format!("file{n}"));
        tried(path.display(), fs::write(&path, random.bytes(length as usize)))?;
    }
    Ok(())
}
