//! Whether a copy of a chunk that came from elsewhere is sound, but for the blocks that it says are damaged. Pure; every
//! store asks this before it takes one.

use super::ChunkError;
use super::format::Footer;
use raidfs_common::checksum::BlockSum;
use raidfs_common::id::ChunkId;
use raidfs_common::limits::{BLOCK_BYTES, BLOCKS_PER_CHUNK, CHUNK_BYTES};
use raidfs_common::rpc::chunks::ChunkCopy;

/// The footer that a copy will have, if the copy is sound and its bytes match.
pub fn footer_of(chunk: ChunkId, copy: &ChunkCopy) -> Result<Footer, ChunkError> {
    let invalid = |problem| ChunkError::Invalid { chunk, problem };
    if u64::from(copy.length) > CHUNK_BYTES {
        return Err(invalid("the copy is longer than a chunk"));
    }
    let mut blocks = Vec::with_capacity(copy.sums.len());
    let mut end = 0;
    for (first, count) in &copy.extents {
        let (first, count) = (usize::from(*first), usize::from(*count));
        let apart = first > end || (first == 0 && blocks.is_empty());
        if count == 0 || !apart || first + count > BLOCKS_PER_CHUNK {
            return Err(invalid("the copy's runs of blocks are not in order"));
        }
        end = first + count;
        blocks.extend(first..end);
    }
    if blocks.len() != copy.sums.len() || blocks.len() * BLOCK_BYTES as usize != copy.data.0.len() {
        return Err(invalid("the copy has not as many bytes or sums as its runs of blocks"));
    }
    let mut footer = Footer { length: copy.length, ..Footer::default() };
    for ((block, sum), bytes) in blocks.into_iter().zip(&copy.sums).zip(copy.data.0.chunks(BLOCK_BYTES as usize)) {
        if BlockSum(*sum) == BlockSum::HOLE {
            return Err(invalid("the copy has the sum of a hole where it has bytes"));
        }
        footer.sums.set(block, BlockSum(*sum));
        let kept_as_damaged = copy.damaged.binary_search(&(block as u16)).is_ok();
        if !kept_as_damaged && !BlockSum(*sum).matches(bytes) {
            return Err(invalid("a block of the copy does not match its sum"));
        }
    }
    Ok(footer)
}
