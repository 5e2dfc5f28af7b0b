//! A whole cluster in one process: what must hold when the lead changes hands.

mod rot;

use raidfs_common::attr::FileKind;
use raidfs_common::error::{FsError, NextMove, Rejection};
use raidfs_common::id::{Ino, LogIndex, ServerId, SessionId};
use raidfs_common::name::FileName;
use raidfs_common::namespace::{Change, Done, Outcome, Query, RenameMode, Request, SetAttr, XattrMode};
use raidfs_common::rpc::names::Changed;
use raidfs_common::time::Time;
use raidfs_tests::in_process::{InProcess, make_in_root};
use raidfs_tests::wait;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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

/// The kinds of changes that a client may ask for.
const KINDS: [&str; 13] = [
    "OpenSession",
    "EndSession",
    "GrantInos",
    "Make",
    "Link",
    "Unlink",
    "Rmdir",
    "Rename",
    "SetAttr",
    "Wrote",
    "SetXattr",
    "RemoveXattr",
    "Release",
];

/// Which kind it is; None of those that only the cluster itself may say. A new kind is found here by the compiler.
fn kind(change: &Change) -> Option<&'static str> {
    let kind = match change {
        Change::OpenSession { .. } => "OpenSession",
        Change::EndSession { .. } => "EndSession",
        Change::GrantInos => "GrantInos",
        Change::Make { .. } => "Make",
        Change::Link { .. } => "Link",
        Change::Unlink { .. } => "Unlink",
        Change::Rmdir { .. } => "Rmdir",
        Change::Rename { .. } => "Rename",
        Change::SetAttr { .. } => "SetAttr",
        Change::Wrote { .. } => "Wrote",
        Change::SetXattr { .. } => "SetXattr",
        Change::RemoveXattr { .. } => "RemoveXattr",
        Change::Release { .. } => "Release",
        Change::Pair { .. }
        | Change::Space { .. }
        | Change::RecoverSizes { .. }
        | Change::Witness { .. }
        | Change::MarkLost { .. }
        | Change::AcceptLoss { .. } => return None,
    };
    Some(kind)
}

/// Something in the root directory with what only its kind has; of others, with an extended attribute.
fn make_special(ino: Ino, text: &str, kind: FileKind) -> Change {
    let mut change = make(ino.0, text, kind);
    if let Change::Make { rdev, target, xattrs, .. } = &mut change {
        match kind {
            FileKind::Symlink => *target = "where it leads".into(),
            FileKind::CharDevice | FileKind::BlockDevice => *rdev = 0x103,
            _ => xattrs.push(("user.born".into(), "with it".into())),
        }
    }
    change
}

/// Requests of every kind that an open session may ask for, and of all their ways, in an order in which each succeeds; and
/// one that is refused.
fn every_kind(from: u64) -> Vec<Change> {
    let root = |text| (Ino::ROOT, name(text));
    let rename = |(parent, name), (new_parent, new_name), mode, keep| Change::Rename {
        parent,
        name,
        new_parent,
        new_name,
        mode,
        keep,
    };
    let link = |text| Change::Link { ino: Ino(from), parent: Ino::ROOT, name: name(text) };
    let xattr = |value: &'static str, mode| Change::SetXattr {
        ino: Ino(from),
        name: "user.a".into(),
        value: value.into(),
        mode,
        perm: None,
    };
    let mut all = vec![
        make(from, "file", FileKind::File),
        make(from + 1, "dir", FileKind::Dir),
        make(from + 2, "empty", FileKind::Dir),
        make(from + 9, "file", FileKind::File),
    ];
    let special = [
        (FileKind::Symlink, "symlink"),
        (FileKind::Fifo, "fifo"),
        (FileKind::Socket, "socket"),
        (FileKind::CharDevice, "char"),
        (FileKind::BlockDevice, "block"),
        (FileKind::File, "born with attributes"),
    ];
    all.extend((3..).zip(special).map(|(n, (kind, text))| make_special(Ino(from + n), text, kind)));
    all.extend([
        Change::GrantInos,
        link("linked"),
        link("linked too"),
        Change::SetAttr { ino: Ino(from), set: SetAttr { perm: Some(0o600), size: Some(9), ..SetAttr::default() } },
        Change::SetAttr {
            ino: Ino(from),
            set: SetAttr { size: Some(0), uid: Some(5), gid: Some(6), ..SetAttr::default() },
        },
        Change::Wrote { ino: Ino(from), cut_gen: 1, size: 100, blocks: 1, mtime: Time { secs: 5, nanos: 6 } },
        xattr("b", XattrMode::Create),
        xattr("c", XattrMode::Replace),
        xattr("d", XattrMode::Any),
        Change::RemoveXattr { ino: Ino(from), name: "user.a".into() },
        rename(root("linked"), (Ino(from + 1), name("moved")), RenameMode::NoReplace, false),
        rename(root("fifo"), root("socket"), RenameMode::Exchange, false),
        rename(root("fifo"), root("socket"), RenameMode::Replace, false),
        rename(root("char"), root("born with attributes"), RenameMode::Replace, true),
        Change::Unlink { parent: Ino::ROOT, name: name("file"), keep: false },
        Change::Unlink { parent: Ino::ROOT, name: name("linked too"), keep: false },
        Change::Unlink { parent: Ino(from + 1), name: name("moved"), keep: true },
        Change::Rmdir { parent: Ino::ROOT, name: name("empty"), keep: false },
        Change::Rmdir { parent: Ino::ROOT, name: name("dir"), keep: true },
        Change::Release { inos: vec![Ino(from), Ino(from + 1), Ino(from + 8)] },
    ]);
    // What is left makes room for the next time.
    let left = ["symlink", "socket", "born with attributes", "block"];
    all.extend(left.map(|text| Change::Unlink { parent: Ino::ROOT, name: name(text), keep: false }));
    all
}

/// When the leader dies that has been asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dies {
    /// At once: whether it has agreed on the change, or heard of it at all, is left to chance.
    AtOnce,
    /// Once it has answered: the change is agreed and made, and who asked may not have heard of it.
    OnceItAnswered,
}

/// Sends a request to a leader that is aborted meanwhile, and again to the next one, and once more. Its outcome, which must be
/// the same each time.
fn across_the_death_of_the_leader(
    runtime: &tokio::runtime::Runtime,
    cluster: &mut InProcess,
    request: Request,
    dies: Dies,
) -> Outcome {
    let requests = [request];
    let old = runtime.block_on(leader(cluster));
    let client = runtime.block_on(cluster.names(old)).expect("it leads, so it answers");
    let sent = requests.to_vec();
    let first = runtime.spawn(async move { client.change(tarpc::context::current(), sent).await });
    let first = match dies {
        Dies::AtOnce => {
            cluster.abort(old);
            runtime.block_on(first)
        }
        Dies::OnceItAnswered => {
            let first = runtime.block_on(first);
            cluster.abort(old);
            first
        }
    };
    let second = runtime.block_on(send(cluster, &requests)).outcomes;
    if let Ok(Ok(Ok(first))) = first {
        assert_eq!(first.outcomes, second, "{requests:?}");
    }
    let third = runtime.block_on(send(cluster, &requests)).outcomes;
    assert_eq!(second, third, "{requests:?}");
    cluster.restart(old);
    second.into_iter().next().expect("one was asked for")
}

/// Every kind of request, each across the death of the leader that was asked first.
fn every_request_is_made_once(dies: Dies) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let mut cluster = InProcess::start();
    let mut seen = BTreeSet::new();
    let mut make = |request: Request| {
        seen.extend(kind(&request.change));
        across_the_death_of_the_leader(&runtime, &mut cluster, request, dies)
    };
    let opened = make(open(SESSION, 1));
    let Ok(Done::Session { from, .. }) = opened else { panic!("{opened:?}") };
    let mut refused = 0;
    let mut seq = 1;
    for change in every_kind(from.0) {
        seq += 1;
        let outcome = make(request(seq, change.clone()));
        refused += usize::from(outcome == Outcome::Err(FsError::Exists));
        assert!(outcome.is_ok() || outcome == Err(FsError::Exists), "{change:?}: {outcome:?}");
    }
    assert_eq!(refused, 1, "a refusal is an outcome like any other");
    // Another takes over, and ends in order.
    let other = SessionId(78);
    let takeover = Change::OpenSession { holder: "test".into(), takeover: true };
    let opened = make(Request { session: other, ..request(1, takeover) });
    assert!(matches!(opened, Ok(Done::Session { .. })), "{opened:?}");
    let ended = make(Request { session: other, ..request(2, Change::EndSession { session: other }) });
    assert_eq!(ended, Ok(Done::Nothing));
    assert_eq!(seen, BTreeSet::from(KINDS), "a kind was left out");
    runtime.block_on(names_are_equal(&cluster));
}

#[test]
fn every_request_is_made_once_across_a_change_of_the_leader() {
    every_request_is_made_once(Dies::AtOnce);
}

#[test]
fn every_request_whose_answer_was_lost_has_its_first_outcome_at_the_next_leader() {
    every_request_is_made_once(Dies::OnceItAnswered);
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
        let stale = client.barrier(tarpc::context::current(), SESSION, LogIndex(1)).await;
        assert!(matches!(stale, Ok(Err(Rejection::NoSession))), "what it was told may be lost: {stale:?}");
        let new = SessionId(78);
        let opened = send(&cluster, &[open(new, 1)]).await;
        assert!(opened.outcomes[0].is_ok(), "it need not take anything over: {opened:?}");
        for session in [new, SessionId::CLUSTER] {
            let done = client.barrier(tarpc::context::current(), session, opened.seen.index).await;
            assert!(matches!(done, Ok(Ok(()))), "{done:?}");
        }
        let stale = client.barrier(tarpc::context::current(), SESSION, LogIndex(1)).await;
        assert!(matches!(stale, Ok(Err(Rejection::NoSession))), "{stale:?}");
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

/// Makes one change after the other at a leader that stays one, until the counter is taken away; counts them.
async fn make_changes(
    client: raidfs_common::rpc::names::NamesServiceClient,
    made: std::sync::Weak<AtomicU64>,
    first: u64,
) -> u64 {
    let mut seq = first;
    while let Some(made) = made.upgrade() {
        let set = SetAttr { perm: Some(0o700 + (seq % 8) as u16), ..SetAttr::default() };
        let change = Request { done_below: seq, ..request(seq, Change::SetAttr { ino: Ino::ROOT, set }) };
        let answer = client.change(tarpc::context::current(), vec![change]).await;
        assert!(matches!(&answer, Ok(Ok(changed)) if changed.outcomes[0].is_ok()), "{answer:?}");
        made.fetch_add(1, Ordering::Relaxed);
        seq += 1;
    }
    seq
}

#[test]
fn who_stops_under_load_has_all_on_its_disk_that_it_acknowledged() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let mut cluster = InProcess::start();
    let opened = runtime.block_on(send(&cluster, &[open(SESSION, 1)]));
    assert!(opened.outcomes[0].is_ok(), "{opened:?}");
    let mut seq = 2;
    for witness in [false, true] {
        let leader = runtime.block_on(leader(&cluster));
        let victim = if witness { ServerId(0) } else { next(leader) };
        let client = runtime.block_on(cluster.names(leader)).expect("it leads, so it answers");
        let made = Arc::new(AtomicU64::new(0));
        let load = runtime.spawn(make_changes(client, Arc::downgrade(&made), seq));
        assert!(wait::until(PATIENCE, || made.load(Ordering::Relaxed) > 10), "changes are made");
        let before = made.load(Ordering::Relaxed);
        // It would end as failed if its log were longer in the end than what is durable of it.
        cluster.stop(victim);
        assert!(made.load(Ordering::Relaxed) > before, "they were made all the time");
        drop(made);
        seq = runtime.block_on(load).expect("all were made");
        cluster.restart(victim);
        runtime.block_on(names_are_equal(&cluster));
    }
}
