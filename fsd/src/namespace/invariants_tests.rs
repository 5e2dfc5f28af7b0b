//! Each invariant: a sound state, one row damaged, and the damage is named.

use super::*;
use crate::namespace::store::{Batch, Store};
use crate::namespace::store_memory::MemoryStore;
use crate::namespace::testing::{Fixture, SESSION, name, populated, unlink_kept};
use raidfs_common::id::{Epoch, PairId};
use raidfs_common::pair::CopyState;

/// What of `populated` is damaged.
struct Subject {
    store: MemoryStore,
    dir: Ino,
    sub: Ino,
    file: Ino,
    soft: Ino,
    held: Ino,
}

fn subject() -> Subject {
    let mut f = populated();
    let held = f.file(1, "held again");
    f.ok(unlink_kept(1, "held again"));
    f.flush();
    let find = |parent: u64, at: &str| f.lookup(parent, at).unwrap();
    let dir = find(1, "dir");
    let (sub, file, soft) = (find(dir.0, "sub"), find(dir.0, "file"), find(1, "soft"));
    assert_eq!(check(&f.store).unwrap(), [""; 0]);
    Subject { store: f.store, dir, sub, file, soft, held }
}

impl Subject {
    fn row(&self, key: &Key) -> Row {
        let key = key.encode();
        Row::decode(&key, &self.store.get(&key).unwrap().expect("the row is there")).unwrap()
    }

    fn write(&self, key: &Key, row: Option<Row>) {
        self.store.write(Batch { rows: vec![(key.encode(), row.as_ref().map(Row::encode))] }).unwrap();
    }

    fn edit_inode(&self, ino: Ino, edit: impl FnOnce(&mut InodeRow)) {
        let Row::Inode(mut row) = self.row(&Key::Inode(ino)) else { panic!("an inode") };
        edit(&mut row);
        self.write(&Key::Inode(ino), Some(Row::Inode(row)));
    }

    fn edit_counters(&self, edit: impl FnOnce(&mut Counters)) {
        let Row::Counters(mut row) = self.row(&Key::Counters) else { panic!("counters") };
        edit(&mut row);
        self.write(&Key::Counters, Some(Row::Counters(row)));
    }

    fn edit_pairs(&self, edit: impl FnOnce(&mut Vec<Pair>)) {
        let Row::Pairs(mut row) = self.row(&Key::Pairs) else { panic!("pairs") };
        edit(&mut row);
        self.write(&Key::Pairs, Some(Row::Pairs(row)));
    }

    fn edit_session(&self, edit: impl FnOnce(&mut SessionRow)) {
        let Row::Session(mut row) = self.row(&Key::Session(SESSION)) else { panic!("a session") };
        edit(&mut row);
        self.write(&Key::Session(SESSION), Some(Row::Session(row)));
    }

    fn edit_entry(&self, parent: Ino, at: &str, edit: impl FnOnce(&mut EntryRow)) {
        let key = Key::Entry(parent, name(at));
        let Row::Entry(mut row) = self.row(&key) else { panic!("an entry") };
        edit(&mut row);
        self.write(&key, Some(Row::Entry(row)));
    }

    fn cookie(&self, parent: Ino, at: &str) -> u64 {
        let Row::Entry(row) = self.row(&Key::Entry(parent, name(at))) else { panic!("an entry") };
        row.cookie
    }
}

/// Damages a sound state, and wants a problem whose words contain `expected`, with the inode's number for `{}`.
#[track_caller]
fn reported(expected: &str, damage: impl FnOnce(&Subject) -> Ino) {
    let subject = subject();
    let ino = damage(&subject);
    let expected = expected.replace("{}", &ino.to_string());
    let found = check(&subject.store).unwrap();
    assert!(found.iter().any(|problem| problem.contains(&expected)), "{expected:?} is not among {found:#?}");
}

#[test]
fn pairs_are_sane() {
    reported("there are no pairs", |s| {
        s.edit_pairs(Vec::clear);
        s.dir
    });
    reported("pair 2 stands where pair 1 belongs", |s| {
        s.edit_pairs(|pairs| pairs.reverse());
        s.dir
    });
    reported("pair 2 has no copy in sync", |s| {
        s.edit_pairs(|pairs| pairs[1].members.iter_mut().for_each(|member| member.state = CopyState::Stale));
        s.dir
    });
    reported("pair 2 has no copy in sync", |s| {
        s.edit_pairs(|pairs| {
            pairs[1].losses = 1;
            pairs[1].members[0].state = CopyState::Stale;
            pairs[1].members[1].state = CopyState::Syncing;
        });
        s.dir
    });
    reported("pair 1 has fsd1 twice", |s| {
        s.edit_pairs(|pairs| pairs[0].members[1].server = pairs[0].members[0].server);
        s.dir
    });
    reported("pair 1 has no epoch", |s| {
        s.edit_pairs(|pairs| pairs[0].epoch = Epoch(0));
        s.dir
    });
}

#[test]
fn sessions_are_sane() {
    reported("2 sessions are open", |s| {
        s.write(&Key::Session(SessionId(5)), Some(s.row(&Key::Session(SESSION))));
        s.dir
    });
    reported("an outcome is kept of session 5, which is not open", |s| {
        s.write(&Key::Outcome(SessionId(5), 1), Some(s.row(&Key::Outcome(SESSION, 1))));
        s.dir
    });
    reported("outcome 1 is kept of session abc, which is done with it", |s| {
        s.edit_session(|row| row.done_below = 2);
        s.dir
    });
    reported("inode {} has a number that is to be used yet", |s| {
        s.edit_session(|row| row.unused[0].0 = s.file.0);
        s.file
    });
    reported("inode {} has a number that was never granted", |s| {
        s.edit_counters(|row| row.next_ino = s.file.0);
        s.file
    });
}

#[test]
fn inodes_are_sane() {
    reported("the row of inode {} says that it is inode 9", |s| {
        s.edit_inode(s.file, |row| row.attr.ino = Ino(9));
        s.file
    });
    reported("inode {} is placed on pair 3", |s| {
        s.edit_inode(s.file, |row| row.attr.placement.first_pair = 2);
        s.file
    });
    reported("file {} is larger than files can be", |s| {
        s.edit_inode(s.file, |row| row.attr.size = FILE_MAX_BYTES + 1);
        s.file
    });
    reported("inode {} has more links", |s| {
        s.edit_inode(s.file, |row| row.attr.nlink = LINKS_MAX + 1);
        s.file
    });
    reported("but 3 and 4 were counted", |s| {
        s.edit_counters(|row| row.others -= 1);
        s.dir
    });
    reported("but 4 and 5 were counted", |s| {
        s.edit_counters(|row| row.dirs += 1);
        s.dir
    });
}

#[test]
fn orphans_are_sane() {
    reported("inode {} is the orphan of session 5, which is not open", |s| {
        s.write(&Key::Orphan(SessionId(5), s.held), Some(Row::Orphan));
        s.held
    });
    reported("inode {} is an orphan, but does not exist", |s| {
        s.write(&Key::Inode(s.held), None);
        s.held
    });
    reported("inode {} is an orphan, but has names", |s| {
        s.write(&Key::Orphan(SESSION, s.file), Some(Row::Orphan));
        s.file
    });
    reported("inode {} has no names, and no session holds it", |s| {
        s.write(&Key::Orphan(SESSION, s.held), None);
        s.held
    });
}

#[test]
fn entries_and_their_order_match() {
    reported("entry \"file\" of directory {} names an inode that does not exist", |s| {
        s.write(&Key::Inode(s.file), None);
        s.dir
    });
    reported("entry \"file\" of directory {} is in a directory that does not exist", |s| {
        s.write(&Key::Inode(s.dir), None);
        s.dir
    });
    reported("entry \"file\" of directory {} is in something that is no directory", |s| {
        s.edit_inode(s.dir, |row| row.attr.kind = FileKind::Fifo);
        s.dir
    });
    reported("entry \"file\" of directory {} says another kind than its inode", |s| {
        s.edit_inode(s.file, |row| row.attr.kind = FileKind::Fifo);
        s.dir
    });
    reported("entry \"sub\" of directory {} names a directory that says it is elsewhere", |s| {
        s.edit_inode(s.sub, |row| row.attr.parent = Ino::ROOT);
        s.dir
    });
    reported("entry \"file\" of directory {} has a cookie that was never given", |s| {
        s.edit_inode(s.dir, |row| row.next_cookie = s.cookie(s.dir, "file"));
        s.dir
    });
    reported("has another entry's cookie", |s| {
        let cookie = s.cookie(s.dir, "sub");
        s.edit_entry(s.dir, "file", |row| row.cookie = cookie);
        s.dir
    });
    reported("in directory {}, the entry of cookie 2 is not found by its cookie", |s| {
        s.write(&Key::Index(s.dir, s.cookie(s.dir, "file")), None);
        s.dir
    });
    reported("in directory {}, cookie 2 is not that of \"file\"", |s| {
        s.write(&Key::Entry(s.dir, name("file")), None);
        s.dir
    });
    reported("in directory {}, cookie 2 is not that of \"other\"", |s| {
        let row = IndexRow { name: name("other"), ino: s.file, kind: FileKind::File };
        s.write(&Key::Index(s.dir, 2), Some(Row::Index(row)));
        s.dir
    });
}

#[test]
fn link_counts_and_sizes_match() {
    reported("directory {} has link count 4, it should be 3", |s| {
        s.edit_inode(s.dir, |row| row.attr.nlink += 1);
        s.dir
    });
    reported("inode {} has link count 3, but 2 names", |s| {
        s.edit_inode(s.file, |row| row.attr.nlink += 1);
        s.file
    });
    reported("directory {} says that it has 3 entries, it has 2", |s| {
        s.edit_inode(s.dir, |row| row.attr.size += 1);
        s.dir
    });
    reported("directory {} has 2 names", |s| {
        s.write(&Key::Entry(Ino::ROOT, name("twin")), Some(s.row(&Key::Entry(s.dir, name("sub")))));
        s.sub
    });
}

#[test]
fn every_directory_is_reached_from_the_root() {
    reported("the root is missing", |s| {
        s.write(&Key::Inode(Ino::ROOT), None);
        s.dir
    });
    reported("directory {} is not reached from the root", |s| {
        // A circle: dir in sub, sub in dir.
        s.edit_inode(s.dir, |row| row.attr.parent = s.sub);
        s.sub
    });
    reported("directory {} is not reached from the root", |s| {
        s.edit_inode(s.dir, |row| row.attr.parent = Ino(4_000_000));
        s.sub
    });
}

#[test]
fn attributes_and_targets_belong_to_inodes() {
    let colour = || Key::Xattr(Ino(0), "user.colour".into());
    let of = |ino| match colour() {
        Key::Xattr(_, name) => Key::Xattr(ino, name),
        other => other,
    };
    reported("inode {} says that it has 2 extended attributes of 82 bytes, it has 1 of 67", |s| {
        s.write(&of(s.file), None);
        s.file
    });
    reported("inode {} says that it has 2 extended attributes of 82 bytes, it has 2 of 79", |s| {
        s.write(&of(s.file), Some(Row::Xattr("x".into())));
        s.file
    });
    reported("there are extended attributes of inode 77, which does not exist", |s| {
        s.write(&of(Ino(77)), Some(Row::Xattr("x".into())));
        s.file
    });
    let list = "inode {} has an access control list, system.posix_acl_access, that it cannot have";
    reported(list, |s| {
        s.edit_inode(s.file, |row| row.attr.perm ^= 0o007);
        s.file
    });
    reported(list, |s| {
        let key = Key::Xattr(s.file, "system.posix_acl_access".into());
        s.write(&key, Some(Row::Xattr(vec![0; 44].into())));
        s.file
    });
    reported("symbolic link {} has no target", |s| {
        s.write(&Key::Target(s.soft), None);
        s.soft
    });
    reported("symbolic link {} has another size than its target", |s| {
        s.write(&Key::Target(s.soft), Some(Row::Target("elsewhere".into())));
        s.soft
    });
    reported("there is a target of inode {}, which is no symbolic link", |s| {
        s.write(&Key::Target(s.file), Some(Row::Target("x".into())));
        s.file
    });
}

#[test]
fn what_was_lost_is_of_files_and_within_them() {
    let lost = |ends: &[(u16, u64)]| Some(Row::Lost(ends.iter().map(|(pair, end)| (PairId(*pair), *end)).collect()));
    for ends in [&[][..], &[(1, 5), (0, 5)], &[(0, 5), (0, 5)], &[(2, 5)]] {
        reported("what was lost of inode {} is not said pair by pair", |s| {
            s.write(&Key::Lost(s.file), lost(ends));
            s.file
        });
    }
    for end in [0, 11] {
        reported("of inode {} more was lost than it has bytes, or nothing", |s| {
            s.write(&Key::Lost(s.file), lost(&[(0, end)]));
            s.file
        });
    }
    for at in [|s: &Subject| s.dir, |_: &Subject| Ino(77)] {
        reported("something was lost of inode {}, which is no file", |s| {
            s.write(&Key::Lost(at(s)), lost(&[(0, 5)]));
            at(s)
        });
    }
    let s = subject();
    s.write(&Key::Lost(s.file), lost(&[(0, 10), (1, 3)]));
    assert_eq!(check(&s.store).unwrap(), Vec::<String>::new());
}

#[test]
fn what_cannot_be_read_is_a_fault() {
    let fault = |key: Key, value: Option<Vec<u8>>| {
        let subject = subject();
        subject.store.write(Batch { rows: vec![(key.encode(), value)] }).unwrap();
        check(&subject.store).unwrap_err();
    };
    fault(Key::Applied, None);
    fault(Key::Counters, None);
    fault(Key::Inode(Ino::ROOT), Some(vec![1, 2]));
    fault(Key::Entry(Ino(u64::MAX), name("x")), Some(vec![1, 2]));
    fault(Key::Index(Ino::ROOT, 1), Some(vec![]));
    fault(Key::Session(SESSION), Some(vec![1]));
}

#[test]
fn an_empty_namespace_is_sound() {
    Fixture::new().check();
}
