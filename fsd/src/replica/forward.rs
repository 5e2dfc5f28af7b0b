//! The mirror's half of a change: it ends with the change on the mirror, or with the mirror out of sync, or with this
//! server out of sync. Nothing else ends it, however long that takes, as only then may the change be acknowledged.

use super::change::is_synced;
use super::judge::Standing;
use super::state::Missed;
use super::{APPLY_PATIENCE, Replica};
use crate::peers::{CallError, Direct, Line};
use raidfs_common::error::Rejection;
use raidfs_common::id::{ChunkId, LogIndex};
use raidfs_common::limits::FORWARD_STUCK;
use raidfs_common::log::chain;
use raidfs_common::pair::CopyState;
use raidfs_common::plant::{Bug, planted};
use raidfs_common::rpc::chunks::{Applied, ChangeId, ChunkChange, ChunkServiceClient, Ordered, View};
use raidfs_common::rpc::direct::DirectServiceClient;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A forward that is late is asked after by then, and again and again, over the connection that it went by: a mirror that
/// answers there is alive, and only its disk slow.
const ASK_AFTER: Duration = Duration::from_millis(250);
/// A forward that has no answer by then ends once the mirror was put out: what a process that was killed has left of its
/// connections may look alive for longer.
const LOOK_AFTER: Duration = Duration::from_millis(20);
/// A mirror that is alive has this long, and longer while this server's disk is as slow: above [`super::DISK_STUCK`], by
/// which it accuses itself.
const SLOW_STUCK: Duration = Duration::from_secs(3);
/// The same for what the mirror makes durable before it answers: above [`super::SYNC_STUCK`].
const SYNC_SLOW_STUCK: Duration = Duration::from_secs(8);
/// A mirror that catches up does not accuse itself, and nothing is lost by beginning with it anew: it has this long.
const CATCHING_UP_SLOW_STUCK: Duration = Duration::from_millis(1200);
/// One try ends by then in any case, and is followed by another.
const TRY_MAX: Duration = Duration::from_secs(30);
/// A synced change that has no answer over the direct connection by then goes as any other, too: one of a mirror that hangs
/// is to be noticed as soon as any, and a disk that takes longer loses little by it.
const DIRECT_FIRST: Duration = Duration::from_millis(50);
/// The direct connection is made anew if it has carried no answer by then.
const DIRECT_PATIENCE: Duration = Duration::from_secs(1);
/// After a forward that failed at once.
const RETRY_PAUSE: Duration = Duration::from_millis(5);

/// How the mirror's half of a change ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forwarded {
    /// The mirror has it.
    Mirrored {
        /// What it did there.
        there: Applied,
        /// The mirror was in sync then, and did not just catch up.
        in_sync: bool,
    },
    /// The mirror is not in sync, this server is.
    Alone,
    /// The mirror has no room for it: nothing was changed there.
    Full,
    /// The mirror's copy is damaged where this writes a part of a block, and could not be mended: nothing was changed there.
    Damaged,
    /// What this writes a part of was accepted as lost there: nothing was changed there.
    Lost,
    /// The mirror has seen a cut or the end of the file by this entry, behind what this server went by.
    Behind(LogIndex),
    /// This server is not in sync any more: the change is not acknowledged.
    Evicted(Rejection),
}

/// A change as it is forwarded.
#[derive(Clone, Debug)]
pub struct Forward {
    pub turn: u8,
    pub at_least: LogIndex,
    pub id: ChangeId,
    /// What this server had applied when it ordered the change.
    pub applied: LogIndex,
    pub chunk: ChunkId,
    pub change: ChunkChange,
}

/// What one try of a forward says.
enum Try {
    End(Forwarded),
    /// The mirror knows another epoch.
    OtherEpoch,
    /// It may work the next time.
    Again(String),
    /// The mirror is not to be relied on.
    Accuse(String),
}

/// Who answers nothing.
enum Silent {
    /// The whole mirror.
    Mirror,
    /// One connection to it.
    Connection,
}

impl Replica {
    /// Forwards a change until it has ended.
    pub(super) async fn forward(self: &Arc<Self>, forward: Forward) -> Forwarded {
        // Since when one try after the other has failed. The first may have lasted for long, and tells nothing by that.
        let mut failing = None;
        loop {
            let standing = self.standing_known().await;
            if !standing.in_sync() {
                return Forwarded::Evicted(standing.wrong_epoch());
            }
            let catches_up = standing.mirror.state == CopyState::Syncing;
            if standing.mirror.state == CopyState::Stale
                || (catches_up && self.state.lock().has_failed(standing.epoch()))
            {
                return Forwarded::Alone;
            }
            let reason = match self.try_forward(&standing, &forward).await {
                Try::End(Forwarded::Full) if catches_up => "its disk is full".into(),
                Try::End(Forwarded::Damaged) if catches_up => "its copy of a chunk is damaged".into(),
                Try::End(end) => return end,
                Try::OtherEpoch => {
                    self.standing_when(APPLY_PATIENCE, |s| s.epoch() != standing.epoch()).await;
                    String::from("it does not follow the pair's epoch")
                }
                Try::Again(reason) if failing.get_or_insert_with(Instant::now).elapsed() < FORWARD_STUCK => {
                    tracing::debug!("forward to {} failed, once more: {reason}", standing.mirror.server);
                    self.standing_when(RETRY_PAUSE, |s| s.epoch() != standing.epoch()).await;
                    continue;
                }
                Try::Again(reason) | Try::Accuse(reason) => reason,
            };
            if self.standing_known().await.epoch() != standing.epoch() {
                failing = None;
                continue;
            }
            if catches_up && self.missed(standing.epoch()) == Missed::StartsOver {
                tracing::info!("{} missed a change while it caught up: {reason}", standing.mirror.server);
                return Forwarded::Alone;
            }
            if planted(Bug::GivesUpMirror) {
                return Forwarded::Alone;
            }
            self.accuse(standing.mirror.server, reason);
            // Without a quorum this lasts: the mirror may come to itself meanwhile, so it is tried again.
            self.standing_when(FORWARD_STUCK, |s| s.epoch() != standing.epoch()).await;
            failing = None;
        }
    }

    /// What is synced goes over the direct connection first, if that is free, and then also as any other, unless it was made by
    /// then; whatever it is that is made first, it is made once.
    async fn try_forward(self: &Arc<Self>, standing: &Standing, forward: &Forward) -> Try {
        let is_direct = is_synced(&forward.change) && standing.both_in_sync();
        let Some(direct) = is_direct.then(|| self.peers.direct(standing.mirror.server)).flatten() else {
            return self.try_line(standing, forward).await;
        };
        let by = self.by_me(standing, forward);
        let mut call = tokio::spawn(go_directly(direct, by, forward.clone()));
        // Only that it was made counts: all else the other way finds out, too, and knows what it means.
        let end = |there| Try::End(Forwarded::Mirrored { there, in_sync: true });
        if let Ok(made) = tokio::time::timeout(DIRECT_FIRST, &mut call).await {
            return match made {
                Ok(Some(there)) => end(there),
                _ => self.try_line(standing, forward).await,
            };
        }
        let line = self.try_line(standing, forward);
        tokio::pin!(line);
        let ended = tokio::select! {
            biased;
            made = &mut call => return match made {
                Ok(Some(there)) => end(there),
                _ => line.await,
            },
            ended = &mut line => ended,
        };
        if let Try::End(Forwarded::Mirrored { .. }) | Try::OtherEpoch = ended {
            return ended;
        }
        // What is refused there, or not answered, may be made directly a moment later.
        match tokio::time::timeout(ASK_AFTER, &mut call).await {
            Ok(Ok(Some(there))) => end(there),
            _ => ended,
        }
    }

    fn by_me(&self, standing: &Standing, forward: &Forward) -> Ordered {
        let view = View { pair: self.pair, epoch: standing.epoch(), at_least: forward.at_least, turn: forward.turn };
        Ordered { from: self.me, view, applied: forward.applied }
    }

    async fn try_line(self: &Arc<Self>, standing: &Standing, forward: &Forward) -> Try {
        let Forward { id, applied, chunk, change, .. } = forward.clone();
        let by = self.by_me(standing, forward);
        let (view, mirror) = (by.view, standing.mirror.server);
        let line = match self.peers.line(mirror) {
            Ok(line) => line,
            Err(error) => return Try::Again(chain(&error)),
        };
        let catches_up = standing.mirror.state == CopyState::Syncing;
        let patience = match is_synced(&change) {
            _ if catches_up => CATCHING_UP_SLOW_STUCK,
            true => SYNC_SLOW_STUCK,
            false => SLOW_STUCK,
        };
        let call = line.call(TRY_MAX, move |client: ChunkServiceClient, context| async move {
            client.apply(context, by, id, chunk, change).await
        });
        let begun = Instant::now();
        tokio::pin!(call);
        let put_out = async {
            tokio::time::sleep(LOOK_AFTER).await;
            self.epoch_passed(standing).await;
        };
        tokio::pin!(put_out);
        let soon = tokio::select! {
            answer = tokio::time::timeout(ASK_AFTER, &mut call) => answer,
            () = &mut put_out => return Try::OtherEpoch,
        };
        let answer = match soon {
            Ok(answer) => answer,
            Err(_) => tokio::select! {
                answer = &mut call => answer,
                silent = self.silent(&line, view) => match silent {
                    Silent::Mirror => Err(CallError::Timeout(mirror)),
                    Silent::Connection => {
                        line.make_anew();
                        return Try::Again("a connection carried nothing any more".into());
                    }
                },
                () = self.outlasted(begun, patience) => return Try::Accuse("its disk is slower than its mirror's".into()),
                () = &mut put_out => return Try::OtherEpoch,
                () = self.attempt_failed(standing), if catches_up => return Try::Again("it has missed another change".into()),
            },
        };
        judge_answer(answer, applied, !catches_up)
    }

    /// Returns once the mirror does not answer even what costs it nothing; or only this connection does not carry it, as
    /// after a cut that has healed, when TCP may wait for seconds before it sends again.
    async fn silent(&self, line: &Arc<Line<ChunkServiceClient>>, view: View) -> Silent {
        let me = self.me;
        let short = FORWARD_STUCK.saturating_sub(ASK_AFTER);
        let ask = move |client: ChunkServiceClient, context| async move { client.room(context, me, view).await };
        let ask_beside = async || match self.peers.line_beside(line) {
            Some(other) => other.call(short, ask).await.is_ok(),
            None => false,
        };
        // At once on both ways, as this is when a mirror is most often found to hang.
        let (here, mut beside) = tokio::join!(line.call(short, ask), ask_beside());
        let mut here = here.is_ok();
        while here {
            tokio::time::sleep(ASK_AFTER).await;
            here = line.call(FORWARD_STUCK, ask).await.is_ok();
            beside = here || ask_beside().await;
        }
        if beside { Silent::Connection } else { Silent::Mirror }
    }

    pub(super) async fn epoch_passed(&self, standing: &Standing) {
        while self.standing_when(SLOW_STUCK, |s| s.epoch() != standing.epoch()).await.epoch() == standing.epoch() {}
    }
}

/// Sends a change over the direct connection, which is nobody else's until there is an answer, or there will be none.
async fn go_directly(direct: Direct, by: Ordered, forward: Forward) -> Option<Applied> {
    let Forward { id, chunk, change, .. } = forward;
    let call = direct.line.call(DIRECT_PATIENCE, move |client: DirectServiceClient, context| async move {
        client.apply(context, by, id, chunk, change).await
    });
    match call.await {
        Ok(answer) => answer.ok(),
        Err(_) => {
            // It may wait there for as long as the disk does.
            direct.line.make_anew();
            None
        }
    }
}

fn judge_answer(answer: Result<Result<Applied, Rejection>, CallError>, applied: LogIndex, in_sync: bool) -> Try {
    match answer {
        Ok(Ok(there)) => Try::End(Forwarded::Mirrored { there, in_sync }),
        // The session has done with this number: with an outcome, which this server would know, or without one.
        Ok(Err(Rejection::Forgotten)) => Try::Accuse("it cannot say whether it has a change that was given up".into()),
        Ok(Err(Rejection::Full)) => Try::End(Forwarded::Full),
        Ok(Err(Rejection::Damaged)) => Try::End(Forwarded::Damaged),
        Ok(Err(Rejection::Lost)) => Try::End(Forwarded::Lost),
        Ok(Err(Rejection::WrongEpoch { .. })) => Try::OtherEpoch,
        Ok(Err(Rejection::Behind { needed })) if needed > applied => Try::End(Forwarded::Behind(needed)),
        Ok(Err(rejection @ (Rejection::DiskFailed | Rejection::Bad(_)))) => Try::Accuse(rejection.to_string()),
        Ok(Err(rejection)) => Try::Again(rejection.to_string()),
        Err(error) if error.is_gone() => Try::Accuse("its process is gone".into()),
        Err(error @ CallError::Timeout(_)) => Try::Accuse(chain(&error)),
        Err(error) => Try::Again(chain(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_that_cannot_say_whether_it_has_a_change_is_not_believed_to() {
        let judge = |answer| judge_answer(Ok(answer), LogIndex(1), true);
        assert!(matches!(judge(Ok(Applied::default())), Try::End(Forwarded::Mirrored { .. })));
        assert!(matches!(judge(Err(Rejection::Forgotten)), Try::Accuse(_)));
    }
}
