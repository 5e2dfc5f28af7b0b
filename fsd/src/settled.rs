//! What a server leaves behind when it stops in order with every change whole: how many chunks it had. The next life knows
//! by it that no block is half changed, so that one which does not match its sum has been damaged since; and that chunks
//! which are not there any more are missing. Format in docs/DISK_FORMAT.md, "Settled".

use raidfs_common::checksum;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Reads what the last life left at `path`; None: it ended otherwise, or it cannot be told. Blocking.
pub fn read(path: &Path) -> Option<u64> {
    let bytes: [u8; 12] = fs::read(path).ok()?.try_into().ok()?;
    let (chunks, sum) = bytes.split_first_chunk()?;
    (checksum::record(chunks).to_le_bytes() == *sum).then(|| u64::from_le_bytes(*chunks))
}

/// From now on changes are under way: durable when this returns. Blocking.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => sync_dir(path),
    }
}

/// Every change is whole and durable, and so many chunks are there. Blocking; the last thing of a life but its clean end.
pub fn write(path: &Path, chunks: u64) -> io::Result<()> {
    let chunks = chunks.to_le_bytes();
    let temporary = path.with_extension("new");
    let mut file = File::create(&temporary)?;
    file.write_all(&chunks)?;
    file.write_all(&checksum::record(&chunks).to_le_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    sync_dir(path)
}

fn sync_dir(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_is_found_until_it_is_taken_away_or_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("settled");
        assert_eq!(read(&path), None);
        remove(&path).unwrap();
        write(&path, 7).unwrap();
        assert_eq!(read(&path), Some(7));
        let mut bytes = fs::read(&path).unwrap();
        bytes[3] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert_eq!(read(&path), None);
        write(&path, 0).unwrap();
        assert_eq!(read(&path), Some(0));
        remove(&path).unwrap();
        assert_eq!(read(&path), None);
    }
}
