//! Identifiers as types of their own, so that one can never be passed for another.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

/// A server's number in the configuration, from 1; [`ServerId::WITNESS`] is the witness.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServerId(pub u16);

impl ServerId {
    /// The voter that keeps the log but neither names nor chunks.
    pub const WITNESS: ServerId = ServerId(0);

    /// Whether this is the witness.
    pub fn is_witness(self) -> bool {
        self == Self::WITNESS
    }
}

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_witness() { f.write_str("witness") } else { write!(f, "fsd{}", self.0) }
    }
}

number!(
    /// A pair's number, from 0.
    PairId(u16)
);
number!(
    /// An inode number; never used twice in the life of a cluster.
    Ino(u64)
);
number!(
    /// A mount session, drawn at random by the client that opens it; 0 is the cluster's own hand.
    SessionId(u64)
);
number!(
    /// A pair's generation, raised by each change of its in-sync set.
    Epoch(u64)
);
number!(
    /// One life of a server process, drawn at its start.
    Incarnation(u64)
);
number!(
    /// A position in the replicated log, from 1; 0 is "before everything".
    LogIndex(u64)
);
number!(
    /// A term of the election.
    Term(u64)
);
number!(
    /// A cluster's identity: a hash of its configured name.
    ClusterId(u64)
);

impl Ino {
    /// The directory that a mount shows.
    pub const ROOT: Ino = Ino(1);
}

impl SessionId {
    /// The session number of changes that the cluster makes by itself.
    pub const CLUSTER: SessionId = SessionId(0);
}

impl LogIndex {
    /// The position after this one.
    pub fn next(self) -> LogIndex {
        LogIndex(self.0 + 1)
    }
}

/// One fixed-size piece of one file's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ChunkId {
    /// The file.
    pub ino: Ino,
    /// Which piece, from 0.
    pub index: u32,
}

impl ChunkId {
    /// The chunk just before this one in the order of chunks: a list of what is above it begins with this one. None for
    /// the first of all.
    pub fn before(self) -> Option<ChunkId> {
        match self.index.checked_sub(1) {
            Some(index) => Some(ChunkId { index, ..self }),
            None => self.ino.0.checked_sub(1).map(|ino| ChunkId { ino: Ino(ino), index: u32::MAX }),
        }
    }
}

impl fmt::Display for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}.{}", self.ino.0, self.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chunk_before_is_just_before() {
        let chunk = |ino: u64, index| ChunkId { ino: Ino(ino), index };
        assert_eq!(chunk(5, 3).before(), Some(chunk(5, 2)));
        assert_eq!(chunk(5, 0).before(), Some(chunk(4, u32::MAX)));
        assert_eq!(chunk(0, 0).before(), None);
    }
}
