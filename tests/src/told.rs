//! Being told to end: a signal is noted, and whoever works looks at it between two steps, so that it can clean up.

use std::sync::atomic::{AtomicBool, Ordering};

static TOLD: AtomicBool = AtomicBool::new(false);

extern "C" fn tell(_signal: i32) {
    TOLD.store(true, Ordering::Relaxed);
}

/// From now on SIGTERM and SIGINT ask this process to end, which it sees by [`told_to_end`].
pub fn listen() {
    // SAFETY: the handler only stores to an atomic.
    unsafe {
        libc::signal(libc::SIGTERM, tell as *const () as libc::sighandler_t);
        libc::signal(libc::SIGINT, tell as *const () as libc::sighandler_t);
    }
}

/// Whether it was asked to end.
pub fn told_to_end() -> bool {
    TOLD.load(Ordering::Relaxed)
}
