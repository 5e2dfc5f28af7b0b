//! Durability: fsync of files and directories, and of everything.

use super::change_queue::Ticket;
use super::cluster::{ChunkAddress, Cluster};
use super::files::{File, OpenFile, Unsynced};
use super::{Shared, Vfs};
use raidfs_common::attr::Placement;
use raidfs_common::error::FsError;
use raidfs_common::id::{ChunkId, Ino};
use raidfs_common::limits::CHUNK_BYTES;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Chunks that one request syncs at most.
const SYNC_CHUNKS_MAX: usize = 512;

/// A sync waits for what was written to land.
struct Waits<'a>(&'a File);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.data.lock().waits -= 1;
    }
}

impl<C: Cluster> Vfs<C> {
    /// Returns once a file's bytes, and what is needed to reach them, are on stable storage.
    pub async fn fsync(&self, handle: u64) -> Result<(), FsError> {
        let open = self.0.handles.lock().file(handle)?;
        self.0.sync_file(&open).await
    }

    /// Returns once a directory's entries are on stable storage.
    pub async fn fsyncdir(&self, ino: Ino) -> Result<(), FsError> {
        let changed = self.0.names.lock().tree.node(ino).map_or(Ticket::MAX, |n| n.changed);
        self.0.names_durable(changed).await
    }

    /// Returns once everything that was written, and all changes of names, are on stable storage.
    pub async fn sync_all(&self) -> Result<(), FsError> {
        let mut late = Ok(());
        // A closed file whose bytes fly is told of nowhere else.
        let files: Vec<Arc<File>> = self.0.files.lock().values().cloned().collect();
        for file in &files {
            self.0.push_soon(file);
        }
        for file in &files {
            self.0.landed(file).await;
            self.0.report_written(file.ino);
            late = late.and(file.data.lock().late.unseen());
        }
        self.0.send_atimes();
        let last = self.0.names.lock().queue.last();
        let (bytes, names) = futures::join!(self.0.bytes_durable(), self.0.names_durable(last));
        late.and(bytes).and(names)
    }
}

impl<C: Cluster> Shared<C> {
    /// Has all bytes that have landed on stable storage.
    async fn bytes_durable(&self) -> Result<(), FsError> {
        if !self.unsynced.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let synced = self.cluster.sync_whole(None).await;
        synced.inspect_err(|_| self.unsynced.store(true, Ordering::Relaxed))
    }

    /// Returns once the bytes of a handle's file, and what is needed to reach them, are on stable storage.
    pub(super) async fn sync_file(self: &Arc<Self>, open: &OpenFile) -> Result<(), FsError> {
        let file = &open.file;
        {
            let mut state = file.data.lock();
            state.rhythm.synced();
            state.waits += 1;
        }
        let waits = Waits(file);
        self.landed(file).await;
        drop(waits);
        let (placement, mine, unsynced) = {
            let mut state = file.data.lock();
            state.late.tell(&mut open.told.lock())?;
            if self.names.lock().tree.node(file.ino).is_some_and(|n| n.attr.size > n.sent || n.blocks != 0) {
                self.report(file.ino, &state.behind);
            }
            let mine = Arc::new(std::mem::replace(&mut state.unsynced, Unsynced::none()));
            // What another sync has begun with is not durable before that one has ended.
            let unsynced = state.syncing.iter().fold((*mine).clone(), |all, other| all.and(other));
            state.syncing.push(mine.clone());
            (state.placement, mine, unsynced)
        };
        let (size, changed) =
            self.names.lock().tree.node(file.ino).map_or((0, Ticket::MAX), |n| (n.attr.size, n.changed));
        let bytes = self.sync_bytes(file.ino, placement, &unsynced, size);
        let names = self.names_durable(changed);
        let (bytes, names) = futures::join!(bytes, names);
        {
            let mut state = file.data.lock();
            state.syncing.retain(|other| !Arc::ptr_eq(other, &mine));
            if bytes.is_err() {
                state.unsynced = Unsynced::All;
            }
        }
        bytes.and(names)
    }

    async fn sync_bytes(
        &self,
        ino: Ino,
        placement: Option<Placement>,
        unsynced: &Unsynced,
        size: u64,
    ) -> Result<(), FsError> {
        let Some(placement) = placement else { return Ok(()) };
        let chunks: Vec<u32> = match unsynced {
            Unsynced::Chunks(chunks) => chunks.iter().copied().collect(),
            // A file may be almost nothing but holes: the servers know which of its chunks there are.
            Unsynced::All if size.div_ceil(CHUNK_BYTES) > SYNC_CHUNKS_MAX as u64 => {
                return self.cluster.sync_whole(Some(ino)).await;
            }
            Unsynced::All => (0..size.div_ceil(CHUNK_BYTES) as u32).collect(),
        };
        for part in chunks.chunks(SYNC_CHUNKS_MAX) {
            let address = |index: &u32| ChunkAddress { chunk: ChunkId { ino, index: *index }, placement };
            self.cluster.sync_chunks(part.iter().map(address).collect()).await?;
        }
        Ok(())
    }

    /// Returns once all changes up to `ticket` are on stable storage on a quorum. Tells the first error of a change
    /// that was answered before it was made.
    pub(super) async fn names_durable(self: &Arc<Self>, ticket: Ticket) -> Result<(), FsError> {
        let ticket = ticket.min(self.names.lock().queue.last());
        self.settled(ticket).await;
        if let Some(error) = self.names.lock().late.take() {
            return Err(error);
        }
        if self.durable.load(Ordering::Acquire) >= ticket {
            return Ok(());
        }
        let covered = self.names.lock().queue.settled();
        self.cluster.barrier().await?;
        self.durable.fetch_max(covered, Ordering::AcqRel);
        Ok(())
    }
}
