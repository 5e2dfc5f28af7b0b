//! Room for requests and answers: a server keeps so many bytes of them, and reads no more from a connection that has its share
//! until some of it is given back. Each connection has an [`Account`]; what is held is a [`Hold`], from when a frame's length
//! is known until its answer was written, or dropped. [`crate::budget`] decides.
//!
//! Nobody who holds room waits for more of it: what asks for a large answer gives back what its own few bytes take first.

use crate::budget::{OWN_BYTES, Progress, WHOLE_FRAME_COUNTS, fits, weight};
use crate::complaints::Complaints;
use bytes::Bytes;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// The connections are looked at so often. What a wakeup has missed waits no longer.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What connections of one kind share.
#[derive(Debug)]
pub struct Pool {
    most: usize,
    header_weight: usize,
    held: AtomicUsize,
    waiting: AtomicUsize,
    room: Notify,
    watched: Mutex<Vec<Watched>>,
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
            waiting: AtomicUsize::new(0),
            room: Notify::new(),
            watched: Mutex::default(),
            complaints: Mutex::new(Complaints::new()),
        })
    }

    /// For a connection that begins, and is told by `end` that it has to end.
    pub fn account(self: &Arc<Self>, end: Arc<Notify>) -> Arc<Account> {
        let account = Arc::new(Account {
            pool: self.clone(),
            own: AtomicUsize::new(0),
            shared: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            room: Notify::new(),
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
        let crowded = self.waiting.load(Ordering::Relaxed) > 0;
        let mut ended = 0;
        self.watched.lock().retain_mut(|watched| {
            let Some(account) = watched.account.upgrade() else { return false };
            let crowded = crowded && account.shared.load(Ordering::Relaxed) > 0;
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
        if crowded {
            self.room.notify_waiters();
        }
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
    waiting: AtomicUsize,
    room: Notify,
    incoming: Flow,
    outgoing: Flow,
    end: Arc<Notify>,
}

impl Account {
    /// The connection waits for this server, not for its other end, until it is read from or written to again.
    pub fn waits_for_us(&self) {
        self.incoming.is_waited_for(false);
        self.outgoing.is_waited_for(false);
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
        let hold = |shared| Some(Hold { account: self.clone(), bytes, shared });
        if self.own.fetch_add(bytes, Ordering::SeqCst) + bytes <= OWN_BYTES {
            return hold(false);
        }
        self.own.fetch_sub(bytes, Ordering::SeqCst);
        let held = self.shared.load(Ordering::SeqCst);
        let before = self.pool.held.fetch_add(bytes, Ordering::SeqCst);
        if fits(held, bytes, self.pool.most.saturating_sub(before)) {
            self.shared.fetch_add(bytes, Ordering::SeqCst);
            return hold(true);
        }
        self.pool.held.fetch_sub(bytes, Ordering::SeqCst);
        None
    }

    /// Room for so many bytes, once there is some. Who waits must hold none.
    pub async fn take(self: Arc<Self>, bytes: usize) -> Hold {
        if let Some(hold) = self.try_take(bytes) {
            return hold;
        }
        let _waits = Waits::begin(&self);
        loop {
            let (own, all) = (self.room.notified(), self.pool.room.notified());
            tokio::pin!(own, all);
            own.as_mut().enable();
            all.as_mut().enable();
            if let Some(hold) = self.try_take(bytes) {
                // There may be room for another one, too.
                self.pool.room.notify_one();
                return hold;
            }
            tokio::select! {
                () = own => {}
                () = all => {}
            }
        }
    }
}

/// Somebody waits for room; who gives some back looks for it.
struct Waits<'a>(&'a Account);

impl Waits<'_> {
    fn begin(account: &Account) -> Waits<'_> {
        account.waiting.fetch_add(1, Ordering::SeqCst);
        account.pool.waiting.fetch_add(1, Ordering::SeqCst);
        Waits(account)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
        self.0.pool.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Room that is held, given back when dropped.
#[derive(Debug)]
pub struct Hold {
    account: Arc<Account>,
    bytes: usize,
    shared: bool,
}

impl Hold {
    /// Takes a part of it away, to be given back by itself.
    #[must_use]
    pub(crate) fn split(&mut self, bytes: usize) -> Hold {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Hold { account: self.account.clone(), bytes, shared: self.shared }
    }

    /// Gives it back for one that is larger by so much, which may have to be waited for.
    pub async fn enlarged(self, more: usize) -> Hold {
        let (account, bytes) = (self.account.clone(), self.bytes + more);
        drop(self);
        account.take(bytes).await
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let Account { pool, own, shared, waiting, room, .. } = &*self.account;
        if self.shared {
            shared.fetch_sub(self.bytes, Ordering::SeqCst);
            pool.held.fetch_sub(self.bytes, Ordering::SeqCst);
            if pool.waiting.load(Ordering::SeqCst) > 0 {
                pool.room.notify_one();
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

    #[test]
    fn who_does_not_go_on_is_ended_and_who_waits_for_us_is_not() {
        let pool = Pool::new(12 * MIB, 1);
        let (stalls, waits, idle) =
            (pool.account(Arc::default()), pool.account(Arc::default()), pool.account(Arc::default()));
        for account in [&stalls, &waits] {
            account.received(9);
            account.waits_for_rest(true);
        }
        waits.waits_for_us();
        let start = Instant::now();
        for seconds in [1, 29] {
            pool.look(start + Duration::from_secs(seconds));
            assert!(stalls.end.notified().now_or_never().is_none());
        }
        pool.look(start + Duration::from_secs(31));
        assert!(stalls.end.notified().now_or_never().is_some());
        assert!(waits.end.notified().now_or_never().is_none() && idle.end.notified().now_or_never().is_none());
        // A reader that does not read is ended as soon as others want what it holds.
        let hold = idle.try_take(MIB).unwrap();
        idle.waits_for_reader(true);
        pool.look(start + Duration::from_secs(40));
        assert!(idle.end.notified().now_or_never().is_none());
        let wants = Waits::begin(&waits);
        pool.look(start + Duration::from_secs(41));
        assert!(idle.end.notified().now_or_never().is_some());
        drop((wants, hold));
    }
}
