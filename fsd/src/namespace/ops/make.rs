//! A new inode and its first name.

use super::Result;
use super::xattr::{check_name, check_value};
use crate::namespace::rows::{InodeRow, Key, Row};
use crate::namespace::state::{Caller, State};
use bytes::Bytes;
use raidfs_common::acl;
use raidfs_common::attr::{Attr, FileKind, Placement};
use raidfs_common::error::FsError;
use raidfs_common::id::{Ino, SessionId};
use raidfs_common::limits::{SYMLINK_MAX_BYTES, XATTR_TOTAL_MAX_BYTES};
use raidfs_common::namespace::{Change, Done};

/// Applies a [`Change::Make`].
pub(super) fn make(state: &mut State, caller: Caller, change: &Change) -> Result<Done> {
    let Change::Make { parent, name, ino, kind, perm, uid, gid, rdev, target, xattrs } = change else {
        return Err(FsError::Invalid.into());
    };
    let (parent, ino, kind) = (*parent, *ino, *kind);
    state.directory(parent)?;
    if state.entry(parent, name)?.is_some() {
        return Err(FsError::Exists.into());
    }
    check_target(kind, target)?;
    let xattr_bytes = check_xattrs(xattrs, kind, perm & 0o7777)?;
    take_number(state, caller.session, ino)?;

    let is_device = matches!(kind, FileKind::CharDevice | FileKind::BlockDevice);
    let attr = Attr {
        ino,
        kind,
        perm: perm & 0o7777,
        nlink: if kind == FileKind::Dir { 2 } else { 1 },
        uid: *uid,
        gid: *gid,
        rdev: if is_device { *rdev } else { 0 },
        size: target.len() as u64,
        blocks: 0,
        atime: caller.now,
        mtime: caller.now,
        ctime: caller.now,
        btime: caller.now,
        cut_gen: 0,
        placement: if kind == FileKind::File { next_placement(state) } else { Placement::default() },
        parent,
        xattrs: xattrs.len() as u16,
    };
    match kind {
        FileKind::Dir => state.counters.dirs += 1,
        _ => state.counters.others += 1,
    }
    state.counters_changed = true;
    let next_cookie = u64::from(kind == FileKind::Dir);
    state.rows.insert(&Key::Inode(ino), Row::Inode(InodeRow { attr, next_cookie, xattr_bytes }));
    if kind == FileKind::Symlink {
        state.rows.insert(&Key::Target(ino), Row::Target(target.clone()));
    }
    for (name, value) in xattrs {
        state.rows.insert(&Key::Xattr(ino, name.clone()), Row::Xattr(value.clone()));
    }
    state.add_entry(parent, name, ino, kind, caller.now)?;
    Ok(Done::Attrs(vec![attr, state.known_inode(parent)?.attr]))
}

fn check_target(kind: FileKind, target: &Bytes) -> Result<(), FsError> {
    match kind {
        FileKind::Symlink if target.is_empty() => Err(FsError::NotFound),
        FileKind::Symlink if target.len() > SYMLINK_MAX_BYTES => Err(FsError::NameTooLong),
        FileKind::Symlink if target.contains(&0) => Err(FsError::Invalid),
        FileKind::Symlink => Ok(()),
        _ if target.is_empty() => Ok(()),
        _ => Err(FsError::Invalid),
    }
}

/// Their names and values, in bytes. Access control lists must be what an inode of this kind may have with these bits.
fn check_xattrs(xattrs: &[(Bytes, Bytes)], kind: FileKind, perm: u16) -> Result<u32, FsError> {
    let mut bytes = 0;
    for (at, (name, value)) in xattrs.iter().enumerate() {
        check_name(name)?;
        check_value(value)?;
        if acl::is_acl(name) && !acl::fits(name, value, kind, perm) {
            return Err(FsError::Invalid);
        }
        if xattrs[..at].iter().any(|(before, _)| before == name) {
            return Err(FsError::Invalid);
        }
        bytes += name.len() + value.len();
        if bytes > XATTR_TOTAL_MAX_BYTES || at >= usize::from(u16::MAX) {
            return Err(FsError::NoSpace);
        }
    }
    Ok(bytes as u32)
}

/// Marks a number as used: one that was granted to the session, and not used before.
fn take_number(state: &mut State, session: SessionId, ino: Ino) -> Result<(), FsError> {
    let session = state.sessions.get_mut(&session).ok_or(FsError::Invalid)?;
    let unused = &mut session.row.unused;
    let at = unused.iter().position(|(from, to)| (*from..*to).contains(&ino.0)).ok_or(FsError::Invalid)?;
    let (from, to) = unused[at];
    match (from == ino.0, to == ino.0 + 1) {
        (true, true) => {
            unused.remove(at);
        }
        (true, false) => unused[at].0 += 1,
        (false, true) => unused[at].1 -= 1,
        (false, false) => {
            unused[at].0 = ino.0 + 1;
            unused.insert(at, (from, ino.0));
            // The smallest gap is given up, so that a client that uses numbers at random cannot grow the row.
            if unused.len() > UNUSED_RANGES_MAX
                && let Some((smallest, _)) = unused.iter().enumerate().min_by_key(|(_, (from, to))| to - from)
            {
                unused.remove(smallest);
            }
        }
    }
    session.changed = true;
    Ok(())
}

/// Ranges of unused numbers that a session has at most.
const UNUSED_RANGES_MAX: usize = 1024;

fn next_placement(state: &mut State) -> Placement {
    let number = state.counters.placed;
    state.counters.placed += 1;
    super::placement::place_file(number, &state.pairs)
}
