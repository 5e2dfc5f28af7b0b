//! The mount session: opened with a number drawn at random, kept alive on the leader, ended at close; and the inode
//! numbers granted to it, fetched before they run out.

use super::changes::Outbox;
use super::core::{Core, SessionState};
use super::errand::Failed;
use super::holder::Holder;
use super::router::Aim;
use super::survey;
use parking_lot::Mutex;
use raidfs_common::error::FsError;
use raidfs_common::id::{Ino, ServerId, SessionId};
use raidfs_common::limits::{INO_GRANT, SESSION_KEEP_ALIVE, SESSION_LEASE};
use raidfs_common::namespace::{Change, Done};
use raidfs_common::time::Time;
use std::future::Future;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::watch;

/// More numbers are asked for once fewer than this are left.
const INOS_LOW: u64 = INO_GRANT / 4;
/// An opening that takes longer is told of.
const SAY_AFTER: Duration = Duration::from_secs(2);
/// The end of a session is not waited for longer: it lapses by itself.
const END_PATIENCE: Duration = Duration::from_secs(5);
/// A session is asked for so often when the one before has just ended.
const TRIES_MAX: usize = 5;
/// Most that a grant says for it to be believed.
const INO_GRANT_MAX: u64 = INO_GRANT * 16;

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another mount has it.
    #[error(
        "mounted already by {}; `mountd --takeover --config FILE MOUNTPOINT` or `mount -o takeover` ends that mount",
        Holder::words_of(holder)
    )]
    Busy {
        /// Who, in its own words.
        holder: String,
    },
    /// Too few servers answer, in all or of one pair, or a new cluster has not begun.
    #[error(
        "no quorum of servers answers, or a new cluster's servers and witness have not all run yet, or none of a pair has said \
         how long the last mount's files are{}; `raidfs status` says what is missing",
        list(missing)
    )]
    NoQuorum {
        /// Who does not, and why.
        missing: Vec<(ServerId, String)>,
    },
    /// The namespace refused for another reason.
    #[error("the cluster refused to open a mount session")]
    Refused(#[source] FsError),
}

fn list(missing: &[(ServerId, String)]) -> String {
    let lines: Vec<String> = missing.iter().map(|(server, why)| format!("{server} ({why})")).collect();
    if lines.is_empty() { String::new() } else { format!("; cannot reach {}", lines.join(", ")) }
}

/// A random number that is not 0.
pub fn random() -> u64 {
    // The keys of the standard library's hasher come from the system's random numbers.
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u128(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos());
    hasher.write_u32(std::process::id());
    hasher.finish().max(1)
}

fn now() -> Time {
    SystemTime::now().into()
}

/// Opens the session of `core`.
pub async fn open(
    core: &Arc<Core>,
    outbox: &Arc<Outbox>,
    holder: String,
    takeover: bool,
) -> Result<InoRange, OpenError> {
    for _ in 0..TRIES_MAX {
        let change = Change::OpenSession { holder: holder.clone(), takeover };
        let outcomes = outbox.submit(vec![(now(), change)]);
        let outcome = saying_why_it_takes_long(core, outcomes).await.pop().unwrap_or(Err(FsError::Io));
        match outcome {
            Ok(Done::Session { from, to }) => {
                core.set_session(SessionState::Open);
                return Ok(InoRange::new(from, to));
            }
            Ok(_) => return Err(OpenError::Refused(FsError::Io)),
            Err(FsError::Busy) => match holder_of(core).await {
                Some(holder) => return Err(OpenError::Busy { holder }),
                // It has just ended.
                None => continue,
            },
            Err(FsError::Io) => return Err(OpenError::NoQuorum { missing: missing(core) }),
            Err(error) => return Err(OpenError::Refused(error)),
        }
    }
    Err(OpenError::Busy { holder: "mounts that come and go".to_owned() })
}

/// Logs once who is missing if the cluster does not answer soon.
async fn saying_why_it_takes_long<T>(core: &Core, opening: impl Future<Output = T>) -> T {
    let mut opening = pin!(opening);
    match tokio::time::timeout(SAY_AFTER, &mut opening).await {
        Ok(done) => done,
        Err(_) => {
            tracing::warn!(
                "waiting for a quorum of servers, and for one of each pair to say how long the last mount's files are{}",
                list(&missing(core))
            );
            opening.await
        }
    }
}

/// Who holds the session that is open, in its own words; None if nobody does by now, or nobody says.
pub async fn holder_of(core: &Core) -> Option<String> {
    let statuses = survey::survey(&core.config).await;
    // The witness keeps no namespace to tell of.
    let servers = statuses.into_iter().filter(|(server, _)| !server.is_witness());
    let newest = servers.filter_map(|(_, status)| status).max_by_key(|s| s.applied);
    newest.and_then(|status| status.session).map(|(_, holder)| holder)
}

/// The servers that are not reached, and why.
pub fn missing(core: &Core) -> Vec<(ServerId, String)> {
    let away = core.links.iter().filter(|(server, _)| !core.attendance.is_here(**server));
    away.map(|(server, link)| (*server, link.trouble().unwrap_or_else(|| "no answer yet".into()))).collect()
}

/// Says again and again that the session lives; ends with it.
pub async fn keep_alive(core: Arc<Core>) {
    loop {
        tokio::time::sleep(SESSION_KEEP_ALIVE).await;
        if core.is_over() {
            return;
        }
        let session = core.session;
        let deadline = Instant::now() + SESSION_LEASE;
        let send = move |client: raidfs_common::rpc::names::NamesServiceClient, context| async move {
            let answer = client.keep_alive(context, session).await?;
            Ok(answer.map(|seen| (seen, ())))
        };
        if let Err(Failed::Late) = core.obtain(Aim::Leader, deadline, send).await {
            tracing::warn!("no leader has answered for {} s; the mount session may lapse", SESSION_LEASE.as_secs());
        }
    }
}

/// Ends the session, so that the next mount need not wait for its lapse.
pub async fn end(core: &Core, outbox: &Arc<Outbox>) {
    if *core.session_state().borrow() != SessionState::Open {
        return;
    }
    let change = Change::EndSession { session: core.session };
    let ended = tokio::time::timeout(END_PATIENCE, outbox.submit(vec![(now(), change)])).await;
    if !matches!(ended.as_deref(), Ok([Ok(_)])) {
        tracing::warn!("could not end the mount session; it lapses in {} s", SESSION_LEASE.as_secs());
    }
    core.set_session(SessionState::Closed);
}

struct Range {
    next: u64,
    end: u64,
    /// Granted to follow when these have run out.
    spare: Option<(u64, u64)>,
    asking: bool,
}

/// Inode numbers granted and not used yet.
pub struct InoRange {
    range: Mutex<Range>,
    granted: watch::Sender<u64>,
}

impl InoRange {
    /// From the first number up to but not including the second.
    pub fn new(from: Ino, to: Ino) -> InoRange {
        InoRange {
            range: Mutex::new(Range { next: from.0, end: to.0, spare: None, asking: false }),
            granted: watch::Sender::new(0),
        }
    }

    /// The next number; asks for more in the background when few are left, and waits only when none is.
    pub async fn take(self: &Arc<Self>, outbox: &Arc<Outbox>, deadline: Instant) -> Result<Ino, FsError> {
        let mut granted = self.granted.subscribe();
        loop {
            let (ino, ask) = self.range.lock().take();
            if ask {
                tokio::spawn(Arc::clone(self).ask_for_more(Arc::clone(outbox)));
            }
            if let Some(ino) = ino {
                return Ok(ino);
            }
            // The asking ends in any case, and wakes us with or without a grant.
            let ended = tokio::time::timeout_at(deadline.into(), granted.changed()).await;
            if ended.is_err() || self.range.lock().is_empty() {
                return Err(FsError::Io);
            }
        }
    }

    async fn ask_for_more(self: Arc<Self>, outbox: Arc<Outbox>) {
        let outcome = outbox.submit(vec![(now(), Change::GrantInos)]).await.pop();
        {
            let mut range = self.range.lock();
            range.asking = false;
            if let Some(Ok(Done::Session { from, to })) = outcome
                && to.0.saturating_sub(from.0) <= INO_GRANT_MAX
            {
                range.spare = Some((from.0, to.0));
            }
        }
        self.granted.send_modify(|n| *n += 1);
    }
}

impl Range {
    fn take(&mut self) -> (Option<Ino>, bool) {
        if self.next >= self.end
            && let Some((from, to)) = self.spare.take()
        {
            (self.next, self.end) = (from, to);
        }
        let ino = (self.next < self.end).then_some(Ino(self.next));
        self.next += u64::from(ino.is_some());
        let ask = !self.asking && self.spare.is_none() && self.end - self.next < INOS_LOW;
        self.asking |= ask;
        (ino, ask)
    }

    fn is_empty(&self) -> bool {
        self.next >= self.end && self.spare.is_none()
    }
}

/// A session number for a new session.
pub fn new_session_id() -> SessionId {
    SessionId(random())
}
