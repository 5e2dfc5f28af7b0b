//! Operations on names: link, symlink, unlink, mkdir, rmdir, mknod, rename, and walks.

use super::names::{Spot, Subject, c_path, dir_path, slot, source, spot, target};
use super::seen::Seen;
use super::side::Side;
use super::sys::{Call, call};
use crate::dice::Dice;
use serde::{Deserialize, Serialize};

/// An operation on names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "named as the system calls and their arguments are")]
pub enum NameOp {
    Link { from: Spot, to: Spot, follow: bool },
    LinkOpen { slot: u8, to: Spot },
    Symlink { target: String, at: Spot },
    Readlink { at: Spot, length: usize },
    Unlink { at: Spot },
    Rmdir { at: Spot },
    Mkdir { at: Spot, mode: u32 },
    Mknod { at: Spot, mode: u32, device: (u32, u32) },
    Rename { from: Spot, to: Spot, flags: u32 },
    Umask { mask: u32 },
}

/// Any of them.
pub fn random(dice: &mut Dice) -> NameOp {
    match dice.below(100) {
        0..=13 => NameOp::Link { from: source(dice), to: spot(dice), follow: dice.percent(25) },
        14..=15 => NameOp::LinkOpen { slot: slot(dice), to: spot(dice) },
        16..=25 => NameOp::Symlink { target: target(dice), at: link_spot(dice) },
        26..=31 => NameOp::Readlink { at: link_spot(dice), length: dice.pick(&[4096, 100, 1, 0]) },
        32..=43 => NameOp::Unlink { at: spot(dice) },
        44..=49 => NameOp::Rmdir { at: if dice.percent(50) { spot(dice) } else { Spot::at(&dir_path(dice)) } },
        50..=67 => NameOp::Mkdir {
            at: Spot { path: dir_path(dice), ..spot(dice) },
            mode: dice.pick(&[0o755, 0o777, 0o777, 0o700, 0o1777, 0o2775, 0o3777, 0o4755, 0o000, 0o555]),
        },
        68..=74 => {
            let kind = dice.pick(&[
                libc::S_IFIFO,
                libc::S_IFSOCK,
                libc::S_IFREG,
                libc::S_IFCHR,
                libc::S_IFBLK,
                0,
                libc::S_IFDIR,
            ]);
            NameOp::Mknod {
                at: spot(dice),
                mode: kind | dice.pick(&[0o644, 0o600, 0o777, 0o6755]),
                // No such devices: to open them is an error, and harms nothing.
                device: dice.pick(&[(240, 5), (250, 70_000), (4000, 1)]),
            }
        }
        75..=98 => NameOp::Rename {
            from: source(dice),
            to: spot(dice),
            flags: dice.weighed(&[
                (14, 0),
                (4, libc::RENAME_NOREPLACE),
                (5, libc::RENAME_EXCHANGE),
                (1, libc::RENAME_WHITEOUT),
                (1, libc::RENAME_EXCHANGE | libc::RENAME_NOREPLACE),
                (1, 8),
            ]),
        },
        _ => NameOp::Umask { mask: dice.pick(&[0o022, 0, 0o077, 0o027]) },
    }
}

/// Where a symbolic link is made, and looked for: in few places, half of the time, so that it is found.
fn link_spot(dice: &mut Dice) -> Spot {
    if dice.percent(50) { Spot::at(dice.pick(&["c", "c", "d/c", "e/c"])) } else { spot(dice) }
}

/// What it may have changed.
pub fn touches(op: &NameOp) -> Vec<Subject> {
    let links = |spots: &[&Spot]| spots.iter().map(|spot| super::op::link(spot)).collect();
    match op {
        NameOp::Link { from, to, .. } | NameOp::Rename { from, to, .. } => links(&[from, to]),
        NameOp::LinkOpen { slot, to } => vec![Subject::Slot(*slot), super::op::link(to)],
        NameOp::Symlink { at, .. }
        | NameOp::Readlink { at, .. }
        | NameOp::Unlink { at }
        | NameOp::Rmdir { at }
        | NameOp::Mkdir { at, .. }
        | NameOp::Mknod { at, .. } => links(&[at]),
        NameOp::Umask { .. } => Vec::new(),
    }
}

/// Does it.
pub fn perform(op: &NameOp, side: &Side) -> Vec<Seen> {
    if let NameOp::Readlink { at, length } = op {
        let path = c_path(&at.path);
        let mut buffer = vec![0u8; *length];
        let call = call!(libc::readlinkat(at.dirfd(side), path.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()));
        return Seen::with_bytes(call, &buffer);
    }
    vec![Seen::returned(change(op, side))]
}

fn change(op: &NameOp, side: &Side) -> Call {
    match op {
        NameOp::Link { from, to, follow } => {
            let (from_path, to_path) = (c_path(&from.path), c_path(&to.path));
            let flags = if *follow { libc::AT_SYMLINK_FOLLOW } else { 0 };
            call!(libc::linkat(from.dirfd(side), from_path.as_ptr(), to.dirfd(side), to_path.as_ptr(), flags))
        }
        NameOp::LinkOpen { slot, to } => {
            let path = c_path(&to.path);
            call!(libc::linkat(side.fd(*slot), c"".as_ptr(), to.dirfd(side), path.as_ptr(), libc::AT_EMPTY_PATH))
        }
        NameOp::Symlink { target, at } => {
            let (target, path) = (c_path(target), c_path(&at.path));
            call!(libc::symlinkat(target.as_ptr(), at.dirfd(side), path.as_ptr()))
        }
        NameOp::Unlink { at } => {
            let path = c_path(&at.path);
            call!(libc::unlinkat(at.dirfd(side), path.as_ptr(), 0))
        }
        NameOp::Rmdir { at } => {
            let path = c_path(&at.path);
            call!(libc::unlinkat(at.dirfd(side), path.as_ptr(), libc::AT_REMOVEDIR))
        }
        NameOp::Mkdir { at, mode } => {
            let path = c_path(&at.path);
            call!(libc::mkdirat(at.dirfd(side), path.as_ptr(), *mode))
        }
        NameOp::Mknod { at, mode, device } => {
            let path = c_path(&at.path);
            let number = libc::makedev(device.0, device.1);
            call!(libc::mknodat(at.dirfd(side), path.as_ptr(), *mode, number))
        }
        NameOp::Rename { from, to, flags } => {
            let (from_path, to_path) = (c_path(&from.path), c_path(&to.path));
            call!(libc::renameat2(from.dirfd(side), from_path.as_ptr(), to.dirfd(side), to_path.as_ptr(), *flags))
        }
        NameOp::Umask { mask } => {
            // What it returns is of the step before on one of the two sides.
            let _ = call!(libc::umask(*mask));
            Ok(0)
        }
        NameOp::Readlink { .. } => unreachable!("it returns more than a number"),
    }
}
