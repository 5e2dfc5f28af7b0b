//! This server among the others: who it is, how it reaches them, and how the cluster's own changes are proposed.

use crate::consensus::log_disk::DiskLog;
use crate::consensus::node::Node;
use crate::machine::NamesMachine;
use crate::peers::Peers;
use crate::transport::PeerTransport;
use bytes::Bytes;
use futures::future::BoxFuture;
use raidfs_common::codec;
use raidfs_common::config::Config;
use raidfs_common::error::Rejection;
use raidfs_common::id::{ChunkId, Epoch, Incarnation, Ino, LogIndex, PairId, ServerId, SessionId, Term};
use raidfs_common::limits::ENTRY_MAX_BYTES;
use raidfs_common::namespace::{Answer, Change, Command, Query, Request};
use raidfs_common::pair::Pair;
use raidfs_common::rpc::chunks::{ChunkServiceClient, Grown};
use raidfs_common::time::Time;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

/// Agreement as a server with names runs it.
pub type NamesNode = Node<DiskLog, NamesMachine, PeerTransport>;
/// A page of [`raidfs_common::rpc::chunks::ChunkService::grown`] of this server; None: it has none to tell.
type OwnGrown = Box<dyn Fn(LogIndex, Option<ChunkId>) -> BoxFuture<'static, Option<Grown>> + Send + Sync>;

/// One page of what may have grown is waited for so long.
const GROWN_TIMEOUT: Duration = Duration::from_secs(5);
/// A quorum is waited for so long that follows this server.
const CONFIRM_PATIENCE: Duration = Duration::from_millis(500);
/// A page that does not come is asked for so often in all.
const GROWN_TRIES: u32 = 3;
/// After this.
const GROWN_AGAIN: Duration = Duration::from_millis(50);

/// This server, and the way to the others.
pub struct Cluster {
    /// The configuration.
    pub config: Config,
    /// This server.
    pub me: ServerId,
    /// This life of it.
    pub incarnation: Incarnation,
    /// When it began.
    pub started: Instant,
    /// Connections of the names side.
    pub peers: Arc<Peers>,
    /// Asks the chunk side of this server.
    pub own_grown: OnceLock<OwnGrown>,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("me", &self.me).finish_non_exhaustive()
    }
}

impl Cluster {
    /// Asks a server, itself included, which files may have grown there, and hands `take` page after page of them, so that
    /// no more of them is in memory. False: it does not tell all of them.
    pub async fn grown(
        &self,
        server: ServerId,
        pair: PairId,
        at_least: LogIndex,
        take: impl FnMut(Vec<(Ino, u64)>),
    ) -> bool {
        all_pages(|after| self.grown_page(server, pair, at_least, after), take).await
    }

    async fn grown_page(
        &self,
        server: ServerId,
        pair: PairId,
        at_least: LogIndex,
        after: Option<ChunkId>,
    ) -> Option<Grown> {
        if server == self.me {
            let ask = self.own_grown.get()?;
            return tokio::time::timeout(GROWN_TIMEOUT, ask(at_least, after)).await.ok()?;
        }
        let ask = |client: ChunkServiceClient, ctx| async move { client.grown(ctx, pair, at_least, after).await };
        match self.peers.call(server, GROWN_TIMEOUT, ask).await {
            Ok(Ok(grown)) => Some(grown),
            Ok(Err(rejection)) => {
                tracing::debug!("{server} does not tell the sizes of {pair}: {rejection}");
                None
            }
            Err(_) => None,
        }
    }
}

/// Asks for page after page, each anew if it does not come; false: one did not come.
async fn all_pages<F: Future<Output = Option<Grown>>>(
    mut ask: impl FnMut(Option<ChunkId>) -> F,
    mut take: impl FnMut(Vec<(Ino, u64)>),
) -> bool {
    let (mut after, mut tries) = (None, 0);
    loop {
        match ask(after).await {
            Some(page) => {
                take(page.files);
                (after, tries) = (page.next, 0);
                if after.is_none() {
                    return true;
                }
            }
            None => {
                tries += 1;
                if tries == GROWN_TRIES {
                    return false;
                }
                tokio::time::sleep(GROWN_AGAIN).await;
            }
        }
    }
}

/// What the leader's duties need of agreement and the namespace.
pub trait Proposer: Send + Sync + 'static {
    /// This server leads, and knows everything that was agreed.
    fn leads(&self) -> bool;
    /// The pairs.
    fn pairs(&self) -> Arc<Vec<Pair>>;
    /// The mount session that is open.
    fn session(&self) -> Option<SessionId>;
    /// Whether that session is from before a recovery, and nothing of it is taken any more.
    fn is_void(&self, session: SessionId) -> bool;
    /// How long ago a server was heard; None: never.
    fn heard(&self, server: ServerId) -> Option<Duration>;
    /// Everything up to here is applied here.
    fn applied(&self) -> LogIndex;
    /// Who leads, as far as is known.
    fn leader(&self) -> Option<ServerId>;
    /// The lives of all voters that are known.
    fn lives(&self) -> BTreeMap<ServerId, Incarnation>;
    /// How far it is marked what is lost with a pair: which, under which epoch, and the first inode that is not; None: all are.
    fn losing(&self) -> Option<(PairId, Epoch, Option<Ino>)>;
    /// Waits until a quorum follows this server, which has applied everything that was agreed by then: its term, and its
    /// last entry. None: it does not lead (any more).
    fn confirm(&self) -> impl Future<Output = Option<(Term, LogIndex)>> + Send;
    /// Leader only: who could lead instead at once, the best first.
    fn successors(&self) -> Vec<ServerId>;
    /// Has one of them lead. False: it cannot, by now.
    fn pass_lead(&self, to: ServerId) -> bool;
    /// Makes a change by the cluster's own hand. False: it was refused, or could not be made.
    fn propose(&self, change: Change) -> impl Future<Output = bool> + Send;
    /// Of these files' ends, those behind the size that the namespace has: with the cut generation, as a change wants it.
    fn grown(&self, ends: Vec<(Ino, u64)>) -> Vec<(Ino, u32, u64)>;
}

/// [`Proposer`] by a real node.
#[derive(Clone, Debug)]
pub struct NodeProposer {
    /// Agreement.
    pub node: Arc<NamesNode>,
    /// The namespace.
    pub machine: Arc<NamesMachine>,
}

impl NodeProposer {
    /// Proposes requests as one entry, and answers with an outcome for each. Refused as [`Rejection::Away`] if this server
    /// could not apply what was agreed: others have, and tell its outcomes to whoever asks again.
    pub async fn batch(&self, requests: Vec<Request>) -> Result<crate::machine::Made, Rejection> {
        let count = requests.len();
        let synced = requests.iter().any(|r| r.change.must_sync());
        let data: Bytes = codec::encode(&Command::Batch(requests)).into();
        if data.len() > ENTRY_MAX_BYTES {
            return Err(Rejection::Bad(format!("changes of {} bytes are more than one entry holds", data.len())));
        }
        match self.node.propose(data, synced).await {
            Ok((_, made)) if made.outcomes.len() == count => Ok(made),
            Ok(_) => Err(Rejection::Away),
            Err(_) => Err(Rejection::NotLeader { leader: self.node.status().leader }),
        }
    }
}

impl Proposer for NodeProposer {
    fn leads(&self) -> bool {
        self.node.status().leads
    }

    fn pairs(&self) -> Arc<Vec<Pair>> {
        self.machine.pairs()
    }

    fn session(&self) -> Option<SessionId> {
        self.machine.with(|names| names.session()).map(|(id, _)| id)
    }

    fn is_void(&self, session: SessionId) -> bool {
        self.machine.with(|names| names.is_void(session))
    }

    fn successors(&self) -> Vec<ServerId> {
        self.node.successors()
    }

    fn pass_lead(&self, to: ServerId) -> bool {
        self.node.pass_lead(to)
    }

    fn heard(&self, server: ServerId) -> Option<Duration> {
        self.node.silence().into_iter().find(|(id, _)| *id == server)?.1
    }

    fn applied(&self) -> LogIndex {
        crate::consensus::node::Machine::applied(&*self.machine).0
    }

    fn leader(&self) -> Option<ServerId> {
        self.node.status().leader
    }

    fn lives(&self) -> BTreeMap<ServerId, Incarnation> {
        self.machine.with(|names| names.lives())
    }

    fn losing(&self) -> Option<(PairId, Epoch, Option<Ino>)> {
        self.machine.with(|names| names.losing()).map(|losing| (losing.pair, losing.epoch, losing.next))
    }

    async fn confirm(&self) -> Option<(Term, LogIndex)> {
        let agreed = tokio::time::timeout(CONFIRM_PATIENCE, self.node.confirm()).await.ok()??;
        self.machine.reach(agreed, CONFIRM_PATIENCE).await.ok()?;
        let status = self.node.status();
        status.leads.then_some((status.term, status.last))
    }

    async fn propose(&self, change: Change) -> bool {
        let now = Time::from(SystemTime::now());
        let request = Request { session: SessionId::CLUSTER, seq: 0, done_below: 0, now, change };
        match self.batch(vec![request]).await {
            Ok(made) => matches!(made.outcomes.first(), Some(Ok(Ok(_)))),
            Err(_) => false,
        }
    }

    fn grown(&self, ends: Vec<(Ino, u64)>) -> Vec<(Ino, u32, u64)> {
        let grown = |(ino, end): (Ino, u64)| match self.machine.query(&Query::GetAttr { ino }) {
            Ok((_, Ok(Answer::Attr(attr)))) if attr.size < end => Some((ino, attr.cut_gen, end)),
            _ => None,
        };
        ends.into_iter().filter_map(grown).collect()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::board::Board;
    use crate::consensus::core::Setup;
    use crate::consensus::keep::Keep;
    use crate::consensus::log_disk;
    use crate::consensus::timing::Timing;
    use crate::machine::flush;
    use crate::machine::stores::Stores;
    use crate::namespace::store::{Batch, Reader, Scan, Store};
    use crate::namespace::store_memory::MemoryStore;
    use crate::namespace::{Fault, Namespace};
    use raidfs_common::attr::FileKind;
    use raidfs_common::config::Durability;
    use raidfs_common::name::FileName;
    use std::sync::atomic::{AtomicBool, Ordering};

    const ME: ServerId = ServerId(1);
    const SESSION: SessionId = SessionId(77);

    /// Rows that can be read until their disk fails.
    #[derive(Clone, Default)]
    pub(crate) struct Failing {
        rows: MemoryStore,
        fails: Arc<AtomicBool>,
    }

    impl Reader for Failing {
        fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
            if self.fails.load(Ordering::Relaxed) {
                return Err(Fault::store("read", std::io::Error::other("the disk fails")));
            }
            self.rows.get(key)
        }
        fn scan(&self, from: &[u8], to: &[u8]) -> Scan<'_> {
            self.rows.scan(from, to)
        }
    }

    impl Store for Failing {
        fn write(&self, batch: Batch) -> Result<(), Fault> {
            self.rows.write(batch)
        }
        fn sync(&self) -> Result<(), Fault> {
            if self.fails.load(Ordering::Relaxed) {
                return Err(Fault::store("sync", std::io::Error::other("the disk fails")));
            }
            self.rows.sync()
        }
        fn view(&self) -> Box<dyn Reader> {
            self.rows.view()
        }
        fn disk_bytes(&self) -> u64 {
            self.rows.disk_bytes()
        }
    }

    fn config() -> Config {
        let at = |port| std::net::SocketAddr::from(([127, 0, 0, 1], port));
        Config {
            cluster: "alone".into(),
            pairs: vec![[at(1), at(2)]],
            witness: at(3),
            durability: Durability::Relaxed,
            io_timeout: Duration::from_secs(1),
            scrub_every: None,
        }
    }

    /// A server and nobody else.
    pub(crate) fn a_cluster() -> Cluster {
        let config = config();
        let peers = Peers::new(&config, ME);
        let (incarnation, started) = (Incarnation(1), Instant::now());
        Cluster { config, me: ME, incarnation, started, peers, own_grown: OnceLock::new() }
    }

    /// The only voter of its cluster, with its names in `store`.
    pub(crate) fn alone(dir: &std::path::Path, store: Failing) -> NodeProposer {
        let config = config();
        let setup = Setup {
            me: ME,
            voters: vec![ME],
            timing: Timing::default(),
            seed: 1,
            incarnation: Incarnation(1),
            doubtful: false,
            stranger: false,
            strict: false,
            on_recovery: Bytes::new(),
            read_lives: |_| Vec::new(),
        };
        Namespace::format(&store, &[config.servers_of(PairId(0))]).expect("an empty store");
        let names = Namespace::open(Arc::new(store), 0).expect("it is read").expect("it is there");
        let (board, _) = Board::new(ME, Incarnation(1));
        let stores = Stores::open(&dir.join("names")).expect("a directory");
        let machine = NamesMachine::new(names, board, stores, 0, Box::new(|| Ok(())));
        let (log, _) = DiskLog::open(&dir.join("log")).expect("a directory");
        let transport = Arc::new(PeerTransport { peers: Peers::new(&config, ME), me: ME });
        NodeProposer { node: Node::start(setup, log, machine.clone(), transport), machine }
    }

    fn request(seq: u64, change: Change) -> Request {
        Request { session: SESSION, seq, done_below: 0, now: Time::default(), change }
    }

    #[tokio::test]
    async fn who_leads_and_cannot_apply_a_change_leaves_it_to_others_to_say_what_became_of_it() {
        let (dir, store) = (tempfile::tempdir().expect("a directory"), Failing::default());
        let proposer = alone(dir.path(), store.clone());
        proposer.node.watch().wait_for(|status| status.leads).await.expect("the node lives");
        let open = Change::OpenSession { holder: "test".into(), takeover: false };
        let made = proposer.batch(vec![request(1, open)]).await.expect("it is made");
        let Some(Ok(Ok(raidfs_common::namespace::Done::Session { from, .. }))) = made.outcomes.first() else {
            panic!("{made:?}")
        };
        store.fails.store(true, Ordering::Relaxed);
        let make = Change::Make {
            parent: Ino::ROOT,
            name: FileName::new(b"file".to_vec()).expect("it is a name"),
            ino: *from,
            kind: FileKind::File,
            perm: 0o644,
            uid: 0,
            gid: 0,
            rdev: 0,
            target: Bytes::new(),
            xattrs: Vec::new(),
        };
        let before = proposer.node.status().last;
        let answer = proposer.batch(vec![request(2, make)]).await;
        assert!(proposer.node.status().commit > before, "it was agreed");
        assert!(matches!(answer, Err(Rejection::Away)), "so it may be asked for again, and is not refused: {answer:?}");
        let broken = proposer.machine.watch_fatal().borrow().clone();
        assert!(broken.is_some_and(|broken| broken.reason.contains("the disk fails") && !broken.unkept));
    }

    #[tokio::test]
    async fn a_sync_of_names_that_fails_is_said_to_who_stops() {
        let (dir, store) = (tempfile::tempdir().expect("a directory"), Failing::default());
        let NodeProposer { node, machine } = alone(dir.path(), store.clone());
        let keep = Keep::on_disk_of(None);
        assert!(flush::flush(&machine, &node).await && flush::make_durable(&machine, &node, keep).await);
        store.fails.store(true, Ordering::Relaxed);
        assert!(!flush::make_durable(&machine, &node, keep).await);
        let broken = machine.watch_fatal().borrow().clone();
        assert!(broken.is_some_and(|broken| broken.reason.contains("the disk fails") && broken.unkept));
    }

    #[tokio::test]
    async fn large_entries_do_not_fill_the_disk_though_they_are_few() {
        let dir = tempfile::tempdir().expect("a directory");
        let proposer = alone(dir.path(), Failing::default());
        let NodeProposer { node, machine } = &proposer;
        node.watch().wait_for(|status| status.leads).await.expect("the node lives");
        for seq in 1..=30 {
            let open = Change::OpenSession { holder: "x".repeat(1 << 20), takeover: false };
            proposer.batch(vec![request(seq, open)]).await.expect("it is made");
        }
        let log = || log_disk::bytes_in(&dir.path().join("log"));
        let durable = async |total| {
            assert!(
                flush::flush(machine, node).await && flush::make_durable(machine, node, Keep::on_disk_of(total)).await
            );
        };
        durable(None).await;
        assert!(log() > 30 << 20, "a large disk keeps all of it: {}", log());
        // A small one keeps its share, and what comes; what could be dropped is worked out with the next heartbeat.
        while log() >= 30 << 20 {
            durable(Some(1 << 30)).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn every_page_is_asked_for_and_one_that_does_not_come_is_asked_for_again() {
        let page =
            |n: u64| Grown { files: vec![(Ino(n), n)], next: (n < 3).then_some(ChunkId { ino: Ino(n), index: 0 }) };
        for (failures, whole) in [(GROWN_TRIES - 1, true), (GROWN_TRIES, false)] {
            let (mut failing, mut all) = (failures, Vec::new());
            let ask = |after: Option<ChunkId>| {
                let n = after.map_or(1, |chunk| chunk.ino.0 + 1);
                let fails = n == 2 && failing > 0;
                failing -= u32::from(fails);
                std::future::ready((!fails).then(|| page(n)))
            };
            assert_eq!(all_pages(ask, |files| all.extend(files)).await, whole);
            assert_eq!(all.len(), if whole { 3 } else { 1 });
        }
    }
}
