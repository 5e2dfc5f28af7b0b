//! Errors that come after the answer: each is told once, to whoever can still act.

use super::*;
use crate::vfs::cluster::Cluster;
use crate::vfs::memory_cluster::Faults;
use crate::vfs::{Allocate, Doubtful, Set};
use raidfs_common::error::FsError;
use raidfs_common::namespace::{Query, RenameMode};
use raidfs_common::pair::Space;
use std::sync::atomic::Ordering;

fn broken(error: FsError) -> Faults {
    Faults { chunk_changes: Some(error), ..Faults::default() }
}

/// What becomes of an operation that has waited for servers that hang, for so long that it is tried once more, and then fails.
async fn in_vain<T>(cluster: &MemoryCluster, operation: impl Future<Output = T>) -> T {
    let mut operation = Box::pin(operation);
    assert!(tokio::time::timeout(Duration::from_millis(1100), &mut operation).await.is_err(), "it waits");
    cluster.set_faults(broken(FsError::Io));
    operation.await
}

#[test]
fn a_lost_write_is_told_at_fsync() {
    run(async {
        let cluster = MemoryCluster::new();
        let vfs = vfs(&cluster);
        let (_, handle) = new_file(&vfs, "f").await;
        cluster.set_faults(broken(FsError::Io));
        vfs.write(handle, 0, b"lost", None).await.unwrap();
        assert_eq!(vfs.fsync(handle).await, Err(FsError::Io));
        cluster.set_faults(Faults::default());
        assert_eq!(vfs.fsync(handle).await, Ok(()), "told once");
    });
}

#[test]
fn a_write_that_found_no_room_makes_the_file_no_longer() {
    run(async {
        let cluster = MemoryCluster::new();
        let vfs = vfs(&cluster);
        let (attr, handle) = new_file(&vfs, "log").await;
        let size = async || vfs.getattr(attr.ino).await.unwrap().size;
        vfs.write(handle, 0, &[1; 100], None).await.unwrap();
        vfs.fsync(handle).await.unwrap();
        cluster.set_faults(broken(FsError::NoSpace));
        // Answered before it is known that there is no room,
        vfs.write(handle, 100, &[2; 5000], None).await.unwrap();
        assert_eq!(vfs.fsync(handle).await, Err(FsError::NoSpace));
        assert_eq!(size().await, 100);
        // and behind that.
        for _ in 0..3 {
            assert_eq!(vfs.write(handle, 100, &[2; 5000], None).await, Err(FsError::NoSpace));
            assert_eq!(size().await, 100);
        }
        cluster.set_faults(Faults::default());
        vfs.write(handle, 100, &[3; 10], None).await.unwrap();
        vfs.fsync(handle).await.unwrap();
        assert_eq!(size().await, 110);
        vfs.release(handle).unwrap();
        let reader = super::vfs(&cluster);
        assert_eq!(reader.getattr(attr.ino).await.unwrap().size, 110, "so the cluster knows it");
    });
}

#[test]
fn a_write_that_has_waited_in_vain_is_told_and_made_later() {
    run(async {
        let cluster = MemoryCluster::new();
        let vfs = vfs(&cluster);
        let (attr, handle) = new_file(&vfs, "log").await;
        vfs.write(handle, 0, b"first ", None).await.unwrap();
        vfs.fsync(handle).await.unwrap();
        cluster.set_faults(Faults { chunks_hang: true, ..Faults::default() });
        vfs.write(handle, 6, b"second ", None).await.unwrap();
        assert_eq!(in_vain(&cluster, vfs.fsync(handle)).await, Err(FsError::Io));
        assert_eq!(super::vfs(&cluster).getattr(attr.ino).await.unwrap().size, 6, "no longer than its bytes");
        cluster.set_faults(Faults::default());
        vfs.write(handle, 13, b"third", None).await.unwrap();
        while vfs.fsync(handle).await.is_err() {}
        let reader = super::vfs(&cluster);
        assert_eq!(reader.getattr(attr.ino).await.unwrap().size, 18);
        let other = reader.open(attr.ino, PLAIN).await.unwrap();
        assert_eq!(reader.read(other, 0, 100).await.unwrap(), &b"first second third"[..]);
    });
}

#[test]
fn what_could_not_be_stored_makes_the_file_no_longer() {
    run(async {
        let cluster = MemoryCluster::new();
        let vfs = vfs(&cluster);
        let (attr, handle) = new_file(&vfs, "log").await;
        vfs.write(handle, 0, b"first", None).await.unwrap();
        vfs.fsync(handle).await.unwrap();
        cluster.set_faults(broken(FsError::Io));
        vfs.write(handle, 5, b"lost", None).await.unwrap();
        assert_eq!(vfs.fsync(handle).await, Err(FsError::Io));
        assert_eq!(vfs.getattr(attr.ino).await.unwrap().size, 5);
        cluster.set_faults(Faults::default());
        vfs.write(handle, 5, b" second", None).await.unwrap();
        vfs.fsync(handle).await.unwrap();
        let reader = super::vfs(&cluster);
        assert_eq!(reader.getattr(attr.ino).await.unwrap().size, 12, "so the cluster knows it");
    });
}

#[test]
fn what_a_mount_has_to_give_up_as_it_ends_leaves_no_zeros() {
    run(async {
        let cluster = MemoryCluster::new();
        let vfs = vfs(&cluster);
        let (attr, handle) = new_file(&vfs, "log").await;
        vfs.write(handle, 0, b"first", None).await.unwrap();
        vfs.fsync(handle).await.unwrap();
        cluster.set_faults(Faults { chunks_hang: true, ..Faults::default() });
        vfs.write(handle, 5, b"unsent", None).await.unwrap();
        vfs.release(handle).unwrap();
        // It is kept for another try, which the end does not wait for.
        assert_eq!(in_vain(&cluster, vfs.close()).await, Err(FsError::Io));
        while !vfs.0.files.lock().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(super::vfs(&cluster).getattr(attr.ino).await.unwrap().size, 5);
    });
}

#[test]
fn a_lost_write_is_told_at_close() {
    run(async {
        let cluster = MemoryCluster::new();
        let vfs = vfs(&cluster);
        let (_, handle) = new_file(&vfs, "f").await;
        cluster.set_faults(broken(FsError::NoSpace));
        vfs.write(handle, 0, &[0; 1 << 20], None).await.unwrap();
        let mut told = Ok(());
        while told.is_ok() {
            tokio::time::sleep(Duration::from_millis(1)).await;
            told = vfs.flush(handle);
        }
        assert_eq!(told, Err(FsError::NoSpace));
        cluster.set_faults(Faults::default());
        assert_eq!(
            vfs.fsync(handle).await,
            Err(FsError::NoSpace),
            "the close may have been that of a child, at its end"
        );
        assert_eq!((vfs.flush(handle), vfs.fsync(handle).await), (Ok(()), Ok(())));
    });
}

#[test]
fn a_lost_write_is_told_to_everyone_who_has_the_file_open() {
    run(async {
        let cluster = MemoryCluster::new();
        let vfs = vfs(&cluster);
        let (attr, one) = new_file(&vfs, "f").await;
        let two = vfs.open(attr.ino, PLAIN).await.unwrap();
        cluster.set_faults(broken(FsError::Io));
        vfs.write(one, 0, b"lost", None).await.unwrap();
        let both = futures::join!(vfs.fsync(one), vfs.fsync(two));
        assert_eq!(both, (Err(FsError::Io), Err(FsError::Io)));
        cluster.set_faults(Faults::default());
        let later = vfs.open(attr.ino, PLAIN).await.unwrap();
        for handle in [one, two, later] {
            assert_eq!(vfs.fsync(handle).await, Ok(()));
        }
    });
}

#[test]
fn writers_wait_while_too_much_is_kept() {
    run(async {
        let cluster = MemoryCluster::new();
        cluster.set_space(Space { total: 1 << 40, free: 1 << 39 });
        let vfs = vfs(&cluster);
        let (_, handle) = new_file(&vfs, "f").await;
        cluster.set_faults(Faults { chunks_hang: true, ..Faults::default() });
        let piece = vec![1; 1 << 20];
        let mut written = 0u64;
        while vfs.write_now(handle, written << 20, &piece, false) == Some(Ok(())) {
            written += 1;
            assert!(written < 200, "nothing bounds what is kept");
        }
        assert!(written >= 32, "only {written} MiB are kept");
        let write = vfs.write(handle, written << 20, &piece, None);
        let patience = Duration::from_millis(20);
        let mut write = Box::pin(write);
        assert!(tokio::time::timeout(patience, &mut write).await.is_err(), "it waits");
        cluster.set_faults(Faults::default());
        write.await.unwrap();
        vfs.fsync(handle).await.unwrap();
    });
}

#[test]
fn a_change_that_fails_after_its_answer_is_told_at_the_next_sync() {
    run(async {
        let cluster = MemoryCluster::new();
        let vfs = vfs(&cluster);
        let (dir, other) = (new_dir(&vfs, "d").await, new_dir(&vfs, "e").await);
        vfs.sync_all().await.unwrap();
        let (one, two) = (vfs.opendir(dir, PLAIN).await.unwrap(), vfs.opendir(dir, PLAIN).await.unwrap());
        let (beside, last) = (vfs.opendir(other, PLAIN).await.unwrap(), vfs.opendir(other, PLAIN).await.unwrap());
        cluster.set_faults(Faults { names: Some(FsError::Io), ..Faults::default() });
        vfs.make(USER, dir, b"f", NewNode::file(0o644)).await.unwrap();
        assert_eq!(vfs.fsyncdir(one).await, Err(FsError::Io));
        assert_eq!(vfs.fsyncdir(two).await, Err(FsError::Io), "each is told");
        assert_eq!(vfs.fsyncdir(beside).await, Ok(()), "but for who has another directory");
        vfs.make(USER, other, b"g", NewNode::file(0o644)).await.unwrap();
        assert_eq!(vfs.fsyncdir(last).await, Err(FsError::Io));
        cluster.set_faults(Faults::default());
        assert_eq!(vfs.lookup(dir, b"f").await, Err(FsError::NotFound));
        assert_eq!(vfs.getattr(dir).await.unwrap().size, 0);
        vfs.make(USER, dir, b"f", NewNode::file(0o644)).await.unwrap();
        vfs.fsyncdir(one).await.unwrap();
        assert_eq!(names_in(&vfs, dir).await, ["f"]);
    });
}

#[test]
fn strict_changes_are_answered_when_they_are_made() {
    run(async {
        let cluster = MemoryCluster::new();
        let vfs = Vfs::new(cluster.clone(), Options { strict: true, ..Options::default() });
        let dir = new_dir(&vfs, "d").await;
        cluster.set_faults(Faults { names_hang: true, ..Faults::default() });
        let mut make = Box::pin(vfs.make(USER, dir, b"f", NewNode::file(0o644)));
        assert!(tokio::time::timeout(Duration::from_millis(20), &mut make).await.is_err(), "it waits");
        cluster.set_faults(Faults::default());
        make.await.unwrap();
    });
}

#[test]
fn a_change_that_is_durable_when_it_is_answered_is_answered_with_its_error() {
    let strict = Options { strict: true, ..Options::default() };
    for (options, synchronous) in [(strict, false), (Options::default(), true)] {
        run(async {
            let cluster = MemoryCluster::new();
            let vfs = Vfs::new(cluster.clone(), options);
            vfs.set_synchronous(synchronous);
            let dir = new_dir(&vfs, "d").await;
            cluster.set_faults(Faults { names: Some(FsError::Io), ..Faults::default() });
            assert_eq!(vfs.make(USER, dir, b"f", NewNode::file(0o644)).await.err(), Some(FsError::Io));
            cluster.set_faults(Faults::default());
            let handle = vfs.opendir(dir, PLAIN).await.unwrap();
            assert_eq!(vfs.fsyncdir(handle).await, Ok(()), "who asked for it knows");
            assert_eq!(names_in(&vfs, dir).await, [""; 0]);
        });
    }
}

#[test]
fn the_end_of_an_orphan_is_nobodys_error_and_is_told_until_it_is_known() {
    run(async {
        let cluster = MemoryCluster::new();
        let vfs = vfs(&cluster);
        let ((_, beside), (attr, handle)) = (new_file(&vfs, "beside").await, new_file(&vfs, "f").await);
        let is_there = async || cluster.ask(Query::GetAttr { ino: attr.ino }).await.is_ok();
        vfs.unlink(ROOT, b"f").await.unwrap();
        vfs.sync_all().await.unwrap();
        assert!(is_there().await);
        cluster.set_faults(Faults { names: Some(FsError::Io), ..Faults::default() });
        vfs.release(handle).unwrap();
        until(|| !vfs.0.names.lock().unreleased.is_empty()).await;
        cluster.set_faults(Faults::default());
        assert_eq!(vfs.fsync(beside).await, Ok(()));
        while is_there().await {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
}

#[test]
fn an_access_time_that_is_lost_is_nobodys_error() {
    run(async {
        let cluster = MemoryCluster::new();
        let vfs = vfs(&cluster);
        let (_, handle) = new_file(&vfs, "f").await;
        vfs.write(handle, 0, b"read", None).await.unwrap();
        vfs.fsync(handle).await.unwrap();
        cluster.set_faults(Faults { names: Some(FsError::Io), ..Faults::default() });
        vfs.read(handle, 0, 4).await.unwrap();
        let before = cluster.counts.changes.load(Ordering::Relaxed);
        vfs.0.send_atimes();
        until(|| cluster.counts.changes.load(Ordering::Relaxed) > before).await;
        cluster.set_faults(Faults::default());
        assert_eq!(vfs.fsync(handle).await, Ok(()));
    });
}

#[test]
fn the_kernel_is_to_forget_what_a_call_that_failed_may_have_done_in_part() {
    run(async {
        let cluster = MemoryCluster::new();
        let vfs = vfs(&cluster);
        let doubts = vfs.doubts().unwrap();
        let (attr, handle) = new_file(&vfs, "f").await;
        vfs.write(handle, 0, &[1; 9000], None).await.unwrap();
        vfs.fsync(handle).await.unwrap();
        cluster.set_faults(broken(FsError::Io));
        assert!(vfs.allocate(USER, handle, 0..5000, Allocate::Punch, true).await.is_err());
        assert_eq!(doubts.try_iter().collect::<Vec<_>>(), [Doubtful::Inode(attr.ino)]);
        let (copy, target) = new_file(&vfs, "copy").await;
        vfs.set_synchronous(false);
        let sync = vfs.open(copy.ino, OpenMode { sync: true, ..PLAIN }).await.unwrap();
        assert!(vfs.copy(USER, (handle, 0), (sync, 0), 5000).await.is_err());
        assert!(doubts.try_iter().any(|doubt| doubt == Doubtful::Inode(copy.ino)));
        vfs.release(target).unwrap();
    });
}

#[test]
fn what_is_written_beside_a_change_of_the_size_is_sent() {
    run(async {
        let cluster = MemoryCluster::new();
        let vfs = Vfs::new(cluster.clone(), Options { strict: true, ..Options::default() });
        let (attr, handle) = new_file(&vfs, "f").await;
        vfs.fsync(handle).await.unwrap();
        cluster.set_faults(Faults { names_hang: true, ..Faults::default() });
        let mut larger = Box::pin(vfs.setattr(USER, attr.ino, Set { size: Some(100), ..Set::default() }));
        assert!(tokio::time::timeout(Duration::from_millis(20), &mut larger).await.is_err(), "it waits");
        vfs.write(handle, 0, b"bytes", None).await.unwrap();
        let mut both = Box::pin(futures::future::join(larger, vfs.fsync(handle)));
        assert!(tokio::time::timeout(Duration::from_millis(500), &mut both).await.is_err(), "both do");
        cluster.set_faults(Faults::default());
        let (cut, synced) = tokio::time::timeout(Duration::from_secs(10), both).await.expect("both end");
        assert!(cut.is_ok() && synced.is_ok());
    });
}

#[test]
fn a_rename_over_a_file_does_not_go_ahead_without_the_bytes_though_somebody_was_told() {
    run(async {
        let cluster = MemoryCluster::new();
        let vfs = vfs(&cluster);
        let (attr, old) = new_file(&vfs, "old").await;
        vfs.release(old).unwrap();
        let (_, handle) = new_file(&vfs, "new").await;
        vfs.sync_all().await.unwrap();
        cluster.set_faults(Faults { chunks_hang: true, ..Faults::default() });
        vfs.write(handle, 0, b"bytes", None).await.unwrap();
        let rename = vfs.rename(ROOT, b"new", ROOT, b"old", RenameMode::Replace);
        let mut both = Box::pin(futures::future::join(vfs.fsync(handle), rename));
        assert!(tokio::time::timeout(Duration::from_millis(1100), &mut both).await.is_err(), "they wait");
        cluster.break_off();
        let (synced, renamed) = both.await;
        assert_eq!((synced, renamed), (Err(FsError::Io), Err(FsError::Io)));
        assert_eq!(vfs.lookup(ROOT, b"old").await.unwrap().ino, attr.ino, "what was there stays");
        cluster.set_faults(Faults::default());
    });
}
