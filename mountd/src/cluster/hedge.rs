//! How often a late request may be asked of a second server: at most one in twenty, with a few in hand; and when asking
//! another is no hedge, because the first is as good as lost. Pure.

use std::time::{Duration, Instant};

/// Whether a server whose answer to a question of `asked` is late is silent altogether: it has said nothing to anybody since,
/// or for `quiet`, though it had answered somebody after it was asked.
pub fn is_silent(asked: Instant, heard: Instant, quiet: Duration, now: Instant) -> bool {
    heard < asked || now.saturating_duration_since(heard) >= quiet
}

/// One second request costs this many first ones.
const ONE_IN: u32 = 20;
/// Second requests in hand at most, so that a sudden slowness of one server does not wait for credit.
const IN_HAND_MAX: u32 = 16;

/// The credit for second requests.
#[derive(Debug)]
pub struct HedgeBudget {
    credit: u32,
}

impl Default for HedgeBudget {
    fn default() -> Self {
        HedgeBudget { credit: ONE_IN * 2 }
    }
}

impl HedgeBudget {
    /// A request was sent.
    pub fn earn(&mut self) {
        self.credit = (self.credit + 1).min(ONE_IN * IN_HAND_MAX);
    }

    /// Takes the credit for a second request; false: there is none.
    pub fn spend(&mut self) -> bool {
        let enough = self.credit >= ONE_IN;
        if enough {
            self.credit -= ONE_IN;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_one_in_twenty_in_the_long_run() {
        let mut budget = HedgeBudget::default();
        let mut hedged = 0;
        for _ in 0..10_000 {
            budget.earn();
            hedged += u32::from(budget.spend());
        }
        assert!((495..=502).contains(&hedged), "{hedged}");
    }

    #[test]
    fn who_stops_right_after_a_word_is_silent_too() {
        let (asked, quiet) = (Instant::now(), Duration::from_millis(60));
        let after = |ms| asked + Duration::from_millis(ms);
        assert!(
            is_silent(asked, asked - Duration::from_millis(1), quiet, after(20)),
            "it has said nothing since it was asked"
        );
        assert!(!is_silent(asked, after(3), quiet, after(20)), "it has answered others");
        assert!(is_silent(asked, after(3), quiet, after(63)), "and then nobody");
    }

    #[test]
    fn credit_does_not_pile_up_without_end() {
        let mut budget = HedgeBudget::default();
        (0..1_000_000).for_each(|_| budget.earn());
        assert_eq!((0..1000).filter(|_| budget.spend()).count() as u32, IN_HAND_MAX);
    }
}
