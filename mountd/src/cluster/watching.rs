//! Two small tasks for each server: one keeps a long poll for changes of the pairs' states, so that a new epoch is
//! known as soon as the first server has applied it; the other fetches the states when somebody needs newer ones, and
//! otherwise now and then, which also shows that the server lives.

use super::core::Core;
use futures::future::join_all;
use raidfs_common::id::{LogIndex, ServerId};
use raidfs_common::namespace::{Answer, Query};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// A server is asked at least this often.
const ASK_EVERY: Duration = Duration::from_millis(300);
/// A fetch that takes longer has failed, and the connection is cut if it was silent.
const FETCH_PATIENCE: Duration = Duration::from_millis(750);
/// A server that has not answered by then does not lead, or leads nobody.
const CATCH_UP_PATIENCE: Duration = Duration::from_millis(300);
/// Longer than any server holds a long poll.
const POLL_PATIENCE: Duration = Duration::from_secs(30);
/// A long poll that failed, or that came back at once, is not repeated before this.
const POLL_PAUSE: Duration = Duration::from_millis(20);

/// Starts both tasks for every server; they end with the set.
pub fn start(core: &Arc<Core>, tasks: &mut JoinSet<()>) {
    for server in core.links.keys().copied() {
        tasks.spawn(poll(Arc::clone(core), server));
        tasks.spawn(fetch_when_wanted(Arc::clone(core), server));
    }
}

async fn poll(core: Arc<Core>, server: ServerId) {
    let mut presence = core.attendance.changes();
    loop {
        if !core.attendance.is_here(server) {
            if presence.changed().await.is_err() {
                return;
            }
            continue;
        }
        let known = core.pairs.now().version;
        let deadline = Instant::now() + POLL_PATIENCE;
        let answer =
            core.link(server).names(false, deadline, |c, context| async move { c.watch(context, known).await }).await;
        match answer {
            Ok(Ok(seen)) if seen.pairs_version > core.pairs.now().version => fetch(&core, server).await,
            _ => {}
        }
        tokio::time::sleep(POLL_PAUSE).await;
    }
}

async fn fetch_when_wanted(core: Arc<Core>, server: ServerId) {
    let mut wanted = core.pairs.wanted();
    loop {
        fetch(&core, server).await;
        let _ = tokio::time::timeout(ASK_EVERY, wanted.changed()).await;
    }
}

/// Asks one server for the pairs' states.
async fn fetch(core: &Core, server: ServerId) {
    let deadline = Instant::now() + FETCH_PATIENCE;
    let ask = core
        .link(server)
        .names(true, deadline, |client, context| async move { client.query(context, LogIndex(0), Query::Pairs).await });
    // What else the answer says is only taken notice of with news: a mere sign of life must not make later questions
    // wait for the newest entries.
    if let Ok(Ok((seen, Ok(Answer::Pairs(pairs))))) = ask.await
        && core.pairs.learn(pairs)
    {
        core.notice(seen);
    }
}

/// Takes notice of what the leader has applied; if there is none, of the furthest index of any server. Returns whether
/// the leader said it.
pub async fn catch_up(core: &Core) -> bool {
    let deadline = Instant::now() + CATCH_UP_PATIENCE;
    if core.newest(deadline).await.is_ok() {
        return true;
    }
    let here = core.links.iter().filter(|(server, _)| core.attendance.is_here(**server));
    let asks =
        here.map(|(_, link)| {
            link.names(true, deadline, |client, context| async move {
                client.query(context, LogIndex(0), Query::Pairs).await
            })
        });
    for (seen, _) in join_all(asks).await.into_iter().flatten().flatten() {
        core.notice(seen);
    }
    false
}
