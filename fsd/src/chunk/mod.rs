//! Chunk bytes on one server: the contract, and its two implementations.

#[cfg(test)]
pub(crate) mod conformance;
mod copy;
#[cfg(test)]
mod damage;
pub mod disk;
pub mod format;
pub(crate) mod io;
mod layout;
pub mod memory;
mod notes;
pub mod offline;
mod poison;
pub mod salvage;
mod walk;

use bytes::Bytes;
use raidfs_common::id::{ChunkId, Ino};
use raidfs_common::pair::Space;
use raidfs_common::rpc::chunks::{Applied, ChunkCopy, ChunkSummary};
use salvage::Salvage;
use std::sync::Arc;

/// Why a chunk operation did not happen.
#[derive(Debug, thiserror::Error)]
pub enum ChunkError {
    /// Block `block` of the chunk does not match its checksum.
    #[error("chunk {chunk}, block {block}: the bytes do not match their checksum")]
    Damaged {
        /// Which chunk.
        chunk: ChunkId,
        /// Which of its blocks.
        block: u16,
    },
    /// Block `block` of the chunk was lost with both servers of the pair, and an operator has accepted that: nobody has it.
    #[error("chunk {chunk}, block {block}: the bytes were lost, which was accepted")]
    Lost {
        /// Which chunk.
        chunk: ChunkId,
        /// Which of its blocks.
        block: u16,
    },
    /// No room; nothing was changed.
    #[error("no room for chunk {chunk}")]
    Full {
        /// Which chunk.
        chunk: ChunkId,
    },
    /// The chunk's footer is missing or damaged: nothing of it can be checked. Treat it as if every block were damaged;
    /// [`ChunkStore::import`] mends it.
    #[error("chunk {chunk}: {reason}")]
    Footer {
        /// Which chunk.
        chunk: ChunkId,
        /// What is wrong with the footer.
        reason: format::FormatError,
    },
    /// The caller's fault, nothing was changed: a range that does not end within the chunk, or a copy that contradicts
    /// itself or does not match its sums.
    #[error("chunk {chunk}: {problem}")]
    Invalid {
        /// Which chunk.
        chunk: ChunkId,
        /// What is wrong.
        problem: &'static str,
    },
    /// An earlier write or sync failed: nothing is changed or made durable any more. Reads still try.
    #[error("chunks are not changed any more since the disk failed to {0}; restart the server once its disk is well")]
    Poisoned(String),
    /// The disk said no. Of a write or sync: the store is not to be trusted until it was resynced.
    #[error("cannot {action} chunk {chunk}")]
    Disk {
        /// What was tried.
        action: &'static str,
        /// On which chunk.
        chunk: ChunkId,
        /// What the system said.
        source: std::io::Error,
    },
    /// The disk said no to something that concerns no single chunk.
    #[error("cannot {action}")]
    Store {
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
}

impl ChunkError {
    /// Whether the bytes are there but wrong: the mirror may have them right, and this copy can be mended.
    pub fn is_damage(&self) -> bool {
        matches!(self, ChunkError::Damaged { .. } | ChunkError::Footer { .. })
    }

    /// Whether this process or machine has too little of something, as of open files: no fault of the disk.
    pub fn is_shortage(&self) -> bool {
        matches!(self, ChunkError::Disk { source, .. } | ChunkError::Store { source, .. } if is_shortage(source))
    }
}

/// The same of what the system said.
fn is_shortage(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM))
}

/// Held from [`ChunkStore::note`] until the change has ended on both mirrors: the note is not dropped before.
#[must_use = "the note may be dropped as soon as this is"]
#[derive(Clone, Debug)]
pub struct Intent(#[expect(dead_code, reason = "only its being alive counts")] Option<Arc<()>>);

impl Intent {
    /// For changes that nothing depends on: holds no note.
    pub fn none() -> Intent {
        Intent(None)
    }
}

/// The chunks of one server. All calls may block on the disk; none reorders: what returned is seen by what is called
/// afterwards. The caller orders overlapping changes of one chunk.
pub trait ChunkStore: Send + Sync + 'static {
    /// Writes bytes; makes the chunk if there is none. The chunk must be noted, unless nothing depends on it.
    fn write(&self, chunk: ChunkId, offset: u32, data: &[u8]) -> Result<Applied, ChunkError>;
    /// Makes a range read as zeros, giving whole blocks back. A chunk that is not there stays so.
    fn punch(&self, chunk: ChunkId, offset: u32, length: u32) -> Result<Applied, ChunkError>;
    /// Reserves room (blocks of the range count as written zeros), changing no byte.
    fn allocate(&self, chunk: ChunkId, offset: u32, length: u32) -> Result<Applied, ChunkError>;
    /// Reads bytes, checked against their sums. Shorter than `length` where the chunk ends: the rest is zeros.
    fn read(&self, chunk: ChunkId, offset: u32, length: u32) -> Result<Bytes, ChunkError>;
    /// The same if no disk is needed for it (all in the page cache), else None. Never blocks.
    fn read_cached(&self, chunk: ChunkId, offset: u32, length: u32) -> Option<Result<Bytes, ChunkError>>;
    /// Makes all that returned on these chunks durable, their existence included.
    fn sync(&self, chunks: &[ChunkId]) -> Result<(), ChunkError>;
    /// The same for all chunks of a file.
    fn sync_file(&self, ino: Ino) -> Result<(), ChunkError>;
    /// Makes a cut of a file to `size` bytes durable; what the file has before is not waited for.
    fn sync_cut(&self, ino: Ino, size: u64) -> Result<(), ChunkError>;
    /// Makes everything that returned durable.
    fn sync_all(&self) -> Result<(), ChunkError>;
    /// The chunk's length and its runs of blocks that are no holes.
    fn extents(&self, chunk: ChunkId) -> Result<(u32, Vec<(u16, u16)>), ChunkError>;
    /// The whole chunk, for a mirror that lacks it; None if there is none. Blocks that are accepted as lost are named among the
    /// copy's damaged ones, and are lost where it is imported. A damaged block is an error, unless
    /// `never_synced`: then it is summed anew first (rule 13 of docs/PROTOCOL.md).
    fn export(&self, chunk: ChunkId, never_synced: bool) -> Result<Option<ChunkCopy>, ChunkError>;
    /// The same as far as it can be read: blocks that are damaged are named in the copy, and have the sums that they should
    /// match, as far as these are known. Of a chunk without a footer all is lost. Says besides what it is that cannot be read.
    fn salvage(&self, chunk: ChunkId) -> Result<Option<Salvage>, ChunkError>;
    /// Makes the chunk exactly this, or gone. Blocks that the copy says are damaged are so afterwards, and stay so whatever a
    /// life that follows takes for true ([`ChunkStore::export`]).
    fn import(&self, chunk: ChunkId, copy: Option<&ChunkCopy>) -> Result<(), ChunkError>;
    /// Makes a chunk of so many bytes that are all accepted as lost: they take no room, and can neither be read nor changed in
    /// part until whole blocks are written. Of a chunk that is there, what is no hole stays as it is; one of which that cannot
    /// be told, as it was being made when power was lost, is made anew.
    fn lose(&self, chunk: ChunkId, bytes: u32) -> Result<(), ChunkError>;
    /// Whether something of the chunk may be lost, from memory: true if that cannot be told without the disk.
    fn may_have_lost(&self, chunk: ChunkId) -> bool;
    /// The file is `size` bytes long: the last chunk is cut, and its sums with it, and whole chunks behind are removed,
    /// `most` of them at a time. How many were: once fewer than `most`, all is done.
    fn cut(&self, ino: Ino, size: u64, most: usize) -> Result<usize, ChunkError>;
    /// Removes up to `most` chunks of an inode. How many were: once fewer than `most`, none is left.
    fn reap(&self, ino: Ino, most: usize) -> Result<usize, ChunkError>;
    /// Up to `limit` chunks above `after`, in order.
    fn list(&self, after: Option<ChunkId>, limit: usize) -> Result<Vec<ChunkId>, ChunkError>;
    /// What there is of a chunk; with `deep`, every block is read and compared with its sum.
    fn summary(&self, chunk: ChunkId, deep: bool) -> Result<Option<ChunkSummary>, ChunkError>;
    /// The same as a deep [`ChunkStore::summary`] for whoever goes through all chunks: what was not in the page cache before
    /// is not kept there.
    fn check(&self, chunk: ChunkId) -> Result<Option<ChunkSummary>, ChunkError> {
        self.summary(chunk, true)
    }
    /// Chunks held, and their bytes without holes.
    fn held(&self) -> (u64, u64);
    /// Room of the disk.
    fn space(&self) -> Result<Space, ChunkError>;
    /// Whether anything is changed or synced: not so after a failed write or sync.
    fn is_trusted(&self) -> bool {
        true
    }
    /// Whether something may be missing that returned; it is not if there only was no room for what comes before a change.
    fn is_in_doubt(&self) -> bool {
        !self.is_trusted()
    }
    /// Which file system that is: the same number for all stores on it, and another on any other machine. 0: not known.
    fn file_system(&self) -> u64 {
        0
    }

    /// Notes that a chunk is about to change: durable when this returns. Cheap for a chunk that is noted already, or
    /// whose inode is above the high-water mark. Hold what it returns until the change has ended on both mirrors.
    fn note(&self, chunk: ChunkId) -> Result<Intent, ChunkError>;
    /// All noted chunks above `after`, in order, up to `limit`: those noted by name, and all chunks of inodes above the
    /// high-water mark.
    fn noted(&self, after: Option<ChunkId>, limit: usize) -> Result<Vec<ChunkId>, ChunkError>;
    /// Inodes from this number on count as noted; 0 in an empty store.
    fn high_water(&self) -> Ino;
    /// Starts a new generation of notes and makes everything durable that the older ones cover.
    fn begin_notes(&self) -> Result<(), ChunkError>;
    /// Everything counts as noted from now on, durably, until both mirrors have settled: it is not known any more which
    /// changes this server missed.
    fn note_everything(&self) -> Result<(), ChunkError>;
    /// Drops the generations before the newest; the mirror has synced what they cover, too. A generation of which an
    /// [`Intent`] was still held when the newest began stays until the next round. The high-water mark rises to just
    /// above the highest inode that had a chunk when the oldest generation left began.
    fn drop_notes(&self) -> Result<(), ChunkError>;
}
