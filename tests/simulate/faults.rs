//! What goes wrong in a simulation: one thing after the other, each for a while, sometimes two at once.

use super::servers::Servers;
use super::world::rest;
use super::{clients, network};
use raidfs_common::id::ServerId;
use raidfs_tests::dice::Dice;

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
}

/// Whose power may fail at once: one, one of each pair, one and the witness. A quorum remembers.
const POWERLESS: [&[u16]; 13] =
    [&[0], &[1], &[2], &[3], &[4], &[1, 3], &[1, 4], &[2, 3], &[2, 4], &[0, 1], &[0, 2], &[0, 3], &[0, 4]];

/// Chooses a fault.
fn choose(dice: &mut Dice, hosts: u16) -> Fault {
    let server = ServerId(dice.below(5) as u16);
    match dice.below(16) {
        0..=2 => Fault::Kill(server),
        3 => Fault::Stop(server),
        4 | 5 => Fault::Freeze(server),
        6..=8 => {
            let other = (server.0 + 1 + dice.below(u64::from(hosts) - 1) as u16) % hosts;
            Fault::Cut(server.0, other, dice.once_in(2))
        }
        9 => Fault::Alone(server.0),
        13..=15 => Fault::Power(dice.pick(&POWERLESS)),
        _ => Fault::Split(dice.below(1 << hosts) as u16),
    }
}

fn begin(fault: Fault, servers: &mut Servers, hosts: u16, dice: &mut Dice) {
    match fault {
        Fault::Power(hosts) => {
            let ids: Vec<ServerId> = hosts.iter().copied().map(ServerId).collect();
            servers.cut_power(&ids, dice);
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
        Fault::Alone(host) => split(hosts, |other| other == host),
        Fault::Split(side) => split(hosts, |host| side >> host & 1 == 1),
    }
}

fn split(hosts: u16, side: impl Fn(u16) -> bool) {
    for from in 0..hosts {
        (0..hosts).filter(|to| side(from) != side(*to)).for_each(|to| network::cut(from, to));
    }
}

/// Mends everything.
fn mend(servers: &mut Servers) {
    network::heal();
    for id in (0..5).map(ServerId) {
        servers.thaw(id);
        if !servers.runs(id) {
            servers.run(id);
        }
    }
}

/// Makes `count` faults, and mends them. Says what it does if it is to.
pub fn make(dice: &mut Dice, servers: &mut Servers, hosts: u16, count: u64, told: bool) {
    for _ in 0..count {
        rest(dice.span(50_000, 1_500_000));
        let fault = choose(dice, hosts);
        if matches!(fault, Fault::Power(_)) {
            let config = servers.config.clone();
            clients::on_host(hosts - 1, move || clients::calm(config)).join().expect("the operator does not panic");
        }
        say(told, &format!("{fault:?}"));
        begin(fault, servers, hosts, dice);
        if dice.once_in(4) {
            rest(dice.span(0, 1_000_000));
            let another = choose(dice, hosts);
            // A server that does nothing cannot stop in order.
            if !matches!(another, Fault::Stop(_) | Fault::Power(_)) {
                say(told, &format!("and {another:?}"));
                begin(another, servers, hosts, dice);
            }
        }
        rest(dice.span(10_000, 3_000_000));
        mend(servers);
        say(told, "mended");
    }
}

/// Within the next second the power of some machines fails, never of both servers of a pair.
pub fn soon(dice: &mut Dice, servers: &mut Servers, told: bool) {
    rest(dice.span(1_000, 900_000));
    let fault = Fault::Power(dice.pick(&POWERLESS[1..]));
    say(told, &format!("soon {fault:?}"));
    begin(fault, servers, 0, dice);
    rest(dice.span(10_000, 1_000_000));
    mend(servers);
    say(told, "mended");
}

/// Sometimes, at the very end, the power of both servers of a pair or of all machines fails; whose did.
pub fn last(dice: &mut Dice, servers: &mut Servers, told: bool) -> Option<&'static [u16]> {
    let hosts: &[u16] = match dice.below(4) {
        0 => &[0, 1, 2, 3, 4],
        1 => &[1, 2],
        2 => &[3, 4],
        _ => return None,
    };
    let fault = Fault::Power(hosts);
    say(told, &format!("at last {fault:?}"));
    begin(fault, servers, hosts.len() as u16, dice);
    rest(dice.span(10_000, 1_000_000));
    mend(servers);
    Some(hosts)
}

fn say(told: bool, what: &str) {
    if told {
        println!("{:>9.3} s  {what}", super::world::world().now() as f64 / 1e9);
    }
}
