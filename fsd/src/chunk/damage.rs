//! What happens when the disk lies, fails, or is full: found, told, never passed on, and undone where nothing is lost.

use super::conformance::{ALL, bytes, chunk, on_disk, reopen};
use super::disk::DiskChunks;
use super::format::{FILE_BYTES, FOOTER_AT, HEADER_BYTES};
use super::io::{self, Call, fault};
use super::salvage::all_lost;
use super::{ChunkError, ChunkStore, layout};
use raidfs_common::id::{ChunkId, Ino};
use raidfs_common::limits::{BLOCK_BYTES, BLOCKS_PER_CHUNK, CHUNK_BYTES};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use tempfile::TempDir;

const B: u32 = BLOCK_BYTES as u32;
const C: ChunkId = ChunkId { ino: Ino(5), index: 0 };

/// A store with a chunk of three blocks, and its file.
fn store() -> (DiskChunks, TempDir, File) {
    let (store, dir) = on_disk();
    // Of an earlier life there is nothing.
    store.sync_all().unwrap();
    store.write(C, 0, &bytes(1, 3 * B)).unwrap();
    let path = layout::path(&dir.path().join("chunks"), C);
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    (store, dir, file)
}

fn flip(file: &File, at: u64) {
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 4], at).unwrap();
}

fn is_damaged<T>(result: Result<T, ChunkError>, at: u16) -> bool {
    matches!(result, Err(ChunkError::Damaged { chunk: C, block }) if block == at)
}

#[test]
fn a_flipped_bit_is_found_and_the_other_blocks_are_not_affected() {
    let (store, _dir, file) = store();
    flip(&file, u64::from(B) + 77);
    assert!(is_damaged(store.read(C, 0, 3 * B), 1));
    assert!(is_damaged(store.read(C, 2 * B - 1, 1), 1));
    assert!(is_damaged(store.read_cached(C, B, 1).unwrap(), 1));
    assert!(store.read(C, 2 * B, B).unwrap() == bytes(1, 3 * B)[2 * B as usize..]);
    assert_eq!(store.summary(C, true).unwrap().unwrap().damaged, 1);
    assert_eq!(store.summary(C, false).unwrap().unwrap().damaged, 0, "not looked for");
    assert!(is_damaged(store.export(C, false), 1));
}

#[test]
fn damage_is_not_summed_as_if_it_were_right() {
    let (store, _dir, file) = store();
    flip(&file, u64::from(B) + 77);
    assert!(is_damaged(store.write(C, B + 5, b"part"), 1));
    assert!(is_damaged(store.punch(C, 0, B + 5), 1));
    store.cut(Ino(5), u64::from(B) + 100, ALL).unwrap();
    assert!(is_damaged(store.read(C, B, 5), 1), "a cut goes through, and the block stays damaged");
    store.write(C, B, &bytes(2, B)).unwrap();
    assert!(store.read(C, B, B).unwrap() == bytes(2, B), "a whole block written anew is well again");
    assert_eq!(store.summary(C, true).unwrap().unwrap().damaged, 0);
}

#[test]
fn a_flipped_sum_is_found_also_that_of_a_hole() {
    let (store, dir, file) = store();
    flip(&file, FOOTER_AT + HEADER_BYTES as u64 + 4);
    flip(&file, FOOTER_AT + HEADER_BYTES as u64 + 4 * 500);
    drop(store);
    let store = reopen(dir.path());
    assert!(is_damaged(store.read(C, 0, 3 * B), 1));
    assert_eq!(store.summary(C, true).unwrap().unwrap().damaged, 2);
}

#[test]
fn a_deep_look_sees_the_disk_and_not_what_is_remembered() {
    let (store, dir, file) = store();
    let sound = store.summary(C, true).unwrap().unwrap();
    assert_eq!(sound.damaged, 0);
    flip(&file, FOOTER_AT + HEADER_BYTES as u64 + 4);
    assert_eq!(store.summary(C, true).unwrap().unwrap().damaged, 1, "a sum");
    flip(&file, FOOTER_AT + HEADER_BYTES as u64 + 4);
    flip(&file, FOOTER_AT + 28);
    assert_eq!(store.summary(C, true).unwrap().unwrap().damaged, BLOCKS_PER_CHUNK as u32, "the header");
    flip(&file, FOOTER_AT + 28);
    assert_eq!(store.summary(C, true).unwrap().unwrap(), sound);
    let path = layout::path(&dir.path().join("chunks"), C);
    std::fs::copy(&path, dir.path().join("older")).unwrap();
    store.write(C, 0, b"newer").unwrap();
    std::fs::rename(dir.path().join("older"), &path).unwrap();
    assert_eq!(store.summary(C, true).unwrap().unwrap(), sound, "another file in its place");
    std::fs::remove_file(&path).unwrap();
    assert_eq!(store.summary(C, true).unwrap(), None, "no file");
}

#[test]
fn who_goes_through_all_chunks_leaves_the_page_cache_to_the_others() {
    let (store, _dir, file) = store();
    store.sync(&[C]).unwrap();
    io::forget_cached(&file);
    if io::is_cached(&file) {
        // A file system in memory.
        return;
    }
    // The kernel is asked to let go of it, and keeps what it is busy with at that moment.
    let left = (0..20).any(|_| {
        io::forget_cached(&file);
        assert_eq!(store.check(C).unwrap().unwrap().damaged, 0);
        !io::is_cached(&file)
    });
    assert!(left, "nobody else wanted it");
    store.read(C, 0, B).unwrap();
    flip(&file, u64::from(B) + 77);
    assert_eq!(store.check(C).unwrap().unwrap().damaged, 1);
    assert!(io::is_cached(&file), "somebody read it before");
    assert_eq!(store.check(chunk(6, 0)).unwrap(), None);
}

#[test]
fn a_copy_of_what_is_damaged_says_so_and_has_the_rest() {
    let (store, dir, file) = store();
    flip(&file, u64::from(B) + 77);
    file.write_all_at(b"y", 500 * u64::from(B) + 9).unwrap();
    let copy = store.salvage(C).unwrap().unwrap().copy;
    assert_eq!((copy.extents.clone(), copy.damaged.clone()), (vec![(0, 3), (500, 1)], vec![1, 500]));
    assert!(copy.data.0[..B as usize] == bytes(1, 3 * B)[..B as usize]);
    store.import(C, Some(&copy)).unwrap();
    assert!(is_damaged(store.read(C, B, 1), 1), "it stays damaged");
    drop(store);
    std::fs::write(layout::path(&dir.path().join("chunks"), C), b"").unwrap();
    assert_eq!(reopen(dir.path()).salvage(C).unwrap().unwrap().copy, all_lost());
}

#[test]
fn bytes_where_a_hole_should_be_are_damage() {
    let (store, _dir, file) = store();
    store.write(C, 900 * B, b"x").unwrap();
    file.write_all_at(b"y", 500 * u64::from(B) + 9).unwrap();
    assert!(is_damaged(store.read(C, 500 * B, 1), 500));
    assert!(is_damaged(store.export(C, false), 500));
    assert_eq!(store.summary(C, true).unwrap().unwrap().damaged, 1);
}

#[test]
fn what_was_being_made_lost_when_power_was_lost_is_so_once_it_is_made_again() {
    let (store, dir) = on_disk();
    let lost = |index| ChunkId { ino: Ino(9), index };
    (0..3).for_each(|index| store.lose(lost(index), 700 * B - 5).unwrap());
    store.lose(lost(3), 5).unwrap();
    store.sync_all().unwrap();
    let file = |index| {
        let path = layout::path(&dir.path().join("chunks"), lost(index));
        OpenOptions::new().read(true).write(true).open(path).unwrap()
    };
    drop(store);
    // Only the file has come to the disk; only some of its sums have; only the beginning of its header has.
    file(0).write_all_at(&[0; 4160], FOOTER_AT).unwrap();
    file(1).write_all_at(&[0; 2048], FOOTER_AT + 512).unwrap();
    file(2).write_all_at(&[0; 4140], FOOTER_AT + 20).unwrap();
    let store = reopen(dir.path());
    for (index, length) in [(0, 700 * B - 5), (1, 700 * B - 5), (2, 700 * B - 5), (3, 4 * B)] {
        let chunk = lost(index);
        store.lose(chunk, length).unwrap();
        let summary = store.summary(chunk, true).unwrap().unwrap();
        assert_eq!((summary.length, summary.lost, summary.damaged), (length, length, 0), "chunk {index}");
        for at in (0..length).step_by(BLOCK_BYTES as usize) {
            assert!(matches!(store.read(chunk, at, 1), Err(ChunkError::Lost { .. })), "block {} of {index}", at / B);
        }
    }
    assert_eq!(store.held().0, 4);
}

#[test]
fn a_damaged_footer_makes_the_whole_chunk_damaged_and_a_copy_mends_it() {
    let damages: [&dyn Fn(&File); 4] = [
        &|file| flip(file, FOOTER_AT + 28),
        &|file| file.set_len(FILE_BYTES - 1).unwrap(),
        &|file| file.set_len(100).unwrap(),
        &|file| file.set_len(0).unwrap(),
    ];
    for damage in damages {
        let (store, dir, file) = store();
        let copy = store.export(C, false).unwrap();
        drop(store);
        damage(&file);
        let store = reopen(dir.path());
        let told = |result: Result<(), ChunkError>| assert!(matches!(result, Err(ChunkError::Footer { .. })));
        told(store.read(C, 0, 1).map(drop));
        told(store.read_cached(C, 0, 1).unwrap().map(drop));
        told(store.write(C, 0, &bytes(1, B)).map(drop));
        told(store.punch(C, 0, 1).map(drop));
        told(store.allocate(C, 0, 1).map(drop));
        told(store.extents(C).map(drop));
        told(store.export(C, false).map(drop));
        assert_eq!(store.summary(C, false).unwrap().unwrap().damaged, BLOCKS_PER_CHUNK as u32);
        assert_eq!(store.list(None, 9).unwrap(), [C]);
        store.cut(Ino(5), 5, ALL).unwrap();
        store.import(C, copy.as_ref()).unwrap();
        assert!(store.read(C, 0, 3 * B).unwrap() == bytes(1, 3 * B));
        assert_eq!(store.summary(C, true).unwrap().unwrap().damaged, 0);
    }
}

#[test]
fn what_was_never_synced_is_summed_anew() {
    let (store, dir, file) = store();
    flip(&file, 3);
    file.write_all_at(b"torn", 7 * u64::from(B)).unwrap();
    let copy = store.export(C, true).unwrap().unwrap();
    assert_eq!(copy.extents, [(0, 3), (7, 1)]);
    assert_eq!(store.summary(C, true).unwrap().unwrap().damaged, 0);
    assert!(store.read(C, 0, 3).unwrap() == bytes(1, 3));
    drop(store);
    let mut header = [0; HEADER_BYTES];
    file.read_exact_at(&mut header, FOOTER_AT).unwrap();
    flip(&file, FOOTER_AT + 28);
    let store = reopen(dir.path());
    let copy = store.export(C, true).unwrap().unwrap();
    assert_eq!((copy.length, copy.extents), (7 * B + 4, vec![(0, 3), (7, 1)]));
    drop(store);
    assert_eq!(reopen(dir.path()).read(C, 7 * B, 9).unwrap()[..], *b"torn");
}

#[test]
fn what_a_killed_life_has_not_synced_is_synced_by_the_next() {
    for sync in [|store: &DiskChunks| store.sync(&[C]), |store: &DiskChunks| store.sync_all()] {
        let (store, dir, _file) = store();
        drop(store);
        let store = reopen(dir.path());
        fault::plan(Call::Sync, 0, libc::EIO);
        assert!(sync(&store).is_err(), "it asks the disk");
        assert_eq!(fault::left(), 0);
    }
}

#[test]
fn a_block_that_the_disk_cannot_read_is_damage_and_can_be_written_anew() {
    let (store, _dir, _file) = store();
    fault::plan(Call::Read, 0, libc::EIO); // the three blocks together
    fault::plan(Call::Read, 1, libc::EIO); // the second of them alone
    assert!(is_damaged(store.read(C, 0, 3 * B), 1));
    assert_eq!(fault::left(), 0);
    store.write(C, B, &bytes(1, 3 * B)[B as usize..2 * B as usize]).unwrap();
    assert!(store.read(C, 0, 3 * B).unwrap() == bytes(1, 3 * B));
}

#[test]
fn what_is_no_chunk_is_left_alone() {
    let (store, dir, _) = store();
    drop(store);
    let chunks = dir.path().join("chunks");
    let group = chunks.join("0000000000000");
    for path in
        [chunks.join("README"), group.join("garbage"), group.join("0000000000001000"), chunks.join("lost+found")]
    {
        std::fs::write(path, "hello").unwrap();
    }
    std::fs::write(group.join("0000000000000005.new"), "unfinished").unwrap();
    let store = reopen(dir.path());
    assert_eq!(store.list(None, 9).unwrap(), [C]);
    assert_eq!(store.held().0, 1);
    assert!(chunks.join("README").exists() && group.join("garbage").exists());
    assert!(!group.join("0000000000000005.new").exists());
    store.reap(Ino(5), ALL).unwrap();
    assert!(group.join("garbage").exists());
}

#[test]
fn a_chunk_in_the_wrong_place_is_damaged() {
    let (_, dir, _) = store();
    let chunks = dir.path().join("chunks");
    std::fs::copy(layout::path(&chunks, C), layout::path(&chunks, chunk(6, 0))).unwrap();
    let store = reopen(dir.path());
    assert!(matches!(store.read(chunk(6, 0), 0, 1), Err(ChunkError::Footer { .. })));
}

#[test]
fn without_room_nothing_changes() {
    let mut tried = 0;
    for fail_at in 0..4 {
        let (store, dir, _file) = store();
        let before = store.summary(C, true).unwrap();
        let held = store.held();
        // Part of a written block, a whole one, and two holes.
        fault::plan(Call::Write, fail_at, libc::ENOSPC);
        let result = store.write(C, B + 10, &bytes(9, 3 * B));
        if fault::left() > 0 || fail_at >= 2 {
            break; // the holes are done; what comes then needs no room
        }
        assert!(matches!(result, Err(ChunkError::Full { chunk: C })), "{result:?}");
        assert_eq!(store.summary(C, true).unwrap(), before);
        assert_eq!(store.held(), held);
        store.sync_all().unwrap();
        drop(store);
        assert_eq!(reopen(dir.path()).summary(C, true).unwrap(), before);
        tried += 1;
    }
    assert_eq!(tried, 2, "once for the bytes, once for their sums");
}

#[test]
fn without_room_no_file_is_made() {
    for (call, fail_at) in [(Call::Write, 0), (Call::Write, 1), (Call::Allocate, 0)] {
        let (store, dir) = on_disk();
        fault::plan(call, fail_at, libc::ENOSPC);
        let result = match call {
            Call::Write => store.write(C, 5, &bytes(9, 3 * B)),
            _ => store.allocate(C, 5, 3 * B),
        };
        assert!(matches!(result, Err(ChunkError::Full { chunk: C })), "{result:?}");
        assert_eq!(fault::left(), 0);
        assert_eq!(store.list(None, 9).unwrap(), []);
        assert_eq!(store.held(), (0, 0));
        assert!(!layout::path(&dir.path().join("chunks"), C).exists());
        store.write(C, 5, &bytes(9, B)).unwrap();
        store.sync(&[C]).unwrap();
    }
}

#[test]
fn without_room_a_copy_leaves_what_was_there() {
    let (store, _dir, _file) = store();
    let (other, _other_dir) = on_disk();
    other.write(C, 0, &bytes(8, 20 * B)).unwrap();
    let copy = other.export(C, false).unwrap().unwrap();
    for fail_at in 0..2 {
        fault::plan(Call::Write, fail_at, libc::ENOSPC);
        assert!(matches!(store.import(C, Some(&copy)), Err(ChunkError::Full { .. })));
        assert!(store.read(C, 0, 3 * B).unwrap() == bytes(1, 3 * B));
    }
    store.import(C, Some(&copy)).unwrap();
    assert!(store.read(C, 0, 20 * B).unwrap() == bytes(8, 20 * B));
}

#[test]
fn a_sync_of_a_file_syncs_its_changed_chunks_and_no_others() {
    let (store, _dir, _file) = store();
    let _ = store.write(chunk(7, 0), 0, b"x").unwrap();
    let _ = store.write(chunk(7, 900), 0, b"x").unwrap();
    store.sync_file(Ino(7)).unwrap();
    fault::plan(Call::Sync, 0, libc::EIO);
    store.sync_file(Ino(7)).unwrap();
    assert_eq!(fault::left(), 1, "it is clean, whatever the others are");
    let _ = store.write(chunk(7, 900), 0, b"y").unwrap();
    assert!(store.sync_file(Ino(7)).is_err());
}

#[test]
fn after_a_failed_write_or_sync_nothing_is_changed_any_more() {
    for call in [Call::Write, Call::Sync] {
        let (store, dir, _file) = store();
        fault::plan(call, 0, libc::EIO);
        let failed = match call {
            Call::Write => store.write(C, 0, &bytes(3, B)).map(drop),
            _ => store.sync(&[C]),
        };
        assert!(matches!(failed, Err(ChunkError::Disk { .. })), "{failed:?}");
        assert_eq!(fault::left(), 0);
        let refused = |result: Result<(), ChunkError>| assert!(matches!(result, Err(ChunkError::Poisoned(_))));
        refused(store.write(chunk(9, 9), 0, b"x").map(drop));
        refused(store.punch(C, 0, 1).map(drop));
        refused(store.allocate(C, 0, 1).map(drop));
        refused(store.import(C, None));
        refused(store.cut(Ino(5), 1, ALL).map(drop));
        refused(store.reap(Ino(5), ALL).map(drop));
        refused(store.sync(&[]));
        refused(store.sync_all());
        refused(store.begin_notes());
        refused(store.drop_notes());
        assert!(store.read(C, 2 * B, B).unwrap() == bytes(1, 3 * B)[2 * B as usize..], "reads still try");
        drop(store);
        reopen(dir.path()).write(C, 0, &bytes(3, B)).unwrap();
    }
}

/// How many syncs a call makes: the last failure that is planned and happens is one too late.
fn syncs(store: impl Fn() -> (DiskChunks, TempDir), sync: impl Fn(&DiskChunks) -> Result<(), ChunkError>) -> usize {
    for count in 0.. {
        let (store, _dir) = store();
        fault::plan(Call::Sync, count, libc::EIO);
        let result = sync(&store);
        let happened = fault::left() == 0;
        fault::clear();
        assert_eq!(happened, result.is_err());
        if !happened {
            return count;
        }
    }
    unreachable!("some call makes fewer")
}

#[test]
fn what_is_clean_is_not_synced_and_what_is_not_is_with_its_name() {
    let clean = || {
        let (store, dir, _) = store();
        store.write(chunk(5, 1), 0, b"x").unwrap();
        store.sync(&[C, chunk(5, 1)]).unwrap();
        (store, dir)
    };
    let after = |change: &dyn Fn(&DiskChunks)| {
        let (store, dir) = clean();
        change(&store);
        (store, dir)
    };
    assert_eq!(syncs(clean, |store| store.sync(&[C])), 0);
    let write = || after(&|store| _ = store.write(C, 0, b"x").unwrap());
    assert_eq!(syncs(write, |store| store.sync(&[C])), 1);
    assert_eq!(syncs(write, |store| store.sync(&[chunk(5, 1)])), 0, "another chunk's matter");
    let sync_all = |store: &DiskChunks| store.sync_all();
    assert!(syncs(write, sync_all) >= 1);
    let replace = || after(&|store| store.import(C, store.export(C, false).unwrap().as_ref()).unwrap());
    assert!(syncs(replace, |store| store.sync(&[C])) >= 2, "the file and its directory");
    let remove = || after(&|store| assert_eq!(store.reap(Ino(5), ALL).unwrap(), 2));
    assert!(syncs(remove, |store| store.sync(&[C])) >= 1, "the directory");
    assert!(syncs(remove, |store| store.sync(&[chunk(5, 1)])) >= 1);
    let cut = |size| {
        move || {
            let (store, dir) = clean();
            store.sync_all().unwrap();
            store.write(C, 0, b"x").unwrap();
            store.cut(Ino(5), size, ALL).unwrap();
            (store, dir)
        }
    };
    assert_eq!(syncs(cut(100), |store| store.sync_cut(Ino(5), 100)), 2, "what is left, and the directory of the rest");
    assert_eq!(syncs(cut(CHUNK_BYTES), |store| store.sync_cut(Ino(5), CHUNK_BYTES)), 1, "only the directory");
    assert_eq!(syncs(cut(0), |store| store.sync_cut(Ino(5), 0)), 1);
    let many = || after(&|store| (0..100).for_each(|n| _ = store.write(chunk(n, 0), 0, b"x").unwrap()));
    assert_eq!(syncs(many, sync_all), 1, "all at once");
}
