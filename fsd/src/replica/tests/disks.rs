//! Disks that stall, fill up and fail: who is put out for it, and who is not.

use super::accused;
use super::harness::{A, B, Cluster, chunk, until, write};
use crate::board::Doom;
use crate::chunk::ChunkStore;
use crate::replica::mend::Mended;
use crate::replica::ranges::{Mode, Span};
use raidfs_common::error::Rejection;
use raidfs_common::id::Epoch;
use raidfs_common::limits::BLOCK_BYTES;
use raidfs_common::pair::{CopyState, Space};
use raidfs_common::rpc::chunks::ChunkServiceClient;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[tokio::test]
async fn a_server_whose_disk_stalls_is_evicted_though_it_answers() {
    let cluster = Cluster::new().await;
    cluster.store(B).stall(true);
    cluster.change(0, chunk(1), write(0, b"b")).await;
    assert_ne!(cluster.state(B), CopyState::InSync);
    cluster.store(B).stall(false);
    cluster.in_sync().await;
    cluster.assert_equal();
}

#[tokio::test]
async fn a_disk_that_is_stuck_alone_is_found_out_by_its_own_server() {
    let cluster = Cluster::new().await;
    cluster.store(A).stall(true);
    let begun = Instant::now();
    // A read, which no mirror waits for, and whose client goes away.
    let (view, wait) = (cluster.view(0), Duration::from_millis(50));
    let read = |c: ChunkServiceClient, x| async move { c.read(x, view, chunk(1), 0, 1).await };
    assert!(cluster.client.call(A, wait, read).await.is_err());
    until("A is evicted", || cluster.state(A) != CopyState::InSync).await;
    assert!(begun.elapsed() < Duration::from_secs(3), "it took {:?}", begun.elapsed());
    assert!(accused(&cluster, A) && !accused(&cluster, B));
    cluster.store(A).stall(false);
}

#[tokio::test]
async fn a_stall_of_both_disks_evicts_nobody() {
    let cluster = Arc::new(Cluster::new().await);
    for server in [A, B] {
        cluster.store(server).stall(true);
    }
    let asked = cluster.clone();
    let change = tokio::spawn(async move { asked.change(0, chunk(1), write(0, b"x")).await });
    let begun = Instant::now();
    // Long enough for either to accuse itself, and for the primary to accuse its mirror.
    until("it lasts", || begun.elapsed() > Duration::from_millis(3500)).await;
    assert!(!change.is_finished());
    for server in [A, B] {
        cluster.store(server).stall(false);
    }
    change.await.unwrap();
    assert!(!accused(&cluster, A) && !accused(&cluster, B));
    assert_eq!(cluster.view(0).epoch, Epoch(1));
}

#[tokio::test]
async fn a_full_mirror_is_evicted_and_two_full_disks_refuse() {
    let cluster = Cluster::new().await;
    cluster.change(0, chunk(1), write(0, b"x")).await;
    for store in &cluster.stores {
        store.full.store(true, Ordering::Relaxed);
    }
    let full = cluster.try_change(A, cluster.view(0), cluster.id(), chunk(2), write(0, b"y")).await;
    assert_eq!(full, Err(Rejection::Full));
    assert_eq!(cluster.names.lock().pair.epoch, Epoch(1));
    cluster.store(A).full.store(false, Ordering::Relaxed);
    let trouble = || cluster.servers[1].replica.status().disk_error;
    assert_eq!(trouble(), None, "nothing is wrong with it");
    cluster.change(0, chunk(2), write(0, b"y")).await;
    assert_ne!(cluster.state(B), CopyState::InSync);
    until("it says what it waits for", || trouble().is_some_and(|text| text.starts_with("no room"))).await;
    cluster.store(B).full.store(false, Ordering::Relaxed);
    cluster.in_sync().await;
    until("that is over", || trouble().is_none()).await;
    cluster.assert_equal();
}

#[tokio::test]
async fn of_two_disks_that_fill_up_together_neither_is_evicted() {
    let cluster = Cluster::new().await;
    cluster.change(0, chunk(1), write(0, b"x")).await;
    for store in &cluster.stores {
        store.nearly_full.store(true, Ordering::Relaxed);
    }
    let little = || cluster.servers.iter().all(|s| matches!(s.replica.status().space, Space { total: 1.., free: 0 }));
    until("both know", little).await;
    cluster.store(B).full.store(true, Ordering::Relaxed);
    for (at, offset) in [(chunk(1), 4095), (chunk(1), 4096), (chunk(2), 0)] {
        let refused = cluster.try_change(A, cluster.view(0), cluster.id(), at, write(offset, b"yy")).await;
        assert_eq!(refused, Err(Rejection::Full));
    }
    cluster.store(B).full.store(false, Ordering::Relaxed);
    // What is there already can be overwritten.
    cluster.change(0, chunk(1), write(0, b"z")).await;
    assert_eq!(cluster.view(0).epoch, Epoch(1), "nobody was evicted");
    assert_eq!(cluster.read(A, chunk(1), 0, 9).await.unwrap(), b"z");
    cluster.assert_equal();
}

#[tokio::test]
async fn a_server_whose_sync_or_write_fails_takes_itself_out() {
    let cluster = Cluster::new().await;
    cluster.change(0, chunk(1), write(0, b"x")).await;
    let noted = Arc::new(AtomicBool::new(false));
    let note = noted.clone();
    cluster.servers[0].replica.doubt_life_by(Box::new(move || {
        note.store(true, Ordering::SeqCst);
        Ok(())
    }));
    cluster.store(A).failing.store(true, Ordering::Relaxed);
    let view = cluster.view(0);
    let sync = cluster.call(A, |c, x| async move { c.sync(x, view, vec![chunk(1)]).await }).await.unwrap();
    assert_eq!(sync, Err(Rejection::DiskFailed));
    assert!(noted.load(Ordering::SeqCst), "a sync that is tried again must not meet a life that knows nothing of it");
    until("A is evicted", || cluster.state(A) != CopyState::InSync).await;
    assert!(cluster.servers[0].replica.status().disk_error.is_some());
    cluster.change(0, chunk(1), write(0, b"y")).await;
    assert_eq!(cluster.read(B, chunk(1), 0, 1).await.unwrap(), b"y");
}

#[tokio::test]
async fn who_changes_a_chunk_that_is_copied_to_a_hung_disk_does_not_wait_for_that() {
    let mut cluster = Cluster::new().await;
    cluster.server(B).kill();
    cluster.change(0, chunk(1), write(0, b"a")).await;
    cluster.store(B).stall(true);
    cluster.restart(B).await;
    let replica = cluster.servers[0].replica.clone();
    until("the chunk is being copied", || {
        let held = replica.locks.enter(chunk(1).ino, Span::chunk(chunk(1)), Mode::Change);
        cluster.state(B) == CopyState::Syncing && held.1.is_some()
    })
    .await;
    let begun = Instant::now();
    cluster.change(0, chunk(1), write(0, b"b")).await;
    assert!(begun.elapsed() < Duration::from_secs(3), "it took {:?}", begun.elapsed());
    cluster.store(B).stall(false);
    cluster.in_sync().await;
    cluster.assert_equal();
}

#[tokio::test]
async fn a_server_that_was_short_of_open_files_is_well_again_once_it_is_in_sync() {
    let cluster = Cluster::new().await;
    cluster.change(0, chunk(1), write(0, b"a")).await;
    cluster.store(B).short_of_files.store(true, Ordering::Relaxed);
    cluster.change(0, chunk(1), write(0, b"b")).await;
    assert_ne!(cluster.state(B), CopyState::InSync);
    let told = || cluster.servers[1].replica.status().disk_error;
    assert!(told().is_some_and(|text| text.contains("Too many open files")));
    cluster.store(B).short_of_files.store(false, Ordering::Relaxed);
    cluster.in_sync().await;
    until("it says no more of it", || told().is_none()).await;
    cluster.assert_equal();
}

#[tokio::test]
async fn a_server_whose_disk_has_failed_rests() {
    let cluster = Cluster::new().await;
    for ino in 1..20 {
        cluster.change(0, chunk(ino), write(0, b"x")).await;
    }
    cluster.store(B).failing.store(true, Ordering::Relaxed);
    cluster.change(0, chunk(1), write(0, b"y")).await;
    assert_eq!(cluster.state(B), CopyState::Stale);
    let last = (2..20).map(|ino| cluster.doom(ino, Doom::Reap)).last().unwrap();
    cluster.servers[1].board.publish(|notice| notice.durable = last);
    until("it tries what it cannot", || cluster.store(B).reaps.load(Ordering::Relaxed) > 0).await;
    let (begun, epoch) = (Instant::now(), cluster.view(0).epoch);
    until("a second has passed", || begun.elapsed() > Duration::from_secs(1)).await;
    let tries = cluster.store(B).reaps.load(Ordering::Relaxed);
    assert!(tries < 18 * 8, "{tries} tries in a second");
    assert_eq!(cluster.view(0).epoch, epoch, "nobody tries to bring it up to date");
}

#[tokio::test]
async fn what_cannot_be_read_for_a_while_is_not_replaced_by_what_is_less() {
    const BLOCK: u32 = BLOCK_BYTES as u32;
    let cluster = Cluster::new().await;
    cluster.change(0, chunk(1), write(0, &[7; 3 * BLOCK as usize])).await;
    let whole = cluster.store(A).contents();
    cluster.store(A).cannot_read(chunk(1), 1);
    cluster.store(A).rot(chunk(1), 2);
    cluster.store(B).rot(chunk(1), 1);
    assert_eq!(cluster.servers[0].replica.mend_chunk(chunk(1)).await, Mended::Some);
    let good = |block: u32| cluster.store(A).read(chunk(1), block * BLOCK, BLOCK).is_ok();
    assert!(good(2), "what the mirror has is taken from there");
    assert!(!good(1));
    assert_eq!(cluster.servers[0].replica.mend_chunk(chunk(1)).await, Mended::Nothing);
    cluster.store(A).can_read_again(chunk(1), 1);
    assert_eq!(cluster.store(A).contents(), whole);
    assert!(good(1), "what neither had is here again");
    assert_eq!(cluster.servers[1].replica.mend_chunk(chunk(1)).await, Mended::All);
    cluster.assert_equal();
}
