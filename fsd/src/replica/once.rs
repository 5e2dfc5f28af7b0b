//! Each change is made once: outcomes of a session's changes, kept until the session says that it has them. Pure.
//!
//! What is kept is about this server's copy, so it is forgotten when the copy stops being in sync: a copy that was
//! brought up to date from the mirror need not hold what it held before.

use raidfs_common::id::SessionId;
use raidfs_common::limits::OUTCOMES_KEPT_MAX;
use raidfs_common::plant::{Bug, planted};
use raidfs_common::rpc::chunks::ChangeId;
use std::collections::BTreeMap;

/// What is to be done about a change that arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begin<T> {
    /// It is new: make it, then call [`Once::end`].
    Make,
    /// It is being made: wait for that try's end, then ask again.
    Wait,
    /// It was made, with this outcome.
    Made(T),
    /// The session has had its outcome: a late duplicate, without effect.
    Late,
    /// Too many are kept or under way.
    Overloaded,
}

/// A session's changes.
#[derive(Debug)]
struct Session<T> {
    done_below: u64,
    /// None: under way.
    changes: BTreeMap<u64, Option<T>>,
    used: u64,
}

/// Changes made and under way, by session.
#[derive(Debug)]
pub struct Once<T> {
    sessions: BTreeMap<SessionId, Session<T>>,
    clock: u64,
}

/// Sessions that are remembered; the one unused for longest is forgotten first. One is open at a time.
const SESSIONS_MAX: usize = 16;

impl<T> Default for Once<T> {
    fn default() -> Self {
        Once { sessions: BTreeMap::new(), clock: 0 }
    }
}

impl<T: Clone> Once<T> {
    /// A change arrives.
    pub fn begin(&mut self, id: ChangeId) -> Begin<T> {
        self.clock += 1;
        if !self.sessions.contains_key(&id.session) && self.sessions.len() >= SESSIONS_MAX && !self.forget_oldest() {
            return Begin::Overloaded;
        }
        let session =
            self.sessions.entry(id.session).or_insert(Session { done_below: 0, changes: BTreeMap::new(), used: 0 });
        session.used = self.clock;
        if id.done_below > session.done_below {
            session.done_below = id.done_below;
            // What is under way stays until it ends: its try must find it.
            session.changes.retain(|seq, outcome| *seq >= id.done_below || outcome.is_none());
        }
        match session.changes.get(&id.seq) {
            Some(None) => Begin::Wait,
            Some(Some(outcome)) if !planted(Bug::ChangesTwice) => Begin::Made(outcome.clone()),
            None if id.seq < session.done_below && !planted(Bug::ChangesTwice) => Begin::Late,
            None if session.changes.len() >= OUTCOMES_KEPT_MAX => Begin::Overloaded,
            _ => {
                session.changes.insert(id.seq, None);
                Begin::Make
            }
        }
    }

    /// The session has given the change up, or has its outcome: it is not to be made any more.
    pub fn is_done(&self, id: ChangeId) -> bool {
        self.sessions.get(&id.session).is_some_and(|session| id.seq < session.done_below)
    }

    /// A try has ended: made with an outcome, or (None) without effect, so that it may be tried again.
    pub fn end(&mut self, id: ChangeId, outcome: Option<T>) {
        let Some(session) = self.sessions.get_mut(&id.session) else { return };
        match outcome {
            Some(outcome) if id.seq >= session.done_below => session.changes.insert(id.seq, Some(outcome)),
            _ => session.changes.remove(&id.seq),
        };
    }

    /// Forgets every outcome: this server's copy is not what it was. What is under way stays.
    pub fn forget_made(&mut self) {
        for session in self.sessions.values_mut() {
            session.changes.retain(|_, outcome| outcome.is_none());
        }
    }

    fn forget_oldest(&mut self) -> bool {
        let idle = self.sessions.iter().filter(|(_, s)| s.changes.values().all(Option::is_some));
        let oldest = idle.min_by_key(|(_, s)| s.used).map(|(id, _)| *id);
        oldest.is_some_and(|id| self.sessions.remove(&id).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(seq: u64, done_below: u64) -> ChangeId {
        ChangeId { session: SessionId(1), seq, done_below }
    }

    #[test]
    fn a_duplicate_waits_and_then_gets_the_first_outcome() {
        let mut once = Once::default();
        assert_eq!(once.begin(id(1, 0)), Begin::Make);
        assert_eq!(once.begin(id(1, 0)), Begin::Wait);
        once.end(id(1, 0), Some("a"));
        assert_eq!(once.begin(id(1, 0)), Begin::Made("a"));
    }

    #[test]
    fn a_try_without_effect_may_be_made_again() {
        let mut once: Once<()> = Once::default();
        assert_eq!(once.begin(id(1, 0)), Begin::Make);
        once.end(id(1, 0), None);
        assert_eq!(once.begin(id(1, 0)), Begin::Make);
    }

    #[test]
    fn what_the_session_has_had_has_no_effect_and_is_not_kept() {
        let mut once = Once::default();
        for seq in 1..=10 {
            assert_eq!(once.begin(id(seq, 0)), Begin::Make);
            once.end(id(seq, 0), Some(seq));
        }
        assert_eq!(once.begin(id(11, 10)), Begin::Make);
        assert!(!once.is_done(id(11, 0)) && !once.is_done(id(10, 0)));
        assert_eq!(once.begin(id(12, 12)), Begin::Make);
        assert!(once.is_done(id(11, 0)), "it has been given up while it was under way");
        once.end(id(11, 10), None);
        assert_eq!(once.begin(id(3, 2)), Begin::Late);
        assert_eq!(once.begin(id(10, 2)), Begin::Late);
        assert_eq!(once.sessions[&SessionId(1)].changes.len(), 1);
    }

    #[test]
    fn the_number_kept_is_bounded() {
        let mut once = Once::default();
        for seq in 0..OUTCOMES_KEPT_MAX as u64 {
            assert_eq!(once.begin(id(seq, 0)), Begin::Make);
            once.end(id(seq, 0), Some(()));
        }
        assert_eq!(once.begin(id(5000, 0)), Begin::Overloaded);
        assert_eq!(once.begin(id(5000, 1)), Begin::Make);
        for session in 2..100 {
            let id = ChangeId { session: SessionId(session), seq: 1, done_below: 0 };
            assert_eq!(once.begin(id), Begin::Make);
            once.end(id, Some(()));
        }
        assert!(once.sessions.len() <= SESSIONS_MAX);
        assert_eq!(once.begin(id(5000, 1)), Begin::Wait, "what is under way is never forgotten");
    }

    #[test]
    fn a_copy_that_is_not_what_it_was_knows_no_outcomes() {
        let mut once = Once::default();
        assert_eq!(once.begin(id(1, 0)), Begin::Make);
        once.end(id(1, 0), Some(()));
        assert_eq!(once.begin(id(2, 0)), Begin::Make);
        once.forget_made();
        assert_eq!(once.begin(id(1, 0)), Begin::Make);
        assert_eq!(once.begin(id(2, 0)), Begin::Wait);
    }
}
