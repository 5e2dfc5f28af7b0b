//! `raidfs lost`: which files have bytes that nobody has any more, because both servers of a pair are away, or are gone for
//! good; and accepting that. Needs no mount: names are asked of any server, and what is lost of the one who has it.
//!
//! Two rooms: `found` (what is lost of a file; pure), `accept` (accepting a pair's loss).

mod accept;
mod found;

use super::admin::{self, connect_names, within};
use super::args::LostArgs;
use super::progress::{Progress, Unit};
use super::tree::Walk;
use super::{Failure, human, json_path};
use crate::cluster::survey::{connect_admin, knows_most, survey};
use found::{Losses, State, state_of};
use raidfs_common::attr::Attr;
use raidfs_common::config::Config;
use raidfs_common::id::{ChunkId, Ino, ServerId};
use raidfs_common::pair::Pair;
use raidfs_common::printed::printed_bytes;
use raidfs_common::rpc::admin::ServerStatus;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

const CONNECT: Duration = Duration::from_secs(2);
const ANSWER: Duration = Duration::from_secs(60);

/// A file that has lost something.
#[derive(Debug)]
struct Lost {
    path: Vec<u8>,
    ino: Ino,
    size: u64,
    bytes: u64,
}

/// What was found.
#[derive(Debug, Default)]
struct Listing {
    pairs: Vec<(Pair, State)>,
    /// By path.
    files: Vec<Lost>,
    /// Files that have lost something, and others; each once, however many names it has.
    affected: BTreeSet<Ino>,
    whole: BTreeSet<Ino>,
}

impl Listing {
    /// How many bytes are lost in all.
    fn bytes(&self) -> u64 {
        let by_file: BTreeMap<Ino, u64> = self.files.iter().map(|file| (file.ino, file.bytes)).collect();
        by_file.into_values().sum()
    }
}

/// Who answers, and whose word on names counts.
struct Seen {
    answers: BTreeMap<ServerId, ServerStatus>,
    best: ServerStatus,
}

/// Runs the command.
pub fn run(args: &LostArgs) -> Result<ExitCode, Failure> {
    let target = args.target.open()?;
    let config = target.config();
    admin::runtime().block_on(async {
        match &args.accept {
            Some(servers) => accept::run(&target, servers, args.yes).await,
            None => {
                let listing = list(config, &look(config).await?, None).await?;
                if args.json {
                    println!("{:#}", json_of(&listing));
                } else {
                    print_text(&listing);
                }
                Ok(ExitCode::from(u8::from(!listing.files.is_empty())))
            }
        }
    })
}

async fn look(config: &Config) -> Result<Seen, Failure> {
    let answers: BTreeMap<_, _> = survey(config).await.into_iter().filter_map(|(id, s)| Some((id, s?))).collect();
    let best = knows_most(answers.values()).cloned().ok_or(Failure::NoNames)?;
    Ok(Seen { answers, best })
}

/// Finds every file that has lost something: with `only`, as if that pair were away.
async fn list(config: &Config, seen: &Seen, only: Option<&Pair>) -> Result<Listing, Failure> {
    let answers = |server| seen.answers.get(&server).map(|status| status.incarnation);
    let mut listing = Listing::default();
    let mut losses = Losses::new(seen.best.pairs.len());
    for pair in &seen.best.pairs {
        let state = if only.is_some_and(|only| only.id == pair.id) { State::Away } else { state_of(pair, answers) };
        match state {
            _ if only.is_some_and(|only| only.id != pair.id) => continue,
            State::Away => losses.away(pair.id),
            State::Accepted => losses.marked(pair.id, marks(config, seen).await?),
            State::Served if pair.losses > 0 => {
                let served = found::serving(pair, answers);
                for (chunk, bytes) in lost_chunks(config, served.unwrap_or_default(), pair).await? {
                    losses.found(chunk, bytes);
                }
            }
            State::Served => {}
        }
        listing.pairs.push((pair.clone(), state));
    }
    let names = connect_names(config, seen.best.server).await.map_err(Failure::NotTold)?;
    let mut progress = Progress::new("looking", Unit::Things("names"), seen.best.inodes.1);
    let mut tell = |path: &[u8], attr: &Attr| {
        progress.add(1);
        let bytes = losses.of(attr);
        if bytes == 0 {
            listing.whole.insert(attr.ino);
            return;
        }
        listing.affected.insert(attr.ino);
        listing.files.push(Lost { path: path.to_vec(), ino: attr.ino, size: attr.size, bytes });
    };
    let mut walk = Walk::new(&names, seen.best.applied);
    while let Some(page) = walk.page().await.map_err(Failure::NotTold)? {
        page.iter().for_each(|(path, attr)| tell(path, attr));
    }
    listing.files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(listing)
}

/// What was marked as lost, by file.
async fn marks(config: &Config, seen: &Seen) -> Result<Vec<raidfs_common::rpc::admin::LostFile>, Failure> {
    let server = seen.best.server;
    let client = connect_admin(config, server, CONNECT).await.map_err(|e| Failure::NotTold(e.to_string()))?;
    let mut all: Vec<raidfs_common::rpc::admin::LostFile> = Vec::new();
    loop {
        let page = client.marked_lost(within(ANSWER), seen.best.applied, all.last().map(|file| file.ino)).await;
        let page = page.map_err(|e| Failure::NotTold(e.to_string()))?.map_err(|e| Failure::NotTold(e.to_string()))?;
        if page.is_empty() {
            return Ok(all);
        }
        all.extend(page);
    }
}

/// The chunks of which `server` knows that bytes were accepted as lost, and how many.
async fn lost_chunks(config: &Config, server: ServerId, pair: &Pair) -> Result<Vec<(ChunkId, u64)>, Failure> {
    let client = connect_admin(config, server, CONNECT).await.map_err(|e| Failure::NotTold(e.to_string()))?;
    let (mut after, mut lost) = (None, Vec::new());
    loop {
        let page = client.inventory(within(ANSWER), pair.id, after, false).await;
        let page = page.map_err(|e| Failure::NotTold(e.to_string()))?.map_err(|e| Failure::NotTold(e.to_string()))?;
        let Some(last) = page.last() else { return Ok(lost) };
        after = Some(last.chunk);
        lost.extend(page.iter().filter(|s| s.lost > 0).map(|s| (s.chunk, s.lost.into())));
    }
}

fn print_text(listing: &Listing) {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut print = |line: &[u8]| drop(out.write_all(line).and_then(|()| out.write_all(b"\n")));
    for (pair, state) in &listing.pairs {
        if let Some(words) = found::words(pair, *state) {
            print(words.as_bytes());
        }
    }
    for file in &listing.files {
        print(line(file).as_bytes());
    }
    print(summary(listing).as_bytes());
}

/// The line of a file.
fn line(file: &Lost) -> String {
    format!("LOST {:>14} of {:>14}  {}", file.bytes, file.size, printed_bytes(&file.path))
}

fn summary(listing: &Listing) -> String {
    let whole = human::several(listing.whole.len() as u64, "file", "files");
    if listing.files.is_empty() {
        return format!("nothing is lost: {whole}, all of them whole");
    }
    let affected = match listing.affected.len() as u64 {
        1 => "1 file has lost bytes".to_owned(),
        n => format!("{} files have lost bytes", human::count(n)),
    };
    format!("{affected}, {} in all; {whole} lost nothing", human::bytes(listing.bytes()))
}

fn json_of(listing: &Listing) -> Value {
    let pair = |(pair, state): &(Pair, State)| json!({ "servers": pair.members.map(|m| m.server.to_string()), "state": state.word() });
    let file = |file: &Lost| {
        let mut object = json!({ "inode": file.ino.0, "size": file.size, "lost_bytes": file.bytes });
        json_path::put(&mut object, &file.path);
        object
    };
    json!({
        "pairs": listing.pairs.iter().map(pair).collect::<Vec<_>>(),
        "lost_files": listing.affected.len(),
        "lost_bytes": listing.bytes(),
        "whole_files": listing.whole.len(),
        "files": listing.files.iter().map(file).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_forges_a_line_or_is_spoiled_for_programs() {
        let path = b"/f\nLOST              9 of              9  /\xff".to_vec();
        let file = Lost { path, ino: Ino(5), size: 10, bytes: 7 };
        assert_eq!(
            line(&file),
            r"LOST              7 of             10  $'/f\nLOST              9 of              9  /\377'"
        );
        let listing = Listing { files: vec![file], ..Listing::default() };
        let json = json_of(&listing);
        let hex = json["files"][0]["path_hex"].as_str().unwrap();
        assert!(hex.starts_with("2f660a4c4f5354") && hex.ends_with("2fff"), "{json}");
    }

    #[test]
    fn a_file_with_two_names_is_lost_once() {
        let file = |path: &str, ino| Lost { path: path.into(), ino: Ino(ino), size: 10, bytes: 7 };
        let mut listing = Listing::default();
        assert_eq!(summary(&listing), "nothing is lost: 0 files, all of them whole");
        listing.files = vec![file("/a", 5), file("/b", 5)];
        listing.affected.insert(Ino(5));
        listing.whole.insert(Ino(6));
        assert_eq!(summary(&listing), "1 file has lost bytes, 7 B in all; 1 file lost nothing");
    }
}
