//! What a leader does: entries out, answers in, what is agreed, what is durable, and handing over.

use super::core::{Core, Doubt, Now, Output, Role};
use super::log::LogStore;
use super::timing::Timing;
use bytes::Bytes;
use raidfs_common::id::{LogIndex, ServerId, Term};
use raidfs_common::limits::APPEND_MAX_BYTES;
use raidfs_common::plant::{Bug, planted};
use raidfs_common::rpc::peer::{AppendReply, AppendRequest, LogEntry};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// Appends to one follower that may be under way at once.
const IN_FLIGHT_MAX: usize = 64;
/// A follower that does not answer, and lacks no more entries than this, is sent them with each new one; any other gets
/// heartbeats until it answers: reading back what it lacks, for nobody, would take longer with each entry.
const SILENT_TRIES_MAX: u64 = 64;
/// A round that somebody waits for is sent this late: who asks meanwhile shares it.
const CONFIRM_AFTER: Duration = Duration::from_micros(200);

/// What a leader knows.
#[derive(Debug)]
pub(super) struct Lead {
    pub followers: BTreeMap<ServerId, Follower>,
    /// The first entry of its term.
    pub term_start: LogIndex,
    /// Entries that are not agreed yet and must be durable on a quorum first.
    fences: BTreeSet<LogIndex>,
    /// Somebody waits for the log to be durable on a quorum up to here.
    sync_wanted: LogIndex,
    /// When followers are told what is agreed, if nothing tells them before.
    note_at: Option<Now>,
    heartbeat_at: Now,
    since: Now,
    /// It hands over and takes no proposals.
    leaving: bool,
}

#[derive(Debug)]
pub(super) struct Follower {
    next: LogIndex,
    matched: LogIndex,
    durable: LogIndex,
    applied_durable: LogIndex,
    round: u64,
    heard: u64,
    /// Rounds under way, and when they were sent.
    sent: VecDeque<(u64, Now)>,
    pub heard_at: Option<Now>,
    /// It says that it can connect to this leader.
    pub reaches: bool,
    /// The sending of the newest round that it answered: what leases count from.
    heard_sent_at: Option<Now>,
    last_sent: Now,
    commit_sent: LogIndex,
    sync_sent: LogIndex,
    /// It did not answer, or its log does not fit: one append at a time until it does.
    probing: bool,
    /// It did not answer, and has not since.
    silent: bool,
    snapshot: bool,
}

impl Lead {
    pub fn next_tick(&self) -> Now {
        self.note_at.map_or(self.heartbeat_at, |at| at.min(self.heartbeat_at))
    }

    /// The `rank`-th largest of `own` and the followers' values.
    fn ranked<T: Ord + Copy>(&self, own: T, rank: usize, value: impl Fn(&Follower) -> T) -> T {
        let mut all: Vec<T> = self.followers.values().map(value).chain([own]).collect();
        all.sort_unstable_by(|a, b| b.cmp(a));
        all[rank.min(all.len()) - 1]
    }
}

impl<L: LogStore> Core<L> {
    /// Takes the lead. `recovery`: voters that may have forgotten entries were needed for it, so that some may be lost
    /// that were agreed; everybody is told so by the first entry.
    pub(super) fn lead(&mut self, now: Now, recovery: bool) {
        self.haste = None;
        let unreached_since = self.unreached_since(now).filter(|_| self.leader == self.followed);
        self.reach = None;
        let last = self.log.last().0;
        let follower = || Follower {
            next: last.next(),
            matched: LogIndex(0),
            durable: LogIndex(0),
            applied_durable: LogIndex(0),
            round: 0,
            heard: 0,
            sent: VecDeque::new(),
            heard_at: None,
            reaches: true,
            heard_sent_at: None,
            last_sent: now,
            commit_sent: LogIndex(0),
            sync_sent: LogIndex(0),
            probing: true,
            silent: false,
            snapshot: false,
        };
        let mut followers: BTreeMap<_, _> = self.others().into_iter().map(|id| (id, follower())).collect();
        if let Some(former) = self.followed.and_then(|id| followers.get_mut(&id)) {
            // If the lead came here because it fell silent, it has been silent since; or because nobody gets through to it.
            former.heard_at = unreached_since.map_or(self.heard_at, |at| self.heard_at.min(Some(at)));
        }
        self.role = Role::Leader(Box::new(Lead {
            followers,
            term_start: last.next(),
            fences: BTreeSet::new(),
            sync_wanted: LogIndex(0),
            note_at: None,
            heartbeat_at: now + self.setup.timing.heartbeat,
            since: now,
            leaving: false,
        }));
        self.leader = Some(self.setup.me);
        self.leaders_log = (self.vote.term, last.next());
        // A quorum without it found its log complete, or all recover together from it.
        self.doubt = Doubt::None;
        // Entries of earlier terms that fence are fences again; reading back a few megabytes at most.
        if let Some(fence) = self.find_fences() {
            // Nobody else asks for them any more, and nothing is agreed before they are durable.
            self.want_sync(fence);
        }
        let first = if recovery { self.setup.on_recovery.clone() } else { Bytes::new() };
        self.append_own(first, recovery, now);
    }

    /// Finds the entries that fence among those that are not agreed yet; the last of them.
    fn find_fences(&mut self) -> Option<LogIndex> {
        let mut found = BTreeSet::new();
        let mut from = self.commit.next();
        while let Some(last) = {
            let entries = self.with_log(|log| log.read(from, APPEND_MAX_BYTES))?;
            found.extend(entries.iter().filter(|e| e.synced).map(|e| e.index));
            entries.last().map(|e| e.index)
        } {
            from = last.next();
        }
        let last = found.last().copied();
        if let Role::Leader(lead) = &mut self.role {
            lead.fences = found;
        }
        last
    }

    /// Adds an entry; None if this voter does not lead (or is the witness, or hands over). `synced`: it takes effect only
    /// once it is durable on a quorum.
    pub fn propose(&mut self, data: Bytes, synced: bool, now: Now) -> Option<LogIndex> {
        match &self.role {
            Role::Leader(lead) if !lead.leaving && !self.setup.me.is_witness() => self.append_own(data, synced, now),
            _ => None,
        }
    }

    fn append_own(&mut self, data: Bytes, synced: bool, now: Now) -> Option<LogIndex> {
        let synced = synced || self.setup.strict;
        let index = self.log.last().0.next();
        let entry = LogEntry { term: self.vote.term, index, synced, data };
        self.with_log(|log| log.append(std::slice::from_ref(&entry)))?;
        self.lives.add(std::slice::from_ref(&entry));
        if let Role::Leader(lead) = &mut self.role
            && synced
            && !planted(Bug::FencesUnsynced)
        {
            lead.fences.insert(index);
            self.want_sync(index);
        }
        self.send_all(now, false);
        self.advance(now);
        Some(index)
    }

    /// Asks for the log to be durable on a quorum up to `index`; [`Core::quorum_durable`] says when it is.
    pub fn barrier(&mut self, index: LogIndex, now: Now) {
        if self.quorum_durable() < index {
            self.want_sync(index.min(self.log.last().0));
            self.send_all(now, false);
        }
    }

    /// Has the next round sent soon: [`Core::lease_from`] says when a quorum has answered it. Those who ask at nearly
    /// the same time share one.
    pub fn confirm(&mut self, now: Now) {
        if let Role::Leader(lead) = &mut self.role {
            lead.heartbeat_at = lead.heartbeat_at.min(now + CONFIRM_AFTER);
        }
    }

    fn want_sync(&mut self, index: LogIndex) {
        let Role::Leader(lead) = &mut self.role else { return };
        lead.sync_wanted = lead.sync_wanted.max(index);
        if self.log.durable() < index {
            self.out.push(Output::Sync(index));
        }
    }

    /// The log was synced up to where [`LogStore::durable`] says now.
    pub fn on_synced(&mut self, now: Now) {
        self.advance(now);
    }

    /// Sends what each follower lacks; with `beat`, something to everyone.
    fn send_all(&mut self, now: Now, beat: bool) {
        for to in self.others() {
            self.send(to, now, beat);
        }
    }

    fn send(&mut self, to: ServerId, now: Now, beat: bool) {
        let (last, base) = (self.log.last().0, self.log.base().0);
        loop {
            let Role::Leader(lead) = &mut self.role else { return };
            let sync_wanted = lead.sync_wanted;
            let Some(f) = lead.followers.get_mut(&to) else { return };
            let lacks = f.next <= base;
            // To one who is away for days none is made five times a second: its answer to a heartbeat comes first.
            if lacks && !f.snapshot && !f.silent {
                f.snapshot = true;
                self.out.push(Output::Snapshot { to, term: self.vote.term });
            }
            let Some(f) = self.follower_mut(to) else { return };
            let room = f.sent.len() < if f.probing { 1 } else { IN_FLIGHT_MAX };
            let news = !f.snapshot && !lacks && (f.next <= last || f.sync_sent < sync_wanted);
            // A heartbeat to one who has long been silent or takes a snapshot carries nothing.
            let away = f.silent && last.0.saturating_sub(f.next.0) >= SILENT_TRIES_MAX;
            let full = news && room && !away;
            let due = beat && f.last_sent < now;
            if !full && !due {
                return;
            }
            let Some(more) = self.send_one(to, full, sync_wanted, now) else { return };
            if !more {
                return;
            }
        }
    }

    /// Sends one append; says whether there is more to send.
    fn send_one(&mut self, to: ServerId, full: bool, sync_wanted: LogIndex, now: Now) -> Option<bool> {
        let next = self.follower_mut(to)?.next.max(self.log.base().0.next());
        let entries = if full { self.with_log(|log| log.read(next, APPEND_MAX_BYTES))? } else { Vec::new() };
        let prev_index = LogIndex(next.0 - 1);
        let prev_term = self.log.term_at(prev_index).unwrap_or_default();
        let (commit, durable, spare) = (self.commit, self.quorum_durable(), self.spare);
        let (term, from, leader_last) = (self.vote.term, self.setup.me, self.log.last().0);
        let f = self.follower_mut(to)?;
        f.round += 1;
        f.sent.push_back((f.round, now));
        if f.sent.len() > IN_FLIGHT_MAX * 2 {
            f.sent.pop_front();
        }
        f.last_sent = now;
        f.commit_sent = commit;
        let sent_to = entries.last().map_or(prev_index, |e| e.index);
        let sync_to = if full && f.sync_sent < sync_wanted { sync_wanted.min(sent_to) } else { LogIndex(0) };
        f.sync_sent = f.sync_sent.max(sync_to);
        if !f.probing {
            f.next = sent_to.next();
        }
        let more = full && !f.probing && f.next <= leader_last;
        let request = AppendRequest {
            from,
            term,
            round: f.round,
            heard: f.heard,
            prev_index,
            prev_term,
            entries,
            commit,
            durable,
            sync_to,
            leader_last,
            spare,
        };
        self.out.push(Output::Append { to, request });
        Some(more)
    }

    fn follower_mut(&mut self, id: ServerId) -> Option<&mut Follower> {
        match &mut self.role {
            Role::Leader(lead) => lead.followers.get_mut(&id),
            _ => None,
        }
    }

    /// Takes an answer to an append.
    pub fn on_append_reply(&mut self, from: ServerId, reply: &AppendReply, now: Now) {
        if !self.lives.admit(from, reply.incarnation) {
            // What a directory holds that was replaced does not count; and who speaks is about to end.
            self.on_unreachable(from, reply.round, now);
            return;
        }
        if self.failed.is_some() || self.observe_term(reply.term, now) || reply.term < self.vote.term {
            return;
        }
        let Some(f) = self.follower_mut(from) else { return };
        f.heard_at = Some(now);
        f.silent = false;
        let newest = reply.round > f.heard;
        if newest {
            f.reaches = reply.reaches;
        }
        f.heard = f.heard.max(reply.round);
        if let Some(at) = f.sent.iter().position(|(round, _)| *round == reply.round)
            && let Some((_, sent_at)) = f.sent.remove(at)
        {
            let from = if planted(Bug::LeaseFromAnswers) { now } else { sent_at };
            f.heard_sent_at = f.heard_sent_at.max(Some(from));
        }
        if reply.ok {
            f.matched = f.matched.max(reply.matched);
            f.durable = f.durable.max(reply.durable);
            f.applied_durable = f.applied_durable.max(reply.applied_durable);
            f.next = f.next.max(f.matched.next());
            f.probing = false;
        } else if newest {
            // It may hold less than it once did: its machine lost power since (it then neither votes nor leads).
            f.matched = f.matched.min(reply.matched);
            f.durable = f.durable.min(reply.matched);
            f.next = reply.matched.next();
            f.probing = true;
            f.sync_sent = LogIndex(0);
        }
        self.advance(now);
        self.send(from, now, false);
    }

    /// An append to `to` was not answered. Gone: its process is seen to be dead.
    pub fn on_unreachable(&mut self, to: ServerId, round: u64, now: Now) {
        let _ = now;
        let Some(f) = self.follower_mut(to) else { return };
        f.sent.retain(|(r, _)| *r != round);
        if !f.probing {
            f.next = f.matched.next();
        }
        f.sync_sent = LogIndex(0);
        f.probing = true;
        f.silent = true;
    }

    /// Whether somebody is sent a snapshot.
    pub fn sends_snapshot(&self) -> bool {
        matches!(&self.role, Role::Leader(lead) if lead.followers.values().any(|f| f.snapshot))
    }

    /// A snapshot that was asked for in `term` was sent, of the state after `index`, or could not be. What was asked for in an
    /// earlier term is not under way any more: it says nothing about one that is, which two at a time would never finish.
    pub fn on_snapshot_sent(&mut self, to: ServerId, term: Term, index: Option<LogIndex>, now: Now) {
        if term != self.vote.term {
            return;
        }
        let Some(f) = self.follower_mut(to) else { return };
        f.snapshot = false;
        if let Some(index) = index {
            f.matched = f.matched.max(index);
            f.next = f.matched.next();
            f.probing = true;
            self.send(to, now, false);
        }
    }

    /// Works out what is agreed and durable now.
    fn advance(&mut self, now: Now) {
        let quorum = self.quorum();
        let (own, own_durable, own_applied) = (self.log.last().0, self.log.durable(), self.applied_durable);
        let (term, note) = (self.vote.term, self.setup.timing.commit_note);
        let servers = self.setup.voters.iter().filter(|v| !v.is_witness()).count();
        let Role::Leader(lead) = &mut self.role else { return };
        let durable = lead.ranked(own_durable, quorum, |f| f.durable);
        let mut agreed = lead.ranked(own, if planted(Bug::AgreesAlone) { 1 } else { quorum }, |f| f.matched);
        if let Some(fence) = lead.fences.iter().find(|i| **i > durable && **i <= agreed) {
            agreed = LogIndex(fence.0 - 1);
        }
        // Three of four servers, or all of fewer: rule 18. The witness applies nothing, and reports nothing.
        let enough = if planted(Bug::DropsEarly) { 1 } else { servers.min(3) };
        self.spare = self.spare.max(lead.ranked(own_applied, enough, |f| f.applied_durable));
        self.lease_from = self.lease_from.max(lead.ranked(Some(now), quorum, |f| f.heard_sent_at));
        if agreed > self.commit && self.log.term_at(agreed) == Some(term) {
            self.commit = agreed;
            lead.fences = lead.fences.split_off(&agreed.next());
            lead.note_at.get_or_insert(now + note);
        }
        // What is not agreed may yet be replaced by what is durable nowhere.
        self.quorum_durable = self.quorum_durable.max(durable.min(self.commit));
    }

    pub(super) fn tick_leading(&mut self, now: Now) {
        let Timing { heartbeat, election, .. } = self.setup.timing;
        let (quorum, commit) = (self.quorum(), self.commit);
        let Role::Leader(lead) = &mut self.role else { return };
        if now >= lead.heartbeat_at {
            lead.heartbeat_at = now + heartbeat;
            self.leaderless_since = now;
            let heard = lead.ranked(Some(now), quorum, |f| f.heard_at).unwrap_or(lead.since);
            if now > heard + election * 2 && now > lead.since + election * 2 {
                // Nobody listens: another may lead already.
                self.follow(None);
                self.put_off_election(now);
                return;
            }
            self.send_all(now, true);
            // An answer has this looked at; who is the only voter gets none.
            self.advance(now);
            self.hand_over_if_witness(now);
            self.hand_over_if_out_of_reach(now);
            return;
        }
        if lead.note_at.is_some_and(|at| now >= at) {
            lead.note_at = None;
            let behind: Vec<ServerId> = lead
                .followers
                .iter()
                .filter(|(id, f)| f.commit_sent < commit && !f.probing && !id.is_witness())
                .map(|(id, _)| *id)
                .collect();
            for to in behind {
                self.send(to, now, true);
            }
        }
    }

    /// Hands the lead over: to the server that is furthest. False if nobody can take it.
    pub fn hand_over(&mut self, now: Now) -> bool {
        let Some(to) = self.successors(now).first().copied() else { return false };
        self.pass_to(to, now);
        true
    }

    /// Who could take the lead over at once, the best first.
    pub fn successors(&self, now: Now) -> Vec<ServerId> {
        let Role::Leader(lead) = &self.role else { return Vec::new() };
        let (last, election) = (self.log.last().0, self.setup.timing.election);
        let alive = |f: &Follower| f.heard_at.is_some_and(|at| now < at + election);
        let mut fit: Vec<_> =
            lead.followers.iter().filter(|(id, f)| !id.is_witness() && alive(f) && f.matched == last).collect();
        fit.sort_by_key(|(id, f)| (std::cmp::Reverse(f.applied_durable), **id));
        fit.into_iter().map(|(id, _)| *id).collect()
    }

    /// Hands the lead over to one of them. False: it could not take it, by now.
    pub fn hand_over_to(&mut self, to: ServerId, now: Now) -> bool {
        let is_fit = self.successors(now).contains(&to);
        if is_fit {
            self.pass_to(to, now);
        }
        is_fit
    }

    fn pass_to(&mut self, to: ServerId, now: Now) {
        self.out.push(Output::TakeOver { to, term: self.vote.term });
        self.follow(None);
        self.handed_over_at = Some(now);
        // It keeps its peace for one whole wait, so that the other wins.
        self.heard_at = None;
        self.put_off_election(now);
    }

    /// The witness leads only until another has its log.
    fn hand_over_if_witness(&mut self, now: Now) {
        if self.setup.me.is_witness() && self.leads_surely() {
            self.hand_over(now);
        }
    }

    /// Takes no proposals any more: it is about to hand over.
    pub fn stop_proposals(&mut self) {
        if let Role::Leader(lead) = &mut self.role {
            lead.leaving = true;
        }
    }

    /// Leader only: how long ago each other voter was last heard.
    pub fn silence(&self, now: Now) -> Vec<(ServerId, Option<Now>)> {
        match &self.role {
            Role::Leader(lead) => {
                let silence = |f: &Follower| f.heard_at.map(|at| now.saturating_sub(at));
                lead.followers.iter().map(|(id, f)| (*id, silence(f))).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The term of an entry, for snapshots.
    pub fn term_at(&self, index: LogIndex) -> Option<Term> {
        self.log.term_at(index)
    }
}
