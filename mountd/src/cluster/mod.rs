//! The cluster over the network: [`ClusterClient`] implements [`crate::vfs::cluster::Cluster`], and tools ask through
//! it without a session.
//!
//! ```text
//! session, changes ------> errand --> core --> connection --> events, ways
//! chunks, copying, reading, syncing -> waiting --^          ^
//! watching -> pairs -------------------------------+
//! decided without I/O: router, retry, balance, hedge, numbers, needs
//! ```
//!
//! Runs on the tokio runtime of whoever connects.

pub mod balance;
mod changes;
mod chunks;
mod connection;
mod copying;
mod core;
mod errand;
pub mod events;
mod gather;
pub mod hedge;
pub mod holder;
mod needs;
pub mod numbers;
mod pairs;
mod reading;
pub mod retry;
pub mod router;
mod session;
pub mod survey;
mod syncing;
mod waiting;
mod watching;
mod ways;

pub use self::core::SessionState;
pub use self::events::ServerEvent;
pub use self::session::OpenError;

use self::changes::{Outbox, as_error};
use self::chunks::Chunks;
use self::core::Core;
use self::gather::Gather;
use self::holder::Holder;
use self::router::Aim;
use self::session::InoRange;
use self::syncing::Syncs;
use crate::vfs::cluster::{Changed, ChunkAddress, Cluster, LossMark, Part, Source};
use bytes::Bytes;
use futures::future::join_all;
use parking_lot::Mutex;
use raidfs_common::config::Config;
use raidfs_common::error::{FsError, Rejection};
use raidfs_common::id::{Ino, LogIndex, PairId, ServerId, SessionId};
use raidfs_common::namespace::{Change, Outcome, Query, Reply};
use raidfs_common::pair::Pair;
use raidfs_common::plant::{Bug, planted};
use raidfs_common::rpc::chunks::ChunkChange;
use raidfs_common::rpc::names::{NamesServiceClient, Seen};
use raidfs_common::time::Time;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;

/// How long a start waits for servers before it says which are missing and goes on with the others.
const FIRST_LOOK: Duration = Duration::from_millis(500);

/// A client of the cluster: with a mount session, or only looking.
pub struct ClusterClient {
    core: Arc<Core>,
    outbox: Arc<Outbox>,
    chunks: Arc<Chunks>,
    syncs: Syncs,
    inos: OnceLock<Arc<InoRange>>,
    barriers: Arc<Gather<LogIndex, Result<LogIndex, FsError>>>,
    durable: AtomicU64,
    tasks: Mutex<JoinSet<()>>,
}

impl ClusterClient {
    /// A client with a mount session: [`ClusterClient::observe`], then [`ClusterClient::open`]. Starts with servers
    /// missing, and logs which; needs only a quorum.
    pub async fn connect(config: &Config, holder: String, takeover: bool) -> Result<Arc<ClusterClient>, OpenError> {
        let client = ClusterClient::observe(config).await;
        for (server, why) in client.missing() {
            tracing::warn!("{server} is not reached: {why}");
        }
        client.open(&holder, takeover).await?;
        Ok(client)
    }

    /// Looks at the cluster without a session: questions and reads only, changes are refused. Returns once it is known
    /// of every server whether it is there, or soon.
    pub async fn observe(config: &Config) -> Arc<ClusterClient> {
        Arc::new(ClusterClient::start(config, session::new_session_id()).await)
    }

    /// Opens the mount session. `holder` says who we are to others (see [`holder::Holder`]); `takeover` ends another
    /// session that is open. One whose process is certainly gone is ended without being asked to.
    pub async fn open(&self, holder: &str, takeover: bool) -> Result<(), OpenError> {
        // Of another cluster, or another version: waiting for a quorum would change nothing.
        if self.core.links.values().all(|link| link.is_refused()) {
            return Err(OpenError::NoQuorum { missing: self.missing() });
        }
        let inos = match session::open(&self.core, &self.outbox, holder.to_owned(), takeover).await {
            Err(OpenError::Busy { holder: other }) if Holder::parse(&other).is_some_and(|other| other.is_gone()) => {
                tracing::info!("{other} is gone: its mount session is ended");
                session::open(&self.core, &self.outbox, holder.to_owned(), true).await?
            }
            other => other?,
        };
        self.core.links.values().for_each(|link| link.warm_up());
        if self.inos.set(Arc::new(inos)).is_ok() {
            self.tasks.lock().spawn(session::keep_alive(Arc::clone(&self.core)));
        }
        Ok(())
    }

    async fn start(config: &Config, session: SessionId) -> ClusterClient {
        let core = Core::new(config, session, session::random());
        let deadline = Instant::now() + FIRST_LOOK;
        let mut tasks = JoinSet::new();
        watching::start(&core, &mut tasks);
        join_all(core.links.values().map(|link| link.reach(deadline))).await;
        ClusterClient {
            outbox: Outbox::new(Arc::clone(&core)),
            chunks: Chunks::new(Arc::clone(&core)),
            syncs: Syncs::new(Arc::clone(&core)),
            inos: OnceLock::new(),
            barriers: Arc::default(),
            durable: AtomicU64::new(0),
            tasks: Mutex::new(tasks),
            core,
        }
    }

    /// Ends the session (if there is one) and all connections. What is under way is not waited for: flush first.
    pub async fn close(&self) {
        session::end(&self.core, &self.outbox).await;
        self.core.set_session(SessionState::Closed);
        self.tasks.lock().abort_all();
        self.core.links.values().for_each(|link| link.close());
    }

    /// How the session stands. Once it is [`SessionState::Lost`] every operation fails: whoever mounts should end.
    pub fn session_state(&self) -> watch::Receiver<SessionState> {
        self.core.session_state()
    }

    /// The session's number, whether it is open or not.
    pub fn session(&self) -> SessionId {
        self.core.session
    }

    /// Connections made, lost and made again, from now on.
    pub fn events(&self) -> broadcast::Receiver<ServerEvent> {
        self.core.attendance.subscribe()
    }

    /// Whether a server is connected at the moment.
    pub fn is_connected(&self, server: ServerId) -> bool {
        self.core.attendance.is_here(server)
    }

    /// The servers that are not connected, and why.
    pub fn missing(&self) -> Vec<(ServerId, String)> {
        session::missing(&self.core)
    }

    /// The pairs' states as they are known here; empty before the first server has told.
    pub fn pairs(&self) -> Vec<Pair> {
        self.core.pairs.now().pairs.clone()
    }

    /// Learns how far the cluster has come. True: whatever was acknowledged to anybody before this is seen by what is
    /// asked afterwards; false: no leader answered, and that holds only if some server that did knows it. A mount need
    /// not; it is for looking at what others change.
    pub async fn catch_up(&self) -> bool {
        watching::catch_up(&self.core).await
    }

    /// The configuration that this client was made with.
    pub fn config(&self) -> &Config {
        &self.core.config
    }
}

impl Drop for ClusterClient {
    fn drop(&mut self) {
        self.core.links.values().for_each(|link| link.close());
    }
}

impl Cluster for ClusterClient {
    async fn change(&self, changes: Vec<(Time, Change)>) -> Vec<Outcome> {
        if self.inos.get().is_none() {
            return vec![Err(FsError::ReadOnly); changes.len()];
        }
        self.outbox.submit(changes).await
    }

    async fn ask(&self, query: Query) -> Reply {
        if self.core.is_over() {
            return Err(FsError::Io);
        }
        let at_least = self.core.seen();
        let send = move |client: NamesServiceClient, context| {
            let query = query.clone();
            async move {
                let answer = client.query(context, at_least, query).await?;
                // A server that answers from before what we have seen is treated like one that says so.
                Ok(answer.and_then(|(seen, reply)| {
                    let is_new = seen.index >= at_least || planted(Bug::AnswersFromPast);
                    if is_new { Ok((seen, reply)) } else { Err(Rejection::Behind { needed: at_least }) }
                }))
            }
        };
        self.core.obtain(Aim::Any, self.core.deadline(), send).await.unwrap_or_else(|failed| Err(as_error(&failed)))
    }

    async fn new_ino(&self) -> Result<Ino, FsError> {
        match self.inos.get() {
            Some(inos) => inos.take(&self.outbox, self.core.deadline()).await,
            None => Err(FsError::ReadOnly),
        }
    }

    fn pair_of(&self, at: ChunkAddress) -> PairId {
        self.chunks.place(at).pair
    }

    async fn change_chunk(&self, at: ChunkAddress, change: ChunkChange) -> Result<Changed, FsError> {
        if self.inos.get().is_none() {
            return Err(FsError::ReadOnly);
        }
        self.chunks.change(at, change).await
    }

    async fn copy_chunk(&self, at: ChunkAddress, part: Part, from: Source) -> Result<Changed, FsError> {
        if self.inos.get().is_none() {
            return Err(FsError::ReadOnly);
        }
        self.chunks.copy(at, part, from).await
    }

    async fn read_chunk(&self, at: ChunkAddress, offset: u32, length: u32) -> Result<Bytes, FsError> {
        self.chunks.read(at, offset, length).await
    }

    async fn sync_chunks(&self, chunks: Vec<ChunkAddress>) -> Result<(), FsError> {
        self.syncs.sync(chunks).await
    }

    async fn sync_whole(&self, file: Option<Ino>) -> Result<(), FsError> {
        self.syncs.sync_whole(file).await
    }

    fn loss_mark(&self) -> LossMark {
        LossMark(self.core.pairs.now().losses.len() as u32)
    }

    fn lost_since(&self, mark: LossMark, at: ChunkAddress) -> bool {
        let pair = self.pair_of(at);
        self.core.pairs.now().losses.iter().skip(mark.0 as usize).any(|lost| *lost == pair)
    }

    async fn loss_after(&self, mark: LossMark) {
        // The sender lives as long as the core that we hold.
        let _ = self.core.pairs.subscribe().wait_for(|known| known.losses.len() > mark.0 as usize).await;
    }

    async fn extents(&self, at: ChunkAddress) -> Result<(u32, Vec<(u16, u16)>), FsError> {
        self.chunks.extents(at).await
    }

    async fn next_chunk(&self, from: ChunkAddress) -> Result<Option<u32>, FsError> {
        self.chunks.next_chunk(from).await
    }

    async fn barrier(&self) -> Result<(), FsError> {
        let needed = self.outbox.acknowledged();
        if self.durable.load(Ordering::Acquire) >= needed.0 {
            return Ok(());
        }
        let core = Arc::clone(&self.core);
        let run = move |wanted: Vec<LogIndex>| barrier(Arc::clone(&core), wanted.into_iter().max().unwrap_or_default());
        let durable = self.barriers.submit(needed, run).await.unwrap_or(Err(FsError::Io))?;
        self.durable.fetch_max(durable.0, Ordering::AcqRel);
        Ok(())
    }
}

/// Has the log durable up to `index` on a quorum.
async fn barrier(core: Arc<Core>, index: LogIndex) -> Result<LogIndex, FsError> {
    let session = core.session;
    let send = move |client: NamesServiceClient, context| async move {
        let answer = client.barrier(context, session, index).await?;
        Ok(answer.map(|()| (Seen::default(), ())))
    };
    let done = core.obtain(Aim::Leader, core.deadline(), send).await;
    done.map(|()| index).map_err(|failed| as_error(&failed))
}

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;
