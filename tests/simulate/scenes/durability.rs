//! What was synced is there after power was lost, on whichever mirror comes back.

use super::super::disks::{Call, Part};
use super::super::puppet::{File, Puppet};
use super::*;
use raidfs_common::namespace::{Change, SetAttr};
use raidfs_common::pair::CopyState;

/// Longer than a server waits for a mirror that may have lost less, in milliseconds.
const ALONE: u64 = 34_000;

/// The scenes.
pub const SCENES: &[Scene] = &[
    Scene {
        name: "power-after-a-sync",
        catches: &[Bug::SyncsNothing, Bug::SyncsOneMirror],
        short_logs: false,
        play: power_after_a_sync,
    },
    Scene {
        name: "power-after-a-barrier",
        catches: &[Bug::BarsNothing],
        short_logs: false,
        play: power_after_a_barrier,
    },
    Scene {
        name: "power-after-an-eviction",
        catches: &[Bug::FencesUnsynced],
        short_logs: false,
        play: power_after_an_eviction,
    },
    Scene { name: "power-after-a-cut", catches: &[Bug::DestroysEarly], short_logs: false, play: power_after_a_cut },
    Scene {
        name: "power-after-a-resync",
        catches: &[Bug::SettlesNothing],
        short_logs: false,
        play: power_after_a_resync,
    },
    Scene {
        name: "power-after-a-change-of-an-old-file",
        catches: &[Bug::NotesNothing],
        short_logs: false,
        play: power_after_a_change_of_an_old_file,
    },
    Scene {
        name: "power-lost-everywhere-and-syncs-are-slow",
        catches: &[Bug::SweepsEarly],
        short_logs: false,
        play: power_lost_everywhere_and_syncs_are_slow,
    },
    Scene {
        name: "the-last-copy-cannot-be-read-for-a-while",
        catches: &[Bug::ReplacesUnread],
        short_logs: false,
        play: the_last_copy_cannot_be_read_for_a_while,
    },
    Scene {
        name: "power-after-a-sync-that-failed",
        catches: &[Bug::ForgivesFailedSync],
        short_logs: false,
        play: power_after_a_sync_that_failed,
    },
];

/// A file with a value that is durable everywhere.
fn durable_file(puppet: &Puppet, wanted: impl Fn(ServerId, ServerId) -> bool) -> File {
    let file = puppet.file(wanted);
    puppet.write(&file, 1).well();
    puppet.sync(&file).well();
    puppet.barrier().well();
    file
}

/// Both of a pair lose power right after a sync, and one comes back alone.
fn power_after_a_sync(stage: &mut Stage) {
    let a = stage.mount();
    let file = durable_file(&a, |_, _| true);
    a.write_only(&file, 2).well();
    a.sync(&file).well();
    stage.cut_power(&file.servers());
    let first = file.servers()[stage.dice.below(2) as usize];
    stage.run(first);
    millis(ALONE);
    stage.expect_at_last("alone after a loss of power", &a, &file, 2);
}

/// Everything loses power right after a barrier.
fn power_after_a_barrier(stage: &mut Stage) {
    let a = stage.mount();
    let made = a.create("x").well();
    a.barrier().well();
    stage.cut_power(&Stage::everybody());
    faults::mend(&mut stage.servers);
    let looks = Puppet::observe(&stage.servers.config, SECOND);
    match looks.look_up("x").end() {
        Ok(Some(attr)) if attr.ino == made.ino => {}
        other => stage.problems.push(format!("after power was lost the file that was made durable is {other:?}")),
    }
}

/// Everything loses power right after a mirror was put out and something was synced without it.
fn power_after_an_eviction(stage: &mut Stage) {
    let a = stage.mount();
    let leader = stage.leader();
    // The one with the lower number is put out: it would go on if both had lost as much.
    let file = durable_file(&a, |one, two| one != leader && two != leader);
    let out = file.servers().into_iter().min().unwrap_or_default();
    stage.tell(&format!("{out} stands still"));
    stage.servers.freeze(out);
    a.write_only(&file, 2).well();
    a.sync(&file).well();
    stage.cut_power(&Stage::everybody());
    faults::mend(&mut stage.servers);
    let looks = Puppet::observe(&stage.servers.config, SECOND);
    stage.expect_at_last("after power was lost", &looks, &file, 2);
}

/// Everything loses power right after a file was cut.
fn power_after_a_cut(stage: &mut Stage) {
    let a = stage.mount();
    let file = durable_file(&a, |_, _| true);
    millis(1_500);
    let set = SetAttr { size: Some(0), ..SetAttr::default() };
    a.change(Change::SetAttr { ino: file.attr.ino, set }).well();
    millis(20 + stage.dice.below(60));
    stage.cut_power(&Stage::everybody());
    faults::mend(&mut stage.servers);
    let looks = Puppet::observe(&stage.servers.config, SECOND);
    let name = ["f0", "f1", "f2", "f3"];
    let found = name.into_iter().find_map(|name| looks.look_up(name).well().filter(|f| f.ino == file.attr.ino));
    let size = found.map(|attr| attr.size);
    stage.tell(&format!("its size is {size:?}"));
    if size != Some(0) {
        stage.expect_at_last("of a file whose cut was lost with the power", &looks, &file, 1);
    }
}

/// Both of a pair lose power as soon as one has been brought up to date, and that one comes back alone.
fn power_after_a_resync(stage: &mut Stage) {
    let a = stage.mount();
    let file = durable_file(&a, |_, _| true);
    stage.kill(file.mirror);
    a.write_only(&file, 2).well();
    a.sync(&file).well();
    let out = move |pairs: &[raidfs_common::pair::Pair]| {
        pairs.iter().filter_map(|pair| pair.member(file.mirror)).any(|m| m.state != CopyState::InSync)
    };
    a.pairs(out).end();
    stage.run(file.mirror);
    a.pairs(|pairs| pairs.iter().all(|pair| pair.in_sync().count() == 2)).end();
    stage.cut_power(&file.servers());
    stage.run(file.mirror);
    millis(ALONE);
    stage.expect_at_last("alone after a loss of power", &a, &file, 2);
}

/// One of a pair loses power right after a change of a file that was noted nowhere.
fn power_after_a_change_of_an_old_file(stage: &mut Stage) {
    let a = stage.mount();
    let file = durable_file(&a, |_, _| true);
    let other = a.file(|primary, mirror| file.servers().contains(&primary) && file.servers().contains(&mirror));
    millis(FORGOTTEN);
    // Another round between the two, so that it is durable that there are no older notes.
    a.write(&other, 1).well();
    millis(FORGOTTEN);
    a.write_only(&file, 2).well();
    let who = file.servers()[stage.dice.below(2) as usize];
    stage.cut_power(&[who]);
    stage.run(who);
    stage.calm();
    stage.expect_at_last("after the pair was made whole", &a, &file, 2);
}

/// A mirror's disk refuses a sync; then both of the pair lose power, and that mirror comes back alone.
fn power_after_a_sync_that_failed(stage: &mut Stage) {
    let a = stage.mount();
    let file = durable_file(&a, |_, _| true);
    a.write_only(&file, 2).well();
    stage.trouble(file.mirror, disks_that_do_not_sync());
    a.sync(&file).well();
    stage.servers.heal_disks();
    stage.cut_power(&file.servers());
    stage.run(file.mirror);
    millis(ALONE);
    let read = a.read(&file).within(PATIENCE);
    stage.expect("from a mirror that could not sync", read, 2);
    stage.run(file.primary);
    stage.expect_at_last("after the pair was made whole", &a, &file, 2);
}

/// Everything loses power, and comes back with disks that take long to sync: who leads has everything in its log, and does not
/// know for a while that it is agreed.
fn power_lost_everywhere_and_syncs_are_slow(stage: &mut Stage) {
    let a = stage.mount();
    let file = durable_file(&a, |_, _| true);
    stage.cut_power(&Stage::everybody());
    for id in Stage::everybody() {
        let millis = 100 + stage.dice.below(400);
        stage.trouble(id, Trouble::SlowSyncs(millis));
        stage.run(id);
    }
    millis(8_000 + stage.dice.below(4_000));
    faults::mend(&mut stage.servers);
    let looks = Puppet::observe(&stage.servers.config, SECOND);
    stage.expect_at_last("after power was lost", &looks, &file, 1);
}

/// A mirror is away, and what was written meanwhile is on one disk only, which reads nothing until it is looked after.
fn the_last_copy_cannot_be_read_for_a_while(stage: &mut Stage) {
    let a = stage.mount();
    let file = durable_file(&a, |_, _| true);
    stage.kill(file.mirror);
    a.write_only(&file, 2).well();
    a.sync(&file).well();
    stage.trouble(file.primary, Trouble::Fails(Call::Read, Part::Chunks));
    // It has an older copy.
    stage.run(file.mirror);
    for _ in 0..3 {
        let read = a.read(&file).within(PATIENCE);
        stage.expect("from a copy that cannot be read", read, 2);
    }
    stage.kill(file.primary);
    stage.servers.heal_disks();
    stage.run(file.primary);
    stage.expect_at_last("once it can be read again", &a, &file, 2);
}

fn disks_that_do_not_sync() -> Trouble {
    Trouble::Fails(Call::Sync, Part::Chunks)
}
