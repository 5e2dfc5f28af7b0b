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
    /// One life of a server process: which one in its data directory, and in which directory; see [`Incarnation::of`].
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

impl Incarnation {
    /// The life of this number, from 1, in the data directory with this number.
    pub fn of(life: u32, directory: u32) -> Incarnation {
        Incarnation(u64::from(life) << 32 | u64::from(directory))
    }

    /// Which life of its data directory it is; 0: none, see [`Incarnation::barred`].
    pub fn life(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The number of the data directory, drawn when that was made.
    pub fn directory(self) -> u32 {
        self.0 as u32
    }

    /// No life: stands for a data directory that is not taken any more, in whatever life of it.
    pub fn barred(self) -> Incarnation {
        Incarnation::of(0, self.directory())
    }

    /// Whether, where this is what is known, a process of the life `comer` may take part: the data directory is the known
    /// one; or none is known; or any other is waited for than one that is barred.
    pub fn admits(self, comer: Incarnation) -> bool {
        match (self.0, self.life()) {
            (0, _) => true,
            (_, 0) => comer.directory() != self.directory(),
            _ => comer.directory() == self.directory(),
        }
    }
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

/// A pair's number, from 0; to people, from 1 like the servers': `pair 1`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PairId(pub u16);

impl fmt::Display for PairId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pair {}", u32::from(self.0) + 1)
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
    fn the_known_directory_is_admitted_or_any_but_the_barred_one() {
        let (old, new) = (Incarnation::of(3, 7), Incarnation::of(1, 8));
        assert_eq!((old.life(), old.directory()), (3, 7));
        assert!(Incarnation(0).admits(old), "nobody is known");
        assert!(old.admits(Incarnation::of(9, 7)) && !old.admits(new));
        let waits = old.barred();
        assert!(!waits.admits(old) && !waits.admits(Incarnation::of(4, 7)) && waits.admits(new));
    }

    #[test]
    fn people_count_pairs_from_one() {
        assert_eq!(PairId(0).to_string(), "pair 1");
        assert_eq!(PairId(u16::MAX).to_string(), "pair 65536");
        let rejection = crate::error::Rejection::WrongEpoch { pair: PairId(1), current: Epoch(7) };
        assert_eq!(rejection.to_string(), "pair 2 is at epoch 7");
    }

    #[test]
    fn the_chunk_before_is_just_before() {
        let chunk = |ino: u64, index| ChunkId { ino: Ino(ino), index };
        assert_eq!(chunk(5, 3).before(), Some(chunk(5, 2)));
        assert_eq!(chunk(5, 0).before(), Some(chunk(4, u32::MAX)));
        assert_eq!(chunk(0, 0).before(), None);
    }
}
