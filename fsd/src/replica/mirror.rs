//! What the other server of the pair asks of this one: the primary its mirror, the source the one that catches up.
//! Each request is judged by the epoch; what changes something is judged again once it is its turn, so that nothing
//! sent under an older epoch has an effect behind a newer one.

use super::disk::rejection;
use super::judge::{Standing, range_of};
use super::ranges::{Mode, Span};
use super::tally::add;
use super::{APPLY_PATIENCE, DISK_STUCK, Replica, SYNC_STUCK};
use crate::chunk::ChunkStore;
use crate::chunk::salvage::is_all_lost;
use raidfs_common::error::Rejection;
use raidfs_common::id::{ChunkId, LogIndex, ServerId};
use raidfs_common::pair::{CopyState, Space};
use raidfs_common::rpc::chunks::{Applied, ChangeId, ChunkChange, ChunkCopy, ChunkSummary, Noted, Ordered, View};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Chunks of one page of [`Replica::noted`].
const NOTED_PAGE: usize = 8192;
/// Chunks of one page of [`Replica::held`].
const HELD_PAGE: usize = 1024;
/// A copy that changes while it is fetched may look damaged: it is looked at again so often.
const FETCH_TRIES: u32 = 3;

/// Runs what changes something in a task of its own.
async fn owned<T: Send + 'static>(
    work: impl Future<Output = Result<T, Rejection>> + Send + 'static,
) -> Result<T, Rejection> {
    tokio::spawn(work).await.unwrap_or(Err(Rejection::Away))
}

impl Replica {
    /// The primary's change, applied here.
    pub async fn apply(
        self: &Arc<Self>,
        by: Ordered,
        id: ChangeId,
        chunk: ChunkId,
        change: ChunkChange,
    ) -> Result<Applied, Rejection> {
        range_of(&change)?;
        let replica = self.clone();
        owned(async move {
            let _work = replica.begin_work().ok_or(Rejection::Away)?;
            replica.caught_up(&by.view).await?;
            replica.judge_primary(&by)?;
            match replica.begin_once(id).await? {
                Ok(mut this_try) => {
                    let made = replica.apply_once(&by, chunk, change).await?;
                    this_try.outcome = Some(made);
                    add(&replica.tally.mirror_changes, 1);
                    Ok(made)
                }
                Err(made) => Ok(made),
            }
        })
        .await
    }

    async fn apply_once(
        self: &Arc<Self>,
        by: &Ordered,
        chunk: ChunkId,
        change: ChunkChange,
    ) -> Result<Applied, Rejection> {
        let (offset, length) = range_of(&change)?;
        loop {
            let held = self.in_order(chunk, Span::of(chunk, offset, length), by.applied).await?;
            self.judge_primary(by)?;
            match self.make_here(chunk, change.clone()).await {
                Ok((made, _intent)) => return Ok(made),
                Err(error) if error.is_damage() => {
                    drop(held);
                    if !self.mend(chunk).await {
                        return Err(Rejection::Damaged);
                    }
                }
                Err(error) => return Err(rejection(error)),
            }
        }
    }

    /// Waits for the turn of what the other server ordered when it had applied `applied`: behind the same cuts.
    async fn in_order(
        self: &Arc<Self>,
        chunk: ChunkId,
        span: Span,
        applied: LogIndex,
    ) -> Result<super::locks::Held, Rejection> {
        loop {
            self.settle_dooms(chunk.ino, applied).await?;
            // No await from here to the place in the queue.
            if let Some(needed) = self.doom_behind(chunk.ino, applied) {
                return Err(Rejection::Behind { needed });
            }
            if self.dooms_up_to(chunk.ino, applied).is_empty() {
                return Ok(self.locks.hold(chunk.ino, span, Mode::Change).await);
            }
        }
    }

    pub(super) fn judge_primary(&self, by: &Ordered) -> Result<Standing, Rejection> {
        let standing = self.judge_mirror(by.from, &by.view)?;
        let in_charge = standing.primary(&by.view) == Some(by.from) || self.state.lock().must_open();
        if !standing.mirror_in_sync() || !in_charge || !self.is_mirrored_to(&standing) {
            return Err(Rejection::NotInCharge);
        }
        Ok(standing)
    }

    fn is_mirrored_to(&self, standing: &Standing) -> bool {
        standing.in_sync() || self.catches_up(standing)
    }

    pub(super) fn catches_up(&self, standing: &Standing) -> bool {
        let me = standing.pair.member(self.me);
        me.is_some_and(|m| m.state == CopyState::Syncing && m.incarnation == self.board.incarnation)
    }

    /// Judges a request of the source to this server, which catches up.
    fn judge_source(&self, from: ServerId, view: &View) -> Result<Standing, Rejection> {
        let standing = self.judge_mirror(from, view)?;
        if !standing.mirror_in_sync() || !self.catches_up(&standing) {
            return Err(Rejection::NotInCharge);
        }
        Ok(standing)
    }

    /// The chunk as it is now, for a mirror that mends its own; blocks that are damaged here, too, are named as such.
    pub async fn fetch(
        self: &Arc<Self>,
        from: ServerId,
        view: View,
        chunk: ChunkId,
    ) -> Result<Option<ChunkCopy>, Rejection> {
        self.caught_up(&view).await?;
        let standing = self.judge_mirror(from, &view)?;
        // A stale one may be asked, too: the caller then takes only what is the same as what it had.
        let stale = standing.pair.member(self.me).is_some_and(|m| m.state == CopyState::Stale);
        if !stale && !self.is_mirrored_to(&standing) {
            return Err(Rejection::NotInCharge);
        }
        // A copy of before a cut would bring back what the caller has cut already, or is about to.
        self.no_doom_pends(chunk)?;
        for _ in 0..FETCH_TRIES {
            match self.disk(DISK_STUCK, "read a chunk", move |store| store.export(chunk, false)).await {
                Err(error) if error.is_damage() => {}
                whole => return whole.map_err(rejection),
            }
        }
        // What is good of it may be just what the other lacks.
        let part = self.disk(DISK_STUCK, "read a chunk", move |store| store.salvage(chunk)).await.map_err(rejection)?;
        let part = part.map(|found| found.copy);
        if part.as_ref().is_some_and(is_all_lost) { Err(Rejection::Damaged) } else { Ok(part) }
    }

    /// Refuses what may have to be cut first. That is carried out at once, but not waited for: the caller holds the chunk's
    /// changes back, which it may have to wait for.
    pub(super) fn no_doom_pends(self: &Arc<Self>, chunk: ChunkId) -> Result<(), Rejection> {
        let Some((needed, _)) = self.board.dooms_of(chunk.ino).last().copied() else { return Ok(()) };
        let replica = self.clone();
        tokio::spawn(async move { replica.settle_dooms(chunk.ino, LogIndex(u64::MAX)).await });
        Err(Rejection::Behind { needed })
    }

    /// If the namespace knows this life of the server, and its disk can be relied on, returns once every change begun here under
    /// an epoch older than `view`'s has ended. Who is refused for the disk need not try to bring this copy up to date.
    pub async fn drain(&self, from: ServerId, view: View) -> Result<(), Rejection> {
        self.caught_up(&view).await?;
        let standing = self.judge_mirror(from, &view)?;
        if standing.pair.member(self.me).is_none_or(|m| m.incarnation != self.board.incarnation) {
            return Err(Rejection::Away);
        }
        if !self.store.is_trusted() {
            return Err(Rejection::DiskFailed);
        }
        self.inflight.drained(view.epoch).await;
        Ok(())
    }

    /// Room of this server's disk, from memory: also the sign that this server lives.
    pub fn room_for(&self, view: View) -> Result<Space, Rejection> {
        if view.pair != self.pair { Err(Rejection::NotInCharge) } else { Ok(*self.space.lock()) }
    }

    /// Whether this server's copy of a chunk is that of the source.
    pub async fn has(self: &Arc<Self>, by: Ordered, chunk: ChunkId, summary: ChunkSummary) -> Result<bool, Rejection> {
        self.caught_up(&by.view).await?;
        self.judge_source(by.from, &by.view)?;
        let _held = self.in_order(chunk, Span::chunk(chunk), by.applied).await?;
        match self.own_summary(chunk, true).await {
            Ok(mine) => Ok(mine == Some(summary) && summary.damaged == 0),
            Err(error) if error.is_damage() => Ok(false),
            Err(error) => Err(rejection(error)),
        }
    }

    /// Makes a chunk what it is at the source.
    pub async fn put(self: &Arc<Self>, by: Ordered, chunk: ChunkId, copy: Option<ChunkCopy>) -> Result<(), Rejection> {
        let replica = self.clone();
        owned(async move {
            let _work = replica.begin_work().ok_or(Rejection::Away)?;
            replica.caught_up(&by.view).await?;
            replica.judge_source(by.from, &by.view)?;
            let _held = replica.in_order(chunk, Span::chunk(chunk), by.applied).await?;
            replica.judge_source(by.from, &by.view)?;
            let work = replica.disk(DISK_STUCK, "write a chunk", move |store| store.import(chunk, copy.as_ref()));
            work.await.map_err(rejection)
        })
        .await
    }

    /// A page of this server's noted chunks, for the source.
    pub async fn noted(
        self: &Arc<Self>,
        from: ServerId,
        view: View,
        after: Option<ChunkId>,
    ) -> Result<Noted, Rejection> {
        self.caught_up(&view).await?;
        self.judge_source(from, &view)?;
        let page = self.disk(SYNC_STUCK, "list noted chunks", move |store| {
            Ok(Noted { chunks: store.noted(after, NOTED_PAGE)?, high_water: store.high_water() })
        });
        page.await.map_err(rejection)
    }

    /// A page of this server's chunks, for a mirror that looks for what it lacks.
    pub async fn held(
        self: &Arc<Self>,
        from: ServerId,
        view: View,
        after: Option<ChunkId>,
    ) -> Result<Vec<ChunkId>, Rejection> {
        self.caught_up(&view).await?;
        if !self.judge_mirror(from, &view)?.both_in_sync() {
            return Err(Rejection::NotInCharge);
        }
        let page = self.disk(DISK_STUCK, "list chunks", move |store| store.list(after, HELD_PAGE));
        page.await.map_err(rejection)
    }

    /// Makes everything that the source sent durable.
    pub async fn settle(self: &Arc<Self>, from: ServerId, view: View) -> Result<(), Rejection> {
        self.caught_up(&view).await?;
        self.judge_source(from, &view)?;
        let work = self.disk(SYNC_STUCK, "sync", |store| store.sync_all());
        work.await.map_err(rejection)?;
        self.judge_source(from, &view).map(drop)
    }

    /// The mirror's half of a round of `settle`.
    pub async fn settle_intents(self: &Arc<Self>, from: ServerId, view: View, drop: bool) -> Result<(), Rejection> {
        tokio::time::timeout(APPLY_PATIENCE, self.caught_up(&view)).await.unwrap_or(Err(Rejection::Away))?;
        if !self.judge_mirror(from, &view)?.both_in_sync() {
            return Err(Rejection::NotInCharge);
        }
        let replica = self.clone();
        owned(async move { replica.settle_notes(drop).await }).await
    }

    /// This server's half of it.
    pub(super) async fn settle_notes(self: &Arc<Self>, drop: bool) -> Result<(), Rejection> {
        if drop {
            self.inflight.ended().await;
            self.keep_ends().await?;
        }
        let work = move |store: &dyn ChunkStore| if drop { store.drop_notes() } else { store.begin_notes() };
        self.disk(SYNC_STUCK, "sync", work).await.map_err(rejection)?;
        if drop {
            self.notes_inherited.store(false, Ordering::Relaxed);
        }
        Ok(())
    }
}
