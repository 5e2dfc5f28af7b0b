//! Errors of writes that were answered before they were made. Pure.
//!
//! As Linux does it: whoever has the file open when it happens is told once, at his next fsync, however many they are; who
//! opens the file later is told only of what nobody was told of yet. Each close until then is told, too, which does not
//! count: it may be that of a child that ends, and that nobody looks at.

use raidfs_common::error::FsError;

/// What went wrong with a file's writes.
#[derive(Debug, Default)]
pub struct Late {
    /// How often.
    count: u64,
    /// The last of it.
    error: Option<FsError>,
    /// Somebody was told of the last of it.
    seen: bool,
}

/// How much of it an open handle was told of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told(u64);

impl Late {
    /// A write could not be made. Whether that is news: of the one before, if any, somebody was told.
    pub fn happened(&mut self, error: FsError) -> bool {
        let news = self.unseen().is_ok();
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

    /// What a handle was not told of yet; it stays so.
    pub fn untold(&self, told: &Told) -> Result<(), FsError> {
        self.error.filter(|_| told.0 < self.count).map_or(Ok(()), Err)
    }

    /// The error that nobody was told of; it stays so.
    pub fn unseen(&self) -> Result<(), FsError> {
        self.error.filter(|_| !self.seen).map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_handle_is_told_once_of_each_error() {
        let mut late = Late::default();
        let (mut a, mut b) = (late.opened(), late.opened());
        assert_eq!(late.tell(&mut a), Ok(()));
        late.happened(FsError::Io);
        assert_eq!(late.unseen(), Err(FsError::Io));
        for handle in [&mut a, &mut b] {
            assert_eq!(late.tell(handle), Err(FsError::Io));
            assert_eq!(late.tell(handle), Ok(()));
        }
        assert_eq!(late.unseen(), Ok(()));
        late.happened(FsError::NoSpace);
        late.happened(FsError::NoSpace);
        assert_eq!(late.tell(&mut b), Err(FsError::NoSpace));
        assert_eq!(late.tell(&mut b), Ok(()));
        assert_eq!(late.tell(&mut a), Err(FsError::NoSpace));
    }

    #[test]
    fn a_close_takes_nothing_away() {
        let mut late = Late::default();
        let mut handle = late.opened();
        assert_eq!(late.untold(&handle), Ok(()));
        late.happened(FsError::Io);
        assert_eq!(late.untold(&handle), Err(FsError::Io));
        assert_eq!(late.tell(&mut late.opened()), Err(FsError::Io));
        assert_eq!((late.untold(&handle), late.tell(&mut handle)), (Err(FsError::Io), Err(FsError::Io)));
        assert_eq!(late.untold(&handle), Ok(()));
    }

    #[test]
    fn who_opens_later_is_told_of_what_nobody_knows() {
        let mut late = Late::default();
        late.happened(FsError::Io);
        let mut first = late.opened();
        let mut second = late.opened();
        assert_eq!(late.tell(&mut first), Err(FsError::Io));
        let mut third = late.opened();
        assert_eq!((late.tell(&mut second), late.tell(&mut third)), (Err(FsError::Io), Ok(())));
    }
}
