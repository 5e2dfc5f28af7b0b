//! What happens when both servers of a pair lose power: bytes that had landed and were not synced are gone. What is still
//! here of them ([`super::retained`]) is sent once more; who wrote the rest is told at the next fsync or close.
//!
//! A sync that returned after the loss has made durable what was left. So each sync ends with a look at the losses since
//! the oldest of its bytes were sent, and begins anew if there was one.

use super::Shared;
use super::cluster::{ChunkAddress, Cluster, LossMark};
use super::files::{Chunks, File, FileData, Unsynced};
use super::retained::{Landing, Retained};
use raidfs_common::error::FsError;
use raidfs_common::id::{ChunkId, Ino};
use raidfs_common::limits::CHUNK_BYTES;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Bytes of all files together that are kept to be sent once more.
const ALL_RETAINED_BYTES_MAX: usize = 32 << 20;
/// A file's chunks lie on the pairs in turn: if none of so many was lost, none was.
const LOOKED_AT_MAX: u64 = 1024;

impl<C: Cluster> Shared<C> {
    /// Changes what is retained of a file; the change is told whether there is room for more.
    pub(super) fn retain(&self, state: &mut FileData, change: impl FnOnce(&mut Retained, bool)) {
        let before = state.retained.bytes();
        let room = self.retained.load(Ordering::Relaxed) < ALL_RETAINED_BYTES_MAX;
        change(&mut state.retained, room);
        self.retained.fetch_add(state.retained.bytes(), Ordering::Relaxed);
        self.retained.fetch_sub(before, Ordering::Relaxed);
    }

    /// Everything of a file that had landed by then is on stable storage.
    pub(super) fn is_stored(&self, file: &File, until: Landing) {
        self.retain(&mut file.data.lock(), |retained, _| retained.synced(until));
    }

    /// Whether some of this may be gone though it was acknowledged.
    pub(super) fn is_lost(&self, ino: Ino, state: &FileData, unsynced: &Unsynced) -> bool {
        let (Some(since), Some(placement)) = (unsynced.since, state.placement) else { return false };
        if self.cluster.loss_mark() <= since || state.doomed {
            return false;
        }
        let lost = |index| self.cluster.lost_since(since, ChunkAddress { chunk: ChunkId { ino, index }, placement });
        match &unsynced.chunks {
            Chunks::These(chunks) => chunks.iter().copied().any(lost),
            Chunks::All => {
                let size = self.names.lock().tree.node(ino).map_or(u64::MAX, |node| node.attr.size);
                (0..size.div_ceil(CHUNK_BYTES).min(LOOKED_AT_MAX) as u32).any(lost)
            }
        }
    }

    /// Makes up for what was lost of a file, if anything was: has it sent once more, or tells of it.
    pub(super) fn make_up(self: &Arc<Self>, file: &Arc<File>) {
        let now = Instant::now();
        {
            let mut state = file.data.lock();
            if !self.is_lost(file.ino, &state, &state.all_unsynced()) {
                return;
            }
            state.unsynced.since = state.unsynced.since.map(|_| self.cluster.loss_mark());
            let mut again = None;
            self.retain(&mut state, |retained, _| again = retained.take());
            let before = state.behind.bytes();
            match again {
                Some(pieces) => pieces.iter().for_each(|(start, bytes)| state.behind.write_older(*start, bytes, now)),
                None if state.late.happened(FsError::Io, None) => tracing::warn!(
                    "both servers of a pair lost power, or are gone for good: what was written to inode {} since its last sync may be lost",
                    file.ino
                ),
                None => {}
            }
            self.pusher.kept(state.behind.bytes() - before);
        }
        self.push_until(file, now, false);
    }

    /// Makes up for what was lost of all files.
    pub(super) fn make_up_for_all(self: &Arc<Self>) {
        let files: Vec<Arc<File>> = self.files.lock().values().cloned().collect();
        files.iter().for_each(|file| self.make_up(file));
    }

    /// Makes up for losses as they happen, for as long as the vfs is open.
    pub(super) async fn watch_losses(self: Arc<Self>) {
        let mut mark = self.cluster.loss_mark();
        loop {
            let closing = self.closing.notified();
            if self.is_closed() {
                return;
            }
            tokio::select! {
                () = self.cluster.loss_after(mark) => {}
                () = closing => return,
            }
            mark = self.cluster.loss_mark();
            self.make_up_for_all();
        }
    }
}

/// More files than this are not remembered by number.
pub(super) const LEFT_MAX: usize = 1 << 16;

/// Files that nobody has open any more, and of which bytes have landed that were not synced: from before the oldest of
/// them were sent. One that is opened, or loses its last name, is none of them.
#[derive(Debug, Default)]
pub(super) struct Left {
    files: BTreeMap<Ino, LossMark>,
    others: Option<LossMark>,
}

impl Left {
    /// This file, too.
    pub fn insert(&mut self, ino: Ino, since: LossMark) {
        if self.files.len() < LEFT_MAX || self.files.contains_key(&ino) {
            let of_file = self.files.entry(ino).or_insert(since);
            *of_file = since.min(*of_file);
        } else {
            self.others = Some(self.others.map_or(since, |others| others.min(since)));
        }
    }

    /// Not this file; since when it was one of them, if that is known.
    pub fn remove(&mut self, ino: Ino) -> Option<LossMark> {
        self.files.remove(&ino)
    }

    /// These, too.
    pub fn extend(&mut self, more: Left) {
        more.files.into_iter().for_each(|(ino, since)| self.insert(ino, since));
        self.others = [self.others, more.others].into_iter().flatten().min();
    }

    /// Whether this is one of them, as far as that is known.
    pub fn has(&self, ino: Ino) -> bool {
        self.files.contains_key(&ino)
    }

    /// Those of them that are known.
    pub fn known(&self) -> impl Iterator<Item = Ino> {
        self.files.keys().copied()
    }

    /// From before the oldest bytes of all of them were sent.
    pub fn since(&self) -> Option<LossMark> {
        self.files.values().copied().chain(self.others).min()
    }
}
