//! The cluster over the network.

pub mod balance;
pub mod hedge;
pub mod numbers;
pub mod retry;
pub mod router;
pub mod survey;
