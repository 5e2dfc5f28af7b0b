//! The state that the operations work on: rows, and what is always in memory because every entry needs it (counters,
//! pairs, sessions, dooms). Reading and changing one thing at a time; which changes belong together is said in `ops`.

use super::Effect;
use super::fault::Fault;
use super::overlay::Overlay;
use super::rows::{
    AppliedRow, Counters, EntryRow, IndexRow, InodeRow, Key, LosingRow, LostRow, RecoveryRow, Row, SessionRow, prefix,
};
use crate::board::Doom;
use bytes::Bytes;
use raidfs_common::attr::{Attr, FileKind};
use raidfs_common::error::FsError;
use raidfs_common::id::{Incarnation, Ino, LogIndex, SessionId};
use raidfs_common::limits::OUTCOMES_KEPT_MAX;
use raidfs_common::name::FileName;
use raidfs_common::namespace::Outcome;
use raidfs_common::pair::Pair;
use raidfs_common::time::Time;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Ended sessions that are remembered, so that a late copy of a request to open one does not open it again.
pub(super) const ENDED_KEPT: usize = 256;

/// Why an operation did not happen.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The outcome is this error.
    Fs(FsError),
    /// This server cannot go on.
    Fault(Fault),
}

impl From<FsError> for Refusal {
    fn from(error: FsError) -> Refusal {
        Refusal::Fs(error)
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Refusal {
        Refusal::Fault(fault)
    }
}

/// Who asks, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller {
    pub session: SessionId,
    pub now: Time,
}

/// An open session with its outcomes.
#[derive(Debug)]
pub(super) struct OpenSession {
    pub row: SessionRow,
    pub outcomes: BTreeMap<u64, Outcome>,
    /// `row` is not in the rows yet.
    pub changed: bool,
}

/// Everything.
pub(super) struct State {
    pub rows: Overlay,
    pub counters: Counters,
    pub pairs: Arc<Vec<Pair>>,
    pub ended: Vec<SessionId>,
    pub recovery: RecoveryRow,
    pub witness: Incarnation,
    /// The pair whose loss is about to be accepted.
    pub losing: Option<LosingRow>,
    /// How often something was marked as lost with a pair that had no copy any more.
    pub late: u64,
    /// Some file may have a row that says what was lost of it.
    pub has_lost: bool,
    pub sessions: BTreeMap<SessionId, OpenSession>,
    pub dooms: BTreeMap<(Ino, LogIndex), Vec<Doom>>,
    /// What the entry being applied has led to so far.
    pub effects: Vec<Effect>,
    pub counters_changed: bool,
    pub pairs_changed: bool,
    pub ended_changed: bool,
    pub recovery_changed: bool,
    pub witness_changed: bool,
    pub losing_changed: bool,
    pub late_changed: bool,
}

fn missing(key: &Key, problem: &'static str) -> Fault {
    Fault::damaged(&key.encode(), problem)
}

impl State {
    /// Reads what is kept in memory; the rows are those of a formatted store.
    pub fn load(rows: Overlay) -> Result<State, Fault> {
        let counters = match rows.row(&Key::Counters)? {
            Some(Row::Counters(counters)) => counters,
            _ => return Err(missing(&Key::Counters, "is missing")),
        };
        let pairs = match rows.row(&Key::Pairs)? {
            Some(Row::Pairs(pairs)) if !pairs.is_empty() => Arc::new(pairs),
            _ => return Err(missing(&Key::Pairs, "is missing")),
        };
        let ended = match rows.row(&Key::Ended)? {
            Some(Row::Ended(ended)) => ended,
            _ => Vec::new(),
        };
        let recovery = match rows.row(&Key::Recovery)? {
            Some(Row::Recovery(recovery)) => recovery,
            _ => RecoveryRow::default(),
        };
        let witness = match rows.row(&Key::Witness)? {
            Some(Row::Witness(life)) => life,
            _ => Incarnation(0),
        };
        let losing = match rows.row(&Key::Losing)? {
            Some(Row::Losing(losing)) => Some(losing),
            _ => None,
        };
        let late = match rows.row(&Key::Late)? {
            Some(Row::Late(times)) => times,
            _ => 0,
        };
        let has_lost = rows.rows(&prefix::lost(), &[]).next().transpose()?.is_some();
        let (sessions, dooms) = (load_sessions(&rows)?, load_dooms(&rows)?);
        Ok(State {
            rows,
            counters,
            pairs,
            ended,
            recovery,
            witness,
            losing,
            late,
            has_lost,
            sessions,
            dooms,
            effects: Vec::new(),
            counters_changed: false,
            pairs_changed: false,
            ended_changed: false,
            recovery_changed: false,
            witness_changed: false,
            losing_changed: false,
            late_changed: false,
        })
    }

    /// Puts what is kept in memory into the rows: they are the state after entry `applied` now.
    pub fn settle(&mut self, applied: AppliedRow) -> Vec<Effect> {
        let effects = std::mem::take(&mut self.effects);
        for effect in &effects {
            if let Effect::Doom { ino, doom } = *effect {
                let list = self.dooms.entry((ino, applied.index)).or_default();
                list.push(doom);
                self.rows.insert(&Key::Doom(ino, applied.index), Row::Doom(list.clone()));
            }
        }
        for (id, session) in &mut self.sessions {
            if std::mem::take(&mut session.changed) {
                self.rows.put(&Key::Session(*id), Row::Session(session.row.clone()));
            }
        }
        if std::mem::take(&mut self.counters_changed) {
            self.rows.put(&Key::Counters, Row::Counters(self.counters));
        }
        if std::mem::take(&mut self.pairs_changed) {
            self.rows.put(&Key::Pairs, Row::Pairs(self.pairs.to_vec()));
        }
        if std::mem::take(&mut self.ended_changed) {
            self.rows.put(&Key::Ended, Row::Ended(self.ended.clone()));
        }
        if std::mem::take(&mut self.recovery_changed) {
            self.rows.put(&Key::Recovery, Row::Recovery(self.recovery.clone()));
        }
        if std::mem::take(&mut self.witness_changed) {
            self.rows.put(&Key::Witness, Row::Witness(self.witness));
        }
        if std::mem::take(&mut self.losing_changed) {
            match self.losing {
                Some(losing) => self.rows.put(&Key::Losing, Row::Losing(losing)),
                None => self.rows.delete(&Key::Losing),
            }
        }
        if std::mem::take(&mut self.late_changed) {
            self.rows.put(&Key::Late, Row::Late(self.late));
        }
        self.rows.put(&Key::Applied, Row::Applied(applied));
        effects
    }

    /// An inode, if there is one.
    pub fn find_inode(&self, ino: Ino) -> Result<Option<InodeRow>, Fault> {
        match self.rows.row(&Key::Inode(ino))? {
            Some(Row::Inode(row)) => Ok(Some(row)),
            Some(_) => Err(missing(&Key::Inode(ino), "is no inode")),
            None => Ok(None),
        }
    }

    /// An inode that must be there because a row says so.
    pub fn known_inode(&self, ino: Ino) -> Result<InodeRow, Fault> {
        self.find_inode(ino)?.ok_or_else(|| missing(&Key::Inode(ino), "is missing though it has a name"))
    }

    /// An inode that a caller names: [`FsError::Stale`] if it is gone.
    pub fn inode(&self, ino: Ino) -> Result<InodeRow, Refusal> {
        Ok(self.find_inode(ino)?.ok_or(FsError::Stale)?)
    }

    /// A directory in which names are looked up or changed: [`FsError::NotFound`] if it is gone or removed.
    pub fn directory(&self, ino: Ino) -> Result<InodeRow, Refusal> {
        let row = self.find_inode(ino)?.ok_or(FsError::NotFound)?;
        if row.attr.kind != FileKind::Dir {
            return Err(FsError::NotDir.into());
        }
        if row.attr.nlink == 0 {
            return Err(FsError::NotFound.into());
        }
        Ok(row)
    }

    /// A directory's entry, if there is one.
    pub fn entry(&self, parent: Ino, name: &FileName) -> Result<Option<EntryRow>, Fault> {
        let key = Key::Entry(parent, name.clone());
        match self.rows.row(&key)? {
            Some(Row::Entry(row)) => Ok(Some(row)),
            Some(_) => Err(missing(&key, "is no entry")),
            None => Ok(None),
        }
    }

    /// Changes an inode that is known to be there; answers its attributes as they are now.
    pub fn edit(&mut self, ino: Ino, change: impl FnOnce(&mut InodeRow)) -> Result<Attr, Fault> {
        let mut row = self.known_inode(ino)?;
        change(&mut row);
        self.rows.put(&Key::Inode(ino), Row::Inode(row));
        Ok(row.attr)
    }

    /// Adds an entry under a name that is free, behind all entries of its directory, whose times and size it changes.
    pub fn add_entry(
        &mut self,
        parent: Ino,
        name: &FileName,
        ino: Ino,
        kind: FileKind,
        now: Time,
    ) -> Result<(), Fault> {
        let mut cookie = 0;
        self.edit(parent, |row| {
            cookie = row.next_cookie;
            row.next_cookie += 1;
            row.attr.size += 1;
            row.attr.nlink += u32::from(kind == FileKind::Dir);
            (row.attr.mtime, row.attr.ctime) = (now, now);
        })?;
        self.rows.insert(&Key::Entry(parent, name.clone()), Row::Entry(EntryRow { ino, kind, cookie }));
        self.rows.insert(&Key::Index(parent, cookie), Row::Index(IndexRow { name: name.clone(), ino, kind }));
        Ok(())
    }

    /// Takes an entry away, which changes its directory's times and size.
    pub fn remove_entry(&mut self, parent: Ino, name: &FileName, entry: EntryRow, now: Time) -> Result<(), Fault> {
        self.edit(parent, |row| {
            row.attr.size = row.attr.size.saturating_sub(1);
            row.attr.nlink -= u32::from(entry.kind == FileKind::Dir);
            (row.attr.mtime, row.attr.ctime) = (now, now);
        })?;
        self.rows.delete(&Key::Entry(parent, name.clone()));
        self.rows.delete(&Key::Index(parent, entry.cookie));
        Ok(())
    }

    /// Makes an entry mean another inode; the name stays where it stands in the directory, whose times it changes.
    pub fn point_entry(
        &mut self,
        parent: Ino,
        name: &FileName,
        old: EntryRow,
        (ino, kind): (Ino, FileKind),
        now: Time,
    ) -> Result<(), Fault> {
        self.edit(parent, |row| {
            row.attr.nlink -= u32::from(old.kind == FileKind::Dir);
            row.attr.nlink += u32::from(kind == FileKind::Dir);
            (row.attr.mtime, row.attr.ctime) = (now, now);
        })?;
        let cookie = old.cookie;
        self.rows.put(&Key::Entry(parent, name.clone()), Row::Entry(EntryRow { ino, kind, cookie }));
        self.rows.put(&Key::Index(parent, cookie), Row::Index(IndexRow { name: name.clone(), ino, kind }));
        Ok(())
    }

    /// An inode loses a name (a directory: its only one). Without names left, it becomes the caller's orphan if the
    /// caller wants to `keep` it, else it is gone. Answers its attributes as they are or last were.
    pub fn drop_link(&mut self, ino: Ino, keep: bool, caller: Caller) -> Result<Attr, Fault> {
        let attr = self.edit(ino, |row| {
            row.attr.nlink = if row.attr.kind == FileKind::Dir { 0 } else { row.attr.nlink.saturating_sub(1) };
            row.attr.ctime = caller.now;
        })?;
        if attr.nlink == 0 {
            if keep {
                self.rows.put(&Key::Orphan(caller.session, ino), Row::Orphan);
            } else {
                self.destroy(ino)?;
            }
        }
        Ok(attr)
    }

    /// Removes an inode that has no names, and all that belongs to it.
    pub fn destroy(&mut self, ino: Ino) -> Result<(), Fault> {
        let row = self.known_inode(ino)?;
        for (name, _) in self.xattrs(&row)? {
            self.rows.delete(&Key::Xattr(ino, name));
        }
        match row.attr.kind {
            FileKind::Symlink => self.rows.delete(&Key::Target(ino)),
            FileKind::File => self.effects.push(Effect::Doom { ino, doom: Doom::Reap }),
            _ => {}
        }
        match row.attr.kind {
            FileKind::Dir => self.counters.dirs -= 1,
            _ => self.counters.others -= 1,
        }
        self.counters_changed = true;
        let lost = self.lost_of(ino)?;
        self.set_lost(ino, &lost, LostRow::new());
        self.rows.delete(&Key::Inode(ino));
        Ok(())
    }

    /// What was lost of a file.
    pub fn lost_of(&self, ino: Ino) -> Result<LostRow, Fault> {
        if !self.has_lost {
            return Ok(LostRow::new());
        }
        match self.rows.row(&Key::Lost(ino))? {
            Some(Row::Lost(ends)) => Ok(ends),
            Some(_) => Err(missing(&Key::Lost(ino), "does not say what was lost")),
            None => Ok(LostRow::new()),
        }
    }

    /// Replaces that.
    pub fn set_lost(&mut self, ino: Ino, before: &LostRow, ends: LostRow) {
        if !ends.is_empty() {
            self.has_lost = true;
            self.rows.put(&Key::Lost(ino), Row::Lost(ends));
        } else if !before.is_empty() {
            self.rows.delete(&Key::Lost(ino));
        }
    }

    /// All extended attributes of an inode, by name.
    pub fn xattrs(&self, inode: &InodeRow) -> Result<Vec<(Bytes, Bytes)>, Fault> {
        if inode.xattr_bytes == 0 {
            return Ok(Vec::new());
        }
        let prefix = prefix::xattrs_of(inode.attr.ino);
        let pairs = self.rows.rows(&prefix, &prefix).filter_map(|row| match row {
            Ok((Key::Xattr(_, name), Row::Xattr(value))) => Some(Ok((name, value))),
            Ok(_) => None,
            Err(fault) => Some(Err(fault)),
        });
        pairs.collect()
    }

    /// The orphans of a session.
    pub fn orphans(&self, session: SessionId) -> Result<Vec<Ino>, Fault> {
        let prefix = prefix::orphans_of(session);
        let inos = self.rows.rows(&prefix, &prefix).filter_map(|row| match row {
            Ok((Key::Orphan(_, ino), _)) => Some(Ok(ino)),
            Ok(_) => None,
            Err(fault) => Some(Err(fault)),
        });
        inos.collect()
    }

    /// Keeps the outcome of a session's request, and forgets those of requests below `done_below`.
    pub fn keep_outcome(&mut self, id: SessionId, seq: u64, done_below: u64, outcome: &Outcome) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.outcomes.insert(seq, outcome.clone());
        self.rows.insert(&Key::Outcome(id, seq), Row::Outcome(outcome.clone()));
        let mut done_below = done_below.min(seq);
        if session.outcomes.len() > OUTCOMES_KEPT_MAX
            && let Some((oldest, _)) = session.outcomes.first_key_value()
        {
            done_below = done_below.max(oldest + 1);
        }
        if done_below > session.row.done_below {
            session.row.done_below = done_below;
            session.changed = true;
            let kept = session.outcomes.split_off(&done_below);
            for seq in std::mem::replace(&mut session.outcomes, kept).into_keys() {
                self.rows.delete(&Key::Outcome(id, seq));
            }
        }
    }
}

fn load_sessions(rows: &Overlay) -> Result<BTreeMap<SessionId, OpenSession>, Fault> {
    let mut sessions = BTreeMap::new();
    for row in rows.rows(&prefix::sessions(), &[]) {
        if let (Key::Session(id), Row::Session(row)) = row? {
            sessions.insert(id, OpenSession { row, outcomes: BTreeMap::new(), changed: false });
        }
    }
    for row in rows.rows(&prefix::outcomes(), &[]) {
        if let (Key::Outcome(id, seq), Row::Outcome(outcome)) = row? {
            let session =
                sessions.get_mut(&id).ok_or_else(|| missing(&Key::Session(id), "is missing, its outcomes not"))?;
            session.outcomes.insert(seq, outcome);
        }
    }
    Ok(sessions)
}

fn load_dooms(rows: &Overlay) -> Result<BTreeMap<(Ino, LogIndex), Vec<Doom>>, Fault> {
    let mut dooms = BTreeMap::new();
    for row in rows.rows(&prefix::dooms(), &[]) {
        if let (Key::Doom(ino, index), Row::Doom(list)) = row? {
            dooms.insert((ino, index), list);
        }
    }
    Ok(dooms)
}
