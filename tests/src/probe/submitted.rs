//! Writes past the page cache (O_DIRECT) that are submitted, and waited for later, while somebody reads the same bytes through
//! it: once such a write is complete, every read shows it.

use super::{Found, demand, tried};
use std::fs::{File, OpenOptions};
use std::io::{Error, Result};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::atomic::{AtomicBool, Ordering};

const LENGTH: usize = 640 << 10;
/// What O_DIRECT asks of places in memory on a local disk.
const ALIGN: usize = 4096;

/// `struct iocb` of linux/aio_abi.h on a machine whose lower half comes first.
#[repr(C)]
#[derive(Default)]
struct Request {
    data: u64,
    key: u32,
    rw_flags: i32,
    opcode: u16,
    priority: i16,
    file: u32,
    buffer: u64,
    length: u64,
    offset: i64,
    reserved: u64,
    flags: u32,
    event_file: u32,
}

/// `struct io_event` of the same.
#[repr(C)]
#[derive(Default)]
struct Event {
    data: u64,
    request: u64,
    result: i64,
    result2: i64,
}

const WRITE: u16 = 1;

/// Requests under way, in the kernel.
struct Queue(libc::c_ulong);

impl Queue {
    fn new() -> Result<Queue> {
        let mut queue: libc::c_ulong = 0;
        // SAFETY: writes one number, which is ours.
        let made = unsafe { libc::syscall(libc::SYS_io_setup, 1, &raw mut queue) };
        if made == 0 { Ok(Queue(queue)) } else { Err(Error::last_os_error()) }
    }

    /// Writes at the file's beginning, by a request that is waited for.
    fn write(&self, file: &File, bytes: &[u8]) -> Result<()> {
        let mut request = Request {
            opcode: WRITE,
            file: file.as_raw_fd() as u32,
            buffer: bytes.as_ptr() as u64,
            length: bytes.len() as u64,
            ..Request::default()
        };
        let mut list = [&raw mut request];
        // SAFETY: the list, the request and its bytes outlive the request, whose end is waited for below.
        if unsafe { libc::syscall(libc::SYS_io_submit, self.0, 1, list.as_mut_ptr()) } != 1 {
            return Err(Error::last_os_error());
        }
        let mut event = Event::default();
        let forever = std::ptr::null_mut::<libc::timespec>();
        // SAFETY: there is room for the one event.
        while unsafe { libc::syscall(libc::SYS_io_getevents, self.0, 1, 1, &raw mut event, forever) } != 1 {
            let error = Error::last_os_error();
            if error.kind() != std::io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
        match event.result {
            n if n == bytes.len() as i64 => Ok(()),
            n if n < 0 => Err(Error::from_raw_os_error(-n as i32)),
            n => Err(Error::other(format!("{n} of {} bytes were written", bytes.len()))),
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: made by io_setup, and not used any more.
        unsafe { libc::syscall(libc::SYS_io_destroy, self.0) };
    }
}

/// So many writes of a new file's first bytes, each read back through the cache.
pub fn run(file: &str, writes: usize) -> Found {
    let cached = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(file);
    let cached = tried(file, cached)?;
    tried(file, cached.write_all_at(&vec![0; LENGTH], 0))?;
    let direct = tried(file, OpenOptions::new().write(true).custom_flags(libc::O_DIRECT).open(file))?;
    let queue = tried("io_setup", Queue::new())?;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut bytes = vec![0; LENGTH];
            while !done.load(Ordering::Relaxed) {
                if cached.read_exact_at(&mut bytes, 0).is_err() {
                    return;
                }
            }
        });
        let found = (1..=writes).try_for_each(|n| write_and_read(&queue, &direct, &cached, n));
        done.store(true, Ordering::Relaxed);
        found
    })
}

fn write_and_read(queue: &Queue, direct: &File, cached: &File, n: usize) -> Found {
    let byte = (n % 255) as u8 + 1;
    let room = vec![byte; LENGTH + ALIGN];
    let from = room.as_ptr().align_offset(ALIGN);
    tried(format!("write {n}"), queue.write(direct, &room[from..from + LENGTH]))?;
    let mut got = vec![0; LENGTH];
    tried(format!("read {n}"), cached.read_exact_at(&mut got, 0))?;
    let stale = got.iter().filter(|b| **b != byte).count();
    demand(stale == 0, format!("write {n} is complete, and {stale} bytes are read as they were before"))
}
