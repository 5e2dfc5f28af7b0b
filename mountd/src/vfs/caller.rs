//! Who asks, and what of their rights the kernel leaves to a FUSE file system to judge: whether set-id bits may stay.
//! Looked up only where there are such bits; everything else the kernel has checked before it asks.

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
        self.uid == owner || self.may(CAP_FOWNER, self.credentials().as_ref())
    }

    /// Whether a set-gid bit may stay on what belongs to `group`.
    pub fn keeps_set_gid(&self, group: u32) -> bool {
        if self.gid == group {
            return true;
        }
        let credentials = self.credentials();
        credentials.as_ref().is_some_and(|c| c.groups.contains(&group)) || self.may(CAP_FSETID, credentials.as_ref())
    }

    /// Whether `trusted.` attributes are listed.
    pub fn is_administrator(&self) -> bool {
        self.may(CAP_SYS_ADMIN, self.credentials().as_ref())
    }

    fn may(&self, capability: u32, credentials: Option<&Credentials>) -> bool {
        credentials.map_or(self.uid == 0, |c| c.capabilities & 1 << capability != 0)
    }

    /// None if the process is unknown, or acts as somebody else for the moment (as a server of files does).
    fn credentials(&self) -> Option<Credentials> {
        let status = match self.pid {
            0 => return None,
            pid => std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?,
        };
        parse(&status).filter(|credentials| credentials.uid == self.uid)
    }
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
        assert!(root.keeps_set_ids() && root.keeps_set_gid(9) && root.is_administrator());
        assert!(!user.keeps_set_ids() && user.keeps_set_gid(7) && !user.keeps_set_gid(9) && !user.is_administrator());
        // This process is not user 1000's, so its rights are not theirs.
        let other = Caller { pid: std::process::id(), uid: 123_456, ..user };
        assert!(!other.keeps_set_ids());
    }
}
