//! The clients of a simulation: one with the mount session, whose programs collide on few names and write few files, and
//! perhaps a second one that takes the session over while the first hangs; and two that only look, from machines of their
//! own.

use super::history::{Answer, Event, Names, Op, Read, Register, SESSION, Write};
use super::network::{self, Host};
use super::world::{Life, world};
use parking_lot::Mutex;
use raidfs_common::attr::{Attr, FileKind};
use raidfs_common::codec::Blob;
use raidfs_common::config::Config;
use raidfs_common::error::FsError;
use raidfs_common::id::{ChunkId, Ino, ServerId};
use raidfs_common::name::FileName;
use raidfs_common::namespace::{self, Change, Done, Query, RenameMode, SetAttr};
use raidfs_common::pair::Pair;
use raidfs_common::rpc::chunks::ChunkChange;
use raidfs_common::time::Time;
use raidfs_mountd::cluster::ClusterClient;
use raidfs_mountd::cluster::survey::{connect_admin, survey};
use raidfs_mountd::vfs::cluster::{ChunkAddress, Cluster};
use raidfs_tests::in_process::make_in_root;
use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

/// Files that are written.
const REGISTERS: usize = 3;
/// Names that are made, moved and removed.
const NAMES: u64 = 4;
/// Programs that do so.
const PROGRAMS: usize = 3;
/// How often each program does something.
pub const STEPS: u64 = 40;
/// The longest pause between two steps, in microseconds.
const PAUSE: u64 = 400_000;
/// Once everything is mended, all copies are in sync after this.
const CALM: Duration = Duration::from_secs(60);
/// Files that are cut long after they were written.
const OLD_FILES: usize = 4;
/// What was written and synced before is noted nowhere after so long without a fault: two rounds between the servers of a
/// pair.
const FORGOTTEN: Duration = Duration::from_secs(35);
/// Where the words of a register lie: the same value at each, in blocks of their own.
const PLACES: [usize; 3] = [0, 4_096, 9_000];
const REGISTER_BYTES: usize = 9_008;

/// What the clients share.
#[derive(Default)]
pub struct Shared {
    /// What was written and read.
    pub registers: Mutex<Vec<Register>>,
    /// What was done to names.
    pub names: Mutex<Vec<Event>>,
    /// Errors that nothing but time explains.
    pub unanswered: Mutex<Vec<String>>,
    /// All changes of names that were answered by then were made durable.
    pub durable: AtomicU64,
    /// What was found of each register after power was lost everywhere.
    pub left: Mutex<Vec<BTreeSet<u64>>>,
    /// And of the names.
    pub names_left: Mutex<Names>,
    files: Mutex<Vec<Attr>>,
    over: AtomicBool,
    /// The second client has begun to take over: the first begins nothing any more, should it go on.
    taken: AtomicBool,
}

impl Shared {
    /// The files that are written have not been made yet.
    pub fn has_no_files(&self) -> bool {
        self.files.lock().is_empty()
    }
}

/// What a client with the session does.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// It takes over from another.
    pub second: bool,
    /// How often each of its programs does something.
    pub steps: u64,
}

impl Part {
    /// The number of one of its programs.
    fn program(&self, n: usize) -> usize {
        if self.second { 20 + n } else { n }
    }

    /// Below the values that it writes.
    fn values(&self) -> u64 {
        if self.second { 1_000 } else { 0 }
    }

    /// It is to begin nothing more.
    fn is_over(&self, shared: &Shared) -> bool {
        !self.second && shared.taken.load(Ordering::SeqCst)
    }
}

/// The time, later at each look: what happens within one turn has an order, too.
fn now() -> u64 {
    static NEWEST: AtomicU64 = AtomicU64::new(0);
    let now = world().now().max(NEWEST.load(Ordering::SeqCst) + 1);
    NEWEST.store(now, Ordering::SeqCst);
    now
}

/// The time, as the running client's machine has it.
pub fn time() -> Time {
    Time::from(SystemTime::now())
}

fn roll(sides: u64) -> u64 {
    world().dice.below(sides)
}

/// Waits for up to so many microseconds.
pub async fn pause(most: u64) {
    let until = tokio::time::Instant::now() + Duration::from_micros(roll(most));
    tokio::time::sleep_until(until).await;
}

fn text(n: u64) -> String {
    format!("n{n}")
}

fn name(n: u64) -> FileName {
    FileName::new(text(n).into_bytes()).expect("it is a name")
}

/// A client's thread, on a host of its own.
pub fn on_host<F: Future<Output = ()>>(host: Host, body: impl FnOnce() -> F + Send + 'static) -> JoinHandle<()> {
    live_on_host(host, body).1
}

/// The same, and the life that it is.
pub fn live_on_host<F: Future<Output = ()>>(
    host: Host,
    body: impl FnOnce() -> F + Send + 'static,
) -> (Life, JoinHandle<()>) {
    let life = world().new_life();
    network::settle(life, host);
    world().enter(life);
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(body());
    };
    let thread = std::thread::Builder::new().name(format!("client{host}")).spawn(run).expect("a thread");
    world().enter(0);
    (life, thread)
}

/// The client with the session, until its programs are done.
pub async fn mount(config: Config, shared: Arc<Shared>, part: Part) {
    if part.second {
        shared.taken.store(true, Ordering::SeqCst);
    }
    let client = loop {
        match ClusterClient::connect(&config, "simulated".to_owned(), true).await {
            Ok(client) => break client,
            Err(error) => shared.unanswered.lock().push(format!("connect: {error}")),
        }
    };
    let made = shared.files.lock().clone();
    let registers = if made.is_empty() { make_registers(&client, &shared).await } else { made };
    let mut programs = tokio::task::JoinSet::new();
    for (n, attr) in registers.into_iter().enumerate() {
        programs.spawn(write_register(client.clone(), shared.clone(), n, attr, part));
    }
    for by in 0..PROGRAMS {
        programs.spawn(change_names(client.clone(), shared.clone(), by, part));
    }
    while let Some(ended) = programs.join_next().await {
        ended.expect("no program panics");
    }
    if part.is_over(&shared) {
        return;
    }
    say_last_words(&client, &shared, part).await;
    client.close().await;
    shared.over.store(true, Ordering::SeqCst);
}

async fn make_registers(client: &ClusterClient, shared: &Shared) -> Vec<Attr> {
    let mut registers = Vec::new();
    for n in 0..REGISTERS {
        let make = make(client, &format!("r{n}")).await.expect("a number");
        let made = client.change(vec![(time(), make)]).await.remove(0);
        let Ok(Done::Attrs(attrs)) = made else { panic!("{made:?}") };
        registers.push(*attrs.iter().find(|a| a.kind == FileKind::File).expect("what was made"));
    }
    shared.registers.lock().resize_with(REGISTERS, Register::default);
    *shared.files.lock() = registers.clone();
    registers
}

/// The change that makes a file in the root directory.
pub async fn make(client: &ClusterClient, name: &str) -> Result<Change, FsError> {
    Ok(make_in_root(client.new_ino().await?, name, FileKind::File))
}

/// The first chunk of a file.
pub fn address(attr: &Attr) -> ChunkAddress {
    ChunkAddress { chunk: ChunkId { ino: attr.ino, index: 0 }, placement: attr.placement }
}

async fn write_register(client: Arc<ClusterClient>, shared: Arc<Shared>, n: usize, attr: Attr, part: Part) {
    let at = address(&attr);
    let mut landed = 0;
    for value in (1..=part.steps).map(|value| part.values() + value) {
        if part.is_over(&shared) {
            return;
        }
        if write_once(&client, &shared, n, &attr, value, roll(4) == 0).await {
            landed = value;
        }
        if roll(3) == 0 {
            read_register(&client, &shared, n, part.program(SESSION), &attr).await;
        }
        if roll(4) == 0 {
            match client.sync_chunks(vec![at]).await {
                Ok(()) => shared.registers.lock()[n].was_synced(landed),
                Err(error) => shared.unanswered.lock().push(format!("sync: {error}")),
            }
        }
        pause(PAUSE).await;
    }
}

/// The values at the places of a register.
pub async fn values_of(client: &ClusterClient, attr: &Attr) -> Result<BTreeSet<u64>, FsError> {
    let mut bytes = client.read_chunk(address(attr), 0, REGISTER_BYTES as u32).await?.to_vec();
    bytes.resize(REGISTER_BYTES, 0);
    let word = |place: &usize| bytes[*place..*place + 8].try_into().map_or(0, u64::from_le_bytes);
    Ok(PLACES.iter().map(word).collect())
}

/// The change that writes a value to a register.
pub fn write_of(value: u64, sync: bool) -> ChunkChange {
    let mut data = vec![0; REGISTER_BYTES];
    PLACES.iter().for_each(|place| data[*place..*place + 8].copy_from_slice(&value.to_le_bytes()));
    ChunkChange::Write { offset: 0, sync, data: Blob::from(data) }
}

/// Tells the names what a write has made of a register, at the time that it is.
pub async fn tell_size(client: &ClusterClient, attr: &Attr, blocks: i64) -> Result<(), FsError> {
    let (size, mtime) = (REGISTER_BYTES as u64, time());
    let wrote = Change::Wrote { ino: attr.ino, cut_gen: attr.cut_gen, size, blocks, mtime };
    client.change(vec![(time(), wrote)]).await.remove(0).map(drop)
}

/// Writes a value; whether that was answered.
async fn write_once(client: &ClusterClient, shared: &Shared, n: usize, attr: &Attr, value: u64, sync: bool) -> bool {
    let at = {
        let writes = &mut shared.registers.lock()[n].writes;
        writes.push(Write { value, begun: now(), ended: None });
        writes.len() - 1
    };
    match client.change_chunk(address(attr), write_of(value, sync)).await {
        Ok(changed) => {
            shared.registers.lock()[n].writes[at].ended = Some(now());
            if changed.durable {
                shared.registers.lock()[n].was_synced(value);
            }
            if let Err(error) = tell_size(client, attr, changed.blocks).await {
                shared.unanswered.lock().push(format!("tell what was written: {error}"));
            }
            true
        }
        Err(error) => {
            shared.unanswered.lock().push(format!("write: {error}"));
            false
        }
    }
}

/// Writes each register once more, makes a name, and has all of it durable: power may fail in the next moment.
async fn say_last_words(client: &ClusterClient, shared: &Shared, part: Part) {
    let (files, value) = (shared.files.lock().clone(), part.values() + part.steps + 1);
    for (n, attr) in files.iter().enumerate() {
        if write_once(client, shared, n, attr, value, false).await
            && client.sync_chunks(vec![address(attr)]).await.is_ok()
        {
            shared.registers.lock()[n].was_synced(value);
        }
    }
    if let Ok(change @ Change::Make { ino, .. }) = make(client, &text(0)).await {
        change_name(client, shared, part.program(PROGRAMS), Op::Create(0, ino.0), change).await;
    }
    let asked = now();
    if client.barrier().await.is_ok() {
        shared.durable.fetch_max(asked, Ordering::SeqCst);
    }
}

async fn read_register(client: &ClusterClient, shared: &Shared, n: usize, by: usize, attr: &Attr) {
    let begun = now();
    match values_of(client, attr).await {
        Ok(values) => {
            shared.registers.lock()[n].reads.push(Read { by, begun, ended: now(), values });
        }
        Err(error) => shared.unanswered.lock().push(format!("read by {by}: {error}")),
    }
}

async fn change_names(client: Arc<ClusterClient>, shared: Arc<Shared>, by: usize, part: Part) {
    let by = part.program(by);
    for _ in 0..part.steps {
        if part.is_over(&shared) {
            return;
        }
        let (a, b) = (roll(NAMES), roll(NAMES));
        if roll(3) == 0 {
            let begun = now();
            look_up(&client, &shared, a, by, false, begun).await;
        }
        if roll(8) == 0 {
            let asked = now();
            match client.barrier().await {
                Ok(()) => drop(shared.durable.fetch_max(asked, Ordering::SeqCst)),
                Err(error) => shared.unanswered.lock().push(format!("barrier: {error}")),
            }
        }
        let (op, change) = match roll(4) {
            0 | 1 => match make(&client, &text(a)).await {
                Ok(change @ Change::Make { ino, .. }) => (Op::Create(a as u8, ino.0), change),
                _ => continue,
            },
            2 => (Op::Unlink(a as u8), Change::Unlink { parent: Ino::ROOT, name: name(a), keep: false }),
            _ => {
                let (parent, new_parent, mode) = (Ino::ROOT, Ino::ROOT, RenameMode::Replace);
                let (name, new_name) = (name(a), name(b));
                let change = Change::Rename { parent, name, new_parent, new_name, mode, keep: false };
                (Op::Rename(a as u8, b as u8), change)
            }
        };
        change_name(&client, &shared, by, op, change).await;
        pause(PAUSE).await;
    }
}

/// Makes a change of names, and notes what came of it.
async fn change_name(client: &ClusterClient, shared: &Shared, by: usize, op: Op, change: Change) {
    let begun = now();
    let answer = match client.change(vec![(time(), change)]).await.remove(0) {
        Ok(_) => Some(Answer::Made),
        Err(FsError::Exists) => Some(Answer::Exists),
        Err(FsError::NotFound) => Some(Answer::Missing),
        Err(error) => {
            shared.unanswered.lock().push(format!("{op:?}: {error}"));
            None
        }
    };
    let ended = answer.map(|answer| (now(), answer));
    // Whoever gets no answer is somebody else from then on.
    shared.names.lock().push(Event { by, observer: false, op, begun, ended });
}

/// A client that looks, until the programs are done.
pub async fn look(config: Config, shared: Arc<Shared>, by: usize) {
    let client = ClusterClient::observe(&config).await;
    while !shared.over.load(Ordering::SeqCst) {
        let files = shared.files.lock().clone();
        if !files.is_empty() {
            let n = roll(files.len() as u64) as usize;
            read_register(&client, &shared, n, by, &files[n]).await;
        }
        // Without a leader it may be told old news, if never older than before: then only the order of answers is judged.
        let begun = now();
        let begun = if client.catch_up().await { begun } else { 0 };
        look_up(&client, &shared, roll(NAMES), by, true, begun).await;
        pause(PAUSE).await;
    }
}

/// Looks at everything once more, after power was lost everywhere.
pub async fn look_again(config: Config, shared: Arc<Shared>) {
    let client = ClusterClient::observe(&config).await;
    client.catch_up().await;
    let files = shared.files.lock().clone();
    for file in files {
        let values = values_of(&client, &file).await.expect("all servers are there");
        shared.left.lock().push(values);
    }
    for a in 0..NAMES {
        match client.ask(Query::Lookup { parent: Ino::ROOT, name: name(a) }).await {
            Ok(namespace::Answer::Attr(attr)) => _ = shared.names_left.lock().insert(a as u8, attr.ino.0),
            Err(FsError::NotFound) => {}
            other => panic!("all servers are there: {other:?}"),
        }
    }
    client.close().await;
}

async fn look_up(client: &ClusterClient, shared: &Shared, a: u64, by: usize, observer: bool, begun: u64) {
    let answer = match client.ask(Query::Lookup { parent: Ino::ROOT, name: name(a) }).await {
        Ok(namespace::Answer::Attr(attr)) => Answer::Found(attr.ino.0),
        Err(FsError::NotFound) => Answer::Missing,
        _ => return,
    };
    shared.names.lock().push(Event { by, observer, op: Op::Lookup(a as u8), begun, ended: Some((now(), answer)) });
}

/// Makes files, waits until their pairs have nothing to make up for any more, and cuts them: what a cut leaves undone is seen
/// only by comparing the copies then.
pub async fn cut_old_files(config: Config) {
    calm(config.clone()).await;
    let client = ClusterClient::connect(&config, "simulated".to_owned(), true).await.expect("all servers are there");
    let change = async |change| client.change(vec![(time(), change)]).await.remove(0).expect("all servers are there");
    let mut files = Vec::new();
    for n in 0..OLD_FILES {
        let Done::Attrs(attrs) = change(make(&client, &format!("old{n}")).await.expect("a number")).await else {
            return;
        };
        let attr = *attrs.iter().find(|a| a.kind == FileKind::File).expect("what was made");
        let data = Blob::from(vec![7; REGISTER_BYTES]);
        let written = client.change_chunk(address(&attr), ChunkChange::Write { offset: 0, sync: true, data }).await;
        let blocks = written.expect("all servers are there").blocks;
        let (ino, cut_gen, size) = (attr.ino, attr.cut_gen, REGISTER_BYTES as u64);
        change(Change::Wrote { ino, cut_gen, size, blocks, mtime: time() }).await;
        files.push(attr);
    }
    tokio::time::sleep_until(tokio::time::Instant::now() + FORGOTTEN).await;
    for (n, attr) in files.into_iter().enumerate() {
        let set = SetAttr { size: Some(n as u64 * 100), ..SetAttr::default() };
        change(Change::SetAttr { ino: attr.ino, set }).await;
    }
    client.barrier().await.expect("all servers are there");
    client.close().await;
}

/// Gives up the data directory that a server had: the next other one takes its place.
pub async fn replace(config: Config, id: ServerId) {
    let until = world().now() + CALM.as_nanos() as u64;
    loop {
        let leader = leader(&config).await;
        let mut context = tarpc::context::current();
        context.deadline = Instant::now() + Duration::from_secs(5);
        let asked = match connect_admin(&config, leader, Duration::from_secs(2)).await {
            Ok(client) => client.replace(context, id).await.ok(),
            Err(_) => None,
        };
        match asked {
            Some(Ok(())) => return,
            Some(Err(why)) if world().now() > until => {
                println!("WRONG  the directory of {id} is not given up: {why}");
                super::world::end(1);
            }
            _ => pause(PAUSE).await,
        }
    }
}

/// Who leads, as soon as somebody does.
pub async fn leader(config: &Config) -> ServerId {
    loop {
        let said = survey(config).await.into_iter().filter_map(|(_, status)| status);
        let newest = said.filter(|status| status.quorum).max_by_key(|status| status.term);
        if let Some(leader) = newest.and_then(|status| status.leader) {
            return leader;
        }
        pause(PAUSE / 10).await;
    }
}

/// Waits until all copies are in sync, as long as that may take.
pub async fn calm(config: Config) {
    let client = ClusterClient::observe(&config).await;
    let until = world().now() + CALM.as_nanos() as u64;
    let in_sync = |pair: &Pair| pair.in_sync().count() == 2;
    while client.pairs().is_empty() || !client.pairs().iter().all(in_sync) {
        if world().now() > until {
            println!("WRONG  not all copies are in sync after {CALM:?} without a fault");
            super::world::end(1);
        }
        pause(PAUSE).await;
    }
    // The witness catches up in a heartbeat or two.
    tokio::time::sleep_until(tokio::time::Instant::now() + Duration::from_secs(1)).await;
    client.close().await;
}

/// Waits until `raidfs verify` finds nothing wrong.
pub async fn converge(config: Config, patience: Duration) {
    let until = world().now() + patience.as_nanos() as u64;
    loop {
        let mut report = raidfs_mountd::cli::verify::Report::default();
        raidfs_mountd::cli::verify::verify(&config, &mut report).await;
        if report.problems() == 0 {
            return;
        }
        if world().now() > until {
            println!("WRONG  it does not converge");
            super::world::end(1);
        }
        pause(PAUSE).await;
    }
}
