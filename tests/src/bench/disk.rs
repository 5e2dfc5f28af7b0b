//! The disk under everything that is measured: one image with a journaled file system of its own, so that the root
//! disk's habits do not matter, and so that all systems share one journal.
//!
//! The image is allocated, and the loop device goes past the cache below it, so that what is flushed has only the disk's own
//! way to go. In a sparse image behind that cache each flush writes out what everybody has left there, and two at once took
//! 0.38 ms instead of 0.24: writers that wait for the disk would be measured for what no disk of a server does.

use super::machine::run;
use super::{Failed, tried};
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

const IMAGE_BYTES: u64 = 6 << 30;
/// What mkfs takes for an image of [`IMAGE_BYTES`]; larger ones are given no more.
const JOURNAL: &str = "size=64";

/// The image, mounted. Unmounted and removed when dropped.
pub struct Disk {
    work: PathBuf,
    root: PathBuf,
    /// What it is, for the paper.
    description: String,
    /// Keeps a second run off the same directory.
    _lock: File,
}

impl Disk {
    /// Makes it in this directory, so many bytes larger than usual. What a killed run left there is cleared away first.
    pub fn make(work: &Path, more: u64) -> Result<Disk, Failed> {
        tried(work.display(), fs::create_dir_all(work))?;
        let work = tried(work.display(), work.canonicalize())?;
        let lock = tried("lock", File::create(work.join("lock")))?;
        // SAFETY: the descriptor is open for as long as `lock` is.
        if unsafe { libc::flock(lock.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } != 0 {
            return Err(format!("another run is using {}", work.display()));
        }
        let mut disk = Disk { root: work.join("disk"), work, description: String::new(), _lock: lock };
        disk.clear();
        let image = disk.image();
        let allocated = allocate(&image, IMAGE_BYTES + more)?;
        // Tables written now are not written by a kernel thread in the middle of a measurement.
        // Nothing of the image is given back.
        let extended = "lazy_itable_init=0,lazy_journal_init=0,nodiscard";
        let options = ["-q", "-F", "-J", JOURNAL, "-E", extended];
        run("mkfs.ext4", options.map(Path::new), &[&image])?;
        tried(disk.root.display(), fs::create_dir_all(&disk.root))?;
        let (device, is_direct) = attach(&image)?;
        let mounted = run("mount", ["-o", "noatime"].map(Path::new), &[&device, &disk.root]);
        // Once it is mounted the device goes when the mount does, and now if it is not.
        let detached = run("losetup", ["--detach"].map(Path::new), &[&device]);
        mounted.and(detached)?;
        disk.description = format!(
            "One {} image of {} GiB{}",
            if allocated { "allocated" } else { "sparse" },
            (IMAGE_BYTES + more) >> 30,
            if is_direct { ", read and written past the cache of the disk that it lies on (direct I/O)," } else { "" }
        );
        Ok(disk)
    }

    /// What everything lies on, as the beginning of a sentence.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Where the systems keep their data.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A mount point beside the disk, made if it is missing.
    pub fn mount_point(&self, name: &str) -> Result<PathBuf, Failed> {
        let path = self.work.join(name);
        tried(path.display(), fs::create_dir_all(&path))?;
        Ok(path)
    }

    /// A file or directory beside the disk, for what is read from elsewhere.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.work.join(name)
    }

    fn image(&self) -> PathBuf {
        self.work.join("image")
    }

    /// Everything below the directory that is mounted is unmounted, and all of it is removed.
    fn clear(&self) {
        for mounted in super::machine::mounts_below(&self.work) {
            // Detached at once even if a killed run's processes still use it; the loop device goes with it.
            if let Err(e) = run("umount", ["-l"].map(Path::new), &[&mounted]) {
                eprintln!("bench: {e}");
            }
        }
        let Ok(entries) = fs::read_dir(&self.work) else { return };
        for entry in entries.flatten().filter(|e| e.file_name() != "lock") {
            let path = entry.path();
            // A directory that is still mounted is not emptied: only what is empty goes.
            let gone = if path.is_dir() { fs::remove_dir(&path) } else { fs::remove_file(&path) };
            if let Err(e) = gone {
                eprintln!("bench: {}: {e}", path.display());
            }
        }
    }
}

/// A file of that many bytes; false if it had to be sparse, as there is no room for it or its file system cannot allocate.
fn allocate(image: &Path, bytes: u64) -> Result<bool, Failed> {
    let file = tried(image.display(), File::create(image))?;
    let len = i64::try_from(bytes).expect("an image's length");
    // SAFETY: the descriptor is open for as long as `file` is.
    if unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, len) } == 0 {
        return Ok(true);
    }
    let why = std::io::Error::last_os_error();
    eprintln!("bench: what waits for the disk is slower than it is: {} is sparse: {why}", image.display());
    // What was allocated before there was no room is given back.
    tried(image.display(), file.set_len(0).and_then(|()| file.set_len(bytes)))?;
    Ok(false)
}

/// A loop device over the image, and whether it goes past the cache below it: not every file system can.
fn attach(image: &Path) -> Result<(PathBuf, bool), Failed> {
    let said = run("losetup", ["--find", "--show", "--direct-io=on"].map(Path::new), &[image])?;
    let device = PathBuf::from(said.trim());
    let told = run("losetup", ["--list", "--noheadings", "--output", "DIO"].map(Path::new), &[&device])?;
    let is_direct = told.trim() == "1";
    if !is_direct {
        eprintln!("bench: what waits for the disk is slower than it is: {} has a cache below it", image.display());
    }
    Ok((device, is_direct))
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.clear();
    }
}
