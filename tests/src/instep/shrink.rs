//! Makes a failing history small: leaves out what the failure does not need (Zeller's delta debugging), then makes the
//! steps that are left plainer.

use super::op::Step;

/// How many histories are tried at most.
const TRIES_MAX: usize = 600;

/// A smaller history that `fails` still says true of.
pub fn shrink(history: Vec<Step>, mut fails: impl FnMut(&[Step]) -> bool) -> Vec<Step> {
    let mut tries = 0;
    let mut fails = |history: &[Step]| {
        tries += 1;
        tries <= TRIES_MAX && fails(history)
    };
    let mut history = without(history, &mut fails);
    for at in 0..history.len() {
        for less in [without_user, without_look] {
            let mut candidate = history.clone();
            if less(&mut candidate[at]) && fails(&candidate) {
                history = candidate;
            }
        }
    }
    without(history, &mut fails)
}

fn without(mut history: Vec<Step>, fails: &mut impl FnMut(&[Step]) -> bool) -> Vec<Step> {
    let mut piece = history.len().div_ceil(2).max(1);
    loop {
        let mut at = 0;
        let mut shorter = false;
        while at < history.len() {
            let end = (at + piece).min(history.len());
            let candidate = [&history[..at], &history[end..]].concat();
            if !candidate.is_empty() && fails(&candidate) {
                (history, shorter) = (candidate, true);
            } else {
                at = end;
            }
        }
        match (piece, shorter) {
            (1, false) => return history,
            (1, true) => {}
            _ => piece = piece.div_ceil(2),
        }
    }
}

/// Makes a step one of root's; false if it is.
fn without_user(step: &mut Step) -> bool {
    std::mem::take(&mut step.user) != 0
}

/// Looks at nothing behind a step; false if it did not.
fn without_look(step: &mut Step) -> bool {
    std::mem::take(&mut step.look)
}

#[cfg(test)]
mod tests {
    use super::super::op::{Op, Writer};
    use super::*;

    #[test]
    fn only_what_the_failure_needs_is_left() {
        let history = Writer::new(3, 1).history(400);
        let culprits = [history[37].clone(), history[300].clone()];
        let fails = |h: &[Step]| culprits.iter().all(|c| h.iter().any(|step| step.op == c.op));
        let small = shrink(history, fails);
        assert_eq!(small.len(), 2, "{small:?}");
        assert!(small.iter().all(|step| step.user == 0 && !step.look));
    }

    #[test]
    fn a_failure_at_the_end_stays_one() {
        let history = Writer::new(4, 1).history(50);
        let small = shrink(history, |h| h.last().is_some_and(|step| step.op == Op::Tree));
        assert_eq!(small.len(), 1);
    }
}
