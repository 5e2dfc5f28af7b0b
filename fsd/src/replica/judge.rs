//! May a request be served? By the board: the lease, what is applied, the pair's epoch, who is in sync.

use super::state::in_sync;
use super::{APPLY_PATIENCE, Replica};
use crate::board::Notice;
use raidfs_common::error::Rejection;
use raidfs_common::id::{Epoch, ServerId, SessionId};
use raidfs_common::limits::CHUNK_BYTES;
use raidfs_common::pair::{ChunkPlace, CopyState, Member, Pair};
use raidfs_common::plant::{Bug, planted};
use raidfs_common::rpc::chunks::{ChunkChange, View};
use std::time::{Duration, Instant};

/// What is known of the pair at one moment.
#[derive(Clone, Debug)]
pub struct Standing {
    pub notice: Notice,
    pub pair: Pair,
    pub mirror: Member,
    in_sync: bool,
}

impl Standing {
    pub fn epoch(&self) -> Epoch {
        self.pair.epoch
    }

    /// Whether this server's copy is in sync, in this life of it.
    pub fn in_sync(&self) -> bool {
        self.in_sync
    }

    /// Whether the mirror's copy is in sync.
    pub fn mirror_in_sync(&self) -> bool {
        self.mirror.state == CopyState::InSync
    }

    /// Whether both copies are in sync, this one in this life of the server.
    pub fn both_in_sync(&self) -> bool {
        self.in_sync() && self.mirror_in_sync()
    }

    /// Who orders the changes that `view` is about.
    pub fn primary(&self, view: &View) -> Option<ServerId> {
        self.pair.primary(ChunkPlace { pair: view.pair, turn: view.turn })
    }

    /// The answer to a request of another epoch.
    pub fn wrong_epoch(&self) -> Rejection {
        Rejection::WrongEpoch { pair: self.pair.id, current: self.pair.epoch }
    }

    /// How this server addresses its mirror.
    pub fn view(&self) -> View {
        View { pair: self.pair.id, epoch: self.pair.epoch, at_least: raidfs_common::id::LogIndex(0), turn: 0 }
    }
}

impl Replica {
    /// What is known now; None until the namespace side knows the pair.
    pub(super) fn standing(&self) -> Option<Standing> {
        let notice = self.board.notice();
        let pair = notice.pairs.iter().find(|p| p.id == self.pair)?.clone();
        let mirror = *pair.mirror_of(self.me)?;
        let life = self.board.incarnation;
        let in_sync = in_sync(self.me, life, &pair);
        // In one step: who sees the new epoch, on whatever thread, finds no outcome of before it.
        let mut state = self.state.lock();
        if state.see(self.me, life, &pair) {
            self.once.lock().forget_made();
            if in_sync {
                self.shortage_is_over();
            } else {
                self.out_for_want_of_room();
            }
        }
        drop(state);
        Some(Standing { notice, pair, mirror, in_sync })
    }

    /// The same, waited for.
    pub(super) async fn standing_known(&self) -> Standing {
        let mut pairs = self.board.subscribe_pairs();
        loop {
            if let Some(standing) = self.standing() {
                return standing;
            }
            // The board outlives its subscribers: `self` holds it.
            let _ = pairs.changed().await;
        }
    }

    /// Waits until what is known of the pair satisfies `condition`, at most for `patience`; what is known then, either way.
    pub(super) async fn standing_when(&self, patience: Duration, condition: impl Fn(&Standing) -> bool) -> Standing {
        let mut pairs = self.board.subscribe_pairs();
        let waited = async {
            loop {
                pairs.mark_unchanged();
                if self.standing().is_some_and(|s| condition(&s)) {
                    return;
                }
                let _ = pairs.changed().await;
            }
        };
        let _ = tokio::time::timeout(patience, waited).await;
        self.standing_known().await
    }

    /// Judges a client's request, waiting a little for what it says that this server must have applied.
    pub(super) async fn judged(&self, view: &View) -> Result<Standing, Rejection> {
        self.caught_up(view).await?;
        self.judge_now(view)
    }

    /// Waits until what `view` names is applied here.
    pub(super) async fn caught_up(&self, view: &View) -> Result<(), Rejection> {
        if self.board.notice().applied < view.at_least && !planted(Bug::WaitsForNothing) {
            self.board.applied(view.at_least, APPLY_PATIENCE).await?;
        }
        let known = self.standing().map_or(Epoch(0), |s| s.epoch());
        if known < view.epoch {
            self.standing_when(APPLY_PATIENCE, |s| s.epoch() >= view.epoch).await;
        }
        Ok(())
    }

    /// Judges a client's request by what is known now.
    pub(super) fn judge_now(&self, view: &View) -> Result<Standing, Rejection> {
        let standing = self.standing().ok_or(Rejection::Away)?;
        if standing.notice.lease_until <= Instant::now() && !planted(Bug::ServesWithoutLease) {
            return Err(Rejection::NoQuorum);
        }
        self.judge_epoch(&standing, view)?;
        if self.is_closed() {
            return Err(Rejection::Away);
        }
        let serves = standing.in_sync() || planted(Bug::ServesSyncing) && self.catches_up(&standing);
        if !serves && !planted(Bug::ServesStale) {
            return Err(Rejection::NotInCharge);
        }
        Ok(standing)
    }

    /// Judges a request of the mirror, which needs no lease: it has one, and both stand under one epoch.
    pub(super) fn judge_mirror(&self, from: ServerId, view: &View) -> Result<Standing, Rejection> {
        let standing = self.standing().ok_or(Rejection::Away)?;
        self.judge_epoch(&standing, view)?;
        if standing.mirror.server != from {
            return Err(Rejection::Bad(format!("{from} is not in this pair")));
        }
        Ok(standing)
    }

    fn judge_epoch(&self, standing: &Standing, view: &View) -> Result<(), Rejection> {
        if view.pair != self.pair {
            return Err(Rejection::NotInCharge);
        }
        if view.epoch != standing.epoch() && !planted(Bug::ServesStale) {
            return Err(standing.wrong_epoch());
        }
        Ok(())
    }
}

/// Refuses changes of a mount session that is not open (any more).
pub fn check_session(notice: &Notice, session: SessionId) -> Result<(), Rejection> {
    match &notice.sessions {
        Some(open) if session != SessionId::CLUSTER && !open.contains(&session) && !planted(Bug::OldSessionWrites) => {
            Err(Rejection::NoSession)
        }
        _ => Ok(()),
    }
}

/// Refuses ranges that do not end within a chunk.
pub fn check_range(offset: u32, length: usize) -> Result<(), Rejection> {
    if u64::from(offset) + length as u64 > CHUNK_BYTES {
        return Err(Rejection::Bad(format!("{length} bytes from {offset} do not end within a chunk")));
    }
    Ok(())
}

/// The range of a change, checked.
pub fn range_of(change: &ChunkChange) -> Result<(u32, u32), Rejection> {
    let (offset, length) = match change {
        ChunkChange::Write { offset, data, .. } => (*offset, data.0.len()),
        ChunkChange::Punch { offset, length } | ChunkChange::Allocate { offset, length } => (*offset, *length as usize),
    };
    check_range(offset, length)?;
    Ok((offset, length as u32))
}
