//! What a server leaves behind when it stops in order with every change whole: how many chunks it had. The next life knows
//! by it that no block is half changed, so that one which does not match its sum has been damaged since; and that chunks
//! which are not there any more are missing. Format in docs/DISK_FORMAT.md, "Settled".

use crate::sealed;
use std::io;
use std::path::Path;

/// Reads what the last life left at `path`; None: it ended otherwise, or it cannot be told. Blocking.
pub fn read(path: &Path) -> Option<u64> {
    sealed::read(path).ok().flatten()
}

/// From now on changes are under way: durable when this returns. Blocking.
pub fn remove(path: &Path) -> io::Result<()> {
    sealed::remove(path)
}

/// Every change is whole and durable, and so many chunks are there. Blocking; the last thing of a life but its clean end.
pub fn write(path: &Path, chunks: u64) -> io::Result<()> {
    sealed::write(path, &chunks)
}
