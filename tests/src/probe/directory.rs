//! Directories: large ones, ones that change while they are read, and storms of renames.

use super::{Found, demand, listen, number, told_to_end, tried};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// Makes `files` empty files in a new directory.
pub fn fill(dir: &str, files: usize) -> Found {
    tried(dir, fs::create_dir(dir))?;
    for n in 0..files {
        tried("create", fs::File::create(Path::new(dir).join(format!("stable{n}"))))?;
    }
    Ok(())
}

/// Reads a directory of `stable` files that stay while others come and go: each of those is seen exactly once.
pub fn scan(dir: &str, stable: usize) -> Found {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let churn = scope.spawn(|| {
            let mut n = 0u64;
            while !done.load(Ordering::Relaxed) {
                let (name, other) =
                    (Path::new(dir).join(format!("churn{n}")), Path::new(dir).join(format!("moved{n}")));
                tried("create", fs::File::create(&name))?;
                tried("rename", fs::rename(&name, &other))?;
                tried("unlink", fs::remove_file(&other))?;
                n += 1;
            }
            Ok::<_, String>(n)
        });
        let result = (0..3).try_for_each(|_| one_scan(dir, stable));
        done.store(true, Ordering::Relaxed);
        let churned: u64 = churn.join().expect("the churn does not panic")?;
        result?;
        demand(churned > 0, "nothing changed during the scan: this proves nothing")
    })
}

/// Reads a directory of `files` files and renames each that it finds, and back: what it has renamed may be found once
/// more, but the reading ends. Read again from the start, all of them are there.
pub fn rename_while_reading(dir: &str, files: usize) -> Found {
    fill(dir, files)?;
    let aside = Path::new(dir).join("T");
    let mut found = 0;
    for entry in tried(dir, fs::read_dir(dir))? {
        let path = tried("read the directory", entry)?.path();
        tried("rename", fs::rename(&path, &aside))?;
        tried("rename back", fs::rename(&aside, &path))?;
        found += 1;
        demand(found < 3 * files, format!("of {files} files {found} were found, and there is no end to it"))?;
    }
    one_scan(dir, files)
}

fn one_scan(dir: &str, stable: usize) -> Found {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for entry in tried(dir, fs::read_dir(dir))? {
        let name = tried("read the directory", entry)?.file_name().to_string_lossy().into_owned();
        if name.starts_with("stable") {
            *seen.entry(name).or_default() += 1;
        }
    }
    let twice = seen.iter().find(|(_, n)| **n > 1);
    demand(twice.is_none(), format!("seen more than once: {twice:?}"))?;
    demand(seen.len() == stable, format!("{} of {stable} files were seen", seen.len()))
}

/// Renames files over each other and between two directories until told. No rename may fail, and at the end exactly
/// the files that should be are there, each with its own contents.
pub fn storm(dir: &str, files: usize) -> Found {
    listen();
    let dirs = ["a", "b"].map(|d| Path::new(dir).join(d));
    for d in &dirs {
        tried(d.display(), fs::create_dir_all(d))?;
    }
    // Where each file is now: its directory and its generation.
    let mut places: Vec<(usize, u64)> = vec![(0, 0); files];
    let path = |n: usize, (d, g): (usize, u64)| -> PathBuf { dirs[d].join(format!("f{n}.{g}")) };
    for (n, &place) in places.iter().enumerate() {
        tried("write", fs::write(path(n, place), n.to_string()))?;
    }
    let mut renames = 0u64;
    while !told_to_end() {
        let n = renames as usize % files;
        let (d, g) = places[n];
        let next = (1 - d, g + 1);
        if renames.is_multiple_of(7) {
            // Something to be replaced.
            tried("write", fs::write(path(n, next), "old"))?;
        }
        tried(
            format!("rename {} (number {renames})", path(n, (d, g)).display()),
            fs::rename(path(n, (d, g)), path(n, next)),
        )?;
        places[n] = next;
        renames += 1;
    }
    for (n, &place) in places.iter().enumerate() {
        let text = tried(path(n, place).display(), fs::read_to_string(path(n, place)))?;
        demand(number(&text)? == n, format!("{} holds {text:?}", path(n, place).display()))?;
    }
    let left: usize = dirs.iter().map(|d| fs::read_dir(d).map_or(0, |entries| entries.count())).sum();
    demand(left == files, format!("{left} files are there instead of {files}"))?;
    println!("renames={renames}");
    demand(renames > 0, "nothing was renamed: this proves nothing")
}
