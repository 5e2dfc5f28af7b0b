//! Extended attributes, and what access control lists among them have to do with permission bits.

use super::Result;
use crate::namespace::rows::{Key, Row};
use crate::namespace::state::{Caller, State};
use bytes::Bytes;
use raidfs_common::acl;
use raidfs_common::attr::Attr;
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
    let perm = perm.map_or(before.attr.perm, |perm| perm & 0o7000 | before.attr.perm & 0o777);
    let (value, perm) = if acl::is_acl(name) {
        let settled = acl::set(name, value, before.attr.kind, perm)?;
        (settled.value, settled.perm)
    } else {
        (Some(value.clone()), perm)
    };
    let bytes_of = |value: &Option<Bytes>| value.as_ref().map_or(0, |value| name.len() + value.len());
    let bytes = (before.xattr_bytes as usize).saturating_sub(bytes_of(&old)) + bytes_of(&value);
    if value.is_some() && (bytes > XATTR_TOTAL_MAX_BYTES || (old.is_none() && before.attr.xattrs == u16::MAX)) {
        return Err(FsError::NoSpace.into());
    }
    let count = before.attr.xattrs.saturating_sub(u16::from(old.is_some())) + u16::from(value.is_some());
    match value {
        Some(value) => state.rows.put(&key, Row::Xattr(value)),
        None if old.is_some() => state.rows.delete(&key),
        None => {}
    }
    let attr = state.edit(ino, |row| {
        row.xattr_bytes = bytes as u32;
        row.attr.xattrs = count;
        row.attr.perm = perm;
        row.attr.ctime = caller.now;
    })?;
    Ok(Done::Attrs(vec![attr]))
}

/// Applies a [`raidfs_common::namespace::Change::RemoveXattr`].
pub(super) fn remove(state: &mut State, caller: Caller, ino: Ino, name: &Bytes) -> Result<Done> {
    let before = state.inode(ino)?;
    check_name(name)?;
    let key = Key::Xattr(ino, name.clone());
    let Some(old) = value_of(state, &key)? else {
        // Whoever wants no list has none.
        return if acl::is_acl(name) { Ok(Done::Attrs(vec![before.attr])) } else { Err(FsError::NoData.into()) };
    };
    state.rows.delete(&key);
    let attr = state.edit(ino, |row| {
        row.xattr_bytes = row.xattr_bytes.saturating_sub((name.len() + old.len()) as u32);
        row.attr.xattrs = row.attr.xattrs.saturating_sub(1);
        row.attr.ctime = caller.now;
    })?;
    Ok(Done::Attrs(vec![attr]))
}

/// What an inode's access control list becomes when it gets these permission bits; None if it has none, or stays.
pub(super) fn access_list_after(state: &State, attr: &Attr, perm: u16) -> Result<Option<(Key, Row)>> {
    if attr.xattrs == 0 {
        return Ok(None);
    }
    let key = Key::Xattr(attr.ino, Bytes::from_static(acl::ACCESS));
    let value = value_of(state, &key)?.and_then(|value| acl::chmod(&value, perm));
    Ok(value.map(|value| (key, Row::Xattr(value))))
}

fn value_of(state: &State, key: &Key) -> Result<Option<Bytes>> {
    Ok(match state.rows.row(key)? {
        Some(Row::Xattr(value)) => Some(value),
        _ => None,
    })
}
