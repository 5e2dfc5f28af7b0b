//! Files that are open while their names go, and what closing does.

use super::*;
use crate::vfs::cluster::Cluster;
use crate::vfs::memory_cluster::{Faults, NO_FAULTS};
use crate::vfs::{Set, SetTime};
use bytes::Bytes;
use raidfs_common::attr::FileKind;
use raidfs_common::error::FsError;
use raidfs_common::id::ChunkId;
use raidfs_common::namespace::{Query, RenameMode, XattrMode};
use raidfs_common::time::Time;
use std::sync::atomic::Ordering;

#[test]
fn what_was_looked_up_before_it_was_replaced_can_be_opened() {
    run(async {
        let cluster = MemoryCluster::new();
        let vfs = vfs(&cluster);
        let (old, handle) = new_file(&vfs, "f").await;
        vfs.write(handle, 0, b"old", None).await.unwrap();
        vfs.release(handle).unwrap();
        // Once more, as the kernel does it: what was looked up is gone, and so it is the next time.
        let (before, handle) = new_file(&vfs, "before").await;
        vfs.release(handle).unwrap();
        vfs.rename(ROOT, b"f", ROOT, b"before", RenameMode::Replace).await.unwrap();
        assert_eq!(vfs.open(before.ino, PLAIN).await, Err(FsError::Stale), "nobody was known to need it");
        vfs.rename(ROOT, b"before", ROOT, b"f", RenameMode::Replace).await.unwrap();
        let (_, handle) = new_file(&vfs, "new").await;
        vfs.release(handle).unwrap();
        let found = vfs.lookup(ROOT, b"f").await.unwrap().ino;
        assert_eq!(found, old.ino);
        vfs.rename(ROOT, b"new", ROOT, b"f", RenameMode::Replace).await.unwrap();
        let reader = vfs.open(found, PLAIN).await.unwrap();
        assert_eq!(vfs.read(reader, 0, 9).await.unwrap(), &b"old"[..]);
        vfs.release(reader).unwrap();
        assert!(vfs.open(found, PLAIN).await.is_ok_and(|handle| vfs.release(handle).is_ok()), "somebody else, too");
        while cluster.ask(Query::GetAttr { ino: found }).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(vfs.open(found, PLAIN).await, Err(FsError::Stale));
        no_surprises(&vfs);
    });
}

#[test]
fn an_open_file_outlives_its_name() {
    run(async {
        let cluster = MemoryCluster::new();
        let vfs = vfs(&cluster);
        let (attr, handle) = new_file(&vfs, "f").await;
        vfs.write(handle, 0, b"kept", None).await.unwrap();
        vfs.unlink(ROOT, b"f").await.unwrap();
        assert_eq!(vfs.lookup(ROOT, b"f").await, Err(FsError::NotFound));
        vfs.fsync(handle).await.unwrap();
        assert_eq!(vfs.read(handle, 0, 10).await.unwrap(), "kept");
        assert_eq!(vfs.getattr(attr.ino).await.unwrap().nlink, 0);
        assert_eq!(cluster.chunk_count(), 1);
        assert_eq!(vfs.lookup(attr.ino, b".").await.unwrap().ino, attr.ino);
        vfs.release(handle).unwrap();
        assert_eq!(vfs.lookup(attr.ino, b".").await, Err(FsError::Stale), "nor is it found by a handle");
        vfs.sync_all().await.unwrap();
        assert_eq!(cluster.chunk_count(), 0, "its chunks are reaped");
        no_surprises(&vfs);
    });
}

#[test]
fn an_open_file_outlives_its_name_also_if_the_cache_has_no_room_for_that() {
    run(async {
        let limits = crate::vfs::tree::Limits { nodes: 100, entries: 0 };
        let vfs = Vfs::new(MemoryCluster::new(), Options { limits, ..Options::default() });
        for (n, name) in ["unlinked", "replaced"].into_iter().enumerate() {
            let (attr, handle) = new_file(&vfs, name).await;
            vfs.write(handle, 0, b"kept", None).await.unwrap();
            vfs.sync_all().await.unwrap();
            if n == 0 {
                vfs.unlink(ROOT, name.as_bytes()).await.unwrap();
            } else {
                new_file(&vfs, "other").await;
                vfs.rename(ROOT, b"other", ROOT, name.as_bytes(), RenameMode::Replace).await.unwrap();
            }
            vfs.sync_all().await.unwrap();
            assert_eq!(vfs.getattr(attr.ino).await.unwrap().nlink, 0);
            assert_eq!(vfs.read(handle, 0, 10).await.unwrap(), "kept", "{name}");
        }
    });
}

#[test]
fn what_is_closed_while_its_last_name_goes_is_not_kept() {
    run(async {
        let limits = crate::vfs::tree::Limits { nodes: 100, entries: 0 };
        let cluster = MemoryCluster::new();
        let vfs = Vfs::new(cluster.clone(), Options { limits, ..Options::default() });
        let (_, handle) = new_file(&vfs, "f").await;
        vfs.write(handle, 0, b"gone", None).await.unwrap();
        vfs.sync_all().await.unwrap();
        let sent = cluster.counts.changes.load(Ordering::Relaxed);
        cluster.set_faults(Faults { names_hang: true, ..NO_FAULTS });
        let unlinking = vfs.clone();
        let unlinked = tokio::spawn(async move { unlinking.unlink(ROOT, b"f").await });
        while cluster.counts.changes.load(Ordering::Relaxed) == sent {
            tokio::task::yield_now().await;
        }
        vfs.release(handle).unwrap();
        cluster.set_faults(NO_FAULTS);
        unlinked.await.unwrap().unwrap();
        vfs.sync_all().await.unwrap();
        assert_eq!(cluster.chunk_count(), 0, "its chunks are reaped");
        no_surprises(&vfs);
    });
}

#[test]
fn times_that_are_set_behind_a_write_outlive_the_name() {
    run(async {
        let cluster = MemoryCluster::new();
        let vfs = vfs(&cluster);
        let (attr, handle) = new_file(&vfs, "f").await;
        vfs.unlink(ROOT, b"f").await.unwrap();
        vfs.write(handle, 0, b"written", None).await.unwrap();
        let long_ago = Time::default();
        let set = Set { mtime: Some(SetTime::At(long_ago)), ..Set::default() };
        vfs.setattr(USER, attr.ino, set).await.unwrap();
        assert_eq!(vfs.getattr(attr.ino).await.unwrap().mtime, long_ago);
        vfs.release(handle).unwrap();
        no_surprises(&vfs);
    });
}

#[test]
fn what_the_kernel_alone_still_holds_keeps_what_is_set() {
    run(async {
        let vfs = vfs(&MemoryCluster::new());
        let new = NewNode { kind: FileKind::Fifo, perm: 0o600, rdev: 0, target: Bytes::new() };
        let ino = vfs.make(USER, ROOT, b"fifo", new).await.unwrap().ino;
        vfs.unlink(ROOT, b"fifo").await.unwrap();
        // The server has answered, or not yet: it is the same.
        for perm in [0o640, 0o604] {
            vfs.setattr(USER, ino, Set { perm: Some(perm), ..Set::default() }).await.unwrap();
            vfs.setxattr(USER, ino, b"user.a", b"v", XattrMode::Any).await.unwrap();
            vfs.sync_all().await.unwrap();
            assert_eq!(vfs.getattr(ino).await.unwrap().perm, perm);
            assert_eq!(vfs.getxattr(ino, b"user.a").await.unwrap(), "v");
        }
        vfs.let_go(ino);
        vfs.sync_all().await.unwrap();
        no_surprises(&vfs);
    });
}

#[test]
fn what_was_closed_for_good_keeps_its_length_for_the_kernel() {
    run(async {
        let vfs = vfs(&MemoryCluster::new());
        let (attr, handle) = new_file(&vfs, "f").await;
        vfs.unlink(ROOT, b"f").await.unwrap();
        vfs.write(handle, 0, b"never sent", None).await.unwrap();
        vfs.release(handle).unwrap();
        // An O_PATH descriptor may be left.
        assert_eq!(vfs.getattr(attr.ino).await.unwrap().size, 10);
        vfs.sync_all().await.unwrap();
        assert_eq!(vfs.getattr(attr.ino).await.unwrap().size, 10);
        no_surprises(&vfs);
    });
}

#[test]
fn what_is_unlinked_at_once_is_never_sent() {
    run(async {
        let cluster = MemoryCluster::new();
        let vfs = vfs(&cluster);
        let (_, handle) = new_file(&vfs, "f").await;
        vfs.write(handle, 0, &[1; 100_000], None).await.unwrap();
        vfs.unlink(ROOT, b"f").await.unwrap();
        vfs.release(handle).unwrap();
        vfs.sync_all().await.unwrap();
        assert_eq!(cluster.counts.chunk_changes.load(std::sync::atomic::Ordering::Relaxed), 0);
    });
}

#[test]
fn a_file_that_replaces_another_has_its_bytes_first() {
    run(async {
        let cluster = MemoryCluster::new();
        let vfs = vfs(&cluster);
        let (_, old) = new_file(&vfs, "old").await;
        vfs.release(old).unwrap();
        let (new, handle) = new_file(&vfs, "new").await;
        vfs.write(handle, 0, b"contents", None).await.unwrap();
        vfs.rename(ROOT, b"new", ROOT, b"old", RenameMode::Replace).await.unwrap();
        let chunk = ChunkId { ino: new.ino, index: 0 };
        assert_eq!(cluster.chunk(chunk).as_deref(), Some(&b"contents"[..]));
    });
}

#[test]
fn a_replaced_file_that_is_open_lives_on() {
    run(async {
        let vfs = vfs(&MemoryCluster::new());
        let (_, old) = new_file(&vfs, "old").await;
        vfs.write(old, 0, b"old", None).await.unwrap();
        let (_, new) = new_file(&vfs, "new").await;
        vfs.release(new).unwrap();
        vfs.rename(ROOT, b"new", ROOT, b"old", RenameMode::Replace).await.unwrap();
        vfs.fsync(old).await.unwrap();
        assert_eq!(vfs.read(old, 0, 10).await.unwrap(), "old");
        vfs.release(old).unwrap();
        vfs.sync_all().await.unwrap();
        no_surprises(&vfs);
    });
}

#[test]
fn sizes_are_reported_after_the_bytes() {
    run(async {
        let cluster = MemoryCluster::new();
        let vfs = vfs(&cluster);
        let (attr, handle) = new_file(&vfs, "f").await;
        vfs.sync_all().await.unwrap();
        cluster.set_faults(crate::vfs::memory_cluster::Faults { chunks_hang: true, ..Default::default() });
        vfs.write(handle, 0, &[1; 5000], None).await.unwrap();
        vfs.release(handle).unwrap();
        tokio::task::yield_now().await;
        let fresh = super::vfs(&cluster);
        assert_eq!(fresh.getattr(attr.ino).await.unwrap().size, 0, "the bytes are not there yet");
        assert_eq!(vfs.getattr(attr.ino).await.unwrap().size, 5000);
        cluster.set_faults(Default::default());
        let found = || async { super::vfs(&cluster).getattr(attr.ino).await.unwrap() };
        while found().await.size != 5000 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(found().await.blocks, 2);
    });
}

#[test]
fn a_sync_covers_bytes_and_size() {
    run(async {
        let cluster = MemoryCluster::new();
        let vfs = vfs(&cluster);
        let barriers = || cluster.counts.barriers.load(std::sync::atomic::Ordering::Relaxed);
        let (attr, handle) = new_file(&vfs, "f").await;
        vfs.write(handle, 0, &[1; 8192], None).await.unwrap();
        vfs.fsync(handle).await.unwrap();
        let chunk = ChunkId { ino: attr.ino, index: 0 };
        assert!(cluster.is_synced(chunk));
        assert_eq!(barriers(), 1, "the file is new");
        vfs.write(handle, 0, &[2; 8192], None).await.unwrap();
        until(|| !cluster.is_synced(chunk)).await;
        vfs.fsync(handle).await.unwrap();
        assert!(cluster.is_synced(chunk));
        assert_eq!(barriers(), 1, "overwriting needs no barrier");
        vfs.write(handle, 8192, &[2; 1], None).await.unwrap();
        vfs.fsync(handle).await.unwrap();
        assert_eq!(barriers(), 2, "the file grew");
        let time = Some(SetTime::At(Time { secs: 7, nanos: 0 }));
        vfs.setattr(USER, attr.ino, Set { mtime: time, atime: time, ..Set::default() }).await.unwrap();
        vfs.fsync(handle).await.unwrap();
        assert_eq!(barriers(), 3, "a program has set its times");
    });
}

#[test]
fn a_sync_waits_for_what_another_has_begun_to_sync() {
    run(async {
        let cluster = MemoryCluster::new();
        let vfs = vfs(&cluster);
        let syncs = || cluster.counts.syncs.load(std::sync::atomic::Ordering::Relaxed);
        let (attr, handle) = new_file(&vfs, "f").await;
        vfs.write(handle, 0, &[1; 8192], None).await.unwrap();
        cluster.set_faults(Faults { syncs_hang: true, ..Faults::default() });
        let sync = || {
            tokio::spawn({
                let vfs = vfs.clone();
                async move { vfs.fsync(handle).await }
            })
        };
        let first = sync();
        until(|| syncs() == 1).await;
        let second = sync();
        until(|| syncs() == 2 || second.is_finished()).await;
        assert!(!second.is_finished(), "the bytes are not on stable storage yet");
        cluster.set_faults(Faults::default());
        assert_eq!((first.await.unwrap(), second.await.unwrap()), (Ok(()), Ok(())));
        assert!(cluster.is_synced(ChunkId { ino: attr.ino, index: 0 }));
        vfs.fsync(handle).await.unwrap();
        assert_eq!(syncs(), 2, "nothing was left to be synced");
    });
}

#[test]
fn times_that_were_set_stay_although_bytes_follow() {
    run(async {
        let cluster = MemoryCluster::new();
        let vfs = vfs(&cluster);
        let (attr, handle) = new_file(&vfs, "f").await;
        vfs.write(handle, 0, &[1; 8192], None).await.unwrap();
        let then = raidfs_common::time::Time { secs: 1_000_000_000, nanos: 5 };
        let set = Set { mtime: Some(crate::vfs::SetTime::At(then)), ..Set::default() };
        let set = vfs.setattr(USER, attr.ino, set).await.unwrap();
        vfs.release(handle).unwrap();
        vfs.sync_all().await.unwrap();
        let found = super::vfs(&cluster).getattr(attr.ino).await.unwrap();
        assert_eq!((found.mtime, found.ctime, found.size), (then, set.ctime, 8192));
        no_surprises(&vfs);
    });
}

#[test]
fn set_ids_go_when_others_write() {
    run(async {
        let vfs = vfs(&MemoryCluster::new());
        let (attr, handle) = new_file(&vfs, "f").await;
        let ids = Set { perm: Some(0o6755), ..Set::default() };
        vfs.setattr(USER, attr.ino, ids).await.unwrap();
        vfs.write(handle, 0, b"x", Some(USER)).await.unwrap();
        assert_eq!(vfs.getattr(attr.ino).await.unwrap().perm, 0o755);
        vfs.setattr(USER, attr.ino, ids).await.unwrap();
        vfs.setattr(USER, attr.ino, Set { uid: Some(5), ..Set::default() }).await.unwrap();
        assert_eq!(vfs.getattr(attr.ino).await.unwrap().perm, 0o755);
        vfs.setattr(USER, attr.ino, Set { perm: Some(0o2644), ..Set::default() }).await.unwrap();
        vfs.setattr(USER, attr.ino, Set { size: Some(0), ..Set::default() }).await.unwrap();
        assert_eq!(vfs.getattr(attr.ino).await.unwrap().perm, 0o2644, "not a group to run as");
    });
}

#[test]
fn what_is_expected_to_be_synced_is_made_durable_before_that_is_asked_for() {
    run(async {
        let cluster = MemoryCluster::new();
        let vfs = vfs(&cluster);
        let (attr, handle) = new_file(&vfs, "log").await;
        for round in 0..6 {
            vfs.write(handle, 0, &[round; 100], None).await.unwrap();
            vfs.fsync(handle).await.unwrap();
        }
        vfs.write(handle, 0, &[9; 100], None).await.unwrap();
        let chunk = ChunkId { ino: attr.ino, index: 0 };
        until(|| cluster.chunk(chunk).as_deref() == Some(&[9; 100][..]) && cluster.is_synced(chunk)).await;
        let before = cluster.counts.chunk_changes.load(std::sync::atomic::Ordering::Relaxed);
        vfs.fsync(handle).await.unwrap();
        assert_eq!(cluster.counts.chunk_changes.load(std::sync::atomic::Ordering::Relaxed), before);
        no_surprises(&vfs);
    });
}

#[test]
fn the_size_of_what_is_opened_again_at_once_is_reported_after_its_bytes() {
    run(async {
        let cluster = MemoryCluster::new();
        let vfs = vfs(&cluster);
        let (attr, handle) = new_file(&vfs, "log").await;
        vfs.write(handle, 0, b"first", None).await.unwrap();
        vfs.release(handle).unwrap();
        while !vfs.0.files.lock().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // What was to be looked at once the first bytes are old is still on the list.
        let handle = vfs.open(attr.ino, PLAIN).await.unwrap();
        cluster.set_faults(Faults { chunks_hang: true, ..Faults::default() });
        vfs.write(handle, 5, b"unsent", None).await.unwrap();
        let file = vfs.0.files.lock().get(&attr.ino).cloned().expect("it is open");
        // Its own bytes leave once they are old, behind all that was on that list before.
        while file.data.lock().behind.landed_all() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let (_, other) = new_file(&vfs, "other").await;
        vfs.fsync(other).await.expect("all that was told before is known");
        assert_eq!(super::vfs(&cluster).getattr(attr.ino).await.unwrap().size, 5);
        cluster.set_faults(Faults::default());
        vfs.fsync(handle).await.unwrap();
        assert_eq!(super::vfs(&cluster).getattr(attr.ino).await.unwrap().size, 11);
    });
}
