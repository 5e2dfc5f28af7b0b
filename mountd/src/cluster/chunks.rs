//! Chunk operations: changes to the primary, reads to either mirror, each retried through failures with its own
//! number, under an epoch never older than the newest one known.

use super::balance::Balance;
use super::changes::as_error;
use super::connection::NoAnswer;
use super::copying::Sources;
use super::core::{Core, SessionState};
use super::numbers::Numbers;
use super::pairs::Known;
use super::reading::{READ_TRY_MAX, Reader, Round};
use super::waiting::{Waiting, weigh};
use crate::vfs::cluster::{Changed, ChunkAddress, Part, Source};
use bytes::Bytes;
use futures::future::try_join_all;
use parking_lot::Mutex;
use raidfs_common::error::{FsError, Rejection};
use raidfs_common::id::{ChunkId, Ino, ServerId, SessionId};
use raidfs_common::limits::OUTCOMES_KEPT_MAX;
use raidfs_common::pair::{ChunkPlace, Pair, place};
use raidfs_common::plant::{Bug, planted};
use raidfs_common::rpc::chunks::{Applied, ChangeId, ChunkChange, ChunkServiceClient, View};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tarpc::client::RpcError;
use tarpc::context::Context;
use tokio::sync::Semaphore;

/// A single try of a change ends then: the primary has evicted a stuck mirror, or was evicted, long before.
pub(super) const CHANGE_TRY_MAX: Duration = Duration::from_secs(4);
/// Changes of one pair under way at once; servers remember the outcomes of so many and more.
const CHANGES_MAX: usize = OUTCOMES_KEPT_MAX / 4;

/// The numbers of one pair's changes. They never meet another pair's on a server, so that a pair that is away does
/// not hold up the watermark of the others.
struct Lane {
    numbers: Mutex<Numbers>,
    room: Semaphore,
}

/// Chunk operations of one client.
pub struct Chunks {
    pub(super) core: Arc<Core>,
    lanes: Vec<Lane>,
    pub(super) balance: Mutex<Balance>,
}

/// What is to be done to a chunk.
enum Wanted {
    Change(ChunkChange),
    Copy(Part, Source),
}

/// One try of it.
#[derive(Clone, Copy)]
pub(super) struct Order {
    pub view: View,
    pub primary: ServerId,
    pub id: ChangeId,
    pub chunk: ChunkId,
}

/// How a try ended.
pub(super) enum Answer {
    /// With what the primary says.
    Primary(Result<Applied, Rejection>),
    /// Without effect, as a copy's source cannot be read now: it is tried again, or fails.
    Source(Result<(), FsError>),
}

/// A number in use; done when dropped.
struct Number<'a> {
    lane: &'a Lane,
    session: SessionId,
    seq: u64,
}

impl Number<'_> {
    fn id(&self) -> ChangeId {
        ChangeId { session: self.session, seq: self.seq, done_below: self.lane.numbers.lock().done_below() }
    }
}

impl Drop for Number<'_> {
    fn drop(&mut self) {
        self.lane.numbers.lock().done(self.seq);
    }
}

impl Chunks {
    /// Nothing is under way.
    pub fn new(core: Arc<Core>) -> Arc<Chunks> {
        let lane = |_| Lane { numbers: Mutex::default(), room: Semaphore::new(CHANGES_MAX) };
        let lanes = core.config.pairs.iter().map(lane).collect();
        Arc::new(Chunks { core, lanes, balance: Mutex::default() })
    }

    /// Where a chunk lies.
    pub(super) fn place(&self, at: ChunkAddress) -> ChunkPlace {
        place(at.placement, at.chunk.index, self.core.config.pairs.len())
    }

    pub(super) fn view(&self, pair: &Pair, place: ChunkPlace, ino: Ino) -> View {
        View { pair: pair.id, epoch: pair.epoch, at_least: self.core.needed([ino]), turn: place.turn }
    }

    /// Changes a chunk on both mirrors. Goes on in its own task when the caller stops waiting: a number that was sent
    /// is brought to its end.
    pub async fn change(self: &Arc<Self>, at: ChunkAddress, change: ChunkChange) -> Result<Changed, FsError> {
        self.make(at, Wanted::Change(change)).await
    }

    /// Has the servers write what they have elsewhere. Goes on like a change.
    pub async fn copy(self: &Arc<Self>, at: ChunkAddress, part: Part, from: Source) -> Result<Changed, FsError> {
        self.make(at, Wanted::Copy(part, from)).await
    }

    async fn make(self: &Arc<Self>, at: ChunkAddress, wanted: Wanted) -> Result<Changed, FsError> {
        let this = Arc::clone(self);
        let task = tokio::spawn(async move { this.make_here(at, wanted).await });
        task.await.unwrap_or(Err(FsError::Io))
    }

    async fn make_here(&self, at: ChunkAddress, wanted: Wanted) -> Result<Changed, FsError> {
        let place = self.place(at);
        let lane = &self.lanes[usize::from(place.pair.0)];
        let mut waiting = Waiting::new(&self.core);
        let room = tokio::time::timeout_at(waiting.deadline().into(), lane.room.acquire()).await;
        let Ok(Ok(_room)) = room else { return Err(FsError::Io) };
        let seq = lane.numbers.lock().take(1);
        let number = Number { lane, session: self.core.session, seq };
        let mut sources = Sources::default();
        loop {
            let known = waiting.known();
            if let Some(pair) = known.pair(place.pair)
                && let Some(primary) = pair.primary(place)
                && self.core.knows(primary)
                && !self.core.is_over()
            {
                let in_charge = |p: &Pair| p.primary(place) == Some(primary);
                let order =
                    Order { view: self.view(pair, place, at.chunk.ino), primary, id: number.id(), chunk: at.chunk };
                let one_try = async {
                    match &wanted {
                        Wanted::Change(change) => self.try_change(&waiting, order, change).await.map(Answer::Primary),
                        Wanted::Copy(part, from) => {
                            self.try_copy(&waiting, &known, order, (*part, *from), &mut sources).await
                        }
                    }
                };
                tokio::select! {
                    answer = one_try => match answer {
                        Ok(Answer::Primary(Ok(Applied { blocks, .. }))) => {
                            // As with a sync: the epoch that it was made under must still be the newest.
                            let now = self.core.pairs.now();
                            let still = now.pair(place.pair).is_some_and(|p| p.epoch == pair.epoch);
                            let asked = matches!(wanted, Wanted::Change(ChunkChange::Write { sync: true, .. }));
                            return Ok(Changed { blocks, durable: asked && still });
                        }
                        Ok(Answer::Primary(Err(rejection))) => weigh(&self.core, place.pair, primary, &rejection)?,
                        Ok(Answer::Source(refused)) => refused?,
                        Err(_) => {}
                    },
                    () = waiting.superseded(pair, primary, in_charge) => continue,
                }
            }
            waiting.pause().await?;
        }
    }

    async fn try_change(
        &self,
        waiting: &Waiting<'_>,
        order: Order,
        change: &ChunkChange,
    ) -> Result<Result<Applied, Rejection>, NoAnswer> {
        let Order { view, primary, id, chunk } = order;
        let bytes = if let ChunkChange::Write { data, .. } = change { data.0.len() } else { 0 };
        let link = self.core.link(primary);
        let until = waiting.deadline().min(Instant::now() + CHANGE_TRY_MAX);
        let _room = link.room(bytes, until).await?;
        let change = change.clone();
        link.chunks(until, |c, context| async move { c.change(context, view, id, chunk, change).await }).await
    }

    /// Reads a chunk from one of its in-sync mirrors, and from the other too if that one is late.
    pub async fn read(&self, at: ChunkAddress, offset: u32, length: u32) -> Result<Bytes, FsError> {
        let place = self.place(at);
        let mut waiting = Waiting::new(&self.core);
        let mut damaged: Vec<ServerId> = Vec::new();
        loop {
            let known = waiting.known();
            if let Some(pair) = known.pair(place.pair)
                && !self.core.is_over()
            {
                let round = Reader { chunks: self, at, place, pair, offset, length };
                match round.run(&waiting, &mut damaged).await? {
                    Round::Bytes(bytes) if self.is_current(&known, &waiting).await? => return Ok(bytes),
                    Round::Bytes(_) | Round::Again => {}
                }
                // A pair may have changed while we read: then nothing needs to be waited for.
                if self.core.pairs.now().version > known.version {
                    continue;
                }
            }
            waiting.pause().await?;
        }
    }

    /// A chunk's length and runs of blocks that are no holes.
    pub async fn extents(&self, at: ChunkAddress) -> Result<(u32, Vec<(u16, u16)>), FsError> {
        self.ask(at, |client, context, view| async move { client.extents(context, view, at.chunk).await }).await
    }

    /// The index of the first chunk of a file, from this one on, that there is.
    pub async fn next_chunk(&self, from: ChunkAddress) -> Result<Option<u32>, FsError> {
        // Of as many chunks in a row as there are pairs, each lies on another.
        let index = |n: usize| from.chunk.index.checked_add(u32::try_from(n).ok()?);
        let firsts = (0..self.core.config.pairs.len()).filter_map(index).map(|index| {
            let at = ChunkAddress { chunk: ChunkId { index, ..from.chunk }, ..from };
            self.ask(at, move |client, context, view| async move { client.next_chunk(context, view, at.chunk).await })
        });
        let found = try_join_all(firsts).await?;
        Ok(found.into_iter().flatten().min())
    }

    /// Asks a server whose copy is in sync about a chunk, until one has answered.
    async fn ask<T, F>(
        &self,
        at: ChunkAddress,
        ask: impl Fn(ChunkServiceClient, Context, View) -> F,
    ) -> Result<T, FsError>
    where
        F: Future<Output = Result<Result<T, Rejection>, RpcError>>,
    {
        let place = self.place(at);
        let mut waiting = Waiting::new(&self.core);
        let mut turn = 0;
        loop {
            let known = waiting.known();
            let able = self.able(&known, place, &[]);
            if !able.is_empty()
                && let Some(pair) = known.pair(place.pair)
                && !self.core.is_over()
            {
                let server = able[turn % able.len()];
                turn += 1;
                let view = self.view(pair, place, at.chunk.ino);
                let until = waiting.deadline().min(Instant::now() + READ_TRY_MAX);
                let link = self.core.link(server);
                let asked = link.chunks(until, |client, context| ask(client, context, view));
                tokio::select! {
                    answer = asked => match answer {
                        Ok(Ok(found))
                            if self.still_serves(pair, server) && self.is_current(&known, &waiting).await? =>
                        {
                            return Ok(found);
                        }
                        Ok(Err(rejection)) => weigh(&self.core, place.pair, server, &rejection)?,
                        _ => {}
                    },
                    () = waiting.superseded(pair, server, |p| p.serves(server)) => continue,
                }
            }
            waiting.pause().await?;
        }
    }

    /// Whether what was read in these states counts. A session is its own fence; without one others may have changed the
    /// bytes on the mirror of a server that was put out and does not know it yet: the leader knows (rule 8).
    async fn is_current(&self, known: &Known, waiting: &Waiting<'_>) -> Result<bool, FsError> {
        if *self.core.session_state().borrow() == SessionState::Open || planted(Bug::BelievesWhoIsOut) {
            return Ok(true);
        }
        let newest = self.core.newest(waiting.deadline()).await.map_err(|failed| as_error(&failed))?;
        Ok(newest.pairs_version <= known.version)
    }

    /// The servers that may serve reads of a chunk: in sync, connected if any is, without `except`.
    pub(super) fn able(&self, known: &Known, place: ChunkPlace, except: &[ServerId]) -> Vec<ServerId> {
        let Some(pair) = known.pair(place.pair) else { return Vec::new() };
        let usable = |s: &ServerId| pair.serves(*s) && self.core.knows(*s) && !except.contains(s);
        let all: Vec<ServerId> = pair.members.iter().map(|m| m.server).filter(usable).collect();
        let here: Vec<ServerId> = all.iter().copied().filter(|s| self.core.attendance.is_here(*s)).collect();
        if here.is_empty() { all } else { here }
    }

    /// Whether an answer of `server`, asked when the pair was as in `pair`, still counts: bytes from a server that
    /// was evicted meanwhile may be older than what others have read.
    pub(super) fn still_serves(&self, pair: &Pair, server: ServerId) -> bool {
        let known = self.core.pairs.now();
        let life = |p: &Pair| p.member(server).map(|m| m.incarnation);
        known.pair(pair.id).is_some_and(|p| p.serves(server) && life(p) == life(pair))
    }
}
