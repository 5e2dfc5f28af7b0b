//! Request numbers: each used once, and the watermark below which every outcome is known. Pure.

use std::collections::BTreeSet;

/// The numbers of one session (or of one part of it that never meets the others on a server).
#[derive(Debug)]
pub struct Numbers {
    next: u64,
    open: BTreeSet<u64>,
}

impl Default for Numbers {
    fn default() -> Self {
        Numbers { next: 1, open: BTreeSet::new() }
    }
}

impl Numbers {
    /// Takes `count` numbers in a row and returns the first.
    pub fn take(&mut self, count: u64) -> u64 {
        let first = self.next;
        self.next += count;
        self.open.extend(first..self.next);
        first
    }

    /// The outcome of `number` is known, or nobody waits for it any more.
    pub fn done(&mut self, number: u64) {
        self.open.remove(&number);
    }

    /// Every number below this one is done.
    pub fn done_below(&self) -> u64 {
        self.open.first().copied().unwrap_or(self.next)
    }

    /// How many numbers servers have to remember at the moment.
    pub fn span(&self) -> u64 {
        self.next - self.done_below()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watermark_waits_for_the_oldest() {
        let mut numbers = Numbers::default();
        assert_eq!((numbers.take(3), numbers.take(1)), (1, 4));
        assert_eq!(numbers.done_below(), 1);
        numbers.done(2);
        numbers.done(4);
        assert_eq!((numbers.done_below(), numbers.span()), (1, 4));
        numbers.done(1);
        assert_eq!(numbers.done_below(), 3);
        numbers.done(3);
        assert_eq!((numbers.done_below(), numbers.span(), numbers.take(1)), (5, 0, 5));
    }
}
