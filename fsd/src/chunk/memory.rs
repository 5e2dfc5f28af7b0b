//! The chunk store's contract in memory: for tests and simulations, and the simplest statement of what the store on
//! disk does. Nothing is lost when it is dropped but everything; nothing can be damaged; there is always room.

use super::format::lost_in;
use super::notes::book::Book;
use super::salvage::Salvage;
use super::{ChunkError, ChunkStore, Intent};
use bytes::Bytes;
use parking_lot::Mutex;
use raidfs_common::checksum::{BlockSum, Content};
use raidfs_common::codec::Blob;
use raidfs_common::extent::length_in_chunk;
use raidfs_common::id::{ChunkId, Ino};
use raidfs_common::limits::{BLOCK_BYTES, BLOCKS_PER_CHUNK, CHUNK_BYTES};
use raidfs_common::pair::Space;
use raidfs_common::rpc::chunks::{Applied, ChunkCopy, ChunkSummary};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

const BLOCK: usize = BLOCK_BYTES as usize;
const TOTAL_BYTES: u64 = 1 << 40;

/// The chunks of one server, in memory.
#[derive(Debug)]
pub struct MemoryChunks {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    chunks: BTreeMap<ChunkId, Chunk>,
    book: Book,
    /// One above the highest inode that ever had a chunk.
    highest: Ino,
}

impl Inner {
    /// Removes the first `most` chunks that are `meant`; how many were.
    fn remove(&mut self, most: usize, meant: impl Fn(&ChunkId) -> bool) -> usize {
        let chunks: Vec<ChunkId> = self.chunks.keys().filter(|chunk| meant(chunk)).take(most).copied().collect();
        chunks.iter().filter(|chunk| self.chunks.remove(chunk).is_some()).count()
    }
}

#[derive(Clone, Debug, Default)]
struct Chunk {
    length: usize,
    /// Those that are no holes; zeros where they are lost.
    blocks: BTreeMap<usize, Vec<u8>>,
    /// Blocks that were accepted as lost.
    lost: BTreeSet<usize>,
}

impl Default for MemoryChunks {
    fn default() -> MemoryChunks {
        let mut book = Book::default();
        book.begin(1, Ino(0));
        MemoryChunks { inner: Mutex::new(Inner { chunks: BTreeMap::new(), book, highest: Ino(0) }) }
    }
}

impl Inner {
    fn chunk_to_change(&mut self, chunk: ChunkId) -> &mut Chunk {
        self.highest = self.highest.max(Ino(chunk.ino.0 + 1));
        self.chunks.entry(chunk).or_default()
    }
}

impl Chunk {
    fn copy_in(&mut self, at: usize, data: &[u8]) {
        for (byte, value) in (at..).zip(data) {
            self.blocks.entry(byte / BLOCK).or_insert_with(|| vec![0; BLOCK])[byte % BLOCK] = *value;
        }
    }

    fn copy_out(&self, range: Range<usize>) -> Vec<u8> {
        range.map(|byte| self.blocks.get(&(byte / BLOCK)).map_or(0, |block| block[byte % BLOCK])).collect()
    }

    /// The first block of these that is lost.
    fn lost_among(&self, blocks: impl Iterator<Item = usize>) -> Option<usize> {
        let mut blocks = blocks.filter(|block| self.lost.contains(block));
        blocks.next()
    }

    fn sum(&self, block: usize, bytes: &[u8]) -> BlockSum {
        if self.lost.contains(&block) { BlockSum::LOST } else { BlockSum::of(bytes) }
    }

    fn zero(&mut self, range: Range<usize>) {
        self.lost.retain(|block| *block * BLOCK < range.start || (*block + 1) * BLOCK > range.end);
        self.blocks.retain(|block, _| *block * BLOCK < range.start || (*block + 1) * BLOCK > range.end);
        for (at, block) in &mut self.blocks {
            for (byte, value) in (at * BLOCK..).zip(block) {
                if range.contains(&byte) {
                    *value = 0;
                }
            }
        }
    }

    fn sums(&self) -> impl Iterator<Item = u32> {
        self.blocks.iter().map(|(at, block)| self.sum(*at, block).0)
    }

    fn extents(&self) -> Vec<(u16, u16)> {
        let mut runs: Vec<(u16, u16)> = Vec::new();
        for block in self.blocks.keys().map(|block| *block as u16) {
            match runs.last_mut() {
                Some((first, count)) if *first + *count == block => *count += 1,
                _ => runs.push((block, 1)),
            }
        }
        runs
    }

    fn content(&self) -> u64 {
        let mut content = Content::default();
        for (block, bytes) in &self.blocks {
            match self.lost.contains(block) {
                true => content.add_lost(*block),
                false => content.add(*block, bytes),
            }
        }
        content.digest(self.length as u32)
    }

    fn digest(&self) -> u32 {
        let mut bytes = (self.length as u32).to_le_bytes().to_vec();
        bytes.resize(4 + BLOCKS_PER_CHUNK * 4, 0);
        for (block, sum) in self.blocks.keys().zip(self.sums()) {
            bytes[4 + block * 4..8 + block * 4].copy_from_slice(&sum.to_le_bytes());
        }
        raidfs_common::checksum::record(&bytes)
    }
}

fn range(chunk: ChunkId, offset: u32, length: usize) -> Result<Range<usize>, ChunkError> {
    let range = offset as usize..offset as usize + length;
    if range.end as u64 > CHUNK_BYTES {
        return Err(ChunkError::Invalid { chunk, problem: "the range does not end within the chunk" });
    }
    Ok(range)
}

fn blocks_of(range: &Range<usize>) -> Range<usize> {
    range.start / BLOCK..range.end.div_ceil(BLOCK)
}

/// The blocks of which a part lies in a range, but not all.
fn edges(range: &Range<usize>) -> impl Iterator<Item = usize> + use<> {
    let range = range.clone();
    blocks_of(&range).filter(move |block| block * BLOCK < range.start || (block + 1) * BLOCK > range.end)
}

impl ChunkStore for MemoryChunks {
    fn write(&self, chunk: ChunkId, offset: u32, data: &[u8]) -> Result<Applied, ChunkError> {
        let range = range(chunk, offset, data.len())?;
        if data.is_empty() {
            return Ok(Applied::default());
        }
        let mut inner = self.inner.lock();
        let made = !inner.chunks.contains_key(&chunk);
        let held = inner.chunk_to_change(chunk);
        if let Some(block) = held.lost_among(edges(&range)) {
            return Err(ChunkError::Lost { chunk, block: block as u16 });
        }
        blocks_of(&range).for_each(|block| _ = held.lost.remove(&block));
        let before = held.blocks.len();
        held.copy_in(range.start, data);
        held.length = held.length.max(range.end);
        Ok(Applied { blocks: held.blocks.len() as i64 - before as i64, made })
    }

    fn punch(&self, chunk: ChunkId, offset: u32, length: u32) -> Result<Applied, ChunkError> {
        let range = range(chunk, offset, length as usize)?;
        let mut inner = self.inner.lock();
        let Some(held) = inner.chunks.get_mut(&chunk) else { return Ok(Applied::default()) };
        if let Some(block) = held.lost_among(edges(&range)) {
            return Err(ChunkError::Lost { chunk, block: block as u16 });
        }
        let before = held.blocks.len();
        held.zero(range);
        Ok(Applied { blocks: held.blocks.len() as i64 - before as i64, made: false })
    }

    fn allocate(&self, chunk: ChunkId, offset: u32, length: u32) -> Result<Applied, ChunkError> {
        let range = range(chunk, offset, length as usize)?;
        if range.is_empty() {
            return Ok(Applied::default());
        }
        let mut inner = self.inner.lock();
        let made = !inner.chunks.contains_key(&chunk);
        let held = inner.chunk_to_change(chunk);
        let before = held.blocks.len();
        for block in blocks_of(&range) {
            held.blocks.entry(block).or_insert_with(|| vec![0; BLOCK]);
        }
        Ok(Applied { blocks: held.blocks.len() as i64 - before as i64, made })
    }

    fn read(&self, chunk: ChunkId, offset: u32, length: u32) -> Result<Bytes, ChunkError> {
        let range = range(chunk, offset, length as usize)?;
        let inner = self.inner.lock();
        let Some(held) = inner.chunks.get(&chunk) else { return Ok(Bytes::new()) };
        let range = range.start..range.end.min(held.length).max(range.start);
        match held.lost_among(blocks_of(&range)) {
            Some(block) if !range.is_empty() => Err(ChunkError::Lost { chunk, block: block as u16 }),
            _ => Ok(held.copy_out(range).into()),
        }
    }

    fn read_cached(&self, chunk: ChunkId, offset: u32, length: u32) -> Option<Result<Bytes, ChunkError>> {
        Some(self.read(chunk, offset, length))
    }

    fn sync(&self, _: &[ChunkId]) -> Result<(), ChunkError> {
        Ok(())
    }

    fn sync_file(&self, _: Ino) -> Result<(), ChunkError> {
        Ok(())
    }

    fn sync_cut(&self, _: Ino, _: u64) -> Result<(), ChunkError> {
        Ok(())
    }

    fn sync_all(&self) -> Result<(), ChunkError> {
        Ok(())
    }

    fn extents(&self, chunk: ChunkId) -> Result<(u32, Vec<(u16, u16)>), ChunkError> {
        let inner = self.inner.lock();
        Ok(inner.chunks.get(&chunk).map_or((0, Vec::new()), |held| (held.length as u32, held.extents())))
    }

    fn export(&self, chunk: ChunkId, _: bool) -> Result<Option<ChunkCopy>, ChunkError> {
        let inner = self.inner.lock();
        Ok(inner.chunks.get(&chunk).map(|held| {
            let data: Vec<u8> = held.blocks.values().flatten().copied().collect();
            let sums = held.sums().collect();
            ChunkCopy {
                length: held.length as u32,
                extents: held.extents(),
                data: Blob::from(data),
                sums,
                damaged: held.lost.iter().map(|block| *block as u16).collect(),
            }
        }))
    }

    fn salvage(&self, chunk: ChunkId) -> Result<Option<Salvage>, ChunkError> {
        Ok(self.export(chunk, false)?.map(Salvage::from))
    }

    fn import(&self, chunk: ChunkId, copy: Option<&ChunkCopy>) -> Result<(), ChunkError> {
        let Some(copy) = copy else {
            self.inner.lock().chunks.remove(&chunk);
            return Ok(());
        };
        super::copy::footer_of(chunk, copy)?;
        let mut held = Chunk { length: copy.length as usize, ..Chunk::default() };
        let blocks = copy.extents.iter().flat_map(|(first, count)| usize::from(*first)..usize::from(first + count));
        let parts = copy.data.0.chunks(BLOCK).zip(&copy.sums);
        for (block, (bytes, sum)) in blocks.zip(parts) {
            held.blocks.insert(block, bytes.to_vec());
            if BlockSum(*sum).is_lost(bytes) {
                held.lost.insert(block);
            }
        }
        *self.inner.lock().chunk_to_change(chunk) = held;
        Ok(())
    }

    fn lose(&self, chunk: ChunkId, bytes: u32) -> Result<(), ChunkError> {
        let range = range(chunk, 0, bytes as usize)?;
        if range.is_empty() {
            return Ok(());
        }
        let mut inner = self.inner.lock();
        let held = inner.chunk_to_change(chunk);
        for block in blocks_of(&range) {
            if let Entry::Vacant(hole) = held.blocks.entry(block) {
                hole.insert(vec![0; BLOCK]);
                held.lost.insert(block);
            }
        }
        held.length = held.length.max(range.end);
        Ok(())
    }

    fn may_have_lost(&self, chunk: ChunkId) -> bool {
        self.inner.lock().chunks.get(&chunk).is_some_and(|held| !held.lost.is_empty())
    }

    fn cut(&self, ino: Ino, size: u64, most: usize) -> Result<usize, ChunkError> {
        let mut inner = self.inner.lock();
        for (chunk, held) in inner.chunks.iter_mut().filter(|(chunk, _)| chunk.ino == ino) {
            let kept = length_in_chunk(size, chunk.index) as usize;
            if kept > 0 {
                held.zero(kept..CHUNK_BYTES as usize);
                held.length = held.length.min(kept);
            }
        }
        Ok(inner.remove(most, |chunk| chunk.ino == ino && length_in_chunk(size, chunk.index) == 0))
    }

    fn reap(&self, ino: Ino, most: usize) -> Result<usize, ChunkError> {
        Ok(self.inner.lock().remove(most, |chunk| chunk.ino == ino))
    }

    fn list(&self, after: Option<ChunkId>, limit: usize) -> Result<Vec<ChunkId>, ChunkError> {
        let inner = self.inner.lock();
        Ok(inner.chunks.keys().filter(|c| after.is_none_or(|after| **c > after)).take(limit).copied().collect())
    }

    fn summary(&self, chunk: ChunkId, deep: bool) -> Result<Option<ChunkSummary>, ChunkError> {
        let inner = self.inner.lock();
        Ok(inner.chunks.get(&chunk).map(|held| {
            let (length, blocks) = (held.length as u32, (held.blocks.len() - held.lost.len()) as u32);
            let lost = held.lost.iter().map(|block| lost_in(*block, length)).sum();
            let digest = if deep { held.content() } else { u64::from(held.digest()) };
            ChunkSummary { chunk, length, blocks, digest, damaged: 0, lost }
        }))
    }

    fn held(&self) -> (u64, u64) {
        let inner = self.inner.lock();
        let blocks: usize = inner.chunks.values().map(|held| held.blocks.len() - held.lost.len()).sum();
        (inner.chunks.len() as u64, (blocks * BLOCK) as u64)
    }

    fn space(&self) -> Result<Space, ChunkError> {
        Ok(Space { total: TOTAL_BYTES, free: TOTAL_BYTES - self.held().1 })
    }

    fn note(&self, chunk: ChunkId) -> Result<Intent, ChunkError> {
        let mut inner = self.inner.lock();
        if inner.book.intent(chunk).is_none() {
            let noted = inner.book.ahead(chunk).chain([chunk]).collect();
            inner.book.record(noted);
        }
        Ok(inner.book.intent(chunk).unwrap_or(Intent::none()))
    }

    fn noted(&self, after: Option<ChunkId>, limit: usize) -> Result<Vec<ChunkId>, ChunkError> {
        let inner = self.inner.lock();
        let (mut chunks, mark) = (inner.book.named(after, limit), inner.book.high_water());
        let above = inner.chunks.keys().filter(|c| c.ino >= mark && after.is_none_or(|after| **c > after));
        chunks.extend(above.take(limit - chunks.len()));
        Ok(chunks)
    }

    fn high_water(&self) -> Ino {
        self.inner.lock().book.high_water()
    }

    fn note_everything(&self) -> Result<(), ChunkError> {
        let mut inner = self.inner.lock();
        let number = inner.book.next_number();
        inner.book.begin(number, Ino(0));
        Ok(())
    }

    fn begin_notes(&self) -> Result<(), ChunkError> {
        let mut inner = self.inner.lock();
        let (number, mark) = (inner.book.next_number(), inner.highest.max(inner.book.newest_mark()));
        inner.book.begin(number, mark);
        Ok(())
    }

    fn drop_notes(&self) -> Result<(), ChunkError> {
        self.inner.lock().book.drop_settled();
        Ok(())
    }
}
