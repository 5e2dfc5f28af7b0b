//! Room of the disk: looked at in the background, and minded where it grows short.

use super::judge::{Standing, range_of};
use super::{APPLY_PATIENCE, DISK_STUCK, Replica};
use raidfs_common::id::ChunkId;
use raidfs_common::limits::BLOCK_BYTES;
use raidfs_common::pair::Space;
use raidfs_common::rpc::chunks::{ChunkChange, ChunkServiceClient};
use std::sync::Arc;
use std::time::Duration;

/// Below this many free bytes a change is made here first and on the mirror after, so that a full disk changes nothing.
const SHORT_BYTES: u64 = 1 << 30;
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The same while there is little: less is written in between than a store takes when nothing is free any more.
const LOOK_OFTEN: Duration = Duration::from_millis(20);

impl Replica {
    /// Whether this disk or the mirror's may be full soon.
    pub(super) fn is_short_of_room(&self, standing: &Standing) -> bool {
        let short = |space: &Space| space.total > 0 && space.free < SHORT_BYTES;
        short(&self.space.lock()) || short(&standing.pair.space)
    }

    /// Whether the mirror's disk has anything free.
    pub(super) async fn mirror_has_room(self: &Arc<Self>, standing: &Standing) -> bool {
        self.mirrors_room(standing).await.is_some_and(|space| space.free > 0)
    }

    /// Whether neither disk has anything free: which of them is the first to refuse a change is chance then, and no
    /// reason to put it out.
    pub(super) async fn both_full(self: &Arc<Self>, standing: &Standing) -> bool {
        let full = |space: &Space| space.total > 0 && space.free == 0;
        let here = full(&self.space.lock());
        here && standing.mirror_in_sync() && self.mirrors_room(standing).await.is_some_and(|space| full(&space))
    }

    /// Whether a change puts bytes where this copy has a hole.
    pub(super) async fn needs_room(self: &Arc<Self>, chunk: ChunkId, change: &ChunkChange) -> bool {
        let Ok((offset, length @ 1..)) = range_of(change) else { return false };
        let (first, last) = (u64::from(offset) / BLOCK_BYTES, u64::from(offset + length - 1) / BLOCK_BYTES);
        let runs = self.disk(DISK_STUCK, "read a chunk", move |store| store.extents(chunk)).await;
        let holds =
            |(from, count): &(u16, u16)| (u64::from(*from)..=last).contains(&first) && last < u64::from(from + count);
        runs.map_or(true, |(_, runs)| !runs.iter().any(holds))
    }

    async fn mirrors_room(self: &Arc<Self>, standing: &Standing) -> Option<Space> {
        let (me, view) = (self.me, standing.view());
        let ask = |client: ChunkServiceClient, context| async move { client.room(context, me, view).await };
        self.peers.call(standing.mirror.server, APPLY_PATIENCE, ask).await.ok()?.ok()
    }

    pub(super) async fn run_room(self: Arc<Self>) {
        loop {
            let store = self.store.clone();
            let mut pause = LOOK_EVERY;
            if let Ok(Ok(space)) = tokio::task::spawn_blocking(move || store.space()).await {
                *self.space.lock() = space;
                if space.free < SHORT_BYTES {
                    pause = LOOK_OFTEN;
                }
            }
            tokio::time::sleep(pause).await;
        }
    }
}
