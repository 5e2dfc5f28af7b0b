//! Voters with empty data directories: in a new cluster, by mistake, and in the place of a disk that was replaced.

use super::*;

/// An entry that says which life of a voter is known.
fn life_entry(voter: ServerId, life: Incarnation) -> Bytes {
    [&voter.0.to_le_bytes()[..], &life.0.to_le_bytes()].concat().into()
}

fn read_lives(data: &Bytes) -> Vec<(ServerId, Incarnation)> {
    let Some((voter, life)) = data.split_first_chunk::<2>() else { return Vec::new() };
    let Ok(life) = life.try_into() else { return Vec::new() };
    vec![(ServerId(u16::from_le_bytes(*voter)), Incarnation(u64::from_le_bytes(life)))]
}

/// The data directory that a voter has first.
fn first_directory(id: ServerId) -> u32 {
    u32::from(id.0) + 1
}

impl World {
    /// Five voters with empty directories, of whom only some are there.
    fn new_cluster(seed: u64, there: impl Fn(ServerId) -> bool) -> World {
        let mut world = World::new(5, seed);
        world.cores.clear();
        for id in voters(5).into_iter().filter(|id| there(*id)) {
            world.start_in(id, first_directory(id), None);
        }
        world
    }

    /// Starts a voter in a directory with this log; None: an empty one.
    fn start_in(&mut self, id: ServerId, directory: u32, log: Option<MemoryLog>) {
        let stranger = log.is_none();
        let empty = || {
            let mut log = MemoryLog::default();
            log.hold_syncs = true;
            log
        };
        let incarnation = Incarnation::of(1, directory);
        let setup = Setup { incarnation, stranger, read_lives, ..setup(id, 5, self.seed, stranger) };
        self.cores.insert(id, Core::new(setup, log.unwrap_or_else(empty), LogIndex(0), self.now));
    }

    /// The end of a voter; its log stays in its directory.
    fn end(&mut self, id: ServerId) -> MemoryLog {
        self.kill(id, false);
        self.disks.remove(&id).expect("it lived").0
    }

    fn agree_on(&mut self, data: Bytes, synced: bool) {
        let leader = self.leader().expect("somebody leads");
        let core = self.cores.get_mut(&leader).expect("it lives");
        let index = core.propose(data, synced, self.now).expect("it takes proposals");
        self.collect();
        self.until("it is agreed", |w| w.cores[&leader].commit() >= index);
    }

    /// The leader's word to a stranger.
    fn let_join(&mut self, id: ServerId) {
        let leader = &self.cores[&self.leader().expect("somebody leads")];
        let (term, last) = (leader.term(), leader.log().last().0);
        assert!(self.cores.get_mut(&id).expect("it lives").join(term, last, self.now));
    }
}

#[test]
fn a_new_cluster_is_begun_only_by_all_voters_together() {
    for seed in 0..20 {
        let late = ServerId((seed % 5) as u16);
        let mut world = World::new_cluster(seed, |id| id != late);
        world.run(Duration::from_secs(10));
        assert!(world.cores.values().all(|c| !c.leads() && c.log().last().0 == LogIndex(0)), "seed {seed}");
        let at = world.now;
        world.start_in(late, first_directory(late), None);
        world.until("a leader", |w| w.leader().is_some());
        assert!(world.now - at < Duration::from_secs(1), "seed {seed}: {:?}", world.now - at);
        world.come_to_terms(1);
        assert_eq!(world.recoveries(), 0, "nothing was lost");
    }
}

#[test]
fn a_new_cluster_that_is_killed_as_it_begins_begins_again() {
    for seed in 0..200 {
        let mut world = World::new_cluster(seed, |_| true);
        world.run(Duration::from_millis(seed * 2));
        for id in voters(5) {
            // Who has made no promise knows no more than at its first start.
            let log = world.end(id);
            world.start_in(id, first_directory(id), (log.vote().term > Term(0)).then_some(log));
            world.cores.get_mut(&id).expect("it was just started").doubt = match world.cores[&id].doubt {
                Doubt::None => Doubt::Open,
                doubt => doubt,
            };
        }
        world.come_to_terms(1);
    }
}

#[test]
fn a_majority_of_empty_directories_begins_no_new_history() {
    for power in [false, true] {
        let mut world = World::new_cluster(7, |_| true);
        world.come_to_terms(1);
        (0..20).for_each(|n| world.propose(n, true));
        world.come_to_terms(21);
        let mut logs: BTreeMap<_, _> = voters(5).into_iter().map(|id| (id, world.end(id))).collect();
        for id in voters(5) {
            let empty = [1, 2, 3].contains(&id.0);
            let log = if empty { None } else { logs.remove(&id) };
            world.start_in(id, if empty { 99 } else { first_directory(id) }, log);
            if power && !empty {
                world.cores.get_mut(&id).expect("it was just started").doubt = Doubt::Open;
            }
        }
        world.run(Duration::from_secs(20));
        let strangers = [1, 2, 3].map(|n| &world.cores[&ServerId(n)]);
        assert!(world.cores.values().all(|c| !c.leads()));
        assert!(strangers.iter().all(|c| c.doubtful() && c.log().last().0 == LogIndex(0) && c.term() == Term(0)));
        for n in [1, 2, 3] {
            world.end(ServerId(n));
            world.start_in(ServerId(n), first_directory(ServerId(n)), logs.remove(&ServerId(n)));
        }
        world.come_to_terms(22);
    }
}

#[test]
fn an_empty_directory_takes_no_part_until_a_leader_says_so_and_then_holds_all_before_it_votes() {
    for seed in 0..20 {
        let mut world = World::new_cluster(seed, |_| true);
        world.come_to_terms(1);
        let three = ServerId(3);
        world.end(three);
        world.until("a leader", |w| w.leader().is_some());
        (0..20).for_each(|n| world.propose(n, false));
        world.start_in(three, 99, None);
        world.run(Duration::from_secs(2));
        let stranger = &world.cores[&three];
        assert!(stranger.doubtful() && stranger.log().last().0 == LogIndex(0) && stranger.leader().is_none());
        world.let_join(three);
        assert!(world.cores[&three].doubtful(), "it holds nothing yet");
        world.until("it votes", |w| !w.cores[&three].doubtful());
        assert!(world.cores[&three].log().last().0 >= LogIndex(21));
        // Its vote is needed from now on.
        let leader = world.leader().expect("it leads");
        let mut others = voters(5).into_iter().filter(|id| *id != three && *id != leader && !id.is_witness());
        let another = others.next_back().expect("there are two");
        world.end(another);
        world.kill(leader, false);
        world.until("a leader", |w| w.cores.values().any(|c| c.leads_surely()));
    }
}

#[test]
fn the_vote_of_a_replaced_directory_counts_for_nothing() {
    let (one, two, three, four) = (ServerId(1), ServerId(2), ServerId(3), ServerId(4));
    let mut tried = 0;
    for seed in 0..60 {
        let mut world = World::new_cluster(seed, |_| true);
        world.come_to_terms(1);
        let old = Incarnation::of(1, first_directory(three));
        world.agree_on(life_entry(three, old), true);
        let old_log = world.end(three);
        // Who begins a cluster leads it; here one of those must that go on without the first.
        let log = world.end(one);
        world.until("a leader", |w| w.leader().is_some());
        world.start_in(one, first_directory(one), Some(log));
        world.come_to_terms(1);
        // One of the two that will have to do without the others misses the replacing.
        let missing = if seed % 2 == 0 { one } else { ServerId::WITNESS };
        if ![two, four].into_iter().any(|id| world.leader() == Some(id)) {
            continue;
        }
        tried += 1;
        world.cut.insert(missing);
        world.agree_on(life_entry(three, old.barred()), true);
        world.start_in(three, 99, None);
        world.let_join(three);
        world.agree_on(life_entry(three, Incarnation::of(1, 99)), true);
        world.until("it votes", |w| !w.cores[&three].doubtful());
        world.cut.extend([one, ServerId::WITNESS]);
        // Agreed by the two and the new one.
        (0..5).for_each(|n| world.agree_on(Bytes::from(n.to_string()), false));
        for id in [two, three, four] {
            world.end(id);
        }
        world.cut.clear();
        world.start_in(three, first_directory(three), Some(old_log));
        world.run(Duration::from_secs(10));
        assert!(world.cores.values().all(|c| !c.leads()), "seed {seed}: the old directory has voted");
    }
    assert!(tried >= 6, "only {tried}");
}

#[test]
fn a_directory_that_knows_that_it_was_replaced_asks_for_no_votes() {
    let three = ServerId(3);
    let mut tried = 0;
    for seed in 0..20 {
        let mut world = World::new_cluster(seed, |_| true);
        world.come_to_terms(1);
        let leader = world.leader().expect("it leads");
        if leader == three {
            continue;
        }
        tried += 1;
        let old = Incarnation::of(1, first_directory(three));
        world.agree_on(life_entry(three, old), true);
        world.agree_on(life_entry(three, old.barred()), true);
        world.until("it knows", |w| w.cores[&three].commit() == w.cores[&leader].commit());
        let another = voters(5).into_iter().find(|id| *id != three && *id != leader && !id.is_witness());
        world.end(leader);
        world.end(another.expect("there are two"));
        world.run(Duration::from_secs(10));
        assert!(world.cores.values().all(|c| !c.leads()), "seed {seed}: it is one of three that are left");
    }
    assert!(tried >= 6, "only {tried}");
}
