//! What must be true of every state, and a check that names whatever is not. Reads all rows in the order of their keys,
//! each once, and keeps a few dozen bytes for each inode; run on a view of the store, it disturbs nobody.

use super::fault::Fault;
use super::rows::{Counters, EntryRow, IndexRow, InodeRow, Key, Row, SessionRow, prefix};
use super::store::{KEYS_END, Reader, prefix_end};
use raidfs_common::acl;
use raidfs_common::attr::{FileKind, Placement};
use raidfs_common::id::{Ino, PairId, SessionId};
use raidfs_common::limits::{BLOCK_BYTES, FILE_MAX_BYTES, LINKS_MAX};
use raidfs_common::name::FileName;
use raidfs_common::pair::{CopyState, Pair};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::iter::Peekable;

/// Problems reported at most; a namespace with that many is beyond reading them.
const REPORTED_MAX: usize = 1000;

/// What is wrong with the rows, in words; empty: nothing. A fault means that they could not be read.
pub fn check(rows: &dyn Reader) -> Result<Vec<String>, Fault> {
    let mut check = Check { rows, inodes: Vec::new(), found: Vec::new() };
    let (counters, pairs) = check.singletons()?;
    let sessions = check.sessions()?;
    check.read_inodes(&counters, pairs.len(), &sessions)?;
    check.orphans(&sessions)?;
    check.entries()?;
    check.links_and_sizes();
    check.tree();
    check.xattrs()?;
    check.targets()?;
    check.lost(pairs.len())?;
    Ok(check.found)
}

/// Reads and decodes every row, as a scan finds it and by its key, which has the store look elsewhere, too: how many there
/// are. A fault: not all of them can be used. Takes as long as reading everything.
pub fn read_all(rows: &dyn Reader) -> Result<u64, Fault> {
    let mut count = 0;
    for row in rows.scan(&[], KEYS_END) {
        let (key, value) = row?;
        Key::decode(&key)?;
        Row::decode(&key, &value)?;
        if rows.get(&key)?.as_ref() != Some(&value) {
            return Err(Fault::damaged(&key, "is another by its key than in order"));
        }
        count += 1;
    }
    Ok(count)
}

/// What is remembered of an inode.
struct Seen {
    ino: Ino,
    kind: FileKind,
    perm: u16,
    nlink: u32,
    /// Entries, of a directory; bytes, of others.
    size: u64,
    parent: Ino,
    next_cookie: u64,
    xattr_bytes: u32,
    xattrs: u16,
    /// Entries that name it.
    names: u32,
    /// Entries in it, and those of them that are directories.
    children: u64,
    subdirs: u32,
    is_orphan: bool,
    has_target: bool,
    reached: Reached,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reached {
    No,
    UnderWay,
    Yes,
    Lost,
}

struct Check<'a> {
    rows: &'a dyn Reader,
    /// By number, ascending.
    inodes: Vec<Seen>,
    found: Vec<String>,
}

impl<'a> Check<'a> {
    fn report(&mut self, problem: String) {
        if self.found.len() < REPORTED_MAX {
            self.found.push(problem);
        }
    }

    fn scan(&self, prefix: &[u8]) -> impl Iterator<Item = Result<(Key, Row), Fault>> + use<'a> {
        let rows = self.rows;
        rows.scan(prefix, &prefix_end(prefix)).map(|row| {
            let (key, value) = row?;
            Ok((Key::decode(&key)?, Row::decode(&key, &value)?))
        })
    }

    fn row(&self, key: &Key) -> Result<Option<Row>, Fault> {
        let key = key.encode();
        self.rows.get(&key)?.map(|value| Row::decode(&key, &value)).transpose()
    }

    fn find(&mut self, ino: Ino) -> Option<&mut Seen> {
        let at = self.inodes.binary_search_by_key(&ino, |seen| seen.ino).ok()?;
        Some(&mut self.inodes[at])
    }

    fn singletons(&mut self) -> Result<(Counters, Vec<Pair>), Fault> {
        if self.row(&Key::Applied)?.is_none() {
            return Err(Fault::HalfMade);
        }
        let counters = match self.row(&Key::Counters)? {
            Some(Row::Counters(counters)) => counters,
            _ => return Err(Fault::damaged(&Key::Counters.encode(), "is missing")),
        };
        let pairs = match self.row(&Key::Pairs)? {
            Some(Row::Pairs(pairs)) => pairs,
            _ => Vec::new(),
        };
        if pairs.is_empty() {
            self.report("there are no pairs".into());
        }
        for (at, pair) in (0..).map(PairId).zip(&pairs) {
            if pair.id != at {
                self.report(format!("{} stands where {at} belongs", pair.id));
            }
            // Only an accepted loss leaves a pair without.
            let is_given_up = pair.losses > 0 && pair.members.iter().all(|m| m.state == CopyState::Stale);
            if pair.in_sync().next().is_none() && !is_given_up {
                self.report(format!("{at} has no copy in sync"));
            }
            if pair.members[0].server == pair.members[1].server {
                self.report(format!("{at} has {} twice", pair.members[0].server));
            }
            if pair.epoch.0 == 0 {
                self.report(format!("{at} has no epoch"));
            }
        }
        Ok((counters, pairs))
    }

    fn sessions(&mut self) -> Result<BTreeMap<SessionId, SessionRow>, Fault> {
        let mut sessions = BTreeMap::new();
        for row in self.scan(&prefix::sessions()) {
            if let (Key::Session(id), Row::Session(row)) = row? {
                sessions.insert(id, row);
            }
        }
        if sessions.len() > 1 {
            self.report(format!("{} sessions are open, at most one may be", sessions.len()));
        }
        for row in self.scan(&prefix::outcomes()) {
            if let Key::Outcome(id, seq) = row?.0 {
                match sessions.get(&id) {
                    None => self.report(format!("an outcome is kept of session {id:x}, which is not open", id = id.0)),
                    Some(session) if seq < session.done_below => {
                        self.report(format!(
                            "outcome {seq} is kept of session {id:x}, which is done with it",
                            id = id.0
                        ));
                    }
                    Some(_) => {}
                }
            }
        }
        Ok(sessions)
    }

    fn read_inodes(
        &mut self,
        counters: &Counters,
        pairs: usize,
        sessions: &BTreeMap<SessionId, SessionRow>,
    ) -> Result<(), Fault> {
        let (mut dirs, mut others) = (0, 0);
        for row in self.scan(&prefix::inodes()) {
            let (Key::Inode(ino), Row::Inode(row)) = row? else { continue };
            match row.attr.kind {
                FileKind::Dir => dirs += 1,
                _ => others += 1,
            }
            self.attributes(ino, &row, pairs);
            if ino.0 >= counters.next_ino {
                self.report(format!("inode {ino} has a number that was never granted"));
            }
            let is_unused =
                |session: &SessionRow| session.unused.iter().any(|(from, to)| (*from..*to).contains(&ino.0));
            if sessions.values().any(is_unused) {
                self.report(format!("inode {ino} has a number that is to be used yet"));
            }
            self.inodes.push(Seen {
                ino,
                kind: row.attr.kind,
                perm: row.attr.perm,
                nlink: row.attr.nlink,
                size: row.attr.size,
                parent: row.attr.parent,
                next_cookie: row.next_cookie,
                xattr_bytes: row.xattr_bytes,
                xattrs: row.attr.xattrs,
                names: 0,
                children: 0,
                subdirs: 0,
                is_orphan: false,
                has_target: false,
                reached: Reached::No,
            });
        }
        if (dirs, others) != (counters.dirs, counters.others) {
            self.report(format!(
                "there are {dirs} directories and {others} other inodes, but {} and {} were counted",
                counters.dirs, counters.others
            ));
        }
        Ok(())
    }

    fn attributes(&mut self, ino: Ino, row: &InodeRow, pairs: usize) {
        let attr = &row.attr;
        if attr.ino != ino {
            self.report(format!("the row of inode {ino} says that it is inode {}", attr.ino));
        }
        let Placement { first_pair, turn } = attr.placement;
        if usize::from(first_pair) >= pairs.max(1) || turn > 1 {
            self.report(format!("inode {ino} is placed on {}, turn {turn}, which is no place", PairId(first_pair)));
        }
        if attr.kind == FileKind::File && (attr.size > FILE_MAX_BYTES || attr.blocks > FILE_MAX_BYTES / BLOCK_BYTES) {
            self.report(format!("file {ino} is larger than files can be"));
        }
        if attr.kind != FileKind::Dir && attr.nlink > LINKS_MAX {
            self.report(format!("inode {ino} has more links than inodes can have"));
        }
    }

    fn orphans(&mut self, sessions: &BTreeMap<SessionId, SessionRow>) -> Result<(), Fault> {
        for row in self.scan(&prefix::orphans()) {
            let Key::Orphan(session, ino) = row?.0 else { continue };
            if !sessions.contains_key(&session) {
                self.report(format!("inode {ino} is the orphan of session {:x}, which is not open", session.0));
            }
            match self.find(ino) {
                None => self.report(format!("inode {ino} is an orphan, but does not exist")),
                Some(seen) if seen.nlink > 0 => self.report(format!("inode {ino} is an orphan, but has names")),
                Some(seen) => seen.is_orphan = true,
            }
        }
        Ok(())
    }

    /// Goes through both orders of the entries side by side, one directory at a time.
    fn entries(&mut self) -> Result<(), Fault> {
        let mut by_name = self.scan(&prefix::entries()).peekable();
        let mut by_cookie = self.scan(&prefix::index()).peekable();
        loop {
            let named = directory_of(by_name.peek());
            let placed = directory_of(by_cookie.peek());
            let Some(parent) = [named, placed].into_iter().flatten().min() else { break };
            // By cookie, a fingerprint: names would be too much memory in a directory of millions.
            let mut entries: BTreeMap<u64, u64> = BTreeMap::new();
            while let Some(row) = next_of(&mut by_name, parent) {
                if let (Key::Entry(_, name), Row::Entry(entry)) = row? {
                    self.entry(parent, &name, &entry);
                    if entries.insert(entry.cookie, fingerprint(&name, entry.ino, entry.kind)).is_some() {
                        self.report(format!("in directory {parent}, {name:?} has another entry's cookie"));
                    }
                }
            }
            while let Some(row) = next_of(&mut by_cookie, parent) {
                if let (Key::Index(_, cookie), Row::Index(IndexRow { name, ino, kind })) = row?
                    && entries.remove(&cookie) != Some(fingerprint(&name, ino, kind))
                {
                    self.report(format!("in directory {parent}, cookie {cookie} is not that of {name:?}"));
                }
            }
            for cookie in entries.into_keys() {
                self.report(format!("in directory {parent}, the entry of cookie {cookie} is not found by its cookie"));
            }
        }
        // Whatever could not be read ends both walks early.
        for row in [by_name.next(), by_cookie.next()].into_iter().flatten() {
            row?;
        }
        Ok(())
    }

    fn entry(&mut self, parent: Ino, name: &FileName, entry: &EntryRow) {
        let is_dir = entry.kind == FileKind::Dir;
        let problem = match self.find(parent) {
            None => Some("is in a directory that does not exist"),
            Some(seen) if seen.kind != FileKind::Dir => Some("is in something that is no directory"),
            Some(seen) => {
                seen.children += 1;
                seen.subdirs += u32::from(is_dir);
                (entry.cookie == 0 || entry.cookie >= seen.next_cookie).then_some("has a cookie that was never given")
            }
        };
        let other = match self.find(entry.ino) {
            None => Some("names an inode that does not exist"),
            Some(seen) => {
                seen.names += 1;
                if seen.kind != entry.kind {
                    Some("says another kind than its inode")
                } else if is_dir && seen.parent != parent {
                    Some("names a directory that says it is elsewhere")
                } else {
                    None
                }
            }
        };
        for problem in [problem, other].into_iter().flatten() {
            self.report(format!("entry {name:?} of directory {parent} {problem}"));
        }
    }

    fn links_and_sizes(&mut self) {
        let mut found = Vec::new();
        for seen in &self.inodes {
            let ino = seen.ino;
            let names = seen.names + u32::from(ino == Ino::ROOT);
            match seen.kind {
                FileKind::Dir => {
                    let expected = if names == 0 { 0 } else { 2 + seen.subdirs };
                    if names > 1 {
                        found.push(format!("directory {ino} has {names} names"));
                    }
                    if seen.nlink != expected {
                        found.push(format!("directory {ino} has link count {}, it should be {expected}", seen.nlink));
                    }
                    if seen.size != seen.children {
                        let (says, has) = (seen.size, seen.children);
                        found.push(format!("directory {ino} says that it has {says} entries, it has {has}"));
                    }
                }
                _ if seen.nlink != names => {
                    found.push(format!("inode {ino} has link count {}, but {names} names", seen.nlink));
                }
                _ => {}
            }
            if seen.nlink == 0 && !seen.is_orphan {
                found.push(format!("inode {ino} has no names, and no session holds it"));
            }
        }
        found.into_iter().for_each(|problem| self.report(problem));
    }

    /// Every directory that has a name is reached from the root.
    fn tree(&mut self) {
        match self.find(Ino::ROOT) {
            Some(root) if root.kind == FileKind::Dir && root.parent == Ino::ROOT => root.reached = Reached::Yes,
            _ => self.report("the root is missing, or no directory, or not its own parent".into()),
        }
        for start in 0..self.inodes.len() {
            let mut path = Vec::new();
            let mut at = start;
            let reached = loop {
                let seen = &mut self.inodes[at];
                match seen.reached {
                    Reached::Yes => break true,
                    // Met on this very path: a circle.
                    Reached::UnderWay | Reached::Lost => break false,
                    Reached::No if seen.kind != FileKind::Dir || seen.nlink == 0 => break false,
                    Reached::No => seen.reached = Reached::UnderWay,
                }
                path.push(at);
                let parent = seen.parent;
                match self.inodes.binary_search_by_key(&parent, |seen| seen.ino) {
                    Ok(next) => at = next,
                    Err(_) => break false,
                }
            };
            for at in path {
                self.inodes[at].reached = if reached { Reached::Yes } else { Reached::Lost };
                if !reached {
                    self.report(format!("directory {} is not reached from the root", self.inodes[at].ino));
                }
            }
        }
    }

    fn xattrs(&mut self) -> Result<(), Fault> {
        let mut sums: BTreeMap<Ino, (u64, u64)> = BTreeMap::new();
        for row in self.scan(&prefix::xattrs()) {
            if let (Key::Xattr(ino, name), Row::Xattr(value)) = row? {
                let (count, bytes) = sums.entry(ino).or_default();
                *count += 1;
                *bytes += (name.len() + value.len()) as u64;
                let misfit = acl::is_acl(&name)
                    && self.find(ino).is_some_and(|seen| !acl::fits(&name, &value, seen.kind, seen.perm));
                if misfit {
                    let name = String::from_utf8_lossy(&name).into_owned();
                    self.report(format!("inode {ino} has an access control list, {name}, that it cannot have"));
                }
            }
        }
        for at in 0..self.inodes.len() {
            let seen = &self.inodes[at];
            let sum = sums.remove(&seen.ino).unwrap_or_default();
            if sum != (u64::from(seen.xattrs), u64::from(seen.xattr_bytes)) {
                let (count, bytes) = sum;
                self.report(format!(
                    "inode {} says that it has {} extended attributes of {} bytes, it has {count} of {bytes}",
                    seen.ino, seen.xattrs, seen.xattr_bytes
                ));
            }
        }
        for ino in sums.into_keys() {
            self.report(format!("there are extended attributes of inode {ino}, which does not exist"));
        }
        Ok(())
    }

    fn targets(&mut self) -> Result<(), Fault> {
        for row in self.scan(&prefix::targets()) {
            let (Key::Target(ino), Row::Target(target)) = row? else { continue };
            match self.find(ino) {
                Some(seen) if seen.kind == FileKind::Symlink => {
                    seen.has_target = true;
                    if seen.size != target.len() as u64 {
                        self.report(format!("symbolic link {ino} has another size than its target"));
                    }
                }
                _ => self.report(format!("there is a target of inode {ino}, which is no symbolic link")),
            }
        }
        for at in 0..self.inodes.len() {
            let seen = &self.inodes[at];
            if seen.kind == FileKind::Symlink && !seen.has_target {
                self.report(format!("symbolic link {} has no target", seen.ino));
            }
        }
        Ok(())
    }

    /// What was lost is of files that are there, and within them.
    fn lost(&mut self, pairs: usize) -> Result<(), Fault> {
        for row in self.scan(&prefix::lost()) {
            let (Key::Lost(ino), Row::Lost(ends)) = row? else { continue };
            let in_order = !ends.is_empty() && ends.is_sorted_by(|(a, _), (b, _)| a < b);
            if !in_order || ends.iter().any(|(pair, _)| usize::from(pair.0) >= pairs) {
                self.report(format!("what was lost of inode {ino} is not said pair by pair"));
            }
            match self.find(ino) {
                Some(seen) if seen.kind == FileKind::File => {
                    let size = seen.size;
                    if ends.iter().any(|(_, end)| *end == 0 || *end > size) {
                        self.report(format!("of inode {ino} more was lost than it has bytes, or nothing"));
                    }
                }
                _ => self.report(format!("something was lost of inode {ino}, which is no file")),
            }
        }
        Ok(())
    }
}

fn fingerprint(name: &FileName, ino: Ino, kind: FileKind) -> u64 {
    let mut hasher = DefaultHasher::new();
    (name, ino, kind).hash(&mut hasher);
    hasher.finish()
}

fn directory_of(row: Option<&Result<(Key, Row), Fault>>) -> Option<Ino> {
    match row? {
        Ok((Key::Entry(parent, _) | Key::Index(parent, _), _)) => Some(*parent),
        _ => None,
    }
}

fn next_of<I>(rows: &mut Peekable<I>, parent: Ino) -> Option<I::Item>
where
    I: Iterator<Item = Result<(Key, Row), Fault>>,
{
    rows.next_if(|row| directory_of(Some(row)) == Some(parent))
}

#[cfg(test)]
#[path = "invariants_tests.rs"]
mod tests;
