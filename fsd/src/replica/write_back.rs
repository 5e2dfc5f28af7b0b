//! What nobody syncs: made durable again and again, so that a power cut of everything costs about the last second of
//! it. Each server does so by itself and waits for nobody; nobody waits for it.
//!
//! One sync covers everything that was changed since the one before, whatever the number of files: a store of many changed
//! files syncs its whole file system, which costs a storm of small files one journal commit instead of one for each.

use super::Replica;
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
            // What fails is told and remembered by the way to the disk.
            let _ = self.disk_at_leisure("sync all chunks", |store| store.sync_all()).await;
            pause = begun.elapsed().clamp(EVERY, PAUSE_MAX);
        }
    }
}
