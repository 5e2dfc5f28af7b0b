//! Open files and directories by number. Owns the numbers only; what is open is counted by the inodes.

use super::dirs::OpenDir;
use super::files::OpenFile;
use raidfs_common::error::FsError;
use raidfs_common::id::Ino;
use std::sync::Arc;

/// What a number stands for.
#[derive(Clone)]
pub(super) enum Handle {
    /// An open file.
    File(Arc<OpenFile>),
    /// An open directory.
    Dir(Arc<OpenDir>),
}

/// The table; numbers are used again after their release.
#[derive(Default)]
pub(super) struct Handles {
    slots: Vec<Option<Handle>>,
    free: Vec<usize>,
}

impl Handles {
    /// Gives a number out.
    pub fn insert(&mut self, handle: Handle) -> u64 {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.slots[slot] = Some(handle);
        slot as u64
    }

    /// What is open under this number.
    pub fn get(&self, number: u64) -> Result<Handle, FsError> {
        self.slots.get(number as usize).cloned().flatten().ok_or(FsError::BadHandle)
    }

    /// The open file with this number.
    pub fn file(&self, number: u64) -> Result<Arc<OpenFile>, FsError> {
        match self.slots.get(number as usize) {
            Some(Some(Handle::File(file))) => Ok(file.clone()),
            _ => Err(FsError::BadHandle),
        }
    }

    /// Whether an inode is open for writing.
    pub fn writes(&self, ino: Ino) -> bool {
        let writes = |handle: &Handle| matches!(handle, Handle::File(open) if open.file.ino == ino && open.mode.writes);
        self.slots.iter().flatten().any(writes)
    }

    /// The open directory with this number.
    pub fn dir(&self, number: u64) -> Result<Arc<OpenDir>, FsError> {
        match self.slots.get(number as usize) {
            Some(Some(Handle::Dir(dir))) => Ok(dir.clone()),
            _ => Err(FsError::BadHandle),
        }
    }

    /// Takes a number back.
    pub fn remove(&mut self, number: u64) -> Result<Handle, FsError> {
        let handle = self.slots.get_mut(number as usize).and_then(Option::take).ok_or(FsError::BadHandle)?;
        self.free.push(number as usize);
        Ok(handle)
    }
}
