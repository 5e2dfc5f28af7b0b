//! Names against the cluster's own rules: every change that is answered before it is made ends as it was answered.

use super::*;
use crate::vfs::{DirEntry, Set};
use bytes::Bytes;
use proptest::prelude::*;
use raidfs_common::attr::FileKind;
use raidfs_common::error::FsError;
use raidfs_common::namespace::{RenameMode, XattrMode};
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
enum Step {
    Make(usize, usize, bool),
    Link(usize, usize, usize),
    Unlink(usize, usize),
    Rmdir(usize, usize),
    Rename(usize, usize, usize, usize, u8),
    Chmod(usize, usize, u16),
    Xattr(usize, usize, bool),
    /// An access list or a default list, with the permissions of five entries or of three.
    Acl(usize, usize, bool, Vec<u16>),
    RemoveAcl(usize, usize, bool),
    List(usize),
    Pause,
}

fn step() -> impl Strategy<Value = Step> {
    let (dir, name) = (0usize..4, 0usize..4);
    prop_oneof![
        5 => (dir.clone(), name.clone(), any::<bool>()).prop_map(|(d, n, k)| Step::Make(d, n, k)),
        2 => (dir.clone(), name.clone(), 0usize..8).prop_map(|(d, n, i)| Step::Link(d, n, i)),
        3 => (dir.clone(), name.clone()).prop_map(|(d, n)| Step::Unlink(d, n)),
        2 => (dir.clone(), name.clone()).prop_map(|(d, n)| Step::Rmdir(d, n)),
        4 => (dir.clone(), name.clone(), dir.clone(), name.clone(), 0u8..3)
            .prop_map(|(d, n, e, m, k)| Step::Rename(d, n, e, m, k)),
        1 => (dir.clone(), name.clone(), 0u16..0o7777).prop_map(|(d, n, p)| Step::Chmod(d, n, p)),
        1 => (dir.clone(), name.clone(), any::<bool>()).prop_map(|(d, n, s)| Step::Xattr(d, n, s)),
        3 => (dir.clone(), name.clone(), any::<bool>(), prop_oneof![
                2 => proptest::collection::vec(0u16..8, 5),
                1 => proptest::collection::vec(0u16..9, 3),
            ])
            .prop_map(|(d, n, k, p)| Step::Acl(d, n, k, p)),
        1 => (dir.clone(), name.clone(), any::<bool>()).prop_map(|(d, n, k)| Step::RemoveAcl(d, n, k)),
        1 => dir.prop_map(Step::List),
        2 => Just(Step::Pause),
    ]
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// A file system and what the steps have met in it, by order of making: the same on both sides.
struct Side {
    vfs: Vfs<MemoryCluster>,
    dirs: Vec<Ino>,
    made: Vec<Ino>,
    /// Waits for each outcome.
    patient: bool,
}

impl Side {
    async fn new(patient: bool) -> Side {
        Side { vfs: vfs(&MemoryCluster::new()), dirs: vec![ROOT], made: vec![ROOT], patient }
    }

    fn dir(&self, at: usize) -> Ino {
        self.dirs[at % self.dirs.len()]
    }

    async fn step(&mut self, step: &Step) -> Result<(), FsError> {
        let name = |n: &usize| NAMES[*n].as_bytes();
        let vfs = self.vfs.clone();
        let result = match step {
            Step::Make(dir, n, is_dir) => {
                let new = if *is_dir { NewNode::dir(0o755) } else { NewNode::file(0o644) };
                let made = vfs.make(USER, self.dir(*dir), name(n), new).await;
                if let Ok(attr) = &made {
                    self.made.push(attr.ino);
                    if *is_dir {
                        self.dirs.push(attr.ino);
                    }
                }
                made.map(drop)
            }
            Step::Link(dir, n, i) => {
                let ino = self.made[i % self.made.len()];
                vfs.link(ino, self.dir(*dir), name(n)).await.map(drop)
            }
            Step::Unlink(dir, n) => vfs.unlink(self.dir(*dir), name(n)).await,
            Step::Rmdir(dir, n) => vfs.rmdir(self.dir(*dir), name(n)).await,
            Step::Rename(dir, n, to, m, kind) => {
                let mode = [RenameMode::Replace, RenameMode::NoReplace, RenameMode::Exchange][usize::from(*kind)];
                vfs.rename(self.dir(*dir), name(n), self.dir(*to), name(m), mode).await
            }
            Step::Chmod(dir, n, perm) => match vfs.lookup(self.dir(*dir), name(n)).await {
                Ok(attr) => {
                    let set = Set { perm: Some(*perm), ..Set::default() };
                    vfs.setattr(USER, attr.ino, set).await.map(drop)
                }
                Err(error) => Err(error),
            },
            Step::Xattr(dir, n, set) => match vfs.lookup(self.dir(*dir), name(n)).await {
                Ok(attr) if *set => vfs.setxattr(USER, attr.ino, b"user.x", b"1", XattrMode::Create).await,
                Ok(attr) => vfs.removexattr(attr.ino, b"user.x").await,
                Err(error) => Err(error),
            },
            Step::Acl(dir, n, default, perms) => match vfs.lookup(self.dir(*dir), name(n)).await {
                Ok(attr) => {
                    let (list, value) = (access_lists::list(*default), access_lists::acl(perms));
                    vfs.setxattr(USER, attr.ino, list, &value, XattrMode::Any).await
                }
                Err(error) => Err(error),
            },
            Step::RemoveAcl(dir, n, default) => match vfs.lookup(self.dir(*dir), name(n)).await {
                Ok(attr) => vfs.removexattr(attr.ino, access_lists::list(*default)).await,
                Err(error) => Err(error),
            },
            Step::List(dir) => {
                if let Ok(handle) = vfs.opendir(self.dir(*dir), PLAIN).await {
                    let result = vfs.readdir(handle, 0, true, |_| false).await;
                    vfs.release(handle)?;
                    result?;
                }
                Ok(())
            }
            Step::Pause => {
                for _ in 0..5 {
                    tokio::task::yield_now().await;
                }
                Ok(())
            }
        };
        if self.patient {
            vfs.sync_all().await.unwrap();
            // Forgets everything, so that each step asks the cluster.
            self.vfs = super::vfs(&vfs.0.cluster);
            vfs.close().await.unwrap();
        }
        result
    }

    /// Everything that can be reached, by path.
    async fn walk(&self) -> BTreeMap<String, (FileKind, u32, u16, u64, Vec<(Bytes, Bytes)>)> {
        let mut found = BTreeMap::new();
        let mut todo = vec![(String::new(), ROOT)];
        while let Some((path, dir)) = todo.pop() {
            for name in names_in(&self.vfs, dir).await {
                let attr = self.vfs.lookup(dir, name.as_bytes()).await.unwrap();
                let path = format!("{path}/{name}");
                let xattrs = self.vfs.0.xattrs(attr.ino).await.unwrap().to_vec();
                found.insert(path.clone(), (attr.kind, attr.nlink, attr.perm, attr.size, xattrs));
                if attr.kind == FileKind::Dir {
                    todo.push((path, attr.ino));
                }
            }
        }
        found
    }
}

async fn check(steps: Vec<Step>) {
    let (mut eager, mut patient) = (Side::new(false).await, Side::new(true).await);
    for (i, step) in steps.iter().enumerate() {
        let (a, b) = (eager.step(step).await, patient.step(step).await);
        // Of an inode that is gone, either may be said.
        let same = |e| if e == FsError::Stale { FsError::NotFound } else { e };
        assert_eq!(a.map_err(same), b.map_err(same), "step {i}: {step:?}");
    }
    let shown = eager.walk().await;
    assert_eq!(shown, patient.walk().await);
    eager.vfs.sync_all().await.unwrap();
    no_surprises(&eager.vfs);
    let fresh = Side { vfs: vfs(&eager.vfs.0.cluster), dirs: Vec::new(), made: Vec::new(), patient: false };
    assert_eq!(shown, fresh.walk().await);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn changes_end_as_they_were_answered(steps in proptest::collection::vec(step(), 1..40)) {
        run(check(steps));
    }
}

#[test]
fn many_changes_share_a_request() {
    run(async {
        let cluster = MemoryCluster::new();
        let vfs = vfs(&cluster);
        let dir = new_dir(&vfs, "d").await;
        for i in 0..1000 {
            vfs.make(USER, dir, format!("{i}").as_bytes(), NewNode::file(0o644)).await.unwrap();
        }
        vfs.sync_all().await.unwrap();
        let requests = cluster.counts.changes.load(std::sync::atomic::Ordering::Relaxed);
        assert!(requests < 50, "{requests} requests");
        assert_eq!(names_in(&vfs, dir).await.len(), 1000);
        no_surprises(&vfs);
    });
}

/// Reads a directory a hundred entries at a time, and does something after each time; returns what was seen.
async fn read_slowly(vfs: &Vfs<MemoryCluster>, handle: u64, mut then: impl AsyncFnMut(&[String])) -> Vec<String> {
    let (mut seen, mut offset) = (Vec::new(), 0);
    loop {
        let (before, from) = (seen.len(), offset);
        let mut room = 100;
        let each = |entry: DirEntry| {
            if room == 0 {
                return true;
            }
            room -= 1;
            offset = entry.next;
            seen.push(String::from_utf8(entry.name).unwrap());
            false
        };
        vfs.readdir(handle, from, true, each).await.unwrap();
        if seen.len() == before {
            seen.retain(|name| name != "." && name != "..");
            return seen;
        }
        then(&seen[before..]).await;
    }
}

#[test]
fn a_reader_does_not_follow_what_it_renames_itself() {
    run(async {
        let vfs = vfs(&MemoryCluster::new());
        let dir = new_dir(&vfs, "d").await;
        for i in 0..2500 {
            vfs.make(USER, dir, format!("{i}").as_bytes(), NewNode::file(0o644)).await.unwrap();
        }
        let handle = vfs.opendir(dir, PLAIN).await.unwrap();
        let mut renames = 0;
        let there_and_back = async |names: &[String]| {
            for name in names.iter().filter(|name| !name.starts_with('.') && name.ends_with('7')) {
                renames += 1;
                assert!(renames < 1000, "it reads for ever");
                let name = name.as_bytes();
                vfs.rename(dir, name, dir, b"T", RenameMode::Replace).await.unwrap();
                vfs.rename(dir, b"T", dir, name, RenameMode::Replace).await.unwrap();
            }
        };
        let mut seen = read_slowly(&vfs, handle, there_and_back).await;
        assert_eq!(seen.len(), 2500);
        seen.sort();
        seen.dedup();
        assert_eq!((seen.len(), renames), (2500, 250), "each once");
        // From the start again, it has what has come since.
        vfs.make(USER, dir, b"late", NewNode::file(0o644)).await.unwrap();
        let again = read_slowly(&vfs, handle, async |_| ()).await;
        assert_eq!((again.len(), again.last().map(String::as_str)), (2501, Some("late")));
        // So it has where a reader goes to by itself.
        vfs.make(USER, dir, b"later", NewNode::file(0o644)).await.unwrap();
        let mut tail = Vec::new();
        let each = |entry: DirEntry| {
            tail.push(entry.name);
            false
        };
        vfs.readdir(handle, 2400, false, each).await.unwrap();
        assert_eq!(tail.last().map(Vec::as_slice), Some(&b"later"[..]));
        vfs.release(handle).unwrap();
    });
}

#[test]
fn a_directory_is_read_whole_while_it_changes() {
    run(async {
        let vfs = vfs(&MemoryCluster::new());
        let dir = new_dir(&vfs, "d").await;
        for i in 0..3000 {
            vfs.make(USER, dir, format!("{i}").as_bytes(), NewNode::file(0o644)).await.unwrap();
        }
        let handle = vfs.opendir(dir, PLAIN).await.unwrap();
        let (mut seen, mut offset) = (Vec::new(), 0);
        loop {
            let before = seen.len();
            vfs.readdir(handle, offset, true, |entry| {
                offset = entry.next;
                seen.push(String::from_utf8(entry.name).unwrap());
                seen.len() >= before + 100
            })
            .await
            .unwrap();
            if seen.len() == before {
                break;
            }
            // Take away one that was seen and one that was not, and make a new one.
            vfs.unlink(dir, seen[before.max(2)].as_bytes()).await.unwrap();
            let unseen = format!("{}", 2999 - before / 100);
            let _ = vfs.unlink(dir, unseen.as_bytes()).await;
            vfs.make(USER, dir, format!("new{before}").as_bytes(), NewNode::file(0o644)).await.unwrap();
        }
        let count = seen.len();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), count, "an entry was seen twice");
        for i in 0..2900 {
            let name = format!("{i}");
            assert!(seen.binary_search(&name).is_ok(), "{name} was missed");
        }
    });
}

#[test]
fn what_was_forgotten_is_asked_for_again() {
    run(async {
        let limits = crate::vfs::tree::Limits { nodes: 50, entries: 60 };
        let options = Options { limits, ..Options::default() };
        let vfs = Vfs::new(MemoryCluster::new(), options);
        let dir = new_dir(&vfs, "d").await;
        for i in 0..500 {
            let name = format!("{i}");
            vfs.make(USER, dir, name.as_bytes(), NewNode::file(0o600)).await.unwrap();
        }
        vfs.sync_all().await.unwrap();
        for i in 0..500 {
            assert_eq!(vfs.lookup(dir, format!("{i}").as_bytes()).await.unwrap().perm, 0o600);
            assert_eq!(vfs.lookup(dir, format!("x{i}").as_bytes()).await, Err(FsError::NotFound));
        }
        let (nodes, entries) = vfs.0.names.lock().tree.sizes();
        assert!(nodes <= 60 && entries <= 70, "{nodes} inodes and {entries} entries are kept");
    });
}

#[test]
fn the_cluster_is_not_asked_for_what_is_known() {
    run(async {
        let cluster = MemoryCluster::new();
        let vfs = vfs(&cluster);
        let dir = new_dir(&vfs, "d").await;
        let asked = || cluster.counts.questions.load(std::sync::atomic::Ordering::Relaxed);
        let before = asked();
        for i in 0..100 {
            let name = format!("{i}");
            assert_eq!(vfs.lookup(dir, name.as_bytes()).await, Err(FsError::NotFound));
            let attr = vfs.make(USER, dir, name.as_bytes(), NewNode::file(0o600)).await.unwrap();
            assert_eq!(vfs.lookup(dir, name.as_bytes()).await.unwrap().ino, attr.ino);
            assert_eq!(vfs.getxattr(attr.ino, b"security.capability").await, Err(FsError::NoData));
        }
        assert_eq!(asked(), before);
    });
}

#[test]
fn groups_are_inherited_where_the_directory_says_so() {
    run(async {
        let vfs = vfs(&MemoryCluster::new());
        let dir = new_dir(&vfs, "d").await;
        let set = Set { perm: Some(0o2775), gid: Some(7), ..Set::default() };
        vfs.setattr(Caller::default(), dir, set).await.unwrap();
        let file = vfs.make(USER, dir, b"f", NewNode::file(0o644)).await.unwrap();
        let sub = vfs.make(USER, dir, b"s", NewNode::dir(0o755)).await.unwrap();
        assert_eq!((file.gid, file.perm), (7, 0o644));
        assert_eq!((sub.gid, sub.perm), (7, 0o2755));
    });
}
