//! A chunk store in memory whose disk can stall, fail, fill up and rot.

use crate::chunk::format::lost_in;
use crate::chunk::salvage::{Block, Maker, Salvage};
use crate::chunk::{ChunkError, ChunkStore, Intent};
use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use raidfs_common::checksum::{BlockSum, Content, record};
use raidfs_common::extent::length_in_chunk;
use raidfs_common::id::{ChunkId, Ino};
use raidfs_common::limits::BLOCK_BYTES;
use raidfs_common::pair::Space;
use raidfs_common::rpc::chunks::{Applied, ChunkCopy, ChunkSummary};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const BLOCK: usize = BLOCK_BYTES as usize;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Chunk {
    length: u32,
    blocks: BTreeMap<u16, (Vec<u8>, BlockSum)>,
}

#[derive(Debug, Default)]
struct Inner {
    chunks: BTreeMap<ChunkId, Chunk>,
    notes: Vec<BTreeSet<ChunkId>>,
    /// Blocks that the disk cannot read.
    unread: BTreeSet<(ChunkId, u16)>,
}

impl Inner {
    /// Removes the first `most` chunks that are `meant`; how many were.
    fn remove(&mut self, most: usize, meant: impl Fn(&ChunkId) -> bool) -> usize {
        let chunks: Vec<ChunkId> = self.chunks.keys().filter(|chunk| meant(chunk)).take(most).copied().collect();
        chunks.iter().filter(|chunk| self.chunks.remove(chunk).is_some()).count()
    }
}

#[derive(Debug, Default)]
struct Stalled {
    all: bool,
    chunk: Option<ChunkId>,
    waiting: usize,
}

#[derive(Debug, Default)]
pub struct TestStore {
    inner: Mutex<Inner>,
    stalled: Mutex<Stalled>,
    resumed: Condvar,
    pub full: AtomicBool,
    /// It says that it has room for the last few bytes only.
    pub nearly_full: AtomicBool,
    /// Writes find no room, copies do.
    pub refuses_writes: AtomicBool,
    pub failing: AtomicBool,
    /// Its process has too many files open.
    pub short_of_files: AtomicBool,
    /// Syncs fail, all else works.
    pub fails_syncs: AtomicBool,
    /// Whoever looks at all of a chunk waits for as long as this is set.
    pub looks_slowly: AtomicBool,
    /// How many have looked so.
    pub looks: AtomicU64,
    /// Cuts are carried out so late.
    pub cuts_late: Mutex<Duration>,
    pub syncs: AtomicU64,
    pub syncs_of_all: AtomicU64,
    pub syncs_of_cuts: AtomicU64,
    pub imports: AtomicU64,
    pub reaps: AtomicU64,
}

impl TestStore {
    /// From now on everything that goes to the disk waits, until it is resumed.
    pub fn stall(&self, stalled: bool) {
        self.stalled.lock().all = stalled;
        self.resumed.notify_all();
    }

    /// The same for what goes to one chunk.
    pub fn stall_chunk(&self, chunk: Option<ChunkId>) {
        self.stalled.lock().chunk = chunk;
        self.resumed.notify_all();
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.stalled.lock().waiting
    }

    /// Its file is gone.
    pub fn remove_file(&self, chunk: ChunkId) {
        self.inner.lock().chunks.remove(&chunk).expect("it was there");
    }

    /// Flips a bit of a block that is there, without its checksum's knowing.
    pub fn rot(&self, chunk: ChunkId, block: u16) {
        self.inner.lock().chunks.get_mut(&chunk).unwrap().blocks.get_mut(&block).unwrap().0[7] ^= 1;
    }

    /// From now on the disk cannot read a block that is there.
    pub fn cannot_read(&self, chunk: ChunkId, block: u16) {
        assert!(self.inner.lock().unread.insert((chunk, block)));
        self.rot(chunk, block);
    }

    /// It can again, and the block is what it was.
    pub fn can_read_again(&self, chunk: ChunkId, block: u16) {
        assert!(self.inner.lock().unread.remove(&(chunk, block)));
        self.rot(chunk, block);
    }

    /// Everything that it holds: equal for equal stores.
    pub fn contents(&self) -> BTreeMap<ChunkId, Vec<u8>> {
        let inner = self.inner.lock();
        inner.chunks.iter().map(|(id, c)| (*id, c.bytes(0, c.length as usize))).collect()
    }

    pub fn noted_names(&self) -> usize {
        self.inner.lock().notes.iter().map(BTreeSet::len).sum()
    }

    fn can_sync(&self) -> Result<(), ChunkError> {
        if self.fails_syncs.load(Ordering::Relaxed) {
            return Err(ChunkError::Store { action: "sync", source: io::Error::other("the test says so") });
        }
        Ok(())
    }

    fn disk(&self, chunk: ChunkId, changes: bool) -> Result<(), ChunkError> {
        let mut stalled = self.stalled.lock();
        while stalled.all || stalled.chunk == Some(chunk) {
            stalled.waiting += 1;
            self.resumed.wait(&mut stalled);
            stalled.waiting -= 1;
        }
        if self.failing.load(Ordering::Relaxed) {
            return Err(ChunkError::Disk { action: "test", chunk, source: io::Error::other("the test says so") });
        }
        if self.short_of_files.load(Ordering::Relaxed) {
            return Err(ChunkError::Disk { action: "test", chunk, source: io::Error::from_raw_os_error(libc::EMFILE) });
        }
        if changes && self.full.load(Ordering::Relaxed) {
            return Err(ChunkError::Full { chunk });
        }
        Ok(())
    }
}

impl Chunk {
    fn bytes(&self, offset: usize, length: usize) -> Vec<u8> {
        let mut all = vec![0; length];
        for (block, (bytes, _)) in &self.blocks {
            let start = usize::from(*block) * BLOCK;
            for (i, byte) in bytes.iter().enumerate() {
                if let Some(at) = (start + i).checked_sub(offset)
                    && at < length
                {
                    all[at] = *byte;
                }
            }
        }
        all
    }

    fn damaged(&self) -> impl Iterator<Item = u16> {
        let is_damaged = |bytes: &[u8], sum: BlockSum| !sum.matches(bytes) && !sum.is_lost(bytes);
        self.blocks.iter().filter(move |(_, (bytes, sum))| is_damaged(bytes, *sum)).map(|(block, _)| *block)
    }

    fn lost(&self) -> impl Iterator<Item = u16> {
        self.blocks.iter().filter(|(_, (bytes, sum))| sum.is_lost(bytes)).map(|(block, _)| *block)
    }

    fn extents(&self) -> Vec<(u16, u16)> {
        let mut runs: Vec<(u16, u16)> = Vec::new();
        for block in self.blocks.keys() {
            match runs.last_mut() {
                Some((first, count)) if *first + *count == *block => *count += 1,
                _ => runs.push((*block, 1)),
            }
        }
        runs
    }
}

fn blocks(offset: u32, length: u32) -> std::ops::Range<u16> {
    (offset / BLOCK as u32) as u16..(offset + length).div_ceil(BLOCK as u32) as u16
}

impl ChunkStore for TestStore {
    fn write(&self, chunk: ChunkId, offset: u32, data: &[u8]) -> Result<Applied, ChunkError> {
        self.disk(chunk, true)?;
        if self.refuses_writes.load(Ordering::Relaxed) {
            return Err(ChunkError::Full { chunk });
        }
        let mut inner = self.inner.lock();
        let made = !inner.chunks.contains_key(&chunk);
        let c = inner.chunks.entry(chunk).or_default();
        let mut came = 0;
        for block in blocks(offset, data.len() as u32) {
            let start = usize::from(block) * BLOCK;
            let (from, to) = (start.max(offset as usize), (start + BLOCK).min(offset as usize + data.len()));
            let (bytes, sum) = c.blocks.entry(block).or_insert_with(|| {
                came += 1;
                (vec![0; BLOCK], BlockSum::of(&[0; BLOCK]))
            });
            if to - from < BLOCK && sum.is_lost(bytes) {
                return Err(ChunkError::Lost { chunk, block });
            }
            if to - from < BLOCK && !sum.matches(bytes) {
                return Err(ChunkError::Damaged { chunk, block });
            }
            bytes[from - start..to - start].copy_from_slice(&data[from - offset as usize..to - offset as usize]);
            *sum = BlockSum::of(bytes);
        }
        c.length = c.length.max(offset + data.len() as u32);
        Ok(Applied { blocks: came, made })
    }

    fn punch(&self, chunk: ChunkId, offset: u32, length: u32) -> Result<Applied, ChunkError> {
        self.disk(chunk, false)?;
        let mut inner = self.inner.lock();
        let Some(c) = inner.chunks.get_mut(&chunk) else { return Ok(Applied::default()) };
        let whole = offset.div_ceil(BLOCK as u32) as u16..((offset + length) / BLOCK as u32) as u16;
        let gone = whole.filter(|block| c.blocks.remove(block).is_some()).count();
        Ok(Applied { blocks: -(gone as i64), made: false })
    }

    fn allocate(&self, chunk: ChunkId, _: u32, _: u32) -> Result<Applied, ChunkError> {
        self.disk(chunk, true).map(|()| Applied::default())
    }

    fn read(&self, chunk: ChunkId, offset: u32, length: u32) -> Result<Bytes, ChunkError> {
        self.disk(chunk, false)?;
        let inner = self.inner.lock();
        let Some(c) = inner.chunks.get(&chunk) else { return Ok(Bytes::new()) };
        if let Some(block) = c.damaged().find(|block| blocks(offset, length).contains(block)) {
            return Err(ChunkError::Damaged { chunk, block });
        }
        let end = (offset + length).min(c.length).max(offset);
        if let Some(block) = c.lost().find(|block| end > offset && blocks(offset, end - offset).contains(block)) {
            return Err(ChunkError::Lost { chunk, block });
        }
        Ok(c.bytes(offset as usize, (end - offset) as usize).into())
    }

    fn read_cached(&self, _: ChunkId, _: u32, _: u32) -> Option<Result<Bytes, ChunkError>> {
        None
    }

    fn sync(&self, chunks: &[ChunkId]) -> Result<(), ChunkError> {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.can_sync()?;
        chunks.first().map_or(Ok(()), |chunk| self.disk(*chunk, false))
    }

    fn sync_file(&self, ino: Ino) -> Result<(), ChunkError> {
        self.sync(&[ChunkId { ino, index: 0 }])
    }

    fn sync_cut(&self, _: Ino, _: u64) -> Result<(), ChunkError> {
        self.can_sync()?;
        self.syncs_of_cuts.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn sync_all(&self) -> Result<(), ChunkError> {
        self.can_sync()?;
        self.disk(ChunkId { ino: Ino(0), index: 0 }, false)?;
        self.syncs_of_all.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn extents(&self, chunk: ChunkId) -> Result<(u32, Vec<(u16, u16)>), ChunkError> {
        let inner = self.inner.lock();
        Ok(inner.chunks.get(&chunk).map_or((0, Vec::new()), |c| (c.length, c.extents())))
    }

    fn export(&self, chunk: ChunkId, never_synced: bool) -> Result<Option<ChunkCopy>, ChunkError> {
        self.disk(chunk, false)?;
        let mut inner = self.inner.lock();
        let Some(c) = inner.chunks.get_mut(&chunk) else { return Ok(None) };
        if let Some(block) = c.damaged().next()
            && !never_synced
        {
            return Err(ChunkError::Damaged { chunk, block });
        }
        c.blocks
            .values_mut()
            .filter(|(bytes, sum)| !sum.is_lost(bytes))
            .for_each(|(bytes, sum)| *sum = BlockSum::of(bytes));
        let data: Vec<u8> = c.blocks.values().flat_map(|(bytes, _)| bytes.clone()).collect();
        let sums = c.blocks.values().map(|(_, sum)| sum.0).collect();
        let damaged = c.lost().collect();
        Ok(Some(ChunkCopy { length: c.length, extents: c.extents(), data: data.into(), sums, damaged }))
    }

    fn salvage(&self, chunk: ChunkId) -> Result<Option<Salvage>, ChunkError> {
        self.disk(chunk, false)?;
        let inner = self.inner.lock();
        let Some(c) = inner.chunks.get(&chunk) else { return Ok(None) };
        let mut maker = Maker::default();
        for (number, (bytes, sum)) in &c.blocks {
            let block = if sum.matches(bytes) { Block::Good(bytes, *sum) } else { Block::Lost(*sum) };
            maker.push(usize::from(*number), block);
        }
        let unread = c.blocks.keys().copied().filter(|number| inner.unread.contains(&(chunk, *number))).collect();
        Ok(Some(Salvage { copy: maker.copy(c.length), unread }))
    }

    fn import(&self, chunk: ChunkId, copy: Option<&ChunkCopy>) -> Result<(), ChunkError> {
        self.disk(chunk, copy.is_some())?;
        self.imports.fetch_add(1, Ordering::Relaxed);
        let mut inner = self.inner.lock();
        let Some(copy) = copy else {
            inner.chunks.remove(&chunk);
            return Ok(());
        };
        let numbers = copy.extents.iter().flat_map(|(first, count)| *first..first + count);
        let parts = copy.data.0.chunks(BLOCK).zip(&copy.sums);
        let blocks = numbers.zip(parts).map(|(n, (bytes, sum))| (n, (bytes.to_vec(), BlockSum(*sum)))).collect();
        inner.chunks.insert(chunk, Chunk { length: copy.length, blocks });
        Ok(())
    }

    fn lose(&self, chunk: ChunkId, bytes: u32) -> Result<(), ChunkError> {
        self.disk(chunk, true)?;
        let mut inner = self.inner.lock();
        let c = inner.chunks.entry(chunk).or_default();
        for block in blocks(0, bytes) {
            c.blocks.entry(block).or_insert_with(|| (vec![0; BLOCK], BlockSum::LOST));
        }
        c.length = c.length.max(bytes);
        Ok(())
    }

    fn may_have_lost(&self, chunk: ChunkId) -> bool {
        self.inner.lock().chunks.get(&chunk).is_some_and(|c| c.lost().next().is_some())
    }

    fn cut(&self, ino: Ino, size: u64, most: usize) -> Result<usize, ChunkError> {
        let (begun, late) = (Instant::now(), *self.cuts_late.lock());
        while begun.elapsed() < late {
            std::thread::yield_now();
        }
        let mut inner = self.inner.lock();
        for (id, c) in inner.chunks.iter_mut().filter(|(id, _)| id.ino == ino) {
            let left = length_in_chunk(size, id.index) as u32;
            if 0 < left && left < c.length {
                c.length = left;
                c.blocks.retain(|block, _| u32::from(*block) * (BLOCK as u32) < left);
                if let Some((bytes, sum)) = c.blocks.get_mut(&((left / BLOCK as u32) as u16)) {
                    let is_lost = sum.is_lost(bytes);
                    bytes[left as usize % BLOCK..].fill(0);
                    *sum = if is_lost { BlockSum::LOST } else { BlockSum::of(bytes) };
                }
            }
        }
        Ok(inner.remove(most, |id| id.ino == ino && length_in_chunk(size, id.index) == 0))
    }

    fn reap(&self, ino: Ino, most: usize) -> Result<usize, ChunkError> {
        self.reaps.fetch_add(1, Ordering::Relaxed);
        self.disk(ChunkId { ino, index: 0 }, false)?;
        Ok(self.inner.lock().remove(most, |id| id.ino == ino))
    }

    fn list(&self, after: Option<ChunkId>, limit: usize) -> Result<Vec<ChunkId>, ChunkError> {
        let inner = self.inner.lock();
        Ok(inner.chunks.keys().copied().filter(|id| Some(*id) > after).take(limit).collect())
    }

    fn summary(&self, chunk: ChunkId, deep: bool) -> Result<Option<ChunkSummary>, ChunkError> {
        self.disk(chunk, false)?;
        if deep {
            self.looks.fetch_add(1, Ordering::Relaxed);
            while self.looks_slowly.load(Ordering::Relaxed) {
                std::thread::yield_now();
            }
        }
        let inner = self.inner.lock();
        Ok(inner.chunks.get(&chunk).map(|c| {
            let sums: Vec<u8> = c
                .blocks
                .iter()
                .flat_map(|(n, (_, sum))| [n.to_le_bytes().to_vec(), sum.0.to_le_bytes().to_vec()].concat())
                .chain(c.length.to_le_bytes())
                .collect();
            let damaged = if deep { c.damaged().count() as u32 } else { 0 };
            let mut content = Content::default();
            for (n, (bytes, sum)) in &c.blocks {
                match sum.is_lost(bytes) {
                    true => content.add_lost(usize::from(*n)),
                    false => content.add(usize::from(*n), bytes),
                }
            }
            let blocks = (c.blocks.len() - c.lost().count()) as u32;
            let lost = c.lost().map(|block| lost_in(block.into(), c.length)).sum();
            let digest = if deep { content.digest(c.length) } else { u64::from(record(&sums)) };
            ChunkSummary { chunk, length: c.length, blocks, digest, damaged, lost }
        }))
    }

    fn held(&self) -> (u64, u64) {
        (self.inner.lock().chunks.len() as u64, 0)
    }

    fn is_trusted(&self) -> bool {
        !self.fails_syncs.load(Ordering::Relaxed) && !self.failing.load(Ordering::Relaxed)
    }

    fn space(&self) -> Result<Space, ChunkError> {
        Ok(Space { total: 1 << 40, free: if self.nearly_full.load(Ordering::Relaxed) { 0 } else { 1 << 39 } })
    }

    fn note(&self, chunk: ChunkId) -> Result<Intent, ChunkError> {
        self.disk(chunk, false)?;
        let mut inner = self.inner.lock();
        if inner.notes.is_empty() {
            inner.notes.push(BTreeSet::new());
        }
        inner.notes.last_mut().unwrap().insert(chunk);
        Ok(Intent::none())
    }

    fn noted(&self, after: Option<ChunkId>, limit: usize) -> Result<Vec<ChunkId>, ChunkError> {
        let inner = self.inner.lock();
        let all: BTreeSet<ChunkId> = inner.notes.iter().flatten().copied().collect();
        Ok(all.into_iter().filter(|id| Some(*id) > after).take(limit).collect())
    }

    fn high_water(&self) -> Ino {
        // Notes by name only, as of a store that has settled: an empty one has never.
        Ino(if self.inner.lock().notes.is_empty() { 0 } else { u64::MAX })
    }

    fn note_everything(&self) -> Result<(), ChunkError> {
        let mut inner = self.inner.lock();
        let all = inner.chunks.keys().copied().collect();
        inner.notes.push(all);
        Ok(())
    }

    fn begin_notes(&self) -> Result<(), ChunkError> {
        self.inner.lock().notes.push(BTreeSet::new());
        Ok(())
    }

    fn drop_notes(&self) -> Result<(), ChunkError> {
        let mut inner = self.inner.lock();
        let newest = inner.notes.len().saturating_sub(1);
        inner.notes.drain(..newest);
        Ok(())
    }
}
