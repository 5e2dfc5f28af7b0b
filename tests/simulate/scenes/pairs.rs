//! Which copy counts: one that misses something never serves, and nothing old comes over what is new.

use super::super::clients::{address, values_of, write_of};
use super::super::puppet::{File, Puppet};
use super::*;
use raidfs_common::id::Ino;
use raidfs_common::name::FileName;
use raidfs_common::namespace::Change;
use raidfs_common::pair::{CopyState, Pair};
use raidfs_mountd::vfs::cluster::Cluster;

/// The scenes.
pub const SCENES: &[Scene] = &[
    Scene {
        name: "a-server-that-has-just-started",
        catches: &[Bug::StartsInSync],
        short_logs: false,
        play: a_server_that_has_just_started,
    },
    Scene {
        name: "a-stale-copy-alone",
        catches: &[Bug::StaleGoesOn, Bug::EvictsLastCopy],
        short_logs: false,
        play: a_stale_copy_alone,
    },
    Scene {
        name: "who-lost-power-comes-first",
        catches: &[Bug::ForgetsLoss],
        short_logs: false,
        play: who_lost_power_comes_first,
    },
    Scene {
        name: "a-write-and-a-read-around-an-eviction",
        catches: &[Bug::HidesEpoch],
        short_logs: false,
        play: a_write_and_a_read_around_an_eviction,
    },
    Scene { name: "two-requests-twice", catches: &[Bug::ChangesTwice], short_logs: false, play: two_requests_twice },
    Scene {
        name: "a-mirror-that-is-not-reached",
        catches: &[Bug::GivesUpMirror],
        short_logs: false,
        play: a_mirror_that_is_not_reached,
    },
    Scene {
        name: "reads-during-a-resync",
        catches: &[Bug::ServesSyncing],
        short_logs: false,
        play: reads_during_a_resync,
    },
    Scene {
        name: "writes-during-a-resync",
        catches: &[Bug::CopiesOutOfTurn],
        short_logs: false,
        play: writes_during_a_resync,
    },
    Scene {
        name: "a-write-to-a-file-that-is-gone",
        catches: &[Bug::RaisesDead],
        short_logs: false,
        play: a_write_to_a_file_that_is_gone,
    },
    Scene {
        name: "a-write-under-way-at-a-resync",
        catches: &[Bug::ResyncsEarly],
        short_logs: false,
        play: a_write_under_way_at_a_resync,
    },
    Scene {
        name: "a-disk-without-room",
        catches: &[Bug::StaysThoughFull, Bug::KeepsFullMirror],
        short_logs: false,
        play: a_disk_without_room,
    },
];

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

/// A mirror is put out and does not know it yet: who wrote reads at once, and could ask that one.
fn a_write_and_a_read_around_an_eviction(stage: &mut Stage) {
    let a = stage.mount();
    let file = file_beside(stage, &a);
    for _ in 0..4 {
        drop(a.read(&file).well());
    }
    let (mirror, attr) = (file.mirror, file.attr);
    stage.tell(&format!("no server hears {mirror}"));
    (0..5).filter(|host| *host != mirror.0).for_each(|host| stage.cut(host, mirror.0));
    // The news comes from the primary only, and takes longer than the answer, as it is asked for.
    (0..5).filter(|host| !file.servers().contains(&ServerId(*host))).for_each(|host| stage.cut(host, MOUNT));
    network::put_apart(file.primary.0, MOUNT, Duration::from_millis(30));
    let both = a.begin(move |client| async move {
        let written = client.change_chunk(address(&attr), write_of(2, false)).await;
        let mut found = Vec::new();
        for _ in 0..3 {
            found.extend(futures::future::join_all((0..6).map(|_| values_of(&client, &attr))).await);
        }
        (written, found)
    });
    let (written, found) = both.within(PATIENCE).unwrap_or_else(|| unfit("the client has not ended"));
    if written.is_err() {
        unfit("the write was not made");
    }
    for read in found {
        stage.expect("by who had written", Some(read), 2);
    }
    network::heal();
    stage.expect_at_last("after all was mended", &a, &file, 2);
}

/// The answers to two writes, one after the other, are lost; both are sent again.
fn two_requests_twice(stage: &mut Stage) {
    let a = stage.mount();
    let file = file_beside(stage, &a);
    let looks = Puppet::observe(&stage.servers.config, SECOND);
    stage.tell(&format!("nothing that {} says reaches the mount", file.primary));
    network::cut(file.primary.0, MOUNT);
    let first = a.write_only(&file, 2);
    stage.wait_for(&looks, &file, 2);
    let second = a.write_only(&file, 3);
    stage.wait_for(&looks, &file, 3);
    let ended = (first.within(PATIENCE), second.within(PATIENCE));
    stage.tell(&format!("what came of them: {ended:?}"));
    network::heal();
    stage.expect_at_last("after requests that came twice", &looks, &file, 3);
    stage.expect_at_last("after requests that came twice", &a, &file, 3);
}

/// A primary does not reach its mirror, which everybody else does.
fn a_mirror_that_is_not_reached(stage: &mut Stage) {
    let a = stage.mount();
    let file = file_beside(stage, &a);
    stage.cut(file.primary.0, file.mirror.0);
    a.write(&file, 2).well();
    for _ in 0..20 {
        let read = a.read(&file).within(PATIENCE);
        stage.expect("after a write that the mirror did not take", read, 2);
        millis(20);
    }
    network::heal();
    stage.expect_at_last("after all was mended", &a, &file, 2);
}

/// A mirror that missed something is brought up to date from a slow disk, and there is much to read.
fn reads_during_a_resync(stage: &mut Stage) {
    let a = stage.mount();
    let file = file_beside(stage, &a);
    stage.kill(file.mirror);
    a.write(&file, 2).well();
    let slow = Trouble::Slow(40 + stage.dice.below(100));
    stage.trouble(file.primary, slow);
    stage.run(file.mirror);
    for _ in 0..80 {
        let read = a.read(&file).within(Duration::from_millis(30));
        stage.expect("during a resync", read, 2);
    }
    stage.servers.heal_disks();
    stage.expect_at_last("after all was mended", &a, &file, 2);
}

/// The same, and files are written to, each once: some of them while they are copied.
fn writes_during_a_resync(stage: &mut Stage) {
    let a = stage.mount();
    let first = file_beside(stage, &a);
    let mut files = vec![first];
    while files.len() < 5 {
        let file = a.file(|primary, mirror| (primary, mirror) == (first.primary, first.mirror));
        a.write(&file, 1).well();
        files.push(file);
    }
    stage.kill(first.mirror);
    for file in &files {
        a.write(file, 2).well();
    }
    let slow = 20 + stage.dice.below(60);
    stage.trouble(first.primary, Trouble::Slow(slow));
    stage.run(first.mirror);
    a.pairs(move |pairs| is_syncing(pairs, &first)).end();
    stage.tell("it is being brought up to date");
    let mut pending = Vec::new();
    for file in &files {
        millis(slow / 2 + stage.dice.below(slow));
        pending.push(a.write_only(file, 3));
    }
    pending.into_iter().for_each(|write| write.well());
    stage.servers.heal_disks();
    stage.calm();
    for file in &files {
        for _ in 0..4 {
            let read = a.read(file).within(PATIENCE);
            stage.expect("after a resync", read, 3);
        }
    }
}

fn is_syncing(pairs: &[Pair], file: &File) -> bool {
    pairs.iter().filter_map(|pair| pair.member(file.mirror)).any(|m| m.state == CopyState::Syncing)
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

/// A file with a value that is noted nowhere, on a pair none of whose servers leads.
fn old_file_beside(stage: &Stage, a: &Puppet) -> File {
    let file = file_beside(stage, a);
    let other = a.file(|primary, mirror| (primary, mirror) == (file.primary, file.mirror));
    a.barrier().well();
    millis(FORGOTTEN);
    // Another round between the two, so that it is durable that there are no older notes.
    a.write(&other, 1).well();
    millis(FORGOTTEN);
    file
}

/// It is written to on the only copy, whose disk is slow, and the mirror comes back before that is noted.
fn a_write_under_way_at_a_resync(stage: &mut Stage) {
    let a = stage.mount();
    let file = old_file_beside(stage, &a);
    stage.kill(file.mirror);
    a.pairs(move |pairs| pairs.iter().any(|pair| pair.in_sync().count() == 1)).end();
    let slow = Trouble::SlowChunks(100 + stage.dice.below(400));
    stage.trouble(file.primary, slow);
    let written = a.write_only(&file, 2);
    millis(stage.dice.below(20));
    stage.run(file.mirror);
    written.well();
    stage.servers.heal_disks();
    stage.calm();
    for _ in 0..8 {
        let read = a.read(&file).within(PATIENCE);
        stage.expect("after a resync", read, 2);
    }
}

/// One of a pair has no room for a write, as it finds out when it is to make it; the other has.
fn a_disk_without_room(stage: &mut Stage) {
    let a = stage.mount();
    let leader = stage.leader();
    let file = a.file(|one, two| one != leader && two != leader);
    let full = file.servers()[stage.dice.below(2) as usize];
    stage.trouble(full, Trouble::Full);
    let written = a.write_only(&file, 2).end();
    stage.tell(&format!("written: {written:?}"));
    if let Err(error) = written {
        stage.problems.push(format!("a write failed though one of the pair has room: {error}"));
    }
    for _ in 0..8 {
        let read = a.read(&file).within(PATIENCE);
        stage.expect("beside a full disk", read, 2);
    }
    stage.servers.heal_disks();
    stage.expect_at_last("after all was mended", &a, &file, 2);
}
