//! Chunks against the namespace: each belongs to a file that is alive, and lies on the pair that its file's placement
//! says; and of each file what it counts is there. A chunk of a file that was just removed is taken away in the background, so
//! it is looked at again first.

use super::super::admin::{connect_names, within};
use super::super::human;
use super::super::progress::{Progress, Unit};
use super::super::tree::Walk;
use super::Report;
use super::chunks::Held;
use super::gone::{Holdings, judge};
use super::suspects::{Suspects, complete};
use futures::StreamExt;
use raidfs_common::attr::{Attr, FileKind};
use raidfs_common::config::Config;
use raidfs_common::error::FsError;
use raidfs_common::id::{Ino, LogIndex, PairId, ServerId};
use raidfs_common::namespace::{Answer, Query};
use raidfs_common::pair::{Pair, place};
use raidfs_common::rpc::admin::ServerStatus;
use raidfs_common::rpc::chunks::ChunkSummary;
use raidfs_common::rpc::names::NamesServiceClient;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const ANSWER: Duration = Duration::from_secs(30);
/// Questions on their way at once.
const AHEAD: usize = 64;
/// The reaper takes dead files' chunks away within this many looks.
const LOOKS: usize = 40;
const PAUSE: Duration = Duration::from_millis(250);

/// Checks all chunks that were found, and that all are there that files count, as the server says that knows most.
pub async fn check(config: &Config, best: &ServerStatus, held: &Held, report: &mut Report) {
    let names = match connect_names(config, best.server).await {
        Ok(names) => names,
        Err(why) => {
            report.wrong("chunks not checked", format_args!("{} answers no question about names: {why}", best.server));
            return;
        }
    };
    let mut against = Against { config, pairs: &best.pairs, held, misplaced: Vec::new(), files: 0 };
    let mut suspects = Suspects::new(config);
    let mut inodes: BTreeSet<Ino> = held.values().flatten().map(|s| s.chunk.ino).collect();
    let any = !inodes.is_empty();
    let dead = match against.all(&names, best, &mut inodes, &mut suspects).await {
        Ok(dead) => dead,
        Err(why) => {
            report
                .wrong("chunks not checked", format_args!("{} does not say whose the chunks are: {why}", best.server));
            return;
        }
    };
    let before = report.wrong;
    for text in &against.misplaced {
        report.wrong("chunks", text);
    }
    for (server, ino) in still_held(config, held, dead).await {
        let text = format!("{server} holds chunks of inode {:x}, which is no file any more", ino.0);
        report.wrong("dead chunks", text);
    }
    if report.wrong == before && any {
        report.right("files: every chunk belongs to a file that is alive, and lies where it should");
    }
    if suspects.end(report).await && against.knows_all() {
        let files = human::several(against.files, "file counts", "files count");
        report.right(format_args!("files: no chunk is missing of what {files}"));
    }
}

/// Files against what is held of them.
struct Against<'a> {
    config: &'a Config,
    pairs: &'a [Pair],
    held: &'a Held,
    /// What is wrong with chunks.
    misplaced: Vec<String>,
    /// How many have been looked at, by their names.
    files: u64,
}

impl Against<'_> {
    /// Whether all chunks there are were listed.
    fn knows_all(&self) -> bool {
        complete(self.pairs, |server| self.held.contains_key(&server)).is_ok()
    }

    /// Looks at every file that has a name, and at what else has chunks; which of `inodes` are no files any more.
    async fn all(
        &mut self,
        names: &NamesServiceClient,
        best: &ServerStatus,
        inodes: &mut BTreeSet<Ino>,
        suspects: &mut Suspects<'_>,
    ) -> Result<BTreeSet<Ino>, String> {
        let knows_all = self.knows_all();
        let mut progress = Progress::new("asking whose they are", Unit::Things("names"), best.inodes.1);
        let mut walk = Walk::new(names, best.applied);
        while let Some(page) = walk.page().await? {
            progress.add(page.len() as u64);
            for (path, attr) in page {
                self.files += 1;
                if inodes.remove(&attr.ino) {
                    self.place(&attr);
                }
                if knows_all && let Some(gone) = judge(&attr, &self.holdings(attr.ino), self.pairs) {
                    progress.wipe();
                    suspects.add(path, attr.ino, gone).await;
                }
            }
        }
        drop(progress);
        let attrs = ask(names, best.applied, inodes).await?;
        for attr in attrs.values().flatten() {
            self.place(attr);
        }
        Ok(attrs.iter().filter(|(_, attr)| attr.is_none()).map(|(ino, _)| *ino).collect())
    }

    /// What each server holds of a file.
    fn chunks_of(&self, ino: Ino) -> impl Iterator<Item = (ServerId, &[ChunkSummary])> {
        self.held.iter().map(move |(server, list)| {
            let from = list.partition_point(|s| s.chunk.ino < ino);
            let count = list[from..].partition_point(|s| s.chunk.ino == ino);
            (*server, &list[from..from + count])
        })
    }

    fn holdings(&self, ino: Ino) -> Holdings {
        let mut holdings = Holdings::default();
        self.chunks_of(ino).flat_map(|(_, list)| list).for_each(|summary| holdings.add(summary));
        holdings
    }

    /// Where a file's chunks are, and should be.
    fn place(&mut self, attr: &Attr) {
        let mut found = Vec::new();
        for (server, list) in self.chunks_of(attr.ino) {
            let pair = self.config.pair_of(server).unwrap_or_default();
            for s in list {
                if let Some(text) = misplaced(attr, s.chunk.index, pair, self.pairs.len()) {
                    found.push(format!("chunk {} on {server}: {text}", s.chunk));
                }
            }
        }
        self.misplaced.append(&mut found);
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
pub async fn ask(
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
