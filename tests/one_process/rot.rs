//! Rot of a server's store of names: what opening it does not see is met later, and mended by the server itself.

use super::*;
use raidfs_common::namespace::Answer;
use raidfs_tests::dice::Dice;
use raidfs_tests::wait;
use std::path::PathBuf;

/// Files with so large an attribute each are more than the store keeps in memory, so that there is a table of them on disk.
const FILES: u64 = 400;
const VALUE_BYTES: usize = 60_000;
/// Changes of one request, which fit one entry of the log.
const AT_ONCE: u64 = 20;
const VICTIM: ServerId = ServerId(4);
/// Damaged bytes lie this far apart: closer than values are long.
const ROT_EVERY: usize = 4096;

fn value(n: u64) -> Vec<u8> {
    let mut dice = Dice::new(n);
    std::iter::repeat_with(|| dice.roll().to_le_bytes()).flatten().take(VALUE_BYTES).collect()
}

fn large(from: u64, n: u64) -> Change {
    let mut change = make(from + n, &format!("large{n}"), FileKind::File);
    if let Change::Make { xattrs, .. } = &mut change {
        xattrs.push(("user.large".into(), value(n).into()));
    }
    change
}

/// Tables of a store of names that are worth damaging.
fn tables(dir: &Path) -> Vec<PathBuf> {
    let (mut found, mut open) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok) {
            let (path, large) = (entry.path(), entry.metadata().is_ok_and(|m| m.len() > 1 << 20));
            if path.is_dir() {
                open.push(path);
            } else if large && path.parent().is_some_and(|above| above.ends_with("tables")) {
                found.push(path);
            }
        }
    }
    found
}

/// Flips a bit here and there in the middle of a file, where its values are.
fn rot(path: &Path) {
    let mut bytes = fs::read(path).expect("it is a table");
    let (from, to) = (bytes.len() / 4, bytes.len() / 4 * 3);
    bytes[from..to].iter_mut().step_by(ROT_EVERY).for_each(|byte| *byte ^= 0x10);
    fs::write(path, bytes).expect("it is written");
}

/// The attributes of a file by the word of one server; None if it does not say.
async fn attributes(cluster: &InProcess, id: ServerId, ino: u64) -> Option<Vec<u8>> {
    let client = cluster.names(id).await?;
    let asked = client.query(tarpc::context::current(), LogIndex(0), Query::Xattrs { ino: Ino(ino) }).await;
    match asked {
        Ok(Ok((_, Ok(Answer::Xattrs(all))))) => all.first().map(|(_, value)| value.to_vec()),
        _ => None,
    }
}

#[test]
fn names_that_have_rotted_are_fetched_anew_once_they_are_met() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let mut cluster = InProcess::start();
    let opened = runtime.block_on(send(&cluster, &[open(SESSION, 1)]));
    let Ok(Done::Session { from, .. }) = opened.outcomes[0] else { panic!("{opened:?}") };
    for first in (0..FILES).step_by(AT_ONCE as usize) {
        let requests: Vec<_> = (first..first + AT_ONCE).map(|n| request(2 + n, large(from.0, n))).collect();
        let made = runtime.block_on(send(&cluster, &requests));
        assert!(made.outcomes.iter().all(Result::is_ok), "{made:?}");
    }
    let names = cluster.data(VICTIM).join("names");
    assert!(wait::until(PATIENCE, || !tables(&names).is_empty()), "its rows are on disk");
    cluster.stop(VICTIM);
    let current = || fs::read_to_string(names.join("current")).expect("it is there").trim().parse::<u64>().ok();
    let before = current();
    tables(&names).iter().for_each(|table| rot(table));
    cluster.restart(VICTIM);
    // It opens as if nothing were wrong. Who reads row after row meets the rot.
    let begun = Instant::now();
    let mut n = 0;
    while current() == before {
        assert!(begun.elapsed() < PATIENCE, "it has not noticed");
        runtime.block_on(attributes(&cluster, VICTIM, from.0 + n));
        n = (n + 1) % FILES;
    }
    runtime.block_on(names_are_equal(&cluster));
    for n in 0..FILES {
        let has = || runtime.block_on(attributes(&cluster, VICTIM, from.0 + n)) == Some(value(n));
        assert!(wait::until(PATIENCE, has), "file {n} is as it was");
    }
    assert!(!names.join("suspect").exists(), "nothing is suspected any more");
}
