//! Whether files are replaced under those who open them. The kernel looks a name up first, and opens what it has found then;
//! if that is gone, it looks once more, and only once. So nothing is done about the first miss, and for a while after it
//! what a rename replaces is held open. Pure; the time is passed in.

use raidfs_common::id::Ino;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// So many replaced files are remembered.
const REMEMBERED: usize = 64;
/// A miss counts for so long, and what is replaced meanwhile is held for so long.
pub const HELD: Duration = Duration::from_secs(1);

/// What was replaced lately, and whether somebody missed it.
#[derive(Debug, Default)]
pub struct Replaced {
    lately: VecDeque<(Ino, Instant)>,
    missed: Option<Instant>,
}

impl Replaced {
    /// A rename has replaced this file, which is gone.
    pub fn note(&mut self, ino: Ino, now: Instant) {
        self.lately.truncate(REMEMBERED - 1);
        self.lately.push_front((ino, now));
    }

    /// Somebody wanted to open this file, which is gone.
    pub fn miss(&mut self, ino: Ino, now: Instant) {
        if self.lately.iter().any(|(gone, at)| *gone == ino && now < *at + HELD) {
            self.missed = Some(now);
        }
    }

    /// Whether to hold what is replaced now.
    pub fn is_missed(&self, now: Instant) -> bool {
        self.missed.is_some_and(|at| now < at + HELD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_misses_what_was_just_replaced_has_the_next_ones_held() {
        let (mut replaced, begin) = (Replaced::default(), Instant::now());
        let after = |ms| begin + Duration::from_millis(ms);
        replaced.miss(Ino(7), begin);
        assert!(!replaced.is_missed(begin), "it was unlinked, or never there");
        replaced.note(Ino(7), begin);
        replaced.miss(Ino(8), after(1));
        replaced.miss(Ino(7), after(1000));
        assert!(!replaced.is_missed(after(1000)), "too late for who had just looked it up");
        replaced.miss(Ino(7), after(999));
        assert!(replaced.is_missed(after(1998)) && !replaced.is_missed(after(1999)));
        (100..200).for_each(|n| replaced.note(Ino(n), after(2000)));
        assert_eq!(replaced.lately.len(), REMEMBERED);
    }
}
