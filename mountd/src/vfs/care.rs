//! What is done from time to time: access times are sent, and the room on the disks is looked at.

use super::Shared;
use super::cluster::Cluster;
use raidfs_common::namespace::{Answer, Query};
use raidfs_common::pair::Space;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How often.
const EVERY: Duration = Duration::from_secs(5);
/// The same while the disks are nearly full.
const EVERY_SCARCE: Duration = Duration::from_millis(500);
/// With less room than this on a pair, writes are not answered before they are stored: what is kept here might not
/// find room any more.
const SCARCE_BYTES: u64 = 512 << 20;

impl<C: Cluster> Shared<C> {
    /// Looks after everything every few seconds, for as long as the vfs is open.
    pub(super) async fn look_after(self: Arc<Self>) {
        loop {
            if let Ok(Answer::Totals { space, .. }) = self.cluster.ask(Query::Totals).await {
                self.scarce.store(is_scarce(&space), Ordering::Relaxed);
            }
            self.send_atimes();
            let pause = if self.scarce.load(Ordering::Relaxed) { EVERY_SCARCE } else { EVERY };
            let closing = self.closing.notified();
            if self.is_closed() || tokio::time::timeout(pause, closing).await.is_ok() {
                return;
            }
        }
    }
}

fn is_scarce(space: &[Space]) -> bool {
    space.iter().any(|space| space.total > 0 && space.free < SCARCE_BYTES)
}
