//! The machine's own things: caches, processes, processor time, mounts, networks.

use super::system::System;
use super::{Failed, disk::Disk, tried};
use crate::wait;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long a system may take until it can be used.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Runs a program to its end; what it said is the error if it fails.
pub fn run<const N: usize>(program: &str, options: [&Path; N], rest: &[&Path]) -> Result<String, Failed> {
    let mut command = Command::new(program);
    command.args(options).args(rest);
    run_command(&mut command)
}

/// Runs a command to its end; what it said is the error if it fails.
pub fn run_command(command: &mut Command) -> Result<String, Failed> {
    let program = command.get_program().to_string_lossy().into_owned();
    let done = tried(&program, command.stdin(Stdio::null()).output())?;
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    if done.status.success() {
        return Ok(said);
    }
    Err(format!("{program} failed ({}): {}{said}", done.status, String::from_utf8_lossy(&done.stderr)))
}

/// Writes back everything of the file system that this path lies on.
pub fn sync(path: &Path) -> Result<(), Failed> {
    let dir = tried(path.display(), File::open(path))?;
    // SAFETY: only writes back what is open.
    let done = unsafe { libc::syncfs(dir.as_raw_fd()) };
    tried("syncfs", if done == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) })
}

/// `sync; echo 3 > /proc/sys/vm/drop_caches`. The programs that the steps start are read again at once: how fast the
/// root disk is, is not measured.
pub fn drop_caches() -> Result<(), Failed> {
    // SAFETY: takes no arguments.
    unsafe { libc::sync() };
    tried("drop_caches", fs::write("/proc/sys/vm/drop_caches", "3"))?;
    for program in ["git", "tar", "cp", "rm", "find", "cat"] {
        let _ = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
    Ok(())
}

/// What is mounted below a directory, the last first.
pub fn mounts_below(dir: &Path) -> Vec<PathBuf> {
    let Ok(text) = fs::read_to_string("/proc/self/mounts") else { return Vec::new() };
    let places = text.lines().filter_map(|l| l.split(' ').nth(1)).map(PathBuf::from);
    let mut below: Vec<PathBuf> = places.filter(|p| p.starts_with(dir)).collect();
    below.reverse();
    below
}

/// Whether something is mounted there.
pub fn is_mounted(root: &Path) -> bool {
    mounts_below(root).iter().any(|p| p == root)
}

/// Waits until something is mounted there that takes files.
pub fn wait_until_usable(root: &Path) -> Result<(), Failed> {
    let probe = root.join("usable");
    if !wait::until(PATIENCE, || is_mounted(root) && fs::write(&probe, "x").is_ok()) {
        return Err(format!("{} was not mounted", root.display()));
    }
    tried(probe.display(), fs::remove_file(&probe))
}

/// Unmounts what is mounted there, at once even if it is in use.
pub fn unmount(root: &Path) {
    if is_mounted(root) {
        let _ = run_command(Command::new("umount").arg("-l").arg(root));
    }
}

/// Calls `inside` with a network of its own, which what it starts has too: nobody else's ports, a loopback device with
/// this address besides 127.0.0.1, and no way out. It ends with its last process.
pub fn with_own_network<T: Send>(
    address: &str,
    inside: impl FnOnce() -> Result<T, Failed> + Send,
) -> Result<T, Failed> {
    let thread = || {
        // SAFETY: changes this thread only, and it ends with this call.
        let done = unsafe { libc::unshare(libc::CLONE_NEWNET) };
        tried("a network", if done == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) })?;
        run_command(Command::new("ip").args(["link", "set", "lo", "up"]))?;
        run_command(Command::new("ip").args(["address", "add", address, "dev", "lo"]))?;
        inside()
    };
    std::thread::scope(|scope| scope.spawn(thread).join().expect("the thread does not panic"))
}

/// The processor time, in seconds, that the system's processes have used so far.
pub fn processor_time(system: &dyn System) -> f64 {
    system.processes().iter().filter_map(|&pid| ticks(pid)).sum::<u64>() as f64 / ticks_per_second()
}

/// Waits until a system's processes have little left to do: what they were given to write behind, a FUSE file system is
/// not asked for by syncfs. Gives up after a while.
pub fn wait_until_idle(system: &dyn System) {
    const WINDOW: Duration = Duration::from_millis(500);
    if system.processes().is_empty() {
        return;
    }
    wait::until(WINDOW * 20, || {
        let (before, began) = (processor_time(system), Instant::now());
        wait::rest_of(WINDOW, began);
        processor_time(system) - before < WINDOW.as_secs_f64() / 5.0
    });
}

fn ticks(pid: i32) -> Option<u64> {
    let fields = state(pid)?;
    Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
}

/// What `/proc/PID/stat` says after the name, which may hold anything: a letter, then numbers.
fn state(pid: i32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(text.rsplit_once(')')?.1.split_whitespace().map(str::to_owned).collect())
}

fn ticks_per_second() -> f64 {
    // SAFETY: asks for a constant.
    unsafe { libc::sysconf(libc::_SC_CLK_TCK) as f64 }
}

fn all_processes() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok())
}

/// Running processes of these process groups, whatever they call themselves; those that have ended are not among them.
pub fn processes_of_groups(groups: &[i32]) -> Vec<i32> {
    let is_ours = |fields: Vec<String>| {
        let group = fields.get(2).and_then(|g| g.parse().ok());
        fields[0] != "Z" && group.is_some_and(|g| groups.contains(&g))
    };
    all_processes().filter(|&pid| state(pid).is_some_and(is_ours)).collect()
}

/// Running processes of one of these programs that have `text` in their arguments.
pub fn processes(programs: &[&str], text: &Path) -> Vec<i32> {
    let ours = |pid: &i32| {
        let Ok(line) = fs::read(format!("/proc/{pid}/cmdline")) else { return false };
        let program = line.split(|&b| b == 0).next().unwrap_or_default();
        let name = program.rsplit(|&b| b == b'/').next().unwrap_or_default();
        let text = text.as_os_str().as_bytes();
        programs.iter().any(|p| p.as_bytes() == name) && line.windows(text.len()).any(|w| w == text)
    };
    all_processes().filter(ours).collect()
}

/// Sends a signal to one process.
pub fn signal(pid: i32, signal: i32) {
    // SAFETY: sends a signal; a process that is gone is no matter.
    unsafe {
        libc::kill(pid, signal);
    }
}

/// Ends these processes, by force those that do not end when they are asked to.
pub fn end(processes: impl Fn() -> Vec<i32>) {
    for with in [libc::SIGTERM, libc::SIGKILL] {
        for pid in processes() {
            signal(pid, with);
        }
        if wait::until(Duration::from_secs(5), || processes().is_empty()) {
            break;
        }
    }
}

/// How busy the machine has been over the last minute.
pub fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|w| w.parse().ok()).unwrap_or(0.0)
}

/// Runs a shell command with the systems up: for looking at them with other tools.
pub fn shell(command: &str, disk: &Disk, systems: &[Box<dyn System>]) -> Result<(), Failed> {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(command);
    for system in systems {
        shell.env(system.name().to_uppercase(), system.root());
    }
    shell.env("DISK", disk.root());
    let done = tried("sh", shell.status())?;
    if done.success() { Ok(()) } else { Err(format!("the command failed ({done})")) }
}
