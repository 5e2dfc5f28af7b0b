//! Files that are mapped: one with what is read and written, also where a cut or a hole is looked for under a mapping.

use super::files::{fresh, seek};
use super::{Found, demand, tried};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Error};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, UNIX_EPOCH};

const PAGE: usize = 4096;

/// A shared mapping of a file, for reading and writing; no reference to it lasts, as the file changes by other ways, too.
struct Mapping {
    address: *mut u8,
    length: usize,
}

impl Mapping {
    fn new(f: &File, length: usize) -> Result<Mapping, String> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a fresh mapping of an open file, checked for failure before use.
        let address = unsafe { libc::mmap(std::ptr::null_mut(), length, access, libc::MAP_SHARED, f.as_raw_fd(), 0) };
        demand(address != libc::MAP_FAILED, format!("mmap: {}", Error::last_os_error()))?;
        Ok(Mapping { address: address.cast(), length })
    }

    fn at(&self, at: usize) -> *mut u8 {
        assert!(at < self.length, "outside the mapping");
        // SAFETY: inside the mapping.
        unsafe { self.address.add(at) }
    }

    /// The byte there, which must not lie behind the file's end.
    fn get(&self, at: usize) -> u8 {
        // SAFETY: inside the mapping, and the file.
        unsafe { self.at(at).read_volatile() }
    }

    fn set(&self, at: usize, byte: u8) {
        // SAFETY: as above.
        unsafe { self.at(at).write_volatile(byte) }
    }

    fn put(&self, at: usize, bytes: &[u8]) {
        bytes.iter().enumerate().for_each(|(n, byte)| self.set(at + n, *byte));
    }

    fn bytes(&self, at: usize, length: usize) -> Vec<u8> {
        (at..at + length).map(|at| self.get(at)).collect()
    }

    fn sync(&self) -> Found {
        // SAFETY: the whole mapping.
        let synced = unsafe { libc::msync(self.address.cast(), self.length, libc::MS_SYNC) };
        demand(synced == 0, format!("msync: {}", Error::last_os_error()))
    }

    /// The signal that ends a process which looks there; 0 if it lives on.
    fn signal_at(&self, at: usize) -> Result<i32, String> {
        let place = self.at(at);
        // SAFETY: this process has one thread; the child does nothing but look and end.
        let child = unsafe { libc::fork() };
        demand(child >= 0, format!("fork: {}", Error::last_os_error()))?;
        if child == 0 {
            // SAFETY: inside the mapping; that it may lie behind the file's end is what is tried.
            unsafe {
                let _ = place.read_volatile();
                libc::_exit(0);
            }
        }
        let mut status = 0;
        // SAFETY: the child is this process's own, and the status lives until the call has returned.
        let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
        demand(waited == child, format!("waitpid: {}", Error::last_os_error()))?;
        Ok(if libc::WIFSIGNALED(status) { libc::WTERMSIG(status) } else { 0 })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: nothing refers to the mapping any more.
        unsafe {
            libc::munmap(self.address.cast(), self.length);
        }
    }
}

/// What is written to a shared mapping is read from the file, and the other way round.
pub fn both_ways(file: &str) -> Found {
    let f = fresh(file)?;
    tried("truncate", f.set_len(3 * PAGE as u64))?;
    let map = Mapping::new(&f, 3 * PAGE)?;
    map.put(5000, b"mapped");
    map.sync()?;
    let mut text = [0; 6];
    tried("read", File::open(file).and_then(|f| f.read_exact_at(&mut text, 5000)))?;
    demand(&text == b"mapped", format!("the file holds {text:?}"))?;
    tried("write", f.write_all_at(b"written", 9000))?;
    demand(map.bytes(9000, 7) == b"written", "the mapping does not show what was written")
}

/// Behind the file's end, also where a cut has put it, a mapping is no memory; and once the file is longer again, zeros.
pub fn cut(file: &str) -> Found {
    let f = fresh(file)?;
    tried("write", f.write_all_at(&[7; 2 * PAGE], 0))?;
    let map = Mapping::new(&f, 3 * PAGE)?;
    map.set(2 * PAGE - 1, 8);
    let signal = |page: usize, expected: i32, when: &str| {
        let got = map.signal_at(page * PAGE)?;
        demand(got == expected, format!("{when}: signal {got} at page {page} instead of {expected}"))
    };
    signal(1, 0, "at the end")?;
    signal(2, libc::SIGBUS, "behind the end")?;
    tried("cut", f.set_len(1))?;
    signal(0, 0, "cut to a byte")?;
    signal(1, libc::SIGBUS, "cut to a byte")?;
    demand(map.bytes(0, 3) == [7, 0, 0], format!("cut to a byte, it begins with {:?}", map.bytes(0, 3)))?;
    tried("grow", f.set_len(3 * PAGE as u64))?;
    let mut expected = vec![0; 3 * PAGE];
    expected[0] = 7;
    demand(map.bytes(0, 3 * PAGE) == expected, "grown again, the mapping has what was cut away")?;
    map.set(2 * PAGE, 9);
    expected[2 * PAGE] = 9;
    map.sync()?;
    demand(tried("read", fs::read(file))? == expected, "grown again, the file has what was cut away")
}

/// A time that is set after something was stored through a mapping stays, whenever that is written back.
pub fn times(file: &str) -> Found {
    let f = fresh(file)?;
    tried("write", f.write_all_at(&[7; PAGE], 0))?;
    let set = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let is_set = |when: &str| {
        let now = tried("stat", fs::metadata(file).and_then(|meta| meta.modified()))?;
        demand(now == set, format!("{when}, it is {now:?}"))
    };
    let map = Mapping::new(&f, PAGE)?;
    map.set(0, 8);
    tried("utimensat", f.set_modified(set))?;
    is_set("when it was set")?;
    map.sync()?;
    is_set("synced")?;
    map.set(1, 8);
    tried("utimensat", f.set_modified(set))?;
    drop((map, f));
    is_set("closed")?;
    demand(tried("read", fs::read(file))?[..3] == [8, 8, 7], "what was stored is not there")
}

/// What was stored through a mapping is no hole, to whoever looks and to `cp`, whether it was synced or not.
pub fn holes(file: &str) -> Found {
    const LENGTH: usize = 1 << 20;
    const STORED: usize = 500_000;
    let f = fresh(file)?;
    tried("truncate", f.set_len(LENGTH as u64))?;
    let map = Mapping::new(&f, LENGTH)?;
    let reader = tried(file, File::open(file))?;
    map.put(STORED, b"stored");
    let data = seek(&reader, 0, libc::SEEK_DATA)?;
    demand(data <= STORED as i64, format!("the first data is said to be at {data}"))?;
    // Beside what is known to be data by now.
    map.put(STORED.next_multiple_of(PAGE), b"beside");
    let hole = seek(&f, STORED as i64, libc::SEEK_HOLE)?;
    let behind = (STORED.next_multiple_of(PAGE) + PAGE) as i64;
    demand(hole >= behind, format!("a hole is said to begin at {hole}, before {behind}"))?;
    map.put(LENGTH - 10, b"last");
    let copy = format!("{file}.copy");
    let copied = tried("cp", Command::new("cp").args([file, &copy]).status())?;
    demand(copied.success(), "cp failed")?;
    demand(tried("read", fs::read(&copy))? == map.bytes(0, LENGTH), "the copy is another")
}

/// How a file grows, in [`tail`].
type Growth = (&'static str, usize, fn(&File, &File, usize) -> io::Result<()>);

fn reserve(f: &File, mode: i32, to: usize) -> io::Result<()> {
    // SAFETY: no memory is involved.
    match unsafe { libc::fallocate(f.as_raw_fd(), mode, to as i64 - 1, 1) } {
        0 => Ok(()),
        _ => Err(Error::last_os_error()),
    }
}

fn copy(f: &File, source: &File, to: usize, length: usize) -> io::Result<()> {
    let (mut from, mut at) = (0, (to - length) as i64);
    // SAFETY: the two offsets live until the call has returned.
    let copied =
        unsafe { libc::copy_file_range(source.as_raw_fd(), &raw mut from, f.as_raw_fd(), &raw mut at, length, 0) };
    if copied == length as isize { Ok(()) } else { Err(Error::last_os_error()) }
}

/// Bytes that were stored behind a file's end, through a mapping, are not in the file once that is longer, whatever makes
/// it longer.
pub fn tail(file: &str) -> Found {
    const SIZE: usize = 100;
    const SHORT: usize = 1000;
    const LONG: usize = 40 * PAGE;
    const COPIED: usize = 36 * PAGE;
    // The file's new length, and what makes it that; the byte before it may be written.
    let growths: [Growth; 10] = [
        ("truncate within the page", SHORT, |f, _, to| f.set_len(to as u64)),
        ("truncate", LONG, |f, _, to| f.set_len(to as u64)),
        ("a write within the page", SHORT, |f, _, to| f.write_all_at(&[0], to as u64 - 1)),
        ("a write", LONG, |f, _, to| f.write_all_at(&[0], to as u64 - 1)),
        ("fallocate within the page", SHORT, |f, _, to| reserve(f, 0, to)),
        ("fallocate", LONG, |f, _, to| reserve(f, 0, to)),
        ("zeroing within the page", SHORT, |f, _, to| reserve(f, libc::FALLOC_FL_ZERO_RANGE, to)),
        ("zeroing", LONG, |f, _, to| reserve(f, libc::FALLOC_FL_ZERO_RANGE, to)),
        ("a copy of a byte", SHORT, |f, source, to| copy(f, source, to, 1)),
        ("a copy of many bytes", LONG, |f, source, to| copy(f, source, to, COPIED)),
    ];
    let source = fresh(&format!("{file}.source"))?;
    tried("truncate", source.set_len(COPIED as u64))?;
    for (what, length, grow) in growths {
        for opened_again in [false, true] {
            let mut f = fresh(file)?;
            tried("write", f.write_all_at(&[7; SIZE], 0))?;
            if opened_again {
                // The kernel has its pages from before, and asks for none of them.
                tried("read", fs::read(file))?;
                f = tried(file, OpenOptions::new().read(true).write(true).open(file))?;
            }
            let map = Mapping::new(&f, LONG)?;
            map.put(SIZE, &[9; PAGE - SIZE]);
            tried(what, grow(&f, &source, length))?;
            let mut expected = vec![0; length];
            expected[..SIZE].fill(7);
            demand(map.bytes(0, length) == expected, format!("{what}: the mapping has what was behind the end"))?;
            demand(
                tried("read", fs::read(file))? == expected,
                format!("{what}: the file has what was behind the end"),
            )?;
            map.set(length - 1, 8);
            expected[length - 1] = 8;
            map.sync()?;
            drop((map, f));
            demand(tried("read", fs::read(file))? == expected, format!("{what}: once it is synced it is another"))?;
        }
    }
    Ok(())
}

/// One program stores through a mapping and syncs, `rounds` times, while another makes the file shorter and longer by turns:
/// neither waits for the other for ever, and what is stored where nobody cuts is there.
pub fn stored_while_cut(file: &str, rounds: usize) -> Found {
    const KEPT: usize = 100;
    let f = fresh(file)?;
    tried("write", f.write_all_at(&[1; KEPT], 0))?;
    let map = Mapping::new(&f, PAGE)?;
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let cutter = scope.spawn(|| {
            let mut cuts = 0;
            while !ended.load(Ordering::Relaxed) {
                tried("cut", f.set_len(KEPT as u64))?;
                tried("grow", f.set_len(KEPT as u64 + 1 + cuts % 3000))?;
                cuts += 1;
            }
            Ok::<_, String>(cuts)
        });
        let stored = (0..rounds).try_for_each(|round| {
            let (at, byte) = (round % KEPT, 1 + (round % 250) as u8);
            map.set(at, byte);
            map.sync()?;
            let mut there = [0];
            tried("read", f.read_exact_at(&mut there, at as u64))?;
            demand(there == [byte], format!("round {round}: {byte} was stored, and {there:?} is there"))
        });
        ended.store(true, Ordering::Relaxed);
        let cuts = cutter.join().map_err(|_| "the cutting thread panicked")??;
        stored?;
        demand(cuts > 0, "nothing was cut")
    })
}
