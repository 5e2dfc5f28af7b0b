//! Attributes that are set: permission bits, owner, length, times.

use super::xattr::access_list_after;
use super::{Result, check_time, loss};
use crate::board::Doom;
use crate::namespace::Effect;
use crate::namespace::rows::InodeRow;
use crate::namespace::state::{Caller, State};
use raidfs_common::attr::FileKind;
use raidfs_common::error::FsError;
use raidfs_common::id::Ino;
use raidfs_common::limits::{BLOCK_BYTES, FILE_MAX_BYTES};
use raidfs_common::namespace::{Done, SetAttr};

/// Applies a [`raidfs_common::namespace::Change::SetAttr`].
pub(super) fn set(state: &mut State, caller: Caller, ino: Ino, set: &SetAttr) -> Result<Done> {
    let before = state.inode(ino)?.attr;
    match (set.size, before.kind) {
        (Some(size), FileKind::File) if size > FILE_MAX_BYTES => return Err(FsError::TooBig.into()),
        (None, _) | (Some(_), FileKind::File) => {}
        (Some(_), FileKind::Dir) => return Err(FsError::IsDir.into()),
        (Some(_), _) => return Err(FsError::Invalid.into()),
    }
    for time in [set.atime, set.mtime].into_iter().flatten() {
        check_time(time)?;
    }
    let list = match set.perm {
        Some(perm) => access_list_after(state, &before, perm)?,
        None => None,
    };
    if let Some((key, list)) = list {
        // As long as it was: the count of bytes stays.
        state.rows.put(&key, list);
    }
    let attr = state.edit(ino, |row| change(row, caller, set))?;
    if attr.cut_gen != before.cut_gen {
        state.effects.push(Effect::Doom { ino, doom: Doom::Cut { size: attr.size } });
        loss::cut(state, &attr)?;
    }
    if attr.size > before.size {
        loss::lengthened(state, &attr)?;
    }
    Ok(Done::Attrs(vec![attr]))
}

fn change(row: &mut InodeRow, caller: Caller, set: &SetAttr) {
    let attr = &mut row.attr;
    if let Some(size) = set.size {
        if size < attr.size {
            attr.cut_gen = attr.cut_gen.saturating_add(1);
            attr.blocks = attr.blocks.min(size.div_ceil(BLOCK_BYTES));
        }
        attr.size = size;
        attr.mtime = caller.now;
    }
    attr.perm = set.perm.map_or(attr.perm, |perm| perm & 0o7777);
    attr.uid = set.uid.unwrap_or(attr.uid);
    attr.gid = set.gid.unwrap_or(attr.gid);
    attr.atime = set.atime.unwrap_or(attr.atime);
    attr.mtime = set.mtime.unwrap_or(attr.mtime);
    attr.ctime = caller.now;
}
