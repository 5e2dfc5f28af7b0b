//! The namespace as a whole: order of entries, flushing, restarts.

use super::rows::Key;
use super::store::Store;
use super::testing::*;
use super::{Fault, Namespace};
use crate::namespace::store_memory::MemoryStore;
use raidfs_common::id::{Ino, LogIndex, ServerId, Term};
use raidfs_common::namespace::Command;
use std::sync::Arc;

#[test]
fn an_empty_store_has_no_namespace_and_a_formatted_one_the_same_everywhere() {
    let store = MemoryStore::default();
    assert!(Namespace::open(Arc::new(store.clone()), 0).unwrap().is_none());
    let servers = [[ServerId(1), ServerId(2)]];
    Namespace::format(&store, &servers).unwrap();
    let first = Namespace::open(Arc::new(store), 0).unwrap().unwrap();
    let store = MemoryStore::default();
    Namespace::format(&store, &servers).unwrap();
    let second = Namespace::open(Arc::new(store), 0).unwrap().unwrap();
    assert_eq!(first.digest().unwrap(), second.digest().unwrap());
    assert_eq!(first.applied(), (LogIndex(0), Term(0)));
    assert_eq!(super::invariants::check(first.rows()).unwrap(), [""; 0]);
}

#[test]
fn entries_are_applied_in_order() {
    let mut f = Fixture::new();
    let applied = f.index();
    for wrong in [applied, LogIndex(applied.0 + 2)] {
        assert!(matches!(f.namespace.apply(wrong, Term(4), &Command::Noop), Err(Fault::OutOfOrder { .. })));
    }
    f.namespace.apply(applied.next(), Term(4), &Command::Noop).unwrap();
    assert_eq!(f.namespace.applied(), (applied.next(), Term(4)));
}

#[test]
fn what_was_not_flushed_is_applied_again() {
    let mut f = Fixture::new();
    f.file(1, "flushed");
    f.flush();
    let index = f.index();
    f.file(1, "lost");
    let mut f = f.killed();
    assert_eq!(f.index(), index);
    assert_eq!(f.names(1), ["flushed"]);
    f.next_ino -= 1;
    f.file(1, "lost");
    f.check();
}

#[test]
fn changes_go_on_while_a_flush_is_written() {
    let mut f = Fixture::new();
    let dir = f.dir(1, "dir");
    for n in 0..50 {
        f.file(dir.0, &n.to_string());
    }
    f.flush();
    f.file(dir.0, "in the batch");
    f.ok(unlink(dir.0, "7"));
    let batch = f.namespace.begin_flush().unwrap().unwrap();
    let at_batch = batch.applied();
    let names_then = f.names(dir.0);
    f.file(dir.0, "after");
    f.ok(unlink(dir.0, "in the batch"));
    f.file(dir.0, "7");
    f.ok(unlink(dir.0, "8"));
    let now = f.names(dir.0);
    assert!(now.contains(&"after".into()) && now.contains(&"7".into()) && !now.contains(&"8".into()));
    f.check();
    batch.write().unwrap();
    assert_eq!(f.names(dir.0), now);
    f.namespace.end_flush(&batch);
    assert_eq!(f.names(dir.0), now);
    f.check();
    let digest = f.namespace.digest().unwrap();
    let as_flushed = Fixture::reopened(store_copy(&f));
    assert_eq!(as_flushed.namespace.applied(), (at_batch.index, at_batch.term));
    assert_eq!(as_flushed.names(dir.0), names_then);
    as_flushed.check();
    f.flush();
    assert_eq!(f.stored_digest(), digest);
    assert_eq!(f.killed().names(dir.0), now);
}

fn store_copy(f: &Fixture) -> MemoryStore {
    let copy = MemoryStore::default();
    let rows = f.store.view().scan(&[], &[0xff]).map(|row| row.unwrap()).map(|(k, v)| (k, Some(v))).collect();
    copy.write(super::store::Batch { rows }).unwrap();
    copy
}

#[test]
fn what_came_and_went_between_flushes_is_never_written() {
    let mut f = Fixture::new();
    f.flush();
    let before = f.namespace.unflushed_rows();
    for _ in 0..100 {
        f.file(1, "short-lived");
        f.ok(unlink(1, "short-lived"));
    }
    let ino = Ino(f.next_ino - 1);
    f.namespace.forget_doom(ino, f.index());
    let batch = f.namespace.begin_flush().unwrap().unwrap();
    let kept = 2 + 200 + 99;
    let singles = 4;
    assert!(batch.len() - before <= kept + singles, "outcomes, other dooms, and single rows: {}", batch.len());
    batch.write().unwrap();
    f.namespace.end_flush(&batch);
    assert_eq!(f.store.view().get(&Key::Inode(ino).encode()).unwrap(), None);
}

#[test]
fn a_damaged_row_is_a_fault_and_stops_the_namespace() {
    let mut f = Fixture::new();
    let dir = f.dir(1, "dir");
    f.flush();
    let bad = vec![(Key::Inode(dir).encode(), Some(vec![1, 2, 3]))];
    f.store.write(super::store::Batch { rows: bad }).unwrap();
    let mut f = f.killed();
    let change = f.make(dir.0, "x", raidfs_common::attr::FileKind::File);
    let request = f.request(change);
    let command = Command::Batch(vec![request]);
    let index = f.index().next();
    assert!(matches!(f.namespace.apply(index, Term(3), &command), Err(Fault::Damaged { .. })));
    assert!(matches!(f.namespace.apply(index, Term(3), &Command::Noop), Err(Fault::Stopped)));
    assert!(f.namespace.begin_flush().is_err());
}
