//! Looking in from outside: `raidfs status`, `verify`, `scrub`.

use crate::codec::Blob;
use crate::error::Rejection;
use crate::id::{ChunkId, Epoch, Incarnation, Ino, LogIndex, PairId, ServerId, SessionId, Term};
use crate::pair::{Pair, Space};
use crate::rpc::chunks::ChunkSummary;
use crate::rpc::{Asks, PAGE_ANSWER_BYTES};
use serde::{Deserialize, Serialize};

/// What a server knows of itself and of the others; answered from memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerStatus {
    /// Who answers.
    pub server: ServerId,
    /// This life of it.
    pub incarnation: Incarnation,
    /// How long it has run, in seconds.
    pub uptime_s: u64,
    /// Its term.
    pub term: Term,
    /// Who leads, as far as it knows.
    pub leader: Option<ServerId>,
    /// It leads and a quorum answers it, or it hears a leader that says so.
    pub quorum: bool,
    /// Its log's end.
    pub last_index: LogIndex,
    /// What it has applied.
    pub applied: LogIndex,
    /// The pairs as it knows them (none from the witness).
    pub pairs: Vec<Pair>,
    /// The mount session that is open: its number and holder.
    pub session: Option<(SessionId, String)>,
    /// Room on its disk.
    pub space: Space,
    /// Directories, other inodes.
    pub inodes: (u64, u64),
    /// Chunks that it holds, and their bytes (holes not counted).
    pub held: (u64, u64),
    /// What it did since its start.
    pub counters: Counters,
    /// How far it has brought its mirror up to date.
    pub resync: Option<ResyncProgress>,
    /// The last thing that went wrong with its disk.
    pub disk_error: Option<String>,
    /// Leader only: for each other voter, milliseconds since it last answered; None: never.
    pub heard_ms: Vec<(ServerId, Option<u64>)>,
    /// What its scrubber does and did.
    pub scrub: ScrubStatus,
    /// A leader has said that this server's data directory is the one that the cluster knows.
    pub joined: bool,
    /// Voters whose data directories are to be replaced: each waits for another one than it had.
    pub replacing: Vec<ServerId>,
}

/// Requests served since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Questions about names.
    pub queries: u64,
    /// Changes of names, as leader.
    pub changes: u64,
    /// Chunk reads.
    pub reads: u64,
    /// Their bytes.
    pub read_bytes: u64,
    /// Chunk changes ordered as primary.
    pub primary_changes: u64,
    /// Chunk changes applied for the primary.
    pub mirror_changes: u64,
    /// Bytes written, either way.
    pub written_bytes: u64,
    /// Bytes of these that it had read for a copy, as primary.
    pub copied_bytes: u64,
    /// Syncs asked for.
    pub syncs: u64,
    /// Blocks that did not match their checksum.
    pub damaged_blocks: u64,
    /// Chunks copied to the mirror to bring it up to date.
    pub resynced_chunks: u64,
}

/// A resync under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResyncProgress {
    /// Whom it brings up to date.
    pub to: ServerId,
    /// Chunks copied.
    pub done: u64,
    /// Chunks to copy in all, as known now.
    pub total: u64,
    /// Bytes copied.
    pub bytes: u64,
    /// Milliseconds since it began.
    pub elapsed_ms: u64,
}

/// What a server's scrubber does and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScrubStatus {
    /// The pass under way.
    pub now: Option<ScrubPass>,
    /// The last pass that went through all chunks, perhaps in an earlier life of the server.
    pub last: Option<ScrubPass>,
}

/// One pass of a server through all of its chunks, each block compared with its checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScrubPass {
    /// Its number; those of other lives of the server differ.
    pub number: u64,
    /// It was asked for, and goes as fast as it can; else it goes by itself, slowly.
    pub asked: bool,
    /// Milliseconds since it began, or that it took.
    pub elapsed_ms: u64,
    /// How it is.
    pub state: ScrubState,
    /// Chunks looked at.
    pub chunks: u64,
    /// Chunks held when it began.
    pub total: u64,
    /// Bytes looked at.
    pub bytes: u64,
    /// Bytes held when it began, holes not counted.
    pub total_bytes: u64,
    /// Chunks that had damaged blocks and are whole now.
    pub mended: u64,
    /// Chunks that have damaged blocks for which there is no good copy.
    pub lost: u64,
}

/// How a pass is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ScrubState {
    /// Under way.
    #[default]
    Runs,
    /// It went through all chunks, and ended at this time by the server's clock, in seconds since 1970.
    Ended(u64),
    /// Broken off: the pair's copies were not both in sync any more, or the disk failed.
    BrokenOff,
}

/// Why the data directory of a server cannot be given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum NotReplaced {
    /// Only the leader can say.
    #[error("this server does not lead")]
    NotLeader(Option<ServerId>),
    /// There is none.
    #[error("the cluster has no such server")]
    Unknown,
    /// It has never said hello.
    #[error("it has never had a data directory: start it")]
    NeverLived,
    /// It runs.
    #[error("it runs, with the data directory that it has had: stop it first")]
    Runs,
    /// Nobody else has what it has.
    #[error(
        "it is the only one of its pair that has everything: without its data directory that pair's files are lost"
    )]
    LastCopy,
    /// The mirror may still be shown to be gone.
    #[error("its copy still counts as in sync: wait until it is put out of its pair")]
    StillInSync,
    /// Nobody agreed to it in time, or something else happened to the pair meanwhile.
    #[error("it was not agreed to in time")]
    NotAgreed,
}

/// Why the loss of a pair cannot be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum NotAccepted {
    /// Only the leader can say.
    #[error("this server does not lead")]
    NotLeader(Option<ServerId>),
    /// There is none.
    #[error("the cluster has no such pair")]
    Unknown,
    /// It has never said hello: its pair is new.
    #[error("{0} has never had a data directory: start it")]
    NeverLived(ServerId),
    /// It runs.
    #[error(
        "{0} answers: nothing of this pair is lost for good while one of its servers runs; if its data is worth nothing, stop it first"
    )]
    Answers(ServerId),
    /// It was heard of a moment ago.
    #[error("{0} was heard of a moment ago, and may come back: wait until it has been silent for 10 s")]
    Heard(ServerId),
    /// It was accepted before.
    #[error(
        "that was accepted already, and the pair waits for new data directories: start its servers with empty ones"
    )]
    Already,
    /// Nobody agreed to it in time, or one of the servers came back meanwhile.
    #[error("it was not agreed to in time, or the pair has changed meanwhile")]
    NotAgreed,
    /// It is not what was confirmed.
    #[error("the pair is another than was looked at, as one of its servers was there meanwhile: say it again")]
    Changed,
}

/// How far the accepting of a loss is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Accepting {
    /// What is lost is being marked: inodes below this one are. To be asked for again.
    Marked(Ino),
    /// It is accepted.
    Done,
}

/// What is lost of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostFile {
    /// Which.
    pub ino: Ino,
    /// By pair, in order: chunks there are lost as far as they hold bytes before this one of the file.
    pub ends: Vec<(PairId, u64)>,
}

/// A page of the namespace's rows, in key order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowsPage {
    /// What had been applied; all pages of one walk must say the same.
    pub applied: LogIndex,
    /// Encoded rows.
    pub rows: Blob,
    /// Where the next page begins; None at the end.
    pub next: Option<Vec<u8>>,
}

#[tarpc::service]
pub trait AdminService {
    /// How is this server?
    async fn status() -> ServerStatus;
    /// What breaks the namespace's invariants here, in words; empty: nothing. And a checksum over all of its rows
    /// with the entry that it is the state after: equal entries must have equal checksums.
    async fn check_namespace(at_least: LogIndex) -> Result<(LogIndex, u64, Vec<String>), Rejection>;
    /// What this server has of each chunk above `after`, in order, a page at a time; with `deep`, every block is read
    /// and compared with its checksum.
    async fn inventory(pair: PairId, after: Option<ChunkId>, deep: bool) -> Result<Vec<ChunkSummary>, Rejection>;
    /// Hand the lead over and end.
    async fn stop() -> bool;
    /// Gives up the data directory that a voter has had: the next other one with which it is started is taken in its
    /// place. Repeated, it changes nothing.
    async fn replace(server: ServerId) -> Result<(), NotReplaced>;
    /// Go through all chunks at full speed, compare every block with its checksum, and mend what is damaged from the
    /// mirror; a pass that was asked for already is joined. Its number. Refused unless both copies of the pair are in sync.
    async fn scrub() -> Result<u64, Rejection>;
    /// How that pass is, and chunks that it could not mend, in order, up to a bound. [`Rejection::Forgotten`]: there is no
    /// such pass in this life of the server.
    async fn scrubbed(number: u64) -> Result<(ScrubPass, Vec<ChunkId>), Rejection>;
    /// Accepts that both servers of a pair are gone for good, with all that only they had, as the pair was under `epoch`: a step
    /// of it, to be repeated until it is done.
    async fn accept_loss(pair: PairId, epoch: Epoch) -> Result<Accepting, NotAccepted>;
    /// A page of the files of which something was marked as lost, above `after`, in order; empty at the end. What has been
    /// written anew since is marked all the same: the chunks know.
    async fn marked_lost(at_least: LogIndex, after: Option<Ino>) -> Result<Vec<LostFile>, Rejection>;
}

impl Asks for AdminServiceRequest {
    fn answer_bytes(&self) -> usize {
        match self {
            AdminServiceRequest::Inventory { .. }
            | AdminServiceRequest::Scrubbed { .. }
            | AdminServiceRequest::MarkedLost { .. } => PAGE_ANSWER_BYTES,
            _ => 0,
        }
    }
}
