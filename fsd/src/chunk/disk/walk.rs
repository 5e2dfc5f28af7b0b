//! The count at the start, and the store's lists of chunks.
//!
//! Names and the files' sizes on disk tell everything; no chunk is opened. What is no chunk's name is told once, at the
//! start, and ignored.

use super::{Disk, census};
use crate::chunk::layout::{self, Dir, Member, UNFINISHED};
use crate::chunk::{ChunkError, walk};
use raidfs_common::id::{ChunkId, Ino};
use std::fs::DirEntry;
use std::io;

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
                self.census.rests().insert(ino);
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
        listed.map_err(not_listed)
    }

    /// The indexes of an inode's chunks behind the first, in order.
    pub(super) fn rest_of(&self, ino: Ino) -> Result<Vec<u32>, ChunkError> {
        if self.census.has_rest(ino) { walk::rest_of(&self.root, ino).map_err(not_listed) } else { Ok(Vec::new()) }
    }

    /// Up to `limit` chunks above `after`, in order.
    pub(super) fn list(&self, after: Option<ChunkId>, limit: usize) -> Result<Vec<ChunkId>, ChunkError> {
        let groups = self.census.groups_from(after.map_or(0, |chunk| layout::group_of(chunk.ino)));
        walk::list(&self.root, groups, after, limit).map_err(not_listed)
    }
}

fn not_listed(source: io::Error) -> ChunkError {
    ChunkError::Store { action: "list a directory of chunks", source }
}

fn remove_unfinished(entry: &DirEntry, name: &str) -> bool {
    name.ends_with(UNFINISHED) && std::fs::remove_file(entry.path()).is_ok()
}
