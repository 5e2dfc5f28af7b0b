//! Which file is it? An inode does not know its names, so the tree is walked until all are found: for the few that are
//! asked for after damage, and with nobody waiting.

use super::admin::{connect_names, entries};
use raidfs_common::attr::FileKind;
use raidfs_common::config::Config;
use raidfs_common::id::{Ino, LogIndex, ServerId};
use raidfs_common::printed::printed_bytes;
use std::collections::{BTreeMap, BTreeSet};

/// One path of each of these files, as it is printed, and as `server` knows them; those that have none are left out.
pub async fn of(
    config: &Config,
    server: ServerId,
    at_least: LogIndex,
    mut files: BTreeSet<Ino>,
) -> Result<BTreeMap<Ino, String>, String> {
    let names = connect_names(config, server).await?;
    let mut found = BTreeMap::new();
    let mut directories = vec![(Ino::ROOT, Vec::new())];
    while let Some((ino, path)) = directories.pop() {
        let mut after = 0;
        loop {
            // A directory that was removed meanwhile has nothing in it.
            let (entries, end) = entries(&names, at_least, ino, after, false).await?.unwrap_or((Vec::new(), true));
            after = entries.last().map_or(after, |entry| entry.cookie);
            for entry in entries {
                let path = [&path, &b"/"[..], entry.name.as_bytes()].concat();
                if files.remove(&entry.ino) {
                    found.insert(entry.ino, printed_bytes(&path).to_string());
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
