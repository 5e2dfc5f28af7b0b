//! The cluster over the network.

pub mod survey;
