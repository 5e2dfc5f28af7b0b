//! The rows of the namespace: their keys, their order, their bytes. The only place that knows how a row is stored;
//! knows nothing of what makes rows fit together.
//!
//! A key is a tag byte and its parts, numbers big-endian, so that the order of keys is the order of their parts. A
//! value is the format's number and the row. Formats: 1, the first.

use super::fault::Fault;
use crate::board::Doom;
use bytes::Bytes;
use raidfs_common::attr::{Attr, FileKind};
use raidfs_common::codec;
use raidfs_common::id::{Epoch, Incarnation, Ino, LogIndex, PairId, SessionId, Term};
use raidfs_common::name::FileName;
use raidfs_common::namespace::Outcome;
use raidfs_common::pair::Pair;
use raidfs_common::plant::{Bug, planted};
use serde::{Deserialize, Serialize};

/// The format that this version writes, and the newest that it reads.
pub const FORMAT: u8 = 1;

/// First bytes of keys. Stored: never change one.
mod tag {
    pub const APPLIED: u8 = 0x01;
    pub const COUNTERS: u8 = 0x02;
    pub const PAIRS: u8 = 0x03;
    pub const ENDED: u8 = 0x04;
    pub const RECOVERY: u8 = 0x05;
    pub const WITNESS: u8 = 0x06;
    pub const LOSING: u8 = 0x07;
    pub const LATE: u8 = 0x08;
    pub const SESSION: u8 = 0x10;
    pub const OUTCOME: u8 = 0x11;
    pub const ORPHAN: u8 = 0x12;
    pub const INODE: u8 = 0x20;
    pub const ENTRY: u8 = 0x21;
    pub const INDEX: u8 = 0x22;
    pub const XATTR: u8 = 0x23;
    pub const TARGET: u8 = 0x24;
    pub const LOST: u8 = 0x25;
    pub const DOOM: u8 = 0x30;
}

/// The key of a row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// How far the log is applied. A store without it is empty or half made.
    Applied,
    /// Numbers that are handed out, and sums.
    Counters,
    /// The pairs.
    Pairs,
    /// Sessions that ended last.
    Ended,
    /// What was recovered from.
    Recovery,
    /// Which life of the witness is known.
    Witness,
    /// A pair whose loss is about to be accepted.
    Losing,
    /// How often something was marked as lost with a pair that had no copy any more.
    Late,
    /// An open session.
    Session(SessionId),
    /// The outcome of a session's request.
    Outcome(SessionId, u64),
    /// An inode without a name that a session holds open.
    Orphan(SessionId, Ino),
    /// An inode.
    Inode(Ino),
    /// A directory's entry, by name.
    Entry(Ino, FileName),
    /// A directory's entry, by cookie.
    Index(Ino, u64),
    /// An extended attribute of an inode.
    Xattr(Ino, Bytes),
    /// A symbolic link's target.
    Target(Ino),
    /// What was lost of a file, with pairs whose loss was accepted.
    Lost(Ino),
    /// What an entry of the log doomed of an inode; this server's own list of work, not replicated.
    Doom(Ino, LogIndex),
}

fn two(tag: u8, a: u64, rest: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(9 + rest.len());
    key.push(tag);
    key.extend_from_slice(&a.to_be_bytes());
    key.extend_from_slice(rest);
    key
}

impl Key {
    /// The key's bytes; they sort as the keys do.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Key::Applied => vec![tag::APPLIED],
            Key::Counters => vec![tag::COUNTERS],
            Key::Pairs => vec![tag::PAIRS],
            Key::Ended => vec![tag::ENDED],
            Key::Recovery => vec![tag::RECOVERY],
            Key::Witness => vec![tag::WITNESS],
            Key::Losing => vec![tag::LOSING],
            Key::Late => vec![tag::LATE],
            Key::Session(id) => two(tag::SESSION, id.0, &[]),
            Key::Outcome(id, seq) => two(tag::OUTCOME, id.0, &seq.to_be_bytes()),
            Key::Orphan(id, ino) => two(tag::ORPHAN, id.0, &ino.0.to_be_bytes()),
            Key::Inode(ino) => two(tag::INODE, ino.0, &[]),
            Key::Entry(parent, name) => two(tag::ENTRY, parent.0, name.as_bytes()),
            Key::Index(parent, cookie) => two(tag::INDEX, parent.0, &cookie.to_be_bytes()),
            Key::Xattr(ino, name) => two(tag::XATTR, ino.0, name),
            Key::Target(ino) => two(tag::TARGET, ino.0, &[]),
            Key::Lost(ino) => two(tag::LOST, ino.0, &[]),
            Key::Doom(ino, index) => two(tag::DOOM, ino.0, &index.0.to_be_bytes()),
        }
    }

    /// Reads a key back.
    pub fn decode(bytes: &[u8]) -> Result<Key, Fault> {
        Key::parse(bytes).ok_or_else(|| Fault::damaged(bytes, "has a key that no row has"))
    }

    fn parse(bytes: &[u8]) -> Option<Key> {
        let (&tag, rest) = bytes.split_first()?;
        match tag {
            tag::APPLIED => rest.is_empty().then_some(Key::Applied),
            tag::COUNTERS => rest.is_empty().then_some(Key::Counters),
            tag::PAIRS => rest.is_empty().then_some(Key::Pairs),
            tag::ENDED => rest.is_empty().then_some(Key::Ended),
            tag::RECOVERY => rest.is_empty().then_some(Key::Recovery),
            tag::WITNESS => rest.is_empty().then_some(Key::Witness),
            tag::LOSING => rest.is_empty().then_some(Key::Losing),
            tag::LATE => rest.is_empty().then_some(Key::Late),
            _ => {
                let (a, rest) = rest.split_first_chunk::<8>()?;
                let a = u64::from_be_bytes(*a);
                let b = || Some(u64::from_be_bytes(rest.try_into().ok()?));
                let alone = |key| rest.is_empty().then_some(key);
                match tag {
                    tag::SESSION => alone(Key::Session(SessionId(a))),
                    tag::OUTCOME => Some(Key::Outcome(SessionId(a), b()?)),
                    tag::ORPHAN => Some(Key::Orphan(SessionId(a), Ino(b()?))),
                    tag::INODE => alone(Key::Inode(Ino(a))),
                    tag::ENTRY => Some(Key::Entry(Ino(a), FileName::new(rest.to_vec()).ok()?)),
                    tag::INDEX => Some(Key::Index(Ino(a), b()?)),
                    tag::XATTR => Some(Key::Xattr(Ino(a), Bytes::copy_from_slice(rest))),
                    tag::TARGET => alone(Key::Target(Ino(a))),
                    tag::LOST => alone(Key::Lost(Ino(a))),
                    tag::DOOM => Some(Key::Doom(Ino(a), LogIndex(b()?))),
                    _ => None,
                }
            }
        }
    }
}

/// Whether the row under this key is the same on every server.
pub fn is_replicated(key: &[u8]) -> bool {
    let own = |tag: &u8| *tag == tag::DOOM || *tag == tag::OUTCOME && planted(Bug::ForgetsOutcomes);
    !key.first().is_some_and(own)
}

/// What keys of one kind begin with.
pub mod prefix {
    use super::{Ino, SessionId, tag, two};

    /// All sessions.
    pub fn sessions() -> Vec<u8> {
        vec![tag::SESSION]
    }
    /// All outcomes.
    pub fn outcomes() -> Vec<u8> {
        vec![tag::OUTCOME]
    }
    /// All orphans.
    pub fn orphans() -> Vec<u8> {
        vec![tag::ORPHAN]
    }
    /// One session's orphans.
    pub fn orphans_of(session: SessionId) -> Vec<u8> {
        two(tag::ORPHAN, session.0, &[])
    }
    /// All inodes.
    pub fn inodes() -> Vec<u8> {
        vec![tag::INODE]
    }
    /// All directory entries, by directory and name.
    pub fn entries() -> Vec<u8> {
        vec![tag::ENTRY]
    }
    /// All directory entries, by directory and cookie.
    pub fn index() -> Vec<u8> {
        vec![tag::INDEX]
    }
    /// One directory's entries, by cookie.
    pub fn index_of(parent: Ino) -> Vec<u8> {
        two(tag::INDEX, parent.0, &[])
    }
    /// All extended attributes.
    pub fn xattrs() -> Vec<u8> {
        vec![tag::XATTR]
    }
    /// One inode's extended attributes.
    pub fn xattrs_of(ino: Ino) -> Vec<u8> {
        two(tag::XATTR, ino.0, &[])
    }
    /// All targets of symbolic links.
    pub fn targets() -> Vec<u8> {
        vec![tag::TARGET]
    }
    /// All files of which something was lost.
    pub fn lost() -> Vec<u8> {
        vec![tag::LOST]
    }
    /// All dooms.
    pub fn dooms() -> Vec<u8> {
        vec![tag::DOOM]
    }
}

/// How far the log is applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppliedRow {
    /// The last entry applied.
    pub index: LogIndex,
    /// Its term.
    pub term: Term,
}

/// Numbers that are handed out, and sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Regular files made so far.
    pub placed: u64,
    /// The first inode number that was never granted.
    pub next_ino: u64,
    /// Directories, the root and orphans included.
    pub dirs: u64,
    /// Other inodes, orphans included.
    pub others: u64,
}

/// An open session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRow {
    /// Who mounts, in words.
    pub holder: String,
    /// The first range of inode numbers that was granted to it: first, one past the last.
    pub first_grant: (u64, u64),
    /// Granted inode numbers that were not used, as ranges in order: first, one past the last.
    pub unused: Vec<(u64, u64)>,
    /// Outcomes of requests below this number are not kept.
    pub done_below: u64,
}

/// How often power was lost with entries that may have been agreed (rule 4), and who may not know it yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryRow {
    /// How often.
    pub generation: u64,
    /// Sessions that were open then and have not been ended: what they know may be of a history that is no more.
    pub void: Vec<SessionId>,
}

/// How far it is marked what is lost with a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LosingRow {
    /// The pair.
    pub pair: PairId,
    /// As it was under this epoch.
    pub epoch: Epoch,
    /// Inodes from this one on are to be looked at; None: all are marked.
    pub next: Option<Ino>,
}

/// By pair, in order: a file's chunks there are lost as far as they hold bytes before this one of the file. What was
/// written there since is marked all the same.
pub type LostRow = Vec<(PairId, u64)>;

/// An inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InodeRow {
    /// What `stat` shows. The size of a directory is the number of its entries, of a symbolic link its target's.
    pub attr: Attr,
    /// The cookie of a directory's next entry; 0 for other kinds.
    pub next_cookie: u64,
    /// Names and values of its extended attributes, in bytes.
    pub xattr_bytes: u32,
}

/// A directory's entry, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryRow {
    /// The inode.
    pub ino: Ino,
    /// What that is.
    pub kind: FileKind,
    /// Where the entry stands in its directory.
    pub cookie: u64,
}

/// A directory's entry, by cookie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexRow {
    /// Its name.
    pub name: FileName,
    /// The inode.
    pub ino: Ino,
    /// What that is.
    pub kind: FileKind,
}

/// The value of a row; which variant it is follows from its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Row {
    /// Under [`Key::Applied`].
    Applied(AppliedRow),
    /// Under [`Key::Counters`].
    Counters(Counters),
    /// Under [`Key::Pairs`].
    Pairs(Vec<Pair>),
    /// Under [`Key::Ended`], the oldest first.
    Ended(Vec<SessionId>),
    /// Under [`Key::Recovery`].
    Recovery(RecoveryRow),
    /// Under [`Key::Witness`].
    Witness(Incarnation),
    /// Under [`Key::Losing`].
    Losing(LosingRow),
    /// Under [`Key::Late`].
    Late(u64),
    /// Under [`Key::Session`].
    Session(SessionRow),
    /// Under [`Key::Outcome`].
    Outcome(Outcome),
    /// Under [`Key::Orphan`].
    Orphan,
    /// Under [`Key::Inode`].
    Inode(InodeRow),
    /// Under [`Key::Entry`].
    Entry(EntryRow),
    /// Under [`Key::Index`].
    Index(IndexRow),
    /// Under [`Key::Xattr`].
    Xattr(Bytes),
    /// Under [`Key::Target`].
    Target(Bytes),
    /// Under [`Key::Lost`]; never empty.
    Lost(LostRow),
    /// Under [`Key::Doom`], in the order in which it happened.
    Doom(Vec<Doom>),
}

fn stored(value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + value.len());
    bytes.push(FORMAT);
    bytes.extend_from_slice(value);
    bytes
}

impl Row {
    /// The value's bytes.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Row::Applied(row) => stored(&codec::encode(row)),
            Row::Counters(row) => stored(&codec::encode(row)),
            Row::Pairs(row) => stored(&codec::encode(row)),
            Row::Ended(row) => stored(&codec::encode(row)),
            Row::Recovery(row) => stored(&codec::encode(row)),
            Row::Witness(life) => stored(&codec::encode(life)),
            Row::Losing(row) => stored(&codec::encode(row)),
            Row::Late(times) => stored(&codec::encode(times)),
            Row::Session(row) => stored(&codec::encode(row)),
            Row::Outcome(row) => stored(&codec::encode(row)),
            Row::Orphan => stored(&[]),
            Row::Inode(row) => stored(&codec::encode(row)),
            Row::Entry(row) => stored(&codec::encode(row)),
            Row::Index(row) => stored(&codec::encode(row)),
            Row::Xattr(bytes) | Row::Target(bytes) => stored(bytes),
            Row::Lost(ends) => stored(&codec::encode(ends)),
            Row::Doom(list) => stored(&codec::encode(&list.iter().map(|doom| cut_size(*doom)).collect::<Vec<_>>())),
        }
    }

    /// Reads the value under `key` back.
    pub fn decode(key: &[u8], value: &[u8]) -> Result<Row, Fault> {
        let value = match value.split_first() {
            Some((&FORMAT, rest)) => rest,
            Some((&found, _)) if found > FORMAT => return Err(Fault::Newer { found }),
            _ => return Err(Fault::damaged(key, "has no format number")),
        };
        let malformed = |_| Fault::damaged(key, "cannot be decoded");
        Ok(match key.first().copied().unwrap_or_default() {
            tag::APPLIED => Row::Applied(codec::decode(value).map_err(malformed)?),
            tag::COUNTERS => Row::Counters(codec::decode(value).map_err(malformed)?),
            tag::PAIRS => Row::Pairs(codec::decode(value).map_err(malformed)?),
            tag::ENDED => Row::Ended(codec::decode(value).map_err(malformed)?),
            tag::RECOVERY => Row::Recovery(codec::decode(value).map_err(malformed)?),
            tag::WITNESS => Row::Witness(codec::decode(value).map_err(malformed)?),
            tag::LOSING => Row::Losing(codec::decode(value).map_err(malformed)?),
            tag::LATE => Row::Late(codec::decode(value).map_err(malformed)?),
            tag::SESSION => Row::Session(codec::decode(value).map_err(malformed)?),
            tag::OUTCOME => Row::Outcome(codec::decode(value).map_err(malformed)?),
            tag::ORPHAN => Row::Orphan,
            tag::INODE => Row::Inode(codec::decode(value).map_err(malformed)?),
            tag::ENTRY => Row::Entry(codec::decode(value).map_err(malformed)?),
            tag::INDEX => Row::Index(codec::decode(value).map_err(malformed)?),
            tag::XATTR => Row::Xattr(Bytes::copy_from_slice(value)),
            tag::TARGET => Row::Target(Bytes::copy_from_slice(value)),
            tag::LOST => Row::Lost(codec::decode(value).map_err(malformed)?),
            tag::DOOM => {
                let sizes: Vec<Option<u64>> = codec::decode(value).map_err(malformed)?;
                Row::Doom(sizes.into_iter().map(|size| size.map_or(Doom::Reap, |size| Doom::Cut { size })).collect())
            }
            _ => return Err(Fault::damaged(key, "has a key that no row has")),
        })
    }
}

/// A doom as it is stored: the size that was cut to, or None if the file is gone.
fn cut_size(doom: Doom) -> Option<u64> {
    match doom {
        Doom::Cut { size } => Some(size),
        Doom::Reap => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keys() -> impl Strategy<Value = Key> {
        let number = prop_oneof![0u64..4, any::<u64>()];
        let name = proptest::collection::vec(prop_oneof![1u8..=3, 0x30u8..=0xff], 1..4);
        (0u8..18, number.clone(), number, name).prop_map(|(which, a, b, name)| match which {
            0 => Key::Applied,
            1 => Key::Counters,
            2 => Key::Pairs,
            3 => Key::Ended,
            4 => Key::Session(SessionId(a)),
            5 => Key::Outcome(SessionId(a), b),
            6 => Key::Orphan(SessionId(a), Ino(b)),
            7 => Key::Inode(Ino(a)),
            8 => Key::Entry(Ino(a), FileName::new(name).expect("neither dots nor slashes among the bytes")),
            9 => Key::Index(Ino(a), b),
            10 => Key::Xattr(Ino(a), name.into()),
            11 => Key::Target(Ino(a)),
            12 => Key::Recovery,
            13 => Key::Witness,
            14 => Key::Losing,
            15 => Key::Lost(Ino(a)),
            16 => Key::Late,
            _ => Key::Doom(Ino(a), LogIndex(b)),
        })
    }

    proptest! {
        #[test]
        fn bytes_of_keys_sort_as_keys_do(a in keys(), b in keys()) {
            prop_assert_eq!(a.cmp(&b), a.encode().cmp(&b.encode()));
            prop_assert_eq!(Key::decode(&a.encode()).unwrap(), a);
        }

        #[test]
        fn garbage_is_refused_without_a_panic(
            key in proptest::collection::vec(any::<u8>(), 0..20),
            value in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let _ = Key::decode(&key);
            let _ = Row::decode(&key, &value);
        }
    }

    #[test]
    fn a_newer_format_is_told_from_damage() {
        let key = Key::Applied.encode();
        let mut value = Row::Applied(AppliedRow::default()).encode();
        assert!(Row::decode(&key, &value).is_ok());
        value[0] = FORMAT + 1;
        assert!(matches!(Row::decode(&key, &value), Err(Fault::Newer { found }) if found == FORMAT + 1));
        value[0] = 0;
        assert!(matches!(Row::decode(&key, &value), Err(Fault::Damaged { .. })));
        assert!(matches!(Row::decode(&key, &[]), Err(Fault::Damaged { .. })));
    }

    #[test]
    fn dooms_keep_their_order() {
        let key = Key::Doom(Ino(7), LogIndex(9)).encode();
        let row = Row::Doom(vec![Doom::Cut { size: 0 }, Doom::Cut { size: 5 }, Doom::Reap]);
        assert_eq!(Row::decode(&key, &row.encode()).unwrap(), row);
    }
}
