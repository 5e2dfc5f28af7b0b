//! Agreement on the log: servers and the witness among themselves.

use crate::codec::Blob;
use crate::id::{Epoch, Incarnation, LogIndex, PairId, ServerId, Term};
use crate::rpc::Asks;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// The reason that a server which stops in order gives for being put out of its pair: no trouble.
pub const STOPS: &str = "it stops";
/// How the reason begins with which a server accuses itself of a disk that is slow.
pub const SLOW_DISK: &str = "its disk takes more than ";

/// A log entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEntry {
    /// The term of the leader that made it.
    pub term: Term,
    /// Where it stands.
    pub index: LogIndex,
    /// It takes effect only once it is on stable storage on a quorum.
    pub synced: bool,
    /// An encoded [`crate::namespace::Command`]; the log does not look inside.
    pub data: Bytes,
}

/// A request for a vote, or with `pre`, the question whether one would be given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoteRequest {
    /// Who asks.
    pub from: ServerId,
    /// The term that it wants to lead.
    pub term: Term,
    /// Only a question: no promise is made.
    pub pre: bool,
    /// The old leader has gone, or asked for it: the voter need not wait for silence.
    pub transfer: bool,
    /// All voters that may come were asked and nobody leads: servers that may have forgotten entries vote too.
    pub recovery: bool,
    /// Term of its last entry.
    pub last_term: Term,
    /// Position of its last entry.
    pub last_index: LogIndex,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoteReply {
    /// The voter's term.
    pub term: Term,
    /// Whether it votes (or would).
    pub granted: bool,
    /// It may have forgotten entries, and therefore does not vote.
    pub doubtful: bool,
    /// It has never taken part, as far as its data directory tells: it votes only for the first leader of a new cluster.
    pub stranger: bool,
    /// This life of it.
    pub incarnation: Incarnation,
    /// The term of its last entry.
    pub last_term: Term,
    /// The position of its last entry.
    pub last_index: LogIndex,
}

/// Entries from the leader, or with none, a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppendRequest {
    /// The leader.
    pub from: ServerId,
    /// Its term.
    pub term: Term,
    /// Grows with every request of this term to this follower.
    pub round: u64,
    /// The highest round whose reply the leader has had: the follower's lease counts from its sending.
    pub heard: u64,
    /// The entry before the first of `entries`:
    pub prev_index: LogIndex,
    /// and its term.
    pub prev_term: Term,
    /// Entries to add.
    pub entries: Vec<LogEntry>,
    /// Everything up to here is agreed.
    pub commit: LogIndex,
    /// Everything up to here is on stable storage on a quorum.
    pub durable: LogIndex,
    /// Sync the log up to here before answering; 0: no need to.
    pub sync_to: LogIndex,
    /// The leader's last entry: what a follower that may have forgotten entries must hold before it votes.
    pub leader_last: LogIndex,
    /// Enough servers have durably applied everything up to here: the log before it may be dropped.
    pub spare: LogIndex,
}

/// The follower's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppendReply {
    /// This life of it.
    pub incarnation: Incarnation,
    /// Its term.
    pub term: Term,
    /// The request's round.
    pub round: u64,
    /// Whether it had the entry before, and has now all that were sent.
    pub ok: bool,
    /// ok: it holds the leader's log up to here. Not ok: a position to try next.
    pub matched: LogIndex,
    /// It holds the leader's log up to here on stable storage.
    pub durable: LogIndex,
    /// It has applied up to here, durably (for the witness: held).
    pub applied_durable: LogIndex,
    /// It gets through to the leader over a connection of its own. A leader that too few can say this of hands over.
    pub reaches: bool,
}

/// A piece of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotPiece {
    /// The leader.
    pub from: ServerId,
    /// Its term.
    pub term: Term,
    /// The snapshot is the state after this entry,
    pub index: LogIndex,
    /// whose term is this.
    pub entry_term: Term,
    /// Which piece, from 0.
    pub number: u64,
    /// Whether it is the last.
    pub last: bool,
    /// Its bytes.
    pub data: Blob,
}

/// A life of a voter, in its own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// Which.
    pub incarnation: Incarnation,
    /// Its machine went down since it last served, or it does not know.
    pub power_lost: bool,
    /// Its data directory was made empty, and lacks something to this day.
    pub empty: bool,
}

/// What the leader says to a voter that has started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Joining {
    /// This server does not lead, or cannot say yet: ask again.
    Later,
    /// The voter's data directory is the one that the cluster knows.
    Known {
        /// The term in which this is said.
        term: Term,
        /// The leader's last entry: a voter that has never taken part must hold it before it votes.
        last: LogIndex,
    },
    /// It is another: the voter must end.
    Refused,
}

/// What a server tells the leader about itself, or about another; the leader decides what to make of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// I have started (again).
    Started(Started),
    /// My mirror does not answer, or my own disk fails.
    Accuse {
        /// Which pair.
        pair: PairId,
        /// The epoch that this is about.
        epoch: Epoch,
        /// Who.
        server: ServerId,
        /// Why, in words for the log; [`STOPS`] of itself by who stops in order.
        reason: String,
    },
    /// I am about to copy to my mirror: log it as syncing.
    Syncing {
        /// Which pair.
        pair: PairId,
        /// The epoch that this is about.
        epoch: Epoch,
        /// The mirror.
        server: ServerId,
        /// Its life.
        incarnation: Incarnation,
    },
    /// My mirror has everything: log it as in sync.
    InSync {
        /// Which pair.
        pair: PairId,
        /// The epoch that this is about.
        epoch: Epoch,
        /// The mirror.
        server: ServerId,
        /// Its life.
        incarnation: Incarnation,
    },
    /// My disk.
    Space {
        /// Bytes in all.
        total: u64,
        /// Bytes free for files.
        free: u64,
        /// Which file system that is, so that its room is counted once however many servers are on it; 0: not known.
        file_system: u64,
    },
    /// My pair's loss was accepted, and I have made lost all that is marked: log my copy as the first.
    Begun {
        /// Which pair.
        pair: PairId,
        /// The epoch that this is about.
        epoch: Epoch,
        /// My life.
        incarnation: Incarnation,
        /// How many marks had come late when I began with that.
        late: u64,
    },
}

#[tarpc::service]
pub trait PeerService {
    /// Asks for a vote.
    async fn vote(request: VoteRequest) -> VoteReply;
    /// Sends entries. None: this voter is silent, its log has failed.
    async fn append(request: AppendRequest) -> Option<AppendReply>;
    /// Sends a piece of a snapshot; the answer is the receiver's term, and whether it took the piece.
    async fn snapshot(piece: SnapshotPiece) -> (Term, bool);
    /// Tells the leader something; false: it does not lead, or it cannot act on it now.
    async fn report(from: ServerId, report: Report) -> bool;
    /// Asks the leader whether this life of a voter may take part.
    async fn join(from: ServerId, life: Started) -> Joining;
    /// The leader's word: take over now.
    async fn take_over(from: ServerId, term: Term) -> bool;
    /// Asks who speaks, to see that it lives.
    async fn ping() -> Incarnation;
}

impl Asks for PeerServiceRequest {
    fn answer_bytes(&self) -> usize {
        0
    }
}
