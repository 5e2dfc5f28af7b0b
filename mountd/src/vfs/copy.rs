//! Copies of ranges between files. Long ones are made by the servers: their bytes pass through neither this process nor the
//! kernel. Short ones are read and written behind, which waits for nobody.

use super::cluster::{ChunkAddress, Cluster, Part, Source};
use super::files::File;
use super::reshape::{punch, to_its_end};
use super::stop::{self, Stop, waits_unless_stopped};
use super::{Caller, Shared, Vfs};
use futures::StreamExt;
use raidfs_common::attr::Placement;
use raidfs_common::error::FsError;
use raidfs_common::id::{ChunkId, Ino};
use raidfs_common::limits::{CHUNK_BYTES, FILE_MAX_BYTES};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A copy of fewer bytes is read and written here: for less a wait until both files are with the servers does not pay.
pub(super) const SERVERS_COPY_MIN: u64 = 128 << 10;
/// Bytes that the servers copy before the file may be read and written in between.
const WINDOW_BYTES: u64 = 32 << 20;
/// Bytes of one request.
const PIECE_BYTES: u64 = 1 << 20;
/// Bytes that are copied here at a time where the servers cannot.
const HERE_BYTES: u64 = 8 << 20;
/// Requests under way at once.
const PIECES_AT_ONCE: usize = 8;

/// A piece of a copy, which lies in one chunk of either file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    from: u64,
    to: u64,
    length: u64,
}

/// The pieces of a copy of `length` bytes, in order.
fn pieces(from: u64, to: u64, length: u64) -> impl Iterator<Item = Piece> {
    let in_chunk = |at: u64| CHUNK_BYTES - at % CHUNK_BYTES;
    let mut done = 0;
    std::iter::from_fn(move || {
        let (from, to) = (from + done, to + done);
        let length = in_chunk(from).min(in_chunk(to)).min(PIECE_BYTES).min(length - done);
        done += length;
        (length > 0).then_some(Piece { from, to, length })
    })
}

/// How far a copy came, and why not further.
type Copied = (u64, Result<(), FsError>);

impl<C: Cluster> Vfs<C> {
    /// Copies bytes from one file to another, each given by its handle and the first byte; returns how many: fewer at the end
    /// of the source, or where an error comes after some were copied.
    pub async fn copy(&self, caller: Caller, from: (u64, u64), to: (u64, u64), length: u64) -> Result<u64, FsError> {
        let source = self.0.handles.lock().file(from.0)?;
        let target = self.0.handles.lock().file(to.0)?;
        let size = self.0.getattr(source.file.ino).await?.size;
        let had = self.0.getattr(target.file.ino).await?.size;
        let length = length.min(size.saturating_sub(from.1));
        let room = FILE_MAX_BYTES.saturating_sub(to.1);
        if length > 0 && room == 0 {
            return Err(FsError::TooBig);
        }
        let length = length.min(room);
        if length > 0 {
            self.0.strip_unkept_ids(target.file.ino, caller).await?;
        }
        let (mut done, mut result) = (0, Err(FsError::NotSupported));
        if length >= SERVERS_COPY_MIN {
            (done, result) = self.0.copy_there(&source.file, from.1, &target.file, to.1, length).await;
            if done > 0 && had < to.1 {
                self.0.clear_tail(&target.file, had..to.1).await;
            }
        }
        if done == 0 && result == Err(FsError::NotSupported) {
            (done, result) = self.copy_here(&source.file, from.1, to, length.min(HERE_BYTES)).await;
        }
        self.0.copied(source.file.ino, source.mode).await;
        let synced = match target.mode.sync && done > 0 {
            true => self.0.sync_file(&target).await,
            false => Ok(()),
        };
        if result.is_err() || synced.is_err() {
            // More may be copied than is answered, and the kernel keeps its pages of that.
            self.0.doubt(target.file.ino);
        }
        match done {
            0 => result.map(|()| 0),
            _ => synced.map(|()| done),
        }
    }

    async fn copy_here(&self, source: &File, from: u64, to: (u64, u64), length: u64) -> Copied {
        let copied = async {
            let bytes = self.0.read(source, from, length).await?;
            self.write(to.0, to.1, &bytes, None).await?;
            Ok(bytes.len() as u64)
        };
        copied.await.map_or_else(|error| (0, Err(error)), |done| (done, Ok(())))
    }
}

impl<C: Cluster> Shared<C> {
    async fn copy_there(
        self: &Arc<Self>,
        source: &Arc<File>,
        from: u64,
        target: &Arc<File>,
        to: u64,
        length: u64,
    ) -> Copied {
        let mut done = 0;
        while done < length {
            if let Err(stopped) = stop::check() {
                return (done, Err(stopped));
            }
            let (shared, source, target) = (self.clone(), source.clone(), target.clone());
            let piece = Piece { from: from + done, to: to + done, length: WINDOW_BYTES.min(length - done) };
            let stop = stop::current();
            let window = to_its_end(async move { shared.copy_window(&source, &target, piece, stop).await }).await;
            let (copied, ended) = window.unwrap_or_else(|error| (0, Err(error)));
            done += copied;
            if copied < piece.length {
                return (done, ended);
            }
        }
        (done, Ok(()))
    }

    /// Has the servers copy a window; less of it if the source ends before, or with an error.
    async fn copy_window(
        self: &Arc<Self>,
        source: &Arc<File>,
        target: &Arc<File>,
        window: Piece,
        stop: Stop,
    ) -> Result<Copied, FsError> {
        let there = async {
            self.landed(source).await;
            self.unheld(source).await;
        };
        stop.scope(waits_unless_stopped(there)).await?;
        let origin = {
            let state = source.data.lock();
            let range = window.from..window.from + window.length;
            if state.behind.gaps(range.clone()) != [range] {
                // Bytes that could not be stored, kept for another try, or new ones: the servers do not have them.
                return Err(FsError::NotSupported);
            }
            state.placement.ok_or(FsError::Io)?
        };
        let direct = stop.scope(waits_unless_stopped(self.direct(target))).await?;
        let placement = direct.placement;
        let older = self.take_kept(target, window.to..window.to + window.length);
        // What the servers copy could not be sent once more, nor what was there.
        self.retain(&mut target.data.lock(), |retained, _| retained.give_up());
        let failed = &AtomicBool::new(false);
        let copies = pieces(window.from, window.to, window.length).map(|piece| async move {
            if failed.load(Ordering::Relaxed) {
                return (piece, Err(FsError::Io));
            }
            let (from, to) = (place(source.ino, origin, piece.from), place(target.ino, placement, piece.to));
            let part = Part { offset: to.offset, length: piece.length as u32 };
            let mark = self.cluster.loss_mark();
            let changed = self.cluster.copy_chunk(to.at, part, from).await;
            failed.fetch_or(changed.is_err(), Ordering::Relaxed);
            (piece, self.landed_directly(target, to.at.chunk.index, mark, changed))
        });
        let copies: Vec<(Piece, Result<i64, FsError>)> =
            futures::stream::iter(copies).buffered(PIECES_AT_ONCE).collect().await;
        let (mut done, mut blocks, mut result) = (0, 0, Ok(()));
        for (piece, copied) in copies {
            match copied {
                Ok(more) => blocks += more,
                Err(error) => result = result.and(Err(error)),
            }
            done += if result.is_ok() { piece.length } else { 0 };
        }
        // Zeros that follow the end of a source which was cut meanwhile are not copied.
        let left = self.names.lock().tree.node(source.ino).map_or(0, |node| node.attr.size.saturating_sub(window.from));
        done = done.min(left);
        if done < window.length {
            self.take_back(target, placement, window.to + done..window.to + window.length, &mut blocks).await;
        }
        if done > 0 || blocks != 0 {
            self.changed_directly(target, if done > 0 { window.to + done } else { 0 }, blocks);
        }
        self.put_back(target, older, window.to + done);
        drop(direct);
        self.push_soon(target);
        if result == Err(FsError::NoSpace) {
            self.allowance.spend();
        }
        Ok((done, result))
    }

    /// A copy has ended early, and later pieces of it may be there all the same: behind the end of the file nothing may be.
    async fn take_back(&self, target: &File, placement: Placement, range: Range<u64>, blocks: &mut i64) {
        let size = self.names.lock().tree.node(target.ino).map_or(0, |node| node.attr.size);
        let behind = range.start.max(size)..range.end;
        if !behind.is_empty()
            && let Err(error) = self.change_pieces(target, placement, behind, &[punch], blocks).await
        {
            tracing::warn!("what a copy left behind the end of inode {} was not taken back: {error}", target.ino);
        }
    }
}

/// A byte of a file as one of a chunk.
fn place(ino: Ino, placement: Placement, at: u64) -> Source {
    let chunk = ChunkId { ino, index: (at / CHUNK_BYTES) as u32 };
    Source { at: ChunkAddress { chunk, placement }, offset: (at % CHUNK_BYTES) as u32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_crosses_no_border_of_either_file() {
        let all: Vec<Piece> = pieces(CHUNK_BYTES - 10, 2 * CHUNK_BYTES - 20, PIECE_BYTES + 50).collect();
        let lengths: Vec<u64> = all.iter().map(|piece| piece.length).collect();
        assert_eq!(lengths, [10, 10, PIECE_BYTES, 30]);
        let (from, to) = (CHUNK_BYTES - 10, 2 * CHUNK_BYTES - 20);
        for (piece, before) in all.iter().zip([0, 10, 20, 20 + PIECE_BYTES]) {
            assert_eq!((piece.from, piece.to), (from + before, to + before));
        }
        assert_eq!(pieces(5, 5, 0).count(), 0);
    }
}
