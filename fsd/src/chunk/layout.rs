//! Where a chunk's file lies, and back: names only, no file is touched.
//!
//! ```text
//! <inode / 4096, 13 hex digits>/<inode, 16 hex digits>                     chunk 0 of an inode
//! <inode / 4096, 13 hex digits>/<inode, 16 hex digits>.d/<index, 8 hex digits>   its other chunks
//! ```
//!
//! Names sort as chunks do. Chunk 0 apart from the others: a small file is found, and removed, without reading a
//! directory, and needs none of its own. The group directories keep each directory small, and all chunks from some
//! inode on are found without looking at the others.

use raidfs_common::id::{ChunkId, Ino};
use std::path::{Path, PathBuf};

const GROUP_BITS: u32 = 12;
/// Ends the name of a file that is not whole yet; it takes its place by a rename.
pub const UNFINISHED: &str = ".new";

/// A directory under the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dir {
    /// The root itself.
    Root,
    /// That of a group of inodes.
    Group(u64),
    /// That of an inode's chunks behind the first.
    Rest(Ino),
}

/// What lies in a group's directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Member {
    /// Chunk 0 of an inode.
    First(Ino),
    /// The directory of an inode's other chunks.
    Rest(Ino),
}

/// The group that an inode belongs to.
pub fn group_of(ino: Ino) -> u64 {
    ino.0 >> GROUP_BITS
}

/// The directory that a chunk's file lies in.
pub fn dir_of(chunk: ChunkId) -> Dir {
    if chunk.index == 0 { Dir::Group(group_of(chunk.ino)) } else { Dir::Rest(chunk.ino) }
}

/// The directory that holds this one.
pub fn parent(dir: Dir) -> Option<Dir> {
    match dir {
        Dir::Root => None,
        Dir::Group(_) => Some(Dir::Root),
        Dir::Rest(ino) => Some(Dir::Group(group_of(ino))),
    }
}

/// A directory's path.
pub fn dir_path(root: &Path, dir: Dir) -> PathBuf {
    match dir {
        Dir::Root => root.to_owned(),
        Dir::Group(group) => root.join(format!("{group:013x}")),
        Dir::Rest(ino) => root.join(format!("{:013x}/{:016x}.d", group_of(ino), ino.0)),
    }
}

/// A chunk's path.
pub fn path(root: &Path, chunk: ChunkId) -> PathBuf {
    let (group, ino) = (group_of(chunk.ino), chunk.ino.0);
    match chunk.index {
        0 => root.join(format!("{group:013x}/{ino:016x}")),
        index => root.join(format!("{group:013x}/{ino:016x}.d/{index:08x}")),
    }
}

/// Where a chunk is made that is to take the place of another.
pub fn unfinished_path(root: &Path, chunk: ChunkId) -> PathBuf {
    let mut path = path(root, chunk).into_os_string();
    path.push(UNFINISHED);
    path.into()
}

/// The group that a directory of this name in the root is for.
pub fn parse_group(name: &str) -> Option<u64> {
    hex(name, 13)
}

/// What a file or directory of this name in the directory of `group` is.
pub fn parse_member(group: u64, name: &str) -> Option<Member> {
    let (digits, member): (&str, fn(Ino) -> Member) = match name.strip_suffix(".d") {
        Some(digits) => (digits, Member::Rest),
        None => (name, Member::First),
    };
    let ino = Ino(hex(digits, 16)?);
    (group_of(ino) == group).then(|| member(ino))
}

/// The index of the chunk with this name in its inode's directory.
pub fn parse_index(name: &str) -> Option<u32> {
    hex(name, 8).map(|index| index as u32).filter(|index| *index != 0)
}

fn hex(text: &str, digits: usize) -> Option<u64> {
    let plain = text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if plain { u64::from_str_radix(text, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_chunk_and_sort_like_chunks() {
        let root = Path::new("r");
        let mut paths = Vec::new();
        for ino in [1, 0xfff, 0x1000, 0x1001, u64::MAX] {
            for index in [0, 1, 255, 256, u32::MAX] {
                let path = path(root, ChunkId { ino: Ino(ino), index });
                let names: Vec<&str> = path.iter().skip(1).map(|n| n.to_str().unwrap()).collect();
                let group = parse_group(names[0]).unwrap();
                match names[1..] {
                    [name] => assert_eq!((parse_member(group, name), index), (Some(Member::First(Ino(ino))), 0)),
                    [name, last] => {
                        assert_eq!(parse_member(group, name), Some(Member::Rest(Ino(ino))));
                        assert_eq!(parse_index(last), Some(index));
                    }
                    _ => panic!("{names:?}"),
                }
                paths.push(path);
            }
        }
        assert!(paths.is_sorted());
    }

    #[test]
    fn other_names_are_nobodys() {
        assert_eq!(parse_group("lost+found"), None);
        assert_eq!(parse_group("000000000000A"), None);
        assert_eq!(parse_member(0, "0000000000001000"), None, "in the wrong group");
        assert_eq!(parse_member(0, "0000000000000001.new"), None);
        assert_eq!(parse_member(0, "+000000000000001"), None);
        assert_eq!(parse_index("00000000"), None, "chunk 0 lies elsewhere");
    }
}
