//! Every move that a pair can make, in one table; moves that are not in it are refused. Whatever happens, one copy stays
//! in sync: what it has is what the cluster has promised to keep. Only an operator gives both up ([`given_up`]), and then
//! whoever first has what is left is the one.

use raidfs_common::id::{Epoch, Incarnation, ServerId};
use raidfs_common::namespace::PairEvent;
use raidfs_common::pair::{CopyState, Pair};
use raidfs_common::plant::{Bug, planted};

/// What an event says, without whom it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Evict,
    Hello { mirror_up: bool },
    Syncing,
    InSync,
    Begun,
    Replace,
}

/// The states of the server that the event is about and of its mirror, after the event; None if it is refused.
fn moved(kind: Kind, server: CopyState, mirror: CopyState) -> Option<(CopyState, CopyState)> {
    use CopyState::{InSync, Stale, Syncing};
    match (kind, server, mirror) {
        (Kind::Evict, InSync, InSync) => Some((Stale, InSync)),
        (Kind::Evict, InSync, mirror) if planted(Bug::EvictsLastCopy) => Some((Stale, mirror)),
        (Kind::Evict, Syncing, mirror) => Some((Stale, mirror)),

        (Kind::Hello { mirror_up: true }, InSync, InSync) => Some((Stale, InSync)),
        (Kind::Hello { mirror_up: false }, InSync, InSync) => Some((InSync, Stale)),
        // The last copy in sync goes on. What it was copying to its mirror died with its last life.
        (Kind::Hello { .. }, InSync, Stale | Syncing) => Some((InSync, Stale)),
        (Kind::Hello { mirror_up: false }, Stale | Syncing, InSync) if planted(Bug::StaleGoesOn) => {
            Some((InSync, Stale))
        }
        (Kind::Hello { .. }, Stale | Syncing, mirror) => Some((Stale, mirror)),

        (Kind::Syncing, Stale, InSync) => Some((Syncing, InSync)),
        (Kind::InSync, Syncing, InSync) => Some((InSync, InSync)),
        // Both were given up, and this is the first that has what is left. A word of its own: what was meant for a mirror that
        // was brought up to date must never make a copy of one that was not.
        (Kind::Begun, Stale, Stale) => Some((InSync, Stale)),

        (Kind::Replace, Stale, mirror @ (InSync | Stale)) => Some((Stale, mirror)),
        _ => None,
    }
}

/// The pair after `event`, its epoch raised; None if the event is refused. A server's hello is refused if this life of
/// it is known already; steps of a resync, if they are about another life; the replacing of a data directory, if it is about another one.
pub(super) fn next(pair: &Pair, event: PairEvent) -> Option<Pair> {
    let (server, kind, life) = match event {
        PairEvent::Evict { server } => (server, Kind::Evict, None),
        PairEvent::Hello { server, incarnation, mirror_up, .. } => {
            (server, Kind::Hello { mirror_up }, Some(incarnation))
        }
        PairEvent::Syncing { server, incarnation } => (server, Kind::Syncing, Some(incarnation)),
        PairEvent::InSync { server, incarnation } => (server, Kind::InSync, Some(incarnation)),
        PairEvent::Replace { server, known } => (server, Kind::Replace, Some(known)),
        PairEvent::Begun { server, incarnation, .. } => (server, Kind::Begun, Some(incarnation)),
    };
    let at = pair.members.iter().position(|member| member.server == server)?;
    let known: Incarnation = pair.members[at].incarnation;
    let is_about = |life: Incarnation| match kind {
        Kind::Hello { .. } => life != known && known.admits(life),
        Kind::Replace => known.life() > 0 && (life == known || life == known.barred()),
        Kind::Evict | Kind::Syncing | Kind::InSync | Kind::Begun => life == known,
    };
    if !life.is_none_or(is_about) {
        return None;
    }
    let (state, mirror) = moved(kind, pair.members[at].state, pair.members[1 - at].state)?;
    let mut next = pair.clone();
    next.epoch = Epoch(pair.epoch.0 + 1);
    next.members[at].state = state;
    next.members[1 - at].state = mirror;
    match (kind, life) {
        (Kind::Hello { .. }, Some(life)) => next.members[at].incarnation = life,
        (Kind::Replace, _) => next.members[at].incarnation = known.barred(),
        _ => {}
    }
    if state == CopyState::InSync && matches!(event, PairEvent::Hello { lost: true, .. }) {
        // Nobody has more than this copy, and it may have forgotten something.
        next.losses += 1;
    }
    Some(next)
}

/// The pair after an operator has accepted that both servers are gone for good: their data directories are given up, no copy is
/// in sync, and what was there is a loss. None if others are known, or there was no copy before.
pub(super) fn given_up(pair: &Pair, known: [(ServerId, Incarnation); 2]) -> Option<Pair> {
    pair.in_sync().next()?;
    let mut next = pair.clone();
    for (member, known) in next.members.iter_mut().zip(known) {
        if member.incarnation == Incarnation(0) || (member.server, member.incarnation) != known {
            return None;
        }
        (member.state, member.incarnation) = (CopyState::Stale, member.incarnation.barred());
    }
    next.epoch = Epoch(pair.epoch.0 + 1);
    next.losses += 1;
    Some(next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use CopyState::{InSync, Stale, Syncing};
    use raidfs_common::id::{PairId, ServerId};
    use raidfs_common::pair::{Member, Space};

    const EVERY_MOVE: &str = "\
Evict              in-sync, in-sync -> stale  , in-sync
Evict              in-sync, stale   -> refused
Evict              in-sync, syncing -> refused
Evict              stale  , in-sync -> refused
Evict              syncing, in-sync -> stale  , in-sync
Evict              stale  , stale   -> refused
Hello, mirror up   in-sync, in-sync -> stale  , in-sync
Hello, mirror up   in-sync, stale   -> in-sync, stale
Hello, mirror up   in-sync, syncing -> in-sync, stale
Hello, mirror up   stale  , in-sync -> stale  , in-sync
Hello, mirror up   syncing, in-sync -> stale  , in-sync
Hello, mirror up   stale  , stale   -> stale  , stale
Hello, mirror down in-sync, in-sync -> in-sync, stale
Hello, mirror down in-sync, stale   -> in-sync, stale
Hello, mirror down in-sync, syncing -> in-sync, stale
Hello, mirror down stale  , in-sync -> stale  , in-sync
Hello, mirror down syncing, in-sync -> stale  , in-sync
Hello, mirror down stale  , stale   -> stale  , stale
Syncing            in-sync, in-sync -> refused
Syncing            in-sync, stale   -> refused
Syncing            in-sync, syncing -> refused
Syncing            stale  , in-sync -> syncing, in-sync
Syncing            syncing, in-sync -> refused
Syncing            stale  , stale   -> refused
InSync             in-sync, in-sync -> refused
InSync             in-sync, stale   -> refused
InSync             in-sync, syncing -> refused
InSync             stale  , in-sync -> refused
InSync             syncing, in-sync -> in-sync, in-sync
InSync             stale  , stale   -> refused
Begun              in-sync, in-sync -> refused
Begun              in-sync, stale   -> refused
Begun              in-sync, syncing -> refused
Begun              stale  , in-sync -> refused
Begun              syncing, in-sync -> refused
Begun              stale  , stale   -> in-sync, stale
Replace            in-sync, in-sync -> refused
Replace            in-sync, stale   -> refused
Replace            in-sync, syncing -> refused
Replace            stale  , in-sync -> stale  , in-sync
Replace            syncing, in-sync -> refused
Replace            stale  , stale   -> stale  , stale
";

    fn word(state: CopyState) -> &'static str {
        match state {
            InSync => "in-sync",
            Stale => "stale",
            Syncing => "syncing",
        }
    }

    const REACHABLE: [(CopyState, CopyState); 6] =
        [(InSync, InSync), (InSync, Stale), (InSync, Syncing), (Stale, InSync), (Syncing, InSync), (Stale, Stale)];

    fn pair(server: CopyState, mirror: CopyState) -> Pair {
        let member = |n, state| Member { server: ServerId(n), state, incarnation: Incarnation::of(1, n.into()) };
        let members = [member(1, server), member(2, mirror)];
        Pair { id: PairId(0), epoch: Epoch(5), members, space: Space::default(), losses: 0 }
    }

    #[test]
    fn every_move_is_as_listed() {
        let server = ServerId(1);
        let (new, known) = (Incarnation::of(2, 1), Incarnation::of(1, 1));
        let events = [
            ("Evict", PairEvent::Evict { server }),
            ("Hello, mirror up", PairEvent::Hello { server, incarnation: new, mirror_up: true, lost: false }),
            ("Hello, mirror down", PairEvent::Hello { server, incarnation: new, mirror_up: false, lost: false }),
            ("Syncing", PairEvent::Syncing { server, incarnation: known }),
            ("InSync", PairEvent::InSync { server, incarnation: known }),
            ("Begun", PairEvent::Begun { server, incarnation: known, late: 0 }),
            ("Replace", PairEvent::Replace { server, known }),
        ];
        let mut seen = String::new();
        for (name, event) in events {
            for (state, mirror) in REACHABLE {
                let before = pair(state, mirror);
                let after = match next(&before, event) {
                    Some(after) => {
                        assert_eq!(after.epoch, Epoch(6), "every change raises the epoch");
                        let counts = |pair: &Pair| pair.in_sync().next().is_some();
                        assert!(counts(&after) || !counts(&before), "one copy stays in sync");
                        let [a, b] = after.members.map(|member| member.state);
                        format!("{:<7}, {}", word(a), word(b))
                    }
                    None => "refused".to_string(),
                };
                seen += &format!("{name:<18} {:<7}, {:<7} -> {after}\n", word(state), word(mirror));
            }
        }
        assert_eq!(seen, EVERY_MOVE, "the moves are now:\n{seen}");
    }

    #[test]
    fn the_table_is_the_same_for_both_members() {
        let before = pair(InSync, InSync);
        let after = next(&before, PairEvent::Evict { server: ServerId(2) }).unwrap();
        assert_eq!(after.members.map(|member| member.state), [InSync, Stale]);
        assert_eq!(next(&before, PairEvent::Evict { server: ServerId(3) }), None);
    }

    #[test]
    fn a_copy_that_lost_power_and_goes_on_all_the_same_is_a_loss() {
        let server = ServerId(1);
        let losses = |mine, mirror, mirror_up, lost| {
            let hello = PairEvent::Hello { server, incarnation: Incarnation::of(2, 1), mirror_up, lost };
            next(&pair(mine, mirror), hello).unwrap().losses
        };
        assert_eq!(losses(InSync, InSync, false, true), 1, "the other had lost more, or did not come");
        assert_eq!(losses(InSync, Stale, true, true), 1, "it was the last copy");
        assert_eq!(losses(InSync, Syncing, true, true), 1);
        assert_eq!(losses(InSync, InSync, true, true), 0, "the mirror has everything");
        assert_eq!(losses(Stale, InSync, true, true), 0);
        assert_eq!(losses(InSync, InSync, false, false), 0, "killed, not more");
        assert_eq!(losses(InSync, Stale, true, false), 0);
    }

    #[test]
    fn a_hello_is_taken_once_and_resync_is_about_one_life() {
        let server = ServerId(1);
        let hello = PairEvent::Hello { server, incarnation: Incarnation::of(2, 1), mirror_up: true, lost: false };
        let stale = next(&pair(InSync, InSync), hello).unwrap();
        assert_eq!(stale.members[0].incarnation, Incarnation::of(2, 1));
        assert_eq!(next(&stale, hello), None, "the same life said hello before");
        assert_eq!(next(&stale, PairEvent::Syncing { server, incarnation: Incarnation::of(1, 1) }), None);
        let syncing = next(&stale, PairEvent::Syncing { server, incarnation: Incarnation::of(2, 1) }).unwrap();
        assert_eq!(next(&syncing, PairEvent::InSync { server, incarnation: Incarnation::of(1, 1) }), None);
        assert!(next(&syncing, PairEvent::InSync { server, incarnation: Incarnation::of(2, 1) }).is_some());
    }

    #[test]
    fn another_directory_is_taken_only_in_the_place_of_one_that_was_given_up() {
        let server = ServerId(1);
        let (known, other) = (Incarnation::of(1, 1), Incarnation::of(1, 9));
        let hello = |incarnation| PairEvent::Hello { server, incarnation, mirror_up: true, lost: false };
        let stale = pair(Stale, InSync);
        assert_eq!(next(&stale, hello(other)), None);
        let replace = |known| PairEvent::Replace { server, known };
        assert_eq!(next(&stale, replace(other)), None, "that one is not known");
        assert_eq!(next(&stale, replace(Incarnation::of(2, 1))), None, "nor that life of it");
        let waits = next(&stale, replace(known)).unwrap();
        assert_eq!(waits.members[0].incarnation, known.barred());
        assert_eq!(next(&stale, replace(known.barred())), Some(waits.clone()), "as older versions have said it");
        assert_eq!(next(&waits, replace(known)), None, "it is given up already");
        assert_eq!(next(&waits, hello(Incarnation::of(2, 1))), None, "it comes back");
        let taken = next(&waits, hello(other)).unwrap();
        assert_eq!((taken.members[0].incarnation, taken.members[0].state), (other, Stale));
        assert_eq!(next(&taken, hello(Incarnation::of(3, 1))), None, "and again");
    }

    #[test]
    fn both_are_given_up_only_by_the_directories_that_are_known_and_then_another_begins() {
        let (one, two) = (ServerId(1), ServerId(2));
        let known = |n: u32| Incarnation::of(1, n);
        for (state, mirror) in REACHABLE {
            let after = given_up(&pair(state, mirror), [(one, known(1)), (two, known(2))]);
            let is_given_up =
                after.is_some_and(|p| p.members.iter().all(|m| m.state == Stale && m.incarnation.life() == 0));
            assert_eq!(is_given_up, (state, mirror) != (Stale, Stale));
        }
        let before = pair(InSync, Stale);
        assert_eq!(given_up(&before, [(one, known(1)), (two, known(7))]), None, "another directory");
        assert_eq!(given_up(&before, [(one, known(1)), (two, Incarnation::of(2, 2))]), None, "another life of it");
        assert_eq!(given_up(&before, [(two, known(2)), (one, known(1))]), None);
        let lost = given_up(&before, [(one, known(1)), (two, known(2))]).unwrap();
        assert_eq!((lost.epoch, lost.losses, lost.in_sync().count()), (Epoch(6), 1, 0));
        let hello = |server, incarnation| PairEvent::Hello { server, incarnation, mirror_up: false, lost: true };
        assert_eq!(next(&lost, hello(one, Incarnation::of(2, 1))), None, "the old one comes back");
        let new = Incarnation::of(1, 9);
        let comer = next(&lost, hello(two, new)).unwrap();
        assert_eq!(comer.in_sync().count(), 0, "it has nothing yet");
        assert_eq!(next(&comer, PairEvent::InSync { server: two, incarnation: new }), None, "nobody has copied to it");
        let begun = |pair, incarnation| next(pair, PairEvent::Begun { server: two, incarnation, late: 0 });
        assert_eq!(begun(&comer, Incarnation::of(2, 9)), None, "another life of it");
        let begun = begun(&comer, new).unwrap();
        assert!(begun.serves(two) && !begun.serves(one));
        let late = next(&begun, hello(one, Incarnation::of(1, 8))).unwrap();
        let too_late = PairEvent::Begun { server: one, incarnation: Incarnation::of(1, 8), late: 0 };
        assert_eq!(next(&late, too_late), None, "who comes second has to be copied");
        let fresh = Pair { members: before.members.map(|m| Member { incarnation: Incarnation(0), ..m }), ..before };
        assert_eq!(given_up(&fresh, [(one, Incarnation(0)), (two, Incarnation(0))]), None, "it never lived");
    }
}
