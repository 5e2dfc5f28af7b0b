//! For tests of what happens once a log does not reach back far enough: logs of this process that keep next to nothing.

use std::sync::atomic::{AtomicBool, Ordering};

/// A segment that is so large is followed by a new one, in bytes.
const SEGMENT_BYTES: u64 = 4 << 10;
/// Entries kept behind those that could be dropped.
const ENTRIES: u64 = 8;

static SHORT: AtomicBool = AtomicBool::new(false);

/// From now on the logs of this process are short.
pub fn begin() {
    SHORT.store(true, Ordering::Relaxed);
}

/// How large a segment becomes that has so many bytes as a rule.
pub(super) fn bytes_of_a_segment(usual: u64) -> u64 {
    if SHORT.load(Ordering::Relaxed) { SEGMENT_BYTES } else { usual }
}

/// How many entries are kept where so many are as a rule.
pub(crate) fn entries_kept(usual: u64) -> u64 {
    if SHORT.load(Ordering::Relaxed) { ENTRIES } else { usual }
}
