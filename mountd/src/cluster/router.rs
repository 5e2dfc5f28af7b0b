//! Which server to ask about names: who leads, whom to try next, who answers questions. Pure: it learns from answers,
//! rejections and connections that it is told of, and the time is passed in. Never sends.

use super::hedge::HedgeBudget;
use raidfs_common::id::ServerId;
use std::time::{Duration, Instant};

/// A server that was behind or late is passed over for questions this long, while others are at hand.
const LAGGING_FOR: Duration = Duration::from_millis(200);

/// Who may serve a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aim {
    /// Only the leader.
    Leader,
    /// Any server, each in turn.
    Any,
}

/// What to do next in a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask this one.
    Ask(ServerId),
    /// Everybody was asked: pause, then go on.
    Pause,
}

/// One request's way through the servers.
#[derive(Debug)]
pub struct Search {
    aim: Aim,
    asked: Vec<ServerId>,
    hint: Option<ServerId>,
    hinted: Vec<ServerId>,
}

impl Search {
    /// A request that was not sent yet.
    pub fn new(aim: Aim) -> Search {
        Search { aim, asked: Vec::new(), hint: None, hinted: Vec::new() }
    }

    /// A server says that `leader` leads.
    pub fn hint(&mut self, leader: ServerId) {
        self.hint = Some(leader);
    }

    /// Whether a server was named that is to be asked next. It may have been asked before it led, but is asked for
    /// being named only once a round.
    pub fn has_hint(&self) -> bool {
        self.hint.is_some_and(|hint| !self.hinted.contains(&hint))
    }
}

#[derive(Debug)]
struct Standing {
    server: ServerId,
    connected: bool,
    lagging_until: Option<Instant>,
}

/// What is known of all servers.
#[derive(Debug)]
pub struct Router {
    servers: Vec<Standing>,
    leader: Option<ServerId>,
    turn: usize,
    hedges: HedgeBudget,
}

impl Router {
    /// Nothing is known; `seed` says who is asked first, so that many clients do not all begin with the same.
    pub fn new(servers: impl Iterator<Item = ServerId>, seed: u64) -> Router {
        let servers: Vec<Standing> =
            servers.map(|server| Standing { server, connected: false, lagging_until: None }).collect();
        let turn = (seed % servers.len().max(1) as u64) as usize;
        Router { servers, leader: None, turn, hedges: HedgeBudget::default() }
    }

    /// The connection to a server came or went.
    pub fn connected(&mut self, server: ServerId, yes: bool) {
        if let Some(standing) = self.servers.iter_mut().find(|s| s.server == server) {
            standing.connected = yes;
            standing.lagging_until = None;
        }
        if !yes && self.leader == Some(server) {
            self.leader = None;
        }
    }

    /// `server` served what only a leader serves.
    pub fn leads(&mut self, server: ServerId) {
        self.leader = Some(server);
    }

    /// `server` does not lead; it says that `leader` does.
    pub fn does_not_lead(&mut self, server: ServerId, leader: Option<ServerId>) {
        let known = |id: &ServerId| self.servers.iter().any(|s| s.server == *id && s.connected) && *id != server;
        match leader.filter(known) {
            Some(leader) => self.leader = Some(leader),
            None if self.leader == Some(server) => self.leader = None,
            None => {}
        }
    }

    /// `server` was behind, or late, or did not answer.
    pub fn lags(&mut self, server: ServerId, now: Instant) {
        if let Some(standing) = self.servers.iter_mut().find(|s| s.server == server) {
            standing.lagging_until = Some(now + LAGGING_FOR);
        }
    }

    /// Who leads, as far as is known.
    pub fn leader(&self) -> Option<ServerId> {
        self.leader
    }

    /// Whether a late question may be asked of a second server.
    pub fn may_hedge(&mut self) -> bool {
        self.hedges.spend()
    }

    /// Whom to ask next. Nobody is asked more than twice (once in turn, once for being named) before a [`Step::Pause`].
    pub fn step(&mut self, search: &mut Search, now: Instant) -> Step {
        let next = match search.aim {
            Aim::Leader => self.next_for_leader(search),
            Aim::Any => self.next_in_turn(search, now),
        };
        match next {
            Some(server) => {
                search.asked.push(server);
                Step::Ask(server)
            }
            None => {
                search.asked.clear();
                search.hinted.clear();
                Step::Pause
            }
        }
    }

    fn next_for_leader(&mut self, search: &mut Search) -> Option<ServerId> {
        let known = |id: &ServerId| self.servers.iter().any(|s| s.server == *id);
        let named = search.has_hint();
        if let Some(hint) = search.hint.take().filter(known)
            && named
        {
            search.hinted.push(hint);
            return Some(hint);
        }
        if let Some(leader) = self.leader.filter(|id| !search.asked.contains(id)) {
            return Some(leader);
        }
        self.unasked(search, |s| s.connected).or_else(|| self.unasked(search, |_| true))
    }

    fn next_in_turn(&mut self, search: &Search, now: Instant) -> Option<ServerId> {
        if search.asked.is_empty() {
            self.hedges.earn();
        }
        self.unasked(search, |s| s.connected && s.lagging_until.is_none_or(|until| until <= now))
            .or_else(|| self.unasked(search, |s| s.connected))
            .or_else(|| self.unasked(search, |_| true))
    }

    /// The next in turn that this search has not asked and that is `good`.
    fn unasked(&mut self, search: &Search, good: impl Fn(&Standing) -> bool) -> Option<ServerId> {
        let count = self.servers.len();
        let at = (0..count).map(|i| (self.turn + i) % count).find(|&at| {
            let standing = &self.servers[at];
            good(standing) && !search.asked.contains(&standing.server)
        })?;
        self.turn = (at + 1) % count;
        Some(self.servers[at].server)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn four(seed: u64) -> Router {
        let mut router = Router::new((1..=4).map(ServerId), seed);
        (1..=4).for_each(|n| router.connected(ServerId(n), true));
        router
    }

    fn asked(router: &mut Router, search: &mut Search) -> Option<u16> {
        match router.step(search, Instant::now()) {
            Step::Ask(server) => Some(server.0),
            Step::Pause => None,
        }
    }

    #[test]
    fn the_known_leader_is_asked_first_and_all_others_before_a_pause() {
        let mut router = four(0);
        router.leads(ServerId(3));
        let mut search = Search::new(Aim::Leader);
        let order: Vec<Option<u16>> = (0..6).map(|_| asked(&mut router, &mut search)).collect();
        assert_eq!(order, [Some(3), Some(1), Some(2), Some(4), None, Some(3)]);
    }

    #[test]
    fn a_hint_is_followed_once_a_round_so_that_two_servers_cannot_send_us_back_and_forth() {
        let mut router = four(0);
        let mut search = Search::new(Aim::Leader);
        assert_eq!(asked(&mut router, &mut search), Some(1));
        for hint in [4, 1] {
            search.hint(ServerId(hint));
            assert_eq!(asked(&mut router, &mut search), Some(hint));
        }
        for hint in [4, 1] {
            search.hint(ServerId(hint));
            assert_eq!(asked(&mut router, &mut search), Some(if hint == 4 { 2 } else { 3 }));
        }
        assert_eq!(asked(&mut router, &mut search), None);
    }

    #[test]
    fn the_witness_is_never_asked() {
        let mut router = four(0);
        router.does_not_lead(ServerId(1), Some(ServerId::WITNESS));
        let mut search = Search::new(Aim::Leader);
        search.hint(ServerId::WITNESS);
        let order: Vec<Option<u16>> = (0..5).map(|_| asked(&mut router, &mut search)).collect();
        assert_eq!(order, [Some(1), Some(2), Some(3), Some(4), None]);
    }

    #[test]
    fn a_lost_leader_is_forgotten_and_survivors_come_first() {
        let mut router = four(0);
        router.leads(ServerId(1));
        router.connected(ServerId(1), false);
        assert_eq!(router.leader(), None);
        // A survivor that still believes in the dead leader does not revive it.
        router.does_not_lead(ServerId(2), Some(ServerId(1)));
        assert_eq!(router.leader(), None);
        let mut search = Search::new(Aim::Leader);
        let order: Vec<Option<u16>> = (0..4).map(|_| asked(&mut router, &mut search)).collect();
        assert_eq!(order, [Some(2), Some(3), Some(4), Some(1)]);
    }

    #[test]
    fn questions_go_to_all_servers_in_turn() {
        let mut router = four(2);
        let mut count = BTreeMap::new();
        for _ in 0..400 {
            *count.entry(asked(&mut router, &mut Search::new(Aim::Any)).unwrap()).or_insert(0) += 1;
        }
        assert_eq!(count.into_values().collect::<Vec<_>>(), [100; 4]);
    }

    #[test]
    fn questions_pass_over_who_lags_or_is_not_connected() {
        let now = Instant::now();
        let mut router = four(0);
        router.lags(ServerId(2), now);
        router.connected(ServerId(3), false);
        for _ in 0..10 {
            assert!(matches!(router.step(&mut Search::new(Aim::Any), now), Step::Ask(ServerId(1 | 4))));
        }
        let later = now + LAGGING_FOR;
        let again: Vec<Step> = (0..3).map(|_| router.step(&mut Search::new(Aim::Any), later)).collect();
        assert!(again.contains(&Step::Ask(ServerId(2))), "{again:?}");
        // With nobody better at hand, even they are asked.
        let mut search = Search::new(Aim::Any);
        let order: Vec<Step> = (0..5).map(|_| router.step(&mut search, now)).collect();
        assert_eq!(order[3..], [Step::Ask(ServerId(3)), Step::Pause]);
    }
}
