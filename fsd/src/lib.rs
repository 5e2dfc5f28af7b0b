//! One storage server. Arrows between its rooms (nothing points back):
//!
//! ```text
//! serve -> consensus -> (log of bytes; knows nothing of files)
//! serve -> namespace -> common only            the replicated state machine, pure
//! serve -> replica   -> chunk                   mirrors kept alike
//! namespace::store, consensus::log_disk, chunk::disk -> the file system
//! ```

pub mod board;
pub mod chunk;
pub mod consensus;
pub mod identity;
pub mod namespace;
pub mod peers;
pub mod replica;
pub mod serve;
