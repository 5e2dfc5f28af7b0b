//! A whole cluster in this process: real servers with real logs and names in a directory of the test, chunks in memory,
//! and loopback between them. Servers are stopped in order, or aborted as hard as threads of one process can be: everything
//! that they do is dropped where it stands. Killing is for the shell cases, which have processes to kill.

use raidfs_common::attr::FileKind;
use raidfs_common::config::{Config, Durability};
use raidfs_common::id::{Ino, ServerId};
use raidfs_common::log::chain;
use raidfs_common::name::FileName;
use raidfs_common::namespace::Change;
use raidfs_common::rpc::{Hello, PROTOCOL_VERSION, Service, Speaker};
use raidfs_common::stream::Port;
use raidfs_common::wire;
use raidfs_common::{limits, rpc};
use raidfs_fsd::chunk::memory::MemoryChunks;
use raidfs_fsd::chunk::{ChunkError, ChunkStore};
use raidfs_fsd::identity::{DataDir, Identity};
use raidfs_fsd::server::Ended;
use raidfs_fsd::stop::Stop;
use raidfs_fsd::{server, witness};
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::Notify;

/// A server that runs on a thread of its own.
struct Running {
    stop: Arc<Stop>,
    abort: Arc<Notify>,
    thread: JoinHandle<Result<(), String>>,
}

/// Two pairs and the witness.
pub struct InProcess {
    /// The configuration that all of them have.
    pub config: Config,
    dir: tempfile::TempDir,
    chunks: BTreeMap<ServerId, Arc<MemoryChunks>>,
    running: BTreeMap<ServerId, Running>,
}

impl InProcess {
    /// Starts a cluster of two pairs on free ports.
    pub fn start() -> InProcess {
        let listeners: Vec<TcpListener> =
            (0..5).map(|_| TcpListener::bind("127.0.0.1:0").expect("a port is free")).collect();
        let config = two_pairs("in-process", |n| listeners[n].local_addr().expect("it is bound"));
        let chunks = config.servers().map(|id| (id, Arc::new(MemoryChunks::default()))).collect();
        let dir = tempfile::tempdir().expect("a directory of the test");
        let mut cluster = InProcess { config, dir, chunks, running: BTreeMap::new() };
        for (n, listener) in listeners.into_iter().enumerate() {
            cluster.run(ServerId(n as u16), listener);
        }
        cluster
    }

    fn run(&mut self, id: ServerId, listener: TcpListener) {
        let (stop, abort) = (Arc::new(Stop::default()), Arc::new(Notify::new()));
        let (config, ender, aborter) = (self.config.clone(), stop.clone(), abort.clone());
        let path = self.dir.path().join(id.to_string());
        let chunks = self.chunks.get(&id).cloned();
        let chunks = move |_: &DataDir| Ok(chunks.clone().map(|chunks| chunks as Arc<dyn ChunkStore>));
        let mut bound = Some(listener);
        let port = move |address| bound.take().unwrap_or_else(|| listen(address)).into();
        let body = move || lives(&config, id, &path, chunks, port, &ender, &aborter);
        let thread = std::thread::Builder::new().name(id.to_string()).spawn(body).expect("a thread");
        self.running.insert(id, Running { stop, abort, thread });
    }

    /// Stops a server in order.
    pub fn stop(&mut self, id: ServerId) {
        if let Some(Running { stop, thread, .. }) = self.running.remove(&id) {
            stop.ask();
            thread.join().expect("it does not panic").expect("it ends in order");
        }
    }

    /// Ends a server where it stands: it answers nothing more, hands nothing over, and writes nothing down but what its
    /// disk is about to.
    pub fn abort(&mut self, id: ServerId) {
        if let Some(Running { abort, thread, .. }) = self.running.remove(&id) {
            abort.notify_one();
            thread.join().expect("it does not panic").expect("it had not failed before");
        }
    }

    /// Starts a server again, on the port that it had.
    pub fn restart(&mut self, id: ServerId) {
        let listener = listen(self.config.address(id).expect("it is in the configuration"));
        self.run(id, listener);
    }

    /// Where a server keeps everything but its chunks.
    pub fn data(&self, id: ServerId) -> PathBuf {
        self.dir.path().join(id.to_string())
    }

    /// Makes a stopped server's next life one that may have forgotten what it had not synced.
    pub fn cut_power(&self, id: ServerId) {
        lose_power(&self.config, id, &self.data(id));
    }

    /// Connects to a service of a server, as a client.
    pub async fn connect<In, Out>(&self, to: ServerId, service: Service) -> Option<wire::Wire<In, Out>> {
        let hello = Hello {
            version: PROTOCOL_VERSION,
            cluster: self.config.cluster_id(),
            cluster_name: self.config.cluster.clone(),
            speaker: Speaker::Client,
            to,
            service,
        };
        wire::connect(self.config.address(to)?, &hello, limits::HELLO_TIMEOUT).await.ok()
    }

    /// A client of a server's names.
    pub async fn names(&self, to: ServerId) -> Option<rpc::names::NamesServiceClient> {
        let wire = self.connect(to, Service::Names).await?;
        Some(rpc::names::NamesServiceClient::new(Default::default(), wire).spawn())
    }

    /// A client of a server's admin service.
    pub async fn admin(&self, to: ServerId) -> Option<rpc::admin::AdminServiceClient> {
        let wire = self.connect(to, Service::Admin).await?;
        Some(rpc::admin::AdminServiceClient::new(Default::default(), wire).spawn())
    }
}

/// The configuration of two pairs and the witness: servers 1 to 4 at `at` of their numbers, the witness at that of 0.
pub fn two_pairs(cluster: &str, at: impl Fn(usize) -> SocketAddr) -> Config {
    Config {
        cluster: cluster.into(),
        pairs: vec![[at(1), at(2)], [at(3), at(4)]],
        witness: at(0),
        durability: Durability::Relaxed,
        io_timeout: Duration::from_secs(10),
        scrub_every: None,
    }
}

/// Makes the next life of a server that does not run one whose machine has lost power.
pub fn lose_power(config: &Config, id: ServerId, dir: &Path) {
    let home = DataDir::open(dir, &identity(config, id)).unwrap_or_else(|error| {
        let found = std::fs::read(dir.join("identity")).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        panic!("{id} does not run, and its directory is not opened: {error:?}; its file `identity` is {found:?}")
    });
    home.distrust().expect("it is written down");
}

fn identity(config: &Config, server: ServerId) -> Identity {
    Identity { cluster: config.cluster.clone(), cluster_id: config.cluster_id(), server }
}

/// Runs a server (without chunks: the witness) as its program does: again, with the names dropped, if it is to begin
/// anew. `chunks` and `port` are opened for each life. `stop` ends it in order, `abort` where it stands. An error is what it
/// would end with, in words.
pub fn lives(
    config: &Config,
    id: ServerId,
    dir: &Path,
    chunks: impl Fn(&DataDir) -> Result<Option<Arc<dyn ChunkStore>>, ChunkError>,
    mut port: impl FnMut(SocketAddr) -> Port,
    stop: &Arc<Stop>,
    abort: &Notify,
) -> Result<(), String> {
    let address = config.address(id).expect("it is in the configuration");
    loop {
        let home = DataDir::open(dir, &identity(config, id)).map_err(|error| chain(&error))?;
        let opened = chunks(&home).map_err(|error| chain(&error))?;
        let Some(ended) = live(config, &home, opened, port(address), stop, abort) else { return Ok(()) };
        match ended {
            Err(Ended::Anew(_)) => {}
            Ok(()) => return home.end_cleanly().map_err(|error| chain(&error)),
            Err(ended) => {
                if matches!(ended, Ended::Failed(_)) {
                    home.distrust().map_err(|error| chain(&error))?;
                }
                return Err(chain(&ended));
            }
        }
    }
}

/// None: it was aborted.
fn live(
    config: &Config,
    home: &DataDir,
    chunks: Option<Arc<dyn ChunkStore>>,
    port: Port,
    stop: &Arc<Stop>,
    abort: &Notify,
) -> Option<Result<(), Ended>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let run = async {
        match chunks {
            Some(chunks) => server::run(config.clone(), home, chunks, port, stop.clone()).await,
            None => witness::run(config.clone(), home, port, stop.clone()).await,
        }
    };
    let ended = runtime.block_on(async {
        tokio::select! {
            biased;
            () = abort.notified() => None,
            ended = run => Some(ended),
        }
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}

/// The change that makes something in the root directory.
pub fn make_in_root(ino: Ino, name: &str, kind: FileKind) -> Change {
    Change::Make {
        parent: Ino::ROOT,
        name: FileName::new(name.as_bytes().to_vec()).expect("it is a name"),
        ino,
        kind,
        perm: 0o644,
        uid: 0,
        gid: 0,
        rdev: 0,
        target: Default::default(),
        xattrs: Vec::new(),
    }
}

fn listen(address: SocketAddr) -> TcpListener {
    let mut listener = None;
    let bound = crate::wait::until(Duration::from_secs(10), || {
        listener = TcpListener::bind(address).ok();
        listener.is_some()
    });
    assert!(bound, "the port {address} does not become free");
    listener.expect("it was bound")
}

impl Drop for InProcess {
    fn drop(&mut self) {
        // All at once: they need not wait for each other.
        for running in self.running.values() {
            running.stop.ask();
        }
        for (_, running) in std::mem::take(&mut self.running) {
            let _ = running.thread.join();
        }
    }
}
