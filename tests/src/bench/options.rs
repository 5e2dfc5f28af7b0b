//! What to measure: the command line of the benchmark.

use super::{Failed, rows};
use std::path::PathBuf;

const HELP: &str = "\
bench: the same work on a plain directory, on raidfs and (with --peers) on GlusterFS and MooseFS, on one disk

  --peers           measure GlusterFS and MooseFS too; their packages must be installed
  --only A,B        only these rows or groups (see below)
  --rounds N        rounds; the table shows medians [default: 3]
  --programs DIR    where raidfs, fsd and mountd are [default: beside this program]
  --work DIR        where the disk image and the mounts are made, and removed again [default: target/bench]
  --base-port P     the first of raidfs's ports [default: 7600]
  --paper FILE      write the table there too, if everything was measured
  --inside COMMAND  measure nothing: run a shell command, $RAIDFS, $PLAIN, $DISK ... set (for profiling)
";

/// What was asked for.
pub struct Options {
    /// GlusterFS and MooseFS too.
    pub peers: bool,
    /// Rows or groups; empty: all.
    only: Vec<String>,
    /// How often everything is done.
    pub rounds: usize,
    /// Where the programs are.
    pub programs: PathBuf,
    /// Where the image and the mounts are made.
    pub work: PathBuf,
    /// The first of raidfs's ports.
    pub base_port: u16,
    /// Where the table is written.
    pub paper: Option<PathBuf>,
    /// A shell command to run instead of measuring.
    pub inside: Option<String>,
}

impl Options {
    /// Reads the arguments; nothing to do after `--help`.
    pub fn parse(arguments: &[String]) -> Result<Option<Options>, Failed> {
        let beside = std::env::current_exe().ok().and_then(|p| p.parent().map(PathBuf::from)).unwrap_or_default();
        let mut options = Options {
            peers: false,
            only: Vec::new(),
            rounds: 3,
            programs: beside,
            work: PathBuf::from("target/bench"),
            base_port: 7600,
            paper: None,
            inside: None,
        };
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().cloned().ok_or_else(|| format!("{word} needs a value; see --help"));
            match word.as_str() {
                "--help" => {
                    print!("{HELP}{}", rows::listed());
                    return Ok(None);
                }
                "--peers" => options.peers = true,
                "--only" => {
                    let list = value()?;
                    options.only = list.split(',').filter(|w| !w.is_empty()).map(str::to_owned).collect();
                }
                "--rounds" => options.rounds = number(&value()?)?,
                "--programs" => options.programs = value()?.into(),
                "--work" => options.work = value()?.into(),
                "--base-port" => options.base_port = number(&value()?)?,
                "--paper" => options.paper = Some(value()?.into()),
                "--inside" => options.inside = Some(value()?),
                _ => return Err(format!("{word:?} is not known; see --help")),
            }
        }
        for word in &options.only {
            if !rows::ALL.iter().any(|r| r.id == word || r.group == word) {
                return Err(format!("there is no row or group {word:?}; see --help"));
            }
        }
        Ok(Some(options))
    }

    /// Whether this row is asked for.
    pub fn wants(&self, row: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|w| w == row || w == rows::find(row).group)
    }

    /// Whether every row is.
    pub fn is_whole(&self) -> bool {
        self.only.is_empty()
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, Failed> {
    text.parse().map_err(|_| format!("{text:?} is not a number that fits"))
}
