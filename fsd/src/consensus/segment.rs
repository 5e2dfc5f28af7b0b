//! One file of the log: a header, then records one after the other. Format in docs/DISK_FORMAT.md, "Log segment".

use crate::chunk::io::append_at;
use raidfs_common::checksum;
use raidfs_common::codec;
use raidfs_common::id::{LogIndex, Term};
use raidfs_common::limits::FRAME_HEADER_MAX_BYTES;
use raidfs_common::rpc::peer::LogEntry;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MAGIC: [u8; 8] = *b"rdfslog1";
/// Magic, position and term before the first record, their checksum.
const HEADER_BYTES: u64 = 8 + 8 + 8 + 4;
/// Length and checksum before each record.
const RECORD_HEAD_BYTES: usize = 8;

/// Where a record lies, and its term.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub term: Term,
    pub offset: u32,
}

/// An open segment.
#[derive(Debug)]
pub(super) struct Segment {
    pub path: PathBuf,
    pub file: Arc<File>,
    /// The entry before its first one, and its term.
    pub base: (LogIndex, Term),
    pub slots: Vec<Slot>,
    pub length: u64,
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

impl Segment {
    pub fn name(first: LogIndex) -> String {
        format!("{:020}.log", first.0)
    }

    pub fn create(dir: &Path, base: (LogIndex, Term)) -> io::Result<Segment> {
        let path = dir.join(Self::name(base.0.next()));
        let mut header = MAGIC.to_vec();
        header.extend_from_slice(&base.0.0.to_le_bytes());
        header.extend_from_slice(&base.1.0.to_le_bytes());
        header.extend_from_slice(&checksum::record(&header).to_le_bytes());
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
        if let Err(error) = append_at(&file, &header, 0) {
            // Half of one would be taken for a log that has lost something.
            let _ = std::fs::remove_file(&path);
            return Err(error);
        }
        Ok(Segment { path, file: Arc::new(file), base, slots: Vec::new(), length: HEADER_BYTES })
    }

    /// Opens a segment and finds its records. The second value says whether something behind the last good record had
    /// to be cut off. None: not even the header is whole.
    pub fn open(path: &Path) -> io::Result<Option<(Segment, bool)>> {
        let mut file = OpenOptions::new().read(true).write(true).open(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let word = |at: usize| bytes.get(at..at + 8).map(|b| u64::from_le_bytes(b.try_into().expect("eight bytes")));
        let sum = |at: usize| bytes.get(at..at + 4).map(|b| u32::from_le_bytes(b.try_into().expect("four bytes")));
        let whole = bytes.starts_with(&MAGIC) && sum(24) == bytes.get(..24).map(checksum::record);
        let (Some(index), Some(term), true) = (word(8), word(16), whole) else { return Ok(None) };
        let mut slots = Vec::new();
        let mut at = HEADER_BYTES as usize;
        while let Some(entry) = record_at(&bytes, at).filter(|e| e.index.0 == index + slots.len() as u64 + 1) {
            slots.push(Slot { term: entry.term, offset: at as u32 });
            at += RECORD_HEAD_BYTES + sum(at).unwrap_or_default() as usize;
        }
        let cut = at < bytes.len();
        if cut {
            file.set_len(at as u64)?;
        }
        file.seek(SeekFrom::Start(at as u64))?;
        let base = (LogIndex(index), Term(term));
        Ok(Some((Segment { path: path.to_owned(), file: Arc::new(file), base, slots, length: at as u64 }, cut)))
    }

    pub fn last(&self) -> (LogIndex, Term) {
        let index = LogIndex(self.base.0.0 + self.slots.len() as u64);
        (index, self.slots.last().map_or(self.base.1, |s| s.term))
    }

    pub fn slot(&self, index: LogIndex) -> Option<&Slot> {
        self.slots.get(self.place(index)?)
    }

    /// Which slot an entry would have.
    fn place(&self, index: LogIndex) -> Option<usize> {
        index.0.checked_sub(self.base.0.0 + 1).map(|at| at as usize)
    }

    /// Writes records with one write. If that fails, none of them is there: what was written of them goes again, as behind the
    /// last record it would be taken for one that was acknowledged.
    pub fn append(&mut self, entries: &[LogEntry]) -> io::Result<()> {
        let mut bytes = Vec::new();
        let mut slots = Vec::with_capacity(entries.len());
        for entry in entries {
            let record = codec::encode(entry);
            slots.push(Slot { term: entry.term, offset: (self.length as usize + bytes.len()) as u32 });
            bytes.extend_from_slice(&(record.len() as u32).to_le_bytes());
            bytes.extend_from_slice(&checksum::record(&record).to_le_bytes());
            bytes.extend_from_slice(&record);
        }
        if let Err(error) = append_at(&self.file, &bytes, self.length) {
            self.file.set_len(self.length)?;
            return Err(error);
        }
        self.slots.append(&mut slots);
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Entries from `from` on with one read, of at most so many bytes of records, but at least one; none if that is not here.
    pub fn read(&self, from: LogIndex, max_bytes: usize) -> io::Result<Vec<LogEntry>> {
        let Some(slots) = self.place(from).and_then(|at| self.slots.get(at..)).filter(|slots| !slots.is_empty()) else {
            return Ok(Vec::new());
        };
        let start = u64::from(slots[0].offset);
        let end_of = |n: usize| slots.get(n + 1).map_or(self.length, |next| u64::from(next.offset));
        let count = (0..slots.len()).take_while(|n| end_of(*n) - start <= max_bytes as u64).count().max(1);
        let mut bytes = vec![0; (end_of(count - 1) - start) as usize];
        self.file.read_exact_at(&mut bytes, start)?;
        let entry = |(slot, index): (&Slot, u64)| {
            record_at(&bytes, (u64::from(slot.offset) - start) as usize)
                .filter(|e| e.index.0 == index)
                .ok_or_else(|| invalid(format!("entry {index} in {} is damaged", self.path.display())))
        };
        slots[..count].iter().zip(from.0..).map(entry).collect()
    }

    /// Takes away the records from `from` on.
    pub fn truncate(&mut self, from: LogIndex) -> io::Result<()> {
        if let Some(slot) = self.slot(from) {
            self.length = slot.offset.into();
            self.slots.truncate((from.0 - self.base.0.0 - 1) as usize);
            self.file.set_len(self.length)?;
        }
        Ok(())
    }
}

/// The record at `at`, if it is whole.
fn record_at(bytes: &[u8], at: usize) -> Option<LogEntry> {
    let head = bytes.get(at..at + RECORD_HEAD_BYTES)?;
    let length = u32::from_le_bytes(head[..4].try_into().expect("four bytes")) as usize;
    let sum = u32::from_le_bytes(head[4..].try_into().expect("four bytes"));
    if length > FRAME_HEADER_MAX_BYTES {
        return None;
    }
    let start = at + RECORD_HEAD_BYTES;
    let record = bytes.get(start..start + length)?;
    (checksum::record(record) == sum).then(|| codec::decode(record).ok()).flatten()
}
