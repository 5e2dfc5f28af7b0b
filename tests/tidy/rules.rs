//! Rules on the source: who may use what, how long things may be, how files begin.

use super::ratchet::Ratchet;
use super::source::{Source, files, functions, rust};

const FILE_LINES_MAX: usize = 800;
const FUNCTION_LINES_MAX: usize = 70;

/// Fails with all breaches at once, and what to do.
fn demand(breaches: Vec<String>, remedy: &str) {
    assert!(breaches.is_empty(), "\n{}\n\n{remedy}\n", breaches.join("\n"));
}

/// Lines of code (no comments, strings or inline tests) of the files that have one of these words.
fn uses(sources: &[Source], words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources {
        for (n, line) in source.code().lines().enumerate() {
            if words.iter().any(|w| line.contains(w)) {
                found.push(format!("{}:{}: {}", source.path, n + 1, line.trim()));
            }
        }
    }
    found
}

fn without(prefixes: &[&str]) -> Vec<Source> {
    rust().into_iter().filter(|s| !s.is_test() && !prefixes.iter().any(|p| s.path.starts_with(p))).collect()
}

fn only(prefixes: &[&str], but: &[&str]) -> Vec<Source> {
    let starts = |s: &Source, list: &[&str]| list.iter().any(|p| s.path.starts_with(p));
    rust().into_iter().filter(|s| !s.is_test() && starts(s, prefixes) && !starts(s, but)).collect()
}

#[test]
fn every_file_opens_by_saying_what_it_is() {
    let headless = rust().into_iter().filter(|s| !s.text.starts_with("//! ")).map(|s| s.path).collect();
    demand(headless, "Begin each file with a `//!` comment: what it owns, what it never does, who drives it.");
    let scripts = files(&["tests/shell"], ".sh").into_iter().filter(|s| {
        let mut lines = s.text.lines().skip_while(|l| l.starts_with("#!"));
        !lines.next().is_some_and(|l| l.starts_with("# "))
    });
    demand(scripts.map(|s| s.path).collect(), "Begin each script with a comment: what it shows.");
}

#[test]
fn files_and_functions_stay_short() {
    let mut ratchet = Ratchet::load();
    for source in rust() {
        let code = source.code();
        let lines = if source.is_test() { source.text.lines().count() } else { code.lines().count() };
        ratchet.measure(&source.path, lines, FILE_LINES_MAX);
        for function in functions(&code).into_iter().filter(|_| !source.is_test()) {
            ratchet.measure(&format!("{}::{}", source.path, function.name), function.lines, FUNCTION_LINES_MAX);
        }
    }
    demand(
        ratchet.breaches(),
        "Split it by what it decides and what it does. tests/tidy/ratchet.txt lists the exceptions; they only shrink.",
    );
}

#[test]
fn pure_modules_touch_nothing_outside() {
    let pure = [
        only(
            &["common/src/"],
            &[
                "common/src/stream.rs",
                "common/src/wire.rs",
                "common/src/config.rs",
                "common/src/log.rs",
                "common/src/room.rs",
                "common/src/rpc/",
                "common/src/threads.rs",
            ],
        ),
        only(
            &[
                "fsd/src/leader/judgement.rs",
                "fsd/src/leader/loss.rs",
                "fsd/src/leader/presence.rs",
                "fsd/src/leader/sessions.rs",
            ],
            &[],
        ),
        only(&["fsd/src/replica/pace.rs", "fsd/src/chunk/salvage.rs"], &[]),
        only(
            &["fsd/src/consensus/"],
            &["fsd/src/consensus/node.rs", "fsd/src/consensus/log_", "fsd/src/consensus/segment.rs"],
        ),
        only(&["fsd/src/namespace/"], &["fsd/src/namespace/store_", "fsd/src/namespace/scale_tests.rs"]),
        only(&["mountd/src/cli/status/verdict.rs", "mountd/src/cli/status/text.rs"], &[]),
    ];
    let words = ["tokio::", "std::fs", "std::net::Tcp", "Instant::now", "SystemTime::now", "rand::"];
    let breaches = pure.iter().flat_map(|sources| uses(sources, &words)).collect();
    demand(breaches, "A pure module takes time, bytes and randomness as arguments.");
}

#[test]
fn only_the_edges_touch_the_disk() {
    let edges = [
        "common/src/config.rs",
        "fsd/src/bookmark.rs",
        "fsd/src/chunk/",
        "fsd/src/consensus/log_disk",
        "fsd/src/cuts.rs",
        "fsd/src/sealed.rs",
        "fsd/src/consensus/segment.rs",
        "fsd/src/machine/stores.rs",
        "fsd/src/machine/witness.rs",
        "fsd/src/namespace/store",
        "fsd/src/identity",
        "fsd/src/main.rs",
        "mountd/src/cli/",
        "mountd/src/cluster/holder.rs", // asks /proc about a process
        "mountd/src/fuse/",
        "mountd/src/main.rs",
        "mountd/src/vfs/caller.rs", // asks /proc about a process
    ];
    let breaches = uses(&without(&edges), &["std::fs", "File::open", "OpenOptions", "fs::read", "fs::write"]);
    demand(breaches, "Reach the disk through the store that owns it; a new edge is listed in tests/tidy/rules.rs.");
}

#[test]
fn errno_is_decided_in_one_place() {
    // Mounting and the command line hear from system calls about mounts: those are the system's words to us. Words to
    // applications are chosen in one table.
    let edges = ["mountd/src/fuse/errno.rs", "mountd/src/fuse/session.rs", "mountd/src/cli/"];
    let breaches = uses(&only(&["mountd/src/", "common/src/"], &edges), &["libc::E", "Errno::E"]);
    demand(breaches, "Return an FsError; mountd/src/fuse/errno.rs turns it into an errno.");
}

#[test]
fn names_are_printed_so_that_they_do_no_harm() {
    let breaches = uses(&only(&["common/src/", "mountd/src/"], &[]), &[".display()"]);
    demand(
        breaches,
        "Print a path through raidfs_common::printed: a name may hold line ends and orders to a terminal.",
    );
}

#[test]
fn the_fuse_library_stays_in_its_room() {
    let breaches = uses(&without(&["mountd/src/fuse/"]), &["fuser::"]);
    demand(breaches, "Only mountd/src/fuse/ knows fuser, so that another library can take its place.");
}

/// A pause between two looks of a bounded poll, not a wait for something to have happened.
fn is_short(line: &str) -> bool {
    let millis = line.split("from_millis(").nth(1).and_then(|rest| rest.split(')').next());
    millis.is_some_and(|n| n.parse::<u64>().is_ok_and(|n| n <= 20))
}

#[test]
fn tests_wait_for_conditions() {
    let helpers = ["tests/src/wait.rs", "mountd/src/cli/wait.rs", "tests/tidy/"];
    let mut breaches = Vec::new();
    for source in rust().iter().filter(|s| !helpers.iter().any(|h| s.path.starts_with(h))) {
        let whole = super::source::blank(&source.text);
        let tests = if source.is_test() { whole.as_str() } else { &whole[source.code().len()..] };
        let skipped = whole.lines().count() - tests.lines().count();
        for (n, line) in tests.lines().enumerate() {
            let paused = source.text.contains("start_paused") && line.contains("time::sleep(");
            if line.contains("::sleep(") && !is_short(line) && !paused {
                breaches.push(format!("{}:{}: sleep", source.path, skipped + n + 1));
            }
        }
    }
    for source in files(&["tests/shell"], ".sh").iter().filter(|s| s.path != "tests/shell/lib/wait.sh") {
        for (n, line) in source.text.lines().enumerate() {
            if line.trim_start().starts_with("sleep ") || line.contains("; sleep ") {
                breaches.push(format!("{}:{}: sleep", source.path, n + 1));
            }
        }
    }
    demand(breaches, "Wait for a condition with a bounded poll (wait_until), not for time to pass.");
}

#[test]
fn every_shell_case_checks_something() {
    let cases: Vec<Source> = files(&["tests/shell"], ".sh").into_iter().filter(|s| !s.path.contains("/lib/")).collect();
    assert!(cases.len() > 10, "the shell cases were not found");
    let words = ["check ", "refuse ", "same ", "within ", "says ", "fails_with ", "survives_each_victim"];
    let checks = |line: &str| words.iter().any(|w| line.trim_start().starts_with(w) || line.contains(&format!(" {w}")));
    let mute = cases.iter().filter(|s| !s.text.lines().filter(|l| !l.starts_with('#')).any(checks));
    demand(mute.map(|s| s.path.clone()).collect(), "A case that checks nothing cannot fail.");
}
