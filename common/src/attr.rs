//! What `stat` shows of an inode.

use crate::id::Ino;
use crate::time::Time;
use serde::{Deserialize, Serialize};

/// What an inode is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum FileKind {
    /// A regular file; the only kind with chunks.
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A Unix socket.
    Socket,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
}

/// Where a file's chunks lie: a number handed out in turn to each new file, from which pair and primary of every
/// chunk follow (see [`crate::pair::place`]). Never changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Placement {
    /// The pair of chunk 0.
    pub first_pair: u16,
    /// Which of a pair's two servers is primary for chunk 0, when both are in sync: 0 or 1.
    pub turn: u8,
}

/// An inode's attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attr {
    /// Its number.
    pub ino: Ino,
    /// What it is.
    pub kind: FileKind,
    /// Permission bits with set-id and sticky: 12 bits.
    pub perm: u16,
    /// Names that point to it; of a directory: 2 plus its subdirectories. 0: it is gone once closed.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number of a device file.
    pub rdev: u32,
    /// Bytes.
    pub size: u64,
    /// Blocks of a file that are not holes, in units of [`crate::limits::BLOCK_BYTES`].
    pub blocks: u64,
    /// Last access.
    pub atime: Time,
    /// Last change of contents.
    pub mtime: Time,
    /// Last change of the inode.
    pub ctime: Time,
    /// Birth.
    pub btime: Time,
    /// How many times the file was made shorter; size updates from before a cut are void.
    pub cut_gen: u32,
    /// Where its chunks lie.
    pub placement: Placement,
    /// The directory that a directory is in (of the root: itself); of other kinds the one that it was made in.
    pub parent: Ino,
    /// How many extended attributes it has, so that a mount need not ask for those of a file that has none.
    pub xattrs: u16,
}
