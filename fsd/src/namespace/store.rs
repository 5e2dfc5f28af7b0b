//! What the namespace asks of an ordered key-value store: the contract that every implementation keeps
//! (`store_conformance` is its test). Knows nothing of what the rows mean.

use super::fault::Fault;

/// A row as it is stored: key and value.
pub type RawRow = (Vec<u8>, Vec<u8>);

/// Rows in ascending order of their keys.
pub type Scan<'a> = Box<dyn Iterator<Item = Result<RawRow, Fault>> + 'a>;

/// Reading rows.
pub trait Reader: Send + Sync {
    /// The value under `key`.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Fault>;
    /// The rows from `from` (included) to `to` (excluded), ascending. What is written meanwhile may or may not be
    /// seen, unless this is a [`Store::view`].
    fn scan(&self, from: &[u8], to: &[u8]) -> Scan<'_>;
}

/// Rows to write and to delete, all of them or none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Keys with their new value, or None to delete them. A key occurs once.
    pub rows: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// An ordered key-value store. All calls may block on the disk.
pub trait Store: Reader {
    /// Writes a batch: readers see all of it or nothing, also after the process or the machine went down, and never
    /// without the batches before it. It survives the end of the process; the machine's only after [`Self::sync`].
    /// After an error nothing more may be written.
    fn write(&self, batch: Batch) -> Result<(), Fault>;
    /// Makes everything durable that was written.
    fn sync(&self) -> Result<(), Fault>;
    /// The rows as they are now, whatever is written afterwards.
    fn view(&self) -> Box<dyn Reader>;
    /// Bytes that the store takes on disk, about.
    fn disk_bytes(&self) -> u64;
}

/// The first key above all that begin with `prefix`; `prefix` is not all 0xff.
pub fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            break;
        }
    }
    end
}

/// Above every key of a row.
pub const KEYS_END: &[u8] = &[u8::MAX];
