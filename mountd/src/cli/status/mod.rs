//! `raidfs status`: asks everything at once, judges, and shows the result. Answers within a second however much is
//! broken: nothing here waits for a quorum, a leader or a mount.

mod json;
mod text;
mod verdict;

use super::args::{StatusArgs, Target};
use super::local::{Local, Name};
use super::mounts::{self, MountState};
use super::process::State;
use super::{Failure, admin};
use crate::cluster::holder::Holder;
use crate::cluster::survey::{NoAnswer, knows_most, survey_with_reasons};
use raidfs_common::config::Config;
use raidfs_common::id::{Incarnation, ServerId};
use raidfs_common::pair::Pair;
use raidfs_common::rpc::admin::ServerStatus;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};
use verdict::Level;
pub use verdict::{copy as copy_word, servers as servers_word};

/// Everything that could be learnt at one moment.
#[derive(Debug)]
pub struct Seen {
    /// What the cluster should be.
    pub config: Config,
    /// What each server says of itself and the others, the witness too; None: no answer.
    pub answers: BTreeMap<ServerId, Option<ServerStatus>>,
    /// In whose place somebody answers who refuses to talk to us, and the words for it: another cluster's, or another version.
    pub refusals: BTreeMap<ServerId, String>,
    /// Of a local cluster: its processes.
    pub processes: Option<BTreeMap<Name, State>>,
    /// Of a local cluster: whose process is still on its way to serve, and for how long it has run.
    pub starting: BTreeMap<ServerId, Duration>,
    /// Of a local cluster: where its logs are.
    pub logs: Option<PathBuf>,
    /// Of a local cluster: where it is mounted, and how the mount is.
    pub mount: Option<(PathBuf, MountState)>,
    /// Of a local cluster: who else has the store mounted, elsewhere.
    pub elsewhere: Option<Holder>,
    /// When.
    pub now: SystemTime,
}

/// While `--wait-healthy` waits for the same, it says how far that is this often.
const SAY_AGAIN: Duration = Duration::from_secs(10);

/// Runs the command.
pub fn run(args: &StatusArgs) -> Result<ExitCode, Failure> {
    let target = args.target.open()?;
    // One beyond what a clock can say is none.
    let deadline = Instant::now().checked_add(Duration::from_secs(args.wait_healthy.unwrap_or(0)));
    let mut said = None;
    let (seen, verdict) = loop {
        let seen = look(&target);
        let verdict = verdict::judge(&seen);
        if verdict.level == Level::Healthy || deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            break (seen, verdict);
        }
        let line = verdict.line();
        let news = said
            .as_ref()
            .is_none_or(|(last, at): &(String, Instant)| *last != without_numbers(&line) || at.elapsed() >= SAY_AGAIN);
        if news {
            eprintln!("waiting: {line}");
            said = Some((without_numbers(&line), Instant::now()));
        }
        super::wait::pause();
    };
    if args.json {
        println!("{:#}", json::of(&seen, &verdict));
    } else {
        print!("{}", text::of(&seen, &verdict));
    }
    Ok(ExitCode::from(verdict.level as u8))
}

/// What stays the same of a line while only time passes and copying goes on.
fn without_numbers(line: &str) -> String {
    let is_number = |word: &&str| word.trim_start_matches('(').starts_with(|c: char| c.is_ascii_digit());
    line.split_whitespace().filter(|word| !is_number(word)).collect::<Vec<_>>().join(" ")
}

/// Waits until a cluster that has just come up is healthy and knows its room; if that takes longer than `patience`, says
/// why.
pub fn settle(local: Local, patience: Duration) -> Option<String> {
    let target = Target::Local(local);
    let deadline = Instant::now() + patience;
    loop {
        let seen = look(&target);
        let verdict = verdict::judge(&seen);
        let roomy = seen.best().is_some_and(|s| s.pairs.iter().all(|p| p.space.total > 0));
        if verdict.level == Level::Healthy && roomy {
            return None;
        }
        if Instant::now() >= deadline {
            return (verdict.level != Level::Healthy).then(|| verdict.line());
        }
        super::wait::pause();
    }
}

fn look(target: &Target) -> Seen {
    let config = target.config();
    // The mount may hang: it is asked while the servers are.
    let place = match target {
        Target::Local(local) => local.mount_point().map(|at| at.path),
        Target::Config(_) => None,
    };
    let mount = std::thread::spawn(move || place.map(|path| (path.clone(), mounts::state(&path))));
    // Before they are asked: one that comes up meanwhile was starting when it did not answer.
    let starting = match target {
        Target::Local(local) => {
            config.servers().filter_map(|s| Some((s, local.starting_for(Name::Server(s))?))).collect()
        }
        Target::Config(_) => BTreeMap::new(),
    };
    let (mut answers, mut refusals) = (BTreeMap::new(), BTreeMap::new());
    for (server, answer) in admin::runtime().block_on(survey_with_reasons(config)) {
        if let Err(NoAnswer::Refused(words)) = &answer {
            refusals.insert(server, words.clone());
        }
        answers.insert(server, answer.ok());
    }
    let processes = match target {
        Target::Local(local) => {
            let names = local.servers().into_iter().chain([Name::Mount]);
            Some(names.map(|n| (n, local.state(n))).collect())
        }
        Target::Config(_) => None,
    };
    let logs = match target {
        Target::Local(local) => Some(local.dir.join("log")),
        Target::Config(_) => None,
    };
    let mount = mount.join().expect("asking for the state of a mount does not panic");
    let (config, now) = (config.clone(), SystemTime::now());
    let mut seen = Seen { config, answers, refusals, processes, starting, logs, mount, elsewhere: None, now };
    seen.elsewhere = seen.mounted_elsewhere();
    seen
}

/// Whether a server's process only says that its disk has no room, and goes on once there is some.
fn waits_for_room(status: &ServerStatus) -> bool {
    status.incarnation == Incarnation(0) && status.disk_error.is_some()
}

impl Seen {
    /// The answer that knows most.
    pub fn best(&self) -> Option<&ServerStatus> {
        knows_most(self.answers.values().flatten())
    }

    /// Who has the store mounted, if that is on another machine or at another place than here, and not known to be gone. Asks
    /// this machine.
    fn mounted_elsewhere(&self) -> Option<Holder> {
        let (here, _) = self.mount.as_ref()?;
        let (_, holder) = self.best()?.session.as_ref()?;
        Holder::parse(holder).filter(|holder| !holder.is_at(here) && !holder.is_gone())
    }

    /// Who leads, if somebody does.
    pub fn leader(&self) -> Option<ServerId> {
        let saying = self.answers.values().flatten().filter(|s| s.quorum && s.leader.is_some());
        saying.max_by_key(|s| s.term).and_then(|s| s.leader)
    }

    /// A server's own answer.
    pub fn answer(&self, server: ServerId) -> Option<&ServerStatus> {
        self.answers.get(&server).and_then(Option::as_ref)
    }

    /// How many voters answer, and how many have to: with fewer nobody gets a lease, and without one no server serves.
    pub fn attendance(&self) -> (usize, usize) {
        (self.voting().count(), self.answers.len() / 2 + 1)
    }

    /// Of those that answer, those that take part.
    pub fn voting(&self) -> impl Iterator<Item = &ServerStatus> {
        self.answers.values().flatten().filter(|status| !waits_for_room(status))
    }

    /// Those that answer, and do not take part: they go on once there is room on their disks.
    pub fn waiting_for_room(&self) -> Vec<ServerId> {
        self.answers.values().flatten().filter(|status| waits_for_room(status)).map(|status| status.server).collect()
    }

    /// Who serves a pair's files: whose copy is in sync, and who hears a leader, without whom it has no lease.
    pub fn serving<'a>(&'a self, pair: &'a Pair) -> impl Iterator<Item = ServerId> + 'a {
        let hears = |server: &ServerId| self.answer(*server).is_some_and(|status| status.quorum);
        pair.in_sync().map(|m| m.server).filter(hears)
    }

    /// How long a server has not answered the leader; None: not known.
    pub fn silent_for(&self, server: ServerId) -> Option<Duration> {
        let leader = self.answer(self.leader()?)?;
        let heard = leader.heard_ms.iter().find(|(s, _)| *s == server)?;
        heard.1.map(Duration::from_millis)
    }

    /// What the operating system says of a server that does not answer.
    pub fn process(&self, name: Name) -> Option<State> {
        self.processes.as_ref()?.get(&name).copied()
    }
}

#[cfg(test)]
mod testing;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_passing_of_time_is_no_news() {
        let at = |text: &str| without_numbers(text);
        assert_eq!(at("fsd2 is down since 14:02:11 (3 s)"), at("fsd2 is down since 14:02:12 (4 s)"));
        assert_eq!(at("fsd2: 98 % (19 of 22 chunks)"), at("fsd2: 100 % (22 of 22 chunks)"));
        assert_ne!(at("fsd2 is down since 14:02:11 (3 s)"), at("fsd3 is down since 14:02:11 (3 s)"));
    }
}
