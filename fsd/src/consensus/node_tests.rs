//! The node: what runs beside what.

use super::core::Setup;
use super::log::{LogStore, SyncJob, SyncMark, Vote};
use super::log_memory::MemoryLog;
use super::node::{Machine, Node, PieceStream, Status, Transport};
use super::tests::elects;
use super::timing::Timing;
use bytes::Bytes;
use futures::FutureExt;
use parking_lot::Mutex;
use raidfs_common::id::{Incarnation, LogIndex, ServerId, Term};
use raidfs_common::rpc::peer::{AppendReply, AppendRequest, LogEntry, SnapshotPiece, VoteReply, VoteRequest};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// Applies slowly, and installs when told to.
#[derive(Default)]
struct Slow {
    applied: Mutex<(LogIndex, Term)>,
    span: Duration,
    install: Mutex<Option<(Sender<()>, Receiver<()>)>>,
    snapshot: Mutex<Option<(Sender<()>, Receiver<()>)>>,
    /// Told once a snapshot is no longer read.
    read: Mutex<Option<Sender<()>>>,
}

impl Machine for Slow {
    type Outcome = ();

    fn apply(&self, entry: &LogEntry) {
        let begun = Instant::now();
        while begun.elapsed() < self.span {
            std::hint::spin_loop();
        }
        let mut applied = self.applied.lock();
        assert_eq!(entry.index, applied.0.next(), "the next entry, whatever happens");
        *applied = (entry.index, entry.term);
    }

    fn applied(&self) -> (LogIndex, Term) {
        *self.applied.lock()
    }

    fn lives(&self) -> BTreeMap<ServerId, Incarnation> {
        BTreeMap::new()
    }

    fn observe(&self, _: &Status) {}

    fn snapshot(&self) -> io::Result<(LogIndex, Term, PieceStream)> {
        let Some((begun, go_on)) = self.snapshot.lock().take() else { return Err(io::Error::other("nobody asks")) };
        let _ = begun.send(());
        let _ = go_on.recv();
        let (index, term) = self.applied();
        let read = self.read.lock().take();
        let pieces = (0..3).map(move |_| {
            let _until_dropped = &read;
            Ok(Bytes::new())
        });
        Ok((index, term, Box::new(pieces)))
    }

    fn install(&self, piece: SnapshotPiece) -> io::Result<()> {
        if let Some((begun, go_on)) = self.install.lock().take() {
            let _ = begun.send(());
            let _ = go_on.recv();
        }
        *self.applied.lock() = (piece.index, piece.entry_term);
        Ok(())
    }
}

/// A log on a disk so slow that reading takes longer than entries are applied for in one go.
#[derive(Default)]
struct SlowLog(MemoryLog);

impl LogStore for SlowLog {
    fn read(&self, from: LogIndex, max_bytes: usize) -> io::Result<Vec<LogEntry>> {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(20) {
            std::hint::spin_loop();
        }
        self.0.read(from, max_bytes)
    }
    fn vote(&self) -> Vote {
        self.0.vote()
    }
    fn save_vote(&mut self, vote: Vote) -> io::Result<()> {
        self.0.save_vote(vote)
    }
    fn base(&self) -> (LogIndex, Term) {
        self.0.base()
    }
    fn last(&self) -> (LogIndex, Term) {
        self.0.last()
    }
    fn term_at(&self, index: LogIndex) -> Option<Term> {
        self.0.term_at(index)
    }
    fn append(&mut self, entries: &[LogEntry]) -> io::Result<()> {
        self.0.append(entries)
    }
    fn truncate(&mut self, from: LogIndex) -> io::Result<()> {
        self.0.truncate(from)
    }
    fn runs(&self) -> Vec<super::keep::Run> {
        self.0.runs()
    }
    fn purge(&mut self, index: LogIndex) -> io::Result<()> {
        self.0.purge(index)
    }
    fn reset(&mut self, index: LogIndex, term: Term) -> io::Result<()> {
        self.0.reset(index, term)
    }
    fn durable(&self) -> LogIndex {
        self.0.durable()
    }
    fn begin_sync(&mut self) -> SyncJob {
        self.0.begin_sync()
    }
    fn end_sync(&mut self, mark: SyncMark) {
        self.0.end_sync(mark);
    }
}

/// Nobody answers.
struct Alone;

impl Transport for Alone {
    async fn vote(&self, _: ServerId, _: VoteRequest) -> Option<VoteReply> {
        None
    }
    async fn append(&self, _: ServerId, _: AppendRequest) -> Option<AppendReply> {
        None
    }
    async fn snapshot(&self, _: ServerId, _: SnapshotPiece) -> Option<(Term, bool)> {
        None
    }
    async fn take_over(&self, _: ServerId, _: Term) -> Option<bool> {
        None
    }
    async fn ping(&self, _: ServerId) -> bool {
        true
    }
}

fn setup(voters: u16) -> Setup {
    Setup {
        me: ServerId(1),
        voters: (1..=voters).map(ServerId).collect(),
        timing: Timing::default(),
        seed: 1,
        incarnation: Incarnation(0),
        doubtful: false,
        stranger: false,
        strict: false,
        on_recovery: Bytes::new(),
        read_lives: |_| Vec::new(),
    }
}

fn entry(index: u64) -> LogEntry {
    LogEntry { term: Term(1), index: LogIndex(index), synced: false, data: Bytes::from_static(b"x") }
}

/// A leader's words; it has agreed on everything that it sends.
fn append(round: u64, from: u64, to: u64) -> AppendRequest {
    AppendRequest {
        from: ServerId(2),
        term: Term(1),
        round,
        heard: 0,
        prev_index: LogIndex(from - 1),
        prev_term: if from > 1 { Term(1) } else { Term(0) },
        entries: (from..=to).map(entry).collect(),
        commit: LogIndex(to),
        durable: LogIndex(0),
        sync_to: LogIndex(0),
        leader_last: LogIndex(to),
        spare: LogIndex(0),
    }
}

#[tokio::test]
async fn a_server_that_has_much_to_apply_answers_meanwhile() {
    const ENTRIES: u64 = 400;
    let mut log = MemoryLog::default();
    log.save_vote(Vote { term: Term(1), given: None }).expect("memory does not fail");
    let machine = Arc::new(Slow { span: Duration::from_millis(1), ..Slow::default() });
    let node = Node::start(setup(3), log, machine.clone(), Arc::new(Alone));
    let mut most = 0;
    let mut before = 0;
    assert!(node.on_append(append(1, 1, ENTRIES)).await.is_some_and(|a| a.ok));
    // Heartbeats come all the time, and each is answered before much more is applied.
    for round in 2.. {
        let now = machine.applied().0.0;
        most = most.max(now - before);
        before = now;
        if now == ENTRIES {
            break;
        }
        assert!(node.on_append(append(round, ENTRIES + 1, ENTRIES)).await.is_some_and(|a| a.ok));
        tokio::task::yield_now().await;
    }
    assert!(most <= ENTRIES / 4, "{most} entries were applied between two heartbeats");
    assert_eq!(node.status().commit, LogIndex(ENTRIES));
}

#[tokio::test]
async fn a_voter_that_may_have_forgotten_says_so_before_its_first_step() {
    let doubtful = Setup { doubtful: true, ..setup(3) };
    let node = Node::start(doubtful, MemoryLog::default(), Arc::new(Slow::default()), Arc::new(Alone));
    assert!(node.status().doubtful);
    let mut status = node.watch();
    let trusted = status.wait_for(|status| !status.doubtful);
    assert!(trusted.now_or_never().is_none(), "nobody may note that nothing is missing");
    assert!(node.on_append(append(1, 1, 10)).await.is_some_and(|a| a.ok));
    assert!(!node.status().doubtful, "it holds all that the leader does");
}

#[tokio::test]
async fn a_log_that_is_read_slowly_is_applied_all_the_same() {
    let machine = Arc::new(Slow::default());
    let node = Node::start(setup(3), SlowLog::default(), machine.clone(), Arc::new(Alone));
    assert!(node.on_append(append(1, 1, 400)).await.is_some_and(|a| a.ok));
    let mut status = node.watch();
    let applied = status.wait_for(|status| status.commit == LogIndex(400));
    tokio::time::timeout(Duration::from_secs(20), applied).await.expect("it comes to an end").expect("the node lives");
    assert_eq!(machine.applied().0, LogIndex(400));
}

#[tokio::test]
async fn nothing_is_applied_while_a_snapshot_takes_the_place_of_the_state() {
    let (begun, is_begun) = channel();
    let (go_on, goes_on) = channel();
    let machine = Arc::new(Slow { install: Mutex::new(Some((begun, goes_on))), ..Slow::default() });
    let node = Node::start(setup(3), MemoryLog::default(), machine.clone(), Arc::new(Alone));
    assert!(node.on_append(append(1, 1, 10)).await.is_some_and(|a| a.ok));
    assert_eq!(machine.applied().0, LogIndex(10));
    let piece = |number| SnapshotPiece {
        from: ServerId(2),
        term: Term(1),
        index: LogIndex(15),
        entry_term: Term(1),
        number,
        last: true,
        data: Bytes::new().into(),
    };
    let installing = tokio::spawn({
        let (node, piece) = (node.clone(), piece(0));
        async move { node.on_snapshot(piece).await }
    });
    tokio::task::spawn_blocking(move || is_begun.recv()).await.expect("it runs").expect("it is begun");
    // Entries before, at and behind the snapshot's become agreed.
    assert!(node.on_append(append(2, 11, 20)).await.is_some_and(|a| a.ok));
    assert_eq!(machine.applied().0, LogIndex(10), "they wait");
    assert!(!node.on_snapshot(piece(0)).await.1, "so does another snapshot");
    go_on.send(()).expect("it waits for that");
    assert_eq!(installing.await.expect("it ends"), (Term(1), true));
    node.watch().wait_for(|status| status.commit == LogIndex(20)).await.expect("the rest is applied");
    assert_eq!(machine.applied().0, LogIndex(20));
}

#[tokio::test]
async fn a_snapshot_of_a_leader_that_was_deposed_meanwhile_brings_nobody_back_to_it() {
    let (begun, is_begun) = channel();
    let (go_on, goes_on) = channel();
    let machine = Arc::new(Slow { install: Mutex::new(Some((begun, goes_on))), ..Slow::default() });
    let node = Node::start(setup(3), MemoryLog::default(), machine.clone(), Arc::new(Alone));
    assert!(node.on_append(append(1, 1, 10)).await.is_some_and(|a| a.ok));
    let (index, entry_term) = (LogIndex(15), Term(1));
    let data = Bytes::new().into();
    let piece = SnapshotPiece { from: ServerId(2), term: Term(1), index, entry_term, number: 0, last: true, data };
    let installing = tokio::spawn({
        let node = node.clone();
        async move { node.on_snapshot(piece).await }
    });
    tokio::task::spawn_blocking(move || is_begun.recv()).await.expect("it runs").expect("it is begun");
    let new = |round, to| AppendRequest { from: ServerId(3), term: Term(2), ..append(round, 11, to) };
    assert!(node.on_append(new(1, 12)).await.is_some_and(|a| a.ok));
    go_on.send(()).expect("it waits for that");
    assert_eq!(installing.await.expect("it ends"), (Term(2), true), "what was agreed is taken");
    assert_eq!(machine.applied().0, LogIndex(15));
    assert_eq!(node.status().leader, Some(ServerId(3)));
    assert!(node.on_append(new(2, 20)).await.is_some_and(|a| a.ok));
    node.watch().wait_for(|status| status.commit == LogIndex(20)).await.expect("the rest is applied");
}

/// Elects whoever asks, and lacks everything that a log can hold.
struct Behind {
    voters: u16,
    pieces: Mutex<Vec<SnapshotPiece>>,
}

impl Transport for Behind {
    async fn vote(&self, _: ServerId, request: VoteRequest) -> Option<VoteReply> {
        Some(elects(&request))
    }
    async fn append(&self, to: ServerId, request: AppendRequest) -> Option<AppendReply> {
        // One of them only, so that there is one snapshot; the others keep up.
        let (ok, matched) = match to == ServerId(self.voters) {
            true => (false, LogIndex(0)),
            false => (true, LogIndex(request.prev_index.0 + request.entries.len() as u64)),
        };
        let (incarnation, term, round) = (Incarnation(0), request.term, request.round);
        let (durable, applied_durable) = (LogIndex(0), LogIndex(0));
        Some(AppendReply { incarnation, term, round, ok, matched, durable, applied_durable, reaches: true })
    }
    async fn snapshot(&self, _: ServerId, piece: SnapshotPiece) -> Option<(Term, bool)> {
        let term = piece.term;
        self.pieces.lock().push(piece);
        Some((term, true))
    }
    async fn take_over(&self, _: ServerId, _: Term) -> Option<bool> {
        None
    }
    async fn ping(&self, _: ServerId) -> bool {
        true
    }
}

/// A leader makes a snapshot, and is deposed before it is made, or is not: the pieces that it sends.
async fn pieces_sent(deposed: bool) -> Vec<SnapshotPiece> {
    let (begun, is_begun) = channel();
    let (go_on, goes_on) = channel();
    let (reading, read) = channel();
    let machine = Arc::new(Slow {
        applied: Mutex::new((LogIndex(10), Term(1))),
        snapshot: Mutex::new(Some((begun, goes_on))),
        read: Mutex::new(Some(reading)),
        ..Slow::default()
    });
    let mut log = MemoryLog::default();
    log.save_vote(Vote { term: Term(1), given: None }).expect("memory does not fail");
    log.reset(LogIndex(10), Term(1)).expect("memory does not fail");
    let transport = Arc::new(Behind { voters: 3, pieces: Mutex::default() });
    let node = Node::start(setup(3), log, machine, transport.clone());
    tokio::task::spawn_blocking(move || is_begun.recv()).await.expect("it runs").expect("it is begun");
    let term = node.status().term;
    assert!(node.status().leader == Some(ServerId(1)) && term > Term(1));
    if deposed {
        let heartbeat = AppendRequest { term: Term(term.0 + 1), prev_term: term, ..append(1, 12, 11) };
        node.on_append(heartbeat).await.expect("it answers");
        assert_eq!(node.status().leader, Some(ServerId(2)));
    }
    go_on.send(()).expect("it waits for that");
    let end = tokio::task::spawn_blocking(move || read.recv()).await.expect("it runs");
    assert!(end.is_err(), "nobody reads it any more");
    let pieces = std::mem::take(&mut *transport.pieces.lock());
    assert!(pieces.iter().all(|piece| piece.term == term), "{pieces:?}");
    pieces
}

#[tokio::test]
async fn a_snapshot_is_the_word_of_one_leader_from_beginning_to_end() {
    assert_eq!(pieces_sent(false).await.len(), 3);
    assert_eq!(pieces_sent(true).await.len(), 0, "another leads now, and sends its own");
}

#[tokio::test]
async fn who_stops_acknowledges_nothing_behind_its_last_sync_and_gives_no_vote() {
    let mut log = MemoryLog::default();
    log.hold_syncs = true;
    let node = Node::start(setup(3), log, Arc::new(Slow::default()), Arc::new(Alone));
    assert!(node.on_append(append(1, 1, 10)).await.is_some_and(|a| a.ok));
    assert!(!node.is_durable(), "nobody has asked for a sync");
    node.stop();
    assert_eq!(node.on_append(append(2, 11, 20)).await, None);
    let ask = |pre| VoteRequest {
        from: ServerId(3),
        term: Term(2),
        pre,
        transfer: true,
        recovery: false,
        last_term: Term(9),
        last_index: LogIndex(99),
    };
    assert!(!node.on_vote(&ask(true)).granted && !node.on_vote(&ask(false)).granted);
    assert!(!node.on_take_over(ServerId(2), Term(1)));
    assert!(node.sync_all().await && node.is_durable());
    assert_eq!((node.own_durable(), node.status().term), (LogIndex(10), Term(1)));
    assert_eq!(*node.watch_fatal().borrow(), None, "nothing has failed");
}
