//! Where a new file goes: to the pairs in turn, and of each pair to both servers in turn, so that equally free pairs get
//! equally many files, exactly. A pair that has much less free space than the freest takes only so many of its turns, and
//! one that is full or out of service none; the turns that it passes up go to the others. Pure, and in whole numbers, as
//! every server must come to the same.

use raidfs_common::attr::Placement;
use raidfs_common::pair::Pair;

/// A pair is full when less than this share of its fuller disk is free, one in so many,
const FULL_SHARE: u64 = 20;
/// or less than so many bytes.
const FULL_BYTES: u64 = 64 << 20;
/// All of its turns.
const ALL: u64 = 256;
/// A pair with at least this share of the free bytes that the freest has takes all of its turns: so far apart are pairs that
/// are filled alike, with files of different lengths.
const ALIKE: u64 = ALL * 3 / 4;

/// The place of the file with this number, counted from 0 over all files ever made.
pub fn place_file(number: u64, pairs: &[Pair]) -> Placement {
    let count = pairs.len() as u64;
    let (first, round) = (number % count, number / count);
    let weights = weights(pairs);
    let weight = weights[first as usize];
    // Turns that this pair has taken so far if it was always as free as now.
    let taken = round * weight / ALL;
    if (round + 1) * weight / ALL > taken {
        return Placement { first_pair: first as u16, turn: (taken % 2) as u8 };
    }
    let others = (1..count).map(|step| (first + step) % count);
    let others: Vec<u64> = others.filter(|at| weights[*at as usize] == ALL).collect();
    if others.is_empty() {
        // In turn those that have about as much left as any: what is known of it is some seconds old. Where nothing is left at
        // all, whoever writes will be told.
        let left = |at: &u64| usable(&pairs[*at as usize]);
        let most = (0..count).map(|at| left(&at)).max().unwrap_or(0);
        let mut in_turn = (0..count).map(|step| (first + step) % count);
        let at = in_turn.find(|at| left(at) >= most / 2).unwrap_or(first);
        return Placement { first_pair: at as u16, turn: (round % 2) as u8 };
    }
    let passed = round - taken;
    let (at, round) = (passed % others.len() as u64, passed / others.len() as u64);
    Placement { first_pair: others[at as usize] as u16, turn: (round % 2) as u8 }
}

/// How many of [`ALL`] its turns each pair takes.
fn weights(pairs: &[Pair]) -> Vec<u64> {
    let freest = pairs.iter().filter(|pair| has_room(pair)).map(|pair| pair.space.free).max().unwrap_or(0);
    let weigh = |pair: &Pair| match pair.space {
        _ if !has_room(pair) => 0,
        space if space.total == 0 || freest == 0 => ALL,
        space => match (u128::from(space.free) * u128::from(ALL) / u128::from(freest)) as u64 {
            ALIKE.. => ALL,
            less => less.max(1),
        },
    };
    pairs.iter().map(weigh).collect()
}

fn has_room(pair: &Pair) -> bool {
    let space = pair.space;
    let full = space.total > 0 && (space.free < space.total / FULL_SHARE || space.free < FULL_BYTES);
    !full && is_in_service(pair)
}

fn is_in_service(pair: &Pair) -> bool {
    !pair.space.is_out_of_service() && pair.in_sync().next().is_some()
}

/// The bytes that new files can have there.
fn usable(pair: &Pair) -> u64 {
    if is_in_service(pair) { pair.space.free } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use raidfs_common::id::{Epoch, Incarnation, PairId, ServerId};
    use raidfs_common::pair::{CopyState, Member, Space};

    const TIB: u64 = 1 << 40;

    /// Pairs of which so many sixteenths of a tebibyte are free; None: unknown.
    fn pairs(free: &[Option<u64>]) -> Vec<Pair> {
        let pair = |(id, free): (usize, &Option<u64>)| {
            let member = |n| Member { server: ServerId(n), state: CopyState::InSync, incarnation: Incarnation(1) };
            let server = id as u16 * 2 + 1;
            let space = free.map_or(Space::default(), |free| Space { total: TIB, free: free * TIB / 16 });
            Pair {
                id: PairId(id as u16),
                epoch: Epoch(1),
                members: [member(server), member(server + 1)],
                space,
                losses: 0,
            }
        };
        free.iter().enumerate().map(pair).collect()
    }

    /// How many of so many files each server is primary for.
    fn spread(files: u64, pairs: &[Pair]) -> Vec<[u64; 2]> {
        let mut counts = vec![[0; 2]; pairs.len()];
        for number in 0..files {
            let place = place_file(number, pairs);
            counts[usize::from(place.first_pair)][usize::from(place.turn)] += 1;
        }
        counts
    }

    #[test]
    fn pairs_that_are_about_equally_free_get_exactly_as_many_files() {
        for free in [[Some(8), Some(8)], [Some(12), Some(16)], [Some(16), Some(13)], [None, Some(3)], [None, None]] {
            assert_eq!(spread(1000, &pairs(&free)), [[250; 2]; 2], "{free:?}");
        }
        assert_eq!(spread(1200, &pairs(&[Some(16), Some(15), Some(14)])), [[200; 2]; 3]);
    }

    #[test]
    fn a_fuller_pair_gets_fewer_files_and_each_server_its_half_of_them() {
        assert_eq!(spread(1024, &pairs(&[Some(4), Some(16)])), [[64; 2], [448; 2]]);
        assert_eq!(spread(1024, &pairs(&[Some(16), Some(8)])), [[384; 2], [128; 2]]);
        for [a, b] in spread(5000, &pairs(&[Some(5), Some(16), Some(15), Some(9)])) {
            assert!(a.abs_diff(b) <= 2, "{a} and {b}");
        }
    }

    #[test]
    fn full_pairs_and_those_out_of_service_get_none_while_another_has_room() {
        let mut some = pairs(&[Some(0), Some(16), Some(16)]);
        assert_eq!(spread(1200, &some), [[0; 2], [300; 2], [300; 2]]);
        some[1].members.iter_mut().for_each(|m| m.state = CopyState::Stale);
        assert_eq!(spread(1200, &some), [[0; 2], [0; 2], [600; 2]]);
        some[1].members.iter_mut().for_each(|m| m.state = CopyState::InSync);
        some[1].space = Space::out_of_service(TIB);
        assert_eq!(
            spread(1200, &some),
            [[0; 2], [0; 2], [600; 2]],
            "the last copy stays in sync, though nobody answers"
        );
        some[2].space.free = FULL_BYTES / 2;
        assert_eq!(spread(1200, &some), [[0; 2], [0; 2], [600; 2]], "what is left is there");
        some[1].space = Space { total: TIB, free: FULL_BYTES / 3 };
        assert_eq!(spread(1200, &some), [[0; 2], [400, 400], [200; 2]], "both, as that is some seconds old");
        some[1].space = Space::out_of_service(TIB);
        some[2].space.free = 0;
        assert_eq!(spread(1200, &some), [[200; 2]; 3], "in turn, for want of better");
    }
}
