//! Operations that are told to stop.

use super::*;
use crate::vfs::memory_cluster::{Faults, NO_FAULTS};
use crate::vfs::stop::Stop;
use crate::vfs::{Allocate, Set};
use raidfs_common::error::FsError;
use raidfs_common::limits::CHUNK_BYTES;
use raidfs_common::namespace::RenameMode;
use raidfs_common::pair::Space;
use std::pin::Pin;
use std::sync::atomic::Ordering;

/// Begins `operation`, tells it to stop once `reached` says that it hangs, and then lets it go on.
async fn stopped<T: Send + 'static>(
    cluster: &MemoryCluster,
    operation: impl Future<Output = T> + Send + 'static,
    reached: impl Fn() -> bool,
) -> T {
    let stop = Stop::default();
    let running = tokio::spawn(stop.scope(operation));
    while !reached() {
        tokio::task::yield_now().await;
    }
    stop.tell();
    tokio::task::yield_now().await;
    cluster.set_faults(NO_FAULTS);
    running.await.unwrap()
}

#[test]
fn a_copy_that_is_stopped_says_how_far_it_came_and_copies_no_more() {
    run(async {
        let cluster = MemoryCluster::new();
        let vfs = vfs(&cluster);
        let ((_, source), (attr, target)) = (new_file(&vfs, "from").await, new_file(&vfs, "to").await);
        let length = 20 * CHUNK_BYTES;
        for at in 0..20 {
            vfs.write(source, at * CHUNK_BYTES, &[7; CHUNK_BYTES as usize], None).await.unwrap();
        }
        vfs.fsync(source).await.unwrap();
        cluster.set_faults(Faults { copies_hang: true, ..NO_FAULTS });
        let (copying, counts) = (vfs.clone(), cluster.clone());
        let copied =
            stopped(&cluster, async move { copying.copy(USER, (source, 0), (target, 0), length).await }, move || {
                counts.counts.copies.load(Ordering::Relaxed) > 0
            })
            .await;
        let copied = copied.unwrap();
        assert!(copied > 0 && copied < length, "{copied}");
        assert_eq!(vfs.getattr(attr.ino).await.unwrap().size, copied);
        let copies = cluster.counts.copies.load(Ordering::Relaxed);
        vfs.fsync(target).await.unwrap();
        assert_eq!(cluster.counts.copies.load(Ordering::Relaxed), copies, "nothing goes on");
        vfs.close().await.unwrap();
    });
}

#[test]
fn an_allocation_that_is_stopped_leaves_the_file_as_long_as_it_was() {
    run(async {
        let cluster = MemoryCluster::new();
        let vfs = vfs(&cluster);
        let (attr, handle) = new_file(&vfs, "f").await;
        vfs.write(handle, 0, b"here", None).await.unwrap();
        vfs.fsync(handle).await.unwrap();
        let before = cluster.counts.chunk_changes.load(Ordering::Relaxed);
        cluster.set_faults(Faults { chunks_hang: true, ..NO_FAULTS });
        let (growing, counts) = (vfs.clone(), cluster.clone());
        let result = stopped(
            &cluster,
            async move { growing.allocate(USER, handle, 0..100 * CHUNK_BYTES, Allocate::Reserve, false).await },
            move || counts.counts.chunk_changes.load(Ordering::Relaxed) > before,
        )
        .await;
        assert_eq!(result, Err(FsError::Interrupted));
        assert_eq!(cluster.counts.chunk_changes.load(Ordering::Relaxed), before + 1, "the first piece came to its end");
        assert_eq!(vfs.getattr(attr.ino).await.unwrap().size, 4);
        vfs.close().await.unwrap();
    });
}

#[test]
fn who_waits_for_servers_with_nothing_half_done_stops_at_once() {
    run(async {
        let cluster = MemoryCluster::new();
        let vfs = vfs(&cluster);
        let (attr, handle) = new_file(&vfs, "new").await;
        new_file(&vfs, "old").await;
        // Long enough for the servers to copy it.
        const LENGTH: u64 = 256 << 10;
        vfs.write(handle, 0, &[1; LENGTH as usize], None).await.unwrap();
        vfs.fsync(handle).await.unwrap();
        let sync = vfs.open(attr.ino, OpenMode { sync: true, ..PLAIN }).await.unwrap();
        let (_, target) = new_file(&vfs, "target").await;
        cluster.set_faults(Faults { chunks_hang: true, ..NO_FAULTS });
        vfs.write(handle, 0, b"behind", None).await.unwrap();
        type Call = Pin<Box<dyn Future<Output = Result<(), FsError>> + Send>>;
        let [a, b, c, d, e] = std::array::from_fn(|_| vfs.clone());
        let calls: [Call; 5] = [
            Box::pin(async move { a.write(sync, 0, b"synced", None).await }),
            Box::pin(async move { b.rename(ROOT, b"new", ROOT, b"old", RenameMode::Replace).await }),
            Box::pin(async move { c.allocate(USER, handle, 0..CHUNK_BYTES, Allocate::Reserve, false).await }),
            Box::pin(async move { d.copy(USER, (handle, 0), (target, 0), LENGTH).await.map(drop) }),
            Box::pin(async move { e.setattr(USER, attr.ino, Set { size: Some(3), ..Set::default() }).await.map(drop) }),
        ];
        for (n, call) in calls.into_iter().enumerate() {
            let stop = Stop::default();
            let running = tokio::spawn(stop.scope(call));
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
            assert!(!running.is_finished(), "call {n} waits");
            stop.tell();
            assert_eq!(running.await.unwrap(), Err(FsError::Interrupted), "call {n}");
        }
        cluster.set_faults(NO_FAULTS);
        vfs.fsync(handle).await.unwrap();
        assert_eq!(vfs.getattr(attr.ino).await.unwrap().size, LENGTH, "nothing of it goes on");
        assert!(vfs.lookup(ROOT, b"old").await.is_ok());
        vfs.close().await.unwrap();
    });
}

/// A file of which so much is on its way that a write waits for room, until the cluster does not hang any more. Returns where
/// what was written ends.
async fn crowded(cluster: &MemoryCluster, vfs: &Vfs<MemoryCluster>, handle: u64) -> u64 {
    vfs.fsync(handle).await.unwrap();
    vfs.0.allowance.renew(1 << 40);
    cluster.set_faults(Faults { chunks_hang: true, ..NO_FAULTS });
    let mut end = 0;
    while let Some(result) = vfs.write_now(handle, end, &[1; CHUNK_BYTES as usize], false) {
        result.unwrap();
        end += CHUNK_BYTES;
    }
    end
}

#[test]
fn a_write_that_is_stopped_while_it_waits_for_room_is_made_as_on_a_local_disk() {
    run(async {
        let cluster = MemoryCluster::new();
        cluster.set_space(Space { total: 1 << 40, free: 1 << 40 });
        let vfs = vfs(&cluster);
        let (attr, handle) = new_file(&vfs, "f").await;
        let end = crowded(&cluster, &vfs, handle).await;
        let writing = vfs.clone();
        let write = async move { writing.write(handle, end, b"more", None).await };
        assert_eq!(stopped(&cluster, write, || true).await, Err(FsError::Interrupted));
        vfs.fsync(handle).await.unwrap();
        assert_eq!(vfs.getattr(attr.ino).await.unwrap().size, end + 4);
        assert_eq!(vfs.read(handle, end, 9).await.unwrap(), b"more"[..]);
        vfs.close().await.unwrap();
    });
}

#[test]
fn no_read_overtakes_a_write_that_waits_for_room() {
    run(async {
        let cluster = MemoryCluster::new();
        cluster.set_space(Space { total: 1 << 40, free: 1 << 40 });
        let vfs = vfs(&cluster);
        let (_, small) = new_file(&vfs, "small").await;
        vfs.write(small, 0, b"old", None).await.unwrap();
        let (_, handle) = new_file(&vfs, "f").await;
        crowded(&cluster, &vfs, handle).await;
        let write = vfs.write(small, 0, b"new", None);
        let mut write = std::pin::pin!(write);
        assert!(futures::poll!(&mut write).is_pending(), "it waits");
        assert_eq!(vfs.read(small, 0, 3).await.unwrap(), b"new"[..], "which came later");
        cluster.set_faults(NO_FAULTS);
        write.await.unwrap();
        vfs.close().await.unwrap();
    });
}
