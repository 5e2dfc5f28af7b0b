//! Which in-sync mirror serves a chunk read, and when a read is late. Pure: it is told of every read's start and end,
//! and the time is passed in. Never sends.
//!
//! In turn between a pair's mirrors; one chunk's reads stay with one server, so that each page cache holds its half;
//! away from a server that is dead, slow, or has much more in flight than its mirror.

use super::hedge::HedgeBudget;
use raidfs_common::id::{ChunkId, ServerId};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A read is never late before this.
const LATE_MIN: Duration = Duration::from_millis(20);
/// A read is late by then, whatever is usual.
const LATE_MAX: Duration = Duration::from_millis(100);
/// Chunks whose server is remembered.
const STREAMS_MAX: usize = 1024;
/// A chunk that was not read for so long may go to either server again: what a failure moved comes back.
const STREAM_FOR: Duration = Duration::from_secs(5);
/// So many more reads in flight than the mirror send the next one there.
const IN_FLIGHT_APART: u32 = 4;
/// A mirror that got more reads is owed at most so many by the other: a short silence is made good, a long one is not.
const DEBT_MAX: u64 = 64;
/// A server is slow if its reads take this many times its mirror's, and at least [`SLOW_MIN`].
const SLOW_TIMES: u32 = 4;
const SLOW_MIN: Duration = Duration::from_millis(20);
/// The mean believes a single read so much, and what [`SLOW_TIMES`] allows.
const BELIEVED_AT_ONCE: Duration = Duration::from_millis(1);
/// One read in so many may still go to a slow server, to see whether it is quick again.
const SLOW_EVERY: u64 = 16;
/// A server that failed gets no read for this long while its mirror serves.
const SUSPECT_FOR: Duration = Duration::from_millis(500);
/// One that was silent once gets none for this long, twice as long if it is silent again, and so on up to
/// [`SUSPECT_FOR`]: most often it waited for its disk or its turn, and its mirror is owed for the time.
const DOUBT_MIN: Duration = Duration::from_millis(40);

#[derive(Debug, Default)]
struct Load {
    in_flight: u32,
    /// Reads that it was given, counted so that mirrors differ by [`DEBT_MAX`] at most.
    given: u64,
    /// Recent mean and mean deviation of a read.
    mean: Duration,
    deviation: Duration,
    suspect_until: Option<Instant>,
    /// How long it is spared when it is silent once more; zero if it answered last.
    doubt: Duration,
}

/// Who serves a chunk that was read not long ago.
#[derive(Debug)]
struct Stream {
    server: ServerId,
    tick: u64,
    at: Instant,
}

/// What is known of all servers' reads.
#[derive(Debug, Default)]
pub struct Balance {
    loads: BTreeMap<ServerId, Load>,
    streams: BTreeMap<ChunkId, Stream>,
    order: BTreeMap<u64, ChunkId>,
    tick: u64,
    hedges: HedgeBudget,
}

impl Balance {
    /// Chooses among the servers that could serve; None if there are none. Counts the read as begun.
    pub fn choose(&mut self, chunk: ChunkId, able: &[ServerId], now: Instant) -> Option<ServerId> {
        let chosen = self.pick(chunk, able, now)?;
        self.tick += 1;
        self.hedges.earn();
        self.remember(chunk, chosen, now);
        self.begin(chosen);
        let most = self.loads.get(&chosen).map_or(0, |l| l.given);
        for server in able.iter().filter(|s| **s != chosen) {
            let load = self.loads.entry(*server).or_default();
            load.given = load.given.max(most.saturating_sub(DEBT_MAX));
        }
        Some(chosen)
    }

    /// A read of `server` begins that was not chosen here (a second try).
    pub fn begin(&mut self, server: ServerId) {
        let load = self.loads.entry(server).or_default();
        load.in_flight += 1;
        load.given += 1;
    }

    /// A read that had begun has ended without an answer that says anything of the server.
    pub fn abandoned(&mut self, server: ServerId) {
        let load = self.loads.entry(server).or_default();
        load.in_flight = load.in_flight.saturating_sub(1);
    }

    /// A read was answered.
    pub fn answered(&mut self, server: ServerId, took: Duration) {
        self.abandoned(server);
        let load = self.loads.entry(server).or_default();
        load.suspect_until = None;
        load.doubt = Duration::ZERO;
        let apart = took.abs_diff(load.mean);
        load.deviation = (load.deviation * 7 + apart) / 8;
        // One read that took long, the first one before all, does not make a server slow.
        let believed = took.min(load.mean * SLOW_TIMES + BELIEVED_AT_ONCE);
        load.mean = (load.mean * 7 + believed) / 8;
    }

    /// The server did not answer: its mirror is to be preferred for a while.
    pub fn suspect(&mut self, server: ServerId, now: Instant) {
        self.spare(server, now + SUSPECT_FOR);
    }

    /// The server is silent, and owes a read that is late: the same, but not for long at first.
    pub fn doubt(&mut self, server: ServerId, now: Instant) {
        let load = self.loads.entry(server).or_default();
        load.doubt = (load.doubt * 2).clamp(DOUBT_MIN, SUSPECT_FOR);
        let until = now + load.doubt;
        self.spare(server, until);
    }

    fn spare(&mut self, server: ServerId, until: Instant) {
        self.loads.entry(server).or_default().suspect_until = Some(until);
        let stuck: Vec<ChunkId> =
            self.streams.iter().filter(|(_, s)| s.server == server).map(|(chunk, _)| *chunk).collect();
        for chunk in stuck {
            if let Some(stream) = self.streams.remove(&chunk) {
                self.order.remove(&stream.tick);
            }
        }
    }

    /// A read of this server is late after so long: when nearly all others would have been answered.
    pub fn late_after(&self, server: ServerId) -> Duration {
        self.usual(server).clamp(LATE_MIN, LATE_MAX)
    }

    /// A server that owes a read and says nothing to anybody for so long is silent: so short that a reader of one that is
    /// quick waits for less than [`LATE_MAX`].
    pub fn quiet_after(&self, server: ServerId) -> Duration {
        self.usual(server).max(LATE_MIN * 3)
    }

    fn usual(&self, server: ServerId) -> Duration {
        self.loads.get(&server).map_or(Duration::ZERO, |l| l.mean + l.deviation * 4)
    }

    /// Whether a late read may be asked of the other mirror too.
    pub fn may_hedge(&mut self) -> bool {
        self.hedges.spend()
    }

    fn pick(&self, chunk: ChunkId, able: &[ServerId], now: Instant) -> Option<ServerId> {
        let load = |server: &ServerId| self.loads.get(server);
        let trusted = |s: &&ServerId| load(s).and_then(|l| l.suspect_until).is_none_or(|until| until <= now);
        let mut candidates: Vec<ServerId> = able.iter().filter(trusted).copied().collect();
        if candidates.is_empty() {
            candidates = able.to_vec();
        }
        let fewest = candidates.iter().map(|s| load(s).map_or(0, |l| l.in_flight)).min()?;
        candidates.retain(|s| load(s).map_or(0, |l| l.in_flight) < fewest + IN_FLIGHT_APART);
        if let Some(stream) = self.streams.get(&chunk)
            && now.saturating_duration_since(stream.at) < STREAM_FOR
            && candidates.contains(&stream.server)
            && !self.is_slow(stream.server, &candidates)
        {
            return Some(stream.server);
        }
        if !self.tick.is_multiple_of(SLOW_EVERY) {
            let quick: Vec<ServerId> = candidates.iter().filter(|s| !self.is_slow(**s, &candidates)).copied().collect();
            candidates = quick;
        }
        candidates.into_iter().min_by_key(|s| (load(s).map_or(0, |l| l.given), s.0))
    }

    fn is_slow(&self, server: ServerId, among: &[ServerId]) -> bool {
        let mean = |s: ServerId| self.loads.get(&s).map_or(Duration::ZERO, |l| l.mean);
        let quickest = among.iter().map(|s| mean(*s)).min().unwrap_or_default();
        mean(server) >= SLOW_MIN && mean(server) > quickest * SLOW_TIMES
    }

    fn remember(&mut self, chunk: ChunkId, server: ServerId, at: Instant) {
        if let Some(old) = self.streams.insert(chunk, Stream { server, tick: self.tick, at }) {
            self.order.remove(&old.tick);
        }
        self.order.insert(self.tick, chunk);
        if self.streams.len() > STREAMS_MAX
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.streams.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use raidfs_common::id::Ino;

    const A: ServerId = ServerId(1);
    const B: ServerId = ServerId(2);

    fn chunk(n: u64) -> ChunkId {
        ChunkId { ino: Ino(n), index: 0 }
    }

    /// Reads `files` files once, one after the other, each server taking what `took` says; returns A's share.
    fn share_of_a(balance: &mut Balance, files: u64, took: impl Fn(ServerId, u64) -> Duration) -> f64 {
        // Each time long after the last, so that no stream is remembered.
        let now = Instant::now() + STREAM_FOR * balance.tick as u32;
        let mut to_a = 0;
        for n in 0..files {
            let server = balance.choose(chunk(n), &[A, B], now).unwrap();
            to_a += u64::from(server == A);
            balance.answered(server, took(server, n));
        }
        to_a as f64 / files as f64
    }

    #[test]
    fn a_thousand_small_files_are_shared_alike() {
        // Each seventh read goes to the disk, the others to the page cache.
        let took = |_, n: u64| Duration::from_micros(if n.is_multiple_of(7) { 3000 } else { 80 });
        let share = share_of_a(&mut Balance::default(), 1000, took);
        assert!((0.45..=0.55).contains(&share), "{share}");
    }

    #[test]
    fn a_first_read_that_took_long_does_not_count_against_a_server() {
        let took = |server, n: u64| Duration::from_micros(if server == A && n < 2 { 60_000 } else { 80 });
        let share = share_of_a(&mut Balance::default(), 200, took);
        assert!((0.45..=0.55).contains(&share), "{share}");
    }

    #[test]
    fn with_many_in_flight_they_are_shared_alike_too() {
        let now = Instant::now();
        let mut balance = Balance::default();
        let mut open: Vec<ServerId> = Vec::new();
        let mut to_a = 0;
        for n in 0..1000 {
            if open.len() == 8 {
                balance.answered(open.remove((n * 5 % 8) as usize), Duration::from_micros(200));
            }
            let server = balance.choose(chunk(n), &[A, B], now).unwrap();
            to_a += u32::from(server == A);
            open.push(server);
        }
        assert!((450..=550).contains(&to_a), "{to_a}");
    }

    #[test]
    fn a_chunk_stays_with_its_server_until_that_one_is_crowded() {
        let now = Instant::now();
        let mut balance = Balance::default();
        let first = balance.choose(chunk(1), &[A, B], now).unwrap();
        for _ in 1..IN_FLIGHT_APART {
            assert_eq!(balance.choose(chunk(1), &[A, B], now), Some(first));
        }
        assert_ne!(balance.choose(chunk(1), &[A, B], now), Some(first));
    }

    #[test]
    fn a_slow_server_keeps_only_a_small_share_and_gets_it_back_once_quick() {
        let mut balance = Balance::default();
        let slow = |server, _| Duration::from_millis(if server == A { 50 } else { 1 });
        let share = share_of_a(&mut balance, 1000, slow);
        assert!((0.01..0.15).contains(&share), "{share}");
        share_of_a(&mut balance, 1000, |_, _| Duration::from_millis(1));
        let share = share_of_a(&mut balance, 1000, |_, _| Duration::from_millis(1));
        assert!((0.45..=0.55).contains(&share), "{share}");
    }

    #[test]
    fn a_suspect_is_spared_for_a_while_unless_it_is_the_only_one() {
        let now = Instant::now();
        let mut balance = Balance::default();
        balance.suspect(A, now);
        assert_eq!(balance.choose(chunk(1), &[A, B], now), Some(B));
        assert_eq!(balance.choose(chunk(2), &[A], now), Some(A));
        assert_eq!(balance.choose(chunk(2), &[], now), None);
        let later = now + SUSPECT_FOR;
        let both: Vec<_> = (3..20).map(|n| balance.choose(chunk(n), &[A, B], later).unwrap()).collect();
        assert!(both.contains(&A), "{both:?}");
    }

    #[test]
    fn a_server_that_was_silent_once_still_has_its_half() {
        let mut balance = Balance::default();
        let (mut now, mut to_a) = (Instant::now(), 0);
        for n in 0..500 {
            let server = balance.choose(chunk(n), &[A, B], now).unwrap();
            let took = Duration::from_millis(if n == 100 { 20 } else { 1 });
            now += took;
            if n == 100 {
                // Late, and asked of the other too, which wins.
                balance.doubt(server, now);
                balance.begin(if server == A { B } else { A });
                balance.abandoned(server);
                balance.answered(if server == A { B } else { A }, Duration::from_millis(1));
            } else {
                balance.answered(server, took);
            }
            to_a += u32::from(server == A);
        }
        assert!((225..=275).contains(&to_a), "{to_a}");
    }

    #[test]
    fn one_that_stays_silent_is_spared_longer_and_longer() {
        let mut now = Instant::now();
        let mut balance = Balance::default();
        let mut asked = 0;
        let end = now + SUSPECT_FOR * 4;
        for n in 0.. {
            if now >= end {
                break;
            }
            let server = balance.choose(chunk(n), &[A, B], now).unwrap();
            now += Duration::from_millis(1);
            if server == A {
                asked += 1;
                balance.abandoned(A);
                balance.doubt(A, now);
            } else {
                balance.answered(B, Duration::from_millis(1));
            }
        }
        assert!((3..=9).contains(&asked), "{asked}");
    }

    #[test]
    fn late_is_beyond_the_usual_and_bounded() {
        let mut balance = Balance::default();
        assert_eq!(balance.late_after(A), LATE_MIN);
        (0..100).for_each(|_| balance.answered(A, Duration::from_millis(40)));
        let late = balance.late_after(A);
        assert!(late >= Duration::from_millis(40) && late < LATE_MAX, "{late:?}");
        (0..100).for_each(|_| balance.answered(A, Duration::from_secs(1)));
        assert_eq!(balance.late_after(A), LATE_MAX);
    }

    #[test]
    fn what_is_remembered_of_streams_is_bounded() {
        let mut balance = Balance::default();
        share_of_a(&mut balance, 5000, |_, _| Duration::from_micros(50));
        assert_eq!((balance.streams.len(), balance.order.len()), (STREAMS_MAX, STREAMS_MAX));
    }
}
