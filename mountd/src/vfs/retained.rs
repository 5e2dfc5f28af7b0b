//! The bytes of one file that have landed and are not known to be on stable storage: kept, as far as they are few, so that
//! they can be sent once more should both servers of their pair lose power. Pure.
//!
//! *Invariant:* whatever has landed since the last sync that covered it is either kept here, or [`Retained::take`] says that
//! something is missing.

use super::write_behind::from_before;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Range;

/// So many bytes of one file are kept; of one that has more on its way to the disks none are.
pub const RETAINED_BYTES_MAX: usize = 1 << 20;

/// A moment in the landings of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Landing(u64);

#[derive(Debug)]
struct Piece {
    bytes: Bytes,
    landed: Landing,
}

/// Landed bytes of one file.
#[derive(Debug)]
pub struct Retained {
    /// By first byte; never overlapping.
    pieces: BTreeMap<u64, Piece>,
    bytes: usize,
    last: Landing,
    /// Of what landed up to then something is not here.
    missing: Option<Landing>,
}

impl Retained {
    /// Nothing has landed yet; or (`missing`) something that is not known here.
    pub fn new(missing: bool) -> Retained {
        let last = Landing(0);
        Retained { pieces: BTreeMap::new(), bytes: 0, last, missing: missing.then_some(last) }
    }

    /// Bytes that are kept.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes have landed, over whatever had landed there before. They are kept if there is `room` for them.
    pub fn landed(&mut self, offset: u64, bytes: &Bytes, room: bool) {
        self.landed_durably(offset..offset + bytes.len() as u64);
        if !room || self.bytes + bytes.len() > RETAINED_BYTES_MAX {
            self.give_up();
        } else {
            self.bytes += bytes.len();
            self.pieces.insert(offset, Piece { bytes: bytes.clone(), landed: self.last });
        }
    }

    /// Bytes have landed that need not be kept.
    pub fn landed_durably(&mut self, range: Range<u64>) {
        self.last.0 += 1;
        self.drop(range);
    }

    /// Something has changed that cannot be sent once more.
    pub fn give_up(&mut self) {
        self.last.0 += 1;
        self.missing = Some(self.last);
        self.pieces.clear();
        self.bytes = 0;
    }

    /// Bytes of a range have ended.
    pub fn drop(&mut self, range: Range<u64>) {
        let touched: Vec<u64> = from_before(&self.pieces, range.clone()).map(|(start, _)| *start).collect();
        for start in touched {
            let Some(piece) = self.pieces.remove(&start) else { continue };
            self.bytes -= piece.bytes.len();
            let end = start + piece.bytes.len() as u64;
            let kept = [start..end.min(range.start), start.max(range.end)..end];
            for part in kept.into_iter().filter(|part| part.start < part.end) {
                let bytes = piece.bytes.slice((part.start - start) as usize..(part.end - start) as usize);
                self.bytes += bytes.len();
                self.pieces.insert(part.start, Piece { bytes, landed: piece.landed });
            }
        }
    }

    /// Now: what a sync that begins covers.
    pub fn last(&self) -> Landing {
        self.last
    }

    /// Everything that had landed by then is on stable storage.
    pub fn synced(&mut self, until: Landing) {
        if self.missing.is_some_and(|missing| missing <= until) {
            self.missing = None;
        }
        let synced: Vec<u64> = self.pieces.iter().filter(|(_, p)| p.landed <= until).map(|(start, _)| *start).collect();
        for start in synced {
            self.bytes -= self.pieces.remove(&start).map_or(0, |piece| piece.bytes.len());
        }
    }

    /// Takes out what has to be sent once more, without overlaps; None if something of it is not here. Either way nothing
    /// is kept, and nothing missing, afterwards.
    pub fn take(&mut self) -> Option<Vec<(u64, Bytes)>> {
        self.bytes = 0;
        let pieces = std::mem::take(&mut self.pieces);
        match self.missing.take() {
            Some(_) => None,
            None => Some(pieces.into_iter().map(|(start, piece)| (start, piece.bytes)).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn taken(retained: &mut Retained) -> Option<BTreeMap<u64, u8>> {
        let pieces = retained.take()?;
        Some(pieces.iter().flat_map(|(start, bytes)| (*start..).zip(bytes.iter().copied())).collect())
    }

    #[test]
    fn of_what_is_too_much_nothing_is_kept_until_it_is_synced() {
        let mut retained = Retained::new(false);
        let much = Bytes::from(vec![1; RETAINED_BYTES_MAX]);
        retained.landed(0, &much, true);
        assert_eq!(retained.bytes(), RETAINED_BYTES_MAX);
        retained.landed(u64::from(u32::MAX), &Bytes::from_static(b"more"), true);
        assert_eq!(retained.bytes(), 0);
        let until = retained.last();
        retained.landed(7, &Bytes::from_static(b"later"), true);
        retained.synced(until);
        assert_eq!(retained.take(), Some(vec![(7, Bytes::from_static(b"later"))]));
        retained.landed(7, &Bytes::from_static(b"no room"), false);
        assert_eq!(retained.take(), None);
        assert_eq!(retained.take(), Some(vec![]), "told once");
    }

    #[test]
    fn what_had_landed_before_it_was_looked_at_is_missing_until_it_is_synced() {
        assert_eq!(Retained::new(true).take(), None);
        let mut retained = Retained::new(true);
        retained.synced(retained.last());
        assert_eq!(retained.take(), Some(vec![]));
    }

    proptest! {
        #[test]
        fn what_is_kept_is_the_newest_of_what_no_sync_has_covered(
            steps in prop::collection::vec((0u8..6, 0u64..40, 1u64..20, any::<u8>()), 1..60)
        ) {
            let mut retained = Retained::new(false);
            // By position: the byte, and with which landing it came.
            let mut model: BTreeMap<u64, (u8, u64)> = BTreeMap::new();
            let mut syncs = std::collections::VecDeque::new();
            for (step, start, length, byte) in steps {
                let range = start..start + length;
                match step {
                    0 | 1 => {
                        retained.landed(start, &Bytes::from(vec![byte; length as usize]), true);
                        let landed = retained.last().0;
                        model.extend(range.map(|at| (at, (byte, landed))));
                    }
                    2 => {
                        retained.landed_durably(range.clone());
                        model.retain(|at, _| !range.contains(at));
                    }
                    3 => {
                        retained.drop(range.clone());
                        model.retain(|at, _| !range.contains(at));
                    }
                    4 => syncs.push_back(retained.last()),
                    _ => if let Some(until) = syncs.pop_front() {
                        retained.synced(until);
                        model.retain(|_, (_, landed)| *landed > until.0);
                    }
                }
                prop_assert_eq!(retained.bytes(), model.len());
            }
            let expected = model.into_iter().map(|(at, (byte, _))| (at, byte)).collect();
            prop_assert_eq!(taken(&mut retained), Some(expected));
        }
    }
}
