//! `simulate --seed N` runs a whole cluster in this one process: four servers, the witness, three clients, their network
//! and their faults; everything follows from the seed. `simulate --from N --seeds M` runs many, each in a process.
//!
//! The programs run unchanged, with all their threads: `hooks` takes the place of those calls of the C library that wait
//! or ask for the time, `world` decides who goes on, `network` carries what they say.

mod clients;
mod disks;
mod faults;
mod history;
mod hooks;
mod network;
mod servers;
mod world;

use clients::Shared;
use raidfs_common::plant::{BUGS, plant};
use raidfs_tests::dice::Dice;
use servers::Servers;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use world::world;

/// A run that has not ended after this much time of its own has failed.
const LONGEST: Duration = Duration::from_secs(600);
/// Once everything is mended, all copies are equal after this.
const CONVERGENCE: Duration = Duration::from_secs(60);
/// Servers, witness, clients, operator.
const HOSTS: u16 = 9;

struct Arguments {
    seed: Option<u64>,
    from: u64,
    seeds: u64,
    faults: Option<u64>,
    told: bool,
    sums: bool,
    plant: Option<String>,
    plants: bool,
    turns: Option<PathBuf>,
}

fn arguments() -> Result<Arguments, String> {
    let mut found = Arguments {
        seed: None,
        from: 1,
        seeds: 100,
        faults: None,
        told: false,
        sums: false,
        plant: None,
        plants: false,
        turns: None,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || {
            let number = words.next().and_then(|value| value.parse().ok());
            number.ok_or_else(|| format!("{word} needs a number"))
        };
        match word.as_str() {
            "--tell" => found.told = true,
            "--plants" => found.plants = true,
            "--sums" => found.sums = true,
            "--seed" => found.seed = Some(number()?),
            "--from" => found.from = number()?,
            "--seeds" => found.seeds = number()?,
            "--faults" => found.faults = Some(number()?),
            "--turns" => found.turns = words.next().map(PathBuf::from),
            "--plant" => found.plant = words.next(),
            _ => return Err(format!("{word} is not known")),
        }
    }
    Ok(found)
}

fn main() -> ExitCode {
    let arguments = match arguments() {
        Ok(arguments) => arguments,
        Err(why) => {
            eprintln!(
                "{why}\nsimulate --seed N [--faults N] [--tell] [--turns FILE] | --from N --seeds N [--sums] [--plant BUG] | --plants --seeds N"
            );
            return ExitCode::FAILURE;
        }
    };
    match arguments.seed {
        Some(_) if !has_fixed_addresses() => again(),
        Some(seed) => simulate(seed, &arguments),
        None if arguments.plants => plants(&arguments),
        None => many(&arguments),
    }
}

/// Room for the servers' directories, in memory if it can be.
fn room(process: u32, seed: u64) -> PathBuf {
    let shm = PathBuf::from("/dev/shm");
    let base = if shm.is_dir() { shm } else { std::env::temp_dir() };
    base.join(format!("raidfs-simulate-{:010}-{seed:020}", process))
}

/// Runs one seed in this process, and ends it.
fn simulate(seed: u64, arguments: &Arguments) -> ! {
    // Always, so that a run that is told is the same run.
    raidfs_common::log::start();
    let dir = room(std::process::id(), seed);
    std::fs::create_dir_all(&dir).expect("room for the servers");
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        usual(info);
        // The library below the store of names asserts on some damage; the store catches that, and is made anew.
        if info.location().is_some_and(|at| at.file().contains("/fjall-")) {
            return;
        }
        println!("WRONG  somebody panicked: {info}");
        world::end(1);
    }));
    for bug in BUGS.into_iter().filter(|bug| arguments.plant == Some(format!("{bug:?}"))) {
        assert!(plant(bug), "this program is built without the feature `planted`");
    }
    world::begin(seed, LONGEST);
    disks::begin(&dir);
    assert!(raidfs_common::stream::invent(Box::new(network::Simulated)), "there is one network");
    if let Some(path) = &arguments.turns {
        world().record(std::fs::File::create(path).expect("the file for the turns"));
    }
    // Others than those of the world: what is directed does not depend on what happened.
    let mut dice = Dice::new(seed.wrapping_mul(31).wrapping_add(7));
    network::set_weather([200_000, 1_000_000, 10_000_000][dice.below(3) as usize]);
    let problems = run(&mut dice, &dir, arguments);
    for problem in &problems {
        println!("WRONG  {problem}");
    }
    let (trace, steps) = world().trace();
    let seconds = world().now() as f64 / 1e9;
    println!("seed {seed}: {seconds:.3} s, {steps} turns, trace {trace:016x}");
    let _ = std::fs::remove_dir_all(&dir);
    world::end(i32::from(!problems.is_empty()))
}

fn run(dice: &mut Dice, dir: &std::path::Path, arguments: &Arguments) -> Vec<String> {
    let mut servers = Servers::start(dir);
    let (config, shared) = (servers.config.clone(), Arc::new(Shared::default()));
    let mut threads = Vec::new();
    let (with, what) = (config.clone(), shared.clone());
    threads.push(clients::on_host(5, move || clients::mount(with, what)));
    for host in [6, 7] {
        let (with, what) = (config.clone(), shared.clone());
        threads.push(clients::on_host(host, move || clients::look(with, what, usize::from(host))));
    }
    let count = arguments.faults.unwrap_or_else(|| 2 + dice.below(6));
    faults::make(dice, &mut servers, HOSTS, count, arguments.told);
    for thread in threads {
        thread.join().expect("no client panics");
    }
    if arguments.seed.is_some_and(|seed| seed % 4 == 2) {
        let with = config.clone();
        clients::on_host(5, move || clients::cut_old_files(with)).join().expect("no client panics");
        faults::soon(dice, &mut servers, arguments.told);
        let with = config.clone();
        clients::on_host(8, move || clients::converge(with, CONVERGENCE)).join().expect("the operator does not panic");
    }
    let cut = faults::last(dice, &mut servers, arguments.told);
    let with = config.clone();
    let operator = clients::on_host(8, move || clients::converge(with, CONVERGENCE));
    operator.join().expect("the operator does not panic");
    let mut problems = judge(&shared, arguments.told);
    if let Some(hosts) = cut {
        let what = shared.clone();
        let operator = clients::on_host(8, move || clients::look_again(config, what));
        operator.join().expect("the operator does not panic");
        problems.extend(judge_what_is_left(&shared).map(|what| format!("power of {hosts:?}: {what}")));
    }
    problems
}

fn judge_what_is_left(shared: &Shared) -> impl Iterator<Item = String> {
    let (registers, left) = (shared.registers.lock(), shared.left.lock());
    let mut problems: Vec<String> =
        registers.iter().zip(left.iter()).filter_map(|(register, found)| register.fault_after_a_cut(found)).collect();
    let durable = shared.durable.load(Ordering::SeqCst);
    let explained = history::explain_what_is_left(&shared.names.lock(), durable, &shared.names_left.lock());
    problems.extend(explained.err());
    problems.into_iter()
}

fn judge(shared: &Shared, told: bool) -> Vec<String> {
    let mut problems: Vec<String> = shared.registers.lock().iter().flat_map(|r| r.faults()).collect();
    let names = shared.names.lock();
    problems.extend(history::explain(&names).err());
    if told {
        let (reads, writes) = shared
            .registers
            .lock()
            .iter()
            .fold((0, 0), |(r, w), register| (r + register.reads.len(), w + register.writes.len()));
        println!("{writes} writes, {reads} reads, {} operations on names", names.len());
        let mut in_time: Vec<_> = names.iter().collect();
        in_time.sort_by_key(|event| event.ended.map(|(at, _)| at));
        in_time.iter().for_each(|event| println!("{event:?}"));
        shared.unanswered.lock().iter().for_each(|what| println!("not answered: {what}"));
    }
    problems
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

/// One seed in a process of its own: nothing that a process remembers reaches another run.
fn child(seed: u64, plant: Option<&str>) -> std::io::Result<Output> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--seed").arg(seed.to_string());
    if let Some(bug) = plant {
        command.arg("--plant").arg(bug);
    }
    let running = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let dir = room(running.id(), seed);
    let output = running.wait_with_output();
    // One that failed ends where it stands.
    let _ = std::fs::remove_dir_all(dir);
    output
}

/// Hands so many seeds to as many workers as there are processors, until they are used up or `work` says that it is enough.
fn each_seed(arguments: &Arguments, work: impl Fn(u64) -> ControlFlow<()> + Sync) {
    let next = AtomicU64::new(arguments.from);
    let end = arguments.from + arguments.seeds;
    let enough = AtomicBool::new(false);
    let take = || {
        let seed = next.fetch_add(1, Ordering::SeqCst);
        (seed < end && !enough.load(Ordering::SeqCst)).then_some(seed)
    };
    let worker = || {
        while let Some(seed) = take() {
            if work(seed).is_break() {
                enough.store(true, Ordering::SeqCst);
            }
        }
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..workers).for_each(|_| drop(scope.spawn(worker))));
}

fn many(arguments: &Arguments) -> ExitCode {
    let (begun, from, seeds) = (Instant::now(), arguments.from, arguments.seeds);
    let failed = parking_lot::Mutex::new(Vec::new());
    each_seed(arguments, |seed| {
        let (well, text) = match child(seed, arguments.plant.as_deref()) {
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
    println!("{seeds} seeds from {from} in {:.1} s: {} failed {failed:?}", begun.elapsed().as_secs_f64(), failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Each planted bug is caught by one of the seeds.
fn plants(arguments: &Arguments) -> ExitCode {
    let mut missed = 0;
    for bug in BUGS.map(|bug| format!("{bug:?}")) {
        let caught = parking_lot::Mutex::new(None::<(u64, String)>);
        each_seed(arguments, |seed| match child(seed, Some(&bug)) {
            Ok(output) if !output.status.success() => {
                let text = String::from_utf8_lossy(&output.stdout);
                let wrong = text.lines().rfind(|line| line.starts_with("WRONG")).unwrap_or("WRONG  it ended");
                caught.lock().get_or_insert((seed, wrong.chars().take(120).collect()));
                ControlFlow::Break(())
            }
            _ => ControlFlow::Continue(()),
        });
        match caught.into_inner() {
            Some((seed, how)) => println!("{bug}: caught by seed {seed}: {how}"),
            None => {
                println!("{bug}: NOT caught by {} seeds from {}", arguments.seeds, arguments.from);
                missed += 1;
            }
        }
    }
    println!("{} planted bugs, {missed} not caught", BUGS.len());
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
