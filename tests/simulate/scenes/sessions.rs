//! One client has the store: what another did that hung, or is cut off, has no effect any more once that one has it.

use super::*;
use raidfs_common::pair::{CopyState, Pair};

/// The scenes.
pub const SCENES: &[Scene] = &[
    Scene {
        name: "a-mount-cut-off-with-a-server",
        catches: &[Bug::ServesWithoutLease],
        short_logs: false,
        play: a_mount_cut_off_with_a_server,
    },
    Scene {
        name: "late-words-of-a-mount-that-was-taken-over",
        catches: &[Bug::OldSessionWrites],
        short_logs: false,
        play: late_words_of_a_mount_that_was_taken_over,
    },
    Scene { name: "a-server-that-lags", catches: &[Bug::AnswersFromPast], short_logs: false, play: a_server_that_lags },
    Scene {
        name: "a-mount-that-hung-beside-a-stale-server",
        catches: &[Bug::ServesStale],
        short_logs: false,
        play: a_mount_that_hung_beside_a_stale_server,
    },
];

/// A server's lease is over after this, in milliseconds, since it was cut off.
const LEASE_OVER: u64 = 2_500;

/// The mount is on the one side with a server, and another takes over on the other.
fn a_mount_cut_off_with_a_server(stage: &mut Stage) {
    let a = stage.mount();
    let leader = stage.leader();
    let file = a.file(|one, two| one != leader && two != leader);
    a.write(&file, 1).well();
    a.sync(&file).well();
    let with = file.servers()[stage.dice.below(2) as usize];
    stage.tell(&format!("the mount is alone with {with}"));
    faults::split(|host| host == MOUNT || host == with.0);
    millis(LEASE_OVER);
    let b = stage.take_over();
    b.write(&file, 2).well();
    let read = a.read(&file).within(Duration::from_secs(12));
    stage.expect("by a mount that was taken over", read, 2);
    let late = a.write_only(&file, 9);
    millis(500);
    network::heal();
    let _ = late.within(PATIENCE);
    stage.expect_at_last("by who took over", &b, &file, 2);
}

/// What the first mount sent is on its way while another takes over.
fn late_words_of_a_mount_that_was_taken_over(stage: &mut Stage) {
    let a = stage.mount();
    let file = a.file(|_, _| true);
    a.write(&file, 1).well();
    stage.tell("nobody hears the mount");
    (0..5).for_each(|host| network::cut(MOUNT, host));
    let (written, made) = (a.write_only(&file, 9), a.create("x"));
    millis(20);
    a.freeze();
    let b = stage.take_over();
    b.write(&file, 2).well();
    stage.tell("its words arrive");
    network::heal();
    for _ in 0..10 {
        millis(20);
        let read = b.read(&file).within(PATIENCE);
        stage.expect("by who took over", read, 2);
    }
    if let Some(Ok(Some(_))) = b.look_up("x").within(PATIENCE) {
        stage.problems.push("a file was made by a mount that had been taken over".into());
    }
    a.thaw();
    let late = (written.within(PATIENCE).map(|w| w.is_ok()), made.within(PATIENCE).map(|m| m.is_ok()));
    stage.tell(&format!("what came of them: {late:?}"));
    if late.0 == Some(true) || late.1 == Some(true) {
        stage.problems.push(format!("a mount that was taken over was told that all is well: {late:?}"));
    }
    stage.expect_at_last("by who took over", &b, &file, 2);
}

/// A server hears nothing new for a moment, and has a lease still.
fn a_server_that_lags(stage: &mut Stage) {
    let a = stage.mount();
    let leader = stage.leader();
    let lags = (1..5).map(ServerId).find(|id| *id != leader).unwrap_or_default();
    stage.tell(&format!("{lags} does not hear {leader}"));
    network::cut(leader.0, lags.0);
    let made = a.create("x").well();
    for _ in 0..16 {
        if let Some(Ok(found)) = a.look_up("x").within(Duration::from_millis(200))
            && found.map(|attr| attr.ino) != Some(made.ino)
        {
            stage.problems.push(format!("a file that was made is {found:?} to who made it"));
            break;
        }
    }
    network::heal();
}

/// The first mount stood still while a mirror was put out and another took over; it goes on, and reaches that mirror only.
fn a_mount_that_hung_beside_a_stale_server(stage: &mut Stage) {
    let a = stage.mount();
    let leader = stage.leader();
    let file = a.file(|one, two| one != leader && two != leader);
    a.write(&file, 1).well();
    stage.tell("the servers of the pair do not hear each other, and the mount only the mirror");
    stage.cut(file.primary.0, file.mirror.0);
    for host in (0..5).filter(|host| *host != file.mirror.0) {
        stage.cut(MOUNT, host);
    }
    // Until it asks nobody else any more.
    millis(1_500);
    stage.tell("it stands still");
    a.freeze();
    let b = stage.take_over();
    b.write(&file, 2).well();
    b.pairs(move |pairs: &[Pair]| is_out(pairs, &file)).end();
    // The mirror hears of that a heartbeat later; until then it may say what it said before.
    millis(150);
    let reads = [a.read(&file), a.read(&file), a.read(&file)];
    stage.tell("it goes on");
    a.thaw();
    for read in reads {
        let read = read.within(Duration::from_secs(12));
        stage.expect("by a mount that had stood still", read, 2);
    }
    network::heal();
    stage.expect_at_last("by who took over", &b, &file, 2);
}

fn is_out(pairs: &[Pair], file: &File) -> bool {
    pairs.iter().filter_map(|pair| pair.member(file.mirror)).any(|m| m.state != CopyState::InSync)
}
