//! Asking every server at once how it is. For tools: needs no session, no quorum and no leader, and is bounded in
//! time however much is broken.

use futures::future::join_all;
use raidfs_common::config::Config;
use raidfs_common::id::ServerId;
use raidfs_common::rpc::admin::{AdminServiceClient, ServerStatus};
use raidfs_common::rpc::{Hello, PROTOCOL_VERSION, Service, Speaker};
use raidfs_common::wire;
use std::time::{Duration, Instant};

/// A server that has not answered by then counts as not answering.
pub const SURVEY_PATIENCE: Duration = Duration::from_millis(700);

/// What a client says first to `server`.
pub fn hello(config: &Config, server: ServerId, service: Service) -> Hello {
    Hello {
        version: PROTOCOL_VERSION,
        cluster: config.cluster_id(),
        cluster_name: config.cluster.clone(),
        speaker: Speaker::Client,
        to: server,
        service,
    }
}

/// Connects to a server's admin service; `patience` bounds the connecting.
pub async fn connect_admin(
    config: &Config,
    server: ServerId,
    patience: Duration,
) -> Result<AdminServiceClient, wire::ConnectError> {
    let address = config.address(server).ok_or_else(|| {
        let text = format!("the configuration has no {server}");
        std::io::Error::new(std::io::ErrorKind::NotFound, text)
    })?;
    let transport = wire::connect(address, &hello(config, server, Service::Admin), patience).await?;
    let client = AdminServiceClient::new(tarpc::client::Config::default(), transport);
    // The dispatch ends with the connection, or once the client is dropped.
    tokio::spawn(async move {
        let _ = client.dispatch.await;
    });
    Ok(client.client)
}

/// Asks one server how it is; None if it does not answer within `patience`.
pub async fn status_of(config: &Config, server: ServerId, patience: Duration) -> Option<ServerStatus> {
    let ask = async {
        let client = connect_admin(config, server, patience).await.ok()?;
        let mut context = tarpc::context::current();
        context.deadline = Instant::now() + patience;
        client.status(context).await.ok()
    };
    tokio::time::timeout(patience, ask).await.ok().flatten()
}

/// Asks all servers and the witness (last) at once; returns within [`SURVEY_PATIENCE`].
pub async fn survey(config: &Config) -> Vec<(ServerId, Option<ServerStatus>)> {
    let ask = |server| async move { (server, status_of(config, server, SURVEY_PATIENCE).await) };
    join_all(config.voters().into_iter().map(ask)).await
}
