//! What is done from time to time: access times are sent, and the room on the disks is looked at; and what there is not enough
//! of it for.

use super::Shared;
use super::cluster::{Changed, ChunkAddress, Cluster};
use super::stop::{self, unless_stopped};
use parking_lot::Mutex;
use raidfs_common::error::FsError;
use raidfs_common::limits::SCARCE_BYTES;
use raidfs_common::namespace::{Answer, Query};
use raidfs_common::pair::Space;
use raidfs_common::rpc::chunks::ChunkChange;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

/// How often. Servers say every two seconds what room they have, so that no look goes by what the one before went by.
const EVERY: Duration = Duration::from_secs(5);
/// The same while the disks are nearly full, or not known.
const EVERY_SCARCE: Duration = Duration::from_millis(500);
/// Bytes that are written behind before the room is known.
const UNKNOWN_BYTES: i64 = 16 << 20;

/// What was removed or cut is gone from the disks after so long, as a rule: until then room is waited for.
const FREED_AFTER: Duration = Duration::from_secs(4);
/// How often it is tried whether there is room by now. Not more often: while the mirrors are about to free what was removed, one
/// may have room when the other has none, and who has none would be put out.
const TRY_EVERY: Duration = Duration::from_millis(250);

/// When this mount has last given room back that the servers may still be about to free.
#[derive(Debug, Default)]
pub(super) struct Freed(Mutex<Option<Instant>>);

impl Freed {
    /// Something was removed or cut.
    pub fn some(&self, now: Instant) {
        *self.0.lock() = Some(now);
    }

    /// Until when there may be more room than now, by what was given back so far; None: it was not.
    pub fn waited_for_until(&self) -> Option<Instant> {
        self.0.lock().map(|at| at + FREED_AFTER)
    }
}

/// How many bytes may still be answered before they are stored, until the room on the disks is looked at again.
#[derive(Debug)]
pub(super) struct Allowance(AtomicI64);

impl Default for Allowance {
    fn default() -> Allowance {
        Allowance(AtomicI64::new(UNKNOWN_BYTES))
    }
}

impl Allowance {
    /// So many bytes more were answered.
    pub fn take(&self, bytes: usize) {
        self.0.fetch_sub(bytes as i64, Ordering::Relaxed);
    }

    /// Whether a write has to be stored before it is answered.
    pub fn is_spent(&self) -> bool {
        self.0.load(Ordering::Relaxed) <= 0
    }

    /// There was no room for a write.
    pub fn spend(&self) {
        self.renew(0);
    }

    pub(super) fn renew(&self, bytes: i64) {
        self.0.store(bytes, Ordering::Relaxed);
    }
}

/// What may be written behind by this room. What was written since it was measured counts for nothing in it, and may be
/// as much once more: so half of what is to spare.
fn allowed(space: &[Space]) -> i64 {
    let of_pair = |space: &Space| match space.total {
        0 => UNKNOWN_BYTES,
        _ => i64::try_from(space.free.saturating_sub(SCARCE_BYTES) / 2).unwrap_or(i64::MAX),
    };
    // Of a pair that nobody serves it is not known what fits, and nothing is sent there.
    space.iter().filter(|space| !space.is_out_of_service()).map(of_pair).min().unwrap_or(UNKNOWN_BYTES)
}

impl<C: Cluster> Shared<C> {
    /// Changes a chunk. If there is no room, but some is on its way, it waits: on a local disk, what was removed makes room at
    /// once. Not for what is removed meanwhile, or it might wait for ever. If there is none after all, that is known to who writes next.
    pub(super) async fn change_chunk(&self, at: ChunkAddress, change: ChunkChange) -> Result<Changed, FsError> {
        let mut until = None;
        loop {
            let changed = self.cluster.change_chunk(at, change.clone()).await;
            if !changed.as_ref().is_err_and(|error| *error == FsError::NoSpace) {
                return changed;
            }
            let now = Instant::now();
            let until = *until.get_or_insert_with(|| self.freed.waited_for_until().unwrap_or(now));
            if until <= now || self.is_closed() || stop::check().is_err() {
                self.allowance.spend();
                return changed;
            }
            tokio::time::sleep(TRY_EVERY).await;
        }
    }

    /// Whether the disks, if they were empty, could take so many bytes: what they never could would fill them before that is told.
    pub(super) async fn check_room(&self, bytes: u64) -> Result<(), FsError> {
        let known = unless_stopped(self.cluster.ask(Query::Totals)).await;
        let Ok(Answer::Totals { space, .. }) = known else { return Ok(()) };
        let is_known = space.iter().all(|space| space.total > 0);
        let room = space.iter().map(|space| space.total).fold(0, u64::saturating_add);
        if is_known && bytes > room { Err(FsError::NoSpace) } else { Ok(()) }
    }

    /// Looks after everything every few seconds, for as long as the vfs is open.
    pub(super) async fn look_after(self: Arc<Self>) {
        let mut pause = EVERY_SCARCE;
        loop {
            if let Ok(Answer::Totals { space, .. }) = self.cluster.ask(Query::Totals).await {
                let bytes = allowed(&space);
                self.allowance.renew(bytes);
                // A pair that nobody serves may return full.
                let is_scarce = bytes <= UNKNOWN_BYTES || space.iter().any(Space::is_out_of_service);
                pause = if is_scarce { EVERY_SCARCE } else { EVERY };
            }
            self.send_atimes();
            self.release_again();
            let closing = self.closing.notified();
            if self.is_closed() || tokio::time::timeout(pause, closing).await.is_ok() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn half_of_what_the_fuller_pair_has_to_spare_may_be_written_behind() {
        let space = |free| Space { total: 100 * GIB, free };
        assert_eq!(allowed(&[space(10 * GIB), space(3 * GIB)]), (3 * GIB as i64 - SCARCE_BYTES as i64) / 2);
        assert_eq!(allowed(&[space(10 * GIB), space(SCARCE_BYTES)]), 0);
        assert_eq!(allowed(&[space(10 * GIB), space(2)]), 0);
        let away = Space::out_of_service(100 * GIB);
        assert_eq!(allowed(&[space(10 * GIB), away]), allowed(&[space(10 * GIB)]), "the others go on as they did");
        assert_eq!(allowed(&[away, away]), UNKNOWN_BYTES);
        assert_eq!(allowed(&[space(10 * GIB), Space::default()]), UNKNOWN_BYTES);
        assert_eq!(allowed(&[space(2), Space::default()]), 0);
    }

    #[test]
    fn room_is_waited_for_after_something_was_removed_and_not_for_ever() {
        let (freed, now) = (Freed::default(), Instant::now());
        assert_eq!(freed.waited_for_until(), None);
        freed.some(now);
        assert_eq!(freed.waited_for_until(), Some(now + FREED_AFTER));
    }

    #[test]
    fn an_allowance_is_spent_by_writing_and_by_a_refusal() {
        let allowance = Allowance::default();
        allowance.renew(10);
        allowance.take(9);
        assert!(!allowance.is_spent());
        allowance.take(9);
        assert!(allowance.is_spent());
        allowance.renew(10);
        allowance.spend();
        assert!(allowance.is_spent());
    }
}
