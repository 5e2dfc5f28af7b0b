//! Mount options, as `-o` and fstab have them.

use crate::vfs::Atime;
use fuser::MountOption;

/// What the options say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Handed to the kernel.
    pub kernel: Vec<MountOption>,
    /// Access times.
    pub atime: Atime,
    /// A directory with entries may be mounted over.
    pub nonempty: bool,
    /// The session that is open is to be ended.
    pub takeover: bool,
    /// The kernel sends no changes.
    pub read_only: bool,
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
            "ro" => self.read_only = true,
            "rw" => self.read_only = false,
            "nosuid" => self.set(MountOption::NoSuid, &MountOption::Suid),
            "suid" => self.set(MountOption::Suid, &MountOption::NoSuid),
            "nodev" => self.set(MountOption::NoDev, &MountOption::Dev),
            "dev" => self.set(MountOption::Dev, &MountOption::NoDev),
            "noexec" => self.set(MountOption::NoExec, &MountOption::Exec),
            "exec" => self.set(MountOption::Exec, &MountOption::NoExec),
            "noatime" | "nodiratime" => self.atime = Atime::Off,
            "relatime" | "atime" | "diratime" => self.atime = Atime::Relative,
            "sync" => self.set(MountOption::Sync, &MountOption::Async),
            "async" => self.set(MountOption::Async, &MountOption::Sync),
            "dirsync" => self.set(MountOption::DirSync, &MountOption::DirSync),
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

    fn set(&mut self, option: MountOption, opposite: &MountOption) {
        self.kernel.retain(|o| o != opposite && *o != option);
        self.kernel.push(option);
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
        assert!(!options.read_only);
        assert_eq!(options.atime, Atime::Off);
        assert_eq!(options.kernel, [MountOption::Suid, MountOption::NoDev]);
    }

    #[test]
    fn unknown_options_are_refused() {
        assert_eq!(Options::default().add("ro,frobnicate"), Err(UnknownOption("frobnicate".into())));
    }
}
