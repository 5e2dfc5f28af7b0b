//! Changes under way, each with the epoch that it began under, so that what is older than an epoch, or than now, can be
//! waited for.

use parking_lot::Mutex;
use raidfs_common::id::Epoch;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::watch;

/// The changes under way on this server.
#[derive(Debug)]
pub struct InFlight {
    inner: Mutex<Inner>,
    oldest: watch::Sender<Oldest>,
}

#[derive(Debug, Default)]
struct Inner {
    by_number: BTreeSet<u64>,
    by_epoch: BTreeMap<Epoch, usize>,
    next: u64,
}

/// The oldest that is under way; the highest numbers there are if nothing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Oldest {
    number: u64,
    epoch: Epoch,
}

/// A change under way; it ends by drop.
#[derive(Debug)]
pub struct UnderWay {
    all: Arc<InFlight>,
    number: u64,
    epoch: Epoch,
}

const NONE: Oldest = Oldest { number: u64::MAX, epoch: Epoch(u64::MAX) };

impl Default for InFlight {
    fn default() -> Self {
        InFlight { inner: Mutex::default(), oldest: watch::Sender::new(NONE) }
    }
}

impl InFlight {
    /// A change begins.
    pub fn begin(self: &Arc<Self>, epoch: Epoch) -> UnderWay {
        let mut inner = self.inner.lock();
        let number = inner.next;
        inner.next += 1;
        inner.by_number.insert(number);
        *inner.by_epoch.entry(epoch).or_default() += 1;
        self.publish(&inner);
        UnderWay { all: self.clone(), number, epoch }
    }

    /// Waits until every change that began under an epoch below `epoch` has ended.
    pub async fn drained(&self, epoch: Epoch) {
        self.until(|oldest| oldest.epoch >= epoch).await;
    }

    /// Waits until every change that has begun so far has ended.
    pub async fn ended(&self) {
        let next = self.inner.lock().next;
        self.until(|oldest| oldest.number >= next).await;
    }

    async fn until(&self, condition: impl Fn(&Oldest) -> bool) {
        // The sender is `self`, so it cannot be gone.
        let _ = self.oldest.subscribe().wait_for(condition).await;
    }

    fn publish(&self, inner: &Inner) {
        let number = inner.by_number.first().copied().unwrap_or(NONE.number);
        let epoch = inner.by_epoch.keys().next().copied().unwrap_or(NONE.epoch);
        let oldest = Oldest { number, epoch };
        self.oldest.send_if_modified(|was| std::mem::replace(was, oldest) != oldest);
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut inner = self.all.inner.lock();
        inner.by_number.remove(&self.number);
        let count = inner.by_epoch.get_mut(&self.epoch).expect("it was counted when it began");
        *count -= 1;
        if *count == 0 {
            inner.by_epoch.remove(&self.epoch);
        }
        self.all.publish(&inner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[test]
    fn only_what_is_older_is_waited_for() {
        let all = Arc::new(InFlight::default());
        let old = all.begin(Epoch(1));
        let new = all.begin(Epoch(2));
        assert!(all.drained(Epoch(1)).now_or_never().is_some());
        assert!(all.drained(Epoch(2)).now_or_never().is_none());
        drop(old);
        assert!(all.drained(Epoch(2)).now_or_never().is_some());
        assert!(all.drained(Epoch(3)).now_or_never().is_none());
        drop(new);
        assert!(all.drained(Epoch(3)).now_or_never().is_some());
    }

    #[test]
    fn what_begins_later_is_not_waited_for() {
        let all = Arc::new(InFlight::default());
        let first = all.begin(Epoch(1));
        let mut ended = Box::pin(all.ended());
        assert!(ended.as_mut().now_or_never().is_none());
        let _second = all.begin(Epoch(1));
        drop(first);
        assert!(ended.as_mut().now_or_never().is_some());
    }
}
