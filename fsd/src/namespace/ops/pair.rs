//! The cluster's word about its pairs: their states, their room; and about the witness.

use super::Result;
use crate::namespace::state::State;
use crate::namespace::{Effect, pair_table};
use raidfs_common::attr::Attr;
use raidfs_common::error::FsError;
use raidfs_common::id::{Epoch, Incarnation, Ino, PairId};
use raidfs_common::namespace::{Done, PairEvent};
use raidfs_common::pair::Space;
use raidfs_common::time::Time;
use std::sync::Arc;

/// Applies a [`raidfs_common::namespace::Change::Pair`]; repeated, it is refused for its epoch.
pub(super) fn event(state: &mut State, now: Time, id: PairId, epoch: Epoch, event: PairEvent) -> Result<Done> {
    let at = usize::from(id.0);
    // What was marked after it had begun is not lost in its chunks.
    if matches!(event, PairEvent::Begun { late, .. } if late != state.late) {
        return Err(FsError::Invalid.into());
    }
    let next = state.pairs.get(at).filter(|pair| pair.epoch == epoch).and_then(|pair| pair_table::next(pair, event));
    let next = next.ok_or(FsError::Invalid)?;
    if state.pairs.iter().flat_map(|pair| &pair.members).all(|member| member.incarnation == Incarnation(0)) {
        date_root(state, now)?;
    }
    Arc::make_mut(&mut state.pairs)[at] = next;
    state.pairs_changed = true;
    state.effects.push(Effect::PairsChanged);
    Ok(Done::Nothing)
}

/// Gives the root the time at which the cluster was made, which is when its first server was let in: a store is formatted on
/// each server by itself, which knows no time that all would agree on. What a session has set meanwhile stays.
fn date_root(state: &mut State, now: Time) -> Result<()> {
    let date = |attr: &mut Attr| {
        let times = [&mut attr.atime, &mut attr.mtime, &mut attr.ctime, &mut attr.btime];
        times.into_iter().filter(|time| **time == Time::default()).for_each(|time| *time = now);
    };
    state.edit(Ino::ROOT, |root| date(&mut root.attr))?;
    Ok(())
}

/// Applies a [`raidfs_common::namespace::Change::Witness`].
pub(super) fn witness(state: &mut State, from: Incarnation, to: Incarnation) -> Result<Done> {
    let replaces = from.life() > 0 && to == from.barred();
    if from != state.witness || !(replaces || from.admits(to)) {
        return Err(FsError::Invalid.into());
    }
    state.witness = to;
    state.witness_changed = true;
    Ok(Done::Nothing)
}

/// Applies a [`raidfs_common::namespace::Change::Space`].
pub(super) fn space(state: &mut State, reports: &[(PairId, Space)]) -> Result<Done> {
    if reports.iter().any(|(id, _)| usize::from(id.0) >= state.pairs.len()) {
        return Err(FsError::Invalid.into());
    }
    let pairs = Arc::make_mut(&mut state.pairs);
    for (id, space) in reports {
        pairs[usize::from(id.0)].space = *space;
    }
    state.pairs_changed = true;
    state.effects.push(Effect::PairsChanged);
    Ok(Done::Nothing)
}
