//! How an operation that changes something is stopped, should the program that wants it be ended meanwhile. It is told so,
//! and stops where nothing is half done: while it waits to begin or for an answer to a question, and between steps that might
//! as well have been asked for one by one. It is answered only then: what is not answered yet is not overtaken by what
//! the kernel has other programs do.

use raidfs_common::error::FsError;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::futures::TaskLocalFuture;

tokio::task_local! {
    static STOP: Stop;
}

/// Tells one operation to stop.
#[derive(Clone, Debug)]
pub struct Stop(Arc<watch::Sender<bool>>);

impl Default for Stop {
    fn default() -> Stop {
        Stop(Arc::new(watch::Sender::new(false)))
    }
}

impl Stop {
    /// Tells it.
    pub fn tell(&self) {
        self.0.send_replace(true);
    }

    /// Has the operation be told through this. What it spawns is not told.
    pub fn scope<F: Future>(&self, operation: F) -> TaskLocalFuture<Stop, F> {
        STOP.scope(self.clone(), operation)
    }
}

/// What the operation that runs now is told through, for what it spawns.
pub(super) fn current() -> Stop {
    STOP.try_with(Stop::clone).unwrap_or_default()
}

/// Fails between two steps once the operation that runs now is to stop.
pub(super) fn check() -> Result<(), FsError> {
    match STOP.try_with(|stop| *stop.0.borrow()) {
        Ok(true) => Err(FsError::Interrupted),
        _ => Ok(()),
    }
}

/// Waits for what changes nothing, unless the operation that runs now is to stop.
pub(super) async fn unless_stopped<T>(waits: impl Future<Output = Result<T, FsError>>) -> Result<T, FsError> {
    let Ok(mut told) = STOP.try_with(|stop| stop.0.subscribe()) else { return waits.await };
    tokio::select! {
        biased;
        result = waits => result,
        Ok(_) = told.wait_for(|told| *told) => Err(FsError::Interrupted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;

    #[tokio::test]
    async fn only_who_is_told_stops_and_only_where_it_may() {
        let stop = Stop::default();
        let asks = stop.scope(async { (unless_stopped(pending::<Result<(), FsError>>()).await, check()) });
        let spawned = stop.scope(async { tokio::spawn(async { check() }).await.unwrap() });
        assert_eq!(stop.scope(async { check() }).await, Ok(()));
        stop.tell();
        assert_eq!(asks.await, (Err(FsError::Interrupted), Err(FsError::Interrupted)));
        assert_eq!(spawned.await, Ok(()));
        assert_eq!(stop.scope(unless_stopped(async { Ok(7) })).await, Ok(7), "what is there is taken");
        assert_eq!(check(), Ok(()), "nobody told this one");
    }
}
