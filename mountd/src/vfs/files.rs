//! Open files: open, read, write, close; and what is kept of a file while it is open or has something to be sent.

use super::cluster::{ChunkAddress, Cluster, LossMark};
use super::handles::Handle;
use super::late::{Late, Told};
use super::names::{SET_GID, SET_UID};
use super::prefetch::{Kept, SMALL_BYTES};
use super::push_queue::Urgency;
use super::retained::Retained;
use super::rhythm::Rhythm;
use super::stop::{unless_stopped, waits_unless_stopped};
use super::unreadable::Unreadable;
use super::write_behind::WriteBehind;
use super::{Caller, Shared, Vfs};
use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use raidfs_common::attr::{Attr, FileKind, Placement};
use raidfs_common::error::FsError;
use raidfs_common::extent::{self, Piece};
use raidfs_common::id::{ChunkId, Ino};
use raidfs_common::limits::FILE_MAX_BYTES;
use raidfs_common::namespace::SetAttr;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::Notify;

/// The placement of a new file that the cluster has not placed yet.
pub(super) const UNPLACED: Placement = Placement { first_pair: u16::MAX, turn: u8::MAX };

/// How a file is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenMode {
    /// Each write is on stable storage when it returns.
    pub sync: bool,
    /// It is for reading.
    pub reads: bool,
    /// It is for writing.
    pub writes: bool,
    /// Its reads move no access time.
    pub quiet: bool,
}

impl OpenMode {
    /// Whether the file can be changed through a shared mapping, which keeps the handle open.
    fn maps(self) -> bool {
        self.reads && self.writes
    }
}

/// Some of a file's chunks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Chunks {
    /// Any of them.
    All,
    /// These.
    These(BTreeSet<u32>),
}

/// What of a file may not be on stable storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unsynced {
    /// Where it is. Any chunk, of a file that was changed before it was looked at.
    pub chunks: Chunks,
    /// From before the oldest of it was sent; None: nothing of it is from here.
    pub since: Option<LossMark>,
}

impl Unsynced {
    /// Nothing.
    pub fn none() -> Unsynced {
        Unsynced { chunks: Chunks::These(BTreeSet::new()), since: None }
    }

    /// Everything.
    pub fn all(since: Option<LossMark>) -> Unsynced {
        Unsynced { chunks: Chunks::All, since }
    }

    /// This chunk, too.
    pub fn insert(&mut self, index: u32) {
        if let Chunks::These(chunks) = &mut self.chunks {
            chunks.insert(index);
            if chunks.len() > UNSYNCED_MAX {
                self.chunks = Chunks::All;
            }
        }
    }

    /// A change of this chunk has landed, too, that was sent after `mark` was taken.
    pub fn landed(&mut self, index: u32, mark: LossMark) {
        self.insert(index);
        self.since = Some(self.since.map_or(mark, |since| since.min(mark)));
    }

    /// This, and that.
    pub fn and(self, other: &Unsynced) -> Unsynced {
        let chunks = match (self.chunks, &other.chunks) {
            (Chunks::These(mut these), Chunks::These(those)) => {
                these.extend(those);
                Chunks::These(these)
            }
            _ => Chunks::All,
        };
        Unsynced { chunks, since: [self.since, other.since].into_iter().flatten().min() }
    }
}

/// A file that is open, or has something to be sent.
pub(super) struct File {
    pub ino: Ino,
    pub data: Mutex<FileData>,
    /// Something landed, or a hold ended.
    pub moved: Notify,
}

pub(super) struct FileData {
    pub behind: WriteBehind,
    /// Up to where its bytes, or holes that were asked for, are with the cluster.
    pub landed_end: u64,
    /// Where its chunks lie; None until the cluster has said so of a new file.
    pub placement: Option<Placement>,
    /// Errors of writes that were answered before they were made.
    pub late: Late,
    /// Pieces that could not be stored, which is told, and are kept for another try: where they begin.
    pub again: BTreeSet<u64>,
    /// Cuts and the like under way: nothing is sent, and nothing read from the cluster, before they have ended.
    pub holds: u32,
    /// One of them is for changes that go to the cluster directly, of which the pusher does not know.
    pub direct: bool,
    /// What was written until then is to be sent now.
    pub cutoff: Option<Instant>,
    /// When that has landed, size and times are to be reported.
    pub report: bool,
    /// How it stands in the pusher's queue of files with something to send. None: it does not.
    pub queued: Option<Urgency>,
    /// In the pusher's list of files whose bytes grow old.
    pub aging: bool,
    pub unsynced: Unsynced,
    /// What the syncs under way are about to make durable: until then it is not, and another sync must wait for it, too.
    pub syncing: Vec<Arc<Unsynced>>,
    /// Bytes that have landed and are not on stable storage yet.
    pub retained: Retained,
    /// Syncs that wait for what was written to land.
    pub waits: u32,
    /// All who wait for that.
    pub awaited: u32,
    /// When it is about to be synced.
    pub rhythm: Rhythm,
    /// What was written last is expected to be synced at once.
    pub expected: bool,
    /// Open handles.
    pub opens: u32,
    /// Those of them for reading and writing: pages may have been changed through a mapping, which nobody tells.
    pub mappable: u32,
    /// How far the kernel may have pages of it, of which it has asked for the bytes since the file was cut last.
    pub asked_up_to: u64,
    /// Those of them for writing, whether for reading, too, or not.
    pub writable: u32,
    /// It has no name and no handle any more.
    pub doomed: bool,
    /// Nothing was left to be done for it, and whoever opens the file next has another of its kind. Who still holds this one
    /// says nothing more of the file by it.
    pub forgotten: bool,
    /// What could not be read a moment ago.
    pub unreadable: Unreadable,
}

impl FileData {
    /// What is not on stable storage, whether a sync of it is under way or not.
    pub fn all_unsynced(&self) -> Unsynced {
        self.syncing.iter().fold(self.unsynced.clone(), |all, other| all.and(other))
    }
}

/// One who counts in a file's state until this is dropped.
pub(super) struct Counted<'a> {
    file: &'a File,
    count: fn(&mut FileData) -> &mut u32,
}

impl<'a> Counted<'a> {
    pub fn begin(file: &'a File, count: fn(&mut FileData) -> &mut u32) -> Counted<'a> {
        *count(&mut file.data.lock()) += 1;
        Counted { file, count }
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        *(self.count)(&mut self.file.data.lock()) -= 1;
    }
}

/// More chunks than this are not remembered by name.
const UNSYNCED_MAX: usize = 1 << 16;

/// An open handle of a file.
pub(super) struct OpenFile {
    pub file: Arc<File>,
    pub mode: OpenMode,
    /// What it was told of late errors.
    pub told: Mutex<Told>,
    /// The same of changes of names and attributes.
    pub told_names: Mutex<Told>,
}

impl<C: Cluster> Vfs<C> {
    /// Opens a file; returns its handle.
    pub async fn open(&self, ino: Ino, mode: OpenMode) -> Result<u64, FsError> {
        let opened = self.open_what_is_there(ino, mode).await;
        if matches!(opened, Err(FsError::Stale | FsError::NotFound)) {
            self.0.replaced.lock().miss(ino, Instant::now());
        }
        opened
    }

    async fn open_what_is_there(&self, ino: Ino, mode: OpenMode) -> Result<u64, FsError> {
        let attr = self.0.getattr(ino).await?;
        match attr.kind {
            FileKind::Dir => Err(FsError::IsDir),
            // Its chunks are gone, or will be in a moment.
            FileKind::File if attr.nlink == 0 && !self.0.is_open(ino) => Err(FsError::Stale),
            FileKind::File => Ok(self.0.open(attr, mode)),
            _ => Err(FsError::Invalid),
        }
    }

    /// Closes a handle. Nothing is left to be told to whoever had it open.
    pub fn release(&self, handle: u64) -> Result<(), FsError> {
        let removed = self.0.handles.lock().remove(handle)?;
        match removed {
            Handle::File(open) => self.0.closed_one(&open),
            Handle::Dir(dir) if dir.gone => {}
            Handle::Dir(dir) => self.0.closed_dir(dir.ino),
        }
        Ok(())
    }

    /// A descriptor is closed, perhaps one of several, and perhaps by the end of a process: tells an error of a write that
    /// was answered before it was made, which is told at the next fsync all the same.
    pub fn flush(&self, handle: u64) -> Result<(), FsError> {
        let open = self.0.handles.lock().file(handle)?;
        open.file.data.lock().late.untold(&open.told.lock())
    }

    /// Takes written bytes if that needs no waiting, else gives None. The count is always the whole. `strip_ids`: as of
    /// [`Vfs::write`].
    pub fn write_now(&self, handle: u64, offset: u64, data: &[u8], strip_ids: bool) -> Option<Result<(), FsError>> {
        let open = match self.0.handles.lock().file(handle) {
            Ok(open) => open,
            Err(error) => return Some(Err(error)),
        };
        let waits = open.mode.sync || self.0.allowance.is_spent() || !self.0.pusher.has_room();
        if waits || strip_ids && self.0.has_set_ids(open.file.ino) != Some(false) {
            return None;
        }
        if self.0.bares_tail(&open.file, offset) {
            return None;
        }
        Some(self.0.write(&open.file, offset, data).map(drop))
    }

    /// Writes bytes; waits while too many are on their way. `strip_ids`: set-uid and set-gid bits go, as this caller may
    /// not keep them.
    pub async fn write(&self, handle: u64, offset: u64, data: &[u8], strip_ids: Option<Caller>) -> Result<(), FsError> {
        let open = self.0.handles.lock().file(handle)?;
        if let Some(caller) = strip_ids {
            self.0.strip_ids(open.file.ino, caller).await?;
        }
        // Taken first, and waited for then, as on a local disk: the kernel may have dropped the pages that it wrote, and a
        // read that overtook the write would leave the old bytes in its cache for good.
        let (before, is_alone) = {
            let state = open.file.data.lock();
            (state.late.until_now(), state.behind.is_empty())
        };
        let gap = self.0.write(&open.file, offset, data)?;
        self.0.clear_tail_before(&open.file, gap).await;
        unless_stopped(self.0.room()).await?;
        if open.mode.sync {
            return self.0.sync_file(&open).await;
        }
        if self.0.allowance.is_spent() {
            waits_unless_stopped(self.0.landed(&open.file)).await?;
            let own = offset..offset + data.len() as u64;
            let mut state = open.file.data.lock();
            return state.late.tell_writer(&mut open.told.lock(), before, is_alone.then_some(&own));
        }
        Ok(())
    }

    /// Reads up to `length` bytes; fewer only at the end of the file.
    pub async fn read(&self, handle: u64, offset: u64, length: u32) -> Result<Bytes, FsError> {
        let open = self.0.handles.lock().file(handle)?;
        self.0.read_by(open.file.ino, open.mode);
        open.file.data.lock().asked(offset.saturating_add(u64::from(length)));
        self.0.read_open(&open.file, offset, length).await
    }
}

impl<C: Cluster> Shared<C> {
    /// The file's state, made if there is none, after `enter` has noted in it why it is to be kept.
    pub(super) fn file(&self, attr: &Attr, enter: impl FnOnce(&mut FileData)) -> Arc<File> {
        let mut files = self.files.lock();
        let file = files.entry(attr.ino).or_insert_with(|| {
            // Looked up under the lock of the files: whoever learns the placement later finds this one.
            let (placement, synced, since) = (self.names.lock().tree.node(attr.ino))
                .map_or((attr.placement, false, None), |n| (n.attr.placement, n.synced, n.unsynced_since));
            let left = self.left_unsynced.lock().remove(attr.ino);
            let since = [since, left].into_iter().flatten().min();
            let data = FileData {
                behind: WriteBehind::default(),
                landed_end: attr.size,
                placement: (placement != UNPLACED).then_some(placement),
                late: Late::default(),
                again: BTreeSet::new(),
                holds: 0,
                direct: false,
                cutoff: None,
                report: false,
                queued: None,
                aging: false,
                unsynced: if synced { Unsynced::none() } else { Unsynced::all(since) },
                syncing: Vec::new(),
                retained: Retained::new(since.is_some()),
                waits: 0,
                awaited: 0,
                rhythm: Rhythm::default(),
                expected: false,
                opens: 0,
                mappable: 0,
                // Of a file that had something in it before, the kernel may have kept it.
                asked_up_to: if attr.size == 0 { 0 } else { u64::MAX },
                writable: 0,
                doomed: false,
                forgotten: false,
                unreadable: Unreadable::default(),
            };
            Arc::new(File { ino: attr.ino, data: Mutex::new(data), moved: Notify::new() })
        });
        enter(&mut file.data.lock());
        file.clone()
    }

    pub(super) fn open(&self, attr: Attr, mode: OpenMode) -> u64 {
        let mut told = Told::default();
        let file = self.file(&attr, |state| {
            state.opens += 1;
            state.mappable += u32::from(mode.maps());
            state.writable += u32::from(mode.writes);
            told = state.late.opened();
        });
        if let Some(node) = self.names.lock().tree.node(attr.ino) {
            node.opens += 1;
        }
        let told_names = Mutex::new(self.names.lock().late.opened(attr.ino));
        let open = OpenFile { file, mode, told: Mutex::new(told), told_names };
        self.handles.lock().insert(Handle::File(Arc::new(open)))
    }

    pub(super) fn is_open(&self, ino: Ino) -> bool {
        self.names.lock().tree.node(ino).is_some_and(|n| n.opens > 0)
    }

    /// Takes written bytes. Gives the range between the file's end and them, if they lie behind it.
    fn write(self: &Arc<Self>, file: &Arc<File>, offset: u64, data: &[u8]) -> Result<Range<u64>, FsError> {
        if data.is_empty() {
            return Ok(offset..offset);
        }
        let end = offset.checked_add(data.len() as u64).filter(|end| *end <= FILE_MAX_BYTES).ok_or(FsError::TooBig)?;
        let now = Instant::now();
        let (grew, ready, young, size) = {
            let mut state = file.data.lock();
            let before = state.behind.bytes();
            state.behind.write(offset, data, now);
            self.prefetch.lock().forget(file.ino);
            if state.rhythm.wrote() {
                state.expected = true;
                state.cutoff = Some(now);
            }
            let leaves = state.expected || state.behind.has_full();
            let ready = if leaves { state.enters_queue() } else { None };
            let young = !std::mem::replace(&mut state.aging, true);
            // Under the file's lock, so that the size never runs ahead of the bytes that stand for it.
            let size = self.names.lock().tree.wrote(file.ino, end, self.now());
            (state.behind.bytes() - before, ready, young, size)
        };
        self.pusher.kept(grew);
        self.allowance.take(grew);
        if young {
            self.pusher.age(file, now);
        }
        self.pusher.ready(file, ready);
        Ok(size.unwrap_or(offset).min(offset)..offset)
    }

    /// Reads what is there now, written-behind bytes included.
    pub(super) async fn read(&self, file: &File, offset: u64, length: u64) -> Result<Bytes, FsError> {
        let size = self.names.lock().tree.node(file.ino).map_or(0, |n| n.attr.size);
        let end = size.min(offset.saturating_add(length));
        if offset >= end {
            return Ok(Bytes::new());
        }
        loop {
            let moved = file.moved.notified();
            let (placement, kept) = {
                let state = file.data.lock();
                let gaps = if state.behind.is_empty() { Vec::new() } else { state.behind.gaps(offset..end) };
                if !state.behind.is_empty() && gaps.is_empty() {
                    let mut out = vec![0; (end - offset) as usize];
                    state.behind.overlay(offset, &mut out);
                    return Ok(out.into());
                }
                let untouched = state.behind.is_empty() || gaps.first() == Some(&(offset..end));
                let kept = (!untouched).then(|| {
                    let mut out = BytesMut::zeroed((end - offset) as usize);
                    state.behind.overlay(offset, &mut out);
                    (out, gaps)
                });
                (state.placement.filter(|_| state.holds == 0), kept)
            };
            let Some(placement) = placement else {
                // Its making or a cut of it is under way: what the servers have is not what the file is.
                self.hurry_place(file);
                moved.await;
                continue;
            };
            let at = |index| ChunkAddress { chunk: ChunkId { ino: file.ino, index }, placement };
            return match kept {
                None => self.read_pieces(at, offset, end).await,
                Some((mut out, gaps)) => {
                    for gap in gaps {
                        let bytes = self.read_pieces(at, gap.start, gap.end).await?;
                        let from = (gap.start - offset) as usize;
                        out[from..from + bytes.len()].copy_from_slice(&bytes);
                    }
                    Ok(out.freeze())
                }
            };
        }
    }

    /// Reads from the cluster, filled up with zeros to the whole range.
    async fn read_pieces(&self, at: impl Fn(u32) -> ChunkAddress, from: u64, to: u64) -> Result<Bytes, FsError> {
        let read = |piece: Piece| unless_stopped(self.cluster.read_chunk(at(piece.index), piece.offset, piece.length));
        let pieces: Vec<Piece> = extent::pieces(from, to - from).collect();
        if let [piece] = pieces[..] {
            let bytes = read(piece).await?;
            if bytes.len() == piece.length as usize {
                return Ok(bytes);
            }
            return Ok(padded(&[bytes], &pieces));
        }
        let parts = futures::future::try_join_all(pieces.iter().map(|piece| read(*piece))).await?;
        Ok(padded(&parts, &pieces))
    }

    /// Reads for a program.
    async fn read_open(self: &Arc<Self>, file: &File, offset: u64, length: u32) -> Result<Bytes, FsError> {
        if offset == 0
            && let Some(bytes) = self.fetched(file.ino, length).await
        {
            return Ok(bytes);
        }
        let began = Instant::now();
        if file.data.lock().unreadable.covers(offset, began) {
            return Err(FsError::Io);
        }
        let result = self.read(file, offset, u64::from(length)).await;
        if result == Err(FsError::Io) {
            let range = offset..offset.saturating_add(u64::from(length));
            file.data.lock().unreadable.failed(range, began, Instant::now());
        }
        result
    }

    /// The beginning of a small file, if it was fetched before it was asked for; and has the next ones fetched if that
    /// may be of use.
    async fn fetched(self: &Arc<Self>, ino: Ino, length: u32) -> Option<Bytes> {
        let size = self.names.lock().tree.node(ino)?.attr.size;
        if size > SMALL_BYTES {
            return None;
        }
        let (next, kept) = {
            let mut prefetch = self.prefetch.lock();
            let kept = prefetch.take(ino, Instant::now());
            (prefetch.read(ino), kept)
        };
        for ino in next.start.0..next.end.0 {
            self.fetch(Ino(ino));
        }
        let bytes = match kept? {
            Kept::Bytes(bytes) => bytes,
            Kept::Coming(coming) => coming.await.ok()?,
        };
        (bytes.len() as u64 == size).then(|| bytes.slice(..bytes.len().min(length as usize)))
    }

    /// Fetches a file's bytes if it is a small file that nobody has open.
    fn fetch(self: &Arc<Self>, ino: Ino) {
        let attr = {
            let mut names = self.names.lock();
            let Some(node) = names.tree.node(ino).filter(|n| n.pending == 0 && !n.written) else { return };
            node.attr
        };
        let small = (1..=SMALL_BYTES).contains(&attr.size);
        if attr.kind != FileKind::File || attr.nlink == 0 || attr.placement == UNPLACED || !small {
            return;
        }
        let Some(fetch) = self.prefetch.lock().ask(ino, Instant::now()) else { return };
        // Asked before this look: who opens the file behind it, and changes it, finds something to forget.
        if self.files.lock().contains_key(&ino) {
            self.prefetch.lock().forget(ino);
            return;
        }
        let shared = self.clone();
        tokio::spawn(async move {
            let at = ChunkAddress { chunk: ChunkId { ino, index: 0 }, placement: attr.placement };
            let piece = Piece { index: 0, offset: 0, length: attr.size as u32 };
            let read = shared.cluster.read_chunk(at, piece.offset, piece.length).await;
            // Who waits for it reads anew, and is told of the error then.
            let bytes = read.ok().map(|bytes| padded(&[bytes], &[piece]));
            shared.prefetch.lock().came(ino, fetch, bytes, Instant::now());
        });
    }

    /// Whether there are set-id bits to be lost; None if that is not known here.
    fn has_set_ids(&self, ino: Ino) -> Option<bool> {
        self.names.lock().tree.attr(ino).map(|attr| attr.perm & (SET_UID | SET_GID) != 0)
    }

    /// Set-uid and set-gid bits go, because somebody without the right to keep them wrote to the file.
    pub(super) async fn strip_ids(self: &Arc<Self>, ino: Ino, caller: Caller) -> Result<(), FsError> {
        let attr = self.getattr(ino).await?;
        let perm = super::attrs::without_set_ids(&attr, caller);
        if perm == attr.perm {
            return Ok(());
        }
        let set = SetAttr { perm: Some(perm), ..SetAttr::default() };
        self.set_attr(ino, self.now(), set).await
    }

    /// The same where nobody has judged yet whether the caller has that right.
    pub(super) async fn strip_unkept_ids(self: &Arc<Self>, ino: Ino, caller: Caller) -> Result<(), FsError> {
        if self.has_set_ids(ino) == Some(false) || caller.keeps_set_ids() {
            return Ok(());
        }
        self.strip_ids(ino, caller).await
    }

    /// The session does not hold this orphan open any more.
    pub(super) fn release_orphan(self: &Arc<Self>, ino: Ino) {
        let now = self.now();
        self.names.lock().release(now, ino);
        self.queued();
    }

    /// Says so once more of those of which it could not be said. Who holds an orphan no more is passed over.
    pub(super) fn release_again(self: &Arc<Self>) {
        let unreleased = std::mem::take(&mut self.names.lock().unreleased);
        unreleased.into_iter().for_each(|ino| self.release_orphan(ino));
    }

    /// One handle of a file is closed.
    fn closed_one(self: &Arc<Self>, open: &OpenFile) {
        let file = &open.file;
        let last = {
            let mut state = file.data.lock();
            state.mappable -= u32::from(open.mode.maps());
            state.writable -= u32::from(open.mode.writes);
            state.opens -= 1;
            state.opens == 0
        };
        let (orphan, certain) = {
            let mut names = self.names.lock();
            let orphan = names.tree.node(file.ino).is_some_and(|node| {
                node.opens = node.opens.saturating_sub(1);
                node.opens == 0 && node.attr.nlink == 0
            });
            (orphan, names.tree.attr(file.ino).is_some())
        };
        if last && orphan {
            self.freed.some(Instant::now());
            self.release_orphan(file.ino);
        }
        if last && orphan && certain {
            self.doom(file.ino);
        } else if last {
            // If it is not known whether its last name has gone, its bytes are sent: it may be there still.
            self.push_soon(file);
        }
    }
}

fn padded(parts: &[Bytes], pieces: &[Piece]) -> Bytes {
    let total: usize = pieces.iter().map(|p| p.length as usize).sum();
    let mut out = BytesMut::with_capacity(total);
    let mut end = 0;
    for (part, piece) in parts.iter().zip(pieces) {
        end += piece.length as usize;
        out.extend_from_slice(&part[..part.len().min(piece.length as usize)]);
        out.resize(end, 0);
    }
    out.freeze()
}
