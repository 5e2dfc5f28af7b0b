//! Which small files to fetch before they are asked for, and what was fetched. Pure: no I/O, no clock; driven under a lock
//! of its own by the reads.
//!
//! Who reads one small file after the other (tar, grep -r, a build, a backup) mostly does so in the order in which they
//! were made, which is that of their inodes. Once a few reads went that way the next files are fetched side by side, so
//! that the reader does not wait for a server at each. What is fetched is right for as long as it is kept: each change of
//! a file's contents passes through this mount, and drops it ([`Prefetch::forget`]).

use bytes::Bytes;
use raidfs_common::id::Ino;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Files up to this size are fetched, whole.
pub const SMALL_BYTES: u64 = 32 << 10;
/// Reads in order before anything is fetched.
const STREAK: u32 = 3;
/// The next file read is at most so many inodes behind the last one: directories and links lie between them.
const APART: u64 = 4;
/// Fetched so far ahead of the reader; in batches of half of it.
const AHEAD: u64 = 32;
/// Files kept or under way at most.
const KEPT_MAX: usize = 256;
/// Bytes that nobody came for are not used any more after this.
const KEPT_FOR: Duration = Duration::from_secs(2);

/// Names one fetch: a file that was forgotten meanwhile may be asked for again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetch(u64);

/// What there is of a file.
#[derive(Debug)]
pub enum Kept {
    /// Its bytes.
    Bytes(Bytes),
    /// They are on their way; nothing comes if they were forgotten meanwhile or could not be had.
    Coming(oneshot::Receiver<Bytes>),
}

#[derive(Debug)]
enum State {
    Asked(Vec<oneshot::Sender<Bytes>>),
    Here(Bytes, Instant),
}

/// Reads of small files, and what was fetched for the next ones.
#[derive(Debug, Default)]
pub struct Prefetch {
    last: Ino,
    streak: u32,
    /// Fetched up to here, exclusive.
    until: Ino,
    /// Of this streak: files fetched, and those among them that were read.
    asked: u32,
    used: u32,
    kept: BTreeMap<Ino, (Fetch, State)>,
    order: VecDeque<(Ino, Fetch)>,
    fetches: u64,
}

impl Prefetch {
    /// Somebody begins to read a small file. Returns the inodes of which to fetch what is a small file.
    pub fn read(&mut self, ino: Ino) -> Range<Ino> {
        let near = ino > self.last && ino.0 - self.last.0 <= APART;
        self.last = ino;
        if !near {
            (self.streak, self.until, self.asked, self.used) = (0, Ino(0), 0, 0);
            return ino..ino;
        }
        self.streak = self.streak.saturating_add(1);
        let ahead = self.until.0.saturating_sub(ino.0);
        // The reader has passed at least half of what was fetched: it should have wanted some of it.
        let in_vain = self.used * 4 < self.asked;
        if self.streak < STREAK || ahead > AHEAD / 2 || in_vain {
            return ino..ino;
        }
        let from = Ino(self.until.0.max(ino.0 + 1));
        self.until = Ino(ino.0 + 1 + AHEAD);
        from..self.until
    }

    /// A file is about to be fetched; None: it is already, or there is no room.
    pub fn ask(&mut self, ino: Ino, now: Instant) -> Option<Fetch> {
        self.trim(now);
        if self.kept.contains_key(&ino) || self.kept.len() >= KEPT_MAX {
            return None;
        }
        self.fetches += 1;
        self.asked += 1;
        let fetch = Fetch(self.fetches);
        self.kept.insert(ino, (fetch, State::Asked(Vec::new())));
        self.order.push_back((ino, fetch));
        Some(fetch)
    }

    /// A fetch has ended, with these bytes or none.
    pub fn came(&mut self, ino: Ino, fetch: Fetch, bytes: Option<Bytes>, now: Instant) {
        let Some((known, state)) = self.kept.get_mut(&ino) else { return };
        if *known != fetch {
            return;
        }
        let waiting = match state {
            State::Asked(waiting) => std::mem::take(waiting),
            State::Here(..) => return,
        };
        match bytes {
            Some(bytes) if waiting.is_empty() => *state = State::Here(bytes, now),
            bytes => {
                self.kept.remove(&ino);
                for (reader, bytes) in waiting.into_iter().zip(bytes.into_iter().cycle()) {
                    // Who does not wait any more needs nothing.
                    let _ = reader.send(bytes);
                }
            }
        }
    }

    /// What there is of a file, for somebody who reads it. It is not kept any longer: the kernel has it then.
    pub fn take(&mut self, ino: Ino, now: Instant) -> Option<Kept> {
        let (_, state) = self.kept.get_mut(&ino)?;
        if let State::Asked(waiting) = state {
            let (sender, coming) = oneshot::channel();
            waiting.push(sender);
            self.used += 1;
            return Some(Kept::Coming(coming));
        }
        match self.kept.remove(&ino)?.1 {
            State::Here(bytes, since) if now.saturating_duration_since(since) <= KEPT_FOR => {
                self.used += 1;
                Some(Kept::Bytes(bytes))
            }
            _ => None,
        }
    }

    /// A file's contents change: what was or is being fetched of it is not to be used.
    pub fn forget(&mut self, ino: Ino) {
        self.kept.remove(&ino);
    }

    /// Drops what nobody came for.
    fn trim(&mut self, now: Instant) {
        while let Some((ino, fetch)) = self.order.front().copied() {
            match self.kept.get(&ino) {
                Some((known, State::Here(_, since))) if *known == fetch => {
                    if now.saturating_duration_since(*since) <= KEPT_FOR && self.order.len() <= KEPT_MAX {
                        return;
                    }
                    self.kept.remove(&ino);
                }
                Some((known, State::Asked(_))) if *known == fetch => return,
                _ => {}
            }
            self.order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &'static str) -> Option<Bytes> {
        Some(Bytes::from_static(text.as_bytes()))
    }

    /// Reads that follow one another, until something is to be fetched.
    fn streak(prefetch: &mut Prefetch, from: u64) -> Range<Ino> {
        (from..).map(|ino| prefetch.read(Ino(ino))).find(|range| !range.is_empty()).unwrap()
    }

    #[test]
    fn reads_in_order_are_run_ahead_of_and_others_are_not() {
        let mut prefetch = Prefetch::default();
        for ino in [9, 90, 20, 21, 15, 70, 60, 50] {
            assert!(prefetch.read(Ino(ino)).is_empty());
        }
        assert_eq!(streak(&mut prefetch, 100), Ino(104)..Ino(104 + AHEAD));
        // The next batch only once half of the first was passed, and behind it.
        let now = Instant::now();
        for ino in 104..104 + AHEAD {
            assert!(prefetch.ask(Ino(ino), now).is_some());
        }
        let next = (104..).map(|ino| {
            prefetch.take(Ino(ino), now);
            (ino, prefetch.read(Ino(ino)))
        });
        let (at, range) = next.into_iter().find(|(_, range)| !range.is_empty()).unwrap();
        assert_eq!((at, range), (104 + AHEAD / 2, Ino(104 + AHEAD)..Ino(at + 1 + AHEAD)));
    }

    #[test]
    fn who_reads_few_of_them_is_not_served_again() {
        let mut prefetch = Prefetch::default();
        let now = Instant::now();
        let range = streak(&mut prefetch, 100);
        for ino in range.start.0..range.end.0 {
            prefetch.ask(Ino(ino), now);
        }
        assert!((104..300).all(|ino| prefetch.read(Ino(ino)).is_empty()));
    }

    #[test]
    fn what_was_fetched_is_given_once() {
        let mut prefetch = Prefetch::default();
        let now = Instant::now();
        let fetch = prefetch.ask(Ino(7), now).unwrap();
        assert!(prefetch.ask(Ino(7), now).is_none());
        let Some(Kept::Coming(mut coming)) = prefetch.take(Ino(7), now) else { panic!("it is under way") };
        prefetch.came(Ino(7), fetch, bytes("x"), now);
        assert_eq!(coming.try_recv().ok(), bytes("x"));
        assert!(prefetch.take(Ino(7), now).is_none());

        let fetch = prefetch.ask(Ino(8), now).unwrap();
        prefetch.came(Ino(8), fetch, bytes("y"), now);
        assert!(matches!(prefetch.take(Ino(8), now), Some(Kept::Bytes(_))));
        assert!(prefetch.take(Ino(8), now).is_none());
    }

    #[test]
    fn what_changed_meanwhile_or_is_old_is_not_given() {
        let mut prefetch = Prefetch::default();
        let now = Instant::now();
        let before = prefetch.ask(Ino(7), now).unwrap();
        let Some(Kept::Coming(mut coming)) = prefetch.take(Ino(7), now) else { panic!("it is under way") };
        prefetch.forget(Ino(7));
        assert!(coming.try_recv().is_err());
        let after = prefetch.ask(Ino(7), now).unwrap();
        prefetch.came(Ino(7), before, bytes("old"), now);
        prefetch.came(Ino(7), after, bytes("new"), now);
        let Some(Kept::Bytes(new)) = prefetch.take(Ino(7), now) else { panic!("it is there") };
        assert_eq!(Some(new), bytes("new"));

        let fetch = prefetch.ask(Ino(8), now).unwrap();
        prefetch.came(Ino(8), fetch, bytes("y"), now);
        assert!(prefetch.take(Ino(8), now + KEPT_FOR * 2).is_none());
    }

    #[test]
    fn no_more_is_kept_than_there_is_room_for() {
        let mut prefetch = Prefetch::default();
        let mut now = Instant::now();
        for ino in 0..10 * KEPT_MAX as u64 {
            if let Some(fetch) = prefetch.ask(Ino(ino), now) {
                prefetch.came(Ino(ino), fetch, bytes("x"), now);
            }
            assert!(prefetch.kept.len() <= KEPT_MAX);
        }
        now += KEPT_FOR * 2;
        prefetch.ask(Ino(1 << 40), now).unwrap();
        assert_eq!((prefetch.kept.len(), prefetch.order.len()), (1, 1));
    }
}
