//! The space of a file and of the whole: truncate, fallocate, holes, totals.

use super::cluster::{ChunkAddress, Cluster};
use super::files::{Chunks, File};
use super::reshape::{Hold, punch, reserve, to_its_end};
use super::stop::{self, Stop, unless_stopped, waits_unless_stopped};
use super::tree::Stamp;
use super::{Caller, Shared, Vfs};
use futures::future::try_join_all;
use raidfs_common::attr::Attr;
use raidfs_common::error::FsError;
use raidfs_common::id::{ChunkId, Ino};
use raidfs_common::limits::{BLOCK_BYTES, BLOCKS_PER_CHUNK, CHUNK_BYTES, FILE_MAX_BYTES};
use raidfs_common::namespace::{Answer, Change, Query, SetAttr};
use raidfs_common::pair::Space;
use raidfs_common::time::Time;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

/// The blocks that a cut leaves are counted if they, or those that it takes, lie in so many chunks at most; else they are
/// guessed, as it takes a question for each.
const COUNTED_CHUNKS_MAX: usize = 512;
/// Chunks that a search for a hole asks for at the same time.
const ASKED_AT_ONCE_MAX: u64 = 32;
/// A file beyond this that has as many blocks as its length needs is taken to have one everywhere.
const DENSE_BYTES: u64 = 64 << 20;

/// What the file system holds, and has room for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Inodes.
    pub inodes: u64,
    /// Bytes in all, each counted once however many mirrors hold it.
    pub total: u64,
    /// Bytes free.
    pub free: u64,
}

/// A hole or data, for [`Vfs::seek`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seek {
    /// SEEK_DATA
    Data,
    /// SEEK_HOLE
    Hole,
}

/// What [`Vfs::allocate`] does with a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allocate {
    /// Reserves room for it.
    Reserve,
    /// Makes it a hole.
    Punch,
    /// Makes it zeros that have their room reserved.
    Zero,
}

impl<C: Cluster> Vfs<C> {
    /// What the file system holds.
    pub async fn totals(&self) -> Result<Totals, FsError> {
        let Answer::Totals { inodes, space } = self.0.cluster.ask(Query::Totals).await? else {
            return Err(FsError::Io);
        };
        let total = space.iter().map(|s| s.total).sum();
        let free = space.iter().map(Space::usable).sum();
        Ok(Totals { inodes, total, free })
    }

    /// fallocate: `keep_size` leaves the file as long as it is.
    pub async fn allocate(
        &self,
        caller: Caller,
        handle: u64,
        range: Range<u64>,
        what: Allocate,
        keep_size: bool,
    ) -> Result<(), FsError> {
        let open = self.0.handles.lock().file(handle)?;
        if range.is_empty() {
            return Err(FsError::Invalid);
        }
        if range.end > FILE_MAX_BYTES {
            return Err(FsError::TooBig);
        }
        let ino = open.file.ino;
        self.0.strip_unkept_ids(ino, caller).await?;
        let size = self.0.getattr(ino).await?.size;
        let grow = !keep_size && range.end > size;
        let reserves = matches!(what, Allocate::Reserve | Allocate::Zero);
        if reserves {
            let had = self.0.getattr(ino).await?.blocks.saturating_mul(BLOCK_BYTES);
            self.0.check_room((range.end - range.start).saturating_sub(had)).await?;
        }
        match what {
            Allocate::Reserve => self.0.reshape(&open.file, range.clone(), &[reserve]).await?,
            Allocate::Punch => {
                // As on ext4, the last block goes as a whole if the range goes on behind the file's end.
                let end = if range.end <= size { range.end } else { size.next_multiple_of(BLOCK_BYTES) };
                let end = if range.start < size { end } else { range.start };
                self.0.reshape(&open.file, range.start..end, &[punch]).await?;
            }
            Allocate::Zero => self.0.reshape(&open.file, range.clone(), &[punch, reserve]).await?,
        }
        if grow {
            let set = SetAttr { size: Some(range.end), ..SetAttr::default() };
            let now = self.0.now();
            self.0.set_attr(ino, now, set).await?;
        }
        if !open.mode.sync {
            return Ok(());
        }
        // It is done by now, which the kernel does not take a call that fails for.
        self.0.sync_file(&open).await.inspect_err(|_| self.0.doubt(ino))
    }

    /// A moment, for [`Vfs::is_guess`].
    pub fn moment(&self) -> Stamp {
        self.0.names.lock().tree.stamp()
    }

    /// Whether attributes of a file that were given since `asked` are others soon, or already, though nobody changes it:
    /// its blocks are only guessed while bytes of it are on their way.
    pub fn is_guess(&self, ino: Ino, asked: Stamp) -> bool {
        let on_their_way = self.0.files.lock().get(&ino).is_some_and(|file| !file.data.lock().behind.is_empty());
        on_their_way || self.0.names.lock().tree.blocks_moved(ino, asked)
    }

    /// The first byte of data, or of a hole, at or behind `offset`.
    pub async fn seek(&self, handle: u64, offset: u64, what: Seek) -> Result<u64, FsError> {
        let open = self.0.handles.lock().file(handle)?;
        let file = &open.file;
        let found = self.0.sought(file, offset, what).await;
        if file.data.lock().mappable == 0 {
            return found;
        }
        // The kernel has what was written through a mapping, and tells of none of it: what is a hole here may be data there.
        match what {
            Seek::Data => self.0.data_but_for_mappings(file, offset, found).await,
            Seek::Hole => self.0.hole_but_for_mappings(file, found).await,
        }
    }
}

fn in_file(at: u64, size: u64) -> Result<u64, FsError> {
    if at < size { Ok(at) } else { Err(FsError::NoAddress) }
}

/// A chunk's runs of blocks as ranges of the file's bytes.
fn runs_in_file(index: u64, runs: &[(u16, u16)]) -> impl Iterator<Item = Range<u64>> {
    let start = index * CHUNK_BYTES;
    runs.iter().map(move |(first, count)| {
        start + u64::from(*first) * BLOCK_BYTES..start + u64::from(first + count) * BLOCK_BYTES
    })
}

impl<C: Cluster> Shared<C> {
    /// What [`Seek::Data`] finds once the kernel has sent what it has of the hole before `found`.
    async fn data_but_for_mappings(
        self: &Arc<Self>,
        file: &Arc<File>,
        offset: u64,
        found: Result<u64, FsError>,
    ) -> Result<u64, FsError> {
        let size = self.getattr(file.ino).await?.size;
        let end = match found {
            Err(FsError::NoAddress) => size,
            found => found?,
        };
        if offset >= end {
            return found;
        }
        self.launder(file.ino, offset..end).await;
        self.sought(file, offset, Seek::Data).await
    }

    /// What [`Seek::Hole`] finds once the kernel has sent what it has of the hole that was `found`; and so on, as long as
    /// that was data.
    async fn hole_but_for_mappings(
        self: &Arc<Self>,
        file: &Arc<File>,
        found: Result<u64, FsError>,
    ) -> Result<u64, FsError> {
        let mut hole = found?;
        loop {
            let size = self.getattr(file.ino).await?.size;
            if hole >= size {
                return Ok(hole);
            }
            let end = match self.sought(file, hole, Seek::Data).await {
                Err(FsError::NoAddress) => size,
                data => data?,
            };
            stop::check()?;
            self.launder(file.ino, hole..end).await;
            let again = self.sought(file, hole, Seek::Hole).await?;
            if again == hole {
                return Ok(hole);
            }
            hole = again;
        }
    }

    /// The first byte of data, or of a hole, at or behind `offset`, of what is here and what the servers have.
    async fn sought(self: &Arc<Self>, file: &Arc<File>, offset: u64, what: Seek) -> Result<u64, FsError> {
        self.landed(file).await;
        let attr = self.getattr(file.ino).await?;
        if offset >= attr.size {
            return Err(FsError::NoAddress);
        }
        self.unheld(file).await;
        let (placement, again) = {
            let state = file.data.lock();
            (state.placement.ok_or(FsError::Io)?, !state.again.is_empty())
        };
        if again {
            // Bytes that are kept here, for another try: the servers would call them a hole.
            return Ok(if what == Seek::Data { offset } else { attr.size });
        }
        let at = |index| ChunkAddress { chunk: ChunkId { ino: file.ino, index }, placement };
        match what {
            Seek::Data => self.data_from(at, offset, attr.size).await,
            Seek::Hole => self.hole_from(at, offset, attr.size).await,
        }
    }

    /// The first byte of data at or behind `at`, of a file of `size` bytes.
    async fn data_from(&self, address: impl Fn(u32) -> ChunkAddress, mut at: u64, size: u64) -> Result<u64, FsError> {
        while at < size {
            let address = address((at / CHUNK_BYTES) as u32);
            let (_, runs) = unless_stopped(self.cluster.extents(address)).await?;
            let mut runs = runs_in_file(address.chunk.index.into(), &runs);
            if let Some(run) = runs.find(|run| run.end > at) {
                return in_file(at.max(run.start), size);
            }
            // Between two chunks of a file there may be millions that are not there.
            at = self.next_chunk(address).await?.ok_or(FsError::NoAddress)?;
        }
        Err(FsError::NoAddress)
    }

    /// The first byte of a hole at or behind `at`, the end of the file (of `size` bytes) at the latest.
    async fn hole_from(&self, address: impl Fn(u32) -> ChunkAddress, mut at: u64, size: u64) -> Result<u64, FsError> {
        // A dense file is asked through chunk by chunk: more at once, the longer it takes.
        let mut at_once = 1;
        while at < size {
            let first = at / CHUNK_BYTES;
            let asked = first..size.div_ceil(CHUNK_BYTES).min(first + at_once);
            let all = asked.clone().map(|index| self.cluster.extents(address(index as u32)));
            let found = unless_stopped(try_join_all(all)).await?;
            for (index, (_, runs)) in asked.zip(found) {
                for run in runs_in_file(index, &runs) {
                    if run.start > at {
                        // Room that is reserved behind the end may come next.
                        return Ok(at.min(size));
                    }
                    at = at.max(run.end);
                }
                let end = ((index + 1) * CHUNK_BYTES).min(size);
                if at < end {
                    return Ok(at);
                }
            }
            at_once = (at_once * 2).min(ASKED_AT_ONCE_MAX);
        }
        Ok(size)
    }

    /// Sets a file's size, and other attributes along with it.
    pub(super) async fn truncate(
        self: &Arc<Self>,
        ino: Ino,
        size: u64,
        now: Time,
        set: SetAttr,
    ) -> Result<(), FsError> {
        let shared = self.clone();
        let stop = stop::current();
        to_its_end(async move { shared.cut(ino, size, now, set, stop).await }).await
    }

    async fn cut(self: &Arc<Self>, ino: Ino, size: u64, now: Time, set: SetAttr, stop: Stop) -> Result<(), FsError> {
        let attr = self.getattr(ino).await?;
        if size == attr.size && attr.blocks > 0 {
            // No byte goes, but as on a local disk room does that is reserved behind the end.
            let file = self.file(&attr, |_| {});
            stop.scope(self.reshape(&file, size.next_multiple_of(BLOCK_BYTES)..FILE_MAX_BYTES, &[punch])).await?;
        }
        let left = stop.scope(self.left_by_cut(&attr, size)).await?;
        let file = self.file(&attr, |state| state.holds += 1);
        let hold = Hold(file.clone());
        self.prefetch.lock().forget(ino);
        let shorter = self.names.lock().tree.node(ino).is_some_and(|n| size < n.attr.size);
        if shorter {
            self.drop_kept(&file, size..u64::MAX);
            // What lands behind a cut would make cut bytes come back.
            self.not_flying(&file, size..u64::MAX).await;
            self.not_directly(&file).await;
            self.drop_kept(&file, size..u64::MAX);
            // Whatever landed behind the new end must be known to be there, or it would not be cut.
            self.report_up_to(ino, |_| u64::MAX);
        } else {
            self.report_written(ino);
        }
        if let Err(error) = self.change_at(now, Change::SetAttr { ino, set }).await {
            drop(hold);
            self.push_soon(&file);
            return Err(error);
        }
        file.data.lock().landed_end = size;
        if !shorter {
            drop(hold);
            self.push_soon(&file);
            self.clear_tail(&file, attr.size..size).await;
            return Ok(());
        }
        self.freed.some(Instant::now());
        // The kernel drops all pages now. Those of a cut that failed it keeps.
        file.data.lock().asked_up_to = 0;
        if let Some(left) = left {
            let mut names = self.names.lock();
            if let Some(had) = names.tree.node(ino).map(|node| node.attr.blocks) {
                names.tree.count_blocks(ino, left as i64 - had as i64);
            }
        }
        if let Chunks::These(chunks) = &mut file.data.lock().unsynced.chunks {
            chunks.retain(|index| u64::from(*index) * CHUNK_BYTES < size);
        }
        // What is written now must not reach the servers before they know of the cut.
        let (shared, ticket) = (self.clone(), self.names.lock().queue.last());
        tokio::spawn(async move {
            shared.settled(ticket).await;
            drop(hold);
            shared.push_soon(&file);
        });
        Ok(())
    }

    /// The blocks that a file will have once it is cut to `size`, if that has to be counted: the namespace takes it that
    /// a cut leaves every block that fits, which is wrong of a file with holes, and of one that has room reserved behind
    /// its end.
    async fn left_by_cut(self: &Arc<Self>, attr: &Attr, size: u64) -> Result<Option<u64>, FsError> {
        if size == 0 || size >= attr.size {
            return Ok(None);
        }
        let file = self.file(attr, |_| {});
        if !file.data.lock().behind.is_empty() {
            waits_unless_stopped(self.landed(&file)).await?;
        }
        let attr = self.getattr(attr.ino).await?;
        let is_dense = attr.blocks == attr.size.div_ceil(BLOCK_BYTES) && attr.size > DENSE_BYTES;
        if attr.blocks == 0 || is_dense {
            return Ok(None);
        }
        waits_unless_stopped(self.unheld(&file)).await?;
        if size <= attr.size - size {
            return self.blocks_in(&file, 0..size).await;
        }
        let cut = self.blocks_in(&file, size.next_multiple_of(BLOCK_BYTES)..FILE_MAX_BYTES).await?;
        Ok(cut.map(|cut| attr.blocks.saturating_sub(cut)))
    }

    /// How many blocks a file has in a range that begins with one; None if they lie in too many chunks.
    async fn blocks_in(&self, file: &File, range: Range<u64>) -> Result<Option<u64>, FsError> {
        let placement = file.data.lock().placement.ok_or(FsError::Io)?;
        let (first, end) = (range.start / BLOCK_BYTES, range.end.div_ceil(BLOCK_BYTES));
        let (mut found, mut at) = (0, range.start);
        for _ in 0..COUNTED_CHUNKS_MAX {
            let index = (at / CHUNK_BYTES) as u32;
            let start = u64::from(index) * BLOCKS_PER_CHUNK as u64;
            let address = ChunkAddress { chunk: ChunkId { ino: file.ino, index }, placement };
            let (_, runs) = unless_stopped(self.cluster.extents(address)).await?;
            for (from, count) in &runs {
                let from = start + u64::from(*from);
                found += (from + u64::from(*count)).min(end).saturating_sub(from.max(first));
            }
            at = match runs.is_empty() {
                // Between two chunks of a file there may be millions that are not there.
                true => self.next_chunk(address).await?.unwrap_or(range.end),
                false => u64::from(index + 1) * CHUNK_BYTES,
            };
            if at >= range.end {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Where the next chunk of the file begins that there is, behind this one.
    pub(super) async fn next_chunk(&self, at: ChunkAddress) -> Result<Option<u64>, FsError> {
        let Some(index) = at.chunk.index.checked_add(1) else { return Ok(None) };
        let next = ChunkAddress { chunk: ChunkId { index, ..at.chunk }, ..at };
        let found = unless_stopped(self.cluster.next_chunk(next)).await?;
        Ok(found.map(|index| u64::from(index) * CHUNK_BYTES))
    }

    /// Attributes with blocks for what was written and has not landed yet: about as many as it will have.
    pub(super) fn with_unsent_blocks(&self, mut attr: Attr) -> Attr {
        let Some(file) = self.files.lock().get(&attr.ino).cloned() else { return attr };
        let state = file.data.lock();
        let unsent = state.behind.bytes() as u64;
        // What lands is taken from the one and put to the other under this lock.
        attr.blocks = self.names.lock().tree.attr(attr.ino).map_or(attr.blocks, |known| known.blocks);
        if unsent > 0 {
            let most = attr.size.div_ceil(BLOCK_BYTES).max(attr.blocks);
            attr.blocks = (attr.blocks + unsent.div_ceil(BLOCK_BYTES)).min(most);
        }
        attr
    }
}
