//! The names service: decode, ask the machine or the log, encode.

use crate::cluster::{NodeProposer, Proposer};
use crate::leader::duties::Duties;
use crate::namespace::Refused;
use crate::serve::tally::Tally;
use raidfs_common::error::Rejection;
use raidfs_common::id::{LogIndex, SessionId};
use raidfs_common::limits::CHANGES_PER_ENTRY_MAX;
use raidfs_common::namespace::{Change, Outcome, Query, Reply, Request};
use raidfs_common::plant::{Bug, planted};
use raidfs_common::rpc::names::{Changed, NamesService, Seen};
use std::sync::Arc;
use std::time::Duration;
use tarpc::context::Context;

/// A question waits this long for this server to have applied what it must have.
const REACH_PATIENCE: Duration = Duration::from_millis(100);
/// A watcher is answered after this long even if nothing changed.
const WATCH: Duration = Duration::from_secs(5);
const BARRIER_PATIENCE: Duration = Duration::from_secs(10);

/// The names service of one server.
#[derive(Clone, Debug)]
pub struct NamesServer {
    /// Agreement and the namespace.
    pub proposer: NodeProposer,
    /// The leader's duties.
    pub duties: Arc<Duties<NodeProposer>>,
    /// What was served.
    pub tally: Arc<Tally>,
}

impl NamesServer {
    fn not_leader(&self) -> Rejection {
        Rejection::NotLeader { leader: self.proposer.node.status().leader }
    }

    /// What it was told holds, if it is open and from behind the last recovery; what the cluster itself asks for always does.
    fn must_be_open(&self, session: SessionId) -> Result<(), Rejection> {
        let is_open = || self.proposer.session() == Some(session) && !self.proposer.is_void(session);
        if session == SessionId::CLUSTER || is_open() { Ok(()) } else { Err(Rejection::NoSession) }
    }

    /// A lapsed session needs no takeover; one that is taken over or lapsed ends in good order first (rule 15). What keeps
    /// it from that is waited for by who asks again.
    async fn make_way(&self, request: &Request) -> Result<(), Rejection> {
        let Change::OpenSession { takeover, .. } = &request.change else { return Ok(()) };
        let Some(open) = self.proposer.session().filter(|open| *open != request.session) else {
            return if self.duties.none_ends().await { Ok(()) } else { Err(Rejection::Away) };
        };
        let must_end = || *takeover || self.proposer.is_void(open) || self.duties.session_lapsed(open);
        if must_end() && !self.duties.end_session(open, must_end).await { Err(Rejection::Away) } else { Ok(()) }
    }

    async fn make(self, requests: Vec<Request>) -> Result<Changed, Rejection> {
        if !self.proposer.leads() {
            return Err(self.not_leader());
        }
        let session = requests.first().map(|r| r.session);
        let honest = |r: &Request| {
            Some(r.session) == session && r.session != SessionId::CLUSTER && r.seq > 0 && is_for_clients(&r.change)
        };
        if requests.len() > CHANGES_PER_ENTRY_MAX || !requests.iter().all(honest) {
            return Err(Rejection::Bad("a batch is one session's, of at most a thousand numbered changes".into()));
        }
        for request in &requests {
            self.make_way(request).await?;
        }
        if let Some(session) = session {
            self.duties.session_heard(session);
        }
        self.tally.changes(requests.len() as u64);
        let made = self.proposer.batch(requests).await?;
        let known = |outcome: Result<Outcome, Refused>| {
            outcome.map_err(|refused| match refused {
                Refused::NoSession => Rejection::NoSession,
                Refused::Forgotten => Rejection::Forgotten,
            })
        };
        let outcomes = made.outcomes.into_iter().map(known).collect::<Result<Vec<_>, _>>()?;
        Ok(Changed { seen: made.seen, outcomes })
    }
}

/// What only the cluster itself may say.
fn is_for_clients(change: &Change) -> bool {
    !matches!(
        change,
        Change::Pair { .. }
            | Change::Space { .. }
            | Change::RecoverSizes { .. }
            | Change::Witness { .. }
            | Change::MarkLost { .. }
            | Change::AcceptLoss { .. }
    )
}

impl NamesService for NamesServer {
    async fn change(self, _: Context, requests: Vec<Request>) -> Result<Changed, Rejection> {
        // In a task of its own: the deadline of the call does not undo what is in the log.
        tokio::spawn(self.make(requests)).await.unwrap_or(Err(Rejection::Away))
    }

    async fn query(self, _: Context, at_least: LogIndex, query: Query) -> Result<(Seen, Reply), Rejection> {
        self.tally.query();
        let machine = &self.proposer.machine;
        if !planted(Bug::AnswersFromPast) {
            machine.reach(at_least, REACH_PATIENCE).await?;
        }
        if !machine.may_answer() {
            return Err(Rejection::NoQuorum);
        }
        machine.query(&query)
    }

    async fn barrier(self, _: Context, session: SessionId, index: LogIndex) -> Result<(), Rejection> {
        if !self.proposer.leads() {
            return Err(self.not_leader());
        }
        self.must_be_open(session)?;
        let reached = tokio::time::timeout(BARRIER_PATIENCE, self.proposer.node.barrier(index)).await;
        if !reached.unwrap_or(false) {
            return Err(self.not_leader());
        }
        // Should the lead have been lost and won again meanwhile, what was recovered may lack the entry that was meant.
        self.must_be_open(session)
    }

    async fn keep_alive(self, _: Context, session: SessionId) -> Result<Seen, Rejection> {
        if !self.proposer.leads() {
            return Err(self.not_leader());
        }
        self.must_be_open(session)?;
        self.duties.session_heard(session);
        Ok(self.proposer.machine.seen())
    }

    async fn newest(self, _: Context) -> Result<Seen, Rejection> {
        let agreed = tokio::time::timeout(BARRIER_PATIENCE, self.proposer.node.confirm()).await;
        let Ok(Some(agreed)) = agreed else { return Err(self.not_leader()) };
        self.proposer.machine.reach(agreed, REACH_PATIENCE).await?;
        Ok(self.proposer.machine.seen())
    }

    async fn watch(self, _: Context, known: u64) -> Result<Seen, Rejection> {
        let mut seen = self.proposer.machine.watch_seen();
        let changed = tokio::time::timeout(WATCH, seen.wait_for(|s| s.pairs_version > known)).await;
        drop(changed);
        Ok(self.proposer.machine.seen())
    }
}
