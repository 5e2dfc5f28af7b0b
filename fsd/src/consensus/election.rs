//! Who leads: asking for votes, giving them, and taking over at once when the leader is seen to be gone.

use super::core::{Campaign, Core, Doubt, Now, Output, Role, TERM_MAX};
use super::log::{LogStore, Vote};
use raidfs_common::id::{LogIndex, ServerId, Term};
use raidfs_common::plant::{Bug, planted};
use raidfs_common::rpc::peer::{VoteReply, VoteRequest};
use std::collections::BTreeMap;
use std::time::Duration;

/// So much more often than after the loss of a leader it is asked whether all voters are there to begin a cluster.
const FOUNDING_HASTE: f64 = 8.0;
/// After so many questions since a leader was seen to be gone, or one election in vain, the wait for the next one doubles.
const HASTY_TRIES: u32 = 4;

impl<L: LogStore> Core<L> {
    /// Waits anew for the leader. The witness waits longer: it should lead only if nobody else can.
    pub(super) fn put_off_election(&mut self, now: Now) {
        let mut share = 1.0 + self.draw() + if self.setup.me.is_witness() { 2.0 } else { 0.0 };
        if self.doubt == Doubt::Stranger {
            // There is no leader to wait for: either the others are about to start, too, or one of them leads.
            share /= FOUNDING_HASTE;
        }
        self.election_at = now + self.setup.timing.election.mul_f64(share);
    }

    /// If a leader was seen to be gone, the next try need not wait as long as for one that may only be slow: `step` to twice
    /// as much. The longer nobody is elected the longer the waits, up to the usual one.
    fn hurry(&mut self, step: Duration, now: Now) {
        let Some(tries) = self.haste else { return };
        let wait = step.mul_f64(1.0 + self.draw()) * (1 << (tries / HASTY_TRIES).min(16));
        self.election_at = self.election_at.min(now + wait);
    }

    /// Whether nothing stands against `candidate` as the leader: the current one is gone, or silent for long enough that
    /// its lease has ended, and nobody else has just been given this vote. Who is elected needs a moment to say so, and one
    /// that missed the election, and asks meanwhile, would depose it.
    fn leaderless(&self, candidate: ServerId, now: Now) -> bool {
        let just_voted = self.voted_at.is_some_and(|at| now < at + self.setup.timing.vote_grace);
        if just_voted && self.vote.given != Some(candidate) {
            return false;
        }
        match (&self.role, self.heard_at) {
            (Role::Leader(_), _) => false,
            (_, None) => true,
            // Who asks for votes knows that it leads no more.
            _ if self.followed == Some(candidate) => true,
            (_, Some(at)) => now >= at + self.setup.timing.election,
        }
    }

    /// Asks whether votes would be given: a question first, so that a voter that was cut off does not disturb.
    pub(super) fn campaign(&mut self, now: Now) {
        self.put_off_election(now);
        // Others may only be about to see that the leader is gone.
        self.hurry(self.setup.timing.stagger * 2, now);
        let tried = if self.asks_for_votes() { HASTY_TRIES } else { 1 };
        self.haste = self.haste.map(|tries| tries.saturating_add(tried));
        self.leader = None;
        if self.takes_part() {
            self.ask_for_votes(now, true, false, false);
        }
    }

    /// Whether votes are asked for, not only whether they would be given.
    fn asks_for_votes(&self) -> bool {
        matches!(&self.role, Role::Candidate(campaign) if !campaign.pre)
    }

    /// Whether this voter's data directory counts, as far as its own log says.
    fn takes_part(&self) -> bool {
        self.lives.admit(self.setup.me, self.setup.incarnation)
    }

    fn ask_for_votes(&mut self, now: Now, pre: bool, recovery: bool, transfer: bool) {
        let term = Term(self.vote.term.0 + 1);
        let me = self.setup.me;
        if !pre {
            let vote = Vote { term, given: Some(me) };
            if self.with_log(|log| log.save_vote(vote)).is_none() {
                return;
            }
            self.vote = vote;
            self.voted_at = None;
        }
        let (last_index, last_term) = self.log.last();
        let own = VoteReply {
            term: self.vote.term,
            granted: self.doubt == Doubt::None || recovery,
            doubtful: self.doubtful(),
            stranger: self.doubt == Doubt::Stranger,
            incarnation: self.setup.incarnation,
            last_term,
            last_index,
        };
        let founding = recovery && last_index == LogIndex(0);
        let standing = match std::mem::replace(&mut self.role, Role::Follower) {
            Role::Candidate(before) if pre && !before.pre => Some(Box::new(before)),
            Role::Candidate(before) if pre => before.standing,
            _ => None,
        };
        let answers = BTreeMap::from([(me, own)]);
        self.role = Role::Candidate(Campaign { pre, recovery, founding, answers, standing });
        let request = VoteRequest { from: me, term, pre, transfer, recovery, last_term, last_index };
        for to in self.others() {
            self.out.push(Output::Vote { to, request: request.clone() });
        }
        if !pre {
            self.wrote_vote = true;
            self.await_outcome(now);
        }
        self.count_votes(now);
    }

    /// A vote was written just before `now`, in a step that had begun earlier: from here on its outcome is waited for.
    /// To be called after each step.
    pub fn on_written(&mut self, now: impl FnOnce() -> Now) {
        if std::mem::take(&mut self.wrote_vote) {
            self.await_outcome(now());
        }
    }

    /// Promises are written to disks before they are told, and another question would throw away what is on its way.
    fn await_outcome(&mut self, now: Now) {
        if self.voted_at.is_some() {
            self.voted_at = Some(now);
            self.put_off_election(now);
        } else if self.asks_for_votes() {
            self.put_off_election(now);
            self.hurry(self.setup.timing.vote_grace, now);
        }
    }

    /// Answers a request for a vote.
    pub fn on_vote(&mut self, request: &VoteRequest, now: Now) -> VoteReply {
        let (last_index, last_term) = self.log.last();
        let stands = self.setup.voters.contains(&request.from) && self.failed.is_none() && request.term <= TERM_MAX;
        let up_to_date =
            (request.last_term, request.last_index) >= (last_term, last_index) || planted(Bug::VotesForShorterLog);
        let founding = request.recovery && request.last_index == LogIndex(0);
        let trusted = match self.doubt {
            Doubt::None => true,
            // It is as good as not there, except where nobody has anything.
            Doubt::Stranger => founding,
            Doubt::Open | Doubt::Until(_) => request.recovery || planted(Bug::VotesForgetful),
        };
        let free = self.leaderless(request.from, now) || (!request.pre && request.transfer);
        let asks_in_time = stands && trusted && free && request.term > self.vote.term;
        let mut granted = asks_in_time && up_to_date;
        if asks_in_time && !up_to_date && request.pre {
            self.go_first(now);
        }
        let may_promise = trusted || self.doubt != Doubt::Stranger;
        if stands && !request.pre && free && may_promise && request.term >= self.vote.term {
            let given = if request.term > self.vote.term { None } else { self.vote.given };
            let first = given.is_none_or(|to| to == request.from) || planted(Bug::VotesTwice);
            granted = up_to_date && trusted && first;
            let vote = Vote { term: request.term, given: if granted { Some(request.from) } else { given } };
            if vote != self.vote {
                let newer = request.term > self.vote.term;
                if self.with_log(|log| log.save_vote(vote)).is_none() {
                    granted = false;
                } else {
                    self.vote = vote;
                    if newer {
                        self.voted_at = None;
                        self.follow(None);
                    }
                }
            }
            if granted {
                if self.doubt == Doubt::Stranger {
                    // Its promise, which is on disk, makes it one of those who begin the cluster.
                    self.doubt = Doubt::Open;
                }
                if matches!(self.role, Role::Candidate(_)) {
                    self.follow(None);
                }
                if self.leader.is_none() {
                    self.voted_at = Some(now);
                }
                self.wrote_vote = true;
                self.await_outcome(now);
            }
        }
        VoteReply {
            term: self.vote.term,
            granted,
            doubtful: self.doubtful(),
            stranger: self.doubt == Doubt::Stranger,
            incarnation: self.setup.incarnation,
            last_term,
            last_index,
        }
    }

    /// Somebody asks for votes who cannot win while this voter's entries count, and may be the only one to notice: this one
    /// goes itself, the witness behind the servers.
    fn go_first(&mut self, now: Now) {
        let place = if self.setup.me.is_witness() { 4.0 } else { 1.0 };
        self.election_at = self.election_at.min(now + self.setup.timing.stagger.mul_f64(place + self.draw()));
    }

    /// Takes an answer to its own request. `asked` is what was sent.
    pub fn on_vote_reply(&mut self, from: ServerId, asked: &VoteRequest, reply: VoteReply, now: Now) {
        if self.failed.is_some() || !self.lives.admit(from, reply.incarnation) {
            return;
        }
        // What a stranger learns here it would take for a part in the cluster when it starts again.
        if self.doubt != Doubt::Stranger && self.observe_term(reply.term, now) {
            return;
        }
        let current = Term(self.vote.term.0 + u64::from(asked.pre));
        let Role::Candidate(campaign) = &mut self.role else { return };
        let campaign = match &mut campaign.standing {
            Some(standing) if !asked.pre => standing,
            _ => campaign,
        };
        if (campaign.pre, campaign.recovery) == (asked.pre, asked.recovery) && asked.term == current {
            campaign.answers.insert(from, reply);
            self.count_votes(now);
        }
    }

    fn count_votes(&mut self, now: Now) {
        let Role::Candidate(campaign) = &self.role else { return };
        let wins = |campaign: &Campaign| {
            let needed = if campaign.founding { self.setup.voters.len() } else { self.quorum() };
            campaign.granted() >= needed
        };
        let real = campaign.standing.as_deref().or(Some(campaign)).filter(|campaign| !campaign.pre);
        if let Some(elected) = real.filter(|real| wins(real)) {
            // Where nobody had anything, nothing is lost.
            let recovery = elected.recovery && !elected.founding;
            self.lead(now, recovery);
        } else if !campaign.pre {
            // Somebody else has a vote, and neither may have enough: who is gone says nothing, so that one can be too few.
            if !campaign.founding && campaign.granted() < campaign.answers.len() {
                self.hurry(self.setup.timing.stagger, now);
            }
        } else if wins(campaign) {
            let recovery = campaign.recovery;
            self.ask_for_votes(now, false, recovery, true);
        } else if self.may_recover(now) {
            self.ask_for_votes(now, true, true, false);
        }
    }

    /// Rule 4: everything lost power. Servers that may have forgotten entries elect the newest log among them, once all
    /// voters have answered, or all but one and the patience for it is over. A stranger counts as missing: what its place in
    /// the cluster has known may lie in another data directory. Only where nobody has a log, and everybody says so, one of
    /// them begins a new cluster, always the same one, so that they agree at once.
    fn may_recover(&self, now: Now) -> bool {
        let Role::Candidate(campaign) = &self.role else { return false };
        if !campaign.pre || campaign.recovery || !campaign.answers.values().any(|a| a.doubtful) {
            return false;
        }
        // As many as elect one without those: who did not grant it yet has just heard the leader, or has more itself. To recover
        // would end the mount's session for nothing.
        let sure = campaign.answers.values().filter(|a| !a.doubtful && !a.stranger).count();
        if sure >= self.quorum() {
            return false;
        }
        let (last_index, last_term) = self.log.last();
        if last_index == LogIndex(0) {
            let all = campaign.answers.len() == self.setup.voters.len();
            let first = self.setup.voters.iter().find(|voter| !voter.is_witness()) == Some(&self.setup.me);
            return all && first && campaign.answers.values().all(|a| a.last_index == LogIndex(0));
        }
        let heard = campaign.answers.values().filter(|a| !a.stranger).count();
        let missing = self.setup.voters.len() - heard;
        let waited = now >= self.leaderless_since + self.setup.timing.recovery_patience;
        if missing > usize::from(waited) && !planted(Bug::RecoversEarly) {
            return false;
        }
        campaign.answers.values().all(|a| (a.last_term, a.last_index) <= (last_term, last_index))
    }

    /// Steps back if `term` is newer than its own; says whether it was.
    pub(super) fn observe_term(&mut self, term: Term, now: Now) -> bool {
        if term <= self.vote.term || term > TERM_MAX {
            return false;
        }
        let vote = Vote { term, given: None };
        if self.with_log(|log| log.save_vote(vote)).is_some() {
            self.vote = vote;
            self.voted_at = None;
            let led = self.leads();
            self.follow(None);
            if led {
                self.put_off_election(now);
            }
        }
        true
    }

    pub(super) fn follow(&mut self, leader: Option<ServerId>) {
        if self.leader != leader {
            self.answered.clear();
            self.reach = None;
        }
        self.role = Role::Follower;
        self.leader = leader;
    }

    /// The process of `server` was seen to be gone (its connections broke and its port refuses). If it led, or was about
    /// to, votes are asked for at once, the voters one after the other so that they do not split.
    pub fn on_gone(&mut self, server: ServerId, now: Now) {
        let known = self.gone.is_some_and(|(term, who, _)| (term, who) == (self.vote.term, server));
        let led = self.leader == Some(server) && !known;
        // It led before the term of an election that this voter heard of first.
        let had_led = self.leader.is_none() && self.followed == Some(server) && self.heard_at.is_some();
        let had_vote = self.leader.is_none() && self.vote.given == Some(server) && self.voted_at.is_some();
        if !(led || had_led || had_vote) || self.leads() || self.failed.is_some() {
            return;
        }
        if led || had_led {
            self.heard_at = None;
        }
        if self.vote.given == Some(server) {
            self.voted_at = None;
        }
        if led || had_vote {
            self.gone = Some((self.vote.term, server, now));
        }
        self.haste = Some(0);
        let voters = self.setup.voters.iter().filter(|v| **v != server && !v.is_witness());
        // Before the others goes who stands first in a row that turns with the term, the witness last.
        let mut row: Vec<ServerId> = voters.copied().collect();
        let turn = (self.vote.term.0 as usize) % row.len().max(1);
        row.rotate_left(turn);
        let place = row.iter().position(|v| *v == self.setup.me).unwrap_or(row.len() + 4);
        // Not before who has this vote had its time.
        let from = self.voted_at.map_or(now, |at| now.max(at + self.setup.timing.vote_grace));
        self.election_at = self.election_at.min(from + self.setup.timing.stagger * place as u32);
    }

    /// The leader's word: take over now. It has stepped back by itself.
    pub fn on_take_over(&mut self, from: ServerId, term: Term, now: Now) -> bool {
        let fit = self.leader == Some(from)
            && term == self.vote.term
            && self.doubt == Doubt::None
            && self.takes_part()
            && !self.setup.me.is_witness()
            && self.failed.is_none();
        if fit {
            self.handed_over_at = Some(now);
            self.ask_for_votes(now, false, false, true);
        }
        fit
    }

    /// Raises or clears the doubt about this log, at a word of the leader.
    pub(super) fn weigh_doubt(&mut self, leader_last: LogIndex, matched: LogIndex) {
        if self.doubt == Doubt::Open {
            self.doubt = Doubt::Until(leader_last);
        }
        if let Doubt::Until(index) = self.doubt
            && matched >= index
        {
            self.doubt = Doubt::None;
        }
    }
}
