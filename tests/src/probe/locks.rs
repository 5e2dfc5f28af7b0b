//! Locks between processes: the second one waits for, or is refused by, the first.

use super::{Found, demand, tried};
use std::fs::{File, OpenOptions};
use std::io::Error;
use std::os::fd::AsRawFd;

fn open(file: &str) -> Result<File, String> {
    tried(file, OpenOptions::new().read(true).write(true).create(true).truncate(false).open(file))
}

/// flock: exclusive against another open file.
pub fn flock(file: &str) -> Found {
    let (first, second) = (open(file)?, open(file)?);
    // SAFETY: only locks open files.
    let lock = |f: &File, how: i32| unsafe { libc::flock(f.as_raw_fd(), how | libc::LOCK_NB) } == 0;
    demand(lock(&first, libc::LOCK_EX), format!("flock: {}", Error::last_os_error()))?;
    demand(!lock(&second, libc::LOCK_EX), "a second exclusive lock was given")?;
    demand(!lock(&second, libc::LOCK_SH), "a shared lock was given beside the exclusive one")?;
    demand(lock(&first, libc::LOCK_UN), "it could not be unlocked")?;
    demand(lock(&second, libc::LOCK_SH) && lock(&first, libc::LOCK_SH), "two shared locks were not given")
}

/// fcntl: ranges against another process.
pub fn fcntl(file: &str) -> Found {
    let f = open(file)?;
    let lock = |f: &File, start: i64| {
        // SAFETY: an all-zero flock is valid, and it lives through the call.
        unsafe {
            let mut range = std::mem::zeroed::<libc::flock>();
            range.l_type = libc::F_WRLCK as i16;
            range.l_start = start;
            range.l_len = 10;
            libc::fcntl(f.as_raw_fd(), libc::F_SETLK, &range) == 0
        }
    };
    demand(lock(&f, 0), format!("fcntl: {}", Error::last_os_error()))?;
    // SAFETY: the child only makes system calls and ends by _exit.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let refused = !lock(&f, 5);
        let given = lock(&f, 10);
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(i32::from(!(refused && given))) };
    }
    let mut status = 0;
    // SAFETY: waits for the child that was forked above.
    unsafe { libc::waitpid(child, &mut status, 0) };
    demand(status == 0, "another process was given a lock that overlaps, or refused one that does not")
}
