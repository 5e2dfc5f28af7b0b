//! Every regular file in the tree, by each of its names.

use super::super::admin::entries;
use raidfs_common::attr::{Attr, FileKind};
use raidfs_common::error::FsError;
use raidfs_common::id::{Ino, LogIndex};
use raidfs_common::rpc::names::NamesServiceClient;

/// Tells of each file its path, from `/` on, and its attributes.
pub async fn walk(
    names: &NamesServiceClient,
    at_least: LogIndex,
    tell: &mut impl FnMut(&[u8], &Attr),
) -> Result<(), String> {
    let mut directories = vec![(Ino::ROOT, Vec::new())];
    while let Some((ino, path)) = directories.pop() {
        let mut after = 0;
        loop {
            let (entries, end) = match entries(names, at_least, ino, after, true).await? {
                Ok(page) => page,
                // A directory that was removed meanwhile has nothing in it.
                Err(FsError::NotFound | FsError::Stale) => (Vec::new(), true),
                Err(error) => return Err(format!("a directory cannot be listed: {error}")),
            };
            after = entries.last().map_or(after, |entry| entry.cookie);
            for entry in entries {
                let path = [&path, &b"/"[..], entry.name.as_bytes()].concat();
                match (entry.kind, entry.attr) {
                    (FileKind::Dir, _) => directories.push((entry.ino, path)),
                    (FileKind::File, Some(attr)) => tell(&path, &attr),
                    _ => {}
                }
            }
            if end {
                break;
            }
        }
    }
    Ok(())
}
