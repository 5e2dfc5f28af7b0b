//! For tests of the namespace: one with an open session, driven one change at a time.

use super::store::Store;
use super::store_memory::MemoryStore;
use super::{Applied, Effect, Namespace, Refused, invariants};
use bytes::Bytes;
use raidfs_common::attr::{Attr, FileKind};
use raidfs_common::error::FsError;
use raidfs_common::id::{Ino, LogIndex, ServerId, SessionId, Term};
use raidfs_common::name::FileName;
use raidfs_common::namespace::{
    Answer, Change, Command, Done, Entry, Outcome, Query, RenameMode, Request, SetAttr, XattrMode,
};
use raidfs_common::time::Time;
use std::sync::Arc;

pub const SESSION: SessionId = SessionId(0xabc);

pub struct Fixture {
    pub store: MemoryStore,
    pub namespace: Namespace,
    pub seq: u64,
    pub now: i64,
    pub next_ino: u64,
    pub effects: Vec<Effect>,
}

impl Fixture {
    /// Two pairs, an open session.
    pub fn new() -> Fixture {
        let store = MemoryStore::default();
        let servers = [[ServerId(1), ServerId(2)], [ServerId(3), ServerId(4)]];
        Namespace::format(&store, &servers).unwrap();
        let mut fixture = Fixture::reopened(store);
        let Done::Session { from, .. } = fixture.done(open_session(false)) else { panic!("a grant") };
        fixture.next_ino = from.0;
        fixture
    }

    pub fn reopened(store: MemoryStore) -> Fixture {
        let namespace = Namespace::open(Arc::new(store.clone()), 1 << 20).unwrap().expect("a formatted store");
        Fixture { store, namespace, seq: 0, now: 1000, next_ino: 0, effects: Vec::new() }
    }

    pub fn request(&mut self, change: Change) -> Request {
        self.seq += 1;
        self.now += 1;
        Request { session: SESSION, seq: self.seq, done_below: 0, now: self.time(), change }
    }

    pub fn time(&self) -> Time {
        Time { secs: self.now, nanos: 5 }
    }

    pub fn apply(&mut self, requests: Vec<Request>) -> Vec<Result<Outcome, Refused>> {
        let index = self.namespace.applied().0.next();
        let Applied { outcomes, effects } =
            self.namespace.apply(index, Term(3), &Command::Batch(requests)).expect("a sound store");
        self.effects.extend(effects);
        outcomes
    }

    pub fn one(&mut self, request: Request) -> Result<Outcome, Refused> {
        self.apply(vec![request]).pop().expect("one outcome for one request")
    }

    pub fn by_cluster(&mut self, change: Change) -> Outcome {
        let request = Request { session: SessionId::CLUSTER, seq: 0, done_below: 0, now: self.time(), change };
        self.one(request).expect("the cluster is never refused")
    }

    pub fn outcome(&mut self, change: Change) -> Outcome {
        let request = self.request(change);
        self.one(request).expect("the session is open")
    }

    pub fn done(&mut self, change: Change) -> Done {
        let what = format!("{change:?}");
        self.outcome(change).unwrap_or_else(|error| panic!("{what}: {error}"))
    }

    pub fn ok(&mut self, change: Change) -> Vec<Attr> {
        match self.done(change) {
            Done::Attrs(attrs) => attrs,
            other => panic!("attributes, not {other:?}"),
        }
    }

    /// The change is refused, and leaves every row but the outcome as it was.
    pub fn refused(&mut self, change: Change) -> FsError {
        let before = self.visible_rows();
        let error = self.outcome(change).expect_err("refused");
        assert_eq!(before, self.visible_rows(), "a refused change leaves no trace");
        error
    }

    fn visible_rows(&self) -> Vec<super::store::RawRow> {
        let rows = self.namespace.rows().scan(&[0x12], &[0xff]);
        rows.collect::<Result<_, _>>().unwrap()
    }

    pub fn make(&mut self, parent: u64, at: &str, kind: FileKind) -> Change {
        let target = if kind == FileKind::Symlink { Bytes::from_static(b"there") } else { Bytes::new() };
        let ino = Ino(self.next_ino);
        let (perm, uid, gid, rdev, xattrs) = (0o644, 10, 20, 7, Vec::new());
        Change::Make { parent: Ino(parent), name: name(at), ino, kind, perm, uid, gid, rdev, target, xattrs }
    }

    pub fn made(&mut self, parent: u64, at: &str, kind: FileKind) -> Ino {
        let change = self.make(parent, at, kind);
        self.next_ino += 1;
        self.ok(change)[0].ino
    }

    pub fn file(&mut self, parent: u64, at: &str) -> Ino {
        self.made(parent, at, FileKind::File)
    }

    pub fn dir(&mut self, parent: u64, at: &str) -> Ino {
        self.made(parent, at, FileKind::Dir)
    }

    pub fn attr(&self, ino: Ino) -> Option<Attr> {
        match self.namespace.query(&Query::GetAttr { ino }).unwrap() {
            Ok(Answer::Attr(attr)) => Some(attr),
            Err(FsError::Stale) => None,
            other => panic!("{other:?}"),
        }
    }

    pub fn lookup(&self, parent: u64, at: &str) -> Option<Ino> {
        match self.namespace.query(&Query::Lookup { parent: Ino(parent), name: name(at) }).unwrap() {
            Ok(Answer::Attr(attr)) => Some(attr.ino),
            Err(FsError::NotFound) => None,
            other => panic!("{other:?}"),
        }
    }

    pub fn page(&self, ino: Ino, after: u64, limit: u32) -> (Vec<Entry>, bool) {
        match self.namespace.query(&Query::ReadDir { ino, after, limit, attrs: true }).unwrap() {
            Ok(Answer::Entries { entries, end, .. }) => (entries, end),
            other => panic!("{other:?}"),
        }
    }

    pub fn names(&self, ino: u64) -> Vec<String> {
        self.page(Ino(ino), 0, u32::MAX).0.into_iter().map(|entry| entry.name.to_string()).collect()
    }

    pub fn flush(&mut self) {
        if let Some(batch) = self.namespace.begin_flush().unwrap() {
            batch.write().unwrap();
            self.namespace.end_flush(&batch);
        }
    }

    /// As after kill -9: what was not flushed is lost.
    pub fn killed(self) -> Fixture {
        let Fixture { store, seq, now, next_ino, .. } = self;
        Fixture { seq, now, next_ino, ..Fixture::reopened(store) }
    }

    #[track_caller]
    pub fn check(&self) {
        assert_eq!(invariants::check(self.namespace.rows()).unwrap(), Vec::<String>::new());
    }

    pub fn index(&self) -> LogIndex {
        self.namespace.applied().0
    }

    pub fn stored_digest(&self) -> u64 {
        super::snapshot::digest(self.store.view().as_ref()).unwrap()
    }
}

pub fn name(text: &str) -> FileName {
    FileName::new(text.as_bytes().to_vec()).unwrap()
}

pub fn open_session(takeover: bool) -> Change {
    Change::OpenSession { holder: "a test".into(), takeover }
}

pub fn link(ino: Ino, parent: u64, at: &str) -> Change {
    Change::Link { ino, parent: Ino(parent), name: name(at) }
}

pub fn unlink(parent: u64, at: &str) -> Change {
    Change::Unlink { parent: Ino(parent), name: name(at), keep: false }
}

pub fn unlink_kept(parent: u64, at: &str) -> Change {
    Change::Unlink { parent: Ino(parent), name: name(at), keep: true }
}

pub fn rmdir(parent: u64, at: &str) -> Change {
    Change::Rmdir { parent: Ino(parent), name: name(at), keep: false }
}

pub fn rename_as(mode: RenameMode, parent: u64, at: &str, new_parent: u64, new_at: &str) -> Change {
    let (parent, new_parent) = (Ino(parent), Ino(new_parent));
    Change::Rename { parent, name: name(at), new_parent, new_name: name(new_at), mode, keep: false }
}

pub fn rename(parent: u64, at: &str, new_parent: u64, new_at: &str) -> Change {
    rename_as(RenameMode::Replace, parent, at, new_parent, new_at)
}

pub fn resize(ino: Ino, size: u64) -> Change {
    Change::SetAttr { ino, set: SetAttr { size: Some(size), ..SetAttr::default() } }
}

pub fn wrote(ino: Ino, cut_gen: u32, size: u64, blocks: i64) -> Change {
    Change::Wrote { ino, cut_gen, size, blocks, mtime: Time { secs: 7, nanos: 7 } }
}

pub fn set_xattr(ino: Ino, at: &str, value: &[u8]) -> Change {
    let (name, value) = (Bytes::copy_from_slice(at.as_bytes()), Bytes::copy_from_slice(value));
    Change::SetXattr { ino, name, value, mode: XattrMode::Any, perm: None }
}

/// The value of an access control list that gives the owner, the owning group and others these permissions; of five: the
/// owner, user 5, the owning group, the mask and others.
pub fn acl(perms: &[u16]) -> Vec<u8> {
    let tags: &[u16] = if perms.len() == 5 { &[1, 2, 4, 16, 32] } else { &[1, 4, 32] };
    let mut value = vec![2, 0, 0, 0];
    for (tag, perm) in tags.iter().zip(perms) {
        let id: u32 = if *tag == 2 { 5 } else { u32::MAX };
        value.extend([tag.to_le_bytes(), perm.to_le_bytes()].concat());
        value.extend(id.to_le_bytes());
    }
    value
}

/// Some of everything: directories, files, links of both kinds, attributes, orphans, a cut, a replaced outcome.
pub fn populated() -> Fixture {
    let mut f = Fixture::new();
    let dir = f.dir(1, "dir");
    let sub = f.dir(dir.0, "sub");
    let file = f.file(dir.0, "file");
    f.ok(link(file, 1, "hard"));
    f.made(1, "soft", FileKind::Symlink);
    f.made(sub.0, "pipe", FileKind::Fifo);
    f.ok(set_xattr(file, "user.colour", b"blue"));
    f.ok(set_xattr(dir, "user.a", b"b"));
    f.ok(set_xattr(file, "system.posix_acl_access", &acl(&[6, 7, 4, 4, 0])));
    f.ok(set_xattr(sub, "system.posix_acl_default", &acl(&[7, 5, 0])));
    f.ok(wrote(file, 0, 50_000, 13));
    f.ok(resize(file, 10));
    f.file(1, "held");
    f.ok(unlink_kept(1, "held"));
    f.file(1, "gone");
    f.ok(unlink(1, "gone"));
    f.check();
    f
}
