//! `raidfs.toml`: one file for the whole cluster, the same for all programs, checked wholly at start.
//!
//! ```toml
//! cluster = "home"
//! witness = "10.0.0.9:7100"
//! durability = "relaxed"      # or "strict"
//! io_timeout = "30s"
//! scrub_every = "7d"          # or "never"
//!
//! [[pair]]
//! servers = ["10.0.0.1:7101", "10.0.0.2:7101"]
//!
//! [[pair]]
//! servers = ["10.0.0.3:7101", "10.0.0.4:7101"]
//! ```
//!
//! Servers are numbered from 1 in the order in which they stand.

use crate::checksum;
use crate::id::{ClusterId, PairId, ServerId};
use crate::limits;
use crate::printed::printed;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A configuration file is refused if it has more bytes.
const FILE_MAX_BYTES: u64 = 1 << 20;

/// A checked configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The cluster's name; its identity.
    pub cluster: String,
    /// The two servers of each pair.
    pub pairs: Vec<[SocketAddr; 2]>,
    /// The witness.
    pub witness: SocketAddr,
    /// When names are on stable storage.
    pub durability: Durability,
    /// How long an operation that cannot be served waits before EIO.
    pub io_timeout: Duration,
    /// How often each server looks through all of its chunks by itself; None: never.
    pub scrub_every: Option<Duration>,
}

/// When a change of a name is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// When a quorum has it in memory; on stable storage within a second, and at each fsync.
    #[default]
    Relaxed,
    /// When a quorum has it on stable storage.
    Strict,
}

/// Why a configuration is refused. Each says where and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It could not be read.
    #[error("cannot read the configuration {}", printed(path))]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is a directory, a device or a pipe.
    #[error("cannot read the configuration {}: it is no regular file", printed(path))]
    NoFile {
        /// What.
        path: PathBuf,
    },
    /// It is too large to be one.
    #[error("{} is no configuration: it is larger than {} KiB", printed(path), FILE_MAX_BYTES / 1024)]
    TooLarge {
        /// Which file.
        path: PathBuf,
    },
    /// It is not of the form above.
    #[error("{}: {text}", printed(path))]
    Form {
        /// Which file.
        path: PathBuf,
        /// What, in the parser's words.
        text: String,
    },
    /// It is of the form, but does not describe a cluster.
    #[error("{}: {problem}", printed(path))]
    Content {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        problem: Problem,
    },
}

/// What is wrong with a well-formed configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// No name, or one that is no name.
    #[error("`cluster` must be 1 to 64 letters, digits, `-`, `_` or `.`; it is {0:?}")]
    Cluster(String),
    /// No pair at all.
    #[error("there must be at least one [[pair]] with its two servers")]
    NoPairs,
    /// A pair of one, or of three.
    #[error("pair {pair} is exactly two servers, and {servers} would be in it")]
    NotTwo {
        /// Which one, from 1.
        pair: usize,
        /// How many.
        servers: usize,
    },
    /// Too many.
    #[error("{0} pairs are more than this version serves (32)")]
    TooManyPairs(usize),
    /// An address that is none.
    #[error("{text:?} is not an address; write IP:PORT, for example 10.0.0.1:7101")]
    Address {
        /// What it says.
        text: String,
    },
    /// An address at which nobody is reached.
    #[error("nobody can be reached at {0}; write the address at which the other machines reach this server")]
    Unreachable(SocketAddr),
    /// Two processes cannot have one address.
    #[error("the address {0} is given twice; each server and the witness needs its own")]
    Duplicate(SocketAddr),
    /// Not a duration.
    #[error("`io_timeout` is {0:?}; write a number and a unit, for example \"30s\" or \"1500ms\", from 1s to 1h")]
    Duration(String),
    /// Not how often.
    #[error(
        "`scrub_every` is {0:?}; write a number and a unit, for example \"7d\" or \"12h\", from 1h to 365d, or \"never\""
    )]
    ScrubEvery(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    cluster: String,
    witness: String,
    #[serde(default)]
    durability: Durability,
    io_timeout: Option<String>,
    scrub_every: Option<String>,
    #[serde(default)]
    pair: Vec<FilePair>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FilePair {
    servers: Vec<String>,
}

impl Config {
    /// Reads and checks a configuration file.
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        let text = read(path)?;
        let file: File = toml::from_str(&text)
            .map_err(|e| ConfigError::Form { path: path.to_owned(), text: e.to_string().trim_end().to_owned() })?;
        Config::check(file).map_err(|problem| ConfigError::Content { path: path.to_owned(), problem })
    }

    fn check(file: File) -> Result<Config, Problem> {
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if file.cluster.is_empty() || file.cluster.len() > 64 || !file.cluster.chars().all(good) {
            return Err(Problem::Cluster(file.cluster));
        }
        if file.pair.is_empty() {
            return Err(Problem::NoPairs);
        }
        if file.pair.len() > 32 {
            return Err(Problem::TooManyPairs(file.pair.len()));
        }
        let address = |text: &String| {
            let parsed: SocketAddr = text.parse().map_err(|_| Problem::Address { text: text.clone() })?;
            if is_reachable(parsed) { Ok(parsed) } else { Err(Problem::Unreachable(parsed)) }
        };
        let mut pairs = Vec::new();
        for (i, pair) in file.pair.iter().enumerate() {
            let servers = pair.servers.iter().map(address).collect::<Result<Vec<_>, _>>()?;
            let count = servers.len();
            pairs.push(servers.try_into().map_err(|_| Problem::NotTwo { pair: i + 1, servers: count })?);
        }
        let witness = address(&file.witness)?;
        let mut seen = BTreeMap::new();
        for a in pairs.iter().flatten().chain([&witness]) {
            // An address of IPv4 can be written as one of IPv6, too.
            if seen.insert((a.ip().to_canonical(), a.port()), ()).is_some() {
                return Err(Problem::Duplicate(*a));
            }
        }
        let io_timeout = match &file.io_timeout {
            None => limits::IO_TIMEOUT,
            Some(text) => duration(text)
                .filter(|d| (Duration::from_secs(1)..=Duration::from_secs(3600)).contains(d))
                .ok_or_else(|| Problem::Duration(text.clone()))?,
        };
        let scrub_every = match file.scrub_every.as_deref() {
            None => Some(limits::SCRUB_EVERY),
            Some("never") => None,
            Some(text) => Some(
                duration(text)
                    .filter(|d| (Duration::from_secs(3600)..=Duration::from_secs(365 * 86_400)).contains(d))
                    .ok_or_else(|| Problem::ScrubEvery(text.to_owned()))?,
            ),
        };
        Ok(Config { cluster: file.cluster, pairs, witness, durability: file.durability, io_timeout, scrub_every })
    }

    /// The cluster's identity on the wire and in data directories.
    pub fn cluster_id(&self) -> ClusterId {
        ClusterId(checksum::name(self.cluster.bytes()))
    }

    /// All servers, without the witness, in order.
    pub fn servers(&self) -> impl Iterator<Item = ServerId> + use<> {
        (1..=self.pairs.len() as u16 * 2).map(ServerId)
    }

    /// All voters: the servers and the witness.
    pub fn voters(&self) -> Vec<ServerId> {
        self.servers().chain([ServerId::WITNESS]).collect()
    }

    /// A server's address; None if there is no such server.
    pub fn address(&self, server: ServerId) -> Option<SocketAddr> {
        if server.is_witness() {
            return Some(self.witness);
        }
        let at = usize::from(server.0) - 1;
        self.pairs.get(at / 2).map(|p| p[at % 2])
    }

    /// The pair that a server belongs to; None for the witness.
    pub fn pair_of(&self, server: ServerId) -> Option<PairId> {
        let at = usize::from(server.0).checked_sub(1)? / 2;
        (at < self.pairs.len()).then_some(PairId(at as u16))
    }

    /// The two servers of a pair.
    pub fn servers_of(&self, pair: PairId) -> [ServerId; 2] {
        [ServerId(pair.0 * 2 + 1), ServerId(pair.0 * 2 + 2)]
    }
}

/// Whether an address can be one process's.
fn is_reachable(address: SocketAddr) -> bool {
    let ip = address.ip().to_canonical();
    let everybody = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && !everybody
}

/// The text of a configuration file, which is a regular file of bounded length: opening or reading anything else may wait
/// for ever, or never end.
fn read(path: &Path) -> Result<String, ConfigError> {
    let failed = |source| ConfigError::Read { path: path.to_owned(), source };
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(failed)?;
    let found = file.metadata().map_err(failed)?;
    if !found.is_file() {
        return Err(ConfigError::NoFile { path: path.to_owned() });
    }
    let mut text = String::new();
    // One byte more says that there is more, also if the file grows meanwhile.
    file.take(FILE_MAX_BYTES + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > FILE_MAX_BYTES {
        return Err(ConfigError::TooLarge { path: path.to_owned() });
    }
    Ok(text)
}

fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let number: u64 = text[..digits].parse().ok()?;
    match &text[digits..] {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_secs(number.checked_mul(60)?)),
        "h" => Some(Duration::from_secs(number.checked_mul(3600)?)),
        "d" => Some(Duration::from_secs(number.checked_mul(86_400)?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        cluster = "c"
        witness = "127.0.0.1:7100"
        [[pair]]
        servers = ["127.0.0.1:7101", "127.0.0.1:7102"]
        [[pair]]
        servers = ["127.0.0.1:7103", "127.0.0.1:7104"]
    "#;

    fn parse(text: &str) -> Result<Config, Problem> {
        Config::check(toml::from_str(text).unwrap())
    }

    #[test]
    fn servers_are_numbered_in_order() {
        let c = parse(GOOD).unwrap();
        assert_eq!(c.address(ServerId(3)), Some("127.0.0.1:7103".parse().unwrap()));
        assert_eq!(c.address(ServerId(5)), None);
        assert_eq!(c.pair_of(ServerId(4)), Some(PairId(1)));
        assert_eq!(c.pair_of(ServerId::WITNESS), None);
        assert_eq!(c.servers_of(PairId(1)), [ServerId(3), ServerId(4)]);
        assert_eq!(c.voters().len(), 5);
        assert_eq!(c.io_timeout, Duration::from_secs(30));
    }

    #[test]
    fn what_is_no_cluster_is_refused() {
        let twice = GOOD.replace("7104", "7101");
        assert_eq!(parse(&twice), Err(Problem::Duplicate("127.0.0.1:7101".parse().unwrap())));
        let again = GOOD.replace("127.0.0.1:7104", "[::ffff:127.0.0.1]:7101");
        assert_eq!(parse(&again), Err(Problem::Duplicate("[::ffff:127.0.0.1]:7101".parse().unwrap())));
        for nobody in ["0.0.0.0:7104", "255.255.255.255:7104", "127.0.0.1:0", "[::]:7104", "224.0.0.1:7104"] {
            let text = GOOD.replace("127.0.0.1:7104", nobody);
            assert_eq!(parse(&text), Err(Problem::Unreachable(nobody.parse().unwrap())));
        }
        let odd = GOOD.replace(r#", "127.0.0.1:7104""#, "");
        assert_eq!(parse(&odd), Err(Problem::NotTwo { pair: 2, servers: 1 }));
        assert!(matches!(parse(&GOOD.replace("127.0.0.1:7102", "host")), Err(Problem::Address { .. })));
        assert!(matches!(parse(&GOOD.replace("\"c\"", "\"\"")), Err(Problem::Cluster(_))));
        let timeout = format!("io_timeout = \"soon\"\n{GOOD}");
        assert!(matches!(parse(&timeout), Err(Problem::Duration(_))));
        for scrub in ["7", "1m", "366d", "always"] {
            let text = format!("scrub_every = {scrub:?}\n{GOOD}");
            assert_eq!(parse(&text), Err(Problem::ScrubEvery(scrub.into())));
        }
    }

    #[test]
    fn servers_scrub_once_a_week_unless_told_otherwise() {
        let day = Duration::from_secs(86_400);
        for (line, every) in [("", Some(7 * day)), ("\"12h\"", Some(day / 2)), ("\"never\"", None)] {
            let line = if line.is_empty() { String::new() } else { format!("scrub_every = {line}") };
            assert_eq!(parse(&format!("{line}\n{GOOD}")).unwrap().scrub_every, every);
        }
    }

    #[test]
    fn unknown_keys_and_missing_files_are_refused() {
        assert!(toml::from_str::<File>(&format!("mirrors = 3\n{GOOD}")).is_err());
        let missing = Config::load(Path::new("/nonexistent/raidfs.toml")).unwrap_err();
        assert!(matches!(missing, ConfigError::Read { .. }));
        for other in ["/dev/zero", "/dev", "/dev/null"] {
            assert!(matches!(Config::load(Path::new(other)), Err(ConfigError::NoFile { .. })), "{other}");
        }
        let path = std::env::temp_dir().join(format!("raidfs-large-{}.toml", std::process::id()));
        std::fs::File::create(&path).unwrap().set_len(FILE_MAX_BYTES + 1).unwrap();
        let large = Config::load(&path);
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(large, Err(ConfigError::TooLarge { .. })));
    }
}
