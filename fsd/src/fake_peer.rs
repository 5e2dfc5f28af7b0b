//! A voter for tests: it answers pings, keeps what is reported to it, and nobody asks it for anything else.

use futures::StreamExt;
use parking_lot::Mutex;
use raidfs_common::id::{Incarnation, ServerId, Term};
use raidfs_common::rpc::Welcome;
use raidfs_common::rpc::peer::{
    AppendReply, AppendRequest, Joining, PeerService, Report, SnapshotPiece, Started, VoteReply, VoteRequest,
};
use raidfs_common::wire::{self, Wire};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tarpc::context::Context;
use tarpc::server::{BaseChannel, Channel};
use tokio::net::{TcpListener, TcpStream};

#[derive(Clone, Debug, Default)]
pub struct FakePeer {
    /// How many pings it answers; all, if None.
    pub answers: Option<u32>,
    pub pinged: Arc<AtomicU32>,
    pub reports: Arc<Mutex<Vec<(ServerId, Report)>>>,
}

impl FakePeer {
    /// Serves the next connection until it ends.
    pub async fn serve_one(self, listener: &TcpListener) {
        let requests = BaseChannel::with_defaults(Wire::new(let_in(listener).await)).execute(self.serve());
        requests.for_each(|answer| answer).await;
    }
}

impl PeerService for FakePeer {
    async fn ping(self, _: Context) -> Incarnation {
        let before = self.pinged.fetch_add(1, Ordering::SeqCst);
        if self.answers.is_some_and(|most| before >= most) {
            std::future::pending::<()>().await;
        }
        Incarnation(1)
    }
    async fn vote(self, _: Context, _: VoteRequest) -> VoteReply {
        unreachable!()
    }
    async fn append(self, _: Context, _: AppendRequest) -> Option<AppendReply> {
        unreachable!()
    }
    async fn snapshot(self, _: Context, _: SnapshotPiece) -> (Term, bool) {
        unreachable!()
    }
    async fn report(self, _: Context, from: ServerId, report: Report) -> bool {
        self.reports.lock().push((from, report));
        false
    }
    async fn join(self, _: Context, _: ServerId, _: Started) -> Joining {
        unreachable!()
    }
    async fn take_over(self, _: Context, _: ServerId, _: Term) -> bool {
        unreachable!()
    }
}

/// The next connection, past its first frames.
pub async fn let_in(listener: &TcpListener) -> TcpStream {
    let (mut stream, _) = listener.accept().await.expect("a listener accepts");
    wire::read_hello(&mut stream).await.expect("a caller says hello");
    wire::welcome(&mut stream, &Welcome::Yes).await.expect("it listens");
    stream
}
