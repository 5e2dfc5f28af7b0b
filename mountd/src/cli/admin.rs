//! Asking servers through their admin service, for the commands that need no mount session.

use crate::cluster::survey::{SURVEY_PATIENCE, connect_admin, hello, status_of};
use raidfs_common::config::Config;
use raidfs_common::error::FsError;
use raidfs_common::id::{Ino, LogIndex, ServerId};
use raidfs_common::limits::DIR_PAGE_ENTRIES;
use raidfs_common::namespace::{Answer, Entry, Query};
use raidfs_common::rpc::Service;
use raidfs_common::rpc::names::NamesServiceClient;
use raidfs_common::wire::{self, ConnectError};
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

/// Connects to a server's names service, for questions.
pub async fn connect_names(config: &Config, server: ServerId) -> Result<NamesServiceClient, String> {
    const PATIENCE: Duration = Duration::from_secs(2);
    let address = config.address(server).ok_or_else(|| format!("there is no {server}"))?;
    let transport = wire::connect(address, &hello(config, server, Service::Names), PATIENCE).await;
    let transport = transport.map_err(|e| e.to_string())?;
    Ok(NamesServiceClient::new(tarpc::client::Config::default(), transport).spawn())
}

/// A page of a directory's entries behind the cookie `after`, and whether they are the last; or what the names say against it.
pub async fn entries(
    names: &NamesServiceClient,
    at_least: LogIndex,
    ino: Ino,
    after: u64,
    attrs: bool,
) -> Result<Result<(Vec<Entry>, bool), FsError>, String> {
    const PATIENCE: Duration = Duration::from_secs(30);
    let query = Query::ReadDir { ino, after, limit: DIR_PAGE_ENTRIES as u32, attrs };
    let answer = names.query(within(PATIENCE), at_least, query).await;
    match answer.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?.1 {
        Ok(Answer::Entries { entries, end, .. }) => Ok(Ok((entries, end))),
        Ok(_) => Err("it gave another answer than was asked for".to_owned()),
        Err(error) => Ok(Err(error)),
    }
}

/// Whether a server answers at all.
pub fn answers(config: &Config, to: ServerId) -> Result<(), ConnectError> {
    const PATIENCE: Duration = Duration::from_millis(500);
    runtime().block_on(async { connect_admin(config, to, PATIENCE).await.map(drop) })
}

/// Whether a server answers, and a leader has said that its data directory is the one that the cluster knows.
pub fn has_joined(config: &Config, server: ServerId) -> bool {
    runtime().block_on(status_of(config, server, SURVEY_PATIENCE)).is_some_and(|status| status.joined)
}

/// Whether some server names a leader.
pub fn has_leader(config: &Config) -> bool {
    let leads = |server| {
        let status = runtime().block_on(status_of(config, server, SURVEY_PATIENCE));
        status.is_some_and(|status| status.leader.is_some())
    };
    config.servers().any(leads)
}
