//! Many runs, each in a process of its own: seeds, scenes, and bugs that are planted.

use super::arguments::Arguments;
use super::run::room;
use super::scenes::{self, Scene};
use super::shrink;
use parking_lot::Mutex;
use raidfs_common::plant::{BUGS, Bug};
use std::ops::ControlFlow;
use std::process::{Command, ExitCode, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

/// Failing seeds of which the history is made smaller; of more it takes too long.
const SHRUNK_MAX: usize = 3;

/// One run in a process of its own: nothing that a process remembers reaches another run.
pub fn child(seed: u64, more: &[String]) -> std::io::Result<Output> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--seed").arg(seed.to_string()).args(more);
    let running = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let dir = room(running.id(), seed);
    let output = running.wait_with_output();
    // One that failed ends where it stands.
    let _ = std::fs::remove_dir_all(dir);
    output
}

/// An option and its value, as words.
pub fn option(name: &str, value: impl ToString) -> [String; 2] {
    [name.to_owned(), value.to_string()]
}

/// Hands so many seeds to the workers, until they are used up or `work` says that it is enough.
fn each_seed(arguments: &Arguments, work: impl Fn(u64) -> ControlFlow<()> + Sync) {
    let next = AtomicU64::new(arguments.from);
    let end = arguments.from + arguments.seeds;
    let enough = AtomicBool::new(false);
    let take = || {
        let seed = next.fetch_add(1, Ordering::SeqCst);
        (seed < end && !enough.load(Ordering::SeqCst)).then_some(seed)
    };
    let worker = |n: usize| {
        keep_to_processor(n);
        while let Some(seed) = take() {
            if work(seed).is_break() {
                enough.store(true, Ordering::SeqCst);
            }
        }
    };
    std::thread::scope(|scope| (0..arguments.workers.max(1)).for_each(|n| drop(scope.spawn(move || worker(n)))));
}

/// What this thread starts runs on one processor only, the n-th of those that there are. Of the threads of a run one goes
/// on at a time: across processors each turn would wait for the other one to wake up, which takes half of the time.
fn keep_to_processor(n: usize) {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    // SAFETY: a set of processors is a plain array of bits, all of which may be zero.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the number is below that of processors, which a set has room for; both calls touch the set only. Where the
    // processor is not to be had, the runs take longer.
    unsafe {
        libc::CPU_SET(n % processors, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set);
    }
}

/// Runs seeds; says which failed, how to run them again, and the first of them made smaller.
pub fn seeds(arguments: &Arguments) -> ExitCode {
    let (begun, from, seeds) = (Instant::now(), arguments.from, arguments.seeds);
    let failed = Mutex::new(Vec::new());
    let more: Vec<String> = arguments.plant.iter().flat_map(|bug| option("--plant", bug)).collect();
    each_seed(arguments, |seed| {
        let (well, text) = match child(seed, &more) {
            Ok(output) => (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned()),
            Err(error) => (false, error.to_string()),
        };
        if arguments.sums {
            println!("{}", text.lines().last().unwrap_or_default());
        }
        if !well {
            println!("seed {seed} failed; make test-sim SEED={seed} replays it\n{text}");
            failed.lock().push(seed);
        }
        ControlFlow::Continue(())
    });
    let failed = failed.into_inner();
    for seed in failed.iter().take(SHRUNK_MAX) {
        shrink::shrink(*seed, &more);
    }
    println!("{seeds} seeds from {from} in {:.1} s: {} failed {failed:?}", begun.elapsed().as_secs_f64(), failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn wanted(arguments: &Arguments, name: &str) -> bool {
    arguments.only.as_ref().is_none_or(|only| only == name)
}

/// Plays every scene under each of the seeds: nothing must be wrong.
pub fn scenes(arguments: &Arguments) -> ExitCode {
    let begun = Instant::now();
    let (played, failed) = (AtomicU64::new(0), AtomicU64::new(0));
    for scene in scenes::all().filter(|scene| wanted(arguments, scene.name)) {
        each_seed(arguments, |seed| {
            let text = match child(seed, &option("--scene", scene.name)) {
                Ok(output) if output.status.success() => None,
                Ok(output) => Some(String::from_utf8_lossy(&output.stdout).into_owned()),
                Err(error) => Some(error.to_string()),
            };
            played.fetch_add(1, Ordering::SeqCst);
            if let Some(text) = text {
                println!(
                    "{} failed; simulate --scene {} --seed {seed} --tell replays it\n{text}",
                    scene.name, scene.name
                );
                failed.fetch_add(1, Ordering::SeqCst);
            }
            ControlFlow::Continue(())
        });
    }
    let (played, failed) = (played.into_inner(), failed.into_inner());
    println!("{played} scenes in {:.1} s: {failed} failed", begun.elapsed().as_secs_f64());
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The first seed by which a bug is caught, after how many, and what was wrong then.
type Caught = Option<(u64, u64, String)>;

fn catch(arguments: &Arguments, bug: Bug, scene: Option<&Scene>) -> Caught {
    let mut more = option("--plant", format!("{bug:?}")).to_vec();
    more.extend(scene.into_iter().flat_map(|scene| option("--scene", scene.name)));
    let (tried, caught) = (AtomicU64::new(0), Mutex::new(None));
    each_seed(arguments, |seed| {
        let output = child(seed, &more);
        let tries = tried.fetch_add(1, Ordering::SeqCst) + 1;
        match output {
            // Another code says that the run has shown nothing.
            Ok(output) if output.status.code() == Some(1) => {
                let text = String::from_utf8_lossy(&output.stdout);
                let wrong = text.lines().rfind(|line| line.starts_with("WRONG")).unwrap_or("WRONG  it ended");
                caught.lock().get_or_insert((seed, tries, wrong.chars().take(120).collect()));
                ControlFlow::Break(())
            }
            _ => ControlFlow::Continue(()),
        }
    });
    caught.into_inner()
}

/// Each planted bug is caught: by the scene that names it, if there is one, else by one of the seeds.
pub fn plants(arguments: &Arguments) -> ExitCode {
    let bugs = BUGS.into_iter().filter(|bug| wanted(arguments, &format!("{bug:?}")));
    let (mut planted, mut missed) = (0, 0);
    for bug in bugs {
        let scene = scenes::all().find(|scene| scene.catches.contains(&bug));
        let by = scene.map_or("chance".to_owned(), |scene| format!("the scene {}", scene.name));
        planted += 1;
        match catch(arguments, bug, scene) {
            Some((seed, tries, how)) => println!("{bug:?}: caught by {by}, seed {seed}, the {tries}. run: {how}"),
            None => {
                println!("{bug:?}: NOT caught by {by} in {} runs from seed {}", arguments.seeds, arguments.from);
                missed += 1;
            }
        }
    }
    println!("{planted} planted bugs, {missed} not caught");
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
