//! The file `identity`: lines of text, the last one a checksum of those before. Pure but for reading it.

use super::{FORMAT, Identity};
use raidfs_common::checksum;
use raidfs_common::id::{ClusterId, ServerId};
use std::io::Read;
use std::path::Path;

const FIRST_LINE: &str = "raidfs data directory, format ";
/// More than an identity can be.
const FILE_MAX_BYTES: u64 = 4096;

/// Why there is no identity.
#[derive(Debug)]
pub enum Unreadable {
    /// No such file.
    Missing,
    /// Of a format that this program does not know.
    Newer(u32),
    /// Not what was written.
    Damaged,
    /// The system said no.
    Io(std::io::Error),
}

/// Reads a file of at most [`FILE_MAX_BYTES`]; longer ones come back cut, and so damaged.
pub fn read_text(path: &Path) -> Result<String, Unreadable> {
    let file = std::fs::File::open(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => Unreadable::Missing,
        _ => Unreadable::Io(e),
    })?;
    let mut bytes = Vec::new();
    file.take(FILE_MAX_BYTES).read_to_end(&mut bytes).map_err(Unreadable::Io)?;
    String::from_utf8(bytes).map_err(|_| Unreadable::Damaged)
}

/// Reads an identity, and the directory's number.
pub fn read(path: &Path) -> Result<(Identity, u32), Unreadable> {
    decode(&read_text(path)?)
}

/// The file's text; `directory` is the directory's number.
pub fn encode(identity: &Identity, directory: u32) -> String {
    sealed(format!(
        "{FIRST_LINE}{FORMAT}\ncluster {}\ncluster-id {:016x}\nserver {}\ndirectory {directory:08x}\n",
        identity.cluster, identity.cluster_id.0, identity.server.0
    ))
}

fn decode(text: &str) -> Result<(Identity, u32), Unreadable> {
    let lines = unsealed(text).ok_or(Unreadable::Damaged)?;
    let format = lines.lines().next().and_then(|line| line.strip_prefix(FIRST_LINE)).and_then(|f| f.parse().ok());
    match format {
        Some(FORMAT) => {}
        Some(newer) => return Err(Unreadable::Newer(newer)),
        None => return Err(Unreadable::Damaged),
    }
    let identity = || {
        let cluster = value(lines, "cluster")?.to_owned();
        let cluster_id = ClusterId(u64::from_str_radix(value(lines, "cluster-id")?, 16).ok()?);
        let identity = Identity { cluster, cluster_id, server: ServerId(value(lines, "server")?.parse().ok()?) };
        Some((identity, u32::from_str_radix(value(lines, "directory")?, 16).ok()?))
    };
    identity().ok_or(Unreadable::Damaged)
}

/// The lines with their checksum behind them.
pub fn sealed(lines: String) -> String {
    let sum = checksum::record(lines.as_bytes());
    format!("{lines}sum {sum:08x}\n")
}

/// The lines before the checksum, if they match it.
pub fn unsealed(text: &str) -> Option<&str> {
    let (lines, sum) = text.split_at_checked(text.strip_suffix('\n')?.rfind('\n')? + 1)?;
    (sum == format!("sum {:08x}\n", checksum::record(lines.as_bytes()))).then_some(lines)
}

/// The rest of the line that begins with this word.
pub fn value<'a>(lines: &'a str, word: &str) -> Option<&'a str> {
    lines.lines().find_map(|line| line.strip_prefix(word)?.strip_prefix(' '))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn identity() -> Identity {
        Identity { cluster: "home".to_owned(), cluster_id: ClusterId(0xabc), server: ServerId(3) }
    }

    #[test]
    fn every_changed_or_missing_byte_is_found() {
        let text = encode(&identity(), 0xab);
        assert_eq!(decode(&text).unwrap(), (identity(), 0xab));
        for at in 0..text.len() {
            assert!(matches!(decode(&text[..at]), Err(Unreadable::Damaged)), "cut at {at}");
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            let changed = String::from_utf8(bytes).unwrap();
            assert!(matches!(decode(&changed), Err(Unreadable::Damaged)), "byte {at}");
        }
    }

    #[test]
    fn another_format_is_not_damage() {
        let text = sealed(format!("{FIRST_LINE}2\nwho knows\n"));
        assert!(matches!(decode(&text), Err(Unreadable::Newer(2))));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(text in ".*") {
            prop_assert!(decode(&text).is_err());
            let _ = decode(&sealed(text));
        }
    }
}
