//! How many bytes of requests and answers a server keeps for its callers, and how long it waits for one that is slow. Decides
//! only; [`crate::room`] counts and acts.

use crate::limits::{FRAME_HEADER_MAX_BYTES, FRAME_PAYLOAD_MAX_BYTES};
use std::time::{Duration, Instant};

/// Each connection has so much to itself: what is small never waits for what others hold.
pub const OWN_BYTES: usize = 64 << 10;
/// Beyond that, a connection holds at most this part of what would be free without the newest of it: a lone one a quarter of
/// all, and whatever many take, something is left for one that wants less.
const SHARE: usize = 3;
/// What a request costs beside its bytes.
const REQUEST_BYTES: usize = 512;
/// A client's header is decoded into so many times its bytes, or less. (A list of the shortest things there are takes thirty times
/// as much, until it is refused for its length.)
pub const CLIENT_HEADER_WEIGHT: usize = 12;

/// Whether a connection that holds `held` bytes of what all share may have `want` more, where `free` bytes are left.
pub fn fits(held: usize, want: usize, free: usize) -> bool {
    held.saturating_add(want) <= free / SHARE
}

/// What a frame costs, whose header counts `header_weight` times.
pub const fn weight(header: usize, payload: usize, header_weight: usize) -> usize {
    header * header_weight + payload + REQUEST_BYTES
}

/// The largest frame that there is passes where nothing else is held.
pub const fn passes_alone(most: usize, header_weight: usize) -> bool {
    weight(FRAME_HEADER_MAX_BYTES, FRAME_PAYLOAD_MAX_BYTES, header_weight) <= most / SHARE
}

/// How slow the other end may be: at least so many bytes within so long.
#[derive(Clone, Copy, Debug)]
struct Pace {
    within: Duration,
    least: u64,
}

/// While there is room for all. A thirtieth of 1 MB/s.
const CALM: Pace = Pace { within: Duration::from_secs(30), least: 1 << 20 };
/// While others wait for what this one holds.
const CROWDED: Pace = Pace { within: Duration::from_secs(1), least: 64 << 10 };
/// A frame that comes whole, however small, is as good as so many bytes.
pub const WHOLE_FRAME_COUNTS: u64 = CALM.least;

/// What one direction of a connection was seen to do.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    calm: (Instant, u64),
    crowded: (Instant, u64),
}

impl Progress {
    /// Of a connection that begins.
    pub fn new(now: Instant) -> Progress {
        Progress { calm: (now, 0), crowded: (now, 0) }
    }

    /// Looks at it again: whether the other end is waited for (to send the rest of a frame, or to read), the bytes that were
    /// moved so far, and whether others wait for room that it holds. False: it is too slow.
    pub fn goes_on(&mut self, now: Instant, waited_for: bool, moved: u64, crowded: bool) -> bool {
        let is_slow = |mark: &mut (Instant, u64), pace: Pace| {
            if !waited_for || moved - mark.1 >= pace.least {
                *mark = (now, moved);
            }
            now.saturating_duration_since(mark.0) >= pace.within
        };
        let slow = is_slow(&mut self.calm, CALM);
        let slow_for_others = is_slow(&mut self.crowded, CROWDED);
        !(slow || slow_for_others && crowded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    #[test]
    fn a_lone_connection_gets_a_quarter_and_something_is_always_left_for_who_wants_less() {
        let most = 192 * MIB;
        let fill = |free: &mut usize, want: usize| {
            let mut held = 0;
            while fits(held, want, *free) {
                (held, *free) = (held + want, *free - want);
            }
            held
        };
        assert_eq!(fill(&mut { most }, MIB), 48 * MIB);
        let mut free = most;
        // A thousand connections with frames of 11 MiB, then as many with 4 MiB.
        for (want, left) in [(11 * MIB, 27 * MIB), (4 * MIB, 11 * MIB), (MIB, 2 * MIB)] {
            for _ in 0..1000 {
                fill(&mut free, want);
            }
            assert_eq!(free, left, "after those of {want} bytes");
        }
        assert!(fits(0, 256 << 10, free));
    }

    #[test]
    fn who_is_waited_for_must_go_on_and_sooner_where_others_wait() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut idle = Progress::new(start);
        assert!(idle.goes_on(at(1000), false, 0, true), "nobody waits for it");
        assert!(idle.goes_on(at(1029), true, 0, false));
        assert!(!idle.goes_on(at(1030), true, 0, false));
        let mut stalled = Progress::new(start);
        assert!(stalled.goes_on(at(20), true, 5, false));
        assert!(!stalled.goes_on(at(20), true, 5, true), "what it holds is wanted");
        // A byte now and then is no progress.
        let mut drips = Progress::new(start);
        assert!((1..30).all(|s| drips.goes_on(at(s), true, s * 100, false)));
        assert!(!drips.goes_on(at(30), true, 3000, false));
    }

    #[test]
    fn a_slow_but_honest_link_goes_on_for_ever() {
        let start = Instant::now();
        for (rate, crowded) in [(1_000_000, true), (50_000, false)] {
            let mut slow = Progress::new(start);
            for tick in 1..4000u64 {
                let now = start + Duration::from_millis(tick * 250);
                assert!(slow.goes_on(now, true, rate * tick / 4, crowded), "{rate} bytes a second, tick {tick}");
            }
        }
    }
}
