//! `fsd`: one server, or the witness, in the foreground. Flags, then the parts, then the exit code.

use clap::Parser;
use raidfs_common::config::Config;
use raidfs_common::id::ServerId;
use raidfs_common::log::chain;
use raidfs_fsd::chunk::disk::DiskChunks;
use raidfs_fsd::identity::{DataDir, Identity};
use raidfs_fsd::server::Ended;
use raidfs_fsd::{no_room, server, witness};
use std::error::Error;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

/// Runs one raidfs storage server, or the witness, in the foreground.
///
/// A server keeps all names and, together with its mirror, the bytes of about half of the files. The witness keeps
/// neither: it breaks ties, so that the cluster goes on when one server of each pair is lost. SIGTERM ends either in
/// order: the mirror carries on, the lead is handed over, everything is on disk.
///
/// Exit status: 0 ended in order, 1 failed (the reason is on standard error), 2 wrong usage, 3 the cluster knows another
/// data directory of this server than the one given: see `raidfs replace --help`.
#[derive(Debug, Parser)]
#[command(name = "fsd", version, max_term_width = 100)]
struct Flags {
    /// The cluster's configuration, the same file everywhere.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Which server of the configuration this is, counted from 1.
    #[arg(long, value_name = "N", required_unless_present = "witness", conflicts_with = "witness")]
    id: Option<u16>,
    /// Be the witness.
    #[arg(long)]
    witness: bool,
    /// Where this server keeps everything. Made if it is not there; refused if it is another server's.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// An earlier life has ended for want of room, and could not even write that down.
    #[arg(long, hide = true)]
    after_no_room: bool,
}

/// What the next life is told by one that could not write it down.
const AFTER_NO_ROOM: &str = "--after-no-room";

/// The exit code of a server whose data directory the cluster does not take.
const REFUSED: u8 = 3;

fn main() -> ExitCode {
    let flags = Flags::parse();
    raidfs_common::log::start();
    raidfs_common::wire::tune_allocator();
    match run(&flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", chain(error.as_ref()));
            match error.downcast_ref() {
                Some(Ended::Refused(_)) => ExitCode::from(REFUSED),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

fn run(flags: &Flags) -> Result<(), Box<dyn Error>> {
    let config = Config::load(&flags.config)?;
    let me = ServerId(if flags.witness { 0 } else { flags.id.unwrap_or_default() });
    let servers = config.pairs.len() * 2;
    if !flags.witness && config.pair_of(me).is_none() {
        return Err(format!("--id {} is not in {}: it has servers 1 to {servers}", me.0, flags.config.display()).into());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if no_room::lacking(&flags.data).is_some() {
        return runtime.block_on(wait_for_room(&config, me, flags));
    }
    let address = config.address(me).ok_or("the configuration names no address for this server")?;
    // Its lock comes before its new life: a second process of the same directory is told so, and changes nothing.
    let identity = Identity { cluster: config.cluster.clone(), cluster_id: config.cluster_id(), server: me };
    let bound = TcpListener::bind(address).map_err(|e| format!("cannot listen on {address} for {me}: {e}"));
    // A directory in use is told before a port in use, which follows from it; but no directory is made for nothing.
    if !DataDir::is_made(&flags.data)
        && let Err(why) = &bound
    {
        return Err(why.clone().into());
    }
    let home = DataDir::open_after(&flags.data, &identity, flags.after_no_room)?;
    let listener = bound?;
    let stop = Arc::new(Notify::new());
    let ended = runtime.block_on(async {
        tokio::spawn(stop_on_signal(stop.clone())?);
        if flags.witness {
            return Ok::<_, Box<dyn Error>>(witness::run(config, &home, listener, stop).await?);
        }
        let chunks = Arc::new(DiskChunks::open(&home.chunks(), &home.notes())?);
        Ok(server::run(config, &home, chunks, listener, stop).await?)
    });
    // Threads that hang on a disk must not hold up the end.
    runtime.shutdown_background();
    match ended {
        Ok(()) => Ok(home.end_cleanly()?),
        Err(error) => match error.downcast_ref() {
            Some(Ended::Refused(_)) => Err(error),
            _ if no_room::lacking(&flags.data).is_some() => {
                tracing::error!("{}", chain(error.as_ref()));
                Err(start_anew(home.distrust().is_err()).into())
            }
            Some(Ended::Failed(_)) => {
                home.distrust()?;
                Err(error)
            }
            Some(Ended::Anew(_)) => Err(start_anew(false).into()),
            _ => Err(error),
        },
    }
}

/// Waits until there is room on the disk, and starts anew then.
async fn wait_for_room(config: &Config, me: ServerId, flags: &Flags) -> Result<(), Box<dyn Error>> {
    let stop = Arc::new(Notify::new());
    tokio::spawn(stop_on_signal(stop.clone())?);
    if no_room::wait(config, me, &flags.data, &stop).await { Err(start_anew(false).into()) } else { Ok(()) }
}

/// Runs this program anew in the same process, whatever its threads are about: a life ends wholly, and another begins.
/// Locks and ports are given back by that. Returns only if it cannot be done. `distrusted`: this life could not write down that it
/// failed, so the next one has to.
fn start_anew(distrusted: bool) -> std::io::Error {
    let mut words = std::env::args_os();
    let mut command = std::process::Command::new("/proc/self/exe");
    // Under the same name: by that the processes of a cluster are known.
    if let Some(name) = words.next() {
        command.arg0(name);
    }
    command.args(words);
    if distrusted && !std::env::args_os().any(|word| word == AFTER_NO_ROOM) {
        command.arg(AFTER_NO_ROOM);
    }
    command.exec()
}

/// Rings `stop` at SIGTERM and SIGINT.
fn stop_on_signal(stop: Arc<Notify>) -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.notify_one();
    })
}
