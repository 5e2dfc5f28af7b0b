//! Asking servers through their admin service, for the commands that need no mount session.

use crate::cluster::survey::connect_admin;
use raidfs_common::config::Config;
use raidfs_common::id::ServerId;
use raidfs_common::wire::ConnectError;
use std::time::{Duration, Instant};
use tarpc::context::Context;
use tokio::runtime::Runtime;

/// A runtime for one command: it waits on the network and computes nothing.
pub fn runtime() -> Runtime {
    let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
    built.expect("a runtime needs only a few descriptors, which a program that just began has")
}

/// How long the server has to answer.
pub fn within(timeout: Duration) -> Context {
    let mut context = tarpc::context::current();
    context.deadline = Instant::now() + timeout;
    context
}

/// Whether a server answers at all.
pub fn answers(config: &Config, to: ServerId) -> Result<(), ConnectError> {
    const PATIENCE: Duration = Duration::from_millis(500);
    runtime().block_on(async { connect_admin(config, to, PATIENCE).await.map(drop) })
}
