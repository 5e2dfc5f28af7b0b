//! Chunks of which everything was lost with both servers of a pair, and that was accepted: a footer above holes.

use super::check::{BLOCK, blocks_of, range};
use super::{Disk, Open, State};
use crate::chunk::format::{FOOTER_AT, Footer};
use crate::chunk::{ChunkError, io};
use raidfs_common::checksum::BlockSum;
use raidfs_common::id::ChunkId;
use std::sync::Arc;

impl Disk {
    pub(super) fn may_have_lost(&self, chunk: ChunkId) -> bool {
        let Some(held) = self.files.known(chunk) else { return chunk.ino < self.census.high_water() };
        match held.state.try_read().as_deref() {
            Some(State::Absent) => false,
            Some(State::Open(Open { footer: Ok(footer), .. })) => footer.sums.lost(0..footer.sums.end()) > 0,
            _ => true,
        }
    }

    pub(super) fn lose(&self, chunk: ChunkId, bytes: u32) -> Result<(), ChunkError> {
        let range = range(chunk, 0, bytes as usize)?;
        self.changing(chunk, |state| {
            // A file without a footer is what is left of one that was being made: nothing of it was ever told of.
            if let State::Open(Open { footer: Err(_), .. }) = state {
                self.unlink(chunk, state)?;
            }
            let before = match state {
                State::Open(open) => open.footer(chunk)?.clone(),
                _ => Footer::default(),
            };
            let mut footer = Footer { length: before.length.max(bytes), ..before.clone() };
            // Also holes before its end: of a footer, too, only a part may have come to the disk.
            let lost = blocks_of(&range).filter(|block| before.sums.is_hole(*block));
            lost.for_each(|block| footer.sums.set(block, BlockSum::LOST));
            if footer == before {
                return Ok(());
            }
            if !self.take_room(chunk, 2 * BLOCK as u64)? {
                return Err(ChunkError::Full { chunk });
            }
            let fresh = !matches!(state, State::Open(_));
            if fresh {
                let file = self.create(chunk)?;
                *state = State::Open(Open { file: Arc::new(file), footer: Ok(Footer::default()) });
                self.census.chunk_added(chunk, 0);
            }
            self.changed(chunk, 0);
            let State::Open(open) = state else { return Ok(()) };
            match io::write_at(&open.file, [&footer.encode(chunk), &[], &[]], FOOTER_AT) {
                Ok(()) => {
                    open.footer = Ok(footer);
                    Ok(())
                }
                Err(error) if io::is_full(&error) && fresh => {
                    self.unlink(chunk, state)?;
                    Err(ChunkError::Full { chunk })
                }
                Err(error) => Err(self.broken("write", chunk, error)),
            }
        })
    }
}
