//! What the names side has served since its start.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of the names side; the chunk side keeps its own.
#[derive(Debug, Default)]
pub struct Tally {
    queries: AtomicU64,
    changes: AtomicU64,
}

impl Tally {
    /// A question was asked.
    pub fn query(&self) {
        self.queries.fetch_add(1, Ordering::Relaxed);
    }

    /// Changes were asked for.
    pub fn changes(&self, count: u64) {
        self.changes.fetch_add(count, Ordering::Relaxed);
    }

    /// Questions and changes so far.
    pub fn so_far(&self) -> (u64, u64) {
        (self.queries.load(Ordering::Relaxed), self.changes.load(Ordering::Relaxed))
    }
}
