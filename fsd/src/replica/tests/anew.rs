//! A pair whose loss was accepted, on two empty stores.

use super::harness::*;
use crate::board::Doom;
use crate::chunk::ChunkStore;
use raidfs_common::error::Rejection;
use raidfs_common::id::{ChunkId, Ino};
use raidfs_common::limits::{BLOCK_BYTES, CHUNK_BYTES};
use raidfs_common::pair::CopyState;
use raidfs_common::rpc::peer::Report;
use std::time::{Duration, Instant};

const BLOCK: u32 = BLOCK_BYTES as u32;

/// Both killed and their stores gone; the namespace has accepted that these files lost so many bytes.
async fn lost(files: &[(u64, u64)]) -> Cluster {
    let mut cluster = Cluster::new().await;
    for (ino, _) in files {
        cluster.change(0, chunk(*ino), write(0, &[3; 100])).await;
    }
    for server in [A, B] {
        cluster.server(server).kill();
        cluster.wipe(server);
    }
    let mut names = cluster.names.lock();
    names.pair.losses += 1;
    names.lost = files.iter().map(|(ino, end)| (Ino(*ino), *end)).collect();
    names.set(A, CopyState::Stale);
    names.set(B, CopyState::Stale);
    drop(names);
    cluster
}

async fn begins(cluster: &Cluster, server: raidfs_common::id::ServerId) {
    until("the pair begins anew", || cluster.state(server) == CopyState::InSync).await;
    // That nothing had listened there is remembered for a moment.
    let (begun, view) = (Instant::now(), cluster.view(0));
    while cluster.call(server, |c, x| async move { c.read(x, view, chunk(99), 0, 1).await }).await.is_err() {
        assert!(begun.elapsed() < PATIENCE, "nobody answers");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn what_was_lost_is_an_error_on_both_until_it_is_written_anew() {
    let mut cluster = lost(&[(1, 10_000), (3, CHUNK_BYTES + 5)]).await;
    cluster.restart(A).await;
    begins(&cluster, A).await;
    let far = ChunkId { ino: Ino(3), index: 1 };
    assert_eq!(cluster.read(A, chunk(1), 0, 5).await, Err(Rejection::Lost));
    assert_eq!(cluster.read(A, far, 0, 5).await, Err(Rejection::Lost));
    assert_eq!(cluster.read(A, chunk(2), 0, 5).await.unwrap(), [], "nothing was lost of it");
    let part = cluster.try_change(A, cluster.view(0), cluster.id(), chunk(1), write(10, b"part")).await;
    assert_eq!(part, Err(Rejection::Lost), "of a block of which nobody has the rest");
    cluster.change(0, chunk(1), write(BLOCK, &[4; BLOCK as usize])).await;
    cluster.change(0, chunk(2), write(0, b"new")).await;
    cluster.restart(B).await;
    cluster.in_sync().await;
    for server in [A, B] {
        assert_eq!(cluster.read(server, chunk(1), BLOCK, 5).await.unwrap(), [4; 5], "of {server}");
        assert_eq!(cluster.read(server, chunk(1), BLOCK - 1, 5).await, Err(Rejection::Lost), "of {server}");
        assert_eq!(cluster.read(server, chunk(1), 9_999, 5).await, Err(Rejection::Lost), "of {server}");
        assert_eq!(cluster.read(server, chunk(3), 77, 5).await, Err(Rejection::Lost), "of {server}");
        assert_eq!(cluster.read(server, far, 0, 5).await, Err(Rejection::Lost), "of {server}");
        assert_eq!(cluster.read(server, chunk(2), 0, 3).await.unwrap(), b"new", "of {server}");
    }
    let part = cluster.try_change(A, cluster.view(0), cluster.id(), chunk(3), write(10, b"part")).await;
    assert_eq!(part, Err(Rejection::Lost));
    assert_eq!(
        (cluster.state(A), cluster.state(B)),
        (CopyState::InSync, CopyState::InSync),
        "nobody is put out for it"
    );
    for at in 0..3 {
        cluster.change(0, chunk(1), write(at * BLOCK, &[5; BLOCK as usize])).await;
    }
    for server in [A, B] {
        assert_eq!(cluster.read(server, chunk(1), 0, 3 * BLOCK).await.unwrap(), [5; 3 * BLOCK as usize], "whole again");
    }
    cluster.assert_equal();
}

#[tokio::test]
async fn either_server_may_be_the_first_and_one_that_is_killed_before_it_counts_does_it_again() {
    let files: Vec<(u64, u64)> = (1..=300).map(|ino| (ino, 5)).collect();
    let mut cluster = lost(&files).await;
    cluster.store(B).stall_chunk(Some(chunk(200)));
    cluster.restart(B).await;
    until("it is in the middle of it", || cluster.store(B).waiting() > 0).await;
    assert_eq!(cluster.state(B), CopyState::Stale, "it does not count before it has marked all");
    cluster.server(B).kill();
    cluster.store(B).stall_chunk(None);
    cluster.restart(B).await;
    begins(&cluster, B).await;
    cluster.restart(A).await;
    cluster.in_sync().await;
    for server in [A, B] {
        for ino in [1, 199, 200, 300] {
            assert_eq!(cluster.read(server, chunk(ino), 0, 5).await, Err(Rejection::Lost), "{ino} of {server}");
        }
    }
}

#[tokio::test]
async fn what_was_cut_meanwhile_is_not_marked() {
    let mut cluster = lost(&[(1, 10_000), (2, 10_000), (4, 10_000)]).await;
    cluster.start_again(A).await;
    cluster.doom(1, Doom::Cut { size: 0 });
    cluster.doom(2, Doom::Cut { size: 5_000 });
    cluster.names.lock().lost.remove(&Ino(1));
    cluster.names.lock().lost.insert(Ino(2), 5_000);
    cluster.hello(A);
    begins(&cluster, A).await;
    assert_eq!(cluster.read(A, chunk(1), 0, 5).await.unwrap(), [], "it was cut to nothing");
    assert_eq!(cluster.read(A, chunk(2), 0, 5).await, Err(Rejection::Lost));
    assert_eq!(cluster.read(A, chunk(2), 5_000, 5).await.unwrap(), [], "it ends there");
    // And afterwards, like any chunk.
    cluster.doom(4, Doom::Cut { size: 100 });
    cluster.change(0, chunk(4), write(BLOCK, b"behind")).await;
    assert_eq!(cluster.read(A, chunk(4), BLOCK, 6).await.unwrap(), b"behind");
    assert_eq!(cluster.read(A, chunk(4), 50, 5).await, Err(Rejection::Lost));
    cluster.doom(4, Doom::Cut { size: 0 });
    cluster.change(0, chunk(4), write(10, b"anew")).await;
    assert_eq!(cluster.read(A, chunk(4), 0, 14).await.unwrap(), [&[0; 10][..], b"anew"].concat());
}

#[tokio::test]
async fn of_two_that_begin_at_once_the_second_is_copied_from_the_first() {
    let files: Vec<(u64, u64)> = (1..=200).map(|ino| (ino, 5)).collect();
    let mut cluster = lost(&files).await;
    cluster.store(B).stall_chunk(Some(chunk(100)));
    cluster.restart(B).await;
    until("the second is in the middle of it", || cluster.store(B).waiting() > 0).await;
    cluster.restart(A).await;
    begins(&cluster, A).await;
    // Behind what the second has marked, before it, and where it is.
    for ino in [1, 100, 200, 300] {
        cluster.change(0, chunk(ino), write(0, &[7; BLOCK as usize])).await;
    }
    cluster.doom(50, Doom::Reap);
    assert_ne!(cluster.state(B), CopyState::InSync, "it has nothing of that");
    cluster.store(B).stall_chunk(None);
    cluster.in_sync().await;
    for ino in [1, 100, 200, 300] {
        assert_eq!(cluster.read(B, chunk(ino), 0, 5).await.unwrap(), [7; 5], "{ino}");
    }
    assert_eq!(cluster.read(B, chunk(150), 0, 5).await, Err(Rejection::Lost));
    cluster.assert_equal();
}

#[tokio::test]
async fn what_is_marked_while_the_first_copy_is_made_is_lost_too() {
    let mut cluster = lost(&[(1, 10_000), (2, 5)]).await;
    cluster.store(A).stall_chunk(Some(chunk(2)));
    cluster.restart(A).await;
    until("it is in the middle of it", || cluster.store(A).waiting() > 0).await;
    {
        let mut names = cluster.names.lock();
        names.lost.insert(Ino(1), 30_000);
        names.lost.insert(Ino(9), 5);
        names.late += 1;
        names.publish();
    }
    cluster.store(A).stall_chunk(None);
    begins(&cluster, A).await;
    assert_eq!(cluster.read(A, chunk(1), 29_000, 5).await, Err(Rejection::Lost), "it has become longer");
    assert_eq!(cluster.read(A, chunk(1), 5, 5).await, Err(Rejection::Lost));
    assert_eq!(cluster.read(A, chunk(9), 0, 5).await, Err(Rejection::Lost));
}

#[tokio::test]
async fn a_directory_of_an_earlier_time_is_not_the_first_copy() {
    let mut cluster = lost(&[(1, 5)]).await;
    cluster.store(B).lose(chunk(1), 5).unwrap();
    cluster.wiped = [true, false];
    cluster.restart(B).await;
    cluster.restart(A).await;
    begins(&cluster, A).await;
    let begun = |report: &Report| matches!(report, Report::Begun { incarnation, .. } if incarnation.0 == 2);
    assert!(!cluster.names.lock().reports.iter().any(begun), "it has not said that it is");
}
