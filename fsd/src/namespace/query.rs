//! Questions about the namespace; nothing here changes it.

use super::fault::Fault;
use super::rows::{InodeRow, Key, Row, prefix};
use super::state::{Refusal, State};
use bytes::Bytes;
use raidfs_common::attr::FileKind;
use raidfs_common::error::FsError;
use raidfs_common::id::Ino;
use raidfs_common::limits::DIR_PAGE_ENTRIES;
use raidfs_common::namespace::{Answer, Entry, Query, Reply};

/// Directories that one path is made of at most; more can only be a cycle, which a damaged store may have.
const PATH_MAX_DEPTH: usize = 1 << 20;

/// Answers `query`.
pub(super) fn answer(state: &State, query: &Query) -> Result<Reply, Fault> {
    match try_answer(state, query) {
        Ok(answer) => Ok(Ok(answer)),
        Err(Refusal::Fs(error)) => Ok(Err(error)),
        Err(Refusal::Fault(fault)) => Err(fault),
    }
}

fn try_answer(state: &State, query: &Query) -> Result<Answer, Refusal> {
    match query {
        Query::Lookup { parent, name } => {
            state.directory(*parent)?;
            let entry = state.entry(*parent, name)?.ok_or(FsError::NotFound)?;
            Ok(Answer::Attr(state.known_inode(entry.ino)?.attr))
        }
        Query::GetAttr { ino } => Ok(Answer::Attr(state.inode(*ino)?.attr)),
        Query::ReadDir { ino, after, limit, attrs } => read_dir(state, *ino, *after, *limit, *attrs),
        Query::ReadLink { ino } => {
            if state.inode(*ino)?.attr.kind != FileKind::Symlink {
                return Err(FsError::Invalid.into());
            }
            match state.rows.row(&Key::Target(*ino))? {
                Some(Row::Target(target)) => Ok(Answer::Bytes(target)),
                _ => Err(Fault::damaged(&Key::Target(*ino).encode(), "is missing").into()),
            }
        }
        Query::Xattrs { ino } => Ok(Answer::Xattrs(state.xattrs(&state.inode(*ino)?)?)),
        Query::Totals => {
            let inodes = state.counters.dirs + state.counters.others;
            Ok(Answer::Totals { inodes, space: state.pairs.iter().map(|pair| pair.space).collect() })
        }
        Query::Pairs => Ok(Answer::Pairs(state.pairs.to_vec())),
        Query::PathOf { ino } => path_of(state, *ino),
    }
}

fn read_dir(state: &State, ino: Ino, after: u64, limit: u32, attrs: bool) -> Result<Answer, Refusal> {
    let InodeRow { attr, next_cookie, .. } = state.inode(ino)?;
    if attr.kind != FileKind::Dir {
        return Err(FsError::NotDir.into());
    }
    let limit = (limit as usize).clamp(1, DIR_PAGE_ENTRIES);
    let mut entries = Vec::new();
    let Some(first) = after.checked_add(1) else { return Ok(Answer::Entries { entries, end: true, next_cookie }) };
    for row in state.rows.rows(&prefix::index_of(ino), &Key::Index(ino, first).encode()) {
        if entries.len() == limit {
            return Ok(Answer::Entries { entries, end: false, next_cookie });
        }
        if let (Key::Index(_, cookie), Row::Index(row)) = row? {
            let attr = if attrs { Some(state.known_inode(row.ino)?.attr) } else { None };
            entries.push(Entry { name: row.name, ino: row.ino, kind: row.kind, cookie, attr });
        }
    }
    Ok(Answer::Entries { entries, end: true, next_cookie })
}

/// Found by looking through each parent for the child: for messages only.
fn path_of(state: &State, ino: Ino) -> Result<Answer, Refusal> {
    let mut inode = state.inode(ino)?.attr;
    if inode.kind != FileKind::Dir {
        return Err(FsError::NotDir.into());
    }
    let mut names = Vec::new();
    while inode.ino != Ino::ROOT {
        if inode.nlink == 0 || names.len() > PATH_MAX_DEPTH {
            return Err(FsError::NotFound.into());
        }
        names.push(name_in(state, inode.parent, inode.ino)?);
        inode = state.known_inode(inode.parent)?.attr;
    }
    let mut path = Vec::new();
    for name in names.iter().rev() {
        path.push(b'/');
        path.extend_from_slice(name);
    }
    Ok(Answer::Bytes(if path.is_empty() { Bytes::from_static(b"/") } else { path.into() }))
}

fn name_in(state: &State, parent: Ino, child: Ino) -> Result<Vec<u8>, Refusal> {
    let prefix = prefix::index_of(parent);
    for row in state.rows.rows(&prefix, &prefix) {
        if let (_, Row::Index(row)) = row?
            && row.ino == child
        {
            return Ok(row.name.as_bytes().to_vec());
        }
    }
    Err(Fault::damaged(&Key::Inode(child).encode(), "has no name in its parent").into())
}
