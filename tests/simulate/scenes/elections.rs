//! What was agreed stays agreed, and one leads.

use super::*;
use raidfs_common::config::Config;
use raidfs_common::id::Ino;
use raidfs_common::namespace::{Change, SetAttr};

/// The scenes.
pub const SCENES: &[Scene] = &[
    Scene {
        name: "a-voter-that-forgot",
        catches: &[Bug::VotesForgetful, Bug::RecoversEarly],
        short_logs: false,
        play: a_voter_that_forgot,
    },
    Scene {
        name: "a-candidate-that-lags",
        catches: &[Bug::VotesForShorterLog],
        short_logs: false,
        play: a_candidate_that_lags,
    },
    Scene {
        name: "a-leader-that-is-alone",
        catches: &[Bug::AgreesAlone],
        short_logs: false,
        play: a_leader_that_is_alone,
    },
    Scene {
        name: "two-candidates-at-once",
        catches: &[Bug::VotesTwice],
        short_logs: false,
        play: two_candidates_at_once,
    },
    Scene {
        name: "a-retry-after-a-snapshot",
        catches: &[Bug::ForgetsOutcomes],
        short_logs: true,
        play: a_retry_after_a_snapshot,
    },
    Scene {
        name: "a-leader-that-starts-again",
        catches: &[Bug::LeadsOnAgain],
        short_logs: false,
        play: a_leader_that_starts_again,
    },
    Scene {
        name: "a-mount-that-lives-through-a-recovery",
        catches: &[Bug::KeepsSessions],
        short_logs: false,
        play: a_mount_that_lives_through_a_recovery,
    },
    Scene {
        name: "a-voter-of-another-history",
        catches: &[Bug::KeepsOtherHistory],
        short_logs: false,
        play: a_voter_of_another_history,
    },
    Scene {
        name: "the-witness-beside-two-that-lag",
        catches: &[Bug::DropsEarly],
        short_logs: true,
        play: the_witness_beside_two_that_lag,
    },
];

/// Of the three that have an entry two die, and the third loses power; it stands between the entry and two that never had it.
fn a_voter_that_forgot(stage: &mut Stage) {
    let a = stage.mount();
    a.create("w").well();
    let leader = stage.leader();
    let mut others: Vec<ServerId> = Stage::everybody().into_iter().filter(|id| *id != leader).collect();
    let turn = stage.dice.below(4) as usize;
    others.rotate_left(turn);
    let (have, lack) = ([leader, others[0], others[1]], [others[2], others[3]]);
    let forgets = others[1];
    stage.tell(&format!("{lack:?} are cut off"));
    let lacking: BTreeSet<u16> = lack.iter().map(|id| id.0).collect();
    faults::split(|host| lacking.contains(&host));
    let made = a.create("x").well();
    stage.kill(have[0]);
    stage.kill(have[1]);
    stage.cut_power(&[forgets]);
    for id in lack {
        stage.open(id.0, lack[0].0);
        [forgets.0, MOUNT, OPERATOR, SECOND].into_iter().for_each(|host| stage.open(id.0, host));
    }
    stage.run(forgets);
    stays_made(stage, &a, made.ino, 500, "while those are away that know of it");
    network::heal();
    stage.run(have[0]);
    stage.run(have[1]);
    match a.look_up("x").end() {
        Ok(Some(attr)) if attr.ino == made.ino => {}
        other => stage.problems.push(format!("a file that was made is {other:?}")),
    }
}

/// Looks "x" up again and again, for so many milliseconds each time: whoever answers knows the file that was made.
fn stays_made(stage: &mut Stage, a: &Puppet, made: Ino, patience: u64, when: &str) {
    for _ in 0..20 {
        let found = a.look_up("x").within(Duration::from_millis(patience));
        if let Some(Ok(found)) = found
            && found.map(|attr| attr.ino) != Some(made)
        {
            stage.problems.push(format!("a file that was made is {found:?} {when}"));
            return;
        }
    }
}

/// Two lack an entry that was made, and are the first to ask for votes.
fn a_candidate_that_lags(stage: &mut Stage) {
    let a = stage.mount();
    a.create("w").well();
    let leader = stage.leader();
    let mut others: Vec<ServerId> = Stage::everybody().into_iter().filter(|id| *id != leader).collect();
    let turn = stage.dice.below(4) as usize;
    others.rotate_left(turn);
    let (have, lack) = ([others[0], others[1]], [others[2], others[3]]);
    stage.tell(&format!("{lack:?} are cut off"));
    faults::split(|host| lack.contains(&ServerId(host)));
    let made = a.create("x").well();
    have.into_iter().for_each(|id| stage.servers.freeze(id));
    stage.kill(leader);
    // What the dead one had sent them does not arrive.
    for id in lack {
        (0..super::super::HOSTS).filter(|host| *host != leader.0).for_each(|host| stage.open(id.0, host));
    }
    millis(1_000 + stage.dice.below(400));
    stage.tell(&format!("{have:?} go on"));
    have.into_iter().for_each(|id| stage.servers.thaw(id));
    stays_made(stage, &a, made.ino, 300, "under another leader");
    network::heal();
}

/// A leader hears nobody but the client, which has it make something; then it dies.
fn a_leader_that_is_alone(stage: &mut Stage) {
    let a = stage.mount();
    a.create("w").well();
    let leader = stage.leader();
    faults::split(|host| host == leader.0 || host == MOUNT);
    let made = a.create("x");
    let early = made.within(Duration::from_millis(300));
    stage.tell(&format!("alone: {early:?}"));
    stage.kill(leader);
    (0..super::super::HOSTS).filter(|host| *host != leader.0).for_each(|host| stage.open(MOUNT, host));
    let looks = Puppet::observe(&stage.servers.config, SECOND);
    let made = match early {
        Some(made) => made,
        None => made.end(),
    };
    let found = looks.look_up("x").end();
    match (made, found) {
        (Ok(made), Ok(Some(found))) if made.ino == found.ino => {}
        (Err(_), _) => {}
        (made, found) => stage.problems.push(format!("a file that was made ({made:?}) is {found:?}")),
    }
}

/// Leaders die one after the other, and each time two ask for votes who do not hear each other.
fn two_candidates_at_once(stage: &mut Stage) {
    let a = stage.mount();
    for _ in 0..4 {
        let leader = stage.leader();
        let mut others: Vec<ServerId> = (1..5).map(ServerId).filter(|id| *id != leader).collect();
        let turn = stage.dice.below(3) as usize;
        others.rotate_left(turn);
        stage.cut(others[0].0, others[1].0);
        stage.tell(&format!("{} and {} do not hear each other", others[0], others[1]));
        stage.kill(leader);
        let pending = a.look_up("x");
        millis(600);
        stage.open(others[0].0, others[1].0);
        stage.run(leader);
        let _ = pending.within(PATIENCE);
        stage.calm();
    }
}

/// A change is made and its answer lost; who leads when it is asked for again has all names from a snapshot.
fn a_retry_after_a_snapshot(stage: &mut Stage) {
    const MADE: [&str; 30] = [
        "a0", "a1", "a2", "a3", "a4", "a5", "a6", "a7", "a8", "a9", "b0", "b1", "b2", "b3", "b4", "b5", "b6", "b7",
        "b8", "b9", "c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8", "c9",
    ];
    // It asks for as long as all this takes.
    let config = Config { io_timeout: PATIENCE * 2, ..stage.servers.config.clone() };
    let a = Puppet::mount(&config, MOUNT);
    let away = ServerId(1 + stage.dice.below(4) as u16);
    stage.kill(away);
    for name in MADE {
        let ino = a.create(name).well().ino;
        for perm in 0..6 {
            a.change(Change::SetAttr { ino, set: SetAttr { perm: Some(0o600 + perm), ..SetAttr::default() } }).well();
        }
    }
    // Until the names are durable on three servers, and the logs before them are dropped.
    millis(6_500);
    for name in ["d0", "d1", "d2", "d3"] {
        a.create(name).well();
    }
    millis(6_500);
    (0..5).for_each(|host| network::cut(host, MOUNT));
    let made = a.create("x");
    millis(300);
    stage.run(away);
    stage.calm();
    // Of those that are left only that one hears all others.
    let leader = stage.leader();
    if leader != away {
        let others: Vec<ServerId> = Stage::everybody().into_iter().filter(|id| ![leader, away].contains(id)).collect();
        for (n, one) in others.iter().enumerate() {
            others[n + 1..].iter().for_each(|two| stage.cut(one.0, two.0));
        }
        stage.kill(leader);
        while stage.leader() == leader {
            millis(100);
        }
    }
    let next = stage.leader();
    if next != away {
        unfit(&format!("{next} leads"));
    }
    network::heal();
    match made.end() {
        Ok(_) => {}
        Err(FsError::Exists) => stage.problems.push("a file that was made once was to be made twice".into()),
        Err(error) => unfit(&format!("there is no answer: {error}")),
    }
}

/// A leader loses power, and with that what it had others agree to; it is back before they have noticed.
fn a_leader_that_starts_again(stage: &mut Stage) {
    let a = stage.mount();
    a.create("w").well();
    a.barrier().well();
    let leader = stage.leader();
    let others: Vec<u16> = (0..5).filter(|host| *host != leader.0).collect();
    let made = a.create("x").well();
    others.iter().for_each(|host| stage.cut(*host, leader.0));
    stage.cut_power(&[leader]);
    stage.run(leader);
    millis(5 + stage.dice.below(60));
    stage.tell(&format!("{leader} is heard again"));
    others.iter().for_each(|host| stage.open(*host, leader.0));
    let another = a.create("y").within(PATIENCE);
    stage.tell(&format!("another is made: {another:?}"));
    stays_made(stage, &a, made.ino, 500, "after its leader has started");
}

/// Everything loses power, and with that a file that was made; then its mount has everything made durable.
fn a_mount_that_lives_through_a_recovery(stage: &mut Stage) {
    let a = stage.mount();
    a.create("w").well();
    a.barrier().well();
    let made = a.create("x").well();
    stage.cut_power(&Stage::everybody());
    faults::mend(&mut stage.servers);
    let durable = a.barrier().within(PATIENCE);
    stage.tell(&format!("made durable: {durable:?}"));
    if durable != Some(Ok(())) {
        return;
    }
    let looks = Puppet::observe(&stage.servers.config, SECOND);
    match looks.look_up("x").end() {
        Ok(Some(attr)) if attr.ino == made.ino => {}
        other => stage.problems.push(format!("a file that was made and made durable is {other:?}")),
    }
}

/// A voter has applied what two others had agreed to, and is away while all others lose power, and with that what it has.
fn a_voter_of_another_history(stage: &mut Stage) {
    let a = stage.mount();
    a.create("w").well();
    a.barrier().well();
    let leader = stage.leader();
    let mut others: Vec<ServerId> = (1..5).map(ServerId).filter(|id| *id != leader).collect();
    let turn = stage.dice.below(3) as usize;
    others.rotate_left(turn);
    let away = others[0];
    let lack = [ServerId(0), others[1]];
    for id in [leader, others[2]] {
        stage.trouble(id, Trouble::SlowSyncs(3_000));
    }
    faults::split(|host| lack.contains(&ServerId(host)));
    a.create("x").well();
    // Until its names are on its disk.
    millis(550 + stage.dice.below(200));
    stage.kill(away);
    let rest: Vec<ServerId> = Stage::everybody().into_iter().filter(|id| *id != away).collect();
    stage.cut_power(&rest);
    network::heal();
    stage.servers.heal_disks();
    rest.into_iter().for_each(|id| stage.run(id));
    // As long as they wait for the one that is away, and longer.
    millis(34_000);
    let b = stage.take_over();
    for name in ["y0", "y1", "y2", "y3"] {
        b.create(name).well();
    }
    stage.run(away);
    stage.calm();
}

/// Two servers that are cut off lack what the witness has; then the two that have it die.
fn the_witness_beside_two_that_lag(stage: &mut Stage) {
    let a = stage.mount();
    a.create("w").well();
    let leader = stage.leader();
    let mut others: Vec<ServerId> = (1..5).map(ServerId).filter(|id| *id != leader).collect();
    let turn = stage.dice.below(3) as usize;
    others.rotate_left(turn);
    let lack = [others[1], others[2]];
    stage.tell(&format!("{lack:?} are cut off"));
    faults::split(|host| lack.contains(&ServerId(host)));
    // Until logs would be dropped if the names of these two did not matter.
    for name in ["a0", "a1", "a2", "a3", "a4", "a5", "a6", "a7", "a8", "a9", "b0", "b1", "b2", "b3", "b4", "b5"] {
        let ino = a.create(name).well().ino;
        for perm in 0..6 {
            a.change(Change::SetAttr { ino, set: SetAttr { perm: Some(0o600 + perm), ..SetAttr::default() } }).well();
        }
    }
    millis(6_500);
    a.create("c0").well();
    millis(6_500);
    let made = a.create("x").well();
    stage.kill(others[0]);
    stage.kill(leader);
    network::heal();
    let begun = super::super::world::world().now();
    let patience = Duration::from_secs(20).as_nanos() as u64;
    while super::super::world::world().now() < begun + patience {
        if let Some(Ok(Some(found))) = a.look_up("x").within(Duration::from_secs(5))
            && found.ino == made.ino
        {
            return;
        }
    }
    stage.problems.push("what the witness has does not come to those that lack it".into());
}
