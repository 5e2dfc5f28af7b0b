//! Telling the leader that a copy is not to be relied on, again and again until the pair's epoch says that it knows.

use super::judge::Standing;
use super::{REPORT_AGAIN, Replica};
use raidfs_common::id::{Epoch, ServerId};
use raidfs_common::pair::CopyState;
use raidfs_common::rpc::peer::Report;
use std::sync::Arc;
use std::time::Duration;

/// A report that got no answer by then is repeated: the leader may be the one that hangs, and another lead by then.
const REPORT_PATIENCE: Duration = Duration::from_millis(150);

impl Replica {
    /// Has `server` (this one or its mirror) evicted, in the background. One accusation of each is under way at most.
    /// It ends with the epoch that it is about, and is not made of the last copy in sync.
    pub(super) fn accuse(self: &Arc<Self>, server: ServerId, reason: String) {
        if self.accused.lock().insert(server) {
            let replica = self.clone();
            tokio::spawn(async move {
                replica.accuse_now(server, reason).await;
                replica.accused.lock().remove(&server);
            });
        }
    }

    /// The names were replaced by another server's: which files were cut in between is not known here. Its chunks are
    /// compared with the mirror's, if that is in sync.
    pub async fn names_replaced(self: &Arc<Self>) {
        self.accuse_now(self.me, "it has taken the names as a whole, and may have missed cuts".into()).await;
    }

    async fn accuse_now(self: &Arc<Self>, server: ServerId, reason: String) {
        let standing = self.standing_known().await;
        let epoch = standing.epoch();
        if !self.may_be_evicted(&standing, server) {
            return;
        }
        tracing::warn!("{}: {server} is not to be relied on: {reason}", self.pair);
        let report = Report::Accuse { pair: self.pair, epoch, server, reason };
        self.report_until(report, epoch).await;
    }

    fn may_be_evicted(&self, standing: &Standing, server: ServerId) -> bool {
        match server == self.me {
            true => standing.both_in_sync(),
            false => standing.mirror.state != CopyState::Stale,
        }
    }

    /// Reports, and waits for a moment until the pair's epoch is above `epoch`.
    pub(super) async fn report_once(&self, report: Report, epoch: Epoch) -> Standing {
        // Whether the leader took notice does not matter: the epoch tells.
        let _ = tokio::time::timeout(REPORT_PATIENCE, self.board.report(report)).await;
        self.standing_when(REPORT_AGAIN, |s| s.epoch() > epoch).await
    }

    /// Reports until the pair's epoch is above `epoch`.
    pub(super) async fn report_until(&self, report: Report, epoch: Epoch) -> Standing {
        loop {
            let standing = self.report_once(report.clone(), epoch).await;
            if standing.epoch() > epoch {
                return standing;
            }
        }
    }
}
