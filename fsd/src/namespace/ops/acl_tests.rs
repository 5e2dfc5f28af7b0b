//! Access control lists and permission bits follow each other.

use crate::namespace::testing::*;
use bytes::Bytes;
use raidfs_common::acl::{ACCESS, DEFAULT};
use raidfs_common::attr::FileKind;
use raidfs_common::error::FsError;
use raidfs_common::id::Ino;
use raidfs_common::namespace::*;

fn xattrs(f: &Fixture, ino: Ino) -> Vec<(Bytes, Bytes)> {
    match f.namespace.query(&Query::Xattrs { ino }).unwrap() {
        Ok(Answer::Xattrs(list)) => list,
        other => panic!("{other:?}"),
    }
}

fn set_acl(ino: Ino, name: &'static [u8], perms: &[u16]) -> Change {
    let (name, value) = (Bytes::from_static(name), Bytes::from(acl(perms)));
    Change::SetXattr { ino, name, value, mode: XattrMode::Any, perm: None }
}

fn remove(ino: Ino, name: &'static [u8]) -> Change {
    Change::RemoveXattr { ino, name: Bytes::from_static(name) }
}

fn chmod(ino: Ino, perm: u16) -> Change {
    Change::SetAttr { ino, set: SetAttr { perm: Some(perm), ..SetAttr::default() } }
}

fn is(name: &'static [u8], perms: &[u16]) -> (Bytes, Bytes) {
    (Bytes::from_static(name), acl(perms).into())
}

#[test]
fn a_list_changes_the_permission_bits_and_they_change_it() {
    let mut f = Fixture::new();
    let file = f.file(1, "file");
    f.ok(chmod(file, 0o4755));
    let attrs = f.ok(set_acl(file, ACCESS, &[6, 7, 5, 4, 0]));
    assert_eq!((attrs[0].perm, attrs[0].xattrs, attrs[0].ctime), (0o4640, 1, f.time()));
    assert_eq!(xattrs(&f, file), [is(ACCESS, &[6, 7, 5, 4, 0])]);
    f.check();
    assert_eq!(f.ok(chmod(file, 0o751))[0].perm, 0o751);
    assert_eq!(xattrs(&f, file), [is(ACCESS, &[7, 7, 5, 5, 1])]);
    f.check();
    f.ok(Change::SetAttr { ino: file, set: SetAttr { uid: Some(9), ..SetAttr::default() } });
    assert_eq!(xattrs(&f, file), [is(ACCESS, &[7, 7, 5, 5, 1])]);
    let attrs = f.ok(remove(file, ACCESS));
    assert_eq!((attrs[0].perm, attrs[0].xattrs), (0o751, 0), "the mask stays as the group's bits");
    f.check();
}

#[test]
fn a_list_that_says_no_more_than_bits_is_not_kept() {
    let mut f = Fixture::new();
    let file = f.file(1, "file");
    let attrs = f.ok(set_acl(file, ACCESS, &[6, 4, 0]));
    assert_eq!((attrs[0].perm, attrs[0].xattrs), (0o640, 0));
    f.ok(set_acl(file, ACCESS, &[6, 7, 5, 4, 0]));
    let attrs = f.ok(set_acl(file, ACCESS, &[7, 0, 0]));
    assert_eq!((attrs[0].perm, attrs[0].xattrs, xattrs(&f, file)), (0o700, 0, Vec::new()));
    f.check();
    f.ok(set_acl(file, ACCESS, &[6, 7, 5, 4, 0]));
    let attrs = f.ok(set_acl(file, ACCESS, &[]));
    assert_eq!((attrs[0].perm, attrs[0].xattrs), (0o640, 0), "an empty list is none");
    f.check();
}

#[test]
fn who_may_not_keep_the_set_gid_bit_loses_it() {
    let mut f = Fixture::new();
    let file = f.file(1, "file");
    f.ok(chmod(file, 0o2755));
    let mut change = set_acl(file, ACCESS, &[6, 7, 5, 4, 0]);
    assert_eq!(f.ok(change.clone())[0].perm, 0o2640);
    if let Change::SetXattr { perm, .. } = &mut change {
        *perm = Some(0o777);
    }
    assert_eq!(f.ok(change)[0].perm, 0o640);
    f.check();
}

#[test]
fn what_cannot_be_a_list_is_refused() {
    let mut f = Fixture::new();
    let (file, dir, soft) = (f.file(1, "file"), f.dir(1, "dir"), f.made(1, "soft", FileKind::Symlink));
    assert_eq!(f.refused(set_acl(file, ACCESS, &[8, 0, 0])), FsError::Invalid);
    assert_eq!(f.refused(set_acl(dir, DEFAULT, &[7, 7, 7, 7, 9])), FsError::Invalid);
    assert_eq!(f.refused(set_acl(soft, ACCESS, &[7, 7, 7])), FsError::NotSupported);
    assert_eq!(f.refused(set_acl(file, DEFAULT, &[7, 7, 7])), FsError::Denied);
    assert_eq!(f.refused(set_acl(Ino(77), ACCESS, &[7, 7, 7])), FsError::Stale);
    f.ok(set_acl(dir, DEFAULT, &[7, 7, 7]));
    assert_eq!(f.attr(dir).unwrap().perm, 0o644, "a default list is for what comes");
    let before = f.attr(file).unwrap();
    assert_eq!(f.ok(remove(file, ACCESS)), [before], "nothing to remove, nothing changed");
    assert_eq!(f.ok(remove(file, DEFAULT)), [before]);
    f.ok(remove(dir, DEFAULT));
    assert_eq!(f.attr(dir).unwrap().xattrs, 0);
    f.check();
}

#[test]
fn inodes_are_born_with_lists_that_fit_them() {
    let mut f = Fixture::new();
    let mut born = |at: &str, kind: FileKind, lists: Vec<(Bytes, Bytes)>| {
        let mut change = f.make(1, at, kind);
        if let Change::Make { perm, xattrs, .. } = &mut change {
            *perm = 0o750;
            *xattrs = lists;
        }
        f.next_ino += 1;
        let outcome = f.outcome(change).map(|_| ());
        f.check();
        outcome
    };
    let access = || is(ACCESS, &[7, 7, 7, 5, 0]);
    let default = || is(DEFAULT, &[7, 5, 0]);
    assert_eq!(born("a", FileKind::Dir, vec![access(), default()]), Ok(()));
    assert_eq!(born("b", FileKind::Fifo, vec![access()]), Ok(()));
    assert_eq!(born("c", FileKind::File, vec![default()]), Err(FsError::Invalid));
    assert_eq!(born("d", FileKind::File, vec![is(ACCESS, &[7, 7, 7, 7, 0])]), Err(FsError::Invalid));
    assert_eq!(born("e", FileKind::File, vec![is(ACCESS, &[7, 5, 0])]), Err(FsError::Invalid));
    assert_eq!(born("f", FileKind::Dir, vec![(Bytes::from_static(DEFAULT), Bytes::new())]), Err(FsError::Invalid));
    assert_eq!(born("g", FileKind::Symlink, vec![access()]), Err(FsError::Invalid));
}
