//! Which file is it? An inode does not know its names, so the tree is walked until all are found: for the few that are
//! asked for after damage, and with nobody waiting.

use super::super::admin::{connect_names, within};
use raidfs_common::attr::FileKind;
use raidfs_common::config::Config;
use raidfs_common::id::{Ino, LogIndex, ServerId};
use raidfs_common::limits::DIR_PAGE_ENTRIES;
use raidfs_common::namespace::{Answer, Query};
use raidfs_common::rpc::names::NamesServiceClient;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const ANSWER: Duration = Duration::from_secs(30);

/// One path of each of these files, as `server` knows them; those that have none are left out.
pub async fn of(
    config: &Config,
    server: ServerId,
    at_least: LogIndex,
    mut files: BTreeSet<Ino>,
) -> Result<BTreeMap<Ino, String>, String> {
    let names = connect_names(config, server).await?;
    let mut found = BTreeMap::new();
    let mut directories = vec![(Ino::ROOT, String::new())];
    while let Some((ino, path)) = directories.pop() {
        let mut after = 0;
        loop {
            let (entries, end) = page(&names, at_least, ino, after).await?;
            after = entries.last().map_or(after, |entry| entry.cookie);
            for entry in entries {
                let path = format!("{path}/{}", String::from_utf8_lossy(entry.name.as_bytes()));
                if files.remove(&entry.ino) {
                    found.insert(entry.ino, path);
                } else if entry.kind == FileKind::Dir {
                    directories.push((entry.ino, path));
                }
            }
            if files.is_empty() {
                return Ok(found);
            }
            if end {
                break;
            }
        }
    }
    Ok(found)
}

async fn page(
    names: &NamesServiceClient,
    at_least: LogIndex,
    ino: Ino,
    after: u64,
) -> Result<(Vec<raidfs_common::namespace::Entry>, bool), String> {
    let query = Query::ReadDir { ino, after, limit: DIR_PAGE_ENTRIES as u32, attrs: false };
    let answer = names.query(within(ANSWER), at_least, query).await;
    match answer.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?.1 {
        Ok(Answer::Entries { entries, end, .. }) => Ok((entries, end)),
        Ok(_) => Err("it gave another answer than was asked for".to_owned()),
        // A directory that was removed meanwhile has nothing in it.
        Err(_) => Ok((Vec::new(), true)),
    }
}
