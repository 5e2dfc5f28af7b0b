//! What becomes of this server's own copy, told in its own log: whoever looks after one machine does not read the
//! leader's. Changes nothing; driven by the pairs on the board.

use crate::board::Board;
use raidfs_common::id::{Incarnation, ServerId};
use raidfs_common::pair::{CopyState, Member, Pair};
use std::sync::Arc;

/// Says each change of this server's copy, for ever. Of a life that the namespace does not know yet nothing is said.
pub async fn tell(board: Arc<Board>, me: ServerId, life: Incarnation) {
    let mut pairs = board.subscribe_pairs();
    let mut told = None;
    loop {
        let notice = board.notice();
        let now = own(&notice.pairs, me).filter(|own| own.incarnation == life).map(|own| own.state);
        if now != told {
            if let Some(text) = now.map(|now| words(told, now)) {
                tracing::info!("{text}");
            }
            told = now;
        }
        if pairs.changed().await.is_err() {
            return;
        }
    }
}

fn own(pairs: &[Pair], me: ServerId) -> Option<&Member> {
    pairs.iter().find_map(|pair| pair.member(me))
}

fn words(before: Option<CopyState>, now: CopyState) -> &'static str {
    match (before, now) {
        (_, CopyState::InSync) => "this server's copy is in sync: it serves",
        (_, CopyState::Syncing) => "this server's copy is being brought up to date by its mirror",
        (Some(CopyState::InSync), CopyState::Stale) => {
            "this server was evicted: its copy does not serve until it is up to date"
        }
        (_, CopyState::Stale) => "this server's copy is stale: it does not serve until it is up to date",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_eviction_is_told_from_a_start() {
        assert!(words(Some(CopyState::InSync), CopyState::Stale).contains("evicted"));
        assert!(!words(None, CopyState::Stale).contains("evicted"));
        assert!(!words(Some(CopyState::Syncing), CopyState::Stale).contains("evicted"));
        assert!(words(Some(CopyState::Syncing), CopyState::InSync).contains("in sync"));
    }
}
