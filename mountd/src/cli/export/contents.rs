//! A file's bytes: which of them this server holds.

use super::super::{Failure, human};
use raidfs_common::attr::Attr;
use raidfs_common::extent::length_in_chunk;
use raidfs_common::id::{ChunkId, PairId, ServerId};
use raidfs_common::limits::{BLOCK_BYTES, BLOCKS_PER_CHUNK, CHUNK_BYTES};
use raidfs_common::pair::{Pair, place};
use raidfs_fsd::chunk::offline::{OfflineChunks, Salvaged};
use raidfs_fsd::identity::OfflineDir;
use std::collections::BTreeSet;
use std::fmt;

/// Chunks that are listed; of more only the number is said.
const SHOWN_MAX: usize = 8;

/// What is here of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Here {
    /// All of it.
    Whole,
    /// Some of it.
    Partly {
        /// The pairs that hold the rest.
        missing: BTreeSet<PairId>,
    },
    /// Nothing of it.
    Elsewhere,
}

impl Here {
    /// One word for a list.
    pub fn word(&self) -> String {
        match self {
            Here::Whole => "whole".to_owned(),
            Here::Partly { .. } => "PARTLY".to_owned(),
            Here::Elsewhere => "ELSEWHERE".to_owned(),
        }
    }
}

/// The chunks of one server.
#[derive(Debug)]
pub struct Contents {
    chunks: OfflineChunks,
    pair: PairId,
    pairs: Vec<Pair>,
}

impl Contents {
    /// The chunks in `dir`, which is `server`'s.
    pub fn new(dir: &OfflineDir, server: ServerId, pairs: Vec<Pair>) -> Contents {
        let pair = pairs.iter().find(|p| p.member(server).is_some()).map_or(PairId(0), |p| p.id);
        Contents { chunks: OfflineChunks::new(&dir.part("chunks")), pair, pairs }
    }

    /// The servers of this pair.
    pub fn mates(&self) -> String {
        let pair = self.pairs.iter().find(|p| p.id == self.pair);
        human::list(pair.into_iter().flat_map(|p| p.members).map(|m| m.server))
    }

    /// The pair that this server belongs to.
    pub fn pair(&self) -> PairId {
        self.pair
    }

    fn is_ours(&self, attr: &Attr, index: u32) -> bool {
        place(attr.placement, index, self.pairs.len()).pair == self.pair
    }

    /// How many chunks a file has, holes included.
    fn count(attr: &Attr) -> u64 {
        attr.size.div_ceil(CHUNK_BYTES)
    }

    /// What is here of a file, and which of its chunks should be and are not. Where the others' chunks may be holes, the
    /// number of blocks tells: if all are here, nothing is missing.
    pub fn look(&self, attr: &Attr) -> Result<(Here, Option<Gone>), Failure> {
        let count = Self::count(attr);
        let missing: BTreeSet<PairId> = (0..count.min(self.pairs.len() as u64))
            .map(|index| place(attr.placement, index as u32, self.pairs.len()).pair)
            .filter(|pair| *pair != self.pair)
            .collect();
        if attr.blocks == 0 || count == 0 {
            return Ok((Here::Whole, None));
        }
        let indexes = self.indexes(attr)?;
        let ours: Vec<u32> = (0..count as u32).filter(|index| self.is_ours(attr, *index)).collect();
        let absent: Vec<u32> = ours.iter().copied().filter(|index| indexes.binary_search(index).is_err()).collect();
        let has_holes = attr.blocks < attr.size.div_ceil(BLOCK_BYTES);
        if absent.is_empty() {
            if missing.is_empty() {
                return Ok((Here::Whole, None));
            }
            if indexes.is_empty() {
                return Ok((Here::Elsewhere, None));
            }
            if !has_holes {
                return Ok((Here::Partly { missing }, None));
            }
        }
        let here = self.blocks(attr, &indexes)?;
        let elsewhere = count - ours.len() as u64;
        let gone = gone(Counted { blocks: attr.blocks, here, elsewhere, only_pair: self.pairs.len() == 1 }, absent)
            .map(|gone| Gone { certain: attr.cut_gen == 0, ..gone });
        if missing.is_empty() || here == attr.blocks {
            return Ok((Here::Whole, gone));
        }
        // Chunks of which everything was punched have files, too.
        if here == 0 && !gone.as_ref().is_some_and(|gone| gone.certain) {
            return Ok((Here::Elsewhere, gone));
        }
        Ok((Here::Partly { missing }, gone))
    }

    /// How many blocks these chunks of a file have; one whose footer is damaged may have all of them.
    fn blocks(&self, attr: &Attr, indexes: &[u32]) -> Result<u64, Failure> {
        let count = |index: &u32| self.chunks.blocks(ChunkId { ino: attr.ino, index: *index });
        let all = indexes.iter().map(|index| Ok(count(index)?.map_or(BLOCKS_PER_CHUNK as u64, u64::from)));
        all.sum()
    }

    /// About how many bytes of a file are here.
    pub fn expected_bytes(&self, attr: &Attr) -> u64 {
        let ours = (0..Self::count(attr)).filter(|&index| self.is_ours(attr, index as u32));
        let bytes: u64 = ours.map(|index| length_in_chunk(attr.size, index as u32)).sum();
        bytes.min(attr.blocks.saturating_mul(BLOCK_BYTES))
    }

    /// A chunk of a file, no longer than the file; None: there is none here, so it reads as zeros.
    pub fn read(&self, attr: &Attr, index: u32) -> Result<Option<Salvaged>, Failure> {
        let mut found = self.chunks.read(ChunkId { ino: attr.ino, index })?;
        if let Some(chunk) = &mut found {
            chunk.bytes.truncate(length_in_chunk(attr.size, index) as usize);
        }
        Ok(found)
    }

    /// The indexes of a file's chunks that are here.
    pub fn indexes(&self, attr: &Attr) -> Result<Vec<u32>, Failure> {
        Ok(self.chunks.indexes(attr.ino)?)
    }
}

/// Chunks of a file that have no file here, though some block of them was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gone {
    /// All that have no file, in order.
    absent: Vec<u32>,
    /// Each of them had bytes; else some may be holes.
    all: bool,
    /// The number of the file's blocks is to be believed. While a cut is under way it is a guess, which stays if the mount dies
    /// meanwhile; so that of a file that was ever cut is not enough to call it damaged.
    pub certain: bool,
    /// How many blocks are missing here, at least.
    blocks: u64,
}

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let several = self.absent.len() > 1;
        let mut shown: Vec<String> = self.absent.iter().take(SHOWN_MAX).map(u32::to_string).collect();
        if self.absent.len() > SHOWN_MAX {
            shown.push(format!("{} more", human::count((self.absent.len() - SHOWN_MAX) as u64)));
        }
        let chunks = format!("{} {}", if several { "chunks" } else { "chunk" }, human::list(shown));
        if !self.certain {
            let are = if several { "are" } else { "is" };
            return write!(
                f,
                "{chunks} {are} not here: holes, most likely, but that cannot be told, as the file was cut once"
            );
        }
        match (self.all, several) {
            (true, false) => write!(f, "{chunks} is gone: it is not here, and had bytes"),
            (true, true) => write!(f, "{chunks} are gone: they are not here, and had bytes"),
            (false, _) => {
                let blocks = human::several(self.blocks, "block", "blocks");
                write!(
                    f,
                    "{blocks} of 4 KiB are gone with some of the {chunks}, which are not here; the others are holes"
                )
            }
        }
    }
}

/// What is known of the number of a file's blocks.
#[derive(Clone, Copy, Debug)]
struct Counted {
    /// How many there are, by the names.
    blocks: u64,
    /// How many there are in the chunks that are here.
    here: u64,
    /// How many of the file's chunks belong on other pairs.
    elsewhere: u64,
    /// There are no other pairs.
    only_pair: bool,
}

/// Whether something of the chunks without a file (up to the file's end) was written. A chunk that was never written has
/// none, and one that was punched keeps its own: so what the names count has to find its place in the chunks that are here
/// and those of other pairs, or some chunk is gone. Never more than that is asked of the others' chunks, and the names may
/// count too few (a mount died before it told, lengths were found again): that hides a loss, and makes none up. They count
/// too many only for what no mount could correct any more, when it died: a cut (see [`Gone::certain`]) or punching of a file
/// with holes. And room may be reserved behind a file's end on other pairs: more than fits here tells nothing.
fn gone(counted: Counted, absent: Vec<u32>) -> Option<Gone> {
    const EACH: u64 = BLOCKS_PER_CHUNK as u64;
    let blocks = counted.blocks.saturating_sub(counted.here).saturating_sub(counted.elsewhere * EACH);
    let room = absent.len() as u64 * EACH;
    (0 < blocks && (blocks <= room || counted.only_pair)).then(|| Gone {
        all: room - EACH < blocks,
        certain: true,
        absent,
        blocks,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of a file with these blocks by the names, here and in so many chunks elsewhere.
    fn said(blocks: u64, here: u64, elsewhere: u64, absent: &[u32]) -> Option<String> {
        gone(Counted { blocks, here, elsewhere, only_pair: false }, absent.to_vec()).map(|gone| gone.to_string())
    }

    #[test]
    fn a_chunk_that_had_bytes_is_gone() {
        let one = "chunk 0 is gone: it is not here, and had bytes".to_owned();
        assert_eq!(said(13, 0, 0, &[0]).as_ref(), Some(&one), "a small file");
        assert_eq!(said(1700, 0, 1, &[0]).as_ref(), Some(&one), "without holes, the rest elsewhere");
        assert_eq!(said(2048 + 5, 1024, 1, &[2]).unwrap(), "chunk 2 is gone: it is not here, and had bytes");
        let both = "chunks 0 and 2 are gone: they are not here, and had bytes";
        assert_eq!(said(2048 + 5, 0, 1, &[0, 2]).unwrap(), both);
        let some =
            "5 blocks of 4 KiB are gone with some of the chunks 1 and 3, which are not here; the others are holes";
        assert_eq!(said(15, 10, 0, &[1, 3]).unwrap(), some, "a file with holes, all of it here");
        assert!(said(9000, 10, 0, &(1..99).collect::<Vec<_>>()).unwrap().contains("7, 8 and 90 more, which"));
    }

    #[test]
    fn what_may_be_holes_is_not() {
        assert_eq!(said(10, 10, 0, &[1]), None, "a hole as large as a chunk");
        assert_eq!(said(1034, 10, 1, &[2]), None, "the others may have it");
        assert_eq!(said(5, 1024, 1, &[2]), None, "a length that was found again, without blocks");
        assert_eq!(said(3000, 0, 1, &[0]), None, "room behind the end, on another pair");
        assert_eq!(said(10, 10, 0, &[]), None);
        let alone = Counted { blocks: 3000, here: 0, elsewhere: 0, only_pair: true };
        assert!(gone(alone, vec![0]).is_some(), "all that is reserved would be here");
    }
}
