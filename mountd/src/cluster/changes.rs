//! Changes of names on their way to the leader: numbered, gathered into requests, each kept until its outcome is
//! known. A request that is not answered is sent again with the same numbers, never reported as failed before its
//! time is up.
//!
//! Changes of one call stay together and in order. Changes of different calls are independent of each other, so their
//! requests may overtake one another.

use super::core::Core;
use super::errand::Failed;
use super::numbers::Numbers;
use super::router::Aim;
use parking_lot::Mutex;
use raidfs_common::error::{FsError, Rejection};
use raidfs_common::id::LogIndex;
use raidfs_common::limits::{CHANGES_PER_ENTRY_MAX, OUTCOMES_KEPT_MAX};
use raidfs_common::namespace::{Change, Outcome, Request};
use raidfs_common::time::Time;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Requests under way at once.
const REQUESTS_MAX: usize = 4;
/// A further request starts beside those under way only if it carries so many changes for each of them: below that,
/// waiting for an answer and going together costs less than it gains.
const WORTH_ANOTHER: usize = 16;
/// Bytes of one request, roughly; below the largest frame by a wide margin.
const REQUEST_MAX_BYTES: usize = 1 << 20;
/// What a change takes besides the bytes that it carries.
const CHANGE_BYTES: usize = 400;
/// A request whose callers have waited long already still gets this much time.
const LAST_CHANCE: Duration = Duration::from_millis(200);

struct Waiting {
    since: Instant,
    changes: Vec<(Time, Change)>,
    bytes: usize,
    answer: oneshot::Sender<Vec<Outcome>>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    /// Changes in `waiting`.
    count: usize,
    under_way: usize,
    numbers: Numbers,
}

/// A request, and who waits for which part of it.
struct Batch {
    requests: Vec<Request>,
    deadline: Instant,
    callers: Vec<(usize, oneshot::Sender<Vec<Outcome>>)>,
}

/// The way of all changes of a session.
pub struct Outbox {
    core: Arc<Core>,
    queue: Mutex<Queue>,
    acknowledged: AtomicU64,
}

impl Outbox {
    /// Nothing is under way.
    pub fn new(core: Arc<Core>) -> Arc<Outbox> {
        Arc::new(Outbox { core, queue: Mutex::default(), acknowledged: AtomicU64::new(0) })
    }

    /// The log index that holds every change that was acknowledged.
    pub fn acknowledged(&self) -> LogIndex {
        LogIndex(self.acknowledged.load(Ordering::Acquire))
    }

    /// Makes changes, in order, and returns their outcomes, one for each.
    pub async fn submit(self: &Arc<Self>, mut changes: Vec<(Time, Change)>) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(changes.len());
        while !changes.is_empty() {
            let (count, bytes) = fitting(&changes);
            let rest = changes.split_off(count);
            outcomes.extend(self.submit_together(changes, bytes).await);
            changes = rest;
        }
        outcomes
    }

    async fn submit_together(self: &Arc<Self>, changes: Vec<(Time, Change)>, bytes: usize) -> Vec<Outcome> {
        let count = changes.len();
        if self.core.is_over() {
            return vec![Err(FsError::Io); count];
        }
        let (answer, outcomes) = oneshot::channel();
        {
            let mut queue = self.queue.lock();
            queue.count += count;
            queue.waiting.push_back(Waiting { since: Instant::now(), changes, bytes, answer });
        }
        self.pump();
        outcomes.await.unwrap_or_else(|_| vec![Err(FsError::Io); count])
    }

    /// Starts as many requests as may be under way now. Each runs in its own task: a caller that stops waiting stops
    /// nothing.
    fn pump(self: &Arc<Self>) {
        loop {
            let batch = self.queue.lock().next_batch(&self.core);
            let Some(batch) = batch else { return };
            tokio::spawn(Arc::clone(self).carry(batch));
        }
    }

    async fn carry(self: Arc<Self>, batch: Batch) {
        let requests: Arc<[Request]> = batch.requests.into();
        let send = {
            let requests = Arc::clone(&requests);
            move |client: raidfs_common::rpc::names::NamesServiceClient, context| {
                let requests = requests.to_vec();
                async move {
                    let expected = requests.len();
                    let answer = client.change(context, requests).await?;
                    Ok(answer.and_then(|changed| {
                        if changed.outcomes.len() == expected {
                            Ok((changed.seen, (changed.seen.index, changed.outcomes)))
                        } else {
                            Err(Rejection::Bad("it answers another number of changes than was sent".into()))
                        }
                    }))
                }
            }
        };
        let result = self.core.obtain(Aim::Leader, batch.deadline, send).await;
        let mut outcomes = match result {
            Ok((index, outcomes)) => {
                self.acknowledged.fetch_max(index.0, Ordering::AcqRel);
                self.core.note_made(&requests, index);
                outcomes
            }
            Err(failed) => vec![Err(as_error(&failed)); requests.len()],
        };
        {
            let mut queue = self.queue.lock();
            queue.under_way -= 1;
            requests.iter().for_each(|r| queue.numbers.done(r.seq));
        }
        for (count, answer) in batch.callers {
            let rest = outcomes.split_off(count);
            // A caller that stopped waiting is fine.
            let _ = answer.send(outcomes);
            outcomes = rest;
        }
        self.pump();
    }
}

impl Queue {
    /// The next request, if one may start now. Whole calls only, each of which fits.
    fn next_batch(&mut self, core: &Core) -> Option<Batch> {
        let oldest = self.waiting.front()?.since;
        if self.under_way >= REQUESTS_MAX || self.count < WORTH_ANOTHER * self.under_way {
            return None;
        }
        // The leader keeps only so many outcomes: no number may be further from the oldest open one.
        let room = (OUTCOMES_KEPT_MAX as u64).saturating_sub(self.numbers.span()) as usize;
        let mut calls = 0;
        let (mut count, mut bytes) = (0, 0);
        for call in &self.waiting {
            let (more, larger) = (count + call.changes.len(), bytes + call.bytes);
            if more > room.min(CHANGES_PER_ENTRY_MAX) || (calls > 0 && larger > REQUEST_MAX_BYTES) {
                break;
            }
            (calls, count, bytes) = (calls + 1, more, larger);
        }
        if calls == 0 {
            return None;
        }
        let first = self.numbers.take(count as u64);
        let done_below = self.numbers.done_below();
        let mut requests = Vec::with_capacity(count);
        let mut callers = Vec::with_capacity(calls);
        for call in self.waiting.drain(..calls) {
            callers.push((call.changes.len(), call.answer));
            for (now, change) in call.changes {
                let seq = first + requests.len() as u64;
                requests.push(Request { session: core.session, seq, done_below, now, change });
            }
        }
        self.count -= count;
        self.under_way += 1;
        let deadline = (oldest + core.config.io_timeout).max(Instant::now() + LAST_CHANCE);
        Some(Batch { requests, deadline, callers })
    }
}

/// How many of the first changes go into one request, and their bytes.
fn fitting(changes: &[(Time, Change)]) -> (usize, usize) {
    let (mut count, mut bytes) = (0, 0);
    for (_, change) in changes.iter().take(CHANGES_PER_ENTRY_MAX) {
        let more = CHANGE_BYTES + carried_bytes(change);
        if count > 0 && bytes + more > REQUEST_MAX_BYTES {
            break;
        }
        (count, bytes) = (count + 1, bytes + more);
    }
    (count, bytes)
}

fn carried_bytes(change: &Change) -> usize {
    match change {
        Change::Make { target, xattrs, .. } => {
            target.len() + xattrs.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>()
        }
        Change::SetXattr { name, value, .. } => name.len() + value.len(),
        Change::Release { inos } => inos.len() * 10,
        Change::OpenSession { holder, .. } => holder.len(),
        _ => 0,
    }
}

/// What an application sees of a failure.
pub fn as_error(failed: &Failed) -> FsError {
    match failed {
        Failed::Refused(Rejection::Full) => FsError::NoSpace,
        Failed::Refused(rejection) => {
            tracing::error!("a server refuses a request for good: {rejection}");
            FsError::Io
        }
        Failed::Late | Failed::NoSession => FsError::Io,
    }
}
