//! A run that fails made smaller: faults are left out, and the programs do less, for as long as it still fails. It may
//! fail in another way then; that is a failure, too.

use super::clients::STEPS;
use super::faults::Script;
use super::many::{child, option};
use std::collections::BTreeSet;

/// Runs that this may take.
const TRIES_MAX: usize = 40;
/// Lines of the history that are shown: what comes last is what matters.
const LINES_MAX: usize = 200;

struct Search<'a> {
    seed: u64,
    more: &'a [String],
    tries: usize,
}

#[derive(Clone)]
struct Smaller {
    without: BTreeSet<usize>,
    steps: u64,
}

impl Smaller {
    fn words(&self) -> Vec<String> {
        let mut words = option("--steps", self.steps).to_vec();
        if !self.without.is_empty() {
            let list: Vec<String> = self.without.iter().map(ToString::to_string).collect();
            words.extend(option("--without", list.join(",")));
        }
        words
    }
}

impl Search<'_> {
    fn fails(&mut self, smaller: &Smaller) -> bool {
        if self.tries == TRIES_MAX {
            return false;
        }
        self.tries += 1;
        let words = [self.more, &smaller.words()].concat();
        child(self.seed, &words).is_ok_and(|output| !output.status.success())
    }
}

/// Makes a failing seed's history smaller, and prints it.
pub fn shrink(seed: u64, more: &[String]) {
    let mut search = Search { seed, more, tries: 0 };
    let mut found = Smaller { without: BTreeSet::new(), steps: STEPS };
    let parts = Script::of(seed, None).parts();
    // From the end: what comes late has most often nothing to do with it.
    for part in (0..parts).rev() {
        let mut smaller = found.clone();
        smaller.without.insert(part);
        if search.fails(&smaller) {
            found = smaller;
        }
    }
    loop {
        let smaller = Smaller { steps: found.steps / 2, ..found.clone() };
        if smaller.steps == 0 || !search.fails(&smaller) {
            break;
        }
        found = smaller;
    }
    let words = [more, &found.words(), &["--tell".to_owned()]].concat();
    println!("seed {seed}, made smaller in {} runs: simulate --seed {seed} {}", search.tries, words.join(" "));
    if let Ok(output) = child(seed, &words) {
        let text = String::from_utf8_lossy(&output.stdout);
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("ok ")).collect();
        lines.iter().skip(lines.len().saturating_sub(LINES_MAX)).for_each(|line| println!("  {line}"));
    }
}
