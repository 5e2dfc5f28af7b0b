//! What was measured: every round of every row on every system, and medians of it.

use super::rows::Row;
use std::collections::BTreeMap;

/// One timed step.
#[derive(Clone, Copy, Debug)]
struct Sample {
    amount: f64,
    seconds: f64,
    /// Processor time of the system's own processes, in seconds.
    used: f64,
}

/// All of it.
pub struct Results {
    /// The systems' names, in the order of the columns.
    pub systems: Vec<String>,
    samples: BTreeMap<(&'static str, usize), Vec<Sample>>,
}

impl Results {
    /// Nothing yet.
    pub fn new(systems: Vec<String>) -> Results {
        Results { systems, samples: BTreeMap::new() }
    }

    /// Adds one timed step.
    pub fn add(&mut self, row: &'static str, system: usize, amount: f64, seconds: f64, used: f64) {
        self.samples.entry((row, system)).or_default().push(Sample { amount, seconds, used });
    }

    /// The column of the system of this name, if it was measured.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.systems.iter().position(|s| s == name)
    }

    /// The median of the row's figures on a system.
    pub fn median(&self, row: &Row, system: usize) -> Option<f64> {
        let samples = self.samples.get(&(row.id, system))?;
        median(samples.iter().map(|s| row.figure(s.amount, s.seconds)).collect())
    }

    /// The median of the processor time that one operation (or megabyte) took in the system's processes, in
    /// microseconds.
    pub fn used(&self, row: &Row, system: usize) -> Option<f64> {
        let samples = self.samples.get(&(row.id, system))?;
        median(samples.iter().map(|s| s.used * 1e6 / row.units(s.amount)).collect())
    }
}

/// The middle one, or the mean of both in the middle.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    match values.len() {
        0 => None,
        n if n % 2 == 1 => Some(values[half]),
        _ => Some(f64::midpoint(values[half - 1], values[half])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn processor_time_is_per_operation_or_megabyte() {
        let mut results = Results::new(vec!["a".to_owned()]);
        results.add("create", 0, 1_000.0, 2.0, 0.5);
        results.add("seq-write", 0, 2e6, 2.0, 0.5);
        assert_eq!(results.used(super::super::rows::find("create"), 0), Some(500.0));
        assert_eq!(results.used(super::super::rows::find("seq-write"), 0), Some(250_000.0));
        assert_eq!(results.median(super::super::rows::find("create"), 0), Some(500.0));
    }
}
