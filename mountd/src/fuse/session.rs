//! The mount itself: checks of the mount point, mounting, read-ahead, unmounting.

use super::Adapter;
use super::options::Options;
use crate::vfs::Doubtful;
use crate::vfs::cluster::Cluster;
use fuser::{Config, INodeNo, Notifier, Session, SessionACL};
use std::ffi::{CString, OsStr};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use tokio::sync::watch;

/// How far the kernel reads ahead, in KiB.
const READ_AHEAD_KIB: u32 = 8192;
/// The type of such mounts in the mount table.
const KIND: &str = "fuse.raidfs";
/// What their source begins with; the cluster's name follows.
const SOURCE: &str = "raidfs:";
/// Threads that read requests. More gain nothing: what takes long does not run on them.
const LOOP_THREADS: usize = 1;

/// Why there is no mount. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// Only root may mount here.
    #[error("mounting needs root")]
    NotRoot,
    /// The kernel's side is missing.
    #[error("cannot open /dev/fuse; is the fuse module loaded (modprobe fuse)?")]
    NoDevice(#[source] io::Error),
    /// No such directory.
    #[error("cannot use the mount point {}", path.display())]
    Unusable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is something else.
    #[error("the mount point {} is not a directory", .0.display())]
    NotDirectory(PathBuf),
    /// It has entries, which the mount would hide.
    #[error("the mount point {} is not empty; with -o nonempty it is mounted over", .0.display())]
    NotEmpty(PathBuf),
    /// A mount of this kind is there.
    #[error("{source_name} is mounted at {} already", path.display())]
    MountedAlready {
        /// Where.
        path: PathBuf,
        /// What is mounted.
        source_name: String,
    },
    /// Another file system is there.
    #[error("a file system of type {kind} is mounted at {} already", path.display())]
    Occupied {
        /// Where.
        path: PathBuf,
        /// Of which type.
        kind: String,
    },
    /// A dead mount is there and stays.
    #[error("the dead mount at {} cannot be cleared away", path.display())]
    Dead {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The kernel says no.
    #[error("cannot mount at {}", path.display())]
    Mount {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Has the kernel forget something; that it does not know it is fine.
fn forget(notifier: &Notifier, doubtful: &Doubtful) {
    let result = match doubtful {
        Doubtful::Name(parent, name) => notifier.inval_entry(INodeNo(parent.0), OsStr::from_bytes(name)),
        Doubtful::Inode(ino) => notifier.inval_inode(INodeNo(ino.0), 0, 0),
    };
    if let Err(error) = result {
        tracing::debug!("the kernel did not forget {doubtful:?}: {error}");
    }
}

fn open_device() -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open("/dev/fuse")
}

/// Mounts; the kernel's first request waits in `device` then.
fn mount(device: &File, path: &Path, cluster: &str, flags: libc::c_ulong) -> io::Result<()> {
    let data = format!("fd={},rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other", device.as_raw_fd());
    let source = CString::new(format!("{SOURCE}{cluster}"))?;
    let (path, kind, data) = (CString::new(path.as_os_str().as_bytes())?, CString::new(KIND)?, CString::new(data)?);
    // SAFETY: the strings live until the call has returned.
    let result = unsafe { libc::mount(source.as_ptr(), path.as_ptr(), kind.as_ptr(), flags, data.as_ptr().cast()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A line of /proc/self/mountinfo.
#[derive(Debug, PartialEq, Eq)]
struct MountLine {
    device: String,
    path: PathBuf,
    kind: String,
    source: String,
}

impl MountLine {
    fn is_ours(&self) -> bool {
        self.kind.starts_with("fuse") && self.source.starts_with(SOURCE)
    }
}

/// Checks that a file system can be mounted at `path`, and clears a dead raidfs mount away that a crash left there.
/// Returns the path without symbolic links.
pub fn check(path: &Path, options: &Options) -> Result<PathBuf, MountError> {
    // SAFETY: no memory is involved.
    if unsafe { libc::geteuid() } != 0 {
        return Err(MountError::NotRoot);
    }
    open_device().map_err(MountError::NoDevice)?;
    let unusable = |source| MountError::Unusable { path: path.to_owned(), source };
    let path = whole_path(path).map_err(unusable)?;
    if let Some(there) = mounted_at(&path).map_err(unusable)? {
        // Opening the directory always asks the daemon; its attributes outlive the daemon in the kernel's cache.
        let dead = std::fs::read_dir(&path).is_err_and(|e| e.raw_os_error() == Some(libc::ENOTCONN));
        let ours = there.is_ours();
        match (ours, dead) {
            (true, true) => {
                tracing::info!("clearing a dead mount away from {}", path.display());
                unmount(&path, libc::MNT_DETACH).map_err(|source| MountError::Dead { path: path.clone(), source })?;
                return check(&path, options);
            }
            (true, false) => return Err(MountError::MountedAlready { path, source_name: there.source }),
            (false, _) => return Err(MountError::Occupied { path, kind: there.kind }),
        }
    }
    let unusable = |source| MountError::Unusable { path: path.clone(), source };
    if !std::fs::metadata(&path).map_err(unusable)?.is_dir() {
        return Err(MountError::NotDirectory(path));
    }
    if !options.nonempty && std::fs::read_dir(&path).map_err(unusable)?.next().is_some() {
        return Err(MountError::NotEmpty(path));
    }
    Ok(path)
}

/// The path without symbolic links. The last component is not entered: a dead mount may be there.
fn whole_path(path: &Path) -> io::Result<PathBuf> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) if !path.is_symlink() => {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            let whole = parent.canonicalize()?.join(name);
            match std::fs::symlink_metadata(&whole) {
                Err(error) if error.raw_os_error() != Some(libc::ENOTCONN) => Err(error),
                _ => Ok(whole),
            }
        }
        _ => path.canonicalize(),
    }
}

/// What is mounted at exactly this path, the uppermost.
fn mounted_at(path: &Path) -> io::Result<Option<MountLine>> {
    let text = std::fs::read("/proc/self/mountinfo")?;
    Ok(text.split(|b| *b == b'\n').filter_map(mount_line).rfind(|line| line.path == path))
}

fn mount_line(line: &[u8]) -> Option<MountLine> {
    let fields: Vec<&[u8]> = line.split(|b| *b == b' ').collect();
    let separator = fields.iter().position(|f| *f == b"-")?;
    let text = |at: usize| fields.get(at).map(|f| String::from_utf8_lossy(f).into_owned());
    let path = unescaped(fields.get(4)?);
    Some(MountLine {
        device: text(2)?,
        path: PathBuf::from(OsStr::from_bytes(&path)),
        kind: text(separator + 1)?,
        source: text(separator + 2)?,
    })
}

/// Octal escapes of mountinfo (`\040` for a space) as the bytes that they stand for.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut at = 0;
    while at < field.len() {
        let octal = field.get(at + 1..at + 4).and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 8).ok()
        });
        match (field[at], octal) {
            (b'\\', Some(byte)) => {
                out.push(byte);
                at += 4;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

fn unmount(path: &Path, flags: libc::c_int) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the string lives until the call has returned.
    match unsafe { libc::umount2(path.as_ptr(), flags | libc::UMOUNT_NOFOLLOW) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A mount that is served.
pub struct Mounted {
    path: PathBuf,
    ended: watch::Receiver<Option<String>>,
}

/// How an unmount went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmounted {
    /// It is gone.
    Clean,
    /// Programs still use it: its path is free, and they get errors once this process has ended.
    Detached,
}

impl Mounted {
    /// Mounts and serves `adapter`, on threads of its own. `cluster` is named in the mount table.
    pub fn start<C: Cluster>(
        adapter: Adapter<C>,
        path: &Path,
        cluster: &str,
        options: &Options,
    ) -> Result<Mounted, MountError> {
        let failed = |source| MountError::Mount { path: path.to_owned(), source };
        let device = open_device().map_err(MountError::NoDevice)?;
        mount(&device, path, cluster, options.flags).map_err(failed)?;
        let mut config = Config::default();
        config.n_threads = Some(LOOP_THREADS);
        let doubts = adapter.vfs.doubts();
        let served = Session::from_fd(adapter, OwnedFd::from(device), SessionACL::All, config);
        let session = served.map_err(|source| {
            // Nothing serves it: it must not stay.
            let _ = unmount(path, libc::MNT_DETACH);
            failed(source)
        })?;
        if let Some(doubts) = doubts {
            let notifier = session.notifier();
            // The kernel may make a notification wait for requests: nobody who serves them may send one.
            let tell = move || doubts.into_iter().for_each(|doubtful| forget(&notifier, &doubtful));
            std::thread::Builder::new().name("forget".to_owned()).spawn(tell).map_err(failed)?;
        }
        let (end, ended) = watch::channel(None);
        let at = path.to_owned();
        let serve = move || {
            let error = session.run().err().filter(|error| {
                // An unmount may end a read in several ways; it is an error only if the mount is still there.
                tracing::debug!("serving ended: {error}");
                mounted_at(&at).ok().flatten().is_some_and(|line| line.is_ours())
            });
            end.send_replace(Some(error.map_or_else(String::new, |error| error.to_string())));
        };
        std::thread::Builder::new().name("fuse".to_owned()).spawn(serve).map_err(failed)?;
        if let Err(error) = set_read_ahead(path) {
            tracing::warn!("cannot set the kernel's read-ahead of {}: {error}", path.display());
        }
        Ok(Mounted { path: path.to_owned(), ended })
    }

    /// Returns when nothing is mounted any more, with the reason if that was an error.
    pub async fn ended(&self) -> Option<String> {
        let mut ended = self.ended.clone();
        match ended.wait_for(Option::is_some).await {
            Ok(text) => text.clone().filter(|t| !t.is_empty()),
            Err(_) => Some("the serving thread has gone".to_owned()),
        }
    }

    /// Unmounts; takes the path off a mount that is in use.
    pub fn unmount(&self) -> io::Result<Unmounted> {
        match unmount(&self.path, 0) {
            Ok(()) => Ok(Unmounted::Clean),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                unmount(&self.path, libc::MNT_DETACH).map(|()| Unmounted::Detached)
            }
            // Somebody else was faster.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(Unmounted::Clean),
            Err(error) => Err(error),
        }
    }
}

/// Lets the kernel read further ahead than the 128 KiB that a FUSE mount begins with.
fn set_read_ahead(path: &Path) -> io::Result<()> {
    let line = mounted_at(path)?.ok_or(io::ErrorKind::NotFound)?;
    std::fs::write(format!("/sys/class/bdi/{}/read_ahead_kb", line.device), READ_AHEAD_KIB.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_lines_are_read() {
        let line = br"36 35 0:46 / /mnt/a\040b rw,nosuid shared:7 - fuse.raidfs raidfs:home rw,user_id=0";
        let got = mount_line(line).expect("a whole line");
        let want = MountLine {
            device: "0:46".into(),
            path: "/mnt/a b".into(),
            kind: "fuse.raidfs".into(),
            source: "raidfs:home".into(),
        };
        assert_eq!(got, want);
        assert_eq!(mount_line(b""), None);
        assert_eq!(unescaped(br"\1"), br"\1");
    }

    #[test]
    fn bad_mount_points_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (file, full) = (dir.path().join("file"), dir.path());
        std::fs::write(&file, "x").unwrap();
        let check = |path: &Path| check(path, &Options::default());
        assert!(matches!(check(&dir.path().join("missing")), Err(MountError::Unusable { .. })));
        assert!(matches!(check(&file), Err(MountError::NotDirectory(_))));
        assert!(matches!(check(full), Err(MountError::NotEmpty(_))));
        assert!(matches!(check(Path::new("/proc")), Err(MountError::Occupied { .. })));
    }
}
