//! The Raft state machine of one voter: what it knows, and what comes out of it. Driven by [`super::node`] with
//! messages, time and proposals; it calls nothing but its log. The rules are in `election`,
//! `leading`, `following` and `reach`.

use super::leading::Lead;
use super::lives::{Lives, ReadLives};
use super::log::{LogStore, Vote};
use super::reach::Reach;
use super::timing::Timing;
use bytes::Bytes;
use raidfs_common::id::{Incarnation, LogIndex, ServerId, Term};
use raidfs_common::limits::APPEND_MAX_BYTES;
use raidfs_common::plant::{Bug, planted};
use raidfs_common::rpc::peer::{AppendRequest, VoteReply, VoteRequest};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// A point in time: since some moment of this process's life, by a clock that never jumps.
pub type Now = Duration;

/// No cluster comes that far; a voter that says so would leave no term to come.
pub(super) const TERM_MAX: Term = Term(u64::MAX >> 8);

/// Later than any life of a process.
pub(super) const NEVER: Now = Duration::from_secs(u32::MAX as u64);

/// Who this voter is, among whom.
#[derive(Clone, Debug)]
pub struct Setup {
    /// This voter.
    pub me: ServerId,
    /// All voters, itself included.
    pub voters: Vec<ServerId>,
    /// Its time-outs.
    pub timing: Timing,
    /// What its random waits are drawn from.
    pub seed: u64,
    /// This life of it.
    pub incarnation: Incarnation,
    /// Its machine went down uncleanly: it may have forgotten entries that it had acknowledged.
    pub doubtful: bool,
    /// It has never taken part: it does not, until it has a leader's word ([`Core::join`]) or founds a new cluster with
    /// all the others.
    pub stranger: bool,
    /// Every entry takes effect only once it is durable on a quorum.
    pub strict: bool,
    /// What a leader says first whose voters may have forgotten entries (rule 4), in place of an empty entry.
    pub on_recovery: Bytes,
    /// Reads what entries say about lives of voters.
    pub read_lives: ReadLives,
}

/// What is to be done after a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Ask for a vote; the answer goes to [`Core::on_vote_reply`].
    Vote {
        /// Whom.
        to: ServerId,
        /// What.
        request: VoteRequest,
    },
    /// Send entries; the answer goes to [`Core::on_append_reply`], a failure to [`Core::on_unreachable`].
    Append {
        /// To whom.
        to: ServerId,
        /// What.
        request: AppendRequest,
    },
    /// Ask the leader whether it is there, over a connection that nothing else uses; if it answers, call [`Core::on_pinged`].
    Ping {
        /// Whom.
        to: ServerId,
    },
    /// Sync the log up to here, then call [`Core::on_synced`].
    Sync(LogIndex),
    /// Bring a follower up to date with a snapshot, then call [`Core::on_snapshot_sent`].
    Snapshot {
        /// Whom.
        to: ServerId,
        /// In this term only.
        term: Term,
    },
    /// Tell a follower to take over.
    TakeOver {
        /// Whom.
        to: ServerId,
        /// In which term this server led.
        term: Term,
    },
}

/// What a voter is at the moment.
#[derive(Debug)]
pub(super) enum Role {
    Follower,
    Candidate(Campaign),
    Leader(Box<Lead>),
}

/// A question for votes under way.
#[derive(Debug)]
pub(super) struct Campaign {
    pub pre: bool,
    pub recovery: bool,
    /// A recovery in which nobody has a log: a new cluster, to which all voters must agree.
    pub founding: bool,
    pub answers: BTreeMap<ServerId, VoteReply>,
    /// The votes of the present term that it had asked for before. They count as long as the term stands: a question about
    /// the next one takes nothing back.
    pub standing: Option<Box<Campaign>>,
}

impl Campaign {
    pub fn granted(&self) -> usize {
        self.answers.values().filter(|answer| answer.granted).count()
    }
}

/// Whether this voter's log holds all that it ever acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// It does.
    None,
    /// It may not; no leader was heard yet.
    Open,
    /// It does again once it holds this.
    Until(LogIndex),
    /// It has never taken part, or forgot that it did.
    Stranger,
}

/// The Raft state machine of one voter.
#[derive(Debug)]
pub struct Core<L> {
    pub(super) setup: Setup,
    pub(super) log: L,
    pub(super) vote: Vote,
    pub(super) role: Role,
    /// Who leads the current term, if known.
    pub(super) leader: Option<ServerId>,
    /// When the leader was last heard.
    pub(super) heard_at: Option<Now>,
    /// Whether it can be reached; of another that leads.
    pub(super) reach: Option<Reach>,
    /// When the lead was last given to it, or given away.
    pub(super) handed_over_at: Option<Now>,
    /// When it gave its vote of this term to another, until somebody leads in it or that one is seen to be gone.
    pub(super) voted_at: Option<Now>,
    /// A vote was written in this step, which may have taken its time ([`Core::on_written`]).
    pub(super) wrote_vote: bool,
    /// Whom it followed last.
    pub(super) followed: Option<ServerId>,
    /// Since when nobody leads; while somebody does, a moment ago.
    pub(super) leaderless_since: Now,
    /// The newest term whose leader was seen to hold all that was agreed here before: it speaks of the same history.
    pub(super) same_history: Option<Term>,
    /// This process, which led this term or had this voter's vote in it, was seen to be gone, and when: it does not lead in
    /// it any more.
    pub(super) gone: Option<(Term, ServerId, Now)>,
    /// A leader was seen to be gone, and no other was heard since: how often that was in vain, roughly.
    pub(super) haste: Option<u32>,
    pub(super) election_at: Now,
    pub(super) doubt: Doubt,
    pub(super) lives: Lives,
    pub(super) commit: LogIndex,
    /// Durable on a quorum up to here, as far as is known.
    pub(super) quorum_durable: LogIndex,
    /// Where the log of the latest leader ended when it was first heard in this life, and its term: everything is in there that
    /// was agreed before.
    pub(super) leaders_log: (Term, LogIndex),
    /// This server has durably applied up to here.
    pub(super) applied_durable: LogIndex,
    /// Enough servers have durably applied up to here.
    pub(super) spare: LogIndex,
    /// The rounds that were answered, and when; the lease counts from there once the leader says that it heard.
    pub(super) answered: VecDeque<(u64, Now)>,
    pub(super) lease_from: Option<Now>,
    pub(super) random: u64,
    pub(super) out: Vec<Output>,
    /// This voter says and promises nothing any more.
    pub(super) failed: Option<Failure>,
}

/// Why a voter fell silent for good.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Its log cannot be read or written.
    #[error("the log failed: {0}")]
    Log(#[from] std::io::Error),
    /// Power was lost, and the others went on without entries that were agreed here: what was applied here is of a
    /// history that is no more (rule 4).
    #[error("the others went on from before entry {0}, which was agreed here")]
    OtherHistory(LogIndex),
    /// It is about to end in order, and what it has acknowledged is being made durable.
    #[error("it stops")]
    Stopped,
}

impl<L: LogStore> Core<L> {
    /// A voter that has just started: a follower, whatever it was before (rule 1).
    pub fn new(setup: Setup, log: L, applied: LogIndex, now: Now) -> Core<L> {
        let vote = log.vote();
        let doubt = match (setup.stranger, setup.doubtful) {
            (true, _) => Doubt::Stranger,
            (false, true) => Doubt::Open,
            (false, false) => Doubt::None,
        };
        let lives = Lives::new(setup.read_lives);
        let random = setup.seed ^ (u64::from(setup.me.0) << 32) ^ 0x9e37_79b9_7f4a_7c15;
        let mut core = Core {
            vote,
            role: Role::Follower,
            leader: None,
            heard_at: None,
            reach: None,
            handed_over_at: None,
            voted_at: None,
            wrote_vote: false,
            followed: None,
            leaderless_since: now,
            same_history: None,
            gone: None,
            haste: None,
            election_at: now,
            doubt,
            lives,
            commit: applied.max(log.base().0),
            quorum_durable: LogIndex(0),
            leaders_log: (Term(0), LogIndex(0)),
            applied_durable: applied,
            spare: LogIndex(0),
            answered: VecDeque::new(),
            lease_from: None,
            random,
            out: Vec::new(),
            failed: None,
            setup,
            log,
        };
        // At the start nobody waits for a leader's lease to end: the question before the vote finds a leader that is there.
        let patience = core.setup.timing.election.mul_f64(0.2 + 0.5 * core.draw());
        core.election_at = now + patience * if core.setup.me.is_witness() { 3 } else { 1 };
        core.read_coming_lives();
        if planted(Bug::LeadsOnAgain) && core.vote.given == Some(core.setup.me) {
            core.lead(now, false);
        }
        core
    }

    /// Reads what the entries say about lives that are in the log but not known to be agreed.
    fn read_coming_lives(&mut self) {
        let mut from = self.commit.next();
        while let Some(Some(last)) = self.with_log(|log| log.read(from, APPEND_MAX_BYTES)).map(|entries| {
            self.lives.add(&entries);
            entries.last().map(|e| e.index)
        }) {
            from = last.next();
        }
    }

    /// What was agreed about lives by the entries up to `applied`.
    pub fn agree_on_lives(&mut self, applied: LogIndex, lives: BTreeMap<ServerId, Incarnation>) {
        self.lives.agree(applied, lives);
    }

    /// Whether [`Core::agree_on_lives`] is to be called with what is applied.
    pub fn wants_lives(&self, applied: LogIndex) -> bool {
        self.lives.wants(applied)
    }

    /// A leader of `term`, which a quorum followed at that moment and whose last entry was `last`, has said that this
    /// voter's data directory is the one that the cluster knows. True: it is no stranger any more, durably.
    pub fn join(&mut self, term: Term, last: LogIndex, now: Now) -> bool {
        if self.doubt == Doubt::Stranger {
            // From here on no leader of an earlier term is heard: it may lack what this voter's former self had promised.
            self.observe_term(term, now);
            if self.failed.is_none() && self.vote.term >= term {
                self.doubt = Doubt::Until(last);
            }
        }
        self.doubt != Doubt::Stranger
    }

    /// What is to be done, since the last call.
    pub fn take_outputs(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.out)
    }

    /// The log.
    pub fn log(&self) -> &L {
        &self.log
    }

    /// The log, for those who sync and purge it.
    pub fn log_mut(&mut self) -> &mut L {
        &mut self.log
    }

    /// This voter's term.
    pub fn term(&self) -> Term {
        self.vote.term
    }

    /// Who leads, as far as is known.
    pub fn leader(&self) -> Option<ServerId> {
        self.leader
    }

    /// Whether this voter leads.
    pub fn leads(&self) -> bool {
        matches!(self.role, Role::Leader(_))
    }

    /// It leads, and an entry of its own term is agreed: it knows everything that ever was agreed.
    pub fn leads_surely(&self) -> bool {
        matches!(&self.role, Role::Leader(lead) if self.commit >= lead.term_start)
    }

    /// It leads, and what it has applied is everything that ever was agreed before its term.
    pub fn leads_with(&self, applied: LogIndex) -> bool {
        matches!(&self.role, Role::Leader(lead) if applied >= lead.term_start)
    }

    /// Everything up to here is agreed.
    pub fn commit(&self) -> LogIndex {
        self.commit
    }

    /// Everything up to here is agreed and on stable storage on a quorum.
    pub fn quorum_durable(&self) -> LogIndex {
        self.quorum_durable.min(self.commit)
    }

    /// What it has applied is everything that was agreed before this life began, and all of that is durable on a quorum.
    pub fn knows_all_before(&self, applied: LogIndex) -> bool {
        let (term, last) = self.leaders_log;
        term > Term(0) && last <= applied.min(self.quorum_durable())
    }

    /// Enough servers have durably applied everything up to here, this one included (the witness applies nothing): the
    /// log before it may be dropped.
    pub fn spare(&self) -> LogIndex {
        if self.setup.me.is_witness() { self.spare.min(self.commit) } else { self.spare.min(self.applied_durable) }
    }

    /// When this voter's lease counts from: it heard of a quorum behind a leader then. See rule 7.
    pub fn lease_from(&self) -> Option<Now> {
        self.lease_from
    }

    /// Whether it may have forgotten entries, and therefore does not vote.
    pub fn doubtful(&self) -> bool {
        self.doubt != Doubt::None
    }

    /// Why it stopped, if it did.
    pub fn failure(&self) -> Option<&Failure> {
        self.failed.as_ref()
    }

    /// This server has durably applied up to `index`. The witness never says so.
    pub fn on_applied_durable(&mut self, index: LogIndex) {
        self.applied_durable = self.applied_durable.max(index);
    }

    pub(super) fn quorum(&self) -> usize {
        self.setup.voters.len() / 2 + 1
    }

    pub(super) fn others(&self) -> Vec<ServerId> {
        let me = self.setup.me;
        self.setup.voters.iter().copied().filter(|v| *v != me).collect()
    }

    /// Runs a step of the log; if it fails, this voter falls silent for good (rule 18).
    pub(super) fn with_log<T>(&mut self, step: impl FnOnce(&mut L) -> std::io::Result<T>) -> Option<T> {
        if self.failed.is_some() {
            return None;
        }
        match step(&mut self.log) {
            Ok(value) => Some(value),
            Err(error) => {
                self.fall_silent(error.into());
                None
            }
        }
    }

    pub(super) fn fall_silent(&mut self, why: Failure) {
        self.failed = Some(why);
        self.role = Role::Follower;
        self.leader = self.leader.filter(|leader| *leader != self.setup.me);
        self.out.clear();
    }

    /// Falls silent for good, as it is about to end in order: nothing more is acknowledged, so that a sync of the log from
    /// now on covers all that ever was.
    pub fn stop(&mut self) {
        if self.failed.is_none() {
            self.fall_silent(Failure::Stopped);
        }
    }

    /// Runs a step of the log for those who look after it; a failure silences this voter.
    pub fn with_log_checked(&mut self, step: impl FnOnce(&mut L) -> std::io::Result<()>) {
        self.with_log(step);
    }

    /// A number from 0 to 1, from the seed.
    pub(super) fn draw(&mut self) -> f64 {
        // splitmix64: all that is asked of it is that voters differ.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// When [`Core::tick`] must be called next, at the latest.
    pub fn next_tick(&self) -> Now {
        match &self.role {
            _ if self.failed.is_some() => NEVER,
            Role::Leader(lead) => lead.next_tick(),
            _ => self.election_at.min(self.next_ping()),
        }
    }

    /// Does what is due at `now`.
    pub fn tick(&mut self, now: Now) {
        if self.failed.is_some() {
            return;
        }
        match self.role {
            Role::Leader(_) => self.tick_leading(now),
            _ if now >= self.election_at => self.campaign(now),
            _ if now >= self.next_ping() => self.ping_leader(now),
            _ => {}
        }
    }
}
