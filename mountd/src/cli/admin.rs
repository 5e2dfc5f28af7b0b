//! Asking servers through their admin service, for the commands that need no mount session.

use raidfs_common::config::Config;
use raidfs_common::id::ServerId;
use raidfs_common::rpc::admin::AdminServiceClient;
use raidfs_common::rpc::{Hello, PROTOCOL_VERSION, Service, Speaker};
use raidfs_common::wire::{self, ConnectError};
use std::time::{Duration, Instant};
use tarpc::context::Context;
use tokio::runtime::Runtime;

/// A runtime for one command: it waits on the network and computes nothing.
pub fn runtime() -> Runtime {
    let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
    built.expect("a runtime needs only a few descriptors, which a program that just began has")
}

/// A connection to a server's admin service.
pub async fn connect(config: &Config, to: ServerId, timeout: Duration) -> Result<AdminServiceClient, ConnectError> {
    let address = config.address(to).expect("asked for a server of this configuration");
    let hello = Hello {
        version: PROTOCOL_VERSION,
        cluster: config.cluster_id(),
        cluster_name: config.cluster.clone(),
        speaker: Speaker::Client,
        to,
        service: Service::Admin,
    };
    let wire = wire::connect(address, &hello, timeout).await?;
    Ok(AdminServiceClient::new(tarpc::client::Config::default(), wire).spawn())
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
    runtime().block_on(async { connect(config, to, PATIENCE).await.map(|_| ()) })
}
