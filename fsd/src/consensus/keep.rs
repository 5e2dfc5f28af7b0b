//! How much of the log is kept behind what could be dropped, so that a voter that was away catches up by its entries and need
//! not be sent all names: so many entries, but no more bytes than the disk has to spare for them.

use super::short_log;
use raidfs_common::id::LogIndex;

/// Entries that are kept.
const ENTRIES: u64 = 100_000;
/// Their bytes at most.
const BYTES_MAX: u64 = 256 << 20;
/// One part in so many of the disk at most.
const SHARE_OF_DISK: u64 = 64;
/// So many times as much while somebody is sent all names, and needs what comes behind them: else that would begin anew.
const WHILE_SENDING: u64 = 8;

/// Entries of the log that only go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The last of them.
    pub last: LogIndex,
    /// What they take on the disk.
    pub bytes: u64,
}

/// What is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    entries: u64,
    bytes: u64,
}

impl Keep {
    /// On a disk of so many bytes; None: nobody knows.
    pub fn on_disk_of(total: Option<u64>) -> Keep {
        let share = total.map_or(BYTES_MAX, |total| total / SHARE_OF_DISK);
        Keep { entries: short_log::entries_kept(ENTRIES), bytes: share.min(BYTES_MAX) }
    }

    /// The same while somebody is sent all names.
    #[must_use]
    pub fn while_sending(self) -> Keep {
        Keep { bytes: self.bytes.saturating_mul(WHILE_SENDING), ..self }
    }

    /// Up to where entries go, of a log of these runs (the oldest first) that could spare those up to `spare`. Never
    /// further than that, whatever it weighs.
    pub fn dropped(self, spare: LogIndex, runs: &[Run]) -> LogIndex {
        let mut bytes = 0;
        let too_many = runs.iter().rev().filter(|run| run.last <= spare).find(|run| {
            bytes += run.bytes;
            bytes > self.bytes
        });
        LogIndex(spare.0.saturating_sub(self.entries)).max(too_many.map_or(LogIndex(0), |run| run.last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(lasts: impl Iterator<Item = u64>, bytes: u64) -> Vec<Run> {
        lasts.map(|last| Run { last: LogIndex(last), bytes }).collect()
    }

    #[test]
    fn entries_are_kept_by_their_number_while_they_are_small() {
        let keep = Keep { entries: 100, bytes: 1000 };
        let small = runs((10..=500).step_by(10), 1);
        assert_eq!(keep.dropped(LogIndex(450), &small), LogIndex(350));
        assert_eq!(keep.dropped(LogIndex(50), &small), LogIndex(0));
    }

    #[test]
    fn large_entries_are_kept_by_their_bytes_and_never_dropped_before_they_can_be_spared() {
        let keep = Keep { entries: 100, bytes: 1000 };
        let large = runs((10..=500).step_by(10), 300);
        assert_eq!(keep.dropped(LogIndex(455), &large), LogIndex(420), "three runs of 300 bytes are kept behind 450");
        assert_eq!(keep.dropped(LogIndex(30), &large), LogIndex(0));
        let huge = runs((10..=500).step_by(10), 5000);
        assert_eq!(keep.dropped(LogIndex(455), &huge), LogIndex(450), "what is newer is not counted, and stays");
        assert_eq!(keep.dropped(LogIndex(0), &huge), LogIndex(0));
        assert_eq!(
            keep.while_sending().dropped(LogIndex(455), &large),
            LogIndex(355),
            "as many as are kept of small ones"
        );
        assert_eq!(keep.while_sending().dropped(LogIndex(455), &huge), LogIndex(440));
    }

    #[test]
    fn a_small_disk_keeps_less() {
        let gib = 1 << 30;
        assert_eq!(Keep::on_disk_of(Some(100 * gib)).bytes, BYTES_MAX);
        assert_eq!(Keep::on_disk_of(Some(gib)).bytes, gib / 64);
        assert_eq!(Keep::on_disk_of(None).bytes, BYTES_MAX);
    }
}
