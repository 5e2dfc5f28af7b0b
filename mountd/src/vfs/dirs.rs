//! Open directories and reading them, at offsets that stay valid while entries come and go.

use super::cluster::Cluster;
use super::files::OpenMode;
use super::handles::Handle;
use super::late::Told;
use super::tree::{Named, Stamp};
use super::{Shared, Vfs};
use parking_lot::Mutex;
use raidfs_common::attr::{Attr, FileKind};
use raidfs_common::error::FsError;
use raidfs_common::id::Ino;
use raidfs_common::namespace::{Answer, Entry, Query};
use std::sync::Arc;

/// Entries of one question to the cluster.
const PAGE_ENTRIES: u32 = 1024;
/// `.` and `..` stand before the first entry.
const DOTS: u64 = 2;

/// An entry as a reader of the directory sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// Its name.
    pub name: Vec<u8>,
    /// The inode.
    pub ino: Ino,
    /// What that is.
    pub kind: FileKind,
    /// Where to go on reading behind it.
    pub next: u64,
    /// Its attributes, if they were asked for. None for `.` and `..`.
    pub attr: Option<Attr>,
}

/// An open handle of a directory.
pub(super) struct OpenDir {
    pub ino: Ino,
    pub mode: OpenMode,
    /// It had been removed when it was opened, by who still stood in it: it is empty, and the servers know nothing of it.
    pub gone: bool,
    /// What it was told of late errors of changes of names.
    pub told: Mutex<Told>,
    page: Mutex<Page>,
    reading: Mutex<Reading>,
}

/// How far one reading of a directory goes. What comes after it has begun stands behind all that was there: a reader who
/// renames or replaces what it reads would follow its own entries for ever.
#[derive(Clone, Copy, Default)]
struct Reading {
    /// Entries from this cookie on came later; None: not a page has been seen yet.
    end: Option<u64>,
    /// It goes on at an offset from here,
    from: u64,
    /// to here; elsewhere another one begins.
    to: u64,
}

impl OpenDir {
    /// A reader asks for what is at `offset`: another reading begins there, or the one under way goes on. The kernel may
    /// ask once more for the end of what it was given.
    fn read_from(&self, offset: u64) {
        let mut reading = self.reading.lock();
        let goes_on = offset != 0 && (reading.from..=reading.to).contains(&offset);
        let end = reading.end.filter(|_| goes_on);
        *reading = Reading { end, from: offset, to: offset };
        if !goes_on {
            // It knows of nothing that has come since.
            self.page.lock().valid = false;
        }
    }
}

/// What was fetched last.
#[derive(Clone, Default)]
struct Page {
    entries: Arc<Vec<Entry>>,
    /// It holds the entries behind this cookie,
    after: u64,
    /// and these are the last of the directory.
    end: bool,
    attrs: bool,
    asked: Stamp,
    valid: bool,
    /// All pages since the first cookie were fetched, and nothing has changed meanwhile: from then on.
    whole_since: Option<Stamp>,
    /// All entries that were there have lower cookies.
    next_cookie: u64,
}

impl<C: Cluster> Vfs<C> {
    /// Opens a directory; returns its handle.
    pub async fn opendir(&self, ino: Ino, mode: OpenMode) -> Result<u64, FsError> {
        let attr = self.0.getattr(ino).await?;
        if attr.kind != FileKind::Dir {
            return Err(FsError::NotDir);
        }
        let gone = attr.nlink == 0 && !self.0.is_open(ino);
        if let Some(node) = self.0.names.lock().tree.node(ino).filter(|_| !gone) {
            node.opens += 1;
        }
        let told = Mutex::new(self.0.names.lock().late.opened(ino));
        let dir = OpenDir { ino, mode, gone, told, page: Mutex::default(), reading: Mutex::default() };
        Ok(self.0.handles.lock().insert(Handle::Dir(Arc::new(dir))))
    }

    /// Gives entries from `offset` (0, or a [`DirEntry::next`]) to `each`, until it says that it has no more room
    /// (true), or the directory ends.
    pub async fn readdir(
        &self,
        handle: u64,
        offset: u64,
        attrs: bool,
        mut each: impl FnMut(DirEntry) -> bool + Send,
    ) -> Result<(), FsError> {
        let dir = self.0.handles.lock().dir(handle)?;
        if dir.gone {
            return Ok(());
        }
        self.0.read_by(dir.ino, dir.mode);
        dir.read_from(offset);
        if offset == 0 {
            self.0.begins_listing(dir.ino).await;
        }
        let mut each = |entry: DirEntry| {
            dir.reading.lock().to = entry.next;
            each(entry)
        };
        if offset < DOTS {
            let attr = self.0.getattr(dir.ino).await?;
            for (at, name, ino) in [(0, &b"."[..], dir.ino), (1, &b".."[..], attr.parent)] {
                let entry = DirEntry { name: name.to_vec(), ino, kind: FileKind::Dir, next: at + 1, attr: None };
                if at >= offset && each(entry) {
                    return Ok(());
                }
            }
        }
        let mut after = offset.saturating_sub(DOTS);
        loop {
            if dir.reading.lock().end.is_some_and(|end| after.saturating_add(1) >= end) {
                return Ok(());
            }
            let page = self.0.page(&dir, after, attrs).await?;
            let end = *dir.reading.lock().end.get_or_insert(page.next_cookie);
            let first = page.entries.partition_point(|e| e.cookie <= after);
            for entry in &page.entries[first..] {
                if entry.cookie >= end {
                    return Ok(());
                }
                let Some(mut found) = self.0.still_there(dir.ino, &page, entry).await? else { continue };
                found.attr = found.attr.map(|attr| self.0.with_unsent_blocks(attr));
                if each(found) {
                    return Ok(());
                }
            }
            match page.entries.last() {
                Some(last) if !page.end => after = last.cookie,
                _ => return Ok(()),
            }
        }
    }
}

impl<C: Cluster> Shared<C> {
    /// The page that holds the entries behind `after`.
    async fn page(self: &Arc<Self>, dir: &OpenDir, after: u64, attrs: bool) -> Result<Page, FsError> {
        let last = {
            let page = dir.page.lock();
            let last = page.entries.last().map_or(page.after, |e| e.cookie);
            let holds = page.after <= after && (after < last || page.end) && after != 0;
            if page.valid && holds && page.attrs >= attrs {
                return Ok(page.clone());
            }
            page.clone()
        };
        // The cluster must know of the changes that were answered here.
        let changed = self.names.lock().tree.node(dir.ino).map_or(0, |n| n.changed);
        self.settled(changed).await;
        let asked = self.names.lock().tree.stamp();
        let query = Query::ReadDir { ino: dir.ino, after, limit: PAGE_ENTRIES, attrs };
        let Answer::Entries { entries, end, next_cookie } = self.ask(query).await? else {
            return Err(FsError::Io);
        };
        let follows = last.valid && last.entries.last().is_some_and(|e| e.cookie == after);
        let whole_since = match after {
            0 => Some(asked),
            _ => last.whole_since.filter(|_| follows),
        };
        self.take_entries(dir.ino, &entries, asked, false);
        if let Some(since) = whole_since.filter(|_| end) {
            let mut names = self.names.lock();
            if names.tree.unchanged(dir.ino, since) {
                names.tree.set_complete(dir.ino, since);
            }
        }
        let page = Page { entries: Arc::new(entries), after, end, attrs, asked, valid: true, whole_since, next_cookie };
        *dir.page.lock() = page.clone();
        Ok(page)
    }

    /// An entry of a page as it is now; None if it has gone since. The kernel would believe in it for long.
    async fn still_there(self: &Arc<Self>, dir: Ino, page: &Page, entry: &Entry) -> Result<Option<DirEntry>, FsError> {
        let known = {
            let mut names = self.names.lock();
            let now = match names.tree.unchanged(dir, page.asked) {
                true => Named::Is(entry.ino),
                false => names.tree.named(dir, entry.name.as_bytes()),
            };
            match (now, entry.attr) {
                (Named::Absent, _) => return Ok(None),
                // The name means another inode by now, or nobody knows.
                (Named::Unknown, _) => None,
                (Named::Is(ino), _) if ino != entry.ino => None,
                (Named::Is(ino), Some(attr)) => {
                    Some(names.tree.attr(ino).or_else(|| names.tree.learn(&attr, page.asked)))
                }
                (Named::Is(ino), None) => Some(names.tree.attr(ino)),
            }
        };
        let Some(attr) = known else { return self.looked_up(dir, entry, page.attrs).await };
        let attr = match attr {
            None if page.attrs => match self.getattr(entry.ino).await {
                Ok(attr) => Some(attr),
                Err(FsError::Stale) => return Ok(None),
                Err(error) => return Err(error),
            },
            attr => attr,
        };
        let attr = attr.filter(|_| page.attrs);
        let name = entry.name.as_bytes().to_vec();
        Ok(Some(DirEntry { name, ino: entry.ino, kind: entry.kind, next: entry.cookie + DOTS, attr }))
    }

    async fn looked_up(self: &Arc<Self>, dir: Ino, entry: &Entry, attrs: bool) -> Result<Option<DirEntry>, FsError> {
        let attr = match self.lookup(dir, &entry.name).await {
            Ok(attr) => attr,
            Err(FsError::NotFound | FsError::Stale) => return Ok(None),
            Err(error) => return Err(error),
        };
        let name = entry.name.as_bytes().to_vec();
        let next = entry.cookie + DOTS;
        Ok(Some(DirEntry { name, ino: attr.ino, kind: attr.kind, next, attr: attrs.then_some(attr) }))
    }

    pub(super) fn closed_dir(self: &Arc<Self>, ino: Ino) {
        let orphan = match self.names.lock().tree.node(ino) {
            Some(node) => {
                node.opens = node.opens.saturating_sub(1);
                node.opens == 0 && node.attr.nlink == 0
            }
            None => false,
        };
        if orphan {
            self.release_orphan(ino);
        }
    }
}
