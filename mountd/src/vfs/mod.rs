//! The file system's operations, between the kernel's side and the cluster's.

pub mod cluster;
