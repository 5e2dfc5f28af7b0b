//! Sends changes of the namespace in order and takes their outcomes in. Acts; the order is [`super::change_queue`]'s,
//! the cache [`super::tree`]'s.

use super::Shared;
use super::change_queue::{BATCH_MAX, ChangeQueue, Next, Queued, Ticket};
use super::cluster::Cluster;
use super::late::LateNames;
use super::predict::{Prediction, predict};
use super::stop::unless_stopped;
use super::tree::{Limits, Named, Tree};
use raidfs_common::attr::{Attr, FileKind};
use raidfs_common::error::FsError;
use raidfs_common::id::Ino;
use raidfs_common::namespace::{Change, Done, Outcome, RenameMode, SetAttr};
use raidfs_common::time::Time;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::oneshot;

/// Changes that are answered before they are made; beyond it, who makes more waits.
const WAITING_MAX: usize = 4096;
/// Changes that nobody waits for wait so long for more: far below what a power cut may cost anyway, and long enough
/// that a program which makes thousands a second fills its requests.
const LINGER: Duration = Duration::from_millis(3);

/// Who waits for an outcome.
pub(super) type Waiter = oneshot::Sender<Outcome>;

/// The cache and the queue, under one lock: what the cache shows and what was submitted are in one order.
#[derive(Debug)]
pub(super) struct Names {
    pub tree: Tree,
    pub queue: ChangeQueue<Waiter>,
    /// The first error of a change that was answered before it was made; told at the next sync.
    pub late: LateNames,
    /// Inodes whose access times have moved.
    pub read: Vec<Ino>,
    /// Orphans of which nobody could be told that they are not open any more. Told again from time to time: they take room.
    pub unreleased: Vec<Ino>,
    /// Changes that were answered and could not be made, since they were last spoken of.
    unkept: usize,
    /// What the kernel must forget.
    doubtful: Vec<Doubtful>,
}

/// Something that the kernel was told and that is in doubt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Doubtful {
    /// What a directory has under a name.
    Name(Ino, Vec<u8>),
    /// An inode's attributes and contents.
    Inode(Ino),
}

impl Names {
    /// Nothing known, nothing to be sent.
    pub fn new(limits: Limits) -> Names {
        Names {
            tree: Tree::new(limits),
            queue: ChangeQueue::default(),
            late: LateNames::default(),
            read: Vec::new(),
            unreleased: Vec::new(),
            unkept: 0,
            doubtful: Vec::new(),
        }
    }

    /// Puts a change into the queue whose effect the cache shows already (`expected`), or will show once it has its
    /// outcome. It pins what it touches.
    pub fn submit(
        &mut self,
        now: Time,
        change: Change,
        touched: Vec<Ino>,
        expected: bool,
        waiter: Option<Waiter>,
    ) -> Ticket {
        self.tree.pin(&touched);
        if !only_times(&change) {
            for ino in &touched {
                if let Some(node) = self.tree.node(*ino) {
                    node.changed = self.queue.last() + 1;
                    node.listed = false;
                }
            }
        }
        self.queue.push(now, change, touched, expected, waiter)
    }

    /// Submits that an orphan is not open any more; many together, where nothing else came between.
    pub fn release(&mut self, now: Time, ino: Ino) {
        match self.queue.newest() {
            Some(Change::Release { inos }) if inos.len() < BATCH_MAX => inos.push(ino),
            _ => {
                self.submit(now, Change::Release { inos: vec![ino] }, Vec::new(), true, None);
            }
        }
    }

    /// Whether a change of one inode, which the cache shows already, concerns no server: see [`super::tree::Node::alone`].
    fn stays_here(&mut self, touched: &[Ino]) -> bool {
        let [ino] = touched else { return false };
        let Some(node) = self.tree.node(*ino).filter(|node| node.has_ended()) else { return false };
        node.alone = true;
        true
    }

    fn settle(&mut self, queued: &Queued<Waiter>, outcome: &Outcome) {
        self.tree.unpin(&queued.touched);
        match outcome {
            Ok(done) => {
                let attrs: &[Attr] = if let Done::Attrs(attrs) = done { attrs } else { &[] };
                if queued.expected {
                    unpin_names(&mut self.tree, &queued.change);
                } else {
                    take_names(&mut self.tree, &queued.change, attrs);
                }
                for attr in attrs {
                    self.tree.settle(attr, queued.expected);
                    if let Some(node) = self.tree.node(attr.ino) {
                        node.changed = node.changed.max(if only_times(&queued.change) { 0 } else { queued.ticket });
                        node.listed &= queued.expected;
                    }
                }
            }
            Err(error) => {
                if queued.expected {
                    unpin_names(&mut self.tree, &queued.change);
                }
                if let Change::Release { inos } = &queued.change {
                    self.unreleased.extend(inos);
                    return;
                }
                if queued.expected && queued.waiter.is_none() {
                    if self.has_ended(queued, *error) {
                        return;
                    }
                    if !queued.is_unasked {
                        self.late.happened(&queued.touched, *error);
                        self.unkept += 1;
                    }
                }
                // What was refused has changed nothing, and was not shown; all else is in doubt.
                if queued.expected || *error == FsError::Io {
                    self.doubt(queued);
                }
            }
        }
    }

    /// Whether a change came too late for a file that was unlinked meanwhile and that nobody has open: bytes that were
    /// on their way when it ended are reported behind its end. Nobody can see the file, so nobody has to be told.
    fn has_ended(&mut self, queued: &Queued<Waiter>, error: FsError) -> bool {
        let [ino] = queued.touched.as_slice() else { return false };
        error == FsError::Stale && self.tree.node(*ino).is_none_or(|n| n.opens == 0)
    }

    /// Forgets all that a change was about, here and (later) in the kernel. With it goes how long a file has become that was
    /// written meanwhile: who syncs that hears of it.
    fn doubt(&mut self, queued: &Queued<Waiter>) {
        let mut grows = |ino: &Ino| self.tree.node(*ino).is_some_and(|node| node.written || node.blocks != 0);
        let written: Vec<Ino> = queued.touched.iter().copied().filter(|ino| grows(ino)).collect();
        if !written.is_empty() {
            self.late.happened(&written, FsError::Io);
        }
        for (parent, name) in names_of(&queued.change) {
            self.tree.forget_name(parent, name);
            self.doubtful.push(Doubtful::Name(parent, name.to_vec()));
        }
        for ino in &queued.touched {
            self.tree.distrust(*ino);
            self.doubtful.push(Doubtful::Inode(*ino));
        }
    }
}

impl<C: Cluster> Shared<C> {
    /// Makes a change, and returns the attributes of what it touched, first of the inode that it is about. If its
    /// outcome is certain it is only queued; else its outcome is waited for.
    pub(super) async fn change(self: &Arc<Self>, change: Change) -> Result<Vec<Attr>, FsError> {
        let now = self.now();
        self.change_at(now, change).await
    }

    /// The same with the time that it stamps.
    pub(super) async fn change_at(self: &Arc<Self>, now: Time, change: Change) -> Result<Vec<Attr>, FsError> {
        self.make_change(now, change, None).await
    }

    /// The same for a change by which the inode that was `found` loses a name.
    pub(super) async fn take_name(self: &Arc<Self>, change: Change, found: Option<Ino>) -> Result<Vec<Attr>, FsError> {
        let now = self.now();
        self.make_change(now, change, found).await
    }

    async fn make_change(
        self: &Arc<Self>,
        now: Time,
        change: Change,
        found: Option<Ino>,
    ) -> Result<Vec<Attr>, FsError> {
        unless_stopped(self.queue_room()).await?;
        let mut keeps = false;
        let synchronous = self.synchronous.load(Ordering::Relaxed);
        let (outcome, ticket, expected, about) = {
            let mut names = self.names.lock();
            let change = keeping_open(&mut names.tree, change, found);
            let about = synchronous.then(|| change.clone());
            match predict(&mut names.tree, now, &change) {
                Prediction::Refused(error) => return Err(error),
                Prediction::Made(touched) => {
                    let attrs = touched.iter().filter_map(|ino| names.tree.attr(*ino)).collect();
                    if names.stays_here(&touched) {
                        return Ok(attrs);
                    }
                    let (waiter, outcome) = match synchronous || self.options.strict {
                        true => Some(oneshot::channel()).unzip(),
                        false => (None, None),
                    };
                    (outcome, names.submit(now, change, touched, true, waiter), Some(attrs), about)
                }
                Prediction::Unsure => {
                    keeps = keeps_open(&change);
                    let touched = touched(&mut names.tree, &change);
                    let (waiter, outcome) = oneshot::channel();
                    (Some(outcome), names.submit(now, change, touched, false, Some(waiter)), None, about)
                }
            }
        };
        self.queued();
        let attrs = match outcome {
            None => expected.unwrap_or_default(),
            Some(outcome) => match outcome.await {
                Ok(Ok(Done::Attrs(attrs))) => {
                    if keeps {
                        self.release_closed(&attrs);
                    }
                    // What was foreseen is in the order in which it was asked for.
                    expected.unwrap_or(attrs)
                }
                Ok(Ok(_)) => expected.unwrap_or_default(),
                Ok(Err(error)) => return Err(error),
                Err(_) => return Err(FsError::Io),
            },
        };
        if let Some(change) = about
            && let Err(error) = self.names_stored(ticket).await
        {
            // It was made, which the kernel will not take it for.
            let names = names_of(&change).map(|(parent, name)| Doubtful::Name(parent, name.to_vec()));
            let inodes = attrs.iter().map(|attr| Doubtful::Inode(attr.ino));
            names.chain(inodes).for_each(|doubtful| drop(self.doubtful.send(doubtful)));
            return Err(error);
        }
        self.links_changed(attrs.iter().map(|attr| attr.ino)).await;
        Ok(attrs)
    }

    /// Releases what lost its last name while it was thought to be open, and has been closed before that was known.
    fn release_closed(self: &Arc<Self>, attrs: &[Attr]) {
        let is_open = |ino| self.names.lock().tree.node(ino).is_some_and(|node| node.opens > 0);
        for attr in attrs.iter().filter(|attr| attr.nlink == 0 && !is_open(attr.ino)) {
            self.release_orphan(attr.ino);
        }
    }

    /// Waits while very much is queued.
    async fn queue_room(&self) -> Result<(), FsError> {
        let old = {
            let names = self.names.lock();
            if names.queue.waiting() < WAITING_MAX {
                return Ok(());
            }
            names.queue.last() - (WAITING_MAX / 2) as Ticket
        };
        self.settled(old).await;
        Ok(())
    }

    /// Something was submitted: wakes who sends it, if need be.
    pub(super) fn queued(&self) {
        if self.names.lock().queue.must_wake() {
            self.queue_filled.notify_one();
        }
    }

    /// Somebody waits for everything up to `ticket`.
    pub(super) fn hurry(&self, ticket: Ticket) {
        self.names.lock().queue.hurry(ticket);
        self.queued();
    }

    /// Waits until everything up to `ticket` has its outcome.
    pub(super) async fn settled(&self, ticket: Ticket) {
        let mut settled = self.queue_settled.subscribe();
        if *settled.borrow_and_update() >= ticket {
            return;
        }
        self.hurry(ticket);
        let closed = settled.wait_for(|t| *t >= ticket).await.is_err();
        debug_assert!(!closed, "the sender lives as long as the vfs");
    }

    /// Sends batch after batch, for as long as the vfs is open.
    pub(super) async fn send_changes(self: Arc<Self>) {
        let mut lingered = false;
        loop {
            let next = self.names.lock().queue.next(std::mem::take(&mut lingered));
            let batch = match next {
                Next::Batch(batch) => batch,
                Next::Linger => {
                    // Woken or not, the moment is over.
                    let _ = tokio::time::timeout(LINGER, self.queue_filled.notified()).await;
                    lingered = true;
                    continue;
                }
                Next::Idle if self.is_closed() => return,
                Next::Idle => {
                    self.queue_filled.notified().await;
                    continue;
                }
            };
            let Some(last) = batch.last().map(|q| q.ticket) else { continue };
            let changes = batch.iter().map(|q| (q.now, q.change.clone())).collect();
            let mut outcomes = self.cluster.change(changes).await;
            // An answer for each, whatever the cluster says: nobody may wait for ever.
            outcomes.resize(batch.len(), Err(FsError::Io));
            let mut waiters = Vec::new();
            let mut placed = Vec::new();
            let (doubtful, unkept) = {
                let mut names = self.names.lock();
                for (mut queued, outcome) in batch.into_iter().zip(outcomes) {
                    names.settle(&queued, &outcome);
                    if let (Change::Make { kind: FileKind::File, ino, .. }, true) = (&queued.change, queued.expected) {
                        placed.push((*ino, first_attr(&outcome).map(|a| a.placement)));
                    }
                    if let Some(waiter) = queued.waiter.take() {
                        waiters.push((waiter, outcome));
                    }
                }
                names.queue.done(last);
                (std::mem::take(&mut names.doubtful), std::mem::take(&mut names.unkept))
            };
            if unkept > 0 {
                tracing::warn!("{unkept} changes of names that were answered could not be made");
            }
            for doubtful in doubtful {
                // Without a kernel, nobody has to forget anything.
                let _ = self.doubtful.send(doubtful);
            }
            for (ino, placement) in placed {
                self.placed(ino, placement);
            }
            for (waiter, outcome) in waiters {
                // Who has gone does not want to know.
                let _ = waiter.send(outcome);
            }
            self.queue_settled.send_replace(last);
        }
    }
}

fn first_attr(outcome: &Outcome) -> Option<&Attr> {
    match outcome {
        Ok(Done::Attrs(attrs)) => attrs.first(),
        _ => None,
    }
}

/// Changes that a power cut may undo although a sync has returned: times that move by themselves as a file is read and
/// written. A file without them is still whole.
fn only_times(change: &Change) -> bool {
    match change {
        // Those that a program sets come with the time of the last change.
        Change::SetAttr { set, .. } => SetAttr { atime: set.atime, ..SetAttr::default() } == *set,
        // Whoever submits it knows whether the file grew.
        Change::Wrote { .. } => true,
        _ => false,
    }
}

/// Whether what loses its last name by a change is to stay, as somebody has it open.
fn keeps_open(change: &Change) -> bool {
    matches!(
        change,
        Change::Unlink { keep: true, .. } | Change::Rmdir { keep: true, .. } | Change::Rename { keep: true, .. }
    )
}

/// The change, with its word on whether what loses its name is open and must live on. That is what the cache shows by now,
/// or, if it has had no room for the name, what was `found` before.
fn keeping_open(tree: &mut Tree, mut change: Change, found: Option<Ino>) -> Change {
    let (at, keep) = match &mut change {
        Change::Unlink { parent, name, keep } | Change::Rmdir { parent, name, keep } => ((*parent, name), keep),
        Change::Rename { new_parent, new_name, keep, .. } => ((*new_parent, new_name), keep),
        _ => return change,
    };
    let loses = match tree.named(at.0, at.1.as_bytes()) {
        Named::Is(ino) => Some(ino),
        Named::Absent => None,
        Named::Unknown => found,
    };
    if let Some(ino) = loses {
        *keep = tree.node(ino).is_some_and(|n| n.opens > 0);
    }
    change
}

/// The inodes that a change touches, as far as they are known.
fn touched(tree: &mut Tree, change: &Change) -> Vec<Ino> {
    let named = |tree: &mut Tree, parent: Ino, name: &[u8]| match tree.named(parent, name) {
        Named::Is(ino) => Some(ino),
        Named::Absent | Named::Unknown => None,
    };
    let mut inos = match change {
        Change::Make { parent, ino, .. } => vec![*ino, *parent],
        Change::Link { ino, parent, .. } => vec![*ino, *parent],
        Change::Unlink { parent, name, .. } | Change::Rmdir { parent, name, .. } => {
            let mut inos = vec![*parent];
            inos.extend(named(tree, *parent, name.as_bytes()));
            inos
        }
        Change::Rename { parent, name, new_parent, new_name, .. } => {
            let mut inos = vec![*parent, *new_parent];
            inos.extend(named(tree, *parent, name.as_bytes()));
            inos.extend(named(tree, *new_parent, new_name.as_bytes()));
            inos
        }
        Change::SetAttr { ino, .. }
        | Change::Wrote { ino, .. }
        | Change::SetXattr { ino, .. }
        | Change::RemoveXattr { ino, .. } => vec![*ino],
        Change::Release { .. }
        | Change::OpenSession { .. }
        | Change::EndSession { .. }
        | Change::GrantInos
        | Change::Pair { .. }
        | Change::Space { .. }
        | Change::RecoverSizes { .. }
        | Change::Witness { .. }
        | Change::MarkLost { .. }
        | Change::AcceptLoss { .. } => Vec::new(),
    };
    inos.sort_unstable();
    inos.dedup();
    tree.known(&inos)
}

/// Takes in what a change did to entries.
fn take_names(tree: &mut Tree, change: &Change, attrs: &[Attr]) {
    match change {
        Change::Make { parent, name, ino, kind, target, xattrs, .. } => {
            tree.name(*parent, name.as_bytes(), Some(*ino), 0);
            if let Some(attr) = attrs.iter().find(|a| a.ino == *ino) {
                let node = tree.born(*attr);
                node.xattrs = Some(Arc::new(xattrs.clone()));
                node.target = (*kind == FileKind::Symlink).then(|| target.clone());
            }
        }
        Change::Link { ino, parent, name } => tree.name(*parent, name.as_bytes(), Some(*ino), 0),
        Change::Unlink { parent, name, .. } | Change::Rmdir { parent, name, .. } => {
            tree.name(*parent, name.as_bytes(), None, 0);
        }
        Change::Rename { parent, name, new_parent, new_name, mode, .. } => {
            let replaced = tree.named(*new_parent, new_name.as_bytes());
            match (mode, replaced) {
                (RenameMode::Exchange, Named::Is(other)) => tree.name(*parent, name.as_bytes(), Some(other), 0),
                (RenameMode::Exchange, _) => tree.forget_name(*parent, name.as_bytes()),
                (RenameMode::Replace | RenameMode::NoReplace, _) => tree.name(*parent, name.as_bytes(), None, 0),
            }
            match attrs.first() {
                Some(moved) => tree.name(*new_parent, new_name.as_bytes(), Some(moved.ino), 0),
                None => tree.forget_name(*new_parent, new_name.as_bytes()),
            }
        }
        Change::SetXattr { ino, .. } | Change::RemoveXattr { ino, .. } => xattrs_in_doubt(tree, *ino, attrs),
        // An access control list has followed.
        Change::SetAttr { ino, set } if set.perm.is_some() => xattrs_in_doubt(tree, *ino, attrs),
        _ => {}
    }
}

/// How many extended attributes an inode has is known, and which is not.
fn xattrs_in_doubt(tree: &mut Tree, ino: Ino, attrs: &[Attr]) {
    if let Some(attr) = attrs.iter().find(|attr| attr.ino == ino) {
        tree.xattrs_changed(ino, attr.xattrs, None);
    }
}

/// The entries that a change is about.
fn names_of(change: &Change) -> impl Iterator<Item = (Ino, &[u8])> {
    let (first, second) = match change {
        Change::Make { parent, name, .. }
        | Change::Link { parent, name, .. }
        | Change::Unlink { parent, name, .. }
        | Change::Rmdir { parent, name, .. } => (Some((*parent, name.as_bytes())), None),
        Change::Rename { parent, name, new_parent, new_name, .. } => {
            (Some((*parent, name.as_bytes())), Some((*new_parent, new_name.as_bytes())))
        }
        _ => (None, None),
    };
    first.into_iter().chain(second)
}

fn unpin_names(tree: &mut Tree, change: &Change) {
    for (parent, name) in names_of(change) {
        tree.unpin_name(parent, name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vfs::testing::empty_file;

    /// What is kept for the next sync after the size of a file was reported and the file was gone.
    fn told(opens: u32) -> (Result<(), FsError>, usize) {
        let mut names = Names::new(Limits { nodes: 10, entries: 10 });
        let ino = Ino(7);
        names.tree.born(empty_file(ino)).opens = opens;
        let change = Change::Wrote { ino, cut_gen: 0, size: 1, blocks: 1, mtime: Time::default() };
        names.submit(Time::default(), change, vec![ino], true, None);
        let Next::Batch(batch) = names.queue.next(true) else { panic!("nothing to be sent") };
        names.settle(&batch[0], &Err(FsError::Stale));
        (names.late.tell(ino, &mut LateNames::default().opened(ino)), names.unkept)
    }

    #[test]
    fn the_size_of_a_file_that_was_unlinked_meanwhile_is_no_error_to_anybody() {
        assert_eq!(told(0), (Ok(()), 0));
        assert_eq!(told(1), (Err(FsError::Stale), 1), "who has it open was promised that it lives on");
    }
}
