//! What chance seldom brings about: scenes, each a fixed order of faults and operations in which one rule alone stands between
//! the cluster and a broken promise. How long everything takes still follows from the seed. Each passes as it is,
//! and catches the bugs that it names once one of them is planted.

mod durability;
mod elections;
mod leases;
mod pairs;
mod sessions;
mod sizes;

use super::disks::Trouble;
use super::faults;
use super::network;
use super::puppet::{File, PATIENCE, Puppet, unfit};
use super::servers::Servers;
use super::world::rest;
use super::{CONVERGENCE, MOUNT, OPERATOR, SECOND, clients};
use raidfs_common::error::FsError;
use raidfs_common::id::ServerId;
use raidfs_common::plant::Bug;
use raidfs_tests::dice::Dice;
use std::collections::BTreeSet;
use std::future::Future;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

/// A scene.
pub struct Scene {
    /// What is shown.
    pub name: &'static str,
    /// What it catches.
    pub catches: &'static [Bug],
    /// Logs keep next to nothing in it.
    pub short_logs: bool,
    play: fn(&mut Stage),
}

/// What was written so long ago is noted nowhere: see `clients`.
const FORGOTTEN: u64 = 36_000;

/// All of them.
pub fn all() -> impl Iterator<Item = &'static Scene> {
    let rooms = [durability::SCENES, elections::SCENES, leases::SCENES, pairs::SCENES, sessions::SCENES, sizes::SCENES];
    rooms.into_iter().flatten()
}

/// A file with a value on a pair none of whose servers leads.
fn file_beside(stage: &Stage, puppet: &Puppet) -> File {
    let leader = stage.leader();
    let file = puppet.file(|one, two| one != leader && two != leader);
    puppet.write(&file, 1).well();
    puppet.sync(&file).well();
    file
}

/// Where a scene is played.
pub struct Stage {
    servers: Servers,
    dice: Dice,
    told: bool,
    problems: Vec<String>,
}

/// Plays a scene; what was wrong.
pub fn play(scene: &Scene, seed: u64, dir: &Path, told: bool) -> Vec<String> {
    let mut stage =
        Stage { servers: Servers::start(dir), dice: Dice::new(seed.wrapping_mul(17)), told, problems: Vec::new() };
    stage.calm();
    (scene.play)(&mut stage);
    stage.tell("all is mended");
    faults::mend(&mut stage.servers);
    let config = stage.servers.config.clone();
    stage.operate(move || clients::converge(config, CONVERGENCE));
    stage.problems
}

impl Stage {
    fn tell(&self, what: &str) {
        faults::say(self.told, what);
    }

    /// The operator does something, and it is waited for.
    fn operate<T: Send + 'static, F: Future<Output = T>>(&self, work: impl FnOnce() -> F + Send + 'static) -> T {
        let (told, done) = mpsc::channel();
        clients::on_host(OPERATOR, move || async move { drop(told.send(work().await)) });
        done.recv_timeout(PATIENCE * 4).unwrap_or_else(|_| unfit("the operator has not ended"))
    }

    /// Waits until all copies are in sync.
    fn calm(&self) {
        let config = self.servers.config.clone();
        self.operate(move || clients::calm(config));
    }

    fn leader(&self) -> ServerId {
        let config = self.servers.config.clone();
        self.operate(move || async move { clients::leader(&config).await })
    }

    fn mount(&self) -> Puppet {
        Puppet::mount(&self.servers.config, MOUNT)
    }

    /// Another client takes the session over.
    fn take_over(&self) -> Puppet {
        Puppet::mount(&self.servers.config, SECOND)
    }

    /// Two hosts do not hear each other.
    fn cut(&self, a: u16, b: u16) {
        network::cut(a, b);
        network::cut(b, a);
    }

    /// They do again.
    fn open(&self, a: u16, b: u16) {
        network::open(a, b);
        network::open(b, a);
    }

    /// The power of these fails, and what they had not synced is gone.
    fn cut_power(&mut self, ids: &[ServerId]) {
        self.tell(&format!("power of {ids:?}"));
        self.servers.cut_power(ids, true, &mut self.dice);
    }

    fn kill(&mut self, id: ServerId) {
        self.tell(&format!("{id} is killed"));
        self.servers.kill(id);
    }

    fn run(&mut self, id: ServerId) {
        self.tell(&format!("{id} starts"));
        self.servers.run(id);
    }

    fn trouble(&mut self, id: ServerId, trouble: Trouble) {
        self.tell(&format!("disk of {id}: {trouble:?}"));
        self.servers.trouble(id, trouble);
    }

    /// All servers and the witness.
    fn everybody() -> Vec<ServerId> {
        (0..5).map(ServerId).collect()
    }

    /// What was read must be this, if it was answered.
    fn expect(&mut self, when: &str, read: Option<Result<BTreeSet<u64>, FsError>>, value: u64) {
        self.tell(&format!("{when}: {read:?}"));
        if let Some(Ok(found)) = read
            && found != BTreeSet::from([value])
        {
            self.problems.push(format!("{when} {found:?} was read, and {value} had been written"));
        }
    }

    /// Waits until a value is seen that was written.
    fn wait_for(&self, looks: &Puppet, file: &File, value: u64) {
        for _ in 0..1_000 {
            if looks.read(file).within(PATIENCE) == Some(Ok(BTreeSet::from([value]))) {
                return;
            }
            millis(5);
        }
        unfit("a value that was written is not seen");
    }

    /// The same of a read that must be answered in the end.
    fn expect_at_last(&mut self, when: &str, puppet: &Puppet, file: &File, value: u64) {
        for _ in 0..10 {
            let read = puppet.read(file).within(PATIENCE);
            if matches!(read, Some(Ok(_))) {
                return self.expect(when, read, value);
            }
        }
        self.problems.push(format!("{when} nothing can be read"));
    }
}

fn millis(millis: u64) {
    rest(Duration::from_millis(millis));
}
