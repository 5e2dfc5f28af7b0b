//! The pairs' states as this client knows them: only ever newer ones, and a wake-up for everybody who waits for a
//! change. Does no I/O itself; [`super::watching`] asks the servers.

use raidfs_common::id::PairId;
use raidfs_common::pair::Pair;
use raidfs_common::plant::{Bug, planted};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::watch;

/// All pairs at one time.
#[derive(Debug, Default)]
pub struct Known {
    /// Sum of the epochs; 0: nothing is known yet.
    pub version: u64,
    /// By number.
    pub pairs: Vec<Pair>,
    /// The pairs that have lost something since the first that was heard of them, in that order; see [`Pair::losses`].
    pub losses: Vec<PairId>,
}

impl Known {
    /// A pair's state.
    pub fn pair(&self, id: PairId) -> Option<&Pair> {
        self.pairs.iter().find(|p| p.id == id)
    }

    /// What is known after it, by newer states.
    fn followed_by(&self, version: u64, pairs: Vec<Pair>) -> Known {
        let lost_more = |pair: &&Pair| self.pair(pair.id).is_some_and(|before| before.losses < pair.losses);
        let more = pairs.iter().filter(lost_more).map(|pair| pair.id);
        let losses = self.losses.iter().copied().chain(more).collect();
        Known { version, pairs, losses }
    }
}

/// The newest states that were heard of.
pub struct PairStates {
    known: watch::Sender<Arc<Known>>,
    heard_of: AtomicU64,
    wanted: watch::Sender<u64>,
}

impl Default for PairStates {
    fn default() -> Self {
        PairStates { known: watch::Sender::default(), heard_of: AtomicU64::new(0), wanted: watch::Sender::new(0) }
    }
}

impl PairStates {
    /// What is known now.
    pub fn now(&self) -> Arc<Known> {
        Arc::clone(&self.known.borrow())
    }

    /// A receiver that wakes at each change.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Known>> {
        self.known.subscribe()
    }

    /// Takes states over if they are newer; returns whether they are.
    pub fn learn(&self, pairs: Vec<Pair>) -> bool {
        let version: u64 = pairs.iter().map(|p| p.epoch.0).sum();
        self.heard_of.fetch_max(version, Ordering::AcqRel);
        self.known.send_if_modified(|known| {
            let newer = version > known.version || planted(Bug::GoesBack);
            if newer {
                *known = Arc::new(known.followed_by(version, pairs));
            }
            newer
        })
    }

    /// A server knows this version; if we do not, it is fetched.
    pub fn heard_of(&self, version: u64) {
        if self.heard_of.fetch_max(version, Ordering::AcqRel) < version {
            self.want();
        }
    }

    /// Something failed that a newer state may explain: fetch it.
    pub fn want(&self) {
        self.wanted.send_modify(|n| *n += 1);
    }

    /// A receiver that wakes whenever somebody wants newer states.
    pub fn wanted(&self) -> watch::Receiver<u64> {
        self.wanted.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use raidfs_common::id::{Epoch, Incarnation, ServerId};
    use raidfs_common::pair::{CopyState, Member, Space};

    fn pair(epoch: u64) -> Pair {
        let member = |n| Member { server: ServerId(n), state: CopyState::InSync, incarnation: Incarnation(1) };
        Pair { id: PairId(0), epoch: Epoch(epoch), members: [member(1), member(2)], space: Space::default(), losses: 0 }
    }

    #[test]
    fn losses_are_those_that_happened_since_the_first_look() {
        let states = PairStates::default();
        let with = |epoch, losses| Pair { losses, ..pair(epoch) };
        states.learn(vec![with(3, 2)]);
        assert_eq!(states.now().losses, [], "before our time");
        states.learn(vec![with(5, 3)]);
        states.learn(vec![with(4, 4)]);
        assert_eq!(states.now().losses, [PairId(0)]);
        states.learn(vec![with(6, 3)]);
        states.learn(vec![with(9, 7)]);
        assert_eq!(states.now().losses, [PairId(0), PairId(0)], "several at once are as one");
    }

    #[test]
    fn states_never_go_back() {
        let states = PairStates::default();
        assert!(states.learn(vec![pair(3)]));
        assert!(!states.learn(vec![pair(2)]));
        assert_eq!(states.now().pair(PairId(0)).unwrap().epoch, Epoch(3));
        let mut wanted = states.wanted();
        states.heard_of(3);
        assert!(!wanted.has_changed().unwrap());
        states.heard_of(4);
        assert!(wanted.has_changed().unwrap());
        wanted.mark_unchanged();
        states.heard_of(4);
        assert!(!wanted.has_changed().unwrap(), "it is being fetched already");
    }
}
