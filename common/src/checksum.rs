//! The checksum of a block, and the only mention of its algorithm (CRC-32C, RFC 3720 appendix B.4); and names of 64 bits.

use crate::limits::BLOCK_BYTES;

/// What is stored for one block. Zero stands for a hole: a block that was never written and reads as zeros.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockSum(pub u32);

impl BlockSum {
    /// A block that was never written.
    pub const HOLE: BlockSum = BlockSum(0);

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
