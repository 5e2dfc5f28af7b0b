//! The mount itself: checks of the mount point, mounting, read-ahead, unmounting.

use super::Adapter;
use super::options::Options;
use super::table::{Follower, KIND, Line, mounted_at, mounted_of};
use super::zeros;
use crate::vfs::cluster::Cluster;
use crate::vfs::{Doubtful, Forget, Vfs};
use fuser::{Config, INodeNo, Notifier, Session, SessionACL};
use raidfs_common::printed::printed;
use std::ffi::{CString, OsStr};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::sync::watch;

/// How far the kernel reads ahead, in KiB.
const READ_AHEAD_KIB: u32 = 8192;
/// What is mounted, in the mount table, if nobody says otherwise; the cluster's name follows.
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
    #[error("cannot use the mount point {}", printed(path))]
    Unusable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is something else.
    #[error("the mount point {} is not a directory", printed(.0))]
    NotDirectory(PathBuf),
    /// It has entries, which the mount would hide.
    #[error("the mount point {} is not empty; with -o nonempty it is mounted over", printed(.0))]
    NotEmpty(PathBuf),
    /// A mount of this kind is there.
    #[error("{source_name} is mounted at {} already", printed(path))]
    MountedAlready {
        /// Where.
        path: PathBuf,
        /// What is mounted.
        source_name: String,
    },
    /// Another file system is there.
    #[error("a file system of type {kind} is mounted at {} already", printed(path))]
    Occupied {
        /// Where.
        path: PathBuf,
        /// Of which type.
        kind: String,
    },
    /// A dead mount is there and stays.
    #[error("the dead mount at {} cannot be cleared away", printed(path))]
    Dead {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is nothing to be mounted anew.
    #[error("no raidfs is mounted at {}", printed(.0))]
    NotMounted(PathBuf),
    /// The kernel says no.
    #[error("cannot mount at {}", printed(path))]
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

/// Has the kernel forget attributes and pages. The writers of pages that it finds locked may wait for whoever serves
/// them, as long as these do not wait for this.
fn forget_pages(notifier: &Notifier, forget: Forget) {
    let Forget { ino, range, even_late, done } = forget;
    if done.is_closed() && !even_late {
        return;
    }
    // A negative offset means no pages, a length of 0 all up to the end.
    let offset = if range.is_empty() { -1 } else { range.start as i64 };
    let length = i64::try_from(range.end - range.start).unwrap_or(0);
    if let Err(error) = notifier.inval_inode(INodeNo(ino.0), offset, length) {
        tracing::debug!("the kernel did not forget {range:?} of {ino}: {error}");
    }
    // Whoever waited may have gone on.
    let _ = done.send(());
}

/// Starts the threads that pass on to the kernel what it is to do with what it keeps. It may make a notification wait for
/// requests: nobody who serves them may send one. And one about a name may wait for requests that wait for pages to be
/// forgotten.
fn tell_the_kernel<C: Cluster>(
    notifier: &Notifier,
    device: Arc<File>,
    vfs: &Vfs<C>,
    runtime: &Handle,
) -> io::Result<()> {
    if let Some(doubts) = vfs.doubts() {
        let notifier = notifier.clone();
        spawn("forget", move || doubts.into_iter().for_each(|doubtful| forget(&notifier, &doubtful)))?;
    }
    if let Some(forgets) = vfs.forgets() {
        let notifier = notifier.clone();
        spawn("forget-pages", move || forgets.into_iter().for_each(|forget| forget_pages(&notifier, forget)))?;
    }
    if let Some(launders) = vfs.launders() {
        let (notifier, runtime) = (notifier.clone(), runtime.clone());
        // Each on a thread of its own: it may wait for servers that do not answer.
        let launder = move |pages| {
            let notifier = notifier.clone();
            drop(runtime.spawn_blocking(move || forget_pages(&notifier, pages)));
        };
        spawn("launder", move || launders.into_iter().for_each(launder))?;
    }
    if let Some(clears) = vfs.clears() {
        let runtime = runtime.clone();
        let clear = move |clear| drop(runtime.spawn(zeros::clear(device.clone(), clear)));
        spawn("clear", move || clears.into_iter().for_each(clear))?;
    }
    Ok(())
}

/// Follows the mount's options for as long as it is there.
fn follow<C: Cluster>(mut follower: Follower, vfs: &Vfs<C>, runtime: &Handle) -> io::Result<()> {
    let mut read_only = false;
    while let Some(line) = follower.next()? {
        vfs.set_atime_rule(line.atime_rule());
        vfs.set_synchronous(line.is_synchronous());
        if line.is_read_only() && !read_only {
            // As a local disk is clean once it is mounted read-only.
            let vfs = vfs.clone();
            runtime.spawn(async move {
                if let Err(error) = vfs.sync_all_aside().await {
                    tracing::warn!(
                        "not everything that was written before the mount became read-only is stored: {error}"
                    );
                }
            });
        }
        read_only = line.is_read_only();
    }
    Ok(())
}

fn open_device() -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open("/dev/fuse")
}

/// Mounts; the kernel's first request waits in `device` then.
fn mount(device: &File, path: &Path, cluster: &str, options: &Options) -> io::Result<()> {
    let data = format!("fd={},rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other", device.as_raw_fd());
    let source = CString::new(options.source.clone().unwrap_or_else(|| format!("{SOURCE}{cluster}")))?;
    let (path, kind, data) = (CString::new(path.as_os_str().as_bytes())?, CString::new(KIND)?, CString::new(data)?);
    // SAFETY: the strings live until the call has returned.
    let result =
        unsafe { libc::mount(source.as_ptr(), path.as_ptr(), kind.as_ptr(), options.flags, data.as_ptr().cast()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Checks that a file system can be mounted at `path`; a dead raidfs mount that a crash left there makes way for it.
/// Returns the path without symbolic links.
pub fn check(path: &Path, options: &Options) -> Result<PathBuf, MountError> {
    // SAFETY: no memory is involved.
    if unsafe { libc::geteuid() } != 0 {
        return Err(MountError::NotRoot);
    }
    open_device().map_err(MountError::NoDevice)?;
    let unusable = |source| MountError::Unusable { path: path.to_owned(), source };
    let path = whole_path(path).map_err(unusable)?;
    // An automount point is there to be mounted on.
    if let Some(there) = mounted_at(&path).map_err(unusable)?.filter(|there| !there.is_automount()) {
        return match there.is_ours() {
            true if is_dead(&path) => Ok(path),
            true => Err(MountError::MountedAlready { path, source_name: there.source }),
            false => Err(MountError::Occupied { path, kind: there.kind }),
        };
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

/// Whether nobody serves what is mounted there. Opening the directory always asks the daemon; its attributes outlive the
/// daemon in the kernel's cache.
fn is_dead(path: &Path) -> bool {
    std::fs::read_dir(path).is_err_and(|e| e.raw_os_error() == Some(libc::ENOTCONN))
}

/// Takes dead raidfs mounts off a path. Only right before another is mounted there: meanwhile programs would use the
/// directory below, which is on another disk.
fn clear_dead(path: &Path) -> Result<(), MountError> {
    let failed = |source| MountError::Dead { path: path.to_owned(), source };
    while mounted_at(path).map_err(failed)?.is_some_and(|there| there.is_ours()) && is_dead(path) {
        tracing::info!("clearing a dead mount away from {}", printed(&path));
        unmount(path, libc::MNT_DETACH).map_err(failed)?;
    }
    Ok(())
}

/// Says so if the mount hides something that is not of the store.
fn tell_of_hidden(path: &Path) {
    let hidden = std::fs::read_dir(path).map_or(0, Iterator::count);
    if hidden > 0 {
        tracing::warn!(
            "{} names in the directory {} itself are hidden by the mount: they are not in the store, but on the disk below",
            hidden,
            printed(&path)
        );
    }
}

/// Gives a mount that is there other options: `lists` on top of those that it has.
pub fn remount(path: &Path, lists: &[String]) -> Result<(), MountError> {
    let failed = |source| MountError::Mount { path: path.to_owned(), source };
    let at = whole_path(path).map_err(failed)?;
    let line = mounted_at(&at).map_err(failed)?.filter(Line::is_ours);
    let line = line.ok_or_else(|| MountError::NotMounted(at.clone()))?;
    let mut options = Options::of_table(&line.options);
    for list in lists {
        options.add(list).map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
    }
    let at = CString::new(at.as_os_str().as_bytes()).map_err(|error| failed(error.into()))?;
    let (none, flags) = (std::ptr::null(), options.flags | libc::MS_REMOUNT);
    // SAFETY: the path lives until the call has returned, and a remount reads nothing else.
    let result = unsafe { libc::mount(none, at.as_ptr(), none, flags, none.cast()) };
    if result == 0 { Ok(()) } else { Err(failed(io::Error::last_os_error())) }
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

fn unmount(path: &Path, flags: libc::c_int) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the string lives until the call has returned.
    match unsafe { libc::umount2(path.as_ptr(), flags | libc::UMOUNT_NOFOLLOW) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run).map(drop)
}

/// A mount that is served.
pub struct Mounted {
    path: PathBuf,
    /// The number of its device, `major:minor`.
    device: String,
    ended: watch::Receiver<Option<String>>,
}

/// How an unmount went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmounted {
    /// It is gone.
    Clean,
    /// Programs still use it: its path is free, and they get errors once this process has ended.
    Detached,
    /// Somebody else had taken it off its path; programs may still use it, and then the same holds for them.
    Before,
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
        let stores = Arc::new(device.try_clone().map_err(failed)?);
        clear_dead(path)?;
        tell_of_hidden(path);
        mount(&device, path, cluster, options).map_err(failed)?;
        let mut config = Config::default();
        config.n_threads = Some(LOOP_THREADS);
        let (vfs, runtime) = (adapter.vfs.clone(), adapter.runtime.clone());
        let served = Session::from_fd(adapter, OwnedFd::from(device), SessionACL::All, config);
        let session = served.map_err(|source| {
            // Nothing serves it: it must not stay.
            let _ = unmount(path, libc::MNT_DETACH);
            failed(source)
        })?;
        tell_the_kernel(&session.notifier(), stores, &vfs, &runtime).map_err(failed)?;
        let (follower, line) = Follower::new(path).map_err(failed)?;
        vfs.set_atime_rule(line.atime_rule());
        vfs.set_synchronous(line.is_synchronous());
        spawn("mount-table", move || {
            if let Err(error) = follow(follower, &vfs, &runtime) {
                tracing::warn!("cannot follow the mount's options: {error}");
            }
        })
        .map_err(failed)?;
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
        spawn("fuse", serve).map_err(failed)?;
        if let Err(error) = set_read_ahead(path) {
            tracing::warn!("cannot set the kernel's read-ahead of {}: {error}", printed(&path));
        }
        Ok(Mounted { path: path.to_owned(), device: line.device, ended })
    }

    /// Returns when nothing is mounted any more, with the reason if that was an error.
    pub async fn ended(&self) -> Option<String> {
        let mut ended = self.ended.clone();
        match ended.wait_for(Option::is_some).await {
            Ok(text) => text.clone().filter(|t| !t.is_empty()),
            Err(_) => Some("the serving thread has gone".to_owned()),
        }
    }

    /// Unmounts, wherever it was moved to; takes the path off a mount that is in use. What is mounted over it is not ours to
    /// take away.
    pub fn unmount(&self) -> io::Result<Unmounted> {
        if self.ended.borrow().as_deref() == Some("") {
            // Its device's number may be another's by now.
            return Ok(Unmounted::Before);
        }
        let Some(Line { path, .. }) = mounted_of(&self.device, &self.path)? else { return Ok(Unmounted::Before) };
        if mounted_at(&path)?.is_some_and(|uppermost| uppermost.device != self.device) {
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, "something else is mounted over it"));
        }
        match unmount(&path, 0) {
            Ok(()) => Ok(Unmounted::Clean),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                unmount(&path, libc::MNT_DETACH).map(|()| Unmounted::Detached)
            }
            // Somebody else was faster.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(Unmounted::Before),
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
