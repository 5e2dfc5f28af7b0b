//! Access control lists: inherited at once, followed by permission bits, and free for those who have none.

use super::*;
use crate::vfs::Set;
use crate::vfs::xattrs::CAPABILITY;
use raidfs_common::acl::{ACCESS, DEFAULT};
use raidfs_common::attr::FileKind;
use raidfs_common::error::FsError;
use raidfs_common::namespace::XattrMode;
use std::sync::atomic::Ordering;

/// The name of the default list, or of the access list.
pub(super) fn list(default: bool) -> &'static [u8] {
    if default { DEFAULT } else { ACCESS }
}

/// A list that gives the owner, the owning group and others these permissions; of five: the owner, user 5, the owning
/// group, the mask and others.
pub(super) fn acl(perms: &[u16]) -> Vec<u8> {
    let tags: &[u16] = if perms.len() == 5 { &[1, 2, 4, 16, 32] } else { &[1, 4, 32] };
    let mut value = vec![2, 0, 0, 0];
    for (tag, perm) in tags.iter().zip(perms) {
        let id: u32 = if *tag == 2 { 5 } else { u32::MAX };
        value.extend([tag.to_le_bytes(), perm.to_le_bytes()].concat());
        value.extend(id.to_le_bytes());
    }
    value
}

async fn set(vfs: &Vfs<MemoryCluster>, ino: Ino, name: &[u8], perms: &[u16]) -> Result<(), FsError> {
    vfs.setxattr(USER, ino, name, &acl(perms), XattrMode::Any).await
}

fn masked(umask: u16) -> Caller {
    Caller { umask, ..USER }
}

#[test]
fn a_default_list_is_inherited_by_all_but_symbolic_links() {
    run(async {
        let vfs = vfs(&MemoryCluster::new());
        let dir = new_dir(&vfs, "d").await;
        set(&vfs, dir, DEFAULT, &[7, 7, 5, 7, 1]).await.unwrap();
        let (file, handle) = vfs.create(masked(0o077), dir, b"file", 0o666, true, PLAIN).await.unwrap();
        vfs.release(handle).unwrap();
        assert_eq!(file.perm, 0o660, "the umask is put aside");
        assert_eq!(vfs.getxattr(file.ino, ACCESS).await.unwrap(), acl(&[6, 7, 5, 6, 0]));
        assert_eq!(vfs.getxattr(file.ino, DEFAULT).await, Err(FsError::NoData));
        let sub = vfs.make(masked(0o077), dir, b"sub", NewNode::dir(0o777)).await.unwrap();
        assert_eq!(sub.perm, 0o771);
        for name in [ACCESS, DEFAULT] {
            assert_eq!(vfs.getxattr(sub.ino, name).await.unwrap(), acl(&[7, 7, 5, 7, 1]));
        }
        let pipe = NewNode { kind: FileKind::Fifo, ..NewNode::file(0o640) };
        let pipe = vfs.make(masked(0o777), sub.ino, b"pipe", pipe).await.unwrap();
        assert_eq!((pipe.perm, pipe.xattrs), (0o640, 1));
        let soft = vfs.make(masked(0o777), dir, b"soft", NewNode::symlink("x".into())).await.unwrap();
        assert_eq!((soft.perm, soft.xattrs), (0o777, 0));
        vfs.removexattr(Caller::default(), dir, DEFAULT).await.unwrap();
        let plain = vfs.make(masked(0o027), dir, b"plain", NewNode::file(0o666)).await.unwrap();
        assert_eq!((plain.perm, plain.xattrs), (0o640, 0), "the umask counts again");
        vfs.sync_all().await.unwrap();
        no_surprises(&vfs);
    });
}

#[test]
fn a_chmod_reaches_a_list_that_is_not_known_here() {
    run(async {
        let cluster = MemoryCluster::new();
        let first = vfs(&cluster);
        let (file, handle) = new_file(&first, "f").await;
        first.release(handle).unwrap();
        set(&first, file.ino, ACCESS, &[6, 7, 5, 4, 0]).await.unwrap();
        first.close().await.unwrap();
        let vfs = vfs(&cluster);
        let attr = vfs.lookup(ROOT, b"f").await.unwrap();
        assert_eq!(attr.perm, 0o640);
        vfs.setattr(USER, file.ino, Set { perm: Some(0o751), ..Set::default() }).await.unwrap();
        assert_eq!(vfs.getxattr(file.ino, ACCESS).await.unwrap(), acl(&[7, 7, 5, 5, 1]));
        vfs.sync_all().await.unwrap();
        no_surprises(&vfs);
    });
}

#[test]
fn nothing_is_asked_or_waited_for_where_there_are_no_lists() {
    run(async {
        let cluster = MemoryCluster::new();
        let first = vfs(&cluster);
        let dir = new_dir(&first, "d").await;
        first.make(USER, dir, b"old", NewNode::file(0o600)).await.unwrap();
        first.close().await.unwrap();
        let vfs = vfs(&cluster);
        let old = vfs.lookup(ROOT, b"d").await.unwrap();
        assert_eq!(vfs.lookup(dir, b"new").await, Err(FsError::NotFound));
        let old_file = vfs.lookup(dir, b"old").await.unwrap();
        let asked = || cluster.counts.questions.load(Ordering::Relaxed);
        let before = asked();
        cluster.set_faults(crate::vfs::memory_cluster::Faults { names_hang: true, ..Default::default() });
        // Both have changes under way.
        let set = Set { perm: Some(0o644), ..Set::default() };
        vfs.setattr(USER, old_file.ino, set).await.unwrap();
        vfs.make(USER, dir, b"new", NewNode::file(0o600)).await.unwrap();
        for ino in [old.ino, old_file.ino] {
            assert_eq!(vfs.getxattr(ino, ACCESS).await, Err(FsError::NoData));
            assert_eq!(vfs.listxattr(USER, ino).await, Ok(Vec::new()));
        }
        assert_eq!(asked(), before);
        cluster.set_faults(Default::default());
    });
}

#[test]
fn only_directories_have_default_lists_and_no_symbolic_link_has_any() {
    run(async {
        let vfs = vfs(&MemoryCluster::new());
        let (file, _) = new_file(&vfs, "f").await;
        let soft = vfs.make(USER, ROOT, b"soft", NewNode::symlink("x".into())).await.unwrap();
        assert_eq!(set(&vfs, file.ino, DEFAULT, &[7, 7, 7]).await, Err(FsError::Denied));
        assert_eq!(set(&vfs, soft.ino, ACCESS, &[7, 7, 7]).await, Err(FsError::NotSupported));
        assert_eq!(set(&vfs, file.ino, ACCESS, &[7, 8, 7]).await, Err(FsError::Invalid));
        assert_eq!(vfs.removexattr(Caller::default(), file.ino, DEFAULT).await, Ok(()));
        let other = vfs.setxattr(USER, file.ino, b"system.other", b"", XattrMode::Any).await;
        assert_eq!(other, Err(FsError::NotSupported));
        no_surprises(&vfs);
    });
}

#[test]
fn the_set_gid_bit_goes_with_a_list_by_somebody_outside_the_group() {
    run(async {
        let vfs = vfs(&MemoryCluster::new());
        let (file, _) = new_file(&vfs, "f").await;
        let chmod = Set { perm: Some(0o2755), ..Set::default() };
        vfs.setattr(USER, file.ino, chmod).await.unwrap();
        set(&vfs, file.ino, ACCESS, &[6, 7, 5, 4, 0]).await.unwrap();
        assert_eq!(vfs.getattr(file.ino).await.unwrap().perm, 0o2640);
        let outsider = Caller { gid: 4, ..USER };
        let value = acl(&[7, 7, 5, 4, 0]);
        vfs.setxattr(outsider, file.ino, ACCESS, &value, XattrMode::Any).await.unwrap();
        assert_eq!(vfs.getattr(file.ino).await.unwrap().perm, 0o740);
        vfs.sync_all().await.unwrap();
        no_surprises(&vfs);
    });
}

#[test]
fn administrators_alone_see_trusted_attributes_listed() {
    run(async {
        let vfs = vfs(&MemoryCluster::new());
        let (file, _) = new_file(&vfs, "f").await;
        vfs.setxattr(USER, file.ino, b"trusted.x", b"", XattrMode::Any).await.unwrap();
        vfs.setxattr(USER, file.ino, b"user.y", b"", XattrMode::Any).await.unwrap();
        assert_eq!(vfs.listxattr(USER, file.ino).await.unwrap(), b"user.y\0");
        assert_eq!(vfs.listxattr(Caller::default(), file.ino).await.unwrap(), b"trusted.x\0user.y\0");
    });
}

#[test]
fn set_id_bits_outlive_capabilities_that_root_takes_away_by_writing() {
    run(async {
        let vfs = vfs(&MemoryCluster::new());
        let (ino, root) = (new_file(&vfs, "f").await.0.ino, Caller { pid: 0, ..Caller::default() });
        let (all, nothing) = (Set { perm: Some(0o6755), ..Set::default() }, Set::default());
        vfs.setattr(root, ino, all).await.unwrap();
        // The kernel takes the capabilities away, and then says nothing at all before it writes.
        let uncap = async || {
            vfs.setxattr(root, ino, CAPABILITY, b"x", XattrMode::Any).await.unwrap();
            vfs.removexattr(root, ino, CAPABILITY).await.unwrap();
        };
        uncap().await;
        assert_eq!(vfs.setattr(root, ino, nothing).await.unwrap().perm, 0o6755);
        assert_eq!(vfs.setattr(root, ino, nothing).await.unwrap().perm, 0o755, "once, not ever after");
        vfs.setattr(root, ino, all).await.unwrap();
        uncap().await;
        assert_eq!(vfs.setattr(USER, ino, nothing).await.unwrap().perm, 0o755, "who is not root loses them");
        vfs.setattr(root, ino, all).await.unwrap();
        uncap().await;
        assert_eq!(vfs.setattr(root, ino, Set { uid: Some(1), ..nothing }).await.unwrap().perm, 0o755, "as a chown");
    });
}

#[test]
fn set_id_bits_go_where_the_kernel_says_nothing_else() {
    run(async {
        let vfs = vfs(&MemoryCluster::new());
        let (file, handle) = new_file(&vfs, "f").await;
        let (ino, root) = (file.ino, Caller::default());
        let cases = [
            // What is set, by whom, and what is left of a perm.
            (Set { size: Some(0), ..Set::default() }, USER, 0o6755, 0o755),
            (Set { size: Some(0), ..Set::default() }, root, 0o6755, 0o6755),
            (Set { uid: Some(1), ..Set::default() }, root, 0o6755, 0o755),
            (Set { gid: Some(1000), ..Set::default() }, root, 0o6745, 0o2745),
            (Set { gid: Some(1000), ..Set::default() }, Caller { gid: 4, ..USER }, 0o6745, 0o745),
            (Set::default(), root, 0o6755, 0o755),
        ];
        for (set, caller, perm, left) in cases {
            vfs.setattr(root, ino, Set { perm: Some(perm), ..Set::default() }).await.unwrap();
            assert_eq!(vfs.setattr(caller, ino, set).await.unwrap().perm, left, "{set:?} by {caller:?}");
        }
        vfs.setattr(root, ino, Set { perm: Some(0o6745), ..Set::default() }).await.unwrap();
        assert_eq!(vfs.write_now(handle, 0, b"x", true), None);
        vfs.write(handle, 0, b"x", Some(USER)).await.unwrap();
        assert_eq!(vfs.getattr(ino).await.unwrap().perm, 0o2745);
        assert_eq!(vfs.write_now(handle, 0, b"x", true), None);
        vfs.write(handle, 0, b"x", Some(Caller { gid: 4, ..USER })).await.unwrap();
        assert_eq!(vfs.getattr(ino).await.unwrap().perm, 0o745);
        assert_eq!(vfs.write_now(handle, 0, b"x", true), Some(Ok(())), "nothing left to lose");
    });
}
