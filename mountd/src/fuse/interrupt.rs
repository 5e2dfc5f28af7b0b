//! Whether a program that waits for an answer is to be stopped. FUSE could tell, but fuser does not pass it on; so the
//! signals that are pending for the caller are looked at, and only once it has waited for long.

use std::time::Duration;

/// An operation that takes longer is worth a look.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often.
const EVERY: Duration = Duration::from_millis(250);

/// Signals whose default is to do nothing, or to stop.
const HARMLESS: [libc::c_int; 8] = [
    libc::SIGCHLD,
    libc::SIGCONT,
    libc::SIGURG,
    libc::SIGWINCH,
    libc::SIGSTOP,
    libc::SIGTSTP,
    libc::SIGTTIN,
    libc::SIGTTOU,
];

/// Returns once the thread `pid` has a signal pending that ends it. One that it catches does not, as on a local disk:
/// there nothing but its end interrupts what a program does to a file, and few programs try again. Never for 0: the kernel itself asks.
pub async fn interrupted(pid: u32) {
    if pid == 0 {
        return std::future::pending().await;
    }
    let path = format!("/proc/{pid}/status");
    tokio::time::sleep(PATIENCE).await;
    loop {
        match std::fs::read_to_string(&path) {
            Ok(status) if ends(&status) => return,
            Ok(_) => tokio::time::sleep(EVERY).await,
            // It is of another pid namespace, or gone: nobody to answer to.
            Err(_) => return std::future::pending().await,
        }
    }
}

/// Whether a thread with this /proc/PID/status is to be ended.
fn ends(status: &str) -> bool {
    let mask = |field: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0)
    };
    let set = |signals: &[libc::c_int]| signals.iter().fold(0u64, |set, signal| set | 1 << (signal - 1));
    let pending = mask("SigPnd:") | mask("ShdPnd:");
    let unwanted = mask("SigBlk:") | mask("SigIgn:") | mask("SigCgt:") | set(&HARMLESS);
    pending & !unwanted != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(pending: u64, blocked: u64, ignored: u64, caught: u64) -> String {
        format!(
            "Name:\tx\nSigPnd:\t{pending:016x}\nShdPnd:\t0\nSigBlk:\t{blocked:016x}\nSigIgn:\t{ignored:016x}\nSigCgt:\t{caught:016x}\n"
        )
    }

    #[test]
    fn only_what_ends_a_program_counts() {
        let bit = |signal: libc::c_int| 1u64 << (signal - 1);
        let (int, alarm, child) = (bit(libc::SIGINT), bit(libc::SIGALRM), bit(libc::SIGCHLD));
        assert!(!ends(&status(0, 0, 0, 0)));
        assert!(ends(&status(bit(libc::SIGKILL), 0, 0, 0)));
        assert!(ends(&status(int, 0, 0, 0)));
        assert!(!ends(&status(int, 0, 0, int)), "who catches it goes on, and expects no EINTR of a file");
        assert!(ends(&status(alarm, 0, 0, 0)));
        assert!(!ends(&status(alarm, 0, 0, alarm)));
        assert!(!ends(&status(int, int, 0, 0)));
        assert!(!ends(&status(int, 0, int, 0)));
        assert!(!ends(&status(child, 0, 0, 0)));
        assert!(!ends(""));
    }
}
