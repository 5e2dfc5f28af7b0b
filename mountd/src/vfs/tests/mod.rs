//! The vfs over the cluster in memory: against models, and in the face of errors.

mod access_lists;
mod care;
mod copies;
mod data;
mod errors;
mod losses;
mod names;
mod open_files;
mod stops;

use super::memory_cluster::MemoryCluster;
use super::{Caller, NewNode, OpenMode, Options, Vfs};
use raidfs_common::attr::Attr;
use raidfs_common::id::Ino;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

const ROOT: Ino = Ino::ROOT;
const USER: Caller = Caller { uid: 1000, gid: 1000, pid: 0, umask: 0 };
const PLAIN: OpenMode = OpenMode { sync: false, reads: true, writes: true, quiet: false };

/// Runs a test on a runtime of its own; a test that waits for ever fails.
fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(30), test).await.expect("the test waits for something for ever")
    })
}

fn vfs(cluster: &Arc<MemoryCluster>) -> Vfs<MemoryCluster> {
    Vfs::new(cluster.clone(), Options::default())
}

async fn new_file(vfs: &Vfs<MemoryCluster>, name: &str) -> (Attr, u64) {
    vfs.create(USER, ROOT, name.as_bytes(), 0o644, true, PLAIN).await.unwrap()
}

async fn new_dir(vfs: &Vfs<MemoryCluster>, name: &str) -> Ino {
    vfs.make(USER, ROOT, name.as_bytes(), NewNode::dir(0o755)).await.unwrap().ino
}

async fn names_in(vfs: &Vfs<MemoryCluster>, dir: Ino) -> Vec<String> {
    let handle = vfs.opendir(dir, PLAIN).await.unwrap();
    let mut names = Vec::new();
    let mut each = |entry: super::DirEntry| {
        names.push(String::from_utf8(entry.name).unwrap());
        false
    };
    vfs.readdir(handle, 0, false, &mut each).await.unwrap();
    vfs.release(handle).unwrap();
    names.retain(|name| name != "." && name != "..");
    names
}

/// Waits for a condition, giving the background a chance each time.
async fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// What happened was foreseen.
fn no_surprises(vfs: &Vfs<MemoryCluster>) {
    assert_eq!(vfs.0.names.lock().tree.surprises(), 0, "a change ended otherwise than expected");
}
