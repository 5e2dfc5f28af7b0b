//! `status` in the shell: the servers, and at each one the directories, files and bytes that it holds.

use crate::cli::human::{bytes, count, table};
use crate::cluster::holder::Holder;
use raidfs_common::config::Config;
use raidfs_common::id::ServerId;
use raidfs_common::pair::CopyState;
use raidfs_common::rpc::admin::ServerStatus;

/// The table, from what each server said of itself.
pub fn of(config: &Config, answers: &[(ServerId, Option<ServerStatus>)]) -> String {
    // The witness keeps no namespace to tell of.
    let servers = || answers.iter().filter(|(server, _)| !server.is_witness());
    let newest = servers().filter_map(|(_, status)| status.as_ref()).max_by_key(|status| (status.term, status.applied));
    let leader = newest.and_then(|status| status.leader);
    let header = ["SERVER", "PAIR", "STATE", "DIRECTORIES", "FILES", "CHUNKS", "BYTES"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    for (server, status) in servers() {
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
        Some((_, holder)) => {
            text.push_str(&format!("session: {}\n", Holder::words_of(holder)));
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::one_pair;
    use raidfs_common::id::{Epoch, Incarnation, LogIndex, PairId, SessionId, Term};
    use raidfs_common::pair::{Member, Pair, Space};
    use raidfs_common::rpc::admin::Counters;

    fn status(server: u16, applied: u64) -> ServerStatus {
        let member = |n, state| Member { server: ServerId(n), state, incarnation: Incarnation(1) };
        let witness = server == 0;
        let pair = Pair {
            id: PairId(0),
            epoch: Epoch(1),
            members: [member(1, CopyState::InSync), member(2, CopyState::Stale)],
            space: Space::default(),
            losses: 0,
        };
        ServerStatus {
            server: ServerId(server),
            term: Term(1),
            leader: Some(ServerId(1)),
            last_index: LogIndex(9),
            applied: LogIndex(applied),
            pairs: if witness { Vec::new() } else { vec![pair] },
            session: (!witness).then(|| (SessionId(5), "somebody".to_owned())),
            inodes: (3, 40),
            held: (7, 8192),
            incarnation: Incarnation(1),
            uptime_s: 1,
            quorum: true,
            space: Space::default(),
            counters: Counters::default(),
            resync: None,
            disk_error: None,
            heard_ms: Vec::new(),
            scrub: Default::default(),
            joined: true,
            replacing: Vec::new(),
        }
    }

    #[test]
    fn each_server_is_shown_with_what_it_holds_whatever_the_witness_says() {
        let answers = [(ServerId(1), Some(status(1, 8))), (ServerId(2), None), (ServerId(0), Some(status(0, 9)))];
        let text = of(&one_pair(), &answers);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[1], ["fsd1", "1", "in", "sync,", "leads", "3", "40", "7", "8.0", "KiB"]);
        assert_eq!(lines[2][2..5], ["does", "not", "answer"]);
        assert_eq!(lines[3], ["session:", "somebody"]);
        assert_eq!(lines.len(), 4);
    }
}
