//! `fsd`: one server, or the witness, in the foreground. Flags, then the parts, then the exit code.

use clap::Parser;
use raidfs_common::config::Config;
use raidfs_common::id::ServerId;
use raidfs_common::log::chain;
use raidfs_common::{panics, threads};
use raidfs_fsd::chunk::ChunkStore;
use raidfs_fsd::chunk::disk::DiskChunks;
use raidfs_fsd::identity::{DataDir, Identity};
use raidfs_fsd::server::Ended;
use raidfs_fsd::stop::Stop;
use raidfs_fsd::{no_room, server, signals, witness};
use std::error::Error;
use std::ffi::OsString;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::runtime::Runtime;

const EXAMPLES: &str = "\
ENVIRONMENT
  RAIDFS_LOG  what is logged, to standard error: error, warn, info (the default), debug, or info,raidfs_fsd=debug and so on

EXAMPLES
  fsd --config /etc/raidfs/raidfs.toml --id 1 --data /var/lib/raidfs/fsd1
  fsd --config /etc/raidfs/raidfs.toml --witness --data /var/lib/raidfs/witness
  systemctl enable --now fsd@1";

/// Runs one raidfs storage server, or the witness, in the foreground.
///
/// A server keeps all names and, together with its mirror, the bytes of about half of the files. The witness keeps
/// neither: it breaks ties, so that the cluster goes on when one server of each pair is lost. SIGTERM ends either in
/// order: the mirror carries on, the lead is handed over, everything is on disk.
///
/// Exit status: 0 ended in order, 1 failed (the reason is on standard error), 2 wrong usage, 3 the cluster knows another
/// data directory of this server than the one given: see `raidfs replace --help`.
#[derive(Debug, Parser)]
#[command(name = "fsd", version, max_term_width = 100, after_long_help = EXAMPLES)]
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
    /// The life before has ended for want of room: wait until there is some.
    #[arg(long, hide = true)]
    wait_for_room: bool,
    /// It could not even write down that it must not be trusted.
    #[arg(long, hide = true)]
    distrust: bool,
}

/// What one life tells the next one, in the same process.
const WAIT_FOR_ROOM: &str = "--wait-for-room";
const DISTRUST: &str = "--distrust";

/// What comes after a life.
#[derive(Clone, Copy, Debug)]
enum Next {
    /// Another.
    Life { distrusted: bool },
    /// One once there is room.
    Room { distrusted: bool },
}

/// How the names of the threads begin that the library below the store of names has. It says by errors what they have lost, and the next
/// life then looks whether the store can be used.
const STORE_THREADS: &str = "fjall:";

/// The exit code of a server whose data directory the cluster does not take.
const REFUSED: u8 = 3;

fn main() -> ExitCode {
    let flags = Flags::parse();
    raidfs_common::log::start();
    panics::end_the_process(&[STORE_THREADS]);
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
    let runtime = threads::runtime("blocking").map_err(|e| format!("cannot start threads: {e}"))?;
    let stop = Arc::new(Stop::default());
    // Not of one life: between two of them, too, who is asked to stop does.
    signals::ask_on_signal(stop.clone())?;
    let next = if flags.wait_for_room {
        runtime.block_on(wait_for_room(&config, me, flags, &stop))?
    } else {
        live(config, me, flags, runtime, &stop)?
    };
    match next {
        None => Ok(()),
        Some(_) if signals::let_go() => Err("asked to stop just before it was to start anew".into()),
        Some(next) => Err(start_anew(next).into()),
    }
}

/// Lives once, as far as the end. What comes next; None: nothing.
fn live(
    config: Config,
    me: ServerId,
    flags: &Flags,
    runtime: Runtime,
    stop: &Arc<Stop>,
) -> Result<Option<Next>, Box<dyn Error>> {
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
    let home = match DataDir::open_after(&flags.data, &identity, flags.distrust) {
        Err(error) if no_room::comes_from_a_full_disk(&error) => {
            tracing::error!("{}", chain(&error));
            return Ok(Some(Next::Room { distrusted: flags.distrust }));
        }
        opened => opened?,
    };
    let listener = bound?;
    let mut chunks = None;
    let ended = runtime.block_on(async {
        if flags.witness {
            return Ok::<_, Box<dyn Error>>(witness::run(config, &home, listener, stop.clone()).await?);
        }
        let opened = Arc::new(DiskChunks::open(&home.chunks(), &home.notes())?);
        chunks = Some(opened.clone());
        Ok(server::run(config, &home, opened, listener, stop.clone()).await?)
    });
    panics::let_pass();
    // Threads that hang on a disk must not hold up the end.
    runtime.shutdown_background();
    let Err(error) = ended else {
        home.end_cleanly()?;
        return Ok(None);
    };
    let ended = error.downcast_ref();
    let is_unsure = matches!(ended, Some(Ended::NoRoom(_))) && !no_room::has_room_for_what_it_took(&flags.data);
    let is_failed = matches!(ended, Some(Ended::Failed(_) | Ended::Undistrusted(_)))
        || is_unsure
        || chunks.is_some_and(|chunks| chunks.is_in_doubt());
    let is_full =
        || matches!(ended, Some(Ended::NoRoom(_))) || no_room::is_for_want_of_room(error.as_ref(), &flags.data);
    match ended {
        Some(Ended::Refused(_)) => Err(error),
        Some(Ended::Anew(_)) if !stop.is_asked() => {
            Ok(Some(Next::Life { distrusted: is_failed && home.distrust().is_err() }))
        }
        // Whoever was asked to stop does, though it was not in order.
        _ if !stop.is_asked() && is_full() => {
            tracing::error!("{}", chain(error.as_ref()));
            Ok(Some(Next::Room { distrusted: is_failed && home.distrust().is_err() }))
        }
        _ if is_failed => {
            home.distrust()?;
            Err(error)
        }
        _ => Err(error),
    }
}

/// Waits until there is room on the disk, or this is to end.
async fn wait_for_room(
    config: &Config,
    me: ServerId,
    flags: &Flags,
    stop: &Arc<Stop>,
) -> Result<Option<Next>, Box<dyn Error>> {
    let has_room = no_room::wait(config, me, &flags.data, stop).await;
    Ok(has_room.then_some(Next::Life { distrusted: flags.distrust }))
}

/// Runs this program anew in the same process, whatever its threads are about: a life ends wholly, and another begins.
/// Locks and ports are given back by that. Returns only if it cannot be done.
fn start_anew(next: Next) -> std::io::Error {
    let mut words = std::env::args_os();
    let mut command = std::process::Command::new("/proc/self/exe");
    // Under the same name: by that the processes of a cluster are known.
    if let Some(name) = words.next() {
        command.arg0(name);
    }
    command.args(words_for(next, words)).exec()
}

/// What the next life is told on its command line: what this one was, but for what was for this one only.
fn words_for(next: Next, words: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut words: Vec<_> = words.filter(|word| word != WAIT_FOR_ROOM && word != DISTRUST).collect();
    let (Next::Life { distrusted } | Next::Room { distrusted }) = next;
    if distrusted {
        words.push(DISTRUST.into());
    }
    if let Next::Room { .. } = next {
        words.push(WAIT_FOR_ROOM.into());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_life_is_told_is_not_said_to_those_after_it() {
        let said = |next, words: &[&str]| {
            let words = words_for(next, words.iter().map(OsString::from));
            let words: Vec<_> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
            words.join(" ")
        };
        let own = ["--config", "c", "--id", "2"];
        assert_eq!(said(Next::Room { distrusted: true }, &own), "--config c --id 2 --distrust --wait-for-room");
        let waits = [&own[..], &["--distrust", "--wait-for-room"]].concat();
        assert_eq!(said(Next::Life { distrusted: true }, &waits), "--config c --id 2 --distrust");
        let lives = [&own[..], &["--distrust"]].concat();
        assert_eq!(said(Next::Life { distrusted: false }, &lives), "--config c --id 2");
        assert_eq!(said(Next::Room { distrusted: false }, &lives), "--config c --id 2 --wait-for-room");
    }

    #[test]
    fn every_word_for_the_next_life_is_understood() {
        let words = words_for(
            Next::Room { distrusted: true },
            ["fsd", "--config", "c", "--id", "2", "--data", "d"].map(OsString::from).into_iter(),
        );
        let flags = Flags::try_parse_from(words).unwrap();
        assert!(flags.wait_for_room && flags.distrust);
    }
}
