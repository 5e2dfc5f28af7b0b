//! Which copy counts: one that misses something never serves, and nothing old comes over what is new.

use super::super::puppet::{File, Puppet};
use super::*;
use raidfs_common::id::Ino;
use raidfs_common::name::FileName;
use raidfs_common::namespace::Change;

/// The scenes.
pub const SCENES: &[Scene] = &[
    Scene {
        name: "a-server-that-has-just-started",
        catches: &[Bug::StartsInSync],
        short_logs: false,
        play: a_server_that_has_just_started,
    },
    Scene { name: "a-stale-copy-alone", catches: &[Bug::StaleGoesOn], short_logs: false, play: a_stale_copy_alone },
    Scene {
        name: "who-lost-power-comes-first",
        catches: &[Bug::ForgetsLoss],
        short_logs: false,
        play: who_lost_power_comes_first,
    },
    Scene {
        name: "a-request-from-before-an-eviction",
        catches: &[Bug::IgnoresEpoch],
        short_logs: false,
        play: a_request_from_before_an_eviction,
    },
    Scene { name: "a-request-twice", catches: &[Bug::ChangesTwice], short_logs: false, play: a_request_twice },
    Scene {
        name: "a-write-to-a-file-that-is-gone",
        catches: &[Bug::RaisesDead],
        short_logs: false,
        play: a_write_to_a_file_that_is_gone,
    },
];

/// A file with a value on a pair none of whose servers leads.
fn file_beside(stage: &Stage, puppet: &Puppet) -> File {
    let leader = stage.leader();
    let file = puppet.file(|one, two| one != leader && two != leader);
    puppet.write(&file, 1).well();
    puppet.sync(&file).well();
    file
}

/// A server loses power, and starts at once: the leader cannot ask its mirror, and the pair stays what it was for now.
fn a_server_that_has_just_started(stage: &mut Stage) {
    let a = stage.mount();
    let file = file_beside(stage, &a);
    let leader = stage.leader();
    a.write_only(&file, 2).well();
    let [lost, other] = if stage.dice.once_in(2) { file.servers() } else { [file.mirror, file.primary] };
    stage.cut(leader.0, other.0);
    stage.cut_power(&[lost]);
    stage.run(lost);
    for _ in 0..60 {
        let read = a.read(&file).within(Duration::from_millis(20));
        stage.expect("from a server that had just started", read, 2);
    }
    network::heal();
    stage.expect_at_last("after all was mended", &a, &file, 2);
}

/// A copy is out of sync, and the only one that is there.
fn a_stale_copy_alone(stage: &mut Stage) {
    let a = stage.mount();
    let file = file_beside(stage, &a);
    let [stale, other] = if stage.dice.once_in(2) { file.servers() } else { [file.mirror, file.primary] };
    stage.kill(stale);
    a.write(&file, 2).well();
    stage.kill(other);
    stage.run(stale);
    let read = a.read(&file).within(Duration::from_secs(8));
    stage.expect("from a stale copy", read, 2);
    stage.run(other);
    stage.expect_at_last("after all was mended", &a, &file, 2);
}

/// Of two that both started anew the one comes first that has lost something.
fn who_lost_power_comes_first(stage: &mut Stage) {
    let a = stage.mount();
    let file = file_beside(stage, &a);
    a.write_only(&file, 2).well();
    let [lost, other] = if stage.dice.once_in(2) { file.servers() } else { [file.mirror, file.primary] };
    // Both at one moment: neither is put out.
    stage.servers.kill(other);
    stage.cut_power(&[lost]);
    stage.run(lost);
    let read = a.read(&file).within(Duration::from_millis(1_500));
    stage.expect("from the one that had lost power", read, 2);
    stage.run(other);
    stage.expect_at_last("after all was mended", &a, &file, 2);
}

/// A write is on its way to its primary for as long as that takes to be put out and brought up to date again; meanwhile it was
/// made by way of the mirror, and so was another.
fn a_request_from_before_an_eviction(stage: &mut Stage) {
    let a = stage.mount();
    let file = file_beside(stage, &a);
    let late = file.primary;
    stage.tell(&format!("{late} is cut off"));
    faults::split(|host| host == late.0);
    a.write_only(&file, 2).well();
    a.write_only(&file, 3).well();
    stage.tell("the servers hear each other again");
    (0..5).for_each(|host| stage.open(host, late.0));
    [OPERATOR, SECOND].into_iter().for_each(|host| stage.open(host, late.0));
    stage.calm();
    stage.tell("so do all");
    network::heal();
    for _ in 0..10 {
        millis(20);
        let read = a.read(&file).within(PATIENCE);
        stage.expect("after a late request", read, 3);
    }
}

/// A write takes long to its primary, and is sent another way meanwhile.
fn a_request_twice(stage: &mut Stage) {
    let a = stage.mount();
    let file = file_beside(stage, &a);
    stage.cut(MOUNT, file.primary.0);
    a.write_only(&file, 2).well();
    a.write_only(&file, 3).well();
    network::heal();
    for _ in 0..10 {
        millis(20);
        let read = a.read(&file).within(PATIENCE);
        stage.expect("after a request that came twice", read, 3);
    }
}

/// Somebody writes to a file that was removed, and whose chunks are gone.
fn a_write_to_a_file_that_is_gone(stage: &mut Stage) {
    let a = stage.mount();
    let file = file_beside(stage, &a);
    for name in ["f0", "f1", "f2", "f3", "f4", "f5"] {
        let name = FileName::new(name.as_bytes().to_vec()).expect("it is a name");
        drop(a.change(Change::Unlink { parent: Ino::ROOT, name, keep: false }).end());
    }
    a.barrier().well();
    millis(2_000);
    if stage.dice.once_in(2) {
        // What its servers remember of the end is forgotten with their lives.
        for id in file.servers() {
            stage.servers.stop(id);
            stage.run(id);
            stage.calm();
        }
    }
    let written = a.write_only(&file, 2).end();
    stage.tell(&format!("a write to it: {written:?}"));
    if written.is_ok() {
        stage.problems.push("a write to a file that is gone was taken".into());
    }
}
