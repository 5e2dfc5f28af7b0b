//! Reading: every block that is touched is compared with its sum before a byte of it is passed on.
//!
//! A block that the disk cannot read counts as damaged like one that reads wrong: the mirror has it, and writing it anew
//! is what mends it. Changes nothing; whoever calls holds the chunk's lock.

use super::{Disk, Open, State};
use crate::chunk::format::{FOOTER_AT, Footer, FormatError, lost_in};
use crate::chunk::salvage::{is_tombstone, no_sum_of_tombstone};
use crate::chunk::{ChunkError, io};
use bytes::Bytes;
use raidfs_common::checksum::{BlockSum, Content};
use raidfs_common::id::ChunkId;
use raidfs_common::limits::{BLOCK_BYTES, BLOCKS_PER_CHUNK, CHUNK_BYTES};
use raidfs_common::rpc::chunks::ChunkSummary;
use std::fs::File;
use std::ops::Range;

/// A block's size where lengths of memory are meant.
pub const BLOCK: usize = BLOCK_BYTES as usize;

/// Blocks that are read at once when a whole chunk is.
const BATCH: usize = 64;

/// The range as positions, if it ends within the chunk.
pub fn range(chunk: ChunkId, offset: u32, length: usize) -> Result<Range<usize>, ChunkError> {
    let end = offset as usize + length;
    if end as u64 > CHUNK_BYTES {
        return Err(ChunkError::Invalid { chunk, problem: "the range does not end within the chunk" });
    }
    Ok(offset as usize..end)
}

/// The blocks that a range touches.
pub fn blocks_of(range: &Range<usize>) -> Range<usize> {
    range.start / BLOCK..range.end.div_ceil(BLOCK)
}

impl Open {
    /// The footer, or that it is damaged.
    pub fn footer(&self, chunk: ChunkId) -> Result<&Footer, ChunkError> {
        self.footer.as_ref().map_err(|reason| ChunkError::Footer { chunk, reason: *reason })
    }
}

impl Disk {
    pub(super) fn read(&self, chunk: ChunkId, offset: u32, length: u32) -> Result<Bytes, ChunkError> {
        let range = range(chunk, offset, length as usize)?;
        self.reading(chunk, |open| {
            let Some(open) = open else { return Ok(Bytes::new()) };
            let footer = open.footer(chunk)?;
            let Some(wanted) = within(range, footer) else { return Ok(Bytes::new()) };
            let blocks = blocks_of(&wanted);
            let bytes = read_blocks(&open.file, chunk, blocks.clone())?;
            checked(chunk, footer, blocks, bytes, wanted)
        })
    }

    pub(super) fn read_cached(&self, chunk: ChunkId, offset: u32, length: u32) -> Option<Result<Bytes, ChunkError>> {
        let range = match range(chunk, offset, length as usize) {
            Ok(range) => range,
            Err(e) => return Some(Err(e)),
        };
        let held = self.files.known(chunk)?;
        let state = held.state.try_read()?;
        let open = match &*state {
            State::Unknown => return None,
            State::Absent => return Some(Ok(Bytes::new())),
            State::Open(open) => open,
        };
        let footer = match open.footer(chunk) {
            Ok(footer) => footer,
            Err(e) => return Some(Err(e)),
        };
        let Some(wanted) = within(range, footer) else { return Some(Ok(Bytes::new())) };
        let blocks = blocks_of(&wanted);
        let bytes = io::read_cached_at(&open.file, (blocks.start * BLOCK) as u64, blocks.len() * BLOCK)?;
        Some(checked(chunk, footer, blocks, bytes, wanted))
    }

    pub(super) fn extents(&self, chunk: ChunkId) -> Result<(u32, Vec<(u16, u16)>), ChunkError> {
        self.reading(chunk, |open| {
            let Some(open) = open else { return Ok((0, Vec::new())) };
            let footer = open.footer(chunk)?;
            Ok((footer.length, footer.sums.extents()))
        })
    }

    pub(super) fn check(&self, chunk: ChunkId) -> Result<Option<ChunkSummary>, ChunkError> {
        let cached = self.reading(chunk, |open| Ok(open.is_none_or(|open| io::is_cached(&open.file))))?;
        let summary = self.summary(chunk, true);
        if !cached {
            self.reading(chunk, |open| Ok(open.map(|open| io::forget_cached(&open.file))))?;
        }
        summary
    }

    pub(super) fn summary(&self, chunk: ChunkId, deep: bool) -> Result<Option<ChunkSummary>, ChunkError> {
        self.reading(chunk, |known| {
            // Whoever looks deeply wants to know what is on disk, not what this server remembers of it: a footer that
            // rotted, or a file that somebody took away, would not be seen until the server starts again. Nor would one that
            // somebody has put there.
            let remembered = known.filter(|_| !deep);
            let on_disk = if remembered.is_none() { self.open(chunk)? } else { None };
            let Some(open) = remembered.or(on_disk.as_ref()) else { return Ok(None) };
            let Ok(footer) = open.footer(chunk) else {
                let damaged = BLOCKS_PER_CHUNK as u32;
                return Ok(Some(ChunkSummary { chunk, length: 0, blocks: 0, digest: 0, damaged, lost: 0 }));
            };
            let (length, blocks) = (footer.length, footer.sums.written());
            if !deep {
                let digest = u64::from(footer.digest());
                let lost = footer.sums.lost_bytes(length);
                return Ok(Some(ChunkSummary { chunk, length, blocks, digest, damaged: 0, lost }));
            }
            let (mut damaged, mut lost, mut content) = (0, 0, Content::default());
            examine(&open.file, chunk, footer, |block, bytes, good| match bytes {
                Some(bytes) if footer.sums.get(block).is_lost(bytes) => {
                    lost += lost_in(block, length);
                    content.add_lost(block);
                }
                _ => {
                    damaged += u32::from(!good);
                    if let (Some(bytes), false) = (bytes, footer.sums.is_hole(block)) {
                        content.add(block, bytes);
                    }
                }
            })?;
            Ok(Some(ChunkSummary { chunk, length, blocks, digest: content.digest(length), damaged, lost }))
        })
    }
}

/// What of the range lies within the chunk's length.
fn within(range: Range<usize>, footer: &Footer) -> Option<Range<usize>> {
    let end = range.end.min(footer.length as usize);
    (range.start < end).then_some(range.start..end)
}

/// Reads whole blocks.
pub fn read_blocks(file: &File, chunk: ChunkId, blocks: Range<usize>) -> Result<Vec<u8>, ChunkError> {
    match io::read_at(file, (blocks.start * BLOCK) as u64, blocks.len() * BLOCK) {
        Ok(bytes) => Ok(bytes),
        Err(e) if e.raw_os_error() == Some(libc::EIO) => {
            tracing::warn!("chunk {chunk}: blocks {} to {} cannot be read: {e}", blocks.start, blocks.end - 1);
            let bad = |block: &usize| io::read_at(file, (block * BLOCK) as u64, BLOCK).is_err();
            let block = blocks.clone().find(bad).unwrap_or(blocks.start) as u16;
            Err(ChunkError::Damaged { chunk, block })
        }
        Err(source) => Err(ChunkError::Disk { action: "read", chunk, source }),
    }
}

/// The wanted range of these blocks, if all of them match their sums.
fn checked(
    chunk: ChunkId,
    footer: &Footer,
    blocks: Range<usize>,
    bytes: Vec<u8>,
    wanted: Range<usize>,
) -> Result<Bytes, ChunkError> {
    for (block, bytes) in blocks.clone().zip(bytes.chunks(BLOCK)) {
        check_block(chunk, footer, block, bytes)?;
    }
    let from = wanted.start - blocks.start * BLOCK;
    Ok(Bytes::from(bytes).slice(from..from + wanted.len()))
}

/// Compares one block with its sum.
pub fn check_block(chunk: ChunkId, footer: &Footer, block: usize, bytes: &[u8]) -> Result<(), ChunkError> {
    if footer.sums.get(block).matches(bytes) {
        return Ok(());
    }
    if footer.sums.get(block).is_lost(bytes) {
        return Err(ChunkError::Lost { chunk, block: block as u16 });
    }
    // Whoever mends it says so, once for the whole chunk.
    tracing::debug!("chunk {chunk}, block {block}: the bytes do not match their checksum");
    Err(ChunkError::Damaged { chunk, block: block as u16 })
}

/// Reads all of a chunk that is no hole, by its sums or by the file system's word, and tells of each block its bytes
/// (None if the disk cannot read them) and whether they match.
pub fn examine(
    file: &File,
    chunk: ChunkId,
    footer: &Footer,
    mut tell: impl FnMut(usize, Option<&[u8]>, bool),
) -> Result<(), ChunkError> {
    let failed = |source| ChunkError::Disk { action: "look for holes of", chunk, source };
    let mut block = 0;
    while block < BLOCKS_PER_CHUNK {
        if footer.sums.is_hole(block) {
            // Bytes where none should be are damage, too; the file system knows where there are any.
            match io::next_data(file, (block * BLOCK) as u64).map_err(failed)? {
                Some(at) if at < FOOTER_AT => {
                    let data = (at / BLOCK_BYTES) as usize;
                    block = (block..data).find(|b| !footer.sums.is_hole(*b)).unwrap_or(data);
                }
                _ => match (block..BLOCKS_PER_CHUNK).find(|b| !footer.sums.is_hole(*b)) {
                    Some(next) => block = next,
                    None => return Ok(()),
                },
            }
        }
        let hole = footer.sums.is_hole(block);
        let last = (block + BATCH).min(BLOCKS_PER_CHUNK);
        let end = (block..last).find(|b| footer.sums.is_hole(*b) != hole).unwrap_or(last);
        match io::read_at(file, (block * BLOCK) as u64, (end - block) * BLOCK) {
            Ok(bytes) => {
                for (at, bytes) in (block..end).zip(bytes.chunks(BLOCK)) {
                    tell(at, Some(bytes), footer.sums.get(at).matches(bytes));
                }
            }
            Err(e) => {
                tracing::warn!("chunk {chunk}: blocks {block} to {} cannot be read: {e}", end - 1);
                for at in block..end {
                    let bytes = io::read_at(file, (at * BLOCK) as u64, BLOCK).ok();
                    let good = bytes.as_ref().is_some_and(|bytes| footer.sums.get(at).matches(bytes));
                    tell(at, bytes.as_deref(), good);
                }
            }
        }
        block = end;
    }
    Ok(())
}

/// What is known of a chunk whose footer is lost: where its bytes end, and that every block with data is unsummed.
pub fn footer_from_bytes(file: &File, chunk: ChunkId, reason: FormatError) -> Result<Footer, ChunkError> {
    tracing::warn!("chunk {chunk}: making a new footer from its bytes, as {reason}");
    let mut made = Footer::default();
    let mut length = 0;
    examine(file, chunk, &Footer::default(), |block, bytes, zeros| {
        if let (Some(bytes), false) = (bytes, zeros) {
            let end = bytes.iter().rposition(|&b| b != 0).map_or(0, |last| last + 1);
            length = block * BLOCK + end;
            let sum = if is_tombstone(bytes) { no_sum_of_tombstone() } else { BlockSum::of(bytes) };
            made.sums.set(block, sum);
        }
    })?;
    made.length = length as u32;
    Ok(made)
}
