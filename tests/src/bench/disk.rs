//! The disk under everything that is measured: one sparse image with a journaled file system of its own, so that the
//! root disk's habits do not matter, and so that all systems share one journal.

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
        let disk = Disk { root: work.join("disk"), work, _lock: lock };
        disk.clear();
        let image = disk.image();
        let file = tried(image.display(), File::create(&image))?;
        tried(image.display(), file.set_len(IMAGE_BYTES + more))?;
        drop(file);
        // Tables written now are not written by a kernel thread in the middle of a measurement.
        let options = ["-q", "-F", "-J", JOURNAL, "-E", "lazy_itable_init=0,lazy_journal_init=0"];
        run("mkfs.ext4", options.map(Path::new), &[&image])?;
        tried(disk.root.display(), fs::create_dir_all(&disk.root))?;
        run("mount", ["-o", "loop,noatime"].map(Path::new), &[&image, &disk.root])?;
        Ok(disk)
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

impl Drop for Disk {
    fn drop(&mut self) {
        self.clear();
    }
}
