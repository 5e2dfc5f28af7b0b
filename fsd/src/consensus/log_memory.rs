//! The log's contract in memory: for tests and the simulation. Everything counts as durable at once, unless
//! [`MemoryLog::hold_syncs`] is on.

use super::keep::Run;
use super::log::{LogStore, SyncJob, SyncMark, Vote};
use raidfs_common::id::{LogIndex, Term};
use raidfs_common::rpc::peer::LogEntry;
use std::io;

/// A log in memory.
#[derive(Clone, Debug, Default)]
pub struct MemoryLog {
    vote: Vote,
    base: (LogIndex, Term),
    entries: Vec<LogEntry>,
    /// Entries count as durable only when [`MemoryLog::sync`] says so.
    pub hold_syncs: bool,
    durable: LogIndex,
    truncations: u64,
}

impl MemoryLog {
    /// Everything appended so far is durable.
    pub fn sync(&mut self) {
        self.durable = self.last().0;
    }

    /// What a power cut leaves: the durable entries.
    pub fn lose_unsynced(&mut self) {
        if self.hold_syncs {
            let keep = self.durable.0.saturating_sub(self.base.0.0) as usize;
            self.entries.truncate(keep);
        }
    }
}

impl LogStore for MemoryLog {
    fn vote(&self) -> Vote {
        self.vote
    }

    fn save_vote(&mut self, vote: Vote) -> io::Result<()> {
        self.vote = vote;
        Ok(())
    }

    fn base(&self) -> (LogIndex, Term) {
        self.base
    }

    fn last(&self) -> (LogIndex, Term) {
        self.entries.last().map_or(self.base, |e| (e.index, e.term))
    }

    fn term_at(&self, index: LogIndex) -> Option<Term> {
        if index == self.base.0 {
            return Some(self.base.1);
        }
        let at = index.0.checked_sub(self.base.0.0 + 1)? as usize;
        self.entries.get(at).map(|e| e.term)
    }

    fn read(&self, from: LogIndex, max_bytes: usize) -> io::Result<Vec<LogEntry>> {
        let Some(at) = from.0.checked_sub(self.base.0.0 + 1) else { return Ok(Vec::new()) };
        let mut left = max_bytes;
        let mut out: Vec<LogEntry> = Vec::new();
        for entry in self.entries.iter().skip(at as usize) {
            if !out.is_empty() && entry.data.len() > left {
                break;
            }
            left = left.saturating_sub(entry.data.len());
            out.push(entry.clone());
        }
        Ok(out)
    }

    fn append(&mut self, entries: &[LogEntry]) -> io::Result<()> {
        for entry in entries {
            assert_eq!(entry.index, self.last().0.next(), "entries are appended without gaps");
            self.entries.push(entry.clone());
        }
        if !self.hold_syncs {
            self.sync();
        }
        Ok(())
    }

    fn truncate(&mut self, from: LogIndex) -> io::Result<()> {
        let keep = from.0.saturating_sub(self.base.0.0 + 1) as usize;
        self.entries.truncate(keep);
        self.truncations += 1;
        self.durable = self.durable.min(self.last().0);
        Ok(())
    }

    fn runs(&self) -> Vec<Run> {
        self.entries.iter().map(|entry| Run { last: entry.index, bytes: entry.data.len() as u64 }).collect()
    }

    fn purge(&mut self, index: LogIndex) -> io::Result<()> {
        if let Some(term) = self.term_at(index) {
            let gone = index.0.saturating_sub(self.base.0.0) as usize;
            self.entries.drain(..gone.min(self.entries.len()));
            self.base = (index, term);
        }
        Ok(())
    }

    fn reset(&mut self, index: LogIndex, term: Term) -> io::Result<()> {
        self.entries.clear();
        self.base = (index, term);
        self.durable = index;
        Ok(())
    }

    fn durable(&self) -> LogIndex {
        self.durable.max(self.base.0)
    }

    fn begin_sync(&mut self) -> SyncJob {
        SyncJob { mark: SyncMark { upto: self.last().0, truncations: self.truncations }, work: Box::new(|| Ok(())) }
    }

    fn end_sync(&mut self, mark: SyncMark) {
        if mark.truncations == self.truncations {
            self.durable = self.durable.max(mark.upto);
        }
    }
}
