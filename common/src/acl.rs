//! POSIX access control lists: their form as extended attributes, and how they and the permission bits follow each other.
//! The rules are Linux's, the same on the servers and in a mount's prediction of them. Whoever may do what is the kernel's
//! matter.
//!
//! A list that says no more than permission bits can is not kept, so that one that is kept always says more, and always
//! agrees with the bits.

use crate::attr::FileKind;
use crate::error::FsError;
use crate::limits::ACL_ENTRIES_MAX;
use bytes::{BufMut, Bytes, BytesMut};

/// The extended attribute that holds who may use an inode.
pub const ACCESS: &[u8] = b"system.posix_acl_access";
/// The extended attribute that holds what is made in a directory is born with.
pub const DEFAULT: &[u8] = b"system.posix_acl_default";

/// The only version of the form.
const VERSION: u32 = 2;
const HEADER_BYTES: usize = 4;
const ENTRY_BYTES: usize = 8;
/// Stands where an entry is about nobody in particular.
const NOBODY: u32 = u32::MAX;
/// Read, write and execute.
const RWX: u16 = 0o7;

/// Whether an extended attribute is an access control list.
pub fn is_acl(name: &[u8]) -> bool {
    name == ACCESS || name == DEFAULT
}

/// Whom an entry is about. In the order in which they stand in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// The owner.
    Owner,
    /// This user.
    User(u32),
    /// The owning group.
    OwningGroup,
    /// This group.
    Group(u32),
    /// The most that users, groups and the owning group get.
    Mask,
    /// Everyone else.
    Other,
}

impl Who {
    fn parse(tag: u16, id: u32) -> Option<Who> {
        match tag {
            0x01 => Some(Who::Owner),
            0x02 => Some(Who::User(id)),
            0x04 => Some(Who::OwningGroup),
            0x08 => Some(Who::Group(id)),
            0x10 => Some(Who::Mask),
            0x20 => Some(Who::Other),
            _ => None,
        }
    }

    fn tag_and_id(self) -> (u16, u32) {
        match self {
            Who::Owner => (0x01, NOBODY),
            Who::User(id) => (0x02, id),
            Who::OwningGroup => (0x04, NOBODY),
            Who::Group(id) => (0x08, id),
            Who::Mask => (0x10, NOBODY),
            Who::Other => (0x20, NOBODY),
        }
    }

    /// Where its kind stands in a list.
    fn rank(self) -> u8 {
        match self {
            Who::Owner => 0,
            Who::User(_) => 1,
            Who::OwningGroup => 2,
            Who::Group(_) => 3,
            Who::Mask => 4,
            Who::Other => 5,
        }
    }

    fn is_one_of_many(self) -> bool {
        matches!(self, Who::User(_) | Who::Group(_))
    }
}

/// A list whose form is right: the owner, the owning group and everyone else once each, and a mask if it names anyone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acl(Vec<(Who, u16)>);

impl Acl {
    /// Reads the attribute's value; None if the list is empty, which means that there is to be none.
    pub fn decode(value: &[u8]) -> Result<Option<Acl>, FsError> {
        if value.is_empty() {
            return Ok(None);
        }
        let (version, entries) = value.split_first_chunk::<HEADER_BYTES>().ok_or(FsError::Invalid)?;
        if u32::from_le_bytes(*version) != VERSION {
            return Err(FsError::NotSupported);
        }
        if !entries.len().is_multiple_of(ENTRY_BYTES) {
            return Err(FsError::Invalid);
        }
        if entries.len() / ENTRY_BYTES > ACL_ENTRIES_MAX {
            return Err(FsError::ValueTooBig);
        }
        let entries: Option<Vec<_>> = entries.chunks_exact(ENTRY_BYTES).map(decode_entry).collect();
        match entries.ok_or(FsError::Invalid)? {
            entries if entries.is_empty() => Ok(None),
            entries if is_well_formed(&entries) => Ok(Some(Acl(entries))),
            _ => Err(FsError::Invalid),
        }
    }

    /// The attribute's value.
    pub fn encode(&self) -> Bytes {
        let mut value = BytesMut::with_capacity(HEADER_BYTES + self.0.len() * ENTRY_BYTES);
        value.put_u32_le(VERSION);
        for (who, perm) in &self.0 {
            let (tag, id) = who.tag_and_id();
            value.put_u16_le(tag);
            value.put_u16_le(*perm);
            value.put_u32_le(id);
        }
        value.freeze()
    }

    /// Its entries, in order: who, and read, write and execute as three bits.
    pub fn entries(&self) -> &[(Who, u16)] {
        &self.0
    }

    /// The nine permission bits that show this list: the mask stands for the group, if there is one.
    pub fn bits(&self) -> u16 {
        let mut bits = 0;
        for (who, perm) in &self.0 {
            match who {
                Who::Owner => bits |= perm << 6,
                Who::OwningGroup => bits |= perm << 3,
                Who::Mask => bits = bits & !0o070 | perm << 3,
                Who::Other => bits |= perm,
                Who::User(_) | Who::Group(_) => {}
            }
        }
        bits
    }

    /// Whether it says more than permission bits can.
    pub fn says_more(&self) -> bool {
        self.0.iter().any(|(who, _)| matches!(who, Who::User(_) | Who::Group(_) | Who::Mask))
    }

    /// The list after its inode got these permission bits.
    pub fn with_bits(mut self, perm: u16) -> Acl {
        let group = self.group_class();
        for (who, held) in &mut self.0 {
            match *who {
                Who::Owner => *held = perm >> 6 & RWX,
                Who::Other => *held = perm & RWX,
                who if who == group => *held = perm >> 3 & RWX,
                _ => {}
            }
        }
        self
    }

    /// The list that an inode is born with under this default list, if the program that makes it asks for these
    /// permission bits: nobody gets more than both allow.
    fn limited_to(mut self, perm: u16) -> Acl {
        let group = self.group_class();
        for (who, held) in &mut self.0 {
            match *who {
                Who::Owner => *held &= perm >> 6 & RWX,
                Who::Other => *held &= perm & RWX,
                who if who == group => *held &= perm >> 3 & RWX,
                _ => {}
            }
        }
        self
    }

    /// The entry that the group's permission bits stand for.
    fn group_class(&self) -> Who {
        let has_mask = self.0.iter().any(|(who, _)| *who == Who::Mask);
        if has_mask { Who::Mask } else { Who::OwningGroup }
    }
}

fn decode_entry(entry: &[u8]) -> Option<(Who, u16)> {
    let (tag, rest) = entry.split_first_chunk()?;
    let (perm, id) = rest.split_first_chunk()?;
    let (perm, id) = (u16::from_le_bytes(*perm), u32::from_le_bytes(id.try_into().ok()?));
    let who = Who::parse(u16::from_le_bytes(*tag), id)?;
    let names_nobody = who.is_one_of_many() && id == NOBODY;
    (perm & !RWX == 0 && !names_nobody).then_some((who, perm))
}

fn is_well_formed(entries: &[(Who, u16)]) -> bool {
    let in_order = entries.windows(2).all(|pair| {
        let (before, after) = (pair[0].0, pair[1].0);
        before.rank() < after.rank() || before.rank() == after.rank() && before.is_one_of_many()
    });
    let has = |who: Who| entries.iter().any(|(there, _)| *there == who);
    let names_anyone = entries.iter().any(|(who, _)| who.is_one_of_many());
    let whole = has(Who::Owner) && has(Who::OwningGroup) && has(Who::Other);
    in_order && whole && (has(Who::Mask) || !names_anyone)
}

/// What setting an access control list comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// The attribute's value from now on; None: there is none.
    pub value: Option<Bytes>,
    /// The inode's permission bits from now on, all twelve.
    pub perm: u16,
}

/// What setting the list `name` to `value` comes to, of an inode with these permission bits.
pub fn set(name: &[u8], value: &[u8], kind: FileKind, perm: u16) -> Result<Settled, FsError> {
    if kind == FileKind::Symlink {
        return Err(FsError::NotSupported);
    }
    let acl = Acl::decode(value)?;
    match acl {
        None => Ok(Settled { value: None, perm }),
        Some(_) if name == DEFAULT && kind != FileKind::Dir => Err(FsError::Denied),
        Some(acl) if name == DEFAULT => Ok(Settled { value: Some(acl.encode()), perm }),
        Some(acl) => {
            let value = acl.says_more().then(|| acl.encode());
            Ok(Settled { value, perm: perm & !0o777 | acl.bits() })
        }
    }
}

/// The access list's value after its inode got the permission bits `perm`; None if it stays as it is.
pub fn chmod(value: &[u8], perm: u16) -> Option<Bytes> {
    let acl = Acl::decode(value).ok()??;
    if acl.bits() == perm & 0o777 {
        return None;
    }
    Some(acl.with_bits(perm).encode())
}

/// The permission bits and extended attributes that an inode is born with in a directory with this default list, if
/// any; `perm` is what the program asks for, before its umask.
pub fn inherit(default: Option<&[u8]>, kind: FileKind, perm: u16, umask: u16) -> (u16, Vec<(Bytes, Bytes)>) {
    if kind == FileKind::Symlink {
        return (perm, Vec::new());
    }
    let Some(default) = default.and_then(|value| Acl::decode(value).ok().flatten()) else {
        return (perm & !umask, Vec::new());
    };
    let access = default.clone().limited_to(perm);
    let perm = perm & !0o777 | access.bits();
    let mut xattrs = Vec::new();
    if access.says_more() {
        xattrs.push((Bytes::from_static(ACCESS), access.encode()));
    }
    if kind == FileKind::Dir {
        xattrs.push((Bytes::from_static(DEFAULT), default.encode()));
    }
    (perm, xattrs)
}

/// Whether the list `name` with this value may be an inode's: what [`set`] and [`chmod`] leave behind.
pub fn fits(name: &[u8], value: &[u8], kind: FileKind, perm: u16) -> bool {
    matches!(set(name, value, kind, perm), Ok(settled) if settled.perm == perm && settled.value.as_deref() == Some(value))
}

#[cfg(test)]
#[path = "acl_tests.rs"]
mod tests;
