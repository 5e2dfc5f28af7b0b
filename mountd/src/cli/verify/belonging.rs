//! Chunks against the namespace: each belongs to a file that is alive, and lies on the pair that its file's placement
//! says. A chunk of a file that was just removed is taken away in the background, so it is looked at again first.

use super::super::admin::{connect_names, within};
use super::super::progress::{Progress, Unit};
use super::chunks::Held;
use super::{Answers, Report};
use futures::StreamExt;
use raidfs_common::attr::{Attr, FileKind};
use raidfs_common::config::Config;
use raidfs_common::error::FsError;
use raidfs_common::id::{Ino, LogIndex, PairId, ServerId};
use raidfs_common::namespace::{Answer, Query};
use raidfs_common::pair::{Pair, place};
use raidfs_common::rpc::names::NamesServiceClient;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const ANSWER: Duration = Duration::from_secs(30);
/// Questions on their way at once.
const AHEAD: usize = 64;
/// The reaper takes dead files' chunks away within this many looks.
const LOOKS: usize = 40;
const PAUSE: Duration = Duration::from_millis(250);

/// Checks all chunks that were found.
pub async fn check(config: &Config, pairs: &[Pair], answers: &Answers, held: &Held, report: &mut Report) {
    let inodes: BTreeSet<Ino> = held.values().flatten().map(|s| s.chunk.ino).collect();
    let best = answers.values().filter(|s| !s.pairs.is_empty()).max_by_key(|s| (s.quorum, s.applied));
    let Some(best) = best else { return };
    let names = match connect_names(config, best.server).await {
        Ok(names) => names,
        Err(why) => {
            report.wrong("chunks not checked", format_args!("{} answers no question about names: {why}", best.server));
            return;
        }
    };
    let attrs = match ask(&names, best.applied, &inodes).await {
        Ok(attrs) => attrs,
        Err(why) => {
            report
                .wrong("chunks not checked", format_args!("{} does not say whose the chunks are: {why}", best.server));
            return;
        }
    };
    let before = report.wrong;
    for (server, list) in held {
        let pair = config.pair_of(*server).unwrap_or_default();
        for s in list {
            if let Some(Some(attr)) = attrs.get(&s.chunk.ino)
                && let Some(text) = misplaced(attr, s.chunk.index, pair, pairs.len())
            {
                report.wrong("chunks", format_args!("chunk {} on {server}: {text}", s.chunk));
            }
        }
    }
    let dead: BTreeSet<Ino> = attrs.iter().filter(|(_, a)| a.is_none()).map(|(ino, _)| *ino).collect();
    for (server, ino) in still_held(config, held, dead).await {
        let text = format!("{server} holds chunks of inode {:x}, which is no file any more", ino.0);
        report.wrong("dead chunks", text);
    }
    if report.wrong == before && !inodes.is_empty() {
        report.right("files: every chunk belongs to a file that is alive, and lies where it should");
    }
}

/// What is wrong with a chunk being here, if something is.
fn misplaced(attr: &Attr, index: u32, here: PairId, pairs: usize) -> Option<String> {
    if attr.kind != FileKind::File {
        return Some("it belongs to something that is no regular file".to_owned());
    }
    let right = place(attr.placement, index, pairs).pair;
    (right != here).then(|| format!("it belongs on {right}, not on {here}"))
}

/// The attributes of these inodes; None of those that there are none of.
async fn ask(
    names: &NamesServiceClient,
    at_least: LogIndex,
    inodes: &BTreeSet<Ino>,
) -> Result<BTreeMap<Ino, Option<Attr>>, String> {
    let mut progress = Progress::new("asking whose they are", Unit::Things("files"), inodes.len() as u64);
    let question = |ino: Ino| async move {
        let answer = names.query(within(ANSWER), at_least, Query::GetAttr { ino }).await;
        match answer.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?.1 {
            Ok(Answer::Attr(attr)) => Ok((ino, Some(attr))),
            Err(FsError::NotFound | FsError::Stale) => Ok((ino, None)),
            Ok(_) => Err("it gave another answer than was asked for".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    };
    let mut answers = futures::stream::iter(inodes.iter().copied().map(question)).buffer_unordered(AHEAD);
    let mut attrs = BTreeMap::new();
    while let Some(answer) = answers.next().await {
        let (ino, attr) = answer?;
        attrs.insert(ino, attr);
        progress.add(1);
    }
    Ok(attrs)
}

/// Who still holds chunks of dead inodes after the reapers had their time.
async fn still_held(config: &Config, held: &Held, dead: BTreeSet<Ino>) -> Vec<(ServerId, Ino)> {
    let mut left: Vec<(ServerId, Ino)> = Vec::new();
    for (server, list) in held {
        let inodes: BTreeSet<Ino> = list.iter().map(|s| s.chunk.ino).filter(|i| dead.contains(i)).collect();
        left.extend(inodes.into_iter().map(|ino| (*server, ino)));
    }
    for _ in 0..LOOKS {
        if left.is_empty() {
            break;
        }
        tokio::time::sleep(PAUSE).await;
        let mut now = Vec::new();
        for (server, ino) in left {
            if super::chunks::holds(config, server, ino).await {
                now.push((server, ino));
            }
        }
        left = now;
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vfs::testing::empty_file;
    use raidfs_common::attr::Placement;

    #[test]
    fn chunks_on_the_wrong_pair_or_of_no_file_are_seen() {
        let mut attr = Attr { placement: Placement { first_pair: 1, turn: 0 }, ..empty_file(Ino(9)) };
        assert_eq!(misplaced(&attr, 0, PairId(1), 2), None);
        assert_eq!(misplaced(&attr, 1, PairId(0), 2), None);
        assert_eq!(misplaced(&attr, 1, PairId(1), 2).unwrap(), "it belongs on pair 1, not on pair 2");
        attr.kind = FileKind::Dir;
        assert!(misplaced(&attr, 0, PairId(1), 2).is_some());
    }
}
