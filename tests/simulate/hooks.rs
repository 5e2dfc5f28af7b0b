//! The calls of the C library by which a program waits, asks for the time, starts threads, or gets random numbers. Those
//! of this program are found before the library's, so whatever the servers and their libraries call ends up here. Threads
//! that are not part of the simulation are passed on.

use super::disks::{self, Call};
use super::world::{self, Wait, Waiting, is_simulated, world as the_world};
use libc::{c_char, c_int, c_long, c_uint, c_void, clockid_t, pthread_attr_t, pthread_t, size_t, timespec};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The wall clock when a simulation begins, in seconds.
const BEGINNING: i64 = 1_800_000_000;

/// The library's own function of this name.
macro_rules! library {
    ($name:literal, $kind:ty) => {{
        static FOUND: AtomicUsize = AtomicUsize::new(0);
        let mut found = FOUND.load(Ordering::Relaxed);
        if found == 0 {
            let name = concat!($name, "\0");
            // SAFETY: the name ends with a zero.
            found = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr().cast()) } as usize;
            FOUND.store(found, Ordering::Relaxed);
        }
        // SAFETY: the C library has it, with this signature.
        unsafe { std::mem::transmute::<usize, $kind>(found) }
    }};
}

fn nanos(time: &timespec) -> u64 {
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn fail(errno: c_int) -> c_int {
    // SAFETY: the library's errno of this thread.
    unsafe { *libc::__errno_location() = errno };
    -1
}

fn fill(buffer: *mut u8, length: usize) {
    let world = the_world();
    for at in 0..length {
        // SAFETY: the caller says that so many bytes may be written.
        unsafe { *buffer.add(at) = world.entropy() as u8 };
    }
}

/// # Safety
/// As of the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: clockid_t, time: *mut timespec) -> c_int {
    if !is_simulated() {
        let real = library!("clock_gettime", unsafe extern "C" fn(clockid_t, *mut timespec) -> c_int);
        // SAFETY: as it was called.
        return unsafe { real(clock, time) };
    }
    let now = the_world().look();
    let wall = matches!(clock, libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE);
    let secs = now as i64 / 1_000_000_000 + if wall { BEGINNING + the_world().clock() } else { 1_000 };
    // SAFETY: the caller's room for a time.
    unsafe { *time = timespec { tv_sec: secs, tv_nsec: now as i64 % 1_000_000_000 } };
    0
}

/// From a time of the simulated monotonic clock.
fn since_beginning(time: &timespec) -> u64 {
    nanos(time).saturating_sub(1_000 * 1_000_000_000)
}

/// # Safety
/// As of the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nanosleep(time: *const timespec, left: *mut timespec) -> c_int {
    if !is_simulated() {
        let real = library!("nanosleep", unsafe extern "C" fn(*const timespec, *mut timespec) -> c_int);
        // SAFETY: as it was called.
        return unsafe { real(time, left) };
    }
    // SAFETY: the caller's time.
    let span = nanos(unsafe { &*time });
    world::wait(Wait::Time, Some(the_world().now() + span));
    0
}

/// # Safety
/// As of the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_nanosleep(
    clock: clockid_t,
    flags: c_int,
    time: *const timespec,
    left: *mut timespec,
) -> c_int {
    if !is_simulated() {
        type Real = unsafe extern "C" fn(clockid_t, c_int, *const timespec, *mut timespec) -> c_int;
        let real = library!("clock_nanosleep", Real);
        // SAFETY: as it was called.
        return unsafe { real(clock, flags, time, left) };
    }
    // SAFETY: the caller's time.
    let time = unsafe { &*time };
    let until = match flags & libc::TIMER_ABSTIME {
        0 => the_world().now() + nanos(time),
        _ => since_beginning(time),
    };
    world::wait(Wait::Time, Some(until));
    0
}

/// # Safety
/// As of the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sched_yield() -> c_int {
    if is_simulated() {
        world::give_way();
    }
    0
}

/// # Safety
/// As of the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sched_getaffinity(_: libc::pid_t, bytes: size_t, mask: *mut u8) -> c_int {
    // Two, on every machine.
    for at in 0..bytes {
        // SAFETY: the caller says that so many bytes may be written.
        unsafe { *mask.add(at) = if at == 0 { 3 } else { 0 } };
    }
    0
}

/// # Safety
/// As of the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getpid() -> libc::pid_t {
    if is_simulated() {
        return 1;
    }
    let real = library!("getpid", unsafe extern "C" fn() -> libc::pid_t);
    // SAFETY: as it was called.
    unsafe { real() }
}

/// # Safety
/// As of the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(buffer: *mut c_void, length: size_t, flags: c_uint) -> isize {
    if !is_simulated() {
        let real = library!("getrandom", unsafe extern "C" fn(*mut c_void, size_t, c_uint) -> isize);
        // SAFETY: as it was called.
        return unsafe { real(buffer, length, flags) };
    }
    fill(buffer.cast(), length);
    length as isize
}

/// # Safety
/// As of the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn open64(path: *const c_char, flags: c_int, mode: c_uint) -> c_int {
    // SAFETY: the caller's path ends with a zero.
    let random = unsafe { std::ffi::CStr::from_ptr(path) } == c"/dev/urandom";
    if !is_simulated() || !random {
        let real = library!("open64", unsafe extern "C" fn(*const c_char, c_int, ...) -> c_int);
        // SAFETY: as it was called.
        return unsafe { real(path, flags, mode) };
    }
    let mut bytes = [0u8; 64];
    fill(bytes.as_mut_ptr(), bytes.len());
    // SAFETY: a new descriptor, and an array that lives.
    unsafe {
        let fd = libc::memfd_create(c"random".as_ptr(), libc::MFD_CLOEXEC);
        libc::pwrite(fd, bytes.as_ptr().cast(), bytes.len(), 0);
        fd
    }
}

/// A call that makes something durable, which the disks of the simulation are told.
macro_rules! sync {
    ($name:ident, $literal:literal, $told:path) => {
        /// # Safety
        /// As of the C library's.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(fd: c_int) -> c_int {
            let real = library!($literal, unsafe extern "C" fn(c_int) -> c_int);
            if is_simulated() {
                if !disks::serves(fd, Call::Sync) {
                    return fail(libc::EIO);
                }
                // In memory, where the files are, there is nothing to be waited for.
                $told(fd);
                return 0;
            }
            // SAFETY: as it was called.
            unsafe { real(fd) }
        }
    };
}
sync!(fsync, "fsync", disks::synced);
sync!(fdatasync, "fdatasync", disks::synced);
sync!(syncfs, "syncfs", disks::all_synced);

/// A call that reads or changes the file of a descriptor, which may be on a disk that is not well.
macro_rules! on_disk {
    ($name:ident, $literal:literal, $call:expr, $back:ty, $($argument:ident: $kind:ty),*) => {
        /// # Safety
        /// As of the C library's.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(fd: c_int, $($argument: $kind),*) -> $back {
            let real = library!($literal, unsafe extern "C" fn(c_int, $($kind),*) -> $back);
            if is_simulated() && !disks::serves(fd, $call) {
                return fail(libc::EIO) as $back;
            }
            // SAFETY: as it was called.
            unsafe { real(fd, $($argument),*) }
        }
    };
}
on_disk!(write, "write", Call::Write, isize, bytes: *const c_void, length: size_t);
on_disk!(pwrite64, "pwrite64", Call::Write, isize, bytes: *const c_void, length: size_t, at: i64);
on_disk!(writev, "writev", Call::Write, isize, parts: *const libc::iovec, count: c_int);
on_disk!(pwritev, "pwritev", Call::Write, isize, parts: *const libc::iovec, count: c_int, at: i64);
on_disk!(ftruncate64, "ftruncate64", Call::Write, c_int, length: i64);
on_disk!(fallocate, "fallocate", Call::Write, c_int, mode: c_int, at: i64, length: i64);
on_disk!(read, "read", Call::Read, isize, bytes: *mut c_void, length: size_t);
on_disk!(pread64, "pread64", Call::Read, isize, bytes: *mut c_void, length: size_t, at: i64);

/// # Safety
/// As of the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn preadv2(fd: c_int, parts: *const libc::iovec, count: c_int, at: i64, flags: c_int) -> isize {
    type Real = unsafe extern "C" fn(c_int, *const libc::iovec, c_int, i64, c_int) -> isize;
    let real = library!("preadv2", Real);
    if is_simulated() {
        if flags & libc::RWF_NOWAIT != 0 {
            if !disks::is_at_hand(fd) {
                return fail(libc::EAGAIN) as isize;
            }
        } else if !disks::serves(fd, Call::Read) {
            return fail(libc::EIO) as isize;
        }
    }
    // SAFETY: as it was called.
    unsafe { real(fd, parts, count, at, flags) }
}

/// What a simulated disk holds in all, and has free unless it is full, in blocks.
const DISK: (u64, u64) = (100 << 18, 50 << 18);

/// # Safety
/// As of the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fstatvfs(fd: c_int, found: *mut libc::statvfs) -> c_int {
    let real = library!("fstatvfs", unsafe extern "C" fn(c_int, *mut libc::statvfs) -> c_int);
    // SAFETY: as it was called.
    let code = unsafe { real(fd, found) };
    if is_simulated() && code == 0 {
        let free = if disks::is_full(fd) { 0 } else { DISK.1 };
        // SAFETY: the caller's room, which has just been filled.
        let found = unsafe { &mut *found };
        (found.f_frsize, found.f_bsize) = (4_096, 4_096);
        (found.f_blocks, found.f_bavail, found.f_bfree) = (DISK.0, free, free);
    }
    code
}

/// # Safety
/// As of the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn epoll_wait(fd: c_int, events: *mut libc::epoll_event, most: c_int, millis: c_int) -> c_int {
    type Real = unsafe extern "C" fn(c_int, *mut libc::epoll_event, c_int, c_int) -> c_int;
    let real = library!("epoll_wait", Real);
    if !is_simulated() {
        // SAFETY: as it was called.
        return unsafe { real(fd, events, most, millis) };
    }
    match millis {
        0 => world::give_way(),
        _ => {
            let until = (millis > 0).then(|| the_world().now() + millis as u64 * 1_000_000);
            world::wait(Wait::Epoll(fd), until);
        }
    }
    // SAFETY: as it was called.
    unsafe { real(fd, events, most, 0) }
}

/// # Safety
/// As of the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn syscall(
    number: c_long,
    a: c_long,
    b: c_long,
    c: c_long,
    d: c_long,
    e: c_long,
    f: c_long,
) -> c_long {
    if is_simulated() {
        match number {
            libc::SYS_futex => {
                return futex(a as usize, b as c_int, c as u32, d as *const timespec, f as u32) as c_long;
            }
            libc::SYS_getrandom => {
                fill(a as *mut u8, b as usize);
                return b;
            }
            _ => {}
        }
    }
    type Real = unsafe extern "C" fn(c_long, ...) -> c_long;
    let real = library!("syscall", Real);
    // SAFETY: as it was called.
    unsafe { real(number, a, b, c, d, e, f) }
}

/// The waits and wakes that locks and condition variables are made of.
fn futex(address: usize, operation: c_int, value: u32, time: *const timespec, bits: u32) -> c_int {
    let kind = operation & !(libc::FUTEX_PRIVATE_FLAG | libc::FUTEX_CLOCK_REALTIME);
    match kind {
        libc::FUTEX_WAIT | libc::FUTEX_WAIT_BITSET => {
            // SAFETY: a futex is a word that lives as long as somebody waits for it.
            let current = unsafe { &*(address as *const std::sync::atomic::AtomicU32) }.load(Ordering::SeqCst);
            if current != value {
                return fail(libc::EAGAIN);
            }
            // SAFETY: the caller's time, if there is one.
            let until = unsafe { time.as_ref() }.map(|time| match kind {
                libc::FUTEX_WAIT => the_world().now() + nanos(time),
                _ => since_beginning(time),
            });
            let bits = if kind == libc::FUTEX_WAIT { u32::MAX } else { bits };
            if world::wait(Wait::Futex(address, bits), until) { 0 } else { fail(libc::ETIMEDOUT) }
        }
        libc::FUTEX_WAKE => the_world().wake(address, u32::MAX, value as usize) as c_int,
        libc::FUTEX_WAKE_BITSET => the_world().wake(address, bits, value as usize) as c_int,
        _ => fail(libc::ENOSYS),
    }
}

type Body = extern "C" fn(*mut c_void) -> *mut c_void;

struct Start {
    thread: usize,
    waiting: Waiting,
    body: Body,
    argument: *mut c_void,
}

extern "C" fn run(start: *mut c_void) -> *mut c_void {
    // SAFETY: it was made for this thread only.
    let start = unsafe { Box::from_raw(start.cast::<Start>()) };
    world::arrive(start.thread, start.waiting);
    let result = (start.body)(start.argument);
    world::leave();
    result
}

/// # Safety
/// As of the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pthread_create(
    handle: *mut pthread_t,
    attributes: *const pthread_attr_t,
    body: Body,
    argument: *mut c_void,
) -> c_int {
    type Real = unsafe extern "C" fn(*mut pthread_t, *const pthread_attr_t, Body, *mut c_void) -> c_int;
    let real = library!("pthread_create", Real);
    if !is_simulated() {
        // SAFETY: as it was called.
        return unsafe { real(handle, attributes, body, argument) };
    }
    let world = the_world();
    let thread = world.new_thread();
    let start = Box::new(Start { thread, waiting: world.waiting(thread), body, argument });
    // SAFETY: as it was called, but for the body, which takes what it is given.
    let code = unsafe { real(handle, attributes, run, Box::into_raw(start).cast()) };
    assert_eq!(code, 0, "no more threads");
    // SAFETY: it has been set.
    world.name_thread(thread, unsafe { *handle });
    code
}

/// # Safety
/// As of the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pthread_join(handle: pthread_t, result: *mut *mut c_void) -> c_int {
    if is_simulated()
        && let Some(thread) = the_world().thread_of(handle)
    {
        world::wait(Wait::End(thread), None);
    }
    let real = library!("pthread_join", unsafe extern "C" fn(pthread_t, *mut *mut c_void) -> c_int);
    // SAFETY: as it was called. The thread has ended, or is about to.
    unsafe { real(handle, result) }
}
