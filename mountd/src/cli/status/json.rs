//! The status as JSON, for programs. The keys are documented in docs/OPERATING.md and never change their meaning; new
//! ones may come. What is not known is null.

use super::super::json_path;
use super::super::local::Name;
use super::super::mounts::MountState;
use super::super::process::State;
use super::Seen;
use super::verdict::{Verdict, bytes_per_s, chunks_per_s, copy, percent, progress, scrub_percent, time_left};
use raidfs_common::id::ServerId;
use raidfs_common::pair::Pair;
use raidfs_common::rpc::admin::{Counters, ResyncProgress, ScrubPass, ScrubState, ScrubStatus, ServerStatus};
use serde_json::{Value, json};
use std::os::unix::ffi::OsStrExt;

/// The whole document.
pub fn of(seen: &Seen, verdict: &Verdict) -> Value {
    let best = seen.best();
    let pairs = best.map(|s| s.pairs.as_slice()).unwrap_or_default();
    json!({
        "verdict": verdict.level.word(),
        "reasons": verdict.reasons,
        "cluster": seen.config.cluster,
        "leader": seen.leader().map(|l| l.to_string()),
        "servers": seen.config.voters().into_iter().map(|s| server(seen, s)).collect::<Vec<_>>(),
        "pairs": pairs.iter().map(|p| pair(seen, p)).collect::<Vec<_>>(),
        "directories": best.map(|s| s.inodes.0),
        "files": best.map(|s| s.inodes.1),
        "session": best.and_then(|s| s.session.as_ref()).map(|(id, holder)| {
            json!({ "id": format!("{:016x}", id.0), "holder": holder })
        }),
        "mount": mount(seen),
    })
}

fn server(seen: &Seen, id: ServerId) -> Value {
    let answer = seen.answer(id);
    let pairs = seen.best().map(|s| s.pairs.as_slice()).unwrap_or_default();
    let member = pairs.iter().find_map(|p| p.member(id));
    let chunks = answer.filter(|_| !id.is_witness());
    json!({
        "name": id.to_string(),
        "witness": id.is_witness(),
        "address": seen.config.address(id).map(|a| a.to_string()),
        "up": answer.is_some(),
        "pid": pid(seen, Name::Server(id)),
        "process": seen.process(Name::Server(id)).map(process),
        "starting": answer.is_none() && seen.starting.contains_key(&id),
        "refusal": seen.refusals.get(&id),
        "silent_ms": if answer.is_some() { None } else { seen.silent_for(id).map(|d| d.as_millis() as u64) },
        "leader": seen.leader() == Some(id),
        "hears_leader": answer.map(|s| s.quorum),
        "pair": seen.config.pair_of(id).map(|p| p.0),
        "copy": member.map(|m| copy(m.state)),
        "resync": progress(seen, id).map(|p| resync(&p)),
        "uptime_s": answer.map(|s| s.uptime_s),
        "term": answer.map(|s| s.term.0),
        "last_index": answer.map(|s| s.last_index.0),
        "applied": answer.map(|s| s.applied.0),
        "chunks": chunks.map(|s| s.held.0),
        "chunk_bytes": chunks.map(|s| s.held.1),
        "space": chunks.map(space),
        "disk_error": answer.and_then(|s| s.disk_error.as_ref()),
        "requests": chunks.map(|s| counters(&s.counters)),
        "scrub": chunks.map(|s| scrub(&s.scrub)),
        "replacing": seen.best().map(|best| best.replacing.contains(&id)),
    })
}

fn space(s: &ServerStatus) -> Value {
    json!({ "total": s.space.total, "free": s.space.free })
}

fn counters(c: &Counters) -> Value {
    json!({
        "queries": c.queries,
        "changes": c.changes,
        "reads": c.reads,
        "read_bytes": c.read_bytes,
        "primary_changes": c.primary_changes,
        "mirror_changes": c.mirror_changes,
        "written_bytes": c.written_bytes,
        "copied_bytes": c.copied_bytes,
        "syncs": c.syncs,
        "damaged_blocks": c.damaged_blocks,
        "resynced_chunks": c.resynced_chunks,
    })
}

fn scrub(s: &ScrubStatus) -> Value {
    json!({ "now": s.now.map(|pass| scrub_pass(&pass)), "last": s.last.map(|pass| scrub_pass(&pass)) })
}

fn scrub_pass(p: &ScrubPass) -> Value {
    json!({
        "asked": p.asked,
        "ended": match p.state {
            ScrubState::Ended(at) => Some(at),
            ScrubState::Runs | ScrubState::BrokenOff => None,
        },
        "elapsed_ms": p.elapsed_ms,
        "percent": scrub_percent(p),
        "chunks_done": p.chunks,
        "chunks_total": p.total,
        "bytes_done": p.bytes,
        "bytes_total": p.total_bytes,
        "chunks_mended": p.mended,
        "chunks_lost": p.lost,
    })
}

fn resync(p: &ResyncProgress) -> Value {
    json!({
        "chunks_done": p.done,
        "chunks_total": p.total,
        "bytes_done": p.bytes,
        "elapsed_ms": p.elapsed_ms,
        "percent": percent(p),
        "chunks_per_s": chunks_per_s(p),
        "bytes_per_s": bytes_per_s(p),
        "eta_s": time_left(p).map(|t| t.as_secs_f64()),
    })
}

fn pair(seen: &Seen, pair: &Pair) -> Value {
    json!({
        "pair": pair.id.0,
        "servers": pair.members.iter().map(|m| m.server.to_string()).collect::<Vec<_>>(),
        "copies": pair.members.iter().map(|m| copy(m.state)).collect::<Vec<_>>(),
        "serving": seen.serving(pair).map(|server| server.to_string()).collect::<Vec<_>>(),
        "epoch": pair.epoch.0,
        "space": { "total": pair.space.total, "free": pair.space.usable() },
    })
}

fn mount(seen: &Seen) -> Option<Value> {
    let (path, state) = seen.mount.as_ref()?;
    let word = match state {
        MountState::None => "none",
        MountState::Answers => "mounted",
        MountState::Hangs => "hangs",
        MountState::Dead(_) => "dead",
        MountState::Foreign(_) => "foreign",
    };
    let mut object = json!({
        "state": word,
        "pid": pid(seen, Name::Mount),
        "process": seen.process(Name::Mount).map(process),
    });
    json_path::put(&mut object, path.as_os_str().as_bytes());
    Some(object)
}

fn pid(seen: &Seen, name: Name) -> Option<i32> {
    match seen.process(name) {
        Some(State::Running(pid)) => Some(pid),
        _ => None,
    }
}

fn process(state: State) -> &'static str {
    match state {
        State::Running(_) => "running",
        State::Crashed => "died",
        State::Stopped => "stopped",
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::seen;
    use super::super::verdict::judge;
    use super::*;

    #[test]
    fn the_keys_that_scripts_rely_on_are_there() {
        let mut s = seen();
        s.answers.insert(ServerId(3), None);
        let last = ScrubPass { state: ScrubState::Ended(5), mended: 2, ..ScrubPass::default() };
        s.answers.get_mut(&ServerId(4)).unwrap().as_mut().unwrap().scrub.last = Some(last);
        let j = of(&s, &judge(&s));
        assert_eq!(j["verdict"], "degraded");
        assert_eq!(j["leader"], "fsd1");
        let server = |name: &str| {
            let all = j["servers"].as_array().unwrap();
            all.iter().find(|x| x["name"] == name).unwrap().clone()
        };
        assert_eq!((server("fsd1")["leader"].clone(), server("fsd1")["copy"].clone()), (true.into(), "in sync".into()));
        assert_eq!((server("fsd3")["up"].clone(), server("fsd3")["silent_ms"].clone()), (false.into(), 200_000.into()));
        assert_eq!(server("fsd4")["requests"]["reads"], 10);
        assert_eq!(server("witness")["requests"], Value::Null);
        assert_eq!(server("fsd1")["scrub"]["last"], Value::Null);
        assert_eq!(server("fsd4")["scrub"]["last"]["chunks_mended"], 2);
        assert_eq!(server("fsd4")["scrub"]["last"]["ended"], 5);
        assert_eq!(server("fsd4")["replacing"], false);
        assert_eq!(j["pairs"][1]["serving"], json!(["fsd4"]));
        assert_eq!(j["session"]["id"], "0000000000000abc");
        assert_eq!(
            (server("fsd3")["starting"].clone(), server("fsd3")["refusal"].clone()),
            (false.into(), Value::Null)
        );
        s.refusals.insert(ServerId(3), "refused: x".into());
        s.answers.values_mut().flatten().for_each(|status| (status.leader, status.quorum) = (None, false));
        let j = of(&s, &judge(&s));
        assert_eq!((&j["servers"][2]["refusal"], &j["pairs"][1]["serving"]), (&"refused: x".into(), &json!([])));
    }
}
