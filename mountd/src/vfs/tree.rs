//! What this mount knows of names and attributes: a bounded cache that is right, because the mount session holds the
//! tree exclusively and every change passes through here. Pure: no I/O, no clock; driven under one lock by the
//! operations and by the settling of changes.
//!
//! What a question to the cluster brings back is taken in only if nothing changed here since the question was asked
//! (see [`Stamp`]); what has changes under way, open handles or unreported writes is never dropped.

use super::cluster::LossMark;
use bytes::Bytes;
use raidfs_common::attr::{Attr, FileKind};
use raidfs_common::id::Ino;
use raidfs_common::time::Time;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

/// Counts the changes that were made here; an answer that was asked for before a change may not know of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp(u64);

/// An inode's extended attributes, names with values.
pub type Xattrs = Arc<Vec<(Bytes, Bytes)>>;

/// How much is remembered.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Inodes with their attributes, about 400 bytes each.
    pub nodes: usize,
    /// Directory entries, about 120 bytes each.
    pub entries: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { nodes: 150_000, entries: 300_000 }
    }
}

/// What a directory is known to have under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// This inode.
    Is(Ino),
    /// Nothing.
    Absent,
    /// Ask the cluster.
    Unknown,
}

/// An entry of a directory that is known: an inode, or (None) surely nothing.
#[derive(Clone, Copy, Debug)]
struct Entry {
    ino: Option<Ino>,
    /// Changes under way that decide it.
    pending: u16,
}

/// What is known of a directory's entries.
#[derive(Debug, Default)]
struct Dir {
    entries: BTreeMap<Box<[u8]>, Entry>,
    /// A name that is not in `entries` is not in the directory.
    complete: bool,
    /// When entries were last dropped for want of room.
    dropped: Stamp,
    /// Names that had to be asked for, one at a time.
    misses: u16,
}

/// What is known of an inode.
#[derive(Debug)]
pub struct Node {
    /// Its attributes, own changes included that the cluster has not confirmed yet.
    pub attr: Attr,
    /// Open handles.
    pub opens: u32,
    /// Changes under way that touch it; while there are any, `attr` is ahead of the cluster.
    pub pending: u32,
    /// Writes moved size or times, and no change that says so was submitted yet.
    pub written: bool,
    /// Its access time has moved, and no change that says so was submitted yet.
    pub read: bool,
    /// Blocks that came or went with chunk changes, and no change that says so was submitted yet.
    pub blocks: i64,
    /// When blocks last came or went so.
    counted: Stamp,
    /// Nobody has it open and no name leads to it, so the servers have let it go: it was changed here alone, for
    /// who still holds it in the kernel (a fifo in use, an O_PATH descriptor).
    pub alone: bool,
    /// The ticket of the last change that a power cut must not undo once a sync has returned (0: none).
    pub changed: u64,
    /// Its size once every change that was submitted has been made.
    pub sent: u64,
    /// Every change of its contents is on stable storage.
    pub synced: bool,
    /// If not: from before the oldest change of them was sent that was made here, if any was.
    pub unsynced_since: Option<LossMark>,
    /// Its extended attributes, if they are known. `attr` has their number, which is always right.
    pub xattrs: Option<Xattrs>,
    /// When those last changed.
    xattrs_stamp: Stamp,
    /// A symbolic link's target, if it is known.
    pub target: Option<Bytes>,
    /// The kernel was told the target, and does not ask again.
    pub link_cached: bool,
    /// A directory that was opened, and has not changed since: what the kernel has read of it is of one state.
    pub listed: bool,
    dir: Option<Box<Dir>>,
    stamp: Stamp,
    used: bool,
    /// `attr` is not to be relied on: ask the cluster.
    doubtful: bool,
}

impl Node {
    fn new(attr: Attr, stamp: Stamp) -> Node {
        Node {
            attr,
            opens: 0,
            pending: 0,
            written: false,
            read: false,
            blocks: 0,
            counted: Stamp(0),
            alone: false,
            changed: 0,
            sent: attr.size,
            synced: false,
            unsynced_since: None,
            xattrs: None,
            xattrs_stamp: stamp,
            target: None,
            link_cached: false,
            listed: false,
            dir: None,
            stamp,
            used: false,
            doubtful: false,
        }
    }

    fn pinned(&self) -> bool {
        self.opens > 0 || self.pending > 0 || self.written || self.read || self.blocks != 0 || self.alone
    }

    /// Whether the servers keep nothing of it.
    pub fn has_ended(&self) -> bool {
        self.attr.nlink == 0 && self.opens == 0
    }

    /// Whether the directory is known to have no entry at all; None if that is not known.
    pub fn empty_dir(&self) -> Option<bool> {
        let dir = self.dir.as_ref()?;
        if dir.entries.values().any(|e| e.ino.is_some()) {
            return Some(false);
        }
        dir.complete.then_some(true)
    }
}

/// The cache.
#[derive(Debug, Default)]
pub struct Tree {
    /// Boxed, so that the table stays small and quick to grow.
    nodes: HashMap<Ino, Box<Node>>,
    /// Every inode once, in the order in which they are considered for being forgotten.
    order: VecDeque<Ino>,
    entries: usize,
    stamp: Stamp,
    /// The newest stamp of anything that was forgotten.
    forgotten: Stamp,
    /// When an inode was last forgotten that had entries.
    dropped: Stamp,
    limits: Limits,
    /// Outcomes that were not as expected: a difference between this side's rules and the cluster's.
    surprises: u64,
}

impl Tree {
    /// An empty cache.
    pub fn new(limits: Limits) -> Tree {
        Tree { limits, ..Tree::default() }
    }

    /// Take this before asking the cluster; answers are taken in with it.
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }

    fn tick(&mut self) -> Stamp {
        self.stamp.0 += 1;
        self.stamp
    }

    /// An inode, if it is known.
    pub fn node(&mut self, ino: Ino) -> Option<&mut Node> {
        let node = self.nodes.get_mut(&ino)?;
        node.used = true;
        Some(&mut **node)
    }

    /// The attributes of an inode, if they are known.
    pub fn attr(&mut self, ino: Ino) -> Option<Attr> {
        self.node(ino).filter(|n| !n.doubtful).map(|n| n.attr)
    }

    /// Outcomes that were not as expected.
    pub fn surprises(&self) -> u64 {
        self.surprises
    }

    /// How many inodes and entries are known.
    pub fn sizes(&self) -> (usize, usize) {
        (self.nodes.len(), self.entries)
    }

    /// Takes attributes in that were asked for at `asked`, and returns what is true now; None: ask again.
    pub fn learn(&mut self, attr: &Attr, asked: Stamp) -> Option<Attr> {
        if let Some(node) = self.node(attr.ino) {
            let ours = node.pending > 0 || node.written || node.read || node.blocks != 0 || node.stamp > asked;
            if !ours {
                node.attr = *attr;
                node.sent = attr.size;
                node.doubtful = false;
            }
            return (!node.doubtful).then_some(node.attr);
        }
        if self.forgotten > asked {
            return None;
        }
        self.insert(Node::new(*attr, Stamp(0)));
        Some(*attr)
    }

    /// Takes the outcome of a change in: these are an inode's attributes after it. `expected`: they should be what
    /// is known already.
    pub fn settle(&mut self, attr: &Attr, expected: bool) {
        let stamp = self.tick();
        let Some(node) = self.nodes.get_mut(&attr.ino) else {
            self.insert(Node::new(*attr, stamp));
            return;
        };
        node.stamp = stamp;
        node.attr.placement = attr.placement;
        if node.has_ended() {
            // What nobody has but the kernel is as it was last seen here: of some of it the servers were never told.
            return;
        }
        if node.pending > 0 {
            // A later change of it is under way; its outcome will say how things are then.
            return;
        }
        let was = node.attr;
        let ours = node.written || node.blocks != 0;
        if expected && !ours && !node.read && was != *attr {
            self.surprises += 1;
            tracing::debug!("a change ended otherwise than expected: {attr:?} instead of {was:?}");
        }
        node.attr = *attr;
        node.sent = attr.size;
        node.doubtful = false;
        if node.read {
            node.attr.atime = was.atime;
        }
        if ours {
            node.attr.size = was.size.max(attr.size);
            node.attr.mtime = was.mtime;
            node.attr.ctime = was.ctime.max(attr.ctime);
            node.attr.blocks = attr.blocks.saturating_add_signed(node.blocks);
        }
    }

    /// Drops what is known of an inode besides what pins it, after a change of it did not end as it was expected to.
    pub fn distrust(&mut self, ino: Ino) {
        let stamp = self.tick();
        if let Some(node) = self.nodes.get_mut(&ino) {
            node.stamp = stamp;
            node.xattrs = None;
            node.xattrs_stamp = stamp;
            node.target = None;
            node.written = false;
            node.read = false;
            node.blocks = 0;
            node.alone = false;
            node.doubtful = true;
            self.forget_entries(ino, true);
            if self.nodes.get(&ino).is_some_and(|n| !n.pinned()) {
                self.nodes.remove(&ino);
            }
        }
    }

    /// The kernel holds an inode no more: what was changed here alone is nobody's.
    pub fn let_go(&mut self, ino: Ino) {
        if let Some(node) = self.nodes.get_mut(&ino) {
            node.alone = false;
        }
    }

    /// A change that touches these inodes was submitted.
    pub fn pin(&mut self, inos: &[Ino]) {
        let stamp = self.tick();
        for ino in inos {
            if let Some(node) = self.nodes.get_mut(ino) {
                node.pending += 1;
                node.stamp = stamp;
            }
        }
    }

    /// A change that touched these inodes has an outcome.
    pub fn unpin(&mut self, inos: &[Ino]) {
        let stamp = self.tick();
        for ino in inos {
            if let Some(node) = self.nodes.get_mut(ino) {
                node.pending = node.pending.saturating_sub(1);
                node.stamp = stamp;
            }
        }
    }

    /// Inodes among these that are known: those that [`Tree::pin`] counts.
    pub fn known(&self, inos: &[Ino]) -> Vec<Ino> {
        inos.iter().copied().filter(|ino| self.nodes.contains_key(ino)).collect()
    }

    /// A write reached up to `end` of a file: its attributes say so from now on. Gives its size before.
    pub fn wrote(&mut self, ino: Ino, end: u64, now: Time) -> Option<u64> {
        let stamp = self.tick();
        let node = self.nodes.get_mut(&ino)?;
        let before = node.attr.size;
        node.attr.size = before.max(end);
        node.attr.mtime = now;
        node.attr.ctime = now;
        node.written = true;
        node.used = true;
        node.stamp = stamp;
        Some(before)
    }

    /// Blocks of a file came (or went) with changes of its chunks.
    pub fn count_blocks(&mut self, ino: Ino, more: i64) {
        let stamp = self.tick();
        if let Some(node) = self.node(ino).filter(|_| more != 0) {
            node.blocks += more;
            node.attr.blocks = node.attr.blocks.saturating_add_signed(more);
            node.counted = stamp;
        }
    }

    /// Whether blocks of a file came or went since then.
    pub fn blocks_moved(&self, ino: Ino, since: Stamp) -> bool {
        self.nodes.get(&ino).is_some_and(|node| node.counted > since)
    }

    /// An inode has so many extended attributes now, and these, if they are known.
    pub fn xattrs_changed(&mut self, ino: Ino, count: u16, xattrs: Option<Xattrs>) {
        let stamp = self.tick();
        if let Some(node) = self.nodes.get_mut(&ino) {
            node.attr.xattrs = count;
            node.xattrs = xattrs;
            node.xattrs_stamp = stamp;
            node.stamp = stamp;
        }
    }

    /// Takes in all extended attributes of an inode, asked for at `asked`. False: they have changed since.
    pub fn learn_xattrs(&mut self, ino: Ino, xattrs: &Xattrs, asked: Stamp) -> bool {
        let Some(node) = self.nodes.get_mut(&ino) else { return self.forgotten <= asked };
        if node.xattrs_stamp > asked {
            return false;
        }
        node.xattrs = Some(xattrs.clone());
        true
    }

    /// What `parent` has under `name`.
    pub fn named(&mut self, parent: Ino, name: &[u8]) -> Named {
        let Some(dir) = self.node(parent).and_then(|n| n.dir.as_ref()) else { return Named::Unknown };
        match dir.entries.get(name) {
            Some(Entry { ino: Some(ino), .. }) => Named::Is(*ino),
            Some(Entry { ino: None, .. }) => Named::Absent,
            None if dir.complete => Named::Absent,
            None => Named::Unknown,
        }
    }

    /// Takes in what `parent` was found to have under `name`, asked for at `asked`. False: ask again.
    pub fn learn_name(&mut self, parent: Ino, name: &[u8], ino: Option<Ino>, asked: Stamp) -> bool {
        let Some(node) = self.nodes.get_mut(&parent) else { return self.forgotten <= asked };
        if node.stamp > asked {
            return false;
        }
        self.put(parent, name, ino, 0);
        true
    }

    /// Takes a whole directory in, asked for at `asked`. False: it has changed since.
    pub fn learn_all<'a>(&mut self, parent: Ino, entries: impl Iterator<Item = (&'a [u8], Ino)>, asked: Stamp) -> bool {
        let Some(node) = self.nodes.get_mut(&parent) else { return false };
        if node.stamp > asked {
            return false;
        }
        for (name, ino) in entries {
            self.put(parent, name, Some(ino), 0);
        }
        self.set_complete(parent, asked);
        true
    }

    /// Counts a name that had to be asked for, and returns how many there were.
    pub fn missed(&mut self, parent: Ino) -> u16 {
        let Some(node) = self.nodes.get_mut(&parent) else { return 0 };
        let dir = node.dir.get_or_insert_default();
        dir.misses = dir.misses.saturating_add(1);
        dir.misses
    }

    /// All that the directory has was taken in, asked for since `asked`: every other name is surely not there, unless there
    /// was no room for all of them.
    pub fn set_complete(&mut self, ino: Ino, asked: Stamp) {
        let Some(node) = self.nodes.get_mut(&ino).filter(|_| self.dropped <= asked) else { return };
        let dir = node.dir.get_or_insert_default();
        dir.complete |= dir.dropped <= asked;
    }

    /// Whether nothing was changed in the directory since `asked`.
    pub fn unchanged(&self, ino: Ino, asked: Stamp) -> bool {
        self.nodes.get(&ino).map_or(self.forgotten, |n| n.stamp) <= asked
    }

    /// Sets what `parent` has under `name`, by a change that was made or (with `pending` 1) is expected to be.
    pub fn name(&mut self, parent: Ino, name: &[u8], ino: Option<Ino>, pending: u16) {
        let stamp = self.tick();
        if let Some(node) = self.nodes.get_mut(&parent) {
            node.stamp = stamp;
            self.put(parent, name, ino, pending);
        }
    }

    /// A change that was expected to decide this entry has an outcome.
    pub fn unpin_name(&mut self, parent: Ino, name: &[u8]) {
        let Some(dir) = self.nodes.get_mut(&parent).and_then(|n| n.dir.as_mut()) else { return };
        let complete = dir.complete;
        let Some(entry) = dir.entries.get_mut(name) else { return };
        entry.pending = entry.pending.saturating_sub(1);
        if complete && entry.pending == 0 && entry.ino.is_none() {
            dir.entries.remove(name);
            self.entries -= 1;
        }
    }

    /// Drops what is known of one name.
    pub fn forget_name(&mut self, parent: Ino, name: &[u8]) {
        let stamp = self.tick();
        let Some(node) = self.nodes.get_mut(&parent) else { return };
        node.stamp = stamp;
        if let Some(dir) = node.dir.as_mut() {
            dir.complete = false;
            if dir.entries.remove(name).is_some() {
                self.entries -= 1;
            }
        }
    }

    fn put(&mut self, parent: Ino, name: &[u8], ino: Option<Ino>, pending: u16) {
        let Some(node) = self.nodes.get_mut(&parent) else { return };
        let dir = node.dir.get_or_insert_default();
        if let Some(entry) = dir.entries.get_mut(name) {
            entry.ino = ino;
            entry.pending += pending;
            if ino.is_none() && dir.complete && entry.pending == 0 {
                dir.entries.remove(name);
                self.entries -= 1;
            }
        } else if ino.is_some() || pending > 0 || !dir.complete {
            dir.entries.insert(name.into(), Entry { ino, pending });
            self.entries += 1;
        }
        self.shrink();
    }

    fn insert(&mut self, node: Node) {
        let ino = node.attr.ino;
        if self.nodes.insert(ino, Box::new(node)).is_none() {
            self.order.push_back(ino);
        }
        self.shrink();
    }

    /// Makes a new inode known whose attributes are decided here.
    pub fn born(&mut self, attr: Attr) -> &mut Node {
        let stamp = self.tick();
        let ino = attr.ino;
        let mut node = Node::new(attr, stamp);
        node.used = true;
        if attr.kind == FileKind::Dir {
            node.dir = Some(Box::new(Dir { complete: true, ..Dir::default() }));
        }
        if self.nodes.insert(ino, Box::new(node)).is_none() {
            self.order.push_back(ino);
        }
        self.shrink();
        self.nodes.get_mut(&ino).expect("just put there, and in use")
    }

    /// Forgets what was not used lately, until all is within bounds; a bounded number of steps for each call, since
    /// each call follows one insertion.
    fn shrink(&mut self) {
        for _ in 0..4 {
            let many_nodes = self.nodes.len() > self.limits.nodes;
            let many_entries = self.entries > self.limits.entries;
            if !many_nodes && !many_entries {
                return;
            }
            let Some(ino) = self.order.pop_front() else { return };
            let Some(node) = self.nodes.get_mut(&ino) else { continue };
            let used = std::mem::take(&mut node.used);
            if many_entries && node.dir.as_ref().is_some_and(|d| !d.entries.is_empty()) {
                self.forget_entries(ino, false);
            }
            let node = self.nodes.get(&ino).expect("only its entries were dropped");
            if many_nodes && !used && !node.pinned() && ino != Ino::ROOT {
                self.forgotten = self.forgotten.max(node.stamp);
                self.forget_entries(ino, true);
                self.nodes.remove(&ino);
            } else {
                self.order.push_back(ino);
            }
        }
    }

    fn forget_entries(&mut self, ino: Ino, all: bool) {
        let stamp = self.tick();
        let Some(dir) = self.nodes.get_mut(&ino).and_then(|n| n.dir.as_mut()) else { return };
        let before = dir.entries.len();
        (dir.complete, dir.dropped) = (false, stamp);
        if all {
            self.dropped = if before > 0 { stamp } else { self.dropped };
            dir.entries.clear();
        } else {
            dir.entries.retain(|_, e| e.pending > 0);
        }
        self.entries -= before - dir.entries.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vfs::testing::empty_file;

    fn dir(ino: Ino) -> Attr {
        Attr { kind: FileKind::Dir, perm: 0o755, nlink: 2, ..empty_file(ino) }
    }

    #[test]
    fn of_a_directory_that_there_is_no_room_for_no_name_is_said_to_be_absent() {
        let names: Vec<String> = (0..9).map(|n| format!("f{n}")).collect();
        let entries = || names.iter().zip(100..).map(|(name, ino)| (name.as_bytes(), Ino(ino)));
        for (room, at_once, complete) in [(9, true, true), (9, false, true), (4, true, false), (4, false, false)] {
            let mut tree = Tree::new(Limits { nodes: 100, entries: room });
            let asked = tree.stamp();
            tree.learn(&dir(Ino(7)), asked).unwrap();
            let asked = tree.stamp();
            if at_once {
                assert!(tree.learn_all(Ino(7), entries(), asked));
            } else {
                entries().for_each(|(name, ino)| assert!(tree.learn_name(Ino(7), name, Some(ino), asked)));
                assert!(tree.unchanged(Ino(7), asked));
                tree.set_complete(Ino(7), asked);
            }
            for (name, ino) in entries() {
                let named = tree.named(Ino(7), name);
                assert!(named == Named::Is(ino) || !complete && named == Named::Unknown, "{named:?}");
            }
            assert_eq!(tree.named(Ino(7), b"other") == Named::Absent, complete);
        }
    }
}
