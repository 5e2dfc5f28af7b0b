//! Taking a name away: of a file, of an empty directory.

use super::Result;
use crate::namespace::rows::EntryRow;
use crate::namespace::state::{Caller, State};
use raidfs_common::attr::FileKind;
use raidfs_common::error::FsError;
use raidfs_common::id::Ino;
use raidfs_common::name::FileName;
use raidfs_common::namespace::Done;

/// Applies a [`raidfs_common::namespace::Change::Unlink`].
pub(super) fn unlink(state: &mut State, caller: Caller, parent: Ino, name: &FileName, keep: bool) -> Result<Done> {
    state.directory(parent)?;
    let entry = state.entry(parent, name)?.ok_or(FsError::NotFound)?;
    if entry.kind == FileKind::Dir {
        return Err(FsError::IsDir.into());
    }
    take_away(state, caller, parent, name, entry, keep)
}

/// Applies a [`raidfs_common::namespace::Change::Rmdir`].
pub(super) fn rmdir(state: &mut State, caller: Caller, parent: Ino, name: &FileName, keep: bool) -> Result<Done> {
    state.directory(parent)?;
    let entry = state.entry(parent, name)?.ok_or(FsError::NotFound)?;
    if entry.kind != FileKind::Dir {
        return Err(FsError::NotDir.into());
    }
    if state.known_inode(entry.ino)?.attr.size > 0 {
        return Err(FsError::NotEmpty.into());
    }
    take_away(state, caller, parent, name, entry, keep)
}

fn take_away(
    state: &mut State,
    caller: Caller,
    parent: Ino,
    name: &FileName,
    entry: EntryRow,
    keep: bool,
) -> Result<Done> {
    state.remove_entry(parent, name, entry, caller.now)?;
    let attr = state.drop_link(entry.ino, keep, caller)?;
    Ok(Done::Attrs(vec![attr, state.known_inode(parent)?.attr]))
}
