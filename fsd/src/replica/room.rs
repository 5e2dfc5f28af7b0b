//! Room of the disk: looked at in the background, reported to the leader, and minded where it grows short.

use super::judge::Standing;
use super::{APPLY_PATIENCE, Replica};
use raidfs_common::pair::Space;
use raidfs_common::rpc::chunks::ChunkServiceClient;
use raidfs_common::rpc::peer::Report;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Below this many free bytes a change is made here first and on the mirror after, so that a full disk changes nothing.
const SHORT_BYTES: u64 = 1 << 30;
/// A mirror with less than this counts as full, too: neither is evicted for the last few bytes.
const SPARE_BYTES: u64 = 64 << 20;
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The leader is told at least this often, and at once when the room has changed by more than one part in a hundred.
const TELL_EVERY: Duration = Duration::from_secs(30);

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
        let mut told: Option<(Space, Instant)> = None;
        loop {
            let store = self.store.clone();
            if let Ok(Ok(space)) = tokio::task::spawn_blocking(move || store.space()).await {
                *self.space.lock() = space;
                if told.is_none_or(|(was, when)| when.elapsed() > TELL_EVERY || has_changed(&was, &space)) {
                    let report = Report::Space { total: space.total, free: space.free };
                    let heard = tokio::time::timeout(LOOK_EVERY, self.board.report(report)).await;
                    if heard.unwrap_or(false) {
                        told = Some((space, Instant::now()));
                    }
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

fn has_changed(was: &Space, is: &Space) -> bool {
    was.total != is.total || was.free.abs_diff(is.free) > is.total / 100
}
