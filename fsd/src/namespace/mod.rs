//! The replicated state machine: names, attributes, links, extended attributes, placement, pair states, sessions. Pure
//! and deterministic: the same commands give the same rows on every server; time and inode numbers arrive inside them.
//! Driven by the server's apply loop; it never waits, and never talks to anyone.
//!
//! | room | what is in it |
//! |---|---|
//! | [`store`], `store_memory`, `store_disk` | an ordered key-value store: contract, in memory, on disk |
//! | [`rows`] | keys and bytes of the rows |
//! | [`overlay`], `cache` | rows in memory in front of the store; flushing them |
//! | `state` | one row at a time, and what is always in memory |
//! | `ops` | one file for each kind of change: all checks first, then the change |
//! | `query` | questions |
//! | `pair_table` | every move that a pair can make |
//! | [`snapshot`], [`invariants`] | the whole state to bytes and back; what is wrong with a state |
//!
//! **Flushing.** Applying changes memory only. From time to time the driver calls [`Namespace::begin_flush`], writes the
//! batch on another thread once the log is on disk up to [`FlushBatch::applied`], and calls [`Namespace::end_flush`].
//! After a crash the log is applied again from [`Namespace::applied`] on.

mod cache;
pub mod fault;
pub mod invariants;
#[cfg(test)]
mod model_tests;
mod ops;
pub mod overlay;
mod pair_table;
mod query;
pub mod rows;
#[cfg(test)]
mod scale_tests;
pub mod snapshot;
mod state;
pub mod store;
#[cfg(test)]
mod store_conformance;
pub mod store_disk;
pub mod store_memory;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use fault::Fault;
pub use overlay::FlushBatch;

use crate::board::{Doom, Dooms, Marked};
use overlay::Overlay;
use raidfs_common::attr::{Attr, FileKind};
use raidfs_common::id::{Epoch, Incarnation, Ino, LogIndex, PairId, ServerId, SessionId, Term};
use raidfs_common::namespace::{Command, Outcome, Query, Reply};
use raidfs_common::pair::{CopyState, Member, Pair, Space};
use rows::{AppliedRow, Counters, InodeRow, Key, LosingRow, LostRow, Row, prefix};
use state::State;
use std::collections::BTreeMap;
use std::sync::Arc;
use store::{Batch, KEYS_END, Reader, Store};

/// Bytes of decoded rows kept in front of the store, unless configured.
pub const CACHE_BYTES: usize = 48 << 20;

/// Why a request was not even tried; the serving side answers with the rejection of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Its session is not open: it was never opened, has lapsed, or was taken over.
    NoSession,
    /// Its number is below those whose outcomes are kept: it was answered long ago.
    Forgotten,
}

/// What an applied entry asks of this server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Bytes of this file are to be destroyed, once the entry is durable on a quorum.
    Doom {
        /// The file.
        ino: Ino,
        /// What happened to it.
        doom: Doom,
    },
    /// The pairs are others than before.
    PairsChanged,
    /// A session was opened.
    SessionOpened(SessionId),
    /// A session ended.
    SessionEnded(SessionId),
}

/// What became of an entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// One for each request of the entry, in order.
    pub outcomes: Vec<Result<Outcome, Refused>>,
    /// What to do about it on this server, in order.
    pub effects: Vec<Effect>,
}

/// The namespace of one server. Reading takes `&self`: a read-write lock around it makes it shareable.
pub struct Namespace {
    state: State,
    applied: AppliedRow,
    stopped: bool,
}

impl Namespace {
    /// Writes the state that every server begins with: an empty root directory that belongs to root, and pairs whose
    /// members are all in sync. The store must be empty.
    pub fn format(store: &dyn Store, pairs: &[[ServerId; 2]]) -> Result<(), Fault> {
        let member = |server| Member { server, state: CopyState::InSync, incarnation: Incarnation(0) };
        let pair = |(number, servers): (usize, &[ServerId; 2])| Pair {
            id: PairId(number as u16),
            epoch: Epoch(1),
            members: servers.map(member),
            space: Space::default(),
            losses: 0,
        };
        let root = InodeRow {
            attr: Attr {
                ino: Ino::ROOT,
                kind: FileKind::Dir,
                perm: 0o755,
                nlink: 2,
                uid: 0,
                gid: 0,
                rdev: 0,
                size: 0,
                blocks: 0,
                atime: Default::default(),
                mtime: Default::default(),
                ctime: Default::default(),
                btime: Default::default(),
                cut_gen: 0,
                placement: Default::default(),
                parent: Ino::ROOT,
                xattrs: 0,
            },
            next_cookie: 1,
            xattr_bytes: 0,
        };
        let counters = Counters { placed: 0, next_ino: Ino::ROOT.0 + 1, dirs: 1, others: 0 };
        let rows = [
            (Key::Applied, Row::Applied(AppliedRow::default())),
            (Key::Counters, Row::Counters(counters)),
            (Key::Pairs, Row::Pairs(pairs.iter().enumerate().map(pair).collect())),
            (Key::Inode(Ino::ROOT), Row::Inode(root)),
        ];
        store.write(Batch { rows: rows.iter().map(|(key, row)| (key.encode(), Some(row.encode()))).collect() })?;
        store.sync()
    }

    /// Opens the namespace in `store`; None if the store is empty. At most about `cache_bytes` of rows are kept
    /// decoded, besides those not flushed.
    pub fn open(store: Arc<dyn Store>, cache_bytes: usize) -> Result<Option<Namespace>, Fault> {
        let rows = Overlay::new(store, cache_bytes);
        let applied = match rows.row(&Key::Applied)? {
            Some(Row::Applied(applied)) => applied,
            _ if rows.store().scan(&[], KEYS_END).next().is_none() => return Ok(None),
            _ => return Err(Fault::HalfMade),
        };
        Ok(Some(Namespace { state: State::load(rows)?, applied, stopped: false }))
    }

    /// Applies the entry after the last one. After a fault the namespace must be given up: every further call fails.
    pub fn apply(&mut self, index: LogIndex, term: Term, command: &Command) -> Result<Applied, Fault> {
        if self.stopped {
            return Err(Fault::Stopped);
        }
        let applied = self.applied.index;
        if index != applied.next() {
            return Err(Fault::OutOfOrder { applied, index });
        }
        self.stopped = true;
        let mut outcomes = Vec::new();
        match command {
            Command::Noop => {}
            Command::Batch(requests) => {
                outcomes.reserve(requests.len());
                for request in requests {
                    outcomes.push(ops::apply(&mut self.state, request)?);
                }
            }
            Command::Recovered => ops::recovered(&mut self.state),
        }
        self.applied = AppliedRow { index, term };
        let effects = self.state.settle(self.applied);
        self.stopped = false;
        Ok(Applied { outcomes, effects })
    }

    /// Answers a question from the state as it is. A fault means that this server cannot read its store.
    pub fn query(&self, query: &Query) -> Result<Reply, Fault> {
        if self.stopped {
            return Err(Fault::Stopped);
        }
        query::answer(&self.state, query)
    }

    /// The last entry applied, and its term.
    pub fn applied(&self) -> (LogIndex, Term) {
        (self.applied.index, self.applied.term)
    }

    /// The pairs.
    pub fn pairs(&self) -> &Arc<Vec<Pair>> {
        &self.state.pairs
    }

    /// The sum of all pairs' epochs: it grows whenever a pair's state changes.
    pub fn pairs_version(&self) -> u64 {
        self.state.pairs.iter().map(|pair| pair.epoch.0).sum()
    }

    /// The session that is open, and who holds it.
    pub fn session(&self) -> Option<(SessionId, String)> {
        self.state.sessions.iter().next().map(|(id, session)| (*id, session.row.holder.clone()))
    }

    /// The sessions whose changes are taken: what a server's board shows to its chunk side.
    pub fn sessions(&self) -> Vec<SessionId> {
        self.state.sessions.keys().copied().filter(|id| !self.is_void(*id)).collect()
    }

    /// Whether a session is open in name only: it is from before a recovery, and waits to be ended in good order.
    pub fn is_void(&self, session: SessionId) -> bool {
        self.state.recovery.void.contains(&session)
    }

    /// The lives of all voters that are known.
    pub fn lives(&self) -> BTreeMap<ServerId, Incarnation> {
        let servers = self.state.pairs.iter().flat_map(|pair| pair.members).map(|m| (m.server, m.incarnation));
        servers.chain([(ServerId::WITNESS, self.state.witness)]).collect()
    }

    /// A page of the files of which something was marked as lost with a pair, above `after`, in order.
    pub fn lost(&self, after: Option<Ino>, limit: usize) -> Result<Vec<(Ino, LostRow)>, Fault> {
        if !self.state.has_lost {
            return Ok(Vec::new());
        }
        let from = Key::Lost(after.map_or(Ino(0), |after| Ino(after.0.saturating_add(1)))).encode();
        let rows = self.state.rows.rows(&prefix::lost(), &from).filter_map(|row| match row {
            Ok((Key::Lost(ino), Row::Lost(ends))) => Some(Ok((ino, ends))),
            Ok(_) => None,
            Err(fault) => Some(Err(fault)),
        });
        rows.take(limit).collect()
    }

    /// How far it is marked what is lost with a pair whose loss is about to be accepted.
    pub fn losing(&self) -> Option<LosingRow> {
        self.state.losing
    }

    /// Whether some file may have lost something with a pair; and how often that was marked late, of a pair without a copy.
    pub fn marked(&self) -> Marked {
        Marked { any: self.state.has_lost, late: self.state.late }
    }

    /// How often power was lost with entries that may have been agreed.
    pub fn generation(&self) -> u64 {
        self.state.recovery.generation
    }

    /// Directories, and other inodes; orphans included.
    pub fn counts(&self) -> (u64, u64) {
        (self.state.counters.dirs, self.state.counters.others)
    }

    /// What is doomed and was not forgotten yet, by inode, each in the order of the log.
    pub fn pending_dooms(&self) -> Vec<(Ino, Dooms)> {
        let mut all: Vec<(Ino, Dooms)> = Vec::new();
        for (&(ino, index), list) in &self.state.dooms {
            if all.last().is_none_or(|(last, _)| *last != ino) {
                all.push((ino, Vec::new()));
            }
            if let Some((_, dooms)) = all.last_mut() {
                dooms.extend(list.iter().map(|doom| (index, *doom)));
            }
        }
        all
    }

    /// The dooms of an inode by entries up to `up_to` were carried out.
    pub fn forget_doom(&mut self, ino: Ino, up_to: LogIndex) {
        let done: Vec<_> = self.state.dooms.range((ino, LogIndex(0))..=(ino, up_to)).map(|(at, _)| *at).collect();
        for (ino, index) in done {
            self.state.dooms.remove(&(ino, index));
            self.state.rows.delete(&Key::Doom(ino, index));
        }
    }

    /// A checksum over all replicated rows: equal on all servers that have applied the same entries. Reads everything;
    /// a busy server rather takes [`snapshot::digest`] of a view of its store, on another thread.
    pub fn digest(&self) -> Result<u64, Fault> {
        snapshot::digest(self.rows())
    }

    /// All rows as they are now, the unflushed ones included.
    pub fn rows(&self) -> &dyn Reader {
        &self.state.rows
    }

    /// The store below.
    pub fn store(&self) -> &Arc<dyn Store> {
        self.state.rows.store()
    }

    /// Rows that wait for a flush.
    pub fn unflushed_rows(&self) -> usize {
        self.state.rows.changed_rows()
    }

    /// Takes all changed rows as one batch for the store; None if there are none. The batch before must have been
    /// ended, and no fault may have occurred.
    pub fn begin_flush(&mut self) -> Result<Option<FlushBatch>, Fault> {
        if self.stopped {
            return Err(Fault::Stopped);
        }
        Ok(self.state.rows.begin_flush(self.applied))
    }

    /// The batch was written; drop it where it was written, which takes a while.
    pub fn end_flush(&mut self, batch: &FlushBatch) {
        self.state.rows.end_flush(batch);
    }
}
