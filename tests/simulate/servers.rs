//! The servers of a simulation: real ones, each with a directory of its own and a life that can be killed, frozen, or
//! stopped in order. What a killed life had written stays, as on a machine whose process dies; what is left when its power
//! fails, `disks` says.

use super::disks::Trouble;
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
use std::collections::{BTreeMap, BTreeSet};
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
    /// By how many seconds the wall clocks of machines are wrong.
    clocks: BTreeMap<ServerId, i64>,
    /// Those whose disk has failed: they may end by themselves.
    failed: BTreeSet<ServerId>,
}

impl Servers {
    /// Starts them all, with their directories below `dir`.
    pub fn start(dir: &Path) -> Servers {
        let config = two_pairs("simulated", |n| network::address_of(n as network::Host));
        let (running, clocks, failed) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        let mut servers = Servers { config, dir: dir.to_owned(), running, clocks, failed };
        for n in 0..5 {
            servers.run(ServerId(n));
        }
        servers
    }

    fn room(&self, id: ServerId) -> PathBuf {
        self.dir.join(id.to_string())
    }

    /// Starts a server that does not run.
    pub fn run(&mut self, id: ServerId) {
        // It may have ended by itself.
        self.kill(id);
        let life = world().new_life();
        network::settle(life, id.0);
        world().set_clock(life, self.clocks.get(&id).copied().unwrap_or_default());
        let stop = Arc::new(Stop::default());
        let (config, ender, path) = (self.config.clone(), stop.clone(), self.room(id));
        let chunks = move |home: &DataDir| {
            if id.is_witness() {
                return Ok(None);
            }
            let chunks = DiskChunks::open(&home.chunks(), &home.notes())?;
            Ok(Some(Arc::new(chunks) as Arc<dyn ChunkStore>))
        };
        let port = move |_| Port::Invented(Box::new(network::bind(life, id.0)));
        let body = move || {
            if let Err(why) = lives(&config, id, &path, chunks, port, &ender, &Notify::new()) {
                assert!(disks::had_trouble(&path), "{id} ended: {why}");
                tracing::error!("{id} ended: {why}");
            }
        };
        world().enter(life);
        let thread = std::thread::Builder::new().name(id.to_string()).spawn(body).expect("a thread");
        world().enter(0);
        self.running.insert(id, Running { life, stop, thread });
    }

    /// Whether it runs, if only in principle.
    pub fn runs(&self, id: ServerId) -> bool {
        self.running.get(&id).is_some_and(|running| !running.thread.is_finished())
    }

    /// Ends a server's process at once.
    pub fn kill(&mut self, id: ServerId) {
        self.end(id, false);
    }

    fn end(&mut self, id: ServerId, power: bool) {
        if let Some(Running { life, .. }) = self.running.remove(&id) {
            world().kill(life);
            network::kill(life, power);
            close_files_below(&self.room(id));
        }
    }

    /// The machines of these servers lose power at the same moment. `all`: whatever was not synced is gone.
    pub fn cut_power(&mut self, ids: &[ServerId], all: bool, dice: &mut Dice) {
        ids.iter().for_each(|id| self.end(*id, true));
        for id in ids {
            let dir = self.room(*id);
            disks::cut(&dir, all, dice);
            lose_power(&self.config, *id, &dir);
        }
    }

    /// The machine of a server is lost for good, with all that it had.
    pub fn lose(&mut self, id: ServerId) {
        self.end(id, true);
        disks::lose(&self.room(id));
    }

    /// Stops a server in order.
    pub fn stop(&mut self, id: ServerId) {
        if let Some(Running { life, stop, thread }) = self.running.remove(&id) {
            stop.ask();
            thread.join().expect("it does not panic");
            world().kill(life);
            network::kill(life, false);
            close_files_below(&self.room(id));
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

    /// From now on a server's disk is so.
    pub fn trouble(&mut self, id: ServerId, trouble: Trouble) {
        disks::trouble(&self.room(id), Some(trouble));
        if matches!(trouble, Trouble::Fails(..)) {
            self.failed.insert(id);
        }
    }

    /// The disk of a server is well.
    pub fn heal_disk(&self, id: ServerId) {
        disks::trouble(&self.room(id), None);
    }

    /// All disks are well.
    pub fn heal_disks(&self) {
        (0..5).map(ServerId).for_each(|id| disks::trouble(&self.room(id), None));
    }

    /// All disks are well. Servers whose disk had failed are started anew, as an operator does.
    pub fn mend_disks(&mut self) {
        self.heal_disks();
        for id in std::mem::take(&mut self.failed) {
            self.thaw(id);
            self.kill(id);
            self.run(id);
        }
    }

    /// The wall clock of a machine jumps by so many seconds.
    pub fn jump(&mut self, id: ServerId, secs: i64) {
        let clock = self.clocks.entry(id).or_default();
        *clock += secs;
        if let Some(running) = self.running.get(&id) {
            world().set_clock(running.life, *clock);
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
