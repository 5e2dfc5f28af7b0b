//! Write intents: which chunks may differ between the mirrors, known after any crash.
//!
//! [`book`] decides (generations, marks, what counts as noted); `file` is the format; this file writes them, in groups:
//! while one thread syncs, others add their chunks, and the next sync is for all of them. A generation is one file,
//! removed when it is dropped. Driven by the chunk store. It never lists chunks itself and never touches them.

pub mod book;
mod file;

use super::poison::Poison;
use super::{ChunkError, Intent};
use book::Book;
use file::NoteFile;
use parking_lot::{Condvar, Mutex};
use raidfs_common::id::{ChunkId, Ino};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The notes of one store.
#[derive(Debug)]
pub struct Notes {
    dir: PathBuf,
    state: Mutex<State>,
    changed: Condvar,
    poison: Arc<Poison>,
}

#[derive(Debug)]
struct State {
    book: Book,
    /// Not durable yet.
    pending: BTreeSet<ChunkId>,
    /// The newest generation's file; away while one thread writes it.
    file: Option<NoteFile>,
}

impl Notes {
    /// Opens the notes in `dir`, which must be there; without any, everything counts as noted.
    pub fn open(dir: &Path, poison: Arc<Poison>) -> Result<Notes, ChunkError> {
        let failed = |source| ChunkError::Store { action: "read the write intents", source };
        let mut book = Book::default();
        for (number, notes) in file::load(dir).map_err(failed)? {
            book.restore(number, notes.mark, notes.chunks);
        }
        // A new file each time: nothing is ever appended behind a torn record.
        let (number, mark) = (book.next_number(), book.newest_mark());
        let file = NoteFile::create(dir, number, mark).map_err(failed)?;
        book.begin(number, mark);
        let state = State { book, pending: BTreeSet::new(), file: Some(file) };
        Ok(Notes { dir: dir.to_owned(), state: Mutex::new(state), changed: Condvar::new(), poison })
    }

    /// See [`super::ChunkStore::note`].
    pub fn note(&self, chunk: ChunkId) -> Result<Intent, ChunkError> {
        let mut state = self.state.lock();
        loop {
            if let Some(intent) = state.book.intent(chunk) {
                return Ok(intent);
            }
            self.poison.check()?;
            let ahead = state.book.ahead(chunk);
            state.pending.insert(chunk);
            state.pending.extend(ahead);
            let Some(mut file) = state.file.take() else {
                self.changed.wait(&mut state);
                continue;
            };
            let chunks = std::mem::take(&mut state.pending);
            drop(state);
            let written = file.append(&chunks);
            state = self.state.lock();
            state.file = Some(file);
            match written {
                Ok(()) => state.book.record(chunks),
                Err(source) => self.poison.set_unnoted("write an intent", &source),
            }
            self.changed.notify_all();
        }
    }

    /// See [`super::ChunkStore::noted`]; `list` lists chunks above one, in order.
    pub fn noted(
        &self,
        after: Option<ChunkId>,
        limit: usize,
        list: impl FnOnce(Option<ChunkId>, usize) -> Result<Vec<ChunkId>, ChunkError>,
    ) -> Result<Vec<ChunkId>, ChunkError> {
        let (mut chunks, mark) = {
            let state = self.state.lock();
            (state.book.named(after, limit), state.book.high_water())
        };
        if chunks.len() < limit {
            let before_mark = ChunkId { ino: mark, index: 0 }.before();
            chunks.extend(list(after.max(before_mark), limit - chunks.len())?);
        }
        Ok(chunks)
    }

    /// See [`super::ChunkStore::high_water`].
    pub fn high_water(&self) -> Ino {
        self.state.lock().book.high_water()
    }

    /// Starts a generation whose high-water mark is what `mark` makes of the one before's, once nobody notes anything in
    /// that one.
    pub fn begin(&self, mark: impl FnOnce(Ino) -> Ino) -> Result<(), ChunkError> {
        self.poison.check()?;
        let mut state = self.state.lock();
        let old = loop {
            match state.file.take() {
                Some(file) => break file,
                None => self.changed.wait(&mut state),
            }
        };
        let (number, mark) = (state.book.next_number(), mark(state.book.newest_mark()));
        drop(state);
        let created = NoteFile::create(&self.dir, number, mark);
        let mut state = self.state.lock();
        let result = match created {
            Ok(file) => {
                state.file = Some(file);
                state.book.begin(number, mark);
                Ok(())
            }
            Err(source) => {
                state.file = Some(old);
                self.poison.set_unnoted("write an intent", &source);
                Err(ChunkError::Store { action: "begin new write intents", source })
            }
        };
        self.changed.notify_all();
        result
    }

    /// See [`super::ChunkStore::drop_notes`].
    pub fn drop_old(&self) -> Result<(), ChunkError> {
        self.poison.check()?;
        let dropped = self.state.lock().book.drop_settled();
        for number in dropped {
            file::remove(&self.dir, number)
                .map_err(|source| ChunkError::Store { action: "drop old write intents", source })?;
        }
        Ok(())
    }
}
