//! What this server did since its start, for `raidfs status`. Only counts.

use raidfs_common::rpc::admin::Counters;
use std::sync::atomic::{AtomicU64, Ordering};

/// The counters, each raised where the thing happens.
#[derive(Debug, Default)]
pub struct Tally {
    pub reads: AtomicU64,
    pub read_bytes: AtomicU64,
    pub primary_changes: AtomicU64,
    pub mirror_changes: AtomicU64,
    /// Of these, those that came over the direct connection and were made by its thread.
    pub direct_changes: AtomicU64,
    pub written_bytes: AtomicU64,
    pub copied_bytes: AtomicU64,
    pub syncs: AtomicU64,
    pub damaged_blocks: AtomicU64,
    pub resynced_chunks: AtomicU64,
}

/// Raises a counter.
pub fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

impl Tally {
    /// Requests of those who use the store, so far.
    pub fn uses(&self) -> u64 {
        let counters = [&self.reads, &self.primary_changes, &self.mirror_changes, &self.syncs];
        counters.into_iter().map(|counter| counter.load(Ordering::Relaxed)).sum()
    }

    /// The counters now; those of names are not counted here.
    pub fn counters(&self) -> Counters {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counters {
            reads: get(&self.reads),
            read_bytes: get(&self.read_bytes),
            primary_changes: get(&self.primary_changes),
            mirror_changes: get(&self.mirror_changes),
            written_bytes: get(&self.written_bytes),
            copied_bytes: get(&self.copied_bytes),
            syncs: get(&self.syncs),
            damaged_blocks: get(&self.damaged_blocks),
            resynced_chunks: get(&self.resynced_chunks),
            ..Counters::default()
        }
    }
}
