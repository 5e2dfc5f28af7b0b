//! Every decoder of bytes from the network or a disk, fed with garbage and with valid bytes that were damaged: none
//! panics, none asks for more memory than its bound, whatever the bytes say of themselves. Seeded: a failure repeats.

use bytes::Bytes;
use raidfs_common::checksum;
use raidfs_common::codec::{Blob, decode, decode_frame, encode, encode_frame};
use raidfs_common::config::Config;
use raidfs_common::id::{ChunkId, ClusterId, Ino, LogIndex, ServerId, SessionId, Term};
use raidfs_common::name::FileName;
use raidfs_common::namespace::{Change, Command, RenameMode, Request, SetAttr, XattrMode};
use raidfs_common::rpc::admin::{AdminServiceRequest, AdminServiceResponse};
use raidfs_common::rpc::chunks::{ChunkServiceRequest, ChunkServiceResponse};
use raidfs_common::rpc::names::{NamesServiceRequest, NamesServiceResponse};
use raidfs_common::rpc::peer::{AppendRequest, LogEntry, PeerServiceRequest, PeerServiceResponse};
use raidfs_common::rpc::{Hello, PROTOCOL_VERSION, Service, Speaker, Welcome};
use raidfs_common::time::Time;
use raidfs_fsd::chunk::ChunkStore;
use raidfs_fsd::chunk::disk::DiskChunks;
use raidfs_fsd::consensus::log::LogStore;
use raidfs_fsd::consensus::log_disk::DiskLog;
use raidfs_fsd::cuts::Cuts;
use raidfs_fsd::identity::{DataDir, Identity, OfflineDir};
use raidfs_fsd::namespace::rows::{Key, Row};
use raidfs_fsd::namespace::snapshot::{Installer, Maker};
use raidfs_fsd::namespace::store::{Reader, Store};
use raidfs_fsd::namespace::store_memory::MemoryStore;
use raidfs_fsd::namespace::{Namespace, invariants};
use serde::de::DeserializeOwned;
use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The largest piece of memory that was asked for.
static LARGEST: AtomicUsize = AtomicUsize::new(0);
/// No decoder of the small inputs here may ask for more at once. (The largest buffer of all: a frame's header, doubled.)
const MOST: usize = 8 << 20;

struct Watched;

// SAFETY: everything is handed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static MEMORY: Watched = Watched;

fn memory_was_small() {
    let largest = LARGEST.load(Ordering::Relaxed);
    assert!(largest <= MOST, "{largest} bytes were asked for at once");
}

/// Numbers from a seed (splitmix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % end.max(1) as u64) as usize
    }

    /// Small numbers, lengths and large ones alike, as a decoder of variable-length integers sees them.
    fn noise(&mut self, most: usize) -> Vec<u8> {
        let length = self.below(most);
        let byte = |dice: &mut Dice| match dice.below(4) {
            0 => dice.below(256) as u8,
            1 => [0xfb, 0xfc, 0xfd, 0xfe, 0xff, 0x7f, 0x80, 0][dice.below(8)],
            _ => dice.below(12) as u8,
        };
        (0..length).map(|_| byte(self)).collect()
    }

    /// Damages valid bytes in one to four places.
    fn damage(&mut self, valid: &[u8]) -> Vec<u8> {
        let mut bytes = valid.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            match self.below(6) {
                _ if bytes.is_empty() => bytes = self.noise(20),
                0 => bytes[at] ^= 1 << self.below(8),
                1 => bytes[at] = [0, 1, 0x7f, 0xfa, 0xfb, 0xfd, 0xff][self.below(7)],
                2 => bytes.truncate(at),
                3 => {
                    drop(bytes.splice(at..at, [0xfd, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, self.below(256) as u8]))
                }
                4 => drop(bytes.splice(at.., self.noise(40))),
                _ => {
                    let end = (at + 4).min(bytes.len());
                    bytes[at..end].fill([0xff, 0][self.below(2)]);
                }
            }
        }
        bytes
    }
}

/// Decodes noise, and the samples damaged; the samples themselves must be sound.
fn message<T: DeserializeOwned>(dice: &mut Dice, samples: &[(Vec<u8>, Vec<u8>)]) {
    for (header, payload) in samples {
        assert!(decode_frame::<T>(header, payload.clone().into()).is_ok(), "a sound sample");
        for _ in 0..1500 {
            let _ = decode_frame::<T>(&dice.damage(header), payload.clone().into());
            let _ = decode_frame::<T>(header, dice.damage(payload).into());
        }
    }
    for _ in 0..4000 {
        let _ = decode_frame::<T>(&dice.noise(120), Bytes::from(dice.noise(30)));
        let _ = (decode::<Command>(&dice.noise(120)), decode::<LogEntry>(&dice.noise(60)));
    }
}

fn frame<T: serde::Serialize>(value: &T) -> (Vec<u8>, Vec<u8>) {
    let mut header = Vec::new();
    let payload = encode_frame(value, &mut header).concat();
    (header, payload)
}

fn call<T: serde::Serialize>(message: T) -> (Vec<u8>, Vec<u8>) {
    let request = tarpc::Request { context: tarpc::context::current(), id: 7, message };
    frame(&tarpc::ClientMessage::Request(request))
}

fn answer<T: serde::Serialize>(message: T) -> (Vec<u8>, Vec<u8>) {
    frame(&tarpc::Response { request_id: 7, message: Ok(message) })
}

fn name(text: &str) -> FileName {
    FileName::new(text.as_bytes().to_vec()).expect("it is a name")
}

const SESSION: SessionId = SessionId(77);

fn request(seq: u64, change: Change) -> Request {
    Request { session: SESSION, seq, done_below: 1, now: Time { secs: 1, nanos: 2 }, change }
}

fn make(ino: u64, at: &str, kind: raidfs_common::attr::FileKind) -> Change {
    Change::Make {
        parent: Ino::ROOT,
        name: name(at),
        ino: Ino(ino),
        kind,
        perm: 0o644,
        uid: 1,
        gid: 2,
        rdev: 0,
        target: Bytes::new(),
        xattrs: vec![(Bytes::from_static(b"user.a"), Bytes::from_static(b"v"))],
    }
}

fn requests() -> Vec<Request> {
    use raidfs_common::attr::FileKind;
    let (parent, ino) = (Ino::ROOT, Ino(2));
    let rename = Change::Rename {
        parent,
        name: name("f"),
        new_parent: Ino(3),
        new_name: name("g"),
        mode: RenameMode::Replace,
        keep: false,
    };
    let xattr = Change::SetXattr {
        ino,
        name: Bytes::from_static(b"user.b"),
        value: Bytes::from_static(b"w"),
        mode: XattrMode::Any,
        perm: Some(0o600),
    };
    let changes = vec![
        make(2, "f", FileKind::File),
        make(3, "d", FileKind::Dir),
        Change::GrantInos,
        Change::Link { ino, parent, name: name("l") },
        Change::SetAttr { ino, set: SetAttr { size: Some(9), uid: Some(3), ..SetAttr::default() } },
        Change::Wrote { ino, cut_gen: 0, size: 100, blocks: 1, mtime: Time { secs: 5, nanos: 6 } },
        xattr,
        rename,
        Change::RemoveXattr { ino, name: Bytes::from_static(b"user.b") },
        Change::Unlink { parent, name: name("l"), keep: true },
        Change::Release { inos: vec![ino] },
        Change::Rmdir { parent, name: name("d"), keep: false },
    ];
    changes.into_iter().enumerate().map(|(n, change)| request(n as u64 + 2, change)).collect()
}

#[test]
fn messages() {
    let dice = &mut Dice(1);
    let hello = Hello {
        version: PROTOCOL_VERSION,
        cluster: ClusterId(1),
        cluster_name: "c".into(),
        speaker: Speaker::Client,
        to: ServerId(1),
        service: Service::Names,
    };
    message::<Hello>(dice, &[frame(&hello)]);
    message::<Welcome>(dice, &[frame(&Welcome::No("why".into()))]);
    let change = call(NamesServiceRequest::Change { requests: requests() });
    message::<tarpc::ClientMessage<NamesServiceRequest>>(dice, &[change]);
    message::<tarpc::Response<NamesServiceResponse>>(dice, &[]);
    message::<tarpc::ClientMessage<ChunkServiceRequest>>(dice, &[]);
    message::<tarpc::Response<ChunkServiceResponse>>(
        dice,
        &[answer(ChunkServiceResponse::Read(Ok(Blob::from(vec![1; 500]))))],
    );
    message::<tarpc::ClientMessage<PeerServiceRequest>>(
        dice,
        &[call(PeerServiceRequest::Append { request: append() })],
    );
    message::<tarpc::Response<PeerServiceResponse>>(dice, &[]);
    message::<tarpc::ClientMessage<AdminServiceRequest>>(dice, &[]);
    message::<tarpc::Response<AdminServiceResponse>>(dice, &[]);
    memory_was_small();
}

fn append() -> AppendRequest {
    let entry = |index| LogEntry {
        term: Term(2),
        index: LogIndex(index),
        synced: false,
        data: encode(&Command::Batch(requests())).into(),
    };
    AppendRequest {
        from: ServerId(1),
        term: Term(2),
        round: 3,
        heard: 2,
        prev_index: LogIndex(4),
        prev_term: Term(1),
        entries: vec![entry(5), entry(6)],
        commit: LogIndex(5),
        durable: LogIndex(4),
        sync_to: LogIndex(0),
        leader_last: LogIndex(6),
        spare: LogIndex(1),
    }
}

fn namespace() -> (MemoryStore, Namespace) {
    let store = MemoryStore::default();
    Namespace::format(&store, &[[ServerId(1), ServerId(2)], [ServerId(3), ServerId(4)]]).expect("it is empty");
    let mut names = Namespace::open(Arc::new(store.clone()), 1 << 20).expect("it opens").expect("it is formatted");
    let open = request(1, Change::OpenSession { holder: "test".into(), takeover: false });
    names.apply(LogIndex(1), Term(1), &Command::Batch(vec![open])).expect("it applies");
    (store, names)
}

/// What can be decoded can be applied: whatever a client asks for, the answer is an outcome, and the state stays sound.
#[test]
fn changes_that_no_client_asks_for() {
    let dice = &mut Dice(2);
    let valid = encode(&requests());
    for _ in 0..40 {
        let (_, mut names) = namespace();
        let mut index = LogIndex(1);
        for n in 0..60u64 {
            let bytes = if n == 0 { valid.clone() } else { dice.damage(&valid) };
            let Ok(mut requests) = decode::<Vec<Request>>(&bytes) else { continue };
            for (k, request) in requests.iter_mut().enumerate() {
                // Else almost all are of another session, or repeated.
                (request.session, request.seq) = (SESSION, 100 * (n + 1) + k as u64);
            }
            index = index.next();
            names.apply(index, Term(1), &Command::Batch(requests)).expect("no client stops a server");
        }
        assert_eq!(invariants::check(names.rows()).expect("it reads"), Vec::<String>::new());
    }
}

#[test]
fn rows_and_snapshots() {
    let dice = &mut Dice(3);
    let (store, mut names) = namespace();
    names.apply(LogIndex(2), Term(1), &Command::Batch(requests())).expect("it applies");
    if let Some(batch) = names.begin_flush().expect("it is sound") {
        batch.write().expect("memory does not fail");
        names.end_flush(&batch);
    }
    for row in store.scan(&[], &[0xff]) {
        let (key, value) = row.expect("memory does not fail");
        for _ in 0..300 {
            let _ = Key::decode(&dice.damage(&key));
            let _ = Row::decode(&key, &dice.damage(&value));
            let _ = Row::decode(&dice.noise(20), &dice.noise(60));
        }
    }
    let mut maker = Maker::new(store.view()).expect("it is whole");
    let (piece, last) = maker.piece().expect("it reads").expect("there is one");
    assert!(last);
    for _ in 0..2000 {
        let damaged = dice.damage(&piece);
        let mut installer = Installer::new(Arc::new(MemoryStore::default())).expect("it is empty");
        let taken = installer.add(&damaged).and_then(|()| installer.finish());
        assert!(taken.is_err() || damaged == piece, "damage that nobody sees");
    }
    memory_was_small();
}

fn log_with(dir: &Path, bodies: &[Vec<u8>]) -> PathBuf {
    let (log, _) = DiskLog::open(dir).expect("it opens");
    drop(log);
    let file = fs::read_dir(dir).expect("it is there").map(|e| e.expect("it reads").path());
    let path = file.into_iter().find(|p| p.extension().is_some_and(|e| e == "log")).expect("a segment");
    let mut bytes = fs::read(&path).expect("it reads");
    for body in bodies {
        bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&checksum::record(body).to_le_bytes());
        bytes.extend_from_slice(body);
    }
    fs::write(&path, bytes).expect("it writes");
    path
}

fn entry(index: u64) -> Vec<u8> {
    encode(&LogEntry { term: Term(1), index: LogIndex(index), synced: false, data: vec![7; 50].into() })
}

/// Opens what a log directory holds, and uses it.
fn use_log(dir: &Path) {
    let Ok((mut log, _)) = DiskLog::open(dir) else { return };
    let (last, base) = (log.last().0, log.base().0);
    assert!(last >= base);
    let read = log.read(base.next(), usize::MAX).expect("what was opened is read");
    assert_eq!(read.len() as u64, last.0 - base.0);
    let next = LogEntry { term: Term(9), index: last.next(), synced: true, data: Bytes::new() };
    log.append(&[next]).expect("it goes on behind it");
}

#[test]
fn logs_and_votes() {
    let dice = &mut Dice(4);
    for _ in 0..150 {
        let dir = tempfile::tempdir().expect("a directory");
        let path = log_with(dir.path(), &[entry(1), entry(2), entry(3)]);
        fs::write(&path, dice.damage(&fs::read(&path).expect("it reads"))).expect("it writes");
        use_log(dir.path());
        // With sums that are right, as no disk but only a program damages it.
        let dir = tempfile::tempdir().expect("a directory");
        log_with(dir.path(), &[entry(1), dice.damage(&entry(2)), entry(3)]);
        let vote = dice.noise(30);
        fs::write(dir.path().join("vote"), [&checksum::record(&vote).to_le_bytes()[..], &vote].concat())
            .expect("it writes");
        use_log(dir.path());
    }
    memory_was_small();
}

#[test]
fn identities_lives_and_cuts() {
    let dice = &mut Dice(5);
    let identity = Identity { cluster: "c".into(), cluster_id: ClusterId(9), server: ServerId(1) };
    let dir = tempfile::tempdir().expect("a directory");
    DataDir::open(dir.path(), &identity).expect("it is made");
    let whole: Vec<(PathBuf, Vec<u8>)> = ["identity", "life"]
        .map(|file| dir.path().join(file))
        .map(|path| (path.clone(), fs::read(path).expect("it reads")))
        .into();
    for n in 0..200 {
        let (path, valid) = &whole[n % 2];
        let damaged = dice.damage(valid);
        fs::write(path, &damaged).expect("it writes");
        let opened = DataDir::open(dir.path(), &identity);
        assert!(n % 2 == 1 || opened.is_err() || damaged == *valid, "a damaged identity is refused");
        let power_lost = opened.as_ref().is_ok_and(|home| home.life().power_lost);
        assert!(n % 2 == 0 || power_lost || damaged == *valid, "a damaged life is one that lost power");
        drop(opened);
        let _ = OfflineDir::open(dir.path());
        whole.iter().for_each(|(path, valid)| fs::write(path, valid).expect("it writes"));
    }
    let path = dir.path().join("cuts");
    let cuts = Cuts::open(&path, LogIndex(0), &BTreeSet::new()).expect("it is made");
    (1..20).for_each(|n| cuts.record(Ino(n), LogIndex(n)).expect("it is written"));
    let valid = fs::read(&path).expect("it reads");
    for _ in 0..100 {
        fs::write(&path, dice.damage(&valid)).expect("it writes");
        let cuts = Cuts::open(&path, LogIndex(0), &BTreeSet::new()).expect("what is damaged counts as not done");
        assert!(!cuts.is_done(Ino(30), LogIndex(1)), "a cut that never was");
    }
    memory_was_small();
}

#[test]
fn chunks_and_notes() {
    let dice = &mut Dice(6);
    let dir = tempfile::tempdir().expect("a directory");
    let (chunks, notes) = (dir.path().join("chunks"), dir.path().join("notes"));
    let chunk = ChunkId { ino: Ino(5), index: 0 };
    let open = || {
        fs::create_dir_all(&chunks).and_then(|()| fs::create_dir_all(&notes)).expect("they are made");
        DiskChunks::open(&chunks, &notes)
    };
    let contents = vec![0x5a; 10_000];
    let store = open().expect("it opens");
    let _intent = store.note(chunk).expect("it is noted");
    store.write(chunk, 0, &contents).expect("it writes");
    store.sync_all().expect("it syncs");
    drop(store);
    let files: Vec<(PathBuf, Vec<u8>)> = files_below(dir.path());
    assert!(files.len() >= 2, "{files:?}");
    for n in 0..120 {
        let (path, valid) = &files[n % files.len()];
        // Of a chunk, the footer: what is in front of it are the bytes, which its sums are about.
        let from = if valid.len() > 4 << 20 { 4 << 20 } else { 0 };
        let damaged = [&valid[..from], &dice.damage(&valid[from..])[..]].concat();
        fs::write(path, damaged).expect("it writes");
        if let Ok(store) = open() {
            if let Ok(read) = store.read(chunk, 0, 10_000) {
                assert_eq!(read[..], contents[..read.len()], "bytes that were never written");
            }
            let _ = (store.extents(chunk), store.summary(chunk, true), store.export(chunk, false));
            let noted = store.noted(None, 10).expect("notes that are damaged are everything");
            assert!(from > 0 || noted.contains(&chunk), "a note is lost, and nobody knows");
        }
        fs::remove_dir_all(&notes).expect("it is removed");
        fs::create_dir_all(&notes).expect("it is made");
        files.iter().for_each(|(path, valid)| fs::write(path, valid).expect("it writes"));
    }
    memory_was_small();
}

fn files_below(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("it is there") {
        let path = entry.expect("it reads").path();
        if path.is_dir() {
            found.extend(files_below(&path));
        } else {
            let bytes = fs::read(&path).expect("it reads");
            found.push((path, bytes));
        }
    }
    found.sort();
    found
}

#[test]
fn configurations() {
    let dice = &mut Dice(7);
    let valid = "cluster = \"c\"\nwitness = \"127.0.0.1:7100\"\ndurability = \"strict\"\nio_timeout = \"30s\"\n\
                 [[pair]]\nservers = [\"127.0.0.1:7101\", \"127.0.0.1:7102\"]\n";
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("raidfs.toml");
    fs::write(&path, valid).expect("it writes");
    assert!(Config::load(&path).is_ok());
    for _ in 0..3000 {
        fs::write(&path, dice.damage(valid.as_bytes())).expect("it writes");
        if let Ok(config) = Config::load(&path) {
            assert!(config.voters().len() >= 3 && !config.cluster.is_empty());
        }
    }
    memory_was_small();
}
