//! Where the namespace's store lies: in a numbered directory that the file `current` names, so that a whole state
//! fetched from another server takes the place of the old one in one step.
//!
//! Opening a store reads little of it. A life that met what it could not use leaves a mark, `suspect`, and ends; the next one
//! reads everything first, and drops the store only if it cannot: what is no damage is the same on all servers, and must
//! not have all of them drop their names.

use crate::namespace::fault::Fault;
use crate::namespace::store::Store;
use crate::namespace::store_disk::{DiskOptions, DiskStore};
use crate::namespace::{Namespace, invariants};
use crate::sealed;
use raidfs_common::config::Config;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The directory that holds the stores.
#[derive(Debug)]
pub struct Stores {
    dir: PathBuf,
    current: u64,
    /// `current` names no store, so that nobody knows which of them is whole.
    lost: bool,
    /// The life before could not use what it met.
    suspected: bool,
}

const CURRENT: &str = "current";
const SUSPECT: &str = "suspect";

impl Stores {
    /// Finds the current store of `dir`; whatever else lies there is removed.
    pub fn open(dir: &Path) -> io::Result<Stores> {
        fs::create_dir_all(dir)?;
        let named = match fs::read(dir.join(CURRENT)) {
            Ok(bytes) => str::from_utf8(&bytes).ok().and_then(|text| text.trim().parse().ok()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Some(0),
            Err(e) => return Err(e),
        };
        let suspected = dir.join(SUSPECT).try_exists()?;
        let Some(current) = named else {
            tracing::warn!("{} is damaged: it names no store", dir.join(CURRENT).display());
            return Ok(Stores { dir: dir.to_owned(), current: highest(dir)?, lost: true, suspected });
        };
        let stores = Stores { dir: dir.to_owned(), current, lost: false, suspected };
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            if path.is_dir() && path != stores.path(current) {
                fs::remove_dir_all(&path)?;
            }
        }
        Ok(stores)
    }

    fn path(&self, number: u64) -> PathBuf {
        self.dir.join(number.to_string())
    }

    /// Opens the namespace, or makes the one that every server begins with. The second value says that it is new. One that
    /// is suspected is read as a whole first. Fails, and drops nothing, if that cannot be told of what is there.
    pub fn namespace(&mut self, config: &Config, cache_bytes: usize) -> Result<(Namespace, bool), Fault> {
        let found = self.existing(cache_bytes).and_then(|found| match found {
            Some(namespace) if self.suspected => look_through(&namespace).map(|()| Some(namespace)),
            found => Ok(found),
        });
        let (namespace, new) = match found {
            Ok(Some(namespace)) => (namespace, false),
            Ok(None) => (self.new_namespace(config, cache_bytes)?, true),
            Err(fault) if matches!(fault, Fault::Newer { .. }) || fault.says_nothing_about_rows() => return Err(fault),
            Err(fault) => {
                let chain = raidfs_common::log::chain(&fault);
                tracing::warn!("the names here cannot be used and are fetched anew from the others: {chain}");
                (self.new_namespace(config, cache_bytes)?, true)
            }
        };
        sealed::remove(&self.dir.join(SUSPECT))
            .map_err(|error| Fault::store("note that nothing is wrong with", error))?;
        Ok((namespace, new))
    }

    /// Has the next life read everything before it uses it. Durable when this returns.
    pub fn suspect(&self) -> io::Result<()> {
        sealed::write(&self.dir.join(SUSPECT), &())
    }

    /// Whether the life before had asked for that.
    pub fn was_suspected(&self) -> bool {
        self.suspected
    }

    /// Opens the namespace that is there; None: there is none.
    pub fn existing(&self, cache_bytes: usize) -> Result<Option<Namespace>, Fault> {
        if self.lost {
            return Err(Fault::damaged(CURRENT.as_bytes(), "names no store"));
        }
        let store = DiskStore::open(&self.path(self.current), DiskOptions::default())?;
        Namespace::open(Arc::new(store), cache_bytes)
    }

    /// Drops what there is, and begins with the state before the first entry.
    pub fn new_namespace(&mut self, config: &Config, cache_bytes: usize) -> Result<Namespace, Fault> {
        let (store, number) = self.fresh()?;
        let pairs: Vec<_> =
            (0..config.pairs.len() as u16).map(|p| config.servers_of(raidfs_common::id::PairId(p))).collect();
        Namespace::format(store.as_ref(), &pairs)?;
        self.adopt(number).map_err(|e| Fault::store("switch to a new copy of", e))?;
        Namespace::open(store, cache_bytes)?.ok_or(Fault::HalfMade)
    }

    /// An empty store beside the current one.
    pub fn fresh(&self) -> Result<(Arc<dyn Store>, u64), Fault> {
        let number = self.current + 1;
        let path = self.path(number);
        if path.exists() {
            fs::remove_dir_all(&path).map_err(|e| Fault::store("empty the place of a new copy of", e))?;
        }
        Ok((Arc::new(DiskStore::open(&path, DiskOptions::default())?), number))
    }

    /// The store `number` is the current one from now on. The old one is removed at the next start, if it is still open.
    pub fn adopt(&mut self, number: u64) -> io::Result<()> {
        let temporary = self.dir.join("current.new");
        let mut file = File::create(&temporary)?;
        writeln!(file, "{number}")?;
        file.sync_all()?;
        fs::rename(&temporary, self.dir.join(CURRENT))?;
        File::open(&self.dir)?.sync_all()?;
        (self.current, self.lost) = (number, false);
        Ok(())
    }
}

fn look_through(namespace: &Namespace) -> Result<(), Fault> {
    tracing::warn!("reading all names, since some of them could not be used");
    let rows = invariants::read_all(namespace.store().view().as_ref())?;
    tracing::warn!("all {rows} rows of the names can be read: they are kept");
    Ok(())
}

/// The highest number that a store of `dir` has; 0 if there is none.
fn highest(dir: &Path) -> io::Result<u64> {
    let mut highest = 0;
    for entry in fs::read_dir(dir)? {
        let number = entry?.file_name().to_str().and_then(|name| name.parse().ok());
        highest = highest.max(number.unwrap_or(0));
    }
    Ok(highest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespace::rows::Key;
    use crate::namespace::store::Batch;
    use raidfs_common::id::Ino;

    fn config() -> Config {
        let pairs = vec![["127.0.0.1:1", "127.0.0.1:2"].map(|a| a.parse().unwrap())];
        Config {
            cluster: "c".to_owned(),
            pairs,
            witness: "127.0.0.1:3".parse().unwrap(),
            durability: raidfs_common::config::Durability::default(),
            io_timeout: std::time::Duration::from_secs(1),
            scrub_every: None,
        }
    }

    #[test]
    fn what_is_suspected_is_read_as_a_whole_and_dropped_only_if_it_cannot_be() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Stores::open(dir.path()).unwrap();
        let row = |key: &Key, value: Option<Vec<u8>>| {
            let store = DiskStore::open(&open().path(open().current), DiskOptions::default()).unwrap();
            store.write(Batch { rows: vec![(key.encode(), value)] }).unwrap();
        };
        let nobody_reads = Key::Inode(Ino(7));
        assert!(open().namespace(&config(), 1 << 20).unwrap().1, "new");
        let number = open().current;
        open().suspect().unwrap();
        assert!(open().was_suspected());
        assert!(!open().namespace(&config(), 1 << 20).unwrap().1, "what is whole is kept");
        assert!(!open().was_suspected(), "and is not suspected any more");
        row(&nobody_reads, Some(vec![0]));
        assert!(!open().namespace(&config(), 1 << 20).unwrap().1, "opening does not read everything");
        row(&nobody_reads, Some(vec![u8::MAX]));
        open().suspect().unwrap();
        assert!(matches!(open().namespace(&config(), 1 << 20), Err(Fault::Newer { .. })));
        assert!(open().was_suspected() && open().current == number, "a newer program is to look at it");
        row(&nobody_reads, Some(vec![0]));
        assert!(open().namespace(&config(), 1 << 20).unwrap().1, "what is damaged is made anew");
        assert_eq!((open().was_suspected(), open().current), (false, number + 1));
    }

    #[test]
    fn damage_of_the_file_that_names_the_store_is_not_taken_for_an_empty_server() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Stores::open(dir.path()).unwrap();
        assert!(open().namespace(&config(), 1 << 20).unwrap().1, "new");
        assert!(!open().namespace(&config(), 1 << 20).unwrap().1, "found again");
        let number = open().current;
        for garbage in [&b"garbage"[..], b"", b"\xff\xff", b"-1"] {
            fs::write(dir.path().join(CURRENT), garbage).unwrap();
            assert!(matches!(open().existing(1 << 20), Err(Fault::Damaged { .. })), "and nothing is removed yet");
            assert!(dir.path().join(number.to_string()).is_dir());
        }
        assert!(open().namespace(&config(), 1 << 20).unwrap().1, "made anew");
        assert_eq!(open().current, number + 1);
        assert!(!open().namespace(&config(), 1 << 20).unwrap().1);
        assert!(!dir.path().join(number.to_string()).exists(), "the old one went once another was whole");
    }
}
