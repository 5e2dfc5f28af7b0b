//! Handles of files: numbers by which the kernel finds an inode again that it has no name of, as a server of NFS hands
//! them to its clients.

use super::{Found, demand, tried};
use crate::file_handle::{HANDLE_MAX_BYTES, Handle};
use std::ffi::CString;
use std::fs::{self, File};
use std::io::{Error, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Prints a file's handle as one word.
pub fn print(path: &str) -> Found {
    let c_path = tried(path, CString::new(path))?;
    let mut handle = Handle::room(HANDLE_MAX_BYTES);
    let (done, _) = handle.take(libc::AT_FDCWD, &c_path, 0);
    demand(done == 0, format!("name_to_handle_at: {}", Error::last_os_error()))?;
    let bytes = &handle.bytes[..handle.length as usize];
    println!("{}:{}", handle.kind, bytes.iter().map(|b| format!("{b:02x}")).collect::<String>());
    Ok(())
}

fn parse(word: &str) -> Option<Handle> {
    let (kind, hex) = word.split_once(':')?;
    let digits = hex.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    let found: Vec<u8> = digits.collect::<Option<_>>()?;
    let mut handle = Handle { kind: kind.parse().ok()?, ..Handle::room(found.len()) };
    handle.bytes.get_mut(..found.len())?.copy_from_slice(&found);
    Some(handle)
}

/// Opens what the handle stands for in the file system that `mount` is in, and prints what it is: a directory's path
/// and entries, a file's contents.
pub fn open(mount: &str, word: &str) -> Found {
    let mut handle = parse(word).ok_or(format!("{word:?} is no handle"))?;
    let mount = tried(mount, File::open(mount))?;
    let fd = handle.open(mount.as_raw_fd(), libc::O_RDONLY | libc::O_NONBLOCK | libc::O_CLOEXEC);
    demand(fd >= 0, format!("open_by_handle_at: {}", Error::last_os_error()))?;
    // SAFETY: a descriptor that was opened just now, and is nobody else's.
    let mut file = File::from(unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) });
    if !tried("fstat", file.metadata())?.is_dir() {
        let mut text = String::new();
        tried("read", file.read_to_string(&mut text))?;
        print!("{text}");
        return Ok(());
    }
    let itself = format!("/proc/self/fd/{}", file.as_raw_fd());
    let path = tried("the directory's path", fs::read_link(&itself))?;
    let entries = tried("list the directory", fs::read_dir(&itself))?;
    let names = entries.map(|entry| Ok(tried("list", entry)?.file_name().to_string_lossy().into_owned()));
    let mut names = names.collect::<Result<Vec<_>, String>>()?;
    names.sort();
    println!("{}: {}", path.display(), names.join(" "));
    Ok(())
}
