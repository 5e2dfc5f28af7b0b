//! What no honest client sends: every one of these connections must be dropped by the server within a bound.

use super::{Found, demand, tried};
use raidfs_common::codec::encode;
use raidfs_common::id::{ClusterId, ServerId};
use raidfs_common::rpc::{Hello, MAGIC, PROTOCOL_VERSION, Service, Speaker};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A server drops a silent connection after its patience with the first frame; this is longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Throws each kind of garbage at a server, on a connection of its own.
pub fn throw(address: &str) -> Found {
    let first = |version: u16, body: &[u8]| {
        let mut frame = MAGIC.to_vec();
        frame.extend_from_slice(&version.to_le_bytes());
        frame.extend_from_slice(&(body.len() as u16).to_le_bytes());
        frame.extend_from_slice(body);
        frame
    };
    let hello = |cluster: u64| Hello {
        version: PROTOCOL_VERSION,
        cluster: ClusterId(cluster),
        cluster_name: "another".into(),
        speaker: Speaker::Client,
        to: ServerId(1),
        service: Service::Names,
    };
    let stranger = first(PROTOCOL_VERSION, &encode(&hello(1)));
    let newer = first(PROTOCOL_VERSION + 1, &encode(&hello(1)));
    let truncated = stranger[..stranger.len() - 3].to_vec();
    let long = first(PROTOCOL_VERSION, &[0xff; 60_000]);
    let mut noise = Vec::new();
    for n in 0..100_000u32 {
        noise.extend_from_slice(&n.wrapping_mul(2_654_435_761).to_le_bytes());
    }
    let kinds: [(&str, &[u8]); 7] = [
        ("another protocol", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
        ("noise", &noise),
        ("zeros", &[0; 4096]),
        ("an oversized first frame", &long),
        ("another cluster", &stranger),
        ("another version", &newer),
        ("a first frame cut short", &truncated),
    ];
    for (kind, bytes) in kinds {
        dropped(address, bytes, kind == "a first frame cut short").map_err(|e| format!("{kind}: {e}"))?;
    }
    Ok(())
}

/// Sends the bytes (and, with `end`, no more after them), and waits until the server hangs up.
fn dropped(address: &str, bytes: &[u8], end: bool) -> Found {
    let mut stream = tried("connect", TcpStream::connect(address))?;
    tried("set a timeout", stream.set_read_timeout(Some(PATIENCE)))?;
    // The server may hang up before all of it is sent.
    let _ = stream.write_all(bytes);
    if end {
        tried("shut down", stream.shutdown(std::net::Shutdown::Write))?;
    }
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => demand(answer.len() < 4096, format!("it answered with {} bytes", answer.len())),
        Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => Ok(()),
        Err(e) => Err(format!("the connection was not dropped: {e}")),
    }
}
