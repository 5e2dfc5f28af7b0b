//! What a resync has to copy. Pure.

use raidfs_common::id::{ChunkId, Ino};
use std::collections::BTreeSet;

/// What is gathered from both sides; a chunk that several name is copied once.
#[derive(Debug, Default)]
pub struct Plan {
    chunks: BTreeSet<ChunkId>,
    /// The mirror has nothing yet.
    pub whole: bool,
}

impl Plan {
    /// Chunks that a side has noted, or that the mirror lacks.
    pub fn add(&mut self, chunks: impl IntoIterator<Item = ChunkId>) {
        self.chunks.extend(chunks);
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.chunks.len()
    }

    /// In order of the files.
    pub fn chunks(&self) -> impl Iterator<Item = ChunkId> {
        self.chunks.iter().copied()
    }
}

/// Whether the mirror lacks chunks that neither side has noted: from which file on, if so.
pub fn lacks_from(mine: Ino, of_mirror: Ino) -> Option<Ino> {
    (of_mirror < mine).then_some(of_mirror)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(ino: u64, index: u32) -> ChunkId {
        ChunkId { ino: Ino(ino), index }
    }

    #[test]
    fn each_chunk_is_copied_once_in_order() {
        let mut plan = Plan::default();
        plan.add([chunk(3, 0), chunk(1, 7)]);
        plan.add([chunk(2, 0), chunk(3, 0)]);
        assert_eq!(plan.chunks().collect::<Vec<_>>(), [chunk(1, 7), chunk(2, 0), chunk(3, 0)]);
        assert_eq!(plan.len(), 3);
    }

    #[test]
    fn an_empty_mirror_lacks_everything() {
        assert_eq!(lacks_from(Ino(100), Ino(0)), Some(Ino(0)));
        assert_eq!(chunk(0, 0).before(), None);
        assert_eq!(lacks_from(Ino(100), Ino(100)), None);
        assert_eq!(lacks_from(Ino(100), Ino(120)), None);
        assert_eq!(lacks_from(Ino(0), Ino(0)), None);
        assert!(chunk(5, 0).before().unwrap() < chunk(5, 0) && chunk(5, 0).before().unwrap() > chunk(4, 9));
    }
}
