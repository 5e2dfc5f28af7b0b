//! Runs one probe of [`raidfs_tests::probe`]; exit code 0 if all was as it should be.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match raidfs_tests::probe::run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("probe {}: {why}", arguments.first().map_or("", String::as_str));
            ExitCode::FAILURE
        }
    }
}
