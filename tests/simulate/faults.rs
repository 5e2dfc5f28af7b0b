//! What goes wrong in a simulation: one thing after the other, each for a while, sometimes two at once. All of it follows
//! from the seed before the run begins ([`Script`]), so that parts of it can be left out.

use super::disks::{Call, Part, Trouble};
use super::servers::Servers;
use super::world::rest;
use super::{HOSTS, OPERATOR, SECOND, clients, network};
use raidfs_common::id::ServerId;
use raidfs_tests::dice::Dice;
use std::collections::BTreeSet;
use std::time::Duration;

/// One fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The process dies.
    Kill(ServerId),
    /// It stops in order.
    Stop(ServerId),
    /// It does nothing for a while.
    Freeze(ServerId),
    /// Two hosts do not hear each other; or only one the other.
    Cut(u16, u16, bool),
    /// A host hears nobody and nobody hears it.
    Alone(u16),
    /// Two sides do not hear each other: those hosts whose bit is set, and the others.
    Split(u16),
    /// The power of these machines fails at the same moment. Only in calm, and never of both servers of a pair: so nothing
    /// that was acknowledged was only there.
    Power(&'static [u16]),
    /// Something is wrong with a server's disk.
    Disk(ServerId, Trouble),
    /// A machine's wall clock jumps by so many seconds, and stays so.
    Clock(ServerId, i64),
    /// A machine is lost with its disk, and another takes its place once that was said. Only in calm.
    Lose(ServerId),
}

/// A fault, and when.
#[derive(Clone, Copy, Debug)]
pub struct Act {
    /// After the one before was mended.
    pub after: Duration,
    /// What.
    pub fault: Fault,
    /// So much later another one.
    pub and: Option<(Duration, Fault)>,
    /// Until all is mended.
    pub lasts: Duration,
    /// What else has to be drawn follows from this.
    pub seed: u64,
    /// Whether all is lost at a power cut that was not synced.
    pub all: bool,
}

/// All that goes wrong.
#[derive(Clone, Debug)]
pub struct Script {
    /// How much longer than the least a message takes, in nanoseconds at most, as a rule.
    pub weather: u64,
    /// Logs keep next to nothing, so that who was away needs a snapshot.
    pub short_logs: bool,
    /// One after the other, while the clients are busy.
    pub acts: Vec<Act>,
    /// Before this one the client with the session hangs, and another takes the store over.
    pub takeover: Option<usize>,
    /// Soon after old files were cut.
    pub soon: Option<Act>,
    /// At the very end the power of both servers of a pair or of all machines fails.
    pub last: Option<Act>,
}

/// Whose power may fail at once: one, one of each pair, one and the witness. A quorum remembers.
const POWERLESS: [&[u16]; 13] =
    [&[0], &[1], &[2], &[3], &[4], &[1, 3], &[1, 4], &[2, 3], &[2, 4], &[0, 1], &[0, 2], &[0, 3], &[0, 4]];
/// An hour, either way.
const JUMPS: [i64; 2] = [3_600, -3_600];

impl Script {
    /// What goes wrong by this seed; `count`: so many faults.
    pub fn of(seed: u64, count: Option<u64>) -> Script {
        // Other dice than those of the world: what is directed does not depend on what happened.
        let mut dice = Dice::new(seed.wrapping_mul(31).wrapping_add(7));
        let weather = [200_000, 1_000_000, 10_000_000][dice.below(3) as usize];
        let short_logs = dice.once_in(2);
        let drawn = 2 + dice.below(6);
        let count = count.unwrap_or(drawn);
        let acts: Vec<Act> = (0..count).map(|_| act(&mut dice)).collect();
        let takeover = (seed % 4 == 3).then(|| dice.below(count + 1) as usize);
        let powerless = |dice: &mut Dice| Fault::Power(dice.pick(&POWERLESS[1..]));
        let soon = (seed % 4 == 2).then(|| Act {
            after: dice.span(1_000, 900_000),
            lasts: dice.span(10_000, 1_000_000),
            ..of_power(powerless(&mut dice), &mut dice)
        });
        let last: Option<&'static [u16]> = match dice.below(4) {
            0 => Some(&[0, 1, 2, 3, 4]),
            1 => Some(&[1, 2]),
            2 => Some(&[3, 4]),
            _ => None,
        };
        let last = last.map(|hosts| of_power(Fault::Power(hosts), &mut dice));
        Script { weather, short_logs, acts, takeover, soon, last }
    }

    /// The same without some: the acts by their numbers, behind them the last two.
    pub fn without(mut self, left_out: &BTreeSet<usize>) -> Script {
        let acts = self.acts.len();
        if left_out.contains(&acts) {
            self.soon = None;
        }
        if left_out.contains(&(acts + 1)) {
            self.last = None;
        }
        // Takeover counts among those that stay.
        let before = |n: usize| (0..n).filter(|at| !left_out.contains(at)).count();
        self.takeover = self.takeover.map(before);
        let mut number = 0;
        self.acts.retain(|_| {
            number += 1;
            !left_out.contains(&(number - 1))
        });
        self
    }

    /// How many parts can be left out.
    pub fn parts(&self) -> usize {
        self.acts.len() + 2
    }
}

fn of_power(fault: Fault, dice: &mut Dice) -> Act {
    let lasts = dice.span(10_000, 1_000_000);
    Act { after: Duration::ZERO, fault, and: None, lasts, seed: dice.roll(), all: dice.once_in(2) }
}

fn act(dice: &mut Dice) -> Act {
    let (after, fault) = (dice.span(50_000, 1_500_000), choose(dice));
    let and = dice.once_in(4).then(|| (dice.span(0, 1_000_000), choose(dice)));
    // What is for calm is not for then, and a server that does nothing cannot stop in order.
    let and = and.filter(|(_, fault)| !matches!(fault, Fault::Stop(_) | Fault::Power(_) | Fault::Lose(_)));
    let lasts = dice.span(10_000, 3_000_000);
    Act { after, fault, and, lasts, seed: dice.roll(), all: dice.once_in(2) }
}

/// Chooses a fault.
fn choose(dice: &mut Dice) -> Fault {
    let server = ServerId(dice.below(5) as u16);
    match dice.below(22) {
        0..=2 => Fault::Kill(server),
        3 => Fault::Stop(server),
        4 | 5 => Fault::Freeze(server),
        6..=8 => {
            let other = (server.0 + 1 + dice.below(u64::from(HOSTS) - 1) as u16) % HOSTS;
            Fault::Cut(server.0, other, dice.once_in(2))
        }
        9 => Fault::Alone(server.0),
        13..=15 => Fault::Power(dice.pick(&POWERLESS)),
        16..=19 => Fault::Disk(server, trouble(dice)),
        20 => Fault::Clock(server, dice.pick(&JUMPS)),
        21 => Fault::Lose(server),
        _ => Fault::Split(dice.below(1 << HOSTS) as u16),
    }
}

fn trouble(dice: &mut Dice) -> Trouble {
    let call = dice.pick(&[Call::Read, Call::Write, Call::Sync]);
    let part = dice.pick(&[Part::Chunks, Part::Chunks, Part::Log, Part::All]);
    match dice.below(6) {
        0 => Trouble::Slow(1_000),
        1 => Trouble::Slow(30 + dice.below(300)),
        2 => Trouble::Full,
        _ => Trouble::Fails(call, part),
    }
}

fn begin(fault: Fault, servers: &mut Servers, act: &Act) {
    match fault {
        Fault::Power(hosts) => {
            let ids: Vec<ServerId> = hosts.iter().copied().map(ServerId).collect();
            servers.cut_power(&ids, act.all, &mut Dice::new(act.seed));
        }
        Fault::Kill(id) => servers.kill(id),
        Fault::Stop(id) => servers.stop(id),
        Fault::Freeze(id) => servers.freeze(id),
        Fault::Cut(a, b, both) => {
            network::cut(a, b);
            if both {
                network::cut(b, a);
            }
        }
        Fault::Alone(host) => split(|other| other == host),
        Fault::Split(side) => split(|host| side >> host & 1 == 1),
        Fault::Disk(id, trouble) => servers.trouble(id, trouble),
        Fault::Clock(id, secs) => servers.jump(id, secs),
        Fault::Lose(id) => servers.lose(id),
    }
}

/// Hosts on the one side do not hear those on the other, nor these those.
pub fn split(side: impl Fn(u16) -> bool) {
    for from in 0..HOSTS {
        (0..HOSTS).filter(|to| side(from) != side(*to)).for_each(|to| network::cut(from, to));
    }
}

/// Mends everything.
pub fn mend(servers: &mut Servers) {
    network::heal();
    servers.mend_disks();
    for id in (0..5).map(ServerId) {
        servers.thaw(id);
        if !servers.runs(id) {
            servers.run(id);
        }
    }
}

/// Makes a fault, and mends it.
fn make_one(act: &Act, servers: &mut Servers, told: bool) {
    rest(act.after);
    if matches!(act.fault, Fault::Power(_) | Fault::Lose(_)) {
        calm(servers);
    }
    say(told, &format!("{:?}", act.fault));
    begin(act.fault, servers, act);
    if let Some((later, another)) = act.and {
        rest(later);
        say(told, &format!("and {another:?}"));
        begin(another, servers, act);
    }
    rest(act.lasts);
    if let Fault::Lose(id) = act.fault {
        network::heal();
        servers.mend_disks();
        (0..5).map(ServerId).for_each(|id| servers.thaw(id));
        (0..5).map(ServerId).filter(|other| *other != id).for_each(|other| {
            if !servers.runs(other) {
                servers.run(other);
            }
        });
        let config = servers.config.clone();
        clients::on_host(OPERATOR, move || clients::replace(config, id)).join().expect("the operator does not panic");
    }
    mend(servers);
    if matches!(act.fault, Fault::Lose(_)) {
        // Another fault might take the last copy.
        calm(servers);
    }
    say(told, "mended");
}

fn calm(servers: &Servers) {
    let config = servers.config.clone();
    clients::on_host(OPERATOR, move || clients::calm(config)).join().expect("the operator does not panic");
}

/// Makes the faults of a script while the clients are busy. `take_over` is called when it says so.
pub fn make(script: &Script, servers: &mut Servers, told: bool, take_over: impl FnOnce()) {
    let mut take_over = Some(take_over);
    for n in 0..=script.acts.len() {
        if script.takeover == Some(n)
            && let Some(take_over) = take_over.take()
        {
            say(told, &format!("host {SECOND} takes over"));
            take_over();
        }
        if let Some(act) = script.acts.get(n) {
            make_one(act, servers, told);
        }
    }
}

/// Makes a fault by itself.
pub fn make_alone(act: &Act, servers: &mut Servers, told: bool) {
    rest(act.after);
    say(told, &format!("at last {:?}", act.fault));
    begin(act.fault, servers, act);
    rest(act.lasts);
    mend(servers);
    say(told, "mended");
}

/// Tells what happens, if it is to.
pub fn say(told: bool, what: &str) {
    if told {
        println!("{:>9.3} s  {what}", super::world::world().now() as f64 / 1e9);
    }
}
