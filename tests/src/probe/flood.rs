//! Clients that want more of a server than it has, until they are told to end. It must go on serving others, and keep its bounds.

use super::garbage::{hello, welcome};
use super::{Found, tried};
use crate::told::{listen, told_to_end};
use raidfs_common::codec::encode_frame;
use raidfs_common::config::Config;
use raidfs_common::id::{ChunkId, Epoch, Ino, LogIndex, ServerId};
use raidfs_common::limits::{CHUNK_BYTES, CONNECTIONS_MAX};
use raidfs_common::namespace::{Answer, Query};
use raidfs_common::rpc::Service;
use raidfs_common::rpc::chunks::{ChunkServiceRequest, View};
use raidfs_common::rpc::names::{NamesServiceClient, NamesServiceRequest};
use raidfs_common::wire;
use serde::Serialize;
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// Connections that ask and do not listen.
const ASKERS: usize = 8;
/// Connections that ask for whole chunks, and do not listen.
const READERS: usize = 8;
/// Connections that send all but the end of a large frame.
const HALVES: usize = 64;
const HALF_FRAME_BYTES: usize = 11 << 20;
/// Connections that say one byte at a time.
const DRIPS: usize = 32;
/// A pause between two of those.
const DRIP_EVERY: Duration = Duration::from_millis(100);

/// Requests, in the frames of a client, that are right.
fn frames<T: Serialize>(request: impl Fn() -> T) -> Vec<u8> {
    let mut all = Vec::new();
    for id in 0..64 {
        let message = tarpc::Request { context: tarpc::context::current(), id, message: request() };
        let mut header = Vec::new();
        let payload = encode_frame(&tarpc::ClientMessage::Request(message), &mut header);
        assert!(payload.is_empty(), "a question carries no bytes of files");
        all.extend_from_slice(&(header.len() as u32).to_le_bytes());
        all.extend_from_slice(&0u32.to_le_bytes());
        all.extend_from_slice(&header);
    }
    all
}

fn questions() -> Vec<u8> {
    let query = Query::ReadDir { ino: Ino::ROOT, after: 0, limit: 2048, attrs: true };
    frames(|| NamesServiceRequest::Query { at_least: LogIndex(0), query: query.clone() })
}

/// Reads of all of a file's first chunk.
fn reads(config: &Config, to: ServerId, file: &str) -> Result<Vec<u8>, String> {
    let pair = config.pair_of(to).ok_or("it is no server with chunks")?;
    let ino = Ino(tried("look at the file", std::fs::metadata(file))?.ino());
    let epoch = epoch_of(config, to, usize::from(pair.0))?;
    let view = View { pair, epoch, at_least: LogIndex(0), turn: 0 };
    let (chunk, length) = (ChunkId { ino, index: 0 }, CHUNK_BYTES as u32);
    Ok(frames(|| ChunkServiceRequest::Read { view, chunk, offset: 0, length }))
}

/// Under which epoch a pair serves.
fn epoch_of(config: &Config, server: ServerId, pair: usize) -> Result<Epoch, String> {
    let address = config.address(server).ok_or("there is no such server")?;
    let hello = hello(config, server, Service::Names);
    let runtime = tried("a runtime", tokio::runtime::Builder::new_current_thread().enable_all().build())?;
    runtime.block_on(async {
        let wire = tried("connect", wire::connect(address, &hello, Duration::from_secs(2)).await)?;
        let client = NamesServiceClient::new(tarpc::client::Config::default(), wire).spawn();
        let asked = client.query(tarpc::context::current(), LogIndex(0), Query::Pairs).await;
        match asked {
            Ok(Ok((_, Ok(Answer::Pairs(pairs))))) => pairs.get(pair).map(|p| p.epoch).ok_or("no such pair".to_owned()),
            other => Err(format!("no answer about pairs: {other:?}")),
        }
    })
}

/// All but the end of the largest frames, and what comes after that is not sent.
fn half_frame() -> Vec<u8> {
    let mut half = vec![3; HALF_FRAME_BYTES];
    half[..4].copy_from_slice(&(4u32 << 20).to_le_bytes());
    half[4..8].copy_from_slice(&(8u32 << 20).to_le_bytes());
    half
}

fn connect(address: &str, first: &[u8]) -> Result<TcpStream, std::io::Error> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(first)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// Says the same again and again, or once, and never reads. Hung up on, it comes again.
struct Sender<'a> {
    stream: Option<TcpStream>,
    first: &'a [u8],
    says: &'a [u8],
    again: bool,
    at: usize,
}

impl Sender<'_> {
    /// Bytes that were taken.
    fn step(&mut self, address: &str) -> usize {
        let Some(stream) = &mut self.stream else {
            (self.stream, self.at) = (connect(address, self.first).ok(), 0);
            return 0;
        };
        if self.at == self.says.len() && self.again {
            self.at = 0;
        }
        // Where a write ended in the middle, the next one goes on.
        match stream.write(&self.says[self.at..]) {
            Ok(n) => {
                self.at += n;
                n
            }
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => 0,
            Err(_) => {
                self.stream = None;
                0
            }
        }
    }
}

/// Takes every connection that a server gives, and asks on some of them, for names and for whole chunks, without ever reading an
/// answer, for as long as the server takes questions; on some it sends frames that never end, on others it says one byte at a time.
/// `file`: of at least a chunk, on the server's pair. Prints how many connections and bytes it got rid of.
pub fn run(config: &str, server: usize, file: &str) -> Found {
    listen();
    let config = tried("the configuration", Config::load(Path::new(config)))?;
    let to = ServerId(server as u16);
    let address = config.address(to).ok_or("there is no such server")?.to_string();
    let [hello, bulk] = [Service::Names, Service::Chunks].map(|service| welcome(&config, to, service));
    let (questions, reads, half) = (questions(), reads(&config, to, file)?, half_frame());
    let kinds = [(ASKERS, &hello, &questions, true), (READERS, &bulk, &reads, true), (HALVES, &bulk, &half, false)];
    let mut senders = Vec::new();
    for (count, first, says, again) in kinds {
        for _ in 0..count {
            let stream = Some(tried("connect", connect(&address, first))?);
            senders.push(Sender { stream, first, says, again, at: 0 });
        }
    }
    let mut drips = Vec::new();
    for _ in 0..DRIPS {
        drips.push((tried("connect", connect(&address, &[]))?, 0));
    }
    let mut idle = Vec::new();
    // More than it gives: those beyond are refused, or hung up on. Half of them are welcomed, and ask nothing.
    for n in 0..CONNECTIONS_MAX * 2 + 100 {
        idle.extend(connect(&address, if n % 2 == 0 { &hello } else { &[] }));
    }
    println!("connections={}", senders.len() + DRIPS + idle.len());
    let (mut sent, mut dripped) = (0, Instant::now());
    while !told_to_end() {
        let before = sent;
        sent += senders.iter_mut().map(|sender| sender.step(&address)).sum::<usize>();
        if dripped.elapsed() >= DRIP_EVERY {
            dripped = Instant::now();
            for (stream, at) in &mut drips {
                let byte = hello.get(*at).or_else(|| questions.get(*at - hello.len())).copied().unwrap_or(0);
                // Who speaks so slowly may be hung up on.
                let _ = stream.write(&[byte]);
                *at += 1;
            }
        }
        if sent == before {
            std::thread::yield_now();
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }
    println!("sent={sent}");
    Ok(())
}
