//! What is lost with a pair: marked file by file, kept true while names go on changing, and accepted once.

use crate::namespace::rows::LostRow;
use crate::namespace::testing::*;
use proptest::prelude::*;
use raidfs_common::attr::FileKind;
use raidfs_common::error::FsError;
use raidfs_common::id::{Epoch, Incarnation, Ino, PairId, ServerId};
use raidfs_common::limits::CHUNK_BYTES;
use raidfs_common::namespace::*;
use raidfs_common::pair::{Pair, end_on, place};
use std::collections::BTreeMap;

const GONE: PairId = PairId(1);

fn pair(f: &Fixture) -> Pair {
    f.namespace.pairs()[usize::from(GONE.0)].clone()
}

/// Two pairs, of whose second both servers have lived in the directories 3 and 4.
fn lived() -> Fixture {
    let mut f = Fixture::new();
    for (server, mirror_up) in [(3, true), (4, true)] {
        let incarnation = Incarnation::of(1, server);
        let event = PairEvent::Hello { server: ServerId(server as u16), incarnation, mirror_up, lost: false };
        let epoch = pair(&f).epoch;
        f.by_cluster(Change::Pair { pair: GONE, epoch, event }).unwrap();
    }
    f
}

fn mark(f: &mut Fixture) -> Outcome {
    let epoch = pair(f).epoch;
    f.by_cluster(Change::MarkLost { pair: GONE, epoch })
}

fn mark_all(f: &mut Fixture) {
    while mark(f).is_ok() {}
}

fn accept(f: &mut Fixture) -> Outcome {
    let pair = pair(f);
    let known = pair.members.map(|m| (m.server, m.incarnation));
    f.by_cluster(Change::AcceptLoss { pair: GONE, epoch: pair.epoch, known })
}

/// The first life of the directory 9 of a server is let in, unless it is, and has made lost what was marked when so many marks
/// had come late.
fn begin(f: &mut Fixture, server: u16, late: u64) -> Outcome {
    let (server, incarnation) = (ServerId(server), Incarnation::of(1, 9));
    let hello = PairEvent::Hello { server, incarnation, mirror_up: false, lost: true };
    let _ = f.by_cluster(Change::Pair { pair: GONE, epoch: pair(f).epoch, event: hello });
    let event = PairEvent::Begun { server, incarnation, late };
    f.by_cluster(Change::Pair { pair: GONE, epoch: pair(f).epoch, event })
}

fn lost(f: &Fixture) -> BTreeMap<Ino, LostRow> {
    f.namespace.lost(None, usize::MAX).unwrap().into_iter().collect()
}

/// Files of these sizes, made one after the other: so they begin on the pairs in turn.
fn files(f: &mut Fixture, sizes: &[u64]) -> Vec<Ino> {
    let made = |(n, size): (usize, &u64)| {
        let ino = f.file(1, &format!("f{n}"));
        f.ok(wrote(ino, 0, *size, 1));
        ino
    };
    sizes.iter().enumerate().map(made).collect()
}

#[test]
fn what_lies_on_the_pair_is_marked_and_nothing_else() {
    let mut f = lived();
    let inos = files(&mut f, &[100, 100, CHUNK_BYTES + 5, 0, 3 * CHUNK_BYTES + 9]);
    f.dir(1, "dir");
    assert_eq!(accept(&mut f), Err(FsError::Invalid), "nothing is marked");
    mark(&mut f).unwrap();
    assert!(f.namespace.losing().unwrap().next.is_some(), "one entry does not look at everything");
    assert_eq!(accept(&mut f), Err(FsError::Invalid), "not all is marked");
    f.flush();
    let mut f = f.killed();
    mark_all(&mut f);
    let expected = [
        (inos[1], vec![(GONE, 100)]),
        (inos[2], vec![(GONE, CHUNK_BYTES + 5)]),
        (inos[4], vec![(GONE, 3 * CHUNK_BYTES + 9)]),
    ];
    let place_of = |ino: &Ino| f.attr(*ino).unwrap().placement.first_pair;
    assert_eq!(inos.iter().map(place_of).collect::<Vec<_>>(), [0, 1, 0, 1, 0]);
    assert_eq!(lost(&f), BTreeMap::from(expected));
    assert_eq!(f.namespace.lost(Some(inos[1]), 1).unwrap(), [(inos[2], vec![(GONE, CHUNK_BYTES + 5)])]);
    f.check();
}

#[test]
fn an_accepted_loss_bars_both_directories_and_leaves_no_copy_until_one_says_that_it_has_what_is_left() {
    let mut f = lived();
    files(&mut f, &[100, 100]);
    mark_all(&mut f);
    let before = pair(&f);
    accept(&mut f).unwrap();
    assert_eq!(accept(&mut f), Err(FsError::Invalid), "once");
    assert_eq!(mark(&mut f), Err(FsError::Invalid), "there is no copy whose loss could be accepted");
    let after = pair(&f);
    assert_eq!((after.epoch, after.losses), (Epoch(before.epoch.0 + 1), before.losses + 1));
    assert_eq!(after.in_sync().count(), 0);
    assert_eq!(f.namespace.losing(), None);
    assert_eq!(f.namespace.lives()[&ServerId(3)], Incarnation::of(1, 3).barred());
    f.check();
}

#[test]
fn new_files_go_elsewhere_until_the_pair_begins_anew() {
    let mut f = lived();
    mark_all(&mut f);
    accept(&mut f).unwrap();
    let inos = files(&mut f, &[1, 1, 1]);
    assert!(inos.iter().all(|ino| f.attr(*ino).unwrap().placement.first_pair == 0));
    begin(&mut f, 4, 0).unwrap();
    assert!(pair(&f).serves(ServerId(4)));
    let after = f.file(1, "after");
    let then = f.file(1, "then");
    assert!([after, then].iter().any(|ino| f.attr(*ino).unwrap().placement.first_pair == 1));
    f.check();
}

#[test]
fn a_copy_begins_with_all_that_is_marked_by_then_or_not_at_all() {
    let mut f = lived();
    let inos = files(&mut f, &[0, 100]);
    mark_all(&mut f);
    accept(&mut f).unwrap();
    assert_eq!(f.namespace.marked().late, 0);
    // Written before the pair was lost, and told of now: a second chunk of a file that begins elsewhere.
    f.ok(wrote(inos[0], 0, CHUNK_BYTES + 9, 1));
    assert_eq!(lost(&f)[&inos[0]], [(GONE, CHUNK_BYTES + 9)]);
    assert_eq!(f.namespace.marked().late, 1);
    f.flush();
    let mut f = f.killed();
    assert_eq!(begin(&mut f, 4, 0), Err(FsError::Invalid), "what came late is not among what it has made lost");
    assert_eq!(pair(&f).in_sync().count(), 0);
    begin(&mut f, 4, 1).unwrap();
    assert_eq!(begin(&mut f, 3, 1), Err(FsError::Invalid), "there is one by now, and the other has to be copied");
    assert!(pair(&f).serves(ServerId(4)) && !pair(&f).serves(ServerId(3)));
    f.check();
}

#[test]
fn a_file_that_grows_elsewhere_has_lost_nothing_there() {
    let mut f = lived();
    mark_all(&mut f);
    accept(&mut f).unwrap();
    let ino = files(&mut f, &[0])[0];
    f.ok(resize(ino, 2 * CHUNK_BYTES));
    f.ok(wrote(ino, 0, 2 * CHUNK_BYTES + 5, 1));
    assert_eq!(lost(&f), BTreeMap::new(), "its second chunk was made a hole, and never written");
    assert_eq!(f.namespace.marked().late, 0);
    f.ok(wrote(ino, 0, 4 * CHUNK_BYTES, 1));
    assert_eq!(lost(&f)[&ino], [(GONE, 4 * CHUNK_BYTES)], "this may have been written before");
}

#[test]
fn what_is_written_into_a_hole_before_a_marked_loss_is_accepted_is_lost_too() {
    let mut f = lived();
    let ino = files(&mut f, &[9, 100])[1];
    mark_all(&mut f);
    // Both were only cut off, and are there again for a while: a hole is made, and written to.
    f.ok(resize(ino, 2 * CHUNK_BYTES + 50));
    f.ok(wrote(ino, 0, 2 * CHUNK_BYTES + 50, 1));
    accept(&mut f).unwrap();
    assert_eq!(lost(&f)[&ino], [(GONE, 2 * CHUNK_BYTES + 50)]);
    f.check();
}

#[test]
fn a_server_that_comes_back_meanwhile_ends_it_and_the_next_time_all_is_looked_at_anew() {
    let mut f = lived();
    let inos = files(&mut f, &[9, 100, 9, 100]);
    mark_all(&mut f);
    let epoch = pair(&f).epoch;
    let event =
        PairEvent::Hello { server: ServerId(3), incarnation: Incarnation::of(2, 3), mirror_up: false, lost: false };
    f.by_cluster(Change::Pair { pair: GONE, epoch, event }).unwrap();
    assert_eq!(accept(&mut f), Err(FsError::Invalid));
    f.ok(resize(inos[1], 0));
    f.ok(wrote(inos[1], 1, 50, 1));
    f.ok(unlink(1, "f3"));
    assert_eq!(lost(&f), BTreeMap::new());
    mark_all(&mut f);
    assert_eq!(lost(&f), BTreeMap::from([(inos[1], vec![(GONE, 50)])]));
    f.check();
}

#[test]
fn sessions_have_no_say_in_it() {
    let mut f = lived();
    let epoch = pair(&f).epoch;
    assert_eq!(f.refused(Change::MarkLost { pair: GONE, epoch }), FsError::NotPermitted);
    let known = pair(&f).members.map(|m| (m.server, m.incarnation));
    assert_eq!(f.refused(Change::AcceptLoss { pair: GONE, epoch, known }), FsError::NotPermitted);
}

#[derive(Clone, Debug)]
enum Op {
    Make,
    Wrote(u8, u64),
    Resize(u8, u64),
    Unlink(u8),
    Mark,
    Accept,
}

fn ops() -> impl Strategy<Value = Op> {
    let size = || (0u64..5, 0u64..3).prop_map(|(chunks, bytes)| chunks * CHUNK_BYTES + bytes);
    prop_oneof![
        3 => Just(Op::Make),
        4 => (any::<u8>(), size()).prop_map(|(n, size)| Op::Wrote(n, size)),
        3 => (any::<u8>(), size()).prop_map(|(n, size)| Op::Resize(n, size)),
        1 => any::<u8>().prop_map(Op::Unlink),
        5 => Just(Op::Mark),
        1 => Just(Op::Accept),
    ]
}

/// What the model keeps of a file: its size, and of each of its chunks on the pair whether bytes of it are lost, by name.
#[derive(Clone, Debug, Default)]
struct Model {
    /// By name: its number, size and cuts.
    files: BTreeMap<String, (Ino, u64, u32)>,
    /// The first bytes of a file so far are lost where they are on the pair.
    lost: BTreeMap<Ino, u64>,
    /// Files below are marked; None: it has not begun.
    marked: Option<u64>,
    all_marked: bool,
    accepted: bool,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn what_is_lost_follows_what_becomes_of_the_files(ops in proptest::collection::vec(ops(), 1..60)) {
        let mut f = lived();
        let mut m = Model::default();
        let mut made = 0;
        for op in ops {
            let chosen = |n: u8| m.files.iter().nth(usize::from(n) % m.files.len().max(1)).map(|(k, v)| (k.clone(), *v));
            match op {
                Op::Make => {
                    let name = format!("f{made}");
                    made += 1;
                    m.files.insert(name.clone(), (f.file(1, &name), 0, 0));
                }
                Op::Wrote(n, size) => {
                    let Some((name, (ino, before, cuts))) = chosen(n) else { continue };
                    f.ok(wrote(ino, cuts, size, 1));
                    m.files.insert(name, (ino, before.max(size), cuts));
                    let is_marked = m.all_marked || m.marked.is_some_and(|next| ino.0 < next);
                    let is_there = end_on(f.attr(ino).unwrap().placement, size, GONE, 2) > before;
                    if size > before && is_there && (m.accepted || is_marked) {
                        m.lost.insert(ino, size);
                    }
                }
                Op::Resize(n, size) => {
                    let Some((name, (ino, before, cuts))) = chosen(n) else { continue };
                    f.ok(resize(ino, size));
                    m.files.insert(name, (ino, size, cuts + u32::from(size < before)));
                    if let Some(end) = m.lost.get_mut(&ino) {
                        *end = size.min(*end);
                    }
                    let is_marked = m.all_marked || m.marked.is_some_and(|next| ino.0 < next);
                    if size > before && is_marked && !m.accepted {
                        m.lost.insert(ino, size);
                    }
                }
                Op::Unlink(n) => {
                    let Some((name, (ino, ..))) = chosen(n) else { continue };
                    f.ok(unlink(1, &name));
                    m.files.remove(&name);
                    m.lost.remove(&ino);
                }
                Op::Mark => {
                    let done = mark(&mut f);
                    prop_assert_eq!(done.is_ok(), !m.all_marked && !m.accepted);
                    if done.is_ok() {
                        let from = m.marked.unwrap_or(0);
                        let next = f.namespace.losing().unwrap().next;
                        m.all_marked = next.is_none();
                        m.marked = Some(next.map_or(u64::MAX, |next| next.0));
                        let looked_at = m.files.values().filter(|(ino, ..)| (from..m.marked.unwrap()).contains(&ino.0));
                        m.lost.extend(looked_at.map(|(ino, size, _)| (*ino, *size)));
                    }
                }
                Op::Accept => {
                    let done = accept(&mut f);
                    prop_assert_eq!(done.is_ok(), m.all_marked && !m.accepted);
                    m.accepted |= done.is_ok();
                    m.all_marked &= done.is_err();
                }
            }
            for (ino, size, _) in m.files.values() {
                let attr = f.attr(*ino).unwrap();
                prop_assert_eq!(attr.kind, FileKind::File);
                let end = m.lost.get(ino).copied().unwrap_or(0);
                let ends = lost(&f).get(ino).cloned().unwrap_or_default();
                for chunk in 0..size.div_ceil(CHUNK_BYTES) {
                    let here = place(attr.placement, chunk as u32, 2).pair == GONE;
                    let expected = here && end > chunk * CHUNK_BYTES;
                    let until = |end: u64| end.min((chunk + 1) * CHUNK_BYTES);
                    let said = ends.iter().find(|(pair, _)| *pair == GONE).map_or(0, |(_, end)| *end);
                    prop_assert_eq!(here && said > chunk * CHUNK_BYTES, expected, "chunk {} of {}", chunk, ino);
                    prop_assert!(!expected || until(said) == until(end));
                }
            }
            f.check();
        }
        f.flush();
        let rows = lost(&f);
        prop_assert_eq!(lost(&f.killed()), rows);
    }
}
