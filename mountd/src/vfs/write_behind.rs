//! The bytes of one file that its programs have written and the servers do not have yet. Pure: no I/O, no clock, one
//! owner; driven by `push`.
//!
//! Bytes wait in segments that never cross a chunk's border, grow by adjacent writes, and become [`Push`]es. A push
//! is kept until it has landed, and no other push of overlapping bytes leaves meanwhile, so that the servers see
//! overlapping writes in the order in which they were made.

use bytes::Bytes;
use raidfs_common::limits::CHUNK_BYTES;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Instant;

/// A segment of this many bytes is sent without waiting for more.
pub const PUSH_BYTES: usize = 1 << 20;
/// A following segment up to this size is joined to one that grew up to it.
const JOIN_BYTES: usize = 64 << 10;

/// Bytes on their way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    /// From this byte of the file.
    pub offset: u64,
    /// The bytes; all in one chunk.
    pub bytes: Bytes,
}

#[derive(Debug)]
struct Segment {
    bytes: Vec<u8>,
    since: Instant,
}

#[derive(Debug)]
struct Flying {
    bytes: Bytes,
    since: Instant,
}

/// Written bytes of one file.
#[derive(Debug, Default)]
pub struct WriteBehind {
    /// By first byte; never overlapping.
    waiting: BTreeMap<u64, Segment>,
    /// By first byte; never overlapping one another.
    flying: BTreeMap<u64, Flying>,
    /// First bytes of waiting segments that will not grow any more.
    full: BTreeSet<u64>,
    /// How many segments, waiting or flying, were begun when.
    ages: BTreeMap<Instant, usize>,
    waiting_bytes: usize,
    flying_bytes: usize,
}

fn chunk_end(offset: u64) -> u64 {
    (offset / CHUNK_BYTES + 1) * CHUNK_BYTES
}

impl WriteBehind {
    /// Bytes that are kept.
    pub fn bytes(&self) -> usize {
        self.waiting_bytes + self.flying_bytes
    }

    /// How many pushes what waits would make.
    pub fn pieces(&self) -> usize {
        self.waiting.len()
    }

    /// Nothing waits and nothing flies.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.flying.is_empty()
    }

    /// Nothing is under way.
    pub fn landed_all(&self) -> bool {
        self.flying.is_empty()
    }

    /// Takes bytes that were written at `offset`.
    pub fn write(&mut self, offset: u64, data: &[u8], now: Instant) {
        let mut at = offset;
        let mut rest = data;
        while !rest.is_empty() {
            let room = (chunk_end(at) - at).min(rest.len() as u64) as usize;
            let (here, later) = rest.split_at(room);
            self.write_in_chunk(at, here, now);
            at += room as u64;
            rest = later;
        }
    }

    /// Takes bytes that are older than all that are kept: where none are.
    pub fn write_older(&mut self, offset: u64, data: &[u8], now: Instant) {
        for gap in self.gaps(offset..offset + data.len() as u64) {
            self.write(gap.start, &data[(gap.start - offset) as usize..(gap.end - offset) as usize], now);
        }
    }

    fn write_in_chunk(&mut self, offset: u64, data: &[u8], now: Instant) {
        let mut at = offset;
        let mut rest = data;
        while !rest.is_empty() {
            // Bytes that are waiting already are overwritten where they stand; the gaps between them are filled.
            let length = match self.waiting_at(at) {
                Some((start, segment)) => {
                    let skip = (at - start) as usize;
                    let length = rest.len().min(segment.bytes.len() - skip);
                    segment.bytes[skip..skip + length].copy_from_slice(&rest[..length]);
                    length
                }
                None => {
                    let next = self.waiting.range(at..).next().map_or(u64::MAX, |(start, _)| *start);
                    let length = rest.len().min((next - at).try_into().unwrap_or(usize::MAX));
                    self.fill(at, &rest[..length], now);
                    length
                }
            };
            at += length as u64;
            rest = &rest[length..];
        }
    }

    fn waiting_at(&mut self, at: u64) -> Option<(u64, &mut Segment)> {
        let (start, segment) = self.waiting.range_mut(..=at).next_back()?;
        (at - start < segment.bytes.len() as u64).then_some((*start, segment))
    }

    fn put(&mut self, start: u64, segment: Segment) {
        *self.ages.entry(segment.since).or_default() += 1;
        self.waiting.insert(start, segment);
        self.note_full(start);
    }

    fn remove(&mut self, start: u64) -> Segment {
        let segment = self.waiting.remove(&start).expect("the caller has just found it");
        self.full.remove(&start);
        self.aged(segment.since);
        segment
    }

    fn aged(&mut self, since: Instant) {
        if let Some(count) = self.ages.get_mut(&since) {
            *count -= 1;
            if *count == 0 {
                self.ages.remove(&since);
            }
        }
    }

    fn note_full(&mut self, start: u64) {
        let length = self.waiting.get(&start).map_or(0, |s| s.bytes.len());
        if length >= PUSH_BYTES || (start + length as u64).is_multiple_of(CHUNK_BYTES) {
            self.full.insert(start);
        }
    }

    /// Puts bytes where none are waiting: at the end of the segment before, or as a segment of their own.
    fn fill(&mut self, at: u64, data: &[u8], now: Instant) {
        self.waiting_bytes += data.len();
        let before = self.waiting.range_mut(..at).next_back().filter(|(start, segment)| {
            let length = segment.bytes.len();
            *start + length as u64 == at && length + data.len() <= PUSH_BYTES && !at.is_multiple_of(CHUNK_BYTES)
        });
        let start = match before {
            Some((start, segment)) => {
                segment.bytes.extend_from_slice(data);
                *start
            }
            None => {
                self.put(at, Segment { bytes: data.to_vec(), since: now });
                at
            }
        };
        self.join_next(start);
        self.note_full(start);
    }

    fn join_next(&mut self, start: u64) {
        let Some(segment) = self.waiting.get(&start) else { return };
        let end = start + segment.bytes.len() as u64;
        let small = self
            .waiting
            .get(&end)
            .is_some_and(|next| next.bytes.len() <= JOIN_BYTES && segment.bytes.len() + next.bytes.len() <= PUSH_BYTES);
        if !small || end.is_multiple_of(CHUNK_BYTES) {
            return;
        }
        let next = self.remove(end);
        let mut segment = self.remove(start);
        segment.bytes.extend_from_slice(&next.bytes);
        segment.since = segment.since.min(next.since);
        self.put(start, segment);
    }

    /// The next bytes to send: those that are old (written at or before `cutoff`) or enough. Never any that overlap
    /// what is under way.
    pub fn due(&self, cutoff: Option<Instant>) -> Option<Range<u64>> {
        let range = |start: u64| start..start + self.waiting.get(&start).map_or(0, |s| s.bytes.len()) as u64;
        let free = |start: &u64| !self.flies(range(*start));
        let full = self.full.iter().copied().find(free);
        let start = full.or_else(|| {
            let cutoff = cutoff.filter(|cutoff| self.ages.first_key_value().is_some_and(|(age, _)| age <= cutoff))?;
            let mut old = self.waiting.iter().filter(|(_, segment)| segment.since <= cutoff);
            old.find(|(start, _)| free(start)).map(|(start, _)| *start)
        })?;
        Some(range(start))
    }

    /// Has the bytes under way that are [due](WriteBehind::due), and begin here.
    pub fn take(&mut self, start: u64) -> Push {
        let segment = self.remove(start);
        *self.ages.entry(segment.since).or_default() += 1;
        let bytes = Bytes::from(segment.bytes);
        self.waiting_bytes -= bytes.len();
        self.flying_bytes += bytes.len();
        self.flying.insert(start, Flying { bytes: bytes.clone(), since: segment.since });
        Push { offset: start, bytes }
    }

    /// Whether anything of a range is under way.
    pub fn flies(&self, range: Range<u64>) -> bool {
        self.flying
            .range(..range.end)
            .next_back()
            .is_some_and(|(start, flying)| start + flying.bytes.len() as u64 > range.start)
    }

    /// Whether there are segments that leave without waiting for age.
    pub fn has_full(&self) -> bool {
        !self.full.is_empty()
    }

    /// A push has landed, or failed for good: its bytes are not kept any longer. Returns how many there were.
    pub fn landed(&mut self, offset: u64) -> usize {
        let Some(flying) = self.flying.remove(&offset) else { return 0 };
        self.aged(flying.since);
        self.flying_bytes -= flying.bytes.len();
        flying.bytes.len()
    }

    /// Where the last of the kept bytes end; 0 if none are kept.
    pub fn end(&self) -> u64 {
        let waiting = self.waiting.last_key_value().map(|(start, segment)| start + segment.bytes.len() as u64);
        let flying = self.flying.last_key_value().map(|(start, flying)| start + flying.bytes.len() as u64);
        waiting.max(flying).unwrap_or(0)
    }

    /// Whether everything that was written at or before `cutoff` has landed.
    pub fn landed_until(&self, cutoff: Instant) -> bool {
        self.ages.first_key_value().is_none_or(|(age, _)| *age > cutoff)
    }

    /// When the oldest bytes that have not landed were written.
    pub fn oldest(&self) -> Option<Instant> {
        self.ages.first_key_value().map(|(age, _)| *age)
    }

    /// The first byte at or behind `from` that has not landed.
    pub fn first_unlanded(&self, from: u64) -> Option<u64> {
        let first = |start: u64, length: usize| (start + length as u64 > from).then_some(start.max(from));
        let before = |start: &u64| *start <= from;
        let waiting = self
            .waiting
            .range(..=from)
            .next_back()
            .and_then(|(s, x)| first(*s, x.bytes.len()))
            .or_else(|| self.waiting.range(from..).find(|(s, _)| !before(s)).map(|(s, _)| *s));
        let flying = self
            .flying
            .range(..=from)
            .next_back()
            .and_then(|(s, x)| first(*s, x.bytes.len()))
            .or_else(|| self.flying.range(from..).find(|(s, _)| !before(s)).map(|(s, _)| *s));
        match (waiting, flying) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Drops waiting bytes of a range. Returns how many there were.
    pub fn drop_waiting(&mut self, range: Range<u64>) -> usize {
        let mut dropped = 0;
        let mut touched: Vec<u64> = self.waiting.range(range.clone()).map(|(start, _)| *start).collect();
        let before = self.waiting.range(..range.start).next_back();
        touched.extend(before.filter(|(s, x)| *s + x.bytes.len() as u64 > range.start).map(|(s, _)| *s));
        for start in touched {
            let mut segment = self.remove(start);
            let end = start + segment.bytes.len() as u64;
            let before = segment.bytes.len();
            let mut kept = 0;
            if end > range.end {
                let tail = segment.bytes.split_off((range.end - start) as usize);
                kept += tail.len();
                self.put(range.end, Segment { bytes: tail, since: segment.since });
            }
            if start < range.start {
                segment.bytes.truncate((range.start - start) as usize);
                kept += segment.bytes.len();
                self.put(start, segment);
            }
            dropped += before - kept;
        }
        self.waiting_bytes -= dropped;
        dropped
    }

    /// Copies kept bytes over `out`, which stands for the bytes from `offset`.
    pub fn overlay(&self, offset: u64, out: &mut [u8]) {
        let end = offset + out.len() as u64;
        let mut copy = |start: u64, bytes: &[u8]| {
            let from = start.max(offset);
            let to = (start + bytes.len() as u64).min(end);
            if from < to {
                out[(from - offset) as usize..(to - offset) as usize]
                    .copy_from_slice(&bytes[(from - start) as usize..(to - start) as usize]);
            }
        };
        // What flies is older than what waits. At most one segment that begins before the range reaches into it.
        for (start, flying) in from_before(&self.flying, offset..end) {
            copy(*start, &flying.bytes);
        }
        for (start, segment) in from_before(&self.waiting, offset..end) {
            copy(*start, &segment.bytes);
        }
    }

    /// The parts of a range of which no bytes are kept.
    pub fn gaps(&self, range: Range<u64>) -> Vec<Range<u64>> {
        let mut kept: Vec<Range<u64>> = from_before(&self.flying, range.clone())
            .map(|(s, f)| *s..*s + f.bytes.len() as u64)
            .chain(from_before(&self.waiting, range.clone()).map(|(s, f)| *s..*s + f.bytes.len() as u64))
            .collect();
        kept.sort_unstable_by_key(|r| r.start);
        let mut gaps = Vec::new();
        let mut at = range.start;
        for r in kept {
            if r.start > at {
                gaps.push(at..r.start.min(range.end));
            }
            at = at.max(r.end);
            if at >= range.end {
                return gaps;
            }
        }
        gaps.push(at..range.end);
        gaps
    }
}

/// The entries of a map by first byte that may reach into a range.
pub(super) fn from_before<T>(map: &BTreeMap<u64, T>, range: Range<u64>) -> impl Iterator<Item = (&u64, &T)> {
    map.range(..range.start).next_back().into_iter().chain(map.range(range))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn next(behind: &mut WriteBehind, cutoff: Option<Instant>) -> Option<Push> {
        let due = behind.due(cutoff)?;
        Some(behind.take(due.start))
    }

    #[test]
    fn adjacent_writes_become_one_push() {
        let now = Instant::now();
        let mut behind = WriteBehind::default();
        for i in 0..256 {
            behind.write(i * 4096, &[i as u8; 4096], now);
        }
        let push = next(&mut behind, None).expect("a full segment is due");
        assert_eq!((push.offset, push.bytes.len()), (0, PUSH_BYTES));
        assert_eq!(next(&mut behind, None), None);
        assert_eq!(behind.bytes(), PUSH_BYTES);
        behind.landed(0);
        assert!(behind.is_empty());
    }

    #[test]
    fn overlapping_pushes_leave_one_after_the_other() {
        let now = Instant::now();
        let mut behind = WriteBehind::default();
        behind.write(0, &[1; 100], now);
        assert!(next(&mut behind, None).is_none(), "too small and too young");
        let first = next(&mut behind, Some(now)).expect("old enough");
        behind.write(50, &[2; 100], now);
        assert_eq!(next(&mut behind, Some(now)), None, "the first is still under way");
        let mut out = [0; 150];
        behind.overlay(0, &mut out);
        assert_eq!((out[49], out[50], out[149]), (1, 2, 2));
        behind.landed(first.offset);
        assert_eq!(next(&mut behind, Some(now)).map(|p| p.offset), Some(50));
    }

    #[test]
    fn a_push_never_crosses_a_chunk() {
        let now = Instant::now();
        let mut behind = WriteBehind::default();
        behind.write(CHUNK_BYTES - 10, &[7; 20], now);
        let a = next(&mut behind, None).expect("it ends at the border");
        assert_eq!((a.offset, a.bytes.len()), (CHUNK_BYTES - 10, 10));
        assert_eq!(next(&mut behind, Some(now)).map(|p| (p.offset, p.bytes.len())), Some((CHUNK_BYTES, 10)));
    }

    #[test]
    fn what_has_not_landed_is_found() {
        let now = Instant::now();
        let mut behind = WriteBehind::default();
        behind.write(100, &[1; 50], now);
        behind.write(300, &[1; 50], now);
        assert_eq!(behind.first_unlanded(0), Some(100));
        assert_eq!(behind.first_unlanded(120), Some(120));
        assert_eq!(behind.first_unlanded(150), Some(300));
        assert_eq!(behind.first_unlanded(350), None);
        assert!(!behind.landed_until(now));
        assert!(behind.landed_until(now - Duration::from_secs(1)));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Write(u64, usize),
        Next(bool),
        Land(usize),
        Drop(u64, u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let near = CHUNK_BYTES - 3000..CHUNK_BYTES + 2000;
        prop_oneof![
            4 => (near.clone(), 1usize..1500).prop_map(|(at, n)| Step::Write(at, n)),
            2 => any::<bool>().prop_map(Step::Next),
            2 => (0usize..4).prop_map(Step::Land),
            1 => (near, 1u64..2000).prop_map(|(at, n)| Step::Drop(at, n)),
        ]
    }

    proptest! {
        /// The servers end with what was written, in order, and a read in between sees it, too.
        #[test]
        fn nothing_is_lost_or_reordered(steps in proptest::collection::vec(step(), 1..60)) {
            const FROM: u64 = CHUNK_BYTES - 4096;
            const LENGTH: usize = 8192;
            let now = Instant::now();
            let mut behind = WriteBehind::default();
            let (mut model, mut server) = (vec![0u8; LENGTH], vec![0u8; LENGTH]);
            let mut flying: Vec<Push> = Vec::new();
            let apply = |server: &mut Vec<u8>, push: &Push| {
                let at = (push.offset - FROM) as usize;
                server[at..at + push.bytes.len()].copy_from_slice(&push.bytes);
            };
            for (i, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Write(at, n) => {
                        let data = vec![i as u8 + 1; n];
                        behind.write(at, &data, now);
                        let at = (at - FROM) as usize;
                        model[at..at + n].copy_from_slice(&data);
                    }
                    Step::Next(all) => flying.extend(next(&mut behind, all.then_some(now))),
                    Step::Land(i) if i < flying.len() => {
                        let push = flying.swap_remove(i);
                        apply(&mut server, &push);
                        behind.landed(push.offset);
                    }
                    Step::Land(_) => {}
                    Step::Drop(at, n) => {
                        // As a punch does: wait for what flies, drop what waits, and tell the servers.
                        for push in flying.drain(..) {
                            apply(&mut server, &push);
                            behind.landed(push.offset);
                        }
                        behind.drop_waiting(at..at + n);
                        let at = (at - FROM) as usize;
                        model[at..at + n as usize].fill(0);
                        server[at..at + n as usize].fill(0);
                    }
                }
                let mut seen = server.clone();
                behind.overlay(FROM, &mut seen);
                prop_assert_eq!(&seen, &model);
                let kept: u64 = LENGTH as u64 - behind.gaps(FROM..FROM + LENGTH as u64).iter().map(|g| g.end - g.start).sum::<u64>();
                prop_assert!(kept <= behind.bytes() as u64);
            }
            while let Some(push) = next(&mut behind, Some(now)) {
                apply(&mut server, &push);
                behind.landed(push.offset);
            }
            for push in flying.drain(..) {
                // Left over pushes do not overlap what was sent after them.
                apply(&mut server, &push);
                behind.landed(push.offset);
            }
            while let Some(push) = next(&mut behind, Some(now)) {
                apply(&mut server, &push);
                behind.landed(push.offset);
            }
            prop_assert!(behind.is_empty());
            prop_assert_eq!(server, model);
        }
    }
}
