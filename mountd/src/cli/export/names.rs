//! The namespace out of a data directory that no server uses.
//!
//! Opening a store writes to it, so a copy is opened, and what the log has beyond it is applied to the copy. The log's
//! last entries may not have been acknowledged to anybody; nothing that was is missing.

use super::super::Failure;
use super::super::progress::{Progress, Unit};
use super::{Found, join};
use raidfs_common::attr::{Attr, FileKind};
use raidfs_common::id::{Ino, LogIndex};
use raidfs_common::limits::DIR_PAGE_ENTRIES;
use raidfs_common::namespace::{Answer, Command, Entry, Query};
use raidfs_fsd::consensus::log::LogStore;
use raidfs_fsd::consensus::log_disk::DiskLog;
use raidfs_fsd::identity::OfflineDir;
use raidfs_fsd::machine::stores::Stores;
use raidfs_fsd::namespace::Namespace;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Rows kept decoded in memory, in bytes.
const CACHE_BYTES: usize = 64 << 20;
/// Entries read from the log at a time.
const ENTRIES: usize = 256;

/// All names, for reading.
pub struct Names {
    namespace: Namespace,
    _copy: TempDir,
}

/// What belongs to an inode besides its attributes.
#[derive(Debug, Default)]
pub struct Extras {
    /// Where a symbolic link leads.
    pub target: Vec<u8>,
    /// Extended attributes.
    pub xattrs: Vec<(bytes::Bytes, bytes::Bytes)>,
}

impl Names {
    /// Opens a copy of the namespace in `dir`.
    pub fn open(dir: &OfflineDir) -> Result<Names, Failure> {
        let temporary = std::env::temp_dir();
        let copy = tempfile::Builder::new()
            .prefix("raidfs-export")
            .tempdir_in(&temporary)
            .map_err(Failure::file("make a directory for a copy of the names in", &temporary))?;
        let parts = ["names", "log"].map(|part| (dir.part(part), copy.path().join(part)));
        let mut total = 0;
        for (part, _) in &parts {
            total += bytes_in(part)?;
        }
        let mut progress = Progress::new("copying the names", Unit::Bytes, total);
        for (part, to) in &parts {
            copy_tree(part, to, &mut progress)?;
        }
        drop(progress);
        let names = copy.path().join("names");
        let stores = Stores::open(&names).map_err(Failure::file("open the copy of the names in", &names))?;
        let namespace = stores.existing(CACHE_BYTES)?.ok_or_else(|| Failure::NoFiles(dir.part("names")))?;
        let mut names = Names { namespace, _copy: copy };
        names.catch_up(&names._copy.path().join("log"))?;
        Ok(names)
    }

    /// Applies what the log has beyond the store.
    fn catch_up(&mut self, path: &Path) -> Result<(), Failure> {
        let failed = |source| Failure::File { action: "read the copy of the log in", path: path.to_owned(), source };
        let (log, _) = DiskLog::open(path).map_err(failed)?;
        let (applied, term) = self.namespace.applied();
        if applied < log.base().0 || log.term_at(applied) != Some(term) {
            // The store is from a state that another server sent, and the log begins elsewhere.
            return Ok(());
        }
        let entries = log.last().0.0.saturating_sub(applied.0);
        let mut progress = Progress::new("applying the log", Unit::Things("entries"), entries);
        let mut next = applied.next();
        while next <= log.last().0 {
            let entries = log.read(next, ENTRIES).map_err(failed)?;
            if entries.is_empty() {
                break;
            }
            for entry in entries {
                // An entry that cannot be read ends what is known.
                let Ok(command) = Command::of(&entry.data) else { return Ok(()) };
                self.namespace.apply(entry.index, entry.term, &command)?;
                next = entry.index.next();
                progress.add(1);
            }
        }
        Ok(())
    }

    /// The last log entry that is in it.
    pub fn applied(&self) -> LogIndex {
        self.namespace.applied().0
    }

    /// How many inodes there are.
    pub fn count(&self) -> u64 {
        let (directories, others) = self.namespace.counts();
        directories + others
    }

    /// How many pairs there are.
    pub fn pairs(&self) -> Vec<raidfs_common::pair::Pair> {
        self.namespace.pairs().to_vec()
    }

    fn ask(&self, query: Query) -> Result<Option<Answer>, Failure> {
        // A question about what is not there is answered by None: the caller passes over it.
        Ok(self.namespace.query(&query)?.ok())
    }

    /// An inode's attributes.
    pub fn attr(&self, ino: Ino) -> Result<Attr, Failure> {
        match self.ask(Query::GetAttr { ino })? {
            Some(Answer::Attr(attr)) => Ok(attr),
            _ => Err(Failure::NoInode(ino)),
        }
    }

    /// A symbolic link's target, and the extended attributes.
    pub fn extras(&self, attr: &Attr) -> Result<Extras, Failure> {
        let mut extras = Extras::default();
        if attr.kind == FileKind::Symlink
            && let Some(Answer::Bytes(target)) = self.ask(Query::ReadLink { ino: attr.ino })?
        {
            extras.target = target.to_vec();
        }
        if attr.xattrs > 0
            && let Some(Answer::Xattrs(list)) = self.ask(Query::Xattrs { ino: attr.ino })?
        {
            extras.xattrs = list;
        }
        Ok(extras)
    }

    /// Calls `visit` for every name below the root, a directory before what is in it.
    pub fn walk(&self, visit: &mut dyn FnMut(Found) -> Result<(), Failure>) -> Result<(), Failure> {
        let mut open: Vec<(Ino, PathBuf)> = vec![(Ino::ROOT, PathBuf::new())];
        while let Some((directory, path)) = open.pop() {
            let mut after = 0;
            loop {
                let (entries, end) = self.page(directory, after)?;
                for entry in &entries {
                    after = entry.cookie;
                    let path = join(&path, entry.name.as_bytes());
                    let attr = match entry.attr {
                        Some(attr) => attr,
                        None => self.attr(entry.ino)?,
                    };
                    if attr.kind == FileKind::Dir {
                        open.push((attr.ino, path.clone()));
                    }
                    visit(Found { path, attr })?;
                }
                if end || entries.is_empty() {
                    break;
                }
            }
        }
        Ok(())
    }

    fn page(&self, ino: Ino, after: u64) -> Result<(Vec<Entry>, bool), Failure> {
        let query = Query::ReadDir { ino, after, limit: DIR_PAGE_ENTRIES as u32, attrs: true };
        match self.ask(query)? {
            Some(Answer::Entries { entries, end, .. }) => Ok((entries, end)),
            _ => Ok((Vec::new(), true)),
        }
    }
}

/// The bytes of all files in a directory, however deep.
fn bytes_in(directory: &Path) -> Result<u64, Failure> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory).map_err(Failure::file("list", directory))? {
        let entry = entry.map_err(Failure::file("list", directory))?;
        let found = entry.metadata().map_err(Failure::file("look at", entry.path()))?;
        bytes += if found.is_dir() { bytes_in(&entry.path())? } else { found.len() };
    }
    Ok(bytes)
}

fn copy_tree(from: &Path, to: &Path, progress: &mut Progress) -> Result<(), Failure> {
    std::fs::create_dir_all(to).map_err(Failure::file("make", to))?;
    let entries = std::fs::read_dir(from).map_err(Failure::file("list", from))?;
    for entry in entries {
        let entry = entry.map_err(Failure::file("list", from))?;
        let (source, copy) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type().map_err(Failure::file("look at", &source))?.is_dir() {
            copy_tree(&source, &copy, progress)?;
        } else {
            progress.add(std::fs::copy(&source, &copy).map_err(Failure::file("copy", &source))?);
        }
    }
    Ok(())
}
