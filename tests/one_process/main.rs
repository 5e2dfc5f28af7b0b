//! A whole cluster in one process: what must hold when the lead changes hands.

use raidfs_common::attr::FileKind;
use raidfs_common::error::{FsError, NextMove, Rejection};
use raidfs_common::id::{Ino, LogIndex, ServerId, SessionId};
use raidfs_common::name::FileName;
use raidfs_common::namespace::{Change, Done, Outcome, Query, RenameMode, Request, SetAttr, XattrMode};
use raidfs_common::rpc::names::Changed;
use raidfs_common::time::Time;
use raidfs_tests::in_process::{InProcess, make_in_root};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

const SESSION: SessionId = SessionId(77);
const PATIENCE: Duration = Duration::from_secs(20);

fn name(text: &str) -> FileName {
    FileName::new(text.as_bytes().to_vec()).expect("it is a name")
}

fn make(ino: u64, text: &str, kind: FileKind) -> Change {
    make_in_root(Ino(ino), text, kind)
}

fn request(seq: u64, change: Change) -> Request {
    Request { session: SESSION, seq, done_below: 1, now: Time { secs: 1_000 + seq as i64, nanos: 0 }, change }
}

/// Sends requests to whoever leads, until they are answered.
async fn send(cluster: &InProcess, requests: &[Request]) -> Changed {
    let begun = Instant::now();
    let mut to = ServerId(1);
    loop {
        assert!(begun.elapsed() < PATIENCE, "nobody answers {requests:?}");
        let answer = match cluster.names(to).await {
            Some(client) => client.change(tarpc::context::current(), requests.to_vec()).await.ok(),
            None => None,
        };
        to = match answer {
            Some(Ok(changed)) => return changed,
            Some(Err(rejection)) => match rejection.next_move() {
                NextMove::Ask(leader) => leader,
                NextMove::GiveUp => panic!("{rejection}"),
                _ => next(to),
            },
            None => next(to),
        };
        tokio::task::yield_now().await;
    }
}

fn next(server: ServerId) -> ServerId {
    ServerId(server.0 % 4 + 1)
}

async fn leader(cluster: &InProcess) -> ServerId {
    let begun = Instant::now();
    loop {
        for id in cluster.config.servers() {
            if let Some(client) = cluster.admin(id).await
                && let Ok(status) = client.status(tarpc::context::current()).await
                && status.leader == Some(id)
                && status.quorum
            {
                return id;
            }
        }
        assert!(begun.elapsed() < PATIENCE, "nobody leads");
    }
}

/// One request of every kind, in an order in which each succeeds; and one that is refused.
fn every_kind(from: u64) -> Vec<Change> {
    let rename = |mode| Change::Rename {
        parent: Ino::ROOT,
        name: name("linked"),
        new_parent: Ino(from + 1),
        new_name: name("moved"),
        mode,
        keep: false,
    };
    vec![
        make(from, "file", FileKind::File),
        make(from + 1, "dir", FileKind::Dir),
        make(from + 2, "empty", FileKind::Dir),
        make(from + 9, "file", FileKind::File),
        Change::GrantInos,
        Change::Link { ino: Ino(from), parent: Ino::ROOT, name: name("linked") },
        Change::SetAttr { ino: Ino(from), set: SetAttr { perm: Some(0o600), size: Some(9), ..SetAttr::default() } },
        Change::Wrote { ino: Ino(from), cut_gen: 0, size: 100, blocks: 1, mtime: Time { secs: 5, nanos: 6 } },
        Change::SetXattr {
            ino: Ino(from),
            name: "user.a".into(),
            value: "b".into(),
            mode: XattrMode::Create,
            perm: None,
        },
        Change::RemoveXattr { ino: Ino(from), name: "user.a".into() },
        rename(RenameMode::NoReplace),
        Change::Unlink { parent: Ino::ROOT, name: name("file"), keep: false },
        Change::Unlink { parent: Ino(from + 1), name: name("moved"), keep: true },
        Change::Release { inos: vec![Ino(from)] },
        Change::Rmdir { parent: Ino::ROOT, name: name("empty"), keep: false },
    ]
}

#[test]
fn every_request_is_made_once_across_a_change_of_the_leader() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let mut cluster = InProcess::start();
    let open = open(SESSION, 1);
    let opened = runtime.block_on(send(&cluster, std::slice::from_ref(&open)));
    let Ok(Done::Session { from, .. }) = opened.outcomes[0] else { panic!("{opened:?}") };
    assert_eq!(runtime.block_on(send(&cluster, &[open])).outcomes, opened.outcomes, "opening twice opens once");

    let mut refused = 0;
    for (n, change) in every_kind(from.0).into_iter().enumerate() {
        let requests = [request(n as u64 + 2, change)];
        let old = runtime.block_on(leader(&cluster));
        // The first try is under way while the leader leaves; whether it is answered is left to chance.
        let client = runtime.block_on(cluster.names(old)).expect("it leads, so it answers");
        let sent = requests.to_vec();
        let first = runtime.spawn(async move { client.change(tarpc::context::current(), sent).await });
        cluster.stop(old);
        let second = runtime.block_on(send(&cluster, &requests)).outcomes;
        if let Ok(Ok(Ok(first))) = runtime.block_on(first) {
            assert_eq!(first.outcomes, second, "{requests:?}");
        }
        let third = runtime.block_on(send(&cluster, &requests)).outcomes;
        assert_eq!(second, third, "{requests:?}");
        refused += usize::from(second[0] == Outcome::Err(FsError::Exists));
        assert!(second[0].is_ok() || second[0] == Err(FsError::Exists), "{requests:?}: {second:?}");
        cluster.restart(old);
    }
    assert_eq!(refused, 1, "a refusal is an outcome like any other");
    runtime.block_on(names_are_equal(&cluster));
}

/// All servers have the same names, and no invariant is broken.
async fn names_are_equal(cluster: &InProcess) {
    let begun = Instant::now();
    loop {
        let mut found = Vec::new();
        let at_least = LogIndex(found.len() as u64);
        for id in cluster.config.servers() {
            let Some(client) = cluster.admin(id).await else { continue };
            match client.check_namespace(tarpc::context::current(), at_least).await {
                Ok(Ok((index, digest, broken))) => {
                    assert_eq!(broken, Vec::<String>::new(), "{id}");
                    found.push((index, digest));
                }
                other => assert!(begun.elapsed() < PATIENCE, "{id}: {other:?}"),
            }
        }
        if found.len() == 4 && found.iter().all(|f| *f == found[0]) {
            return;
        }
        let same_index = found.iter().all(|f| f.0 == found[0].0);
        assert!(!(found.len() == 4 && same_index), "the same entry, other names: {found:?}");
        assert!(begun.elapsed() < PATIENCE, "they do not agree: {found:?}");
    }
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("it is made");
    for entry in fs::read_dir(from).expect("it is a directory") {
        let (entry, name) = entry.map(|e| (e.path(), e.file_name())).expect("it is read");
        if entry.is_dir() {
            copy_dir(&entry, &to.join(name));
        } else {
            fs::copy(&entry, to.join(name)).expect("it is copied");
        }
    }
}

/// Puts back what a server's directory was like: as a power cut does with what was not synced. Votes always are.
fn restore(cluster: &InProcess, id: ServerId, copy: &Path) {
    let data = cluster.data(id);
    let vote = data.join("log/vote");
    let voted = fs::read(&vote).expect("it has voted");
    fs::remove_dir_all(&data).expect("it does not run");
    copy_dir(&copy.join(id.to_string()), &data);
    fs::write(&vote, voted).expect("it is written");
}

const ALL: [ServerId; 5] = [ServerId(0), ServerId(1), ServerId(2), ServerId(3), ServerId(4)];

/// A cluster that stands still after `old` was made, with a copy of it as it was before.
fn made_and_before(runtime: &tokio::runtime::Runtime, old: &str) -> (InProcess, tempfile::TempDir) {
    let mut cluster = InProcess::start();
    let opened = runtime.block_on(send(&cluster, &[open(SESSION, 1)]));
    let Ok(Done::Session { from, .. }) = opened.outcomes[0] else { panic!("{opened:?}") };
    runtime.block_on(names_are_equal(&cluster));
    ALL.into_iter().for_each(|id| cluster.stop(id));
    let before = tempfile::tempdir().expect("a directory");
    ALL.into_iter().for_each(|id| copy_dir(&cluster.data(id), &before.path().join(id.to_string())));
    ALL.into_iter().for_each(|id| cluster.restart(id));
    let made = runtime.block_on(send(&cluster, &[request(2, make(from.0, old, FileKind::File))]));
    assert!(made.outcomes[0].is_ok(), "{made:?}");
    runtime.block_on(names_are_equal(&cluster));
    ALL.into_iter().for_each(|id| cluster.stop(id));
    (cluster, before)
}

fn open(session: SessionId, seq: u64) -> Request {
    let change = Change::OpenSession { holder: "test".into(), takeover: false };
    Request { session, ..request(seq, change) }
}

/// Whether the root directory has this name, by the word of one server.
async fn has(cluster: &InProcess, id: ServerId, text: &str) -> bool {
    let begun = Instant::now();
    loop {
        let Some(client) = cluster.names(id).await else {
            assert!(begun.elapsed() < PATIENCE, "{id} is not there");
            continue;
        };
        let query = Query::Lookup { parent: Ino::ROOT, name: name(text) };
        match client.query(tarpc::context::current(), LogIndex(0), query).await {
            Ok(Ok((_, reply))) => return reply.is_ok(),
            other => assert!(begun.elapsed() < PATIENCE, "{id}: {other:?}"),
        }
    }
}

#[test]
fn after_power_is_lost_everywhere_the_newest_state_wins_and_old_sessions_are_void() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let (mut cluster, before) = made_and_before(&runtime, "old");
    // All lose power, and only one had what was made last on its disk.
    for id in ALL {
        if id != ServerId(3) {
            restore(&cluster, id, before.path());
        }
        cluster.cut_power(id);
    }
    ALL.into_iter().for_each(|id| cluster.restart(id));
    runtime.block_on(async {
        names_are_equal(&cluster).await;
        for id in cluster.config.servers() {
            assert!(has(&cluster, id, "old").await, "{id}");
        }
        let leader = leader(&cluster).await;
        let client = cluster.names(leader).await.expect("it leads, so it answers");
        let stale = client.change(tarpc::context::current(), vec![request(3, Change::GrantInos)]).await;
        assert!(matches!(stale, Ok(Err(Rejection::NoSession))), "{stale:?}");
        let stale = client.keep_alive(tarpc::context::current(), SESSION).await;
        assert!(matches!(stale, Ok(Err(Rejection::NoSession))), "{stale:?}");
        let new = SessionId(78);
        let opened = send(&cluster, &[open(new, 1)]).await;
        assert!(opened.outcomes[0].is_ok(), "it need not take anything over: {opened:?}");
    });
}

#[test]
fn a_server_that_had_applied_more_than_the_leader_fetches_its_names_anew() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let (mut cluster, before) = made_and_before(&runtime, "lost");
    // The others have never heard of what was made last, and go on.
    let ahead = ServerId(4);
    for id in ALL {
        if id != ahead {
            restore(&cluster, id, before.path());
            cluster.restart(id);
        }
    }
    let new = SessionId(78);
    let takeover = Change::OpenSession { holder: "test".into(), takeover: true };
    let opened = runtime.block_on(send(&cluster, &[Request { session: new, ..request(1, takeover) }]));
    let Ok(Done::Session { from, .. }) = opened.outcomes[0] else { panic!("{opened:?}") };
    let kept = Request { session: new, ..request(2, make(from.0, "kept", FileKind::File)) };
    assert!(runtime.block_on(send(&cluster, &[kept])).outcomes[0].is_ok());
    cluster.restart(ahead);
    runtime.block_on(async {
        for id in cluster.config.servers() {
            assert!(!has(&cluster, id, "lost").await, "{id}");
        }
        names_are_equal(&cluster).await;
        assert!(has(&cluster, ahead, "kept").await);
    });
}

#[test]
fn what_only_the_cluster_may_say_is_refused() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let cluster = InProcess::start();
    runtime.block_on(async {
        let id = leader(&cluster).await;
        let client = cluster.names(id).await.expect("it leads, so it answers");
        let forged = [
            request(1, Change::Space { pairs: Vec::new() }),
            request(2, Change::RecoverSizes { sizes: vec![(Ino::ROOT, 0, 5)] }),
            Request { session: SessionId::CLUSTER, ..request(3, Change::EndSession { session: SESSION }) },
        ];
        for request in forged {
            let answer = client.change(tarpc::context::current(), vec![request]).await.expect("it answers");
            assert!(matches!(answer, Err(Rejection::Bad(_))), "{answer:?}");
        }
    });
}
