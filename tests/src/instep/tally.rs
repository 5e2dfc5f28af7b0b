//! Counts how often each kind of operation was made, and how often it succeeded: one that never does has only compared
//! refusals.

use super::differences::refused;
use super::file_ops::FileOp;
use super::flag_ops::FlagOp;
use super::name_ops::NameOp;
use super::op::Op;
use super::seen::{Seen, Value};
use super::stream_ops::StreamOp;
use std::collections::BTreeMap;

/// Of each kind how often it was made, and how often it succeeded.
#[derive(Default)]
pub struct Tally(BTreeMap<String, (u64, u64)>);

impl Tally {
    /// Counts one.
    pub fn count(&mut self, op: &Op, succeeded: bool) {
        if let Some(kind) = kind(op) {
            let (made, done) = self.0.entry(kind).or_default();
            *made += 1;
            *done += u64::from(succeeded);
        }
    }

    /// How many kinds were made.
    pub fn kinds(&self) -> usize {
        self.0.len()
    }

    /// All of it, in words.
    pub fn text(&self) -> String {
        let words = self.0.iter().map(|(kind, (made, done))| format!("{kind} {done}/{made}"));
        words.collect::<Vec<_>>().join(", ")
    }

    /// The kinds that were made and never succeeded.
    pub fn in_vain(&self) -> Vec<&str> {
        self.0.iter().filter(|(_, (_, done))| *done == 0).map(|(kind, _)| kind.as_str()).collect()
    }
}

/// The name of an operation, without its arguments.
pub fn op_name(op: &Op) -> String {
    let text = format!("{op:?}");
    let words: Vec<&str> = text.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).take(2).collect();
    words.join(" ")
}

/// The kind that it is counted as; none if it can only be refused.
fn kind(op: &Op) -> Option<String> {
    const KEEP: i32 = libc::FALLOC_FL_KEEP_SIZE;
    const ALLOCATES: [i32; 5] =
        [0, KEEP, libc::FALLOC_FL_PUNCH_HOLE | KEEP, libc::FALLOC_FL_ZERO_RANGE, libc::FALLOC_FL_ZERO_RANGE | KEEP];
    const RENAMES: [u32; 3] = [0, libc::RENAME_NOREPLACE, libc::RENAME_EXCHANGE];
    let name = op_name(op);
    match op {
        _ if refused(op).is_some() => None,
        // There are no such flags.
        Op::Flag(FlagOp::CopyWithFlags { .. }) => None,
        Op::Name(NameOp::Rename { flags, .. }) => RENAMES.contains(flags).then(|| format!("{name} {flags:#x}")),
        Op::File(FileOp::Allocate { mode, .. }) => ALLOCATES.contains(mode).then(|| format!("{name} {mode:#x}")),
        _ => Some(name),
    }
}

/// Whether it did what it is for, by what was seen.
pub fn succeeded(op: &Op, seen: &[Seen]) -> bool {
    match (op, seen.first().map(|s| &s.value)) {
        // It says how many names it changed.
        (
            Op::Stream(StreamOp::Fill { .. } | StreamOp::Thin { .. } | StreamOp::Move { .. }),
            Some(Value::Returned(n)),
        ) => n.is_ok_and(|n| n > 0),
        (_, Some(Value::Returned(call) | Value::Sought(_, call))) => call.is_ok(),
        // What each page of a mapping said.
        (Op::Held(_), Some(Value::Text(words))) => words.split(' ').any(|w| w == "bytes" || w.parse::<u64>().is_ok()),
        (_, Some(_)) => true,
        (_, None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::op::Writer;
    use super::*;

    #[test]
    fn a_kind_of_which_none_succeeds_is_told() {
        let mut tally = Tally::default();
        let history = Writer::new(5, 1).history(20_000);
        for step in &history {
            tally.count(&step.op, !matches!(step.op, Op::Name(NameOp::Link { .. })));
        }
        assert_eq!(tally.in_vain(), ["Name Link"]);
        assert!(tally.kinds() > 80, "{} kinds are written", tally.kinds());
        tally.count(&Op::Name(NameOp::Link { from: spot(), to: spot(), follow: false }), true);
        assert!(tally.in_vain().is_empty());
    }

    fn spot() -> super::super::names::Spot {
        super::super::names::Spot::at("a")
    }

    #[test]
    fn what_is_refused_has_not_succeeded() {
        let returned = |call| vec![Seen::returned(call)];
        assert!(succeeded(&Op::Tree, &returned(Ok(0))) && !succeeded(&Op::Tree, &returned(Err(libc::EPERM))));
        let fill = Op::Stream(StreamOp::Fill { at: spot(), first: 0, count: 3, pad: 0 });
        assert!(succeeded(&fill, &returned(Ok(3))) && !succeeded(&fill, &returned(Ok(0))));
        let load = Op::Held(super::super::held_ops::HeldOp::Load { map: 0, page: 0, pages: 1 });
        assert!(succeeded(&load, &[Seen::text("load", "bytes EFAULT ")]));
        assert!(!succeeded(&load, &[Seen::text("load", "EFAULT ")]));
    }
}
