//! Consensus over the connections to the other voters.

use crate::consensus::node::Transport;
use crate::peers::Peers;
use raidfs_common::id::{ServerId, Term};
use raidfs_common::limits;
use raidfs_common::rpc::peer::{AppendReply, AppendRequest, PeerServiceClient, SnapshotPiece, VoteReply, VoteRequest};
use std::sync::Arc;
use std::time::Duration;

/// An append that is not answered by then counts as not received; the log is sent again.
const APPEND_TIMEOUT: Duration = Duration::from_millis(1000);
/// A piece of a snapshot may have to wait for a disk.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(30);

/// Messages of consensus, over [`Peers`].
#[derive(Debug)]
pub struct PeerTransport {
    /// The connections.
    pub peers: Arc<Peers>,
    /// This voter.
    pub me: ServerId,
}

impl Transport for PeerTransport {
    async fn vote(&self, to: ServerId, request: VoteRequest) -> Option<VoteReply> {
        let call = |client: PeerServiceClient, ctx| async move { client.vote(ctx, request).await };
        self.peers.call(to, limits::ELECTION, call).await.ok()
    }

    async fn append(&self, to: ServerId, request: AppendRequest) -> Option<AppendReply> {
        let call = |client: PeerServiceClient, ctx| async move { client.append(ctx, request).await };
        self.peers.call(to, APPEND_TIMEOUT, call).await.ok().flatten()
    }

    async fn snapshot(&self, to: ServerId, piece: SnapshotPiece) -> Option<(Term, bool)> {
        let call = |client: PeerServiceClient, ctx| async move { client.snapshot(ctx, piece).await };
        self.peers.call(to, SNAPSHOT_TIMEOUT, call).await.ok()
    }

    async fn take_over(&self, to: ServerId, term: Term) -> Option<bool> {
        let me = self.me;
        let call = |client: PeerServiceClient, ctx| async move { client.take_over(ctx, me, term).await };
        self.peers.call(to, limits::ELECTION, call).await.ok()
    }

    async fn ping(&self, to: ServerId) -> bool {
        self.peers.ping(to).await.is_some()
    }
}
