//! The directory of a cluster on one machine: what lies where, and the configuration of a new one. Knows no processes.

use super::Failure;
use raidfs_common::config::Config;
use raidfs_common::id::ServerId;
use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What stands behind a mount point that is to be removed when it is not mounted any more.
const MADE_HERE: &[u8] = b"made by raidfs up\n";

/// One process of a local cluster; its name is also that of its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// `fsd1`, `fsd2`, ... or `witness`.
    Server(ServerId),
    /// `mountd`.
    Mount,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Name::Server(id) => id.fmt(f),
            Name::Mount => f.write_str("mountd"),
        }
    }
}

/// A local cluster that is there.
#[derive(Debug)]
pub struct Local {
    /// Its directory, absolute.
    pub dir: PathBuf,
    /// Its configuration.
    pub config: Config,
}

/// Held while a command changes what runs, so that two commands at once do not start everything twice.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "the lock lives as long as its file is open")] File);

impl Lock {
    /// Waits for other commands that change what runs in `dir`, and keeps further ones waiting.
    pub fn take(dir: &Path) -> Result<Lock, Failure> {
        let file = File::open(dir).map_err(Failure::file("open", dir))?;
        // SAFETY: the descriptor is open for as long as `file` is.
        if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX) } != 0 {
            return Err(Failure::file("lock", dir)(std::io::Error::last_os_error()));
        }
        Ok(Lock(file))
    }
}

/// Where the cluster is mounted, as remembered between commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountPoint {
    /// The directory, absolute.
    pub path: PathBuf,
    /// `up` made the directory, so `down` removes it.
    pub made: bool,
}

/// What a new cluster is to be like.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// How many servers.
    pub servers: u16,
    /// The witness's port; the servers have the following ones.
    pub base_port: u16,
}

impl Local {
    /// The cluster in `dir`.
    pub fn open(dir: &Path) -> Result<Local, Failure> {
        let dir = absolute(dir)?;
        let file = dir.join("raidfs.toml");
        if !file.exists() {
            return Err(Failure::NoCluster(dir));
        }
        let config = Config::load(&file)?;
        Ok(Local { dir, config })
    }

    /// Makes a new cluster in `dir`. The configuration is the last file written: where it is, the cluster is whole.
    pub fn create(dir: &Path, shape: Shape) -> Result<Local, Failure> {
        std::fs::create_dir_all(dir).map_err(Failure::file("make", dir))?;
        let dir = absolute(dir)?;
        let text = configuration(&format!("local-{}", random_hex(6)?), shape);
        write_atomically(&dir.join("raidfs.toml"), &text)?;
        Local::open(&dir)
    }

    /// The configuration file.
    pub fn config_file(&self) -> PathBuf {
        self.dir.join("raidfs.toml")
    }

    /// The file with a process's number.
    pub fn pid_file(&self, name: Name) -> PathBuf {
        self.dir.join("run").join(format!("{name}.pid"))
    }

    /// A process's log.
    pub fn log_file(&self, name: Name) -> PathBuf {
        self.dir.join("log").join(format!("{name}.log"))
    }

    /// What a process stores.
    pub fn data_dir(&self, name: Name) -> PathBuf {
        self.dir.join("data").join(name.to_string())
    }

    /// The servers and the witness, in the order in which they are listed everywhere.
    pub fn servers(&self) -> Vec<Name> {
        self.config.voters().into_iter().map(Name::Server).collect()
    }

    /// The process called `name`.
    pub fn name(&self, name: &str) -> Result<Name, Failure> {
        let mut all = self.servers();
        all.push(Name::Mount);
        all.iter().copied().find(|n| n.to_string() == name).ok_or_else(|| Failure::NoSuchName {
            asked: name.to_owned(),
            known: all.iter().map(Name::to_string).collect(),
        })
    }

    /// Where it is, or was last, mounted.
    pub fn mount_point(&self) -> Option<MountPoint> {
        // A name may have ends of lines in it.
        let text = std::fs::read(self.dir.join("mountpoint")).ok()?;
        let path = text.strip_suffix(MADE_HERE);
        let (path, made) = (path.unwrap_or(&text), path.is_some());
        let path = path.strip_suffix(b"\n").unwrap_or(path);
        (!path.is_empty()).then(|| MountPoint { path: OsStr::from_bytes(path).into(), made })
    }

    /// Remembers where it is mounted.
    pub fn remember_mount_point(&self, at: &MountPoint) -> Result<(), Failure> {
        let made = if at.made { MADE_HERE } else { b"" };
        write_atomically(&self.dir.join("mountpoint"), [at.path.as_os_str().as_bytes(), b"\n", made].concat())
    }
}

/// `path` from the root on, whether it exists or not.
pub fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    // With what links point to resolved if it is there, so that a process is recognised by its arguments.
    match path.canonicalize() {
        Ok(path) => Ok(path),
        Err(_) => std::path::absolute(path).map_err(Failure::file("find", path)),
    }
}

/// Writes a file that is there wholly or not at all, and survives a power cut.
pub fn write_atomically(path: &Path, text: impl AsRef<[u8]>) -> Result<(), Failure> {
    let directory = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(directory).map_err(Failure::file("make", directory))?;
    let mut next = path.as_os_str().to_owned();
    next.push(".new");
    let next = PathBuf::from(next);
    let write = || {
        let mut file = File::create(&next)?;
        file.write_all(text.as_ref())?;
        file.sync_all()?;
        std::fs::rename(&next, path)?;
        File::open(directory)?.sync_all()
    };
    write().map_err(Failure::file("write", path))
}

/// The configuration of a new local cluster.
fn configuration(cluster: &str, shape: Shape) -> String {
    let address = |n: u16| format!("\"127.0.0.1:{}\"", shape.base_port + n);
    let mut text = format!(
        "# A raidfs cluster on this machine, made by `raidfs up`. The same file is for all of its programs.\n\
         # Servers are numbered in the order in which they stand here; do not reorder them.\n\
         cluster = \"{cluster}\"\n\
         witness = {}\n\
         durability = \"relaxed\"   # or \"strict\": names on stable storage before each acknowledgement\n\
         io_timeout = \"30s\"       # how long a program waits for what no server can serve, before EIO\n",
        address(0)
    );
    for first in (1..=shape.servers).step_by(2) {
        text.push_str(&format!("\n[[pair]]\nservers = [{}, {}]\n", address(first), address(first + 1)));
    }
    text
}

/// The shape of a new cluster from the command line's wishes.
pub fn shape(servers: Option<u16>, base_port: Option<u16>) -> Result<Shape, Failure> {
    let servers = servers.unwrap_or(4);
    if !(2..=64).contains(&servers) || servers % 2 == 1 {
        return Err(Failure::Servers(servers));
    }
    let needed = servers + 1;
    let base_port = match base_port {
        Some(port) if port == 0 || u32::from(port) + u32::from(needed) > 65_536 => {
            return Err(Failure::Ports { port, needed });
        }
        Some(port) => port,
        None => (7100..7900)
            .step_by(100)
            .find(|&base| (base..base + needed).all(|port| can_listen((Ipv4Addr::LOCALHOST, port).into()).is_ok()))
            .ok_or(Failure::NoPorts(needed))?,
    };
    Ok(Shape { servers, base_port })
}

/// Whether a server could listen there now, or why not.
pub fn can_listen(address: SocketAddr) -> std::io::Result<()> {
    TcpListener::bind(address).map(drop)
}

fn random_hex(digits: usize) -> Result<String, Failure> {
    use std::io::Read;
    let path = Path::new("/dev/urandom");
    let mut bytes = vec![0; digits.div_ceil(2)];
    let read = File::open(path).and_then(|mut f| f.read_exact(&mut bytes));
    read.map_err(Failure::file("read", path))?;
    let mut text: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    text.truncate(digits);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_cluster_has_a_good_configuration_and_is_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("a/b");
        let made = Local::create(&at, Shape { servers: 6, base_port: 9000 }).unwrap();
        assert_eq!(made.config.pairs.len(), 3);
        assert_eq!(made.config.witness.port(), 9000);
        assert_eq!(made.config.address(ServerId(6)).unwrap().port(), 9006);
        assert!(made.config.cluster.starts_with("local-") && made.config.cluster.len() == 12);
        let found = Local::open(&at).unwrap();
        assert_eq!(found.config, made.config);
        assert_eq!(found.name("witness").unwrap(), Name::Server(ServerId::WITNESS));
        assert_eq!(found.name("fsd6").unwrap(), Name::Server(ServerId(6)));
        assert!(matches!(found.name("fsd7"), Err(Failure::NoSuchName { .. })));
        assert!(!at.join("raidfs.toml.new").exists());
    }

    #[test]
    fn impossible_shapes_are_refused() {
        for servers in [0, 1, 3, 66] {
            assert!(matches!(shape(Some(servers), None), Err(Failure::Servers(_))));
        }
        for port in [0, 65_532] {
            assert!(matches!(shape(None, Some(port)), Err(Failure::Ports { .. })));
        }
        assert_eq!(shape(Some(2), Some(65_533)).unwrap().base_port, 65_533);
    }

    #[test]
    fn the_mount_point_is_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let local = Local::create(dir.path(), Shape { servers: 2, base_port: 9000 }).unwrap();
        assert_eq!(local.mount_point(), None);
        for name in [&b"/mnt/x y"[..], b"/mnt/\xff\nz"] {
            for made in [false, true] {
                let at = MountPoint { path: OsStr::from_bytes(name).into(), made };
                local.remember_mount_point(&at).unwrap();
                assert_eq!(local.mount_point(), Some(at));
            }
        }
    }

    #[test]
    fn no_cluster_is_a_clear_error() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(Local::open(dir.path()), Err(Failure::NoCluster(_))));
    }
}
