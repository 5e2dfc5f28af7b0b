//! System calls on files that the standard library has not: the only unsafe code of the chunk store.
//!
//! Everything here is one system call, repeated until it is complete; nothing decides anything. Driven by the chunk
//! store on disk, its notes, and the identity of the data directory. Tests can make the next call of a kind fail.

use raidfs_common::plant::{Bug, planted};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// What a test may let fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// [`write_at`]
    Write,
    /// [`read_at`]
    Read,
    /// [`sync_data`], [`sync_all`], [`sync_file_system`]
    Sync,
    /// [`allocate`]
    Allocate,
}

fn result(code: libc::c_int) -> io::Result<()> {
    if code == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// One system call writes so many bytes at most. The page cache keeps together what was written together, and file
/// systems go through all blocks of such a folio for each later write into it: with 1 MiB a small write took 50 us
/// longer than with this, and a large one is no faster.
const WRITE_BYTES: usize = 64 << 10;

/// Writes behind the end of a file, with one write if the system takes it: a process that is killed leaves all or nothing.
pub fn append_at(file: &File, bytes: &[u8], end: u64) -> io::Result<()> {
    fault::check(Call::Write)?;
    file.write_all_at(bytes, end)
}

/// Writes up to three pieces one after the other.
pub fn write_at(file: &File, parts: [&[u8]; 3], at: u64) -> io::Result<()> {
    fault::check(Call::Write)?;
    let total: usize = parts.iter().map(|p| p.len()).sum();
    let mut done = 0;
    while done < total {
        let mut skip = done;
        let mut room = WRITE_BYTES - (at as usize + done) % WRITE_BYTES;
        let mut vectors = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; 3];
        let mut count = 0;
        for part in parts {
            let rest = &part[skip.min(part.len())..];
            skip -= skip.min(part.len());
            let rest = &rest[..rest.len().min(room)];
            room -= rest.len();
            if !rest.is_empty() {
                vectors[count] = libc::iovec { iov_base: rest.as_ptr() as *mut _, iov_len: rest.len() };
                count += 1;
            }
        }
        // SAFETY: the first `count` vectors point into `parts`, which outlive the call, and are only read from.
        let wrote = unsafe {
            libc::pwritev(file.as_raw_fd(), vectors.as_ptr(), count as libc::c_int, (at + done as u64) as libc::off_t)
        };
        match wrote {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            n if n > 0 => done += n as usize,
            _ => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
    Ok(())
}

/// Reads `length` bytes; what lies behind the end of the file is zeros.
pub fn read_at(file: &File, at: u64, length: usize) -> io::Result<Vec<u8>> {
    fault::check(Call::Read)?;
    let mut bytes: Vec<u8> = Vec::with_capacity(length);
    while bytes.len() < length {
        match read_more(file, at, length, &mut bytes, 0) {
            Ok(0) => bytes.resize(length, 0),
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(bytes)
}

/// Reads `length` bytes if all of them are in memory; None otherwise, or if that cannot be told. Never waits for a disk.
pub fn read_cached_at(file: &File, at: u64, length: usize) -> Option<Vec<u8>> {
    let mut bytes: Vec<u8> = Vec::with_capacity(length);
    while bytes.len() < length {
        match read_more(file, at, length, &mut bytes, libc::RWF_NOWAIT) {
            Ok(n) if n > 0 => {}
            _ => return None,
        }
    }
    Some(bytes)
}

/// Whether the beginning of a file is in memory.
pub fn is_cached(file: &File) -> bool {
    read_cached_at(file, 0, 1).is_some()
}

/// Gives back the memory that keeps what was read of a file; what is not written yet stays. Only a hint: what fails does
/// no harm.
pub fn forget_cached(file: &File) {
    // SAFETY: plain numbers and an open descriptor.
    unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
}

/// One read into what `bytes` lacks of `length`.
fn read_more(file: &File, at: u64, length: usize, bytes: &mut Vec<u8>, flags: libc::c_int) -> io::Result<usize> {
    let have = bytes.len();
    let room = &mut bytes.spare_capacity_mut()[..length - have];
    let vector = libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room.len() };
    // SAFETY: the vector is spare capacity of `bytes`, which nothing else refers to during the call.
    let read = unsafe { libc::preadv2(file.as_raw_fd(), &vector, 1, (at + have as u64) as libc::off_t, flags) };
    if read < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has filled so many bytes behind `have`, and no more than there was room for.
    unsafe { bytes.set_len(have + read as usize) };
    Ok(read as usize)
}

/// Reads what there is up to `length` bytes.
pub fn read_up_to(file: &File, at: u64, length: usize) -> io::Result<Vec<u8>> {
    fault::check(Call::Read)?;
    let mut bytes = vec![0; length];
    let mut have = 0;
    while have < length {
        match file.read_at(&mut bytes[have..], at + have as u64) {
            Ok(0) => break,
            Ok(n) => have += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    bytes.truncate(have);
    Ok(bytes)
}

/// Gives a range back to the file system; it reads as zeros.
pub fn punch(file: &File, at: u64, length: u64) -> io::Result<()> {
    fault::check(Call::Write)?;
    fallocate(file, libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE, at, length)
}

/// Reserves room for a range; holes in it still read as zeros.
pub fn allocate(file: &File, at: u64, length: u64) -> io::Result<()> {
    fault::check(Call::Allocate)?;
    fallocate(file, libc::FALLOC_FL_KEEP_SIZE, at, length)
}

fn fallocate(file: &File, mode: libc::c_int, at: u64, length: u64) -> io::Result<()> {
    loop {
        // SAFETY: plain numbers and an open descriptor.
        match result(unsafe { libc::fallocate(file.as_raw_fd(), mode, at as libc::off_t, length as libc::off_t) }) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// Makes a file's bytes durable, and what is needed to reach them.
pub fn sync_data(file: &File) -> io::Result<()> {
    fault::check(Call::Sync)?;
    synced(file.sync_data())
}

/// Makes a file or directory durable.
pub fn sync_all(file: &File) -> io::Result<()> {
    fault::check(Call::Sync)?;
    synced(file.sync_all())
}

/// Makes everything on the file system that `file` is on durable; also tells of failed write-back since it was opened.
pub fn sync_file_system(file: &File) -> io::Result<()> {
    fault::check(Call::Sync)?;
    // SAFETY: an open descriptor.
    synced(result(unsafe { libc::syncfs(file.as_raw_fd()) }))
}

/// What came of a sync.
fn synced(result: io::Result<()>) -> io::Result<()> {
    if planted(Bug::ForgivesFailedSync) { Ok(()) } else { result }
}

/// Starts writing a file's changed bytes to the disk, and does not wait for it. Only so that a sync has less to do: what
/// fails, the sync will tell.
pub fn start_write_back(file: &File) {
    // SAFETY: plain numbers and an open descriptor.
    unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, libc::SYNC_FILE_RANGE_WRITE) };
}

/// Whether on the file system of `file` a sync of a newly made file makes its name durable, too: so it is with the
/// journals of ext4 and XFS, which keep the order of changes of names, and with ext4 without one.
pub fn names_follow_files(file: &File) -> io::Result<bool> {
    const XFS_SUPER_MAGIC: libc::c_long = 0x5846_5342;
    // SAFETY: statfs is plain numbers, for which zeros are valid.
    let mut stat: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: an open descriptor, and a structure that outlives the call.
    result(unsafe { libc::fstatfs(file.as_raw_fd(), &mut stat) })?;
    Ok(stat.f_type == libc::EXT4_SUPER_MAGIC || stat.f_type == XFS_SUPER_MAGIC)
}

/// Bytes that the file system of `file` holds in all, and those free for ordinary users.
pub fn room(file: &File) -> io::Result<(u64, u64)> {
    let stat = stat_of_file_system(file)?;
    Ok((stat.f_blocks * stat.f_frsize, stat.f_bavail * stat.f_frsize))
}

fn stat_of_file_system(file: &File) -> io::Result<libc::statvfs> {
    // SAFETY: statvfs is plain numbers, for which zeros are valid.
    let mut stat: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: an open descriptor, and a structure that outlives the call.
    result(unsafe { libc::fstatvfs(file.as_raw_fd(), &mut stat) })?;
    Ok(stat)
}

/// The same of the file system that a directory is on, or that the nearest one above it that there is; with what is kept for root, if
/// that is who asks.
pub fn room_at(dir: &Path) -> io::Result<(u64, u64)> {
    let stat = stat_of_file_system(&File::open(there(dir))?)?;
    // SAFETY: geteuid cannot fail and touches nothing.
    let free = if unsafe { libc::geteuid() } == 0 { stat.f_bfree } else { stat.f_bavail };
    Ok((stat.f_blocks * stat.f_frsize, free * stat.f_frsize))
}

fn there(dir: &Path) -> &Path {
    dir.ancestors().find(|dir| dir.is_dir()).unwrap_or(dir)
}

/// Whether so many bytes could be written in a directory by this process. Found out by reserving them for a moment, in a file
/// without a name, as neither quotas nor what is kept for whom can be told from what is free; where that cannot be done, by this.
pub fn has_room(dir: &Path, bytes: u64) -> io::Result<bool> {
    let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_TMPFILE).open(there(dir));
    match file.and_then(|file| fallocate(&file, libc::FALLOC_FL_KEEP_SIZE, 0, bytes)) {
        Ok(()) => Ok(true),
        Err(e) if is_full(&e) => Ok(false),
        Err(e) if matches!(e.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EISDIR | libc::ENOENT | libc::EINVAL)) => {
            Ok(room_at(dir)?.1 >= bytes)
        }
        Err(e) => Err(e),
    }
}

/// Whether a file system that has taken a write has room for it, so that no later sync can fail for want of it: true of those
/// that overwrite in place. False if that is not known.
pub fn has_room_for_what_it_took(dir: &Path) -> bool {
    let Ok(file) = File::open(there(dir)) else { return false };
    // SAFETY: plain numbers.
    let mut stat: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: an open descriptor, and a structure that outlives the call.
    let told = unsafe { libc::fstatfs(file.as_raw_fd(), &mut stat) } == 0;
    told && matches!(stat.f_type, libc::EXT4_SUPER_MAGIC | libc::XFS_SUPER_MAGIC | libc::TMPFS_MAGIC)
}

/// The next byte from `at` on that is no hole for the file system; None behind the last.
pub fn next_data(file: &File, at: u64) -> io::Result<Option<u64>> {
    // SAFETY: plain numbers and an open descriptor. Nothing uses the file's own position.
    let found = unsafe { libc::lseek(file.as_raw_fd(), at as libc::off_t, libc::SEEK_DATA) };
    if found >= 0 {
        return Ok(Some(found as u64));
    }
    let error = io::Error::last_os_error();
    if error.raw_os_error() == Some(libc::ENXIO) { Ok(None) } else { Err(error) }
}

/// Whether a chain of errors, or what is told of one, says that there is no room.
pub fn comes_from_a_full_disk(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut chain = std::iter::successors(Some(error), |error| error.source());
    let texts = [libc::ENOSPC, libc::EDQUOT].map(|code| io::Error::from_raw_os_error(code).to_string());
    // What has ended a part of a server is told in words.
    chain.any(|error| {
        error.downcast_ref().is_some_and(is_full) || texts.iter().any(|text| error.to_string().contains(text))
    })
}

/// Whether the error says that there is no room, which is no fault of the disk.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT))
}

/// Lets this process open as many files as it may; returns how many that is.
pub fn raise_open_files() -> u64 {
    // SAFETY: rlimit is two numbers.
    let mut limit: libc::rlimit = unsafe { std::mem::zeroed() };
    // SAFETY: a structure that outlives both calls.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) != 0 {
            return 1024;
        }
        let raised = libc::rlimit { rlim_cur: limit.rlim_max, rlim_max: limit.rlim_max };
        if libc::setrlimit(libc::RLIMIT_NOFILE, &raised) == 0 { raised.rlim_cur } else { limit.rlim_cur }
    }
}

#[cfg(test)]
pub mod fault {
    //! Failures of the calling thread's next system calls.

    use super::Call;
    use std::cell::RefCell;
    use std::io;

    thread_local! {
        static PLANNED: RefCell<Vec<(Call, usize, i32)>> = const { RefCell::new(Vec::new()) };
    }

    /// Lets the `skip`-th next call of that kind on this thread fail with `errno`; once.
    pub fn plan(call: Call, skip: usize, errno: i32) {
        PLANNED.with(|p| p.borrow_mut().push((call, skip, errno)));
    }

    /// How many planned failures have not happened.
    pub fn left() -> usize {
        PLANNED.with(|p| p.borrow().len())
    }

    /// Forgets the failures that have not happened.
    pub fn clear() {
        PLANNED.with(|p| p.borrow_mut().clear());
    }

    pub(super) fn check(call: Call) -> io::Result<()> {
        PLANNED.with(|planned| {
            let mut planned = planned.borrow_mut();
            let Some(at) = planned.iter().position(|(kind, ..)| *kind == call) else { return Ok(()) };
            if planned[at].1 > 0 {
                planned[at].1 -= 1;
                return Ok(());
            }
            Err(io::Error::from_raw_os_error(planned.remove(at).2))
        })
    }
}

#[cfg(not(test))]
mod fault {
    use super::Call;

    #[inline(always)]
    pub(super) fn check(_: Call) -> std::io::Result<()> {
        Ok(())
    }
}
