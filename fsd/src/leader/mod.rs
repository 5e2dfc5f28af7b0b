//! What the leader decides for the cluster, beyond the order of the log: whose copy is in sync, which sessions have
//! lapsed. It only proposes; the namespace has the last word.
//!
//! | room | what is in it |
//! |---|---|
//! | [`judgement`] | the decisions: pure, time passed in |
//! | [`admission`] | whose data directory is taken: pure |
//! | [`loss`] | whether a pair may be given up with all that only it has: pure |
//! | [`presence`] | what is said of who falls silent and is heard again: pure |
//! | [`room`] | what room the pairs have: pure |
//! | [`duties`] | the loop that carries them out while this server leads |
//! | [`sessions`] | leases of mount sessions; what is done when one ends without a word |

pub mod admission;
pub mod duties;
pub mod judgement;
pub mod loss;
mod presence;
pub mod room;
mod sessions;
