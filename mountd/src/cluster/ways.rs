//! The way to a server: its own address, or by way of another server, which passes the connection on. Where only the way
//! from here to one server is cut, the rest of the cluster goes on with it, and nobody else may order what it orders.

use futures::future::{Either, TryFutureExt, select};
use futures::stream::{FuturesUnordered, StreamExt};
use raidfs_common::config::Config;
use raidfs_common::id::ServerId;
use raidfs_common::rpc::{Hello, Speaker};
use raidfs_common::stream::Stream;
use raidfs_common::wire::{self, ConnectError};
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

/// A server that has not welcomed us by then is looked for by way of others, too. It takes a moment where all is well.
const DIRECT_FIRST: Duration = Duration::from_millis(100);
/// Who is found by way of another has this long to answer at its own address, too.
const DIRECT_LAST: Duration = Duration::from_millis(50);
/// The witness is asked so much later than the servers.
const WITNESS_LATER: Duration = Duration::from_millis(200);
/// While a server is reached by way of another, its own address is tried this often.
const DIRECT_AGAIN: Duration = Duration::from_millis(500);

/// How a server is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// At its own address.
    Direct,
    /// This one passes the connection on.
    By(ServerId),
}

/// Connects to the server that `hello` means: by way of another only once `wanted` says that somebody waits for it. Where
/// nothing listens it is gone, and where it refuses nobody is asked to pass that on. Errors are those of its own address.
pub async fn connect(
    config: &Config,
    hello: &Hello,
    timeout: Duration,
    wanted: impl Future<Output = ()>,
) -> Result<(Stream, Way), ConnectError> {
    let direct = open(config, hello.to, hello, timeout).map_ok(|stream| (stream, Way::Direct));
    let by_way = async {
        tokio::time::sleep(DIRECT_FIRST).await;
        wanted.await;
        by_way(config, hello, timeout).await
    };
    match select(pin!(direct), pin!(by_way)).await {
        Either::Left((Err(error), by_way)) if !is_final(&error) => {
            tokio::time::timeout(timeout, by_way).await.ok().flatten().ok_or(error)
        }
        Either::Left((direct, _)) => direct,
        // One that stood still answers everybody at once.
        Either::Right((Some(found), direct)) => match tokio::time::timeout(DIRECT_LAST, direct).await {
            Ok(Ok(direct)) => Ok(direct),
            _ => Ok(found),
        },
        // Nobody else reaches it: what is left is its own address.
        Either::Right((None, direct)) => direct.await,
    }
}

/// Returns once the server has welcomed a connection at its own address.
pub async fn directly_again(config: &Config, hello: &Hello) -> Stream {
    loop {
        tokio::time::sleep(DIRECT_AGAIN).await;
        if let Ok(stream) = open(config, hello.to, hello, DIRECT_AGAIN).await {
            return stream;
        }
    }
}

/// Asks all others to pass the connection on, the witness last; the first that can is taken. None: nobody can.
async fn by_way(config: &Config, hello: &Hello, timeout: Duration) -> Option<(Stream, Way)> {
    let hello = Hello { speaker: Speaker::ClientByWay, ..hello.clone() };
    let others = config.voters().into_iter().filter(|other| *other != hello.to);
    let tries = others.map(|other| {
        let hello = &hello;
        async move {
            // Often a small machine, or far away: what the servers can do is not asked of it.
            if other.is_witness() {
                tokio::time::sleep(WITNESS_LATER).await;
            }
            open(config, other, hello, timeout).await.ok().map(|stream| (stream, Way::By(other)))
        }
    });
    let mut tries: FuturesUnordered<_> = tries.collect();
    while let Some(found) = tries.next().await {
        if found.is_some() {
            return found;
        }
    }
    None
}

async fn open(config: &Config, at: ServerId, hello: &Hello, timeout: Duration) -> Result<Stream, ConnectError> {
    let address = config.address(at).expect("connections are made to the configuration's own servers");
    wire::open(address, hello, timeout).await
}

/// Whether nobody else can do better.
fn is_final(error: &ConnectError) -> bool {
    error.is_gone() || matches!(error, ConnectError::Refused(_) | ConnectError::Foreign)
}

#[cfg(test)]
mod tests {
    use super::*;
    use raidfs_common::config::Durability;
    use raidfs_common::rpc::{PROTOCOL_VERSION, Service, Welcome};
    use std::net::SocketAddr;
    use tokio::net::TcpListener;

    const PATIENCE: Duration = Duration::from_secs(5);
    const MEANT: ServerId = ServerId(1);
    const OTHER: ServerId = ServerId(2);

    /// Two servers' ports, and nobody at the witness's.
    async fn cluster() -> (Config, Hello, [TcpListener; 2]) {
        let listeners =
            [TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap()];
        let pair: [SocketAddr; 2] = listeners.each_ref().map(|l| l.local_addr().unwrap());
        let config = Config {
            cluster: "test".into(),
            pairs: vec![pair],
            witness: "127.0.0.1:1".parse().unwrap(),
            durability: Durability::Relaxed,
            io_timeout: PATIENCE,
            scrub_every: None,
        };
        let hello = Hello {
            version: PROTOCOL_VERSION,
            cluster: config.cluster_id(),
            cluster_name: config.cluster.clone(),
            speaker: Speaker::Client,
            to: MEANT,
            service: Service::Names,
        };
        (config, hello, listeners)
    }

    /// Answers the next connection, and says what it was asked.
    async fn answer(listener: &TcpListener, answer: Welcome) -> Hello {
        let (mut stream, _) = listener.accept().await.unwrap();
        let hello = wire::read_hello(&mut stream).await.unwrap();
        wire::welcome(&mut stream, &answer).await.unwrap();
        hello
    }

    async fn way(config: &Config, hello: &Hello) -> Result<Way, ConnectError> {
        connect(config, hello, PATIENCE, std::future::ready(())).await.map(|(_, way)| way)
    }

    #[tokio::test]
    async fn who_answers_is_reached_directly() {
        let (config, hello, [meant, _other]) = cluster().await;
        let (way, asked) = tokio::join!(way(&config, &hello), answer(&meant, Welcome::Yes));
        assert_eq!((way.unwrap(), asked), (Way::Direct, hello));
    }

    #[tokio::test]
    async fn who_does_not_answer_is_reached_by_way_of_another() {
        // The port of the one takes connections, but nobody answers there.
        let (config, hello, [_meant, other]) = cluster().await;
        let (way, asked) = tokio::join!(way(&config, &hello), answer(&other, Welcome::Yes));
        assert_eq!(way.unwrap(), Way::By(OTHER));
        assert_eq!(asked, Hello { speaker: Speaker::ClientByWay, ..hello });
    }

    #[tokio::test]
    async fn nobody_is_asked_while_nobody_waits() {
        let (config, hello, [meant, other]) = cluster().await;
        let asked = async {
            assert!(tokio::time::timeout(DIRECT_FIRST * 3, other.accept()).await.is_err());
            answer(&meant, Welcome::Yes).await
        };
        let (found, _) = tokio::join!(connect(&config, &hello, PATIENCE, std::future::pending()), asked);
        assert_eq!(found.unwrap().1, Way::Direct);
    }

    #[tokio::test]
    async fn who_answers_late_is_waited_for_where_nobody_else_reaches_it() {
        let (config, hello, [meant, other]) = cluster().await;
        let answers = async {
            answer(&other, Welcome::No("nor do I".into())).await;
            answer(&meant, Welcome::Yes).await
        };
        let (way, _) = tokio::join!(way(&config, &hello), answers);
        assert_eq!(way.unwrap(), Way::Direct);
    }

    #[tokio::test]
    async fn who_is_gone_or_refuses_is_not_looked_for_elsewhere() {
        let (config, hello, [meant, _other]) = cluster().await;
        let (way_found, _) = tokio::join!(way(&config, &hello), answer(&meant, Welcome::No("go away".into())));
        assert!(matches!(way_found, Err(ConnectError::Refused(why)) if why == "go away"));
        drop(meant);
        assert!(way(&config, &hello).await.unwrap_err().is_gone());
    }

    #[tokio::test]
    async fn the_direct_way_is_found_again() {
        let (config, hello, [meant, _other]) = cluster().await;
        let (_stream, asked) = tokio::join!(directly_again(&config, &hello), answer(&meant, Welcome::Yes));
        assert_eq!(asked.speaker, Speaker::Client);
    }
}
