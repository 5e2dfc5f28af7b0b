//! Brings the mirror up to date while both are in use. An attempt lasts for one epoch: the mirror is logged as syncing,
//! which makes changes flow to it; what either side has noted is copied, each chunk ordered among its changes; all is
//! made durable; the leader is told. Whatever fails ends the attempt and its epoch, and the next one starts from what is
//! noted then, so nothing has to be remembered.

use super::holdback::Holdback;
use super::judge::Standing;
use super::pace::Courtesy;
use super::plan::{Plan, lacks_from};
use super::ranges::{Mode, Span};
use super::state::Missed;
use super::tally::add;
use super::{APPLY_PATIENCE, DISK_STUCK, DURABLE_PATIENCE, Replica, SYNC_PATIENCE, SYNC_STUCK};
use crate::chunk::{ChunkError, ChunkStore};
use futures::TryStreamExt;
use raidfs_common::error::Rejection;
use raidfs_common::id::{ChunkId, Epoch, Incarnation, Ino, LogIndex, ServerId};
use raidfs_common::limits::{BLOCK_BYTES, CHUNK_BYTES};
use raidfs_common::pair::CopyState;
use raidfs_common::plant::{Bug, planted};
use raidfs_common::rpc::admin::ResyncProgress;
use raidfs_common::rpc::chunks::{ChunkCopy, ChunkServiceClient, ChunkSummary, Ordered, View};
use raidfs_common::rpc::peer::Report;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// Chunks that are copied at the same time.
const AT_ONCE: usize = 32;
/// Bytes of chunks that are copied at the same time, at least one chunk's.
const BYTES_AT_ONCE: u32 = 32 << 20;
/// Chunks of one page when this server lists its own.
const PAGE: usize = 8192;
/// A copy that the mirror has not taken by then has failed. Longer than a stuck disk takes to be noticed.
const COPY_PATIENCE: Duration = Duration::from_secs(5);
/// So long a change may wait for a chunk that is copied; the mirror may hang. Twice as long for each time that the chunk was
/// given up for that, up to [`HELD_UP_MAX`] times: on slow disks it has to be copied, too.
const HOLDS_UP_MAX: Duration = Duration::from_secs(1);
const HELD_UP_MAX: u32 = 3;
/// Between two such tries.
const HELD_UP_PAUSE: Duration = Duration::from_millis(200);
/// A chunk whose file is being cut meanwhile is copied anew so often before the attempt is given up.
const COPY_TRIES: u32 = 20;
/// Chunks that turn out to be doubtful meanwhile are copied in so many rounds; what is left then is compared behind the end.
/// That happens only to who goes on making chunks by several changes at the same time, which are few in any one round.
const DOUBTFUL_ROUNDS: u32 = 10;
/// After a failed attempt; doubled by each further one, up to the second value.
const BACKOFF: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// A resync under way, or the last one.
#[derive(Debug)]
pub struct Progress {
    to: ServerId,
    begun: Instant,
    total: u64,
    done: AtomicU64,
    bytes: AtomicU64,
}

impl Progress {
    /// As `raidfs status` shows it.
    pub fn shown(&self) -> ResyncProgress {
        ResyncProgress {
            to: self.to,
            done: self.done.load(Ordering::Relaxed),
            total: self.total,
            bytes: self.bytes.load(Ordering::Relaxed),
            elapsed_ms: self.begun.elapsed().as_millis() as u64,
        }
    }
}

type Page = Result<Vec<ChunkId>, ChunkError>;

/// Why an attempt ended without success.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("the mirror refused: {0}")]
    Refused(Rejection),
    #[error("the mirror does not answer")]
    Unreachable(#[source] crate::peers::CallError),
    #[error("cannot read or sync this server's own copy")]
    Own(#[source] ChunkError),
    #[error("cannot go on: {0}")]
    Here(Rejection),
    #[error("the mirror missed a change meanwhile")]
    Missed,
    #[error("the mirror takes a chunk too slowly that somebody waits for")]
    HoldsUp,
    #[error("the pair has changed meanwhile")]
    Epoch,
    #[error("chunk {0} does not come to rest")]
    Restless(ChunkId),
}

/// What is done about damaged blocks of a chunk that is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Damage {
    /// The mirror may have the block as it was; if not, it may never have been synced, and is summed anew.
    Mend,
    /// No copy of the block is good: it stays damaged.
    Keep,
}

/// How one try to copy a chunk ended.
enum Copied {
    /// The mirror has it; so many bytes were sent.
    Sent(u64),
    /// The file was cut or removed meanwhile: once more.
    Doomed,
    /// Some of it is damaged here.
    Damaged,
    /// Somebody waited for the chunk, and nothing had been sent yet.
    HeldUp,
}

impl Replica {
    pub(super) async fn run_resync(self: Arc<Self>) {
        let mut backoff = BACKOFF;
        let mut life = Incarnation(0);
        let mut holdback = Holdback::default();
        loop {
            let standing = self.standing_when(Duration::MAX, |s| s.in_sync() && needs_resync(s)).await;
            if !standing.in_sync() {
                continue;
            }
            if std::mem::replace(&mut life, standing.mirror.incarnation) != life {
                backoff = BACKOFF;
            }
            let ended = match standing.mirror.state {
                CopyState::Stale => {
                    let hold = holdback.put_out(life, Instant::now());
                    if !hold.is_zero() {
                        self.hold_back(&standing, hold).await;
                        continue;
                    }
                    self.announce(&standing).await
                }
                CopyState::Syncing => self.attempt(&standing).await.inspect(|()| {
                    holdback.let_back(life, Instant::now());
                    backoff = BACKOFF;
                }),
                CopyState::InSync => Ok(()),
            };
            if let Err(failed) = ended {
                *self.progress.lock() = None;
                tracing::debug!("cannot bring {} up to date: {}", standing.mirror.server, chain(&failed));
                // A new life of the mirror is tried at once, a new epoch of the old one is not.
                self.standing_when(backoff, |s| s.mirror.incarnation != life).await;
                backoff = (backoff * 2).min(BACKOFF_MAX);
            }
        }
    }

    /// Leaves the mirror out for as long, or until it has a new life.
    async fn hold_back(&self, standing: &Standing, hold: Duration) {
        let (server, life) = (standing.mirror.server, standing.mirror.incarnation);
        tracing::warn!(
            "{server} failed again soon after it was up to date: it is brought up to date in {} s",
            hold.as_secs()
        );
        self.standing_when(hold, |s| s.mirror.incarnation != life).await;
    }

    /// Has the mirror logged as syncing, if it can be reached, in the life that the namespace knows.
    async fn announce(self: &Arc<Self>, standing: &Standing) -> Result<(), Failed> {
        let (me, view) = (self.me, standing.view());
        let answer = self.ask(standing, DURABLE_PATIENCE, move |c, x| async move { c.drain(x, me, view).await }).await;
        answer?;
        let (server, incarnation) = (standing.mirror.server, standing.mirror.incarnation);
        let report = Report::Syncing { pair: self.pair, epoch: standing.epoch(), server, incarnation };
        self.report_until(report, standing.epoch()).await;
        Ok(())
    }

    /// The mirror, which catches up under `epoch`, misses a change.
    pub(super) fn missed(&self, epoch: Epoch) -> Missed {
        let missed = self.state.lock().missed(epoch);
        if missed == Missed::StartsOver {
            self.failed_attempt.send_if_modified(|newest| std::mem::replace(newest, epoch) != epoch);
        }
        missed
    }

    /// Returns once the attempt of this epoch to bring the mirror up to date has failed.
    pub(super) async fn attempt_failed(&self, standing: &Standing) {
        // The sender is `self`, so it cannot be gone.
        let _ = self.failed_attempt.subscribe().wait_for(|failed| *failed >= standing.epoch()).await;
    }

    /// One attempt; its failure ends the epoch.
    async fn attempt(self: &Arc<Self>, standing: &Standing) -> Result<(), Failed> {
        let begun = Instant::now();
        let result = tokio::select! {
            result = self.copy_everything(standing) => result,
            () = self.epoch_passed(standing) => Err(Failed::Epoch),
            () = self.attempt_failed(standing) => Err(Failed::Missed),
        };
        let (server, incarnation) = (standing.mirror.server, standing.mirror.incarnation);
        let sealed = result.is_ok() && self.state.lock().seal(standing.epoch());
        let result = if result.is_ok() && !sealed { Err(Failed::Missed) } else { result };
        match result {
            Ok(()) => {
                let report = Report::InSync { pair: self.pair, epoch: standing.epoch(), server, incarnation };
                let doubtful = self.state.lock().doubtful(standing.epoch());
                for chunk in doubtful {
                    self.compare_later(chunk, false);
                }
                self.report_until(report, standing.epoch()).await;
                if let Some(progress) = self.progress.lock().take() {
                    let shown = progress.shown();
                    tracing::info!(
                        "{server} is up to date: {} chunks, {} bytes copied in {:.1} s",
                        shown.total,
                        shown.bytes,
                        begun.elapsed().as_secs_f32()
                    );
                }
                Ok(())
            }
            Err(failed) => {
                tracing::warn!("bringing {server} up to date starts over: {}", chain(&failed));
                // What was sent must have no effect any more when the next attempt starts: that takes a new epoch.
                self.missed(standing.epoch());
                if self.standing_known().await.epoch() == standing.epoch() {
                    let reason = "it could not be brought up to date".into();
                    let report = Report::Accuse { pair: self.pair, epoch: standing.epoch(), server, reason };
                    self.report_until(report, standing.epoch()).await;
                }
                Err(failed)
            }
        }
    }

    async fn copy_everything(self: &Arc<Self>, standing: &Standing) -> Result<(), Failed> {
        // Changes of an older epoch did not flow to the mirror: they are to be noted and applied before this looks. Also those
        // that the mirror ordered, when it was in sync: it may have died since, and their retries be answered by what is under
        // way here.
        if !planted(Bug::ResyncsEarly) {
            self.inflight.drained(standing.epoch()).await;
        }
        self.works.ended().await;
        let mut plan = self.plan(standing).await?;
        if planted(Bug::CopiesNothing) {
            plan = Plan::default();
        }
        tracing::info!("bringing {} up to date: {} chunks to look at", standing.mirror.server, plan.len());
        let progress = Progress {
            to: standing.mirror.server,
            begun: Instant::now(),
            total: plan.len() as u64,
            done: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        };
        *self.progress.lock() = Some(progress);
        let bytes_at_once = Semaphore::new(BYTES_AT_ONCE as usize);
        let courtesy =
            tokio::sync::Mutex::new(Courtesy::new(plan.len(), plan.whole, self.tally.uses(), Instant::now()));
        futures::stream::iter(plan.chunks().map(Ok))
            .try_for_each_concurrent(AT_ONCE, |chunk| {
                let (bytes_at_once, courtesy) = (&bytes_at_once, &courtesy);
                async move {
                    let copied = self.copy_in_turn(standing, chunk, bytes_at_once, courtesy).await?;
                    if let Some(progress) = self.progress.lock().as_ref() {
                        progress.done.fetch_add(1, Ordering::Relaxed);
                        progress.bytes.fetch_add(copied, Ordering::Relaxed);
                    }
                    add(&self.tally.resynced_chunks, 1);
                    Ok(())
                }
            })
            .await?;
        if planted(Bug::SettlesNothing) {
            return Ok(());
        }
        self.settle_copies(standing).await?;
        self.copy_doubtful(standing, &bytes_at_once).await
    }

    /// Makes what was copied durable.
    async fn settle_copies(self: &Arc<Self>, standing: &Standing) -> Result<(), Failed> {
        let (me, view) = (self.me, standing.view());
        let there = self.ask(standing, SYNC_PATIENCE, move |c, x| async move { c.settle(x, me, view).await });
        let here = self.disk(SYNC_STUCK, "sync", |store| store.sync_all());
        let (there, here) = tokio::join!(there, here);
        here.map_err(Failed::Own)?;
        there
    }

    /// Copies what a change has made on one of the two only since it was copied, or though it was not to be copied. No await
    /// lies between the last look and the end.
    async fn copy_doubtful(self: &Arc<Self>, standing: &Standing, bytes_at_once: &Semaphore) -> Result<(), Failed> {
        for _ in 0..DOUBTFUL_ROUNDS {
            let doubtful = self.state.lock().doubtful(standing.epoch());
            if doubtful.is_empty() {
                break;
            }
            let mut bytes = 0;
            for chunk in doubtful {
                bytes += self.copy_chunk(standing, chunk, bytes_at_once).await?;
            }
            // Most often the mirror has all of it.
            if bytes > 0 {
                tracing::warn!("{} lacked {bytes} bytes of chunks that nobody had noted", standing.mirror.server);
                self.settle_copies(standing).await?;
            }
        }
        Ok(())
    }

    /// Copies a chunk: at once if nobody uses the store, else when no other is copied and some time has passed since.
    async fn copy_in_turn(
        self: &Arc<Self>,
        standing: &Standing,
        chunk: ChunkId,
        bytes_at_once: &Semaphore,
        courtesy: &tokio::sync::Mutex<Courtesy>,
    ) -> Result<u64, Failed> {
        let mut turn = courtesy.lock().await;
        if !turn.in_use(self.tally.uses(), Instant::now()) {
            drop(turn);
            return self.copy_chunk(standing, chunk, bytes_at_once).await;
        }
        let begun = Instant::now();
        let copied = self.copy_chunk(standing, chunk, bytes_at_once).await?;
        tokio::time::sleep(Courtesy::pause(begun.elapsed(), copied)).await;
        Ok(copied)
    }

    /// What is to be copied.
    async fn plan(self: &Arc<Self>, standing: &Standing) -> Result<Plan, Failed> {
        let mut plan = Plan::default();
        let mut after = None;
        let high_water = loop {
            let (me, view) = (self.me, standing.view());
            let page = self.ask(standing, SYNC_PATIENCE, move |c, x| async move { c.noted(x, me, view, after).await });
            let page = page.await?;
            match page.chunks.last() {
                Some(last) => after = Some(*last),
                None => break page.high_water,
            }
            plan.add(page.chunks);
        };
        plan.whole = high_water == Ino(0);
        let mine = self.pages(None, |store, after| store.noted(after, PAGE)).await?;
        plan.add(mine);
        if let Some(first) = lacks_from(self.store.high_water(), high_water) {
            plan.add(
                self.pages(ChunkId { ino: first, index: 0 }.before(), |store, after| store.list(after, PAGE)).await?,
            );
        }
        Ok(plan)
    }

    async fn pages(
        self: &Arc<Self>,
        mut after: Option<ChunkId>,
        page: fn(&dyn ChunkStore, Option<ChunkId>) -> Page,
    ) -> Result<Vec<ChunkId>, Failed> {
        let mut all = Vec::new();
        loop {
            let more = self.disk(SYNC_STUCK, "list chunks", move |store| page(store, after)).await;
            let more = more.map_err(Failed::Own)?;
            match more.last() {
                Some(last) => after = Some(*last),
                None => return Ok(all),
            }
            all.extend(more);
        }
    }

    /// Makes one chunk at the mirror what it is here, in its turn among the chunk's changes; returns the bytes sent.
    async fn copy_chunk(
        self: &Arc<Self>,
        standing: &Standing,
        chunk: ChunkId,
        bytes_at_once: &Semaphore,
    ) -> Result<u64, Failed> {
        let (mut damage, mut held_up) = (Damage::Mend, 0);
        for _ in 0..COPY_TRIES {
            match self.copy_once(standing, chunk, damage, HOLDS_UP_MAX * (1 << held_up), bytes_at_once).await {
                Ok(Copied::Sent(bytes)) => return Ok(bytes),
                Ok(Copied::Doomed) => {}
                Ok(Copied::HeldUp) => {
                    held_up = HELD_UP_MAX.min(held_up + 1);
                    tokio::time::sleep(HELD_UP_PAUSE).await;
                }
                // The mirror's copy is of before, and so is this block: nothing has changed it here.
                Ok(Copied::Damaged) => {
                    // To its end, also if the attempt fails meanwhile.
                    if damage != Damage::Mend || !self.mend_to_the_end(chunk).await {
                        damage = Damage::Keep;
                    }
                }
                // The mirror is ahead with a cut or the end of the file.
                Err(Failed::Refused(Rejection::Behind { needed })) => {
                    self.board.applied(needed, APPLY_PATIENCE).await.map_err(Failed::Here)?;
                }
                Err(failed) => return Err(failed),
            }
        }
        Err(Failed::Restless(chunk))
    }

    async fn copy_once(
        self: &Arc<Self>,
        standing: &Standing,
        chunk: ChunkId,
        damage: Damage,
        patience: Duration,
        bytes_at_once: &Semaphore,
    ) -> Result<Copied, Failed> {
        // Room for its bytes first, so that nobody who wants to change the chunk waits for that of others.
        let blocks = self.own_summary(chunk, false).await.ok().flatten().map_or(0, |summary| summary.blocks);
        let share = (u64::from(blocks) * BLOCK_BYTES).clamp(1, u64::from(BYTES_AT_ONCE)) as u32;
        let _share = bytes_at_once.acquire_many(share).await.expect("the semaphore is never closed");
        self.settle_dooms(chunk.ino, LogIndex(u64::MAX)).await.map_err(Failed::Here)?;
        // No await from here to the place in the queue, as for a change.
        let position = self.board.notice().applied;
        if !self.board.dooms_of(chunk.ino).is_empty() {
            return Ok(Copied::Doomed);
        }
        // Planted: behind everything that a file of the simulation has.
        let turn = if planted(Bug::CopiesOutOfTurn) { ChunkId { index: 1 << 20, ..chunk } } else { chunk };
        let held = self.locks.hold(chunk.ino, Span::chunk(turn), Mode::Read).await;
        if self.standing_known().await.epoch() != standing.epoch() {
            return Err(Failed::Epoch);
        }
        self.state.lock().copies(standing.epoch(), chunk);
        let sent = AtomicBool::new(false);
        tokio::select! {
            copied = self.copy_held(standing, position, chunk, damage, &sent) => copied,
            // What was sent may have its effect at any time: then it takes a new epoch before anybody may go on.
            () = held.waited_for(patience) => {
                if sent.load(Ordering::Relaxed) { Err(Failed::HoldsUp) } else { Ok(Copied::HeldUp) }
            }
        }
    }

    /// The same, once the chunk is held; `sent` once something is sent that changes the mirror. Nothing but reads is left under
    /// way here when it is given up.
    async fn copy_held(
        self: &Arc<Self>,
        standing: &Standing,
        position: LogIndex,
        chunk: ChunkId,
        damage: Damage,
        sent: &AtomicBool,
    ) -> Result<Copied, Failed> {
        let bytes = match self.own_summary(chunk, true).await {
            // Somebody may have taken the file away while this server has it open: then it has all of it still.
            Ok(None) => match self.own_summary(chunk, false).await {
                Ok(None) => {
                    sent.store(true, Ordering::Relaxed);
                    self.put_copy(standing, position, chunk, None).await?;
                    return Ok(Copied::Sent(0));
                }
                Ok(Some(summary)) => u64::from(summary.blocks) * BLOCK_BYTES,
                Err(error) => return Err(Failed::Own(error)),
            },
            Ok(Some(summary)) if summary.damaged == 0 => {
                if self.mirror_has(standing, position, chunk, summary).await? {
                    return Ok(Copied::Sent(0));
                }
                u64::from(summary.blocks) * BLOCK_BYTES
            }
            Err(error) if !error.is_damage() => return Err(Failed::Own(error)),
            _ if damage == Damage::Mend => return Ok(Copied::Damaged),
            _ => CHUNK_BYTES,
        };
        let copy = self.disk(DISK_STUCK, "read a chunk", move |store| match damage {
            Damage::Mend => store.export(chunk, false),
            Damage::Keep => Ok(store.salvage(chunk)?.map(|found| found.copy)),
        });
        match copy.await {
            Ok(copy) => {
                sent.store(true, Ordering::Relaxed);
                self.put_copy(standing, position, chunk, copy).await?;
            }
            Err(error) if error.is_damage() => return Ok(Copied::Damaged),
            Err(error) => return Err(Failed::Own(error)),
        }
        Ok(Copied::Sent(bytes))
    }

    async fn mirror_has(
        self: &Arc<Self>,
        standing: &Standing,
        position: LogIndex,
        chunk: ChunkId,
        summary: ChunkSummary,
    ) -> Result<bool, Failed> {
        let by = self.ordered(standing, position, chunk);
        let has = move |c: ChunkServiceClient, x| async move { c.has(x, by, chunk, summary).await };
        self.ask(standing, COPY_PATIENCE, has).await
    }

    async fn put_copy(
        self: &Arc<Self>,
        standing: &Standing,
        position: LogIndex,
        chunk: ChunkId,
        copy: Option<ChunkCopy>,
    ) -> Result<(), Failed> {
        let by = self.ordered(standing, position, chunk);
        let put = move |c: ChunkServiceClient, x| async move { c.put(x, by, chunk, copy).await };
        self.ask(standing, COPY_PATIENCE, put).await
    }

    fn ordered(&self, standing: &Standing, applied: LogIndex, chunk: ChunkId) -> Ordered {
        let view = View { at_least: self.past.lock().last(chunk.ino), ..standing.view() };
        Ordered { from: self.me, view, applied }
    }

    async fn ask<T, F>(
        &self,
        standing: &Standing,
        patience: Duration,
        call: impl FnOnce(ChunkServiceClient, tarpc::context::Context) -> F,
    ) -> Result<T, Failed>
    where
        F: Future<Output = Result<Result<T, Rejection>, tarpc::client::RpcError>>,
    {
        let answer = self.peers.call(standing.mirror.server, patience, call).await;
        answer.map_err(Failed::Unreachable)?.map_err(Failed::Refused)
    }
}

fn needs_resync(standing: &Standing) -> bool {
    match standing.mirror.state {
        CopyState::InSync => false,
        CopyState::Stale => standing.mirror.incarnation.0 != 0,
        CopyState::Syncing => true,
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    raidfs_common::log::chain(error)
}
