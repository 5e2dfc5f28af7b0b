//! The client against scripted servers.

use super::fake::{FakeCluster, until};
use super::*;
use raidfs_common::attr::Placement;
use raidfs_common::codec::Blob;
use raidfs_common::id::ChunkId;
use raidfs_common::namespace::{Answer, Done};

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
    ChunkChange::Write { offset: 0, data: Blob::from(text.as_bytes().to_vec()) }
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
    assert!(found.elapsed() < Duration::from_millis(200), "{:?}", found.elapsed());
    cluster.with(|w| {
        assert_eq!(w.made.len(), 3, "made once");
        let tries = w.arrived.iter().filter(|(_, requests)| requests.len() == 2);
        let seqs: Vec<[u64; 2]> = tries.map(|(_, requests)| [requests[0].seq, requests[1].seq]).collect();
        assert!(seqs.len() >= 2 && seqs.iter().all(|s| *s == [2, 3]), "{seqs:?}");
    });
}
