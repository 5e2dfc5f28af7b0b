//! `raidfs down`: unmount and stop everything of a local cluster, in an order that loses nothing.

use super::args::DownArgs;
use super::local::{Local, Lock, Name};
use super::mounts::{self, MountState};
use super::{Failure, admin, human};
use crate::cluster::survey::survey;
use raidfs_common::printed::printed;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How long mountd may take to write back what it holds: longer than any operation waits for the cluster.
const MOUNTD_GRACE: Duration = Duration::from_secs(60);
/// How long servers may take to end in good order.
const SERVER_GRACE: Duration = Duration::from_secs(20);
/// How long the kernel may take to end a process that was killed.
const KILL_GRACE: Duration = Duration::from_secs(10);

/// Runs the command.
pub fn run(args: &DownArgs) -> Result<ExitCode, Failure> {
    let local = Local::open(&args.dir.dir)?;
    let _lock = Lock::take(&local.dir)?;
    local.note_strays()?;
    let was = local.servers().into_iter().chain([Name::Mount]).any(|n| local.pid(n).is_some());
    let (mounted, from) = (local.pid(Name::Mount).is_some(), local.log_length(Name::Mount));
    // Before anything is taken away that the others need.
    local.servers().into_iter().chain([Name::Mount]).try_for_each(|name| local.check_may_signal(name))?;
    unmount(&local, args.force)?;
    // It may have ended with its mount by now, and was stopped all the same.
    if mounted {
        println!("stopping mountd");
    }
    stop_mountd(&local, args.force)?;
    let ended = if mounted { local.check_mountd_ended_well(from) } else { Ok(()) };
    stop_servers(&local)?;
    let run = local.dir.join("run");
    match std::fs::remove_dir_all(&run) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Failure::file("remove", &run)(e)),
        _ => {}
    }
    let data = local.dir.join("data");
    if was {
        println!("it is down; the data stays in {}", printed(&data));
    } else {
        println!("it was down already; the data is in {}", printed(&data));
    }
    ended.map(|()| ExitCode::SUCCESS)
}

/// Takes the mount away; a busy one only with `force`.
fn unmount(local: &Local, force: bool) -> Result<(), Failure> {
    let Some(at) = local.mount_point() else { return Ok(()) };
    let state = mounts::state(&at.path);
    let lazy = match state {
        MountState::None | MountState::Foreign(_) => return Ok(()),
        // The mount of another cluster, or of a mountd that was started by hand, is not ours to take away.
        MountState::Answers | MountState::Hangs if local.pid(Name::Mount).is_none() => return Ok(()),
        MountState::Answers | MountState::Hangs => false,
        MountState::Dead(_) => true,
    };
    match mounts::unmount(&at.path, lazy) {
        Ok(()) => Ok(()),
        Err(e) if e.raw_os_error() == Some(libc::EBUSY) && !force => {
            let mut holders = mounts::holders(&at.path);
            if holders.is_empty() {
                if state == MountState::Hangs {
                    return Err(Failure::MountHangs(at.path));
                }
                holders.push("    (who it is cannot be seen)".to_owned());
            }
            Err(Failure::Busy { path: at.path, holders })
        }
        Err(e) if e.raw_os_error() == Some(libc::EBUSY) => {
            mounts::unmount(&at.path, true).map_err(Failure::file("unmount", &at.path))?;
            println!("{} was in use and is detached all the same", printed(&at.path));
            Ok(())
        }
        // It ended by itself in between.
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) => Ok(()),
        Err(e) => Err(Failure::file("unmount", &at.path)(e)),
    }
}

/// Ends mountd: unmounted, it ends by itself once everything is written back.
fn stop_mountd(local: &Local, force: bool) -> Result<(), Failure> {
    if local.pid(Name::Mount).is_some() && !local.wait_for_end(Name::Mount, Duration::from_secs(1)) {
        local.signal(Name::Mount, libc::SIGTERM)?;
        end(local, &[Name::Mount], mountd_grace(local, force))?;
    }
    local.forget(Name::Mount)?;
    if let Some(at) = local.mount_point() {
        mounts::clear_dead(&at.path).map_err(Failure::file("clear the dead mount", &at.path))?;
        if at.made && mounts::state(&at.path) == MountState::None && std::fs::remove_dir(&at.path).is_ok() {
            local.remember_mount_point(&super::local::MountPoint { made: false, ..at })?;
        }
    }
    Ok(())
}

fn stop_servers(local: &Local) -> Result<(), Failure> {
    let running: Vec<Name> = local.servers().into_iter().filter(|&n| local.pid(n).is_some()).collect();
    if !running.is_empty() {
        println!("stopping {}", human::list(&running));
    }
    // All at once, so that no server sees its mirror leave and serves on without it.
    for &name in &running {
        local.signal(name, libc::SIGTERM)?;
    }
    end(local, &running, SERVER_GRACE)?;
    local.servers().into_iter().try_for_each(|name| local.forget(name))
}

/// Waits until processes that were asked to end have, all within the same time; kills those that do not, and says so.
fn end(local: &Local, names: &[Name], grace: Duration) -> Result<(), Failure> {
    let deadline = Instant::now() + grace;
    let within = |deadline: Instant| deadline.saturating_duration_since(Instant::now());
    let left: Vec<Name> = names.iter().copied().filter(|&n| !local.wait_for_end(n, within(deadline))).collect();
    for &name in &left {
        println!("{name} did not end within {} and is killed", human::span(grace));
        local.signal(name, libc::SIGKILL)?;
    }
    let deadline = Instant::now() + KILL_GRACE;
    for name in left {
        if !local.wait_for_end(name, within(deadline))
            && let Some(pid) = local.pid(name)
        {
            return Err(Failure::Stuck { name, pid, signal: "SIGKILL", seconds: KILL_GRACE.as_secs() });
        }
    }
    Ok(())
}

/// How long mountd gets: by force not so long if no server answers that could take what it holds.
fn mountd_grace(local: &Local, force: bool) -> Duration {
    let answered = || admin::runtime().block_on(survey(&local.config)).iter().any(|(_, status)| status.is_some());
    if force && !answered() { SERVER_GRACE } else { MOUNTD_GRACE }
}
