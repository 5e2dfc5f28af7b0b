//! Locks that do not wait: flock, fcntl byte ranges of a process, and of an open file description.

use super::file_ops::is_dir;
use super::names::slot;
use super::seen::Seen;
use super::side::Side;
use super::sys::call;
use crate::dice::Dice;
use serde::{Deserialize, Serialize};

/// An operation on locks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "named as the system calls and their arguments are")]
pub enum LockOp {
    Flock {
        slot: u8,
        what: i32,
    },
    /// `kind` 0 read, 1 write, 2 unlock; `of_file`: of the open file description, not the process.
    Set {
        slot: u8,
        of_file: bool,
        kind: i16,
        start: i64,
        length: i64,
        #[serde(default, skip_serializing_if = "is_zero")]
        whence: i16,
    },
    Get {
        slot: u8,
        of_file: bool,
        kind: i16,
        start: i64,
        length: i64,
        #[serde(default, skip_serializing_if = "is_zero")]
        whence: i16,
    },
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(n: &i16) -> bool {
    *n == 0
}

/// Any of them.
pub fn random(dice: &mut Dice) -> LockOp {
    let (slot, of_file, kind) = (slot(dice), dice.percent(40), dice.below(3) as i16);
    let (start, length) = match dice.below(12) {
        0 => (dice.below(40) as i64, -(dice.below(50) as i64)),
        1 => (dice.pick(&[-1, i64::MAX, i64::MAX - 5, 4096]), dice.pick(&[0, 1, 6, 7, i64::MAX])),
        _ => (dice.below(40) as i64, dice.below(30) as i64),
    };
    let whence = dice.weighed(&[(8, libc::SEEK_SET), (1, libc::SEEK_CUR), (1, libc::SEEK_END)]) as i16;
    match dice.below(3) {
        0 => LockOp::Flock { slot, what: dice.pick(&[libc::LOCK_SH, libc::LOCK_EX, libc::LOCK_UN]) },
        1 => LockOp::Set { slot, of_file, kind, start, length, whence },
        _ => LockOp::Get { slot, of_file, kind: kind.min(1), start, length, whence },
    }
}

fn lock(kind: i16, whence: i16, start: i64, length: i64) -> libc::flock {
    // SAFETY: plain data, for which zeros are a value.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    let kinds = [libc::F_RDLCK, libc::F_WRLCK, libc::F_UNLCK];
    lock.l_type = kinds[kind.clamp(0, 2) as usize] as i16;
    lock.l_whence = whence;
    lock.l_start = start;
    lock.l_len = length;
    lock
}

/// Does it.
pub fn perform(op: &LockOp, side: &Side) -> Vec<Seen> {
    match op {
        // Where a directory ends, and where it is read, is a word of its file system's own.
        LockOp::Set { slot, whence: 1.., .. } | LockOp::Get { slot, whence: 1.., .. } if is_dir(side.fd(*slot)) => {
            Vec::new()
        }
        LockOp::Flock { slot, what } => {
            vec![Seen::returned(call!(libc::flock(side.fd(*slot), *what | libc::LOCK_NB)))]
        }
        LockOp::Set { slot, of_file, kind, start, length, whence } => {
            let lock = lock(*kind, *whence, *start, *length);
            let command = if *of_file { libc::F_OFD_SETLK } else { libc::F_SETLK };
            vec![Seen::returned(call!(libc::fcntl(side.fd(*slot), command, &lock)))]
        }
        LockOp::Get { slot, of_file, kind, start, length, whence } => {
            let mut lock = lock(*kind, *whence, *start, *length);
            let command = if *of_file { libc::F_OFD_GETLK } else { libc::F_GETLK };
            let call = call!(libc::fcntl(side.fd(*slot), command, &mut lock));
            let found = format!("type {} from {} length {} of {}", lock.l_type, lock.l_start, lock.l_len, lock.l_pid);
            vec![Seen::returned(call), Seen::text("lock", found)]
        }
    }
}
