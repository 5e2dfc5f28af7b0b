//! Whole chunks out and in: what a mirror that catches up is given, and what it does with it.
//!
//! Nothing is passed on that does not match its sum, and nothing is taken that does not. A chunk that is replaced is
//! made beside the old one and takes its place at once.

use super::change::write_footer;
use super::check::{self, BLOCK, examine};
use super::{Disk, Open, State, census};
use crate::chunk::copy::footer_of;
use crate::chunk::format::FOOTER_AT;
use crate::chunk::salvage::{Block, Maker, Salvage, all_lost, is_tombstone};
use crate::chunk::{ChunkError, io, layout};
use raidfs_common::checksum::BlockSum;
use raidfs_common::id::ChunkId;
use raidfs_common::rpc::chunks::ChunkCopy;
use std::fs::File;
use std::sync::Arc;

impl Disk {
    pub(super) fn export(&self, chunk: ChunkId, never_synced: bool) -> Result<Option<ChunkCopy>, ChunkError> {
        if never_synced {
            self.sum_anew(chunk)?;
        }
        self.reading(chunk, |open| {
            let Some(open) = open else { return Ok(None) };
            let footer = open.footer(chunk)?;
            let mut maker = Maker::with_room(footer.sums.written() as usize);
            let mut damaged = None;
            examine(&open.file, chunk, footer, |block, bytes, good| {
                let sum = footer.sums.get(block);
                match bytes {
                    Some(bytes) if good && sum != BlockSum::HOLE => maker.push(block, Block::Good(bytes, sum)),
                    Some(bytes) if sum.is_lost(bytes) => maker.push(block, Block::Lost(sum)),
                    _ if good => {}
                    _ => damaged = damaged.or(Some(block as u16)),
                }
            })?;
            match damaged {
                Some(block) => Err(ChunkError::Damaged { chunk, block }),
                None => Ok(Some(maker.copy(footer.length))),
            }
        })
    }

    pub(super) fn salvage(&self, chunk: ChunkId) -> Result<Option<Salvage>, ChunkError> {
        self.reading(chunk, |open| {
            let Some(open) = open else { return Ok(None) };
            let Ok(footer) = &open.footer else { return Ok(Some(all_lost().into())) };
            let mut maker = Maker::default();
            let mut unread = Vec::new();
            examine(&open.file, chunk, footer, |block, bytes, good| {
                let sum = footer.sums.get(block);
                if bytes.is_none() {
                    unread.push(block as u16);
                }
                maker.push(
                    block,
                    match bytes {
                        _ if good && footer.sums.is_hole(block) => Block::Hole,
                        Some(bytes) if good => Block::Good(bytes, sum),
                        _ => Block::Lost(sum),
                    },
                );
            })?;
            Ok(Some(Salvage { copy: maker.copy(footer.length), unread }))
        })
    }

    /// Takes the bytes for true, and makes sums that do not match them anew. A block that cannot be read at all, or is known to
    /// be lost, stays damaged.
    fn sum_anew(&self, chunk: ChunkId) -> Result<(), ChunkError> {
        self.changing(chunk, |state| {
            let State::Open(open) = state else { return Ok(()) };
            let (footer, lost) = match &open.footer {
                Ok(footer) => (footer.clone(), false),
                Err(reason) => (check::footer_from_bytes(&open.file, chunk, *reason)?, true),
            };
            let mut anew = Vec::new();
            examine(&open.file, chunk, &footer, |block, bytes, good| {
                // What is lost is known to be, whatever else is not.
                if let (Some(bytes), false) = (bytes, good)
                    && !footer.sums.get(block).is_lost(bytes)
                    && !is_tombstone(bytes)
                {
                    anew.push((block, BlockSum::of(bytes)));
                }
            })?;
            if anew.is_empty() && !lost {
                return Ok(());
            }
            tracing::info!("chunk {chunk}: {} blocks summed anew, as they were never synced", anew.len());
            let mut footer = footer;
            let before = footer.sums.written();
            anew.into_iter().for_each(|(block, sum)| footer.sums.set(block, sum));
            io::write_at(&open.file, [&footer.encode(chunk), &[], &[]], FOOTER_AT)
                .map_err(|source| self.broken("write sums of", chunk, source))?;
            self.changed(chunk, if lost { 0 } else { i64::from(footer.sums.written()) - i64::from(before) });
            open.footer = Ok(footer);
            Ok(())
        })
    }

    pub(super) fn import(&self, chunk: ChunkId, copy: Option<&ChunkCopy>) -> Result<(), ChunkError> {
        let Some(copy) = copy else {
            self.remove(chunk)?;
            return if chunk.index == 0 { Ok(()) } else { self.remove_empty_rest(chunk.ino) };
        };
        let footer = footer_of(chunk, copy)?;
        let blocks = footer.sums.written();
        self.changing(chunk, |state| {
            if !self.take_room(chunk, (blocks as usize + 2) as u64 * BLOCK as u64)? {
                return Err(ChunkError::Full { chunk });
            }
            let last = layout::path(&self.root, chunk);
            let replaced = match &*state {
                State::Open(open) => Some(open.footer.as_ref().map_or(0, |footer| footer.sums.written())),
                _ => None,
            };
            let path = if replaced.is_some() { layout::unfinished_path(&self.root, chunk) } else { last.clone() };
            if replaced.is_some() {
                let _ = std::fs::remove_file(&path);
            }
            let file = self.create_at(chunk, &path)?;
            // As far as there are sums: the last block of the footer takes no room while a file does not reach so far.
            let written = fill(&file, copy)
                .and_then(|()| write_footer(&file, chunk, &footer, 0, 0..footer.sums.end()))
                .and_then(|()| if replaced.is_some() { std::fs::rename(&path, &last) } else { Ok(()) });
            if let Err(error) = written {
                let _ = std::fs::remove_file(&path);
                return Err(self.failed("write a copy of", chunk, error));
            }
            *state = State::Open(Open { file: Arc::new(file), footer: Ok(footer) });
            match replaced {
                Some(before) => self.census.blocks_changed(i64::from(blocks) - i64::from(before)),
                None => {
                    self.census.chunk_added(chunk, blocks);
                    if chunk.index == 0 {
                        self.census.member_added(census::group(chunk));
                    }
                }
            }
            self.ledger.entry_changed(chunk);
            Ok(())
        })
    }
}

/// Writes the blocks of a copy to their places; what is lost has none.
fn fill(file: &File, copy: &ChunkCopy) -> std::io::Result<()> {
    let (mut rest, mut sums): (&[u8], &[u32]) = (&copy.data.0, &copy.sums);
    for (first, count) in &copy.extents {
        let (bytes, behind) = rest.split_at(usize::from(*count) * BLOCK);
        let (of_these, others) = sums.split_at(usize::from(*count));
        (rest, sums) = (behind, others);
        let is_lost = |at: usize| BlockSum(of_these[at]).is_lost(&bytes[at * BLOCK..][..BLOCK]);
        let mut at = 0;
        while at < of_these.len() {
            let end = (at..of_these.len()).find(|at| is_lost(*at)).unwrap_or(of_these.len());
            if at < end {
                io::write_at(
                    file,
                    [&bytes[at * BLOCK..end * BLOCK], &[], &[]],
                    (usize::from(*first) + at) as u64 * BLOCK as u64,
                )?;
            }
            at = end + 1;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::super::conformance::{chunk, on_disk, reopen};
    use super::super::super::{ChunkStore, layout};
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_copy_takes_no_more_room_than_what_it_was_made_from() {
        let (store, dir) = on_disk();
        let (target, there) = on_disk();
        let c = chunk(5, 0);
        store.write(c, 0, b"x").unwrap();
        target.import(c, store.export(c, false).unwrap().as_ref()).unwrap();
        let room = |dir: &tempfile::TempDir| layout::path(&dir.path().join("chunks"), c).metadata().unwrap().blocks();
        [&store, &target].iter().for_each(|store| store.sync_all().unwrap());
        assert_eq!(room(&there), room(&dir));
    }

    #[test]
    fn what_is_lost_stays_lost_whatever_is_taken_for_true_later() {
        let (from, _from_dir) = on_disk();
        let c = chunk(5, 0);
        from.write(c, 0, &[7; 3 * BLOCK]).unwrap();
        let sum = BlockSum::of(&[7; BLOCK]);
        let mut maker = Maker::default();
        for (number, block) in
            [Block::Good(&[7; BLOCK], sum), Block::Lost(sum), Block::Good(&[7; BLOCK], sum)].iter().enumerate()
        {
            maker.push(number, *block);
        }
        let copy = maker.copy(3 * BLOCK as u32);
        let is_lost =
            |read: Result<bytes::Bytes, ChunkError>| matches!(read, Err(ChunkError::Damaged { block: 1, .. }));

        let (store, dir) = on_disk();
        store.import(c, Some(&copy)).unwrap();
        assert!(store.export(c, true).is_err());
        assert!(is_lost(store.read(c, BLOCK as u32, 1)));
        assert_eq!(store.read(c, 0, 1).unwrap(), [7][..]);
        store.sync_all().unwrap();
        drop(store);
        // Of its sums nothing is left: a life that follows takes for true what it finds, but not this.
        let file = std::fs::File::options().write(true).open(layout::path(&dir.path().join("chunks"), c)).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &[0; 8192], FOOTER_AT).unwrap();
        let store = reopen(dir.path());
        assert!(store.export(c, true).is_err());
        assert!(is_lost(store.read(c, BLOCK as u32, 1)));
        assert_eq!(store.read(c, 2 * BLOCK as u32, 1).unwrap(), [7][..]);
    }
}
