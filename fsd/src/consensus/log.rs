//! The contract of the log's storage; knows nothing of votes being won or entries being agreed.

use super::keep::Run;
use raidfs_common::id::{LogIndex, ServerId, Term};
use raidfs_common::rpc::peer::LogEntry;
use std::io;

/// A server's promise for a term; always on stable storage before it is spoken of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vote {
    /// The newest term that this server knows of.
    pub term: Term,
    /// Whom it voted for in that term.
    pub given: Option<ServerId>,
}

/// A log of entries without gaps, from `first` to `last`. What was appended is readable at once, and survives the
/// process; it survives the machine once synced (see [`super::log_disk`] for who syncs, and when).
pub trait LogStore {
    /// The promise that was saved last.
    fn vote(&self) -> Vote;
    /// Saves a promise; on stable storage when this returns.
    fn save_vote(&mut self, vote: Vote) -> io::Result<()>;
    /// The position and term before the first entry: what a snapshot or a purge left behind. Zero: nothing is missing.
    fn base(&self) -> (LogIndex, Term);
    /// The position and term of the last entry, or the base if there is none.
    fn last(&self) -> (LogIndex, Term);
    /// The term of the entry at `index`; the base has one, too. None if it is not there.
    fn term_at(&self, index: LogIndex) -> Option<Term>;
    /// Entries from `from` on, at most `max_bytes` of data (but at least one), none if `from` is not there.
    fn read(&self, from: LogIndex, max_bytes: usize) -> io::Result<Vec<LogEntry>>;
    /// Adds entries; the first stands right behind the last one.
    fn append(&mut self, entries: &[LogEntry]) -> io::Result<()>;
    /// Takes away the entries from `from` on.
    fn truncate(&mut self, from: LogIndex) -> io::Result<()>;
    /// What there is, the oldest first, in parts that [`LogStore::purge`] forgets as a whole or not at all.
    fn runs(&self) -> Vec<Run>;
    /// Forgets entries up to `index`, some or all of them; they are applied for good.
    fn purge(&mut self, index: LogIndex) -> io::Result<()>;
    /// Forgets everything: what follows is behind a snapshot of the state after `index`.
    fn reset(&mut self, index: LogIndex, term: Term) -> io::Result<()>;
    /// Entries up to here are on stable storage.
    fn durable(&self) -> LogIndex;
    /// Begins to sync all that was appended so far. The work may be done on another thread while the log is used.
    fn begin_sync(&mut self) -> SyncJob;
    /// The work was done without an error: raises [`LogStore::durable`], unless entries were taken away meanwhile.
    fn end_sync(&mut self, mark: SyncMark);
}

/// Entries, or a vote, were not written for want of room. All that was there before is, and nothing of what comes behind it.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct NotWritten(pub io::Error);

/// What a log holds may be in memory only: opening it could not sync it.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct NotSynced(pub io::Error);

/// What a sync covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncMark {
    /// The last entry when it began.
    pub upto: LogIndex,
    /// How often entries had been taken away by then.
    pub truncations: u64,
}

/// A sync to be carried out.
pub struct SyncJob {
    /// What it covers.
    pub mark: SyncMark,
    /// The blocking part.
    pub work: Box<dyn FnOnce() -> io::Result<()> + Send>,
}

impl std::fmt::Debug for SyncJob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SyncJob").field("mark", &self.mark).finish_non_exhaustive()
    }
}
