//! The page at the end of a file. Behind the end there is nothing; but a program that has the page mapped can store bytes
//! there, and they must not be in the file once that grows. A local disk clears them then. The kernel clears nothing for
//! FUSE: so it is given zeros for its page.
//!
//! *Invariant:* a call that makes a file longer is answered when the kernel's page at its old end has zeros behind that; or
//! when the page could not be had, as somebody kept it locked.

use super::cluster::Cluster;
use super::files::{File, FileData};
use super::{Shared, Vfs};
use raidfs_common::id::Ino;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{LazyLock, mpsc};
use std::time::Duration;
use tokio::sync::oneshot;

/// A page that somebody has locked is not waited for longer.
const PATIENCE: Duration = Duration::from_millis(50);
/// One that a write is to fill is locked by it for as long as this is waited for, unless the kernel had it whole.
const FILLED_PATIENCE: Duration = Duration::from_millis(10);

/// The kernel is to have zeros for a part of a page, if it has the page.
#[derive(Debug)]
pub struct Clear {
    /// Of which file.
    pub ino: Ino,
    /// Which bytes, of one page.
    pub range: Range<u64>,
    /// How long to wait for who has the page locked.
    pub patience: Duration,
    /// How it ended.
    pub done: oneshot::Sender<Cleared>,
}

/// Whether the kernel has zeros there. If not, it will not have them any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cleared {
    /// It has, or has no such page.
    Yes,
    /// Somebody has the page locked.
    Locked,
    /// It could not be asked.
    Unasked,
}

/// Bytes of the kernel's pages.
pub static PAGE_BYTES: LazyLock<u64> = LazyLock::new(|| {
    // SAFETY: no memory is involved.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
});

impl FileData {
    /// The kernel asks for bytes up to `end`: it may keep the page that has the last of them.
    pub(super) fn asked(&mut self, end: u64) {
        self.asked_up_to = self.asked_up_to.max(end);
    }

    /// Whether the kernel may keep the page in which the file ends. What was stored behind the end may be in it also when
    /// nobody has it mapped any more: before Linux 6.17 it is there after the page was written back, too.
    fn tail_is_kept(&self, size: u64) -> bool {
        self.asked_up_to >= size && !size.is_multiple_of(*PAGE_BYTES)
    }
}

impl<C: Cluster> Vfs<C> {
    /// What the kernel has to clear, as it turns out; None the second time. Who takes it must serve it.
    pub fn clears(&self) -> Option<mpsc::Receiver<Clear>> {
        self.0.clears.lock().take()
    }
}

impl<C: Cluster> Shared<C> {
    /// Whether a write that begins at `offset` makes bytes of the file out of what may be in its last page.
    pub(super) fn bares_tail(&self, file: &File, offset: u64) -> bool {
        let state = file.data.lock();
        if state.asked_up_to == 0 {
            return false;
        }
        let size = self.names.lock().tree.node(file.ino).map_or(offset, |node| node.attr.size);
        offset > size && state.tail_is_kept(size)
    }

    /// The file ended where `gap` begins, and is longer now; up to where `gap` ends nobody has written. What is in the kernel's
    /// page there is cleared. Only under a call during which the kernel lets nobody else make the file longer.
    pub(super) async fn clear_tail(&self, file: &File, gap: Range<u64>) {
        self.clear_tail_within(file, gap, PATIENCE).await;
    }

    /// The same under a write that begins where `gap` ends.
    pub(super) async fn clear_tail_before(&self, file: &File, gap: Range<u64>) {
        let fills_page = gap.end < gap.start.next_multiple_of(*PAGE_BYTES);
        let patience = if fills_page { FILLED_PATIENCE } else { PATIENCE };
        if self.clear_tail_within(file, gap, patience).await == Cleared::Locked && fills_page {
            // Most likely by the write, as the kernel has no whole page, which nobody has mapped then. The next one is not to
            // wait for nothing.
            file.data.lock().asked_up_to = 0;
        }
    }

    async fn clear_tail_within(&self, file: &File, gap: Range<u64>, patience: Duration) -> Cleared {
        let range = gap.start..gap.end.min(gap.start.next_multiple_of(*PAGE_BYTES));
        if range.is_empty() || !file.data.lock().tail_is_kept(gap.start) || !self.kernel_hears.load(Ordering::Acquire) {
            return Cleared::Yes;
        }
        let (done, cleared) = oneshot::channel();
        // An error says that the kernel is not told any more: the mount ends.
        match self.to_clear.send(Clear { ino: file.ino, range, patience, done }) {
            Ok(()) => cleared.await.unwrap_or(Cleared::Unasked),
            Err(_) => Cleared::Unasked,
        }
    }
}
