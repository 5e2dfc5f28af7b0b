//! What is lost of a file, from what is known of the pairs. Pure.

use super::super::status::servers_word;
use raidfs_common::attr::Attr;
use raidfs_common::id::{ChunkId, Incarnation, Ino, PairId, ServerId};
use raidfs_common::limits::CHUNK_BYTES;
use raidfs_common::pair::{Pair, bytes_on};
use raidfs_common::rpc::admin::LostFile;
use std::collections::BTreeMap;

/// How a pair is, as far as losses go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// A server whose copy is in sync answers.
    Served,
    /// None does: what only they have is lost if they do not come back.
    Away,
    /// Its loss was accepted, and it has no copy yet.
    Accepted,
}

impl State {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            State::Served => "served",
            State::Away => "away",
            State::Accepted => "accepted",
        }
    }
}

/// How a pair is, by which lives of servers answer.
pub fn state_of(pair: &Pair, answers: impl Fn(ServerId) -> Option<Incarnation>) -> State {
    match pair.in_sync().next() {
        None => State::Accepted,
        Some(_) if serving(pair, answers).is_some() => State::Served,
        Some(_) => State::Away,
    }
}

/// A server that answers, and whose copy is in sync in the life that it is in. Another process in its place has nothing, be it
/// one that waits for room on its disk, or one with another data directory.
pub fn serving(pair: &Pair, answers: impl Fn(ServerId) -> Option<Incarnation>) -> Option<ServerId> {
    pair.in_sync().find(|member| answers(member.server) == Some(member.incarnation)).map(|member| member.server)
}

/// What is to be said of a pair before the files; None: nothing.
pub fn words(pair: &Pair, state: State) -> Option<String> {
    let servers = servers_word(pair);
    match state {
        State::Served => None,
        State::Away => {
            Some(format!("no copy in sync of {servers} answers: what follows is lost if they do not come back"))
        }
        State::Accepted => Some(format!(
            "the loss of {servers} was accepted: it goes on once one of them is started with an empty data directory"
        )),
    }
}

/// What is lost, pair by pair.
#[derive(Debug)]
pub struct Losses {
    pairs: usize,
    away: Vec<PairId>,
    /// With pairs that have no copy yet.
    marked: BTreeMap<Ino, Vec<(PairId, u64)>>,
    /// Where chunks say so.
    found: BTreeMap<Ino, Vec<(u32, u64)>>,
}

impl Losses {
    /// Nothing, of so many pairs.
    pub fn new(pairs: usize) -> Losses {
        Losses { pairs, away: Vec::new(), marked: BTreeMap::new(), found: BTreeMap::new() }
    }

    /// Everything that lies on a pair.
    pub fn away(&mut self, pair: PairId) {
        self.away.push(pair);
    }

    /// What was marked of a pair.
    pub fn marked(&mut self, pair: PairId, files: Vec<LostFile>) {
        for file in files {
            let ends = file.ends.into_iter().filter(|(of, _)| *of == pair);
            self.marked.entry(file.ino).or_default().extend(ends);
        }
    }

    /// So many bytes of a chunk.
    pub fn found(&mut self, chunk: ChunkId, bytes: u64) {
        self.found.entry(chunk.ino).or_default().push((chunk.index, bytes));
    }

    /// How many bytes of a file are lost; holes that nobody can tell from bytes count.
    pub fn of(&self, attr: &Attr) -> u64 {
        let on = |pair: PairId, end: u64| bytes_on(attr.placement, end, pair, self.pairs);
        let away: u64 = self.away.iter().map(|pair| on(*pair, attr.size)).sum();
        let marked = self.marked.get(&attr.ino).into_iter().flatten();
        let marked: u64 = marked.map(|(pair, end)| on(*pair, (*end).min(attr.size))).sum();
        // A chunk is cut a moment after the file was: what lies beyond its end belongs to nobody.
        let within = |index: u32| attr.size.saturating_sub(u64::from(index) * CHUNK_BYTES);
        let found = self.found.get(&attr.ino).into_iter().flatten();
        let found: u64 = found.map(|(index, bytes)| (*bytes).min(within(*index))).sum();
        away + marked + found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vfs::testing::empty_file;
    use raidfs_common::attr::Placement;
    use raidfs_common::id::Epoch;
    use raidfs_common::pair::{CopyState, Member, Space};

    fn pair(a: CopyState, b: CopyState) -> Pair {
        let member = |n, state| Member { server: ServerId(n), state, incarnation: Incarnation(1) };
        let members = [member(3, a), member(4, b)];
        Pair { id: PairId(1), epoch: Epoch(1), members, space: Space::default(), losses: 0 }
    }

    fn file(ino: u64, first_pair: u16, size: u64) -> Attr {
        Attr { size, placement: Placement { first_pair, turn: 0 }, ..empty_file(Ino(ino)) }
    }

    #[test]
    fn a_pair_serves_by_a_copy_in_sync_that_answers() {
        use CopyState::{InSync, Stale};
        let three = |server| (server == ServerId(3)).then_some(Incarnation(1));
        assert_eq!(state_of(&pair(InSync, InSync), three), State::Served);
        assert_eq!(state_of(&pair(Stale, InSync), three), State::Away, "who answers has an old copy");
        assert_eq!(state_of(&pair(Stale, Stale), three), State::Accepted);
        for life in [Incarnation(0), Incarnation(2)] {
            let other = |server| three(server).map(|_| life);
            assert_eq!(state_of(&pair(InSync, InSync), other), State::Away, "it waits for room, or is another life");
        }
        assert_eq!(servers_word(&pair(Stale, Stale)), "fsd3+fsd4");
    }

    #[test]
    fn of_a_pair_that_is_away_all_is_lost_that_lies_there() {
        let mut losses = Losses::new(2);
        losses.away(PairId(1));
        assert_eq!(losses.of(&file(9, 0, 100)), 0);
        assert_eq!(losses.of(&file(9, 1, 100)), 100);
        assert_eq!(losses.of(&file(9, 0, CHUNK_BYTES + 7)), 7);
        assert_eq!(losses.of(&file(9, 1, 0)), 0);
    }

    #[test]
    fn what_was_marked_or_found_is_lost_and_no_more() {
        let mut losses = Losses::new(2);
        let ends = vec![(PairId(0), 50), (PairId(1), CHUNK_BYTES + 10)];
        losses.marked(PairId(1), vec![LostFile { ino: Ino(9), ends }]);
        assert_eq!(losses.of(&file(9, 0, 4 * CHUNK_BYTES)), 10);
        assert_eq!(losses.of(&file(9, 0, CHUNK_BYTES + 3)), 3);
        assert_eq!(losses.of(&file(8, 0, 4 * CHUNK_BYTES)), 0);
        losses.found(ChunkId { ino: Ino(8), index: 1 }, 4096);
        assert_eq!(losses.of(&file(8, 0, 4 * CHUNK_BYTES)), 4096);
        assert_eq!(losses.of(&file(8, 0, CHUNK_BYTES + 9)), 9);
        assert_eq!(losses.of(&file(8, 0, 5)), 0, "it was cut, which its chunks will hear of");
    }
}
