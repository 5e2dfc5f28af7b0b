//! What `probe instep` is told.

use super::worker::Roots;
use std::path::PathBuf;

/// The command line.
pub struct Options {
    /// The two sides.
    pub roots: Roots,
    /// Where the numbers come from; printed, so that a run can be made again.
    pub seed: u64,
    /// How many operations are made.
    pub ops: usize,
    /// By how many processes.
    pub processes: u8,
    /// Histories that were kept, and are made first.
    pub replay: Vec<String>,
    /// A command for the shell that mounts the mount anew.
    pub remount: Option<String>,
    /// Each kind of operation must have succeeded at some time.
    pub all_kinds: bool,
}

impl Options {
    /// Reads them.
    pub fn parse(words: &[&str]) -> Result<Options, String> {
        let (mut mount, mut local) = (None, None);
        let mut options = Options {
            roots: Roots { mount: PathBuf::new(), local: PathBuf::new(), sabotage: false, same: false },
            seed: u64::from(std::process::id()) << 20,
            ops: 5000,
            processes: 1,
            replay: Vec::new(),
            remount: None,
            all_kinds: false,
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().copied().ok_or_else(|| format!("{word} needs a value"));
            let number = |text: &str| text.parse::<u64>().map_err(|_| format!("{text:?} is no number"));
            match *word {
                "--mount" => mount = Some(value()?),
                "--local" => local = Some(value()?),
                "--seed" => options.seed = number(value()?)?,
                "--ops" => options.ops = number(value()?)? as usize,
                "--processes" => options.processes = number(value()?)?.clamp(1, 8) as u8,
                "--replay" => options.replay.push(value()?.to_owned()),
                "--remount" => options.remount = Some(value()?.to_owned()),
                "--all-kinds" => options.all_kinds = true,
                "--sabotage" => options.roots.sabotage = true,
                "--same" => options.roots.same = true,
                other => return Err(format!("{other} is not known; see tests/src/instep/mod.rs")),
            }
        }
        // The trees become the root of the world: a path that is relative would lead elsewhere.
        let whole = |path: &str| std::fs::canonicalize(path).map_err(|e| format!("{path}: {e}"));
        options.roots.mount = whole(mount.ok_or("--mount DIR is missing")?)?;
        options.roots.local = whole(local.ok_or("--local DIR is missing")?)?;
        Ok(options)
    }
}
