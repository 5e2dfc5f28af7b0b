//! When a leader has a snapshot sent, and when not.

use super::*;
use crate::consensus::log::Vote;

/// Has a voter elected by all, and answers whoever asks for entries that it has none of them; the snapshots that it wants sent.
fn elected_with_one_behind(core: &mut Core<MemoryLog>, now: &mut Duration) -> Vec<(ServerId, Term)> {
    let mut wanted = Vec::new();
    while !core.leads() {
        *now = core.next_tick().max(*now);
        core.tick(*now);
        for output in core.take_outputs() {
            let Output::Vote { to, request } = output else { continue };
            let reply = VoteReply {
                term: Term(request.term.0 - u64::from(request.pre)),
                granted: true,
                doubtful: false,
                stranger: false,
                incarnation: Incarnation(0),
                last_term: Term(0),
                last_index: LogIndex(0),
            };
            core.on_vote_reply(to, &request, reply, *now);
        }
    }
    wanted.extend(snapshots_for_one_behind(core, now));
    wanted
}

fn snapshots_for_one_behind(core: &mut Core<MemoryLog>, now: &mut Duration) -> Vec<(ServerId, Term)> {
    let mut wanted = Vec::new();
    for _ in 0..3 {
        *now = core.next_tick().max(*now);
        core.tick(*now);
        for output in core.take_outputs() {
            match output {
                Output::Append { to, request } => {
                    let held = request.prev_index.0 + request.entries.len() as u64;
                    let (ok, matched) = if to == ServerId(3) { (false, 0) } else { (true, held) };
                    let reply = AppendReply {
                        incarnation: Incarnation(0),
                        term: request.term,
                        round: request.round,
                        ok,
                        matched: LogIndex(matched),
                        durable: LogIndex(0),
                        applied_durable: LogIndex(0),
                    };
                    core.on_append_reply(to, &reply, *now);
                }
                Output::Snapshot { to, term } => wanted.push((to, term)),
                _ => {}
            }
        }
        wanted.extend(core.take_outputs().into_iter().filter_map(|output| match output {
            Output::Snapshot { to, term } => Some((to, term)),
            _ => None,
        }));
    }
    wanted
}

#[test]
fn the_end_of_a_snapshot_of_an_earlier_term_does_not_begin_another_beside_the_present_one() {
    let mut log = MemoryLog::default();
    log.save_vote(Vote { term: Term(1), given: None }).expect("memory does not fail");
    log.reset(LogIndex(10), Term(1)).expect("memory does not fail");
    let mut now = Duration::ZERO;
    let mut core = Core::new(setup(ServerId(1), 4, 7, false), log, LogIndex(10), now);
    let first = elected_with_one_behind(&mut core, &mut now);
    let [(to, old)] = first[..] else { panic!("one is sent: {first:?}") };
    // Another leads for a moment.
    let other = AppendRequest {
        from: ServerId(2),
        term: Term(old.0 + 1),
        round: 1,
        prev_index: LogIndex(11),
        prev_term: old,
        entries: Vec::new(),
        commit: LogIndex(11),
        durable: LogIndex(0),
        spare: LogIndex(0),
        heard: 0,
        sync_to: LogIndex(0),
        leader_last: LogIndex(11),
    };
    assert!(core.on_append(other, now).is_some_and(|answer| answer.reply.ok) && !core.leads());
    let second = elected_with_one_behind(&mut core, &mut now);
    let [(_, new)] = second[..] else { panic!("one is sent: {second:?}") };
    assert!(new > old);
    core.on_snapshot_sent(to, old, None, now);
    assert_eq!(snapshots_for_one_behind(&mut core, &mut now), [], "the present one is under way");
    core.on_snapshot_sent(to, new, None, now);
    assert_eq!(snapshots_for_one_behind(&mut core, &mut now), [(to, new)], "it came to nothing");
}
