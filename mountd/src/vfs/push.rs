//! Sends what was written behind, and reports sizes and times once their bytes are on both mirrors. Acts; which file is
//! next is decided by [`super::push_queue`], and which of its bytes by [`super::write_behind`].
//!
//! A file with a full segment is sent at once. One that is written slowly is sent [`AGE`] after its first byte, one
//! that is closed or synced at once, and its size is reported when what was written until then has landed.

use super::Shared;
use super::changes::Names;
use super::cluster::{ChunkAddress, Cluster};
use super::files::{Chunks, Counted, File, FileData, Unsynced};
use super::push_queue::{PushQueue, Urgency};
use super::write_behind::{Push, WriteBehind};
use parking_lot::Mutex;
use raidfs_common::attr::Placement;
use raidfs_common::error::FsError;
use raidfs_common::id::{ChunkId, Ino, PairId};
use raidfs_common::limits::CHUNK_BYTES;
use raidfs_common::namespace::Change;
use raidfs_common::rpc::chunks::ChunkChange;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Written bytes wait for more at most this long.
const AGE: Duration = Duration::from_millis(300);
/// A push of more bytes is not made durable on its way: a sync that follows it costs little beside it.
const SYNCED_BYTES_MAX: usize = 64 << 10;
/// Nor is one while as many wait to leave: one sync for all of them costs less.
const SYNCED_PIECES_MAX: usize = 16;
/// Pieces, of all files together, that are sent once more after they could not be stored, which is told: who wrote them
/// would find zeros in their place. They fly most of the time, so that more would stand in the way of others.
const AGAIN_MAX: usize = 16;
/// Of larger ones, most often of a file that is being copied, its writer has to begin anew.
const AGAIN_BYTES_MAX: usize = 256 << 10;
/// What fails sooner than this fails for a reason that lasts.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Written bytes that are kept; writers wait beyond it.
const KEPT_BYTES_MAX: usize = 64 << 20;

/// Which files have something to send.
#[derive(Default)]
pub(super) struct Pusher {
    list: Mutex<List>,
    kept: AtomicUsize,
    /// Pieces that are kept for another try.
    pub(super) again: AtomicUsize,
    /// A file is ready, or begins to age.
    pub wake: Notify,
    /// Kept bytes have become fewer.
    room: Notify,
}

#[derive(Default)]
struct List {
    ready: PushQueue<Arc<File>>,
    aging: VecDeque<(Instant, Arc<File>)>,
}

/// A piece under way.
struct Flight {
    at: ChunkAddress,
    push: Push,
    /// It is to be made durable on its way.
    sync: bool,
    urgency: Urgency,
    pair: PairId,
}

impl FileData {
    fn urgency(&self) -> Urgency {
        if self.awaited > 0 || self.expected { Urgency::Awaited } else { Urgency::Behind }
    }

    /// Notes that the file is among those with something to send, if it has; as which it is to be put there. None: it is.
    pub(super) fn enters_queue(&mut self) -> Option<Urgency> {
        let urgency = Some(self.urgency());
        if self.behind.is_empty() || self.queued >= urgency {
            return None;
        }
        // Where it stood as one that nobody waits for it is passed over.
        self.queued = urgency;
        urgency
    }
}

impl Pusher {
    /// So many bytes more are kept.
    pub fn kept(&self, bytes: usize) {
        self.kept.fetch_add(bytes, Ordering::Relaxed);
    }

    /// So many bytes fewer are kept.
    pub fn dropped(&self, bytes: usize) {
        if bytes > 0 {
            self.kept.fetch_sub(bytes, Ordering::Relaxed);
            self.room.notify_waiters();
        }
    }

    /// Whether a write may be taken without waiting.
    pub fn has_room(&self) -> bool {
        self.kept.load(Ordering::Relaxed) < KEPT_BYTES_MAX
    }

    /// A file has something to send, if it has, as it was noted by [`FileData::enters_queue`].
    pub fn ready(&self, file: &Arc<File>, urgency: Option<Urgency>) {
        if let Some(urgency) = urgency {
            self.list.lock().ready.push(urgency, file.clone());
            self.wake.notify_one();
        }
    }

    /// A file has bytes that may wait for more, but not for long; its `aging` mark is set already.
    pub fn age(&self, file: &Arc<File>, now: Instant) {
        let mut list = self.list.lock();
        list.aging.push_back((now + AGE, file.clone()));
        if list.aging.len() == 1 {
            drop(list);
            self.wake.notify_one();
        }
    }

    /// Files whose bytes have waited long enough by `now`.
    fn aged(&self, now: Instant) -> Vec<Arc<File>> {
        let mut list = self.list.lock();
        let mut aged = Vec::new();
        while list.aging.front().is_some_and(|(due, _)| *due <= now) {
            aged.extend(list.aging.pop_front().map(|(_, file)| file));
        }
        aged
    }

    fn next_due(&self) -> Option<Instant> {
        self.list.lock().aging.front().map(|(due, _)| *due)
    }

    /// A piece has landed, or could not be stored.
    fn land(&self, urgency: Urgency, pair: PairId, bytes: usize) {
        if self.list.lock().ready.land(urgency, pair, bytes) {
            self.wake.notify_one();
        }
    }
}

impl<C: Cluster> Shared<C> {
    /// Waits until written bytes may be taken.
    pub(super) async fn room(&self) -> Result<(), FsError> {
        loop {
            let freed = self.pusher.room.notified();
            if self.pusher.has_room() {
                return Ok(());
            }
            freed.await;
        }
    }

    /// Sends what is ready and what is old, for as long as the vfs is open.
    pub(super) async fn push_files(self: Arc<Self>) {
        loop {
            let now = Instant::now();
            for file in self.pusher.aged(now) {
                file.data.lock().aging = false;
                self.push_until(&file, now, true);
            }
            loop {
                let next = self.pusher.list.lock().ready.next_file();
                let Some((urgency, file)) = next else { break };
                self.push_one(&file, urgency);
            }
            if self.is_closed() {
                return;
            }
            match self.pusher.next_due() {
                Some(due) => {
                    // A wake or the time: both mean to look again.
                    let _ = tokio::time::timeout_at(due.into(), self.pusher.wake.notified()).await;
                }
                None => self.pusher.wake.notified().await,
            }
        }
    }

    /// Has everything of a file sent that was written until `cutoff`, and with `report` its size and times told then.
    pub(super) fn push_until(self: &Arc<Self>, file: &Arc<File>, cutoff: Instant, report: bool) {
        let ready = {
            let mut state = file.data.lock();
            state.cutoff = state.cutoff.max(Some(cutoff));
            state.report |= report;
            state.enters_queue()
        };
        self.pusher.ready(file, ready);
        self.report_if_landed(file);
    }

    /// The same for all that was written until now.
    pub(super) fn push_soon(self: &Arc<Self>, file: &Arc<File>) {
        self.push_until(file, Instant::now(), true);
    }

    /// Takes one piece of a file off, and puts the file back to the end of its queue if there is more.
    fn push_one(self: &Arc<Self>, file: &Arc<File>, urgency: Urgency) {
        let flight = {
            let mut state = file.data.lock();
            if state.queued != Some(urgency) {
                return;
            }
            let placement = state.placement.filter(|_| state.holds == 0);
            let next = placement.and_then(|placement| Some((placement, state.behind.due(state.cutoff)?)));
            // What is held back, or overlaps what is under way, is looked at again when that has ended.
            let Some((placement, next)) = next else {
                state.expected &= placement.is_none();
                state.queued = None;
                return;
            };
            let index = (next.start / CHUNK_BYTES) as u32;
            let at = ChunkAddress { chunk: ChunkId { ino: file.ino, index }, placement };
            let pair = self.cluster.pair_of(at);
            let length = (next.end - next.start) as usize;
            if !self.pusher.list.lock().ready.takes_off(urgency, pair, length, || file.clone()) {
                return;
            }
            let push = state.behind.take(next.start);
            let sync = self.is_synced(file.ino, &state, &push);
            state.expected = false;
            if !sync {
                // Also once it has landed, as a sync may have taken this by then.
                state.unsynced.insert(index);
            }
            state.queued = None;
            let again = state.enters_queue();
            self.pusher.ready(file, again);
            Flight { at, push, sync, urgency, pair }
        };
        tokio::spawn(self.clone().send(file.clone(), flight));
    }

    /// Whether a push is made durable on its way: when a sync waits for it and few others, or is expected to, and would
    /// have nothing else to do for its chunk. Not if the file's size has to follow: that goes to other disks, at the same
    /// time as these bytes are synced.
    fn is_synced(&self, ino: Ino, state: &FileData, push: &Push) -> bool {
        let index = (push.offset / CHUNK_BYTES) as u32;
        let clean = matches!(&state.unsynced.chunks, Chunks::These(chunks) if !chunks.contains(&index));
        let known = |end: u64| self.names.lock().tree.node(ino).is_some_and(|n| end <= n.sent && n.attr.size <= n.sent);
        (state.waits > 0 || state.expected)
            && push.bytes.len() <= SYNCED_BYTES_MAX
            && state.behind.pieces() < SYNCED_PIECES_MAX
            && clean
            && known(push.offset + push.bytes.len() as u64)
    }

    async fn send(self: Arc<Self>, file: Arc<File>, flight: Flight) {
        let Flight { at, push: Push { offset, bytes }, sync, urgency, pair } = flight;
        let index = at.chunk.index;
        let length = bytes.len();
        let write = ChunkChange::Write { offset: (offset % CHUNK_BYTES) as u32, sync, data: bytes.clone().into() };
        let mark = self.cluster.loss_mark();
        let begun = Instant::now();
        let result = self.change_chunk(at, write).await;
        let ready = {
            let mut state = file.data.lock();
            state.behind.landed(offset);
            let may_pass = matches!(result, Err(FsError::Io)) && begun.elapsed() >= AGAIN_AFTER && !self.is_closed();
            self.try_again(&mut state, may_pass, offset, &bytes);
            let durable = result.is_ok_and(|changed| changed.durable);
            if !durable {
                state.unsynced.landed(index, mark);
                self.unsynced.store(true, Ordering::Relaxed);
            }
            let again = !durable && result.is_ok() && !state.doomed;
            self.retain(&mut state, |retained, room| match again {
                true => retained.landed(offset, &bytes, room),
                false => retained.landed_durably(offset..offset + length as u64),
            });
            if let Some(error) = result.err().filter(|_| !state.doomed)
                && state.late.happened(error, Some(offset..offset + length as u64))
            {
                tracing::warn!("bytes written to inode {} could not be stored: {error}", file.ino);
            }
            match result {
                Ok(_) => state.landed_end = state.landed_end.max(offset + length as u64),
                Err(_) => self.take_back_size(file.ino, &state),
            }
            // The size must not run ahead of the blocks: one lock over both.
            let blocks = result.map_or(0, |changed| changed.blocks);
            if blocks != 0 && !state.doomed {
                self.names.lock().tree.count_blocks(file.ino, blocks);
            }
            state.enters_queue()
        };
        self.pusher.ready(&file, ready);
        self.pusher.land(urgency, pair, length);
        self.pusher.dropped(length);
        file.moved.notify_waiters();
        self.report_if_landed(&file);
    }

    /// A piece has landed, or could not be stored: whether it is kept for another try.
    fn try_again(&self, state: &mut FileData, may_pass: bool, offset: u64, bytes: &[u8]) {
        let ended = usize::from(state.again.remove(&offset));
        self.pusher.again.fetch_sub(ended, Ordering::Relaxed);
        self.none_again(state);
        let room = self.pusher.again.load(Ordering::Relaxed) < AGAIN_MAX && bytes.len() <= AGAIN_BYTES_MAX;
        if !may_pass || !room || state.doomed {
            return;
        }
        let (now, before) = (Instant::now(), state.behind.bytes());
        state.behind.write_older(offset, bytes, now);
        self.pusher.kept(state.behind.bytes() - before);
        state.cutoff = state.cutoff.max(Some(now));
        state.report = true;
        state.again.insert(offset);
        self.pusher.again.fetch_add(1, Ordering::Relaxed);
    }

    /// Of a file of which nothing is kept any more, no piece is for another try either.
    pub(super) fn none_again(&self, state: &mut FileData) {
        if state.behind.is_empty() {
            self.pusher.again.fetch_sub(std::mem::take(&mut state.again).len(), Ordering::Relaxed);
        }
    }

    /// Bytes could not be stored: unless they are kept for another try, the file is not longer for their sake. Before its size
    /// is reported, and with the file's lock held.
    fn take_back_size(&self, ino: Ino, state: &FileData) {
        if let Some(node) = self.names.lock().tree.node(ino) {
            let kept = node.sent.max(state.landed_end).max(state.behind.end());
            node.attr.size = node.attr.size.min(kept);
        }
    }

    /// Reports size, times and blocks of a file if that is due and its bytes have landed; forgets the file if nothing
    /// is left to be done for it.
    fn report_if_landed(self: &Arc<Self>, file: &Arc<File>) {
        {
            let mut state = file.data.lock();
            if state.forgotten {
                // What is written to it since is kept elsewhere, and this knows nothing of it.
                return;
            }
            let landed = state.cutoff.is_none_or(|cutoff| state.behind.landed_until(cutoff));
            if !landed {
                return;
            }
            state.cutoff = None;
            if std::mem::take(&mut state.report) {
                self.report(file.ino, &state.behind);
            }
        }
        self.forget_file(file.ino);
    }

    /// Submits what was written and not reported yet of a file, as far as its bytes have landed. Called with the
    /// file's lock held.
    pub(super) fn report(&self, ino: Ino, behind: &WriteBehind) {
        self.report_up_to(ino, |sent| behind.first_unlanded(sent).unwrap_or(u64::MAX));
    }

    /// The same, but of no size above what `landed` makes of the size that was reported last.
    pub(super) fn report_up_to(&self, ino: Ino, landed: impl FnOnce(u64) -> u64) {
        let mut names = self.names.lock();
        let Names { tree, queue, .. } = &mut *names;
        let Some(node) = tree.node(ino) else { return };
        if !node.written && node.blocks == 0 {
            return;
        }
        let size = node.attr.size.min(landed(node.sent));
        node.written = size < node.attr.size;
        let grew = size > node.sent;
        node.sent = node.sent.max(size);
        let blocks = std::mem::take(&mut node.blocks);
        let change = Change::Wrote { ino, cut_gen: node.attr.cut_gen, size, blocks, mtime: node.attr.mtime };
        let ctime = node.attr.ctime;
        if grew {
            node.changed = queue.last() + 1;
        }
        names.submit(ctime, change, vec![ino], true, None);
        drop(names);
        self.queued();
    }

    /// Submits what is known to have been written of a file, if anything, so that a change that comes after it is
    /// ordered after it.
    pub(super) fn report_written(&self, ino: Ino) {
        let Some(file) = self.files.lock().get(&ino).cloned() else { return };
        let state = file.data.lock();
        if !state.forgotten {
            self.report(ino, &state.behind);
        }
    }

    /// Sends everything of a file, and waits until it has landed and its size has been reported and taken. The error
    /// is kept for whoever has the file open; of one that happens meanwhile this, too, says so, whoever was told of it.
    pub(super) async fn push_now(self: &Arc<Self>, ino: Ino) -> Result<(), FsError> {
        let Some(file) = self.files.lock().get(&ino).cloned() else { return Ok(()) };
        let before = file.data.lock().late.until_now();
        self.landed(&file).await;
        self.report_written(ino);
        let state = file.data.lock();
        state.late.unseen().and(state.late.untold(&before))
    }

    /// Waits until everything that was written to a file until now has landed, or could not be stored: then it may be kept
    /// for another try. Its times are told when they would be
    /// anyway: who syncs after each write does not change the namespace each time.
    pub(super) async fn landed(self: &Arc<Self>, file: &Arc<File>) {
        let cutoff = Instant::now();
        let _awaits = Counted::begin(file, |state| &mut state.awaited);
        self.push_until(file, cutoff, false);
        self.hurry_place(file);
        loop {
            let moved = file.moved.notified();
            if file.data.lock().behind.landed_until(cutoff) {
                return;
            }
            moved.await;
        }
    }

    /// Somebody waits for a file that the cluster may not have placed yet.
    pub(super) fn hurry_place(&self, file: &File) {
        if file.data.lock().placement.is_none() {
            let mut names = self.names.lock();
            let last = names.queue.last();
            names.queue.hurry(last);
            drop(names);
            self.queued();
        }
    }

    /// The cluster has placed a new file (or, with None, could not make it).
    pub(super) fn placed(self: &Arc<Self>, ino: Ino, placement: Option<Placement>) {
        let Some(file) = self.files.lock().get(&ino).cloned() else { return };
        let (ready, dropped) = {
            let mut state = file.data.lock();
            state.placement = placement.or(Some(super::files::UNPLACED));
            if placement.is_none() {
                state.late.happened(FsError::Io, None);
                state.doomed = true;
            }
            let dropped = if state.doomed { state.behind.drop_waiting(0..u64::MAX) } else { 0 };
            self.none_again(&mut state);
            (state.enters_queue(), dropped)
        };
        self.pusher.dropped(dropped);
        self.pusher.ready(&file, ready);
        file.moved.notify_waiters();
        self.report_if_landed(&file);
    }

    /// A file has lost its last name: what waits to be sent of it is dropped, unless it is open.
    pub(super) fn doom(&self, ino: Ino) {
        let Some(file) = self.files.lock().get(&ino).cloned() else { return };
        let dropped = {
            let mut state = file.data.lock();
            if state.opens > 0 {
                return;
            }
            state.doomed = true;
            state.report = false;
            let dropped = state.behind.drop_waiting(0..u64::MAX);
            self.none_again(&mut state);
            dropped
        };
        self.pusher.dropped(dropped);
        if let Some(node) = self.names.lock().tree.node(ino) {
            node.written = false;
            node.blocks = 0;
        }
        file.moved.notify_waiters();
        self.forget_file(ino);
    }

    /// Drops a file's state if it is not open and nothing is left to be sent.
    fn forget_file(&self, ino: Ino) {
        let mut files = self.files.lock();
        let Some(file) = files.get(&ino) else { return };
        let mut state = file.data.lock();
        let idle = state.opens == 0 && state.behind.is_empty() && state.holds == 0 && !state.report;
        if !idle {
            return;
        }
        let synced = state.unsynced == Unsynced::none() && state.syncing.is_empty();
        let mut names = self.names.lock();
        let node = names.tree.node(ino);
        if node.as_ref().is_some_and(|n| n.written || n.blocks != 0) {
            return;
        }
        let mut kept = None;
        self.retain(&mut state, |retained, _| kept = retained.take());
        // Of what a sync of everything has stored, nothing can be lost any more.
        let stored = state.doomed || kept.is_some_and(|pieces| pieces.is_empty());
        let since = state.unsynced.since.filter(|_| !stored);
        if let Some(node) = node {
            node.synced = synced;
            node.unsynced_since = since;
        }
        drop(names);
        if let Some(since) = since {
            self.left_unsynced.lock().insert(ino, since);
        }
        self.pusher.again.fetch_sub(std::mem::take(&mut state.again).len(), Ordering::Relaxed);
        state.forgotten = true;
        drop(state);
        files.remove(&ino);
    }
}
