//! The status as text: the verdict in the first line, then what it rests on.

use super::super::human::{self, bytes, count, span, table};
use super::super::local::Name;
use super::super::process::State;
use super::super::scrub::found;
use super::Seen;
use super::verdict::{Verdict, copy, ended, percent, progress, scrub_words, servers, time_left};
use crate::cluster::holder::Holder;
use raidfs_common::id::ServerId;
use raidfs_common::pair::CopyState;
use raidfs_common::printed::printed;
use raidfs_common::rpc::admin::ServerStatus;
use std::time::Duration;

/// The whole text.
pub fn of(seen: &Seen, verdict: &Verdict) -> String {
    let first = format!("{}: {}\n", verdict.level.word(), verdict.reasons.join("\n  "));
    let mut parts = vec![first];
    let known = seen.answers.values().any(Option::is_some);
    parts.push(table(&server_rows(seen)));
    if known {
        parts.push(table(&pair_rows(seen)));
    }
    parts.push(format!("{}{}", mount_lines(seen), scrub_lines(seen)));
    if let Some(advice) = advice(seen) {
        parts.push(advice);
    }
    parts.retain(|p| !p.is_empty());
    parts.join("\n")
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

fn server_rows(seen: &Seen) -> Vec<Vec<String>> {
    let mut rows = vec![row([
        "SERVER", "STATE", "COPY", "LOG", "CHUNKS", "HOLDS", "FREE", "QUERIES", "CHANGES", "READS", "ORDERED",
        "MIRRORED", "ADDRESS",
    ])];
    for server in seen.config.voters() {
        let address = seen.config.address(server).map_or_else(String::new, |a| a.to_string());
        let mut cells = vec![server.to_string(), state(seen, server), copy_words(seen, server)];
        match seen.answer(server) {
            Some(s) if server.is_witness() => {
                cells.push(s.last_index.to_string());
                cells.extend(std::iter::repeat_n("-".to_owned(), 8));
            }
            Some(s) => cells.extend(figures(s)),
            None => cells.extend(std::iter::repeat_n("-".to_owned(), 9)),
        }
        cells.push(address);
        rows.push(cells);
    }
    rows
}

fn figures(s: &ServerStatus) -> [String; 9] {
    let c = &s.counters;
    [
        s.applied.to_string(),
        count(s.held.0),
        bytes(s.held.1),
        bytes(s.space.free),
        count(c.queries),
        count(c.changes),
        count(c.reads),
        count(c.primary_changes),
        count(c.mirror_changes),
    ]
}

fn state(seen: &Seen, server: ServerId) -> String {
    match seen.answer(server) {
        Some(s) => {
            let leads = if seen.leader() == Some(server) { ", leads" } else { "" };
            let uptime =
                if s.uptime_s < 10 { format!("{} s", s.uptime_s) } else { span(Duration::from_secs(s.uptime_s)) };
            format!("up {uptime}{leads}")
        }
        None if seen.refusals.contains_key(&server) => "REFUSED".to_owned(),
        None => match seen.process(Name::Server(server)) {
            Some(State::Running(pid)) if seen.starting.contains_key(&server) => format!("STARTING, pid {pid}"),
            Some(State::Running(pid)) => format!("HANGS, pid {pid}"),
            Some(State::Crashed) => "DIED".to_owned(),
            Some(State::Stopped) => "STOPPED".to_owned(),
            None => "NO ANSWER".to_owned(),
        },
    }
}

fn copy_words(seen: &Seen, server: ServerId) -> String {
    let pairs = seen.best().map(|s| s.pairs.as_slice()).unwrap_or_default();
    let Some(member) = pairs.iter().find_map(|p| p.member(server)) else { return "-".to_owned() };
    match progress(seen, server) {
        Some(p) if member.state != CopyState::InSync => {
            let left = time_left(&p).map_or_else(String::new, |l| format!(", {} left", span(l)));
            format!("{} {} %{left}", copy(member.state), percent(&p))
        }
        _ => copy(member.state).to_owned(),
    }
}

fn pair_rows(seen: &Seen) -> Vec<Vec<String>> {
    let mut rows = vec![row(["PAIR", "SERVED BY", "EPOCH", "FREE", "OF"])];
    for pair in seen.best().map(|s| s.pairs.as_slice()).unwrap_or_default() {
        let serving: Vec<String> = seen.serving(pair).map(|server| server.to_string()).collect();
        let by = match serving.as_slice() {
            [] => "NOBODY".to_owned(),
            [one] => format!("{one} alone"),
            both => both.join(" and "),
        };
        // Nothing is known of the room until both servers have reported theirs.
        let room = |n: u64| if pair.space.total == 0 { "-".to_owned() } else { bytes(n) };
        rows.push(vec![servers(pair), by, pair.epoch.to_string(), room(pair.space.usable()), room(pair.space.total)]);
    }
    if rows.len() == 1 { Vec::new() } else { rows }
}

fn mount_lines(seen: &Seen) -> String {
    let mut text = String::new();
    if let Some(s) = seen.best() {
        text.push_str(&format!(
            "namespace: {}, {}\n",
            human::several(s.inodes.0, "directory", "directories"),
            human::several(s.inodes.1, "file or other", "files and others")
        ));
    }
    if let Some((path, state)) = &seen.mount {
        text.push_str(&format!("mount:     {}, {}\n", printed(&path), state.words()));
    }
    match seen.best().map(|s| &s.session) {
        Some(Some((id, holder))) => {
            text.push_str(&format!("session:   {:016x}, {}\n", id.0, Holder::words_of(holder)));
        }
        Some(None) => text.push_str("session:   nobody has it mounted\n"),
        None => {}
    }
    text
}

/// Who looks through its chunks, and where damage was found by the last pass.
fn scrub_lines(seen: &Seen) -> String {
    let mut text = String::new();
    for server in seen.config.servers() {
        let Some(scrub) = seen.answer(server).map(|s| s.scrub) else { continue };
        let mut parts: Vec<String> = scrub.now.iter().map(scrub_words).collect();
        if let Some((pass, ended)) = scrub.last.and_then(|pass| Some((pass, ended(&pass)?)))
            && pass.mended + pass.lost > 0
        {
            parts.push(format!("last checked at {}: {}", human::clock(ended), found(&pass)));
        }
        if !parts.is_empty() {
            text.push_str(&format!("scrub:     {server}: {}\n", parts.join("; ")));
        }
    }
    text
}

/// What to do next, where a command on this machine would help.
fn advice(seen: &Seen) -> Option<String> {
    let processes = seen.processes.as_ref()?;
    let dead: Vec<String> =
        processes.iter().filter(|(_, s)| **s == State::Crashed).map(|(n, _)| n.to_string()).collect();
    let logs = seen.logs.as_ref().map_or_else(|| "DIR/log".to_owned(), |dir| printed(&dir).to_string());
    let how = match dead.as_slice() {
        [] => return None,
        [one] => format!("`raidfs start {one}` brings it back; why it ended: {logs}/{one}.log"),
        _ => format!("`raidfs up` brings back what died ({}); why it ended: {logs}/NAME.log", dead.join(", ")),
    };
    Some(format!("{how}\n"))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{quarter_of_a_scrub, seen};
    use super::super::verdict::judge;
    use super::*;
    use raidfs_common::rpc::admin::{ScrubPass, ScrubState, ScrubStatus};

    #[test]
    fn the_table_shows_who_is_up_who_leads_and_who_is_not() {
        let mut s = seen();
        s.answers.insert(ServerId(2), None);
        s.processes = Some([(Name::Server(ServerId(2)), State::Crashed)].into());
        let text = of(&s, &judge(&s));
        let line =
            |name: &str| text.lines().find(|l| l.starts_with(name)).unwrap_or_else(|| panic!("{text}")).to_owned();
        assert!(line("fsd1 ").contains("up 1 h 6 min, leads"), "{text}");
        assert!(line("fsd2 ").contains("DIED"), "{text}");
        assert!(line("fsd1+fsd2").contains("fsd1 alone"), "{text}");
        assert!(line("fsd3+fsd4").contains("fsd3 and fsd4"), "{text}");
        assert!(line("witness").contains("up") && text.contains("raidfs start fsd2"), "{text}");
        assert!(line("session").contains("0000000000000abc"), "{text}");
    }

    #[test]
    fn a_scrub_shows_while_it_runs_and_after_it_found_damage() {
        let mut s = seen();
        assert!(!of(&s, &judge(&s)).contains("scrub:"));
        let pass = quarter_of_a_scrub();
        let last = ScrubPass { state: ScrubState::Ended(1_000_000), mended: 2, ..pass };
        let scrub = |s: &mut Seen, n, now, last| {
            s.answers.get_mut(&ServerId(n)).unwrap().as_mut().unwrap().scrub = ScrubStatus { now, last };
        };
        scrub(&mut s, 1, Some(pass), Some(ScrubPass { mended: 0, ..last }));
        scrub(&mut s, 2, None, Some(last));
        scrub(&mut s, 3, None, Some(ScrubPass { mended: 0, ..last }));
        let text = of(&s, &judge(&s));
        let lines: Vec<&str> = text.lines().filter(|l| l.starts_with("scrub:")).collect();
        assert_eq!(lines[0], "scrub:     fsd1: 25 % of its chunks checked, by itself, slowly", "{text}");
        assert!(
            lines[1].starts_with("scrub:     fsd2: last checked at ")
                && lines[1].contains("2 chunks were damaged, all mended"),
            "{text}"
        );
        assert_eq!(lines.len(), 2, "{text}");
    }

    #[test]
    fn without_a_quorum_nobody_serves() {
        let mut s = seen();
        for gone in [ServerId(1), ServerId(3), ServerId::WITNESS] {
            s.answers.insert(gone, None);
        }
        for status in s.answers.values_mut().flatten() {
            (status.leader, status.quorum) = (None, false);
        }
        let text = of(&s, &judge(&s));
        assert!(text.contains("fsd1+fsd2  NOBODY") && text.contains("fsd3+fsd4  NOBODY"), "{text}");
        assert!(!text.contains("serves,") && !text.contains("alone") && !text.contains("is served"), "{text}");
    }

    #[test]
    fn who_starts_or_is_another_is_not_called_hung() {
        let mut s = seen();
        let two = ServerId(2);
        s.answers.insert(two, None);
        s.processes = Some([(Name::Server(two), State::Running(77))].into());
        assert!(of(&s, &judge(&s)).contains("fsd2     HANGS, pid 77"));
        s.starting.insert(two, Duration::from_secs(3));
        assert!(of(&s, &judge(&s)).contains("fsd2     STARTING, pid 77"));
        s.refusals.insert(two, "refused: x".into());
        assert!(of(&s, &judge(&s)).contains("fsd2     REFUSED"));
    }

    #[test]
    fn with_nothing_up_there_is_still_a_table() {
        let mut s = seen();
        s.answers.values_mut().for_each(|a| *a = None);
        let text = of(&s, &judge(&s));
        assert!(text.starts_with("unavailable: no server answers\n"), "{text}");
        assert!(text.contains("fsd4     NO ANSWER"), "{text}");
    }
}
