//! Makes the steps of one process on both sides and judges each; in the program itself, or in a process of its own that
//! takes orders on its standard input.

use super::attr_ops::{self, AttrOp, look};
use super::differences::{Accepted, refused, sets_times};
use super::file_ops::FileOp;
use super::judge::{During, Judge};
use super::names::Subject;
use super::op::{Op, Step};
use super::seen::{Nanos, Seen, Value};
use super::side::{Side, as_user};
use super::stream_ops::watch;
use super::sys::{call, errno_name};
use super::tally::{op_name, succeeded};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::SystemTime;

/// A difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// What differed, without the numbers: two differences of the same kind have the same.
    pub kind: String,
    /// How.
    pub text: String,
}

/// What a worker says of an order that it has obeyed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// What differed.
    pub found: Option<Found>,
    /// The order was a step that did what it is for.
    pub succeeded: bool,
}

/// What a worker is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Order {
    /// A new history begins in directories of this name.
    Begin(String),
    /// A step of it.
    Step(Step),
    /// It is over, or interrupted: everything is closed.
    End,
    /// The history in directories of this name goes on: they are opened again, and must hold what they held.
    Again(String),
}

/// Where the two sides are.
#[derive(Clone, Debug)]
pub struct Roots {
    /// A directory on the mount.
    pub mount: PathBuf,
    /// A directory on a local file system.
    pub local: PathBuf,
    /// Test only: the mount's side loses the last byte of what is written at a place, so that there is a difference.
    pub sabotage: bool,
    /// Both sides are of one kind, and nothing may differ: a test of the comparison itself.
    pub same: bool,
}

/// Makes steps in its own process.
pub struct Worker {
    roots: Roots,
    process: u8,
    /// The way out of the trees.
    outside: File,
    /// Its own tree and the shared one, locally and on the mount.
    trees: Option<[(Side, Side); 2]>,
    judge: Judge,
}

/// The tree of all processes.
const SHARED: &str = "shared";

fn now() -> Nanos {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_nanos() as Nanos)
}

impl Worker {
    /// A worker for one of the processes.
    pub fn new(roots: Roots, process: u8) -> Result<Worker, String> {
        let outside = File::open("/").map_err(|e| format!("opening /: {e}"))?;
        Ok(Worker { roots, process, outside, trees: None, judge: Judge::default() })
    }

    /// Does what it is told; with a difference if there is one.
    pub fn obey(&mut self, order: &Order) -> Result<Answer, String> {
        match order {
            Order::Begin(run) => {
                self.open(run)?;
                self.judge = Judge::new(now() - 10_000_000_000, self.roots.same);
                let _ = call!(libc::umask(0o022));
            }
            Order::Step(step) => return Ok(self.step(step)),
            Order::End => {
                self.trees = None;
                self.leave();
            }
            Order::Again(run) => self.open(run)?,
        }
        Ok(Answer::default())
    }

    fn open(&mut self, run: &str) -> Result<(), String> {
        self.leave();
        let tree = |name: &str| {
            let open = |root: &Path, is_mount| {
                let path = root.join(run).join(name);
                File::open(&path)
                    .map(|f| Side::new(f, is_mount && !self.roots.same, name == SHARED))
                    .map_err(|e| format!("{}: {e}", path.display()))
            };
            Ok::<_, String>((open(&self.roots.local, false)?, open(&self.roots.mount, true)?))
        };
        self.trees = Some([tree(&format!("p{}", self.process))?, tree(SHARED)?]);
        Ok(())
    }

    /// Back to where the program began.
    fn leave(&self) {
        let out = call!(libc::fchdir(self.outside.as_raw_fd())).and_then(|_| call!(libc::chroot(c".".as_ptr())));
        debug_assert!(out.is_ok(), "{out:?}");
    }

    fn step(&mut self, step: &Step) -> Answer {
        let Some(trees) = self.trees.as_mut() else { return Answer::default() };
        let (local, mount) = &mut trees[usize::from(step.shared)];
        if let Some(accepted) = refused(&step.op).filter(|_| !self.roots.same) {
            return Answer { found: must_refuse(step, accepted, mount), succeeded: false };
        }
        let from = now();
        let mut unsettled = mount.unsettled();
        let on_local = perform(step, local, false);
        watch(local);
        mount.watched = local.watched.clone();
        let on_mount = perform(step, mount, self.roots.sabotage);
        unsettled.extend(mount.unsettled());
        self.judge.know_unsettled(unsettled);
        let during = During { from, to: now() };
        let compared = self.judge.compare(&step.op, during, &on_local, &on_mount);
        let found = |(what, how): (String, String)| Found {
            kind: format!("{} of {}", nameless(&what), op_name(&step.op)),
            text: format!("{what}: {how}"),
        };
        Answer { found: compared.err().map(found), succeeded: succeeded(&step.op, &on_mount) }
    }
}

/// What the mount refuses by design it must refuse, and in words that mean it.
fn must_refuse(step: &Step, accepted: &Accepted, mount: &mut Side) -> Option<Found> {
    let found = |what: &str, text: String| Some(Found { kind: format!("{what} of {}", op_name(&step.op)), text });
    let seen = perform(step, mount, false);
    // A name that is moved onto itself stays, whatever is asked for; were it moved, a look at the tree would show it.
    let moves = matches!(step.op, Op::Name(_) | Op::Xattr(_));
    match seen.first().map(|s| &s.value) {
        Some(Value::Returned(Ok(_))) if !moves => found("success", format!("{}: it was not refused", accepted.name)),
        Some(Value::Returned(Err(errno @ (libc::ENOSYS | libc::EIO)))) => {
            found("error", format!("{}: refused with {}", accepted.name, errno_name(*errno)))
        }
        _ => None,
    }
}

/// What was seen, without the path that it was seen at.
fn nameless(what: &str) -> String {
    what.split("./").next().unwrap_or_default().trim().to_owned()
}

fn perform(step: &Step, side: &mut Side, sabotage: bool) -> Vec<Seen> {
    side.enter();
    let mut seen = as_user(step.user, || step.op.perform(side));
    if sabotage {
        spoil(&step.op, side);
    }
    if step.shared && sets_times(&step.op) {
        // Others do not know that this step may have set times on one side alone: both set them.
        for of in step.op.touches() {
            let _ = attr_ops::perform(&AttrOp::TimesNull { of }, side);
        }
    }
    if step.look || sets_times(&step.op) {
        for subject in step.op.touches() {
            let what = match &subject {
                Subject::Path(spot) => format!("what {} leads to", spot.path),
                Subject::Link(spot) => format!("what {} is", spot.path),
                Subject::Slot(slot) => format!("slot {slot}"),
            };
            seen.push(look(&what, &subject, side));
        }
    }
    seen
}

fn spoil(op: &Op, side: &Side) {
    if let Op::File(FileOp::Pwrite { slot, offset, length: length @ 2.., .. }) = op {
        let last = offset.saturating_add(*length as i64 - 1);
        let _ = call!(libc::pwrite(side.fd(*slot), [0u8].as_ptr().cast(), 1, last));
    }
}

/// Takes orders on standard input until there are no more: what `probe instep-worker` does.
pub fn serve(roots: Roots, process: u8) -> Result<(), String> {
    let mut worker = Worker::new(roots, process)?;
    let (input, mut output) = (std::io::stdin().lock(), std::io::stdout().lock());
    for line in input.lines() {
        let line = line.map_err(|e| format!("reading orders: {e}"))?;
        let order: Order = serde_json::from_str(&line).map_err(|e| format!("an order: {e}"))?;
        let answer = worker.obey(&order)?;
        let text = serde_json::to_string(&answer).map_err(|e| format!("an answer: {e}"))?;
        writeln!(output, "{text}").and_then(|()| output.flush()).map_err(|e| format!("answering: {e}"))?;
    }
    Ok(())
}

/// A worker and its answers that have not been looked at.
pub enum Hand {
    /// In this process.
    Own(Box<Worker>, VecDeque<Answer>),
    /// In a process of its own.
    Other(Child, ChildStdin, BufReader<ChildStdout>, usize),
}

impl Hand {
    /// In this process.
    pub fn own(roots: Roots) -> Result<Hand, String> {
        Ok(Hand::Own(Box::new(Worker::new(roots, 0)?), VecDeque::new()))
    }

    /// In a process of its own.
    pub fn other(roots: &Roots, process: u8) -> Result<Hand, String> {
        let program = std::env::current_exe().map_err(|e| format!("finding this program: {e}"))?;
        let mut command = Command::new(program);
        command.arg("instep-worker").arg(&roots.mount).arg(&roots.local).arg(process.to_string());
        for (word, is_so) in [("--sabotage", roots.sabotage), ("--same", roots.same)] {
            command.args(is_so.then_some(word));
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("starting a worker: {e}"))?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let (Some(input), Some(output)) = (input, output) else { return Err("a worker without pipes".to_owned()) };
        Ok(Hand::Other(child, input, BufReader::new(output), 0))
    }

    /// Gives an order; its answer is to be fetched.
    pub fn tell(&mut self, order: &Order) -> Result<(), String> {
        match self {
            Hand::Own(worker, answers) => answers.push_back(worker.obey(order)?),
            Hand::Other(_, input, _, waiting) => {
                let text = serde_json::to_string(order).map_err(|e| format!("an order: {e}"))?;
                writeln!(input, "{text}").map_err(|e| format!("telling a worker: {e}"))?;
                *waiting += 1;
            }
        }
        Ok(())
    }

    /// The answer to the oldest of them.
    pub fn answer(&mut self) -> Result<Answer, String> {
        match self {
            Hand::Own(_, answers) => answers.pop_front().ok_or_else(|| "no answer is waited for".to_owned()),
            Hand::Other(_, _, output, waiting) => {
                let mut line = String::new();
                output.read_line(&mut line).map_err(|e| format!("hearing a worker: {e}"))?;
                *waiting -= 1;
                serde_json::from_str(&line).map_err(|e| format!("a worker said {line:?}: {e}"))
            }
        }
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        if let Hand::Other(child, ..) = self {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
