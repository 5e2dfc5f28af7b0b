//! How far a long command is: percent, rate and time left, rewritten in place on a terminal, plain lines now and then
//! elsewhere. Goes to standard error, so that standard output is the result alone.

use super::human;
use super::terminal::columns;
use std::cell::RefCell;
use std::convert::Infallible;
use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

const TERMINAL_EVERY: Duration = Duration::from_millis(100);
const PLAIN_EVERY: Duration = Duration::from_secs(5);

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Things, by their plural.
    Things(&'static str),
}

/// The progress of one thing that is being done.
#[derive(Debug)]
pub struct Progress {
    what: String,
    unit: Unit,
    total: u64,
    done: u64,
    began: Instant,
    shown: Instant,
    terminal: bool,
    open_line: bool,
}

impl Progress {
    /// Begins, unless standard output is a terminal, too, where the result would come in between; `total` 0: not known.
    pub fn beside_output(what: impl Into<String>, unit: Unit, total: u64) -> Option<Progress> {
        (!std::io::stdout().is_terminal()).then(|| Progress::new(what, unit, total))
    }

    /// Begins; `total` 0: not known.
    pub fn new(what: impl Into<String>, unit: Unit, total: u64) -> Progress {
        let now = Instant::now();
        let terminal = std::io::stderr().is_terminal();
        Progress { what: what.into(), unit, total, done: 0, began: now, shown: now, terminal, open_line: false }
    }

    /// So much is done by now.
    pub fn at(&mut self, done: u64) {
        self.done = done;
        let every = if self.terminal { TERMINAL_EVERY } else { PLAIN_EVERY };
        if self.shown.elapsed() >= every {
            self.shown = Instant::now();
            let line = line(&self.what, self.unit, self.done, self.total, self.began.elapsed());
            self.show(&line);
        }
    }

    /// So much more is done.
    pub fn add(&mut self, more: u64) {
        self.at(self.done + more);
    }

    /// Shows it anew now and then, for as long as it is polled: for what is not heard of before it has ended.
    pub async fn tick(shown: &RefCell<Progress>) -> Infallible {
        loop {
            tokio::time::sleep(TERMINAL_EVERY).await;
            shown.borrow_mut().add(0);
        }
    }

    /// Prints a line of the result, which goes to standard output; it takes the place of what is shown.
    pub fn say(&mut self, line: impl Display) {
        self.wipe();
        println!("{line}");
    }

    /// The same of a line for standard error.
    pub fn note(&mut self, line: impl Display) {
        self.wipe();
        eprintln!("{line}");
    }

    /// Takes away what is shown: something else is about to be printed. The next step shows it again.
    pub fn wipe(&mut self) {
        // Progress that cannot be taken away is no reason to fail.
        let _ = self.wipe_on(&mut std::io::stderr());
    }

    fn wipe_on(&mut self, terminal: &mut impl Write) -> std::io::Result<()> {
        if std::mem::take(&mut self.open_line) {
            write!(terminal, "\r\x1b[K").and_then(|()| terminal.flush())
        } else {
            Ok(())
        }
    }

    fn show(&mut self, line: &str) {
        let mut err = std::io::stderr().lock();
        // Progress that cannot be shown is no reason to fail.
        let _ = if self.terminal {
            // One that wraps could not be written over.
            let fits = columns(&err).map_or(line.len(), |columns| columns - 1);
            write!(err, "\r\x1b[K{}", line.chars().take(fits).collect::<String>())
        } else {
            writeln!(err, "{line}")
        };
        let _ = err.flush();
        self.open_line = self.terminal;
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.wipe();
    }
}

/// One line of progress.
fn line(what: &str, unit: Unit, done: u64, total: u64, elapsed: Duration) -> String {
    let amount = |n: u64| match unit {
        Unit::Bytes => human::bytes(n),
        Unit::Things(_) => human::count(n),
    };
    let name = match unit {
        Unit::Bytes => "",
        Unit::Things(name) => name,
    };
    let rate = done as f64 / elapsed.as_secs_f64().max(0.001);
    let mut text = format!("{what}: {}", amount(done));
    if total > 0 {
        let percent = (done.min(total) as f64 * 100.0 / total as f64) as u64;
        text = format!("{what}: {percent} %, {} of {}", amount(done), amount(total));
    }
    if !name.is_empty() {
        text.push_str(&format!(" {name}"));
    }
    if done > 0 {
        text.push_str(&format!(", {}/s", amount(rate as u64)));
        // One beyond what a duration can be says nothing.
        if total > done
            && let Ok(left) = Duration::try_from_secs_f64((total - done) as f64 / rate)
        {
            text.push_str(&format!(", {} left", human::span(left)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_wiped_once_and_only_on_a_terminal() {
        let wiped = |progress: &mut Progress| {
            let mut terminal = Vec::new();
            progress.wipe_on(&mut terminal).unwrap();
            String::from_utf8(terminal).unwrap()
        };
        let mut progress = Progress::new("reading", Unit::Bytes, 10);
        assert_eq!(wiped(&mut progress), "", "nothing was shown yet");
        for (terminal, wanted) in [(true, "\r\x1b[K"), (false, "")] {
            progress.terminal = terminal;
            progress.show("reading: 50 %");
            assert_eq!(wiped(&mut progress), wanted);
            assert_eq!(wiped(&mut progress), "");
        }
    }

    #[test]
    fn a_line_says_percent_rate_and_time_left() {
        let text = line("verify", Unit::Things("chunks"), 250, 1000, Duration::from_secs(5));
        assert_eq!(text, "verify: 25 %, 250 of 1,000 chunks, 50/s, 15 s left");
        let text = line("export", Unit::Bytes, 10 << 20, 0, Duration::from_secs(1));
        assert_eq!(text, "export: 10 MiB, 10 MiB/s");
        let text = line("verify", Unit::Things("chunks"), 0, 10, Duration::ZERO);
        assert_eq!(text, "verify: 0 %, 0 of 10 chunks");
        let text = line("verify", Unit::Things("chunks"), 1, u64::MAX, Duration::from_secs(60));
        assert!(text.ends_with(" chunks, 0/s"), "{text}");
    }
}
