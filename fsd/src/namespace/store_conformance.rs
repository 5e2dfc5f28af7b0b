//! One test suite for every store.

use super::fault::Fault;
use super::store::{Batch, KEYS_END, Reader, Store, prefix_end};
use super::store_disk::{DiskOptions, DiskStore};
use super::store_memory::MemoryStore;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A small cache and small tables, so that rows get to disk in a test.
const SMALL: DiskOptions = DiskOptions { cache_bytes: 1 << 20, memtable_bytes: 1 << 20 };

fn batch(rows: &[(&str, Option<&str>)]) -> Batch {
    let bytes = |text: &str| text.as_bytes().to_vec();
    Batch { rows: rows.iter().map(|(key, value)| (bytes(key), value.map(bytes))).collect() }
}

fn all(rows: &dyn Reader, from: &str, to: &str) -> Vec<String> {
    let rows = rows.scan(from.as_bytes(), to.as_bytes());
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    rows.map(|row| row.unwrap()).map(|(key, value)| format!("{}={}", text(key), text(value))).collect()
}

fn rows_are_kept_in_order(store: &dyn Store) {
    assert!(store.scan(&[], KEYS_END).next().is_none());
    assert_eq!(store.get(b"a").unwrap(), None);
    store.write(batch(&[("b", Some("2")), ("a", Some("1")), ("c", Some("3")), ("ba", Some("4"))])).unwrap();
    assert_eq!(store.get(b"b").unwrap().unwrap(), b"2");
    assert_eq!(all(store, "", "z"), ["a=1", "b=2", "ba=4", "c=3"]);
    assert_eq!(all(store, "b", "c"), ["b=2", "ba=4"]);
    assert_eq!(all(store, "b0", "b0"), [""; 0]);
    assert_eq!(all(store, "c", "b"), [""; 0]);
    store.write(batch(&[("b", None), ("a", Some("")), ("none", None)])).unwrap();
    assert_eq!(all(store, "", "z"), ["a=", "ba=4", "c=3"]);
    assert_eq!(store.get(b"a").unwrap().unwrap(), b"");
    store.write(Batch::default()).unwrap();
    store.sync().unwrap();
}

fn a_view_does_not_change(store: &dyn Store) {
    store.write(batch(&[("v1", Some("old")), ("v2", Some("old"))])).unwrap();
    let view = store.view();
    let mut scan = view.scan(b"v", b"w");
    assert_eq!(scan.next().unwrap().unwrap().0, b"v1");
    store.write(batch(&[("v1", None), ("v2", Some("new")), ("v3", Some("new"))])).unwrap();
    assert_eq!(scan.next().unwrap().unwrap(), (b"v2".to_vec(), b"old".to_vec()));
    assert!(scan.next().is_none());
    drop(scan);
    assert_eq!(all(view.as_ref(), "v", "w"), ["v1=old", "v2=old"]);
    assert_eq!(view.get(b"v3").unwrap(), None);
    assert_eq!(all(store, "v", "w"), ["v2=new", "v3=new"]);
}

fn many_rows_and_large_ones(store: &dyn Store) {
    let value = |n: u32| vec![(n % 251) as u8; (n % 300) as usize];
    for from in (0..20_000u32).step_by(1000) {
        let rows = (from..from + 1000).map(|n| (format!("many{n:08}").into_bytes(), Some(value(n)))).collect();
        store.write(Batch { rows }).unwrap();
    }
    store.write(Batch { rows: vec![(b"large".to_vec(), Some(vec![9; 70_000]))] }).unwrap();
    assert_eq!(store.get(b"large").unwrap().unwrap().len(), 70_000);
    let mut expected = 0;
    for row in store.scan(b"many", &prefix_end(b"many")) {
        let (key, bytes) = row.unwrap();
        assert_eq!((key, bytes), (format!("many{expected:08}").into_bytes(), value(expected)));
        expected += 1;
    }
    assert_eq!(expected, 20_000);
    assert!(store.disk_bytes() > 0);
}

fn suite(make: &dyn Fn() -> Box<dyn Store>) {
    rows_are_kept_in_order(make().as_ref());
    a_view_does_not_change(make().as_ref());
    many_rows_and_large_ones(make().as_ref());
}

#[test]
fn the_memory_store_keeps_the_contract() {
    suite(&|| Box::new(MemoryStore::default()));
}

#[test]
fn the_disk_store_keeps_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    let count = std::cell::Cell::new(0);
    suite(&|| {
        count.set(count.get() + 1);
        Box::new(DiskStore::open(&directory.path().join(count.get().to_string()), SMALL).unwrap())
    });
}

#[test]
fn a_disk_store_is_found_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("names");
    let store = DiskStore::open(&path, SMALL).unwrap();
    many_rows_and_large_ones(&store);
    let again = DiskStore::open(&path, SMALL);
    assert!(again.is_err_and(|fault| fault.says_nothing_about_rows()), "it is open already");
    drop(store);
    let store = DiskStore::open(&path, SMALL).unwrap();
    assert_eq!(store.scan(b"", KEYS_END).count(), 20_001);
    drop(store);
    DiskStore::wipe(&path).unwrap();
    DiskStore::wipe(&path).unwrap();
    let store = DiskStore::open(&path, SMALL).unwrap();
    assert_eq!(store.scan(b"", KEYS_END).count(), 0);
}

/// Files of a store, the largest first.
fn files(path: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![path.to_path_buf()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() { open.push(entry.path()) } else { found.push(entry.path()) }
        }
    }
    found.sort_by_key(|path| std::cmp::Reverse(std::fs::metadata(path).unwrap().len()));
    found
}

#[test]
fn damage_on_disk_is_an_error_and_never_other_rows() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sound");
    let store = DiskStore::open(&path, SMALL).unwrap();
    many_rows_and_large_ones(&store);
    let expected: BTreeMap<_, _> = store.scan(b"", KEYS_END).map(Result::unwrap).collect();
    drop(store);
    let mut seen = 0;
    for (number, file) in files(&path).iter().take(4).enumerate() {
        let copy = directory.path().join(format!("copy{number}"));
        copy_tree(&path, &copy);
        let file = copy.join(file.strip_prefix(&path).unwrap());
        let mut bytes = std::fs::read(&file).unwrap();
        let middle = bytes.len() / 3;
        let end = (middle + 64).min(bytes.len());
        bytes[middle..end].iter_mut().for_each(|byte| *byte ^= 0x55);
        std::fs::write(&file, bytes).unwrap();
        let Ok(store) = DiskStore::open(&copy, SMALL) else {
            seen += 1;
            continue;
        };
        let rows: Result<BTreeMap<_, _>, _> = store.scan(b"", KEYS_END).collect();
        match rows {
            Err(_) => seen += 1,
            // A journal that is torn is cut back: rows may be missing at its end, but none may be others.
            Ok(rows) => assert!(rows.iter().all(|(key, value)| expected.get(key) == Some(value)), "{file:?}"),
        }
    }
    assert!(seen > 0, "some damage was met");
}

fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn both_stores_do_alike(
        batches in proptest::collection::vec(
            proptest::collection::btree_map("[ab]{1,3}", proptest::option::of("[xy]{0,3}"), 0..6),
            1..12,
        ),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let (memory, mut disk) = (MemoryStore::default(), DiskStore::open(directory.path(), SMALL).unwrap());
        for (number, rows) in batches.iter().enumerate() {
            let rows: Vec<_> = rows.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect();
            memory.write(batch(&rows)).unwrap();
            disk.write(batch(&rows)).unwrap();
            if number % 4 == 3 {
                drop(disk);
                disk = DiskStore::open(directory.path(), SMALL).unwrap();
            }
            prop_assert_eq!(all(&memory, "", "z"), all(&disk, "", "z"));
            prop_assert_eq!(all(&memory, "ab", "ba"), all(&disk, "ab", "ba"));
        }
    }
}

/// The state after so many batches of the tests below: each sets `last`, and one row of its own.
fn whole_prefix(store: &dyn Store) -> usize {
    let last = store.get(b"last").unwrap().map_or(0, |value| u16::from_be_bytes(value.try_into().unwrap()).into());
    let rows = store.scan(b"row", b"rox").map(|row| row.unwrap().0);
    let expected = (1..=last).map(|n| format!("row{n:05}").into_bytes());
    assert!(rows.eq(expected), "after {last} batches, the rows of exactly these");
    last
}

fn write_batches(store: &dyn Store, numbers: std::ops::RangeInclusive<u16>) {
    for n in numbers {
        let rows = vec![
            (b"last".to_vec(), Some(n.to_be_bytes().to_vec())),
            (format!("row{n:05}").into_bytes(), Some(vec![n as u8; 100])),
        ];
        store.write(Batch { rows }).unwrap();
    }
}

#[test]
fn what_was_written_survives_the_process() {
    let directory = tempfile::tempdir().unwrap();
    let (path, copy) = (directory.path().join("live"), directory.path().join("copy"));
    let store = DiskStore::open(&path, SMALL).unwrap();
    write_batches(&store, 1..=300);
    // The files as they are while the process runs are what kill -9 leaves.
    copy_tree(&path, &copy);
    assert_eq!(whole_prefix(&DiskStore::open(&copy, SMALL).unwrap()), 300);
    assert_eq!(whole_prefix(&store), 300);
}

/// The journal of the store in `path`, from there, and how much of it is written: fjall makes it longer ahead of time.
fn journal_of(path: &Path) -> (PathBuf, Vec<u8>, usize) {
    let journal = files(path).into_iter().find(|file| file.extension().is_some_and(|end| end == "jnl"));
    let journal = journal.expect("fjall keeps a journal");
    let bytes = std::fs::read(&journal).unwrap();
    let written = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    (journal.strip_prefix(path).unwrap().to_path_buf(), bytes, written)
}

/// Opens a copy of the store in `path` that has these bytes for its journal; the copy is gone with the directory.
fn opened_with(path: &Path, journal: &Path, bytes: &[u8]) -> (tempfile::TempDir, Result<DiskStore, Fault>) {
    let directory = tempfile::tempdir().unwrap();
    let copy = directory.path().join("copy");
    copy_tree(path, &copy);
    std::fs::write(copy.join(journal), bytes).unwrap();
    let opened = DiskStore::open(&copy, SMALL);
    (directory, opened)
}

#[test]
fn a_torn_end_leaves_whole_batches() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("live");
    let store = DiskStore::open(&path, SMALL).unwrap();
    write_batches(&store, 1..=40);
    let (journal, bytes, written) = journal_of(&path);
    let mut seen = std::collections::BTreeSet::new();
    for cut in (0..written).step_by(97) {
        let (_copy, opened) = opened_with(&path, &journal, &bytes[..cut]);
        if let Ok(store) = opened {
            seen.insert(whole_prefix(&store));
        }
    }
    assert!(seen.len() > 20 && !seen.contains(&40), "cut in many places: {seen:?}");
}

#[test]
fn a_batch_that_a_full_disk_cut_short_is_no_damage() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("live");
    let store = DiskStore::open(&path, SMALL).unwrap();
    write_batches(&store, 1..=3);
    let (_, _, whole) = journal_of(&path);
    write_batches(&store, 4..=4);
    let (journal, mut bytes, written) = journal_of(&path);
    for cut in (whole..written).rev() {
        // Zeros, not an end: the file was made long before.
        let was = std::mem::take(&mut bytes[cut]);
        if was == 0 || was == bytes[cut - 1] {
            // The file is what it was, or nothing new begins here: each store that is opened takes a tenth of a second.
            continue;
        }
        let (_copy, opened) = opened_with(&path, &journal, &bytes);
        let store = opened.unwrap_or_else(|fault| panic!("cut at {cut} of {written}: {fault}"));
        assert_eq!(whole_prefix(&store), 3, "cut at {cut} of {written}");
    }
}
