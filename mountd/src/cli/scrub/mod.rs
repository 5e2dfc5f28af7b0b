//! `raidfs scrub`: has every server compare all of its chunks with their checksums and mend what is damaged from its
//! mirror, and says what came of it. The servers do the work; this asks them now and then how far they are.
//!
//! What is said, and the exit code, is decided in `words` (pure).

mod words;

use super::admin::{self, within};
use super::args::ScrubArgs;
use super::progress::{Progress, Unit};
use super::{Failure, file_paths, human};
use crate::cluster::survey::{connect_admin, knows_most, survey};
use raidfs_common::config::Config;
use raidfs_common::error::Rejection;
use raidfs_common::id::{ChunkId, ServerId};
use raidfs_common::rpc::admin::{AdminServiceClient, ScrubPass, ScrubState};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use words::Outcome;
pub use words::found;

const CONNECT: Duration = Duration::from_secs(2);
const ANSWER: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Runs the command.
pub fn run(args: &ScrubArgs) -> Result<ExitCode, Failure> {
    let target = args.target.open()?;
    let began = Instant::now();
    let outcomes = admin::runtime().block_on(scrub(target.config()));
    println!("{} (took {})", words::verdict(&outcomes), human::span(began.elapsed()));
    Ok(ExitCode::from(words::code(&outcomes)))
}

/// Has all servers look at the same time.
async fn scrub(config: &Config) -> BTreeMap<ServerId, Outcome> {
    let begin = |server| async move { (server, begin(config, server).await) };
    let begun = futures::future::join_all(config.servers().map(begin)).await;
    let total = begun.iter().flat_map(|(_, pass)| pass.as_ref().ok()).map(|(_, pass)| pass.total_bytes).sum();
    let progress = RefCell::new((Progress::new("looking", Unit::Bytes, total), BTreeMap::new()));
    let follow = |(server, begun): (ServerId, Result<(AdminServiceClient, ScrubPass), Outcome>)| {
        let progress = &progress;
        async move {
            let outcome = match begun {
                Ok((client, pass)) => follow(&client, server, pass.number, progress).await,
                Err(outcome) => outcome,
            };
            (server, outcome)
        }
    };
    let outcomes: BTreeMap<_, _> = futures::future::join_all(begun.into_iter().map(follow)).await.into_iter().collect();
    drop(progress);
    for (server, outcome) in &outcomes {
        println!("{}", words::line(*server, outcome));
    }
    name_lost(config, &outcomes).await;
    outcomes
}

async fn begin(config: &Config, server: ServerId) -> Result<(AdminServiceClient, ScrubPass), Outcome> {
    let silent = |why: String| Outcome::Unreached(why);
    let client = connect_admin(config, server, CONNECT).await.map_err(|e| silent(e.to_string()))?;
    match client.scrub(within(ANSWER)).await {
        Ok(Ok(number)) => {
            let (pass, _) = ask(&client, number).await?;
            Ok((client, pass))
        }
        Ok(Err(Rejection::NotInCharge)) => Err(Outcome::NotInSync),
        Ok(Err(rejection)) => Err(silent(rejection.to_string())),
        Err(error) => Err(silent(error.to_string())),
    }
}

/// Waits until a pass has ended.
async fn follow(
    client: &AdminServiceClient,
    server: ServerId,
    number: u64,
    progress: &RefCell<(Progress, BTreeMap<ServerId, u64>)>,
) -> Outcome {
    loop {
        let (pass, lost) = match ask(client, number).await {
            Ok(answer) => answer,
            Err(outcome) => return outcome,
        };
        {
            let (shown, done) = &mut *progress.borrow_mut();
            done.insert(server, pass.bytes.min(pass.total_bytes));
            shown.at(done.values().sum());
        }
        match pass.state {
            ScrubState::Runs => tokio::time::sleep(LOOK_EVERY).await,
            ScrubState::Ended(_) => return Outcome::Ended(pass, lost),
            ScrubState::BrokenOff => return Outcome::BrokenOff(pass, lost),
        }
    }
}

async fn ask(client: &AdminServiceClient, number: u64) -> Result<(ScrubPass, Vec<ChunkId>), Outcome> {
    match client.scrubbed(within(ANSWER), number).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(Rejection::Forgotten)) => Err(Outcome::Unreached("it was started anew meanwhile".into())),
        Ok(Err(rejection)) => Err(Outcome::Unreached(rejection.to_string())),
        Err(error) => Err(Outcome::Unreached(error.to_string())),
    }
}

/// Says which files the chunks belong to that could not be mended.
async fn name_lost(config: &Config, outcomes: &BTreeMap<ServerId, Outcome>) {
    let mut lost: BTreeMap<ChunkId, Vec<ServerId>> = BTreeMap::new();
    for (server, outcome) in outcomes {
        for chunk in outcome.lost() {
            lost.entry(*chunk).or_default().push(*server);
        }
    }
    if lost.is_empty() {
        return;
    }
    let answers = survey(config).await.into_iter().filter_map(|(_, answer)| answer);
    let files = lost.keys().map(|chunk| chunk.ino).collect();
    let paths = match knows_most(answers) {
        Some(best) => file_paths::of(config, best.server, best.applied, files).await,
        None => Err("no server answers questions about names".to_owned()),
    };
    if let Err(why) = &paths {
        eprintln!("which files these chunks belong to is not known: {why}");
    }
    for (chunk, servers) in &lost {
        println!("{}", words::lost(*chunk, servers, paths.as_ref().ok().and_then(|paths| paths.get(&chunk.ino))));
    }
}
