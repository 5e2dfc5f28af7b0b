//! Writing, punching and reserving within one chunk.
//!
//! Bytes go first, then their sums: whatever stops in between leaves a block that does not match, never one that matches
//! and is wrong. A block is either a hole or was written whole, so a write of a part into a hole fills the block up
//! with zeros, and one into a written block reads it first, checks it, and sums what it becomes.
//!
//! **No room.** A change fills its holes first, sums included, and only then overwrites what needs no new room. If there
//! is none, the holes are punched again, the footer is put back, a file made for it is removed, and nothing has changed.
//! That overwriting finds no room is a broken disk (or a file system that copies on write, and whose promise of room
//! the reserve was to keep).

use super::check::{BLOCK, blocks_of, check_block, range, read_blocks};
use super::{Disk, Open, State, census};
use crate::chunk::format::{FILE_BYTES, FOOTER_AT, Footer};
use crate::chunk::layout::{self, Dir};
use crate::chunk::{ChunkError, io};
use raidfs_common::checksum::BlockSum;
use raidfs_common::id::ChunkId;
use raidfs_common::limits::CHUNK_BYTES;
use raidfs_common::rpc::chunks::Applied;
use std::fs::{File, OpenOptions};
use std::ops::Range;
use std::sync::Arc;

const ZEROS: [u8; BLOCK] = [0; BLOCK];
/// A directory is made and then found missing so often at most: others remove empty ones.
const CREATE_TRIES: usize = 16;

impl Disk {
    pub(super) fn write(&self, chunk: ChunkId, offset: u32, data: &[u8]) -> Result<Applied, ChunkError> {
        let range = range(chunk, offset, data.len())?;
        if data.is_empty() {
            return Ok(Applied::default());
        }
        self.in_file(chunk, |open| {
            let footer = open.footer(chunk)?;
            let sums = new_sums(&open.file, chunk, footer, &range, data)?;
            let length = footer.length.max(range.end as u32);
            let blocks = blocks_of(&range);
            let holes = runs(footer, blocks.clone(), true);
            let written = runs(footer, blocks.clone(), false);
            // These are no holes by their sums, but there is nothing on the disk yet.
            let lost = footer.sums.lost(blocks.clone());
            if lost > 0 && !self.take_room(chunk, u64::from(lost) * BLOCK as u64)? {
                return Err(ChunkError::Full { chunk });
            }
            let at = |block: usize| sums[block - blocks.start];
            if !holes.is_empty() {
                self.fill(chunk, open, &holes, length, at, |file, run| {
                    let bytes = clip(&range, run);
                    let front = &ZEROS[..bytes.start - run.start * BLOCK];
                    let back = &ZEROS[..run.end * BLOCK - bytes.end];
                    let data = &data[bytes.start - range.start..bytes.end - range.start];
                    io::write_at(file, [front, data, back], (run.start * BLOCK) as u64)
                })?;
            }
            if !written.is_empty() {
                let overwritten = written.iter().try_for_each(|run| {
                    let bytes = clip(&range, run);
                    let data = &data[bytes.start - range.start..bytes.end - range.start];
                    io::write_at(&open.file, [data, &[], &[]], bytes.start as u64)
                });
                overwritten.map_err(|source| self.broken("write", chunk, source))?;
                self.put_sums(chunk, open, length, blocks.clone(), written.into_iter().flatten().map(|b| (b, at(b))))?;
            }
            self.census.blocks_changed(i64::from(lost));
            if range.end as u64 == CHUNK_BYTES {
                // Whoever writes on is likely to leave this chunk: the disk may as well begin with it.
                io::start_write_back(&open.file);
            }
            Ok(holes.iter().map(|run| run.len() as i64).sum())
        })
    }

    pub(super) fn allocate(&self, chunk: ChunkId, offset: u32, length: u32) -> Result<Applied, ChunkError> {
        let range = range(chunk, offset, length as usize)?;
        if range.is_empty() {
            return Ok(Applied::default());
        }
        let zeros = BlockSum::of(&ZEROS);
        self.in_file(chunk, |open| {
            let footer = open.footer(chunk)?;
            let holes = runs(footer, blocks_of(&range), true);
            let length = footer.length;
            self.fill(
                chunk,
                open,
                &holes,
                length,
                |_| zeros,
                |file, run| {
                    let (at, bytes) = ((run.start * BLOCK) as u64, (run.len() * BLOCK) as u64);
                    match io::allocate(file, at, bytes) {
                        Err(e) if e.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                            run.clone().try_for_each(|b| io::write_at(file, [&ZEROS, &[], &[]], (b * BLOCK) as u64))
                        }
                        other => other,
                    }
                },
            )?;
            Ok(holes.iter().map(|run| run.len() as i64).sum())
        })
    }

    pub(super) fn punch(&self, chunk: ChunkId, offset: u32, length: u32) -> Result<Applied, ChunkError> {
        let range = range(chunk, offset, length as usize)?;
        self.changing(chunk, |state| {
            let State::Open(open) = state else { return Ok(Applied::default()) };
            let footer = open.footer(chunk)?;
            let mut sums = Vec::new();
            for (block, part) in edges(&range) {
                if !footer.sums.is_hole(block) {
                    sums.push((block, new_sum(&open.file, chunk, footer, block, part.start, &ZEROS[part])?));
                }
            }
            let kept = footer.length;
            let lost = i64::from(footer.sums.lost(whole_blocks(&range)));
            let given_back = self.zero(open, &range).map_err(|source| self.broken("punch", chunk, source))?;
            let blocks = blocks_of(&range);
            sums.extend(whole_blocks(&range).map(|block| (block, BlockSum::HOLE)));
            self.put_sums(chunk, open, kept, blocks, sums.into_iter())?;
            self.changed(chunk, lost - given_back);
            Ok(Applied { blocks: -given_back, made: false })
        })
    }

    /// Makes the bytes of a range zeros and gives its whole blocks back, sums left as they are. How many blocks those
    /// were.
    pub(super) fn zero(&self, open: &Open, range: &Range<usize>) -> std::io::Result<i64> {
        let is_hole = |block: &usize| open.footer.as_ref().is_ok_and(|footer| footer.sums.is_hole(*block));
        for (block, part) in edges(range) {
            if !is_hole(&block) {
                let at = block * BLOCK + part.start;
                io::write_at(&open.file, [&ZEROS[part], &[], &[]], at as u64)?;
            }
        }
        let whole = whole_blocks(range);
        let given_back = whole.clone().filter(|b| !is_hole(b)).count();
        if given_back > 0 {
            io::punch(&open.file, (whole.start * BLOCK) as u64, (whole.len() * BLOCK) as u64)?;
        }
        Ok(given_back as i64)
    }

    /// Runs a change on the chunk's file, which is made if there is none and removed again if the change has no room;
    /// the change returns how many blocks it added.
    fn in_file(
        &self,
        chunk: ChunkId,
        change: impl FnOnce(&mut Open) -> Result<i64, ChunkError>,
    ) -> Result<Applied, ChunkError> {
        self.changing(chunk, |state| {
            let fresh = matches!(state, State::Absent);
            if fresh {
                let file = self.create(chunk)?;
                *state = State::Open(Open { file: Arc::new(file), footer: Ok(Footer::default()) });
                self.census.chunk_added(chunk, 0);
            }
            let State::Open(open) = state else { return Ok(Applied::default()) };
            let result = change(open);
            match &result {
                Ok(blocks) => self.changed(chunk, *blocks),
                Err(ChunkError::Full { .. }) if fresh => _ = self.unlink(chunk, state)?,
                Err(_) => self.changed(chunk, 0),
            }
            result.map(|blocks| Applied { blocks, made: fresh })
        })
    }

    /// Books a change.
    pub(super) fn changed(&self, chunk: ChunkId, blocks: i64) {
        self.ledger.chunk_changed(chunk);
        self.census.blocks_changed(blocks);
    }

    /// Makes the chunk's file, of full size and all holes.
    pub(super) fn create(&self, chunk: ChunkId) -> Result<File, ChunkError> {
        if !self.take_room(chunk, BLOCK as u64)? {
            return Err(ChunkError::Full { chunk });
        }
        let file = self.create_at(chunk, &layout::path(&self.root, chunk))?;
        if !self.names_follow {
            self.ledger.entry_changed(chunk);
        }
        if chunk.index == 0 {
            self.census.member_added(census::group(chunk));
        }
        Ok(file)
    }

    /// Makes a file for a chunk, of full size and all holes, with the directories on the way.
    pub(super) fn create_at(&self, chunk: ChunkId, path: &std::path::Path) -> Result<File, ChunkError> {
        let mut tries = 0;
        let file = loop {
            match OpenOptions::new().read(true).write(true).create_new(true).open(path) {
                Ok(file) => break file,
                Err(e) if e.kind() == std::io::ErrorKind::NotFound && tries < CREATE_TRIES => {
                    self.make_dir(chunk, layout::dir_of(chunk))?;
                    tries += 1;
                }
                Err(e) if crate::chunk::is_shortage(&e) => {
                    return Err(ChunkError::Disk { action: "create", chunk, source: e });
                }
                Err(e) => return Err(self.failed("create", chunk, e)),
            }
        };
        self.ledger.dir_changed(layout::dir_of(chunk));
        match file.set_len(FILE_BYTES) {
            Ok(()) => Ok(file),
            Err(e) => {
                let _ = std::fs::remove_file(path);
                Err(self.failed("create", chunk, e))
            }
        }
    }

    fn make_dir(&self, chunk: ChunkId, dir: Dir) -> Result<(), ChunkError> {
        let path = layout::dir_path(&self.root, dir);
        let made = match dir {
            Dir::Rest(ino) => {
                let mut rests = self.census.rests();
                std::fs::create_dir(&path).inspect(|()| _ = rests.insert(ino))
            }
            _ => std::fs::create_dir(&path),
        };
        match made {
            Ok(()) => {
                if let Dir::Rest(_) = dir {
                    self.census.member_added(census::group(chunk));
                }
                if let Some(parent) = layout::parent(dir) {
                    self.ledger.dir_changed(parent);
                }
                Ok(())
            }
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => match layout::parent(dir) {
                Some(parent) if parent != Dir::Root => self.make_dir(chunk, parent),
                _ => Err(self.failed("make a directory for", chunk, e)),
            },
            Err(e) => Err(self.failed("make a directory for", chunk, e)),
        }
    }

    pub(super) fn take_room(&self, chunk: ChunkId, bytes: u64) -> Result<bool, ChunkError> {
        self.room.take(bytes).map_err(|source| ChunkError::Disk { action: "find room for", chunk, source })
    }

    /// Fills runs of holes, then writes their sums; undone if there is no room.
    fn fill(
        &self,
        chunk: ChunkId,
        open: &mut Open,
        holes: &[Range<usize>],
        length: u32,
        sum: impl Fn(usize) -> BlockSum,
        fill: impl Fn(&File, &Range<usize>) -> std::io::Result<()>,
    ) -> Result<(), ChunkError> {
        let bytes: usize = holes.iter().map(|run| run.len() * BLOCK).sum();
        if !self.take_room(chunk, bytes as u64)? {
            return Err(ChunkError::Full { chunk });
        }
        let footer = open.footer.as_mut().map_err(|reason| ChunkError::Footer { chunk, reason: *reason })?;
        let before = footer.length;
        let blocks = match (holes.first(), holes.last()) {
            (Some(first), Some(last)) => first.start..last.end,
            _ => 0..0,
        };
        let outcome = holes.iter().try_for_each(|run| fill(&open.file, run)).and_then(|()| {
            footer.length = length;
            holes.iter().cloned().flatten().for_each(|block| footer.sums.set(block, sum(block)));
            write_footer(&open.file, chunk, footer, before, blocks.clone())
        });
        let Err(error) = outcome else { return Ok(()) };
        if !io::is_full(&error) {
            return Err(self.broken("write", chunk, error));
        }
        footer.length = before;
        holes.iter().cloned().flatten().for_each(|block| footer.sums.set(block, BlockSum::HOLE));
        let punched = holes
            .iter()
            .try_for_each(|run| io::punch(&open.file, (run.start * BLOCK) as u64, (run.len() * BLOCK) as u64));
        let undone = match footer.sums.end() {
            // Never written to before: the file is removed, or its lack of a footer told already.
            0 if before == 0 => punched,
            _ => punched.and_then(|()| write_footer(&open.file, chunk, footer, length, 0..footer.sums.end())),
        };
        undone.map_err(|source| self.broken("take back a write to", chunk, source))?;
        Err(ChunkError::Full { chunk })
    }

    /// Sets sums and length, and writes the sums of `blocks`, and the header if the length is another.
    pub(super) fn put_sums(
        &self,
        chunk: ChunkId,
        open: &mut Open,
        length: u32,
        blocks: Range<usize>,
        sums: impl Iterator<Item = (usize, BlockSum)>,
    ) -> Result<(), ChunkError> {
        let footer = open.footer.as_mut().map_err(|reason| ChunkError::Footer { chunk, reason: *reason })?;
        let before = std::mem::replace(&mut footer.length, length);
        sums.for_each(|(block, sum)| footer.sums.set(block, sum));
        write_footer(&open.file, chunk, footer, before, blocks).map_err(|e| self.broken("write sums of", chunk, e))
    }
}

/// Writes the sums of `blocks`; the header, too, if the length is not `before` or there was none yet.
pub(super) fn write_footer(
    file: &File,
    chunk: ChunkId,
    footer: &Footer,
    before: u32,
    blocks: Range<usize>,
) -> std::io::Result<()> {
    // A chunk of length 0 may be new: its header is written each time, which costs nothing more.
    if footer.length != before || before == 0 {
        let (_, sums) = footer.encode_sums(0, blocks.end);
        io::write_at(file, [&footer.encode_header(chunk), &sums, &[]], FOOTER_AT)
    } else {
        let (at, sums) = footer.encode_sums(blocks.start, blocks.end);
        io::write_at(file, [&sums, &[], &[]], at)
    }
}

/// The sums that the blocks of a range will have.
fn new_sums(
    file: &File,
    chunk: ChunkId,
    footer: &Footer,
    range: &Range<usize>,
    data: &[u8],
) -> Result<Vec<BlockSum>, ChunkError> {
    let sum = |block: usize| {
        let bytes = clip(range, &(block..block + 1));
        let from = bytes.start - block * BLOCK;
        new_sum(file, chunk, footer, block, from, &data[bytes.start - range.start..bytes.end - range.start])
    };
    blocks_of(range).map(sum).collect()
}

/// The sum that a block will have when `data` is written at `from`; a written block must match its sum before.
fn new_sum(
    file: &File,
    chunk: ChunkId,
    footer: &Footer,
    block: usize,
    from: usize,
    data: &[u8],
) -> Result<BlockSum, ChunkError> {
    if data.len() == BLOCK {
        return Ok(BlockSum::of(data));
    }
    let mut whole = if footer.sums.is_hole(block) {
        ZEROS.to_vec()
    } else {
        let old = read_blocks(file, chunk, block..block + 1)?;
        check_block(chunk, footer, block, &old)?;
        old
    };
    whole[from..from + data.len()].copy_from_slice(data);
    Ok(BlockSum::of(&whole))
}

/// The part of a byte range that lies in these blocks.
fn clip(range: &Range<usize>, blocks: &Range<usize>) -> Range<usize> {
    range.start.max(blocks.start * BLOCK)..range.end.min(blocks.end * BLOCK)
}

/// Runs of the blocks that are holes, or that are none.
fn runs(footer: &Footer, blocks: Range<usize>, hole: bool) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for block in blocks.filter(|b| footer.sums.is_hole(*b) == hole) {
        match runs.last_mut() {
            Some(run) if run.end == block => run.end += 1,
            _ => runs.push(block..block + 1),
        }
    }
    runs
}

/// The blocks that lie wholly in a range.
pub(super) fn whole_blocks(range: &Range<usize>) -> Range<usize> {
    let start = range.start.div_ceil(BLOCK);
    start..(range.end / BLOCK).max(start)
}

/// The blocks of which a part lies in a range, each with that part of it.
pub(super) fn edges(range: &Range<usize>) -> impl Iterator<Item = (usize, Range<usize>)> + use<> {
    let blocks = blocks_of(range);
    let two = if range.is_empty() { [None; 2] } else { [Some(blocks.start), Some(blocks.end - 1)] };
    let last = if two[0] == two[1] { None } else { two[1] };
    [two[0], last].into_iter().flatten().filter_map({
        let range = range.clone();
        move |block| {
            let start = range.start.max(block * BLOCK) - block * BLOCK;
            let end = range.end.min((block + 1) * BLOCK) - block * BLOCK;
            (end - start < BLOCK).then_some((block, start..end))
        }
    })
}
