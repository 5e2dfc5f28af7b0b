//! The mount. Arrows: `fuse -> vfs <- cluster`; the programs wire them.

pub mod cli;
pub mod cluster;
pub mod fuse;
pub mod vfs;
