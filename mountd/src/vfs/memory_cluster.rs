//! A cluster in memory, for tests: the servers' own namespace over a store in memory, and chunks as bytes with a map
//! of their blocks. Checks what the vfs owes the cluster: overlapping changes of a chunk one after the other, and no
//! write that a cut overtakes.

use super::cluster::{Changed, ChunkAddress, Cluster, LossMark, Part, Source};
use bytes::Bytes;
use parking_lot::Mutex;
use raidfs_common::error::FsError;
use raidfs_common::id::{ChunkId, Ino, LogIndex, PairId, ServerId, SessionId, Term};
use raidfs_common::limits::{BLOCK_BYTES, CHUNK_BYTES};
use raidfs_common::namespace::{Change, Command, Done, Outcome, Query, Reply, Request};
use raidfs_common::pair::{Space, place};
use raidfs_common::rpc::chunks::ChunkChange;
use raidfs_common::time::Time;
use raidfs_fsd::board::Doom;
use raidfs_fsd::namespace::store_memory::MemoryStore;
use raidfs_fsd::namespace::{CACHE_BYTES, Effect, Namespace};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;
use tokio::sync::watch;

const SESSION: SessionId = SessionId(7);

/// Pairs of the cluster.
const PAIRS: usize = 2;

#[derive(Default)]
struct Chunk {
    bytes: Vec<u8>,
    blocks: BTreeSet<u16>,
    synced: bool,
    /// Bytes and blocks as they were when it was synced last.
    stored: Option<(Vec<u8>, BTreeSet<u16>)>,
    pair: PairId,
}

impl Chunk {
    fn sync(&mut self) {
        self.synced = true;
        self.stored = Some((self.bytes.clone(), self.blocks.clone()));
    }
}

struct Names {
    namespace: Namespace,
    index: LogIndex,
    seq: u64,
}

/// What goes wrong, and how slow everything is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Chunk changes end so.
    pub chunk_changes: Option<FsError>,
    /// Chunk changes wait for as long as this is set.
    pub chunks_hang: bool,
    /// Those of this pair alone.
    pub pair_hangs: Option<PairId>,
    /// Copies wait for as long as this is set.
    pub copies_hang: bool,
    /// Writes to this chunk find no room.
    pub full: Option<ChunkId>,
    /// Syncs of chunks wait for as long as this is set.
    pub syncs_hang: bool,
    /// Changes of names wait for as long as this is set.
    pub names_hang: bool,
    /// Changes of names end so.
    pub names: Option<FsError>,
}

/// Nothing goes wrong.
pub const NO_FAULTS: Faults = Faults {
    chunk_changes: None,
    chunks_hang: false,
    pair_hangs: None,
    copies_hang: false,
    full: None,
    syncs_hang: false,
    names_hang: false,
    names: None,
};

/// How often each call was made.
#[derive(Debug, Default)]
pub struct Counts {
    /// Requests with changes of names.
    pub changes: AtomicU64,
    /// Questions.
    pub questions: AtomicU64,
    /// Changes of chunks.
    pub chunk_changes: AtomicU64,
    /// Those of them that were copies.
    pub copies: AtomicU64,
    /// Reads of chunks.
    pub reads: AtomicU64,
    /// Syncs of chunks.
    pub syncs: AtomicU64,
    /// Barriers.
    pub barriers: AtomicU64,
}

/// The cluster.
pub struct MemoryCluster {
    names: Mutex<Names>,
    chunks: Mutex<BTreeMap<ChunkId, Chunk>>,
    under_way: Mutex<Vec<(ChunkId, Range<u32>)>>,
    next_ino: AtomicU64,
    faults: watch::Sender<Faults>,
    /// How often those that hang were broken off.
    breaks: watch::Sender<u32>,
    losses: watch::Sender<Vec<PairId>>,
    /// How often each call was made.
    pub counts: Counts,
}

impl MemoryCluster {
    /// Two pairs, an empty tree, one session.
    pub fn new() -> Arc<MemoryCluster> {
        let store = Arc::new(MemoryStore::default());
        let pairs = [[ServerId(1), ServerId(2)], [ServerId(3), ServerId(4)]];
        Namespace::format(&*store, &pairs).expect("memory does not fail");
        let namespace = Namespace::open(store, CACHE_BYTES).expect("memory does not fail").expect("just formatted");
        let cluster = MemoryCluster {
            names: Mutex::new(Names { namespace, index: LogIndex(0), seq: 0 }),
            chunks: Mutex::default(),
            under_way: Mutex::default(),
            next_ino: AtomicU64::new(0),
            faults: watch::Sender::new(Faults::default()),
            breaks: watch::Sender::default(),
            losses: watch::Sender::default(),
            counts: Counts::default(),
        };
        let open = Change::OpenSession { holder: "test".into(), takeover: false };
        let outcome = cluster.apply(vec![(Time::from(SystemTime::now()), open)]).pop();
        let Some(Ok(Done::Session { from, .. })) = outcome else { panic!("no session: {outcome:?}") };
        cluster.next_ino.store(from.0, Ordering::Relaxed);
        Arc::new(cluster)
    }

    /// Changes what goes wrong.
    pub fn set_faults(&self, faults: Faults) {
        self.faults.send_replace(faults);
    }

    /// Changes of chunks that hang end with [`FsError::Io`]; those that come hang on.
    pub fn break_off(&self) {
        self.breaks.send_modify(|breaks| *breaks += 1);
    }

    /// Both servers of a pair lose power: what was not synced is gone.
    pub fn lose_power(&self, pair: PairId) {
        let mut chunks = self.chunks.lock();
        chunks.retain(|_, chunk| chunk.pair != pair || chunk.stored.is_some());
        for chunk in chunks.values_mut().filter(|chunk| chunk.pair == pair) {
            (chunk.bytes, chunk.blocks) = chunk.stored.clone().expect("others were dropped just now");
            chunk.synced = true;
        }
        self.losses.send_modify(|losses| losses.push(pair));
    }

    /// Says how much room there is on each pair.
    pub fn set_space(&self, space: Space) {
        let change = Change::Space { pairs: vec![(PairId(0), space), (PairId(1), space)] };
        let outcomes = self.apply_as(SessionId::CLUSTER, vec![(Time::from(SystemTime::now()), change)]);
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    }

    /// A chunk's bytes, without the vfs.
    pub fn chunk(&self, chunk: ChunkId) -> Option<Vec<u8>> {
        self.chunks.lock().get(&chunk).map(|c| c.bytes.clone())
    }

    /// Whether everything of a chunk was synced.
    pub fn is_synced(&self, chunk: ChunkId) -> bool {
        self.chunks.lock().get(&chunk).is_none_or(|c| c.synced)
    }

    /// How many chunks there are.
    pub fn chunk_count(&self) -> usize {
        self.chunks.lock().len()
    }

    fn apply(&self, changes: Vec<(Time, Change)>) -> Vec<Outcome> {
        self.apply_as(SESSION, changes)
    }

    fn apply_as(&self, session: SessionId, changes: Vec<(Time, Change)>) -> Vec<Outcome> {
        let mut names = self.names.lock();
        let requests = changes.into_iter().map(|(now, change)| {
            names.seq += 1;
            Request { session, seq: if session == SESSION { names.seq } else { 0 }, done_below: names.seq, now, change }
        });
        let command = Command::Batch(requests.collect());
        names.index = names.index.next();
        let index = names.index;
        let applied = names.namespace.apply(index, Term(1), &command).expect("memory does not fail");
        for effect in applied.effects {
            let Effect::Doom { ino, doom } = effect else { continue };
            let size = if let Doom::Cut { size } = doom { size } else { 0 };
            self.cut(ino, size, doom == Doom::Reap);
        }
        applied.outcomes.into_iter().map(|o| o.expect("the session is open, the numbers are new")).collect()
    }

    fn cut(&self, ino: Ino, size: u64, gone: bool) {
        if !gone {
            let under_way = self.under_way.lock();
            let behind = |(c, r): &&(ChunkId, Range<u32>)| {
                c.ino == ino && u64::from(c.index) * CHUNK_BYTES + u64::from(r.end) > size
            };
            assert_eq!(under_way.iter().find(behind), None, "a write behind the cut at {size} is under way");
        }
        let mut chunks = self.chunks.lock();
        let from = ChunkId { ino, index: (size / CHUNK_BYTES) as u32 };
        let kept = (size % CHUNK_BYTES) as usize;
        let touched: Vec<ChunkId> = chunks.range(from..=ChunkId { ino, index: u32::MAX }).map(|(id, _)| *id).collect();
        for id in touched {
            if id == from && kept > 0 {
                let chunk = chunks.get_mut(&id).expect("listed just now");
                let stored = chunk.stored.as_mut().map(|(bytes, blocks)| (bytes, blocks));
                for (bytes, blocks) in std::iter::once((&mut chunk.bytes, &mut chunk.blocks)).chain(stored) {
                    bytes.truncate(kept);
                    blocks.retain(|b| u64::from(*b) * BLOCK_BYTES < kept as u64);
                }
            } else {
                chunks.remove(&id);
            }
        }
    }

    async fn until(&self, free: impl FnMut(&Faults) -> bool) -> Faults {
        let mut faults = self.faults.subscribe();
        *faults.wait_for(free).await.expect("the sender is ours")
    }
}

fn blocks(range: &Range<u32>) -> Range<u16> {
    let block = BLOCK_BYTES as u32;
    (range.start / block) as u16..range.end.div_ceil(block) as u16
}

fn change_bytes(chunk: &mut Chunk, range: Range<u32>, change: &ChunkChange) -> i64 {
    let before = chunk.blocks.len() as i64;
    let end = range.end as usize;
    match change {
        ChunkChange::Write { data, .. } => {
            if chunk.bytes.len() < end {
                chunk.bytes.resize(end, 0);
            }
            chunk.bytes[range.start as usize..end].copy_from_slice(&data.0);
            chunk.blocks.extend(blocks(&range));
        }
        ChunkChange::Punch { .. } => {
            let end = end.min(chunk.bytes.len());
            if (range.start as usize) < end {
                chunk.bytes[range.start as usize..end].fill(0);
            }
            let block = BLOCK_BYTES as u32;
            let whole = range.start.div_ceil(block) as u16..(range.end / block) as u16;
            chunk.blocks.retain(|b| !whole.contains(b));
        }
        ChunkChange::Allocate { .. } => chunk.blocks.extend(blocks(&range)),
    }
    chunk.synced = false;
    chunk.blocks.len() as i64 - before
}

impl Cluster for MemoryCluster {
    async fn change(&self, changes: Vec<(Time, Change)>) -> Vec<Outcome> {
        self.counts.changes.fetch_add(1, Ordering::Relaxed);
        let faults = self.until(|f| !f.names_hang).await;
        match faults.names {
            Some(error) => vec![Err(error); changes.len()],
            None => self.apply(changes),
        }
    }

    async fn ask(&self, query: Query) -> Reply {
        self.counts.questions.fetch_add(1, Ordering::Relaxed);
        self.names.lock().namespace.query(&query).expect("memory does not fail")
    }

    async fn new_ino(&self) -> Result<Ino, FsError> {
        Ok(Ino(self.next_ino.fetch_add(1, Ordering::Relaxed)))
    }

    fn pair_of(&self, at: ChunkAddress) -> PairId {
        place(at.placement, at.chunk.index, PAIRS).pair
    }

    async fn change_chunk(&self, at: ChunkAddress, change: ChunkChange) -> Result<Changed, FsError> {
        self.counts.chunk_changes.fetch_add(1, Ordering::Relaxed);
        let range = match &change {
            ChunkChange::Write { offset, data, .. } => *offset..offset + data.0.len() as u32,
            ChunkChange::Punch { offset, length } | ChunkChange::Allocate { offset, length } => {
                *offset..offset + length
            }
        };
        assert!(u64::from(range.end) <= CHUNK_BYTES, "a change crosses its chunk's border");
        {
            let mut under_way = self.under_way.lock();
            let overlaps =
                |(c, r): &&(ChunkId, Range<u32>)| *c == at.chunk && r.start < range.end && range.start < r.end;
            assert_eq!(under_way.iter().find(overlaps), None, "overlaps {range:?} of {}", at.chunk);
            under_way.push((at.chunk, range.clone()));
        }
        tokio::task::yield_now().await;
        let mut breaks = self.breaks.subscribe();
        let faults = tokio::select! {
            faults = self.until(|f| !f.chunks_hang && f.pair_hangs != Some(self.pair_of(at))) => faults,
            _ = breaks.changed() => Faults { chunk_changes: Some(FsError::Io), ..Faults::default() },
        };
        let applied = match faults.chunk_changes {
            Some(error) => Err(error),
            None if faults.full == Some(at.chunk) && matches!(change, ChunkChange::Write { .. }) => {
                Err(FsError::NoSpace)
            }
            None => {
                let mut chunks = self.chunks.lock();
                let chunk = chunks.entry(at.chunk).or_default();
                let durable = matches!(change, ChunkChange::Write { sync: true, .. });
                let blocks = change_bytes(chunk, range.clone(), &change);
                chunk.pair = self.pair_of(at);
                if durable {
                    chunk.sync();
                }
                Ok(Changed { blocks, durable })
            }
        };
        self.under_way.lock().retain(|(c, r)| (*c, r.clone()) != (at.chunk, range.clone()));
        applied
    }

    async fn copy_chunk(&self, at: ChunkAddress, part: Part, from: Source) -> Result<Changed, FsError> {
        self.counts.copies.fetch_add(1, Ordering::Relaxed);
        self.until(|f| !f.copies_hang).await;
        let bytes = self.read_chunk(from.at, from.offset, part.length).await?;
        let mut data = bytes.to_vec();
        data.resize(part.length as usize, 0);
        self.change_chunk(at, ChunkChange::Write { offset: part.offset, sync: false, data: data.into() }).await
    }

    async fn read_chunk(&self, at: ChunkAddress, offset: u32, length: u32) -> Result<Bytes, FsError> {
        self.counts.reads.fetch_add(1, Ordering::Relaxed);
        tokio::task::yield_now().await;
        let chunks = self.chunks.lock();
        let Some(chunk) = chunks.get(&at.chunk) else { return Ok(Bytes::new()) };
        let end = (offset as usize + length as usize).min(chunk.bytes.len());
        let start = (offset as usize).min(end);
        Ok(Bytes::copy_from_slice(&chunk.bytes[start..end]))
    }

    async fn sync_chunks(&self, list: Vec<ChunkAddress>) -> Result<(), FsError> {
        self.counts.syncs.fetch_add(1, Ordering::Relaxed);
        let faults = self.until(|f| !f.syncs_hang).await;
        if let Some(error) = faults.chunk_changes {
            return Err(error);
        }
        let mut chunks = self.chunks.lock();
        for at in list {
            if let Some(chunk) = chunks.get_mut(&at.chunk) {
                chunk.sync();
            }
        }
        Ok(())
    }

    async fn sync_whole(&self, file: Option<Ino>) -> Result<(), FsError> {
        self.counts.syncs.fetch_add(1, Ordering::Relaxed);
        let faults = self.until(|f| !f.syncs_hang).await;
        if let Some(error) = faults.chunk_changes {
            return Err(error);
        }
        let mut chunks = self.chunks.lock();
        let meant = chunks.iter_mut().filter(|(id, _)| file.is_none_or(|ino| id.ino == ino));
        meant.for_each(|(_, chunk)| chunk.sync());
        Ok(())
    }

    fn loss_mark(&self) -> LossMark {
        LossMark(self.losses.borrow().len() as u32)
    }

    fn lost_since(&self, mark: LossMark, at: ChunkAddress) -> bool {
        let pair = self.pair_of(at);
        self.losses.borrow()[mark.0 as usize..].contains(&pair)
    }

    async fn loss_after(&self, mark: LossMark) {
        let mut losses = self.losses.subscribe();
        losses.wait_for(|losses| losses.len() > mark.0 as usize).await.expect("the sender is ours");
    }

    async fn extents(&self, at: ChunkAddress) -> Result<(u32, Vec<(u16, u16)>), FsError> {
        let chunks = self.chunks.lock();
        let Some(chunk) = chunks.get(&at.chunk) else { return Ok((0, Vec::new())) };
        let mut runs: Vec<(u16, u16)> = Vec::new();
        for block in &chunk.blocks {
            match runs.last_mut() {
                Some((first, count)) if *first + *count == *block => *count += 1,
                _ => runs.push((*block, 1)),
            }
        }
        Ok((chunk.bytes.len() as u32, runs))
    }

    async fn next_chunk(&self, from: ChunkAddress) -> Result<Option<u32>, FsError> {
        let chunks = self.chunks.lock();
        let next = chunks.range(from.chunk..).next().filter(|(id, _)| id.ino == from.chunk.ino);
        Ok(next.map(|(id, _)| id.index))
    }

    async fn barrier(&self) -> Result<(), FsError> {
        self.counts.barriers.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}
