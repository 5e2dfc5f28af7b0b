//! Room of the disk: looked at in the background, and minded where it grows short.

use super::judge::Standing;
use super::{APPLY_PATIENCE, Replica};
use raidfs_common::pair::Space;
use raidfs_common::rpc::chunks::ChunkServiceClient;
use std::sync::Arc;
use std::time::Duration;

/// Below this many free bytes a change is made here first and on the mirror after, so that a full disk changes nothing.
const SHORT_BYTES: u64 = 1 << 30;
/// A mirror with less than this counts as full, too: neither is evicted for the last few bytes.
const SPARE_BYTES: u64 = 64 << 20;
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Replica {
    /// Whether this disk or the mirror's may be full soon.
    pub(super) fn is_short_of_room(&self, standing: &Standing) -> bool {
        let short = |space: &Space| space.total > 0 && space.free < SHORT_BYTES;
        short(&self.space.lock()) || short(&standing.pair.space)
    }

    /// Whether the mirror's disk has more room than the last few bytes.
    pub(super) async fn mirror_has_room(self: &Arc<Self>, standing: &Standing) -> bool {
        let (me, view) = (self.me, standing.view());
        let ask = |client: ChunkServiceClient, context| async move { client.room(context, me, view).await };
        let room = self.peers.call(standing.mirror.server, APPLY_PATIENCE, ask).await;
        matches!(room, Ok(Ok(space)) if space.free > SPARE_BYTES)
    }

    pub(super) async fn run_room(self: Arc<Self>) {
        loop {
            let store = self.store.clone();
            if let Ok(Ok(space)) = tokio::task::spawn_blocking(move || store.space()).await {
                *self.space.lock() = space;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
