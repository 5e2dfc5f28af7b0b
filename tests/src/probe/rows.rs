//! Damages a row of one server's store of names, or its identity, while nothing uses it, so that there is something to
//! find.

use super::{Found, tried};
use raidfs_common::id::Ino;
use raidfs_common::name::FileName;
use raidfs_fsd::namespace::rows::{EntryRow, InodeRow, Key, Row};
use raidfs_fsd::namespace::store::{Batch, Reader, Store};
use raidfs_fsd::namespace::store_disk::{DiskOptions, DiskStore};
use std::path::Path;

/// Damages what belongs to the entry `name` of the root in the data directory `data`:
///
/// `mode` its inode's permissions (which breaks no invariant), `nlink` its link count, `size` its size, `dangling` takes
/// its inode away, `unnamed` the entry, `unordered` the entry's place in the directory's order.
pub fn damage(data: &str, name: &str, what: &str) -> Found {
    let names = Path::new(data).join("names");
    let current = std::fs::read_to_string(names.join("current")).unwrap_or_else(|_| "0".into());
    let store = DiskStore::open(&names.join(current.trim()), DiskOptions::default());
    let store = tried("open the store of names", store)?;
    let name = tried("the name", FileName::new(name.as_bytes().to_vec()))?;
    let entry_key = Key::Entry(Ino::ROOT, name);
    let Row::Entry(entry) = row(&store, &entry_key)? else { return Err("no entry under its key".into()) };
    let (key, value) = match what {
        "dangling" => (Key::Inode(entry.ino), None),
        "unnamed" => (entry_key, None),
        "unordered" => (Key::Index(Ino::ROOT, entry.cookie), None),
        _ => (Key::Inode(entry.ino), Some(Row::Inode(altered(&store, &entry, what)?))),
    };
    let batch = Batch { rows: vec![(key.encode(), value.as_ref().map(Row::encode))] };
    tried("write the row", store.write(batch))?;
    tried("make the store durable", store.sync())
}

/// Gives a sealed file (lines, and a sum over them) another first line, and the sum that belongs to it.
pub fn seal(file: &str, first: &str) -> Found {
    let text = tried("read the file", std::fs::read_to_string(file))?;
    let middle = text.lines().skip(1).filter(|line| !line.starts_with("sum "));
    let mut lines: String = std::iter::once(first).chain(middle).map(|line| format!("{line}\n")).collect();
    lines.push_str(&format!("sum {:08x}\n", raidfs_common::checksum::record(lines.as_bytes())));
    tried("write the file", std::fs::write(file, lines))
}

fn altered(store: &DiskStore, entry: &EntryRow, what: &str) -> Result<InodeRow, String> {
    let Row::Inode(mut row) = row(store, &Key::Inode(entry.ino))? else { return Err("no inode under its key".into()) };
    match what {
        "mode" => row.attr.perm ^= 0o7,
        "nlink" => row.attr.nlink += 1,
        "size" => row.attr.size += 1,
        other => return Err(format!("there is no damage {other:?}")),
    }
    Ok(row)
}

fn row(store: &DiskStore, key: &Key) -> Result<Row, String> {
    let key = key.encode();
    let value = tried("read a row", store.get(&key))?.ok_or("the row is not there")?;
    tried("decode a row", Row::decode(&key, &value))
}
