//! The core at work: its timers, its messages, its syncs, the entries it has agreed on applied in order, and the callers
//! that wait for all that. Everything runs on one current-thread runtime; only syncs and snapshots leave it.

use super::core::{Core, Failure, Now, Output, Setup};
use super::keep::Keep;
use super::log::{LogStore, NotWritten, SyncJob, SyncMark};
use bytes::Bytes;
use parking_lot::Mutex;
use raidfs_common::id::{Incarnation, LogIndex, ServerId, Term};
use raidfs_common::plant::{Bug, planted};
use raidfs_common::rpc::peer::{AppendReply, AppendRequest, LogEntry, SnapshotPiece, VoteReply, VoteRequest};
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc, oneshot, watch};

/// What agreed entries are applied to.
pub trait Machine: Send + Sync + 'static {
    /// What a proposer is told.
    type Outcome: Send + 'static;
    /// Applies the next entry.
    fn apply(&self, entry: &LogEntry) -> Self::Outcome;
    /// What it has applied, durably or not.
    fn applied(&self) -> (LogIndex, Term);
    /// The lives of voters by what is applied, for [`super::lives::Lives`].
    fn lives(&self) -> BTreeMap<ServerId, Incarnation>;
    /// Something about agreement changed; called after each step, must be quick.
    fn observe(&self, status: &Status);
    /// Pieces of the whole state after the returned entry, for a voter that is too far behind. Blocking.
    fn snapshot(&self) -> io::Result<(LogIndex, Term, PieceStream)>;
    /// Takes a piece of another's state, if it is the next one ([`super::pieces::Pieces`]); with the last one the state is
    /// replaced. Blocking.
    fn install(&self, piece: SnapshotPiece) -> io::Result<()>;
}

/// The pieces of a snapshot, in order.
pub type PieceStream = Box<dyn Iterator<Item = io::Result<Bytes>> + Send>;

/// How messages reach the other voters. None: no answer.
pub trait Transport: Send + Sync + 'static {
    /// Asks for a vote.
    fn vote(&self, to: ServerId, request: VoteRequest) -> impl Future<Output = Option<VoteReply>> + Send;
    /// Sends entries.
    fn append(&self, to: ServerId, request: AppendRequest) -> impl Future<Output = Option<AppendReply>> + Send;
    /// Sends a piece of a snapshot.
    fn snapshot(&self, to: ServerId, piece: SnapshotPiece) -> impl Future<Output = Option<(Term, bool)>> + Send;
    /// Tells a voter to take over.
    fn take_over(&self, to: ServerId, term: Term) -> impl Future<Output = Option<bool>> + Send;
    /// Whether a voter answers soon over a connection that is used for this alone, and made anew whenever it did not.
    fn ping(&self, to: ServerId) -> impl Future<Output = bool> + Send;
}

/// What is known of agreement at the moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// This voter's term.
    pub term: Term,
    /// Who leads, as far as it knows.
    pub leader: Option<ServerId>,
    /// It leads, and knows all that was ever agreed.
    pub leads: bool,
    /// Agreed up to here.
    pub commit: LogIndex,
    /// Agreed and durable on a quorum up to here.
    pub durable: LogIndex,
    /// All that was agreed before this life is among that.
    pub knows_all_before: bool,
    /// Enough servers have durably applied up to here.
    pub spare: LogIndex,
    /// When its lease counts from.
    pub lease_from: Option<Instant>,
    /// The log's end.
    pub last: LogIndex,
    /// It may have forgotten entries, and does not vote.
    pub doubtful: bool,
}

/// Why a proposal has no outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// Nothing was proposed: this voter does not lead.
    #[error("not the leader")]
    NotLeader,
    /// It was proposed, and another entry stands in its place, or the lead went away: it may or may not be made.
    #[error("the lead was lost")]
    Unknown,
}

/// Why a voter cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fatal {
    /// Its log cannot be relied on: the process must end, uncleanly (rule 18).
    Broken(String),
    /// Its log has no room. What it has acknowledged is there.
    NoRoom(String),
    /// An entry of its log is there, but is not what was written: the next life cuts it off with all that follows, is doubtful,
    /// and has it from the others.
    Damaged(String),
    /// What it has applied is of a history that the others did not go on from: it must be dropped (rule 4).
    OtherHistory(String),
}

/// A step applies for so long at most.
const APPLY_SPAN: Duration = Duration::from_millis(5);
/// What is read of the log at once for that: what is not applied in time is read again in the next turn.
const APPLY_PIECE_BYTES: usize = 16 << 10;

struct Waiter<O> {
    term: Term,
    answer: oneshot::Sender<Result<(LogIndex, O), Lost>>,
}

struct Inner<L, M: Machine> {
    core: Core<L>,
    applied: LogIndex,
    waiters: BTreeMap<LogIndex, Waiter<M::Outcome>>,
    syncing: bool,
    sync_again: bool,
    /// Another's state is about to replace what is applied: nothing is applied meanwhile.
    replacing: bool,
    /// More is agreed than one step applies,
    backlog: bool,
    /// and another step is on its way.
    again: bool,
    status: Status,
}

/// One voter at work.
pub struct Node<L, M: Machine, T> {
    inner: Mutex<Inner<L, M>>,
    machine: Arc<M>,
    transport: Arc<T>,
    started: Instant,
    /// Wakes the timer when the next tick has moved.
    timer: Notify,
    status: watch::Sender<Status>,
    durable: watch::Sender<LogIndex>,
    syncs: mpsc::UnboundedSender<SyncJob>,
    fatal: watch::Sender<Option<Fatal>>,
    in_doubt: AtomicBool,
    me: ServerId,
}

impl<L, M: Machine, T> std::fmt::Debug for Node<L, M, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("me", &self.me).finish_non_exhaustive()
    }
}

impl<L: LogStore + Send + 'static, M: Machine, T: Transport> Node<L, M, T> {
    /// Starts a voter on the current runtime.
    pub fn start(setup: Setup, log: L, machine: Arc<M>, transport: Arc<T>) -> Arc<Self> {
        let me = setup.me;
        let applied = machine.applied().0;
        let mut core = Core::new(setup, log, applied, Duration::ZERO);
        core.agree_on_lives(applied, machine.lives());
        let started = Instant::now();
        // Who looks before the first step must not take a voter that may have forgotten entries for one that has not.
        let status = status_of(&core, applied, started);
        machine.observe(&status);
        let (syncs, jobs) = mpsc::unbounded_channel();
        let node = Arc::new(Node {
            durable: watch::Sender::new(core.log().durable()),
            inner: Mutex::new(Inner {
                core,
                applied,
                waiters: BTreeMap::new(),
                syncing: false,
                sync_again: false,
                replacing: false,
                backlog: false,
                again: false,
                status: status.clone(),
            }),
            machine,
            transport,
            started,
            timer: Notify::new(),
            status: watch::Sender::new(status),
            syncs,
            fatal: watch::Sender::new(None),
            in_doubt: AtomicBool::new(false),
            me,
        });
        tokio::spawn(node.clone().run_syncs(jobs));
        tokio::spawn(node.clone().run_timer());
        node
    }

    fn now(&self) -> Now {
        self.started.elapsed()
    }

    /// What is known at the moment.
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// Wakes at each change of what is known.
    pub fn watch(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// Holds the reason once this voter has fallen silent for good.
    pub fn watch_fatal(&self) -> watch::Receiver<Option<Fatal>> {
        self.fatal.subscribe()
    }

    /// Whether something may be missing of the log that was acknowledged.
    pub fn is_in_doubt(&self) -> bool {
        self.in_doubt.load(Ordering::SeqCst)
    }

    /// How long ago each other voter was heard; of the leader only.
    pub fn silence(&self) -> Vec<(ServerId, Option<Duration>)> {
        self.inner.lock().core.silence(self.now())
    }

    /// Proposes an entry and waits until it is applied here.
    pub async fn propose(self: &Arc<Self>, data: Bytes, synced: bool) -> Result<(LogIndex, M::Outcome), Lost> {
        let (answer, answered) = oneshot::channel();
        let proposed = self.step(|inner, now| {
            let index = inner.core.propose(data, synced, now)?;
            let term = inner.core.term();
            // An answer may have come in within the same step, in a cluster of one voter: waiters are resolved after it.
            inner.waiters.insert(index, Waiter { term, answer });
            Some(index)
        });
        if proposed.is_none() {
            return Err(Lost::NotLeader);
        }
        answered.await.unwrap_or(Err(Lost::Unknown))
    }

    /// Waits until the log is durable on a quorum up to `index`. False: this voter does not lead (any more).
    pub async fn barrier(self: &Arc<Self>, index: LogIndex) -> bool {
        if planted(Bug::BarsNothing) {
            return self.status().leads;
        }
        let mut status = self.status.subscribe();
        self.step(|inner, now| inner.core.barrier(index, now));
        let reached = status.wait_for(|s| s.durable >= index || !s.leads).await;
        reached.is_ok_and(|s| s.durable >= index)
    }

    /// Waits until a quorum has answered a round that was sent after this was asked, and gives what was agreed by then:
    /// everything that anybody was told of before. None: this voter does not lead (any more).
    pub async fn confirm(self: &Arc<Self>) -> Option<LogIndex> {
        let mut status = self.status.subscribe();
        let asked = Instant::now();
        self.step(|inner, now| inner.core.confirm(now));
        let sure = status.wait_for(|s| !s.leads || s.lease_from.is_some_and(|from| from > asked)).await.ok()?;
        sure.leads.then_some(sure.commit)
    }

    /// Falls silent for good, as its process is about to end in order: it gives no vote and acknowledges no entry any more.
    /// What it has acknowledged before is durable once [`Node::sync_all`] has said so.
    pub fn stop(self: &Arc<Self>) {
        self.step(|inner, _| inner.core.stop());
    }

    /// Whether all that this voter has acknowledged is on its disk.
    pub fn is_durable(&self) -> bool {
        let inner = self.inner.lock();
        let log = inner.core.log();
        log.durable() >= log.last().0
    }

    /// Answers a request for a vote.
    pub fn on_vote(self: &Arc<Self>, request: &VoteRequest) -> VoteReply {
        self.step(|inner, now| inner.core.on_vote(request, now))
    }

    /// Takes entries. None: this voter is silent: its log has failed, or it stops.
    pub async fn on_append(self: &Arc<Self>, request: AppendRequest) -> Option<AppendReply> {
        let answer = self.step(|inner, now| inner.core.on_append(request, now));
        let mut answer = answer?;
        if answer.after_sync.0 > 0 {
            let mut durable = self.durable.subscribe();
            let synced = durable.wait_for(|d| *d >= answer.after_sync);
            // A sync that takes longer is told of by a later heartbeat.
            if let Ok(Ok(now_durable)) = tokio::time::timeout(Duration::from_secs(1), synced).await {
                answer.reply.durable = (*now_durable).min(answer.reply.matched);
            }
        }
        Some(answer.reply)
    }

    /// The leader's word: take over.
    pub fn on_take_over(self: &Arc<Self>, from: ServerId, term: Term) -> bool {
        self.step(|inner, now| inner.core.on_take_over(from, term, now))
    }

    /// A leader's word that this voter may take part; see [`Core::join`].
    pub fn join(self: &Arc<Self>, term: Term, last: LogIndex) -> bool {
        self.step(|inner, now| inner.core.join(term, last, now))
    }

    /// The process of `server` was seen to be gone.
    pub fn on_gone(self: &Arc<Self>, server: ServerId) {
        self.step(|inner, now| inner.core.on_gone(server, now));
    }

    /// The machine has durably applied up to `index`.
    pub fn on_applied_durable(self: &Arc<Self>, index: LogIndex) {
        self.step(|inner, _| inner.core.on_applied_durable(index));
    }

    /// Forgets the oldest of the entries up to `spare`, as many as need not be kept.
    pub fn purge(self: &Arc<Self>, spare: LogIndex, keep: Keep) {
        self.step(|inner, _| {
            let keep = if inner.core.sends_snapshot() { keep.while_sending() } else { keep };
            inner.core.with_log_checked(|log| log.purge(keep.dropped(spare, &log.runs())));
        });
    }

    /// Empties the log of a voter that has fallen silent for good, durably.
    pub fn forget_log(&self) -> io::Result<()> {
        self.inner.lock().core.log_mut().reset(LogIndex(0), Term(0))
    }

    /// What is durable in this voter's own log.
    pub fn own_durable(&self) -> LogIndex {
        *self.durable.borrow()
    }

    /// Syncs the log if there is something to sync.
    pub fn sync_soon(self: &Arc<Self>) {
        self.step(|inner, _| {
            let log = inner.core.log();
            (log.durable() < log.last().0).then(|| inner.sync_again = true)
        });
    }

    /// Waits until everything in the log is durable here.
    pub async fn sync_all(self: &Arc<Self>) -> bool {
        let last = self.inner.lock().core.log().last().0;
        self.sync_soon();
        let mut durable = self.durable.subscribe();
        let synced = durable.wait_for(|d| *d >= last);
        tokio::time::timeout(Duration::from_secs(10), synced).await.is_ok_and(|r| r.is_ok())
    }

    /// Hands the lead over and waits, a while at most, until another leads.
    pub async fn hand_over(self: &Arc<Self>, patience: Duration) {
        let leads = self.step(|inner, _| {
            inner.core.stop_proposals();
            inner.core.leads()
        });
        if !leads {
            return;
        }
        let mut status = self.status.subscribe();
        let attempt = async {
            while !self.step(|inner, now| !inner.core.leads() || inner.core.hand_over(now)) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            let me = self.me;
            status.wait_for(|s| s.leader.is_some_and(|l| l != me)).await.is_ok()
        };
        if tokio::time::timeout(patience, attempt).await.is_err() {
            // Where all stop, nobody can; where others stay, they elect one.
            tracing::info!("no other server took the lead over within {patience:?}: whoever stays elects one");
        }
    }

    /// Leader only: who could take the lead over at once, the best first.
    pub fn successors(self: &Arc<Self>) -> Vec<ServerId> {
        self.step(|inner, now| inner.core.successors(now))
    }

    /// Has one of them lead, without waiting for it, and goes on as one that follows. False: it cannot, by now.
    pub fn pass_lead(self: &Arc<Self>, to: ServerId) -> bool {
        self.step(|inner, now| inner.core.hand_over_to(to, now))
    }

    /// Takes a piece of a snapshot; the last one replaces the state. From the moment that it is found newer than what is
    /// applied until it has taken its place, nothing is applied: neither would fit the other any more.
    pub async fn on_snapshot(self: &Arc<Self>, piece: SnapshotPiece) -> (Term, bool) {
        let SnapshotPiece { from, term, index, entry_term, last, .. } = piece;
        let fits = self.step(|inner, now| {
            let fits = inner.core.on_snapshot_piece(from, term, now) && index > inner.applied && !inner.replacing;
            inner.replacing |= fits && last;
            fits
        });
        let current = || self.inner.lock().core.term();
        if !fits {
            return (current(), false);
        }
        let machine = self.machine.clone();
        let taken = tokio::task::spawn_blocking(move || machine.install(piece)).await;
        if last {
            self.step(|inner, now| {
                inner.replacing = false;
                if matches!(taken, Ok(Ok(()))) {
                    inner.core.on_snapshot_installed(from, term, index, entry_term, now);
                    inner.applied = index;
                    inner.core.agree_on_lives(index, self.machine.lives());
                }
            });
        }
        match taken {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!("cannot take the names from {from}: {error}");
                return (current(), false);
            }
            Err(_) => return (current(), false),
        }
        (current(), true)
    }

    /// One step of the core, then everything that follows from it.
    fn step<R>(self: &Arc<Self>, step: impl FnOnce(&mut Inner<L, M>, Now) -> R) -> R {
        let mut inner = self.inner.lock();
        let tick = inner.core.next_tick();
        let result = step(&mut inner, self.now());
        inner.core.on_written(|| self.now());
        let outputs = self.follow_up(&mut inner);
        if inner.core.next_tick() < tick {
            self.timer.notify_one();
        }
        let again = inner.backlog && !inner.again;
        inner.again |= again;
        drop(inner);
        for output in outputs {
            self.carry_out(output);
        }
        if again {
            tokio::spawn(self.clone().apply_on());
        }
        result
    }

    /// Goes on with applying, once whatever came in meanwhile has had its turn.
    async fn apply_on(self: Arc<Self>) {
        tokio::task::yield_now().await;
        self.step(|inner, _| inner.again = false);
    }

    /// Applies what is agreed, answers who waits, starts a sync if one is wanted, publishes what is known.
    fn follow_up(self: &Arc<Self>, inner: &mut Inner<L, M>) -> Vec<Output> {
        self.apply(inner);
        let mut outputs = inner.core.take_outputs();
        outputs.retain(|o| {
            let sync = matches!(o, Output::Sync(_));
            inner.sync_again |= sync;
            !sync
        });
        if inner.sync_again && !inner.syncing {
            (inner.sync_again, inner.syncing) = (false, true);
            let job = inner.core.log_mut().begin_sync();
            let _ = self.syncs.send(job);
        }
        self.publish(inner);
        outputs
    }

    /// Applies what is agreed, for a while at most: heartbeats must be answered while a server catches up.
    fn apply(&self, inner: &mut Inner<L, M>) {
        let mut begun = None;
        inner.backlog = inner.again;
        while !inner.replacing && !inner.backlog && inner.applied < inner.core.commit() {
            let entries = match inner.core.log().read(inner.applied.next(), APPLY_PIECE_BYTES) {
                Ok(entries) if !entries.is_empty() => entries,
                Ok(_) => break,
                Err(error) => {
                    self.end(fatal("cannot read the log", &error));
                    break;
                }
            };
            // What a slow disk takes for the first piece does not count: each turn comes at least one entry further.
            let begun = *begun.get_or_insert_with(Instant::now);
            for entry in entries {
                if entry.index > inner.core.commit() {
                    break;
                }
                if begun.elapsed() >= APPLY_SPAN {
                    inner.backlog = true;
                    break;
                }
                let outcome = self.machine.apply(&entry);
                inner.applied = entry.index;
                if let Some(waiter) = inner.waiters.remove(&entry.index) {
                    let same = waiter.term == entry.term;
                    let _ = waiter.answer.send(if same { Ok((entry.index, outcome)) } else { Err(Lost::Unknown) });
                }
            }
        }
        if inner.core.wants_lives(inner.applied) {
            inner.core.agree_on_lives(inner.applied, self.machine.lives());
        }
        if !inner.core.leads() && !inner.waiters.is_empty() {
            // Those entries may still be agreed on: their callers ask again, with the same number.
            inner.waiters.clear();
        }
    }

    fn publish(&self, inner: &mut Inner<L, M>) {
        match inner.core.failure() {
            Some(error @ Failure::OtherHistory(_)) => self.end(Fatal::OtherHistory(error.to_string())),
            Some(Failure::Log(error)) => self.end(fatal("the log failed", error)),
            Some(Failure::Stopped) | None => {}
        }
        let durable = inner.core.log().durable();
        self.durable.send_if_modified(|d| std::mem::replace(d, durable) != durable);
        let status = status_of(&inner.core, inner.applied, self.started);
        if status != inner.status {
            if status.leader != inner.status.leader
                && let Some(leader) = status.leader
            {
                tracing::info!("{leader} leads, term {}", status.term);
            }
            inner.status = status.clone();
            self.machine.observe(&status);
            self.status.send_replace(status);
        }
    }

    fn fail(&self, reason: &str) {
        self.end(Fatal::Broken(reason.to_owned()));
    }

    fn end(&self, why: Fatal) {
        // Also of what comes after another reason.
        if matches!(why, Fatal::Broken(_)) {
            self.in_doubt.store(true, Ordering::SeqCst);
        }
        self.fatal.send_if_modified(|f| f.is_none() && f.replace(why).is_none());
    }

    fn carry_out(self: &Arc<Self>, output: Output) {
        let node = self.clone();
        match output {
            Output::Vote { to, request } => drop(tokio::spawn(async move {
                if let Some(reply) = node.transport.vote(to, request.clone()).await {
                    node.step(|inner, now| inner.core.on_vote_reply(to, &request, reply, now));
                }
            })),
            Output::Append { to, request } => drop(tokio::spawn(async move {
                let round = request.round;
                match node.transport.append(to, request).await {
                    Some(reply) => node.step(|inner, now| inner.core.on_append_reply(to, &reply, now)),
                    None => node.step(|inner, now| inner.core.on_unreachable(to, round, now)),
                }
            })),
            Output::TakeOver { to, term } => drop(tokio::spawn(async move {
                node.transport.take_over(to, term).await;
            })),
            Output::Ping { to } => drop(tokio::spawn(async move {
                if node.transport.ping(to).await {
                    node.step(|inner, now| inner.core.on_pinged(to, now));
                }
            })),
            Output::Snapshot { to, term } => drop(tokio::spawn(async move {
                let sent = node.send_snapshot(to, term).await;
                if let Err(error) = &sent {
                    tracing::warn!("cannot bring {to} up to date with a snapshot: {error}");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                node.step(|inner, now| inner.core.on_snapshot_sent(to, term, sent.ok().flatten(), now));
            })),
            Output::Sync(_) => unreachable!("syncs are taken out before"),
        }
    }

    /// The term that this voter leads; None: it does not lead.
    fn leads_in(&self) -> Option<Term> {
        let inner = self.inner.lock();
        inner.core.leads().then(|| inner.core.term())
    }

    /// Sends the state as it is now: the entry that it is the state after. None: the lead was lost meanwhile. A snapshot
    /// takes its time, and is the word of the leader of one term from beginning to end.
    async fn send_snapshot(&self, to: ServerId, term: Term) -> io::Result<Option<LogIndex>> {
        if self.leads_in() != Some(term) {
            return Ok(None);
        }
        let machine = self.machine.clone();
        let made = tokio::task::spawn_blocking(move || machine.snapshot()).await;
        let (index, entry_term, mut pieces) = made.map_err(io::Error::other)??;
        tracing::info!("{to} is far behind: sending it all names as of entry {index}");
        let mut next = pieces.next();
        let mut number = 0;
        while let Some(piece) = next {
            let ahead = tokio::task::spawn_blocking(move || (pieces.next(), pieces)).await;
            let (following, rest) = ahead.map_err(io::Error::other)?;
            pieces = rest;
            let last = following.is_none();
            let data = piece?.into();
            if self.leads_in() != Some(term) {
                return Ok(None);
            }
            let piece = SnapshotPiece { from: self.me, term, index, entry_term, number, last, data };
            match self.transport.snapshot(to, piece).await {
                Some((_, true)) => {}
                _ => return Err(io::Error::other("it did not take a piece")),
            }
            number += 1;
            next = following;
        }
        Ok(Some(index))
    }

    async fn run_timer(self: Arc<Self>) {
        loop {
            let next = self.inner.lock().core.next_tick();
            let at = tokio::time::Instant::from_std(self.started + next);
            tokio::select! {
                () = tokio::time::sleep_until(at) => self.step(|inner, now| inner.core.tick(now)),
                () = self.timer.notified() => {}
            }
        }
    }

    async fn run_syncs(self: Arc<Self>, mut jobs: mpsc::UnboundedReceiver<SyncJob>) {
        while let Some(SyncJob { mark, work }) = jobs.recv().await {
            match tokio::task::spawn_blocking(work).await {
                Ok(Ok(())) => self.synced(mark),
                Ok(Err(error)) => self.fail(&format!("cannot sync the log: {error}")),
                Err(_) => self.fail("the sync of the log ended without a word"),
            }
        }
    }

    fn synced(self: &Arc<Self>, mark: SyncMark) {
        self.step(|inner, now| {
            inner.syncing = false;
            inner.core.log_mut().end_sync(mark);
            inner.core.on_synced(now);
        });
    }
}

/// What becomes of a voter whose log cannot be used.
fn fatal(what: &str, error: &io::Error) -> Fatal {
    let reason = format!("{what}: {error}");
    match error.kind() {
        io::ErrorKind::InvalidData => Fatal::Damaged(reason),
        _ if error.get_ref().is_some_and(|error| error.is::<NotWritten>()) => Fatal::NoRoom(reason),
        _ => Fatal::Broken(reason),
    }
}

/// What a voter knows that has applied so much, and whose time counts from `started`.
fn status_of<L: LogStore>(core: &Core<L>, applied: LogIndex, started: Instant) -> Status {
    Status {
        term: core.term(),
        leader: core.leader(),
        leads: core.leads_with(applied),
        commit: applied,
        durable: core.quorum_durable(),
        knows_all_before: core.knows_all_before(applied),
        spare: core.spare(),
        lease_from: core.lease_from().map(|at| started + at),
        last: core.log().last().0,
        doubtful: core.doubtful(),
    }
}
