//! Whose data directory is taken: what the leader says to a voter that has started, and to an operator who gives a
//! directory up. Pure. What follows is in docs/PROTOCOL.md, "Whose directory".

use raidfs_common::id::Incarnation;
use raidfs_common::pair::CopyState;
use raidfs_common::rpc::admin::NotReplaced;

/// What to say to a life of a voter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Its data directory is the one that is known.
    Known,
    /// It is the first of a new cluster, or takes the place of one that was given up: it is known once that is agreed.
    New,
    /// The cluster knows another.
    Refused,
}

/// Judges a life, where `known` is what is known of its voter. A life before the known one is of an older copy of the
/// directory, which was put in its place: what came after it is not there.
pub fn judge(known: Incarnation, comer: Incarnation) -> Admission {
    if known.directory() == comer.directory() && comer.life() < known.life() {
        return Admission::Refused;
    }
    match (known.admits(comer), known.life() > 0) {
        (true, true) => Admission::Known,
        (true, false) => Admission::New,
        (false, _) => Admission::Refused,
    }
}

/// Whether a life of a server may take the place of one that was given up: with a directory that was made empty, and has not
/// been filled since. One that holds the chunks of another time would pass for a copy of them: nothing was noted for it since.
pub fn may_take_over(admission: Admission, known: Incarnation, empty: bool) -> bool {
    admission != Admission::New || known == Incarnation(0) || empty
}

/// What the leader knows of a voter whose data directory is to be given up.
#[derive(Clone, Copy, Debug)]
pub struct Given {
    /// The life that is known.
    pub known: Incarnation,
    /// The life that answers in its place; None: nobody does.
    pub answers: Option<Incarnation>,
    /// Of a server: its copy, and its mirror's. None: it is the witness.
    pub copies: Option<(CopyState, CopyState)>,
}

/// Whether it is to be logged that another data directory may take the place of the known one; false: it may already.
pub fn give_up(given: Given) -> Result<bool, NotReplaced> {
    use CopyState::{InSync, Stale, Syncing};
    let Given { known, answers, copies } = given;
    if known == Incarnation(0) {
        return Err(NotReplaced::NeverLived);
    }
    if known.life() == 0 {
        return Ok(false);
    }
    if answers.is_some_and(|life| known.admits(life)) {
        return Err(NotReplaced::Runs);
    }
    match copies {
        // A pair whose loss was accepted has nothing that could be lost.
        None | Some((Stale, InSync | Stale)) => Ok(true),
        Some((_, Stale | Syncing)) => Err(NotReplaced::LastCopy),
        Some((InSync | Syncing, InSync)) => Err(NotReplaced::StillInSync),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use CopyState::{InSync, Stale, Syncing};

    const OLD: Incarnation = Incarnation(3 << 32 | 7);
    const NEW: Incarnation = Incarnation(1 << 32 | 8);

    #[test]
    fn only_the_known_directory_is_taken_until_it_is_given_up() {
        assert_eq!(judge(Incarnation(0), NEW), Admission::New, "a new cluster");
        assert_eq!(judge(OLD, Incarnation::of(4, 7)), Admission::Known);
        assert_eq!(judge(OLD, OLD), Admission::Known, "it asks again");
        assert_eq!(judge(OLD, Incarnation::of(2, 7)), Admission::Refused, "an older copy of it");
        assert_eq!(judge(OLD, NEW), Admission::Refused, "an empty one, by mistake");
        assert_eq!(judge(OLD.barred(), NEW), Admission::New);
        assert_eq!(judge(OLD.barred(), OLD), Admission::Refused, "the one that was given up");
        assert_eq!(judge(NEW, OLD), Admission::Refused, "it comes back");
    }

    #[test]
    fn the_place_of_a_directory_is_taken_by_an_empty_one_only() {
        assert!(may_take_over(Admission::New, OLD.barred(), true));
        assert!(!may_take_over(Admission::New, OLD.barred(), false), "one of an earlier time");
        assert!(may_take_over(Admission::Known, OLD, false));
        assert!(may_take_over(Admission::New, Incarnation(0), false), "a new cluster has nothing that could be older");
    }

    #[test]
    fn a_copy_is_given_up_only_where_its_mirror_has_everything_and_it_is_away() {
        let given = |copies| Given { known: OLD, answers: None, copies };
        let stale = Some((Stale, InSync));
        assert_eq!(give_up(given(stale)), Ok(true));
        assert_eq!(give_up(given(Some((InSync, InSync)))), Err(NotReplaced::StillInSync));
        assert_eq!(give_up(given(Some((Syncing, InSync)))), Err(NotReplaced::StillInSync));
        assert_eq!(give_up(given(Some((InSync, Stale)))), Err(NotReplaced::LastCopy));
        assert_eq!(give_up(given(Some((InSync, Syncing)))), Err(NotReplaced::LastCopy));
        assert_eq!(give_up(given(None)), Ok(true), "the witness has no copy");
        assert_eq!(give_up(given(Some((Stale, Stale)))), Ok(true), "the pair's loss was accepted");
        let runs = Given { answers: Some(Incarnation::of(4, 7)), ..given(stale) };
        assert_eq!(give_up(runs), Err(NotReplaced::Runs));
        let other = Given { answers: Some(NEW), ..given(stale) };
        assert_eq!(give_up(other), Ok(true), "the new one runs in its place, and is about to be refused");
    }

    #[test]
    fn giving_up_twice_is_giving_up_once() {
        let waits = Given { known: OLD.barred(), answers: Some(NEW), copies: Some((Stale, InSync)) };
        assert_eq!(give_up(waits), Ok(false));
        assert_eq!(give_up(Given { known: Incarnation(0), ..waits }), Err(NotReplaced::NeverLived));
    }
}
