//! What the clients did and saw, and whether one order of operations explains it.
//!
//! A file is a register: one client writes it, one write after the other; everybody reads. A read must give the newest
//! write that ended before it began, or one that was under way meanwhile, and whole unless one was.
//!
//! The names of a directory are checked as a whole: there must be an order of all operations, each between its beginning
//! and its end, in which every answer is right. Without an answer, an operation may have happened at any time, or never.
//!
//! Who has the session is the only one who changes names, and does not ask what is newest before it reads them: of a change of
//! its own that is under way it may hear later than a client that only looks.

use std::collections::{BTreeMap, BTreeSet};

/// Who has the session reads as this one.
pub const SESSION: usize = 0;

/// A write of a register.
#[derive(Clone, Debug)]
pub struct Write {
    /// What was written; 0 stands for the beginning.
    pub value: u64,
    /// When it began.
    pub begun: u64,
    /// When it was answered; None: never.
    pub ended: Option<u64>,
}

/// A read of a register that was answered.
#[derive(Clone, Debug)]
pub struct Read {
    /// Who read.
    pub by: usize,
    /// When it began.
    pub begun: u64,
    /// When it was answered.
    pub ended: u64,
    /// The values that were found, in order of their places.
    pub values: BTreeSet<u64>,
}

/// Everything about one register.
#[derive(Debug, Default)]
pub struct Register {
    /// Writes, in their order.
    pub writes: Vec<Write>,
    /// Reads.
    pub reads: Vec<Read>,
    /// The newest value that was synced.
    pub synced: u64,
}

impl Register {
    /// What cannot be explained.
    pub fn faults(&self) -> Vec<String> {
        self.reads.iter().filter_map(|read| self.fault(read)).collect()
    }

    /// This value and all before it were synced.
    pub fn was_synced(&mut self, value: u64) {
        self.synced = self.synced.max(value);
    }

    /// What cannot be explained of values that were found after power was lost everywhere: they may be of writes that were
    /// not synced, in whatever mixture, but of none before one that was.
    pub fn fault_after_a_cut(&self, found: &BTreeSet<u64>) -> Option<String> {
        let later = self.writes.iter().filter(|w| w.value > self.synced || w.ended.is_none()).map(|w| w.value);
        let allowed: BTreeSet<u64> = later.chain([self.synced]).collect();
        let wrong = !found.is_subset(&allowed);
        wrong.then(|| format!("after power was lost {found:?} was read, and {} had been synced", self.synced))
    }

    fn fault(&self, read: &Read) -> Option<String> {
        // Writes follow each other, and each is sent until it is answered or given up: one that was given up may still
        // arrive later.
        let ended_before = |w: &Write| w.ended.is_some_and(|ended| ended < read.begun);
        let newest = self.writes.iter().rposition(ended_before);
        let mut allowed = BTreeSet::new();
        let mut overlapping = false;
        allowed.insert(newest.map_or(0, |n| self.writes[n].value));
        for (n, write) in self.writes.iter().enumerate().filter(|(_, w)| w.begun < read.ended) {
            let lost = write.ended.is_none();
            if lost || newest.is_none_or(|newest| n > newest) {
                allowed.insert(write.value);
                overlapping = true;
            }
        }
        let wrong = !read.values.is_subset(&allowed);
        let torn = read.values.len() > 1 && !overlapping;
        (wrong || torn).then(|| format!("client {} read {:?}, allowed is {allowed:?}: {read:?}", read.by, read.values))
    }
}

/// An operation on the names of the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Makes a file with this inode number under a name.
    Create(u8, u64),
    /// Removes a name.
    Unlink(u8),
    /// Renames, onto whatever is there.
    Rename(u8, u8),
    /// Looks a name up.
    Lookup(u8),
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was made.
    Made,
    /// The name is taken.
    Exists,
    /// There is no such name.
    Missing,
    /// The inode's number.
    Found(u64),
}

/// An operation as it was seen.
#[derive(Clone, Debug)]
pub struct Event {
    /// Who.
    pub by: usize,
    /// It is a client that only looks.
    pub observer: bool,
    /// What.
    pub op: Op,
    /// When it began.
    pub begun: u64,
    /// When it was answered, and how; None: never.
    pub ended: Option<(u64, Answer)>,
}

/// Inode numbers by name.
pub type Names = BTreeMap<u8, u64>;

fn apply(names: &mut Names, op: Op) -> Answer {
    match op {
        Op::Create(name, _) if names.contains_key(&name) => Answer::Exists,
        Op::Create(name, ino) => {
            names.insert(name, ino);
            Answer::Made
        }
        Op::Unlink(name) => names.remove(&name).map_or(Answer::Missing, |_| Answer::Made),
        Op::Rename(from, to) => match names.get(&from).copied() {
            None => Answer::Missing,
            Some(_) if from == to => Answer::Made,
            Some(ino) => {
                names.remove(&from);
                names.insert(to, ino);
                Answer::Made
            }
        },
        Op::Lookup(name) => names.get(&name).map_or(Answer::Missing, |ino| Answer::Found(*ino)),
    }
}

/// Searches an order that explains all events; else says how far one comes.
pub fn explain(events: &[Event]) -> Result<(), String> {
    search(events, &Names::new(), |heads, _| heads.is_empty())
}

/// Searches an order of which a beginning, with everything that was answered by `durable` in it, leads to the names that
/// were `left` when power was lost everywhere.
pub fn explain_what_is_left(events: &[Event], durable: u64, left: &Names) -> Result<(), String> {
    let is_later = |event: &&Event| event.ended.is_none_or(|(at, _)| at > durable);
    let found = search(events, left, |heads, names| names == left && heads.iter().all(is_later));
    found.map_err(|_| format!("after power was lost there are {left:?}, which no beginning explains"))
}

/// How far an order has come: what is next of each client, the unanswered events that have happened, the names.
#[derive(Clone)]
struct Reached {
    places: Vec<usize>,
    used: BTreeSet<usize>,
    names: Names,
    /// The names that the event before touches, if it is an unanswered one. The next one must touch one of them: else they
    /// might as well change places, and the other order is looked at, too.
    touched: Option<[u8; 2]>,
}

/// What decides, but for the unanswered events, what an order can go on with.
type Place = (Vec<usize>, Names, Option<[u8; 2]>);

/// What is still to be looked at.
#[derive(Default)]
struct Frontier {
    stack: Vec<Reached>,
    /// For all that was ever pushed; none is a part of another one.
    seen: BTreeMap<Place, Vec<BTreeSet<usize>>>,
}

impl Frontier {
    /// Unless something as good was pushed before: who has used fewer of the unanswered events can do whatever others can.
    fn push(&mut self, reached: Reached) {
        let place = (reached.places.clone(), reached.names.clone(), reached.touched);
        let seen = self.seen.entry(place).or_default();
        if seen.iter().any(|used| used.is_subset(&reached.used)) {
            return;
        }
        seen.retain(|used| !reached.used.is_subset(used));
        seen.push(reached.used.clone());
        self.stack.push(reached);
    }
}

impl Reached {
    /// What is next of each client that has not come to its end.
    fn heads<'a>(&self, lines: &'a [Vec<Event>]) -> Vec<&'a Event> {
        lines.iter().zip(&self.places).filter_map(|(line, at)| line.get(*at)).collect()
    }

    fn may_be_next(&self, op: Op) -> bool {
        self.touched.is_none_or(|touched| touches(op).iter().any(|name| touched.contains(name)))
    }
}

/// The names that decide what an operation does, or that it changes.
fn touches(op: Op) -> [u8; 2] {
    match op {
        Op::Create(name, _) | Op::Unlink(name) | Op::Lookup(name) => [name; 2],
        Op::Rename(from, to) => [from, to],
    }
}

/// Stands for all inodes that need not be told apart.
const ANY_INODE: u64 = u64::MAX;

/// The events that were answered, by client, and the others. Those block nobody: they may happen late, or not at all. What they
/// make is told apart only if somebody found it, or it is among what was `left`.
fn sorted(events: &[Event], left: &Names) -> (Vec<Vec<Event>>, Vec<Event>) {
    let found = events.iter().filter_map(|event| match event.ended {
        Some((_, Answer::Found(ino))) => Some(ino),
        _ => None,
    });
    let told_apart: BTreeSet<u64> = found.chain(left.values().copied()).collect();
    let mut lines: BTreeMap<usize, Vec<Event>> = BTreeMap::new();
    let mut open = Vec::new();
    for event in events {
        let mut event = event.clone();
        if let Op::Create(name, ino) = event.op
            && !told_apart.contains(&ino)
        {
            event.op = Op::Create(name, ANY_INODE);
        }
        match event.ended {
            Some(_) => lines.entry(event.by).or_default().push(event),
            None => open.push(event),
        }
    }
    open.sort_by_key(|event| event.begun);
    (lines.into_values().collect(), open)
}

/// Searches an order of events, each as it was answered, up to a state that is `accepted` by what is next of each client and
/// by the names; else says how far one comes.
fn search(events: &[Event], left: &Names, accepted: impl Fn(&[&Event], &Names) -> bool) -> Result<(), String> {
    let (lines, open) = sorted(events, left);
    let mut frontier = Frontier::default();
    frontier.push(Reached { places: vec![0; lines.len()], used: BTreeSet::new(), names: Names::new(), touched: None });
    let (mut furthest, mut best) = (0, String::new());
    while let Some(reached) = frontier.stack.pop() {
        let Reached { places, names, .. } = &reached;
        let done: usize = places.iter().sum();
        let heads = reached.heads(&lines);
        if accepted(&heads, names) {
            return Ok(());
        }
        if done >= furthest {
            furthest = done;
            best = format!("after {done} operations, names {names:?}, none of these can be next: {heads:#?}");
        }
        let horizon = first_end(&heads, |_| true);
        let following = following(&lines, &heads, horizon, &reached);
        // What changes nothing, and is answered rightly now, may as well happen now: it can only bar others.
        if let Some(idle) = following.iter().position(|next| next.names == *names) {
            frontier.push(following[idle].clone());
            continue;
        }
        late(&open, horizon, &reached).into_iter().for_each(|next| frontier.push(next));
        following.into_iter().for_each(|next| frontier.push(next));
    }
    Err(best)
}

/// Where each unanswered event that may have happened next leads to; of those that do the same only the first.
fn late(open: &[Event], horizon: u64, reached: &Reached) -> Vec<Reached> {
    let mut tried = Vec::new();
    let mut late = Vec::new();
    for (n, event) in open.iter().enumerate().filter(|(n, e)| !reached.used.contains(n) && e.begun < horizon) {
        if tried.contains(&event.op) || !reached.may_be_next(event.op) {
            continue;
        }
        tried.push(event.op);
        let mut next = reached.clone();
        if apply(&mut next.names, event.op) == Answer::Made && next.names != reached.names {
            next.used.insert(n);
            next.touched = Some(touches(event.op));
            late.push(next);
        }
    }
    late
}

/// When the first of these was answered; what began later comes after it.
fn first_end(heads: &[&Event], barring: impl Fn(&Event) -> bool) -> u64 {
    let ends = heads.iter().filter(|e| barring(e)).filter_map(|e| e.ended);
    ends.map(|(at, _)| at).min().unwrap_or(u64::MAX)
}

/// Where each event that can be next, and is answered as it was, leads to.
fn following(lines: &[Vec<Event>], heads: &[&Event], horizon: u64, reached: &Reached) -> Vec<Reached> {
    let own_horizon = first_end(heads, |e| !e.observer);
    let reads_own = |e: &Event| matches!(e.op, Op::Lookup(_)) && !e.observer;
    let is_due = |e: &&Event| e.begun < if reads_own(e) { own_horizon } else { horizon };
    let mut following = Vec::new();
    for (line, at) in reached.places.iter().enumerate() {
        let Some(event) = lines[line].get(*at).filter(is_due).filter(|e| reached.may_be_next(e.op)) else { continue };
        let mut next = reached.clone();
        if Some(apply(&mut next.names, event.op)) == event.ended.map(|(_, answer)| answer) {
            next.places[line] += 1;
            next.touched = None;
            following.push(next);
        }
    }
    following
}

#[cfg(test)]
mod tests {
    use super::*;
    use raidfs_tests::dice::Dice;

    fn event(by: usize, op: Op, begun: u64, ended: u64, answer: Answer) -> Event {
        Event { by, observer: by >= 10, op, begun, ended: Some((ended, answer)) }
    }

    /// Random histories of three clients on two names, as they happened, some events unanswered; a wrong answer in half of them.
    fn random_history(dice: &mut Dice) -> Vec<Event> {
        let mut dice = |sides| dice.below(sides);
        let (mut names, mut clock, mut events) = (Names::new(), 10, Vec::new());
        for ino in 1..9 {
            let name = |n: u64| n as u8;
            let op = match dice(5) {
                0 | 1 => Op::Create(name(dice(2)), ino),
                2 => Op::Unlink(name(dice(2))),
                3 => Op::Rename(name(dice(2)), name(dice(2))),
                _ => Op::Lookup(name(dice(2))),
            };
            let answer = apply(&mut names, op);
            let (by, begun, ended) = (dice(3) as usize, clock - dice(9), clock + dice(9));
            clock += 3;
            let earlier = events.iter().filter(|e: &&Event| e.by == by).filter_map(|e| e.ended);
            let before = earlier.map(|(at, _)| at).max().unwrap_or(0);
            let ended = (dice(4) > 0).then_some((ended.max(before + 2), answer));
            events.push(Event { by, observer: by == 2, op, begun: begun.max(before + 1), ended });
        }
        if dice(2) == 0 {
            let at = dice(8) as usize;
            events[at].ended = events[at].ended.map(|(when, _)| (when, Answer::Found(dice(9))));
        }
        events
    }

    /// Every order, without leaving any out.
    fn is_explained(lines: &[Vec<Event>], open: &[Event], reached: &Reached) -> bool {
        let heads = reached.heads(lines);
        if heads.is_empty() {
            return true;
        }
        let horizon = first_end(&heads, |_| true);
        let late = open.iter().enumerate().filter(|(n, e)| !reached.used.contains(n) && e.begun < horizon);
        let with_late = late.filter_map(|(n, event)| {
            let mut next = reached.clone();
            next.used.insert(n);
            (apply(&mut next.names, event.op) == Answer::Made).then_some(next)
        });
        with_late.chain(following(lines, &heads, horizon, reached)).any(|next| is_explained(lines, open, &next))
    }

    #[test]
    fn what_is_left_out_of_the_search_changes_no_answer() {
        let mut dice = Dice::new(7);
        let mut explained = 0;
        for _ in 0..20_000 {
            let events = random_history(&mut dice);
            let answered = |by| events.iter().filter(move |e| e.by == by && e.ended.is_some()).cloned().collect();
            let lines: Vec<Vec<Event>> = (0..3).map(answered).collect();
            let open: Vec<Event> = events.iter().filter(|e| e.ended.is_none()).cloned().collect();
            let start = Reached { places: vec![0; 3], used: BTreeSet::new(), names: Names::new(), touched: None };
            let want = is_explained(&lines, &open, &start);
            assert_eq!(
                explain(&events).is_ok(),
                want,
                "{}",
                events.iter().map(|e| format!("{e:?}\n")).collect::<String>()
            );
            explained += usize::from(want);
        }
        assert!((4_000..16_000).contains(&explained), "{explained} of them can be explained");
    }

    #[test]
    fn who_has_the_session_may_hear_later_of_its_own_change_that_is_under_way() {
        let lookup = |by, begun, answer| event(by, Op::Lookup(1), begun, begun + 1, answer);
        let made = |ended| event(0, Op::Create(1, 7), 10, ended, Answer::Made);
        let seen = lookup(10, 12, Answer::Found(7));
        assert!(explain(&[made(20), seen.clone(), lookup(1, 15, Answer::Missing)]).is_ok());
        assert!(explain(&[made(14), seen.clone(), lookup(1, 15, Answer::Missing)]).is_err(), "it was answered");
        assert!(explain(&[made(20), seen.clone(), lookup(11, 15, Answer::Missing)]).is_err(), "another had seen it");
        let twice = [lookup(1, 13, Answer::Found(7)), lookup(2, 15, Answer::Missing)];
        assert!(explain(&[&[made(20)], &twice[..]].concat()).is_err(), "the session had heard of it");
    }
}
