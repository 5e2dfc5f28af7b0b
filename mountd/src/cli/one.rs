//! `raidfs start`, `stop` and `kill`: one process of a local cluster.

use super::args::{DEFAULT_MOUNT, OneArgs};
use super::local::{Local, Lock, MountPoint, Name};
use super::mounts::{self, MountState};
use super::{Failure, bring};
use raidfs_common::printed::printed;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// How long a process may take to end in good order; mountd writes back what it holds.
const GRACE: Duration = Duration::from_secs(60);
const KILL_GRACE: Duration = Duration::from_secs(10);

/// Starts it and waits until it is of use.
pub fn start(args: &OneArgs) -> Result<ExitCode, Failure> {
    let (local, _lock, name) = find(args)?;
    local.wait_for_remains(name);
    let at = local.mount_point();
    let lives = local.pid(name);
    let usable = name != Name::Mount || at.as_ref().is_some_and(|at| mounts::state(&at.path) == MountState::Answers);
    if let (Some(pid), true) = (lives, usable) {
        println!("{name} runs already (pid {pid}); nothing was changed");
        return Ok(ExitCode::SUCCESS);
    }
    let mut started = Vec::new();
    let result = match name {
        Name::Server(_) => {
            bring::check_ports_of(&local, &[name])?;
            bring::servers(&local, &[name], &mut started)
        }
        Name::Mount => {
            mounts::check_may_mount()?;
            let mut at = at.unwrap_or(MountPoint { path: DEFAULT_MOUNT.into(), made: false });
            bring::mount(&local, &mut at, &mut started)
        }
    };
    if let Err(failure) = result {
        bring::take_back(&local, started);
        return Err(failure);
    }
    match (name, local.mount_point()) {
        (Name::Mount, Some(at)) => println!("mountd runs, {} is mounted", printed(&at.path)),
        _ => println!("{name} runs"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Ends it in good order.
pub fn stop(args: &OneArgs) -> Result<ExitCode, Failure> {
    let (local, _lock, name) = find(args)?;
    let Some(pid) = local.pid(name) else {
        local.forget(name)?;
        println!("{name} does not run; nothing was changed");
        return Ok(ExitCode::SUCCESS);
    };
    let from = local.log_length(name);
    let users = users_of(&local, name);
    local.signal(name, libc::SIGTERM)?;
    if !local.wait_for_end(name, GRACE) {
        return Err(Failure::Stuck { name, pid, signal: "SIGTERM", seconds: GRACE.as_secs() });
    }
    local.forget(name)?;
    if name == Name::Mount {
        local.check_mountd_ended_well(from)?;
    }
    println!("{name} is stopped");
    if let Some((path, users)) = users.filter(|(_, users)| !users.is_empty()) {
        println!(
            "{} was in use and is detached all the same; who still uses it gets errors:\n{}",
            printed(&path),
            users.join("\n")
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Of mountd: where it is mounted, and who uses that, one line each.
fn users_of(local: &Local, name: Name) -> Option<(PathBuf, Vec<String>)> {
    let at = local.mount_point().filter(|_| name == Name::Mount)?;
    let users = mounts::holders(&at.path);
    Some((at.path, users))
}

/// Ends it as a crash would. Its pid file stays, as after a crash, so that `status` says that it died.
pub fn kill(args: &OneArgs) -> Result<ExitCode, Failure> {
    let (local, _lock, name) = find(args)?;
    let Some(pid) = local.pid(name) else {
        println!("{name} does not run; nothing was changed");
        return Ok(ExitCode::SUCCESS);
    };
    local.signal(name, libc::SIGKILL)?;
    if !local.wait_for_end(name, KILL_GRACE) {
        return Err(Failure::Stuck { name, pid, signal: "SIGKILL", seconds: KILL_GRACE.as_secs() });
    }
    println!("{name} is killed");
    Ok(ExitCode::SUCCESS)
}

fn find(args: &OneArgs) -> Result<(Local, Lock, Name), Failure> {
    let local = Local::open(&args.dir.dir)?;
    let name = local.name(&args.name)?;
    let lock = Lock::take(&local.dir)?;
    local.note_strays()?;
    Ok((local, lock, name))
}
