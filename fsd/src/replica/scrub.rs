//! Looking for damage where nobody reads: passes through all chunks of this server, each block compared with its sum, and
//! what is damaged mended from the mirror. One kind goes by itself, slowly ([`super::pace`]), and goes on where it was
//! after a start; the other is asked for, goes as fast as it can, and counts for the first.
//!
//! Both look only while both copies of the pair are in sync and the disk is trusted: else there is nothing to mend from.
//! The slow one waits for that, the other is broken off. A look holds nothing that a change would wait for but the
//! chunk's lock in the store; mending takes its turn among the chunk's changes, and looks again there.

use super::Replica;
use super::mend::Mended;
use super::pace::Pace;
use crate::bookmark::{Bookmark, Place};
use futures::StreamExt;
use parking_lot::Mutex;
use raidfs_common::error::Rejection;
use raidfs_common::id::ChunkId;
use raidfs_common::limits::{BLOCK_BYTES, CHUNK_BYTES, FORWARD_STUCK};
use raidfs_common::rpc::admin::{ScrubPass, ScrubState, ScrubStatus};
use raidfs_common::rpc::chunks::ChunkServiceClient;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::Notify;

/// Chunks that a pass which was asked for looks at at the same time.
const AT_ONCE: usize = 4;
/// Chunks that are listed at a time.
const PAGE: usize = 256;
/// Chunks that could not be mended and are told of by name.
const LISTED_MAX: usize = 1000;
/// A chunk is tried again so often if the mirror cannot be asked for it, after a pause.
const TRIES: u32 = 3;
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// A mirror that has not said by then which chunks it has cannot be asked now.
const LIST_PATIENCE: Duration = Duration::from_secs(5);
/// What the mirror had when it said which chunks it has is here after this, or one of the two is not in sync any more.
const LANDED_AFTER: Duration = FORWARD_STUCK.saturating_mul(2);
/// The slow pass waits so long when it cannot go on.
const STAND_BACK: Duration = Duration::from_secs(10);
/// Where the slow pass is, is written down this often.
const WRITTEN_DOWN_EVERY: Duration = Duration::from_secs(60);

/// A pass, and the chunks that it could not mend.
#[derive(Clone, Debug)]
struct Pass {
    shown: ScrubPass,
    begun: Instant,
    /// Of earlier lives of the server.
    before: Duration,
    lost: BTreeSet<ChunkId>,
}

/// Chunks to be looked at next, as there were at this time.
#[derive(Debug)]
struct Page {
    chunks: VecDeque<ChunkId>,
    at: Instant,
}

/// What came of looking at a chunk.
#[derive(Clone, Copy, Debug)]
struct Looked {
    chunk: ChunkId,
    bytes: u64,
    damage: Damage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Damage {
    None,
    Mended,
    Lost,
}

/// What the scrubber knows of itself.
#[derive(Debug)]
pub struct Scrub {
    pace: Pace,
    state: Mutex<State>,
    /// A pass was asked for.
    asked: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Passes begun in this life.
    passes: u64,
    /// The last pass that was asked for.
    fast: Option<Pass>,
    slow: Option<Pass>,
    /// The last chunk that the slow pass looked at.
    at: Option<ChunkId>,
    last: Option<ScrubPass>,
    bookmark: Option<Arc<Bookmark>>,
}

impl Pass {
    fn begin(number: u64, asked: bool, (total, total_bytes): (u64, u64)) -> Pass {
        let shown = ScrubPass { number, asked, total, total_bytes, ..ScrubPass::default() };
        Pass { shown, begun: Instant::now(), before: Duration::ZERO, lost: BTreeSet::new() }
    }

    fn runs(&self) -> bool {
        self.shown.state == ScrubState::Runs
    }

    fn took(&self) -> Duration {
        self.before + self.begun.elapsed()
    }

    fn shown(&self) -> ScrubPass {
        let elapsed_ms = if self.runs() { self.took().as_millis() as u64 } else { self.shown.elapsed_ms };
        ScrubPass { elapsed_ms, ..self.shown }
    }

    fn looked(&mut self, looked: &Looked) {
        self.shown.chunks += 1;
        self.shown.bytes += looked.bytes;
        match looked.damage {
            Damage::None => {}
            Damage::Mended => self.shown.mended += 1,
            Damage::Lost => {
                self.shown.lost += 1;
                if self.lost.len() < LISTED_MAX {
                    self.lost.insert(looked.chunk);
                }
            }
        }
    }

    fn end(&mut self, state: ScrubState) {
        self.shown = ScrubPass { state, ..self.shown() };
    }
}

impl Scrub {
    /// Nothing was looked at yet.
    pub fn new(pace: Pace) -> Scrub {
        Scrub { pace, state: Mutex::default(), asked: Notify::new() }
    }

    /// Goes on from what was written down, and writes down from now on. Blocking; before the work begins.
    pub fn keep(&self, bookmark: Bookmark) {
        let Place { now, last } = bookmark.read();
        let mut state = self.state.lock();
        state.last = last;
        if let Some((shown, at)) = now {
            let before = Duration::from_millis(shown.elapsed_ms);
            state.slow = Some(Pass { before, shown, ..Pass::begin(0, false, (0, 0)) });
            state.at = Some(at);
        }
        state.bookmark = Some(Arc::new(bookmark));
    }

    /// A pass was asked for that has not begun: those that have are walked to their end.
    fn is_asked(&self) -> bool {
        self.state.lock().fast.as_ref().is_some_and(Pass::runs)
    }

    /// For `raidfs status`.
    pub fn status(&self) -> ScrubStatus {
        let state = self.state.lock();
        let now = state.fast.as_ref().filter(|pass| pass.runs()).or(state.slow.as_ref());
        ScrubStatus { now: now.map(Pass::shown), last: state.last }
    }

    /// How long after the start the slow pass begins or goes on; None: never.
    fn first(&self) -> Option<Duration> {
        let state = self.state.lock();
        let since = |pass: ScrubPass| match pass.state {
            ScrubState::Ended(at) => {
                let at = UNIX_EPOCH + Duration::from_secs(at);
                let ago = SystemTime::now().duration_since(at).unwrap_or_default();
                Some(ago + Duration::from_millis(pass.elapsed_ms))
            }
            _ => None,
        };
        self.pace.first(if state.slow.is_some() { None } else { state.last.and_then(since) })
    }
}

impl Replica {
    /// Begins a pass at full speed, or joins one; its number.
    pub fn scrub_now(&self) -> Result<u64, Rejection> {
        if !self.may_scrub() {
            return Err(Rejection::NotInCharge);
        }
        let number = {
            let mut state = self.scrub.state.lock();
            match &state.fast {
                Some(pass) if pass.runs() => return Ok(pass.shown.number),
                _ => {}
            }
            let number = self.next_number(&mut state);
            state.fast = Some(Pass::begin(number, true, self.store.held()));
            number
        };
        self.scrub.asked.notify_one();
        Ok(number)
    }

    /// How that pass is, and chunks that it could not mend.
    pub fn scrubbed(&self, number: u64) -> Result<(ScrubPass, Vec<ChunkId>), Rejection> {
        let state = self.scrub.state.lock();
        let pass = state.fast.as_ref().filter(|pass| pass.shown.number == number).ok_or(Rejection::Forgotten)?;
        Ok((pass.shown(), pass.lost.iter().copied().collect()))
    }

    /// Before the work begins: where the scrubber is, is kept there.
    pub fn keep_bookmark(&self, bookmark: Bookmark) {
        self.scrub.keep(bookmark);
    }

    fn next_number(&self, state: &mut State) -> u64 {
        state.passes += 1;
        self.board.incarnation.0.wrapping_add(state.passes)
    }

    /// Whether damage could be mended: both copies are in sync, this one in this life, and the disk is trusted.
    fn may_scrub(&self) -> bool {
        let both = self.standing().is_some_and(|s| s.both_in_sync());
        both && self.disk_error().is_none()
    }

    pub(super) async fn run_scrub(self: Arc<Self>) {
        let mut due = self.scrub.first().map(|after| Instant::now() + after);
        loop {
            if self.scrub.is_asked() {
                if let Some(took) = self.scrub_fast().await {
                    due = self.scrub.pace.next(took).map(|after| Instant::now() + after);
                }
                continue;
            }
            tokio::select! {
                () = self.scrub.asked.notified() => {}
                () = at(due) => if let Some(took) = self.scrub_slowly().await {
                    due = self.scrub.pace.next(took).map(|after| Instant::now() + after);
                }
            }
        }
    }

    /// The pass that was asked for; how long it took, unless it was broken off.
    async fn scrub_fast(self: &Arc<Self>) -> Option<Duration> {
        tracing::info!("every block of this server's chunks is compared with its checksum, as somebody asked for it");
        let whole = self.walk_fast().await;
        let took = self.end_fast(whole);
        if took.is_some() {
            self.write_down().await;
        }
        took
    }

    fn end_fast(&self, whole: bool) -> Option<Duration> {
        let mut state = self.scrub.state.lock();
        let pass = state.fast.as_mut()?;
        pass.end(if whole { ended_now() } else { ScrubState::BrokenOff });
        let (shown, took) = (pass.shown(), pass.took());
        if !whole {
            tracing::warn!(
                "looking through this server's chunks is broken off: the pair's copies are not both in sync, or the disk failed"
            );
            return None;
        }
        // The slow one has nothing left to look at.
        (state.slow, state.at, state.last) = (None, None, Some(shown));
        tell_end(&shown);
        Some(took)
    }

    async fn walk_fast(self: &Arc<Self>) -> bool {
        let mut after = None;
        loop {
            let Some(Page { chunks, at }) = self.listed(after).await else { return false };
            let Some(last) = chunks.back() else { return true };
            after = Some(*last);
            let mut looks = futures::stream::iter(chunks).map(|c| self.look_at(c, at)).buffer_unordered(AT_ONCE);
            while let Some(looked) = looks.next().await {
                match (looked, &mut self.scrub.state.lock().fast) {
                    (Some(looked), Some(pass)) => pass.looked(&looked),
                    _ => return false,
                }
            }
        }
    }

    /// Goes on with the slow pass until it has ended, and returns how long it took; None once somebody asks for another.
    pub(super) async fn scrub_slowly(self: &Arc<Self>) -> Option<Duration> {
        let mut after = {
            let mut state = self.scrub.state.lock();
            if state.slow.is_none() {
                let number = self.next_number(&mut state);
                state.slow = Some(Pass::begin(number, false, self.store.held()));
            }
            state.at
        };
        let mut page = Page { chunks: VecDeque::new(), at: Instant::now() };
        let mut written = Instant::now();
        loop {
            let begun = Instant::now();
            let mut pause = STAND_BACK;
            if self.may_scrub() {
                // That they cannot be listed now is not that there are no more.
                let listed = if page.chunks.is_empty() { self.listed(after).await } else { None };
                let none_left = listed.as_ref().is_some_and(|page| page.chunks.is_empty());
                page = listed.unwrap_or(page);
                match page.chunks.front() {
                    None if none_left && self.may_scrub() => return self.end_slow().await,
                    None => {}
                    Some(&chunk) => {
                        if let Some(looked) = self.look_at(chunk, page.at).await {
                            page.chunks.pop_front();
                            after = Some(chunk);
                            self.looked_slowly(&looked);
                            pause = self.scrub.pace.pause(self.store.held(), looked.bytes, begun.elapsed());
                        }
                    }
                }
            }
            if written.elapsed() >= WRITTEN_DOWN_EVERY {
                written = Instant::now();
                self.write_down().await;
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.scrub.asked.notified() => return None,
            }
        }
    }

    fn looked_slowly(&self, looked: &Looked) {
        let mut state = self.scrub.state.lock();
        state.at = Some(looked.chunk);
        if let Some(pass) = &mut state.slow {
            pass.looked(looked);
        }
    }

    async fn end_slow(self: &Arc<Self>) -> Option<Duration> {
        let mut pass = {
            let mut state = self.scrub.state.lock();
            state.at = None;
            state.slow.take()?
        };
        let took = pass.took();
        pass.end(ended_now());
        self.scrub.state.lock().last = Some(pass.shown);
        tell_end(&pass.shown);
        self.write_down().await;
        Some(took)
    }

    /// The next chunks that there are here or at the mirror, none at the end; None if they cannot be listed.
    async fn listed(self: &Arc<Self>, after: Option<ChunkId>) -> Option<Page> {
        let mine = self.disk_at_leisure("list chunks", move |store| store.list(after, PAGE)).await.ok()?;
        let standing = self.standing_known().await;
        let (me, view) = (self.me, standing.view());
        let list = |client: ChunkServiceClient, context| async move { client.held(context, me, view, after).await };
        let theirs = self.peers.call(standing.mirror.server, LIST_PATIENCE, list).await.ok()?.ok()?;
        Some(Page { chunks: merged(mine, theirs), at: Instant::now() })
    }

    /// Compares a chunk with its sums, and mends it. None: not now. One that is gone by now is whole; one that only the
    /// mirror has, as it did at the time `listed`, is taken from there.
    async fn look_at(self: &Arc<Self>, chunk: ChunkId, listed: Instant) -> Option<Looked> {
        for n in 0..TRIES {
            if n > 0 {
                tokio::time::sleep(TRY_AGAIN).await;
            }
            if !self.may_scrub() {
                return None;
            }
            let looked = |bytes, damage| Some(Looked { chunk, bytes, damage });
            let bytes = match self.disk_at_leisure("read a chunk", move |store| store.check(chunk)).await {
                Ok(None) => {
                    // What has just been made may only be on its way here.
                    tokio::time::sleep_until((listed + LANDED_AFTER).into()).await;
                    let missed = self.take_back(chunk).await;
                    return looked(0, if missed { Damage::Mended } else { Damage::None });
                }
                Ok(Some(s)) if s.damaged == 0 => return looked(u64::from(s.blocks) * BLOCK_BYTES, Damage::None),
                Ok(Some(s)) => u64::from(s.blocks) * BLOCK_BYTES,
                Err(error) if error.is_damage() => CHUNK_BYTES,
                Err(_) => return None,
            };
            if !self.may_scrub() {
                return None;
            }
            match self.mend_chunk(chunk).await {
                Mended::Whole => return looked(bytes, Damage::None),
                Mended::All => return looked(bytes, Damage::Mended),
                Mended::Some | Mended::Nothing => return looked(bytes, Damage::Lost),
                Mended::NotNow => {}
            }
        }
        // What could not be asked for is not known to be lost, but it is not mended.
        self.may_scrub().then_some(Looked { chunk, bytes: 0, damage: Damage::Lost })
    }

    /// Writes down where the slow pass is.
    async fn write_down(self: &Arc<Self>) {
        let (bookmark, place) = {
            let state = self.scrub.state.lock();
            let Some(bookmark) = state.bookmark.clone() else { return };
            let now = state.slow.as_ref().map(Pass::shown).zip(state.at);
            (bookmark, Place { now, last: state.last })
        };
        let written = tokio::task::spawn_blocking(move || bookmark.write(&place)).await;
        if let Ok(Err(error)) = written {
            tracing::debug!("cannot write down how far this server's chunks are looked through: {error}");
        }
    }
}

/// Two pages of chunks in order, from the same place on, as far as both say what there is.
fn merged(mine: Vec<ChunkId>, theirs: Vec<ChunkId>) -> VecDeque<ChunkId> {
    let end = [&mine, &theirs].into_iter().filter_map(|page| page.last()).min().copied();
    let all: BTreeSet<ChunkId> = mine.iter().chain(&theirs).copied().filter(|chunk| Some(*chunk) <= end).collect();
    all.into_iter().collect()
}

/// Waits until then; None: for ever.
async fn at(then: Option<Instant>) {
    match then {
        Some(then) => tokio::time::sleep_until(then.into()).await,
        None => std::future::pending().await,
    }
}

fn ended_now() -> ScrubState {
    ScrubState::Ended(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}

fn tell_end(pass: &ScrubPass) {
    let ScrubPass { chunks, bytes, mended, lost, .. } = pass;
    if mended + lost == 0 {
        tracing::info!("{chunks} chunks ({bytes} bytes) match their checksums");
    } else {
        tracing::warn!("of {chunks} chunks {} were damaged: {mended} are mended, {lost} are not", mended + lost);
    }
}
