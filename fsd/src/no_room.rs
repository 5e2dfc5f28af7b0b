//! A disk that others have filled to the last byte: neither the log nor the names can be written, nor even that something
//! failed. The life ends (the mirror serves), and the process waits for room and begins another one then, by itself. Meanwhile
//! it answers `raidfs status`, so that this is said where an operator looks, and nobody else: to them it is gone.
//!
//! Files never come that far: they leave a reserve to the log (`chunk/disk/room.rs`).

pub use crate::chunk::io::{comes_from_a_full_disk, has_room_for_what_it_took};

use crate::chunk::io;
use crate::serve::bounds::Bounds;
use crate::serve::listen;
use crate::serve::places::Places;
use crate::serve_guest;
use crate::stop::Stop;
use raidfs_common::config::Config;
use raidfs_common::error::Rejection;
use raidfs_common::id::{ChunkId, Epoch, Incarnation, Ino, LogIndex, PairId, ServerId, Term};
use raidfs_common::limits::CONNECTIONS_MAX;
use raidfs_common::pair::Space;
use raidfs_common::rpc::admin::{
    Accepting, AdminService, Counters, LostFile, NotAccepted, NotReplaced, ScrubPass, ServerStatus,
};
use raidfs_common::rpc::chunks::ChunkSummary;
use raidfs_common::rpc::{Service, Speaker, Welcome};
use raidfs_common::stream::{Listener, Stream};
use raidfs_common::wire;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tarpc::context::Context;

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A life needs so much to begin with: the log grows by less until the names are flushed.
const NEEDED_MAX_BYTES: u64 = 16 << 20;
/// With less than this share of it a life that has failed was ended for it.
const LACKING_SHARE: u64 = 4;

/// How much is free, and how much is needed, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lack {
    free: u64,
    needed: u64,
    total: u64,
}

/// Of a disk of so many bytes: what a life needs to begin with, and with less than what one has ended for want of room. What
/// waits for room wants more than what has it, so that it does not end again at once.
fn needed(total: u64) -> (u64, u64) {
    let needed = (total / 50).min(NEEDED_MAX_BYTES);
    (needed, needed / LACKING_SHARE)
}

/// What the disk of a data directory lacks, of which something could not be written; None: there is room by now, or it cannot
/// be told.
pub fn lacking(dir: &Path) -> Option<Lack> {
    look(dir, false)
}

fn look(dir: &Path, waits: bool) -> Option<Lack> {
    let lack = measure(dir);
    let least = if waits { lack.needed } else { needed(lack.total).1 };
    let has_room = io::has_room(dir, least.max(1)).ok()?;
    (!has_room).then_some(lack)
}

/// What is free by what the file system says, whether that is enough or not.
fn measure(dir: &Path) -> Lack {
    let (total, free) = io::room_at(dir).unwrap_or_default();
    Lack { free, needed: needed(total).0, total }
}

/// Why a server has failed: whether for want of room. Nothing is asked of the disk before something was: with little room, or
/// none by what it says, a life may go on for long.
pub fn is_for_want_of_room(error: &(dyn std::error::Error + 'static), dir: &Path) -> bool {
    io::comes_from_a_full_disk(error) || lacking(dir).is_some()
}

/// Waits until there is room. False: it is told to stop before.
pub async fn wait(config: &Config, me: ServerId, dir: &Path, stop: &Stop) -> bool {
    // There may be room by now. Lives do not follow one another without a pause all the same: the last one had none.
    let mut lack = measure(dir);
    let text = move |lack: Lack| {
        let (free, needed) = (lack.free >> 10, lack.needed >> 10);
        format!("no room on the disk of {}: {free} KiB are free, {needed} KiB are needed", dir.display())
    };
    tracing::error!("{}; {me} goes on by itself once there are", text(lack));
    let said = Arc::new(parking_lot::Mutex::new((lack, text(lack))));
    let answers = answer(config, me, said.clone());
    let room = async {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            match look(dir, true) {
                Some(now) => lack = now,
                None => return,
            }
            *said.lock() = (lack, text(lack));
        }
    };
    tokio::select! {
        () = room => {
            tracing::info!("there is room on the disk again: {me} starts");
            true
        }
        () = stop.asked() => false,
        () = answers => false,
    }
}

type Said = Arc<parking_lot::Mutex<(Lack, String)>>;

/// Answers on the server's port, for ever; without it, if that is taken.
async fn answer(config: &Config, me: ServerId, said: Said) {
    let port = config.address(me).map(TcpListener::bind);
    let listener = match port.map(|bound| bound.and_then(|port| Listener::new(port.into()))) {
        Some(Ok(listener)) => listener,
        Some(Err(error)) => {
            tracing::warn!("cannot answer while waiting: {error}");
            return std::future::pending().await;
        }
        None => return std::future::pending().await,
    };
    let (places, bounds, started) = (Places::new(CONNECTIONS_MAX), Bounds::default(), Instant::now());
    let mut watch = tokio::task::JoinSet::new();
    watch.spawn(bounds.clone().watch());
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            tokio::time::sleep(LOOK_EVERY).await;
            continue;
        };
        let Some(place) = places.take(peer.ip()) else { continue };
        let room = bounds.account(Speaker::Client, Service::Admin, &place);
        let (config, waits) = (config.clone(), Waits { me, started, said: said.clone() });
        tokio::spawn(async move {
            if let Some(stream) = admit(stream, &config, &waits).await {
                serve_guest!(stream, place, room, waits.serve());
            }
        });
    }
}

/// Lets in who asks how it is.
async fn admit(mut stream: Stream, config: &Config, waits: &Waits) -> Option<Stream> {
    let hello = listen::hello(&mut stream, waits.me).await.ok()?;
    let judged = listen::judge(&hello, config, waits.me, &stream.peer());
    let wanted = match judged {
        Ok(()) if hello.to == waits.me && hello.service == Service::Admin => Welcome::Yes,
        Ok(()) => Welcome::No(format!("{} waits: {}", waits.me, waits.said.lock().1)),
        Err(why) => Welcome::No(why),
    };
    wire::welcome(&mut stream, &wanted).await.ok()?;
    (wanted == Welcome::Yes).then_some(stream)
}

/// The admin service of a server that waits: it says how it is, and can do nothing.
#[derive(Clone)]
struct Waits {
    me: ServerId,
    started: Instant,
    said: Said,
}

impl AdminService for Waits {
    async fn status(self, _: Context) -> ServerStatus {
        let (lack, text) = self.said.lock().clone();
        ServerStatus {
            server: self.me,
            incarnation: Incarnation(0),
            uptime_s: self.started.elapsed().as_secs(),
            term: Term(0),
            leader: None,
            quorum: false,
            last_index: LogIndex(0),
            applied: LogIndex(0),
            pairs: Vec::new(),
            session: None,
            space: Space { total: lack.total, free: 0 },
            inodes: (0, 0),
            held: (0, 0),
            counters: Counters::default(),
            resync: None,
            disk_error: Some(format!("{text}; it goes on by itself once there are")),
            heard_ms: Vec::new(),
            scrub: Default::default(),
            joined: false,
            replacing: Vec::new(),
        }
    }

    async fn check_namespace(self, _: Context, _: LogIndex) -> Result<(LogIndex, u64, Vec<String>), Rejection> {
        Err(Rejection::Away)
    }

    async fn inventory(
        self,
        _: Context,
        _: PairId,
        _: Option<ChunkId>,
        _: bool,
    ) -> Result<Vec<ChunkSummary>, Rejection> {
        Err(Rejection::Away)
    }

    async fn stop(self, _: Context) -> bool {
        false
    }

    async fn replace(self, _: Context, _: ServerId) -> Result<(), NotReplaced> {
        Err(NotReplaced::NotLeader(None))
    }

    async fn scrub(self, _: Context) -> Result<u64, Rejection> {
        Err(Rejection::Away)
    }

    async fn scrubbed(self, _: Context, _: u64) -> Result<(ScrubPass, Vec<ChunkId>), Rejection> {
        Err(Rejection::Away)
    }

    async fn accept_loss(self, _: Context, _: PairId, _: Epoch) -> Result<Accepting, NotAccepted> {
        Err(NotAccepted::NotLeader(None))
    }

    async fn marked_lost(self, _: Context, _: LogIndex, _: Option<Ino>) -> Result<Vec<LostFile>, Rejection> {
        Err(Rejection::Away)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::{Ended, cannot};

    #[test]
    fn who_waits_wants_more_than_who_has_room() {
        let mib = 1 << 20;
        assert_eq!(needed(100 << 30), (16 * mib, 4 * mib));
        assert_eq!(needed(50 * mib), (mib, mib / 4), "a tiny disk need not have more than a fiftieth free");
    }

    #[test]
    fn a_disk_with_room_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(look(&dir.path().join("not/made/yet"), false), None);
    }

    #[test]
    fn a_failure_for_want_of_room_is_told_from_others() {
        let full = || std::io::Error::from_raw_os_error(libc::ENOSPC);
        let dir = tempfile::tempdir().unwrap();
        let is_it = |error: Ended| is_for_want_of_room(&error, dir.path());
        assert!(is_it(cannot("open the names")(full())));
        assert!(is_it(Ended::Failed(format!("the log: {}", full()))));
        assert!(!is_it(cannot("open the names")(std::io::Error::from_raw_os_error(libc::EIO))));
        assert!(!is_it(Ended::Failed("names could not be written in time".into())));
    }
}
