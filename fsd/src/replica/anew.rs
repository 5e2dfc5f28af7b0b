//! A pair whose loss was accepted begins anew with an empty data directory. What the namespace says was lost is made lost
//! chunks first, durably, and only then may this copy count: from then on the chunks alone say what is lost, block by
//! block, and whatever is done to chunks is done to that, too. The mirror is given all of it like any other chunk.

use super::ranges::{Mode, Span};
use super::{DISK_STUCK, Replica, SYNC_STUCK};
use crate::chunk::ChunkError;
use crate::replica::judge::Standing;
use raidfs_common::error::Rejection;
use raidfs_common::extent::length_in_chunk;
use raidfs_common::id::{ChunkId, Ino, LogIndex};
use raidfs_common::limits::CHUNK_BYTES;
use raidfs_common::log::chain;
use raidfs_common::pair::CopyState;
use raidfs_common::rpc::peer::Report;
use std::sync::Arc;
use std::time::Duration;

/// Files that are asked for at a time.
const PAGE: usize = 1024;
/// After a try that failed.
const AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("what was lost cannot be told")]
    Unknown,
    #[error("a file cannot be looked at now: {0}")]
    Busy(Rejection),
    #[error(transparent)]
    Disk(#[from] ChunkError),
}

impl Replica {
    pub(super) async fn run_anew(self: Arc<Self>) {
        loop {
            let standing = self.standing_when(Duration::MAX, |s| self.begins_anew(s)).await;
            if !self.begins_anew(&standing) {
                continue;
            }
            match self.make_lost().await {
                Ok(chunks) => {
                    tracing::info!(
                        "{chunks} chunks that were lost are marked as such: this copy of the pair is the first"
                    );
                    let epoch = self.standing_known().await.epoch();
                    let (server, incarnation) = (self.me, self.board.incarnation);
                    self.report_until(Report::InSync { pair: self.pair, epoch, server, incarnation }, epoch).await;
                }
                Err(failed) => {
                    tracing::error!("cannot mark what was lost with this pair: {}; once more", chain(&failed));
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }

    /// Whether this life is one of a pair that has no copy, and has been let in.
    fn begins_anew(&self, standing: &Standing) -> bool {
        let own = standing.pair.member(self.me);
        let let_in = own.is_some_and(|m| m.state == CopyState::Stale && m.incarnation == self.board.incarnation);
        let_in && standing.mirror.state == CopyState::Stale
    }

    /// Makes all chunks that were lost, durably. How many that were.
    async fn make_lost(self: &Arc<Self>) -> Result<u64, Failed> {
        tracing::info!("the loss of this pair was accepted: marking what was lost");
        let (mut after, mut made) = (None, 0);
        loop {
            let page = self.board.lost(after, PAGE).await.ok_or(Failed::Unknown)?;
            let Some((last, _)) = page.last() else { break };
            after = Some(*last);
            for (ino, end) in page {
                for index in self.indexes(end) {
                    made += u64::from(self.make_lost_chunk(ChunkId { ino, index }).await?);
                }
            }
        }
        self.disk(SYNC_STUCK, "sync", |store| store.sync_all()).await?;
        Ok(made)
    }

    /// The chunks on this pair of a file that has lost what it had there before `end`.
    fn indexes(&self, end: u64) -> impl Iterator<Item = u32> + use<> {
        // They are as far apart as there are pairs, and the last one ends there.
        let pairs = self.board.notice().pairs.len().max(1) as u32;
        let last = (end.div_ceil(CHUNK_BYTES).max(1) - 1) as u32;
        (last % pairs..=last).step_by(pairs as usize)
    }

    /// Makes one chunk, as far as it was lost by now; it may have been cut meanwhile. True if there was something to make.
    async fn make_lost_chunk(self: &Arc<Self>, chunk: ChunkId) -> Result<bool, Failed> {
        self.settle_dooms(chunk.ino, LogIndex(u64::MAX)).await.map_err(Failed::Busy)?;
        let _held = self.locks.hold(chunk.ino, Span::chunk(chunk), Mode::Change).await;
        // A cut that is not known yet is carried out once this is let go.
        let before = Ino(chunk.ino.0.saturating_sub(1));
        let now = self.board.lost(Some(before), 1).await.ok_or(Failed::Unknown)?;
        let end = now.first().filter(|(ino, _)| *ino == chunk.ino).map_or(0, |(_, end)| *end);
        let bytes = length_in_chunk(end, chunk.index) as u32;
        if bytes == 0 {
            return Ok(false);
        }
        let work = self.disk(DISK_STUCK, "make a lost chunk", move |store| {
            let _intent = store.note(chunk)?;
            store.lose(chunk, bytes)
        });
        work.await?;
        Ok(true)
    }
}
