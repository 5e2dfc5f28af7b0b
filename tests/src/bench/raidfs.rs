//! The raidfs mount: four servers and the witness on this machine, brought up and down by `raidfs`.

use super::disk::Disk;
use super::machine::{processes, run_command, signal};
use super::system::System;
use super::{Failed, tried};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A cluster that is up and mounted.
pub struct Raidfs {
    program: PathBuf,
    dir: PathBuf,
    root: PathBuf,
}

impl Raidfs {
    /// Starts it, its data on the disk.
    pub fn start(disk: &Disk, programs: &Path, base_port: u16) -> Result<Raidfs, Failed> {
        let programs = tried(programs.display(), programs.canonicalize())?;
        let system = Raidfs {
            program: programs.join("raidfs"),
            dir: disk.root().join("raidfs"),
            root: disk.mount_point("raidfs")?,
        };
        let mut up = system.command("up");
        up.arg("--mount").arg(&system.root).arg("--base-port").arg(base_port.to_string());
        run_command(&mut up)?;
        Ok(system)
    }

    fn command(&self, word: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(word).arg("--dir").arg(&self.dir);
        command
    }
}

impl System for Raidfs {
    fn name(&self) -> &'static str {
        "raidfs"
    }

    fn description(&self) -> String {
        let said = run_command(Command::new(&self.program).arg("--version")).unwrap_or_default();
        format!("{}: four servers in two mirrored pairs and the witness, relaxed durability (the default)", said.trim())
    }

    fn root(&self) -> &Path {
        &self.root
    }

    fn processes(&self) -> Vec<i32> {
        processes(&["fsd", "mountd"], &self.dir)
    }
}

impl Drop for Raidfs {
    fn drop(&mut self) {
        if let Err(e) = run_command(self.command("down").arg("--force")) {
            eprintln!("bench: {e}");
        }
        for pid in self.processes() {
            signal(pid, libc::SIGKILL);
        }
    }
}
