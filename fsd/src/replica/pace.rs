//! When the scrubber looks at the next chunk, and when it begins again; how a resync gives way. Pure: it is told the time,
//! and how long things took.
//!
//! A pass that goes by itself takes a small share of the disk, and never more than a tenth of its time, so that nobody who
//! uses the store notices; a store that is too large for one period is gone through faster, up to a bound.

use std::time::{Duration, Instant};

/// Bytes a second, if that is enough for a pass in one period.
const RATE: u64 = 4 << 20;
/// Bytes a second at most: a larger store takes longer than a period.
const RATE_MAX: u64 = 32 << 20;
/// What a chunk costs besides its bytes: finding and opening it.
const CHUNK_COST: u64 = 64 << 10;
/// Of the time, one part in so many is spent on the disk at most: a disk that is busy or slow is left alone for longer.
const SHARE: u32 = 10;
/// However long the last look took.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// From the start of a server to its first pass: there is enough to do.
const SETTLE: Duration = Duration::from_secs(600);

/// The pace of the passes that go by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    every: Option<Duration>,
    settle: Duration,
}

impl Pace {
    /// A pass in each such period; None: none at all.
    pub fn new(every: Option<Duration>) -> Pace {
        Pace { every, settle: SETTLE }
    }

    /// For tests that do not wait for days.
    #[cfg(test)]
    pub fn hasty(every: Duration, settle: Duration) -> Pace {
        Pace { every: Some(every), settle }
    }

    /// How long to stand back after a look at a chunk of `bytes` that took `took`, on a server that holds `held` chunks and
    /// bytes.
    pub fn pause(&self, held: (u64, u64), bytes: u64, took: Duration) -> Duration {
        let cost = |chunks: u64, bytes: u64| bytes.saturating_add(chunks.saturating_mul(CHUNK_COST));
        let needed = match self.every {
            Some(every) => cost(held.0, held.1) / every.as_secs().max(1),
            None => 0,
        };
        let rate = needed.clamp(RATE, RATE_MAX);
        let by_rate = Duration::from_micros(cost(1, bytes).saturating_mul(1_000_000) / rate).saturating_sub(took);
        let by_share = took * (SHARE - 1);
        by_rate.max(by_share).min(PAUSE_MAX)
    }

    /// How long after the start of a server its first pass begins, or goes on. `since`: since the last one that went through
    /// all chunks began, if that is known and none is under way.
    pub fn first(&self, since: Option<Duration>) -> Option<Duration> {
        let every = self.every?;
        Some(since.map_or(self.settle, |since| every.saturating_sub(since)).max(self.settle))
    }

    /// How long after the end of a pass that took `took` the next begins.
    pub fn next(&self, took: Duration) -> Option<Duration> {
        Some(self.every?.saturating_sub(took))
    }
}

/// While the store is in use a resync copies one chunk at a time, for one part in so many of the time. It may be the only
/// thing that a pair has only one copy of its files without, so it is never made to wait for good.
const COURTESY: u32 = 4;
/// A chunk that took no longer, as a small one, or one that is equal, is in nobody's way: then it is half of the time. There may
/// be tens of thousands of those, and until the last one there is one copy of everything.
const BRIEF: Duration = Duration::from_millis(10);
/// One of which no more was copied has waited for a busy machine if it took longer, and others hardly for it.
const BRIEF_BYTES: u64 = 64 << 10;
/// Whatever a chunk has taken.
const COURTESY_MAX: Duration = Duration::from_millis(500);
/// A resync that has not taken longer yet goes as fast as it can,
const BRISK: Duration = Duration::from_secs(4);
/// unless it is that of a whole disk with more chunks than this, which takes longer anyway.
const BRISK_CHUNKS: usize = 128;
/// So long after the last request the store counts as in use.
const IN_USE: Duration = Duration::from_millis(500);

/// How a resync gives way to those who use the store.
#[derive(Debug)]
pub struct Courtesy {
    /// Until then it does not: what is done in a moment is best done at once, as until then nobody stands in for the other
    /// server. What takes longer anyway gives way from its first chunk on.
    brisk_until: Instant,
    uses: u64,
    used_at: Option<Instant>,
}

impl Courtesy {
    /// A resync of so many chunks begins, on a server that has served so many requests; `whole`: to a mirror that has nothing
    /// yet. Whether the store is in use is not known yet: of a long one it is taken for that.
    pub fn new(chunks: usize, whole: bool, uses: u64, now: Instant) -> Courtesy {
        let is_short = !whole || chunks <= BRISK_CHUNKS;
        Courtesy { brisk_until: if is_short { now + BRISK } else { now }, uses, used_at: (!is_short).then_some(now) }
    }

    /// Whether the store is in use, which has served so many requests by now.
    pub fn in_use(&mut self, uses: u64, now: Instant) -> bool {
        if std::mem::replace(&mut self.uses, uses) != uses {
            self.used_at = Some(now);
        }
        now >= self.brisk_until && self.used_at.is_some_and(|at| now.saturating_duration_since(at) < IN_USE)
    }

    /// How long to stand back after a chunk of which `bytes` were copied in `took`.
    pub fn pause(took: Duration, bytes: u64) -> Duration {
        if took <= BRIEF || bytes <= BRIEF_BYTES { took.min(BRIEF) } else { (took * (COURTESY - 1)).min(COURTESY_MAX) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const DAY: Duration = Duration::from_secs(86_400);
    const WEEK: Pace = Pace { every: Some(Duration::from_secs(7 * 86_400)), settle: SETTLE };
    const CHUNK: u64 = 4 << 20;

    #[test]
    fn a_small_store_is_gone_through_at_four_mebibytes_a_second() {
        let pause = WEEK.pause((1000, 1000 * CHUNK), CHUNK, 15 * MS);
        assert!((900 * MS..1020 * MS).contains(&pause), "{pause:?}");
        let small = WEEK.pause((1000, 1000 * 4096), 4096, MS);
        assert!((14 * MS..20 * MS).contains(&small), "small files cost more than their bytes: {small:?}");
    }

    #[test]
    fn a_large_store_is_gone_through_in_its_period_up_to_a_bound() {
        let chunks = |tebibytes: u64| (tebibytes << 40) / CHUNK;
        let rate = |tebibytes| {
            let held = (chunks(tebibytes), tebibytes << 40);
            CHUNK as f64 / WEEK.pause(held, CHUNK, Duration::ZERO).as_secs_f64()
        };
        assert!((3.5e6..4.3e6).contains(&rate(1)), "{}", rate(1));
        let days = (10u64 << 40) as f64 / rate(10) / 86_400.0;
        assert!((6.5..7.1).contains(&days), "{days}");
        assert!(rate(1000) < 34e6, "{}", rate(1000));
    }

    #[test]
    fn a_slow_disk_is_left_alone_for_most_of_the_time() {
        assert_eq!(WEEK.pause((1, CHUNK), CHUNK, 500 * MS), 4500 * MS);
        assert_eq!(WEEK.pause((1, CHUNK), CHUNK, 30_000 * MS), PAUSE_MAX);
    }

    #[test]
    fn passes_begin_once_in_a_period_and_not_right_after_a_start() {
        assert_eq!(WEEK.first(None), Some(SETTLE));
        assert_eq!(WEEK.first(Some(2 * DAY)), Some(5 * DAY));
        assert_eq!(WEEK.first(Some(30 * DAY)), Some(SETTLE));
        assert_eq!(WEEK.next(DAY), Some(6 * DAY));
        assert_eq!(WEEK.next(9 * DAY), Some(Duration::ZERO));
        let never = Pace::new(None);
        assert_eq!((never.first(None), never.next(DAY)), (None, None));
    }

    #[test]
    fn a_resync_gives_way_while_the_store_is_in_use() {
        let before = Instant::now();
        let (mut courtesy, begun) = (Courtesy::new(BRISK_CHUNKS, true, 6, before), before + BRISK);
        assert!(!courtesy.in_use(7, begun - MS), "not in its first moments");
        assert!(!courtesy.in_use(7, begun + IN_USE));
        let begun = begun + IN_USE * 2;
        assert!(courtesy.in_use(8, begun));
        assert!(courtesy.in_use(8, begun + IN_USE / 2), "a moment later");
        assert!(!courtesy.in_use(8, begun + IN_USE));
        assert!(courtesy.in_use(9, begun + IN_USE));
        let of_whole_disk = || Courtesy::new(BRISK_CHUNKS + 1, true, 6, before);
        let mut long = of_whole_disk();
        assert!(long.in_use(6, before) && long.in_use(7, before + IN_USE / 2), "from the first chunk on");
        assert!(!of_whole_disk().in_use(6, before + IN_USE), "nobody uses it");
        let mut absence = Courtesy::new(100 * BRISK_CHUNKS, false, 6, before);
        assert!(!absence.in_use(7, before), "a short absence under an untar leaves many chunks, too");
        assert_eq!(Courtesy::pause(11 * MS, CHUNK), 33 * MS);
        assert_eq!(Courtesy::pause(2 * MS, CHUNK), 2 * MS, "most of it was equal");
        assert_eq!(Courtesy::pause(2 * MS, 4096), 2 * MS, "tens of thousands of small chunks come to an end");
        assert_eq!(Courtesy::pause(50 * MS, 4096), BRIEF, "on a busy machine, too");
        assert_eq!(Courtesy::pause(30_000 * MS, CHUNK), COURTESY_MAX, "a slow disk does not stop it");
    }
}
