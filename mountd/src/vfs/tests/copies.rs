//! Copies of ranges.

use super::*;
use crate::vfs::memory_cluster::{Faults, NO_FAULTS};
use crate::vfs::{Seek, Set};
use raidfs_common::error::FsError;
use raidfs_common::id::ChunkId;
use raidfs_common::limits::CHUNK_BYTES;
use std::sync::atomic::Ordering;

const LONG: u64 = CHUNK_BYTES + 300_000;

/// Two files: one of [`LONG`] bytes, an empty one.
async fn two_files(vfs: &Vfs<MemoryCluster>) -> (u64, (Attr, u64)) {
    let (_, source) = new_file(vfs, "from").await;
    let bytes: Vec<u8> = (0..LONG).map(|n| (n / 977) as u8 | 1).collect();
    vfs.write(source, 0, &bytes, None).await.unwrap();
    (source, new_file(vfs, "to").await)
}

async fn all_of(vfs: &Vfs<MemoryCluster>, handle: u64) -> Vec<u8> {
    vfs.read(handle, 0, u32::MAX).await.unwrap().to_vec()
}

#[test]
fn the_servers_copy_what_is_long_and_not_beyond_the_end() {
    run(async {
        let cluster = MemoryCluster::new();
        let vfs = vfs(&cluster);
        let (source, (attr, target)) = two_files(&vfs).await;
        vfs.fsync(source).await.unwrap();
        let sent = cluster.counts.chunk_changes.load(Ordering::Relaxed);
        assert_eq!(vfs.copy(USER, (source, 0), (target, 0), u64::MAX).await, Ok(LONG));
        let copies = cluster.counts.copies.load(Ordering::Relaxed);
        assert!(copies > 0);
        assert_eq!(cluster.counts.chunk_changes.load(Ordering::Relaxed), sent + copies, "none was sent from here");
        assert_eq!(all_of(&vfs, target).await, all_of(&vfs, source).await);
        assert_eq!(vfs.copy(USER, (source, LONG), (target, 0), 1).await, Ok(0));
        assert_eq!(vfs.copy(USER, (source, LONG - 5), (target, 0), 100).await, Ok(5));
        assert_eq!(cluster.counts.copies.load(Ordering::Relaxed), copies, "so little is not worth it");
        vfs.fsync(target).await.unwrap();
        for index in 0..2 {
            assert!(cluster.is_synced(ChunkId { ino: attr.ino, index }));
        }
        vfs.close().await.unwrap();
        let found = super::vfs(&cluster).lookup(ROOT, b"to").await.unwrap();
        assert_eq!((found.size, found.blocks), (LONG, LONG.div_ceil(4096)));
    });
}

#[test]
fn a_copy_that_finds_no_room_says_how_far_it_came_and_leaves_nothing_behind_the_end() {
    run(async {
        let cluster = MemoryCluster::new();
        let vfs = vfs(&cluster);
        let (source, (attr, target)) = two_files(&vfs).await;
        let full = Some(ChunkId { ino: attr.ino, index: 0 });
        cluster.set_faults(Faults { full, ..Faults::default() });
        assert_eq!(vfs.copy(USER, (source, 0), (target, 0), LONG).await, Err(FsError::NoSpace));
        assert_eq!(vfs.getattr(attr.ino).await.unwrap().size, 0);
        let full = Some(ChunkId { ino: attr.ino, index: 1 });
        cluster.set_faults(Faults { full, ..Faults::default() });
        assert_eq!(vfs.copy(USER, (source, 0), (target, 0), LONG).await, Ok(CHUNK_BYTES));
        assert_eq!(vfs.getattr(attr.ino).await.unwrap().size, CHUNK_BYTES);
        cluster.set_faults(Faults::default());
        vfs.setattr(USER, attr.ino, Set { size: Some(LONG), ..Set::default() }).await.unwrap();
        let bytes = all_of(&vfs, target).await;
        assert!(bytes[CHUNK_BYTES as usize..].iter().all(|byte| *byte == 0), "what was not copied shows");
        assert_eq!(bytes[..CHUNK_BYTES as usize], all_of(&vfs, source).await[..CHUNK_BYTES as usize]);
    });
}

#[test]
fn a_copy_whose_program_was_interrupted_ends_before_what_comes_later() {
    run(async {
        let cluster = MemoryCluster::new();
        let vfs = vfs(&cluster);
        let (source, (attr, target)) = two_files(&vfs).await;
        cluster.set_faults(Faults { copies_hang: true, ..Faults::default() });
        let copy = {
            let vfs = vfs.clone();
            tokio::spawn(async move { vfs.copy(USER, (source, 0), (target, 0), LONG).await })
        };
        until(|| cluster.counts.copies.load(Ordering::Relaxed) > 0).await;
        copy.abort();
        assert!(copy.await.unwrap_err().is_cancelled());
        let write = {
            let vfs = vfs.clone();
            tokio::spawn(async move {
                vfs.write(target, 7, b"later", None).await.unwrap();
                vfs.fsync(target).await
            })
        };
        let cut = {
            let vfs = vfs.clone();
            tokio::spawn(async move { vfs.setattr(USER, attr.ino, Set { size: Some(9), ..Set::default() }).await })
        };
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(!write.is_finished() && !cut.is_finished(), "it is still under way");
        cluster.set_faults(Faults::default());
        write.await.unwrap().unwrap();
        cut.await.unwrap().unwrap();
        let bytes = all_of(&vfs, target).await;
        assert_eq!(bytes[7..], b"later"[..2]);
        vfs.setattr(USER, attr.ino, Set { size: Some(LONG), ..Set::default() }).await.unwrap();
        assert!(all_of(&vfs, target).await[9..].iter().all(|byte| *byte == 0), "bytes came back that were cut");
    });
}

/// Has `work` wait behind a write that hangs for so long that it is kept for another try once it has failed, which it does.
async fn behind_a_failing_write<T>(cluster: &MemoryCluster, work: &mut (impl Future<Output = T> + Unpin)) {
    assert!(tokio::time::timeout(Duration::from_millis(1100), work).await.is_err(), "it waits");
    cluster.break_off();
}

const HANGS: Faults = Faults { chunks_hang: true, ..NO_FAULTS };

#[test]
fn what_could_not_be_stored_before_does_not_come_back_over_a_copy() {
    run(async {
        let cluster = MemoryCluster::new();
        let vfs = vfs(&cluster);
        let (source, (attr, target)) = two_files(&vfs).await;
        let copied = all_of(&vfs, source).await;
        vfs.write(target, 0, b"placed", None).await.unwrap();
        vfs.sync_all().await.unwrap();
        cluster.set_faults(HANGS);
        vfs.write(target, 0, &[2; 200_000], None).await.unwrap();
        let mut copy = Box::pin(vfs.copy(USER, (source, 0), (target, 0), LONG));
        behind_a_failing_write(&cluster, &mut copy).await;
        behind_a_failing_write(&cluster, &mut copy).await;
        assert!(tokio::time::timeout(Duration::from_millis(20), &mut copy).await.is_err());
        assert!(cluster.counts.copies.load(Ordering::Relaxed) > 0, "the servers are at it");
        cluster.set_faults(NO_FAULTS);
        assert_eq!(copy.await, Ok(LONG));
        while vfs.fsync(target).await.is_err() {}
        let other = super::vfs(&cluster);
        let reader = other.open(attr.ino, PLAIN).await.unwrap();
        assert!(all_of(&other, reader).await == copied);
    });
}

#[test]
fn what_could_not_be_stored_yet_is_copied_and_is_no_hole() {
    run(async {
        let cluster = MemoryCluster::new();
        let vfs = vfs(&cluster);
        let ((_, source), (attr, target)) = (new_file(&vfs, "from").await, new_file(&vfs, "to").await);
        vfs.sync_all().await.unwrap();
        cluster.set_faults(HANGS);
        vfs.write(source, 0, &[2; 200_000], None).await.unwrap();
        let mut seek = Box::pin(vfs.seek(source, 0, Seek::Data));
        behind_a_failing_write(&cluster, &mut seek).await;
        assert_eq!(seek.await, Ok(0));
        let mut copy = Box::pin(vfs.copy(USER, (source, 0), (target, 0), LONG));
        behind_a_failing_write(&cluster, &mut copy).await;
        assert!(tokio::time::timeout(Duration::from_millis(20), &mut copy).await.is_ok_and(|done| done == Ok(200_000)));
        cluster.set_faults(NO_FAULTS);
        while vfs.fsync(source).await.is_err() {}
        vfs.fsync(target).await.unwrap();
        let other = super::vfs(&cluster);
        let reader = other.open(attr.ino, PLAIN).await.unwrap();
        assert!(all_of(&other, reader).await == [2; 200_000]);
        assert_eq!(vfs.0.pusher.again.load(Ordering::Relaxed), 0);
    });
}
