//! Names and attributes: one operation many times, by one process, or by eight at once with a directory each.

use super::{Caches, Failed, Run, tried};
use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The word that makes the program one of the eight.
pub const WORKER: &str = "--worker";

const ALONE: usize = 1_000;
const PROCESSES: usize = 8;
const EACH: usize = 250;

/// An operation, and the rows that count it. Each finds what those before it left.
struct Step {
    operation: &'static str,
    alone: &'static str,
    by_processes: &'static str,
    caches: Caches,
    /// Operations that cannot be without this one.
    before: &'static [&'static str],
}

const fn step(
    operation: &'static str,
    alone: &'static str,
    by_processes: &'static str,
    caches: Caches,
    before: &'static [&'static str],
) -> Step {
    Step { operation, alone, by_processes, caches, before }
}

const STEPS: [Step; 8] = [
    step("create", "create", "create-8", Caches::Settled, &["stat", "readdir", "rename", "chmod", "unlink"]),
    step("stat", "stat", "stat-8", Caches::Cold, &[]),
    step("readdir", "readdir", "readdir-8", Caches::Cold, &[]),
    step("rename", "rename", "rename-8", Caches::Settled, &[]),
    step("chmod", "chmod", "chmod-8", Caches::Settled, &[]),
    step("unlink", "unlink", "unlink-8", Caches::Settled, &[]),
    step("mkdir", "mkdir", "mkdir-8", Caches::Settled, &["rmdir"]),
    step("rmdir", "rmdir", "rmdir-8", Caches::Settled, &[]),
];

/// By one process.
pub fn run_single(run: &mut Run<'_>, dir: &Path) -> Result<(), Failed> {
    let mut prefix = "f";
    for step in needed(run, |s| s.alone) {
        run.time(step.alone, step.caches, ALONE as f64, || operate(step.operation, dir, prefix, ALONE))?;
        if step.operation == "rename" {
            prefix = RENAMED;
        }
    }
    Ok(())
}

/// By eight.
pub fn run_processes(run: &mut Run<'_>, dir: &Path) -> Result<(), Failed> {
    let dirs: Vec<PathBuf> = (0..PROCESSES).map(|n| dir.join(format!("process{n}"))).collect();
    for dir in &dirs {
        tried(dir.display(), fs::create_dir(dir))?;
    }
    let mut prefix = "f";
    for step in needed(run, |s| s.by_processes) {
        // Starting processes is not what is measured: they wait for a word.
        let start = |dir: &PathBuf| Worker::start(step.operation, dir, prefix);
        let mut workers = dirs.iter().map(start).collect::<Result<Vec<_>, _>>()?;
        run.time(step.by_processes, step.caches, (PROCESSES * EACH) as f64, || {
            workers.iter_mut().try_for_each(Worker::go)?;
            workers.into_iter().try_for_each(Worker::finish)
        })?;
        if step.operation == "rename" {
            prefix = RENAMED;
        }
    }
    Ok(())
}

/// The steps whose rows are asked for, and those that these need.
fn needed(run: &Run<'_>, row: impl Fn(&Step) -> &'static str) -> Vec<&'static Step> {
    let wanted: Vec<&str> = STEPS.iter().filter(|s| run.wants(row(s))).map(|s| s.operation).collect();
    let is_needed = |s: &&Step| wanted.contains(&s.operation) || s.before.iter().any(|o| wanted.contains(o));
    STEPS.iter().filter(is_needed).collect()
}

const RENAMED: &str = "renamed";

/// Does one operation `count` times in a directory, on the files whose names begin so.
fn operate(operation: &str, dir: &Path, prefix: &str, count: usize) -> Result<(), Failed> {
    let file = |n: usize| dir.join(format!("{prefix}{n:05}"));
    let sub = |n: usize| dir.join(format!("d{n:05}"));
    let one: &dyn Fn(usize) -> std::io::Result<()> = match operation {
        "create" => &|n| File::create(file(n)).map(drop),
        "stat" => &|n| fs::symlink_metadata(file(n)).map(drop),
        "rename" => &|n| fs::rename(file(n), dir.join(format!("{RENAMED}{n:05}"))),
        "chmod" => &|n| fs::set_permissions(file(n), Permissions::from_mode(0o600)),
        "unlink" => &|n| fs::remove_file(file(n)),
        "mkdir" => &|n| fs::create_dir(sub(n)),
        "rmdir" => &|n| fs::remove_dir(sub(n)),
        "readdir" => return list(dir, count),
        _ => return Err(format!("there is no operation {operation:?}")),
    };
    (0..count).try_for_each(|n| tried(operation, one(n)))
}

/// What `ls -l` asks for.
fn list(dir: &Path, count: usize) -> Result<(), Failed> {
    let mut found = 0;
    for entry in tried("readdir", fs::read_dir(dir))? {
        let entry = tried("readdir", entry)?;
        tried("stat", fs::symlink_metadata(entry.path()))?;
        found += 1;
    }
    if found == count { Ok(()) } else { Err(format!("{found} of {count} entries were listed")) }
}

/// One of the eight: says `ready`, and begins at the first line that it is sent.
struct Worker {
    child: Child,
}

impl Worker {
    fn start(operation: &str, dir: &Path, prefix: &str) -> Result<Worker, Failed> {
        let program = tried("this program", std::env::current_exe())?;
        let mut command = Command::new(program);
        command.args([WORKER, operation]).arg(dir).args([prefix, &EACH.to_string()]);
        let mut child = tried("worker", command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn())?;
        let mut line = String::new();
        let out = child.stdout.take().expect("it is a pipe");
        tried("worker", BufReader::new(out).read_line(&mut line))?;
        Ok(Worker { child })
    }

    fn go(&mut self) -> Result<(), Failed> {
        tried("worker", self.child.stdin.take().expect("it is told once").write_all(b"go\n"))
    }

    fn finish(mut self) -> Result<(), Failed> {
        let done = tried("worker", self.child.wait())?;
        if done.success() { Ok(()) } else { Err(format!("a worker failed ({done})")) }
    }
}

/// The whole of one of the eight.
pub fn work(operation: &str, dir: &str, prefix: &str, count: &str) -> Result<(), Failed> {
    let count = tried(count, count.parse())?;
    println!("ready");
    tried("stdin", std::io::stdin().read_line(&mut String::new()))?;
    operate(operation, Path::new(dir), prefix, count)
}
