//! One generation of notes as a file: a header, then records of one size, written in batches of which each is synced
//! before the next begins.
//!
//! ```text
//! 0   magic "raidfsWI"   8  version   12  0   16  generation   24  high-water mark   32  zeros   60  sum of 0..60
//! 64  records, 32 bytes each: 0  kind (1)   4  chunk index   8  inode   16  batch   24  records of its batch behind it
//!     28  sum of 0..28
//! ```
//!
//! All numbers are little-endian. The file is filled up with zeros ahead of its records, so that a batch changes no
//! metadata. A record that is not sound ends the notes if nothing behind it is of a later batch: its batch was never
//! told to be durable. Otherwise a durable note is lost, and the whole generation counts as "everything is noted".

use crate::chunk::io;
use raidfs_common::checksum;
use raidfs_common::id::{ChunkId, Ino};
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

const MAGIC: [u8; 8] = *b"raidfsWI";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 64;
const RECORD_BYTES: usize = 32;
const KIND_NOTE: u32 = 1;
/// So many bytes of zeros are put ahead of the records at a time.
const AHEAD_BYTES: usize = 64 << 10;
/// A file that says it is larger than this is not read: everything counts as noted.
const FILE_MAX_BYTES: u64 = 1 << 30;
const UNFINISHED: &str = ".new";

/// What a file of notes says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Chunks of inodes from here on are noted.
    pub mark: Ino,
    /// So are these.
    pub chunks: BTreeSet<ChunkId>,
}

/// The newest generation's file, open for appending.
#[derive(Debug)]
pub struct NoteFile {
    file: File,
    end: u64,
    zeros_until: u64,
    batch: u64,
}

impl NoteFile {
    /// Makes the file of a new generation, durably.
    pub fn create(dir: &Path, number: u64, mark: Ino) -> std::io::Result<NoteFile> {
        let path = path(dir, number);
        let unfinished = PathBuf::from(format!("{}{UNFINISHED}", path.display()));
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(&unfinished)?;
        io::write_at(&file, [&header(number, mark), &[], &[]], 0)?;
        io::sync_all(&file)?;
        std::fs::rename(&unfinished, &path)?;
        io::sync_all(&File::open(dir)?)?;
        Ok(NoteFile { file, end: HEADER_BYTES as u64, zeros_until: HEADER_BYTES as u64, batch: 0 })
    }

    /// Appends these as one batch; durable when this returns.
    pub fn append(&mut self, chunks: &BTreeSet<ChunkId>) -> std::io::Result<()> {
        self.batch += 1;
        let behind = (0..chunks.len() as u32).rev();
        let records = chunks.iter().zip(behind).flat_map(|(chunk, behind)| record(*chunk, self.batch, behind));
        let mut bytes: Vec<u8> = records.collect();
        let end = self.end + bytes.len() as u64;
        if end > self.zeros_until {
            bytes.resize(bytes.len() + AHEAD_BYTES, 0);
            self.zeros_until = end + AHEAD_BYTES as u64;
        }
        io::write_at(&self.file, [&bytes, &[], &[]], self.end)?;
        io::sync_data(&self.file)?;
        self.end = end;
        Ok(())
    }
}

/// Reads all generations in `dir`, oldest first, and removes what is unfinished.
pub fn load(dir: &Path) -> std::io::Result<Vec<(u64, Loaded)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(UNFINISHED) {
            std::fs::remove_file(entry.path())?;
        } else if let Some(number) = parse_name(&name) {
            let bytes = match entry.metadata()?.len() {
                0..=FILE_MAX_BYTES => std::fs::read(entry.path())?,
                _ => Vec::new(),
            };
            found.push((number, decode(number, &bytes)));
        } else {
            tracing::warn!("{} is no file of write intents, and is left alone", entry.path().display());
        }
    }
    found.sort_unstable_by_key(|(number, _)| *number);
    Ok(found)
}

/// Removes a generation's file. Not synced: notes that come back by a power loss only cost time.
pub fn remove(dir: &Path, number: u64) -> std::io::Result<()> {
    std::fs::remove_file(path(dir, number))
}

fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:016x}"))
}

fn parse_name(name: &str) -> Option<u64> {
    let number = u64::from_str_radix(name, 16).ok()?;
    (format!("{number:016x}") == name).then_some(number)
}

fn header(number: u64, mark: Ino) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[0..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[16..24].copy_from_slice(&number.to_le_bytes());
    bytes[24..32].copy_from_slice(&mark.0.to_le_bytes());
    let sum = checksum::record(&bytes[..60]);
    bytes[60..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

fn record(chunk: ChunkId, batch: u64, behind: u32) -> [u8; RECORD_BYTES] {
    let mut bytes = [0; RECORD_BYTES];
    bytes[0..4].copy_from_slice(&KIND_NOTE.to_le_bytes());
    bytes[4..8].copy_from_slice(&chunk.index.to_le_bytes());
    bytes[8..16].copy_from_slice(&chunk.ino.0.to_le_bytes());
    bytes[16..24].copy_from_slice(&batch.to_le_bytes());
    bytes[24..28].copy_from_slice(&behind.to_le_bytes());
    let sum = checksum::record(&bytes[..28]);
    bytes[28..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from(word(bytes, at)) | u64::from(word(bytes, at + 4)) << 32
}

/// The chunk, its batch, and how many records of the batch are behind it.
fn parse_record(bytes: &[u8]) -> Option<(ChunkId, u64, u32)> {
    let sound = bytes.len() == RECORD_BYTES && word(bytes, 28) == checksum::record(&bytes[..28]);
    let note = sound && word(bytes, 0) == KIND_NOTE;
    note.then(|| (ChunkId { ino: Ino(long(bytes, 8)), index: word(bytes, 4) }, long(bytes, 16), word(bytes, 24)))
}

/// What the bytes of a file say; if that cannot be told, that everything is noted.
fn decode(number: u64, bytes: &[u8]) -> Loaded {
    let all = |problem: &str| {
        tracing::warn!("write intents {number:016x}: {problem}; every chunk will be compared with the mirror's");
        Loaded::default()
    };
    if bytes.len() < HEADER_BYTES || bytes[0..8] != MAGIC || word(bytes, 60) != checksum::record(&bytes[..60]) {
        return all("the header is damaged");
    }
    if word(bytes, 8) != VERSION || long(bytes, 16) != number {
        return all("the header is of another version or generation");
    }
    let mut loaded = Loaded { mark: Ino(long(bytes, 24)), chunks: BTreeSet::new() };
    let mut next_batch = 1; // that of the next record
    let mut torn = false;
    for bytes in bytes[HEADER_BYTES..].chunks(RECORD_BYTES) {
        match parse_record(bytes) {
            Some((_, batch, _)) if torn && batch > next_batch => return all("a record is damaged"),
            Some((chunk, batch, behind)) => {
                loaded.chunks.insert(chunk);
                if !torn {
                    next_batch = if behind == 0 { batch.saturating_add(1) } else { batch };
                }
            }
            None => torn = true,
        }
    }
    loaded
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn chunk(ino: u64) -> ChunkId {
        ChunkId { ino: Ino(ino), index: ino as u32 * 3 }
    }

    /// Three batches of two.
    fn file() -> Vec<u8> {
        let records = (0..6).flat_map(|n| record(chunk(n), n / 2 + 1, 1 - n as u32 % 2));
        header(7, Ino(99)).into_iter().chain(records).chain([0; 100]).collect()
    }

    fn chunks(range: std::ops::Range<u64>) -> BTreeSet<ChunkId> {
        range.map(chunk).collect()
    }

    #[test]
    fn what_is_appended_is_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = NoteFile::create(dir.path(), 3, Ino(44)).unwrap();
        file.append(&chunks(0..3)).unwrap();
        file.append(&chunks(3..4000)).unwrap();
        file.append(&chunks(4000..4001)).unwrap();
        std::fs::write(dir.path().join("0000000000000004.new"), "torn").unwrap();
        std::fs::write(dir.path().join("garbage"), "x").unwrap();
        let loaded = load(dir.path()).unwrap();
        assert_eq!(loaded, [(3, Loaded { mark: Ino(44), chunks: chunks(0..4001) })]);
        assert!(!dir.path().join("0000000000000004.new").exists());
        remove(dir.path(), 3).unwrap();
        assert_eq!(load(dir.path()).unwrap(), []);
    }

    #[test]
    fn a_torn_last_batch_is_no_damage() {
        let whole = Loaded { mark: Ino(99), chunks: chunks(0..6) };
        assert_eq!(decode(7, &file()), whole);
        for end in HEADER_BYTES..file().len() {
            let records = ((end - HEADER_BYTES) / RECORD_BYTES).min(6) as u64;
            assert_eq!(decode(7, &file()[..end]), Loaded { chunks: chunks(0..records), ..whole }, "cut at {end}");
        }
        let mut torn = file();
        torn[HEADER_BYTES + 4 * RECORD_BYTES] ^= 1; // the first record of the last batch, the second being sound
        assert!(decode(7, &torn).chunks.is_superset(&chunks(0..4)));
        assert_eq!(decode(7, &torn).mark, Ino(99));
    }

    #[test]
    fn a_lost_note_means_that_everything_is_noted() {
        let everything = Loaded::default();
        for at in (0..HEADER_BYTES).chain([HEADER_BYTES, HEADER_BYTES + 3 * RECORD_BYTES + 5]) {
            if (32..60).contains(&at) {
                continue;
            }
            let mut damaged = file();
            damaged[at] ^= 0x10;
            assert_eq!(decode(7, &damaged), everything, "byte {at}");
        }
        assert_eq!(decode(8, &file()), everything, "another generation's");
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300), at in 0usize..300) {
            decode(7, &bytes);
            let mut file = file();
            let end = (at + bytes.len()).min(file.len());
            let at = at.min(end);
            file[at..end].copy_from_slice(&bytes[..end - at]);
            decode(7, &file);
        }
    }
}
