//! Which cuts this server has carried out: on disk, because a server that starts again applies the end of its log again.
//! Carrying a cut out a second time would destroy what was written behind it. (The end of a file may be carried out
//! twice: its number is never used again, and nothing is written behind it.)
//!
//! A record is written when its cut is durable, and is durable before anything is written behind the cut. Format in docs/DISK_FORMAT.md, "Cuts".

use parking_lot::Mutex;
use raidfs_common::checksum;
use raidfs_common::id::{Ino, LogIndex};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// Inode and index, little-endian, and their checksum.
const RECORD_BYTES: usize = 20;
/// A server whose names are made anew may get entries from another's log, which begins so much earlier than its own at most:
/// each keeps about as many ([`crate::machine::flush`]), give or take a segment, which holds fewer.
const EARLIER_MAX: u64 = 1_000_000;

/// The record of this server's cuts.
#[derive(Debug)]
pub struct Cuts {
    /// Of lives before this one.
    done: BTreeMap<Ino, LogIndex>,
    file: File,
    /// Records written; None: the last one is torn, and behind it none can be read. Taken within `synced`, never around it.
    written: Mutex<Option<u64>>,
    /// How many of them are durable; None: that cannot be told any more.
    synced: Mutex<Option<u64>>,
}

impl Cuts {
    /// Opens the record at `path`. Only cuts that may be asked for again are kept, the last one of each file: those of entries
    /// that a log may still give, and those that `pending` names. `base` is where this server's log begins. What is applied
    /// says nothing: names that are made anew apply everything again. What is torn at the end was never relied on.
    pub fn open(path: &Path, base: LogIndex, pending: &BTreeSet<(Ino, LogIndex)>) -> io::Result<Cuts> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(e),
        };
        let given = base.0.saturating_sub(EARLIER_MAX);
        let mut done = BTreeMap::new();
        for record in bytes.chunks_exact(RECORD_BYTES) {
            let Some((ino, index)) = decode(record) else { break };
            if index.0 > given || pending.contains(&(ino, index)) {
                let last: &mut LogIndex = done.entry(ino).or_default();
                *last = index.max(*last);
            }
        }
        let kept: Vec<u8> = done.iter().flat_map(|(ino, index)| encode(*ino, *index)).collect();
        let temporary = path.with_extension("new");
        let mut file = File::create(&temporary)?;
        file.write_all(&kept)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        if let Some(dir) = path.parent() {
            File::open(dir)?.sync_all()?;
        }
        let file = OpenOptions::new().append(true).open(path)?;
        Ok(Cuts { done, file, written: Mutex::new(Some(0)), synced: Mutex::new(Some(0)) })
    }

    /// Whether an earlier life carried out this cut, or a later one of the file.
    pub fn is_done(&self, ino: Ino, index: LogIndex) -> bool {
        self.done.get(&ino).is_some_and(|last| *last >= index)
    }

    /// The file's cuts by entries up to `index` are carried out, durably; the record is so, too, when this returns. What
    /// several threads record shares a sync. After one that failed none is believed. Blocking.
    pub fn record(&self, ino: Ino, index: LogIndex) -> io::Result<()> {
        let failed = || io::Error::other("an earlier write or sync of the record of cuts failed");
        let mine = {
            let mut written = self.written.lock();
            let mine = written.take().ok_or_else(failed)? + 1;
            (&self.file).write_all(&encode(ino, index))?;
            *written.insert(mine)
        };
        let mut synced = self.synced.lock();
        match *synced {
            None => return Err(failed()),
            Some(upto) if upto >= mine => return Ok(()),
            Some(_) => {}
        }
        let upto = self.written.lock().ok_or_else(failed)?;
        *synced = None;
        self.file.sync_data()?;
        *synced = Some(upto);
        Ok(())
    }
}

fn encode(ino: Ino, index: LogIndex) -> Vec<u8> {
    let mut record = ino.0.to_le_bytes().to_vec();
    record.extend_from_slice(&index.0.to_le_bytes());
    record.extend_from_slice(&checksum::record(&record).to_le_bytes());
    record
}

fn decode(record: &[u8]) -> Option<(Ino, LogIndex)> {
    let number = |at: usize| Some(u64::from_le_bytes(record.get(at..at + 8)?.try_into().ok()?));
    let (ino, index) = (Ino(number(0)?), LogIndex(number(8)?));
    (encode(ino, index) == record).then_some((ino, index))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_earlier_life_did_is_known_as_long_as_a_log_may_give_it_again() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("cuts");
        let open = |base, pending: &[(Ino, LogIndex)]| {
            Cuts::open(&path, LogIndex(base), &pending.iter().copied().collect()).expect("it opens")
        };
        let cuts = open(0, &[]);
        assert!(!cuts.is_done(Ino(5), LogIndex(10)));
        for (ino, index) in [(5, 10), (5, 12), (6, 11), (7, 30), (8, 9)] {
            cuts.record(Ino(ino), LogIndex(index)).expect("it records");
        }
        assert!(!cuts.is_done(Ino(5), LogIndex(10)), "this life is not asked twice");
        for base in [0, 11, EARLIER_MAX] {
            let cuts = open(base, &[]);
            let all = [(5, 12), (6, 11), (7, 30), (8, 9)];
            assert!(all.iter().all(|(ino, index)| cuts.is_done(Ino(*ino), LogIndex(*index))), "a log begins there");
            assert!(cuts.is_done(Ino(5), LogIndex(11)) && !cuts.is_done(Ino(5), LogIndex(13)));
        }
        let cuts = open(EARLIER_MAX + 11, &[(Ino(6), LogIndex(11))]);
        assert!(cuts.is_done(Ino(5), LogIndex(12)) && cuts.is_done(Ino(7), LogIndex(30)));
        assert!(cuts.is_done(Ino(6), LogIndex(11)) && !cuts.is_done(Ino(8), LogIndex(9)));
        let mut bytes = fs::read(&path).expect("it is there");
        assert_eq!(bytes.len(), 3 * RECORD_BYTES, "one was dropped, and one that another follows");
        bytes.truncate(bytes.len() - 1);
        fs::write(&path, bytes).expect("it is written");
        let cuts = open(0, &[]);
        assert!(cuts.is_done(Ino(5), LogIndex(12)) && !cuts.is_done(Ino(7), LogIndex(30)), "a torn end is cut off");
    }
}
