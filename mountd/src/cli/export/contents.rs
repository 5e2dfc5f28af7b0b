//! A file's bytes: which of them this server holds.

use super::super::{Failure, human};
use raidfs_common::attr::Attr;
use raidfs_common::extent::length_in_chunk;
use raidfs_common::id::{ChunkId, PairId, ServerId};
use raidfs_common::limits::{BLOCK_BYTES, CHUNK_BYTES};
use raidfs_common::pair::{Pair, place};
use raidfs_fsd::chunk::offline::{OfflineChunks, Salvaged};
use raidfs_fsd::identity::OfflineDir;
use std::collections::BTreeSet;

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

    /// What is here of a file. Where the others' chunks may be holes, the number of blocks tells: if all are here,
    /// nothing is missing.
    pub fn look(&self, attr: &Attr) -> Result<Here, Failure> {
        let missing: BTreeSet<PairId> = (0..Self::count(attr).min(self.pairs.len() as u64))
            .map(|index| place(attr.placement, index as u32, self.pairs.len()).pair)
            .filter(|pair| *pair != self.pair)
            .collect();
        if attr.blocks == 0 || missing.is_empty() {
            return Ok(Here::Whole);
        }
        let indexes = self.indexes(attr)?;
        if indexes.is_empty() {
            return Ok(Here::Elsewhere);
        }
        let has_holes = attr.blocks < attr.size.div_ceil(BLOCK_BYTES);
        if has_holes {
            let mut blocks = 0;
            for index in indexes {
                blocks += self.read(attr, index)?.map_or(0, |chunk| written_blocks(&chunk.bytes));
            }
            if blocks >= attr.blocks {
                return Ok(Here::Whole);
            }
        }
        Ok(Here::Partly { missing })
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

/// Blocks that have something else than zeros in them.
fn written_blocks(bytes: &[u8]) -> u64 {
    bytes.chunks(BLOCK_BYTES as usize).filter(|block| block.iter().any(|&b| b != 0)).count() as u64
}
