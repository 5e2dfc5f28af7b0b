//! Moving a name: onto nothing, onto a name that is replaced, or in exchange for one.

use super::Result;
use crate::namespace::rows::EntryRow;
use crate::namespace::state::{Caller, State};
use raidfs_common::attr::{Attr, FileKind};
use raidfs_common::error::FsError;
use raidfs_common::id::Ino;
use raidfs_common::name::FileName;
use raidfs_common::namespace::{Done, RenameMode};

/// The parts of a [`raidfs_common::namespace::Change::Rename`].
pub(super) struct Move<'a> {
    pub from: (Ino, &'a FileName),
    pub to: (Ino, &'a FileName),
    pub mode: RenameMode,
    pub keep: bool,
}

/// Applies a [`raidfs_common::namespace::Change::Rename`].
pub(super) fn rename(state: &mut State, caller: Caller, moved: &Move<'_>) -> Result<Done> {
    let ((parent, name), (new_parent, new_name)) = (moved.from, moved.to);
    state.directory(parent)?;
    state.directory(new_parent)?;
    let source = state.entry(parent, name)?.ok_or(FsError::NotFound)?;
    let target = state.entry(new_parent, new_name)?;
    check(state, moved, source, target)?;
    match target {
        // Both names are the same inode's: POSIX has nothing happen, and both stay.
        Some(target) if target.ino == source.ino => {
            let subject = state.known_inode(source.ino)?.attr;
            with_parents(state, moved, vec![subject])
        }
        Some(target) if moved.mode == RenameMode::Exchange => exchange(state, caller, moved, source, target),
        _ => replace(state, caller, moved, source, target),
    }
}

fn check(state: &State, moved: &Move<'_>, source: EntryRow, target: Option<EntryRow>) -> Result<()> {
    let (parent, new_parent) = (moved.from.0, moved.to.0);
    match (moved.mode, target) {
        (RenameMode::NoReplace, Some(_)) => return Err(FsError::Exists.into()),
        (RenameMode::Exchange, None) => return Err(FsError::NotFound.into()),
        _ => {}
    }
    if source.kind == FileKind::Dir && parent != new_parent && is_within(state, new_parent, source.ino)? {
        return Err(FsError::Invalid.into());
    }
    let Some(target) = target else { return Ok(()) };
    if moved.mode == RenameMode::Exchange {
        if target.kind == FileKind::Dir && parent != new_parent && is_within(state, parent, target.ino)? {
            return Err(FsError::Invalid.into());
        }
        return Ok(());
    }
    if target.ino == source.ino {
        return Ok(());
    }
    match (source.kind == FileKind::Dir, target.kind == FileKind::Dir) {
        (true, false) => Err(FsError::NotDir.into()),
        (false, true) => Err(FsError::IsDir.into()),
        (true, true) if state.known_inode(target.ino)?.attr.size > 0 => Err(FsError::NotEmpty.into()),
        _ => Ok(()),
    }
}

/// Whether `directory` is `ancestor` or lies below it.
fn is_within(state: &State, directory: Ino, ancestor: Ino) -> Result<bool> {
    let mut at = directory;
    while at != ancestor {
        if at == Ino::ROOT {
            return Ok(false);
        }
        at = state.known_inode(at)?.attr.parent;
    }
    Ok(true)
}

fn exchange(state: &mut State, caller: Caller, moved: &Move<'_>, one: EntryRow, other: EntryRow) -> Result<Done> {
    let ((parent, name), (new_parent, new_name)) = (moved.from, moved.to);
    state.point_entry(parent, name, one, (other.ino, other.kind), caller.now)?;
    state.point_entry(new_parent, new_name, other, (one.ino, one.kind), caller.now)?;
    let subject = arrive(state, caller, one, new_parent)?;
    let other = arrive(state, caller, other, parent)?;
    with_parents(state, moved, vec![subject, other])
}

fn replace(
    state: &mut State,
    caller: Caller,
    moved: &Move<'_>,
    source: EntryRow,
    target: Option<EntryRow>,
) -> Result<Done> {
    let ((parent, name), (new_parent, new_name)) = (moved.from, moved.to);
    state.remove_entry(parent, name, source, caller.now)?;
    match target {
        None => state.add_entry(new_parent, new_name, source.ino, source.kind, caller.now)?,
        // The name keeps its place: a reader of the directory sees it once, whichever inode it has by then.
        Some(target) => state.point_entry(new_parent, new_name, target, (source.ino, source.kind), caller.now)?,
    }
    let mut attrs = vec![arrive(state, caller, source, new_parent)?];
    if let Some(target) = target {
        attrs.push(state.drop_link(target.ino, moved.keep, caller)?);
    }
    with_parents(state, moved, attrs)
}

/// The inode of an entry has come to lie in `parent`.
fn arrive(state: &mut State, caller: Caller, entry: EntryRow, parent: Ino) -> Result<Attr> {
    let attr = state.edit(entry.ino, |row| {
        row.attr.ctime = caller.now;
        if entry.kind == FileKind::Dir {
            row.attr.parent = parent;
        }
    })?;
    Ok(attr)
}

fn with_parents(state: &State, moved: &Move<'_>, mut attrs: Vec<Attr>) -> Result<Done> {
    attrs.push(state.known_inode(moved.from.0)?.attr);
    if moved.to.0 != moved.from.0 {
        attrs.push(state.known_inode(moved.to.0)?.attr);
    }
    Ok(Done::Attrs(attrs))
}
