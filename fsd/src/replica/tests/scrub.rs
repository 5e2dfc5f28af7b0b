//! Looking for damage where nobody reads: all that is damaged on either server is found, and what can be is mended.

use super::harness::{A, B, Cluster, chunk, until, write};
use crate::bookmark::{Bookmark, Place};
use crate::chunk::ChunkStore;
use crate::chunk::conformance::{bytes, on_disk};
use crate::chunk::disk::DiskChunks;
use crate::peers::Peers;
use crate::replica::Replica;
use crate::replica::pace::Pace;
use crate::replica::scrub::Scrub;
use raidfs_common::error::Rejection;
use raidfs_common::id::{ChunkId, ServerId};
use raidfs_common::limits::{BLOCK_BYTES, CHUNK_BYTES};
use raidfs_common::pair::CopyState;
use raidfs_common::rpc::admin::{ScrubPass, ScrubState};
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const LENGTH: u32 = 50_000;
/// Header of the footer, and the sums behind it.
const FOOTER_AT: u64 = CHUNK_BYTES;
const SUMS_AT: u64 = FOOTER_AT + 64;

/// Two servers on disks.
struct Disks {
    cluster: Cluster,
    stores: [Arc<DiskChunks>; 2],
    dirs: [TempDir; 2],
}

impl Disks {
    /// With these files of one chunk each, the same bytes on both.
    async fn with(files: u64) -> Disks {
        let ((a, of_a), (b, of_b)) = (on_disk(), on_disk());
        let stores = [Arc::new(a), Arc::new(b)];
        let cluster = Cluster::on([stores[0].clone(), stores[1].clone()]).await;
        for ino in 1..=files {
            cluster.change(0, chunk(ino), write(0, &bytes(ino as u8, LENGTH))).await;
        }
        Disks { cluster, stores, dirs: [of_a, of_b] }
    }

    fn file(&self, server: ServerId, ino: u64) -> File {
        let chunks = self.dirs[usize::from(server.0 - 1)].path().join("chunks");
        File::options().read(true).write(true).open(chunks.join(format!("{:013x}/{ino:016x}", 0))).unwrap()
    }

    /// Flips a bit of a chunk's file.
    fn flip(&self, server: ServerId, ino: u64, at: u64) {
        let (file, mut byte) = (self.file(server, ino), [0]);
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 4], at).unwrap();
    }

    async fn scrub(&self, server: ServerId) -> (ScrubPass, Vec<ChunkId>) {
        scrub(&self.cluster, server).await
    }

    /// Every chunk's sums on disk, all blocks checked.
    fn summaries(&self, server: ServerId) -> BTreeMap<ChunkId, (u64, u32)> {
        let store = &self.stores[usize::from(server.0 - 1)];
        let all = store.list(None, 1000).unwrap().into_iter();
        all.map(|c| (c, store.summary(c, true).unwrap().map(|s| (s.digest, s.damaged)).unwrap())).collect()
    }
}

async fn scrub(cluster: &Cluster, server: ServerId) -> (ScrubPass, Vec<ChunkId>) {
    let replica = &cluster.servers[usize::from(server.0 - 1)].replica;
    let number = replica.scrub_now().unwrap();
    until("the pass ends", || replica.scrubbed(number).unwrap().0.state != ScrubState::Runs).await;
    replica.scrubbed(number).unwrap()
}

#[tokio::test]
async fn flipped_bits_anywhere_in_chunk_files_are_found_and_mended() {
    let disks = Disks::with(7).await;
    let sound = disks.summaries(B);
    assert_eq!(disks.summaries(A), sound);
    disks.flip(A, 1, 5);
    disks.flip(A, 1, 20_000);
    disks.flip(A, 2, SUMS_AT + 4);
    disks.flip(A, 3, FOOTER_AT + 28);
    disks.file(A, 4).set_len(9000).unwrap();
    disks.file(A, 5).write_all_at(b"where a hole should be", 300 * BLOCK_BYTES).unwrap();
    let (pass, lost) = disks.scrub(A).await;
    assert_eq!((pass.chunks, pass.mended, pass.lost), (7, 5, 0), "{pass:?}");
    assert!(matches!(pass.state, ScrubState::Ended(1..)) && pass.asked && pass.chunks == pass.total && lost.is_empty());
    assert_eq!((disks.summaries(A), disks.summaries(B)), (sound.clone(), sound));
    for ino in 1..=7 {
        assert!(disks.cluster.read(A, chunk(ino), 0, LENGTH).await.unwrap() == bytes(ino as u8, LENGTH));
    }
    let (again, _) = disks.scrub(A).await;
    assert_eq!((again.mended, again.lost), (0, 0));
    assert_ne!(again.number, pass.number);
    let status = disks.cluster.servers[0].replica.status().scrub;
    assert_eq!((status.now, status.last), (None, Some(again)));
}

#[tokio::test]
async fn chunks_that_are_missing_on_one_server_are_taken_from_the_other() {
    let disks = Disks::with(9).await;
    let sound = disks.summaries(A);
    for (server, inos) in [(A, [1, 5]), (B, [6, 9])] {
        for ino in inos {
            disks.stores[usize::from(server.0 - 1)].import(chunk(ino), None).unwrap();
        }
        let (pass, _) = disks.scrub(server).await;
        assert_eq!((pass.mended, pass.lost), (2, 0), "on {server}");
    }
    assert_eq!((disks.summaries(A), disks.summaries(B)), (sound.clone(), sound));
    let (pass, _) = disks.scrub(A).await;
    assert_eq!((pass.chunks, pass.mended, pass.lost), (9, 0, 0));
}

#[tokio::test]
async fn a_chunk_that_is_on_its_way_here_is_not_missing() {
    let disks = Disks::with(2).await;
    let [a, b] = &disks.stores;
    b.import(chunk(2), None).unwrap();
    let replica = &disks.cluster.servers[1].replica;
    let number = replica.scrub_now().unwrap();
    until("the pass is under way", || replica.scrubbed(number).unwrap().0.chunks == 1).await;
    b.import(chunk(2), Some(&a.salvage(chunk(2)).unwrap().unwrap().copy)).unwrap();
    until("the pass ends", || replica.scrubbed(number).unwrap().0.state != ScrubState::Runs).await;
    let (pass, _) = replica.scrubbed(number).unwrap();
    assert_eq!((pass.chunks, pass.mended, pass.lost), (2, 0, 0), "{pass:?}");
    assert_eq!(disks.summaries(A), disks.summaries(B));
}

#[tokio::test]
async fn of_two_copies_that_are_damaged_in_different_blocks_both_become_whole() {
    let disks = Disks::with(2).await;
    let sound = disks.summaries(A);
    disks.flip(A, 1, 5);
    disks.flip(B, 1, 20_000);
    disks.flip(A, 2, SUMS_AT + 4);
    disks.flip(B, 2, SUMS_AT + 8);
    for server in [A, B] {
        let (pass, _) = disks.scrub(server).await;
        assert_eq!((pass.mended, pass.lost), (2, 0), "on {server}");
    }
    assert_eq!((disks.summaries(A), disks.summaries(B)), (sound.clone(), sound));
}

#[tokio::test]
async fn what_is_damaged_on_both_is_said_and_not_spread_and_the_rest_is_mended() {
    let disks = Disks::with(2).await;
    for server in [A, B] {
        disks.flip(server, 1, 5);
    }
    disks.flip(A, 1, 20_000);
    for server in [A, B] {
        let (pass, lost) = disks.scrub(server).await;
        assert_eq!((pass.mended, pass.lost, lost), (0, 1, vec![chunk(1)]), "on {server}");
        assert_eq!(disks.summaries(server)[&chunk(1)].1, 1, "on {server}");
        assert_eq!(disks.cluster.read(server, chunk(1), 0, 9).await, Err(Rejection::Damaged));
        let rest = disks.cluster.read(server, chunk(1), 4096, LENGTH).await.unwrap();
        assert!(rest == bytes(1, LENGTH)[4096..], "on {server}");
    }
    assert_eq!(disks.cluster.read(A, chunk(2), 0, LENGTH).await.unwrap(), bytes(2, LENGTH));
    // Written anew it is well again.
    disks.cluster.change(0, chunk(1), write(0, &[7; 4096])).await;
    assert_eq!(disks.scrub(A).await.0.lost, 0);
}

#[tokio::test]
async fn a_pass_in_the_middle_of_changes_finds_nothing_wrong() {
    let disks = Disks::with(3).await;
    let replica = &disks.cluster.servers[0].replica;
    let number = replica.scrub_now().unwrap();
    let mut changes = 0;
    while changes < 50 || replica.scrubbed(number).unwrap().0.state == ScrubState::Runs {
        let ino = 1 + changes % 3;
        disks.cluster.change(0, chunk(ino), write((changes * 999 % 40_000) as u32, &[changes as u8; 5000])).await;
        changes += 1;
    }
    let (pass, _) = replica.scrubbed(number).unwrap();
    assert_eq!((pass.mended, pass.lost), (0, 0));
    assert_eq!(disks.summaries(A), disks.summaries(B));
}

#[tokio::test]
async fn nothing_is_looked_at_unless_both_copies_are_in_sync_and_the_disk_is_well() {
    let cluster = Cluster::new().await;
    for ino in 1..9 {
        cluster.change(0, chunk(ino), write(0, b"x")).await;
    }
    let replica = &cluster.servers[0].replica;
    cluster.store(A).stall(true);
    let number = replica.scrub_now().unwrap();
    assert_eq!(replica.scrub_now(), Ok(number), "a pass under way is joined");
    cluster.names.lock().set(B, CopyState::Stale);
    let other = &cluster.servers[1].replica;
    assert_eq!(other.scrub_now(), Err(Rejection::NotInCharge), "its own copy is stale");
    cluster.store(A).stall(false);
    until("it is broken off", || replica.scrubbed(number).unwrap().0.state == ScrubState::BrokenOff).await;
    assert_eq!(replica.scrubbed(number + 1).err(), Some(Rejection::Forgotten));
    assert_eq!(replica.status().scrub.last, None, "it did not go through all chunks");
    cluster.in_sync().await;
    let (pass, _) = scrub(&cluster, A).await;
    assert_eq!((pass.chunks, pass.lost), (8, 0));
    cluster.store(A).failing.store(true, Ordering::Relaxed);
    let number = replica.scrub_now().unwrap();
    until("it is broken off", || replica.scrubbed(number).unwrap().0.state == ScrubState::BrokenOff).await;
    assert_eq!(replica.scrub_now(), Err(Rejection::NotInCharge), "the disk failed");
}

#[tokio::test]
async fn the_pass_that_goes_by_itself_goes_on_where_it_was_in_an_earlier_life() {
    let cluster = Cluster::quiet().await;
    for ino in 1..6 {
        cluster.change(0, chunk(ino), write(0, &[3; 10_000])).await;
        cluster.store(A).rot(chunk(ino), 1);
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("scrub");
    let before = ScrubPass { number: 5, elapsed_ms: 1_000_000, chunks: 3, total: 5, ..ScrubPass::default() };
    Bookmark::new(&path).write(&Place { now: Some((before, chunk(3))), last: None }).unwrap();
    let replica = &cluster.servers[0].replica;
    replica.keep_bookmark(Bookmark::new(&path));
    assert_eq!(replica.status().scrub.now.map(|pass| pass.chunks), Some(3));
    assert!(replica.scrub_slowly().await.is_some());
    let last = replica.status().scrub.last.unwrap();
    assert_eq!((last.chunks, last.mended, last.lost, last.asked), (5, 2, 0, false));
    assert!(last.elapsed_ms > 1_000_000);
    assert_eq!(Bookmark::new(&path).read(), Place { now: None, last: Some(last) });
    assert_eq!(cluster.read(A, chunk(1), 0, 10_000).await.unwrap(), [3; 10_000], "mended by the read");
}

#[tokio::test]
async fn a_pass_does_not_end_because_the_mirror_cannot_say_what_it_has() {
    let mut cluster = Cluster::quiet().await;
    cluster.change(0, chunk(1), write(0, b"x")).await;
    cluster.server(B).kill();
    assert_eq!(cluster.state(B), CopyState::InSync, "nobody has noticed it yet");
    let replica = cluster.servers[0].replica.clone();
    // It stands back for who asks, once it has found out that it cannot go on.
    replica.scrub_now().unwrap();
    assert_eq!(replica.scrub_slowly().await, None);
    let status = replica.status().scrub;
    assert_eq!((status.last, status.now.map(|pass| pass.chunks)), (None, Some(0)));
}

#[tokio::test]
async fn a_server_looks_through_its_chunks_once_in_each_period_by_itself() {
    let cluster = Cluster::quiet().await;
    for ino in 1..4 {
        cluster.change(0, chunk(ino), write(0, b"x")).await;
    }
    let (every, settle) = (Duration::from_millis(400), Duration::from_millis(100));
    let mut replica = Replica::new(
        &cluster.config,
        cluster.servers[0].board.clone(),
        cluster.stores[0].clone(),
        Peers::new(&cluster.config, A),
    );
    Arc::get_mut(&mut replica).unwrap().scrub = Scrub::new(Pace::hasty(every, settle));
    let begun = Instant::now();
    tokio::spawn(replica.clone().run_scrub());
    let mut last = None;
    for n in 0..3 {
        until("a pass ends", || replica.status().scrub.last.map(|pass| pass.number) != last).await;
        let pass = replica.status().scrub.last.unwrap();
        last = Some(pass.number);
        assert_eq!((pass.chunks, pass.mended, pass.lost, pass.asked), (3, 0, 0, false));
        assert!(begun.elapsed() > settle + every / 2 * n, "pass {n} came after {:?}", begun.elapsed());
    }
    cluster.names.lock().set(B, CopyState::Stale);
    until("one begins", || replica.status().scrub.now.is_some()).await;
    assert_eq!(replica.status().scrub.now.unwrap().chunks, 0, "it waits for its mirror");
    cluster.names.lock().set(B, CopyState::InSync);
    replica.scrub_now().unwrap();
    until("it stands back for who asks", || replica.status().scrub.last.is_some_and(|pass| pass.asked)).await;
}

#[tokio::test]
async fn somebody_who_asks_does_not_wait_for_the_slow_pass() {
    let cluster = Cluster::quiet().await;
    for ino in 1..400 {
        cluster.change(0, chunk(ino), write(0, b"x")).await;
    }
    let replica = cluster.servers[0].replica.clone();
    let slow = tokio::spawn(async move { replica.scrub_slowly().await });
    let replica = &cluster.servers[0].replica;
    until("it is under way", || replica.status().scrub.now.is_some_and(|pass| pass.chunks > 2)).await;
    replica.scrub_now().unwrap();
    assert_eq!(slow.await.unwrap(), None, "it stands back");
    assert!(replica.status().scrub.now.is_some_and(|pass| pass.asked));
}

#[tokio::test]
async fn a_file_that_is_taken_away_while_its_server_has_it_open_comes_back() {
    let disks = Disks::with(3).await;
    let sound = disks.summaries(B);
    let path = disks.dirs[0].path().join("chunks").join(format!("{:013x}/{:016x}", 0, 2));
    std::fs::remove_file(&path).unwrap();
    let (pass, _) = disks.scrub(A).await;
    assert_eq!((pass.mended, pass.lost), (1, 0), "{pass:?}");
    assert!(path.exists());
    assert_eq!(disks.summaries(A), sound);
}

#[tokio::test]
async fn a_resync_does_not_take_a_file_that_was_taken_away_for_one_that_never_was() {
    let mut disks = Disks::with(3).await;
    std::fs::remove_file(disks.dirs[0].path().join("chunks").join(format!("{:013x}/{:016x}", 0, 2))).unwrap();
    disks.cluster.names.lock().set(B, CopyState::Stale);
    disks.cluster.change(0, chunk(2), write(7, b"changed")).await;
    disks.cluster.in_sync().await;
    disks.cluster.server(A).kill();
    let mut expected = bytes(2, LENGTH);
    expected[7..14].copy_from_slice(b"changed");
    assert!(disks.stores[1].read(chunk(2), 0, LENGTH).unwrap() == expected);
}
