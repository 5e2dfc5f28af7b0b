//! What room the pairs have, out of what their servers report of their disks. Pure.

use raidfs_common::id::{PairId, ServerId};
use raidfs_common::limits::{BLOCK_BYTES, CHUNK_BYTES, SCARCE_BYTES};
use raidfs_common::pair::{Pair, Space};
use std::collections::BTreeMap;

/// Whether there is so much room or not is news on any disk: from none that a chunk finds to where clients write behind again.
const NEARLY_FULL: [u64; 6] = [BLOCK_BYTES, CHUNK_BYTES, 64 << 20, SCARCE_BYTES / 2, SCARCE_BYTES, 2 * SCARCE_BYTES];

/// A server's word about its disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Its room.
    pub space: Space,
    /// Which file system it is; 0: not known, so it is taken to be the server's own.
    pub file_system: u64,
}

/// The room of each pair of which something is known: none if it is not `served`, else that of the fuller of its servers. Servers that are on one file system
/// fill it together, so each has its share, in whole blocks; one that is down will need its share again. Whom a new leader has not heard of yet
/// may be on any of them: until all are known, no pair's share grows.
pub fn of_pairs(
    pairs: &[Pair],
    disks: &BTreeMap<ServerId, Disk>,
    served: impl Fn(&Pair) -> bool,
) -> Vec<(PairId, Space)> {
    let share = |disk: &Disk| {
        let beside = disks.values().filter(|d| d.file_system == disk.file_system).count();
        let sharing = if disk.file_system == 0 { 1 } else { beside.max(1) as u64 };
        let share = |bytes: u64| bytes / sharing / BLOCK_BYTES * BLOCK_BYTES;
        Space { total: share(disk.space.total), free: share(disk.space.free) }
    };
    let all_known = pairs.iter().flat_map(|pair| &pair.members).all(|member| disks.contains_key(&member.server));
    let fuller = |pair: &Pair| {
        let known = pair.members.iter().filter_map(|m| disks.get(&m.server)).map(share);
        let fuller = known.min_by_key(|space| space.free)?;
        Some(if all_known || pair.space.total == 0 { fuller } else { no_larger(fuller, pair.space.total) })
    };
    let room = |pair: &Pair| match (served(pair), fuller(pair)) {
        (true, known) => known,
        (false, known) => Some(Space::out_of_service(known.unwrap_or(pair.space).total)),
    };
    pairs.iter().filter_map(|pair| Some((pair.id, room(pair)?))).collect()
}

/// That part of a disk's room which is no larger than `total`, and as full as the whole.
fn no_larger(space: Space, total: u64) -> Space {
    if space.total <= total {
        return space;
    }
    let free = u128::from(space.free) * u128::from(total) / u128::from(space.total);
    let free = u64::try_from(free).expect("a part of what is free");
    Space { total, free: free / BLOCK_BYTES * BLOCK_BYTES }
}

/// Whether everybody is told what room there is, as it is not what they know: when it is another by more than a hair's breadth of the
/// disk; and, as much may hang on that of a large disk, whenever it has become little, or none, or is not so little any more.
pub fn is_news(known: Space, now: Space) -> bool {
    let step = |free: u64| NEARLY_FULL.partition_point(|least| *least <= free);
    let far = known.free.abs_diff(now.free) > now.total / 500;
    far || known.total != now.total
        || known.is_out_of_service() != now.is_out_of_service()
        || step(known.free) != step(now.free)
}

#[cfg(test)]
mod tests {
    use super::*;
    use raidfs_common::id::{Epoch, Incarnation};
    use raidfs_common::pair::{CopyState, Member};

    fn pairs() -> Vec<Pair> {
        let member = |n| Member { server: ServerId(n), state: CopyState::InSync, incarnation: Incarnation(1) };
        let pair = |id: u16| Pair {
            id: PairId(id),
            epoch: Epoch(1),
            members: [member(id * 2 + 1), member(id * 2 + 2)],
            space: Space::default(),
            losses: 0,
        };
        vec![pair(0), pair(1)]
    }

    fn blocks(total: u64, free: u64) -> Space {
        Space { total: total * BLOCK_BYTES, free: free * BLOCK_BYTES }
    }

    fn room(disks: [(u64, u64, u64); 4]) -> Vec<(u64, u64)> {
        let disk = |(total, free, file_system)| Disk { space: blocks(total, free), file_system };
        let disks = (1..).map(ServerId).zip(disks.map(disk)).collect();
        of_pairs(&pairs(), &disks, |_| true)
            .into_iter()
            .map(|(_, space)| (space.total / BLOCK_BYTES, space.free / BLOCK_BYTES))
            .collect()
    }

    #[test]
    fn the_fuller_disk_of_a_pair_counts() {
        assert_eq!(room([(100, 50, 1), (80, 60, 2), (100, 90, 3), (100, 10, 4)]), [(100, 50), (100, 10)]);
        assert_eq!(room([(100, 50, 0); 4]), [(100, 50); 2], "nobody knows which file systems those are");
    }

    #[test]
    fn nothing_can_be_written_where_nobody_serves() {
        let disk = |n: u64| (ServerId(n as u16), Disk { space: blocks(100, 50 + n), file_system: n });
        let disks = (1..=4).map(disk).collect();
        let of = |served: u16| of_pairs(&pairs(), &disks, |pair| pair.id.0 == served).into_iter().map(|(_, s)| s);
        let out = Space::out_of_service(100 * BLOCK_BYTES);
        assert!(of(0).eq([blocks(100, 51), out]) && of(1).eq([out, blocks(100, 53)]) && out.usable() == 0);
    }

    #[test]
    fn what_becomes_of_room_is_news_where_it_counts_on_a_large_disk_as_on_a_small_one() {
        let of = |total, free| Space { total, free };
        const TIB: u64 = 1 << 40;
        for (known, now, news) in [
            (TIB / 2, TIB / 2 - (1 << 30), false),
            (TIB / 2, TIB / 2 - (3 << 30), true),
            (2 << 30, 600 << 20, true),
            (600 << 20, 500 << 20, true),
            (500 << 20, 300 << 20, false),
            (300 << 20, 1 << 20, true),
            (CHUNK_BYTES, CHUNK_BYTES - 1, true),
            (1, BLOCK_BYTES, true),
        ] {
            assert_eq!(is_news(of(TIB, known), of(TIB, now)), news, "{known} to {now}");
            assert_eq!(is_news(of(TIB, now), of(TIB, known)), news, "{now} to {known}");
        }
        assert!(is_news(of(100, 50), of(101, 50)) && is_news(Space::out_of_service(100), of(100, 0)));
        assert!(!is_news(of(1000, 500), of(1000, 501)) && is_news(of(1000, 500), of(1000, 503)));
    }

    #[test]
    fn servers_on_one_file_system_share_its_room() {
        assert_eq!(room([(101, 80, 7); 4]), [(25, 20); 2], "each byte is stored twice: 40 of 80 can be written");
        assert_eq!(room([(100, 80, 7), (100, 80, 7), (100, 90, 3), (100, 90, 4)]), [(50, 40), (100, 90)]);
        assert_eq!(room([(100, 80, 7), (100, 30, 1), (100, 80, 7), (100, 90, 2)]), [(100, 30), (50, 40)]);
    }

    #[test]
    fn who_is_not_known_yet_may_share_the_disk_of_who_is() {
        let disk = |n| (ServerId(n), Disk { space: blocks(100, 80), file_system: 7 });
        let mut pairs = pairs();
        let room = |pairs: &[Pair], known: &[u16]| -> Vec<Space> {
            of_pairs(pairs, &known.iter().copied().map(disk).collect(), |_| true).into_iter().map(|(_, s)| s).collect()
        };
        assert_eq!(room(&pairs, &[1, 3]), [blocks(50, 40); 2], "that there are others is not known");
        pairs.iter_mut().for_each(|pair| pair.space = blocks(25, 10));
        assert_eq!(room(&pairs, &[1, 3]), [blocks(25, 20); 2], "as large as before, and as full as it is now");
        assert_eq!(room(&pairs, &[1, 2, 3, 4]), [blocks(25, 20); 2]);
        pairs.iter_mut().for_each(|pair| pair.space = blocks(90, 10));
        assert_eq!(room(&pairs, &[1, 2, 3]), [blocks(33, 26); 2], "what is less is believed");
    }

    #[test]
    fn a_pair_of_which_nothing_is_known_is_left_out() {
        let disks = BTreeMap::from([(ServerId(4), Disk { space: blocks(9, 3), file_system: 1 })]);
        assert_eq!(of_pairs(&pairs(), &disks, |_| true), [(PairId(1), blocks(9, 3))]);
        assert_eq!(of_pairs(&pairs(), &BTreeMap::new(), |_| true), []);
    }
}
