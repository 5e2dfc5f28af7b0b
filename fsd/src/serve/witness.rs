//! The admin service of the witness, which has neither names nor chunks.

use crate::consensus::log_disk::DiskLog;
use crate::consensus::node::Node;
use crate::machine::witness::WitnessMachine;
use crate::stop::Stop;
use crate::transport::PeerTransport;
use raidfs_common::error::Rejection;
use raidfs_common::id::{ChunkId, Epoch, Incarnation, Ino, LogIndex, PairId, ServerId};
use raidfs_common::limits::SERVER_LEASE;
use raidfs_common::pair::Space;
use raidfs_common::rpc::admin::{
    Accepting, AdminService, Counters, LostFile, NotAccepted, NotReplaced, ScrubPass, ServerStatus,
};
use raidfs_common::rpc::chunks::ChunkSummary;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use tarpc::context::Context;

/// Agreement as the witness runs it.
pub type WitnessNode = Node<DiskLog, WitnessMachine, PeerTransport>;

/// The admin service of the witness.
#[derive(Clone, Debug)]
pub struct WitnessAdmin {
    /// Agreement.
    pub node: Arc<WitnessNode>,
    /// This life.
    pub incarnation: Incarnation,
    /// When it began.
    pub started: Instant,
    /// A leader has said that its data directory is known.
    pub joined: Arc<AtomicBool>,
    /// Ends the witness.
    pub stop: Arc<Stop>,
}

impl AdminService for WitnessAdmin {
    async fn status(self, _: Context) -> ServerStatus {
        let node = self.node.status();
        let lease = node.lease_from.is_some_and(|from| Instant::now() < from + SERVER_LEASE);
        ServerStatus {
            server: ServerId::WITNESS,
            incarnation: self.incarnation,
            uptime_s: self.started.elapsed().as_secs(),
            term: node.term,
            leader: node.leader,
            quorum: lease && node.leader.is_some(),
            last_index: node.last,
            applied: node.commit,
            pairs: Vec::new(),
            session: None,
            space: Space::default(),
            inodes: (0, 0),
            held: (0, 0),
            counters: Counters::default(),
            resync: None,
            disk_error: None,
            heard_ms: Vec::new(),
            scrub: Default::default(),
            joined: self.joined.load(Ordering::Relaxed),
            replacing: Vec::new(),
        }
    }

    async fn check_namespace(self, _: Context, _: LogIndex) -> Result<(LogIndex, u64, Vec<String>), Rejection> {
        Err(Rejection::NotInCharge)
    }

    async fn inventory(
        self,
        _: Context,
        _: PairId,
        _: Option<ChunkId>,
        _: bool,
    ) -> Result<Vec<ChunkSummary>, Rejection> {
        Err(Rejection::NotInCharge)
    }

    async fn stop(self, _: Context) -> bool {
        self.stop.ask();
        true
    }

    async fn replace(self, _: Context, _: ServerId) -> Result<(), NotReplaced> {
        Err(NotReplaced::NotLeader(self.node.status().leader))
    }

    async fn accept_loss(self, _: Context, _: PairId, _: Epoch) -> Result<Accepting, NotAccepted> {
        Err(NotAccepted::NotLeader(self.node.status().leader))
    }

    async fn marked_lost(self, _: Context, _: LogIndex, _: Option<Ino>) -> Result<Vec<LostFile>, Rejection> {
        Err(Rejection::NotInCharge)
    }

    async fn scrub(self, _: Context) -> Result<u64, Rejection> {
        Err(Rejection::NotInCharge)
    }

    async fn scrubbed(self, _: Context, _: u64) -> Result<(ScrubPass, Vec<ChunkId>), Rejection> {
        Err(Rejection::NotInCharge)
    }
}
