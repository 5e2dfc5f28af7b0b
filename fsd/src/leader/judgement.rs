//! The leader's decisions about copies: pure. They follow docs/PROTOCOL.md, "Who is in sync" (rules 5, 6 and 9).

use raidfs_common::id::{Incarnation, ServerId};
use raidfs_common::limits::SILENT;
use raidfs_common::pair::{CopyState, Member, Pair};
use raidfs_common::plant::{Bug, planted};
use raidfs_common::rpc::peer::Started;
use std::time::Duration;

/// How long a server whose machine lost power waits for its mirror, when both were in sync: the mirror may have lost
/// less.
pub const WAIT_FOR_MIRROR: Duration = Duration::from_secs(30);
/// A server that answered this recently is alive.
pub const ALIVE: Duration = Duration::from_millis(250);

/// What a server may have lost between its lives, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loss {
    /// Nothing that it had acknowledged.
    Nothing,
    /// What it had not synced: its machine went down uncleanly.
    Unsynced,
    /// Everything: its data directory is new.
    All,
}

impl Loss {
    /// From what a server says of itself, and what is known of it: a directory whose copy was in sync is not empty any more,
    /// though its last life ended before it could write that down.
    pub fn of(said: Started, member: &Member) -> Loss {
        let was_filled = member.state == CopyState::InSync
            && member.incarnation.life() > 0
            && member.incarnation.directory() == said.incarnation.directory();
        match (said.empty && !was_filled, said.power_lost) {
            (true, _) => Loss::All,
            (false, true) if !planted(Bug::ForgetsLoss) => Loss::Unsynced,
            (false, _) => Loss::Nothing,
        }
    }
}

impl std::fmt::Display for Loss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Loss::Nothing => "",
            Loss::Unsynced => ", after its machine went down",
            Loss::All => ", with an empty data directory",
        })
    }
}

/// What is known of a server's mirror when the server says hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mirror {
    /// It does not answer.
    Down,
    /// It answers, and lives on in the life that the namespace knows.
    SameLife,
    /// It has been started anew, too. What it may have lost; None: it has not said yet.
    NewLife(Option<Loss>),
}

/// What to do about a hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Greeting {
    /// Propose it, with this word on the mirror.
    Propose {
        /// The mirror is relied on.
        mirror_up: bool,
    },
    /// Later.
    Wait,
}

/// Decides about the hello of `server`, which may have lost something and has waited for so long.
pub fn greet(pair: &Pair, server: ServerId, loss: Loss, mirror: Mirror, waited: Duration) -> Greeting {
    use Greeting::{Propose, Wait};
    let (Some(member), Some(other)) = (pair.member(server), pair.mirror_of(server)) else { return Wait };
    if member.state != CopyState::InSync {
        return Propose { mirror_up: mirror != Mirror::Down };
    }
    if other.state != CopyState::InSync {
        // It was the last copy in sync. An empty directory in its place is a mistake, or the end of that pair's bytes:
        // either way not for a server to decide.
        return if loss == Loss::All { Wait } else { Propose { mirror_up: mirror != Mirror::Down } };
    }
    let patience_over = waited >= WAIT_FOR_MIRROR && loss < Loss::All;
    match mirror {
        Mirror::SameLife => Propose { mirror_up: true },
        // Nobody serves at the moment: the one that lost less goes on, and the other catches up from it.
        Mirror::Down | Mirror::NewLife(_) if loss == Loss::Nothing || patience_over => Propose { mirror_up: false },
        Mirror::NewLife(Some(theirs)) if loss < theirs || (loss == theirs && server < other.server) => {
            Propose { mirror_up: false }
        }
        Mirror::Down | Mirror::NewLife(_) => Wait,
    }
}

/// Whom to evict from a pair, given how long ago each server was heard (None: never, or known to be gone): a server that
/// is silent while its mirror is alive. Never the last copy.
pub fn silent_member(pair: &Pair, heard: impl Fn(ServerId) -> Option<Duration>) -> Option<ServerId> {
    let [a, b] = &pair.members;
    let both = a.state == CopyState::InSync && b.state == CopyState::InSync;
    if !(both || planted(Bug::EvictsLastCopy)) || a.incarnation == Incarnation(0) {
        return None;
    }
    let silent = |s: ServerId| heard(s).is_none_or(|ago| ago >= SILENT);
    let alive = |s: ServerId| heard(s).is_some_and(|ago| ago <= ALIVE);
    match (silent(a.server), silent(b.server)) {
        (true, false) if alive(b.server) => Some(a.server),
        (false, true) if alive(a.server) => Some(b.server),
        _ => None,
    }
}

/// Whether one of a pair's servers that may serve it is there, given how long ago each server was heard.
pub fn is_served(pair: &Pair, heard: impl Fn(ServerId) -> Option<Duration>) -> bool {
    pair.in_sync().any(|member| heard(member.server).is_some_and(|ago| ago < SILENT))
}

/// Whether an accusation is acted on: the accused is in sync (or syncing), and its mirror, which will have to carry on
/// alone, is in sync and alive. One whose life nobody knows yet may have an empty data directory, and what would have to carry
/// on then is not for it to decide: in the first moments of a cluster who stops waits for it, or goes.
pub fn heed(pair: &Pair, accused: ServerId, mirror_heard: Option<Duration>) -> bool {
    let (Some(member), Some(mirror)) = (pair.member(accused), pair.mirror_of(accused)) else { return false };
    member.state != CopyState::Stale
        && mirror.state == CopyState::InSync
        && mirror.incarnation != Incarnation(0)
        && mirror_heard.is_some_and(|ago| ago < SILENT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use raidfs_common::id::{Epoch, PairId};
    use raidfs_common::pair::Space;

    fn pair(a: CopyState, b: CopyState) -> Pair {
        let member = |n, state| Member { server: ServerId(n), state, incarnation: Incarnation(7) };
        Pair {
            id: PairId(0),
            epoch: Epoch(3),
            members: [member(1, a), member(2, b)],
            space: Space::default(),
            losses: 0,
        }
    }

    const BOTH: (CopyState, CopyState) = (CopyState::InSync, CopyState::InSync);
    const NO_TIME: Duration = Duration::ZERO;

    #[test]
    fn who_started_anew_yields_to_a_mirror_that_lived_on() {
        let pair = pair(BOTH.0, BOTH.1);
        let greeting = greet(&pair, ServerId(1), Loss::Nothing, Mirror::SameLife, NO_TIME);
        assert_eq!(greeting, Greeting::Propose { mirror_up: true });
    }

    #[test]
    fn of_two_that_started_anew_the_one_without_a_power_cut_goes_on() {
        let pair = pair(BOTH.0, BOTH.1);
        let kept = greet(&pair, ServerId(2), Loss::Nothing, Mirror::NewLife(Some(Loss::Unsynced)), NO_TIME);
        assert_eq!(kept, Greeting::Propose { mirror_up: false });
        let lost = greet(&pair, ServerId(1), Loss::Unsynced, Mirror::NewLife(Some(Loss::Nothing)), NO_TIME);
        assert_eq!(lost, Greeting::Wait);
    }

    #[test]
    fn after_a_power_cut_the_mirror_is_waited_for() {
        let pair = pair(BOTH.0, BOTH.1);
        assert_eq!(greet(&pair, ServerId(1), Loss::Unsynced, Mirror::Down, NO_TIME), Greeting::Wait);
        let late = greet(&pair, ServerId(1), Loss::Unsynced, Mirror::Down, WAIT_FOR_MIRROR);
        assert_eq!(late, Greeting::Propose { mirror_up: false });
        let both = |n| greet(&pair, ServerId(n), Loss::Unsynced, Mirror::NewLife(Some(Loss::Unsynced)), NO_TIME);
        assert_eq!((both(1), both(2)), (Greeting::Propose { mirror_up: false }, Greeting::Wait));
    }

    #[test]
    fn a_directory_is_empty_until_its_copy_was_in_sync() {
        let said = |life, power_lost, empty| Started { incarnation: Incarnation::of(life, 5), power_lost, empty };
        let member = |state, incarnation| Member { server: ServerId(1), state, incarnation };
        let (in_sync, stale) = (CopyState::InSync, CopyState::Stale);
        let filled = member(in_sync, Incarnation::of(1, 5));
        assert_eq!(Loss::of(said(2, false, true), &filled), Loss::Nothing, "stopped before it was written down");
        assert_eq!(Loss::of(said(2, true, true), &filled), Loss::Unsynced);
        assert_eq!(Loss::of(said(2, false, true), &member(stale, Incarnation::of(1, 5))), Loss::All);
        assert_eq!(Loss::of(said(2, false, true), &member(in_sync, Incarnation::of(1, 6))), Loss::All, "another's");
        assert_eq!(Loss::of(said(1, false, true), &member(in_sync, Incarnation(0))), Loss::All, "it never lived");
        assert_eq!(Loss::of(said(2, true, false), &member(stale, Incarnation::of(1, 5))), Loss::Unsynced);
        assert_eq!(Loss::of(said(2, false, false), &filled), Loss::Nothing);
    }

    #[test]
    fn a_stale_server_never_wins() {
        let pair = pair(CopyState::Stale, CopyState::InSync);
        assert_eq!(
            greet(&pair, ServerId(1), Loss::Nothing, Mirror::Down, WAIT_FOR_MIRROR),
            Greeting::Propose { mirror_up: false },
            "the namespace keeps it stale"
        );
    }

    #[test]
    fn an_empty_directory_never_takes_the_place_of_the_last_copy() {
        let last = pair(CopyState::InSync, CopyState::Stale);
        let greeting = greet(&last, ServerId(1), Loss::All, Mirror::SameLife, WAIT_FOR_MIRROR * 2);
        assert_eq!(greeting, Greeting::Wait);
        let both = pair(BOTH.0, BOTH.1);
        let alone = greet(&both, ServerId(1), Loss::All, Mirror::Down, WAIT_FOR_MIRROR * 2);
        assert_eq!(alone, Greeting::Wait);
        let beside = greet(&both, ServerId(1), Loss::All, Mirror::SameLife, NO_TIME);
        assert_eq!(beside, Greeting::Propose { mirror_up: true }, "it becomes stale and catches up");
    }

    #[test]
    fn silence_evicts_one_and_never_both() {
        let pair = pair(BOTH.0, BOTH.1);
        let heard = |one: Option<u64>, two: Option<u64>| {
            silent_member(&pair, |s| if s == ServerId(1) { one } else { two }.map(Duration::from_millis))
        };
        assert_eq!(heard(Some(5), Some(5)), None);
        assert_eq!(heard(Some(900), Some(5)), Some(ServerId(1)));
        assert_eq!(heard(Some(5), None), Some(ServerId(2)));
        assert_eq!(heard(Some(900), Some(900)), None);
        assert_eq!(heard(Some(900), Some(600)), None, "the mirror is not alive for sure");
    }

    #[test]
    fn the_last_copy_is_never_given_up() {
        let short = Some(Duration::from_millis(1));
        assert!(heed(&pair(BOTH.0, BOTH.1), ServerId(1), short));
        assert!(!heed(&pair(BOTH.0, BOTH.1), ServerId(1), None));
        assert!(!heed(&pair(CopyState::InSync, CopyState::Stale), ServerId(1), short));
        assert!(heed(&pair(CopyState::InSync, CopyState::Syncing), ServerId(2), short));
    }

    #[test]
    fn nothing_is_left_to_a_mirror_that_has_not_said_yet_that_it_lives() {
        let mut first = pair(BOTH.0, BOTH.1);
        first.members[1].incarnation = Incarnation(0);
        assert!(!heed(&first, ServerId(1), Some(Duration::from_millis(1))));
        let left = pair(CopyState::Stale, CopyState::InSync);
        let said = greet(&left, ServerId(2), Loss::All, Mirror::SameLife, WAIT_FOR_MIRROR * 2);
        assert_eq!(said, Greeting::Wait, "with an empty directory it would never serve, nor anybody else");
    }
}
