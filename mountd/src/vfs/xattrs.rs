//! Extended attributes.

use super::cluster::Cluster;
use super::names::SET_GID;
use super::tree::Xattrs;
use super::{Caller, Shared, Vfs};
use bytes::Bytes;
use raidfs_common::acl;
use raidfs_common::error::FsError;
use raidfs_common::id::Ino;
use raidfs_common::limits::{XATTR_LIST_MAX_BYTES, XATTR_NAME_MAX_BYTES, XATTR_VALUE_MAX_BYTES};
use raidfs_common::namespace::{Answer, Change, Query, XattrMode};
use std::sync::Arc;

/// Attributes whose names begin otherwise are not kept, but for access control lists.
const KEPT: [&[u8]; 3] = [b"user.", TRUSTED, b"security."];
/// What a file's program may do whoever runs it.
pub(super) const CAPABILITY: &[u8] = b"security.capability";
/// Those that only administrators see.
const TRUSTED: &[u8] = b"trusted.";

fn check_name(name: &[u8]) -> Result<(), FsError> {
    if name.len() > XATTR_NAME_MAX_BYTES {
        return Err(FsError::Range);
    }
    match KEPT.iter().find(|prefix| name.starts_with(prefix)) {
        // As the kernel answers for its own file systems: the namespace is known, and nothing is named in it.
        Some(prefix) if name.len() == prefix.len() => Err(FsError::Invalid),
        Some(_) => Ok(()),
        None if acl::is_acl(name) => Ok(()),
        None => Err(FsError::NotSupported),
    }
}

/// Whether all names together can be listed once this one is among them.
fn can_be_listed<'a>(names: impl Iterator<Item = &'a [u8]>, new: &[u8]) -> bool {
    let others: usize = names.filter(|name| *name != new).map(|name| name.len() + 1).sum();
    others + new.len() < XATTR_LIST_MAX_BYTES
}

impl<C: Cluster> Vfs<C> {
    /// One extended attribute's value.
    pub async fn getxattr(&self, ino: Ino, name: &[u8]) -> Result<Bytes, FsError> {
        if name == super::place::WHERE {
            return self.place(ino).await;
        }
        check_name(name)?;
        let xattrs = self.0.xattrs(ino).await?;
        let found = xattrs.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.clone()).ok_or(FsError::NoData)
    }

    /// The names of all extended attributes that the caller may see, each ended by a NUL.
    pub async fn listxattr(&self, caller: Caller, ino: Ino) -> Result<Vec<u8>, FsError> {
        let xattrs = self.0.xattrs(ino).await?;
        let hides = xattrs.iter().any(|(name, _)| name.starts_with(TRUSTED)) && !caller.is_administrator();
        let mut names = Vec::new();
        for (name, _) in xattrs.iter().filter(|(name, _)| !(hides && name.starts_with(TRUSTED))) {
            names.extend_from_slice(name);
            names.push(0);
        }
        Ok(names)
    }

    /// Sets an extended attribute. An access control list takes the set-gid bit away that the caller may not keep.
    pub async fn setxattr(
        &self,
        caller: Caller,
        ino: Ino,
        name: &[u8],
        value: &[u8],
        mode: XattrMode,
    ) -> Result<(), FsError> {
        check_name(name)?;
        if name == super::place::WHERE {
            return Err(FsError::NotPermitted);
        }
        if value.len() > XATTR_VALUE_MAX_BYTES {
            return Err(FsError::ValueTooBig);
        }
        // What is there already decides the outcome.
        let xattrs = self.0.xattrs(ino).await?;
        if mode != XattrMode::Replace && !can_be_listed(xattrs.iter().map(|(name, _)| name.as_ref()), name) {
            return Err(FsError::NoSpace);
        }
        let attr = self.0.getattr(ino).await?;
        let loses = name == acl::ACCESS && attr.perm & SET_GID != 0 && !caller.keeps_set_gid(attr.uid, attr.gid);
        let perm = loses.then_some(attr.perm & !SET_GID);
        let (name, value) = (Bytes::copy_from_slice(name), Bytes::copy_from_slice(value));
        self.0.change(Change::SetXattr { ino, name, value, mode, perm }).await.map(drop)
    }

    /// Why an extended attribute that is to be new, and to replace one, is not set.
    pub async fn refuse_setxattr(&self, ino: Ino, name: &[u8]) -> Result<(), FsError> {
        self.getxattr(ino, name).await.and(Err(FsError::Exists))
    }

    /// Takes an extended attribute away.
    pub async fn removexattr(&self, caller: Caller, ino: Ino, name: &[u8]) -> Result<(), FsError> {
        check_name(name)?;
        if name == super::place::WHERE {
            return Err(FsError::NotPermitted);
        }
        self.0.xattrs(ino).await?;
        self.0.change(Change::RemoveXattr { ino, name: Bytes::copy_from_slice(name) }).await?;
        if name == CAPABILITY {
            *self.0.uncapped.lock() = Some((ino, caller.pid));
        }
        Ok(())
    }
}

impl<C: Cluster> Shared<C> {
    /// All extended attributes of an inode. Of one that has none, nothing is asked.
    pub(super) async fn xattrs(self: &Arc<Self>, ino: Ino) -> Result<Xattrs, FsError> {
        loop {
            let count = self.getattr(ino).await?.xattrs;
            let (asked, pending) = {
                let mut names = self.names.lock();
                let node = names.tree.node(ino);
                if let Some(xattrs) = node.as_ref().and_then(|n| n.xattrs.clone()) {
                    return Ok(xattrs);
                }
                if count == 0 {
                    return Ok(Xattrs::default());
                }
                let pending = node.is_some_and(|n| n.pending > 0);
                (names.tree.stamp(), pending.then_some(names.queue.last()))
            };
            if let Some(ticket) = pending {
                self.settled(ticket).await;
            }
            let Answer::Xattrs(list) = self.ask(Query::Xattrs { ino }).await? else {
                return Err(FsError::Io);
            };
            let xattrs: Xattrs = Arc::new(list);
            if self.names.lock().tree.learn_xattrs(ino, &xattrs, asked) {
                return Ok(xattrs);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_names_are_taken_than_can_be_listed() {
        let names: Vec<Vec<u8>> = (0..256).map(|n| format!("user.{n:0250}").into_bytes()).collect();
        let held = |most: usize, new: &[u8]| can_be_listed(names[..most].iter().map(Vec::as_slice), new);
        assert!(held(255, &names[255]), "256 names of 255 bytes, each with its NUL");
        assert!(held(256, &names[3]), "another value for one that is there");
        assert!(!held(256, b"user.x"));
    }
}
