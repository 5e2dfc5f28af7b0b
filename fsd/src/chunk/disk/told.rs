//! Which damage the log has been told of: a damaged chunk is looked at again and again until it is mended.

use parking_lot::Mutex;
use raidfs_common::id::ChunkId;
use std::collections::BTreeSet;

/// So many damaged chunks are remembered; then all are forgotten.
const TOLD_MAX: usize = 1024;

/// The chunks that were found damaged and not whole since.
#[derive(Debug, Default)]
pub struct Told(Mutex<BTreeSet<ChunkId>>);

impl Told {
    /// A chunk was found damaged: whether that is news.
    pub fn is_news(&self, chunk: ChunkId) -> bool {
        let mut told = self.0.lock();
        if told.len() >= TOLD_MAX {
            told.clear();
        }
        told.insert(chunk)
    }

    /// A chunk was found whole.
    pub fn is_whole(&self, chunk: ChunkId) {
        self.0.lock().remove(&chunk);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use raidfs_common::id::Ino;

    fn chunk(ino: u64) -> ChunkId {
        ChunkId { ino: Ino(ino), index: 0 }
    }

    #[test]
    fn damage_is_news_once_until_it_was_mended() {
        let told = Told::default();
        assert!(told.is_news(chunk(1)) && told.is_news(chunk(2)));
        assert!(!told.is_news(chunk(1)));
        told.is_whole(chunk(1));
        assert!(told.is_news(chunk(1)) && !told.is_news(chunk(2)));
    }

    #[test]
    fn memory_is_bounded() {
        let told = Told::default();
        (0..3 * TOLD_MAX as u64).for_each(|ino| assert!(told.is_news(chunk(ino))));
        assert!(told.0.lock().len() <= TOLD_MAX);
    }
}
