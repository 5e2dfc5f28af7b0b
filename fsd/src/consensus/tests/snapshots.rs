//! When a leader has a snapshot sent, and when not.

use super::*;
use crate::consensus::log::Vote;

/// Lacks everything that a log can hold.
const BEHIND: ServerId = ServerId(3);

/// Elects whoever asks, and has whatever is sent, but for one who is behind: which snapshots are wanted for it, in which term.
fn answer_all(core: &mut Core<MemoryLog>, now: Now) -> Vec<(ServerId, Term)> {
    let mut wanted = Vec::new();
    loop {
        let outputs = core.take_outputs();
        if outputs.is_empty() {
            return wanted;
        }
        for output in outputs {
            match output {
                Output::Vote { to, request } => {
                    let reply = elects(&request);
                    core.on_vote_reply(to, &request, reply, now);
                }
                Output::Append { to, request } => {
                    let held = request.prev_index.0 + request.entries.len() as u64;
                    let (ok, matched) = if to == BEHIND { (false, 0) } else { (true, held) };
                    let reply = AppendReply {
                        incarnation: Incarnation(0),
                        term: request.term,
                        round: request.round,
                        ok,
                        matched: LogIndex(matched),
                        durable: LogIndex(0),
                        applied_durable: LogIndex(0),
                        reaches: true,
                    };
                    core.on_append_reply(to, &reply, now);
                }
                Output::Snapshot { to, term } => wanted.push((to, term)),
                Output::Sync(_) | Output::TakeOver { .. } | Output::Ping { .. } => {}
            }
        }
    }
}

/// Goes on for a few ticks: which snapshots are wanted meanwhile.
fn wanted(core: &mut Core<MemoryLog>, now: &mut Now) -> Vec<(ServerId, Term)> {
    let mut wanted = Vec::new();
    for _ in 0..3 {
        *now = core.next_tick().max(*now);
        core.tick(*now);
        wanted.extend(answer_all(core, *now));
    }
    wanted
}

/// Has it elected: the term, in which one snapshot is wanted.
fn elect(core: &mut Core<MemoryLog>, now: &mut Now) -> Term {
    let mut snapshots = Vec::new();
    for _ in 0..100 {
        if core.leads() {
            break;
        }
        *now = core.next_tick().max(*now);
        core.tick(*now);
        snapshots.extend(answer_all(core, *now));
    }
    assert!(core.leads());
    snapshots.extend(wanted(core, now));
    assert_eq!(snapshots, [(BEHIND, core.term())]);
    core.term()
}

#[test]
fn the_end_of_a_snapshot_of_an_earlier_term_does_not_begin_another_beside_the_present_one() {
    let mut log = MemoryLog::default();
    log.save_vote(Vote { term: Term(1), given: None }).expect("memory does not fail");
    log.reset(LogIndex(10), Term(1)).expect("memory does not fail");
    let mut now = Duration::ZERO;
    let mut core = Core::new(setup(ServerId(1), 4, 7, false), log, LogIndex(10), now);
    let old = elect(&mut core, &mut now);
    // Another leads for a moment.
    let other = AppendRequest {
        from: ServerId(2),
        term: Term(old.0 + 1),
        round: 1,
        heard: 0,
        prev_index: LogIndex(11),
        prev_term: old,
        entries: Vec::new(),
        commit: LogIndex(11),
        durable: LogIndex(0),
        sync_to: LogIndex(0),
        leader_last: LogIndex(11),
        spare: LogIndex(0),
    };
    assert!(core.on_append(other, now).is_some_and(|answer| answer.reply.ok) && !core.leads());
    let new = elect(&mut core, &mut now);
    assert!(new > old);
    core.on_snapshot_sent(BEHIND, old, None, now);
    assert_eq!(wanted(&mut core, &mut now), [], "the present one is under way");
    core.on_snapshot_sent(BEHIND, new, None, now);
    assert_eq!(wanted(&mut core, &mut now), [(BEHIND, new)], "it came to nothing");
}
