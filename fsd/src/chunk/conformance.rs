//! One suite for every chunk store: what the trait promises, run over the store on disk and the one in memory.

use super::disk::DiskChunks;
use super::memory::MemoryChunks;
use super::{ChunkError, ChunkStore};
use proptest::prelude::*;
use raidfs_common::codec::Blob;
use raidfs_common::id::{ChunkId, Ino};
use raidfs_common::limits::{BLOCK_BYTES, CHUNK_BYTES};
use std::collections::BTreeSet;
use std::path::Path;
use tempfile::TempDir;

const B: u32 = BLOCK_BYTES as u32;
/// More chunks than any file here has.
pub const ALL: usize = usize::MAX;
const END: u32 = CHUNK_BYTES as u32;

pub fn chunk(ino: u64, index: u32) -> ChunkId {
    ChunkId { ino: Ino(ino), index }
}

/// A store on disk in a directory of its own.
pub fn on_disk() -> (DiskChunks, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    for name in ["chunks", "notes"] {
        std::fs::create_dir(dir.path().join(name)).unwrap();
    }
    (reopen(dir.path()), dir)
}

pub fn reopen(dir: &Path) -> DiskChunks {
    DiskChunks::open(&dir.join("chunks"), &dir.join("notes")).unwrap()
}

pub fn bytes(seed: u8, length: u32) -> Vec<u8> {
    (0..length).map(|i| (i as u8).wrapping_mul(31).wrapping_add((i >> 8) as u8) ^ seed).collect()
}

fn each(check: impl Fn(&dyn ChunkStore)) {
    check(&MemoryChunks::default());
    let (disk, _dir) = on_disk();
    check(&disk);
}

fn whole(store: &dyn ChunkStore, chunk: ChunkId) -> Vec<u8> {
    store.read(chunk, 0, END).unwrap().to_vec()
}

fn damaged(store: &dyn ChunkStore) -> u32 {
    let all = store.list(None, usize::MAX).unwrap();
    all.into_iter().map(|chunk| store.summary(chunk, true).unwrap().unwrap().damaged).sum()
}

#[test]
fn what_is_not_there_is_empty() {
    each(|store| {
        assert_eq!(store.read(chunk(1, 0), 5, 100).unwrap().len(), 0);
        assert_eq!(store.extents(chunk(1, 0)).unwrap(), (0, vec![]));
        assert!(store.summary(chunk(1, 0), true).unwrap().is_none());
        assert!(store.export(chunk(1, 0), true).unwrap().is_none());
        assert_eq!(store.punch(chunk(1, 0), 0, END).unwrap().blocks, 0);
        assert_eq!(store.reap(Ino(1), 9).unwrap(), 0);
        store.cut(Ino(1), 5, ALL).unwrap();
        store.sync(&[chunk(1, 0), chunk(1, 7)]).unwrap();
        store.sync_all().unwrap();
        assert_eq!(store.list(None, 10).unwrap(), []);
        assert_eq!(store.held(), (0, 0));
    });
}

#[test]
fn bytes_come_back_from_any_offset() {
    each(|store| {
        let c = chunk(9, 3);
        for (offset, length, blocks) in [(0, 1, 1), (1, 4094, 0), (4000, 5000, 2), (END - 5, 5, 1), (9 * B, B, 1)] {
            let data = bytes(offset as u8, length);
            assert_eq!(store.write(c, offset, &data).unwrap().blocks, blocks, "at {offset}");
            assert!(store.read(c, offset, length).unwrap() == data);
            store.sync(&[c]).unwrap();
            assert_eq!(store.read_cached(c, offset, length).unwrap().unwrap(), data);
        }
        assert_eq!(store.extents(c).unwrap(), (END, vec![(0, 3), (9, 1), (1023, 1)]));
        assert_eq!(store.held(), (1, 5 * BLOCK_BYTES));
        assert_eq!(damaged(store), 0);
    });
}

#[test]
fn a_read_ends_where_the_chunk_ends() {
    each(|store| {
        let c = chunk(1, 0);
        store.write(c, 100, &[7; 50]).unwrap();
        assert_eq!(store.read(c, 0, END).unwrap(), [vec![0; 100], vec![7; 50]].concat());
        assert_eq!(store.read(c, 149, 500).unwrap()[..], [7]);
        assert_eq!(store.read(c, 150, 500).unwrap().len(), 0);
        assert_eq!(store.read(c, 120, 0).unwrap().len(), 0);
    });
}

fn is_lost<T>(result: Result<T, ChunkError>, at: u16) -> bool {
    matches!(result, Err(ChunkError::Lost { block, .. }) if block == at)
}

#[test]
fn what_was_lost_takes_no_room_and_reads_as_nothing_until_whole_blocks_are_written() {
    each(|store| {
        let c = chunk(7, 2);
        store.lose(c, 2 * B + 5).unwrap();
        store.lose(chunk(7, 3), 0).unwrap();
        assert!(store.may_have_lost(c) && !store.may_have_lost(chunk(8, 0)));
        assert_eq!(store.list(None, ALL).unwrap(), [c]);
        assert_eq!(store.held(), (1, 0));
        assert_eq!(store.extents(c).unwrap(), (2 * B + 5, vec![(0, 3)]));
        for deep in [false, true] {
            let summary = store.summary(c, deep).unwrap().unwrap();
            assert_eq!((summary.length, summary.lost, summary.damaged, summary.blocks), (2 * B + 5, 2 * B + 5, 0, 0));
        }
        assert!(is_lost(store.read(c, 5, 9), 0) && is_lost(store.read(c, B, END - B), 1));
        assert!(store.read(c, 3 * B, 9).unwrap().is_empty(), "behind its end");
        assert!(is_lost(store.write(c, B + 1, &[1; 9]), 1), "a part of a block");
        assert!(is_lost(store.punch(c, 1, B), 0));
        assert_eq!(store.write(c, B, &bytes(3, B)).unwrap().blocks, 0, "it was no hole by the file's count");
        assert_eq!(store.held(), (1, BLOCK_BYTES));
        assert_eq!(store.read(c, B, B).unwrap(), bytes(3, B));
        assert!(is_lost(store.read(c, B, B + 1), 2));
        store.lose(c, 3 * B).unwrap();
        assert_eq!(store.read(c, B, B).unwrap(), bytes(3, B), "what is there stays as it is");
        store.punch(c, 0, B).unwrap();
        assert_eq!(store.read(c, 0, B).unwrap(), vec![0; BLOCK_BYTES as usize], "a hole that somebody has made");
        store.cut(Ino(7), 2 * CHUNK_BYTES + u64::from(2 * B) + 1, ALL).unwrap();
        assert!(is_lost(store.read(c, 2 * B, 1), 2), "what is left of a block that is cut");
        store.write(c, 5 * B, &[1]).unwrap();
        assert!(is_lost(store.read(c, 2 * B + 9, 1), 2));
        assert_eq!(store.summary(c, true).unwrap().unwrap().lost, B);
        store.cut(Ino(7), 2 * CHUNK_BYTES + u64::from(2 * B), ALL).unwrap();
        assert_eq!(store.summary(c, true).unwrap().unwrap().lost, 0);
        assert!(!store.may_have_lost(c), "not any more");
        assert_eq!(store.held(), (1, BLOCK_BYTES));
        store.reap(Ino(7), ALL).unwrap();
        assert_eq!(store.held(), (0, 0));
    });
}

#[test]
fn a_copy_has_lost_what_was_lost_and_differs_from_one_of_zeros() {
    each(|store| {
        let (c, d, zeros) = (chunk(1, 0), chunk(2, 0), chunk(3, 0));
        store.lose(c, 4 * B).unwrap();
        store.write(c, B, &bytes(3, B)).unwrap();
        let copy = store.export(c, false).unwrap().unwrap();
        assert_eq!(copy.damaged, [0, 2, 3]);
        assert_eq!(store.salvage(c).unwrap().unwrap().copy, copy);
        store.import(d, Some(&copy)).unwrap();
        store.import(d, Some(&copy)).unwrap();
        assert!(is_lost(store.read(d, 0, 1), 0) && is_lost(store.read(d, 3 * B, 1), 3));
        assert_eq!(store.read(d, B, B).unwrap(), bytes(3, B));
        let of = |chunk, deep| store.summary(chunk, deep).unwrap().unwrap();
        for deep in [false, true] {
            assert_eq!((of(c, deep).digest, of(c, deep).lost), (of(d, deep).digest, of(d, deep).lost));
        }
        assert_eq!(store.held(), (2, 2 * BLOCK_BYTES));
        store.write(zeros, 0, &[0; 4 * BLOCK_BYTES as usize]).unwrap();
        store.write(zeros, B, &bytes(3, B)).unwrap();
        assert_ne!(of(c, true).digest, of(zeros, true).digest);
        // For a chunk that may be half changed, nothing of it is taken for zeros.
        assert_eq!(store.export(c, true).unwrap().unwrap().damaged, [0, 2, 3]);
        assert!(is_lost(store.read(c, 0, 1), 0));
    });
}

#[test]
fn what_does_not_fit_a_chunk_is_refused() {
    each(|store| {
        let c = chunk(1, 0);
        let refused = |result: Result<(), ChunkError>| assert!(matches!(result, Err(ChunkError::Invalid { .. })));
        refused(store.write(c, END - 1, &[0; 2]).map(drop));
        refused(store.punch(c, u32::MAX, u32::MAX).map(drop));
        refused(store.allocate(c, END, 1).map(drop));
        refused(store.read(c, 1, END).map(drop));
        refused(store.read_cached(c, 1, END).unwrap().map(drop));
        store.write(c, END, &[]).unwrap();
        assert!(store.summary(c, false).unwrap().is_none(), "writing nothing makes nothing");
    });
}

#[test]
fn punched_blocks_are_given_back_and_the_rest_is_zeroed() {
    each(|store| {
        let c = chunk(1, 1);
        store.write(c, 0, &bytes(1, 5 * B)).unwrap();
        assert_eq!(store.punch(c, 100, 3 * B).unwrap().blocks, -2);
        let mut expected = bytes(1, 5 * B);
        expected[100..100 + 3 * B as usize].fill(0);
        assert!(whole(store, c) == expected);
        assert_eq!(store.extents(c).unwrap(), (5 * B, vec![(0, 1), (3, 2)]));
        assert_eq!(store.punch(c, 100, 10).unwrap().blocks, 0);
        assert_eq!(store.punch(c, 0, END).unwrap().blocks, -3);
        assert_eq!(store.extents(c).unwrap(), (5 * B, vec![]), "the length stays");
        assert_eq!(store.write(c, B + 5, &[1]).unwrap().blocks, 1);
        assert_eq!(store.read(c, B, 7).unwrap()[..], [0, 0, 0, 0, 0, 1, 0]);
        assert_eq!(damaged(store), 0);
    });
}

#[test]
fn allocating_changes_no_byte() {
    each(|store| {
        let c = chunk(2, 0);
        assert_eq!(store.allocate(c, B, 1).unwrap().blocks, 1);
        assert_eq!(store.extents(c).unwrap(), (0, vec![(1, 1)]));
        store.write(c, 10, b"abc").unwrap();
        assert_eq!(store.allocate(c, 0, 3 * B).unwrap().blocks, 1);
        assert_eq!(store.allocate(c, 0, 3 * B).unwrap().blocks, 0);
        assert_eq!(store.read(c, 9, 100).unwrap()[..], *b"\0abc");
        assert_eq!(store.write(c, B + 1, b"x").unwrap().blocks, 0);
        assert_eq!(store.read(c, B, 9).unwrap()[..], *b"\0x");
        assert_eq!(damaged(store), 0);
    });
}

#[test]
fn cut_bytes_never_come_back() {
    each(|store| {
        for index in [0, 1, 2, 3] {
            store.write(chunk(5, index), 0, &bytes(index as u8, 3 * B)).unwrap();
        }
        store.write(chunk(6, 0), 0, b"neighbour").unwrap();
        store.allocate(chunk(5, 1), 100 * B, B).unwrap();
        store.cut(Ino(5), CHUNK_BYTES + u64::from(B) + 100, ALL).unwrap();
        assert_eq!(store.list(None, 9).unwrap(), [chunk(5, 0), chunk(5, 1), chunk(6, 0)]);
        assert_eq!(store.extents(chunk(5, 1)).unwrap(), (B + 100, vec![(0, 2)]));
        store.write(chunk(5, 1), 5 * B, b"end").unwrap();
        let mut expected = bytes(1, B + 100);
        expected.resize(5 * B as usize, 0);
        expected.extend(b"end");
        assert!(whole(store, chunk(5, 1)) == expected);
        assert!(whole(store, chunk(5, 0)) == bytes(0, 3 * B), "a whole chunk before the end is untouched");
        store.cut(Ino(5), CHUNK_BYTES, ALL).unwrap();
        assert_eq!(store.list(None, 9).unwrap(), [chunk(5, 0), chunk(6, 0)]);
        store.cut(Ino(5), 0, ALL).unwrap();
        assert_eq!(store.list(None, 9).unwrap(), [chunk(6, 0)]);
        assert_eq!(damaged(store), 0);
        assert_eq!(store.held(), (1, BLOCK_BYTES));
    });
}

#[test]
fn reaping_takes_all_chunks_of_one_inode() {
    each(|store| {
        for c in [chunk(5, 0), chunk(5, 1), chunk(5, 900_000), chunk(4, 1), chunk(6, 0)] {
            store.write(c, 0, b"x").unwrap();
        }
        // A few at a time, so that nothing takes long.
        assert_eq!([2, 2, 2].map(|most| store.reap(Ino(5), most).unwrap()), [2, 1, 0]);
        assert_eq!(store.list(None, 9).unwrap(), [chunk(4, 1), chunk(6, 0)]);
        assert!(store.read_cached(chunk(5, 1), 0, 1).is_none_or(|bytes| bytes.unwrap().is_empty()));
        store.write(chunk(5, 1), 1, b"y").unwrap();
        assert_eq!(whole(store, chunk(5, 1)), b"\0y");
    });
}

#[test]
fn chunks_are_listed_in_order_page_by_page() {
    each(|store| {
        let mut all = BTreeSet::new();
        for ino in [0, 1, 4095, 4096, 70_000, u64::MAX - 1] {
            for index in [0, 1, 2, 300] {
                store.write(chunk(ino, index), 0, b"x").unwrap();
                all.insert(chunk(ino, index));
            }
        }
        let mut listed = Vec::new();
        loop {
            let page = store.list(listed.last().copied(), 5).unwrap();
            assert!(page.len() <= 5);
            if page.is_empty() {
                break;
            }
            listed.extend(page);
        }
        assert!(listed.is_sorted());
        assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), all);
    });
}

#[test]
fn a_copy_is_equal_whatever_was_there_before() {
    each(|source| {
        each(|target| {
            let c = chunk(3, 2);
            source.write(c, 10, &bytes(4, 3 * B)).unwrap();
            source.write(c, END - B, &bytes(5, B)).unwrap();
            source.punch(c, B, B).unwrap();
            source.allocate(c, 50 * B, B).unwrap();
            target.write(c, 0, &bytes(9, 20 * B)).unwrap();
            let copy = source.export(c, false).unwrap().unwrap();
            target.import(c, Some(&copy)).unwrap();
            assert_eq!(target.summary(c, true).unwrap(), source.summary(c, true).unwrap());
            assert_eq!(target.export(c, false).unwrap(), Some(copy));
            assert_eq!(whole(target, c), whole(source, c));
            assert_eq!(target.held(), source.held());
            target.import(c, None).unwrap();
            target.import(c, None).unwrap();
            assert_eq!(target.list(None, 1).unwrap(), []);
            source.reap(Ino(3), ALL).unwrap();
        });
    });
}

#[test]
fn a_copy_that_contradicts_itself_is_refused() {
    each(|store| {
        let c = chunk(3, 0);
        store.write(c, 0, &bytes(4, 3 * B)).unwrap();
        store.punch(c, B, B).unwrap();
        let good = store.export(c, false).unwrap().unwrap();
        let before = store.summary(c, true).unwrap();
        let refuse = |change: &dyn Fn(&mut raidfs_common::rpc::chunks::ChunkCopy)| {
            let mut copy = good.clone();
            change(&mut copy);
            assert!(matches!(store.import(c, Some(&copy)), Err(ChunkError::Invalid { .. })), "{:?}", copy.extents);
            assert!(matches!(store.import(chunk(4, 4), Some(&copy)), Err(ChunkError::Invalid { .. })));
        };
        refuse(&|copy| copy.length = END + 1);
        refuse(&|copy| copy.extents = vec![(2, 1), (0, 1)]);
        refuse(&|copy| copy.extents = vec![(0, 2), (2, 0)]);
        refuse(&|copy| copy.extents = vec![(0, 1), (1, 1)]);
        refuse(&|copy| copy.extents = vec![(1023, 2)]);
        refuse(&|copy| copy.extents = vec![(u16::MAX, 2)]);
        refuse(&|copy| copy.sums.truncate(1));
        refuse(&|copy| copy.sums[0] = 0);
        refuse(&|copy| copy.sums[1] ^= 4);
        refuse(&|copy| copy.data = Blob::from(vec![0; 5]));
        assert_eq!(store.summary(c, true).unwrap(), before);
        assert_eq!(store.list(None, 9).unwrap(), [c]);
    });
}

#[test]
fn equal_chunks_have_equal_digests_whatever_their_history() {
    let digest = |change: &dyn Fn(&dyn ChunkStore)| {
        let (disk, memory) = (on_disk(), MemoryChunks::default());
        let stores: [&dyn ChunkStore; 2] = [&disk.0, &memory];
        let [one, other] = stores.map(|store| {
            change(store);
            store.summary(chunk(1, 0), true).unwrap().unwrap().digest
        });
        assert_eq!(one, other);
        one
    };
    let plain = digest(&|store| {
        store.write(chunk(1, 0), 0, &bytes(3, 2 * B)).unwrap();
    });
    let by_detours = digest(&|store| {
        store.allocate(chunk(1, 0), 0, 9 * B).unwrap();
        store.write(chunk(1, 0), 7, &bytes(9, 4 * B)).unwrap();
        store.cut(Ino(1), u64::from(B), ALL).unwrap();
        store.write(chunk(1, 0), B, &bytes(3, 2 * B)[B as usize..]).unwrap();
        store.write(chunk(1, 0), 0, &bytes(3, B)).unwrap();
    });
    assert_eq!(plain, by_detours);
    let allocated = digest(&|store| {
        store.write(chunk(1, 0), 0, &bytes(3, 2 * B)).unwrap();
        store.allocate(chunk(1, 0), 2 * B, 1).unwrap();
    });
    assert_ne!(plain, allocated);
}

#[test]
fn contents_with_the_same_block_sums_have_other_digests() {
    let of = |text: &[u8]| {
        let mut bytes = text.to_vec();
        bytes.extend_from_slice(&raidfs_common::checksum::record(text).to_le_bytes());
        bytes
    };
    each(|store| {
        let digests = [b"checkpoint 1", b"checkpoint 2"].map(|text| {
            store.write(chunk(1, 0), 0, &of(text)).unwrap();
            [false, true].map(|deep| store.summary(chunk(1, 0), deep).unwrap().unwrap().digest)
        });
        assert_eq!(digests[0][0], digests[1][0], "the sums say nothing");
        assert_ne!(digests[0][1], digests[1][1]);
    });
}

#[test]
fn everything_is_noted_until_the_first_round_is_over() {
    each(|store| {
        store.write(chunk(4, 0), 0, b"x").unwrap();
        store.write(chunk(8, 1), 0, b"x").unwrap();
        assert_eq!(store.high_water(), Ino(0));
        assert_eq!(store.noted(None, 9).unwrap(), [chunk(4, 0), chunk(8, 1)]);
        store.begin_notes().unwrap();
        assert_eq!(store.noted(Some(chunk(4, 0)), 9).unwrap(), [chunk(8, 1)]);
        store.drop_notes().unwrap();
        assert_eq!(store.high_water(), Ino(9));
        assert_eq!(store.noted(None, 9).unwrap(), []);
        store.write(chunk(9, 0), 0, b"new").unwrap();
        assert_eq!(store.noted(None, 9).unwrap(), [chunk(9, 0)], "a new file is noted without a note");
    });
}

#[test]
fn notes_last_until_both_have_synced_and_no_change_is_in_flight() {
    each(|store| {
        for ino in [1, 2, 3, 4] {
            store.write(chunk(ino, 0), 0, b"x").unwrap();
        }
        let round = || {
            store.begin_notes().unwrap();
            store.drop_notes().unwrap();
        };
        round();
        drop(store.note(chunk(2, 0)).unwrap());
        let in_flight = store.note(chunk(3, 0)).unwrap();
        assert_eq!(store.noted(None, 9).unwrap(), [chunk(2, 0), chunk(3, 0)]);
        store.begin_notes().unwrap();
        drop(in_flight);
        drop(store.note(chunk(1, 0)).unwrap());
        store.drop_notes().unwrap();
        assert_eq!(store.noted(None, 9).unwrap(), [chunk(1, 0), chunk(2, 0), chunk(3, 0)], "it was in flight");
        assert_eq!(store.noted(Some(chunk(1, 0)), 1).unwrap(), [chunk(2, 0)]);
        store.begin_notes().unwrap();
        drop(store.note(chunk(4, 0)).unwrap());
        store.drop_notes().unwrap();
        assert_eq!(store.noted(None, 9).unwrap(), [chunk(4, 0)]);
    });
}

#[test]
fn everything_can_be_noted_again() {
    each(|store| {
        store.write(chunk(4, 0), 0, b"x").unwrap();
        let round = || {
            store.begin_notes().unwrap();
            store.drop_notes().unwrap();
        };
        round();
        assert_eq!(store.noted(None, 9).unwrap(), []);
        store.note_everything().unwrap();
        assert_eq!((store.noted(None, 9).unwrap(), store.high_water()), (vec![chunk(4, 0)], Ino(0)));
        round();
        assert_eq!(store.noted(None, 9).unwrap(), []);
    });
    let (store, dir) = on_disk();
    store.write(chunk(4, 0), 0, b"x").unwrap();
    store.begin_notes().unwrap();
    store.drop_notes().unwrap();
    store.note_everything().unwrap();
    drop(store);
    assert_eq!(reopen(dir.path()).noted(None, 9).unwrap(), [chunk(4, 0)], "it outlives the process");
}

#[test]
fn notes_survive_on_disk() {
    let (store, dir) = on_disk();
    for ino in [1, 2, 3] {
        store.write(chunk(ino, 0), 0, b"x").unwrap();
    }
    store.begin_notes().unwrap();
    store.drop_notes().unwrap();
    drop(store.note(chunk(2, 0)).unwrap());
    drop(store);
    let store = reopen(dir.path());
    assert_eq!(store.noted(None, 9).unwrap(), [chunk(2, 0)]);
    assert_eq!(store.high_water(), Ino(4));
    drop(store.note(chunk(1, 0)).unwrap());
    drop(store);
    let store = reopen(dir.path());
    assert_eq!(store.noted(None, 9).unwrap(), [chunk(1, 0), chunk(2, 0)]);
    store.begin_notes().unwrap();
    store.drop_notes().unwrap();
    assert_eq!(store.noted(None, 9).unwrap(), []);
    assert_eq!(std::fs::read_dir(dir.path().join("notes")).unwrap().count(), 1);
    drop(store);
    std::fs::remove_dir_all(dir.path().join("notes")).unwrap();
    std::fs::create_dir(dir.path().join("notes")).unwrap();
    assert_eq!(reopen(dir.path()).noted(None, 9).unwrap().len(), 3, "without notes everything counts as noted");
}

#[test]
fn many_threads_note_at_once() {
    let (store, dir) = on_disk();
    store.write(chunk(1000, 0), 0, b"x").unwrap();
    store.begin_notes().unwrap();
    store.drop_notes().unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let store = &store;
            scope.spawn(move || {
                for n in 0..40 {
                    drop(store.note(chunk(n * 8 + thread, 0)).unwrap());
                    if n == 20 && thread == 0 {
                        store.begin_notes().unwrap();
                    }
                }
            });
        }
    });
    drop(store);
    assert_eq!(reopen(dir.path()).noted(None, 1000).unwrap().len(), 320);
}

#[test]
fn the_count_is_right_after_a_restart() {
    let (store, dir) = on_disk();
    for ino in 1..50 {
        store.write(chunk(ino * 1000, (ino % 3) as u32), (ino as u32) * 7 * B, &bytes(1, ino as u32 * 1000)).unwrap();
    }
    store.write(chunk(7, 0), 0, &bytes(1, END)).unwrap();
    store.reap(Ino(3000), ALL).unwrap();
    store.sync_all().unwrap();
    let (held, all) = (store.held(), store.list(None, 99).unwrap());
    drop(store);
    let store = reopen(dir.path());
    assert_eq!(store.held(), held);
    assert_eq!(store.list(None, 99).unwrap(), all);
    for ino in all.iter().map(|c| c.ino) {
        store.reap(ino, ALL).unwrap();
    }
    assert_eq!(store.held(), (0, 0));
    assert_eq!(std::fs::read_dir(dir.path().join("chunks")).unwrap().count(), 0, "empty directories are removed");
}

#[test]
fn threads_that_meet_on_the_same_chunks_leave_them_sound() {
    threads_meet(3);
    let (counted, held) = threads_meet(64);
    // Where no chunk was closed, the count was exact, and after a restart it is what the file system says.
    assert!(counted.1.abs_diff(held.1) <= 3 * BLOCK_BYTES * held.0, "{counted:?} {held:?}");
}

/// What was held in the end as the store had counted it, and as it is counted after a restart.
fn threads_meet(open_files: usize) -> ((u64, u64), (u64, u64)) {
    let (_, dir) = on_disk();
    let (chunks, notes) = (dir.path().join("chunks"), dir.path().join("notes"));
    let store = DiskChunks::open_with(&chunks, &notes, open_files).unwrap();
    std::thread::scope(|scope| {
        for thread in 1..5u64 {
            let store = &store;
            scope.spawn(move || {
                let mut dice = thread;
                for _ in 0..500 {
                    dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let roll = |shift: u32, sides: u64| (dice >> shift) % sides;
                    let c = chunk(roll(20, 3) * 5000, roll(24, 3) as u32);
                    let offset = roll(28, 6 * u64::from(B)) as u32;
                    match roll(44, 20) {
                        0 => _ = store.reap(c.ino, ALL).unwrap(),
                        1 => _ = store.cut(c.ino, roll(50, 3) * CHUNK_BYTES + 77, ALL).unwrap(),
                        2 => store.sync(&[c]).unwrap(),
                        3 => store.sync_all().unwrap(),
                        4 => _ = store.punch(c, offset, 2 * B).unwrap(),
                        5 => store.import(c, store.export(c, false).unwrap().as_ref()).unwrap(),
                        6 => _ = store.list(None, 5).unwrap(),
                        7..12 => _ = store.read(c, offset, B).unwrap(),
                        12 => _ = store.read_cached(c, offset, B).transpose().unwrap(),
                        _ => _ = store.write(c, offset, &bytes(thread as u8, roll(54, 900) as u32)).unwrap(),
                    }
                }
            });
        }
    });
    assert_eq!(damaged(&store), 0);
    let (counted, all) = (store.held(), store.list(None, 99).unwrap());
    assert_eq!(counted.0, all.len() as u64);
    store.sync_all().unwrap();
    drop(store);
    let store = reopen(dir.path());
    assert_eq!(store.list(None, 99).unwrap(), all);
    assert_eq!(damaged(&store), 0);
    let held = store.held();
    [0, 5000, 10_000].iter().for_each(|ino| _ = store.reap(Ino(*ino), ALL).unwrap());
    assert_eq!(std::fs::read_dir(chunks).unwrap().count(), 0);
    (counted, held)
}

#[derive(Clone, Debug)]
enum Step {
    Write(u32, u32, u8),
    Punch(u32, u32),
    Allocate(u32, u32),
    Cut(u64),
    Copy,
    Sync,
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Offsets and lengths near the borders of blocks, and near both ends of the chunk.
    let place = || {
        let near = (0u32..6, -3i64..3).prop_map(|(block, by)| (i64::from(block * B) + by).max(0) as u32);
        prop_oneof![near, 0u32..5 * B, END - 2 * B..=END]
    };
    let length = || prop_oneof![0u32..10, 0u32..3 * B, Just(B)];
    let step = prop_oneof![
        6 => (place(), length(), any::<u8>()).prop_map(|(at, length, seed)| Step::Write(at, length.min(END - at), seed)),
        3 => (place(), length()).prop_map(|(at, length)| Step::Punch(at, length.min(END - at))),
        1 => (place(), length()).prop_map(|(at, length)| Step::Allocate(at, length.min(END - at))),
        2 => place().prop_map(|size| Step::Cut(CHUNK_BYTES + u64::from(size))),
        1 => Just(Step::Copy),
        1 => Just(Step::Sync),
        1 => Just(Step::Reopen),
    ];
    proptest::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn the_store_is_a_plain_array_of_bytes(steps in steps()) {
        let (mut store, dir) = on_disk();
        let twin = MemoryChunks::default();
        let c = chunk(77, 1);
        let mut model = Vec::new();
        for step in steps {
            match step {
                Step::Write(at, length, seed) => {
                    let data = bytes(seed, length);
                    let end = (at + length) as usize;
                    prop_assert_eq!(store.write(c, at, &data).unwrap(), twin.write(c, at, &data).unwrap());
                    if length > 0 {
                        model.resize(model.len().max(end), 0);
                        model[at as usize..end].copy_from_slice(&data);
                    }
                }
                Step::Punch(at, length) => {
                    prop_assert_eq!(store.punch(c, at, length).unwrap(), twin.punch(c, at, length).unwrap());
                    let end = ((at + length) as usize).min(model.len());
                    model[(at as usize).min(end)..end].fill(0);
                }
                Step::Allocate(at, length) => {
                    prop_assert_eq!(store.allocate(c, at, length).unwrap(), twin.allocate(c, at, length).unwrap());
                }
                Step::Cut(size) => {
                    store.cut(c.ino, size, ALL).unwrap();
                    twin.cut(c.ino, size, ALL).unwrap();
                    model.truncate((size - CHUNK_BYTES) as usize);
                }
                Step::Copy => {
                    let copy = store.export(c, false).unwrap();
                    prop_assert_eq!(&copy, &twin.export(c, false).unwrap());
                    store.import(c, copy.as_ref()).unwrap();
                }
                Step::Sync => store.sync(&[c]).unwrap(),
                Step::Reopen => {
                    drop(store);
                    store = reopen(dir.path());
                }
            }
            prop_assert!(store.read(c, 0, END).unwrap()[..] == model[..]);
            prop_assert_eq!(store.summary(c, true).unwrap(), twin.summary(c, true).unwrap());
        }
        // After a restart it is what the file system says, its own blocks of a chunk in pieces included.
        let (held, exact) = (store.held(), twin.held());
        prop_assert!(held.0 == exact.0 && held.1.abs_diff(exact.1) <= 3 * BLOCK_BYTES, "{held:?} {exact:?}");
    }
}
