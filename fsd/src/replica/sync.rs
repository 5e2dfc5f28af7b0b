//! Making chunks durable. Callers that ask for the same chunk while it is being synced share the next sync of it.

use super::disk::rejection;
use super::tally::add;
use super::{Replica, SYNC_STUCK};
use crate::chunk::ChunkStore;
use raidfs_common::error::Rejection;
use raidfs_common::id::{ChunkId, Ino};
use raidfs_common::plant::{Bug, planted};
use raidfs_common::rpc::chunks::View;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::oneshot;

type Answer = oneshot::Sender<Result<(), Rejection>>;

/// Chunks that are being synced, each with those who wait for the next sync of it.
#[derive(Debug, Default)]
pub struct Syncs {
    running: HashMap<ChunkId, Vec<Answer>>,
}

impl Syncs {
    /// Who syncs what: the chunks that the caller has to sync now, and answers to wait for of the others.
    fn join(&mut self, chunks: Vec<ChunkId>) -> (Vec<ChunkId>, Vec<oneshot::Receiver<Result<(), Rejection>>>) {
        let mut mine = Vec::new();
        let mut others = Vec::new();
        for chunk in chunks {
            match self.running.get_mut(&chunk) {
                // The sync that runs may have begun before the caller's bytes were written.
                Some(waiting) => {
                    let (answer, answered) = oneshot::channel();
                    waiting.push(answer);
                    others.push(answered);
                }
                None => {
                    self.running.insert(chunk, Vec::new());
                    mine.push(chunk);
                }
            }
        }
        (mine, others)
    }

    /// A sync of `chunks` has ended: those that are to be synced again, and for whom.
    fn next(&mut self, chunks: &[ChunkId]) -> (Vec<ChunkId>, Vec<Answer>) {
        let mut again = Vec::new();
        let mut answers = Vec::new();
        for chunk in chunks {
            match self.running.get_mut(chunk) {
                Some(waiting) if !waiting.is_empty() => {
                    answers.append(waiting);
                    again.push(*chunk);
                }
                _ => drop(self.running.remove(chunk)),
            }
        }
        (again, answers)
    }
}

impl Replica {
    /// Makes all changes of these chunks that were acknowledged durable on this server.
    pub async fn sync(self: &Arc<Self>, view: View, mut chunks: Vec<ChunkId>) -> Result<(), Rejection> {
        self.judged(&view).await?;
        add(&self.tally.syncs, 1);
        if planted(Bug::SyncsNothing) {
            return Ok(());
        }
        chunks.sort_unstable();
        chunks.dedup();
        let (mine, others) = self.syncs.lock().join(chunks);
        let (answer, answered) = oneshot::channel();
        if mine.is_empty() {
            let _ = answer.send(Ok(()));
        } else {
            tokio::spawn(self.clone().run_syncs(mine, answer));
        }
        for waits in std::iter::once(answered).chain(others) {
            waits.await.unwrap_or(Err(Rejection::Away))?;
        }
        // Every in-sync server must answer under one epoch, and it must still be the epoch.
        self.judge_now(&view).map(drop)
    }

    /// Makes all changes of a file (or, without one, of all files) that were acknowledged durable on this server.
    pub async fn sync_whole(self: &Arc<Self>, view: View, file: Option<Ino>) -> Result<(), Rejection> {
        self.judged(&view).await?;
        add(&self.tally.syncs, 1);
        let sync = move |store: &dyn ChunkStore| match file {
            Some(ino) => store.sync_file(ino),
            None => store.sync_all(),
        };
        self.disk(SYNC_STUCK, "sync chunks", sync).await.map_err(rejection)?;
        self.judge_now(&view).map(drop)
    }

    async fn run_syncs(self: Arc<Self>, chunks: Vec<ChunkId>, answer: Answer) {
        let (mut chunks, mut answers) = (chunks, vec![answer]);
        while !chunks.is_empty() {
            let batch = chunks.clone();
            let synced = self.disk(SYNC_STUCK, "sync chunks", move |store| store.sync(&batch)).await.map_err(rejection);
            for answer in answers {
                let _ = answer.send(synced.clone());
            }
            (chunks, answers) = self.syncs.lock().next(&chunks);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sync_that_runs_is_not_joined_but_the_next_is_shared() {
        let chunk = |n| ChunkId { ino: Ino(n), index: 0 };
        let mut syncs = Syncs::default();
        assert_eq!(syncs.join(vec![chunk(1), chunk(2)]).0, [chunk(1), chunk(2)]);
        let (mine, others) = syncs.join(vec![chunk(2), chunk(3)]);
        assert_eq!((mine, others.len()), (vec![chunk(3)], 1));
        let (mine, others) = syncs.join(vec![chunk(2)]);
        assert_eq!((mine, others.len()), (vec![], 1));
        let (again, answers) = syncs.next(&[chunk(1), chunk(2)]);
        assert_eq!((again, answers.len()), (vec![chunk(2)], 2));
        assert_eq!(syncs.next(&[chunk(2)]).0, []);
        assert_eq!(syncs.next(&[chunk(3)]).0, []);
        assert!(syncs.running.is_empty());
    }
}
