//! What a server does because it leads, besides ordering the log: it hears reports and silences, lets [`super::judgement`]
//! decide, and proposes what follows. Also how every server says hello to whoever leads.

use super::admission::{self, Admission, Given};
use super::judgement::{self, Greeting, Loss, Mirror};
use super::loss::{self, There};
use super::presence::{Presence, Sight};
use super::room::{self, Disk};
use super::sessions::Leases;
use crate::cluster::{Cluster, Proposer};
use parking_lot::Mutex;
use raidfs_common::id::{Epoch, Incarnation, Ino, PairId, ServerId, SessionId};
use raidfs_common::limits;
use raidfs_common::namespace::{Change, PairEvent};
use raidfs_common::pair::{Member, Pair, Space};
use raidfs_common::plant::{Bug, planted};
use raidfs_common::rpc::admin::{Accepting, NotAccepted, NotReplaced};
use raidfs_common::rpc::peer::{Joining, PeerServiceClient, Report, SLOW_DISK, STOPS, Started};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

const LOOK_EVERY: Duration = Duration::from_millis(10);
/// A new leader has heard of every server's room by then: they say it every two seconds.
const DISKS_PATIENCE: Duration = Duration::from_secs(5);
const PING_TIMEOUT: Duration = Duration::from_millis(300);
/// What ends two servers at once, as one `kill`, reaches the second so long after the first at most, on a machine that is
/// busy ending the first.
const AT_ONCE: Duration = Duration::from_millis(10);
/// Whom the lead is passed to has taken a word about it by then, or is not the one to lead.
const WORD_TIMEOUT: Duration = Duration::from_millis(100);
/// Who was told something just before it leads acts on it for so long.
const WORD_COUNTS: Duration = Duration::from_secs(1);
/// One step of accepting a loss takes about so long: whoever asked for it shows how far it is.
const ACCEPT_STEP: Duration = Duration::from_millis(300);
/// Sizes that one entry recovers at most.
const SIZES_PER_ENTRY: usize = 10_000;
/// Who cannot say how long files are is asked again after this.
const SIZES_AGAIN: Duration = Duration::from_millis(100);
/// Who wants a session ended tries again within this; else it lives on, and the next time is another one.
const ENDS_AGAIN: Duration = Duration::from_secs(10);
/// One try to end a session takes no longer because of that: less than a client waits for an answer.
const SIZES_TRY: Duration = Duration::from_secs(2);

/// What a server said when it started.
#[derive(Clone, Copy, Debug)]
struct Said {
    incarnation: Incarnation,
    loss: Loss,
    first_said: Instant,
}

#[derive(Debug, Default)]
struct Memory {
    started: BTreeMap<ServerId, Said>,
    disks: BTreeMap<ServerId, Disk>,
    leases: Leases,
    /// Whose process was seen to be gone, when, and in which life. It says nothing of a later one.
    gone: BTreeMap<ServerId, (Instant, Incarnation)>,
    led_since: Option<Instant>,
    /// What a leader has said of itself, and when, to this server, which it may be about to pass the lead to.
    word: Option<(Instant, ServerId, Report)>,
    /// The session that this leader tries to end.
    ending: Option<Ending>,
}

/// A session that is to end: since when, and when that was tried last.
#[derive(Clone, Copy, Debug)]
struct Ending {
    session: SessionId,
    since: Instant,
    last: Instant,
}

/// The leader's duties on one server; idle while another leads.
#[derive(Debug)]
pub struct Duties<P> {
    cluster: Arc<Cluster>,
    proposer: P,
    memory: Mutex<Memory>,
    /// Held while a session is brought to its end.
    ends: tokio::sync::Mutex<()>,
}

impl<P: Proposer> Duties<P> {
    /// Duties of this server.
    pub fn new(cluster: Arc<Cluster>, proposer: P) -> Arc<Self> {
        Arc::new(Duties { cluster, proposer, memory: Mutex::default(), ends: Default::default() })
    }

    fn heard(&self, server: ServerId) -> Option<Duration> {
        if server == self.cluster.me {
            return Some(Duration::ZERO);
        }
        let ago = self.proposer.heard(server)?;
        // A process that was seen to be gone after it was last heard counts as never heard.
        let gone = self.gone_since(server);
        gone.is_none_or(|at| ago < at.elapsed()).then_some(ago)
    }

    /// When a server's process, of the life that the namespace knows, was seen to be gone.
    fn gone_since(&self, server: ServerId) -> Option<Instant> {
        let (at, life) = self.memory.lock().gone.get(&server).copied()?;
        (life == self.life(server)).then_some(at)
    }

    /// The life in which a server is known; the witness has none.
    fn life(&self, server: ServerId) -> Incarnation {
        let pairs = self.proposer.pairs();
        pairs.iter().find_map(|pair| pair.member(server)).map_or(Incarnation(0), |member| member.incarnation)
    }

    fn pair(&self, id: PairId) -> Option<Pair> {
        self.proposer.pairs().get(usize::from(id.0)).cloned()
    }

    /// A server's report. False: not acted on (yet); it will be said again.
    pub async fn report(&self, from: ServerId, report: Report) -> bool {
        if !self.proposer.leads() {
            self.keep_word(from, report);
            return false;
        }
        match report {
            Report::Started(said) => self.started(from, said).await,
            Report::Accuse { pair, epoch, server, reason } => self.accused(from, pair, epoch, server, &reason).await,
            Report::Syncing { pair, epoch, server, incarnation } => {
                self.pair_event(pair, epoch, PairEvent::Syncing { server, incarnation }).await
            }
            Report::InSync { pair, epoch, server, incarnation } => {
                let done = self.pair_event(pair, epoch, PairEvent::InSync { server, incarnation }).await;
                if done {
                    tracing::info!("{server} is in sync again");
                }
                done
            }
            Report::Begun { pair, epoch, incarnation, late } => {
                let begun = PairEvent::Begun { server: from, incarnation, late };
                let done = self.pair_event(pair, epoch, begun).await;
                if done {
                    tracing::info!("{from} is in sync: it is the first copy of a pair whose loss was accepted");
                }
                done
            }
            Report::Space { total, free, file_system } => {
                self.memory.lock().disks.insert(from, Disk { space: Space { total, free }, file_system });
                true
            }
        }
    }

    /// Whether a life of a voter may take part.
    pub async fn join(&self, from: ServerId, life: Started) -> Joining {
        let (said, life) = (life, life.incarnation);
        let admission = || self.proposer.lives().get(&from).map(|known| (*known, admission::judge(*known, life)));
        if !self.proposer.leads() || self.proposer.confirm().await.is_none() {
            return Joining::Later;
        }
        let may_take_over = |known, admission| admission::may_take_over(admission, known, said.empty);
        match admission() {
            None | Some((_, Admission::Refused)) => return Joining::Refused,
            Some((known, new)) if !from.is_witness() && !may_take_over(known, new) => return Joining::Refused,
            Some((known, Admission::New)) if from.is_witness() => {
                self.proposer.propose(Change::Witness { from: known, to: life }).await;
            }
            // A server's is known with its hello, which it may not know yet whom to say to.
            Some((_, Admission::New)) => drop(self.started(from, said).await),
            Some((_, Admission::Known)) => {}
        }
        match (admission(), self.proposer.confirm().await) {
            (Some((_, Admission::Known)), Some((term, last))) => Joining::Known { term, last },
            _ => Joining::Later,
        }
    }

    /// Gives up the data directory that a voter has had.
    pub async fn replace(&self, server: ServerId) -> Result<(), NotReplaced> {
        let not_leader = || NotReplaced::NotLeader(self.proposer.leader());
        self.proposer.confirm().await.ok_or_else(not_leader)?;
        let answers = self.ping(server).await;
        // Read behind that: it may have started while it was looked for.
        let known = *self.proposer.lives().get(&server).ok_or(NotReplaced::Unknown)?;
        let pair = self.cluster.config.pair_of(server).and_then(|id| self.pair(id));
        let copies = pair.as_ref().and_then(|p| Some((p.member(server)?.state, p.mirror_of(server)?.state)));
        if !admission::give_up(Given { known, answers, copies })? {
            return Ok(());
        }
        let done = match pair {
            Some(pair) => self.pair_event(pair.id, pair.epoch, PairEvent::Replace { server, known }).await,
            None => self.proposer.propose(Change::Witness { from: known, to: known.barred() }).await,
        };
        if !done {
            return Err(NotReplaced::NotAgreed);
        }
        tracing::warn!("the data directory of {server} was given up: the next other one is taken in its place");
        Ok(())
    }

    /// Accepts that both servers of a pair are gone for good, as the pair was under `epoch`: some steps of it.
    pub async fn accept_loss(&self, id: PairId, epoch: Epoch) -> Result<Accepting, NotAccepted> {
        let not_leader = || NotAccepted::NotLeader(self.proposer.leader());
        self.proposer.confirm().await.ok_or_else(not_leader)?;
        self.may_be_given_up(id, epoch).await?;
        let begun = Instant::now();
        loop {
            let losing = self.proposer.losing().filter(|(of, under, _)| (*of, *under) == (id, epoch));
            match losing {
                Some((.., None)) => break,
                Some((.., Some(next))) if begun.elapsed() > ACCEPT_STEP => return Ok(Accepting::Marked(next)),
                _ if self.proposer.propose(Change::MarkLost { pair: id, epoch }).await => {}
                _ => return Err(NotAccepted::NotAgreed),
            }
        }
        // Marking may have taken long, and one of them have come back meanwhile.
        let known = self.may_be_given_up(id, epoch).await?;
        if !self.proposer.propose(Change::AcceptLoss { pair: id, epoch, known }).await {
            return Err(NotAccepted::NotAgreed);
        }
        let [(a, _), (b, _)] = known;
        tracing::warn!(
            "it was accepted that {a} and {b} are gone for good, with all that only they had: the pair begins anew once one of \
             them is started with an empty data directory"
        );
        Ok(Accepting::Done)
    }

    /// Which data directories are given up with a pair, if its servers are gone by all that this one knows.
    async fn may_be_given_up(&self, id: PairId, epoch: Epoch) -> Result<[(ServerId, Incarnation); 2], NotAccepted> {
        let pair = self.pair(id).ok_or(NotAccepted::Unknown)?;
        let [a, b] = pair.members.map(|member| self.look_for(member.server));
        let (a, b) = tokio::join!(a, b);
        // One of them may have started while it was looked for.
        let pair = self.pair(id).ok_or(NotAccepted::Unknown)?;
        let led_for = self.led_since().elapsed();
        let silent = |m: Member| self.proposer.heard(m.server).map_or(led_for, |ago| ago.min(led_for));
        loss::give_up(&pair, epoch, [a, b], pair.members.map(silent))
    }

    async fn pair_event(&self, pair: PairId, epoch: Epoch, event: PairEvent) -> bool {
        self.proposer.propose(Change::Pair { pair, epoch, event }).await
    }

    async fn started(&self, server: ServerId, said: Started) -> bool {
        let now = Instant::now();
        let (incarnation, is_empty) = (said.incarnation, said.empty);
        let Some(pair) = self.cluster.config.pair_of(server).and_then(|id| self.pair(id)) else { return false };
        let Some(member) = pair.member(server) else { return false };
        let loss = Loss::of(said, member);
        let said = {
            let mut memory = self.memory.lock();
            memory.gone.remove(&server);
            let said = memory.started.entry(server).or_insert(Said { incarnation, loss, first_said: now });
            if said.incarnation != incarnation {
                *said = Said { incarnation, loss, first_said: now };
            }
            *said
        };
        if member.incarnation == incarnation {
            return true;
        }
        let known = |id, life| self.proposer.lives().get(&id).is_some_and(|known| known.admits(life));
        let admission = admission::judge(member.incarnation, incarnation);
        if !known(server, incarnation) || !admission::may_take_over(admission, member.incarnation, is_empty) {
            return false;
        }
        // A cluster that has never lived is empty everywhere.
        let never_lived = pair.members.iter().all(|m| m.incarnation == Incarnation(0));
        let loss = if never_lived { Loss::Nothing } else { loss };
        let Some(mirror) = pair.mirror_of(server).copied() else { return false };
        let view = match self.ping(mirror.server).await {
            None => Mirror::Down,
            // What runs in its place has none of its chunks, and is about to end.
            Some(life) if !known(mirror.server, life) => Mirror::Down,
            Some(life) if life == mirror.incarnation => Mirror::SameLife,
            Some(life) => {
                let memory = self.memory.lock();
                let said = memory.started.get(&mirror.server).filter(|s| s.incarnation == life);
                Mirror::NewLife(said.map(|s| s.loss))
            }
        };
        match judgement::greet(&pair, server, loss, view, said.first_said.elapsed()) {
            Greeting::Wait => false,
            Greeting::Propose { mirror_up } => {
                let event = PairEvent::Hello { server, incarnation, mirror_up, lost: loss > Loss::Nothing };
                let done = self.pair_event(pair.id, pair.epoch, event).await;
                if done {
                    tracing::info!("{server} has started{loss}");
                }
                done
            }
        }
    }

    async fn ping(&self, server: ServerId) -> Option<Incarnation> {
        match self.look_for(server).await {
            There::Life(life) => Some(life),
            There::Refuses | There::Nobody => None,
        }
    }

    /// What is in a server's place.
    async fn look_for(&self, server: ServerId) -> There {
        if server == self.cluster.me {
            return There::Life(self.cluster.incarnation);
        }
        let call = |client: PeerServiceClient, ctx| async move { client.ping(ctx).await };
        match self.cluster.peers.call(server, PING_TIMEOUT, call).await {
            Ok(life) => There::Life(life),
            Err(error) if error.is_refused() => There::Refuses,
            Err(_) => There::Nobody,
        }
    }

    async fn accused(&self, from: ServerId, pair: PairId, epoch: Epoch, server: ServerId, reason: &str) -> bool {
        let Some(state) = self.pair(pair).filter(|p| p.epoch == epoch) else { return false };
        let Some(mirror) = state.mirror_of(server).copied() else { return false };
        let mut heard = self.heard(mirror.server);
        if from == mirror.server {
            // Who hears nobody takes all others for silent, and what it had heard before it may say long after: so it is asked
            // anew, over a connection that carries something. Were its mirror put out for it, nobody would serve the pair.
            let ask = || async { self.cluster.peers.ping(from).await == Some(mirror.incarnation) };
            if from != self.cluster.me && !lives_on(ask).await {
                return false;
            }
            // Who speaks is alive, whatever the heartbeats say.
            heard = Some(Duration::ZERO);
        }
        if !judgement::heed(&state, server, heard) {
            return false;
        }
        // Its log is on that disk, too: it would write down its own eviction there before all else.
        if server == self.cluster.me
            && reason.starts_with(SLOW_DISK)
            && self.leave_it_to_the_next(mirror.server, (pair, epoch, reason)).await
        {
            return false;
        }
        let done = self.pair_event(pair, epoch, PairEvent::Evict { server }).await;
        if done {
            match server == from && reason == STOPS {
                true => tracing::info!("{server} stops: {} serves alone", mirror.server),
                false => tracing::warn!("{server} is evicted at the word of {from}: {reason}"),
            }
        }
        done
    }

    /// Has another lead, which puts this one out. It is told so before: as soon as it asks for a vote, this one waits for its disk,
    /// and says nothing more. The mirror if it can, as it is on another machine than this disk. False: nobody can.
    async fn leave_it_to_the_next(&self, mirror: ServerId, (pair, epoch, reason): (PairId, Epoch, &str)) -> bool {
        let fit = self.proposer.successors();
        let Some(next) = fit.iter().find(|next| **next == mirror).or(fit.first()).copied() else { return false };
        let me = self.cluster.me;
        let report = Report::Accuse { pair, epoch, server: me, reason: reason.into() };
        let tell = |client: PeerServiceClient, ctx| async move { client.report(ctx, me, report).await };
        // It acts on it once it leads.
        self.cluster.peers.call(next, WORD_TIMEOUT, tell).await.is_ok() && self.proposer.pass_lead(next)
    }

    /// This server does not lead, but may be about to: who leads says of itself that it is to be put out.
    fn keep_word(&self, from: ServerId, report: Report) {
        if matches!(report, Report::Accuse { server, .. } if server == from) {
            self.memory.lock().word = Some((Instant::now(), from, report));
        }
    }

    /// Acts on what was said to this server just before it led.
    async fn act_on_word(&self) {
        let Some((at, from, report)) = self.memory.lock().word.clone() else { return };
        // Not at once, perhaps: of who would have to serve alone nothing may have been heard yet.
        if at.elapsed() > WORD_COUNTS || self.report(from, report).await {
            self.memory.lock().word = None;
        }
    }

    /// A server's process was seen to be gone.
    pub fn note_gone(&self, server: ServerId) {
        let life = self.life(server);
        self.memory.lock().gone.insert(server, (Instant::now(), life));
    }

    /// Puts such a server out, if this one leads.
    pub async fn evict_gone(&self, server: ServerId) {
        if self.proposer.leads() {
            self.evict_silent("its process is gone", |s| s == server).await;
        }
    }

    /// Puts out those that this one saw to be gone while another led, who may have had no time to.
    async fn evict_all_gone(&self) {
        self.evict_silent("its process is gone", |s| self.gone_since(s).is_some()).await;
    }

    /// Evicts silent servers, of all pairs at the same time: two may have died together.
    async fn evict_silent(&self, reason: &str, counts: impl Fn(ServerId) -> bool) {
        let pairs = self.proposer.pairs();
        let silent = |pair| judgement::silent_member(pair, |s| self.heard(s)).filter(|s| counts(*s));
        let found: Vec<(&Pair, ServerId)> = pairs.iter().filter_map(|pair| Some((pair, silent(pair)?))).collect();
        let evictions = found.into_iter().map(|(pair, server)| async move {
            let Some(mirror) = pair.mirror_of(server).copied() else { return };
            let ask = || async { self.ping(mirror.server).await == Some(mirror.incarnation) };
            if !lives_on(ask).await {
                return;
            }
            if self.pair_event(pair.id, pair.epoch, PairEvent::Evict { server }).await {
                tracing::warn!("{server} is evicted: {reason}; {} serves alone", mirror.server);
            }
        });
        futures::future::join_all(evictions).await;
    }

    /// A mount session has asked for something.
    pub fn session_heard(&self, session: SessionId) {
        let now = self.cluster.started.elapsed();
        self.memory.lock().leases.heard(session, now);
    }

    /// Whether the open session has lapsed: then another may be opened without `takeover`.
    pub fn session_lapsed(&self, session: SessionId) -> bool {
        let now = self.cluster.started.elapsed();
        self.memory.lock().leases.lapsed(session, now)
    }

    fn session_abandoned(&self, session: SessionId) -> bool {
        let now = self.cluster.started.elapsed();
        self.memory.lock().leases.abandoned(session, now)
    }

    /// Looks after everything while this server leads; for ever.
    pub async fn run(self: Arc<Self>) {
        let mut space_at = Instant::now();
        let mut ending: Option<tokio::task::JoinHandle<()>> = None;
        let mut presence = Presence::default();
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            if !self.proposer.leads() {
                presence = Presence::default();
                let mut memory = self.memory.lock();
                (memory.led_since, memory.ending) = (None, None);
                continue;
            }
            let since = self.led_since();
            self.act_on_word().await;
            // A new leader has not heard everyone yet: at first it only believes what it saw itself, as that the leader
            // before it fell silent.
            let is_young = since.elapsed() <= limits::SILENT;
            self.evict_silent("it does not answer", |s| !is_young || self.heard(s).is_some()).await;
            if is_young {
                self.evict_all_gone().await;
            }
            self.say_who_is_there(&mut presence, is_young);
            // In a task of its own: asking servers for sizes may take longer than an eviction can wait.
            if ending.as_ref().is_none_or(tokio::task::JoinHandle::is_finished) {
                let duties = self.clone();
                ending = Some(tokio::spawn(async move { duties.end_abandoned_session().await }));
            }
            // Of whom a new leader has not heard yet, all stays as it was.
            let served = |pair: &Pair| {
                let as_it_was = is_young && !pair.space.is_out_of_service();
                as_it_was || judgement::is_served(pair, |s| self.heard(s))
            };
            let is_wrong = |pair: &Pair| pair.space.total == 0 || pair.space.is_out_of_service() == served(pair);
            if self.proposer.pairs().iter().any(is_wrong) || space_at.elapsed() > Duration::from_secs(2) {
                space_at = Instant::now();
                self.propose_space(served).await;
            }
        }
    }

    fn say_who_is_there(&self, presence: &mut Presence, is_young: bool) {
        let sight = |voter| {
            let heard = self.heard(voter);
            Sight { voter, heard, is_gone: heard.is_none() && self.gone_since(voter).is_some() }
        };
        let is_known = |sight: &Sight| !is_young || sight.heard.is_some() || sight.is_gone;
        let sights = self.cluster.config.voters().into_iter().map(sight).filter(is_known);
        for word in presence.look(sights) {
            tracing::info!("{word}");
        }
    }

    async fn end_abandoned_session(&self) {
        let open = self.proposer.session();
        self.memory.lock().leases.keep(open);
        let Some(session) = open else { return };
        let is_new = !self.is_ending(session);
        if self.proposer.is_void(session) {
            if is_new {
                tracing::warn!("the mount session is from before power was lost: it ends");
            }
        } else if self.session_abandoned(session) {
            if is_new {
                tracing::warn!("the mount session has not been heard for {:?}: it ends", limits::SESSION_ABANDONED);
            }
        } else {
            return;
        }
        let still = || self.proposer.is_void(session) || self.session_abandoned(session);
        self.end_session(session, still).await;
    }

    /// Since when this server leads; noticed now, if it was not before.
    fn led_since(&self) -> Instant {
        let mut memory = self.memory.lock();
        match memory.led_since {
            Some(since) => since,
            None => {
                memory.leases.restart();
                *memory.led_since.insert(Instant::now())
            }
        }
    }

    /// Ends a session whose client is gone: sizes that it had no time to tell are found on the servers, before its
    /// changes are refused and again after (rules 14 and 15). False: not yet, since nobody of some pair can say how long its
    /// files are; to be tried again. Or it has no reason to end any more: that may have taken long, and `still` is asked
    /// once more.
    pub async fn end_session(&self, session: SessionId, still: impl Fn() -> bool) -> bool {
        let Ok(_one) = tokio::time::timeout(SIZES_TRY, self.ends.lock()).await else { return false };
        if self.proposer.session() != Some(session) {
            return true;
        }
        if !self.sizes_are_known(session).await || !still() {
            return false;
        }
        self.proposer.propose(Change::EndSession { session }).await;
        // What landed meanwhile; whoever told a moment ago does so again.
        let landed = async {
            while !self.recover_sizes().await.is_empty() && self.proposer.leads() {
                tokio::time::sleep(SIZES_AGAIN).await;
            }
        };
        let _ = tokio::time::timeout(SIZES_TRY, landed).await;
        true
    }

    /// Recovers the sizes of the files of a session that is about to end. False: it has to be tried again, for so long as
    /// the patience lasts: then what is missing is done without.
    async fn sizes_are_known(&self, session: SessionId) -> bool {
        let begun = Instant::now();
        loop {
            let (since, is_new) = self.ending_since(session);
            let silent = self.recover_sizes().await;
            if silent.is_empty() {
                return true;
            }
            // That may have taken long.
            self.still_ends(session);
            if !self.proposer.leads() {
                return false;
            }
            let name =
                |pair: &PairId| self.cluster.config.servers_of(*pair).map(|server| server.to_string()).join(" or ");
            let servers = silent.iter().map(name).collect::<Vec<_>>().join(", and none of ");
            // Whoever mounts waits for an answer as any operation does, and has to have one by then.
            let patience = self.cluster.config.io_timeout / 2;
            if since.elapsed() >= patience {
                tracing::error!(
                    "none of {servers} has said for {patience:?} how long its files are: the mount session ends without; \
                     what was appended there and not synced may be missing"
                );
                return true;
            }
            if is_new {
                tracing::warn!(
                    "the mount session is to end, and whoever wants to mount waits: none of {servers} says how long its files are"
                );
            }
            if begun.elapsed() >= SIZES_TRY {
                return false;
            }
            tokio::time::sleep(SIZES_AGAIN).await;
        }
    }

    /// Whether this leader is about to end a session: it tried a moment ago.
    fn is_ending(&self, session: SessionId) -> bool {
        let ending = self.memory.lock().ending;
        ending.is_some_and(|ending| ending.session == session && ending.last.elapsed() < ENDS_AGAIN)
    }

    /// Since when this leader tries to end a session, and whether it has just begun with that.
    fn ending_since(&self, session: SessionId) -> (Instant, bool) {
        let (now, is_ending) = (Instant::now(), self.is_ending(session));
        let mut memory = self.memory.lock();
        let since = memory.ending.filter(|_| is_ending).map_or(now, |ending| ending.since);
        memory.ending = Some(Ending { session, since, last: now });
        (since, !is_ending)
    }

    /// The session is about to end still, however long the last step took.
    fn still_ends(&self, session: SessionId) {
        if let Some(ending) = &mut self.memory.lock().ending
            && ending.session == session
        {
            ending.last = Instant::now();
        }
    }

    /// Whether no session is on its way out: what it wrote is known, and another may be opened.
    pub async fn none_ends(&self) -> bool {
        tokio::time::timeout(SIZES_TRY, self.ends.lock()).await.is_ok()
    }

    /// Gives files the size that their bytes have, as far as servers in sync say it; the pairs of which none does. What one
    /// server has told counts, however long another takes.
    async fn recover_sizes(&self) -> Vec<PairId> {
        // Behind this, the servers refuse the session's changes if it has ended.
        let at_least = self.proposer.applied();
        let pairs = self.proposer.pairs();
        let servers = pairs.iter().flat_map(|pair| pair.in_sync().map(|member| (pair.id, member.server)));
        let asked = servers.map(|(pair, server)| async move {
            let longest = Mutex::new(BTreeMap::new());
            let take = |files| {
                for (ino, cut_gen, end) in self.proposer.grown(files) {
                    // The newest cut generation counts, and of one generation the furthest end.
                    let mut longest = longest.lock();
                    let known: &mut (u32, u64) = longest.entry(ino).or_default();
                    *known = (*known).max((cut_gen, end));
                }
            };
            let told = self.cluster.grown(server, pair, at_least, take).await;
            if !told {
                tracing::debug!("{server} does not say which files have grown there");
            }
            self.give_sizes(longest.into_inner()).await;
            told.then_some(pair)
        });
        let told: BTreeSet<PairId> = futures::future::join_all(asked).await.into_iter().flatten().collect();
        // A pair without a copy has nothing to tell, and nobody is waited for.
        let has_copy = |pair: &&Pair| pair.in_sync().next().is_some();
        pairs.iter().filter(has_copy).map(|pair| pair.id).filter(|pair| !told.contains(pair)).collect()
    }

    /// Logs sizes, of which the namespace takes those that make a file longer.
    async fn give_sizes(&self, longest: BTreeMap<Ino, (u32, u64)>) {
        let sizes: Vec<_> = longest.into_iter().map(|(ino, (cut_gen, end))| (ino, cut_gen, end)).collect();
        if sizes.is_empty() || planted(Bug::FindsNoSizes) {
            return;
        }
        tracing::info!("{} files get the size that their bytes have", sizes.len());
        // An entry must fit a frame, however many files there are.
        for part in sizes.chunks(SIZES_PER_ENTRY) {
            self.proposer.propose(Change::RecoverSizes { sizes: part.to_vec() }).await;
        }
    }

    /// Whether all servers that are there have said what room they have: until then it is not known who shares a disk with
    /// whom. Who does not say it is not waited for for ever.
    fn knows_disks(&self) -> bool {
        let waited_for = |server: ServerId| {
            let known = self.memory.lock().disks.contains_key(&server);
            !known && self.heard(server).is_some_and(|ago| ago < limits::SILENT)
        };
        self.led_since().elapsed() > DISKS_PATIENCE || !self.cluster.config.servers().any(waited_for)
    }

    async fn propose_space(&self, served: impl Fn(&Pair) -> bool) {
        let pairs = self.proposer.pairs();
        if !self.knows_disks() {
            return;
        }
        let disks = self.memory.lock().disks.clone();
        let space = room::of_pairs(&pairs, &disks, served);
        let news = space.iter().any(|(id, now)| {
            let known = pairs.get(usize::from(id.0)).map(|p| p.space).unwrap_or_default();
            room::is_news(known, *now)
        });
        if news {
            self.proposer.propose(Change::Space { pairs: space }).await;
        }
    }
}

/// Whether who would have to serve alone answers, and a moment later still does. Both may have been ended at once, and only one
/// be seen to be gone: then either copy is as good as the other, and an eviction would only keep the one from serving that
/// comes back first.
async fn lives_on<A: Future<Output = bool>>(answers: impl Fn() -> A) -> bool {
    if !answers().await {
        return false;
    }
    tokio::time::sleep(AT_ONCE).await;
    answers().await
}

#[cfg(test)]
mod tests;
