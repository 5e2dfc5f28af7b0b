//! The mirror's half of a synced change, made by the thread that its connection has to itself: where nothing is in its way, and
//! nothing has to be waited for but the disk. Whatever else it meets is for the chunk thread, to which the change goes then as
//! any other.
//!
//! It is the one change that does not take its place in the queue on the chunk thread, so it looks for cuts once it holds its
//! range: a cut that came first is remembered by then, and one that comes later waits for the range.

use super::change::{CHANGE, Try, is_synced};
use super::judge::range_of;
use super::once::Begin;
use super::ranges::{Mode, Span};
use super::tally::add;
use super::{Replica, SYNC_STUCK};
use raidfs_common::error::Rejection;
use raidfs_common::id::{ChunkId, LogIndex};
use raidfs_common::rpc::chunks::{Applied, ChangeId, ChunkChange, Ordered};
use std::sync::Arc;
use std::time::Instant;
use tokio::runtime::Handle;

impl Replica {
    /// The primary's change, applied here. May block for as long as the disk takes; `chunk_thread` is where the others are made.
    pub async fn apply_directly(
        self: &Arc<Self>,
        chunk_thread: &Handle,
        (by, id): (Ordered, ChangeId),
        chunk: ChunkId,
        change: ChunkChange,
    ) -> Result<Applied, Rejection> {
        if let Some(applied) = self.apply_at_once(chunk_thread, (&by, id), chunk, &change) {
            return Ok(applied);
        }
        let replica = self.clone();
        let task = chunk_thread.spawn(async move { replica.apply(by, id, chunk, change).await });
        task.await.unwrap_or(Err(Rejection::Away))
    }

    /// None: nothing was made, or not all of it; it is to be made, or refused, as any other.
    fn apply_at_once(
        self: &Arc<Self>,
        chunk_thread: &Handle,
        (by, id): (&Ordered, ChangeId),
        chunk: ChunkId,
        change: &ChunkChange,
    ) -> Option<Applied> {
        let (offset, length) = range_of(change).ok()?;
        if !is_synced(change) || self.board.notice().applied < by.view.at_least {
            return None;
        }
        let _work = self.begin_work()?;
        self.judge_primary(by).ok()?;
        let begin = self.once.lock().begin(id);
        let Begin::Make = begin else { return None };
        let mut this_try = Try { replica: self.clone(), id, outcome: None };
        let (_held, waits) = self.locks.enter(chunk.ino, Span::of(chunk, offset, length), Mode::Change);
        let is_cut = self.doom_behind(chunk.ino, by.applied).is_some()
            || !self.dooms_up_to(chunk.ino, LogIndex(u64::MAX)).is_empty();
        if waits.is_some() || is_cut || !self.judge_primary(by).ok()?.in_sync() {
            return None;
        }
        let operation = self.strain.begin(Instant::now(), SYNC_STUCK, CHANGE);
        let made = self.make_on(&*self.store, chunk, change);
        drop(operation);
        match made {
            Ok((applied, _intent)) => {
                this_try.outcome = Some(applied);
                add(&self.tally.mirror_changes, 1);
                add(&self.tally.direct_changes, 1);
                Some(applied)
            }
            Err(error) => {
                // A store that has failed says so again, and what else there was is met again.
                let replica = self.clone();
                chunk_thread.spawn(async move { replica.met(&error).await });
                None
            }
        }
    }
}
