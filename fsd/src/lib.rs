//! One storage server. Arrows between its rooms (nothing points back):
//!
//! ```text
//! server, witness -> everything below: build and wire the parts
//! serve   -> machine, consensus, replica, leader    decode, call, encode
//! leader  -> machine                                what the leader decides
//! machine -> namespace -> common only               the replicated state machine, pure
//! consensus                                         the log; knows nothing of files
//! replica -> chunk                                  mirrors kept alike; chunk bytes
//! ```
//!
//! What the chunk side knows of the names side stands on the [`board`]; nothing else goes between them.

pub mod board;
pub mod bookmark;
pub mod chunk;
pub mod cluster;
pub mod consensus;
pub mod cuts;
#[cfg(test)]
mod fake_peer;
pub mod identity;
mod joining;
pub mod leader;
mod lifeline;
pub mod machine;
pub mod namespace;
pub mod no_room;
mod own_copy;
pub mod peers;
pub mod ping;
pub mod replica;
mod sealed;
pub mod serve;
pub mod server;
mod settled;
pub mod signals;
pub mod stop;
mod sweep;
mod transport;
pub mod witness;
