//! A connection that ends at once when the process at its other end dies. The kernel closes what a killed process has open
//! only once all threads that share its table of open files have ended, and one that waits for a disk does not end before
//! the disk has answered: under load that took 0.3 s, in which every other connection looked alive.
//!
//! So each of these connections is held by a thread with a table of its own (unshare(2), `CLONE_FILES`) in which there is
//! nothing else, and which waits for nothing but this connection: it ends as soon as the process is killed. Once that is so it
//! sends one byte. Whoever has read that byte takes the end of the connection for the end of the process; a connection that
//! breaks in any other way says nothing.

use crate::serve::places::Place;
use raidfs_common::rpc::Hello;
use raidfs_common::stream::{Moving, Stream};
use raidfs_common::wire;
use std::io::{self, Read, Write};
use std::mem::{ManuallyDrop, MaybeUninit};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::sync::Semaphore;

/// From now on the end of this connection is that of the process.
const HELD: u8 = 1;
/// Connections that a process holds so at once; each takes a thread. The other voters of a cluster have one each.
const MOST: usize = 32;
/// All that the thread needs.
const STACK_BYTES: usize = 64 << 10;
/// A connection, and the byte, take at most this long.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two tries to have one.
const PAUSE: Duration = Duration::from_millis(500);

/// A connection that is held has one of them.
static TURNS: Semaphore = Semaphore::const_new(MOST);

/// Holds a connection until its other end has gone. If it cannot be held so that its end says something, it ends at once.
pub async fn hold(stream: Stream, place: Place) {
    let (Ok(socket), Ok(turn)) = (stream.leave(), TURNS.try_acquire()) else { return };
    let descriptor = match &socket {
        Moving::Tcp(stream) => stream.as_raw_fd(),
        Moving::Unix(stream) => stream.as_raw_fd(),
        Moving::Invented(_) => return,
    };
    // Should this not be brought to its end, as the runtime ends, it stays open: the thread may be about to use it.
    let socket = ManuallyDrop::new(socket);
    // Not one that wakes a runtime: that is done by a descriptor, which the thread will not have.
    let (alone, is_alone) = mpsc::channel::<()>();
    let hold = move || {
        let _for_as_long = (place, turn);
        // SAFETY: it is open, as `socket` is dropped only once `alone` is, or never.
        let held = unsafe { alone_with(descriptor) };
        drop(alone);
        if let Ok(held) = held {
            let _ = until_its_end(held);
        }
    };
    let thread = std::thread::Builder::new().name("lifeline".into()).stack_size(STACK_BYTES).spawn(hold);
    match thread {
        Ok(_) => {
            let wait = move || is_alone.recv().unwrap_or_default();
            if tokio::task::spawn_blocking(wait).await.is_err() {
                return;
            }
        }
        Err(error) => tracing::debug!("no thread for a connection whose end says that this process has ended: {error}"),
    }
    drop(ManuallyDrop::into_inner(socket));
}

/// Gives this thread a table of open files in which there is nothing but `descriptor` and the standard streams. An error: it
/// shares that of the process as before.
///
/// # Safety
///
/// `descriptor` is open and stays so until this returns, and this thread uses no other from now on.
unsafe fn alone_with(descriptor: RawFd) -> io::Result<UnixStream> {
    // Whoever handles a signal writes to a descriptor that this thread will not have.
    // SAFETY: the set is filled before it is used.
    unsafe {
        let mut all = MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_BLOCK, all.as_ptr(), std::ptr::null_mut());
    }
    // Asked before it is too late to go back: without it all that the process has open now would stay open here.
    // SAFETY: an empty range of numbers that no descriptor has.
    if unsafe { libc::close_range(libc::c_uint::MAX, libc::c_uint::MAX, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it takes no pointers.
    if unsafe { libc::unshare(libc::CLONE_FILES) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let first = libc::STDERR_FILENO + 1;
    let close = |from: RawFd, to: libc::c_uint| {
        if from as libc::c_uint <= to {
            // SAFETY: these are this thread's copies, of which it uses none.
            unsafe { libc::close_range(from as libc::c_uint, to, 0) };
        }
    };
    close(first, descriptor as libc::c_uint - 1);
    close(descriptor + 1, libc::c_uint::MAX);
    // SAFETY: this thread's copy, which nobody else has.
    Ok(unsafe { UnixStream::from_raw_fd(descriptor) })
}

/// Says that the connection is held, and waits until its other end has gone. It may be of TCP: what is asked of it is the same.
fn until_its_end(mut held: UnixStream) -> io::Result<()> {
    held.set_nonblocking(false)?;
    held.write_all(&[HELD])?;
    let mut nothing = [0];
    loop {
        match held.read(&mut nothing) {
            // Nobody has anything to say here: whoever does is no server.
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Has such a connection to a server for as long as this is polled, and calls `gone` each time that its process has ended.
pub async fn watch(address: SocketAddr, hello: Hello, gone: impl Fn()) {
    loop {
        if let Ok(stream) = wire::open(address, &hello, PATIENCE).await
            && has_ended(stream).await
        {
            gone();
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Waits for the end of a connection: whether it was that of the process at its other end.
async fn has_ended(mut stream: Stream) -> bool {
    let held = tokio::time::timeout(PATIENCE, stream.read_u8()).await;
    if !matches!(held, Ok(Ok(HELD))) {
        return false;
    }
    let mut nothing = [0; 16];
    loop {
        match stream.read(&mut nothing).await {
            Ok(0) => return true,
            Ok(_) => {}
            Err(_) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::places::Places;
    use std::collections::BTreeSet;
    use tokio::net::{TcpListener, TcpStream};

    const SOON: Duration = Duration::from_secs(10);

    /// What the threads of this process that hold such a connection have open.
    fn open_in_lifelines() -> Vec<BTreeSet<RawFd>> {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
        let are = |task: &std::path::PathBuf| {
            std::fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim() == "lifeline")
        };
        let open = |task: std::path::PathBuf| {
            let entries = std::fs::read_dir(task.join("fd")).ok()?;
            Some(entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect())
        };
        tasks.filter(are).filter_map(open).collect()
    }

    async fn pair() -> (Stream, Stream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (near, far) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        (near.unwrap().into(), far.unwrap().0.into())
    }

    #[tokio::test]
    async fn it_is_held_by_a_thread_that_has_nothing_else_open_and_by_nobody_else() {
        let (near, far) = pair().await;
        let Stream::Tcp(socket) = &far else { unreachable!("it is of TCP") };
        let number = socket.as_raw_fd();
        let it = std::fs::read_link(format!("/proc/self/fd/{number}")).unwrap();
        let ended = tokio::spawn(has_ended(near));
        hold(far, Places::new(1).take([127, 0, 0, 1].into()).unwrap()).await;
        // Another test may hold one, too.
        let alone = |open: &BTreeSet<RawFd>| open.range(3..).eq([&number]);
        assert!(open_in_lifelines().iter().any(alone), "{number} of {:?}", open_in_lifelines());
        let others =
            std::fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
        assert!(others.into_iter().all(|other| other != it), "the rest of the process has let go of it");
        assert!(!ended.is_finished());
        ended.abort();
    }

    #[tokio::test]
    async fn only_the_end_of_one_that_is_held_is_that_of_a_process() {
        use tokio::io::AsyncWriteExt;
        let (near, far) = pair().await;
        drop(far);
        assert!(!has_ended(near).await, "it was never held");
        let (near, mut far) = pair().await;
        far.write_all(&[HELD]).await.unwrap();
        drop(far);
        assert!(tokio::time::timeout(SOON, has_ended(near)).await.unwrap());
        let (near, mut far) = pair().await;
        far.write_all(&[HELD]).await.unwrap();
        let Stream::Tcp(socket) = &far else { unreachable!("it is of TCP") };
        socket.set_zero_linger().unwrap();
        let ended = tokio::spawn(has_ended(near));
        tokio::task::yield_now().await;
        drop(far);
        assert!(!tokio::time::timeout(SOON, ended).await.unwrap().unwrap(), "it was broken off");
    }
}
