//! The client against scripted servers.

use super::fake::{FakeCluster, until};
use super::*;
use raidfs_common::attr::Placement;
use raidfs_common::codec::Blob;
use raidfs_common::id::ChunkId;
use raidfs_common::id::Epoch;
use raidfs_common::namespace::{Answer, Done};
use std::collections::BTreeSet;

/// Without waiting for any deadline: the shortest is longer by far, and a busy machine may take most of this.
const AT_ONCE: Duration = Duration::from_millis(900);

async fn connect(cluster: &FakeCluster) -> Arc<ClusterClient> {
    ClusterClient::connect(&cluster.config, "test".into(), false).await.expect("a session")
}

fn some_change() -> (Time, Change) {
    (Time::default(), Change::Release { inos: vec![Ino(7)] })
}

/// Chunk 0 of a file on pair 0, whose primary is server 1 (turn 0) or 2.
fn at(ino: u64, turn: u8) -> ChunkAddress {
    ChunkAddress { chunk: ChunkId { ino: Ino(ino), index: 0 }, placement: Placement { first_pair: 0, turn } }
}

fn write(text: &str) -> ChunkChange {
    ChunkChange::Write { offset: 0, sync: false, data: Blob::from(text.as_bytes().to_vec()) }
}

#[tokio::test]
async fn a_change_survives_the_leaders_death_with_its_number_and_first_outcome() {
    let cluster = FakeCluster::start().await;
    let client = connect(&cluster).await;
    cluster.with(|w| w.mood(1).swallows_answers = true);
    let change = tokio::spawn({
        let client = Arc::clone(&client);
        async move { client.change(vec![some_change(), some_change()]).await }
    });
    until("the leader has made the changes", || cluster.with(|w| w.made.len() == 3)).await;
    cluster.with(|w| w.leader = None);
    cluster.kill(1);
    until("others were asked while nobody led", || {
        cluster.with(|w| w.arrived.iter().any(|(server, requests)| server.0 != 1 && requests.len() == 2))
    })
    .await;
    cluster.with(|w| w.leader = Some(ServerId(3)));
    let found = Instant::now();
    assert_eq!(change.await.unwrap(), vec![Ok(Done::Nothing); 2]);
    assert!(found.elapsed() < AT_ONCE, "{:?}", found.elapsed());
    cluster.with(|w| {
        assert_eq!(w.made.len(), 3, "made once");
        let tries = w.arrived.iter().filter(|(_, requests)| requests.len() == 2);
        let seqs: Vec<[u64; 2]> = tries.map(|(_, requests)| [requests[0].seq, requests[1].seq]).collect();
        assert!(seqs.len() >= 2 && seqs.iter().all(|s| *s == [2, 3]), "{seqs:?}");
    });
}

/// A cluster whose clients give up after a second.
async fn impatient() -> FakeCluster {
    let mut cluster = FakeCluster::start().await;
    cluster.config.io_timeout = Duration::from_secs(1);
    cluster
}

#[tokio::test]
async fn every_rejection_that_passes_is_waited_out() {
    let cluster = FakeCluster::start().await;
    let client = connect(&cluster).await;
    let passing = [
        Rejection::NotLeader { leader: None },
        Rejection::NotLeader { leader: Some(ServerId(3)) },
        Rejection::NotLeader { leader: Some(ServerId::WITNESS) },
        Rejection::NoQuorum,
        Rejection::Behind { needed: LogIndex(9) },
        Rejection::Overloaded,
        Rejection::Away,
        Rejection::WrongEpoch { pair: raidfs_common::id::PairId(0), current: Epoch(9) },
        Rejection::NotInCharge,
        Rejection::DiskFailed,
    ];
    for rejection in passing {
        cluster.with(|w| (1..=4).for_each(|n| w.mood(n).rejections = vec![rejection.clone(); 2]));
        assert_eq!(client.change(vec![some_change()]).await, [Ok(Done::Nothing)], "{rejection}");
        cluster.with(|w| (1..=4).for_each(|n| w.mood(n).rejections = vec![rejection.clone(); 2]));
        assert!(client.ask(Query::Totals).await.is_ok(), "{rejection}");
        cluster.with(|w| (1..=4).for_each(|n| w.mood(n).rejections = vec![rejection.clone(); 2]));
        assert!(client.change_chunk(at(7, 0), write("x")).await.is_ok(), "{rejection}");
        cluster.with(|w| (1..=4).for_each(|n| w.mood(n).rejections = vec![rejection.clone(); 2]));
        assert!(client.read_chunk(at(7, 0), 0, 1).await.is_ok(), "{rejection}");
        cluster.with(|w| (1..=4).for_each(|n| w.mood(n).rejections = vec![rejection.clone(); 2]));
        assert!(client.sync_chunks(vec![at(7, 0)]).await.is_ok(), "{rejection}");
        cluster.with(|w| (1..=4).for_each(|n| w.mood(n).rejections = vec![rejection.clone(); 2]));
        assert!(client.barrier().await.is_ok() && client.extents(at(7, 0)).await.is_ok(), "{rejection}");
        cluster.with(|w| (1..=4).for_each(|n| w.mood(n).rejections = vec![rejection.clone(); 2]));
        assert_eq!(client.next_chunk(at(7, 0)).await, Ok(Some(0)), "{rejection}");
        cluster.with(|w| (1..=4).for_each(|n| w.mood(n).rejections.clear()));
    }
    let ids: Vec<u64> = cluster.with(|w| w.chunk_changes.iter().map(|(_, _, id)| id.seq).collect());
    assert!(ids.len() > 10 && ids.iter().max() == Some(&10), "retries keep their numbers: {ids:?}");
}

#[tokio::test]
async fn rejections_for_good_become_errors_at_once() {
    let cluster = FakeCluster::start().await;
    let client = connect(&cluster).await;
    for (rejection, error) in [(Rejection::Full, FsError::NoSpace), (Rejection::Bad("x".into()), FsError::Io)] {
        cluster.with(|w| w.mood(1).rejections = vec![rejection.clone()]);
        assert_eq!(client.change_chunk(at(7, 0), write("x")).await, Err(error));
        cluster.with(|w| w.mood(1).rejections = vec![rejection.clone()]);
        assert_eq!(client.change(vec![some_change()]).await, [Err(error)]);
    }
}

#[tokio::test]
async fn a_dead_primarys_change_goes_to_its_mirror_under_the_new_epoch() {
    let cluster = FakeCluster::start().await;
    let client = connect(&cluster).await;
    client.change_chunk(at(7, 0), write("first")).await.unwrap();
    // Server 1 makes the change, and dies before it answers.
    cluster.with(|w| w.mood(1).swallows_answers = true);
    let change = tokio::spawn({
        let client = Arc::clone(&client);
        async move { client.change_chunk(at(7, 0), write("other")).await }
    });
    until("the primary has it", || cluster.with(|w| w.chunk_made.len() == 2)).await;
    cluster.kill(1);
    until("the client noticed", || !client.is_connected(ServerId(1))).await;
    assert!(!change.is_finished(), "unanswered is not failed");
    cluster.with(|w| {
        w.leader = Some(ServerId(3));
        w.evict(ServerId(1));
    });
    let evicted = Instant::now();
    change.await.unwrap().unwrap();
    assert!(evicted.elapsed() < AT_ONCE, "{:?}", evicted.elapsed());
    cluster.with(|w| {
        assert_eq!(w.chunk_made.len(), 2, "the same number");
        let (server, view, id) = *w.chunk_changes.last().unwrap();
        assert_eq!((server, view.epoch, id.seq, id.done_below), (ServerId(2), Epoch(2), 2, 2));
    });
}

#[tokio::test]
async fn a_hung_primarys_change_moves_on_as_soon_as_it_is_evicted() {
    let cluster = FakeCluster::start().await;
    let client = connect(&cluster).await;
    client.change_chunk(at(7, 0), write("x")).await.unwrap();
    cluster.with(|w| w.mood(1).hangs = true);
    let change = tokio::spawn({
        let client = Arc::clone(&client);
        async move { client.change_chunk(at(7, 0), write("x")).await }
    });
    until("it was sent", || cluster.with(|w| w.chunk_changes.len() > 1)).await;
    cluster.with(|w| {
        w.leader = Some(ServerId(3));
        w.evict(ServerId(1));
    });
    let evicted = Instant::now();
    change.await.unwrap().unwrap();
    assert!(evicted.elapsed() < AT_ONCE, "{:?}", evicted.elapsed());
}

#[tokio::test]
async fn a_read_from_a_silent_server_is_answered_by_its_mirror() {
    let cluster = FakeCluster::start().await;
    let client = connect(&cluster).await;
    client.change_chunk(at(7, 0), write("bytes")).await.unwrap();
    cluster.with(|w| w.mood(1).read_delay = Duration::from_secs(60));
    for ino in [7; 4].into_iter().chain(100..160) {
        let asked = Instant::now();
        let bytes = client.read_chunk(at(ino, 0), 0, 5).await.unwrap();
        assert!(ino != 7 || bytes == "bytes");
        assert!(asked.elapsed() < AT_ONCE, "{:?}", asked.elapsed());
    }
    let hedged = cluster.with(|w| w.reads.iter().filter(|s| s.0 == 1).count());
    assert!((1..20).contains(&hedged), "{hedged}");
}

#[tokio::test]
async fn who_could_not_serve_a_read_is_asked_again_while_the_other_is_silent() {
    let cluster = FakeCluster::start().await;
    let client = connect(&cluster).await;
    client.change_chunk(at(7, 0), write("bytes")).await.unwrap();
    cluster.with(|w| w.mood(1).read_delay = Duration::from_secs(60));
    for ino in [7; 6].into_iter().chain(100..110) {
        cluster.with(|w| w.mood(2).rejections = vec![Rejection::NoQuorum]);
        let asked = Instant::now();
        let bytes = client.read_chunk(at(ino, 0), 0, 5).await.unwrap();
        assert!(ino != 7 || bytes == "bytes");
        assert!(asked.elapsed() < AT_ONCE, "{:?}", asked.elapsed());
    }
}

/// The first three bytes of one file to another.
async fn copy(client: &ClusterClient, from: ChunkAddress, to: ChunkAddress) -> Result<Changed, FsError> {
    client.copy_chunk(to, Part { offset: 0, length: 3 }, Source { at: from, offset: 0 }).await
}

#[tokio::test]
async fn who_copies_reads_its_own_copy_or_that_of_whose_turn_it_is() {
    let cluster = FakeCluster::start().await;
    let client = connect(&cluster).await;
    client.change_chunk(at(7, 0), write("one")).await.unwrap();
    let elsewhere = |ino| ChunkAddress { placement: Placement { first_pair: 1, turn: 0 }, ..at(ino, 0) };
    for ino in 100..120 {
        assert!(!copy(&client, at(7, 0), at(ino, 1)).await.unwrap().durable);
        copy(&client, at(ino, 1), elsewhere(ino + 100)).await.unwrap();
        assert_eq!(client.read_chunk(elsewhere(ino + 100), 0, 9).await.unwrap(), "one");
    }
    cluster.with(|w| {
        let by = |who, from| w.copies.iter().filter(|copy| **copy == (ServerId(who), ServerId(from))).count();
        // Server 2 had read twenty by itself: as many are its mirror's turn.
        assert_eq!((by(2, 2), by(3, 1), by(3, 2)), (20, 20, 0), "{:?}", w.copies);
    });
}

#[tokio::test]
async fn a_source_that_is_damaged_or_silent_is_left_for_its_mirror() {
    let cluster = FakeCluster::start().await;
    let client = connect(&cluster).await;
    client.change_chunk(at(7, 0), write("one")).await.unwrap();
    let place = Placement { first_pair: 1, turn: 0 };
    for ino in 100..110 {
        let to = ChunkAddress { placement: place, ..at(ino, 0) };
        cluster.with(|w| w.mood(1).damaged = ino % 2 == 0);
        cluster.with(|w| w.mood(1).read_delay = Duration::from_secs(if ino % 2 == 1 { 60 } else { 0 }));
        copy(&client, at(7, 0), to).await.unwrap();
        assert_eq!(client.read_chunk(to, 0, 9).await.unwrap(), "one");
    }
    cluster.with(|w| {
        w.mood(1).read_delay = Duration::ZERO;
        w.mood(1).damaged = true;
        w.mood(2).damaged = true;
        assert!(w.copies.contains(&(ServerId(3), ServerId(1))), "it was asked");
        let numbers: BTreeSet<u64> = w.chunk_changes.iter().map(|(_, _, id)| id.seq).collect();
        assert_eq!(numbers, (1..=10).collect(), "each pair's numbers without a gap");
    });
    assert_eq!(copy(&client, at(7, 0), at(8, 0)).await, Err(FsError::Io));
    for server in [1, 2] {
        cluster.with(|w| w.mood(server).damaged = false);
        cluster.with(|w| w.mood(server).read_delay = Duration::from_secs(60));
    }
    let asked = Instant::now();
    assert_eq!(copy(&client, at(7, 0), at(8, 0)).await, Err(FsError::NotSupported), "we have to do it ourselves");
    assert!(asked.elapsed() < AT_ONCE, "{:?}", asked.elapsed());
}

#[tokio::test]
async fn reads_after_a_death_go_to_the_mirror_at_once() {
    let cluster = FakeCluster::start().await;
    let client = connect(&cluster).await;
    client.change_chunk(at(7, 0), write("bytes")).await.unwrap();
    client.read_chunk(at(7, 0), 0, 5).await.unwrap();
    cluster.kill(1);
    for ino in 1..50 {
        let asked = Instant::now();
        client.read_chunk(at(ino, 0), 0, 5).await.unwrap();
        assert!(asked.elapsed() < AT_ONCE, "{:?}", asked.elapsed());
    }
}

#[tokio::test]
async fn mirrors_share_the_reads_of_small_files() {
    let cluster = FakeCluster::start().await;
    let client = connect(&cluster).await;
    let before = cluster.with(|w| w.reads.len());
    for ino in 0..1000 {
        client.read_chunk(at(ino, (ino % 2) as u8), 0, 100).await.unwrap();
    }
    let (all, first) = cluster.with(|w| (w.reads.len() - before, w.reads.iter().filter(|s| s.0 == 1).count()));
    // On a busy machine a few are late, and asked of the other mirror, too.
    assert!((1000..=1050).contains(&all), "{all}");
    let share = first as f64 / all as f64;
    assert!((0.45..=0.55).contains(&share), "{share}");
}

#[tokio::test]
async fn damage_is_read_around_and_is_an_error_only_on_both() {
    let cluster = FakeCluster::start().await;
    let client = connect(&cluster).await;
    client.change_chunk(at(7, 0), write("bytes")).await.unwrap();
    cluster.with(|w| w.mood(1).damaged = true);
    for ino in [7, 8, 9, 7] {
        assert!(client.read_chunk(at(ino, 0), 0, 5).await.is_ok());
    }
    cluster.with(|w| w.mood(2).damaged = true);
    assert_eq!(client.read_chunk(at(7, 0), 0, 5).await, Err(FsError::Io));
}

#[tokio::test]
async fn the_watermark_of_numbers_grows() {
    let cluster = FakeCluster::start().await;
    let client = connect(&cluster).await;
    for n in 1..=5 {
        client.change(vec![some_change()]).await;
        client.change_chunk(at(7, 0), write("x")).await.unwrap();
        cluster.with(|w| {
            let last = w.made.last().unwrap();
            assert_eq!((last.seq, last.done_below), (n + 1, n + 1), "number 1 opened the session");
            let (_, _, id) = w.chunk_changes.last().unwrap();
            assert_eq!((id.seq, id.done_below), (n, n));
        });
    }
}

#[tokio::test]
async fn answers_never_go_back_in_time() {
    let cluster = FakeCluster::start().await;
    let client = connect(&cluster).await;
    let mut newest = 0;
    for round in 0..40 {
        client.change(vec![some_change()]).await;
        // One follower has everything, the others are behind by more and more.
        cluster.with(|w| {
            let index = w.index;
            w.applied.insert(ServerId(2 + round % 3), index);
        });
        for _ in 0..4 {
            let Ok(Answer::Totals { inodes: index, .. }) = client.ask(Query::Totals).await else { panic!("no answer") };
            assert!(index >= newest, "{index} after {newest}");
            newest = index;
        }
        assert_eq!(newest, cluster.with(|w| w.index), "its own changes are seen");
    }
}

#[tokio::test]
async fn questions_are_spread_over_all_servers() {
    let cluster = FakeCluster::start().await;
    let client = connect(&cluster).await;
    cluster.with(|w| w.catch_up());
    until("all are connected", || (1..=4).all(|n| client.is_connected(ServerId(n)))).await;
    for _ in 0..400 {
        client.ask(Query::Totals).await.unwrap();
    }
    for n in 1..=4 {
        let count = cluster.with(|w| w.answered.iter().filter(|(s, _)| s.0 == n).count());
        // In turn, exactly (the router's own test); but a busy machine makes some late.
        assert!(count >= 40, "server {n} answered {count}");
    }
}

#[tokio::test]
async fn a_question_to_a_hung_server_is_answered_by_another() {
    let cluster = FakeCluster::start().await;
    let client = connect(&cluster).await;
    cluster.with(|w| {
        w.catch_up();
        w.mood(2).hangs = true;
    });
    let mut events = client.events();
    for _ in 0..40 {
        let asked = Instant::now();
        client.ask(Query::Totals).await.unwrap();
        assert!(asked.elapsed() < AT_ONCE, "{:?}", asked.elapsed());
    }
    // It counts as lost although its port still answers.
    let event = tokio::time::timeout(Duration::from_secs(5), events.recv()).await.expect("in time");
    assert_eq!(event, Ok(ServerEvent::Lost(ServerId(2))));
    cluster.with(|w| w.mood(2).hangs = false);
    let event = tokio::time::timeout(Duration::from_secs(5), events.recv()).await.expect("in time");
    assert_eq!(event, Ok(ServerEvent::Back(ServerId(2))));
}

#[tokio::test]
async fn a_change_to_a_hung_leader_finds_the_next_one() {
    let cluster = FakeCluster::start().await;
    let client = connect(&cluster).await;
    cluster.with(|w| w.mood(1).hangs = true);
    let change = tokio::spawn({
        let client = Arc::clone(&client);
        async move { client.change(vec![some_change()]).await }
    });
    until("another was asked", || {
        cluster.with(|w| w.arrived.iter().filter(|(_, rs)| matches!(rs[0].change, Change::Release { .. })).count() > 1)
    })
    .await;
    cluster.with(|w| w.leader = Some(ServerId(4)));
    let elected = Instant::now();
    assert_eq!(change.await.unwrap(), [Ok(Done::Nothing)]);
    assert!(elected.elapsed() < AT_ONCE, "{:?}", elected.elapsed());
}

#[tokio::test]
async fn without_a_quorum_operations_wait_and_then_fail() {
    let cluster = impatient().await;
    let client = connect(&cluster).await;
    cluster.with(|w| w.leader = None);
    let asked = Instant::now();
    assert_eq!(client.change(vec![some_change(), some_change()]).await, [Err(FsError::Io), Err(FsError::Io)]);
    assert!(asked.elapsed() >= cluster.config.io_timeout);
    assert!(asked.elapsed() < cluster.config.io_timeout * 2);
    assert_eq!(client.barrier().await, Err(FsError::Io));
}

#[tokio::test]
async fn with_both_of_a_pair_gone_only_its_chunks_fail_and_they_return_with_it() {
    let cluster = impatient().await;
    let client = connect(&cluster).await;
    cluster.with(|w| w.leader = Some(ServerId(3)));
    cluster.kill(1);
    cluster.kill(2);
    let other = ChunkAddress { placement: Placement { first_pair: 1, turn: 0 }, ..at(7, 0) };
    let (write_lost, read_lost, sync_lost) = tokio::join!(
        client.change_chunk(at(7, 0), write("x")),
        client.read_chunk(at(7, 0), 0, 1),
        client.sync_chunks(vec![at(7, 0), other]),
    );
    assert_eq!((write_lost, read_lost, sync_lost), (Err(FsError::Io), Err(FsError::Io), Err(FsError::Io)));
    client.change_chunk(other, write("x")).await.unwrap();
    let waiting = tokio::spawn({
        let client = Arc::clone(&client);
        async move { client.change_chunk(at(7, 0), write("y")).await }
    });
    cluster.restart(1).await;
    cluster.restart(2).await;
    waiting.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_second_mount_is_refused_with_the_holders_name_and_may_take_over() {
    let cluster = FakeCluster::start().await;
    let first = ClusterClient::connect(&cluster.config, "host 1, /mnt".into(), false).await.expect("a session");
    let error = ClusterClient::connect(&cluster.config, "second".into(), false).await.err().expect("refused");
    assert_eq!(
        error.to_string(),
        "mounted already by host 1, /mnt; `mountd --takeover --config FILE MOUNTPOINT` or `mount -o takeover` ends that mount"
    );
    let second = ClusterClient::connect(&cluster.config, "second".into(), true).await.expect("takes over");
    assert_eq!(*first.session_state().borrow(), SessionState::Open);
    assert_eq!(first.barrier().await, Err(FsError::Io), "nobody says whether what it had made is durable");
    assert_eq!(*first.session_state().borrow(), SessionState::Lost);
    assert_eq!(first.change(vec![some_change()]).await, [Err(FsError::Io)]);
    assert_eq!(*first.session_state().borrow(), SessionState::Lost);
    assert_eq!(first.read_chunk(at(7, 0), 0, 1).await, Err(FsError::Io));
    assert_eq!(first.ask(Query::Totals).await, Err(FsError::Io));
    second.close().await;
    assert_eq!(cluster.with(|w| w.session), None);
    assert!(ClusterClient::connect(&cluster.config, "third".into(), false).await.is_ok());
}

#[tokio::test]
async fn a_session_whose_process_is_gone_is_not_waited_for() {
    let cluster = FakeCluster::start().await;
    let mut child = std::process::Command::new("true").spawn().unwrap();
    let this = holder::Holder::this_process("/mnt").to_string();
    let gone = this.replace(&format!("(pid {}", std::process::id()), &format!("(pid {}", child.id()));
    child.wait().unwrap();
    let _first = ClusterClient::connect(&cluster.config, gone, false).await.expect("a session");
    let second = ClusterClient::connect(&cluster.config, this, false).await.expect("takes over");
    let third = ClusterClient::connect(&cluster.config, "third".into(), false).await;
    assert!(matches!(third.err(), Some(OpenError::Busy { .. })));
    second.close().await;
}

#[tokio::test]
async fn concurrent_changes_share_requests_and_each_caller_gets_its_own_outcomes() {
    let cluster = FakeCluster::start().await;
    let client = connect(&cluster).await;
    let before = cluster.with(|w| w.arrived.len());
    let calls = (0..300).map(|n| {
        let client = Arc::clone(&client);
        async move { client.change(vec![some_change(); n % 3 + 1]).await.len() }
    });
    let counts = join_all(calls).await;
    assert!(counts.iter().enumerate().all(|(n, count)| *count == n % 3 + 1));
    cluster.with(|w| {
        assert!(w.arrived.len() - before < 20, "{}", w.arrived.len() - before);
        let seqs: BTreeSet<u64> = w.made.iter().map(|r| r.seq).collect();
        assert_eq!((seqs.len(), w.made.len()), (601, 601));
    });
}

#[tokio::test]
async fn more_changes_than_an_entry_takes_go_in_several_requests_in_order() {
    let cluster = FakeCluster::start().await;
    let client = connect(&cluster).await;
    let many: Vec<_> = (0..3000).map(|n| (Time { secs: n, nanos: 0 }, some_change().1)).collect();
    assert_eq!(client.change(many).await.len(), 3000);
    cluster.with(|w| {
        let times: Vec<i64> = w.made.iter().skip(1).map(|r| r.now.secs).collect();
        assert!(times.is_sorted() && times.len() == 3000);
        assert!(w.arrived.iter().all(|(_, rs)| rs.len() <= raidfs_common::limits::CHANGES_PER_ENTRY_MAX));
    });
}

#[tokio::test]
async fn a_sync_asks_both_mirrors_and_starts_over_when_one_is_evicted_meanwhile() {
    let cluster = FakeCluster::start().await;
    let client = connect(&cluster).await;
    client.sync_chunks(vec![at(7, 0), at(8, 1)]).await.unwrap();
    let chunks = vec![at(7, 0).chunk, at(8, 1).chunk];
    let mut first = cluster.with(|w| std::mem::take(&mut w.syncs));
    first.sort();
    assert_eq!(first, [(ServerId(1), Epoch(1), chunks.clone()), (ServerId(2), Epoch(1), chunks)]);
    cluster.with(|w| w.mood(2).hangs = true);
    let sync = tokio::spawn({
        let client = Arc::clone(&client);
        async move { client.sync_chunks(vec![at(9, 0)]).await }
    });
    until("one of two has answered", || cluster.with(|w| w.syncs.len() == 1)).await;
    assert!(!sync.is_finished());
    cluster.with(|w| w.evict(ServerId(2)));
    sync.await.unwrap().unwrap();
    let syncs = cluster.with(|w| w.syncs.iter().map(|(s, e, _)| (s.0, e.0)).collect::<Vec<_>>());
    assert_eq!(syncs, [(1, 1), (1, 2)], "the answer of the old epoch does not count");
}

#[tokio::test]
async fn a_sync_of_everything_asks_every_server_that_is_in_sync() {
    let cluster = FakeCluster::start().await;
    let client = connect(&cluster).await;
    cluster.with(|w| w.evict(ServerId(2)));
    client.sync_whole(None).await.unwrap();
    let epochs = cluster.with(|w| w.pairs.iter().map(|p| p.epoch).collect::<Vec<_>>());
    let answered = cluster.with(|w| std::mem::take(&mut w.syncs)).into_iter();
    // An answer of before the eviction does not count.
    let counts = answered.filter(|(server, epoch, _)| *epoch == epochs[usize::from(server.0 - 1) / 2]);
    let servers: std::collections::BTreeSet<u16> = counts.map(|(server, ..)| server.0).collect();
    assert_eq!(servers, [1, 3, 4].into());
}

#[tokio::test]
async fn barriers_are_made_once_for_what_was_acknowledged() {
    let cluster = FakeCluster::start().await;
    let client = connect(&cluster).await;
    client.change(vec![some_change()]).await;
    for _ in 0..3 {
        client.barrier().await.unwrap();
    }
    assert_eq!(cluster.with(|w| w.barriers.clone()), [LogIndex(2)]);
    client.change(vec![some_change()]).await;
    let all = join_all((0..50).map(|_| client.barrier())).await;
    assert!(all.iter().all(Result::is_ok));
    assert!(cluster.with(|w| w.barriers.len()) <= 3);
}

#[tokio::test]
async fn inode_numbers_are_never_given_twice_and_do_not_run_out() {
    let cluster = FakeCluster::start().await;
    let client = connect(&cluster).await;
    let inos = join_all((0..5000).map(|_| client.new_ino())).await;
    let inos: BTreeSet<Ino> = inos.into_iter().map(|ino| ino.expect("granted")).collect();
    assert_eq!(inos.len(), 5000);
}

#[tokio::test]
async fn servers_are_reached_lost_and_back() {
    let cluster = FakeCluster::start().await;
    cluster.kill(4);
    let client = connect(&cluster).await;
    assert_eq!(client.missing().iter().map(|(s, _)| s.0).collect::<Vec<_>>(), [4]);
    let mut events = client.events();
    let mut next =
        async || tokio::time::timeout(Duration::from_secs(5), events.recv()).await.expect("in time").unwrap();
    cluster.restart(4).await;
    assert_eq!(next().await.to_string(), "connection established to fsd4");
    cluster.kill(2);
    assert_eq!(next().await.to_string(), "connection lost to fsd2");
    cluster.restart(2).await;
    assert_eq!(next().await.to_string(), "fsd2 is back");
}

#[tokio::test]
async fn an_observer_reads_beside_a_mount_and_changes_nothing() {
    let cluster = FakeCluster::start().await;
    let client = connect(&cluster).await;
    client.change_chunk(at(7, 0), write("bytes")).await.unwrap();
    let observer = ClusterClient::observe(&cluster.config).await;
    assert!(observer.ask(Query::Totals).await.is_ok());
    assert_eq!(observer.read_chunk(at(7, 0), 0, 5).await.unwrap(), "bytes");
    assert_eq!(observer.change(vec![some_change()]).await, [Err(FsError::ReadOnly)]);
    assert_eq!(observer.change_chunk(at(7, 0), write("x")).await, Err(FsError::ReadOnly));
    assert_eq!(observer.new_ino().await, Err(FsError::ReadOnly));
}

#[tokio::test]
async fn who_reads_without_a_session_does_not_believe_a_server_that_was_put_out() {
    let cluster = FakeCluster::start().await;
    let client = connect(&cluster).await;
    client.change_chunk(at(7, 0), write("old")).await.unwrap();
    let observer = ClusterClient::observe(&cluster.config).await;
    cluster.with(|w| {
        w.newest_asked = 0;
        w.leave_behind(ServerId(1));
        // Its mirror has gone on without it.
        w.chunks.values_mut().for_each(|bytes| *bytes = b"new".to_vec());
    });
    assert_eq!(observer.read_chunk(at(7, 0), 0, 3).await.unwrap(), "new");
    cluster.with(|w| {
        assert!(w.reads.contains(&ServerId(1)), "the server that was put out answered, and first");
        assert!(w.newest_asked > 0);
    });
}

#[tokio::test]
async fn the_survey_is_over_in_time_with_servers_dead_and_hung() {
    let cluster = FakeCluster::start().await;
    cluster.kill(1);
    cluster.with(|w| w.mood(2).hangs = true);
    let begun = Instant::now();
    let statuses = survey::survey(&cluster.config).await;
    assert!(begun.elapsed() < survey::SURVEY_PATIENCE + Duration::from_millis(300));
    let answered: Vec<u16> = statuses.iter().filter(|(_, s)| s.is_some()).map(|(server, _)| server.0).collect();
    assert_eq!(answered, [3, 4]);
}

/// Returns once the client has sent so many more requests.
async fn traffic(cluster: &FakeCluster, more: u64) {
    let count = || cluster.with(|w| w.arrived.len() + w.chunk_changes.len() + w.reads.len()) as u64;
    let enough = count() + more;
    until("the callers go on", || count() >= enough).await;
}

/// Disturbs the cluster once, in a way that passes: somebody always serves again in the end.
async fn disturb(cluster: &FakeCluster, client: &ClusterClient, dice: &mut retry::Dice) {
    let victim = 1 + (dice.roll() % 4) as u16;
    match dice.roll() % 5 {
        0 => {
            cluster.kill(victim);
            cluster.with(|w| w.leader = None);
            until("the client noticed", || !client.is_connected(ServerId(victim))).await;
            cluster.restart(victim).await;
        }
        1 => {
            cluster.with(|w| w.mood(victim).swallows_answers = true);
            traffic(cluster, dice.roll() % 3).await;
            cluster.with(|w| w.mood(victim).swallows_answers = false);
            // What was swallowed is answered only to those who ask again.
            cluster.kill(victim);
            cluster.restart(victim).await;
        }
        2 => cluster.with(|w| w.mood(victim).rejections = vec![Rejection::Overloaded, Rejection::NoQuorum]),
        3 => cluster.with(|w| w.pairs[usize::from(victim % 2)].epoch.0 += 1),
        _ => cluster.with(|w| w.leader = None),
    }
    let next = 1 + (dice.roll() % 4) as u16;
    cluster.with(|w| w.leader = Some(ServerId(next)));
}

#[tokio::test]
async fn under_all_disturbances_everything_is_made_once_and_in_order() {
    let cluster = Arc::new(FakeCluster::start().await);
    let client = connect(&cluster).await;
    let seed = session::random();
    println!("seed {seed}");
    let ending = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let caller = |n: u64| {
        let (client, ending) = (Arc::clone(&client), Arc::clone(&ending));
        tokio::spawn(async move {
            let mut round = 0;
            while !ending.load(Ordering::Acquire) || round < 5 {
                // The time says whose change it is, and which of the caller's.
                let change = |part| (Time { secs: n as i64, nanos: round * 2 + part }, some_change().1);
                let outcomes = client.change(vec![change(0), change(1)]).await;
                assert_eq!(outcomes, [Ok(Done::Nothing), Ok(Done::Nothing)]);
                let text = format!("{n} {round:08}");
                client.change_chunk(at(n, (n % 2) as u8), write(&text)).await.expect("written");
                client.sync_chunks(vec![at(n, 0)]).await.expect("synced");
                assert_eq!(client.read_chunk(at(n, 0), 0, 100).await.expect("read"), text);
                client.ask(Query::Totals).await.expect("answered");
                round += 1;
            }
            round
        })
    };
    let callers: Vec<_> = (1..=6).map(caller).collect();
    let mut dice = retry::Dice::new(seed);
    for _ in 0..60 {
        disturb(&cluster, &client, &mut dice).await;
        traffic(&cluster, dice.roll() % 40).await;
    }
    ending.store(true, Ordering::Release);
    let mut rounds = Vec::new();
    for caller in callers {
        rounds.push(caller.await.expect("no caller failed"));
    }
    cluster.with(|w| {
        for (n, rounds) in (1..).zip(&rounds) {
            let of_caller = w.made.iter().filter(|r| r.now.secs == n);
            let parts: Vec<u32> = of_caller.map(|r| r.now.nanos).collect();
            assert_eq!(parts, (0..rounds * 2).collect::<Vec<u32>>(), "caller {n}, seed {seed}");
        }
        assert_eq!(w.chunk_made.len() as u32, rounds.iter().sum::<u32>());
    });
}
