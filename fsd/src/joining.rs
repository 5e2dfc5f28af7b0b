//! A voter asks whether its data directory is the one that the cluster knows, again and again: a disk may be replaced while
//! its server hangs. Whoever leads answers. Until somebody does, a voter that took part before goes on as it was, and one
//! that never did waits. Driven by the start of a server or the witness.

use crate::consensus::log::LogStore;
use crate::consensus::node::{Machine, Node, Transport};
use crate::peers::Peers;
use raidfs_common::id::ServerId;
use raidfs_common::rpc::peer::{Joining, PeerServiceClient, Started};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Between two questions, until there is an answer;
const ASK_EVERY: Duration = Duration::from_millis(50);
/// and after there was one.
const ASK_AGAIN: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(1);

/// Asks for ever; returns if this life is refused. `joined` is set once it is known.
pub async fn ask<L, M, T>(
    peers: &Peers,
    voters: &[ServerId],
    (me, life): (ServerId, Started),
    node: &Arc<Node<L, M, T>>,
    joined: &AtomicBool,
) where
    L: LogStore + Send + 'static,
    M: Machine,
    T: Transport,
{
    loop {
        let known = match answer(peers, voters, (me, life)).await {
            Joining::Refused => return,
            Joining::Known { term, last } => node.join(term, last),
            // Who leads was found by a quorum to be known.
            Joining::Later => node.status().leads,
        };
        if known {
            joined.store(true, Ordering::Relaxed);
        }
        tokio::time::sleep(if known { ASK_AGAIN } else { ASK_EVERY }).await;
    }
}

async fn answer(peers: &Peers, voters: &[ServerId], (me, life): (ServerId, Started)) -> Joining {
    let asked = voters.iter().filter(|voter| **voter != me).map(|voter| async move {
        let call = |client: PeerServiceClient, context| async move { client.join(context, me, life).await };
        peers.call(*voter, PATIENCE, call).await.unwrap_or(Joining::Later)
    });
    let answers = futures::future::join_all(asked).await;
    answers.into_iter().find(|answer| *answer != Joining::Later).unwrap_or(Joining::Later)
}

/// What is said when this life is refused, and what to do about it. `empty`: nothing was ever brought to the directory.
pub fn refusal(me: ServerId, dir: &std::path::Path, empty: bool) -> String {
    let dir = dir.display();
    if empty {
        format!(
            "{me} has another data directory than {dir}, which is new, as far as the cluster knows: if its disk was replaced, say \
             `raidfs replace {me}` and start it again; if not, give it the directory that it has had"
        )
    } else {
        format!(
            "{me} has another data directory than {dir} by now, which was replaced, or is an older copy of the one that it has: give \
             it that one, or say `raidfs replace {me}` and start it with an empty one"
        )
    }
}
