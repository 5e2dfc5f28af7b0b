//! What nobody syncs: made durable again and again, so that a power cut of everything costs about the last second of
//! it. Each server does so by itself and waits for nobody; nobody waits for it.
//!
//! One sync covers everything that was changed since the one before, whatever the number of files: a store of many changed
//! files syncs its whole file system, which costs a storm of small files one journal commit instead of one for each.

use super::Replica;
use super::disk::is_disk;
use crate::chunk::ChunkError;
use raidfs_common::log::chain;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// From the end of one sync to the beginning of the next, at least: a second less the 0.3 s that a mount keeps bytes for.
const EVERY: Duration = Duration::from_millis(700);
/// At most, should the last one have taken long: half of the time is left to others.
const PAUSE_MAX: Duration = Duration::from_secs(2);

impl Replica {
    pub(super) async fn run_write_back(self: Arc<Self>) {
        let mut pause = EVERY;
        loop {
            tokio::time::sleep(pause).await;
            let begun = Instant::now();
            let store = self.store.clone();
            // Not watched for being stuck: how long it takes says how much there was to write, not how well the disk is.
            let synced = tokio::task::spawn_blocking(move || store.sync_all()).await.unwrap_or_else(|join| {
                let source = io::Error::other(format!("the chunk store gave up: {join}"));
                Err(ChunkError::Store { action: "sync all chunks", source })
            });
            if let Err(error) = synced.as_ref()
                && is_disk(error)
            {
                self.disk_failed(chain(error));
            }
            pause = begun.elapsed().clamp(EVERY, PAUSE_MAX);
        }
    }
}
