//! Exceptions to the caps on length: each line of `ratchet.txt` is a name and its length now. A length that grew, or a
//! line that is no longer needed, fails; so the list only shrinks.

use super::source::root;
use std::collections::BTreeMap;

/// The exceptions, and what was measured against them.
pub struct Ratchet {
    allowed: BTreeMap<String, usize>,
    seen: BTreeMap<String, usize>,
    breaches: Vec<String>,
}

impl Ratchet {
    /// Reads the list.
    pub fn load() -> Ratchet {
        let text = std::fs::read_to_string(root().join("tests/tidy/ratchet.txt")).expect("the list is there");
        Ratchet::parse(&text)
    }

    fn parse(text: &str) -> Ratchet {
        let lines = text.lines().filter(|l| !l.trim().is_empty() && !l.starts_with('#'));
        let entry = |line: &str| {
            let (name, length) = line.rsplit_once(' ').expect("a name and a number");
            (name.trim().to_owned(), length.parse().expect("a number of lines"))
        };
        Ratchet { allowed: lines.map(entry).collect(), seen: BTreeMap::new(), breaches: Vec::new() }
    }

    /// Something has this many lines, and should have at most `cap`.
    pub fn measure(&mut self, name: &str, lines: usize, cap: usize) {
        if let Some(&allowed) = self.allowed.get(name) {
            let longest = self.seen.entry(name.to_owned()).or_insert(0);
            *longest = (*longest).max(lines);
            if lines > allowed {
                self.breaches.push(format!("{name}: {lines} lines, {allowed} before"));
            }
        } else if lines > cap {
            self.breaches.push(format!("{name}: {lines} lines, {cap} at most"));
        }
    }

    /// What is wrong, exceptions that shrank included.
    pub fn breaches(mut self) -> Vec<String> {
        for (name, allowed) in &self.allowed {
            match self.seen.get(name) {
                None => self.breaches.push(format!("{name}: is gone; take it out of ratchet.txt")),
                Some(now) if now < allowed => {
                    self.breaches
                        .push(format!("{name}: {now} lines now; write that in ratchet.txt instead of {allowed}"));
                }
                Some(_) => {}
            }
        }
        self.breaches
    }
}

#[test]
fn the_ratchet_only_shrinks() {
    let measure = |lines: usize| {
        let mut ratchet = Ratchet::parse("# comment\na.rs::f 90\n");
        ratchet.measure("a.rs::f", lines, 70);
        ratchet.breaches().len()
    };
    assert_eq!((measure(91), measure(90), measure(80)), (1, 0, 1));
    assert_eq!(Ratchet::parse("gone 90").breaches().len(), 1);
    let mut ratchet = Ratchet::parse("");
    ratchet.measure("b.rs", 71, 70);
    assert_eq!(ratchet.breaches().len(), 1);
}
