//! What of a file could not be read a moment ago. Pure.
//!
//! The kernel asks twice: after a readahead that failed it asks once more for each page that a program wants. When nobody
//! serves the bytes, each of these requests would wait for the whole `io_timeout` in its turn, and so would everybody who
//! waits for the same page. So what has waited in vain says so to those that come right behind it.

use std::ops::Range;
use std::time::{Duration, Instant};

/// For so long a failure is remembered; and one that took less has made nobody wait.
const REMEMBERED: Duration = Duration::from_secs(1);

/// The newest failure.
#[derive(Debug, Default)]
pub struct Unreadable(Option<(Range<u64>, Instant)>);

impl Unreadable {
    /// A read of `range` that began at `began` failed at `now`.
    pub fn failed(&mut self, range: Range<u64>, began: Instant, now: Instant) {
        if now.duration_since(began) < REMEMBERED {
            return;
        }
        // Several requests of one readahead fail one right after the other.
        let range = match self.0.take().filter(|(_, at)| now.duration_since(*at) < REMEMBERED) {
            Some((last, _)) => last.start.min(range.start)..last.end.max(range.end),
            None => range,
        };
        self.0 = Some((range, now));
    }

    /// Whether a read from `offset` on that begins now would only wait in vain once more.
    pub fn covers(&self, offset: u64, now: Instant) -> bool {
        self.0.as_ref().is_some_and(|(range, at)| range.contains(&offset) && now.duration_since(*at) < REMEMBERED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waited_in_vain_is_not_waited_for_again_at_once() {
        let began = Instant::now();
        let failed = began + Duration::from_secs(30);
        let mut unreadable = Unreadable::default();
        unreadable.failed(0..4096, began, failed);
        unreadable.failed(4096..8192, began, failed + Duration::from_millis(10));
        for (offset, after_ms, covered) in
            [(0, 20, true), (8191, 20, true), (8192, 20, false), (0, 900, true), (0, 1100, false)]
        {
            let now = failed + Duration::from_millis(after_ms);
            assert_eq!(unreadable.covers(offset, now), covered, "{offset} after {after_ms} ms");
        }
    }

    #[test]
    fn what_failed_at_once_is_asked_for_again() {
        let now = Instant::now();
        let mut unreadable = Unreadable::default();
        unreadable.failed(0..4096, now, now + Duration::from_millis(10));
        assert!(!unreadable.covers(0, now + Duration::from_millis(20)));
    }
}
