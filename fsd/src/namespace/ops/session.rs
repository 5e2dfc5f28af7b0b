//! Mount sessions: opening, ending, inode numbers, orphans.

use super::Result;
use crate::namespace::fault::Fault;
use crate::namespace::rows::{Key, SessionRow};
use crate::namespace::state::{Caller, ENDED_KEPT, OpenSession, State};
use crate::namespace::{Effect, Refused};
use raidfs_common::error::FsError;
use raidfs_common::id::{Ino, SessionId};
use raidfs_common::limits::INO_GRANT;
use raidfs_common::namespace::{Done, Outcome, Request};
use raidfs_common::plant::{Bug, planted};
use std::collections::BTreeMap;

/// Longest description of a holder that is kept; what is longer is cut.
const HOLDER_MAX_BYTES: usize = 1024;

/// Applies a [`raidfs_common::namespace::Change::OpenSession`]. A session that has ended lately is not opened again by a
/// late copy of its request.
pub(super) fn open(
    state: &mut State,
    request: &Request,
    holder: &str,
    takeover: bool,
) -> Result<std::result::Result<Outcome, Refused>, Fault> {
    let id = request.session;
    if id == SessionId::CLUSTER {
        return Ok(Ok(Err(FsError::Invalid)));
    }
    if state.recovery.void.contains(&id) {
        return Ok(Err(Refused::NoSession));
    }
    if let Some(session) = state.sessions.get(&id) {
        return Ok(Ok(Ok(granted(session.row.first_grant))));
    }
    if state.ended.contains(&id) {
        return Ok(Err(Refused::NoSession));
    }
    let others: Vec<SessionId> = state.sessions.keys().copied().collect();
    if !others.is_empty() && !takeover {
        return Ok(Ok(Err(FsError::Busy)));
    }
    for other in others {
        close(state, other)?;
    }
    let first_grant = next_numbers(state);
    let cut = (0..=holder.len().min(HOLDER_MAX_BYTES)).rev().find(|at| holder.is_char_boundary(*at)).unwrap_or(0);
    let holder = holder[..cut].to_string();
    let row = SessionRow { holder, first_grant, unused: vec![first_grant], done_below: 0 };
    state.sessions.insert(id, OpenSession { row, outcomes: BTreeMap::new(), changed: true });
    state.effects.push(Effect::SessionOpened(id));
    let outcome = Ok(granted(first_grant));
    if request.seq > 0 {
        state.keep_outcome(id, request.seq, request.done_below, &outcome);
    }
    Ok(Ok(outcome))
}

/// Applies a [`raidfs_common::namespace::Change::EndSession`].
pub(super) fn end(state: &mut State, session: SessionId) -> Result<Done> {
    if state.sessions.contains_key(&session) {
        close(state, session)?;
    }
    Ok(Done::Nothing)
}

/// Inode numbers passed over at each recovery. Grants are never lost, so this is for what nobody has thought of.
const RECOVERY_JUMP: u64 = INO_GRANT << 4;

/// Applies a [`raidfs_common::namespace::Command::Recovered`]: what the open sessions know may be of a history that is
/// no more, so nothing of them is taken. They are ended in good order, by the leader, once sizes could be recovered.
pub(in crate::namespace) fn recovered(state: &mut State) {
    state.recovery.generation += 1;
    if planted(Bug::KeepsSessions) {
        state.recovery_changed = true;
        return;
    }
    state.recovery.void = state.sessions.keys().copied().collect();
    state.recovery_changed = true;
    state.counters.next_ino += RECOVERY_JUMP;
    state.counters_changed = true;
    let ended = state.recovery.void.iter().map(|id| Effect::SessionEnded(*id));
    state.effects.extend(ended);
}

/// Applies a [`raidfs_common::namespace::Change::GrantInos`].
pub(super) fn grant(state: &mut State, caller: Caller) -> Result<Done> {
    let grant = next_numbers(state);
    let session = state.sessions.get_mut(&caller.session).ok_or(FsError::Invalid)?;
    match session.row.unused.last_mut() {
        Some((_, to)) if *to == grant.0 => *to = grant.1,
        _ => session.row.unused.push(grant),
    }
    session.changed = true;
    Ok(granted(grant))
}

/// Applies a [`raidfs_common::namespace::Change::Release`]; what is no orphan of the session is passed over.
pub(super) fn release(state: &mut State, caller: Caller, inos: &[Ino]) -> Result<Done> {
    for &ino in inos {
        if state.rows.row(&Key::Orphan(caller.session, ino))?.is_some() {
            state.rows.delete(&Key::Orphan(caller.session, ino));
            state.destroy(ino)?;
        }
    }
    Ok(Done::Nothing)
}

fn granted((from, to): (u64, u64)) -> Done {
    Done::Session { from: Ino(from), to: Ino(to) }
}

fn next_numbers(state: &mut State) -> (u64, u64) {
    let from = state.counters.next_ino;
    state.counters.next_ino += INO_GRANT;
    state.counters_changed = true;
    (from, state.counters.next_ino)
}

/// The session is over: its orphans die, its outcomes are forgotten, and its unused numbers are never used.
fn close(state: &mut State, id: SessionId) -> Result<(), Fault> {
    for ino in state.orphans(id)? {
        state.rows.delete(&Key::Orphan(id, ino));
        state.destroy(ino)?;
    }
    if let Some(session) = state.sessions.remove(&id) {
        for seq in session.outcomes.into_keys() {
            state.rows.delete(&Key::Outcome(id, seq));
        }
    }
    state.rows.delete(&Key::Session(id));
    if let Some(at) = state.recovery.void.iter().position(|void| *void == id) {
        state.recovery.void.remove(at);
        state.recovery_changed = true;
    }
    if state.ended.len() >= ENDED_KEPT {
        state.ended.remove(0);
    }
    state.ended.push(id);
    state.ended_changed = true;
    state.effects.push(Effect::SessionEnded(id));
    Ok(())
}
