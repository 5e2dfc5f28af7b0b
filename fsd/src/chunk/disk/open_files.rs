//! The bounded cache of open chunk files and their decoded footers, and through it the lock of each chunk.
//!
//! There is one [`OpenFile`] for a chunk at any moment: whoever uses a chunk holds it, and only what nobody holds is
//! closed. So whatever is in it (open, not there) is true until somebody changes it under its lock. It knows nothing of
//! blocks; the store drives it.

use crate::chunk::format::{Footer, FormatError};
use parking_lot::{Mutex, RwLock};
use raidfs_common::id::ChunkId;
use std::collections::HashMap;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// What is known of a chunk.
#[derive(Debug)]
pub enum State {
    /// Nobody has looked yet.
    Unknown,
    /// There is no such file.
    Absent,
    /// It is open.
    Open(Open),
}

/// An open chunk.
#[derive(Debug)]
pub struct Open {
    /// The file, readable and writable.
    pub file: Arc<File>,
    /// Its footer as it is on disk, or why it cannot be used.
    pub footer: Result<Footer, FormatError>,
}

/// A chunk's lock and state.
#[derive(Debug)]
pub struct OpenFile {
    /// Held for reading while the chunk is read, for writing while it is changed or opened.
    pub state: RwLock<State>,
    used: AtomicBool,
}

/// The cache.
#[derive(Debug)]
pub struct OpenFiles {
    clock: Mutex<Clock>,
}

#[derive(Debug)]
struct Clock {
    slots: Vec<Option<(ChunkId, Arc<OpenFile>)>>,
    places: HashMap<ChunkId, usize>,
    free: Vec<usize>,
    hand: usize,
    capacity: usize,
}

impl OpenFiles {
    /// A cache of at most `capacity` chunks that nobody uses at the moment.
    pub fn new(capacity: usize) -> OpenFiles {
        let clock =
            Clock { slots: Vec::new(), places: HashMap::new(), free: Vec::new(), hand: 0, capacity: capacity.max(1) };
        OpenFiles { clock: Mutex::new(clock) }
    }

    /// The chunk's lock and state.
    pub fn get(&self, chunk: ChunkId) -> Arc<OpenFile> {
        let mut clock = self.clock.lock();
        if let Some(known) = clock.find(chunk) {
            return known;
        }
        let fresh = Arc::new(OpenFile { state: RwLock::new(State::Unknown), used: AtomicBool::new(false) });
        let evicted = clock.insert(chunk, Arc::clone(&fresh));
        drop(clock);
        drop(evicted); // closes a file, which is better done without the lock
        fresh
    }

    /// The same if it is known already.
    pub fn known(&self, chunk: ChunkId) -> Option<Arc<OpenFile>> {
        self.clock.lock().find(chunk)
    }

    /// Forgets a chunk if nobody but the caller uses it.
    pub fn forget(&self, chunk: ChunkId, held: Arc<OpenFile>) {
        let mut clock = self.clock.lock();
        let gone = if Arc::strong_count(&held) == 2 { clock.remove(chunk) } else { None };
        drop(clock);
        drop(gone);
    }
}

impl Clock {
    fn find(&self, chunk: ChunkId) -> Option<Arc<OpenFile>> {
        let (_, file) = self.slots[*self.places.get(&chunk)?].as_ref()?;
        file.used.store(true, Relaxed);
        Some(Arc::clone(file))
    }

    fn remove(&mut self, chunk: ChunkId) -> Option<Arc<OpenFile>> {
        let place = self.places.remove(&chunk)?;
        self.free.push(place);
        self.slots[place].take().map(|(_, file)| file)
    }

    /// Returns what had to go for it.
    fn insert(&mut self, chunk: ChunkId, file: Arc<OpenFile>) -> Option<Arc<OpenFile>> {
        let evicted = if self.places.len() >= self.capacity { self.evict() } else { None };
        let place = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.slots[place] = Some((chunk, file));
        self.places.insert(chunk, place);
        evicted
    }

    /// Takes out one that nobody holds and that was not used since the hand last came by. None if all are held, at
    /// most two rounds later: then the cache grows by what is in use at once.
    fn evict(&mut self) -> Option<Arc<OpenFile>> {
        for _ in 0..2 * self.slots.len() {
            self.hand = (self.hand + 1) % self.slots.len();
            if let Some((chunk, file)) = &self.slots[self.hand] {
                let chunk = *chunk;
                if Arc::strong_count(file) == 1 && !file.used.swap(false, Relaxed) {
                    return self.remove(chunk);
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use raidfs_common::id::Ino;

    fn chunk(n: u64) -> ChunkId {
        ChunkId { ino: Ino(n), index: 0 }
    }

    #[test]
    fn only_what_nobody_holds_is_evicted() {
        let files = OpenFiles::new(10);
        let held = files.get(chunk(0));
        for n in 1..1000 {
            files.get(chunk(n));
        }
        assert!(Arc::ptr_eq(&held, &files.get(chunk(0))));
        assert!(files.known(chunk(1)).is_none());
        assert!(files.clock.lock().slots.len() <= 11);
    }

    #[test]
    fn what_is_used_stays_longer() {
        let files = OpenFiles::new(10);
        for n in 0..1000 {
            files.get(chunk(n));
            files.get(chunk(0));
        }
        assert!(files.known(chunk(0)).is_some());
        assert!(files.known(chunk(500)).is_none());
    }

    #[test]
    fn a_crowd_in_use_is_let_in() {
        let files = OpenFiles::new(3);
        let crowd: Vec<_> = (0..20).map(|n| files.get(chunk(n))).collect();
        for (n, file) in crowd.iter().enumerate() {
            assert!(Arc::ptr_eq(file, &files.get(chunk(n as u64))));
        }
        drop(crowd);
        for n in 0..20 {
            let held = files.get(chunk(n));
            files.forget(chunk(n), held);
        }
        assert!(files.clock.lock().places.is_empty());
    }
}
