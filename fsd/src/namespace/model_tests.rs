//! Generated changes, applied by the namespace and by a model that is written as differently as possible: it keeps for
//! each directory a list of names, counts links by looking at all of them, and finds a directory's parent by searching.
//! Errors, every attribute and every listing must be equal; so must two namespaces of which one is killed at random.

use super::snapshot::{Installer, Maker};
use super::store::Store;
use super::store_disk::{DiskOptions, DiskStore};
use super::store_memory::MemoryStore;
use super::testing::{SESSION, open_session};
use super::{Namespace, Refused, invariants};
use bytes::Bytes;
use proptest::prelude::*;
use raidfs_common::acl;
use raidfs_common::attr::{Attr, FileKind};
use raidfs_common::error::FsError;
use raidfs_common::id::{Ino, LogIndex, ServerId, Term};
use raidfs_common::name::FileName;
use raidfs_common::namespace::*;
use raidfs_common::time::Time;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A change before inodes and names are chosen: numbers are taken modulo what there is.
#[derive(Clone, Debug)]
enum Op {
    Make(u8, u8, FileKind),
    MakeUsed(u8, u8),
    Link(u8, u8, u8),
    Unlink(u8, u8, bool),
    Rmdir(u8, u8, bool),
    Rename((u8, u8), (u8, u8), RenameMode, bool),
    Resize(u8, u64),
    Chmod(u8, u16),
    Wrote(u8, u32, u64, i64),
    SetXattr(u8, u8, u8, XattrMode),
    RemoveXattr(u8, u8),
    /// Of which inode, whether the default list, permissions of three or five entries, and the bits that come along.
    SetAcl(u8, bool, Vec<u16>, Option<u16>),
    RemoveAcl(u8, bool),
    Release(u8),
    Repeat,
}

fn ops() -> impl Strategy<Value = Op> {
    let n = || 0u8..12;
    let kind = prop_oneof![
        4 => Just(FileKind::File),
        5 => Just(FileKind::Dir),
        1 => Just(FileKind::Symlink),
        1 => Just(FileKind::Socket),
    ];
    let mode =
        prop_oneof![3 => Just(RenameMode::Replace), 1 => Just(RenameMode::NoReplace), 2 => Just(RenameMode::Exchange)];
    let xattr = prop_oneof![Just(XattrMode::Any), Just(XattrMode::Create), Just(XattrMode::Replace)];
    prop_oneof![
        8 => (n(), n(), kind).prop_map(|(a, b, c)| Op::Make(a, b, c)),
        1 => (n(), n()).prop_map(|(a, b)| Op::MakeUsed(a, b)),
        2 => (n(), n(), n()).prop_map(|(a, b, c)| Op::Link(a, b, c)),
        3 => (n(), n(), any::<bool>()).prop_map(|(a, b, c)| Op::Unlink(a, b, c)),
        3 => (n(), n(), any::<bool>()).prop_map(|(a, b, c)| Op::Rmdir(a, b, c)),
        8 => ((n(), n()), (n(), n()), mode, any::<bool>()).prop_map(|(a, b, c, d)| Op::Rename(a, b, c, d)),
        2 => (n(), 0u64..40_000).prop_map(|(a, b)| Op::Resize(a, b)),
        2 => (n(), any::<u16>()).prop_map(|(a, b)| Op::Chmod(a, b)),
        2 => (n(), 0u32..3, 0u64..40_000, -5i64..12).prop_map(|(a, b, c, d)| Op::Wrote(a, b, c, d)),
        1 => (n(), 0u8..3, n(), xattr).prop_map(|(a, b, c, d)| Op::SetXattr(a, b, c, d)),
        1 => (n(), 0u8..3).prop_map(|(a, b)| Op::RemoveXattr(a, b)),
        3 => (n(), any::<bool>(), acl_perms(), proptest::option::of(0u16..0o10000))
            .prop_map(|(a, b, c, d)| Op::SetAcl(a, b, c, d)),
        1 => (n(), any::<bool>()).prop_map(|(a, b)| Op::RemoveAcl(a, b)),
        1 => n().prop_map(Op::Release),
        1 => Just(Op::Repeat),
    ]
}

/// Of a plain list, of one that names somebody, and of one that nobody may have.
fn acl_perms() -> impl Strategy<Value = Vec<u16>> {
    let perms = |n: usize| proptest::collection::vec(0u16..8, n);
    prop_oneof![2 => perms(3), 6 => perms(5), 1 => Just(vec![]), 1 => Just(vec![9, 9, 9])]
}

/// Where the permissions of entry `n` of a list stand.
fn acl_entry(value: &[u8], n: usize) -> u16 {
    u16::from(value[4 + 8 * n + 2])
}

/// What the model keeps of an inode.
#[derive(Clone, Debug)]
struct Node {
    kind: FileKind,
    perm: u16,
    size: u64,
    blocks: i64,
    cuts: u32,
    mtime: Time,
    ctime: Time,
    xattrs: BTreeMap<Bytes, Bytes>,
    /// Of a directory, in the order in which its reader sees them.
    names: Vec<(FileName, u64)>,
    held: bool,
}

impl Node {
    fn set_acl(&mut self, name: &Bytes, value: Bytes, perm: Option<u16>) -> Told {
        if self.kind == FileKind::Symlink {
            return Err(FsError::NotSupported);
        }
        let entries = value.len() / 8;
        if (0..entries).any(|n| acl_entry(&value, n) > 7) {
            return Err(FsError::Invalid);
        }
        let is_access = name.ends_with(b"access");
        if !is_access && entries > 0 && self.kind != FileKind::Dir {
            return Err(FsError::Denied);
        }
        self.perm = self.perm & 0o777 | perm.unwrap_or(self.perm) & 0o7000;
        if is_access && entries > 0 {
            let entry = |n: usize| acl_entry(&value, n);
            let (owner, group, other) = if entries == 5 { (0, 3, 4) } else { (0, 1, 2) };
            self.perm = self.perm & 0o7000 | entry(owner) << 6 | entry(group) << 3 | entry(other);
        }
        if entries == 0 || is_access && entries == 3 {
            self.xattrs.remove(name);
        } else {
            self.xattrs.insert(name.clone(), value);
        }
        Ok(())
    }
}

#[derive(Clone, Debug, Default)]
struct Model {
    nodes: BTreeMap<u64, Node>,
    used: BTreeSet<u64>,
}

type Told = Result<(), FsError>;

impl Model {
    fn new() -> Model {
        let mut model = Model::default();
        model.add(1, FileKind::Dir, 0o755, Time::default());
        model
    }

    fn add(&mut self, ino: u64, kind: FileKind, perm: u16, now: Time) {
        let size = if kind == FileKind::Symlink { 6 } else { 0 };
        let xattrs = BTreeMap::new();
        let (mtime, ctime) = (now, now);
        let node = Node { kind, perm, size, blocks: 0, cuts: 0, mtime, ctime, xattrs, names: vec![], held: false };
        self.nodes.insert(ino, node);
        self.used.insert(ino);
    }

    fn is_dir(&self, ino: u64) -> bool {
        self.nodes.get(&ino).is_some_and(|node| node.kind == FileKind::Dir)
    }

    /// How many names point to it, everywhere.
    fn names_of(&self, ino: u64) -> u32 {
        self.nodes.values().flat_map(|node| &node.names).filter(|(_, to)| *to == ino).count() as u32
    }

    fn nlink(&self, ino: u64) -> u32 {
        let named = self.names_of(ino) + u32::from(ino == 1);
        if !self.is_dir(ino) || named == 0 {
            return named;
        }
        2 + self.nodes[&ino].names.iter().filter(|(_, to)| self.is_dir(*to)).count() as u32
    }

    fn open_dir(&self, ino: u64) -> Result<&Node, FsError> {
        match self.nodes.get(&ino) {
            None => Err(FsError::NotFound),
            Some(node) if node.kind != FileKind::Dir => Err(FsError::NotDir),
            Some(_) if self.nlink(ino) == 0 => Err(FsError::NotFound),
            Some(node) => Ok(node),
        }
    }

    fn get(&self, dir: u64, name: &FileName) -> Option<u64> {
        self.nodes[&dir].names.iter().find(|(at, _)| at == name).map(|(_, ino)| *ino)
    }

    /// Whether `below` is `above` or under it, looked for from above.
    fn under(&self, above: u64, below: u64) -> bool {
        above == below || self.nodes[&above].names.iter().any(|(_, to)| self.is_dir(*to) && self.under(*to, below))
    }

    fn touch(&mut self, dir: u64, now: Time) {
        let node = self.nodes.get_mut(&dir).unwrap();
        (node.mtime, node.ctime) = (now, now);
    }

    fn detach(&mut self, dir: u64, name: &FileName, now: Time) {
        self.nodes.get_mut(&dir).unwrap().names.retain(|(at, _)| at != name);
        self.touch(dir, now);
    }

    /// After a name was taken from `ino`.
    fn lost_a_name(&mut self, ino: u64, keep: bool, now: Time) {
        self.nodes.get_mut(&ino).unwrap().ctime = now;
        if self.names_of(ino) == 0 {
            if keep {
                self.nodes.get_mut(&ino).unwrap().held = true;
            } else {
                self.nodes.remove(&ino);
            }
        }
    }

    fn apply(&mut self, now: Time, change: &Change) -> Told {
        match change.clone() {
            Change::Make { parent, name, ino, kind, perm, .. } => {
                self.open_dir(parent.0)?;
                if self.get(parent.0, &name).is_some() {
                    return Err(FsError::Exists);
                }
                if self.used.contains(&ino.0) {
                    return Err(FsError::Invalid);
                }
                self.add(ino.0, kind, perm & 0o7777, now);
                self.nodes.get_mut(&parent.0).unwrap().names.push((name, ino.0));
                self.touch(parent.0, now);
            }
            Change::Link { ino, parent, name } => {
                if self.nlink(ino.0) == 0 {
                    return Err(FsError::NotFound);
                }
                self.open_dir(parent.0)?;
                if self.get(parent.0, &name).is_some() {
                    return Err(FsError::Exists);
                }
                if self.is_dir(ino.0) {
                    return Err(FsError::NotPermitted);
                }
                self.nodes.get_mut(&parent.0).unwrap().names.push((name, ino.0));
                self.touch(parent.0, now);
                self.nodes.get_mut(&ino.0).unwrap().ctime = now;
            }
            Change::Unlink { parent, name, keep } => {
                self.open_dir(parent.0)?;
                let ino = self.get(parent.0, &name).ok_or(FsError::NotFound)?;
                if self.is_dir(ino) {
                    return Err(FsError::IsDir);
                }
                self.detach(parent.0, &name, now);
                self.lost_a_name(ino, keep, now);
            }
            Change::Rmdir { parent, name, keep } => {
                self.open_dir(parent.0)?;
                let ino = self.get(parent.0, &name).ok_or(FsError::NotFound)?;
                if !self.is_dir(ino) {
                    return Err(FsError::NotDir);
                }
                if !self.nodes[&ino].names.is_empty() {
                    return Err(FsError::NotEmpty);
                }
                self.detach(parent.0, &name, now);
                self.lost_a_name(ino, keep, now);
            }
            Change::Rename { parent, name, new_parent, new_name, mode, keep } => {
                return self.rename(now, (parent.0, &name), (new_parent.0, &new_name), mode, keep);
            }
            Change::SetAttr { ino, set } => self.set(now, ino.0, &set)?,
            Change::Wrote { ino, cut_gen, size, blocks, mtime } => {
                let node = self.nodes.get_mut(&ino.0).ok_or(FsError::Stale)?;
                if node.kind != FileKind::File || cut_gen > node.cuts {
                    return Err(FsError::Invalid);
                }
                if cut_gen == node.cuts {
                    node.size = node.size.max(size);
                    node.blocks = (node.blocks + blocks).max(0);
                    node.mtime = mtime;
                    node.ctime = node.ctime.max(now);
                }
            }
            Change::SetXattr { ino, name, value, mode, perm } => {
                let node = self.nodes.get_mut(&ino.0).ok_or(FsError::Stale)?;
                match (mode, node.xattrs.contains_key(&name)) {
                    (XattrMode::Create, true) => return Err(FsError::Exists),
                    (XattrMode::Replace, false) => return Err(FsError::NoData),
                    _ => {}
                }
                if name.starts_with(b"system.") {
                    node.set_acl(&name, value, perm)?;
                } else {
                    node.xattrs.insert(name, value);
                }
                node.ctime = now;
            }
            Change::RemoveXattr { ino, name } => {
                let node = self.nodes.get_mut(&ino.0).ok_or(FsError::Stale)?;
                match node.xattrs.remove(&name) {
                    Some(_) => node.ctime = now,
                    None if name.starts_with(b"system.") => {}
                    None => return Err(FsError::NoData),
                }
            }
            Change::Release { inos } => {
                self.nodes.retain(|ino, node| !(node.held && inos.contains(&Ino(*ino))));
            }
            other => panic!("not generated: {other:?}"),
        }
        Ok(())
    }

    fn rename(
        &mut self,
        now: Time,
        (from, old): (u64, &FileName),
        (to, new): (u64, &FileName),
        mode: RenameMode,
        keep: bool,
    ) -> Told {
        self.open_dir(from)?;
        self.open_dir(to)?;
        let moved = self.get(from, old).ok_or(FsError::NotFound)?;
        let there = self.get(to, new);
        if mode == RenameMode::NoReplace && there.is_some() {
            return Err(FsError::Exists);
        }
        if mode == RenameMode::Exchange && there.is_none() {
            return Err(FsError::NotFound);
        }
        if from != to && self.is_dir(moved) && self.under(moved, to) {
            return Err(FsError::Invalid);
        }
        if let (RenameMode::Exchange, Some(there)) = (mode, there)
            && from != to
            && self.is_dir(there)
            && self.under(there, from)
        {
            return Err(FsError::Invalid);
        }
        if there == Some(moved) {
            return Ok(());
        }
        if let (Some(there), true) = (there, mode != RenameMode::Exchange) {
            match (self.is_dir(moved), self.is_dir(there)) {
                (true, false) => return Err(FsError::NotDir),
                (false, true) => return Err(FsError::IsDir),
                (true, true) if !self.nodes[&there].names.is_empty() => return Err(FsError::NotEmpty),
                _ => {}
            }
        }
        let set = |model: &mut Model, dir: u64, name: &FileName, ino: u64| {
            let names = &mut model.nodes.get_mut(&dir).unwrap().names;
            match names.iter_mut().find(|(at, _)| at == name) {
                Some(entry) => entry.1 = ino,
                None => names.push((name.clone(), ino)),
            }
            model.touch(dir, now);
        };
        set(self, to, new, moved);
        match (there, mode) {
            (Some(there), RenameMode::Exchange) => {
                set(self, from, old, there);
                self.nodes.get_mut(&there).unwrap().ctime = now;
            }
            _ => self.detach(from, old, now),
        }
        self.nodes.get_mut(&moved).unwrap().ctime = now;
        if let (Some(there), true) = (there, mode != RenameMode::Exchange) {
            self.lost_a_name(there, keep, now);
        }
        Ok(())
    }

    fn set(&mut self, now: Time, ino: u64, set: &SetAttr) -> Told {
        let node = self.nodes.get_mut(&ino).ok_or(FsError::Stale)?;
        if let Some(size) = set.size {
            match node.kind {
                FileKind::File => {}
                FileKind::Dir => return Err(FsError::IsDir),
                _ => return Err(FsError::Invalid),
            }
            if size < node.size {
                node.cuts += 1;
                node.blocks = node.blocks.min((size as i64 + 4095) / 4096);
            }
            (node.size, node.mtime) = (size, now);
        }
        if let Some(perm) = set.perm {
            node.perm = perm & 0o7777;
            if let Some(list) = node.xattrs.get_mut(acl::ACCESS) {
                // Only lists with a mask are kept as access lists.
                let mut value = list.to_vec();
                for (entry, shift) in [(0, 6), (3, 3), (4, 0)] {
                    value[4 + 8 * entry + 2] = (perm >> shift & 7) as u8;
                }
                *list = value.into();
            }
        }
        node.ctime = now;
        Ok(())
    }

    /// Everything that can be seen of the namespace is as the model has it.
    fn compare(&self, namespace: &Namespace) {
        for ino in &self.used {
            let answer = namespace.query(&Query::GetAttr { ino: Ino(*ino) }).unwrap();
            match self.nodes.get(ino) {
                None => assert_eq!(answer, Err(FsError::Stale), "inode {ino}"),
                Some(node) => {
                    let Ok(Answer::Attr(attr)) = answer else { panic!("inode {ino}: {answer:?}") };
                    self.compare_attr(*ino, node, &attr);
                    self.compare_listing(*ino, node, namespace);
                }
            }
        }
        let inodes = self.nodes.len() as u64;
        let dirs = self.nodes.keys().filter(|ino| self.is_dir(**ino)).count() as u64;
        assert_eq!(namespace.counts(), (dirs, inodes - dirs));
    }

    fn compare_attr(&self, ino: u64, node: &Node, attr: &Attr) {
        let size = if node.kind == FileKind::Dir { node.names.len() as u64 } else { node.size };
        let seen = (attr.kind, attr.perm, attr.size, attr.blocks, attr.cut_gen, attr.mtime, attr.ctime);
        let expected = (node.kind, node.perm, size, node.blocks as u64, node.cuts, node.mtime, node.ctime);
        assert_eq!(seen, expected, "inode {ino}");
        assert_eq!((attr.nlink, usize::from(attr.xattrs)), (self.nlink(ino), node.xattrs.len()), "inode {ino}");
    }

    fn compare_listing(&self, ino: u64, node: &Node, namespace: &Namespace) {
        let xattrs: Vec<_> = node.xattrs.clone().into_iter().collect();
        assert_eq!(namespace.query(&Query::Xattrs { ino: Ino(ino) }).unwrap(), Ok(Answer::Xattrs(xattrs)));
        if node.kind != FileKind::Dir {
            return;
        }
        let (mut seen, mut after) = (Vec::new(), 0);
        loop {
            let query = Query::ReadDir { ino: Ino(ino), after, limit: 2, attrs: true };
            let Ok(Answer::Entries { entries, end, .. }) = namespace.query(&query).unwrap() else { panic!("entries") };
            after = entries.last().map_or(after, |entry| entry.cookie);
            assert!(entries.iter().all(|e| e.attr.map(|attr| (attr.ino, attr.kind)) == Some((e.ino, e.kind))));
            seen.extend(entries.into_iter().map(|entry| (entry.name, entry.ino.0)));
            if end {
                break;
            }
        }
        assert_eq!(seen, node.names, "directory {ino}");
        for (name, to) in &node.names {
            let query = Query::Lookup { parent: Ino(ino), name: name.clone() };
            let Ok(Answer::Attr(attr)) = namespace.query(&query).unwrap() else { panic!("{name}") };
            assert_eq!(attr.ino.0, *to);
        }
    }
}

fn name(n: u8) -> FileName {
    FileName::new(vec![b'a' + n % 4]).unwrap()
}

/// Chooses inodes and names for an operation.
fn choose(op: &Op, model: &Model, first: u64) -> Option<Change> {
    let all: Vec<u64> = model.used.iter().copied().collect();
    let dirs: Vec<u64> = model.nodes.keys().copied().filter(|ino| model.is_dir(*ino)).collect();
    // One choice in so many is any inode, gone ones and files included.
    let any = |n: u8| Ino(all[usize::from(n) * 7 % all.len()]);
    let dir = |n: u8| if n == 11 { any(n) } else { Ino(dirs[usize::from(n) % dirs.len()]) };
    let next = Ino(first + model.used.len() as u64);
    let make = |parent: u8, n: u8, ino: Ino, kind: FileKind| Change::Make {
        parent: dir(parent),
        name: name(n),
        ino,
        kind,
        perm: 0o750,
        uid: 1,
        gid: 2,
        rdev: 0,
        target: if kind == FileKind::Symlink { Bytes::from_static(b"target") } else { Bytes::new() },
        xattrs: Vec::new(),
    };
    let xattr = |n: u8| Bytes::from(vec![b'u', b'0' + n]);
    let list = |default: bool| Bytes::from_static(if default { acl::DEFAULT } else { acl::ACCESS });
    Some(match *op {
        Op::Make(parent, n, kind) => make(parent, n, next, kind),
        Op::MakeUsed(parent, n) => make(parent, n, any(n), FileKind::File),
        Op::Link(ino, parent, n) => Change::Link { ino: any(ino), parent: dir(parent), name: name(n) },
        Op::Unlink(parent, n, keep) => Change::Unlink { parent: dir(parent), name: name(n), keep },
        Op::Rmdir(parent, n, keep) => Change::Rmdir { parent: dir(parent), name: name(n), keep },
        Op::Rename((from, old), (to, new), mode, keep) => {
            let (parent, new_parent) = (dir(from), dir(to));
            Change::Rename { parent, name: name(old), new_parent, new_name: name(new), mode, keep }
        }
        Op::Resize(ino, size) => {
            Change::SetAttr { ino: any(ino), set: SetAttr { size: Some(size), ..SetAttr::default() } }
        }
        Op::Chmod(ino, perm) => {
            Change::SetAttr { ino: any(ino), set: SetAttr { perm: Some(perm), ..SetAttr::default() } }
        }
        Op::Wrote(ino, cut_gen, size, blocks) => {
            let mtime = Time { secs: size as i64, nanos: 1 };
            Change::Wrote { ino: any(ino), cut_gen, size, blocks, mtime }
        }
        Op::SetXattr(ino, n, value, mode) => {
            let value = Bytes::from(vec![value; usize::from(value)]);
            Change::SetXattr { ino: any(ino), name: xattr(n), value, mode, perm: None }
        }
        Op::SetAcl(ino, default, ref perms, perm) => {
            let value = Bytes::from(super::testing::acl(perms));
            Change::SetXattr { ino: any(ino), name: list(default), value, mode: XattrMode::Any, perm }
        }
        Op::RemoveAcl(ino, default) => Change::RemoveXattr { ino: any(ino), name: list(default) },
        Op::RemoveXattr(ino, n) => Change::RemoveXattr { ino: any(ino), name: xattr(n) },
        Op::Release(ino) => Change::Release { inos: vec![any(ino)] },
        Op::Repeat => return None,
    })
}

fn format(store: &dyn Store) {
    Namespace::format(store, &[[ServerId(1), ServerId(2)], [ServerId(3), ServerId(4)]]).unwrap();
}

fn open(store: &Arc<dyn Store>) -> Namespace {
    // A cache too small for everything, so that rows come from everywhere.
    Namespace::open(store.clone(), 100_000).unwrap().unwrap()
}

/// A namespace that is flushed, killed and opened again while the log goes on.
struct Killed {
    store: Arc<dyn Store>,
    namespace: Namespace,
}

impl Killed {
    fn new(store: Arc<dyn Store>) -> Killed {
        format(store.as_ref());
        let namespace = open(&store);
        Killed { store, namespace }
    }

    fn step(&mut self, log: &[Command], fate: u8) {
        match fate {
            0 => self.namespace = open(&self.store),
            1 => self.flush(|_| {}),
            2 => self.flush(|killed| killed.catch_up(log)),
            _ => return,
        }
        self.catch_up(log);
    }

    fn flush(&mut self, meanwhile: impl FnOnce(&mut Killed)) {
        if let Some(batch) = self.namespace.begin_flush().unwrap() {
            meanwhile(self);
            batch.write().unwrap();
            self.namespace.end_flush(&batch);
        }
    }

    fn catch_up(&mut self, log: &[Command]) {
        let from = self.namespace.applied().0.0 as usize;
        for (at, command) in log.iter().enumerate().skip(from) {
            self.namespace.apply(LogIndex(at as u64 + 1), Term(1), command).unwrap();
        }
    }
}

fn run(ops: &[(Op, u8)], other_store: Arc<dyn Store>) {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    format(store.as_ref());
    let mut namespace = open(&store);
    let mut killed = Killed::new(other_store);
    let mut model = Model::new();
    let mut log: Vec<Command> = Vec::new();
    let mut told: Vec<(Request, Outcome)> = Vec::new();
    let mut first = 0;
    let apply = |namespace: &mut Namespace, log: &mut Vec<Command>, request: Request| {
        let command = Command::Batch(vec![request]);
        log.push(command.clone());
        namespace.apply(LogIndex(log.len() as u64), Term(1), &command).unwrap().outcomes.remove(0)
    };
    let request = |seq: u64, done_below: u64, change: Change| {
        let now = Time { secs: 1_000_000 + seq as i64, nanos: 0 };
        Request { session: SESSION, seq, done_below, now, change }
    };
    if let Ok(Ok(Done::Session { from, .. })) = apply(&mut namespace, &mut log, request(1, 0, open_session(false))) {
        first = from.0 - 1;
    }
    for (number, (op, fate)) in ops.iter().enumerate() {
        let seq = number as u64 + 2;
        let done_below = seq.saturating_sub(10);
        match choose(op, &model, first) {
            Some(change) => {
                let request = request(seq, done_below, change);
                let expected = model.apply(request.now, &request.change);
                let outcome = apply(&mut namespace, &mut log, request.clone()).unwrap();
                assert_eq!(outcome.clone().map(|_| ()), expected, "{request:?}");
                attrs_are_current(&namespace, &outcome);
                told.push((request, outcome));
            }
            None if !told.is_empty() => {
                let (request, outcome) = &told[usize::from(*fate) % told.len()];
                match apply(&mut namespace, &mut log, request.clone()) {
                    Ok(again) => assert_eq!(&again, outcome),
                    Err(refused) => assert_eq!((refused, request.seq < done_below), (Refused::Forgotten, true)),
                }
            }
            None => {}
        }
        killed.step(&log, fate % 8);
        let broken = invariants::check(namespace.rows()).unwrap();
        assert!(broken.is_empty(), "{broken:#?}");
    }
    model.compare(&namespace);
    killed.catch_up(&log);
    model.compare(&killed.namespace);
    let digest = namespace.digest().unwrap();
    assert_eq!(killed.namespace.digest().unwrap(), digest);
    assert_eq!(killed.namespace.pending_dooms(), namespace.pending_dooms());
    killed.flush(|_| {});
    let copy: Arc<dyn Store> = Arc::new(MemoryStore::default());
    install(killed.store.as_ref(), &copy);
    let copy = open(&copy);
    model.compare(&copy);
    assert_eq!((copy.digest().unwrap(), copy.applied()), (digest, namespace.applied()));
}

/// An outcome says how the touched inodes are now, the gone ones without links.
fn attrs_are_current(namespace: &Namespace, outcome: &Outcome) {
    let Ok(Done::Attrs(attrs)) = outcome else { return };
    let mut inos: Vec<_> = attrs.iter().map(|attr| attr.ino).collect();
    for attr in attrs {
        match namespace.query(&Query::GetAttr { ino: attr.ino }).unwrap() {
            Ok(Answer::Attr(now)) => assert_eq!(*attr, now),
            gone => assert_eq!((gone, attr.nlink), (Err(FsError::Stale), 0)),
        }
    }
    inos.sort();
    inos.dedup();
    assert_eq!(inos.len(), attrs.len(), "each once: {attrs:?}");
}

fn install(from: &dyn Store, to: &Arc<dyn Store>) {
    let mut maker = Maker::new(from.view()).unwrap();
    let mut installer = Installer::new(to.clone()).unwrap();
    while let Some((piece, _)) = maker.piece().unwrap() {
        installer.add(&piece).unwrap();
    }
    installer.finish().unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn the_namespace_does_as_the_model(ops in proptest::collection::vec((ops(), any::<u8>()), 1..80)) {
        run(&ops, Arc::new(MemoryStore::default()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn the_namespace_does_as_the_model_on_disk(ops in proptest::collection::vec((ops(), any::<u8>()), 40..80)) {
        let directory = tempfile::tempdir().unwrap();
        let options = DiskOptions { cache_bytes: 1 << 20, memtable_bytes: 1 << 20 };
        run(&ops, Arc::new(DiskStore::open(directory.path(), options).unwrap()));
    }
}
