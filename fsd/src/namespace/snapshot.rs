//! The whole state as bytes, in pieces, and back; and its checksum. Made from a view of the store, so that entries are
//! applied meanwhile: flush, take [`super::store::Store::view`] before the next flush is written, then ask for one piece
//! after the other.
//!
//! The bytes: magic and version, then records. A record is a row (1, length of the key in two bytes, of the value in
//! four, key, value; big-endian) or the end (0, rows in eight bytes, their digest in eight). A piece ends between two
//! records. Rows that are a server's own are left out. Versions: 1, the first.

use super::fault::Fault;
use super::rows::{AppliedRow, Key, Row, is_replicated};
use super::store::{Batch, KEYS_END, Reader, Store};
use raidfs_common::id::{Incarnation, ServerId};
use raidfs_common::limits::SNAPSHOT_PIECE_BYTES;
use std::collections::BTreeMap;
use std::sync::Arc;

const MAGIC: [u8; 4] = *b"rdns";
const VERSION: u8 = 1;
const ROW: u8 = 1;
const END: u8 = 0;

/// A checksum of rows in order, 64 bits; its value is compared between servers of one version and not stored for good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Digest(u64);

impl Digest {
    fn add(&mut self, key: &[u8], value: &[u8]) {
        for part in [key, value] {
            self.word(part.len() as u64);
            let mut words = part.chunks_exact(8);
            for word in &mut words {
                self.word(u64::from_le_bytes(word.try_into().expect("chunks of eight bytes")));
            }
            let mut last = [0; 8];
            last[..words.remainder().len()].copy_from_slice(words.remainder());
            self.word(u64::from_le_bytes(last));
        }
    }

    /// Each step is one-to-one in the state and in the word, and spreads every bit over the state.
    fn word(&mut self, word: u64) {
        let mut x = (self.0 ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        x ^= x >> 29;
        self.0 = x.wrapping_mul(0xbf58_476d_1ce4_e5b9).rotate_left(31);
    }
}

/// A checksum over all replicated rows: equal where the same entries were applied.
pub fn digest(rows: &dyn Reader) -> Result<u64, Fault> {
    let mut digest = Digest::default();
    for row in rows.scan(&[], KEYS_END) {
        let (key, value) = row?;
        if is_replicated(&key) {
            digest.add(&key, &value);
        }
    }
    Ok(digest.0)
}

/// The entry that the rows are the state after.
pub fn applied(rows: &dyn Reader) -> Result<AppliedRow, Fault> {
    let key = Key::Applied.encode();
    match rows.get(&key)?.map(|value| Row::decode(&key, &value)).transpose()? {
        Some(Row::Applied(applied)) => Ok(applied),
        _ => Err(Fault::HalfMade),
    }
}

/// What the first piece of a snapshot says about lives of voters: those rows stand before all that can be many.
pub fn lives(piece: &[u8]) -> Result<BTreeMap<ServerId, Incarnation>, Fault> {
    let mut rest = piece;
    if take(&mut rest, MAGIC.len())? != MAGIC || take(&mut rest, 1)? != [VERSION] {
        return Err(damaged("it does not begin as one"));
    }
    let mut lives = BTreeMap::new();
    while rest.first() == Some(&ROW) {
        take(&mut rest, 1)?;
        let (key, value) = take_row(&mut rest)?;
        if Key::decode(key)? > Key::Witness {
            break;
        }
        match Row::decode(key, value)? {
            Row::Pairs(pairs) => {
                lives.extend(pairs.iter().flat_map(|pair| pair.members).map(|m| (m.server, m.incarnation)));
            }
            Row::Witness(life) => drop(lives.insert(ServerId::WITNESS, life)),
            _ => {}
        }
    }
    Ok(lives)
}

fn take_row<'a>(rest: &mut &'a [u8]) -> Result<(&'a [u8], &'a [u8]), Fault> {
    let lengths = take(rest, 6)?;
    let key_length = usize::from(u16::from_be_bytes([lengths[0], lengths[1]]));
    let value_length = u32::from_be_bytes([lengths[2], lengths[3], lengths[4], lengths[5]]) as usize;
    Ok((take(rest, key_length)?, take(rest, value_length)?))
}

/// Makes a snapshot, piece by piece. Each piece blocks on the disk for the time of reading about a mebibyte.
pub struct Maker {
    view: Box<dyn Reader>,
    applied: AppliedRow,
    next: Option<Vec<u8>>,
    started: bool,
    rows: u64,
    digest: Digest,
}

impl Maker {
    /// A snapshot of what `view` shows, which must not change any more.
    pub fn new(view: Box<dyn Reader>) -> Result<Maker, Fault> {
        let applied = applied(view.as_ref())?;
        Ok(Maker { view, applied, next: Some(Vec::new()), started: false, rows: 0, digest: Digest::default() })
    }

    /// The entry that the snapshot is the state after.
    pub fn applied(&self) -> AppliedRow {
        self.applied
    }

    /// The next piece, and whether it is the last; None after that.
    pub fn piece(&mut self) -> Result<Option<(Vec<u8>, bool)>, Fault> {
        let Some(from) = self.next.take() else { return Ok(None) };
        let mut piece = Vec::with_capacity(SNAPSHOT_PIECE_BYTES);
        if !std::mem::replace(&mut self.started, true) {
            piece.extend_from_slice(&MAGIC);
            piece.push(VERSION);
        }
        for row in self.view.scan(&from, KEYS_END) {
            let (key, value) = row?;
            if !is_replicated(&key) {
                continue;
            }
            if !piece.is_empty() && piece.len() + record_bytes(&key, &value) > SNAPSHOT_PIECE_BYTES {
                self.next = Some(key);
                return Ok(Some((piece, false)));
            }
            piece.push(ROW);
            piece.extend_from_slice(&(key.len() as u16).to_be_bytes());
            piece.extend_from_slice(&(value.len() as u32).to_be_bytes());
            piece.extend_from_slice(&key);
            piece.extend_from_slice(&value);
            self.digest.add(&key, &value);
            self.rows += 1;
        }
        piece.push(END);
        piece.extend_from_slice(&self.rows.to_be_bytes());
        piece.extend_from_slice(&self.digest.0.to_be_bytes());
        Ok(Some((piece, true)))
    }
}

fn record_bytes(key: &[u8], value: &[u8]) -> usize {
    1 + 2 + 4 + key.len() + value.len()
}

/// Installs a snapshot into an empty store. The row that makes the store whole is written last: until then, opening
/// it fails with [`Fault::HalfMade`].
pub struct Installer {
    store: Arc<dyn Store>,
    started: bool,
    last_key: Vec<u8>,
    applied: Option<(Vec<u8>, Vec<u8>)>,
    rows: u64,
    digest: Digest,
    ended: bool,
}

/// The snapshot is not what a maker made.
fn damaged(problem: &'static str) -> Fault {
    Fault::Snapshot { problem }
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], Fault> {
    rest.split_off(..length).ok_or_else(|| damaged("a record is cut off"))
}

fn take_number(rest: &mut &[u8]) -> Result<u64, Fault> {
    let bytes = take(rest, 8)?;
    Ok(u64::from_be_bytes(bytes.try_into().expect("eight bytes were taken")))
}

impl Installer {
    /// Prepares to fill `store`, which must be empty.
    pub fn new(store: Arc<dyn Store>) -> Result<Installer, Fault> {
        if store.scan(&[], KEYS_END).next().is_some() {
            return Err(damaged("the store that it should fill is not empty"));
        }
        let digest = Digest::default();
        Ok(Installer { store, started: false, last_key: Vec::new(), applied: None, rows: 0, digest, ended: false })
    }

    /// Takes the next piece. After an error the store must be emptied.
    pub fn add(&mut self, piece: &[u8]) -> Result<(), Fault> {
        let mut rest = piece;
        if !std::mem::replace(&mut self.started, true) {
            if take(&mut rest, MAGIC.len())? != MAGIC {
                return Err(damaged("it does not begin as one"));
            }
            match take(&mut rest, 1)? {
                [VERSION] => {}
                [found, ..] if *found > VERSION => return Err(Fault::Newer { found: *found }),
                _ => return Err(damaged("its version is none")),
            }
        }
        let mut batch = Batch::default();
        while !rest.is_empty() {
            if self.ended {
                return Err(damaged("it goes on after its end"));
            }
            match take(&mut rest, 1)? {
                [ROW] => self.row(&mut rest, &mut batch)?,
                [END] => {
                    let (rows, digest) = (take_number(&mut rest)?, take_number(&mut rest)?);
                    if (rows, digest) != (self.rows, self.digest.0) {
                        return Err(damaged("its rows do not match its checksum"));
                    }
                    self.ended = true;
                }
                _ => return Err(damaged("a record has no known kind")),
            }
        }
        if batch.rows.is_empty() { Ok(()) } else { self.store.write(batch) }
    }

    fn row(&mut self, rest: &mut &[u8], batch: &mut Batch) -> Result<(), Fault> {
        let (key, value) = take_row(rest)?;
        if key <= self.last_key.as_slice() || !is_replicated(key) {
            return Err(damaged("its rows are not in order"));
        }
        Key::decode(key)?;
        Row::decode(key, value)?;
        self.last_key = key.to_vec();
        self.digest.add(key, value);
        self.rows += 1;
        if key == Key::Applied.encode() {
            self.applied = Some((key.to_vec(), value.to_vec()));
        } else {
            batch.rows.push((key.to_vec(), Some(value.to_vec())));
        }
        Ok(())
    }

    /// All pieces were taken: makes the store whole, and durable. Answers the entry that it is the state after.
    pub fn finish(self) -> Result<AppliedRow, Fault> {
        let (true, Some((key, value))) = (self.ended, self.applied) else {
            return Err(damaged("its end is missing"));
        };
        self.store.sync()?;
        self.store.write(Batch { rows: vec![(key, Some(value))] })?;
        self.store.sync()?;
        applied(self.store.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespace::store_memory::MemoryStore;
    use crate::namespace::testing::{Fixture, populated};

    fn pieces(fixture: &mut Fixture) -> Vec<Vec<u8>> {
        fixture.flush();
        let mut maker = Maker::new(fixture.store.view()).unwrap();
        assert_eq!(maker.applied().index, fixture.namespace.applied().0);
        // What happens meanwhile is not part of it.
        fixture.dir(1, "later");
        fixture.flush();
        let mut pieces = Vec::new();
        while let Some((piece, last)) = maker.piece().unwrap() {
            assert!(piece.len() <= SNAPSHOT_PIECE_BYTES);
            pieces.push(piece);
            assert_eq!(last, maker.next.is_none());
        }
        pieces
    }

    fn install(pieces: &[Vec<u8>]) -> Result<MemoryStore, Fault> {
        let store = MemoryStore::default();
        let mut installer = Installer::new(Arc::new(store.clone()))?;
        for piece in pieces {
            installer.add(piece)?;
        }
        installer.finish()?;
        Ok(store)
    }

    #[test]
    fn a_snapshot_brings_the_whole_state_over() {
        let mut fixture = populated();
        let big = vec![7; 60_000];
        for n in 0..60 {
            let ino = fixture.file(1, &format!("big{n}"));
            fixture.ok(crate::namespace::testing::set_xattr(ino, "user.big", &big));
        }
        fixture.flush();
        let digest = digest(fixture.store.view().as_ref()).unwrap();
        let applied = fixture.namespace.applied();
        let pieces = pieces(&mut fixture);
        assert!(pieces.len() > 3, "several pieces: {}", pieces.len());
        let copy = install(&pieces).unwrap();
        assert_eq!(super::digest(&copy).unwrap(), digest);
        let copy = Fixture::reopened(copy);
        assert_eq!(copy.namespace.applied(), applied);
        assert_eq!(copy.namespace.digest().unwrap(), digest);
        copy.check();
        assert!(copy.namespace.pending_dooms().is_empty(), "dooms are a server's own");
    }

    #[test]
    fn damage_on_the_way_is_seen_and_leaves_no_whole_store() {
        let pieces = pieces(&mut populated());
        let [piece] = pieces.as_slice() else { panic!("one piece") };
        for at in 0..piece.len() {
            let mut broken = piece.clone();
            broken[at] ^= 0x10;
            assert!(install(&[broken]).is_err(), "byte {at}");
        }
        for length in (0..piece.len()).step_by(7) {
            assert!(install(&[piece[..length].to_vec()]).is_err(), "cut to {length}");
        }
        assert!(install(&[piece.clone(), vec![END]]).is_err());
    }

    #[test]
    fn a_store_that_was_not_filled_to_the_end_is_half_made() {
        let pieces = pieces(&mut populated());
        let store = MemoryStore::default();
        let mut installer = Installer::new(Arc::new(store.clone())).unwrap();
        installer.add(&pieces[0]).unwrap();
        drop(installer);
        let opened = crate::namespace::Namespace::open(Arc::new(store.clone()), 0);
        assert!(matches!(opened, Err(Fault::HalfMade)));
        assert!(Installer::new(Arc::new(store)).is_err(), "it must be emptied first");
    }
}
