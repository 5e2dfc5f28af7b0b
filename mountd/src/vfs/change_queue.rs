//! The order in which this mount's changes of the namespace are sent: one batch under way, all that is submitted
//! meanwhile is the next one. So changes are applied in the order of their submission, and many share a request.
//! Pure; driven by `changes`.

use raidfs_common::id::Ino;
use raidfs_common::namespace::Change;
use raidfs_common::time::Time;
use std::collections::VecDeque;

/// A change's place in the order, from 1.
pub type Ticket = u64;

/// Most changes of one request.
pub const BATCH_MAX: usize = 512;

/// A change that waits for its turn, or for its outcome.
#[derive(Debug)]
pub struct Queued<W> {
    /// Its place.
    pub ticket: Ticket,
    /// The time that it stamps.
    pub now: Time,
    /// What to change.
    pub change: Change,
    /// The known inodes that it touches: pinned until it has an outcome.
    pub touched: Vec<Ino>,
    /// The cache shows its effect already.
    pub expected: bool,
    /// Who waits for its outcome.
    pub waiter: Option<W>,
}

/// The queue.
#[derive(Debug)]
pub struct ChangeQueue<W> {
    last: Ticket,
    done: Ticket,
    waiting: VecDeque<Queued<W>>,
}

impl<W> Default for ChangeQueue<W> {
    fn default() -> ChangeQueue<W> {
        ChangeQueue { last: 0, done: 0, waiting: VecDeque::new() }
    }
}

impl<W> ChangeQueue<W> {
    /// Puts a change at the end.
    pub fn push(&mut self, now: Time, change: Change, touched: Vec<Ino>, expected: bool, waiter: Option<W>) -> Ticket {
        self.last += 1;
        self.waiting.push_back(Queued { ticket: self.last, now, change, touched, expected, waiter });
        self.last
    }

    /// The change at the end, if it is not under way yet.
    pub fn newest(&mut self) -> Option<&mut Change> {
        self.waiting.back_mut().map(|queued| &mut queued.change)
    }

    /// The next batch, in order. The one before must have its outcomes.
    pub fn take(&mut self) -> Vec<Queued<W>> {
        let count = self.waiting.len().min(BATCH_MAX);
        self.waiting.drain(..count).collect()
    }

    /// The outcomes of everything up to `ticket` are in.
    pub fn done(&mut self, ticket: Ticket) {
        self.done = ticket;
    }

    /// The newest ticket that was given out.
    pub fn last(&self) -> Ticket {
        self.last
    }

    /// Everything up to this ticket has its outcome.
    pub fn settled(&self) -> Ticket {
        self.done
    }

    /// Changes that wait to be sent.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }
}
