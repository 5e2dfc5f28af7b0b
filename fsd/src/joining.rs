//! A voter asks whether its data directory is the one that the cluster knows, again and again: a disk may be replaced while
//! its server hangs. Whoever leads answers. Until somebody does, a voter that took part before goes on as it was, and one
//! that never did waits. Driven by the start of a server or the witness.

use crate::consensus::log::LogStore;
use crate::consensus::node::{Machine, Node, Transport};
use crate::peers::{CallError, Peers};
use raidfs_common::complaints::Complaints;
use raidfs_common::id::ServerId;
use raidfs_common::rpc::peer::{Joining, PeerServiceClient, Started};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

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
    let mut complaints = Complaints::new();
    loop {
        let answers = answers(peers, voters, (me, life)).await;
        for (voter, why) in refusals(&answers) {
            if complaints.due(voter, Instant::now()) {
                tracing::warn!("{voter} does not let {me} take part: {why}");
            }
        }
        let known = match first(answers) {
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

async fn answers(
    peers: &Peers,
    voters: &[ServerId],
    (me, life): (ServerId, Started),
) -> Vec<(ServerId, Result<Joining, CallError>)> {
    let asked = voters.iter().filter(|voter| **voter != me).map(|voter| async move {
        let call = |client: PeerServiceClient, context| async move { client.join(context, me, life).await };
        (*voter, peers.call(*voter, PATIENCE, call).await)
    });
    futures::future::join_all(asked).await
}

/// The first that says more than to ask again.
fn first(answers: Vec<(ServerId, Result<Joining, CallError>)>) -> Joining {
    let mut told = answers.into_iter().filter_map(|(_, answer)| answer.ok());
    told.find(|answer| *answer != Joining::Later).unwrap_or(Joining::Later)
}

/// Who has not even let us ask, and why, in its own words.
fn refusals(answers: &[(ServerId, Result<Joining, CallError>)]) -> impl Iterator<Item = (ServerId, &str)> {
    answers.iter().filter_map(|(voter, answer)| Some((*voter, answer.as_ref().err()?.refusal()?)))
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

#[cfg(test)]
mod tests {
    use super::*;
    use raidfs_common::config::{Config, Durability};
    use raidfs_common::id::Incarnation;
    use raidfs_common::rpc::Welcome;
    use raidfs_common::wire;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn what_others_say_who_refuse_is_heard_and_nothing_else_is_taken_for_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let config = Config {
            cluster: "home".into(),
            pairs: vec![[listener.local_addr().unwrap(), gone]],
            witness: gone,
            durability: Durability::Relaxed,
            io_timeout: PATIENCE,
            scrub_every: None,
        };
        let refusing = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            wire::read_hello(&mut stream).await.unwrap();
            wire::welcome(&mut stream, &Welcome::No("go away".into())).await.unwrap();
        };
        let peers = Peers::new(&config, ServerId(2));
        let life = Started { incarnation: Incarnation(1), power_lost: false, empty: false };
        let voters = config.voters();
        let (answers, ()) = tokio::join!(answers(&peers, &voters, (ServerId(2), life)), refusing);
        assert_eq!(answers.len(), 2, "{answers:?}");
        assert_eq!(refusals(&answers).collect::<Vec<_>>(), [(ServerId(1), "go away")]);
        assert_eq!(first(answers), Joining::Later);
    }
}
