//! Processes of a local cluster that run although no pid file names them: somebody took the file away, or they were started
//! by hand. Found, they are written down again, so that every command can work on them.
//!
//! A server is known by its data directory's lock, which says who took it; it counts only while that process really holds
//! it. mountd has no such file: it is known by its arguments, and by writing this cluster's log.

use super::Failure;
use super::local::{Local, Name, write_atomically};
use super::process::processes;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const LOCKS: &str = "/proc/locks";

impl Local {
    /// The process that is `name`, whatever its pid file says.
    pub(super) fn stray(&self, name: Name) -> Option<i32> {
        match name {
            Name::Server(_) => {
                let lock = self.data_dir(name).join("lock");
                let pid = std::fs::read_to_string(&lock).ok()?.trim().parse::<i32>().ok()?;
                let inode = std::fs::metadata(&lock).ok()?.ino();
                let held = std::fs::read_to_string(LOCKS).is_ok_and(|locks| is_held(&locks, pid, inode));
                (held && self.is(name, pid)).then_some(pid)
            }
            Name::Mount => processes().find(|&pid| self.is(name, pid) && is_ours(pid) && self.writes_log(name, pid)),
        }
    }

    /// Writes the pid files of those that run without one.
    pub fn note_strays(&self) -> Result<(), Failure> {
        for name in self.servers().into_iter().chain([Name::Mount]) {
            let file = self.pid_file(name);
            if let Some(pid) = self.pid(name) {
                let line = format!("{pid}\n");
                if std::fs::read_to_string(&file).ok().as_deref() != Some(&line) {
                    write_atomically(&file, &line)?;
                    println!("{name} runs without its pid file (pid {pid}): it is written again");
                }
            }
        }
        Ok(())
    }

    fn writes_log(&self, name: Name, pid: i32) -> bool {
        let log = self.log_file(name);
        let output = std::fs::read_link(format!("/proc/{pid}/fd/1")).unwrap_or_default();
        let output = output.as_os_str().as_bytes();
        // A log that was moved or taken away is written on, under the words of the kernel.
        output.strip_suffix(b" (deleted)").unwrap_or(output) == log.as_os_str().as_bytes()
    }
}

/// Whether /proc/locks says that a process holds the lock of a whole file (`flock`) with this inode number. The device is
/// not compared: some file systems have several numbers for one.
fn is_held(locks: &str, pid: i32, inode: u64) -> bool {
    locks.lines().any(|line| {
        // 7: FLOCK  ADVISORY  WRITE 1234 fd:00:5678 0 EOF; who waits has an arrow behind the number.
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, "FLOCK", _, _, holder, file, ..] = words.as_slice() else { return false };
        holder.parse() == Ok(pid) && file.rsplit(':').next().and_then(|i| i.parse().ok()) == Some(inode)
    })
}

/// Whether a process is root's or this user's: others may call their programs what they like.
fn is_ours(pid: i32) -> bool {
    // SAFETY: geteuid cannot fail and touches nothing.
    let me = unsafe { libc::geteuid() };
    std::fs::metadata(Path::new("/proc").join(pid.to_string())).is_ok_and(|m| m.uid() == 0 || m.uid() == me)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_holds_a_lock_is_read_from_the_kernels_list() {
        let text = "1: POSIX  ADVISORY  WRITE 7 fd:00:99 0 EOF\n2: FLOCK  ADVISORY  WRITE 7 08:01:55 0 EOF\n\
                    2: -> FLOCK  ADVISORY  WRITE 8 08:01:55 0 EOF\n";
        assert!(is_held(text, 7, 55));
        assert!(!is_held(text, 8, 55), "it only waits");
        assert!(!is_held(text, 7, 99), "another kind of lock");
        assert!(!is_held(text, 7, 56) && !is_held("", 7, 55));
    }

    #[test]
    fn a_real_lock_is_in_the_list_and_goes_with_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = std::fs::File::create(dir.path().join("lock")).unwrap();
        let inode = file.metadata().unwrap().ino();
        let held = || is_held(&std::fs::read_to_string(LOCKS).unwrap(), std::process::id() as i32, inode);
        assert!(!held());
        file.lock().unwrap();
        assert!(held());
        drop(file);
        assert!(!held());
        assert!(is_ours(std::process::id() as i32));
    }
}
