//! How long files have become, as it is found out after their mount has died.

use super::harness::{A, B, Cluster, chunk, until, write};
use crate::board::Doom;
use crate::chunk::ChunkStore;
use raidfs_common::id::{Ino, LogIndex, PairId, ServerId};
use raidfs_common::limits::CHUNK_BYTES;
use raidfs_common::rpc::chunks::ChunkServiceClient;
use std::sync::Arc;
use std::time::Duration;

#[tokio::test]
async fn the_ends_are_asked_for_behind_the_changes_under_way() {
    let cluster = Arc::new(Cluster::new().await);
    cluster.store(B).stall(true);
    let asked = cluster.clone();
    let change = tokio::spawn(async move { asked.change(0, chunk(1), write(0, b"xyz")).await });
    until("the change is under way", || cluster.store(A).contents().len() == 1).await;
    let asked = cluster.clone();
    let grown = tokio::spawn(async move {
        asked.call(A, |c, x| async move { c.grown(x, PairId(0), LogIndex(1), None).await }).await.unwrap().unwrap()
    });
    cluster.read(A, chunk(2), 0, 1).await.unwrap();
    assert!(!grown.is_finished(), "a change may still make a file longer");
    cluster.store(B).stall(false);
    change.await.unwrap();
    assert_eq!(grown.await.unwrap().files, [(Ino(1), 3)]);
}

#[tokio::test]
async fn the_ends_of_what_may_have_grown_are_known() {
    let cluster = Cluster::new().await;
    cluster.change(0, chunk(1), write(10, b"x")).await;
    let second = raidfs_common::id::ChunkId { ino: Ino(1), index: 2 };
    cluster.change(0, second, write(0, b"yy")).await;
    cluster.change(0, chunk(2), write(0, &[1; 100])).await;
    cluster.doom(2, Doom::Cut { size: 30 });
    assert_eq!(grown(&cluster, B).await, [vec![(Ino(1), 2 * CHUNK_BYTES + 2), (Ino(2), 30)], vec![]]);
}

/// All pages of what may have grown on a server.
async fn grown(cluster: &Cluster, server: ServerId) -> Vec<Vec<(Ino, u64)>> {
    let (mut pages, mut after) = (Vec::new(), None);
    loop {
        let ask = |c: ChunkServiceClient, x| async move { c.grown(x, PairId(0), LogIndex(0), after).await };
        let page = cluster.call(server, ask).await.unwrap().unwrap();
        pages.push(page.files);
        after = page.next;
        if after.is_none() {
            return pages;
        }
    }
}

#[tokio::test]
async fn the_ends_of_very_many_files_are_told_in_pages() {
    let cluster = Cluster::quiet().await;
    let files = 2 * super::super::grown::PAGE as u64 + 10;
    for ino in 1..=files {
        let _ = cluster.store(A).note(chunk(ino)).unwrap();
        cluster.store(A).write(chunk(ino), 0, b"xyz").unwrap();
    }
    let pages = grown(&cluster, A).await;
    assert!(pages.len() > 2 && pages.iter().all(|page| page.len() <= super::super::grown::PAGE));
    let all: Vec<(Ino, u64)> = pages.concat();
    assert_eq!(all, (1..=files).map(|ino| (Ino(ino), 3)).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_size_that_is_not_committed_can_still_be_found_after_the_notes_are_dropped() {
    let cluster = Cluster::quiet().await;
    cluster.names.lock().sizes.extend([(Ino(1), 2), (Ino(2), 3)]);
    for ino in [1, 2] {
        cluster.change(0, chunk(ino), write(0, b"xyz")).await;
    }
    let settle = async || assert!(cluster.servers[0].replica.settle_round(Duration::ZERO).await);
    for _ in 0..3 {
        settle().await;
        assert_eq!(grown(&cluster, A).await.concat(), [(Ino(1), 3)]);
        assert_eq!(grown(&cluster, B).await.concat(), [(Ino(1), 3)]);
    }
    cluster.names.lock().sizes.insert(Ino(1), 3);
    for _ in 0..2 {
        settle().await;
    }
    assert_eq!(cluster.stores.each_ref().map(|s| s.noted_names()), [0, 0]);
}
