//! SIGTERM and SIGINT ask to stop, from the beginning of the process to its end: also between two lives, when no runtime is
//! there, and up to the moment in which another program takes its place.

use crate::stop::Stop;
use std::io::{self, Read};
use std::os::fd::IntoRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

const SIGNALS: [libc::c_int; 2] = [libc::SIGTERM, libc::SIGINT];
/// One of them has come.
static CAME: AtomicBool = AtomicBool::new(false);
/// Whoever tells [`Stop`] waits at the other end.
static WAKE: AtomicI32 = AtomicI32::new(-1);

extern "C" fn on_signal(_: libc::c_int) {
    CAME.store(true, Ordering::SeqCst);
    // SAFETY: write(2) may be called here, and what it says is of no interest; errno is the interrupted thread's, and put back.
    unsafe {
        let errno = libc::__errno_location();
        let before = *errno;
        libc::write(WAKE.load(Ordering::SeqCst), [0u8].as_ptr().cast(), 1);
        *errno = before;
    }
}

fn handle(by: libc::sighandler_t) -> io::Result<()> {
    for signal in SIGNALS {
        // SAFETY: an all-zero sigaction is a valid one, and `by` is `on_signal` or the default.
        let done = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = by;
            action.sa_flags = libc::SA_RESTART;
            libc::sigaction(signal, &action, std::ptr::null_mut())
        };
        if done != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Has `stop` asked once one of them comes. To be called once, before anything that may be interrupted.
pub fn ask_on_signal(stop: Arc<Stop>) -> io::Result<()> {
    let (mut woken, wake) = UnixStream::pair()?;
    // However many come, nobody waits for room in it.
    wake.set_nonblocking(true)?;
    WAKE.store(wake.into_raw_fd(), Ordering::SeqCst);
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        while woken.read_exact(&mut [0]).is_ok() {
            stop.ask();
        }
    })?;
    handle(on_signal as *const () as libc::sighandler_t)
}

/// From now on they end the process at once. Whether one has come before.
pub fn let_go() -> bool {
    // One that comes before this is seen below; one that comes later ends whatever runs then.
    if let Err(error) = handle(libc::SIG_DFL) {
        tracing::warn!("cannot give SIGTERM back to the system: {error}");
    }
    CAME.load(Ordering::SeqCst)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_not_lost_whether_or_not_anybody_waits() {
        let stop = Arc::new(Stop::default());
        ask_on_signal(stop.clone()).unwrap();
        assert!(!stop.is_asked());
        // SAFETY: it is handled.
        assert_eq!(unsafe { libc::raise(libc::SIGTERM) }, 0);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(stop.asked());
        // Whatever came when nobody looked any more.
        CAME.store(false, Ordering::SeqCst);
        assert_eq!(unsafe { libc::raise(libc::SIGINT) }, 0);
        assert!(let_go());
    }
}
