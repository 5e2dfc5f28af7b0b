//! What a resync must not miss, and must not stand in the way of.

use super::*;

#[tokio::test]
async fn a_resync_waits_for_what_the_mirror_had_ordered_before_it_died() {
    let mut cluster = Cluster::new().await;
    cluster.change(0, chunk(2), write(0, b"before")).await;
    cluster.store(B).stall_chunk(Some(chunk(1)));
    let (id, peers) = (cluster.id(), cluster.client.clone());
    let ask = |server, view| {
        let peers = peers.clone();
        let change =
            move |c: ChunkServiceClient, x| async move { c.change(x, view, id, chunk(1), write(0, b"x")).await };
        tokio::spawn(async move { peers.call(server, PATIENCE, change).await })
    };
    let first = ask(A, cluster.view(0));
    until("B's half of it waits, of which nothing is noted yet", || cluster.store(B).waiting() == 1).await;
    cluster.server(A).kill();
    let _ = first.await.unwrap();
    // Nor has A anything of it: its disk is another one.
    cluster.wipe(A);
    cluster.names.lock().set(A, CopyState::Stale);
    let again = ask(B, cluster.view(0));
    cluster.restart(A).await;
    until("A catches up", || cluster.state(A) == CopyState::Syncing).await;
    let begun = Instant::now();
    until("it would be done", || cluster.state(A) == CopyState::InSync || begun.elapsed().as_millis() > 300).await;
    assert_eq!(cluster.state(A), CopyState::Syncing, "what is under way at B would be missing there");
    cluster.store(B).stall_chunk(None);
    let told = again.await.unwrap().unwrap();
    assert!(matches!(told, Err(Rejection::WrongEpoch { .. })), "made, and asked once more: {told:?}");
    cluster.in_sync().await;
    assert!(cluster.store(B).contents().contains_key(&chunk(1)));
    cluster.assert_equal();
}

/// B catches up: of two chunks the first is copied to it, the second is not read at A before it is told.
async fn half_caught_up() -> Cluster {
    let mut cluster = Cluster::new().await;
    cluster.server(B).kill();
    for ino in [1, 2] {
        cluster.change(0, chunk(ino), write(0, b"a")).await;
    }
    cluster.store(A).stall_chunk(Some(chunk(2)));
    cluster.restart(B).await;
    until("the first is copied", || cluster.store(B).contents().contains_key(&chunk(1))).await;
    cluster
}

#[tokio::test(flavor = "local")]
async fn a_mirror_that_missed_a_change_behind_its_copy_is_not_in_sync() {
    let cluster = half_caught_up().await;
    cluster.store(B).refuses_writes.store(true, Ordering::Relaxed);
    cluster.change(0, chunk(1), write(0, b"b")).await;
    cluster.store(B).refuses_writes.store(false, Ordering::Relaxed);
    cluster.store(A).stall_chunk(None);
    cluster.in_sync().await;
    cluster.assert_equal();
}

#[tokio::test]
async fn a_change_that_finds_no_room_here_does_not_stay_on_a_mirror_that_catches_up() {
    let cluster = half_caught_up().await;
    cluster.store(A).refuses_writes.store(true, Ordering::Relaxed);
    let refused = cluster.try_change(A, cluster.view(0), cluster.id(), chunk(1), write(0, b"b")).await;
    assert_eq!(refused, Err(Rejection::Full));
    cluster.store(A).refuses_writes.store(false, Ordering::Relaxed);
    cluster.store(A).stall_chunk(None);
    cluster.in_sync().await;
    cluster.assert_equal();
    assert_eq!(cluster.read(B, chunk(1), 0, 1).await.unwrap(), b"a");
}

#[tokio::test]
async fn who_waits_for_a_chunk_that_is_looked_at_slowly_goes_first_and_the_resync_goes_on() {
    let mut cluster = Cluster::new().await;
    cluster.server(B).kill();
    for ino in [1, 2] {
        cluster.change(0, chunk(ino), write(0, b"a")).await;
    }
    // Looking at it takes long, and nothing is sent meanwhile.
    cluster.store(A).looks_slowly.store(true, Ordering::Relaxed);
    cluster.restart(B).await;
    until("it is looked at", || cluster.store(A).looks.load(Ordering::Relaxed) > 0).await;
    assert_eq!(cluster.state(B), CopyState::Syncing);
    let epoch = cluster.view(0).epoch;
    let begun = Instant::now();
    cluster.change(0, chunk(1), write(0, b"b")).await;
    assert!(begun.elapsed() < Duration::from_secs(3), "it took {:?}", begun.elapsed());
    cluster.store(A).looks_slowly.store(false, Ordering::Relaxed);
    cluster.in_sync().await;
    cluster.assert_equal();
    assert_eq!(cluster.view(0).epoch.0, epoch.0 + 1, "it came into sync at the first attempt");
}

#[tokio::test]
async fn notes_are_kept_for_as_long_as_a_change_is_made_on_one_side_only() {
    let cluster = Arc::new(Cluster::new().await);
    cluster.store(A).stall_chunk(Some(chunk(1)));
    let asked = cluster.clone();
    let change = tokio::spawn(async move { asked.change(0, chunk(1), write(0, b"x")).await });
    until("the mirror has made it", || cluster.store(B).contents().contains_key(&chunk(1))).await;
    let replica = cluster.servers[0].replica.clone();
    let mut round = tokio::spawn(async move { replica.settle_round(Duration::ZERO).await });
    assert!(tokio::time::timeout(Duration::from_millis(200), &mut round).await.is_err(), "it waits");
    assert!(cluster.store(B).noted(None, 9).unwrap().contains(&chunk(1)));
    cluster.store(A).stall_chunk(None);
    change.await.unwrap();
    assert!(round.await.unwrap());
}
