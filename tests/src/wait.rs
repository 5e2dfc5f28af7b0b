//! Waiting for a condition with a bound: the only place in the tests where time passes by itself.

use std::time::{Duration, Instant};

/// Calls `condition` until it is true; false once `patience` is over.
pub fn until(patience: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Ends the current round of something that happens once in `period`, counted from `began`.
pub fn rest_of(period: Duration, began: Instant) {
    if let Some(rest) = period.checked_sub(began.elapsed()) {
        std::thread::sleep(rest);
    }
}
