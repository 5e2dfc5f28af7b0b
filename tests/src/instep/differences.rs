//! The differences from a local ext4 that are accepted, each with its reason. Everything else is a failure.

use super::file_ops::{FileOp, flags_of};
use super::flag_ops::{FlagOp, flags_of as rwf_of};
use super::name_ops::NameOp;
use super::op::Op;
use super::seen::{Nanos, Stat};
use super::sys::Call;
use super::xattr_ops::XattrOp;

/// An accepted difference.
#[derive(Debug, PartialEq, Eq)]
pub struct Accepted {
    /// A word for it.
    pub name: &'static str,
    /// Why it is accepted.
    pub reason: &'static str,
}

/// `open` with O_TMPFILE.
pub const TMPFILE: Accepted = Accepted { name: "O_TMPFILE", reason: "the FUSE library offers no such request" };
/// `renameat2` with RENAME_WHITEOUT.
pub const WHITEOUT: Accepted =
    Accepted { name: "RENAME_WHITEOUT", reason: "whiteouts belong to overlay file systems; nothing else makes them" };
/// `fallocate` that moves what is behind.
pub const SHIFT: Accepted =
    Accepted { name: "fallocate COLLAPSE and INSERT", reason: "chunks lie at fixed places; nothing can be moved" };
/// O_DIRECT of any length at any place.
pub const DIRECT: Accepted = Accepted {
    name: "O_DIRECT",
    reason: "the mount asks for no alignment; the local side reads and writes through its cache",
};
/// What a directory's length is.
pub const DIRECTORY_SIZE: Accepted =
    Accepted { name: "size of a directory", reason: "it is the number of its entries" };
/// The blocks of what has no bytes.
pub const OTHER_BLOCKS: Accepted =
    Accepted { name: "blocks of directories and links", reason: "they have no bytes of their own" };
/// How many blocks a file has.
pub const BLOCKS: Accepted = Accepted {
    name: "blocks of a file",
    reason: "compared once it is synced; not less than where data is, and not more than ext4 counts, which counts what it \
             keeps extents and extended attributes in",
};
/// When an inode was made.
pub const BIRTH: Accepted = Accepted { name: "time of birth", reason: "the FUSE library has no statx" };

/// What lseek finds.
pub const RESERVED: Accepted =
    Accepted { name: "SEEK_DATA and SEEK_HOLE", reason: "room that is reserved is data: zeros that have been written" };
/// The times of a fifo that is read and written.
pub const FIFO: Accepted =
    Accepted { name: "times of a fifo in use", reason: "its bytes pass through the kernel, which does not tell" };
/// An extended attribute that is set to what it is.
pub const SAME_XATTR: Accepted = Accepted {
    name: "ctime of setting an extended attribute to what it is",
    reason: "ext4 notices that nothing changes; other file systems do not",
};
/// The nanoseconds of the earliest time.
pub const EARLIEST: Accepted = Accepted {
    name: "nanoseconds of the earliest time",
    reason: "ext4's times begin with 1901-12-13 20:45:52, and the kernel cuts the fraction of that second off; ours go on",
};
/// A read of a directory.
pub const READ_DIRECTORY: Accepted = Accepted {
    name: "read of a directory",
    reason: "refused on both; ext4, whose places in a directory are huge numbers, refuses some as places",
};
/// lseek, copy_file_range, sendfile or splice to where no file of ext4 reaches.
pub const FAR: Accepted = Accepted {
    name: "lseek and copies beyond 16 TiB",
    reason: "ext4's files end there; how far they go on a FUSE file system the kernel decides by itself",
};
/// Data that is all zeros, beside other data.
pub const LARGE_PAGES: Accepted = Accepted {
    name: "zeros beside what was written through a mapping",
    reason: "ext4 writes the whole of a large page, zeros too; the mount sends only the pages that were written",
};
/// O_DIRECT writes to where no file reaches.
pub const FAR_DIRECT: Accepted = Accepted {
    name: "times of an O_DIRECT write beyond all files",
    reason: "the kernel cuts a FUSE file back to its length when such a write fails, in the words of ftruncate",
};
/// chown that changes neither owner nor group.
pub const IDLE_CHOWN: Accepted = Accepted {
    name: "chown that changes nothing",
    reason: "not made by users, nor of files with capabilities: the kernel asks FUSE in the same words before a writer's \
             fallocate, so that it is not refused to who does not own a set-id file while that is open for writing, and \
             before root's write to a file with capabilities, which leaves set-id bits",
};
/// Whether a read sets the time of access.
pub const ATIME: Accepted = Accepted {
    name: "time of access",
    reason: "compared where both sides moved it: the kernel answers some reads from its pages and tells nobody, and the \
             next one that it tells of is due only on the mount then; what a mapping loads is a read to the mount, where it \
             is none to ext4",
};

/// When a store through a mapping sets the file's times.
pub const STORED: Accepted = Accepted {
    name: "times of a file that was stored to through a mapping",
    reason: "not compared until it was synced or unmapped: the kernel tells a FUSE file system when it writes the page back",
};
/// preadv2 and pwritev2 with flags that a file system must have declared.
pub const UNDECLARED: Accepted = Accepted {
    name: "RWF_NOWAIT and RWF_DONTCACHE",
    reason: "refused: the kernel lets no FUSE file system declare that it can",
};

/// fallocate beyond RLIMIT_FSIZE.
pub const LIMITED: Accepted = Accepted {
    name: "fallocate beyond RLIMIT_FSIZE",
    reason: "refused with EFBIG by both, which the mount alone is asked for: ext4 sets the times of the file all the same",
};

/// Opening a file by its handle that only descriptors of O_PATH hold.
pub const NAMELESS: Accepted = Accepted {
    name: "opening what has no name and only O_PATH holds",
    reason: "not done: the servers let a file's bytes go with its last name unless somebody has it open",
};

/// Those that are told by the documentation, in its order.
pub const ALL: [&Accepted; 22] = [
    &TMPFILE,
    &WHITEOUT,
    &SHIFT,
    &DIRECT,
    &DIRECTORY_SIZE,
    &OTHER_BLOCKS,
    &BLOCKS,
    &BIRTH,
    &ATIME,
    &RESERVED,
    &FIFO,
    &SAME_XATTR,
    &EARLIEST,
    &READ_DIRECTORY,
    &FAR,
    &FAR_DIRECT,
    &IDLE_CHOWN,
    &LARGE_PAGES,
    &STORED,
    &UNDECLARED,
    &LIMITED,
    &NAMELESS,
];

/// What the mount refuses by design: it is asked of the mount alone, which must refuse it.
pub fn refused(op: &Op) -> Option<&'static Accepted> {
    match op {
        Op::File(FileOp::Open { flags, .. }) if flags_of(flags) & libc::O_TMPFILE == libc::O_TMPFILE => Some(&TMPFILE),
        Op::Name(NameOp::Rename { flags, .. }) if flags & libc::RENAME_WHITEOUT != 0 => Some(&WHITEOUT),
        Op::File(FileOp::Allocate { mode, .. })
            if mode & (libc::FALLOC_FL_COLLAPSE_RANGE | libc::FALLOC_FL_INSERT_RANGE) != 0 =>
        {
            Some(&SHIFT)
        }
        Op::Flag(FlagOp::Preadv2 { flags, .. } | FlagOp::Pwritev2 { flags, .. })
            if rwf_of(flags) & (libc::RWF_NOWAIT | libc::RWF_DONTCACHE) != 0 =>
        {
            Some(&UNDECLARED)
        }
        _ => None,
    }
}

/// Blocks, in units of 512 bytes, that ext4 counts beyond a file's own: of extents and of extended attributes.
const EXT4_MORE: u64 = 32;

/// What differs in the attributes of something, apart from its times and its number.
pub fn in_attributes(local: &Stat, mount: &Stat) -> Option<String> {
    let kind = local.mode & libc::S_IFMT;
    let differs = |what: &str, l: u64, m: u64| (l != m).then(|| format!("{what} is {l} locally, {m} on the mount"));
    let mode =
        (local.mode != mount.mode).then(|| format!("mode is {:o} locally, {:o} on the mount", local.mode, mount.mode));
    mode.or_else(|| differs("nlink", local.nlink.into(), mount.nlink.into()))
        .or_else(|| differs("uid", local.uid.into(), mount.uid.into()))
        .or_else(|| differs("gid", local.gid.into(), mount.gid.into()))
        .or_else(|| differs("rdev", local.rdev, mount.rdev))
        .or_else(|| if kind == libc::S_IFDIR { None } else { differs("size", local.size, mount.size) })
        .or_else(|| {
            let counted = kind == libc::S_IFREG && local.settled && mount.settled;
            // A time of birth: it is another ext4.
            let right = match mount.btime {
                0 => mount.blocks <= local.blocks,
                _ => mount.blocks.abs_diff(local.blocks) <= EXT4_MORE,
            };
            if counted && !right { differs("blocks", local.blocks, mount.blocks) } else { None }
        })
}

/// How much a time may be earlier than the step that set it: local file systems read a coarse clock.
pub const COARSE: Nanos = 20_000_000;

/// [`FAR`]: whether that may be one.
pub fn is_far(offset: i64) -> bool {
    offset > 1 << 43
}

/// [`RESERVED`], [`LARGE_PAGES`]: the mount has data wherever the local side has, or in the same large page. Where that is
/// not zeros, the contents would differ, too: only what is said to be data is read.
pub fn data_is_right(local: &[(u64, u64)], mount: &[(u64, u64)]) -> bool {
    /// Blocks of the largest page.
    const LARGE: u64 = 512;
    let is_near = |block: u64| mount.iter().any(|m| m.0 / LARGE <= block / LARGE && block / LARGE <= (m.1 - 1) / LARGE);
    local.iter().all(|l| (l.0..l.1).all(is_near))
}

/// [`RESERVED`], [`LARGE_PAGES`], for a single lseek.
pub fn seek_is_right(data: bool, local: Call, mount: Call) -> bool {
    /// Bytes of the largest page.
    const LARGE: i64 = 2 << 20;
    match (local, mount) {
        (Ok(local), Ok(mount)) if data => mount <= local || mount / LARGE == local / LARGE,
        (Ok(local), Ok(mount)) => mount >= local || mount / LARGE == (local - 1) / LARGE,
        (Err(libc::ENXIO), Ok(_)) => data,
        _ => local == mount,
    }
}

/// [`FIFO`]: whether it may be one.
pub fn is_fifo(stat: &Stat) -> bool {
    stat.mode & libc::S_IFMT == libc::S_IFIFO
}

/// [`EARLIEST`]: whether a time is that second, and its fraction is all that differs.
pub fn is_earliest(local: Nanos, mount: Nanos) -> bool {
    const SECOND: Nanos = 1_000_000_000;
    let earliest = Nanos::from(i32::MIN) * SECOND;
    local == earliest && (earliest..earliest + SECOND).contains(&mount)
}

/// [`READ_DIRECTORY`]: whether it may be such a step.
pub fn reads(op: &Op) -> bool {
    matches!(
        op,
        Op::File(FileOp::Read { .. } | FileOp::Readv { .. } | FileOp::Pread { .. } | FileOp::SendFile { .. })
            | Op::Flag(FlagOp::Preadv2 { .. })
    )
}

/// [`READ_DIRECTORY`]: whether both are such refusals.
pub fn refuses_directory(local: Call, mount: Call) -> bool {
    matches!((local, mount), (Err(libc::EINVAL), Err(libc::EISDIR | libc::EBADF)))
}

/// [`SAME_XATTR`], [`FAR_DIRECT`]: whether it may be a step that sets times on the mount alone. Behind such a one the
/// times are always looked at.
pub fn sets_times(op: &Op) -> bool {
    match op {
        Op::Xattr(XattrOp::Set { .. } | XattrOp::SetAcl { .. } | XattrOp::SetCapability { .. }) => true,
        Op::File(FileOp::Pwrite { offset, .. } | FileOp::Pwritev2 { offset, .. })
        | Op::Flag(FlagOp::Pwritev2 { offset, .. }) => is_far(*offset),
        _ => false,
    }
}

#[test]
fn the_accepted_differences_are_told() {
    let paper = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/TESTING.md");
    let text = std::fs::read_to_string(paper).expect("readable");
    for accepted in ALL {
        assert!(
            text.contains(&format!("| {} |", accepted.name)),
            "docs/TESTING.md does not tell of: {}",
            accepted.name
        );
    }
}
