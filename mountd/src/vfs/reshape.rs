//! Changes of a file's chunks that are no bytes written behind: fallocate, and what [`super::copy`] has the servers copy. They
//! go to the cluster directly, past the pusher, which sends nothing of the file meanwhile.

use super::Shared;
use super::changes::Doubtful;
use super::cluster::{Changed, ChunkAddress, Cluster, LossMark};
use super::files::File;
use super::stop::{self, waits_unless_stopped};
use raidfs_common::attr::Placement;
use raidfs_common::error::FsError;
use raidfs_common::extent;
use raidfs_common::id::{ChunkId, Ino};
use raidfs_common::limits::BLOCK_BYTES;
use raidfs_common::rpc::chunks::ChunkChange;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Punches a range of a chunk.
pub(super) fn punch(offset: u32, length: u32) -> ChunkChange {
    ChunkChange::Punch { offset, length }
}

/// Reserves room for a range of a chunk.
pub(super) fn reserve(offset: u32, length: u32) -> ChunkChange {
    ChunkChange::Allocate { offset, length }
}

/// What is done to each piece of a range, one after the other.
pub(super) type Steps = &'static [fn(u32, u32) -> ChunkChange];

/// Brings an operation to its end, even if nobody waits for it any more: one that was left in the middle could have its effect
/// behind what comes later. It is not told to stop; what may be stopped within it is given [`stop::current`] of outside.
pub(super) async fn to_its_end<T: Send + 'static>(
    operation: impl Future<Output = Result<T, FsError>> + Send + 'static,
) -> Result<T, FsError> {
    tokio::spawn(operation).await.unwrap_or(Err(FsError::Io))
}

/// Nothing of a file is sent, and nothing read from the cluster, while there is one of these.
pub(super) struct Hold(pub Arc<File>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.data.lock().holds -= 1;
        self.0.moved.notify_waiters();
    }
}

/// A [`Hold`] of which there is one at a time, for changes that go to the cluster directly.
pub(super) struct Direct {
    hold: Hold,
    /// Where the file's chunks lie.
    pub placement: Placement,
}

impl Drop for Direct {
    fn drop(&mut self) {
        self.hold.0.data.lock().direct = false;
    }
}

/// Bytes of a file that were kept here.
pub(super) struct Kept {
    offset: u64,
    bytes: Vec<u8>,
}

impl<C: Cluster> Shared<C> {
    /// Forgets what is kept of a range, but for what is under way.
    pub(super) fn drop_kept(&self, file: &File, range: Range<u64>) {
        let mut state = file.data.lock();
        let dropped = state.behind.drop_waiting(range.clone());
        self.none_again(&mut state);
        self.pusher.dropped(dropped);
        self.retain(&mut state, |retained, _| retained.drop(range));
    }

    /// Takes what is kept of a range, of which nothing is under way: what could not be stored before, and was kept for another
    /// try. What comes into its place now is newer.
    pub(super) fn take_kept(&self, file: &File, range: Range<u64>) -> Vec<Kept> {
        let mut kept = Vec::new();
        {
            let state = file.data.lock();
            let mut from = range.start;
            let gaps = state.behind.gaps(range.clone());
            for gap in gaps.into_iter().chain(std::iter::once(range.end..range.end)) {
                if from < gap.start {
                    let mut bytes = vec![0; (gap.start - from) as usize];
                    state.behind.overlay(from, &mut bytes);
                    kept.push(Kept { offset: from, bytes });
                }
                from = gap.end;
            }
        }
        self.drop_kept(file, range);
        kept
    }

    /// Puts back what was taken, but for what ends at `from`, which something else is in the place of; and what was written
    /// since stays.
    pub(super) fn put_back(&self, file: &File, kept: Vec<Kept>, from: u64) {
        let mut state = file.data.lock();
        let before = state.behind.bytes();
        for Kept { offset, bytes } in kept {
            let gone = from.saturating_sub(offset).min(bytes.len() as u64);
            state.behind.write_older(offset + gone, &bytes[gone as usize..], Instant::now());
        }
        self.pusher.kept(state.behind.bytes() - before);
    }

    /// Waits until nothing of a range is under way.
    pub(super) async fn not_flying(&self, file: &File, range: Range<u64>) {
        loop {
            let moved = file.moved.notified();
            if !file.data.lock().behind.flies(range.clone()) {
                return;
            }
            moved.await;
        }
    }

    /// Waits until the servers have what the file is, apart from what is kept here, and its placement is known.
    pub(super) async fn unheld(&self, file: &File) {
        loop {
            let moved = file.moved.notified();
            {
                let state = file.data.lock();
                if state.holds == 0 && state.placement.is_some() {
                    return;
                }
            }
            moved.await;
        }
    }

    /// Waits until nobody changes the file's chunks directly. The caller holds it, so that nobody begins.
    pub(super) async fn not_directly(&self, file: &File) {
        loop {
            let moved = file.moved.notified();
            if !file.data.lock().direct {
                return;
            }
            moved.await;
        }
    }

    /// Waits until all that was written has landed and nobody holds the file; then it is held.
    pub(super) async fn direct(self: &Arc<Self>, file: &Arc<File>) -> Direct {
        self.landed(file).await;
        let direct = loop {
            let moved = file.moved.notified();
            {
                let mut state = file.data.lock();
                if let (0, Some(placement)) = (state.holds, state.placement) {
                    state.holds += 1;
                    state.direct = true;
                    break Direct { hold: Hold(file.clone()), placement };
                }
            }
            moved.await;
        };
        self.prefetch.lock().forget(file.ino);
        self.not_flying(file, 0..u64::MAX).await;
        direct
    }

    /// Makes changes of a range that are no writes, each for every piece of it.
    pub(super) async fn reshape(
        self: &Arc<Self>,
        file: &Arc<File>,
        range: Range<u64>,
        steps: Steps,
    ) -> Result<(), FsError> {
        if range.is_empty() {
            // Asked for, if for nothing.
            self.names.lock().tree.wrote(file.ino, 0, self.now());
            self.push_soon(file);
            return Ok(());
        }
        let (shared, file, stop) = (self.clone(), file.clone(), stop::current());
        to_its_end(async move {
            let direct = stop.scope(waits_unless_stopped(shared.direct(&file))).await?;
            if steps.iter().any(|step| matches!(step(0, 1), ChunkChange::Punch { .. })) {
                shared.drop_kept(&file, range.clone());
            }
            // What changes here could not be sent once more, nor what it changes.
            shared.retain(&mut file.data.lock(), |retained, _| retained.give_up());
            let mut blocks = 0;
            let pieces = shared.change_pieces(&file, direct.placement, range, steps, &mut blocks);
            let result = stop.scope(pieces).await;
            shared.changed_directly(&file, 0, blocks);
            drop(direct);
            shared.push_soon(&file);
            if result.is_err() {
                // Some pieces may be done. Of a call that fails the kernel takes it that nothing was.
                shared.doubt(file.ino);
            }
            result
        })
        .await
    }

    /// Has the kernel forget what it knows of an inode, contents included.
    pub(super) fn doubt(&self, ino: Ino) {
        // Without a kernel, nobody has to forget anything.
        let _ = self.doubtful.send(Doubtful::Inode(ino));
    }

    /// Makes changes of every piece of a range, until one fails, or it is to stop. The blocks that come (or go) are added to `blocks`. The
    /// caller holds the file.
    pub(super) async fn change_pieces(
        &self,
        file: &File,
        placement: Placement,
        mut range: Range<u64>,
        steps: Steps,
        blocks: &mut i64,
    ) -> Result<(), FsError> {
        let only_punches = steps.iter().all(|step| matches!(step(0, 1), ChunkChange::Punch { .. }));
        while let Some(piece) = extent::pieces(range.start, range.end.saturating_sub(range.start)).next() {
            stop::check()?;
            let before = *blocks;
            let at = ChunkAddress { chunk: ChunkId { ino: file.ino, index: piece.index }, placement };
            for step in steps {
                let mark = self.cluster.loss_mark();
                let changed = self.change_chunk(at, step(piece.offset, piece.length)).await;
                let more = self.landed_directly(file, piece.index, mark, changed)?;
                match more {
                    ..0 => self.freed.some(Instant::now()),
                    _ => self.allowance.take(more as usize * BLOCK_BYTES as usize),
                }
                *blocks += more;
            }
            range.start += u64::from(piece.length);
            if only_punches && *blocks == before && range.start < range.end {
                // Nothing was there: nor may there be millions of the next chunks.
                let Some(start) = self.next_chunk(at).await? else { return Ok(()) };
                range.start = range.start.max(start);
            }
        }
        Ok(())
    }

    /// A change that was sent after `mark` was taken has landed, or may have: it is not on stable storage, and not kept here.
    /// Returns the blocks that came.
    pub(super) fn landed_directly(
        &self,
        file: &File,
        index: u32,
        mark: LossMark,
        changed: Result<Changed, FsError>,
    ) -> Result<i64, FsError> {
        let mut state = file.data.lock();
        state.unsynced.landed(index, mark);
        // Once more, as a sync may have taken what was noted before.
        self.retain(&mut state, |retained, _| retained.give_up());
        self.unsynced.store(true, Ordering::Relaxed);
        Ok(changed?.blocks)
    }

    /// Changes have ended that had bytes up to `end` land: what is known of the file says so.
    pub(super) fn changed_directly(&self, file: &File, end: u64, blocks: i64) {
        let mut state = file.data.lock();
        state.landed_end = state.landed_end.max(end);
        let now = self.now();
        let mut names = self.names.lock();
        names.tree.wrote(file.ino, end, now);
        names.tree.count_blocks(file.ino, blocks);
    }
}
