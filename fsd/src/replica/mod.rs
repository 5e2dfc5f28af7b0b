//! Keeps the two copies of a pair's chunks alike. Lives on the chunk thread; knows of the namespace only what the
//! [`Board`] says, and of the disk only what [`ChunkStore`] promises. It never decides who is in sync: it reports what it
//! saw, and waits for the namespace's word.
//!
//! | module | what it does |
//! |---|---|
//! | `state`, `ranges`, `once`, `inflight`, `plan` | decisions, pure: what an epoch means here; who may touch which blocks; made once; what is older than an epoch; what a resync copies |
//! | `judge` | may this request be served? |
//! | `change`, `forward` | a change, ordered here and mirrored |
//! | `mirror` | what the other server of the pair asks of this one |
//! | `direct` | a synced change of the mirror's, made by the thread of its connection |
//! | `copy` | a change whose bytes another chunk has |
//! | `accuse` | telling the leader, until it has had its effect |
//! | `strain` | how slow the disk is, and whose fault that is |
//! | `read`, `sync`, `grown`, `ends` | reading, making durable, how long files have become |
//! | `anew` | the first copy of a pair whose loss was accepted |
//! | `mend`, `missing` | what is damaged, or gone: mended from the mirror |
//! | `scrub`, `pace` | looking for damage where nobody reads; how fast (pure) |
//! | `dooms`, `reaper` | cuts and ends of files, before a change and in the background |
//! | `resync`, `settle`, `write_back`, `room` | the background work |
//! | `holdback` | how soon a mirror that fails again is let back (pure) |
//! | `locks`, `disk`, `tally` | ranges made awaitable, the way to the chunk store, counters |
//!
//! A change takes its place in the queue of its file's ranges in the same step in which it looks for cuts that come
//! first: between the two nothing else on this thread runs. So whatever is seen later comes later, on both servers. (`direct`
//! is on another thread, and looks once it has its place.)

mod accuse;
mod anew;
mod change;
mod copy;
mod direct;
mod disk;
mod dooms;
mod ends;
mod forward;
mod grown;
mod holdback;
mod inflight;
mod judge;
mod locks;
mod mend;
mod mirror;
mod missing;
mod once;
mod pace;
mod plan;
mod ranges;
mod read;
mod reaper;
mod resync;
mod room;
mod scrub;
mod settle;
mod state;
mod strain;
mod sync;
mod tally;
#[cfg(test)]
pub(crate) mod tests;
mod write_back;

use crate::board::Board;
use crate::chunk::ChunkStore;
use crate::peers::Peers;
use inflight::InFlight;
use locks::Locks;
use once::Once;
use parking_lot::Mutex;
use raidfs_common::config::Config;
use raidfs_common::id::{ChunkId, Epoch, PairId, ServerId};
use raidfs_common::pair::Space;
use raidfs_common::rpc::admin::{Counters, ResyncProgress, ScrubStatus};
use raidfs_common::rpc::chunks::Applied;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::{OnceCell, watch};

/// How long a request waits for this server to have applied what it names.
const APPLY_PATIENCE: Duration = Duration::from_millis(400);
/// How long a request waits for an entry to be durable on a quorum, where it needs that.
const DURABLE_PATIENCE: Duration = Duration::from_secs(2);
/// A write or read of the local disk that takes longer makes the server accuse itself, unless the mirror's disk is as slow.
const DISK_STUCK: Duration = Duration::from_secs(1);
/// The same for what waits for stable storage, which on a busy disk takes seconds without any fault.
const SYNC_STUCK: Duration = Duration::from_secs(5);
/// How long the mirror is waited for that makes something durable.
const SYNC_PATIENCE: Duration = Duration::from_secs(15);
/// Reports to the leader are repeated this often until they have had their effect.
const REPORT_AGAIN: Duration = Duration::from_millis(50);

/// This server's part in its pair.
pub struct Replica {
    me: ServerId,
    pair: PairId,
    board: Arc<Board>,
    store: Arc<dyn ChunkStore>,
    peers: Arc<Peers>,
    locks: Arc<Locks>,
    inflight: Arc<InFlight>,
    /// What else changes chunks: the mirror's changes, cuts and ends of files, mending.
    works: Arc<InFlight>,
    state: Mutex<state::State>,
    /// The newest epoch whose attempt to bring the mirror up to date has failed, for what waits for the mirror under it.
    failed_attempt: watch::Sender<Epoch>,
    once: Mutex<Once<Applied>>,
    /// Counts the ends of tries, for duplicates that wait for one.
    ended: watch::Sender<u64>,
    opening: tokio::sync::Mutex<()>,
    past: Mutex<dooms::Past>,
    ends: Arc<Mutex<ends::Ends>>,
    accused: Mutex<BTreeSet<ServerId>>,
    /// Held by who mends. Taken within a chunk's range, never around it: a change that holds the range may have to mend.
    mending: tokio::sync::Mutex<()>,
    /// Chunks that are compared with the mirror's once that is up to date and says what it has; true: it is this server that
    /// may have lost it.
    compared_later: Mutex<BTreeMap<ChunkId, bool>>,
    /// Chunks that could not be mended, so that each is told of once.
    lost: Mutex<BTreeSet<ChunkId>>,
    /// Chunks may be noted since an earlier life, which may have ended in the middle of a change: a block of theirs that
    /// does not match its sum was never acknowledged, or never synced.
    notes_inherited: AtomicBool,
    /// Held during a round that lets both servers forget their notes.
    settling: tokio::sync::Mutex<()>,
    /// The data directory was made empty, and not all was brought to it yet: what is here passes for nobody's copy.
    empty: AtomicBool,
    /// It is about to stop, and serves nobody any more.
    closed: AtomicBool,
    syncs: Mutex<sync::Syncs>,
    strain: Arc<strain::Strain>,
    space: Mutex<Space>,
    tally: tally::Tally,
    progress: Mutex<Option<resync::Progress>>,
    scrub: scrub::Scrub,
    trouble: Mutex<Option<disk::Trouble>>,
    /// When its disk had no room for a change last.
    lacked_room: Mutex<Option<Instant>>,
    doubts_life: OnceLock<disk::DoubtLife>,
    /// Set once that was called.
    life_doubted: OnceCell<()>,
}

/// What a [`Replica`] says of itself.
#[derive(Clone, Debug, Default)]
pub struct ReplicaStatus {
    /// What it did; the names' counters are left at 0.
    pub counters: Counters,
    /// How far it has brought its mirror up to date.
    pub resync: Option<ResyncProgress>,
    /// How far it has looked through its chunks.
    pub scrub: ScrubStatus,
    /// Room of its disk, a second old at most.
    pub space: Space,
    /// Chunks held, and their bytes.
    pub held: (u64, u64),
    /// The last thing that went wrong with its disk.
    pub disk_error: Option<String>,
}

impl Replica {
    /// The replica of server `board.server`, which must be in the configuration.
    pub fn new(config: &Config, board: Arc<Board>, store: Arc<dyn ChunkStore>, peers: Arc<Peers>) -> Arc<Replica> {
        let me = board.server;
        Arc::new(Replica {
            me,
            pair: config.pair_of(me).expect("a replica is one of the configured servers"),
            board,
            store,
            peers,
            locks: Arc::default(),
            inflight: Arc::default(),
            works: Arc::default(),
            state: Mutex::default(),
            failed_attempt: watch::Sender::new(Epoch(0)),
            once: Mutex::default(),
            ended: watch::Sender::new(0),
            opening: tokio::sync::Mutex::default(),
            past: Mutex::default(),
            ends: Arc::default(),
            accused: Mutex::default(),
            mending: tokio::sync::Mutex::default(),
            settling: tokio::sync::Mutex::default(),
            empty: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            compared_later: Mutex::default(),
            lost: Mutex::default(),
            notes_inherited: AtomicBool::new(true),
            syncs: Mutex::default(),
            strain: Arc::default(),
            space: Mutex::default(),
            tally: tally::Tally::default(),
            progress: Mutex::default(),
            scrub: scrub::Scrub::new(pace::Pace::new(config.scrub_every)),
            trouble: Mutex::default(),
            lacked_room: Mutex::default(),
            doubts_life: OnceLock::new(),
            life_doubted: OnceCell::new(),
        })
    }

    /// Starts the background work on the current runtime; it goes on until that ends.
    pub fn run_workers(self: &Arc<Self>) {
        tokio::spawn(self.clone().run_reaper());
        tokio::spawn(self.clone().run_resync());
        tokio::spawn(self.clone().run_settle());
        tokio::spawn(self.clone().run_write_back());
        tokio::spawn(self.clone().run_room());
        tokio::spawn(self.clone().run_watch());
        tokio::spawn(self.clone().run_scrub());
        tokio::spawn(self.clone().run_anew());
    }

    /// How it is; answered from memory.
    pub fn status(&self) -> ReplicaStatus {
        ReplicaStatus {
            counters: self.tally.counters(),
            resync: self.progress.lock().as_ref().map(resync::Progress::shown),
            scrub: self.scrub.status(),
            space: *self.space.lock(),
            held: self.store.held(),
            disk_error: self.disk_error(),
        }
    }
}

impl std::fmt::Debug for Replica {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Replica of {} in {}", self.me, self.pair)
    }
}
