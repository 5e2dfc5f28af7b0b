//! The rows as the state machine sees them: what is not flushed yet, in front of rows kept decoded, in front of the
//! store. Applying never writes to the store; flushing gathers all changed rows into one batch, so that a row that
//! changes a thousand times a second is written once, and the store always holds the state after some entry.
//!
//! Who flushes does it in three steps: [`Overlay::begin_flush`] (memory only), [`FlushBatch::write`] (anywhere, while
//! changes and reads go on), [`Overlay::end_flush`].

use super::cache::Cache;
use super::fault::Fault;
use super::rows::{AppliedRow, Key, Row};
use super::store::{Batch, Reader, Scan, Store, prefix_end};
use std::collections::BTreeMap;
use std::collections::btree_map;
use std::iter::Peekable;
use std::sync::Arc;

/// Changed rows by key; None is a row that is gone.
type Changed = BTreeMap<Vec<u8>, Option<Row>>;

/// A changed row that was not flushed yet.
struct Slot {
    row: Option<Row>,
    /// Neither the store nor a flush under way has a row under this key.
    fresh: bool,
}

/// Rows in memory in front of a store.
pub struct Overlay {
    changed: BTreeMap<Vec<u8>, Slot>,
    flushing: Option<Arc<Changed>>,
    cache: Cache,
    store: Arc<dyn Store>,
}

/// All rows that changed since the last flush.
pub struct FlushBatch {
    rows: Arc<Changed>,
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

    /// Writes the rows to the store; blocks on the disk. They survive the end of the process, and the machine's once
    /// the store is synced. After an error the namespace must be given up.
    pub fn write(&self) -> Result<(), Fault> {
        let rows = self.rows.iter().map(|(key, row)| (key.clone(), row.as_ref().map(Row::encode))).collect();
        self.store.write(Batch { rows })
    }
}

impl Overlay {
    /// Nothing changed yet in front of `store`; at most about `cache_bytes` of rows are kept decoded.
    pub fn new(store: Arc<dyn Store>, cache_bytes: usize) -> Overlay {
        Overlay { changed: BTreeMap::new(), flushing: None, cache: Cache::new(cache_bytes), store }
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
        self.flushing.as_ref()?.get(key).map(Option::as_ref)
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
                let fresh = !self.flushing.as_ref().is_some_and(|rows| rows.contains_key(vacant.key()));
                vacant.insert(Slot { row: Some(row), fresh });
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
        let rows: Changed = std::mem::take(&mut self.changed).into_iter().map(|(key, slot)| (key, slot.row)).collect();
        let rows = Arc::new(rows);
        self.flushing = Some(rows.clone());
        Some(FlushBatch { rows, store: self.store.clone(), applied })
    }

    /// The batch is written: the store has the rows now.
    pub fn end_flush(&mut self, batch: FlushBatch) {
        self.flushing = None;
        match Arc::try_unwrap(batch.rows) {
            Ok(rows) => {
                for (key, row) in rows {
                    self.cache.replace(key, row);
                }
            }
            Err(rows) => {
                for (key, row) in rows.iter() {
                    self.cache.replace(key.clone(), row.clone());
                }
            }
        }
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
    flushing: Option<Peekable<btree_map::Range<'a, Vec<u8>, Option<Row>>>>,
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
            let value = match (from_changed, from_flushing) {
                (Some((_, slot)), _) => slot.row.as_ref().map(Value::Row),
                (None, Some((_, row))) => row.as_ref().map(Value::Row),
                (None, None) => from_store.map(|(_, value)| Value::Stored(value)),
            };
            if let Some(value) = value {
                return Some(Ok((key, value)));
            }
        }
    }
}
