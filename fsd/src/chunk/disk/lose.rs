//! Chunks of which everything was lost with both servers of a pair, and that was accepted: a footer above holes.

use super::check::{BLOCK, blocks_of, range};
use super::{Disk, Open, State};
use crate::chunk::format::{FOOTER_AT, Footer};
use crate::chunk::{ChunkError, io};
use raidfs_common::checksum::BlockSum;
use raidfs_common::id::ChunkId;
use std::sync::Arc;

impl Disk {
    pub(super) fn lose(&self, chunk: ChunkId, bytes: u32) -> Result<(), ChunkError> {
        let range = range(chunk, 0, bytes as usize)?;
        self.changing(chunk, |state| {
            if range.is_empty() || !matches!(state, State::Absent) {
                return Ok(());
            }
            let mut footer = Footer { length: bytes, ..Footer::default() };
            blocks_of(&range).for_each(|block| footer.sums.set(block, BlockSum::LOST));
            if !self.take_room(chunk, 2 * BLOCK as u64)? {
                return Err(ChunkError::Full { chunk });
            }
            let file = self.create(chunk)?;
            let written = io::write_at(&file, [&footer.encode(chunk), &[], &[]], FOOTER_AT);
            *state = State::Open(Open { file: Arc::new(file), footer: Ok(footer) });
            self.census.chunk_added(chunk, 0);
            self.changed(chunk, 0);
            match written {
                Ok(()) => Ok(()),
                Err(error) if io::is_full(&error) => {
                    self.unlink(chunk, state)?;
                    Err(ChunkError::Full { chunk })
                }
                Err(error) => Err(self.broken("write", chunk, error)),
            }
        })
    }
}
