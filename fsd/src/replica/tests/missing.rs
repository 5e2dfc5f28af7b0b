//! Chunks whose files are gone on one server.

use super::*;
use raidfs_common::id::ChunkId;

/// A chunk of 10,000 bytes that nobody has to copy any more.
async fn settled() -> Cluster {
    let cluster = Cluster::new().await;
    cluster.change(0, chunk(1), write(0, &[3; 10_000])).await;
    for _ in 0..2 {
        assert!(cluster.servers[0].replica.settle_round(Duration::ZERO).await);
    }
    assert!(cluster.store(A).noted(None, 9).unwrap().is_empty());
    cluster
}

#[tokio::test]
async fn a_missing_chunk_is_not_read_as_zeros_but_taken_from_the_mirror() {
    for server in [A, B] {
        let cluster = settled().await;
        cluster.store(server).remove_file(chunk(1));
        assert_eq!(cluster.read(server, chunk(1), 5000, 10).await.unwrap(), [3; 10]);
        cluster.assert_equal();
        cluster.store(server).remove_file(chunk(1));
        let view = cluster.view(0);
        let runs = cluster.call(server, |c, x| async move { c.extents(x, view, chunk(1)).await }).await.unwrap();
        assert_eq!(runs, Ok((10_000, vec![(0, 3)])), "nor is it a hole");
        cluster.assert_equal();
        assert_eq!(cluster.names.lock().pair.epoch, Epoch(1), "nobody was evicted");
    }
}

#[tokio::test]
async fn what_was_never_written_is_a_hole() {
    let mut cluster = settled().await;
    for server in [A, B] {
        assert_eq!(cluster.read(server, chunk(2), 5000, 10).await.unwrap(), [0; 0]);
    }
    cluster.server(B).kill();
    assert_eq!(cluster.read(A, chunk(2), 5000, 10).await.unwrap(), [0; 0]);
}

#[tokio::test]
async fn a_change_of_a_missing_chunk_makes_no_zeros_of_what_was_there() {
    for server in [A, B] {
        for offset in [9_990, 8192 * 4] {
            let cluster = settled().await;
            cluster.store(server).remove_file(chunk(1));
            cluster.change(0, chunk(1), write(offset, &[4; 20])).await;
            until("who had lost it is put out", || accused(&cluster, server)).await;
            cluster.in_sync().await;
            cluster.assert_equal();
            for server in [A, B] {
                assert_eq!(cluster.read(server, chunk(1), 9_000, 990).await.unwrap(), [3; 990]);
                assert_eq!(cluster.read(server, chunk(1), offset, 20).await.unwrap(), [4; 20]);
            }
        }
    }
}

#[tokio::test]
async fn changes_that_make_a_chunk_at_the_same_time_put_nobody_out() {
    let cluster = Arc::new(Cluster::new().await);
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..200u32 {
        let cluster = cluster.clone();
        let at = (u64::from(n / 8), n % 8 * 20_000);
        tasks.spawn(async move { cluster.change(0, chunk(10 + at.0), write(at.1, &[5; 20_000])).await });
    }
    tasks.join_all().await;
    cluster.assert_equal();
    assert_eq!(cluster.names.lock().pair.epoch, Epoch(1));
}

/// B, which has lost chunk 1, catches up: what is to be copied is known, chunk 1 is not among it, and chunk 101 is not read at
/// A before it is told.
async fn half_caught_up() -> Cluster {
    let mut cluster = settled().await;
    cluster.server(B).kill();
    for ino in [100, 101] {
        cluster.change(0, chunk(ino), write(0, b"a")).await;
    }
    cluster.store(B).remove_file(chunk(1));
    cluster.store(A).stall_chunk(Some(chunk(101)));
    cluster.restart(B).await;
    until("the first is copied", || cluster.store(B).contents().contains_key(&chunk(100))).await;
    cluster
}

/// B has a chunk 1, of what was written last only.
fn has_zeros(cluster: &Cluster) -> bool {
    cluster.store(B).contents().get(&chunk(1)).is_some_and(|bytes| bytes[..9_990] == [0; 9_990])
}

#[tokio::test]
async fn a_missing_chunk_that_is_changed_during_a_resync_is_whole_before_its_server_may_be_the_only_one() {
    let mut cluster = half_caught_up().await;
    cluster.change(0, chunk(1), write(9_990, &[4; 20])).await;
    assert!(has_zeros(&cluster), "what it had lost was changed there before it was copied");
    cluster.store(A).stall_chunk(None);
    cluster.in_sync().await;
    cluster.server(A).kill();
    assert_eq!(cluster.read(B, chunk(1), 9_000, 990).await.unwrap(), [3; 990]);
    assert_eq!(cluster.read(B, chunk(1), 9_990, 20).await.unwrap(), [4; 20]);
    let names = cluster.names.lock();
    let found_late = |r: &Report| matches!(r, Report::Accuse { reason, .. } if reason.contains("was missing"));
    assert!(!names.reports.iter().any(found_late), "nor was it in sync before: {:?}", names.reports);
}

#[tokio::test]
async fn a_missing_chunk_that_is_changed_at_the_end_of_a_resync_is_compared_behind_it() {
    let cluster = half_caught_up().await;
    cluster.names.lock().no_quorum = true;
    cluster.store(A).stall_chunk(None);
    until("the leader is told of the end", || cluster.servers[0].replica.state.lock().is_sealed()).await;
    cluster.change(0, chunk(1), write(9_990, &[4; 20])).await;
    assert!(has_zeros(&cluster) && cluster.state(B) == CopyState::Syncing);
    cluster.names.lock().no_quorum = false;
    until("the copies are alike", || cluster.stores[0].contents() == cluster.stores[1].contents()).await;
    cluster.in_sync().await;
    assert_eq!(cluster.read(B, chunk(1), 9_000, 990).await.unwrap(), [3; 990]);
}

#[tokio::test]
async fn a_missing_chunk_between_holes_is_found() {
    for server in [A, B] {
        let cluster = settled().await;
        let later = ChunkId { ino: Ino(1), index: 4 };
        cluster.change(0, later, write(0, b"x")).await;
        cluster.store(server).remove_file(later);
        let (view, from) = (cluster.view(0), ChunkId { ino: Ino(1), index: 2 });
        let next = cluster.call(server, |c, x| async move { c.next_chunk(x, view, from).await }).await.unwrap();
        assert_eq!(next, Ok(Some(4)));
    }
}

#[tokio::test]
async fn a_missing_chunk_is_not_read_as_zeros_while_the_mirror_has_a_cut_to_carry_out() {
    let cluster = settled().await;
    cluster.store(A).remove_file(chunk(1));
    *cluster.store(B).cuts_late.lock() = Duration::from_millis(30);
    cluster.doom(1, Doom::Cut { size: 10_000 });
    assert_eq!(cluster.read(A, chunk(1), 5000, 10).await.unwrap(), [3; 10]);
    cluster.assert_equal();
}
