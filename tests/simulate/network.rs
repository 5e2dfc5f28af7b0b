//! The network of a simulation: connections whose bytes arrive in order, each when the dice say, and not at all while
//! the way is cut. Connections do not break by a cut, as those of TCP do not for minutes; they break when a process dies.

use super::world::{Life, world};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use raidfs_common::stream::{Duplex, Entrance, Network};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep};

/// A machine: a server's number, or one above those of all servers for a client's.
pub type Host = u16;

/// Bytes that are under way in one direction before the sender waits.
const WINDOW_BYTES: usize = 1 << 20;
/// A first packet that is lost is sent again after this.
const CONNECT_AGAIN: Duration = Duration::from_secs(1);

enum Item {
    Bytes(Vec<u8>),
    /// The other end closed it.
    End,
    /// The other end's process is gone.
    Reset,
}

/// One direction of a connection.
struct Pipe {
    from: (Host, Life),
    to: (Host, Life),
    items: VecDeque<(u64, Item)>,
    bytes: usize,
    newest: u64,
    broken: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Pipe {
    fn send(&mut self, item: Item) {
        let world = world();
        let (weather, far) = {
            let net = NET.lock();
            (net.weather, net.far.get(&(self.from.0, self.to.0)).copied().unwrap_or_default())
        };
        let slow = if world.dice.once_in(200) { world.dice.below(30_000_000) } else { 0 };
        let delay = 30_000 + world.dice.below(weather) + slow + far;
        self.newest = (world.now() + delay).max(self.newest + 1);
        world.note(u64::from(self.from.0) << 48 | u64::from(self.to.0) << 32 | self.bytes as u64);
        self.items.push_back((self.newest, item));
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
    }
}

type Way = Arc<Mutex<Pipe>>;

#[derive(Default)]
struct State {
    ports: BTreeMap<SocketAddr, (Host, Life, Arc<Door>)>,
    cuts: BTreeSet<(Host, Host)>,
    /// So much longer a message takes on these ways, in nanoseconds.
    far: BTreeMap<(Host, Host), u64>,
    ways: Vec<Way>,
    /// The host of each life.
    hosts: BTreeMap<Life, Host>,
    weather: u64,
}

static NET: LazyLock<Mutex<State>> = LazyLock::new(Mutex::default);

/// What arrives at a port.
#[derive(Default)]
struct Door {
    waiting: Mutex<VecDeque<(End, SocketAddr)>>,
    came: Notify,
}

/// One end of a connection.
struct End {
    reads: Way,
    writes: Way,
    timer: Option<Pin<Box<Sleep>>>,
}

impl std::fmt::Debug for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("End").finish_non_exhaustive()
    }
}

impl Duplex for End {}

/// How much longer than the least a message takes, in nanoseconds at most, as a rule.
pub fn set_weather(nanos: u64) {
    NET.lock().weather = nanos;
}

/// This life runs on that host.
pub fn settle(life: Life, host: Host) {
    NET.lock().hosts.insert(life, host);
}

/// What two hosts say to each other takes so much longer from now on, in each direction.
pub fn put_apart(a: Host, b: Host, by: Duration) {
    let nanos = by.as_nanos() as u64;
    NET.lock().far.extend([((a, b), nanos), ((b, a), nanos)]);
}

/// Nothing arrives on this way any more.
pub fn cut(from: Host, to: Host) {
    NET.lock().cuts.insert((from, to));
}

/// What was sent on this way arrives again, and so does what is still under way.
pub fn open(from: Host, to: Host) {
    let ways = {
        let mut net = NET.lock();
        net.cuts.remove(&(from, to));
        net.ways.clone()
    };
    ways.iter().for_each(|way| way.lock().wake());
}

/// All ways are open, and as short as they were.
pub fn heal() {
    let ways = {
        let mut net = NET.lock();
        net.cuts.clear();
        net.far.clear();
        net.ways.clone()
    };
    ways.iter().for_each(|way| way.lock().wake());
}

/// The process of a life is gone: its port refuses, and its connections break. `power`: its machine is gone with it, and so
/// is what that had not sent yet.
pub fn kill(life: Life, power: bool) {
    let ways = {
        let mut net = NET.lock();
        net.ports.retain(|_, (_, of, _)| *of != life);
        net.ways.retain(|way| Arc::strong_count(way) > 1);
        net.ways.clone()
    };
    for way in ways {
        let mut pipe = way.lock();
        if pipe.from.1 == life {
            if power {
                pipe.items.clear();
            }
            pipe.send(Item::Reset);
        } else if pipe.to.1 == life {
            pipe.broken = true;
            pipe.wake();
        }
    }
}

fn is_cut(from: Host, to: Host) -> bool {
    NET.lock().cuts.contains(&(from, to))
}

impl AsyncRead for End {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            let mut pipe = this.reads.lock();
            pipe.reader = Some(cx.waker().clone());
            let cut = is_cut(pipe.from.0, pipe.to.0);
            let Some((at, item)) = pipe.items.front_mut().filter(|_| !cut) else {
                this.timer = None;
                return Poll::Pending;
            };
            let now = world().now();
            if *at > now {
                let until = Instant::now() + Duration::from_nanos(*at - now);
                drop(pipe);
                let timer = this.timer.insert(Box::pin(tokio::time::sleep_until(until)));
                if timer.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                // The timer's clock has a coarser grain.
                world().look();
                continue;
            }
            this.timer = None;
            let bytes = match item {
                Item::Bytes(bytes) => bytes,
                Item::End => return Poll::Ready(Ok(())),
                Item::Reset => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            };
            let taken = bytes.len().min(buf.remaining());
            buf.put_slice(&bytes[..taken]);
            bytes.drain(..taken);
            if bytes.is_empty() {
                pipe.items.pop_front();
            }
            pipe.bytes -= taken;
            if let Some(writer) = pipe.writer.take() {
                writer.wake();
            }
            return Poll::Ready(Ok(()));
        }
    }
}

impl AsyncWrite for End {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let mut pipe = self.writes.lock();
        if pipe.broken {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let room = WINDOW_BYTES - pipe.bytes;
        if room == 0 {
            pipe.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let taken = room.min(buf.len());
        pipe.bytes += taken;
        pipe.send(Item::Bytes(buf[..taken].to_vec()));
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writes.lock().send(Item::End);
        Poll::Ready(Ok(()))
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.writes.lock().send(Item::End);
        let mut reads = self.reads.lock();
        reads.broken = true;
        reads.wake();
    }
}

/// The network.
pub struct Simulated;

impl Network for Simulated {
    fn connect(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Duplex>>> {
        Box::pin(async move {
            let life = world().life();
            let from = NET.lock().hosts[&life];
            let to = host_of(address);
            while is_cut(from, to) || is_cut(to, from) {
                tokio::time::sleep_until(Instant::now() + CONNECT_AGAIN).await;
            }
            let pause = world().dice.span(50, 300);
            tokio::time::sleep_until(Instant::now() + pause).await;
            let mut net = NET.lock();
            let Some((_, other, door)) = net.ports.get(&address).cloned() else {
                return Err(io::ErrorKind::ConnectionRefused.into());
            };
            let way = |from, to| {
                let (items, bytes, newest, broken, reader, writer) = (VecDeque::new(), 0, 0, false, None, None);
                Arc::new(Mutex::new(Pipe { from, to, items, bytes, newest, broken, reader, writer }))
            };
            let (there, back) = (way((from, life), (to, other)), way((to, other), (from, life)));
            net.ways.extend([there.clone(), back.clone()]);
            drop(net);
            let far = End { reads: there.clone(), writes: back.clone(), timer: None };
            door.waiting.lock().push_back((far, address_of(from)));
            door.came.notify_one();
            Ok(Box::new(End { reads: back, writes: there, timer: None }) as Box<dyn Duplex>)
        })
    }
}

/// The address of a host's port.
pub fn address_of(host: Host) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, host as u8], 7_000))
}

fn host_of(address: SocketAddr) -> Host {
    match address {
        SocketAddr::V4(address) => u16::from(address.ip().octets()[3]),
        SocketAddr::V6(_) => 0,
    }
}

/// A port that is listened at.
pub struct Bound {
    life: Life,
    door: Arc<Door>,
}

impl std::fmt::Debug for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bound").field("life", &self.life).finish_non_exhaustive()
    }
}

/// The port of a life's host.
pub fn bind(life: Life, host: Host) -> Bound {
    let door = Arc::new(Door::default());
    NET.lock().ports.insert(address_of(host), (host, life, door.clone()));
    Bound { life, door }
}

impl Entrance for Bound {
    fn accept(&self) -> BoxFuture<'_, io::Result<(Box<dyn Duplex>, SocketAddr)>> {
        Box::pin(async move {
            loop {
                if let Some((end, peer)) = self.door.waiting.lock().pop_front() {
                    return Ok((Box::new(end) as Box<dyn Duplex>, peer));
                }
                self.door.came.notified().await;
            }
        })
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        NET.lock().ports.retain(|_, (_, of, _)| *of != self.life);
    }
}
