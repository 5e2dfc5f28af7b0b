//! The namespace's rows on their way to the store: never ahead of the log on this server's disk, often enough that a
//! restart has little to apply again, seldom enough that a row which changes all the time is written once.

use super::NamesMachine;
use crate::consensus::keep::Keep;
use crate::consensus::log::LogStore;
use crate::consensus::node::{Node, Transport};
use raidfs_common::id::LogIndex;
use raidfs_common::limits::LOG_SYNC_EVERY;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

/// Rows are flushed this often if there are any.
const EVERY: Duration = Duration::from_millis(500);
/// The store is made durable this often; the log before it can be dropped then.
const DURABLE_EVERY: Duration = Duration::from_secs(5);

/// Has the log synced as often as promised, however long flushing takes; for ever.
pub async fn sync_log<L, T>(node: Arc<Node<L, NamesMachine, T>>)
where
    L: LogStore + Send + 'static,
    T: Transport,
{
    loop {
        tokio::time::sleep(LOG_SYNC_EVERY).await;
        node.sync_soon();
    }
}

/// Flushes for ever, and keeps so much of the log. `node` may be in the middle of anything.
pub async fn run<L, T>(machine: Arc<NamesMachine>, node: Arc<Node<L, NamesMachine, T>>, keep: Keep)
where
    L: LogStore + Send + 'static,
    T: Transport,
{
    let mut durable_at = Instant::now() + DURABLE_EVERY;
    loop {
        tokio::time::sleep(EVERY).await;
        if !flush(&machine, &node).await {
            return;
        }
        if Instant::now() >= durable_at {
            durable_at = Instant::now() + DURABLE_EVERY;
            if !make_durable(&machine, &node, keep).await {
                return;
            }
        }
    }
}

/// Writes what has changed, once the log is on disk up to there. False: it cannot be done any more.
pub async fn flush<L, T>(machine: &Arc<NamesMachine>, node: &Arc<Node<L, NamesMachine, T>>) -> bool
where
    L: LogStore + Send + 'static,
    T: Transport,
{
    let taken = machine.flushing.lock().await;
    let batch = match machine.begin_flush() {
        Ok(Some(batch)) => batch,
        Ok(None) => return true,
        Err(_) => return false,
    };
    // However long that takes: names that are ahead of the log would be of a history that a power cut may undo.
    while node.own_durable() < batch.applied().index && !node.sync_all().await {
        tracing::warn!("the log was not synced in time; names wait in memory");
    }
    let written = tokio::task::spawn_blocking(move || batch.write().map(|()| batch)).await;
    let done = match written {
        Ok(Ok(batch)) => {
            machine.end_flush(batch);
            true
        }
        Ok(Err(fault)) => {
            machine.fail_to_write(&fault);
            false
        }
        Err(_) => false,
    };
    drop(taken);
    done
}

/// Makes the store durable, tells agreement about it, and drops what the log need not keep. False: it cannot be done any more.
pub async fn make_durable<L, T>(machine: &Arc<NamesMachine>, node: &Arc<Node<L, NamesMachine, T>>, keep: Keep) -> bool
where
    L: LogStore + Send + 'static,
    T: Transport,
{
    let flushed = LogIndex(machine.flushed.load(Ordering::Acquire));
    let store = machine.with(|names| names.store().clone());
    let synced = tokio::task::spawn_blocking(move || store.sync()).await;
    match synced {
        Ok(Ok(())) => {
            node.on_applied_durable(flushed);
            node.purge(node.status().spare.min(flushed), keep);
            true
        }
        Ok(Err(fault)) => {
            machine.fail_to_sync(&fault);
            false
        }
        Err(_) => false,
    }
}
