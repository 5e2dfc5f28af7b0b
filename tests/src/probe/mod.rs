//! What a shell cannot do to a file system by itself: each probe is one behaviour, tried and judged by exit code.
//!
//! `probe NAME ARGUMENTS`; a failure says on standard error what was expected and what came instead. Those that run
//! "until told" end in good order at SIGTERM, and then print what they found as `key=value` words on one line.

mod dice;
mod direct;
mod directory;
mod files;
mod flood;
mod garbage;
mod handles;
mod json;
mod locks;
mod log;
mod mapped;
mod nameless;
mod race;
mod reopened;
mod rows;
mod stall;
mod submitted;
mod tree;

use crate::told::{listen, told_to_end};
use std::fmt::Display;

/// How a probe ends: an error is what was not as it should be.
pub type Found = Result<(), String>;

/// Runs the probe that the arguments name.
pub fn run(arguments: &[String]) -> Found {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["instep", rest @ ..] => crate::instep::main(rest),
        ["instep-worker", mount, local, process, rest @ ..] => crate::instep::serve(mount, local, process, rest),
        ["stall", dir] => stall::run(dir, usize::MAX),
        ["stall", dir, rounds] => stall::run(dir, number(rounds)?),
        ["reads", file] => stall::reads(file),
        ["log", file] => log::write(file, log::By::Fsync),
        ["log", file, by] => log::write(file, log::By::named(by)?),
        ["log-check", file, acknowledged] => log::check(file, acknowledged),
        ["storm", dir, files] => directory::storm(dir, number(files)?),
        ["scan", dir, stable] => directory::scan(dir, number(stable)?),
        ["renames-while-reading", dir, files] => directory::rename_while_reading(dir, number(files)?),
        ["fill", dir, files] => directory::fill(dir, number(files)?),
        ["append", file, lines, word] => files::append(file, number(lines)?, word),
        ["unlinked", file] => files::unlinked(file),
        ["held", file] => files::held(file),
        ["nameless", files @ ..] => nameless::run(files),
        ["mmap", file] => mapped::both_ways(file),
        ["mapped-cut", file] => mapped::cut(file),
        ["mapped-holes", file] => mapped::holes(file),
        ["mapped-times", file] => mapped::times(file),
        ["mapped-tail", file] => mapped::tail(file),
        ["stored-while-cut", file, rounds] => mapped::stored_while_cut(file, number(rounds)?),
        ["refused-ioctls", file] => files::refused_ioctls(file),
        ["holes", file] => files::holes(file),
        ["direct", file, steps, seed] => direct::run(file, number(steps)?, number(seed)? as u64),
        ["submitted", file, writes] => submitted::run(file, number(writes)?),
        ["reopened", file, writes] => reopened::run(file, number(writes)?),
        ["race", dir, processes, steps, seed] => {
            race::run(dir, number(processes)?, number(steps)?, number(seed)? as u64)
        }
        ["racer", dir, steps, seed] => race::steps::run(dir, number(steps)?, number(seed)? as u64),
        ["consistent", dir] => race::consistent::check(dir),
        ["punch", file] => files::punch(file),
        ["vast", file] => files::vast(file),
        ["largest", file] => files::largest(file),
        ["noreplace", from, to] => files::rename(from, to, libc::RENAME_NOREPLACE),
        ["exchange", from, to] => files::rename(from, to, libc::RENAME_EXCHANGE),
        ["handle", path] => handles::print(path),
        ["open-handle", mount, handle] => handles::open(mount, handle),
        ["times", file] => files::times(file),
        ["extreme-times", file] => files::extreme_times(file),
        ["tree", dir, files, seed] => tree::make(dir, number(files)?, number(seed)? as u64),
        ["json", pointer] => json::value(pointer),
        ["garbage", address] => garbage::throw(address),
        ["garbage", config, server] => garbage::throw_behind_hello(config, number(server)?),
        ["flood", config, server, file] => flood::run(config, number(server)?, file),
        ["damage-names", data, name, what] => rows::damage(data, name, what),
        ["seal", file, first] => rows::seal(file, first),
        ["flock", file] => locks::flock(file),
        ["fcntl", file] => locks::fcntl(file),
        ["deadlock", file] => locks::deadlock(file),
        ["ofd", file] => locks::ofd(file),
        ["lock", file, of] => locks::waited_for(file, of),
        _ => Err(format!("there is no probe {words:?}; see tests/src/probe/mod.rs")),
    }
}

fn number(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| format!("{text:?} is no number"))
}

/// Names what was tried when a system call fails.
fn tried<T, E: Display>(what: impl Display, result: Result<T, E>) -> Result<T, String> {
    result.map_err(|e| format!("{what}: {e}"))
}

/// Fails with `what` unless it holds.
fn demand(holds: bool, what: impl Display) -> Found {
    if holds { Ok(()) } else { Err(what.to_string()) }
}
