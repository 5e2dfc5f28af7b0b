//! What is done from time to time: access times are sent, and the room on the disks is looked at.

use super::cluster::Cluster;
use super::{Atime, Shared};
use raidfs_common::attr::Attr;
use raidfs_common::id::Ino;
use raidfs_common::namespace::{Answer, Change, Query, SetAttr};
use raidfs_common::pair::Space;
use raidfs_common::time::Time;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How often.
const EVERY: Duration = Duration::from_secs(5);
/// The same while the disks are nearly full.
const EVERY_SCARCE: Duration = Duration::from_millis(500);
/// Access times that wait to be sent; beyond it they are sent at once.
const ATIMES_MAX: usize = 4096;
/// An access time is renewed when it is this old, in seconds, though nothing was changed.
const ATIME_OLD_SECS: i64 = 24 * 3600;
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

    /// Somebody read an inode: its access time moves if it is due.
    pub(super) fn accessed(&self, ino: Ino) {
        if self.options.atime == Atime::Off {
            return;
        }
        let mut names = self.names.lock();
        let Some(node) = names.tree.node(ino) else { return };
        if node.attr.nlink == 0 {
            return;
        }
        // Asking for the time costs more than seeing that it is not due.
        let surely = node.attr.atime <= node.attr.mtime || node.attr.atime <= node.attr.ctime;
        let now = self.now();
        if !surely && now.secs - node.attr.atime.secs < ATIME_OLD_SECS {
            return;
        }
        node.attr.atime = later(&node.attr, now);
        if !std::mem::replace(&mut node.read, true) {
            names.read.push(ino);
        }
        let many = names.read.len() >= ATIMES_MAX;
        drop(names);
        if many {
            self.send_atimes();
        }
    }

    /// Submits the access times that have moved.
    pub(super) fn send_atimes(&self) {
        let mut names = self.names.lock();
        for ino in std::mem::take(&mut names.read) {
            let Some(node) = names.tree.node(ino) else { continue };
            if !std::mem::take(&mut node.read) || node.attr.nlink == 0 {
                continue;
            }
            let set = SetAttr { atime: Some(node.attr.atime), ..SetAttr::default() };
            // Reading changes nothing else: not the inode's own time of change either.
            let ctime = node.attr.ctime;
            names.submit(ctime, Change::SetAttr { ino, set }, vec![ino], true, None);
        }
        drop(names);
        self.queued();
    }
}

/// An access time that is not due again at once: behind the last change.
fn later(attr: &Attr, now: Time) -> Time {
    now.max(attr.mtime).max(attr.ctime)
}

fn is_scarce(space: &[Space]) -> bool {
    space.iter().any(|space| space.total > 0 && space.free < SCARCE_BYTES)
}
