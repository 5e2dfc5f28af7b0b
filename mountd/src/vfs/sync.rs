//! Durability: fsync of files and directories, and of everything.

use super::change_queue::Ticket;
use super::cluster::{ChunkAddress, Cluster};
use super::files::{Chunks, Counted, File, OpenFile, Unsynced};
use super::late::LateNames;
use super::losses::Left;
use super::stop::{self, unless_stopped, waits_unless_stopped};
use super::{Shared, Vfs};
use raidfs_common::attr::Placement;
use raidfs_common::error::FsError;
use raidfs_common::id::{ChunkId, Ino};
use raidfs_common::limits::CHUNK_BYTES;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Chunks that one request syncs at most.
const SYNC_CHUNKS_MAX: usize = 512;

impl<C: Cluster> Vfs<C> {
    /// Returns once a file's bytes, and what is needed to reach them, are on stable storage.
    pub async fn fsync(&self, handle: u64) -> Result<(), FsError> {
        let open = self.0.handles.lock().file(handle)?;
        self.0.sync_file(&open).await
    }

    /// Returns once a directory's entries are on stable storage.
    pub async fn fsyncdir(&self, handle: u64) -> Result<(), FsError> {
        let dir = self.0.handles.lock().dir(handle)?;
        let changed = self.0.names.lock().tree.node(dir.ino).map_or(Ticket::MAX, |n| n.changed);
        self.0.names_durable(changed, |late| late.tell(dir.ino, &mut dir.told.lock())).await
    }

    /// Whether each change of names and attributes is on stable storage before it is answered, from now on.
    pub fn set_synchronous(&self, synchronous: bool) {
        self.0.synchronous.store(synchronous, Ordering::Relaxed);
    }

    /// Returns once everything that was written, and all changes of names, are on stable storage.
    pub async fn sync_all(&self) -> Result<(), FsError> {
        self.sync_all_and(LateNames::tell_all).await
    }

    /// The same for who is no program: what it returns, every program is told all the same.
    pub async fn sync_all_aside(&self) -> Result<(), FsError> {
        self.sync_all_and(|late| late.unseen()).await
    }

    async fn sync_all_and(&self, tell: fn(&mut LateNames) -> Result<(), FsError>) -> Result<(), FsError> {
        let mut told = Ok(());
        loop {
            let mark = self.0.cluster.loss_mark();
            self.0.make_up_for_all();
            // What is told once is told, though everything begins anew.
            told = told.and(self.0.sync_all_once(tell).await);
            if self.0.cluster.loss_mark() == mark {
                return told;
            }
        }
    }
}

impl<C: Cluster> Shared<C> {
    async fn sync_all_once(self: &Arc<Self>, tell: fn(&mut LateNames) -> Result<(), FsError>) -> Result<(), FsError> {
        let mut late = Ok(());
        // A closed file whose bytes fly is told of nowhere else.
        let files: Vec<Arc<File>> = self.files.lock().values().cloned().collect();
        for file in &files {
            self.push_soon(file);
        }
        let mut landings = Vec::with_capacity(files.len());
        for file in &files {
            self.landed(file).await;
            self.report_written(file.ino);
            let state = file.data.lock();
            late = late.and(state.late.unseen());
            landings.push(state.retained.last());
        }
        self.send_atimes();
        let last = self.names.lock().queue.last();
        let mark = self.cluster.loss_mark();
        let (bytes, names) = futures::join!(self.bytes_durable(), self.names_durable(last, tell));
        if bytes.is_ok() && self.cluster.loss_mark() == mark {
            files.iter().zip(landings).for_each(|(file, until)| self.is_stored(file, until));
        }
        late.and(bytes).and(names)
    }

    /// Has all bytes that have landed on stable storage.
    async fn bytes_durable(&self) -> Result<(), FsError> {
        let _one = self.syncing.lock().await;
        if !self.unsynced.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let left = std::mem::take(&mut *self.left_unsynced.lock());
        let synced = self.cluster.sync_whole(None).await;
        if synced.is_err() {
            self.unsynced.store(true, Ordering::Relaxed);
            self.left_unsynced.lock().extend(left);
            return synced;
        }
        match left.since().is_some_and(|since| self.cluster.loss_mark() > since) {
            true => {
                tracing::warn!(
                    "both servers of a pair lost power, or are gone for good: of what was written to files that were closed, and not synced, something may be lost"
                );
                Err(FsError::Io)
            }
            false => {
                self.are_stored(&left);
                Ok(())
            }
        }
    }

    /// Files that nobody has opened since are on stable storage: nothing of them can be lost any more.
    fn are_stored(&self, left: &Left) {
        let files = self.files.lock();
        let mut names = self.names.lock();
        let again = self.left_unsynced.lock();
        for ino in left.known().filter(|ino| !files.contains_key(ino) && !again.has(*ino)) {
            if let Some(node) = names.tree.node(ino) {
                node.unsynced_since = None;
            }
        }
    }

    /// Returns once the bytes of a handle's file, and what is needed to reach them, are on stable storage.
    pub(super) async fn sync_file(self: &Arc<Self>, open: &OpenFile) -> Result<(), FsError> {
        open.file.data.lock().rhythm.synced();
        while !self.try_sync(open).await? {
            self.make_up(&open.file);
        }
        Ok(())
    }

    /// One try; false if what it made durable was not everything any more.
    async fn try_sync(self: &Arc<Self>, open: &OpenFile) -> Result<bool, FsError> {
        let file = &open.file;
        let waits = Counted::begin(file, |state| &mut state.waits);
        waits_unless_stopped(self.landed(file)).await?;
        drop(waits);
        let (placement, mine, unsynced, landing) = {
            stop::check()?;
            let mut state = file.data.lock();
            state.late.tell(&mut open.told.lock())?;
            if self.names.lock().tree.node(file.ino).is_some_and(|n| n.attr.size > n.sent || n.blocks != 0) {
                self.report(file.ino, &state.behind);
            }
            let mine = Arc::new(std::mem::replace(&mut state.unsynced, Unsynced::none()));
            // What another sync has begun with is not durable before that one has ended.
            state.syncing.push(mine.clone());
            (state.placement, mine, state.all_unsynced(), state.retained.last())
        };
        let (size, changed) =
            self.names.lock().tree.node(file.ino).map_or((0, Ticket::MAX), |n| (n.attr.size, n.changed));
        let bytes = unless_stopped(self.sync_bytes(file.ino, placement, &unsynced, size));
        let names = unless_stopped(self.names_stored(changed));
        let (bytes, names) = futures::join!(bytes, names);
        let lost = {
            let mut state = file.data.lock();
            let lost = self.is_lost(file.ino, &state, &unsynced);
            state.syncing.retain(|other| !Arc::ptr_eq(other, &mine));
            if bytes.is_err() || lost {
                state.unsynced = state.unsynced.clone().and(&mine);
            }
            lost
        };
        // Nobody hears what is told to who was stopped.
        stop::check()?;
        let told = self.names.lock().late.tell(file.ino, &mut open.told_names.lock());
        bytes.and(told).and(names)?;
        if !lost {
            self.is_stored(file, landing);
        }
        Ok(!lost)
    }

    async fn sync_bytes(
        &self,
        ino: Ino,
        placement: Option<Placement>,
        unsynced: &Unsynced,
        size: u64,
    ) -> Result<(), FsError> {
        let Some(placement) = placement else { return Ok(()) };
        let chunks: Vec<u32> = match &unsynced.chunks {
            Chunks::These(chunks) => chunks.iter().copied().collect(),
            // A file may be almost nothing but holes: the servers know which of its chunks there are.
            Chunks::All if size.div_ceil(CHUNK_BYTES) > SYNC_CHUNKS_MAX as u64 => {
                return self.cluster.sync_whole(Some(ino)).await;
            }
            Chunks::All => (0..size.div_ceil(CHUNK_BYTES) as u32).collect(),
        };
        for part in chunks.chunks(SYNC_CHUNKS_MAX) {
            let address = |index: &u32| ChunkAddress { chunk: ChunkId { ino, index: *index }, placement };
            self.cluster.sync_chunks(part.iter().map(address).collect()).await?;
        }
        Ok(())
    }

    /// Returns once all changes up to `ticket` are on stable storage on a quorum. `tell` tells errors of changes that were
    /// answered before they were made.
    async fn names_durable(
        self: &Arc<Self>,
        ticket: Ticket,
        tell: impl FnOnce(&mut LateNames) -> Result<(), FsError>,
    ) -> Result<(), FsError> {
        let stored = unless_stopped(self.names_stored(ticket)).await;
        // Nobody hears what is told to who was stopped.
        stop::check()?;
        let told = tell(&mut self.names.lock().late);
        told.and(stored)
    }

    /// The same where nobody is to be told of what others' changes came to.
    pub(super) async fn names_stored(&self, ticket: Ticket) -> Result<(), FsError> {
        let ticket = ticket.min(self.names.lock().queue.last());
        self.settled(ticket).await;
        if self.durable.load(Ordering::Acquire) >= ticket {
            return Ok(());
        }
        let covered = self.names.lock().queue.settled();
        self.cluster.barrier().await?;
        self.durable.fetch_max(covered, Ordering::AcqRel);
        Ok(())
    }
}
