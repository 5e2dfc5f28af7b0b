//! The direct connection: what goes over it is made like anything else, and whatever is wrong with it means nothing.

use super::accused;
use super::harness::{A, B, Cluster, PATIENCE, chunk, synced, until, write};
use crate::board::Doom;
use crate::replica::ranges::{Mode, Span};
use raidfs_common::error::Rejection;
use raidfs_common::id::{ChunkId, Epoch, Ino, LogIndex};
use raidfs_common::limits::FORWARD_STUCK;
use raidfs_common::pair::CopyState;
use raidfs_common::rpc::chunks::{Applied, ChangeId, Ordered};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Says to `B` what `A` would, over no connection.
async fn apply_directly(
    cluster: &Cluster,
    by: Ordered,
    id: ChangeId,
    at: ChunkId,
    data: &[u8],
) -> Result<Applied, Rejection> {
    let mirror = &cluster.servers[1];
    let chunk_thread = mirror.runtime.as_ref().unwrap().handle().clone();
    mirror.replica.apply_directly(&chunk_thread, (by, id), at, synced(0, data)).await
}

fn by_a(cluster: &Cluster) -> Ordered {
    Ordered { from: A, view: cluster.view(0), applied: cluster.names.lock().applied }
}

#[tokio::test]
async fn a_synced_change_goes_directly_and_others_do_not() {
    let cluster = Cluster::new().await;
    cluster.go_direct(B, chunk(1)).await;
    let before = cluster.gone_directly(B);
    for n in 0..20u8 {
        cluster.change(0, chunk(1), synced(100 * u32::from(n), &[n; 100])).await;
    }
    assert!(cluster.gone_directly(B) >= before + 10, "most of them: the machine may be busy");
    let before = cluster.gone_directly(B);
    cluster.change(0, chunk(1), write(0, b"not synced")).await;
    assert_eq!(cluster.gone_directly(B), before);
    cluster.assert_equal();
    assert_eq!(cluster.read(B, chunk(1), 1900, 3).await.unwrap(), [19; 3]);
}

#[tokio::test]
async fn changes_of_many_at_once_end_alike_on_both_however_they_went() {
    let cluster = Arc::new(Cluster::new().await);
    cluster.go_direct(B, chunk(1)).await;
    let before = cluster.gone_directly(B);
    let made = Arc::new(AtomicU32::new(0));
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..4u32 {
        let (cluster, made) = (cluster.clone(), made.clone());
        writers.spawn(async move {
            for n in 0..60u32 {
                let change = match n % 4 {
                    0 => write,
                    _ => synced,
                };
                cluster.change(0, chunk(1), change((n * 977) % 16_000, &[(writer * 60 + n) as u8; 5000])).await;
                made.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    writers.join_all().await;
    assert_eq!(made.load(Ordering::Relaxed), 240);
    assert!(cluster.gone_directly(B) > before);
    cluster.assert_equal();
    assert_eq!(cluster.view(0).epoch, Epoch(1), "nobody was evicted");
}

#[tokio::test]
async fn a_direct_connection_that_carries_nothing_any_more_puts_nobody_out_and_is_made_anew() {
    let cluster = Cluster::new().await;
    cluster.go_direct(B, chunk(1)).await;
    cluster.clog_direct(A, B).await;
    let begun = Instant::now();
    cluster.change(0, chunk(1), synced(0, b"a")).await;
    assert!(begun.elapsed() < FORWARD_STUCK, "it took {:?}", begun.elapsed());
    assert!(!accused(&cluster, B) && cluster.state(B) == CopyState::InSync);
    cluster.go_direct(B, chunk(1)).await;
    cluster.assert_equal();
}

#[tokio::test]
async fn a_mirror_that_is_killed_is_evicted_before_a_synced_change_is_answered() {
    let mut cluster = Cluster::new().await;
    cluster.go_direct(B, chunk(1)).await;
    cluster.server(B).kill();
    cluster.change(0, chunk(1), synced(0, b"b")).await;
    assert_eq!(cluster.state(B), CopyState::Stale);
    assert_eq!(cluster.read(A, chunk(1), 0, 1).await.unwrap(), b"b");
}

/// How long a synced change takes once its mirror, whose connections and disk keep it waiting, was put out.
async fn takes_once_its_mirror_is_out() -> Duration {
    let cluster = Cluster::new().await;
    cluster.go_direct(B, chunk(1)).await;
    cluster.store(B).stall(true);
    let syncs = || cluster.servers[0].replica.tally.syncs.load(Ordering::Relaxed);
    let before = syncs();
    let put_out = async {
        until("the change is made here", || syncs() > before).await;
        let mut names = cluster.names.lock();
        names.set(B, CopyState::Stale);
        // Nor is it brought up to date: it would be waited for, then.
        names.no_quorum = true;
        Instant::now()
    };
    let (out, _) = tokio::join!(put_out, cluster.change(0, chunk(1), synced(0, b"b")));
    let took = out.elapsed();
    cluster.store(B).stall(false);
    took
}

#[tokio::test]
async fn a_synced_change_ends_as_soon_as_its_mirror_was_put_out() {
    // A machine that is busy elsewhere is not so each time.
    let mut took = Vec::new();
    for _ in 0..4 {
        took.push(takes_once_its_mirror_is_out().await);
    }
    assert!(took.iter().any(|took| *took < Duration::from_millis(150)), "it took {took:?}");
}

#[tokio::test]
async fn a_mirror_whose_disk_stalls_in_a_direct_change_is_evicted_and_catches_up() {
    let cluster = Cluster::new().await;
    cluster.go_direct(B, chunk(1)).await;
    cluster.store(B).stall(true);
    let begun = Instant::now();
    cluster.change(0, chunk(1), synced(0, b"b")).await;
    assert!(begun.elapsed() < Duration::from_secs(12), "it took {:?}", begun.elapsed());
    assert_ne!(cluster.state(B), CopyState::InSync);
    cluster.store(B).stall(false);
    cluster.in_sync().await;
    cluster.assert_equal();
}

#[tokio::test]
async fn a_change_that_is_repeated_is_made_once_whichever_way_it_comes() {
    let cluster = Cluster::new().await;
    cluster.change(0, chunk(1), write(0, b"....")).await;
    let (by, id) = (by_a(&cluster), cluster.id());
    let first = apply_directly(&cluster, by, id, chunk(1), b"once").await.unwrap();
    cluster.change(0, chunk(1), write(0, b"later")).await;
    assert_eq!(apply_directly(&cluster, by, id, chunk(1), b"once").await, Ok(first));
    let again = cluster.call(B, |c, x| async move { c.apply(x, by, id, chunk(1), synced(0, b"once")).await }).await;
    assert_eq!(again.unwrap(), Ok(first));
    assert_eq!(cluster.read(B, chunk(1), 0, 5).await.unwrap(), b"later");
}

#[tokio::test]
async fn what_was_ordered_before_a_cut_is_not_made_behind_it() {
    let cluster = Cluster::new().await;
    cluster.change(0, chunk(1), write(0, b"long enough")).await;
    let (by, id) = (by_a(&cluster), cluster.id());
    let cut = cluster.doom(1, Doom::Cut { size: 2 });
    assert_eq!(apply_directly(&cluster, by, id, chunk(1), b"XXXX").await, Err(Rejection::Behind { needed: cut }));
    cluster.servers[1].replica.settle_dooms(Ino(1), LogIndex(u64::MAX)).await.unwrap();
    assert_eq!(cluster.read(B, chunk(1), 0, 8).await.unwrap(), b"lo");
    assert_eq!(
        apply_directly(&cluster, by, id, chunk(1), b"XXXX").await,
        Err(Rejection::Behind { needed: cut }),
        "carried out or not"
    );
    let by = by_a(&cluster);
    apply_directly(&cluster, by, id, chunk(1), b"XXXX").await.unwrap();
    assert_eq!(cluster.read(B, chunk(1), 0, 8).await.unwrap(), b"XXXX");
}

#[tokio::test]
async fn it_waits_for_whoever_has_its_range() {
    let cluster = Arc::new(Cluster::new().await);
    cluster.change(0, chunk(1), write(0, b"....")).await;
    let held = cluster.servers[1].replica.locks.hold(Ino(1), Span::chunk(chunk(1)), Mode::Change).await;
    let (by, id, asked) = (by_a(&cluster), cluster.id(), cluster.clone());
    let change = tokio::spawn(async move { apply_directly(&asked, by, id, chunk(1), b"wait").await });
    let begun = Instant::now();
    until("it lasts", || begun.elapsed() > Duration::from_millis(100)).await;
    assert!(!change.is_finished());
    drop(held);
    tokio::time::timeout(PATIENCE, change).await.unwrap().unwrap().unwrap();
    assert_eq!(cluster.gone_directly(B), 0);
}

#[tokio::test]
async fn another_epoch_or_another_server_is_refused_as_ever() {
    let cluster = Cluster::new().await;
    let (by, id) = (by_a(&cluster), cluster.id());
    let mut older = by;
    older.view.epoch = Epoch(0);
    assert!(matches!(apply_directly(&cluster, older, id, chunk(1), b"x").await, Err(Rejection::WrongEpoch { .. })));
    let stranger = Ordered { from: B, ..by };
    assert!(apply_directly(&cluster, stranger, id, chunk(1), b"x").await.is_err());
    assert!(cluster.store(B).contents().is_empty());
}
