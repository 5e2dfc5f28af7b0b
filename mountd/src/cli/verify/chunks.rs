//! The chunks: both mirrors of a pair have the same ones, with the same bytes, and every block matches its checksum.

use super::super::admin::within;
use super::super::progress::{Progress, Unit};
use super::super::{file_paths, human};
use super::compare::{Wrong, compare, damaged_blocks, judge};
use super::gone::Holdings;
use super::{Answers, Report};
use crate::cluster::survey::connect_admin;
use raidfs_common::config::Config;
use raidfs_common::id::{ChunkId, Ino, LogIndex, PairId, ServerId};
use raidfs_common::pair::Pair;
use raidfs_common::rpc::admin::AdminServiceClient;
use raidfs_common::rpc::chunks::ChunkSummary;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const CONNECT: Duration = Duration::from_secs(2);
/// A page of chunks whose every block is read.
const PAGE: Duration = Duration::from_secs(300);
/// What is in motion looks wrong for a moment: it is looked at again this often before it is said to be.
const LOOKS: usize = 20;
const PAUSE: Duration = Duration::from_millis(250);
/// More wrong chunks than this are not in motion: they are not looked at again one by one.
const LOOKED_AT_MAX: usize = 500;

/// What each server has, in order.
pub type Held = BTreeMap<ServerId, Vec<ChunkSummary>>;

/// Checks every pair; returns what each server holds that is in sync and answers.
pub async fn check(config: &Config, pairs: &[Pair], answers: &Answers, report: &mut Report) -> Held {
    let serving =
        |p: &Pair| -> Vec<ServerId> { p.in_sync().map(|m| m.server).filter(|s| answers.contains_key(s)).collect() };
    let total = pairs.iter().flat_map(&serving).map(|s| answers[&s].held.0).sum();
    let progress = RefCell::new(Progress::new("reading", Unit::Things("chunks"), total));
    let mut held = Held::new();
    for pair in pairs {
        let servers = serving(pair);
        let lists = futures::future::join_all(servers.iter().map(|&s| list(config, s, pair.id, &progress))).await;
        progress.borrow_mut().wipe();
        let mut whole = Vec::new();
        for (&server, list) in servers.iter().zip(lists) {
            match list {
                Ok(list) => whole.push((server, list)),
                Err(why) => {
                    report.wrong("chunks not checked", format_args!("{server}'s chunks could not be checked: {why}"));
                }
            }
        }
        match whole.as_slice() {
            [(a, first), (b, second)] => both(config, pair.id, (*a, first), (*b, second), report).await,
            [(server, list)] => alone(config, *server, list, report).await,
            _ => {}
        }
        held.extend(whole);
    }
    held
}

/// All chunks of one server, every block read.
async fn list(
    config: &Config,
    server: ServerId,
    pair: PairId,
    progress: &RefCell<Progress>,
) -> Result<Vec<ChunkSummary>, String> {
    let client = connect_admin(config, server, CONNECT).await.map_err(|e| e.to_string())?;
    let mut all: Vec<ChunkSummary> = Vec::new();
    loop {
        let page = page(&client, pair, all.last().map(|s| s.chunk), true).await?;
        if page.is_empty() {
            return Ok(all);
        }
        progress.borrow_mut().add(page.len() as u64);
        all.extend(page);
    }
}

async fn page(
    client: &AdminServiceClient,
    pair: PairId,
    after: Option<ChunkId>,
    deep: bool,
) -> Result<Vec<ChunkSummary>, String> {
    match client.inventory(within(PAGE), pair, after, deep).await {
        Ok(Ok(page)) => Ok(page),
        Ok(Err(rejection)) => Err(rejection.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

async fn both(
    config: &Config,
    pair: PairId,
    first: (ServerId, &[ChunkSummary]),
    second: (ServerId, &[ChunkSummary]),
    report: &mut Report,
) {
    let mut suspects = compare(first.1, second.1);
    for _ in 0..LOOKS {
        if suspects.is_empty() || suspects.len() > LOOKED_AT_MAX {
            break;
        }
        tokio::time::sleep(PAUSE).await;
        suspects = look_again(config, pair, first.0, second.0, suspects).await;
    }
    let paths = paths_of(config, first.0, suspects.iter().map(|(chunk, _)| *chunk)).await;
    for (chunk, wrong) in &suspects {
        let wrong = wrong.words(first.0, second.0);
        let text = format!("chunk {chunk} on {} and {}: {wrong}{}", first.0, second.0, of_file(&paths, *chunk));
        report.wrong("chunks", text);
    }
    if suspects.is_empty() {
        let chunks = human::count(first.1.len().max(second.1.len()) as u64);
        report.right(format_args!(
            "chunks: {chunks} on {} and {} are equal, and every block matches its checksum",
            first.0, second.0
        ));
    }
}

/// Those of the suspects that something is still wrong with.
async fn look_again(
    config: &Config,
    pair: PairId,
    first: ServerId,
    second: ServerId,
    suspects: Vec<(ChunkId, Wrong)>,
) -> Vec<(ChunkId, Wrong)> {
    let (a, b) = (connect_admin(config, first, CONNECT).await, connect_admin(config, second, CONNECT).await);
    let (Ok(a), Ok(b)) = (a, b) else { return suspects };
    let mut left = Vec::new();
    for (chunk, wrong) in suspects {
        // Deeply, whatever it was: only that looks at the disk.
        let found = futures::future::join(one(&a, pair, chunk), one(&b, pair, chunk)).await;
        let wrong = match found {
            (Ok(x), Ok(y)) => judge(x.as_ref(), y.as_ref()),
            _ => Some(wrong),
        };
        left.extend(wrong.map(|w| (chunk, w)));
    }
    left
}

async fn one(client: &AdminServiceClient, pair: PairId, chunk: ChunkId) -> Result<Option<ChunkSummary>, String> {
    let page = page(client, pair, chunk.before(), true).await?;
    Ok(page.into_iter().find(|s| s.chunk == chunk))
}

/// What was accepted as lost is nothing wrong any more, and is said once.
pub fn say_lost(held: &Held, report: &Report) {
    // Mirrors are equal in this, or that was said to be wrong.
    let all = held.values().flatten().filter(|s| s.lost > 0);
    let lost: BTreeMap<ChunkId, u32> = all.map(|s| (s.chunk, s.lost)).collect();
    if !lost.is_empty() {
        let files: BTreeSet<_> = lost.keys().map(|chunk| chunk.ino).collect();
        let bytes: u64 = lost.values().map(|bytes| u64::from(*bytes)).sum();
        report.accepted(format_args!(
            "{} in {} were lost with a pair, which was accepted: `raidfs lost` lists them",
            human::bytes(bytes),
            human::several(files.len() as u64, "file", "files")
        ));
    }
}

/// Whether a server holds any chunk of a file; if it does not say, it counts as holding.
pub async fn holds(config: &Config, server: ServerId, ino: raidfs_common::id::Ino) -> bool {
    let Ok(client) = connect_admin(config, server, CONNECT).await else { return true };
    let pair = config.pair_of(server).unwrap_or_default();
    match page(&client, pair, ChunkId { ino, index: 0 }.before(), false).await {
        Ok(page) => page.iter().any(|s| s.chunk.ino == ino),
        Err(_) => true,
    }
}

/// Adds what a server holds of these files, by a look at its directories.
pub async fn holdings(
    config: &Config,
    server: ServerId,
    pair: PairId,
    inodes: &BTreeSet<Ino>,
    held: &mut BTreeMap<Ino, Holdings>,
) -> Result<(), String> {
    let client = connect_admin(config, server, CONNECT).await.map_err(|e| format!("{server}: {e}"))?;
    // What comes after this one was not looked at yet.
    let mut seen: Option<ChunkId> = None;
    for &ino in inodes {
        let end = ChunkId { ino, index: u32::MAX };
        while seen < Some(end) {
            let from = seen.max(ChunkId { ino, index: 0 }.before());
            let page = page(&client, pair, from, false).await.map_err(|why| format!("{server}: {why}"))?;
            let Some(last) = page.last() else { return Ok(()) };
            seen = Some(last.chunk);
            for summary in page.iter().filter(|s| inodes.contains(&s.chunk.ino)) {
                held.entry(summary.chunk.ino).or_default().add(summary);
            }
        }
    }
    Ok(())
}

/// The files of chunks, where they are found.
async fn paths_of(config: &Config, server: ServerId, chunks: impl Iterator<Item = ChunkId>) -> BTreeMap<Ino, String> {
    let files: BTreeSet<Ino> = chunks.map(|chunk| chunk.ino).collect();
    // Without them, the chunks' numbers say which they are.
    if files.is_empty() {
        BTreeMap::new()
    } else {
        file_paths::of(config, server, LogIndex(0), files).await.unwrap_or_default()
    }
}

/// Which file a chunk is of, as an end of a line.
fn of_file(paths: &BTreeMap<Ino, String>, chunk: ChunkId) -> String {
    paths.get(&chunk.ino).map_or_else(String::new, |path| format!(" (of {path})"))
}

async fn alone(config: &Config, server: ServerId, list: &[ChunkSummary], report: &mut Report) {
    let damaged: Vec<&ChunkSummary> = list.iter().filter(|s| s.damaged > 0).collect();
    let paths = paths_of(config, server, damaged.iter().map(|s| s.chunk)).await;
    for s in &damaged {
        let blocks = damaged_blocks(s.damaged);
        let text = format!("chunk {} on {server}: {blocks}{}", s.chunk, of_file(&paths, s.chunk));
        report.wrong("chunks", text);
    }
    if damaged.is_empty() {
        let chunks = human::count(list.len() as u64);
        report.right(format_args!("chunks: {chunks} on {server}, without a mirror, match their checksums"));
    }
}
