//! The only table from outcomes to errno.

use fuser::Errno;
use raidfs_common::error::FsError;

/// What an application sees of an outcome.
pub fn errno(error: FsError) -> Errno {
    match error {
        FsError::NotFound => Errno::ENOENT,
        FsError::Exists => Errno::EEXIST,
        FsError::NotDir => Errno::ENOTDIR,
        FsError::IsDir => Errno::EISDIR,
        FsError::NotEmpty => Errno::ENOTEMPTY,
        FsError::Invalid => Errno::EINVAL,
        FsError::NameTooLong => Errno::ENAMETOOLONG,
        FsError::TooManyLinks => Errno::EMLINK,
        FsError::TooBig => Errno::EFBIG,
        FsError::NoSpace => Errno::ENOSPC,
        FsError::NotPermitted => Errno::EPERM,
        FsError::Denied => Errno::EACCES,
        FsError::NoData => Errno::ENODATA,
        FsError::Range => Errno::ERANGE,
        FsError::ValueTooBig => Errno::E2BIG,
        FsError::NotSupported => Errno::EOPNOTSUPP,
        FsError::NoAddress => Errno::ENXIO,
        FsError::Stale => Errno::ESTALE,
        FsError::BadHandle => Errno::EBADF,
        FsError::Io => Errno::EIO,
        FsError::Interrupted => Errno::EINTR,
        FsError::ReadOnly => Errno::EROFS,
        FsError::Busy => Errno::EBUSY,
        FsError::NoRequest => Errno::ENOTTY,
    }
}
