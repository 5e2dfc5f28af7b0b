//! Rows kept decoded, bounded in bytes. Two generations stand in for least-recently-used: what is looked up moves to
//! the young one; when that is full, the old one is dropped and the young one takes its place. Knows nothing of what is
//! newer than the store; that is the overlay's business.

use super::rows::Row;
use parking_lot::Mutex;
use std::collections::HashMap;

/// Parts that are locked, filled and emptied each by itself, so that dropping an old generation takes no time to speak of.
const SHARDS: usize = 64;

/// A bounded set of decoded rows.
pub struct Cache {
    shards: Vec<Mutex<Generations>>,
    generation_max_bytes: usize,
}

#[derive(Default)]
struct Generations {
    young: HashMap<Vec<u8>, Row>,
    young_bytes: usize,
    old: HashMap<Vec<u8>, Row>,
}

/// What a row takes in memory besides its bytes: key and value in the map, the map's slack, the allocator's.
const ROW_OVERHEAD_BYTES: usize = 2 * (size_of::<Row>() + size_of::<Vec<u8>>());

fn cost(key: &[u8], row: &Row) -> Option<usize> {
    let more = match row {
        Row::Inode(_) | Row::Entry(_) => 0,
        Row::Target(bytes) | Row::Xattr(bytes) => bytes.len(),
        // Read by scans or kept by the state machine itself: no use in keeping them.
        _ => return None,
    };
    Some(ROW_OVERHEAD_BYTES + key.len() + more)
}

impl Generations {
    fn insert(&mut self, key: Vec<u8>, row: Row, cost: usize, max_bytes: usize) {
        if self.young_bytes + cost > max_bytes {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        // A value that is replaced may have been of another size.
        let before = self.young.get(&key).and_then(|row| self::cost(&key, row)).unwrap_or_default();
        self.young.insert(key, row);
        self.young_bytes += cost;
        self.young_bytes -= before;
    }
}

impl Cache {
    /// Keeps at most about `max_bytes`.
    pub fn new(max_bytes: usize) -> Cache {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Cache { shards, generation_max_bytes: max_bytes / 2 / SHARDS }
    }

    /// Keys differ most in their last bytes.
    fn shard(&self, key: &[u8]) -> &Mutex<Generations> {
        let mix = key.iter().rev().take(8).fold(0usize, |mix, byte| mix.wrapping_mul(31).wrapping_add((*byte).into()));
        &self.shards[mix % SHARDS]
    }

    /// The row under `key`, if it is kept.
    pub fn get(&self, key: &[u8]) -> Option<Row> {
        let mut both = self.shard(key).lock();
        if let Some(row) = both.young.get(key) {
            return Some(row.clone());
        }
        let (key, row) = both.old.remove_entry(key)?;
        let cost = cost(&key, &row)?;
        both.insert(key, row.clone(), cost, self.generation_max_bytes);
        Some(row)
    }

    /// Keeps a row that was read from the store.
    pub fn insert(&self, key: Vec<u8>, row: &Row) {
        if let Some(cost) = cost(&key, row) {
            self.shard(&key).lock().insert(key, row.clone(), cost, self.generation_max_bytes);
        }
    }

    /// The row under `key` changed: keeps its new value, or forgets it.
    pub fn replace(&self, key: &[u8], row: Option<&Row>) {
        let mut both = self.shard(key).lock();
        both.old.remove(key);
        match row.and_then(|row| Some((cost(key, row)?, row))) {
            Some((cost, row)) => both.insert(key.to_vec(), row.clone(), cost, self.generation_max_bytes),
            None => {
                if let Some(row) = both.young.remove(key) {
                    both.young_bytes -= cost(key, &row).unwrap_or_default();
                }
            }
        }
    }

    /// Rows kept.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        let count = |shard: &Mutex<Generations>| {
            let both = shard.lock();
            both.young.len() + both.old.len()
        };
        self.shards.iter().map(count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use raidfs_common::attr::FileKind;
    use raidfs_common::id::Ino;

    fn entry(n: u64) -> (Vec<u8>, Row) {
        let row = super::super::rows::EntryRow { ino: Ino(n), kind: FileKind::File, cookie: n };
        (n.to_be_bytes().to_vec(), Row::Entry(row))
    }

    #[test]
    fn it_is_bounded_and_keeps_what_is_looked_up() {
        let (key, row) = entry(0);
        let each = cost(&key, &row).unwrap();
        let cache = Cache::new(each * 100 * SHARDS);
        cache.insert(key.clone(), &row);
        for n in 1..100_000 {
            let (other, row) = entry(n);
            cache.insert(other, &row);
            assert!(cache.get(&key).is_some(), "it was looked up a moment ago");
        }
        assert!(cache.len() <= 100 * SHARDS);
        assert!(cache.get(&1u64.to_be_bytes()).is_none());
    }

    #[test]
    fn a_replaced_row_is_never_seen_again() {
        let cache = Cache::new(1 << 20);
        let (key, row) = entry(1);
        cache.insert(key.clone(), &row);
        cache.replace(&key, Some(&entry(2).1));
        assert_eq!(cache.get(&key), Some(entry(2).1));
        cache.replace(&key, None);
        assert_eq!(cache.get(&key), None);
    }

    #[test]
    fn values_that_become_larger_and_smaller_are_counted_as_they_are() {
        let cache = Cache::new(1 << 20);
        let row = |bytes: usize| Row::Xattr(vec![1; bytes].into());
        for bytes in [10, 1000, 100, 2000] {
            cache.insert(b"key".to_vec(), &row(bytes));
        }
        cache.replace(b"key", Some(&row(3000)));
        assert_eq!(cache.shard(b"key").lock().young_bytes, cost(b"key", &row(3000)).unwrap());
        cache.replace(b"key", None);
        assert_eq!(cache.shard(b"key").lock().young_bytes, 0);
    }
}
