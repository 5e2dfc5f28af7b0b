//! Every regular file in the tree, by each of its names.

use super::super::admin::within;
use raidfs_common::attr::{Attr, FileKind};
use raidfs_common::error::FsError;
use raidfs_common::id::{Ino, LogIndex};
use raidfs_common::limits::DIR_PAGE_ENTRIES;
use raidfs_common::namespace::{Answer, Entry, Query};
use raidfs_common::rpc::names::NamesServiceClient;
use std::time::Duration;

const ANSWER: Duration = Duration::from_secs(30);

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
            let (entries, end) = page(names, at_least, ino, after).await?;
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

async fn page(
    names: &NamesServiceClient,
    at_least: LogIndex,
    ino: Ino,
    after: u64,
) -> Result<(Vec<Entry>, bool), String> {
    let query = Query::ReadDir { ino, after, limit: DIR_PAGE_ENTRIES as u32, attrs: true };
    let answer = names.query(within(ANSWER), at_least, query).await;
    match answer.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?.1 {
        Ok(Answer::Entries { entries, end, .. }) => Ok((entries, end)),
        Ok(_) => Err("it gave another answer than was asked for".to_owned()),
        // A directory that was removed meanwhile has nothing in it.
        Err(FsError::NotFound | FsError::Stale) => Ok((Vec::new(), true)),
        Err(error) => Err(format!("a directory cannot be listed: {error}")),
    }
}
