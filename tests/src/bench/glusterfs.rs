//! GlusterFS: a volume of two mirrored pairs, four bricks on the benchmark's disk, with its defaults.
//!
//! Its management daemon gets a directory, socket, port and log of its own, so that one which the machine runs anyway
//! is not touched; everything it starts is found by those, and ended by process number.

use super::disk::Disk;
use super::machine::{PATIENCE, end, processes, run_command, unmount, wait_until_usable};
use super::system::System;
use super::{Failed, tried};
use crate::wait;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Its column in the table.
pub const NAME: &str = "GlusterFS";

const VOLUME: &str = "bench";
/// A loopback address that GlusterFS takes for a brick; it refuses 127.0.0.1 itself.
const HOST: &str = "127.0.0.2";

/// A volume that is started and mounted.
pub struct GlusterFs {
    home: PathBuf,
    root: PathBuf,
}

impl GlusterFs {
    /// Starts it.
    pub fn start(disk: &Disk) -> Result<GlusterFs, Failed> {
        let system = GlusterFs { home: disk.root().join("glusterfs"), root: disk.mount_point("glusterfs")? };
        let home = &system.home;
        for folder in ["state", "log", "run", "bricks"] {
            tried(home.display(), fs::create_dir_all(home.join(folder)))?;
        }
        let volfile = home.join("glusterd.vol");
        let text = format!(
            "volume management\n type mgmt/glusterd\n option working-directory {0}/state\n option run-directory {0}/run\n \
             option glusterd-sockfile {0}/run/glusterd.socket\n option transport-type socket\n \
             option transport.socket.listen-port 24007\n option ping-timeout 0\n option event-threads 1\nend-volume\n",
            home.display()
        );
        tried(volfile.display(), fs::write(&volfile, text))?;
        let mut daemon = Command::new("glusterd");
        daemon.arg("-f").arg(&volfile).arg("-p").arg(home.join("run/glusterd.pid"));
        run_command(daemon.arg("-l").arg(home.join("log/glusterd.log")))?;
        if !wait::until(PATIENCE, || system.gluster(&["pool", "list"]).is_ok()) {
            return Err("glusterd does not answer".to_owned());
        }
        let bricks: Vec<String> = (1..=4).map(|n| format!("{HOST}:{}/bricks/{n}", home.display())).collect();
        let mut create = vec!["volume", "create", VOLUME, "replica", "2"];
        create.extend(bricks.iter().map(String::as_str));
        create.push("force");
        system.gluster(&create)?;
        system.gluster(&["volume", "start", VOLUME])?;
        let mut client = Command::new("glusterfs");
        client.arg(format!("--volfile-server={HOST}")).arg(format!("--volfile-id={VOLUME}"));
        run_command(client.arg("-l").arg(home.join("log/client.log")).arg(&system.root))?;
        wait_until_usable(&system.root)?;
        Ok(system)
    }

    fn gluster(&self, words: &[&str]) -> Result<String, Failed> {
        let mut command = Command::new("gluster");
        command.arg("--mode=script").arg(format!("--glusterd-sock={}/run/glusterd.socket", self.home.display()));
        command.arg(format!("--log-file={}/log/cli.log", self.home.display()));
        run_command(command.args(words))
    }
}

impl System for GlusterFs {
    fn name(&self) -> &'static str {
        NAME
    }

    fn description(&self) -> String {
        let said = run_command(Command::new("gluster").arg("--version")).unwrap_or_default();
        format!("{}: two pairs of replicated bricks, default options", said.lines().next().unwrap_or("glusterfs"))
    }

    fn root(&self) -> &Path {
        &self.root
    }

    fn processes(&self) -> Vec<i32> {
        let programs = ["glusterd", "glusterfsd", "glusterfs"];
        let mut all = processes(&programs, &self.home);
        all.extend(processes(&programs, &self.root));
        all.sort_unstable();
        all.dedup();
        all
    }
}

impl Drop for GlusterFs {
    fn drop(&mut self) {
        unmount(&self.root);
        let _ = self.gluster(&["volume", "stop", VOLUME, "force"]);
        end(|| self.processes());
    }
}
