//! The leader's decisions about copies: pure. They follow docs/PROTOCOL.md, "Who is in sync" (rules 5, 6 and 9).

use raidfs_common::id::{Incarnation, ServerId};
use raidfs_common::limits::SILENT;
use raidfs_common::pair::{CopyState, Pair};
use std::time::Duration;

/// How long a server whose machine lost power waits for its mirror, when both were in sync: the mirror may have lost
/// less.
pub const WAIT_FOR_MIRROR: Duration = Duration::from_secs(30);
/// A server that answered this recently is alive.
pub const ALIVE: Duration = Duration::from_millis(250);

/// What is known of a server's mirror when the server says hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mirror {
    /// It does not answer.
    Down,
    /// It answers, and lives on in the life that the namespace knows.
    SameLife,
    /// It has been started anew, too. Whether its machine lost power; None: it has not said yet.
    NewLife {
        /// See above.
        power_lost: Option<bool>,
    },
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

/// Decides about the hello of `server`, which lost power or not and has waited for so long.
pub fn greet(pair: &Pair, server: ServerId, power_lost: bool, mirror: Mirror, waited: Duration) -> Greeting {
    let (Some(member), Some(other)) = (pair.member(server), pair.mirror_of(server)) else { return Greeting::Wait };
    if member.state != CopyState::InSync || other.state != CopyState::InSync {
        return Greeting::Propose { mirror_up: mirror != Mirror::Down };
    }
    let patience_over = waited >= WAIT_FOR_MIRROR;
    match mirror {
        Mirror::SameLife => Greeting::Propose { mirror_up: true },
        // Nobody serves at the moment: the one that lost less goes on, and the other catches up from it.
        Mirror::Down if !power_lost || patience_over => Greeting::Propose { mirror_up: false },
        Mirror::NewLife { .. } if !power_lost => Greeting::Propose { mirror_up: false },
        Mirror::NewLife { power_lost: Some(true) } if server < other.server => Greeting::Propose { mirror_up: false },
        Mirror::NewLife { .. } if patience_over => Greeting::Propose { mirror_up: false },
        Mirror::Down | Mirror::NewLife { .. } => Greeting::Wait,
    }
}

/// Whom to evict from a pair, given how long ago each server was heard (None: never, or known to be gone): a server that
/// is silent while its mirror is alive. Never the last copy.
pub fn silent_member(pair: &Pair, heard: impl Fn(ServerId) -> Option<Duration>) -> Option<ServerId> {
    let [a, b] = &pair.members;
    if a.state != CopyState::InSync || b.state != CopyState::InSync || a.incarnation == Incarnation(0) {
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

/// Whether an accusation is acted on: the accused is in sync (or syncing), and its mirror, which will have to carry on
/// alone, is in sync and alive.
pub fn heed(pair: &Pair, accused: ServerId, mirror_heard: Option<Duration>) -> bool {
    let (Some(member), Some(mirror)) = (pair.member(accused), pair.mirror_of(accused)) else { return false };
    member.state != CopyState::Stale
        && mirror.state == CopyState::InSync
        && mirror_heard.is_some_and(|ago| ago < SILENT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use raidfs_common::id::{Epoch, PairId};
    use raidfs_common::pair::{Member, Space};

    fn pair(a: CopyState, b: CopyState) -> Pair {
        let member = |n, state| Member { server: ServerId(n), state, incarnation: Incarnation(7) };
        Pair { id: PairId(0), epoch: Epoch(3), members: [member(1, a), member(2, b)], space: Space::default() }
    }

    const BOTH: (CopyState, CopyState) = (CopyState::InSync, CopyState::InSync);
    const NO_TIME: Duration = Duration::ZERO;

    #[test]
    fn who_started_anew_yields_to_a_mirror_that_lived_on() {
        let pair = pair(BOTH.0, BOTH.1);
        let greeting = greet(&pair, ServerId(1), false, Mirror::SameLife, NO_TIME);
        assert_eq!(greeting, Greeting::Propose { mirror_up: true });
    }

    #[test]
    fn of_two_that_started_anew_the_one_without_a_power_cut_goes_on() {
        let pair = pair(BOTH.0, BOTH.1);
        let kept = greet(&pair, ServerId(2), false, Mirror::NewLife { power_lost: Some(true) }, NO_TIME);
        assert_eq!(kept, Greeting::Propose { mirror_up: false });
        let lost = greet(&pair, ServerId(1), true, Mirror::NewLife { power_lost: Some(false) }, NO_TIME);
        assert_eq!(lost, Greeting::Wait);
    }

    #[test]
    fn after_a_power_cut_the_mirror_is_waited_for() {
        let pair = pair(BOTH.0, BOTH.1);
        assert_eq!(greet(&pair, ServerId(1), true, Mirror::Down, NO_TIME), Greeting::Wait);
        let late = greet(&pair, ServerId(1), true, Mirror::Down, WAIT_FOR_MIRROR);
        assert_eq!(late, Greeting::Propose { mirror_up: false });
        let both = |n| greet(&pair, ServerId(n), true, Mirror::NewLife { power_lost: Some(true) }, NO_TIME);
        assert_eq!((both(1), both(2)), (Greeting::Propose { mirror_up: false }, Greeting::Wait));
    }

    #[test]
    fn a_stale_server_never_wins() {
        let pair = pair(CopyState::Stale, CopyState::InSync);
        assert_eq!(
            greet(&pair, ServerId(1), false, Mirror::Down, WAIT_FOR_MIRROR),
            Greeting::Propose { mirror_up: false },
            "the namespace keeps it stale"
        );
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
}
