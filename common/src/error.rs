//! Two families that cross the wire: what an application may see ([`FsError`]), and what only the client acts on
//! ([`Rejection`]). A request that was sent and not answered is neither: it is retried with its own number.

use crate::id::{Epoch, LogIndex, PairId, ServerId};
use serde::{Deserialize, Serialize};

/// The outcome of an operation that an application sees as an errno. Part of the replicated result: a refused
/// rename is a successfully applied entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
pub enum FsError {
    /// ENOENT
    #[error("no such file or directory")]
    NotFound,
    /// EEXIST
    #[error("file exists")]
    Exists,
    /// ENOTDIR
    #[error("not a directory")]
    NotDir,
    /// EISDIR
    #[error("is a directory")]
    IsDir,
    /// ENOTEMPTY
    #[error("directory not empty")]
    NotEmpty,
    /// EINVAL
    #[error("invalid argument")]
    Invalid,
    /// ENAMETOOLONG
    #[error("file name too long")]
    NameTooLong,
    /// EMLINK
    #[error("too many links")]
    TooManyLinks,
    /// EFBIG
    #[error("file too large")]
    TooBig,
    /// ENOSPC
    #[error("no space left")]
    NoSpace,
    /// EPERM
    #[error("operation not permitted")]
    NotPermitted,
    /// EACCES
    #[error("permission denied")]
    Denied,
    /// ENODATA: no such extended attribute, or no data behind this offset
    #[error("no data available")]
    NoData,
    /// ERANGE
    #[error("result does not fit")]
    Range,
    /// E2BIG
    #[error("value too large")]
    ValueTooBig,
    /// EOPNOTSUPP
    #[error("operation not supported")]
    NotSupported,
    /// ENXIO: SEEK_DATA or SEEK_HOLE behind the end
    #[error("no such address")]
    NoAddress,
    /// ESTALE: the inode is gone
    #[error("stale file handle")]
    Stale,
    /// EBADF
    #[error("bad file handle")]
    BadHandle,
    /// EIO: the cluster could not serve it within `io_timeout`, or bytes are lost
    #[error("input/output error")]
    Io,
    /// EINTR
    #[error("interrupted")]
    Interrupted,
    /// EROFS
    #[error("read-only")]
    ReadOnly,
    /// EBUSY
    #[error("busy")]
    Busy,
    /// ENOTTY: no such request to a file
    #[error("no such request")]
    NoRequest,
}

/// Why a server does not serve a request; names the caller's next move.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Rejection {
    /// Ask `leader`, or the next server if nobody leads at the moment.
    #[error("not the leader")]
    NotLeader {
        /// Who leads, as far as this server knows.
        leader: Option<ServerId>,
    },
    /// No quorum, or no leader heard within the lease: back off, try another.
    #[error("no quorum")]
    NoQuorum,
    /// This server has not applied `needed` yet: try another, or again.
    #[error("has not applied entry {needed} yet")]
    Behind {
        /// The entry that the request said it must have seen.
        needed: LogIndex,
    },
    /// The pair's epoch is not the request's: fetch the pairs' states, then ask who is primary now.
    #[error("{pair} is at epoch {current}")]
    WrongEpoch {
        /// The pair.
        pair: PairId,
        /// Its epoch as this server knows it.
        current: Epoch,
    },
    /// This server is not primary for that chunk, or its copy is not in sync: fetch the pairs' states.
    #[error("not in charge of that chunk")]
    NotInCharge,
    /// The session is not open: it lapsed, or was taken over.
    #[error("mount session is not open")]
    NoSession,
    /// A retry of a request whose outcome is not kept any more.
    #[error("request was answered long ago")]
    Forgotten,
    /// Too much in flight: back off.
    #[error("overloaded")]
    Overloaded,
    /// The server's disk failed; it will be evicted: back off, then fetch the pairs' states.
    #[error("its disk failed")]
    DiskFailed,
    /// The bytes do not match their checksum here: read the other mirror.
    #[error("its copy is damaged")]
    Damaged,
    /// Its disk has no room, nothing was changed.
    #[error("its disk is full")]
    Full,
    /// The server is stopping or starting: try another.
    #[error("stopping or starting")]
    Away,
    /// The request is of a form that no honest client sends: give up.
    #[error("bad request: {0}")]
    Bad(String),
    /// The file has ended, and its bytes with it: give up, nobody can see it any more.
    #[error("the file is gone")]
    Gone,
    /// The bytes were lost with both servers of a pair, and an operator has accepted that: give up, nobody has them.
    #[error("the bytes were lost, which was accepted")]
    Lost,
}

/// What a client does after a [`Rejection`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextMove {
    /// Ask this server now.
    Ask(ServerId),
    /// Ask another server, after a short pause.
    Another,
    /// Learn the pairs' states, then choose anew.
    Refresh,
    /// Read the other mirror.
    OtherMirror,
    /// Nothing helps.
    GiveUp,
}

impl Rejection {
    /// What the caller should do.
    pub fn next_move(&self) -> NextMove {
        match self {
            Rejection::NotLeader { leader: Some(id) } => NextMove::Ask(*id),
            Rejection::NotLeader { leader: None }
            | Rejection::NoQuorum
            | Rejection::Behind { .. }
            | Rejection::Overloaded
            | Rejection::Away => NextMove::Another,
            Rejection::WrongEpoch { .. } | Rejection::NotInCharge | Rejection::DiskFailed => NextMove::Refresh,
            Rejection::Damaged => NextMove::OtherMirror,
            Rejection::NoSession
            | Rejection::Forgotten
            | Rejection::Full
            | Rejection::Bad(_)
            | Rejection::Gone
            | Rejection::Lost => NextMove::GiveUp,
        }
    }
}
