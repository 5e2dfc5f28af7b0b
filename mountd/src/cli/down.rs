//! `raidfs down`: unmount and stop everything of a local cluster, in an order that loses nothing.

use super::args::DownArgs;
use super::local::{Local, Lock, Name};
use super::mounts::{self, MountState};
use super::process::State;
use super::{Failure, human, wait};
use std::process::ExitCode;
use std::time::Duration;

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
    let was = local.servers().into_iter().chain([Name::Mount]).any(|n| local.pid(n).is_some());
    unmount(&local, args.force)?;
    stop_mountd(&local)?;
    stop_servers(&local)?;
    let run = local.dir.join("run");
    match std::fs::remove_dir_all(&run) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Failure::file("remove", &run)(e)),
        _ => {}
    }
    let data = local.dir.join("data");
    if was {
        println!("it is down; the data stays in {}", data.display());
    } else {
        println!("it was down already; the data is in {}", data.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Takes the mount away; a busy one only with `force`.
fn unmount(local: &Local, force: bool) -> Result<(), Failure> {
    let Some(at) = local.mount_point() else { return Ok(()) };
    let lazy = match mounts::state(&at.path) {
        MountState::None | MountState::Foreign(_) => return Ok(()),
        // The mount of another cluster, or of a mountd that was started by hand, is not ours to take away.
        MountState::Answers | MountState::Hangs if local.pid(Name::Mount).is_none() => return Ok(()),
        MountState::Answers | MountState::Hangs => false,
        MountState::Dead(_) => true,
    };
    match mounts::unmount(&at.path, lazy) {
        Ok(()) => Ok(()),
        Err(e) if e.raw_os_error() == Some(libc::EBUSY) => {
            let holders = mounts::holders(&at.path);
            if !force {
                let holders =
                    if holders.is_empty() { vec!["    (who it is cannot be seen)".to_owned()] } else { holders };
                return Err(Failure::Busy { path: at.path, holders });
            }
            mounts::unmount(&at.path, true).map_err(Failure::file("unmount", &at.path))?;
            println!("{} was in use and is detached all the same", at.path.display());
            Ok(())
        }
        // It ended by itself in between.
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) => Ok(()),
        Err(e) => Err(Failure::file("unmount", &at.path)(e)),
    }
}

/// Ends mountd: unmounted, it ends by itself once everything is written back.
fn stop_mountd(local: &Local) -> Result<(), Failure> {
    if local.pid(Name::Mount).is_some() {
        println!("stopping mountd");
        if !local.wait_for_end(Name::Mount, Duration::from_secs(1)) {
            local.signal(Name::Mount, libc::SIGTERM);
            end(local, Name::Mount, MOUNTD_GRACE)?;
        }
    }
    local.forget(Name::Mount)?;
    if let Some(at) = local.mount_point() {
        // What a mountd that had to be killed leaves.
        if matches!(mounts::state(&at.path), MountState::Dead(_)) {
            mounts::unmount(&at.path, true).map_err(Failure::file("clear the dead mount", &at.path))?;
        }
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
        local.signal(name, libc::SIGTERM);
    }
    for name in local.servers() {
        end(local, name, SERVER_GRACE)?;
        local.forget(name)?;
    }
    Ok(())
}

/// Waits until a process that was asked to end has; kills it, and says so, if it does not.
fn end(local: &Local, name: Name, grace: Duration) -> Result<(), Failure> {
    if local.wait_for_end(name, grace) {
        return Ok(());
    }
    println!("{name} did not end within {} and is killed", human::span(grace));
    local.signal(name, libc::SIGKILL);
    let ended = wait::until(KILL_GRACE, || match local.state(name) {
        State::Running(_) => Ok(None),
        State::Crashed | State::Stopped => Ok::<_, Failure>(Some(())),
    })?;
    match (ended, local.pid(name)) {
        (None, Some(pid)) => Err(Failure::Stuck { name, pid, signal: "SIGKILL", seconds: KILL_GRACE.as_secs() }),
        _ => Ok(()),
    }
}
