//! Passing a client's connection on to the server that it means, where only the way between those two is cut: to the rest
//! of the cluster that server is well, so putting it out would cost a mirror, and waiting for it would cost the client all
//! that it orders. The bytes are carried as they are, in both directions, until one end closes.

use raidfs_common::config::Config;
use raidfs_common::id::ServerId;
use raidfs_common::log::chain;
use raidfs_common::rpc::{Hello, Speaker};
use raidfs_common::stream::Stream;
use raidfs_common::wire;
use std::time::Duration;
use tokio::io::BufReader;

/// For connecting to the other server, and both hellos: a client waits for this, and asks others at the same time.
const CONNECT_PATIENCE: Duration = Duration::from_millis(500);

/// Bytes of each direction that are carried at once.
const BUFFER_BYTES: usize = 64 << 10;

/// Connects to the server that a client means, in the client's name; else why not. It is not passed on once more.
pub async fn find(config: &Config, me: ServerId, hello: &Hello) -> Result<Stream, String> {
    let to = hello.to;
    let address = config.address(to).ok_or_else(|| format!("there is no {to} in the configuration of {me}"))?;
    let onward = Hello { speaker: Speaker::Client, ..hello.clone() };
    match wire::open(address, &onward, CONNECT_PATIENCE).await {
        Ok(way) => {
            tracing::debug!("a client that does not reach {to} is passed on to it");
            Ok(way)
        }
        Err(error) => Err(format!("{me} does not reach {to} either: {}", chain(&error))),
    }
}

/// Carries bytes between a client and the server that it means, until one of them is gone: neither closes one direction only.
pub async fn carry(client: Stream, server: Stream) {
    let (from_client, mut to_client) = tokio::io::split(client);
    let (from_server, mut to_server) = tokio::io::split(server);
    let mut from_client = BufReader::with_capacity(BUFFER_BYTES, from_client);
    let mut from_server = BufReader::with_capacity(BUFFER_BYTES, from_server);
    let ended = tokio::select! {
        ended = tokio::io::copy_buf(&mut from_client, &mut to_server) => ended,
        ended = tokio::io::copy_buf(&mut from_server, &mut to_client) => ended,
    };
    tracing::debug!("a connection that was passed on has ended: {ended:?}");
}

#[cfg(test)]
mod tests {
    use super::super::listen;
    use super::*;
    use raidfs_common::config::Durability;
    use raidfs_common::rpc::{PROTOCOL_VERSION, Service};
    use raidfs_common::stream::{Listener, Port};
    use raidfs_common::wire::ConnectError;
    use std::net::SocketAddr;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const PATIENCE: Duration = Duration::from_secs(10);
    const WAY: ServerId = ServerId(1);
    const MEANT: ServerId = ServerId(2);

    fn hello(config: &Config, speaker: Speaker, to: ServerId, service: Service) -> Hello {
        let (cluster, cluster_name) = (config.cluster_id(), config.cluster.clone());
        Hello { version: PROTOCOL_VERSION, cluster, cluster_name, speaker, to, service }
    }

    /// Two servers that send back what they are sent, behind their own numbers.
    async fn two() -> (Config, [SocketAddr; 2], [tokio::task::JoinHandle<()>; 2]) {
        let listeners = [0, 1].map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
        let addresses = listeners.each_ref().map(|l| l.local_addr().unwrap());
        let config = Config {
            cluster: "test".into(),
            pairs: vec![addresses],
            witness: "127.0.0.1:1".parse().unwrap(),
            durability: Durability::Relaxed,
            io_timeout: PATIENCE,
            scrub_every: None,
        };
        let mut ids = [WAY, MEANT].into_iter();
        let running = listeners.map(|listener| {
            let (id, config) = (ids.next().unwrap(), config.clone());
            let listener = Listener::new(Port::Tcp(listener)).unwrap();
            let echo = move |mut guest: listen::Guest| {
                tokio::spawn(async move {
                    guest.stream.write_all(&id.0.to_le_bytes()).await.unwrap();
                    let mut bytes = [0; 64];
                    while let Ok(n @ 1..) = guest.stream.read(&mut bytes).await {
                        guest.stream.write_all(&bytes[..n]).await.unwrap();
                    }
                });
            };
            tokio::spawn(listen::run(listener, config, id, echo))
        });
        (config, addresses, running)
    }

    #[tokio::test]
    async fn a_client_is_passed_on_to_the_server_that_it_means() {
        let (config, [way, _], _running) = two().await;
        let by_way = hello(&config, Speaker::ClientByWay, MEANT, Service::Names);
        let mut stream = wire::open(way, &by_way, PATIENCE).await.unwrap();
        let mut who = [0; 2];
        stream.read_exact(&mut who).await.unwrap();
        assert_eq!(ServerId(u16::from_le_bytes(who)), MEANT);
        let sent: Vec<u8> = (0..1_000_000u32).map(|n| n as u8).collect();
        let (mut from, mut to) = tokio::io::split(stream);
        let bytes = sent.clone();
        let sends = tokio::spawn(async move { to.write_all(&bytes).await.map(|()| to) });
        let mut back = vec![0; sent.len()];
        from.read_exact(&mut back).await.unwrap();
        assert!(back == sent);
        drop(sends.await.unwrap().unwrap());
    }

    #[tokio::test]
    async fn only_clients_that_ask_for_it_are_passed_on_and_only_to_who_is_there() {
        let (config, [way, _], [_way, meant]) = two().await;
        let refused =
            async |speaker, to, service| match wire::open(way, &hello(&config, speaker, to, service), PATIENCE).await {
                Err(ConnectError::Refused(why)) => why,
                other => panic!("{other:?}"),
            };
        assert!(refused(Speaker::Client, MEANT, Service::Names).await.contains("compare the addresses"));
        assert!(refused(Speaker::Server(WAY), MEANT, Service::Peer).await.contains("compare the addresses"));
        assert!(refused(Speaker::ClientByWay, MEANT, Service::Peer).await.contains("among servers only"));
        assert!(refused(Speaker::ClientByWay, ServerId(9), Service::Names).await.contains("there is no"));
        assert!(refused(Speaker::ClientByWay, ServerId::WITNESS, Service::Names).await.contains("witness"));
        meant.abort();
        let _ = meant.await;
        assert!(refused(Speaker::ClientByWay, MEANT, Service::Chunks).await.contains("does not reach fsd2 either"));
    }
}
