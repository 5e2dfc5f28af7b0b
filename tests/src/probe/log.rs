//! An append log with fsync per line: what was acknowledged must be there afterwards, in order, once.

use super::{Found, demand, listen, told_to_end, tried};
use std::fs::OpenOptions;
use std::io::Write;

/// Appends numbered lines until told, each with fsync. After each fsync the number goes to standard output: redirected
/// to a file elsewhere, that is the record of what was acknowledged, even if this process is killed.
pub fn write(file: &str) -> Found {
    listen();
    let mut log = tried(file, OpenOptions::new().append(true).create(true).open(file))?;
    let mut acknowledged = std::io::stdout();
    let mut number = 0u64;
    while !told_to_end() {
        number += 1;
        tried(format!("append line {number}"), writeln!(log, "line {number}"))?;
        tried(format!("fsync line {number}"), log.sync_all())?;
        tried("say so", writeln!(acknowledged, "{number}"))?;
    }
    Ok(())
}

/// Every acknowledged line is in the log, all lines are in order, and none is there twice.
pub fn check(file: &str, acknowledged: &str) -> Found {
    let log = tried(file, std::fs::read_to_string(file))?;
    let acknowledged = tried(acknowledged, std::fs::read_to_string(acknowledged))?;
    let last: u64 = acknowledged.lines().rev().find_map(|l| l.parse().ok()).unwrap_or(0);
    demand(last > 0, "nothing was acknowledged: this proves nothing")?;
    let mut expected = 1;
    for line in log.lines() {
        // Only the very last line, which nobody acknowledged, may be cut short.
        let wanted = format!("line {expected}");
        if line != wanted {
            return demand(expected > last, format!("line {expected} is {line:?}, and {last} were acknowledged"));
        }
        expected += 1;
    }
    demand(expected > last, format!("the log ends after {} lines, and {last} were acknowledged", expected - 1))?;
    println!("acknowledged={last} found={}", expected - 1);
    Ok(())
}
