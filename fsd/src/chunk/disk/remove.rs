//! Cutting and removing: what is behind a file's new end, or all of it.
//!
//! A cut always succeeds on a damaged chunk: cut bytes are zeroed without being checked, and a block that did not match
//! its sum before is left with a sum that it does not match. Whether the reason of a removal is durable is the caller's
//! to know.

use super::check::{BLOCK, check_block, read_blocks};
use super::{Disk, Open, State, census};
use crate::chunk::ChunkError;
use crate::chunk::format::FOOTER_AT;
use crate::chunk::layout::{self, Dir};
use raidfs_common::checksum::BlockSum;
use raidfs_common::extent::length_in_chunk;
use raidfs_common::id::{ChunkId, Ino};
use raidfs_common::limits::CHUNK_BYTES;
use std::path::Path;

/// So few blocks, and the footer, need none of the file system's own to say where they are.
const EXACT_BLOCKS: u32 = 3;

impl Disk {
    pub(super) fn cut(&self, ino: Ino, size: u64, most: usize) -> Result<usize, ChunkError> {
        let last = (size / CHUNK_BYTES) as u32;
        let kept = length_in_chunk(size, last);
        if kept > 0 {
            let chunk = ChunkId { ino, index: last };
            self.changing(chunk, |state| match state {
                State::Open(open) => self.trim(chunk, open, kept as usize),
                _ => Ok(()),
            })?;
        }
        self.remove_from(ino, if kept > 0 { last + 1 } else { last }, most)
    }

    pub(super) fn reap(&self, ino: Ino, most: usize) -> Result<usize, ChunkError> {
        self.remove_from(ino, 0, most)
    }

    /// Removes chunks of an inode from this index on, up to `most`; how many were.
    fn remove_from(&self, ino: Ino, index: u32, most: usize) -> Result<usize, ChunkError> {
        self.poison.check()?;
        let mut removed = 0;
        if index == 0 && self.remove(ChunkId { ino, index })? {
            removed += 1;
        }
        let rest = self.rest_of(ino)?;
        for &index in rest.iter().filter(|at| **at >= index).take(most.saturating_sub(removed)) {
            removed += usize::from(self.remove(ChunkId { ino, index })?);
        }
        if !rest.is_empty() && removed < most {
            self.remove_empty_rest(ino)?;
        }
        Ok(removed)
    }

    /// Leaves `kept` bytes of a chunk.
    fn trim(&self, chunk: ChunkId, open: &mut Open, kept: usize) -> Result<(), ChunkError> {
        let broken = |source| self.broken("cut", chunk, source);
        let cut = kept..CHUNK_BYTES as usize;
        let Ok(footer) = open.footer(chunk) else {
            // What it was cannot be told, but the cut bytes go.
            crate::chunk::io::punch(&open.file, kept as u64, FOOTER_AT - kept as u64).map_err(broken)?;
            self.changed(chunk, 0);
            return Ok(());
        };
        let end = footer.sums.end();
        if footer.length as usize <= kept && end * BLOCK <= kept {
            return Ok(());
        }
        let (block, from) = (kept / BLOCK, kept % BLOCK);
        let mut sums = Vec::new();
        if from != 0 && !footer.sums.is_hole(block) {
            let old = read_blocks(&open.file, chunk, block..block + 1);
            let checked = old.and_then(|old| check_block(chunk, footer, block, &old).map(|()| old));
            match checked {
                Ok(old) => sums.push((block, BlockSum::of(&old[..from]))),
                // What was lost stays so as far as it is kept.
                Err(ChunkError::Lost { .. }) => {}
                Err(e) if e.is_damage() => {}
                Err(e) => return Err(e),
            }
        }
        let lost = i64::from(footer.sums.lost(kept.div_ceil(BLOCK)..end));
        let length = footer.length.min(kept as u32);
        let given_back = self.zero(open, &cut).map_err(broken)?;
        sums.extend((kept.div_ceil(BLOCK)..end).map(|block| (block, BlockSum::HOLE)));
        self.put_sums(chunk, open, length, block..end.max(block), sums.into_iter())?;
        self.changed(chunk, lost - given_back);
        Ok(())
    }

    /// Removes a chunk; true if it was there.
    pub(super) fn remove(&self, chunk: ChunkId) -> Result<bool, ChunkError> {
        let known = self.files.get(chunk);
        let mut state = known.state.write();
        let removed = match &*state {
            State::Absent => false,
            _ => self.unlink(chunk, &mut state)?,
        };
        drop(state);
        self.files.forget(chunk, known);
        Ok(removed)
    }

    /// Removes a chunk's file, whose lock the caller holds; true if it was there.
    pub(super) fn unlink(&self, chunk: ChunkId, state: &mut State) -> Result<bool, ChunkError> {
        self.poison.check()?;
        let path = layout::path(&self.root, chunk);
        let Some(blocks) = self.blocks_of(chunk, &path, state) else {
            // Most often so: half of all files have their first chunk on another pair, and directories have none.
            *state = State::Absent;
            return Ok(false);
        };
        let removed = match std::fs::remove_file(&path) {
            Ok(()) => true,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => false,
            Err(e) => return Err(self.broken("remove", chunk, e)),
        };
        *state = State::Absent;
        if removed {
            self.ledger.dir_changed(layout::dir_of(chunk));
            self.ledger.entry_changed(chunk);
            self.census.chunk_removed(blocks);
            if chunk.index == 0 {
                self.member_removed(chunk.ino)?;
            }
        }
        Ok(removed)
    }

    /// How many blocks a chunk holds that may not be open: a small one by its file's size, which is exact then. None if
    /// it is not there.
    fn blocks_of(&self, chunk: ChunkId, path: &Path, state: &mut State) -> Option<u32> {
        let by_size = match state {
            State::Absent => return None,
            State::Open(Open { footer: Ok(footer), .. }) => return Some(footer.sums.written()),
            _ => match std::fs::symlink_metadata(path) {
                Ok(metadata) => census::blocks_on_disk(&metadata),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => return None,
                Err(_) => 0, // removing it will tell
            },
        };
        if by_size <= EXACT_BLOCKS {
            return Some(by_size);
        }
        // What cannot be opened is counted by its size.
        let _ = self.load(chunk, state);
        match state {
            State::Open(Open { footer: Ok(footer), .. }) => Some(footer.sums.written()),
            _ => Some(by_size),
        }
    }

    /// Removes the directory of an inode's chunks behind the first if it is empty.
    pub(super) fn remove_empty_rest(&self, ino: Ino) -> Result<(), ChunkError> {
        let mut rests = self.census.rests();
        if !self.remove_empty(Dir::Rest(ino))? {
            return Ok(());
        }
        rests.remove(&ino);
        drop(rests);
        self.member_removed(ino)
    }

    fn member_removed(&self, ino: Ino) -> Result<(), ChunkError> {
        let group = layout::group_of(ino);
        if self.census.member_removed(group) {
            self.remove_empty(Dir::Group(group))?;
        }
        Ok(())
    }

    fn remove_empty(&self, dir: Dir) -> Result<bool, ChunkError> {
        match std::fs::remove_dir(layout::dir_path(&self.root, dir)) {
            Ok(()) => {
                if let Some(parent) = layout::parent(dir) {
                    self.ledger.dir_changed(parent);
                }
                Ok(true)
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(e) if e.kind() == std::io::ErrorKind::DirectoryNotEmpty => Ok(false),
            Err(source) => Err(self.store_broken("remove an empty directory of chunks", source)),
        }
    }
}
