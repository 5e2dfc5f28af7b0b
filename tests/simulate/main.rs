//! `simulate --seed N` runs a whole cluster in this one process: four servers, the witness, clients, their network
//! and their faults; everything follows from the seed. `simulate --from N --seeds M` runs many, each in a process. Scenes
//! (`--scene NAME`, `--scenes`) are fixed orders of faults for what chance seldom brings about; `--plants` shows that bugs
//! which are planted are caught.
//!
//! The programs run unchanged, with all their threads: `hooks` takes the place of those calls of the C library that wait
//! or ask for the time, `world` decides who goes on, `network` carries what they say, `disks` knows what is durable.

mod arguments;
mod clients;
mod disks;
mod faults;
mod history;
mod hooks;
mod many;
mod network;
mod puppet;
mod run;
mod scenes;
mod servers;
mod shrink;
mod sights;
mod world;

use arguments::Arguments;
use std::process::{Command, ExitCode};
use std::time::Duration;

/// Once everything is mended, all copies are equal after this.
const CONVERGENCE: Duration = Duration::from_secs(60);
/// Witness, servers, clients, operator.
const HOSTS: u16 = 10;
/// The host of the client with the session,
const MOUNT: u16 = 5;
/// of those that look,
const LOOKING: [u16; 2] = [6, 7];
/// of the operator,
const OPERATOR: u16 = 8;
/// and of another client, which may take the session over.
const SECOND: u16 = 9;

fn main() -> ExitCode {
    let arguments = match Arguments::read() {
        Ok(arguments) => arguments,
        Err(why) => {
            eprintln!("{why}\n{}", arguments::USAGE);
            return ExitCode::FAILURE;
        }
    };
    match arguments.seed {
        Some(_) if !has_fixed_addresses() => again(),
        Some(seed) => run::simulate(seed, &arguments),
        None if arguments.plants => many::plants(&arguments),
        None if arguments.scenes => many::scenes(&arguments),
        None => many::seeds(&arguments),
    }
}

/// Whether memory lies where it always does, so that nothing can depend on chance there.
fn has_fixed_addresses() -> bool {
    // SAFETY: asks only.
    unsafe { libc::personality(0xffff_ffff) & libc::ADDR_NO_RANDOMIZE != 0 }
}

/// This program again, as it was called, with memory where it always lies.
fn again() -> ExitCode {
    use std::os::unix::process::CommandExt;
    // SAFETY: a call without pointers.
    let set = unsafe { libc::personality(libc::ADDR_NO_RANDOMIZE as libc::c_ulong) };
    if set < 0 || !has_fixed_addresses() {
        eprintln!("memory cannot be laid out as always");
        return ExitCode::FAILURE;
    }
    let program = std::env::current_exe().unwrap_or_default();
    let error = Command::new(program).args(std::env::args_os().skip(1)).exec();
    eprintln!("cannot start again: {error}");
    ExitCode::FAILURE
}
