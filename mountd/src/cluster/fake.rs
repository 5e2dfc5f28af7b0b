//! Scripted servers for tests: real tarpc services on loopback ports over one shared world that a test changes while
//! they run. Not a model of the namespace: they keep what was sent, answer each number once, and obey the script.

use bytes::Bytes;
use futures::StreamExt;
use parking_lot::Mutex;
use raidfs_common::codec::Blob;
use raidfs_common::config::{Config, Durability};
use raidfs_common::error::{FsError, Rejection};
use raidfs_common::id::{ChunkId, Epoch, Incarnation, Ino, LogIndex, PairId, ServerId, SessionId, Term};
use raidfs_common::namespace::{Answer, Change, Done, Outcome, Query, Reply, Request};
use raidfs_common::pair::{CopyState, Member, Pair, Space};
use raidfs_common::rpc::admin::{AdminServiceRequest, AdminServiceResponse, Counters, ServerStatus};
use raidfs_common::rpc::chunks::{
    Applied, ChangeId, ChunkChange, ChunkServiceRequest, ChunkServiceResponse, Copied, CopySource, View,
};
use raidfs_common::rpc::names::{Changed, NamesServiceRequest, NamesServiceResponse, Seen};
use raidfs_common::rpc::{Service, Welcome};
use raidfs_common::wire::{self, Wire};
use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tarpc::ServerError;
use tarpc::context::Context;
use tarpc::server::{BaseChannel, Channel, Serve};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// How a server misbehaves.
#[derive(Clone, Debug, Default)]
pub struct Mood {
    /// Never answers anything, like a stopped process.
    pub hangs: bool,
    /// Chunk reads take this long.
    pub read_delay: Duration,
    /// Chunk reads find damage.
    pub damaged: bool,
    /// Makes changes, and keeps the answers for itself.
    pub swallows_answers: bool,
    /// What the next requests get instead of an answer, names and chunks alike; the first first.
    pub rejections: Vec<Rejection>,
}

/// A server that was put out and does not know it: it serves on what was then.
pub struct LeftBehind {
    pub server: ServerId,
    pub pairs: Vec<Pair>,
    pub chunks: BTreeMap<ChunkId, Vec<u8>>,
}

/// What all fake servers share.
pub struct World {
    pub left_behind: Option<LeftBehind>,
    /// How often the leader was asked what is newest. Before that nobody tells of what a server that was left behind does
    /// not know.
    pub newest_asked: u64,
    pub leader: Option<ServerId>,
    pub index: u64,
    /// What each server has applied.
    pub applied: BTreeMap<ServerId, u64>,
    pub pairs: Vec<Pair>,
    pub moods: BTreeMap<ServerId, Mood>,
    /// Each change that was made, in order.
    pub made: Vec<Request>,
    /// Each request for changes that arrived, with its server.
    pub arrived: Vec<(ServerId, Vec<Request>)>,
    pub outcomes: BTreeMap<(SessionId, u64), Outcome>,
    pub session: Option<SessionId>,
    pub holder: String,
    pub next_ino: u64,
    /// Questions (other than about the pairs) served, by server, with the index that each was answered from.
    pub answered: Vec<(ServerId, LogIndex)>,
    pub chunks: BTreeMap<ChunkId, Vec<u8>>,
    pub chunk_changes: Vec<(ServerId, View, ChangeId)>,
    pub chunk_made: BTreeSet<(SessionId, PairId, u64)>,
    pub reads: Vec<ServerId>,
    /// Who copied, and read from whom.
    pub copies: Vec<(ServerId, ServerId)>,
    pub syncs: Vec<(ServerId, Epoch, Vec<ChunkId>)>,
    pub barriers: Vec<LogIndex>,
    pub connections: usize,
}

impl World {
    /// The pairs' states, as everybody tells them.
    fn told(&self) -> &Vec<Pair> {
        let secret = self.left_behind.as_ref().filter(|_| self.newest_asked == 0);
        secret.map_or(&self.pairs, |left| &left.pairs)
    }

    fn version(&self) -> u64 {
        self.told().iter().map(|p| p.epoch.0).sum()
    }

    /// Evicts a server that does not hear of it.
    pub fn leave_behind(&mut self, server: ServerId) {
        self.left_behind = Some(LeftBehind { server, pairs: self.pairs.clone(), chunks: self.chunks.clone() });
        self.evict(server);
    }

    fn seen(&self, server: ServerId) -> Seen {
        Seen { index: LogIndex(self.applied[&server]), pairs_version: self.version() }
    }

    /// Evicts a server, as the leader would.
    pub fn evict(&mut self, server: ServerId) {
        for pair in &mut self.pairs {
            let epoch = &mut pair.epoch.0;
            for member in pair.members.iter_mut().filter(|m| m.server == server) {
                member.state = CopyState::Stale;
                *epoch += 1;
            }
        }
    }

    /// All servers have applied everything.
    pub fn catch_up(&mut self) {
        self.applied.values_mut().for_each(|applied| *applied = self.index);
    }

    pub fn mood(&mut self, server: u16) -> &mut Mood {
        self.moods.entry(ServerId(server)).or_default()
    }

    fn make(&mut self, request: &Request) -> Outcome {
        let key = (request.session, request.seq);
        if let Some(outcome) = self.outcomes.get(&key) {
            return outcome.clone();
        }
        self.index += 1;
        self.made.push(request.clone());
        let outcome = match &request.change {
            Change::OpenSession { takeover, .. } if self.session.is_some() && !takeover => Err(FsError::Busy),
            Change::OpenSession { .. } | Change::GrantInos => {
                if let Change::OpenSession { holder, .. } = &request.change {
                    self.holder = holder.clone();
                }
                self.session = Some(request.session);
                let from = self.next_ino;
                self.next_ino += 1000;
                Ok(Done::Session { from: Ino(from), to: Ino(self.next_ino) })
            }
            Change::EndSession { .. } => {
                self.session = None;
                Ok(Done::Nothing)
            }
            _ => Ok(Done::Nothing),
        };
        self.outcomes.insert(key, outcome.clone());
        outcome
    }
}

#[derive(Clone)]
struct Served {
    server: ServerId,
    cluster: Arc<Inner>,
}

struct Inner {
    world: Mutex<World>,
    news: watch::Sender<u64>,
}

impl Served {
    /// What stands in the way of an answer.
    async fn mood(&self) -> Result<Mood, Rejection> {
        let mood = {
            let mut world = self.cluster.world.lock();
            let mood = world.moods.entry(self.server).or_default();
            let copy = mood.clone();
            if !mood.rejections.is_empty() {
                return Err(mood.rejections.remove(0));
            }
            copy
        };
        if mood.hangs {
            pending::<()>().await;
        }
        Ok(mood)
    }

    fn leads(&self) -> Result<(), Rejection> {
        let leader = self.cluster.world.lock().leader;
        if leader == Some(self.server) { Ok(()) } else { Err(Rejection::NotLeader { leader }) }
    }

    fn check(&self, view: View, primary: bool) -> Result<(), Rejection> {
        let world = self.cluster.world.lock();
        let left = world.left_behind.as_ref().filter(|left| left.server == self.server);
        let pair = &left.map_or(&world.pairs, |left| &left.pairs)[usize::from(view.pair.0)];
        if pair.epoch != view.epoch {
            return Err(Rejection::WrongEpoch { pair: view.pair, current: pair.epoch });
        }
        let place = raidfs_common::pair::ChunkPlace { pair: view.pair, turn: view.turn };
        let in_charge = if primary { pair.primary(place) == Some(self.server) } else { pair.serves(self.server) };
        if in_charge { Ok(()) } else { Err(Rejection::NotInCharge) }
    }

    fn is_open(&self, session: SessionId) -> Result<(), Rejection> {
        let open = self.cluster.world.lock().session;
        if open == Some(session) { Ok(()) } else { Err(Rejection::NoSession) }
    }
}

impl Served {
    async fn change(self, requests: Vec<Request>) -> Result<Changed, Rejection> {
        self.cluster.world.lock().arrived.push((self.server, requests.clone()));
        let mood = self.mood().await?;
        self.leads()?;
        let changed = {
            let mut world = self.cluster.world.lock();
            let open = world.session;
            for request in &requests {
                let opens = matches!(request.change, Change::OpenSession { .. });
                if !opens && open != Some(request.session) {
                    return Err(Rejection::NoSession);
                }
            }
            let outcomes = requests.iter().map(|r| world.make(r)).collect();
            let index = world.index;
            world.applied.insert(self.server, index);
            Changed { seen: world.seen(self.server), outcomes }
        };
        if mood.swallows_answers {
            pending::<()>().await;
        }
        Ok(changed)
    }

    async fn query(self, at_least: LogIndex, query: Query) -> Result<(Seen, Reply), Rejection> {
        if query == Query::Pairs {
            let hangs = self.cluster.world.lock().mood(self.server.0).hangs;
            if hangs {
                pending::<()>().await;
            }
            let world = self.cluster.world.lock();
            return Ok((world.seen(self.server), Ok(Answer::Pairs(world.told().clone()))));
        }
        self.mood().await?;
        let mut world = self.cluster.world.lock();
        let seen = world.seen(self.server);
        if seen.index < at_least {
            return Err(Rejection::Behind { needed: at_least });
        }
        world.answered.push((self.server, seen.index));
        Ok((seen, Ok(Answer::Totals { inodes: seen.index.0, space: Vec::new() })))
    }

    async fn barrier(self, session: SessionId, index: LogIndex) -> Result<(), Rejection> {
        self.mood().await?;
        self.leads()?;
        self.is_open(session)?;
        self.cluster.world.lock().barriers.push(index);
        Ok(())
    }

    async fn keep_alive(self, session: SessionId) -> Result<Seen, Rejection> {
        self.mood().await?;
        self.leads()?;
        self.is_open(session)?;
        Ok(self.cluster.world.lock().seen(self.server))
    }

    async fn newest(self) -> Result<Seen, Rejection> {
        self.mood().await?;
        self.leads()?;
        let mut world = self.cluster.world.lock();
        world.newest_asked += 1;
        Ok(world.seen(self.server))
    }

    async fn watch(self, known: u64) -> Result<Seen, Rejection> {
        let hangs = self.cluster.world.lock().mood(self.server.0).hangs;
        if hangs {
            pending::<()>().await;
        }
        let mut news = self.cluster.news.subscribe();
        let newer = news.wait_for(|_| self.cluster.world.lock().version() > known);
        let _ = tokio::time::timeout(Duration::from_secs(3), newer).await;
        let hangs = self.cluster.world.lock().mood(self.server.0).hangs;
        if hangs {
            pending::<()>().await;
        }
        Ok(self.cluster.world.lock().seen(self.server))
    }
}

impl Served {
    async fn change_chunk(
        self,
        view: View,
        id: ChangeId,
        chunk: ChunkId,
        change: ChunkChange,
    ) -> Result<Applied, Rejection> {
        self.cluster.world.lock().chunk_changes.push((self.server, view, id));
        let mood = self.mood().await?;
        self.check(view, true)?;
        {
            let mut world = self.cluster.world.lock();
            if world.chunk_made.insert((id.session, view.pair, id.seq))
                && let ChunkChange::Write { offset, data, .. } = change
            {
                let bytes = world.chunks.entry(chunk).or_default();
                let end = offset as usize + data.0.len();
                bytes.resize(bytes.len().max(end), 0);
                bytes[offset as usize..end].copy_from_slice(&data.0);
            }
        }
        if mood.swallows_answers {
            pending::<()>().await;
        }
        Ok(Applied { blocks: 1, made: false })
    }

    async fn copy(
        self,
        (view, id, chunk): (View, ChangeId, ChunkId),
        (offset, length): (u32, u32),
        source: CopySource,
    ) -> Result<Copied, Rejection> {
        self.cluster.world.lock().copies.push((self.server, source.server));
        let from = Served { server: source.server, cluster: Arc::clone(&self.cluster) };
        // Longer than a server waits.
        if from.cluster.world.lock().mood(source.server.0).read_delay > Duration::from_secs(1) {
            return Ok(Copied::Unread(None));
        }
        let data = match from.read(source.view, source.chunk, source.offset, length).await {
            Ok(data) => data,
            Err(rejection) => return Ok(Copied::Unread(Some(rejection))),
        };
        self.change_chunk(view, id, chunk, ChunkChange::Write { offset, sync: false, data }).await.map(Copied::Made)
    }

    async fn read(self, view: View, chunk: ChunkId, offset: u32, length: u32) -> Result<Blob, Rejection> {
        self.cluster.world.lock().reads.push(self.server);
        let mood = self.mood().await?;
        tokio::time::sleep(mood.read_delay).await;
        self.check(view, false)?;
        if mood.damaged {
            return Err(Rejection::Damaged);
        }
        let world = self.cluster.world.lock();
        let left = world.left_behind.as_ref().filter(|left| left.server == self.server);
        let chunks = left.map_or(&world.chunks, |left| &left.chunks);
        let bytes = chunks.get(&chunk).map_or(&[][..], |bytes| bytes);
        let from = bytes.len().min(offset as usize);
        let to = bytes.len().min(offset as usize + length as usize);
        Ok(Blob(Bytes::copy_from_slice(&bytes[from..to])))
    }

    async fn sync(self, view: View, chunks: Vec<ChunkId>) -> Result<(), Rejection> {
        self.mood().await?;
        self.check(view, false)?;
        self.cluster.world.lock().syncs.push((self.server, view.epoch, chunks));
        Ok(())
    }

    async fn extents(self, view: View, chunk: ChunkId) -> Result<(u32, Vec<(u16, u16)>), Rejection> {
        self.mood().await?;
        self.check(view, false)?;
        let length = self.cluster.world.lock().chunks.get(&chunk).map_or(0, Vec::len);
        Ok((length as u32, vec![(0, 1)]))
    }

    /// Of the chunks of this server's pair only.
    async fn next_chunk(self, view: View, from: ChunkId) -> Result<Option<u32>, Rejection> {
        self.mood().await?;
        self.check(view, false)?;
        let world = self.cluster.world.lock();
        let here = |id: &&ChunkId| id.ino == from.ino && (id.index % 2) == (from.index % 2);
        Ok(world.chunks.range(from..).map(|(id, _)| id).find(here).map(|id| id.index))
    }
}

impl Served {
    async fn status(self) -> ServerStatus {
        if self.cluster.world.lock().mood(self.server.0).hangs {
            pending::<()>().await;
        }
        let world = self.cluster.world.lock();
        ServerStatus {
            server: self.server,
            incarnation: Incarnation(1),
            uptime_s: 1,
            term: Term(1),
            leader: world.leader,
            quorum: true,
            last_index: LogIndex(world.index),
            applied: LogIndex(world.applied[&self.server]),
            pairs: world.pairs.clone(),
            session: world.session.map(|session| (session, world.holder.clone())),
            space: Space::default(),
            inodes: (1, 2),
            held: (3, 4),
            counters: Counters::default(),
            resync: None,
            disk_error: None,
            heard_ms: Vec::new(),
            scrub: Default::default(),
            joined: true,
            replacing: Vec::new(),
        }
    }
}

/// What a fake server does not play.
fn not_scripted() -> ServerError {
    ServerError::new(std::io::ErrorKind::Unsupported, "not scripted".into())
}

/// The requests of one service, taken apart here instead of by the service's trait, so that what only servers ask of
/// each other need not be played.
#[derive(Clone)]
struct Names(Served);
#[derive(Clone)]
struct Chunks(Served);
#[derive(Clone)]
struct Admin(Served);

impl Serve for Names {
    type Req = NamesServiceRequest;
    type Resp = NamesServiceResponse;
    async fn serve(self, _: Context, request: NamesServiceRequest) -> Result<NamesServiceResponse, ServerError> {
        use {NamesServiceRequest as Ask, NamesServiceResponse as Say};
        Ok(match request {
            Ask::Change { requests } => Say::Change(self.0.change(requests).await),
            Ask::Query { at_least, query } => Say::Query(self.0.query(at_least, query).await),
            Ask::Barrier { session, index } => Say::Barrier(self.0.barrier(session, index).await),
            Ask::KeepAlive { session } => Say::KeepAlive(self.0.keep_alive(session).await),
            Ask::Watch { known } => Say::Watch(self.0.watch(known).await),
            Ask::Newest {} => Say::Newest(self.0.newest().await),
        })
    }
}

impl Serve for Chunks {
    type Req = ChunkServiceRequest;
    type Resp = ChunkServiceResponse;
    async fn serve(self, _: Context, request: ChunkServiceRequest) -> Result<ChunkServiceResponse, ServerError> {
        use {ChunkServiceRequest as Ask, ChunkServiceResponse as Say};
        Ok(match request {
            Ask::Change { view, id, chunk, change } => Say::Change(self.0.change_chunk(view, id, chunk, change).await),
            Ask::Read { view, chunk, offset, length } => Say::Read(self.0.read(view, chunk, offset, length).await),
            Ask::Sync { view, chunks } => Say::Sync(self.0.sync(view, chunks).await),
            Ask::SyncWhole { view, file: _ } => Say::SyncWhole(self.0.sync(view, Vec::new()).await),
            Ask::Extents { view, chunk } => Say::Extents(self.0.extents(view, chunk).await),
            Ask::Copy { view, id, chunk, offset, length, source } => {
                Say::Copy(self.0.copy((view, id, chunk), (offset, length), source).await)
            }
            Ask::NextChunk { view, from } => Say::NextChunk(self.0.next_chunk(view, from).await),
            _ => return Err(not_scripted()),
        })
    }
}

impl Serve for Admin {
    type Req = AdminServiceRequest;
    type Resp = AdminServiceResponse;
    async fn serve(self, _: Context, request: AdminServiceRequest) -> Result<AdminServiceResponse, ServerError> {
        match request {
            AdminServiceRequest::Status {} => Ok(AdminServiceResponse::Status(self.0.status().await)),
            _ => Err(not_scripted()),
        }
    }
}

/// Four fake servers in two pairs.
pub struct FakeCluster {
    pub config: Config,
    inner: Arc<Inner>,
    running: Mutex<BTreeMap<ServerId, JoinHandle<()>>>,
}

impl FakeCluster {
    /// All four run; server 1 leads.
    pub async fn start() -> FakeCluster {
        let mut listeners = Vec::new();
        for _ in 0..5 {
            listeners.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
        }
        let address = |n: usize| listeners[n].local_addr().unwrap();
        let config = Config {
            cluster: "fake".into(),
            pairs: vec![[address(1), address(2)], [address(3), address(4)]],
            witness: address(0),
            durability: Durability::Relaxed,
            io_timeout: Duration::from_secs(10),
            scrub_every: None,
        };
        let member = |n| Member { server: ServerId(n), state: CopyState::InSync, incarnation: Incarnation(1) };
        let pair = |n: u16| Pair {
            id: PairId(n),
            epoch: Epoch(1),
            members: [member(n * 2 + 1), member(n * 2 + 2)],
            space: Space::default(),
            losses: 0,
        };
        let world = World {
            left_behind: None,
            newest_asked: 0,
            leader: Some(ServerId(1)),
            index: 0,
            applied: (1..=4).map(|n| (ServerId(n), 0)).collect(),
            pairs: vec![pair(0), pair(1)],
            moods: BTreeMap::new(),
            made: Vec::new(),
            arrived: Vec::new(),
            outcomes: BTreeMap::new(),
            session: None,
            holder: String::new(),
            next_ino: 100,
            answered: Vec::new(),
            chunks: BTreeMap::new(),
            chunk_changes: Vec::new(),
            chunk_made: BTreeSet::new(),
            reads: Vec::new(),
            copies: Vec::new(),
            syncs: Vec::new(),
            barriers: Vec::new(),
            connections: 0,
        };
        let inner = Arc::new(Inner { world: Mutex::new(world), news: watch::Sender::new(0) });
        let cluster = FakeCluster { config, inner, running: Mutex::default() };
        for (n, listener) in listeners.into_iter().enumerate().skip(1) {
            cluster.run(ServerId(n as u16), listener);
        }
        cluster
    }

    fn run(&self, server: ServerId, listener: TcpListener) {
        let served = Served { server, cluster: Arc::clone(&self.inner) };
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(serve(served.clone(), stream));
            }
        });
        self.running.lock().insert(server, task);
    }

    /// Changes the world, and tells who watches it.
    pub fn with<R>(&self, act: impl FnOnce(&mut World) -> R) -> R {
        let result = act(&mut self.inner.world.lock());
        self.inner.news.send_modify(|n| *n += 1);
        result
    }

    /// Ends a server: its port refuses, its connections break.
    pub fn kill(&self, server: u16) {
        let task = self.running.lock().remove(&ServerId(server)).expect("it runs");
        task.abort();
    }

    /// Starts it again on its port.
    pub async fn restart(&self, server: u16) {
        let address = self.config.address(ServerId(server)).unwrap();
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            match TcpListener::bind(address).await {
                Ok(listener) => return self.run(ServerId(server), listener),
                Err(e) => assert!(Instant::now() < deadline, "cannot bind again: {e}"),
            }
            tokio::task::yield_now().await;
        }
    }
}

async fn serve(served: Served, mut stream: TcpStream) {
    let Ok(hello) = wire::read_hello(&mut stream).await else { return };
    let hangs = served.cluster.world.lock().mood(served.server.0).hangs;
    if hangs {
        pending::<()>().await;
    }
    assert_eq!(hello.to, served.server);
    if wire::welcome(&mut stream, &Welcome::Yes).await.is_err() {
        return;
    }
    served.cluster.world.lock().connections += 1;
    // Handlers end with their connection, as those of a killed process do.
    let mut handlers = JoinSet::new();
    macro_rules! run {
        ($service:expr) => {{
            let mut requests = Box::pin(BaseChannel::with_defaults(Wire::new(stream)).execute($service));
            while let Some(handler) = requests.next().await {
                handlers.spawn(handler);
            }
        }};
    }
    match hello.service {
        Service::Names => run!(Names(served)),
        Service::Chunks => run!(Chunks(served)),
        Service::Admin => run!(Admin(served)),
        Service::Peer | Service::Direct | Service::Life => {}
    }
}

/// Waits for a condition, for at most five seconds.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !condition() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
