//! A real mount over the cluster in memory: what only the kernel can tell. Needs root and /dev/fuse.

use super::options::Options;
use super::session::{Mounted, check};
use super::{Adapter, pages_flag};
use crate::vfs::memory_cluster::MemoryCluster;
use crate::vfs::{self, Pages, Vfs};
use fuser::FopenFlags;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::runtime::Runtime;

/// A mount in a directory of its own, unmounted at the end.
struct Mount {
    runtime: Runtime,
    cluster: Arc<MemoryCluster>,
    vfs: Vfs<MemoryCluster>,
    mounted: Option<Mounted>,
    dir: tempfile::TempDir,
}

impl Mount {
    fn new() -> Mount {
        Mount::with("")
    }

    /// With these mount options.
    fn with(list: &str) -> Mount {
        let mut options = Options::default();
        options.add(list).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let cluster = MemoryCluster::new();
        let (vfs, mounted) = runtime.block_on(async {
            let vfs = Vfs::new(cluster.clone(), vfs::Options::default());
            let adapter = Adapter::new(vfs.clone(), tokio::runtime::Handle::current());
            let path = check(dir.path(), &options).unwrap();
            (vfs, Mounted::start(adapter, &path, "test", &options).unwrap())
        });
        Mount { runtime, cluster, vfs, mounted: Some(mounted), dir }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Runs a shell script in the mount; every line must succeed.
    fn sh(&self, script: &str) -> String {
        let output = Command::new("sh").arg("-ec").arg(script).current_dir(self.path()).output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{script}\n{out}\n{err}");
        out.trim().to_owned()
    }
}

/// Barriers of names, and syncs of chunks, that a script asks for.
fn syncs_of(mount: &Mount, script: &str) -> (u64, u64) {
    let counts = || {
        let counts = &mount.cluster.counts;
        (counts.barriers.load(Ordering::Relaxed), counts.syncs.load(Ordering::Relaxed))
    };
    let before = counts();
    mount.sh(script);
    let after = counts();
    (after.0 - before.0, after.1 - before.1)
}

impl Drop for Mount {
    fn drop(&mut self) {
        let mounted = self.mounted.take().expect("taken only here");
        let unmounted = mounted.unmount();
        if !std::thread::panicking() {
            assert_eq!(unmounted.unwrap(), super::session::Unmounted::Clean);
            assert_eq!(self.runtime.block_on(mounted.ended()), None);
            self.runtime.block_on(self.vfs.close()).unwrap();
        }
    }
}

#[test]
fn a_shell_user_finds_a_file_system() {
    let mount = Mount::new();
    assert_eq!(mount.sh("mkdir -p a/b/c; echo hello > a/b/c/f; cat a/b/c/f"), "hello");
    assert_eq!(mount.sh("ln -s f a/b/c/l; readlink a/b/c/l; cat a/b/c/l"), "f\nhello");
    assert_eq!(
        mount.sh("ln a/b/c/f a/hard; stat -c %h a/hard; rm a/b/c/f; stat -c %h a/hard; cat a/hard"),
        "2\n1\nhello"
    );
    assert_eq!(mount.sh("mv a/hard z; ls -A"), "a\nz");
    assert_eq!(
        mount.sh("chmod 640 z; chown 12:34 z; touch -d @1000000000 z; stat -c '%a %u %g %Y' z"),
        "640 12 34 1000000000"
    );
    assert_eq!(mount.sh("truncate -s 10M z; stat -c %s z; truncate -s 3 z; cat z"), "10485760\nhel");
    assert_eq!(mount.sh("mkfifo p; stat -c %F p; mkdir -m 2775 g; chgrp 99 g; mkdir g/d; touch g/f; stat -c '%a %g' g/d; stat -c %g g/f"), "fifo\n2755 99\n99");
    assert_eq!(
        mount.sh("for i in $(seq 300); do echo $i > g/$i; done; ls g | wc -l; cat g/* | wc -l; rm -r g a; ls"),
        "302\n300\np\nz"
    );
    assert_eq!(mount.sh("rmdir nope 2>&1 || echo $?"), "rmdir: failed to remove 'nope': No such file or directory\n1");
    mount.sh("df . > /dev/null; ls -la > /dev/null; du -s . > /dev/null; find . > /dev/null");
}

#[test]
fn changes_of_names_are_durable_when_they_return_if_the_options_say_so() {
    let (names, write) = ("mkdir d; mv d e; rmdir e", "echo text > f");
    let dirsync = Mount::with("dirsync");
    assert_eq!(syncs_of(&dirsync, names).0, 3);
    assert_eq!(syncs_of(&dirsync, write).1, 0, "it says nothing of bytes");
    let mount = Mount::new();
    assert_eq!(syncs_of(&mount, names), (0, 0));
    let remount = |list: &str| super::session::remount(mount.path(), &[list.to_owned()]).unwrap();
    remount("sync");
    // Whoever follows the mount's options has to hear of it.
    let heard = |barriers| (0..10_000).any(|_| (syncs_of(&mount, "mkdir x; rmdir x").0 == 2) == barriers);
    assert!(heard(true));
    assert_eq!(syncs_of(&mount, names).0, 3);
    assert!(syncs_of(&mount, write).1 > 0, "and the kernel asks for the bytes");
    remount("async");
    assert!(heard(false));
}

#[test]
fn the_kernel_lets_in_whom_a_list_names() {
    let mount = Mount::new();
    // Without the package the cases on a real cluster say aloud that they are skipped.
    if !Path::new("/usr/bin/setfacl").exists() {
        return;
    }
    let as_other = "setpriv --reuid 2000 --regid 2000 --clear-groups";
    mount.sh("umask 022; chmod 755 .; echo secret > f; chmod 640 f; mkdir d; setfacl -d -m u:2000:rwx d; umask 077; echo new > d/f");
    assert_eq!(mount.sh(&format!("{as_other} cat f 2> /dev/null || echo no")), "no");
    mount.sh("setfacl -m u:2000:r f");
    assert_eq!(mount.sh(&format!("{as_other} cat f d/f; stat -c %a f d/f")), "secret\nnew\n640\n664");
    mount.sh("chmod g= f");
    assert_eq!(mount.sh(&format!("{as_other} cat f 2> /dev/null || getfacl -c f | grep mask")), "mask::---");
}

#[test]
fn bytes_come_back_as_they_were_written() {
    let mount = Mount::new();
    mount.sh("dd if=/dev/urandom of=/dev/shm/raidfs-$$ bs=1M count=37 2> /dev/null; cp /dev/shm/raidfs-$$ f; cmp f /dev/shm/raidfs-$$; sync -f f; sync f; cmp f /dev/shm/raidfs-$$; rm /dev/shm/raidfs-$$");
    mount.sh("dd if=/dev/urandom of=h bs=4k seek=5000 count=3 2> /dev/null; cp --sparse=always h i; cmp h i; test $(stat -c %b i) -le 24");
    mount.sh("exec 3<> u; rm u; echo unlinked >&3; cat /proc/self/fd/3 | grep -q unlinked");
    mount.sh("fallocate -l 1M a; fallocate -p -o 4096 -l 8192 a; test $(stat -c %b a) = 2032; stat -c %s a | grep -q 1048576");
}

#[test]
fn what_is_synced_after_each_write_is_what_was_written_last() {
    let mount = Mount::new();
    let rounds = r#"for $i (0..1999) { sysseek(F, $i % 7 * 4096, 0); syswrite(F, sprintf("%04d", $i % 1000) x 1024); F->sync || die }"#;
    mount.sh(&format!("touch f; perl -MIO::Handle -e 'open(F, \"+<\", \"f\") || die; {rounds}'"));
    assert_eq!(mount.sh("head -c 4 f; tail -c +4097 f | head -c 4"), "09950996");
}

#[test]
fn what_could_not_be_mapped_later_is_not_read_past_the_kernels_pages() {
    let direct = |maps_direct| pages_flag(Pages::Bypass, maps_direct).contains(FopenFlags::FOPEN_DIRECT_IO);
    assert!(direct(true) && !direct(false));
    for maps_direct in [true, false] {
        assert_eq!(pages_flag(Pages::Keep, maps_direct), FopenFlags::FOPEN_KEEP_CACHE);
        assert_eq!(pages_flag(Pages::Drop, maps_direct), FopenFlags::empty());
    }
}
