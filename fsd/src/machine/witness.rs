//! The witness's side of agreement: entries are kept in its log, and mean nothing to it.

use crate::consensus::node::{Machine, PieceStream, Status};
use bytes::Bytes;
use parking_lot::Mutex;
use raidfs_common::id::{LogIndex, Term};
use raidfs_common::rpc::peer::LogEntry;
use std::io;

/// Applies nothing.
#[derive(Debug)]
pub struct WitnessMachine {
    applied: Mutex<(LogIndex, Term)>,
}

impl WitnessMachine {
    /// A witness whose log begins behind `base`.
    pub fn new(base: (LogIndex, Term)) -> WitnessMachine {
        WitnessMachine { applied: Mutex::new(base) }
    }
}

impl Machine for WitnessMachine {
    type Outcome = ();

    fn apply(&self, entry: &LogEntry) {
        *self.applied.lock() = (entry.index, entry.term);
    }

    fn applied(&self) -> (LogIndex, Term) {
        *self.applied.lock()
    }

    fn observe(&self, _: &Status) {}

    fn snapshot(&self) -> io::Result<(LogIndex, Term, PieceStream)> {
        Err(io::Error::other("the witness holds no names; another server must lead first"))
    }

    /// The state is not kept, only where it ends: the log goes on behind it.
    fn install(&self, _: u64, _: Bytes, last: bool, index: LogIndex, term: Term) -> io::Result<()> {
        if last {
            *self.applied.lock() = (index, term);
        }
        Ok(())
    }
}
