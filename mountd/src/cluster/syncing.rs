//! Making chunks durable: on every in-sync server of their pairs, under one epoch that is still the newest known
//! when all have answered. Syncs that concern one server and come together go as one request.

use super::connection::NoAnswer;
use super::core::Core;
use super::gather::Gather;
use super::waiting::{Waiting, weigh};
use crate::vfs::cluster::ChunkAddress;
use futures::future::{join_all, try_join_all};
use raidfs_common::error::{FsError, Rejection};
use raidfs_common::id::{ChunkId, Epoch, Ino, PairId, ServerId};
use raidfs_common::pair::{CopyState, Pair, place};
use raidfs_common::plant::{Bug, planted};
use raidfs_common::rpc::chunks::View;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Chunks of one request at most; a larger group goes in several.
const CHUNKS_MAX: usize = 16_384;
/// A single try ends then; a disk may have much to write.
const TRY_MAX: Duration = Duration::from_secs(10);

/// What a server said to a sync, and the epoch that it was asked under.
type Said = (Epoch, Result<Result<(), Rejection>, NoAnswer>);

/// What is to be synced on a pair.
#[derive(Clone)]
enum What {
    /// These chunks.
    Chunks(Vec<ChunkId>),
    /// All of a file, or of all files.
    Whole(Option<Ino>),
}

/// Syncs of one client.
pub struct Syncs {
    core: Arc<Core>,
    servers: BTreeMap<ServerId, Arc<Gather<Vec<ChunkId>, Said>>>,
}

impl Syncs {
    /// Nothing is under way.
    pub fn new(core: Arc<Core>) -> Syncs {
        let servers = core.config.servers().map(|server| (server, Arc::default())).collect();
        Syncs { core, servers }
    }

    /// Makes what was acknowledged of these chunks durable on every in-sync mirror.
    pub async fn sync(&self, chunks: Vec<ChunkAddress>) -> Result<(), FsError> {
        let mut by_pair: BTreeMap<PairId, Vec<ChunkId>> = BTreeMap::new();
        for at in chunks {
            let place = place(at.placement, at.chunk.index, self.core.config.pairs.len());
            by_pair.entry(place.pair).or_default().push(at.chunk);
        }
        let pairs = by_pair.into_iter().map(|(pair, chunks)| self.sync_pair(pair, What::Chunks(chunks)));
        try_join_all(pairs).await.map(|_| ())
    }

    /// The same for all chunks of a file, or (None) of all files: those of all pairs.
    pub async fn sync_whole(&self, file: Option<Ino>) -> Result<(), FsError> {
        let pairs =
            (0..self.core.config.pairs.len() as u16).map(|pair| self.sync_pair(PairId(pair), What::Whole(file)));
        try_join_all(pairs).await.map(|_| ())
    }

    async fn sync_pair(&self, id: PairId, what: What) -> Result<(), FsError> {
        let mut waiting = Waiting::new(&self.core);
        loop {
            let known = waiting.known();
            if let Some(pair) = known.pair(id)
                && pair.in_sync().next().is_some()
                && !self.core.is_over()
            {
                tokio::select! {
                    done = self.try_pair(pair, &what) => if done? {
                        return Ok(());
                    },
                    () = self.epoch_after(pair) => continue,
                    () = tokio::time::sleep_until(waiting.deadline().into()) => return Err(FsError::Io),
                }
            }
            waiting.pause().await?;
        }
    }

    /// Asks every in-sync server; true: all have it under `pair`'s epoch, which is still the newest known.
    async fn try_pair(&self, pair: &Pair, what: &What) -> Result<bool, FsError> {
        let mut servers: Vec<ServerId> = pair.in_sync().map(|m| m.server).filter(|s| self.core.knows(*s)).collect();
        if planted(Bug::SyncsOneMirror) {
            servers.truncate(1);
        }
        let answers = join_all(servers.iter().map(|server| self.ask(pair.id, *server, what.clone()))).await;
        let mut all = true;
        for (server, answer) in servers.iter().zip(answers) {
            let (epoch, said) = answer.ok_or(FsError::Io)?;
            if let Ok(Err(rejection)) = &said {
                weigh(&self.core, pair.id, *server, rejection)?;
            }
            all &= epoch == pair.epoch && matches!(said, Ok(Ok(())));
        }
        let newest = self.core.pairs.now().pair(pair.id).map(|p| p.epoch);
        Ok(all && newest == Some(pair.epoch))
    }

    async fn ask(&self, pair: PairId, server: ServerId, what: What) -> Option<Said> {
        let core = Arc::clone(&self.core);
        let chunks = match what {
            What::Chunks(chunks) => chunks,
            What::Whole(file) => return Some(send_whole(core, pair, server, file).await),
        };
        let run = move |groups: Vec<Vec<ChunkId>>| {
            let chunks: BTreeSet<ChunkId> = groups.into_iter().flatten().collect();
            send(Arc::clone(&core), pair, server, chunks.into_iter().collect())
        };
        self.servers.get(&server)?.submit(chunks, run).await
    }

    async fn epoch_after(&self, pair: &Pair) {
        let mut states = self.core.pairs.subscribe();
        let newer = |p: &Pair| {
            // A mirror that only begins to catch up changes nothing for what is asked now, but a member that is in
            // sync no more, or newly so, does.
            p.epoch > pair.epoch && (0..2).any(|i| serving(p, i) != serving(pair, i))
        };
        let _ = states.wait_for(|known| known.pair(pair.id).is_some_and(newer)).await;
    }
}

fn serving(pair: &Pair, member: usize) -> Option<(ServerId, u64)> {
    let member = &pair.members[member];
    (member.state == CopyState::InSync).then_some((member.server, member.incarnation.0))
}

/// One request for all chunks of a file, or of all files.
async fn send_whole(core: Arc<Core>, pair: PairId, server: ServerId, file: Option<Ino>) -> Said {
    let epoch = core.pairs.now().pair(pair).map_or(Epoch(0), |p| p.epoch);
    let view = View { pair, epoch, at_least: core.needed(file), turn: 0 };
    let until = Instant::now() + TRY_MAX.min(core.config.io_timeout);
    let ask = core.link(server).chunks(until, |c, context| async move { c.sync_whole(context, view, file).await });
    (epoch, ask.await)
}

/// One group's request, under the newest epoch known when it leaves.
async fn send(core: Arc<Core>, pair: PairId, server: ServerId, chunks: Vec<ChunkId>) -> Said {
    let epoch = core.pairs.now().pair(pair).map_or(Epoch(0), |p| p.epoch);
    let view = View { pair, epoch, at_least: core.needed(chunks.iter().map(|c| c.ino)), turn: 0 };
    for part in chunks.chunks(CHUNKS_MAX) {
        let part = part.to_vec();
        let until = Instant::now() + TRY_MAX.min(core.config.io_timeout);
        let ask = core.link(server).chunks(until, |c, context| async move { c.sync(context, view, part).await });
        match ask.await {
            Ok(Ok(())) => {}
            other => return (epoch, other),
        }
    }
    (epoch, Ok(Ok(())))
}
