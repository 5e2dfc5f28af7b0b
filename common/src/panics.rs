//! What becomes of a program in which something panicked: it ends. A task that is gone is waited for by others for ever, and
//! what it was about to change is half changed; a process that is gone is seen by everybody, and made up for.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, PanicHookInfo};
use std::sync::atomic::{AtomicBool, Ordering};

thread_local! {
    /// Somebody waits on this thread for what panics.
    static CAUGHT: Cell<bool> = const { Cell::new(false) };
}

/// The end of the program is on its way: what goes on meanwhile has lost what it relies on.
static ENDS: AtomicBool = AtomicBool::new(false);

/// Does what may panic, on this thread, without the program's end.
pub fn caught<T>(work: impl FnOnce() -> T) -> std::thread::Result<T> {
    let before = CAUGHT.replace(true);
    let result = std::panic::catch_unwind(AssertUnwindSafe(work));
    CAUGHT.set(before);
    result
}

/// From now on the process ends with the first panic that nobody catches by [`caught`], after it was logged: exit code 1. Threads
/// with names that begin like one of `spared` are a library's, which says by errors what it has lost.
pub fn end_the_process(spared: &'static [&'static str]) {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        usual(panic);
        if !is_passed_over(spared) {
            tracing::error!("this is a bug in the program, which ends: {}", what(panic));
            // Neither destructors nor what is done at an exit: who panicked may hold what they wait for.
            // SAFETY: no memory is involved.
            unsafe { libc::_exit(1) };
        }
    }));
}

/// From now on a panic is no reason to end, as that is about to happen: threads that are left behind may meet runtimes that are gone.
pub fn let_pass() {
    ENDS.store(true, Ordering::Relaxed);
}

fn is_passed_over(spared: &[&str]) -> bool {
    let thread = std::thread::current();
    let is_spared = || thread.name().is_some_and(|name| spared.iter().any(|begin| name.starts_with(begin)));
    CAUGHT.get() || ENDS.load(Ordering::Relaxed) || is_spared()
}

fn what(panic: &PanicHookInfo<'_>) -> String {
    let thread = std::thread::current();
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let said = panic.payload_as_str().unwrap_or("a panic without a word");
    format!("{said}, at {place}, in the thread {}", thread.name().unwrap_or("without a name"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    const ROLE: &str = "RAIDFS_TEST_OF_PANICS";

    /// What a process does whose end is looked at.
    fn play(role: &str) {
        end_the_process(&["library:"]);
        let in_thread = |name: &str| {
            let thread = std::thread::Builder::new().name(name.to_owned());
            let _ = thread.spawn(|| panic!("on purpose")).expect("a thread").join();
        };
        match role {
            "thread" => in_thread("own"),
            "library" => in_thread("library: worker"),
            "caught" => assert!(caught(|| panic!("on purpose")).is_err()),
            "behind" => {
                let _ = caught(|| panic!("on purpose"));
                in_thread("own");
            }
            "task" => {
                let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
                let _ = runtime.block_on(async { tokio::spawn(async { panic!("on purpose") }).await });
            }
            "late" => {
                let_pass();
                in_thread("own");
            }
            _ => {}
        }
        std::process::exit(7);
    }

    #[test]
    fn a_panic_that_nobody_catches_ends_the_process() {
        if let Ok(role) = std::env::var(ROLE) {
            play(&role);
        }
        let cases =
            [("none", 7), ("thread", 1), ("task", 1), ("behind", 1), ("caught", 7), ("library", 7), ("late", 7)];
        for (role, code) in cases {
            let mut own = Command::new(std::env::current_exe().expect("this program"));
            let own =
                own.args(["--exact", "panics::tests::a_panic_that_nobody_catches_ends_the_process", "--nocapture"]);
            let ended = own.env(ROLE, role).output().expect("it runs");
            assert_eq!(ended.status.code(), Some(code), "{role}: {}", String::from_utf8_lossy(&ended.stderr));
        }
    }
}
