//! Copies that a server makes of what it, or another, has.

use super::*;
use raidfs_common::rpc::chunks::{Applied, Copied, CopySource};

/// 50,000 bytes of one chunk, from its byte 100 on.
fn source(cluster: &Cluster, server: ServerId) -> CopySource {
    CopySource { server, view: cluster.view(0), chunk: chunk(5), offset: 100 }
}

async fn copy(cluster: &Cluster, id: ChangeId, length: u32, source: CopySource) -> Result<Copied, Rejection> {
    let view = cluster.view(0);
    cluster.call(A, |c, x| async move { c.copy(x, view, id, chunk(6), 4096, length, source).await }).await.unwrap()
}

/// What was copied to.
async fn target(cluster: &Cluster, length: u32) -> Vec<u8> {
    cluster.assert_equal();
    let mut bytes = cluster.read(B, chunk(6), 4096, length).await.unwrap();
    bytes.resize(length as usize, 0);
    bytes
}

#[tokio::test]
async fn a_copy_is_on_both_whoever_has_its_source() {
    let cluster = Cluster::new().await;
    let bytes: Vec<u8> = (0..50_000u32).map(|n| (n / 97) as u8 | 1).collect();
    cluster.change(0, chunk(5), write(100, &bytes)).await;
    let made = copy(&cluster, cluster.id(), 50_000, source(&cluster, A)).await;
    assert_eq!(made, Ok(Copied::Made(Applied { blocks: 13, made: true })));
    assert_eq!(target(&cluster, 50_000).await, bytes);
    // More than there is: zeros.
    let made = copy(&cluster, cluster.id(), 60_000, source(&cluster, B)).await;
    assert_eq!(made, Ok(Copied::Made(Applied { blocks: 2, made: false })));
    let longer = target(&cluster, 60_000).await;
    assert_eq!(longer[..50_000], bytes);
    assert!(longer[50_000..].iter().all(|byte| *byte == 0));
    let counters = cluster.servers.each_ref().map(|s| s.replica.status().counters.copied_bytes);
    assert_eq!(counters, [110_000, 0]);
}

#[tokio::test]
async fn a_copy_that_is_asked_for_again_is_not_made_again() {
    let cluster = Cluster::new().await;
    cluster.change(0, chunk(5), write(100, b"old")).await;
    let id = cluster.id();
    let made = copy(&cluster, id, 3, source(&cluster, A)).await;
    cluster.change(0, chunk(5), write(100, b"new")).await;
    assert_eq!(copy(&cluster, id, 3, source(&cluster, A)).await, made);
    assert_eq!(target(&cluster, 3).await, b"old");
}

#[tokio::test]
async fn what_cannot_be_read_has_no_effect_and_may_be_tried_again() {
    let mut cluster = Cluster::new().await;
    cluster.change(0, chunk(5), write(100, b"bytes")).await;
    let id = cluster.id();
    let current = Epoch(1);
    let old = CopySource { view: View { epoch: Epoch(0), ..cluster.view(0) }, ..source(&cluster, B) };
    let refused = Copied::Unread(Some(Rejection::WrongEpoch { pair: PairId(0), current }));
    assert_eq!(copy(&cluster, id, 5, old).await, Ok(refused));
    let nobody = source(&cluster, ServerId(9));
    assert_eq!(copy(&cluster, id, 5, nobody).await, Ok(Copied::Unread(None)));
    let bad = CopySource { offset: CHUNK_BYTES as u32, ..source(&cluster, A) };
    assert!(matches!(copy(&cluster, id, 5, bad).await, Err(Rejection::Bad(_))));
    assert_eq!(target(&cluster, 5).await, [0; 5]);
    cluster.server(B).kill();
    let gone = source(&cluster, B);
    assert_eq!(copy(&cluster, id, 5, gone).await, Ok(Copied::Unread(None)));
    // Its mirror has to be put out first: asked again until it is.
    let begun = Instant::now();
    while !matches!(copy(&cluster, id, 5, source(&cluster, A)).await, Ok(Copied::Made(_))) {
        assert!(begun.elapsed() < PATIENCE);
    }
    assert_eq!(cluster.read(A, chunk(6), 4096, 5).await.unwrap(), b"bytes");
}
