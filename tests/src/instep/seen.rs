//! What an operation showed to the program that made it: everything that is compared.

use super::sys::{Call, errno_name};
use std::fmt;

/// A point in time, in nanoseconds since 1970.
pub type Nanos = i128;

/// One thing that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// What it is.
    pub what: String,
    /// What was seen.
    pub value: Value,
}

/// Its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A number that a call returned, or its errno.
    Returned(Call),
    /// Bytes of a file, a target, an extended attribute.
    Bytes(Vec<u8>),
    /// Words that say it.
    Text(String),
    /// The attributes of something.
    Stat(Box<Stat>),
    /// Where a file has data: blocks from, and to which not.
    Data(Vec<(u64, u64)>),
    /// Where lseek found data (true) or a hole.
    Sought(bool, Call),
    /// The entries of a directory in the order of their names, each with its type and inode.
    Entries(Vec<(Vec<u8>, u8, u64)>),
}

/// Attributes, as statx gives them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as the kernel names them")]
pub struct Stat {
    pub ino: u64,
    pub mode: u32,
    pub nlink: u32,
    pub uid: u32,
    pub gid: u32,
    pub rdev: u64,
    pub size: u64,
    pub blocks: u64,
    pub atime: Nanos,
    pub mtime: Nanos,
    pub ctime: Nanos,
    pub btime: Nanos,
    /// What was written has been synced: `blocks` is more than a guess.
    pub settled: bool,
}

impl Seen {
    /// What a call returned.
    pub fn returned(call: Call) -> Seen {
        Seen { what: "returned".to_owned(), value: Value::Returned(call) }
    }

    /// What a call returned, and what it left in a buffer.
    pub fn with_bytes(call: Call, buffer: &[u8]) -> Vec<Seen> {
        let length = call.map_or(0, |n| buffer.len().min(n as usize));
        vec![Seen::returned(call), Seen::bytes("bytes", buffer[..length].to_vec())]
    }

    /// Bytes.
    pub fn bytes(what: &str, bytes: Vec<u8>) -> Seen {
        Seen { what: what.to_owned(), value: Value::Bytes(bytes) }
    }

    /// Words.
    pub fn text(what: &str, text: impl Into<String>) -> Seen {
        Seen { what: what.to_owned(), value: Value::Text(text.into()) }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Returned(Ok(n)) => write!(f, "{n}"),
            Value::Returned(Err(errno)) => f.write_str(&errno_name(*errno)),
            Value::Bytes(bytes) => {
                let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(48)]).into_owned();
                write!(f, "{} bytes {shown:?}", bytes.len())
            }
            Value::Sought(_, call) => Value::Returned(*call).fmt(f),
            Value::Data(runs) => write!(f, "{runs:?}"),
            Value::Text(text) => f.write_str(text),
            Value::Stat(stat) => write!(f, "{stat:?}"),
            Value::Entries(entries) => {
                let names: Vec<_> = entries.iter().map(|(n, kind, _)| (String::from_utf8_lossy(n), kind)).collect();
                write!(f, "{names:?}")
            }
        }
    }
}
