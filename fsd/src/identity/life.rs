//! One life of a server process: its number, and whether the machine went down uncleanly before it.
//!
//! What was written but not synced survives the death of a process, not that of the machine. So a life that finds
//! another boot of the machine than the life before, which did not end cleanly, may miss what that one acknowledged.

use super::record::{self, Unreadable};
use super::{IdentityError, LIFE, failed, write_whole};
use crate::chunk::io;
use raidfs_common::id::Incarnation;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Tells one boot of the machine from another.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// Stands in for it in tests.
const BOOT_ID_VARIABLE: &str = "RAIDFS_BOOT_ID";

/// This life of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// Its number, and its directory's: like none before in this directory, and none of another directory.
    pub incarnation: Incarnation,
    /// What the life before had acknowledged but not synced may be gone: its machine went down uncleanly, its disk had
    /// failed, or it cannot be told.
    pub power_lost: bool,
    /// The directory has just been made.
    pub first: bool,
    /// The directory was made empty, and what was missing in it then has not all been brought to it yet, by this life or
    /// an earlier one: what is here passes for nobody's copy.
    pub empty: bool,
}

impl Life {
    /// Whether the namespace has to say what the chunks of this life are worth before that may count as told. Of an empty
    /// directory's nobody thinks better than it says by that, unless it was filled and has lost something since.
    pub fn must_be_judged(&self) -> bool {
        self.power_lost || !self.empty
    }
}

/// What is kept of the newest life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LifeRecord {
    /// Lives so far.
    pub count: u32,
    /// In which boot of the machine; empty if the system does not tell.
    pub boot: String,
    /// It ended with everything durable.
    pub clean: bool,
    /// What was acknowledged may be missing, whatever the machine did since: the disk failed to keep something, or a life
    /// that started after a power loss had not made up for it yet.
    pub distrusted: bool,
    /// The directory was made empty, and that was not made up for yet.
    pub empty: bool,
}

impl LifeRecord {
    /// Before the first life: whatever its place in the cluster may have promised before is missing.
    pub fn first() -> LifeRecord {
        LifeRecord { count: 0, boot: String::new(), clean: true, distrusted: true, empty: true }
    }

    fn encode(&self) -> String {
        let word = |set: bool| if set { "yes" } else { "no" };
        record::sealed(format!(
            "count {}\nboot {}\nclean {}\ndistrusted {}\nempty {}\n",
            self.count,
            self.boot,
            word(self.clean),
            word(self.distrusted),
            word(self.empty)
        ))
    }

    fn decode(text: &str) -> Option<LifeRecord> {
        let lines = record::unsealed(text)?;
        let word = |name| match record::value(lines, name)? {
            "yes" => Some(true),
            "no" => Some(false),
            _ => None,
        };
        Some(LifeRecord {
            count: record::value(lines, "count")?.parse().ok()?,
            boot: record::value(lines, "boot")?.to_owned(),
            clean: word("clean")?,
            distrusted: word("distrusted")?,
            empty: word("empty")?,
        })
    }
}

/// Writes the record, durably.
pub fn write(root: &Path, record: &LifeRecord) -> Result<(), IdentityError> {
    write_whole(root, LIFE, &record.encode())
}

/// Writes it over the one that is there, which takes no room on most file systems. Not whole or not at all, as [`write()`]: half of one is
/// damaged, and stands for a life that must not be trusted. So it is for saying that.
pub fn write_over(root: &Path, record: &LifeRecord) -> Result<(), IdentityError> {
    let path = root.join(LIFE);
    let text = record.encode();
    let written = File::options().write(true).open(&path).and_then(|file| {
        file.write_all_at(text.as_bytes(), 0)?;
        file.set_len(text.len() as u64)?;
        io::sync_all(&file)
    });
    written.map_err(failed("write over", &path))
}

/// Begins a life, durably. `distrusted`: as if the life before had written that down.
pub fn begin(root: &Path, directory: u32, distrusted: bool) -> Result<(Life, LifeRecord), IdentityError> {
    let path = root.join(LIFE);
    let before = match record::read_text(&path) {
        Ok(text) => {
            LifeRecord::decode(&text).map(|record| LifeRecord { distrusted: record.distrusted || distrusted, ..record })
        }
        Err(Unreadable::Io(source)) => return Err(failed("read", &path)(source)),
        Err(_) => None,
    };
    if before.is_none() {
        tracing::warn!("{} is missing or damaged: starting as after a power loss", path.display());
    }
    let first = if before.is_some() { 1 } else { draw()? | AFTER_A_LOST_RECORD };
    let (life, record) = next(before.as_ref(), &boot_id(), first, directory);
    write(root, &record)?;
    Ok((life, record))
}

/// Where lives are counted from once it is not known any more how many there were: in the upper half, at random, so that
/// none of those that were has the same number.
const AFTER_A_LOST_RECORD: u32 = 1 << 31;

/// The life after `before` (None: it cannot be told; then it is number `first`) in this directory.
fn next(before: Option<&LifeRecord>, boot: &str, first: u32, directory: u32) -> (Life, LifeRecord) {
    let count = before.map_or(first, |before| before.count.saturating_add(1));
    let power_lost = before.is_none_or(|before| {
        let same_boot = !boot.is_empty() && before.boot == boot;
        (before.distrusted && before.count > 0) || (!before.clean && !same_boot)
    });
    let incarnation = Incarnation::of(count, directory);
    let first = before.is_some_and(|before| before.count == 0);
    let empty = before.is_some_and(|before| before.empty);
    // A second start makes nothing whole: until what was lost, or never was here, is made up for, every life lacks it.
    let distrusted = power_lost || before.is_some_and(|before| before.distrusted);
    let record = LifeRecord { count, boot: boot.to_owned(), clean: false, distrusted, empty };
    (Life { incarnation, power_lost, first, empty }, record)
}

fn boot_id() -> String {
    let id = std::env::var(BOOT_ID_VARIABLE).or_else(|_| std::fs::read_to_string(BOOT_ID));
    id.map(|id| id.split_whitespace().collect()).unwrap_or_default()
}

const RANDOM: &str = "/dev/urandom";

/// A number at random, not 0.
pub fn draw() -> Result<u32, IdentityError> {
    let mut bytes = [0; 4];
    let drawn = File::open(RANDOM).and_then(|mut file| file.read_exact(&mut bytes));
    drawn.map_err(failed("read", Path::new(RANDOM)))?;
    Ok(u32::from_le_bytes(bytes).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(before: LifeRecord, boot: &str) -> Life {
        assert_eq!(LifeRecord::decode(&before.encode()), Some(before.clone()));
        next(Some(&before), boot, 1, 7).0
    }

    #[test]
    fn only_an_unclean_end_in_another_boot_loses_power() {
        let unclean = LifeRecord { count: 4, boot: "a".to_owned(), clean: false, distrusted: false, empty: false };
        let clean = LifeRecord { clean: true, ..unclean.clone() };
        let failed = LifeRecord { distrusted: true, ..unclean.clone() };
        assert!(!after(unclean.clone(), "a").power_lost, "killed");
        assert!(after(unclean.clone(), "b").power_lost, "the machine went down");
        assert!(after(LifeRecord { boot: String::new(), ..unclean.clone() }, "").power_lost, "it cannot be told");
        assert!(!after(clean, "b").power_lost, "stopped, then the machine went down");
        assert!(after(failed, "a").power_lost, "its disk had failed");
        assert!(next(None, "a", 1, 7).0.power_lost, "the record is lost");
        assert!(!after(LifeRecord::first(), "a").power_lost);
    }

    #[test]
    fn a_life_after_a_power_loss_that_was_not_made_up_for_leaves_it_to_the_next() {
        let unclean = LifeRecord { count: 4, boot: "a".to_owned(), clean: false, distrusted: false, empty: false };
        let (_, record) = next(Some(&unclean), "b", 1, 7);
        assert!(after(record.clone(), "b").power_lost, "killed before it had caught up");
        assert!(after(LifeRecord { clean: true, ..record.clone() }, "b").power_lost, "stopped before it had");
        assert!(!after(LifeRecord { distrusted: false, ..record }, "b").power_lost, "killed after it had");
    }

    #[test]
    fn a_directory_that_was_made_empty_says_so_until_that_is_made_up_for() {
        let (one, record) = next(Some(&LifeRecord::first()), "a", 1, 7);
        assert!(one.empty && one.first);
        let killed = after(record.clone(), "a");
        assert!(killed.empty && !killed.first && killed.power_lost, "killed before anything was copied to it");
        let voter = LifeRecord { distrusted: false, ..record.clone() };
        assert!(after(voter.clone(), "a").empty && !after(voter, "a").power_lost, "killed once its log was whole");
        assert!(after(LifeRecord { clean: true, ..record.clone() }, "b").empty, "stopped before");
        assert!(!after(LifeRecord { empty: false, ..record }, "a").empty, "killed once all was there");
    }

    #[test]
    fn an_empty_directory_is_known_for_what_it_is_unless_power_was_lost_over_it() {
        let life = |empty, power_lost| Life { incarnation: Incarnation(1), power_lost, first: false, empty };
        assert!(!life(true, false).must_be_judged());
        assert!(life(true, true).must_be_judged(), "it may have been filled, and not have had the time to say so");
        assert!(life(false, false).must_be_judged() && life(false, true).must_be_judged());
    }

    #[test]
    fn each_life_has_a_number_of_its_own() {
        let (one, record) = next(Some(&LifeRecord::first()), "a", 1, 7);
        let (two, _) = next(Some(&record), "a", 1, 7);
        assert!(one.first && !two.first);
        assert!(two.incarnation > one.incarnation && one.incarnation.0 != 0);
        assert_eq!((two.incarnation.life(), two.incarnation.directory()), (2, 7));
        assert_ne!(
            next(Some(&record), "a", 1, 8).0.incarnation,
            two.incarnation,
            "a directory made anew, and this one"
        );
        assert_eq!(next(None, "a", 5, 7).0.incarnation, Incarnation::of(5, 7), "how many there were is not known");
    }

    #[test]
    fn a_damaged_record_is_no_record() {
        let text = LifeRecord::first().encode();
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            assert_eq!(LifeRecord::decode(&String::from_utf8(bytes).unwrap()), None);
            assert_eq!(LifeRecord::decode(&text[..at]), None);
        }
    }
}
