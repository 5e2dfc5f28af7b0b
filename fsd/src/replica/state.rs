//! What the succession of epochs means for this server. Pure: it sees each epoch once, in order, though not every one.
//!
//! | from one epoch to a later one | follows |
//! |---|---|
//! | in sync all the time | outcomes of changes are kept |
//! | not in sync in between, or not known | outcomes are forgotten: the copy is the mirror's now |
//! | came into sync beside a mirror that is | no change is ordered here before the mirror's older ones have ended |
//! | the mirror is syncing | one attempt to bring it up to date; a forward that fails ends it; a chunk that only one had is copied |

use raidfs_common::id::{ChunkId, Epoch, Incarnation, ServerId};
use raidfs_common::pair::{CopyState, Pair};
use raidfs_common::plant::{Bug, planted};
use std::collections::BTreeSet;

/// One attempt to bring the mirror up to date: it lasts for one epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Attempt {
    epoch: Epoch,
    /// The mirror missed a change.
    failed: bool,
    /// The leader was told that the mirror has everything: from then on a forward must not fail.
    sealed: bool,
    /// Chunks that a change has made on one of the two only: of the others' bytes the mirror may have none.
    doubtful: BTreeSet<ChunkId>,
}

/// What this server remembers of the epochs that it saw.
#[derive(Debug, Default)]
pub struct State {
    epoch: Epoch,
    in_sync: bool,
    must_open: bool,
    attempt: Option<Attempt>,
}

/// What a failed forward to a mirror that catches up means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missed {
    /// The attempt starts over; the change may be acknowledged.
    StartsOver,
    /// The mirror may count as in sync already: it must be evicted first.
    MustEvict,
}

impl State {
    /// The pair is so now. True: outcomes of earlier changes are to be forgotten.
    pub fn see(&mut self, me: ServerId, life: Incarnation, pair: &Pair) -> bool {
        if pair.epoch <= self.epoch {
            return false;
        }
        let in_sync = in_sync(me, life, pair);
        let mirror = pair.mirror_of(me).map(|m| m.state);
        let both = in_sync && mirror == Some(CopyState::InSync);
        let continuous = self.in_sync && in_sync && pair.epoch.0 == self.epoch.0 + 1;
        self.must_open = both && (!continuous || self.must_open);
        let syncing = in_sync && mirror == Some(CopyState::Syncing);
        self.attempt =
            syncing.then(|| Attempt { epoch: pair.epoch, failed: false, sealed: false, doubtful: BTreeSet::new() });
        self.epoch = pair.epoch;
        self.in_sync = in_sync;
        !continuous
    }

    /// Whether the mirror must be asked to end its older changes before this server orders any.
    pub fn must_open(&self) -> bool {
        self.must_open
    }

    /// The mirror has ended its changes of before `epoch`.
    pub fn opened(&mut self, epoch: Epoch) {
        if self.epoch == epoch {
            self.must_open = false;
        }
    }

    /// Whether a mirror that catches up under `epoch` lacks something by now, so that no change is worth forwarding to it. Of
    /// another epoch that is not known.
    pub fn has_failed(&self, epoch: Epoch) -> bool {
        self.attempt.as_ref().is_some_and(|a| a.epoch == epoch && a.failed)
    }

    /// The mirror, catching up under `epoch`, misses a change.
    pub fn missed(&mut self, epoch: Epoch) -> Missed {
        match &mut self.attempt {
            Some(attempt) if attempt.epoch == epoch && !attempt.sealed => {
                attempt.failed = true;
                Missed::StartsOver
            }
            _ => Missed::MustEvict,
        }
    }

    /// A change has made the chunk on one of the two only, and `epoch` is that of an attempt. True: that copies it before it
    /// ends, or has failed already, and the next one does. False: it may have ended.
    pub fn doubt(&mut self, epoch: Epoch, chunk: ChunkId) -> bool {
        match &mut self.attempt {
            Some(attempt) if attempt.epoch == epoch && !attempt.sealed => {
                attempt.doubtful.insert(chunk);
                true
            }
            _ => false,
        }
    }

    /// The chunk is copied as a whole now, in its turn among its changes.
    pub fn copies(&mut self, epoch: Epoch, chunk: ChunkId) {
        if let Some(attempt) = self.attempt.as_mut().filter(|a| a.epoch == epoch) {
            attempt.doubtful.remove(&chunk);
        }
    }

    /// Chunks that are to be copied (once more) under `epoch`.
    pub fn doubtful(&self, epoch: Epoch) -> Vec<ChunkId> {
        let attempt = self.attempt.as_ref().filter(|a| a.epoch == epoch);
        attempt.map_or(Vec::new(), |a| a.doubtful.iter().copied().collect())
    }

    /// The mirror has everything; false if it missed something meanwhile. From now on it must not.
    pub fn seal(&mut self, epoch: Epoch) -> bool {
        match &mut self.attempt {
            Some(attempt) if attempt.epoch == epoch && !attempt.failed => {
                attempt.sealed = true;
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
impl State {
    pub fn is_sealed(&self) -> bool {
        self.attempt.as_ref().is_some_and(|a| a.sealed)
    }
}

/// Whether this life of server `me` is in sync: what the pair says of an earlier life does not hold for this one.
pub fn in_sync(me: ServerId, life: Incarnation, pair: &Pair) -> bool {
    let is_this = |of: Incarnation| of == life || planted(Bug::StartsInSync);
    pair.member(me).is_some_and(|m| m.state == CopyState::InSync && is_this(m.incarnation))
}

#[cfg(test)]
mod tests {
    use super::*;
    use CopyState::*;
    use raidfs_common::id::{Ino, PairId};
    use raidfs_common::pair::{Member, Space};

    fn pair(epoch: u64, me: CopyState, mirror: CopyState) -> Pair {
        let member = |n, state| Member { server: ServerId(n), state, incarnation: Incarnation(1) };
        Pair {
            id: PairId(0),
            epoch: Epoch(epoch),
            members: [member(1, me), member(2, mirror)],
            space: Space::default(),
            losses: 0,
        }
    }

    fn after(steps: &[(u64, CopyState, CopyState)]) -> (State, bool) {
        let mut state = State::default();
        let mut forget = false;
        for (epoch, me, mirror) in steps {
            forget = state.see(ServerId(1), Incarnation(1), &pair(*epoch, *me, *mirror));
        }
        (state, forget)
    }

    #[test]
    fn outcomes_are_kept_while_in_sync_without_a_gap() {
        for (steps, forgotten, must_open) in [
            (&[(1, InSync, InSync), (2, InSync, Stale)][..], false, false),
            (&[(1, InSync, Stale), (2, InSync, Syncing), (3, InSync, InSync)], false, false),
            (&[(1, InSync, InSync), (3, InSync, InSync)], true, true),
            (&[(1, InSync, InSync), (2, Stale, InSync)], true, false),
            (&[(1, Stale, InSync), (2, Syncing, InSync), (3, InSync, InSync)], true, true),
            (&[(3, InSync, InSync), (2, Stale, InSync)], false, true),
        ] {
            let (state, forget) = after(steps);
            assert_eq!((forget, state.must_open()), (forgotten, must_open), "{steps:?}");
        }
    }

    #[test]
    fn a_miss_starts_over_until_the_leader_was_told_and_evicts_after() {
        let (mut state, _) = after(&[(5, InSync, Syncing)]);
        assert!(state.seal(Epoch(5)));
        assert_eq!(state.missed(Epoch(5)), Missed::MustEvict);
        let (mut state, _) = after(&[(5, InSync, Syncing)]);
        assert_eq!(state.missed(Epoch(4)), Missed::MustEvict);
        assert_eq!(state.missed(Epoch(5)), Missed::StartsOver);
        assert_eq!([4, 5, 6].map(|epoch| state.has_failed(Epoch(epoch))), [false, true, false]);
        assert!(!state.seal(Epoch(5)));
        state.see(ServerId(1), Incarnation(1), &pair(6, InSync, Stale));
        assert!(!state.seal(Epoch(6)));
    }

    #[test]
    fn what_is_doubtful_is_copied_by_the_attempt_that_is_under_way_and_not_sealed() {
        let chunk = |ino| ChunkId { ino: Ino(ino), index: 0 };
        let (mut state, _) = after(&[(5, InSync, Syncing)]);
        assert!(!state.doubt(Epoch(4), chunk(1)));
        assert!(state.doubt(Epoch(5), chunk(1)) && state.doubt(Epoch(5), chunk(2)));
        assert_eq!(state.doubtful(Epoch(5)), [chunk(1), chunk(2)]);
        assert_eq!(state.doubtful(Epoch(4)), []);
        state.copies(Epoch(4), chunk(1));
        state.copies(Epoch(5), chunk(2));
        assert_eq!(state.doubtful(Epoch(5)), [chunk(1)]);
        assert!(state.seal(Epoch(5)));
        assert!(!state.doubt(Epoch(5), chunk(3)));
        state.see(ServerId(1), Incarnation(1), &pair(6, InSync, Syncing));
        assert_eq!(state.doubtful(Epoch(6)), []);
        state.missed(Epoch(6));
        assert!(state.doubt(Epoch(6), chunk(1)), "the next attempt copies it: it is noted");
        state.see(ServerId(1), Incarnation(1), &pair(7, InSync, InSync));
        assert!(!state.doubt(Epoch(7), chunk(1)));
    }

    #[test]
    fn an_earlier_life_in_sync_is_not_this_one() {
        let mut state = State::default();
        assert!(state.see(ServerId(1), Incarnation(2), &pair(5, InSync, InSync)));
        assert!(!state.must_open() && !state.in_sync);
    }

    #[test]
    fn the_epoch_that_was_opened_must_be_the_one_that_is() {
        let (mut state, _) = after(&[(5, InSync, InSync)]);
        state.opened(Epoch(4));
        assert!(state.must_open());
        state.opened(Epoch(5));
        assert!(!state.must_open());
    }
}
