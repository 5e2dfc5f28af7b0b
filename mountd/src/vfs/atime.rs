//! When reading moves an access time. Pure.

use raidfs_common::attr::{Attr, FileKind};
use raidfs_common::time::Time;

/// Which reads move access times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Atime {
    /// Those that find it no later than the last change, or older than a day.
    #[default]
    Relative,
    /// All.
    Strict,
    /// None.
    Off,
}

/// The rule of a mount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AtimeRule {
    /// Which reads.
    pub atime: Atime,
    /// Those of directories never.
    pub no_dirs: bool,
}

/// An access time is renewed when it is this old, in seconds, though nothing was changed.
const OLD_SECS: i64 = 24 * 3600;

impl AtimeRule {
    /// Whether a read moves the access time of an inode with these attributes.
    pub fn is_due(self, attr: &Attr, now: impl FnOnce() -> Time) -> bool {
        if attr.nlink == 0 || self.no_dirs && attr.kind == FileKind::Dir {
            return false;
        }
        match self.atime {
            Atime::Off => false,
            Atime::Strict => true,
            // Asking for the time costs more than seeing that it is not needed.
            Atime::Relative => {
                attr.atime <= attr.mtime
                    || attr.atime <= attr.ctime
                    || now().secs.saturating_sub(attr.atime.secs) >= OLD_SECS
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use raidfs_common::attr::Placement;
    use raidfs_common::id::Ino;

    fn at(secs: i64) -> Time {
        Time { secs, nanos: 0 }
    }

    fn attr(kind: FileKind, atime: i64, mtime: i64, ctime: i64) -> Attr {
        Attr {
            ino: Ino(7),
            kind,
            perm: 0o644,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            size: 1,
            blocks: 0,
            atime: at(atime),
            mtime: at(mtime),
            ctime: at(ctime),
            btime: at(0),
            cut_gen: 0,
            placement: Placement::default(),
            parent: Ino::ROOT,
            xattrs: 0,
        }
    }

    #[test]
    fn relative_means_behind_a_change_or_a_day() {
        let rule = AtimeRule::default();
        let due = |atime, mtime, ctime, now| rule.is_due(&attr(FileKind::File, atime, mtime, ctime), || at(now));
        assert!(due(10, 10, 9, 11), "as old as the change of contents");
        assert!(due(10, 9, 10, 11), "as old as the change of attributes");
        assert!(!due(10, 9, 9, 11));
        assert!(!due(10, 9, 9, 9 + OLD_SECS));
        assert!(due(10, 9, 9, 10 + OLD_SECS));
    }

    #[test]
    fn other_rules() {
        let changed = attr(FileKind::File, 1, 2, 2);
        let read = attr(FileKind::File, 3, 2, 2);
        let due = |atime, no_dirs, attr: &Attr| AtimeRule { atime, no_dirs }.is_due(attr, || at(4));
        assert!(!due(Atime::Off, false, &changed));
        assert!(due(Atime::Strict, false, &read));
        let dir = attr(FileKind::Dir, 1, 2, 2);
        assert!(due(Atime::Relative, false, &dir));
        assert!(!due(Atime::Relative, true, &dir) && due(Atime::Relative, true, &changed));
        assert!(!due(Atime::Strict, false, &Attr { nlink: 0, ..changed }), "nobody will see it");
    }
}
