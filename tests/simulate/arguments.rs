//! What the command line says.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::str::FromStr;

/// How it is called.
pub const USAGE: &str =
    "simulate --seed N [--scene NAME] [--faults N] [--without N,N...] [--steps N] [--plant BUG] [--tell] [--turns FILE]
simulate --from N --seeds N [--sums] [--plant BUG] [--workers N]
simulate --scenes [--only NAME] --seeds N
simulate --plants [--only BUG] --seeds N";

/// See [`USAGE`].
#[derive(Clone, Debug, Default)]
pub struct Arguments {
    /// One run, in this process.
    pub seed: Option<u64>,
    /// Several: from this seed on,
    pub from: u64,
    /// so many.
    pub seeds: u64,
    /// So many at the same time.
    pub workers: usize,
    /// So many faults, not as many as the seed says.
    pub faults: Option<u64>,
    /// Parts of the script that are left out.
    pub without: BTreeSet<usize>,
    /// How often each program does something.
    pub steps: Option<u64>,
    /// The scene that is played.
    pub scene: Option<String>,
    /// Everything is told.
    pub told: bool,
    /// The sum of each run is said.
    pub sums: bool,
    /// The bug that is planted.
    pub plant: Option<String>,
    /// All bugs, one after the other.
    pub plants: bool,
    /// All scenes, one after the other.
    pub scenes: bool,
    /// Only the one of this name.
    pub only: Option<String>,
    /// Where every turn is written down.
    pub turns: Option<PathBuf>,
}

impl Arguments {
    /// Reads them; an error says what is wrong.
    pub fn read() -> Result<Arguments, String> {
        let mut found = Arguments { from: 1, seeds: 100, ..Arguments::default() };
        found.workers = std::thread::available_parallelism().map_or(1, usize::from);
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            match word.as_str() {
                "--tell" => found.told = true,
                "--plants" => found.plants = true,
                "--scenes" => found.scenes = true,
                "--sums" => found.sums = true,
                _ => {
                    let value = words.next().ok_or_else(|| format!("{word} is not known, or wants a value"))?;
                    found.take(&word, &value)?;
                }
            }
        }
        Ok(found)
    }

    fn take(&mut self, word: &str, value: &str) -> Result<(), String> {
        match word {
            "--seed" => self.seed = Some(number(word, value)?),
            "--from" => self.from = number(word, value)?,
            "--seeds" => self.seeds = number(word, value)?,
            "--workers" => self.workers = number(word, value)?,
            "--faults" => self.faults = Some(number(word, value)?),
            "--steps" => self.steps = Some(number(word, value)?),
            "--without" => self.without = value.split(',').map(|n| number(word, n)).collect::<Result<_, _>>()?,
            "--turns" => self.turns = Some(PathBuf::from(value)),
            "--plant" => self.plant = Some(value.to_owned()),
            "--scene" => self.scene = Some(value.to_owned()),
            "--only" => self.only = Some(value.to_owned()),
            _ => return Err(format!("{word} is not known")),
        }
        Ok(())
    }
}

fn number<T: FromStr>(word: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("{word} needs a number, not {value:?}"))
}
