//! Room for requests and answers: a server keeps so many bytes of them, and reads no more from a connection that has its share
//! until some of it is given back. Each connection has an [`Account`]; what is held is a [`Hold`], from when a frame's length
//! is known until its answer was written, or dropped. [`crate::budget`] decides.
//!
//! Nobody who holds room waits for more of it: what asks for a large answer gives back what its own few bytes take first.

use crate::budget::{OWN_BYTES, Progress, WHOLE_FRAME_COUNTS, fits, weight};
use crate::complaints::Complaints;
use crate::limits::REQUESTS_PER_CONNECTION_MAX;
use bytes::Bytes;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::PollSemaphore;

/// The connections are looked at so often. What a wakeup has missed waits no longer.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Up to so many bytes each: who waits for as much is told by itself.
const SIZES: [usize; 2] = [64 << 10, 1 << 20];

/// What connections of one kind share.
#[derive(Debug)]
pub struct Pool {
    most: usize,
    header_weight: usize,
    held: AtomicUsize,
    /// Those that would get room if nobody else held any.
    crowded_out: AtomicUsize,
    /// Those that wait, whatever for.
    waiting: AtomicUsize,
    /// By how much is waited for, so that who wants little does not stand behind those that do not fit.
    room: [Notify; SIZES.len() + 1],
    watched: Mutex<Vec<Watched>>,
    looked: Mutex<Option<Instant>>,
    complaints: Mutex<Complaints<()>>,
}

#[derive(Debug)]
struct Watched {
    account: Weak<Account>,
    incoming: Progress,
    outgoing: Progress,
}

impl Pool {
    /// So many bytes beside what each connection has to itself; a byte of a header counts `header_weight` times.
    pub fn new(most: usize, header_weight: usize) -> Arc<Pool> {
        Arc::new(Pool {
            most,
            header_weight,
            held: AtomicUsize::new(0),
            crowded_out: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            room: std::array::from_fn(|_| Notify::new()),
            watched: Mutex::default(),
            looked: Mutex::default(),
            complaints: Mutex::new(Complaints::new()),
        })
    }

    /// For a connection that begins, and is told by `end` that it has to end.
    pub fn account(self: &Arc<Self>, end: Arc<Notify>) -> Arc<Account> {
        let account = Arc::new(Account {
            pool: self.clone(),
            own: AtomicUsize::new(0),
            shared: AtomicUsize::new(0),
            crowded_out: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            room: Notify::new(),
            turns: Arc::new(Semaphore::new(REQUESTS_PER_CONNECTION_MAX)),
            incoming: Flow::default(),
            outgoing: Flow::default(),
            end,
        });
        let progress = Progress::new(Instant::now());
        let watched = Watched { account: Arc::downgrade(&account), incoming: progress, outgoing: progress };
        self.watched.lock().push(watched);
        account
    }

    /// Bytes that are held of what all share.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Has those end that are waited for and do not go on, for ever.
    pub async fn watch(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.look(Instant::now());
        }
    }

    fn look(&self, now: Instant) {
        let crowded_out = self.crowded_out.load(Ordering::Relaxed);
        // While this process stood still nobody could go on.
        let stood_still = self.looked.lock().replace(now).is_some_and(|before| now - before > LOOK_EVERY * 2);
        let mut ended = 0;
        self.watched.lock().retain_mut(|watched| {
            let Some(account) = watched.account.upgrade() else { return false };
            if stood_still {
                let progress = Progress::new(now);
                (watched.incoming, watched.outgoing) = (progress, progress);
            }
            let others = crowded_out > account.crowded_out.load(Ordering::Relaxed);
            let crowded = others && account.shared.load(Ordering::Relaxed) > 0;
            let directions = [(&account.incoming, &mut watched.incoming), (&account.outgoing, &mut watched.outgoing)];
            let good = directions.map(|(flow, progress)| {
                let (waited_for, moved) = (flow.waited_for.load(Ordering::Relaxed), flow.moved.load(Ordering::Relaxed));
                progress.goes_on(now, waited_for, moved, crowded)
            });
            let goes_on = good == [true; 2];
            if !goes_on {
                account.end.notify_one();
                ended += 1;
            }
            goes_on
        });
        if ended > 0 && self.complaints.lock().due((), now) {
            tracing::warn!(
                "{ended} connections are ended: their callers do not go on with what they have begun to send, or do not read \
                 what they asked for"
            );
        }
        if self.waiting.load(Ordering::Relaxed) > 0 {
            self.room.iter().for_each(Notify::notify_waiters);
        }
    }

    fn room_for(&self, bytes: usize) -> &Notify {
        &self.room[SIZES.partition_point(|size| *size < bytes)]
    }
}

/// One direction of a connection.
#[derive(Debug, Default)]
struct Flow {
    moved: AtomicU64,
    waited_for: AtomicBool,
}

impl Flow {
    fn moves(&self, bytes: u64) {
        // Only the task of the connection writes here.
        self.moved.store(self.moved.load(Ordering::Relaxed) + bytes, Ordering::Relaxed);
    }

    fn is_waited_for(&self, waited_for: bool) {
        self.waited_for.store(waited_for, Ordering::Relaxed);
    }
}

/// A connection's part.
#[derive(Debug)]
pub struct Account {
    pool: Arc<Pool>,
    /// Held of what it has to itself.
    own: AtomicUsize,
    /// Held of what all share.
    shared: AtomicUsize,
    crowded_out: AtomicUsize,
    waiting: AtomicUsize,
    room: Notify,
    /// Requests that are served, and answers that are not written yet.
    turns: Arc<Semaphore>,
    incoming: Flow,
    outgoing: Flow,
    end: Arc<Notify>,
}

impl Account {
    pub(crate) fn turns(&self) -> PollSemaphore {
        PollSemaphore::new(self.turns.clone())
    }

    pub(crate) fn received(&self, bytes: usize) {
        self.incoming.moves(bytes as u64);
    }

    /// The rest of a frame has to come.
    pub(crate) fn waits_for_rest(&self, waits: bool) {
        self.incoming.is_waited_for(waits);
    }

    pub(crate) fn received_whole(&self) {
        self.incoming.moves(WHOLE_FRAME_COUNTS);
        self.incoming.is_waited_for(false);
    }

    pub(crate) fn written(&self, bytes: usize) {
        self.outgoing.moves(bytes as u64);
    }

    /// The other end has to read.
    pub(crate) fn waits_for_reader(&self, waits: bool) {
        self.outgoing.is_waited_for(waits);
    }

    pub(crate) fn weight(&self, header: usize, payload: usize) -> usize {
        weight(header, payload, self.pool.header_weight)
    }

    /// Room for so many bytes, if there is some now.
    pub(crate) fn try_take(self: &Arc<Self>, bytes: usize) -> Option<Hold> {
        let hold = |shared| Some(Hold { account: self.clone(), bytes, shared, turn: None });
        if self.own.fetch_add(bytes, Ordering::SeqCst) + bytes <= OWN_BYTES {
            return hold(false);
        }
        self.own.fetch_sub(bytes, Ordering::SeqCst);
        let held = self.shared.load(Ordering::SeqCst);
        let more = |before: usize| fits(held, bytes, self.pool.most.saturating_sub(before)).then_some(before + bytes);
        self.pool.held.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).ok()?;
        self.shared.fetch_add(bytes, Ordering::SeqCst);
        hold(true)
    }

    /// Whether it would get so many bytes if nobody else held any.
    fn has_share(&self, bytes: usize) -> bool {
        let held = self.shared.load(Ordering::SeqCst);
        fits(held, bytes, self.pool.most.saturating_sub(held))
    }

    /// Room for so many bytes, once there is some. Who waits must hold none.
    pub async fn take(self: Arc<Self>, bytes: usize) -> Hold {
        if let Some(hold) = self.try_take(bytes) {
            return hold;
        }
        let room = self.pool.room_for(bytes);
        let mut waits = Waits::begin(&self);
        loop {
            let (own, all) = (self.room.notified(), room.notified());
            tokio::pin!(own, all);
            own.as_mut().enable();
            // Who has its share is told by what itself gives back, and takes no word that is for another.
            let by_others = self.has_share(bytes);
            if by_others {
                all.as_mut().enable();
            }
            if let Some(hold) = self.try_take(bytes) {
                // There may be room for another one, too.
                room.notify_one();
                return hold;
            }
            waits.is_crowded_out(by_others);
            tokio::select! {
                () = own => {}
                () = all, if by_others => {}
            }
        }
    }
}

/// Somebody waits for room; who gives some back looks for it.
struct Waits<'a> {
    account: &'a Account,
    crowded_out: bool,
}

impl Waits<'_> {
    fn begin(account: &Account) -> Waits<'_> {
        account.waiting.fetch_add(1, Ordering::SeqCst);
        account.pool.waiting.fetch_add(1, Ordering::SeqCst);
        Waits { account, crowded_out: false }
    }

    /// Whether it is others that it waits for.
    fn is_crowded_out(&mut self, now: bool) {
        if std::mem::replace(&mut self.crowded_out, now) != now {
            for count in [&self.account.crowded_out, &self.account.pool.crowded_out] {
                match now {
                    true => count.fetch_add(1, Ordering::SeqCst),
                    false => count.fetch_sub(1, Ordering::SeqCst),
                };
            }
        }
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.is_crowded_out(false);
        self.account.waiting.fetch_sub(1, Ordering::SeqCst);
        self.account.pool.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Room that is held, given back when dropped.
#[derive(Debug)]
pub struct Hold {
    account: Arc<Account>,
    bytes: usize,
    shared: bool,
    turn: Option<OwnedSemaphorePermit>,
}

impl Hold {
    /// With a place among the requests of its connection.
    #[must_use]
    pub(crate) fn in_turn(self, turn: Option<OwnedSemaphorePermit>) -> Hold {
        let mut hold = self;
        hold.turn = turn;
        hold
    }

    /// Takes a part of it away, to be given back by itself.
    #[must_use]
    pub(crate) fn split(&mut self, bytes: usize) -> Hold {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Hold { account: self.account.clone(), bytes, shared: self.shared, turn: None }
    }

    /// Gives it back for one that is larger by so much, which may have to be waited for.
    pub async fn enlarged(mut self, more: usize) -> Hold {
        let (account, bytes, turn) = (self.account.clone(), self.bytes + more, self.turn.take());
        drop(self);
        account.take(bytes).await.in_turn(turn)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let Account { pool, own, shared, waiting, room, .. } = &*self.account;
        if self.shared {
            shared.fetch_sub(self.bytes, Ordering::SeqCst);
            pool.held.fetch_sub(self.bytes, Ordering::SeqCst);
            if pool.waiting.load(Ordering::SeqCst) > 0 {
                pool.room.iter().for_each(Notify::notify_one);
            }
        } else {
            own.fetch_sub(self.bytes, Ordering::SeqCst);
        }
        if waiting.load(Ordering::SeqCst) > 0 {
            room.notify_waiters();
        }
    }
}

/// A message, and the room that it takes; what is sent is the message alone.
#[derive(Debug, Serialize, Deserialize)]
pub struct Held<T> {
    /// The message.
    pub value: T,
    /// None where nothing is counted.
    #[serde(skip)]
    pub hold: Option<Hold>,
}

impl<T: tarpc::RequestName> tarpc::RequestName for Held<T> {
    fn name(&self) -> &str {
        self.value.name()
    }
}

/// Bytes that hold their room for as long as anybody has them.
struct Lasting {
    bytes: Bytes,
    _hold: Hold,
}

impl AsRef<[u8]> for Lasting {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

pub(crate) fn lasting(bytes: Bytes, hold: Hold) -> Bytes {
    Bytes::from_owner(Lasting { bytes, _hold: hold })
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    const MIB: usize = 1 << 20;

    #[tokio::test]
    async fn who_has_its_share_waits_until_some_is_given_back_and_others_do_not() {
        let pool = Pool::new(12 * MIB, 1);
        let (greedy, other) = (pool.account(Arc::default()), pool.account(Arc::default()));
        let mut held: Vec<Hold> = std::iter::from_fn(|| greedy.try_take(MIB)).collect();
        assert_eq!((held.len(), pool.held()), (3, 3 * MIB));
        let mut more = Box::pin(greedy.clone().take(MIB));
        assert!(futures::poll!(&mut more).is_pending());
        assert!(other.clone().take(MIB).now_or_never().is_some());
        assert!(greedy.try_take(1000).is_some(), "what is small has room of its own");
        drop(held.pop());
        let more = more.await;
        drop((more, held));
        assert_eq!(pool.held(), 0);
        // The largest of all waits for as long as anything is held that leaves it too little, and passes alone.
        let mut small = greedy.try_take(MIB).unwrap();
        let half = small.split(MIB / 2);
        let mut largest = Box::pin(other.clone().take(4 * MIB));
        assert!(futures::poll!(&mut largest).is_pending());
        drop(small);
        assert!(futures::poll!(&mut largest).is_pending());
        drop(half);
        let largest = largest.await;
        assert_eq!(pool.held(), 4 * MIB);
        drop(largest.enlarged(0).await);
        assert_eq!(pool.held(), 0);
        assert_eq!(pool.waiting.load(Ordering::SeqCst), 0);
    }

    /// Looks as often as it is done, from the one second to the other.
    fn look(pool: &Pool, start: Instant, seconds: std::ops::Range<u64>) {
        for tick in seconds.start * 4..seconds.end * 4 {
            pool.look(start + LOOK_EVERY * tick as u32);
        }
    }

    fn is_ended(account: &Account) -> bool {
        account.end.notified().now_or_never().is_some()
    }

    #[test]
    fn who_does_not_go_on_is_ended_and_who_waits_for_us_is_not() {
        let pool = Pool::new(12 * MIB, 1);
        let [stalls, waits, idle] = [(); 3].map(|()| pool.account(Arc::default()));
        for account in [&stalls, &waits] {
            account.received(9);
            account.waits_for_rest(true);
        }
        waits.waits_for_rest(false);
        let start = Instant::now();
        look(&pool, start, 0..29);
        assert!(!is_ended(&stalls));
        look(&pool, start, 29..32);
        assert!(is_ended(&stalls) && !is_ended(&waits) && !is_ended(&idle));
    }

    #[tokio::test]
    async fn who_does_not_read_is_ended_soon_only_if_others_lack_what_it_holds() {
        let pool = Pool::new(12 * MIB, 1);
        let [greedy, other] = [(); 2].map(|()| pool.account(Arc::default()));
        let held: Vec<Hold> = std::iter::from_fn(|| greedy.try_take(MIB)).collect();
        greedy.waits_for_reader(true);
        let start = Instant::now();
        // It waits for more than its share, which nobody else keeps from it.
        let mut more = Box::pin(greedy.clone().take(MIB));
        assert!(futures::poll!(&mut more).is_pending());
        look(&pool, start, 0..5);
        assert!(!is_ended(&greedy));
        let mut wanted = Box::pin(other.clone().take(4 * MIB));
        assert!(futures::poll!(&mut wanted).is_pending());
        look(&pool, start, 5..8);
        assert!(is_ended(&greedy));
        drop((more, wanted, held));
        assert_eq!((pool.held(), pool.crowded_out.load(Ordering::SeqCst)), (0, 0));
    }

    #[test]
    fn nobody_is_ended_for_a_pause_of_this_process() {
        let pool = Pool::new(12 * MIB, 1);
        let reads = pool.account(Arc::default());
        reads.waits_for_reader(true);
        let start = Instant::now();
        look(&pool, start, 0..1);
        look(&pool, start, 100..101);
        assert!(!is_ended(&reads));
        look(&pool, start, 101..131);
        assert!(is_ended(&reads));
    }

    #[tokio::test]
    async fn who_wants_little_does_not_stand_behind_those_that_do_not_fit() {
        let pool = Pool::new(12 * MIB, 1);
        let accounts: Vec<_> = (0..60).map(|_| pool.account(Arc::default())).collect();
        let fill = |account: &Arc<Account>| std::iter::from_fn(|| account.try_take(100_000)).collect::<Vec<_>>();
        let mut held: Vec<Hold> = accounts[..50].iter().flat_map(fill).collect();
        let large: Vec<_> = (50..58).map(|n| tokio::spawn(accounts[n].clone().take(4 * MIB))).collect();
        let small = tokio::spawn(accounts[58].clone().take(100_000));
        tokio::task::yield_now().await;
        assert!(!small.is_finished());
        held.truncate(held.len() - 4);
        // Nobody looks here: it is told at once.
        let small = tokio::time::timeout(Duration::from_secs(10), small).await;
        assert!(small.is_ok());
        large.iter().for_each(|one| one.abort());
    }
}
