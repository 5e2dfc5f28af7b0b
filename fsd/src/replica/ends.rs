//! How long files have become by what was written here, for as long as the namespace does not know it: should the mount die
//! that wrote, it is found out from the noted chunks, so the note of a file's last chunk is kept until its size was
//! committed. [`Ends`] is pure.

use super::Replica;
use super::disk::rejection;
use crate::chunk::ChunkStore;
use parking_lot::Mutex;
use raidfs_common::error::Rejection;
use raidfs_common::id::{ChunkId, Ino};
use raidfs_common::limits::CHUNK_BYTES;
use raidfs_common::rpc::chunks::ChunkChange;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Files of which the end is remembered; with more, those that are noted are looked at.
const ENDS_MAX: usize = 1 << 17;
/// Files whose sizes are asked for at once.
const ASK_AT_ONCE: usize = 4096;

/// The ends of files that were written to since they were last compared with the namespace.
#[derive(Debug, Default)]
pub struct Ends {
    ends: BTreeMap<Ino, u64>,
    /// Whether all are here that may lie behind what the namespace knows: not so of those of an earlier life.
    complete: bool,
}

impl Ends {
    /// A file has bytes up to here.
    pub fn wrote(&mut self, ino: Ino, end: u64) {
        if self.ends.len() >= ENDS_MAX && !self.ends.contains_key(&ino) {
            self.complete = false;
            return;
        }
        let known = self.ends.entry(ino).or_default();
        *known = end.max(*known);
    }

    /// A file was cut to this size; 0 if it is gone.
    pub fn cut(&mut self, ino: Ino, size: u64) {
        if let Some(known) = self.ends.get_mut(&ino) {
            *known = size.min(*known);
            if *known == 0 {
                self.ends.remove(&ino);
            }
        }
    }

    /// What the namespace has of a file now; None: there is no such file. It need not be remembered if that is all.
    pub fn compare(&mut self, ino: Ino, size: Option<u64>) {
        if self.ends.get(&ino).is_some_and(|end| size.is_none_or(|size| *end <= size)) {
            self.ends.remove(&ino);
        }
    }

    /// Whether all are here; from now on they are said to be, and the caller adds those that were not.
    pub fn completed(&mut self) -> bool {
        std::mem::replace(&mut self.complete, true)
    }

    /// The caller could not add them.
    pub fn not_completed(&mut self) {
        self.complete = false;
    }

    /// Up to `limit` files above `after`, in order, each with its end.
    pub fn page(&self, after: Ino, limit: usize) -> Vec<(Ino, u64)> {
        self.ends.range(Ino(after.0 + 1)..).take(limit).map(|(ino, end)| (*ino, *end)).collect()
    }
}

/// Where a change makes a file end at least.
pub fn end_of(chunk: ChunkId, change: &ChunkChange) -> Option<u64> {
    match change {
        ChunkChange::Write { offset, data, .. } if !data.0.is_empty() => {
            Some(u64::from(chunk.index) * CHUNK_BYTES + u64::from(*offset) + data.0.len() as u64)
        }
        _ => None,
    }
}

impl Replica {
    /// Before older notes are dropped: notes those again, in the newest generation, that tell sizes which the namespace
    /// does not know yet.
    pub(super) async fn keep_ends(self: &Arc<Self>) -> Result<(), Rejection> {
        if !self.ends.lock().completed() {
            let gathered = self.gather_ends().await;
            gathered.inspect_err(|_| self.ends.lock().not_completed())?;
        }
        self.compare_ends().await?;
        let kept = self.ends.clone();
        let note = self.disk(super::SYNC_STUCK, "note chunks", move |store| note_ends(store, &kept));
        note.await.map_err(rejection)
    }

    async fn gather_ends(self: &Arc<Self>) -> Result<(), Rejection> {
        let mut after = None;
        loop {
            let page = self.page(after).await?;
            {
                let mut ends = self.ends.lock();
                page.files.into_iter().for_each(|(ino, end)| ends.wrote(ino, end));
            }
            self.compare_ends().await?;
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// Forgets the ends that the namespace knows.
    async fn compare_ends(&self) -> Result<(), Rejection> {
        let mut after = Ino(0);
        loop {
            let page = self.ends.lock().page(after, ASK_AT_ONCE);
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = *last;
            let inos: Vec<Ino> = page.iter().map(|(ino, _)| *ino).collect();
            let sizes = self.board.sizes(inos.clone()).await.ok_or(Rejection::Away)?;
            let mut ends = self.ends.lock();
            inos.into_iter().zip(sizes).for_each(|(ino, size)| ends.compare(ino, size));
        }
    }
}

fn note_ends(store: &dyn ChunkStore, ends: &Mutex<Ends>) -> Result<(), crate::chunk::ChunkError> {
    let mut after = Ino(0);
    loop {
        let page = ends.lock().page(after, ASK_AT_ONCE);
        let Some((last, _)) = page.last() else { return Ok(()) };
        after = *last;
        for (ino, end) in page {
            // The note is what counts, not that something holds it.
            let _ = store.note(ChunkId { ino, index: ((end - 1) / CHUNK_BYTES) as u32 })?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const F: Ino = Ino(5);

    fn all(ends: &Ends) -> Vec<(Ino, u64)> {
        ends.page(Ino(0), usize::MAX)
    }

    #[test]
    fn an_end_is_remembered_until_the_namespace_has_it() {
        let mut ends = Ends::default();
        ends.wrote(F, 100);
        ends.wrote(F, 50);
        ends.compare(F, Some(99));
        assert_eq!(all(&ends), [(F, 100)]);
        ends.compare(F, Some(100));
        assert_eq!(all(&ends), []);
        ends.wrote(F, 10);
        ends.compare(F, None);
        assert_eq!(all(&ends), [], "it is gone");
    }

    #[test]
    fn a_cut_takes_its_end_with_it() {
        let mut ends = Ends::default();
        ends.wrote(F, 100);
        ends.cut(F, 30);
        ends.cut(Ino(6), 30);
        assert_eq!(all(&ends), [(F, 30)]);
        ends.cut(F, 0);
        assert_eq!(all(&ends), []);
    }

    #[test]
    fn a_new_life_and_too_many_files_are_looked_for_among_the_notes() {
        let mut ends = Ends::default();
        assert!(!ends.completed());
        assert!(ends.completed());
        (0..ENDS_MAX as u64).for_each(|n| ends.wrote(Ino(10 + n), 1));
        ends.wrote(Ino(10), 2);
        assert!(ends.completed());
        ends.wrote(F, 1);
        assert!(!ends.completed());
        assert_eq!(all(&ends).len(), ENDS_MAX);
    }

    #[test]
    fn only_writes_make_files_longer() {
        let chunk = ChunkId { ino: F, index: 2 };
        let write = |data: &[u8]| ChunkChange::Write { offset: 7, sync: false, data: data.to_vec().into() };
        assert_eq!(end_of(chunk, &write(b"xyz")), Some(2 * CHUNK_BYTES + 10));
        assert_eq!(end_of(chunk, &write(b"")), None);
        assert_eq!(end_of(chunk, &ChunkChange::Allocate { offset: 0, length: 9 }), None);
    }
}
