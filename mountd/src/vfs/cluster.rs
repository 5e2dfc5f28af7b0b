//! All that the vfs may ask of the world. Implemented over the network by [`crate::cluster`], and in memory for tests.

use bytes::Bytes;
use raidfs_common::attr::Placement;
use raidfs_common::error::FsError;
use raidfs_common::id::{ChunkId, Ino, PairId};
use raidfs_common::namespace::{Change, Outcome, Query, Reply};
use raidfs_common::rpc::chunks::ChunkChange;
use raidfs_common::time::Time;
use std::future::Future;

/// A chunk and where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkAddress {
    /// Which chunk.
    pub chunk: ChunkId,
    /// Its file's placement.
    pub placement: Placement,
}

/// A part of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// From this byte of the chunk.
    pub offset: u32,
    /// So many bytes.
    pub length: u32,
}

/// Where a copy's bytes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// The chunk.
    pub at: ChunkAddress,
    /// From this byte of it.
    pub offset: u32,
}

/// What a change of a chunk did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Blocks that were holes and are not (or, if negative, the other way).
    pub blocks: i64,
    /// It is durable on every in-sync mirror, as after a sync of the chunk. Only if that was asked for, and not always
    /// then.
    pub durable: bool,
}

/// A moment in what was heard of losses, for [`Cluster::lost_since`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LossMark(pub u32);

/// The cluster, as one mount session sees it. Every call retries through failures with the same request number, and
/// gives [`FsError::Io`] only once `io_timeout` has passed without anybody able to serve it. Answers never go back in
/// time.
pub trait Cluster: Send + Sync + 'static {
    /// Makes changes, in order, each exactly once, as one request: nobody sees a state between them only if the cluster
    /// fails in the middle. Calls that are under way at the same time may be ordered either way.
    fn change(&self, changes: Vec<(Time, Change)>) -> impl Future<Output = Vec<Outcome>> + Send;
    /// Answers a question.
    fn ask(&self, query: Query) -> impl Future<Output = Reply> + Send;
    /// An inode number that was never used.
    fn new_ino(&self) -> impl Future<Output = Result<Ino, FsError>> + Send;
    /// The pair that has a chunk.
    fn pair_of(&self, at: ChunkAddress) -> PairId;
    /// Changes a chunk on both mirrors. The caller keeps two changes of overlapping bytes from being under way at once.
    fn change_chunk(
        &self,
        at: ChunkAddress,
        change: ChunkChange,
    ) -> impl Future<Output = Result<Changed, FsError>> + Send;
    /// Has the servers write into a part of a chunk what another chunk has: a change like any other, of bytes that do not
    /// pass through here. The caller has no change of either under way. [`FsError::NotSupported`]: not now, as the servers do
    /// not reach each other, though they may be reached from here.
    fn copy_chunk(
        &self,
        at: ChunkAddress,
        part: Part,
        from: Source,
    ) -> impl Future<Output = Result<Changed, FsError>> + Send;
    /// Reads a chunk; shorter than asked only where zeros follow. The caller does not read what it has a change under
    /// way for.
    fn read_chunk(
        &self,
        at: ChunkAddress,
        offset: u32,
        length: u32,
    ) -> impl Future<Output = Result<Bytes, FsError>> + Send;
    /// Makes what was acknowledged of these chunks durable on every in-sync mirror.
    fn sync_chunks(&self, chunks: Vec<ChunkAddress>) -> impl Future<Output = Result<(), FsError>> + Send;
    /// The same for all chunks of a file, or (None) of all files, whoever changed them.
    fn sync_whole(&self, file: Option<Ino>) -> impl Future<Output = Result<(), FsError>> + Send;
    /// Now, for [`Cluster::lost_since`].
    fn loss_mark(&self) -> LossMark;
    /// Whether changes of a chunk that were sent after `mark` was taken, acknowledged, and not synced since may be gone: its
    /// pair went on with a copy whose machine had lost power. A sync that returned later has only made durable what was left.
    fn lost_since(&self, mark: LossMark, at: ChunkAddress) -> bool;
    /// Returns once there was a loss after `mark` was taken.
    fn loss_after(&self, mark: LossMark) -> impl Future<Output = ()> + Send;
    /// A chunk's length and its runs of blocks that are no holes.
    fn extents(&self, at: ChunkAddress) -> impl Future<Output = Result<(u32, Vec<(u16, u16)>), FsError>> + Send;
    /// The index of the first chunk of a file, from this one on, that there is.
    fn next_chunk(&self, from: ChunkAddress) -> impl Future<Output = Result<Option<u32>, FsError>> + Send;
    /// Makes every change of names that was acknowledged so far durable on a quorum.
    fn barrier(&self) -> impl Future<Output = Result<(), FsError>> + Send;
}
