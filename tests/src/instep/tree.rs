//! A look at everything that a tree holds: names, attributes, extended attributes, targets, and all bytes.

use super::seen::{Seen, Value};
use super::side::{stat, stat_seen};
use super::sys::call;
use super::xattr_ops::{self, sum};
use std::ffi::CString;
use std::fs;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const BLOCK: usize = 4096;

/// Everything below the root of the tree that the process is in.
pub fn everything() -> Vec<Seen> {
    let mut seen = Vec::new();
    walk(Path::new("."), &mut seen);
    seen
}

fn c(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).expect("a path has no NUL")
}

fn walk(path: &Path, seen: &mut Vec<Seen>) {
    let what = path.display().to_string();
    let looked = stat(libc::AT_FDCWD, c(path).as_ptr(), libc::AT_SYMLINK_NOFOLLOW);
    let kind = looked.as_ref().map_or(0, |stat| stat.mode & libc::S_IFMT);
    seen.push(stat_seen(&what, looked));
    seen.push(Seen::text(&format!("extended attributes of {what}"), xattr_ops::all(&c(path))));
    match kind {
        libc::S_IFDIR => directory(path, seen),
        libc::S_IFREG => contents(path, seen),
        libc::S_IFLNK => {
            let target =
                fs::read_link(path).map_or_else(|e| e.to_string().into(), |t| t.as_os_str().as_bytes().to_vec());
            seen.push(Seen::bytes(&format!("target of {what}"), target));
        }
        _ => {}
    }
}

fn directory(path: &Path, seen: &mut Vec<Seen>) {
    let names = fs::read_dir(path).map(|entries| entries.flatten().map(|e| e.file_name()).collect::<Vec<_>>());
    let mut names = match names {
        Ok(names) => names,
        Err(error) => return seen.push(Seen::text(&format!("entries of {}", path.display()), error.to_string())),
    };
    names.sort();
    let joined: Vec<&[u8]> = names.iter().map(|n| n.as_bytes()).collect();
    seen.push(Seen::bytes(&format!("names in {}", path.display()), joined.join(&b'/')));
    for name in names {
        walk(&path.join(name), seen);
    }
}

/// The bytes of a file and where they lie, after a sync, so that what is said of its blocks is true.
fn contents(path: &Path, seen: &mut Vec<Seen>) {
    let what = path.display();
    let opened = call!(libc::open(c(path).as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NOATIME));
    let fd = match opened {
        // SAFETY: the kernel has just given us this descriptor, and nobody else knows it.
        Ok(fd) => unsafe { OwnedFd::from_raw_fd(fd as i32) },
        Err(_) => return seen.push(Seen { what: format!("open of {what}"), ..Seen::returned(opened) }),
    };
    let synced = call!(libc::fsync(fd.as_raw_fd()));
    seen.push(Seen { what: format!("fsync of {what}"), ..Seen::returned(synced) });
    let mut settled = stat(fd.as_raw_fd(), c"".as_ptr(), libc::AT_EMPTY_PATH);
    if let Ok(stat) = &mut settled {
        stat.settled = true;
    }
    let (size, blocks) = settled.as_ref().map_or((0, 0), |stat| (stat.size, stat.blocks));
    seen.push(stat_seen(&format!("{what}, synced"), settled));
    let (text, map) = bytes(fd.as_raw_fd(), size);
    seen.push(Seen::text(&format!("contents of {what}"), text));
    let counted = map.iter().map(|(from, to)| to - from).sum::<u64>() * (BLOCK as u64 / 512);
    let enough = if blocks >= counted { "enough".to_owned() } else { format!("{blocks} blocks for {counted}") };
    seen.push(Seen::text(&format!("blocks of {what}"), enough));
    seen.push(Seen { what: format!("data of {what}"), value: Value::Data(map) });
}

/// The blocks that are not all zeros, each with a sum; and where lseek says that data is.
fn bytes(fd: i32, size: u64) -> (String, Vec<(u64, u64)>) {
    let (mut text, mut map) = (format!("{size} bytes"), Vec::<(u64, u64)>::new());
    let mut at = 0i64;
    while let Ok(from) = call!(libc::lseek(fd, at, libc::SEEK_DATA)) {
        let to = match call!(libc::lseek(fd, from, libc::SEEK_HOLE)) {
            Ok(to) if to > from => to,
            other => return (format!("SEEK_HOLE at {from} is {other:?}"), map),
        };
        // Where runs meet is nobody's promise.
        let (first, end) = (from as u64 / BLOCK as u64, (to as u64).div_ceil(BLOCK as u64));
        match map.last_mut() {
            Some(last) if last.1 == first => last.1 = end,
            _ => map.push((first, end)),
        }
        let mut block = from - from % BLOCK as i64;
        while block < to {
            let mut buffer = [0u8; BLOCK];
            match call!(libc::pread(fd, buffer.as_mut_ptr().cast(), BLOCK, block)) {
                Ok(read) if buffer[..read as usize].iter().any(|b| *b != 0) => {
                    text.push_str(&format!(" {}:{:x}", block / BLOCK as i64, sum(&buffer[..read as usize])));
                }
                Ok(_) => {}
                Err(errno) => text.push_str(&format!(" {}:errno {errno}", block / BLOCK as i64)),
            }
            block += BLOCK as i64;
        }
        at = to;
    }
    (text, map)
}
