//! Bugs that are planted on purpose, one at a time, so that the simulation can show that it would find them. Only in
//! programs that are built with the feature `planted`; in all others [`planted`] is false as a constant.

use std::sync::atomic::{AtomicU8, Ordering};

/// A bug, named by the rule that it breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Bug {
    /// A change of a chunk is answered before the mirror has it.
    AnswersBeforeMirror = 1,
    /// A copy serves that is not in sync, and whatever epoch it is asked under.
    ServesStale,
    /// A server serves whose lease is over.
    ServesWithoutLease,
    /// A change of names whose outcome is kept is made again.
    AppliesTwice,
    /// A voter votes for a log that is behind its own.
    VotesForShorterLog,
    /// A voter votes twice in a term.
    VotesTwice,
    /// An entry counts as agreed as soon as the leader has it.
    AgreesAlone,
    /// A mirror counts as up to date without having been given anything.
    CopiesNothing,
    /// A sync makes nothing durable on the server.
    SyncsNothing,
    /// A sync asks only one of the servers that are in sync.
    SyncsOneMirror,
    /// A barrier is answered before the log is durable on a quorum.
    BarsNothing,
    /// A voter that may have forgotten entries votes.
    VotesForgetful,
}

/// All of them.
pub const BUGS: [Bug; 12] = [
    Bug::AnswersBeforeMirror,
    Bug::ServesStale,
    Bug::ServesWithoutLease,
    Bug::AppliesTwice,
    Bug::VotesForShorterLog,
    Bug::VotesTwice,
    Bug::AgreesAlone,
    Bug::CopiesNothing,
    Bug::SyncsNothing,
    Bug::SyncsOneMirror,
    Bug::BarsNothing,
    Bug::VotesForgetful,
];

static PLANTED: AtomicU8 = AtomicU8::new(0);

/// From now on this bug is in this process. False: this program is not built for that.
pub fn plant(bug: Bug) -> bool {
    PLANTED.store(bug as u8, Ordering::Relaxed);
    cfg!(feature = "planted")
}

/// Whether this bug is planted.
pub fn planted(bug: Bug) -> bool {
    cfg!(feature = "planted") && PLANTED.load(Ordering::Relaxed) == bug as u8
}
