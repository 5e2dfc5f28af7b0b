//! Asks a voter whether it is there, over a connection that is used for nothing else: whoever did not answer over it is asked
//! over another one next. So an answer says that connections can be made and carry something, and silence that they do not;
//! one that outlived a cut, and waits for TCP to try again, says nothing.

use parking_lot::Mutex;
use raidfs_common::id::Incarnation;
use raidfs_common::limits::ELECTION;
use raidfs_common::rpc::Hello;
use raidfs_common::rpc::peer::PeerServiceClient;
use raidfs_common::wire;
use std::net::SocketAddr;
use std::time::Instant;

/// The way to one voter.
#[derive(Debug)]
pub struct Pinger {
    address: SocketAddr,
    hello: Hello,
    /// The connection that answered last.
    kept: Mutex<Option<PeerServiceClient>>,
}

impl Pinger {
    /// To the voter at `address`, which is told `hello`; no connection is made yet.
    pub fn new(address: SocketAddr, hello: Hello) -> Pinger {
        Pinger { address, hello, kept: Mutex::new(None) }
    }

    /// In which life it is, if it answers within [`ELECTION`], which a new connection is part of. Who asks again before that asks over another
    /// connection, so that one that carries nothing holds nobody up, and one that is only slow is not given up.
    pub async fn ask(&self) -> Option<Incarnation> {
        let kept = self.kept.lock().take();
        let answered = tokio::time::timeout(ELECTION, async {
            if let Some(client) = kept
                && let Some(life) = ping(&client).await
            {
                return Some((client, life));
            }
            // Its end has broken with the process there, which may have been started anew.
            let client = self.connect().await?;
            let life = ping(&client).await?;
            Some((client, life))
        });
        // What did not answer is dropped, and its connection ends.
        let (client, life) = answered.await.ok().flatten()?;
        *self.kept.lock() = Some(client);
        Some(life)
    }

    async fn connect(&self) -> Option<PeerServiceClient> {
        let wire = wire::connect(self.address, &self.hello, ELECTION).await.ok()?;
        let made = PeerServiceClient::new(tarpc::client::Config::default(), wire);
        tokio::spawn(async move {
            if let Err(error) = made.dispatch.await {
                tracing::debug!("connection for pings broken: {}", raidfs_common::log::chain(&error));
            }
        });
        Some(made.client)
    }
}

async fn ping(client: &PeerServiceClient) -> Option<Incarnation> {
    let mut context = tarpc::context::current();
    context.deadline = Instant::now() + ELECTION;
    client.ping(context).await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt;
    use raidfs_common::id::{ClusterId, ServerId, Term};
    use raidfs_common::rpc::peer::{
        AppendReply, AppendRequest, Joining, PeerService, Report, SnapshotPiece, Started, VoteReply, VoteRequest,
    };
    use raidfs_common::rpc::{PROTOCOL_VERSION, Service, Speaker, Welcome};
    use raidfs_common::wire::Wire;
    use tarpc::context::Context;
    use tarpc::server::{BaseChannel, Channel};
    use tokio::net::{TcpListener, TcpStream};

    /// Answers pings, and nobody asks it for anything else.
    #[derive(Clone)]
    struct Other;

    impl PeerService for Other {
        async fn ping(self, _: Context) -> Incarnation {
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
        async fn report(self, _: Context, _: ServerId, _: Report) -> bool {
            unreachable!()
        }
        async fn join(self, _: Context, _: ServerId, _: Started) -> Joining {
            unreachable!()
        }
        async fn take_over(self, _: Context, _: ServerId, _: Term) -> bool {
            unreachable!()
        }
    }

    async fn let_in(listener: &TcpListener) -> TcpStream {
        let (mut stream, _) = listener.accept().await.expect("a listener accepts");
        wire::read_hello(&mut stream).await.expect("a caller says hello");
        wire::welcome(&mut stream, &Welcome::Yes).await.expect("it listens");
        stream
    }

    #[tokio::test]
    async fn who_does_not_answer_over_one_connection_is_asked_over_another() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let hello = Hello {
            version: PROTOCOL_VERSION,
            cluster: ClusterId(1),
            cluster_name: "test".into(),
            speaker: Speaker::Server(ServerId(1)),
            to: ServerId(2),
            service: Service::Peer,
        };
        let pinger = Pinger::new(listener.local_addr().expect("it listens"), hello);
        let (answered, clogged) = tokio::join!(pinger.ask(), let_in(&listener));
        assert_eq!(answered, None, "nothing comes of what is sent over it");
        let serve = async {
            let requests = BaseChannel::with_defaults(Wire::new(let_in(&listener).await)).execute(Other.serve());
            requests.for_each(|answer| answer).await;
        };
        let asked = async {
            // The connection that answered is used again: no other is let in.
            pinger.ask().await.is_some() && pinger.ask().await.is_some()
        };
        let answered = tokio::select! {
            answered = asked => answered,
            () = serve => false,
        };
        assert!(answered);
        drop(clogged);
        // The process there has ended since, and with it that connection: it is no silence if another answers.
        let serve = async {
            let requests = BaseChannel::with_defaults(Wire::new(let_in(&listener).await)).execute(Other.serve());
            requests.for_each(|answer| answer).await;
        };
        let answered = tokio::select! {
            answered = pinger.ask() => answered.is_some(),
            () = serve => false,
        };
        assert!(answered);
    }
}
