//! What is wrong, from what was seen: a pure function. The worst comes first.

use super::super::human;
use super::super::local::Name;
use super::super::mounts::MountState;
use super::super::process::State;
use super::{Seen, waits_for_room};
use raidfs_common::id::{LogIndex, ServerId};
use raidfs_common::limits::CHUNK_BYTES;
use raidfs_common::pair::{CopyState, Member, Pair, Space};
use raidfs_common::printed::printed;
use raidfs_common::rpc::admin::{ResyncProgress, ScrubPass, ScrubState};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How bad it is; the number is the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Everything is as it should be.
    Healthy = 0,
    /// Everything is served, but something is missing.
    Degraded = 1,
    /// Something is not served.
    Unavailable = 2,
}

impl Level {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Level::Healthy => "healthy",
            Level::Degraded => "degraded",
            Level::Unavailable => "unavailable",
        }
    }
}

/// How it is, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// How bad.
    pub level: Level,
    /// What is wrong, the worst first; if nothing is, what that means.
    pub reasons: Vec<String>,
}

impl Verdict {
    /// The first line of the text.
    pub fn line(&self) -> String {
        format!("{}: {}", self.level.word(), self.reasons.join("; "))
    }
}

/// Whether nobody who answers has ever seen an entry. Who waits for room on its disk does not look.
fn is_new(seen: &Seen) -> bool {
    let mut voting = seen.voting().peekable();
    voting.peek().is_some() && voting.all(|status| status.last_index == LogIndex(0))
}

/// Of a cluster that has never lived.
fn waits_for_its_parts(seen: &Seen) -> String {
    let missing = seen.answers.iter().filter(|(_, answer)| answer.is_none()).map(|(server, _)| server.to_string());
    let missing: Vec<String> = missing.collect();
    let full = seen.waiting_for_room();
    match missing.is_empty() {
        true if !full.is_empty() => {
            format!("this new cluster begins once there is room on the disks of {}", human::list(full))
        }
        true => "this new cluster is about to begin".to_owned(),
        false => format!(
            "this new cluster begins once all servers and the witness run; start what is missing: {}",
            missing.join(", ")
        ),
    }
}

/// With enough voters that is a moment without a leader, as a rule; with fewer nobody serves.
fn nobody_leads(seen: &Seen) -> String {
    let ((answering, needed), all) = (seen.attendance(), seen.answers.len());
    let text = format!("nobody leads ({answering} of {all} voters answer, {needed} are needed)");
    let more = match needed.saturating_sub(answering) {
        0 => {
            return format!(
                "{text}: programs wait until a leader is elected, as a rule for a moment; if this lasts, the servers do not \
                 reach each other: see their logs"
            );
        }
        1 => "one more answers".to_owned(),
        n => format!("{n} more answer"),
    };
    let wait = human::span(seen.config.io_timeout);
    let absent = || seen.config.voters().into_iter().filter(|server| seen.answer(*server).is_none());
    let full = seen.waiting_for_room();
    let is_down = |server| matches!(seen.process(Name::Server(server)), Some(State::Crashed | State::Stopped));
    let how = if !full.is_empty() {
        format!("make room on the disks of {}, which then go on by themselves", human::list(full))
    } else if absent().any(is_down) {
        "`raidfs up` starts what is down".to_owned()
    } else {
        format!("what does not answer: {}", human::list(absent()))
    };
    format!(
        "{text}, so nobody serves: nothing can be read or changed until {more}, and programs get EIO after {wait}; {how}"
    )
}

/// Judges.
pub fn judge(seen: &Seen) -> Verdict {
    let mut found: Vec<(Level, String)> = Vec::new();
    let anybody_answers = seen.answers.values().any(Option::is_some);
    match seen.leader() {
        None if !anybody_answers => {
            let mut voters = seen.config.voters().into_iter();
            let why = match voters.find_map(|server| Some((server, seen.refusals.get(&server)?))) {
                _ if nothing_runs(seen) => "nothing of it runs".to_owned(),
                Some((server, words)) => format!("no server answers: {server} is not reached ({words})"),
                None => "no server answers".to_owned(),
            };
            found.push((Level::Unavailable, why));
        }
        None if is_new(seen) => {
            found.push((Level::Unavailable, waits_for_its_parts(seen)));
        }
        None => found.push((Level::Unavailable, nobody_leads(seen))),
        Some(_) => {}
    }
    if anybody_answers {
        for server in seen.config.voters() {
            if seen.best().is_some_and(|best| best.replacing.contains(&server)) {
                found.push((Level::Degraded, waits_for_a_directory(seen, server)));
            } else {
                judge_server(seen, server, &mut found);
            }
        }
        for pair in seen.best().map(|s| s.pairs.as_slice()).unwrap_or_default() {
            judge_pair(seen, pair, &mut found);
        }
        judge_mount(seen, &mut found);
    }
    found.sort_by_key(|(level, _)| std::cmp::Reverse(*level));
    let level = found.first().map_or(Level::Healthy, |(level, _)| *level);
    let mut reasons: Vec<String> = found.into_iter().map(|(_, text)| text).collect();
    let full = full(seen);
    if reasons.is_empty() {
        let hint = if lacks_mount(seen) { "; it is not mounted: `raidfs start mountd`" } else { "" };
        let full = full.map_or_else(String::new, |words| format!("; {words}"));
        reasons.push(format!("all servers are up, and both copies of everything are in sync{full}{hint}"));
    } else {
        reasons.extend(full);
    }
    Verdict { level, reasons }
}

/// A word on pairs without room, which is no fault of the cluster's.
fn full(seen: &Seen) -> Option<String> {
    let pairs = seen.best().map(|status| status.pairs.as_slice()).unwrap_or_default();
    let has_little = |space: Space| space.total > 0 && !space.is_out_of_service() && space.usable() < CHUNK_BYTES;
    let is_full = |pair: &&Pair| has_little(pair.space);
    let full: Vec<String> = pairs.iter().filter(is_full).map(servers).collect();
    match full.len() {
        0 => None,
        n if n == pairs.len() => Some("no room is left: programs that write get ENOSPC".to_owned()),
        _ => Some(format!("no room is left on {}: programs that write to files there get ENOSPC", full.join(" and "))),
    }
}

fn nothing_runs(seen: &Seen) -> bool {
    let runs = |s: &State| matches!(s, State::Running(_));
    seen.processes.as_ref().is_some_and(|p| !p.values().any(runs))
}

fn judge_server(seen: &Seen, server: ServerId, found: &mut Vec<(Level, String)>) {
    let Some(answer) = seen.answer(server) else {
        let mut text = absence(seen, server);
        if server.is_witness() {
            // Without a leader nothing is, which is said where that is.
            if seen.leader().is_some() {
                text.push_str(" (all is served, but the loss of two servers at once might not be survived)");
            }
        } else if let Some(mirror) = serving_mirror(seen, server) {
            text.push_str(&format!(", its mirror {mirror} serves"));
        }
        found.push((Level::Degraded, text));
        return;
    };
    if let Some(error) = &answer.disk_error {
        found.push((Level::Degraded, format!("{server} has trouble with its disk: {error}")));
    }
    if let Some(lost) = answer.scrub.last.map(|pass| pass.lost).filter(|lost| *lost > 0) {
        let chunks = human::several(lost, "chunk", "chunks");
        let text = format!(
            "{server} holds {chunks} with bytes that are damaged on its mirror, too: `raidfs scrub` names the files"
        );
        found.push((Level::Degraded, text));
    }
    if seen.leader().is_some() && !answer.quorum {
        found.push((Level::Degraded, format!("{server} does not hear the leader")));
    }
}

/// `fsd2 waits for a new data directory: start it with an empty one, its mirror fsd1 serves`.
fn waits_for_a_directory(seen: &Seen, server: ServerId) -> String {
    let mut text = format!("{server} waits for a new data directory: start it with an empty one");
    if let Some(mirror) = serving_mirror(seen, server) {
        text.push_str(&format!(", its mirror {mirror} serves"));
    }
    text
}

/// `fsd2 is down since 14:02:11 (3 min 20 s)`.
fn absence(seen: &Seen, server: ServerId) -> String {
    let how = match seen.process(Name::Server(server)) {
        _ if seen.refusals.contains_key(&server) => format!("is not reached ({})", seen.refusals[&server]),
        Some(State::Running(pid)) if seen.starting.contains_key(&server) => {
            let span = human::span(seen.starting[&server]);
            // How long the leader has missed it says nothing of that.
            return format!(
                "{server} is starting (pid {pid} runs for {span}, and still looks through what it has stored)"
            );
        }
        Some(State::Running(pid)) => format!("hangs (pid {pid} runs, but does not answer)"),
        Some(State::Crashed) => "is down (it was killed, or has ended by itself: see its log)".to_owned(),
        Some(State::Stopped) => "is down (it was stopped)".to_owned(),
        None => "does not answer".to_owned(),
    };
    match seen.silent_for(server) {
        Some(silent) => {
            format!(
                "{server} {how} since {} ({})",
                human::clock(seen.now.checked_sub(silent).unwrap_or(UNIX_EPOCH)),
                human::span(silent)
            )
        }
        None => format!("{server} {how}"),
    }
}

/// The mirror of `server`, if that is in sync and serves.
fn serving_mirror(seen: &Seen, server: ServerId) -> Option<ServerId> {
    let pair = seen.best()?.pairs.iter().find(|p| p.member(server).is_some())?;
    let mirror = pair.mirror_of(server)?;
    seen.serving(pair).find(|serving| *serving == mirror.server)
}

fn judge_pair(seen: &Seen, pair: &Pair, found: &mut Vec<(Level, String)>) {
    if pair.in_sync().next().is_none() {
        let [a, b] = pair.members.map(|m| m.server);
        let let_in = |m: &&Member| seen.answer(m.server).is_some_and(|status| status.incarnation == m.incarnation);
        let how = match pair.members.iter().find(let_in) {
            Some(m) => format!("{} marks what was lost, and serves then", m.server),
            None => format!("it goes on once {a} or {b} is started with an empty data directory"),
        };
        let text = format!("files on {} cannot be read or written: its loss was accepted, {how}", servers(pair));
        found.push((Level::Unavailable, text));
        return;
    }
    // While nobody leads, leases may last, and who holds one is not known.
    let is_served = match seen.leader() {
        Some(_) => seen.serving(pair).next().is_some(),
        None => pair.in_sync().any(|m| seen.answer(m.server).is_some()),
    };
    if !is_served {
        let members: Vec<String> = pair.members.iter().map(|m| member(seen, m)).collect();
        let text = format!("files on {} cannot be read or written: {}", servers(pair), human::list(members));
        found.push((Level::Unavailable, text));
        return;
    }
    for m in pair.members.iter().filter(|m| m.state != CopyState::InSync && seen.answer(m.server).is_some()) {
        let text = match progress(seen, m.server) {
            Some(p) => format!("{} is being brought up to date: {}", m.server, resync_words(&p)),
            None => {
                let behind = names_behind(seen, m.server).map_or_else(String::new, |words| format!(", {words}"));
                format!("{}'s copy is {}{behind}", m.server, copy(m.state))
            }
        };
        found.push((Level::Degraded, text));
    }
    // What is known of its copy is of an earlier life.
    let anew = |m: &&Member| seen.answer(m.server).is_some_and(|status| status.incarnation != m.incarnation);
    for m in pair.in_sync().filter(anew) {
        found.push((Level::Degraded, format!("{} has just started, and its copy is not judged yet", m.server)));
    }
}

/// `names: entry 60 of 120 (50 %)`, of a server that still catches up with the leader's log; its chunks come after that.
fn names_behind(seen: &Seen, server: ServerId) -> Option<String> {
    let (applied, last) = (seen.answer(server)?.applied.0, seen.answer(seen.leader()?)?.last_index.0);
    let percent = (u128::from(applied) * 100).checked_div(u128::from(last))?;
    let (at, of) = (human::count(applied), human::count(last));
    (applied < last).then(|| format!("names: entry {at} of {of} ({percent} %)"))
}

fn member(seen: &Seen, m: &Member) -> String {
    let how = match seen.answer(m.server) {
        None => "is down",
        Some(status) if waits_for_room(status) => "waits for room on its disk",
        Some(status) if !status.quorum => "does not hear the leader",
        Some(_) => "is up",
    };
    format!("{} {how} and {}", m.server, if m.state == CopyState::InSync { "was in sync" } else { copy(m.state) })
}

/// Whether it is known where a cluster of this machine is to be mounted, and nobody has it mounted, here or elsewhere. Nothing
/// is wrong with that if it was asked for; if an `up` was interrupted it was not, and nothing tells the two apart.
fn lacks_mount(seen: &Seen) -> bool {
    let nobody_has_it = seen.best().is_some_and(|best| best.session.is_none());
    let is_stopped = seen.process(Name::Mount) == Some(State::Stopped);
    nobody_has_it && is_stopped && seen.mount.as_ref().is_some_and(|(_, state)| *state == MountState::None)
}

fn judge_mount(seen: &Seen, found: &mut Vec<(Level, String)>) {
    let Some((path, state)) = &seen.mount else { return };
    let text = match (seen.process(Name::Mount), state) {
        (Some(State::Crashed), _) if let Some(holder) = &seen.elsewhere => {
            let who = holder.words();
            format!(
                "mountd has ended, and another mount has the store: {who}; once that is gone: `raidfs start mountd`"
            )
        }
        (Some(State::Crashed), _) => {
            "mountd is down (it was killed, or has ended by itself: see its log): `raidfs start mountd`".to_owned()
        }
        (Some(State::Running(_)), MountState::Answers) | (Some(State::Stopped) | None, _) => return,
        (Some(State::Running(_)), other) => format!("the mount at {} is {}", printed(&path), other.words()),
    };
    found.push((Level::Degraded, text));
}

/// `fsd1+fsd2`.
pub fn servers(pair: &Pair) -> String {
    format!("{}+{}", pair.members[0].server, pair.members[1].server)
}

/// The word for a copy's state.
pub fn copy(state: CopyState) -> &'static str {
    match state {
        CopyState::InSync => "in sync",
        CopyState::Stale => "stale",
        CopyState::Syncing => "syncing",
    }
}

/// How far a server has been brought up to date, as its mirror says.
pub fn progress(seen: &Seen, server: ServerId) -> Option<ResyncProgress> {
    seen.answers.values().flatten().filter_map(|s| s.resync).find(|p| p.to == server)
}

/// Percent done.
pub fn percent(p: &ResyncProgress) -> u64 {
    (p.done.min(p.total) * 100).checked_div(p.total).unwrap_or(0)
}

/// Time left, from the rate so far.
pub fn time_left(p: &ResyncProgress) -> Option<Duration> {
    if p.done == 0 || p.total <= p.done {
        return None;
    }
    let each = Duration::from_millis(p.elapsed_ms).as_secs_f64() / p.done as f64;
    Duration::try_from_secs_f64(each * (p.total - p.done) as f64).ok()
}

/// Chunks that were looked at in a second, so far; None: it has only begun.
pub fn chunks_per_s(p: &ResyncProgress) -> Option<u64> {
    (p.done * 1000).checked_div(p.elapsed_ms)
}

/// Bytes that were copied in a second, so far; None: it has only begun.
pub fn bytes_per_s(p: &ResyncProgress) -> Option<u64> {
    p.bytes.saturating_mul(1000).checked_div(p.elapsed_ms)
}

/// `43 % (120 of 280 chunks, 12 MiB copied, 24 MiB/s), 2.0 s left`.
pub fn resync_words(p: &ResyncProgress) -> String {
    let (done, total) = (human::count(p.done), human::count(p.total));
    let mut text = format!("{} % ({done} of {total} chunks, {} copied", percent(p), human::bytes(p.bytes));
    match chunks_per_s(p) {
        Some(rate) if p.bytes == 0 => text.push_str(&format!(", {} chunks/s)", human::count(rate))),
        Some(_) => text.push_str(&format!(", {}/s)", human::bytes(bytes_per_s(p).unwrap_or(0)))),
        None => text.push(')'),
    }
    if let Some(left) = time_left(p) {
        text.push_str(&format!(", {} left", human::span(left)));
    }
    text
}

/// `40 % of its chunks checked, 2 min 5 s left`.
pub fn scrub_words(pass: &ScrubPass) -> String {
    let percent = scrub_percent(pass);
    if !pass.asked {
        return format!("{percent} % of its chunks checked, by itself, slowly");
    }
    let left = match (pass.bytes, pass.total_bytes.saturating_sub(pass.bytes)) {
        (1.., left @ 1..) => {
            let each = Duration::from_millis(pass.elapsed_ms).as_secs_f64() / pass.bytes as f64;
            let left = Duration::try_from_secs_f64(each * left as f64);
            left.map_or_else(|_| String::new(), |left| format!(", {} left", human::span(left)))
        }
        _ => String::new(),
    };
    format!("{percent} % of its chunks checked{left}")
}

/// How far a pass is.
pub fn scrub_percent(pass: &ScrubPass) -> u64 {
    (pass.chunks.min(pass.total) * 100).checked_div(pass.total).unwrap_or(0)
}

/// When a pass ended, by the server's clock; None if it did not.
pub fn ended(pass: &ScrubPass) -> Option<SystemTime> {
    match pass.state {
        ScrubState::Ended(at) => UNIX_EPOCH.checked_add(Duration::from_secs(at)),
        ScrubState::Runs | ScrubState::BrokenOff => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{quarter_of_a_scrub, seen};
    use super::*;
    use crate::cluster::holder::Holder;
    use raidfs_common::id::{Incarnation, SessionId};

    #[test]
    fn all_up_and_in_sync_is_healthy() {
        let verdict = judge(&seen());
        assert_eq!(verdict.level, Level::Healthy, "{verdict:?}");
    }

    #[test]
    fn a_store_that_nobody_has_mounted_is_healthy_and_said_to_be_unmounted() {
        let mut s = seen();
        s.processes = Some([(Name::Mount, State::Stopped)].into());
        s.mount = Some(("/mnt".into(), MountState::None));
        assert!(!judge(&s).line().contains("mounted"), "somebody has");
        s.answers.values_mut().flatten().for_each(|status| status.session = None);
        let verdict = judge(&s);
        assert_eq!(verdict.level, Level::Healthy);
        assert!(verdict.line().ends_with("; it is not mounted: `raidfs start mountd`"), "{}", verdict.line());
        s.processes = None;
        assert!(!judge(&s).line().contains("mounted"), "of a cluster of several machines nobody knows");
    }

    #[test]
    fn a_dead_server_is_named_with_its_mirror_and_since_when() {
        let mut s = seen();
        s.answers.insert(ServerId(2), None);
        let verdict = judge(&s);
        assert_eq!(verdict.level, Level::Degraded);
        let line = verdict.line();
        assert!(line.starts_with("degraded: fsd2 does not answer since "), "{line}");
        assert!(line.contains("3 min 20 s") && line.contains("its mirror fsd1 serves"), "{line}");
    }

    #[test]
    fn who_waits_for_a_new_data_directory_is_said_to() {
        let mut s = seen();
        s.answers.insert(ServerId(2), None);
        for status in s.answers.values_mut().flatten() {
            status.replacing = vec![ServerId(2)];
        }
        let verdict = judge(&s);
        assert_eq!(verdict.level, Level::Degraded);
        let line = verdict.line();
        assert!(
            line.contains("fsd2 waits for a new data directory") && line.contains("its mirror fsd1 serves"),
            "{line}"
        );
        assert!(!line.contains("does not answer"), "{line}");
    }

    #[test]
    fn a_dead_process_and_a_hanging_one_are_told_apart() {
        let mut s = seen();
        s.answers.insert(ServerId(2), None);
        s.answers.insert(ServerId::WITNESS, None);
        let processes = [
            (Name::Server(ServerId(2)), State::Crashed),
            (Name::Server(ServerId::WITNESS), State::Running(77)),
            (Name::Mount, State::Crashed),
        ];
        s.processes = Some(processes.into());
        s.mount = Some(("/mnt".into(), MountState::Dead("x".into())));
        let line = judge(&s).line();
        assert!(line.contains("fsd2 is down (it was killed") && line.contains("witness hangs (pid 77"), "{line}");
        assert!(line.contains("mountd is down"), "{line}");
    }

    #[test]
    fn who_has_taken_the_mount_over_is_said_for_as_long_as_it_lives() {
        let mut s = seen();
        s.processes = Some([(Name::Mount, State::Crashed)].into());
        s.mount = Some(("/mnt".into(), MountState::None));
        for (at, is_here) in [("/mnt", true), ("/other", false)] {
            let session = Some((SessionId(1), Holder::this_process(at).to_string()));
            s.answers.values_mut().flatten().for_each(|status| status.session = session.clone());
            s.elsewhere = s.mounted_elsewhere();
            let line = judge(&s).line();
            assert_eq!(line.contains("another mount has the store: /other on "), !is_here, "{line}");
        }
        let gone =
            Holder::this_process("/other").to_string().replace(&format!("pid {}", std::process::id()), "pid 4194305");
        s.answers.values_mut().flatten().for_each(|status| status.session = Some((SessionId(1), gone.clone())));
        s.elsewhere = s.mounted_elsewhere();
        let line = judge(&s).line();
        assert!(line.contains("mountd is down") && !line.contains("/other"), "{line}");
    }

    #[test]
    fn a_pair_without_a_reachable_copy_in_sync_is_unavailable() {
        let mut s = seen();
        s.answers.insert(ServerId(3), None);
        for status in s.answers.values_mut().flatten() {
            if let Some(pair) = status.pairs.get_mut(1) {
                pair.members[1].state = CopyState::Stale;
            }
        }
        let verdict = judge(&s);
        assert_eq!(verdict.level, Level::Unavailable);
        let line = verdict.line();
        assert!(line.starts_with("unavailable: files on fsd3+fsd4 cannot be read or written"), "{line}");
        assert!(line.contains("fsd3 is down and was in sync and fsd4 is up and stale"), "{line}");
    }

    #[test]
    fn a_pair_whose_servers_answer_but_serve_nothing_is_unavailable() {
        let mut s = seen();
        for server in [ServerId(3), ServerId(4)] {
            s.answers.get_mut(&server).unwrap().as_mut().unwrap().quorum = false;
        }
        let cut_off =
            "unavailable: files on fsd3+fsd4 cannot be read or written: fsd3 does not hear the leader and was in sync";
        assert!(judge(&s).line().starts_with(cut_off), "{}", judge(&s).line());
        let fsd3 = s.answers.get_mut(&ServerId(3)).unwrap().as_mut().unwrap();
        (fsd3.incarnation, fsd3.disk_error) = (Incarnation(0), Some("no room".into()));
        assert!(judge(&s).line().contains("fsd3 waits for room on its disk and was in sync"), "{}", judge(&s).line());
        s.answers.get_mut(&ServerId(4)).unwrap().as_mut().unwrap().quorum = true;
        assert_eq!(judge(&s).level, Level::Degraded, "its mirror serves");
    }

    #[test]
    fn a_pair_whose_loss_was_accepted_says_what_it_waits_for() {
        let mut s = seen();
        for status in s.answers.values_mut().flatten() {
            for member in status.pairs[..].iter_mut().skip(1).flat_map(|pair| &mut pair.members) {
                (member.state, member.incarnation) = (CopyState::Stale, Incarnation::of(7, 7).barred());
            }
        }
        let line = judge(&s).line();
        assert!(
            line.starts_with("unavailable: files on fsd3+fsd4 cannot be read or written: its loss was accepted"),
            "{line}"
        );
        assert!(line.contains("once fsd3 or fsd4 is started with an empty data directory"), "{line}");
        let life = s.answers[&ServerId(4)].as_ref().unwrap().incarnation;
        for status in s.answers.values_mut().flatten().filter(|status| status.pairs.len() > 1) {
            status.pairs[1].members[1].incarnation = life;
        }
        assert!(judge(&s).line().contains("fsd4 marks what was lost"), "{}", judge(&s).line());
    }

    #[test]
    fn a_server_that_has_just_started_is_not_in_sync_by_what_its_earlier_life_was() {
        let mut s = seen();
        assert_eq!(judge(&s).level, Level::Healthy);
        s.answers.get_mut(&ServerId(2)).unwrap().as_mut().unwrap().incarnation = Incarnation(2);
        let verdict = judge(&s);
        assert_eq!(verdict.level, Level::Degraded);
        assert!(verdict.line().contains("fsd2 has just started"), "{}", verdict.line());
    }

    #[test]
    fn a_resync_shows_how_far_it_is() {
        let mut s = seen();
        for status in s.answers.values_mut().flatten() {
            if let Some(pair) = status.pairs.get_mut(0) {
                pair.members[1].state = CopyState::Syncing;
            }
        }
        let resync = ResyncProgress { to: ServerId(2), done: 50, total: 200, bytes: 1 << 20, elapsed_ms: 1000 };
        s.answers.get_mut(&ServerId(1)).unwrap().as_mut().unwrap().resync = Some(resync);
        let line = judge(&s).line();
        assert!(
            line.contains(
                "fsd2 is being brought up to date: 25 % (50 of 200 chunks, 1.0 MiB copied, 1.0 MiB/s), 3.0 s left"
            ),
            "{line}"
        );
    }

    #[test]
    fn a_stale_copy_says_how_far_its_names_are() {
        let mut s = seen();
        for status in s.answers.values_mut().flatten() {
            if let Some(pair) = status.pairs.get_mut(0) {
                pair.members[1].state = CopyState::Stale;
            }
        }
        assert_eq!(judge(&s).line(), "degraded: fsd2's copy is stale");
        s.answers.get_mut(&ServerId(2)).unwrap().as_mut().unwrap().applied = LogIndex(30);
        assert_eq!(judge(&s).line(), "degraded: fsd2's copy is stale, names: entry 30 of 120 (25 %)");
        let mut nobody = s;
        for status in nobody.answers.values_mut().flatten() {
            (status.leader, status.quorum) = (None, false);
        }
        assert!(judge(&nobody).line().contains("fsd2's copy is stale"), "without a leader nobody says how far that is");
    }

    #[test]
    fn without_a_leader_or_any_answer_it_is_unavailable() {
        let mut s = seen();
        for status in s.answers.values_mut().flatten() {
            (status.leader, status.quorum) = (None, false);
        }
        assert!(judge(&s).line().starts_with("unavailable: nobody leads (5 of 5 voters answer, 3 are needed)"));
        s.answers.values_mut().for_each(|a| *a = None);
        assert_eq!(judge(&s).line(), "unavailable: no server answers");
        s.processes = Some([(Name::Mount, State::Stopped)].into());
        assert_eq!(judge(&s).line(), "unavailable: nothing of it runs");
    }

    #[test]
    fn without_a_quorum_nothing_can_be_read_and_nobody_is_said_to_serve() {
        let mut s = seen();
        for gone in [ServerId(1), ServerId(3), ServerId::WITNESS] {
            s.answers.insert(gone, None);
        }
        for status in s.answers.values_mut().flatten() {
            (status.leader, status.quorum) = (None, false);
        }
        let line = judge(&s).line();
        assert!(
            line.starts_with(
                "unavailable: nobody leads (2 of 5 voters answer, 3 are needed), so nobody serves: nothing can be read or \
                 changed until one more answers, and programs get EIO after 30 s; what does not answer: "
            ),
            "{line}"
        );
        assert!(line.contains("fsd1") && !line.contains(" serves,") && !line.contains("mirror"), "{line}");
        assert!(!line.contains("served"), "{line}");
        s.processes = Some([(Name::Server(ServerId(3)), State::Crashed)].into());
        assert!(judge(&s).line().contains("after 30 s; `raidfs up` starts what is down; "), "{}", judge(&s).line());
        s.answers.insert(ServerId(2), None);
        assert!(judge(&s).line().contains("until 2 more answer,"), "{}", judge(&s).line());
    }

    #[test]
    fn with_a_quorum_it_is_a_leader_that_is_waited_for() {
        let mut s = seen();
        s.answers.insert(ServerId(1), None);
        for status in s.answers.values_mut().flatten() {
            (status.leader, status.quorum) = (None, false);
        }
        let line = judge(&s).line();
        assert!(
            line.contains("(4 of 5 voters answer, 3 are needed): programs wait until a leader is elected"),
            "{line}"
        );
        assert!(!line.contains("nothing can be read"), "leases may last through the election: {line}");
    }

    #[test]
    fn who_refuses_says_why_though_others_answer() {
        let mut s = seen();
        s.answers.insert(ServerId(2), None);
        s.refusals.insert(ServerId(2), "refused: one of them has the wrong configuration".into());
        s.processes = Some([(Name::Server(ServerId(2)), State::Stopped)].into());
        let line = judge(&s).line();
        let words = "degraded: fsd2 is not reached (refused: one of them has the wrong configuration) since ";
        assert!(line.starts_with(words) && line.contains("its mirror fsd1 serves"), "{line}");
        s.answers.values_mut().for_each(|answer| *answer = None);
        s.processes = None;
        assert_eq!(
            judge(&s).line(),
            "unavailable: no server answers: fsd2 is not reached (refused: one of them has the wrong configuration)"
        );
    }

    #[test]
    fn who_starts_does_not_hang() {
        let mut s = seen();
        s.answers.insert(ServerId(2), None);
        s.processes = Some([(Name::Server(ServerId(2)), State::Running(77))].into());
        assert!(judge(&s).line().contains("fsd2 hangs (pid 77"), "{}", judge(&s).line());
        s.starting.insert(ServerId(2), Duration::from_secs(12));
        let words = "degraded: fsd2 is starting (pid 77 runs for 12 s, and still looks through what it has stored), its mirror fsd1 serves";
        assert_eq!(judge(&s).line(), words);
    }

    #[test]
    fn a_new_cluster_says_what_it_waits_for() {
        let mut s = seen();
        for status in s.answers.values_mut().flatten() {
            (status.leader, status.quorum, status.last_index) = (None, false, LogIndex(0));
        }
        assert!(judge(&s).line().starts_with("unavailable: this new cluster is about to begin"));
        s.answers.insert(ServerId(4), None);
        let line = judge(&s).line();
        assert!(
            line.starts_with("unavailable: this new cluster begins once all servers and the witness run"),
            "{line}"
        );
        assert!(line.contains("missing: fsd4;"), "{line}");
    }

    #[test]
    fn who_waits_for_room_makes_no_new_cluster() {
        let mut s = seen();
        for status in s.answers.values_mut().flatten() {
            (status.leader, status.quorum, status.last_index) = (None, false, LogIndex(0));
            (status.incarnation, status.disk_error) = (Incarnation(0), Some("no room".into()));
        }
        let line = judge(&s).line();
        assert!(line.starts_with("unavailable: nobody leads (0 of 5 voters answer, 3 are needed)"), "{line}");
        assert!(line.contains("make room on the disks of "), "{line}");
        let others = s.answers.values_mut().flatten().skip(1);
        others.for_each(|status| (status.incarnation, status.disk_error) = (Incarnation(1), None));
        let line = judge(&s).line();
        assert!(line.starts_with("unavailable: this new cluster begins once there is room on the disks of "), "{line}");
    }

    #[test]
    fn that_there_is_no_room_is_said_beside_that_all_is_well() {
        let mut s = seen();
        let mut fill = |pair: usize| {
            for status in s.answers.values_mut().flatten().filter(|status| !status.pairs.is_empty()) {
                status.pairs[pair].space.free = 0;
            }
            judge(&s).line()
        };
        let line = fill(1);
        assert!(line.starts_with("healthy: ") && line.contains("no room is left on fsd3+fsd4"), "{line}");
        let line = fill(0);
        assert!(line.starts_with("healthy: ") && line.contains("; no room is left: programs"), "{line}");
        s.answers.insert(ServerId(2), None);
        let line = judge(&s).line();
        assert!(line.starts_with("degraded: fsd2 ") && line.contains("; no room is left: programs"), "{line}");
    }

    #[test]
    fn what_is_lost_on_both_degrades() {
        let mut s = seen();
        let last = ScrubPass { state: ScrubState::Ended(5), mended: 3, lost: 2, ..ScrubPass::default() };
        s.answers.get_mut(&ServerId(4)).unwrap().as_mut().unwrap().scrub.last = Some(last);
        let verdict = judge(&s);
        assert_eq!(verdict.level, Level::Degraded);
        assert!(
            verdict.line().contains("fsd4 holds 2 chunks with bytes that are damaged on its mirror, too"),
            "{verdict:?}"
        );
        s.answers.get_mut(&ServerId(4)).unwrap().as_mut().unwrap().scrub.last = Some(ScrubPass { lost: 0, ..last });
        assert_eq!(judge(&s).level, Level::Healthy);
    }

    #[test]
    fn a_scrub_that_was_asked_for_says_how_long_it_takes() {
        let pass = ScrubPass { asked: true, ..quarter_of_a_scrub() };
        assert_eq!(scrub_words(&pass), "25 % of its chunks checked, 6.0 s left");
        assert_eq!(scrub_words(&ScrubPass { bytes: 0, chunks: 0, ..pass }), "0 % of its chunks checked");
    }

    #[test]
    fn a_failing_disk_degrades() {
        let mut s = seen();
        s.answers.get_mut(&ServerId(4)).unwrap().as_mut().unwrap().disk_error = Some("EIO".into());
        let verdict = judge(&s);
        assert_eq!(verdict.level, Level::Degraded);
        assert!(verdict.line().contains("fsd4 has trouble with its disk: EIO"));
    }
}
