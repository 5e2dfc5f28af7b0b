//! Changes under way, counted by the epoch that they began under, so that what is older than an epoch can be waited for.

use parking_lot::Mutex;
use raidfs_common::id::Epoch;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;

/// The changes under way on this server.
#[derive(Debug)]
pub struct InFlight {
    by_epoch: Mutex<BTreeMap<Epoch, usize>>,
    /// The oldest epoch that has any; `u64::MAX` if there are none.
    oldest: watch::Sender<Epoch>,
}

/// A change under way; it ends by drop.
#[derive(Debug)]
pub struct UnderWay {
    all: Arc<InFlight>,
    epoch: Epoch,
}

const NONE: Epoch = Epoch(u64::MAX);

impl Default for InFlight {
    fn default() -> Self {
        InFlight { by_epoch: Mutex::default(), oldest: watch::Sender::new(NONE) }
    }
}

impl InFlight {
    /// A change begins.
    pub fn begin(self: &Arc<Self>, epoch: Epoch) -> UnderWay {
        let mut by_epoch = self.by_epoch.lock();
        *by_epoch.entry(epoch).or_default() += 1;
        self.publish(&by_epoch);
        UnderWay { all: self.clone(), epoch }
    }

    /// Waits until every change that began under an epoch below `epoch` has ended.
    pub async fn drained(&self, epoch: Epoch) {
        let mut oldest = self.oldest.subscribe();
        // The sender is `self`, so it cannot be gone.
        let _ = oldest.wait_for(|oldest| *oldest >= epoch).await;
    }

    fn publish(&self, by_epoch: &BTreeMap<Epoch, usize>) {
        let oldest = by_epoch.keys().next().copied().unwrap_or(NONE);
        self.oldest.send_if_modified(|was| std::mem::replace(was, oldest) != oldest);
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut by_epoch = self.all.by_epoch.lock();
        let count = by_epoch.get_mut(&self.epoch).expect("it was counted when it began");
        *count -= 1;
        if *count == 0 {
            by_epoch.remove(&self.epoch);
        }
        self.all.publish(&by_epoch);
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
}
