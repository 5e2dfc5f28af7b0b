//! `raidfs verify`: is everything that should be equal equal, and whole? Reads only; may run while the store is in use:
//! what looks wrong is looked at again before it is said to be.
//!
//! Rooms: `names` (the namespaces among each other), `chunks` (the mirrors of each pair among each other, and each against
//! its checksums), `belonging` (chunks against the namespace, and the other way: `suspects`). [`compare`] and `gone` decide,
//! and know no network.

mod belonging;
mod chunks;
pub mod compare;
mod gone;
mod names;
mod suspects;

use super::args::VerifyArgs;
use super::{Failure, admin, human};
use crate::cluster::survey::{NoAnswer, knows_most, survey_with_reasons};
use raidfs_common::config::Config;
use raidfs_common::id::ServerId;
use raidfs_common::pair::{CopyState, Pair};
use raidfs_common::rpc::admin::ServerStatus;
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Problems of one kind that are listed; of more only the number is said.
const LISTED_MAX: usize = 50;

/// What was found; lines go out as they come.
#[derive(Debug, Default)]
pub struct Report {
    wrong: usize,
    kinds: BTreeMap<&'static str, usize>,
    doubts: BTreeMap<&'static str, usize>,
}

impl Report {
    /// Something is wrong.
    pub fn wrong(&mut self, kind: &'static str, text: impl std::fmt::Display) {
        self.wrong += 1;
        let listed = self.kinds.entry(kind).or_default();
        *listed += 1;
        if *listed <= LISTED_MAX {
            println!("WRONG  {text}");
        }
    }

    /// Something may be wrong, and that cannot be told.
    pub fn doubt(&mut self, kind: &'static str, text: impl std::fmt::Display) {
        let listed = self.doubts.entry(kind).or_default();
        *listed += 1;
        if *listed <= LISTED_MAX {
            println!("doubt  {text}");
        }
    }

    /// Something is as it should be.
    pub fn right(&self, text: impl std::fmt::Display) {
        println!("ok     {text}");
    }

    /// Something is as an operator has accepted it.
    pub fn accepted(&self, text: impl std::fmt::Display) {
        println!("lost   {text}");
    }

    /// How many things are wrong.
    pub fn problems(&self) -> usize {
        self.wrong
    }

    fn end(&self, took: Duration) -> ExitCode {
        for (kind, count) in self.kinds.iter().filter(|(_, n)| **n > LISTED_MAX) {
            println!("WRONG  and {} more of this kind: {kind}", human::count((count - LISTED_MAX) as u64));
        }
        for (kind, count) in self.doubts.iter().filter(|(_, n)| **n > LISTED_MAX) {
            println!("doubt  and {} more of this kind: {kind}", human::count((count - LISTED_MAX) as u64));
        }
        let took = human::span(took);
        match self.wrong {
            0 => println!("nothing is wrong (took {took})"),
            1 => println!("1 thing is wrong (took {took})"),
            n => println!("{} things are wrong (took {took})", human::count(n as u64)),
        }
        if self.kinds.contains_key("chunks") {
            println!("`raidfs scrub` mends what the other copy has whole, and says what it cannot");
        }
        if self.wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// Who answers, and what they say of themselves.
pub type Answers = BTreeMap<ServerId, ServerStatus>;

/// Runs the command.
pub fn run(args: &VerifyArgs) -> Result<ExitCode, Failure> {
    let target = args.target.open()?;
    let began = Instant::now();
    let mut report = Report::default();
    admin::runtime().block_on(verify(target.config(), &mut report));
    Ok(report.end(began.elapsed()))
}

/// Looks at everything, and says what it finds.
pub async fn verify(config: &Config, report: &mut Report) {
    let answers = attendance(config, report).await;
    let Some(best) = knows_most(answers.values()) else { return };
    copies(&best.pairs, &answers, report);
    names::check(config, &answers, report).await;
    let held = chunks::check(config, &best.pairs, &answers, report).await;
    chunks::say_lost(&held, report);
    belonging::check(config, best, &held, report).await;
}

/// Who does not answer is not verified, and that is said.
async fn attendance(config: &Config, report: &mut Report) -> Answers {
    let mut answers = Answers::new();
    for (server, answer) in survey_with_reasons(config).await {
        match answer {
            Ok(status) => {
                answers.insert(server, status);
            }
            Err(why) => report.wrong("no answer", absence(server, &why)),
        }
    }
    if !answers.values().any(|s| s.quorum) {
        report.wrong("no leader", "nobody leads: too few servers answer each other");
    }
    answers
}

fn absence(server: ServerId, why: &NoAnswer) -> String {
    let how = match why {
        NoAnswer::Silent => "does not answer".to_owned(),
        NoAnswer::Refused(words) => format!("is not reached ({words})"),
    };
    format!("{server} {how}; what it has is not verified")
}

fn copies(pairs: &[Pair], answers: &Answers, report: &mut Report) {
    for member in pairs.iter().flat_map(|p| &p.members) {
        if member.state != CopyState::InSync && answers.contains_key(&member.server) {
            let state = super::status::copy_word(member.state);
            report.wrong("not in sync", format_args!("{}'s copy is {state}; it was not compared", member.server));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_refuses_is_not_said_to_be_silent() {
        let said = |why| absence(ServerId(1), &why);
        assert_eq!(said(NoAnswer::Silent), "fsd1 does not answer; what it has is not verified");
        let refused = said(NoAnswer::Refused("refused: one of them has the wrong configuration".into()));
        assert_eq!(
            refused,
            "fsd1 is not reached (refused: one of them has the wrong configuration); what it has is not verified"
        );
    }
}
