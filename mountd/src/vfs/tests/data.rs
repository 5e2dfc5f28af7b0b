//! Bytes against a plain vector.

use super::*;
use crate::vfs::cluster::{ChunkAddress, Cluster};
use crate::vfs::memory_cluster::{Faults, NO_FAULTS};
use crate::vfs::{Allocate, Clear, Cleared, Forget, Seek, Set, SetTime};
use proptest::prelude::*;
use raidfs_common::error::FsError;
use raidfs_common::id::{ChunkId, PairId};
use raidfs_common::limits::CHUNK_BYTES;
use raidfs_common::time::Time;

/// Steps work near the border between the first two chunks.
const NEAR: u64 = CHUNK_BYTES - 20_000;

/// Bytes of the file that is copied from.
const SOURCE: u64 = 300_000;

#[derive(Clone, Debug)]
enum Step {
    Write(u64, usize),
    Read(u64, u32),
    Truncate(u64),
    Punch(u64, u64),
    Zero(u64, u64),
    Reserve(u64, u64),
    /// From there in another file, to there.
    Copy(u64, u64, u64),
    Fsync,
    Pause,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let at = 0u64..60_000;
    prop_oneof![
        6 => (at.clone(), 1usize..20_000).prop_map(|(a, n)| Step::Write(a, n)),
        4 => (at.clone(), 1u32..30_000).prop_map(|(a, n)| Step::Read(a, n)),
        2 => at.clone().prop_map(Step::Truncate),
        1 => (at.clone(), 1u64..20_000).prop_map(|(a, n)| Step::Punch(a, n)),
        1 => (at.clone(), 1u64..20_000).prop_map(|(a, n)| Step::Zero(a, n)),
        1 => (at.clone(), 1u64..20_000).prop_map(|(a, n)| Step::Reserve(a, n)),
        2 => (0..SOURCE, at, 1u64..140_000).prop_map(|(from, a, n)| Step::Copy(from, a, n)),
        1 => Just(Step::Fsync),
        2 => Just(Step::Pause),
        1 => Just(Step::Reopen),
    ]
}

struct Model(Vec<u8>);

impl Model {
    fn grow(&mut self, end: usize) {
        if self.0.len() < end {
            self.0.resize(end, 0);
        }
    }

    fn zero(&mut self, from: usize, to: usize) {
        let to = to.min(self.0.len());
        if from < to {
            self.0[from..to].fill(0);
        }
    }

    fn part(&self, from: usize, length: usize) -> &[u8] {
        let from = from.min(self.0.len());
        &self.0[from..(from + length).min(self.0.len())]
    }
}

async fn check(steps: Vec<Step>) {
    let cluster = MemoryCluster::new();
    let vfs = vfs(&cluster);
    let (attr, mut handle) = new_file(&vfs, "f").await;
    let mut model = Model(Vec::new());
    let (_, source) = new_file(&vfs, "s").await;
    let copied: Vec<u8> = (0..SOURCE).map(|n| (n / 251) as u8).collect();
    vfs.write(source, NEAR, &copied, None).await.unwrap();
    let set_size = |size| Set { size: Some(size), ..Set::default() };
    vfs.setattr(USER, attr.ino, set_size(NEAR)).await.unwrap();
    for (i, step) in steps.into_iter().enumerate() {
        match step {
            Step::Write(at, n) => {
                let data: Vec<u8> = (0..n).map(|k| (i * 31 + k) as u8 | 1).collect();
                vfs.write(handle, NEAR + at, &data, None).await.unwrap();
                model.grow(at as usize + n);
                model.0[at as usize..at as usize + n].copy_from_slice(&data);
            }
            Step::Read(at, n) => {
                let got = vfs.read(handle, NEAR + at, n).await.unwrap();
                assert_eq!(got, model.part(at as usize, n as usize), "read of {n} at {at}, step {i}");
            }
            Step::Truncate(size) => {
                let attr = vfs.setattr(USER, attr.ino, set_size(NEAR + size)).await.unwrap();
                assert_eq!(attr.size, NEAR + size);
                model.0.resize(size as usize, 0);
            }
            Step::Punch(at, n) => {
                vfs.allocate(USER, handle, NEAR + at..NEAR + at + n, Allocate::Punch, true).await.unwrap();
                model.zero(at as usize, (at + n) as usize);
            }
            Step::Zero(at, n) => {
                vfs.allocate(USER, handle, NEAR + at..NEAR + at + n, Allocate::Zero, false).await.unwrap();
                model.grow((at + n) as usize);
                model.zero(at as usize, (at + n) as usize);
            }
            Step::Reserve(at, n) => {
                vfs.allocate(USER, handle, NEAR + at..NEAR + at + n, Allocate::Reserve, false).await.unwrap();
                model.grow((at + n) as usize);
            }
            Step::Copy(from, at, n) => {
                let n = n.min(SOURCE - from);
                let done = vfs.copy(USER, (source, NEAR + from), (handle, NEAR + at), n).await.unwrap();
                assert_eq!(done, n, "copy of {n} to {at}, step {i}");
                let (from, at, n) = (from as usize, at as usize, n as usize);
                model.grow(at + n);
                model.0[at..at + n].copy_from_slice(&copied[from..from + n]);
            }
            Step::Fsync => vfs.fsync(handle).await.unwrap(),
            Step::Pause => {
                for _ in 0..5 {
                    tokio::task::yield_now().await;
                }
            }
            Step::Reopen => {
                vfs.release(handle).unwrap();
                handle = vfs.open(attr.ino, PLAIN).await.unwrap();
            }
        }
        assert_eq!(vfs.getattr(attr.ino).await.unwrap().size, NEAR + model.0.len() as u64, "size, step {i}");
    }
    vfs.close().await.unwrap();
    no_surprises(&vfs);
    // What a mount finds that knows nothing.
    let fresh = super::vfs(&cluster);
    let found = fresh.lookup(ROOT, b"f").await.unwrap();
    assert_eq!(found, vfs.getattr(attr.ino).await.unwrap());
    assert_eq!(found.size, NEAR + model.0.len() as u64);
    let mut blocks = 0;
    for index in 0..3 {
        let at = ChunkAddress { chunk: ChunkId { ino: attr.ino, index }, placement: found.placement };
        blocks += cluster.extents(at).await.unwrap().1.iter().map(|(_, n)| u64::from(*n)).sum::<u64>();
    }
    assert_eq!(found.blocks, blocks, "the blocks that there are");
    let handle = fresh.open(found.ino, PLAIN).await.unwrap();
    assert_eq!(fresh.read(handle, NEAR, 200_000).await.unwrap(), model.0);
    // And what a longer file would show behind its old end.
    fresh.setattr(USER, found.ino, set_size(NEAR + 200_000)).await.unwrap();
    let tail = fresh.read(handle, found.size, 200_000).await.unwrap();
    assert!(tail.iter().all(|b| *b == 0), "bytes came back that were cut");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]
    #[test]
    fn a_file_holds_what_was_written(steps in proptest::collection::vec(step(), 1..40)) {
        run(check(steps));
    }
}

#[test]
fn a_hole_is_one_once_the_kernel_has_sent_what_it_has_of_it() {
    const AT: u64 = 120 * 4096;
    const SIZE: u64 = 1 << 20;
    run(async {
        let vfs = vfs(&MemoryCluster::new());
        let (attr, handle) = new_file(&vfs, "f").await;
        vfs.setattr(USER, attr.ino, Set { size: Some(SIZE), ..Set::default() }).await.unwrap();
        let reader = vfs.open(attr.ino, OpenMode { writes: false, ..PLAIN }).await.unwrap();
        // Pages that were changed through a mapping: the kernel sends them when it must forget them.
        let changed = Arc::new(parking_lot::Mutex::new(vec![AT]));
        let _others = vfs.forgets().unwrap();
        let (forgets, kernels, to) = (vfs.launders().unwrap(), changed.clone(), Arc::downgrade(&vfs.0));
        let kernel = std::thread::spawn(move || {
            let mut asked = Vec::new();
            for Forget { range, done, .. } in forgets {
                for at in kernels.lock().extract_if(.., |at| range.contains(at)) {
                    let vfs = Vfs(to.upgrade().unwrap());
                    vfs.write_now(handle, at, &[1; 4096], false).unwrap().unwrap();
                }
                asked.push(range);
                done.send(()).unwrap();
            }
            asked
        });
        assert_eq!(vfs.seek(reader, 0, Seek::Data).await, Ok(AT));
        assert_eq!(vfs.seek(reader, AT, Seek::Data).await, Ok(AT), "what is data is not asked about");
        changed.lock().push(AT + 4096);
        assert_eq!(vfs.seek(reader, AT, Seek::Hole).await, Ok(AT + 8192));
        assert_eq!(vfs.seek(reader, SIZE - 1, Seek::Data).await, Err(FsError::NoAddress));
        // Without a handle that may be mapped for writing, there is nothing to ask for.
        vfs.release(handle).unwrap();
        assert_eq!(vfs.seek(reader, 0, Seek::Hole).await, Ok(0));
        vfs.release(reader).unwrap();
        vfs.close().await.unwrap();
        drop(vfs);
        let asked = tokio::task::spawn_blocking(|| kernel.join().unwrap()).await.unwrap();
        assert_eq!(asked, [0..SIZE, AT + 4096..SIZE, AT + 8192..SIZE, SIZE - 1..SIZE]);
    });
}

/// What the kernel has to clear.
fn asked_to_clear(vfs: &Vfs<MemoryCluster>) -> Arc<parking_lot::Mutex<Vec<(u64, u64)>>> {
    answered_to_clear(vfs, Cleared::Yes)
}

/// The same, with another answer.
fn answered_to_clear(vfs: &Vfs<MemoryCluster>, cleared: Cleared) -> Arc<parking_lot::Mutex<Vec<(u64, u64)>>> {
    let asked = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let (clears, notes) = (vfs.clears().unwrap(), asked.clone());
    std::thread::spawn(move || {
        for Clear { range, done, .. } in clears {
            notes.lock().push((range.start, range.end));
            done.send(cleared).unwrap();
        }
    });
    asked
}

#[test]
fn a_page_that_a_write_has_locked_is_not_waited_for_again() {
    run(async {
        let vfs = vfs(&MemoryCluster::new());
        let (attr, handle) = new_file(&vfs, "f").await;
        let (_forgets, asked) = (vfs.forgets().unwrap(), answered_to_clear(&vfs, Cleared::Locked));
        let took = || std::mem::take(&mut *asked.lock());
        vfs.write(handle, 0, b"hundred", None).await.unwrap();
        vfs.read(handle, 0, 4096).await.unwrap();
        vfs.setattr(USER, attr.ino, Set { size: Some(100), ..Set::default() }).await.unwrap();
        vfs.setattr(USER, attr.ino, Set { size: Some(200), ..Set::default() }).await.unwrap();
        assert_eq!(took(), [(7, 100), (100, 200)], "somebody else's lock says nothing of the next time");
        vfs.write(handle, 300, b"x", None).await.unwrap();
        assert_eq!(took(), [(200, 300)]);
        vfs.write(handle, 400, b"x", None).await.unwrap();
        assert_eq!(took(), [], "it was this one's");
        vfs.read(handle, 0, 12_288).await.unwrap();
        vfs.write(handle, 9000, b"x", None).await.unwrap();
        vfs.setattr(USER, attr.ino, Set { size: Some(9500), ..Set::default() }).await.unwrap();
        assert_eq!(took(), [(401, 4096), (9001, 9500)], "a write elsewhere has not locked it");
    });
}

#[test]
fn a_page_that_could_not_be_asked_for_is_asked_for_again() {
    run(async {
        let vfs = vfs(&MemoryCluster::new());
        let (_, handle) = new_file(&vfs, "f").await;
        let (_forgets, asked) = (vfs.forgets().unwrap(), answered_to_clear(&vfs, Cleared::Unasked));
        vfs.write(handle, 0, b"hundred", None).await.unwrap();
        vfs.read(handle, 0, 4096).await.unwrap();
        vfs.write(handle, 300, b"x", None).await.unwrap();
        vfs.write(handle, 400, b"x", None).await.unwrap();
        assert_eq!(*asked.lock(), [(7, 300), (301, 400)]);
    });
}

#[test]
fn the_page_at_the_end_is_cleared_when_the_file_grows() {
    run(async {
        let vfs = vfs(&MemoryCluster::new());
        let (attr, handle) = new_file(&vfs, "f").await;
        let (_forgets, asked) = (vfs.forgets().unwrap(), asked_to_clear(&vfs));
        let took = || std::mem::take(&mut *asked.lock());
        let set_size = |size| vfs.setattr(USER, attr.ino, Set { size: Some(size), ..Set::default() });
        vfs.write(handle, 0, b"hundred", None).await.unwrap();
        assert_eq!(vfs.write_now(handle, 100, b"x", false), Some(Ok(())), "the kernel has no page of it");
        assert_eq!(took(), []);

        vfs.read(handle, 0, 4096).await.unwrap();
        assert_eq!(vfs.write_now(handle, 101, b"x", false), Some(Ok(())), "there is no gap");
        assert_eq!(vfs.write_now(handle, 200, b"x", false), None, "it has to wait");
        vfs.write(handle, 200, b"x", None).await.unwrap();
        assert_eq!(took(), [(102, 200)]);
        set_size(300).await.unwrap();
        assert_eq!(took(), [(201, 300)], "the page is there still");
        vfs.allocate(USER, handle, 5000..9000, Allocate::Reserve, false).await.unwrap();
        assert_eq!(took(), [(300, 4096)]);
        set_size(20_000).await.unwrap();
        assert_eq!(took(), [], "the page of its end was not asked for");

        vfs.read(handle, 0, 20_480).await.unwrap();
        set_size(10_000).await.unwrap();
        vfs.write(handle, 11_000, b"x", None).await.unwrap();
        assert_eq!(took(), [], "the cut has dropped all pages");
        vfs.read(handle, 0, 12_288).await.unwrap();
        vfs.allocate(USER, handle, 12_000..13_000, Allocate::Zero, true).await.unwrap();
        assert_eq!(took(), [], "it is no longer than before");
        set_size(12_288).await.unwrap();
        assert_eq!(took(), [(11_001, 12_288)]);
        set_size(12_289).await.unwrap();
        assert_eq!(took(), [], "nothing is behind the end of a whole page");
    });
}

#[test]
fn what_is_mapped_is_sent_before_a_time_is_set() {
    run(async {
        let vfs = vfs(&MemoryCluster::new());
        let (attr, handle) = new_file(&vfs, "f").await;
        let (_forgets, launders) = (vfs.forgets().unwrap(), vfs.launders().unwrap());
        let to = vfs.clone();
        let kernel = std::thread::spawn(move || {
            let Forget { range, done, .. } = launders.recv().unwrap();
            to.write_now(handle, 0, b"stored", false).unwrap().unwrap();
            done.send(()).unwrap();
            (range, launders)
        });
        let then = Time { secs: 1_000_000_000, nanos: 0 };
        let set = Set { mtime: Some(SetTime::At(then)), ..Set::default() };
        vfs.setattr(USER, attr.ino, set).await.unwrap();
        assert_eq!(vfs.getattr(attr.ino).await.unwrap().mtime, then);
        let (range, launders) = tokio::task::spawn_blocking(|| kernel.join().unwrap()).await.unwrap();
        assert_eq!(range, 0..u64::MAX);
        // Nobody can have it mapped for writing any more.
        vfs.release(handle).unwrap();
        vfs.setattr(USER, attr.ino, set).await.unwrap();
        assert!(launders.try_recv().is_err());
    });
}

#[test]
fn holes_are_found() {
    run(async {
        let vfs = vfs(&MemoryCluster::new());
        let (_, handle) = new_file(&vfs, "f").await;
        vfs.write(handle, 2 * CHUNK_BYTES + 8192, &[1; 4096], None).await.unwrap();
        vfs.write(handle, 4096, &[1; 4096], None).await.unwrap();
        let data = |at| vfs.seek(handle, at, Seek::Data);
        let hole = |at| vfs.seek(handle, at, Seek::Hole);
        assert_eq!(data(0).await, Ok(4096));
        assert_eq!(hole(0).await, Ok(0));
        assert_eq!(hole(4096).await, Ok(8192));
        assert_eq!(data(8192).await, Ok(2 * CHUNK_BYTES + 8192));
        assert_eq!(hole(2 * CHUNK_BYTES + 8192).await, Ok(2 * CHUNK_BYTES + 12288));
        assert_eq!(data(2 * CHUNK_BYTES + 12288).await, Err(raidfs_common::error::FsError::NoAddress));
        assert_eq!(vfs.getattr(vfs.lookup(ROOT, b"f").await.unwrap().ino).await.unwrap().blocks, 2);
    });
}

#[test]
fn whoever_changes_contents_without_the_right_to_takes_set_ids_away() {
    run(async {
        let vfs = vfs(&MemoryCluster::new());
        let root = Caller::default();
        let (from, source) = new_file(&vfs, "from").await;
        vfs.write(source, 0, &[1; 100], None).await.unwrap();
        let (attr, handle) = new_file(&vfs, "f").await;
        let set = Set { perm: Some(0o6755), ..Set::default() };
        for allocates in [true, false] {
            for (caller, perm) in [(root, 0o6755), (USER, 0o755)] {
                vfs.setattr(root, attr.ino, set).await.unwrap();
                if allocates {
                    vfs.allocate(caller, handle, 0..10, Allocate::Reserve, true).await.unwrap();
                } else {
                    vfs.copy(caller, (source, 0), (handle, 0), 100).await.unwrap();
                }
                assert_eq!(vfs.getattr(attr.ino).await.unwrap().perm, perm, "{allocates} {caller:?}");
            }
        }
        assert_eq!(vfs.getattr(from.ino).await.unwrap().perm, 0o644);
    });
}

#[test]
fn a_hole_up_to_the_end_takes_the_last_block_with_it() {
    run(async {
        let vfs = vfs(&MemoryCluster::new());
        let (attr, handle) = new_file(&vfs, "f").await;
        vfs.write(handle, 0, &[1; 10_000], None).await.unwrap();
        let blocks = async || vfs.getattr(attr.ino).await.unwrap().blocks;
        for (range, left) in
            [(5000..9999, 3), (9000..50_000, 3), (8192..50_000, 2), (20_000..30_000, 2), (0..10_000, 0)]
        {
            vfs.allocate(USER, handle, range.clone(), Allocate::Punch, true).await.unwrap();
            assert_eq!(blocks().await, left, "after {range:?}");
        }
        assert_eq!(vfs.getattr(attr.ino).await.unwrap().size, 10_000);
    });
}

#[test]
fn a_sync_of_overwritten_bytes_is_one_request() {
    run(async {
        let cluster = MemoryCluster::new();
        let vfs = vfs(&cluster);
        let (_, handle) = new_file(&vfs, "f").await;
        vfs.write(handle, 0, &[1; 100_000], None).await.unwrap();
        vfs.fsync(handle).await.unwrap();
        let counted = || {
            let c = &cluster.counts;
            [&c.chunk_changes, &c.syncs, &c.changes, &c.barriers].map(|n| n.load(std::sync::atomic::Ordering::Relaxed))
        };
        let before = counted();
        vfs.write(handle, 5_000, &[2; 4096], None).await.unwrap();
        vfs.fsync(handle).await.unwrap();
        let [writes, syncs, changes, barriers] = before;
        assert_eq!(counted(), [writes + 1, syncs, changes, barriers]);
        // So are those of several who write to one file at the same time.
        let one = async |block: u64| {
            vfs.write(handle, block * 8192, &[4; 4096], None).await.unwrap();
            vfs.fsync(handle).await.unwrap();
        };
        futures::future::join_all((0..4).map(one)).await;
        let [writes, syncs, changes, barriers] = [writes + 4, syncs, changes, barriers];
        assert_eq!(counted(), [writes + 1, syncs, changes, barriers]);
        // A file that grows has its bytes synced beside its size.
        vfs.write(handle, 100_000, &[3; 4096], None).await.unwrap();
        vfs.fsync(handle).await.unwrap();
        assert_eq!(counted(), [writes + 2, syncs + 1, changes + 1, barriers + 1]);
        // Many at once are synced together.
        let [writes, syncs, ..] = counted();
        for block in 0..12 {
            vfs.write(handle, block * 8192, &[5; 100], None).await.unwrap();
            vfs.write(handle, block * 8192 + 4096, &[5; 100], None).await.unwrap();
        }
        vfs.fsync(handle).await.unwrap();
        assert_eq!(counted()[..2], [writes + 24, syncs + 1]);
    });
}

/// Writes so many small files, and leaves it to the mount to send them.
async fn write_small_files(vfs: &Vfs<MemoryCluster>, count: u32) {
    for number in 0..count {
        let (_, handle) = new_file(vfs, &format!("small{number}")).await;
        vfs.write(handle, 0, &[1; 4096], None).await.unwrap();
        vfs.release(handle).unwrap();
    }
}

#[test]
fn a_sync_does_not_wait_behind_what_was_written_before() {
    run(async {
        let cluster = MemoryCluster::new();
        let vfs = vfs(&cluster);
        let (_, handle) = new_file(&vfs, "synced").await;
        vfs.write(handle, 0, &[1; 4096], None).await.unwrap();
        vfs.fsync(handle).await.unwrap();
        let sent = || cluster.counts.chunk_changes.load(std::sync::atomic::Ordering::Relaxed);
        let before = sent();
        cluster.set_faults(Faults { chunks_hang: true, ..NO_FAULTS });
        write_small_files(&vfs, 1000).await;
        // Those of both pairs that may be.
        until(|| sent() == before + 64).await;
        vfs.write(handle, 0, &[2; 4096], None).await.unwrap();
        let mut sync = Box::pin(vfs.fsync(handle));
        assert!(tokio::time::timeout(Duration::from_millis(20), &mut sync).await.is_err());
        assert_eq!(sent(), before + 65, "it has left all the same");
        cluster.set_faults(NO_FAULTS);
        sync.await.unwrap();
        assert!(sent() < before + 1000, "and has not waited for the others");
        vfs.sync_all().await.unwrap();
        assert_eq!(sent(), before + 1001, "each was sent once");
    });
}

#[test]
fn a_pair_that_hangs_holds_up_nothing_that_is_for_the_other() {
    run(async {
        let cluster = MemoryCluster::new();
        let vfs = vfs(&cluster);
        let (attr, handle) = new_file(&vfs, "synced").await;
        vfs.fsync(handle).await.unwrap();
        let mine = vfs.getattr(attr.ino).await.unwrap().placement.first_pair;
        cluster.set_faults(Faults { pair_hangs: Some(PairId(1 - mine)), ..NO_FAULTS });
        let sent = || cluster.counts.chunk_changes.load(std::sync::atomic::Ordering::Relaxed);
        write_small_files(&vfs, 1000).await;
        // All of the one pair, and of the other those that may be under way to it.
        until(|| sent() >= 500 + 32).await;
        vfs.write(handle, 0, &[2; 4096], None).await.unwrap();
        vfs.fsync(handle).await.unwrap();
        assert_eq!(sent(), 500 + 32 + 1);
        cluster.set_faults(NO_FAULTS);
        vfs.sync_all().await.unwrap();
        assert_eq!(sent(), 1001);
    });
}

#[test]
fn small_writes_are_sent_together() {
    run(async {
        let cluster = MemoryCluster::new();
        let vfs = vfs(&cluster);
        let (_, handle) = new_file(&vfs, "f").await;
        for i in 0..512 {
            vfs.write(handle, i * 4096, &[i as u8; 4096], None).await.unwrap();
        }
        vfs.fsync(handle).await.unwrap();
        let sent = cluster.counts.chunk_changes.load(std::sync::atomic::Ordering::Relaxed);
        assert!(sent <= 4, "2 MiB took {sent} requests");
    });
}

#[test]
fn a_sync_of_everything_makes_the_bytes_of_closed_files_durable() {
    run(async {
        let cluster = MemoryCluster::new();
        let vfs = vfs(&cluster);
        let (attr, handle) = new_file(&vfs, "f").await;
        vfs.write(handle, 0, b"x", None).await.unwrap();
        vfs.release(handle).unwrap();
        vfs.sync_all().await.unwrap();
        let chunk = ChunkId { ino: attr.ino, index: 0 };
        assert!(cluster.chunk(chunk).is_some() && cluster.is_synced(chunk));
        let syncs = || cluster.counts.syncs.load(std::sync::atomic::Ordering::Relaxed);
        let before = syncs();
        vfs.close().await.unwrap();
        assert_eq!(syncs(), before, "there is nothing more to sync");
    });
}

#[test]
fn a_huge_file_of_holes_is_synced_by_what_there_is_of_it() {
    run(async {
        let cluster = MemoryCluster::new();
        let vfs = vfs(&cluster);
        let (attr, handle) = new_file(&vfs, "f").await;
        let size = 1u64 << 46;
        vfs.write(handle, size, b"x", None).await.unwrap();
        vfs.release(handle).unwrap();
        let last = ChunkId { ino: attr.ino, index: (size / CHUNK_BYTES) as u32 };
        super::until(|| cluster.chunk(last).is_some() && vfs.0.files.lock().is_empty()).await;
        assert!(!cluster.is_synced(last));
        // What was written before the file was opened is synced, too.
        let handle = vfs.open(attr.ino, PLAIN).await.unwrap();
        let syncs = || cluster.counts.syncs.load(std::sync::atomic::Ordering::Relaxed);
        let before = syncs();
        vfs.fsync(handle).await.unwrap();
        assert!(cluster.is_synced(last) && syncs() <= before + 1);
    });
}

#[test]
fn small_files_read_in_order_are_fetched_ahead_and_never_old() {
    run(async {
        let cluster = MemoryCluster::new();
        let vfs = vfs(&cluster);
        let mut files = Vec::new();
        for n in 0..40u8 {
            let (attr, handle) = new_file(&vfs, &format!("f{n}")).await;
            vfs.write(handle, 0, &[n; 100], None).await.unwrap();
            vfs.fsync(handle).await.unwrap();
            vfs.release(handle).unwrap();
            files.push(attr.ino);
        }
        vfs.sync_all().await.unwrap();
        until(|| vfs.0.files.lock().is_empty()).await;
        let read = async |n: usize| {
            let handle = vfs.open(files[n], PLAIN).await.unwrap();
            let bytes = vfs.read(handle, 0, 4096).await.unwrap();
            vfs.release(handle).unwrap();
            bytes
        };
        let reads = || cluster.counts.reads.load(std::sync::atomic::Ordering::Relaxed);
        let before = reads();
        for n in 0..5 {
            assert_eq!(read(n).await, vec![n as u8; 100]);
        }
        until(|| reads() - before >= 30).await;
        // What is changed after it was fetched: written to, cut, made a hole.
        let handle = vfs.open(files[10], PLAIN).await.unwrap();
        vfs.write(handle, 0, &[99; 100], None).await.unwrap();
        vfs.fsync(handle).await.unwrap();
        vfs.setattr(USER, files[11], Set { size: Some(50), ..Set::default() }).await.unwrap();
        vfs.setattr(USER, files[11], Set { size: Some(100), ..Set::default() }).await.unwrap();
        let punched = vfs.open(files[12], PLAIN).await.unwrap();
        vfs.allocate(USER, punched, 0..60, Allocate::Punch, true).await.unwrap();
        let before = reads();
        for n in (5..30).filter(|n| !(10..13).contains(n)) {
            assert_eq!(read(n).await, vec![n as u8; 100]);
        }
        assert!(reads() - before < 10, "they were fetched before");
        assert_eq!(read(10).await, vec![99; 100]);
        assert_eq!(read(11).await, [vec![11; 50], vec![0; 50]].concat());
        assert_eq!(read(12).await, [vec![0; 60], vec![12; 40]].concat());
    });
}
