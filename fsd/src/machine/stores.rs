//! Where the namespace's store lies: in a numbered directory that the file `current` names, so that a whole state
//! fetched from another server takes the place of the old one in one step.
//!
//! Opening a store reads little of it. A life that met what it could not use leaves a mark, `suspect`, and ends; the next one
//! reads everything first, and drops the store only if it cannot: what is no damage is the same on all servers, and must
//! not have all of them drop their names.
//!
//! What is dropped may be the only names that are left. So it goes only once there are others: until a state was fetched, or
//! the log is whole again ([`Stores::filled`]), the former store stays, and so does a log that fitted no other
//! ([`Stores::former_log`]). Nothing is served from there: `raidfs export` reads it.

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
    /// The current store was made in the place of another, and is not known to have all that others have.
    unfilled: Option<Unfilled>,
}

/// The store that was there before; None: that is not known, or some of several.
type Unfilled = Option<u64>;

const CURRENT: &str = "current";
const SUSPECT: &str = "suspect";
const UNFILLED: &str = "unfilled";
const FORMER_LOG: &str = "log";

impl Stores {
    /// Finds the current store of `dir`; whatever else lies there is removed, but for what [`Stores::former`] is to find.
    pub fn open(dir: &Path) -> io::Result<Stores> {
        fs::create_dir_all(dir)?;
        let named = match fs::read(dir.join(CURRENT)) {
            Ok(bytes) => str::from_utf8(&bytes).ok().and_then(|text| text.trim().parse().ok()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Some(0),
            Err(e) => return Err(e),
        };
        let suspected = dir.join(SUSPECT).try_exists()?;
        let unfilled = match sealed::read::<Unfilled>(&dir.join(UNFILLED)) {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Some(None),
            read => read?,
        };
        let Some(current) = named else {
            tracing::warn!("{} is damaged: it names no store", dir.join(CURRENT).display());
            let current = numbers(dir)?.into_iter().max().unwrap_or(0);
            return Ok(Stores { dir: dir.to_owned(), current, lost: true, suspected, unfilled });
        };
        let stores = Stores { dir: dir.to_owned(), current, lost: false, suspected, unfilled };
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            if path.is_dir() && !stores.keeps(&path) {
                fs::remove_dir_all(&path)?;
            }
        }
        Ok(stores)
    }

    fn keeps(&self, path: &Path) -> bool {
        let is_former = match self.unfilled {
            None => false,
            Some(None) => true,
            Some(Some(former)) => path == self.path(former) || path == self.former_log(),
        };
        is_former || path == self.path(self.current)
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
            Ok(None) => (self.make(config, cache_bytes)?, true),
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

    /// Drops what there is, and begins with the state before the first entry. What is dropped stays on disk until [`Stores::filled`].
    pub fn new_namespace(&mut self, config: &Config, cache_bytes: usize) -> Result<Namespace, Fault> {
        if self.unfilled.is_none() {
            let former = (!self.lost).then_some(self.current);
            sealed::write(&self.dir.join(UNFILLED), &former)
                .map_err(|error| Fault::store("note what was there before", error))?;
            self.unfilled = Some(former);
        }
        self.make(config, cache_bytes)
    }

    /// The current store has all that others have, or the log brings it: what was there before may go, at the next start.
    /// Durable when this returns. Blocking.
    pub fn filled(&mut self) -> io::Result<()> {
        if self.unfilled.is_some() {
            sealed::remove(&self.dir.join(UNFILLED))?;
            self.unfilled = None;
        }
        Ok(())
    }

    /// Whether what was there before is kept still.
    pub fn is_unfilled(&self) -> bool {
        self.unfilled.is_some()
    }

    /// Opens what was there before the current store, if that is not known to have all that others have, and something of it
    /// can be used.
    pub fn former(&self, cache_bytes: usize) -> io::Result<Option<Namespace>> {
        let former = match self.unfilled {
            None => return Ok(None),
            Some(Some(former)) => vec![former],
            Some(None) => {
                let mut all = numbers(&self.dir)?;
                all.retain(|number| *number != self.current || self.lost);
                all.sort_unstable_by(|a, b| b.cmp(a));
                all
            }
        };
        let open = |number| {
            let store = DiskStore::open(&self.path(number), DiskOptions::default()).ok()?;
            Namespace::open(Arc::new(store), cache_bytes).ok()?
        };
        Ok(former.into_iter().filter(|number| self.path(*number).is_dir()).find_map(open))
    }

    /// Where the log is kept that goes with [`Stores::former`], if that is not the server's. None: nothing is to be kept.
    pub fn log_to_keep(&self) -> Option<PathBuf> {
        let path = self.former_log();
        (self.is_unfilled() && !path.exists()).then_some(path)
    }

    /// See [`Stores::log_to_keep`].
    pub fn former_log(&self) -> PathBuf {
        self.dir.join(FORMER_LOG)
    }

    fn make(&mut self, config: &Config, cache_bytes: usize) -> Result<Namespace, Fault> {
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

/// The numbers of all stores of `dir`.
fn numbers(dir: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir)? {
        numbers.extend(entry?.file_name().to_str().and_then(|name| name.parse::<u64>().ok()));
    }
    Ok(numbers)
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
        assert!(open().former(1 << 20).unwrap().is_some(), "which of them is whole can still be found out");
        open().filled().unwrap();
        assert!(!open().namespace(&config(), 1 << 20).unwrap().1);
        assert!(!dir.path().join(number.to_string()).exists(), "the old one went once another was whole");
    }

    #[test]
    fn names_that_are_dropped_stay_on_disk_until_there_are_others() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Stores::open(dir.path()).unwrap();
        let mut stores = open();
        assert!(stores.namespace(&config(), 1 << 20).unwrap().1, "new");
        assert!(
            stores.former(1 << 20).unwrap().is_none() && stores.log_to_keep().is_none(),
            "nothing was there before"
        );
        let number = stores.current;
        drop(stores);
        let store = DiskStore::open(&open().path(number), DiskOptions::default()).unwrap();
        store.write(Batch { rows: vec![(Key::Inode(Ino(7)).encode(), Some(vec![0]))] }).unwrap();
        drop(store);
        open().suspect().unwrap();
        assert!(open().namespace(&config(), 1 << 20).unwrap().1, "made anew");
        fs::create_dir(open().log_to_keep().unwrap()).unwrap();
        assert!(open().log_to_keep().is_none(), "one that is kept is not replaced");
        // Whatever becomes of the new one, as long as it is not filled.
        open().suspect().unwrap();
        drop(open().new_namespace(&config(), 1 << 20).unwrap());
        for _ in 0..2 {
            let former = open().former(1 << 20).unwrap().expect("it is there");
            let view = former.store().view();
            assert!(view.get(&Key::Inode(Ino(7)).encode()).unwrap().is_some(), "the one with the names");
        }
        assert_eq!(numbers(dir.path()).unwrap().len(), 2, "and no other");
        let mut stores = open();
        let (fetched, number) = stores.fresh().unwrap();
        drop(fetched);
        stores.adopt(number).unwrap();
        stores.filled().unwrap();
        assert!(open().former(1 << 20).unwrap().is_none());
        assert_eq!((numbers(dir.path()).unwrap(), open().former_log().exists()), (vec![number], false));
    }
}
