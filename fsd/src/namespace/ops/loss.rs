//! Both servers of a pair are gone for good: what is lost with them is marked, file by file, and then the loss is accepted,
//! after which the pair goes on with empty data directories. The marks are what the first of those makes its lost chunks
//! from, and the only place that says what was lost until then: they follow cuts and ends of files.
//!
//! Nothing tells here which of a file's bytes are holes: everything up to its size counts as lost that can lie on the
//! pair. (The number of its blocks does not tell either: that of a file whose length was recovered is too small.)

use super::Result;
use crate::namespace::fault::Fault;
use crate::namespace::rows::{InodeRow, Key, LosingRow, Row, prefix};
use crate::namespace::state::State;
use crate::namespace::{Effect, pair_table};
use raidfs_common::attr::{Attr, FileKind};
use raidfs_common::error::FsError;
use raidfs_common::id::{Epoch, Incarnation, Ino, PairId, ServerId};
use raidfs_common::namespace::Done;
use raidfs_common::pair::{Pair, end_on};
use std::sync::Arc;

/// Inodes that one entry looks at: applying an entry must not keep a server from its heartbeats.
const INODES_PER_ENTRY: usize = if cfg!(test) { 3 } else { 1000 };

/// Applies a [`raidfs_common::namespace::Change::MarkLost`].
pub(super) fn mark(state: &mut State, pair: PairId, epoch: Epoch) -> Result<Done> {
    let is_about = |known: &&Pair| known.epoch == epoch && known.in_sync().next().is_some();
    state.pairs.get(usize::from(pair.0)).filter(is_about).ok_or(FsError::Invalid)?;
    let begun = state.losing.filter(|losing| (losing.pair, losing.epoch) == (pair, epoch));
    let from = begun.map_or(Some(Ino(0)), |losing| losing.next).ok_or(FsError::Invalid)?;
    let inodes = inodes_from(state, from)?;
    for inode in &inodes {
        set_end(state, &inode.attr, pair)?;
    }
    let next = inodes.get(INODES_PER_ENTRY - 1).map(|last| Ino(last.attr.ino.0 + 1));
    state.losing = Some(LosingRow { pair, epoch, next });
    state.losing_changed = true;
    Ok(Done::Nothing)
}

fn inodes_from(state: &State, from: Ino) -> Result<Vec<InodeRow>, Fault> {
    let rows = state.rows.rows(&prefix::inodes(), &Key::Inode(from).encode()).take(INODES_PER_ENTRY);
    let inodes = rows.filter_map(|row| match row {
        Ok((_, Row::Inode(inode))) => Some(Ok(inode)),
        Ok(_) => None,
        Err(fault) => Some(Err(fault)),
    });
    inodes.collect()
}

/// Marks all that a file can have on a pair as lost, and nothing else of it there. Whether that is news.
fn set_end(state: &mut State, attr: &Attr, pair: PairId) -> Result<bool, Fault> {
    let before = state.lost_of(attr.ino)?;
    let mut ends = before.clone();
    ends.retain(|(of, _)| *of != pair);
    if attr.kind == FileKind::File {
        let end = end_on(attr.placement, attr.size, pair, state.pairs.len());
        ends.extend((end > 0).then_some((pair, end)));
    }
    ends.sort_unstable();
    let is_news = ends != before;
    if is_news {
        state.set_lost(attr.ino, &before, ends);
    }
    Ok(is_news)
}

/// Applies a [`raidfs_common::namespace::Change::AcceptLoss`]; repeated, it is refused for its epoch.
pub(super) fn accept(
    state: &mut State,
    id: PairId,
    epoch: Epoch,
    given_up: [(ServerId, Incarnation); 2],
) -> Result<Done> {
    let at = usize::from(id.0);
    let is_marked = state.losing == Some(LosingRow { pair: id, epoch, next: None });
    let known = state.pairs.get(at).filter(|pair| is_marked && pair.epoch == epoch);
    let next = known.and_then(|pair| pair_table::given_up(pair, given_up)).ok_or(FsError::Invalid)?;
    Arc::make_mut(&mut state.pairs)[at] = next;
    (state.losing, state.losing_changed, state.pairs_changed) = (None, true, true);
    state.effects.push(Effect::PairsChanged);
    Ok(Done::Nothing)
}

/// A file was cut: what was lost behind its new end is of no interest any more.
pub(super) fn cut(state: &mut State, attr: &Attr) -> Result<(), Fault> {
    let before = state.lost_of(attr.ino)?;
    let pairs = state.pairs.len();
    let kept = |(pair, end): &(PairId, u64)| (*pair, end_on(attr.placement, (*end).min(attr.size), *pair, pairs));
    let ends: Vec<_> = before.iter().map(kept).filter(|(_, end)| *end > 0).collect();
    if ends != before {
        state.set_lost(attr.ino, &before, ends);
    }
    Ok(())
}

/// A file has become longer by a hole. With a pair that is about to have no copy, what is written there from now on is lost, should
/// that be accepted after all once its servers were there again, under the same epoch: such writes make the file no longer.
pub(super) fn lengthened(state: &mut State, attr: &Attr) -> Result<(), Fault> {
    let losing = state.losing.filter(|losing| losing.next.is_none_or(|next| attr.ino < next));
    let Some(pair) = losing.filter(|losing| state.pairs[usize::from(losing.pair.0)].epoch == losing.epoch) else {
        return Ok(());
    };
    set_end(state, attr, pair.pair).map(drop)
}

/// A file that had `before` bytes has become longer by some that had landed: what of these lies on a pair that has no copy any
/// more, or is about to have none, is lost. (Written they can have been only as long as the pair had a copy. A file that
/// grows elsewhere has lost nothing there.)
pub(super) fn grown(state: &mut State, attr: &Attr, before: u64) -> Result<(), Fault> {
    let losing = state.losing.filter(|losing| losing.next.is_none_or(|next| attr.ino < next));
    let pairs = state.pairs.clone();
    for pair in pairs.iter() {
        let is_gone = pair.in_sync().next().is_none();
        let is_going = losing.is_some_and(|losing| (losing.pair, losing.epoch) == (pair.id, pair.epoch));
        if !is_gone && !is_going || end_on(attr.placement, attr.size, pair.id, pairs.len()) <= before {
            continue;
        }
        let is_news = set_end(state, attr, pair.id)?;
        if is_news && is_gone {
            // Whoever makes lost what is marked begins anew.
            state.late += 1;
            state.late_changed = true;
        }
    }
    Ok(())
}
