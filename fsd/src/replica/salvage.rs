//! A copy of a chunk of which some is lost: its good blocks, and the others as damaged as they are here. For a mirror that
//! has no better one: what is lost stays lost there too, and is never taken for good.

use crate::chunk::{ChunkError, ChunkStore};
use raidfs_common::checksum::BlockSum;
use raidfs_common::id::ChunkId;
use raidfs_common::limits::{BLOCK_BYTES, BLOCKS_PER_CHUNK, CHUNK_BYTES};
use raidfs_common::rpc::chunks::ChunkCopy;

const BLOCK: u32 = BLOCK_BYTES as u32;
const ZEROS: [u8; BLOCK as usize] = [0; BLOCK as usize];

/// The chunk as far as it can be read.
pub fn salvage(store: &dyn ChunkStore, chunk: ChunkId) -> Result<ChunkCopy, ChunkError> {
    let (length, extents) = match store.extents(chunk) {
        Ok(known) => known,
        // Without a footer nothing can be told from anything else: all of it is lost.
        Err(error) if error.is_damage() => (CHUNK_BYTES as u32, vec![(0, BLOCKS_PER_CHUNK as u16)]),
        Err(error) => return Err(error),
    };
    let mut copy =
        ChunkCopy { length, extents: Vec::new(), data: Default::default(), sums: Vec::new(), damaged: Vec::new() };
    let mut data = Vec::new();
    for block in 0..length.div_ceil(BLOCK) as u16 {
        let is_written = extents.iter().any(|(first, count)| (*first..*first + *count).contains(&block));
        match store.read(chunk, u32::from(block) * BLOCK, BLOCK) {
            Ok(_) if !is_written => continue,
            Ok(bytes) => {
                copy.sums.push(BlockSum::of(&bytes).0);
                data.extend_from_slice(&bytes);
                data.resize(data.len().next_multiple_of(BLOCK as usize), 0);
            }
            Err(error) if error.is_damage() => {
                copy.sums.push(no_sum_of_zeros());
                data.extend_from_slice(&ZEROS);
                copy.damaged.push(block);
            }
            Err(error) => return Err(error),
        }
        match copy.extents.last_mut() {
            Some((first, count)) if *first + *count == block => *count += 1,
            _ => copy.extents.push((block, 1)),
        }
    }
    copy.data = data.into();
    Ok(copy)
}

/// A sum that zeros do not match, and that is not that of a hole.
fn no_sum_of_zeros() -> u32 {
    let sum = BlockSum::of(&ZEROS).0;
    if sum == u32::MAX { 1 } else { sum + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::memory::MemoryChunks;
    use crate::replica::tests::store::TestStore;
    use raidfs_common::id::Ino;

    const C: ChunkId = ChunkId { ino: Ino(1), index: 0 };

    #[test]
    fn what_is_good_is_kept_and_what_is_lost_stays_lost() {
        let (from, to) = (TestStore::default(), TestStore::default());
        from.write(C, 0, &[1; 3 * BLOCK as usize - 9]).unwrap();
        from.write(C, 5 * BLOCK, &[2; 7]).unwrap();
        from.rot(C, 1);
        let copy = salvage(&from, C).unwrap();
        assert_eq!((copy.extents.clone(), copy.damaged.clone()), (vec![(0, 3), (5, 1)], vec![1]));
        to.import(C, Some(&copy)).unwrap();
        assert!(matches!(to.read(C, BLOCK, 1), Err(ChunkError::Damaged { block: 1, .. })));
        assert_eq!(to.read(C, 5 * BLOCK, 100).unwrap(), [2; 7][..]);
        assert_eq!(to.read(C, 0, BLOCK).unwrap(), [1; BLOCK as usize][..]);
        MemoryChunks::default().import(C, Some(&copy)).expect("a store takes it for sound");
    }
}
