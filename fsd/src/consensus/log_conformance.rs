//! The log's contract as a test suite, run over every implementation.

use super::log::{LogStore, Vote};
use super::log_disk::DiskLog;
use super::log_memory::MemoryLog;
use raidfs_common::id::{LogIndex, ServerId, Term};
use raidfs_common::rpc::peer::LogEntry;

fn entry(index: u64, term: u64) -> LogEntry {
    let data = vec![(index ^ term) as u8; 20_000].into();
    LogEntry { term: Term(term), index: LogIndex(index), synced: index.is_multiple_of(5), data }
}

fn indices(entries: &[LogEntry]) -> Vec<u64> {
    entries.iter().map(|e| e.index.0).collect()
}

fn suite(log: &mut dyn LogStore) {
    assert_eq!(log.last(), (LogIndex(0), Term(0)));
    assert_eq!(log.term_at(LogIndex(0)), Some(Term(0)));
    assert!(log.read(LogIndex(1), 100).expect("it reads").is_empty());

    // Enough for several segments and more than the tail in memory.
    for i in 1..=1500 {
        log.append(&[entry(i, 1)]).expect("it appends");
    }
    assert_eq!(log.last(), (LogIndex(1500), Term(1)));
    assert_eq!(log.read(LogIndex(700), 0).expect("it reads"), [entry(700, 1)]);
    assert_eq!(indices(&log.read(LogIndex(2), 60_000).expect("it reads")), [2, 3, 4]);
    let last = log.last().0;
    let all = log.read(LogIndex(1), usize::MAX).expect("it reads");
    assert_eq!(indices(&all), (1..=last.0).collect::<Vec<_>>(), "in order, wherever each of them is kept");
    let job = log.begin_sync();
    (job.work)().expect("it syncs");
    log.end_sync(job.mark);
    assert_eq!(log.durable(), LogIndex(1500));

    log.truncate(LogIndex(300)).expect("it truncates");
    assert_eq!((log.last(), log.durable()), ((LogIndex(299), Term(1)), LogIndex(299)));
    let stale = log.begin_sync();
    log.truncate(LogIndex(299)).expect("it truncates");
    log.append(&[entry(299, 2), entry(300, 2)]).expect("it appends");
    log.end_sync(stale.mark);
    assert!(log.durable() < LogIndex(299), "a sync from before a truncation says nothing of what came after");
    assert_eq!(log.term_at(LogIndex(298)), Some(Term(1)));
    assert_eq!(log.term_at(LogIndex(300)), Some(Term(2)));
    assert_eq!(log.term_at(LogIndex(301)), None);

    for i in 301..=1000 {
        log.append(&[entry(i, 2)]).expect("it appends");
    }
    let runs = log.runs();
    assert!(runs.is_sorted_by(|a, b| a.last < b.last) && runs.last().is_some_and(|run| run.last == log.last().0));
    assert!((20_000_000..25_000_000).contains(&runs.iter().map(|run| run.bytes).sum::<u64>()), "{runs:?}");
    log.purge(LogIndex(900)).expect("it purges");
    let base = log.base().0;
    assert!(runs.iter().any(|run| run.last == base), "as a whole or not at all");
    assert!(base <= LogIndex(900) && base > LogIndex(400), "{base}");
    assert_eq!(log.term_at(base), Some(Term(2)));
    assert_eq!(log.term_at(LogIndex(base.0 - 1)), None);
    assert_eq!(log.read(base.next(), 0).expect("it reads"), [entry(base.0 + 1, 2)]);
    assert!(log.read(base, 0).expect("it reads").is_empty());

    log.reset(LogIndex(5000), Term(9)).expect("it resets");
    assert_eq!((log.base(), log.last()), ((LogIndex(5000), Term(9)), (LogIndex(5000), Term(9))));
    assert_eq!(log.durable(), LogIndex(5000));
    log.append(&[entry(5001, 9)]).expect("it appends");
    log.save_vote(Vote { term: Term(9), given: Some(ServerId(3)) }).expect("it saves");
}

#[test]
fn the_log_in_memory() {
    let mut log = MemoryLog::default();
    log.hold_syncs = true;
    suite(&mut log);
}

#[test]
fn the_log_on_disk() {
    let dir = tempfile::tempdir().expect("a directory");
    suite(&mut DiskLog::open(dir.path()).expect("it opens").0);
    let (log, opened) = DiskLog::open(dir.path()).expect("it opens again");
    assert!(!opened.cut);
    assert_eq!((log.base().0, log.last()), (LogIndex(5000), (LogIndex(5001), Term(9))));
    assert_eq!(log.read(LogIndex(5001), 0).expect("it reads"), [entry(5001, 9)]);
    assert_eq!(log.vote(), Vote { term: Term(9), given: Some(ServerId(3)) });
}
