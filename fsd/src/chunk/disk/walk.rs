//! Finding chunks: the count at the start, the chunks of an inode, and all chunks in order.
//!
//! Names tell everything; no chunk is opened. What is no chunk's name is told once, at the start, and ignored.

use super::{Disk, census};
use crate::chunk::ChunkError;
use crate::chunk::layout::{self, Dir, Member, UNFINISHED};
use raidfs_common::id::{ChunkId, Ino};
use std::collections::BTreeMap;
use std::fs::DirEntry;
use std::io;

/// What of an inode was found in its group's directory.
#[derive(Clone, Copy, Debug, Default)]
struct Found {
    first: bool,
    rest: bool,
}

impl Disk {
    /// Counts everything, and removes what an import left unfinished and directories left empty.
    pub(super) fn count(&self) -> Result<(), ChunkError> {
        let mut groups = Vec::new();
        self.each(Dir::Root, |_, name| match layout::parse_group(name) {
            Some(group) => {
                groups.push(group);
                true
            }
            None => false,
        })?;
        for group in groups {
            self.count_group(group)?;
        }
        Ok(())
    }

    fn count_group(&self, group: u64) -> Result<(), ChunkError> {
        let mut rests = Vec::new();
        let mut members = 0;
        self.each(Dir::Group(group), |entry, name| match layout::parse_member(group, name) {
            Some(Member::First(ino)) => {
                members += 1;
                self.count_chunk(ChunkId { ino, index: 0 }, entry);
                true
            }
            Some(Member::Rest(ino)) => {
                rests.push(ino);
                true
            }
            None => remove_unfinished(entry, name),
        })?;
        for ino in rests {
            let mut chunks = 0;
            self.each(Dir::Rest(ino), |entry, name| match layout::parse_index(name) {
                Some(index) => {
                    chunks += 1;
                    self.count_chunk(ChunkId { ino, index }, entry);
                    true
                }
                None => remove_unfinished(entry, name),
            })?;
            if chunks > 0 || std::fs::remove_dir(layout::dir_path(&self.root, Dir::Rest(ino))).is_err() {
                members += 1;
            }
        }
        if members > 0 || std::fs::remove_dir(layout::dir_path(&self.root, Dir::Group(group))).is_err() {
            (0..members).for_each(|_| self.census.member_added(group));
        }
        Ok(())
    }

    fn count_chunk(&self, chunk: ChunkId, entry: &DirEntry) {
        let blocks = entry.metadata().map_or(0, |metadata| census::blocks_on_disk(&metadata));
        self.census.chunk_added(chunk, blocks);
    }

    /// Calls `take` with each entry of a directory; false from it: this is nothing of ours.
    fn each(&self, dir: Dir, mut take: impl FnMut(&DirEntry, &str) -> bool) -> Result<(), ChunkError> {
        let path = layout::dir_path(&self.root, dir);
        let listed = (|| -> io::Result<()> {
            for entry in std::fs::read_dir(&path)? {
                let entry = entry?;
                let name = entry.file_name();
                if !name.to_str().is_some_and(|name| take(&entry, name)) {
                    tracing::warn!("{} is no chunk, and is left alone", entry.path().display());
                }
            }
            Ok(())
        })();
        listed.map_err(|source| ChunkError::Store { action: "list a directory of chunks", source })
    }

    /// The indexes of an inode's chunks behind the first, in order.
    pub(super) fn rest_of(&self, ino: Ino) -> Result<Vec<u32>, ChunkError> {
        let mut indexes: Vec<u32> = self.names(Dir::Rest(ino))?.iter().filter_map(|n| layout::parse_index(n)).collect();
        indexes.sort_unstable();
        Ok(indexes)
    }

    /// Up to `limit` chunks above `after`, in order.
    pub(super) fn list(&self, after: Option<ChunkId>, limit: usize) -> Result<Vec<ChunkId>, ChunkError> {
        let mut chunks = Vec::new();
        for group in self.census.groups_from(after.map_or(0, |chunk| layout::group_of(chunk.ino))) {
            let mut inos: BTreeMap<Ino, Found> = BTreeMap::new();
            for name in self.names(Dir::Group(group))? {
                match layout::parse_member(group, &name) {
                    Some(Member::First(ino)) => inos.entry(ino).or_default().first = true,
                    Some(Member::Rest(ino)) => inos.entry(ino).or_default().rest = true,
                    None => {}
                }
            }
            for (ino, found) in inos.range(after.map_or(Ino(0), |chunk| chunk.ino)..) {
                let first = found.first.then_some(0);
                let rest = if found.rest { self.rest_of(*ino)? } else { Vec::new() };
                let all = first.into_iter().chain(rest).map(|index| ChunkId { ino: *ino, index });
                chunks.extend(all.filter(|chunk| after.is_none_or(|after| *chunk > after)));
                if chunks.len() >= limit {
                    chunks.truncate(limit);
                    return Ok(chunks);
                }
            }
        }
        Ok(chunks)
    }

    /// The names in a directory, none if there is none.
    fn names(&self, dir: Dir) -> Result<Vec<String>, ChunkError> {
        let failed = |source| ChunkError::Store { action: "list a directory of chunks", source };
        match std::fs::read_dir(layout::dir_path(&self.root, dir)) {
            Ok(entries) => {
                let names = entries.map(|entry| entry.map(|e| e.file_name().to_string_lossy().into_owned()));
                names.collect::<io::Result<_>>().map_err(failed)
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(e) => Err(failed(e)),
        }
    }
}

fn remove_unfinished(entry: &DirEntry, name: &str) -> bool {
    name.ends_with(UNFINISHED) && std::fs::remove_file(entry.path()).is_ok()
}
