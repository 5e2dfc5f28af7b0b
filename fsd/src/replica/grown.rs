//! How long files are by their chunks: asked after a mount session died without having committed the sizes.

use super::disk::rejection;
use super::{APPLY_PATIENCE, Replica, SYNC_STUCK};
use crate::chunk::ChunkStore;
use raidfs_common::error::Rejection;
use raidfs_common::id::{ChunkId, Ino, LogIndex, PairId};
use raidfs_common::limits::CHUNK_BYTES;
use std::collections::BTreeMap;
use std::sync::Arc;

const PAGE: usize = 4096;

impl Replica {
    /// The files that noted chunks belong to, each with the end of its last written byte on this server. Cuts that were
    /// not carried out yet are carried out first.
    pub async fn grown(self: &Arc<Self>, pair: PairId, at_least: LogIndex) -> Result<Vec<(Ino, u64)>, Rejection> {
        self.board.applied(at_least, APPLY_PATIENCE).await?;
        let serves = self.standing().is_some_and(|s| s.in_sync());
        if pair != self.pair || !serves {
            return Err(Rejection::NotInCharge);
        }
        self.inflight.ended().await;
        let ends = self.noted_ends().await?;
        let doomed: Vec<Ino> = ends.keys().copied().filter(|ino| !self.board.dooms_of(*ino).is_empty()).collect();
        if doomed.is_empty() {
            return Ok(ends.into_iter().collect());
        }
        for ino in doomed {
            self.settle_dooms(ino, LogIndex(u64::MAX)).await?;
        }
        Ok(self.noted_ends().await?.into_iter().collect())
    }

    async fn noted_ends(self: &Arc<Self>) -> Result<BTreeMap<Ino, u64>, Rejection> {
        let work = self.disk(SYNC_STUCK, "list noted chunks", |store| {
            let mut ends = BTreeMap::new();
            let mut after = None;
            loop {
                let page = store.noted(after, PAGE)?;
                let Some(last) = page.last() else { return Ok(ends) };
                after = Some(*last);
                for chunk in page {
                    let end = end_of(store, chunk);
                    let known = ends.entry(chunk.ino).or_insert(0);
                    *known = end.max(*known);
                }
            }
        });
        let mut ends = work.await.map_err(rejection)?;
        ends.retain(|_, end| *end > 0);
        Ok(ends)
    }
}

/// Where the last written byte of a chunk ends in its file; 0 if there is no such chunk, or it cannot be told.
fn end_of(store: &dyn ChunkStore, chunk: ChunkId) -> u64 {
    match store.extents(chunk) {
        Ok((length, _)) if length > 0 => u64::from(chunk.index) * CHUNK_BYTES + u64::from(length),
        _ => 0,
    }
}
