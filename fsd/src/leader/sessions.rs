//! When mount sessions lapse, and when they are given up: pure. The lease is kept in the leader's memory; a new leader
//! gives every session a whole one.

use raidfs_common::id::SessionId;
use raidfs_common::limits::{SESSION_ABANDONED, SESSION_LEASE};
use std::collections::BTreeMap;
use std::time::Duration;

/// Leases are looked at many times a second. A longer pause than this was the server's own, as of a machine that stood
/// still: it could not have heard anyone meanwhile, so the pause counts against no lease.
const OWN_PAUSE: Duration = Duration::from_millis(500);

/// When each session was last heard, in time since this process started.
#[derive(Debug, Default)]
pub struct Leases {
    heard: BTreeMap<SessionId, Duration>,
    /// When it was last looked whether a session had lapsed.
    looked: Option<Duration>,
}

impl Leases {
    /// The session has said that it lives, or asked for something.
    pub fn heard(&mut self, session: SessionId, now: Duration) {
        self.heard.insert(session, now);
    }

    /// This server has begun to lead: whatever it heard before is old.
    pub fn restart(&mut self) {
        self.heard.clear();
        self.looked = None;
    }

    /// Whether an open session has lapsed, so that another may be opened. One not heard of yet is given a whole lease.
    pub fn lapsed(&mut self, session: SessionId, now: Duration) -> bool {
        self.silent(session, now) >= SESSION_LEASE
    }

    /// Whether an open session is to end though nobody wants another.
    pub fn abandoned(&mut self, session: SessionId, now: Duration) -> bool {
        self.silent(session, now) >= SESSION_ABANDONED
    }

    fn silent(&mut self, session: SessionId, now: Duration) -> Duration {
        let pause = self.looked.replace(now).map_or(Duration::ZERO, |at| now.saturating_sub(at));
        if pause > OWN_PAUSE {
            for heard in self.heard.values_mut() {
                *heard = (*heard + pause).min(now);
            }
        }
        let since = *self.heard.entry(session).or_insert(now);
        now.saturating_sub(since)
    }

    /// Forgets all but the open one.
    pub fn keep(&mut self, open: Option<SessionId>) {
        self.heard.retain(|session, _| Some(*session) == open);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Whether it lapses while it is looked at every 100 ms in that time.
    fn lapses(leases: &mut Leases, session: SessionId, from: u64, to: u64) -> bool {
        (from / 100..=to / 100).any(|n| leases.lapsed(session, at(n * 100)))
    }

    #[test]
    fn a_session_lapses_after_its_lease_and_a_new_leader_gives_another() {
        let mut leases = Leases::default();
        let one = SessionId(1);
        assert!(!lapses(&mut leases, one, 100_000, 109_900));
        assert!(leases.lapsed(one, at(110_000)));
        assert!(!(1101..1300).any(|n| leases.abandoned(one, at(n * 100))), "it goes on, should it be heard again");
        assert!(leases.abandoned(one, at(130_000)));
        leases.heard(one, at(130_000));
        assert!(!lapses(&mut leases, one, 130_100, 139_000));
        leases.restart();
        assert!(!lapses(&mut leases, one, 145_000, 154_900));
    }

    #[test]
    fn a_pause_of_the_server_itself_counts_against_no_lease() {
        let mut leases = Leases::default();
        let one = SessionId(1);
        leases.heard(one, at(1_000));
        assert!(!lapses(&mut leases, one, 1_000, 5_000));
        // The machine stands still for half a minute, and hears nobody.
        assert!(!lapses(&mut leases, one, 35_000, 40_900));
        assert!(leases.lapsed(one, at(41_000)));
    }
}
