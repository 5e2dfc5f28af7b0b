//! Cuts and ends of files, carried out on this server's chunks: before anything else is done with the file, and only
//! once their entry is durable on a quorum. Remembers the latest of them, so that a change that was ordered before is
//! told from one that was ordered after.

use super::ranges::{Mode, Span};
use super::{DISK_STUCK, DURABLE_PATIENCE, Replica, SYNC_STUCK};
use crate::board::{Doom, Dooms};
use crate::chunk::ChunkError;
use raidfs_common::error::Rejection;
use raidfs_common::id::{Ino, LogIndex};
use raidfs_common::plant::{Bug, planted};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Files of which the last doom is remembered: many more than can have a change under way.
const PAST_MAX: usize = 1 << 17;
/// Files that need not be asked for again.
const SEEN_MAX: usize = 1 << 16;
/// Chunks that are removed in one go, which is watched for being stuck: of a disk that is busy, one takes some 10 ms.
const REMOVED_AT_ONCE: usize = 8;

/// The latest doom of each file that had one lately.
#[derive(Debug, Default)]
pub struct Past {
    last: BTreeMap<Ino, (LogIndex, bool)>,
    order: VecDeque<(Ino, LogIndex)>,
    /// Dooms up to here may be forgotten. Those of before this life are, too: who knows the pair's epoch knows them.
    forgotten: LogIndex,
    /// What was applied when this life was first asked for a change: what ended before was seen by an earlier life, if by any.
    start: Option<LogIndex>,
    /// Files that the namespace was asked for, and knew.
    seen: BTreeSet<Ino>,
}

impl Past {
    /// The file's doom of entry `index` was carried out; `gone`: its last one.
    pub fn record(&mut self, ino: Ino, index: LogIndex, gone: bool) {
        let entry = self.last.entry(ino).or_default();
        *entry = (entry.0.max(index), entry.1 || gone);
        self.seen.remove(&ino);
        self.order.push_back((ino, index));
        while self.order.len() > PAST_MAX {
            let Some((ino, index)) = self.order.pop_front() else { break };
            self.forgotten = self.forgotten.max(index);
            if self.last.get(&ino).is_some_and(|(last, _)| *last <= index) {
                self.last.remove(&ino);
            }
        }
    }

    /// The entry of the file's last doom that was carried out, or a later one.
    pub fn last(&self, ino: Ino) -> LogIndex {
        self.last.get(&ino).map_or(self.forgotten, |(index, _)| *index)
    }

    /// Whether a file that was there when `at_least` had been applied may have ended without being remembered here;
    /// `applied` is now.
    pub fn must_ask(&mut self, ino: Ino, at_least: LogIndex, applied: LogIndex) -> bool {
        let start = *self.start.get_or_insert(applied);
        at_least <= start.max(self.forgotten) && !self.seen.contains(&ino) && !self.last.contains_key(&ino)
    }

    /// The namespace knows the file: should it end, that will be seen here.
    pub fn seen(&mut self, ino: Ino) {
        if self.seen.len() >= SEEN_MAX {
            self.seen.clear();
        }
        self.seen.insert(ino);
    }

    /// Whether the file is gone, as far as is remembered.
    pub fn is_gone(&self, ino: Ino) -> bool {
        self.last.get(&ino).is_some_and(|(_, gone)| *gone) && !planted(Bug::RaisesDead)
    }
}

impl Replica {
    /// Carries out what dooms a file by entries up to `up_to`, having had the entries made durable.
    pub(super) async fn settle_dooms(self: &Arc<Self>, ino: Ino, up_to: LogIndex) -> Result<(), Rejection> {
        let ripe = self.dooms_up_to(ino, up_to);
        let Some((last, _)) = ripe.last().copied() else { return Ok(()) };
        if !planted(Bug::DestroysEarly) {
            self.board.durable(last, DURABLE_PATIENCE).await?;
        }
        self.carry_out(ino, last).await
    }

    /// Carries out a file's dooms up to `last`, whose entry is durable on a quorum: in a task of its own, which holds the
    /// file until it has ended.
    pub(super) async fn carry_out(self: &Arc<Self>, ino: Ino, last: LogIndex) -> Result<(), Rejection> {
        let work = self.begin_work().ok_or(Rejection::Away)?;
        let replica = self.clone();
        let task = tokio::spawn(async move {
            let _work = work;
            replica.carry_out_now(ino, last).await
        });
        task.await.unwrap_or(Err(Rejection::Away))
    }

    async fn carry_out_now(self: &Arc<Self>, ino: Ino, last: LogIndex) -> Result<(), Rejection> {
        let held = self.locks.hold(ino, Span::file(), Mode::Change).await;
        let dooms = self.dooms_up_to(ino, last);
        if dooms.is_empty() {
            return Ok(());
        }
        let gone = dooms.iter().any(|(_, doom)| *doom == Doom::Reap);
        // No byte was written between them: a change carries out what it finds first.
        let sizes = dooms.iter().filter_map(|(_, doom)| if let Doom::Cut { size } = doom { Some(*size) } else { None });
        let size = if gone { None } else { sizes.min() };
        if gone || size.is_some() {
            self.remove_chunks(ino, size).await?;
        }
        if let Some(size) = size {
            let board = self.board.clone();
            let work = self.disk(SYNC_STUCK, "write down that a file was cut", move |store| {
                // A cut that is written down is not made again, and notes no chunk: were it to be undone by a power cut,
                // nobody would see it.
                store.sync_cut(ino, size)?;
                let action = "write down that a file was cut";
                board.record_cut(ino, last).map_err(|source| ChunkError::Store { action, source })
            });
            work.await.map_err(super::disk::rejection)?;
        }
        self.past.lock().record(ino, last, gone);
        if let Some(size) = if gone { Some(0) } else { size } {
            self.ends.lock().cut(ino, size);
        }
        self.board.carried_out(ino, last);
        drop(held);
        Ok(())
    }

    /// Cuts a file to `size`, or removes all of it: a few chunks at a time, as many take long on a sound disk, too.
    async fn remove_chunks(self: &Arc<Self>, ino: Ino, size: Option<u64>) -> Result<(), Rejection> {
        loop {
            let work = self.disk(DISK_STUCK, "cut or remove chunks", move |store| match size {
                Some(size) => store.cut(ino, size, REMOVED_AT_ONCE),
                None => store.reap(ino, REMOVED_AT_ONCE),
            });
            if work.await.map_err(super::disk::rejection)? < REMOVED_AT_ONCE {
                return Ok(());
            }
        }
    }

    /// What dooms a file by entries up to `up_to`, and is not carried out.
    pub(super) fn dooms_up_to(&self, ino: Ino, up_to: LogIndex) -> Dooms {
        let mut dooms = self.board.dooms_of(ino);
        dooms.retain(|(index, _)| *index <= up_to);
        dooms
    }

    /// The entry of a file's last doom behind `position`, carried out or not; None if there is none.
    pub(super) fn doom_behind(&self, ino: Ino, position: LogIndex) -> Option<LogIndex> {
        let pending = self.board.dooms_of(ino).last().map(|(index, _)| *index);
        let last = pending.unwrap_or_default().max(self.past.lock().last(ino));
        (last > position).then_some(last)
    }

    /// Refuses what is sent to a file that is gone: one that the namespace does not know, though it knew it when it had
    /// applied `at_least`, which the caller has waited for. What ended since then and is remembered needs no question.
    pub(super) async fn is_there(&self, ino: Ino, at_least: LogIndex) -> Result<(), Rejection> {
        if planted(Bug::RaisesDead) || !self.past.lock().must_ask(ino, at_least, self.board.notice().applied) {
            return Ok(());
        }
        let sizes = self.board.sizes(vec![ino]).await.ok_or(Rejection::Away)?;
        if sizes == [None] {
            return Err(Rejection::Gone);
        }
        self.past.lock().seen(ino);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_forgotten_is_remembered_as_old() {
        let mut past = Past::default();
        past.record(Ino(7), LogIndex(3), false);
        past.record(Ino(7), LogIndex(5), true);
        assert_eq!((past.last(Ino(7)), past.is_gone(Ino(7))), (LogIndex(5), true));
        assert_eq!((past.last(Ino(8)), past.is_gone(Ino(8))), (LogIndex(0), false));
        for n in 0..PAST_MAX as u64 {
            past.record(Ino(100 + n), LogIndex(10 + n), true);
        }
        assert_eq!((past.last(Ino(7)), past.is_gone(Ino(7))), (LogIndex(5), false));
        assert!(past.last.len() <= PAST_MAX);
    }

    #[test]
    fn the_namespace_is_asked_for_a_file_whose_end_may_be_forgotten_and_for_no_other() {
        let mut past = Past::default();
        assert!(past.must_ask(Ino(7), LogIndex(90), LogIndex(100)), "it may have ended in an earlier life");
        assert!(!past.must_ask(Ino(8), LogIndex(101), LogIndex(120)), "it was made in this one");
        past.seen(Ino(7));
        assert!(!past.must_ask(Ino(7), LogIndex(90), LogIndex(120)));
        past.record(Ino(7), LogIndex(200), true);
        assert!(past.is_gone(Ino(7)));
        for n in 0..PAST_MAX as u64 {
            past.record(Ino(1000 + n), LogIndex(1000 + n), true);
        }
        assert!(!past.is_gone(Ino(7)) && past.must_ask(Ino(7), LogIndex(90), LogIndex(9999)));
        assert!(past.must_ask(Ino(8), LogIndex(101), LogIndex(9999)), "it may have ended when that one did");
        assert!(!past.must_ask(Ino(8), LogIndex(201), LogIndex(9999)));
    }
}
