//! Asking every server at once how it is. For tools: needs no session, no quorum and no leader, and is bounded in
//! time however much is broken.

use futures::future::join_all;
use raidfs_common::config::Config;
use raidfs_common::id::ServerId;
use raidfs_common::rpc::admin::{AdminServiceClient, ServerStatus};
use raidfs_common::rpc::{Hello, PROTOCOL_VERSION, Service, Speaker};
use raidfs_common::wire::{self, ConnectError};
use std::borrow::Borrow;
use std::time::{Duration, Instant};

/// A server that has not answered by then counts as not answering.
pub const SURVEY_PATIENCE: Duration = Duration::from_millis(700);

/// Why a server does not say how it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// It is not reached, or says nothing in time.
    Silent,
    /// Who answers at its address wants nothing of us: it is of another cluster or version, or no server. In its words.
    Refused(String),
}

/// The answer that knows most of the names: of a server that hears a quorum if there is one, the furthest of those.
pub fn knows_most<S: Borrow<ServerStatus>>(answers: impl IntoIterator<Item = S>) -> Option<S> {
    let with_names = answers.into_iter().filter(|answer| !answer.borrow().pairs.is_empty());
    with_names.max_by_key(|answer| (answer.borrow().quorum, answer.borrow().applied))
}

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
) -> Result<AdminServiceClient, ConnectError> {
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
    ask(config, server, patience).await.ok()
}

async fn ask(config: &Config, server: ServerId, patience: Duration) -> Result<ServerStatus, NoAnswer> {
    let asked = async {
        let client = connect_admin(config, server, patience).await.map_err(|error| match error {
            ConnectError::Refused(_) | ConnectError::Foreign => NoAnswer::Refused(error.to_string()),
            ConnectError::Network(_) | ConnectError::Timeout => NoAnswer::Silent,
        })?;
        let mut context = tarpc::context::current();
        context.deadline = Instant::now() + patience;
        client.status(context).await.map_err(|_| NoAnswer::Silent)
    };
    tokio::time::timeout(patience, asked).await.unwrap_or(Err(NoAnswer::Silent))
}

/// Asks all servers and the witness (last) at once; returns within [`SURVEY_PATIENCE`].
pub async fn survey(config: &Config) -> Vec<(ServerId, Option<ServerStatus>)> {
    let answers = survey_with_reasons(config).await.into_iter();
    answers.map(|(server, answer)| (server, answer.ok())).collect()
}

/// The same, with why there is no answer.
pub async fn survey_with_reasons(config: &Config) -> Vec<(ServerId, Result<ServerStatus, NoAnswer>)> {
    let ask = |server| async move { (server, ask(config, server, SURVEY_PATIENCE).await) };
    join_all(config.voters().into_iter().map(ask)).await
}
