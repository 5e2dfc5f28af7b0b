//! The admin service: looking in from outside. Status is answered from memory; everything that reads much does so on
//! other threads.

use crate::chunk::ChunkStore;
use crate::cluster::{Cluster, NodeProposer, Proposer};
use crate::leader::duties::Duties;
use crate::namespace::{invariants, snapshot};
use crate::replica::Replica;
use crate::serve::tally::Tally;
use crate::stop::Stop;
use raidfs_common::error::Rejection;
use raidfs_common::id::{ChunkId, Epoch, Incarnation, Ino, LogIndex, PairId, ServerId};
use raidfs_common::limits::SERVER_LEASE;
use raidfs_common::log::chain;
use raidfs_common::rpc::admin::{
    Accepting, AdminService, Counters, LostFile, NotAccepted, NotReplaced, ScrubPass, ServerStatus,
};
use raidfs_common::rpc::chunks::ChunkSummary;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tarpc::context::Context;
use tokio::sync::Semaphore;

const REACH_PATIENCE: Duration = Duration::from_secs(5);
/// Chunks of one page of an inventory; fewer where every byte is read.
const PAGE: usize = 1024;
const DEEP_PAGE: usize = 32;

/// The admin service of a server with names and chunks.
#[derive(Clone)]
pub struct AdminServer {
    /// This server.
    pub cluster: Arc<Cluster>,
    /// Agreement and the namespace.
    pub proposer: NodeProposer,
    /// The chunk side.
    pub replica: Arc<Replica>,
    /// Its chunks.
    pub chunks: Arc<dyn ChunkStore>,
    /// What the names side served.
    pub tally: Arc<Tally>,
    /// The leader's duties.
    pub duties: Arc<Duties<NodeProposer>>,
    /// A leader has said that this server's data directory is known.
    pub joined: Arc<AtomicBool>,
    /// Ends the server.
    pub stop: Arc<Stop>,
    /// Turns of the calls that read all there is, of all connections.
    pub heavy: Arc<Semaphore>,
}

impl AdminService for AdminServer {
    async fn status(self, _: Context) -> ServerStatus {
        let node = self.proposer.node.status();
        let seen = self.proposer.machine.seen();
        let replica = self.replica.status();
        let (queries, changes) = self.tally.so_far();
        let (pairs, session, inodes) =
            self.proposer.machine.with(|names| (names.pairs().to_vec(), names.session(), names.counts()));
        let lives = self.proposer.lives();
        let waits = |life: &Incarnation| life.life() == 0 && *life != Incarnation(0);
        let replacing = lives.into_iter().filter(|(_, life)| waits(life)).map(|(server, _)| server).collect();
        let lease = node.lease_from.is_some_and(|from| Instant::now() < from + SERVER_LEASE);
        ServerStatus {
            server: self.cluster.me,
            incarnation: self.cluster.incarnation,
            uptime_s: self.cluster.started.elapsed().as_secs(),
            term: node.term,
            leader: node.leader,
            quorum: lease && node.leader.is_some(),
            last_index: node.last,
            applied: seen.index,
            pairs,
            session,
            space: replica.space,
            inodes,
            held: replica.held,
            counters: Counters { queries, changes, ..replica.counters },
            resync: replica.resync,
            disk_error: replica.disk_error,
            heard_ms: self
                .proposer
                .node
                .silence()
                .into_iter()
                .map(|(id, ago)| (id, ago.map(|ago| ago.as_millis() as u64)))
                .collect(),
            scrub: replica.scrub,
            joined: self.joined.load(Ordering::Relaxed),
            replacing,
        }
    }

    async fn check_namespace(self, _: Context, at_least: LogIndex) -> Result<(LogIndex, u64, Vec<String>), Rejection> {
        let machine = self.proposer.machine;
        machine.reach(at_least, REACH_PATIENCE).await?;
        let turn = self.heavy.acquire_owned().await.map_err(|_| Rejection::Away)?;
        let check = move || {
            // It goes on though its caller has gone.
            let _turn = turn;
            let view = machine.flushed_view().map_err(|e| format!("cannot read names: {e}"))?;
            let read = || {
                let index = snapshot::applied(view.as_ref())?.index;
                Ok((index, snapshot::digest(view.as_ref())?, invariants::check(view.as_ref())?))
            };
            read().map_err(|fault| machine.cannot_read(&fault))
        };
        match tokio::task::spawn_blocking(check).await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => Ok((at_least, 0, vec![error])),
            Err(_) => Err(Rejection::Away),
        }
    }

    async fn inventory(
        self,
        _: Context,
        pair: PairId,
        after: Option<ChunkId>,
        deep: bool,
    ) -> Result<Vec<ChunkSummary>, Rejection> {
        if self.cluster.config.pair_of(self.cluster.me) != Some(pair) {
            return Err(Rejection::NotInCharge);
        }
        let chunks = self.chunks;
        let turn = if deep { self.heavy.acquire_owned().await.map(Some) } else { Ok(None) };
        let turn = turn.map_err(|_| Rejection::Away)?;
        let look = move || {
            let _turn = turn;
            let page = chunks.list(after, if deep { DEEP_PAGE } else { PAGE })?;
            let mut found = Vec::with_capacity(page.len());
            for chunk in page {
                // One that was removed meanwhile is not there.
                found.extend(chunks.summary(chunk, deep)?);
            }
            Ok::<_, crate::chunk::ChunkError>(found)
        };
        match tokio::task::spawn_blocking(look).await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => {
                tracing::warn!("cannot look through the chunks: {}", chain(&error));
                Err(Rejection::DiskFailed)
            }
            Err(_) => Err(Rejection::Away),
        }
    }

    async fn stop(self, _: Context) -> bool {
        self.stop.ask();
        true
    }

    async fn replace(self, _: Context, server: ServerId) -> Result<(), NotReplaced> {
        let duties = self.duties;
        let done = tokio::spawn(async move { duties.replace(server).await }).await;
        done.unwrap_or(Err(NotReplaced::NotAgreed))
    }

    async fn accept_loss(self, _: Context, pair: PairId, epoch: Epoch) -> Result<Accepting, NotAccepted> {
        let duties = self.duties;
        let done = tokio::spawn(async move { duties.accept_loss(pair, epoch).await }).await;
        done.unwrap_or(Err(NotAccepted::NotAgreed))
    }

    async fn marked_lost(self, _: Context, at_least: LogIndex, after: Option<Ino>) -> Result<Vec<LostFile>, Rejection> {
        let machine = self.proposer.machine;
        machine.reach(at_least, REACH_PATIENCE).await?;
        let look = move || machine.lost(after, PAGE);
        match tokio::task::spawn_blocking(look).await {
            Ok(Ok(rows)) => Ok(rows.into_iter().map(|(ino, ends)| LostFile { ino, ends }).collect()),
            // The names side has said why.
            Ok(Err(_)) | Err(_) => Err(Rejection::Away),
        }
    }

    async fn scrub(self, _: Context) -> Result<u64, Rejection> {
        self.replica.scrub_now()
    }

    async fn scrubbed(self, _: Context, number: u64) -> Result<(ScrubPass, Vec<ChunkId>), Rejection> {
        self.replica.scrubbed(number)
    }
}
