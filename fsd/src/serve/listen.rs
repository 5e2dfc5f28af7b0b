//! The one port of a server: the first frame says which service a connection is for. Everything that a stranger can send
//! is bounded here: how many connections, how long until the first frame, how much is in flight.

use super::relay;
use raidfs_common::complaints::{Complaints, Outage};
use raidfs_common::config::Config;
use raidfs_common::id::ServerId;
use raidfs_common::limits::CONNECTIONS_MAX;
use raidfs_common::rpc::{Hello, PROTOCOL_VERSION, Service, Speaker, Welcome};
use raidfs_common::stream::{Listener, Stream};
use raidfs_common::wire;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A connection that was welcomed.
#[derive(Debug)]
pub struct Guest {
    /// The connection.
    pub stream: Stream,
    /// Who.
    pub speaker: Speaker,
    /// For what.
    pub service: Service,
    /// Its place among the connections; given back when dropped.
    pub place: OwnedSemaphorePermit,
}

/// Whether a first frame is welcome; else why not.
pub fn judge(hello: &Hello, config: &Config, me: ServerId, peer: SocketAddr) -> Result<(), String> {
    // Without its port, so that a client that tries again hears the same and need not say it again.
    let peer = peer.ip();
    if hello.version != PROTOCOL_VERSION {
        let theirs = hello.version;
        return Err(format!(
            "{peer} speaks protocol {theirs}, {me} speaks {PROTOCOL_VERSION}; run one version everywhere"
        ));
    }
    if hello.cluster != config.cluster_id() {
        let (theirs, ours) = (&hello.cluster_name, &config.cluster);
        return Err(format!(
            "{peer} is of the cluster {theirs:?}, {me} is of {ours:?}; one of them has the wrong configuration"
        ));
    }
    if hello.to != me && hello.speaker != Speaker::ClientByWay {
        return Err(format!(
            "{peer} means to reach {}, this is {me}; compare the addresses in the configurations",
            hello.to
        ));
    }
    match (hello.to.is_witness(), hello.service, hello.speaker) {
        (true, Service::Names | Service::Chunks, _) => Err("the witness serves neither names nor chunks".into()),
        (_, Service::Peer, Speaker::Client | Speaker::ClientByWay) => Err("agreement is among servers only".into()),
        _ => Ok(()),
    }
}

/// Accepts connections for ever, and hands over those that are welcome.
pub async fn run(
    listener: Listener,
    config: Config,
    me: ServerId,
    hand_over: impl Fn(Guest) + Clone + Send + Sync + 'static,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    // Strangers are complained about once a minute and address, not once a try.
    let complaints: Arc<parking_lot::Mutex<Complaints<IpAddr>>> = Arc::default();
    let mut deaf = Outage::default();
    loop {
        let (mut stream, peer) = match listener.accept().await {
            Ok(accepted) => {
                if let Some(times) = deaf.worked(Instant::now()) {
                    tracing::info!("connections are accepted again, after {times} tries in vain");
                }
                accepted
            }
            Err(error) => {
                // Out of file descriptors, most likely.
                if deaf.failed(Instant::now()) {
                    tracing::warn!("cannot accept connections, those that are open are served on: {error}");
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            }
        };
        let Ok(place) = places.clone().try_acquire_owned() else {
            if complaints.lock().due(peer.ip(), Instant::now()) {
                tracing::warn!("{CONNECTIONS_MAX} connections are open: that from {peer} is refused");
            }
            continue;
        };
        let (config, complaints, hand_over) = (config.clone(), complaints.clone(), hand_over.clone());
        tokio::spawn(async move {
            match admit(&mut stream, &config, me, peer).await {
                Ok((hello, None)) => hand_over(Guest { stream, speaker: hello.speaker, service: hello.service, place }),
                Ok((_, Some(way))) => {
                    relay::carry(stream, way).await;
                    drop(place);
                }
                Err((Refused::NoNews, why)) => tracing::debug!("connection from {peer} refused: {why}"),
                Err((Refused::Unwelcome, why)) => {
                    if complaints.lock().due(peer.ip(), Instant::now()) {
                        tracing::warn!("connection from {peer} refused: {why}");
                    }
                }
            }
        });
    }
}

/// Why a connection is not served.
enum Refused {
    /// It is not welcome.
    Unwelcome,
    /// It is for another server, which is not reached from here; the client asks others at the same time, too. Or it has gone.
    NoNews,
}

/// Whether a connection is welcome: then also the one to the server that it is passed on to, if that is another.
async fn admit(
    stream: &mut Stream,
    config: &Config,
    me: ServerId,
    peer: SocketAddr,
) -> Result<(Hello, Option<Stream>), (Refused, String)> {
    let unwelcome = |why| (Refused::Unwelcome, why);
    let hello = wire::read_hello(stream).await.map_err(|e| unwelcome(format!("no proper first frame: {e}")))?;
    let found = match judge(&hello, config, me, peer) {
        Ok(()) if hello.to != me => {
            relay::find(config, me, &hello).await.map(Some).map_err(|why| (Refused::NoNews, why))
        }
        judged => judged.map(|()| None).map_err(unwelcome),
    };
    let answer = found.as_ref().map_or_else(|(_, why)| Welcome::No(why.clone()), |_| Welcome::Yes);
    wire::welcome(stream, &answer).await.map_err(|e| (Refused::NoNews, e.to_string()))?;
    found.map(|way| (hello, way))
}

/// Serves one connection with a tarpc service, until it ends. While as many of its requests are served as may be, no
/// other is read: the sender feels it. Each of them ends, at its deadline at the latest, and has room for its answer.
/// The future that may follow runs as soon as the other end has gone, whatever is still being served.
#[macro_export]
macro_rules! serve_guest {
    ($stream:expr, $service:expr) => {
        $crate::serve_guest!($stream, $service, std::future::ready(()))
    };
    ($stream:expr, $service:expr, $once_closed:expr) => {{
        use futures::StreamExt as _;
        use tarpc::server::Channel as _;
        let mut wire = raidfs_common::wire::Wire::new($stream);
        let (closed, once_closed) = (wire.closed(), $once_closed);
        tokio::spawn(async move {
            closed.await;
            once_closed.await;
        });
        let most = raidfs_common::limits::REQUESTS_PER_CONNECTION_MAX;
        let places = std::sync::Arc::new(tokio::sync::Semaphore::new(most));
        let config = tarpc::server::Config { pending_response_buffer: most };
        let requests = tarpc::server::BaseChannel::new(config, wire).execute($service);
        futures::pin_mut!(requests);
        while let Some(request) = requests.next().await {
            let place = places.clone().acquire_owned().await;
            tokio::spawn(async move {
                request.await;
                drop(place);
            });
        }
    }};
}

#[cfg(test)]
mod tests {
    use super::judge;
    use raidfs_common::config::{Config, Durability};
    use raidfs_common::id::{ClusterId, ServerId};
    use raidfs_common::limits::REQUESTS_PER_CONNECTION_MAX;
    use raidfs_common::rpc::{Hello, PROTOCOL_VERSION, Service, Speaker};
    use raidfs_common::wire::Wire;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::Semaphore;

    fn config() -> Config {
        let at = |port| std::net::SocketAddr::from(([127, 0, 0, 1], port));
        Config {
            cluster: "home".into(),
            pairs: vec![[at(1), at(2)], [at(3), at(4)]],
            witness: at(5),
            durability: Durability::Relaxed,
            io_timeout: std::time::Duration::from_secs(1),
            scrub_every: None,
        }
    }

    #[test]
    fn each_first_frame_that_is_not_welcome_hears_why() {
        let config = config();
        let hello = |to: ServerId, speaker, service| Hello {
            version: PROTOCOL_VERSION,
            cluster: config.cluster_id(),
            cluster_name: "home".into(),
            speaker,
            to,
            service,
        };
        let said = |hello: &Hello, me| judge(hello, &config, me, ([10, 0, 0, 7], 4711).into());
        let (client, way, server) = (Speaker::Client, Speaker::ClientByWay, Speaker::Server(ServerId(2)));
        let (one, two, witness) = (ServerId(1), ServerId(2), ServerId::WITNESS);
        let (names, chunks, peer, admin) = (Service::Names, Service::Chunks, Service::Peer, Service::Admin);

        let older = Hello { version: PROTOCOL_VERSION - 1, ..hello(one, client, names) };
        let versions = format!(
            "10.0.0.7 speaks protocol {}, fsd1 speaks {PROTOCOL_VERSION}; run one version everywhere",
            PROTOCOL_VERSION - 1
        );
        assert_eq!(said(&older, one), Err(versions));
        // The version first: what follows may have meant something else in another.
        let neither = Hello { cluster: ClusterId(9), to: two, ..older };
        assert!(said(&neither, one).unwrap_err().contains("speaks protocol"));

        let foreign = Hello { cluster: ClusterId(9), cluster_name: "work".into(), ..hello(one, client, names) };
        let clusters =
            "10.0.0.7 is of the cluster \"work\", fsd1 is of \"home\"; one of them has the wrong configuration";
        assert_eq!(said(&foreign, one), Err(clusters.to_owned()));

        let wrong = "10.0.0.7 means to reach fsd2, this is fsd1; compare the addresses in the configurations";
        let not_here = "the witness serves neither names nor chunks";
        let servers_only = "agreement is among servers only";
        let table = [
            (one, one, client, names, None),
            (one, one, client, chunks, None),
            (one, one, client, admin, None),
            (one, one, client, peer, Some(servers_only)),
            (one, one, way, peer, Some(servers_only)),
            (one, one, server, peer, None),
            (one, one, server, chunks, None),
            (one, two, client, names, Some(wrong)),
            (one, two, server, peer, Some(wrong)),
            (one, two, way, names, None),
            (one, witness, way, names, Some(not_here)),
            (witness, witness, client, names, Some(not_here)),
            (witness, witness, server, chunks, Some(not_here)),
            (witness, witness, client, admin, None),
            (witness, witness, server, peer, None),
        ];
        for (me, to, speaker, service, why) in table {
            let judged = said(&hello(to, speaker, service), me);
            assert_eq!(judged.err().as_deref(), why, "{speaker:?} for {service:?} of {to} at {me}");
        }
    }

    #[tarpc::service]
    trait Patient {
        async fn wait();
    }

    #[derive(Clone)]
    struct Server {
        here: Arc<AtomicUsize>,
        most: Arc<AtomicUsize>,
        gate: Arc<Semaphore>,
    }

    impl Patient for Server {
        async fn wait(self, _: tarpc::context::Context) {
            self.most.fetch_max(self.here.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            let _open = self.gate.acquire().await;
            self.here.fetch_sub(1, Ordering::SeqCst);
        }
    }

    #[tokio::test]
    async fn the_end_of_a_connection_is_noticed_while_its_requests_are_served() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let server = Server { here: Arc::default(), most: Arc::default(), gate: Arc::new(Semaphore::new(0)) };
        let (service, (ended, end)) = (server.clone(), tokio::sync::oneshot::channel());
        tokio::spawn(async move { serve_guest!(accepted, service.serve(), async move { ended.send(()).unwrap() }) });
        let driven = PatientClient::new(tarpc::client::Config::default(), Wire::new(stream));
        let client = driven.client;
        let connection = tokio::spawn(driven.dispatch);
        tokio::spawn(async move { client.wait(tarpc::context::current()).await });
        while server.here.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        connection.abort();
        tokio::time::timeout(std::time::Duration::from_secs(5), end).await.expect("it is noticed").unwrap();
        assert_eq!(server.here.load(Ordering::SeqCst), 1, "the request is still served");
    }

    #[tokio::test]
    async fn the_requests_of_a_connection_that_are_served_at_once_are_bounded() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let server = Server { here: Arc::default(), most: Arc::default(), gate: Arc::new(Semaphore::new(0)) };
        let service = server.clone();
        let served = tokio::spawn(async move { serve_guest!(accepted, service.serve()) });
        let mut config = tarpc::client::Config::default();
        (config.max_in_flight_requests, config.pending_request_buffer) = (4096, 4096);
        let client = PatientClient::new(config, Wire::new(stream)).spawn();
        let all = REQUESTS_PER_CONNECTION_MAX * 3;
        let calls: Vec<_> = (0..all)
            .map(|_| {
                let client = client.clone();
                tokio::spawn(async move { client.wait(tarpc::context::current()).await })
            })
            .collect();
        while server.here.load(Ordering::SeqCst) < REQUESTS_PER_CONNECTION_MAX {
            tokio::task::yield_now().await;
        }
        // Whatever else has arrived has had its turn many times over.
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        server.gate.add_permits(all);
        for call in calls {
            call.await.unwrap().expect("each is answered");
        }
        assert_eq!(server.most.load(Ordering::SeqCst), REQUESTS_PER_CONNECTION_MAX);
        drop(client);
        served.await.unwrap();
    }
}
