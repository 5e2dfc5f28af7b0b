//! Extended attributes.

use super::cluster::Cluster;
use super::tree::Xattrs;
use super::{Shared, Vfs};
use bytes::Bytes;
use raidfs_common::error::FsError;
use raidfs_common::id::Ino;
use raidfs_common::limits::{XATTR_NAME_MAX_BYTES, XATTR_VALUE_MAX_BYTES};
use raidfs_common::namespace::{Answer, Change, Query, XattrMode};
use std::sync::Arc;

/// Attributes whose names begin otherwise are not kept. Access control lists (`system.posix_acl_*`) are not either: kept
/// without their effect on the permission bits, they would undo a chmod for everyone who copies them.
const KEPT: [&[u8]; 3] = [b"user.", b"trusted.", b"security."];

fn check_name(name: &[u8]) -> Result<(), FsError> {
    if name.len() > XATTR_NAME_MAX_BYTES {
        return Err(FsError::Range);
    }
    match KEPT.iter().find(|prefix| name.starts_with(prefix)) {
        // As the kernel answers for its own file systems: the namespace is known, and nothing is named in it.
        Some(prefix) if name.len() == prefix.len() => Err(FsError::Invalid),
        Some(_) => Ok(()),
        None => Err(FsError::NotSupported),
    }
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

    /// The names of all extended attributes, each ended by a NUL.
    pub async fn listxattr(&self, ino: Ino) -> Result<Vec<u8>, FsError> {
        let xattrs = self.0.xattrs(ino).await?;
        let mut names = Vec::new();
        for (name, _) in xattrs.iter() {
            names.extend_from_slice(name);
            names.push(0);
        }
        Ok(names)
    }

    /// Sets an extended attribute.
    pub async fn setxattr(&self, ino: Ino, name: &[u8], value: &[u8], mode: XattrMode) -> Result<(), FsError> {
        check_name(name)?;
        if name == super::place::WHERE {
            return Err(FsError::NotPermitted);
        }
        if value.len() > XATTR_VALUE_MAX_BYTES {
            return Err(FsError::ValueTooBig);
        }
        let (name, value) = (Bytes::copy_from_slice(name), Bytes::copy_from_slice(value));
        self.0.change(Change::SetXattr { ino, name, value, mode, perm: None }).await.map(drop)
    }

    /// Why an extended attribute that is to be new, and to replace one, is not set.
    pub async fn refuse_setxattr(&self, ino: Ino, name: &[u8]) -> Result<(), FsError> {
        self.getxattr(ino, name).await.and(Err(FsError::Exists))
    }

    /// Takes an extended attribute away.
    pub async fn removexattr(&self, ino: Ino, name: &[u8]) -> Result<(), FsError> {
        check_name(name)?;
        if name == super::place::WHERE {
            return Err(FsError::NotPermitted);
        }
        self.0.change(Change::RemoveXattr { ino, name: Bytes::copy_from_slice(name) }).await.map(drop)
    }
}

impl<C: Cluster> Shared<C> {
    async fn xattrs(self: &Arc<Self>, ino: Ino) -> Result<Xattrs, FsError> {
        let attr = self.getattr(ino).await?;
        loop {
            let (asked, changed) = {
                let mut names = self.names.lock();
                if let Some(xattrs) = names.tree.node(ino).and_then(|n| n.xattrs.clone()) {
                    return Ok(xattrs);
                }
                let pending = names.tree.node(ino).is_some_and(|n| n.pending > 0);
                if attr.xattrs == 0 && !pending {
                    return Ok(Xattrs::default());
                }
                (names.tree.stamp(), names.queue.last())
            };
            self.settled(changed).await;
            let Answer::Xattrs(list) = self.cluster.ask(Query::Xattrs { ino }).await? else {
                return Err(FsError::Io);
            };
            let xattrs: Xattrs = Arc::new(list);
            let mut names = self.names.lock();
            if names.tree.unchanged(ino, asked) {
                if let Some(node) = names.tree.node(ino) {
                    node.xattrs = Some(xattrs.clone());
                }
                return Ok(xattrs);
            }
        }
    }
}
