//! Connections to one server: made lazily, kept up in the background, several for chunks and several for names so
//! that bulk data never stands in front of a name. Acts only: whom to ask and what to do after a failure is decided
//! elsewhere.
//!
//! A connection that breaks fails everything under way on it at once. One on which nothing is heard for
//! [`SILENT_FOR`] while a request has run into its deadline is cut, so that a hung server counts as lost.

use super::events::Attendance;
use super::survey::hello;
use super::ways::{self, Way};
use futures::FutureExt;
use parking_lot::Mutex;
use raidfs_common::config::Config;
use raidfs_common::id::ServerId;
use raidfs_common::log::chain;
use raidfs_common::rpc::chunks::{ChunkServiceClient, ChunkServiceRequest, ChunkServiceResponse};
use raidfs_common::rpc::names::{NamesServiceClient, NamesServiceRequest, NamesServiceResponse};
use raidfs_common::rpc::{Hello, Service};
use raidfs_common::stream::Stream;
use raidfs_common::wire::{ConnectError, Wire};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tarpc::client::RpcError;
use tarpc::context::Context;
use tarpc::{ClientMessage, Response};
use tokio::sync::{Notify, Semaphore, SemaphorePermit, watch};

/// The first pause before connecting again; each is twice the last.
const RECONNECT_MIN: Duration = Duration::from_millis(5);
/// The longest one.
const RECONNECT_MAX: Duration = Duration::from_millis(500);
/// The longest one while somebody wants the connection.
const RECONNECT_WANTED: Duration = Duration::from_millis(25);
/// That a server is reached by way of others only is said once it has lasted for so long.
const TELL_AFTER: Duration = Duration::from_secs(2);
/// A connection that lived for so long was a good one: the pauses begin anew.
const GOOD_AFTER: Duration = Duration::from_secs(1);
/// For connecting and both hellos.
const CONNECT_PATIENCE: Duration = Duration::from_secs(1);
/// A connection that was silent for so long, though somebody waits, is cut.
pub const SILENT_FOR: Duration = Duration::from_millis(700);
const NAMES_LANES: usize = 2;
const CHUNK_LANES: usize = 2;
/// Payload bytes under way to and from one server; more wait.
const IN_FLIGHT_MAX_BYTES: usize = 32 << 20;
const PERMIT_BYTES: usize = 4096;
/// Requests under way on one connection before tarpc lets them wait; bytes are bounded above.
const REQUESTS_MAX: usize = 4096;

/// Why a call gave no answer. What was asked may have happened, or may still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// There is no connection: it was not sent.
    NotConnected,
    /// The connection broke.
    Lost,
    /// The deadline came first.
    Late,
    /// The server's RPC layer refuses more requests.
    Crowded,
}

/// A tarpc client of one of our services.
pub trait Speaks: Clone + Send + Sync + 'static {
    /// Which service it speaks.
    const SERVICE: Service;
    /// What it receives.
    type In: Send + 'static;
    /// What it sends.
    type Out: Send + 'static;
    /// A client over a connection, and the future that drives it until the connection ends.
    fn over(wire: Wire<Self::In, Self::Out>) -> (Self, Pin<Box<dyn Future<Output = ()> + Send>>);
}

macro_rules! speaks {
    ($client:ident, $service:expr, $request:ident, $response:ident) => {
        impl Speaks for $client {
            const SERVICE: Service = $service;
            type In = Response<$response>;
            type Out = ClientMessage<$request>;
            fn over(wire: Wire<Self::In, Self::Out>) -> (Self, Pin<Box<dyn Future<Output = ()> + Send>>) {
                let mut config = tarpc::client::Config::default();
                config.max_in_flight_requests = REQUESTS_MAX;
                let new = $client::new(config, wire);
                let drive = async move {
                    // Why it ended is of no use: what was under way is retried elsewhere, and connecting again says
                    // what is wrong.
                    let _ = new.dispatch.await;
                };
                (new.client, Box::pin(drive))
            }
        }
    };
}

speaks!(NamesServiceClient, Service::Names, NamesServiceRequest, NamesServiceResponse);
speaks!(ChunkServiceClient, Service::Chunks, ChunkServiceRequest, ChunkServiceResponse);

#[derive(Clone)]
enum State<C> {
    /// The first attempt to connect has not ended.
    New,
    Up(C),
    Down,
}

/// Told when the first connection to a server is made, or the last one lost.
pub type OnPresence = Arc<dyn Fn(ServerId, bool) + Send + Sync>;

/// What all connections to one server share.
struct Ground {
    server: ServerId,
    config: Config,
    attendance: Arc<Attendance>,
    on_presence: OnPresence,
    /// When the server last answered anything, in microseconds since `epoch`.
    heard_us: AtomicU64,
    epoch: Instant,
    /// The last reason for having no connection, for messages and so that it is logged once.
    trouble: Mutex<Option<String>>,
    /// The last try to connect was answered: with a refusal.
    refused: AtomicBool,
    /// Connections to it are passed on by others: so that a change of that is logged once.
    indirect: AtomicBool,
    closed: watch::Sender<bool>,
}

impl Ground {
    fn hears(&self) {
        self.heard_us.store(self.epoch.elapsed().as_micros() as u64, Ordering::Relaxed);
    }

    fn heard(&self) -> Instant {
        self.epoch + Duration::from_micros(self.heard_us.load(Ordering::Relaxed))
    }

    fn has_trouble(&self, error: &ConnectError) {
        let text = chain(error);
        let mut trouble = self.trouble.lock();
        // A server that is away is told of when it is lost; one that refuses us needs an operator.
        let refused = matches!(error, ConnectError::Refused(_) | ConnectError::Foreign);
        self.refused.store(refused, Ordering::Relaxed);
        if refused && trouble.as_deref() != Some(&text) {
            tracing::warn!("{}: {text}", self.server);
        }
        *trouble = Some(text);
    }

    fn goes(&self, way: Way) {
        if self.indirect.swap(way != Way::Direct, Ordering::Relaxed) != (way != Way::Direct) {
            let (server, address) = (self.server, self.config.address(self.server));
            let address = address.map(|address| address.to_string()).unwrap_or_default();
            match way {
                Way::Direct => tracing::info!("{server} answers at {address} again: it is reached directly"),
                Way::By(other) => tracing::warn!(
                    "{server} does not answer at {address}, but {other} reaches it: what is for it goes by way of others; \
                     look at the network between here and there"
                ),
            }
        }
    }
}

/// One connection: a task keeps it up from the first use on.
struct Lane<C> {
    state: watch::Sender<State<C>>,
    started: AtomicBool,
    cut: Notify,
    /// Somebody has no use for waiting until the next try.
    wanted: Notify,
    /// When anything was last answered on it.
    heard: Mutex<Instant>,
}

impl<C: Speaks> Lane<C> {
    fn new() -> Arc<Lane<C>> {
        Arc::new(Lane {
            state: watch::Sender::new(State::New),
            started: AtomicBool::new(false),
            cut: Notify::new(),
            wanted: Notify::new(),
            heard: Mutex::new(Instant::now()),
        })
    }

    fn hears(&self, ground: &Ground) {
        *self.heard.lock() = Instant::now();
        ground.hears();
    }

    fn start(self: &Arc<Self>, ground: &Arc<Ground>) {
        if !self.started.swap(true, Ordering::Relaxed) {
            tokio::spawn(Arc::clone(self).keep_up(Arc::clone(ground)));
        }
    }

    async fn keep_up(self: Arc<Self>, ground: Arc<Ground>) {
        let mut closed = ground.closed.subscribe();
        tokio::select! {
            _ = self.connect_for_ever(&ground) => {}
            _ = closed.wait_for(|closed| *closed) => {}
        }
        if matches!(self.state.send_replace(State::Down), State::Up(_)) {
            ground.attendance.went_quietly(ground.server);
        }
    }

    async fn connect_for_ever(&self, ground: &Ground) {
        let hello: Hello = hello(&ground.config, ground.server, C::SERVICE);
        let mut pause = RECONNECT_MIN;
        loop {
            match ways::connect(&ground.config, &hello, CONNECT_PATIENCE, self.wanted.notified()).await {
                Ok((stream, way)) => {
                    let since = Instant::now();
                    if way == Way::Direct {
                        ground.goes(way);
                    }
                    self.live(stream, way, ground, &hello).await;
                    if since.elapsed() >= GOOD_AFTER {
                        pause = RECONNECT_MIN;
                    }
                }
                Err(error) => {
                    ground.has_trouble(&error);
                    self.state.send_if_modified(|state| {
                        let news = matches!(state, State::New);
                        *state = State::Down;
                        news
                    });
                }
            }
            // Who is wanted is tried again soon: it may have come back while this waited, and be the only one left.
            tokio::time::sleep(RECONNECT_WANTED.min(pause)).await;
            let _ = tokio::time::timeout(pause.saturating_sub(RECONNECT_WANTED), self.wanted.notified()).await;
            pause = (pause * 2).min(RECONNECT_MAX);
        }
    }

    async fn live(&self, stream: Stream, way: Way, ground: &Ground, hello: &Hello) {
        let (client, mut drive) = C::over(Wire::new(stream));
        *ground.trouble.lock() = None;
        ground.refused.store(false, Ordering::Relaxed);
        self.hears(ground);
        // A cut that was meant for the connection before this one.
        let _ = self.cut.notified().now_or_never();
        self.state.send_replace(State::Up(client));
        if ground.attendance.came(ground.server) {
            (ground.on_presence)(ground.server, true);
        }
        if way != Way::Direct {
            // A server that has just started may be reached by others a moment before it is from here.
            let tell = async {
                tokio::time::sleep(TELL_AFTER).await;
                ground.goes(way);
                std::future::pending().await
            };
            let direct = tokio::select! {
                () = tell => None,
                () = &mut drive => None,
                () = self.cut.notified() => None,
                direct = ways::directly_again(&ground.config, hello) => Some(direct),
            };
            if let Some(direct) = direct {
                ground.goes(Way::Direct);
                self.hears(ground);
                // Nor one that was meant for the old way.
                let _ = self.cut.notified().now_or_never();
                let (client, directly) = C::over(Wire::new(direct));
                self.state.send_replace(State::Up(client));
                // What is under way by the old way is lost, and asked again: who passes it on may hang.
                drive = directly;
            } else {
                self.gone(ground);
                return;
            }
        }
        tokio::select! {
            () = drive => {}
            () = self.cut.notified() => {}
        }
        self.gone(ground);
    }

    fn gone(&self, ground: &Ground) {
        self.state.send_replace(State::Down);
        if ground.attendance.went(ground.server) {
            (ground.on_presence)(ground.server, false);
        }
    }

    /// The client, after the first attempt to connect has ended.
    async fn client(&self, deadline: Instant) -> Result<C, NoAnswer> {
        if let State::Up(client) = &*self.state.borrow() {
            return Ok(client.clone());
        }
        self.wanted.notify_one();
        let mut state = self.state.subscribe();
        let known = state.wait_for(|state| !matches!(state, State::New));
        match tokio::time::timeout_at(deadline.into(), known).await {
            Ok(Ok(state)) => match &*state {
                State::Up(client) => Ok(client.clone()),
                _ => Err(NoAnswer::NotConnected),
            },
            Ok(Err(_)) => Err(NoAnswer::NotConnected),
            Err(_) => Err(NoAnswer::Late),
        }
    }
}

/// All connections to one server.
pub struct Link {
    ground: Arc<Ground>,
    names: Vec<Arc<Lane<NamesServiceClient>>>,
    chunks: Vec<Arc<Lane<ChunkServiceClient>>>,
    turn: AtomicUsize,
    bytes: Semaphore,
}

impl Link {
    /// No connection is made before it is used.
    pub fn new(config: &Config, server: ServerId, attendance: Arc<Attendance>, on_presence: OnPresence) -> Link {
        let ground = Ground {
            server,
            config: config.clone(),
            attendance,
            on_presence,
            heard_us: AtomicU64::new(0),
            epoch: Instant::now(),
            trouble: Mutex::new(None),
            refused: AtomicBool::new(false),
            indirect: AtomicBool::new(false),
            closed: watch::Sender::new(false),
        };
        Link {
            ground: Arc::new(ground),
            names: (0..NAMES_LANES).map(|_| Lane::new()).collect(),
            chunks: (0..CHUNK_LANES).map(|_| Lane::new()).collect(),
            turn: AtomicUsize::new(0),
            bytes: Semaphore::new(IN_FLIGHT_MAX_BYTES / PERMIT_BYTES),
        }
    }

    /// Asks the names service. `questions` go over another connection than changes, whose latency counts more.
    pub async fn names<T, F>(
        &self,
        questions: bool,
        deadline: Instant,
        ask: impl FnOnce(NamesServiceClient, Context) -> F,
    ) -> Result<T, NoAnswer>
    where
        F: Future<Output = Result<T, RpcError>>,
    {
        self.call(&self.names[usize::from(questions)], deadline, ask).await
    }

    /// Asks the chunk service; connections are used in turn.
    pub async fn chunks<T, F>(
        &self,
        deadline: Instant,
        ask: impl FnOnce(ChunkServiceClient, Context) -> F,
    ) -> Result<T, NoAnswer>
    where
        F: Future<Output = Result<T, RpcError>>,
    {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        self.call(&self.chunks[turn % CHUNK_LANES], deadline, ask).await
    }

    async fn call<C: Speaks, T, F>(
        &self,
        lane: &Arc<Lane<C>>,
        deadline: Instant,
        ask: impl FnOnce(C, Context) -> F,
    ) -> Result<T, NoAnswer>
    where
        F: Future<Output = Result<T, RpcError>>,
    {
        lane.start(&self.ground);
        let client = lane.client(deadline).await?;
        let mut context = tarpc::context::current();
        context.deadline = deadline;
        let asked = Instant::now();
        let answer = ask(client, context).await;
        match answer {
            Ok(answer) => {
                lane.hears(&self.ground);
                Ok(answer)
            }
            Err(RpcError::DeadlineExceeded) => {
                if asked.elapsed() >= SILENT_FOR && self.ground.heard() < asked {
                    self.cut_all();
                } else if asked.elapsed() >= SILENT_FOR && *lane.heard.lock() < asked {
                    lane.cut.notify_one();
                }
                Err(NoAnswer::Late)
            }
            Err(RpcError::Server(_)) => {
                lane.hears(&self.ground);
                Err(NoAnswer::Crowded)
            }
            Err(RpcError::Shutdown | RpcError::Send(_) | RpcError::Channel(_)) => Err(NoAnswer::Lost),
        }
    }

    /// The server is silent on all connections: it counts as lost, and is connected to anew.
    fn cut_all(&self) {
        self.names.iter().for_each(|lane| lane.cut.notify_one());
        self.chunks.iter().for_each(|lane| lane.cut.notify_one());
    }

    /// Room for `bytes` of payload; given back when dropped.
    pub async fn room(&self, bytes: usize, deadline: Instant) -> Result<SemaphorePermit<'_>, NoAnswer> {
        let permits = bytes.div_ceil(PERMIT_BYTES).clamp(1, IN_FLIGHT_MAX_BYTES / PERMIT_BYTES);
        let room = self.bytes.acquire_many(permits as u32);
        match tokio::time::timeout_at(deadline.into(), room).await {
            Ok(permit) => Ok(permit.expect("the semaphore is never closed")),
            Err(_) => Err(NoAnswer::Late),
        }
    }

    /// Starts connecting for names, if nothing did yet, and returns once it is known whether the server is there, or
    /// at the deadline.
    pub async fn reach(&self, deadline: Instant) -> bool {
        self.names.iter().for_each(|lane| lane.start(&self.ground));
        self.names[0].client(deadline).await.is_ok()
    }

    /// Starts connecting for chunks, so that the first read does not wait for it.
    pub fn warm_up(&self) {
        self.chunks.iter().for_each(|lane| lane.start(&self.ground));
    }

    /// When the server last answered anything.
    pub fn heard(&self) -> Instant {
        self.ground.heard()
    }

    /// Whether it is there and does not want us: waiting does not help.
    pub fn is_refused(&self) -> bool {
        self.ground.refused.load(Ordering::Relaxed)
    }

    /// Why there is no connection, as far as is known.
    pub fn trouble(&self) -> Option<String> {
        self.ground.trouble.lock().clone()
    }

    /// Ends all connections for good.
    pub fn close(&self) {
        self.ground.closed.send_replace(true);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.close();
    }
}
