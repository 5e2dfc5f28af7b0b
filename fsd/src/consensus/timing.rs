//! How long the elections wait. Separate from [`raidfs_common::limits`] only so that tests can change them.

use raidfs_common::limits;
use std::time::Duration;

/// The time-outs of the election.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// The leader speaks to each follower at least this often.
    pub heartbeat: Duration,
    /// A follower that has heard no leader for this long, plus up to as much again, asks for votes.
    pub election: Duration,
    /// When the leader is seen to be gone, the n-th voter waits n times this before it asks for votes.
    pub stagger: Duration,
    /// Who has given its vote waits so long for the word of the one who has it before it would vote for another; and who
    /// asks for votes as a leader was seen to be gone waits so long for them, and up to twice as long.
    pub vote_grace: Duration,
    /// An agreed position is told to followers this late, in the hope of more to say with it.
    pub commit_note: Duration,
    /// Servers that may have forgotten entries wait this long for the last missing voter before they go on without.
    pub recovery_patience: Duration,
}

impl Default for Timing {
    fn default() -> Timing {
        Timing {
            heartbeat: limits::HEARTBEAT,
            election: limits::ELECTION,
            stagger: Duration::from_millis(8),
            vote_grace: Duration::from_millis(150),
            commit_note: Duration::from_micros(1500),
            recovery_patience: Duration::from_secs(30),
        }
    }
}
