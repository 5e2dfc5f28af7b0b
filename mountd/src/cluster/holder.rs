//! Who holds a mount session, in words that people read and that this program can read back: a session whose process
//! is certainly gone need not be waited for.

use raidfs_common::printed::printed;
use std::path::Path;

/// A process that holds a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// What it is for: a mount point, or `raidfs shell`.
    what: String,
    host: String,
    pid: u32,
    /// What tells this process from all others that had or will have its number: machine, boot, pid namespace, start.
    life: String,
}

impl Holder {
    /// This process.
    pub fn this_process(what: &str) -> Holder {
        let pid = std::process::id();
        Holder {
            what: what.to_owned(),
            host: read("/proc/sys/kernel/hostname"),
            pid,
            life: life_of(pid).unwrap_or_default(),
        }
    }

    /// Reads back what [`Holder`]'s Display wrote; None for other words.
    pub fn parse(text: &str) -> Option<Holder> {
        let (front, back) = text.strip_suffix(')')?.rsplit_once(" (pid ")?;
        let (pid, life) = back.split_once(", ")?;
        let (what, host) = front.rsplit_once(" on ")?;
        Some(Holder { what: what.into(), host: host.into(), pid: pid.parse().ok()?, life: life.into() })
    }

    /// Whether the process is certainly gone: it was one of this machine, in this boot and pid namespace, and no
    /// process with its number started when it did.
    pub fn is_gone(&self) -> bool {
        self.is_of_here() && life_of(self.pid).is_none_or(|life| life != self.life)
    }

    /// Its process, if that is certainly one of this machine, and lives.
    pub fn process_here(&self) -> Option<u32> {
        (self.is_of_here() && life_of(self.pid).is_some_and(|life| life == self.life)).then_some(self.pid)
    }

    /// Whether it is of this machine, in this boot and pid namespace.
    fn is_of_here(&self) -> bool {
        let here = Holder::this_process("");
        let place = |life: &str| life.rsplit_once('-').map(|(place, _)| place.to_owned());
        !here.life.is_empty() && self.host == here.host && place(&self.life) == place(&here.life)
    }

    /// For people: without what only tells lives apart.
    pub fn words(&self) -> String {
        format!("{} on {} (pid {})", printed(&self.what), printed(&self.host), self.pid)
    }

    /// A session's holder for people, whether it was written by [`Holder`]'s Display or not: a client may say anything.
    pub fn words_of(text: &str) -> String {
        Holder::parse(text).map_or_else(|| printed(text).to_string(), |holder| holder.words())
    }

    /// Whether it is the mount at this place of this machine. Of a place whose name is no text it has what can be read of it.
    pub fn is_at(&self, place: &Path) -> bool {
        self.what_here().is_some_and(|what| what == place.to_string_lossy())
    }

    /// What it is for, and whether that is on this machine.
    pub fn what_here(&self) -> Option<&str> {
        (self.host == read("/proc/sys/kernel/hostname")).then_some(&self.what)
    }
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} on {} (pid {}, {})", self.what, self.host, self.pid, self.life)
    }
}

fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default()
}

/// `boot-namespace-start` of a process; None if there is none, or it is a zombie.
fn life_of(pid: u32) -> Option<String> {
    let stat = read(format!("/proc/{pid}/stat"));
    // The name in parentheses may hold anything, parentheses included.
    let (_, rest) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    if matches!(fields.first(), Some(&("Z" | "X"))) {
        return None;
    }
    let start = fields.get(19)?;
    let boot = read("/proc/sys/kernel/random/boot_id");
    let namespace = std::fs::read_link("/proc/self/ns/pid").ok()?;
    let namespace: String = namespace.to_string_lossy().chars().filter(char::is_ascii_digit).collect();
    Some(format!("{}-{namespace}-{start}", boot.split('-').next().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_is_read_back_whatever_its_mount_point() {
        for what in ["/mnt/raidfs", "/mnt/a on b (pid 1, x)", "raidfs shell"] {
            let holder = Holder::this_process(what);
            let back = Holder::parse(&holder.to_string()).expect("its own words");
            assert_eq!(back, holder);
            assert_eq!(back.what_here(), Some(what));
        }
        assert_eq!(Holder::parse("somebody"), None);
        assert_eq!(Holder::words_of("a\nhealthy"), r"$'a\nhealthy'");
        assert_eq!(Holder::words_of("/m\nt on h (pid 1, x)"), r"$'/m\nt' on h (pid 1)");
    }

    #[test]
    fn only_a_process_of_this_boot_can_be_known_to_be_gone() {
        let this = Holder::this_process("/mnt");
        assert!(!this.is_gone());
        assert_eq!(this.process_here(), Some(std::process::id()));
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let mut dead = Holder { pid: child.id(), life: this.life.clone(), ..this.clone() };
        child.wait().unwrap();
        assert!(dead.is_gone());
        assert_eq!(dead.process_here(), None);
        // Another process has its number now.
        dead.pid = std::process::id();
        dead.life = format!("{}1", this.life);
        assert!(dead.is_gone());
        dead.host = "elsewhere".into();
        assert!(!dead.is_gone());
        assert_eq!(dead.process_here(), None);
        let other_boot = Holder { life: "ffffffff-1-1".into(), ..this.clone() };
        assert!(!other_boot.is_gone());
    }
}
