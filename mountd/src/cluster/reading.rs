//! One round of reading a chunk: from the mirror whose turn it is, and from the other too if that one is late, fails
//! or is damaged. First answer wins. Whether another round follows is for [`super::chunks`] to say.

use super::balance::Balance;
use super::chunks::Chunks;
use super::connection::NoAnswer;
use super::hedge::is_silent;
use super::waiting::{Waiting, weigh};
use crate::vfs::cluster::ChunkAddress;
use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
use raidfs_common::error::{FsError, Rejection};
use raidfs_common::id::ServerId;
use raidfs_common::pair::{ChunkPlace, Pair};
use raidfs_common::rpc::chunks::ChunkServiceClient;
use std::time::{Duration, Instant};

/// A single try of a read ends then.
pub const READ_TRY_MAX: Duration = Duration::from_secs(2);
/// A read that the balance counts as under way; abandoned when dropped unanswered.
pub(super) struct Reading<'a> {
    balance: &'a Mutex<Balance>,
    pub server: ServerId,
    since: Instant,
    ended: bool,
}

impl<'a> Reading<'a> {
    /// One that the balance counts already.
    pub fn begun(balance: &'a Mutex<Balance>, server: ServerId) -> Reading<'a> {
        Reading { balance, server, since: Instant::now(), ended: false }
    }

    fn answered(mut self) {
        self.ended = true;
        self.balance.lock().answered(self.server, self.since.elapsed());
    }

    /// The server did not answer.
    pub fn failed(mut self) {
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
pub enum Round {
    /// With the bytes.
    Bytes(Bytes),
    /// Nobody could serve it; something may have changed by now.
    Again,
}

/// One round of reading a chunk: one server, or two if the first is late.
pub struct Reader<'a> {
    /// Whose read it is.
    pub chunks: &'a Chunks,
    /// Which chunk,
    pub at: ChunkAddress,
    /// which lies there,
    pub place: ChunkPlace,
    /// on this pair, as it was known when the round began.
    pub pair: &'a Pair,
    /// From this byte,
    pub offset: u32,
    /// so many.
    pub length: u32,
}

impl<'a> Reader<'a> {
    /// Reads. Servers whose copy is damaged are added to `damaged`, and not asked again.
    pub async fn run(&self, waiting: &Waiting<'_>, damaged: &mut Vec<ServerId>) -> Result<Round, FsError> {
        let chunks = self.chunks;
        let mut tried: Vec<ServerId> = Vec::new();
        let mut under_way: FuturesUnordered<BoxFuture<'_, ReadAnswer<'_>>> = FuturesUnordered::new();
        // Who was asked and has not answered.
        let mut awaited: Vec<ServerId> = Vec::new();
        let mut asked = Instant::now();
        loop {
            if under_way.is_empty() {
                match self.next(&tried, damaged) {
                    Some(server) => {
                        asked = Instant::now();
                        awaited.push(server);
                        under_way.push(self.ask(server, waiting.deadline(), &mut tried));
                    }
                    None if self.all_damaged(damaged) => {
                        tracing::error!("chunk {} is damaged on every mirror in sync", self.at.chunk);
                        return Err(FsError::Io);
                    }
                    None => return Ok(Round::Again),
                }
            }
            let last = *awaited.last().expect("somebody is under way");
            let late = chunks.balance.lock().late_after(last);
            tokio::select! {
                biased;
                Some((reading, answer)) = under_way.next() => {
                    awaited.retain(|s| *s != reading.server);
                    if let Some(bytes) = self.judge(reading, answer, damaged)? {
                        return Ok(Round::Bytes(bytes));
                    }
                }
                () = waiting.superseded(self.pair, last, |p| p.serves(last)) => return Ok(Round::Again),
                () = tokio::time::sleep(late), if under_way.len() == 1 => {
                    if let Some(other) = self.other(asked, last, &tried, damaged) {
                        awaited.push(other);
                        under_way.push(self.ask(other, waiting.deadline(), &mut tried));
                    } else if tried.len() > 1 && self.is_silent(asked, last) {
                        // The others could not serve when they were asked, and may by now; this one says nothing.
                        return Ok(Round::Again);
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

    /// The mirror to ask too, if the first is late and that is allowed: a server that says nothing at all any more is as
    /// good as lost, and asking another is no hedge.
    fn other(&self, asked: Instant, first: ServerId, tried: &[ServerId], damaged: &[ServerId]) -> Option<ServerId> {
        let except: Vec<ServerId> = tried.iter().chain(damaged).copied().collect();
        let able = self.chunks.able(&self.chunks.core.pairs.now(), self.place, &except);
        let other = able.first().copied()?;
        let silent = self.is_silent(asked, first);
        let mut balance = self.chunks.balance.lock();
        if silent {
            balance.doubt(first, Instant::now());
        }
        (silent || balance.may_hedge()).then(|| {
            balance.begin(other);
            other
        })
    }

    fn is_silent(&self, asked: Instant, server: ServerId) -> bool {
        let quiet = self.chunks.balance.lock().quiet_after(server);
        is_silent(asked, self.chunks.core.link(server).heard(), quiet, Instant::now())
    }

    fn ask(&self, server: ServerId, deadline: Instant, tried: &mut Vec<ServerId>) -> BoxFuture<'a, ReadAnswer<'a>> {
        tried.push(server);
        let chunks = self.chunks;
        let reading = Reading::begun(&chunks.balance, server);
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
                // It may know that the one that is still awaited serves no more.
                self.chunks.core.pairs.want();
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
