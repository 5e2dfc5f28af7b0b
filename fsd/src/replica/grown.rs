//! How long files are by their chunks: asked after a mount session died without having committed the sizes. Answered in
//! pages of noted chunks, so that it does not matter how many there are.

use super::disk::rejection;
use super::{APPLY_PATIENCE, Replica, SYNC_STUCK};
use crate::chunk::{ChunkError, ChunkStore};
use raidfs_common::error::Rejection;
use raidfs_common::id::{ChunkId, Ino, LogIndex, PairId};
use raidfs_common::limits::CHUNK_BYTES;
use raidfs_common::plant::{Bug, planted};
use raidfs_common::rpc::chunks::Grown;
use std::sync::Arc;

/// Noted chunks of one page.
pub(super) const PAGE: usize = 4096;

impl Replica {
    /// The files that a page of noted chunks above `after` belongs to, each with the end of its last written byte on this
    /// server. Cuts that were not carried out yet are carried out first.
    pub async fn grown(
        self: &Arc<Self>,
        pair: PairId,
        at_least: LogIndex,
        after: Option<ChunkId>,
    ) -> Result<Grown, Rejection> {
        self.board.applied(at_least, APPLY_PATIENCE).await?;
        let serves = self.standing().is_some_and(|s| s.in_sync());
        if pair != self.pair || !serves {
            return Err(Rejection::NotInCharge);
        }
        self.inflight.ended().await;
        let page = self.page(after).await?;
        let doomed = |(ino, _): &&(Ino, u64)| !self.board.dooms_of(*ino).is_empty();
        let doomed: Vec<Ino> = page.files.iter().filter(doomed).map(|(ino, _)| *ino).collect();
        if doomed.is_empty() || planted(Bug::MeasuresBeforeCuts) {
            return Ok(page);
        }
        for ino in doomed {
            self.settle_dooms(ino, LogIndex(u64::MAX)).await?;
        }
        self.page(after).await
    }

    pub(super) async fn page(self: &Arc<Self>, after: Option<ChunkId>) -> Result<Grown, Rejection> {
        self.disk(SYNC_STUCK, "list noted chunks", move |store| page(store, after)).await.map_err(rejection)
    }
}

fn page(store: &dyn ChunkStore, after: Option<ChunkId>) -> Result<Grown, ChunkError> {
    let chunks = store.noted(after, PAGE)?;
    let mut page = Grown { files: Vec::new(), next: chunks.last().copied() };
    // From the end: of a file with many chunks only the last ones need be looked at.
    for chunk in chunks.into_iter().rev() {
        if page.files.last().is_none_or(|(ino, _)| *ino != chunk.ino)
            && let Some(end) = end_of(store, chunk)
        {
            page.files.push((chunk.ino, end));
        }
    }
    page.files.reverse();
    Ok(page)
}

/// Where the last written byte of a chunk ends in its file; None if there is no such chunk, or it cannot be told.
fn end_of(store: &dyn ChunkStore, chunk: ChunkId) -> Option<u64> {
    match store.extents(chunk) {
        Ok((length, _)) if length > 0 => Some(u64::from(chunk.index) * CHUNK_BYTES + u64::from(length)),
        _ => None,
    }
}
