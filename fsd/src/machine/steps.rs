//! For the simulation: every state that an agreed entry leads to is checked against the namespace's invariants, by the first
//! server of this process that comes to it.

use crate::namespace::{Namespace, invariants};
use parking_lot::Mutex;
use raidfs_common::id::LogIndex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Of this process: nothing, until `begin`.
static STEPS: Steps = Steps { done: AtomicU64::new(u64::MAX), found: Mutex::new(Vec::new()) };
/// What is wrong once stays so: more of it says nothing.
const FOUND_MAX: usize = 10;

struct Steps {
    /// Up to here it is done.
    done: AtomicU64,
    found: Mutex<Vec<String>>,
}

impl Steps {
    fn check(&self, names: &Namespace, index: LogIndex) {
        if self.done.fetch_max(index.0, Ordering::Relaxed) >= index.0 {
            return;
        }
        // What a disk does not give is its server's matter.
        let broken = invariants::check(names.rows()).unwrap_or_default();
        let mut found = self.found.lock();
        for what in broken.into_iter().take(FOUND_MAX.saturating_sub(found.len())) {
            found.push(format!("after entry {index}: {what}"));
        }
    }
}

/// From now on the states of this process are checked.
pub fn begin() {
    STEPS.done.store(0, Ordering::Relaxed);
}

/// Up to which entry states were checked, and what was wrong with them.
pub fn found() -> (u64, Vec<String>) {
    (STEPS.done.load(Ordering::Relaxed), STEPS.found.lock().clone())
}

pub(super) fn check(names: &Namespace, index: LogIndex) {
    STEPS.check(names, index);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespace::rows::Key;
    use crate::namespace::store::{Batch, Store};
    use crate::namespace::store_memory::MemoryStore;
    use raidfs_common::id::{Ino, ServerId};
    use std::sync::Arc;

    #[test]
    fn a_state_that_may_not_be_is_found_once() {
        let steps = Steps { done: AtomicU64::new(0), found: Mutex::default() };
        let store = MemoryStore::default();
        Namespace::format(&store, &[[ServerId(1), ServerId(2)]]).unwrap();
        let open = || Namespace::open(Arc::new(store.clone()), 1 << 20).unwrap().expect("it is formatted");
        steps.check(&open(), LogIndex(1));
        assert_eq!(*steps.found.lock(), [""; 0]);
        store.write(Batch { rows: vec![(Key::Inode(Ino::ROOT).encode(), None)] }).unwrap();
        steps.check(&open(), LogIndex(1));
        assert_eq!(*steps.found.lock(), [""; 0], "it was looked at");
        steps.check(&open(), LogIndex(2));
        let found = steps.found.lock();
        assert!(found.iter().all(|what| what.starts_with("after entry 2: ")) && !found.is_empty(), "{found:?}");
    }
}
