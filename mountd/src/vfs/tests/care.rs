//! Access times, scarce room, and what the kernel is told to forget.

use super::*;
use crate::vfs::memory_cluster::Faults;
use crate::vfs::{Atime, Doubtful, Set, SetTime};
use raidfs_common::error::FsError;
use raidfs_common::pair::Space;
use raidfs_common::time::Time;

async fn read_file(options: Options) -> (Attr, Attr, Attr) {
    let cluster = MemoryCluster::new();
    let vfs = Vfs::new(cluster.clone(), options);
    let (attr, handle) = new_file(&vfs, "f").await;
    vfs.write(handle, 0, b"x", false).await.unwrap();
    let old = SetTime::At(Time { secs: 5, nanos: 0 });
    let before = vfs.setattr(USER, attr.ino, Set { atime: Some(old), ..Set::default() }).await.unwrap();
    vfs.read(handle, 0, 1).await.unwrap();
    let after = vfs.getattr(attr.ino).await.unwrap();
    vfs.sync_all().await.unwrap();
    let stored = super::vfs(&cluster).getattr(attr.ino).await.unwrap();
    no_surprises(&vfs);
    (before, after, stored)
}

#[test]
fn reading_moves_an_old_access_time_and_nothing_else() {
    run(async {
        let (before, after, stored) = read_file(Options::default()).await;
        assert!(after.atime > before.atime);
        assert_eq!((after.mtime, after.ctime), (before.mtime, before.ctime));
        assert_eq!((stored.atime, stored.mtime, stored.ctime), (after.atime, after.mtime, after.ctime));
    });
}

#[test]
fn reading_again_moves_it_no_further() {
    run(async {
        let vfs = vfs(&MemoryCluster::new());
        let (attr, handle) = new_file(&vfs, "f").await;
        vfs.write(handle, 0, b"x", false).await.unwrap();
        vfs.read(handle, 0, 1).await.unwrap();
        let first = vfs.getattr(attr.ino).await.unwrap().atime;
        vfs.read(handle, 0, 1).await.unwrap();
        let second = vfs.getattr(attr.ino).await.unwrap().atime;
        // A time that equals that of the change counts as old once more.
        vfs.read(handle, 0, 1).await.unwrap();
        assert_eq!(vfs.getattr(attr.ino).await.unwrap().atime, second);
        assert!(second >= first);
    });
}

#[test]
fn access_times_can_be_switched_off() {
    run(async {
        let (before, after, stored) = read_file(Options { atime: Atime::Off, ..Options::default() }).await;
        assert_eq!((after.atime, stored.atime), (before.atime, before.atime));
    });
}

#[test]
fn a_full_disk_is_told_at_the_write() {
    run(async {
        let cluster = MemoryCluster::new();
        cluster.set_space(Space { total: 1 << 40, free: 1 << 20 });
        let vfs = vfs(&cluster);
        until(|| vfs.0.scarce.load(std::sync::atomic::Ordering::Relaxed)).await;
        let (_, handle) = new_file(&vfs, "f").await;
        assert_eq!(vfs.write_now(handle, 0, b"x", false), None, "it has to wait");
        vfs.write(handle, 0, b"x", false).await.unwrap();
        cluster.set_faults(Faults { chunk_changes: Some(FsError::NoSpace), ..Faults::default() });
        assert_eq!(vfs.write(handle, 0, b"x", false).await, Err(FsError::NoSpace));
    });
}

#[test]
fn the_kernel_is_told_to_forget_what_was_not_made() {
    run(async {
        let cluster = MemoryCluster::new();
        let vfs = vfs(&cluster);
        let doubts = vfs.doubts().unwrap();
        let dir = new_dir(&vfs, "d").await;
        vfs.sync_all().await.unwrap();
        cluster.set_faults(Faults { names: Some(FsError::Io), ..Faults::default() });
        let made = vfs.make(USER, dir, b"f", NewNode::file(0o644)).await.unwrap();
        assert!(vfs.fsyncdir(dir).await.is_err());
        let told: Vec<Doubtful> = doubts.try_iter().collect();
        assert_eq!(told, [Doubtful::Name(dir, b"f".to_vec()), Doubtful::Inode(made.ino), Doubtful::Inode(dir)]);
    });
}
