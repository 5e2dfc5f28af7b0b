//! The checksum of a block, and the only mention of its algorithm (CRC-32C, RFC 3720 appendix B.4); a digest of contents
//! (XXH3 of 64 bits); and names of 64 bits.
//!
//! A block checksum tells a block from what chance makes of it, but not one content from another: of bytes that end with
//! their own CRC-32C, as the headers of databases do, it is always the same. Who compares two copies compares [`Content`].

use crate::limits::BLOCK_BYTES;
use xxhash_rust::xxh3::Xxh3Default;

/// What is stored for one block. Zero stands for a hole: a block that was never written and reads as zeros.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockSum(pub u32);

impl BlockSum {
    /// A block that was never written.
    pub const HOLE: BlockSum = BlockSum(0);
    /// In place of the sum of a block whose bytes were lost for good, which an operator has accepted, while the block's
    /// bytes are zeros; those have another sum. Of other bytes it may be the sum as any number.
    pub const LOST: BlockSum = BlockSum(u32::from_le_bytes(*b"LOST"));

    /// The sum of a block's bytes; a short last block is summed as if filled up with zeros. Never [`Self::HOLE`].
    pub fn of(block: &[u8]) -> BlockSum {
        const ZEROS: [u8; BLOCK_BYTES as usize] = [0; BLOCK_BYTES as usize];
        let sum = crc32c::crc32c(block);
        let sum = match (BLOCK_BYTES as usize).checked_sub(block.len()) {
            None | Some(0) => sum,
            Some(missing) => crc32c::crc32c_append(sum, &ZEROS[..missing]),
        };
        BlockSum(if sum == 0 { u32::MAX } else { sum })
    }

    /// Whether these bytes are what was summed; a hole matches zeros only.
    pub fn matches(self, block: &[u8]) -> bool {
        if self == Self::HOLE { block.iter().all(|&b| b == 0) } else { Self::of(block) == self }
    }

    /// Whether these bytes are in place of what was accepted as lost.
    pub fn is_lost(self, block: &[u8]) -> bool {
        self == Self::LOST && block.iter().all(|&b| b == 0)
    }
}

/// A digest of a chunk's bytes, block by block.
#[derive(Clone, Default)]
pub struct Content(Xxh3Default);

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Content")
    }
}

impl Content {
    /// The next block that is no hole; a short one counts as if filled up with zeros.
    pub fn add(&mut self, block: usize, bytes: &[u8]) {
        self.0.update(&(block as u64).to_le_bytes());
        self.0.update(bytes);
        self.0.update(&[0; BLOCK_BYTES as usize][bytes.len().min(BLOCK_BYTES as usize)..]);
    }

    /// The next block, whose bytes were accepted as lost: it differs from one of zeros.
    pub fn add_lost(&mut self, block: usize) {
        self.add(block, &BlockSum::LOST.0.to_le_bytes());
    }

    /// The digest of a chunk of so many bytes.
    pub fn digest(mut self, length: u32) -> u64 {
        self.0.update(&length.to_le_bytes());
        self.0.digest()
    }
}

/// The sum of a header or a record.
pub fn record(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}

/// A number of 64 bits that stands for some bytes (FNV-1a): stable for ever, and no secret hangs on it.
pub fn name(bytes: impl IntoIterator<Item = u8>) -> u64 {
    let add = |sum: u64, byte: u8| (sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_in_place_of_what_is_lost_are_neither_a_hole_nor_sound() {
        let zeros = [0; BLOCK_BYTES as usize];
        assert!(BlockSum::LOST.is_lost(&zeros) && !BlockSum::LOST.matches(&zeros));
        assert!(!BlockSum::HOLE.is_lost(&zeros) && !BlockSum::of(&zeros).is_lost(&zeros));
        assert!(!BlockSum::LOST.is_lost(&[1; BLOCK_BYTES as usize]));
    }

    #[test]
    fn a_short_block_sums_like_its_zero_filled_self() {
        let mut full = vec![7u8; 100];
        let short = BlockSum::of(&full);
        full.resize(BLOCK_BYTES as usize, 0);
        assert_eq!(BlockSum::of(&full), short);
        assert!(short.matches(&full));
        full[4000] = 1;
        assert!(!short.matches(&full));
    }

    #[test]
    fn what_has_its_own_checksum_is_told_from_other_such_bytes() {
        let block = |text: &str| {
            let mut bytes = text.as_bytes().to_vec();
            bytes.extend_from_slice(&crc32c::crc32c(text.as_bytes()).to_le_bytes());
            bytes
        };
        let (one, other) = (block("checkpoint 1"), block("checkpoint 2"));
        assert_eq!(BlockSum::of(&one), BlockSum::of(&other), "the block checksum does not see it");
        let digest = |bytes: &[u8]| {
            let mut content = Content::default();
            content.add(0, bytes);
            content.digest(4096)
        };
        assert_ne!(digest(&one), digest(&other));
        let mut full = one.clone();
        full.resize(BLOCK_BYTES as usize, 0);
        assert_eq!(digest(&one), digest(&full));
    }

    #[test]
    fn a_hole_matches_zeros_only() {
        assert!(BlockSum::HOLE.matches(&[0; 10]));
        assert!(!BlockSum::HOLE.matches(&[0, 1]));
        assert_ne!(BlockSum::of(&[0; 4096]), BlockSum::HOLE);
    }

    #[test]
    fn known_value() {
        assert_eq!(record(b"123456789"), 0xe306_9283);
        assert_eq!(name(*b"a"), 0xaf63_dc4c_8601_ec8c);
    }
}
