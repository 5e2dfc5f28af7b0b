//! Names and attributes: clients to servers.

use crate::error::Rejection;
use crate::id::{LogIndex, SessionId};
use crate::limits::{DIR_PAGE_ENTRIES, XATTR_TOTAL_MAX_BYTES};
use crate::namespace::{Outcome, Query, Reply, Request};
use crate::rpc::Asks;
use serde::{Deserialize, Serialize};

/// An entry of a directory with its attributes and a name that is not of the longest.
const ENTRY_BYTES: usize = 512;

/// What every answer says besides what was asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The server had applied the log up to here; a session never reads from before the highest it was told.
    pub index: LogIndex,
    /// Sum of all pairs' epochs: if it grew, the pairs' states have changed.
    pub pairs_version: u64,
}

/// What became of a batch of changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// Up to where the log must have been applied to see them.
    pub seen: Seen,
    /// One for each request, in order.
    pub outcomes: Vec<Outcome>,
}

#[tarpc::service]
pub trait NamesService {
    /// Makes changes, in order, each exactly once however often it is sent. Served by the leader.
    async fn change(requests: Vec<Request>) -> Result<Changed, Rejection>;

    /// Answers a question from a state that has `at_least` applied. Served by every server.
    async fn query(at_least: LogIndex, query: Query) -> Result<(Seen, Reply), Rejection>;

    /// Returns once the log up to `index` is on stable storage on a quorum. Refused unless `session` is open and not void:
    /// after a recovery another entry than the one that it was told of may stand at `index`. Servers ask as
    /// [`SessionId::CLUSTER`]. Served by the leader.
    async fn barrier(session: SessionId, index: LogIndex) -> Result<(), Rejection>;

    /// Says that a session lives. Served by the leader.
    async fn keep_alive(session: SessionId) -> Result<Seen, Rejection>;

    /// Returns when the pairs' version is above `known`, at the latest after a few seconds.
    async fn watch(known: u64) -> Result<Seen, Rejection>;

    /// What is applied, at least everything that anybody was told of before this was asked: a quorum has said since then
    /// that the server leads. For clients without a session (rule 8). Served by the leader.
    async fn newest() -> Result<Seen, Rejection>;
}

impl Asks for NamesServiceRequest {
    fn answer_bytes(&self) -> usize {
        match self {
            NamesServiceRequest::Query { query: Query::ReadDir { limit, .. }, .. } => {
                (*limit as usize).clamp(1, DIR_PAGE_ENTRIES) * ENTRY_BYTES
            }
            NamesServiceRequest::Query { query: Query::Xattrs { .. }, .. } => XATTR_TOTAL_MAX_BYTES,
            _ => 0,
        }
    }
}
