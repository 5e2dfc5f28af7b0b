//! `status` in the shell: the servers, and at each one the directories, files and bytes that it holds.

use crate::cli::human::{bytes, count, table};
use raidfs_common::config::Config;
use raidfs_common::id::ServerId;
use raidfs_common::pair::CopyState;
use raidfs_common::rpc::admin::ServerStatus;

/// The table, from what each server said of itself.
pub fn of(config: &Config, answers: &[(ServerId, Option<ServerStatus>)]) -> String {
    let known = || answers.iter().filter_map(|(_, status)| status.as_ref());
    let newest = known().max_by_key(|status| (status.term, status.applied));
    let leader = newest.and_then(|status| status.leader);
    let header = ["SERVER", "PAIR", "STATE", "DIRECTORIES", "FILES", "CHUNKS", "BYTES"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    for (server, status) in answers.iter().filter(|(server, _)| !server.is_witness()) {
        let pair = config.pair_of(*server).map_or_else(String::new, |pair| (pair.0 + 1).to_string());
        let mut row = vec![server.to_string(), pair];
        match status {
            Some(status) => {
                let leads = if leader == Some(*server) { ", leads" } else { "" };
                row.push(format!("{}{leads}", copy(newest, *server)));
                row.extend([count(status.inodes.0), count(status.inodes.1), count(status.held.0)]);
                row.push(bytes(status.held.1));
            }
            None => row.extend(["does not answer", "-", "-", "-", "-"].map(str::to_owned)),
        }
        rows.push(row);
    }
    let mut text = table(&rows);
    match newest.and_then(|status| status.session.as_ref()) {
        Some((_, holder)) => text.push_str(&format!("session: {holder}\n")),
        None if newest.is_some() => text.push_str("session: none\n"),
        None => text.push_str("no server answers\n"),
    }
    text
}

fn copy(newest: Option<&ServerStatus>, server: ServerId) -> &'static str {
    let pairs = newest.into_iter().flat_map(|status| &status.pairs);
    match pairs.filter_map(|pair| pair.member(server)).map(|member| member.state).next() {
        Some(CopyState::InSync) => "in sync",
        Some(CopyState::Stale) => "stale",
        Some(CopyState::Syncing) => "syncing",
        None => "unknown",
    }
}
