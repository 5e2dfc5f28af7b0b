//! One run, in this process, which ends with it: a seed, or a scene.

use super::arguments::Arguments;
use super::clients::{self, Shared};
use super::faults::{self, Script};
use super::scenes;
use super::servers::Servers;
use super::world::{self, world};
use super::{CONVERGENCE, LOOKING, MOUNT, OPERATOR, SECOND, disks, history, network, sights};
use raidfs_common::plant::{BUGS, plant};
use raidfs_fsd::consensus::short_log;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// A run that has not ended after this much time of its own has failed.
const LONGEST: Duration = Duration::from_secs(600);

/// Room for the servers' directories, in memory if it can be.
pub fn room(process: u32, seed: u64) -> PathBuf {
    let shm = PathBuf::from("/dev/shm");
    let base = if shm.is_dir() { shm } else { std::env::temp_dir() };
    base.join(format!("raidfs-simulate-{:010}-{seed:020}", process))
}

/// Runs one seed in this process, and ends it.
pub fn simulate(seed: u64, arguments: &Arguments) -> ! {
    // Always, so that a run that is told is the same run.
    sights::begin();
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
        say_trace(seed);
        world::end(1);
    }));
    if let Some(name) = &arguments.plant {
        let bug = BUGS.into_iter().find(|bug| format!("{bug:?}") == *name).expect("there is such a bug");
        assert!(plant(bug), "this program is built without the feature `planted`");
    }
    world::begin(seed, LONGEST);
    disks::begin(&dir);
    assert!(raidfs_common::stream::invent(Box::new(network::Simulated)), "there is one network");
    if let Some(path) = &arguments.turns {
        world().record(std::fs::File::create(path).expect("the file for the turns"));
    }
    let script = Script::of(seed, arguments.faults).without(&arguments.without);
    network::set_weather(script.weather);
    let mut problems = match &arguments.scene {
        Some(name) => {
            let scene = scenes::all().find(|scene| scene.name == name).expect("there is such a scene");
            if scene.short_logs {
                short_log::begin();
            }
            scenes::play(scene, seed, &dir, arguments.told)
        }
        None => run(&script, &dir, arguments),
    };
    problems.extend(sights::faults());
    for problem in &problems {
        println!("WRONG  {problem}");
    }
    say_trace(seed);
    let _ = std::fs::remove_dir_all(&dir);
    world::end(i32::from(!problems.is_empty()))
}

/// The last line: by it two runs are told apart that should be the same.
fn say_trace(seed: u64) {
    let (trace, steps) = world().trace();
    let seconds = world().now() as f64 / 1e9;
    println!("seed {seed}: {seconds:.3} s, {steps} turns, trace {trace:016x}");
}

fn run(script: &Script, dir: &Path, arguments: &Arguments) -> Vec<String> {
    if script.short_logs {
        short_log::begin();
    }
    let told = arguments.told;
    let mut servers = Servers::start(dir);
    let (config, shared) = (servers.config.clone(), Arc::new(Shared::default()));
    let mut threads = Vec::new();
    let part = clients::Part { second: false, steps: arguments.steps.unwrap_or(clients::STEPS) };
    let (with, what) = (config.clone(), shared.clone());
    let (first, mount) = clients::live_on_host(MOUNT, move || clients::mount(with, what, part));
    for host in LOOKING {
        let (with, what) = (config.clone(), shared.clone());
        threads.push(clients::on_host(host, move || clients::look(with, what, usize::from(host))));
    }
    let mut second = None;
    faults::make(script, &mut servers, told, || {
        while shared.has_no_files() {
            world::rest(Duration::from_millis(10));
        }
        world().freeze(first);
        let (with, what) = (config.clone(), shared.clone());
        let part = clients::Part { second: true, ..part };
        second = Some(clients::on_host(SECOND, move || clients::mount(with, what, part)));
        // The first goes on at some moment of all this.
        let (now, span) = (world().now(), world().dice.below(4_000_000_000));
        world().thaw_at(first, now + span);
    });
    threads.push(second.unwrap_or(mount));
    for thread in threads {
        thread.join().expect("no client panics");
    }
    if let Some(soon) = &script.soon {
        let with = config.clone();
        clients::on_host(MOUNT, move || clients::cut_old_files(with)).join().expect("no client panics");
        faults::make_alone(soon, &mut servers, told);
        let with = config.clone();
        clients::on_host(OPERATOR, move || clients::converge(with, CONVERGENCE)).join().expect("no panic");
    }
    if let Some(last) = &script.last {
        faults::make_alone(last, &mut servers, told);
    }
    let with = config.clone();
    let operator = clients::on_host(OPERATOR, move || clients::converge(with, CONVERGENCE));
    operator.join().expect("the operator does not panic");
    let mut problems = judge(&shared, told);
    if let Some(last) = &script.last {
        let what = shared.clone();
        let operator = clients::on_host(OPERATOR, move || clients::look_again(config, what));
        operator.join().expect("the operator does not panic");
        problems.extend(judge_what_is_left(&shared).map(|what| format!("{:?}: {what}", last.fault)));
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
