//! Chunks that are not there though they should be: the file system below has lost their files, or somebody has. What was
//! never written is not there either, so that nothing here tells the one from the other. The mirror does.

use super::Replica;
use super::judge::Standing;
use super::ranges::{Mode, Span};
use raidfs_common::error::Rejection;
use raidfs_common::id::{ChunkId, LogIndex, ServerId};
use raidfs_common::limits::FORWARD_STUCK;
use raidfs_common::pair::CopyState;
use raidfs_common::rpc::chunks::{ChunkServiceClient, ChunkSummary, View};
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tarpc::client::RpcError;
use tarpc::context::Context;

/// A reader of what is not here waits no longer for the mirror: if that hangs, too, it reads zeros.
const READER_PATIENCE: Duration = Duration::from_millis(100);
/// So long a change that the mirror has already may take to come here.
const ON_ITS_WAY: Duration = Duration::from_millis(50);
/// A mirror that has a cut to carry out is given so long for it.
const CUT_PAUSE: Duration = Duration::from_millis(5);
/// How long the mirror may take to compare.
const COMPARE_PATIENCE: Duration = Duration::from_secs(2);
/// Cuts that one of the two has not carried out yet make a difference that passes.
const COMPARE_TRIES: u32 = 4;
/// Between two tries.
const COMPARE_AGAIN: Duration = Duration::from_millis(100);
/// Before what could not be compared is tried again in the background.
const LATER_AGAIN: Duration = Duration::from_secs(1);
/// How long the end of a resync is waited for in one go.
const LATER: Duration = Duration::from_secs(60);

impl Replica {
    /// Whether a chunk that is not here should be: the mirror, which is in sync, has it.
    pub(super) async fn is_missing(self: &Arc<Self>, chunk: ChunkId) -> bool {
        if !self.is_absent(chunk).await || !matches!(self.mirrors_summary(chunk, READER_PATIENCE).await, Some(Some(_)))
        {
            return false;
        }
        tokio::time::sleep(ON_ITS_WAY).await;
        self.is_absent(chunk).await
    }

    /// Takes a missing chunk from the mirror; false if it is still missing then.
    pub(super) async fn bring_back(self: &Arc<Self>, chunk: ChunkId) -> bool {
        let replica = self.clone();
        let back = tokio::spawn(async move { replica.take_back(chunk).await });
        back.await.unwrap_or(false) || !self.is_missing(chunk).await
    }

    async fn is_absent(self: &Arc<Self>, chunk: ChunkId) -> bool {
        matches!(self.own_summary(chunk, false).await, Ok(None))
    }

    /// Asks the mirror while both are in sync; None: they are not, or it does not say.
    async fn ask_mirror<T, F>(
        self: &Arc<Self>,
        patience: Duration,
        at_least: LogIndex,
        ask: impl FnOnce(ChunkServiceClient, Context, View) -> F,
    ) -> Option<Result<T, Rejection>>
    where
        F: Future<Output = Result<Result<T, Rejection>, RpcError>>,
    {
        let standing = self.standing_known().await;
        if !standing.both_in_sync() {
            return None;
        }
        let view = View { at_least, ..standing.view() };
        let asked = self.peers.call(standing.mirror.server, patience, |client, context| ask(client, context, view));
        tokio::select! {
            answer = asked => answer.ok(),
            () = self.epoch_passed(&standing) => None,
        }
    }

    /// What the mirror has of a chunk; None as of [`Replica::ask_mirror`]. If it has a cut to carry out first, which being
    /// asked begins, it is asked again.
    async fn mirrors_summary(self: &Arc<Self>, chunk: ChunkId, patience: Duration) -> Option<Option<ChunkSummary>> {
        let (me, at_least, until) = (self.me, self.past.lock().last(chunk.ino), Instant::now() + patience);
        loop {
            let ask = |client: ChunkServiceClient, context, view| async move {
                client.summary(context, me, view, chunk).await
            };
            let left = until.saturating_duration_since(Instant::now());
            match self.ask_mirror(left, at_least, ask).await? {
                Err(Rejection::Behind { .. }) if !left.is_zero() => tokio::time::sleep(CUT_PAUSE).await,
                answer => return answer.ok(),
            }
        }
    }

    /// The first chunk from this one on that the mirror has; None if there is none, too.
    pub(super) async fn mirrors_next(self: &Arc<Self>, from: ChunkId) -> Option<ChunkId> {
        let me = self.me;
        let ask = |client: ChunkServiceClient, context, view| async move {
            client.held(context, me, view, from.before()).await
        };
        self.ask_mirror(READER_PATIENCE, LogIndex(0), ask).await?.ok()?.first().copied()
    }

    /// The mirror's half of [`Replica::mirrors_summary`].
    pub async fn summary_for(
        self: &Arc<Self>,
        from: ServerId,
        view: View,
        chunk: ChunkId,
    ) -> Result<Option<ChunkSummary>, Rejection> {
        self.caught_up(&view).await?;
        if !self.judge_mirror(from, &view)?.both_in_sync() {
            return Err(Rejection::NotInCharge);
        }
        self.no_doom_pends(chunk)?;
        self.own_summary(chunk, false).await.map_err(super::disk::rejection)
    }

    /// A change was made on both, and one of them had no such chunk before. Most often it was under way with another change
    /// at the same time. If the copies differ, the one who had none has lost it: it is put out, and brought up to date.
    /// A mirror that is just brought up to date has not got everything, but must have this chunk when it is in sync, as it may
    /// be the only copy then: the attempt copies it. If that is about to end, they are compared behind it.
    pub(super) async fn compare_with_mirror(self: &Arc<Self>, chunk: ChunkId, lost_here: bool) {
        let standing = self.standing_known().await;
        let catches_up = standing.in_sync() && standing.mirror.state == CopyState::Syncing;
        if catches_up && self.state.lock().doubt(standing.epoch(), chunk) {
            return;
        }
        // The mirror has it right.
        let lost_here = lost_here && !catches_up;
        if catches_up || !self.compare_now(chunk, lost_here).await {
            self.compare_later(chunk, lost_here);
        }
    }

    pub(super) fn compare_later(self: &Arc<Self>, chunk: ChunkId, lost_here: bool) {
        let is_first = {
            let mut later = self.compared_later.lock();
            later.insert(chunk, lost_here);
            later.len() == 1
        };
        if is_first {
            let replica = self.clone();
            tokio::spawn(async move { replica.compare_all().await });
        }
    }

    /// Compares what is to be compared, and what comes in meanwhile, until nothing is left.
    async fn compare_all(self: &Arc<Self>) {
        let mut last = None;
        // In turn, as one that cannot be told yet must not keep the others from it.
        let next = |last: Option<ChunkId>| {
            let later = self.compared_later.lock();
            let behind = last.and_then(|last| later.range((Excluded(last), Unbounded)).next());
            behind.or(later.first_key_value()).map(|(chunk, lost_here)| (*chunk, *lost_here))
        };
        while let Some((chunk, lost_here)) = next(last).filter(|_| !self.is_closed()) {
            last = Some(chunk);
            let syncing = |s: &Standing| s.in_sync() && s.mirror.state == CopyState::Syncing;
            while syncing(&self.standing_when(LATER, |s| !syncing(s)).await) {}
            match self.compare_now(chunk, lost_here).await {
                true => drop(self.compared_later.lock().remove(&chunk)),
                false => tokio::time::sleep(LATER_AGAIN).await,
            }
        }
    }

    /// Compares a chunk, and has who lost it put out. False: it cannot be told now whether anybody has.
    async fn compare_now(self: &Arc<Self>, chunk: ChunkId, lost_here: bool) -> bool {
        for again in 1..=COMPARE_TRIES {
            match self.compare_once(chunk).await {
                Some(true) => return true,
                Some(false) => {}
                // A copy that is not in sync is made what the other is, with this chunk, which is noted.
                None => return !self.standing_known().await.both_in_sync(),
            }
            if again < COMPARE_TRIES {
                tokio::time::sleep(COMPARE_AGAIN).await;
            }
        }
        let standing = self.standing_known().await;
        if !standing.both_in_sync() {
            return true;
        }
        if lost_here {
            tracing::error!(
                "chunk {chunk} was missing here when it was changed: this server takes itself out of its pair"
            );
            self.leave(format!("chunk {chunk} was missing from its copy")).await;
        } else {
            self.accuse(standing.mirror.server, format!("chunk {chunk} was missing from its copy"));
            self.standing_when(FORWARD_STUCK, |s| s.epoch() != standing.epoch()).await;
        }
        true
    }

    /// Whether both have the same of a chunk; None: that cannot be told now.
    async fn compare_once(self: &Arc<Self>, chunk: ChunkId) -> Option<bool> {
        self.settle_dooms(chunk.ino, LogIndex(u64::MAX)).await.ok()?;
        let _held = self.locks.hold(chunk.ino, Span::chunk(chunk), Mode::Change).await;
        let theirs = self.mirrors_summary(chunk, COMPARE_PATIENCE).await?;
        Some(theirs == self.own_summary(chunk, false).await.ok()?)
    }
}
