//! Locks between processes: the second one waits for, or is refused by, the first.

use super::{Found, demand, listen, told_to_end, tried};
use crate::wait;
use std::fs::{File, OpenOptions};
use std::io::Error;
use std::os::fd::AsRawFd;
use std::time::Duration;

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

/// Asks for a lock of ten bytes: `how` is a command of fcntl. False: it was not given, and errno says why.
fn range(f: &File, how: i32, start: i64) -> bool {
    // SAFETY: an all-zero flock is valid, and it lives through the call.
    unsafe {
        let mut range = std::mem::zeroed::<libc::flock>();
        range.l_type = libc::F_WRLCK as i16;
        range.l_start = start;
        range.l_len = 10;
        libc::fcntl(f.as_raw_fd(), how, &range) == 0
    }
}

/// What a child process, which ends with this code, makes of it.
fn in_child(what: impl FnOnce() -> i32) -> i32 {
    // SAFETY: the child only makes system calls and ends by _exit.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let code = what();
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(code) };
    }
    child
}

fn code_of(child: i32) -> i32 {
    let mut status = 0;
    // SAFETY: waits for a child of this process.
    unsafe { libc::waitpid(child, &mut status, 0) };
    if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { -1 }
}

/// fcntl: ranges against another process.
pub fn fcntl(file: &str) -> Found {
    let f = open(file)?;
    demand(range(&f, libc::F_SETLK, 0), format!("fcntl: {}", Error::last_os_error()))?;
    let child = in_child(|| {
        let refused = !range(&f, libc::F_SETLK, 5);
        let given = range(&f, libc::F_SETLK, 10);
        i32::from(!(refused && given))
    });
    demand(code_of(child) == 0, "another process was given a lock that overlaps, or refused one that does not")
}

/// fcntl: two processes that each wait for what the other has; one of them is told, and then the other gets it.
pub fn deadlock(file: &str) -> Found {
    const DEADLOCK: i32 = 7;
    let f = open(file)?;
    let mut ends = [0; 2];
    // SAFETY: a pipe's two descriptors are put where it is told.
    demand(unsafe { libc::pipe(ends.as_mut_ptr()) } == 0, "pipe")?;
    demand(range(&f, libc::F_SETLK, 0), format!("fcntl: {}", Error::last_os_error()))?;
    let child = in_child(|| {
        let has = range(&f, libc::F_SETLK, 10);
        // SAFETY: one byte of a live buffer.
        unsafe { libc::write(ends[1], [u8::from(has)].as_ptr().cast(), 1) };
        match range(&f, libc::F_SETLKW, 0) {
            true => 0,
            false if Error::last_os_error().raw_os_error() == Some(libc::EDEADLK) => DEADLOCK,
            false => 1,
        }
    });
    let mut has = [0u8];
    // SAFETY: one byte into a live buffer.
    unsafe { libc::read(ends[0], has.as_mut_ptr().cast(), 1) };
    demand(has == [1], "the child was not given a lock that nobody had")?;
    // Whoever asks last closes the circle.
    let given = range(&f, libc::F_SETLKW, 10);
    let told = !given && Error::last_os_error().raw_os_error() == Some(libc::EDEADLK);
    drop(f);
    let code = code_of(child);
    demand(
        matches!((given, told, code), (true, _, DEADLOCK) | (false, true, 0)),
        format!("given {given}, told {told}, the other ended with {code}"),
    )
}

/// Locks of open file descriptions: against another description of the same process, and not lost by closing a third.
pub fn ofd(file: &str) -> Found {
    let (first, second, third) = (open(file)?, open(file)?, open(file)?);
    demand(range(&first, libc::F_OFD_SETLK, 0), format!("fcntl: {}", Error::last_os_error()))?;
    demand(!range(&second, libc::F_OFD_SETLK, 5), "another description was given a lock that overlaps")?;
    demand(range(&second, libc::F_OFD_SETLK, 10), "one that does not overlap was refused")?;
    drop(third);
    let child = in_child(|| i32::from(range(&second, libc::F_OFD_SETLK, 5)));
    demand(code_of(child) == 0, "the lock went when another description of the file was closed")?;
    drop(first);
    demand(range(&second, libc::F_OFD_SETLK, 5), "the lock outlived its description")
}

/// Waits for a lock of the process (`posix`) or of the open file description (`ofd`): says `asks` before, `has` once it has
/// it, and keeps it until told to end. While it asks, signals do what they do by themselves.
pub fn waited_for(file: &str, of: &str) -> Found {
    let how = match of {
        "posix" => libc::F_SETLKW,
        "ofd" => libc::F_OFD_SETLKW,
        other => return Err(format!("there is no lock of a {other:?}")),
    };
    let f = open(file)?;
    println!("asks");
    demand(range(&f, how, 0), format!("fcntl: {}", Error::last_os_error()))?;
    listen();
    println!("has");
    demand(wait::until(Duration::from_secs(600), told_to_end), "nobody told it to end")
}
