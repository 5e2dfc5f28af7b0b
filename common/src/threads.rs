//! Runtimes whose threads for what blocks are there from the beginning and stay. Where no thread can be made any more (the
//! machine, or the group that a process is in, has as many as it may have) a job waits for one of these; without any, tokio
//! panics.

use std::io;
use std::sync::{Arc, RwLock, mpsc};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

/// Threads that each runtime has for sure. More than one: some jobs wait for others.
const SURE: usize = 8;
/// More than this many it never has: what blocks beyond that waits for its turn, and as they stay, they are bounded.
const MOST: usize = 128;
/// A thread that has nothing to do stays for so long: for ever.
const KEEP: Duration = Duration::from_secs(100 * 365 * 86_400);
/// Making all of them takes no longer than this, unless they cannot be made.
const PATIENCE: Duration = Duration::from_secs(5);

/// A runtime of this thread; `name` is that of its threads for what blocks. Fails if they cannot be made.
pub fn runtime(name: &str) -> io::Result<Runtime> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .thread_name(name)
        .max_blocking_threads(MOST)
        .thread_keep_alive(KEEP)
        .build()?;
    // The first one that cannot be made would be a panic.
    let probe = std::thread::Builder::new().name(name.to_owned()).spawn(|| ())?;
    let _ = probe.join();
    let (come, all) = mpsc::channel();
    let gate = Arc::new(RwLock::new(()));
    let closed = gate.write();
    for _ in 0..SURE {
        let (come, gate) = (come.clone(), gate.clone());
        // None is done before all have begun, so that each has a thread of its own.
        runtime.spawn_blocking(move || {
            let _ = come.send(());
            drop(gate.read());
        });
    }
    let begun = (0..SURE).take_while(|_| all.recv_timeout(PATIENCE).is_ok()).count();
    drop(closed);
    if begun < SURE {
        // Not by waiting for threads that there are not.
        runtime.shutdown_background();
        return Err(io::Error::new(io::ErrorKind::WouldBlock, format!("only {begun} of {SURE} threads could be made")));
    }
    Ok(runtime)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many threads of this process have that name.
    fn count(name: &str) -> usize {
        let tasks = std::fs::read_dir("/proc/self/task").expect("Linux");
        let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
        names.filter(|comm| comm.trim() == name).count()
    }

    #[test]
    fn a_runtime_has_its_threads_before_anybody_needs_them() {
        let runtime = runtime("sure-threads").expect("they can be made");
        assert_eq!(count("sure-threads"), SURE);
        let job = runtime.block_on(async { tokio::task::spawn_blocking(|| ()).await });
        job.expect("it is done");
        // One more, if none of them had come back yet from its first job.
        assert!((SURE..=SURE + 1).contains(&count("sure-threads")), "they are used, and stay");
    }
}
