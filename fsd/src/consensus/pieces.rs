//! The order of a snapshot's pieces at whoever takes it. Pure. Pieces of two snapshots, or the same pieces twice, must not make
//! one state: the sender of an earlier term may not have heard that it ends, and begins anew whenever an answer is lost.

use raidfs_common::id::{LogIndex, ServerId, Term};
use raidfs_common::rpc::peer::SnapshotPiece;
use std::io;

/// Which snapshot is on its way here, and which of its pieces comes next; none at first.
#[derive(Debug, Default)]
pub struct Pieces {
    coming: Option<(Whose, u64)>,
}

/// Who sends it, in which term, and the entry that it is the state after.
type Whose = (ServerId, Term, LogIndex);

impl Pieces {
    /// Takes notice of a piece; refused unless it is the first of a snapshot, which takes the place of any other, or the next
    /// one of the snapshot that has begun.
    pub fn take(&mut self, piece: &SnapshotPiece) -> io::Result<()> {
        let whose = (piece.from, piece.term, piece.index);
        let is_next = piece.number == 0 || self.coming == Some((whose, piece.number));
        if !is_next {
            let text = format!("piece {} of its snapshot is not the next one here", piece.number);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        self.coming = (!piece.last).then_some((whose, piece.number + 1));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(from: u16, term: u64, index: u64, number: u64) -> SnapshotPiece {
        SnapshotPiece {
            from: ServerId(from),
            term: Term(term),
            index: LogIndex(index),
            entry_term: Term(1),
            number,
            last: false,
            data: bytes::Bytes::new().into(),
        }
    }

    #[test]
    fn only_the_next_piece_of_the_snapshot_that_has_begun_is_taken() {
        let mut pieces = Pieces::default();
        let mut takes = |piece: &SnapshotPiece| pieces.take(piece).is_ok();
        assert!(!takes(&piece(2, 5, 9, 1)), "nothing has begun");
        assert!(takes(&piece(2, 5, 9, 0)) && takes(&piece(2, 5, 9, 1)));
        assert!(!takes(&piece(2, 5, 9, 1)), "twice");
        assert!(!takes(&piece(2, 5, 9, 3)), "one is missing");
        for other in [piece(3, 5, 9, 2), piece(2, 7, 9, 2), piece(2, 5, 10, 2)] {
            assert!(!takes(&other), "of another snapshot");
        }
        assert!(takes(&piece(2, 5, 9, 2)), "no harm is done");
        assert!(takes(&piece(2, 7, 12, 0)), "another takes its place");
        assert!(!takes(&piece(2, 5, 9, 3)) && takes(&piece(2, 7, 12, 1)));
        assert!(takes(&SnapshotPiece { last: true, ..piece(2, 7, 12, 2) }));
        assert!(!takes(&piece(2, 7, 12, 3)), "it was the last one");
    }
}
