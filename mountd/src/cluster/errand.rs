//! One request about names on its way to a server that serves it: the leader for a change, any server for a question;
//! through failures, hangs and elections, until its deadline. Several tries may be under way at once, all of the same
//! request: whoever answers first has answered. Whom to ask is the router's decision.

use super::connection::NoAnswer;
use super::core::Core;
use super::hedge::is_silent;
use super::retry::{Pauses, Retry};
use super::router::{Aim, Search, Step};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use raidfs_common::error::{NextMove, Rejection};
use raidfs_common::id::ServerId;
use raidfs_common::rpc::names::{NamesServiceClient, Seen};
use std::future::Future;
use std::time::{Duration, Instant};
use tarpc::client::RpcError;
use tarpc::context::Context;

/// Pauses of a search for who serves: short, so that a new leader is found within a few milliseconds.
const SEARCH_PAUSES: Pauses = Pauses { shortest: Duration::from_millis(2), longest: Duration::from_millis(20) };
/// The same while an answer is awaited from a leader that is only slow.
const SLOW_PAUSES: Pauses = Pauses { shortest: Duration::from_millis(20), longest: Duration::from_millis(100) };
/// A leader that has not answered by then may have gone: others are asked.
const LEADER_PATIENCE: Duration = Duration::from_millis(150);
/// A question that was not answered by then is asked of another server.
const QUESTION_PATIENCE: Duration = Duration::from_millis(100);
/// A single try ends then; the request goes on with another.
const TRY_MAX: Duration = Duration::from_secs(3);

/// Why a request failed for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failed {
    /// Nobody served it within `io_timeout`. It may have happened, or may still.
    Late,
    /// The mount session is not open any more.
    NoSession,
    /// A server says that nothing helps.
    Refused(Rejection),
}

/// One try of a request: what a server said, or why it said nothing.
type Try<T> = Result<Result<(Seen, T), Rejection>, NoAnswer>;

/// One request on its way.
pub struct Errand<'a, T, S> {
    core: &'a Core,
    aim: Aim,
    search: Search,
    retry: Retry,
    slow: Retry,
    under_way: FuturesUnordered<BoxFuture<'a, (ServerId, Try<T>)>>,
    asking: Vec<(ServerId, Instant)>,
    /// A try has taken longer than usual: others are asked without waiting as long again.
    is_late: bool,
    send: S,
}

/// What comes next for a request.
enum Turn<T> {
    Answer(ServerId, Try<T>),
    Late,
    GiveUp,
}

impl<'a, T, F, S> Errand<'a, T, S>
where
    T: Send + 'a,
    F: Future<Output = Result<Result<(Seen, T), Rejection>, RpcError>> + Send + 'a,
    S: Fn(NamesServiceClient, Context) -> F + Clone + Send + 'a,
{
    /// A request that was not sent yet. `send` is called for each try, and must send the same request each time.
    pub fn new(core: &'a Core, aim: Aim, deadline: Instant, send: S) -> Self {
        Errand {
            core,
            aim,
            search: Search::new(aim),
            retry: Retry::until(deadline, SEARCH_PAUSES, core.seed()),
            slow: Retry::until(deadline, SLOW_PAUSES, core.seed()),
            under_way: FuturesUnordered::new(),
            asking: Vec::new(),
            is_late: false,
            send,
        }
    }

    /// Brings it to its end.
    pub async fn run(mut self) -> Result<T, Failed> {
        self.ask_next().await?;
        loop {
            match self.turn().await {
                Turn::Answer(server, answer) => {
                    self.asking.retain(|(s, _)| *s != server);
                    match self.judge(server, answer) {
                        Some(result) => return result,
                        None if self.under_way.is_empty() || self.search.has_hint() => self.ask_next().await?,
                        // Somebody is still being waited for: look for another, but without haste.
                        None => {}
                    }
                }
                Turn::Late => {
                    self.is_late = true;
                    if self.may_ask_another() {
                        self.ask_next().await?;
                    }
                }
                Turn::GiveUp => return Err(Failed::Late),
            }
        }
    }

    /// Waits for an answer, or until another server should be asked.
    async fn turn(&mut self) -> Turn<T> {
        let now = Instant::now();
        let Some(left) = self.retry.left(now) else { return Turn::GiveUp };
        let patience = match self.aim {
            _ if self.is_late => self.slow.pause(now).unwrap_or(left),
            Aim::Any => QUESTION_PATIENCE,
            Aim::Leader => LEADER_PATIENCE,
        };
        tokio::select! {
            biased;
            Some((server, answer)) = self.under_way.next() => Turn::Answer(server, answer),
            () = tokio::time::sleep(patience.min(left)) => if patience < left { Turn::Late } else { Turn::GiveUp },
        }
    }

    /// Whether a late request may be asked of another server. Of a leader: always, others reject it at once. A
    /// question: if a server is merely slow only within the hedges' bound, if it is silent always.
    fn may_ask_another(&mut self) -> bool {
        if self.aim == Aim::Leader {
            return true;
        }
        let now = Instant::now();
        let silent = self
            .asking
            .iter()
            .all(|(server, asked)| is_silent(*asked, self.core.link(*server).heard(), QUESTION_PATIENCE, now));
        for (server, _) in &self.asking {
            self.core.router.lock().lags(*server, now);
        }
        silent || self.core.router.lock().may_hedge()
    }

    /// Starts the next try, after a pause if everybody was asked.
    async fn ask_next(&mut self) -> Result<(), Failed> {
        loop {
            let now = Instant::now();
            if self.retry.left(now).is_none() {
                return Err(Failed::Late);
            }
            let step = self.core.router.lock().step(&mut self.search, now);
            match step {
                Step::Ask(server) if self.asking.iter().any(|(s, _)| *s == server) => {}
                Step::Ask(server) => {
                    self.start(server, now);
                    return Ok(());
                }
                Step::Pause if !self.under_way.is_empty() => return Ok(()),
                Step::Pause => {
                    let Some(pause) = self.retry.pause(now) else { return Err(Failed::Late) };
                    let mut changes = self.core.attendance.changes();
                    // A server that comes back may be the one that everybody waits for.
                    let _ = tokio::time::timeout(pause, changes.changed()).await;
                }
            }
        }
    }

    fn start(&mut self, server: ServerId, now: Instant) {
        let link = self.core.link(server);
        let until = (now + TRY_MAX).min(self.retry.deadline());
        let answer = link.names(self.aim == Aim::Any, until, self.send.clone());
        self.asking.push((server, now));
        self.under_way.push(Box::pin(async move { (server, answer.await) }));
    }

    /// Learns from an answer; Some: the request has ended.
    fn judge(&mut self, server: ServerId, answer: Try<T>) -> Option<Result<T, Failed>> {
        let now = Instant::now();
        let mut router = self.core.router.lock();
        match answer {
            Ok(Ok((seen, value))) => {
                if self.aim == Aim::Leader {
                    router.leads(server);
                }
                drop(router);
                self.core.notice(seen);
                return Some(Ok(value));
            }
            Ok(Err(Rejection::NoSession)) => {
                drop(router);
                self.core.session_lost();
                return Some(Err(Failed::NoSession));
            }
            Ok(Err(rejection)) => match rejection.next_move() {
                NextMove::GiveUp => return Some(Err(Failed::Refused(rejection))),
                NextMove::Ask(leader) => {
                    router.does_not_lead(server, Some(leader));
                    self.search.hint(leader);
                }
                NextMove::Another | NextMove::Refresh | NextMove::OtherMirror => {
                    if rejection == (Rejection::NotLeader { leader: None }) {
                        router.does_not_lead(server, None);
                    }
                    router.lags(server, now);
                }
            },
            Err(NoAnswer::Crowded | NoAnswer::Late) => router.lags(server, now),
            Err(NoAnswer::Lost | NoAnswer::NotConnected) => {}
        }
        None
    }
}
