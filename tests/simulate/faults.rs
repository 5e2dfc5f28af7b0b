//! What goes wrong in a simulation: one thing after the other, each for a while, sometimes two at once.

use super::network;
use super::servers::Servers;
use super::world::rest;
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
}

/// Chooses a fault.
fn choose(dice: &mut Dice, hosts: u16) -> Fault {
    let server = ServerId(dice.below(5) as u16);
    match dice.below(13) {
        0..=2 => Fault::Kill(server),
        3 => Fault::Stop(server),
        4 | 5 => Fault::Freeze(server),
        6..=8 => {
            let other = (server.0 + 1 + dice.below(u64::from(hosts) - 1) as u16) % hosts;
            Fault::Cut(server.0, other, dice.once_in(2))
        }
        9 => Fault::Alone(server.0),
        _ => Fault::Split(dice.below(1 << hosts) as u16),
    }
}

fn begin(fault: Fault, servers: &mut Servers, hosts: u16) {
    match fault {
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
        say(told, &format!("{fault:?}"));
        begin(fault, servers, hosts);
        if dice.once_in(4) {
            rest(dice.span(0, 1_000_000));
            let another = choose(dice, hosts);
            // A server that does nothing cannot stop in order.
            if !matches!(another, Fault::Stop(_)) {
                say(told, &format!("and {another:?}"));
                begin(another, servers, hosts);
            }
        }
        rest(dice.span(10_000, 3_000_000));
        mend(servers);
        say(told, "mended");
    }
}

fn say(told: bool, what: &str) {
    if told {
        println!("{:>9.3} s  {what}", super::world::world().now() as f64 / 1e9);
    }
}
