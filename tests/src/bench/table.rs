//! The table: medians, ratios, and whether each row reaches its goal.

use super::results::Results;
use super::rows::{ALL, Row, Unit};
use super::{glusterfs, moosefs};

const PLAIN: usize = 0;
const RAIDFS: usize = 1;
/// The first of the peers, if there are any.
const PEERS: usize = 2;

/// One line: its cells.
type Line = Vec<String>;

/// The table for a terminal.
pub fn text(results: &Results) -> String {
    let lines = lines(results);
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
pub fn markdown(results: &Results) -> String {
    let lines = lines(results);
    let mut text = String::new();
    for (n, line) in lines.iter().enumerate() {
        text += &format!("| {} |\n", line.join(" | "));
        if n == 0 {
            text += &format!("|---|{}\n", "---:|".repeat(line.len() - 1));
        }
    }
    text
}

fn lines(results: &Results) -> Vec<Line> {
    let peers = &results.systems[PEERS..];
    let mut head: Line = vec!["per second, unless it says otherwise".to_owned()];
    head.extend(results.systems.iter().cloned());
    head.push("raidfs : plain".to_owned());
    head.extend(peers.iter().map(|p| format!("raidfs : {p}")));
    head.extend(["goal", "reached", "CPU us: raidfs"].map(str::to_owned));
    head.extend(peers.iter().cloned());
    let measured = ALL.iter().filter(|r| results.median(r, RAIDFS).is_some());
    std::iter::once(head).chain(measured.map(|row| line(row, results))).collect()
}

fn line(row: &Row, results: &Results) -> Line {
    let unit = if row.unit == Unit::Megabytes { ", MB/s" } else { "" };
    let mut cells = vec![format!("{}{unit}", row.label)];
    let systems = 0..results.systems.len();
    let median = |system: usize| results.median(row, system);
    cells.extend(systems.clone().map(|s| median(s).map_or(String::new(), |m| row.write(m))));
    let ratio = |to: usize| Some(times(row.times(median(RAIDFS)?, median(to)?)));
    cells.extend(systems.clone().filter(|&s| s != RAIDFS).map(|s| ratio(s).unwrap_or_default()));
    let peer = |name: &str| median(results.column(name)?);
    let peers = Peers { glusterfs: peer(glusterfs::NAME), moosefs: peer(moosefs::NAME) };
    let (goal, reached) = judge(row, median(RAIDFS), peers);
    cells.extend([goal, reached.map_or(String::new(), |r| if r { "yes" } else { "NO" }.to_owned())]);
    let used = |system: usize| results.used(row, system).map_or(String::new(), |u| format!("{u:.0}"));
    cells.extend(systems.filter(|&s| s != PLAIN).map(used));
    cells
}

fn times(ratio: f64) -> String {
    if ratio < 10.0 { format!("{ratio:.2}x") } else { format!("{ratio:.0}x") }
}

/// A row's figures on the peers, if they were measured in this run.
#[derive(Clone, Copy, Default)]
struct Peers {
    glusterfs: Option<f64>,
    moosefs: Option<f64>,
}

/// The row's goal as a figure, and whether it is reached. A peer counts as measured in this run, or else as measured on
/// a quiet machine of this kind.
fn judge(row: &Row, ours: Option<f64>, peers: Peers) -> (String, Option<bool>) {
    let glusterfs = peers.glusterfs.or(row.goal.glusterfs).zip(row.goal.times);
    let glusterfs = glusterfs.map(|(figure, by)| if row.unit == Unit::Seconds { figure / by } else { figure * by });
    let moosefs = row.goal.moosefs.map(|usual| peers.moosefs.unwrap_or(usual));
    let wanted = match (glusterfs, moosefs) {
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

    fn peers(glusterfs: f64, moosefs: f64) -> Peers {
        Peers { glusterfs: Some(glusterfs), moosefs: Some(moosefs) }
    }

    #[test]
    fn goals_take_the_harder_of_both_peers() {
        assert_eq!(judge(find("file-write"), Some(1_300.0), peers(400.0, 900.0)), ("1200".to_owned(), Some(true)));
        assert_eq!(judge(find("file-write"), Some(1_300.0), peers(400.0, 1_400.0)), ("1400".to_owned(), Some(false)));
        // Less is better.
        assert_eq!(judge(find("git"), Some(5.0), peers(12.0, 6.0)), ("4.00".to_owned(), Some(false)));
        assert_eq!(judge(find("git"), Some(3.0), peers(12.0, 3.5)), ("3.50".to_owned(), Some(true)));
    }

    #[test]
    fn moosefs_counts_for_the_rows_that_say_so() {
        assert_eq!(judge(find("create"), Some(1_300.0), peers(400.0, 9_000.0)), ("1200".to_owned(), Some(true)));
        assert_eq!(judge(find("seq-reread"), Some(5.0), peers(12.0, 13.0)), (String::new(), None));
        let with_moosefs: Vec<&str> = ALL.iter().filter(|r| r.goal.moosefs.is_some()).map(|r| r.id).collect();
        assert_eq!(with_moosefs, ["rand-fsync", "file-write", "untar", "cp", "git"]);
    }

    #[test]
    fn usual_figures_stand_in_for_peers_that_are_not_measured() {
        let none = Peers::default();
        // Three times 431 is more than MooseFS's 839.
        assert_eq!(judge(find("file-write"), Some(1_300.0), none), ("1293".to_owned(), Some(true)));
        assert_eq!(judge(find("git"), Some(5.0), none), ("5.30".to_owned(), Some(true)));
        let glusterfs = Peers { glusterfs: Some(100.0), moosefs: None };
        assert_eq!(judge(find("file-write"), Some(830.0), glusterfs), ("839".to_owned(), Some(false)));
        let moosefs = Peers { glusterfs: None, moosefs: Some(1_000.0) };
        assert_eq!(judge(find("file-write"), Some(1_200.0), moosefs), ("1293".to_owned(), Some(false)));
        assert_eq!(judge(find("rand-fsync"), Some(1_200.0), moosefs), ("1000".to_owned(), Some(true)));
    }

    fn measured(systems: &[&str]) -> Results {
        let mut results = Results::new(systems.iter().map(|&s| s.to_owned()).collect());
        for (system, seconds) in [0.1, 0.5, 2.0, 1.0].into_iter().take(systems.len()).enumerate() {
            results.add("create", system, 1_000.0, seconds, 0.2 * system as f64);
        }
        results
    }

    #[test]
    fn a_table_has_a_column_for_each_system() {
        let results = measured(&["plain", "raidfs"]);
        let table = markdown(&results);
        assert_eq!(table.lines().count(), 3);
        assert_eq!(table.lines().last(), Some("| create | 10000 | 2000 | 0.20x | 1878 | yes | 200 |"));
        assert!(text(&results).contains("0.20x"));
    }

    #[test]
    fn a_table_compares_with_each_peer() {
        let table = markdown(&measured(&["plain", "raidfs", glusterfs::NAME, moosefs::NAME]));
        let lines: Vec<&str> = table.lines().collect();
        let ratios = "raidfs : plain | raidfs : GlusterFS | raidfs : MooseFS | goal | reached";
        let head = format!("plain | raidfs | GlusterFS | MooseFS | {ratios} | CPU us: raidfs | GlusterFS | MooseFS |");
        assert!(lines[0].ends_with(&head), "{}", lines[0]);
        let last = "| create | 10000 | 2000 | 500 | 1000 | 0.20x | 4.00x | 2.00x | 1500 | yes | 200 | 400 | 600 |";
        assert_eq!(lines[2], last);
        assert_eq!(lines[1].matches("---").count(), lines[2].matches(" |").count());
    }
}
