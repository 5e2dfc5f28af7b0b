//! The mount daemon: checks everything, opens a mount session, mounts, and serves in the foreground until it is
//! unmounted or told to stop.

use clap::Parser;
use raidfs_common::config::{Config, Durability};
use raidfs_common::log;
use raidfs_common::printed::printed;
use raidfs_common::{panics, threads};
use raidfs_mountd::cluster::holder::Holder;
use raidfs_mountd::cluster::{ClusterClient, OpenError, SessionState};
use raidfs_mountd::fuse::options::Options;
use raidfs_mountd::fuse::session::{self, Mounted, Unmounted};
use raidfs_mountd::fuse::{Adapter, is_mounted_for};
use raidfs_mountd::vfs::{self, Vfs};
use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinError;

/// Everything written behind is sent within this time after an unmount, or given up.
const LAST_FLUSH: Duration = Duration::from_secs(60);
/// After it was unmounted here, the kernel may need so long to let go; for longer, only who has it mounted elsewhere.
const HELD_PATIENCE: Duration = Duration::from_secs(5);
/// A mount that was taken away, and stores what was written, is waited for by the next one for so long.
const LEAVING_PATIENCE: Duration = Duration::from_secs(15);
/// Who is told to end while it opens a session waits for the answer for so long.
const LAST_ANSWER: Duration = Duration::from_millis(500);
/// How often that is looked at.
const LEAVING_POLL: Duration = Duration::from_millis(20);

const EXAMPLES: &str = "\
ENVIRONMENT
  RAIDFS_LOG  what is logged, to standard error: error, warn, info (the default), debug, or info,raidfs_mountd=debug and so on

EXAMPLES
  mountd --config /etc/raidfs/raidfs.toml /mnt/raidfs
  mountd --config /etc/raidfs/raidfs.toml -o noatime,nosuid --takeover /mnt/raidfs
  mountd -o remount,ro /mnt/raidfs
  mount -t raidfs /etc/raidfs/raidfs.toml /mnt/raidfs        (in the background, by `make install`'s helper)
  umount /mnt/raidfs";

/// Mounts a raidfs cluster, in the foreground.
///
/// Exits with 0 after `umount`, `fusermount3 -u`, SIGTERM or SIGINT, once everything written has been stored; with 1
/// if it could not mount, or lost its mount session, or something could not be stored.
#[derive(Parser)]
#[command(name = "mountd", version, max_term_width = 100, after_long_help = EXAMPLES)]
struct Arguments {
    /// The cluster's configuration (raidfs.toml)
    #[arg(long, value_name = "FILE", required_unless_present = "options")]
    config: Option<PathBuf>,
    /// Where the mount keeps files of its own; it needs none at present
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// End the mount session that is open elsewhere
    #[arg(long)]
    takeover: bool,
    /// Begin a session of its own once it is mounted: who started this in the background goes on then, and an automounter
    /// lets only processes of its own group mount
    #[arg(long, hide = true)]
    leave_session: bool,
    /// Mount options, separated by commas: ro, nosuid, nodev, noexec, nosymfollow, sync, dirsync, noatime, relatime,
    /// strictatime, nodiratime, lazytime, each with its opposite (rw, suid, ...); nonempty, takeover, fsname=NAME; with remount, a mount
    /// that is there gets the others, and that is all. Passed over: defaults, _netdev, auto, noauto, nofail, user, nouser,
    /// users, nousers, owner, noowner, group, nogroup, silent, loud, mand, nomand, iversion, noiversion, acl, user_xattr, allow_other, default_permissions, comment=..., user=...,
    /// user_id=..., group_id=..., x-..., X-...
    #[arg(short = 'o', value_name = "OPTIONS")]
    options: Vec<String>,
    /// The directory to mount at
    #[arg(value_name = "MOUNTPOINT")]
    mount_point: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    log::start();
    // Programs get errors from a mount that is dead, and the next one takes its place; with one that limps they would wait for
    // what never comes, or read what is half changed.
    panics::end_the_process(&[]);
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mountd: {}", log::chain(&*error));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let mut options = Options::default();
    for list in &arguments.options {
        options.add(list)?;
    }
    if options.remount {
        return Ok(session::remount(&arguments.mount_point, &arguments.options)?);
    }
    options.takeover |= arguments.takeover;
    if arguments.leave_session {
        // The terminal that it was started from may go before it has.
        // SAFETY: no handler is involved.
        unsafe { libc::signal(libc::SIGHUP, libc::SIG_IGN) };
    }
    let config = Config::load(arguments.config.as_deref().ok_or("--config says which cluster is to be mounted")?)?;
    let mount_point = session::check(&arguments.mount_point, &options)?;
    // What is refused makes nothing.
    if let Some(dir) = &arguments.cache {
        std::fs::create_dir_all(dir)
            .map_err(|e| format!("cannot make the directory {} of --cache: {e}", printed(&dir)))?;
    }
    raidfs_common::wire::tune_allocator();
    let runtime = threads::runtime("blocking").map_err(|e| format!("cannot start threads: {e}"))?;
    let result = runtime.block_on(serve(config, &mount_point, &options, arguments.leave_session));
    panics::let_pass();
    // Whatever still waits for a server would keep the process for nothing.
    runtime.shutdown_background();
    result
}

async fn serve(
    config: Config,
    mount_point: &Path,
    options: &Options,
    leave_session: bool,
) -> Result<(), Box<dyn Error>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let servers = config.servers().count();
    let holder = Holder::this_process(&mount_point.to_string_lossy()).to_string();
    let signals = (&mut terminate, &mut interrupt);
    let Some(cluster) = connect_unless(signals, &config, &holder, options.takeover).await? else { return Ok(()) };
    let strict = config.durability == Durability::Strict;
    let behaviour = vfs::Options { strict, ..vfs::Options::default() };
    let vfs = Vfs::new(cluster.clone(), behaviour);
    let adapter = Adapter::new(vfs.clone(), tokio::runtime::Handle::current());
    let mounted = {
        let (path, name, options) = (mount_point.to_owned(), config.cluster.clone(), options.clone());
        // The kernel's first request is answered on the way: not on the thread that runs everything.
        tokio::task::spawn_blocking(move || Mounted::start(adapter, &path, &name, &options)).await?
    };
    let mounted = match mounted {
        Ok(mounted) => mounted,
        Err(error) => {
            cluster.close().await;
            return Err(error.into());
        }
    };
    if leave_session {
        // SAFETY: no memory is involved. It fails for the first of a group only, which has one already.
        unsafe { libc::setsid() };
    }
    let reached = config.servers().filter(|server| cluster.is_connected(*server)).count();
    let place = printed(&mount_point);
    // A log that cannot be written (its disk is full) is no reason not to mount.
    let _ = writeln!(
        std::io::stdout(),
        "mounted raidfs '{}' at {place}, {reached} of {servers} servers reached",
        config.cluster
    );

    let mut state = cluster.session_state();
    let mut lost = false;
    let mut broken = None;
    let why = tokio::select! {
        reason = mounted.ended() => { broken = reason; "it was unmounted" }
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
        _ = state.wait_for(|s| *s == SessionState::Lost) => { lost = true; "the session was lost" }
    };
    if lost {
        // Whoever writes to the path must get an error, and not write to the disk below: so the mount stays, dead.
        std::mem::forget(mounted);
        return Err(format!(
            "the mount session was lost: it lapsed, or another mount took over. What was not stored by then is lost, too. \
             {place} gives errors until it is mounted anew"
        )
        .into());
    }
    if broken.is_none() {
        tracing::info!("the mount at {place} ends ({why}): what was written and is not stored yet is stored now");
    }
    let ended = take_away(mounted, mount_point).await?;
    finish(&vfs, &cluster).await?;
    tracing::info!("the mount at {place} has ended: all that it had taken is stored");
    match broken.or(ended) {
        Some(reason) => Err(format!("the mount at {place} broke: {reason}").into()),
        None => Ok(()),
    }
}

/// Unmounts. What broke the mount, if that is how it ended.
async fn take_away(mounted: Mounted, mount_point: &Path) -> Result<Option<String>, JoinError> {
    let place = printed(&mount_point);
    let unmount = move || {
        let result = mounted.unmount();
        (mounted, result)
    };
    let (mounted, result) = tokio::task::spawn_blocking(unmount).await?;
    match result {
        Ok(Unmounted::Clean) => match tokio::time::timeout(HELD_PATIENCE, mounted.ended()).await {
            Ok(reason) => return Ok(reason),
            Err(_) => tracing::warn!(
                "{place} is still mounted in another mount namespace, a container's perhaps: that one gets errors from now on"
            ),
        },
        Ok(Unmounted::Before) => {}
        Ok(Unmounted::Detached) => tracing::warn!("{place} is in use; it was detached from there"),
        Err(error) => tracing::warn!("cannot unmount {place}: {error}"),
    }
    Ok(None)
}

/// The same as [`connect`], unless it is told to end before: then nothing is there that would have to be stored.
async fn connect_unless(
    (terminate, interrupt): (&mut Signal, &mut Signal),
    config: &Config,
    holder: &str,
    takeover: bool,
) -> Result<Option<Arc<ClusterClient>>, OpenError> {
    let mut connecting = std::pin::pin!(connect(config, holder, takeover));
    tokio::select! {
        connected = &mut connecting => return connected.map(Some),
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("told to end before anything was mounted");
    // A session that is about to be open would keep others from mounting until it lapses.
    if let Ok(Ok(cluster)) = tokio::time::timeout(LAST_ANSWER, connecting).await {
        cluster.close().await;
    }
    Ok(None)
}

/// Opens the mount session. umount(8) returns before what was written is stored: the end of a mount that is on its way
/// out is waited for.
async fn connect(config: &Config, holder: &str, takeover: bool) -> Result<Arc<ClusterClient>, OpenError> {
    match ClusterClient::connect(config, holder.to_owned(), takeover).await {
        Err(OpenError::Busy { holder: other }) if has_left(&other).await => {
            ClusterClient::connect(config, holder.to_owned(), takeover).await
        }
        connected => connected,
    }
}

/// Whether the holder of a session, whose mount was taken away on this machine, comes to its end, or came to it meanwhile.
async fn has_left(holder: &str) -> bool {
    let Some(holder) = Holder::parse(holder) else { return false };
    let Some(path) = holder.what_here().map(Path::new).filter(|path| path.is_absolute()) else { return false };
    if let Some(process) = holder.process_here() {
        if is_mounted_for(process, path) {
            return false;
        }
        tracing::info!("{} is on its way out: waiting for its end", holder.words());
    }
    let end = async {
        while holder.process_here().is_some() {
            tokio::time::sleep(LEAVING_POLL).await;
        }
    };
    tokio::time::timeout(LEAVING_PATIENCE, end).await.is_ok() && holder.is_gone()
}

/// Stores what was written behind, and ends the session.
async fn finish(vfs: &Vfs<ClusterClient>, cluster: &Arc<ClusterClient>) -> Result<(), Box<dyn Error>> {
    let flushed = tokio::time::timeout(LAST_FLUSH, vfs.close()).await;
    cluster.close().await;
    match flushed {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(format!("not everything that was written could be stored: {error}").into()),
        Err(_) => Err("not everything that was written could be stored: no server took it in time".into()),
    }
}
