//! The rows of the table: what is counted, and what it is to reach.

/// What a row's figure means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Operations per second: more is better.
    PerSecond,
    /// Megabytes per second: more is better.
    Megabytes,
    /// Seconds for the whole of it: less is better.
    Seconds,
}

/// What a row is to reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Goal {
    /// So many times GlusterFS; none where the kernel's cache answers.
    pub times: Option<f64>,
    /// GlusterFS's figure on a quiet machine of two cores, for runs that do not measure it.
    pub glusterfs: Option<f64>,
    /// MooseFS's figure on such a machine, for such runs; none where it is not to be reached.
    pub moosefs: Option<f64>,
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its short name.
    pub id: &'static str,
    /// The group that measures it.
    pub group: &'static str,
    /// Its name in the table.
    pub label: &'static str,
    /// What its figure means.
    pub unit: Unit,
    /// What it is to reach.
    pub goal: Goal,
}

const fn row(id: &'static str, group: &'static str, label: &'static str, unit: Unit, goal: Goal) -> Row {
    Row { id, group, label, unit, goal }
}

const fn data(glusterfs: f64) -> Goal {
    Goal { times: Some(1.0), glusterfs: Some(glusterfs), moosefs: None }
}

const fn names(glusterfs: f64) -> Goal {
    Goal { times: Some(3.0), glusterfs: Some(glusterfs), moosefs: None }
}

const UNKNOWN: Goal = Goal { times: Some(3.0), glusterfs: None, moosefs: None };
const CACHED: Goal = Goal { times: None, glusterfs: None, moosefs: None };

const fn moosefs(goal: Goal, moosefs: f64) -> Goal {
    Goal { moosefs: Some(moosefs), ..goal }
}

use Unit::{Megabytes, PerSecond, Seconds};

/// All rows, in the order of the table.
pub const ALL: [Row; 31] = [
    row("seq-write", "seq", "sequential write and fsync, 1 MiB", Megabytes, data(404.0)),
    row("seq-read", "seq", "sequential read, 1 MiB, cold", Megabytes, data(791.0)),
    row("seq-reread", "seq", "sequential read, 1 MiB, warm", Megabytes, CACHED),
    row("rand-read", "rand", "random 4 KiB reads, 4 threads, cold", PerSecond, data(12_300.0)),
    row("rand-write", "rand", "random 4 KiB writes, 4 threads, buffered", PerSecond, data(5_374.0)),
    row("rand-fsync", "rand", "random 4 KiB write + fsync, 4 threads", PerSecond, moosefs(data(875.0), 1_580.0)),
    row("create", "names", "create", PerSecond, names(626.0)),
    row("stat", "names", "stat, cold", PerSecond, names(2_079.0)),
    row("readdir", "names", "readdir + stat, cold", PerSecond, names(7_311.0)),
    row("rename", "names", "rename", PerSecond, names(207.0)),
    row("chmod", "names", "chmod", PerSecond, UNKNOWN),
    row("unlink", "names", "unlink", PerSecond, names(738.0)),
    row("mkdir", "names", "mkdir", PerSecond, names(273.0)),
    row("rmdir", "names", "rmdir", PerSecond, UNKNOWN),
    row("create-8", "names-8", "create, 8 processes", PerSecond, names(1_070.0)),
    row("stat-8", "names-8", "stat, cold, 8 processes", PerSecond, names(4_035.0)),
    row("readdir-8", "names-8", "readdir + stat, cold, 8 processes", PerSecond, UNKNOWN),
    row("rename-8", "names-8", "rename, 8 processes", PerSecond, UNKNOWN),
    row("chmod-8", "names-8", "chmod, 8 processes", PerSecond, UNKNOWN),
    row("unlink-8", "names-8", "unlink, 8 processes", PerSecond, names(2_297.0)),
    row("mkdir-8", "names-8", "mkdir, 8 processes", PerSecond, UNKNOWN),
    row("rmdir-8", "names-8", "rmdir, 8 processes", PerSecond, UNKNOWN),
    row("file-write", "small", "4 KiB file written", PerSecond, moosefs(names(431.0), 839.0)),
    row("file-read", "small", "4 KiB file read, cold", PerSecond, names(1_599.0)),
    row("untar", "trees", "untar, files", PerSecond, moosefs(names(291.0), 768.0)),
    row("cp", "trees", "cp -r, files", PerSecond, moosefs(names(276.0), 537.0)),
    row("git", "trees", "git init + add + commit, s", Seconds, moosefs(names(15.9), 6.0)),
    row("git-status", "trees", "git status, cold, s", Seconds, names(1.3)),
    row("find", "trees", "find, cold, entries", PerSecond, UNKNOWN),
    row("read-tree", "trees", "read all files, cold", PerSecond, UNKNOWN),
    row("rm", "trees", "rm -rf, files", PerSecond, names(922.0)),
];

/// The row of this name.
pub fn find(id: &str) -> &'static Row {
    ALL.iter().find(|r| r.id == id).expect("groups time rows of the table only")
}

/// The names of all rows and groups, for `--help`.
pub fn listed() -> String {
    let mut text = String::from("\nGROUPS AND THEIR ROWS\n");
    let mut last = "";
    for row in &ALL {
        if row.group != last {
            text += &format!("{}{}:", if last.is_empty() { "" } else { "\n" }, row.group);
            last = row.group;
        }
        text += &format!(" {}", row.id);
    }
    text + "\n"
}

impl Row {
    /// The row's figure for this amount of work in so many seconds.
    pub fn figure(&self, amount: f64, seconds: f64) -> f64 {
        match self.unit {
            PerSecond => amount / seconds,
            Megabytes => amount / seconds / 1e6,
            Seconds => seconds,
        }
    }

    /// The amount in what processor time is counted for: operations, or megabytes.
    pub fn units(&self, amount: f64) -> f64 {
        if self.unit == Megabytes { amount / 1e6 } else { amount }
    }

    /// How many times better `a` is than `b`.
    pub fn times(&self, a: f64, b: f64) -> f64 {
        if self.unit == Seconds { b / a } else { a / b }
    }

    /// The figure as it is shown.
    pub fn write(&self, figure: f64) -> String {
        match self.unit {
            Seconds => format!("{figure:.2}"),
            PerSecond | Megabytes => format!("{figure:.0}"),
        }
    }

    /// The figure for this amount of work in so many seconds, as it is shown.
    pub fn shown(&self, amount: f64, seconds: f64) -> String {
        self.write(self.figure(amount, seconds))
    }
}
