//! Small records in files of their own, each behind its checksum, and there wholly or not at all. What they say is
//! elsewhere ([`crate::bookmark`], [`crate::settled`], the witness's lives). Format in docs/DISK_FORMAT.md.

use raidfs_common::{checksum, codec};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Reads the record at `path`; None: there is no such file. One that is damaged is [`io::ErrorKind::InvalidData`]. Blocking.
pub fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let damaged =
        || io::Error::new(io::ErrorKind::InvalidData, format!("{} does not match its checksum", path.display()));
    decode(&bytes).map(Some).ok_or_else(damaged)
}

/// Writes the record anew; durable when this returns. Blocking.
pub fn write<T: Serialize>(path: &Path, record: &T) -> io::Result<()> {
    let body = codec::encode(record);
    let unfinished = path.with_extension("new");
    let mut file = File::create(&unfinished)?;
    file.write_all(&checksum::record(&body).to_le_bytes())?;
    file.write_all(&body)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    sync_dir_of(path)
}

/// Removes the record, if there is one; durable when this returns. Blocking.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => sync_dir_of(path),
    }
}

fn sync_dir_of(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let (sum, body) = bytes.split_first_chunk()?;
    if checksum::record(body).to_le_bytes() != *sum {
        return None;
    }
    codec::decode(body).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_back_until_it_is_removed_and_damage_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("record");
        let read = || read::<(u64, String)>(&path);
        assert_eq!(read().unwrap(), None);
        remove(&path).unwrap();
        let record = (7u64, "seven".to_owned());
        write(&path, &record).unwrap();
        assert_eq!(read().unwrap(), Some(record));
        let bytes = fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            for damaged in [&changed[..], &bytes[..at]] {
                fs::write(&path, damaged).unwrap();
                assert_eq!(read().unwrap_err().kind(), io::ErrorKind::InvalidData, "byte {at}");
            }
        }
        remove(&path).unwrap();
        assert_eq!(read().unwrap(), None);
    }
}
