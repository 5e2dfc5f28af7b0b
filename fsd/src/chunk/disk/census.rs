//! Counters over all chunks: how many, how many blocks, the highest inode; and which group directories there are, with
//! how many members, so that an empty one is removed and none has to be looked for.
//!
//! Counted once at start and kept up from then on. The blocks of a chunk that was not opened since are taken from its
//! file's size on disk, so their sum may be a little off where the file system needs blocks of its own.

use crate::chunk::layout;
use parking_lot::{Mutex, MutexGuard};
use raidfs_common::id::{ChunkId, Ino};
use raidfs_common::limits::{BLOCK_BYTES, BLOCKS_PER_CHUNK};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

/// The counters.
#[derive(Debug, Default)]
pub struct Census {
    chunks: AtomicI64,
    blocks: AtomicI64,
    highest: AtomicU64,
    groups: Mutex<BTreeMap<u64, u64>>,
    rests: Mutex<BTreeSet<Ino>>,
}

impl Census {
    /// A chunk file appeared that holds so many blocks.
    pub fn chunk_added(&self, chunk: ChunkId, blocks: u32) {
        self.chunks.fetch_add(1, Relaxed);
        self.blocks_changed(i64::from(blocks));
        self.highest.fetch_max(chunk.ino.0 + 1, Relaxed);
    }

    /// A chunk file that held so many blocks is gone.
    pub fn chunk_removed(&self, blocks: u32) {
        self.chunks.fetch_sub(1, Relaxed);
        self.blocks_changed(-i64::from(blocks));
    }

    /// A chunk has so many blocks more.
    pub fn blocks_changed(&self, by: i64) {
        self.blocks.fetch_add(by, Relaxed);
    }

    /// A file or directory was made in the directory of this group.
    pub fn member_added(&self, group: u64) {
        *self.groups.lock().entry(group).or_default() += 1;
    }

    /// One was removed; true if it was the last.
    pub fn member_removed(&self, group: u64) -> bool {
        let mut groups = self.groups.lock();
        let Some(members) = groups.get_mut(&group) else { return true };
        *members -= 1;
        let last = *members == 0;
        if last {
            groups.remove(&group);
        }
        last
    }

    /// The inodes that have a directory of their own. Held while one is made or removed, so that the set is true.
    pub fn rests(&self) -> MutexGuard<'_, BTreeSet<Ino>> {
        self.rests.lock()
    }

    /// Whether the inode has a directory of its own.
    pub fn has_rest(&self, ino: Ino) -> bool {
        self.rests.lock().contains(&ino)
    }

    /// The groups with members from this one on, in order.
    pub fn groups_from(&self, group: u64) -> Vec<u64> {
        self.groups.lock().range(group..).map(|(group, _)| *group).collect()
    }

    /// One above the highest inode that ever had a chunk since the start, or had one then.
    pub fn high_water(&self) -> Ino {
        Ino(self.highest.load(Relaxed))
    }

    /// Chunks, and their bytes without holes.
    pub fn held(&self) -> (u64, u64) {
        let count = |n: &AtomicI64| n.load(Relaxed).max(0) as u64;
        match count(&self.chunks) {
            // Whatever the sum was off.
            0 => (0, 0),
            chunks => (chunks, count(&self.blocks) * BLOCK_BYTES),
        }
    }
}

/// How many blocks a chunk file holds, by its size on disk without its footer.
pub fn blocks_on_disk(metadata: &Metadata) -> u32 {
    let pages = metadata.blocks() * 512 / BLOCK_BYTES;
    let footer_pages = if pages > BLOCKS_PER_CHUNK as u64 { 2 } else { 1 };
    pages.saturating_sub(footer_pages).min(BLOCKS_PER_CHUNK as u64) as u32
}

/// The group whose directory holds a chunk's file or its inode's directory.
pub fn group(chunk: ChunkId) -> u64 {
    layout::group_of(chunk.ino)
}
