//! Chunk operations: changes to the primary, reads to either mirror, each retried through failures with its own
//! number, under an epoch never older than the newest one known.

use super::balance::Balance;
use super::connection::NoAnswer;
use super::core::Core;
use super::numbers::Numbers;
use super::pairs::Known;
use super::waiting::{Waiting, weigh};
use crate::vfs::cluster::ChunkAddress;
use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
use raidfs_common::error::{FsError, Rejection};
use raidfs_common::id::{Ino, ServerId, SessionId};
use raidfs_common::limits::OUTCOMES_KEPT_MAX;
use raidfs_common::pair::{ChunkPlace, Pair, place};
use raidfs_common::rpc::chunks::{Applied, ChangeId, ChunkChange, ChunkServiceClient, View};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// A single try of a read ends then.
const READ_TRY_MAX: Duration = Duration::from_secs(2);
/// A single try of a change ends then: the primary has evicted a stuck mirror, or was evicted, long before.
const CHANGE_TRY_MAX: Duration = Duration::from_secs(4);
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
    core: Arc<Core>,
    lanes: Vec<Lane>,
    balance: Mutex<Balance>,
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

/// A read that the balance counts as under way; abandoned when dropped unanswered.
struct Reading<'a> {
    balance: &'a Mutex<Balance>,
    server: ServerId,
    since: Instant,
    ended: bool,
}

impl Reading<'_> {
    fn answered(mut self) {
        self.ended = true;
        self.balance.lock().answered(self.server, self.since.elapsed());
    }

    fn failed(mut self) {
        self.ended = true;
        let mut balance = self.balance.lock();
        balance.abandoned(self.server);
        balance.suspect(self.server, Instant::now());
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.balance.lock().abandoned(self.server);
        }
    }
}

type ReadAnswer<'a> = (Reading<'a>, Result<Result<Bytes, Rejection>, NoAnswer>);

/// How a round of reading ended.
enum Round {
    Bytes(Bytes),
    Again,
}

impl Chunks {
    /// Nothing is under way.
    pub fn new(core: Arc<Core>) -> Arc<Chunks> {
        let lane = |_| Lane { numbers: Mutex::default(), room: Semaphore::new(CHANGES_MAX) };
        let lanes = core.config.pairs.iter().map(lane).collect();
        Arc::new(Chunks { core, lanes, balance: Mutex::default() })
    }

    fn place(&self, at: ChunkAddress) -> ChunkPlace {
        place(at.placement, at.chunk.index, self.core.config.pairs.len())
    }

    fn view(&self, pair: &Pair, place: ChunkPlace, ino: Ino) -> View {
        View { pair: pair.id, epoch: pair.epoch, at_least: self.core.needed([ino]), turn: place.turn }
    }

    /// Changes a chunk on both mirrors. Goes on in its own task when the caller stops waiting: a number that was sent
    /// is brought to its end.
    pub async fn change(self: &Arc<Self>, at: ChunkAddress, change: ChunkChange) -> Result<Applied, FsError> {
        let this = Arc::clone(self);
        let task = tokio::spawn(async move { this.change_here(at, change).await });
        task.await.unwrap_or(Err(FsError::Io))
    }

    async fn change_here(&self, at: ChunkAddress, change: ChunkChange) -> Result<Applied, FsError> {
        let place = self.place(at);
        let lane = &self.lanes[usize::from(place.pair.0)];
        let mut waiting = Waiting::new(&self.core);
        let room = tokio::time::timeout_at(waiting.deadline().into(), lane.room.acquire()).await;
        let Ok(Ok(_room)) = room else { return Err(FsError::Io) };
        let seq = lane.numbers.lock().take(1);
        let number = Number { lane, session: self.core.session, seq };
        loop {
            let known = waiting.known();
            if let Some(pair) = known.pair(place.pair)
                && let Some(primary) = pair.primary(place)
                && self.core.knows(primary)
                && !self.core.is_over()
            {
                let in_charge = |p: &Pair| p.primary(place) == Some(primary);
                tokio::select! {
                    answer = self.try_change(&waiting, pair, place, primary, number.id(), at, &change) => match answer {
                        Ok(Ok(applied)) => return Ok(applied),
                        Ok(Err(rejection)) => weigh(&self.core, place.pair, primary, &rejection)?,
                        Err(_) => {}
                    },
                    () = waiting.superseded(pair, primary, in_charge) => continue,
                }
            }
            waiting.pause().await?;
        }
    }

    #[allow(clippy::too_many_arguments, reason = "one request's parts, passed on once")]
    async fn try_change(
        &self,
        waiting: &Waiting<'_>,
        pair: &Pair,
        place: ChunkPlace,
        primary: ServerId,
        id: ChangeId,
        at: ChunkAddress,
        change: &ChunkChange,
    ) -> Result<Result<Applied, Rejection>, NoAnswer> {
        let bytes = if let ChunkChange::Write { data, .. } = change { data.0.len() } else { 0 };
        let link = self.core.link(primary);
        let until = waiting.deadline().min(Instant::now() + CHANGE_TRY_MAX);
        let _room = link.room(bytes, until).await?;
        let view = self.view(pair, place, at.chunk.ino);
        let change = change.clone();
        link.chunks(until, |c, context| async move { c.change(context, view, id, at.chunk, change).await }).await
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
                    Round::Bytes(bytes) => return Ok(bytes),
                    Round::Again => {}
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
                let ask = link.chunks(until, |c, context| async move { c.extents(context, view, at.chunk).await });
                tokio::select! {
                    answer = ask => match answer {
                        Ok(Ok(extents)) if self.still_serves(pair, server) => return Ok(extents),
                        Ok(Err(rejection)) => weigh(&self.core, place.pair, server, &rejection)?,
                        _ => {}
                    },
                    () = waiting.superseded(pair, server, |p| p.serves(server)) => continue,
                }
            }
            waiting.pause().await?;
        }
    }

    /// The servers that may serve reads of a chunk: in sync, connected if any is, without `except`.
    fn able(&self, known: &Known, place: ChunkPlace, except: &[ServerId]) -> Vec<ServerId> {
        let Some(pair) = known.pair(place.pair) else { return Vec::new() };
        let usable = |s: &ServerId| self.core.knows(*s) && !except.contains(s);
        let all: Vec<ServerId> = pair.in_sync().map(|m| m.server).filter(usable).collect();
        let here: Vec<ServerId> = all.iter().copied().filter(|s| self.core.attendance.is_here(*s)).collect();
        if here.is_empty() { all } else { here }
    }

    /// Whether an answer of `server`, asked when the pair was as in `pair`, still counts: bytes from a server that
    /// was evicted meanwhile may be older than what others have read.
    fn still_serves(&self, pair: &Pair, server: ServerId) -> bool {
        let known = self.core.pairs.now();
        let life = |p: &Pair| p.member(server).map(|m| m.incarnation);
        known.pair(pair.id).is_some_and(|p| p.serves(server) && life(p) == life(pair))
    }
}

/// One round of reading a chunk: one server, or two if the first is late.
struct Reader<'a> {
    chunks: &'a Chunks,
    at: ChunkAddress,
    place: ChunkPlace,
    pair: &'a Pair,
    offset: u32,
    length: u32,
}

impl<'a> Reader<'a> {
    async fn run(&self, waiting: &Waiting<'_>, damaged: &mut Vec<ServerId>) -> Result<Round, FsError> {
        let chunks = self.chunks;
        let mut tried: Vec<ServerId> = Vec::new();
        let mut under_way: FuturesUnordered<BoxFuture<'_, ReadAnswer<'_>>> = FuturesUnordered::new();
        let mut asked = Instant::now();
        loop {
            if under_way.is_empty() {
                match self.next(&tried, damaged) {
                    Some(server) => {
                        asked = Instant::now();
                        under_way.push(self.ask(server, waiting.deadline(), &mut tried));
                    }
                    None if self.all_damaged(damaged) => {
                        tracing::error!("chunk {} is damaged on every mirror in sync", self.at.chunk);
                        return Err(FsError::Io);
                    }
                    None => return Ok(Round::Again),
                }
            }
            let first = *tried.last().expect("somebody was asked");
            let late = chunks.balance.lock().late_after(first);
            tokio::select! {
                biased;
                Some((reading, answer)) = under_way.next() => {
                    if let Some(bytes) = self.judge(reading, answer, damaged)? {
                        return Ok(Round::Bytes(bytes));
                    }
                }
                () = waiting.superseded(self.pair, first, |p| p.serves(first)) => return Ok(Round::Again),
                () = tokio::time::sleep(late), if under_way.len() == 1 => {
                    if let Some(other) = self.other(asked, &tried, damaged) {
                        under_way.push(self.ask(other, waiting.deadline(), &mut tried));
                    }
                }
            }
        }
    }

    fn next(&self, tried: &[ServerId], damaged: &[ServerId]) -> Option<ServerId> {
        let except: Vec<ServerId> = tried.iter().chain(damaged).copied().collect();
        let able = self.chunks.able(&self.chunks.core.pairs.now(), self.place, &except);
        self.chunks.balance.lock().choose(self.at.chunk, &able, Instant::now())
    }

    /// The mirror to ask too, if the first is late and that is allowed: a server that has said nothing at all since
    /// then is as good as lost, and asking another is no hedge.
    fn other(&self, asked: Instant, tried: &[ServerId], damaged: &[ServerId]) -> Option<ServerId> {
        let except: Vec<ServerId> = tried.iter().chain(damaged).copied().collect();
        let able = self.chunks.able(&self.chunks.core.pairs.now(), self.place, &except);
        let other = able.first().copied()?;
        let first = *tried.last()?;
        let silent = self.chunks.core.link(first).heard() < asked;
        let mut balance = self.chunks.balance.lock();
        if silent {
            balance.suspect(first, Instant::now());
        }
        (silent || balance.may_hedge()).then(|| {
            balance.begin(other);
            other
        })
    }

    fn ask(&self, server: ServerId, deadline: Instant, tried: &mut Vec<ServerId>) -> BoxFuture<'a, ReadAnswer<'a>> {
        tried.push(server);
        let chunks = self.chunks;
        let reading = Reading { balance: &chunks.balance, server, since: Instant::now(), ended: false };
        let view = chunks.view(self.pair, self.place, self.at.chunk.ino);
        let (chunk, offset, length) = (self.at.chunk, self.offset, self.length);
        let until = deadline.min(Instant::now() + READ_TRY_MAX);
        Box::pin(async move {
            let link = chunks.core.link(server);
            let read =
                |c: ChunkServiceClient, context| async move { c.read(context, view, chunk, offset, length).await };
            let answer = match link.room(length as usize, until).await {
                Ok(_room) => link.chunks(until, read).await,
                Err(late) => Err(late),
            };
            (reading, answer.map(|result| result.map(|blob| blob.0)))
        })
    }

    /// The bytes, if this answer has them and still counts.
    fn judge(
        &self,
        reading: Reading<'_>,
        answer: Result<Result<Bytes, Rejection>, NoAnswer>,
        damaged: &mut Vec<ServerId>,
    ) -> Result<Option<Bytes>, FsError> {
        let server = reading.server;
        match answer {
            Ok(Ok(bytes)) => {
                reading.answered();
                if bytes.len() > self.length as usize {
                    tracing::error!("{server} answers a read of {} bytes with {}", self.length, bytes.len());
                    return Err(FsError::Io);
                }
                Ok(self.chunks.still_serves(self.pair, server).then_some(bytes))
            }
            Ok(Err(Rejection::Damaged)) => {
                tracing::warn!("the copy of chunk {} on {server} is damaged", self.at.chunk);
                damaged.push(server);
                Ok(None)
            }
            Ok(Err(rejection)) => {
                weigh(&self.chunks.core, self.place.pair, server, &rejection)?;
                Ok(None)
            }
            Err(_) => {
                reading.failed();
                Ok(None)
            }
        }
    }

    fn all_damaged(&self, damaged: &[ServerId]) -> bool {
        let known = self.chunks.core.pairs.now();
        let mut in_sync = known.pair(self.place.pair).into_iter().flat_map(|p| p.in_sync()).peekable();
        in_sync.peek().is_some() && in_sync.all(|m| damaged.contains(&m.server))
    }
}
