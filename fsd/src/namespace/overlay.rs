//! The rows as the state machine sees them: what is not flushed yet, in front of rows kept decoded, in front of the
//! store. Applying never writes to the store; flushing gathers all changed rows into one batch, so that a row that
//! changes a thousand times a second is written once, and the store always holds the state after some entry.
//!
//! Who flushes does it in three steps: [`Overlay::begin_flush`], [`FlushBatch::write`] (on a thread of its own, while
//! changes and reads go on), [`Overlay::end_flush`]. The first and the last take no longer for many rows than for few.

use super::cache::Cache;
use super::fault::Fault;
use super::rows::{AppliedRow, Key, Row};
use super::store::{Batch, Reader, Scan, Store, prefix_end};
use std::collections::BTreeMap;
use std::collections::btree_map;
use std::iter::Peekable;
use std::sync::Arc;

/// Changed rows by key.
type Changed = BTreeMap<Vec<u8>, Slot>;

/// A changed row that was not flushed yet.
struct Slot {
    /// None is a row that is gone.
    row: Option<Row>,
    /// Once the flush under way is done, the store has no row under this key.
    fresh: bool,
}

/// Rows in memory in front of a store.
pub struct Overlay {
    changed: Changed,
    flushing: Option<Arc<Changed>>,
    cache: Arc<Cache>,
    store: Arc<dyn Store>,
}

/// All rows that changed since the last flush.
pub struct FlushBatch {
    rows: Arc<Changed>,
    cache: Arc<Cache>,
    store: Arc<dyn Store>,
    applied: AppliedRow,
}

impl FlushBatch {
    /// The entry that the rows are the state after. The batch may be written once the log is on this server's disk
    /// up to there (so that after a power cut the store is never ahead of the log).
    pub fn applied(&self) -> AppliedRow {
        self.applied
    }

    /// How many rows there are to write.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Writes the rows to the store, and keeps them decoded; blocks on the disk. They survive the end of the process, and the machine's once
    /// the store is synced. After an error the namespace must be given up.
    pub fn write(&self) -> Result<(), Fault> {
        let rows = self.rows.iter().map(|(key, slot)| (key.clone(), slot.row.as_ref().map(Row::encode))).collect();
        self.store.write(Batch { rows })?;
        // Until the flush ends, readers find these rows in the batch and never ask the store: nobody puts an older
        // row in place of one of these.
        for (key, slot) in self.rows.iter() {
            self.cache.replace(key, slot.row.as_ref());
        }
        Ok(())
    }
}

impl Overlay {
    /// Nothing changed yet in front of `store`; at most about `cache_bytes` of rows are kept decoded.
    pub fn new(store: Arc<dyn Store>, cache_bytes: usize) -> Overlay {
        Overlay { changed: BTreeMap::new(), flushing: None, cache: Arc::new(Cache::new(cache_bytes)), store }
    }

    /// The store below.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Rows that changed since the last flush began.
    pub fn changed_rows(&self) -> usize {
        self.changed.len()
    }

    /// The row under `key`.
    pub fn row(&self, key: &Key) -> Result<Option<Row>, Fault> {
        let key = key.encode();
        if let Some(row) = self.unflushed(&key) {
            return Ok(row.cloned());
        }
        if let Some(row) = self.cache.get(&key) {
            return Ok(Some(row));
        }
        let Some(value) = self.store.get(&key)? else { return Ok(None) };
        let row = Row::decode(&key, &value)?;
        self.cache.insert(key, &row);
        Ok(Some(row))
    }

    /// What memory says of `key`: Some(None) is a row that is gone, None that the store must be asked.
    fn unflushed(&self, key: &[u8]) -> Option<Option<&Row>> {
        if let Some(slot) = self.changed.get(key) {
            return Some(slot.row.as_ref());
        }
        self.flushing.as_ref()?.get(key).map(|slot| slot.row.as_ref())
    }

    /// Sets the row under `key`, whether there is one or not.
    pub fn put(&mut self, key: &Key, row: Row) {
        match self.changed.entry(key.encode()) {
            btree_map::Entry::Occupied(mut slot) => slot.get_mut().row = Some(row),
            btree_map::Entry::Vacant(vacant) => {
                vacant.insert(Slot { row: Some(row), fresh: false });
            }
        }
    }

    /// Sets the row under `key`, which is known to have none. Should it be deleted before it is flushed, the store
    /// never hears of it.
    pub fn insert(&mut self, key: &Key, row: Row) {
        match self.changed.entry(key.encode()) {
            btree_map::Entry::Occupied(mut slot) => slot.get_mut().row = Some(row),
            btree_map::Entry::Vacant(vacant) => {
                // A flush under way may hold this key too, but only to delete it: nothing is left of it afterwards.
                vacant.insert(Slot { row: Some(row), fresh: true });
            }
        }
    }

    /// Deletes the row under `key`, if there is one.
    pub fn delete(&mut self, key: &Key) {
        match self.changed.entry(key.encode()) {
            btree_map::Entry::Occupied(slot) if slot.get().fresh => {
                slot.remove();
            }
            btree_map::Entry::Occupied(mut slot) => slot.get_mut().row = None,
            btree_map::Entry::Vacant(vacant) => {
                vacant.insert(Slot { row: None, fresh: false });
            }
        }
    }

    /// The rows whose key begins with `prefix` and is at least `from`, ascending.
    pub fn rows(&self, prefix: &[u8], from: &[u8]) -> impl Iterator<Item = Result<(Key, Row), Fault>> + '_ {
        self.merge(from.max(prefix), &prefix_end(prefix)).map(|merged| {
            let (key, value) = merged?;
            let row = match value {
                Value::Row(row) => row.clone(),
                Value::Stored(bytes) => Row::decode(&key, &bytes)?,
            };
            Ok((Key::decode(&key)?, row))
        })
    }

    fn merge(&self, from: &[u8], to: &[u8]) -> Merge<'_> {
        let (store, bounds) = if from < to {
            (self.store.scan(from, to), (from.to_vec(), to.to_vec()))
        } else {
            (Box::new(std::iter::empty()) as Scan<'_>, (Vec::new(), Vec::new()))
        };
        let (from, to) = bounds;
        Merge {
            changed: self.changed.range(from.clone()..to.clone()).peekable(),
            flushing: self.flushing.as_ref().map(|rows| rows.range(from..to).peekable()),
            store: store.peekable(),
        }
    }

    /// Takes all changed rows as one batch, or None if nothing changed. The last batch must have been ended.
    pub fn begin_flush(&mut self, applied: AppliedRow) -> Option<FlushBatch> {
        assert!(self.flushing.is_none(), "one flush ends before the next begins");
        if self.changed.is_empty() {
            return None;
        }
        let rows = Arc::new(std::mem::take(&mut self.changed));
        self.flushing = Some(rows.clone());
        Some(FlushBatch { rows, cache: self.cache.clone(), store: self.store.clone(), applied })
    }

    /// The batch is written: the store has the rows now. The batch itself is better dropped by the thread that wrote it.
    pub fn end_flush(&mut self, batch: &FlushBatch) {
        debug_assert!(self.flushing.as_ref().is_some_and(|rows| Arc::ptr_eq(rows, &batch.rows)));
        self.flushing = None;
    }
}

/// All rows, changed ones as they will be stored.
impl Reader for Overlay {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        match self.unflushed(key) {
            Some(row) => Ok(row.map(Row::encode)),
            None => self.store.get(key),
        }
    }

    fn scan(&self, from: &[u8], to: &[u8]) -> Scan<'_> {
        Box::new(self.merge(from, to).map(|merged| {
            let (key, value) = merged?;
            Ok(match value {
                Value::Row(row) => (key, row.encode()),
                Value::Stored(bytes) => (key, bytes),
            })
        }))
    }
}

/// A row on its way out of a merge.
enum Value<'a> {
    Row(&'a Row),
    Stored(Vec<u8>),
}

/// Three sources by key; of those that have one, the newest speaks.
struct Merge<'a> {
    changed: Peekable<btree_map::Range<'a, Vec<u8>, Slot>>,
    flushing: Option<Peekable<btree_map::Range<'a, Vec<u8>, Slot>>>,
    store: Peekable<Scan<'a>>,
}

impl<'a> Iterator for Merge<'a> {
    type Item = Result<(Vec<u8>, Value<'a>), Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let changed = self.changed.peek().map(|(key, _)| key.as_slice());
            let flushing = self.flushing.as_mut().and_then(|rows| rows.peek()).map(|(key, _)| key.as_slice());
            let stored = match self.store.peek() {
                Some(Err(_)) => return self.store.next().and_then(|row| row.err().map(Err)),
                Some(Ok((key, _))) => Some(key.as_slice()),
                None => None,
            };
            let key = [changed, flushing, stored].into_iter().flatten().min()?.to_vec();
            let from_store = match stored == Some(&key) {
                true => self.store.next().and_then(Result::ok),
                false => None,
            };
            let from_flushing = match &mut self.flushing {
                Some(rows) => rows.next_if(|(k, _)| **k == key),
                None => None,
            };
            let from_changed = self.changed.next_if(|(k, _)| **k == key);
            let value = match from_changed.or(from_flushing) {
                Some((_, slot)) => slot.row.as_ref().map(Value::Row),
                None => from_store.map(|(_, value)| Value::Stored(value)),
            };
            if let Some(value) = value {
                return Some(Ok((key, value)));
            }
        }
    }
}
