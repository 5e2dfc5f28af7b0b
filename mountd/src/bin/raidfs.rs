//! `raidfs`: the command line for people. Parses, runs one command of [`raidfs_mountd::cli`], and turns its end into an
//! exit code; the only place where an error is printed.

use clap::Parser;
use raidfs_common::log::chain;
use raidfs_mountd::cli::{self, args::Cli};
use std::process::ExitCode;

fn main() -> ExitCode {
    cli::die_quietly_without_output();
    let cli = Cli::parse();
    let failed = cli.command.failed();
    match cli::run(cli) {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("raidfs: {}", chain(&failure));
            failed
        }
    }
}
