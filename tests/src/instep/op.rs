//! The operations of a history, and its text: one step a line, as JSON, so that what was found can be kept and replayed.

use super::names::{Spot, Subject};
use super::seen::Seen;
use super::side::Side;
use super::xattr_ops;
use super::{
    attr_ops, dir_ops, file_ops, flag_ops, handle_ops, held_ops, lock_ops, map_ops, name_ops, stream_ops, tree,
};
use crate::dice::Dice;
use serde::{Deserialize, Serialize};

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// On the contents of files.
    File(file_ops::FileOp),
    /// On the contents of files, with flags that few give.
    Flag(flag_ops::FlagOp),
    /// On files that are mapped for the length of the operation.
    Map(map_ops::MapOp),
    /// On mappings that stay.
    Held(held_ops::HeldOp),
    /// On names.
    Name(name_ops::NameOp),
    /// On attributes.
    Attr(attr_ops::AttrOp),
    /// On extended attributes and access control lists.
    Xattr(xattr_ops::XattrOp),
    /// On directories.
    Dir(dir_ops::DirOp),
    /// On directories that are read step by step, and large ones.
    Stream(stream_ops::StreamOp),
    /// On handles.
    Handle(handle_ops::HandleOp),
    /// On locks.
    Lock(lock_ops::LockOp),
    /// Looks at everything that the tree holds.
    Tree,
}

/// One operation and its circumstances.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Which process makes it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub process: u8,
    /// In the tree that all processes share, not in the process's own; there each step waits for the one before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shared: bool,
    /// As which of the users of [`super::side::USERS`].
    #[serde(default, skip_serializing_if = "is_zero")]
    pub user: u8,
    /// Whether the attributes of everything that it touches are looked at behind it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub look: bool,
    /// What is done.
    pub op: Op,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(n: &u8) -> bool {
    *n == 0
}

impl Op {
    /// Any operation.
    pub fn random(dice: &mut Dice) -> Op {
        let family = dice.weighed(&[
            (40, 0),
            (4, 1),
            (22, 2),
            (14, 3),
            (8, 4),
            (4, 5),
            (5, 6),
            (1, 7),
            (8, 8),
            (7, 9),
            (4, 10),
            (5, 11),
        ]);
        match family {
            0 => Op::File(file_ops::random(dice)),
            1 => Op::Map(map_ops::random(dice)),
            2 => Op::Name(name_ops::random(dice)),
            3 => Op::Attr(attr_ops::random(dice)),
            4 => Op::Xattr(xattr_ops::random(dice)),
            5 => Op::Dir(dir_ops::random(dice)),
            6 => Op::Lock(lock_ops::random(dice)),
            8 => Op::Held(held_ops::random(dice)),
            9 => Op::Stream(stream_ops::random(dice)),
            10 => Op::Handle(handle_ops::random(dice)),
            11 => Op::Flag(flag_ops::random(dice)),
            _ => Op::Tree,
        }
    }

    /// Does it on one side.
    pub fn perform(&self, side: &mut Side) -> Vec<Seen> {
        match self {
            Op::File(op) => file_ops::perform(op, side),
            Op::Flag(op) => flag_ops::perform(op, side),
            Op::Map(op) => map_ops::perform(op, side),
            Op::Held(op) => held_ops::perform(op, side),
            Op::Name(op) => name_ops::perform(op, side),
            Op::Attr(op) => attr_ops::perform(op, side),
            Op::Xattr(op) => xattr_ops::perform(op, side),
            Op::Dir(op) => dir_ops::perform(op, side),
            Op::Stream(op) => stream_ops::perform(op, side),
            Op::Handle(op) => handle_ops::perform(op, side),
            Op::Lock(op) => lock_ops::perform(op, side),
            Op::Tree => tree::everything(),
        }
    }

    /// What it may have changed.
    pub fn touches(&self) -> Vec<Subject> {
        let mut touched = match self {
            Op::File(op) => file_ops::touches(op),
            Op::Flag(op) => flag_ops::touches(op),
            Op::Map(op) => vec![Subject::Slot(op.slot)],
            Op::Name(op) => name_ops::touches(op),
            Op::Attr(op) => attr_ops::touches(op),
            Op::Xattr(op) => vec![xattr_ops::subject(op).clone()],
            Op::Dir(op) => dir_ops::touches(op),
            Op::Stream(op) => stream_ops::touches(op),
            Op::Handle(op) => handle_ops::touches(op),
            // Mappings look at their files themselves.
            Op::Held(_) | Op::Lock(_) | Op::Tree => Vec::new(),
        };
        let parents: Vec<Subject> = touched
            .iter()
            .filter_map(|subject| match subject {
                Subject::Path(spot) | Subject::Link(spot) => Some(Subject::Path(spot.parent())),
                Subject::Slot(_) => None,
            })
            .collect();
        touched.extend(parents);
        touched.dedup();
        touched
    }
}

/// Operations that give others something to meet: of all names that could be, few are there at a time.
fn furnish(dice: &mut Dice) -> Op {
    if dice.percent(40) {
        let at = Spot::at(dice.pick(&["d", "e", "d/e", "e/d", "d/d", "e/e"]));
        return Op::Name(name_ops::NameOp::Mkdir { at, mode: 0o777 });
    }
    if dice.percent(12) {
        let (slot, at) = (super::names::slot(dice), Spot::at(dice.pick(&["d", "e", "d/e", "."])));
        return Op::File(file_ops::FileOp::Open { slot, at, flags: "RDONLY|DIRECTORY".to_owned(), mode: 0 });
    }
    let at = super::names::likely(dice);
    let flags = dice.pick(&["RDWR|CREAT", "RDWR|CREAT|APPEND", "RDWR|CREAT|DIRECT"]).to_owned();
    Op::File(file_ops::FileOp::Open { slot: super::names::slot(dice), at, flags, mode: 0o666 })
}

/// Steps at the beginning of a history that furnish its tree.
const FURNISHING: usize = 16;

/// Writes histories.
pub struct Writer {
    dice: Dice,
    processes: u8,
}

impl Writer {
    /// Writes histories for so many processes.
    pub fn new(seed: u64, processes: u8) -> Writer {
        Writer { dice: Dice::new(seed), processes }
    }

    /// A history of so many steps that ends with a look at everything.
    pub fn history(&mut self, steps: usize) -> Vec<Step> {
        let mut history = Vec::with_capacity(steps + 2);
        // Two processes are now apart, now at the same tree in turn.
        let mut shared = false;
        for n in 0..steps {
            if n < FURNISHING.min(steps / 4) || self.dice.percent(6) {
                let process = self.dice.below(u64::from(self.processes)) as u8;
                history.push(Step { process, shared, user: 0, look: true, op: furnish(&mut self.dice) });
                continue;
            }
            if self.processes > 1 && self.dice.percent(2) {
                shared = !shared;
            }
            history.push(self.step(shared));
        }
        history.extend(look_at_all(self.processes));
        history
    }

    fn step(&mut self, shared: bool) -> Step {
        let dice = &mut self.dice;
        let op = Op::random(dice);
        let user = if op == Op::Tree { 0 } else { dice.weighed(&[(70, 0), (18, 1), (12, 2)]) };
        let process = dice.below(u64::from(self.processes)) as u8;
        Step { process, shared, user, look: dice.percent(85), op }
    }
}

fn plain(process: u8, shared: bool, op: Op) -> Step {
    Step { process, shared, user: 0, look: false, op }
}

/// Steps that look at everything: each process's tree, and the shared one.
pub fn look_at_all(processes: u8) -> Vec<Step> {
    let own = (0..processes).map(|process| plain(process, false, Op::Tree));
    own.chain((processes > 1).then(|| plain(0, true, Op::Tree))).collect()
}

/// Steps that end all mappings, and see what becomes of their files then.
pub fn unmap_all(processes: u8) -> Vec<Step> {
    let maps = (0..held_ops::MAPS as u8).flat_map(|map| [(map, false), (map, true)]);
    let all = maps.flat_map(|(map, shared)| (0..processes).map(move |process| (process, shared, map)));
    all.map(|(process, shared, map)| plain(process, shared, Op::Held(held_ops::HeldOp::Unmap { map }))).collect()
}

/// A history as text.
pub fn to_text(history: &[Step]) -> String {
    history.iter().map(|step| serde_json::to_string(step).expect("a step is plain data") + "\n").collect()
}

/// Text as a history; lines that begin with `#` are remarks.
pub fn from_text(text: &str) -> Result<Vec<Step>, String> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    lines.map(|(n, line)| serde_json::from_str(line).map_err(|e| format!("line {}: {e}", n + 1))).collect()
}

/// A spot as something whose attributes are looked at, without following a link.
pub fn link(spot: &Spot) -> Subject {
    Subject::Link(spot.clone())
}

#[test]
fn a_history_is_its_text() {
    let history = Writer::new(7, 2).history(2000);
    assert_eq!(from_text(&to_text(&history)).expect("readable"), history);
    assert!(from_text("# a remark\n\n").expect("remarks are no steps").is_empty());
    assert!(from_text("nonsense").is_err());
}
