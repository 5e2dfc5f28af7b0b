//! Finding chunks by their names: no chunk is opened, nothing is changed. Driven by the store, and by tools that read
//! the chunks of a server that does not run.

use super::layout::{self, Dir, Member};
use raidfs_common::id::{ChunkId, Ino};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// What of an inode was found in its group's directory.
#[derive(Clone, Copy, Debug, Default)]
struct Found {
    first: bool,
    rest: bool,
}

/// The groups that have a directory, in order.
pub fn groups(root: &Path) -> io::Result<Vec<u64>> {
    let mut groups: Vec<u64> = names(root, Dir::Root)?.iter().filter_map(|name| layout::parse_group(name)).collect();
    groups.sort_unstable();
    Ok(groups)
}

/// The indexes of an inode's chunks behind the first, in order.
pub fn rest_of(root: &Path, ino: Ino) -> io::Result<Vec<u32>> {
    let names = names(root, Dir::Rest(ino))?;
    let mut indexes: Vec<u32> = names.iter().filter_map(|name| layout::parse_index(name)).collect();
    indexes.sort_unstable();
    Ok(indexes)
}

/// Up to `limit` chunks of these groups (in order) above `after`, in order.
pub fn list(
    root: &Path,
    groups: impl IntoIterator<Item = u64>,
    after: Option<ChunkId>,
    limit: usize,
) -> io::Result<Vec<ChunkId>> {
    let mut chunks = Vec::new();
    let from = after.map_or(Ino(0), |chunk| chunk.ino);
    for group in groups {
        for (ino, found) in inodes(root, group)?.range(from..) {
            if chunks.len() >= limit {
                break;
            }
            let rest = if found.rest { rest_of(root, *ino)? } else { Vec::new() };
            let all = found.first.then_some(0).into_iter().chain(rest).map(|index| ChunkId { ino: *ino, index });
            chunks.extend(all.filter(|chunk| after.is_none_or(|after| *chunk > after)));
        }
        if chunks.len() >= limit {
            chunks.truncate(limit);
            break;
        }
    }
    Ok(chunks)
}

fn inodes(root: &Path, group: u64) -> io::Result<BTreeMap<Ino, Found>> {
    let mut inodes: BTreeMap<Ino, Found> = BTreeMap::new();
    for name in names(root, Dir::Group(group))? {
        match layout::parse_member(group, &name) {
            Some(Member::First(ino)) => inodes.entry(ino).or_default().first = true,
            Some(Member::Rest(ino)) => inodes.entry(ino).or_default().rest = true,
            None => {}
        }
    }
    Ok(inodes)
}

/// The names in a directory, none if there is none.
fn names(root: &Path, dir: Dir) -> io::Result<Vec<String>> {
    match std::fs::read_dir(layout::dir_path(root, dir)) {
        Ok(entries) => entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(e),
    }
}
