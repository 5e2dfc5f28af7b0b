//! What `raidfs scrub` says, and how it exits. Pure.

use super::super::human::{self, bytes, several};
use raidfs_common::id::{ChunkId, ServerId};
use raidfs_common::limits::CHUNK_BYTES;
use raidfs_common::rpc::admin::ScrubPass;
use std::collections::BTreeMap;
use std::time::Duration;

/// What came of asking a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It looked at everything; these chunks have blocks that are damaged and could not be mended.
    Ended(ScrubPass, Vec<ChunkId>),
    /// It looked at a part.
    BrokenOff(ScrubPass, Vec<ChunkId>),
    /// Its copy or its mirror's is not in sync: nothing could be mended.
    NotInSync,
    /// It does not answer.
    Unreached(String),
}

impl Outcome {
    /// The chunks that could not be mended.
    pub fn lost(&self) -> &[ChunkId] {
        match self {
            Outcome::Ended(_, lost) | Outcome::BrokenOff(_, lost) => lost,
            Outcome::NotInSync | Outcome::Unreached(_) => &[],
        }
    }

    fn lost_in_all(&self) -> u64 {
        match self {
            Outcome::Ended(pass, _) | Outcome::BrokenOff(pass, _) => pass.lost,
            Outcome::NotInSync | Outcome::Unreached(_) => 0,
        }
    }
}

/// One server's line.
pub fn line(server: ServerId, outcome: &Outcome) -> String {
    match outcome {
        Outcome::Ended(pass, _) => {
            let took = human::span(Duration::from_millis(pass.elapsed_ms));
            let seen = format!("{}, {} checked in {took}", several(pass.chunks, "chunk", "chunks"), bytes(pass.bytes));
            let word = match (pass.mended, pass.lost) {
                (0, 0) => "ok    ",
                (_, 0) => "MENDED",
                // A line that begins with LOST names a file.
                _ => "BAD   ",
            };
            format!("{word} {server}: {seen}; {}", found(pass))
        }
        Outcome::BrokenOff(pass, _) => format!(
            "NOT   {server}: broken off after {} of {} chunks, as the copies of its pair are not both in sync any more, or its \
             disk failed (`raidfs status` says which): scrub once more when both are; {}",
            human::count(pass.chunks),
            human::count(pass.total),
            found(pass)
        ),
        Outcome::NotInSync => {
            format!(
                "NOT   {server}: not checked, as the copies of its pair are not both in sync (`raidfs status`): scrub once \
                 more when they are"
            )
        }
        Outcome::Unreached(why) => format!("NOT   {server}: not checked: {why}"),
    }
}

/// What a pass found.
pub fn found(pass: &ScrubPass) -> String {
    match (pass.mended, pass.lost) {
        (0, 0) => "nothing is damaged".to_owned(),
        (mended, 0) => format!("{} damaged, all mended from the mirror", were(mended)),
        (0, lost) => format!("{} damaged, and could not be mended", were(lost)),
        (mended, lost) => {
            let all = were(mended + lost);
            format!("{all} damaged, {} mended from the mirror, {} not", human::count(mended), human::count(lost))
        }
    }
}

fn were(n: u64) -> String {
    format!("{} {}", several(n, "chunk", "chunks"), if n == 1 { "was" } else { "were" })
}

/// The line of a chunk that could not be mended.
pub fn lost(chunk: ChunkId, servers: &[ServerId], path: Option<&String>) -> String {
    let from = u64::from(chunk.index) * CHUNK_BYTES;
    let place = format!("somewhere from byte {from} to {}", from + CHUNK_BYTES);
    let servers = human::list(servers);
    match path {
        Some(path) => format!("LOST   {path}: {place} (chunk {chunk} on {servers})"),
        None => format!("LOST   chunk {chunk} on {servers}, of a file whose name is not known: {place}"),
    }
}

/// The last line.
pub fn verdict(outcomes: &BTreeMap<ServerId, Outcome>) -> String {
    let unchecked: Vec<ServerId> =
        outcomes.iter().filter(|(_, o)| !matches!(o, Outcome::Ended(..))).map(|(server, _)| *server).collect();
    let lost: u64 = outcomes.values().map(Outcome::lost_in_all).sum();
    let mut parts = Vec::new();
    if lost > 0 {
        parts.push("some bytes are lost: they are damaged on both servers of their pair".to_owned());
    }
    if !unchecked.is_empty() {
        parts.push(format!("{} could not be checked", human::list(unchecked)));
    }
    if parts.is_empty() { "everything is whole".to_owned() } else { parts.join("; ") }
}

/// The exit code: 1 if something could not be mended, else 2 if some server could not be checked, else 0.
pub fn code(outcomes: &BTreeMap<ServerId, Outcome>) -> u8 {
    if outcomes.values().any(|o| o.lost_in_all() > 0) {
        return 1;
    }
    if outcomes.values().all(|o| matches!(o, Outcome::Ended(..))) { 0 } else { 2 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use raidfs_common::id::Ino;

    fn ended(mended: u64, lost: u64) -> Outcome {
        let pass = ScrubPass { chunks: 9, bytes: 5 << 20, elapsed_ms: 1500, mended, lost, ..ScrubPass::default() };
        Outcome::Ended(pass, Vec::new())
    }

    fn of(outcomes: &[Outcome]) -> BTreeMap<ServerId, Outcome> {
        (1..).map(ServerId).zip(outcomes.iter().cloned()).collect()
    }

    #[test]
    fn a_line_says_what_was_checked_found_and_mended() {
        let line = |outcome| line(ServerId(2), &outcome);
        assert_eq!(line(ended(0, 0)), "ok     fsd2: 9 chunks, 5.0 MiB checked in 1.5 s; nothing is damaged");
        assert!(line(ended(1, 0)).ends_with("; 1 chunk was damaged, all mended from the mirror"));
        assert!(
            line(ended(0, 2)).starts_with("BAD ")
                && line(ended(0, 2)).ends_with("2 chunks were damaged, and could not be mended")
        );
        assert!(line(ended(3, 1)).ends_with("4 chunks were damaged, 3 mended from the mirror, 1 not"));
        assert!(line(Outcome::NotInSync).contains("not checked"));
    }

    #[test]
    fn what_is_lost_comes_before_who_is_away() {
        let away = Outcome::Unreached("no answer".into());
        for (outcomes, exit, text) in [
            (vec![ended(0, 0), ended(3, 0)], 0, "everything is whole"),
            (vec![ended(0, 0), away.clone()], 2, "fsd2 could not be checked"),
            (
                vec![ended(0, 1), away],
                1,
                "some bytes are lost: they are damaged on both servers of their pair; fsd2 could not be checked",
            ),
            (vec![Outcome::NotInSync, ended(1, 0)], 2, "fsd1 could not be checked"),
        ] {
            assert_eq!((code(&of(&outcomes)), verdict(&of(&outcomes)).as_str()), (exit, text));
        }
    }

    #[test]
    fn a_lost_chunk_is_named_by_its_file_and_place() {
        let chunk = ChunkId { ino: Ino(0x2a), index: 1 };
        let text = lost(chunk, &[ServerId(1), ServerId(2)], Some(&"/a/b".to_owned()));
        assert_eq!(text, "LOST   /a/b: somewhere from byte 4194304 to 8388608 (chunk 2a.1 on fsd1 and fsd2)");
        assert!(lost(chunk, &[ServerId(1)], None).contains("chunk 2a.1 on fsd1, of a file whose name is not known"));
    }
}
