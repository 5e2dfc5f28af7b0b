//! Both servers of a pair lose power: what had landed and was not synced is gone there.

use super::{PLAIN, USER, new_file, run, until, vfs};
use crate::vfs::memory_cluster::{Faults, MemoryCluster};
use crate::vfs::retained::RETAINED_BYTES_MAX;
use crate::vfs::{Set, Vfs, space::Allocate};
use raidfs_common::error::FsError;
use raidfs_common::id::{ChunkId, Ino, PairId};
use std::sync::Arc;
use std::sync::atomic::Ordering;

fn lose_power(cluster: &MemoryCluster) {
    cluster.lose_power(PairId(0));
    cluster.lose_power(PairId(1));
}

fn first_chunk(cluster: &MemoryCluster, ino: Ino) -> Option<Vec<u8>> {
    cluster.chunk(ChunkId { ino, index: 0 })
}

/// A file with these bytes at its beginning, in a file system of its own.
async fn written(bytes: &[u8]) -> (Arc<MemoryCluster>, Vfs<MemoryCluster>, Ino, u64) {
    let cluster = MemoryCluster::new();
    let vfs = vfs(&cluster);
    let (attr, handle) = new_file(&vfs, "f").await;
    vfs.write(handle, 0, bytes, None).await.unwrap();
    (cluster, vfs, attr.ino, handle)
}

/// Waits until everything that was written to a file has landed, and nothing of it was synced.
async fn landed(vfs: &Vfs<MemoryCluster>, cluster: &MemoryCluster, ino: Ino) {
    let file = vfs.0.files.lock()[&ino].clone();
    vfs.0.landed(&file).await;
    assert!(!cluster.is_synced(ChunkId { ino, index: 0 }));
}

/// Closes a file, and waits until all of it has landed, and the mount has none open.
async fn closed(vfs: &Vfs<MemoryCluster>, cluster: &MemoryCluster, ino: Ino, handle: u64) {
    vfs.release(handle).unwrap();
    until(|| first_chunk(cluster, ino).is_some() && vfs.0.files.lock().is_empty()).await;
}

fn syncs(cluster: &MemoryCluster) -> u64 {
    cluster.counts.syncs.load(Ordering::Relaxed)
}

#[test]
fn a_sync_that_a_loss_overtook_makes_durable_what_was_written() {
    run(async {
        let cluster = MemoryCluster::new();
        let vfs = vfs(&cluster);
        let (attr, handle) = new_file(&vfs, "log").await;
        for line in 0..3u8 {
            cluster.set_faults(Faults { syncs_hang: true, ..Faults::default() });
            vfs.write(handle, u64::from(line) * 4, &[line; 4], None).await.unwrap();
            let before = syncs(&cluster);
            let other = vfs.clone();
            let sync = tokio::spawn(async move { other.fsync(handle).await });
            until(|| syncs(&cluster) > before).await;
            lose_power(&cluster);
            cluster.set_faults(Faults::default());
            assert_eq!(sync.await.unwrap(), Ok(()));
            let lines: Vec<u8> = (0..=line).flat_map(|line| [line; 4]).collect();
            assert_eq!(first_chunk(&cluster, attr.ino), Some(lines));
            assert!(cluster.is_synced(ChunkId { ino: attr.ino, index: 0 }));
        }
    });
}

#[test]
fn what_is_lost_of_an_open_file_is_sent_once_more_and_nothing_older_than_what_is_there() {
    run(async {
        let (cluster, vfs, ino, handle) = written(&[1; 10]).await;
        landed(&vfs, &cluster, ino).await;
        vfs.write(handle, 4, &[2; 4], None).await.unwrap();
        landed(&vfs, &cluster, ino).await;
        // This one waits to be sent.
        vfs.write(handle, 6, &[3; 2], None).await.unwrap();
        lose_power(&cluster);
        assert_eq!(first_chunk(&cluster, ino), None);
        let whole = [1, 1, 1, 1, 2, 2, 3, 3, 1, 1];
        until(|| first_chunk(&cluster, ino).is_some_and(|bytes| bytes == whole)).await;
        vfs.fsync(handle).await.unwrap();
        lose_power(&cluster);
        assert_eq!(first_chunk(&cluster, ino).as_deref(), Some(&whole[..]), "it was synced");
        assert_eq!(vfs.0.retained.load(Ordering::Relaxed), 0);
    });
}

#[test]
fn cut_bytes_are_not_sent_once_more() {
    run(async {
        let (cluster, vfs, ino, handle) = written(&[1; 10_000]).await;
        landed(&vfs, &cluster, ino).await;
        vfs.setattr(USER, ino, Set { size: Some(100), ..Set::default() }).await.unwrap();
        lose_power(&cluster);
        until(|| first_chunk(&cluster, ino).is_some()).await;
        vfs.fsync(handle).await.unwrap();
        assert_eq!(first_chunk(&cluster, ino), Some(vec![1; 100]));
    });
}

/// After a loss that cannot be made up for, and once more after nothing.
async fn is_told_once(vfs: &Vfs<MemoryCluster>, cluster: &MemoryCluster, handle: u64) {
    lose_power(cluster);
    assert_eq!(vfs.fsync(handle).await, Err(FsError::Io));
    assert_eq!(vfs.fsync(handle).await, Ok(()));
    vfs.write(handle, 0, b"x", None).await.unwrap();
    assert_eq!(vfs.fsync(handle).await, Ok(()));
    lose_power(cluster);
    assert_eq!(vfs.fsync(handle).await, Ok(()), "everything was synced");
}

#[test]
fn who_wrote_more_than_is_kept_is_told_that_it_is_lost() {
    run(async {
        let (cluster, vfs, ino, handle) = written(&vec![1; 2 * RETAINED_BYTES_MAX]).await;
        landed(&vfs, &cluster, ino).await;
        is_told_once(&vfs, &cluster, handle).await;
    });
}

#[test]
fn who_made_a_hole_is_told_that_it_is_lost() {
    run(async {
        let (cluster, vfs, ino, handle) = written(&[1; 8192]).await;
        vfs.fsync(handle).await.unwrap();
        vfs.allocate(USER, handle, 0..4096, Allocate::Punch, true).await.unwrap();
        landed(&vfs, &cluster, ino).await;
        is_told_once(&vfs, &cluster, handle).await;
    });
}

#[test]
fn of_a_file_that_was_closed_the_next_sync_tells() {
    run(async {
        let (cluster, vfs, ino, handle) = written(&[1; 100]).await;
        closed(&vfs, &cluster, ino, handle).await;
        assert_eq!(vfs.0.retained.load(Ordering::Relaxed), 0);
        lose_power(&cluster);
        assert_eq!(vfs.sync_all().await, Err(FsError::Io));
        assert_eq!(vfs.sync_all().await, Ok(()));
        let handle = vfs.open(ino, PLAIN).await.unwrap();
        is_told_once(&vfs, &cluster, handle).await;
    });
}

#[test]
fn of_what_was_closed_and_then_synced_or_removed_nothing_is_lost() {
    run(async {
        let (cluster, vfs, synced, handle) = written(&[1; 100]).await;
        let (removed, other) = new_file(&vfs, "removed").await;
        vfs.write(other, 0, &[2; 100], None).await.unwrap();
        for (ino, handle) in [(synced, handle), (removed.ino, other)] {
            vfs.release(handle).unwrap();
            until(|| first_chunk(&cluster, ino).is_some()).await;
        }
        until(|| vfs.0.files.lock().is_empty()).await;
        let handle = vfs.open(synced, PLAIN).await.unwrap();
        vfs.fsync(handle).await.unwrap();
        vfs.release(handle).unwrap();
        vfs.unlink(Ino::ROOT, b"removed").await.unwrap();
        until(|| vfs.0.files.lock().is_empty()).await;
        lose_power(&cluster);
        assert_eq!(vfs.sync_all().await, Ok(()));
    });
}

#[test]
fn of_what_was_closed_after_a_sync_of_everything_nothing_is_lost() {
    run(async {
        let (cluster, vfs, ino, handle) = written(&vec![1; 2 * RETAINED_BYTES_MAX]).await;
        vfs.sync_all().await.unwrap();
        closed(&vfs, &cluster, ino, handle).await;
        lose_power(&cluster);
        assert_eq!(vfs.sync_all().await, Ok(()));
        let handle = vfs.open(ino, PLAIN).await.unwrap();
        assert_eq!(vfs.fsync(handle).await, Ok(()));
    });
}

#[test]
fn of_what_was_closed_before_a_sync_of_everything_nothing_is_lost() {
    run(async {
        let (cluster, vfs, ino, handle) = written(&[1; 100]).await;
        closed(&vfs, &cluster, ino, handle).await;
        vfs.sync_all().await.unwrap();
        lose_power(&cluster);
        let handle = vfs.open(ino, PLAIN).await.unwrap();
        assert_eq!(vfs.fsync(handle).await, Ok(()));
        closed(&vfs, &cluster, ino, handle).await;
        assert_eq!(vfs.sync_all().await, Ok(()));
    });
}

#[test]
fn of_a_file_that_was_closed_and_is_open_again_its_loss_is_told() {
    run(async {
        let (cluster, vfs, ino, handle) = written(&[1; 100]).await;
        closed(&vfs, &cluster, ino, handle).await;
        let handle = vfs.open(ino, PLAIN).await.unwrap();
        vfs.release(handle).unwrap();
        lose_power(&cluster);
        assert_eq!(vfs.sync_all().await, Err(FsError::Io), "it was opened and not synced");
        assert_eq!(vfs.sync_all().await, Ok(()));
    });
}

#[test]
fn so_many_files_that_were_closed_are_told_apart_and_the_oldest_of_all_counts() {
    use crate::vfs::cluster::LossMark;
    use crate::vfs::losses::{LEFT_MAX, Left};
    let mut left = Left::default();
    assert_eq!(left.since(), None);
    (0..LEFT_MAX as u64).for_each(|n| left.insert(Ino(n + 1), LossMark(5)));
    left.insert(Ino(1), LossMark(7));
    assert_eq!(left.remove(Ino(1)), Some(LossMark(5)));
    left.insert(Ino(1), LossMark(6));
    assert_eq!(left.since(), Some(LossMark(5)));
    left.insert(Ino(1 << 40), LossMark(4));
    assert_eq!((left.remove(Ino(1 << 40)), left.since()), (None, Some(LossMark(4))), "it is one of too many");
    let mut all = Left::default();
    all.insert(Ino(1), LossMark(3));
    all.extend(left);
    assert_eq!((all.remove(Ino(1)), all.since()), (Some(LossMark(3)), Some(LossMark(4))));
}

#[test]
fn a_sync_of_everything_that_a_loss_overtook_makes_durable_what_was_written() {
    run(async {
        let (cluster, vfs, ino, _) = written(b"kept").await;
        cluster.set_faults(Faults { syncs_hang: true, ..Faults::default() });
        let other = vfs.clone();
        let sync = tokio::spawn(async move { other.sync_all().await });
        until(|| syncs(&cluster) > 0).await;
        lose_power(&cluster);
        cluster.set_faults(Faults::default());
        assert_eq!(sync.await.unwrap(), Ok(()));
        assert_eq!(first_chunk(&cluster, ino).as_deref(), Some(&b"kept"[..]));
        assert!(cluster.is_synced(ChunkId { ino, index: 0 }));
    });
}

#[test]
fn a_sync_of_everything_beside_another_is_not_done_before_that_one() {
    run(async {
        let (cluster, vfs, ino, _) = written(b"kept").await;
        cluster.set_faults(Faults { syncs_hang: true, ..Faults::default() });
        let sync = || {
            let vfs = vfs.clone();
            tokio::spawn(async move { vfs.sync_all().await })
        };
        let first = sync();
        until(|| syncs(&cluster) > 0).await;
        let second = sync();
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(!second.is_finished());
        lose_power(&cluster);
        cluster.set_faults(Faults::default());
        assert_eq!((first.await.unwrap(), second.await.unwrap()), (Ok(()), Ok(())));
        assert_eq!(first_chunk(&cluster, ino).as_deref(), Some(&b"kept"[..]));
        assert!(cluster.is_synced(ChunkId { ino, index: 0 }));
    });
}

#[test]
fn the_loss_of_another_pair_is_none() {
    run(async {
        let (cluster, vfs, ino, handle) = written(&vec![1; 2 * RETAINED_BYTES_MAX]).await;
        landed(&vfs, &cluster, ino).await;
        let mine = vfs.getattr(ino).await.unwrap().placement.first_pair;
        cluster.lose_power(PairId(1 - mine));
        assert_eq!(vfs.fsync(handle).await, Ok(()));
    });
}
