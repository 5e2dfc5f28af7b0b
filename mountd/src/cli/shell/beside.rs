//! Changing orders while a mount of this machine holds the session: carried out through that mount, by system calls,
//! since nobody else may change the store. Never leaves it: paths and links begin at the root of the store.

use super::order::Order;
use crate::cli::mounts::{self, MountState};
use crate::cli::placed;
use raidfs_common::printed::printed;
use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The mount through which orders are carried out.
pub struct Beside {
    at: PathBuf,
    /// Its device: without the mount, the directory below it is another one.
    device: u64,
}

/// A directory of the store, kept open so that what is done in it is done in this one.
struct Dir(OwnedFd);

/// For `map_err` of what the system refuses about a path of the store: in the words that the shell has for it without a
/// mount.
fn about(path: &str) -> impl Fn(io::Error) -> String + '_ {
    move |error| {
        let text = error.to_string();
        let plain = text.split(" (os error").next().unwrap_or_default();
        let mut letters = plain.chars();
        let first = letters.next().map(|c| c.to_ascii_lowercase());
        format!("{}: {}{}", printed(path), first.map(String::from).unwrap_or_default(), letters.as_str())
    }
}

impl Beside {
    /// The mount at this place, if there is one that answers.
    pub fn mount(at: &Path) -> Option<Beside> {
        if mounts::state(at) != MountState::Answers || !mounts::is_raidfs(at) {
            return None;
        }
        Beside::below(at).ok()
    }

    fn below(at: &Path) -> io::Result<Beside> {
        Ok(Beside { at: at.to_owned(), device: fs::metadata(at)?.dev() })
    }

    /// Carries out an order that changes something. It is on stable storage when this returns.
    pub fn act(&self, order: &Order, out: &mut dyn Write) -> Result<(), String> {
        // Opened anew each time: an open directory would keep the mount from being taken away.
        let gone = || format!("the mount at {} is no more; start the shell again", printed(&self.at));
        let root = File::open(&self.at).map_err(|_| gone())?;
        if root.metadata().map_err(|_| gone())?.dev() != self.device {
            return Err(gone());
        }
        match order {
            Order::Mkdir(path) => {
                let (dir, name) = place(&root, path).map_err(about(path))?;
                let made = fs::DirBuilder::new().mode(0o755).create(dir.join(&name));
                made.and_then(|()| dir.sync()).map_err(about(path))
            }
            Order::Create(path) => create(&root, path, out),
            Order::Mv(from, to) => rename(&root, from, to),
            Order::Write { path, text, append } => write(&root, path, text, *append).map_err(about(path)),
            Order::Rm { path, all } => {
                let (dir, name) = place(&root, path).map_err(about(path))?;
                remove(&dir.join(&name), *all).and_then(|()| dir.sync()).map_err(about(path))
            }
            Order::Read(_) | Order::Ls { .. } | Order::Where(_) | Order::Status | Order::Help | Order::Quit => Ok(()),
        }
    }
}

impl Dir {
    /// A name in it, as a path for system calls.
    fn join(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.0.as_raw_fd()).into()
    }

    fn sync(&self) -> io::Result<()> {
        File::open(self.path())?.sync_all()
    }
}

/// Opens a path of the store; links in it, the last one too, lead where they lead inside of it.
fn open(root: &File, path: &str, flags: i32, mode: u32) -> io::Result<OwnedFd> {
    let path = CString::new(format!("./{path}"))?;
    // SAFETY: the structure consists of integers; all zeros is valid.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = (flags | libc::O_CLOEXEC) as u64;
    how.mode = u64::from(mode);
    how.resolve = libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_MAGICLINKS;
    // SAFETY: the path ends in NUL, and the structure is as long as said; both live through the call.
    let fd = unsafe { libc::syscall(libc::SYS_openat2, root.as_raw_fd(), path.as_ptr(), &how, size_of_val(&how)) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was opened just now, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

fn open_dir(root: &File, path: &str) -> io::Result<Dir> {
    open(root, path, libc::O_PATH | libc::O_DIRECTORY, 0).map(Dir)
}

/// The directory that the last name of `path` is in, and that name.
fn place(root: &File, path: &str) -> io::Result<(Dir, String)> {
    let trimmed = path.trim_end_matches('/');
    let (dir, name) = trimmed.rsplit_once('/').unwrap_or(("", trimmed));
    if matches!(name, "" | "." | "..") {
        return Err(io::Error::from_raw_os_error(if trimmed.is_empty() { libc::EBUSY } else { libc::EINVAL }));
    }
    Ok((open_dir(root, dir)?, name.to_owned()))
}

fn create(root: &File, path: &str, out: &mut dyn Write) -> Result<(), String> {
    let (dir, name) = place(root, path).map_err(about(path))?;
    let file = dir.join(&name);
    let made = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&file);
    made.and_then(|file| file.sync_all()).and_then(|()| dir.sync()).map_err(about(path))?;
    let text = placed::read(&file).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default();
    let servers = text.lines().next().and_then(|line| line.strip_prefix("chunk 0: ")).unwrap_or_default();
    writeln!(out, "{}: {servers}", printed(path)).map_err(|e| format!("cannot write the output: {e}"))
}

fn rename(root: &File, from: &str, to: &str) -> Result<(), String> {
    let (old_dir, old_name) = place(root, from).map_err(about(from))?;
    let old = old_dir.join(&old_name);
    let moved = fs::symlink_metadata(&old).map_err(about(from))?;
    let (new_dir, new_name) = match open_dir(root, to) {
        Ok(dir) if fs::metadata(dir.path()).map_err(about(to))?.ino() != moved.ino() => (dir, old_name),
        _ => place(root, to).map_err(about(to))?,
    };
    let done = fs::rename(&old, new_dir.join(&new_name)).and_then(|()| new_dir.sync());
    done.and_then(|()| old_dir.sync()).map_err(about(to))
}

fn write(root: &File, path: &str, text: &str, append: bool) -> io::Result<()> {
    let (dir, _) = place(root, path)?;
    let how = if append { libc::O_APPEND } else { libc::O_TRUNC };
    let mut file = File::from(open(root, path, libc::O_WRONLY | libc::O_CREAT | how, 0o644)?);
    file.write_all(format!("{text}\n").as_bytes())?;
    file.sync_all()?;
    dir.sync()
}

fn remove(path: &Path, all: bool) -> io::Result<()> {
    if !fs::symlink_metadata(path)?.is_dir() {
        return fs::remove_file(path);
    }
    if all { fs::remove_dir_all(path) } else { fs::remove_dir(path) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::shell::words::split;

    /// Carries out lines one after the other in a plain directory; what the last one showed, or why it failed.
    fn run(beside: &Beside, lines: &[&str]) -> Result<String, String> {
        let mut shown = Ok(String::new());
        for line in lines {
            let order = Order::parse(&split(line).unwrap()).unwrap().unwrap();
            let mut out = Vec::new();
            shown = beside.act(&order, &mut out).map(|()| String::from_utf8(out).unwrap());
        }
        shown
    }

    fn store() -> (tempfile::TempDir, Beside) {
        let dir = tempfile::tempdir().unwrap();
        let beside = Beside::below(dir.path()).unwrap();
        (dir, beside)
    }

    fn content(dir: &tempfile::TempDir, path: &str) -> String {
        fs::read_to_string(dir.path().join(path)).unwrap()
    }

    #[test]
    fn orders_do_what_they_do_without_a_mount() {
        let (dir, beside) = store();
        let lines = ["mkdir /d", "create /d/f", "write /d/f 'some text'", "write -a d/f more"];
        assert_eq!(run(&beside, &lines), Ok(String::new()));
        assert_eq!(content(&dir, "d/f"), "some text\nmore\n");
        assert_eq!(run(&beside, &["create /d/f"]), Err("/d/f: file exists".into()));
        run(&beside, &["write /d/f short", "mv /d/f /g"]).unwrap();
        assert_eq!(content(&dir, "g"), "short\n");
        run(&beside, &["mv /g /d"]).unwrap();
        assert_eq!(content(&dir, "d/g"), "short\n", "into a directory under its name");
        assert_eq!(run(&beside, &["rm /d"]), Err("/d: directory not empty".into()));
        assert_eq!(run(&beside, &["rm /none"]), Err("/none: no such file or directory".into()));
        assert_eq!(run(&beside, &["rm -r /d"]), Ok(String::new()));
        assert_eq!(run(&beside, &["rm -r /"]), Err("/: device or resource busy".into()));
        assert!(dir.path().exists() && !dir.path().join("d").exists());
    }

    #[test]
    fn nothing_is_changed_below_a_mount_that_is_gone() {
        let (dir, mut beside) = store();
        beside.device += 1;
        assert!(run(&beside, &["write /f x"]).unwrap_err().contains("is no more"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn no_link_leads_out_of_the_store() {
        let (outside, inside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(outside.path().join("precious"), "kept").unwrap();
        let beside = Beside::below(inside.path()).unwrap();
        std::os::unix::fs::symlink(outside.path(), inside.path().join("link")).unwrap();
        std::os::unix::fs::symlink(outside.path().join("precious"), inside.path().join("file")).unwrap();
        std::os::unix::fs::symlink("/", inside.path().join("root")).unwrap();
        for line in ["write /link/precious x", "write /file x", "rm /link/precious", "mkdir /link/d", "write /../f y"] {
            let _ = run(&beside, &[line]);
        }
        assert_eq!(content(&outside, "precious"), "kept");
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
        assert_eq!(content(&inside, "f"), "y\n", "the root's parent is the root");
        run(&beside, &["mkdir /root/here"]).unwrap();
        assert!(inside.path().join("here").is_dir(), "the root of the store");
    }
}
