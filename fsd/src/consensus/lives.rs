//! Which data directory of each voter counts: what was agreed, and what the entries behind that say which are in the log
//! and may be agreed any moment. As with who the voters are, an entry counts from when a voter has it: so whoever can win
//! an election, or lead, knows of every replaced directory, and neither takes its vote nor counts it for a quorum.

use bytes::Bytes;
use raidfs_common::id::{Incarnation, LogIndex, ServerId};
use raidfs_common::rpc::peer::LogEntry;
use std::collections::BTreeMap;

/// What an entry's data says about lives of voters.
pub type ReadLives = fn(&Bytes) -> Vec<(ServerId, Incarnation)>;

/// The lives of voters, as one voter knows them.
#[derive(Debug)]
pub struct Lives {
    read: ReadLives,
    agreed: BTreeMap<ServerId, Incarnation>,
    /// By entries that were not known to be agreed, in their order.
    coming: Vec<(LogIndex, ServerId, Incarnation)>,
}

impl Lives {
    /// Nothing is known yet.
    pub fn new(read: ReadLives) -> Lives {
        Lives { read, agreed: BTreeMap::new(), coming: Vec::new() }
    }

    /// Entries were added to the log. Only those that fence say anything.
    pub fn add(&mut self, entries: &[LogEntry]) {
        for entry in entries.iter().filter(|entry| entry.synced && !entry.data.is_empty()) {
            let lives = (self.read)(&entry.data).into_iter();
            self.coming.extend(lives.map(|(server, life)| (entry.index, server, life)));
        }
    }

    /// Entries from `from` on were taken away.
    pub fn truncate(&mut self, from: LogIndex) {
        self.coming.retain(|(index, ..)| *index < from);
    }

    /// Whether [`Lives::agree`] has something to tell once everything up to `applied` is.
    pub fn wants(&self, applied: LogIndex) -> bool {
        self.coming.first().is_some_and(|(index, ..)| *index <= applied)
    }

    /// What was agreed by the entries up to `applied`, in place of what was known before.
    pub fn agree(&mut self, applied: LogIndex, lives: BTreeMap<ServerId, Incarnation>) {
        self.agreed = lives;
        self.coming.retain(|(index, ..)| *index > applied);
    }

    /// Whether a voter's life may take part.
    pub fn admit(&self, voter: ServerId, life: Incarnation) -> bool {
        let newest = self.coming.iter().rev().find(|(_, server, _)| *server == voter).map(|(.., life)| life);
        newest.or(self.agreed.get(&voter)).is_none_or(|known| known.admits(life))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use raidfs_common::id::Term;

    const TWO: ServerId = ServerId(2);
    const OLD: Incarnation = Incarnation(1 << 32 | 7);
    const NEW: Incarnation = Incarnation(1 << 32 | 8);

    fn entry(index: u64, synced: bool, life: Incarnation) -> LogEntry {
        let data = Bytes::copy_from_slice(&life.0.to_le_bytes());
        LogEntry { term: Term(1), index: LogIndex(index), synced, data }
    }

    fn lives() -> Lives {
        let mut lives = Lives::new(|data| vec![(TWO, Incarnation(u64::from_le_bytes(data[..].try_into().unwrap())))]);
        lives.agree(LogIndex(3), BTreeMap::from([(TWO, OLD)]));
        lives
    }

    #[test]
    fn an_entry_counts_from_when_it_is_in_the_log_until_it_is_taken_away() {
        let mut lives = lives();
        assert!(lives.admit(TWO, OLD) && !lives.admit(TWO, NEW) && lives.admit(ServerId(1), NEW));
        lives.add(&[entry(4, true, OLD.barred()), entry(5, false, NEW)]);
        assert!(!lives.admit(TWO, OLD) && lives.admit(TWO, NEW));
        lives.add(&[entry(6, true, NEW)]);
        assert!(!lives.admit(TWO, OLD) && lives.admit(TWO, NEW));
        lives.truncate(LogIndex(4));
        assert!(lives.admit(TWO, OLD) && !lives.admit(TWO, NEW));
    }

    #[test]
    fn what_is_agreed_takes_the_place_of_what_was_coming() {
        let mut lives = lives();
        lives.add(&[entry(4, true, OLD.barred()), entry(6, true, NEW)]);
        assert!(!lives.wants(LogIndex(3)) && lives.wants(LogIndex(4)));
        // The entry came to nothing: something else had happened before.
        lives.agree(LogIndex(4), BTreeMap::from([(TWO, OLD)]));
        assert!(!lives.admit(TWO, OLD), "the other one is still coming");
        lives.agree(LogIndex(6), BTreeMap::from([(TWO, OLD)]));
        assert!(lives.admit(TWO, OLD) && !lives.wants(LogIndex(9)));
    }
}
