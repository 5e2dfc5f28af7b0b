//! Several processes race on few names in one tree, as fsstress does it: whatever they do to each other, no call may
//! fail with what it cannot mean, and what is left is consistent.

pub mod consistent;
pub mod steps;

use super::{Found, demand, listen, told_to_end, tried};
use crate::wait;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

/// How long racers may take to come to their end once they were told to: a server may be dying meanwhile.
const LAST_STEP: Duration = Duration::from_secs(60);

/// Among so many steps, each kind comes to do something: the rarest (a link: two names, one taken and one free) is done about
/// once in 700 steps, so that it is missed once in a million races.
const MANY: usize = 10_000;

/// `processes` racers of `steps` steps each, or until told if that is 0. Says how often each kind of step did something.
pub fn run(dir: &str, processes: usize, steps: usize, seed: u64) -> Found {
    listen();
    for kept in steps::KEPT {
        tried(dir, fs::create_dir_all(Path::new(dir).join(kept)))?;
    }
    let program = tried("this program", std::env::current_exe())?;
    let records = tried("a directory", tempfile::tempdir())?;
    let record = |n: usize| records.path().join(n.to_string());
    let mut racers = Vec::new();
    for n in 0..processes {
        let seed = seed.wrapping_mul(1000).wrapping_add(n as u64);
        let arguments = ["racer", dir, &steps.to_string(), &seed.to_string()].map(str::to_string);
        let out = tried("record", File::create(record(n)))?;
        racers.push(tried("start a racer", Command::new(&program).args(arguments).stdout(out).spawn())?);
    }
    let outcome = wait_for(&mut racers);
    // None outlives this process, whatever happened.
    for racer in &mut racers {
        let _ = racer.kill().and_then(|()| racer.wait());
    }
    outcome?;
    let mut done = BTreeMap::new();
    for n in 0..processes {
        for line in tried("record", fs::read_to_string(record(n)))?.lines() {
            let (step, times) = line.split_once('=').ok_or("a racer's record is torn")?;
            *done.entry(step.to_string()).or_insert(0) += super::number(times)?;
        }
    }
    let words: Vec<String> = done.iter().map(|(step, times)| format!("{step}={times}")).collect();
    println!("{}", words.join(" "));
    let idle: Vec<&String> = done.iter().filter(|(_, times)| **times == 0).map(|(step, _)| step).collect();
    let few = (1..MANY).contains(&(processes * steps));
    demand(!done.is_empty() && (few || idle.is_empty()), format!("never done: {idle:?}: this proves nothing"))
}

/// Waits until all have ended well; told to end, it tells them. The first that ends badly ends the race.
fn wait_for(racers: &mut [Child]) -> Found {
    let mut bad = None;
    let mut all_ended = |racers: &mut [Child]| {
        let mut running = 0;
        for racer in racers {
            match racer.try_wait() {
                Ok(None) => running += 1,
                Ok(Some(status)) if status.success() => {}
                Ok(Some(status)) => bad = Some(format!("a racer ended with {status}")),
                Err(error) => bad = Some(format!("a racer cannot be waited for: {error}")),
            }
        }
        running == 0 || bad.is_some()
    };
    while !told_to_end() && !wait::until(Duration::from_secs(1), || told_to_end() || all_ended(racers)) {}
    if told_to_end() {
        for racer in racers.iter() {
            // SAFETY: a child that was not waited for, so the number is still its own.
            unsafe { libc::kill(racer.id() as i32, libc::SIGTERM) };
        }
        wait::until(LAST_STEP, || all_ended(racers));
        demand(all_ended(racers), "a racer that was told to end goes on")?;
    }
    bad.map_or(Ok(()), Err)
}
