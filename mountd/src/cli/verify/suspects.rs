//! Files of which something seems to be held by nobody. Chunks were listed before the names were: what was written since is
//! no loss, so each is looked at again, at once and then some times more.

use super::super::admin::connect_names;
use super::super::human;
use super::super::progress::{Progress, Unit};
use super::super::status::servers_word;
use super::gone::{Gone, Holdings, judge};
use super::{Report, belonging, chunks};
use crate::cluster::survey::{knows_most, survey};
use raidfs_common::attr::Attr;
use raidfs_common::config::Config;
use raidfs_common::id::{Ino, PairId, ServerId};
use raidfs_common::pair::Pair;
use raidfs_common::printed::printed_bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// So many are looked at together.
const BATCH: usize = 1000;
/// So many are kept that still seem so; of more only the number is said.
const LEFT_MAX: usize = 1000;
/// So many are few, which are looked at more often.
const FEW: usize = 50;
const LOOKS: u32 = 20;
const LOOKS_AT_MANY: u32 = 4;
const PAUSE: Duration = Duration::from_millis(250);

#[derive(Debug)]
struct Suspect {
    path: Vec<u8>,
    gone: Gone,
    /// Looks that found it so.
    times: u32,
}

/// Those that were found so far.
pub struct Suspects<'a> {
    config: &'a Config,
    batch: BTreeMap<Ino, Suspect>,
    left: BTreeMap<Ino, Suspect>,
    more: u64,
    /// Why the last look told nothing.
    failed: Option<String>,
}

impl<'a> Suspects<'a> {
    /// None yet.
    pub fn new(config: &'a Config) -> Suspects<'a> {
        Suspects { config, batch: BTreeMap::new(), left: BTreeMap::new(), more: 0, failed: None }
    }

    /// One more.
    pub async fn add(&mut self, path: Vec<u8>, ino: Ino, gone: Gone) {
        if !self.left.contains_key(&ino) {
            self.batch.entry(ino).or_insert(Suspect { path, gone, times: 0 });
        }
        if self.batch.len() >= BATCH {
            self.end_batch().await;
        }
    }

    async fn end_batch(&mut self) {
        let mut batch = std::mem::take(&mut self.batch);
        self.failed = look(self.config, &mut batch).await.err();
        for (ino, suspect) in batch {
            if self.left.len() < LEFT_MAX {
                self.left.insert(ino, suspect);
            } else {
                self.more += 1;
            }
        }
    }

    /// Looks at them until it is known what is wrong, and says that. Whether nothing is.
    pub async fn end(mut self, report: &mut Report) -> bool {
        if !self.batch.is_empty() {
            self.end_batch().await;
        }
        let looks = if self.left.len() <= FEW { LOOKS } else { LOOKS_AT_MANY };
        let mut progress = Progress::new("looking at what nobody holds again", Unit::Things("times"), looks.into());
        for _ in 0..looks {
            if self.left.is_empty() {
                break;
            }
            tokio::time::sleep(PAUSE).await;
            self.failed = look(self.config, &mut self.left).await.err();
            progress.add(1);
        }
        drop(progress);
        let (sure, moving): (Vec<_>, Vec<_>) = self.left.into_values().partition(|s| s.times > looks / 2);
        for Suspect { path, gone, .. } in &sure {
            let text = format!("{}: {gone}", printed_bytes(path));
            if gone.is_certain() { report.wrong("held by nobody", text) } else { report.doubt("held by nobody", text) }
        }
        let unseen = moving.len() as u64 + self.more;
        let files = |n| human::several(n, "file", "files");
        if let Some(why) = self.failed.filter(|_| unseen > 0) {
            let text = format!("chunks of {} could not be looked for again: {why}", files(unseen));
            report.wrong("chunks not checked", text);
        } else {
            if !moving.is_empty() {
                report.doubt("in motion", format_args!("{} changed all the time", files(moving.len() as u64)));
            }
            if self.more > 0 {
                let text = format!("{} more seem to have lost chunks: too many to look at again", files(self.more));
                report.doubt("too many", text);
            }
        }
        sure.is_empty() && unseen == 0
    }
}

/// Looks at all of them, and drops those with which nothing is wrong. An error: that is not known of any.
async fn look(config: &Config, suspects: &mut BTreeMap<Ino, Suspect>) -> Result<(), String> {
    let answers: BTreeMap<_, _> = survey(config).await.into_iter().filter_map(|(id, s)| Some((id, s?))).collect();
    let best = knows_most(answers.values()).ok_or("no server answers")?;
    let serving = complete(&best.pairs, |server| answers.contains_key(&server))?;
    let inodes: BTreeSet<Ino> = suspects.keys().copied().collect();
    let names = connect_names(config, best.server).await?;
    let before = belonging::ask(&names, best.applied, &inodes).await?;
    let mut held: BTreeMap<Ino, Holdings> = BTreeMap::new();
    for (server, pair) in serving {
        chunks::holdings(config, server, pair, &inodes, &mut held).await?;
    }
    let after = belonging::ask(&names, best.applied, &inodes).await?;
    let none = Holdings::default();
    suspects.retain(|ino, suspect| {
        // One that has ended.
        let (Some(Some(before)), Some(Some(after))) = (before.get(ino), after.get(ino)) else { return false };
        // What one of them counts is held: the other is of what came since, or went before.
        let gone = |attr| judge(attr, held.get(ino).unwrap_or(&none), &best.pairs);
        let (Some(_), Some(gone)) = (gone(before), gone(after)) else { return false };
        suspect.gone = gone;
        suspect.times += u32::from(is_same(before, after));
        true
    });
    Ok(())
}

/// What is held did not change with the file while it was listed.
fn is_same(before: &Attr, after: &Attr) -> bool {
    (before.size, before.blocks, before.cut_gen) == (after.size, after.blocks, after.cut_gen)
}

/// Every server in sync, with its pair, if all of them are there and no pair has none: else nobody knows all chunks, and this
/// says of whom.
pub fn complete(pairs: &[Pair], is_there: impl Fn(ServerId) -> bool) -> Result<Vec<(ServerId, PairId)>, String> {
    let mut serving = Vec::new();
    for pair in pairs {
        let before = serving.len();
        for member in pair.in_sync() {
            if !is_there(member.server) {
                return Err(format!("{} does not answer", member.server));
            }
            serving.push((member.server, pair.id));
        }
        if serving.len() == before {
            return Err(format!("{} has no copy in sync", servers_word(pair)));
        }
    }
    Ok(serving)
}
