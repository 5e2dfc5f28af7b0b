//! What a tree says of itself in several places must agree: listings and attributes, links and names, lengths and bytes.

use super::super::{Found, demand, tried};
use std::collections::BTreeMap;
use std::fs::{self, FileType, Metadata};
use std::io::Read;
use std::os::unix::fs::{DirEntryExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Looks at everything below `dir` that nobody changes meanwhile.
pub fn check(dir: &str) -> Found {
    let mut found = BTreeMap::new();
    let mut below = vec![PathBuf::from(dir)];
    let mut entries = 0;
    while let Some(dir) = below.pop() {
        let mut subdirectories = 0;
        let mut names = std::collections::BTreeSet::new();
        for entry in tried(dir.display(), fs::read_dir(&dir))? {
            let entry = tried(dir.display(), entry)?;
            let path = entry.path();
            demand(names.insert(entry.file_name()), format!("{} is listed twice", path.display()))?;
            let meta = tried(path.display(), fs::symlink_metadata(&path))?;
            let kind = tried(path.display(), entry.file_type())?;
            let (listed, is) = (letter(kind), letter(meta.file_type()));
            demand(listed == is, format!("{} is listed as {listed}, and is {is}", path.display()))?;
            let (listed, is) = (entry.ino(), meta.ino());
            demand(listed == is, format!("{} is listed as number {listed}, and has {is}", path.display()))?;
            entries += 1;
            if meta.is_dir() {
                subdirectories += 1;
                below.push(path);
            } else {
                contents(&path, &meta)?;
                let seen = found.entry(meta.ino()).or_insert((path, meta.nlink(), 0));
                demand(
                    seen.1 == meta.nlink(),
                    format!("{} has {} and {} links", seen.0.display(), seen.1, meta.nlink()),
                )?;
                seen.2 += 1;
            }
        }
        let links = tried(dir.display(), fs::metadata(&dir))?.nlink();
        let is = format!("{} has {links} links and {subdirectories} directories in it", dir.display());
        demand(links == 2 + subdirectories, is)?;
    }
    for (path, links, names) in found.values() {
        demand(links == names, format!("{} has {links} links and {names} names", path.display()))?;
    }
    println!("entries={entries}");
    Ok(())
}

/// A file is read whole and is as long as it says; a symbolic link likewise.
fn contents(path: &Path, meta: &Metadata) -> Found {
    let length = if meta.is_symlink() {
        use std::os::unix::ffi::OsStrExt;
        tried(path.display(), fs::read_link(path))?.as_os_str().as_bytes().len()
    } else if meta.is_file() {
        let mut bytes = Vec::new();
        tried(path.display(), fs::File::open(path).and_then(|mut f| f.read_to_end(&mut bytes)))?
    } else {
        return Ok(());
    };
    demand(length as u64 == meta.len(), format!("{} is {length} bytes and says {}", path.display(), meta.len()))
}

fn letter(kind: FileType) -> char {
    match kind {
        k if k.is_dir() => 'd',
        k if k.is_symlink() => 'l',
        k if k.is_fifo() => 'p',
        k if k.is_file() => '-',
        _ => '?',
    }
}
