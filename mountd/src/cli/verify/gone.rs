//! What a file counts among its blocks, and nobody holds. Pure.
//!
//! A chunk that was never written to has no file on any server, so that one that is not there tells nothing by itself; the
//! number of the file's blocks does. It counts too few where a mount died before it told: that hides a loss, and makes none
//! up. It counts too many where a mount died before it told what it had punched, or what a cut had left, and where bytes
//! were lost with the power of both servers, which the pair says: of such files nothing is called wrong. A chunk of which
//! everything was punched keeps its file.

use super::super::human;
use super::super::status::servers_word;
use raidfs_common::attr::{Attr, FileKind};
use raidfs_common::extent::length_in_chunk;
use raidfs_common::limits::{BLOCK_BYTES, BLOCKS_PER_CHUNK, CHUNK_BYTES};
use raidfs_common::pair::{Pair, place};
use raidfs_common::rpc::chunks::ChunkSummary;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Chunks that are named; of more only the number is said.
const SHOWN_MAX: usize = 8;

/// What servers hold of a file: of each chunk how many blocks it may have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holdings(BTreeMap<u32, u64>);

impl Holdings {
    /// A server holds this.
    pub fn add(&mut self, summary: &ChunkSummary) {
        // A damaged footer hides how many there are, but not that all may be damaged.
        let blocks = u64::from(summary.blocks.max(summary.damaged)) + u64::from(summary.lost).div_ceil(BLOCK_BYTES);
        let most = self.0.entry(summary.chunk.index).or_default();
        *most = blocks.max(*most);
    }
}

/// Why chunks may be holes that seem to be gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doubt {
    /// Cuts guess, until the mount has counted.
    Cut,
    /// What had not been synced may have been lost, and sent again.
    Loss,
    /// The blocks that are missing are not those of these chunks.
    Count,
}

/// Chunks of a file that nobody holds, though its blocks are not all held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gone {
    /// The first of them.
    shown: Vec<u32>,
    /// How many there are.
    count: u64,
    /// Each of them had bytes; else some may be holes.
    all: bool,
    /// So many blocks are held by nobody.
    blocks: u64,
    /// The servers that should hold them.
    servers: BTreeSet<String>,
    doubt: Option<Doubt>,
}

impl Gone {
    /// Bytes are gone for certain.
    pub fn is_certain(&self) -> bool {
        self.doubt.is_none()
    }
}

/// What is gone of a file of which this is held by everybody in sync on all of these pairs; None: nothing.
pub fn judge(attr: &Attr, held: &Holdings, pairs: &[Pair]) -> Option<Gone> {
    let count = attr.size.div_ceil(CHUNK_BYTES);
    let missing = attr.blocks.saturating_sub(held.0.values().sum());
    let blocks_of = |index: &u32| length_in_chunk(attr.size, *index).div_ceil(BLOCK_BYTES);
    let within = || held.0.keys().filter(|index| u64::from(**index) < count);
    let absent = count - within().count() as u64;
    if attr.kind != FileKind::File || missing == 0 || absent == 0 {
        return None;
    }
    let indexes = || (0..count as u32).filter(|index| !held.0.contains_key(index));
    let on = |index: u32| pairs.iter().find(|p| p.id == place(attr.placement, index, pairs.len()).pair);
    let all_blocks = attr.size.div_ceil(BLOCK_BYTES) - within().map(blocks_of).sum::<u64>();
    let mut chunks = indexes().take(pairs.len()).chain(held.0.keys().copied());
    let is_lossy = chunks.any(|index| on(index).is_some_and(|pair| pair.losses > 0));
    let doubt = if attr.cut_gen > 0 {
        Some(Doubt::Cut)
    } else if is_lossy {
        Some(Doubt::Loss)
    } else {
        // As many may be holes in chunks that are there, of which a mount that died had not told.
        let full = |index: &u32| if u64::from(*index) < count { blocks_of(index) } else { BLOCKS_PER_CHUNK as u64 };
        let holes: u64 = held.0.iter().map(|(index, blocks)| full(index).saturating_sub(*blocks)).sum();
        (!held.0.is_empty() && (missing != all_blocks || missing <= holes)).then_some(Doubt::Count)
    };
    Some(Gone {
        shown: indexes().take(SHOWN_MAX).collect(),
        count: absent,
        all: absent == 1 || missing >= all_blocks,
        blocks: missing,
        servers: indexes().take(SHOWN_MAX).filter_map(on).map(servers_word).collect(),
        doubt,
    })
}

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let several = self.count > 1;
        let mut shown: Vec<String> = self.shown.iter().map(u32::to_string).collect();
        if self.count > self.shown.len() as u64 {
            shown.push(format!("{} more", human::count(self.count - self.shown.len() as u64)));
        }
        let (chunks, are) = if several { ("chunks", "are") } else { ("chunk", "is") };
        let chunks = format!("{chunks} {} {are} held by nobody", human::list(shown));
        let servers = human::list(&self.servers);
        let blocks = human::several(self.blocks, "block", "blocks");
        let why = match self.doubt {
            None if self.all => {
                let bytes = if several { "their bytes are gone" } else { "its bytes are gone" };
                return write!(f, "{chunks}: {bytes} ({servers} should have them)");
            }
            None => {
                return write!(
                    f,
                    "{chunks}: {blocks} of 4 KiB are gone with some of them, the others are holes ({servers} should have \
                     them)"
                );
            }
            Some(Doubt::Cut) => "it was cut once",
            Some(Doubt::Loss) => "a pair of it has lost what was not synced, or was given up, once",
            Some(Doubt::Count) => "it has holes, and a mount that died may have left them counted",
        };
        let hole = if several { "holes" } else { "a hole" };
        write!(
            f,
            "{chunks} ({servers}), and {blocks} that it counts: {hole}, or bytes are gone; that cannot be told, as {why}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vfs::testing::empty_file;
    use raidfs_common::id::{ChunkId, Epoch, Incarnation, Ino, PairId, ServerId};
    use raidfs_common::pair::{CopyState, Member, Space};

    const CHUNK: u64 = 1024;

    fn pairs() -> [Pair; 2] {
        let member = |n| Member { server: ServerId(n), state: CopyState::InSync, incarnation: Incarnation(1) };
        [(0, 1), (1, 3)].map(|(id, first)| Pair {
            id: PairId(id),
            epoch: Epoch(1),
            members: [member(first), member(first + 1)],
            space: Space::default(),
            losses: 0,
        })
    }

    fn file(size: u64, blocks: u64) -> Attr {
        Attr { size, blocks, ..empty_file(Ino(9)) }
    }

    /// Chunks with so many blocks.
    fn held(chunks: &[(u32, u32)]) -> Holdings {
        let mut held = Holdings::default();
        for &(index, blocks) in chunks {
            let chunk = ChunkId { ino: Ino(9), index };
            held.add(&ChunkSummary { chunk, length: 1, blocks, digest: 0, damaged: 0, lost: 0 });
        }
        held
    }

    fn said(attr: &Attr, chunks: &[(u32, u32)]) -> Option<(bool, String)> {
        judge(attr, &held(chunks), &pairs()).map(|gone| (gone.is_certain(), gone.to_string()))
    }

    #[test]
    fn a_chunk_that_had_bytes_is_gone() {
        let certain = |attr: &Attr, chunks: &[(u32, u32)]| {
            let (is_certain, text) = said(attr, chunks).unwrap();
            assert!(is_certain, "{text}");
            text
        };
        let one = "chunk 0 is held by nobody: its bytes are gone (fsd1+fsd2 should have them)";
        assert_eq!(certain(&file(50_000, 13), &[]), one);
        assert_eq!(certain(&file(2 << 20, 1), &[]), one, "with a hole behind it");
        let large = file(2 * CHUNK_BYTES + 5000, 2 * CHUNK + 2);
        let last = certain(&large, &[(0, 1024), (1, 1024)]);
        assert_eq!(last, "chunk 2 is held by nobody: its bytes are gone (fsd1+fsd2 should have them)");
        let two = certain(&large, &[(2, 2)]);
        assert_eq!(
            two,
            "chunks 0 and 1 are held by nobody: their bytes are gone (fsd1+fsd2 and fsd3+fsd4 should have them)"
        );
        let reserved = file(2 * CHUNK_BYTES, 2 * CHUNK + 100);
        assert!(certain(&reserved, &[(0, 1024), (2, 100)]).contains("chunk 1 is"), "room behind the end is there");
        let holes = certain(&file(20 * CHUNK_BYTES, 5), &[]);
        assert!(holes.contains("0, 1, 2, 3, 4, 5, 6, 7 and 12 more are held by nobody: 5 blocks"), "{holes}");
    }

    #[test]
    fn what_was_never_written_is_not() {
        assert_eq!(said(&file(50_000, 0), &[]), None, "a hole");
        assert_eq!(said(&file(0, 100), &[]), None, "no byte of it");
        assert_eq!(said(&file(3 * CHUNK_BYTES, CHUNK), &[(1, 1024)]), None, "holes around what there is");
        assert_eq!(said(&file(3 * CHUNK_BYTES, 10), &[(1, 1024)]), None, "a mount died before it told of the rest");
        assert_eq!(said(&file(5000, 7), &[(0, 2)]), None, "what is missing is no chunk");
        assert_eq!(said(&file(2 * CHUNK_BYTES, 2 * CHUNK), &[(0, 1024), (5, 1024)]), None, "room behind the end");
        let fifo = Attr { kind: FileKind::Fifo, ..file(50_000, 13) };
        assert_eq!(said(&fifo, &[]), None);
        let mut damaged = Holdings::default();
        let chunk = ChunkId { ino: Ino(9), index: 0 };
        damaged.add(&ChunkSummary { chunk, length: 0, blocks: 0, digest: 0, damaged: 1024, lost: 0 });
        assert_eq!(judge(&file(2 * CHUNK_BYTES, CHUNK), &damaged, &pairs()), None, "its footer is damaged");
        let mut lost = Holdings::default();
        lost.add(&ChunkSummary { chunk, length: 9, blocks: 0, digest: 0, damaged: 0, lost: 4096 });
        assert_eq!(judge(&file(2 * CHUNK_BYTES, 1), &lost, &pairs()), None, "it was accepted as lost");
    }

    #[test]
    fn what_may_be_counted_wrong_is_in_doubt_only() {
        let doubtful = |attr: &Attr, chunks: &[(u32, u32)], pairs: &[Pair], why: &str| {
            let gone = judge(attr, &held(chunks), pairs).unwrap();
            assert!(!gone.is_certain() && gone.to_string().ends_with(why), "{gone}");
        };
        let cut = Attr { cut_gen: 1, ..file(50_000, 13) };
        doubtful(&cut, &[], &pairs(), "as it was cut once");
        let punched = file(3 * CHUNK_BYTES, 2 * CHUNK - 1);
        doubtful(&punched, &[(0, 1024)], &pairs(), "may have left them counted");
        doubtful(&file(2 * CHUNK_BYTES, CHUNK), &[(1, 0)], &pairs(), "may have left them counted");
        for (lossy, file) in [(0, file(50_000, 13)), (1, file(2 * CHUNK_BYTES, 2 * CHUNK))] {
            let mut pairs = pairs();
            pairs[lossy].losses = 1;
            let here: &[(u32, u32)] = if lossy == 1 { &[(1, 1024)] } else { &[] };
            doubtful(&file, here, &pairs, "was given up, once");
        }
        let mut other = pairs();
        other[1].losses = 1;
        assert!(judge(&file(50_000, 13), &Holdings::default(), &other).unwrap().is_certain(), "it has nothing there");
    }
}
