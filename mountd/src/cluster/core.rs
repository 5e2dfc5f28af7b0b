//! What all parts of the client share: the links, the router, what was seen, whether the session lives.

use super::connection::{Link, OnPresence};
use super::errand::{Errand, Failed};
use super::events::Attendance;
use super::needs::Needs;
use super::pairs::PairStates;
use super::router::{Aim, Router};
use parking_lot::Mutex;
use raidfs_common::config::Config;
use raidfs_common::error::Rejection;
use raidfs_common::id::{Ino, LogIndex, ServerId, SessionId};
use raidfs_common::namespace::Request;
use raidfs_common::rpc::names::{NamesServiceClient, Seen};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use tarpc::client::RpcError;
use tarpc::context::Context;
use tokio::sync::watch;

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
    /// What is known of who serves what.
    pub router: Arc<Mutex<Router>>,
    seen: AtomicU64,
    needs: Mutex<Needs>,
    seeds: AtomicU64,
}

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

    /// What the cluster knows, at least everything that anybody was told of before this was asked.
    pub async fn newest(&self, deadline: Instant) -> Result<Seen, Failed> {
        let ask = |client: NamesServiceClient, context| async move {
            let newest = client.newest(context).await?;
            Ok(newest.map(|seen| (seen, seen)))
        };
        self.obtain(Aim::Leader, deadline, ask).await
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
