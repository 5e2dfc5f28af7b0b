//! `make bench`: measures raidfs beside a plain directory (and GlusterFS and MooseFS, with `--peers`) on one disk; see
//! [`raidfs_tests::bench`].

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match raidfs_tests::bench::main(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("bench: {why}");
            ExitCode::FAILURE
        }
    }
}
