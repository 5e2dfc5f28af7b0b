//! Bytes: clients to servers, and servers to their mirrors.

#![allow(clippy::too_many_arguments, reason = "the service macro makes a function of every message's fields")]

use crate::codec::Blob;
use crate::error::Rejection;
use crate::id::{ChunkId, Epoch, Ino, LogIndex, PairId, ServerId, SessionId};
use crate::limits::CHUNK_BYTES;
use crate::pair::Space;
use crate::rpc::{Asks, PAGE_ANSWER_BYTES};
use serde::{Deserialize, Serialize};

/// What every chunk request says of its sender's knowledge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// The pair that the chunk is on.
    pub pair: PairId,
    /// Its epoch as the sender knows it: the newest that it has seen.
    pub epoch: Epoch,
    /// The log must be applied up to here first: cuts and unlinks before it have been seen.
    pub at_least: LogIndex,
    /// Which of the pair's members is primary for the chunk when both are in sync (from the file's placement).
    pub turn: u8,
}

/// The number of a change, so that it is made once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ChangeId {
    /// Whose.
    pub session: SessionId,
    /// Its number in the session.
    pub seq: u64,
    /// The session has the outcome of every number below this one: what comes later with such a number is a late
    /// duplicate and has no effect.
    pub done_below: u64,
}

/// What a server says of itself when it orders something on its mirror.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ordered {
    /// Who.
    pub from: ServerId,
    /// Under which epoch, and behind which cuts that the mirror may not have seen yet.
    pub view: View,
    /// What it had applied of the log when it gave it its place. A mirror that has seen a cut or the end of the file
    /// behind that answers [`Rejection::Behind`], so that both carry it out on the same side of what is ordered.
    pub applied: LogIndex,
}

/// A change of a chunk's bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChunkChange {
    /// Writes bytes.
    Write {
        /// From this byte of the chunk.
        offset: u32,
        /// It is made durable, with what was written to the chunk before it, by each server that answers for it: its
        /// outcome, under an epoch that is still the newest, is that of a sync of the chunk after it.
        sync: bool,
        /// The bytes; they end within the chunk.
        data: Blob,
    },
    /// Makes a range read as zeros and gives its whole blocks back.
    Punch {
        /// From this byte of the chunk.
        offset: u32,
        /// So many.
        length: u32,
    },
    /// Reserves room for a range without changing what it reads as.
    Allocate {
        /// From this byte of the chunk.
        offset: u32,
        /// So many.
        length: u32,
    },
}

/// What a change did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// Blocks that were holes and are not (or, if negative, the other way).
    pub blocks: i64,
    /// There was no such chunk before.
    pub made: bool,
}

/// Where a copy's bytes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopySource {
    /// The server that is to be asked: of the chunk's pair, in sync.
    pub server: ServerId,
    /// What the client knows of that pair.
    pub view: View,
    /// The chunk.
    pub chunk: ChunkId,
    /// From this byte of it.
    pub offset: u32,
}

/// How a copy ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Copied {
    /// With the change that it makes.
    Made(Applied),
    /// The source could not be read, and nothing was changed: what it said, or None if it did not answer.
    Unread(Option<Rejection>),
}

/// A whole chunk, as it is copied to a mirror that catches up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkCopy {
    /// Bytes of the chunk that were ever written: its length.
    pub length: u32,
    /// Blocks that are not holes: first block and number of blocks, in order, apart from each other.
    pub extents: Vec<(u16, u16)>,
    /// Their bytes, one after the other, each block whole.
    pub data: Blob,
    /// Their checksums as the source has them, one for each block in `extents`.
    pub sums: Vec<u32>,
    /// Blocks of `extents` whose bytes are lost at the source: they stay damaged in the copy, whose sums for them do not
    /// match, so that damage is never passed on as good.
    pub damaged: Vec<u16>,
}

/// What a server has of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkSummary {
    /// Which chunk.
    pub chunk: ChunkId,
    /// Its length.
    pub length: u32,
    /// Blocks that are not holes.
    pub blocks: u32,
    /// Equal for equal chunks. Of a deep look it is of the length and the bytes, and differs where they do; else it is of the
    /// length and the block sums, which may be the same for other bytes.
    pub digest: u64,
    /// Blocks whose bytes do not match their checksum; looked for only where it was asked for.
    pub damaged: u32,
    /// Bytes, block by block, that were accepted as lost; they do not count as damaged. Not of a deep look, those that seem
    /// so by their block's sum alone.
    pub lost: u32,
}

/// A page of what a server that catches up may have, or lack, that its mirror does not know of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Noted {
    /// Its noted chunks, in order; empty at the end.
    pub chunks: Vec<ChunkId>,
    /// Files from this number on count as noted: it lacks all of their chunks that it does not name. An empty data
    /// directory says 0.
    pub high_water: Ino,
}

/// A page of the files that may have grown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grown {
    /// Files, each with the end of its last written byte as far as this page knows; one may be on several pages.
    pub files: Vec<(Ino, u64)>,
    /// Where the next page begins; None: this is the last.
    pub next: Option<ChunkId>,
}

#[tarpc::service]
pub trait ChunkService {
    /// Changes a chunk on both mirrors. Served by the chunk's primary.
    async fn change(view: View, id: ChangeId, chunk: ChunkId, change: ChunkChange) -> Result<Applied, Rejection>;

    /// The primary's word to its mirror: apply this, in this chunk's order.
    async fn apply(by: Ordered, id: ChangeId, chunk: ChunkId, change: ChunkChange) -> Result<Applied, Rejection>;

    /// Reads bytes; what was never written reads as zeros, and a reply may be shorter only by zeros at its end.
    async fn read(view: View, chunk: ChunkId, offset: u32, length: u32) -> Result<Blob, Rejection>;

    /// Makes all changes of these chunks that were acknowledged durable on this server.
    async fn sync(view: View, chunks: Vec<ChunkId>) -> Result<(), Rejection>;

    /// The same for all chunks of a file, or (None) of all files: for what would take too long to name.
    async fn sync_whole(view: View, file: Option<Ino>) -> Result<(), Rejection>;
    /// Ranges of blocks that are not holes: first block and number of blocks, in order; and the chunk's length.
    async fn extents(view: View, chunk: ChunkId) -> Result<(u32, Vec<(u16, u16)>), Rejection>;

    /// One mirror to the other: the whole chunk as it is now, every block checked, without waiting for changes in flight.
    /// For mending a damaged copy, whose changes the caller holds back. Blocks that are damaged here, too, are named in the
    /// copy; [`Rejection::Damaged`] if nothing of it is good.
    async fn fetch(from: ServerId, view: View, chunk: ChunkId) -> Result<Option<ChunkCopy>, Rejection>;

    /// A new primary to its mirror, and a source before a resync: answered once every change that the mirror began under an older epoch has ended,
    /// so that no change is ordered by both.
    async fn drain(from: ServerId, view: View) -> Result<(), Rejection>;

    /// One mirror to the other: how much room has your disk?
    async fn room(from: ServerId, view: View) -> Result<Space, Rejection>;
    /// One mirror to the other: how slow is your disk? Milliseconds of the slowest operation that is under way, or ended
    /// no longer ago than it took.
    async fn strain(from: ServerId, view: View) -> Result<u32, Rejection>;

    /// Source to the mirror that catches up: is your copy this one, every block of it checked? Then it need not be sent.
    async fn has(by: Ordered, chunk: ChunkId, summary: ChunkSummary) -> Result<bool, Rejection>;

    /// Source to the mirror that catches up: this is the whole chunk now; None: there is no such chunk.
    async fn put(by: Ordered, chunk: ChunkId, copy: Option<ChunkCopy>) -> Result<(), Rejection>;

    /// Source to the mirror that catches up: what you may have that I do not know of (your noted chunks).
    async fn noted(from: ServerId, view: View, after: Option<ChunkId>) -> Result<Noted, Rejection>;

    /// Source to the mirror that catches up: make everything durable.
    async fn settle(from: ServerId, view: View) -> Result<(), Rejection>;

    /// One mirror to the other while both are in sync: write intents of before this round are dropped once both
    /// have synced what they cover. `drop` false: start a new generation and sync; true: drop the old one.
    async fn settle_intents(from: ServerId, view: View, drop: bool) -> Result<(), Rejection>;

    /// The higher-numbered mirror to the other, as it is about to stop: run such a round now; answered when both halves are done.
    async fn settle_both(from: ServerId, view: View) -> Result<(), Rejection>;

    /// The files that noted chunks above `after` belong to, each with the end of its last written byte on this server: what
    /// a dead session may have grown. Asked once the log is applied up to `at_least`, by which the session has ended;
    /// answered once its changes under way have ended, too.
    async fn grown(pair: PairId, at_least: LogIndex, after: Option<ChunkId>) -> Result<Grown, Rejection>;

    /// One mirror to the other while both are in sync: a page of the chunks that you have above `after`, in order; empty at
    /// the end.
    async fn held(from: ServerId, view: View, after: Option<ChunkId>) -> Result<Vec<ChunkId>, Rejection>;

    /// Writes bytes that another chunk has, which may lie on the other pair: its primary reads them, and makes them a
    /// write. `length` bytes to `offset`; what the source lacks at its end are zeros.
    async fn copy(
        view: View,
        id: ChangeId,
        chunk: ChunkId,
        offset: u32,
        length: u32,
        source: CopySource,
    ) -> Result<Copied, Rejection>;

    /// One mirror to the other while both are in sync: what have you of this chunk, by its sums, once you have carried out
    /// the cuts that I have?
    async fn summary(from: ServerId, view: View, chunk: ChunkId) -> Result<Option<ChunkSummary>, Rejection>;

    /// The index of the first chunk of this file, from this one on, that there is on this pair.
    async fn next_chunk(view: View, from: ChunkId) -> Result<Option<u32>, Rejection>;
}

impl Asks for ChunkServiceRequest {
    fn answer_bytes(&self) -> usize {
        match self {
            // A copy's bytes are no answer, but the server has them meanwhile.
            ChunkServiceRequest::Read { length, .. } | ChunkServiceRequest::Copy { length, .. } => {
                (*length).min(CHUNK_BYTES as u32) as usize
            }
            ChunkServiceRequest::Fetch { .. } => CHUNK_BYTES as usize,
            ChunkServiceRequest::Extents { .. }
            | ChunkServiceRequest::Noted { .. }
            | ChunkServiceRequest::Held { .. }
            | ChunkServiceRequest::Grown { .. } => PAGE_ANSWER_BYTES,
            _ => 0,
        }
    }
}
