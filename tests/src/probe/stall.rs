//! The longest time that a small program has to wait: one small read, past the kernel's cache, and one small write with
//! fsync, every 20 ms; or one such read alone.

use super::{Found, listen, told_to_end, tried};
use crate::wait::rest_of;
use std::fs::OpenOptions;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

const PERIOD: Duration = Duration::from_millis(20);
const RECORD_BYTES: usize = 64;

/// Runs until told, or for so many rounds; prints `stall_ms`, what stalled, `errors`, `rounds`, and `median_us` and `p99_us`: how
/// long half of the rounds took at most, and all but one in a hundred. Reads back what it wrote last each time, so a read that goes
/// back in time is an error, too.
pub fn run(dir: &str, most: usize) -> Found {
    listen();
    let path = Path::new(dir).join("stall");
    let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
    let file = tried(path.display(), open)?;
    // From the kernel's cache it would not be seen whether anybody serves it.
    let direct = tried(path.display(), OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(&path))?;
    let mut page = Page([0; PAGE_BYTES]);
    let mut longest = (Duration::ZERO, "nothing");
    let mut errors = Vec::new();
    let mut rounds = 0u64;
    let mut took: Vec<Duration> = Vec::new();
    let mut expected: Option<u64> = None;
    while !told_to_end() && took.len() < most {
        let began = Instant::now();
        let read = timed("read", &mut longest, || {
            direct.read_at(&mut page.0, 0).and_then(|length| match length {
                RECORD_BYTES.. => Ok(number(&page.0)),
                _ => Err(std::io::ErrorKind::UnexpectedEof.into()),
            })
        });
        match (read, expected) {
            (Ok(got), Some(wanted)) if got != wanted => errors.push(format!("read {got} after writing {wanted}")),
            (Err(e), Some(_)) => errors.push(format!("read: {e}")),
            _ => {}
        }
        rounds += 1;
        let written = timed("write", &mut longest, || file.write_all_at(&record(rounds), 0));
        let synced = timed("fsync", &mut longest, || file.sync_all());
        took.push(began.elapsed());
        match written.and(synced) {
            Ok(()) => expected = Some(rounds),
            Err(e) => {
                errors.push(format!("write and fsync: {e}"));
                expected = None;
            }
        }
        rest_of(PERIOD, began);
    }
    took.sort_unstable();
    let share = |percent: usize| took.get(took.len() * percent / 100).copied().unwrap_or_default();
    println!(
        "stall_ms={} at={} errors={} rounds={rounds} median_us={} p99_us={}",
        longest.0.as_millis(),
        longest.1,
        errors.len(),
        share(50).as_micros(),
        share(99).as_micros()
    );
    match errors.first() {
        None => Ok(()),
        Some(first) => Err(format!("{} errors, the first: {first}", errors.len())),
    }
}

/// Reads the file's first page again and again until told, past the kernel's cache, so that a server serves each; prints
/// `stall_ms`, `errors` and `rounds`. The page must stay as it was.
pub fn reads(path: &str) -> Found {
    listen();
    let file = tried(path, OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(path))?;
    let mut page = Page([0; PAGE_BYTES]);
    tried(path, file.read_exact_at(&mut page.0, 0))?;
    let wanted = page.0;
    let mut longest = (Duration::ZERO, "nothing");
    let (mut rounds, mut errors) = (0u64, Vec::new());
    while !told_to_end() {
        let began = Instant::now();
        match timed("read", &mut longest, || file.read_exact_at(&mut page.0, 0)) {
            Ok(()) if page.0 != wanted => errors.push("other bytes than before".to_string()),
            Ok(()) => {}
            Err(e) => errors.push(e.to_string()),
        }
        rounds += 1;
        rest_of(PERIOD, began);
    }
    println!("stall_ms={} errors={} rounds={rounds}", longest.0.as_millis(), errors.len());
    match errors.first() {
        None => Ok(()),
        Some(first) => Err(format!("reading {path}: {} errors, the first: {first}", errors.len())),
    }
}

const PAGE_BYTES: usize = 4096;

/// Aligned as O_DIRECT asks for on a disk.
#[repr(align(4096))]
struct Page([u8; PAGE_BYTES]);

fn timed<T>(what: &'static str, longest: &mut (Duration, &'static str), work: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let result = work();
    *longest = (*longest).max((began.elapsed(), what));
    result
}

fn record(number: u64) -> [u8; RECORD_BYTES] {
    let mut record = [b'.'; RECORD_BYTES];
    record[..8].copy_from_slice(&number.to_le_bytes());
    record
}

fn number(record: &[u8]) -> u64 {
    u64::from_le_bytes(record[..8].try_into().expect("eight bytes were sliced"))
}
