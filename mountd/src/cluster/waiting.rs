//! One chunk operation's patience: between tries it waits for news of the pairs or of the connections, and only
//! otherwise for a pause; never past its deadline.

use super::core::Core;
use super::pairs::Known;
use super::retry::{Pauses, Retry};
use raidfs_common::error::{FsError, Rejection};
use raidfs_common::id::{Incarnation, PairId, ServerId};
use raidfs_common::pair::Pair;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// News arrive by themselves; these pauses are for what makes no news, such as a server that is overloaded.
const PAUSES: Pauses = Pauses { shortest: Duration::from_millis(2), longest: Duration::from_millis(40) };

/// What is left of an operation's time, and what it has seen.
pub struct Waiting<'a> {
    core: &'a Core,
    retry: Retry,
    states: watch::Receiver<Arc<Known>>,
    presence: watch::Receiver<u64>,
}

impl<'a> Waiting<'a> {
    /// For an operation that begins now.
    pub fn new(core: &'a Core) -> Waiting<'a> {
        Waiting {
            core,
            retry: Retry::until(core.deadline(), PAUSES, core.seed()),
            states: core.pairs.subscribe(),
            presence: core.attendance.changes(),
        }
    }

    /// What is known of the pairs now; later news wake a [`Waiting::pause`].
    pub fn known(&mut self) -> Arc<Known> {
        self.presence.mark_unchanged();
        Arc::clone(&self.states.borrow_and_update())
    }

    /// When to give up.
    pub fn deadline(&self) -> Instant {
        self.retry.deadline()
    }

    /// Asks for newer states, and returns once there are some, a connection has come or gone, or a short pause is over.
    pub async fn pause(&mut self) -> Result<(), FsError> {
        if self.core.is_over() {
            return Err(FsError::Io);
        }
        let pause = self.retry.pause(Instant::now()).ok_or(FsError::Io)?;
        self.core.pairs.want();
        tokio::select! {
            _ = self.states.changed() => self.retry.progress(),
            _ = self.presence.changed() => {}
            () = tokio::time::sleep(pause) => {}
        }
        Ok(())
    }

    /// Returns once `asked` in the life that `pair` knows of is not in charge any more, by what `in_charge` says of
    /// the pair's newest state.
    pub async fn superseded(&self, pair: &Pair, asked: ServerId, in_charge: impl Fn(&Pair) -> bool + Send) {
        let life = incarnation(pair, asked);
        let mut states = self.core.pairs.subscribe();
        let replaced = |known: &Arc<Known>| {
            let newest = known.pair(pair.id);
            newest.is_some_and(|p| p.epoch > pair.epoch && (incarnation(p, asked) != life || !in_charge(p)))
        };
        // The sender lives as long as the core that we borrow.
        let _ = states.wait_for(replaced).await;
    }
}

fn incarnation(pair: &Pair, server: ServerId) -> Option<Incarnation> {
    pair.member(server).map(|m| m.incarnation)
}

/// What a rejection of a chunk request means for the operation: go on (after a pause), or fail.
pub fn weigh(core: &Core, pair: PairId, server: ServerId, rejection: &Rejection) -> Result<(), FsError> {
    match rejection {
        Rejection::Lost => Err(FsError::Io),
        Rejection::NoSession => {
            core.session_lost();
            Err(FsError::Io)
        }
        Rejection::Full => Err(FsError::NoSpace),
        // Somebody unlinked it while its bytes were on their way: that is no trouble of the cluster's.
        Rejection::Gone => Err(FsError::Stale),
        Rejection::Forgotten | Rejection::Bad(_) => {
            tracing::error!("{server} refuses a request about chunks of {pair} for good: {rejection}");
            Err(FsError::Io)
        }
        _ => Ok(()),
    }
}
