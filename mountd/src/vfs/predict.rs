//! What the cluster will answer to a change, when everything that decides it is known here. The rules are those of the
//! servers' namespace (`raidfs_fsd::namespace`, tested against it); a change whose outcome is certain can be answered
//! before it is made. Pure.

use super::files::UNPLACED;
use super::tree::{Named, Tree};
use bytes::Bytes;
use raidfs_common::acl;
use raidfs_common::attr::{Attr, FileKind, Placement};
use raidfs_common::error::FsError;
use raidfs_common::id::Ino;
use raidfs_common::limits::{BLOCK_BYTES, LINKS_MAX, XATTR_TOTAL_MAX_BYTES};
use raidfs_common::namespace::{Change, RenameMode, SetAttr, XattrMode};
use raidfs_common::time::Time;
use std::sync::Arc;

/// What is known of a change's outcome.
#[derive(Debug, PartialEq, Eq)]
pub enum Prediction {
    /// It will be made: the cache shows its effect from now on. It touches these inodes, first the one that it is
    /// about.
    Made(Vec<Ino>),
    /// It will be refused.
    Refused(FsError),
    /// Ask the cluster; the cache is as it was.
    Unsure,
}

/// Internal: unsure or refused.
enum Stop {
    Unsure,
    Refuse(FsError),
}

type Result<T> = std::result::Result<T, Stop>;

fn refuse<T>(error: FsError) -> Result<T> {
    Err(Stop::Refuse(error))
}

/// Predicts `change`, and applies it to the cache if it is certain to be made.
pub fn predict(tree: &mut Tree, now: Time, change: &Change) -> Prediction {
    let touched = match change {
        Change::Make { .. } => make(tree, now, change),
        Change::Link { ino, parent, name } => link(tree, now, *ino, (*parent, name.as_bytes())),
        Change::Unlink { parent, name, .. } => unlink(tree, now, (*parent, name.as_bytes()), false),
        Change::Rmdir { parent, name, .. } => unlink(tree, now, (*parent, name.as_bytes()), true),
        Change::Rename { parent, name, new_parent, new_name, mode, .. } => {
            rename(tree, now, (*parent, name.as_bytes()), (*new_parent, new_name.as_bytes()), *mode)
        }
        Change::SetAttr { ino, set } => set_attr(tree, now, *ino, set),
        Change::SetXattr { ino, name, value, mode, perm } => set_xattr(tree, now, *ino, (name, value), *mode, *perm),
        Change::RemoveXattr { ino, name } => remove_xattr(tree, now, *ino, name),
        _ => Err(Stop::Unsure),
    };
    match touched {
        Ok(inos) => Prediction::Made(inos),
        Err(Stop::Refuse(error)) => Prediction::Refused(error),
        Err(Stop::Unsure) => Prediction::Unsure,
    }
}

fn known(tree: &mut Tree, ino: Ino) -> Result<Attr> {
    tree.attr(ino).ok_or(Stop::Unsure)
}

/// A directory that may get or lose entries.
fn directory(tree: &mut Tree, ino: Ino) -> Result<Attr> {
    let attr = known(tree, ino)?;
    match attr.kind {
        FileKind::Dir if attr.nlink > 0 => Ok(attr),
        FileKind::Dir => refuse(FsError::NotFound),
        _ => refuse(FsError::NotDir),
    }
}

/// What stands under a name, with its attributes.
fn entry(tree: &mut Tree, at: (Ino, &[u8])) -> Result<Option<Attr>> {
    match tree.named(at.0, at.1) {
        Named::Absent => Ok(None),
        Named::Unknown => Err(Stop::Unsure),
        Named::Is(ino) => known(tree, ino).map(Some),
    }
}

fn edit(tree: &mut Tree, ino: Ino, change: impl FnOnce(&mut Attr)) {
    if let Some(node) = tree.node(ino) {
        change(&mut node.attr);
    }
}

fn entry_came(tree: &mut Tree, at: (Ino, &[u8]), child: &Attr, now: Time) {
    tree.name(at.0, at.1, Some(child.ino), 1);
    edit(tree, at.0, |dir| {
        dir.size += 1;
        dir.nlink += u32::from(child.kind == FileKind::Dir);
        (dir.mtime, dir.ctime) = (now, now);
    });
}

fn entry_went(tree: &mut Tree, at: (Ino, &[u8]), child: &Attr, now: Time) {
    tree.name(at.0, at.1, None, 1);
    edit(tree, at.0, |dir| {
        dir.size = dir.size.saturating_sub(1);
        dir.nlink -= u32::from(child.kind == FileKind::Dir);
        (dir.mtime, dir.ctime) = (now, now);
    });
}

fn entry_turned(tree: &mut Tree, at: (Ino, &[u8]), old: &Attr, new: &Attr, now: Time) {
    tree.name(at.0, at.1, Some(new.ino), 1);
    edit(tree, at.0, |dir| {
        dir.nlink -= u32::from(old.kind == FileKind::Dir);
        dir.nlink += u32::from(new.kind == FileKind::Dir);
        (dir.mtime, dir.ctime) = (now, now);
    });
}

fn link_dropped(tree: &mut Tree, ino: Ino, now: Time) {
    edit(tree, ino, |attr| {
        attr.nlink = if attr.kind == FileKind::Dir { 0 } else { attr.nlink.saturating_sub(1) };
        attr.ctime = now;
    });
}

fn make(tree: &mut Tree, now: Time, change: &Change) -> Result<Vec<Ino>> {
    let Change::Make { parent, name, ino, kind, perm, uid, gid, rdev, target, xattrs } = change else {
        return Err(Stop::Unsure);
    };
    directory(tree, *parent)?;
    let at = (*parent, name.as_bytes());
    if entry(tree, at)?.is_some() {
        return refuse(FsError::Exists);
    }
    let is_device = matches!(kind, FileKind::CharDevice | FileKind::BlockDevice);
    let attr = Attr {
        ino: *ino,
        kind: *kind,
        perm: *perm,
        nlink: if *kind == FileKind::Dir { 2 } else { 1 },
        uid: *uid,
        gid: *gid,
        rdev: if is_device { *rdev } else { 0 },
        size: target.len() as u64,
        blocks: 0,
        atime: now,
        mtime: now,
        ctime: now,
        btime: now,
        cut_gen: 0,
        placement: if *kind == FileKind::File { UNPLACED } else { Placement::default() },
        parent: *parent,
        xattrs: xattrs.len() as u16,
    };
    let node = tree.born(attr);
    node.synced = true;
    node.xattrs = Some(Arc::new(xattrs.clone()));
    node.target = (*kind == FileKind::Symlink).then(|| target.clone());
    entry_came(tree, at, &attr, now);
    Ok(vec![*ino, *parent])
}

fn link(tree: &mut Tree, now: Time, ino: Ino, at: (Ino, &[u8])) -> Result<Vec<Ino>> {
    let subject = known(tree, ino)?;
    if subject.nlink == 0 {
        return refuse(FsError::NotFound);
    }
    directory(tree, at.0)?;
    if entry(tree, at)?.is_some() {
        return refuse(FsError::Exists);
    }
    if subject.kind == FileKind::Dir {
        return refuse(FsError::NotPermitted);
    }
    if subject.nlink >= LINKS_MAX {
        return refuse(FsError::TooManyLinks);
    }
    edit(tree, ino, |attr| {
        attr.nlink += 1;
        attr.ctime = now;
    });
    entry_came(tree, at, &subject, now);
    Ok(vec![ino, at.0])
}

fn unlink(tree: &mut Tree, now: Time, at: (Ino, &[u8]), is_rmdir: bool) -> Result<Vec<Ino>> {
    directory(tree, at.0)?;
    let Some(victim) = entry(tree, at)? else { return refuse(FsError::NotFound) };
    match (is_rmdir, victim.kind == FileKind::Dir) {
        (false, true) => return refuse(FsError::IsDir),
        (true, false) => return refuse(FsError::NotDir),
        (true, true) if victim.size > 0 => return refuse(FsError::NotEmpty),
        _ => {}
    }
    entry_went(tree, at, &victim, now);
    link_dropped(tree, victim.ino, now);
    Ok(vec![victim.ino, at.0])
}

fn rename(tree: &mut Tree, now: Time, from: (Ino, &[u8]), to: (Ino, &[u8]), mode: RenameMode) -> Result<Vec<Ino>> {
    directory(tree, from.0)?;
    directory(tree, to.0)?;
    let Some(source) = entry(tree, from)? else { return refuse(FsError::NotFound) };
    let target = entry(tree, to)?;
    match (mode, &target) {
        (RenameMode::NoReplace, Some(_)) => return refuse(FsError::Exists),
        (RenameMode::Exchange, None) => return refuse(FsError::NotFound),
        _ => {}
    }
    let elsewhere = from.0 != to.0;
    if source.kind == FileKind::Dir && elsewhere && is_within(tree, to.0, source.ino)? {
        return refuse(FsError::Invalid);
    }
    let mut touched = vec![source.ino];
    touched.extend(target.map(|t| t.ino));
    touched.push(from.0);
    touched.extend(elsewhere.then_some(to.0));
    match target {
        Some(target) if target.ino == source.ino => {
            // Both names stay, and the change will settle like any other.
            tree.name(from.0, from.1, Some(source.ino), 1);
            tree.name(to.0, to.1, Some(source.ino), 1);
        }
        Some(target) if mode == RenameMode::Exchange => {
            if target.kind == FileKind::Dir && elsewhere && is_within(tree, from.0, target.ino)? {
                return refuse(FsError::Invalid);
            }
            entry_turned(tree, from, &source, &target, now);
            entry_turned(tree, to, &target, &source, now);
            arrive(tree, &source, to.0, now);
            arrive(tree, &target, from.0, now);
        }
        Some(target) => {
            match (source.kind == FileKind::Dir, target.kind == FileKind::Dir) {
                (true, false) => return refuse(FsError::NotDir),
                (false, true) => return refuse(FsError::IsDir),
                (true, true) if target.size > 0 => return refuse(FsError::NotEmpty),
                _ => {}
            }
            entry_went(tree, from, &source, now);
            entry_turned(tree, to, &target, &source, now);
            arrive(tree, &source, to.0, now);
            link_dropped(tree, target.ino, now);
        }
        None => {
            entry_went(tree, from, &source, now);
            entry_came(tree, to, &source, now);
            arrive(tree, &source, to.0, now);
        }
    }
    Ok(touched)
}

fn arrive(tree: &mut Tree, moved: &Attr, parent: Ino, now: Time) {
    edit(tree, moved.ino, |attr| {
        attr.ctime = now;
        if attr.kind == FileKind::Dir {
            attr.parent = parent;
        }
    });
}

/// Whether `directory` is `ancestor` or lies below it.
fn is_within(tree: &mut Tree, directory: Ino, ancestor: Ino) -> Result<bool> {
    let mut at = directory;
    while at != ancestor {
        if at == Ino::ROOT {
            return Ok(false);
        }
        at = known(tree, at)?.parent;
    }
    Ok(true)
}

fn set_attr(tree: &mut Tree, now: Time, ino: Ino, set: &SetAttr) -> Result<Vec<Ino>> {
    let before = known(tree, ino)?;
    if let Some(perm) = set.perm.filter(|_| before.xattrs > 0) {
        access_list_follows(tree, &before, perm)?;
    }
    let mut is_cut = false;
    if let (Some(node), Some(size)) = (tree.node(ino), set.size) {
        // The cluster may not know yet how long the file is; it counts a cut by what it knows then.
        is_cut = size < node.sent;
        node.sent = size;
    }
    edit(tree, ino, |attr| {
        if let Some(size) = set.size {
            if is_cut {
                attr.cut_gen += 1;
                attr.blocks = attr.blocks.min(size.div_ceil(BLOCK_BYTES));
            }
            attr.size = size;
            attr.mtime = now;
        }
        attr.perm = set.perm.unwrap_or(attr.perm);
        attr.uid = set.uid.unwrap_or(attr.uid);
        attr.gid = set.gid.unwrap_or(attr.gid);
        attr.atime = set.atime.unwrap_or(attr.atime);
        attr.mtime = set.mtime.unwrap_or(attr.mtime);
        attr.ctime = now;
    });
    Ok(vec![ino])
}

fn known_xattrs(tree: &mut Tree, ino: Ino) -> Result<Vec<(Bytes, Bytes)>> {
    let count = known(tree, ino)?.xattrs;
    match tree.node(ino).and_then(|n| n.xattrs.clone()) {
        Some(xattrs) => Ok(xattrs.to_vec()),
        None if count == 0 => Ok(Vec::new()),
        None => Err(Stop::Unsure),
    }
}

fn set_xattr(
    tree: &mut Tree,
    now: Time,
    ino: Ino,
    (name, value): (&Bytes, &Bytes),
    mode: XattrMode,
    perm: Option<u16>,
) -> Result<Vec<Ino>> {
    let before = known(tree, ino)?;
    let mut xattrs = known_xattrs(tree, ino)?;
    let old = xattrs.iter().position(|(n, _)| n == name);
    match (mode, old) {
        (XattrMode::Create, Some(_)) => return refuse(FsError::Exists),
        (XattrMode::Replace, None) => return refuse(FsError::NoData),
        _ => {}
    }
    let perm = perm.map_or(before.perm, |perm| perm & 0o7000 | before.perm & 0o777);
    let (value, perm) = if acl::is_acl(name) {
        let settled = acl::set(name, value, before.kind, perm).map_err(Stop::Refuse)?;
        (settled.value, settled.perm)
    } else {
        (Some(value.clone()), perm)
    };
    if let Some(at) = old {
        xattrs.remove(at);
    }
    xattrs.extend(value.map(|value| (name.clone(), value)));
    if xattrs.iter().map(|(n, v)| n.len() + v.len()).sum::<usize>() > XATTR_TOTAL_MAX_BYTES {
        return refuse(FsError::NoSpace);
    }
    xattrs.sort();
    put_xattrs(tree, now, ino, xattrs);
    edit(tree, ino, |attr| attr.perm = perm);
    Ok(vec![ino])
}

fn remove_xattr(tree: &mut Tree, now: Time, ino: Ino, name: &Bytes) -> Result<Vec<Ino>> {
    let mut xattrs = known_xattrs(tree, ino)?;
    match xattrs.iter().position(|(n, _)| n == name) {
        Some(at) => drop(xattrs.remove(at)),
        // A list that is not there can be taken away.
        None if acl::is_acl(name) => return Ok(vec![ino]),
        None => return refuse(FsError::NoData),
    }
    put_xattrs(tree, now, ino, xattrs);
    Ok(vec![ino])
}

fn put_xattrs(tree: &mut Tree, now: Time, ino: Ino, xattrs: Vec<(Bytes, Bytes)>) {
    tree.xattrs_changed(ino, xattrs.len() as u16, Some(Arc::new(xattrs)));
    edit(tree, ino, |attr| attr.ctime = now);
}

/// The access control list follows permission bits that are set.
fn access_list_follows(tree: &mut Tree, before: &Attr, perm: u16) -> Result<()> {
    if (before.perm ^ perm) & 0o777 == 0 {
        return Ok(());
    }
    let mut xattrs = known_xattrs(tree, before.ino)?;
    let Some(at) = xattrs.iter().position(|(name, _)| name == acl::ACCESS) else { return Ok(()) };
    let Some(value) = acl::chmod(&xattrs[at].1, perm) else { return Ok(()) };
    xattrs[at].1 = value;
    tree.xattrs_changed(before.ino, xattrs.len() as u16, Some(Arc::new(xattrs)));
    Ok(())
}
