//! Access times: reads that are seen here move them; and the kernel is made to ask where it would answer a read by
//! itself that has to be seen. The rule is [`super::atime`]'s.
//!
//! The kernel answers reads from the pages that it has, and tells nobody. So when a file is opened for reading whose
//! access time is due, which happens once after each change, it is made to give up those pages, or those at which
//! most readers begin if there are many. The same goes for what it knows of a directory, and of a symbolic link's target.
//!
//! Never while somebody may write to the file. The kernel unlocks a page that a write has filled before it sends the write,
//! and drops it then as any other: who reads it meanwhile has the old bytes brought back, which stay in the cache behind
//! the write.

use super::atime::AtimeRule;
use super::cluster::Cluster;
use super::files::OpenMode;
use super::handles::Handle;
use super::{Shared, Vfs};
use raidfs_common::attr::FileKind;
use raidfs_common::id::Ino;
use raidfs_common::namespace::{Change, SetAttr};
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::Duration;
use tokio::sync::oneshot;

/// Access times that wait to be sent; beyond it they are sent at once.
const WAITING_MAX: usize = 4096;
/// Of a larger file the kernel keeps its pages but for both ends.
const WHOLE_BYTES: u64 = 1 << 20;
/// So much of each end.
const END_BYTES: u64 = 64 << 10;
/// The kernel is not waited for longer: an access time is not worth it.
const PATIENCE: Duration = Duration::from_millis(50);

/// What the kernel is to make of the pages that it has of what is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pages {
    /// They are as good as what is here.
    Keep,
    /// It drops them: the next read must be seen here.
    Drop,
    /// It asks for each read with this handle. Of an empty file it would not ask at all.
    Bypass,
}

/// The kernel is to forget an inode's attributes, and pages of it.
#[derive(Debug)]
pub struct Forget {
    /// Which inode.
    pub ino: Ino,
    /// Which bytes; may be none.
    pub range: Range<u64>,
    /// Also when nobody waits for it any more.
    pub even_late: bool,
    /// It has.
    pub done: oneshot::Sender<()>,
}

impl<C: Cluster> Vfs<C> {
    /// From now on this rule holds.
    pub fn set_atime_rule(&self, rule: AtimeRule) {
        *self.0.atime.lock() = rule;
    }

    /// What the kernel must drop, as it turns out; None the second time. Who takes it must serve it.
    pub fn forgets(&self) -> Option<mpsc::Receiver<Forget>> {
        let taken = self.0.forgets.lock().take();
        self.0.kernel_hears.store(taken.is_some(), Ordering::Release);
        taken
    }

    /// The same of what it must send before it drops it: each waits for the file's servers, so that none may wait for another.
    pub fn launders(&self) -> Option<mpsc::Receiver<Forget>> {
        self.0.launders.lock().take()
    }

    /// What the kernel is to do with its pages of what was opened under this handle just now.
    pub async fn pages(&self, handle: u64) -> Pages {
        let opened = self.0.handles.lock().get(handle);
        let (ino, mode, writers) = match opened {
            Ok(Handle::File(open)) => (open.file.ino, open.mode, open.file.data.lock().writable),
            // Half of it may have been read before the last change. The kernel would go on from there, and have its end of now behind
            // a beginning of then.
            Ok(Handle::Dir(dir)) if !self.0.is_listed_again(dir.ino) => return Pages::Drop,
            Ok(Handle::Dir(dir)) => (dir.ino, dir.mode, 0),
            Err(_) => return Pages::Keep,
        };
        if mode.quiet || !mode.reads {
            return Pages::Keep;
        }
        let rule = *self.0.atime.lock();
        let attr = match self.0.names.lock().tree.attr(ino) {
            Some(attr) if rule.is_due(&attr, || self.0.now()) => attr,
            _ => return Pages::Keep,
        };
        match attr.kind {
            // What is read with this handle may be seen by nobody: an access time is worth less than the bytes. Past the kernel's
            // pages it would be seen, but a mapping of such a handle drops them.
            FileKind::File if writers > u32::from(mode.writes) => Pages::Keep,
            FileKind::File if attr.size == 0 && !mode.writes => Pages::Bypass,
            FileKind::File if attr.size > WHOLE_BYTES => {
                // Late it could be of a file that is written to by then.
                self.0.forget_in_time(ino, 0..END_BYTES).await;
                self.0.forget_in_time(ino, attr.size.saturating_sub(END_BYTES)..attr.size).await;
                Pages::Keep
            }
            _ => Pages::Drop,
        }
    }
}

impl<C: Cluster> Shared<C> {
    /// Somebody read an inode: its access time moves if it is due. Says whether it has.
    pub(super) fn accessed(&self, ino: Ino) -> bool {
        let rule = *self.atime.lock();
        let mut names = self.names.lock();
        let Some(node) = names.tree.node(ino) else { return false };
        if !rule.is_due(&node.attr, || self.now()) {
            return false;
        }
        node.attr.atime = self.now();
        if !std::mem::replace(&mut node.read, true) {
            names.read.push(ino);
        }
        let many = names.read.len() >= WAITING_MAX;
        drop(names);
        if many {
            self.send_atimes();
        }
        true
    }

    /// A directory is opened: whether it was before, and has not changed since.
    fn is_listed_again(&self, ino: Ino) -> bool {
        self.names.lock().tree.node(ino).is_some_and(|node| std::mem::replace(&mut node.listed, true))
    }

    /// A directory is read from its beginning. What the kernel kept of an earlier reading that was left half way, before the
    /// last change, it would take for the beginning of this one.
    pub(super) async fn begins_listing(&self, ino: Ino) {
        let changed = match self.names.lock().tree.node(ino) {
            Some(node) if !node.listed => node.changed,
            _ => return,
        };
        if self.forget(ino, 0..u64::MAX).await
            && let Some(node) = self.names.lock().tree.node(ino)
        {
            node.listed |= node.changed == changed;
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
            names.queue.newest_is_unasked();
        }
        drop(names);
        self.queued();
    }

    /// A symbolic link's target was handed out; the kernel keeps it.
    pub(super) fn link_read(&self, ino: Ino) {
        self.accessed(ino);
        if let Some(node) = self.names.lock().tree.node(ino) {
            node.link_cached = true;
        }
    }

    /// These inodes were changed: the kernel is to ask again for the targets of links among them.
    pub(super) async fn links_changed(&self, inos: impl Iterator<Item = Ino>) {
        let rule = *self.atime.lock();
        let due: Vec<Ino> = {
            let mut names = self.names.lock();
            inos.filter(|ino| {
                let Some(node) = names.tree.node(*ino).filter(|node| node.link_cached) else { return false };
                let due = rule.is_due(&node.attr, || self.now());
                node.link_cached = !due;
                due
            })
            .collect()
        };
        for ino in due {
            self.forget(ino, 0..u64::MAX).await;
        }
    }

    /// A directory has another parent: the kernel, which keeps what it has read of a directory until that changes, is to ask
    /// again for what `..` is.
    pub(super) async fn forget_parent(&self, dir: Ino) {
        self.forget(dir, 0..u64::MAX).await;
    }

    /// Has the kernel send what was changed through mappings in this range of a file, and waits until it is here. Only for
    /// who is waited for by none of those that send it: not under a hold, nor while the kernel keeps pages locked for it.
    pub(super) async fn launder(&self, ino: Ino, range: Range<u64>) {
        if !self.kernel_hears.load(Ordering::Acquire) || range.is_empty() {
            return;
        }
        let (done, sent) = oneshot::channel();
        if self.to_launder.send(Forget { ino, range, even_late: false, done }).is_ok() {
            // An error says that the kernel is not told any more: the mount ends.
            let _ = sent.await;
        }
    }

    /// The same of all that may have been changed through mappings of a file.
    pub(super) async fn launder_mapped(&self, ino: Ino) {
        let mapped = self.files.lock().get(&ino).is_some_and(|file| file.data.lock().mappable > 0);
        if mapped {
            self.launder(ino, 0..u64::MAX).await;
        }
    }

    /// Has the kernel forget an inode's attributes and these bytes of it, and waits until it has, though not for long. Says
    /// whether it has.
    async fn forget(&self, ino: Ino, range: Range<u64>) -> bool {
        self.has_forgotten(ino, range, true).await
    }

    /// The same; if it is late it is not done any more.
    async fn forget_in_time(&self, ino: Ino, range: Range<u64>) -> bool {
        self.has_forgotten(ino, range, false).await
    }

    async fn has_forgotten(&self, ino: Ino, range: Range<u64>, even_late: bool) -> bool {
        let (done, forgotten) = oneshot::channel();
        let hears = self.kernel_hears.load(Ordering::Acquire);
        if !hears || self.to_forget.send(Forget { ino, range, even_late, done }).is_err() {
            return true;
        }
        matches!(tokio::time::timeout(PATIENCE, forgotten).await, Ok(Ok(())))
    }

    /// Somebody reads with a handle that was opened in this mode.
    pub(super) fn read_by(&self, ino: Ino, mode: OpenMode) -> bool {
        !mode.quiet && self.accessed(ino)
    }

    /// Bytes were copied out of a file without the kernel's taking it for a read.
    pub(super) async fn copied(&self, ino: Ino, mode: OpenMode) {
        if self.read_by(ino, mode) {
            self.forget(ino, 0..0).await;
        }
    }
}
