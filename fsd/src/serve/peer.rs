//! The peer service: decode, step the node, encode. Served by the servers and the witness.

use crate::consensus::log::LogStore;
use crate::consensus::node::{Machine, Node, Transport};
use raidfs_common::id::{Incarnation, ServerId, Term};
use raidfs_common::rpc::peer::{
    AppendReply, AppendRequest, Joining, PeerService, Report, SnapshotPiece, Started, VoteReply, VoteRequest,
};
use std::future::Future;
use std::sync::Arc;
use tarpc::context::Context;

/// Who hears reports: the leader's duties. The witness has none.
pub trait Hears: Clone + Send + Sync + 'static {
    /// A report of another server; true if it was acted on.
    fn hear(&self, from: ServerId, report: Report) -> impl Future<Output = bool> + Send;
    /// Whether a life of a voter may take part.
    fn join(&self, from: ServerId, life: Started) -> impl Future<Output = Joining> + Send;
}

/// The witness hears nothing.
#[derive(Clone, Debug)]
pub struct Deaf;

impl Hears for Deaf {
    async fn hear(&self, _: ServerId, _: Report) -> bool {
        false
    }

    async fn join(&self, _: ServerId, _: Started) -> Joining {
        Joining::Later
    }
}

/// The peer service of one voter.
pub struct PeerServer<L, M: Machine, T, H> {
    /// Agreement.
    pub node: Arc<Node<L, M, T>>,
    /// Who hears reports.
    pub hears: H,
    /// This life.
    pub incarnation: Incarnation,
}

impl<L, M: Machine, T, H: Clone> Clone for PeerServer<L, M, T, H> {
    fn clone(&self) -> Self {
        PeerServer { node: self.node.clone(), hears: self.hears.clone(), incarnation: self.incarnation }
    }
}

impl<L, M: Machine, T, H> std::fmt::Debug for PeerServer<L, M, T, H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PeerServer").field("node", &self.node).finish_non_exhaustive()
    }
}

impl<L, M, T, H> PeerService for PeerServer<L, M, T, H>
where
    L: LogStore + Send + 'static,
    M: Machine,
    T: Transport,
    H: Hears,
{
    async fn vote(self, _: Context, request: VoteRequest) -> VoteReply {
        self.node.on_vote(&request)
    }

    async fn append(self, _: Context, request: AppendRequest) -> Option<AppendReply> {
        self.node.on_append(request).await
    }

    async fn snapshot(self, _: Context, piece: SnapshotPiece) -> (Term, bool) {
        let node = self.node;
        tokio::spawn(async move { node.on_snapshot(piece).await }).await.unwrap_or_default()
    }

    async fn report(self, _: Context, from: ServerId, report: Report) -> bool {
        let hears = self.hears;
        tokio::spawn(async move { hears.hear(from, report).await }).await.unwrap_or(false)
    }

    async fn join(self, _: Context, from: ServerId, life: Started) -> Joining {
        let hears = self.hears;
        tokio::spawn(async move { hears.join(from, life).await }).await.unwrap_or(Joining::Later)
    }

    async fn take_over(self, _: Context, from: ServerId, term: Term) -> bool {
        self.node.on_take_over(from, term)
    }

    async fn ping(self, _: Context) -> Incarnation {
        self.incarnation
    }
}
