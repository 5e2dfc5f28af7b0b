//! A tree of 2,000 files, as programs treat one: unpacked, copied, put under git, walked, removed.

use super::machine::run_command;
use super::{Caches, Failed, Run, tried};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const FILES: usize = 2_000;
const FOLDERS: usize = 100;

/// The group.
pub fn run(run: &mut Run<'_>, dir: &Path) -> Result<(), Failed> {
    if !run.wants_any(&["untar", "cp", "git", "git-status", "find", "read-tree", "rm"]) {
        return Ok(());
    }
    let archive = archive(run)?;
    let (tree, copy) = (dir.join("tree"), dir.join("copy"));
    let files = FILES as f64;
    run.time("untar", Caches::Settled, files, || {
        command(Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(dir))
    })?;
    if run.wants_any(&["cp", "find", "read-tree", "rm"]) {
        run.time("cp", Caches::Settled, files, || command(Command::new("cp").arg("-r").arg(&tree).arg(&copy)))?;
    }
    if run.wants_any(&["git", "git-status"]) {
        run.time("git", Caches::Settled, files, || {
            git(&tree, &["init", "-q"])?;
            git(&tree, &["add", "-A"])?;
            git(&tree, &["commit", "-q", "-m", "all of it"])
        })?;
    }
    if run.wants("git-status") {
        run.time("git-status", Caches::Cold, files, || git(&tree, &["status", "--short"]))?;
    }
    if run.wants("find") {
        let entries = (FILES + FOLDERS + 1) as f64;
        run.time("find", Caches::Cold, entries, || {
            command(Command::new("find").arg(&copy).args(["-newermt", "2100-01-01"]))
        })?;
    }
    if run.wants("read-tree") {
        run.time("read-tree", Caches::Cold, files, || {
            // Not into /dev/null at once: tar sees that, and reads nothing.
            command(Command::new("sh").args(["-c", "tar -cf - -C \"$0\" . | cat > /dev/null"]).arg(&copy))
        })?;
    }
    if run.wants("rm") {
        run.time("rm", Caches::Settled, files, || command(Command::new("rm").arg("-rf").arg(&copy)))?;
    }
    Ok(())
}

fn command(command: &mut Command) -> Result<(), Failed> {
    run_command(command).map(drop)
}

/// Git with its defaults, whatever the user's own settings are.
fn git(tree: &Path, words: &[&str]) -> Result<(), Failed> {
    let mut git = Command::new("git");
    for (name, value) in [("CONFIG_GLOBAL", "/dev/null"), ("CONFIG_NOSYSTEM", "1")] {
        git.env(format!("GIT_{name}"), value);
    }
    for who in ["AUTHOR", "COMMITTER"] {
        git.env(format!("GIT_{who}_NAME"), "bench").env(format!("GIT_{who}_EMAIL"), "bench@localhost");
    }
    command(git.current_dir(tree).args(words))
}

/// The archive that is unpacked, beside the disk; made at its first use. It is read once, so that it is in memory.
fn archive(run: &Run<'_>) -> Result<PathBuf, Failed> {
    let archive = run.disk.beside("tree.tar");
    if !archive.exists() {
        let above = tried("a directory", tempfile::tempdir())?;
        let tree = above.path().join("tree");
        for folder in 0..FOLDERS {
            let folder = tree.join(format!("area{}/part{folder:02}", folder % 10));
            tried(folder.display(), fs::create_dir_all(&folder))?;
        }
        for n in 0..FILES {
            let folder = n % FOLDERS;
            let file = tree.join(format!("area{}/part{folder:02}/file{n:04}.txt", folder % 10));
            tried(file.display(), fs::write(&file, text(n)))?;
        }
        command(Command::new("tar").arg("-cf").arg(&archive).arg("-C").arg(above.path()).arg("tree"))?;
    }
    tried(archive.display(), fs::read(&archive)).map(|_| archive)
}

/// The contents of file `n`: lines of words; sizes like those of sources, from 200 bytes to 60 KB, 7 KB in the mean.
fn text(n: usize) -> String {
    let length = match n % 20 {
        0 => 60_000 - n * 7,
        1..=4 => 8_000 + n,
        5..=12 => 3_000 + n,
        _ => 200 + n,
    };
    let mut text = String::with_capacity(length + 64);
    let mut line = 0;
    while text.len() < length {
        text += &format!("line {line} of file {n} says {}\n", (line * 7_919 + n * 104_729) % 1_000_003);
        line += 1;
    }
    text
}
