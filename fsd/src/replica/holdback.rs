//! Whether a mirror that was put out is let back at once. Pure, and told the time.
//!
//! A server that is well between two failures, as one whose disk is slow by turns, or whose network comes and goes, would be
//! brought up to date in each pause, and everybody would wait for it in each failure. So who fails again soon after it was
//! let back stays out for a while, each time for longer. A new life begins with a clean sheet: what was wrong may be mended.

use raidfs_common::id::Incarnation;
use std::time::{Duration, Instant};

/// Who was in sync for so long is well: what fails then is a failure of its own.
const STEADY: Duration = Duration::from_secs(30);
/// The first time that it is held back; doubled each time, up to the second value. All that long there is one copy only, so
/// it does not grow without end.
const HOLD: Duration = Duration::from_secs(1);
const HOLD_MAX: Duration = Duration::from_secs(16);

/// What is remembered of one life of the mirror.
#[derive(Clone, Copy, Debug, Default)]
pub struct Holdback {
    life: Incarnation,
    let_back: Option<Instant>,
    hold: Duration,
}

impl Holdback {
    /// This life of the mirror is in sync from now on.
    pub fn let_back(&mut self, life: Incarnation, now: Instant) {
        self.of(life);
        self.let_back = Some(now);
    }

    /// How long this life of the mirror, which is found to be stale, is to stay out from now on. Asked again without its
    /// having been in sync meanwhile: not at all.
    pub fn put_out(&mut self, life: Incarnation, now: Instant) -> Duration {
        self.of(life);
        let Some(since) = self.let_back.take() else { return Duration::ZERO };
        self.hold = match now.saturating_duration_since(since) < STEADY {
            true => (self.hold * 2).clamp(HOLD, HOLD_MAX),
            false => Duration::ZERO,
        };
        self.hold
    }

    fn of(&mut self, life: Incarnation) {
        if self.life != life {
            *self = Holdback { life, ..Holdback::default() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Incarnation = Incarnation(1 << 32 | 7);
    const NEXT: Incarnation = Incarnation(2 << 32 | 7);

    /// Lets it back and puts it out after `lasted`: how long it is held back.
    fn fails_after(holdback: &mut Holdback, life: Incarnation, lasted: Duration) -> Duration {
        let now = Instant::now();
        holdback.let_back(life, now);
        holdback.put_out(life, now + lasted)
    }

    #[test]
    fn who_fails_again_and_again_is_held_back_for_longer_each_time() {
        let mut holdback = Holdback::default();
        assert_eq!(holdback.put_out(LIFE, Instant::now()), Duration::ZERO, "its first failure that is seen here");
        let soon = STEADY - Duration::from_millis(1);
        for seconds in [1, 2, 4, 8, 16, 16] {
            assert_eq!(fails_after(&mut holdback, LIFE, soon), Duration::from_secs(seconds));
        }
        assert_eq!(fails_after(&mut holdback, LIFE, STEADY), Duration::ZERO, "it was well for long enough");
        assert_eq!(fails_after(&mut holdback, LIFE, soon), HOLD);
    }

    #[test]
    fn a_new_life_is_let_back_at_once() {
        let mut holdback = Holdback::default();
        assert_eq!(fails_after(&mut holdback, LIFE, Duration::ZERO), HOLD);
        holdback.let_back(LIFE, Instant::now());
        assert_eq!(holdback.put_out(NEXT, Instant::now()), Duration::ZERO);
        assert_eq!(fails_after(&mut holdback, NEXT, Duration::ZERO), HOLD);
    }

    #[test]
    fn a_failure_is_counted_once() {
        let mut holdback = Holdback::default();
        assert_eq!(fails_after(&mut holdback, LIFE, Duration::ZERO), HOLD);
        assert_eq!(holdback.put_out(LIFE, Instant::now()), Duration::ZERO);
    }
}
