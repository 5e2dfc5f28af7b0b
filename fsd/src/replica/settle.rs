//! Lets both servers of a pair forget, while both are in sync, which chunks were changed: what was noted before a round
//! is durable on both after it, and need not be copied should one of them fail. Run by the lower-numbered server.

use super::inflight::UnderWay;
use super::judge::Standing;
use super::tally::Tally;
use super::{Replica, SYNC_PATIENCE};
use raidfs_common::error::Rejection;
use raidfs_common::id::{Epoch, ServerId};
use raidfs_common::log::chain;
use raidfs_common::rpc::chunks::{ChunkServiceClient, View};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Between two rounds.
const EVERY: Duration = Duration::from_secs(10);
/// A stop waits so long for changes under way.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);
/// From the start of a round until its notes are dropped: until then a mount has most often committed how long its files
/// are. What it has not is noted again (see [`super::ends`]).
const SIZES_COMMITTED: Duration = Duration::from_secs(4);

impl Replica {
    /// One round at once, by this server or its mirror: before it stops.
    pub async fn settle_now(self: &Arc<Self>) {
        let standing = self.standing_known().await;
        if self.me < standing.mirror.server {
            self.settle_round(Duration::ZERO).await;
            return;
        }
        let (me, view) = (self.me, standing.view());
        let settle =
            move |client: ChunkServiceClient, context| async move { client.settle_both(context, me, view).await };
        let _ = self.peers.call(standing.mirror.server, SYNC_PATIENCE, settle).await;
    }

    /// One round at once, as the mirror is about to stop.
    pub async fn settle_both(self: &Arc<Self>, from: ServerId, view: View) -> Result<(), Rejection> {
        self.judge_mirror(from, &view)?;
        let replica = self.clone();
        let settled = tokio::spawn(async move { replica.settle_round(Duration::ZERO).await }).await;
        settled.unwrap_or(false).then_some(()).ok_or(Rejection::NotInCharge)
    }

    /// Serves nobody any more, begins nothing that changes a chunk, and waits until what is under way has ended: before it
    /// stops. False: it has not.
    pub async fn close(&self) -> bool {
        self.closed.store(true, Ordering::SeqCst);
        let ended = async {
            self.inflight.ended().await;
            self.works.ended().await;
        };
        tokio::time::timeout(CLOSE_PATIENCE, ended).await.is_ok()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Something begins that changes chunks and is no change of a client's; None: it must not, as this server is about to
    /// stop.
    pub(super) fn begin_work(&self) -> Option<UnderWay> {
        // Begun first: whoever closes afterwards waits for it.
        let work = self.works.begin(Epoch(0));
        (!self.is_closed()).then_some(work)
    }

    /// Every change of earlier lives was made to its end: what does not match its sum has been damaged.
    pub fn nothing_is_half_changed(&self) {
        self.notes_inherited.store(false, Ordering::Relaxed);
    }

    /// An earlier life may have ended in the middle of a change, and both servers have not synced since.
    pub fn may_be_half_changed(&self) -> bool {
        self.notes_inherited.load(Ordering::Relaxed)
    }

    pub(super) async fn run_settle(self: Arc<Self>) {
        let mut settled = None;
        loop {
            tokio::time::sleep(EVERY).await;
            let changes = changes(&self.tally);
            let standing = self.standing_known().await;
            let mine = self.me < standing.mirror.server;
            if mine && settled != Some(changes) && self.settle_round(SIZES_COMMITTED).await {
                settled = Some(changes);
            }
        }
    }

    /// One round; false if it was given up.
    pub(super) async fn settle_round(self: &Arc<Self>, sizes_committed: Duration) -> bool {
        // What a round drops must not have been begun by another that has not synced yet.
        let _one = self.settling.lock().await;
        let standing = self.standing_known().await;
        if !standing.both_in_sync() {
            return false;
        }
        let (here, there) = tokio::join!(self.settle_notes(false), self.settle_mirror(&standing, false));
        if here.is_err() || !there {
            return false;
        }
        tokio::time::sleep(sizes_committed).await;
        if self.standing_known().await.epoch() != standing.epoch() {
            return false;
        }
        // What the mirror has noted of a change that this one has not even begun to make is all that tells of it.
        self.inflight.ended().await;
        self.settle_mirror(&standing, true).await && self.settle_notes(true).await.is_ok()
    }

    async fn settle_mirror(self: &Arc<Self>, standing: &Standing, drop: bool) -> bool {
        let (me, view) = (self.me, standing.view());
        let settle = move |client: ChunkServiceClient, context| async move {
            client.settle_intents(context, me, view, drop).await
        };
        match self.peers.call(standing.mirror.server, SYNC_PATIENCE, settle).await {
            Ok(Ok(())) => true,
            Ok(Err(rejection)) => {
                tracing::debug!("write intents are kept: {rejection}");
                false
            }
            Err(error) => {
                tracing::debug!("write intents are kept: {}", chain(&error));
                false
            }
        }
    }
}

fn changes(tally: &Tally) -> u64 {
    tally.primary_changes.load(Ordering::Relaxed) + tally.mirror_changes.load(Ordering::Relaxed)
}
