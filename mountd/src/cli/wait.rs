//! Waiting for a condition with a bound: the only sleep of the command line.

use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(100);
const POLL: Duration = Duration::from_millis(20);

/// Calls `condition` until it gives something, an error, or `patience` is over (None).
pub fn until<T, E>(patience: Duration, mut condition: impl FnMut() -> Result<Option<T>, E>) -> Result<Option<T>, E> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = condition()? {
            return Ok(Some(found));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        std::thread::sleep(POLL);
    }
}

/// Waits a moment before something is looked at again.
pub fn pause() {
    std::thread::sleep(PAUSE);
}

/// Calls `work` on a thread of its own, because it may hang for ever (a file system that does not answer); None after
/// `patience`. The thread is left behind then: it ends with the program.
pub fn at_most<T: Send + 'static>(patience: Duration, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        // The receiver may have given up: nobody is interested then.
        let _ = send.send(work());
    });
    receive.recv_timeout(patience).ok()
}
