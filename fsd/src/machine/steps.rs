//! For the simulation: every state that an agreed entry leads to is checked against the namespace's invariants, by the first
//! server of this process that comes to it.

use crate::namespace::{Namespace, invariants};
use parking_lot::Mutex;
use raidfs_common::id::{LogIndex, Term};

/// Of this process: nothing, until `begin`.
static STEPS: Steps = Steps { done: Mutex::new(None), found: Mutex::new(Vec::new()) };
/// What is wrong once stays so: more of it says nothing.
const FOUND_MAX: usize = 10;

struct Steps {
    /// Up to this entry it is done. An index has another entry once power has taken what was agreed, of a later term.
    done: Mutex<Option<(Term, LogIndex)>>,
    found: Mutex<Vec<String>>,
}

impl Steps {
    fn check(&self, names: &Namespace, term: Term, index: LogIndex) {
        match &mut *self.done.lock() {
            Some(done) if *done < (term, index) => *done = (term, index),
            _ => return,
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
    *STEPS.done.lock() = Some((Term(0), LogIndex(0)));
}

/// Up to which entry states were checked (0: none was), and what was wrong with them.
pub fn found() -> (LogIndex, Vec<String>) {
    let done = STEPS.done.lock().map_or(LogIndex(0), |(_, index)| index);
    (done, STEPS.found.lock().clone())
}

pub(super) fn check(names: &Namespace, term: Term, index: LogIndex) {
    STEPS.check(names, term, index);
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
        let steps = Steps { done: Mutex::new(Some((Term(0), LogIndex(0)))), found: Mutex::default() };
        let store = MemoryStore::default();
        Namespace::format(&store, &[[ServerId(1), ServerId(2)]]).unwrap();
        let open = || Namespace::open(Arc::new(store.clone()), 1 << 20).unwrap().expect("it is formatted");
        steps.check(&open(), Term(2), LogIndex(2));
        assert_eq!(*steps.found.lock(), [""; 0]);
        store.write(Batch { rows: vec![(Key::Inode(Ino::ROOT).encode(), None)] }).unwrap();
        for seen in [(Term(2), LogIndex(2)), (Term(1), LogIndex(3))] {
            steps.check(&open(), seen.0, seen.1);
            assert_eq!(*steps.found.lock(), [""; 0], "it was looked at");
        }
        // What is agreed anew in the place of what power has taken.
        steps.check(&open(), Term(3), LogIndex(1));
        let found = steps.found.lock();
        assert!(found.iter().all(|what| what.starts_with("after entry 1: ")) && !found.is_empty(), "{found:?}");
    }
}
