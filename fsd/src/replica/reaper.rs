//! Carries out cuts and ends of files in the background, once their entries are durable on a quorum: a few at a time, so
//! that removing a large tree delays nobody.

use super::Replica;
use futures::StreamExt;
use raidfs_common::error::Rejection;
use raidfs_common::id::Ino;
use raidfs_common::plant::{Bug, planted};
use std::sync::Arc;
use std::time::Duration;

/// Files that are cut or removed at the same time.
const AT_ONCE: usize = 4;
/// Between two looks at what is ripe: a look costs as much as there is doomed.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The longest pause while it fails; each is twice the one before.
const AGAIN_MAX: Duration = Duration::from_secs(5);

impl Replica {
    pub(super) async fn run_reaper(self: Arc<Self>) {
        let mut dooms = self.board.subscribe_dooms();
        let (mut pause, mut told) = (LOOK_EVERY, None);
        while !self.is_closed() {
            dooms.mark_unchanged();
            if !self.board.has_dooms() {
                // The sender is the board, which `self` holds.
                let _ = dooms.changed().await;
            }
            let failed = self.reap_ripe().await.into_iter().next();
            pause = if failed.is_some() { AGAIN_MAX.min(pause * 2) } else { LOOK_EVERY };
            let why = failed.as_ref().map(|(_, rejection)| rejection.to_string());
            if let Some((ino, rejection)) = failed
                && told != why
                && !self.is_closed()
            {
                tracing::error!("cannot remove or cut the chunks of inode {ino}, and perhaps of others: {rejection}");
            }
            told = why;
            tokio::time::sleep(pause).await;
        }
    }

    /// Those for which it failed, and why.
    async fn reap_ripe(self: &Arc<Self>) -> Vec<(Ino, Rejection)> {
        let notice = self.board.notice();
        let ripe = self.board.ripe_dooms(if planted(Bug::DestroysEarly) { notice.applied } else { notice.durable });
        let work = ripe.into_iter().filter_map(|(ino, list)| Some((ino, list.last()?.0)));
        let carry_out = |(ino, last)| async move { self.carry_out(ino, last).await.err().map(|why| (ino, why)) };
        let ended = futures::stream::iter(work).map(carry_out).buffer_unordered(AT_ONCE);
        ended.filter_map(std::future::ready).collect().await
    }
}
