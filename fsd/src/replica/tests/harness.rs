//! Two replicas, each on a thread and runtime of its own as in a server, over loopback; a namespace that is one struct.

use super::store::TestStore;
use crate::board::{Ask, Board, Doom, Marked};
use crate::chunk::ChunkStore;
use crate::peers::{CallError, Peers};
use crate::replica::Replica;
use crate::serve::chunks::ChunkServer;
use crate::serve::direct::DirectServer;
use futures::StreamExt;
use parking_lot::Mutex;
use raidfs_common::config::{Config, Durability};
use raidfs_common::error::Rejection;
use raidfs_common::id::{ChunkId, Epoch, Incarnation, Ino, LogIndex, PairId, ServerId, SessionId};
use raidfs_common::pair::{CopyState, Member, Pair, Space};
use raidfs_common::rpc::chunks::{Applied, ChangeId, ChunkChange, ChunkService, ChunkServiceClient, View};
use raidfs_common::rpc::direct::{DirectService, DirectServiceClient};
use raidfs_common::rpc::peer::Report;
use raidfs_common::rpc::{Service, Welcome};
use raidfs_common::wire::{self, Wire};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tarpc::client::RpcError;
use tarpc::context::Context;
use tarpc::server::{BaseChannel, Channel};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, watch};

pub const A: ServerId = ServerId(1);
pub const B: ServerId = ServerId(2);
pub const PATIENCE: Duration = Duration::from_secs(20);
/// How long a killed server's threads are waited for.
const DEATH: Duration = Duration::from_secs(1);

/// Waits for a condition.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

pub fn chunk(ino: u64) -> ChunkId {
    ChunkId { ino: Ino(ino), index: 0 }
}

pub fn write(offset: u32, data: &[u8]) -> ChunkChange {
    ChunkChange::Write { offset, sync: false, data: data.to_vec().into() }
}

/// The same, durable when it is answered.
pub fn synced(offset: u32, data: &[u8]) -> ChunkChange {
    ChunkChange::Write { offset, sync: true, data: data.to_vec().into() }
}

/// The namespace: what it decides is seen at once by every server that listens.
pub struct Names {
    pub pair: Pair,
    pub applied: LogIndex,
    boards: [Option<Arc<Board>>; 2],
    /// Servers that hear nothing.
    pub deaf: [bool; 2],
    /// Nothing is decided.
    pub no_quorum: bool,
    pub reports: Vec<Report>,
    pub barriers: u64,
    /// Files that the namespace does not know.
    pub gone: BTreeSet<Ino>,
    /// Sizes that it has; of other files it has whatever was written.
    pub sizes: BTreeMap<Ino, u64>,
    /// What was lost with the pair, which was accepted: the ends of files.
    pub lost: BTreeMap<Ino, u64>,
    /// How often something came late to that.
    pub late: u64,
}

impl Names {
    pub fn publish(&self) {
        for (board, deaf) in self.boards.iter().zip(self.deaf) {
            if let (Some(board), false) = (board, deaf) {
                self.publish_to(board);
            }
        }
    }

    fn publish_to(&self, board: &Board) {
        board.publish(|n| {
            n.applied = self.applied;
            n.pairs = Arc::new(vec![self.pair.clone()]);
            n.marked = Marked { any: !self.lost.is_empty(), late: self.late };
            n.lease_until = Instant::now() + Duration::from_secs(600);
        });
    }

    pub fn set(&mut self, server: ServerId, state: CopyState) {
        let at = usize::from(server.0 - 1);
        self.pair.members[at].state = state;
        self.pair.epoch.0 += 1;
        self.applied.0 += 1;
        self.publish();
    }

    fn is(&self, server: ServerId, state: CopyState) -> bool {
        self.pair.member(server).unwrap().state == state
    }

    fn hear(&mut self, report: Report) -> bool {
        if self.no_quorum {
            return false;
        }
        self.reports.push(report.clone());
        use CopyState::*;
        match report {
            Report::Accuse { epoch, server, .. } if epoch == self.pair.epoch => {
                let other = if server == A { B } else { A };
                if self.is(server, Syncing) || (self.is(server, InSync) && self.is(other, InSync)) {
                    self.set(server, Stale);
                }
            }
            Report::Syncing { epoch, server, .. } if epoch == self.pair.epoch && self.is(server, Stale) => {
                self.set(server, Syncing);
            }
            Report::InSync { epoch, server, .. } if epoch == self.pair.epoch && self.is(server, Syncing) => {
                self.set(server, InSync);
            }
            Report::Begun { epoch, incarnation, late, .. } if epoch == self.pair.epoch && late == self.late => {
                let from = [A, B].into_iter().find(|s| self.pair.member(*s).unwrap().incarnation == incarnation);
                if let (Some(server), true) = (from, self.is(A, Stale) && self.is(B, Stale)) {
                    self.set(server, InSync);
                }
            }
            _ => {}
        }
        true
    }
}

/// One server: a thread with a runtime.
pub struct Server {
    pub board: Arc<Board>,
    pub replica: Arc<Replica>,
    pub runtime: Option<Runtime>,
    /// Each thread of a direct connection holds one.
    direct_threads: Arc<()>,
    hung: Option<std::sync::mpsc::Sender<()>>,
}

impl Server {
    /// As by kill -9: when it returns, nothing of this server answers any more, but what hangs in a stalled store.
    pub fn kill(&mut self) {
        self.hung = None;
        let runtime = self.runtime.take().unwrap();
        let until = Instant::now() + DEATH;
        // In a thread of its own, as no runtime may be waited for in another one.
        std::thread::spawn(|| runtime.shutdown_timeout(DEATH)).join().unwrap();
        while Arc::strong_count(&self.direct_threads) > 1 && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// As by a stop signal.
    pub fn hang(&mut self) {
        let (wake, hung) = std::sync::mpsc::channel::<()>();
        self.runtime.as_ref().unwrap().spawn(async move { hung.recv() });
        self.hung = Some(wake);
    }

    pub fn resume(&mut self) {
        self.hung = None;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.hung = None;
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

pub struct Cluster {
    pub names: Arc<Mutex<Names>>,
    pub servers: [Server; 2],
    /// Of those that [`Cluster::on`] is given, none.
    pub stores: [Arc<TestStore>; 2],
    pub config: Config,
    pub client: Arc<Peers>,
    seq: AtomicU64,
    lives: u64,
    /// Servers whose stores were wiped and have not been filled.
    pub wiped: [bool; 2],
}

impl Cluster {
    /// Both in sync, nothing in them.
    pub async fn new() -> Cluster {
        Cluster::made(true, None).await
    }

    /// The same on these stores.
    pub async fn on(stores: [Arc<dyn ChunkStore>; 2]) -> Cluster {
        Cluster::made(true, Some(stores)).await
    }

    /// The same without background work: nobody brings anybody up to date.
    pub async fn quiet() -> Cluster {
        Cluster::made(false, None).await
    }

    async fn made(works: bool, on: Option<[Arc<dyn ChunkStore>; 2]>) -> Cluster {
        let listeners = [listen(), listen()];
        let pair: [SocketAddr; 2] = listeners.each_ref().map(|l| l.local_addr().unwrap());
        let config = Config {
            cluster: "test".into(),
            pairs: vec![pair],
            witness: "127.0.0.1:1".parse().unwrap(),
            durability: Durability::Relaxed,
            io_timeout: Duration::from_secs(30),
            scrub_every: None,
        };
        let member = |server| Member { server, state: CopyState::InSync, incarnation: Incarnation(1) };
        let pair = Pair {
            id: PairId(0),
            epoch: Epoch(1),
            members: [member(A), member(B)],
            space: Space::default(),
            losses: 0,
        };
        let names = Arc::new(Mutex::new(Names {
            pair,
            applied: LogIndex(1),
            boards: [None, None],
            deaf: [false; 2],
            no_quorum: false,
            reports: Vec::new(),
            barriers: 0,
            gone: BTreeSet::new(),
            sizes: BTreeMap::new(),
            lost: BTreeMap::new(),
            late: 0,
        }));
        let stores = [Arc::new(TestStore::default()), Arc::new(TestStore::default())];
        let [in_a, in_b] = on.unwrap_or_else(|| [stores[0].clone(), stores[1].clone()]);
        let [of_a, of_b] = listeners;
        let servers = [
            start(&config, &names, (A, Incarnation(1)), in_a, (of_a, works)),
            start(&config, &names, (B, Incarnation(1)), in_b, (of_b, works)),
        ];
        let client = Peers::new(&config, ServerId::WITNESS);
        let cluster =
            Cluster { names, servers, stores, config, client, seq: AtomicU64::new(1), lives: 1, wiped: [false; 2] };
        // Each has the other end its changes of before, of which there are none.
        for turn in [0, 1] {
            let punch = ChunkChange::Punch { offset: 0, length: 1 };
            cluster.change(turn, chunk(0), punch).await;
        }
        cluster
    }

    pub fn server(&mut self, id: ServerId) -> &mut Server {
        &mut self.servers[usize::from(id.0 - 1)]
    }

    pub fn store(&self, id: ServerId) -> &TestStore {
        &self.stores[usize::from(id.0 - 1)]
    }

    /// One of the connections of `from` that carry chunks to `to` carries nothing from now on.
    pub async fn clog_one_way(&self, from: ServerId, to: ServerId) {
        let server = &self.servers[usize::from(from.0 - 1)];
        let line = server.replica.peers.line::<ChunkServiceClient>(to).unwrap();
        server.runtime.as_ref().unwrap().spawn(async move { line.clog().await }).await.unwrap();
    }

    /// The direct connection of `from` to `to` carries nothing from now on.
    pub async fn clog_direct(&self, from: ServerId, to: ServerId) {
        let server = &self.servers[usize::from(from.0 - 1)];
        let line = server.replica.peers.line::<DirectServiceClient>(to).unwrap();
        server.runtime.as_ref().unwrap().spawn(async move { line.clog().await }).await.unwrap();
    }

    /// Makes synced changes of a chunk until one of them has gone over the direct connection to `mirror`.
    pub async fn go_direct(&self, mirror: ServerId, at: ChunkId) {
        let before = self.gone_directly(mirror);
        let begun = Instant::now();
        while self.gone_directly(mirror) == before {
            assert!(begun.elapsed() < PATIENCE, "no change goes directly");
            self.change(0, at, synced(0, b"on the way")).await;
            // It may take a second, in which more changes can be made than are remembered.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    pub fn gone_directly(&self, mirror: ServerId) -> u64 {
        self.servers[usize::from(mirror.0 - 1)].replica.tally.direct_changes.load(Ordering::Relaxed)
    }

    pub fn wipe(&mut self, id: ServerId) {
        self.stores[usize::from(id.0 - 1)] = Arc::default();
        self.wiped[usize::from(id.0 - 1)] = true;
    }

    /// Starts a killed server again; its hello makes it stale.
    pub async fn restart(&mut self, id: ServerId) {
        self.start_again(id).await;
        self.hello(id);
    }

    /// The namespace hears of a server's new life.
    pub fn hello(&self, id: ServerId) {
        let mut names = self.names.lock();
        names.pair.members[usize::from(id.0 - 1)].incarnation = Incarnation(self.lives);
        names.set(id, CopyState::Stale);
    }

    /// Starts a killed server again, of which the namespace does not hear yet.
    pub async fn start_again(&mut self, id: ServerId) {
        self.lives += 1;
        let life = Incarnation(self.lives);
        let at = usize::from(id.0 - 1);
        let address = self.config.address(id).unwrap();
        until("its port is free again", || !matches!(std::net::TcpListener::bind(address), Err(e) if in_use(&e))).await;
        let listener = std::net::TcpListener::bind(address).unwrap();
        self.servers[at] = start(&self.config, &self.names, (id, life), self.stores[at].clone(), (listener, true));
        if self.wiped[at] {
            self.servers[at].replica.directory_is_empty();
        }
    }

    pub fn state(&self, id: ServerId) -> CopyState {
        self.names.lock().pair.member(id).unwrap().state
    }

    pub async fn in_sync(&self) {
        until("both in sync", || self.state(A) == CopyState::InSync && self.state(B) == CopyState::InSync).await;
    }

    pub fn view(&self, turn: u8) -> View {
        let names = self.names.lock();
        View { pair: PairId(0), epoch: names.pair.epoch, at_least: names.applied, turn }
    }

    pub fn id(&self) -> ChangeId {
        ChangeId { session: SessionId(7), seq: self.seq.fetch_add(1, Ordering::Relaxed), done_below: 0 }
    }

    /// Logs what dooms a file.
    pub fn doom(&self, ino: u64, doom: Doom) -> LogIndex {
        let mut names = self.names.lock();
        names.applied.0 += 1;
        for (board, _) in names.boards.iter().zip(names.deaf).filter(|(_, deaf)| !deaf) {
            board.as_ref().unwrap().doom(Ino(ino), names.applied, doom);
        }
        names.publish();
        names.applied
    }

    pub async fn call<T, F>(
        &self,
        server: ServerId,
        call: impl FnOnce(ChunkServiceClient, Context) -> F,
    ) -> Result<T, CallError>
    where
        F: Future<Output = Result<T, RpcError>>,
    {
        self.client.call(server, PATIENCE, call).await
    }

    /// One request for a change.
    pub async fn try_change(
        &self,
        server: ServerId,
        view: View,
        id: ChangeId,
        chunk: ChunkId,
        change: ChunkChange,
    ) -> Result<Applied, Rejection> {
        self.call(server, |c, x| async move { c.change(x, view, id, chunk, change).await }).await.unwrap()
    }

    /// A change as a client makes it: until it is acknowledged.
    pub async fn change(&self, turn: u8, chunk: ChunkId, change: ChunkChange) -> Applied {
        let id = self.id();
        let begun = Instant::now();
        loop {
            assert!(begun.elapsed() < PATIENCE, "a change is never acknowledged");
            let view = self.view(turn);
            let place = raidfs_common::pair::ChunkPlace { pair: PairId(0), turn };
            let primary = self.names.lock().pair.primary(place).unwrap();
            let change = change.clone();
            match self.call(primary, |c, x| async move { c.change(x, view, id, chunk, change).await }).await {
                Ok(Ok(applied)) => return applied,
                Ok(Err(Rejection::WrongEpoch { .. } | Rejection::NotInCharge | Rejection::Behind { .. })) | Err(_) => {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                Ok(Err(other)) => panic!("change refused: {other}"),
            }
        }
    }

    pub async fn read(&self, server: ServerId, chunk: ChunkId, offset: u32, length: u32) -> Result<Vec<u8>, Rejection> {
        let view = self.view(0);
        let blob = self.call(server, |c, x| async move { c.read(x, view, chunk, offset, length).await }).await.unwrap();
        blob.map(|b| b.0.to_vec())
    }

    pub fn assert_equal(&self) {
        assert_eq!(self.stores[0].contents(), self.stores[1].contents());
    }
}

fn in_use(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::AddrInUse
}

/// A free port below those that connections are given, so that it is still free when a server starts again.
fn listen() -> std::net::TcpListener {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    loop {
        let n = u64::from(std::process::id()) * 131 + NEXT.fetch_add(1, Ordering::Relaxed);
        match std::net::TcpListener::bind(("127.0.0.1", 10_000 + (n % 20_000) as u16)) {
            Ok(listener) => return listener,
            Err(e) => assert!(in_use(&e), "{e}"),
        }
    }
}

fn start(
    config: &Config,
    names: &Arc<Mutex<Names>>,
    (id, life): (ServerId, Incarnation),
    store: Arc<dyn ChunkStore>,
    (listener, works): (std::net::TcpListener, bool),
) -> Server {
    let (board, asks) = Board::new(id, life);
    {
        let mut names = names.lock();
        names.boards[usize::from(id.0 - 1)] = Some(board.clone());
        names.publish_to(&board);
    }
    tokio::spawn(answer(names.clone(), asks));
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let peers = Peers::new(config, id);
    let replica = Replica::new(config, board.clone(), store, peers);
    if works {
        let _within = runtime.enter();
        replica.run_workers();
    }
    let direct_threads = Arc::new(());
    runtime.spawn(serve(listener, replica.clone(), direct_threads.clone()));
    Server { board, replica, runtime: Some(runtime), direct_threads, hung: None }
}

async fn serve(listener: std::net::TcpListener, replica: Arc<Replica>, direct_threads: Arc<()>) {
    listener.set_nonblocking(true).unwrap();
    let listener = TcpListener::from_std(listener).unwrap();
    // Ends the threads of direct connections with the runtime.
    let open = watch::Sender::new(());
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (replica, closed, direct_thread) = (replica.clone(), open.subscribe(), direct_threads.clone());
        tokio::spawn(async move {
            let Ok(hello) = wire::read_hello(&mut stream).await else { return };
            let _ = wire::welcome(&mut stream, &Welcome::Yes).await;
            if hello.service == Service::Direct {
                let chunk_thread = tokio::runtime::Handle::current();
                let (stream, service) =
                    (stream.into_std().unwrap(), DirectServer { replica, chunk_thread: Some(chunk_thread) });
                std::thread::spawn(move || {
                    serve_directly(stream, service, closed);
                    drop(direct_thread);
                });
                return;
            }
            let requests = BaseChannel::with_defaults(Wire::new(stream)).execute(ChunkServer::new(replica).serve());
            requests.for_each(|request| async { drop(tokio::spawn(request)) }).await;
        });
    }
}

fn serve_directly(stream: std::net::TcpStream, service: DirectServer, mut closed: watch::Receiver<()>) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let wire = Wire::new(TcpStream::from_std(stream).unwrap());
        let requests = BaseChannel::with_defaults(wire).execute(service.serve());
        tokio::select! {
            () = requests.for_each(|request| async { drop(tokio::spawn(request)) }) => {}
            _ = closed.changed() => {}
        }
    });
}

async fn answer(names: Arc<Mutex<Names>>, mut asks: mpsc::UnboundedReceiver<Ask>) {
    while let Some(ask) = asks.recv().await {
        match ask {
            Ask::Report(report, answer) => drop(answer.send(names.lock().hear(report))),
            Ask::Barrier(index, answer) => {
                let mut names = names.lock();
                names.barriers += 1;
                if !names.no_quorum {
                    names.boards.iter().flatten().for_each(|b| b.publish(|n| n.durable = n.durable.max(index)));
                    let _ = answer.send(Ok(()));
                }
            }
            Ask::Sizes(files, answer) => {
                let names = names.lock();
                let size = |ino: &Ino| match names.gone.contains(ino) {
                    true => None,
                    false => Some(names.sizes.get(ino).copied().unwrap_or(u64::MAX)),
                };
                let _ = answer.send(files.iter().map(size).collect());
            }
            Ask::Lost(after, limit, answer) => {
                let names = names.lock();
                let above = names.lost.iter().filter(|(ino, _)| after.is_none_or(|after| **ino > after));
                let _ = answer.send(above.take(limit).map(|(ino, end)| (*ino, *end)).collect());
            }
            Ask::Done(..) => {}
        }
    }
}
