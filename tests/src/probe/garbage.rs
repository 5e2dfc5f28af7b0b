//! What no honest client sends: every one of these connections must be dropped by the server within a bound.

use super::{Found, demand, tried};
use raidfs_common::attr::FileKind;
use raidfs_common::codec::{encode, encode_frame};
use raidfs_common::config::Config;
use raidfs_common::id::{ClusterId, Ino, ServerId, SessionId};
use raidfs_common::name::FileName;
use raidfs_common::namespace::{Change, Request};
use raidfs_common::rpc::names::NamesServiceRequest;
use raidfs_common::rpc::{Hello, MAGIC, PROTOCOL_VERSION, Service, Speaker};
use raidfs_common::time::Time;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

/// A server drops a silent connection after its patience with the first frame; this is longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A first frame.
fn first(version: u16, body: &[u8]) -> Vec<u8> {
    let mut frame = MAGIC.to_vec();
    frame.extend_from_slice(&version.to_le_bytes());
    frame.extend_from_slice(&(body.len() as u16).to_le_bytes());
    frame.extend_from_slice(body);
    frame
}

/// The first frame of somebody who belongs to the cluster.
pub(super) fn welcome(config: &Config, to: ServerId, service: Service) -> Vec<u8> {
    first(PROTOCOL_VERSION, &encode(&hello(config, to, service)))
}

/// What it says.
pub(super) fn hello(config: &Config, to: ServerId, service: Service) -> Hello {
    let speaker = match service {
        Service::Peer | Service::Direct | Service::Life => Speaker::Server(ServerId(1)),
        Service::Names | Service::Chunks | Service::Admin => Speaker::Client,
    };
    Hello {
        version: PROTOCOL_VERSION,
        cluster: config.cluster_id(),
        cluster_name: config.cluster.clone(),
        speaker,
        to,
        service,
    }
}

/// Throws each kind of garbage at a server, on a connection of its own.
pub fn throw(address: &str) -> Found {
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

/// Throws garbage at each service of a server behind a first frame that is right, also names that are none.
pub fn throw_behind_hello(config: &str, server: usize) -> Found {
    let config = tried("the configuration", Config::load(Path::new(config)))?;
    let to = ServerId(server as u16);
    let address = config.address(to).ok_or("there is no such server")?.to_string();
    let noise: Vec<u8> = (0..4096u32).flat_map(|n| (n.wrapping_mul(2_654_435_761) | 1).to_le_bytes()).collect();
    let mut nonsense = [64u32.to_le_bytes(), 0u32.to_le_bytes()].concat();
    nonsense.extend_from_slice(&[0xfb; 64]);
    let cut_short = [1000u32.to_le_bytes(), 0u32.to_le_bytes(), [7; 4]].concat();
    let kinds: [(&str, &[u8], bool); 5] = [
        ("noise", &noise, false),
        ("an oversized header", &[[0xff; 4], [0; 4]].concat(), false),
        ("an oversized payload", &[[1, 0, 0, 0], [0xff; 4]].concat(), false),
        ("a frame that is no message", &nonsense, false),
        ("a frame cut short", &cut_short, true),
    ];
    for service in [Service::Names, Service::Chunks, Service::Peer, Service::Admin, Service::Direct, Service::Life] {
        for (kind, bytes, end) in &kinds {
            let sent = [&welcome(&config, to, service), *bytes].concat();
            dropped(&address, &sent, *end).map_err(|e| format!("{kind} to {service:?}: {e}"))?;
        }
    }
    for (kind, bytes) in bad_names() {
        let sent = [welcome(&config, to, Service::Names), request_with(&bytes)].concat();
        dropped(&address, &sent, false).map_err(|e| format!("{kind}: {e}"))?;
    }
    Ok(())
}

fn bad_names() -> [(&'static str, Vec<u8>); 6] {
    [
        ("an empty name", Vec::new()),
        ("a name of 300 bytes", vec![b'x'; 300]),
        ("a name with /", b"a/b".to_vec()),
        ("a name with NUL", b"a\0b".to_vec()),
        ("a name that is .", b".".to_vec()),
        ("a name that is ..", b"..".to_vec()),
    ]
}

/// The frame of a request that makes a directory of this name, whatever it is.
fn request_with(name: &[u8]) -> Vec<u8> {
    const MARK: &[u8] = b"a name that is well-formed";
    let change = Change::Make {
        parent: Ino::ROOT,
        name: FileName::new(MARK).expect("it is well-formed"),
        ino: Ino(1 << 40),
        kind: FileKind::Dir,
        perm: 0o755,
        uid: 0,
        gid: 0,
        rdev: 0,
        target: Default::default(),
        xattrs: Vec::new(),
    };
    let request = Request { session: SessionId(1), seq: 1, done_below: 1, now: Time::default(), change };
    let message = NamesServiceRequest::Change { requests: vec![request] };
    let message = tarpc::Request { context: tarpc::context::current(), id: 1, message };
    let mut header = Vec::new();
    let payload = encode_frame(&tarpc::ClientMessage::Request(message), &mut header);
    // In its place, with its length before it, stands what no program of ours would send.
    let marked = encode(&bytes::Bytes::from_static(MARK));
    let at = header.windows(marked.len()).position(|w| w == marked).expect("the name is in the header");
    header.splice(at..at + marked.len(), encode(&bytes::Bytes::copy_from_slice(name)));
    let mut frame = (header.len() as u32).to_le_bytes().to_vec();
    frame.extend_from_slice(&(payload.iter().map(|p| p.len() as u32).sum::<u32>()).to_le_bytes());
    frame.extend_from_slice(&header);
    payload.iter().for_each(|p| frame.extend_from_slice(p));
    frame
}

/// Sends the bytes (and, with `end`, no more after them), and waits until the server hangs up.
fn dropped(address: &str, bytes: &[u8], end: bool) -> Found {
    let mut stream = tried("connect", TcpStream::connect(address))?;
    tried("set a timeout", stream.set_read_timeout(Some(PATIENCE)))?;
    // The server may hang up before all of it is sent.
    let _ = stream.write_all(bytes);
    if end {
        // Neither does it matter if it has.
        let _ = stream.shutdown(std::net::Shutdown::Write);
    }
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => demand(answer.len() < 4096, format!("it answered with {} bytes", answer.len())),
        Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => Ok(()),
        Err(e) => Err(format!("the connection was not dropped: {e}")),
    }
}
