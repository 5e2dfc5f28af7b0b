//! Who serves is in time: leases, reads beside changes, and servers that do not know yet that they were put out.

use super::*;
use raidfs_common::id::Ino;
use raidfs_common::name::FileName;
use raidfs_common::namespace::{Answer, Query};
use raidfs_mountd::vfs::cluster::Cluster;

/// The scenes.
pub const SCENES: &[Scene] = &[
    Scene {
        name: "late-words-of-a-leader",
        catches: &[Bug::LeaseFromWords],
        short_logs: false,
        play: late_words_of_a_leader,
    },
    Scene {
        name: "late-answers-to-a-leader",
        catches: &[Bug::LeaseFromAnswers],
        short_logs: false,
        play: late_answers_to_a_leader,
    },
    Scene {
        name: "a-reader-beside-a-server-that-was-put-out",
        catches: &[Bug::BelievesWhoIsOut],
        short_logs: false,
        play: a_reader_beside_a_server_that_was_put_out,
    },
    Scene {
        name: "a-mount-beside-a-server-that-was-put-out",
        catches: &[Bug::GoesBack],
        short_logs: false,
        play: a_mount_beside_a_server_that_was_put_out,
    },
    Scene {
        name: "reads-during-a-write",
        catches: &[Bug::ReadsAmongChanges],
        short_logs: false,
        play: reads_during_a_write,
    },
];

/// A server's lease is over after this, in milliseconds, since it was cut off.
const LEASE_OVER: u64 = 2_500;

/// The mount is on the one side with a server. What the leader had sent that one arrives when another leads, and another mount
/// has taken over.
fn late_words_of_a_leader(stage: &mut Stage) {
    let a = stage.mount();
    let leader = stage.leader();
    let file = file_beside(stage, &a);
    let with = file.servers()[stage.dice.below(2) as usize];
    stage.tell(&format!("the mount is alone with {with}"));
    faults::split(|host| host == MOUNT || host == with.0);
    millis(100 + stage.dice.below(200));
    stage.tell(&format!("{leader} stands still"));
    stage.servers.freeze(leader);
    millis(LEASE_OVER);
    let b = stage.take_over();
    b.write(&file, 2).well();
    let late = [a.read(&file), a.read(&file)];
    millis(stage.dice.below(200));
    stage.tell(&format!("{with} hears what {leader} had said"));
    network::open(leader.0, with.0);
    for read in late {
        let read = read.within(Duration::from_secs(5));
        stage.expect("by a mount that was taken over", read, 2);
    }
    network::heal();
    stage.expect_at_last("by who took over", &b, &file, 2);
}

/// A leader stands still while another is elected. When it goes on, it finds answers from before that.
fn late_answers_to_a_leader(stage: &mut Stage) {
    let a = stage.mount();
    a.create("w").well();
    let looks = Puppet::observe(&stage.servers.config, SECOND);
    for name in ["x0", "x1", "x2", "x3", "x4", "x5"] {
        if goes_on_with_late_answers(stage, &a, &looks, name) {
            return;
        }
        network::heal();
        stage.calm();
    }
    unfit("nobody leads soon enough");
}

/// One try. False: no other was elected in time.
fn goes_on_with_late_answers(stage: &mut Stage, a: &Puppet, looks: &Puppet, name: &'static str) -> bool {
    let leader = stage.leader();
    let mut others: Vec<ServerId> = (1..5).map(ServerId).filter(|id| *id != leader).collect();
    let turn = stage.dice.below(3) as usize;
    others.rotate_left(turn);
    let heard = [0, others[0].0];
    let rest: Vec<u16> = (0..5).filter(|host| *host != leader.0).collect();
    // So that a question is always under way.
    rest.iter().for_each(|host| network::put_apart(*host, leader.0, Duration::from_millis(20)));
    millis(150 + stage.dice.below(50));
    stage.tell(&format!("{leader} stands still"));
    stage.servers.freeze(leader);
    others[1..].iter().for_each(|id| network::cut(leader.0, id.0));
    for host in &rest {
        network::cut(*host, leader.0);
        stage.cut(*host, SECOND);
    }
    let made = a.create(name);
    let looking = looks.begin(move |client| async move {
        for _ in 0..10 {
            if client.catch_up().await {
                let name = FileName::new(name.as_bytes().to_vec()).map_err(|_| FsError::Invalid)?;
                return client.ask(Query::Lookup { parent: Ino::ROOT, name }).await;
            }
        }
        Err(FsError::Io)
    });
    // Answers to what was asked before are not waited for any longer.
    let made = made.within(Duration::from_millis(940));
    stage.tell(&format!("{leader} goes on, and is answered by {heard:?}"));
    stage.servers.thaw(leader);
    let Some(Ok(made)) = made else { return false };
    millis(5);
    heard.iter().for_each(|host| network::open(*host, leader.0));
    let found = looking.within(Duration::from_secs(4));
    stage.tell(&format!("what was made is {found:?}"));
    match found {
        Some(Err(FsError::NotFound)) => {
            stage.problems.push("a file that was made was not there by the word of a leader of before".into());
        }
        Some(Ok(Answer::Attr(found))) if found.ino != made.ino => {
            stage.problems.push(format!("a file that was made is {found:?}"));
        }
        _ => {}
    }
    network::heal();
    true
}

/// A reader hears nobody but a server that was put out a moment ago, which hears nobody else either.
fn a_reader_beside_a_server_that_was_put_out(stage: &mut Stage) {
    let a = stage.mount();
    let file = file_beside(stage, &a);
    let looks = Puppet::observe(&stage.servers.config, SECOND);
    for _ in 0..4 {
        drop(looks.read(&file).well());
    }
    let out = file.servers()[stage.dice.below(2) as usize];
    stage.tell(&format!("the reader is alone with {out}"));
    faults::split(|host| host == SECOND || host == out.0);
    a.write(&file, 2).well();
    for _ in 0..20 {
        let read = looks.read(&file).within(Duration::from_millis(50));
        stage.expect("by a reader that is cut off", read, 2);
    }
    network::heal();
    stage.expect_at_last("after all was mended", &looks, &file, 2);
}

/// A mirror hears no server and was put out, and the mount hears it, too.
fn a_mount_beside_a_server_that_was_put_out(stage: &mut Stage) {
    let a = stage.mount();
    let file = file_beside(stage, &a);
    for _ in 0..4 {
        drop(a.read(&file).well());
    }
    stage.tell(&format!("no server hears {}", file.mirror));
    (0..5).filter(|host| *host != file.mirror.0).for_each(|host| stage.cut(host, file.mirror.0));
    a.write(&file, 2).well();
    for _ in 0..100 {
        let read = a.read(&file).within(PATIENCE);
        stage.expect("beside a server that was put out", read, 2);
        millis(10);
    }
    network::heal();
    stage.expect_at_last("after all was mended", &a, &file, 2);
}

/// A write takes its time to get to the mirror, and is read meanwhile: whoever has seen it never sees what was before it again.
fn reads_during_a_write(stage: &mut Stage) {
    let a = stage.mount();
    let file = file_beside(stage, &a);
    let attr = file.attr;
    for value in 2..8 {
        network::put_apart(file.primary.0, file.mirror.0, Duration::from_millis(60 + stage.dice.below(30)));
        let written = a.write_only(&file, value);
        let read = a.begin(move |client| async move {
            let mut found = Vec::new();
            for _ in 0..40 {
                found.extend(clients::values_of(&client, &attr).await.ok());
                clients::pause(4_000).await;
            }
            found
        });
        let read = read.end();
        written.well();
        let seen: Vec<u64> = read.iter().flatten().copied().collect();
        stage.tell(&format!("{seen:?}"));
        if !seen.is_sorted() || read.iter().any(|values| values.len() != 1) {
            stage.problems.push(format!("during a write of {value} these were read: {seen:?}"));
        }
    }
    network::heal();
}
