//! Errors of writes that were answered before they were made. Pure.
//!
//! As Linux does it: whoever has the file open when it happens is told once, at his next fsync, however many they are; who
//! opens the file later is told only of what nobody was told of yet. Each close until then is told, too, which does not
//! count: it may be that of a child that ends, and that nobody looks at. A write that is answered only when its bytes are
//! stored hears what failed meanwhile. That counts as told only of what is its own: what another write was answered for is
//! still to be told at the next fsync.

use raidfs_common::error::FsError;
use raidfs_common::id::Ino;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

/// What went wrong with a file's writes.
#[derive(Debug, Default)]
pub struct Late {
    /// How often.
    count: u64,
    /// The last of it.
    error: Option<FsError>,
    /// Somebody was told of the last of it.
    seen: bool,
    /// The last ones, the newest at the end; at most [`RECENT_MAX`].
    recent: VecDeque<Recent>,
}

/// One that could not be made.
#[derive(Debug)]
struct Recent {
    /// Which bytes; None: that is not known.
    range: Option<Range<u64>>,
    /// Of all before it somebody was told.
    news: bool,
}

/// A write lies in so many pieces at most; of one in more it is not known that they are its own.
const RECENT_MAX: usize = 16;

/// How much of it an open handle was told of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told(u64);

impl Late {
    /// A write could not be made. Whether that is news: of the one before, if any, somebody was told.
    pub fn happened(&mut self, error: FsError, range: Option<Range<u64>>) -> bool {
        let news = self.unseen().is_ok();
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(Recent { range, news });
        self.count += 1;
        self.error = Some(error);
        self.seen = false;
        news
    }

    /// A handle is opened: what it need not be told of.
    pub fn opened(&self) -> Told {
        Told(if self.seen { self.count } else { self.count.saturating_sub(1) })
    }

    /// As if told of everything until now.
    pub fn until_now(&self) -> Told {
        Told(self.count)
    }

    /// Tells a handle, once.
    pub fn tell(&mut self, told: &mut Told) -> Result<(), FsError> {
        let news = std::mem::replace(&mut told.0, self.count) < self.count;
        match self.error {
            Some(error) if news => {
                self.seen = true;
                Err(error)
            }
            _ => Ok(()),
        }
    }

    /// Tells a write that has waited for its bytes what happened since `before`. `own`: these bytes, if none of another write
    /// were on their way with them. What was wrong with them alone the handle is not told of once more.
    pub fn tell_writer(&mut self, told: &mut Told, before: Told, own: Option<&Range<u64>>) -> Result<(), FsError> {
        let Some(error) = self.error.filter(|_| before.0 < self.count) else { return Ok(()) };
        let since = usize::try_from(self.count - before.0).unwrap_or(usize::MAX);
        let lies_in = |own: &Range<u64>, range: &Range<u64>| own.start <= range.start && range.end <= own.end;
        let is_own = |one: &Recent| own.zip(one.range.as_ref()).is_some_and(|(own, range)| lies_in(own, range));
        if since <= self.recent.len() && self.recent.iter().rev().take(since).all(is_own) {
            if told.0 >= before.0 {
                told.0 = self.count;
            }
            self.seen |= self.recent[self.recent.len() - since].news;
        }
        Err(error)
    }

    /// What a handle was not told of yet; it stays so.
    pub fn untold(&self, told: &Told) -> Result<(), FsError> {
        self.error.filter(|_| told.0 < self.count).map_or(Ok(()), Err)
    }

    /// The error that nobody was told of; it stays so.
    pub fn unseen(&self) -> Result<(), FsError> {
        self.error.filter(|_| !self.seen).map_or(Ok(()), Err)
    }
}

/// Errors of changes of names that were answered before they were made, by the inodes that they were about: the file, and
/// each directory that has the name or was to have it. Told as those of writes are, to whoever has one of these open.
#[derive(Debug, Default)]
pub struct LateNames {
    /// How many there were so far.
    count: u64,
    /// The last one of each inode.
    of: BTreeMap<Ino, LateName>,
    /// The last one of which it is not remembered what it was about.
    of_any: Option<LateName>,
}

#[derive(Clone, Copy, Debug)]
struct LateName {
    number: u64,
    error: FsError,
    seen: bool,
}

/// So many inodes are remembered.
const LATE_INODES_MAX: usize = 10_000;

impl LateNames {
    /// A change could not be made.
    pub fn happened(&mut self, inos: &[Ino], error: FsError) {
        self.count += 1;
        let late = LateName { number: self.count, error, seen: false };
        if self.of.len() + inos.len() > LATE_INODES_MAX {
            self.of.retain(|_, late| !late.seen);
        }
        if inos.is_empty() || self.of.len() + inos.len() > LATE_INODES_MAX {
            self.of_any = Some(late);
        } else {
            self.of.extend(inos.iter().map(|ino| (*ino, late)));
        }
    }

    fn about(&self, ino: Ino) -> impl Iterator<Item = &LateName> {
        self.of.get(&ino).into_iter().chain(&self.of_any)
    }

    /// An inode is opened: what the handle need not be told of.
    pub fn opened(&self, ino: Ino) -> Told {
        let unseen = self.about(ino).filter(|late| !late.seen).map(|late| late.number).min();
        Told(unseen.map_or(self.count, |number| number - 1))
    }

    /// Tells a handle of an inode, once.
    pub fn tell(&mut self, ino: Ino, told: &mut Told) -> Result<(), FsError> {
        let before = std::mem::replace(&mut told.0, self.count);
        let mut result = Ok(());
        for late in self.of.get_mut(&ino).into_iter().chain(&mut self.of_any).filter(|late| late.number > before) {
            late.seen = true;
            result = result.and(Err(late.error));
        }
        result
    }

    /// The error that nobody was told of; it stays so.
    pub fn unseen(&self) -> Result<(), FsError> {
        let mut all = self.of.values().chain(&self.of_any);
        all.find(|late| !late.seen).map_or(Ok(()), |late| Err(late.error))
    }

    /// Tells who syncs everything: one that nobody was told of, and of the others none any more.
    pub fn tell_all(&mut self) -> Result<(), FsError> {
        let mut result = Ok(());
        for late in self.of.values_mut().chain(&mut self.of_any).filter(|late| !late.seen) {
            late.seen = true;
            result = result.and(Err(late.error));
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_names_is_told_to_all_who_have_open_what_it_was_about_and_to_nobody_else() {
        let (dir, file, other) = (Ino(2), Ino(3), Ino(4));
        let mut late = LateNames::default();
        let (mut one, mut two, mut beside) = (late.opened(dir), late.opened(dir), late.opened(other));
        late.happened(&[file, dir], FsError::Io);
        assert_eq!(late.tell(other, &mut beside), Ok(()));
        for handle in [&mut one, &mut two] {
            assert_eq!(late.tell(dir, handle), Err(FsError::Io));
            assert_eq!(late.tell(dir, handle), Ok(()));
        }
        assert_eq!(late.tell(dir, &mut late.opened(dir)), Ok(()), "others know of it");
        assert_eq!(late.tell(file, &mut late.opened(file)), Err(FsError::Io), "of this nobody does");
        late.happened(&[dir], FsError::NoSpace);
        assert_eq!((late.unseen(), late.unseen()), (Err(FsError::NoSpace), Err(FsError::NoSpace)));
        assert_eq!((late.tell_all(), late.tell_all()), (Err(FsError::NoSpace), Ok(())));
        assert_eq!(late.tell(dir, &mut one), Err(FsError::NoSpace), "who had it open is told all the same");
    }

    #[test]
    fn what_cannot_be_remembered_of_each_is_told_to_all() {
        let mut late = LateNames::default();
        let mut handle = late.opened(Ino(1));
        let many: Vec<Ino> = (2..2 + LATE_INODES_MAX as u64).map(Ino).collect();
        late.happened(&many, FsError::Io);
        assert_eq!(late.tell(Ino(1), &mut handle), Ok(()));
        late.happened(&[Ino(9)], FsError::Io);
        assert_eq!(late.tell(Ino(1), &mut handle), Err(FsError::Io));
        assert_eq!(late.tell_all(), Err(FsError::Io));
        late.happened(&[Ino(9)], FsError::Io);
        assert_eq!(late.tell(Ino(1), &mut handle), Ok(()), "what was told makes room");
    }

    #[test]
    fn each_handle_is_told_once_of_each_error() {
        let mut late = Late::default();
        let (mut a, mut b) = (late.opened(), late.opened());
        assert_eq!(late.tell(&mut a), Ok(()));
        late.happened(FsError::Io, None);
        assert_eq!(late.unseen(), Err(FsError::Io));
        for handle in [&mut a, &mut b] {
            assert_eq!(late.tell(handle), Err(FsError::Io));
            assert_eq!(late.tell(handle), Ok(()));
        }
        assert_eq!(late.unseen(), Ok(()));
        late.happened(FsError::NoSpace, None);
        late.happened(FsError::NoSpace, None);
        assert_eq!(late.tell(&mut b), Err(FsError::NoSpace));
        assert_eq!(late.tell(&mut b), Ok(()));
        assert_eq!(late.tell(&mut a), Err(FsError::NoSpace));
    }

    #[test]
    fn a_write_that_waited_takes_away_what_is_its_own_and_nothing_else() {
        let (own, other) = (4096..8192, 0..4096);
        let told = |failed: &[Option<Range<u64>>], alone: bool| {
            let mut late = Late::default();
            let mut handle = late.opened();
            let before = late.until_now();
            failed.iter().for_each(|range| _ = late.happened(FsError::NoSpace, range.clone()));
            let heard = late.tell_writer(&mut handle, before, alone.then_some(&own)).is_err();
            (heard, late.tell(&mut handle).is_err(), late.tell(&mut late.opened()).is_err())
        };
        assert_eq!(told(&[], true), (false, false, false));
        assert_eq!(told(&[Some(own.clone())], true), (true, false, false));
        assert_eq!(told(&[Some(4096..5000), Some(5000..8192)], true), (true, false, false));
        let still_told = (true, true, false);
        assert_eq!(told(&[Some(own.clone())], false), still_told, "other bytes were on their way with them");
        assert_eq!(told(&[Some(other.clone()), Some(own.clone())], true), still_told, "an earlier write's");
        assert_eq!(told(&[Some(0..8192)], true), still_told, "both in one piece");
        assert_eq!(told(&[None], true), still_told, "what was stored is lost");
        assert_eq!(told(&vec![Some(own.clone()); RECENT_MAX + 1], true), still_told, "more than are remembered");
    }

    #[test]
    fn a_write_that_waited_does_not_take_away_what_was_before_it() {
        let mut late = Late::default();
        let mut handle = late.opened();
        late.happened(FsError::Io, Some(0..1));
        let before = late.until_now();
        assert_eq!(late.tell_writer(&mut handle, before, Some(&(0..1))), Ok(()), "that was none of its own");
        late.happened(FsError::NoSpace, Some(0..1));
        assert_eq!(late.tell_writer(&mut handle, before, Some(&(0..1))), Err(FsError::NoSpace));
        assert_eq!(late.unseen(), Err(FsError::NoSpace), "nobody knows of the one before");
        assert!(late.tell(&mut handle).is_err());
    }

    #[test]
    fn a_close_takes_nothing_away() {
        let mut late = Late::default();
        let mut handle = late.opened();
        assert_eq!(late.untold(&handle), Ok(()));
        late.happened(FsError::Io, None);
        assert_eq!(late.untold(&handle), Err(FsError::Io));
        assert_eq!(late.tell(&mut late.opened()), Err(FsError::Io));
        assert_eq!((late.untold(&handle), late.tell(&mut handle)), (Err(FsError::Io), Err(FsError::Io)));
        assert_eq!(late.untold(&handle), Ok(()));
    }

    #[test]
    fn who_opens_later_is_told_of_what_nobody_knows() {
        let mut late = Late::default();
        late.happened(FsError::Io, None);
        let mut first = late.opened();
        let mut second = late.opened();
        assert_eq!(late.tell(&mut first), Err(FsError::Io));
        let mut third = late.opened();
        assert_eq!((late.tell(&mut second), late.tell(&mut third)), (Err(FsError::Io), Ok(())));
    }
}
