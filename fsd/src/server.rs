//! Builds the parts of one server, wires them, and stops them in order.
//!
//! Two threads run everything: this one has the log, the names and the answers about them; the other has the chunks, so
//! that no amount of bytes delays a heartbeat. What blocks on the disk runs on threads of its own.

use crate::board::{Ask, Board};
use crate::bookmark::Bookmark;
use crate::chunk::{ChunkStore, io};
use crate::cluster::{Cluster, NamesNode, NodeProposer};
use crate::consensus::core::Setup;
use crate::consensus::keep::Keep;
use crate::consensus::log::{LogStore, NotSynced};
use crate::consensus::log_disk::{DiskLog, Opened};
use crate::consensus::node::{Fatal, Node};
use crate::consensus::timing::Timing;
use crate::cuts::Cuts;
use crate::identity::{DataDir, Life};
use crate::joining;
use crate::leader::duties::Duties;
use crate::machine::{Broken, NamesMachine, SyncLog, flush, stores::Stores};
use crate::namespace::rows::LostRow;
use crate::peers::{Peers, next_gone};
use crate::replica::Replica;
use crate::serve::admin::AdminServer;
use crate::serve::chunks::ChunkServer;
use crate::serve::direct::DirectThreads;
use crate::serve::listen::{self, Guest};
use crate::serve::names::NamesServer;
use crate::serve::peer::{Hears, PeerServer};
use crate::serve::tally::Tally;
use crate::settled;
use crate::stop::Stop;
use crate::sweep;
use crate::transport::PeerTransport;
use crate::{namespace, no_room, own_copy, serve_guest};
use raidfs_common::codec;
use raidfs_common::config::{Config, Durability};
use raidfs_common::error::{FsError, Rejection};
use raidfs_common::id::{Ino, LogIndex, ServerId, SessionId, Term};
use raidfs_common::limits::HEAVY_CALLS_MAX;
use raidfs_common::log::chain;
use raidfs_common::namespace::{Answer, Command, Query};
use raidfs_common::pair::{CopyState, Member, Pair};
use raidfs_common::rpc::admin::AdminService;
use raidfs_common::rpc::chunks::ChunkService;
use raidfs_common::rpc::names::{NamesService, NamesServiceClient};
use raidfs_common::rpc::peer::{Joining, PeerService, PeerServiceClient, Report, STOPS, Started};
use raidfs_common::rpc::{Service, Speaker};
use raidfs_common::stream::{Listener, Moving, Port};
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

/// Why a server ended.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// A part could not be started.
    #[error("cannot {action}")]
    Start {
        /// What was tried.
        action: &'static str,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Something that it relies on failed; it comes back by resync.
    #[error("{0}")]
    Failed(String),
    /// Entries may be missing here, and that could not be written down.
    #[error("cannot note that entries may be missing")]
    Undistrusted(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// There was no room for something, and nothing is missing of what it has acknowledged: it goes on once there is.
    #[error("{0}")]
    NoRoom(String),
    /// The next life mends what this one could not use, and is to begin at once: log and names were of a history that the
    /// others did not go on from, and have been dropped (rule 4); names could not be read or written; or the log has rotted.
    #[error("starting anew: {0}")]
    Anew(String),
    /// The cluster knows another data directory in this one's place.
    #[error("{0}")]
    Refused(String),
}

/// An [`Ended::Start`] of what could not be done.
pub fn cannot<E: Into<Box<dyn std::error::Error + Send + Sync>>>(action: &'static str) -> impl FnOnce(E) -> Ended {
    move |source| Ended::Start { action, source: source.into() }
}

/// The name of the thread that serves chunks. Who looks from outside tells by it a server that is still on its way to serve
/// from one that hangs.
pub const CHUNK_THREAD: &str = "chunks";

const REPORT_TIMEOUT: Duration = Duration::from_secs(2);
const BARRIER_TIMEOUT: Duration = Duration::from_secs(10);
/// Whether there is room is asked so often once the chunks cannot be relied on.
const LOOK_FOR_ROOM_EVERY: Duration = Duration::from_millis(200);
/// A planned stop waits so long for both servers of the pair to have everything durably.
const SETTLE_PATIENCE: Duration = Duration::from_secs(2);
/// A planned stop gives others this long to take over.
const HAND_OVER_PATIENCE: Duration = Duration::from_secs(1);
/// A life that began because names could not be used, and cannot use them again sooner than this, ends for good: another one
/// would not do better.
const USABLE_FOR: Duration = Duration::from_secs(60);

/// What is told of a life.
pub fn started(life: Life) -> Started {
    let Life { incarnation, power_lost, empty, .. } = life;
    Started { incarnation, power_lost, empty }
}

/// The voter's setup for consensus.
pub fn setup(config: &Config, me: ServerId, life: Life, log: &DiskLog, doubtful: bool) -> Setup {
    Setup {
        me,
        incarnation: life.incarnation,
        voters: config.voters(),
        timing: Timing::default(),
        seed: life.incarnation.0,
        doubtful,
        stranger: log.vote().term == Term(0) && log.last().0 == LogIndex(0),
        strict: config.durability == Durability::Strict,
        on_recovery: codec::encode(&Command::Recovered).into(),
        read_lives: |data| {
            let said = Command::of(data).map(|command| command.lives()).unwrap_or_default();
            said.into_iter().flatten().map(|(voter, said)| (voter, said.known_after())).collect()
        },
    }
}

/// How much of the log is kept on the disk that it is on.
pub fn keep_of_log(home: &DataDir) -> Keep {
    Keep::on_disk_of(io::room_at(&home.log()).ok().map(|(total, _)| total))
}

/// The parts of a running server.
struct Server {
    cluster: Arc<Cluster>,
    node: Arc<NamesNode>,
    machine: Arc<NamesMachine>,
    proposer: NodeProposer,
    duties: Arc<Duties<NodeProposer>>,
    board: Arc<Board>,
    replica: Arc<Replica>,
    chunks: Arc<dyn ChunkStore>,
    tally: Arc<Tally>,
    joined: Arc<AtomicBool>,
    stop: Arc<Stop>,
    heavy: Arc<Semaphore>,
    bulk: mpsc::UnboundedSender<Guest>,
    keep: Keep,
}

/// What the last life has left of the chunks. Refused if all of them are gone.
fn look_at_chunks(home: &DataDir, chunks: &dyn ChunkStore) -> Result<Found, Ended> {
    let settled = settled::read(&home.settled());
    if let Some(held @ 1..) = settled
        && chunks.held().0 == 0
    {
        let missing = format!(
            "there are none in {}, where there were {held} when {} stopped; restore them, or start with an empty data directory \
             if this server's mirror is well: all is copied back",
            home.chunks().display(),
            home.identity().server
        );
        return Err(cannot("find the chunks")(missing));
    }
    let missing = settled.unwrap_or(0).saturating_sub(chunks.held().0);
    if missing > 0 {
        tracing::error!(
            "{missing} chunks are missing in {} since {} stopped: they are taken from its mirror, if that has them",
            home.chunks().display(),
            home.identity().server
        );
    }
    Ok(Found { settled: settled.is_some(), missing: missing > 0 })
}

/// How the last life has left the chunks.
struct Found {
    /// Every change of it is whole.
    settled: bool,
    /// Not all of them are there that were.
    missing: bool,
}

/// Whether a server's copy is in sync and its mirror's is not, as far as it knew when it ended.
fn is_last_copy(pairs: &[Pair], me: ServerId) -> bool {
    pairs.iter().any(|pair| pair.in_sync().map(|member| member.server).eq([me]))
}

/// Whoever goes on after a failure of that has to remember it: the log may look whole then.
fn distrust(home: &DataDir) -> Result<(), Ended> {
    home.distrust().map_err(|source| Ended::Undistrusted(Box::new(source)))
}

/// Opens the log. If it cannot be synced, the next life must not believe a sync that then succeeds.
pub fn open_log(home: &DataDir) -> Result<(DiskLog, Opened), Ended> {
    match DiskLog::open(&home.log()) {
        Err(error) if error.get_ref().is_some_and(|error| error.is::<NotSynced>()) => {
            distrust(home)?;
            Err(cannot("sync the log")(error))
        }
        opened => opened.map_err(cannot("open the log")),
    }
}

/// Opens log and names, and makes them fit each other. Says besides whether this server may have forgotten entries; what is
/// taken out of the log is written down as missing before it goes, and what was damaged as soon as it was cut off.
fn open_names(config: &Config, home: &DataDir) -> Result<(DiskLog, namespace::Namespace, Stores, bool), Ended> {
    let (mut log, opened) = open_log(home)?;
    if opened.cut {
        // Before anything that takes long: a life that is ended on the way to its names leaves a log that looks whole.
        distrust(home)?;
    }
    let mut stores = Stores::open(&home.names()).map_err(cannot("open the names"))?;
    let cache = namespace::CACHE_BYTES;
    let (mut names, new) = stores.namespace(config, cache).map_err(cannot("open the names"))?;
    let (applied, term) = names.applied();
    let mut doubtful = home.life().power_lost || opened.cut;
    if applied > log.last().0 {
        // The store outlived the end of the log: the state counts as the log's beginning.
        distrust(home)?;
        log.reset(applied, term).map_err(cannot("set the log behind the names"))?;
        doubtful = true;
    } else if applied < log.base().0 || log.term_at(applied) != Some(term) {
        if !new {
            drop(names);
            names = stores.new_namespace(config, cache).map_err(cannot("make the names anew"))?;
        }
        distrust(home)?;
        if let Some(kept) = stores.log_to_keep() {
            log.keep_in(&kept).map_err(cannot("keep the log that goes with the former names"))?;
        }
        log.reset(LogIndex(0), Term(0)).map_err(cannot("empty the log"))?;
        doubtful = true;
    } else if new && (log.last().0 > LogIndex(0) || stores.is_unfilled()) {
        doubtful = true;
    }
    Ok((log, names, stores, doubtful))
}

/// Notes what a mirror has to look at, and that changes are made from now on.
fn begin_changes(
    home: &DataDir,
    chunks: &dyn ChunkStore,
    found: &Found,
    names: &namespace::Namespace,
) -> Result<(), Ended> {
    let (me, life) = (home.identity().server, home.life());
    // If the names are made anew, which cuts were not carried out yet may not be known any more: the mirror has it right. It also
    // has what is missing, and brings it; but by the last copy the mirror would be made to lack it, too.
    if !life.first && names.applied().0 == LogIndex(0) || found.missing && !is_last_copy(names.pairs(), me) {
        chunks.note_everything().map_err(cannot("note all chunks"))?;
    }
    // Not before that: a start that fails, or is ended, on its way here is to be told once more what is missing.
    settled::remove(&home.settled()).map_err(cannot("note that changes are made"))
}

/// Has the next life cut off what cannot be read of the log, and begins it at once; but not again and again: not if this life
/// has just done so, and has not made up for it (`doubtful`). What is cut off may have been acknowledged, and that life is
/// doubtful until it has it from the others: what it finds then has rotted since. Nothing is wrong with names and chunks.
pub fn suspect_log(doubtful: bool, lived: Duration, reason: String) -> Ended {
    if doubtful && lived < USABLE_FOR {
        return Ended::Failed(format!("{reason}, though all of it could be read a moment ago"));
    }
    tracing::error!("{reason}: starting anew, without what cannot be read of the log");
    Ended::Anew(reason)
}

/// Runs a server until it is told to stop (`stop`), or fails.
pub async fn run(
    config: Config,
    home: &DataDir,
    chunks: Arc<dyn ChunkStore>,
    port: impl Into<Port>,
    stop: Arc<Stop>,
) -> Result<(), Ended> {
    let listener = Listener::new(port.into()).map_err(cannot("use the port"))?;
    let (me, life) = (home.identity().server, home.life());
    let found = look_at_chunks(home, &*chunks)?;
    let (log, names, stores, doubtful) = open_names(&config, home)?;
    if doubtful {
        distrust(home)?;
    }
    let sweep_first = life.power_lost || names.applied().0 == LogIndex(0);
    let (board, asks) = Board::new(me, life.incarnation);
    board.keep_cuts(open_cuts(home, &names, log.base().0).map_err(cannot("open the record of cuts"))?);
    begin_changes(home, &*chunks, &found, &names)?;
    let own = chunks.clone();
    let note_everything = Box::new(move || own.note_everything().map_err(std::io::Error::other));
    let machine = NamesMachine::new(names, board.clone(), stores, namespace::CACHE_BYTES, note_everything);
    let peers = Peers::new(&config, me);
    peers.watch_lives();
    let transport = Arc::new(PeerTransport { peers: peers.clone(), me });
    let node = Node::start(setup(&config, me, life, &log, doubtful), log, machine.clone(), transport);
    machine.sync_log_by(sync_log_of(&node));
    let cluster = Arc::new(Cluster {
        config: config.clone(),
        me,
        incarnation: life.incarnation,
        started: Instant::now(),
        peers,
        own_grown: Default::default(),
    });
    let proposer = NodeProposer { node: node.clone(), machine: machine.clone() };
    let duties = Duties::new(cluster.clone(), proposer.clone());
    let (replica, bulk) = start_chunk_thread(&config, board.clone(), chunks.clone(), &cluster, home)?;
    if life.first || found.settled && !life.power_lost {
        replica.nothing_is_half_changed();
    }
    if life.empty {
        replica.directory_is_empty();
    }
    let server = Arc::new(Server {
        cluster,
        node,
        machine,
        proposer,
        duties,
        board,
        replica,
        chunks,
        tally: Arc::default(),
        joined: Arc::default(),
        stop: stop.clone(),
        heavy: Arc::new(Semaphore::new(HEAVY_CALLS_MAX)),
        bulk,
        keep: keep_of_log(home),
    });
    begin_work(&server, asks, life, sweep_first);
    let guests = server.clone();
    tokio::spawn(listen::run(listener, config, me, move |guest| guests.clone().welcome(guest)));
    let how = if life.power_lost && !life.empty { "; its machine went down uncleanly" } else { "" };
    tracing::info!("{me} is up{how}");
    tokio::select! {
        failed = server.clone().trust_in_time(home) => Err(failed),
        () = server.join(started(life)) => Err(Ended::Refused(joining::refusal(me, home.root(), life.empty))),
        ended = server.clone().until_end(home, stop) => ended,
    }
}

/// Starts what goes on by itself on this thread until the server ends.
fn begin_work(server: &Arc<Server>, asks: mpsc::UnboundedReceiver<Ask>, life: Life, sweep_first: bool) {
    tokio::spawn(flush::run(server.machine.clone(), server.node.clone(), server.keep));
    tokio::spawn(flush::sync_log(server.node.clone()));
    tokio::spawn(server.duties.clone().run());
    tokio::spawn(server.clone().answer_asks(asks));
    tokio::spawn(server.clone().watch_peers());
    tokio::spawn(server.clone().say_hello(life));
    tokio::spawn(server.clone().report_space());
    tokio::spawn(server.clone().watch_replaced());
    tokio::spawn(own_copy::tell(server.board.clone(), server.cluster.me, life.incarnation));
    tokio::spawn(sweep::run(server.machine.clone(), server.board.clone(), server.chunks.clone(), sweep_first));
}

fn open_cuts(home: &DataDir, names: &namespace::Namespace, base: LogIndex) -> std::io::Result<Cuts> {
    let pending = names.pending_dooms().into_iter();
    let pending = pending.flat_map(|(ino, list)| list.into_iter().map(move |(index, _)| (ino, index))).collect();
    Cuts::open(&home.cuts(), base, &pending)
}

/// How threads that may block have the log on disk up to an entry.
fn sync_log_of(node: &Arc<NamesNode>) -> SyncLog {
    let (node, runtime) = (Arc::downgrade(node), tokio::runtime::Handle::current());
    Box::new(move |index| {
        let node = node.upgrade().ok_or_else(|| std::io::Error::other("the server ends"))?;
        let synced = node.own_durable() >= index || runtime.block_on(node.sync_all());
        if synced { Ok(()) } else { Err(std::io::Error::other("the log was not synced in time")) }
    })
}

/// Starts the thread that serves chunks; connections are handed to it.
fn start_chunk_thread(
    config: &Config,
    board: Arc<Board>,
    chunks: Arc<dyn ChunkStore>,
    cluster: &Arc<Cluster>,
    home: &DataDir,
) -> Result<(Arc<Replica>, mpsc::UnboundedSender<Guest>), Ended> {
    let peers = Peers::new(config, board.server);
    let replica = Replica::new(config, board, chunks, peers);
    replica.keep_bookmark(Bookmark::new(&home.scrub()));
    let life = home.book();
    replica.doubt_life_by(Box::new(move || life.disk_failed()));
    let (bulk, mut guests) = mpsc::unbounded_channel::<Guest>();
    let runtime = raidfs_common::threads::runtime("blocking-chunks").map_err(cannot("start the threads for chunks"))?;
    let handle = runtime.handle().clone();
    let own = replica.clone();
    let pair = config.pair_of(cluster.me).unwrap_or_default();
    let ask = move |at_least, after| {
        let (replica, handle) = (own.clone(), handle.clone());
        let page = async move { replica.grown(pair, at_least, after).await };
        let asked = async move { handle.spawn(page).await.ok()?.ok() };
        Box::pin(asked) as futures::future::BoxFuture<'static, _>
    };
    let _ = cluster.own_grown.set(Box::new(ask));
    let served = replica.clone();
    let runtime = Arc::new(parking_lot::Mutex::new(Some(runtime)));
    let given = runtime.clone();
    let serve = move || {
        let Some(runtime) = given.lock().take() else { return };
        runtime.block_on(async move {
            served.run_workers();
            let mut direct = DirectThreads::new(served.clone());
            while let Some(guest) = guests.recv().await {
                if guest.service == Service::Direct {
                    direct.serve(guest);
                    continue;
                }
                let Guest { stream, place, room, .. } = guest;
                let service = ChunkServer::new(served.clone());
                tokio::spawn(async move {
                    let Ok(stream) = stream.leave().and_then(Moving::arrive) else { return };
                    serve_guest!(stream, place, room, service.serve());
                });
            }
        });
    };
    std::thread::Builder::new().name(CHUNK_THREAD.into()).spawn(serve).map_err(|error| {
        // It must not be dropped where another one runs.
        if let Some(runtime) = runtime.lock().take() {
            runtime.shutdown_background();
        }
        cannot("start the thread for chunks")(error)
    })?;
    Ok((replica, bulk))
}

impl Server {
    /// Serves a connection.
    fn welcome(self: Arc<Self>, guest: Guest) {
        if matches!(guest.service, Service::Chunks | Service::Direct) {
            let _ = self.bulk.send(guest);
            return;
        }
        tokio::spawn(async move {
            let Guest { stream, speaker, service, place, room } = guest;
            match service {
                Service::Names => {
                    let service = NamesServer {
                        proposer: self.proposer.clone(),
                        duties: self.duties.clone(),
                        tally: self.tally.clone(),
                    };
                    serve_guest!(stream, place, room, service.serve());
                }
                Service::Peer => {
                    let service = PeerServer {
                        node: self.node.clone(),
                        hears: Ear(self.duties.clone()),
                        incarnation: self.cluster.incarnation,
                    };
                    let once_closed = async move {
                        if let Speaker::Server(peer) = speaker
                            && self.cluster.peers.probe(peer).await
                        {
                            self.gone(peer).await;
                        }
                    };
                    serve_guest!(stream, place, room, service.serve(), once_closed);
                }
                Service::Admin => {
                    let service = AdminServer {
                        cluster: self.cluster.clone(),
                        proposer: self.proposer.clone(),
                        replica: self.replica.clone(),
                        chunks: self.chunks.clone(),
                        tally: self.tally.clone(),
                        duties: self.duties.clone(),
                        joined: self.joined.clone(),
                        stop: self.stop.clone(),
                        heavy: self.heavy.clone(),
                    };
                    serve_guest!(stream, place, room, service.serve());
                }
                Service::Chunks | Service::Direct | Service::Life => {}
            }
        });
    }

    /// Returns if another data directory is known in this one's place.
    async fn join(&self, started: Started) {
        let Cluster { me, config, peers, .. } = &*self.cluster;
        joining::ask(peers, &config.voters(), (*me, started), &self.node, &self.joined).await;
    }

    /// The process of another server was seen to be gone; what is still to be done about it may take its time.
    fn gone(self: &Arc<Self>, peer: ServerId) -> impl Future<Output = ()> + Send + 'static {
        self.node.on_gone(peer);
        self.duties.note_gone(peer);
        let duties = self.duties.clone();
        async move { duties.evict_gone(peer).await }
    }

    async fn watch_peers(self: Arc<Self>) {
        let mut events = self.cluster.peers.subscribe();
        let mut evicting: BTreeMap<ServerId, JoinHandle<()>> = BTreeMap::new();
        while let Some(peer) = next_gone(&mut events).await {
            let evict = self.gone(peer);
            // The next one that goes does not wait for that; and each try to reach one that is gone tells so again.
            if evicting.get(&peer).is_none_or(JoinHandle::is_finished) {
                evicting.insert(peer, tokio::spawn(evict));
            }
        }
    }

    /// Tells the leader something, wherever it is. False: nobody took notice.
    async fn report(&self, report: Report) -> bool {
        let me = self.cluster.me;
        match self.node.status().leader {
            Some(leader) if leader == me => self.duties.report(me, report).await,
            Some(leader) => {
                let call = |client: PeerServiceClient, ctx| async move { client.report(ctx, me, report).await };
                self.cluster.peers.call(leader, REPORT_TIMEOUT, call).await.unwrap_or(false)
            }
            None => false,
        }
    }

    async fn barrier(&self, index: LogIndex) -> Result<(), Rejection> {
        let status = self.node.status();
        if status.leads {
            let reached = tokio::time::timeout(BARRIER_TIMEOUT, self.node.barrier(index)).await;
            return if reached.unwrap_or(false) { Ok(()) } else { Err(Rejection::NoQuorum) };
        }
        let Some(leader) = status.leader else { return Err(Rejection::NoQuorum) };
        let call =
            |client: NamesServiceClient, ctx| async move { client.barrier(ctx, SessionId::CLUSTER, index).await };
        self.cluster.peers.call(leader, BARRIER_TIMEOUT, call).await.unwrap_or(Err(Rejection::NoQuorum))
    }

    /// Answers what the chunk side asks.
    async fn answer_asks(self: Arc<Self>, mut asks: mpsc::UnboundedReceiver<Ask>) {
        while let Some(ask) = asks.recv().await {
            let server = self.clone();
            match ask {
                Ask::Done(ino, index) => self.machine.forget_doom(ino, index),
                Ask::Sizes(files, answer) => drop(tokio::task::spawn_blocking(move || {
                    if let Some(sizes) = server.sizes(&files) {
                        let _ = answer.send(sizes);
                    }
                })),
                Ask::Lost(after, limit, answer) => drop(tokio::task::spawn_blocking(move || {
                    if let Some(files) = server.lost(after, limit) {
                        let _ = answer.send(files);
                    }
                })),
                Ask::Report(report, answer) => drop(tokio::spawn(async move {
                    let _ = answer.send(server.report(report).await);
                })),
                Ask::Barrier(index, answer) => drop(tokio::spawn(async move {
                    let _ = answer.send(server.barrier(index).await);
                })),
            }
        }
    }

    /// The sizes of files; None if they cannot be told. May read from the disk.
    fn sizes(&self, files: &[Ino]) -> Option<Vec<Option<u64>>> {
        let size = |ino: &Ino| match self.machine.query(&Query::GetAttr { ino: *ino }) {
            Ok((_, Ok(Answer::Attr(attr)))) => Some(Some(attr.size)),
            Ok((_, Err(FsError::Stale | FsError::NotFound))) => Some(None),
            _ => None,
        };
        files.iter().map(size).collect()
    }

    /// What was lost of files with this server's pair; None if it cannot be told. May read from the disk.
    fn lost(&self, mut after: Option<Ino>, limit: usize) -> Option<Vec<(Ino, u64)>> {
        let pair = self.cluster.config.pair_of(self.cluster.me)?;
        // A page of files that lost nothing here is not the end.
        loop {
            let rows = self.machine.lost(after, limit).ok()?;
            let end = |(ino, ends): &(Ino, LostRow)| Some((*ino, ends.iter().find(|(of, _)| *of == pair)?.1));
            let here: Vec<_> = rows.iter().filter_map(end).collect();
            match rows.last() {
                Some((last, _)) if here.is_empty() => after = Some(*last),
                _ => return Some(here),
            }
        }
    }

    /// Says hello to whoever leads, until the namespace knows this life.
    async fn say_hello(self: Arc<Self>, life: Life) {
        while !self.is_known() {
            self.report(Report::Started(started(life))).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Whether the namespace knows this life.
    fn is_known(&self) -> bool {
        let (me, life) = (self.cluster.me, self.cluster.incarnation);
        self.machine.pairs().iter().filter_map(|p| p.member(me)).any(|m| m.incarnation == life)
    }

    /// Whether the copy of this life is in sync, as far as this server has heard.
    fn is_in_sync(&self) -> bool {
        let (me, life) = (self.cluster.me, self.cluster.incarnation);
        let own = |m: &Member| m.incarnation == life && m.state == CopyState::InSync;
        self.machine.pairs().iter().filter_map(|p| p.member(me)).any(own)
    }

    /// Notes that what a power cut may have taken is made up for: the log is whole, and the namespace has judged what the
    /// chunks of this life are worth. Then, that what an empty directory lacks is: the copy is in sync, too. Returns only
    /// if that cannot be noted.
    async fn trust_in_time(self: Arc<Self>, home: &DataDir) -> Ended {
        let (mut node, mut seen) = (self.node.watch(), self.machine.watch_seen());
        let noted = async {
            let unjudged = home.life().must_be_judged();
            if node.wait_for(|status| !status.doubtful).await.is_ok()
                && seen.wait_for(|_| !unjudged || self.is_known()).await.is_ok()
            {
                self.machine.filled()?;
                home.trust()?;
                if seen.wait_for(|_| self.is_in_sync()).await.is_ok() {
                    home.fill()?;
                }
            }
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
        };
        match noted.await {
            Ok(()) => std::future::pending().await,
            Err(error) => cannot("note that nothing is missing")(error),
        }
    }

    /// A copy that was in sync need not be after the names were taken from another server.
    async fn watch_replaced(self: Arc<Self>) {
        let mut replaced = self.machine.watch_replaced();
        while replaced.changed().await.is_ok() {
            self.replica.names_replaced().await;
        }
    }

    async fn report_space(self: Arc<Self>) {
        loop {
            let space = self.replica.status().space;
            let report = Report::Space { total: space.total, free: space.free, file_system: self.chunks.file_system() };
            let told = space.total > 0 && self.report(report).await;
            // Until somebody leads and knows, `df` has nothing to show.
            tokio::time::sleep(if told { Duration::from_secs(2) } else { Duration::from_millis(50) }).await;
        }
    }

    /// Waits for the end, and brings it about in order.
    async fn until_end(self: Arc<Self>, home: &DataDir, stop: Arc<Stop>) -> Result<(), Ended> {
        let (mut log, mut names) = (self.node.watch_fatal(), self.machine.watch_fatal());
        let no_room = || Fatal::NoRoom("the chunks could not be written for want of room".into());
        let (log, names) = tokio::select! {
            () = stop.asked() => (None, None),
            () = self.is_out_of_room(home) => (Some(no_room()), None),
            reason = log.wait_for(Option::is_some) => (reason.ok().and_then(|r| r.clone()), None),
            reason = names.wait_for(Option::is_some) => (None, reason.ok().and_then(|r| r.clone())),
        };
        match (log, names) {
            (Some(Fatal::Broken(reason)), _) => Err(Ended::Failed(reason)),
            (Some(Fatal::NoRoom(reason)), _) => Err(self.ended_for_want_of_room(reason)),
            (Some(Fatal::Damaged(reason)), _) => {
                Err(suspect_log(self.node.status().doubtful, self.cluster.started.elapsed(), reason))
            }
            (Some(Fatal::OtherHistory(reason)), _) => Err(self.forget_history(home, reason).await),
            (_, Some(broken)) => Err(self.suspect_names(home, broken).await),
            (None, None) => self.stop_in_order(home).await,
        }
    }

    /// Nothing is in doubt by that alone; but it is if anything besides could not be kept.
    fn ended_for_want_of_room(&self, reason: String) -> Ended {
        let names_unkept = self.machine.watch_fatal().borrow().as_ref().is_some_and(|broken| broken.unkept);
        let in_doubt = names_unkept || self.node.is_in_doubt() || self.chunks.is_in_doubt();
        if in_doubt { Ended::Failed(reason) } else { Ended::NoRoom(reason) }
    }

    /// Has the next life find out whether the names here can be used, and begins it at once; but not again and again.
    async fn suspect_names(&self, home: &DataDir, broken: Broken) -> Ended {
        let Broken { reason, unkept, passing } = broken;
        // That is no fault of theirs; and what they lack the log has, if it was not taken for durable.
        let ended = self.ended_for_want_of_room(reason.clone());
        if no_room::is_for_want_of_room(&ended, home.root()) {
            return ended;
        }
        // By a word that stays: who waits for the copy to be in sync takes back what is only distrusted.
        if unkept && let Err(failed) = home.book().disk_failed() {
            return cannot("note that names were not kept")(failed);
        }
        // To read all of them would be for nothing. (One that comes again at once does not pass: the mark ends that.)
        if passing && self.cluster.started.elapsed() >= USABLE_FOR {
            tracing::error!("{reason}: starting anew; the names here are not in doubt");
            return Ended::Anew(reason);
        }
        let machine = self.machine.clone();
        match tokio::task::spawn_blocking(move || machine.suspect()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Ended::Failed(format!("{reason}; and that cannot be noted: {error}")),
            Err(error) => return cannot("note that names cannot be used")(error),
        }
        if self.machine.was_suspected() && self.cluster.started.elapsed() < USABLE_FOR {
            return Ended::Failed(format!("{reason}, though all of them could be read a moment ago"));
        }
        tracing::error!("{reason}: starting anew, to see whether the names here can be used");
        Ended::Anew(reason)
    }

    /// Returns once chunks could not be written because others have filled the disk: nothing but another life makes up for that,
    /// which waits for room.
    async fn is_out_of_room(&self, home: &DataDir) {
        while self.chunks.is_trusted() || no_room::lacking(home.root()).is_none() {
            tokio::time::sleep(LOOK_FOR_ROOM_EVERY).await;
        }
    }

    /// Drops names and log, durably. The next life fetches them from the others, and votes for nobody until it has them.
    async fn forget_history(&self, home: &DataDir, reason: String) -> Ended {
        tracing::warn!("{reason}: the names here are dropped, and fetched anew");
        if let Err(error) = home.distrust() {
            return cannot("note that the names are dropped")(error);
        }
        let (machine, config) = (self.machine.clone(), self.cluster.config.clone());
        match tokio::task::spawn_blocking(move || machine.drop_names(&config)).await {
            Ok(Ok(())) => {}
            Ok(Err(fault)) => return cannot("drop the names")(fault),
            Err(error) => return cannot("drop the names")(error),
        }
        self.node.forget_log().map_or_else(cannot("empty the log"), |()| Ended::Anew(reason))
    }

    async fn stop_in_order(self: Arc<Self>, home: &DataDir) -> Result<(), Ended> {
        tracing::info!("{} stops", self.cluster.me);
        // What both have durably need not be looked at when they return.
        let _ = tokio::time::timeout(SETTLE_PATIENCE, self.replica.settle_now()).await;
        self.leave_pair().await;
        self.node.hand_over(HAND_OVER_PATIENCE).await;
        let ended = self.replica.close().await;
        let chunks = self.chunks.clone();
        let chunks_synced = tokio::task::spawn_blocking(move || chunks.sync_all()).await;
        chunks_synced.map_err(cannot("sync the chunks"))?.map_err(|error| Ended::Failed(chain(&error)))?;
        // What it acknowledged from here on, while the rest is written, would be in the page cache only, and the next life
        // would be trusted to have it.
        self.node.stop();
        let (machine, node) = (&self.machine, &self.node);
        let kept = node.sync_all().await
            && flush::flush(machine, node).await
            && flush::make_durable(machine, node, self.keep).await;
        // Nobody waits any more for what is found wrong with the names from here on, but for this.
        let broken = machine.watch_fatal().borrow().clone();
        if let Some(broken) = broken {
            return Err(self.suspect_names(home, broken).await);
        }
        if !kept {
            return Err(Ended::Failed("names could not be written in time".into()));
        }
        if ended && !self.replica.may_be_half_changed() {
            settled::write(&home.settled(), self.chunks.held().0).map_err(cannot("note that every change is whole"))?;
        }
        if self.node.is_durable() { Ok(()) } else { Err(Ended::Failed("the log was not synced to its end".into())) }
    }

    /// Lets the mirror carry on alone before this server goes, so that nobody waits for it in vain.
    async fn leave_pair(&self) {
        let me = self.cluster.me;
        let pairs = self.machine.pairs();
        let both = |p: &&raidfs_common::pair::Pair| p.serves(me) && p.in_sync().count() == 2;
        if let Some(pair) = pairs.iter().find(both) {
            let reason = STOPS.to_owned();
            let report = Report::Accuse { pair: pair.id, epoch: pair.epoch, server: me, reason };
            if tokio::time::timeout(HAND_OVER_PATIENCE, self.report(report)).await.is_err() {
                tracing::info!("the leader did not take notice of the stop: it may stop, too");
            }
        }
    }
}

/// The leader's duties hear reports.
#[derive(Clone)]
struct Ear(Arc<Duties<NodeProposer>>);

impl Hears for Ear {
    async fn hear(&self, from: ServerId, report: Report) -> bool {
        self.0.report(from, report).await
    }

    async fn join(&self, from: ServerId, life: Started) -> Joining {
        self.0.join(from, life).await
    }
}
