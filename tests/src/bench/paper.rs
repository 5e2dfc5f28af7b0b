//! The paper of a run: what was measured, when, on what, and the table.

use super::disk::Disk;
use super::machine::{load, run_command};
use super::options::Options;
use super::results::Results;
use super::system::System;
use super::{Failed, table, tried};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Circumstances of a run.
pub struct About {
    date: String,
    machine: String,
    commit: String,
    rounds: usize,
    load: (f64, f64),
    systems: Vec<(String, String)>,
    disk: String,
}

impl About {
    /// As they are at the end of the run.
    pub fn now(options: &Options, load_before: f64, systems: &[Box<dyn System>], disk: &Disk) -> About {
        let asked = |program: &str, words: &[&str]| {
            run_command(Command::new(program).args(words))
                .map_or_else(|_| "unknown".to_owned(), |s| s.trim().to_owned())
        };
        About {
            date: asked("date", &["-u", "+%Y-%m-%d"]),
            machine: machine(&asked("uname", &["-sr"])),
            commit: asked("git", &["describe", "--always", "--dirty"]),
            rounds: options.rounds,
            load: (load_before, load()),
            systems: systems.iter().map(|s| (s.name().to_owned(), s.description())).collect(),
            disk: disk.description().to_owned(),
        }
    }

    /// In one paragraph.
    pub fn words(&self) -> String {
        format!(
            "{}, {}; commit {}; medians of {} rounds; load of the machine {:.1} before and {:.1} at the end.",
            self.date, self.machine, self.commit, self.rounds, self.load.0, self.load.1
        )
    }
}

fn machine(kernel: &str) -> String {
    let first = |file: &str, key: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let line = text.lines().find(|l| l.starts_with(key))?.to_owned();
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let model = first("/proc/cpuinfo", "model name").unwrap_or_else(|| "an unknown processor".to_owned());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = first("/proc/meminfo", "MemTotal").and_then(|m| m.split(' ').next()?.parse::<f64>().ok());
    format!("{cores} cores of {model}, {:.0} GiB of memory, {kernel}", memory.unwrap_or(0.0) / f64::from(1 << 20))
}

const FILE: &str = "\
## How it is measured

`make bench` (and `make bench-peers`, with GlusterFS and MooseFS) writes this file. ";

/// What follows on what the disk is.
const HOW: &str = "\
with an ext4 of its own holds the data of all systems: a plain directory, the four raidfs servers and the witness, \
the four GlusterFS bricks, the MooseFS master and its four chunkservers (whose trash keeps what is removed, for which the \
image is 2 GiB larger a round). So all share one disk and one journal, and the mirrored systems write everything to it twice. \
MooseFS does not wait for the disk: its fsync ends when both copies are in the memory of their servers. Each round does each \
group of work on each system in turn. Before a timed step everything is written back, and the system's \
processes have come to rest; \"cold\" means that the kernel's \
caches are dropped too (`sync; echo 3 > /proc/sys/vm/drop_caches`).

- Sequential: 512 MiB in one file, 1 MiB at a time; the write ends with fsync.
- Random: 4 KiB at random places of a file of 256 MiB, 4 threads with a descriptor each; 16,000 reads, 16,000 buffered \
writes, 4,000 writes with an fsync each. Only the calls themselves are timed.
- Names: 1,000 files or directories in one directory by one process; 8 processes with 250 in a directory each. \
`readdir + stat` is what `ls -l` does.
- 4 KiB files: 1,000, each created, written and closed; each opened, read and closed cold.
- Trees: 2,000 files of 200 bytes to 60 KB, 7 KB in the mean, in 100 directories. `cp -r` copies it within the system; \
git runs with its defaults; `find` looks at each entry's times; reading is by tar.

\"CPU us\" is the processor time that a system's own processes used for one operation (for a sequential row: one \
megabyte), in microseconds: what the kernel did for the calling program is not in it.

A goal is three times GlusterFS for names and small files, GlusterFS for throughput, and for some rows (write + fsync, \
4 KiB file written, untar, cp, git) MooseFS if that is more; both as measured in the same run. `make bench` measures \
neither: their figures on a quiet machine of two cores stand in (of MooseFS: 1,580 synced writes, 839 files of 4 KiB \
written, 768 untarred and 537 copied a second, git in 6.0 s).
";

/// Writes the paper.
pub fn write(file: &Path, about: &About, results: &Results) -> Result<(), Failed> {
    let mut text = format!("# Benchmarks\n\n{}\n\n", about.words());
    for (name, description) in &about.systems {
        text += &format!("- {name}: {description}\n");
    }
    text += &format!("\n{}\n{FILE}{} {HOW}", table::markdown(results), about.disk);
    tried(file.display(), fs::write(file, text))
}
