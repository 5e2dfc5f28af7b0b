//! What a leader makes of answers, and what its followers make of its words: leases (rule 7), and what may be dropped (rule 18).

use super::*;
use crate::consensus::following::Answer;
use crate::consensus::log;

const ME: ServerId = ServerId(1);

/// One of so many voters that leads, and has applied nothing durably; everybody has its first entry.
fn leader(voters: u16) -> (Core<MemoryLog>, Now) {
    leader_with(voters, MemoryLog::default(), None)
}

/// The same of one that has this log; one of the others never answers an append.
fn leader_with(voters: u16, log: MemoryLog, mute: Option<ServerId>) -> (Core<MemoryLog>, Now) {
    let mut now = Duration::ZERO;
    let mut core = Core::new(setup(ME, voters, 7, false), log, LogIndex(0), now);
    while !core.leads_surely() {
        now = core.next_tick().max(now);
        core.tick(now);
        core.on_written(|| now);
        for output in core.take_outputs() {
            match output {
                Output::Vote { to, request } => core.on_vote_reply(to, &request, elects(&request), now),
                Output::Append { to, request } if Some(to) == mute => core.on_unreachable(to, request.round, now),
                Output::Append { to, request } => answer(&mut core, to, &request, 0, now),
                _ => {}
            }
        }
        assert!(now < Duration::from_secs(60), "it is not elected");
    }
    (core, now)
}

/// Answers an append as one who has all of it, and has durably applied that much.
fn answer(core: &mut Core<MemoryLog>, from: ServerId, request: &AppendRequest, applied_durable: u64, now: Now) {
    let reply = AppendReply {
        incarnation: Incarnation(0),
        term: request.term,
        round: request.round,
        ok: true,
        matched: LogIndex(request.prev_index.0 + request.entries.len() as u64),
        durable: LogIndex(0),
        applied_durable: LogIndex(applied_durable),
        reaches: true,
    };
    core.on_append_reply(from, &reply, now);
}

/// The appends of its next heartbeat.
fn heartbeat(core: &mut Core<MemoryLog>, now: &mut Now) -> BTreeMap<ServerId, AppendRequest> {
    let mut sent = BTreeMap::new();
    for _ in 0..10 {
        *now = core.next_tick().max(*now);
        core.tick(*now);
        for output in core.take_outputs() {
            if let Output::Append { to, request } = output {
                sent.insert(to, request);
            }
        }
        if sent.len() + 1 == core.setup.voters.len() {
            return sent;
        }
    }
    panic!("it speaks to {:?} only", sent.keys());
}

#[test]
fn a_leaders_lease_counts_from_when_it_asked_a_quorum_and_not_from_their_answers() {
    let (mut core, mut now) = leader(5);
    let first = heartbeat(&mut core, &mut now);
    let asked = now;
    let before = core.lease_from();
    let late = now + limits::HEARTBEAT / 4;
    answer(&mut core, ServerId(2), &first[&ServerId(2)], 0, late);
    assert_eq!(core.lease_from(), before, "two are no quorum of five");
    answer(&mut core, ServerId(3), &first[&ServerId(3)], 0, late);
    assert_eq!(core.lease_from(), Some(asked), "they may have been heard by another leader since they were asked");
    // What was asked later counts by its own sending, also where answers overtake each other.
    let second = heartbeat(&mut core, &mut now);
    let third = heartbeat(&mut core, &mut now);
    let late = now + limits::HEARTBEAT / 4;
    for to in [2, 3].map(ServerId) {
        answer(&mut core, to, &third[&to], 0, late);
    }
    assert_eq!(core.lease_from(), Some(now));
    for to in [2, 3].map(ServerId) {
        answer(&mut core, to, &second[&to], 0, late);
    }
    assert_eq!(core.lease_from(), Some(now), "what comes late takes nothing back");
}

/// A follower's answer to the word of its leader.
fn hear(core: &mut Core<MemoryLog>, round: u64, heard: u64, now: Now) -> Option<Answer> {
    let word = AppendRequest {
        from: ServerId(2),
        term: Term(1),
        round,
        heard,
        prev_index: LogIndex(0),
        prev_term: Term(0),
        entries: Vec::new(),
        commit: LogIndex(0),
        durable: LogIndex(0),
        sync_to: LogIndex(0),
        leader_last: LogIndex(0),
        spare: LogIndex(0),
    };
    core.on_append(word, now)
}

#[test]
fn a_followers_lease_counts_from_an_answer_that_its_leader_has_had() {
    let mut core = Core::new(setup(ME, 5, 7, false), MemoryLog::default(), LogIndex(0), Duration::ZERO);
    let at = |n: u32| limits::HEARTBEAT * n;
    assert!(hear(&mut core, 1, 0, at(1)).is_some_and(|a| a.reply.ok));
    assert_eq!(core.lease_from(), None, "the leader may be one that nobody hears");
    hear(&mut core, 2, 0, at(2)).expect("it follows");
    assert_eq!(core.lease_from(), None, "nor does it help to hear it twice");
    hear(&mut core, 3, 1, at(5)).expect("it follows");
    assert_eq!(core.lease_from(), Some(at(1)), "not from when it was told that the leader had its answer");
    hear(&mut core, 4, 3, at(6)).expect("it follows");
    assert_eq!(core.lease_from(), Some(at(5)));
}

/// What the leader of so many voters lets be dropped, by what it and each other server have durably applied.
fn spared(voters: u16, own: u64, others: &[(u16, u64)]) -> u64 {
    let (mut core, mut now) = leader(voters);
    let data = || Bytes::from_static(b"x");
    for _ in 0..20 {
        core.propose(data(), false, now).expect("it leads");
    }
    core.on_applied_durable(LogIndex(own));
    for _ in 0..3 {
        for (to, request) in heartbeat(&mut core, &mut now) {
            let applied = others.iter().find(|(id, _)| ServerId(*id) == to).map_or(0, |(_, applied)| *applied);
            answer(&mut core, to, &request, applied, now);
        }
    }
    let told = heartbeat(&mut core, &mut now);
    let spare = told[&ServerId::WITNESS].spare;
    assert!(told.values().all(|request| request.spare == spare));
    spare.0
}

#[test]
fn only_what_three_servers_have_durably_applied_may_be_dropped() {
    assert_eq!(spared(5, 15, &[(2, 12)]), 0, "two of four: the others may need it yet");
    assert_eq!(spared(5, 15, &[(2, 12), (3, 9)]), 9);
    assert_eq!(spared(5, 0, &[(2, 12), (3, 9), (4, 15)]), 9, "whoever they are");
    assert_eq!(spared(5, 15, &[(2, 12), (3, 9), (4, 10)]), 10);
    assert_eq!(spared(3, 15, &[]), 0);
    assert_eq!(spared(3, 15, &[(2, 4)]), 4, "both, where there are two");
}

#[test]
fn who_follows_drops_nothing_that_it_has_not_agreed_on_or_durably_applied_itself() {
    let told = |me, commit| {
        let mut core = Core::new(setup(me, 5, 7, false), MemoryLog::default(), LogIndex(0), Duration::ZERO);
        let entry =
            |index| LogEntry { term: Term(1), index: LogIndex(index), synced: false, data: Bytes::from_static(b"x") };
        let word = AppendRequest {
            from: ServerId(2),
            term: Term(1),
            round: 1,
            heard: 0,
            prev_index: LogIndex(0),
            prev_term: Term(0),
            entries: (1..=20).map(entry).collect(),
            commit: LogIndex(commit),
            durable: LogIndex(0),
            sync_to: LogIndex(0),
            leader_last: LogIndex(20),
            spare: LogIndex(12),
        };
        assert!(core.on_append(word, limits::HEARTBEAT).is_some_and(|answer| answer.reply.ok));
        core
    };
    assert_eq!(told(ServerId::WITNESS, 20).spare(), LogIndex(12), "the witness, by its leader's word alone");
    assert_eq!(told(ServerId::WITNESS, 7).spare(), LogIndex(7));
    let mut server = told(ME, 20);
    assert_eq!(server.spare(), LogIndex(0));
    server.on_applied_durable(LogIndex(5));
    assert_eq!(server.spare(), LogIndex(5));
    server.on_applied_durable(LogIndex(20));
    assert_eq!(server.spare(), LogIndex(12));
}

/// A log of so many entries.
fn log_of(entries: u64) -> MemoryLog {
    let mut log = MemoryLog::default();
    let entry = |index| LogEntry { term: Term(1), index: LogIndex(index), synced: false, data: vec![1; 50].into() };
    log.save_vote(log::Vote { term: Term(1), given: None }).expect("it is kept");
    log.append(&(1..=entries).map(entry).collect::<Vec<_>>()).expect("it appends");
    log
}

/// Proposes so many entries, which all take but `dead`; what was sent to that one.
fn propose_without(core: &mut Core<MemoryLog>, dead: ServerId, entries: u64, now: Now) -> Vec<AppendRequest> {
    let mut sent = Vec::new();
    for n in 0..entries {
        core.propose(vec![n as u8].into(), false, now).expect("it leads");
        let mut outputs = core.take_outputs();
        while !outputs.is_empty() {
            for output in outputs {
                match output {
                    Output::Append { to, request } if to == dead => {
                        core.on_unreachable(to, request.round, now);
                        sent.push(request);
                    }
                    Output::Append { to, request } => answer(core, to, &request, 0, now),
                    _ => {}
                }
            }
            outputs = core.take_outputs();
        }
    }
    sent
}

#[test]
fn what_one_who_has_long_been_silent_lacks_is_not_read_for_it() {
    let dead = ServerId(4);
    // One that answered before, and one that this leader has never heard of.
    for mute in [None, Some(dead)] {
        let (mut core, mut now) = leader_with(5, log_of(5000), mute);
        let sent = propose_without(&mut core, dead, 1000, now);
        let carried: usize = sent.iter().map(|request| request.entries.len()).sum();
        assert!((1..10_000).contains(&carried), "{carried} entries were read for it");
        assert!(sent.len() < 100, "{} appends were sent to it", sent.len());
        // It is still spoken to, and gets all of it once it answers.
        let beat = heartbeat(&mut core, &mut now).remove(&dead).expect("it is not given up");
        assert_eq!((beat.entries.len(), beat.prev_index.0 >= 5000), (0, true), "nothing that it has is sent again");
        answer(&mut core, dead, &beat, 0, now);
        let mut got = beat.prev_index;
        while let Some(request) = core.take_outputs().into_iter().find_map(|output| match output {
            Output::Append { to, request } if to == dead && !request.entries.is_empty() => Some(request),
            _ => None,
        }) {
            assert_eq!(request.prev_index, got);
            got = LogIndex(got.0 + request.entries.len() as u64);
            answer(&mut core, dead, &request, 0, now);
        }
        assert_eq!(got, core.log().last().0);
    }
}
