//! The chunks of a server that does not run, for reading only: what `raidfs export` takes files out of.
//!
//! Lenient where the store is strict: bytes that do not match their sums are handed out as they are, and told to be
//! damaged, as there may be no better copy. Changes nothing, not even counters, and takes no lock; see
//! [`crate::identity::OfflineDir`] for that.

use super::disk::check::{BLOCK, examine, footer_from_bytes};
use super::format::{FOOTER_AT, FOOTER_BYTES, Footer, FormatError};
use super::{ChunkError, io, layout, walk};
use raidfs_common::id::{ChunkId, Ino};
use std::fs::File;
use std::path::{Path, PathBuf};

/// All chunks in a directory.
#[derive(Debug)]
pub struct OfflineChunks {
    root: PathBuf,
}

/// A chunk's bytes, good or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Salvaged {
    /// Its bytes up to its length; holes are zeros, and so is what the disk could not read.
    pub bytes: Vec<u8>,
    /// Blocks that do not match their sums, or that the disk could not read, in order.
    pub damaged: Vec<u16>,
    /// Set if the footer is damaged: then the length is a guess (the last byte that is not zero), and nothing is
    /// checked.
    pub unchecked: Option<FormatError>,
}

impl OfflineChunks {
    /// The chunks in this directory (`chunks` in a data directory).
    pub fn new(root: &Path) -> OfflineChunks {
        OfflineChunks { root: root.to_owned() }
    }

    /// Up to `limit` chunks above `after`, in order.
    pub fn list(&self, after: Option<ChunkId>, limit: usize) -> Result<Vec<ChunkId>, ChunkError> {
        let from = after.map_or(0, |chunk| layout::group_of(chunk.ino));
        let listed = walk::groups(&self.root).and_then(|groups| {
            let groups = groups.into_iter().filter(|group| *group >= from);
            walk::list(&self.root, groups, after, limit)
        });
        listed.map_err(|source| ChunkError::Store { action: "list a directory of chunks", source })
    }

    /// The indexes of an inode's chunks, in order.
    pub fn indexes(&self, ino: Ino) -> Result<Vec<u32>, ChunkError> {
        let first = layout::path(&self.root, ChunkId { ino, index: 0 }).exists().then_some(0);
        let rest = walk::rest_of(&self.root, ino)
            .map_err(|source| ChunkError::Store { action: "list a directory of chunks", source })?;
        Ok(first.into_iter().chain(rest).collect())
    }

    /// How many blocks of a chunk are no holes by its footer, as the namespace counts them; None if there is no such chunk,
    /// or its footer is damaged.
    pub fn blocks(&self, chunk: ChunkId) -> Result<Option<u32>, ChunkError> {
        let failed = |source| ChunkError::Disk { action: "read the footer of", chunk, source };
        let file = match File::open(layout::path(&self.root, chunk)) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(failed(e)),
        };
        let footer = io::read_up_to(&file, FOOTER_AT, FOOTER_BYTES).unwrap_or_default();
        Ok(Footer::decode(chunk, &footer).ok().map(|footer| footer.sums.blocks()))
    }

    /// Reads a chunk; None if there is none.
    pub fn read(&self, chunk: ChunkId) -> Result<Option<Salvaged>, ChunkError> {
        let failed = |source| ChunkError::Disk { action: "read", chunk, source };
        let file = match File::open(layout::path(&self.root, chunk)) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(failed(e)),
        };
        // A footer that cannot be read is as good as none.
        let footer = io::read_up_to(&file, FOOTER_AT, FOOTER_BYTES).unwrap_or_default();
        let (footer, unchecked) = match Footer::decode(chunk, &footer) {
            Ok(footer) => (footer, None),
            Err(reason) => (footer_from_bytes(&file, chunk, reason)?, Some(reason)),
        };
        let mut bytes = vec![0; footer.length as usize];
        let mut damaged = Vec::new();
        examine(&file, chunk, &footer, |block, read, good| {
            let start = (block * BLOCK).min(bytes.len());
            let end = ((block + 1) * BLOCK).min(bytes.len());
            if let Some(read) = read {
                bytes[start..end].copy_from_slice(&read[..end - start]);
            }
            if !good && unchecked.is_none() {
                damaged.push(block as u16);
            }
        })?;
        Ok(Some(Salvaged { bytes, damaged, unchecked }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::ChunkStore;
    use super::super::conformance::{bytes, chunk, on_disk};
    use super::*;
    use std::os::unix::fs::FileExt;

    #[test]
    fn damaged_bytes_are_handed_out_and_told() {
        let (store, dir) = on_disk();
        let root = dir.path().join("chunks");
        let c = chunk(5, 3);
        store.write(c, 5000, &bytes(1, 9000)).unwrap();
        store.write(chunk(5, 0), 0, b"first").unwrap();
        store.write(chunk(99_999, 0), 0, b"x").unwrap();
        drop(store);
        let offline = OfflineChunks::new(&root);
        assert_eq!(offline.list(None, 9).unwrap(), [chunk(5, 0), c, chunk(99_999, 0)]);
        assert_eq!(offline.list(Some(c), 9).unwrap(), [chunk(99_999, 0)]);
        assert_eq!(offline.indexes(Ino(5)).unwrap(), [0, 3]);
        assert_eq!(offline.read(chunk(6, 0)).unwrap(), None);
        let mut expected = [vec![0; 5000], bytes(1, 9000)].concat();
        let good = Salvaged { bytes: expected.clone(), damaged: vec![], unchecked: None };
        assert!(offline.read(c).unwrap() == Some(good));
        let file = File::options().write(true).open(layout::path(&root, c)).unwrap();
        file.write_all_at(b"rot", 9000).unwrap();
        expected[9000..9003].copy_from_slice(b"rot");
        let rotten = Salvaged { bytes: expected.clone(), damaged: vec![2], unchecked: None };
        assert!(offline.read(c).unwrap() == Some(rotten));
        assert_eq!(offline.blocks(c).unwrap(), Some(3), "rotten or not");
        file.set_len(FOOTER_AT).unwrap();
        assert_eq!((offline.blocks(c).unwrap(), offline.blocks(chunk(6, 0)).unwrap()), (None, None));
        let torn = Salvaged { bytes: expected, damaged: vec![], unchecked: Some(FormatError::Missing) };
        assert!(offline.read(c).unwrap() == Some(torn));
    }
}
