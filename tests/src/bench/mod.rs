//! The benchmark: the same work on every system, on one disk, in one run.
//!
//! One journaled loop image holds the data of all systems: a plain directory, the raidfs mount with its four servers,
//! and the peers, GlusterFS and MooseFS. Each round runs each group of work on each system in turn, so that whatever else the machine does
//! falls on all of them alike; the table shows medians over the rounds, and ratios. The processor time of a system's
//! own processes is counted beside: it does not depend on how busy the machine is.
//!
//! A group makes what it needs below an empty directory, times its steps through [`Run::time`], and leaves the
//! directory to be removed. Whatever was started, mounted or made is ended and removed when the run ends, by an error or
//! a signal too.

mod disk;
mod glusterfs;
mod machine;
mod moosefs;
mod names;
mod options;
mod paper;
mod raidfs;
mod random;
mod results;
mod rows;
mod sequential;
mod small;
mod system;
mod table;
mod trees;

use crate::told::{listen, told_to_end};
use options::Options;
use results::Results;
use std::path::Path;
use std::time::Instant;
use system::{Plain, System};

/// Why a run ended early, in words.
type Failed = String;

/// Runs the benchmark as the arguments say; `--help` lists them.
pub fn main(arguments: &[String]) -> Result<(), Failed> {
    if let [worker, operation, dir, prefix, count] = arguments
        && worker == names::WORKER
    {
        return names::work(operation, dir, prefix, count);
    }
    let Some(options) = Options::parse(arguments)? else { return Ok(()) };
    listen();
    let trash = if options.peers { options.rounds as u64 * moosefs::TRASH } else { 0 };
    let disk = disk::Disk::make(&options.work, trash)?;
    let mut systems: Vec<Box<dyn System>> = vec![Box::new(Plain::make(&disk)?)];
    systems.push(Box::new(raidfs::Raidfs::start(&disk, &options.programs, options.base_port)?));
    if options.peers {
        systems.push(Box::new(glusterfs::GlusterFs::start(&disk)?));
        systems.push(Box::new(moosefs::MooseFs::start(&disk)?));
    }
    if let Some(command) = &options.inside {
        return machine::shell(command, &disk, &systems);
    }
    let load_before = machine::load();
    let mut results = Results::new(systems.iter().map(|s| s.name().to_owned()).collect());
    for round in 0..options.rounds {
        one_round(round, &options, &disk, &systems, &mut results)?;
    }
    let about = paper::About::now(&options, load_before, &systems, &disk);
    let text = table::text(&results);
    println!("\n{text}\n{}", about.words());
    if let (Some(file), true) = (&options.paper, options.is_whole()) {
        paper::write(file, &about, &results)?;
        println!("written to {}", file.display());
    }
    Ok(())
}

/// A group of work: makes its files below the directory, and times its steps.
type Group = fn(&mut Run<'_>, &Path) -> Result<(), Failed>;

const GROUPS: [Group; 6] =
    [sequential::run, random::run, names::run_single, names::run_processes, small::run, trees::run];

fn one_round(
    round: usize,
    options: &Options,
    disk: &disk::Disk,
    systems: &[Box<dyn System>],
    results: &mut Results,
) -> Result<(), Failed> {
    for group in GROUPS {
        for turn in 0..systems.len() {
            // Another system begins in each round, so that none always comes after the same one.
            let which = (turn + round) % systems.len();
            let system = systems[which].as_ref();
            let dir = system.root().join(format!("round{round}"));
            tried(dir.display(), std::fs::create_dir(&dir))?;
            let mut run = Run { which, system, disk, options, results };
            let done = group(&mut run, &dir);
            done.map_err(|e| format!("{}: {e}", system.name()))?;
            tried(dir.display(), std::fs::remove_dir_all(&dir))?;
        }
    }
    Ok(())
}

/// One group on one system: what it needs to measure.
struct Run<'a> {
    which: usize,
    system: &'a dyn System,
    disk: &'a disk::Disk,
    options: &'a Options,
    results: &'a mut Results,
}

/// What the caches hold when a step begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Caches {
    /// What the steps before have left there; nothing is waiting to be written.
    Settled,
    /// Nothing: written back and dropped.
    Cold,
}

impl Run<'_> {
    /// Whether this row is asked for.
    fn wants(&self, row: &str) -> bool {
        self.options.wants(row)
    }

    /// Whether any of these is.
    fn wants_any(&self, rows: &[&str]) -> bool {
        rows.iter().any(|r| self.wants(r))
    }

    /// Times one step that does `amount` of what the row counts. Runs it untimed if the row is not asked for: later
    /// steps may need what it leaves.
    fn time(
        &mut self,
        row: &'static str,
        caches: Caches,
        amount: f64,
        step: impl FnOnce() -> Result<(), Failed>,
    ) -> Result<(), Failed> {
        if told_to_end() {
            return Err("interrupted".to_owned());
        }
        self.settle()?;
        if caches == Caches::Cold {
            machine::drop_caches()?;
        }
        let used = machine::processor_time(self.system);
        let began = Instant::now();
        step().map_err(|e| format!("{row}: {e}"))?;
        let took = began.elapsed().as_secs_f64();
        let used = machine::processor_time(self.system) - used;
        if self.wants(row) {
            self.results.add(row, self.which, amount, took, used);
            let row = rows::find(row);
            let (shown, each) = (row.shown(amount, took), used * 1e6 / row.units(amount));
            eprintln!("{:<10} {:<12} {shown:>9} {each:>7.0} us of processor time each", self.system.name(), row.id);
        }
        Ok(())
    }

    /// Brings what was written before to the disk, so that no step pays for the one before it.
    fn settle(&self) -> Result<(), Failed> {
        machine::sync(self.system.root())?;
        machine::wait_until_idle(self.system);
        machine::sync(self.disk.root())
    }
}

/// Names what was tried when a system call fails.
fn tried<T, E: std::fmt::Display>(what: impl std::fmt::Display, result: Result<T, E>) -> Result<T, Failed> {
    result.map_err(|e| format!("{what}: {e}"))
}
