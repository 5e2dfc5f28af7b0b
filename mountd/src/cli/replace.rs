//! `raidfs replace`: gives up the data directory that a server, or the witness, has had, so that another takes its place.
//! The leader decides whether it may; this says what will happen, asks it, and says what comes next.

use super::admin::{self, within};
use super::args::{ReplaceArgs, Target};
use super::local::Name;
use super::{Failure, human};
use crate::cluster::survey::{connect_admin, survey};
use raidfs_common::config::Config;
use raidfs_common::id::ServerId;
use raidfs_common::printed::printed;
use raidfs_common::rpc::admin::{NotReplaced, ServerStatus};
use std::process::ExitCode;
use std::time::{Duration, Instant};

const CONNECT: Duration = Duration::from_secs(2);
const ANSWER: Duration = Duration::from_secs(5);
/// A leader may have to be elected, and a server that has just died to be put out of its pair.
const PATIENCE: Duration = Duration::from_secs(10);
const TRY_EVERY: Duration = Duration::from_millis(100);

/// Runs the command.
pub fn run(args: &ReplaceArgs) -> Result<ExitCode, Failure> {
    let target = args.target.open()?;
    let config = target.config();
    let server = named(config, &args.name)?;
    admin::runtime().block_on(async {
        let answers = survey(config).await;
        println!("{}", plan(config, server, &answers));
        give_up(config, server).await
    })?;
    println!("{}", next(&target, server));
    Ok(ExitCode::SUCCESS)
}

fn named(config: &Config, name: &str) -> Result<ServerId, Failure> {
    let all = config.voters();
    all.iter().copied().find(|server| server.to_string() == name).ok_or_else(|| Failure::NoSuchName {
        asked: name.to_owned(),
        known: all.iter().map(ToString::to_string).collect(),
    })
}

/// What is going to happen.
fn plan(config: &Config, server: ServerId, answers: &[(ServerId, Option<ServerStatus>)]) -> String {
    let copied = match config.pair_of(server).map(|pair| config.servers_of(pair)) {
        None => "the log of the names is copied to the new one; files are not on the witness".to_owned(),
        Some([one, two]) => {
            let mirror = if one == server { two } else { one };
            let held = answers.iter().find(|(id, _)| *id == mirror).and_then(|(_, status)| Some(status.as_ref()?.held));
            let held = held.map_or_else(String::new, |(chunks, bytes)| {
                format!(" ({}, {})", human::several(chunks, "chunk", "chunks"), human::bytes(bytes))
            });
            format!(
                "all names, and all that its mirror {mirror} holds{held}, are copied to the new one, while the store is in use"
            )
        }
    };
    format!(
        "what giving up the data directory of {server} does, if that can be done:\n  it is refused from then on, whatever it holds\n  \
         the next other one with which {server} is started is taken in its place\n  {copied}"
    )
}

/// Asks whoever leads, until it is done or cannot be.
async fn give_up(config: &Config, server: ServerId) -> Result<(), Failure> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = ask(config, server).await;
        let wait =
            matches!(&answer, Err(NotReplaced::NotLeader(_) | NotReplaced::StillInSync | NotReplaced::NotAgreed));
        match answer {
            Err(_) if wait && Instant::now() < deadline => tokio::time::sleep(TRY_EVERY).await,
            Err(NotReplaced::NotLeader(_)) => return Err(Failure::NoLeader),
            Err(why) => return Err(Failure::NotReplaced { server, why }),
            Ok(()) => return Ok(()),
        }
    }
}

async fn ask(config: &Config, server: ServerId) -> Result<(), NotReplaced> {
    let nobody = || NotReplaced::NotLeader(None);
    let answers = survey(config).await.into_iter().filter_map(|(_, status)| status);
    let saying = answers.filter(|s| s.quorum && s.leader.is_some()).max_by_key(|s| s.term);
    let leader = saying.and_then(|s| s.leader).ok_or_else(nobody)?;
    let client = connect_admin(config, leader, CONNECT).await.map_err(|_| nobody())?;
    client.replace(within(ANSWER), server).await.unwrap_or_else(|_| Err(nobody()))
}

fn next(target: &Target, server: ServerId) -> String {
    match target {
        Target::Local(local) => format!(
            "it is given up. If {} still is the old one, move it away; then `raidfs start {server}`",
            printed(&local.data_dir(Name::Server(server)))
        ),
        Target::Config(_) => {
            format!("it is given up. Start {server} with an empty data directory, and see `raidfs status`")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::one_pair;
    use super::*;

    #[test]
    fn it_says_from_whom_what_is_copied() {
        let text = plan(&one_pair(), ServerId(2), &[]);
        assert!(text.contains("data directory of fsd2") && text.contains("its mirror fsd1 holds"), "{text}");
        assert!(plan(&one_pair(), ServerId::WITNESS, &[]).contains("the log"));
    }

    #[test]
    fn only_servers_and_the_witness_have_data_directories() {
        assert_eq!(named(&one_pair(), "witness").unwrap(), ServerId::WITNESS);
        assert!(named(&one_pair(), "mountd").unwrap_err().to_string().contains("fsd1, fsd2, witness"));
    }
}
