//! Operations on names: lookup, create, mkdir, mknod, symlink, link, unlink, rmdir, rename.

use super::cluster::Cluster;
use super::files::OpenMode;
use super::replaced;
use super::stop::unless_stopped;
use super::tree::Named;
use super::{Caller, Shared, Vfs};
use bytes::Bytes;
use raidfs_common::acl;
use raidfs_common::attr::{Attr, FileKind};
use raidfs_common::error::FsError;
use raidfs_common::id::Ino;
use raidfs_common::limits::{DIR_PAGE_ENTRIES, SYMLINK_MAX_BYTES};
use raidfs_common::name::{BadName, FileName};
use raidfs_common::namespace::{Answer, Change, Entry, Query, RenameMode};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The set-gid bit: on a directory, what is made in it gets its group.
pub(super) const SET_GID: u16 = 0o2000;
/// The set-uid bit.
pub(super) const SET_UID: u16 = 0o4000;
/// After so many names of a directory that had to be asked for one at a time, all of it is asked for.
const MISSES: u16 = 3;

/// What is to be made.
#[derive(Clone, Debug)]
pub struct NewNode {
    /// Its kind.
    pub kind: FileKind,
    /// Permission bits, the umask not taken off yet.
    pub perm: u16,
    /// Device number of a device.
    pub rdev: u32,
    /// Target of a symbolic link.
    pub target: Bytes,
}

impl NewNode {
    /// A regular file.
    pub fn file(perm: u16) -> NewNode {
        NewNode { kind: FileKind::File, perm, rdev: 0, target: Bytes::new() }
    }

    /// A directory.
    pub fn dir(perm: u16) -> NewNode {
        NewNode { kind: FileKind::Dir, ..NewNode::file(perm) }
    }

    /// A symbolic link.
    pub fn symlink(target: Bytes) -> NewNode {
        NewNode { kind: FileKind::Symlink, target, ..NewNode::file(0o777) }
    }
}

pub(super) fn file_name(name: &[u8]) -> Result<FileName, FsError> {
    FileName::new(Bytes::copy_from_slice(name)).map_err(|e| match e {
        BadName::Invalid => FsError::Invalid,
        BadName::TooLong => FsError::NameTooLong,
    })
}

impl<C: Cluster> Vfs<C> {
    /// The inode that `parent` has under `name`.
    pub async fn lookup(&self, parent: Ino, name: &[u8]) -> Result<Attr, FsError> {
        match name {
            b"." => match self.getattr(parent).await? {
                // By a handle of what the kernel has forgotten, and the servers may have, too; only the cache has not.
                attr if attr.nlink == 0 && !self.0.is_open(parent) => Err(FsError::Stale),
                attr => Ok(attr),
            },
            b".." => {
                let dir = self.getattr(parent).await?;
                self.getattr(dir.parent).await
            }
            _ => Ok(self.0.with_unsent_blocks(self.0.lookup(parent, &file_name(name)?).await?)),
        }
    }

    /// Makes an inode with its first name.
    pub async fn make(&self, caller: Caller, parent: Ino, name: &[u8], new: NewNode) -> Result<Attr, FsError> {
        let name = file_name(name)?;
        if new.kind == FileKind::Symlink && (new.target.is_empty() || new.target.len() > SYMLINK_MAX_BYTES) {
            return Err(if new.target.is_empty() { FsError::NotFound } else { FsError::NameTooLong });
        }
        self.0.make(caller, parent, name, new).await
    }

    /// Makes a file and opens it; unless `exclusive`, one that is there is opened. Returns its handle.
    pub async fn create(
        &self,
        caller: Caller,
        parent: Ino,
        name: &[u8],
        perm: u16,
        exclusive: bool,
        mode: OpenMode,
    ) -> Result<(Attr, u64), FsError> {
        let name = file_name(name)?;
        loop {
            match self.0.make(caller, parent, name.clone(), NewNode::file(perm)).await {
                Ok(attr) => return Ok((attr, self.0.open(attr, mode))),
                Err(FsError::Exists) if !exclusive => {}
                Err(error) => return Err(error),
            }
            match self.0.lookup(parent, &name).await {
                Ok(attr) if attr.kind == FileKind::Dir => return Err(FsError::IsDir),
                Ok(attr) => return Ok((attr, self.open(attr.ino, mode).await?)),
                Err(FsError::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Gives an inode that is no directory one more name.
    pub async fn link(&self, ino: Ino, parent: Ino, name: &[u8]) -> Result<Attr, FsError> {
        let name = file_name(name)?;
        self.0.getattr(ino).await?;
        self.0.getattr(parent).await?;
        let attrs = self.0.change(Change::Link { ino, parent, name }).await?;
        attrs.first().copied().ok_or(FsError::Io)
    }

    /// Takes a name of a non-directory away.
    pub async fn unlink(&self, parent: Ino, name: &[u8]) -> Result<(), FsError> {
        let name = file_name(name)?;
        self.0.getattr(parent).await?;
        let found = self.0.lookup(parent, &name).await?.ino;
        let attrs = self.0.take_name(Change::Unlink { parent, name, keep: false }, Some(found)).await?;
        self.0.after_unlink(&attrs);
        Ok(())
    }

    /// Takes an empty directory away.
    pub async fn rmdir(&self, parent: Ino, name: &[u8]) -> Result<(), FsError> {
        let name = file_name(name)?;
        self.0.getattr(parent).await?;
        let found = self.0.lookup(parent, &name).await?.ino;
        let attrs = self.0.take_name(Change::Rmdir { parent, name, keep: false }, Some(found)).await?;
        self.0.after_unlink(&attrs);
        Ok(())
    }

    /// Moves a name.
    pub async fn rename(
        &self,
        parent: Ino,
        name: &[u8],
        new_parent: Ino,
        new_name: &[u8],
        mode: RenameMode,
    ) -> Result<(), FsError> {
        let (name, new_name) = (file_name(name)?, file_name(new_name)?);
        self.0.getattr(parent).await?;
        self.0.getattr(new_parent).await?;
        let moved = self.0.lookup(parent, &name).await?;
        let replaced = match self.0.lookup(new_parent, &new_name).await {
            Ok(attr) => Some(attr),
            Err(FsError::NotFound) => None,
            Err(error) => return Err(error),
        };
        if mode == RenameMode::Replace && replaced.is_some() && moved.kind == FileKind::File {
            // The old contents must not be gone while the new ones are only here.
            unless_stopped(self.0.push_now(moved.ino)).await?;
        }
        let lost = replaced.filter(|attr| mode == RenameMode::Replace && attr.ino != moved.ino);
        let held = lost.and_then(|attr| self.hold(attr));
        let rename = Change::Rename { parent, name, new_parent, new_name, mode, keep: false };
        let renamed = self.0.take_name(rename, replaced.map(|attr| attr.ino)).await;
        if let Some(handle) = held {
            self.close_after(handle, if renamed.is_ok() { replaced::HELD } else { Duration::ZERO });
        }
        if renamed.is_ok()
            && let Some(attr) = lost
        {
            self.0.replaced.lock().note(attr.ino, Instant::now());
        }
        self.0.after_unlink(&renamed?);
        if parent != new_parent {
            let exchanged = replaced.filter(|_| mode == RenameMode::Exchange);
            for dir in [Some(moved), exchanged].into_iter().flatten().filter(|attr| attr.kind == FileKind::Dir) {
                self.0.forget_parent(dir.ino).await;
            }
        }
        Ok(())
    }

    /// Holds a file open that is about to be replaced, if somebody has missed such a one (see [`replaced`]).
    fn hold(&self, attr: Attr) -> Option<u64> {
        if !self.0.replaced.lock().is_missed(Instant::now()) || self.0.allowance.is_spent() {
            // Nobody needs it, or its room is needed more.
            return None;
        }
        let mode = OpenMode { sync: false, reads: false, writes: false, quiet: true };
        (attr.kind == FileKind::File && attr.nlink == 1).then(|| self.0.open(attr, mode))
    }

    fn close_after(&self, handle: u64, after: Duration) {
        let vfs = self.clone();
        tokio::spawn(async move {
            let closing = vfs.0.closing.notified();
            let _ = tokio::time::timeout(after, closing).await;
            // It can only fail if there is no such handle.
            let _ = vfs.release(handle);
        });
    }

    /// A symbolic link's target.
    pub async fn readlink(&self, ino: Ino) -> Result<Bytes, FsError> {
        let known = self.0.names.lock().tree.node(ino).and_then(|n| n.target.clone());
        let target = match known {
            Some(target) => target,
            None => match self.0.ask(Query::ReadLink { ino }).await {
                Ok(Answer::Bytes(target)) => target,
                // It was replaced since its name was looked up, which is looked up once more then.
                Err(FsError::NotFound) => return Err(FsError::Stale),
                Err(error) => return Err(error),
                Ok(_) => return Err(FsError::Io),
            },
        };
        self.0.link_read(ino);
        Ok(target)
    }
}

impl<C: Cluster> Shared<C> {
    pub(super) async fn lookup(self: &Arc<Self>, parent: Ino, name: &FileName) -> Result<Attr, FsError> {
        loop {
            let (asked, known) = {
                let mut names = self.names.lock();
                let known = match names.tree.named(parent, name.as_bytes()) {
                    Named::Absent => return Err(FsError::NotFound),
                    Named::Is(ino) => match names.tree.attr(ino) {
                        Some(attr) => return Ok(attr),
                        None => Some(ino),
                    },
                    Named::Unknown => None,
                };
                (names.tree.stamp(), known)
            };
            if let Some(ino) = known {
                return self.getattr(ino).await;
            }
            if self.names.lock().tree.missed(parent) == MISSES && self.learn_dir(parent).await? {
                continue;
            }
            let found = match self.ask(Query::Lookup { parent, name: name.clone() }).await {
                Ok(Answer::Attr(attr)) => Some(attr),
                Ok(_) => return Err(FsError::Io),
                Err(FsError::NotFound) => None,
                Err(error) => return Err(error),
            };
            let mut names = self.names.lock();
            if !names.tree.learn_name(parent, name.as_bytes(), found.map(|a| a.ino), asked) {
                continue;
            }
            match found {
                None => return Err(FsError::NotFound),
                Some(attr) => {
                    if let Some(attr) = names.tree.learn(&attr, asked) {
                        return Ok(attr);
                    }
                }
            }
        }
    }

    /// Asks for all of a directory, if one page holds it. True if something was learned.
    async fn learn_dir(self: &Arc<Self>, parent: Ino) -> Result<bool, FsError> {
        let ticket = self.names.lock().tree.node(parent).map_or(0, |n| n.changed);
        self.settled(ticket).await;
        let asked = self.names.lock().tree.stamp();
        let query = Query::ReadDir { ino: parent, after: 0, limit: DIR_PAGE_ENTRIES as u32, attrs: true };
        let Answer::Entries { entries, end, .. } = self.ask(query).await? else { return Err(FsError::Io) };
        Ok(end && self.take_entries(parent, &entries, asked, true))
    }

    /// Takes entries in that were asked for at `asked`; `all` says that these are all that the directory has.
    pub(super) fn take_entries(&self, parent: Ino, entries: &[Entry], asked: super::tree::Stamp, all: bool) -> bool {
        let mut names = self.names.lock();
        for attr in entries.iter().filter_map(|e| e.attr.as_ref()) {
            names.tree.learn(attr, asked);
        }
        let pairs = entries.iter().map(|e| (e.name.as_bytes(), e.ino));
        if all {
            return names.tree.learn_all(parent, pairs, asked);
        }
        for (name, ino) in pairs {
            names.tree.learn_name(parent, name, Some(ino), asked);
        }
        true
    }

    async fn make(
        self: &Arc<Self>,
        caller: Caller,
        parent: Ino,
        name: FileName,
        new: NewNode,
    ) -> Result<Attr, FsError> {
        let dir = self.getattr(parent).await?;
        let default = self.default_list(&dir).await?;
        let ino = unless_stopped(self.cluster.new_ino()).await?;
        let (perm, xattrs) = acl::inherit(default.as_deref(), new.kind, new.perm, caller.umask);
        let inherits = dir.perm & SET_GID != 0;
        let gid = if inherits { dir.gid } else { caller.gid };
        let perm = if inherits && new.kind == FileKind::Dir { perm | SET_GID } else { perm };
        let change = Change::Make {
            parent,
            name,
            ino,
            kind: new.kind,
            perm: perm & 0o7777,
            uid: caller.uid,
            gid,
            rdev: new.rdev,
            target: new.target,
            xattrs,
        };
        let attrs = self.change(change).await?;
        attrs.first().copied().ok_or(FsError::Io)
    }

    /// The access control list that what is made in a directory inherits. There is nothing to wait for in a directory
    /// without extended attributes.
    async fn default_list(self: &Arc<Self>, dir: &Attr) -> Result<Option<Bytes>, FsError> {
        if dir.xattrs == 0 {
            return Ok(None);
        }
        let xattrs = self.xattrs(dir.ino).await?;
        Ok(xattrs.iter().find(|(name, _)| name == acl::DEFAULT).map(|(_, value)| value.clone()))
    }

    /// What was unlinked for good needs nothing written any more.
    fn after_unlink(&self, attrs: &[Attr]) {
        for attr in attrs.iter().filter(|a| a.nlink == 0 && a.kind == FileKind::File) {
            if attr.blocks > 0 {
                self.freed.some(Instant::now());
            }
            self.doom(attr.ino);
            self.left_unsynced.lock().remove(attr.ino);
        }
    }
}
