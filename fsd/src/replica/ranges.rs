//! Who may touch which blocks of a file now: overlapping work in the order of its arrival, all other work side by side.
//! Pure: it decides and never waits; [`super::locks`] makes its tickets awaitable.

use raidfs_common::id::ChunkId;
use raidfs_common::limits::{BLOCK_BYTES, BLOCKS_PER_CHUNK, CHUNK_BYTES};
use std::collections::BTreeMap;

/// A range of a file's blocks, counted through all of its chunks. Whole blocks, as a checksum covers a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    start: u64,
    /// One past the last.
    end: u64,
}

impl Span {
    /// The blocks that `length` (at least 1) bytes from `offset` of a chunk touch.
    pub fn of(chunk: ChunkId, offset: u32, length: u32) -> Span {
        let base = u64::from(chunk.index) * BLOCKS_PER_CHUNK as u64;
        let end = u64::from(offset) + u64::from(length.max(1));
        Span { start: base + u64::from(offset) / BLOCK_BYTES, end: base + end.div_ceil(BLOCK_BYTES) }
    }

    /// A whole chunk.
    pub fn chunk(chunk: ChunkId) -> Span {
        Span::of(chunk, 0, CHUNK_BYTES as u32)
    }

    /// Everything of the file.
    pub fn file() -> Span {
        Span { start: 0, end: u64::MAX }
    }

    fn overlaps(&self, other: &Span) -> bool {
        self.start < other.end && other.start < self.end
    }
}

/// How a range is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Together with others that only read.
    Read,
    /// By nobody else.
    Change,
}

/// A place in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

#[derive(Debug)]
struct Entry {
    span: Span,
    mode: Mode,
    admitted: bool,
}

impl Entry {
    fn excludes(&self, other: &Entry) -> bool {
        (self.mode == Mode::Change || other.mode == Mode::Change) && self.span.overlaps(&other.span)
    }
}

/// The queue of one file.
#[derive(Debug, Default)]
pub struct RangeQueue {
    entries: BTreeMap<Ticket, Entry>,
    next: u64,
}

impl RangeQueue {
    /// Stands in line; true: admitted at once.
    pub fn enter(&mut self, span: Span, mode: Mode) -> (Ticket, bool) {
        let ticket = Ticket(self.next);
        self.next += 1;
        let mut entry = Entry { span, mode, admitted: false };
        entry.admitted = !self.entries.values().any(|earlier| earlier.excludes(&entry));
        let admitted = entry.admitted;
        self.entries.insert(ticket, entry);
        (ticket, admitted)
    }

    /// Leaves, admitted or not; returns who is admitted by that, in order.
    pub fn leave(&mut self, ticket: Ticket) -> Vec<Ticket> {
        let Some(left) = self.entries.remove(&ticket) else { return Vec::new() };
        let waiting = self.entries.iter().filter(|(_, e)| !e.admitted && e.excludes(&left));
        let free = |at: Ticket, e: &Entry| !self.entries.range(..at).any(|(_, earlier)| earlier.excludes(e));
        let admitted: Vec<Ticket> = waiting.filter(|(t, e)| free(**t, e)).map(|(t, _)| *t).collect();
        for ticket in &admitted {
            self.entries.get_mut(ticket).expect("it was found in the queue just now").admitted = true;
        }
        admitted
    }

    /// Whether somebody waits for what this ticket has.
    pub fn is_waited_for(&self, ticket: Ticket) -> bool {
        let Some(held) = self.entries.get(&ticket) else { return false };
        self.entries.values().any(|entry| !entry.admitted && entry.excludes(held))
    }

    /// Whether nobody stands in it.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use raidfs_common::id::Ino;

    fn blocks(start: u64, end: u64) -> Span {
        Span { start, end }
    }

    #[test]
    fn spans_are_whole_blocks_counted_through_the_file() {
        let chunk = |index| ChunkId { ino: Ino(1), index };
        assert_eq!(Span::of(chunk(0), 4095, 2), blocks(0, 2));
        assert_eq!(Span::of(chunk(2), 4096, 1), blocks(2 * 1024 + 1, 2 * 1024 + 2));
        assert_eq!(Span::chunk(chunk(1)), blocks(1024, 2048));
    }

    #[test]
    fn who_waits_for_a_range_is_seen() {
        let mut queue = RangeQueue::default();
        let (read, _) = queue.enter(blocks(0, 9), Mode::Read);
        let (other, _) = queue.enter(blocks(0, 9), Mode::Read);
        queue.enter(blocks(20, 22), Mode::Change);
        queue.enter(blocks(21, 22), Mode::Change);
        assert!(!queue.is_waited_for(read), "others read, too, and what is waited for lies elsewhere");
        let (change, admitted) = queue.enter(blocks(8, 9), Mode::Change);
        assert!(!admitted && queue.is_waited_for(read) && queue.is_waited_for(other));
        queue.leave(read);
        assert!(queue.is_waited_for(other));
        queue.leave(other);
        assert!(!queue.is_waited_for(change));
    }

    #[test]
    fn overlapping_changes_go_in_order_and_others_side_by_side() {
        let mut queue = RangeQueue::default();
        let (a, now) = queue.enter(blocks(0, 2), Mode::Change);
        assert!(now);
        let (b, now) = queue.enter(blocks(1, 3), Mode::Change);
        assert!(!now);
        let (c, now) = queue.enter(blocks(2, 4), Mode::Change);
        assert!(!now, "it must not overtake one that waits");
        let (d, now) = queue.enter(blocks(8, 9), Mode::Change);
        assert!(now);
        assert_eq!(queue.leave(d), []);
        assert_eq!(queue.leave(a), [b]);
        assert_eq!(queue.leave(b), [c]);
        assert_eq!(queue.leave(c), []);
        assert!(queue.is_empty());
    }

    #[test]
    fn reads_share_and_wait_for_changes() {
        let mut queue = RangeQueue::default();
        let (a, _) = queue.enter(blocks(0, 2), Mode::Read);
        let (b, now) = queue.enter(blocks(0, 2), Mode::Read);
        assert!(now);
        let (c, now) = queue.enter(blocks(0, 1), Mode::Change);
        assert!(!now);
        let (d, now) = queue.enter(blocks(0, 1), Mode::Read);
        assert!(!now, "a reader that came after a change sees it");
        assert_eq!(queue.leave(a), []);
        assert_eq!(queue.leave(c), [d], "one that gives up waiting lets the next in");
        assert_eq!(queue.leave(b), []);
        assert_eq!(queue.leave(d), []);
    }

    proptest! {
        /// Against the definition: admitted if and only if no earlier one that is still there excludes it.
        #[test]
        fn nobody_excluded_is_in_and_nobody_free_waits(steps in proptest::collection::vec((0u64..12, 1u64..5, any::<bool>(), any::<bool>(), 0usize..8), 1..80)) {
            let mut queue = RangeQueue::default();
            let mut model: Vec<(Ticket, Span, Mode, bool)> = Vec::new();
            for (start, length, change, leave, which) in steps {
                if leave && !model.is_empty() {
                    let (ticket, ..) = model.remove(which % model.len());
                    for admitted in queue.leave(ticket) {
                        let entry = model.iter_mut().find(|e| e.0 == admitted).unwrap();
                        prop_assert!(!entry.3, "admitted twice");
                        entry.3 = true;
                    }
                } else {
                    let span = blocks(start, start + length);
                    let mode = if change { Mode::Change } else { Mode::Read };
                    let (ticket, now) = queue.enter(span, mode);
                    model.push((ticket, span, mode, now));
                }
                for (i, e) in model.iter().enumerate() {
                    let excluded = model[..i].iter().any(|x| (x.2 == Mode::Change || e.2 == Mode::Change) && x.1.overlaps(&e.1));
                    prop_assert_eq!(e.3, !excluded);
                }
            }
        }
    }
}
