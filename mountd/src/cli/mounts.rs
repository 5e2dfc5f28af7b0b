//! What is mounted where, whether it answers, who holds it, and taking it away.

use super::process::{process_name, processes};
use super::{Failure, wait};
use crate::fuse::table::{self, Line};
use raidfs_common::printed::printed;
use std::ffi::{CString, OsStr};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a mount may take to answer before it counts as hung.
const ANSWER: Duration = Duration::from_millis(500);

/// How a mount point is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountState {
    /// Nothing is mounted there.
    None,
    /// It is mounted and answers.
    Answers,
    /// It is mounted but answers nothing at the moment.
    Hangs,
    /// Its mountd is gone (ENOTCONN), or it answers with another error.
    Dead(String),
    /// Another file system is mounted there.
    Foreign(String),
}

impl MountState {
    /// For people.
    pub fn words(&self) -> String {
        match self {
            MountState::None => "not mounted".to_owned(),
            MountState::Answers => "mounted and answering".to_owned(),
            MountState::Hangs => "mounted, but it does not answer at the moment".to_owned(),
            MountState::Dead(why) => format!("dead ({why})"),
            MountState::Foreign(kind) => format!("something else is mounted there ({kind})"),
        }
    }
}

/// What is mounted at `path`, the topmost if there are several.
pub fn mounted_at(path: &Path) -> Option<Line> {
    table::mounted_at(path).ok().flatten()
}

/// Whether `path` is on a raidfs mount; asks nothing that may be dead for more than the path's own device.
pub fn is_raidfs(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let Ok(found) = std::fs::symlink_metadata(path) else { return false };
    let device = format!("{}:{}", libc::major(found.dev()), libc::minor(found.dev()));
    table::is_ours(&device)
}

/// How a mount point is; takes half a second at most.
pub fn state(path: &Path) -> MountState {
    let Some(mounted) = mounted_at(path) else { return MountState::None };
    if !mounted.kind.starts_with("fuse") {
        return MountState::Foreign(mounted.kind);
    }
    let path = path.to_owned();
    // Opening the directory always asks the daemon; its attributes outlive the daemon in the kernel's cache.
    match wait::at_most(ANSWER, move || std::fs::read_dir(&path)) {
        None => MountState::Hangs,
        Some(Ok(_)) => MountState::Answers,
        Some(Err(e)) => MountState::Dead(e.to_string()),
    }
}

/// Takes away what a mountd that was killed leaves, if it does.
pub fn clear_dead(path: &Path) -> io::Result<()> {
    if matches!(state(path), MountState::Dead(_)) { unmount(path, true) } else { Ok(()) }
}

/// Takes a mount away. `lazy`: also when it is in use; its users keep what they have open.
pub fn unmount(path: &Path, lazy: bool) -> io::Result<()> {
    let c_path = CString::new(path.as_os_str().as_bytes())?;
    let flags = if lazy { libc::MNT_DETACH } else { 0 };
    // SAFETY: the path is a NUL-terminated string that outlives the call.
    if unsafe { libc::umount2(c_path.as_ptr(), flags | libc::UMOUNT_NOFOLLOW) } == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    if error.raw_os_error() != Some(libc::EPERM) {
        return Err(error);
    }
    // Not root: what fusermount3 mounted, it takes away.
    let mut command = std::process::Command::new("fusermount3");
    command.arg("-u").args(lazy.then_some("-z")).arg("--").arg(path);
    match command.stderr(std::process::Stdio::null()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(_) if mounted_at(path).is_some() => Err(io::Error::from_raw_os_error(libc::EBUSY)),
        _ => Err(error),
    }
}

/// Who uses the mount at `path`, one line each: `pid 123 (bash): works in /mnt/raidfs/x`.
pub fn holders(path: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let below = |link: PathBuf| std::fs::read_link(link).ok().filter(|to| to.starts_with(path));
    for pid in processes() {
        let proc = PathBuf::from(format!("/proc/{pid}"));
        let mut uses = Vec::new();
        if let Some(to) = below(proc.join("cwd")) {
            uses.push(format!("works in {}", printed(&to)));
        }
        if let Some(to) = below(proc.join("exe")) {
            uses.push(format!("runs {}", printed(&to)));
        }
        let open = std::fs::read_dir(proc.join("fd")).into_iter().flatten().flatten();
        let mut open: Vec<PathBuf> = open.filter_map(|d| below(d.path())).collect();
        open.sort();
        open.dedup();
        uses.extend(open.iter().take(3).map(|to| format!("has {} open", printed(&to))));
        if open.len() > 3 {
            uses.push(format!("and {} more", open.len() - 3));
        }
        if uses.is_empty() && maps(&proc, path) {
            uses.push("maps a file of it".to_owned());
        }
        if !uses.is_empty() {
            lines.push(format!("    pid {pid} ({}): {}", process_name(pid), uses.join(", ")));
        }
    }
    lines
}

fn maps(proc: &Path, path: &Path) -> bool {
    let text = std::fs::read(proc.join("maps")).unwrap_or_default();
    text.split(|&b| b == b'\n').any(|line| {
        let at = line.iter().position(|&b| b == b'/');
        at.is_some_and(|at| Path::new(OsStr::from_bytes(&line[at..])).starts_with(path))
    })
}

/// Whether a mount of ours can be on `path` soon: it is empty, or can be made, or has a dead mount that will be cleared
/// away. Changes nothing.
pub fn check_place(path: &Path) -> Result<(), Failure> {
    match state(path) {
        MountState::None if path.exists() => check_mount_point(path),
        MountState::None => match path.ancestors().skip(1).find(|above| above.exists()) {
            Some(above) if above.is_dir() => Ok(()),
            above => {
                let above = printed(&above.unwrap_or(path)).to_string();
                Err(Failure::MountPoint { path: path.to_owned(), why: format!("{above} is not a directory") })
            }
        },
        MountState::Dead(_) => Ok(()),
        other => Err(Failure::MountPoint { path: path.to_owned(), why: other.words() }),
    }
}

/// Whether something can be mounted on `path`: a directory that is there and empty.
pub fn check_mount_point(path: &Path) -> Result<(), Failure> {
    let no = |why: &str| Err(Failure::MountPoint { path: path.to_owned(), why: why.to_owned() });
    match std::fs::read_dir(path) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => no("it is not empty; what is in it would be hidden"),
        },
        Err(e) if e.kind() == io::ErrorKind::NotFound => no("it is not there"),
        Err(e) if e.kind() == io::ErrorKind::NotADirectory => no("it is not a directory"),
        Err(e) => no(&e.to_string()),
    }
}

/// Whether this process may mount: an error says why not.
pub fn check_may_mount() -> Result<(), Failure> {
    if !Path::new("/dev/fuse").exists() {
        return Err(Failure::NoFuse);
    }
    // SAFETY: geteuid cannot fail and touches nothing.
    if unsafe { libc::geteuid() } == 0 { Ok(()) } else { Err(Failure::NotRoot) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_that_are_no_mount_points_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(check_mount_point(dir.path()).is_ok());
        let file = dir.path().join("file");
        std::fs::write(&file, "x").unwrap();
        for (path, word) in [(dir.path(), "empty"), (&file, "directory"), (Path::new("/nonexistent"), "not there")] {
            let error = check_mount_point(path).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        assert_eq!(state(dir.path()), MountState::None);
        assert!(matches!(state(Path::new("/proc")), MountState::Foreign(_)));
    }

    #[test]
    fn holders_are_named_with_what_they_hold() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap();
        assert_eq!(holders(&path), Vec::<String>::new());
        let file = std::fs::File::create(path.join("held")).unwrap();
        let lines = holders(&path).join("\n");
        assert!(lines.contains(&std::process::id().to_string()) && lines.contains("held open"), "{lines}");
        drop(file);
    }
}
