//! Mending a damaged chunk from the mirror, if the mirror's copy is good. Changes of the chunk are held back meanwhile;
//! the mirror is asked for what it has without waiting for anything there, so that two servers never wait for each other.

use super::ranges::{Mode, Span};
use super::tally::add;
use super::{APPLY_PATIENCE, DISK_STUCK, Replica};
use raidfs_common::error::Rejection;
use raidfs_common::id::{ChunkId, LogIndex};
use raidfs_common::limits::BLOCKS_PER_CHUNK;
use raidfs_common::rpc::chunks::{ChunkCopy, ChunkServiceClient, View};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Below what makes a change that waits for the chunk look stuck.
const FETCH_PATIENCE: Duration = Duration::from_secs(1);
/// A file that is being cut meanwhile is tried again so often.
const TRIES: u32 = 5;
/// Chunks that are remembered as lost.
const LOST_MAX: usize = 4096;

impl Replica {
    /// Mends a chunk; true if every block of it is good now. The caller holds nothing of the chunk.
    pub(super) async fn mend(self: &Arc<Self>, chunk: ChunkId) -> bool {
        let _one = self.mending.lock().await;
        for _ in 0..TRIES {
            if self.settle_dooms(chunk.ino, LogIndex(u64::MAX)).await.is_err() {
                return false;
            }
            let held = self.locks.hold(chunk.ino, Span::chunk(chunk), Mode::Change).await;
            let damaged = self.damaged(chunk).await;
            if damaged == 0 || self.sum_anew(chunk).await {
                return true;
            }
            match self.fetch_copy(chunk).await {
                Ok(Some(copy)) => return self.replace(chunk, copy, damaged).await,
                Ok(None) => return self.is_lost(chunk, damaged, "the mirror has no such chunk"),
                Err(Rejection::Behind { needed }) => {
                    drop(held);
                    let _ = self.board.applied(needed, APPLY_PATIENCE).await;
                }
                Err(rejection) => return self.is_lost(chunk, damaged, &rejection.to_string()),
            }
        }
        false
    }

    /// Tells once of a chunk that cannot be mended; false.
    fn is_lost(&self, chunk: ChunkId, damaged: u32, why: &str) -> bool {
        let mut lost = self.lost.lock();
        if lost.len() < LOST_MAX && lost.insert(chunk) {
            add(&self.tally.damaged_blocks, u64::from(damaged));
            tracing::error!("chunk {chunk}: {damaged} blocks are damaged, and the mirror cannot help: {why}");
        }
        false
    }

    /// If this is the only copy, and an earlier life may have ended in the middle of a change of the chunk, what is there
    /// is what there is.
    async fn sum_anew(self: &Arc<Self>, chunk: ChunkId) -> bool {
        let standing = self.standing_known().await;
        if !standing.in_sync() || standing.mirror_in_sync() || !self.notes_inherited.load(Ordering::Relaxed) {
            return false;
        }
        let work = self.disk(DISK_STUCK, "sum a chunk anew", move |store| {
            let is_noted = store.noted(chunk.before(), 1)? == [chunk];
            Ok(is_noted && store.export(chunk, true)?.is_some())
        });
        let done = work.await.unwrap_or(false);
        if done {
            tracing::warn!("chunk {chunk}: a change was cut off by the end of an earlier life; it is summed anew");
        }
        done
    }

    async fn damaged(self: &Arc<Self>, chunk: ChunkId) -> u32 {
        match self.disk(DISK_STUCK, "read a chunk", move |store| store.summary(chunk, true)).await {
            Ok(summary) => summary.map_or(0, |s| s.damaged),
            Err(_) => BLOCKS_PER_CHUNK as u32,
        }
    }

    /// The mirror's copy as it is now.
    async fn fetch_copy(self: &Arc<Self>, chunk: ChunkId) -> Result<Option<ChunkCopy>, Rejection> {
        let standing = self.standing_known().await;
        let at_least = self.past.lock().last(chunk.ino);
        let (me, view) = (self.me, View { at_least, ..standing.view() });
        let fetch = |client: ChunkServiceClient, context| async move { client.fetch(context, me, view, chunk).await };
        match self.peers.call(standing.mirror.server, FETCH_PATIENCE, fetch).await {
            Ok(answer) => answer,
            Err(_) => Err(Rejection::Away),
        }
    }

    async fn replace(self: &Arc<Self>, chunk: ChunkId, copy: ChunkCopy, damaged: u32) -> bool {
        let work = self.disk(DISK_STUCK, "write a chunk", move |store| {
            let _intent = store.note(chunk)?;
            store.import(chunk, Some(&copy))
        });
        match work.await {
            Ok(()) => {
                self.lost.lock().remove(&chunk);
                add(&self.tally.damaged_blocks, u64::from(damaged));
                tracing::warn!("chunk {chunk}: {damaged} blocks were damaged, and are mended from the mirror");
                true
            }
            Err(error) => {
                tracing::error!("chunk {chunk}: cannot mend it: {}", raidfs_common::log::chain(&error));
                false
            }
        }
    }
}
