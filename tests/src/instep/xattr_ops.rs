//! Operations on extended attributes of all namespaces, and on access control lists by their raw attributes.

use super::names::{Spot, Subject, c_path, likely, slot, spot};
use super::seen::Seen;
use super::side::Side;
use super::sys::{Call, call};
use crate::dice::Dice;
use serde::{Deserialize, Serialize};
use std::ffi::{CStr, CString};

/// An operation on extended attributes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "named as the system calls and their arguments are")]
pub enum XattrOp {
    Set {
        of: Subject,
        name: String,
        length: usize,
        fill: u8,
        flags: i32,
    },
    Get {
        of: Subject,
        name: String,
        size: usize,
    },
    List {
        of: Subject,
        size: usize,
    },
    Remove {
        of: Subject,
        name: String,
    },
    SetAcl {
        of: Subject,
        default: bool,
        entries: Vec<(u16, u16, u32)>,
    },
    /// `version` 2 or 3; others are none.
    SetCapability {
        of: Subject,
        version: u8,
        permitted: u32,
        effective: bool,
    },
}

/// The attribute that says what a program may do whoever runs it.
pub const CAPABILITY: &str = "security.capability";

const NAMES: [(u64, &str); 15] = [
    (20, "user.a"),
    (16, "user.b"),
    (8, "trusted.t"),
    (6, "security.s"),
    (5, CAPABILITY),
    (2, "user.{250}"),
    (1, "user.{251}"),
    (1, "user."),
    (1, "user"),
    (1, "nothing.x"),
    (1, ""),
    (2, "user.{bad}"),
    (3, "system.posix_acl_access"),
    (3, "system.posix_acl_default"),
    (1, "system.other"),
];

fn any_subject(dice: &mut Dice) -> Subject {
    // There is no *at form of these calls that old kernels know.
    let at = if dice.percent(40) { likely(dice) } else { Spot { base: None, ..spot(dice) } };
    match dice.below(10) {
        0..=4 => Subject::Path(at),
        5..=6 => Subject::Link(at),
        _ => Subject::Slot(slot(dice)),
    }
}

/// What an operation is about.
pub fn subject(op: &XattrOp) -> &Subject {
    match op {
        XattrOp::Set { of, .. }
        | XattrOp::Get { of, .. }
        | XattrOp::List { of, .. }
        | XattrOp::Remove { of, .. }
        | XattrOp::SetAcl { of, .. }
        | XattrOp::SetCapability { of, .. } => of,
    }
}

/// Any of them.
pub fn random(dice: &mut Dice) -> XattrOp {
    let name = if dice.percent(40) { "user.a" } else { dice.weighed(&NAMES) };
    let (of, name) = (any_subject(dice), name.to_owned());
    match dice.below(100) {
        0..=37 => XattrOp::Set {
            of,
            length: match name.as_str() {
                "user.a" => {
                    dice.weighed(&[(10, 5), (6, 0), (4, 100), (2, 3000), (1, 20_000), (1, 65_536), (1, 65_537)])
                }
                // Two that are that long are more than all of one file may be on the mount.
                _ => dice.weighed(&[(10, 5), (6, 0), (4, 100), (2, 3000), (1, 65_537)]),
            },
            name,
            fill: b'a' + dice.below(26) as u8,
            flags: dice.weighed(&[(6, 0), (2, libc::XATTR_CREATE), (2, libc::XATTR_REPLACE), (1, 3)]),
        },
        38..=57 => XattrOp::Get { of, name, size: dice.pick(&[65_536, 0, 1, 100]) },
        58..=72 => XattrOp::List { of, size: dice.pick(&[65_536, 0, 1, 20]) },
        73..=80 => XattrOp::Remove { of, name },
        81..=88 => XattrOp::SetCapability {
            of,
            version: dice.pick(&[2, 2, 2, 3, 3, 1, 4]),
            permitted: dice.below(256) as u32,
            effective: dice.percent(50),
        },
        _ => XattrOp::SetAcl { of, default: dice.percent(40), entries: acl(dice) },
    }
}

const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;
const NOBODY: u32 = u32::MAX;

/// Entries of an access control list: tag, permissions, id. Mostly a right one.
fn acl(dice: &mut Dice) -> Vec<(u16, u16, u32)> {
    let tags = [(USER_OBJ, NOBODY), (USER, 1001), (USER, 1002), (GROUP_OBJ, NOBODY), (GROUP, 1003), (MASK, NOBODY)];
    let all = tags.into_iter().chain([(OTHER, NOBODY)]);
    let mut entries: Vec<_> = all.map(|(tag, id)| (tag, dice.below(8) as u16, id)).collect();
    let missing = dice.pick(&[USER_OBJ, GROUP_OBJ, MASK, OTHER]);
    match dice.below(10) {
        0 => entries.retain(|e| e.0 != missing),
        1 => entries.clear(),
        2 => entries.swap(1, 2),
        3..=5 => entries.retain(|e| matches!(e.0, USER_OBJ | GROUP_OBJ | OTHER)),
        6 => entries.retain(|e| e.2 != 1002),
        7 => entries.retain(|e| e.0 != GROUP),
        _ => {}
    }
    entries
}

/// The attribute's value as the kernel takes it: a version, then the entries.
pub fn acl_bytes(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut out = 2u32.to_le_bytes().to_vec();
    for (tag, perm, id) in entries {
        out.extend_from_slice(&tag.to_le_bytes());
        out.extend_from_slice(&perm.to_le_bytes());
        out.extend_from_slice(&id.to_le_bytes());
    }
    out
}

/// Capabilities of a file as the kernel takes them: `struct vfs_cap_data`, of version 3 `struct vfs_ns_cap_data`.
fn capability(version: u8, permitted: u32, effective: bool) -> Vec<u8> {
    let words = [u32::from(version) << 24 | u32::from(effective), permitted, 0, 0, 0, 0];
    let of_use = if version == 3 { &words[..] } else { &words[..5] };
    of_use.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Does it.
pub fn perform(op: &XattrOp, side: &Side) -> Vec<Seen> {
    match op {
        XattrOp::Set { of, name, length, fill, flags } => {
            let value = vec![*fill; *length];
            vec![Seen::returned(set(of, name, &value, *flags, side))]
        }
        XattrOp::SetAcl { of, default, entries } => {
            let name = if *default { "system.posix_acl_default" } else { "system.posix_acl_access" };
            vec![Seen::returned(set(of, name, &acl_bytes(entries), 0, side))]
        }
        XattrOp::SetCapability { of, version, permitted, effective } => {
            vec![Seen::returned(set(of, CAPABILITY, &capability(*version, *permitted, *effective), 0, side))]
        }
        XattrOp::Get { of, name, size } => {
            let mut buffer = vec![0u8; *size];
            let (name, at) = (c_path(name), buffer.as_mut_ptr().cast());
            let call = by_link(
                of,
                side,
                |fd| call!(libc::fgetxattr(fd, name.as_ptr(), at, *size)),
                |path| call!(libc::getxattr(path, name.as_ptr(), at, *size)),
                |path| call!(libc::lgetxattr(path, name.as_ptr(), at, *size)),
            );
            Seen::with_bytes(call, &buffer)
        }
        XattrOp::List { of, size } => list(of, *size, side),
        XattrOp::Remove { of, name } => {
            let name = c_path(name);
            vec![Seen::returned(by_link(
                of,
                side,
                |fd| call!(libc::fremovexattr(fd, name.as_ptr())),
                |path| call!(libc::removexattr(path, name.as_ptr())),
                |path| call!(libc::lremovexattr(path, name.as_ptr())),
            ))]
        }
    }
}

fn by_link(
    of: &Subject,
    side: &Side,
    by_fd: impl FnOnce(i32) -> Call,
    by_path: impl FnOnce(*const i8) -> Call,
    by_link: impl FnOnce(*const i8) -> Call,
) -> Call {
    of.with(side, by_fd, |_, path, flags| if flags == 0 { by_path(path) } else { by_link(path) })
}

fn set(of: &Subject, name: &str, value: &[u8], flags: i32, side: &Side) -> Call {
    let (name, at) = (c_path(name), value.as_ptr().cast());
    by_link(
        of,
        side,
        |fd| call!(libc::fsetxattr(fd, name.as_ptr(), at, value.len(), flags)),
        |path| call!(libc::setxattr(path, name.as_ptr(), at, value.len(), flags)),
        |path| call!(libc::lsetxattr(path, name.as_ptr(), at, value.len(), flags)),
    )
}

/// The names; in which order is nobody's promise.
fn list(of: &Subject, size: usize, side: &Side) -> Vec<Seen> {
    let mut buffer = vec![0u8; size];
    let at = buffer.as_mut_ptr().cast();
    let call = by_link(
        of,
        side,
        |fd| call!(libc::flistxattr(fd, at, size)),
        |path| call!(libc::listxattr(path, at, size)),
        |path| call!(libc::llistxattr(path, at, size)),
    );
    let length = call.map_or(0, |n| buffer.len().min(n as usize));
    let mut names: Vec<&[u8]> = buffer[..length].split(|b| *b == 0).collect();
    names.sort_unstable();
    vec![Seen::returned(call), Seen::bytes("names", names.join(&b' '))]
}

/// All extended attributes of what a path names, a link itself if it is one, as words.
pub fn all(path: &CStr) -> String {
    let mut buffer = vec![0u8; 65_536];
    let listed = call!(libc::llistxattr(path.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()));
    let length = match listed {
        Ok(length) => length as usize,
        Err(errno) => return super::sys::errno_name(errno),
    };
    let mut names: Vec<&[u8]> = buffer[..length].split(|b| *b == 0).filter(|name| !name.is_empty()).collect();
    names.sort_unstable();
    let mut text = String::new();
    for name in names {
        let mut value = vec![0u8; 65_536];
        let c_name = CString::new(name).expect("split at NULs");
        let call = call!(libc::lgetxattr(path.as_ptr(), c_name.as_ptr(), value.as_mut_ptr().cast(), value.len()));
        let shown = match call {
            Ok(length) => format!("{length} bytes {:x}", sum(&value[..length as usize])),
            Err(errno) => super::sys::errno_name(errno),
        };
        text.push_str(&format!("{}: {shown}; ", String::from_utf8_lossy(name)));
    }
    text
}

/// A sum of bytes that tells them apart.
pub fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, b| (sum ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}
