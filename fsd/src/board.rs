//! What the chunk side of a server knows of the namespace side, and what it can ask of it. The namespace side
//! writes it after each applied entry; chunk requests read it without waiting for anything.

use crate::cuts::Cuts;
use parking_lot::Mutex;
use raidfs_common::error::Rejection;
use raidfs_common::id::{Incarnation, Ino, LogIndex, ServerId, SessionId};
use raidfs_common::pair::Pair;
use raidfs_common::rpc::peer::Report;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};

/// What a chunk request is judged by.
#[derive(Clone, Debug)]
pub struct Notice {
    /// Everything up to here is applied, and `pairs` is the state after it.
    pub applied: LogIndex,
    /// Everything up to here is on stable storage on a quorum: what it destroys may be destroyed.
    pub durable: LogIndex,
    /// Everything that was agreed before this life is among both: a file that is not known has ended, or was never made.
    pub knows_all_before: bool,
    /// All pairs.
    pub pairs: Arc<Vec<Pair>>,
    /// Until when this server may serve chunks, by its own clock (see `limits::SERVER_LEASE`).
    pub lease_until: Instant,
    /// The mount sessions that are open: chunk changes of any other are refused. None: not known, none is refused.
    pub sessions: Option<Arc<Vec<SessionId>>>,
    /// What was lost with pairs whose loss was accepted.
    pub marked: Marked,
}

/// What is marked as lost with pairs, in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marked {
    /// Some file may have lost something.
    pub any: bool,
    /// How often something was marked of a pair that had no copy any more.
    pub late: u64,
}

/// What destroys chunk bytes, by the namespace's word; carried out once its entry is durable on a quorum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doom {
    /// The file is this long now: bytes behind are gone.
    Cut {
        /// New size.
        size: u64,
    },
    /// The file is gone.
    Reap,
}

/// One doomed inode: what happened to it, in order, with the entries that said so.
pub type Dooms = Vec<(LogIndex, Doom)>;

/// What the chunk side asks of the namespace side.
#[derive(Debug)]
pub enum Ask {
    /// Tell the leader; answers whether it took notice.
    Report(Report, oneshot::Sender<bool>),
    /// Have the log durable on a quorum up to here.
    Barrier(LogIndex, oneshot::Sender<Result<(), Rejection>>),
    /// The sizes that the namespace has of these files; None: there is no such file. No answer: it cannot be told.
    Sizes(Vec<Ino>, oneshot::Sender<Vec<Option<u64>>>),
    /// A page of the files of which something was lost with this server's pair, above this one, so many at most, each with the
    /// end of what was. No answer: it cannot be told.
    Lost(Option<Ino>, usize, oneshot::Sender<Vec<(Ino, u64)>>),
    /// These dooms are carried out: the namespace side forgets them (they are kept on disk until then).
    Done(Ino, LogIndex),
}

/// The board, shared by both sides.
#[derive(Debug)]
pub struct Board {
    /// This server.
    pub server: ServerId,
    /// This life of it.
    pub incarnation: Incarnation,
    notice: watch::Sender<Notice>,
    /// Counts changes of the pairs: what waits for those must not wake at every entry.
    pairs: watch::Sender<u64>,
    dooms: Mutex<BTreeMap<Ino, Dooms>>,
    doomed: watch::Sender<u64>,
    /// Which cuts were carried out; set at the start of a real server.
    cuts: OnceLock<Cuts>,
    asks: mpsc::UnboundedSender<Ask>,
}

impl Board {
    /// An empty board, and where its questions arrive.
    pub fn new(server: ServerId, incarnation: Incarnation) -> (Arc<Board>, mpsc::UnboundedReceiver<Ask>) {
        let (asks, questions) = mpsc::unbounded_channel();
        let notice = Notice {
            applied: LogIndex(0),
            durable: LogIndex(0),
            knows_all_before: false,
            pairs: Arc::new(Vec::new()),
            lease_until: Instant::now(),
            sessions: None,
            marked: Marked::default(),
        };
        let board = Board {
            server,
            incarnation,
            notice: watch::Sender::new(notice),
            pairs: watch::Sender::new(0),
            dooms: Mutex::new(BTreeMap::new()),
            doomed: watch::Sender::new(0),
            cuts: OnceLock::new(),
            asks,
        };
        (Arc::new(board), questions)
    }

    /// Replaces what is known; called by the namespace side.
    pub fn publish(&self, update: impl FnOnce(&mut Notice)) {
        let mut new_pairs = false;
        self.notice.send_modify(|notice| {
            let before = notice.pairs.clone();
            update(notice);
            new_pairs = !Arc::ptr_eq(&before, &notice.pairs);
        });
        if new_pairs {
            self.pairs.send_modify(|n| *n += 1);
        }
    }

    /// Adds a doom; called by the namespace side before it publishes the entry as applied.
    pub fn doom(&self, ino: Ino, index: LogIndex, doom: Doom) {
        let cut = matches!(doom, Doom::Cut { .. });
        if cut && self.cuts.get().is_some_and(|cuts| cuts.is_done(ino, index)) {
            // Carried out in an earlier life; what was written since must stay.
            let _ = self.asks.send(Ask::Done(ino, index));
            return;
        }
        self.dooms.lock().entry(ino).or_default().push((index, doom));
        self.doomed.send_modify(|n| *n += 1);
    }

    /// Keeps the record of cuts that were carried out; called before anything is doomed.
    pub fn keep_cuts(&self, cuts: Cuts) {
        let _ = self.cuts.set(cuts);
    }

    /// The file's cuts by entries up to `index` are carried out: durable when this returns, and to be called before
    /// anything is written behind them. Blocking.
    pub fn record_cut(&self, ino: Ino, index: LogIndex) -> std::io::Result<()> {
        self.cuts.get().map_or(Ok(()), |cuts| cuts.record(ino, index))
    }

    /// What is known now.
    pub fn notice(&self) -> Notice {
        self.notice.borrow().clone()
    }

    /// A receiver that wakes at each change of what is known.
    pub fn subscribe(&self) -> watch::Receiver<Notice> {
        self.notice.subscribe()
    }

    /// A receiver that wakes when the pairs have changed.
    pub fn subscribe_pairs(&self) -> watch::Receiver<u64> {
        self.pairs.subscribe()
    }

    /// A receiver that wakes when something is doomed.
    pub fn subscribe_dooms(&self) -> watch::Receiver<u64> {
        self.doomed.subscribe()
    }

    /// Waits until `index` is applied.
    pub async fn applied(&self, index: LogIndex, patience: Duration) -> Result<(), Rejection> {
        self.until(patience, Rejection::Behind { needed: index }, |n| n.applied >= index).await
    }

    /// Waits until `index` is durable on a quorum, asking for it.
    pub async fn durable(&self, index: LogIndex, patience: Duration) -> Result<(), Rejection> {
        if self.notice.borrow().durable >= index {
            return Ok(());
        }
        let (answer, answered) = oneshot::channel();
        let _ = self.asks.send(Ask::Barrier(index, answer));
        match tokio::time::timeout(patience, answered).await {
            Ok(Ok(result)) => result,
            _ => Err(Rejection::NoQuorum),
        }
    }

    async fn until(
        &self,
        patience: Duration,
        otherwise: Rejection,
        condition: impl FnMut(&Notice) -> bool,
    ) -> Result<(), Rejection> {
        let mut notices = self.notice.subscribe();
        match tokio::time::timeout(patience, notices.wait_for(condition)).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(otherwise),
        }
    }

    /// Tells the leader something; false if nobody took notice.
    pub async fn report(&self, report: Report) -> bool {
        let (answer, answered) = oneshot::channel();
        let _ = self.asks.send(Ask::Report(report, answer));
        answered.await.unwrap_or(false)
    }

    /// The sizes that the namespace has of these files by now, in order; None of a file: it is gone, or not made yet. None at
    /// all: that cannot be told.
    pub async fn sizes(&self, files: Vec<Ino>) -> Option<Vec<Option<u64>>> {
        let asked = files.len();
        let (answer, answered) = oneshot::channel();
        let _ = self.asks.send(Ask::Sizes(files, answer));
        answered.await.ok().filter(|sizes| sizes.len() == asked)
    }

    /// A page of the files of which something was lost with this server's pair, above `after`, in order, each with the end of
    /// what was. None: it cannot be told.
    pub async fn lost(&self, after: Option<Ino>, limit: usize) -> Option<Vec<(Ino, u64)>> {
        let (answer, answered) = oneshot::channel();
        let _ = self.asks.send(Ask::Lost(after, limit, answer));
        answered.await.ok()
    }

    /// The dooms of one inode that are not carried out yet.
    pub fn dooms_of(&self, ino: Ino) -> Dooms {
        self.dooms.lock().get(&ino).cloned().unwrap_or_default()
    }

    /// Whether anything is doomed.
    pub fn has_dooms(&self) -> bool {
        !self.dooms.lock().is_empty()
    }

    /// All dooms whose entry is at most `durable`, by inode.
    pub fn ripe_dooms(&self, durable: LogIndex) -> Vec<(Ino, Dooms)> {
        let dooms = self.dooms.lock();
        let ripe = dooms.iter().map(|(ino, list)| {
            let list: Dooms = list.iter().copied().filter(|(index, _)| *index <= durable).collect();
            (*ino, list)
        });
        ripe.filter(|(_, list)| !list.is_empty()).collect()
    }

    /// The dooms of `ino` up to `index` are carried out.
    pub fn carried_out(&self, ino: Ino, index: LogIndex) {
        let mut dooms = self.dooms.lock();
        if let Some(list) = dooms.get_mut(&ino) {
            list.retain(|(at, _)| *at > index);
            if list.is_empty() {
                dooms.remove(&ino);
            }
        }
        drop(dooms);
        let _ = self.asks.send(Ask::Done(ino, index));
    }
}
