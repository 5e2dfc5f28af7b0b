//! The memory of a server under callers that do not play fair, over real connections: it is measured, of the whole process,
//! so that these tests run one after the other.

use bytes::Bytes;
use raidfs_common::codec::{Blob, encode_frame};
use raidfs_common::limits::{CLIENTS_BYTES_MAX, REQUESTS_PER_CONNECTION_MAX};
use raidfs_common::rpc::{Asks, Service, Speaker};
use raidfs_common::wire::Wire;
use raidfs_fsd::serve::bounds::Bounds;
use raidfs_fsd::serve::places::Places;
use raidfs_fsd::serve_guest;
use std::net::SocketAddr;
use std::time::Duration;
use tarpc::context::Context;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

const ANSWER_BYTES: usize = 4 << 20;
const HALF_FRAME_BYTES: usize = 11 << 20;
const HALF_FRAMES: usize = 1000;
/// What is held at most, what each connection has to itself, and what the test itself needs.
const MEMORY_MAX: usize = CLIENTS_BYTES_MAX + (160 << 20);

#[tarpc::service]
trait Bulk {
    async fn read(length: usize) -> Blob;
    async fn write(data: Blob) -> usize;
}

impl Asks for BulkRequest {
    fn answer_bytes(&self) -> usize {
        match self {
            BulkRequest::Read { length } => *length,
            BulkRequest::Write { .. } => 0,
        }
    }
}

#[derive(Clone)]
struct Server;

impl Bulk for Server {
    async fn read(self, _: Context, length: usize) -> Blob {
        // Bytes that are not zero are really there.
        vec![1; length].into()
    }

    async fn write(self, _: Context, data: Blob) -> usize {
        data.0.len()
    }
}

/// Memory of this process that is really there.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}

async fn serve() -> (SocketAddr, Bounds) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let bounds = Bounds::default();
    let counted = bounds.clone();
    tokio::spawn(async move {
        let places = Places::new(2 * HALF_FRAMES);
        tokio::spawn(bounds.clone().watch());
        while let Ok((stream, peer)) = listener.accept().await {
            let place = places.take(peer.ip()).unwrap();
            let room = bounds.account(Speaker::Client, Service::Chunks, &place);
            tokio::spawn(async move { serve_guest!(stream, place, room, Server.serve()) });
        }
    });
    (address, counted)
}

/// Whoever held room has gone.
async fn all_is_given_back(bounds: &Bounds) {
    let given_back = async {
        while bounds.held() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let left = tokio::time::timeout(Duration::from_secs(20), given_back).await;
    assert!(left.is_ok(), "{} bytes are held though nobody is there", bounds.held());
}

async fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_send_buffer_size(64 << 10).unwrap();
    socket.set_recv_buffer_size(64 << 10).unwrap();
    socket.connect(address).await.unwrap()
}

fn frame(id: u64, message: BulkRequest) -> Vec<u8> {
    let mut context = tarpc::context::current();
    context.deadline = std::time::Instant::now() + Duration::from_secs(600);
    let message = tarpc::ClientMessage::Request(tarpc::Request { context, id, message });
    let mut header = Vec::new();
    let payload = encode_frame(&message, &mut header).concat();
    let lengths = [(header.len() as u32).to_le_bytes(), (payload.len() as u32).to_le_bytes()].concat();
    [lengths, header, payload].concat()
}

/// Writes as much as is taken.
fn push(stream: &TcpStream, bytes: &[u8], at: &mut usize) -> bool {
    match stream.try_write(&bytes[*at..]) {
        Ok(n) => *at += n,
        Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
        Err(_) => return false,
    }
    true
}

fn is_closed(stream: &TcpStream) -> bool {
    match stream.try_read(&mut [0]) {
        Ok(n) => n == 0,
        Err(e) => e.kind() != std::io::ErrorKind::WouldBlock,
    }
}

/// One that is honest reads and writes small and large, and is answered.
async fn is_served(address: SocketAddr) {
    let client = BulkClient::new(tarpc::client::Config::default(), Wire::new(connect(address).await)).spawn();
    for length in [1, 4096, 256 << 10] {
        let mut context = tarpc::context::current();
        context.deadline = std::time::Instant::now() + Duration::from_secs(20);
        assert_eq!(client.read(context, length).await.expect("it is answered").0.len(), length);
        let data = Blob(Bytes::from(vec![2; length]));
        assert_eq!(client.write(context, data).await.expect("it is answered"), length);
    }
}

/// The most that this process has while `step` is taken for so long; it serves others meanwhile.
async fn most_while(address: SocketAddr, seconds: u64, mut step: impl FnMut()) -> usize {
    let honest = tokio::spawn(is_served(address));
    let (until, mut most) = (std::time::Instant::now() + Duration::from_secs(seconds), 0);
    while std::time::Instant::now() < until || !honest.is_finished() {
        step();
        most = most.max(resident());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    honest.await.unwrap();
    most
}

async fn who_never_reads() {
    let (address, bounds) = serve().await;
    let reads: Vec<u8> = (0..REQUESTS_PER_CONNECTION_MAX as u64 * 4)
        .flat_map(|id| frame(id, BulkRequest::Read { length: ANSWER_BYTES }))
        .collect();
    let mut readers = Vec::new();
    for _ in 0..40 {
        readers.push((connect(address).await, 0));
    }
    let most = most_while(address, 3, || {
        for (stream, at) in &mut readers {
            push(stream, &reads, at);
        }
    })
    .await;
    assert!(most < MEMORY_MAX, "{} MiB for answers that nobody reads", most >> 20);
    // Who does read gets all of it: nothing waits for ever.
    let client = BulkClient::new(tarpc::client::Config::default(), Wire::new(connect(address).await)).spawn();
    let calls = (0..400).map(|_| {
        let client = client.clone();
        async move {
            let mut context = tarpc::context::current();
            context.deadline = std::time::Instant::now() + Duration::from_secs(60);
            client.read(context, ANSWER_BYTES).await.expect("it is answered").0.len()
        }
    });
    assert!(futures::future::join_all(calls).await.into_iter().all(|length| length == ANSWER_BYTES));
    drop((client, readers));
    all_is_given_back(&bounds).await;
}

async fn half_frames() {
    let (address, bounds) = serve().await;
    let mut half = frame(1, BulkRequest::Write { data: Blob(Bytes::from(vec![3; 7 << 20])) });
    // A header of the largest, too, none of which is ever whole.
    half[..4].copy_from_slice(&(4u32 << 20).to_le_bytes());
    half.resize(HALF_FRAME_BYTES, 3);
    let mut senders = Vec::new();
    for _ in 0..HALF_FRAMES {
        senders.push(Some((connect(address).await, 0)));
    }
    let most = most_while(address, 5, || {
        for sender in &mut senders {
            let goes_on = sender.as_mut().is_none_or(|(stream, at)| match *at == half.len() {
                true => !is_closed(stream),
                false => push(stream, &half, at),
            });
            if !goes_on {
                *sender = None;
            }
        }
    })
    .await;
    assert!(most < MEMORY_MAX, "{} MiB for frames that are not whole", most >> 20);
    let ended = senders.iter().filter(|sender| sender.is_none()).count();
    assert!(ended > 0, "they hold what others wait for, and do not go on");
    drop(senders);
    all_is_given_back(&bounds).await;
    eprintln!("{ended} of {HALF_FRAMES} were ended, {} MiB", most >> 20);
}

fn let_open_many() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls are given a limit that lives until they have returned.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit), 0);
        limit.rlim_cur = limit.rlim_max.min(8192);
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit), 0);
    }
    assert!(limit.rlim_cur >= 2 * HALF_FRAMES as u64 + 100, "this machine allows too few open files");
}

#[test]
fn memory_is_bounded_whatever_callers_do() {
    raidfs_common::wire::tune_allocator();
    let_open_many();
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime().block_on(who_never_reads());
    runtime().block_on(half_frames());
}
