//! What each kind of change does. Every operation checks everything before it changes anything, so that a refused one
//! leaves no trace. Here: who may ask for what, and exactly-once.

mod link;
mod loss;
mod make;
mod pair;
mod placement;
mod rename;
mod session;
mod setattr;
mod unlink;
mod wrote;
mod xattr;

#[cfg(test)]
mod acl_tests;
#[cfg(test)]
mod loss_tests;
#[cfg(test)]
mod tests;

pub(super) use session::recovered;

use super::Refused;
use super::fault::Fault;
use super::state::{Caller, Refusal, State};
use raidfs_common::error::FsError;
use raidfs_common::id::SessionId;
use raidfs_common::namespace::{Change, Done, Outcome, Request};
use raidfs_common::plant::{Bug, planted};
use raidfs_common::time::Time;

type Result<T, E = Refusal> = std::result::Result<T, E>;

/// Applies one request, or gives the outcome that it had before.
///
/// Opening and ending a session can be repeated by their nature: opening an open session gives its first grant again,
/// ending one that is not open does nothing. The cluster's own changes are repeatable too (see their documentation).
/// Everything else has its outcome kept in its session.
pub(super) fn apply(state: &mut State, request: &Request) -> Result<std::result::Result<Outcome, Refused>, Fault> {
    let caller = Caller { session: request.session, now: request.now };
    match &request.change {
        Change::OpenSession { holder, takeover } => return session::open(state, request, holder, *takeover),
        Change::EndSession { session } => {
            let may = caller.session == *session || caller.session == SessionId::CLUSTER;
            let result = if may { session::end(state, *session) } else { Err(FsError::NotPermitted.into()) };
            return outcome(result).map(Ok);
        }
        _ => {}
    }
    if caller.session == SessionId::CLUSTER {
        return outcome(by_cluster(state, request.now, &request.change)).map(Ok);
    }
    let Some(session) = state.sessions.get(&caller.session) else { return Ok(Err(Refused::NoSession)) };
    if state.recovery.void.contains(&caller.session) {
        return Ok(Err(Refused::NoSession));
    }
    if request.seq == 0 {
        return Ok(Ok(Err(FsError::Invalid)));
    }
    if let Some(before) = session.outcomes.get(&request.seq)
        && !planted(Bug::AppliesTwice)
    {
        return Ok(Ok(before.clone()));
    }
    if request.seq < session.row.done_below {
        return Ok(Err(Refused::Forgotten));
    }
    let result =
        check_time(caller.now).map_err(Refusal::from).and_then(|()| by_session(state, caller, &request.change));
    let outcome = outcome(result)?;
    state.keep_outcome(caller.session, request.seq, request.done_below, &outcome);
    Ok(Ok(outcome))
}

/// Nanoseconds in a second, which a time has fewer of.
const NANOS: u32 = 1_000_000_000;

fn check_time(time: Time) -> Result<(), FsError> {
    if time.nanos >= NANOS { Err(FsError::Invalid) } else { Ok(()) }
}

/// Tells what is part of the state from what stops this server.
fn outcome(result: Result<Done>) -> Result<Outcome, Fault> {
    match result {
        Ok(done) => Ok(Ok(done)),
        Err(Refusal::Fs(error)) => Ok(Err(error)),
        Err(Refusal::Fault(fault)) => Err(fault),
    }
}

fn by_cluster(state: &mut State, now: Time, change: &Change) -> Result<Done> {
    match change {
        Change::Pair { pair, epoch, event } => pair::event(state, now, *pair, *epoch, *event),
        Change::Space { pairs } => pair::space(state, pairs),
        Change::RecoverSizes { sizes } => wrote::recover(state, sizes),
        Change::Witness { from, to } => pair::witness(state, *from, *to),
        Change::MarkLost { pair, epoch } => loss::mark(state, *pair, *epoch),
        Change::AcceptLoss { pair, epoch, known } => loss::accept(state, *pair, *epoch, *known),
        _ => Err(FsError::NotPermitted.into()),
    }
}

fn by_session(state: &mut State, caller: Caller, change: &Change) -> Result<Done> {
    match change {
        Change::GrantInos => session::grant(state, caller),
        Change::Make { .. } => make::make(state, caller, change),
        Change::Link { ino, parent, name } => link::link(state, caller, *ino, *parent, name),
        Change::Unlink { parent, name, keep } => unlink::unlink(state, caller, *parent, name, *keep),
        Change::Rmdir { parent, name, keep } => unlink::rmdir(state, caller, *parent, name, *keep),
        Change::Rename { parent, name, new_parent, new_name, mode, keep } => {
            let moved = rename::Move { from: (*parent, name), to: (*new_parent, new_name), mode: *mode, keep: *keep };
            rename::rename(state, caller, &moved)
        }
        Change::SetAttr { ino, set } => setattr::set(state, caller, *ino, set),
        Change::Wrote { ino, cut_gen, size, blocks, mtime } => {
            let growth = wrote::Growth { cut_gen: *cut_gen, size: *size, blocks: *blocks };
            wrote::wrote(state, caller, *ino, growth, *mtime)
        }
        Change::SetXattr { ino, name, value, mode, perm } => {
            xattr::set(state, caller, *ino, (name, value), *mode, *perm)
        }
        Change::RemoveXattr { ino, name } => xattr::remove(state, caller, *ino, name),
        Change::Release { inos } => session::release(state, caller, inos),
        Change::OpenSession { .. }
        | Change::EndSession { .. }
        | Change::Pair { .. }
        | Change::Space { .. }
        | Change::RecoverSizes { .. }
        | Change::Witness { .. }
        | Change::MarkLost { .. }
        | Change::AcceptLoss { .. } => Err(FsError::NotPermitted.into()),
    }
}
