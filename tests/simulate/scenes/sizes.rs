//! Cuts, ends and lengths of files: what was cut away does not come back, and what was written stays.

use super::super::clients::{address, tell_size, write_of};
use super::*;
use raidfs_common::attr::Attr;
use raidfs_common::id::Ino;
use raidfs_common::name::FileName;
use raidfs_common::namespace::{Change, SetAttr};
use raidfs_mountd::vfs::cluster::Cluster;

/// The scenes.
pub const SCENES: &[Scene] = &[
    Scene {
        name: "a-size-of-before-a-cut",
        catches: &[Bug::TakesOldSizes],
        short_logs: false,
        play: a_size_of_before_a_cut,
    },
    Scene {
        name: "a-mount-that-dies-with-a-size",
        catches: &[Bug::FindsNoSizes],
        short_logs: false,
        play: a_mount_that_dies_with_a_size,
    },
    Scene {
        name: "a-mount-that-dies-behind-a-cut",
        catches: &[Bug::MeasuresBeforeCuts],
        short_logs: false,
        play: a_mount_that_dies_behind_a_cut,
    },
    Scene {
        name: "a-write-behind-a-cut",
        catches: &[Bug::ChangesBeforeCuts],
        short_logs: false,
        play: a_write_behind_a_cut,
    },
    Scene {
        name: "a-write-to-servers-that-lag",
        catches: &[Bug::WaitsForNothing],
        short_logs: false,
        play: a_write_to_servers_that_lag,
    },
    Scene {
        name: "power-after-files-have-ended",
        catches: &[Bug::SweepsNothing],
        short_logs: false,
        play: power_after_files_have_ended,
    },
];

const NAMES: [&str; 24] = [
    "f0", "f1", "f2", "f3", "f4", "f5", "f6", "f7", "f8", "f9", "f10", "f11", "f12", "f13", "f14", "f15", "f16", "f17",
    "f18", "f19", "f20", "f21", "f22", "f23",
];

fn cut(file: &File) -> Change {
    let set = SetAttr { size: Some(0), ..SetAttr::default() };
    Change::SetAttr { ino: file.attr.ino, set }
}

/// What the names have of a file.
fn known(puppet: &Puppet, file: &File) -> Attr {
    let found = NAMES.into_iter().find_map(|name| puppet.look_up(name).well().filter(|f| f.ino == file.attr.ino));
    found.unwrap_or_else(|| unfit("a file is gone"))
}

impl Stage {
    fn expect_size(&mut self, when: &str, puppet: &Puppet, file: &File, size: u64) {
        let found = known(puppet, file).size;
        self.tell(&format!("{when} its size is {found}"));
        if found != size {
            self.problems.push(format!("{when} a file is {found} bytes long, and not {size}"));
        }
    }
}

/// A file is cut before the names were told how long it had become.
fn a_size_of_before_a_cut(stage: &mut Stage) {
    let a = stage.mount();
    let file = a.file(|_, _| true);
    let attr = file.attr;
    a.write(&file, 1).well();
    let written = a.begin(move |client| async move { client.change_chunk(address(&attr), write_of(2, false)).await });
    let blocks = written.well().blocks;
    a.change(cut(&file)).well();
    millis(stage.dice.below(300));
    let told = a.begin(move |client| async move { tell_size(&client, &attr, blocks).await });
    stage.tell(&format!("told late: {:?}", told.end()));
    stage.expect_size("told late,", &a, &file, 0);
}

/// A mount has written and not told how long the file has become; another takes over.
fn a_mount_that_dies_with_a_size(stage: &mut Stage) {
    let a = stage.mount();
    let file = a.file(|_, _| true);
    a.write_only(&file, 1).well();
    a.freeze();
    let b = stage.take_over();
    stage.expect_size("found by who took over,", &b, &file, 9_008);
    stage.expect_at_last("by who took over", &b, &file, 1);
}

/// A file is cut, and before the servers have done so another takes over and asks them how long it is.
fn a_mount_that_dies_behind_a_cut(stage: &mut Stage) {
    let a = stage.mount();
    let file = a.file(|_, _| true);
    a.write(&file, 1).well();
    a.change(cut(&file)).well();
    let b = stage.take_over();
    stage.expect_size("measured behind a cut,", &b, &file, 0);
}

/// A file is cut and written to at once.
fn a_write_behind_a_cut(stage: &mut Stage) {
    let a = stage.mount();
    let file = a.file(|_, _| true);
    for value in [1, 3, 5] {
        a.write(&file, value).well();
        a.change(cut(&file)).well();
        a.write_only(&file, value + 1).well();
        a.barrier().well();
        millis(500 + stage.dice.below(1_000));
        stage.expect_at_last("behind a cut", &a, &file, value + 1);
    }
}

/// A file is cut and written to, and both its servers hear of the cut later than of the write.
fn a_write_to_servers_that_lag(stage: &mut Stage) {
    let a = stage.mount();
    let leader = stage.leader();
    let file = a.file(|one, two| one != leader && two != leader);
    a.write(&file, 1).well();
    stage.tell(&format!("{:?} do not hear {leader}", file.servers()));
    file.servers().into_iter().for_each(|id| network::cut(leader.0, id.0));
    a.change(cut(&file)).well();
    let written = a.write_only(&file, 2);
    millis(50 + stage.dice.below(200));
    network::heal();
    written.well();
    a.barrier().well();
    millis(1_500);
    stage.expect_at_last("behind a cut that its servers heard of late", &a, &file, 2);
}

/// Files end that were written long ago, and a server loses power: of some it knows that they have ended, and has their chunks.
fn power_after_files_have_ended(stage: &mut Stage) {
    let a = stage.mount();
    let made = NAMES.map(|name| File::of(a.create(name).well()));
    for file in &made {
        a.write(file, 1).well();
        a.sync(file).well();
    }
    a.barrier().well();
    millis(FORGOTTEN);
    // Another round between the two of each pair, so that it is durable that there are no older notes.
    for file in &made[NAMES.len() - 6..] {
        a.write(file, 2).well();
    }
    millis(FORGOTTEN);
    for names in NAMES.chunks(6) {
        let lost = ServerId(1 + stage.dice.below(4) as u16);
        // So that what it removes is durable later than that it has done so.
        let slow = Trouble::SlowChunks(200 + stage.dice.below(300));
        stage.trouble(lost, slow);
        for name in names {
            let name = FileName::new(name.as_bytes().to_vec()).expect("it is a name");
            a.change(Change::Unlink { parent: Ino::ROOT, name, keep: false }).well();
            millis(stage.dice.below(200));
        }
        millis(stage.dice.below(6_000));
        stage.cut_power(&[lost]);
        stage.servers.heal_disk(lost);
        stage.run(lost);
        stage.calm();
    }
}
