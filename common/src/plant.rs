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
    /// After a loss of power the newest log is looked for among those voters only that happen to answer.
    RecoversEarly,
    /// An entry that fences counts as agreed before it is durable on a quorum.
    FencesUnsynced,
    /// Chunks are cut and removed before the entry that says so is durable on a quorum.
    DestroysEarly,
    /// Who made a change under an epoch that has passed by then is not told so.
    HidesEpoch,
    /// A server that has started takes for its own what is said of the life before.
    StartsInSync,
    /// A copy that is not in sync goes on alone once its mirror is away.
    StaleGoesOn,
    /// Of a server that has started nobody minds whether its machine had lost power.
    ForgetsLoss,
    /// A change that the mirror does not take is acknowledged while the mirror counts as in sync.
    GivesUpMirror,
    /// A change of a chunk whose outcome is kept, or was had, is made again.
    ChangesTwice,
    /// What is copied to a mirror has no turn among the changes of the chunk.
    CopiesOutOfTurn,
    /// A mirror counts as up to date before what it was given is durable.
    SettlesNothing,
    /// A mirror that is being brought up to date serves.
    ServesSyncing,
    /// No chunk is noted before it is changed.
    NotesNothing,
    /// Changes of a mount session that has ended are taken.
    OldSessionWrites,
    /// Changes of files that are gone are taken.
    RaisesDead,
    /// A sync that the disk refused counts as made.
    ForgivesFailedSync,
    /// Questions are answered from before what the session has seen.
    AnswersFromPast,
    /// A snapshot lacks the outcomes that are kept.
    ForgetsOutcomes,
    /// A follower's lease counts from when it hears the leader.
    LeaseFromWords,
    /// A leader's lease, and what it takes for newer than a question, counts from when answers arrive.
    LeaseFromAnswers,
    /// The last copy in sync is put out.
    EvictsLastCopy,
    /// A read waits for no change.
    ReadsAmongChanges,
    /// A resync begins while changes of an older epoch are under way.
    ResyncsEarly,
    /// A size of before a cut makes a file longer.
    TakesOldSizes,
    /// Sizes that a dead mount has not told are not found.
    FindsNoSizes,
    /// What a dead mount wrote is measured before cuts are carried out.
    MeasuresBeforeCuts,
    /// Chunks of files that have ended are not looked for.
    SweepsNothing,
    /// Chunks of files that are not known are removed before it is known what was agreed.
    SweepsEarly,
    /// What only cannot be read now is replaced by what is less.
    ReplacesUnread,
    /// A server stays in sync that had no room for what its mirror has.
    StaysThoughFull,
    /// A mirror stays in sync that had no room for a change.
    KeepsFullMirror,
    /// The log is dropped as soon as one server has durably applied it.
    DropsEarly,
    /// A server that has started leads on.
    LeadsOnAgain,
    /// A change is made before the cuts that it is behind.
    ChangesBeforeCuts,
    /// Who reads without a session believes a server that was put out.
    BelievesWhoIsOut,
    /// A server does what it is asked before it has applied what that is behind.
    WaitsForNothing,
    /// After a recovery the sessions of before go on.
    KeepsSessions,
    /// A voter that had applied what the others lack goes on beside them.
    KeepsOtherHistory,
    /// A client takes older states of pairs for its newest.
    GoesBack,
}

/// All of them.
pub const BUGS: [Bug; 51] = [
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
    Bug::RecoversEarly,
    Bug::FencesUnsynced,
    Bug::DestroysEarly,
    Bug::HidesEpoch,
    Bug::StartsInSync,
    Bug::StaleGoesOn,
    Bug::ForgetsLoss,
    Bug::GivesUpMirror,
    Bug::ChangesTwice,
    Bug::CopiesOutOfTurn,
    Bug::SettlesNothing,
    Bug::ServesSyncing,
    Bug::NotesNothing,
    Bug::OldSessionWrites,
    Bug::RaisesDead,
    Bug::ForgivesFailedSync,
    Bug::AnswersFromPast,
    Bug::ForgetsOutcomes,
    Bug::LeaseFromWords,
    Bug::LeaseFromAnswers,
    Bug::EvictsLastCopy,
    Bug::ReadsAmongChanges,
    Bug::ResyncsEarly,
    Bug::TakesOldSizes,
    Bug::FindsNoSizes,
    Bug::MeasuresBeforeCuts,
    Bug::SweepsNothing,
    Bug::SweepsEarly,
    Bug::ReplacesUnread,
    Bug::StaysThoughFull,
    Bug::KeepsFullMirror,
    Bug::DropsEarly,
    Bug::LeadsOnAgain,
    Bug::ChangesBeforeCuts,
    Bug::BelievesWhoIsOut,
    Bug::WaitsForNothing,
    Bug::KeepsSessions,
    Bug::KeepsOtherHistory,
    Bug::GoesBack,
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
