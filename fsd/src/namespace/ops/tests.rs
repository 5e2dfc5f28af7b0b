//! Each operation by itself: what it changes, and what it refuses.

use crate::board::Doom;
use crate::namespace::testing::*;
use crate::namespace::{Effect, Refused};
use bytes::Bytes;
use raidfs_common::attr::FileKind;
use raidfs_common::error::FsError;
use raidfs_common::id::{Epoch, Incarnation, Ino, PairId, ServerId, SessionId, Term};
use raidfs_common::limits::*;
use raidfs_common::namespace::*;
use raidfs_common::pair::{CopyState, Space};
use raidfs_common::time::Time;

#[test]
fn a_recovery_voids_what_was_open_and_nothing_else() {
    let mut f = Fixture::new();
    let (kept, next_ino) = (f.file(1, "kept"), f.next_ino);
    f.ok(unlink_kept(1, "kept"));
    let index = f.namespace.applied().0.next();
    let applied = f.namespace.apply(index, Term(9), &Command::Recovered).unwrap();
    assert_eq!(applied.effects, [Effect::SessionEnded(SESSION)]);
    assert!(f.namespace.is_void(SESSION) && f.namespace.sessions().is_empty() && f.namespace.generation() == 1);
    assert_eq!(f.namespace.session().unwrap().0, SESSION, "it is there until it is ended in good order");
    let refused = |f: &mut Fixture, change| {
        let request = f.request(change);
        assert_eq!(f.one(request), Err(Refused::NoSession));
    };
    refused(&mut f, Change::GrantInos);
    refused(&mut f, open_session(true));
    let seq = f.seq;
    let again = Request { seq: 1, ..f.request(Change::GrantInos) };
    assert_eq!(f.one(again), Err(Refused::NoSession), "its outcomes are of the old history, too");
    f.seq = seq;
    f.flush();
    let mut f = Fixture::reopened(f.store);
    assert!(f.namespace.is_void(SESSION), "it survives a start");
    f.by_cluster(Change::EndSession { session: SESSION }).unwrap();
    assert_eq!(f.attr(kept), None, "its orphans die");
    assert!(!f.namespace.is_void(SESSION));
    let other = Request { session: SessionId(5), ..f.request(open_session(false)) };
    let Ok(Ok(Done::Session { from, .. })) = f.one(other) else { panic!("it opens") };
    assert!(from.0 > next_ino + INO_GRANT * 8, "numbers jump ahead");
    f.check();
}

#[test]
fn make_gives_a_name_and_changes_the_directory() {
    let mut f = Fixture::new();
    let change = f.make(1, "file", FileKind::File);
    let attrs = f.ok(change);
    let [file, root] = attrs[..] else { panic!("the file, then its directory") };
    assert_eq!((file.nlink, file.perm, file.uid, file.gid, file.size), (1, 0o644, 10, 20, 0));
    assert_eq!((file.kind, file.rdev, file.parent), (FileKind::File, 0, Ino::ROOT));
    assert!([file.atime, file.mtime, file.ctime, file.btime, root.mtime, root.ctime].iter().all(|t| *t == f.time()));
    assert_eq!((root.ino, root.nlink, root.size), (Ino::ROOT, 2, 1));
    f.next_ino += 1;
    let dir = f.dir(1, "dir");
    assert_eq!(f.attr(dir).unwrap().nlink, 2);
    assert_eq!(f.attr(Ino::ROOT).unwrap().nlink, 3);
    assert_eq!(f.namespace.counts(), (2, 1));
    let link = f.made(dir.0, "link", FileKind::Symlink);
    assert_eq!(f.attr(link).unwrap().size, 5);
    let target = f.namespace.query(&Query::ReadLink { ino: link }).unwrap();
    assert_eq!(target, Ok(Answer::Bytes(Bytes::from_static(b"there"))));
    let device = f.made(dir.0, "device", FileKind::CharDevice);
    assert_eq!(f.attr(device).unwrap().rdev, 7);
    f.check();
}

/// Spoils the number, target or attributes of an inode to be made.
type Edit<'a> = &'a dyn Fn(&mut Ino, &mut Bytes, &mut Vec<(Bytes, Bytes)>);

#[test]
fn make_refuses_what_cannot_be() {
    let mut f = Fixture::new();
    let file = f.file(1, "file");
    let dir = f.dir(1, "dir");
    let taken = f.make(1, "dir", FileKind::File);
    assert_eq!(f.refused(taken), FsError::Exists);
    let in_file = f.make(file.0, "x", FileKind::File);
    assert_eq!(f.refused(in_file), FsError::NotDir);
    let nowhere = f.make(99_999_999, "x", FileKind::File);
    assert_eq!(f.refused(nowhere), FsError::NotFound);
    let with = |f: &mut Fixture, edit: Edit| {
        let mut change = f.make(1, "x", FileKind::Symlink);
        if let Change::Make { ino, target, xattrs, .. } = &mut change {
            edit(ino, target, xattrs);
        }
        f.refused(change)
    };
    assert_eq!(with(&mut f, &|ino, _, _| *ino = file), FsError::Invalid, "used before");
    assert_eq!(with(&mut f, &|ino, _, _| ino.0 += INO_GRANT), FsError::Invalid, "not granted");
    assert_eq!(with(&mut f, &|_, target, _| *target = Bytes::new()), FsError::NotFound);
    assert_eq!(with(&mut f, &|_, target, _| *target = vec![b'x'; 4096].into()), FsError::NameTooLong);
    let xattr = |name: &'static str, bytes: usize| (Bytes::from_static(name.as_bytes()), Bytes::from(vec![1; bytes]));
    assert_eq!(with(&mut f, &|_, _, xattrs| xattrs.push(xattr("", 1))), FsError::Range);
    assert_eq!(with(&mut f, &|_, _, xattrs| xattrs.push(xattr("a", 65_537))), FsError::ValueTooBig);
    let twice = vec![xattr("a", 1), xattr("a", 2)];
    assert_eq!(with(&mut f, &|_, _, xattrs| *xattrs = twice.clone()), FsError::Invalid);
    let much = vec![xattr("a", 65_536), xattr("b", 65_536)];
    assert_eq!(with(&mut f, &|_, _, xattrs| *xattrs = much.clone()), FsError::NoSpace);
    f.ok(Change::Rmdir { parent: Ino::ROOT, name: name("dir"), keep: true });
    let in_removed = f.make(dir.0, "x", FileKind::File);
    assert_eq!(f.refused(in_removed), FsError::NotFound);
    let file_with_target = Change::Make {
        parent: Ino::ROOT,
        name: name("x"),
        ino: Ino(f.next_ino),
        kind: FileKind::File,
        perm: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        target: Bytes::from_static(b"x"),
        xattrs: Vec::new(),
    };
    assert_eq!(f.refused(file_with_target), FsError::Invalid);
    f.check();
}

#[test]
fn an_inode_number_is_used_once_in_any_order() {
    let mut f = Fixture::new();
    let first = f.next_ino;
    for at in [5, 3, 4, 0, 9] {
        f.next_ino = first + at;
        f.file(1, &at.to_string());
    }
    for at in [0, 3, 4, 5, 9] {
        f.next_ino = first + at;
        f.ok(unlink(1, &at.to_string()));
        let again = f.make(1, "again", FileKind::File);
        assert_eq!(f.refused(again), FsError::Invalid, "{at}");
    }
    f.check();
    // Numbers used at random leave a bounded row.
    for at in 0..5000 {
        f.next_ino = first + 100 + 2 * at;
        let change = f.make(1, &format!("odd{at}"), FileKind::Fifo);
        let _ = f.outcome(change);
    }
    f.check();
}

#[test]
fn files_go_to_the_pairs_in_turn_and_not_to_full_ones() {
    let mut f = Fixture::new();
    let mut count = [[0; 2]; 2];
    for n in 0..1000 {
        let ino = f.file(1, &n.to_string());
        f.made(1, &format!("dir{n}"), FileKind::Dir);
        let placement = f.attr(ino).unwrap().placement;
        count[usize::from(placement.first_pair)][usize::from(placement.turn)] += 1;
    }
    assert_eq!(count, [[250; 2]; 2]);
    let space = |total, free| Change::Space { pairs: vec![(PairId(0), Space { total, free })] };
    let pairs = |f: &mut Fixture, change: Change| {
        assert_eq!(f.by_cluster(change), Ok(Done::Nothing));
        let mut made = |n| {
            let ino = f.file(1, &format!("after{}-{n}", f.next_ino));
            f.attr(ino).unwrap().placement.first_pair
        };
        [made(0), made(1)]
    };
    assert_eq!(pairs(&mut f, space(1 << 40, 1 << 39)), [0, 1]);
    assert_eq!(pairs(&mut f, space(1 << 40, 1 << 35)), [1, 1], "less than a twentieth");
    assert_eq!(pairs(&mut f, space(1 << 30, 63 << 20)), [1, 1], "less than 64 MiB");
    let both = [PairId(0), PairId(1)].map(|pair| (pair, Space { total: 1 << 30, free: 0 })).to_vec();
    assert_eq!(pairs(&mut f, Change::Space { pairs: both }), [0, 1], "no pair has room: in turn");
    let none = vec![(PairId(2), Space::default())];
    assert_eq!(f.by_cluster(Change::Space { pairs: none }), Err(FsError::Invalid));
}

#[test]
fn link_adds_a_name() {
    let mut f = Fixture::new();
    let (file, dir) = (f.file(1, "file"), f.dir(1, "dir"));
    let attrs = f.ok(link(file, dir.0, "other"));
    assert_eq!((attrs[0].ino, attrs[0].nlink, attrs[0].ctime), (file, 2, f.time()));
    assert_eq!((attrs[1].ino, attrs[1].size, attrs[1].mtime), (dir, 1, f.time()));
    assert_ne!(attrs[0].mtime, f.time());
    assert_eq!(f.lookup(dir.0, "other"), Some(file));
    assert_eq!(f.refused(link(file, 1, "dir")), FsError::Exists);
    assert_eq!(f.refused(link(dir, 1, "x")), FsError::NotPermitted);
    assert_eq!(f.refused(link(Ino(77), 1, "x")), FsError::NotFound);
    assert_eq!(f.refused(link(file, file.0, "x")), FsError::NotDir);
    f.ok(unlink(1, "file"));
    f.ok(unlink_kept(dir.0, "other"));
    assert_eq!(f.refused(link(file, 1, "x")), FsError::NotFound, "an orphan stays one");
    f.check();
}

#[test]
fn a_file_has_a_bounded_number_of_links() {
    let mut f = Fixture::new();
    let file = f.file(1, "0");
    for n in 1..LINKS_MAX {
        let request = f.request(link(file, 1, &n.to_string()));
        f.one(Request { done_below: f.seq, ..request }).unwrap().unwrap();
    }
    assert_eq!(f.attr(file).unwrap().nlink, LINKS_MAX);
    assert_eq!(f.outcome(link(file, 1, "more")), Err(FsError::TooManyLinks));
    f.check();
}

#[test]
fn unlink_takes_one_name_and_with_the_last_the_inode() {
    let mut f = Fixture::new();
    let (file, dir) = (f.file(1, "file"), f.dir(1, "dir"));
    f.ok(link(file, 1, "other"));
    f.ok(set_xattr(file, "user.x", b"y"));
    let attrs = f.ok(unlink(1, "file"));
    assert_eq!((attrs[0].ino, attrs[0].nlink, attrs[0].ctime, attrs[1].ino), (file, 1, f.time(), Ino::ROOT));
    assert!(f.effects.iter().all(|effect| !matches!(effect, Effect::Doom { .. })));
    let attrs = f.ok(unlink(1, "other"));
    assert_eq!((attrs[0].nlink, attrs[1].size), (0, 1));
    assert_eq!(f.effects.last(), Some(&Effect::Doom { ino: file, doom: Doom::Reap }));
    assert_eq!(f.attr(file), None);
    assert_eq!(f.refused(unlink(1, "file")), FsError::NotFound);
    assert_eq!(f.refused(unlink(1, "dir")), FsError::IsDir);
    assert_eq!(f.refused(unlink(dir.0, "x")), FsError::NotFound);
    f.made(1, "soft", FileKind::Symlink);
    f.effects.clear();
    f.ok(unlink(1, "soft"));
    assert_eq!(f.effects, [], "only files have chunks");
    assert_eq!(f.namespace.counts(), (2, 0));
    f.check();
}

#[test]
fn rmdir_takes_empty_directories_only() {
    let mut f = Fixture::new();
    let dir = f.dir(1, "dir");
    f.file(1, "file");
    f.dir(dir.0, "sub");
    assert_eq!(f.refused(rmdir(1, "dir")), FsError::NotEmpty);
    assert_eq!(f.refused(rmdir(1, "file")), FsError::NotDir);
    assert_eq!(f.refused(rmdir(1, "none")), FsError::NotFound);
    let attrs = f.ok(rmdir(dir.0, "sub"));
    assert_eq!((attrs[0].nlink, attrs[1].nlink, attrs[1].size, attrs[1].mtime), (0, 2, 0, f.time()));
    f.ok(rmdir(1, "dir"));
    assert_eq!(f.attr(Ino::ROOT).unwrap().nlink, 2);
    assert_eq!(f.namespace.counts(), (1, 1));
    f.check();
}

#[test]
fn orphans_live_until_released_or_until_their_session_ends() {
    let mut f = Fixture::new();
    let (a, b, c) = (f.file(1, "a"), f.file(1, "b"), f.dir(1, "c"));
    f.ok(unlink_kept(1, "a"));
    f.ok(unlink_kept(1, "b"));
    f.ok(Change::Rmdir { parent: Ino::ROOT, name: name("c"), keep: true });
    f.check();
    assert_eq!(f.attr(a).unwrap().nlink, 0);
    assert_eq!(f.names(c.0), [""; 0]);
    f.ok(wrote(a, 0, 10, 1));
    assert_eq!(f.done(Change::Release { inos: vec![a, Ino::ROOT, Ino(12345)] }), Done::Nothing);
    assert_eq!(f.attr(a), None);
    assert_eq!(f.effects.last(), Some(&Effect::Doom { ino: a, doom: Doom::Reap }));
    f.check();
    f.effects.clear();
    assert_eq!(f.by_cluster(Change::EndSession { session: SESSION }), Ok(Done::Nothing));
    assert_eq!(f.effects, [Effect::Doom { ino: b, doom: Doom::Reap }, Effect::SessionEnded(SESSION)]);
    assert_eq!((f.attr(b), f.attr(c)), (None, None));
    assert_eq!(f.namespace.counts(), (1, 0));
    f.check();
}

#[test]
fn rename_moves_a_name() {
    let mut f = Fixture::new();
    let (file, dir) = (f.file(1, "file"), f.dir(1, "dir"));
    let attrs = f.ok(rename(1, "file", 1, "new"));
    assert_eq!(attrs.iter().map(|attr| attr.ino).collect::<Vec<_>>(), [file, Ino::ROOT]);
    assert_eq!((attrs[0].ctime, attrs[1].mtime, attrs[1].size), (f.time(), f.time(), 2));
    let attrs = f.ok(rename(1, "new", dir.0, "moved"));
    assert_eq!(attrs.iter().map(|attr| attr.ino).collect::<Vec<_>>(), [file, Ino::ROOT, dir]);
    assert_eq!(attrs[0].parent, Ino::ROOT, "where a file was made");
    assert_eq!((f.names(1), f.names(dir.0)), (vec!["dir".into()], vec!["moved".into()]));
    let sub = f.dir(1, "sub");
    f.ok(rename(1, "sub", dir.0, "sub"));
    let parent = f.attr(sub).unwrap().parent;
    assert_eq!((parent, f.attr(Ino::ROOT).unwrap().nlink, f.attr(dir).unwrap().nlink), (dir, 3, 3));
    let path = f.namespace.query(&Query::PathOf { ino: sub }).unwrap();
    assert_eq!(path, Ok(Answer::Bytes(Bytes::from_static(b"/dir/sub"))));
    f.check();
}

#[test]
fn rename_replaces_what_may_be_replaced() {
    let mut f = Fixture::new();
    let (a, b) = (f.file(1, "a"), f.file(1, "b"));
    let attrs = f.ok(rename(1, "a", 1, "b"));
    assert_eq!(attrs.iter().map(|attr| (attr.ino, attr.nlink)).collect::<Vec<_>>(), [(a, 1), (b, 0), (Ino::ROOT, 2)]);
    assert_eq!(f.effects.last(), Some(&Effect::Doom { ino: b, doom: Doom::Reap }));
    let (full, empty) = (f.dir(1, "full"), f.dir(1, "empty"));
    f.dir(full.0, "sub");
    assert_eq!(f.refused(rename(1, "b", 1, "empty")), FsError::IsDir);
    assert_eq!(f.refused(rename(1, "empty", 1, "b")), FsError::NotDir);
    assert_eq!(f.refused(rename(1, "empty", 1, "full")), FsError::NotEmpty);
    assert_eq!(f.refused(rename(1, "none", 1, "b")), FsError::NotFound);
    assert_eq!(f.refused(rename(1, "b", a.0, "x")), FsError::NotDir);
    assert_eq!(f.refused(rename_as(RenameMode::NoReplace, 1, "full", 1, "b")), FsError::Exists);
    f.ok(rename(1, "full", 1, "empty"));
    assert_eq!((f.lookup(1, "empty"), f.attr(empty)), (Some(full), None));
    assert_eq!(f.attr(Ino::ROOT).unwrap().nlink, 3);
    f.check();
}

#[test]
fn a_replaced_inode_that_is_open_lives_on() {
    let mut f = Fixture::new();
    f.file(1, "a");
    let b = f.file(1, "b");
    let mut change = rename(1, "a", 1, "b");
    if let Change::Rename { keep, .. } = &mut change {
        *keep = true;
    }
    f.ok(change);
    assert_eq!(f.attr(b).unwrap().nlink, 0);
    f.check();
}

#[test]
fn a_directory_is_never_moved_below_itself() {
    let mut f = Fixture::new();
    let a = f.dir(1, "a");
    let b = f.dir(a.0, "b");
    let c = f.dir(b.0, "c");
    assert_eq!(f.refused(rename(1, "a", a.0, "x")), FsError::Invalid);
    assert_eq!(f.refused(rename(1, "a", c.0, "x")), FsError::Invalid);
    assert_eq!(f.refused(rename_as(RenameMode::Exchange, 1, "a", b.0, "c")), FsError::Invalid);
    assert_eq!(f.refused(rename_as(RenameMode::Exchange, b.0, "c", 1, "a")), FsError::Invalid);
    assert_eq!(f.refused(rename(b.0, "c", 1, "a")), FsError::NotEmpty);
    f.ok(rename(b.0, "c", 1, "c"));
    f.ok(rename(1, "a", c.0, "a"));
    f.check();
}

#[test]
fn names_of_one_inode_are_not_renamed_into_each_other() {
    let mut f = Fixture::new();
    let file = f.file(1, "a");
    f.ok(link(file, 1, "b"));
    let before = f.attr(file);
    f.ok(rename(1, "a", 1, "b"));
    f.ok(rename(1, "a", 1, "a"));
    f.ok(rename_as(RenameMode::Exchange, 1, "a", 1, "b"));
    assert_eq!((f.names(1), f.attr(file)), (vec!["a".into(), "b".into()], before));
    assert_eq!(f.refused(rename_as(RenameMode::NoReplace, 1, "a", 1, "b")), FsError::Exists);
    let dir = f.dir(1, "dir");
    f.ok(rename(1, "dir", 1, "dir"));
    assert_eq!(f.lookup(1, "dir"), Some(dir));
    f.check();
}

#[test]
fn exchange_swaps_whatever_is_there() {
    let mut f = Fixture::new();
    let (one, two) = (f.dir(1, "one"), f.dir(1, "two"));
    let (file, sub) = (f.file(one.0, "x"), f.dir(two.0, "y"));
    f.file(sub.0, "inside");
    let attrs = f.ok(rename_as(RenameMode::Exchange, one.0, "x", two.0, "y"));
    assert_eq!(attrs.iter().map(|attr| attr.ino).collect::<Vec<_>>(), [file, sub, one, two]);
    assert!(attrs.iter().all(|attr| attr.ctime == f.time()));
    assert_eq!((f.lookup(one.0, "x"), f.lookup(two.0, "y")), (Some(sub), Some(file)));
    assert_eq!((attrs[1].parent, attrs[2].nlink, attrs[3].nlink), (one, 3, 2));
    f.check();
    f.ok(rename_as(RenameMode::Exchange, 1, "one", 1, "two"));
    assert_eq!(f.lookup(1, "two"), Some(one));
    assert_eq!(f.refused(rename_as(RenameMode::Exchange, 1, "one", 1, "none")), FsError::NotFound);
    f.check();
}

#[test]
fn set_attr_sets_what_it_names() {
    let mut f = Fixture::new();
    let file = f.file(1, "file");
    let before = f.attr(file).unwrap();
    let (atime, mtime) = (Time { secs: -5, nanos: 1 }, Time { secs: 9, nanos: 9 });
    let set = SetAttr {
        perm: Some(0o104_755),
        uid: Some(1),
        gid: Some(2),
        size: None,
        atime: Some(atime),
        mtime: Some(mtime),
    };
    let attrs = f.ok(Change::SetAttr { ino: file, set });
    assert_eq!(
        attrs,
        [raidfs_common::attr::Attr { perm: 0o4755, uid: 1, gid: 2, atime, mtime, ctime: f.time(), ..before }]
    );
    f.ok(Change::SetAttr { ino: Ino::ROOT, set: SetAttr { perm: Some(0o700), ..SetAttr::default() } });
    assert_eq!(f.refused(resize(Ino::ROOT, 0)), FsError::IsDir);
    assert_eq!(f.refused(resize(Ino(77), 0)), FsError::Stale);
    let pipe = f.made(1, "pipe", FileKind::Fifo);
    assert_eq!(f.refused(resize(pipe, 0)), FsError::Invalid);
    assert_eq!(f.refused(resize(file, FILE_MAX_BYTES + 1)), FsError::TooBig);
    f.ok(resize(file, FILE_MAX_BYTES));
    let late = SetAttr { mtime: Some(Time { secs: 0, nanos: 1_000_000_000 }), ..SetAttr::default() };
    assert_eq!(f.refused(Change::SetAttr { ino: file, set: late }), FsError::Invalid);
    f.check();
}

#[test]
fn a_cut_voids_what_was_written_before_it() {
    let mut f = Fixture::new();
    let file = f.file(1, "file");
    let attrs = f.ok(wrote(file, 0, 100_000, 25));
    assert_eq!((attrs[0].size, attrs[0].blocks, attrs[0].mtime), (100_000, 25, Time { secs: 7, nanos: 7 }));
    let attrs = f.ok(resize(file, 5000));
    let cut = f.index();
    assert_eq!((attrs[0].size, attrs[0].blocks, attrs[0].cut_gen, attrs[0].mtime), (5000, 2, 1, f.time()));
    assert_eq!(f.effects.last(), Some(&Effect::Doom { ino: file, doom: Doom::Cut { size: 5000 } }));
    assert_eq!(f.ok(wrote(file, 0, 90_000, 3)), attrs, "written before the cut");
    assert_eq!(f.refused(wrote(file, 2, 90_000, 3)), FsError::Invalid);
    let attrs = f.ok(resize(file, 20_000));
    assert_eq!((attrs[0].size, attrs[0].cut_gen), (20_000, 1), "a hole");
    let attrs = f.ok(wrote(file, 1, 100, -5));
    assert_eq!((attrs[0].size, attrs[0].blocks), (20_000, 0), "never shorter, never less than no block");
    assert_eq!(f.refused(wrote(file, 1, FILE_MAX_BYTES + 1, 0)), FsError::TooBig);
    assert_eq!(f.refused(wrote(Ino::ROOT, 0, 1, 0)), FsError::Invalid);
    assert_eq!(f.refused(wrote(Ino(77), 0, 1, 0)), FsError::Stale);
    assert_eq!(f.namespace.pending_dooms(), [(file, vec![(cut, Doom::Cut { size: 5000 })])]);
}

#[test]
fn change_time_follows_writing_but_never_goes_back() {
    let mut f = Fixture::new();
    let file = f.file(1, "file");
    let made = f.attr(file).unwrap().ctime;
    f.now -= 100;
    assert_eq!(f.ok(wrote(file, 0, 1, 1))[0].ctime, made, "told late of an early write");
    f.now += 200;
    let mtime = Time { secs: 99_999, nanos: 0 };
    let later = f.ok(Change::Wrote { ino: file, cut_gen: 0, size: 1, blocks: 0, mtime });
    assert_eq!((later[0].mtime, later[0].ctime), (mtime, f.time()), "what mtime was set to says nothing");
}

#[test]
fn lengths_are_recovered_where_nothing_was_cut() {
    let mut f = Fixture::new();
    let (a, b, c) = (f.file(1, "a"), f.file(1, "b"), f.file(1, "c"));
    f.ok(wrote(b, 0, 10, 1));
    f.ok(resize(b, 0));
    f.ok(wrote(c, 0, 500, 1));
    let before = f.attr(a).unwrap();
    let sizes = vec![(a, 0, 77), (b, 0, 10), (c, 0, 100), (Ino(12345), 0, 9), (Ino::ROOT, 0, 9)];
    f.by_cluster(Change::RecoverSizes { sizes }).unwrap();
    assert_eq!(f.attr(a).unwrap(), raidfs_common::attr::Attr { size: 77, ..before });
    assert_eq!((f.attr(b).unwrap().size, f.attr(c).unwrap().size), (0, 500));
    f.check();
}

#[test]
fn xattrs_are_set_replaced_and_removed() {
    let mut f = Fixture::new();
    let file = f.file(1, "file");
    let with = |mode, value: &'static [u8]| Change::SetXattr {
        ino: file,
        name: Bytes::from_static(b"user.a"),
        value: Bytes::from_static(value),
        mode,
        perm: None,
    };
    assert_eq!(f.refused(with(XattrMode::Replace, b"1")), FsError::NoData);
    let attrs = f.ok(with(XattrMode::Create, b"1"));
    assert_eq!((attrs[0].xattrs, attrs[0].ctime), (1, f.time()));
    assert_eq!(f.refused(with(XattrMode::Create, b"2")), FsError::Exists);
    f.ok(with(XattrMode::Replace, b"longer"));
    f.ok(set_xattr(file, "user.b", b""));
    let listed = f.namespace.query(&Query::Xattrs { ino: file }).unwrap();
    let pair = |a: &'static str, b: &'static str| (Bytes::from_static(a.as_bytes()), Bytes::from_static(b.as_bytes()));
    assert_eq!(listed, Ok(Answer::Xattrs(vec![pair("user.a", "longer"), pair("user.b", "")])));
    f.check();
    let mut with_perm = set_xattr(file, "user.b", b"2");
    if let Change::SetXattr { perm, .. } = &mut with_perm {
        *perm = Some(0o4640);
    }
    assert_eq!(f.ok(with_perm)[0].perm, 0o4644);
    let remove = |name: &'static str| Change::RemoveXattr { ino: file, name: Bytes::from_static(name.as_bytes()) };
    assert_eq!(f.ok(remove("user.a"))[0].xattrs, 1);
    assert_eq!(f.refused(remove("user.a")), FsError::NoData);
    assert_eq!(f.refused(set_xattr(file, "", b"")), FsError::Range);
    assert_eq!(f.refused(set_xattr(file, &"x".repeat(256), b"")), FsError::Range);
    assert_eq!(f.refused(set_xattr(file, "user.c", &[0; XATTR_VALUE_MAX_BYTES + 1])), FsError::ValueTooBig);
    f.ok(set_xattr(file, "user.c", &[0; XATTR_VALUE_MAX_BYTES]));
    assert_eq!(f.refused(set_xattr(file, "user.d", &[0; XATTR_VALUE_MAX_BYTES])), FsError::NoSpace);
    assert_eq!(f.refused(set_xattr(Ino(77), "user.d", b"")), FsError::Stale);
    f.check();
    f.ok(unlink(1, "file"));
    f.check();
}

#[test]
fn a_directory_is_read_in_pages_while_it_changes() {
    let mut f = Fixture::new();
    for n in 0..10 {
        f.file(1, &n.to_string());
    }
    f.flush();
    let (first, end) = f.page(Ino::ROOT, 0, 4);
    assert!(!end);
    assert_eq!(first.iter().map(|entry| entry.cookie).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(first[0].attr.map(|attr| attr.ino), Some(first[0].ino));
    for gone in ["1", "4", "9"] {
        f.ok(unlink(1, gone));
    }
    f.file(1, "late");
    f.ok(rename(1, "5", 1, "6"));
    f.ok(rename(1, "0", 1, "8"));
    let (rest, end) = f.page(Ino::ROOT, first[3].cookie, 100);
    assert!(end);
    let names: Vec<_> = rest.iter().map(|entry| entry.name.to_string()).collect();
    assert_eq!(names, ["6", "7", "8", "late"], "each once, replaced ones where they stood");
    assert_eq!(f.page(Ino::ROOT, u64::MAX, 9), (vec![], true));
    for after in [0, 4, u64::MAX] {
        let part = Query::ReadDir { ino: Ino::ROOT, after, limit: 2, attrs: false };
        let Ok(Answer::Entries { next_cookie, .. }) = f.namespace.query(&part).unwrap() else { panic!("entries") };
        assert_eq!(next_cookie, 12, "whatever page is asked for");
    }
    let exactly = f.page(Ino::ROOT, first[3].cookie, 4);
    assert!(exactly.1, "the last page says so");
    let of_file = Query::ReadDir { ino: first[2].ino, after: 0, limit: 1, attrs: false };
    assert_eq!(f.namespace.query(&of_file).unwrap(), Err(FsError::NotDir));
    f.check();
}

#[test]
fn a_repeated_request_has_its_first_outcome() {
    let mut f = Fixture::new();
    f.file(1, "a");
    let request = f.request(rename(1, "a", 1, "b"));
    let first = f.one(request.clone()).unwrap();
    assert!(first.is_ok());
    f.file(1, "a");
    assert_eq!(f.one(request.clone()).unwrap(), first);
    assert_eq!(f.names(1), ["b", "a"], "applied once");
    let refused = f.request(unlink(1, "none"));
    assert_eq!(
        f.apply(vec![refused.clone(), refused.clone()]),
        [Ok(Err(FsError::NotFound)), Ok(Err(FsError::NotFound))]
    );
    f.file(1, "none");
    assert_eq!(f.one(refused.clone()).unwrap(), Err(FsError::NotFound), "a refusal is an outcome too");
    f.flush();
    let mut f = f.killed();
    assert_eq!(f.one(request.clone()).unwrap(), first, "also after a restart");
    let next = f.request(unlink(1, "b"));
    f.one(Request { done_below: request.seq + 1, ..next }).unwrap().unwrap();
    assert_eq!(f.one(request), Err(Refused::Forgotten));
    assert_eq!(f.one(refused).unwrap(), Err(FsError::NotFound), "kept: its number is higher");
    assert_eq!(f.outcome(Change::GrantInos).map(|_| ()), Ok(()));
    let zero = f.request(Change::GrantInos);
    assert_eq!(f.one(Request { seq: 0, ..zero }).unwrap(), Err(FsError::Invalid));
    f.check();
}

#[test]
fn outcomes_are_bounded() {
    let mut f = Fixture::new();
    let first = f.request(unlink(1, "x"));
    f.one(first.clone()).unwrap().unwrap_err();
    for _ in 0..OUTCOMES_KEPT_MAX {
        let request = f.request(unlink(1, "x"));
        f.one(request).unwrap().unwrap_err();
    }
    assert_eq!(f.one(first), Err(Refused::Forgotten));
    f.check();
}

#[test]
fn one_session_is_open_at_a_time() {
    let mut f = Fixture::new();
    let held = f.file(1, "held");
    f.ok(unlink_kept(1, "held"));
    let other = SessionId(0xdef);
    let open = |takeover| Request {
        session: other,
        seq: 1,
        done_below: 0,
        now: Time::default(),
        change: open_session(takeover),
    };
    assert_eq!(f.one(open(false)).unwrap(), Err(FsError::Busy));
    f.effects.clear();
    let granted = f.one(open(true)).unwrap().unwrap();
    let Done::Session { from, to } = granted else { panic!("a grant") };
    assert!(from.0 > f.next_ino && to.0 - from.0 == INO_GRANT);
    let ended =
        [Effect::Doom { ino: held, doom: Doom::Reap }, Effect::SessionEnded(SESSION), Effect::SessionOpened(other)];
    assert_eq!(f.effects, ended);
    assert_eq!(f.namespace.session(), Some((other, "a test".into())));
    assert_eq!(f.one(open(true)).unwrap(), Ok(granted.clone()), "repeated");
    assert_eq!(f.one(Request { seq: 9, ..open(false) }).unwrap(), Ok(granted));
    let late = f.request(unlink(1, "x"));
    assert_eq!(f.one(late.clone()), Err(Refused::NoSession));
    let late_copy = f.request(open_session(true));
    assert_eq!(f.one(late_copy), Err(Refused::NoSession), "an ended session never takes over");
    let cannot = Request { session: other, seq: 2, ..f.request(Change::EndSession { session: SESSION }) };
    assert_eq!(f.one(cannot).unwrap(), Err(FsError::NotPermitted));
    f.check();
    let end = Request { session: other, seq: 3, ..late.clone() };
    let end = Request { change: Change::EndSession { session: other }, ..end };
    assert_eq!(f.one(end.clone()).unwrap(), Ok(Done::Nothing));
    assert_eq!(f.one(end).unwrap(), Ok(Done::Nothing), "repeated");
    assert_eq!(f.namespace.session(), None);
    f.check();
}

#[test]
fn more_numbers_are_granted() {
    let mut f = Fixture::new();
    let Done::Session { from, to } = f.done(Change::GrantInos) else { panic!("a grant") };
    assert_eq!(to.0 - from.0, INO_GRANT);
    f.next_ino = from.0 + 1;
    f.file(1, "file");
    f.check();
}

#[test]
fn pair_events_are_about_one_epoch() {
    let mut f = Fixture::new();
    let pair = |pair, epoch, event| Change::Pair { pair: PairId(pair), epoch: Epoch(epoch), event };
    let evict = PairEvent::Evict { server: ServerId(3) };
    assert_eq!(f.by_cluster(pair(1, 2, evict)), Err(FsError::Invalid));
    assert_eq!(f.by_cluster(pair(7, 1, evict)), Err(FsError::Invalid));
    assert_eq!(f.by_cluster(pair(0, 1, evict)), Err(FsError::Invalid), "not of that pair");
    assert_eq!(f.by_cluster(pair(1, 1, evict)), Ok(Done::Nothing));
    assert_eq!(f.effects.last(), Some(&Effect::PairsChanged));
    assert_eq!(f.by_cluster(pair(1, 1, evict)), Err(FsError::Invalid), "repeated");
    let last = PairEvent::Evict { server: ServerId(4) };
    assert_eq!(f.by_cluster(pair(1, 2, last)), Err(FsError::Invalid), "the last copy");
    assert_eq!(f.namespace.pairs()[1].members.map(|member| member.state), [CopyState::Stale, CopyState::InSync]);
    assert_eq!(f.namespace.pairs_version(), 3);
    let hello = PairEvent::Hello { server: ServerId(3), incarnation: Incarnation(5), mirror_up: true, lost: false };
    assert_eq!(f.by_cluster(pair(1, 2, hello)), Ok(Done::Nothing));
    assert_eq!(f.outcome(pair(1, 3, evict)), Err(FsError::NotPermitted), "not a session's to say");
    assert_eq!(f.by_cluster(unlink(1, "x")), Err(FsError::NotPermitted));
    f.flush();
    let f = f.killed();
    assert_eq!(f.namespace.pairs()[1].epoch, Epoch(3));
    f.check();
}

#[test]
fn the_root_is_as_old_as_the_cluster() {
    let mut f = Fixture::new();
    let hello = |epoch, life| {
        let incarnation = Incarnation::of(life, 7);
        let event = PairEvent::Hello { server: ServerId(3), incarnation, mirror_up: true, lost: false };
        Change::Pair { pair: PairId(1), epoch: Epoch(epoch), event }
    };
    let times = |f: &Fixture| f.attr(Ino::ROOT).map(|a| [a.atime, a.mtime, a.ctime, a.btime]).unwrap();
    assert_eq!(times(&f), [Time::default(); 4]);
    let begun = f.time();
    f.by_cluster(hello(1, 1)).unwrap();
    assert_eq!(times(&f), [begun; 4]);
    f.file(1, "file");
    let [_, changed, ..] = times(&f);
    assert!(changed > begun);
    f.by_cluster(hello(2, 2)).unwrap();
    assert_eq!(times(&f), [begun, changed, changed, begun], "only the first server says when that was");
    f.check();
}

#[test]
fn dooms_are_kept_until_they_are_carried_out() {
    let mut f = Fixture::new();
    let file = f.file(1, "file");
    f.ok(wrote(file, 0, 10_000, 3));
    let cut = f.request(resize(file, 5));
    let again = f.request(resize(file, 3));
    f.apply(vec![cut, again]);
    let first = f.index();
    f.ok(unlink(1, "file"));
    let second = f.index();
    f.flush();
    let mut f = f.killed();
    let cuts = [(first, Doom::Cut { size: 5 }), (first, Doom::Cut { size: 3 }), (second, Doom::Reap)];
    assert_eq!(f.namespace.pending_dooms(), [(file, cuts.to_vec())]);
    let digest = f.namespace.digest().unwrap();
    f.namespace.forget_doom(file, first);
    assert_eq!(f.namespace.pending_dooms(), [(file, cuts[2..].to_vec())]);
    assert_eq!(f.namespace.digest().unwrap(), digest, "dooms are a server's own");
    f.flush();
    let mut f = f.killed();
    assert_eq!(f.namespace.pending_dooms(), [(file, cuts[2..].to_vec())]);
    f.namespace.forget_doom(file, second);
    f.flush();
    assert_eq!(f.killed().namespace.pending_dooms(), []);
}
