//! Bytes were written: lengths, blocks and times follow. Also lengths that are found after a session died.

use super::{Result, check_time, loss};
use crate::namespace::fault::Fault;
use crate::namespace::rows::InodeRow;
use crate::namespace::state::{Caller, State};
use raidfs_common::attr::{Attr, FileKind};
use raidfs_common::error::FsError;
use raidfs_common::id::Ino;
use raidfs_common::limits::{BLOCK_BYTES, FILE_MAX_BYTES};
use raidfs_common::namespace::Done;
use raidfs_common::plant::{Bug, planted};
use raidfs_common::time::Time;

/// What writing did to a file.
#[derive(Clone, Copy)]
pub(super) struct Growth {
    pub cut_gen: u32,
    pub size: u64,
    pub blocks: i64,
}

/// Applies a [`raidfs_common::namespace::Change::Wrote`]. The inode's change time is the request's, which is that of
/// writing, as on a local file system, and not when the cluster was told; but it never goes back. The time of last
/// writing is no measure for it: that may have been set to anything since.
pub(super) fn wrote(state: &mut State, caller: Caller, ino: Ino, growth: Growth, mtime: Time) -> Result<Done> {
    let before = state.inode(ino)?;
    check(&before, growth)?;
    check_time(mtime)?;
    if growth.cut_gen < before.attr.cut_gen && !planted(Bug::TakesOldSizes) {
        return Ok(Done::Attrs(vec![before.attr]));
    }
    let attr = grow(state, ino, growth, |attr| {
        attr.mtime = mtime;
        attr.ctime = attr.ctime.max(caller.now);
    })?;
    Ok(Done::Attrs(vec![attr]))
}

/// Applies a [`raidfs_common::namespace::Change::RecoverSizes`]: files that are gone or were cut since are passed over.
pub(super) fn recover(state: &mut State, sizes: &[(Ino, u32, u64)]) -> Result<Done> {
    let mut attrs = Vec::new();
    for &(ino, cut_gen, size) in sizes {
        let growth = Growth { cut_gen, size, blocks: 0 };
        match state.find_inode(ino)? {
            Some(row) if check(&row, growth).is_ok() && cut_gen == row.attr.cut_gen => {
                attrs.push(grow(state, ino, growth, |_| {})?);
            }
            _ => {}
        }
    }
    Ok(Done::Attrs(attrs))
}

fn check(row: &InodeRow, growth: Growth) -> Result<(), FsError> {
    if row.attr.kind != FileKind::File || growth.cut_gen > row.attr.cut_gen {
        return Err(FsError::Invalid);
    }
    if growth.size > FILE_MAX_BYTES { Err(FsError::TooBig) } else { Ok(()) }
}

fn grow(state: &mut State, ino: Ino, growth: Growth, times: impl FnOnce(&mut Attr)) -> Result<Attr, Fault> {
    let mut before = 0;
    let attr = state.edit(ino, |row| {
        let attr = &mut row.attr;
        before = attr.size;
        attr.size = attr.size.max(growth.size);
        attr.blocks = attr.blocks.saturating_add_signed(growth.blocks).min(FILE_MAX_BYTES / BLOCK_BYTES);
        times(attr);
    })?;
    if attr.size > before {
        loss::grown(state, &attr, before)?;
    }
    Ok(attr)
}
