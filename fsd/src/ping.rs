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
    use crate::fake_peer::{FakePeer, let_in};
    use raidfs_common::id::{ClusterId, ServerId};
    use raidfs_common::rpc::{PROTOCOL_VERSION, Service, Speaker};
    use tokio::net::TcpListener;

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
        let serve = FakePeer::default().serve_one(&listener);
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
        let serve = FakePeer::default().serve_one(&listener);
        let answered = tokio::select! {
            answered = pinger.ask() => answered.is_some(),
            () = serve => false,
        };
        assert!(answered);
    }
}
