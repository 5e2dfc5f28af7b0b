//! Whether it may be accepted that both servers of a pair are gone for good. Pure. Who only seems to be gone, and comes
//! back, is refused from then on, whatever it holds: so the worst of a mistake is that its data directory has to be read
//! with `raidfs export`, and nothing diverges.

use raidfs_common::id::{Epoch, Incarnation, ServerId};
use raidfs_common::pair::Pair;
use raidfs_common::rpc::admin::NotAccepted;
use std::time::Duration;

/// Who was heard of more recently may come back any moment: longer than a supervisor takes to start it again, and than
/// anybody's lease.
pub const GONE_FOR: Duration = Duration::from_secs(10);

/// What is in a server's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum There {
    /// This life answers.
    Life(Incarnation),
    /// A process that says no: one that waits for room on its disk, or of another version. It may have the data directory.
    Refuses,
    /// Nothing answers.
    Nobody,
}

/// The data directories that are given up, each by its known life, if they may be: `confirmed` is the epoch of what the operator was shown; of each server,
/// what is in its place, and for how long the leader has not heard it.
pub fn give_up(
    pair: &Pair,
    confirmed: Epoch,
    there: [There; 2],
    silent: [Duration; 2],
) -> Result<[(ServerId, Incarnation); 2], NotAccepted> {
    if pair.in_sync().next().is_none() {
        return Err(NotAccepted::Already);
    }
    for ((member, there), silent) in pair.members.iter().zip(there).zip(silent) {
        let (server, known) = (member.server, member.incarnation);
        if known == Incarnation(0) {
            return Err(NotAccepted::NeverLived(server));
        }
        match there {
            // What runs in its place with another data directory has nothing of it.
            There::Life(life) if known.life() > 0 && known.admits(life) => return Err(NotAccepted::Answers(server)),
            There::Life(_) => {}
            There::Refuses => return Err(NotAccepted::Answers(server)),
            There::Nobody if silent < GONE_FOR => return Err(NotAccepted::Heard(server)),
            There::Nobody => {}
        }
    }
    if pair.epoch != confirmed {
        return Err(NotAccepted::Changed);
    }
    Ok(pair.members.map(|member| (member.server, member.incarnation)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use raidfs_common::id::PairId;
    use raidfs_common::pair::{CopyState, Member, Space};

    const ONE: ServerId = ServerId(1);
    const TWO: ServerId = ServerId(2);
    const LONG: [Duration; 2] = [GONE_FOR; 2];

    fn pair(state: CopyState, two: Incarnation) -> Pair {
        let member = |server, state, incarnation| Member { server, state, incarnation };
        let members = [member(ONE, state, Incarnation::of(3, 7)), member(TWO, CopyState::Stale, two)];
        Pair { id: PairId(0), epoch: NOW, members, space: Space::default(), losses: 0 }
    }

    const NOW: Epoch = Epoch(4);
    const AWAY: [There; 2] = [There::Nobody; 2];

    #[test]
    fn only_who_has_been_silent_for_long_is_given_up() {
        let pair = pair(CopyState::InSync, Incarnation::of(1, 8));
        let known = [(ONE, Incarnation::of(3, 7)), (TWO, Incarnation::of(1, 8))];
        assert_eq!(give_up(&pair, NOW, AWAY, LONG), Ok(known));
        let short = GONE_FOR - Duration::from_millis(1);
        assert_eq!(give_up(&pair, NOW, AWAY, [short, GONE_FOR]), Err(NotAccepted::Heard(ONE)));
        assert_eq!(give_up(&pair, NOW, AWAY, [GONE_FOR, short]), Err(NotAccepted::Heard(TWO)));
    }

    #[test]
    fn only_what_the_operator_was_shown_is_given_up() {
        let pair = pair(CopyState::InSync, Incarnation::of(1, 8));
        assert_eq!(give_up(&pair, Epoch(NOW.0 - 1), AWAY, LONG), Err(NotAccepted::Changed));
    }

    #[test]
    fn nothing_is_given_up_while_something_is_there_in_place_of_one_of_the_two() {
        let pair = pair(CopyState::InSync, Incarnation::of(1, 8));
        let with = |one, two| give_up(&pair, NOW, [one, two], LONG);
        let life = |life, directory| There::Life(Incarnation::of(life, directory));
        assert_eq!(with(life(4, 7), There::Nobody), Err(NotAccepted::Answers(ONE)));
        assert_eq!(with(There::Nobody, life(1, 8)), Err(NotAccepted::Answers(TWO)), "stale as it is");
        assert_eq!(with(There::Nobody, There::Refuses), Err(NotAccepted::Answers(TWO)), "it waits for room");
        assert!(with(life(1, 99), There::Nobody).is_ok(), "another directory, about to be refused");
    }

    #[test]
    fn one_that_was_replaced_before_is_given_up_with_the_other() {
        let waits = pair(CopyState::InSync, Incarnation::of(1, 8).barred());
        let there = [There::Nobody, There::Life(Incarnation::of(1, 9))];
        assert_eq!(give_up(&waits, NOW, there, LONG).unwrap()[1], (TWO, Incarnation::of(1, 8).barred()));
    }

    #[test]
    fn a_loss_is_accepted_once_and_only_of_who_has_lived() {
        let lost = pair(CopyState::Stale, Incarnation::of(1, 8));
        assert_eq!(give_up(&lost, Epoch(1), AWAY, LONG), Err(NotAccepted::Already), "whatever was shown");
        let fresh = pair(CopyState::InSync, Incarnation(0));
        assert_eq!(give_up(&fresh, NOW, AWAY, LONG), Err(NotAccepted::NeverLived(TWO)));
    }
}
