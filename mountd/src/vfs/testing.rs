//! What several tests of the vfs need.

use raidfs_common::attr::{Attr, FileKind, Placement};
use raidfs_common::id::Ino;
use raidfs_common::time::Time;

/// A file with nothing in it.
pub fn empty_file(ino: Ino) -> Attr {
    let never = Time::default();
    Attr {
        ino,
        kind: FileKind::File,
        perm: 0o644,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        size: 0,
        blocks: 0,
        atime: never,
        mtime: never,
        ctime: never,
        btime: never,
        cut_gen: 0,
        placement: Placement::default(),
        parent: Ino::ROOT,
        xattrs: 0,
    }
}
