//! What was changed and is not durable yet: chunks, and directories with new or removed entries.
//!
//! Who asks for a chunk to be synced while another does the same waits for that one instead of syncing again, and what
//! is clean costs nothing. It knows of no files: what syncing means is passed in. Bounded: beyond
//! [`DIRTY_CHUNKS_MAX`] chunks it stops remembering which, and all count as changed until the next sync of everything.

use crate::chunk::layout::Dir;
use parking_lot::Mutex;
use raidfs_common::id::{ChunkId, Ino};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

/// So many changed chunks are remembered by name.
pub const DIRTY_CHUNKS_MAX: usize = 1 << 16;

/// The ledger.
#[derive(Debug, Default)]
pub struct Ledger {
    books: Mutex<Books>,
}

#[derive(Debug, Default)]
struct Books {
    chunks: BTreeMap<ChunkId, Arc<Cell>>,
    dirs: BTreeMap<Dir, Arc<Cell>>,
    /// Changes of chunks that are not in `chunks`, since the store was opened and at the last sync of everything. The first
    /// stands for those of an earlier life, which may have been killed before it synced them.
    unnamed: u64,
    unnamed_synced: u64,
}

impl Books {
    /// Whether there are changes of which it is not known what they changed.
    fn has_unnamed(&self) -> bool {
        self.unnamed > self.unnamed_synced
    }
}

/// How often something was changed, and up to which change it is durable. Changed only under the lock of the books.
#[derive(Debug, Default)]
struct Cell {
    changed: AtomicU64,
    synced: Mutex<u64>,
    /// Of a chunk: its directory must be synced, too.
    entry_changed: AtomicBool,
}

/// What there was to sync at some moment.
#[derive(Debug)]
pub struct Dirty {
    chunks: Vec<(ChunkId, Arc<Cell>, u64)>,
    dirs: Vec<(Dir, Arc<Cell>, u64)>,
    unnamed: Option<u64>,
}

impl Dirty {
    /// Whether it is known which chunks and directories these are, and they are at most so many of each.
    pub fn is_few(&self, most: usize) -> bool {
        self.unnamed.is_none() && self.chunks.len() <= most && self.dirs.len() <= most
    }

    /// The chunks that are known.
    pub fn chunks(&self) -> impl Iterator<Item = ChunkId> {
        self.chunks.iter().map(|(chunk, ..)| *chunk)
    }

    /// The directories.
    pub fn dirs(&self) -> impl Iterator<Item = Dir> {
        self.dirs.iter().map(|(dir, ..)| *dir)
    }
}

impl Ledger {
    /// Of a store that is opened: until everything is synced, nothing that is there counts as durable.
    pub fn opened() -> Ledger {
        Ledger { books: Mutex::new(Books { unnamed: 1, ..Books::default() }) }
    }

    /// A chunk was changed. To be called after the change, before its outcome is told.
    pub fn chunk_changed(&self, chunk: ChunkId) {
        self.changed(chunk, false);
    }

    /// A chunk's file was made, replaced or removed, and syncing the file does not make that durable.
    pub fn entry_changed(&self, chunk: ChunkId) {
        self.changed(chunk, true);
    }

    fn changed(&self, chunk: ChunkId, entry: bool) {
        let mut books = self.books.lock();
        if let Some(cell) = books.chunks.get(&chunk) {
            cell.changed.fetch_add(1, SeqCst);
            cell.entry_changed.fetch_or(entry, SeqCst);
        } else if books.chunks.len() < DIRTY_CHUNKS_MAX {
            let cell = Cell { changed: AtomicU64::new(1), entry_changed: AtomicBool::new(entry), ..Cell::default() };
            books.chunks.insert(chunk, Arc::new(cell));
        } else {
            books.unnamed += 1;
        }
    }

    /// Whether the directory of a chunk must be synced with it, and before it.
    pub fn needs_entry(&self, chunk: ChunkId) -> bool {
        let books = self.books.lock();
        let named = books.chunks.get(&chunk).is_some_and(|cell| cell.entry_changed.load(SeqCst));
        named || books.has_unnamed()
    }

    /// An entry of a directory was made or removed.
    pub fn dir_changed(&self, dir: Dir) {
        let mut books = self.books.lock();
        books.dirs.entry(dir).or_default().changed.fetch_add(1, SeqCst);
    }

    /// Whether there is anything to sync of a chunk.
    pub fn is_dirty(&self, chunk: ChunkId) -> bool {
        let books = self.books.lock();
        books.chunks.contains_key(&chunk) || books.has_unnamed()
    }

    /// The chunks of a file of which there is something to sync; None if that is not known of each.
    pub fn dirty_of(&self, ino: Ino) -> Option<Vec<ChunkId>> {
        let books = self.books.lock();
        let chunks = ChunkId { ino, index: 0 }..=ChunkId { ino, index: u32::MAX };
        (!books.has_unnamed()).then(|| books.chunks.range(chunks).map(|(chunk, _)| *chunk).collect())
    }

    /// Has a chunk synced unless it is clean.
    pub fn sync_chunk<E>(&self, chunk: ChunkId, sync: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        let (cell, unnamed) = {
            let books = self.books.lock();
            (books.chunks.get(&chunk).cloned(), books.has_unnamed())
        };
        let Some(cell) = cell else { return if unnamed { sync() } else { Ok(()) } };
        let Some(upto) = cell.sync(sync)? else { return Ok(()) };
        retire(&mut self.books.lock().chunks, &chunk, &cell, upto);
        Ok(())
    }

    /// Has a directory synced unless it is clean.
    pub fn sync_dir<E>(&self, dir: Dir, sync: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        let (cell, unnamed) = {
            let books = self.books.lock();
            (books.dirs.get(&dir).cloned(), books.has_unnamed())
        };
        let Some(cell) = cell else { return if unnamed { sync() } else { Ok(()) } };
        let Some(upto) = cell.sync(sync)? else { return Ok(()) };
        retire(&mut self.books.lock().dirs, &dir, &cell, upto);
        Ok(())
    }

    /// All that is not durable now.
    pub fn dirty(&self) -> Dirty {
        let books = self.books.lock();
        let changed = |cell: &Arc<Cell>| (Arc::clone(cell), cell.changed.load(SeqCst));
        let chunks = books.chunks.iter().map(|(chunk, cell)| (*chunk, changed(cell)));
        let dirs = books.dirs.iter().map(|(dir, cell)| (*dir, changed(cell)));
        Dirty {
            chunks: chunks.map(|(chunk, (cell, upto))| (chunk, cell, upto)).collect(),
            dirs: dirs.map(|(dir, (cell, upto))| (dir, cell, upto)).collect(),
            unnamed: books.has_unnamed().then_some(books.unnamed),
        }
    }

    /// All of this is durable now.
    pub fn synced(&self, dirty: Dirty) {
        let mut books = self.books.lock();
        for (chunk, cell, upto) in &dirty.chunks {
            retire(&mut books.chunks, chunk, cell, *upto);
        }
        for (dir, cell, upto) in &dirty.dirs {
            retire(&mut books.dirs, dir, cell, *upto);
        }
        if let Some(upto) = dirty.unnamed {
            books.unnamed_synced = books.unnamed_synced.max(upto);
        }
    }
}

/// Takes a cell out if nothing was changed since.
fn retire<K: Ord>(cells: &mut BTreeMap<K, Arc<Cell>>, key: &K, cell: &Arc<Cell>, upto: u64) {
    if cell.changed.load(SeqCst) == upto && cells.get(key).is_some_and(|known| Arc::ptr_eq(known, cell)) {
        cells.remove(key);
    }
}

impl Cell {
    /// Syncs unless another has done so meanwhile; up to which change it did.
    fn sync<E>(&self, sync: impl FnOnce() -> Result<(), E>) -> Result<Option<u64>, E> {
        let wanted = self.changed.load(SeqCst);
        let mut synced = self.synced.lock();
        if *synced >= wanted {
            return Ok(None);
        }
        let upto = self.changed.load(SeqCst);
        sync()?;
        *synced = upto;
        Ok(Some(upto))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNK: ChunkId = ChunkId { ino: Ino(1), index: 0 };

    fn syncs(ledger: &Ledger, chunk: ChunkId) -> bool {
        let mut called = false;
        let sync = || {
            called = true;
            Ok::<(), ()>(())
        };
        ledger.sync_chunk(chunk, sync).unwrap();
        called
    }

    #[test]
    fn clean_is_free_and_a_change_during_a_sync_is_not_lost() {
        let ledger = Ledger::default();
        assert!(!syncs(&ledger, CHUNK));
        ledger.chunk_changed(CHUNK);
        let sync = || {
            ledger.chunk_changed(CHUNK);
            Ok::<(), ()>(())
        };
        ledger.sync_chunk(CHUNK, sync).unwrap();
        assert!(syncs(&ledger, CHUNK));
        assert!(!syncs(&ledger, CHUNK));
    }

    #[test]
    fn what_an_earlier_life_left_is_not_durable_before_everything_was_synced() {
        let ledger = Ledger::opened();
        assert!(syncs(&ledger, CHUNK) && syncs(&ledger, CHUNK) && ledger.needs_entry(CHUNK));
        let all = ledger.dirty();
        assert!(!all.is_few(9), "nobody knows which");
        ledger.synced(all);
        assert!(!syncs(&ledger, CHUNK) && !ledger.needs_entry(CHUNK) && ledger.dirty().is_few(0));
    }

    #[test]
    fn a_changed_entry_is_remembered_until_the_chunk_is_synced() {
        let ledger = Ledger::default();
        ledger.chunk_changed(CHUNK);
        assert!(!ledger.needs_entry(CHUNK));
        ledger.entry_changed(CHUNK);
        ledger.chunk_changed(CHUNK);
        assert!(ledger.needs_entry(CHUNK));
        syncs(&ledger, CHUNK);
        assert!(!ledger.needs_entry(CHUNK));
    }

    #[test]
    fn a_failed_sync_leaves_it_dirty() {
        let ledger = Ledger::default();
        ledger.chunk_changed(CHUNK);
        assert_eq!(ledger.sync_chunk(CHUNK, || Err(5)), Err(5));
        assert!(syncs(&ledger, CHUNK));
    }

    #[test]
    fn who_comes_second_waits_for_the_first() {
        let ledger = Arc::new(Ledger::default());
        ledger.chunk_changed(CHUNK);
        let (begun, began) = std::sync::mpsc::channel();
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let first = std::thread::spawn({
            let ledger = Arc::clone(&ledger);
            move || {
                let slow = || {
                    begun.send(()).unwrap();
                    wait.recv().map_err(|_| ())
                };
                ledger.sync_chunk(CHUNK, slow).unwrap();
            }
        });
        began.recv().unwrap();
        let second = std::thread::spawn({
            let ledger = Arc::clone(&ledger);
            move || syncs(&ledger, CHUNK)
        });
        assert!(!second.is_finished());
        go.send(()).unwrap();
        first.join().unwrap();
        assert!(!second.join().unwrap(), "the first one's sync was good for both");
    }

    #[test]
    fn a_sync_of_everything_covers_what_was_there_before_it() {
        let ledger = Ledger::default();
        let other = ChunkId { index: 1, ..CHUNK };
        ledger.chunk_changed(CHUNK);
        ledger.chunk_changed(other);
        let dirty = ledger.dirty();
        ledger.chunk_changed(other);
        ledger.synced(dirty);
        assert!(!syncs(&ledger, CHUNK));
        assert!(syncs(&ledger, other));
    }

    #[test]
    fn beyond_the_bound_all_count_as_changed() {
        let ledger = Ledger::default();
        let chunk = |n: usize| ChunkId { ino: Ino(n as u64), index: 0 };
        (0..=DIRTY_CHUNKS_MAX).for_each(|n| ledger.chunk_changed(chunk(n)));
        assert!(syncs(&ledger, chunk(DIRTY_CHUNKS_MAX)));
        assert!(syncs(&ledger, chunk(DIRTY_CHUNKS_MAX + 5)), "it is not known whether it was changed");
        let dirty = ledger.dirty();
        assert!(!dirty.is_few(usize::MAX) && ledger.dirty_of(Ino(5)).is_none());
        ledger.synced(dirty);
        assert_eq!(ledger.dirty_of(Ino(5)), Some(vec![]));
        assert!(!syncs(&ledger, chunk(DIRTY_CHUNKS_MAX)));
    }
}
