//! How soon a leader that is gone has a successor, and that the successor stays.

use super::{Mail, World, setup, voters};
use crate::consensus::core::{Core, Now};
use crate::consensus::log_memory::MemoryLog;
use raidfs_common::id::{LogIndex, ServerId, Term};
use raidfs_common::rpc::peer::VoteRequest;
use std::time::Duration;

/// A cluster with a leader that has led for a while: the leader, and now.
fn led(seed: u64) -> (World, ServerId, Now) {
    let mut world = World::new(5, seed);
    world.until("a leader", |w| w.leader().is_some());
    world.run(Duration::from_millis(200));
    let (leader, now) = (world.leader().expect("it was just elected"), world.now);
    (world, leader, now)
}

#[test]
fn a_dead_leader_is_replaced_within_fifty_milliseconds() {
    for seed in 0..20 {
        let (mut world, old, at) = led(seed);
        world.kill(old, false);
        world.until("another leader", |w| w.leader().is_some());
        assert!(world.now - at <= Duration::from_millis(50), "seed {seed}: {:?}", world.now - at);
    }
}

#[test]
fn a_dead_leader_is_replaced_soon_also_if_some_notice_late() {
    for seed in 0..20 {
        let (mut world, old, at) = led(300 + seed);
        let other = voters(5).into_iter().find(|v| *v != old && !v.is_witness()).expect("there are four");
        let gone: Vec<_> = [old, other].into_iter().filter_map(|id| Some((id, world.cores.remove(&id)?))).collect();
        let mut survivors = world.cores.keys().copied().collect::<Vec<_>>();
        // All three must agree, and they notice one after the other.
        for id in survivors.drain(..).rev() {
            let now = world.now;
            world.cores.get_mut(&id).expect("it lives").on_gone(old, now);
            world.run(Duration::from_millis(15));
        }
        world.until("another leader", |w| w.leader().is_some());
        assert!(world.now - at <= Duration::from_millis(110), "seed {seed}: {:?}", world.now - at);
        drop(gone);
    }
}

/// A leader whose log rots ends, and is back, with doubts, before all the others have noticed: they elect one of themselves
/// as after any end. To recover as after a loss of power would end the mount's session.
#[test]
fn a_leader_that_is_back_in_doubt_before_it_is_missed_makes_nobody_recover() {
    for seed in 0..100 {
        let (mut world, old, at) = led(1200 + seed);
        (0..5).for_each(|n| world.propose(n, n == 0));
        world.run(Duration::from_millis(100));
        let log = world.cores.remove(&old).expect("it leads").log().clone();
        world.disks.insert(old, (log, true));
        let mut others: Vec<ServerId> = world.cores.keys().copied().collect();
        others.rotate_left((seed % 4) as usize);
        for (nth, id) in others.into_iter().enumerate() {
            let now = world.now;
            world.cores.get_mut(&id).expect("it lives").on_gone(old, now);
            if nth == 0 {
                world.restart(old);
            }
            world.run(Duration::from_millis(10 + seed % 30));
        }
        world.until("another leader", |w| w.leader().is_some());
        assert!(world.now - at <= Duration::from_millis(400), "seed {seed}: {:?}", world.now - at);
        world.come_to_terms(1);
        assert_eq!(world.recoveries(), 0, "seed {seed}");
    }
}

#[test]
fn votes_that_take_long_to_be_written_are_waited_for() {
    for (seed, takes, bound) in (0..40).flat_map(|seed| [(seed, 60, 250), (seed, 280, 1200)]) {
        let (mut world, old, at) = led(600 + seed);
        world.promises_take = Duration::from_millis(takes);
        world.kill(old, false);
        world.until("another leader", |w| w.leader().is_some());
        assert!(world.now - at <= Duration::from_millis(bound), "seed {seed}, {takes} ms: {:?}", world.now - at);
    }
}

#[test]
fn a_leader_that_dies_as_it_is_elected_is_replaced_as_soon_as_any_other() {
    let mut late = 0;
    for seed in 0..200 {
        let (mut world, old, _) = led(900 + seed);
        world.kill(old, false);
        let elected = |w: &World| w.cores.iter().find(|(_, core)| core.leads()).map(|(id, _)| *id);
        while elected(&world).is_none() {
            world.run(Duration::from_micros(50));
        }
        let (next, at) = (elected(&world).expect("it was just elected"), world.now);
        // Its first words do not leave it.
        world.mail.retain(|_, (from, _, mail)| *from != next || !matches!(mail, Mail::Append(_)));
        world.kill(next, false);
        world.until("a third leader", |w| w.leader().is_some());
        let took = world.now - at;
        late += usize::from(took > Duration::from_millis(150));
        assert!(took <= Duration::from_millis(350), "seed {seed}: {took:?}");
    }
    // Those whose first question went to one who had noticed later than they.
    assert!(late <= 30, "{late} of 200");
}

#[test]
fn who_has_just_been_elected_is_not_deposed_by_one_who_missed_it() {
    let mut core = Core::new(setup(ServerId(1), 5, 1, false), MemoryLog::default(), LogIndex(0), Duration::ZERO);
    let vote = |from, term, pre| VoteRequest {
        from: ServerId(from),
        term: Term(term),
        pre,
        transfer: !pre,
        recovery: false,
        last_term: Term(9),
        last_index: LogIndex(9),
    };
    let at = |ms| Duration::from_millis(ms);
    assert!(core.on_vote(&vote(2, 1, true), at(0)).granted);
    assert!(core.on_vote(&vote(2, 1, false), at(1)).granted);
    assert!(!core.on_vote(&vote(3, 2, true), at(140)).granted, "the one who has its vote is about to lead");
    assert!(core.on_vote(&vote(2, 2, true), at(141)).granted, "it was not elected, and tries once more");
    assert!(core.on_vote(&vote(3, 2, true), at(151)).granted, "it has said nothing: another may");
    assert!(core.on_vote(&vote(3, 2, false), at(152)).granted);
    assert!(!core.on_vote(&vote(4, 3, true), at(153)).granted);
    core.on_gone(ServerId(3), at(154));
    assert!(core.on_vote(&vote(4, 3, true), at(155)).granted, "it is gone");
}

#[test]
fn a_leader_that_nobody_can_connect_to_hands_over_and_stays_out() {
    for (seed, n) in (0..20).flat_map(|seed| [(seed, 3), (seed, 5)]) {
        let mut world = World::new(n, 1200 + seed);
        world.until("a leader", |w| w.leader().is_some());
        world.run(Duration::from_secs(2));
        let (old, at) = (world.leader().expect("it goes on leading"), world.now);
        world.shut = Some(old);
        world.until("another leader", |w| w.leader().is_some_and(|leader| leader != old));
        assert!(world.now - at <= Duration::from_millis(750), "seed {seed}, {n} voters: {:?}", world.now - at);
        let new = world.leader().expect("it was just elected");
        let silent = world.cores[&new].silence(world.now).into_iter().find_map(|(id, ago)| ago.filter(|_| id == old));
        let silent = silent.expect("it was heard once");
        assert!(silent >= Duration::from_millis(350), "seed {seed}: it is put out soon, not from {silent:?} on");
        let term = world.cores[&new].term();
        world.run(Duration::from_secs(10));
        assert_eq!(world.leader(), Some(new), "seed {seed}");
        assert_eq!(world.cores[&new].term(), term, "seed {seed}: nobody else was elected meanwhile");
    }
}

#[test]
fn a_leader_that_enough_can_connect_to_goes_on() {
    let (mut world, leader, _) = led(1300);
    let (term, others) = (world.cores[&leader].term(), world.cores[&leader].others());
    // Two of its four followers hear it, and do not get through.
    world.unheard = others.into_iter().take(2).collect();
    world.run(Duration::from_secs(5));
    assert_eq!((world.leader(), world.cores[&leader].term()), (Some(leader), term));
}

#[test]
fn where_nobody_can_connect_to_anybody_the_lead_does_not_go_round() {
    for seed in 0..20 {
        let (mut world, leader, _) = led(1400 + seed);
        let term = world.cores[&leader].term();
        world.pings_fail = true;
        world.run(Duration::from_secs(25));
        let (now_leads, led) = (world.leader().expect("somebody leads"), world.leaders.len());
        assert!(world.cores[&now_leads].term().0 <= term.0 + 1, "seed {seed}: {led} have led");
    }
}

#[test]
fn a_leader_that_stood_still_is_not_out_of_reach() {
    for (seed, still) in (0..20).flat_map(|seed| [300, 450, 550, 900].map(|ms| (seed, Duration::from_millis(ms)))) {
        let (mut world, leader, _) = led(1500 + seed);
        let term = world.cores[&leader].term();
        world.run(Duration::from_millis(100 + 10 * seed));
        let core = world.cores.remove(&leader).expect("it leads");
        // Nothing is lost: what was sent to it waits, and it goes on where it was.
        let until = world.now + still;
        world.waiting = Some(leader);
        world.run(still);
        world.cores.insert(leader, core);
        world.waiting = None;
        assert_eq!(world.now, until);
        world.run(Duration::from_secs(2));
        let handed_over = world.cores.values().any(|core| core.handed_over_at.is_some());
        assert!(!handed_over, "seed {seed}, {still:?}: term {term:?}");
    }
}

#[test]
fn who_has_just_been_elected_does_not_know_all_before() {
    for seed in 0..20 {
        let (mut world, ..) = led(1200 + seed);
        for n in 0..20 {
            world.propose(n, n % 5 == 0);
            world.run(Duration::from_millis(5));
        }
        world.run(Duration::from_millis(500));
        let agreed = LogIndex(world.last_agreed());
        assert!(agreed.0 > 20);
        voters(5).into_iter().for_each(|id| world.kill(id, false));
        voters(5).into_iter().for_each(|id| world.restart(id));
        let who_know = |w: &World| {
            let know = w.cores.values().filter(|core| core.knows_all_before(core.commit()));
            know.inspect(|core| assert!(core.commit() >= agreed, "{:?}", core.commit())).count()
        };
        let all_are_silent = |w: &World| who_know(w) == 0 && w.leader().is_some();
        world.until("a leader that has agreed on nothing", all_are_silent);
        world.propose(99, true);
        world.until("all know", |w| who_know(w) == 5);
    }
}
