//! Group commit: while requests of one kind are under way, those that come meanwhile are gathered into the next.
//! Carries on when a caller stops waiting.

use parking_lot::Mutex;
use std::future::Future;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Requests under way at once; with two, one can be sent while the answer of the other travels.
const UNDER_WAY_MAX: usize = 2;

struct State<T, R> {
    waiting: Vec<(T, oneshot::Sender<R>)>,
    under_way: usize,
}

/// Requests `T` of one kind, each group of which has one result `R`.
pub struct Gather<T, R> {
    state: Mutex<State<T, R>>,
}

impl<T, R> Default for Gather<T, R> {
    fn default() -> Self {
        Gather { state: Mutex::new(State { waiting: Vec::new(), under_way: 0 }) }
    }
}

impl<T: Send + 'static, R: Clone + Send + 'static> Gather<T, R> {
    /// Adds `item` to the next group, and returns that group's result; None only if its task was cancelled with the
    /// runtime. All callers must pass the same `run`.
    pub async fn submit<F>(self: &Arc<Self>, item: T, run: impl Fn(Vec<T>) -> F + Send + 'static) -> Option<R>
    where
        F: Future<Output = R> + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        let start = {
            let mut state = self.state.lock();
            state.waiting.push((item, sender));
            let start = state.under_way < UNDER_WAY_MAX;
            state.under_way += usize::from(start);
            start
        };
        if start {
            tokio::spawn(Arc::clone(self).carry(run));
        }
        receiver.await.ok()
    }

    async fn carry<F>(self: Arc<Self>, run: impl Fn(Vec<T>) -> F + Send + 'static)
    where
        F: Future<Output = R> + Send + 'static,
    {
        loop {
            let group = {
                let mut state = self.state.lock();
                if state.waiting.is_empty() {
                    state.under_way -= 1;
                    return;
                }
                std::mem::take(&mut state.waiting)
            };
            let (items, senders): (Vec<T>, Vec<_>) = group.into_iter().unzip();
            let result = run(items).await;
            for sender in senders {
                // A caller that stopped waiting is fine.
                let _ = sender.send(result.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::sync::Semaphore;

    #[tokio::test]
    async fn what_comes_while_requests_are_under_way_goes_together() {
        let gather: Arc<Gather<u32, usize>> = Arc::default();
        let gate = Arc::new(Semaphore::new(0));
        let runs = Arc::new(AtomicUsize::new(0));
        let submit = |n| {
            let (gather, gate, runs) = (Arc::clone(&gather), Arc::clone(&gate), Arc::clone(&runs));
            tokio::spawn(async move {
                let run = move |items: Vec<u32>| {
                    let gate = Arc::clone(&gate);
                    runs.fetch_add(1, Ordering::SeqCst);
                    async move {
                        gate.acquire().await.expect("open").forget();
                        items.len()
                    }
                };
                gather.submit(n, run).await
            })
        };
        let mut callers = Vec::new();
        for n in 0..10 {
            callers.push(submit(n));
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
        }
        gate.add_permits(10);
        let mut sizes = Vec::new();
        for caller in callers {
            sizes.push(caller.await.unwrap().unwrap());
        }
        assert_eq!(sizes, [1, 1, 8, 8, 8, 8, 8, 8, 8, 8]);
        assert_eq!(runs.load(Ordering::SeqCst), 3);
    }
}
