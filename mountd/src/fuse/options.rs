//! Mount options, as `-o` and fstab have them.

use crate::vfs::Atime;

/// What the options say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// For mount(2): `MS_RDONLY` and the like.
    pub flags: libc::c_ulong,
    /// Access times.
    pub atime: Atime,
    /// A directory with entries may be mounted over.
    pub nonempty: bool,
    /// The session that is open is to be ended.
    pub takeover: bool,
}

/// An option that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown mount option {0:?}")]
pub struct UnknownOption(String);

impl Options {
    /// Takes one comma-separated list of options; later ones win over earlier ones.
    pub fn add(&mut self, list: &str) -> Result<(), UnknownOption> {
        list.split(',').filter(|option| !option.is_empty()).try_for_each(|option| self.add_one(option))
    }

    fn add_one(&mut self, option: &str) -> Result<(), UnknownOption> {
        match option {
            "ro" => self.flags |= libc::MS_RDONLY,
            "rw" => self.flags &= !libc::MS_RDONLY,
            "nosuid" => self.flags |= libc::MS_NOSUID,
            "suid" => self.flags &= !libc::MS_NOSUID,
            "nodev" => self.flags |= libc::MS_NODEV,
            "dev" => self.flags &= !libc::MS_NODEV,
            "noexec" => self.flags |= libc::MS_NOEXEC,
            "exec" => self.flags &= !libc::MS_NOEXEC,
            "sync" => self.flags |= libc::MS_SYNCHRONOUS,
            "async" => self.flags &= !libc::MS_SYNCHRONOUS,
            "dirsync" => self.flags |= libc::MS_DIRSYNC,
            "noatime" => self.atime = Atime::Off,
            "relatime" | "atime" | "nodiratime" | "diratime" => self.atime = Atime::Relative,
            "nonempty" => self.nonempty = true,
            "takeover" => self.takeover = true,
            // Always so.
            "allow_other" | "default_permissions" | "defaults" => {}
            // For those who read fstab.
            "_netdev" | "auto" | "noauto" | "nofail" | "user" | "nouser" | "users" | "owner" | "group" => {}
            other if other.starts_with("x-") || other.starts_with("comment=") => {}
            other => return Err(UnknownOption(other.to_owned())),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_options_win() {
        let mut options = Options::default();
        options.add("ro,nosuid,noatime,x-systemd.automount,_netdev").unwrap();
        options.add("rw,suid,,nodev").unwrap();
        assert_eq!(options.atime, Atime::Off);
        assert_eq!(options.flags, libc::MS_NODEV);
    }

    #[test]
    fn unknown_options_are_refused() {
        assert_eq!(Options::default().add("ro,frobnicate"), Err(UnknownOption("frobnicate".into())));
    }
}
