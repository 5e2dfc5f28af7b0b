//! Chunks of files that ended while this server could not see it: looked for after a whole state was taken from another
//! server, and after an unclean start (rule 17). Everything else is reaped as the log says it.

use crate::board::{Board, Doom};
use crate::chunk::{ChunkError, ChunkStore};
use crate::machine::NamesMachine;
use raidfs_common::error::FsError;
use raidfs_common::id::{Ino, LogIndex};
use raidfs_common::namespace::Query;
use std::sync::Arc;
use std::time::{Duration, Instant};

const PAGE: usize = 4096;
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// Sweeps now if `first`, and whenever the state was replaced.
pub async fn run(machine: Arc<NamesMachine>, board: Arc<Board>, chunks: Arc<dyn ChunkStore>, first: bool) {
    let mut replaced = machine.watch_replaced();
    let mut due = first;
    loop {
        if !due && replaced.changed().await.is_err() {
            return;
        }
        // Only a state that a leader speaks of knows of all files: what this server has may be from long ago.
        let index = caught_up(&board).await;
        if machine.reach(index, Duration::from_secs(60)).await.is_err() {
            due = true;
            continue;
        }
        let (names, dooms, store) = (machine.clone(), board.clone(), chunks.clone());
        match tokio::task::spawn_blocking(move || sweep(&names, &dooms, store.as_ref(), index)).await {
            Ok(Ok(0)) => due = false,
            Ok(Ok(found)) => {
                tracing::info!("{found} files ended while this server was away; their chunks are removed");
                due = false;
            }
            Ok(Err(error)) => {
                tracing::warn!("cannot look for chunks of ended files: {}", raidfs_common::log::chain(&error));
                due = true;
                tokio::time::sleep(TRY_AGAIN).await;
            }
            Err(_) => return,
        }
    }
}

/// Waits for a lease, and answers an entry that had been agreed by then.
async fn caught_up(board: &Board) -> LogIndex {
    let mut notices = board.subscribe();
    match notices.wait_for(|n| n.lease_until > Instant::now() && n.durable > LogIndex(0)).await {
        Ok(notice) => notice.durable,
        Err(_) => LogIndex(0),
    }
}

fn sweep(machine: &NamesMachine, board: &Board, chunks: &dyn ChunkStore, index: LogIndex) -> Result<usize, ChunkError> {
    let (mut after, mut last, mut found) = (None, None, 0);
    loop {
        let page = chunks.list(after, PAGE)?;
        let Some(end) = page.last() else { return Ok(found) };
        after = Some(*end);
        for chunk in page {
            if last.replace(chunk.ino) != Some(chunk.ino) && ended(machine, chunk.ino) {
                board.doom(chunk.ino, index, Doom::Reap);
                found += 1;
            }
        }
    }
}

fn ended(machine: &NamesMachine, ino: Ino) -> bool {
    matches!(machine.query(&Query::GetAttr { ino }), Ok((_, Err(FsError::Stale | FsError::NotFound))))
}
