//! Clients that want more of a server than it has, until they are told to end. It must go on serving others, and keep its bounds.

use super::garbage::welcome;
use super::{Found, tried};
use crate::told::{listen, told_to_end};
use raidfs_common::codec::encode_frame;
use raidfs_common::config::Config;
use raidfs_common::id::{Ino, LogIndex, ServerId};
use raidfs_common::limits::CONNECTIONS_MAX;
use raidfs_common::namespace::Query;
use raidfs_common::rpc::Service;
use raidfs_common::rpc::names::NamesServiceRequest;
use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// Connections that ask and do not listen.
const ASKERS: usize = 8;
/// Connections that say one byte at a time.
const DRIPS: usize = 32;
/// A pause between two of those.
const DRIP_EVERY: Duration = Duration::from_millis(100);

/// Questions, in the frames of a client, that are right.
fn questions() -> Vec<u8> {
    let mut all = Vec::new();
    for id in 0..64 {
        let query = Query::ReadDir { ino: Ino::ROOT, after: 0, limit: 2048, attrs: true };
        let message = NamesServiceRequest::Query { at_least: LogIndex(0), query };
        let message = tarpc::Request { context: tarpc::context::current(), id, message };
        let mut header = Vec::new();
        let payload = encode_frame(&tarpc::ClientMessage::Request(message), &mut header);
        assert!(payload.is_empty(), "a question carries no bytes of files");
        all.extend_from_slice(&(header.len() as u32).to_le_bytes());
        all.extend_from_slice(&0u32.to_le_bytes());
        all.extend_from_slice(&header);
    }
    all
}

fn connect(address: &str, first: &[u8]) -> Result<TcpStream, std::io::Error> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(first)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// Takes every connection that a server gives, and asks on some of them, without ever reading an answer, for as long as the
/// server takes questions; on others it says one byte at a time. Prints how many connections and bytes it got rid of.
pub fn run(config: &str, server: usize) -> Found {
    listen();
    let config = tried("the configuration", Config::load(Path::new(config)))?;
    let to = ServerId(server as u16);
    let address = config.address(to).ok_or("there is no such server")?.to_string();
    let hello = welcome(&config, to, Service::Names);
    let questions = questions();
    let mut askers = Vec::new();
    for _ in 0..ASKERS {
        askers.push((tried("connect", connect(&address, &hello))?, 0));
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
    println!("connections={}", ASKERS + DRIPS + idle.len());
    let (mut sent, mut dripped) = (0, Instant::now());
    while !told_to_end() {
        let before = sent;
        for (stream, at) in &mut askers {
            // Where a write ended in the middle of the questions, the next one goes on.
            match stream.write(&questions[*at..]) {
                Ok(n) => (*at, sent) = ((*at + n) % questions.len(), sent + n),
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(e) => return Err(format!("a question was not taken: {e}")),
            }
        }
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
