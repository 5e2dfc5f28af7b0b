//! The log's contract on disk: segments of records, written with write(2) and synced when asked to, and a small file
//! with the vote that is synced at each change.

use super::keep::Run;
use super::log::{LogStore, NotSynced, NotWritten, SyncJob, SyncMark, Vote};
use super::segment::Segment;
use super::short_log;
use crate::chunk::io::is_full;
use crate::sealed;
use raidfs_common::id::{LogIndex, ServerId, Term};
use raidfs_common::rpc::peer::LogEntry;
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A segment that has grown to this many bytes is followed by a new one.
const SEGMENT_BYTES: u64 = 8 << 20;
/// The newest entries are also kept in memory, up to this many bytes: followers and the state machine read them.
const TAIL_BYTES: usize = 4 << 20;
const VOTE_FILE: &str = "vote";

/// The log of one voter, in a directory of its own.
#[derive(Debug)]
pub struct DiskLog {
    dir: PathBuf,
    vote: Vote,
    /// At least one; each begins where the one before it ends.
    segments: Vec<Segment>,
    tail: VecDeque<LogEntry>,
    tail_bytes: usize,
    durable: LogIndex,
    truncations: u64,
    /// A file was made whose name is not on stable storage yet.
    names_dirty: bool,
    segment_bytes: u64,
}

/// What was found when a log was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Something was cut off or could not be read: entries or a vote may be missing that were acknowledged.
    pub cut: bool,
}

impl DiskLog {
    /// Opens the log in `dir`, or makes one.
    pub fn open(dir: &Path) -> io::Result<(DiskLog, Opened)> {
        fs::create_dir_all(dir)?;
        let (mut segments, mut cut) = open_segments(dir)?;
        if cut {
            let last = segments.last().map_or(LogIndex(0), |segment| segment.last().0);
            tracing::warn!(
                "{}: what follows entry {last} is damaged, and is cut off: this server may have acknowledged it, and votes when it \
                 has caught up",
                dir.display()
            );
        }
        if segments.is_empty() {
            segments.push(Segment::create(dir, (LogIndex(0), Term(0)))?);
        }
        let mut log = DiskLog {
            dir: dir.to_owned(),
            vote: Vote::default(),
            segments,
            tail: VecDeque::new(),
            tail_bytes: 0,
            durable: LogIndex(0),
            truncations: 0,
            names_dirty: true,
            segment_bytes: short_log::bytes_of_a_segment(SEGMENT_BYTES),
        };
        match read_vote(dir)? {
            SavedVote::Whole(vote) => log.vote = vote,
            // A term is saved before the first entry of it.
            SavedVote::Missing if log.last() == (LogIndex(0), Term(0)) => {}
            lost @ (SavedVote::Missing | SavedVote::Damaged) => {
                let what = if lost == SavedVote::Missing { "is missing" } else { "is damaged" };
                tracing::warn!(
                    "{} {what}: this server may have voted, and votes when it has caught up",
                    dir.join(VOTE_FILE).display()
                );
                cut = true;
                log.vote.term = log.last().1;
            }
        }
        log.vote.term = log.vote.term.max(log.last().1);
        // What was read back may still be in the page cache only.
        let job = log.begin_sync();
        (job.work)().map_err(|error| io::Error::new(error.kind(), NotSynced(error)))?;
        log.end_sync(job.mark);
        Ok((log, Opened { cut }))
    }

    /// Has the entries as they are now in the directory `to`, too, whatever becomes of them here: by links if there
    /// can be any, which take no room.
    /// There is no such directory, or it has all of them. Durable when this returns. Blocking.
    pub fn keep_in(&self, to: &Path) -> io::Result<()> {
        let unfinished = to.with_extension("new");
        match fs::remove_dir_all(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => fs::create_dir(&unfinished)?,
        }
        for Segment { path, .. } in &self.segments {
            let kept = unfinished.join(path.file_name().unwrap_or_default());
            // It may be on another file system, or on one without links.
            if fs::hard_link(path, &kept).is_err() {
                fs::copy(path, &kept)?;
                File::open(&kept)?.sync_all()?;
            }
        }
        File::open(&unfinished)?.sync_all()?;
        fs::rename(&unfinished, to)?;
        to.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
    }

    fn current(&mut self) -> &mut Segment {
        self.segments.last_mut().expect("a log has at least one segment")
    }

    fn remember(&mut self, entries: &[LogEntry]) {
        for entry in entries {
            self.tail_bytes += entry.data.len() + 64;
            self.tail.push_back(entry.clone());
        }
        while self.tail_bytes > TAIL_BYTES
            && let Some(entry) = self.tail.pop_front()
        {
            self.tail_bytes -= entry.data.len() + 64;
        }
    }

    fn in_memory(&self, index: LogIndex) -> Option<&LogEntry> {
        let first = self.tail.front()?.index;
        self.tail.get(index.0.checked_sub(first.0)? as usize)
    }

    /// Entries from the disk from `from` on: of one segment, at most so many bytes, but at least one; none: it has no such.
    fn on_disk(&self, from: LogIndex, max_bytes: usize) -> io::Result<Vec<LogEntry>> {
        let at = self.segments.partition_point(|s| s.base.0 < from);
        at.checked_sub(1).map_or(Ok(Vec::new()), |at| self.segments[at].read(from, max_bytes))
    }

    fn remove_segment(&mut self, at: usize) -> io::Result<()> {
        let segment = self.segments.remove(at);
        self.names_dirty = true;
        fs::remove_file(&segment.path)
    }
}

/// An error of a write that leaves what was there before as it was.
fn not_written(error: io::Error) -> io::Error {
    if is_full(&error) { io::Error::new(error.kind(), NotWritten(error)) } else { error }
}

fn open_segments(dir: &Path) -> io::Result<(Vec<Segment>, bool)> {
    let mut paths: Vec<PathBuf> = fs::read_dir(dir)?.map(|e| e.map(|e| e.path())).collect::<io::Result<_>>()?;
    paths.retain(|p| p.extension().is_some_and(|e| e == "log"));
    paths.sort();
    let mut segments: Vec<Segment> = Vec::new();
    let mut cut = false;
    for path in paths {
        // What follows a gap is of no use.
        let opened = if cut { None } else { Segment::open(&path)? };
        match opened {
            Some((segment, torn)) if segments.last().is_none_or(|s| s.last() == segment.base) => {
                cut |= torn;
                segments.push(segment);
            }
            _ => {
                cut = true;
                fs::remove_file(&path)?;
            }
        }
    }
    Ok((segments, cut))
}

/// What there is of the saved vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SavedVote {
    /// All of it.
    Whole(Vote),
    /// No file.
    Missing,
    /// Something else.
    Damaged,
}

fn read_vote(dir: &Path) -> io::Result<SavedVote> {
    match sealed::read::<(Term, Option<ServerId>)>(&dir.join(VOTE_FILE)) {
        Ok(Some((term, given))) => Ok(SavedVote::Whole(Vote { term, given })),
        Ok(None) => Ok(SavedVote::Missing),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(SavedVote::Damaged),
        Err(error) => Err(error),
    }
}

impl LogStore for DiskLog {
    fn vote(&self) -> Vote {
        self.vote
    }

    fn save_vote(&mut self, vote: Vote) -> io::Result<()> {
        // Should it be there all the same, it is a promise that nobody was given: the next life keeps it, too.
        sealed::write(&self.dir.join(VOTE_FILE), &(vote.term, vote.given)).map_err(not_written)?;
        self.vote = vote;
        Ok(())
    }

    fn base(&self) -> (LogIndex, Term) {
        self.segments[0].base
    }

    fn last(&self) -> (LogIndex, Term) {
        self.segments[self.segments.len() - 1].last()
    }

    fn term_at(&self, index: LogIndex) -> Option<Term> {
        if index == self.base().0 {
            return Some(self.base().1);
        }
        let at = self.segments.partition_point(|s| s.base.0 < index);
        self.segments[at.checked_sub(1)?].slot(index).map(|s| s.term)
    }

    fn read(&self, from: LogIndex, max_bytes: usize) -> io::Result<Vec<LogEntry>> {
        let (mut out, mut left, mut at) = (Vec::new(), max_bytes, from);
        let mut block = Vec::new().into_iter();
        loop {
            let entry = match self.in_memory(at) {
                Some(entry) => Some(entry.clone()),
                None => {
                    if block.len() == 0 {
                        block = self.on_disk(at, left)?.into_iter();
                    }
                    block.next()
                }
            };
            // The first one always fits. What a block has of entries that are in memory, too, is passed over.
            let fits = |entry: &LogEntry| entry.index == at && (out.is_empty() || entry.data.len() <= left);
            let Some(entry) = entry.filter(fits) else {
                return Ok(out);
            };
            left = left.saturating_sub(entry.data.len().max(16));
            at = at.next();
            out.push(entry);
        }
    }

    fn append(&mut self, entries: &[LogEntry]) -> io::Result<()> {
        if self.current().length > self.segment_bytes {
            let segment = Segment::create(&self.dir, self.last()).map_err(not_written)?;
            self.segments.push(segment);
            self.names_dirty = true;
        }
        self.current().append(entries).map_err(not_written)?;
        self.remember(entries);
        Ok(())
    }

    fn truncate(&mut self, from: LogIndex) -> io::Result<()> {
        self.truncations += 1;
        while self.segments.len() > 1 && self.current().base.0 >= from {
            self.remove_segment(self.segments.len() - 1)?;
        }
        self.current().truncate(from)?;
        while self.tail.back().is_some_and(|e| e.index >= from) {
            let entry = self.tail.pop_back();
            self.tail_bytes -= entry.map_or(0, |e| e.data.len() + 64);
        }
        self.durable = self.durable.min(self.last().0);
        Ok(())
    }

    fn runs(&self) -> Vec<Run> {
        self.segments.iter().map(|segment| Run { last: segment.last().0, bytes: segment.length }).collect()
    }

    fn purge(&mut self, index: LogIndex) -> io::Result<()> {
        while self.segments.len() > 1 && self.segments[0].last().0 <= index {
            self.remove_segment(0)?;
        }
        let first = self.base().0.next();
        while self.tail.front().is_some_and(|e| e.index < first) {
            let entry = self.tail.pop_front();
            self.tail_bytes -= entry.map_or(0, |e| e.data.len() + 64);
        }
        Ok(())
    }

    fn reset(&mut self, index: LogIndex, term: Term) -> io::Result<()> {
        self.truncations += 1;
        while !self.segments.is_empty() {
            self.remove_segment(self.segments.len() - 1)?;
        }
        self.tail.clear();
        self.tail_bytes = 0;
        self.segments.push(Segment::create(&self.dir, (index, term))?);
        let job = self.begin_sync();
        (job.work)()?;
        self.durable = index;
        Ok(())
    }

    fn durable(&self) -> LogIndex {
        self.durable.max(self.base().0)
    }

    fn begin_sync(&mut self) -> SyncJob {
        let durable = self.durable;
        let dirty = |s: &&Segment| s.last().0 > durable || s.slots.is_empty();
        let files: Vec<Arc<File>> = self.segments.iter().filter(dirty).map(|s| s.file.clone()).collect();
        let dir = std::mem::take(&mut self.names_dirty).then(|| self.dir.clone());
        let work = move || {
            for file in files {
                file.sync_data()?;
            }
            dir.map_or(Ok(()), |dir| File::open(dir)?.sync_all())
        };
        SyncJob { mark: SyncMark { upto: self.last().0, truncations: self.truncations }, work: Box::new(work) }
    }

    fn end_sync(&mut self, mark: SyncMark) {
        if mark.truncations == self.truncations {
            self.durable = self.durable.max(mark.upto);
        }
    }
}

/// What the files of a log take.
#[cfg(test)]
pub(crate) fn bytes_in(directory: &Path) -> u64 {
    let files = std::fs::read_dir(directory).expect("it is there");
    files.map(|file| file.and_then(|file| file.metadata()).expect("it is there").len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::io::{Call, fault};
    use std::os::unix::fs::FileExt;

    fn entry(index: u64, term: u64) -> LogEntry {
        LogEntry { term: Term(term), index: LogIndex(index), synced: false, data: vec![index as u8; 100].into() }
    }

    fn open(dir: &Path) -> DiskLog {
        let (mut log, _) = DiskLog::open(dir).expect("it opens");
        log.segment_bytes = 1000;
        log
    }

    #[test]
    fn what_is_kept_elsewhere_outlives_a_reset() {
        let (dir, other) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
        let mut log = open(dir.path());
        (1..=30).for_each(|i| log.append(&[entry(i, 1)]).expect("it appends"));
        let kept = other.path().join("log");
        fs::create_dir(other.path().join("log.new")).expect("it is made, by who died then");
        log.keep_in(&kept).expect("it is kept");
        log.reset(LogIndex(0), Term(0)).expect("it is emptied");
        log.append(&[entry(1, 2)]).expect("it appends");
        let kept = DiskLog::open(&kept).expect("it opens").0;
        assert_eq!(
            kept.read(LogIndex(1), usize::MAX).expect("it is read"),
            (1..=30).map(|i| entry(i, 1)).collect::<Vec<_>>()
        );
        assert_eq!((log.last(), kept.last()), ((LogIndex(1), Term(2)), (LogIndex(30), Term(1))));
    }

    #[test]
    fn damage_is_cut_off_and_said() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut log = open(dir.path());
        log.save_vote(Vote { term: Term(1), given: None }).expect("it saves");
        (1..=30).for_each(|i| log.append(&[entry(i, 1)]).expect("it appends"));
        let path = log.segments[1].path.clone();
        let first_of_second = log.segments[1].base.0;
        drop(log);
        let mut bytes = fs::read(&path).expect("it is there");
        bytes[100] ^= 1;
        fs::write(&path, bytes).expect("it is written");
        let (log, opened) = DiskLog::open(dir.path()).expect("it opens");
        assert!(opened.cut);
        assert_eq!(log.last().0, first_of_second);
        assert_eq!(DiskLog::open(dir.path()).expect("it opens").1, Opened { cut: false });
    }

    #[test]
    fn what_has_rotted_is_told_from_what_cannot_be_read() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut log = open(dir.path());
        log.append(&[entry(1, 1), entry(2, 1), entry(3, 1)]).expect("it appends");
        let file = log.segments[0].file.clone();
        let (second, third) = (log.segments[0].slots[1].offset, log.segments[0].slots[2].offset);
        file.write_all_at(b"?", u64::from(second) + 30).expect("it rots");
        let kind = |log: &DiskLog| log.on_disk(LogIndex(2), usize::MAX).map_err(|e| e.kind());
        assert_eq!(kind(&log), Err(io::ErrorKind::InvalidData));
        assert_eq!(log.on_disk(LogIndex(1), 1).expect("what is before it is read"), [entry(1, 1)]);
        file.set_len(u64::from(third) - 1).expect("it is cut");
        assert_eq!(kind(&log), Err(io::ErrorKind::UnexpectedEof));
    }

    #[test]
    fn a_torn_tail_keeps_whole_records() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut log = open(dir.path());
        log.append(&[entry(1, 1), entry(2, 1)]).expect("it appends");
        let (path, length) = (log.segments[0].path.clone(), log.segments[0].length);
        drop(log);
        for shorter in 1..60 {
            let file = File::options().write(true).open(&path).expect("it is there");
            file.set_len(length - shorter).expect("it is cut");
            let (mut log, opened) = DiskLog::open(dir.path()).expect("it opens");
            assert!(opened.cut);
            assert_eq!(log.last().0, LogIndex(1));
            log.append(&[entry(2, 1)]).expect("it appends");
        }
    }

    #[test]
    fn an_append_that_finds_no_room_leaves_nothing_that_looks_like_a_loss() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut log = open(dir.path());
        log.save_vote(Vote { term: Term(1), given: None }).expect("it saves");
        log.append(&[entry(1, 1)]).expect("it appends");
        let segment = &log.segments[0];
        segment.file.write_all_at(b"half of a record", segment.length).expect("so far there is room");
        fault::plan(Call::Write, 0, libc::ENOSPC);
        let error = log.append(&[entry(2, 1), entry(3, 1)]).expect_err("there is no room");
        assert!(error.get_ref().is_some_and(|error| error.is::<NotWritten>()), "{error:?}");
        assert!(error.to_string().contains("No space left"), "who tells a full disk by words: {error}");
        assert_eq!(log.last(), (LogIndex(1), Term(1)));
        assert_eq!(DiskLog::open(dir.path()).expect("it opens").1, Opened { cut: false });
        log.segment_bytes = 1;
        fault::plan(Call::Write, 0, libc::ENOSPC);
        assert!(log.append(&[entry(2, 1)]).is_err(), "not even a new segment has room");
        assert_eq!(DiskLog::open(dir.path()).expect("it opens").1, Opened { cut: false });
        log.append(&[entry(2, 1)]).expect("there is room again");
        assert_eq!(log.read(LogIndex(1), usize::MAX).expect("it reads"), [entry(1, 1), entry(2, 1)]);
        fault::plan(Call::Write, 0, libc::ENOSPC);
        let error = log.reset(LogIndex(9), Term(1)).expect_err("there is no room");
        assert!(error.get_ref().is_none(), "what was there is gone: {error:?}");
    }

    #[test]
    fn a_damaged_vote_is_said() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut log = open(dir.path());
        log.save_vote(Vote { term: Term(7), given: Some(ServerId(2)) }).expect("it saves");
        drop(log);
        assert_eq!(open(dir.path()).vote(), Vote { term: Term(7), given: Some(ServerId(2)) });
        fs::write(dir.path().join(VOTE_FILE), b"garbage").expect("it is written");
        assert!(DiskLog::open(dir.path()).expect("it opens").1.cut);
    }

    #[test]
    fn a_vote_that_is_missing_beside_entries_is_said() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut log = open(dir.path());
        drop(open(dir.path()));
        assert!(!DiskLog::open(dir.path()).expect("it opens").1.cut, "nothing was ever voted or written");
        log.save_vote(Vote { term: Term(3), given: Some(ServerId(2)) }).expect("it saves");
        log.append(&[entry(1, 3)]).expect("it appends");
        drop(log);
        fs::remove_file(dir.path().join(VOTE_FILE)).expect("it was there");
        let (log, opened) = DiskLog::open(dir.path()).expect("it opens");
        assert!(opened.cut);
        assert_eq!(log.vote(), Vote { term: Term(3), given: None });
    }
}
