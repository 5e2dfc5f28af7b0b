//! Who asks, and what of their rights the kernel leaves to a FUSE file system to judge: whether set-id bits may stay.
//! Looked up only where there are such bits; everything else the kernel has checked before it asks.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;

/// Who asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// The thread that asks; 0 if it is unknown.
    pub pid: u32,
    /// Permission bits that what it makes does not get, unless a default access control list says otherwise.
    pub umask: u16,
}

/// A user namespace: the device and the number of its file in /proc.
type UserSpace = (u64, u64);

/// What a process has of what concerns set-id bits.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Credentials {
    uid: u32,
    groups: Vec<u32>,
    capabilities: u64,
}

/// Changes what belongs to others.
const CAP_FOWNER: u32 = 3;
/// Keeps set-id bits on what it changes.
const CAP_FSETID: u32 = 4;
/// Sees attributes that are for administrators.
const CAP_SYS_ADMIN: u32 = 21;

impl Caller {
    /// Whether the contents of set-id programs can be changed without a loss of the bits.
    pub fn keeps_set_ids(&self) -> bool {
        self.may(CAP_FSETID, self.credentials().as_ref())
    }

    /// Whether permissions of what belongs to `owner` can be changed.
    pub fn is_owner(&self, owner: u32) -> bool {
        self.uid == owner || self.may_with(CAP_FOWNER, self.credentials().as_ref(), owner, None)
    }

    /// Whether a set-gid bit may stay on what belongs to `owner` and `group`.
    pub fn keeps_set_gid(&self, owner: u32, group: u32) -> bool {
        if self.gid == group {
            return true;
        }
        let credentials = self.credentials();
        credentials.as_ref().is_some_and(|c| c.groups.contains(&group))
            || self.may_with(CAP_FSETID, credentials.as_ref(), owner, Some(group))
    }

    /// Whether `trusted.` attributes are listed.
    pub fn is_administrator(&self) -> bool {
        self.may(CAP_SYS_ADMIN, self.credentials().as_ref())
    }

    /// Everyone has all capabilities within a user namespace of their own: elsewhere they say nothing.
    fn may(&self, capability: u32, credentials: Option<&Credentials>) -> bool {
        credentials.map_or(self.uid == 0, |c| c.capabilities & 1 << capability != 0 && is_of_ours(self.pid))
    }

    /// The same of what belongs to `owner`, and `group` if that matters: those whom a user namespace has are in the hands of
    /// whoever has capabilities in it.
    fn may_with(&self, capability: u32, credentials: Option<&Credentials>, owner: u32, group: Option<u32>) -> bool {
        if self.may(capability, credentials) {
            return true;
        }
        credentials.is_some_and(|c| c.capabilities & 1 << capability != 0)
            && has(self.pid, "uid_map", owner)
            && group.is_none_or(|group| has(self.pid, "gid_map", group))
    }

    /// None if the process is unknown, or acts as somebody else for the moment (as a server of files does).
    fn credentials(&self) -> Option<Credentials> {
        let status = match self.pid {
            0 => return None,
            pid => fs::read_to_string(format!("/proc/{pid}/status")).ok()?,
        };
        parse(&status).filter(|credentials| credentials.uid == self.uid)
    }
}

/// Whether a thread is in this program's own user namespace. Not, if nobody can say.
fn is_of_ours(pid: u32) -> bool {
    static OURS: OnceLock<Option<UserSpace>> = OnceLock::new();
    let ours = OURS.get_or_init(|| user_space("self"));
    ours.is_some() && *ours == user_space(&pid.to_string())
}

fn user_space(process: &str) -> Option<UserSpace> {
    let file = fs::metadata(format!("/proc/{process}/ns/user")).ok()?;
    Some((file.dev(), file.ino()))
}

/// Whether the user namespace of a thread has this user or group.
fn has(pid: u32, map: &str, id: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/{map}")).is_ok_and(|text| maps(&text, id))
}

/// Reads a /proc/PID/uid_map: the first number there, the first number here, how many.
fn maps(text: &str, id: u32) -> bool {
    text.lines().any(|line| {
        let mut numbers = line.split_ascii_whitespace().skip(1).map(str::parse::<u32>);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(first)), Some(Ok(count))) => id.checked_sub(first).is_some_and(|n| n < count),
            _ => false,
        }
    })
}

/// Reads a /proc/PID/status.
fn parse(status: &str) -> Option<Credentials> {
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    // Real, effective, saved, and the one that counts with file systems.
    let uid = field("Uid:")?.split_ascii_whitespace().nth(3)?.parse().ok()?;
    let groups = field("Groups:")?.split_ascii_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
    let capabilities = u64::from_str_radix(field("CapEff:")?.trim(), 16).ok()?;
    Some(Credentials { uid, groups, capabilities })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_read() {
        let status = "Name:\tx\nUid:\t1\t2\t3\t1000\nGid:\t5\t5\t5\t5\nGroups:\t4 24 27 \nCapEff:\t00000000000000010\nThreads:\t1\n";
        let expected = Credentials { uid: 1000, groups: vec![4, 24, 27], capabilities: 1 << CAP_FSETID };
        assert_eq!(parse(status), Some(expected));
        assert_eq!(parse("Uid:\t0\t0\t0\t0\nGroups:\t\n"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn who_is_unknown_has_what_the_request_says() {
        let root = Caller::default();
        let user = Caller { uid: 1000, gid: 7, ..root };
        assert!(root.is_owner(5) && user.is_owner(1000) && !user.is_owner(0));
        assert!(root.keeps_set_ids() && root.keeps_set_gid(5, 9) && root.is_administrator());
        assert!(
            !user.keeps_set_ids()
                && user.keeps_set_gid(0, 7)
                && !user.keeps_set_gid(1000, 9)
                && !user.is_administrator()
        );
        // This process is not user 1000's, so its rights are not theirs.
        let other = Caller { pid: std::process::id(), uid: 123_456, ..user };
        assert!(!other.keeps_set_ids());
    }

    #[test]
    fn only_who_is_of_this_user_namespace_has_its_rights() {
        assert!(is_of_ours(std::process::id()));
        assert!(!is_of_ours(u32::MAX), "nobody");
    }

    #[test]
    fn a_user_namespace_has_whom_it_maps() {
        let map = "         0       1000          1\n         1     100000      65536\n";
        for (id, expected) in
            [(0, false), (999, false), (1000, true), (1001, false), (100_000, true), (165_535, true), (165_536, false)]
        {
            assert_eq!(maps(map, id), expected, "{id}");
        }
        assert!(maps("0 0 4294967295", 7) && !maps("", 7) && !maps("0 0", 0));
    }
}
