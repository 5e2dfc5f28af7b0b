//! The table: medians, ratios, and whether each row reaches its goal.

use super::results::Results;
use super::rows::{ALL, Row, Unit};

const PLAIN: usize = 0;
const RAIDFS: usize = 1;
const PEER: usize = 2;

/// One line: its cells.
type Line = Vec<String>;

/// The table for a terminal.
pub fn text(results: &Results, peers: bool) -> String {
    let lines = lines(results, peers);
    let width = |column: usize| lines.iter().map(|l| l[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..lines[0].len()).map(width).collect();
    let mut text = String::new();
    for line in &lines {
        for (column, cell) in line.iter().enumerate() {
            let room = widths[column];
            text += &if column == 0 { format!("{cell:<room$}") } else { format!("  {cell:>room$}") };
        }
        text = text.trim_end().to_owned() + "\n";
    }
    text
}

/// The table for a paper.
pub fn markdown(results: &Results, peers: bool) -> String {
    let lines = lines(results, peers);
    let mut text = String::new();
    for (n, line) in lines.iter().enumerate() {
        text += &format!("| {} |\n", line.join(" | "));
        if n == 0 {
            text += &format!("|---|{}\n", "---:|".repeat(line.len() - 1));
        }
    }
    text
}

fn lines(results: &Results, peers: bool) -> Vec<Line> {
    let mut head: Line = vec!["per second, unless it says otherwise".to_owned()];
    head.extend(results.systems.iter().cloned());
    head.push("raidfs : plain".to_owned());
    if peers {
        head.push("raidfs : GlusterFS".to_owned());
    }
    head.extend(["goal", "reached", "CPU us: raidfs"].map(str::to_owned));
    if peers {
        head.push("GlusterFS".to_owned());
    }
    let measured = ALL.iter().filter(|r| results.median(r, RAIDFS).is_some());
    std::iter::once(head).chain(measured.map(|row| line(row, results, peers))).collect()
}

fn line(row: &Row, results: &Results, peers: bool) -> Line {
    let unit = if row.unit == Unit::Megabytes { ", MB/s" } else { "" };
    let mut cells = vec![format!("{}{unit}", row.label)];
    let median = |system: usize| results.median(row, system);
    for system in 0..results.systems.len() {
        cells.push(median(system).map_or(String::new(), |m| row.write(m)));
    }
    let ratio = |to: usize| Some(times(row.times(median(RAIDFS)?, median(to)?)));
    cells.push(ratio(PLAIN).unwrap_or_default());
    if peers {
        cells.push(ratio(PEER).unwrap_or_default());
    }
    let (goal, reached) = judge(row, median(RAIDFS), if peers { median(PEER) } else { None });
    cells.extend([goal, reached.map_or(String::new(), |r| if r { "yes" } else { "NO" }.to_owned())]);
    let used = |system: usize| results.used(row, system).map_or(String::new(), |u| format!("{u:.0}"));
    cells.push(used(RAIDFS));
    if peers {
        cells.push(used(PEER));
    }
    cells
}

fn times(ratio: f64) -> String {
    if ratio < 10.0 { format!("{ratio:.2}x") } else { format!("{ratio:.0}x") }
}

/// The row's goal as a figure, and whether it is reached. The peer counts as measured in this run, or else as measured
/// on a quiet machine of this kind.
fn judge(row: &Row, ours: Option<f64>, peer: Option<f64>) -> (String, Option<bool>) {
    let from_peer = peer.or(row.goal.glusterfs).zip(row.goal.times);
    let from_peer = from_peer.map(|(figure, by)| if row.unit == Unit::Seconds { figure / by } else { figure * by });
    let wanted = match (from_peer, row.goal.moosefs) {
        (Some(a), Some(b)) if row.unit == Unit::Seconds => Some(a.min(b)),
        (Some(a), Some(b)) => Some(a.max(b)),
        (a, b) => a.or(b),
    };
    let Some(wanted) = wanted else { return (String::new(), None) };
    (row.write(wanted), ours.map(|ours| row.times(ours, wanted) >= 1.0))
}

#[cfg(test)]
mod tests {
    use super::super::rows::find;
    use super::*;

    #[test]
    fn goals_take_the_harder_of_both_peers() {
        // Three times 431 is more than MooseFS's 839.
        assert_eq!(judge(find("file-write"), Some(1_300.0), None), ("1293".to_owned(), Some(true)));
        assert_eq!(judge(find("file-write"), Some(830.0), Some(100.0)), ("839".to_owned(), Some(false)));
        // Less is better.
        assert_eq!(judge(find("git"), Some(5.0), Some(12.0)), ("4.00".to_owned(), Some(false)));
        assert_eq!(judge(find("git"), Some(5.0), None), ("5.30".to_owned(), Some(true)));
        assert_eq!(judge(find("seq-reread"), Some(5.0), Some(12.0)), (String::new(), None));
    }

    #[test]
    fn a_table_has_a_column_for_each_system() {
        let mut results = Results::new(["plain", "raidfs"].map(str::to_owned).to_vec());
        results.add("create", 0, 1_000.0, 0.1, 0.0);
        results.add("create", 1, 1_000.0, 0.5, 0.1);
        let table = markdown(&results, false);
        assert_eq!(table.lines().count(), 3);
        assert_eq!(table.lines().last(), Some("| create | 10000 | 2000 | 0.20x | 1878 | yes | 100 |"));
        assert!(text(&results, false).contains("0.20x"));
    }
}
