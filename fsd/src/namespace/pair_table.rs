//! Every move that a pair can make, in one table; moves that are not in it are refused. Whatever happens, one copy stays
//! in sync: what it has is what the cluster has promised to keep.

use raidfs_common::id::{Epoch, Incarnation};
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
    Replace,
}

/// The states of the server that the event is about and of its mirror, after the event; None if it is refused.
fn moved(kind: Kind, server: CopyState, mirror: CopyState) -> Option<(CopyState, CopyState)> {
    use CopyState::{InSync, Stale, Syncing};
    match (kind, server, mirror) {
        (Kind::Evict, InSync, InSync) => Some((Stale, InSync)),
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

        (Kind::Replace, Stale, InSync) => Some((Stale, InSync)),
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
        PairEvent::Replace { server, barred } => (server, Kind::Replace, Some(barred)),
    };
    let at = pair.members.iter().position(|member| member.server == server)?;
    let known: Incarnation = pair.members[at].incarnation;
    let is_about = |life: Incarnation| match kind {
        Kind::Hello { .. } => life != known && known.admits(life),
        Kind::Replace => known.life() > 0 && life == known.barred(),
        Kind::Evict | Kind::Syncing | Kind::InSync => life == known,
    };
    if !life.is_none_or(is_about) {
        return None;
    }
    let (state, mirror) = moved(kind, pair.members[at].state, pair.members[1 - at].state)?;
    let mut next = pair.clone();
    next.epoch = Epoch(pair.epoch.0 + 1);
    next.members[at].state = state;
    next.members[1 - at].state = mirror;
    if let (Kind::Hello { .. } | Kind::Replace, Some(life)) = (kind, life) {
        next.members[at].incarnation = life;
    }
    if state == CopyState::InSync && matches!(event, PairEvent::Hello { lost: true, .. }) {
        // Nobody has more than this copy, and it may have forgotten something.
        next.losses += 1;
    }
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
Hello, mirror up   in-sync, in-sync -> stale  , in-sync
Hello, mirror up   in-sync, stale   -> in-sync, stale
Hello, mirror up   in-sync, syncing -> in-sync, stale
Hello, mirror up   stale  , in-sync -> stale  , in-sync
Hello, mirror up   syncing, in-sync -> stale  , in-sync
Hello, mirror down in-sync, in-sync -> in-sync, stale
Hello, mirror down in-sync, stale   -> in-sync, stale
Hello, mirror down in-sync, syncing -> in-sync, stale
Hello, mirror down stale  , in-sync -> stale  , in-sync
Hello, mirror down syncing, in-sync -> stale  , in-sync
Syncing            in-sync, in-sync -> refused
Syncing            in-sync, stale   -> refused
Syncing            in-sync, syncing -> refused
Syncing            stale  , in-sync -> syncing, in-sync
Syncing            syncing, in-sync -> refused
InSync             in-sync, in-sync -> refused
InSync             in-sync, stale   -> refused
InSync             in-sync, syncing -> refused
InSync             stale  , in-sync -> refused
InSync             syncing, in-sync -> in-sync, in-sync
Replace            in-sync, in-sync -> refused
Replace            in-sync, stale   -> refused
Replace            in-sync, syncing -> refused
Replace            stale  , in-sync -> stale  , in-sync
Replace            syncing, in-sync -> refused
";

    fn word(state: CopyState) -> &'static str {
        match state {
            InSync => "in-sync",
            Stale => "stale",
            Syncing => "syncing",
        }
    }

    const REACHABLE: [(CopyState, CopyState); 5] =
        [(InSync, InSync), (InSync, Stale), (InSync, Syncing), (Stale, InSync), (Syncing, InSync)];

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
            ("Replace", PairEvent::Replace { server, barred: known.barred() }),
        ];
        let mut seen = String::new();
        for (name, event) in events {
            for (state, mirror) in REACHABLE {
                let before = pair(state, mirror);
                let after = match next(&before, event) {
                    Some(after) => {
                        assert_eq!(after.epoch, Epoch(6), "every change raises the epoch");
                        assert!(after.in_sync().next().is_some(), "one copy stays in sync");
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
        let replace = |barred| PairEvent::Replace { server, barred };
        assert_eq!(next(&stale, replace(other.barred())), None, "that one is not known");
        let waits = next(&stale, replace(known.barred())).unwrap();
        assert_eq!(next(&waits, replace(known.barred())), None, "it is given up already");
        assert_eq!(next(&waits, hello(Incarnation::of(2, 1))), None, "it comes back");
        let taken = next(&waits, hello(other)).unwrap();
        assert_eq!((taken.members[0].incarnation, taken.members[0].state), (other, Stale));
        assert_eq!(next(&taken, hello(Incarnation::of(3, 1))), None, "and again");
    }
}
