//! What the leader does about a mount session whose client is gone, and about accusations.

use super::*;
use crate::fake_peer::FakePeer;
use crate::peers::Peers;
use raidfs_common::config::{Config, Durability};
use raidfs_common::id::{Ino, LogIndex, Term};
use raidfs_common::pair::CopyState;
use raidfs_common::rpc::chunks::Grown;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::net::TcpListener;

const ME: ServerId = ServerId(1);
const SESSION: SessionId = SessionId(7);

#[derive(Default)]
struct State {
    session: Option<SessionId>,
    made: Vec<Change>,
    /// How long ago everybody answered a heartbeat.
    heard: Option<Duration>,
    /// How often the mirror was started anew.
    restarts: u64,
    /// Another leads.
    follows: bool,
    /// Who can lead, and who was told to.
    successors: Vec<ServerId>,
    passed_to: Vec<ServerId>,
}

/// A namespace that takes everything.
#[derive(Clone, Default)]
struct Names(Arc<Mutex<State>>);

impl Names {
    fn made(&self) -> Vec<Change> {
        self.0.lock().made.clone()
    }
}

impl Proposer for Names {
    fn leads(&self) -> bool {
        !self.0.lock().follows
    }

    fn pairs(&self) -> Arc<Vec<Pair>> {
        let member = |n, life| raidfs_common::pair::Member {
            server: ServerId(n),
            state: CopyState::InSync,
            incarnation: Incarnation(life),
        };
        let members = [member(1, 1), member(2, 1 + self.0.lock().restarts)];
        Arc::new(vec![Pair { id: PairId(0), epoch: Epoch(1), members, space: Space::default(), losses: 0 }])
    }

    fn session(&self) -> Option<SessionId> {
        self.0.lock().session
    }

    fn is_void(&self, _: SessionId) -> bool {
        false
    }

    fn heard(&self, _: ServerId) -> Option<Duration> {
        self.0.lock().heard
    }

    fn successors(&self) -> Vec<ServerId> {
        self.0.lock().successors.clone()
    }

    fn pass_lead(&self, to: ServerId) -> bool {
        self.0.lock().passed_to.push(to);
        true
    }

    fn applied(&self) -> LogIndex {
        LogIndex(1)
    }

    fn leader(&self) -> Option<ServerId> {
        Some(ME)
    }

    fn lives(&self) -> BTreeMap<ServerId, Incarnation> {
        BTreeMap::new()
    }

    fn losing(&self) -> Option<(PairId, Epoch, Option<Ino>)> {
        None
    }

    async fn confirm(&self) -> Option<(Term, LogIndex)> {
        None
    }

    async fn propose(&self, change: Change) -> bool {
        let mut names = self.0.lock();
        if let Change::EndSession { .. } = change {
            names.session = None;
        }
        names.made.push(change);
        true
    }

    fn grown(&self, ends: Vec<(Ino, u64)>) -> Vec<(Ino, u32, u64)> {
        ends.into_iter().map(|(ino, end)| (ino, 0, end)).collect()
    }
}

/// A leader whose mirror is away, and which can say itself how long files are once `tells` is set.
fn leader(names: &Names, tells: &Arc<AtomicBool>, io_timeout: Duration) -> Arc<Duties<Names>> {
    leader_with(names, tells, io_timeout, "127.0.0.1:1".parse().unwrap())
}

/// The same, with all others at one address.
fn leader_with(names: &Names, tells: &Arc<AtomicBool>, io_timeout: Duration, others: SocketAddr) -> Arc<Duties<Names>> {
    let config = Config {
        cluster: "test".into(),
        pairs: vec![[others; 2]; 2],
        witness: others,
        durability: Durability::Relaxed,
        io_timeout,
        scrub_every: None,
    };
    let cluster = Cluster {
        me: ME,
        incarnation: Incarnation(1),
        started: Instant::now(),
        peers: Peers::new(&config, ME),
        own_grown: Default::default(),
        config,
    };
    let tells = tells.clone();
    let told = move |_, _| {
        let page = tells.load(Ordering::SeqCst).then(|| Grown { files: vec![(Ino(5), 3000)], next: None });
        Box::pin(std::future::ready(page)) as futures::future::BoxFuture<'static, _>
    };
    cluster.own_grown.set(Box::new(told)).ok();
    Duties::new(Arc::new(cluster), names.clone())
}

#[tokio::test]
async fn a_session_ends_only_once_a_server_of_each_pair_has_said_how_long_its_files_are() {
    let (names, tells) = (Names::default(), Arc::new(AtomicBool::new(false)));
    names.0.lock().session = Some(SESSION);
    let duties = leader(&names, &tells, Duration::from_secs(60));
    assert!(!duties.end_session(SESSION, || true).await, "who wants to mount has to ask again");
    assert_eq!(names.made(), []);
    tells.store(true, Ordering::SeqCst);
    assert!(duties.end_session(SESSION, || true).await);
    let sizes = Change::RecoverSizes { sizes: vec![(Ino(5), 0, 3000)] };
    assert_eq!(names.made(), [sizes.clone(), Change::EndSession { session: SESSION }, sizes]);
    assert!(duties.end_session(SESSION, || true).await, "it has ended");
    assert_eq!(names.made().len(), 3);
}

#[tokio::test]
async fn a_session_that_is_heard_again_while_sizes_are_asked_for_does_not_end() {
    let (names, tells) = (Names::default(), Arc::new(AtomicBool::new(true)));
    names.0.lock().session = Some(SESSION);
    let duties = leader(&names, &tells, Duration::from_secs(60));
    assert!(!duties.end_session(SESSION, || false).await);
    assert!(!names.made().contains(&Change::EndSession { session: SESSION }));
}

#[tokio::test]
async fn a_pair_that_does_not_come_back_is_not_waited_for_for_ever() {
    let (names, tells) = (Names::default(), Arc::new(AtomicBool::new(false)));
    names.0.lock().session = Some(SESSION);
    let duties = leader(&names, &tells, Duration::from_millis(2));
    assert!(duties.end_session(SESSION, || true).await);
    assert_eq!(names.made(), [Change::EndSession { session: SESSION }]);
}

#[tokio::test]
async fn whoever_accuses_its_mirror_is_believed_only_once_it_has_answered() {
    let names = Names::default();
    let duties = leader(&names, &Arc::default(), Duration::from_secs(60));
    // The mirror of the leader's own copy, which nobody reaches; its last words may have been long on the way.
    let other = ServerId(2);
    for heard in [None, Some(Duration::ZERO), Some(limits::HEARTBEAT), Some(Duration::from_secs(9))] {
        names.0.lock().heard = heard;
        assert!(!duties.accused(other, PairId(0), Epoch(1), ME, "no answer in time").await, "heard {heard:?} ago");
    }
    assert_eq!(names.made(), []);
    assert!(duties.accused(ME, PairId(0), Epoch(1), other, "no answer in time").await);
    let evicted = Change::Pair { pair: PairId(0), epoch: Epoch(1), event: PairEvent::Evict { server: other } };
    assert_eq!(names.made(), [evicted]);
}

#[tokio::test]
async fn who_answers_once_more_and_ends_with_its_mirror_is_not_left_to_serve_alone() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let names = Names::default();
    let duties = leader_with(&names, &Arc::default(), Duration::from_secs(60), listener.local_addr().unwrap());
    let other = FakePeer { answers: Some(1), ..FakePeer::default() };
    let pinged = other.pinged.clone();
    tokio::spawn(async move { other.serve_one(&listener).await });
    assert!(!duties.accused(ServerId(2), PairId(0), Epoch(1), ME, "its process is gone").await);
    assert_eq!((pinged.load(Ordering::SeqCst), names.made()), (2, vec![]));
}

#[tokio::test]
async fn a_new_leader_puts_out_who_is_gone_but_not_who_was_and_came_back() {
    for (restarts, expected) in [(0, vec![evicted(ServerId(2))]), (1, vec![])] {
        let names = Names::default();
        names.0.lock().follows = true;
        let duties = leader(&names, &Arc::default(), Duration::from_secs(30));
        duties.note_gone(ServerId(2));
        names.0.lock().restarts = restarts;
        names.0.lock().follows = false;
        duties.evict_all_gone().await;
        assert_eq!(names.made(), expected, "started anew {restarts} times");
    }
}

fn slow() -> String {
    format!("{SLOW_DISK}1.0 s to change a chunk")
}

fn evicted(server: ServerId) -> Change {
    Change::Pair { pair: PairId(0), epoch: Epoch(1), event: PairEvent::Evict { server } }
}

#[tokio::test]
async fn a_leader_whose_disk_is_slow_leaves_it_to_the_next_one_to_put_it_out() {
    let listener = Arc::new(TcpListener::bind(("127.0.0.1", 0)).await.unwrap());
    let (names, next) = (Names::default(), FakePeer::default());
    names.0.lock().heard = Some(Duration::ZERO);
    let io_timeout = Duration::from_secs(60);
    let duties = leader_with(&names, &Arc::default(), io_timeout, listener.local_addr().unwrap());
    let told = next.reports.clone();
    let (mirror, best) = (ServerId(2), ServerId(4));
    for _ in [mirror, best] {
        let (next, listener) = (next.clone(), listener.clone());
        tokio::spawn(async move { next.serve_one(&listener).await });
    }
    for (successors, next) in [(vec![best, mirror], mirror), (vec![best], best)] {
        names.0.lock().successors = successors;
        // Its connection is there, as a leader's is: on a busy machine it may take longer to make than such a word may take.
        let ping = |client: PeerServiceClient, ctx| async move { client.ping(ctx).await };
        duties.cluster.peers.call(next, io_timeout, ping).await.unwrap();
        assert!(!duties.accused(ME, PairId(0), Epoch(1), ME, &slow()).await);
        assert_eq!(names.0.lock().passed_to.pop(), Some(next), "the mirror, as it is on another machine");
        let accusation = Report::Accuse { pair: PairId(0), epoch: Epoch(1), server: ME, reason: slow() };
        assert_eq!(told.lock().pop(), Some((ME, accusation)), "it is told first");
    }
    assert_eq!(names.made(), []);
}

#[tokio::test]
async fn a_leader_puts_itself_out_for_all_else_and_where_nobody_else_can_lead() {
    let names = Names::default();
    let duties = leader(&names, &Arc::default(), Duration::from_secs(60));
    names.0.lock().heard = Some(Duration::ZERO);
    let short = "cannot create chunk 1.0: Too many open files";
    for (successors, reason) in [
        (vec![], slow().as_str()),
        (vec![ServerId(2)], slow().as_str()), // whom nothing can be told
        (vec![ServerId(2)], STOPS),           // who stops hands over when its mirror serves
        (vec![ServerId(2)], short),           // it could not even save that another leads
    ] {
        names.0.lock().successors = successors;
        assert!(duties.accused(ME, PairId(0), Epoch(1), ME, reason).await);
        assert_eq!(std::mem::take(&mut names.0.lock().made), [evicted(ME)], "{reason}");
    }
    assert_eq!(names.0.lock().passed_to, []);
}

#[tokio::test]
async fn what_a_leader_says_of_itself_before_it_passes_the_lead_counts_once_there_is_another() {
    let names = Names::default();
    let duties = leader(&names, &Arc::default(), Duration::from_secs(60));
    names.0.lock().follows = true;
    let accuse = |server| Report::Accuse { pair: PairId(0), epoch: Epoch(1), server, reason: slow() };
    assert!(!duties.report(ME, accuse(ServerId(2))).await, "of others it is said again");
    duties.act_on_word().await;
    assert!(!duties.report(ME, accuse(ME)).await);
    names.0.lock().follows = false;
    duties.act_on_word().await;
    assert_eq!(names.made(), [], "its mirror has not been heard yet");
    names.0.lock().heard = Some(Duration::ZERO);
    duties.act_on_word().await;
    duties.act_on_word().await;
    assert_eq!(names.made(), [evicted(ME)], "once");
}
