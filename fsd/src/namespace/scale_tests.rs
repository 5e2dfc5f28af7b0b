//! How the namespace does with very many files, on disk. Not run by default: it takes a minute and prints what it
//! measures; build it optimized.

use super::store_disk::{DiskOptions, DiskStore};
use super::testing::SESSION;
use super::{CACHE_BYTES, Namespace, invariants, snapshot};
use raidfs_common::attr::FileKind;
use raidfs_common::id::{Ino, LogIndex, ServerId, Term};
use raidfs_common::name::FileName;
use raidfs_common::namespace::*;
use raidfs_common::time::Time;
use std::sync::Arc;
use std::time::{Duration, Instant};

const DIRS: u64 = 1000;

fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or_default() / 1024
}

struct Driver {
    namespace: Namespace,
    seq: u64,
    in_apply: Duration,
    slowest_apply: Duration,
    slowest_write: Duration,
    slowest_end: Duration,
}

impl Driver {
    fn apply(&mut self, changes: Vec<Change>) -> Vec<Outcome> {
        let requests = changes.into_iter().map(|change| {
            self.seq += 1;
            let now = Time { secs: 1_700_000_000 + self.seq as i64, nanos: 1 };
            Request { session: SESSION, seq: self.seq, done_below: self.seq.saturating_sub(64), now, change }
        });
        let command = Command::Batch(requests.collect());
        let index = LogIndex(self.namespace.applied().0.0 + 1);
        let start = Instant::now();
        let applied = self.namespace.apply(index, Term(1), &command).unwrap();
        let took = start.elapsed();
        self.in_apply += took;
        self.slowest_apply = self.slowest_apply.max(took);
        if self.namespace.unflushed_rows() > 50_000 {
            self.flush();
        }
        applied.outcomes.into_iter().map(Result::unwrap).collect()
    }

    fn flush(&mut self) {
        if let Some(batch) = self.namespace.begin_flush().unwrap() {
            let start = Instant::now();
            batch.write().unwrap();
            self.slowest_write = self.slowest_write.max(start.elapsed());
            let start = Instant::now();
            self.namespace.end_flush(&batch);
            self.slowest_end = self.slowest_end.max(start.elapsed());
        }
    }

    fn report(&mut self, what: &str, changes: u64) {
        println!(
            "{what}: {:.2} us a change in apply, slowest {:?}; of flushes the slowest write {:?}, end {:?}; {} MiB resident",
            self.in_apply.as_secs_f64() * 1e6 / changes as f64,
            std::mem::take(&mut self.slowest_apply),
            std::mem::take(&mut self.slowest_write),
            std::mem::take(&mut self.slowest_end),
            resident_mib()
        );
        self.in_apply = Duration::ZERO;
    }
}

fn make(parent: u64, name: String, ino: u64, kind: FileKind) -> Change {
    Change::Make {
        parent: Ino(parent),
        name: FileName::new(name.into_bytes()).unwrap(),
        ino: Ino(ino),
        kind,
        perm: 0o644,
        uid: 0,
        gid: 0,
        rdev: 0,
        target: Default::default(),
        xattrs: Vec::new(),
    }
}

fn timed<T>(what: &str, run: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = run();
    println!("{what}: {:?}, {} MiB resident", start.elapsed(), resident_mib());
    result
}

#[test]
#[ignore = "takes a minute; run it optimized"]
fn a_million_files() {
    let files: u64 = std::env::var("RAIDFS_TEST_FILES").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    let directory = tempfile::tempdir().unwrap();
    let open = || Arc::new(DiskStore::open(directory.path(), DiskOptions::default()).unwrap());
    let store = open();
    Namespace::format(store.as_ref(), &[[ServerId(1), ServerId(2)], [ServerId(3), ServerId(4)]]).unwrap();
    let namespace = Namespace::open(store, CACHE_BYTES).unwrap().unwrap();
    let zero = Duration::ZERO;
    let mut driver =
        Driver { namespace, seq: 0, in_apply: zero, slowest_apply: zero, slowest_write: zero, slowest_end: zero };
    let opened = driver.apply(vec![Change::OpenSession { holder: "scale".into(), takeover: false }]).remove(0);
    let Ok(Done::Session { from, to }) = opened else { panic!("a grant") };
    let (mut next, mut end) = (from.0, to.0);
    let mut number = |driver: &mut Driver| {
        if next == end {
            let Ok(Done::Session { from, to }) = driver.apply(vec![Change::GrantInos]).remove(0) else {
                panic!("a grant")
            };
            (next, end) = (from.0, to.0);
        }
        next += 1;
        next - 1
    };
    let dirs: Vec<u64> = (0..DIRS).map(|_| number(&mut driver)).collect();
    for dir in &dirs {
        driver.apply(vec![make(1, format!("directory{dir:05}"), *dir, FileKind::Dir)]).remove(0).unwrap();
    }
    driver.report("directories", DIRS);
    let mut since = 0;
    for file in 0..files {
        let ino = number(&mut driver);
        let parent = dirs[(file * DIRS / files) as usize];
        let outcome = driver.apply(vec![make(parent, format!("a-file-{file:07}.txt"), ino, FileKind::File)]);
        outcome[0].as_ref().unwrap();
        driver.apply(vec![Change::Wrote { ino: Ino(ino), cut_gen: 0, size: 5000, blocks: 2, mtime: Time::default() }]);
        since += 2;
        if file == 10_000 || file + 1 == files || file % 250_000 == 249_999 {
            driver.report(&format!("{} files, make and wrote", file + 1), since);
            since = 0;
        }
    }
    driver.flush();
    let namespace = driver.namespace;
    timed("lookups of 100,000 files", || {
        for n in 0..100_000u64 {
            let file = n.wrapping_mul(2_654_435_761) % files;
            let (parent, text) = (Ino(dirs[(file * DIRS / files) as usize]), format!("a-file-{file:07}.txt"));
            let query = Query::Lookup { parent, name: FileName::new(text.into_bytes()).unwrap() };
            namespace.query(&query).unwrap().unwrap();
        }
    });
    timed("reading 100 directories with attributes", || {
        for dir in &dirs[..100] {
            let query = Query::ReadDir { ino: Ino(*dir), after: 0, limit: 2048, attrs: true };
            namespace.query(&query).unwrap().unwrap();
        }
    });
    let view = namespace.store().view();
    let digest = timed("digest", || snapshot::digest(view.as_ref()).unwrap());
    assert_eq!(timed("check", || invariants::check(view.as_ref()).unwrap()), Vec::<String>::new());
    let mut bytes = 0;
    timed("snapshot", || {
        let mut maker = snapshot::Maker::new(namespace.store().view()).unwrap();
        while let Some((piece, _)) = maker.piece().unwrap() {
            bytes += piece.len();
        }
    });
    println!("snapshot of {} MiB, {} MiB on disk", bytes >> 20, namespace.store().disk_bytes() >> 20);
    timed("sync", || namespace.store().sync().unwrap());
    drop((view, namespace));
    let namespace = timed("open again", || Namespace::open(open(), CACHE_BYTES).unwrap().unwrap());
    assert_eq!(namespace.counts(), (1 + DIRS, files));
    assert_eq!(namespace.digest().unwrap(), digest);
    assert!(resident_mib() < 400, "a server has more to keep than names: {} MiB", resident_mib());
}
