//! Accepting that both servers of a pair are gone for good. The leader decides whether it may be; this says what will
//! happen, has it confirmed, asks the leader, and says what comes next.

use super::super::args::Target;
use super::super::local::Name;
use super::super::progress::{Progress, Unit};
use super::super::status::servers_word;
use super::{ANSWER, CONNECT, Failure, Listing, Seen, human, list, look};
use crate::cli::admin::within;
use crate::cluster::survey::{connect_admin, survey};
use raidfs_common::config::Config;
use raidfs_common::id::{Incarnation, PairId};
use raidfs_common::pair::Pair;
use raidfs_common::rpc::admin::{Accepting, NotAccepted};
use std::io::{BufRead, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// A leader may have to be elected, and servers that were heard of a moment ago to be silent for long enough.
const PATIENCE: Duration = Duration::from_secs(20);
const TRY_EVERY: Duration = Duration::from_millis(200);

/// Runs the command for the pair that is named `fsd3+fsd4`.
pub async fn run(target: &Target, servers: &str, confirmed: bool) -> Result<ExitCode, Failure> {
    let config = target.config();
    let seen = look(config).await?;
    let pair = named(&seen.best.pairs, servers)?;
    refuse_at_once(&seen, pair).map_err(|why| Failure::NotAccepted { servers: servers.to_owned(), why })?;
    let listing = list(config, &seen, Some(pair)).await?;
    println!("{}", plan(pair, &listing));
    if !confirmed && !confirm(servers)? {
        return Err(Failure::NotConfirmed);
    }
    accept(config, pair.id).await.map_err(|why| match why {
        NotAccepted::NotLeader(_) => Failure::NoLeader,
        why => Failure::NotAccepted { servers: servers.to_owned(), why },
    })?;
    println!("{}", next(target, pair));
    Ok(ExitCode::SUCCESS)
}

fn named<'a>(pairs: &'a [Pair], servers: &str) -> Result<&'a Pair, Failure> {
    pairs.iter().find(|pair| servers_word(pair) == servers).ok_or_else(|| Failure::NoSuchPair {
        asked: servers.to_owned(),
        known: pairs.iter().map(servers_word).collect(),
    })
}

/// What the leader would refuse whatever comes, said before anything is looked at.
fn refuse_at_once(seen: &Seen, pair: &Pair) -> Result<(), NotAccepted> {
    if pair.in_sync().next().is_none() {
        return Err(NotAccepted::Already);
    }
    for member in &pair.members {
        let life = seen.answers.get(&member.server).map(|status| status.incarnation);
        // One that waits for room on its disk has no life, and is not lost.
        if life.is_some_and(|life| life == Incarnation(0) || member.incarnation.admits(life)) {
            return Err(NotAccepted::Answers(member.server));
        }
        if member.incarnation == Incarnation(0) {
            return Err(NotAccepted::NeverLived(member.server));
        }
    }
    Ok(())
}

/// What is going to happen.
fn plan(pair: &Pair, listing: &Listing) -> String {
    let servers = servers_word(pair);
    let [a, b] = pair.members.map(|member| member.server);
    let lost = human::several(listing.affected.len() as u64, "file", "files");
    let whole = human::several(listing.whole.len() as u64, "file", "files");
    format!(
        "what accepting the loss of {servers} does, if that can be done:\n  {lost} with bytes there, {} of them, lose these for \
         good (`raidfs lost` lists them); {whole} elsewhere are not touched\n  reading what is lost is an error (EIO), as long as \
         the file is neither removed nor written anew: whole, or from a backup\n  the data directories that {a} and {b} have had \
         are refused from then on, whatever they hold; `raidfs export` still reads them\n  the pair goes on once {a} or {b} is \
         started with an empty data directory\nthere is no way back",
        human::bytes(listing.bytes()),
    )
}

/// Has it typed.
fn confirm(servers: &str) -> Result<bool, Failure> {
    let wanted = format!("lose {servers}");
    print!("type `{wanted}` to go on: ");
    let failed = Failure::file("read from", "standard input");
    let mut line = String::new();
    let read = std::io::stdout().flush().and_then(|()| std::io::stdin().lock().read_line(&mut line));
    read.map_err(failed)?;
    Ok(line.trim() == wanted)
}

/// Asks whoever leads, until it is done or cannot be.
async fn accept(config: &Config, pair: PairId) -> Result<(), NotAccepted> {
    let mut progress = Progress::new("marking what is lost", Unit::Things("names"), 0);
    let mut deadline = Instant::now() + PATIENCE;
    let mut said = false;
    loop {
        match ask(config, pair).await {
            Ok(Accepting::Done) => return Ok(()),
            Ok(Accepting::Marked(below)) => {
                progress.at(below.0);
                deadline = Instant::now() + PATIENCE;
            }
            Err(NotAccepted::Heard(server)) if Instant::now() < deadline => {
                if !std::mem::replace(&mut said, true) {
                    eprintln!("{server} was heard of a moment ago: waiting until it has been silent for long enough");
                }
                tokio::time::sleep(TRY_EVERY).await;
            }
            Err(NotAccepted::NotLeader(_) | NotAccepted::NotAgreed) if Instant::now() < deadline => {
                tokio::time::sleep(TRY_EVERY).await;
            }
            Err(why) => return Err(why),
        }
    }
}

async fn ask(config: &Config, pair: PairId) -> Result<Accepting, NotAccepted> {
    let nobody = || NotAccepted::NotLeader(None);
    let answers = survey(config).await.into_iter().filter_map(|(_, status)| status);
    let saying = answers.filter(|s| s.quorum && s.leader.is_some()).max_by_key(|s| s.term);
    let leader = saying.and_then(|s| s.leader).ok_or_else(nobody)?;
    let client = connect_admin(config, leader, CONNECT).await.map_err(|_| nobody())?;
    client.accept_loss(within(ANSWER), pair).await.unwrap_or_else(|_| Err(nobody()))
}

fn next(target: &Target, pair: &Pair) -> String {
    let [a, b] = pair.members.map(|member| member.server);
    match target {
        Target::Local(local) => {
            let dir = |server| local.data_dir(Name::Server(server)).display().to_string();
            format!(
                "it is accepted. If {} or {} is still there, move it away; then `raidfs start {a}` and `raidfs start {b}`",
                dir(a),
                dir(b)
            )
        }
        Target::Config(_) => {
            format!("it is accepted. Start {a} and {b} with empty data directories, and see `raidfs status`")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Lost;
    use super::*;
    use raidfs_common::id::{Epoch, Ino, ServerId};
    use raidfs_common::pair::{CopyState, Member, Space};

    fn pair(state: CopyState) -> Pair {
        let member = |n, state| Member { server: ServerId(n), state, incarnation: Incarnation::of(1, n.into()) };
        let members = [member(3, state), member(4, CopyState::Stale)];
        Pair { id: PairId(1), epoch: Epoch(1), members, space: Space::default(), losses: 0 }
    }

    #[test]
    fn the_plan_says_how_much_is_lost_and_that_it_is_for_good() {
        let mut listing = Listing::default();
        listing.files.push(Lost { path: b"/f".to_vec(), ino: Ino(5), size: 4096, bytes: 2048 });
        listing.affected.insert(Ino(5));
        listing.whole.extend([Ino(6), Ino(7)]);
        let text = plan(&pair(CopyState::InSync), &listing);
        for part in
            ["1 file with bytes there, 2.0 KiB of them", "2 files elsewhere", "EIO", "fsd3 and fsd4", "no way back"]
        {
            assert!(text.contains(part), "{part:?} is not in {text}");
        }
    }

    #[test]
    fn a_pair_is_named_by_its_servers() {
        let pairs = [pair(CopyState::InSync)];
        assert_eq!(named(&pairs, "fsd3+fsd4").unwrap().id, PairId(1));
        assert!(named(&pairs, "fsd3").unwrap_err().to_string().contains("fsd3+fsd4"));
    }
}
