//! Several voters, a network that delays, loses and cuts, and a clock, all from one seed.

use super::core::{Core, Doubt, Failure, Now, Output, Setup};
use super::log::LogStore;
use super::log_memory::MemoryLog;
use super::timing::Timing;
use bytes::Bytes;
use raidfs_common::id::{Incarnation, LogIndex, ServerId, Term};
use raidfs_common::limits;
use raidfs_common::rpc::peer::{AppendReply, AppendRequest, LogEntry, VoteReply, VoteRequest};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

mod elections;
mod leading;
mod snapshots;
mod strangers;

#[derive(Clone, Debug)]
enum Mail {
    Vote(VoteRequest),
    VoteReply(VoteRequest, VoteReply),
    Append(AppendRequest),
    AppendReply(AppendReply),
    TakeOver(Term),
    Ping,
    Pong,
}

impl Mail {
    /// Whether it goes over a connection of its sender's, and not of who is to get it.
    fn asks(&self) -> bool {
        matches!(self, Mail::Vote(_) | Mail::Append(_) | Mail::TakeOver(_) | Mail::Ping)
    }
}

struct World {
    now: Now,
    seed: u64,
    cores: BTreeMap<ServerId, Core<MemoryLog>>,
    /// Logs of voters that are down.
    disks: BTreeMap<ServerId, (MemoryLog, bool)>,
    mail: BTreeMap<(Now, u64), (ServerId, ServerId, Mail)>,
    syncs: BTreeMap<(Now, u64), ServerId>,
    cut: BTreeSet<ServerId>,
    /// Nobody can connect to it, while its own connections live.
    shut: Option<ServerId>,
    /// These connect to nobody, while others connect to them.
    unheard: BTreeSet<ServerId>,
    /// No ping gets through.
    pings_fail: bool,
    /// It stands still: what is sent to it waits until it goes on.
    waiting: Option<ServerId>,
    count: u64,
    leaders: BTreeMap<Term, ServerId>,
    agreed: BTreeMap<LogIndex, LogEntry>,
    checked: BTreeMap<ServerId, LogIndex>,
    /// Entries that were agreed and fence: they must survive even if everything loses power.
    fenced: BTreeSet<LogIndex>,
    /// Whom a snapshot was to be sent to: none arrives in this world.
    snapshots: Vec<ServerId>,
    /// Disks take this long to keep a promise.
    promises_take: Duration,
}

fn voters(n: u16) -> Vec<ServerId> {
    (0..n).map(ServerId).collect()
}

/// The answer of one who elects whoever asks, and has nothing itself.
pub(super) fn elects(request: &VoteRequest) -> VoteReply {
    VoteReply {
        term: Term(request.term.0 - u64::from(request.pre)),
        granted: true,
        doubtful: false,
        stranger: false,
        incarnation: Incarnation(0),
        last_term: Term(0),
        last_index: LogIndex(0),
    }
}

/// What a leader says first that was elected although voters may have forgotten entries.
const RECOVERED: &[u8] = b"recovered";

fn setup(me: ServerId, n: u16, seed: u64, doubtful: bool) -> Setup {
    let timing = Timing { recovery_patience: Duration::from_secs(3), ..Timing::default() };
    let on_recovery = Bytes::from_static(RECOVERED);
    let read_lives = |_: &Bytes| Vec::new();
    let (incarnation, stranger) = (Incarnation(0), false);
    Setup {
        me,
        incarnation,
        voters: voters(n),
        timing,
        seed,
        doubtful,
        stranger,
        strict: false,
        on_recovery,
        read_lives,
    }
}

impl World {
    fn new(n: u16, seed: u64) -> World {
        let mut log = MemoryLog::default();
        log.hold_syncs = true;
        let core = |id| Core::new(setup(id, n, seed, false), log.clone(), LogIndex(0), Duration::ZERO);
        World {
            now: Duration::ZERO,
            seed,
            cores: voters(n).into_iter().map(|id| (id, core(id))).collect(),
            disks: BTreeMap::new(),
            mail: BTreeMap::new(),
            syncs: BTreeMap::new(),
            cut: BTreeSet::new(),
            shut: None,
            unheard: BTreeSet::new(),
            pings_fail: false,
            waiting: None,
            count: 0,
            leaders: BTreeMap::new(),
            agreed: BTreeMap::new(),
            checked: BTreeMap::new(),
            fenced: BTreeSet::new(),
            snapshots: Vec::new(),
            promises_take: Duration::ZERO,
        }
    }

    fn random(&mut self, below: u64) -> u64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 33) % below
    }

    fn post(&mut self, from: ServerId, to: ServerId, mail: Mail) {
        self.count += 1;
        let on_disk = matches!(&mail, Mail::VoteReply(asked, _) if !asked.pre);
        let before = if on_disk { self.promises_take } else { Duration::ZERO };
        let at = self.now + before + Duration::from_micros(200 + self.random(3000));
        self.mail.insert((at, self.count), (from, to, mail));
    }

    /// Runs until `until`, delivering mail and ticking.
    fn run(&mut self, span: Duration) {
        let until = self.now + span;
        loop {
            let mail = self.mail.keys().next().map(|k| k.0);
            let sync = self.syncs.keys().next().map(|k| k.0);
            let tick = self.cores.values().map(Core::next_tick).min();
            let next = [mail, sync, tick].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= until) else {
                self.now = until;
                return;
            };
            self.now = self.now.max(next);
            self.step();
        }
    }

    fn step(&mut self) {
        let now = self.now;
        if let Some((key, id)) = self.syncs.first_key_value().map(|(k, v)| (*k, *v))
            && key.0 <= now
        {
            self.syncs.remove(&key);
            if let Some(core) = self.cores.get_mut(&id) {
                core.log_mut().sync();
                core.on_synced(now);
            }
        }
        if let Some(key) = self.mail.keys().next().copied()
            && key.0 <= now
        {
            let (from, to, mail) = self.mail.remove(&key).expect("it was just seen");
            self.deliver(from, to, mail);
        }
        let written = now + self.promises_take;
        for core in self.cores.values_mut() {
            if core.next_tick() <= now {
                core.tick(now);
            }
            core.on_written(|| written);
        }
        self.collect();
        self.check();
    }

    fn deliver(&mut self, from: ServerId, to: ServerId, mail: Mail) {
        let now = self.now;
        if self.waiting == Some(to) {
            self.post(from, to, mail);
            return;
        }
        let lost = matches!(mail, Mail::Ping) && self.pings_fail;
        let shut = mail.asks() && (self.shut == Some(to) || self.unheard.contains(&from));
        let reachable = !self.cut.contains(&from) && !self.cut.contains(&to) && !shut && !lost;
        let Some(core) = self.cores.get_mut(&to).filter(|_| reachable) else {
            // Whoever sent entries hears that they were not answered.
            let (sender, receiver, round) = match &mail {
                Mail::Append(request) => (from, to, request.round),
                Mail::AppendReply(reply) => (to, from, reply.round),
                _ => return,
            };
            if let Some(core) = self.cores.get_mut(&sender) {
                core.on_unreachable(receiver, round, now);
            }
            return;
        };
        match mail {
            Mail::Vote(request) => {
                let reply = core.on_vote(&request, now);
                self.post(to, from, Mail::VoteReply(request, reply));
            }
            Mail::VoteReply(request, reply) => core.on_vote_reply(from, &request, reply, now),
            Mail::Append(request) => {
                let round = request.round;
                if let Some(mut answer) = core.on_append(request, now) {
                    if answer.after_sync.0 > 0 {
                        core.log_mut().sync();
                        answer.reply.durable = core.log().durable();
                    }
                    self.post(to, from, Mail::AppendReply(answer.reply));
                } else if let Some(core) = self.cores.get_mut(&from) {
                    core.on_unreachable(to, round, now);
                }
            }
            Mail::AppendReply(reply) => core.on_append_reply(from, &reply, now),
            Mail::TakeOver(term) => {
                core.on_take_over(from, term, now);
            }
            Mail::Ping => self.post(to, from, Mail::Pong),
            Mail::Pong => core.on_pinged(from, now),
        }
    }

    fn collect(&mut self) {
        let ids: Vec<ServerId> = self.cores.keys().copied().collect();
        for id in ids {
            let outputs = self.cores.get_mut(&id).map(Core::take_outputs).unwrap_or_default();
            for output in outputs {
                match output {
                    Output::Vote { to, request } => self.post(id, to, Mail::Vote(request)),
                    Output::Append { to, request } => self.post(id, to, Mail::Append(request)),
                    Output::Sync(_) => {
                        self.count += 1;
                        self.syncs.insert((self.now + Duration::from_millis(1), self.count), id);
                    }
                    Output::TakeOver { to, term } => self.post(id, to, Mail::TakeOver(term)),
                    Output::Ping { to } => self.post(id, to, Mail::Ping),
                    Output::Snapshot { to, term } => {
                        self.snapshots.push(to);
                        self.cores.get_mut(&id).expect("it is there").on_snapshot_sent(to, term, None, self.now);
                    }
                }
            }
        }
    }

    fn check(&mut self) {
        for (id, core) in &self.cores {
            if core.leads() {
                let leader = self.leaders.entry(core.term()).or_insert(*id);
                assert_eq!(leader, id, "two leaders in {:?}", core.term());
            }
            let checked = self.checked.entry(*id).or_default();
            if core.commit() < *checked {
                *checked = LogIndex(0); // A new life of it: look at everything again.
            }
            for entry in core.log().read(checked.next(), usize::MAX).expect("memory does not fail") {
                if entry.index > core.commit() {
                    break;
                }
                *checked = entry.index;
                match self.agreed.get(&entry.index) {
                    Some(agreed) => assert_eq!(*agreed, entry, "{id} disagrees"),
                    None => {
                        if entry.synced {
                            self.fenced.insert(entry.index);
                        }
                        self.agreed.insert(entry.index, entry);
                    }
                }
            }
        }
    }

    fn leader(&self) -> Option<ServerId> {
        let surely = |(id, c): (&ServerId, &Core<MemoryLog>)| (c.leads_surely() && !id.is_witness()).then_some(*id);
        self.cores.iter().filter(|(id, _)| !self.cut.contains(id)).find_map(surely)
    }

    fn propose(&mut self, n: u64, synced: bool) {
        if let Some(id) = self.leader() {
            let data = Bytes::from(n.to_le_bytes().to_vec());
            self.cores.get_mut(&id).and_then(|c| c.propose(data, synced, self.now));
            self.collect();
        }
    }

    fn kill(&mut self, id: ServerId, power: bool) {
        if let Some(core) = self.cores.remove(&id) {
            let mut log = core.log().clone();
            if power {
                log.lose_unsynced();
            }
            // What was forgotten stays so through any number of lives, until it is made up for.
            self.disks.insert(id, (log, power || core.doubtful()));
            for core in self.cores.values_mut() {
                core.on_gone(id, self.now);
            }
        }
    }

    fn restart(&mut self, id: ServerId) {
        if let Some((log, power)) = self.disks.remove(&id) {
            let n = (self.cores.len() + self.disks.len() + 1) as u16;
            self.cores.insert(id, Core::new(setup(id, n, self.seed, power), log, LogIndex(0), self.now));
        }
    }

    /// A voter whose history is no more starts anew, with nothing.
    fn start_anew(&mut self, id: ServerId) {
        self.kill(id, false);
        if let Some((log, doubtful)) = self.disks.get_mut(&id) {
            log.reset(LogIndex(0), Term(0)).expect("memory does not fail");
            *doubtful = true;
        }
        self.restart(id);
    }

    fn is_of_another_history(&self, id: ServerId) -> bool {
        self.cores.get(&id).is_some_and(|c| matches!(c.failure(), Some(Failure::OtherHistory(_))))
    }

    /// Power is lost on more than a minority: of what was agreed, only the entries that fence must still be there.
    fn excuse_what_was_not_synced(&mut self) {
        let fenced = &self.fenced;
        self.agreed.retain(|i, _| fenced.contains(i));
    }

    /// All entries that fence are where they were, and all voters have the same log up to what is agreed.
    fn check_one_history(&self) {
        let longest = self.cores.values().max_by_key(|c| c.commit()).expect("voters are up");
        let all = longest.log().read(LogIndex(1), usize::MAX).expect("memory does not fail");
        for core in self.cores.values() {
            let own = core.log().read(LogIndex(1), usize::MAX).expect("memory does not fail");
            let agreed = core.commit().0 as usize;
            assert_eq!(own[..agreed], all[..agreed]);
        }
        for fence in &self.fenced {
            assert!(self.agreed.contains_key(fence), "{fence} fenced, and is lost");
            assert_eq!(self.agreed[fence], all[fence.0 as usize - 1]);
        }
    }

    fn all_agree(&self) -> bool {
        let agrees = |c: &Core<MemoryLog>| c.commit().0 >= self.last_agreed() && !c.doubtful() && c.failure().is_none();
        self.leader().is_some() && self.cores.values().all(agrees)
    }

    /// Runs until all agree, on `index` at least. Voters whose history is no more start anew, as servers do; how many.
    fn come_to_terms(&mut self, index: u64) -> usize {
        let mut anew = 0;
        let since = self.now;
        while !self.all_agree() || self.last_agreed() < index {
            self.run(Duration::from_millis(50));
            for id in self.cores.keys().copied().collect::<Vec<_>>() {
                if self.is_of_another_history(id) {
                    self.start_anew(id);
                    anew += 1;
                }
            }
            if self.now >= since + Duration::from_secs(60) {
                self.tell();
                panic!("seed {}: they do not come to terms", self.seed);
            }
        }
        anew
    }

    fn recoveries(&self) -> usize {
        self.agreed.values().filter(|e| e.data == RECOVERED && e.synced).count()
    }

    fn last_agreed(&self) -> u64 {
        self.agreed.last_key_value().map_or(0, |(k, _)| k.0)
    }

    fn tell(&self) {
        for (id, c) in &self.cores {
            let (term, last, commit) = (c.term(), c.log().last(), c.commit());
            eprintln!(
                "{id}: {term} leads {} of {:?}, last {last:?}, agreed {commit}, {:?}",
                c.leads(),
                c.leader(),
                c.doubt
            );
        }
    }

    fn until(&mut self, what: &str, mut condition: impl FnMut(&World) -> bool) {
        for _ in 0..2000 {
            if condition(self) {
                return;
            }
            self.run(Duration::from_millis(5));
        }
        self.tell();
        panic!("did not happen: {what}");
    }
}

#[test]
fn a_leader_is_elected_and_entries_are_agreed_everywhere() {
    let mut world = World::new(5, 1);
    world.until("a leader", |w| w.leader().is_some());
    (0..50).for_each(|n| world.propose(n, n % 7 == 0));
    world.until("agreement", |w| w.cores.values().all(|c| c.commit().0 >= 51));
    assert!(world.cores.values().all(|c| c.lease_from().is_some()));
}

#[test]
fn what_no_voter_says_is_refused_and_changes_nothing() {
    let mut world = World::new(5, 9);
    world.until("a leader", |w| w.leader().is_some());
    (0..5).for_each(|n| world.propose(n, false));
    world.run(Duration::from_millis(300));
    let (leader, now) = (world.leader().expect("it leads"), world.now);
    let other = (1..5).map(ServerId).find(|id| *id != leader).expect("there are three");
    let core = world.cores.get_mut(&other).expect("it lives");
    let (term, (last, last_term)) = (core.term(), core.log().last());
    let entry = |index, term| LogEntry { term: Term(term), index: LogIndex(index), synced: false, data: Bytes::new() };
    let request = |term, prev_index, prev_term, entries: Vec<LogEntry>| AppendRequest {
        from: leader,
        term: Term(term),
        round: 999,
        heard: 0,
        prev_index: LogIndex(prev_index),
        prev_term: Term(prev_term),
        entries,
        commit: LogIndex(0),
        durable: LogIndex(0),
        sync_to: LogIndex(0),
        leader_last: last,
        spare: LogIndex(0),
    };
    let (t, at) = (last_term.0, last.0);
    for unsound in [
        request(t, at, t, vec![entry(at + 2, t)]),
        request(t, at, t, vec![entry(at + 1, t), entry(at + 1, t)]),
        request(t, at, t, vec![entry(at + 1, t + 1)]),
        request(t, at, t, vec![entry(at + 1, t - 1)]),
        request(t, u64::MAX, t, vec![entry(0, t)]),
        request(u64::MAX, at, t, Vec::new()),
    ] {
        assert_eq!(core.on_append(unsound.clone(), now), None, "{unsound:?}");
    }
    let vote = |pre| VoteRequest {
        from: leader,
        term: Term(u64::MAX),
        pre,
        transfer: true,
        recovery: true,
        last_term: Term(u64::MAX),
        last_index: LogIndex(u64::MAX),
    };
    assert!(!core.on_vote(&vote(true), now).granted && !core.on_vote(&vote(false), now).granted);
    assert_eq!((core.term(), core.log().last(), core.failure().is_none()), (term, (last, last_term), true));
}

#[test]
fn a_silent_leader_is_replaced_and_steps_back() {
    let mut world = World::new(5, 3);
    world.until("a leader", |w| w.leader().is_some());
    let (old, at) = (world.leader().expect("it was just elected"), world.now);
    world.cut.insert(old);
    world.until("another leader", |w| w.leader().is_some());
    assert!(world.now - at <= Duration::from_millis(1400), "{:?}", world.now - at);
    let silence = world.cores[&world.leader().expect("it leads")].silence(world.now);
    let of_old = silence.into_iter().find(|(id, _)| *id == old).and_then(|(_, ago)| ago);
    assert!(of_old.is_some_and(|ago| ago >= limits::ELECTION), "it was silent before, too: {of_old:?}");
    world.until("the old one noticed", |w| !w.cores[&old].leads());
    world.cut.clear();
    let term = world.cores[&world.leader().expect("it leads")].term();
    world.run(Duration::from_secs(5));
    assert_eq!(world.cores[&world.leader().expect("it leads")].term(), term, "the one that returns does not disturb");
}

#[test]
fn the_lead_is_handed_over_without_a_pause() {
    let mut world = World::new(5, 4);
    world.until("a leader", |w| w.leader().is_some());
    world.propose(1, false);
    world.run(Duration::from_millis(100));
    let (old, at) = (world.leader().expect("it was just elected"), world.now);
    let now = world.now;
    assert!(world.cores.get_mut(&old).is_some_and(|c| c.hand_over(now)));
    world.collect();
    world.until("another leader", |w| w.leader().is_some_and(|l| l != old));
    assert!(world.now - at <= Duration::from_millis(20), "{:?}", world.now - at);
}

/// The leader, the witness and the third of the others agree on an entry, of which the first two, who are cut off, hear
/// nothing: who leads, the others, and the entry.
fn two_servers_miss_an_entry(world: &mut World) -> (ServerId, Vec<ServerId>, LogIndex) {
    world.until("a leader", |w| w.leader().is_some());
    let leader = world.leader().expect("it was just elected");
    let others: Vec<ServerId> = voters(5).into_iter().filter(|v| !v.is_witness() && *v != leader).collect();
    world.run(Duration::from_millis(100));
    world.cut.extend(others[..2].iter().copied());
    world.propose(77, false);
    let last = world.last_agreed();
    world.until("agreement of three", |w| w.last_agreed() > last);
    (leader, others, LogIndex(world.last_agreed()))
}

#[test]
fn the_witness_leads_only_to_hand_over() {
    let mut world = World::new(5, 5);
    // When the two that have it die, only the witness has it.
    let (leader, others, index) = two_servers_miss_an_entry(&mut world);
    world.kill(leader, false);
    world.kill(others[2], false);
    world.cut.clear();
    world.until("a server leads", |w| w.leader().is_some());
    world.until("it has the entry", |w| w.leader().is_some_and(|l| w.cores[&l].commit() >= index));
    assert!(world.leaders.values().any(|l| l.is_witness()), "the witness had to lead in between");
}

#[test]
fn who_alone_has_the_newest_entry_leads_soon_though_it_is_the_witness() {
    for seed in 0..20 {
        let mut world = World::new(5, 700 + seed);
        let (leader, others, index) = two_servers_miss_an_entry(&mut world);
        let at = world.now;
        // Now the other half is cut off: nobody is seen to be gone.
        world.cut = BTreeSet::from([leader, others[2]]);
        world.until("a server leads that has the entry", |w| {
            others[..2].iter().any(|id| w.cores[id].leads() && w.cores[id].commit() >= index)
        });
        let bound = limits::ELECTION * 2 + Duration::from_millis(200);
        assert!(world.now - at <= bound, "seed {seed}: {:?}", world.now - at);
    }
}

#[test]
fn servers_that_may_have_forgotten_do_not_vote_but_recover_together() {
    let mut world = World::new(5, 6);
    world.until("a leader", |w| w.leader().is_some());
    world.propose(1, true);
    (2..20).for_each(|n| world.propose(n, false));
    world.run(Duration::from_millis(300));
    voters(5).into_iter().for_each(|id| world.kill(id, true));
    let fenced = world.fenced.clone();
    assert!(!fenced.is_empty());
    world.excuse_what_was_not_synced();
    for id in [1, 2, 3] {
        world.restart(ServerId(id));
    }
    world.run(Duration::from_secs(10));
    assert_eq!(world.leader(), None, "three that may have forgotten do not lead while two are missing");
    world.restart(ServerId(4));
    world.until("a leader, one missing, after a while", |w| w.leader().is_some());
    let leader = &world.cores[&world.leader().expect("it leads")];
    assert!(fenced.iter().all(|i| leader.log().term_at(*i).is_some()));
    assert_eq!(world.recoveries(), 1, "and everybody is told");
}

#[test]
fn the_patience_for_a_missing_voter_begins_when_the_leader_is_lost() {
    let mut world = World::new(5, 8);
    world.until("a leader", |w| w.leader().is_some());
    world.run(Duration::from_secs(10));
    let leader = world.leader().expect("it leads");
    let others: Vec<ServerId> = voters(5).into_iter().filter(|v| *v != leader).collect();
    // Two lose power and have not been heard by the leader again when it hangs: it may be the only one with an entry.
    world.kill(others[2], true);
    world.kill(others[3], true);
    world.cut.insert(leader);
    world.restart(others[2]);
    world.restart(others[3]);
    world.run(Duration::from_millis(2500));
    assert_eq!((world.leader(), world.recoveries()), (None, 0), "the one that hangs is waited for");
    world.until("they go on without it", |w| w.leader().is_some());
    assert_eq!(world.recoveries(), 1);
}

#[test]
fn a_voter_that_had_applied_more_than_the_new_leader_falls_silent_and_starts_anew() {
    for seed in 0..20 {
        let mut world = World::new(5, 2000 + seed);
        world.until("a leader", |w| w.leader().is_some());
        world.propose(1, true);
        world.run(Duration::from_millis(300));
        (2..20).for_each(|n| world.propose(n, false));
        world.run(Duration::from_millis(300));
        let survivor = ServerId(seed as u16 % 5);
        let applied = world.cores[&survivor].commit();
        assert!(applied.0 >= 20);
        world.cut.insert(survivor);
        let others: Vec<ServerId> = voters(5).into_iter().filter(|v| *v != survivor).collect();
        others.iter().for_each(|id| world.kill(*id, true));
        world.excuse_what_was_not_synced();
        others.iter().for_each(|id| world.restart(*id));
        world.until("the others go on", |w| w.leader().is_some());
        assert!(world.last_agreed() < applied.0 && world.recoveries() == 1, "seed {seed}");
        // With another history that is shorter, and with one that is longer than its own.
        for n in 0..if seed % 2 == 0 { 0 } else { 40 } {
            world.propose(100 + n, false);
        }
        let lease = world.cores[&survivor].lease_from();
        world.cut.clear();
        world.until("it notices", |w| w.is_of_another_history(survivor));
        assert_eq!(world.cores[&survivor].lease_from(), lease, "seed {seed}: it never served beside the new history");
        world.start_anew(survivor);
        world.propose(999, false);
        world.until("all agree", World::all_agree);
        world.check_one_history();
    }
}

#[test]
fn after_power_cuts_of_many_all_end_with_one_history_and_no_fence_is_lost() {
    let (mut recovered, mut anew) = (0, 0);
    for seed in 0..60 {
        let mut world = World::new(5, 5000 + seed);
        for _ in 0..3 {
            world.until("a leader", |w| w.leader().is_some());
            for n in 0..10 + world.random(30) {
                world.propose(n, n % 9 == 0);
                let pause = world.random(20);
                world.run(Duration::from_millis(pause));
            }
            // Nobody, or one, keeps its power; and may be away when the others come back.
            let spared = ServerId(world.random(8) as u16);
            let away = world.random(2) == 0;
            if away {
                world.cut.insert(spared);
            }
            let victims: Vec<ServerId> = world.cores.keys().copied().filter(|id| *id != spared).collect();
            for id in &victims {
                world.kill(*id, true);
                let pause = world.random(3);
                world.run(Duration::from_millis(pause));
            }
            world.excuse_what_was_not_synced();
            for id in victims {
                world.restart(id);
                if world.random(4) == 0 {
                    // Once more, before it could catch up: what it forgot stays forgotten.
                    world.run(Duration::from_millis(20));
                    world.kill(id, false);
                    world.restart(id);
                }
            }
            let pause = world.random(6000);
            world.run(Duration::from_millis(pause));
            world.cut.clear();
            anew += world.come_to_terms(0);
        }
        world.until("a leader at the end", |w| w.leader().is_some());
        world.propose(9999, false);
        let before = world.last_agreed();
        anew += world.come_to_terms(before + 1);
        world.check_one_history();
        recovered += world.recoveries();
    }
    assert!(recovered > 100 && anew > 2, "{recovered} recoveries, {anew} started anew");
}

#[test]
fn no_snapshot_is_made_for_one_who_is_away() {
    let mut world = World::new(5, 8);
    world.until("a leader", |w| w.leader().is_some());
    let leader = world.leader().unwrap();
    let away = *voters(5).iter().rev().find(|id| **id != leader).unwrap();
    world.kill(away, false);
    for n in 0..20 {
        world.propose(n, false);
        world.run(Duration::from_millis(20));
    }
    let agreed = LogIndex(world.last_agreed());
    world.cores.values_mut().for_each(|core| core.log_mut().purge(agreed).expect("memory does not fail"));
    world.run(Duration::from_secs(5));
    assert_eq!(world.leader(), Some(leader));
    assert_eq!(world.snapshots, []);
    world.restart(away);
    world.until("a snapshot for the one who is back", |w| w.snapshots.contains(&away));
}

#[test]
fn entries_that_fence_are_durable_on_a_quorum_when_agreed() {
    for seed in 0..30 {
        let mut world = World::new(5, 100 + seed);
        world.until("a leader", |w| w.leader().is_some());
        for n in 0..20 {
            world.propose(n, n % 3 == 0);
            world.run(Duration::from_millis(1));
            let fences: Vec<LogIndex> = world.fenced.iter().copied().collect();
            for fence in fences {
                let durable = world.cores.values().filter(|c| c.log().durable() >= fence).count();
                assert!(durable >= 3, "{fence} is agreed, and durable on {durable}");
            }
        }
    }
}

#[test]
fn a_new_leader_has_the_fences_synced_that_it_finds() {
    for seed in 0..20 {
        let mut world = World::new(5, 700 + seed);
        world.until("a leader", |w| w.leader().is_some());
        world.run(Duration::from_millis(200));
        let old = world.leader().expect("there is one");
        // One other server gets the entry, and whoever has it may be the next leader.
        let other = (1..5).map(ServerId).filter(|id| *id != old).nth(seed as usize % 3).expect("there are three");
        world.cut = (0..5).map(ServerId).filter(|id| *id != old && *id != other).collect();
        world.propose(1, true);
        world.run(Duration::from_millis(10));
        world.kill(old, false);
        world.cut.clear();
        let killed = world.now;
        world.until("another leads", |w| w.leader().is_some());
        let took = world.now - killed;
        assert!(took < Duration::from_millis(200), "seed {seed}: {took:?}");
    }
}

#[test]
fn nothing_agreed_is_lost_under_kills_cuts_and_power_cuts_of_one_at_a_time() {
    for seed in 0..150 {
        let mut world = World::new(5, 1000 + seed);
        let mut down: Option<ServerId> = None;
        for n in 0..60 {
            for k in 0..world.random(6) {
                world.propose(n * 10 + k, k == 3);
            }
            let pause = world.random(120);
            world.run(Duration::from_millis(pause));
            match (world.random(6), down) {
                (0, None) => {
                    let id = ServerId(world.random(5) as u16);
                    let power = world.random(2) == 0;
                    world.kill(id, power);
                    down = Some(id);
                }
                (1 | 2, Some(id)) => {
                    world.restart(id);
                    // One at a time: the next fault comes when this one is healed.
                    world.until("it has caught up", |w| {
                        let last = w.last_agreed();
                        w.cores[&id].commit().0 >= last && !w.cores[&id].doubtful() && w.leader().is_some()
                    });
                    down = None;
                }
                (3, None) => {
                    let id = ServerId(world.random(5) as u16);
                    world.cut.insert(id);
                    let pause = 300 + world.random(2000);
                    world.run(Duration::from_millis(pause));
                    world.cut.clear();
                }
                _ => {}
            }
        }
        if let Some(id) = down {
            world.restart(id);
        }
        // Who was cut off a moment ago may not know yet that another leads.
        world.run(Duration::from_secs(2));
        let before = world.last_agreed();
        world.until("a leader at the end", |w| w.leader().is_some());
        world.propose(9999, false);
        world.until("all agree at the end", |w| {
            w.cores.values().all(|c| c.commit().0 > before && c.commit().0 >= w.last_agreed())
        });
    }
}
