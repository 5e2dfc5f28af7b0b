//! Access times, scarce room, and what the kernel is told to forget.

use super::*;
use crate::vfs::memory_cluster::{Faults, NO_FAULTS};
use crate::vfs::{Atime, AtimeRule, Doubtful, Forget, Pages, Set, SetTime};
use raidfs_common::error::FsError;
use raidfs_common::namespace::RenameMode;
use raidfs_common::pair::Space;
use raidfs_common::time::Time;

async fn read_file(rule: AtimeRule) -> (Attr, Attr, Attr) {
    let cluster = MemoryCluster::new();
    let vfs = super::vfs(&cluster);
    vfs.set_atime_rule(rule);
    let (attr, handle) = new_file(&vfs, "f").await;
    vfs.write(handle, 0, b"x", None).await.unwrap();
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
        let (before, after, stored) = read_file(AtimeRule::default()).await;
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
        vfs.write(handle, 0, b"x", None).await.unwrap();
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
fn a_read_is_of_now_although_the_file_was_written_in_days_to_come() {
    run(async {
        let vfs = vfs(&MemoryCluster::new());
        let (attr, handle) = new_file(&vfs, "f").await;
        vfs.write(handle, 0, b"x", None).await.unwrap();
        let (old, to_come) = (Time { secs: 5, nanos: 0 }, Time { secs: 1 << 40, nanos: 0 });
        let set = Set { atime: Some(SetTime::At(old)), mtime: Some(SetTime::At(to_come)), ..Set::default() };
        vfs.setattr(USER, attr.ino, set).await.unwrap();
        vfs.read(handle, 0, 1).await.unwrap();
        let after = vfs.getattr(attr.ino).await.unwrap();
        assert!(after.atime > old && after.atime < to_come && after.mtime == to_come, "{after:?}");
    });
}

#[test]
fn access_times_can_be_switched_off() {
    run(async {
        let (before, after, stored) = read_file(AtimeRule { atime: Atime::Off, no_dirs: false }).await;
        assert_eq!((after.atime, stored.atime), (before.atime, before.atime));
    });
}

type Told = std::thread::JoinHandle<Vec<(Ino, std::ops::Range<u64>)>>;

/// Does what the kernel does: forgets, and says so.
fn forgets_told(vfs: &Vfs<MemoryCluster>) -> Told {
    let forgets = vfs.forgets().unwrap();
    std::thread::spawn(move || {
        let mut told = Vec::new();
        for Forget { ino, range, done, .. } in forgets {
            told.push((ino, range));
            // Its test may be over.
            let _ = done.send(());
        }
        told
    })
}

/// What it was to forget, in all.
async fn all_told(vfs: Vfs<MemoryCluster>, told: Told) -> Vec<(Ino, std::ops::Range<u64>)> {
    vfs.close().await.unwrap();
    drop(vfs);
    tokio::task::spawn_blocking(|| told.join().unwrap()).await.unwrap()
}

/// A file of so many bytes that was read since it was changed.
async fn read_since(vfs: &Vfs<MemoryCluster>, name: &str, size: u64) -> Ino {
    let (attr, handle) = new_file(vfs, name).await;
    vfs.setattr(USER, attr.ino, Set { size: Some(size), ..Set::default() }).await.unwrap();
    vfs.read(handle, 0, 1).await.unwrap();
    vfs.release(handle).unwrap();
    attr.ino
}

async fn pages(vfs: &Vfs<MemoryCluster>, ino: Ino, mode: OpenMode) -> Pages {
    let handle = vfs.open(ino, mode).await.unwrap();
    let pages = vfs.pages(handle).await;
    vfs.release(handle).unwrap();
    pages
}

const READ: OpenMode = OpenMode { writes: false, ..PLAIN };

#[test]
fn the_kernel_gives_up_its_pages_once_after_a_change() {
    run(async {
        let vfs = vfs(&MemoryCluster::new());
        let ino = read_since(&vfs, "f", 100).await;
        assert_eq!(pages(&vfs, ino, READ).await, Pages::Keep, "it was read since it was changed");
        vfs.setattr(USER, ino, Set { perm: Some(0o600), ..Set::default() }).await.unwrap();
        for mode in [READ, PLAIN] {
            assert_eq!(pages(&vfs, ino, mode).await, Pages::Drop);
        }
        for mode in [OpenMode { quiet: true, ..READ }, OpenMode { reads: false, ..PLAIN }] {
            assert_eq!(pages(&vfs, ino, mode).await, Pages::Keep, "nothing is read that counts");
        }
        let empty = read_since(&vfs, "empty", 0).await;
        vfs.setattr(USER, empty, Set { perm: Some(0o600), ..Set::default() }).await.unwrap();
        assert_eq!(pages(&vfs, empty, READ).await, Pages::Bypass);
        assert_eq!(pages(&vfs, empty, PLAIN).await, Pages::Drop, "it may not stay empty");
    });
}

#[test]
fn the_kernel_gives_up_no_pages_of_a_file_that_somebody_may_write_to() {
    run(async {
        let vfs = vfs(&MemoryCluster::new());
        let forgets = vfs.forgets().unwrap();
        for (name, size) in [("small", 100), ("large", 10 << 20)] {
            let ino = read_since(&vfs, name, size).await;
            let writer = vfs.open(ino, OpenMode { reads: false, ..PLAIN }).await.unwrap();
            vfs.write(writer, 0, b"new", None).await.unwrap();
            for mode in [READ, PLAIN] {
                assert_eq!(pages(&vfs, ino, mode).await, Pages::Keep, "{name}");
            }
            vfs.release(writer).unwrap();
            assert!(forgets.try_iter().next().is_none(), "{name}");
        }
        let small = vfs.lookup(ROOT, b"small").await.unwrap().ino;
        assert_eq!(pages(&vfs, small, READ).await, Pages::Drop, "nobody writes any more");
    });
}

#[test]
fn what_the_kernel_has_read_of_a_directory_is_dropped_when_it_has_changed() {
    run(async {
        let vfs = vfs(&MemoryCluster::new());
        let dir = new_dir(&vfs, "d").await;
        let opened = async || {
            let handle = vfs.opendir(dir, OpenMode { quiet: true, ..READ }).await.unwrap();
            vfs.pages(handle).await
        };
        assert_eq!(opened().await, Pages::Drop, "it may have read some of it before");
        assert_eq!(opened().await, Pages::Keep);
        vfs.make(USER, dir, b"e", NewNode::dir(0o755)).await.unwrap();
        assert_eq!(opened().await, Pages::Drop);
        assert_eq!(opened().await, Pages::Keep);
        vfs.rename(dir, b"e", dir, b"f", RenameMode::Replace).await.unwrap();
        assert_eq!(opened().await, Pages::Drop);
    });
}

#[test]
fn who_reads_a_directory_anew_after_a_change_has_the_kernel_forget_what_it_had_before() {
    run(async {
        let vfs = vfs(&MemoryCluster::new());
        let dir = new_dir(&vfs, "d").await;
        let handle = vfs.opendir(dir, OpenMode { quiet: true, ..READ }).await.unwrap();
        let told = forgets_told(&vfs);
        let read = async || vfs.readdir(handle, 0, false, |_| true).await.unwrap();
        assert_eq!(vfs.pages(handle).await, Pages::Drop);
        read().await;
        vfs.make(USER, dir, b"e", NewNode::dir(0o755)).await.unwrap();
        read().await;
        read().await;
        vfs.rename(dir, b"e", dir, b"f", RenameMode::Replace).await.unwrap();
        read().await;
        let want = [(dir, 0..u64::MAX), (dir, 0..u64::MAX)];
        assert_eq!(all_told(vfs, told).await, want, "once after each change");
    });
}

#[test]
fn of_a_large_file_the_kernel_gives_up_both_ends_and_is_waited_for() {
    run(async {
        let vfs = vfs(&MemoryCluster::new());
        let told = forgets_told(&vfs);
        let ino = read_since(&vfs, "f", 10 << 20).await;
        vfs.setattr(USER, ino, Set { perm: Some(0o600), ..Set::default() }).await.unwrap();
        assert_eq!(pages(&vfs, ino, READ).await, Pages::Keep);
        let want = [(ino, 0..64 << 10), (ino, (10 << 20) - (64 << 10)..10 << 20)];
        assert_eq!(all_told(vfs, told).await, want);
    });
}

#[test]
fn a_link_that_was_changed_is_asked_for_again() {
    run(async {
        let vfs = vfs(&MemoryCluster::new());
        let forgets = vfs.forgets().unwrap();
        let link = vfs.make(USER, ROOT, b"l", NewNode::symlink("t".into())).await.unwrap();
        let chown = Set { uid: Some(7), ..Set::default() };
        vfs.setattr(USER, link.ino, chown).await.unwrap();
        assert!(forgets.try_iter().next().is_none(), "nobody knows its target");
        let before = vfs.getattr(link.ino).await.unwrap();
        vfs.readlink(link.ino).await.unwrap();
        let after = vfs.getattr(link.ino).await.unwrap();
        assert!(after.atime > before.atime && after.ctime == before.ctime);
        vfs.setattr(USER, link.ino, chown).await.unwrap();
        let told: Vec<Ino> = forgets.try_iter().map(|forget| forget.ino).collect();
        assert_eq!(told, [link.ino]);
    });
}

#[test]
fn a_full_disk_is_told_at_the_write() {
    run(async {
        let cluster = MemoryCluster::new();
        cluster.set_space(Space { total: 1 << 40, free: 1 << 20 });
        let vfs = vfs(&cluster);
        until(|| vfs.0.allowance.is_spent()).await;
        let (_, handle) = new_file(&vfs, "f").await;
        assert_eq!(vfs.write_now(handle, 0, b"x", false), None, "it has to wait");
        vfs.write(handle, 0, b"x", None).await.unwrap();
        cluster.set_faults(Faults { chunk_changes: Some(FsError::NoSpace), ..Faults::default() });
        assert_eq!(vfs.write(handle, 0, b"x", None).await, Err(FsError::NoSpace));
        cluster.set_faults(NO_FAULTS);
        vfs.write(handle, 0, b"x", None).await.unwrap();
        vfs.fsync(handle).await.unwrap();
    });
}

#[test]
fn a_write_that_hears_of_a_full_disk_takes_nothing_from_the_next_sync() {
    run(async {
        let cluster = MemoryCluster::new();
        let vfs = vfs(&cluster);
        let (_, handle) = new_file(&vfs, "f").await;
        until(|| !vfs.0.allowance.is_spent()).await;
        cluster.set_faults(Faults { chunk_changes: Some(FsError::NoSpace), ..Faults::default() });
        vfs.write_now(handle, 0, b"answered", false).unwrap().unwrap();
        cluster.set_space(Space { total: 1 << 40, free: 1 << 20 });
        until(|| vfs.0.allowance.is_spent()).await;
        assert_eq!(vfs.write(handle, 4096, b"waits", None).await, Err(FsError::NoSpace));
        cluster.set_faults(NO_FAULTS);
        vfs.write(handle, 4096, b"waits", None).await.unwrap();
        assert_eq!(vfs.fsync(handle).await, Err(FsError::NoSpace), "what was answered is not there");
        vfs.fsync(handle).await.unwrap();
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
        let handle = vfs.opendir(dir, PLAIN).await.unwrap();
        assert!(vfs.fsyncdir(handle).await.is_err());
        let told: Vec<Doubtful> = doubts.try_iter().collect();
        assert_eq!(told, [Doubtful::Name(dir, b"f".to_vec()), Doubtful::Inode(made.ino), Doubtful::Inode(dir)]);
    });
}
