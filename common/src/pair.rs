//! A pair: its two servers, what each one's copy is, its epoch, and who orders the changes of a chunk.

use crate::attr::Placement;
use crate::id::{Epoch, Incarnation, PairId, ServerId};
use crate::limits::CHUNK_BYTES;
use crate::plant::{Bug, planted};
use serde::{Deserialize, Serialize};

/// What a server's copy of its pair's chunks is, by the namespace's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum CopyState {
    /// Has everything that was acknowledged; serves.
    InSync,
    /// Misses something; never serves.
    Stale,
    /// Is being caught up and receives new changes; does not serve.
    Syncing,
}

/// One server of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Which server.
    pub server: ServerId,
    /// What its copy is.
    pub state: CopyState,
    /// The life of its process that the state is about; 0 until it first said hello.
    pub incarnation: Incarnation,
}

/// A pair as the namespace has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    /// Its number.
    pub id: PairId,
    /// Raised by each change of a member's state or incarnation, the one to syncing included: what was sent under an
    /// older epoch has no effect any more.
    pub epoch: Epoch,
    /// Its two servers.
    pub members: [Member; 2],
    /// Bytes that the fuller of its disks holds in all, and has free, when last reported; 0 until then. Of a disk that
    /// several servers are on, each has its share.
    pub space: Space,
    /// How often it went on with a copy whose machine had lost power: what was acknowledged and not synced before that may
    /// be gone.
    pub losses: u64,
}

/// Room of a disk, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Space {
    /// In all.
    pub total: u64,
    /// Free for files. Of a pair that nobody serves [`Space::OUT_OF_SERVICE`].
    pub free: u64,
}

impl Space {
    /// Stands for what is free on a pair while none of its servers answers that could serve it: next to nothing, and no whole
    /// block, as every word of a server about its disk is.
    const OUT_OF_SERVICE: u64 = 1;

    /// Of a pair that nobody serves.
    pub fn out_of_service(total: u64) -> Space {
        Space { total, free: Space::OUT_OF_SERVICE }
    }

    /// What can be written there now.
    pub fn usable(&self) -> u64 {
        if self.is_out_of_service() { 0 } else { self.free }
    }

    /// Whether nobody serves the pair: new files go to the others.
    pub fn is_out_of_service(&self) -> bool {
        self.free == Space::OUT_OF_SERVICE
    }
}

impl Pair {
    /// The member that is `server`.
    pub fn member(&self, server: ServerId) -> Option<&Member> {
        self.members.iter().find(|m| m.server == server)
    }

    /// The other server than `server`.
    pub fn mirror_of(&self, server: ServerId) -> Option<&Member> {
        self.member(server)?;
        self.members.iter().find(|m| m.server != server)
    }

    /// Its servers whose copy is in sync.
    pub fn in_sync(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|m| m.state == CopyState::InSync)
    }

    /// Whether `server` serves chunks of this pair.
    pub fn serves(&self, server: ServerId) -> bool {
        let serves = |state| state == CopyState::InSync || state == CopyState::Syncing && planted(Bug::ServesSyncing);
        self.member(server).is_some_and(|m| serves(m.state))
    }

    /// Who orders the changes of chunk `index` of a file placed so. None only if no copy is in sync.
    pub fn primary(&self, place: ChunkPlace) -> Option<ServerId> {
        let first = &self.members[usize::from(place.turn & 1)];
        let second = &self.members[usize::from(!place.turn & 1)];
        [first, second].into_iter().find(|m| m.state == CopyState::InSync).map(|m| m.server)
    }
}

/// Where a chunk lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkPlace {
    /// Its pair.
    pub pair: PairId,
    /// Which of the pair's members is primary when both are in sync.
    pub turn: u8,
}

/// Where chunk `index` of a file lies: chunk i on the i-th pair after the first, and the two servers of a pair
/// primary in turn for the file's chunks on it.
pub fn place(placement: Placement, index: u32, pairs: usize) -> ChunkPlace {
    let pairs = pairs.max(1) as u64;
    let index = u64::from(index);
    ChunkPlace {
        pair: PairId(((u64::from(placement.first_pair) + index) % pairs) as u16),
        turn: ((u64::from(placement.turn) + index / pairs) % 2) as u8,
    }
}

/// Where the last chunk ends that a file of `size` bytes can have on a pair; 0: it has none there.
pub fn end_on(placement: Placement, size: u64, pair: PairId, pairs: usize) -> u64 {
    let chunks = size.div_ceil(CHUNK_BYTES);
    let last = (0..chunks).rev().take(pairs.max(1)).find(|index| place(placement, *index as u32, pairs).pair == pair);
    last.map_or(0, |index| ((index + 1) * CHUNK_BYTES).min(size))
}

/// How many of a file's bytes before `end` lie on a pair, holes included.
pub fn bytes_on(placement: Placement, end: u64, pair: PairId, pairs: usize) -> u64 {
    let end = end_on(placement, end, pair, pairs);
    let Some(last) = end.div_ceil(CHUNK_BYTES).checked_sub(1) else { return 0 };
    let before = last / pairs.max(1) as u64;
    before * CHUNK_BYTES + (end - last * CHUNK_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(a: CopyState, b: CopyState) -> Pair {
        let member = |n, state| Member { server: ServerId(n), state, incarnation: Incarnation(1) };
        Pair {
            id: PairId(0),
            epoch: Epoch(1),
            members: [member(1, a), member(2, b)],
            space: Space::default(),
            losses: 0,
        }
    }

    #[test]
    fn a_large_file_uses_every_server_alike() {
        let mut count = std::collections::BTreeMap::new();
        for index in 0..256 {
            let p = place(Placement { first_pair: 1, turn: 0 }, index, 2);
            *count.entry((p.pair, p.turn)).or_insert(0) += 1;
        }
        assert_eq!(count.into_values().collect::<Vec<_>>(), [64; 4]);
    }

    #[test]
    fn what_lies_on_a_pair_is_the_sum_of_its_chunks() {
        for (size, pairs) in [(0, 2), (1, 1), (1, 2), (CHUNK_BYTES, 2), (5 * CHUNK_BYTES + 7, 3), (9 * CHUNK_BYTES, 2)]
        {
            for first_pair in 0..3 {
                let placement = Placement { first_pair: first_pair % pairs as u16, turn: 0 };
                for pair in (0..pairs as u16).map(PairId) {
                    let chunks =
                        (0..size.div_ceil(CHUNK_BYTES) as u32).filter(|i| place(placement, *i, pairs).pair == pair);
                    let ends: Vec<(u64, u64)> = chunks
                        .map(|i| u64::from(i) * CHUNK_BYTES)
                        .map(|from| (from, size.min(from + CHUNK_BYTES)))
                        .collect();
                    assert_eq!(end_on(placement, size, pair, pairs), ends.last().map_or(0, |(_, end)| *end));
                    assert_eq!(bytes_on(placement, size, pair, pairs), ends.iter().map(|(a, b)| b - a).sum::<u64>());
                }
            }
        }
    }

    #[test]
    fn the_primary_is_in_sync_and_alternates() {
        use CopyState::*;
        let at = |turn| ChunkPlace { pair: PairId(0), turn };
        assert_eq!(pair(InSync, InSync).primary(at(0)), Some(ServerId(1)));
        assert_eq!(pair(InSync, InSync).primary(at(1)), Some(ServerId(2)));
        assert_eq!(pair(Stale, InSync).primary(at(0)), Some(ServerId(2)));
        assert_eq!(pair(InSync, Syncing).primary(at(1)), Some(ServerId(1)));
        assert_eq!(pair(Stale, Syncing).primary(at(1)), None);
    }
}
