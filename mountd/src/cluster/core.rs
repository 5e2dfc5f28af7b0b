//! What all parts of the client share: the links, the router, what was seen, whether the session lives; and the one
//! engine that brings a request about names to a server that serves it. Knows nothing of chunks.

use super::connection::{Link, NoAnswer, OnPresence};
use super::events::Attendance;
use super::needs::Needs;
use super::pairs::PairStates;
use super::retry::{Pauses, Retry};
use super::router::{Aim, Router, Search, Step};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
use raidfs_common::config::Config;
use raidfs_common::error::{NextMove, Rejection};
use raidfs_common::id::{Ino, LogIndex, ServerId, SessionId};
use raidfs_common::namespace::Request;
use raidfs_common::rpc::names::{NamesServiceClient, Seen};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tarpc::client::RpcError;
use tarpc::context::Context;
use tokio::sync::watch;

/// Pauses of a search for who serves: short, so that a new leader is found within a few milliseconds.
const SEARCH_PAUSES: Pauses = Pauses { shortest: Duration::from_millis(2), longest: Duration::from_millis(20) };
/// The same while an answer is awaited from a leader that is only slow.
const SLOW_PAUSES: Pauses = Pauses { shortest: Duration::from_millis(20), longest: Duration::from_millis(100) };
/// A leader that has not answered by then may have gone: others are asked.
const LEADER_PATIENCE: Duration = Duration::from_millis(150);
/// A question that was not answered by then is asked of another server.
const QUESTION_PATIENCE: Duration = Duration::from_millis(100);
/// A single try ends then; the request goes on with another.
const TRY_MAX: Duration = Duration::from_secs(3);

/// Why a request failed for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failed {
    /// Nobody served it within `io_timeout`. It may have happened, or may still.
    Late,
    /// The mount session is not open any more.
    NoSession,
    /// A server says that nothing helps.
    Refused(Rejection),
}

/// How the mount session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// There is none: read-only tools.
    None,
    /// It is open.
    Open,
    /// It lapsed, or another mount took over.
    Lost,
    /// It was ended.
    Closed,
}

/// Shared by all parts.
pub struct Core {
    /// The cluster.
    pub config: Config,
    /// The connections.
    pub links: BTreeMap<ServerId, Link>,
    /// Who is where.
    pub attendance: Arc<Attendance>,
    /// The pairs' states.
    pub pairs: PairStates,
    /// Whose requests these are, once a session of this number is open.
    pub session: SessionId,
    state: watch::Sender<SessionState>,
    router: Arc<Mutex<Router>>,
    seen: AtomicU64,
    needs: Mutex<Needs>,
    seeds: AtomicU64,
}

/// One try of a request: what a server said, or why it said nothing.
type Try<T> = Result<Result<(Seen, T), Rejection>, NoAnswer>;

impl Core {
    /// Connects to nobody yet.
    pub fn new(config: &Config, session: SessionId, seed: u64) -> Arc<Core> {
        let attendance = Arc::new(Attendance::default());
        let router = Arc::new(Mutex::new(Router::new(config.servers(), seed)));
        let on_presence: OnPresence = {
            let router = Arc::clone(&router);
            Arc::new(move |server, here| router.lock().connected(server, here))
        };
        let link = |server| (server, Link::new(config, server, Arc::clone(&attendance), Arc::clone(&on_presence)));
        Arc::new(Core {
            config: config.clone(),
            links: config.servers().map(link).collect(),
            attendance,
            pairs: PairStates::default(),
            session,
            state: watch::Sender::new(SessionState::None),
            router,
            seen: AtomicU64::new(0),
            needs: Mutex::default(),
            seeds: AtomicU64::new(seed),
        })
    }

    /// The highest log index over all answers: nothing older is ever read.
    pub fn seen(&self) -> LogIndex {
        LogIndex(self.seen.load(Ordering::Acquire))
    }

    /// These changes are made, in entries not behind `index`.
    pub fn note_made(&self, requests: &[Request], index: LogIndex) {
        let mut needs = self.needs.lock();
        requests.iter().for_each(|request| needs.note(&request.change, index));
    }

    /// What a server must have applied before it serves chunks of these files. Without a session others may change
    /// them: then everything that was seen.
    pub fn needed(&self, files: impl IntoIterator<Item = Ino>) -> LogIndex {
        if *self.state.borrow() != SessionState::Open {
            return self.seen();
        }
        let needs = self.needs.lock();
        files.into_iter().map(|ino| needs.of(ino)).max().unwrap_or_default()
    }

    /// Takes notice of what an answer said besides what was asked.
    pub fn notice(&self, seen: Seen) {
        self.seen.fetch_max(seen.index.0, Ordering::AcqRel);
        self.pairs.heard_of(seen.pairs_version);
    }

    /// A number for jitter.
    pub fn seed(&self) -> u64 {
        self.seeds.fetch_add(1, Ordering::Relaxed)
    }

    /// When an operation that begins now gives up.
    pub fn deadline(&self) -> Instant {
        Instant::now() + self.config.io_timeout
    }

    /// How the session stands, now and later.
    pub fn session_state(&self) -> watch::Receiver<SessionState> {
        self.state.subscribe()
    }

    /// Whether the session has ended, by us or by others.
    pub fn is_over(&self) -> bool {
        matches!(*self.state.borrow(), SessionState::Lost | SessionState::Closed)
    }

    /// Moves the session's state on; an ended session stays ended.
    pub fn set_session(&self, to: SessionState) {
        self.state.send_if_modified(|state| {
            let moves = matches!(state, SessionState::None | SessionState::Open) && *state != to;
            if moves {
                *state = to;
            }
            moves
        });
    }

    /// A server says that the session is not open.
    pub fn session_lost(&self) {
        if *self.state.borrow() == SessionState::Open {
            tracing::error!(
                "the mount session {:x} is not open any more: it lapsed, or another mount took over; \
                 every operation fails until the file system is mounted again",
                self.session.0
            );
            self.set_session(SessionState::Lost);
        }
    }

    /// The link to a server.
    pub fn link(&self, server: ServerId) -> &Link {
        self.links.get(&server).expect("only servers of the configuration are asked")
    }

    /// Whether `server` is one of the configuration's.
    pub fn knows(&self, server: ServerId) -> bool {
        self.links.contains_key(&server)
    }

    /// Brings a request to a server that serves it, through failures and changes of the leader, until `deadline`.
    /// `send` is called for each try, and must send the same request each time.
    pub async fn obtain<T, F>(
        &self,
        aim: Aim,
        deadline: Instant,
        send: impl Fn(NamesServiceClient, Context) -> F + Clone + Send,
    ) -> Result<T, Failed>
    where
        T: Send,
        F: Future<Output = Result<Result<(Seen, T), Rejection>, RpcError>> + Send,
    {
        Errand::new(self, aim, deadline, send).run().await
    }
}

/// One request on its way. Several tries may be under way at once: a late one goes on while others are asked.
struct Errand<'a, T, S> {
    core: &'a Core,
    aim: Aim,
    search: Search,
    retry: Retry,
    slow: Retry,
    under_way: FuturesUnordered<BoxFuture<'a, (ServerId, Instant, Try<T>)>>,
    asking: Vec<(ServerId, Instant)>,
    /// A try has taken longer than usual: others are asked without waiting as long again.
    is_late: bool,
    send: S,
}

/// What comes next for a request.
enum Turn<T> {
    Answer(ServerId, Instant, Try<T>),
    Late,
    GiveUp,
}

impl<'a, T, F, S> Errand<'a, T, S>
where
    T: Send + 'a,
    F: Future<Output = Result<Result<(Seen, T), Rejection>, RpcError>> + Send + 'a,
    S: Fn(NamesServiceClient, Context) -> F + Clone + Send + 'a,
{
    fn new(core: &'a Core, aim: Aim, deadline: Instant, send: S) -> Self {
        Errand {
            core,
            aim,
            search: Search::new(aim),
            retry: Retry::until(deadline, SEARCH_PAUSES, core.seed()),
            slow: Retry::until(deadline, SLOW_PAUSES, core.seed()),
            under_way: FuturesUnordered::new(),
            asking: Vec::new(),
            is_late: false,
            send,
        }
    }

    async fn run(mut self) -> Result<T, Failed> {
        self.ask_next().await?;
        loop {
            match self.turn().await {
                Turn::Answer(server, asked, answer) => {
                    self.asking.retain(|(s, _)| *s != server);
                    match self.judge(server, asked, answer) {
                        Some(result) => return result,
                        None if self.under_way.is_empty() || self.search.has_hint() => self.ask_next().await?,
                        // Somebody is still being waited for: look for another, but without haste.
                        None => {}
                    }
                }
                Turn::Late => {
                    self.is_late = true;
                    if self.may_ask_another() {
                        self.ask_next().await?;
                    }
                }
                Turn::GiveUp => return Err(Failed::Late),
            }
        }
    }

    /// Waits for an answer, or until another server should be asked.
    async fn turn(&mut self) -> Turn<T> {
        let now = Instant::now();
        let Some(left) = self.retry.left(now) else { return Turn::GiveUp };
        let patience = match self.aim {
            _ if self.is_late => self.slow.pause(now).unwrap_or(left),
            Aim::Any => QUESTION_PATIENCE,
            Aim::Leader => LEADER_PATIENCE,
        };
        tokio::select! {
            biased;
            Some((server, asked, answer)) = self.under_way.next() => Turn::Answer(server, asked, answer),
            () = tokio::time::sleep(patience.min(left)) => if patience < left { Turn::Late } else { Turn::GiveUp },
        }
    }

    /// Whether a late request may be asked of another server. Of a leader: always, others reject it at once. A
    /// question: if a server is merely slow only within the hedges' bound, if it is silent always.
    fn may_ask_another(&mut self) -> bool {
        if self.aim == Aim::Leader {
            return true;
        }
        let silent = self.asking.iter().all(|(server, asked)| self.core.link(*server).heard() < *asked);
        for (server, _) in &self.asking {
            self.core.router.lock().lags(*server, Instant::now());
        }
        silent || self.core.router.lock().may_hedge()
    }

    /// Starts the next try, after a pause if everybody was asked.
    async fn ask_next(&mut self) -> Result<(), Failed> {
        loop {
            let now = Instant::now();
            if self.retry.left(now).is_none() {
                return Err(Failed::Late);
            }
            let step = self.core.router.lock().step(&mut self.search, now);
            match step {
                Step::Ask(server) if self.asking.iter().any(|(s, _)| *s == server) => {}
                Step::Ask(server) => {
                    self.start(server, now);
                    return Ok(());
                }
                Step::Pause if !self.under_way.is_empty() => return Ok(()),
                Step::Pause => {
                    let Some(pause) = self.retry.pause(now) else { return Err(Failed::Late) };
                    let mut changes = self.core.attendance.changes();
                    // A server that comes back may be the one that everybody waits for.
                    let _ = tokio::time::timeout(pause, changes.changed()).await;
                }
            }
        }
    }

    fn start(&mut self, server: ServerId, now: Instant) {
        let link = self.core.link(server);
        let until = (now + TRY_MAX).min(self.retry.deadline());
        let answer = link.names(self.aim == Aim::Any, until, self.send.clone());
        self.asking.push((server, now));
        self.under_way.push(Box::pin(async move { (server, now, answer.await) }));
    }

    /// Learns from an answer; Some: the request has ended.
    fn judge(&mut self, server: ServerId, _asked: Instant, answer: Try<T>) -> Option<Result<T, Failed>> {
        let now = Instant::now();
        let mut router = self.core.router.lock();
        match answer {
            Ok(Ok((seen, value))) => {
                if self.aim == Aim::Leader {
                    router.leads(server);
                }
                drop(router);
                self.core.notice(seen);
                return Some(Ok(value));
            }
            Ok(Err(Rejection::NoSession)) => {
                drop(router);
                self.core.session_lost();
                return Some(Err(Failed::NoSession));
            }
            Ok(Err(rejection)) => match rejection.next_move() {
                NextMove::GiveUp => return Some(Err(Failed::Refused(rejection))),
                NextMove::Ask(leader) => {
                    router.does_not_lead(server, Some(leader));
                    self.search.hint(leader);
                }
                NextMove::Another | NextMove::Refresh | NextMove::OtherMirror => {
                    if rejection == (Rejection::NotLeader { leader: None }) {
                        router.does_not_lead(server, None);
                    }
                    router.lags(server, now);
                }
            },
            Err(NoAnswer::Crowded | NoAnswer::Late) => router.lags(server, now),
            Err(NoAnswer::Lost | NoAnswer::NotConnected) => {}
        }
        None
    }
}
