//! What is measured: something with a directory to work in, whose data lies on the benchmark's disk.

use super::disk::Disk;
use super::{Failed, tried};
use std::path::{Path, PathBuf};

/// One system under measurement. Dropping it ends it.
pub trait System {
    /// Its name, as the table's column.
    fn name(&self) -> &'static str;
    /// What it is exactly: version and layout.
    fn description(&self) -> String;
    /// The directory to work in.
    fn root(&self) -> &Path;
    /// Its processes now.
    fn processes(&self) -> Vec<i32>;
}

/// A directory on the disk itself: what the disk and the kernel can do.
pub struct Plain {
    root: PathBuf,
}

impl Plain {
    /// Makes it.
    pub fn make(disk: &Disk) -> Result<Plain, Failed> {
        let root = disk.root().join("plain");
        tried(root.display(), std::fs::create_dir(&root))?;
        Ok(Plain { root })
    }
}

impl System for Plain {
    fn name(&self) -> &'static str {
        "plain"
    }

    fn description(&self) -> String {
        "a directory on the ext4 image itself: one copy, no network".to_owned()
    }

    fn root(&self) -> &Path {
        &self.root
    }

    fn processes(&self) -> Vec<i32> {
        Vec::new()
    }
}
