//! Carries out cuts and ends of files in the background, once their entries are durable on a quorum: a few at a time, so
//! that removing a large tree delays nobody.

use super::Replica;
use futures::StreamExt;
use std::sync::Arc;
use std::time::Duration;

/// Files that are cut or removed at the same time.
const AT_ONCE: usize = 4;
/// Between two looks at what is ripe: a look costs as much as there is doomed.
const LOOK_EVERY: Duration = Duration::from_millis(50);

impl Replica {
    pub(super) async fn run_reaper(self: Arc<Self>) {
        let mut dooms = self.board.subscribe_dooms();
        let mut notices = self.board.subscribe();
        loop {
            dooms.mark_unchanged();
            notices.mark_unchanged();
            let durable = self.board.notice().durable;
            let ripe = self.board.ripe_dooms(durable);
            let any = !ripe.is_empty();
            let work = ripe.into_iter().filter_map(|(ino, list)| Some((ino, list.last()?.0)));
            futures::stream::iter(work)
                .for_each_concurrent(AT_ONCE, |(ino, last)| {
                    let replica = &self;
                    async move {
                        if let Err(rejection) = replica.carry_out(ino, last).await {
                            tracing::error!("cannot remove or cut the chunks of inode {ino}: {rejection}");
                        }
                    }
                })
                .await;
            if !any {
                // Nothing is ripe: it gets so by a doom, or by its entry's becoming durable.
                tokio::select! {
                    _ = dooms.changed() => {}
                    _ = notices.wait_for(|n| n.durable > durable) => {}
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
