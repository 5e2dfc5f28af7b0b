//! The store's contract on disk, by fjall: one keyspace in one directory. The only place that mentions fjall.
//!
//! A batch goes to fjall's journal with write(2), all or nothing; a journal that the power cut tore is cut back to a
//! whole batch when it is opened. Memory is bounded by the block cache and by few, small tables in memory.

use super::fault::Fault;
use super::store::{Batch, Reader, Scan, Store};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable, Snapshot};
use std::path::{Path, PathBuf};

/// How much memory the store takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskOptions {
    /// Bytes of blocks kept from disk.
    pub cache_bytes: u64,
    /// Bytes of new rows that are gathered before they become a table on disk; a few such sets may exist at once.
    pub memtable_bytes: u64,
}

impl Default for DiskOptions {
    fn default() -> DiskOptions {
        DiskOptions { cache_bytes: 64 << 20, memtable_bytes: 16 << 20 }
    }
}

/// fjall's journals together take at most about this much disk: it bounds what opening must read again.
const JOURNALS_MAX_BYTES: u64 = 128 << 20;
/// The name of the one keyspace.
const ROWS: &str = "rows";

/// Rows in a directory of this server.
#[derive(Clone)]
pub struct DiskStore {
    database: Database,
    rows: Keyspace,
}

impl DiskStore {
    /// Opens the store in `directory`, which is made if it is not there. Fails if another process has it open, or if
    /// what is found is damaged; then nothing helps but [`DiskStore::wipe`].
    pub fn open(directory: &Path, options: DiskOptions) -> Result<DiskStore, Fault> {
        let open = || {
            let database = Database::builder(directory)
                .cache_size(options.cache_bytes)
                .max_journaling_size(JOURNALS_MAX_BYTES)
                .worker_threads(2)
                .open()?;
            let rows = database
                .keyspace(ROWS, || KeyspaceCreateOptions::default().max_memtable_size(options.memtable_bytes))?;
            Ok(DiskStore { database, rows })
        };
        // fjall reports most damage as an error, but asserts on some; either way this directory is not to be used.
        match raidfs_common::panics::caught(open) {
            // Another has it open; that says nothing about what is in it.
            Ok(Err(fjall::Error::Locked)) => Err(Fault::store("open", std::io::Error::from_raw_os_error(libc::EAGAIN))),
            Ok(opened) => opened.map_err(|error: fjall::Error| Fault::store("open", error)),
            Err(_) => Err(Fault::damaged(ROWS.as_bytes(), "made the store's library panic")),
        }
    }

    /// Removes the store in `directory`, which must not be open. Should it be cut short, a store that opens as
    /// damaged, half made or empty is left, never one with some rows missing.
    pub fn wipe(directory: &Path) -> Result<(), Fault> {
        let failed = |error| Fault::store("wipe", error);
        let aside: PathBuf = directory.with_extension("wiped");
        for (path, rename) in [(&aside, false), (&directory.to_path_buf(), true), (&aside, false)] {
            let result = if rename { std::fs::rename(path, &aside) } else { std::fs::remove_dir_all(path) };
            match result {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
                _ => {}
            }
        }
        Ok(())
    }
}

/// The rows at one moment; keeps the database open.
struct View {
    snapshot: Snapshot,
    store: DiskStore,
}

fn read(guard: fjall::Guard) -> Result<super::store::RawRow, Fault> {
    let (key, value) = guard.into_inner().map_err(|error| Fault::store("read", error))?;
    Ok((key.to_vec(), value.to_vec()))
}

impl Reader for View {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        let value = self.snapshot.get(&self.store.rows, key).map_err(|error| Fault::store("read", error))?;
        Ok(value.map(|value| value.to_vec()))
    }

    fn scan(&self, from: &[u8], to: &[u8]) -> Scan<'_> {
        if from >= to {
            return Box::new(std::iter::empty());
        }
        Box::new(self.snapshot.range(&self.store.rows, from..to).map(read))
    }
}

impl Reader for DiskStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        let value = self.rows.get(key).map_err(|error| Fault::store("read", error))?;
        Ok(value.map(|value| value.to_vec()))
    }

    fn scan(&self, from: &[u8], to: &[u8]) -> Scan<'_> {
        if from >= to {
            return Box::new(std::iter::empty());
        }
        Box::new(self.rows.range(from..to).map(read))
    }
}

impl Store for DiskStore {
    fn write(&self, batch: Batch) -> Result<(), Fault> {
        let mut writes = self.database.batch().durability(Some(PersistMode::Buffer));
        for (key, value) in batch.rows {
            match value {
                Some(value) => writes.insert(&self.rows, key, value),
                None => writes.remove(&self.rows, key),
            }
        }
        writes.commit().map_err(|error| Fault::store("write", error))
    }

    fn sync(&self) -> Result<(), Fault> {
        self.database.persist(PersistMode::SyncAll).map_err(|error| Fault::store("sync", error))
    }

    fn view(&self) -> Box<dyn Reader> {
        Box::new(View { snapshot: self.database.snapshot(), store: self.clone() })
    }

    fn disk_bytes(&self) -> u64 {
        self.database.disk_space().unwrap_or_default()
    }
}
