//! The servers of a simulation: real ones, each with a directory of its own and a life that can be killed, frozen, or
//! stopped in order. What a killed life had written stays, as on a machine whose process dies; what is left when its power
//! fails, `disks` says.

use super::world::{Life, world};
use super::{disks, network};
use raidfs_common::config::Config;
use raidfs_common::id::ServerId;
use raidfs_common::stream::Port;
use raidfs_fsd::chunk::ChunkStore;
use raidfs_fsd::chunk::disk::DiskChunks;
use raidfs_fsd::identity::DataDir;
use raidfs_fsd::stop::Stop;
use raidfs_tests::dice::Dice;
use raidfs_tests::in_process::{lives, lose_power, two_pairs};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::sync::Notify;

struct Running {
    life: Life,
    stop: Arc<Stop>,
    thread: JoinHandle<()>,
}

/// Two pairs and the witness.
pub struct Servers {
    /// The configuration that all of them have.
    pub config: Config,
    dir: PathBuf,
    running: BTreeMap<ServerId, Running>,
}

impl Servers {
    /// Starts them all, with their directories below `dir`.
    pub fn start(dir: &Path) -> Servers {
        let config = two_pairs("simulated", |n| network::address_of(n as network::Host));
        let mut servers = Servers { config, dir: dir.to_owned(), running: BTreeMap::new() };
        for n in 0..5 {
            servers.run(ServerId(n));
        }
        servers
    }

    /// Starts a server that does not run.
    pub fn run(&mut self, id: ServerId) {
        let life = world().new_life();
        network::settle(life, id.0);
        let stop = Arc::new(Stop::default());
        let (config, ender, path) = (self.config.clone(), stop.clone(), self.dir.join(id.to_string()));
        let chunks = move |home: &DataDir| {
            let open = || DiskChunks::open(&home.chunks(), &home.notes()).expect("a directory of the test");
            (!id.is_witness()).then(|| Arc::new(open()) as Arc<dyn ChunkStore>)
        };
        let port = move |_| Port::Invented(Box::new(network::bind(life, id.0)));
        let body = move || lives(&config, id, &path, chunks, port, &ender, &Notify::new()).expect("it ends in order");
        world().enter(life);
        let thread = std::thread::Builder::new().name(id.to_string()).spawn(body).expect("a thread");
        world().enter(0);
        self.running.insert(id, Running { life, stop, thread });
    }

    /// Whether it runs, if only in principle.
    pub fn runs(&self, id: ServerId) -> bool {
        self.running.contains_key(&id)
    }

    /// Ends a server's process at once.
    pub fn kill(&mut self, id: ServerId) {
        if let Some(Running { life, .. }) = self.running.remove(&id) {
            world().kill(life);
            network::kill(life);
            close_files_below(&self.dir.join(id.to_string()));
        }
    }

    /// The machines of these servers lose power at the same moment.
    pub fn cut_power(&mut self, ids: &[ServerId], dice: &mut Dice) {
        ids.iter().for_each(|id| self.kill(*id));
        let all = dice.once_in(2);
        for id in ids {
            let dir = self.dir.join(id.to_string());
            disks::cut(&dir, all, dice);
            lose_power(&self.config, *id, &dir);
        }
    }

    /// Stops a server in order.
    pub fn stop(&mut self, id: ServerId) {
        if let Some(Running { life, stop, thread }) = self.running.remove(&id) {
            stop.ask();
            thread.join().expect("it does not panic");
            world().kill(life);
            network::kill(life);
            close_files_below(&self.dir.join(id.to_string()));
        }
    }

    /// A server's process does nothing for now.
    pub fn freeze(&self, id: ServerId) {
        if let Some(running) = self.running.get(&id) {
            world().freeze(running.life);
        }
    }

    /// It goes on.
    pub fn thaw(&self, id: ServerId) {
        if let Some(running) = self.running.get(&id) {
            world().thaw(running.life);
        }
    }
}

/// Gives up what a dead life had open, its lock on the directory above all: its threads never run again, so nobody else
/// would.
fn close_files_below(dir: &Path) {
    let open = std::fs::read_dir("/proc/self/fd").expect("this process has descriptors");
    let fds: Vec<i32> = open.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    for fd in fds {
        let path = std::fs::read_link(format!("/proc/self/fd/{fd}"));
        if path.is_ok_and(|path| path.starts_with(dir)) {
            // SAFETY: nobody who has this descriptor runs again.
            unsafe {
                let nothing = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC);
                libc::dup3(nothing, fd, libc::O_CLOEXEC);
                libc::close(nothing);
            }
        }
    }
}
