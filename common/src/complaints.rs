//! What strangers do wrong is logged, and not once for each try: they may try as often as they like.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The same is said once in so long.
const EVERY: Duration = Duration::from_secs(60);
/// What has not failed for so long is over.
const OVER_AFTER: Duration = Duration::from_secs(10);
/// So many different things are said in that time; others are not, until some of these are over.
const KINDS_MAX: usize = 256;

/// What was said, and when. `K` is about whom, and what if that matters.
#[derive(Debug)]
pub struct Complaints<K> {
    last: BTreeMap<K, Instant>,
}

impl<K: Ord> Complaints<K> {
    /// Nothing was said.
    pub const fn new() -> Complaints<K> {
        Complaints { last: BTreeMap::new() }
    }

    /// Whether this is to be said `now`: it counts as said then.
    pub fn due(&mut self, about: K, now: Instant) -> bool {
        self.last.retain(|_, at| now.duration_since(*at) < EVERY);
        if self.last.len() >= KINDS_MAX || self.last.contains_key(&about) {
            return false;
        }
        self.last.insert(about, now);
        true
    }
}

/// Something that fails again and again: said when it begins, and once it is over, with how often it was.
#[derive(Debug, Default)]
pub struct Outage {
    failures: u64,
    last: Option<Instant>,
}

impl Outage {
    /// Once more; whether that is to be said.
    pub fn failed(&mut self, now: Instant) -> bool {
        let goes_on = self.last.is_some_and(|last| now.duration_since(last) < OVER_AFTER);
        self.failures = if goes_on { self.failures + 1 } else { 1 };
        self.last = Some(now);
        !goes_on
    }

    /// It worked, `now`; if that is to be said, how often it had failed. What works only now and then is not over yet.
    pub fn worked(&mut self, now: Instant) -> Option<u64> {
        self.last.take_if(|last| now.duration_since(*last) >= OVER_AFTER)?;
        Some(std::mem::take(&mut self.failures))
    }
}

impl<K: Ord> Default for Complaints<K> {
    fn default() -> Complaints<K> {
        Complaints::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_again_and_again_is_said_once_and_once_it_is_over() {
        let (mut outage, begun) = (Outage::default(), Instant::now());
        let at = |millis| begun + Duration::from_millis(millis);
        assert_eq!(outage.worked(at(0)), None, "nothing has failed");
        let said: Vec<bool> = [0, 200, 400].map(|millis| outage.failed(at(millis))).to_vec();
        assert_eq!(said, [true, false, false]);
        assert_eq!(outage.worked(at(500)), None, "one that got through");
        assert!(!outage.failed(at(600)));
        let over = begun + Duration::from_millis(600) + OVER_AFTER;
        assert_eq!(outage.worked(over), Some(4));
        assert_eq!(outage.worked(over), None, "that was said");
        assert!(outage.failed(over), "another one");
        assert!(outage.failed(over + OVER_AFTER), "and one more, though nothing has worked in between");
    }

    #[test]
    fn the_same_is_said_once_a_minute_and_not_everything_by_everybody() {
        let mut complaints = Complaints::new();
        let begun = Instant::now();
        assert!(complaints.due(0, begun) && complaints.due(1, begun));
        assert!(!complaints.due(0, begun + EVERY / 2));
        assert!(complaints.due(0, begun + EVERY) && !complaints.due(0, begun + EVERY));
        let said = (2..1000).filter(|n| complaints.due(*n, begun + EVERY)).count();
        assert_eq!(said, KINDS_MAX - 1);
    }
}
