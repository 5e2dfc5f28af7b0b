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
use std::time::{Duration, Instant};

/// A count that takes longer is told of: nothing else is heard of a server that starts.
const TELL_AFTER: Duration = Duration::from_secs(1);
/// The clock is looked at once for so many chunks.
const CHUNKS_PER_LOOK: u64 = 64;

/// How a count goes on.
struct Progress {
    began: Instant,
    found: u64,
    told: bool,
}

impl Progress {
    /// One more chunk was found. True once, when there is something to tell; `elapsed` is what has passed since it began.
    fn found_one(&mut self, elapsed: impl FnOnce(Instant) -> Duration) -> bool {
        self.found += 1;
        let is_due = !self.told && self.found.is_multiple_of(CHUNKS_PER_LOOK) && elapsed(self.began) >= TELL_AFTER;
        self.told |= is_due;
        is_due
    }
}

impl Disk {
    /// Counts everything, and removes what an import left unfinished and directories left empty.
    pub(super) fn count(&self) -> Result<(), ChunkError> {
        let mut progress = Progress { began: Instant::now(), found: 0, told: false };
        let mut groups = Vec::new();
        self.each(Dir::Root, |_, name| match layout::parse_group(name) {
            Some(group) => {
                groups.push(group);
                true
            }
            None => false,
        })?;
        for group in groups {
            self.count_group(group, &mut progress)?;
        }
        Ok(())
    }

    fn count_group(&self, group: u64, progress: &mut Progress) -> Result<(), ChunkError> {
        let mut rests = Vec::new();
        let mut members = 0;
        self.each(Dir::Group(group), |entry, name| match layout::parse_member(group, name) {
            Some(Member::First(ino)) => {
                members += 1;
                self.count_chunk(ChunkId { ino, index: 0 }, entry, progress);
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
                    self.count_chunk(ChunkId { ino, index }, entry, progress);
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

    fn count_chunk(&self, chunk: ChunkId, entry: &DirEntry, progress: &mut Progress) {
        let blocks = entry.metadata().map_or(0, |metadata| census::blocks_on_disk(&metadata));
        self.census.chunk_added(chunk, blocks);
        if progress.found_one(|began| began.elapsed()) {
            tracing::info!(
                "looking through the chunks in {} before anything is served: {} found so far",
                self.root.display(),
                progress.found
            );
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_count_is_told_of_once() {
        let mut progress = Progress { began: Instant::now(), found: 0, told: false };
        let mut count = |chunks: u64, elapsed| (0..chunks).filter(|_| progress.found_one(|_| elapsed)).count();
        assert_eq!(count(10 * CHUNKS_PER_LOOK, TELL_AFTER / 2), 0, "a short one is not");
        assert_eq!(count(CHUNKS_PER_LOOK - 1, TELL_AFTER), 0);
        assert_eq!(count(1, TELL_AFTER), 1);
        assert_eq!(count(10 * CHUNKS_PER_LOOK, TELL_AFTER * 2), 0);
    }
}
