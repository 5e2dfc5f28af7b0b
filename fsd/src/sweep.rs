//! Chunks of files that ended while this server could not see it: looked for after a whole state was taken from another
//! server, and after an unclean start (rule 17). Everything else is reaped as the log says it.

use crate::board::{Board, Doom, Notice};
use crate::chunk::{ChunkError, ChunkStore};
use crate::machine::NamesMachine;
use raidfs_common::error::FsError;
use raidfs_common::id::{Ino, LogIndex};
use raidfs_common::namespace::Query;
use raidfs_common::plant::{Bug, planted};
use std::sync::Arc;
use std::time::{Duration, Instant};

const PAGE: usize = 4096;
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// Sweeps now if `first`, and whenever the state was replaced.
pub async fn run(machine: Arc<NamesMachine>, board: Arc<Board>, chunks: Arc<dyn ChunkStore>, first: bool) {
    let mut replaced = machine.watch_replaced();
    let mut due = first;
    loop {
        if !due && replaced.changed().await.is_err() {
            return;
        }
        if !caught_up(&board).await {
            return;
        }
        let (names, dooms, store) = (machine.clone(), board.clone(), chunks.clone());
        match tokio::task::spawn_blocking(move || sweep(&names, &dooms, store.as_ref())).await {
            Ok(Ok(0)) => due = false,
            Ok(Ok(found)) => {
                tracing::info!("{found} files ended while this server was away; their chunks are removed");
                due = false;
            }
            Ok(Err(error)) => {
                tracing::warn!("cannot look for chunks of ended files: {}", raidfs_common::log::chain(&error));
                due = true;
                tokio::time::sleep(TRY_AGAIN).await;
            }
            Err(_) => return,
        }
    }
}

/// Waits until the state here has all files of which there may be chunks: before, it may be from long ago, also of who leads, as it
/// applies what it finds in its log only once an entry of its own term is agreed. False: the server ends.
async fn caught_up(board: &Board) -> bool {
    let mut notices = board.subscribe();
    let early = |n: &Notice| planted(Bug::SweepsEarly) && n.lease_until > Instant::now() && n.durable > LogIndex(0);
    notices.wait_for(|n| n.knows_all_before || early(n)).await.is_ok()
}

fn sweep(machine: &NamesMachine, board: &Board, chunks: &dyn ChunkStore) -> Result<usize, ChunkError> {
    let (mut after, mut last, mut found) = (None, None, 0);
    loop {
        let page = chunks.list(after, PAGE)?;
        let Some(end) = page.last() else { return Ok(found) };
        after = Some(*end);
        for chunk in page {
            if last.replace(chunk.ino) != Some(chunk.ino)
                && let Some(index) = ended(machine, chunk.ino)
            {
                board.doom(chunk.ino, index, Doom::Reap);
                found += 1;
            }
        }
    }
}

/// By which entry a file has ended, or an earlier one: what is applied may not be durable yet.
fn ended(machine: &NamesMachine, ino: Ino) -> Option<LogIndex> {
    match machine.query(&Query::GetAttr { ino }) {
        _ if planted(Bug::SweepsNothing) => None,
        Ok((seen, Err(FsError::Stale | FsError::NotFound))) => Some(seen.index),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::memory::MemoryChunks;
    use crate::consensus::node::Machine;
    use crate::machine::stores::Stores;
    use raidfs_common::attr::FileKind;
    use raidfs_common::config::{Config, Durability};
    use raidfs_common::id::{ChunkId, Incarnation, ServerId, SessionId, Term};
    use raidfs_common::name::FileName;
    use raidfs_common::namespace::{Change, Command, Done, Request};
    use raidfs_common::rpc::peer::{LogEntry, SnapshotPiece};
    use raidfs_common::time::Time;

    /// A server's names and chunks.
    struct Server {
        _dir: tempfile::TempDir,
        machine: Arc<NamesMachine>,
        board: Arc<Board>,
        chunks: Arc<MemoryChunks>,
    }

    impl Server {
        fn new() -> Server {
            let dir = tempfile::tempdir().expect("a directory");
            let at = |port| std::net::SocketAddr::from(([127, 0, 0, 1], port));
            let config = Config {
                cluster: "sweep".into(),
                pairs: vec![[at(1), at(2)], [at(3), at(4)]],
                witness: at(5),
                durability: Durability::Relaxed,
                io_timeout: Duration::from_secs(1),
                scrub_every: None,
            };
            let mut stores = Stores::open(dir.path()).expect("a directory");
            let (names, _) = stores.namespace(&config, 1 << 20).expect("a namespace");
            let (board, _) = Board::new(ServerId(1), Incarnation(1));
            let machine = NamesMachine::new(names, board.clone(), stores, 1 << 20, Box::new(|| Ok(())));
            machine.sync_log_by(Box::new(|_| Ok(())));
            Server { _dir: dir, machine, board, chunks: Arc::default() }
        }

        /// Applies the next entry.
        fn apply(&self, change: Change) -> Done {
            let index = self.machine.applied().0.next();
            let now = Time { secs: 1000, nanos: 0 };
            let request = Request { session: SessionId(7), seq: index.0, done_below: 0, now, change };
            let data = raidfs_common::codec::encode(&Command::Batch(vec![request])).into();
            let made = self.machine.apply(&LogEntry { term: Term(1), index, synced: false, data });
            made.outcomes.into_iter().next().expect("one outcome").expect("it is not refused").expect("it is done")
        }

        /// Two files, of which the second ends: what they are.
        fn two_files(&self) -> [Ino; 2] {
            let open = Change::OpenSession { holder: "a test".into(), takeover: false };
            let Done::Session { from, .. } = self.apply(open) else { panic!("a grant") };
            let files = [from, Ino(from.0 + 1)];
            for (ino, at) in files.iter().zip(["lives", "ends"]) {
                let (kind, perm, uid, gid, rdev) = (FileKind::File, 0o644, 1, 1, 0);
                let (name, target, xattrs) = (name(at), bytes::Bytes::new(), Vec::new());
                let parent = Ino::ROOT;
                self.apply(Change::Make { parent, name, ino: *ino, kind, perm, uid, gid, rdev, target, xattrs });
            }
            files
        }

        fn end_second(&self) {
            self.apply(Change::Unlink { parent: Ino::ROOT, name: name("ends"), keep: false });
        }

        /// Its end was carried out here, and nobody speaks of it any more.
        fn forget_end(&self, ino: Ino) {
            let at = self.machine.applied().0;
            self.board.carried_out(ino, at);
            self.machine.forget_doom(ino, at);
        }

        fn hold(&self, files: &[Ino]) {
            for ino in files {
                for index in [0, 3] {
                    self.chunks.write(ChunkId { ino: *ino, index }, 0, b"x").expect("there is room");
                }
            }
        }

        /// A leader speaks, by which everything that was agreed before is applied here; not all of what came since is durable.
        fn hear_a_leader(&self) {
            self.board.publish(|notice| (notice.durable, notice.knows_all_before) = (LogIndex(1), true));
        }

        fn sweep(&self, first: bool) -> tokio::task::JoinHandle<()> {
            tokio::spawn(run(self.machine.clone(), self.board.clone(), self.chunks.clone(), first))
        }

        async fn until_doomed(&self) {
            let mut dooms = self.board.subscribe_dooms();
            let doomed = dooms.wait_for(|_| self.board.has_dooms());
            tokio::time::timeout(Duration::from_secs(20), doomed)
                .await
                .expect("it is swept")
                .expect("the board is there");
        }

        fn reaped(&self, ino: Ino) -> bool {
            self.board.dooms_of(ino).iter().any(|(_, doom)| *doom == Doom::Reap)
        }
    }

    /// Takes another server's state.
    fn install(into: &NamesMachine, from: &NamesMachine) {
        let (index, entry_term, pieces) = from.snapshot().expect("it is made");
        let pieces: Vec<_> = pieces.collect::<Result<_, _>>().expect("it is read");
        let count = pieces.len();
        for (n, data) in pieces.into_iter().enumerate() {
            let (number, last, data) = (n as u64, n + 1 == count, data.into());
            let piece = SnapshotPiece { from: ServerId(2), term: Term(1), index, entry_term, number, last, data };
            into.install(piece).expect("it is taken");
        }
    }

    fn name(text: &str) -> FileName {
        FileName::new(text.as_bytes().to_vec()).expect("it is short")
    }

    /// Lets what is under way on this thread, and what it has others do, come to rest.
    async fn rest() {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(200) {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn chunks_of_files_that_ended_before_a_start_are_swept_once_a_leader_is_heard() {
        let server = Server::new();
        let [lives, ends] = server.two_files();
        server.end_second();
        let at = server.machine.applied().0;
        // What was removed is there again, as its removal was not synced.
        server.forget_end(ends);
        assert!(!server.board.has_dooms());
        let never_was = Ino(ends.0 + 1000);
        server.hold(&[lives, ends, never_was]);
        let sweeping = server.sweep(true);
        rest().await;
        // A leader speaks, which does not know yet whether what it has is all.
        let lease_until = Instant::now() + Duration::from_secs(600);
        server.board.publish(|notice| (notice.durable, notice.lease_until) = (LogIndex(1), lease_until));
        rest().await;
        assert!(!server.board.has_dooms(), "what this server knows may be from long ago");
        server.hear_a_leader();
        server.until_doomed().await;
        rest().await;
        assert!(server.reaped(ends) && server.reaped(never_was));
        assert!(!server.reaped(lives), "it is alive");
        assert_eq!(
            server.board.dooms_of(ends),
            [(at, Doom::Reap)],
            "once, by what it was seen by, however many chunks it has"
        );
        sweeping.abort();
    }

    #[tokio::test]
    async fn chunks_of_files_that_ended_behind_a_snapshot_are_swept_once_it_is_taken() {
        let [server, source] = [(); 2].map(|()| Server::new());
        let [lives, ends] = server.two_files();
        assert_eq!(source.two_files(), [lives, ends]);
        server.hold(&[lives, ends]);
        server.hear_a_leader();
        let sweeping = server.sweep(false);
        rest().await;
        assert!(!server.board.has_dooms());
        // The other goes on: this one hears of the end by nothing but the state that it takes.
        source.end_second();
        source.forget_end(ends);
        let (into, from) = (server.machine.clone(), source.machine.clone());
        tokio::task::spawn_blocking(move || install(&into, &from)).await.expect("it is taken");
        server.until_doomed().await;
        assert!(server.reaped(ends) && !server.reaped(lives));
        sweeping.abort();
    }
}
