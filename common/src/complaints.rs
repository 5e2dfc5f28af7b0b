//! What strangers do wrong is logged, and not once for each try: they may try as often as they like.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The same is said once in so long.
const EVERY: Duration = Duration::from_secs(60);
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

impl<K: Ord> Default for Complaints<K> {
    fn default() -> Complaints<K> {
        Complaints::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
