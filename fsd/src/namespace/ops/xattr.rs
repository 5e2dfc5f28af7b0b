//! Extended attributes.

use super::Result;
use crate::namespace::rows::{Key, Row};
use crate::namespace::state::{Caller, State};
use bytes::Bytes;
use raidfs_common::error::FsError;
use raidfs_common::id::Ino;
use raidfs_common::limits::{XATTR_NAME_MAX_BYTES, XATTR_TOTAL_MAX_BYTES, XATTR_VALUE_MAX_BYTES};
use raidfs_common::namespace::{Done, XattrMode};

/// A name of 1 to 255 bytes without a NUL.
pub(super) fn check_name(name: &Bytes) -> Result<(), FsError> {
    if name.is_empty() || name.len() > XATTR_NAME_MAX_BYTES {
        return Err(FsError::Range);
    }
    if name.contains(&0) { Err(FsError::Invalid) } else { Ok(()) }
}

/// A value that is not too large.
pub(super) fn check_value(value: &Bytes) -> Result<(), FsError> {
    if value.len() > XATTR_VALUE_MAX_BYTES { Err(FsError::ValueTooBig) } else { Ok(()) }
}

/// Applies a [`raidfs_common::namespace::Change::SetXattr`].
pub(super) fn set(
    state: &mut State,
    caller: Caller,
    ino: Ino,
    (name, value): (&Bytes, &Bytes),
    mode: XattrMode,
    perm: Option<u16>,
) -> Result<Done> {
    let before = state.inode(ino)?;
    check_name(name)?;
    check_value(value)?;
    let key = Key::Xattr(ino, name.clone());
    let old = value_of(state, &key)?;
    match (mode, &old) {
        (XattrMode::Create, Some(_)) => return Err(FsError::Exists.into()),
        (XattrMode::Replace, None) => return Err(FsError::NoData.into()),
        _ => {}
    }
    let freed = old.as_ref().map_or(0, |old| name.len() + old.len());
    let bytes = (before.xattr_bytes as usize).saturating_sub(freed) + name.len() + value.len();
    if bytes > XATTR_TOTAL_MAX_BYTES || (old.is_none() && before.attr.xattrs == u16::MAX) {
        return Err(FsError::NoSpace.into());
    }
    state.rows.put(&key, Row::Xattr(value.clone()));
    let attr = state.edit(ino, |row| {
        row.xattr_bytes = bytes as u32;
        row.attr.xattrs += u16::from(old.is_none());
        row.attr.perm = perm.map_or(row.attr.perm, |perm| perm & 0o7777);
        row.attr.ctime = caller.now;
    })?;
    Ok(Done::Attrs(vec![attr]))
}

/// Applies a [`raidfs_common::namespace::Change::RemoveXattr`].
pub(super) fn remove(state: &mut State, caller: Caller, ino: Ino, name: &Bytes) -> Result<Done> {
    state.inode(ino)?;
    check_name(name)?;
    let key = Key::Xattr(ino, name.clone());
    let old = value_of(state, &key)?.ok_or(FsError::NoData)?;
    state.rows.delete(&key);
    let attr = state.edit(ino, |row| {
        row.xattr_bytes = row.xattr_bytes.saturating_sub((name.len() + old.len()) as u32);
        row.attr.xattrs = row.attr.xattrs.saturating_sub(1);
        row.attr.ctime = caller.now;
    })?;
    Ok(Done::Attrs(vec![attr]))
}

fn value_of(state: &State, key: &Key) -> Result<Option<Bytes>> {
    Ok(match state.rows.row(key)? {
        Some(Row::Xattr(value)) => Some(value),
        _ => None,
    })
}
