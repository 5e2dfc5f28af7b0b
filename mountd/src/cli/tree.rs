//! Every regular file in the tree, by each of its names.

use super::admin::entries;
use raidfs_common::attr::{Attr, FileKind};
use raidfs_common::error::FsError;
use raidfs_common::id::{Ino, LogIndex};
use raidfs_common::rpc::names::NamesServiceClient;

/// A walk through the tree, a page of a directory at a time.
#[derive(Debug)]
pub struct Walk<'a> {
    names: &'a NamesServiceClient,
    at_least: LogIndex,
    /// Directories that are not through yet: their paths, and the cookie behind which they go on.
    directories: Vec<(Ino, Vec<u8>, u64)>,
}

impl<'a> Walk<'a> {
    /// Begins at the root.
    pub fn new(names: &'a NamesServiceClient, at_least: LogIndex) -> Walk<'a> {
        Walk { names, at_least, directories: vec![(Ino::ROOT, Vec::new(), 0)] }
    }

    /// The next files, each with its path from `/` on, and its attributes: none, maybe. None: that was all.
    pub async fn page(&mut self) -> Result<Option<Vec<(Vec<u8>, Attr)>>, String> {
        let Some((ino, directory, after)) = self.directories.pop() else { return Ok(None) };
        let (entries, end) = match entries(self.names, self.at_least, ino, after, true).await? {
            Ok(page) => page,
            // A directory that was removed meanwhile has nothing in it.
            Err(FsError::NotFound | FsError::Stale) => (Vec::new(), true),
            Err(error) => return Err(format!("a directory cannot be listed: {error}")),
        };
        let after = entries.last().map_or(after, |entry| entry.cookie);
        let (mut files, mut below) = (Vec::new(), Vec::new());
        for entry in entries {
            let path = [&directory, &b"/"[..], entry.name.as_bytes()].concat();
            match (entry.kind, entry.attr) {
                (FileKind::Dir, _) => below.push((entry.ino, path, 0)),
                (FileKind::File, Some(attr)) => files.push((path, attr)),
                _ => {}
            }
        }
        if !end {
            self.directories.push((ino, directory, after));
        }
        self.directories.append(&mut below);
        Ok(Some(files))
    }
}
