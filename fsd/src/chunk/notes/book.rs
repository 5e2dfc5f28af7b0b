//! What counts as noted: generations of named chunks, each with its high-water mark. Pure; no file is touched.
//!
//! A generation's mark says from which inode on chunks need no name. All generations together say what is noted: the
//! names of each, and everything from the lowest mark on. A chunk counts as noted for a new change only by the newest
//! generation, as the older ones are about to be dropped.

use crate::chunk::Intent;
use raidfs_common::id::{ChunkId, Ino};
use std::collections::{BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

/// A stream that writes one chunk of a file after the other has so many noted at once.
const AHEAD: u32 = 16;
/// Chunks of a file that are further apart than this are no stream.
const STRIDE_MAX: u32 = 64;

/// All generations, oldest first.
#[derive(Debug, Default)]
pub struct Book {
    generations: VecDeque<Generation>,
}

#[derive(Debug)]
struct Generation {
    number: u64,
    mark: Ino,
    named: BTreeSet<ChunkId>,
    /// One more is held for each intent.
    held: Arc<()>,
    /// When the newest generation began, all changes that this one covers had ended.
    settled: bool,
}

impl Book {
    /// Adds a generation of an earlier life, behind the others.
    pub fn restore(&mut self, number: u64, mark: Ino, named: BTreeSet<ChunkId>) {
        self.generations.push_back(Generation { number, mark, named, held: Arc::default(), settled: false });
    }

    /// A number above all.
    pub fn next_number(&self) -> u64 {
        self.generations.back().map_or(1, |newest| newest.number + 1)
    }

    /// From which inode on the newest generation needs no names; 0 if there is none.
    pub fn newest_mark(&self) -> Ino {
        self.generations.back().map_or(Ino(0), |newest| newest.mark)
    }

    /// From which inode on everything is noted.
    pub fn high_water(&self) -> Ino {
        self.generations.iter().map(|g| g.mark).min().unwrap_or(Ino(0))
    }

    /// Begins a generation, and finds out which of the older ones cover no change in flight.
    pub fn begin(&mut self, number: u64, mark: Ino) {
        for generation in &mut self.generations {
            generation.settled |= Arc::strong_count(&generation.held) == 1;
        }
        self.restore(number, mark, BTreeSet::new());
    }

    /// What a change of this chunk holds, if the newest generation covers it.
    pub fn intent(&self, chunk: ChunkId) -> Option<Intent> {
        let newest = self.generations.back()?;
        let noted = chunk.ino >= newest.mark || newest.named.contains(&chunk);
        noted.then(|| Intent(Some(Arc::clone(&newest.held))))
    }

    /// What is better noted together with this chunk: if the file's chunk noted last lies a little before it, those that
    /// a stream in such steps will come to. Chunks that never come to be cost a resync nothing.
    pub fn ahead(&self, chunk: ChunkId) -> impl Iterator<Item = ChunkId> + use<> {
        let first = ChunkId { index: chunk.index.saturating_sub(STRIDE_MAX), ..chunk };
        let newest = self.generations.back();
        let before = newest.and_then(|newest| newest.named.range(first..chunk).next_back()).copied();
        let stride = before.map_or(0, |before| chunk.index - before.index);
        let steps = if stride == 0 { 0 } else { AHEAD };
        (1..steps)
            .map_while(move |step| chunk.index.checked_add(stride * step))
            .map(move |index| ChunkId { index, ..chunk })
    }

    /// These are durable in the newest generation now.
    pub fn record(&mut self, chunks: BTreeSet<ChunkId>) {
        if let Some(newest) = self.generations.back_mut() {
            newest.named.extend(chunks);
        }
    }

    /// Drops the oldest generations, up to the first that covers what may still have been in flight when the newest
    /// began; their numbers.
    pub fn drop_settled(&mut self) -> Vec<u64> {
        let mut dropped = Vec::new();
        while self.generations.len() > 1 && self.generations[0].settled {
            dropped.extend(self.generations.pop_front().map(|g| g.number));
        }
        dropped
    }

    /// Up to `limit` named chunks above `after` and below the high-water mark, in order.
    pub fn named(&self, after: Option<ChunkId>, limit: usize) -> Vec<ChunkId> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mark = self.high_water();
        let mut all = BTreeSet::new();
        for generation in &self.generations {
            let named = generation.named.range((from, Bound::Unbounded));
            all.extend(named.take_while(|chunk| chunk.ino < mark).take(limit).copied());
        }
        all.into_iter().take(limit).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(ino: u64) -> ChunkId {
        ChunkId { ino: Ino(ino), index: 0 }
    }

    fn record(book: &mut Book, ino: u64) {
        book.record([chunk(ino)].into());
    }

    #[test]
    fn a_new_generation_wants_old_chunks_named_again() {
        let mut book = Book::default();
        book.begin(1, Ino(0));
        assert!(book.intent(chunk(5)).is_some(), "everything is noted at first");
        book.begin(2, Ino(10));
        assert!(book.intent(chunk(5)).is_none());
        assert_eq!(book.high_water(), Ino(0), "until the first generation is dropped");
        record(&mut book, 5);
        assert_eq!(book.drop_settled(), [1]);
        assert_eq!(book.high_water(), Ino(10));
        assert_eq!(book.named(None, 9), [chunk(5)]);
        book.begin(3, Ino(10));
        assert!(book.intent(chunk(5)).is_none(), "the second generation is about to be dropped");
        assert_eq!(book.drop_settled(), [2]);
        assert_eq!(book.named(None, 9), []);
    }

    #[test]
    fn a_held_intent_keeps_its_generation_until_the_next_round() {
        let mut book = Book::default();
        book.begin(1, Ino(9));
        record(&mut book, 5);
        let intent = book.intent(chunk(5));
        book.begin(2, Ino(9));
        drop(intent);
        assert!(book.drop_settled().is_empty(), "the change may have ended after everything was synced");
        assert_eq!(book.named(None, 9), [chunk(5)]);
        book.begin(3, Ino(9));
        assert_eq!(book.drop_settled(), [1, 2]);
    }

    #[test]
    fn a_stream_is_noted_ahead_in_its_own_steps() {
        let mut book = Book::default();
        book.begin(1, Ino(9));
        let at = |index| ChunkId { ino: Ino(5), index };
        assert_eq!(book.ahead(at(7)).count(), 0, "nothing says that it is a stream");
        book.record([at(7), chunk(4)].into());
        let ahead: Vec<u32> = book.ahead(at(9)).map(|c| c.index).collect();
        assert_eq!((ahead[0], ahead.len(), ahead[14]), (11, 15, 39));
        assert_eq!(book.ahead(at(8)).next(), Some(at(9)));
        assert_eq!(book.ahead(at(72)).count(), 0, "too far apart");
        assert_eq!(book.ahead(at(3)).count(), 0, "backwards");
        book.record([at(u32::MAX - 5)].into());
        assert_eq!(book.ahead(at(u32::MAX - 3)).count(), 1, "up to the last chunk that there can be");
    }

    #[test]
    fn names_of_all_generations_are_listed_once_and_in_order() {
        let mut book = Book::default();
        book.begin(1, Ino(9));
        record(&mut book, 5);
        record(&mut book, 7);
        book.begin(2, Ino(100));
        record(&mut book, 3);
        record(&mut book, 5);
        record(&mut book, 50); // above the first generation's mark: found by listing
        assert_eq!(book.named(None, 9), [chunk(3), chunk(5), chunk(7)]);
        assert_eq!(book.named(Some(chunk(3)), 1), [chunk(5)]);
    }
}
