//! The machine by itself: what it has on disk, and when.

use super::*;
use crate::namespace::rows::{Key, Row};
use crate::namespace::store::Batch;
use raidfs_common::config::Durability;
use raidfs_common::id::{Incarnation, PairId, ServerId};
use std::sync::atomic::AtomicBool;

fn config() -> Config {
    let at = |port| std::net::SocketAddr::from(([127, 0, 0, 1], port));
    Config {
        cluster: "machine".into(),
        pairs: vec![[at(1), at(2)], [at(3), at(4)]],
        witness: at(5),
        durability: Durability::Relaxed,
        io_timeout: Duration::from_secs(1),
        scrub_every: None,
    }
}

fn machine(dir: &std::path::Path) -> Arc<NamesMachine> {
    machine_with(dir, Box::new(|| Ok(())))
}

fn machine_with(dir: &std::path::Path, before_replacing: BeforeReplacing) -> Arc<NamesMachine> {
    let mut stores = Stores::open(dir).expect("a directory");
    let (names, new) = stores.namespace(&config(), 1 << 20).expect("a namespace");
    assert!(new);
    let (board, _) = Board::new(ServerId(1), Incarnation(1));
    NamesMachine::new(names, board, stores, 1 << 20, before_replacing)
}

fn noop(index: u64) -> LogEntry {
    LogEntry { term: Term(1), index: LogIndex(index), synced: false, data: Bytes::new() }
}

#[test]
fn the_store_is_never_ahead_of_the_log_on_disk() {
    let dir = tempfile::tempdir().expect("a directory");
    let machine = machine(dir.path());
    (1..=9).for_each(|index| drop(machine.apply(&noop(index))));
    assert!(machine.flushed_view().is_err(), "nobody has said how the log gets to disk");
    let (log, seen) = (Arc::new(AtomicU64::new(0)), Arc::downgrade(&machine));
    let synced = log.clone();
    machine.sync_log_by(Box::new(move |index| {
        let machine = seen.upgrade().expect("it is asking");
        let stored =
            snapshot::applied(machine.with(|names| names.store().view()).as_ref()).map_err(io::Error::other)?;
        assert!(stored.index.0 <= synced.load(Ordering::Acquire), "{:?} is in the store already", stored.index);
        if index.0 > 20 {
            return Err(io::Error::other("the disk hangs"));
        }
        synced.fetch_max(index.0, Ordering::AcqRel);
        // More is applied while the log is synced.
        (machine.applied().0.0 < 12).then(|| machine.apply(&noop(machine.applied().0.0 + 1)));
        Ok(())
    }));
    let view = machine.flushed_view().expect("it is written");
    let stored = snapshot::applied(view.as_ref()).expect("it is whole").index.0;
    assert!(stored >= 9 && stored <= log.load(Ordering::Acquire), "{stored}");
    let next = machine.applied().0.0 + 1;
    (next..=21).for_each(|index| drop(machine.apply(&noop(index))));
    assert!(machine.snapshot().is_err(), "without the log on disk there is no snapshot");
    assert!(machine.watch_fatal().borrow().is_none(), "and nothing is lost by it");
    let stored = snapshot::applied(machine.with(|names| names.store().view()).as_ref()).expect("it is whole");
    assert!(stored.index.0 <= log.load(Ordering::Acquire));
}

#[test]
fn before_the_state_is_replaced_every_chunk_counts_as_changed() {
    let dirs = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
    let source = machine(dirs[0].path());
    source.sync_log_by(Box::new(|_| Ok(())));
    (1..=9).for_each(|index| drop(source.apply(&noop(index))));
    let (index, term, pieces) = source.snapshot().expect("it is made");
    let pieces: Vec<Bytes> = pieces.collect::<io::Result<_>>().expect("it is read");
    let (disk_is_well, noted) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (well, notes) = (disk_is_well.clone(), noted.clone());
    let note_everything = move || {
        notes.fetch_add(1, Ordering::Relaxed);
        if well.load(Ordering::Relaxed) { Ok(()) } else { Err(io::Error::other("the disk failed")) }
    };
    let target = machine_with(dirs[1].path(), Box::new(note_everything));
    let install = || {
        let numbered = (0..).zip(&pieces);
        let piece = |(number, data): (u64, &Bytes)| {
            let (from, last, data) = (ServerId(2), number as usize + 1 == pieces.len(), data.clone().into());
            SnapshotPiece { from, term, index, entry_term: term, number, last, data }
        };
        let mut taken = numbered.map(|numbered| target.install(piece(numbered)));
        taken.find(io::Result::is_err).unwrap_or(Ok(()))
    };
    assert!(install().is_err(), "cuts in between would be missed");
    assert_eq!(target.applied().0, LogIndex(0));
    disk_is_well.store(true, Ordering::Relaxed);
    install().expect("it is taken");
    assert_eq!((target.applied().0, noted.load(Ordering::Relaxed)), (LogIndex(9), 2));
}

#[test]
fn a_mark_of_what_was_lost_that_cannot_be_read_ends_this_life() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut stores = Stores::open(dir.path()).expect("a directory");
    let (names, _) = stores.namespace(&config(), 1 << 20).expect("a namespace");
    let good = Row::Lost(vec![(PairId(0), 5)]).encode();
    let rows = vec![(Key::Lost(Ino(6)).encode(), Some(good)), (Key::Lost(Ino(7)).encode(), Some(vec![0]))];
    names.store().write(Batch { rows }).expect("it is written");
    drop(names);
    let (names, _) = stores.namespace(&config(), 1 << 20).expect("opening does not look there");
    let (board, _) = Board::new(ServerId(1), Incarnation(1));
    let machine = NamesMachine::new(names, board, stores, 1 << 20, Box::new(|| Ok(())));
    assert!(machine.watch_fatal().borrow().is_none());
    assert!(machine.lost(None, 9).is_err());
    let broken = machine.watch_fatal().borrow().clone().expect("it says so");
    assert!(broken.reason.contains("cannot read names") && !broken.unkept, "{broken:?}");
}

#[test]
fn names_that_found_no_room_are_in_the_log_and_put_nothing_in_doubt() {
    for (code, unkept) in [(libc::ENOSPC, false), (libc::EIO, true)] {
        let dir = tempfile::tempdir().expect("a directory");
        let machine = machine(dir.path());
        machine.fail_to_write(&Fault::store("write", io::Error::from_raw_os_error(code)));
        let broken = machine.watch_fatal().borrow().clone().expect("it says so");
        assert_eq!(broken.unkept, unkept, "{broken:?}");
    }
    let dir = tempfile::tempdir().expect("a directory");
    let machine = machine(dir.path());
    machine.fail_to_write(&Fault::store("write", io::Error::from_raw_os_error(libc::ENOSPC)));
    machine.fail_to_sync(&Fault::store("sync", io::Error::from_raw_os_error(libc::ENOSPC)));
    assert!(machine.watch_fatal().borrow().clone().expect("it says so").unkept, "what was promised room");
}

#[test]
fn a_shortage_is_told_from_names_that_cannot_be_used() {
    for (code, passing) in [(libc::EMFILE, true), (libc::ENOMEM, true), (libc::EIO, false)] {
        let dir = tempfile::tempdir().expect("a directory");
        let machine = machine(dir.path());
        machine.cannot_read(&Fault::store("read", io::Error::from_raw_os_error(code)));
        let broken = machine.watch_fatal().borrow().clone().expect("it says so");
        assert_eq!((broken.passing, broken.unkept), (passing, false), "{broken:?}");
    }
}
