//! What several tests of commands need.

use raidfs_common::config::{Config, Durability};
use std::time::Duration;

/// A configuration of one pair and the witness.
pub fn one_pair() -> Config {
    let address = |port: u16| std::net::SocketAddr::from(([127, 0, 0, 1], port));
    Config {
        cluster: "c".into(),
        pairs: vec![[address(1), address(2)]],
        witness: address(3),
        durability: Durability::Relaxed,
        io_timeout: Duration::from_secs(1),
        scrub_every: None,
    }
}
