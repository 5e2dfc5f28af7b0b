//! Why a command failed, in words that say what was tried, on what, and what to do. Printed once, by the program.

use super::local::Name;
use raidfs_common::config::ConfigError;
use raidfs_common::log::chain;
use raidfs_common::printed::printed;
use std::io;
use std::path::PathBuf;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// `raidfs.toml` is refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The system refused something about a file.
    #[error("cannot {action} {}", printed(path))]
    File {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is no cluster where one was looked for.
    #[error("there is no cluster in {} (no raidfs.toml); `raidfs up --dir DIR` makes one, --dir or --config names another", printed(.0))]
    NoCluster(PathBuf),
    /// Options disagree with the cluster that is there.
    #[error("{} is a cluster of {there}, not of {asked}: leave the option away, or choose another --dir", printed(dir))]
    OtherCluster {
        /// Where.
        dir: PathBuf,
        /// What it is.
        there: String,
        /// What was asked for.
        asked: String,
    },
    /// `--servers` that cannot be.
    #[error("--servers is {0}: servers come in pairs, so it is an even number from 2 to 64")]
    Servers(u16),
    /// `--base-port` that cannot be.
    #[error("--base-port is {port}: {needed} ports from there on do not fit below 65536")]
    Ports {
        /// The first.
        port: u16,
        /// How many.
        needed: u16,
    },
    /// No run of free ports.
    #[error("no {0} free ports in a row on 127.0.0.1 between 7100 and 7900; name others with --base-port")]
    NoPorts(u16),
    /// A port that is taken.
    #[error("{name} cannot have its address {address}: {holder}; nothing was started")]
    PortTaken {
        /// Whose it would be.
        name: Name,
        /// The address.
        address: std::net::SocketAddr,
        /// Who has it.
        holder: String,
    },
    /// An address that cannot be listened on, though nobody does.
    #[error("{name} cannot listen on its address {address}; nothing was started")]
    NoAddress {
        /// Whose it would be.
        name: Name,
        /// The address.
        address: std::net::SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A name of no process.
    #[error("there is no {asked:?} in this cluster; it has {}", known.join(", "))]
    NoSuchName {
        /// What was asked for.
        asked: String,
        /// What there is.
        known: Vec<String>,
    },
    /// One of the three programs is missing.
    #[error("the program {} is missing: it belongs beside `raidfs`; build or install all three together", printed(.0))]
    NoProgram(PathBuf),
    /// It could not be started.
    #[error("cannot start {name}")]
    Start {
        /// What.
        name: Name,
        /// What the system said.
        source: io::Error,
    },
    /// It ended when it should run.
    #[error("{name} {how}; the end of {}:\n{tail}", printed(log))]
    Died {
        /// What.
        name: Name,
        /// How it ended.
        how: String,
        /// Its log.
        log: PathBuf,
        /// The log's last lines.
        tail: String,
    },
    /// It runs but does not get anywhere.
    #[error("{what} within {seconds} s; the end of {}:\n{tail}", printed(log))]
    Late {
        /// What did not happen.
        what: String,
        /// How long it was waited for.
        seconds: u64,
        /// The log that tells most.
        log: PathBuf,
        /// The log's last lines.
        tail: String,
    },
    /// mountd has ended, and something was lost with it.
    #[error("mountd has ended, and not well: {why} (more in {})", printed(log))]
    EndedBadly {
        /// What it said last.
        why: String,
        /// Its log.
        log: PathBuf,
    },
    /// It does not end.
    #[error("{name} (pid {pid}) is still there {seconds} s after {signal}")]
    Stuck {
        /// What.
        name: Name,
        /// Its process.
        pid: i32,
        /// What it was sent.
        signal: &'static str,
        /// How long ago.
        seconds: u64,
    },
    /// It is another user's.
    #[error(
        "{name} (pid {pid}) cannot be sent a signal: not permitted; run this as root, or as the user that started it"
    )]
    NotPermitted {
        /// What.
        name: Name,
        /// Its process.
        pid: i32,
    },
    /// There is no FUSE.
    #[error("/dev/fuse is not there: the kernel's fuse module is missing, or this container was not given the device")]
    NoFuse,
    /// Mounting is not for everyone.
    #[error("mounting needs root")]
    NotRoot,
    /// Something that is no place to mount on.
    #[error("cannot mount on {}: {why}", printed(path))]
    MountPoint {
        /// Where.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// A store in a store.
    #[error("{} is on a raidfs mount, where no cluster is kept; choose another --dir", printed(.0))]
    OnRaidfs(PathBuf),
    /// The mount is in use.
    #[error("{} is in use, nothing was stopped (--force unmounts it all the same, and its users see it until they let go):\n{}", printed(path), holders.join("\n"))]
    Busy {
        /// The mount point.
        path: PathBuf,
        /// By whom, one line each.
        holders: Vec<String>,
    },
    /// The mount does not answer, so that nothing in it can be waited for.
    #[error(
        "{} does not answer, nothing was stopped: mountd hangs, or the servers that it waits for are away (`raidfs status`); \
         --force takes all down nevertheless, and what was written and not synced may be lost then", printed(.0)
    )]
    MountHangs(PathBuf),
    /// A data directory is not given up.
    #[error("the data directory of {server} is not given up, and nothing has changed: {why}")]
    NotReplaced {
        /// Whose.
        server: raidfs_common::id::ServerId,
        /// Why not.
        why: raidfs_common::rpc::admin::NotReplaced,
    },
    /// The loss of a pair is not accepted.
    #[error("the loss of {servers} is not accepted, and nothing has changed: {why}")]
    NotAccepted {
        /// Its servers.
        servers: String,
        /// Why not.
        why: raidfs_common::rpc::admin::NotAccepted,
    },
    /// Whether the loss of a pair is accepted is not known.
    #[error("whether the loss of {servers} is accepted is not known ({why}): `raidfs status` says so, or say it again")]
    MayBeAccepted {
        /// Its servers.
        servers: String,
        /// The last that was heard.
        why: raidfs_common::rpc::admin::NotAccepted,
    },
    /// There is no such pair.
    #[error("there is no pair {asked:?} in this cluster; it has {}", known.join(", "))]
    NoSuchPair {
        /// What was asked for.
        asked: String,
        /// What there is.
        known: Vec<String>,
    },
    /// What cannot be undone was not confirmed.
    #[error("it was not confirmed, and nothing has changed (in a script: --yes)")]
    NotConfirmed,
    /// No server with names answers.
    #[error("no server that has the names answers: `raidfs status` says which servers are missing")]
    NoNames,
    /// What is lost cannot be found out.
    #[error("what is lost cannot be told: {0}; try again, and see `raidfs status`")]
    NotTold(String),
    /// Nobody can decide.
    #[error("nobody leads, so nothing can be decided: `raidfs status` says which servers are missing")]
    NoLeader,
    /// The store does not let us in.
    #[error("cannot open a session")]
    Session(#[from] crate::cluster::OpenError),
    /// A data directory that cannot be used.
    #[error(transparent)]
    Identity(#[from] raidfs_fsd::identity::IdentityError),
    /// The names in a data directory cannot be read.
    #[error("cannot read the names")]
    Names(#[from] raidfs_fsd::namespace::fault::Fault),
    /// A chunk in a data directory cannot be read.
    #[error("cannot read the chunks")]
    Chunks(#[from] raidfs_fsd::chunk::ChunkError),
    /// There is no such data directory.
    #[error("there is no data directory {}", printed(.0))]
    NoDataDirectory(PathBuf),
    /// A directory that is something else.
    #[error("{} is no server's data directory (nothing of one is in it); that of a local cluster's fsd1 is DIR/data/fsd1", printed(.0))]
    NotADataDirectory(PathBuf),
    /// A local cluster's directory where that of one of its servers is wanted.
    #[error(
        "{} is a cluster's directory, which has a data directory for each server: name one of them, for example {}",
        printed(dir),
        printed(example)
    )]
    ClusterDirectory {
        /// What was named.
        dir: PathBuf,
        /// One in it.
        example: PathBuf,
    },
    /// A data directory without files.
    #[error("{} holds no files: it is the witness's, or of a server that never was up", printed(.0))]
    NoFiles(PathBuf),
    /// What comes out of a data directory is to be put into it.
    #[error("{} lies in the data directory, which is not changed: take another --to", printed(.0))]
    IntoItself(PathBuf),
    /// What comes out of a data directory is to be put into another.
    #[error("{} is or lies in a data directory of raidfs: take another --to", printed(.0))]
    IntoData(PathBuf),
    /// What comes out of a data directory is to be put where something else is.
    #[error("{} is there already, and is no directory: take another --to", printed(.0))]
    IntoNoDirectory(PathBuf),
    /// A name without an inode.
    #[error("the names are damaged: inode {:x} is missing", .0.0)]
    NoInode(raidfs_common::id::Ino),
    /// Only regular files have chunks.
    #[error("{} is no regular file: it has no chunks, and its name and attributes are on every server", printed(.0))]
    NoChunks(PathBuf),
    /// What failed of several things that were asked for, each in a line of its own.
    #[error("{}", .0.iter().map(|failure| chain(failure)).collect::<Vec<_>>().join("\n"))]
    Several(Vec<Failure>),
    /// The path is not on a raidfs mount.
    #[error("{} is not on a raidfs mount", printed(.0))]
    NotRaidfs(PathBuf),
}

impl Failure {
    /// For `map_err` of what the system refuses about a file.
    pub fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Failure {
        let path = path.into();
        move |source| Failure::File { action, path, source }
    }
}
