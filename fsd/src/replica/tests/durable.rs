//! What is made durable, by whom, and how often.

use super::harness::{A, B, Cluster, PATIENCE, chunk, until, write};
use crate::board::Doom;
use crate::cuts::Cuts;
use raidfs_common::id::{Ino, LogIndex};
use raidfs_common::pair::CopyState;
use raidfs_common::rpc::chunks::ChunkChange;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

#[tokio::test]
async fn a_synced_change_is_synced_on_both_when_it_is_answered() {
    let cluster = Cluster::new().await;
    let syncs = || [A, B].map(|s| cluster.store(s).syncs.load(Ordering::Relaxed));
    cluster.change(0, chunk(1), write(0, b"x")).await;
    assert_eq!(syncs(), [0, 0]);
    let synced = ChunkChange::Write { offset: 1, sync: true, data: b"y".to_vec().into() };
    cluster.change(0, chunk(1), synced.clone()).await;
    assert_eq!(syncs(), [1, 1]);
    cluster.assert_equal();
    // One that cannot be synced everywhere is not acknowledged before the server that cannot is out.
    cluster.store(B).fails_syncs.store(true, Ordering::Relaxed);
    cluster.change(0, chunk(1), synced).await;
    assert_ne!(cluster.state(B), CopyState::InSync);
}

#[tokio::test]
async fn concurrent_syncs_of_a_chunk_share() {
    let cluster = Arc::new(Cluster::new().await);
    cluster.change(0, chunk(1), write(0, b"x")).await;
    let view = cluster.view(0);
    let mut tasks = tokio::task::JoinSet::new();
    cluster.store(A).stall(true);
    for _ in 0..50 {
        let cluster = cluster.clone();
        tasks.spawn(async move { cluster.call(A, |c, x| async move { c.sync(x, view, vec![chunk(1)]).await }).await });
    }
    until("all are there", || cluster.servers[0].replica.status().counters.syncs == 50).await;
    cluster.store(A).stall(false);
    for result in tasks.join_all().await {
        result.unwrap().unwrap();
    }
    assert_eq!(cluster.store(A).syncs.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn what_nobody_syncs_is_synced_every_second() {
    let cluster = Cluster::new().await;
    cluster.change(0, chunk(1), write(0, b"x")).await;
    let syncs = || [A, B].map(|server| cluster.store(server).syncs_of_all.load(Ordering::Relaxed));
    let (before, begun) = (syncs(), Instant::now());
    // The second one has certainly begun after the change.
    until("both have synced", || syncs().iter().zip(before).all(|(now, before)| *now >= before + 2)).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "it took {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_cut_is_written_down_only_once_it_is_durable() {
    let cluster = Cluster::new().await;
    cluster.change(0, chunk(1), write(0, &[7; 3000])).await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cuts");
    let board = &cluster.servers[0].board;
    board.keep_cuts(Cuts::open(&path, LogIndex(0), &BTreeSet::new()).unwrap());
    let store = cluster.store(A);
    store.fails_syncs.store(true, Ordering::Relaxed);
    let entry = cluster.doom(1, Doom::Cut { size: 100 });
    board.durable(entry, PATIENCE).await.unwrap();
    until("it is cut", || store.contents()[&chunk(1)].len() == 100).await;
    until("it was to be synced", || cluster.state(A) != CopyState::InSync).await;
    assert_eq!(std::fs::read(&path).unwrap(), [0; 0], "a power cut would undo it");
    assert!(!board.dooms_of(Ino(1)).is_empty());
    store.fails_syncs.store(false, Ordering::Relaxed);
    until("it is carried out", || board.dooms_of(Ino(1)).is_empty()).await;
    assert!(store.syncs_of_cuts.load(Ordering::Relaxed) >= 1);
    assert!(Cuts::open(&path, LogIndex(0), &BTreeSet::new()).unwrap().is_done(Ino(1), entry));
}
