//! Byte ranges of a file as ranges of chunks.

use crate::limits::CHUNK_BYTES;

/// A piece of a byte range that lies in one chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Which chunk.
    pub index: u32,
    /// From where in the chunk, in bytes.
    pub offset: u32,
    /// How many bytes.
    pub length: u32,
}

/// The pieces of `length` bytes from `offset` of a file, in order. The range must end within
/// [`crate::limits::FILE_MAX_BYTES`].
pub fn pieces(offset: u64, length: u64) -> impl Iterator<Item = Piece> {
    let end = offset + length;
    let mut at = offset;
    std::iter::from_fn(move || {
        (at < end).then(|| {
            let start = at % CHUNK_BYTES;
            let piece_length = (CHUNK_BYTES - start).min(end - at);
            let piece = Piece { index: (at / CHUNK_BYTES) as u32, offset: start as u32, length: piece_length as u32 };
            at += piece_length;
            piece
        })
    })
}

/// How many bytes of chunk `index` lie within a file of `size` bytes.
pub fn length_in_chunk(size: u64, index: u32) -> u64 {
    size.saturating_sub(u64::from(index) * CHUNK_BYTES).min(CHUNK_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_at_chunk_borders() {
        let got: Vec<Piece> = pieces(CHUNK_BYTES - 10, CHUNK_BYTES + 20).collect();
        assert_eq!(
            got,
            [
                Piece { index: 0, offset: CHUNK_BYTES as u32 - 10, length: 10 },
                Piece { index: 1, offset: 0, length: CHUNK_BYTES as u32 },
                Piece { index: 2, offset: 0, length: 10 },
            ]
        );
        assert_eq!(pieces(5, 0).count(), 0);
        assert_eq!(length_in_chunk(CHUNK_BYTES + 1, 0), CHUNK_BYTES);
        assert_eq!(length_in_chunk(CHUNK_BYTES + 1, 1), 1);
        assert_eq!(length_in_chunk(CHUNK_BYTES + 1, 2), 0);
    }
}
