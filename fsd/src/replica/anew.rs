//! A pair whose loss was accepted begins anew with an empty data directory. What the namespace says was lost is made lost
//! chunks first, durably, and only then may this copy count: from then on the chunks alone say what is lost, block by
//! block, and whatever is done to chunks is done to that, too. The mirror is given all of it like any other chunk.

use super::ranges::{Mode, Span};
use super::{DISK_STUCK, Replica, SYNC_STUCK};
use crate::chunk::ChunkError;
use crate::replica::judge::Standing;
use futures::StreamExt;
use raidfs_common::error::Rejection;
use raidfs_common::extent::length_in_chunk;
use raidfs_common::id::{ChunkId, Ino, LogIndex};
use raidfs_common::limits::CHUNK_BYTES;
use raidfs_common::log::chain;
use raidfs_common::pair::CopyState;
use raidfs_common::rpc::peer::Report;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Files that are asked for at a time.
const PAGE: usize = 1024;
/// Chunks that are made at a time: their notes are synced together.
const AT_ONCE: usize = 64;
/// After a try that failed.
const AGAIN: Duration = Duration::from_secs(1);
/// How far it is is told so often.
const TELL_EVERY: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("what was lost cannot be told")]
    Unknown,
    #[error("a file cannot be looked at now: {0}")]
    Busy(Rejection),
    #[error(transparent)]
    Disk(#[from] ChunkError),
    /// The other server's copy is the first.
    #[error("another copy is the first")]
    Overtaken,
}

impl Replica {
    /// The data directory of this life was made empty, and what was missing in it has not all been brought to it.
    pub fn directory_is_empty(&self) {
        self.empty.store(true, Ordering::Relaxed);
    }

    pub(super) async fn run_anew(self: Arc<Self>) {
        loop {
            let standing = self.standing_when(Duration::MAX, |s| self.is_without_copy(s)).await;
            if !self.is_without_copy(&standing) {
                continue;
            }
            if !self.empty.load(Ordering::Relaxed) {
                tracing::error!(
                    "this pair has no copy any more, and this data directory is not a new one: `raidfs replace {}`, and start it \
                     with an empty one",
                    self.me
                );
                self.standing_when(Duration::MAX, |s| !self.is_without_copy(s)).await;
                continue;
            }
            match self.make_lost().await {
                Ok((chunks, late)) => {
                    tracing::info!("{chunks} chunks that were lost are marked as such");
                    self.report_begun(late).await;
                }
                Err(Failed::Overtaken) => {
                    tracing::info!("the other server's copy is the first, and is copied to this one")
                }
                Err(failed) => {
                    tracing::error!("cannot mark what was lost with this pair: {}; once more", chain(&failed));
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }

    /// Whether this life is one of a pair that has no copy, and has been let in.
    fn is_without_copy(&self, standing: &Standing) -> bool {
        let own = standing.pair.member(self.me);
        let let_in = own.is_some_and(|m| m.state == CopyState::Stale && m.incarnation == self.board.incarnation);
        let_in && standing.mirror.state == CopyState::Stale
    }

    /// Has this copy logged as the first, unless the other server's is by now, or more was marked since.
    async fn report_begun(self: &Arc<Self>, late: u64) {
        loop {
            let standing = self.standing_known().await;
            if !self.is_without_copy(&standing) || standing.notice.marked.late != late {
                return;
            }
            let (epoch, incarnation) = (standing.epoch(), self.board.incarnation);
            let report = Report::Begun { pair: self.pair, epoch, incarnation, late };
            self.report_once(report, epoch).await;
        }
    }

    /// Makes all chunks that were lost, durably. How many that were, and how many marks had come late when it began.
    async fn make_lost(self: &Arc<Self>) -> Result<(u64, u64), Failed> {
        tracing::info!("the loss of this pair was accepted: marking what was lost");
        let late = self.board.notice().marked.late;
        let (mut after, mut made, mut told) = (None, 0, Instant::now());
        loop {
            let page = self.board.lost(after, PAGE).await.ok_or(Failed::Unknown)?;
            let Some((last, _)) = page.last() else { break };
            after = Some(*last);
            let chunks =
                page.into_iter().flat_map(|(ino, end)| self.indexes(end).map(move |index| ChunkId { ino, index }));
            let making = chunks.map(|chunk| self.make_lost_chunk(chunk));
            let mut making = futures::stream::iter(making).buffer_unordered(AT_ONCE);
            let mut failed = None;
            // To the end in any case: what is under way must not be left to itself.
            while let Some(was_made) = making.next().await {
                match was_made {
                    Ok(was_made) => made += u64::from(was_made),
                    Err(error) => failed = Some(error),
                }
                if told.elapsed() >= TELL_EVERY {
                    told = Instant::now();
                    tracing::info!("{made} chunks that were lost are marked so far");
                }
            }
            if let Some(error) = failed {
                return Err(error);
            }
        }
        self.disk(SYNC_STUCK, "sync", |store| store.sync_all()).await?;
        Ok((made, late))
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
        let standing = self.standing_known().await;
        if !self.is_without_copy(&standing) {
            return Err(Failed::Overtaken);
        }
        // Whoever is the first waits for the end of this before it copies anything here.
        let _under_way = self.inflight.begin(standing.epoch());
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
