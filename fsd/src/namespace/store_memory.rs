//! The store's contract in memory, for tests and simulation. A view shares the rows until the next write.

use super::fault::Fault;
use super::store::{Batch, Reader, Scan, Store};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// Rows in memory; a clone is the same store, which stands in for opening it again.
#[derive(Clone, Default)]
pub struct MemoryStore {
    rows: Arc<Mutex<Arc<Rows>>>,
}

/// The rows at one moment.
struct View(Arc<Rows>);

impl Reader for View {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        Ok(self.0.get(key).cloned())
    }

    fn scan(&self, from: &[u8], to: &[u8]) -> Scan<'_> {
        if from >= to {
            return Box::new(std::iter::empty());
        }
        Box::new(self.0.range(from.to_vec()..to.to_vec()).map(|(k, v)| Ok((k.clone(), v.clone()))))
    }
}

/// How many rows a live scan fetches at a time.
const SCAN_STEP: usize = 64;

impl Reader for MemoryStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        Ok(self.rows.lock().get(key).cloned())
    }

    fn scan(&self, from: &[u8], to: &[u8]) -> Scan<'_> {
        // In steps, so that neither the lock nor the rows are held while the caller works.
        let (mut next, to) = (Some(from.to_vec()), to.to_vec());
        let step = move || {
            let from = next.take()?;
            if from >= to {
                return None;
            }
            let rows = self.rows.lock();
            let page: Vec<_> =
                rows.range(from..to.clone()).take(SCAN_STEP).map(|(k, v)| Ok((k.clone(), v.clone()))).collect();
            if let (SCAN_STEP, Some(Ok((last, _)))) = (page.len(), page.last()) {
                next = Some([last.as_slice(), &[0]].concat());
            }
            Some(page)
        };
        Box::new(std::iter::from_fn(step).flatten())
    }
}

impl Store for MemoryStore {
    fn write(&self, batch: Batch) -> Result<(), Fault> {
        let mut rows = self.rows.lock();
        let rows = Arc::make_mut(&mut rows);
        for (key, value) in batch.rows {
            match value {
                Some(value) => rows.insert(key, value),
                None => rows.remove(&key),
            };
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), Fault> {
        Ok(())
    }

    fn view(&self) -> Box<dyn Reader> {
        Box::new(View(self.rows.lock().clone()))
    }

    fn disk_bytes(&self) -> u64 {
        self.rows.lock().iter().map(|(k, v)| (k.len() + v.len()) as u64).sum()
    }
}
