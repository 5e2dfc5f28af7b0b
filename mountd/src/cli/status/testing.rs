//! A healthy cluster of four, for the tests of this room to damage.

use super::Seen;
use raidfs_common::config::{Config, Durability};
use raidfs_common::id::{Epoch, Incarnation, LogIndex, PairId, ServerId, SessionId, Term};
use raidfs_common::pair::{CopyState, Member, Pair, Space};
use raidfs_common::rpc::admin::{Counters, ScrubPass, ServerStatus};
use std::time::{Duration, UNIX_EPOCH};

/// The healthy cluster; fsd1 leads, and says that it has not heard any other server for 200 s, which only matters for
/// those that do not answer.
pub fn seen() -> Seen {
    let address = |n: u16| ([127, 0, 0, 1], 7100 + n).into();
    let config = Config {
        cluster: "test".into(),
        pairs: vec![[address(1), address(2)], [address(3), address(4)]],
        witness: address(0),
        durability: Durability::Relaxed,
        io_timeout: Duration::from_secs(30),
        scrub_every: None,
    };
    let answers = config.voters().into_iter().map(|s| (s, Some(status(s)))).collect();
    Seen {
        config,
        answers,
        refusals: Default::default(),
        processes: None,
        starting: Default::default(),
        logs: None,
        mount: None,
        elsewhere: None,
        now: UNIX_EPOCH + Duration::from_secs(1_000_000),
    }
}

fn status(server: ServerId) -> ServerStatus {
    let space = Space { total: 100 << 30, free: 60 << 30 };
    let member = |n| Member { server: ServerId(n), state: CopyState::InSync, incarnation: Incarnation(1) };
    let pair = |n: u16| Pair {
        id: PairId(n),
        epoch: Epoch(3),
        members: [member(n * 2 + 1), member(n * 2 + 2)],
        space,
        losses: 0,
    };
    let leads = server == ServerId(1);
    let silent = if leads { vec![0, 2, 3, 4] } else { vec![] };
    ServerStatus {
        server,
        incarnation: Incarnation(1),
        uptime_s: 4000,
        term: Term(2),
        leader: Some(ServerId(1)),
        quorum: true,
        last_index: LogIndex(120),
        applied: LogIndex(120),
        pairs: if server.is_witness() { vec![] } else { vec![pair(0), pair(1)] },
        session: Some((SessionId(0xabc), "host: pid 7 at /mnt".into())),
        space,
        inodes: (3, 40),
        held: (20, 5 << 20),
        counters: Counters { reads: 10, ..Counters::default() },
        resync: None,
        disk_error: None,
        heard_ms: silent.into_iter().map(|n| (ServerId(n), Some(200_000))).collect(),
        scrub: Default::default(),
        joined: true,
        replacing: Vec::new(),
    }
}

/// A pass that went through a quarter in two seconds.
pub fn quarter_of_a_scrub() -> ScrubPass {
    ScrubPass { chunks: 5, total: 20, bytes: 1 << 20, total_bytes: 4 << 20, elapsed_ms: 2000, ..ScrubPass::default() }
}
