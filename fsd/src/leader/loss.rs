//! Whether it may be accepted that both servers of a pair are gone for good. Pure. Who only seems to be gone, and comes
//! back, is refused from then on, whatever it holds: so the worst of a mistake is that its data directory has to be read
//! with `raidfs export`, and nothing diverges.

use raidfs_common::id::{Incarnation, ServerId};
use raidfs_common::pair::Pair;
use raidfs_common::rpc::admin::NotAccepted;
use std::time::Duration;

/// Who was heard of more recently may come back any moment: longer than a supervisor takes to start it again, and than
/// anybody's lease.
pub const GONE_FOR: Duration = Duration::from_secs(10);

/// The data directories that are given up, if they may be: of each server which life answers in its place (None: nobody
/// does), and for how long the leader has not heard it.
pub fn give_up(
    pair: &Pair,
    answers: [Option<Incarnation>; 2],
    silent: [Duration; 2],
) -> Result<[(ServerId, Incarnation); 2], NotAccepted> {
    if pair.in_sync().next().is_none() {
        return Err(NotAccepted::Already);
    }
    for ((member, answers), silent) in pair.members.iter().zip(answers).zip(silent) {
        let (server, known) = (member.server, member.incarnation);
        if known == Incarnation(0) {
            return Err(NotAccepted::NeverLived(server));
        }
        // What runs in its place with another data directory has nothing of it.
        if answers.is_some_and(|life| known.life() > 0 && known.admits(life)) {
            return Err(NotAccepted::Answers(server));
        }
        if answers.is_none() && silent < GONE_FOR {
            return Err(NotAccepted::Heard(server));
        }
    }
    Ok(pair.members.map(|member| (member.server, member.incarnation.barred())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use raidfs_common::id::{Epoch, PairId};
    use raidfs_common::pair::{CopyState, Member, Space};

    const ONE: ServerId = ServerId(1);
    const TWO: ServerId = ServerId(2);
    const LONG: [Duration; 2] = [GONE_FOR; 2];

    fn pair(state: CopyState, two: Incarnation) -> Pair {
        let member = |server, state, incarnation| Member { server, state, incarnation };
        let members = [member(ONE, state, Incarnation::of(3, 7)), member(TWO, CopyState::Stale, two)];
        Pair { id: PairId(0), epoch: Epoch(4), members, space: Space::default(), losses: 0 }
    }

    #[test]
    fn only_who_has_been_silent_for_long_is_given_up() {
        let pair = pair(CopyState::InSync, Incarnation::of(1, 8));
        let barred = [(ONE, Incarnation::of(1, 7).barred()), (TWO, Incarnation::of(1, 8).barred())];
        assert_eq!(give_up(&pair, [None; 2], LONG), Ok(barred));
        let short = GONE_FOR - Duration::from_millis(1);
        assert_eq!(give_up(&pair, [None; 2], [short, GONE_FOR]), Err(NotAccepted::Heard(ONE)));
        assert_eq!(give_up(&pair, [None; 2], [GONE_FOR, short]), Err(NotAccepted::Heard(TWO)));
    }

    #[test]
    fn nothing_is_given_up_while_one_of_the_two_answers() {
        let pair = pair(CopyState::InSync, Incarnation::of(1, 8));
        let answers = |one, two| give_up(&pair, [one, two], LONG);
        assert_eq!(answers(Some(Incarnation::of(4, 7)), None), Err(NotAccepted::Answers(ONE)));
        assert_eq!(answers(None, Some(Incarnation::of(1, 8))), Err(NotAccepted::Answers(TWO)), "stale as it is");
        assert!(answers(Some(Incarnation::of(1, 99)), None).is_ok(), "another directory, about to be refused");
    }

    #[test]
    fn one_that_was_replaced_before_is_given_up_with_the_other() {
        let waits = pair(CopyState::InSync, Incarnation::of(1, 8).barred());
        let answers = [None, Some(Incarnation::of(1, 9))];
        assert_eq!(give_up(&waits, answers, LONG).unwrap()[1], (TWO, Incarnation::of(1, 8).barred()));
    }

    #[test]
    fn a_loss_is_accepted_once_and_only_of_who_has_lived() {
        let lost = pair(CopyState::Stale, Incarnation::of(1, 8));
        assert_eq!(give_up(&lost, [None; 2], LONG), Err(NotAccepted::Already));
        let fresh = pair(CopyState::InSync, Incarnation(0));
        assert_eq!(give_up(&fresh, [None; 2], LONG), Err(NotAccepted::NeverLived(TWO)));
    }
}
