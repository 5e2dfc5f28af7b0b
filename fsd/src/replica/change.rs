//! A change, ordered by this server as the chunk's primary: made here and on the mirror side by side, and answered when
//! both have it. Each runs in a task of its own, so that a client that goes away leaves no half of a change behind.

use super::disk::rejection;
use super::ends::end_of;
use super::forward::{Forward, Forwarded};
use super::judge::{Standing, check_session, range_of};
use super::once::Begin;
use super::ranges::{Mode, Span};
use super::state::Missed;
use super::tally::add;
use super::{APPLY_PATIENCE, DISK_STUCK, DURABLE_PATIENCE, Replica, SYNC_STUCK};
use crate::chunk::{ChunkError, ChunkStore, Intent};
use raidfs_common::error::Rejection;
use raidfs_common::id::{ChunkId, LogIndex};
use raidfs_common::limits::{BLOCK_BYTES, FORWARD_STUCK};
use raidfs_common::pair::CopyState;
use raidfs_common::plant::{Bug, planted};
use raidfs_common::rpc::chunks::{Applied, ChangeId, ChunkChange, ChunkServiceClient, View};
use std::sync::Arc;
use std::time::Instant;

/// What a disk that has trouble with it is said to do.
pub(super) const CHANGE: &str = "change a chunk";

/// A change that must not be left half done has begun; what it needs is waited for, however long.
const PATIENT_PAUSE: std::time::Duration = std::time::Duration::from_millis(50);

/// How one attempt at a change went.
enum Step {
    /// It has ended.
    End(Result<Applied, Rejection>),
    /// It has to be ordered anew, behind the cut or end of the file by this entry.
    BehindDoom(LogIndex),
    /// It is made on both, but only one of them had the chunk before: has the other lost it?
    Compare {
        /// The outcome.
        applied: Applied,
        /// It is this server that had none.
        lost_here: bool,
    },
    /// It has to be ordered anew, once the chunk is mended.
    Mend {
        /// The mirror could not make it either, for the same reason.
        lost_there: bool,
    },
}

/// A try at a change that [`super::once`] knows to be under way; it ends by drop.
pub(super) struct Try {
    pub(super) replica: Arc<Replica>,
    pub(super) id: ChangeId,
    /// Set once it was made.
    pub(super) outcome: Option<Applied>,
}

/// Whether a change ends only once it is durable.
pub(super) fn is_synced(change: &ChunkChange) -> bool {
    matches!(change, ChunkChange::Write { sync: true, .. })
}

impl Drop for Try {
    fn drop(&mut self) {
        self.replica.once.lock().end(self.id, self.outcome);
        self.replica.ended.send_modify(|n| *n += 1);
    }
}

impl Replica {
    /// Changes a chunk on both mirrors.
    pub async fn change(
        self: &Arc<Self>,
        view: View,
        id: ChangeId,
        chunk: ChunkId,
        change: ChunkChange,
    ) -> Result<Applied, Rejection> {
        let (_, length) = range_of(&change)?;
        if length == 0 {
            return Ok(Applied::default());
        }
        let replica = self.clone();
        let known = std::future::ready(Ok::<_, std::convert::Infallible>(change));
        let task = tokio::spawn(async move { replica.change_once(view, id, chunk, known).await });
        let Ok(applied) = task.await.unwrap_or(Err(Rejection::Away))?;
        Ok(applied)
    }

    /// Makes a change, if it was not made before, once `change` has said which one; an error of that ends it without effect.
    pub(super) async fn change_once<E>(
        self: Arc<Self>,
        view: View,
        id: ChangeId,
        chunk: ChunkId,
        change: impl Future<Output = Result<ChunkChange, E>>,
    ) -> Result<Result<Applied, E>, Rejection> {
        let standing = self.judged(&view).await?;
        check_session(&standing.notice, id.session)?;
        if standing.primary(&view) != Some(self.me) {
            return Err(Rejection::NotInCharge);
        }
        // Before the change is known to be under way here: the mirror may have to end just this one, which its client sent
        // there while this server was not in sync, and its half here would wait for this try.
        self.open(&view).await?;
        let applied = match self.begin_once(id).await? {
            Ok(mut this_try) => {
                let change = match change.await {
                    Ok(change) => change,
                    Err(error) => return Ok(Err(error)),
                };
                let made = self.make(&view, id, chunk, change).await?;
                this_try.outcome = Some(made);
                add(&self.tally.primary_changes, 1);
                made
            }
            Err(made) => made,
        };
        // The client must learn of an epoch that it was made under: else it might read from a server evicted by then.
        // It asks again, and gets this outcome.
        match self.standing_known().await {
            now if now.epoch() != view.epoch && !planted(Bug::HidesEpoch) => Err(now.wrong_epoch()),
            _ => Ok(Ok(applied)),
        }
    }

    /// Ok: this try is to make the change. Err: it was made.
    pub(super) async fn begin_once(self: &Arc<Self>, id: ChangeId) -> Result<Result<Try, Applied>, Rejection> {
        let mut ended = None;
        loop {
            let begin = self.once.lock().begin(id);
            match begin {
                Begin::Make => return Ok(Ok(Try { replica: self.clone(), id, outcome: None })),
                Begin::Made(applied) => return Ok(Err(applied)),
                Begin::Late => return Err(Rejection::Forgotten),
                Begin::Overloaded => return Err(Rejection::Overloaded),
                // It may have ended before this listens: so it asks again first. The sender is in `self`.
                Begin::Wait => match &mut ended {
                    None => ended = Some(self.ended.subscribe()),
                    Some(ended) => drop(ended.changed().await),
                },
            }
        }
    }

    async fn make(
        self: &Arc<Self>,
        view: &View,
        id: ChangeId,
        chunk: ChunkId,
        change: ChunkChange,
    ) -> Result<Applied, Rejection> {
        let _under_way = self.inflight.begin(view.epoch);
        let (offset, length) = range_of(&change)?;
        let span = Span::of(chunk, offset, length);
        // Once one side may have it, it must end on both, or with one of them out of sync.
        let mut begun = false;
        loop {
            if let Err(rejection) = self.ready(view, chunk, begun).await {
                if !begun {
                    return Err(rejection);
                }
                let standing = self.standing_known().await;
                if self.is_closed() && !standing.in_sync() {
                    return Err(standing.wrong_epoch());
                }
                tokio::time::sleep(PATIENT_PAUSE).await;
                continue;
            }
            // No await from here to the place in the queue: a doom that is not seen here stands behind the change.
            let position = self.board.notice().applied;
            if !self.board.dooms_of(chunk.ino).is_empty() && !planted(Bug::ChangesBeforeCuts) {
                continue;
            }
            if self.past.lock().is_gone(chunk.ino) {
                return Err(Rejection::Gone);
            }
            let held = self.locks.hold(chunk.ino, span, Mode::Change).await;
            if !begun {
                check_session(&self.judge_now(view)?.notice, id.session)?;
                if self.once.lock().is_done(id) {
                    // Its client has given it up meanwhile, and what came later may be there already.
                    return Err(Rejection::Forgotten);
                }
            }
            begun = true;
            let at_least = view.at_least.max(self.past.lock().last(chunk.ino));
            let forward = Forward { turn: view.turn, at_least, id, applied: position, chunk, change: change.clone() };
            match self.on_both(forward).await {
                Step::End(result) => return result,
                Step::Compare { applied, lost_here } => {
                    drop(held);
                    self.compare_with_mirror(chunk, lost_here).await;
                    return Ok(applied);
                }
                Step::BehindDoom(needed) => {
                    drop(held);
                    let _ = self.board.applied(needed, APPLY_PATIENCE).await;
                }
                Step::Mend { lost_there } => {
                    drop(held);
                    if !self.mend(chunk).await {
                        // Without a good copy of the block there is nothing to change. If nobody has one, nobody did.
                        return if lost_there { Err(Rejection::Damaged) } else { self.unmended().await };
                    }
                }
            }
        }
    }

    /// Everything that has to be so before a change of a file may be ordered here.
    async fn ready(self: &Arc<Self>, view: &View, chunk: ChunkId, begun: bool) -> Result<(), Rejection> {
        if !begun {
            self.judge_now(view)?;
            self.is_there(chunk.ino, view.at_least).await?;
        }
        if planted(Bug::ChangesBeforeCuts) {
            return Ok(());
        }
        self.settle_dooms(chunk.ino, LogIndex(u64::MAX)).await
    }

    /// After this server came into sync beside its mirror, waits until the mirror's older changes have ended.
    async fn open(self: &Arc<Self>, view: &View) -> Result<(), Rejection> {
        while self.state.lock().must_open() {
            let _one = self.opening.lock().await;
            let standing = self.judge_now(view)?;
            if !self.state.lock().must_open() {
                break;
            }
            let (me, mine) = (self.me, standing.view());
            let drain = |client: ChunkServiceClient, context| async move { client.drain(context, me, mine).await };
            let drained = tokio::select! {
                drained = self.peers.call(standing.mirror.server, DURABLE_PATIENCE, drain) => drained,
                () = self.epoch_passed(&standing) => continue,
            };
            match drained {
                Ok(Ok(())) => self.state.lock().opened(standing.epoch()),
                Err(error) if error.is_gone() => {
                    self.accuse(standing.mirror.server, "its process is gone".into());
                    self.standing_when(FORWARD_STUCK, |s| s.epoch() != standing.epoch()).await;
                }
                _ => drop(self.standing_when(PATIENT_PAUSE, |s| s.epoch() != standing.epoch()).await),
            }
        }
        Ok(())
    }

    /// Makes a change here and on the mirror.
    async fn on_both(self: &Arc<Self>, forward: Forward) -> Step {
        let standing = self.standing_known().await;
        let (chunk, change) = (forward.chunk, forward.change.clone());
        if planted(Bug::AnswersBeforeMirror) {
            let replica = self.clone();
            tokio::spawn(async move { replica.forward(forward).await });
            let local = self.make_here(chunk, change).await;
            let there = local.as_ref().map_or(Applied::default(), |(applied, _)| *applied);
            return self.combine(local, Forwarded::Mirrored { there, in_sync: false }).await;
        }
        let is_short = self.is_short_of_room(&standing) && !matches!(change, ChunkChange::Punch { .. });
        let may_meet_lost = may_meet_what_was_lost(&standing, &change) && self.store.may_have_lost(chunk);
        let (local, remote) = if is_short || may_meet_lost {
            if is_short && self.both_full(&standing).await && self.needs_room(chunk, &change).await {
                return Step::End(Err(Rejection::Full));
            }
            // A full disk here is found out before the mirror has changed anything, and so is what nobody has.
            let local = self.make_here(chunk, change).await;
            match local {
                Err(ChunkError::Full { .. }) => return Step::End(self.full_here(&standing).await),
                Err(ChunkError::Lost { .. }) => return Step::End(Err(Rejection::Lost)),
                local => (local, self.forward(forward).await),
            }
        } else {
            // The mirror's way is the longer one, and begins first.
            let (remote, local) = tokio::join!(self.forward(forward), self.make_here(chunk, change));
            (local, remote)
        };
        self.combine(local, remote).await
    }

    async fn combine(self: &Arc<Self>, local: Result<(Applied, Intent), ChunkError>, remote: Forwarded) -> Step {
        match (local, remote) {
            (_, Forwarded::Behind(needed)) => Step::BehindDoom(needed),
            (_, Forwarded::Evicted(rejection)) => Step::End(Err(rejection)),
            (Ok((applied, _intent)), Forwarded::Mirrored { there, in_sync }) => {
                // Alike, unless it was made before this copy came into sync: the mirror remembers what it did then, and here
                // nothing was left to be done. A copy that catches up does what it has not done yet.
                let first = if in_sync { there } else { applied };
                match applied.made == there.made {
                    true => Step::End(Ok(first)),
                    false => Step::Compare { applied: first, lost_here: applied.made },
                }
            }
            (Ok((applied, _intent)), Forwarded::Alone) => Step::End(Ok(applied)),
            (Ok((applied, _intent)), Forwarded::Full) if planted(Bug::KeepsFullMirror) => Step::End(Ok(applied)),
            (Ok((applied, _intent)), Forwarded::Full) => {
                Step::End(self.lacking_there(applied, "its disk is full").await)
            }
            (Ok((applied, _intent)), Forwarded::Damaged) => {
                Step::End(self.lacking_there(applied, "its copy of a chunk is damaged, and could not be mended").await)
            }
            (Ok((applied, _intent)), Forwarded::Lost) => {
                let standing = self.standing_known().await;
                self.missed(standing.epoch());
                Step::End(self.lacking_there(applied, "bytes of its copy of a chunk were lost").await)
            }
            // Neither has what a part of is to be changed.
            (Err(ChunkError::Lost { .. }), Forwarded::Lost) => Step::End(Err(Rejection::Lost)),
            (Err(ChunkError::Full { .. }), Forwarded::Full | Forwarded::Damaged | Forwarded::Lost) => {
                Step::End(Err(Rejection::Full))
            }
            (Err(ChunkError::Full { .. }), Forwarded::Mirrored { .. }) if planted(Bug::StaysThoughFull) => {
                Step::End(Err(Rejection::Full))
            }
            (Err(ChunkError::Full { .. }), Forwarded::Mirrored { .. }) => {
                Step::End(Err(self.lacking_here("its disk is full".into(), Rejection::Full).await))
            }
            (Err(error), remote) if error.is_damage() => Step::Mend { lost_there: remote == Forwarded::Damaged },
            (Err(error), _) => {
                let text = raidfs_common::log::chain(&error);
                Step::End(Err(self.lacking_here(text, rejection(error)).await))
            }
        }
    }

    /// Makes a change on this server's copy. The note is held by what it returns.
    pub(super) async fn make_here(
        self: &Arc<Self>,
        chunk: ChunkId,
        change: ChunkChange,
    ) -> Result<(Applied, Intent), ChunkError> {
        let replica = self.clone();
        let limit = if is_synced(&change) { SYNC_STUCK } else { DISK_STUCK };
        self.disk(limit, CHANGE, move |store| replica.make_on(store, chunk, &change)).await
    }

    /// The disk's work of a change; it blocks.
    pub(super) fn make_on(
        &self,
        store: &dyn ChunkStore,
        chunk: ChunkId,
        change: &ChunkChange,
    ) -> Result<(Applied, Intent), ChunkError> {
        let synced = is_synced(change);
        if let ChunkChange::Write { data, .. } = change {
            add(&self.tally.written_bytes, data.0.len() as u64);
        }
        if synced {
            add(&self.tally.syncs, 1);
        }
        // A sync may take longer than a change.
        let made = synced.then(|| self.strain.begin(Instant::now(), DISK_STUCK, CHANGE));
        let intent = if planted(Bug::NotesNothing) { Intent::none() } else { store.note(chunk)? };
        if let Some(end) = end_of(chunk, change) {
            self.ends.lock().wrote(chunk.ino, end);
        }
        let applied = match change {
            ChunkChange::Write { offset, data, .. } => store.write(chunk, *offset, &data.0),
            ChunkChange::Punch { offset, length } => store.punch(chunk, *offset, *length),
            ChunkChange::Allocate { offset, length } => store.allocate(chunk, *offset, *length),
        }?;
        drop(made);
        if synced {
            // On the same thread at once: no other way is as short.
            store.sync(&[chunk])?;
        }
        Ok((applied, intent))
    }

    /// The mirror lacks a change that was made here: it has to go before this is acknowledged.
    async fn lacking_there(self: &Arc<Self>, applied: Applied, reason: &str) -> Result<Applied, Rejection> {
        loop {
            let standing = self.standing_known().await;
            if !standing.in_sync() {
                return Err(standing.wrong_epoch());
            }
            if !standing.mirror_in_sync() {
                return Ok(applied);
            }
            self.accuse(standing.mirror.server, reason.into());
            self.standing_when(FORWARD_STUCK, |s| s.epoch() != standing.epoch()).await;
        }
    }

    /// This disk is full, and nothing was changed anywhere. If the mirror's is not, this server leaves.
    async fn full_here(self: &Arc<Self>, standing: &Standing) -> Result<Applied, Rejection> {
        if standing.mirror_in_sync() && self.mirror_has_room(standing).await {
            return Err(self.leave("its disk is full".into()).await.unwrap_or(Rejection::Full));
        }
        Err(Rejection::Full)
    }

    /// Has this server evicted, because its copy lacks a change that the mirror may have. None: it is the last copy.
    pub(super) async fn leave(self: &Arc<Self>, reason: String) -> Option<Rejection> {
        loop {
            let standing = self.standing_known().await;
            if !standing.in_sync() {
                return Some(standing.wrong_epoch());
            }
            if !standing.mirror_in_sync() {
                return None;
            }
            self.accuse(self.me, reason.clone());
            self.standing_when(FORWARD_STUCK, |s| s.epoch() != standing.epoch()).await;
        }
    }

    /// This copy lacks a change that the mirror may have: it goes, or, as the last one, has the mirror brought up to date anew,
    /// and the change has failed as it is said `otherwise`.
    async fn lacking_here(self: &Arc<Self>, reason: String, otherwise: Rejection) -> Rejection {
        loop {
            if let Some(rejection) = self.leave(reason.clone()).await {
                return rejection;
            }
            let standing = self.standing_known().await;
            if standing.mirror.state == CopyState::Stale || self.missed(standing.epoch()) == Missed::StartsOver {
                return otherwise;
            }
            // It is about to come into sync: then this one can leave.
            self.standing_when(PATIENT_PAUSE, |s| s.epoch() != standing.epoch()).await;
        }
    }

    /// A damaged chunk could not be mended while a change of it was under way.
    async fn unmended(self: &Arc<Self>) -> Result<Applied, Rejection> {
        let reason = "a chunk is damaged, and could not be mended".into();
        Err(self.lacking_here(reason, Rejection::Damaged).await)
    }
}

/// Whether a change is of a part of a block, and something was lost with a pair: a mirror that catches up may not know yet that
/// nobody has the rest of it. (Of a pair that has lost power nothing is lost in this sense, so it is asked what is marked.)
fn may_meet_what_was_lost(standing: &Standing, change: &ChunkChange) -> bool {
    let (offset, length) = match change {
        ChunkChange::Write { offset, data, .. } => (u64::from(*offset), data.0.len() as u64),
        ChunkChange::Punch { offset, length } => (u64::from(*offset), u64::from(*length)),
        ChunkChange::Allocate { .. } => return false,
    };
    let is_whole = offset.is_multiple_of(BLOCK_BYTES) && length.is_multiple_of(BLOCK_BYTES);
    standing.notice.marked.any && standing.pair.losses > 0 && !is_whole
}
