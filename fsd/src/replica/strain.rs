//! Whose disk is at fault? An operation that is stuck is evidence against a server only if its mirror is better off: where
//! many servers share a disk, or a whole machine writes back what was dirty, all of them stall at the same moment, and
//! putting one of each pair out would help nobody. So before a server accuses itself it asks its mirror how its disk is,
//! and a primary compares a mirror that is late with itself.
//!
//! [`Strain`] is what is under way on this disk; [`at_fault`] decides, pure. Both are told the time.

use super::Replica;
use super::judge::Standing;
use parking_lot::Mutex;
use raidfs_common::error::Rejection;
use raidfs_common::rpc::chunks::{ChunkServiceClient, View};
use raidfs_common::rpc::peer::SLOW_DISK;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Between two looks at what is under way here.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// A mirror that is as badly off is asked again after this.
const ASK_AGAIN: Duration = Duration::from_millis(250);
/// A mirror that has not said by then how its disk is does not count as badly off.
const ASK_PATIENCE: Duration = Duration::from_millis(400);
/// However badly off the mirror is: what is stuck for so long is at fault, so that a mirror whose disk is only very busy
/// cannot cover up for one that is dead.
const STUCK_MAX: Duration = Duration::from_secs(20);

/// Whether a server is at fault whose disk operation is stuck for `lasts` already, when the other server's slowest one lasts
/// (or has just lasted) for `other`; None: the other does not say.
pub fn at_fault(lasts: Duration, other: Option<Duration>) -> bool {
    lasts >= STUCK_MAX || other.is_none_or(|other| other * 2 < lasts)
}

/// An operation under way.
#[derive(Clone, Copy, Debug)]
struct Running {
    begun: Instant,
    limit: Duration,
    what: &'static str,
}

/// An operation that has ended.
#[derive(Clone, Copy, Debug)]
struct Ended {
    at: Instant,
    lasted: Duration,
}

#[derive(Debug, Default)]
struct Inner {
    /// By the order in which they began.
    running: BTreeMap<u64, Running>,
    next: u64,
    /// The slowest of late: who comes through a stall a moment before the other was stalled by it all the same.
    slow: Option<Ended>,
}

/// The disk operations under way, and the slowest of late.
#[derive(Debug, Default)]
pub struct Strain {
    inner: Mutex<Inner>,
}

/// An operation under way; it ends by drop.
#[derive(Debug)]
pub struct Operation {
    strain: Arc<Strain>,
    number: u64,
}

/// An operation that is over its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stuck {
    /// For how long it is under way.
    pub lasts: Duration,
    /// What is being done, for the log.
    pub what: &'static str,
}

impl Strain {
    /// An operation begins that is stuck when it takes longer than `limit`.
    pub fn begin(self: &Arc<Self>, now: Instant, limit: Duration, what: &'static str) -> Operation {
        let mut inner = self.inner.lock();
        let number = inner.next;
        inner.next += 1;
        inner.running.insert(number, Running { begun: now, limit, what });
        Operation { strain: self.clone(), number }
    }

    fn end(&self, now: Instant, number: u64) {
        let mut inner = self.inner.lock();
        let Some(running) = inner.running.remove(&number) else { return };
        let ended = Ended { at: now, lasted: now.saturating_duration_since(running.begun) };
        if inner.slow.is_none_or(|slow| slow.lasted <= ended.lasted || !slow.counts(now)) {
            inner.slow = Some(ended);
        }
    }

    /// How long the slowest operation lasts that is under way, or lasted that ended no longer ago than it took.
    pub fn slowest(&self, now: Instant) -> Duration {
        let inner = self.inner.lock();
        let running = inner.running.values().next().map_or(Duration::ZERO, |r| now.saturating_duration_since(r.begun));
        let ended = inner.slow.filter(|slow| slow.counts(now)).map_or(Duration::ZERO, |slow| slow.lasted);
        running.max(ended)
    }

    /// The operation that is over its limit for longest; None if none is.
    pub fn stuck(&self, now: Instant) -> Option<Stuck> {
        let inner = self.inner.lock();
        let lasts = |running: &Running| now.saturating_duration_since(running.begun);
        let over = inner.running.values().filter(|running| lasts(running) > running.limit);
        over.max_by_key(|running| lasts(running) - running.limit).map(|r| Stuck { lasts: lasts(r), what: r.what })
    }
}

impl Ended {
    fn counts(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.at) <= self.lasted
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        self.strain.end(Instant::now(), self.number);
    }
}

impl Replica {
    /// The slowest disk operation of this server, in milliseconds, for its mirror. Answered from memory.
    pub fn strain_for(&self, view: View) -> Result<u32, Rejection> {
        let slowest = self.strain.slowest(Instant::now());
        if view.pair != self.pair { Err(Rejection::NotInCharge) } else { Ok(slowest.as_millis() as u32) }
    }

    /// Watches this server's disk: accuses it when it is stuck and the mirror's is not.
    pub(super) async fn run_watch(self: Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            if self.strain.stuck(Instant::now()).is_none() {
                continue;
            }
            let standing = self.standing_known().await;
            let mirror = if standing.mirror_in_sync() { self.mirrors_strain(&standing).await } else { None };
            // It may have come through while the mirror was asked.
            match self.strain.stuck(Instant::now()) {
                Some(Stuck { lasts, what }) if at_fault(lasts, mirror) => {
                    self.accuse(self.me, format!("{SLOW_DISK}{:.1} s to {what}", lasts.as_secs_f32()));
                }
                _ => tokio::time::sleep(ASK_AGAIN).await,
            }
        }
    }

    async fn mirrors_strain(&self, standing: &Standing) -> Option<Duration> {
        let (me, view) = (self.me, standing.view());
        let ask = |client: ChunkServiceClient, context| async move { client.strain(context, me, view).await };
        let said = self.peers.call(standing.mirror.server, ASK_PATIENCE, ask).await;
        said.ok()?.ok().map(|ms| Duration::from_millis(u64::from(ms)))
    }

    /// Returns once a mirror that is alive takes longer than `limit` for what it was sent at `begun`, and this server's own
    /// disk is better off.
    pub(super) async fn outlasted(&self, begun: Instant, limit: Duration) {
        tokio::time::sleep_until((begun + limit).into()).await;
        while !at_fault(begun.elapsed(), Some(self.strain.slowest(Instant::now()))) {
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{DISK_STUCK, SYNC_STUCK};
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_disk_that_is_stuck_alone_is_at_fault_at_once() {
        assert!(DISK_STUCK <= ms(1000));
        assert!(at_fault(DISK_STUCK, Some(Duration::ZERO)));
        assert!(at_fault(DISK_STUCK, Some(ms(300))));
        assert!(at_fault(DISK_STUCK, None), "the mirror does not say that it is badly off, too");
    }

    #[test]
    fn a_stall_of_both_is_nobodys_fault_for_long() {
        for lasts in [DISK_STUCK, ms(2500), SYNC_STUCK, ms(15_000)] {
            assert!(!at_fault(lasts, Some(lasts)));
            assert!(!at_fault(lasts, Some(lasts / 2)));
        }
        assert!(at_fault(STUCK_MAX, Some(STUCK_MAX)), "but not for ever");
    }

    #[test]
    fn of_two_that_look_at_each_other_one_at_most_is_at_fault() {
        for (a, b) in [(1000, 1000), (1000, 1900), (1000, 2100), (3000, 1), (1500, 749), (1500, 750)] {
            assert!(!(at_fault(ms(a), Some(ms(b))) && at_fault(ms(b), Some(ms(a)))), "{a} and {b}");
        }
    }

    #[test]
    fn what_is_under_way_counts_and_what_has_just_ended_for_as_long_as_it_took() {
        let strain = Arc::new(Strain::default());
        let start = Instant::now();
        let at = |n| start + ms(n);
        assert_eq!((strain.slowest(at(0)), strain.stuck(at(0))), (Duration::ZERO, None));
        let _slow = strain.begin(at(0), ms(1000), "write");
        let _later = strain.begin(at(500), ms(200), "sync");
        assert_eq!((strain.slowest(at(600)), strain.stuck(at(700))), (ms(600), None));
        assert_eq!(strain.stuck(at(701)), Some(Stuck { lasts: ms(201), what: "sync" }));
        assert_eq!(strain.stuck(at(1500)).map(|s| s.what), Some("sync"), "it is over its limit for longest");
        strain.end(at(1501), 1);
        assert_eq!(strain.stuck(at(1501)), Some(Stuck { lasts: ms(1501), what: "write" }));
        strain.end(at(2000), 0);
        let quick = strain.begin(at(2100), ms(1000), "read");
        strain.end(at(2110), quick.number);
        assert_eq!((strain.slowest(at(2110)), strain.stuck(at(2110))), (ms(2000), None));
        assert_eq!(strain.slowest(at(4000)), ms(2000));
        assert_eq!(strain.slowest(at(4001)), Duration::ZERO, "it is long ago");
    }
}
