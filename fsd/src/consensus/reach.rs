//! Whether others can connect to the leader. One that hears its followers, and that none of them can connect to, keeps the
//! lead by its own connections, while whatever others ask of it is lost: a firewall's rule does that. So each follower asks it
//! again and again over a connection of its own, and says with its answers whether it gets through; a leader that a quorum
//! does not get through to hands over.

use super::core::{Core, NEVER, Now, Output, Role};
use super::leading::Lead;
use super::log::LogStore;
use raidfs_common::id::ServerId;
use raidfs_common::limits::{HEARTBEAT, PING};
use std::time::Duration;

/// For so long after it was given the lead, or gave it away, nobody gives it away because it cannot be reached: where nobody
/// can be, that would go round and round.
const ONCE_IN: Duration = Duration::from_secs(30);

/// What a follower knows of its way to the leader.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reach {
    /// When the leader was last reached; at first, when it was first heard.
    reached_at: Now,
    /// When it is asked next.
    ask_at: Now,
}

impl Reach {
    /// Of a leader that was just heard for the first time.
    pub fn new(now: Now) -> Reach {
        Reach { reached_at: now, ask_at: now + PING }
    }

    /// The leader has been silent for so long by its own connections, and is heard again at `now`: that time says nothing about
    /// the way to it.
    pub fn forgive(&mut self, silence: Now, now: Now) {
        if silence > HEARTBEAT * 2 {
            self.reached_at = now.min(self.reached_at + silence);
        }
    }
}

impl Lead {
    /// How many followers have said, last and since `since`, that they do not get through to this leader.
    fn out_of_reach_for(&self, since: Now) -> usize {
        self.followers.values().filter(|f| !f.reaches && f.heard_at.is_some_and(|at| at >= since)).count()
    }
}

impl<L: LogStore> Core<L> {
    /// When the leader is to be asked next.
    pub(super) fn next_ping(&self) -> Now {
        self.reach.filter(|_| self.leader.is_some()).map_or(NEVER, |reach| reach.ask_at)
    }

    pub(super) fn ping_leader(&mut self, now: Now) {
        if let (Some(reach), Some(to)) = (&mut self.reach, self.leader) {
            reach.ask_at = now + PING;
            self.out.push(Output::Ping { to });
        }
    }

    /// `server` has answered over a connection of this voter's own.
    pub fn on_pinged(&mut self, server: ServerId, now: Now) {
        if let Some(reach) = self.reach.as_mut().filter(|_| self.leader == Some(server)) {
            reach.reached_at = now;
        }
    }

    /// False: nothing of this voter's own has got through to the leader for as long as a leader may be silent.
    pub(super) fn reaches_leader(&self, now: Now) -> bool {
        self.reach.is_none_or(|reach| now < reach.reached_at + self.setup.timing.election)
    }

    /// Since when nothing of this voter's own has got through to the leader that it follows, if that is long; the silence of the
    /// leader's own connections aside.
    pub(super) fn unreached_since(&self, now: Now) -> Option<Now> {
        self.reach.filter(|_| !self.reaches_leader(now)).map(|reach| reach.reached_at)
    }

    /// Hands the lead over if so many cannot connect to this voter that the others, itself counted, are no quorum.
    pub(super) fn hand_over_if_out_of_reach(&mut self, now: Now) {
        let (voters, quorum) = (self.setup.voters.len(), self.quorum());
        let since = now.saturating_sub(self.setup.timing.election);
        let Role::Leader(lead) = &self.role else { return };
        let without = lead.out_of_reach_for(since);
        let again = self.handed_over_at.is_some_and(|at| now < at + ONCE_IN);
        if voters - without < quorum && !again && self.hand_over(now) {
            tracing::warn!(
                "{without} of the {} others cannot connect to this server, though it can connect to them: handing the lead \
                 over; is a firewall in the way?",
                voters - 1
            );
        }
    }
}
