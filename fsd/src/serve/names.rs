//! The names service: decode, ask the machine or the log, encode.

use crate::cluster::{NodeProposer, Proposer};
use crate::leader::duties::Duties;
use crate::namespace::Refused;
use crate::serve::tally::Tally;
use raidfs_common::error::{FsError, Rejection};
use raidfs_common::id::{LogIndex, SessionId};
use raidfs_common::limits::CHANGES_PER_ENTRY_MAX;
use raidfs_common::namespace::{Change, Done, Outcome, Query, Reply, Request};
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

    /// What changes of a session that is not open are answered: as the namespace would answer them, but for an entry in every
    /// log. None: it is open, or they may open it. Nobody is told that a session is not open by a leader that has been
    /// replaced, nor by one that has yet to apply what it has in its log.
    async fn without_session(&self, requests: &[Request]) -> Result<Option<Changed>, Rejection> {
        let changed = |outcomes| Changed { seen: self.proposer.machine.seen(), outcomes };
        let Some(session) = requests.first().map(|request| request.session) else {
            return Ok(Some(changed(Vec::new())));
        };
        if requests.iter().any(|request| matches!(request.change, Change::OpenSession { .. })) {
            return Ok(None);
        }
        // One that is open in name only can still be ended.
        let ends = |request: &Request| matches!(request.change, Change::EndSession { .. });
        let counts = || {
            let is_named = || self.proposer.session() == Some(session);
            if requests.iter().any(ends) { is_named() } else { self.must_be_open(session).is_ok() }
        };
        if counts() {
            return Ok(None);
        }
        let (_, last) = self.proposer.confirm().await.ok_or(Rejection::Away)?;
        self.proposer.machine.reach(last, BARRIER_PATIENCE).await.map_err(|_| Rejection::Away)?;
        if counts() {
            return Ok(None);
        }
        let outcome = |request: &Request| match &request.change {
            Change::EndSession { session } if *session == request.session => Ok(Ok(Done::Nothing)),
            Change::EndSession { .. } => Ok(Err(FsError::NotPermitted)),
            _ => Err(Rejection::NoSession),
        };
        requests.iter().map(outcome).collect::<Result<Vec<_>, _>>().map(|outcomes| Some(changed(outcomes)))
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
        if let Some(answer) = self.without_session(&requests).await? {
            return Ok(answer);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::tests::{a_cluster, alone};
    use raidfs_common::time::Time;

    const OPEN: SessionId = SessionId(77);
    const STRANGE: SessionId = SessionId(78);

    fn request(session: SessionId, seq: u64, change: Change) -> Request {
        Request { session, seq, done_below: 0, now: Time::default(), change }
    }

    fn open() -> Change {
        Change::OpenSession { holder: "test".into(), takeover: false }
    }

    /// The only server of its cluster.
    async fn server(dir: &std::path::Path) -> NamesServer {
        let proposer = alone(dir, Default::default());
        proposer.node.watch().wait_for(|status| status.leads).await.expect("the node lives");
        let duties = Duties::new(Arc::new(a_cluster()), proposer.clone());
        NamesServer { proposer, duties, tally: Arc::default() }
    }

    #[tokio::test]
    async fn what_a_session_asks_that_is_not_open_takes_no_room_in_the_log() {
        let dir = tempfile::tempdir().expect("a directory");
        let server = server(dir.path()).await;
        let make = |session, change| server.clone().make(vec![request(session, 9, change)]);
        make(OPEN, open()).await.expect("it is opened");
        let last = server.proposer.node.status().last;
        let end = |session| Change::EndSession { session };
        for _ in 0..3 {
            assert_eq!(make(STRANGE, Change::GrantInos).await, Err(Rejection::NoSession));
            assert_eq!(make(STRANGE, end(STRANGE)).await.map(|made| made.outcomes), Ok(vec![Ok(Done::Nothing)]));
            let others = make(STRANGE, end(OPEN)).await.map(|made| made.outcomes);
            assert_eq!(others, Ok(vec![Err(FsError::NotPermitted)]));
            assert_eq!(server.clone().make(Vec::new()).await.map(|made| made.outcomes), Ok(Vec::new()));
        }
        assert_eq!(server.proposer.node.status().last, last, "nothing was put into the log");
        let mixed = vec![request(STRANGE, 1, end(STRANGE)), request(STRANGE, 2, Change::GrantInos)];
        assert_eq!(server.clone().make(mixed).await, Err(Rejection::NoSession));
        make(OPEN, Change::GrantInos).await.expect("who is open is served");
        make(OPEN, end(OPEN)).await.expect("it is ended");
        let last = server.proposer.node.status().last;
        assert_eq!(make(OPEN, Change::GrantInos).await, Err(Rejection::NoSession), "and its retries are refused");
        assert_eq!(server.proposer.node.status().last, last);
    }

    #[tokio::test]
    async fn the_answers_are_those_that_the_namespace_gives() {
        let dir = tempfile::tempdir().expect("a directory");
        let server = server(dir.path()).await;
        server.clone().make(vec![request(OPEN, 1, open())]).await.expect("it is opened");
        let ends = [STRANGE, OPEN].map(|session| Change::EndSession { session });
        for change in ends.into_iter().chain([Change::GrantInos]) {
            let requests = vec![request(STRANGE, 1, change)];
            let agreed = server.proposer.batch(requests.clone()).await.expect("it is agreed on").outcomes;
            match server.clone().make(requests).await {
                Ok(made) => assert_eq!(agreed, made.outcomes.into_iter().map(Ok).collect::<Vec<_>>()),
                Err(rejection) => {
                    assert_eq!((agreed, rejection), (vec![Err(Refused::NoSession)], Rejection::NoSession));
                }
            }
        }
    }

    #[tokio::test]
    async fn a_session_whose_opening_is_on_its_way_is_not_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let server = server(dir.path()).await;
        let opening = server.proposer.batch(vec![request(OPEN, 1, open())]);
        let asking = server.clone().make(vec![request(OPEN, 2, Change::GrantInos)]);
        let (opened, made) = tokio::join!(opening, asking);
        opened.expect("it is opened");
        made.expect("it is open");
    }
}
