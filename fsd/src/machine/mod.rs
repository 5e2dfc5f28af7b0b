//! What agreed entries are applied to on a server: the namespace, with the board that tells the chunk side about it,
//! and the flushing of its rows. (The witness applies to nothing: [`witness`].)

pub mod flush;
pub mod steps;
pub mod stores;
pub mod witness;

use crate::board::Board;
use crate::chunk::io::comes_from_a_full_disk;
use crate::consensus::node::{Machine, PieceStream, Status};
use crate::consensus::pieces::Pieces;
use crate::namespace::rows::LostRow;
use crate::namespace::snapshot;
use crate::namespace::store::{Reader, Store};
use crate::namespace::{Effect, Fault, FlushBatch, Namespace, Refused};
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use raidfs_common::config::Config;
use raidfs_common::error::Rejection;
use raidfs_common::id::{Incarnation, Ino, LogIndex, ServerId, SessionId, Term};
use raidfs_common::limits;
use raidfs_common::namespace::{Command, Outcome, Query, Reply};
use raidfs_common::pair::Pair;
use raidfs_common::rpc::names::Seen;
use raidfs_common::rpc::peer::{LogEntry, SnapshotPiece};
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use stores::Stores;
use tokio::sync::watch;

/// Has the log on this server's disk up to an entry; blocking.
pub type SyncLog = Box<dyn Fn(LogIndex) -> io::Result<()> + Send + Sync>;
/// See [`NamesMachine::new`].
pub type BeforeReplacing = Box<dyn Fn() -> io::Result<()> + Send + Sync>;

/// What a proposer of changes is told.
#[derive(Debug)]
pub struct Made {
    /// Up to where the log must be applied to see them.
    pub seen: Seen,
    /// One for each request.
    pub outcomes: Vec<Result<Outcome, Refused>>,
}

/// Why the names of this life are not to be relied on any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// What could not be done, and why.
    pub reason: String,
    /// Something was written that the disk may not keep.
    pub unkept: bool,
    /// It was for want of something else: nothing is known about the rows by it ([`Fault::says_nothing_about_rows`]).
    pub passing: bool,
}

/// The first reason counts; and whatever it was, that something was not kept.
fn give_up(fatal: &watch::Sender<Option<Broken>>, broken: Broken) {
    fatal.send_if_modified(|first| match first {
        Some(first) => broken.unkept && !std::mem::replace(&mut first.unkept, true),
        None => first.replace(broken).is_none(),
    });
}

fn unreadable(fault: &Fault) -> Broken {
    let reason = format!("cannot read names: {}", raidfs_common::log::chain(fault));
    Broken { reason, unkept: false, passing: fault.says_nothing_about_rows() }
}

/// The namespace of this server, where everyone can ask it.
pub struct NamesMachine {
    names: RwLock<Namespace>,
    board: Arc<Board>,
    applied: watch::Sender<Seen>,
    fatal: watch::Sender<Option<Broken>>,
    /// Where the store is, and where another's rows are gathered before they replace it.
    stores: Mutex<Stores>,
    installing: Mutex<(Pieces, Option<Installing>)>,
    /// One flush at a time.
    flushing: tokio::sync::Mutex<()>,
    /// Counts the states taken from others: chunks of files that ended meanwhile must be looked for.
    replaced: watch::Sender<u64>,
    /// The store holds the state after this entry, at least.
    flushed: AtomicU64,
    before_replacing: BeforeReplacing,
    sync_log: OnceLock<SyncLog>,
    cache_bytes: usize,
}

/// Another server's state on its way here.
struct Installing {
    installer: snapshot::Installer,
    store: Arc<dyn Store>,
    number: u64,
}

impl std::fmt::Debug for NamesMachine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NamesMachine").field("stores", &self.stores).finish_non_exhaustive()
    }
}

impl NamesMachine {
    /// Puts an open namespace to work; `stores` is where its store lies. `before_replacing` is called, and must succeed,
    /// before the state is replaced by another server's: which cuts lie between the two is not known then.
    pub fn new(
        names: Namespace,
        board: Arc<Board>,
        stores: Stores,
        cache_bytes: usize,
        before_replacing: BeforeReplacing,
    ) -> Arc<NamesMachine> {
        let machine = NamesMachine {
            applied: watch::Sender::new(Seen { index: names.applied().0, pairs_version: names.pairs_version() }),
            names: RwLock::new(names),
            board,
            fatal: watch::Sender::new(None),
            stores: Mutex::new(stores),
            installing: Mutex::default(),
            flushing: tokio::sync::Mutex::new(()),
            replaced: watch::Sender::new(0),
            flushed: AtomicU64::new(0),
            before_replacing,
            sync_log: OnceLock::new(),
            cache_bytes,
        };
        machine.flushed.store(machine.applied.borrow().index.0, Ordering::Release);
        machine.announce_all();
        Arc::new(machine)
    }

    /// Says how the log gets to this server's disk. Until then nobody can have the store complete.
    pub fn sync_log_by(&self, sync: SyncLog) {
        let _ = self.sync_log.set(sync);
    }

    /// Tells the board everything, as at the start or after a snapshot.
    fn announce_all(&self) {
        let names = self.names.read();
        for (ino, dooms) in names.pending_dooms() {
            for (index, doom) in dooms {
                self.board.doom(ino, index, doom);
            }
        }
        let (applied, pairs, sessions) = (names.applied().0, names.pairs().clone(), open_sessions(&names));
        let marked = names.marked();
        drop(names);
        self.board.publish(|notice| {
            notice.applied = applied;
            notice.pairs = pairs;
            notice.sessions = Some(Arc::new(sessions));
            notice.marked = marked;
        });
    }

    /// Holds the reason once the namespace cannot be relied on: this life must end ([`NamesMachine::suspect`]).
    pub fn watch_fatal(&self) -> watch::Receiver<Option<Broken>> {
        self.fatal.subscribe()
    }

    /// Has the next life read all names before it uses them, and fetch them anew if it cannot. Durable when this returns.
    /// Blocking.
    pub fn suspect(&self) -> io::Result<()> {
        self.stores.lock().suspect()
    }

    /// The names here are all that others have, or the log brings them: what was there before is not needed any more.
    /// Durable when this returns. Blocking.
    pub fn filled(&self) -> io::Result<()> {
        self.stores.lock().filled()
    }

    /// Whether this life began in that way.
    pub fn was_suspected(&self) -> bool {
        self.stores.lock().was_suspected()
    }

    /// Wakes when the state was replaced by another server's.
    pub fn watch_replaced(&self) -> watch::Receiver<u64> {
        self.replaced.subscribe()
    }

    /// What is applied, and how the pairs' states are numbered.
    pub fn seen(&self) -> Seen {
        *self.applied.borrow()
    }

    /// Wakes with each applied entry.
    pub fn watch_seen(&self) -> watch::Receiver<Seen> {
        self.applied.subscribe()
    }

    /// Waits until `index` is applied.
    pub async fn reach(&self, index: LogIndex, patience: Duration) -> Result<(), Rejection> {
        if self.applied.borrow().index >= index {
            return Ok(());
        }
        let mut applied = self.applied.subscribe();
        match tokio::time::timeout(patience, applied.wait_for(|seen| seen.index >= index)).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(Rejection::Behind { needed: index }),
        }
    }

    /// Whether a leader of the same history was heard of lately. What a server has applied without one may be of a history
    /// that the others did not go on from (rule 4), and no index tells the two apart.
    pub fn may_answer(&self) -> bool {
        self.board.notice().lease_until > Instant::now()
    }

    /// Answers a question.
    pub fn query(&self, query: &Query) -> Result<(Seen, Reply), Rejection> {
        let names = self.names.read();
        let seen = Seen { index: names.applied().0, pairs_version: names.pairs_version() };
        match names.query(query) {
            Ok(reply) => Ok((seen, reply)),
            Err(fault) => {
                drop(names);
                self.cannot_read(&fault);
                Err(Rejection::Away)
            }
        }
    }

    /// The pairs.
    pub fn pairs(&self) -> Arc<Vec<Pair>> {
        self.names.read().pairs().clone()
    }

    /// Looks at the namespace.
    pub fn with<R>(&self, look: impl FnOnce(&Namespace) -> R) -> R {
        look(&self.names.read())
    }

    /// A page of what was lost of files above `after`. This life is about to end if that cannot be read. Blocking.
    pub fn lost(&self, after: Option<Ino>, limit: usize) -> Result<Vec<(Ino, LostRow)>, Fault> {
        self.with(|names| names.lost(after, limit)).inspect_err(|fault| drop(self.cannot_read(fault)))
    }

    /// Forgets a doom that was carried out.
    pub fn forget_doom(&self, ino: Ino, up_to: LogIndex) {
        self.names.write().forget_doom(ino, up_to);
    }

    /// Drops the names on disk: the next life begins with none. This one answers from memory until it ends, which it must.
    /// Blocking.
    pub fn drop_names(&self, config: &Config) -> Result<(), Fault> {
        *self.installing.lock() = Default::default();
        let _no_flush = self.flushing.blocking_lock();
        self.stores.lock().new_namespace(config, 0).map(|_| ())
    }

    /// Takes notice that a row could not be read, and says so in words. This life is about to end.
    pub fn cannot_read(&self, fault: &Fault) -> String {
        let broken = unreadable(fault);
        let reason = broken.reason.clone();
        give_up(&self.fatal, broken);
        reason
    }

    fn fail(&self, reason: String, passing: bool) {
        give_up(&self.fatal, Broken { reason, unkept: false, passing });
    }

    fn fail_to_keep(&self, action: &str, error: &dyn std::error::Error, unkept: bool) {
        let reason = format!("cannot {action} names: {}", raidfs_common::log::chain(error));
        give_up(&self.fatal, Broken { reason, unkept, passing: false });
    }

    /// Rows could not be written: for want of room, only these are missing, and the log has what they say.
    fn fail_to_write(&self, error: &(dyn std::error::Error + 'static)) {
        self.fail_to_keep("write", error, !comes_from_a_full_disk(error));
    }

    fn fail_to_sync(&self, error: &(dyn std::error::Error + 'static)) {
        self.fail_to_keep("sync", error, true);
    }

    fn begin_flush(&self) -> Result<Option<FlushBatch>, Fault> {
        let begun = self.names.write().begin_flush();
        begun.inspect_err(|fault| self.fail(format!("cannot flush names: {}", raidfs_common::log::chain(fault)), false))
    }

    /// All rows as they are now, the newest ones included, whatever happens afterwards. Blocking.
    pub fn flushed_view(&self) -> io::Result<Box<dyn Reader>> {
        Ok(self.flush_now()?.view())
    }

    fn end_flush(&self, batch: FlushBatch) {
        let index = batch.applied().index;
        self.names.write().end_flush(&batch);
        self.flushed.store(index.0, Ordering::Release);
    }

    /// Writes all changed rows, behind the log like any flush; for those who need the store to be complete. Blocking.
    fn flush_now(&self) -> io::Result<Arc<dyn Store>> {
        let _one_at_a_time = self.flushing.blocking_lock();
        let sync_log = self.sync_log.get().ok_or_else(|| io::Error::other("it has just started"))?;
        // First without a batch: nothing is lost if it fails. What is applied meanwhile is little.
        let applied = self.names.read().applied().0;
        sync_log(applied)?;
        if let Some(batch) = self.begin_flush().map_err(io::Error::other)? {
            let written = sync_log(batch.applied().index).and_then(|()| batch.write().map_err(io::Error::other));
            if let Err(error) = written {
                self.fail_to_write(&error);
                return Err(error);
            }
            self.end_flush(batch);
        }
        Ok(self.names.read().store().clone())
    }
}

#[cfg(test)]
mod tests;

fn open_sessions(names: &Namespace) -> Vec<SessionId> {
    names.sessions()
}

impl Machine for NamesMachine {
    type Outcome = Made;

    fn apply(&self, entry: &LogEntry) -> Made {
        let command = Command::of(&entry.data);
        let mut names = self.names.write();
        let applied = match command.map_err(|e| (e.to_string(), false)) {
            Ok(command) => names
                .apply(entry.index, entry.term, &command)
                .map_err(|fault| (raidfs_common::log::chain(&fault), fault.says_nothing_about_rows())),
            Err(error) => Err(error),
        };
        let applied = applied.unwrap_or_else(|(error, passing)| {
            self.fail(format!("cannot apply entry {}: {error}", entry.index), passing);
            Default::default()
        });
        let seen = Seen { index: names.applied().0, pairs_version: names.pairs_version() };
        let (mut pairs, mut sessions) = (None, None);
        for effect in &applied.effects {
            match effect {
                Effect::Doom { ino, doom } => self.board.doom(*ino, entry.index, *doom),
                Effect::PairsChanged => pairs = Some(names.pairs().clone()),
                Effect::SessionOpened(_) | Effect::SessionEnded(_) => {
                    sessions = Some(Arc::new(open_sessions(&names)));
                }
            }
        }
        let marked = names.marked();
        steps::check(&names, entry.term, seen.index);
        drop(names);
        self.board.publish(|notice| {
            notice.applied = seen.index;
            notice.marked = marked;
            if let Some(pairs) = pairs {
                notice.pairs = pairs;
            }
            if sessions.is_some() {
                notice.sessions = sessions;
            }
        });
        self.applied.send_replace(seen);
        Made { seen, outcomes: applied.outcomes }
    }

    fn applied(&self) -> (LogIndex, Term) {
        self.names.read().applied()
    }

    fn lives(&self) -> BTreeMap<ServerId, Incarnation> {
        self.names.read().lives()
    }

    fn observe(&self, status: &Status) {
        self.board.publish(|notice| {
            notice.durable = status.durable;
            notice.knows_all_before = status.knows_all_before;
            if let Some(from) = status.lease_from {
                notice.lease_until = from + limits::SERVER_LEASE;
            }
        });
    }

    fn snapshot(&self) -> io::Result<(LogIndex, Term, PieceStream)> {
        let store = self.flush_now()?;
        let fatal = self.fatal.clone();
        let failed = move |fault: Fault| {
            give_up(&fatal, unreadable(&fault));
            io::Error::other(fault)
        };
        let mut maker = snapshot::Maker::new(store.view()).map_err(&failed)?;
        let applied = maker.applied();
        let pieces = std::iter::from_fn(move || maker.piece().transpose());
        let pieces = pieces.map(move |piece| piece.map(|(bytes, _)| Bytes::from(bytes)).map_err(&failed));
        Ok((applied.index, applied.term, Box::new(pieces)))
    }

    fn install(&self, piece: SnapshotPiece) -> io::Result<()> {
        let mut coming = self.installing.lock();
        let (pieces, installing) = &mut *coming;
        pieces.take(&piece)?;
        if piece.number == 0 {
            *installing = None;
            let (store, number) = self.stores.lock().fresh().map_err(io::Error::other)?;
            let installer = snapshot::Installer::new(store.clone()).map_err(io::Error::other)?;
            *installing = Some(Installing { installer, store, number });
        }
        let begun = installing.as_mut().ok_or_else(|| io::Error::other("a piece without a beginning"))?;
        begun.installer.add(&piece.data.0).map_err(io::Error::other)?;
        if !piece.last {
            return Ok(());
        }
        let Some(Installing { installer, store, number }) = installing.take() else { return Ok(()) };
        let applied = installer.finish().map_err(io::Error::other)?;
        if applied.index != piece.index {
            return Err(io::Error::other("the snapshot is of another entry than announced"));
        }
        let _no_flush = self.flushing.blocking_lock();
        (self.before_replacing)()?;
        self.stores.lock().adopt(number)?;
        let names = Namespace::open(store, self.cache_bytes).map_err(io::Error::other)?;
        let names = names.ok_or_else(|| io::Error::other("the snapshot is empty"))?;
        let seen = Seen { index: names.applied().0, pairs_version: names.pairs_version() };
        *self.names.write() = names;
        self.flushed.store(seen.index.0, Ordering::Release);
        self.announce_all();
        self.applied.send_replace(seen);
        self.replaced.send_modify(|n| *n += 1);
        Ok(())
    }
}
