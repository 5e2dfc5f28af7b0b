//! One try of a copy that the servers make: the primary of the chunk that is written is told where the bytes are. It reads
//! them itself if it can, else from the mirror whose turn it is. Whether another try follows is for [`super::chunks`] to say.

use super::chunks::{Answer, CHANGE_TRY_MAX, Chunks, Order};
use super::connection::NoAnswer;
use super::pairs::Known;
use super::reading::Reading;
use super::waiting::{Waiting, weigh};
use crate::vfs::cluster::{Part, Source};
use raidfs_common::error::{FsError, Rejection};
use raidfs_common::id::ServerId;
use raidfs_common::pair::Pair;
use raidfs_common::rpc::chunks::{ChunkServiceClient, Copied, CopySource};
use std::time::{Duration, Instant};

/// A server reads the bytes of a copy within a second, or gives it up; then it is a change like any other.
const SERVERS_TAKE_MAX: Duration = Duration::from_secs(2);

/// After so many tries the servers do not reach each other.
const UNREACHED_MAX: usize = 4;

/// What tries of one copy have found out about its source.
#[derive(Debug, Default)]
pub(super) struct Sources {
    /// Servers whose copy of it is damaged: they are not asked again.
    damaged: Vec<ServerId>,
    /// Those that the primary did not reach, once for each time; others are asked first.
    unreached: Vec<ServerId>,
}

impl Chunks {
    /// Tries once; `sources` is what earlier tries have found.
    pub(super) async fn try_copy(
        &self,
        waiting: &Waiting<'_>,
        known: &Known,
        order: Order,
        (part, source): (Part, Source),
        sources: &mut Sources,
    ) -> Result<Answer, NoAnswer> {
        let place = self.place(source.at);
        let left = waiting.deadline().saturating_duration_since(Instant::now());
        if left < SERVERS_TAKE_MAX.min(self.core.config.io_timeout / 2) {
            // It might be made when we are not there any more to wait for it.
            return Ok(Answer::Source(Ok(())));
        }
        let others: Vec<ServerId> = sources.damaged.iter().chain(&sources.unreached).copied().collect();
        let mut able = self.able(known, place, &others);
        if able.is_empty() {
            able = self.able(known, place, &sources.damaged);
        }
        let Some(pair) = known.pair(place.pair) else { return Ok(Answer::Source(Ok(()))) };
        if able.is_empty() {
            let all = !sources.damaged.is_empty() && pair.in_sync().all(|m| sources.damaged.contains(&m.server));
            if all {
                tracing::error!("chunk {} is damaged on every mirror in sync: it cannot be copied", source.at.chunk);
            }
            return Ok(Answer::Source(if all { Err(FsError::Io) } else { Ok(()) }));
        }
        let reading = self.reading(source, &able, order.primary);
        let server = reading.server;
        let view = self.view(pair, place, source.at.chunk.ino);
        let from = CopySource { server, view, chunk: source.at.chunk, offset: source.offset };
        let until = waiting.deadline().min(Instant::now() + CHANGE_TRY_MAX);
        let Order { view, primary, id, chunk } = order;
        let copy = move |c: ChunkServiceClient, context| async move {
            c.copy(context, view, id, chunk, part.offset, part.length, from).await
        };
        let asked = self.core.link(primary).chunks(until, copy);
        // Whoever serves the source no more may answer late: another is asked at once.
        let answer = tokio::select! {
            answer = asked => answer?,
            () = waiting.superseded(pair, server, |p: &Pair| p.serves(server)) => return Ok(Answer::Source(Ok(()))),
        };
        let refused = match answer {
            Ok(Copied::Made(applied)) => return Ok(Answer::Primary(Ok(applied))),
            Err(rejection) => return Ok(Answer::Primary(Err(rejection))),
            Ok(Copied::Unread(refused)) => refused,
        };
        Ok(Answer::Source(match refused {
            Some(Rejection::Damaged) => {
                tracing::warn!("the copy of chunk {} on {server} is damaged", source.at.chunk);
                sources.damaged.push(server);
                Ok(())
            }
            Some(rejection) => weigh(&self.core, place.pair, server, &rejection),
            // Whom we reach ourselves is no server to be suspected.
            None if self.core.attendance.is_here(server) => {
                sources.unreached.push(server);
                if sources.unreached.len() < UNREACHED_MAX { Ok(()) } else { Err(FsError::NotSupported) }
            }
            None => {
                reading.failed();
                Ok(())
            }
        }))
    }

    /// The server that a copy's bytes are to be read from, of those that are able to: the primary itself, which
    /// takes nobody's time but its own, or the one whose turn it is.
    fn reading(&self, source: Source, able: &[ServerId], primary: ServerId) -> Reading<'_> {
        let mut balance = self.balance.lock();
        let server = match able.contains(&primary) {
            true => {
                balance.begin(primary);
                primary
            }
            false => balance.choose(source.at.chunk, able, Instant::now()).unwrap_or(able[0]),
        };
        drop(balance);
        Reading::begun(&self.balance, server)
    }
}
