//! What a server does that is about to stop: it says afterwards that every change is whole, and how many chunks it has.

use super::harness::{A, B, Cluster, PATIENCE, chunk, until, write};
use crate::board::Doom;
use std::sync::Arc;

#[tokio::test]
async fn a_server_that_stops_waits_for_what_it_does_for_its_mirror_and_removes_nothing_afterwards() {
    let cluster = Arc::new(Cluster::new().await);
    cluster.change(0, chunk(1), write(0, b"x")).await;
    cluster.store(A).stall(true);
    let asked = cluster.clone();
    // Ordered by B, so that it is the mirror's change here.
    let change = tokio::spawn(async move { asked.change(1, chunk(2), write(0, b"y")).await });
    until("it is on its way to the disk", || cluster.store(A).waiting() > 0).await;
    let replica = cluster.servers[0].replica.clone();
    let close = tokio::spawn(async move { replica.close().await });
    until("it closes", || cluster.servers[0].replica.is_closed()).await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!close.is_finished(), "a change is under way");
    cluster.store(A).stall(false);
    assert!(close.await.unwrap());
    assert_eq!(cluster.store(A).contents()[&chunk(2)], b"y");
    change.await.unwrap();
    let held = cluster.store(A).contents();
    let entry = cluster.doom(1, Doom::Reap);
    for server in &cluster.servers {
        server.board.durable(entry, PATIENCE).await.unwrap();
    }
    until("the other has removed it", || !cluster.store(B).contents().contains_key(&chunk(1))).await;
    assert!(cluster.servers[0].replica.carry_out(chunk(1).ino, entry).await.is_err());
    assert_eq!(cluster.store(A).contents(), held);
}
