//! The witness's side of agreement: entries are kept in its log, and mean nothing to it but for what they say about data
//! directories. That it must know as long as the cluster lives: should it lead, votes of replaced ones do not count.

use crate::consensus::node::{Machine, PieceStream, Status};
use crate::consensus::pieces::Pieces;
use crate::namespace::snapshot;
use crate::sealed;
use parking_lot::Mutex;
use raidfs_common::id::{Incarnation, LogIndex, ServerId, Term};
use raidfs_common::namespace::{Command, LifeSaid};
use raidfs_common::rpc::peer::{LogEntry, SnapshotPiece};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

type Lives = BTreeMap<ServerId, Incarnation>;

/// Applies nothing, and remembers whose data directory is known.
#[derive(Debug)]
pub struct WitnessMachine {
    applied: Mutex<(LogIndex, Term)>,
    lives: Mutex<Lives>,
    /// Of a snapshot that is on its way here. Taken around all others.
    coming: Mutex<(Pieces, Lives)>,
    path: PathBuf,
    /// What the file says.
    kept: Mutex<Lives>,
}

impl WitnessMachine {
    /// A witness whose log begins behind `base`. What is known from before that is in the file at `path`; it is damaged
    /// only if the disk is.
    pub fn open(base: (LogIndex, Term), path: &Path) -> io::Result<WitnessMachine> {
        let kept: Lives = sealed::read(path)
            .map_err(|error| {
                let advice = "`raidfs replace witness`, and start it with an empty directory";
                io::Error::new(error.kind(), format!("{error}: {advice}"))
            })?
            .unwrap_or_default();
        Ok(WitnessMachine {
            applied: Mutex::new(base),
            lives: Mutex::new(kept.clone()),
            coming: Mutex::default(),
            path: path.to_owned(),
            kept: Mutex::new(kept),
        })
    }

    /// Writes down what is known, if it is news; durable when this returns. Blocking.
    pub fn keep(&self) -> io::Result<()> {
        let mut kept = self.kept.lock();
        let lives = self.lives.lock().clone();
        if *kept == lives {
            return Ok(());
        }
        sealed::write(&self.path, &lives)?;
        *kept = lives;
        Ok(())
    }
}

/// Takes what a change says, as the namespace does: what does not follow from what is known was refused there, with all that
/// the change says besides.
fn take(lives: &mut Lives, said: Vec<(ServerId, LifeSaid)>) {
    let known = |voter| lives.get(voter).copied().unwrap_or_default();
    let next = said.iter().map(|(voter, said)| Some((*voter, said.follows(known(voter))?)));
    let next: Option<Vec<_>> = next.collect();
    lives.extend(next.unwrap_or_default());
}

impl Machine for WitnessMachine {
    type Outcome = ();

    fn apply(&self, entry: &LogEntry) {
        *self.applied.lock() = (entry.index, entry.term);
        // What is about lives fences.
        if entry.synced
            && let Ok(command) = Command::of(&entry.data)
        {
            let mut lives = self.lives.lock();
            command.lives().into_iter().for_each(|said| take(&mut lives, said));
        }
    }

    fn applied(&self) -> (LogIndex, Term) {
        *self.applied.lock()
    }

    fn lives(&self) -> Lives {
        self.lives.lock().clone()
    }

    fn observe(&self, _: &Status) {}

    fn snapshot(&self) -> io::Result<(LogIndex, Term, PieceStream)> {
        Err(io::Error::other("the witness holds no names; another server must lead first"))
    }

    /// The state is not kept, only where it ends, and whose data directories are known: the log goes on behind it.
    fn install(&self, piece: SnapshotPiece) -> io::Result<()> {
        let mut coming = self.coming.lock();
        let (pieces, lives) = &mut *coming;
        pieces.take(&piece)?;
        if piece.number == 0 {
            *lives = snapshot::lives(&piece.data.0).map_err(io::Error::other)?;
        }
        if piece.last {
            *self.lives.lock() = std::mem::take(lives);
            self.keep()?;
            *self.applied.lock() = (piece.index, piece.entry_term);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use raidfs_common::codec;
    use raidfs_common::id::{Epoch, PairId, SessionId};
    use raidfs_common::namespace::{Change, PairEvent, Request};
    use raidfs_common::time::Time;

    const TWO: ServerId = ServerId(2);
    const OLD: Incarnation = Incarnation(1 << 32 | 7);
    const OLD_AGAIN: Incarnation = Incarnation(2 << 32 | 7);
    const NEW: Incarnation = Incarnation(1 << 32 | 8);

    fn entry(index: u64, event: PairEvent) -> LogEntry {
        said(index, Change::Pair { pair: PairId(0), epoch: Epoch(index), event })
    }

    fn said(index: u64, change: Change) -> LogEntry {
        let request = Request { session: SessionId::CLUSTER, seq: 0, done_below: 0, now: Time::default(), change };
        let data = codec::encode(&Command::Batch(vec![request])).into();
        LogEntry { term: Term(1), index: LogIndex(index), synced: true, data }
    }

    fn hello(index: u64, incarnation: Incarnation) -> LogEntry {
        entry(index, PairEvent::Hello { server: TWO, incarnation, mirror_up: true, lost: false })
    }

    #[test]
    fn whose_directory_is_known_outlives_the_entries_that_said_so() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lives");
        let machine = WitnessMachine::open((LogIndex(0), Term(0)), &path).unwrap();
        machine.apply(&hello(1, OLD));
        machine.apply(&hello(2, NEW));
        assert_eq!(machine.lives()[&TWO], OLD, "nobody gave it up");
        machine.apply(&hello(3, OLD_AGAIN));
        machine.apply(&entry(3, PairEvent::Replace { server: TWO, known: OLD }));
        assert_eq!(machine.lives()[&TWO], OLD_AGAIN, "it had started meanwhile, so the namespace refused that");
        machine.apply(&entry(3, PairEvent::Replace { server: TWO, known: OLD_AGAIN }));
        machine.keep().unwrap();
        let machine = WitnessMachine::open((LogIndex(3), Term(1)), &path).unwrap();
        assert_eq!(machine.lives()[&TWO], OLD.barred());
        machine.apply(&hello(4, OLD));
        assert_eq!(machine.lives()[&TWO], OLD.barred());
        machine.apply(&hello(5, NEW));
        assert_eq!(machine.lives()[&TWO], NEW);
        machine.keep().unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[6] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert!(WitnessMachine::open((LogIndex(5), Term(1)), &path).is_err());
    }
    #[test]
    fn a_loss_that_was_accepted_too_late_bars_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let machine = WitnessMachine::open((LogIndex(0), Term(0)), &dir.path().join("lives")).unwrap();
        let (one, of_one) = (ServerId(1), Incarnation(5 << 32 | 9));
        let accept = |index, of_two| {
            let known = [(one, of_one), (TWO, of_two)];
            machine.apply(&said(index, Change::AcceptLoss { pair: PairId(0), epoch: Epoch(1), known }));
        };
        let lives = || (machine.lives().get(&one).copied(), machine.lives().get(&TWO).copied());
        machine.apply(&entry(1, PairEvent::Hello { server: one, incarnation: of_one, mirror_up: true, lost: false }));
        machine.apply(&hello(1, OLD));
        machine.apply(&hello(2, OLD_AGAIN));
        accept(3, OLD);
        assert_eq!(lives(), (Some(of_one), Some(OLD_AGAIN)), "neither is, if one of them has started meanwhile");
        accept(4, OLD_AGAIN);
        assert_eq!(lives(), (Some(of_one.barred()), Some(OLD.barred())));
        machine.apply(&hello(5, NEW));
        accept(6, OLD_AGAIN);
        assert_eq!(machine.lives()[&TWO], NEW, "another directory is known by now");
        machine.apply(&entry(7, PairEvent::Replace { server: TWO, known: NEW.barred() }));
        assert_eq!(machine.lives()[&TWO], NEW.barred(), "as older versions have said it");
    }

    #[test]
    fn a_loss_bars_both_though_one_was_to_be_replaced_before() {
        let dir = tempfile::tempdir().unwrap();
        let machine = WitnessMachine::open((LogIndex(0), Term(0)), &dir.path().join("lives")).unwrap();
        let (one, of_one) = (ServerId(1), Incarnation(5 << 32 | 9));
        machine.apply(&entry(1, PairEvent::Hello { server: one, incarnation: of_one, mirror_up: true, lost: false }));
        machine.apply(&hello(2, OLD));
        machine.apply(&entry(3, PairEvent::Replace { server: TWO, known: OLD }));
        let known = [(one, of_one), (TWO, OLD.barred())];
        machine.apply(&said(4, Change::AcceptLoss { pair: PairId(0), epoch: Epoch(1), known }));
        let lives = machine.lives();
        assert_eq!((lives[&one], lives[&TWO]), (of_one.barred(), OLD.barred()));
    }
}
