//! Compares what was seen on the two sides. Inodes are known by when they were first seen, times by the step that set them.

use super::attr_ops::AttrOp;
use super::differences::{
    COARSE, data_is_right, in_attributes, is_earliest, is_fifo, reads, refuses_directory, seek_is_right, sets_times,
};
use super::op::Op;
use super::seen::{Nanos, Seen, Stat, Value};
use std::collections::BTreeMap;

/// The time within which a step was made, on both sides.
#[derive(Clone, Copy, Debug)]
pub struct During {
    /// Before it.
    pub from: Nanos,
    /// Behind it.
    pub to: Nanos,
}

/// A local inode: its number is used again, so the time of its birth belongs to it.
type Local = (u64, Nanos);

/// What is known of both sides by now.
#[derive(Default)]
pub struct Judge {
    mount_of: BTreeMap<Local, u64>,
    local_of: BTreeMap<u64, Local>,
    /// When an inode of the mount was last looked at, and what was seen then, local and on the mount.
    last: BTreeMap<u64, (Nanos, Stat, Stat)>,
    born: Nanos,
    reuses: bool,
    sets_times: bool,
    sets_atime: bool,
    reads: bool,
    /// Inodes of the mount that it may not have been told of yet that they were changed: [`super::differences::STORED`].
    unsettled: Vec<u64>,
}

impl Judge {
    /// Everything that it will see is made after `born`.
    /// `reuses`: the mount's side is a local one, too, whose numbers are used again.
    pub fn new(born: Nanos, reuses: bool) -> Judge {
        Judge { born, reuses, ..Judge::default() }
    }

    /// Inodes of the mount that were stored to through mappings, before or in what is compared next.
    pub fn know_unsettled(&mut self, inodes: Vec<u64>) {
        self.unsettled = inodes;
    }

    /// What differs first, in words: what, and how.
    pub fn compare(&mut self, op: &Op, during: During, local: &[Seen], mount: &[Seen]) -> Result<(), (String, String)> {
        self.sets_times = sets_times(op);
        self.sets_atime = matches!(op, Op::Attr(AttrOp::Times { .. } | AttrOp::TimesNull { .. }));
        self.reads = reads(op);
        for (l, m) in local.iter().zip(mount) {
            if l.what != m.what {
                return Err(("what there is".to_owned(), format!("{} locally, {} on the mount", l.what, m.what)));
            }
            self.value(during, &l.value, &m.value).map_err(|how| (l.what.clone(), how))?;
        }
        if local.len() != mount.len() {
            let more = if local.len() > mount.len() { &local[mount.len()] } else { &mount[local.len()] };
            return Err(("what there is".to_owned(), format!("{} is on one side only", more.what)));
        }
        Ok(())
    }

    fn value(&mut self, during: During, local: &Value, mount: &Value) -> Result<(), String> {
        match (local, mount) {
            (Value::Stat(l), Value::Stat(m)) => self.stat(during, l, m),
            (Value::Entries(l), Value::Entries(m)) => {
                let names = |entries: &[(Vec<u8>, u8, u64)]| -> Vec<(Vec<u8>, u8)> {
                    entries.iter().map(|(name, kind, _)| (name.clone(), *kind)).collect()
                };
                if names(l) == names(m) { Ok(()) } else { Err(format!("{local} locally, {mount} on the mount")) }
            }
            (Value::Data(l), Value::Data(m)) if data_is_right(l, m) => Ok(()),
            (Value::Sought(data, l), Value::Sought(_, m)) if seek_is_right(*data, *l, *m) => Ok(()),
            (Value::Bytes(l), Value::Bytes(m)) if l != m => {
                let at = l.iter().zip(m).position(|(l, m)| l != m).unwrap_or(l.len().min(m.len()));
                Err(format!("{local} locally, {mount} on the mount; they differ from byte {at}"))
            }
            (Value::Returned(l), Value::Returned(m)) if self.reads && refuses_directory(*l, *m) => Ok(()),
            _ if local == mount => Ok(()),
            _ => Err(format!("{local} locally, {mount} on the mount")),
        }
    }

    fn stat(&mut self, during: During, local: &Stat, mount: &Stat) -> Result<(), String> {
        self.identity(local, mount)?;
        let mut verdict = in_attributes(local, mount).map_or(Ok(()), Err);
        let (since, before) = match self.last.get(&mount.ino) {
            Some((since, l, m)) => (*since, Some((l, m))),
            None => (self.born, None),
        };
        for (name, of) in TIMES {
            let times = Times { local: of(local), mount: of(mount), before: before.map(|(l, m)| (of(l), of(m))) };
            let allowed = During { from: since - COARSE, to: during.to + COARSE };
            let compared = times.compare(allowed);
            let read = name == "atime" && times.is_read(allowed, !self.sets_atime);
            let alone = self.sets_times && name != "atime" && times.is_of_mount_only();
            let fifo = is_fifo(local) && times.is_of_local_only();
            let stored = self.unsettled.contains(&mount.ino);
            if compared.is_err() && (read || alone || fifo || stored || (self.reuses && times.is_one_moment())) {
                continue;
            }
            verdict = verdict.and_then(|()| compared.map_err(|how| format!("{name} {how}")));
        }
        self.last.insert(mount.ino, (during.from, local.clone(), mount.clone()));
        verdict
    }

    /// The same inode here is the same there. The mount never uses a number again; a local one that is made in the same
    /// tick as the one before it ended cannot be told from that.
    fn identity(&mut self, local: &Stat, mount: &Stat) -> Result<(), String> {
        if self.reuses {
            return Ok(());
        }
        let key = (local.ino, local.btime);
        let is_new = !self.local_of.contains_key(&mount.ino);
        if is_new {
            self.mount_of.insert(key, mount.ino);
            self.local_of.insert(mount.ino, key);
        }
        if self.mount_of.get(&key) != Some(&mount.ino) || self.local_of.get(&mount.ino) != Some(&key) {
            return Err("it is not the inode that it was, on one side".to_owned());
        }
        Ok(())
    }
}

type TimeOf = fn(&Stat) -> Nanos;
const TIMES: [(&str, TimeOf); 3] = [("mtime", |s| s.mtime), ("ctime", |s| s.ctime), ("atime", |s| s.atime)];

/// One time of an inode on both sides, now and when it was looked at before.
struct Times {
    local: Nanos,
    mount: Nanos,
    before: Option<(Nanos, Nanos)>,
}

impl Times {
    /// What it was is too near to what it is: the number may be another inode's by now.
    fn is_one_moment(&self) -> bool {
        self.before.is_some_and(|(l, m)| (l - self.local).abs() <= COARSE && (m - self.mount).abs() <= COARSE)
    }

    /// As access times: one side was read, or both were changed (to whatever time) and then one of them was read; the mount
    /// only if it `may` have been since.
    fn is_read(&self, allowed: During, may: bool) -> bool {
        let is_new = |time: Nanos| time >= allowed.from && time <= allowed.to;
        self.is_of_local_only() || self.is_of_mount_only() || is_new(self.local) || may && is_new(self.mount)
    }

    fn is_of_local_only(&self) -> bool {
        self.before.is_some_and(|(l, m)| l != self.local && m == self.mount)
    }

    fn is_of_mount_only(&self) -> bool {
        self.before.is_some_and(|(l, m)| l == self.local && m != self.mount)
    }

    /// Both have changed or neither; and what they have changed to is the same, or both are of now.
    fn compare(&self, allowed: During) -> Result<(), String> {
        if let Some((local, mount)) = self.before {
            match (local != self.local, mount != self.mount) {
                (true, false) => return Err("has changed locally, and not on the mount".to_owned()),
                (false, true) => return Err("has changed on the mount, and not locally".to_owned()),
                (false, false) => return Ok(()),
                (true, true) => {}
            }
        }
        let of_now = |t: Nanos| t >= allowed.from && t <= allowed.to;
        if self.local == self.mount || is_earliest(self.local, self.mount) || (of_now(self.local) && of_now(self.mount))
        {
            return Ok(());
        }
        let ms = |t: Nanos| (t - allowed.to) / 1_000_000;
        Err(format!(
            "is {} locally, {} on the mount ({} and {} ms from now)",
            self.local,
            self.mount,
            ms(self.local),
            ms(self.mount)
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::super::held_ops::HeldOp;
    use super::super::names::Subject;
    use super::*;

    const SECOND: Nanos = 1_000_000_000;

    fn seen(stat: Stat) -> Vec<Seen> {
        vec![Seen { what: "a".to_owned(), value: Value::Stat(Box::new(stat)) }]
    }

    fn file(ino: u64, mtime: Nanos) -> Stat {
        Stat { ino, mode: libc::S_IFREG | 0o644, nlink: 1, mtime, ctime: SECOND, atime: SECOND, ..Stat::default() }
    }

    fn at(second: i128) -> During {
        During { from: second * SECOND, to: second * SECOND + 1000 }
    }

    #[test]
    fn a_time_that_only_one_side_sets_is_noticed() {
        let mut judge = Judge::new(SECOND, false);
        let (l, m) = (file(1, SECOND), file(9, SECOND + 5));
        judge.compare(&Op::Tree, at(1), &seen(l.clone()), &seen(m.clone())).expect("both were made just now");
        judge.compare(&Op::Tree, at(2), &seen(l.clone()), &seen(m)).expect("nothing has changed");
        let told = judge
            .compare(&Op::Tree, at(3), &seen(l.clone()), &seen(file(9, 3 * SECOND)))
            .expect_err("only one changed");
        assert!(told.1.contains("mtime has changed on the mount"), "{told:?}");
        // It was last looked at in the third second: what was set since then may be of any step in between.
        let told =
            judge.compare(&Op::Tree, at(9), &seen(file(1, 9 * SECOND)), &seen(file(9, 2 * SECOND))).expect_err("stale");
        assert!(told.1.contains("ms from now"), "{told:?}");
    }

    #[test]
    fn only_the_mount_may_be_read_behind_a_time_of_access_that_another_process_has_set() {
        let file = |ino, atime| Stat { atime, ..file(ino, SECOND) };
        let looked = |op: &Op, mount| {
            let mut judge = Judge::new(SECOND, false);
            judge.compare(&Op::Tree, at(1), &seen(file(1, SECOND)), &seen(file(9, SECOND))).expect("made just now");
            judge.compare(op, at(3), &seen(file(1, 77)), &seen(file(9, mount)))
        };
        let reads = Op::Held(HeldOp::Load { map: 0, page: 0, pages: 1 });
        let sets = Op::Attr(AttrOp::TimesNull { of: Subject::Slot(0) });
        looked(&reads, 3 * SECOND).expect("a load through a mapping is a read there");
        looked(&reads, 78).expect_err("it is neither what was set nor of now");
        looked(&sets, 3 * SECOND).expect_err("it was set just now");
    }

    #[test]
    fn an_inode_that_turns_into_another_is_noticed() {
        let mut judge = Judge::new(SECOND, false);
        judge.compare(&Op::Tree, at(1), &seen(file(1, SECOND)), &seen(file(9, SECOND))).expect("new");
        judge.compare(&Op::Tree, at(1), &seen(file(2, SECOND)), &seen(file(8, SECOND))).expect("new");
        assert!(judge.compare(&Op::Tree, at(1), &seen(file(2, SECOND)), &seen(file(9, SECOND))).is_err());
    }

    #[test]
    fn what_was_seen_differs_in_any_field() {
        let mut judge = Judge::new(SECOND, false);
        let l = file(1, SECOND);
        for m in [
            Stat { mode: libc::S_IFREG | 0o600, ..file(9, SECOND) },
            Stat { nlink: 2, ..file(9, SECOND) },
            Stat { uid: 1, ..file(9, SECOND) },
            Stat { gid: 1, ..file(9, SECOND) },
            Stat { size: 1, ..file(9, SECOND) },
        ] {
            assert!(judge.compare(&Op::Tree, at(1), &seen(l.clone()), &seen(m.clone())).is_err(), "{m:?}");
        }
        let returned = |n| vec![Seen::returned(n)];
        assert!(judge.compare(&Op::Tree, at(1), &returned(Ok(1)), &returned(Err(1))).is_err());
        assert!(judge.compare(&Op::Tree, at(1), &[Seen::bytes("x", vec![1])], &[Seen::bytes("x", vec![2])]).is_err());
        assert!(judge.compare(&Op::Tree, at(1), &[], &returned(Ok(1))).is_err());
    }
}
