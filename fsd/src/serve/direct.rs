//! The direct connections of the mirror: each has a thread, which does the disk's work itself. Few of them, as the mirror needs
//! one, and one more when it gives up one that waits for a disk; what comes beyond that is served without.

use super::listen::Guest;
use super::places::Place;
use crate::replica::Replica;
use crate::serve_guest;
use raidfs_common::error::Rejection;
use raidfs_common::id::ChunkId;
use raidfs_common::room::Account;
use raidfs_common::rpc::chunks::{Applied, ChangeId, ChunkChange, Ordered};
use raidfs_common::rpc::direct::DirectService;
use raidfs_common::stream::Moving;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tarpc::context::Context;
use tokio::runtime::{Builder, Handle};
use tokio::sync::watch;

/// Threads at once.
const THREADS_MAX: usize = 2;
/// A connection that has no thread ends after this: the next one may have one.
const WITHOUT_FOR: Duration = Duration::from_secs(30);

/// The threads; those whose connection has not ended yet do so once this is dropped, and are waited for.
#[derive(Debug)]
pub struct DirectThreads {
    replica: Arc<Replica>,
    threads: Vec<JoinHandle<()>>,
    /// Ends them, by its drop.
    open: Option<watch::Sender<()>>,
}

impl DirectThreads {
    /// None yet.
    pub fn new(replica: Arc<Replica>) -> DirectThreads {
        DirectThreads { replica, threads: Vec::new(), open: Some(watch::Sender::new(())) }
    }

    /// Serves a connection until it ends. Called on the chunk thread.
    pub fn serve(&mut self, guest: Guest) {
        self.threads.retain(|thread| !thread.is_finished());
        let Guest { stream, place, room, .. } = guest;
        let Ok(stream) = stream.leave() else { return };
        let given = Arc::new(parking_lot::Mutex::new(Some((stream, place, room))));
        if let Some(closed) = self.open.as_ref().map(watch::Sender::subscribe)
            && self.threads.len() < THREADS_MAX
        {
            let service = DirectServer { replica: self.replica.clone(), chunk_thread: Some(Handle::current()) };
            let taken = given.clone();
            let serve = move || {
                let Some((stream, place, room)) = taken.lock().take() else { return };
                serve_here(stream, (place, room), service, closed);
            };
            if let Ok(thread) = std::thread::Builder::new().name("direct".into()).spawn(serve) {
                self.threads.push(thread);
                return;
            }
        }
        // No thread more can be had for now.
        let service = DirectServer { replica: self.replica.clone(), chunk_thread: None };
        tokio::spawn(async move {
            let Some((stream, place, room)) = given.lock().take() else { return };
            let Ok(stream) = stream.arrive() else { return };
            let served = async { serve_guest!(stream, place, room, service.serve()) };
            let _ = tokio::time::timeout(WITHOUT_FOR, served).await;
        });
    }
}

/// Serves a connection on this thread, until it ends or `closed` does.
fn serve_here(
    stream: Moving,
    (place, room): (Place, Arc<Account>),
    service: DirectServer,
    mut closed: watch::Receiver<()>,
) {
    let Ok(runtime) = Builder::new_current_thread().enable_all().max_blocking_threads(1).build() else { return };
    runtime.block_on(async move {
        let Ok(stream) = stream.arrive() else { return };
        let served = async { serve_guest!(stream, place, room, service.serve()) };
        tokio::select! {
            () = served => {}
            _ = closed.changed() => {}
        }
    });
}

impl Drop for DirectThreads {
    fn drop(&mut self) {
        drop(self.open.take());
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Serves a direct connection; cloned for each request.
#[derive(Clone, Debug)]
pub(crate) struct DirectServer {
    pub(crate) replica: Arc<Replica>,
    /// None: this is it.
    pub(crate) chunk_thread: Option<Handle>,
}

impl DirectService for DirectServer {
    async fn apply(
        self,
        _: Context,
        by: Ordered,
        id: ChangeId,
        chunk: ChunkId,
        change: ChunkChange,
    ) -> Result<Applied, Rejection> {
        match &self.chunk_thread {
            Some(chunk_thread) => self.replica.apply_directly(chunk_thread, (by, id), chunk, change).await,
            None => self.replica.apply(by, id, chunk, change).await,
        }
    }
}
