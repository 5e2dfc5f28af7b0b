//! Requests that are sent once more, to the server that has become primary: of every kind, each is made once (rule 11).

use super::*;
use crate::chunk::memory::MemoryChunks;
use raidfs_common::rpc::chunks::{Applied, Copied, CopySource};

const BLOCK: u32 = 4096;
/// The chunk that is changed: two blocks of bytes, two of a hole, and so on.
const TARGET: u64 = 1;
const SOURCE: u64 = 5;

/// What a client asks of a chunk's primary.
#[derive(Clone, Debug)]
enum Asked {
    Change(ChunkChange),
    Copy,
}

/// Every kind there is, one after the other. A new one does not compile before it has its place here.
fn after(asked: Option<&Asked>) -> Option<Asked> {
    let written = |sync| ChunkChange::Write { offset: 2 * BLOCK, sync, data: vec![7; 5000].into() };
    Some(match asked {
        None => Asked::Change(written(false)),
        Some(Asked::Change(ChunkChange::Write { sync: false, .. })) => Asked::Change(written(true)),
        Some(Asked::Change(ChunkChange::Write { sync: true, .. })) => {
            Asked::Change(ChunkChange::Punch { offset: 0, length: 2 * BLOCK })
        }
        Some(Asked::Change(ChunkChange::Punch { .. })) => {
            Asked::Change(ChunkChange::Allocate { offset: 2 * BLOCK, length: 2 * BLOCK })
        }
        Some(Asked::Change(ChunkChange::Allocate { .. })) => Asked::Copy,
        Some(Asked::Copy) => return None,
    })
}

/// What undoes it: if it were made once more behind that, it would show.
fn undone(asked: &Asked) -> ChunkChange {
    match asked {
        Asked::Change(ChunkChange::Punch { .. }) => write(0, &[9; 8192]),
        Asked::Change(ChunkChange::Write { .. } | ChunkChange::Allocate { .. }) | Asked::Copy => {
            ChunkChange::Punch { offset: 2 * BLOCK, length: 2 * BLOCK }
        }
    }
}

async fn ask(cluster: &Cluster, server: ServerId, id: ChangeId, asked: Asked) -> Result<Applied, Rejection> {
    let view = cluster.view(0);
    match asked {
        Asked::Change(change) => cluster.try_change(server, view, id, chunk(TARGET), change).await,
        Asked::Copy => {
            // B has it, whoever is gone.
            let source = CopySource { server: B, view, chunk: chunk(SOURCE), offset: 0 };
            let (at, length) = (2 * BLOCK, 5000);
            let call =
                |c: ChunkServiceClient, x| async move { c.copy(x, view, id, chunk(TARGET), at, length, source).await };
            match cluster.call(server, call).await.unwrap()? {
                Copied::Made(applied) => Ok(applied),
                Copied::Unread(why) => panic!("its source was not read: {why:?}"),
            }
        }
    }
}

/// A cluster with something to change, and to copy; and what B has.
async fn filled() -> (Cluster, Arc<MemoryChunks>) {
    let stores = [(); 2].map(|()| Arc::<MemoryChunks>::default());
    let cluster = Cluster::on([stores[0].clone(), stores[1].clone()]).await;
    cluster.change(0, chunk(TARGET), write(0, &[1; 8192])).await;
    cluster.change(0, chunk(TARGET), write(5 * BLOCK, &[2; 100])).await;
    cluster.change(0, chunk(SOURCE), write(0, &[3; 5000])).await;
    let [_, of_b] = stores;
    (cluster, of_b)
}

/// What a store has of the chunk that is changed: its bytes, and how many of its blocks are no holes.
fn held(store: &MemoryChunks) -> (Vec<u8>, u32) {
    let bytes = store.read(chunk(TARGET), 0, CHUNK_BYTES as u32).expect("memory does not fail");
    let summary = store.summary(chunk(TARGET), true).expect("memory does not fail").expect("it is there");
    (bytes.to_vec(), summary.blocks)
}

/// A is gone, and B knows.
async fn without_a(cluster: &mut Cluster) {
    cluster.server(A).kill();
    cluster.change(1, chunk(2), write(0, b"y")).await;
    assert_eq!(cluster.state(A), CopyState::Stale);
}

#[tokio::test]
async fn what_was_answered_has_the_same_outcome_at_the_new_primary_and_no_effect() {
    let mut asked = after(None);
    while let Some(what) = asked {
        let (mut cluster, store) = filled().await;
        let id = cluster.id();
        let first = ask(&cluster, A, id, what.clone()).await.unwrap();
        assert_ne!(first.blocks, 0, "{what:?}");
        without_a(&mut cluster).await;
        let undone = cluster.change(0, chunk(TARGET), undone(&what)).await;
        assert_eq!(undone.blocks, -first.blocks, "{what:?}");
        let before = held(&store);
        assert_eq!(ask(&cluster, B, id, what.clone()).await.unwrap(), first, "{what:?}");
        assert_eq!(held(&store), before, "{what:?} was made twice");
        asked = after(Some(&what));
    }
}

#[tokio::test]
async fn what_only_the_mirror_had_when_its_primary_died_is_answered_by_it_and_not_made_again() {
    let mut asked = after(None);
    while let Some(what) = asked {
        let (mut cluster, store) = filled().await;
        let before = held(&store);
        let id = cluster.id();
        // What A orders; a copy is a write then.
        let by = Ordered { from: A, view: cluster.view(0), applied: LogIndex(1) };
        let ordered = match &what {
            Asked::Change(change) => change.clone(),
            Asked::Copy => write(2 * BLOCK, &[3; 5000]),
        };
        let apply = |c: ChunkServiceClient, x| async move { c.apply(x, by, id, chunk(TARGET), ordered).await };
        let first = cluster.call(B, apply).await.unwrap().unwrap();
        let made = held(&store);
        assert_ne!(made, before, "{what:?}");
        without_a(&mut cluster).await;
        assert_eq!(ask(&cluster, B, id, what.clone()).await.unwrap(), first, "{what:?}");
        assert_eq!(held(&store), made, "{what:?} was made twice");
        asked = after(Some(&what));
    }
}

#[tokio::test]
async fn a_duplicate_has_the_first_outcome_and_no_effect() {
    let cluster = Cluster::new().await;
    let view = cluster.view(0);
    let first = cluster.id();
    let applied = cluster.try_change(A, view, first, chunk(1), write(0, b"old")).await.unwrap();
    cluster.change(0, chunk(1), write(0, b"new")).await;
    assert_eq!(cluster.try_change(A, view, first, chunk(1), write(0, b"old")).await.unwrap(), applied);
    let late = ChangeId { done_below: first.seq + 1, ..first };
    assert_eq!(cluster.try_change(A, view, late, chunk(1), write(0, b"old")).await, Err(Rejection::Forgotten));
    assert_eq!(cluster.read(B, chunk(1), 0, 3).await.unwrap(), b"new");
    cluster.assert_equal();
}

#[tokio::test]
async fn a_duplicate_waits_for_the_first_try() {
    let cluster = Arc::new(Cluster::new().await);
    cluster.store(B).stall(true);
    let (view, id) = (cluster.view(0), cluster.id());
    let send = || {
        let cluster = cluster.clone();
        tokio::spawn(async move { cluster.try_change(A, view, id, chunk(1), write(0, b"x")).await })
    };
    let first = send();
    until("the first try is under way", || cluster.store(A).contents().len() == 1).await;
    let second = send();
    cluster.store(B).stall(false);
    assert_eq!(first.await.unwrap().unwrap().blocks, 1);
    assert_eq!(second.await.unwrap().unwrap().blocks, 1);
}

#[tokio::test]
async fn a_retry_at_a_server_that_has_come_into_sync_does_not_wait_for_what_waits_for_it() {
    let cluster = Arc::new(Cluster::quiet().await);
    cluster.names.lock().set(B, CopyState::Stale);
    cluster.names.lock().deaf[1] = true;
    cluster.names.lock().set(B, CopyState::Syncing);
    let send = |server, view, id| {
        let cluster = cluster.clone();
        tokio::spawn(async move { cluster.try_change(server, view, id, chunk(1), write(0, b"x")).await })
    };
    // What B orders once it is in sync is A's to order until then: it is under way there, and B's half of it waits.
    let (id, turn) = (cluster.id(), 1);
    let first = send(A, cluster.view(turn), id);
    until("A has made it", || cluster.store(A).contents().len() == 1).await;
    {
        let mut names = cluster.names.lock();
        names.deaf = [true, false];
        names.set(B, CopyState::InSync);
    }
    // The client knows it first.
    let again = send(B, cluster.view(turn), id);
    until("it has arrived at B", || cluster.servers[1].replica.opening.try_lock().is_err()).await;
    let begun = Instant::now();
    {
        let mut names = cluster.names.lock();
        names.deaf = [false; 2];
        names.publish();
    }
    assert_eq!(again.await.unwrap().unwrap().blocks, 1);
    assert!(begun.elapsed() < FORWARD_STUCK, "it took {:?}", begun.elapsed());
    assert!(matches!(first.await.unwrap(), Err(Rejection::WrongEpoch { .. })));
    assert_eq!(cluster.state(B), CopyState::InSync);
    cluster.assert_equal();
}

#[tokio::test]
async fn a_retry_at_a_server_that_has_come_into_sync_counts_what_the_first_try_did() {
    let cluster = Cluster::quiet().await;
    cluster.change(0, chunk(1), write(0, b"x")).await;
    cluster.names.lock().set(B, CopyState::Stale);
    cluster.names.lock().set(B, CopyState::Syncing);
    // What B orders once it is in sync is A's to order until then.
    let (id, turn) = (cluster.id(), 1);
    let send =
        async |server| cluster.try_change(server, cluster.view(turn), id, chunk(1), write(4096, b"y")).await.unwrap();
    assert_eq!(send(A).await.blocks, 1);
    cluster.assert_equal();
    cluster.names.lock().set(B, CopyState::InSync);
    assert_eq!(send(B).await.blocks, 1, "B has the block already, and has forgotten how it came there");
    cluster.assert_equal();
}
