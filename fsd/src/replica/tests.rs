//! Two replicas against each other, with everything between them that can go wrong.

mod anew;
mod copies;
mod direct;
mod disks;
mod durable;
mod harness;
mod missing;
mod resyncs;
mod retries;
mod scrub;
mod sizes;
mod stops;
pub(crate) mod store;

use crate::board::Doom;
use crate::chunk::ChunkStore;
use harness::{A, B, Cluster, PATIENCE, chunk, until, write};
use raidfs_common::error::Rejection;
use raidfs_common::id::{Epoch, Incarnation, Ino, LogIndex, PairId, ServerId, SessionId};
use raidfs_common::limits::{CHUNK_BYTES, FORWARD_STUCK};
use raidfs_common::pair::CopyState;
use raidfs_common::rpc::chunks::{ChangeId, ChunkChange, ChunkServiceClient, Ordered, View};
use raidfs_common::rpc::peer::Report;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

fn accused(cluster: &Cluster, who: ServerId) -> bool {
    let names = cluster.names.lock();
    names.reports.iter().any(|r| matches!(r, Report::Accuse { server, .. } if *server == who))
}

#[tokio::test]
async fn a_change_is_on_both_when_it_is_answered() {
    let cluster = Cluster::new().await;
    for turn in [0, 1] {
        let applied = cluster.change(turn, chunk(5 + u64::from(turn)), write(100, b"hello")).await;
        assert_eq!(applied.blocks, 1);
    }
    cluster.assert_equal();
    for server in [A, B] {
        assert_eq!(cluster.read(server, chunk(5), 100, 5).await.unwrap(), b"hello");
    }
    let counters = cluster.servers.each_ref().map(|s| s.replica.status().counters);
    assert_eq!(counters.map(|c| (c.primary_changes, c.mirror_changes, c.reads, c.written_bytes)), [(2, 2, 1, 10); 2]);
}

#[tokio::test]
async fn overlapping_changes_end_alike_on_both() {
    let cluster = Arc::new(Cluster::new().await);
    let mut tasks = tokio::task::JoinSet::new();
    for i in 0..200u32 {
        let cluster = cluster.clone();
        let change = match i % 9 {
            8 => ChunkChange::Punch { offset: (i % 3) * 4096, length: 9000 },
            _ => write((i * 977) % 16_000, &vec![i as u8; 5000]),
        };
        tasks.spawn(async move { cluster.change((i % 2) as u8, chunk(1 + u64::from(i % 2)), change).await });
    }
    tasks.join_all().await;
    cluster.assert_equal();
    assert_eq!(cluster.names.lock().pair.epoch, Epoch(1), "nobody was evicted");
}

#[tokio::test]
async fn a_killed_mirror_is_evicted_at_once_and_before_the_answer() {
    let mut cluster = Cluster::new().await;
    cluster.change(0, chunk(1), write(0, b"a")).await;
    cluster.server(B).kill();
    let begun = Instant::now();
    cluster.change(0, chunk(1), write(0, b"b")).await;
    assert!(begun.elapsed() < FORWARD_STUCK, "it took {:?}", begun.elapsed());
    assert_eq!(cluster.state(B), CopyState::Stale);
    assert_eq!(cluster.read(A, chunk(1), 0, 1).await.unwrap(), b"b");
}

#[tokio::test]
async fn a_hung_mirror_is_evicted_and_brought_up_to_date_when_it_returns() {
    let mut cluster = Cluster::new().await;
    cluster.change(0, chunk(1), write(0, b"a")).await;
    cluster.server(B).hang();
    let begun = Instant::now();
    cluster.change(0, chunk(1), write(0, b"b")).await;
    assert!(begun.elapsed() >= FORWARD_STUCK, "an answer before it was known to be stuck");
    assert!(begun.elapsed() < 2 * FORWARD_STUCK, "it took {:?}", begun.elapsed());
    assert!(accused(&cluster, B));
    cluster.server(B).resume();
    cluster.in_sync().await;
    cluster.assert_equal();
    assert_eq!(cluster.read(B, chunk(1), 0, 1).await.unwrap(), b"b");
}

#[tokio::test]
async fn a_connection_that_carries_nothing_any_more_puts_nobody_out() {
    let cluster = Cluster::new().await;
    cluster.clog_one_way(A, B).await;
    // Connections are used in turn: one of them goes that way.
    for n in 0..4 {
        let begun = Instant::now();
        cluster.change(0, chunk(1), write(n, b"a")).await;
        assert!(begun.elapsed() < 2 * FORWARD_STUCK, "it took {:?}", begun.elapsed());
    }
    assert!(!accused(&cluster, B) && cluster.state(B) == CopyState::InSync);
    cluster.assert_equal();
}

#[tokio::test]
async fn without_the_leader_nothing_is_acknowledged_on_one_copy() {
    let mut cluster = Cluster::new().await;
    cluster.server(B).kill();
    cluster.names.lock().no_quorum = true;
    let cluster = Arc::new(cluster);
    let asked = cluster.clone();
    let request = tokio::spawn(async move { asked.change(0, chunk(1), write(0, b"b")).await });
    until("the change is made on one copy", || cluster.store(A).contents().len() == 1).await;
    tokio::task::yield_now().await;
    assert!(!request.is_finished() && cluster.state(B) == CopyState::InSync);
    cluster.names.lock().no_quorum = false;
    request.await.unwrap();
    assert_eq!(cluster.state(B), CopyState::Stale);
}

#[tokio::test]
async fn an_evicted_primary_does_not_acknowledge() {
    let cluster = Arc::new(Cluster::new().await);
    let old = cluster.view(0);
    cluster.names.lock().deaf[0] = true;
    let accuse = Report::Accuse { pair: PairId(0), epoch: Epoch(1), server: A, reason: "test".into() };
    {
        // As if the leader had evicted A: it does not hear of it.
        let board = cluster.servers[1].board.clone();
        assert!(board.report(accuse).await);
    }
    let asked = cluster.clone();
    let id = cluster.id();
    let request = tokio::spawn(async move { asked.try_change(A, old, id, chunk(1), write(0, b"x")).await });
    until("the change was tried", || accused(&cluster, B)).await;
    assert!(!request.is_finished());
    assert!(cluster.store(B).contents().is_empty(), "the mirror must not take it");
    cluster.names.lock().deaf[0] = false;
    cluster.names.lock().applied.0 += 1;
    cluster.doom(999, Doom::Reap);
    assert!(matches!(request.await.unwrap(), Err(Rejection::WrongEpoch { .. })));
    // The retry goes to the mirror, and everything ends alike.
    cluster.in_sync().await;
    cluster.assert_equal();
}

#[tokio::test]
async fn what_was_made_under_an_older_epoch_tells_the_new_one_and_keeps_its_outcome() {
    let mut cluster = Cluster::new().await;
    let (view, id) = (cluster.view(0), cluster.id());
    cluster.server(B).kill();
    let answer = cluster.try_change(A, view, id, chunk(1), write(0, b"x")).await;
    let now = cluster.view(0);
    assert_eq!(answer, Err(Rejection::WrongEpoch { pair: PairId(0), current: now.epoch }));
    let again = cluster.try_change(A, now, id, chunk(1), write(0, b"x")).await;
    assert_eq!(again.unwrap().blocks, 1, "made once: a second time would add no block");
}

#[tokio::test]
async fn a_retry_at_the_new_primary_has_the_first_outcome() {
    let mut cluster = Cluster::new().await;
    let id = cluster.id();
    let applied = cluster.try_change(A, cluster.view(0), id, chunk(1), write(0, b"x")).await.unwrap();
    cluster.server(A).kill();
    // Something that B orders finds out that A is gone.
    cluster.change(1, chunk(2), write(0, b"y")).await;
    assert_eq!(cluster.state(A), CopyState::Stale);
    let again = cluster.try_change(B, cluster.view(0), id, chunk(1), write(0, b"x")).await.unwrap();
    assert_eq!(again, applied);
}

#[tokio::test]
async fn what_an_evicted_server_made_by_halves_is_not_taken_for_made() {
    let mut cluster = Cluster::new().await;
    let id = cluster.id();
    // A has it, B has not, and nobody was told: A is evicted, and brought up to date from B.
    cluster.names.lock().deaf[0] = true;
    let accuse = Report::Accuse { pair: PairId(0), epoch: Epoch(1), server: A, reason: "test".into() };
    let view = cluster.view(0);
    cluster.servers[1].board.clone().report(accuse).await;
    let peers = cluster.client.clone();
    let request = tokio::spawn(async move {
        let call = |c: ChunkServiceClient, x| async move { c.change(x, view, id, chunk(1), write(0, b"x")).await };
        peers.call(A, PATIENCE, call).await
    });
    until("A has it", || cluster.store(A).contents().len() == 1).await;
    cluster.names.lock().deaf[0] = false;
    cluster.doom(999, Doom::Reap);
    cluster.in_sync().await;
    let _ = request.await;
    assert!(cluster.store(A).contents().is_empty());
    cluster.server(B).kill();
    cluster.try_change(A, cluster.view(0), id, chunk(1), write(0, b"x")).await.unwrap_err();
    cluster.try_change(A, cluster.view(0), id, chunk(1), write(0, b"x")).await.unwrap();
    assert_eq!(cluster.store(A).contents().len(), 1, "acknowledged, and there");
}

#[tokio::test]
async fn a_resync_under_load_ends_with_equal_copies() {
    let mut cluster = Cluster::new().await;
    for ino in 1..200 {
        cluster.change((ino % 2) as u8, chunk(ino), write(0, &ino.to_le_bytes())).await;
    }
    cluster.server(B).kill();
    for ino in (1..200).step_by(3) {
        cluster.change(0, chunk(ino), write(5000, &vec![ino as u8; 9000])).await;
    }
    cluster.restart(B).await;
    let cluster = Arc::new(cluster);
    let mut tasks = tokio::task::JoinSet::new();
    for worker in 0..8u64 {
        let cluster = cluster.clone();
        tasks.spawn(async move {
            let mut n = 0u64;
            // The resync gives way to them; of one session only so many outcomes are kept.
            while (cluster.state(B) != CopyState::InSync && n < 400) || n < 50 {
                let ino = 1 + (worker * 31 + n * 7) % 220;
                cluster.change((n % 2) as u8, chunk(ino), write((n as u32 * 611) % 20_000, &vec![n as u8; 700])).await;
                n += 1;
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    cluster.in_sync().await;
    cluster.assert_equal();
    assert!(cluster.servers[0].replica.status().counters.resynced_chunks > 0);
}

#[tokio::test]
async fn a_server_killed_in_the_middle_of_its_resync_starts_over() {
    let mut cluster = Cluster::new().await;
    cluster.server(B).kill();
    for ino in 1..100 {
        cluster.change(0, chunk(ino), write(0, &[1; 3000])).await;
    }
    cluster.store(B).stall(true);
    cluster.restart(B).await;
    until("it catches up", || cluster.state(B) == CopyState::Syncing).await;
    cluster.server(B).kill();
    cluster.store(B).stall(false);
    cluster.change(0, chunk(7), write(0, &[2; 3000])).await;
    cluster.restart(B).await;
    cluster.in_sync().await;
    cluster.assert_equal();
}

#[tokio::test]
async fn a_returning_server_is_caught_up_once_its_new_life_is_known() {
    let mut cluster = Cluster::new().await;
    cluster.server(B).kill();
    cluster.change(0, chunk(1), write(0, b"x")).await;
    cluster.start_again(B).await;
    let begun = Instant::now();
    until("it would be too early", || begun.elapsed() > Duration::from_millis(400)).await;
    cluster.hello(B);
    cluster.in_sync().await;
    cluster.assert_equal();
    let names = cluster.names.lock();
    assert_eq!(names.reports.iter().filter(|r| matches!(r, Report::Syncing { .. })).count(), 1);
}

#[tokio::test]
async fn a_new_disk_gets_everything_and_an_equal_copy_nothing() {
    let mut cluster = Cluster::new().await;
    for ino in 1..50 {
        cluster.change(0, chunk(ino), write(0, &[ino as u8; 100])).await;
    }
    assert!(cluster.servers[0].replica.settle_round(Duration::ZERO).await);
    cluster.server(B).kill();
    cluster.change(0, chunk(1), write(0, b"z")).await;
    cluster.wipe(B);
    cluster.restart(B).await;
    cluster.in_sync().await;
    cluster.assert_equal();
    let imports = cluster.store(B).imports.load(Ordering::Relaxed);
    assert_eq!(imports, 49);
    cluster.server(B).kill();
    cluster.change(0, chunk(60), write(0, b"z")).await;
    cluster.restart(B).await;
    cluster.in_sync().await;
    cluster.assert_equal();
    let copied = cluster.store(B).imports.load(Ordering::Relaxed) - imports;
    assert_eq!(copied, 1, "what is equal is not sent");
}

#[tokio::test]
async fn what_has_the_same_block_sums_as_before_is_copied() {
    let mut cluster = Cluster::new().await;
    // Bytes that end with their own checksum, as of a database's header: all of them have the same block sum.
    let text = |text: &[u8]| [text, &raidfs_common::checksum::record(text).to_le_bytes()].concat();
    cluster.change(0, chunk(1), write(0, &text(b"checkpoint 1"))).await;
    cluster.server(B).kill();
    let newer = text(b"checkpoint 2");
    cluster.change(0, chunk(1), write(0, &newer)).await;
    cluster.restart(B).await;
    cluster.in_sync().await;
    assert_eq!(cluster.read(B, chunk(1), 0, newer.len() as u32).await.unwrap(), newer);
}

#[tokio::test]
async fn what_only_the_returning_server_has_is_removed() {
    let mut cluster = Cluster::new().await;
    cluster.server(B).kill();
    let store = cluster.store(B);
    let _intent = store.note(chunk(9)).unwrap();
    store.write(chunk(9), 0, b"never acknowledged").unwrap();
    cluster.change(0, chunk(1), write(0, b"z")).await;
    cluster.restart(B).await;
    cluster.in_sync().await;
    assert_eq!(cluster.store(B).contents().keys().copied().collect::<Vec<_>>(), [chunk(1)]);
}

#[tokio::test]
async fn a_change_that_the_catching_up_mirror_misses_starts_the_resync_over() {
    let mut cluster = Cluster::new().await;
    cluster.server(B).kill();
    for ino in 1..20 {
        cluster.change(0, chunk(ino), write(0, b"a")).await;
    }
    cluster.store(B).full.store(true, Ordering::Relaxed);
    cluster.restart(B).await;
    until("it fails", || {
        cluster.names.lock().reports.iter().filter(|r| matches!(r, Report::Syncing { .. })).count() > 1
    })
    .await;
    cluster.change(0, chunk(1), write(0, b"b")).await;
    cluster.store(B).full.store(false, Ordering::Relaxed);
    cluster.in_sync().await;
    cluster.assert_equal();
}

#[tokio::test]
async fn a_damaged_block_is_mended_from_the_mirror() {
    let cluster = Cluster::new().await;
    cluster.change(0, chunk(1), write(0, &[3; 10_000])).await;
    cluster.store(A).rot(chunk(1), 1);
    assert_eq!(cluster.read(A, chunk(1), 0, 10_000).await.unwrap(), [3; 10_000]);
    assert_eq!(cluster.servers[0].replica.status().counters.damaged_blocks, 1);
    cluster.assert_equal();
    // A change of part of a damaged block, on either side.
    for server in [A, B] {
        cluster.store(server).rot(chunk(1), 0);
        cluster.change(0, chunk(1), write(10, b"mm")).await;
        cluster.assert_equal();
    }
    assert_eq!(cluster.names.lock().pair.epoch, Epoch(1), "nobody was evicted");
    for server in [A, B] {
        cluster.store(server).rot(chunk(1), 1);
    }
    assert_eq!(cluster.read(A, chunk(1), 5000, 10).await, Err(Rejection::Damaged));
    assert_eq!(cluster.read(A, chunk(1), 0, 10).await.unwrap(), [3; 10], "the rest is served");
    let part = cluster.try_change(A, cluster.view(0), cluster.id(), chunk(1), write(5000, b"part")).await;
    assert_eq!(part, Err(Rejection::Damaged));
    assert_eq!(cluster.names.lock().pair.epoch, Epoch(1), "nobody was evicted for what neither can do");
    cluster.change(0, chunk(1), write(4096, &[4; 4096])).await;
    assert_eq!(cluster.read(B, chunk(1), 5000, 10).await.unwrap(), [4; 10]);
    cluster.assert_equal();
}

#[tokio::test]
async fn a_block_is_mended_though_the_mirror_has_not_carried_out_a_cut_yet() {
    let cluster = Cluster::quiet().await;
    cluster.change(0, chunk(1), write(0, &[3; 10_000])).await;
    cluster.store(A).rot(chunk(1), 0);
    // Nobody but who is asked for the chunk carries it out.
    cluster.doom(1, Doom::Cut { size: 6000 });
    assert_eq!(cluster.read(A, chunk(1), 0, 6000).await.unwrap(), [3; 6000]);
    cluster.assert_equal();
}

#[tokio::test]
async fn rot_of_the_source_is_not_passed_on_by_a_resync() {
    let mut cluster = Cluster::new().await;
    cluster.change(0, chunk(1), write(0, &[3; 10_000])).await;
    assert!(cluster.servers[0].replica.settle_round(Duration::ZERO).await);
    cluster.server(B).kill();
    cluster.change(0, chunk(2), write(0, b"x")).await;
    cluster.store(A).rot(chunk(1), 1);
    let _intent = cluster.store(B).note(chunk(1)).unwrap();
    cluster.restart(B).await;
    cluster.in_sync().await;
    cluster.assert_equal();
    assert_eq!(cluster.read(A, chunk(1), 0, 10_000).await.unwrap(), [3; 10_000]);
}

#[tokio::test]
async fn rot_of_a_block_that_may_be_half_changed_is_mended_if_the_mirror_has_what_its_sum_says() {
    let mut cluster = Cluster::new().await;
    cluster.change(0, chunk(1), write(0, &[3; 10_000])).await;
    cluster.server(B).kill();
    cluster.change(0, chunk(2), write(0, b"x")).await;
    assert!(cluster.servers[0].replica.may_be_half_changed());
    cluster.store(A).rot(chunk(1), 1);
    cluster.restart(B).await;
    cluster.in_sync().await;
    cluster.assert_equal();
    for server in [A, B] {
        assert_eq!(cluster.read(server, chunk(1), 0, 10_000).await.unwrap(), [3; 10_000], "of {server}");
    }
}

#[tokio::test]
async fn a_block_that_nothing_can_have_half_changed_is_not_summed_anew() {
    let mut cluster = Cluster::new().await;
    cluster.change(0, chunk(1), write(0, &[3; 10_000])).await;
    cluster.server(B).kill();
    cluster.change(0, chunk(1), write(4096, &[4; 100])).await;
    cluster.servers[0].replica.nothing_is_half_changed();
    cluster.store(A).rot(chunk(1), 1);
    assert_eq!(cluster.read(A, chunk(1), 5000, 9).await, Err(Rejection::Damaged));
    cluster.restart(B).await;
    cluster.in_sync().await;
    for server in [A, B] {
        assert_eq!(cluster.read(server, chunk(1), 5000, 9).await, Err(Rejection::Damaged), "of {server}");
        assert_eq!(cluster.read(server, chunk(1), 0, 9).await.unwrap(), [3; 9], "of {server}");
    }
}

#[tokio::test]
async fn mending_from_a_mirror_that_was_away_brings_nothing_older_back() {
    let mut cluster = Cluster::new().await;
    cluster.change(0, chunk(1), write(0, &[3; 10_000])).await;
    assert!(cluster.servers[0].replica.settle_round(Duration::ZERO).await);
    cluster.server(B).kill();
    cluster.change(0, chunk(1), write(0, &[4; 5])).await;
    cluster.change(0, chunk(1), write(8192, &[5; 5])).await;
    cluster.store(A).rot(chunk(1), 1);
    cluster.store(A).rot(chunk(1), 2);
    cluster.restart(B).await;
    cluster.in_sync().await;
    for server in [A, B] {
        assert_eq!(cluster.read(server, chunk(1), 0, 5).await.unwrap(), [4; 5], "of {server}: acknowledged meanwhile");
        assert_eq!(cluster.read(server, chunk(1), 5000, 9).await.unwrap(), [3; 9], "of {server}: mended");
        assert_eq!(cluster.read(server, chunk(1), 8192, 9).await, Err(Rejection::Damaged), "of {server}: lost");
    }
}

#[tokio::test]
async fn what_is_lost_on_the_only_copy_stays_lost_and_the_rest_is_copied() {
    let mut cluster = Cluster::new().await;
    cluster.change(0, chunk(1), write(0, &[3; 10_000])).await;
    assert!(cluster.servers[0].replica.settle_round(Duration::ZERO).await);
    cluster.server(B).kill();
    cluster.change(0, chunk(2), write(0, b"x")).await;
    cluster.store(A).rot(chunk(1), 1);
    cluster.wipe(B);
    cluster.restart(B).await;
    cluster.in_sync().await;
    for server in [A, B] {
        assert_eq!(cluster.read(server, chunk(1), 4096, 1).await, Err(Rejection::Damaged), "of {server}");
        assert_eq!(cluster.read(server, chunk(1), 8192, 5).await.unwrap(), [3; 5], "of {server}");
    }
}

#[tokio::test]
async fn a_change_that_was_cut_off_by_the_end_of_the_only_copys_life_does_no_harm() {
    let mut cluster = Cluster::new().await;
    cluster.change(0, chunk(1), write(0, &[3; 10_000])).await;
    cluster.server(B).kill();
    cluster.change(0, chunk(2), write(0, b"x")).await;
    cluster.store(A).rot(chunk(1), 1);
    assert_eq!(cluster.read(A, chunk(1), 0, 4097).await.unwrap().len(), 4097);
    assert_eq!(cluster.servers[0].replica.status().counters.damaged_blocks, 0);
}

#[tokio::test]
async fn requests_of_another_epoch_or_without_a_lease_are_refused() {
    let cluster = Cluster::new().await;
    let view = cluster.view(0);
    let old = View { epoch: Epoch(0), ..view };
    let wrong = Rejection::WrongEpoch { pair: PairId(0), current: Epoch(1) };
    assert_eq!(cluster.try_change(A, old, cluster.id(), chunk(1), write(0, b"x")).await, Err(wrong.clone()));
    let sync = cluster.call(A, |c, x| async move { c.sync(x, old, vec![chunk(1)]).await }).await.unwrap();
    assert_eq!(sync, Err(wrong.clone()));
    let read = cluster.call(A, |c, x| async move { c.read(x, old, chunk(1), 0, 1).await }).await.unwrap();
    assert_eq!(read, Err(wrong.clone()));
    let by = Ordered { from: B, view: old, applied: LogIndex(1) };
    let id = cluster.id();
    let apply =
        cluster.call(A, |c, x| async move { c.apply(x, by, id, chunk(1), write(0, b"x")).await }).await.unwrap();
    assert_eq!(apply, Err(wrong));
    assert_eq!(cluster.try_change(B, view, cluster.id(), chunk(1), write(0, b"x")).await, Err(Rejection::NotInCharge));
    let ahead = View { at_least: LogIndex(1000), ..view };
    let behind = Rejection::Behind { needed: LogIndex(1000) };
    assert_eq!(cluster.try_change(A, ahead, cluster.id(), chunk(1), write(0, b"x")).await, Err(behind));
    let long = ChunkChange::Punch { offset: 1, length: CHUNK_BYTES as u32 };
    let bad = cluster.try_change(A, view, cluster.id(), chunk(1), long).await;
    assert!(matches!(bad, Err(Rejection::Bad(_))));
    cluster.servers[0].board.publish(|n| n.sessions = Some(Arc::new(vec![SessionId(8)])));
    let closed = cluster.try_change(A, view, cluster.id(), chunk(1), write(0, b"x")).await;
    assert_eq!(closed, Err(Rejection::NoSession));
    cluster.servers[0].board.publish(|n| n.lease_until = Instant::now());
    assert_eq!(cluster.try_change(A, view, cluster.id(), chunk(1), write(0, b"x")).await, Err(Rejection::NoQuorum));
    assert_eq!(cluster.read(A, chunk(1), 0, 1).await, Err(Rejection::NoQuorum));
    assert!(cluster.stores.iter().all(|s| s.contents().is_empty()));
}

#[tokio::test]
async fn a_started_server_does_not_serve_by_its_earlier_lifes_state() {
    let cluster = Cluster::new().await;
    {
        let mut names = cluster.names.lock();
        names.pair.members[0].incarnation = Incarnation(77);
        names.pair.epoch.0 += 1;
    }
    cluster.doom(999, Doom::Reap);
    assert_eq!(cluster.read(A, chunk(1), 0, 1).await, Err(Rejection::NotInCharge));
}

#[tokio::test]
async fn a_cut_is_durable_and_done_before_a_change_or_read_behind_it() {
    let cluster = Cluster::new().await;
    cluster.change(0, chunk(1), write(0, &[1; 10_000])).await;
    cluster.doom(1, Doom::Cut { size: 10 });
    assert_eq!(cluster.names.lock().barriers, 0);
    cluster.change(0, chunk(1), write(5000, b"x")).await;
    assert!(cluster.names.lock().barriers > 0, "nothing is destroyed before its reason is durable");
    cluster.assert_equal();
    let mut expected = vec![0; 5001];
    expected[..10].fill(1);
    expected[5000] = b'x';
    assert_eq!(cluster.read(B, chunk(1), 0, 10_000).await.unwrap(), expected);
    cluster.doom(1, Doom::Cut { size: 0 });
    assert_eq!(cluster.read(B, chunk(1), 0, 10).await.unwrap(), b"");
}

#[tokio::test]
async fn a_cut_that_only_one_side_knows_comes_on_the_same_side_of_a_change_on_both() {
    let cluster = Arc::new(Cluster::new().await);
    for (turn, ahead) in [(0, 1), (1, 0), (0, 0), (1, 1)] {
        let ino = 10 + u64::from(turn) * 2 + ahead as u64;
        cluster.change(turn, chunk(ino), write(0, &[1; 10_000])).await;
        // One server hears of the cut, and has carried it out; the change was sent before, and asks for nothing.
        let view = View { at_least: LogIndex(0), ..cluster.view(turn) };
        cluster.names.lock().deaf[1 - ahead] = true;
        let index = cluster.doom(ino, Doom::Cut { size: 0 });
        let server = [A, B][ahead];
        assert_eq!(cluster.read(server, chunk(ino), 0, 10).await.unwrap(), b"");
        let (asked, id) = (cluster.clone(), cluster.id());
        let change = tokio::spawn(async move {
            asked.try_change([A, B][usize::from(turn)], view, id, chunk(ino), write(5000, b"x")).await
        });
        let written =
            |at: usize| cluster.stores[at].contents().get(&chunk(ino)).is_some_and(|c| c.get(5000) == Some(&b'x'));
        until("the primary has it, or waits", || written(usize::from(turn)) || change.is_finished()).await;
        let begun = Instant::now();
        until("the mirror would have it", || written(1 - usize::from(turn)) || begun.elapsed().as_millis() > 100).await;
        {
            let mut names = cluster.names.lock();
            cluster.servers[1 - ahead].board.doom(Ino(ino), index, Doom::Cut { size: 0 });
            names.deaf = [false; 2];
            names.publish();
        }
        change.await.unwrap().unwrap();
        for server in &cluster.servers {
            server.board.publish(|n| n.durable = index);
        }
        let done = || cluster.servers.iter().all(|s| s.board.dooms_of(Ino(ino)).is_empty());
        until("both have cut it", done).await;
        cluster.assert_equal();
    }
    assert_eq!(cluster.names.lock().pair.epoch, Epoch(1), "nobody was evicted");
}

#[tokio::test]
async fn the_chunks_of_a_file_that_is_gone_are_reaped_and_do_not_rise_again() {
    let cluster = Cluster::new().await;
    for ino in 1..40 {
        cluster.change(0, chunk(ino), write(0, b"x")).await;
    }
    let mut last = LogIndex(0);
    for ino in 1..39 {
        last = cluster.doom(ino, Doom::Reap);
    }
    assert_eq!(cluster.store(A).contents().len(), 39, "not before it is durable");
    for server in &cluster.servers {
        server.board.publish(|n| n.durable = last);
    }
    until("reaped", || cluster.stores.iter().all(|s| s.contents().len() == 1)).await;
    assert!(cluster.servers[0].board.dooms_of(Ino(1)).is_empty());
    let late = cluster.try_change(A, cluster.view(0), cluster.id(), chunk(1), write(0, b"x")).await;
    assert_eq!(late, Err(Rejection::Gone));
    assert!(cluster.stores.iter().all(|s| s.contents().len() == 1));
}

#[tokio::test]
async fn a_file_that_ended_so_long_ago_that_nobody_remembers_does_not_rise_again() {
    let cluster = Cluster::new().await;
    cluster.names.lock().gone.insert(Ino(5));
    // Sent while the file was there, before all that this life of the servers has seen.
    let view = View { at_least: LogIndex(1), ..cluster.view(0) };
    let late = cluster.try_change(A, view, cluster.id(), chunk(5), write(0, b"x")).await;
    assert_eq!(late, Err(Rejection::Gone));
    assert!(cluster.stores.iter().all(|s| !s.contents().contains_key(&chunk(5))));
    cluster.try_change(A, view, cluster.id(), chunk(6), write(0, b"x")).await.unwrap();
}

#[tokio::test]
async fn notes_are_dropped_on_both_and_never_beside_a_stale_mirror() {
    let mut cluster = Cluster::new().await;
    cluster.change(0, chunk(1), write(0, b"x")).await;
    assert!(cluster.stores.iter().all(|s| s.noted_names() > 0));
    assert!(cluster.servers[0].replica.settle_round(Duration::ZERO).await);
    assert!(cluster.stores.iter().all(|s| s.noted_names() == 0));
    cluster.server(B).kill();
    cluster.change(0, chunk(1), write(0, b"y")).await;
    assert!(!cluster.servers[0].replica.settle_round(Duration::ZERO).await);
    assert_eq!(cluster.store(A).noted_names(), 1);
}

/// Sends something, and waits until it is stuck behind a stalled disk.
async fn stuck<T: Send + 'static>(
    cluster: &Arc<Cluster>,
    at: ServerId,
    work: impl AsyncFnOnce(Arc<Cluster>) -> T + 'static,
) -> tokio::task::JoinHandle<T> {
    let before = cluster.store(at).waiting();
    let own = cluster.clone();
    let handle = tokio::task::spawn_local(async move { work(own).await });
    until("it is stuck", || cluster.store(at).waiting() > before).await;
    handle
}

async fn evict(cluster: &Cluster, server: ServerId) {
    let at = if server == A { 1 } else { 0 };
    let epoch = cluster.view(0).epoch;
    let report = Report::Accuse { pair: PairId(0), epoch, server, reason: "test".into() };
    assert!(cluster.servers[at].board.report(report).await);
}

#[tokio::test(flavor = "local")]
async fn what_waited_for_its_turn_is_judged_by_what_is_known_then() {
    let cluster = Arc::new(Cluster::quiet().await);
    cluster.store(B).stall(true);
    let first = stuck(&cluster, B, async |c| c.change(0, chunk(1), write(0, b"x")).await).await;
    let view = cluster.view(0);
    let (asked, id) = (cluster.clone(), cluster.id());
    let second = tokio::spawn(async move { asked.try_change(A, view, id, chunk(1), write(1, b"y")).await });
    let asked = cluster.clone();
    let read = tokio::spawn(async move { asked.read(A, chunk(1), 0, 9).await });
    // Both stand in line by now: what is asked later is answered.
    cluster.read(A, chunk(2), 0, 1).await.unwrap();
    cluster.servers[0].board.publish(|n| n.sessions = Some(Arc::new(vec![SessionId(8)])));
    cluster.store(B).stall(false);
    first.await.unwrap();
    assert_eq!(second.await.unwrap(), Err(Rejection::NoSession));
    assert_eq!(read.await.unwrap().unwrap(), b"x");
    cluster.assert_equal();
}

#[tokio::test(flavor = "local")]
async fn a_read_that_waited_does_not_show_what_the_pair_never_had() {
    let cluster = Arc::new(Cluster::quiet().await);
    cluster.store(B).stall(true);
    let (view, id) = (cluster.view(0), cluster.id());
    let change = stuck(&cluster, B, async move |c| c.try_change(A, view, id, chunk(1), write(0, b"x")).await).await;
    let asked = cluster.clone();
    let read = tokio::spawn(async move { asked.read(A, chunk(1), 0, 9).await });
    cluster.read(A, chunk(2), 0, 1).await.unwrap();
    evict(&cluster, A).await;
    let wrong = Rejection::WrongEpoch { pair: PairId(0), current: Epoch(2) };
    assert_eq!(change.await.unwrap(), Err(wrong.clone()));
    assert_eq!(read.await.unwrap(), Err(wrong));
    cluster.store(B).stall(false);
}

#[tokio::test(flavor = "local")]
async fn a_sync_holds_only_under_the_epoch_that_still_is() {
    let cluster = Arc::new(Cluster::quiet().await);
    cluster.change(0, chunk(1), write(0, b"x")).await;
    cluster.store(A).stall(true);
    let view = cluster.view(0);
    let sync = stuck(&cluster, A, async move |c| {
        c.call(A, |c, x| async move { c.sync(x, view, vec![chunk(1)]).await }).await.unwrap()
    });
    let sync = sync.await;
    evict(&cluster, B).await;
    cluster.store(A).stall(false);
    assert_eq!(sync.await.unwrap(), Err(Rejection::WrongEpoch { pair: PairId(0), current: Epoch(2) }));
}

#[tokio::test(flavor = "local")]
async fn a_resync_waits_for_changes_that_did_not_flow_to_the_mirror() {
    let cluster = Arc::new(Cluster::new().await);
    cluster.names.lock().no_quorum = true;
    cluster.names.lock().set(B, CopyState::Stale);
    cluster.store(A).stall_chunk(Some(chunk(1)));
    let change = stuck(&cluster, A, async |c| c.change(0, chunk(1), write(0, b"x")).await).await;
    cluster.names.lock().no_quorum = false;
    until("it catches up", || cluster.state(B) == CopyState::Syncing).await;
    let begun = Instant::now();
    until("it would be done", || cluster.state(B) == CopyState::InSync || begun.elapsed().as_millis() > 200).await;
    cluster.store(A).stall_chunk(None);
    change.await.unwrap();
    cluster.in_sync().await;
    cluster.assert_equal();
}

#[tokio::test(flavor = "local")]
async fn a_new_primary_waits_for_what_the_old_one_ordered() {
    let cluster = Arc::new(Cluster::quiet().await);
    for state in [CopyState::Stale, CopyState::Syncing] {
        cluster.names.lock().set(B, state);
    }
    // B hears first that it is in sync, and in charge of the chunk; A has a change of it under way.
    let (old, first) = (cluster.view(1), cluster.id());
    cluster.names.lock().deaf[0] = true;
    cluster.names.lock().set(B, CopyState::InSync);
    let new = cluster.view(1);
    let asked = cluster.clone();
    let first = tokio::spawn(async move { asked.try_change(A, old, first, chunk(1), write(0, b"xxxx")).await });
    until("the first is under way", || cluster.store(A).contents().len() == 1).await;
    let (asked, second) = (cluster.clone(), cluster.id());
    let second = tokio::spawn(async move { asked.try_change(B, new, second, chunk(1), write(1, b"yy")).await });
    cluster.read(B, chunk(2), 0, 1).await.unwrap();
    cluster.names.lock().deaf[0] = false;
    cluster.names.lock().publish();
    assert_eq!(first.await.unwrap(), Err(Rejection::WrongEpoch { pair: PairId(0), current: new.epoch }));
    second.await.unwrap().unwrap();
    assert_eq!(cluster.view(1).epoch, new.epoch, "nobody was evicted");
    assert_eq!(cluster.read(B, chunk(1), 0, 9).await.unwrap(), b"xyyx");
    cluster.assert_equal();
}
