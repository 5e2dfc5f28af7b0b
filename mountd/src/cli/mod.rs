//! The commands of `raidfs`, one file each, and what they share.
//!
//! | room | what is in it |
//! |---|---|
//! | [`args`] | the command line and its `--help` |
//! | `up`, `down`, `one`, `status`, `placed`, `verify`, `scrub`, `replace`, `lost`, `export`, `shell` | the commands |
//! | [`local`] | the directory of a cluster on this machine: what lies where |
//! | [`process`], `strays` | starting, finding and ending its processes |
//! | [`mounts`] | what is mounted where, by whom it is held, taking it away |
//! | [`progress`], [`human`] | how far a long command is; sizes and times in words |
//!
//! Commands print to standard output, return [`Failure`] for what went wrong, and never print an error themselves.

pub mod admin;
pub mod args;
mod bring;
mod down;
mod export;
mod failure;
mod file_paths;
pub mod human;
mod json_path;
pub mod local;
mod lost;
pub mod mounts;
mod one;
mod placed;
pub mod process;
pub mod progress;
mod replace;
mod scrub;
mod shell;
mod status;
mod strays;
mod terminal;
#[cfg(test)]
mod testing;
mod tree;
mod up;
pub mod verify;
mod wait;

pub use failure::Failure;

use args::{Cli, Command};
use std::process::ExitCode;

/// Runs one command.
pub fn run(cli: Cli) -> Result<ExitCode, Failure> {
    match cli.command {
        Command::Up(args) => up::run(&args),
        Command::Down(args) => down::run(&args),
        Command::Start(args) => one::start(&args),
        Command::Stop(args) => one::stop(&args),
        Command::Kill(args) => one::kill(&args),
        Command::Status(args) => status::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Scrub(args) => scrub::run(&args),
        Command::Replace(args) => replace::run(&args),
        Command::Lost(args) => lost::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Where(args) => placed::run(&args),
        Command::Shell(args) => shell::run(&args),
    }
}

/// Rust programs panic when their output cannot be written; this one ends as others do, by SIGPIPE when `raidfs status |
/// head` closes it, else with a word.
pub fn die_quietly_without_output() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if let Some(why) = panic.payload_as_str().filter(|why| why.starts_with("failed printing to stdout")) {
            eprintln!("raidfs: cannot write what there is to say: {why}");
            std::process::exit(1);
        }
        usual(panic);
    }));
    // SAFETY: called before any thread is started; sets a disposition and touches nothing else.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
}
