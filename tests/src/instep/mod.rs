//! The same generated operations, in step on a mount and on a local ext4: every return value, errno, attribute, extended
//! attribute, listing and byte must be the same, but for what [`differences`] lists.
//!
//! `probe instep --mount DIR --local DIR [--seed N] [--ops N] [--processes 1|2] [--replay FILE]... [--remount COMMAND]
//! [--all-kinds]`. What fails is made small and printed as text that `--replay` takes; such texts are kept in
//! `tests/instep`, and replayed first. Behind every so many histories the command, if there is one, mounts the mount anew,
//! and everything is looked at once more. `--all-kinds`: each kind of operation must have succeeded at some time. Both
//! directories are the program's own: it makes and removes directories in them. It needs root: it becomes other users,
//! and makes each tree the root of its world.

mod attr_ops;
pub mod differences;
mod dir_ops;
mod file_ops;
mod flag_ops;
mod handle_ops;
mod held_ops;
mod judge;
mod lock_ops;
mod map_ops;
mod name_ops;
mod names;
mod op;
mod options;
mod seen;
mod shrink;
mod side;
mod stream_ops;
mod sys;
mod tally;
mod tree;
mod worker;
mod xattr_ops;

use op::{Step, Writer};
use options::Options;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use tally::Tally;
use worker::{Found, Hand, Order, Roots};

/// Steps of one history. Short enough to be made small, long enough for things to get entangled.
const HISTORY_STEPS: usize = 500;
/// How often a history is made again that has failed once.
const AGAIN_MAX: u32 = 3;
/// Behind the last of so many histories the mount is mounted anew.
const REMOUNT_EVERY: u64 = 4;
/// Steps that a process may be behind what it was told.
const AHEAD_MAX: usize = 32;

/// Runs `probe instep`.
pub fn main(words: &[&str]) -> Result<(), String> {
    let options = Options::parse(words)?;
    // Before anything else: the trees become the root of the world, and paths lead elsewhere.
    let read = |file: &String| {
        let text = fs::read_to_string(file).map_err(|e| format!("{file}: {e}"))?;
        Ok::<_, String>((file.clone(), op::from_text(&text).map_err(|e| format!("{file}: {e}"))?))
    };
    let kept = options.replay.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let mut stage = Stage::new(&options)?;
    for (file, history) in kept {
        if let Some((_, found)) = stage.run(&history, false)? {
            return Err(format!("{file}: {}\n{}", found.kind, found.text));
        }
    }
    let mut done = 0;
    let mut round = 0;
    while done < options.ops {
        let seed = options.seed.wrapping_add(round);
        let history = Writer::new(seed, options.processes).history(HISTORY_STEPS.min(options.ops - done));
        let remount = round % REMOUNT_EVERY == REMOUNT_EVERY - 1;
        if let Some((at, found)) = stage.run(&history, remount)? {
            return Err(stage.report(seed, &history[..=at], &found, remount)?);
        }
        done += history.len();
        round += 1;
    }
    let (kinds, in_vain) = (stage.tally.kinds(), stage.tally.in_vain().join(", "));
    println!(
        "seed={} processes={} ops={done} replayed={} remounted={} kinds={kinds} in_vain={in_vain:?}",
        options.seed,
        options.processes,
        options.replay.len(),
        stage.remounted
    );
    println!("succeeded: {}", stage.tally.text());
    if options.all_kinds && !in_vain.is_empty() {
        return Err(format!("never succeeded, so only refusals were compared: {in_vain}"));
    }
    Ok(())
}

/// Runs `probe instep-worker`: makes what another process orders.
pub fn serve(mount: &str, local: &str, process: &str, words: &[&str]) -> Result<(), String> {
    let process = process.parse().map_err(|_| format!("{process:?} is no number"))?;
    let (sabotage, same) = (words.contains(&"--sabotage"), words.contains(&"--same"));
    worker::serve(Roots { mount: mount.into(), local: local.into(), sabotage, same }, process)
}

/// The two sides, and the processes that work there.
struct Stage {
    roots: Roots,
    hands: Vec<Hand>,
    runs: u32,
    remount: Option<String>,
    remounted: u32,
    tally: Tally,
}

impl Stage {
    fn new(options: &Options) -> Result<Stage, String> {
        let roots = options.roots.clone();
        let hands = match options.processes {
            1 => vec![Hand::own(roots.clone())?],
            n => (0..n).map(|process| Hand::other(&roots, process)).collect::<Result<_, _>>()?,
        };
        let remount = options.remount.clone();
        Ok(Stage { roots, hands, runs: 0, remount, remounted: 0, tally: Tally::default() })
    }

    /// Runs a history in fresh directories; gives the first difference and the step that showed it. `remount`: looks at
    /// everything once more behind it, mounted anew.
    fn run(&mut self, history: &[Step], remount: bool) -> Result<Option<(usize, Found)>, String> {
        self.runs += 1;
        let run = format!("run{}", self.runs);
        for root in [&self.roots.mount, &self.roots.local] {
            clear(&root.join(&run))?;
            for tree in (0..self.hands.len()).map(|n| format!("p{n}")).chain(["shared".to_owned()]) {
                make(&root.join(&run).join(tree))?;
            }
        }
        self.all(&Order::Begin(run.clone()))?;
        let mut found = self.steps(history)?;
        if found.is_none() && remount && self.remount.is_some() {
            let differs = self.mounted_anew(&run)?;
            found = differs.map(|differs| (history.len() - 1, differs));
        }
        self.all(&Order::End)?;
        for root in [&self.roots.mount, &self.roots.local] {
            clear(&root.join(&run))?;
        }
        Ok(found)
    }

    fn all(&mut self, order: &Order) -> Result<(), String> {
        self.hands.iter_mut().try_for_each(|hand| hand.tell(order).and_then(|()| hand.answer()).map(|_| ()))
    }

    /// Mounts the mount anew, and looks at everything: it must be what it was.
    fn mounted_anew(&mut self, run: &str) -> Result<Option<Found>, String> {
        let Some(command) = self.remount.clone() else { return Ok(None) };
        let processes = self.hands.len() as u8;
        if let Some((_, found)) = self.steps(&op::unmap_all(processes))? {
            return Ok(Some(found));
        }
        self.all(&Order::End)?;
        let status = Command::new("sh").arg("-c").arg(&command).status().map_err(|e| format!("{command}: {e}"))?;
        if !status.success() {
            return Err(format!("{command}: {status}"));
        }
        self.remounted += 1;
        self.all(&Order::Again(run.to_owned()))?;
        let found = self.steps(&op::look_at_all(processes))?;
        Ok(found.map(|(_, found)| Found { text: format!("mounted anew, {}", found.text), ..found }))
    }

    fn steps(&mut self, history: &[Step]) -> Result<Option<(usize, Found)>, String> {
        // For each hand, which steps it has been told and not answered.
        let mut told: Vec<std::collections::VecDeque<usize>> = vec![Default::default(); self.hands.len()];
        let mut first: Option<(usize, Found)> = None;
        for (at, step) in history.iter().enumerate() {
            let process = usize::from(step.process) % self.hands.len();
            let all = step.shared || step.op == op::Op::Tree;
            for (n, told) in told.iter_mut().enumerate() {
                let ahead = if all { 0 } else { AHEAD_MAX };
                while told.len() > ahead && first.is_none() {
                    self.fetch(n, told, history, &mut first)?;
                }
            }
            if first.is_some() {
                break;
            }
            self.hands[process].tell(&Order::Step(step.clone()))?;
            told[process].push_back(at);
            if step.shared {
                self.fetch(process, &mut told[process], history, &mut first)?;
            }
        }
        for (n, told) in told.iter_mut().enumerate() {
            while !told.is_empty() {
                self.fetch(n, told, history, &mut first)?;
            }
        }
        Ok(first)
    }

    fn fetch(
        &mut self,
        hand: usize,
        told: &mut std::collections::VecDeque<usize>,
        history: &[Step],
        first: &mut Option<(usize, Found)>,
    ) -> Result<(), String> {
        let Some(at) = told.pop_front() else { return Ok(()) };
        let answer = self.hands[hand].answer()?;
        self.tally.count(&history[at].op, answer.succeeded);
        if let Some(found) = answer.found
            && first.as_ref().is_none_or(|(before, _)| at < *before)
        {
            *first = Some((at, found));
        }
        Ok(())
    }

    /// Makes a failing history small, and says all about it.
    fn report(&mut self, seed: u64, history: &[Step], found: &Found, remount: bool) -> Result<String, String> {
        let title = format!("seed {seed}, step {}: {}\n{}", history.len(), found.kind, found.text);
        // Making it small takes a while, and may be cut short.
        eprintln!("{title}");
        let (mut last, mut trouble) = (found.clone(), None);
        let mut fails = |candidate: &[Step]| match self.run(candidate, remount) {
            Ok(Some((_, again))) if again.kind == found.kind => {
                last = again;
                true
            }
            Ok(_) => false,
            Err(why) => {
                trouble = Some(why);
                false
            }
        };
        if !(0..AGAIN_MAX).any(|_| fails(history)) {
            let end = &history[history.len().saturating_sub(20)..];
            let (end, all) = (op::to_text(end), op::to_text(history));
            return Ok(format!(
                "{title}\nit did not come again; the last steps before it:\n{end}\nand all of them:\n{all}"
            ));
        }
        let small = shrink::shrink(history.to_vec(), &mut fails);
        match trouble {
            Some(why) => Err(why),
            None => Ok(format!("{title}\nmade small: {}\n{}", last.text, op::to_text(&small))),
        }
    }
}

fn make(path: &Path) -> Result<(), String> {
    let made = fs::create_dir_all(path).and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o777)));
    made.map_err(|e| format!("making {}: {e}", path.display()))
}

/// Removes a tree, if it is there.
fn clear(path: &Path) -> Result<(), String> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(format!("removing {}: {e}", path.display())),
        _ => Ok(()),
    }
}
