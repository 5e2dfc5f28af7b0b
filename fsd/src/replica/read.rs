//! Reading: what no disk is needed for is answered on the spot, the rest on a thread that may block. A read waits for
//! the changes under way that it overlaps, and what is damaged is mended before it is answered.

use super::disk::rejection;
use super::judge::check_range;
use super::ranges::{Mode, Span};
use super::tally::add;
use super::{DISK_STUCK, Replica};
use crate::chunk::ChunkError;
use bytes::Bytes;
use raidfs_common::error::Rejection;
use raidfs_common::id::{ChunkId, LogIndex};
use raidfs_common::plant::{Bug, planted};
use raidfs_common::rpc::chunks::{ChunkSummary, View};
use std::sync::Arc;

/// Chunks of one page of [`Replica::inventory`].
const INVENTORY_PAGE: usize = 512;

impl Replica {
    /// Reads bytes of a chunk; shorter than asked only where zeros follow.
    pub async fn read(
        self: &Arc<Self>,
        view: View,
        chunk: ChunkId,
        offset: u32,
        length: u32,
    ) -> Result<Bytes, Rejection> {
        check_range(offset, length as usize)?;
        if length == 0 {
            return Ok(Bytes::new());
        }
        let held = self.to_read(&view, chunk, Span::of(chunk, offset, length)).await?;
        let mut result = self.read_here(chunk, offset, length).await;
        let missing = result.as_ref().is_ok_and(Bytes::is_empty) && self.is_missing(chunk).await;
        if missing || result.as_ref().is_err_and(ChunkError::is_damage) {
            drop(held);
            let healed = if missing { self.bring_back(chunk).await } else { self.mend_to_the_end(chunk).await };
            if !healed {
                return Err(Rejection::Damaged);
            }
            let _held = self.to_read(&view, chunk, Span::of(chunk, offset, length)).await?;
            result = self.read_here(chunk, offset, length).await;
        }
        let bytes = result.map_err(rejection)?;
        add(&self.tally.reads, 1);
        add(&self.tally.read_bytes, bytes.len() as u64);
        Ok(bytes)
    }

    /// Mends a chunk, to the end whether the caller waits for it or not; true if that was of use.
    pub(super) async fn mend_to_the_end(self: &Arc<Self>, chunk: ChunkId) -> bool {
        let replica = self.clone();
        tokio::spawn(async move { replica.mend_chunk(chunk).await.is_of_use() }).await.unwrap_or(false)
    }

    /// Judges a client's read, and holds what it reads.
    async fn to_read(
        self: &Arc<Self>,
        view: &View,
        chunk: ChunkId,
        span: Span,
    ) -> Result<super::locks::Held, Rejection> {
        self.judged(view).await?;
        self.settle_dooms(chunk.ino, LogIndex(u64::MAX)).await?;
        // Planted: behind everything that a file of the simulation has.
        let turn =
            if planted(Bug::ReadsAmongChanges) { Span::chunk(ChunkId { index: 1 << 20, ..chunk }) } else { span };
        let held = self.locks.hold(chunk.ino, turn, Mode::Read).await;
        // It may have waited: what it would read now need not be what the pair has.
        self.judge_now(view)?;
        Ok(held)
    }

    async fn read_here(self: &Arc<Self>, chunk: ChunkId, offset: u32, length: u32) -> Result<Bytes, ChunkError> {
        match self.store.read_cached(chunk, offset, length) {
            Some(result) => result,
            None => self.disk(DISK_STUCK, "read a chunk", move |store| store.read(chunk, offset, length)).await,
        }
    }

    /// A chunk's length, and its runs of blocks that are no holes.
    pub async fn extents(self: &Arc<Self>, view: View, chunk: ChunkId) -> Result<(u32, Vec<(u16, u16)>), Rejection> {
        let extents = async || {
            let _held = self.to_read(&view, chunk, Span::chunk(chunk)).await?;
            self.disk(DISK_STUCK, "read a chunk", move |store| store.extents(chunk)).await.map_err(rejection)
        };
        match extents().await? {
            (_, runs) if runs.is_empty() && self.is_missing(chunk).await => {
                if self.bring_back(chunk).await {
                    extents().await
                } else {
                    Err(Rejection::Damaged)
                }
            }
            found => Ok(found),
        }
    }

    /// The first chunk of a file, from this one on, that there is.
    pub async fn next_chunk(self: &Arc<Self>, view: View, from: ChunkId) -> Result<Option<u32>, Rejection> {
        let _held = self.to_read(&view, from, Span::chunk(from)).await?;
        let list = self.disk(DISK_STUCK, "list chunks", move |store| store.list(from.before(), 1)).await;
        // The mirror may have one that has vanished here.
        let list = list.map_err(rejection)?.into_iter().chain(self.mirrors_next(from).await);
        Ok(list.filter(|found| found.ino == from.ino).map(|found| found.index).min())
    }

    /// What this server has of a chunk; with `deep`, every block is checked. The caller holds the chunk if that matters.
    pub(super) async fn own_summary(
        self: &Arc<Self>,
        chunk: ChunkId,
        deep: bool,
    ) -> Result<Option<ChunkSummary>, ChunkError> {
        self.disk(DISK_STUCK, "read a chunk", move |store| store.summary(chunk, deep)).await
    }

    /// What this server has of the chunks above `after`, a page in order; with `deep`, every block is checked. Answered
    /// whatever the copy's state is.
    pub async fn inventory(
        self: &Arc<Self>,
        after: Option<ChunkId>,
        deep: bool,
    ) -> Result<Vec<ChunkSummary>, Rejection> {
        let list = self.disk(DISK_STUCK, "list chunks", move |store| store.list(after, INVENTORY_PAGE)).await;
        let mut summaries = Vec::new();
        for chunk in list.map_err(rejection)? {
            let _held = self.locks.hold(chunk.ino, Span::chunk(chunk), Mode::Read).await;
            match self.own_summary(chunk, deep).await {
                Ok(summary) => summaries.extend(summary),
                Err(error) if error.is_damage() => {
                    let damaged = raidfs_common::limits::BLOCKS_PER_CHUNK as u32;
                    summaries.push(ChunkSummary { chunk, length: 0, blocks: 0, digest: 0, damaged, lost: 0 });
                }
                Err(error) => return Err(rejection(error)),
            }
        }
        Ok(summaries)
    }
}
