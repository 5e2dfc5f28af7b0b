//! One valid component of a path.

use crate::limits::NAME_MAX_BYTES;
use crate::printed::printed_bytes;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A directory entry's name: 1 to 255 bytes, any but `/` and NUL, never `.` or `..`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Bytes", into = "Bytes")]
pub struct FileName(Bytes);

/// Why bytes are not a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// No bytes at all, `.`, `..`, or a `/` or NUL among them.
    #[error("a file name is not empty, not `.` or `..`, and has no `/` and no NUL")]
    Invalid,
    /// Over 255 bytes.
    #[error("a file name has at most {NAME_MAX_BYTES} bytes")]
    TooLong,
}

impl FileName {
    /// Checks `bytes` and wraps them.
    pub fn new(bytes: impl Into<Bytes>) -> Result<FileName, BadName> {
        let bytes = bytes.into();
        if bytes.len() > NAME_MAX_BYTES {
            return Err(BadName::TooLong);
        }
        let dots = matches!(bytes.as_ref(), b"" | b"." | b"..");
        if dots || bytes.iter().any(|&b| b == b'/' || b == 0) { Err(BadName::Invalid) } else { Ok(FileName(bytes)) }
    }

    /// The name as it was given.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl TryFrom<Bytes> for FileName {
    type Error = BadName;
    fn try_from(bytes: Bytes) -> Result<FileName, BadName> {
        FileName::new(bytes)
    }
}

impl From<FileName> for Bytes {
    fn from(name: FileName) -> Bytes {
        name.0
    }
}

impl fmt::Debug for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        printed_bytes(&self.0).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for bad in [&b""[..], b".", b"..", b"a/b", b"a\0"] {
            assert_eq!(FileName::new(bad.to_vec()), Err(BadName::Invalid), "{bad:?}");
        }
        assert_eq!(FileName::new(vec![b'x'; 256]), Err(BadName::TooLong));
        assert!(FileName::new(vec![b'x'; 255]).is_ok());
        assert!(FileName::new(vec![0xff, 0xfe]).is_ok());
    }

    #[test]
    fn a_bad_name_is_refused_when_decoded() {
        let wire = crate::codec::encode(&Bytes::from_static(b"a/b"));
        assert!(crate::codec::decode::<FileName>(&wire).is_err());
    }
}
