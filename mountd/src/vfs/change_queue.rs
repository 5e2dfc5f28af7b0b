//! The order in which this mount's changes of the namespace are sent: one batch under way, all that is submitted
//! meanwhile is the next one. So changes are applied in the order of their submission, and many share a request.
//! A few that nobody waits for wait a moment for more: a request costs every server about the same whatever it carries.
//! Pure; driven by `changes`.

use raidfs_common::id::Ino;
use raidfs_common::namespace::Change;
use raidfs_common::time::Time;
use std::collections::VecDeque;

/// A change's place in the order, from 1.
pub type Ticket = u64;

/// Most changes of one request.
pub const BATCH_MAX: usize = 512;
/// So many go without waiting for more.
const WORTH_GOING: usize = 64;

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
    /// Nobody asked for it: should it fail, there is nobody to be told.
    pub is_unasked: bool,
}

/// What is to be sent now.
#[derive(Debug)]
pub enum Next<W> {
    /// These, in order.
    Batch(Vec<Queued<W>>),
    /// Nothing yet: there are few, and nobody waits for them.
    Linger,
    /// Nothing: there are none.
    Idle,
}

/// What whoever sends the batches is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sender {
    Busy,
    Lingering,
    Idle,
}

/// The queue.
#[derive(Debug)]
pub struct ChangeQueue<W> {
    last: Ticket,
    done: Ticket,
    /// Somebody waits for everything up to here.
    hurried: Ticket,
    sender: Sender,
    waiting: VecDeque<Queued<W>>,
}

impl<W> Default for ChangeQueue<W> {
    fn default() -> ChangeQueue<W> {
        ChangeQueue { last: 0, done: 0, hurried: 0, sender: Sender::Busy, waiting: VecDeque::new() }
    }
}

impl<W> ChangeQueue<W> {
    /// Puts a change at the end.
    pub fn push(&mut self, now: Time, change: Change, touched: Vec<Ino>, expected: bool, waiter: Option<W>) -> Ticket {
        self.last += 1;
        if waiter.is_some() {
            self.hurry(self.last);
        }
        self.waiting.push_back(Queued { ticket: self.last, now, change, touched, expected, waiter, is_unasked: false });
        self.last
    }

    /// Nobody asked for the change at the end.
    pub fn newest_is_unasked(&mut self) {
        if let Some(newest) = self.waiting.back_mut() {
            newest.is_unasked = true;
        }
    }

    /// The change at the end, if it is not under way yet.
    pub fn newest(&mut self) -> Option<&mut Change> {
        self.waiting.back_mut().map(|queued| &mut queued.change)
    }

    /// Somebody waits for everything up to `ticket`: it goes as soon as it can.
    pub fn hurry(&mut self, ticket: Ticket) {
        self.hurried = self.hurried.max(ticket);
    }

    /// What is to be sent next; the batch before must have its outcomes. `lingered`: the moment is over.
    pub fn next(&mut self, lingered: bool) -> Next<W> {
        let next = match self.waiting.front() {
            None => Next::Idle,
            Some(_) if lingered || self.is_due() => {
                let count = self.waiting.len().min(BATCH_MAX);
                Next::Batch(self.waiting.drain(..count).collect())
            }
            Some(_) => Next::Linger,
        };
        self.sender = match next {
            Next::Batch(_) => Sender::Busy,
            Next::Linger => Sender::Lingering,
            Next::Idle => Sender::Idle,
        };
        next
    }

    /// Whether whoever sends has to be woken; true once for each time that it went to wait.
    pub fn must_wake(&mut self) -> bool {
        let wake = match self.sender {
            Sender::Busy => false,
            Sender::Lingering => self.is_due(),
            Sender::Idle => !self.waiting.is_empty(),
        };
        if wake {
            self.sender = Sender::Busy;
        }
        wake
    }

    fn is_due(&self) -> bool {
        let first = self.waiting.front().map_or(Ticket::MAX, |q| q.ticket);
        self.waiting.len() >= WORTH_GOING || self.hurried >= first
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

#[cfg(test)]
mod tests {
    use super::*;

    fn push(queue: &mut ChangeQueue<()>, waiter: Option<()>) -> Ticket {
        queue.push(Time::default(), Change::GrantInos, Vec::new(), true, waiter)
    }

    fn tickets(next: Next<()>) -> Vec<Ticket> {
        match next {
            Next::Batch(batch) => batch.iter().map(|q| q.ticket).collect(),
            other => panic!("{other:?} where a batch is due"),
        }
    }

    #[test]
    fn few_changes_wait_a_moment_for_more() {
        let mut queue = ChangeQueue::default();
        assert!(matches!(queue.next(false), Next::Idle));
        push(&mut queue, None);
        assert!(queue.must_wake(), "so that the moment begins");
        assert!(!queue.must_wake(), "once");
        assert!(matches!(queue.next(false), Next::Linger));
        push(&mut queue, None);
        assert!(!queue.must_wake());
        assert_eq!(tickets(queue.next(true)), [1, 2]);
        assert!(matches!(queue.next(true), Next::Idle));
    }

    #[test]
    fn many_changes_go_at_once() {
        let mut queue = ChangeQueue::default();
        push(&mut queue, None);
        assert!(matches!(queue.next(false), Next::Linger));
        for _ in 1..WORTH_GOING {
            assert!(!queue.must_wake());
            push(&mut queue, None);
        }
        assert!(queue.must_wake());
        assert_eq!(tickets(queue.next(false)).len(), WORTH_GOING);
    }

    #[test]
    fn what_somebody_waits_for_goes_at_once() {
        let mut queue = ChangeQueue::default();
        push(&mut queue, None);
        assert!(matches!(queue.next(false), Next::Linger));
        push(&mut queue, Some(()));
        assert!(queue.must_wake());
        assert_eq!(tickets(queue.next(false)), [1, 2]);
        let third = push(&mut queue, None);
        assert!(matches!(queue.next(false), Next::Linger));
        queue.hurry(third);
        assert!(queue.must_wake());
        assert_eq!(tickets(queue.next(false)), [third]);
        // What is behind it is in no hurry.
        push(&mut queue, None);
        assert!(matches!(queue.next(false), Next::Linger));
    }
}
