//! What differs between two mirrors' lists of chunks. Pure.

use raidfs_common::id::ChunkId;
use raidfs_common::rpc::chunks::ChunkSummary;
use std::cmp::Ordering;
use std::fmt;

/// What is wrong with a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// Only the first of the two servers has it.
    OnlyFirst,
    /// Only the second has it.
    OnlySecond,
    /// Their lengths differ.
    Length(u32, u32),
    /// Their bytes, or their holes, differ.
    Bytes,
    /// So many blocks do not match their checksums, on the first and on the second.
    Damaged(u32, u32),
    /// So many bytes were accepted as lost, on the first and on the second.
    Lost(u32, u32),
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wrong::OnlyFirst => f.write_str("only the first server has it"),
            Wrong::OnlySecond => f.write_str("only the second server has it"),
            Wrong::Length(a, b) => write!(f, "its length is {a} on the first server and {b} on the second"),
            Wrong::Bytes => f.write_str("its bytes differ"),
            Wrong::Damaged(a, 0) => write!(f, "{a} blocks do not match their checksums on the first server"),
            Wrong::Damaged(0, b) => write!(f, "{b} blocks do not match their checksums on the second server"),
            Wrong::Damaged(a, b) => write!(f, "{a} and {b} blocks do not match their checksums"),
            Wrong::Lost(a, b) => {
                write!(f, "{a} bytes were accepted as lost on the first server and {b} on the second")
            }
        }
    }
}

/// What is wrong with one chunk, as each of the two servers has it; None: nothing.
pub fn judge(first: Option<&ChunkSummary>, second: Option<&ChunkSummary>) -> Option<Wrong> {
    let (a, b) = match (first, second) {
        (None, None) => return None,
        (Some(_), None) => return Some(Wrong::OnlyFirst),
        (None, Some(_)) => return Some(Wrong::OnlySecond),
        (Some(a), Some(b)) => (a, b),
    };
    if a.damaged > 0 || b.damaged > 0 {
        return Some(Wrong::Damaged(a.damaged, b.damaged));
    }
    if a.lost != b.lost {
        return Some(Wrong::Lost(a.lost, b.lost));
    }
    if a.length != b.length {
        return Some(Wrong::Length(a.length, b.length));
    }
    (a.digest != b.digest || a.blocks != b.blocks).then_some(Wrong::Bytes)
}

/// Every chunk of two lists, each in order of the chunks, that something is wrong with.
pub fn compare(first: &[ChunkSummary], second: &[ChunkSummary]) -> Vec<(ChunkId, Wrong)> {
    let mut wrong = Vec::new();
    let (mut a, mut b) = (first.iter().peekable(), second.iter().peekable());
    loop {
        let order = match (a.peek(), b.peek()) {
            (None, None) => return wrong,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(x), Some(y)) => x.chunk.cmp(&y.chunk),
        };
        let x = if order.is_le() { a.next() } else { None };
        let y = if order.is_ge() { b.next() } else { None };
        let chunk = x.or(y).map(|s| s.chunk);
        if let (Some(chunk), Some(found)) = (chunk, judge(x, y)) {
            wrong.push((chunk, found));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use raidfs_common::id::Ino;

    fn chunk(ino: u64, index: u32) -> ChunkId {
        ChunkId { ino: Ino(ino), index }
    }

    fn summary(ino: u64, index: u32) -> ChunkSummary {
        ChunkSummary { chunk: chunk(ino, index), length: 100, blocks: 1, digest: 7, damaged: 0, lost: 0 }
    }

    #[test]
    fn equal_lists_are_right() {
        let list = [summary(1, 0), summary(1, 1), summary(4, 0)];
        assert_eq!(compare(&list, &list), []);
        assert_eq!(compare(&[], &[]), []);
    }

    type Damage = fn(&mut ChunkSummary);

    #[test]
    fn each_difference_is_seen_and_named() {
        let list = [summary(1, 0), summary(2, 0), summary(3, 0), summary(4, 0)];
        let cases: [(Damage, Wrong); 6] = [
            (|s| s.length = 99, Wrong::Length(100, 99)),
            (|s| s.digest = 8, Wrong::Bytes),
            (|s| s.blocks = 2, Wrong::Bytes),
            (|s| s.lost = 1, Wrong::Lost(0, 1)),
            (|s| s.damaged = 3, Wrong::Damaged(0, 3)),
            (|s| (s.damaged, s.digest) = (1, 9), Wrong::Damaged(0, 1)),
        ];
        for (damage, wrong) in cases {
            let mut other = list;
            damage(&mut other[2]);
            assert_eq!(compare(&list, &other), [(chunk(3, 0), wrong)]);
        }
    }

    #[test]
    fn chunks_of_one_side_only_are_seen_wherever_they_stand() {
        let all = [summary(1, 0), summary(2, 0), summary(3, 0)];
        for missing in 0..3 {
            let mut some = all.to_vec();
            let gone = some.remove(missing).chunk;
            assert_eq!(compare(&all, &some), [(gone, Wrong::OnlyFirst)]);
            assert_eq!(compare(&some, &all), [(gone, Wrong::OnlySecond)]);
        }
        assert_eq!(compare(&all, &[]).len(), 3);
    }
}
