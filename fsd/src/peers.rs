//! Connections from this server to the others: made when first needed, made again when they break, several where bytes
//! flow. It says at once when a connection breaks and when nothing listens any more, as others decide by that who is
//! dead; it never decides that itself, and it never repeats a call: that is for the caller, who knows whether it may.
//!
//! A connection lives on the runtime of the task that first needed it.

use crate::lifeline;
use crate::ping::Pinger;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use raidfs_common::config::Config;
use raidfs_common::id::{ClusterId, Incarnation, ServerId};
use raidfs_common::rpc::admin::AdminServiceClient;
use raidfs_common::rpc::chunks::ChunkServiceClient;
use raidfs_common::rpc::direct::DirectServiceClient;
use raidfs_common::rpc::names::NamesServiceClient;
use raidfs_common::rpc::peer::PeerServiceClient;
use raidfs_common::rpc::{Hello, PROTOCOL_VERSION, Service, Speaker};
use raidfs_common::stream;
use raidfs_common::wire::{self, ConnectError};
use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tarpc::client::RpcError;
use tarpc::context::Context;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::task::AbortHandle;

/// Connections to one server that carry chunks; the other services have one each.
const CHUNK_LINES: usize = 2;
/// A connection attempt takes at most this long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// After a failed attempt, calls fail without another one for this long.
const BACKOFF: Duration = Duration::from_millis(10);
/// A connection that answers nothing for this long, while calls on it time out, is made anew: after a partition heals,
/// TCP may wait for minutes before it sends again.
const DEAF: Duration = Duration::from_millis(1500);
/// After a connection has broken it is tried again for this long, to tell a process that is gone from a lost connection:
/// the port of a killed process may outlive its connections by a moment, on a busy machine by a long one.
const PROBE_FOR: Duration = Duration::from_secs(1);
/// Between two tries.
const PROBE_PAUSE: Duration = Duration::from_millis(5);
/// Events that a slow listener may fall behind by.
const EVENTS_KEPT: usize = 256;

/// What happened to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerEvent {
    /// A connection is there.
    Connected(ServerId, Service),
    /// A connection that was there is not any more.
    Broken(ServerId, Service),
    /// Nothing listens there, though the machine answers, or its lifeline has ended: the process is gone.
    Gone(ServerId, Service),
}

/// The next process that is seen to be gone; None: there will be none any more.
pub async fn next_gone(events: &mut broadcast::Receiver<PeerEvent>) -> Option<ServerId> {
    loop {
        match events.recv().await {
            Ok(PeerEvent::Gone(peer, _)) => return Some(peer),
            // What was missed of others is found out by their silence.
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return None,
        }
    }
}

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The configuration has no such server.
    #[error("there is no {0}")]
    Unknown(ServerId),
    /// There was no connection: nothing was sent.
    #[error("no connection to {0}")]
    Connect(ServerId, #[source] Arc<ConnectError>),
    /// The connection was lost meanwhile: whether the call had an effect is not known.
    #[error("connection to {0} lost")]
    Lost(ServerId, #[source] RpcError),
    /// No answer in time: whether the call had an effect is not known.
    #[error("no answer from {0} in time")]
    Timeout(ServerId),
}

impl CallError {
    /// Whether the other process is known to be gone.
    pub fn is_gone(&self) -> bool {
        matches!(self, CallError::Connect(_, e) if e.is_gone())
    }

    /// Whether something is there, and wants nothing to do with the caller.
    pub fn is_refused(&self) -> bool {
        self.refusal().is_some()
    }

    /// Why it is so, in the other's words.
    pub fn refusal(&self) -> Option<&str> {
        match self {
            CallError::Connect(_, error) => match &**error {
                ConnectError::Refused(why) => Some(why),
                _ => None,
            },
            _ => None,
        }
    }
}

/// A generated client that [`Peers`] can make. Implemented for every service.
pub trait ServiceClient: Clone + Send + Sync + Sized + 'static {
    /// The service.
    const SERVICE: Service;
    /// Connects; besides the client there is the future that drives it, which ends with the connection.
    fn connect(
        address: SocketAddr,
        hello: Hello,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<(Self, BoxFuture<'static, ()>), ConnectError>>;
    /// Its connections.
    #[doc(hidden)]
    fn lines(all: &Lines) -> &[Arc<Line<Self>>];
}

macro_rules! service_client {
    ($client:ident, $service:expr, $field:ident) => {
        impl ServiceClient for $client {
            const SERVICE: Service = $service;
            fn connect(
                address: SocketAddr,
                hello: Hello,
                timeout: Duration,
            ) -> BoxFuture<'static, Result<(Self, BoxFuture<'static, ()>), ConnectError>> {
                Box::pin(async move {
                    let wire = wire::connect(address, &hello, timeout).await?;
                    let mut config = tarpc::client::Config::default();
                    config.max_in_flight_requests = MAX_IN_FLIGHT;
                    let made = $client::new(config, wire);
                    let dispatch = made.dispatch;
                    let drive: BoxFuture<'static, ()> = Box::pin(async move {
                        if let Err(error) = dispatch.await {
                            tracing::debug!("connection broken: {}", raidfs_common::log::chain(&error));
                        }
                    });
                    Ok((made.client, drive))
                })
            }
            fn lines(all: &Lines) -> &[Arc<Line<Self>>] {
                &all.$field
            }
        }
    };
}

/// Calls that one connection carries at once; more wait in it.
const MAX_IN_FLIGHT: usize = 1024;

service_client!(NamesServiceClient, Service::Names, names);
service_client!(ChunkServiceClient, Service::Chunks, chunks);
service_client!(PeerServiceClient, Service::Peer, peer);
service_client!(AdminServiceClient, Service::Admin, admin);
service_client!(DirectServiceClient, Service::Direct, direct);

/// The connections to one server.
#[doc(hidden)]
#[derive(Debug)]
pub struct Lines {
    names: Vec<Arc<Line<NamesServiceClient>>>,
    chunks: Vec<Arc<Line<ChunkServiceClient>>>,
    peer: Vec<Arc<Line<PeerServiceClient>>>,
    admin: Vec<Arc<Line<AdminServiceClient>>>,
    direct: Vec<Arc<Line<DirectServiceClient>>>,
    /// Held by whose call is on the direct connection: the other end works on one at a time.
    on_direct: Arc<tokio::sync::Mutex<()>>,
    turn: AtomicUsize,
    ping: Pinger,
    /// Where a connection for [`lifeline`] goes, and what is said there.
    life: (SocketAddr, Hello),
}

/// One connection to a server, or its absence.
#[derive(Debug)]
pub struct Line<C> {
    server: ServerId,
    address: SocketAddr,
    hello: Hello,
    events: broadcast::Sender<PeerEvent>,
    state: Mutex<State<C>>,
    /// Held by who connects; the others wait for the result.
    connecting: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
enum State<C> {
    Idle,
    Up(Up<C>),
    Down { error: Arc<ConnectError>, since: Instant },
}

#[derive(Debug)]
struct Up<C> {
    client: C,
    driver: AbortHandle,
    /// Since when nothing was heard while calls timed out.
    deaf_since: Option<Instant>,
    /// Which connection of this line it is.
    number: u64,
}

/// All connections of this server.
#[derive(Debug)]
pub struct Peers {
    servers: BTreeMap<ServerId, Lines>,
    events: broadcast::Sender<PeerEvent>,
}

impl Peers {
    /// Connections of server (or witness) `me` to all others; none is made yet.
    pub fn new(config: &Config, me: ServerId) -> Arc<Peers> {
        let events = broadcast::Sender::new(EVENTS_KEPT);
        let others = config.voters().into_iter().filter(|id| *id != me);
        let servers = others.filter_map(|id| {
            let address = config.address(id)?;
            let who = Who { cluster: config.cluster_id(), name: config.cluster.clone(), me, to: id, address };
            Some((id, Lines::new(&who, &events)))
        });
        Arc::new(Peers { servers: servers.collect(), events })
    }

    /// Watches the processes of all others for as long as this runtime lives: [`PeerEvent::Gone`] tells of each that has died, though
    /// its connections may not have ended yet.
    pub fn watch_lives(&self) {
        // In an invented network a process ends with all that it has open.
        if stream::is_invented() {
            return;
        }
        for (server, lines) in &self.servers {
            let (server, events, (address, hello)) = (*server, self.events.clone(), lines.life.clone());
            let gone = move || drop(events.send(PeerEvent::Gone(server, Service::Life)));
            tokio::spawn(lifeline::watch(address, hello, gone));
        }
    }

    /// A receiver of what happens to connections from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<PeerEvent> {
        self.events.subscribe()
    }

    /// Calls a server: `call` gets a client and the context to pass on. Connecting is part of `timeout`.
    pub async fn call<C, T, F>(
        &self,
        server: ServerId,
        timeout: Duration,
        call: impl FnOnce(C, Context) -> F,
    ) -> Result<T, CallError>
    where
        C: ServiceClient,
        F: Future<Output = Result<T, RpcError>>,
    {
        self.line(server)?.call(timeout, call).await
    }

    /// The connection whose turn it is, for several calls that are to go the same way.
    pub fn line<C: ServiceClient>(&self, server: ServerId) -> Result<Arc<Line<C>>, CallError> {
        let lines = self.servers.get(&server).ok_or(CallError::Unknown(server))?;
        let of_service = C::lines(lines);
        let turn = if of_service.len() > 1 { lines.turn.fetch_add(1, Ordering::Relaxed) } else { 0 };
        Ok(of_service[turn % of_service.len()].clone())
    }

    /// The direct connection to a server, for one call, if it is there and nobody else's call is on it. If it is not there, it
    /// is made meanwhile: what goes by it is in a hurry.
    pub fn direct(&self, server: ServerId) -> Option<Direct> {
        let lines = self.servers.get(&server)?;
        let line = lines.direct.first()?;
        let turn = lines.on_direct.clone().try_lock_owned().ok()?;
        line.is_ready().then(|| Direct { line: line.clone(), _turn: turn })
    }

    /// A connection to the same server that is not this one, if there are several.
    pub fn line_beside<C: ServiceClient>(&self, line: &Arc<Line<C>>) -> Option<Arc<Line<C>>> {
        let of_service = C::lines(self.servers.get(&line.server)?);
        of_service.iter().find(|other| !Arc::ptr_eq(other, line)).cloned()
    }

    /// In which life a server is that a connection can be made to, and that answers over it; see [`Pinger::ask`].
    pub async fn ping(&self, server: ServerId) -> Option<Incarnation> {
        self.servers.get(&server)?.ping.ask().await
    }

    /// A connection of `server` to this one has ended: is its process gone? Tries until it answers, or its port does
    /// not, for a while at most. If it is gone, [`PeerEvent::Gone`] tells so, too.
    pub async fn probe(&self, server: ServerId) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < PROBE_FOR {
            let ping = |client: PeerServiceClient, context| async move { client.ping(context).await };
            match self.call(server, Duration::from_millis(200), ping).await {
                Ok(_) => return false,
                Err(error) if error.is_gone() => return true,
                Err(_) => tokio::time::sleep(PROBE_PAUSE).await,
            }
        }
        false
    }
}

/// The direct connection to a server, which nobody else uses meanwhile.
#[derive(Debug)]
pub struct Direct {
    /// The connection.
    pub line: Arc<Line<DirectServiceClient>>,
    _turn: tokio::sync::OwnedMutexGuard<()>,
}

/// Both ends of a connection.
struct Who {
    cluster: ClusterId,
    name: String,
    me: ServerId,
    to: ServerId,
    address: SocketAddr,
}

impl Who {
    fn hello(&self, service: Service) -> Hello {
        Hello {
            version: PROTOCOL_VERSION,
            cluster: self.cluster,
            cluster_name: self.name.clone(),
            speaker: Speaker::Server(self.me),
            to: self.to,
            service,
        }
    }
}

impl Lines {
    fn new(who: &Who, events: &broadcast::Sender<PeerEvent>) -> Lines {
        Lines {
            names: Line::several(1, who, events),
            chunks: Line::several(CHUNK_LINES, who, events),
            peer: Line::several(1, who, events),
            admin: Line::several(1, who, events),
            direct: Line::several(1, who, events),
            on_direct: Arc::default(),
            turn: AtomicUsize::new(0),
            ping: Pinger::new(who.address, who.hello(Service::Peer)),
            life: (who.address, who.hello(Service::Life)),
        }
    }
}

impl<C: ServiceClient> Line<C> {
    fn several(count: usize, who: &Who, events: &broadcast::Sender<PeerEvent>) -> Vec<Arc<Line<C>>> {
        let hello = who.hello(C::SERVICE);
        let line = || Line {
            server: who.to,
            address: who.address,
            hello: hello.clone(),
            events: events.clone(),
            state: Mutex::new(State::Idle),
            connecting: tokio::sync::Mutex::new(()),
        };
        (0..count).map(|_| Arc::new(line())).collect()
    }

    /// As [`Peers::call`], over this connection.
    pub async fn call<T, F>(
        self: &Arc<Self>,
        timeout: Duration,
        call: impl FnOnce(C, Context) -> F,
    ) -> Result<T, CallError>
    where
        F: Future<Output = Result<T, RpcError>>,
    {
        let server = self.server;
        let begun = Instant::now();
        let (client, number) = match tokio::time::timeout(timeout, self.client()).await {
            Ok(got) => got.map_err(|e| CallError::Connect(server, e))?,
            Err(_) => return Err(CallError::Timeout(server)),
        };
        let mut context = tarpc::context::current();
        context.deadline = begun + timeout;
        let left = timeout.saturating_sub(begun.elapsed());
        match tokio::time::timeout(left, call(client, context)).await {
            Ok(Ok(answer)) => {
                self.heard(number);
                Ok(answer)
            }
            Ok(Err(RpcError::DeadlineExceeded)) | Err(_) => {
                self.unheard(number, begun);
                Err(CallError::Timeout(server))
            }
            Ok(Err(error)) => {
                self.drop_connection(number);
                Err(CallError::Lost(server, error))
            }
        }
    }

    /// Whether there is a connection. If not, one is made, unless the last try was a moment ago.
    fn is_ready(self: &Arc<Self>) -> bool {
        match &*self.state.lock() {
            State::Up(_) => return true,
            State::Down { since, .. } if since.elapsed() < CONNECT_TIMEOUT => return false,
            State::Idle | State::Down { .. } => {}
        }
        if self.connecting.try_lock().is_ok() {
            let line = self.clone();
            tokio::spawn(async move { drop(line.client().await) });
        }
        false
    }

    /// Gives the present connection up: the next call makes another, and calls that wait for an answer have lost theirs.
    pub fn make_anew(&self) {
        let number = match &*self.state.lock() {
            State::Up(up) => up.number,
            _ => return,
        };
        self.drop_connection(number);
    }

    /// From now on nothing comes of what is sent over this connection, as after a cut, until it is made anew.
    #[cfg(test)]
    pub async fn clog(self: &Arc<Self>) {
        let (client, drive) = C::connect(self.address, self.hello.clone(), CONNECT_TIMEOUT).await.expect("it answers");
        self.up(
            client,
            Box::pin(async move {
                let _kept_open = drive;
                std::future::pending().await
            }),
        );
    }

    /// What is known without trying: a client, or a failure too recent to try again.
    fn known(&self) -> Option<Result<(C, u64), Arc<ConnectError>>> {
        match &*self.state.lock() {
            State::Idle => None,
            State::Up(up) => Some(Ok((up.client.clone(), up.number))),
            State::Down { error, since } => (since.elapsed() < BACKOFF).then(|| Err(error.clone())),
        }
    }

    async fn client(self: &Arc<Self>) -> Result<(C, u64), Arc<ConnectError>> {
        if let Some(known) = self.known() {
            return known;
        }
        let _connecting = self.connecting.lock().await;
        if let Some(known) = self.known() {
            return known;
        }
        match C::connect(self.address, self.hello.clone(), CONNECT_TIMEOUT).await {
            Ok((client, drive)) => Ok(self.up(client, drive)),
            Err(error) => {
                let error = Arc::new(error);
                if error.is_gone() {
                    let _ = self.events.send(PeerEvent::Gone(self.server, C::SERVICE));
                }
                *self.state.lock() = State::Down { error: error.clone(), since: Instant::now() };
                Err(error)
            }
        }
    }

    fn up(self: &Arc<Self>, client: C, drive: BoxFuture<'static, ()>) -> (C, u64) {
        static NUMBERS: AtomicUsize = AtomicUsize::new(1);
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed) as u64;
        let driver = tokio::spawn(drive);
        let up = Up { client: client.clone(), driver: driver.abort_handle(), deaf_since: None, number };
        *self.state.lock() = State::Up(up);
        let _ = self.events.send(PeerEvent::Connected(self.server, C::SERVICE));
        tokio::spawn(self.clone().watch(number, driver));
        (client, number)
    }

    /// Notices the end of a connection, and finds out at once whether the other process is gone.
    async fn watch(self: Arc<Self>, number: u64, driver: tokio::task::JoinHandle<()>) {
        let _ = driver.await;
        self.drop_connection(number);
        let begun = Instant::now();
        while begun.elapsed() < PROBE_FOR {
            match self.client().await {
                Ok(_) => return,
                Err(error) if error.is_gone() => return,
                Err(_) => tokio::time::sleep(PROBE_PAUSE).await,
            }
        }
    }

    fn heard(&self, number: u64) {
        if let State::Up(up) = &mut *self.state.lock()
            && up.number == number
        {
            up.deaf_since = None;
        }
    }

    /// A call that began at `begun` had no answer in time.
    fn unheard(&self, number: u64, begun: Instant) {
        let deaf = match &mut *self.state.lock() {
            State::Up(up) if up.number == number => up.deaf_since.get_or_insert(begun).elapsed() > DEAF,
            _ => false,
        };
        if deaf {
            self.drop_connection(number);
        }
    }

    /// Gives a connection up; false if it was given up already.
    fn drop_connection(&self, number: u64) -> bool {
        let mut state = self.state.lock();
        match &*state {
            State::Up(up) if up.number == number => up.driver.abort(),
            _ => return false,
        }
        *state = State::Idle;
        drop(state);
        let _ = self.events.send(PeerEvent::Broken(self.server, C::SERVICE));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt;
    use raidfs_common::config::Durability;
    use raidfs_common::error::Rejection;
    use raidfs_common::id::{LogIndex, SessionId};
    use raidfs_common::namespace::{Query, Reply, Request};
    use raidfs_common::rpc::Welcome;
    use raidfs_common::rpc::names::{Changed, NamesService, Seen};
    use raidfs_common::wire::Wire;
    use tarpc::server::{BaseChannel, Channel};
    use tokio::net::TcpListener;
    use tokio::task::JoinSet;

    const PATIENCE: Duration = Duration::from_secs(10);
    const OTHER: ServerId = ServerId(2);

    /// Answers barriers, and other questions never.
    #[derive(Clone)]
    struct Other;

    impl NamesService for Other {
        async fn change(self, _: Context, _: Vec<Request>) -> Result<Changed, Rejection> {
            std::future::pending().await
        }
        async fn query(self, _: Context, _: LogIndex, _: Query) -> Result<(Seen, Reply), Rejection> {
            std::future::pending().await
        }
        async fn barrier(self, _: Context, _: SessionId, _: LogIndex) -> Result<(), Rejection> {
            Ok(())
        }
        async fn keep_alive(self, _: Context, _: SessionId) -> Result<Seen, Rejection> {
            std::future::pending().await
        }
        async fn watch(self, _: Context, _: u64) -> Result<Seen, Rejection> {
            std::future::pending().await
        }
        async fn newest(self, _: Context) -> Result<Seen, Rejection> {
            std::future::pending().await
        }
    }

    /// Serves until it is dropped.
    async fn serve(listener: TcpListener) {
        let mut guests = JoinSet::new();
        loop {
            let (mut stream, _) = listener.accept().await.expect("a listener accepts");
            guests.spawn(async move {
                wire::read_hello(&mut stream).await.expect("a caller says hello");
                wire::welcome(&mut stream, &Welcome::Yes).await.expect("it listens");
                let requests = BaseChannel::with_defaults(Wire::new(stream)).execute(Other.serve());
                let mut running = JoinSet::new();
                let mut requests = Box::pin(requests);
                while let Some(request) = requests.next().await {
                    running.spawn(request);
                }
            });
        }
    }

    /// A port below those that connections are given, so that it stays free while nobody listens.
    async fn peers() -> (TcpListener, SocketAddr, Arc<Peers>) {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let listener = loop {
            let n = std::process::id() as usize * 37 + NEXT.fetch_add(1, Ordering::Relaxed);
            if let Ok(listener) = TcpListener::bind(("127.0.0.1", 8_000 + (n % 2_000) as u16)).await {
                break listener;
            }
        };
        let address = listener.local_addr().expect("a listener has an address");
        let config = Config {
            cluster: "test".into(),
            pairs: vec![["127.0.0.1:1".parse().expect("an address"), address]],
            witness: "127.0.0.1:2".parse().expect("an address"),
            durability: Durability::Relaxed,
            io_timeout: PATIENCE,
            scrub_every: None,
        };
        (listener, address, Peers::new(&config, ServerId(1)))
    }

    async fn ask(peers: &Peers, timeout: Duration) -> Result<Result<(), Rejection>, CallError> {
        let call = |client: NamesServiceClient, context| async move {
            client.barrier(context, SessionId::CLUSTER, LogIndex(1)).await
        };
        peers.call(OTHER, timeout, call).await
    }

    /// Asks what is never answered.
    async fn ask_in_vain(peers: &Peers) {
        let call = |client: NamesServiceClient, context| async move { client.watch(context, 1).await };
        let answer = peers.call(OTHER, Duration::from_millis(50), call).await;
        assert!(matches!(answer, Err(CallError::Timeout(_))));
    }

    #[tokio::test]
    async fn a_dead_process_is_told_at_once_and_a_new_one_is_found() {
        let (listener, address, peers) = peers().await;
        let mut events = peers.subscribe();
        let server = tokio::spawn(serve(listener));
        assert_eq!(ask(&peers, PATIENCE).await.unwrap(), Ok(()));
        assert_eq!(events.recv().await.unwrap(), PeerEvent::Connected(OTHER, Service::Names));
        server.abort();
        let _ = server.await;
        // Without a call: the end of the connection is enough.
        assert_eq!(events.recv().await.unwrap(), PeerEvent::Broken(OTHER, Service::Names));
        assert_eq!(events.recv().await.unwrap(), PeerEvent::Gone(OTHER, Service::Names));
        assert!(ask(&peers, PATIENCE).await.unwrap_err().is_gone());
        let begun = Instant::now();
        let _server = tokio::spawn(serve(TcpListener::bind(address).await.unwrap()));
        while ask(&peers, PATIENCE).await.is_err() {
            assert!(begun.elapsed() < PATIENCE);
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_port_that_outlives_its_process_by_a_moment_is_probed_until_it_is_gone() {
        let (listener, _, peers) = peers().await;
        let dying = async {
            for _ in 0..4 {
                drop(listener.accept().await.unwrap());
            }
            drop(listener);
        };
        let (gone, ()) = tokio::join!(peers.probe(OTHER), dying);
        assert!(gone);
    }

    #[tokio::test]
    async fn a_connection_that_answers_nothing_is_made_anew_and_a_slow_call_costs_none() {
        let (listener, _, peers) = peers().await;
        let mut events = peers.subscribe();
        let _server = tokio::spawn(serve(listener));
        let begun = Instant::now();
        while !matches!(events.try_recv(), Ok(PeerEvent::Broken(..))) {
            ask_in_vain(&peers).await;
            assert!(begun.elapsed() < PATIENCE);
        }
        assert!(begun.elapsed() >= DEAF);
        // While other calls are answered, one that is not says nothing about the connection.
        let since = Instant::now();
        while since.elapsed() < DEAF + Duration::from_millis(200) {
            ask_in_vain(&peers).await;
            assert_eq!(ask(&peers, PATIENCE).await.unwrap(), Ok(()));
        }
        while let Ok(event) = events.try_recv() {
            assert!(!matches!(event, PeerEvent::Broken(..)));
        }
    }

    #[tokio::test]
    async fn there_is_no_server_but_the_configured() {
        let (_, _, peers) = peers().await;
        let call = |client: NamesServiceClient, context| async move {
            client.barrier(context, SessionId::CLUSTER, LogIndex(1)).await
        };
        assert!(matches!(peers.call(ServerId(9), PATIENCE, call).await, Err(CallError::Unknown(_))));
    }

    #[tokio::test]
    async fn who_missed_some_events_hears_the_later_ones() {
        let (told, mut events) = broadcast::channel(2);
        for n in 1..=5 {
            told.send(PeerEvent::Gone(ServerId(n), Service::Peer)).unwrap();
        }
        assert_eq!(next_gone(&mut events).await, Some(ServerId(4)));
        assert_eq!(next_gone(&mut events).await, Some(ServerId(5)));
        drop(told);
        assert_eq!(next_gone(&mut events).await, None);
    }
}
