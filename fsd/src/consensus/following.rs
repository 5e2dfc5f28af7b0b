//! What a follower does with the leader's words.

use super::core::{Core, Doubt, Failure, Now, Output, TERM_MAX};
use super::log::LogStore;
use super::reach::Reach;
use raidfs_common::id::{LogIndex, ServerId, Term};
use raidfs_common::plant::{Bug, planted};
use raidfs_common::rpc::peer::{AppendReply, AppendRequest, LogEntry};

/// Whether an honest leader could have said it: entries without gaps, of terms that do not fall and are not to come.
fn is_sound(request: &AppendRequest) -> bool {
    let mut before = (request.prev_index, request.prev_term);
    let follows = |e: &LogEntry| {
        let fits = before.0.0.checked_add(1) == Some(e.index.0) && e.term >= before.1 && e.term <= request.term;
        before = (e.index, e.term);
        fits
    };
    request.term <= TERM_MAX && request.entries.iter().all(follows)
}

/// An answer to the leader, and what must happen before it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What to say; its `durable` is filled in when it is sent.
    pub reply: AppendReply,
    /// The log must be synced up to here first; 0: at once.
    pub after_sync: LogIndex,
}

impl<L: LogStore> Core<L> {
    /// Takes entries, or a heartbeat.
    pub fn on_append(&mut self, request: AppendRequest, now: Now) -> Option<Answer> {
        if self.failed.is_some() || !self.setup.voters.contains(&request.from) || !is_sound(&request) {
            return None;
        }
        if self.doubt == Doubt::Stranger {
            // What it does not hold yet it cannot promise, to whoever leads.
            return None;
        }
        if request.term < self.vote.term {
            return Some(self.answer(&request, false, self.log.last().0, now));
        }
        self.accept_leader(request.from, request.term, now)?;
        if self.contradicts_what_was_agreed(&request) && !planted(Bug::KeepsOtherHistory) {
            self.fall_silent(Failure::OtherHistory(self.commit));
            return None;
        }
        let held = self.log.base().0;
        if request.prev_index > held && self.log.term_at(request.prev_index) != Some(request.prev_term) {
            // Nothing at or after that position can be right; what is before may be.
            let hint = LogIndex(self.log.last().0.0.min(request.prev_index.0 - 1)).max(held);
            return Some(self.answer(&request, false, hint, now));
        }
        let matched = LogIndex(request.prev_index.0 + request.entries.len() as u64);
        self.take_entries(&request.entries)?;
        if matched >= self.commit {
            self.same_history = self.same_history.max(Some(request.term));
        }
        let lease_from = self.lease_from;
        self.hear(&request, now);
        // Said by a leader that has had an answer of this life: an older word may tell of an older end of its log.
        if self.lease_from > lease_from && request.term > self.leaders_log.0 {
            self.leaders_log = (request.term, request.leader_last);
        }
        let seen = matched.max(held);
        self.commit = self.commit.max(request.commit.min(seen));
        self.quorum_durable = self.quorum_durable.max(request.durable.min(seen).min(self.commit));
        self.spare = self.spare.max(request.spare);
        self.weigh_doubt(request.leader_last, matched);
        let mut answer = self.answer(&request, true, matched, now);
        if request.sync_to.0 > 0 && self.log.durable() < request.sync_to.min(matched) {
            answer.after_sync = request.sync_to.min(matched);
            self.out.push(Output::Sync(answer.after_sync));
        }
        Some(answer)
    }

    fn answer(&self, request: &AppendRequest, ok: bool, matched: LogIndex, now: Now) -> Answer {
        let reply = AppendReply {
            incarnation: self.setup.incarnation,
            term: self.vote.term,
            round: request.round,
            ok,
            matched,
            durable: self.log.durable().min(matched),
            applied_durable: self.applied_durable,
            reaches: self.reaches_leader(now),
        };
        Answer { reply, after_sync: LogIndex(0) }
    }

    /// Follows `leader` in `term`; None if the promise could not be saved.
    fn accept_leader(&mut self, leader: ServerId, term: Term, now: Now) -> Option<()> {
        self.observe_term(term, now);
        if self.failed.is_some() {
            return None;
        }
        self.follow(Some(leader));
        self.reach.get_or_insert(Reach::new(now));
        self.voted_at = None;
        self.leaderless_since = now;
        let is_gone = |(of, who, at)| (of, who) == (term, leader) && now < at + self.setup.timing.election;
        if !self.gone.is_some_and(is_gone) {
            // Words that were under way when the leader's process ended do not bring it back: it never goes on leading
            // in the same term (rule 1). Who speaks on and on is not gone: that was said of an earlier life.
            if let (Some(reach), Some(at)) = (&mut self.reach, self.heard_at) {
                reach.forgive(now.saturating_sub(at), now);
            }
            self.heard_at = Some(now);
            self.haste = None;
            self.followed = Some(leader);
            self.put_off_election(now);
        }
        Some(())
    }

    /// Whether the leader's log lacks, or has another entry in the place of, one that was agreed here. As long as no
    /// voter forgets, that cannot be; after power was lost, the others may have recovered without this voter (rule 4).
    /// A leader of a later term than an agreed entry's had it when it was elected, so a delayed message has it, too.
    fn contradicts_what_was_agreed(&self, request: &AppendRequest) -> bool {
        let (base, commit) = (self.log.base().0, self.commit);
        let other =
            |index: LogIndex, term: Term| index >= base && index <= commit && self.log.term_at(index) != Some(term);
        let ends_before = request.leader_last < commit && self.log.term_at(commit).is_some_and(|t| t < request.term);
        ends_before
            || other(request.prev_index, request.prev_term)
            || request.entries.iter().any(|e| other(e.index, e.term))
    }

    /// Keeps the lease: it counts from when the newest answer was sent that the leader says it has had (rule 7). A leader
    /// whose log was not seen to go on from this one's gives none: what is applied here may be of another history.
    fn hear(&mut self, request: &AppendRequest, now: Now) {
        if self.same_history != Some(request.term) {
            return;
        }
        if planted(Bug::LeaseFromWords) {
            self.lease_from = Some(now);
        }
        while let Some((round, at)) = self.answered.front().copied() {
            if round > request.heard {
                break;
            }
            self.lease_from = self.lease_from.max(Some(at));
            self.answered.pop_front();
        }
        if self.answered.len() < 1024 {
            self.answered.push_back((request.round, now));
        }
    }

    /// Adds what is new; takes away what contradicts it.
    fn take_entries(&mut self, entries: &[LogEntry]) -> Option<()> {
        let held = self.log.base().0;
        let known = |log: &L, e: &LogEntry| e.index <= held || log.term_at(e.index) == Some(e.term);
        let Some(first) = entries.iter().position(|e| !known(&self.log, e)) else { return Some(()) };
        let from = entries[first].index;
        if from <= self.log.last().0 {
            debug_assert!(from > self.commit, "what was agreed is never taken away: see contradicts_what_was_agreed");
            self.with_log(|log| log.truncate(from))?;
            self.lives.truncate(from);
        }
        self.with_log(|log| log.append(&entries[first..]))?;
        self.lives.add(&entries[first..]);
        Some(())
    }

    /// The state was replaced by a snapshot of the state after `index`, which `from` had begun to send in `term`. By now
    /// another may lead in a later one: then it is not followed for that. What it has sent was agreed all the same.
    pub fn on_snapshot_installed(&mut self, from: ServerId, term: Term, index: LogIndex, entry_term: Term, now: Now) {
        if self.failed.is_some() || (term == self.vote.term && self.accept_leader(from, term, now).is_none()) {
            return;
        }
        if self.log.term_at(index) != Some(entry_term) {
            if self.leads() {
                // Power was lost, and it was elected without an entry that was agreed: its followers go on from before that.
                self.fall_silent(Failure::OtherHistory(index));
                return;
            }
            self.with_log(|log| log.reset(index, entry_term));
            self.lives.truncate(LogIndex(0));
        }
        self.commit = self.commit.max(index);
        self.same_history = self.same_history.max(Some(term));
        self.applied_durable = self.applied_durable.max(index);
    }

    /// Whether a piece of a snapshot from this leader is to be taken.
    pub fn on_snapshot_piece(&mut self, from: ServerId, term: Term, now: Now) -> bool {
        let takes = term >= self.vote.term && self.failed.is_none() && self.doubt != Doubt::Stranger;
        takes && self.accept_leader(from, term, now).is_some()
    }
}
