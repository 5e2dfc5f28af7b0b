//! When mount sessions lapse: pure. The lease is kept in the leader's memory; a new leader gives every session a whole
//! one.

use raidfs_common::id::SessionId;
use raidfs_common::limits::SESSION_LEASE;
use std::collections::BTreeMap;
use std::time::Duration;

/// When each session was last heard, in time since this process started.
#[derive(Debug, Default)]
pub struct Leases {
    heard: BTreeMap<SessionId, Duration>,
}

impl Leases {
    /// The session has said that it lives, or asked for something.
    pub fn heard(&mut self, session: SessionId, now: Duration) {
        self.heard.insert(session, now);
    }

    /// This server has begun to lead: whatever it heard before is old.
    pub fn restart(&mut self) {
        self.heard.clear();
    }

    /// Whether an open session has lapsed. One not heard of yet is given a whole lease.
    pub fn lapsed(&mut self, session: SessionId, now: Duration) -> bool {
        let since = *self.heard.entry(session).or_insert(now);
        now.saturating_sub(since) >= SESSION_LEASE
    }

    /// Forgets all but the open one.
    pub fn keep(&mut self, open: Option<SessionId>) {
        self.heard.retain(|session, _| Some(*session) == open);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_lapses_after_its_lease_and_a_new_leader_gives_another() {
        let mut leases = Leases::default();
        let (one, at) = (SessionId(1), Duration::from_secs);
        assert!(!leases.lapsed(one, at(100)));
        assert!(!leases.lapsed(one, at(109)));
        assert!(leases.lapsed(one, at(110)));
        leases.heard(one, at(110));
        assert!(!leases.lapsed(one, at(119)));
        leases.restart();
        assert!(!leases.lapsed(one, at(125)));
    }
}
