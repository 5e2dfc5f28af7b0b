//! When to try again: growing pauses with jitter, up to a deadline. Pure: the time is passed in and the jitter comes
//! from a seed. Never sleeps and never sends; whoever retries asks it.

use std::time::{Duration, Instant};

/// A small generator of numbers that look random (xorshift); equal seeds give equal numbers.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Any seed will do.
    pub fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number.
    pub fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// How long the pauses between tries are: each up to twice the last, within these bounds.
#[derive(Clone, Copy, Debug)]
pub struct Pauses {
    /// The first.
    pub shortest: Duration,
    /// None is longer.
    pub longest: Duration,
}

/// One operation's tries.
#[derive(Clone, Debug)]
pub struct Retry {
    deadline: Instant,
    pauses: Pauses,
    next: Duration,
    dice: Dice,
}

impl Retry {
    /// Tries until `deadline`.
    pub fn until(deadline: Instant, pauses: Pauses, seed: u64) -> Retry {
        Retry { deadline, pauses, next: pauses.shortest, dice: Dice::new(seed) }
    }

    /// Time left; None: the operation has failed.
    pub fn left(&self, now: Instant) -> Option<Duration> {
        let left = self.deadline.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }

    /// When to give up.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The pause before the next try; None: give up. Between half of the full pause and all of it, so that callers
    /// that failed together do not come back together. Never past the deadline.
    pub fn pause(&mut self, now: Instant) -> Option<Duration> {
        let left = self.left(now)?;
        let full = self.next;
        self.next = (full * 2).min(self.pauses.longest);
        let half = full / 2;
        let jitter = Duration::from_nanos(self.dice.roll() % (half.as_nanos() as u64 + 1));
        Some((half + jitter).min(left))
    }

    /// Something has changed: the next pause is a short one again.
    pub fn progress(&mut self) {
        self.next = self.pauses.shortest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSES: Pauses = Pauses { shortest: Duration::from_millis(2), longest: Duration::from_millis(20) };

    #[test]
    fn pauses_grow_to_the_longest_and_begin_anew_after_progress() {
        let now = Instant::now();
        let mut retry = Retry::until(now + Duration::from_secs(30), PAUSES, 7);
        let got: Vec<Duration> = (0..10).map(|_| retry.pause(now).unwrap()).collect();
        assert!(got[0] >= PAUSES.shortest / 2 && got[0] <= PAUSES.shortest, "{got:?}");
        assert!(got[9] >= PAUSES.longest / 2 && got[9] <= PAUSES.longest, "{got:?}");
        retry.progress();
        assert!(retry.pause(now).unwrap() <= PAUSES.shortest);
    }

    #[test]
    fn nobody_sleeps_past_the_deadline_or_tries_after_it() {
        let now = Instant::now();
        let mut retry = Retry::until(now + Duration::from_micros(100), PAUSES, 7);
        assert!(retry.pause(now).unwrap() <= Duration::from_micros(100));
        assert_eq!(retry.pause(now + Duration::from_micros(100)), None);
    }

    #[test]
    fn different_seeds_pause_differently() {
        let now = Instant::now();
        let of = |seed| {
            let mut retry = Retry::until(now + Duration::from_secs(1), PAUSES, seed);
            (0..4).map(|_| retry.pause(now).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
    }
}
