//! Copies of chunks of which some is lost: the good blocks, and the others as damaged as they are. Such a copy is made
//! for a mirror that has no better one (what is lost stays lost there, too, and is never taken for good), and for mending:
//! of two copies that are damaged in different places a whole one is made. Pure; the stores read the blocks.

use raidfs_common::checksum::BlockSum;
use raidfs_common::limits::{BLOCK_BYTES, BLOCKS_PER_CHUNK, CHUNK_BYTES};
use raidfs_common::rpc::chunks::ChunkCopy;

const BLOCK: usize = BLOCK_BYTES as usize;
const ZEROS: [u8; BLOCK] = [0; BLOCK];
/// What stands in the place of bytes that are lost: whoever finds a block that does not match its sum knows by it that it is
/// not one whose write was cut off, of which what is there may be taken for true.
const TOMBSTONE: [u8; BLOCK] = tombstone();

const fn tombstone() -> [u8; BLOCK] {
    let words = b"raidfs: the bytes of this block were lost on every mirror. ";
    let mut block = [0; BLOCK];
    let mut at = 0;
    while at < BLOCK {
        block[at] = words[at % words.len()];
        at += 1;
    }
    block
}

/// Whether a block that does not match its sum is one whose bytes are known to be lost.
pub fn is_tombstone(bytes: &[u8]) -> bool {
    bytes == TOMBSTONE
}

/// What could be read of a chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Salvage {
    /// The good blocks, and the others as damaged.
    pub copy: ChunkCopy,
    /// Of these, in order, those that the disk could not read at all: what is there may be good, and be read another time.
    pub unread: Vec<u16>,
}

impl From<ChunkCopy> for Salvage {
    /// All of it was read.
    fn from(copy: ChunkCopy) -> Salvage {
        Salvage { copy, unread: Vec::new() }
    }
}

impl Salvage {
    /// Whether something that could not be read, and may be good, would be lost in this copy.
    pub fn would_lose(&self, copy: &ChunkCopy) -> bool {
        self.unread.iter().any(|block| copy.damaged.binary_search(block).is_ok())
    }

    /// Blocks that are damaged, and good in this copy, with their bytes; those that are holes there are left out.
    pub fn better<'a>(&self, copy: &'a ChunkCopy) -> Vec<(u16, &'a [u8])> {
        let good = |(number, block): (usize, Block<'a>)| match block {
            Block::Good(bytes, _) => Some((number as u16, bytes)),
            Block::Hole | Block::Lost(_) => None,
        };
        let found = blocks(copy).into_iter().enumerate().filter_map(good);
        found.filter(|(number, _)| self.copy.damaged.binary_search(number).is_ok()).collect()
    }
}

/// A block of a copy.
#[derive(Clone, Copy, Debug)]
pub enum Block<'a> {
    /// There is none.
    Hole,
    /// Its bytes, a whole block of them, and their sum.
    Good(&'a [u8], BlockSum),
    /// Its bytes are lost; its sum, as far as that is known, is that of the right ones.
    Lost(BlockSum),
}

/// A copy that is made block by block.
#[derive(Debug, Default)]
pub struct Maker {
    extents: Vec<(u16, u16)>,
    data: Vec<u8>,
    sums: Vec<u32>,
    damaged: Vec<u16>,
}

impl Maker {
    /// With room for so many blocks.
    pub fn with_room(blocks: usize) -> Maker {
        Maker { data: Vec::with_capacity(blocks * BLOCK), sums: Vec::with_capacity(blocks), ..Maker::default() }
    }

    /// The next block; those that are left out are holes.
    pub fn push(&mut self, number: usize, block: Block<'_>) {
        let number = number as u16;
        match block {
            Block::Hole => return,
            Block::Good(bytes, sum) => {
                self.sums.push(sum.0);
                self.data.extend_from_slice(bytes);
            }
            Block::Lost(BlockSum::LOST) => {
                self.sums.push(BlockSum::LOST.0);
                self.data.extend_from_slice(&ZEROS);
                self.damaged.push(number);
            }
            Block::Lost(sum) => {
                let sum = match sum {
                    BlockSum::HOLE => sum_of_lost_hole(),
                    sum if sum.matches(&TOMBSTONE) => no_sum_of_tombstone(),
                    sum => sum,
                };
                self.sums.push(sum.0);
                self.data.extend_from_slice(&TOMBSTONE);
                self.damaged.push(number);
            }
        }
        match self.extents.last_mut() {
            Some((first, count)) if *first + *count == number => *count += 1,
            _ => self.extents.push((number, 1)),
        }
    }

    /// The copy of a chunk that is so long.
    pub fn copy(self, length: u32) -> ChunkCopy {
        let Maker { extents, data, sums, damaged } = self;
        ChunkCopy { length, extents, data: data.into(), sums, damaged }
    }
}

/// The copy of a chunk without a footer: nothing of it can be told from anything else.
pub fn all_lost() -> ChunkCopy {
    let mut maker = Maker::default();
    (0..BLOCKS_PER_CHUNK).for_each(|number| maker.push(number, Block::Lost(no_sum_of_tombstone())));
    maker.copy(CHUNK_BYTES as u32)
}

/// How many blocks of a copy are damaged, without those that were accepted as lost.
pub fn damaged(copy: &ChunkCopy) -> u32 {
    let is_damaged = |block: &Block<'_>| matches!(block, Block::Lost(sum) if *sum != BlockSum::LOST);
    if copy.damaged.is_empty() { 0 } else { blocks(copy).iter().filter(|block| is_damaged(block)).count() as u32 }
}

/// Whether nothing of it is good.
pub fn is_all_lost(copy: &ChunkCopy) -> bool {
    copy.damaged.len() == BLOCKS_PER_CHUNK
}

/// What of another copy is taken in place of what is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// All that is good there: it has the same bytes.
    Same,
    /// It may be older: only what matches the sums here.
    MayBeOlder,
}

/// One chunk of two copies of it: what is good in `own` stays as it is, since it may be newer by a change that is under
/// way; what is not is taken from `other`; what is good in neither stays lost, as what was accepted as lost where one of them knows
/// that, and has the same bytes.
pub fn merge(own: &ChunkCopy, other: &ChunkCopy, trust: Trust) -> ChunkCopy {
    let length = if is_all_lost(own) && trust == Trust::Same { other.length } else { own.length };
    let mut maker = Maker::default();
    for (number, (own, other)) in blocks(own).into_iter().zip(blocks(other)).enumerate() {
        let taken = match (own, other, trust) {
            (Block::Lost(_), Block::Lost(BlockSum::LOST), Trust::Same) => other,
            (Block::Lost(_), Block::Lost(_), _) => own,
            (Block::Lost(_), _, Trust::Same) => other,
            (Block::Lost(known), Block::Good(_, sum), Trust::MayBeOlder) if known == sum => other,
            (Block::Lost(known), Block::Hole, Trust::MayBeOlder) if known == sum_of_lost_hole() => other,
            _ => own,
        };
        maker.push(number, taken);
    }
    maker.copy(length)
}

/// All blocks of a copy.
fn blocks(copy: &ChunkCopy) -> Vec<Block<'_>> {
    let mut blocks = vec![Block::Hole; BLOCKS_PER_CHUNK];
    let numbers = copy.extents.iter().flat_map(|(first, count)| *first..first.saturating_add(*count));
    let parts = copy.data.0.chunks_exact(BLOCK).zip(&copy.sums);
    for (number, (bytes, sum)) in numbers.zip(parts) {
        if let Some(block) = blocks.get_mut(usize::from(number)) {
            let sum = BlockSum(*sum);
            let is_lost = copy.damaged.binary_search(&number).is_ok();
            *block = if is_lost { Block::Lost(sum) } else { Block::Good(bytes, sum) };
        }
    }
    blocks
}

/// The sum of a block of which nothing is known but that its bytes are lost.
pub fn no_sum_of_tombstone() -> BlockSum {
    unmatched(0)
}

/// The sum of a block whose bytes are lost, and that is known to be a hole.
fn sum_of_lost_hole() -> BlockSum {
    unmatched(1)
}

/// Sums that a tombstone does not match, and that mean nothing else.
fn unmatched(n: u32) -> BlockSum {
    BlockSum(BlockSum::of(&TOMBSTONE).0.wrapping_add(1 + n))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::memory::MemoryChunks;
    use crate::chunk::{ChunkError, ChunkStore};
    use crate::replica::tests::store::TestStore;
    use raidfs_common::id::{ChunkId, Ino};

    const C: ChunkId = ChunkId { ino: Ino(1), index: 0 };
    const B: u32 = BLOCK as u32;

    fn store() -> TestStore {
        let store = TestStore::default();
        store.write(C, 0, &[1; 3 * BLOCK - 9]).unwrap();
        store.write(C, 5 * B, &[2; 7]).unwrap();
        store
    }

    fn of(store: &TestStore) -> ChunkCopy {
        store.salvage(C).unwrap().unwrap().copy
    }

    #[test]
    fn what_is_good_is_kept_and_what_is_lost_stays_lost() {
        let (from, to) = (store(), TestStore::default());
        from.rot(C, 1);
        let copy = of(&from);
        assert_eq!((copy.extents.clone(), copy.damaged.clone()), (vec![(0, 3), (5, 1)], vec![1]));
        to.import(C, Some(&copy)).unwrap();
        assert!(matches!(to.read(C, B, 1), Err(ChunkError::Damaged { block: 1, .. })));
        assert_eq!(to.read(C, 5 * B, 100).unwrap(), [2; 7][..]);
        assert_eq!(to.read(C, 0, B).unwrap(), [1; BLOCK][..]);
        MemoryChunks::default().import(C, Some(&copy)).expect("a store takes it for sound");
    }

    #[test]
    fn two_copies_that_are_damaged_in_different_places_make_a_whole_one() {
        let (a, b, sound) = (store(), store(), store());
        a.rot(C, 1);
        b.rot(C, 5);
        // A change that has come to one of them only.
        a.write(C, 0, &[3; 5]).unwrap();
        sound.write(C, 0, &[3; 5]).unwrap();
        assert_eq!(merge(&of(&a), &of(&b), Trust::Same), of(&sound));
        b.rot(C, 1);
        let merged = merge(&of(&a), &of(&b), Trust::Same);
        assert_eq!(merged.damaged, [1], "what is good in neither stays lost");
        MemoryChunks::default().import(C, Some(&merged)).expect("a store takes it for sound");
    }

    #[test]
    fn what_is_damaged_here_and_was_accepted_as_lost_there_is_lost() {
        let (a, b) = (store(), TestStore::default());
        b.lose(C, 6 * B).unwrap();
        b.write(C, 0, &[1; BLOCK]).unwrap();
        a.rot(C, 0);
        a.rot(C, 1);
        let merged = merge(&of(&a), &of(&b), Trust::Same);
        a.import(C, Some(&merged)).unwrap();
        assert_eq!(a.read(C, 0, B).unwrap(), [1; BLOCK][..]);
        assert!(matches!(a.read(C, B, 1), Err(ChunkError::Lost { block: 1, .. })), "nobody has it");
        assert_eq!(damaged(&merged), 0);
        a.rot(C, 2);
        let merged = merge(&of(&a), &of(&b), Trust::MayBeOlder);
        assert_eq!(damaged(&merged), 1, "it may have been written since");
    }

    #[test]
    fn of_a_copy_that_may_be_older_only_what_is_the_same_is_taken() {
        let (a, b) = (store(), store());
        a.write(C, 0, &[3; 5]).unwrap();
        a.rot(C, 0);
        a.rot(C, 1);
        let merged = merge(&of(&a), &of(&b), Trust::MayBeOlder);
        assert_eq!(merged.damaged, [0], "the block that was changed meanwhile stays lost");
        assert_eq!(merge(&all_lost(), &of(&b), Trust::MayBeOlder), all_lost());
    }

    #[test]
    fn what_has_rotted_in_a_hole_is_a_hole_again_also_by_a_copy_that_may_be_older() {
        let (sound, b) = (store(), store());
        let mut rotten = of(&sound);
        // Between two blocks that are there, and behind all of them.
        let mut maker = Maker::default();
        for (number, own) in blocks(&rotten).into_iter().enumerate() {
            let is_rotten = [3, 1000].contains(&number);
            maker.push(number, if is_rotten { Block::Lost(BlockSum::HOLE) } else { own });
        }
        rotten = maker.copy(rotten.length);
        assert_eq!(rotten.damaged, [3, 1000]);
        assert_eq!(merge(&rotten, &of(&b), Trust::MayBeOlder), of(&sound));
        let gone = TestStore::default();
        gone.write(C, 0, b"x").unwrap();
        assert_eq!(merge(&all_lost(), &of(&gone), Trust::MayBeOlder), all_lost(), "which may have been written to");
        b.write(C, 3 * B, b"written before it was punched here").unwrap();
        assert_eq!(merge(&rotten, &of(&b), Trust::MayBeOlder).damaged, [3]);
    }

    #[test]
    fn the_sums_of_what_is_lost_mean_nothing_else() {
        for sum in [no_sum_of_tombstone(), sum_of_lost_hole()] {
            assert!(![BlockSum::HOLE, BlockSum::LOST].contains(&sum) && !sum.matches(&TOMBSTONE));
        }
        assert_ne!(no_sum_of_tombstone(), sum_of_lost_hole());
    }

    #[test]
    fn of_a_copy_without_a_footer_nothing_is_taken() {
        let sound = of(&store());
        assert!(is_all_lost(&all_lost()) && !is_all_lost(&sound));
        assert_eq!(merge(&all_lost(), &sound, Trust::Same), sound);
        assert_eq!(merge(&sound, &all_lost(), Trust::Same), sound);
    }
}
