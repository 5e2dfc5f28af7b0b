//! The command line: every command, option and `--help` text of `raidfs`.

use super::Failure;
use super::local::Local;
use clap::{Args, Parser, Subcommand};
use raidfs_common::config::Config;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Where a local cluster lives unless `--dir` says otherwise.
pub const DEFAULT_DIR: &str = "./raidfs-data";
/// Where it is mounted unless `--mount` says otherwise.
pub const DEFAULT_MOUNT: &str = "/mnt/raidfs";

/// A mirrored file system: run it, look into it, check it.
#[derive(Debug, Parser)]
#[command(name = "raidfs", version, propagate_version = true, long_about = ABOUT, after_long_help = TOP_EXAMPLES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const ABOUT: &str = "\
A mirrored file system: run it, look into it, check it.

raidfs keeps every file on two of its servers (a pair) and all names on every server. One server may be killed, hang, be \
cut off or lose its disk at any moment: programs on the mount notice nothing, and the server is brought up to date by \
itself when it returns.

`up`, `down`, `start`, `stop` and `kill` run a whole cluster on this machine, in one directory. `status`, `verify`, \
`scrub`, `replace`, `lost`, `where` and `shell` work on any cluster. `export` reads one server's data directory with nothing running.";

const TOP_EXAMPLES: &str = "\
EXAMPLES
  raidfs up                                   make a cluster in ./raidfs-data, mount it at /mnt/raidfs
  raidfs status                               how is it?
  raidfs kill fsd2; ls -l /mnt/raidfs         lose a server, notice nothing
  raidfs start fsd2; raidfs status --wait-healthy 60
  raidfs verify                               are both mirrors equal, byte for byte?
  raidfs scrub                                mend what has rotted on a disk
  raidfs down                                 unmount and stop; the data stays
  raidfs status --config /etc/raidfs/raidfs.toml
                                              a cluster on several machines

FILES (of a local cluster; NAME is fsd1, fsd2, ..., witness or mountd)
  DIR/raidfs.toml       the cluster's configuration
  DIR/data/NAME/        what a server stores
  DIR/log/NAME.log      its log
  DIR/run/NAME.pid      its process, while it runs
  DIR/mountpoint        where it is mounted

EXIT STATUS
  0 done, 1 failed (the reason is on standard error), 2 wrong usage. `status`, `verify`, `scrub` and `lost` have their own: see their help.";

/// One command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a local cluster, or start it again, and mount it
    #[command(long_about = UP)]
    Up(UpArgs),
    /// Unmount a local cluster and stop it; the data stays
    #[command(long_about = DOWN)]
    Down(DownArgs),
    /// Start one process of a local cluster
    #[command(long_about = ONE)]
    Start(OneArgs),
    /// Stop one process of a local cluster in good order
    #[command(long_about = ONE)]
    Stop(OneArgs),
    /// Kill one process of a local cluster, as a crash would
    #[command(long_about = ONE)]
    Kill(OneArgs),
    /// Show how a cluster is
    #[command(long_about = STATUS)]
    Status(StatusArgs),
    /// Check that both mirrors of everything are equal and whole
    #[command(long_about = VERIFY)]
    Verify(VerifyArgs),
    /// Compare all chunks with their checksums, and mend what is damaged
    #[command(long_about = SCRUB)]
    Scrub(ScrubArgs),
    /// Give up the data directory of a server, so that an empty one takes its place
    #[command(long_about = REPLACE)]
    Replace(ReplaceArgs),
    /// List the files that have lost bytes with both servers of a pair; accept that loss
    #[command(long_about = LOST)]
    Lost(LostArgs),
    /// Take the files out of one server's data directory, with nothing running
    #[command(long_about = EXPORT)]
    Export(ExportArgs),
    /// Show which servers hold a file
    #[command(long_about = WHERE)]
    Where(WhereArgs),
    /// Work on the store without a mount, line by line
    #[command(long_about = SHELL)]
    Shell(ShellArgs),
}

impl Command {
    /// The exit code of a command that could not do what it is for. That of `status` says that nothing is known to be
    /// served: 1 is for what is served with something missing. That of `scrub` that nothing was checked: 1 is for what is
    /// damaged for good; of `lost` the same.
    pub fn failed(&self) -> ExitCode {
        ExitCode::from(if matches!(self, Command::Status(_) | Command::Scrub(_) | Command::Lost(_)) { 2 } else { 1 })
    }
}

/// The directory of a local cluster.
#[derive(Debug, Args)]
pub struct DirArg {
    /// The cluster's directory
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DIR)]
    pub dir: PathBuf,
}

/// Arguments of `up`.
#[derive(Debug, Args)]
#[command(after_long_help = UP_EXAMPLES)]
pub struct UpArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub dir: DirArg,
    /// Where to mount [default: where it was last, else /mnt/raidfs]
    #[arg(long, value_name = "MNT")]
    pub mount: Option<PathBuf>,
    /// How many servers a new cluster has, an even number [default: 4]
    #[arg(long, value_name = "N")]
    pub servers: Option<u16>,
    /// First port of a new cluster: the witness's; fsd1 has the next [default: 7100, or the next free hundred]
    #[arg(long, value_name = "P")]
    pub base_port: Option<u16>,
}

const UP: &str = "\
Make a local cluster, or start it again, and mount it.

In a DIR that has no cluster yet this makes a whole cluster: its configuration, N servers in mirrored pairs, the witness, and \
a mount. In the DIR of a cluster it starts whatever does not run (after a reboot: all of it) and mounts the same store \
again. If all of it runs already, it says so and changes nothing.

It returns 0 once the mount is usable. If something does not start, it shows the end of the log that tells why.";

const UP_EXAMPLES: &str = "\
EXAMPLES
  raidfs up
  raidfs up --dir /srv/store --mount /home/shared
  raidfs up --dir /tmp/try --mount /tmp/try-mnt --servers 2 --base-port 9000";

/// Arguments of `down`.
#[derive(Debug, Args)]
pub struct DownArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub dir: DirArg,
    /// Unmount although programs use the mount; they keep what they have open for as long as mountd can serve it
    #[arg(long)]
    pub force: bool,
}

const DOWN: &str = "\
Unmount a local cluster and stop it; the data stays.

Everything written is brought to the servers first; what cannot be, as its servers are away, is lost, which is said, and the \
exit code is 1. If programs use the mount, nothing is stopped, and it says who they \
are; --force detaches it all the same. Processes that do not end in good order within a bound are killed, which it says. \
Nothing is left behind but the data, its configuration and the logs; `raidfs up` starts it again.";

/// Arguments of `start`, `stop` and `kill`.
#[derive(Debug, Args)]
pub struct OneArgs {
    /// Which one: fsd1, fsd2, ..., witness or mountd
    #[arg(value_name = "NAME")]
    pub name: String,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub dir: DirArg,
}

const ONE: &str = "\
Start, stop or kill one process of a local cluster.

`start NAME` starts it and waits until it answers; if it runs already, it says so. `start mountd` also clears away the \
dead mount that a crashed mountd left. `stop NAME` ends it in good order (SIGTERM) and waits for it; stopping mountd \
unmounts. `kill NAME` is a crash (SIGKILL): for seeing that nothing happens to the programs on the mount.";

/// Which cluster: one on this machine by its directory, or any by its configuration.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub struct TargetArgs {
    /// A local cluster's directory [default: ./raidfs-data]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Any cluster's configuration
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// The cluster that was named.
#[derive(Debug)]
pub enum Target {
    /// On this machine: its processes can be looked at, too.
    Local(Local),
    /// Somewhere.
    Config(Config),
}

impl TargetArgs {
    /// Finds it.
    pub fn open(&self) -> Result<Target, Failure> {
        match (&self.dir, &self.config) {
            (_, Some(file)) => Ok(Target::Config(Config::load(file)?)),
            (dir, None) => Ok(Target::Local(Local::open(dir.as_deref().unwrap_or(Path::new(DEFAULT_DIR)))?)),
        }
    }
}

impl Target {
    /// Its configuration.
    pub fn config(&self) -> &Config {
        match self {
            Target::Local(local) => &local.config,
            Target::Config(config) => config,
        }
    }
}

/// Arguments of `status`.
#[derive(Debug, Args)]
#[command(after_long_help = STATUS_EXAMPLES)]
pub struct StatusArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub target: TargetArgs,
    /// As JSON; docs/OPERATING.md lists the keys
    #[arg(long)]
    pub json: bool,
    /// Wait until it is healthy, at most so long, before answering
    #[arg(long, value_name = "SECONDS")]
    pub wait_healthy: Option<u64>,
}

const STATUS: &str = "\
Show how a cluster is: what is wrong first, then each server, each pair, the mount.

It asks every server at once and answers within a second however much is broken. A server's COPY is `in sync` (it \
serves), `stale` (it missed something and does not serve) or `syncing` (it is being brought up to date, with percent and \
time left). LOG is the last entry of the namespace's log that it has applied. QUERIES, CHANGES (of names, by the leader), \
READS, ORDERED (changes of file contents that it was primary for) and MIRRORED (those that its mirror sent it) count \
requests since its start: they show how evenly the work is spread.";

const STATUS_EXAMPLES: &str = "\
EXIT STATUS
  0  healthy: all servers are up, both copies of everything are in sync
  1  degraded: everything is served, but something is missing
  2  unavailable: something is not served, or there is no cluster to ask; also wrong usage

EXAMPLES
  raidfs status
  raidfs status --wait-healthy 60 && echo all is well
  raidfs status --json | jq -r '.servers[] | select(.up | not) | .name'";

/// Arguments of `verify`.
#[derive(Debug, Args)]
#[command(after_long_help = VERIFY_EXAMPLES)]
pub struct VerifyArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub target: TargetArgs,
}

const VERIFY: &str = "\
Check that both mirrors of everything are equal and whole. Reads only; the store may be in use meanwhile.

Names: every server's namespace keeps its invariants, and all are the same. Chunks: both mirrors of each pair have the \
same chunks with the same bytes, and every block on both matches its checksum. Files: every chunk belongs to a file \
that is alive, and lies on the pair where it should; and no chunk is missing on both mirrors of what a file counts among \
its blocks. A server that does not answer, and a copy that is not in sync, cannot be checked: that is reported, too.

What looks wrong while something changes is looked at again before it is said to be wrong. A chunk that nobody holds is in \
doubt only, and fails nothing, where it may be a hole: of a file that was cut once, that has holes, or that lies on a pair \
that has lost what was not synced.";

const VERIFY_EXAMPLES: &str = "\
EXIT STATUS
  0  nothing is wrong; what is in doubt has a line that begins with doubt
  1  something is; each thing has a line that begins with WRONG

EXAMPLES
  raidfs verify
  raidfs verify --config /etc/raidfs/raidfs.toml | grep WRONG";

/// Arguments of `scrub`.
#[derive(Debug, Args)]
#[command(after_long_help = SCRUB_EXAMPLES)]
pub struct ScrubArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub target: TargetArgs,
}

const SCRUB: &str = "\
Compare all chunks with their checksums, and mend what is damaged. The store may be in use meanwhile.

Every server reads all of its chunks at full speed. A block that does not match its checksum is taken from the server's \
mirror, if it is good there; nothing that is damaged is ever copied. Blocks that are damaged on both servers are lost: the \
files are named, the rest of them can still be read, and what is written anew is well again.

Each server does the same by itself once a week, slowly (`scrub_every` in the configuration): this is for not waiting. Only \
what is in sync on both servers of a pair can be mended, so only that is looked at. `verify` compares the servers with each \
other besides, and changes nothing. Ctrl-C ends this command, not the servers' work: started again, it joins in.";

const SCRUB_EXAMPLES: &str = "\
EXIT STATUS
  0  everything is whole now
  1  something could not be mended; each such place has a line that begins with LOST
  2  nothing is known to be lost, but some server could not be checked; also wrong usage

EXAMPLES
  raidfs scrub
  raidfs scrub --config /etc/raidfs/raidfs.toml | grep LOST";

/// Arguments of `lost`.
#[derive(Debug, Args)]
#[command(after_long_help = LOST_EXAMPLES)]
pub struct LostArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub target: TargetArgs,
    /// As JSON; docs/OPERATING.md lists the keys
    #[arg(long, conflicts_with = "accept")]
    pub json: bool,
    /// Accept that both servers of this pair are gone for good, with all that only they had: fsd3+fsd4, as `status` says
    #[arg(long, value_name = "PAIR")]
    pub accept: Option<String>,
    /// Do not ask
    #[arg(long, requires = "accept")]
    pub yes: bool,
}

const LOST: &str = "\
List the files that have lost bytes, because both servers of a pair are away or are gone for good; and accept such a loss.

While no copy in sync of a pair answers, files with bytes there cannot be read or written: this lists what would be lost if \
they never came back, with how many bytes of each. After a loss was accepted it lists what is still lost. Holes of such files \
cannot be told from bytes, and count. It needs no mount, and changes nothing.

--accept gives the pair up, if both of its servers are gone for good: their data directories are refused from then on, and the \
pair goes on once one of the two is started with an empty one (nothing has to be said to `raidfs replace`). It says exactly what it \
will do, and wants that confirmed. Files that lie wholly elsewhere are not touched. What is lost can never be read as zeros: it is an \
error (EIO), until the file is removed or written anew, by whole blocks of 4 KiB; what is cut off is forgotten. It is refused \
while either server of the pair answers, or was heard within the last 10 seconds, and it needs a leader.";

const LOST_EXAMPLES: &str = "\
EXIT STATUS
  0  nothing is lost; with --accept: it is accepted
  1  something is; each file has a line that begins with LOST
  2  that cannot be told, or the loss is not accepted; also wrong usage

EXAMPLES
  raidfs lost
  raidfs lost --json | jq -r '.files[].path'
  raidfs lost --accept fsd3+fsd4";

/// Arguments of `replace`.
#[derive(Debug, Args)]
#[command(after_long_help = REPLACE_EXAMPLES)]
pub struct ReplaceArgs {
    /// Whose: fsd1, fsd2, ... or witness
    #[arg(value_name = "NAME")]
    pub name: String,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub target: TargetArgs,
}

const REPLACE: &str = "\
Give up the data directory of a server, so that an empty one takes its place: its disk was replaced.

The cluster knows the data directory of each server and of the witness. A server that is started with another one, an empty \
one above all, is refused (it ends with exit code 3, and says so): it may be a mistake, such as a disk that is not mounted. \
This command says that it is none. The next other directory with which the server is started is taken, everything is copied \
to it from the server's mirror while the store is in use (`raidfs status` shows how far it is), and the directory that it had \
before is refused from then on, whatever it holds.

It is refused unless the server is down and its mirror has everything: the last copy of anything is never given up. It needs a \
leader. Said twice, it changes nothing.";

const REPLACE_EXAMPLES: &str = "\
EXAMPLES
  raidfs stop fsd2; mv raidfs-data/data/fsd2 /tmp/old
  raidfs replace fsd2
  raidfs start fsd2; raidfs status --wait-healthy 600
  raidfs replace witness --config /etc/raidfs/raidfs.toml";

/// Arguments of `export`.
#[derive(Debug, Args)]
#[command(after_long_help = EXPORT_EXAMPLES)]
pub struct ExportArgs {
    /// A server's data directory; no server may run in it
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// List the names and what is here of each (the default); with --to as well, before they are made again
    #[arg(long)]
    pub list: bool,
    /// Make the files again in this directory
    #[arg(long, value_name = "OUT")]
    pub to: Option<PathBuf>,
}

const EXPORT: &str = "\
Take the files out of one server's data directory, with nothing running. The directory is not changed.

Every server has all names; of the contents it has those of its pair. With two pairs, that is every other file, and every \
other chunk (4 MiB) of a large one. --list prints one line for each name: `whole`, `PARTLY`, `ELSEWHERE` or \
`DAMAGED` (a chunk is gone; standard error says which), its size, its path. --to makes everything again that is here, with \
modes, owners, times, links and extended attributes. A file that is here in part becomes NAME.missing-pairN; export a server \
of pair N to the same directory, and it is completed and gets its name. What an earlier export made there is replaced.";

const EXPORT_EXAMPLES: &str = "\
EXIT STATUS
  0  everything that this server should have is there
  1  something is damaged or could not be made again; it is named

EXAMPLES
  raidfs export --data raidfs-data/data/fsd1 --list
  raidfs export --data raidfs-data/data/fsd1 --to /tmp/rescued
  raidfs export --data raidfs-data/data/fsd3 --to /tmp/rescued      the other pair's files as well";

/// Arguments of `where`.
#[derive(Debug, Args)]
#[command(after_long_help = WHERE_EXAMPLES)]
pub struct WhereArgs {
    /// Files on a raidfs mount
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<PathBuf>,
}

const WHERE: &str = "\
Show which servers hold a file.

Each chunk of a file (4 MiB) is on both servers of one pair; the chunks of a large file are spread over all pairs. Names \
and attributes are on every server. The same text is the file's extended attribute user.raidfs.where.";

const WHERE_EXAMPLES: &str = "\
EXAMPLES
  raidfs where /mnt/raidfs/film.mkv
  getfattr --only-values -n user.raidfs.where /mnt/raidfs/film.mkv";

/// Arguments of `shell`.
#[derive(Debug, Args)]
#[command(after_long_help = SHELL_EXAMPLES)]
pub struct ShellArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub target: TargetArgs,
    /// End the mount or shell that holds the store, and take its place
    #[arg(long)]
    pub takeover: bool,
    /// Only read, even if nobody holds the store
    #[arg(long, conflicts_with = "takeover")]
    pub read_only: bool,
}

const SHELL: &str = "\
Work on the store without a mount, line by line.

Commands: mkdir, create, mv, read, write, status, rm, ls, where, help, quit. It says when a server is reached, lost, and \
back. `status` shows the servers and, at each one, the directories, files and bytes that it holds.

One mount or shell may change the store at a time. If a mount of this machine does, the shell changes things through it; \
if another does, the shell says who, and only reads. --takeover ends the other. What was changed is on stable storage when the next prompt appears.

On a terminal lines can be edited, and are remembered in ~/.raidfs_history. From a pipe or a file it runs each line and \
exits with 1 if one failed; on standard output is then only what the commands show, messages are on standard error.";

const SHELL_EXAMPLES: &str = "\
EXAMPLES
  raidfs shell
  raidfs shell --config /etc/raidfs/raidfs.toml --read-only
  printf 'mkdir /a\\nwrite /a/f hello\\nread /a/f\\nstatus\\n' | raidfs shell";

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_of_each_command_says_what_it_does() {
        for command in Cli::command().get_subcommands() {
            let long = command.get_long_about().map(ToString::to_string).unwrap_or_default();
            assert!(long.lines().count() > 2, "{}: {long}", command.get_name());
        }
    }
}
