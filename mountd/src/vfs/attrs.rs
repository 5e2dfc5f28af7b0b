//! Attributes: getattr, setattr, truncate.

use super::cluster::Cluster;
use super::names::{SET_GID, SET_UID};
use super::stop::{unless_stopped, waits_unless_stopped};
use super::{Caller, Shared, Vfs};
use raidfs_common::attr::{Attr, FileKind};
use raidfs_common::error::FsError;
use raidfs_common::id::Ino;
use raidfs_common::limits::FILE_MAX_BYTES;
use raidfs_common::namespace::{Answer, Change, Query, Reply, SetAttr};
use raidfs_common::time::Time;
use std::sync::Arc;

/// A time to be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetTime {
    /// The time of the operation.
    Now,
    /// This one.
    At(Time),
}

/// What a setattr sets; None leaves it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Set {
    /// Permission bits.
    pub perm: Option<u16>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Length.
    pub size: Option<u64>,
    /// Last access.
    pub atime: Option<SetTime>,
    /// Last change of contents.
    pub mtime: Option<SetTime>,
}

/// The permission bits after a change of the contents or the owner that they do not survive: set-uid goes, and set-gid
/// where it means a group to run as, or one that the caller is not in.
pub(super) fn without_set_ids(attr: &Attr, caller: Caller) -> u16 {
    const GROUP_EXECUTE: u16 = 0o010;
    let perm = attr.perm & !SET_UID;
    let goes = perm & SET_GID != 0 && (perm & GROUP_EXECUTE != 0 || !caller.keeps_set_gid(attr.uid, attr.gid));
    if goes { perm & !SET_GID } else { perm }
}

impl<C: Cluster> Vfs<C> {
    /// An inode's attributes.
    pub async fn getattr(&self, ino: Ino) -> Result<Attr, FsError> {
        let attr = self.0.getattr(ino).await?;
        Ok(self.0.with_unsent_blocks(attr))
    }

    /// The kernel holds an inode no more.
    pub fn let_go(&self, ino: Ino) {
        self.0.names.lock().tree.let_go(ino);
    }

    /// Sets attributes; returns them as they are then.
    pub async fn setattr(&self, caller: Caller, ino: Ino, set: Set) -> Result<Attr, FsError> {
        let uncapped = self.0.uncapped.lock().take_if(|of| *of == (ino, caller.pid)).is_some();
        if set.mtime.is_some() && set.size.is_none() {
            // It would come later, as a change of later. While a file is cut the kernel sends none of it.
            waits_unless_stopped(self.0.launder_mapped(ino)).await?;
        }
        let attr = self.0.getattr(ino).await?;
        let now = self.0.now();
        let time = |t: SetTime| match t {
            SetTime::Now => now,
            SetTime::At(t) => t,
        };
        let mut change = SetAttr {
            perm: set.perm.map(|p| p & 0o7777),
            uid: set.uid,
            gid: set.gid,
            size: set.size,
            atime: set.atime.map(time),
            mtime: set.mtime.map(time),
        };
        if let Some(size) = set.size {
            match attr.kind {
                FileKind::File if size > FILE_MAX_BYTES => return Err(FsError::TooBig),
                FileKind::File => {}
                FileKind::Dir => return Err(FsError::IsDir),
                _ => return Err(FsError::Invalid),
            }
        }
        if change.perm.is_none() && attr.perm & (SET_UID | SET_GID) != 0 && attr.kind != FileKind::Dir {
            // What is left of a request to take set-id bits away says nothing at all.
            let mut nothing = set == Set::default();
            if nothing && uncapped && caller.keeps_set_ids() {
                // Nor does what is left of a write that took the file's capabilities away, which this caller may do to
                // set-id programs. An idle chown cannot be told from it, and leaves the bits then.
                nothing = false;
            }
            if nothing && !self.0.handles.lock().writes(ino) && !caller.is_owner(attr.uid) {
                // It is no write that takes them away, but a chown that changes nothing.
                return Err(FsError::NotPermitted);
            }
            let owner_changes = set.uid.is_some() || set.gid.is_some() || nothing;
            let cut_by_other = set.size.is_some() && !caller.keeps_set_ids();
            if owner_changes || cut_by_other {
                let perm = without_set_ids(&attr, caller);
                change.perm = (perm != attr.perm).then_some(perm);
            }
        }
        if change.perm.is_some() {
            // Whether there is an access control list that has to follow.
            self.0.xattrs(ino).await?;
        }
        self.0.set_attr(ino, now, change).await?;
        self.getattr(ino).await
    }
}

impl<C: Cluster> Shared<C> {
    /// Asks the namespace for an operation.
    pub(super) async fn ask(&self, query: Query) -> Reply {
        unless_stopped(self.cluster.ask(query)).await
    }

    pub(super) async fn getattr(self: &Arc<Self>, ino: Ino) -> Result<Attr, FsError> {
        loop {
            let asked = {
                let mut names = self.names.lock();
                if let Some(attr) = names.tree.attr(ino) {
                    return Ok(attr);
                }
                names.tree.stamp()
            };
            let attr = match self.ask(Query::GetAttr { ino }).await {
                Ok(Answer::Attr(attr)) => attr,
                Ok(_) => return Err(FsError::Io),
                // The kernel asks by number only for what it has seen a name of.
                Err(FsError::NotFound) => return Err(FsError::Stale),
                Err(error) => return Err(error),
            };
            if let Some(attr) = self.names.lock().tree.learn(&attr, asked) {
                return Ok(attr);
            }
            if self.is_closed() {
                return Err(FsError::Io);
            }
            // A change of it is under way whose outcome is in doubt: its answer comes first.
            let ticket = self.names.lock().queue.last();
            self.settled(ticket).await;
        }
    }

    pub(super) async fn set_attr(self: &Arc<Self>, ino: Ino, now: Time, set: SetAttr) -> Result<(), FsError> {
        if let Some(size) = set.size {
            return self.truncate(ino, size, now, set).await;
        }
        self.report_written(ino);
        self.change_at(now, Change::SetAttr { ino, set }).await.map(drop)
    }
}
