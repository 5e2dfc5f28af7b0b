//! [`super::ranges`] made awaitable: one queue for each file that somebody works on. A held range is released by drop,
//! and so is a place in the queue that is given up.

use super::ranges::{Mode, RangeQueue, Span, Ticket};
use parking_lot::Mutex;
use raidfs_common::id::Ino;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Between two looks at who waits for a range.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// All queues of a server.
#[derive(Debug, Default)]
pub struct Locks {
    files: Mutex<HashMap<Ino, Queue>>,
}

#[derive(Debug, Default)]
struct Queue {
    ranges: RangeQueue,
    waiting: BTreeMap<Ticket, oneshot::Sender<()>>,
}

/// A range that is held, or a place in its queue.
#[derive(Debug)]
pub struct Held {
    locks: Arc<Locks>,
    ino: Ino,
    ticket: Ticket,
}

impl Locks {
    /// Waits for a range of a file's blocks.
    pub async fn hold(self: &Arc<Self>, ino: Ino, span: Span, mode: Mode) -> Held {
        let (held, waits) = self.enter(ino, span, mode);
        if let Some(admitted) = waits {
            // The sender lives in the queue for as long as `held` does.
            let _ = admitted.await;
        }
        held
    }

    pub(super) fn enter(self: &Arc<Self>, ino: Ino, span: Span, mode: Mode) -> (Held, Option<oneshot::Receiver<()>>) {
        let mut files = self.files.lock();
        let queue = files.entry(ino).or_default();
        let (ticket, admitted) = queue.ranges.enter(span, mode);
        let waits = (!admitted).then(|| {
            let (wake, waits) = oneshot::channel();
            queue.waiting.insert(ticket, wake);
            waits
        });
        (Held { locks: self.clone(), ino, ticket }, waits)
    }
}

impl Held {
    /// Returns once somebody else has waited for this range, which is held, for so long.
    pub async fn waited_for(&self, patience: Duration) {
        let mut since = None;
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let waits = self.locks.files.lock().get(&self.ino).is_some_and(|q| q.ranges.is_waited_for(self.ticket));
            match (waits, since) {
                (false, _) => since = None,
                (true, None) => since = Some(Instant::now()),
                (true, Some(since)) if since.elapsed() >= patience => return,
                (true, Some(_)) => {}
            }
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut files = self.locks.files.lock();
        let queue = files.get_mut(&self.ino).expect("a queue lives as long as somebody stands in it");
        queue.waiting.remove(&self.ticket);
        for admitted in queue.ranges.leave(self.ticket) {
            if let Some(wake) = queue.waiting.remove(&admitted) {
                let _ = wake.send(());
            }
        }
        if queue.ranges.is_empty() {
            files.remove(&self.ino);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use raidfs_common::id::ChunkId;

    #[tokio::test]
    async fn a_waiter_that_gives_up_blocks_nobody() {
        let locks = Arc::new(Locks::default());
        let span = Span::chunk(ChunkId { ino: Ino(5), index: 0 });
        let first = locks.hold(Ino(5), span, Mode::Change).await;
        let (second, waits) = locks.enter(Ino(5), span, Mode::Change);
        let (_third, mut third_waits) = locks.enter(Ino(5), span, Mode::Change);
        assert!(waits.is_some());
        drop(second);
        assert!(third_waits.as_mut().unwrap().try_recv().is_err());
        drop(first);
        assert!(third_waits.unwrap().try_recv().is_ok());
        drop(_third);
        assert!(locks.files.lock().is_empty());
    }
}
