//! What is known of the terminal that standard output or standard error is.

use std::os::fd::AsRawFd;

/// How many characters fit a line of it; None if it is none, or does not say.
pub fn columns(of: &impl AsRawFd) -> Option<usize> {
    // SAFETY: four numbers, for which zero is a value.
    let mut size: libc::winsize = unsafe { std::mem::zeroed() };
    // SAFETY: the request fills one such structure, which is ours.
    let asked = unsafe { libc::ioctl(of.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    (asked == 0 && size.ws_col > 0).then(|| usize::from(size.ws_col))
}
