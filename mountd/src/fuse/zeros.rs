//! Gives the kernel zeros for a part of a page that it has: FUSE_NOTIFY_STORE, as in include/uapi/linux/fuse.h of Linux.
//!
//! The kernel locks the page for it. Who has it locked may be waiting for the answer that waits for this: a program that
//! stores through a mapping waits under the lock until the page has been written back, which the kernel puts off while a
//! file is being cut. So nobody waits here for long. But what was stored late would wipe out what was written meanwhile:
//! therefore the zeros are taken away from a store that is given up. The kernel reads them only when it has locked the
//! page, and ends without having changed it (`EFAULT`).

use crate::vfs::Clear;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

/// `FUSE_NOTIFY_STORE` of `enum fuse_notify_code`.
const NOTIFY_STORE: i32 = 4;
/// Bytes of `struct fuse_out_header` and of `struct fuse_notify_store_out`.
const HEADERS_BYTES: usize = 16 + 24;
/// A page that somebody has locked is not waited for longer.
const PATIENCE: Duration = Duration::from_millis(50);
/// Who has read the zeros already is as good as done.
const LAST_PATIENCE: Duration = Duration::from_millis(5);

/// Zeros in memory of their own, which can be taken away while the kernel is about to read them.
struct Zeros {
    address: *mut libc::c_void,
    length: usize,
}

// SAFETY: the memory is only ever read, and by the kernel.
unsafe impl Send for Zeros {}
// SAFETY: as above.
unsafe impl Sync for Zeros {}

impl Zeros {
    fn new(length: usize) -> io::Result<Zeros> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a fresh mapping, checked for failure before use.
        let address = unsafe { libc::mmap(ptr::null_mut(), length, libc::PROT_READ, flags, -1, 0) };
        if address == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(Zeros { address, length }) }
    }

    /// From now on reading them is an error. The addresses stay taken: others' bytes must not come to be there.
    fn take_away(&self) {
        // SAFETY: the whole of a mapping that is there until it is dropped, and that no code reads.
        unsafe { libc::mprotect(self.address, self.length, libc::PROT_NONE) };
    }

    fn store(&self, device: &File, ino: u64, offset: u64) -> io::Result<()> {
        let mut headers = Vec::with_capacity(HEADERS_BYTES);
        headers.extend(((HEADERS_BYTES + self.length) as u32).to_ne_bytes());
        headers.extend(NOTIFY_STORE.to_ne_bytes());
        // No request's number: it answers none.
        headers.extend(0_u64.to_ne_bytes());
        headers.extend(ino.to_ne_bytes());
        headers.extend(offset.to_ne_bytes());
        headers.extend((self.length as u32).to_ne_bytes());
        headers.extend(0_u32.to_ne_bytes());
        let parts = [
            libc::iovec { iov_base: headers.as_mut_ptr().cast(), iov_len: headers.len() },
            libc::iovec { iov_base: self.address, iov_len: self.length },
        ];
        // SAFETY: both live until the call has returned. The zeros may be taken away meanwhile: only the kernel reads them,
        // which finds out.
        let written = unsafe { libc::writev(device.as_raw_fd(), parts.as_ptr(), parts.len() as libc::c_int) };
        match usize::try_from(written) {
            Ok(written) if written == headers.len() + self.length => Ok(()),
            Ok(_) => Err(io::ErrorKind::WriteZero.into()),
            Err(_) => Err(io::Error::last_os_error()),
        }
    }
}

impl Drop for Zeros {
    fn drop(&mut self) {
        // SAFETY: the whole of a mapping that nobody uses any more.
        unsafe { libc::munmap(self.address, self.length) };
    }
}

/// Has the kernel clear a part of a page, unless somebody keeps that locked. `device` is the mount's.
pub(super) async fn clear(device: Arc<File>, clear: Clear) {
    let Clear { ino, range, done } = clear;
    let result = store_in_time(device, ino.0, range).await;
    if let Err(error) = &result {
        tracing::debug!("the kernel did not clear what is behind the end of inode {ino}: {error}");
    }
    // Whoever waited may have gone on.
    let _ = done.send(result.is_ok());
}

async fn store_in_time(device: Arc<File>, ino: u64, range: Range<u64>) -> io::Result<()> {
    let zeros = Arc::new(Zeros::new((range.end - range.start) as usize)?);
    let stored = zeros.clone();
    let mut storing = tokio::task::spawn_blocking(move || stored.store(&device, ino, range.start));
    let result = match tokio::time::timeout(PATIENCE, &mut storing).await {
        Err(_) => {
            // One that has not begun never will: the kernel takes the file to be longer as soon as one begins.
            storing.abort();
            zeros.take_away();
            tokio::time::timeout(LAST_PATIENCE, storing).await
        }
        in_time => in_time,
    };
    match result {
        Ok(stored) => stored.map_err(io::Error::other)?,
        Err(late) => Err(late.into()),
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
        Zeros::new(24).unwrap().store(&device, 7, 4072).unwrap();
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
        let zeros = Zeros::new(24).unwrap();
        zeros.take_away();
        // A pipe takes what comes before them; the device takes all or nothing.
        assert!(zeros.store(&device, 7, 0).is_err());
    }
}
