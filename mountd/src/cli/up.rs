//! `raidfs up`: a whole local cluster, made or started again, and mounted.

use super::args::{DEFAULT_MOUNT, UpArgs};
use super::local::{self, Local, Lock, MountPoint, Name};
use super::mounts::{self, MountState};
use super::process::{State, program};
use super::{Failure, bring, human, status};
use raidfs_common::id::ServerId;
use raidfs_common::printed::printed;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How long a cluster that is up is given to be healthy, before it is said that it is not.
const SETTLE: Duration = Duration::from_secs(2);

/// Runs the command.
pub fn run(args: &UpArgs) -> Result<ExitCode, Failure> {
    let began = Instant::now();
    mounts::check_may_mount()?;
    program("fsd")?;
    program("mountd")?;
    let (local, _lock, new) = find_or_make(args)?;
    local.note_strays()?;
    local.servers().into_iter().chain([Name::Mount]).for_each(|name| local.wait_for_remains(name));
    let mut at = mount_point(&local, args.mount.as_deref())?;
    let all: Vec<Name> = local.servers();
    let states: Vec<(Name, State)> = all.iter().map(|&n| (n, local.state(n))).collect();
    let missing: Vec<Name> = states.iter().filter(|(_, s)| !matches!(s, State::Running(_))).map(|(n, _)| *n).collect();
    let mounted = local.pid(Name::Mount).is_some() && mounts::state(&at.path) == MountState::Answers;
    if missing.is_empty() && mounted {
        println!("it is up already, mounted at {}; nothing was changed", printed(&at.path));
        return Ok(ExitCode::SUCCESS);
    }
    bring::check_ports_of(&local, &missing)?;
    let before = local.mount_point();
    let is_fresh = before.is_none() && mounts::state(&at.path) == MountState::None;
    if local.pid(Name::Mount).is_none() {
        check_apart(&local.dir, &at.path)?;
        mounts::check_place(&at.path)?;
        // Before anything runs: should this be interrupted, it is known what is missing, and the next one goes on with it.
        local.remember_mount_point(&at)?;
    }
    if !missing.is_empty() {
        let again = if new || missing.len() == all.len() { "" } else { " (the others run already)" };
        println!("starting {}{again}", human::list(&missing));
    }
    let mut started = Vec::new();
    let has_quorum =
        || all.iter().filter(|name| matches!(local.state(**name), State::Running(_))).count() * 2 > all.len();
    // A server that cannot start, as one with an empty disk in its place, keeps no store down of which enough is there.
    let (brought, without) = match bring::servers(&local, &all, &mut started) {
        Err(failure @ Failure::Died { .. }) if !new && has_quorum() => (Ok(()), Some(failure)),
        brought => (brought, None),
    };
    let result = brought.and_then(|()| {
        if !mounted {
            println!("mounting at {}", printed(&at.path));
        }
        bring::mount(&local, &mut at, &mut started)
    });
    if let Err(failure) = result {
        // Servers that are up stay: whoever lacks a mount has more of a store with them.
        let they_stay = !new && has_quorum();
        started.retain(|one| one.name == Name::Mount || !they_stay);
        let taken_back: Vec<Name> = started.iter().map(|one| one.name).collect();
        bring::take_back(&local, started);
        if they_stay {
            eprintln!("the servers run; `raidfs up` again once it can be mounted");
        } else {
            if !taken_back.is_empty() {
                eprintln!("stopped {} again; the cluster stays in {}", human::list(&taken_back), printed(&local.dir));
            }
            give_place_back(&local, before, is_fresh, &at.path)?;
        }
        return Err(without.unwrap_or(failure));
    }
    let took = human::span(began.elapsed());
    // It is usable now. A moment later it is healthy too, unless there is much to be brought up to date.
    let trouble = status::settle(local, SETTLE);
    println!("it is up: {} is mounted (took {took})", printed(&at.path));
    if let Some(trouble) = trouble {
        println!("{trouble}");
    }
    without.map_or(Ok(ExitCode::SUCCESS), Err)
}

/// After a failure that left nothing running. Where it was to be mounted for the first time stays the wish, for whoever tries
/// again; a dead mount goes if nothing was there (`is_fresh`): one that was in use keeps programs from writing to the disk below.
fn give_place_back(local: &Local, before: Option<MountPoint>, is_fresh: bool, place: &Path) -> Result<(), Failure> {
    if is_fresh {
        // What stays is seen by whoever looks there, and makes way for the next one.
        let _ = mounts::clear_dead(place);
    }
    before.map_or(Ok(()), |before| local.remember_mount_point(&before))
}

/// The cluster in the directory; true if it was made now. Everything that can be wrong with the wishes is found before
/// anything is made.
fn find_or_make(args: &UpArgs) -> Result<(Local, Lock, bool), Failure> {
    let dir = local::absolute(&args.dir.dir)?;
    if !dir.join("raidfs.toml").exists() {
        let shape = local::shape(args.servers, args.base_port)?;
        let names =
            (0..=shape.servers).map(|n| (Name::Server(ServerId(n)), (Ipv4Addr::LOCALHOST, shape.base_port + n).into()));
        bring::check_ports(names)?;
        let place = absolute_mount(args.mount.as_deref().unwrap_or(Path::new(DEFAULT_MOUNT)))?;
        check_apart(&dir, &place)?;
        mounts::check_place(&place)?;
        std::fs::create_dir_all(&dir).map_err(Failure::file("make", &dir))?;
        let lock = Lock::take(&dir)?;
        // Another `up` may have been faster.
        if !dir.join("raidfs.toml").exists() {
            let local = Local::create(&dir, shape)?;
            println!(
                "made the cluster {} in {}: {} servers in {} mirrored pairs, ports {} to {}, and a witness on {}",
                local.config.cluster,
                printed(&local.dir),
                shape.servers,
                shape.servers / 2,
                shape.base_port + 1,
                shape.base_port + shape.servers,
                shape.base_port
            );
            return Ok((local, lock, true));
        }
        drop(lock);
    }
    let local = Local::open(&dir)?;
    let lock = Lock::take(&local.dir)?;
    check_same(&local, args)?;
    Ok((local, lock, false))
}

/// An error if one of the cluster's directory and its mount point is in the other: the mount would hide the directory, or
/// what is stored would lie among the names of what stores it. Nor is a store kept on a raidfs mount, its own least of all.
fn check_apart(dir: &Path, place: &Path) -> Result<(), Failure> {
    let (dir, place) = (&without_links(dir), &without_links(place));
    if dir.starts_with(place) || place.starts_with(dir) {
        let why = format!(
            "it and the cluster's directory {} must not be one in the other; choose another --mount",
            printed(&dir)
        );
        return Err(Failure::MountPoint { path: place.to_owned(), why });
    }
    match dir.ancestors().find(|above| above.symlink_metadata().is_ok()) {
        Some(above) if mounts::is_raidfs(above) => Err(Failure::OnRaidfs(dir.to_owned())),
        _ => Ok(()),
    }
}

fn check_same(local: &Local, args: &UpArgs) -> Result<(), Failure> {
    let other = |there: String, asked: String| Err(Failure::OtherCluster { dir: local.dir.clone(), there, asked });
    let servers = local.config.pairs.len() as u16 * 2;
    match args.servers {
        Some(asked) if asked != servers => return other(format!("{servers} servers"), asked.to_string()),
        _ => {}
    }
    let port = local.config.witness.port();
    match args.base_port {
        Some(asked) if asked != port => return other(format!("base port {port}"), asked.to_string()),
        _ => {}
    }
    Ok(())
}

/// Where to mount: as asked, else where it was last, else the default. An error if it is mounted elsewhere now.
fn mount_point(local: &Local, asked: Option<&Path>) -> Result<MountPoint, Failure> {
    let last = local.mount_point();
    let asked = asked.map(absolute_mount).transpose()?;
    match (last, asked) {
        (Some(last), None) => Ok(last),
        (Some(last), Some(asked)) if last.path == asked => Ok(last),
        (Some(last), Some(asked)) if local.pid(Name::Mount).is_some() => {
            let why = format!("this cluster is mounted at {}; `raidfs down` first", printed(&last.path));
            Err(Failure::MountPoint { path: asked, why })
        }
        (_, asked) => {
            let path = asked.map_or_else(|| absolute_mount(Path::new(DEFAULT_MOUNT)), Ok)?;
            Ok(MountPoint { path, made: false })
        }
    }
}

/// `path` without links, as far as it exists. Its last part is not looked at: something dead may be mounted there.
fn without_links(path: &Path) -> PathBuf {
    let above = path.ancestors().skip(1).find_map(|above| Some((above, above.canonicalize().ok()?)));
    let whole = above.and_then(|(above, real)| Some(real.join(path.strip_prefix(above).ok()?)));
    whole.unwrap_or_else(|| path.to_owned())
}

/// `path` from the root on, as the kernel's mount table has it: without links, and without asking a file system that
/// may be dead for more than its parent.
fn absolute_mount(path: &Path) -> Result<PathBuf, Failure> {
    let plain = std::path::absolute(path).map_err(Failure::file("find", path))?;
    match (plain.parent().map(Path::canonicalize), plain.file_name()) {
        (Some(Ok(parent)), Some(name)) => {
            let here = parent.join(name);
            if here.is_symlink() { local::absolute(&here) } else { Ok(here) }
        }
        _ => Ok(plain),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clusters_directory_and_its_mount_point_are_apart() {
        let apart = |dir: &str, place: &str| check_apart(Path::new(dir), Path::new(place));
        assert!(apart("/nonexistent/a", "/nonexistent/b").is_ok());
        assert!(apart("/nonexistent/a", "/nonexistent/ab").is_ok());
        let real = tempfile::tempdir().unwrap();
        let link = real.path().join("link");
        std::os::unix::fs::symlink(real.path(), &link).unwrap();
        assert!(check_apart(&link.join("new/a"), &real.path().join("new")).is_err(), "one name of them is a link's");
        for (dir, place) in [("/x/a", "/x/a"), ("/x/a", "/x/a/mnt"), ("/x/a/data", "/x/a")] {
            assert!(matches!(apart(dir, place), Err(Failure::MountPoint { .. })), "{dir} {place}");
        }
    }
}
