//! Which file is sent from next. Files that somebody waits for go first: a small program's sync does not stand behind the
//! thousands of files that a copy has just written. Only so much is under way to a pair at once, of either kind: a pair that does
//! not answer holds up nothing that is for the others, and what is sent for nobody in particular is never so much that it
//! keeps a sync waiting at the servers. Pure; driven by `push`.

use raidfs_common::id::PairId;
use std::collections::{BTreeMap, VecDeque};

/// Bytes under way to a pair at once, of each urgency.
const FLYING_BYTES_MAX: usize = 8 << 20;
/// Pushes under way to a pair at once, of each urgency.
const FLYING_MAX: usize = 32;

/// Whether somebody waits for a file's bytes to land.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Nobody does: they were written, and that was answered.
    Behind,
    /// A sync does, or is about to.
    Awaited,
}

/// What of a pair's is under way, and waits until less is.
#[derive(Debug)]
struct Way<F> {
    flying: usize,
    flying_bytes: usize,
    held: VecDeque<F>,
}

impl<F> Way<F> {
    fn has_room(&self) -> bool {
        self.flying < FLYING_MAX && self.flying_bytes < FLYING_BYTES_MAX
    }
}

/// Those of one urgency.
#[derive(Debug)]
struct Lane<F> {
    /// It is not known yet to which pair they send next.
    files: VecDeque<F>,
    ways: BTreeMap<PairId, Way<F>>,
}

impl<F> Lane<F> {
    const fn new() -> Lane<F> {
        Lane { files: VecDeque::new(), ways: BTreeMap::new() }
    }

    fn next(&mut self) -> Option<F> {
        let free = self.ways.values_mut().filter(|way| way.has_room());
        free.filter_map(|way| way.held.pop_front()).next().or_else(|| self.files.pop_front())
    }
}

/// Files with something to send.
#[derive(Debug)]
pub struct PushQueue<F> {
    awaited: Lane<F>,
    behind: Lane<F>,
}

impl<F> Default for PushQueue<F> {
    fn default() -> PushQueue<F> {
        PushQueue { awaited: Lane::new(), behind: Lane::new() }
    }
}

impl<F> PushQueue<F> {
    fn lane(&mut self, urgency: Urgency) -> &mut Lane<F> {
        match urgency {
            Urgency::Awaited => &mut self.awaited,
            Urgency::Behind => &mut self.behind,
        }
    }

    fn way(&mut self, urgency: Urgency, pair: PairId) -> &mut Way<F> {
        let none = || Way { flying: 0, flying_bytes: 0, held: VecDeque::new() };
        self.lane(urgency).ways.entry(pair).or_insert_with(none)
    }

    /// Puts a file at the end.
    pub fn push(&mut self, urgency: Urgency, file: F) {
        self.lane(urgency).files.push_back(file);
    }

    /// The next file to send from; [`PushQueue::takes_off`] then says whether it may.
    pub fn next_file(&mut self) -> Option<(Urgency, F)> {
        let awaited = self.awaited.next().map(|file| (Urgency::Awaited, file));
        awaited.or_else(|| self.behind.next().map(|file| (Urgency::Behind, file)))
    }

    /// Whether so many bytes of a file may leave for a pair now; then they count until they [land](PushQueue::land). If not,
    /// the file is the next one once they may.
    pub fn takes_off(&mut self, urgency: Urgency, pair: PairId, bytes: usize, file: impl FnOnce() -> F) -> bool {
        let way = self.way(urgency, pair);
        let room = way.has_room();
        if room {
            way.flying += 1;
            way.flying_bytes += bytes;
        } else {
            way.held.push_back(file());
        }
        room
    }

    /// So many bytes have landed, or could not be stored. Whether a file has waited for that.
    pub fn land(&mut self, urgency: Urgency, pair: PairId, bytes: usize) -> bool {
        let way = self.way(urgency, pair);
        way.flying -= 1;
        way.flying_bytes -= bytes;
        !way.held.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::Urgency::{Awaited, Behind};
    use super::*;

    const ONE: PairId = PairId(0);
    const OTHER: PairId = PairId(1);

    /// Sends from all that it may; each file has one piece, for the pair that its name ends with.
    fn sent(queue: &mut PushQueue<&'static str>) -> Vec<&'static str> {
        let mut sent = Vec::new();
        while let Some((urgency, file)) = queue.next_file() {
            let pair = if file.ends_with('1') { ONE } else { OTHER };
            if queue.takes_off(urgency, pair, 4096, || file) {
                sent.push(file);
            }
        }
        sent
    }

    /// As much as may be is under way to both pairs, for nobody in particular, and more waits.
    fn busy() -> PushQueue<&'static str> {
        let mut queue = PushQueue::default();
        for _ in 0..2 * FLYING_MAX {
            queue.push(Behind, "copied 1");
            queue.push(Behind, "copied 2");
        }
        assert_eq!(sent(&mut queue).len(), 2 * FLYING_MAX);
        queue
    }

    #[test]
    fn what_somebody_waits_for_goes_before_what_was_written_earlier() {
        let mut queue = PushQueue::default();
        queue.push(Behind, "copied 1");
        queue.push(Awaited, "synced 1");
        assert_eq!(sent(&mut queue), ["synced 1", "copied 1"]);
        let mut queue = busy();
        queue.push(Awaited, "synced 1");
        queue.push(Awaited, "synced 2");
        assert_eq!(sent(&mut queue), ["synced 1", "synced 2"], "however much is under way");
    }

    #[test]
    fn a_pair_that_does_not_answer_holds_up_nothing_of_the_others() {
        let mut queue = busy();
        assert!(queue.land(Behind, OTHER, 4096));
        assert_eq!(sent(&mut queue), ["copied 2"]);
        for _ in 0..FLYING_MAX {
            queue.push(Awaited, "synced 1");
        }
        assert_eq!(sent(&mut queue).len(), FLYING_MAX);
        queue.push(Awaited, "synced 1");
        queue.push(Awaited, "synced 2");
        assert_eq!(sent(&mut queue), ["synced 2"]);
        assert!(queue.land(Awaited, ONE, 4096));
        assert_eq!(sent(&mut queue), ["synced 1"]);
    }

    #[test]
    fn who_was_held_goes_before_who_came_later() {
        let mut queue = busy();
        queue.push(Behind, "later 1");
        for _ in 0..FLYING_MAX {
            queue.land(Behind, ONE, 4096);
            assert_eq!(sent(&mut queue), ["copied 1"]);
        }
        queue.land(Behind, ONE, 4096);
        assert_eq!(sent(&mut queue), ["later 1"]);
    }

    #[test]
    fn so_many_bytes_are_under_way_at_most_and_one_piece_is_never_too_large() {
        let mut queue = PushQueue::default();
        assert!(queue.takes_off(Behind, ONE, 2 * FLYING_BYTES_MAX, || "large 1"));
        assert!(!queue.takes_off(Behind, ONE, 1, || "small 1"));
        assert!(queue.takes_off(Behind, OTHER, 1, || "small 2"));
        assert!(queue.land(Behind, ONE, 2 * FLYING_BYTES_MAX));
        assert_eq!(sent(&mut queue), ["small 1"]);
        assert!(!queue.land(Behind, OTHER, 1), "nobody has waited for that");
    }
}
