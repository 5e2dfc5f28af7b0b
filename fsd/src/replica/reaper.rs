//! Carries out cuts and ends of files in the background, once their entries are durable on a quorum: a few at a time, so
//! that removing a large tree delays nobody.

use super::Replica;
use futures::StreamExt;
use raidfs_common::plant::{Bug, planted};
use std::sync::Arc;
use std::time::Duration;

/// Files that are cut or removed at the same time.
const AT_ONCE: usize = 4;
/// Between two looks at what is ripe: a look costs as much as there is doomed.
const LOOK_EVERY: Duration = Duration::from_millis(50);

impl Replica {
    pub(super) async fn run_reaper(self: Arc<Self>) {
        let mut dooms = self.board.subscribe_dooms();
        while !self.is_closed() {
            dooms.mark_unchanged();
            if !self.board.has_dooms() {
                // The sender is the board, which `self` holds.
                let _ = dooms.changed().await;
            }
            self.reap_ripe().await;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn reap_ripe(self: &Arc<Self>) {
        let notice = self.board.notice();
        let ripe = self.board.ripe_dooms(if planted(Bug::DestroysEarly) { notice.applied } else { notice.durable });
        let work = ripe.into_iter().filter_map(|(ino, list)| Some((ino, list.last()?.0)));
        let carry_out = |(ino, last)| async move {
            if let Err(rejection) = self.carry_out(ino, last).await
                && !self.is_closed()
            {
                tracing::error!("cannot remove or cut the chunks of inode {ino}: {rejection}");
            }
        };
        futures::stream::iter(work).for_each_concurrent(AT_ONCE, carry_out).await;
    }
}
