//! The way to the chunk store: on a thread that may block, watched for being stuck ([`super::strain`]), and reported when
//! it fails.

use super::Replica;
use crate::chunk::{ChunkError, ChunkStore};
use crate::identity::IdentityError;
use raidfs_common::error::Rejection;
use raidfs_common::log::chain;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Who is put out so soon after its disk had no room is put out for that.
const LATELY: Duration = Duration::from_secs(5);

/// What a server's disk said no to.
#[derive(Debug)]
pub(super) struct Trouble {
    text: String,
    /// It was a shortage, and no fault of the disk: it is over once the copy is in sync again.
    passes: bool,
}

/// Writes down that what this life acknowledged may be missing.
pub type DoubtLife = Box<dyn Fn() -> Result<(), IdentityError> + Send + Sync>;

impl Replica {
    /// Does disk work on a thread that may block. If it takes longer than `limit` and the mirror is better off, or fails
    /// in a way that leaves the copy in doubt, the server accuses itself; the work is waited for in any case.
    pub(super) async fn disk<T: Send + 'static>(
        self: &Arc<Self>,
        limit: Duration,
        what: &'static str,
        work: impl FnOnce(&dyn ChunkStore) -> Result<T, ChunkError> + Send + 'static,
    ) -> Result<T, ChunkError> {
        // It ends with the work, also if nobody waits for that any more.
        let operation = self.strain.begin(Instant::now(), limit, what);
        let watched = move |store: &dyn ChunkStore| {
            let _operation = operation;
            work(store)
        };
        self.disk_at_leisure(what, watched).await
    }

    /// The same for background work, which is not watched for being stuck: how long it takes says how much there was to do,
    /// or that a disk has trouble with a place that nobody asks for.
    pub(super) async fn disk_at_leisure<T: Send + 'static>(
        self: &Arc<Self>,
        what: &'static str,
        work: impl FnOnce(&dyn ChunkStore) -> Result<T, ChunkError> + Send + 'static,
    ) -> Result<T, ChunkError> {
        let store = self.store.clone();
        let job = tokio::task::spawn_blocking(move || work(&*store));
        let result = job.await.unwrap_or_else(|join| {
            let source = io::Error::other(format!("the chunk store gave up: {join}"));
            Err(ChunkError::Store { action: what, source })
        });
        if let Err(error) = &result {
            self.met(error).await;
        }
        result
    }

    /// Reports what the store could not do, if it was the disk's fault; returns once the next life would know of it.
    pub(super) async fn met(self: &Arc<Self>, error: &ChunkError) {
        if matches!(error, ChunkError::Full { .. }) {
            *self.lacked_room.lock() = Some(Instant::now());
        }
        if is_disk(error) {
            self.disk_failed(chain(error), error.is_shortage());
            self.doubt_life().await;
        }
    }

    /// Says what is to be called before anybody is told that a write or sync of the store failed. It may block.
    pub fn doubt_life_by(&self, doubt: DoubtLife) {
        let _ = self.doubts_life.set(doubt);
    }

    /// If something may be missing in the store, has that written down for the next life: a mount that retries a sync must
    /// not be told by it that all is well. Returns once that is done.
    async fn doubt_life(self: &Arc<Self>) {
        if !self.store.is_in_doubt() {
            return;
        }
        let doubt = || async {
            let replica = self.clone();
            let noted = move || replica.doubts_life.get().map_or(Ok(()), |doubt| doubt());
            match tokio::task::spawn_blocking(noted).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!("{}; the next start will not know it", chain(&error)),
                Err(error) => tracing::error!("cannot note that the disk failed: {error}"),
            }
        };
        self.life_doubted.get_or_init(doubt).await;
    }

    /// Remembers and reports a failure of the disk.
    fn disk_failed(self: &Arc<Self>, text: String, passes: bool) {
        let first = {
            let mut trouble = self.trouble.lock();
            let passes = passes && trouble.as_ref().is_none_or(|before| before.passes);
            trouble.replace(Trouble { text: text.clone(), passes }).is_none()
        };
        if first {
            tracing::error!("{text}; this server takes itself out of its pair");
        }
        self.accuse(self.me, text);
    }

    /// What its disk said no to, if that is not over.
    pub(super) fn disk_error(&self) -> Option<String> {
        self.trouble.lock().as_ref().map(|trouble| trouble.text.clone())
    }

    /// The copy is not in sync any more, or still not: if that is for want of room, somebody has to make some.
    pub(super) fn out_for_want_of_room(&self) {
        if self.lacked_room.lock().is_some_and(|at| at.elapsed() < LATELY) {
            let text = "no room is left on it; once there is, its copy catches up by itself".to_owned();
            self.trouble.lock().get_or_insert(Trouble { text, passes: true });
        }
    }

    /// The copy is in sync again.
    pub(super) fn shortage_is_over(&self) {
        drop(self.trouble.lock().take_if(|trouble| trouble.passes));
    }
}

/// Whether the disk failed, as opposed to refusing, or holding damaged bytes.
pub fn is_disk(error: &ChunkError) -> bool {
    matches!(error, ChunkError::Disk { .. } | ChunkError::Store { .. } | ChunkError::Poisoned(_))
}

/// What a caller over the wire is told of a failure.
pub fn rejection(error: ChunkError) -> Rejection {
    match error {
        ChunkError::Damaged { .. } | ChunkError::Footer { .. } => Rejection::Damaged,
        ChunkError::Lost { .. } => Rejection::Lost,
        ChunkError::Full { .. } => Rejection::Full,
        ChunkError::Invalid { .. } => Rejection::Bad(chain(&error)),
        ChunkError::Disk { .. } | ChunkError::Store { .. } | ChunkError::Poisoned(_) => Rejection::DiskFailed,
    }
}
