//! What can go wrong with the namespace of one server: its store, never its contents' outcomes (those are
//! [`raidfs_common::error::FsError`], and part of the replicated state).

use super::rows::FORMAT;
use raidfs_common::id::LogIndex;
use std::error::Error;
use std::io;

/// Why this server's namespace cannot be used. Whoever sees one stops serving names from it: the state in memory may
/// be in the middle of a change. Opening it again, or dropping it for a snapshot, are the ways out.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The store below refused.
    #[error("cannot {action} the namespace's store")]
    Store {
        /// What was tried.
        action: &'static str,
        /// What the store said.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A row is not what it must be.
    #[error("the namespace's store is damaged: row {key} {problem}")]
    Damaged {
        /// Which row, in printable form.
        key: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Written by a newer version of this program.
    #[error("the namespace's store has format {found}; this version reads formats up to {FORMAT}")]
    Newer {
        /// The format found.
        found: u8,
    },
    /// There are rows, but not the one that is written last: a snapshot was being installed when the server ended.
    #[error("the namespace's store is half made: drop it and fetch a snapshot")]
    HalfMade,
    /// An entry came out of order.
    #[error("entry {index} cannot be applied after entry {applied}")]
    OutOfOrder {
        /// The last one applied.
        applied: LogIndex,
        /// The one that came.
        index: LogIndex,
    },
    /// An earlier fault left the state in memory in doubt.
    #[error("the namespace stopped at an earlier fault")]
    Stopped,
    /// A snapshot's bytes are not what its maker sent.
    #[error("the snapshot is damaged: {problem}")]
    Snapshot {
        /// What is wrong with it.
        problem: &'static str,
    },
}

impl Fault {
    /// The store said no to `action`.
    pub fn store(action: &'static str, source: impl Error + Send + Sync + 'static) -> Fault {
        Fault::Store { action, source: Box::new(source) }
    }

    /// Whether the rows were not looked at for want of something else (open files, memory, room, rights, or another has the
    /// store): nothing is known about them, and the store must not be dropped for it.
    pub fn says_nothing_about_rows(&self) -> bool {
        let wanting = [
            libc::EMFILE,
            libc::ENFILE,
            libc::ENOMEM,
            libc::ENOSPC,
            libc::EDQUOT,
            libc::EACCES,
            libc::EPERM,
            libc::EROFS,
            libc::EAGAIN,
        ];
        let first: &(dyn Error + 'static) = self;
        let mut chain = std::iter::successors(Some(first), |&error| error.source());
        chain.any(|error| {
            let code = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
            code.is_some_and(|code| wanting.contains(&code))
        })
    }

    /// The row under `key` is not what it must be.
    pub fn damaged(key: &[u8], problem: &'static str) -> Fault {
        Fault::Damaged { key: key.escape_ascii().to_string(), problem }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the store's library says it.
    #[derive(Debug, thiserror::Error)]
    #[error("the table cannot be read")]
    struct Above(#[source] io::Error);

    #[test]
    fn what_is_wanting_elsewhere_is_told_from_damage() {
        let of = |code| Fault::store("read", io::Error::from_raw_os_error(code));
        assert!(of(libc::EMFILE).says_nothing_about_rows() && of(libc::EACCES).says_nothing_about_rows());
        let above = |code| Fault::store("read", Above(io::Error::from_raw_os_error(code)));
        assert!(above(libc::EMFILE).says_nothing_about_rows() && !above(libc::EIO).says_nothing_about_rows());
        assert!(!of(libc::EIO).says_nothing_about_rows(), "a disk that does not give the bytes has lost them");
        assert!(!Fault::damaged(b"row", "is damaged").says_nothing_about_rows());
        assert!(!Fault::store("read", io::Error::from(io::ErrorKind::UnexpectedEof)).says_nothing_about_rows());
    }
}
