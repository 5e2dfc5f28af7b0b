//! The one port of a server: the first frame says which service a connection is for. Everything that a stranger can send
//! is bounded here: how many connections, how long until the first frame, how much is in flight (`bounds`).

use super::bounds::Bounds;
use super::places::{Place, Places};
use super::relay;
use crate::lifeline;
use raidfs_common::complaints::{Complaints, Outage};
use raidfs_common::config::Config;
use raidfs_common::id::ServerId;
use raidfs_common::limits::CONNECTIONS_MAX;
use raidfs_common::room::Account;
use raidfs_common::rpc::{Hello, PROTOCOL_VERSION, Service, Speaker, Welcome};
use raidfs_common::stream::{Listener, Stream};
use raidfs_common::wire::{self, HelloError};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A connection that was welcomed.
#[derive(Debug)]
pub struct Guest {
    /// The connection.
    pub stream: Stream,
    /// Who.
    pub speaker: Speaker,
    /// For what.
    pub service: Service,
    /// Its place among the connections.
    pub place: Place,
    /// Room for what it asks.
    pub room: Arc<Account>,
}

/// Whether a first frame is welcome; else why not. `place`: where it comes from.
pub fn judge(hello: &Hello, config: &Config, me: ServerId, place: &str) -> Result<(), String> {
    let who = match hello.speaker {
        Speaker::Server(server) => server.to_string(),
        Speaker::Client | Speaker::ClientByWay => place.to_owned(),
    };
    if hello.cluster != config.cluster_id() {
        let (theirs, ours) = (&hello.cluster_name, &config.cluster);
        return Err(format!(
            "{who} is of the cluster {theirs:?}, {me} is of {ours:?}; one of them has the wrong configuration"
        ));
    }
    if hello.to != me && hello.speaker != Speaker::ClientByWay {
        return Err(format!(
            "{who} means to reach {}, this is {me}; compare the addresses in the configurations",
            hello.to
        ));
    }
    match (hello.to.is_witness(), hello.service, hello.speaker) {
        (true, Service::Names | Service::Chunks | Service::Direct, _) => {
            Err("the witness serves neither names nor chunks".into())
        }
        (_, Service::Peer, Speaker::Client | Speaker::ClientByWay) => Err("agreement is among servers only".into()),
        (_, Service::Life, Speaker::Client | Speaker::ClientByWay) => Err("lifelines are among servers only".into()),
        (_, Service::Direct, Speaker::Client | Speaker::ClientByWay) => {
            Err("direct connections are for the servers of a pair".into())
        }
        _ => Ok(()),
    }
}

/// An address, and which of the cluster's servers calls from there, as it says.
type Caller = (IpAddr, Option<ServerId>);

/// Accepts connections for ever, and hands over those that are welcome.
pub async fn run(
    listener: Listener,
    config: Config,
    me: ServerId,
    hand_over: impl Fn(Guest) + Clone + Send + Sync + 'static,
) {
    let (places, bounds) = (Places::new(CONNECTIONS_MAX), Bounds::default());
    let mut watch = tokio::task::JoinSet::new();
    watch.spawn(bounds.clone().watch());
    // Strangers are complained about once a minute and address, and server that they say they are, not once a try.
    let complaints: Arc<parking_lot::Mutex<Complaints<Caller>>> = Arc::default();
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
        let Some(place) = places.take(peer.ip()) else {
            if complaints.lock().due((peer.ip(), None), Instant::now()) {
                tracing::warn!("{CONNECTIONS_MAX} connections are open and in use: that from {peer} is refused");
            }
            continue;
        };
        let (config, complaints, hand_over) = (config.clone(), complaints.clone(), hand_over.clone());
        let bounds = bounds.clone();
        tokio::spawn(async move {
            let from = stream.peer();
            match admit(&mut stream, &config, me).await {
                Ok((Hello { service: Service::Life, .. }, None)) => lifeline::hold(stream, place).await,
                Ok((Hello { speaker, service, .. }, None)) => {
                    let room = bounds.account(speaker, service, &place);
                    hand_over(Guest { stream, speaker, service, place, room });
                }
                Ok((_, Some(way))) => {
                    // Whether what it carries asks anything is not looked at: it counts as being served.
                    let _serving = place.serves();
                    tokio::select! {
                        () = relay::carry(stream, way) => {}
                        () = place.wanted() => {}
                    }
                }
                Err((Refused::NoNews, why)) => tracing::debug!("connection from {from} refused: {why}"),
                Err((Refused::Unwelcome(who), why)) => {
                    if complaints.lock().due((peer.ip(), who), Instant::now()) {
                        tracing::warn!("connection from {from} refused: {why}");
                    }
                }
            }
        });
    }
}

/// Why a connection is not served.
#[derive(Debug)]
pub enum Refused {
    /// It is not welcome; which of the cluster's servers it says that it is.
    Unwelcome(Option<ServerId>),
    /// It is for another server, which is not reached from here; the client asks others at the same time, too. Or it has gone.
    NoNews,
}

/// Reads a caller's first frame. One of another version of the protocol is told so here, as nothing else is known of it.
pub async fn hello(stream: &mut Stream, me: ServerId) -> Result<Hello, (Refused, String)> {
    let place = stream.peer();
    match wire::read_hello(stream).await {
        Ok(hello) => Ok(hello),
        // Programs that look whether anybody is here do so, and those that end while they connect.
        Err(HelloError::Gone) => Err((Refused::NoNews, HelloError::Gone.to_string())),
        Err(HelloError::Version(theirs)) => {
            let why =
                format!("{place} speaks protocol {theirs}, {me} speaks {PROTOCOL_VERSION}; run one version everywhere");
            let _ = wire::welcome(stream, &Welcome::No(why.clone())).await;
            Err((Refused::Unwelcome(None), why))
        }
        Err(HelloError::Broken(error)) => Err((Refused::Unwelcome(None), format!("no proper first frame: {error}"))),
    }
}

/// Whether a connection is welcome: then also the one to the server that it is passed on to, if that is another.
async fn admit(
    stream: &mut Stream,
    config: &Config,
    me: ServerId,
) -> Result<(Hello, Option<Stream>), (Refused, String)> {
    let hello = hello(stream, me).await?;
    let who = match hello.speaker {
        Speaker::Server(server) => config.address(server).map(|_| server),
        Speaker::Client | Speaker::ClientByWay => None,
    };
    let found = match judge(&hello, config, me, &stream.peer()) {
        Ok(()) if hello.to != me => {
            relay::find(config, me, &hello).await.map(Some).map_err(|why| (Refused::NoNews, why))
        }
        judged => judged.map(|()| None).map_err(|why| (Refused::Unwelcome(who), why)),
    };
    let answer = found.as_ref().map_or_else(|(_, why)| Welcome::No(why.clone()), |_| Welcome::Yes);
    wire::welcome(stream, &answer).await.map_err(|e| (Refused::NoNews, e.to_string()))?;
    found.map(|way| (hello, way))
}

/// Serves one connection with a tarpc service, until it ends, its place is wanted for another, or its other end does not go on
/// with what it began. While as many of its requests are served as may be, or there is no room for another, none is read: the
/// sender feels it. Each of them ends, at its deadline at the latest, and has room for its answer.
/// The future that may follow runs as soon as the other end has gone, whatever is still being served.
#[macro_export]
macro_rules! serve_guest {
    ($stream:expr, $place:expr, $room:expr, $service:expr) => {
        $crate::serve_guest!($stream, $place, $room, $service, std::future::ready(()))
    };
    ($stream:expr, $place:expr, $room:expr, $service:expr, $once_closed:expr) => {{
        use futures::Stream as _;
        use tarpc::server::Channel as _;
        let place: $crate::serve::places::Place = $place;
        let room: std::sync::Arc<raidfs_common::room::Account> = $room;
        let mut wire = raidfs_common::wire::Wire::bounded($stream, room);
        let (closed, once_closed) = (wire.closed(), $once_closed);
        tokio::spawn(async move {
            closed.await;
            once_closed.await;
        });
        let most = raidfs_common::limits::REQUESTS_PER_CONNECTION_MAX;
        let config = tarpc::server::Config { pending_response_buffer: most };
        let service = $crate::serve::bounds::Holding($service);
        let requests = tarpc::server::BaseChannel::new(config, wire).execute(service);
        futures::pin_mut!(requests);
        loop {
            // tarpc panics at a deadline that is years off, which is decoded well: it ends that connection, and nothing else.
            let polled = std::future::poll_fn(|cx| {
                let polled = raidfs_common::panics::caught(|| requests.as_mut().poll_next(cx));
                polled.unwrap_or(std::task::Poll::Ready(None))
            });
            // It is waited for nothing else: who is served gives back room and turns by what is written meanwhile.
            let next = tokio::select! {
                next = polled => next,
                () = place.wanted() => None,
            };
            let Some(request) = next else { break };
            let serving = place.serves();
            tokio::spawn(async move {
                request.await;
                drop(serving);
            });
        }
    }};
}

#[cfg(test)]
mod tests {
    use super::{Account, Bounds, Place, Places, Refused, admit, judge};
    use raidfs_common::config::{Config, Durability};
    use raidfs_common::id::{ClusterId, ServerId};
    use raidfs_common::limits::REQUESTS_PER_CONNECTION_MAX;
    use raidfs_common::rpc::{Asks, Hello, MAGIC, PROTOCOL_VERSION, Service, Speaker, Welcome};
    use raidfs_common::wire::Wire;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
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
        let said = |hello: &Hello, me| judge(hello, &config, me, "10.0.0.7");
        let (client, way, server) = (Speaker::Client, Speaker::ClientByWay, Speaker::Server(ServerId(2)));
        let (one, two, witness) = (ServerId(1), ServerId(2), ServerId::WITNESS);
        let (names, chunks, peer, admin) = (Service::Names, Service::Chunks, Service::Peer, Service::Admin);

        for (speaker, who) in [(client, "10.0.0.7"), (server, "fsd2")] {
            let foreign = Hello { cluster: ClusterId(9), cluster_name: "work".into(), ..hello(one, speaker, names) };
            let clusters = format!(
                "{who} is of the cluster \"work\", fsd1 is of \"home\"; one of them has the wrong configuration"
            );
            assert_eq!(said(&foreign, one), Err(clusters));
        }

        let wrong = "10.0.0.7 means to reach fsd2, this is fsd1; compare the addresses in the configurations";
        let wrong_server = "fsd2 means to reach fsd2, this is fsd1; compare the addresses in the configurations";
        let not_here = "the witness serves neither names nor chunks";
        let servers_only = "agreement is among servers only";
        let table = [
            (one, one, client, names, None),
            (one, one, client, chunks, None),
            (one, one, client, admin, None),
            (one, one, client, peer, Some(servers_only)),
            (one, one, way, peer, Some(servers_only)),
            (one, one, client, Service::Life, Some("lifelines are among servers only")),
            (witness, witness, server, Service::Life, None),
            (one, one, server, peer, None),
            (one, one, server, chunks, None),
            (one, two, client, names, Some(wrong)),
            (one, two, server, peer, Some(wrong_server)),
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

    /// What comes of a connection on which a caller says so much, and what the caller reads.
    async fn admitted(bytes: &[u8]) -> (Refused, String, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        client.write_all(bytes).await.unwrap();
        client.shutdown().await.unwrap();
        let mut stream = listener.accept().await.unwrap().0.into();
        let (refused, why) = admit(&mut stream, &config(), ServerId(1)).await.unwrap_err();
        drop(stream);
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        (refused, why, answer)
    }

    #[tokio::test]
    async fn a_caller_of_another_version_hears_both_versions_and_one_that_says_nothing_is_no_news() {
        let wanted =
            format!("127.0.0.1 speaks protocol 99, fsd1 speaks {PROTOCOL_VERSION}; run one version everywhere");
        for length in [0u16, 3, 3000] {
            let body = vec![0xff; usize::from(length)];
            let frame = [&MAGIC[..], &99u16.to_le_bytes(), &length.to_le_bytes(), &body].concat();
            let (refused, why, answer) = admitted(&frame).await;
            assert!(matches!(refused, Refused::Unwelcome(None)), "{refused:?}");
            assert_eq!(why, wanted);
            let body: Welcome = raidfs_common::codec::decode(&answer[8..]).unwrap();
            assert_eq!(body, Welcome::No(wanted.clone()));
        }
        let (refused, _, _) = admitted(b"").await;
        assert!(matches!(refused, Refused::NoNews), "{refused:?}");
        let (refused, why, _) = admitted(b"GET /").await;
        assert!(matches!(refused, Refused::Unwelcome(None)) && why.starts_with("no proper first frame"), "{why}");
    }

    #[tokio::test]
    async fn a_server_of_another_cluster_is_named_as_what_it_says_it_is() {
        for (speaker, named) in [(ServerId(2), Some(ServerId(2))), (ServerId(77), None)] {
            let hello = Hello {
                version: PROTOCOL_VERSION,
                cluster: ClusterId(9),
                cluster_name: "work".into(),
                speaker: Speaker::Server(speaker),
                to: ServerId(1),
                service: Service::Peer,
            };
            let body = raidfs_common::codec::encode(&hello);
            let (version, length) = (PROTOCOL_VERSION.to_le_bytes(), (body.len() as u16).to_le_bytes());
            let (refused, why, _) = admitted(&[&MAGIC[..], &version, &length, &body].concat()).await;
            assert!(matches!(refused, Refused::Unwelcome(who) if who == named), "{refused:?}");
            assert!(why.starts_with(&format!("{speaker} is of the cluster")), "{why}");
        }
    }

    fn place() -> Place {
        Places::new(1).take([127, 0, 0, 1].into()).unwrap()
    }

    fn room() -> Arc<Account> {
        Bounds::default().account(Speaker::Client, Service::Chunks, &place())
    }

    impl Asks for PatientRequest {
        fn answer_bytes(&self) -> usize {
            0
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
        tokio::spawn(async move {
            serve_guest!(accepted, place(), room(), service.serve(), async move { ended.send(()).unwrap() })
        });
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
    async fn a_deadline_that_is_years_off_ends_its_connection_and_is_no_panic_of_the_server() {
        for years in [3, 1000] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut caller = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (accepted, _) = listener.accept().await.unwrap();
            let server = Server { here: Arc::default(), most: Arc::default(), gate: Arc::new(Semaphore::new(0)) };
            let served = tokio::spawn(async move { serve_guest!(accepted, place(), room(), server.serve()) });
            let mut context = tarpc::context::current();
            context.deadline = std::time::Instant::now() + std::time::Duration::from_secs(years * 365 * 86_400);
            let request = tarpc::Request { context, id: 1, message: PatientRequest::Wait {} };
            let mut header = Vec::new();
            let _ = raidfs_common::codec::encode_frame(&tarpc::ClientMessage::Request(request), &mut header);
            let head = [(header.len() as u32).to_le_bytes(), 0u32.to_le_bytes()].concat();
            caller.write_all(&[head, header].concat()).await.unwrap();
            served.await.expect("no panic");
            assert_eq!(caller.read(&mut [0]).await.unwrap_or(0), 0, "it is ended");
        }
    }

    #[tokio::test]
    async fn the_requests_of_a_connection_that_are_served_at_once_are_bounded() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let server = Server { here: Arc::default(), most: Arc::default(), gate: Arc::new(Semaphore::new(0)) };
        let service = server.clone();
        let served = tokio::spawn(async move { serve_guest!(accepted, place(), room(), service.serve()) });
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
