//! Handles of files as the kernel gives them out: numbers by which it finds an inode again that it has no name of, as a
//! server of NFS hands them to its clients. Nothing is judged here.

use std::ffi::CStr;

/// The kernel's own bound (`MAX_HANDLE_SZ`).
pub const HANDLE_MAX_BYTES: usize = 128;

/// The kernel's `struct file_handle`, with room for the longest.
#[repr(C)]
#[derive(Clone)]
pub struct Handle {
    /// Bytes that are of use; before it is taken, bytes of room.
    pub length: u32,
    /// Which kind of handle it is: a word of its file system's own.
    pub kind: i32,
    /// The handle.
    pub bytes: [u8; HANDLE_MAX_BYTES],
}

impl Handle {
    /// Room for `length` bytes of a handle, [`HANDLE_MAX_BYTES`] at most.
    pub fn room(length: usize) -> Handle {
        Handle { length: length.min(HANDLE_MAX_BYTES) as u32, kind: 0, bytes: [0; HANDLE_MAX_BYTES] }
    }

    /// `name_to_handle_at`: takes the handle of a path below `dirfd` into this room. What the call returned, errno for
    /// the rest; and the number of the mount that it was found in.
    pub fn take(&mut self, dirfd: i32, path: &CStr, flags: i32) -> (i64, i32) {
        let mut mount: libc::c_int = 0;
        // SAFETY: the path ends in NUL, the handle has the room that it says it has, and all live through the call.
        let done = unsafe {
            libc::syscall(
                libc::SYS_name_to_handle_at,
                dirfd,
                path.as_ptr(),
                std::ptr::from_mut(self),
                &raw mut mount,
                flags,
            )
        };
        (done, mount)
    }

    /// `open_by_handle_at` in the file system that `mount` is in; a descriptor, or errno for the reason.
    pub fn open(&mut self, mount: i32, flags: i32) -> i64 {
        // SAFETY: the handle is as long as it says, and lives through the call.
        unsafe { libc::syscall(libc::SYS_open_by_handle_at, mount, std::ptr::from_mut(self), flags) }
    }
}
