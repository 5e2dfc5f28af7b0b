//! The form of access control lists, and what they and permission bits make of each other.

use super::*;

fn value(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut bytes = VERSION.to_le_bytes().to_vec();
    for (tag, perm, id) in entries {
        bytes.extend_from_slice(&tag.to_le_bytes());
        bytes.extend_from_slice(&perm.to_le_bytes());
        bytes.extend_from_slice(&id.to_le_bytes());
    }
    bytes
}

/// The owner, user 5, the owning group, group 6, a mask and everyone else.
fn full(owner: u16, user: u16, owning: u16, group: u16, mask: u16, other: u16) -> Vec<u8> {
    let n = NOBODY;
    let named = [(1, owner, n), (2, user, 5), (4, owning, n), (8, group, 6), (16, mask, n), (32, other, n)];
    value(&named)
}

fn plain(owner: u16, group: u16, other: u16) -> Vec<u8> {
    value(&[(1, owner, NOBODY), (4, group, NOBODY), (32, other, NOBODY)])
}

#[test]
fn what_is_well_formed_comes_back() {
    for bytes in [full(7, 6, 5, 4, 3, 2), plain(7, 5, 0)] {
        let acl = Acl::decode(&bytes).unwrap().unwrap();
        assert_eq!(acl.encode(), bytes);
    }
    assert_eq!(Acl::decode(&[]), Ok(None));
    assert_eq!(Acl::decode(&value(&[])), Ok(None));
    let many: Vec<_> = (0..3).map(|id| (2, 7, id)).collect();
    let many = [&[(1, 7, NOBODY)][..], &many, &[(4, 0, NOBODY), (16, 0, NOBODY), (32, 0, NOBODY)]].concat();
    assert!(Acl::decode(&value(&many)).unwrap().is_some());
    // What stands where nobody is named does not count.
    let stray = value(&[(1, 7, 9), (4, 5, 0), (32, 0, 1)]);
    assert_eq!(Acl::decode(&stray).unwrap().unwrap().encode(), plain(7, 5, 0));
}

#[test]
fn what_is_malformed_is_refused() {
    let n = NOBODY;
    let malformed: [&[(u16, u16, u32)]; 12] = [
        &[(4, 5, n), (32, 0, n)],
        &[(1, 7, n), (32, 0, n)],
        &[(1, 7, n), (4, 5, n)],
        &[(1, 7, n), (1, 7, n), (4, 5, n), (32, 0, n)],
        &[(1, 7, n), (2, 7, 5), (4, 5, n), (32, 0, n)],
        &[(1, 7, n), (4, 5, n), (8, 7, 5), (32, 0, n)],
        &[(1, 7, n), (4, 5, n), (16, 7, n), (16, 7, n), (32, 0, n)],
        &[(1, 7, n), (4, 5, n), (2, 7, 5), (16, 7, n), (32, 0, n)],
        &[(32, 0, n), (4, 5, n), (1, 7, n)],
        &[(1, 8, n), (4, 5, n), (32, 0, n)],
        &[(1, 7, n), (2, 7, n), (4, 5, n), (16, 7, n), (32, 0, n)],
        &[(1, 7, n), (4, 5, n), (32, 0, n), (64, 0, n)],
    ];
    for entries in malformed {
        assert_eq!(Acl::decode(&value(entries)), Err(FsError::Invalid), "{entries:?}");
    }
    let whole = plain(7, 5, 0);
    for length in [1, 3, 5, whole.len() - 1] {
        assert_eq!(Acl::decode(&whole[..length]), Err(FsError::Invalid), "{length} bytes");
    }
    let mut other_version = whole;
    other_version[0] = 3;
    assert_eq!(Acl::decode(&other_version), Err(FsError::NotSupported));
    let crowd: Vec<_> = (0..=ACL_ENTRIES_MAX as u32).map(|id| (2, 7, id)).collect();
    assert_eq!(Acl::decode(&value(&crowd)), Err(FsError::ValueTooBig));
}

#[test]
fn the_mask_stands_for_the_group_in_the_permission_bits() {
    let bits = |bytes: &[u8]| Acl::decode(bytes).unwrap().unwrap().bits();
    assert_eq!(bits(&plain(7, 5, 1)), 0o751);
    assert_eq!(bits(&full(6, 7, 7, 7, 4, 0)), 0o640);
}

#[test]
fn a_list_that_says_no_more_than_bits_becomes_bits() {
    let settled = set(ACCESS, &plain(6, 4, 0), FileKind::File, 0o4777).unwrap();
    assert_eq!(settled, Settled { value: None, perm: 0o4640 });
    let list = full(6, 7, 7, 7, 4, 0);
    let settled = set(ACCESS, &list, FileKind::Dir, 0o1777).unwrap();
    assert_eq!(settled, Settled { value: Some(list.clone().into()), perm: 0o1640 });
    // A default list is kept whatever it says, and changes no bits.
    let settled = set(DEFAULT, &plain(7, 0, 0), FileKind::Dir, 0o755).unwrap();
    assert_eq!(settled, Settled { value: Some(plain(7, 0, 0).into()), perm: 0o755 });
    assert_eq!(set(ACCESS, &[], FileKind::File, 0o640), Ok(Settled { value: None, perm: 0o640 }));
    assert_eq!(set(DEFAULT, &list, FileKind::File, 0o640), Err(FsError::Denied));
    assert_eq!(set(DEFAULT, &[], FileKind::File, 0o640), Ok(Settled { value: None, perm: 0o640 }));
    assert_eq!(set(ACCESS, &list, FileKind::Symlink, 0o777), Err(FsError::NotSupported));
    assert_eq!(set(ACCESS, b"acl", FileKind::File, 0o640), Err(FsError::Invalid));
}

#[test]
fn chmod_changes_owner_mask_and_other() {
    assert_eq!(chmod(&full(7, 6, 5, 4, 3, 2), 0o4604), Some(full(6, 6, 5, 4, 0, 4).into()));
    assert_eq!(chmod(&full(7, 6, 5, 4, 3, 2), 0o2732), None, "the bits say so already");
    assert_eq!(chmod(b"acl", 0o640), None);
}

#[test]
fn a_default_list_is_inherited_in_place_of_the_umask() {
    let list = full(7, 7, 5, 7, 7, 5);
    let (perm, xattrs) = inherit(Some(&list), FileKind::File, 0o666, 0o077);
    assert_eq!((perm, xattrs), (0o664, vec![(Bytes::from_static(ACCESS), full(6, 7, 5, 7, 6, 4).into())]));
    let (perm, xattrs) = inherit(Some(&list), FileKind::Dir, 0o2777, 0o077);
    let default = (Bytes::from_static(DEFAULT), Bytes::from(list.clone()));
    assert_eq!((perm, xattrs), (0o2775, vec![(Bytes::from_static(ACCESS), list.clone().into()), default]));
    // One without a mask leaves nothing but bits, except to directories.
    assert_eq!(inherit(Some(&plain(7, 5, 0)), FileKind::Fifo, 0o4666, 0o077), (0o4640, Vec::new()));
    let (perm, xattrs) = inherit(Some(&plain(7, 5, 0)), FileKind::Dir, 0o777, 0o077);
    assert_eq!((perm, xattrs.len()), (0o750, 1));
    assert_eq!(inherit(Some(&list), FileKind::Symlink, 0o777, 0o077), (0o777, Vec::new()));
    assert_eq!(inherit(None, FileKind::File, 0o1666, 0o027), (0o1640, Vec::new()));
}

#[test]
fn what_set_leaves_behind_fits() {
    let list = full(7, 6, 5, 4, 3, 2);
    assert!(fits(ACCESS, &list, FileKind::File, 0o4732));
    assert!(!fits(ACCESS, &list, FileKind::File, 0o777), "the bits say otherwise");
    assert!(!fits(ACCESS, &plain(7, 5, 0), FileKind::File, 0o750), "bits would do");
    assert!(!fits(DEFAULT, &list, FileKind::File, 0o732));
    assert!(fits(DEFAULT, &plain(7, 5, 0), FileKind::Dir, 0));
    assert!(!fits(DEFAULT, b"", FileKind::Dir, 0));
}

proptest::proptest! {
    #[test]
    fn garbage_is_refused_or_comes_back(bytes in proptest::collection::vec(0u8..40, 0..60), good in 0usize..5) {
        let mut value = full(7, 6, 5, 4, 3, 2);
        let kept = good * ENTRY_BYTES;
        value.truncate(HEADER_BYTES + kept);
        value.extend_from_slice(&bytes);
        for perm in [0, 0o7777] {
            let _ = chmod(&value, perm);
            let _ = inherit(Some(&value), FileKind::Dir, perm, 0o22);
        }
        if let Ok(Settled { value: Some(settled), perm }) = set(ACCESS, &value, FileKind::File, 0) {
            proptest::prop_assert!(fits(ACCESS, &settled, FileKind::File, perm));
        }
    }
}
