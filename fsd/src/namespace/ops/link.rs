//! One more name for an inode.

use super::Result;
use crate::namespace::state::{Caller, State};
use raidfs_common::attr::FileKind;
use raidfs_common::error::FsError;
use raidfs_common::id::Ino;
use raidfs_common::limits::LINKS_MAX;
use raidfs_common::name::FileName;
use raidfs_common::namespace::Done;

/// Applies a [`raidfs_common::namespace::Change::Link`].
pub(super) fn link(state: &mut State, caller: Caller, ino: Ino, parent: Ino, name: &FileName) -> Result<Done> {
    let subject = state.find_inode(ino)?.ok_or(FsError::NotFound)?.attr;
    if subject.nlink == 0 {
        return Err(FsError::NotFound.into());
    }
    state.directory(parent)?;
    if state.entry(parent, name)?.is_some() {
        return Err(FsError::Exists.into());
    }
    if subject.kind == FileKind::Dir {
        return Err(FsError::NotPermitted.into());
    }
    if subject.nlink >= LINKS_MAX {
        return Err(FsError::TooManyLinks.into());
    }
    let attr = state.edit(ino, |row| {
        row.attr.nlink += 1;
        row.attr.ctime = caller.now;
    })?;
    state.add_entry(parent, name, ino, subject.kind, caller.now)?;
    Ok(Done::Attrs(vec![attr, state.known_inode(parent)?.attr]))
}
