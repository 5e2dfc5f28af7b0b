//! Gives the kernel zeros for a part of a page that it has: FUSE_NOTIFY_STORE, as in include/uapi/linux/fuse.h of Linux.
//!
//! The kernel locks the page for it. Who has it locked may be waiting for the answer that waits for this: a program that
//! stores through a mapping waits under the lock until the page has been written back, which the kernel puts off while a
//! file is being cut. So nobody waits here for long. But what was stored late would wipe out what was written meanwhile:
//! therefore the zeros are taken away from a store that is given up. The kernel reads them only when it has locked the
//! page, and ends without having changed it (`EFAULT`).

use crate::vfs::{Clear, Cleared, PAGE_BYTES};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// `FUSE_NOTIFY_STORE` of `enum fuse_notify_code`.
const NOTIFY_STORE: i32 = 4;
/// Bytes of `struct fuse_out_header` and of `struct fuse_notify_store_out`.
const HEADERS_BYTES: usize = 16 + 24;
/// A thread to ask by is not waited for longer.
const BEGIN_PATIENCE: Duration = Duration::from_millis(50);
/// Who has read the zeros already is as good as done.
const LAST_PATIENCE: Duration = Duration::from_millis(5);

/// A message that stores zeros, in memory of its own, which can be taken away while the kernel is about to read it. The
/// headers have pages of their own: once the kernel reads from a page it can read on in it.
struct Zeros {
    address: *mut libc::c_void,
    /// Of the zeros.
    length: usize,
}

// SAFETY: once made the memory is only ever read, and by the kernel.
unsafe impl Send for Zeros {}
// SAFETY: as above.
unsafe impl Sync for Zeros {}

impl Zeros {
    /// For these bytes of an inode.
    fn new(ino: u64, range: Range<u64>) -> io::Result<Zeros> {
        let length = (range.end - range.start) as usize;
        let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a fresh mapping, checked for failure before use.
        let address = unsafe { libc::mmap(ptr::null_mut(), Zeros::before() + length, access, flags, -1, 0) };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let zeros = Zeros { address, length };
        let headers = headers(ino, range.start, length);
        // SAFETY: they end where the first pages of our own fresh mapping do.
        unsafe { ptr::copy_nonoverlapping(headers.as_ptr(), zeros.message().cast_mut().cast(), HEADERS_BYTES) };
        Ok(zeros)
    }

    /// Bytes before the zeros: a page, at the end of which the headers are.
    fn before() -> usize {
        *PAGE_BYTES as usize
    }

    /// Where it begins.
    fn message(&self) -> *const libc::c_void {
        // SAFETY: within the mapping.
        unsafe { self.address.byte_add(Zeros::before() - HEADERS_BYTES) }
    }

    /// From now on reading it is an error. The addresses stay taken: others' bytes must not come to be there.
    fn take_away(&self) {
        // SAFETY: the whole of a mapping that is there until it is dropped, and that no code reads.
        unsafe { libc::mprotect(self.address, Zeros::before() + self.length, libc::PROT_NONE) };
    }

    fn store(&self, device: &File) -> io::Result<()> {
        let length = HEADERS_BYTES + self.length;
        // SAFETY: it lives until the call has returned. It may be taken away meanwhile: only the kernel reads it, which
        // finds out.
        let written = unsafe { libc::write(device.as_raw_fd(), self.message(), length) };
        match usize::try_from(written) {
            Ok(written) if written == length => Ok(()),
            Ok(_) => Err(io::ErrorKind::WriteZero.into()),
            Err(_) => Err(io::Error::last_os_error()),
        }
    }
}

/// `struct fuse_out_header` and `struct fuse_notify_store_out`.
fn headers(ino: u64, offset: u64, length: usize) -> Vec<u8> {
    let mut headers = Vec::with_capacity(HEADERS_BYTES);
    headers.extend(((HEADERS_BYTES + length) as u32).to_ne_bytes());
    headers.extend(NOTIFY_STORE.to_ne_bytes());
    // No request's number: it answers none.
    headers.extend(0_u64.to_ne_bytes());
    headers.extend(ino.to_ne_bytes());
    headers.extend(offset.to_ne_bytes());
    headers.extend((length as u32).to_ne_bytes());
    headers.extend(0_u32.to_ne_bytes());
    headers
}

impl Drop for Zeros {
    fn drop(&mut self) {
        // SAFETY: the whole of a mapping that nobody uses any more.
        unsafe { libc::munmap(self.address, Zeros::before() + self.length) };
    }
}

/// Has the kernel clear a part of a page, unless somebody keeps that locked. `device` is the mount's.
pub(super) async fn clear(device: Arc<File>, clear: Clear) {
    let Clear { ino, range, patience, done } = clear;
    let cleared = store_in_time(device, ino.0, range, patience).await.unwrap_or_else(|error| {
        tracing::debug!("the kernel did not clear what is behind the end of inode {ino}: {error}");
        Cleared::Unasked
    });
    // Whoever waited may have gone on.
    let _ = done.send(cleared);
}

async fn store_in_time(device: Arc<File>, ino: u64, range: Range<u64>, patience: Duration) -> io::Result<Cleared> {
    let zeros = Arc::new(Zeros::new(ino, range)?);
    let has_begun = Arc::new(AtomicBool::new(false));
    let (stored, begins) = (zeros.clone(), has_begun.clone());
    let mut storing = tokio::task::spawn_blocking(move || {
        begins.store(true, Ordering::Relaxed);
        stored.store(&device)
    });
    let in_time = tokio::time::timeout(patience, &mut storing).await;
    let asked = has_begun.load(Ordering::Relaxed);
    let in_time = match in_time {
        // On a busy machine a thread comes late.
        Err(_) if !asked => tokio::time::timeout(BEGIN_PATIENCE, &mut storing).await,
        in_time => in_time,
    };
    if let Ok(stored) = in_time {
        return stored.map_err(io::Error::other)?.map(|()| Cleared::Yes);
    }
    // One that has not begun never will: once the kernel has read the headers it takes the file to be longer.
    storing.abort();
    zeros.take_away();
    match tokio::time::timeout(LAST_PATIENCE, storing).await {
        Ok(Ok(Ok(()))) => Ok(Cleared::Yes),
        // It waits for the page still, or did, and has found nothing to store.
        _ if asked => Ok(Cleared::Locked),
        _ => Ok(Cleared::Unasked),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::FromRawFd;

    /// A pipe takes what the device would.
    fn pipe() -> (File, File) {
        let mut ends = [0; 2];
        // SAFETY: room for the two descriptors that it makes; each becomes one file.
        unsafe {
            assert_eq!(libc::pipe(ends.as_mut_ptr()), 0);
            (File::from_raw_fd(ends[0]), File::from_raw_fd(ends[1]))
        }
    }

    #[test]
    fn a_message_is_as_the_kernel_reads_it() {
        let (mut out, device) = pipe();
        Zeros::new(7, 4072..4096).unwrap().store(&device).unwrap();
        drop(device);
        let mut message = Vec::new();
        io::Read::read_to_end(&mut out, &mut message).unwrap();
        let number =
            |at: usize, length: usize| message[at..at + length].iter().rev().fold(0_u64, |n, b| n << 8 | u64::from(*b));
        assert_eq!(number(0, 4), message.len() as u64);
        assert_eq!([number(4, 4), number(8, 8)], [4, 0]);
        assert_eq!([number(16, 8), number(24, 8), number(32, 4), number(36, 4)], [7, 4072, 24, 0]);
        assert_eq!(message[40..], [0; 24]);
    }

    #[test]
    fn zeros_that_were_taken_away_are_stored_nowhere() {
        let (_out, device) = pipe();
        let zeros = Zeros::new(7, 4072..4096).unwrap();
        zeros.take_away();
        assert_eq!(zeros.store(&device).unwrap_err().raw_os_error(), Some(libc::EFAULT), "nor is the file longer");
        // SAFETY: within the mapping; the kernel finds out that it may not be read.
        let late = unsafe { libc::write(device.as_raw_fd(), zeros.address.byte_add(Zeros::before()), zeros.length) };
        assert_eq!(
            (late, io::Error::last_os_error().raw_os_error()),
            (-1, Some(libc::EFAULT)),
            "with the headers read"
        );
    }
}
