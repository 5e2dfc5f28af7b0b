//! The chunks of one server as files: opening them, the lock of each, making them durable. What is done to an open chunk
//! is in the files below.
//!
//! Every operation on a chunk goes through its `open_files::OpenFile` and holds its lock: shared to read, exclusive to
//! change. In memory lies what the footer on disk says (or would, for the store is poisoned when it could not be
//! written). No lock of a chunk is held while another's is taken, nor during a sync. Driven by the server's blocking
//! threads; only `read_cached` may be called where blocking is not allowed.

mod census;
mod change;
pub(super) mod check;
mod copy;
mod ledger;
mod lose;
mod open_files;
mod remove;
mod room;
mod told;
mod walk;

use super::format::{FOOTER_AT, FOOTER_BYTES, Footer};
use super::layout::{self, Dir};
use super::notes::Notes;
use super::poison::Poison;
use super::salvage::Salvage;
use super::{ChunkError, ChunkStore, Intent, io};
use bytes::Bytes;
use census::Census;
use ledger::Ledger;
use open_files::{Open, OpenFile, OpenFiles, State};
use parking_lot::RwLockWriteGuard;
use raidfs_common::id::{ChunkId, Ino};
use raidfs_common::limits::CHUNK_BYTES;
use raidfs_common::pair::Space;
use raidfs_common::rpc::chunks::{Applied, ChunkCopy, ChunkSummary};
use room::Room;
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use told::Told;

/// Open chunk files that nobody uses at the moment are kept up to this number, fewer if the process may not open twice
/// as many files.
const OPEN_FILES_MAX: u64 = 4096;
/// More changed files than this are made durable by syncing the whole file system.
const SYNC_EACH_MAX: usize = 32;

/// The chunks of one server, on disk.
#[derive(Debug)]
pub struct DiskChunks {
    disk: Disk,
    notes: Notes,
}

/// The same without the notes.
#[derive(Debug)]
struct Disk {
    root: PathBuf,
    dir: File,
    files: OpenFiles,
    ledger: Ledger,
    room: Room,
    census: Census,
    poison: Arc<Poison>,
    told: Told,
    /// On this file system, syncing a new file makes its name durable, too.
    names_follow: bool,
}

impl DiskChunks {
    /// Opens the chunks in `chunks` with their notes in `notes`; both directories must be there.
    pub fn open(chunks: &Path, notes: &Path) -> Result<DiskChunks, ChunkError> {
        let capacity = OPEN_FILES_MAX.min(io::raise_open_files() / 2) as usize;
        DiskChunks::open_with(chunks, notes, capacity)
    }

    pub(in crate::chunk) fn open_with(
        chunks: &Path,
        notes: &Path,
        open_files: usize,
    ) -> Result<DiskChunks, ChunkError> {
        let failed = |source| ChunkError::Store { action: "open the directory of chunks", source };
        let dir = File::open(chunks).map_err(failed)?;
        let names_follow = io::names_follow_files(&dir).map_err(failed)?;
        let poison = Arc::new(Poison::default());
        let disk = Disk {
            root: chunks.to_owned(),
            room: Room::new(dir.try_clone().map_err(failed)?),
            dir,
            files: OpenFiles::new(open_files),
            ledger: Ledger::opened(),
            census: Census::default(),
            names_follow,
            told: Told::default(),
            poison: Arc::clone(&poison),
        };
        disk.count()?;
        let notes = Notes::open(notes, poison)?;
        Ok(DiskChunks { disk, notes })
    }
}

impl Disk {
    /// Calls `look` with the chunk, open, or None if there is none.
    fn reading<T>(
        &self,
        chunk: ChunkId,
        look: impl FnOnce(Option<&Open>) -> Result<T, ChunkError>,
    ) -> Result<T, ChunkError> {
        let held = self.files.get(chunk);
        let mut state = held.state.read();
        if matches!(*state, State::Unknown) {
            drop(state);
            let mut unknown = held.state.write();
            self.load(chunk, &mut unknown)?;
            state = RwLockWriteGuard::downgrade(unknown);
        }
        match &*state {
            State::Open(open) => look(Some(open)),
            _ => look(None),
        }
    }

    /// Calls `change` with the chunk, which is open or absent; nobody else reads or changes it meanwhile.
    fn changing<T>(
        &self,
        chunk: ChunkId,
        change: impl FnOnce(&mut State) -> Result<T, ChunkError>,
    ) -> Result<T, ChunkError> {
        self.poison.check()?;
        let held: Arc<OpenFile> = self.files.get(chunk);
        let mut state = held.state.write();
        self.load(chunk, &mut state)?;
        let result = change(&mut state);
        let absent = matches!(*state, State::Absent);
        drop(state);
        if absent {
            self.files.forget(chunk, held);
        }
        result
    }

    /// Finds out what there is of a chunk.
    fn load(&self, chunk: ChunkId, state: &mut State) -> Result<(), ChunkError> {
        if !matches!(state, State::Unknown) {
            return Ok(());
        }
        if chunk.ino >= self.census.high_water() {
            *state = State::Absent;
            return Ok(());
        }
        *state = self.open(chunk)?.map_or(State::Absent, State::Open);
        Ok(())
    }

    /// The chunk as it is on disk now; None if there is no such file.
    fn open(&self, chunk: ChunkId) -> Result<Option<Open>, ChunkError> {
        let failed = |source| ChunkError::Disk { action: "open", chunk, source };
        let file = match OpenOptions::new().read(true).write(true).open(layout::path(&self.root, chunk)) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(failed(e)),
        };
        let bytes = io::read_up_to(&file, FOOTER_AT, FOOTER_BYTES).map_err(failed)?;
        let footer = Footer::decode(chunk, &bytes);
        match &footer {
            Ok(_) => self.told.is_whole(chunk),
            Err(reason) if self.told.is_news(chunk) => tracing::warn!("chunk {chunk} is damaged: {reason}"),
            Err(_) => {}
        }
        Ok(Some(Open { file: Arc::new(file), footer }))
    }

    /// What a failed change or sync means: no room, or a disk that is not to be trusted any more.
    fn failed(&self, action: &'static str, chunk: ChunkId, source: std::io::Error) -> ChunkError {
        if io::is_full(&source) { ChunkError::Full { chunk } } else { self.broken(action, chunk, source) }
    }

    /// What a failed change means that cannot be undone.
    fn broken(&self, action: &'static str, chunk: ChunkId, source: std::io::Error) -> ChunkError {
        self.poison.set_unless_short(&format!("{action} chunk {chunk}"), &source);
        ChunkError::Disk { action, chunk, source }
    }

    fn sync(&self, chunks: &[ChunkId]) -> Result<(), ChunkError> {
        if chunks.len() > SYNC_EACH_MAX { self.sync_all() } else { self.sync_each(chunks) }
    }

    fn sync_each(&self, chunks: &[ChunkId]) -> Result<(), ChunkError> {
        self.poison.check()?;
        // The directories first: a chunk that is clean was synced with its entry.
        self.sync_dirs(chunks.iter().filter(|chunk| self.ledger.needs_entry(**chunk)).flat_map(|c| with_parents(*c)))?;
        self.start_write_back(chunks.iter().copied())?;
        for &chunk in chunks {
            self.sync_chunk(chunk)?;
        }
        // Another thread's sync may have failed while this one found nothing left to do.
        self.poison.check()
    }

    fn sync_chunks_of(&self, ino: Ino) -> Result<(), ChunkError> {
        match self.ledger.dirty_of(ino) {
            Some(chunks) => self.sync(&chunks),
            None => self.sync_all(),
        }
    }

    /// Of a cut's chunks one is left at most, however many there were: the others cost no more than their directory.
    fn sync_cut(&self, ino: Ino, size: u64) -> Result<(), ChunkError> {
        let first = (size / CHUNK_BYTES) as u32;
        match self.ledger.dirty_of(ino) {
            Some(mut chunks) => {
                chunks.retain(|chunk| chunk.index >= first);
                self.sync_each(&chunks)
            }
            None => self.sync_all(),
        }
    }

    fn sync_all(&self) -> Result<(), ChunkError> {
        self.poison.check()?;
        let dirty = self.ledger.dirty();
        if dirty.is_few(SYNC_EACH_MAX) {
            self.sync_dirs(dirty.dirs())?;
            self.start_write_back(dirty.chunks())?;
            for chunk in dirty.chunks() {
                self.sync_chunk(chunk)?;
            }
        } else {
            io::sync_file_system(&self.dir).map_err(|source| self.store_broken("sync all chunks", source))?;
            self.ledger.synced(dirty);
        }
        self.poison.check()
    }

    /// Has the disk begin with all of several chunks before the first is waited for.
    fn start_write_back(&self, chunks: impl Iterator<Item = ChunkId>) -> Result<(), ChunkError> {
        let dirty: Vec<ChunkId> = chunks.filter(|chunk| self.ledger.is_dirty(*chunk)).collect();
        if dirty.len() > 1 {
            for chunk in dirty {
                self.reading(chunk, |open| Ok(open.map(|open| io::start_write_back(&open.file))))?;
            }
        }
        Ok(())
    }

    /// Unless the chunk is clean.
    fn sync_chunk(&self, chunk: ChunkId) -> Result<(), ChunkError> {
        self.ledger.sync_chunk(chunk, || {
            self.sync_file(chunk)?;
            // It may have been replaced since its directories were synced.
            if self.ledger.needs_entry(chunk) {
                self.sync_dirs(with_parents(chunk))?;
            }
            Ok(())
        })
    }

    fn sync_file(&self, chunk: ChunkId) -> Result<(), ChunkError> {
        let file = self.reading(chunk, |open| Ok(open.map(|open| Arc::clone(&open.file))))?;
        let Some(file) = file else { return Ok(()) };
        io::sync_data(&file).map_err(|source| self.broken("sync", chunk, source))
    }

    /// Those of these that are not durable, each once.
    fn sync_dirs(&self, dirs: impl Iterator<Item = Dir>) -> Result<(), ChunkError> {
        for dir in dirs.collect::<BTreeSet<Dir>>() {
            self.ledger.sync_dir(dir, || {
                let synced = match File::open(layout::dir_path(&self.root, dir)) {
                    Ok(dir) => io::sync_all(&dir),
                    // It was removed since, and the directory above has it to tell.
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
                    Err(e) => Err(e),
                };
                synced.map_err(|source| self.store_broken("sync a directory of chunks", source))
            })?;
        }
        Ok(())
    }

    fn store_broken(&self, action: &'static str, source: std::io::Error) -> ChunkError {
        self.poison.set_unless_short(action, &source);
        ChunkError::Store { action, source }
    }
}

/// The directory of a chunk, the one that it is in, and so on up to the root.
fn with_parents(chunk: ChunkId) -> impl Iterator<Item = Dir> {
    std::iter::successors(Some(layout::dir_of(chunk)), |dir| layout::parent(*dir))
}

impl ChunkStore for DiskChunks {
    fn write(&self, chunk: ChunkId, offset: u32, data: &[u8]) -> Result<Applied, ChunkError> {
        self.disk.write(chunk, offset, data)
    }

    fn punch(&self, chunk: ChunkId, offset: u32, length: u32) -> Result<Applied, ChunkError> {
        self.disk.punch(chunk, offset, length)
    }

    fn allocate(&self, chunk: ChunkId, offset: u32, length: u32) -> Result<Applied, ChunkError> {
        self.disk.allocate(chunk, offset, length)
    }

    fn read(&self, chunk: ChunkId, offset: u32, length: u32) -> Result<Bytes, ChunkError> {
        self.disk.read(chunk, offset, length)
    }

    fn read_cached(&self, chunk: ChunkId, offset: u32, length: u32) -> Option<Result<Bytes, ChunkError>> {
        self.disk.read_cached(chunk, offset, length)
    }

    fn sync(&self, chunks: &[ChunkId]) -> Result<(), ChunkError> {
        self.disk.sync(chunks)
    }

    fn sync_file(&self, ino: Ino) -> Result<(), ChunkError> {
        self.disk.sync_chunks_of(ino)
    }

    fn sync_cut(&self, ino: Ino, size: u64) -> Result<(), ChunkError> {
        self.disk.sync_cut(ino, size)
    }

    fn sync_all(&self) -> Result<(), ChunkError> {
        self.disk.sync_all()
    }

    fn extents(&self, chunk: ChunkId) -> Result<(u32, Vec<(u16, u16)>), ChunkError> {
        self.disk.extents(chunk)
    }

    fn export(&self, chunk: ChunkId, never_synced: bool) -> Result<Option<ChunkCopy>, ChunkError> {
        self.disk.export(chunk, never_synced)
    }

    fn salvage(&self, chunk: ChunkId) -> Result<Option<Salvage>, ChunkError> {
        self.disk.salvage(chunk)
    }

    fn import(&self, chunk: ChunkId, copy: Option<&ChunkCopy>) -> Result<(), ChunkError> {
        self.disk.import(chunk, copy)
    }

    fn lose(&self, chunk: ChunkId, bytes: u32) -> Result<(), ChunkError> {
        self.disk.lose(chunk, bytes)
    }

    fn may_have_lost(&self, chunk: ChunkId) -> bool {
        self.disk.may_have_lost(chunk)
    }

    fn cut(&self, ino: Ino, size: u64, most: usize) -> Result<usize, ChunkError> {
        self.disk.cut(ino, size, most)
    }

    fn reap(&self, ino: Ino, most: usize) -> Result<usize, ChunkError> {
        self.disk.reap(ino, most)
    }

    fn list(&self, after: Option<ChunkId>, limit: usize) -> Result<Vec<ChunkId>, ChunkError> {
        self.disk.list(after, limit)
    }

    fn summary(&self, chunk: ChunkId, deep: bool) -> Result<Option<ChunkSummary>, ChunkError> {
        self.disk.summary(chunk, deep)
    }

    fn check(&self, chunk: ChunkId) -> Result<Option<ChunkSummary>, ChunkError> {
        self.disk.check(chunk)
    }

    fn held(&self) -> (u64, u64) {
        self.disk.census.held()
    }

    fn space(&self) -> Result<Space, ChunkError> {
        self.disk.room.space().map_err(|source| ChunkError::Store { action: "ask for the disk's free space", source })
    }

    fn is_trusted(&self) -> bool {
        self.disk.poison.check().is_ok()
    }

    fn is_in_doubt(&self) -> bool {
        self.disk.poison.is_in_doubt()
    }

    fn file_system(&self) -> u64 {
        self.disk.room.file_system()
    }

    fn note(&self, chunk: ChunkId) -> Result<Intent, ChunkError> {
        self.notes.note(chunk)
    }

    fn noted(&self, after: Option<ChunkId>, limit: usize) -> Result<Vec<ChunkId>, ChunkError> {
        self.notes.noted(after, limit, |after, limit| self.disk.list(after, limit))
    }

    fn high_water(&self) -> Ino {
        self.notes.high_water()
    }

    fn note_everything(&self) -> Result<(), ChunkError> {
        self.notes.begin(|_| Ino(0))
    }

    fn begin_notes(&self) -> Result<(), ChunkError> {
        self.notes.begin(|newest| newest.max(self.disk.census.high_water()))?;
        self.disk.sync_all()
    }

    fn drop_notes(&self) -> Result<(), ChunkError> {
        self.notes.drop_old()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::conformance::{bytes, chunk, on_disk};
    use crate::chunk::io::{Call, fault};

    #[test]
    fn a_chunk_that_is_replaced_while_it_is_synced_is_synced_with_its_name() {
        let (store, _dir) = on_disk();
        let c = chunk(5, 0);
        store.write(c, 0, &bytes(1, 100)).unwrap();
        store.sync_all().unwrap();
        let copy = store.export(c, false).unwrap();
        // As between a sync's look at the directories and its turn at the chunk.
        store.import(c, copy.as_ref()).unwrap();
        store.disk.sync_chunk(c).unwrap();
        fault::plan(Call::Sync, 0, libc::EIO);
        store.sync_all().unwrap();
        assert_eq!(fault::left(), 1, "nothing was left to be synced");
        fault::clear();
    }
}
