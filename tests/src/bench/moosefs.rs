//! MooseFS: a master and four chunkservers on the benchmark's disk, two copies of everything on two servers of its own
//! choice, with its defaults.
//!
//! All of it runs in the foreground, in process groups of its own, so that it is found and ended whatever its processes
//! call themselves; and in a network of its own, as its servers refuse to speak through 127.0.0.1: so it has its usual
//! ports, and one that the machine runs anyway is not touched. Nothing of it reads `/etc/mfs`.

use super::disk::Disk;
use super::machine::{PATIENCE, end, processes_of_groups, run_command, unmount, wait_until_usable, with_own_network};
use super::system::System;
use super::{Failed, tried};
use crate::wait;
use std::fs::{self, File};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Its column in the table.
pub const NAME: &str = "MooseFS";

/// Room for what one round leaves in its trash, in bytes: by default it keeps for a day what is removed.
pub const TRASH: u64 = 2 << 30;

/// An address for measurements (RFC 2544), in its own network.
const HOST: &str = "198.18.0.1";
/// Where the master hears chunkservers; clients at the next one.
const MASTER_PORT: u16 = 9420;
const SERVERS: u16 = 4;
/// A master's metadata before its first start.
const NEW: &str = "MFSM NEW";

/// A master with its servers, mounted.
pub struct MooseFs {
    home: PathBuf,
    root: PathBuf,
    /// The leaders of its process groups.
    programs: Vec<Child>,
}

impl MooseFs {
    /// Starts it.
    pub fn start(disk: &Disk) -> Result<MooseFs, Failed> {
        let (home, root) = (disk.root().join("moosefs"), disk.mount_point("moosefs")?);
        with_own_network(&format!("{HOST}/32"), move || {
            let mut system = MooseFs { home, root, programs: Vec::new() };
            system.start_master()?;
            for server in 1..=SERVERS {
                system.start_server(server)?;
            }
            // The master gives each server a number when it takes it up.
            let numbers: Vec<PathBuf> = (1..=SERVERS).map(|n| system.server(n).join("chunkserverid.mfs")).collect();
            system.wait_for("chunkservers", || numbers.iter().all(|n| n.exists()))?;
            system.mount()?;
            Ok(system)
        })
    }

    fn start_master(&mut self) -> Result<(), Failed> {
        let (data, exports) = (self.home.join("master"), self.home.join("exports"));
        tried(data.display(), fs::create_dir_all(&data))?;
        tried(data.display(), fs::write(data.join("metadata.mfs"), NEW))?;
        tried(exports.display(), fs::write(&exports, "* / rw,alldirs,maproot=0\n"))?;
        let topology = self.home.join("topology");
        tried(topology.display(), File::create(&topology))?;
        let paths = format!("EXPORTS_FILENAME = {}\nTOPOLOGY_FILENAME = {}\n", exports.display(), topology.display());
        self.start_daemon("mfsmaster", "master", &data, &paths)?;
        self.wait_for("the master", || TcpStream::connect((HOST, MASTER_PORT)).is_ok())
    }

    fn start_server(&mut self, server: u16) -> Result<(), Failed> {
        let data = self.server(server);
        let (chunks, disks) = (data.join("chunks"), data.join("disks"));
        tried(chunks.display(), fs::create_dir_all(&chunks))?;
        tried(disks.display(), fs::write(&disks, format!("{}\n", chunks.display())))?;
        let own = format!(
            "HDD_CONF_FILENAME = {}\nMASTER_HOST = {HOST}\nCSSERV_LISTEN_PORT = {}\n",
            disks.display(),
            MASTER_PORT + 1 + server
        );
        self.start_daemon("mfschunkserver", &format!("server{server}"), &data, &own)
    }

    fn server(&self, server: u16) -> PathBuf {
        self.home.join(format!("server{server}"))
    }

    /// What is not among the options has its default, but for the user: the usual one may not go to where the disk is.
    fn start_daemon(&mut self, program: &str, name: &str, data: &Path, options: &str) -> Result<(), Failed> {
        let file = self.home.join(format!("{name}.cfg"));
        let text = format!("DATA_PATH = {}\nWORKING_USER = root\nWORKING_GROUP = root\n{options}", data.display());
        tried(file.display(), fs::write(&file, text))?;
        self.start_program(Command::new(program).arg("-f").arg("-c").arg(&file).arg("start"), name)
    }

    fn mount(&mut self) -> Result<(), Failed> {
        let options = self.home.join("mount.cfg");
        tried(options.display(), File::create(&options))?;
        let mut client = Command::new("mfsmount");
        client.arg("-f").arg("-c").arg(&options).args(["-H", HOST]).arg(&self.root);
        self.start_program(&mut client, "mount")?;
        let root = self.root.clone();
        self.wait_for("the mount", || super::machine::is_mounted(&root))?;
        wait_until_usable(&root)?;
        run_command(Command::new("mfssetgoal").arg("2").arg(&root))?;
        // Servers that the master knows already may not have told it yet what room they have.
        self.wait_for("two copies of what is written", || keeps_two_copies(&root.join("copies")))
    }

    fn start_program(&mut self, command: &mut Command, name: &str) -> Result<(), Failed> {
        let log = tried(name, File::create(self.log(name)))?;
        let errors = tried(name, log.try_clone())?;
        let program = command.get_program().to_string_lossy().into_owned();
        command.stdin(Stdio::null()).stdout(log).stderr(errors).process_group(0);
        self.programs.push(tried(program, command.spawn())?);
        Ok(())
    }

    fn log(&self, name: &str) -> PathBuf {
        self.home.join(format!("{name}.log"))
    }

    /// Waits for something that one of its programs does; says what they have said if one ends instead.
    fn wait_for(&mut self, what: &str, is_there: impl Fn() -> bool) -> Result<(), Failed> {
        let programs = &mut self.programs;
        let mut has_ended = || programs.iter_mut().any(|p| !matches!(p.try_wait(), Ok(None)));
        if wait::until(PATIENCE, || is_there() || has_ended()) && is_there() {
            return Ok(());
        }
        let names = ["master", "server1", "server2", "server3", "server4", "mount"];
        let said = names.map(|n| fs::read_to_string(self.log(n)).unwrap_or_default());
        Err(format!("{NAME}: {what}: not up: {}", said.concat()))
    }
}

/// Whether a file that is made there now lies on two servers.
fn keeps_two_copies(probe: &Path) -> bool {
    let said = fs::write(probe, "x").is_ok().then(|| run_command(Command::new("mfscheckfile").arg(probe)));
    let _ = fs::remove_file(probe);
    matches!(said, Some(Ok(said)) if said.contains("2 copies"))
}

impl System for MooseFs {
    fn name(&self) -> &'static str {
        NAME
    }

    fn description(&self) -> String {
        let said = run_command(Command::new("mfsmaster").arg("-v")).unwrap_or_default();
        let version = said.split_whitespace().nth(1).unwrap_or("of an unknown version");
        format!("MooseFS {version}: a master and four chunkservers, two copies (goal 2), default options")
    }

    fn root(&self) -> &Path {
        &self.root
    }

    fn processes(&self) -> Vec<i32> {
        let groups: Vec<i32> = self.programs.iter().map(|p| p.id() as i32).collect();
        processes_of_groups(&groups)
    }
}

impl Drop for MooseFs {
    fn drop(&mut self) {
        unmount(&self.root);
        end(|| self.processes());
        for program in &mut self.programs {
            let _ = program.try_wait();
        }
    }
}
