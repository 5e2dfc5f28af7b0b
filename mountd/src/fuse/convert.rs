//! Values of the vfs as fuser's, and back.

use crate::vfs::{NewNode, Set, SetTime};
use bytes::Bytes;
use fuser::{FileAttr, FileType, INodeNo, TimeOrNow};
use raidfs_common::attr::{Attr, FileKind};
use raidfs_common::limits::BLOCK_BYTES;
use raidfs_common::time::Time;
use std::time::{SystemTime, UNIX_EPOCH};

/// What `stat` counts blocks in.
const STAT_BLOCK_BYTES: u64 = 512;

/// A kind as fuser has it.
pub fn kind_of(kind: FileKind) -> FileType {
    match kind {
        FileKind::File => FileType::RegularFile,
        FileKind::Dir => FileType::Directory,
        FileKind::Symlink => FileType::Symlink,
        FileKind::Fifo => FileType::NamedPipe,
        FileKind::Socket => FileType::Socket,
        FileKind::CharDevice => FileType::CharDevice,
        FileKind::BlockDevice => FileType::BlockDevice,
    }
}

/// Attributes as fuser has them.
pub fn attr_of(attr: &Attr) -> FileAttr {
    FileAttr {
        ino: INodeNo(attr.ino.0),
        size: attr.size,
        blocks: attr.blocks * (BLOCK_BYTES / STAT_BLOCK_BYTES),
        atime: attr.atime.to_system(),
        mtime: attr.mtime.to_system(),
        ctime: attr.ctime.to_system(),
        crtime: attr.btime.to_system(),
        kind: kind_of(attr.kind),
        perm: attr.perm,
        nlink: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        rdev: attr.rdev,
        blksize: BLOCK_BYTES as u32,
        flags: 0,
    }
}

/// What mknod is to make; None for what cannot be made so.
pub fn node_of(mode: u32, rdev: u32) -> Option<NewNode> {
    let kind = match mode & libc::S_IFMT {
        0 | libc::S_IFREG => FileKind::File,
        libc::S_IFIFO => FileKind::Fifo,
        libc::S_IFSOCK => FileKind::Socket,
        libc::S_IFCHR => FileKind::CharDevice,
        libc::S_IFBLK => FileKind::BlockDevice,
        _ => return None,
    };
    Some(NewNode { kind, perm: (mode & 0o7777) as u16, rdev, target: Bytes::new() })
}

/// A time as the kernel sent it. Of one before 1970 fuser takes the nanoseconds off instead of adding them.
fn time_from_kernel(t: SystemTime) -> Time {
    match UNIX_EPOCH.duration_since(t) {
        // The first second that there is has no positive counterpart.
        Ok(before) if !before.is_zero() => {
            Time { secs: (before.as_secs() as i64).wrapping_neg(), nanos: before.subsec_nanos() }
        }
        _ => Time::from(t),
    }
}

/// What setattr is to set.
pub fn set_of(
    mode: Option<u32>,
    uid: Option<u32>,
    gid: Option<u32>,
    size: Option<u64>,
    atime: Option<TimeOrNow>,
    mtime: Option<TimeOrNow>,
) -> Set {
    let time = |t: TimeOrNow| match t {
        TimeOrNow::Now => SetTime::Now,
        TimeOrNow::SpecificTime(t) => SetTime::At(time_from_kernel(t)),
    };
    Set { perm: mode.map(|m| (m & 0o7777) as u16), uid, gid, size, atime: atime.map(time), mtime: mtime.map(time) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn times_before_1970_are_what_the_kernel_meant() {
        // What fuser makes of -1 s and 999,999,999 ns.
        let sent = UNIX_EPOCH - Duration::new(1, 999_999_999);
        assert_eq!(time_from_kernel(sent), Time { secs: -1, nanos: 999_999_999 });
        let sent = UNIX_EPOCH - Duration::new(7, 0);
        assert_eq!(time_from_kernel(sent), Time { secs: -7, nanos: 0 });
        let sent = UNIX_EPOCH - Duration::new(1 << 63, 0);
        assert_eq!(time_from_kernel(sent), Time { secs: i64::MIN, nanos: 0 });
        let sent = UNIX_EPOCH + Duration::new(7, 1);
        assert_eq!(time_from_kernel(sent), Time { secs: 7, nanos: 1 });
    }
}
