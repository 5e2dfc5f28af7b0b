//! Bringing processes of a local cluster up, and waiting until they are of use; for `up` and `start`.

use super::local::{Local, MountPoint, Name, can_listen};
use super::mounts::{self, MountState};
use super::process::{Started, listener};
use super::{Failure, admin, human, wait};
use crate::cluster::holder::Holder;
use crate::cluster::survey::survey;
use raidfs_common::printed::printed;
use raidfs_common::wire::ConnectError;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long anything may take to come up: recovery of a large log and a dead session's sizes included.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a leader is waited for that tells servers whether their data directories are known; and how long for its word.
const LEADER_PATIENCE: Duration = Duration::from_secs(3);
const JOIN_PATIENCE: Duration = Duration::from_secs(15);
/// How long a port may stay taken by what has just ended.
const PORT_PATIENCE: Duration = Duration::from_secs(2);
/// After this long without anything new a line says what is waited for.
const SAY_AFTER: Duration = Duration::from_secs(5);

/// An error if one of these addresses cannot be listened on. A process that was killed a moment ago may still have its
/// port, so it is waited for a little.
pub fn check_ports(wanted: impl IntoIterator<Item = (Name, SocketAddr)>) -> Result<(), Failure> {
    for (name, address) in wanted {
        let free = wait::until(PORT_PATIENCE, || match can_listen(address) {
            Ok(()) => Ok(Some(())),
            Err(e) if e.kind() == io::ErrorKind::AddrInUse => Ok(None),
            // Nobody has it who may let go of it.
            Err(source) => Err(Failure::NoAddress { name, address, source }),
        })?;
        if free.is_none() {
            let holder = listener(address.port())
                .unwrap_or_else(|| "it is in use, if only by a connection of some program".to_owned());
            return Err(Failure::PortTaken { name, address, holder });
        }
    }
    Ok(())
}

/// The same of those of the servers that do not run.
pub fn check_ports_of(local: &Local, names: &[Name]) -> Result<(), Failure> {
    check_ports(names.iter().filter(|&&name| local.pid(name).is_none()).filter_map(|&name| match name {
        Name::Server(id) => local.config.address(id).map(|a| (name, a)),
        Name::Mount => None,
    }))
}

/// Starts those of the servers that do not run, whose ports are free, and waits until each answers. What was started is
/// added to `started`, also if this fails.
pub fn servers(local: &Local, names: &[Name], started: &mut Vec<Started>) -> Result<(), Failure> {
    let first = started.len();
    for &name in names.iter().filter(|&&name| local.pid(name).is_none()) {
        started.push(local.start_server(name)?);
    }
    for one in &mut started[first..] {
        let Name::Server(id) = one.name else { continue };
        let mut said = Said::new();
        let answered = wait::until(PATIENCE, || {
            one.check(local)?;
            said.still_waiting_for(&format!("{} to answer", one.name));
            match admin::answers(&local.config, id) {
                Ok(()) => Ok(Some(())),
                Err(refused @ (ConnectError::Refused(_) | ConnectError::Foreign)) => Err(Failure::Died {
                    name: one.name,
                    how: format!("does not speak with us ({refused})"),
                    log: local.log_file(one.name),
                    tail: local.log_tail(one.name, one.log_from),
                }),
                Err(ConnectError::Network(_) | ConnectError::Timeout) => Ok(None),
            }
        })?;
        if answered.is_none() {
            return Err(late(local, one, format!("{} did not answer", one.name)));
        }
    }
    check_joined(local, &mut started[first..])
}

/// An error if one of them ends because the cluster knows another data directory: a leader tells it so a moment after it
/// has begun to answer. Without a leader nobody does, which is no error.
fn check_joined(local: &Local, started: &mut [Started]) -> Result<(), Failure> {
    let began = Instant::now();
    for one in started {
        let Name::Server(id) = one.name else { continue };
        wait::until(JOIN_PATIENCE.saturating_sub(began.elapsed()), || {
            one.check(local)?;
            let told = admin::has_joined(&local.config, id);
            let nobody_will = || began.elapsed() > LEADER_PATIENCE && !admin::has_leader(&local.config);
            Ok::<_, Failure>((told || nobody_will()).then_some(()))
        })?;
    }
    Ok(())
}

/// Starts mountd if it does not run, and waits until the mount is usable. A dead mount in its place makes way for it.
pub fn mount(local: &Local, at: &mut MountPoint, started: &mut Vec<Started>) -> Result<(), Failure> {
    let running = local.pid(Name::Mount).is_some();
    if running && mounts::state(&at.path) == MountState::None {
        // It was unmounted by hand, and mountd is about to end.
        if !local.wait_for_end(Name::Mount, PATIENCE) {
            let why = "mountd runs, but nothing is mounted there; see its log, and `raidfs kill mountd`".to_owned();
            return Err(Failure::MountPoint { path: at.path.clone(), why });
        }
    }
    if local.pid(Name::Mount).is_none() {
        make_place(at)?;
        local.remember_mount_point(at)?;
        let takeover = is_held_from_here(local, &at.path);
        started.push(local.start_mountd(&at.path, takeover)?);
    }
    let mut mountd = started.iter_mut().find(|s| s.name == Name::Mount);
    let mut said = Said::new();
    let usable = wait::until(PATIENCE, || {
        if let Some(mountd) = &mut mountd {
            mountd.check(local)?;
        }
        said.still_waiting_for(&format!("{} to be mounted", printed(&at.path)));
        Ok::<_, Failure>((mounts::state(&at.path) == MountState::Answers).then_some(()))
    })?;
    if usable.is_some() {
        return Ok(());
    }
    let from = mountd.map_or(0, |m| m.log_from);
    Err(Failure::Late {
        what: format!("{} was not usable", printed(&at.path)),
        seconds: PATIENCE.as_secs(),
        log: local.log_file(Name::Mount),
        tail: local.log_tail(Name::Mount, from),
    })
}

/// Whether the session that is open belongs to an earlier mount at this place of this machine. Nothing is mounted there
/// now, so nobody will use it any more, even if the machine was started anew since.
fn is_held_from_here(local: &Local, place: &Path) -> bool {
    let answers = admin::runtime().block_on(survey(&local.config));
    let sessions = answers.into_iter().filter_map(|(_, status)| status?.session);
    let mut holders = sessions.filter_map(|(_, holder)| Holder::parse(&holder));
    holders.any(|holder| holder.is_at(place))
}

/// Makes `at` a place to mount on: makes the directory if it is missing. What a dead mountd left stays until the new one can
/// take its place: until then programs get errors, and do not write to the disk below.
fn make_place(at: &mut MountPoint) -> Result<(), Failure> {
    match mounts::state(&at.path) {
        MountState::None => {}
        MountState::Dead(_) => {
            println!("a dead mount is at {}: it makes way for the new one", printed(&at.path));
            return Ok(());
        }
        other @ (MountState::Answers | MountState::Hangs | MountState::Foreign(_)) => {
            let why = format!("{}, and not by this cluster", other.words());
            return Err(Failure::MountPoint { path: at.path.clone(), why });
        }
    }
    if !at.path.exists() {
        std::fs::create_dir_all(&at.path).map_err(Failure::file("make", &at.path))?;
        at.made = true;
    }
    mounts::check_mount_point(&at.path)
}

fn late(local: &Local, one: &Started, what: String) -> Failure {
    Failure::Late {
        what,
        seconds: PATIENCE.as_secs(),
        log: local.log_file(one.name),
        tail: local.log_tail(one.name, one.log_from),
    }
}

/// Ends what this command has started, after it failed: nothing is left half up.
pub fn take_back(local: &Local, started: Vec<Started>) {
    const GRACE: Duration = Duration::from_secs(5);
    for one in started.iter().rev() {
        // Who started it may end it.
        let _ = local.signal(one.name, libc::SIGTERM);
    }
    for mut one in started.into_iter().rev() {
        let ended = wait::until(GRACE, || one.child.try_wait().map(|s| s.map(drop)));
        if !ended.is_ok_and(|e| e.is_some()) {
            let _ = local.signal(one.name, libc::SIGKILL);
            local.wait_for_end(one.name, GRACE);
        }
        // A pid file that stays is not believed.
        let _ = local.forget(one.name);
    }
}

/// Says now and then what is waited for, so that nobody wonders.
struct Said {
    began: Instant,
    last: Instant,
}

impl Said {
    fn new() -> Said {
        let now = Instant::now();
        Said { began: now, last: now }
    }

    fn still_waiting_for(&mut self, what: &str) {
        if self.last.elapsed() >= SAY_AFTER {
            self.last = Instant::now();
            eprintln!("waiting for {what}, for {} now", human::span(self.began.elapsed()));
        }
    }
}
