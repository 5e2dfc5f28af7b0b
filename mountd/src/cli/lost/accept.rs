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
use raidfs_common::id::Incarnation;
use raidfs_common::pair::Pair;
use raidfs_common::printed::printed;
use raidfs_common::rpc::admin::{Accepting, NotAccepted};
use std::io::{BufRead, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// A leader may have to be elected, and servers that were heard of a moment ago to be silent for long enough.
const PATIENCE: Duration = Duration::from_secs(20);
const TRY_EVERY: Duration = Duration::from_millis(200);

/// Runs the command for the pair that is named `fsd3+fsd4`, or `fsd4+fsd3`.
pub async fn run(target: &Target, servers: &str, confirmed: bool) -> Result<ExitCode, Failure> {
    let config = target.config();
    let seen = look(config).await?;
    let pair = named(&seen.best.pairs, servers)?;
    let servers = &*servers_word(pair);
    let refused = |why| Failure::NotAccepted { servers: servers.to_owned(), why };
    refuse_at_once(&seen, pair).map_err(refused)?;
    let listing = list(config, &seen, Some(pair)).await?;
    println!("{}", plan(pair, &listing));
    if !confirmed && !confirm(servers)? {
        return Err(Failure::NotConfirmed);
    }
    // Whoever reads takes time, in which one of them may have come back.
    let now = look(config).await?;
    refuse_at_once(&now, named(&now.best.pairs, servers)?).map_err(refused)?;
    match accept(config, pair).await {
        Ended::Accepted => {}
        Ended::Refused(NotAccepted::NotLeader(_)) => return Err(Failure::NoLeader),
        Ended::Refused(why) => return Err(refused(why)),
        Ended::Unknown(why) => {
            return Err(Failure::MayBeAccepted { servers: servers.to_owned(), why });
        }
    }
    println!("{}", next(target, pair));
    Ok(ExitCode::SUCCESS)
}

fn named<'a>(pairs: &'a [Pair], servers: &str) -> Result<&'a Pair, Failure> {
    let reversed = servers.split_once('+').map(|(a, b)| format!("{b}+{a}")).unwrap_or_default();
    pairs.iter().find(|pair| [servers, &reversed].contains(&&*servers_word(pair))).ok_or_else(|| Failure::NoSuchPair {
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

/// How the asking ended.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    Accepted,
    /// It was not accepted.
    Refused(NotAccepted),
    /// Something that was asked got no answer: it may have been accepted, or still be.
    Unknown(NotAccepted),
}

/// What the answers so far come to. Pure.
#[derive(Debug, Default)]
struct Asked {
    /// Something was asked that got no answer, or one that does not say whether it will be done.
    unknown: bool,
}

/// One answer of the leader; None: it could not be asked.
type Answer = Option<Result<Accepting, NotAccepted>>;

impl Asked {
    /// What follows from an answer to a request that was sent (or not: `None`); None: to be asked again, as long as there is
    /// patience.
    fn judge(&mut self, sent: bool, answer: Answer, is_patient: bool) -> Option<Ended> {
        let refused = |why| if self.unknown { Ended::Unknown(why) } else { Ended::Refused(why) };
        match answer {
            Some(Ok(Accepting::Done)) => Some(Ended::Accepted),
            Some(Ok(Accepting::Marked(_))) => None,
            // By what was asked before: it was not when this began.
            Some(Err(NotAccepted::Already)) if self.unknown => Some(Ended::Accepted),
            Some(Err(NotAccepted::Heard(_) | NotAccepted::NotLeader(_))) if is_patient => None,
            Some(Err(NotAccepted::NotAgreed)) => {
                self.unknown = true;
                (!is_patient).then_some(Ended::Unknown(NotAccepted::NotAgreed))
            }
            Some(Err(why)) => Some(refused(why)),
            None => {
                self.unknown |= sent;
                let nobody = NotAccepted::NotLeader(None);
                (!is_patient).then_some(if self.unknown { Ended::Unknown(nobody) } else { Ended::Refused(nobody) })
            }
        }
    }
}

/// Asks whoever leads, until it is done or cannot be: as the pair was when it was shown.
async fn accept(config: &Config, pair: &Pair) -> Ended {
    let mut progress = Progress::new("marking what is lost", Unit::Things("names"), 0);
    let mut deadline = Instant::now() + PATIENCE;
    let (mut said, mut asked) = (false, Asked::default());
    loop {
        let (sent, answer) = ask(config, pair).await;
        if let Some(ended) = asked.judge(sent, answer, Instant::now() < deadline) {
            return ended;
        }
        match answer {
            Some(Ok(Accepting::Marked(below))) => {
                progress.at(below.0);
                deadline = Instant::now() + PATIENCE;
                continue;
            }
            Some(Err(NotAccepted::Heard(server))) if !std::mem::replace(&mut said, true) => {
                progress.note(format_args!(
                    "{server} was heard of a moment ago: waiting until it has been silent for long enough"
                ));
            }
            _ => {}
        }
        tokio::time::sleep(TRY_EVERY).await;
    }
}

/// Whether the leader was asked, and what it said.
async fn ask(config: &Config, pair: &Pair) -> (bool, Answer) {
    let answers = survey(config).await.into_iter().filter_map(|(_, status)| status);
    let saying = answers.filter(|s| s.quorum && s.leader.is_some()).max_by_key(|s| s.term);
    let Some(leader) = saying.and_then(|s| s.leader) else { return (false, None) };
    let Ok(client) = connect_admin(config, leader, CONNECT).await else { return (false, None) };
    (true, client.accept_loss(within(ANSWER), pair.id, pair.epoch).await.ok())
}

fn next(target: &Target, pair: &Pair) -> String {
    let [a, b] = pair.members.map(|member| member.server);
    match target {
        Target::Local(local) => {
            let dir = |server| printed(&local.data_dir(Name::Server(server))).to_string();
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
    use raidfs_common::id::{Epoch, Ino, PairId, ServerId};
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
    fn what_was_done_by_a_try_without_an_answer_is_done() {
        let already = || Some(Err(NotAccepted::Already));
        assert_eq!(Asked::default().judge(true, already(), true), Some(Ended::Refused(NotAccepted::Already)));
        let mut asked = Asked::default();
        assert_eq!(asked.judge(false, None, true), None, "nobody led");
        assert_eq!(asked.judge(true, already(), true), Some(Ended::Refused(NotAccepted::Already)), "nothing was asked");
        assert_eq!(asked.judge(true, None, true), None);
        assert_eq!(asked.judge(true, already(), true), Some(Ended::Accepted));
        assert_eq!(Asked::default().judge(true, Some(Ok(Accepting::Done)), false), Some(Ended::Accepted));
    }

    #[test]
    fn that_nothing_has_changed_is_said_only_where_it_is_known() {
        let answers = || Some(Err(NotAccepted::Answers(ServerId(3))));
        assert_eq!(
            Asked::default().judge(true, answers(), true),
            Some(Ended::Refused(NotAccepted::Answers(ServerId(3))))
        );
        let mut asked = Asked::default();
        assert_eq!(asked.judge(true, Some(Err(NotAccepted::NotAgreed)), true), None, "it may be agreed to yet");
        assert_eq!(asked.judge(true, answers(), true), Some(Ended::Unknown(NotAccepted::Answers(ServerId(3)))));
        assert_eq!(asked.judge(false, None, false), Some(Ended::Unknown(NotAccepted::NotLeader(None))));
        assert_eq!(
            Asked::default().judge(false, None, false),
            Some(Ended::Refused(NotAccepted::NotLeader(None))),
            "nobody was asked"
        );
    }

    #[test]
    fn a_pair_is_named_by_its_servers() {
        let pairs = [pair(CopyState::InSync)];
        assert_eq!(named(&pairs, "fsd3+fsd4").unwrap().id, PairId(1));
        assert!(named(&pairs, "fsd3").unwrap_err().to_string().contains("fsd3+fsd4"));
    }
}
