//! Mending a damaged chunk from the mirror: what is damaged here is taken from there, if it is good there; what is good
//! here stays. Changes of the chunk are held back meanwhile; the mirror is asked for what it has without waiting for
//! anything there, so that two servers never wait for each other.

use super::ranges::{Mode, Span};
use super::tally::add;
use super::{APPLY_PATIENCE, DISK_STUCK, Replica};
use crate::chunk::ChunkError;
use crate::chunk::format::FormatError;
use crate::chunk::salvage::{self, Trust, all_lost, merge};
use raidfs_common::error::Rejection;
use raidfs_common::id::{ChunkId, LogIndex};
use raidfs_common::limits::{BLOCK_BYTES, BLOCKS_PER_CHUNK};
use raidfs_common::log::chain;
use raidfs_common::plant::{Bug, planted};
use raidfs_common::rpc::chunks::{ChunkCopy, ChunkServiceClient, View};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Below what makes a change that waits for the chunk look stuck.
const FETCH_PATIENCE: Duration = Duration::from_secs(1);
/// A file that is being cut meanwhile is tried again so often.
const TRIES: u32 = 5;
/// After this: it has to be made durable on a quorum, and carried out. All tries together take less than what makes a change
/// look stuck.
const CUT_PAUSE: Duration = Duration::from_millis(100);
/// Chunks that are remembered as lost.
const LOST_MAX: usize = 4096;

/// How a chunk is after it was to be mended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mended {
    /// Every block is good, and nothing had to be done.
    Whole,
    /// Every block is good again.
    All,
    /// Some blocks are good again, the others are good on neither server.
    Some,
    /// There is no good copy of any damaged block.
    Nothing,
    /// The mirror could not be asked, or what it has could not be taken: perhaps later.
    NotNow,
}

impl Mended {
    pub(super) fn is_of_use(self) -> bool {
        matches!(self, Mended::Whole | Mended::All | Mended::Some)
    }
}

impl Replica {
    /// Mends a chunk for a change that is under way; true if that was of use: blocks that were damaged are good now, or
    /// there are none. The caller holds nothing of the chunk.
    pub(super) async fn mend(self: &Arc<Self>, chunk: ChunkId) -> bool {
        self.mend_now(chunk).await.is_of_use()
    }

    /// The same, told apart, for whoever is not under way with a change.
    pub(super) async fn mend_chunk(self: &Arc<Self>, chunk: ChunkId) -> Mended {
        let Some(_work) = self.begin_work() else { return Mended::NotNow };
        self.mend_now(chunk).await
    }

    async fn mend_now(self: &Arc<Self>, chunk: ChunkId) -> Mended {
        for _ in 0..TRIES {
            if self.settle_dooms(chunk.ino, LogIndex(u64::MAX)).await.is_err() {
                return Mended::NotNow;
            }
            let held = self.locks.hold(chunk.ino, Span::chunk(chunk), Mode::Change).await;
            let one = self.mending.lock().await;
            let damaged = self.damaged(chunk).await;
            if damaged == 0 {
                return Mended::Whole;
            }
            let (mended, why) = match self.fetch_copy(chunk).await {
                Ok(Some((copy, trust))) => match self.take_from(chunk, copy, trust, damaged).await {
                    all @ (Mended::All | Mended::NotNow) => return all,
                    some => (some, "its copy cannot replace them".to_owned()),
                },
                Err(Rejection::Behind { needed }) => {
                    drop((held, one));
                    self.until_cut(needed).await;
                    continue;
                }
                Ok(None) => (Mended::Nothing, "it has no such chunk".to_owned()),
                Err(Rejection::Damaged) => (Mended::Nothing, "its copy is damaged, too".to_owned()),
                Err(rejection) => (Mended::NotNow, rejection.to_string()),
            };
            if self.sum_anew(chunk).await {
                return Mended::Whole;
            }
            self.tell_lost(chunk, self.damaged(chunk).await, &why);
            return mended;
        }
        Mended::NotNow
    }

    /// A chunk that is not here: if the mirror has it, and both are in sync, it should be, and its bytes are taken from
    /// there. False: there is none, or it cannot be had.
    pub(super) async fn take_back(self: &Arc<Self>, chunk: ChunkId) -> bool {
        let Some(_work) = self.begin_work() else { return false };
        for _ in 0..TRIES {
            if self.settle_dooms(chunk.ino, LogIndex(u64::MAX)).await.is_err() {
                return false;
            }
            let held = self.locks.hold(chunk.ino, Span::chunk(chunk), Mode::Change).await;
            let one = self.mending.lock().await;
            // Who has no file of this number any more has no chunk of it either.
            if self.past.lock().is_gone(chunk.ino) || self.is_there(chunk.ino, LogIndex(0)).await.is_err() {
                return false;
            }
            match self.fetch_copy(chunk).await {
                Ok(Some((copy, Trust::Same))) if salvage::damaged(&copy) == 0 => {
                    let work = self.disk(DISK_STUCK, "write a chunk", move |store| {
                        // Deeply: a file that is open here may have been taken away.
                        let absent = store.summary(chunk, true)?.is_none();
                        if absent {
                            let _intent = store.note(chunk)?;
                            store.import(chunk, Some(&copy))?;
                        }
                        Ok(absent)
                    });
                    let taken = work.await.unwrap_or(false);
                    if taken {
                        tracing::warn!("chunk {chunk}: it was missing here, and is taken from the mirror");
                    }
                    return taken;
                }
                Err(Rejection::Behind { needed }) => {
                    drop((held, one));
                    self.until_cut(needed).await;
                }
                _ => return false,
            }
        }
        false
    }

    /// The mirror has a cut to carry out first, by an entry that this server may know already: it is given time for that.
    async fn until_cut(&self, needed: LogIndex) {
        let _ = self.board.applied(needed, APPLY_PATIENCE).await;
        tokio::time::sleep(CUT_PAUSE).await;
    }

    /// Tells once of a chunk that cannot be mended.
    fn tell_lost(&self, chunk: ChunkId, damaged: u32, why: &str) {
        let mut lost = self.lost.lock();
        if lost.len() < LOST_MAX && lost.insert(chunk) {
            add(&self.tally.damaged_blocks, u64::from(damaged));
            tracing::error!("chunk {chunk}: {damaged} blocks are damaged, and the mirror cannot help: {why}");
        }
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
        match self.own_summary(chunk, true).await {
            Ok(summary) => summary.map_or(0, |s| s.damaged),
            Err(_) => BLOCKS_PER_CHUNK as u32,
        }
    }

    /// The mirror's copy as it is now, and what it is worth: that of a mirror which was away may be of before changes that
    /// were acknowledged here.
    async fn fetch_copy(self: &Arc<Self>, chunk: ChunkId) -> Result<Option<(ChunkCopy, Trust)>, Rejection> {
        let standing = self.standing_known().await;
        let trust = if standing.mirror_in_sync() { Trust::Same } else { Trust::MayBeOlder };
        let at_least = self.past.lock().last(chunk.ino);
        let (me, view) = (self.me, View { at_least, ..standing.view() });
        let fetch = |client: ChunkServiceClient, context| async move { client.fetch(context, me, view, chunk).await };
        match self.peers.call(standing.mirror.server, FETCH_PATIENCE, fetch).await {
            Ok(answer) => answer.map(|copy| copy.map(|copy| (copy, trust))),
            Err(_) => Err(Rejection::Away),
        }
    }

    /// Takes from the mirror's copy what is damaged here and good there.
    async fn take_from(self: &Arc<Self>, chunk: ChunkId, theirs: ChunkCopy, trust: Trust, damaged: u32) -> Mended {
        let work = self.disk(DISK_STUCK, "write a chunk", move |store| {
            // One whose making was never completed has nothing that was acknowledged, so that the other's is no older.
            let unfinished =
                matches!(store.summary(chunk, false), Err(ChunkError::Footer { reason: FormatError::Missing, .. }));
            let trust = if unfinished { Trust::Same } else { trust };
            let own = store.salvage(chunk)?.unwrap_or_else(|| all_lost().into());
            let copy = merge(&own.copy, &theirs, trust);
            let left = salvage::damaged(&copy);
            if left >= damaged {
                return Ok(left);
            }
            let _intent = store.note(chunk)?;
            if own.would_lose(&copy) && !planted(Bug::ReplacesUnread) {
                // What only cannot be read now would be replaced for good; the rest is mended where it stands.
                let better = own.better(&copy);
                for (block, bytes) in &better {
                    store.write(chunk, u32::from(*block) * BLOCK_BYTES as u32, bytes)?;
                }
                return Ok(damaged.saturating_sub(better.len() as u32));
            }
            store.import(chunk, Some(&copy))?;
            Ok(left)
        });
        match work.await {
            Ok(0) => {
                self.lost.lock().remove(&chunk);
                add(&self.tally.damaged_blocks, u64::from(damaged));
                tracing::warn!("chunk {chunk}: {damaged} blocks were damaged, and are mended from the mirror");
                Mended::All
            }
            Ok(left) if left < damaged => {
                let good = damaged - left;
                add(&self.tally.damaged_blocks, u64::from(good));
                tracing::warn!("chunk {chunk}: of {damaged} damaged blocks {good} are mended from the mirror");
                Mended::Some
            }
            Ok(_) => Mended::Nothing,
            Err(error) => {
                tracing::error!("chunk {chunk}: cannot mend it: {}", chain(&error));
                Mended::NotNow
            }
        }
    }
}
