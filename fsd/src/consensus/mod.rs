//! Agreement on one log among all servers and the witness: Raft, as in Ongaro's dissertation (2014), with pre-vote
//! (section 9.6), leadership transfer (3.10), leases (6.4.1), and the additions that docs/PROTOCOL.md numbers: servers
//! that may have forgotten entries do not vote, entries that fence are synced first, the witness leads only to hand
//! over. Knows nothing of files: entries are bytes.
//!
//! | room | what is in it |
//! |---|---|
//! | [`core`] | what to do at each message, time-out and proposal: pure, time passed in |
//! | `election`, `leading`, `following`, `reach` | its parts |
//! | [`log`] | the contract of the log's storage; [`log_disk`] and [`log_memory`] |
//! | [`keep`] | how much of it is kept |
//! | [`pieces`] | in which order those of a snapshot are taken |
//! | [`node`] | the core with its timers, messages and waiting callers: acts |

pub mod core;
mod election;
pub mod following;
pub mod keep;
mod leading;
pub mod lives;
pub mod log;
#[cfg(test)]
mod log_conformance;
pub mod log_disk;
pub mod log_memory;
pub mod node;
#[cfg(test)]
mod node_tests;
pub mod pieces;
mod reach;
mod segment;
pub mod short_log;
#[cfg(test)]
mod tests;
pub mod timing;
