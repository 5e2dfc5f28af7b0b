//! The namespaces: none breaks its invariants, and those that stand at the same entry are the same.

use super::super::admin::within;
use super::super::human;
use super::super::progress::{Progress, Unit};
use super::{Answers, Report};
use crate::cluster::survey::connect_admin;
use futures::future::join_all;
use raidfs_common::config::Config;
use raidfs_common::id::{LogIndex, ServerId};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A walk over a large namespace takes its time.
const WALK: Duration = Duration::from_secs(1800);
const CONNECT: Duration = Duration::from_secs(2);
/// While names change, servers are rarely seen at the same entry: so often it is tried.
const TRIES: usize = 60;
const PAUSE: Duration = Duration::from_millis(200);

struct Walked {
    index: LogIndex,
    digest: u64,
    broken: Vec<String>,
}

/// Checks the namespaces of all servers that answer.
pub async fn check(config: &Config, answers: &Answers, report: &mut Report) {
    let servers: Vec<ServerId> = answers.keys().copied().filter(|s| !s.is_witness()).collect();
    let mut at_least = answers.values().map(|s| s.applied).max().unwrap_or_default();
    let mut seen: BTreeMap<LogIndex, BTreeMap<u64, BTreeSet<ServerId>>> = BTreeMap::new();
    let mut broken: BTreeMap<ServerId, Vec<String>> = BTreeMap::new();
    let mut refused = BTreeMap::new();
    for attempt in 0..TRIES {
        if attempt > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        let walks = walk_all(config, answers, &servers, at_least, attempt > 0).await;
        for (&server, walked) in servers.iter().zip(walks) {
            match walked {
                Ok(walked) => {
                    refused.remove(&server);
                    at_least = at_least.max(walked.index);
                    seen.entry(walked.index).or_default().entry(walked.digest).or_default().insert(server);
                    broken.insert(server, walked.broken);
                }
                Err(why) => {
                    refused.insert(server, why);
                }
            }
        }
        if refused.is_empty() && together(&seen, &servers) {
            break;
        }
    }
    for (server, why) in &refused {
        report.wrong("names not checked", format_args!("{server}'s namespace could not be checked: {why}"));
    }
    for (server, texts) in &broken {
        for text in texts {
            report.wrong("namespace", format_args!("{server}'s namespace: {text}"));
        }
    }
    say_differences(&seen, &servers, refused.is_empty(), broken.values().all(Vec::is_empty), report);
}

fn say_differences(
    seen: &BTreeMap<LogIndex, BTreeMap<u64, BTreeSet<ServerId>>>,
    servers: &[ServerId],
    all_walked: bool,
    none_broken: bool,
    report: &mut Report,
) {
    let mut differ = false;
    for (index, digests) in seen.iter().filter(|(_, digests)| digests.len() > 1) {
        differ = true;
        let groups: Vec<String> = digests.values().map(human::list).collect();
        let text =
            format!("the namespaces differ at entry {index}: {} against {}", groups[0], groups[1..].join(" against "));
        report.wrong("namespaces differ", text);
    }
    if differ || !all_walked {
        return;
    }
    if together(seen, servers) {
        let last = seen.keys().last().copied().unwrap_or_default();
        if none_broken {
            report.right(format_args!("names: {} agree at entry {last}, no invariant is broken", human::list(servers)));
        }
    } else {
        report.wrong(
            "names in motion",
            "names changed all the time, so that the namespaces could not be compared; try again when less is written",
        );
    }
}

/// Whether all servers were seen at the same entries, directly or by way of others.
fn together(seen: &BTreeMap<LogIndex, BTreeMap<u64, BTreeSet<ServerId>>>, servers: &[ServerId]) -> bool {
    let Some(first) = servers.first() else { return true };
    let mut reached = BTreeSet::from([*first]);
    loop {
        let before = reached.len();
        for digests in seen.values() {
            let here: BTreeSet<ServerId> = digests.values().flatten().copied().collect();
            if here.iter().any(|s| reached.contains(s)) {
                reached.extend(here);
            }
        }
        if reached.len() == before {
            return servers.iter().all(|s| reached.contains(s));
        }
    }
}

/// Walks over all of them at once, and shows how far that is: a server says nothing before it is through.
async fn walk_all(
    config: &Config,
    answers: &Answers,
    servers: &[ServerId],
    at_least: LogIndex,
    again: bool,
) -> Vec<Result<Walked, String>> {
    let size = |server: ServerId| answers.get(&server).map_or(0, |status| status.inodes.0 + status.inodes.1);
    let what = if again { "comparing names again" } else { "comparing names" };
    let total = servers.iter().map(|&server| size(server)).sum();
    let progress = RefCell::new(Progress::new(what, Unit::Things("files and directories of all servers"), total));
    let walks = join_all(servers.iter().map(|&server| {
        let progress = &progress;
        async move {
            let walked = walk(config, server, at_least).await;
            progress.borrow_mut().add(size(server));
            walked
        }
    }));
    tokio::select! {
        walks = walks => walks,
        never = Progress::tick(&progress) => match never {},
    }
}

async fn walk(config: &Config, server: ServerId, at_least: LogIndex) -> Result<Walked, String> {
    let client = connect_admin(config, server, CONNECT).await.map_err(|e| e.to_string())?;
    match client.check_namespace(within(WALK), at_least).await {
        Ok(Ok((index, digest, broken))) => Ok(Walked { index, digest, broken }),
        Ok(Err(rejection)) => Err(rejection.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(rows: &[(u64, u64, u16)]) -> BTreeMap<LogIndex, BTreeMap<u64, BTreeSet<ServerId>>> {
        let mut seen: BTreeMap<LogIndex, BTreeMap<u64, BTreeSet<ServerId>>> = BTreeMap::new();
        for &(index, digest, server) in rows {
            seen.entry(LogIndex(index)).or_default().entry(digest).or_default().insert(ServerId(server));
        }
        seen
    }

    fn wrong(rows: &[(u64, u64, u16)]) -> usize {
        let mut report = Report::default();
        say_differences(&seen(rows), &[1, 2, 3].map(ServerId), true, true, &mut report);
        report.wrong
    }

    #[test]
    fn equal_namespaces_at_one_entry_are_right() {
        assert_eq!(wrong(&[(5, 9, 1), (5, 9, 2), (5, 9, 3)]), 0);
    }

    #[test]
    fn a_chain_of_meetings_is_enough() {
        assert_eq!(wrong(&[(5, 9, 1), (5, 9, 2), (6, 8, 2), (6, 8, 3)]), 0);
        assert_eq!(wrong(&[(5, 9, 1), (5, 9, 2), (6, 8, 3)]), 1, "the third was never met");
    }

    #[test]
    fn a_different_namespace_is_seen() {
        assert_eq!(wrong(&[(5, 9, 1), (5, 9, 2), (5, 7, 3)]), 1);
    }
}
