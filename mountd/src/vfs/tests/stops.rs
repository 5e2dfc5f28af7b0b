//! Operations that are told to stop.

use super::*;
use crate::vfs::Allocate;
use crate::vfs::memory_cluster::{Faults, NO_FAULTS};
use crate::vfs::stop::Stop;
use raidfs_common::error::FsError;
use raidfs_common::limits::CHUNK_BYTES;
use raidfs_common::pair::Space;
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
fn a_write_that_is_stopped_while_it_waits_for_room_is_not_made() {
    run(async {
        let cluster = MemoryCluster::new();
        cluster.set_space(Space { total: 1 << 40, free: 1 << 40 });
        let vfs = vfs(&cluster);
        let (attr, handle) = new_file(&vfs, "f").await;
        vfs.fsync(handle).await.unwrap();
        vfs.0.allowance.renew(1 << 40);
        cluster.set_faults(Faults { chunks_hang: true, ..NO_FAULTS });
        let mut end = 0;
        while let Some(result) = vfs.write_now(handle, end, &[1; CHUNK_BYTES as usize], false) {
            result.unwrap();
            end += CHUNK_BYTES;
        }
        let writing = vfs.clone();
        let write = async move { writing.write(handle, end, b"more", None).await };
        assert_eq!(stopped(&cluster, write, || true).await, Err(FsError::Interrupted));
        vfs.fsync(handle).await.unwrap();
        assert_eq!(vfs.getattr(attr.ino).await.unwrap().size, end);
        vfs.close().await.unwrap();
    });
}
