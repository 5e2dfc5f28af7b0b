//! Starting, finding and ending the processes of a local cluster.
//!
//! A pid file says only a number, and numbers are used again: a process counts as ours only if its arguments are those
//! that it was started with. So a pid file that a reboot or a crash left behind is never believed. Who runs without one is
//! looked for, too: [`super::strays`].

use super::local::{Local, Name};
use super::{Failure, wait};
use raidfs_common::printed::printed;
use std::ffi::{CString, OsString};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How long what was killed may take to end.
const END_PATIENCE: Duration = Duration::from_secs(10);

/// A process that was started by this command.
#[derive(Debug)]
pub struct Started {
    /// What it is.
    pub name: Name,
    /// Its process.
    pub child: Child,
    /// How long its log was before.
    pub log_from: u64,
}

/// What is known of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It runs.
    Running(i32),
    /// It has a pid file but does not run: it crashed, was killed, or the machine went down.
    Crashed,
    /// It was never started, or was stopped.
    Stopped,
}

impl Local {
    /// Whether a process runs.
    pub fn state(&self, name: Name) -> State {
        let noted = std::fs::read_to_string(self.pid_file(name));
        let pid = noted.as_ref().ok().and_then(|text| text.trim().parse::<i32>().ok());
        match pid.filter(|&pid| self.is(name, pid)).or_else(|| self.stray(name)) {
            Some(pid) => State::Running(pid),
            None if noted.is_ok() => State::Crashed,
            None => State::Stopped,
        }
    }

    /// The process's number, if it runs.
    pub fn pid(&self, name: Name) -> Option<i32> {
        match self.state(name) {
            State::Running(pid) => Some(pid),
            State::Crashed | State::Stopped => None,
        }
    }

    /// How long the process of a server with chunks has run, if it is still on its way to serve them: it looks through what is
    /// stored, for minutes in a large store. None if it serves, was stopped by a signal, or does not run.
    pub fn starting_for(&self, name: Name) -> Option<Duration> {
        let pid = self.pid(name).filter(|_| matches!(name, Name::Server(id) if !id.is_witness()))?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let is_on_its_way = !is_stopped(&stat) && !has_thread(pid, raidfs_fsd::server::CHUNK_THREAD)?;
        is_on_its_way.then(|| age(&stat)).flatten()
    }

    /// Whether a process is that one, by its arguments.
    pub(super) fn is(&self, name: Name, pid: i32) -> bool {
        // A zombie has no arguments any more, so it does not count.
        std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| self.is_command_line(name, &line))
            && !is_ending(pid)
    }

    /// Whether a process with these arguments (each ended by NUL) is that one.
    fn is_command_line(&self, name: Name, line: &[u8]) -> bool {
        let mut words = line.split(|&b| b == 0);
        let program = Path::new(std::ffi::OsStr::from_bytes(words.next().unwrap_or_default()));
        let arguments: Vec<&[u8]> = words.collect();
        let (wanted, option, value) = match name {
            Name::Server(_) => ("fsd", "--data", self.data_dir(name)),
            Name::Mount => ("mountd", "--config", self.config_file()),
        };
        let has = |pair: &[&[u8]]| pair[0] == option.as_bytes() && pair[1] == value.as_os_str().as_bytes();
        program.file_name().is_some_and(|p| p == wanted) && arguments.windows(2).any(has)
    }

    /// The arguments of a server.
    fn server_arguments(&self, name: Name) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec!["--config".into(), self.config_file().into()];
        match name {
            Name::Server(id) if !id.is_witness() => arguments.extend(["--id".into(), id.0.to_string().into()]),
            Name::Server(_) => arguments.push("--witness".into()),
            Name::Mount => {}
        }
        arguments.extend(["--data".into(), self.data_dir(name).into()]);
        arguments
    }

    /// Starts a server.
    pub fn start_server(&self, name: Name) -> Result<Started, Failure> {
        let data = self.data_dir(name);
        // One that is there is looked at by the server: it may be anything.
        if !data.exists() {
            raidfs_fsd::identity::make_private(&data).map_err(Failure::file("make", &data))?;
        }
        self.start(name, &program("fsd")?, self.server_arguments(name))
    }

    /// Starts mountd on `mount_point`; `takeover` ends the session of whoever has the cluster mounted.
    pub fn start_mountd(&self, mount_point: &Path, takeover: bool) -> Result<Started, Failure> {
        let mut arguments: Vec<OsString> = vec!["--config".into(), self.config_file().into()];
        if takeover {
            arguments.push("--takeover".into());
        }
        arguments.push(mount_point.into());
        self.start(Name::Mount, &program("mountd")?, arguments)
    }

    fn start(&self, name: Name, program: &Path, arguments: Vec<OsString>) -> Result<Started, Failure> {
        let log = self.log_file(name);
        let directory = self.dir.join("log");
        std::fs::create_dir_all(&directory).map_err(Failure::file("make", &directory))?;
        let open = OpenOptions::new().create(true).append(true).open(&log);
        let file = open.map_err(Failure::file("open", &log))?;
        let log_from = file.metadata().map_or(0, |m| m.len());
        let second = file.try_clone().map_err(Failure::file("open", &log))?;
        let mut note = PidNote::begin(&self.pid_file(name))?;
        let mut command = Command::new(program);
        command.args(arguments).current_dir("/").stdin(Stdio::null()).stdout(file).stderr(second);
        // SAFETY: only system calls between fork and exec. A session of its own keeps the terminal's signals away;
        // descriptors that our caller forgot to close (a test's lock, a pipe's end) must not live on in a daemon.
        unsafe {
            command.pre_exec(move || {
                libc::setsid();
                libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
                note.write()
            });
        }
        let child = command.spawn().map_err(|source| {
            // It has its pid file if only the program could not be run; one that stays is not believed.
            let _ = self.forget(name);
            Failure::Start { name, source }
        })?;
        Ok(Started { name, child, log_from })
    }

    /// Sends a signal to a process if it runs; an error if this user may not.
    pub fn signal(&self, name: Name, signal: i32) -> Result<(), Failure> {
        let Some(pid) = self.pid(name) else { return Ok(()) };
        // SAFETY: kill only sends a signal.
        let sent = unsafe { libc::kill(pid, signal) } == 0;
        // That the process ended just now is no error.
        match std::io::Error::last_os_error() {
            error if !sent && error.raw_os_error() == Some(libc::EPERM) => Err(Failure::NotPermitted { name, pid }),
            _ => Ok(()),
        }
    }

    /// An error if a process runs that this user may send no signal.
    pub fn check_may_signal(&self, name: Name) -> Result<(), Failure> {
        // Zero is none, and only asks.
        self.signal(name, 0)
    }

    /// Waits until a process has ended, and nothing of it holds a port or a file any more; false if it has not.
    pub fn wait_for_end(&self, name: Name, patience: Duration) -> bool {
        let Some(pid) = self.pid(name) else { return true };
        let ended = wait::until(patience, || {
            let ended = self.pid(name).is_none() && !has_threads(pid);
            Ok::<_, Failure>(ended.then_some(()))
        });
        ended.is_ok_and(|e| e.is_some())
    }

    /// Waits until nothing of a process that does not run any more holds a port or a file: one that was killed a moment
    /// ago may not have come to die yet.
    pub fn wait_for_remains(&self, name: Name) {
        let text = std::fs::read_to_string(self.pid_file(name)).unwrap_or_default();
        let Ok(pid) = text.trim().parse::<i32>() else { return };
        // If it takes longer, whoever needs the port or the file says so.
        let _ = wait::until(END_PATIENCE, || Ok::<_, Failure>((!is_ending(pid) || !has_threads(pid)).then_some(())));
    }

    /// Forgets a process that has ended in good order.
    pub fn forget(&self, name: Name) -> Result<(), Failure> {
        let path = self.pid_file(name);
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Failure::file("remove", &path)(e)),
            _ => Ok(()),
        }
    }

    /// How long a log is now, in bytes.
    pub fn log_length(&self, name: Name) -> u64 {
        std::fs::metadata(self.log_file(name)).map_or(0, |m| m.len())
    }

    /// Whether mountd, which has ended, ended well, by its log from `from` on: if it fails it says so last, with its name before it.
    pub fn check_mountd_ended_well(&self, from: u64) -> Result<(), Failure> {
        match self.complaint(from) {
            Some(why) => Err(Failure::EndedBadly { why, log: self.log_file(Name::Mount) }),
            None => Ok(()),
        }
    }

    fn complaint(&self, from: u64) -> Option<String> {
        let tail = self.log_tail(Name::Mount, from);
        tail.lines().rev().find_map(|line| line.trim_start().strip_prefix("mountd: ")).map(str::to_owned)
    }

    /// The last lines of a log, from `from` on.
    pub fn log_tail(&self, name: Name, from: u64) -> String {
        const LINES: usize = 20;
        const BYTES: u64 = 8192;
        let read = || {
            let mut file = std::fs::File::open(self.log_file(name))?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(from.max(length.saturating_sub(BYTES)).min(length)))?;
            let mut text = Vec::new();
            file.take(BYTES).read_to_end(&mut text)?;
            Ok::<_, std::io::Error>(String::from_utf8_lossy(&text).into_owned())
        };
        let text = read().unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        match lines.as_slice() {
            [] => "    (it wrote nothing)".to_owned(),
            lines => {
                let last: Vec<String> =
                    lines[lines.len().saturating_sub(LINES)..].iter().map(|l| format!("    {l}")).collect();
                last.join("\n")
            }
        }
    }
}

/// The pid file of a process that is being started. The new process writes it itself, before it becomes the program: this
/// command may be interrupted at any moment, and nothing may run that no pid file names. Until then the new process holds
/// the lock of this command, too, so that no other command looks too early.
struct PidNote {
    file: File,
    unfinished: CString,
    path: CString,
}

impl PidNote {
    fn begin(path: &Path) -> Result<PidNote, Failure> {
        let directory = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(directory).map_err(Failure::file("make", directory))?;
        let unfinished = path.with_extension("pid.new");
        let begun = (|| {
            let file = File::create(&unfinished)?;
            let c = |path: &Path| CString::new(path.as_os_str().as_bytes());
            Ok(PidNote { file, unfinished: c(&unfinished)?, path: c(path)? })
        })();
        begun.map_err(Failure::file("write", unfinished))
    }

    /// Between fork and exec: system calls and nothing else.
    fn write(&mut self) -> std::io::Result<()> {
        let mut digits = [b'\n'; 12];
        let mut at = digits.len() - 1;
        let mut left = std::process::id();
        while left > 0 {
            at -= 1;
            digits[at] = b'0' + (left % 10) as u8;
            left /= 10;
        }
        self.file.write_all(&digits[at..])?;
        // SAFETY: both are NUL-terminated strings that outlive the call.
        if unsafe { libc::rename(self.unfinished.as_ptr(), self.path.as_ptr()) } != 0 {
            return Err(std::io::Error::last_os_error());
        }
        Ok(())
    }
}

impl Started {
    /// An error if it has ended.
    pub fn check(&mut self, local: &Local) -> Result<(), Failure> {
        match self.child.try_wait() {
            Ok(None) | Err(_) => Ok(()),
            Ok(Some(status)) => Err(Failure::Died {
                name: self.name,
                how: format!("ended ({status})"),
                log: local.log_file(self.name),
                tail: local.log_tail(self.name, self.log_from),
            }),
        }
    }
}

/// Whether a process that can still be seen is about to end: it was killed, or ends by itself. On a busy machine there is
/// a while between the signal and the end.
fn is_ending(pid: i32) -> bool {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    is_killed(&read("status")) || is_exiting(&read("stat"))
}

/// Whether /proc/PID/status says that SIGKILL is on its way.
fn is_killed(status: &str) -> bool {
    let pending = status.lines().filter_map(|l| l.strip_prefix("SigPnd:").or_else(|| l.strip_prefix("ShdPnd:")));
    let mut sets = pending.filter_map(|set| u64::from_str_radix(set.trim(), 16).ok());
    sets.any(|set| set & (1 << (libc::SIGKILL - 1)) != 0)
}

/// Whether /proc/PID/stat has the kernel's mark of a task that is exiting (`PF_EXITING`) among the flags.
fn is_exiting(stat: &str) -> bool {
    const EXITING: u64 = 4;
    // State, parent, group, session, terminal, its group, flags.
    behind_name(stat).nth(6).and_then(|flags| flags.parse::<u64>().ok()).is_some_and(|flags| flags & EXITING != 0)
}

/// The fields of /proc/PID/stat from the state on: behind the program's name, which may have blanks and brackets in it.
fn behind_name(stat: &str) -> impl Iterator<Item = &str> {
    stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace()
}

/// Whether a signal, or a debugger, has stopped it.
fn is_stopped(stat: &str) -> bool {
    matches!(behind_name(stat).next(), Some("T" | "t"))
}

/// How long a process has run.
fn age(stat: &str) -> Option<Duration> {
    let ticks: f64 = behind_name(stat).nth(19)?.parse().ok()?;
    let up = std::fs::read_to_string("/proc/uptime").ok()?;
    let up: f64 = up.split_whitespace().next()?.parse().ok()?;
    // SAFETY: sysconf only tells a number.
    let ticks_per_s = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64;
    Duration::try_from_secs_f64((up - ticks / ticks_per_s).max(0.0)).ok()
}

/// Whether a process has a thread of that name; None if it has ended.
fn has_thread(pid: i32, name: &str) -> Option<bool> {
    let mut threads = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten();
    let comm = |thread: &Path| std::fs::read_to_string(thread.join("comm")).unwrap_or_default();
    Some(threads.any(|thread| comm(&thread.path()).trim_end() == name))
}

/// Whether threads of a process still run: of one that was killed, some may be inside the kernel for a while after the
/// first has ended.
fn has_threads(pid: i32) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    let runs = |status: std::path::PathBuf| {
        let text = std::fs::read_to_string(status.join("status")).unwrap_or_default();
        text.lines().any(|l| l.starts_with("State:") && !l.contains('Z') && !l.contains('X'))
    };
    threads.flatten().any(|thread| runs(thread.path()))
}

/// One of the programs: it lies where `raidfs` itself does.
pub fn program(name: &str) -> Result<PathBuf, Failure> {
    let me = std::env::current_exe().map_err(Failure::file("find", "/proc/self/exe"))?;
    let path = me.with_file_name(name);
    if path.is_file() { Ok(path) } else { Err(Failure::NoProgram(path)) }
}

/// Who listens on a port of this machine: `pid 123 (nginx)`; None if it cannot be told.
pub fn listener(port: u16) -> Option<String> {
    let socket = ["/proc/net/tcp", "/proc/net/tcp6"].iter().find_map(|path| {
        let text = std::fs::read_to_string(path).ok()?;
        text.lines().skip(1).find_map(|line| listening_inode(line, port))
    })?;
    let wanted = format!("socket:[{socket}]");
    processes().find_map(|pid| {
        let mut descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
        let holds = descriptors
            .any(|d| d.is_ok_and(|d| std::fs::read_link(d.path()).is_ok_and(|to| to.as_os_str() == wanted.as_str())));
        holds.then(|| format!("pid {pid} ({}) listens there", process_name(pid)))
    })
}

/// The socket's inode, if this line of /proc/net/tcp is a listener on `port`.
fn listening_inode(line: &str, port: u16) -> Option<String> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let local_port = u16::from_str_radix(fields.get(1)?.rsplit(':').next()?, 16).ok()?;
    (local_port == port && *fields.get(3)? == "0A").then(|| fields.get(9).map(|f| (*f).to_owned()))?
}

/// All processes that can be seen.
pub fn processes() -> impl Iterator<Item = i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|e| e.file_name().to_str()?.parse().ok())
}

/// A process's name, for messages.
pub fn process_name(pid: i32) -> String {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm"));
    name.map_or_else(|_| "?".to_owned(), |n| printed(n.trim()).to_string())
}

#[cfg(test)]
mod tests {
    use super::super::local::{Shape, write_atomically};
    use super::*;
    use raidfs_common::id::ServerId;

    fn local(dir: &Path) -> Local {
        Local::create(dir, Shape { servers: 2, base_port: 9000 }).unwrap()
    }

    fn line(words: &[&str]) -> Vec<u8> {
        words.iter().flat_map(|w| w.bytes().chain([0])).collect()
    }

    #[test]
    fn a_process_is_known_by_its_program_and_its_data() {
        let dir = tempfile::tempdir().unwrap();
        let local = local(dir.path());
        let name = Name::Server(ServerId(1));
        let data = local.data_dir(name);
        let data = data.to_str().unwrap();
        let good = line(&["/x/fsd", "--config", "c", "--id", "1", "--data", data]);
        assert!(local.is_command_line(name, &good));
        assert!(!local.is_command_line(Name::Server(ServerId(2)), &good));
        assert!(!local.is_command_line(name, &line(&["/bin/cat", "--data", data])));
        assert!(!local.is_command_line(name, &line(&["/x/fsd", "--data", "/elsewhere"])));
        assert!(!local.is_command_line(name, b""));
        let config = local.config_file();
        let mount = line(&["mountd", "--config", config.to_str().unwrap(), "/mnt"]);
        assert!(local.is_command_line(Name::Mount, &mount));
    }

    #[test]
    fn a_pid_file_is_not_believed_when_the_number_is_anothers() {
        let dir = tempfile::tempdir().unwrap();
        let local = local(dir.path());
        let name = Name::Server(ServerId(1));
        assert_eq!(local.state(name), State::Stopped);
        write_atomically(&local.pid_file(name), format!("{}\n", std::process::id())).unwrap();
        assert_eq!(local.state(name), State::Crashed);
        write_atomically(&local.pid_file(name), "garbage").unwrap();
        assert_eq!(local.state(name), State::Crashed);
        local.forget(name).unwrap();
        assert_eq!(local.state(name), State::Stopped);
        local.forget(name).unwrap();
    }

    #[test]
    fn what_is_started_has_its_pid_file_before_it_is_the_program() {
        let dir = tempfile::tempdir().unwrap();
        let local = local(dir.path());
        let script = "test \"$(cat \"$0\")\" = $$".into();
        let arguments = vec!["-c".into(), script, local.pid_file(Name::Mount).into()];
        let mut started = local.start(Name::Mount, Path::new("/bin/sh"), arguments).unwrap();
        assert!(started.child.wait().unwrap().success());
        let none = local.start(Name::Mount, Path::new("/nonexistent"), Vec::new());
        assert!(matches!(none, Err(Failure::Start { .. })));
        assert_eq!(local.state(Name::Mount), State::Stopped);
    }

    #[test]
    fn who_is_about_to_end_is_known() {
        assert!(!is_ending(std::process::id() as i32));
        let mut child = Command::new("true").spawn().unwrap();
        // Nobody has waited for it, so it stays to be seen.
        let pid = child.id() as i32;
        let ended = wait::until(Duration::from_secs(10), || Ok::<_, Failure>(is_ending(pid).then_some(()))).unwrap();
        assert!(ended.is_some());
        child.wait().unwrap();
        let status = |own: &str, shared: &str| format!("State:\tR (running)\nSigPnd:\t{own}\nShdPnd:\t{shared}\n");
        assert!(!is_killed(&status("0000000000000000", "0000000000004000")));
        assert!(is_killed(&status("0000000000000100", "0000000000000000")));
        assert!(is_killed(&status("0000000000000000", "0000000000000100")));
        assert!(!is_exiting("7 (a) 4 b) R 1 7 7 0 -1 4194304 0"));
        assert!(is_exiting("7 (a) 4 b) R 1 7 7 0 -1 4194308 0"));
    }

    #[test]
    fn a_server_is_starting_until_it_has_the_thread_that_serves() {
        let me = std::process::id() as i32;
        assert_eq!(has_thread(me, "no-such-thread"), Some(false));
        assert_eq!(has_thread(-1, "chunks"), None);
        let (named, end) = (std::thread::Builder::new().name("one-more".into()), std::sync::mpsc::channel::<()>());
        let thread = named.spawn(move || end.1.recv()).unwrap();
        let seen = wait::until(Duration::from_secs(10), || {
            Ok::<_, Failure>((has_thread(me, "one-more") == Some(true)).then_some(()))
        });
        assert!(seen.unwrap().is_some());
        drop(end.0);
        thread.join().unwrap().unwrap_err();

        let dir = tempfile::tempdir().unwrap();
        let local = local(dir.path());
        let name = Name::Server(ServerId(1));
        assert_eq!(local.starting_for(name), None, "it does not run");
        // Called fsd, with its arguments, and without its threads.
        let program = dir.path().join("fsd");
        std::os::unix::fs::symlink("/bin/sh", &program).unwrap();
        let data = local.data_dir(name);
        let mut command = Command::new(&program);
        command.args(["-c", "read line; exit", "--data"]).arg(data);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        write_atomically(&local.pid_file(name), format!("{}\n", child.id())).unwrap();
        let starts = || local.starting_for(name).is_some_and(|age| age < Duration::from_secs(600));
        let until = |what: &str, is: &dyn Fn() -> bool| {
            let seen = wait::until(Duration::from_secs(10), || Ok::<_, Failure>(is().then_some(())));
            assert!(seen.unwrap().is_some(), "{what}");
        };
        until("it is starting", &starts);
        local.signal(name, libc::SIGSTOP).unwrap();
        until("who is stopped is not", &|| !starts());
        assert!(local.pid(name).is_some());
        local.signal(name, libc::SIGKILL).unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_log_tail_begins_where_this_start_did() {
        let dir = tempfile::tempdir().unwrap();
        let local = local(dir.path());
        let name = Name::Mount;
        assert!(local.log_tail(name, 0).contains("nothing"));
        write_atomically(&local.log_file(name), "old\nnew\n").unwrap();
        assert_eq!(local.log_tail(name, 4), "    new");
        assert_eq!(local.log_tail(name, 0), "    old\n    new");
        assert_eq!(local.complaint(0), None);
        write_atomically(&local.log_file(name), "mountd: earlier\nWARN mountd: no\nmountd: it broke\n").unwrap();
        assert_eq!(local.complaint(0).as_deref(), Some("it broke"));
        assert_eq!(local.complaint(16), Some("it broke".into()));
        assert_eq!(local.complaint(50), None, "that was before");
        let many: String = (0..100).map(|n| format!("{n}\n")).collect();
        write_atomically(&local.log_file(name), &many).unwrap();
        assert!(local.log_tail(name, 0).starts_with("    80\n"));
    }

    #[test]
    fn listeners_are_found_in_the_kernel_table() {
        let text = "   1: 0100007F:1BBC 00000000:0000 0A 00000000:00000000 00:00000000 00000000  0  0 12345 1 0 100";
        assert_eq!(listening_inode(text, 7100), Some("12345".to_owned()));
        assert_eq!(listening_inode(text, 7101), None);
        assert_eq!(listening_inode(&text.replace(" 0A ", " 01 "), 7100), None);
        let here = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let who = listener(here.local_addr().unwrap().port()).unwrap();
        assert!(who.contains(&std::process::id().to_string()), "{who}");
    }
}
