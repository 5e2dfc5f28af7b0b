//! Which log index a server must have applied before it serves a chunk request: the newest change of this client that
//! made the file or cut it. Pure.
//!
//! Naming the newest index of all would be right, too, but every request would then wait until its server has applied
//! changes that do not concern it, such as the size updates of other writes.

use raidfs_common::id::{Ino, LogIndex};
use raidfs_common::namespace::Change;
use std::collections::{BTreeMap, VecDeque};

/// Files remembered one by one; of older ones only the newest index is known.
const FILES_MAX: usize = 4096;

/// What is known of the files.
#[derive(Debug, Default)]
pub struct Needs {
    /// What every file needs.
    floor: LogIndex,
    files: BTreeMap<Ino, LogIndex>,
    order: VecDeque<(Ino, LogIndex)>,
}

impl Needs {
    /// The change is made, in an entry not behind `index`.
    pub fn note(&mut self, change: &Change, index: LogIndex) {
        match change {
            Change::Make { ino, .. } => self.remember(*ino, index),
            Change::SetAttr { ino, set } if set.size.is_some() => self.remember(*ino, index),
            Change::OpenSession { .. } => self.floor = self.floor.max(index),
            _ => {}
        }
    }

    /// What a request about the file's chunks needs.
    pub fn of(&self, ino: Ino) -> LogIndex {
        self.files.get(&ino).copied().unwrap_or_default().max(self.floor)
    }

    fn remember(&mut self, ino: Ino, index: LogIndex) {
        let known = self.files.entry(ino).or_default();
        *known = index.max(*known);
        self.order.push_back((ino, *known));
        if self.order.len() > FILES_MAX
            && let Some((oldest, index)) = self.order.pop_front()
        {
            self.floor = self.floor.max(index);
            if self.files.get(&oldest).is_some_and(|newest| *newest <= index) {
                self.files.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use raidfs_common::namespace::SetAttr;

    fn cut(ino: u64, size: Option<u64>) -> Change {
        Change::SetAttr { ino: Ino(ino), set: SetAttr { size, ..SetAttr::default() } }
    }

    #[test]
    fn a_file_needs_its_newest_cut_and_nothing_of_others() {
        let mut needs = Needs::default();
        needs.note(&Change::OpenSession { holder: String::new(), takeover: false }, LogIndex(3));
        needs.note(&cut(7, Some(0)), LogIndex(10));
        needs.note(&cut(7, None), LogIndex(11));
        needs.note(&cut(8, Some(5)), LogIndex(12));
        // Answers may come out of order.
        needs.note(&cut(7, Some(5)), LogIndex(9));
        assert_eq!((needs.of(Ino(7)), needs.of(Ino(8)), needs.of(Ino(9))), (LogIndex(10), LogIndex(12), LogIndex(3)));
    }

    #[test]
    fn what_is_forgotten_is_asked_for_as_if_it_were_new() {
        let mut needs = Needs::default();
        for n in 1..=FILES_MAX as u64 * 2 {
            needs.note(&cut(n, Some(0)), LogIndex(n));
        }
        assert!(needs.files.len() <= FILES_MAX && needs.order.len() <= FILES_MAX);
        for n in 1..=FILES_MAX as u64 * 2 {
            assert!(needs.of(Ino(n)) >= LogIndex(n), "{n}");
        }
        // A file that is cut again and again is not forgotten with its first cut.
        let last = FILES_MAX as u64 * 2;
        (1..=FILES_MAX as u64).for_each(|n| needs.note(&cut(5, Some(0)), LogIndex(last + n)));
        assert_eq!(needs.of(Ino(5)), LogIndex(last + FILES_MAX as u64));
        assert!(needs.of(Ino(6)) <= LogIndex(last));
    }
}
