//! `raidfs shell`: the store without a mount, line by line, over the same vfs and cluster client as `mountd`.
//!
//! One session may be open at a time. The shell opens it if it is free, or with `--takeover`. If a mount of this machine
//! holds it, the shell looks by itself, and changes things through that mount; if another does, it only looks. While it
//! holds the session nothing changes behind its back, so it keeps what it has learned; while it does not, every command
//! begins with nothing known.

mod act;
mod beside;
mod holdings;
mod lines;
mod order;
mod paths;
mod words;

use self::beside::Beside;
use super::Failure;
use super::args::ShellArgs;
use crate::cluster::holder::Holder;
use crate::cluster::survey::survey;
use crate::cluster::{ClusterClient, OpenError, ServerEvent, SessionState};
use crate::vfs::{Options, Vfs};
use lines::{Lines, Printer};
use order::{COMMANDS, Order};
use raidfs_common::config::Config;
use raidfs_common::id::ServerId;
use raidfs_common::log::chain;
use raidfs_common::printed::printed;
use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

/// What the shell may do.
enum Access {
    /// It holds the session.
    Session(Vfs<ClusterClient>),
    /// It only looks, and changes things through a mount of this machine.
    Beside(Beside),
    /// It only looks.
    Looking,
}

struct Shell {
    config: Config,
    client: Arc<ClusterClient>,
    access: Access,
    failed: bool,
}

/// Runs the command: until `quit` or the end of input. Exits with 1 if a command failed and nobody sat before it.
pub fn run(args: &ShellArgs) -> Result<ExitCode, Failure> {
    let config = args.target.open()?.config().clone();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime needs only a few descriptors, which a program that just began has");
    let mut lines = Lines::open(&config.cluster);
    let client = runtime.block_on(ClusterClient::observe(&config));
    runtime.spawn(tell(greet(&client, &lines.printer()), lines.printer()));
    let access = runtime.block_on(Shell::enter(&client, args, &lines.printer()))?;
    let mut shell = Shell { config, client, access, failed: false };
    while let Some(line) = lines.next() {
        let line = match line {
            Ok(line) => line,
            Err(why) => {
                eprintln!("{}", chain(&why));
                shell.failed = true;
                continue;
            }
        };
        if !runtime.block_on(shell.obey(&line)) {
            break;
        }
    }
    runtime.block_on(shell.leave());
    runtime.shutdown_background();
    let failed = shell.failed && !lines.is_terminal();
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Says which servers are reached and which are not, before the first line is read; what it has said, and what comes after.
fn greet(client: &ClusterClient, printer: &Printer) -> (Receiver<ServerEvent>, BTreeSet<ServerId>) {
    // First, so that nothing that happens meanwhile is missed.
    let events = client.events();
    let told: BTreeSet<ServerId> = client.config().servers().filter(|server| client.is_connected(*server)).collect();
    for server in &told {
        printer.print(&ServerEvent::Reached(*server).to_string());
    }
    for (server, why) in client.missing() {
        printer.print(&format!("{server} is not reached: {why}"));
    }
    (events, told)
}

/// Says which servers are reached, lost and back. It keeps no client, which must be let go when the shell ends.
async fn tell((mut events, mut told): (Receiver<ServerEvent>, BTreeSet<ServerId>), printer: Printer) {
    loop {
        match events.recv().await {
            Ok(ServerEvent::Reached(server)) if !told.insert(server) => {}
            Ok(event) => printer.print(&event.to_string()),
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

impl Shell {
    async fn enter(client: &Arc<ClusterClient>, args: &ShellArgs, printer: &Printer) -> Result<Access, Failure> {
        if args.read_only {
            return Ok(Access::Looking);
        }
        let holder = Holder::this_process("raidfs shell");
        match client.open(&holder.to_string(), args.takeover).await {
            Ok(()) => Ok(Access::Session(Vfs::new(Arc::clone(client), Options::default()))),
            Err(OpenError::Busy { holder }) => {
                let mount = Holder::parse(&holder).and_then(|h| Beside::mount(Path::new(h.what_here()?)));
                printer.print(&busy(&holder, mount.is_some()));
                Ok(mount.map_or(Access::Looking, Access::Beside))
            }
            Err(error) => Err(Failure::Session(error)),
        }
    }

    /// Carries out one line; false: the shell ends.
    async fn obey(&mut self, line: &str) -> bool {
        let order = words::split(line).map_err(|e| e.to_string());
        let order = order.and_then(|words| Order::parse(&words).map_err(|e| e.to_string()));
        let result = match order {
            Ok(None) => return true,
            Ok(Some(Order::Quit)) => return false,
            Ok(Some(order)) => self.carry_out(&order).await.map_err(|why| format!("{}: {why}", order.name())),
            Err(why) => Err(why),
        };
        if let Err(why) = result {
            eprintln!("{why}");
            self.failed = true;
        }
        if *self.client.session_state().borrow() == SessionState::Lost {
            eprintln!("the session was lost: another mount took over, or no server was reached for too long");
            self.failed = true;
            return false;
        }
        true
    }

    async fn carry_out(&self, order: &Order) -> Result<(), String> {
        let mut out = io::stdout();
        let shown = match order {
            Order::Help => out.write_all(help().as_bytes()),
            Order::Status => out.write_all(holdings::of(&self.config, &survey(&self.config).await).as_bytes()),
            _ => {
                self.act(order, &mut out).await?;
                Ok(())
            }
        };
        shown.and_then(|()| out.flush()).map_err(|e| format!("cannot write the output: {e}"))
    }

    async fn act(&self, order: &Order, out: &mut (dyn Write + Send)) -> Result<(), String> {
        match &self.access {
            Access::Session(vfs) => act::act(vfs, order, out).await.map_err(|e| chain(&e)),
            Access::Looking if order.changes() => {
                Err("this shell only reads: it does not hold the session (`status` says who does)".to_owned())
            }
            Access::Beside(mount) if order.changes() => mount.act(order, out),
            Access::Looking | Access::Beside(_) => {
                self.client.catch_up().await;
                let vfs = Vfs::new(Arc::clone(&self.client), Options::default());
                let result = act::act(&vfs, order, out).await.map_err(|e| chain(&e));
                // It has changed nothing; this ends its tasks.
                let _ = vfs.close().await;
                result
            }
        }
    }

    async fn leave(&mut self) {
        if let Access::Session(vfs) = &self.access
            && let Err(error) = vfs.close().await
        {
            eprintln!("not everything could be stored: {error}");
            self.failed = true;
        }
        self.client.close().await;
    }
}

/// What it means that another holds the session; `beside`: it is a mount of this machine that answers.
fn busy(holder: &str, beside: bool) -> String {
    let parsed = Holder::parse(holder);
    match parsed.as_ref().and_then(Holder::what_here) {
        Some(at) if beside => format!(
            "the store is mounted at {}: this shell changes things through that mount, and does not see what it has \
             still to send; --takeover ends it",
            printed(at)
        ),
        _ => format!(
            "the store is held by {}: this shell only reads; --takeover ends that session",
            Holder::words_of(holder)
        ),
    }
}

fn help() -> String {
    let mut text = String::new();
    for (name, arguments, purpose) in COMMANDS {
        text.push_str(&format!("{:<24} {purpose}\n", format!("{name} {arguments}").trim_end()));
    }
    text.push_str(
        "Paths begin at the root of the store. Quotes and backslashes work as in a shell; # begins a comment.\n",
    );
    text
}
