//! The footer of a chunk file: what the chunk is, how long it is, and one sum for each of its blocks.
//!
//! ```text
//! 0        the chunk's bytes, plain; holes where nothing was written
//! 4 MiB    header, 64 bytes
//!            0  magic "raidfsCH"      8  version    12  flags (0)
//!           16  inode                24  index      28  length    32  zeros    60  sum of the 60 bytes before
//! +64      1024 block sums; 0 is a hole; "LOST" above zeros is a block that was accepted as lost
//! ```
//!
//! All numbers are little-endian. Every chunk file has its full size from the start, so one that is shorter is damaged.
//! The place and meaning of magic, version and the header's sum are the same in all versions to come. Pure: it never
//! touches a file, and decoding never panics whatever the bytes are. Driven by the store on disk.

use raidfs_common::checksum::{self, BlockSum};
use raidfs_common::id::{ChunkId, Ino};
use raidfs_common::limits::{BLOCK_BYTES, BLOCKS_PER_CHUNK, CHUNK_BYTES};

/// Where the footer begins in the file.
pub const FOOTER_AT: u64 = CHUNK_BYTES;
/// Size of the header.
pub const HEADER_BYTES: usize = 64;
/// Size of header and sums.
pub const FOOTER_BYTES: usize = HEADER_BYTES + BLOCKS_PER_CHUNK * 4;
/// Size of every chunk file.
pub const FILE_BYTES: u64 = FOOTER_AT + FOOTER_BYTES as u64;
/// The version that this program writes, and the only one that it reads.
pub const VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"raidfsCH";
const SUM_AT: usize = HEADER_BYTES - 4;

/// Why a footer cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The file ends before it, or it was never written.
    #[error("it has no footer (the file is incomplete)")]
    Missing,
    /// The header does not match its own sum.
    #[error("its header does not match its checksum")]
    Header,
    /// Written by a program that knows more.
    #[error("its format is version {found}, and this program reads version {VERSION}; use the newer program")]
    Version {
        /// The version it says.
        found: u32,
    },
    /// The header is intact and is another chunk's.
    #[error("it says that it is chunk {found}")]
    Other {
        /// The chunk it says.
        found: ChunkId,
    },
    /// The header is intact and says what cannot be.
    #[error("its header says what cannot be (length {length}, flags {flags:#x})")]
    Content {
        /// The length it says.
        length: u32,
        /// The flags it says.
        flags: u32,
    },
}

/// A chunk's block sums. Kept only up to the last block that is no hole, as most files are small.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums(Vec<u32>);

impl Sums {
    /// The sum of a block below [`BLOCKS_PER_CHUNK`].
    pub fn get(&self, block: usize) -> BlockSum {
        BlockSum(self.0.get(block).copied().unwrap_or_default())
    }

    /// Whether the block was never written, or was given back.
    pub fn is_hole(&self, block: usize) -> bool {
        self.get(block) == BlockSum::HOLE
    }

    /// Sets the sum of a block below [`BLOCKS_PER_CHUNK`].
    pub fn set(&mut self, block: usize, sum: BlockSum) {
        debug_assert!(block < BLOCKS_PER_CHUNK);
        if block >= self.0.len() {
            if sum == BlockSum::HOLE {
                return;
            }
            self.0.resize(block + 1, 0);
        }
        self.0[block] = sum.0;
        if sum == BlockSum::HOLE && block + 1 == self.0.len() {
            let used = self.0.iter().rposition(|&s| s != 0).map_or(0, |last| last + 1);
            self.0.truncate(used);
        }
    }

    /// Blocks with bytes: no holes, and not lost by their sum.
    pub fn written(&self) -> u32 {
        self.0.iter().filter(|&&s| s != 0 && s != BlockSum::LOST.0).count() as u32
    }

    /// Blocks that are no holes, those that were accepted as lost among them.
    pub fn blocks(&self) -> u32 {
        self.0.iter().filter(|&&s| s != 0).count() as u32
    }

    /// Of these blocks, those that are lost by their sum, which need room when they are written.
    pub fn lost(&self, blocks: impl Iterator<Item = usize>) -> u32 {
        blocks.filter(|block| self.get(*block) == BlockSum::LOST).count() as u32
    }

    /// How many bytes of a chunk of this length are lost by the sums of their blocks.
    pub fn lost_bytes(&self, length: u32) -> u32 {
        let lost = (0..self.end()).filter(|block| self.get(*block) == BlockSum::LOST);
        lost.map(|block| lost_in(block, length)).sum()
    }

    /// One behind the last block that is no hole.
    pub fn end(&self) -> usize {
        self.0.len()
    }

    /// Runs of blocks that are no holes: first block and number of blocks, in order and apart from each other.
    pub fn extents(&self) -> Vec<(u16, u16)> {
        let mut runs: Vec<(u16, u16)> = Vec::new();
        for (block, _) in self.0.iter().enumerate().filter(|(_, s)| **s != 0) {
            match runs.last_mut() {
                Some((first, count)) if usize::from(*first) + usize::from(*count) == block => *count += 1,
                _ => runs.push((block as u16, 1)),
            }
        }
        runs
    }
}

/// A decoded footer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Footer {
    /// The chunk's length in bytes: the end of the last byte ever written (cuts lower it).
    pub length: u32,
    /// The sums of its blocks.
    pub sums: Sums,
}

impl Footer {
    /// Equal for chunks of equal length with equal bytes and equal holes, and for no others that are likely to meet.
    pub fn digest(&self) -> u32 {
        let mut bytes = Vec::with_capacity(4 + BLOCKS_PER_CHUNK * 4);
        bytes.extend_from_slice(&self.length.to_le_bytes());
        bytes.extend(self.sums.0.iter().flat_map(|s| s.to_le_bytes()));
        bytes.resize(4 + BLOCKS_PER_CHUNK * 4, 0);
        checksum::record(&bytes)
    }

    /// The header's bytes.
    pub fn encode_header(&self, chunk: ChunkId) -> [u8; HEADER_BYTES] {
        let mut header = [0; HEADER_BYTES];
        header[0..8].copy_from_slice(&MAGIC);
        header[8..12].copy_from_slice(&VERSION.to_le_bytes());
        header[16..24].copy_from_slice(&chunk.ino.0.to_le_bytes());
        header[24..28].copy_from_slice(&chunk.index.to_le_bytes());
        header[28..32].copy_from_slice(&self.length.to_le_bytes());
        let sum = checksum::record(&header[..SUM_AT]);
        header[SUM_AT..].copy_from_slice(&sum.to_le_bytes());
        header
    }

    /// The bytes of the sums of blocks `first..end`, and their place in the file.
    pub fn encode_sums(&self, first: usize, end: usize) -> (u64, Vec<u8>) {
        let bytes = (first..end).flat_map(|block| self.sums.get(block).0.to_le_bytes()).collect();
        (sum_place(first), bytes)
    }

    /// Header and all sums.
    pub fn encode(&self, chunk: ChunkId) -> Vec<u8> {
        let mut bytes = self.encode_header(chunk).to_vec();
        bytes.extend(self.encode_sums(0, BLOCKS_PER_CHUNK).1);
        bytes
    }

    /// Reads the footer of `chunk`; the bytes are from [`FOOTER_AT`] to the end of the file.
    pub fn decode(chunk: ChunkId, bytes: &[u8]) -> Result<Footer, FormatError> {
        if bytes.len() < FOOTER_BYTES || bytes[..HEADER_BYTES].iter().all(|&b| b == 0) {
            return Err(FormatError::Missing);
        }
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        if bytes[0..8] != MAGIC || word(SUM_AT) != checksum::record(&bytes[..SUM_AT]) {
            return Err(FormatError::Header);
        }
        let (version, flags, length) = (word(8), word(12), word(28));
        if version != VERSION {
            return Err(FormatError::Version { found: version });
        }
        let found = ChunkId { ino: Ino(long(16)), index: word(24) };
        if found != chunk {
            return Err(FormatError::Other { found });
        }
        if flags != 0 || u64::from(length) > CHUNK_BYTES {
            return Err(FormatError::Content { length, flags });
        }
        let mut sums: Vec<u32> = (0..BLOCKS_PER_CHUNK).map(|block| word(HEADER_BYTES + block * 4)).collect();
        let used = sums.iter().rposition(|&s| s != 0).map_or(0, |last| last + 1);
        sums.truncate(used);
        sums.shrink_to_fit();
        Ok(Footer { length, sums: Sums(sums) })
    }
}

/// How many bytes of a chunk of this length a lost block stands for.
pub fn lost_in(block: usize, length: u32) -> u32 {
    length.saturating_sub((block as u64 * BLOCK_BYTES) as u32).min(BLOCK_BYTES as u32)
}

/// Where the sum of a block lies in the file.
pub fn sum_place(block: usize) -> u64 {
    FOOTER_AT + (HEADER_BYTES + block * 4) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CHUNK: ChunkId = ChunkId { ino: Ino(0x1234_5678_9abc), index: 7 };

    fn footer() -> Footer {
        let mut footer = Footer { length: 5000, ..Footer::default() };
        footer.sums.set(0, BlockSum(1));
        footer.sums.set(1, BlockSum(u32::MAX));
        footer.sums.set(1023, BlockSum(9));
        footer
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let bytes = footer().encode(CHUNK);
        assert_eq!(bytes.len(), FOOTER_BYTES);
        assert_eq!(Footer::decode(CHUNK, &bytes), Ok(footer()));
        assert_eq!(footer().sums.extents(), [(0, 2), (1023, 1)]);
        assert_eq!(footer().sums.written(), 3);
    }

    #[test]
    fn each_kind_of_damage_has_its_name() {
        let bytes = footer().encode(CHUNK);
        assert_eq!(Footer::decode(CHUNK, &bytes[..FOOTER_BYTES - 1]), Err(FormatError::Missing));
        assert_eq!(Footer::decode(CHUNK, &[0; FOOTER_BYTES]), Err(FormatError::Missing));
        for at in 0..HEADER_BYTES * 8 {
            let mut bytes = bytes.clone();
            bytes[at / 8] ^= 1 << (at % 8);
            assert_eq!(Footer::decode(CHUNK, &bytes), Err(FormatError::Header), "bit {at}");
        }
        let other = ChunkId { index: 8, ..CHUNK };
        assert_eq!(Footer::decode(other, &bytes), Err(FormatError::Other { found: CHUNK }));
        let resummed = |at: usize, value: u8| {
            let mut bytes = bytes.clone();
            bytes[at] = value;
            let sum = checksum::record(&bytes[..SUM_AT]);
            bytes[SUM_AT..HEADER_BYTES].copy_from_slice(&sum.to_le_bytes());
            Footer::decode(CHUNK, &bytes)
        };
        assert_eq!(resummed(8, 2), Err(FormatError::Version { found: 2 }));
        assert_eq!(resummed(12, 1), Err(FormatError::Content { length: 5000, flags: 1 }));
        assert!(matches!(resummed(31, 1), Err(FormatError::Content { .. })));
    }

    #[test]
    fn the_digest_sees_length_sums_and_holes_but_not_history() {
        let plain = footer();
        let mut longer = plain.clone();
        longer.length += 1;
        let mut allocated = plain.clone();
        allocated.sums.set(2, BlockSum::of(&[0; 4096]));
        assert_ne!(plain.digest(), longer.digest());
        assert_ne!(plain.digest(), allocated.digest());
        allocated.sums.set(2, BlockSum::HOLE);
        allocated.sums.set(1023, BlockSum::HOLE);
        allocated.sums.set(1023, BlockSum(9));
        assert_eq!(plain, allocated);
        assert_eq!(plain.digest(), allocated.digest());
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..FOOTER_BYTES + 9)) {
            prop_assert!(Footer::decode(CHUNK, &bytes).is_err());
        }
    }
}
