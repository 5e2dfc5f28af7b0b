//! Mount options, as `-o`, fstab and the mount table have them.

/// What the options say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// For mount(2): `MS_RDONLY` and the like.
    pub flags: libc::c_ulong,
    /// What the mount table is to call what is mounted, if not the cluster's name.
    pub source: Option<String>,
    /// A directory with entries may be mounted over.
    pub nonempty: bool,
    /// The session that is open is to be ended.
    pub takeover: bool,
    /// The mount is there already: it gets these options.
    pub remount: bool,
}

/// An option that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown mount option {0:?}")]
pub struct UnknownOption(String);

/// Links are not followed; since Linux 5.10, and not named by `libc`.
const MS_NOSYMFOLLOW: libc::c_ulong = 256;
/// Options that are one flag, with the word that takes it back.
const FLAGS: [(&str, &str, libc::c_ulong); 8] = [
    ("ro", "rw", libc::MS_RDONLY),
    ("nosuid", "suid", libc::MS_NOSUID),
    ("nodev", "dev", libc::MS_NODEV),
    ("noexec", "exec", libc::MS_NOEXEC),
    ("sync", "async", libc::MS_SYNCHRONOUS),
    ("nosymfollow", "symfollow", MS_NOSYMFOLLOW),
    ("nodiratime", "diratime", libc::MS_NODIRATIME),
    ("lazytime", "nolazytime", libc::MS_LAZYTIME),
];
/// Which reads move access times: one of these at most.
const ATIME: libc::c_ulong = libc::MS_NOATIME | libc::MS_RELATIME | libc::MS_STRICTATIME;
/// What is mounted, in the words of whoever mounts.
const SOURCE: &str = "fsname=";
/// Always so, or for those who read fstab, or of no meaning here: the kernel has no mandatory locks any more, and the
/// versions of inodes are for file systems that it exports itself.
const IGNORED: [&str; 23] = [
    "allow_other",
    "default_permissions",
    "acl",
    "user_xattr",
    "defaults",
    "_netdev",
    "auto",
    "noauto",
    "nofail",
    "user",
    "nouser",
    "users",
    "nousers",
    "owner",
    "noowner",
    "group",
    "nogroup",
    "silent",
    "loud",
    "mand",
    "nomand",
    "iversion",
    "noiversion",
];
/// The same, with a value. The numbers are the kernel's, and come back from the mount table.
const IGNORED_PREFIXES: [&str; 6] = ["x-", "X-", "comment=", "user=", "user_id=", "group_id="];

impl Options {
    /// Takes one comma-separated list of options; later ones win over earlier ones.
    pub fn add(&mut self, list: &str) -> Result<(), UnknownOption> {
        list.split(',').filter(|option| !option.is_empty()).try_for_each(|option| self.add_one(option))
    }

    /// What the mount table says of a mount that is there. Words of a security module, which has its own of it, are passed over.
    pub fn of_table(list: &str) -> Options {
        let mut options = Options::default();
        list.split(',').for_each(|option| drop(options.add_one(option)));
        options
    }

    fn add_one(&mut self, option: &str) -> Result<(), UnknownOption> {
        for (set, unset, flag) in FLAGS {
            if option == set {
                self.flags |= flag;
                return Ok(());
            }
            if option == unset {
                self.flags &= !flag;
                return Ok(());
            }
        }
        match option {
            "dirsync" => self.flags |= libc::MS_DIRSYNC,
            "noatime" => self.flags = self.flags & !ATIME | libc::MS_NOATIME,
            "strictatime" => self.flags = self.flags & !ATIME | libc::MS_STRICTATIME,
            "atime" | "relatime" | "norelatime" | "nostrictatime" => {
                self.flags = self.flags & !ATIME | libc::MS_RELATIME;
            }
            "nonempty" => self.nonempty = true,
            "takeover" => self.takeover = true,
            "remount" => self.remount = true,
            other if other.starts_with(SOURCE) => self.source = Some(other[SOURCE.len()..].to_owned()),
            other if IGNORED.contains(&other) => {}
            other if IGNORED_PREFIXES.iter().any(|prefix| other.starts_with(prefix)) => {}
            other => return Err(UnknownOption(other.to_owned())),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(lists: &[&str]) -> libc::c_ulong {
        let mut options = Options::default();
        lists.iter().for_each(|list| options.add(list).unwrap());
        options.flags
    }

    #[test]
    fn later_options_win() {
        let lists = ["ro,nosuid,noatime,x-systemd.automount,_netdev", "rw,suid,,nodev"];
        assert_eq!(flags(&lists), libc::MS_NODEV | libc::MS_NOATIME);
        assert_eq!(flags(&["noatime", "strictatime"]), libc::MS_STRICTATIME);
        assert_eq!(flags(&["strictatime,noatime,relatime"]), libc::MS_RELATIME);
        assert_eq!(flags(&["nosymfollow,ro,symfollow", "nosymfollow"]), libc::MS_RDONLY | MS_NOSYMFOLLOW);
    }

    #[test]
    fn what_fstab_and_the_mount_table_say_is_taken() {
        assert_eq!(flags(&["defaults,user=alice,comment=x,nofail"]), 0);
        assert_eq!(flags(&["silent,loud,mand,nomand,iversion,noiversion,lazytime,nolazytime"]), 0);
        let table = "rw,nosuid,relatime,user_id=0,group_id=0,default_permissions,allow_other";
        assert_eq!(flags(&[table]), libc::MS_NOSUID | libc::MS_RELATIME);
        let table = Options::of_table("rw,nosuid,relatime,seclabel,user_id=0,context=system_u:object_r:x_t:s0");
        assert_eq!(table.flags, libc::MS_NOSUID | libc::MS_RELATIME);
        assert_eq!(flags(&["acl,user_xattr"]), 0, "they are always on");
    }

    #[test]
    fn unknown_options_are_refused() {
        assert_eq!(Options::default().add("ro,frobnicate"), Err(UnknownOption("frobnicate".into())));
    }
}
