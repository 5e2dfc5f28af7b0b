//! One thread at a time, and a time that only passes when all of them wait.
//!
//! Every thread of the process waits for the baton; who has it runs until it would block (`hooks` notices). Then the dice
//! choose the next among those that can go on; if none can, the clock moves to the first moment that one of them waits
//! for. So the order of everything follows from the seed.
//!
//! A thread belongs to a life: that of a server, or of a client. Threads of a life that was killed never run again;
//! those of one that is frozen do not for now.

use raidfs_tests::dice::Dice;
use std::cell::{Cell, UnsafeCell};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::time::Duration;

/// A life of a server or a client, as a number. 0 is the one that directs the others.
pub type Life = usize;

/// A turn takes no time until it has asked for the time so often: what is logged must not change what happens.
const LOOKS_FREE: u64 = 10_000;

/// What a thread waits for, besides its deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// A wake of this address with one of these bits.
    Futex(usize, u32),
    /// Something to be read of this epoll descriptor.
    Epoll(i32),
    /// The end of another thread.
    End(usize),
    /// Nothing else.
    Time,
}

struct Baton(UnsafeCell<libc::sem_t>);

impl Baton {
    fn new() -> &'static Baton {
        // SAFETY: a semaphore of this process is initialised where it stays: it is never freed.
        unsafe {
            let baton: &'static Baton = Box::leak(Box::new(Baton(UnsafeCell::new(std::mem::zeroed()))));
            libc::sem_init(baton.0.get(), 0, 0);
            baton
        }
    }

    fn give(&self) {
        // SAFETY: it was initialised.
        unsafe { libc::sem_post(self.0.get()) };
    }

    fn take(&self) {
        // SAFETY: it was initialised.
        while unsafe { libc::sem_wait(self.0.get()) } != 0 {}
    }
}

struct Thread {
    life: Life,
    wait: Option<Wait>,
    deadline: Option<u64>,
    late: bool,
    done: bool,
    handle: Option<libc::pthread_t>,
    baton: &'static Baton,
}

impl Thread {
    fn new(life: Life) -> Thread {
        Thread { life, wait: None, deadline: None, late: false, done: false, handle: None, baton: Baton::new() }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Running,
    Frozen,
    Dead,
}

/// Everything that the threads share.
pub struct World {
    threads: Vec<Thread>,
    lives: Vec<Standing>,
    /// By how many seconds the wall clock of each life is wrong.
    clocks: Vec<i64>,
    /// A life that goes on by itself at a moment.
    to_thaw: Option<(Life, u64)>,
    now: u64,
    end: u64,
    schedule: Dice,
    /// For everything that is random in the world outside the programs.
    pub dice: Dice,
    entropy: Dice,
    trace: u64,
    steps: u64,
    looks: u64,
    record: Option<BufWriter<File>>,
}

struct Shared(UnsafeCell<Option<World>>);

// SAFETY: only the thread that has the baton touches it.
unsafe impl Sync for Shared {}

static WORLD: Shared = Shared(UnsafeCell::new(None));

thread_local! {
    /// One above the number of this thread; 0: it is not part of the simulation (yet, or any more).
    static ME: Cell<usize> = const { Cell::new(0) };
}

/// The world. Only for a thread that [`is_simulated`] (or just was): it has the baton, or it would not run.
#[allow(clippy::mut_from_ref)]
pub fn world() -> &'static mut World {
    // SAFETY: one thread runs at a time, and none keeps the reference beyond what it does without blocking.
    unsafe { (*WORLD.0.get()).as_mut() }.expect("the simulation has begun")
}

/// Whether this thread is part of the simulation.
pub fn is_simulated() -> bool {
    ME.get() != 0
}

/// This thread becomes the first of a world.
pub fn begin(seed: u64, end: Duration) {
    let mut dice = Dice::new(seed);
    let world = World {
        threads: vec![Thread::new(0)],
        lives: vec![Standing::Running],
        clocks: vec![0],
        to_thaw: None,
        now: 0,
        end: end.as_nanos() as u64,
        schedule: Dice::new(dice.roll()),
        dice: Dice::new(dice.roll()),
        entropy: Dice::new(dice.roll()),
        trace: 0,
        steps: 0,
        looks: 0,
        record: None,
    };
    // SAFETY: no other thread is part of the simulation yet.
    unsafe { *WORLD.0.get() = Some(world) };
    ME.set(1);
}

/// Ends the process at once: nothing of the simulation may run on.
pub fn end(code: i32) -> ! {
    let _ = std::io::stdout().flush();
    if let Some(record) = &mut world().record {
        let _ = record.flush();
    }
    // SAFETY: ends the process.
    unsafe { libc::_exit(code) }
}

impl World {
    /// Nanoseconds since the beginning. Whoever does nothing but look sees it pass in the end.
    pub fn look(&mut self) -> u64 {
        self.looks += 1;
        if self.looks > LOOKS_FREE {
            self.now += 1_000;
        }
        self.now
    }

    /// Nanoseconds since the beginning.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Random numbers as the machine has them.
    pub fn entropy(&mut self) -> u64 {
        self.entropy.roll()
    }

    /// Adds something that happened to what is compared between two runs.
    pub fn note(&mut self, what: u64) {
        if let Some(record) = &mut self.record {
            let _ = writeln!(record, "{what:x}");
        }
        self.trace = sum(self.trace, what);
    }

    /// Writes down every turn: for comparing two runs that should have been one.
    pub fn record(&mut self, into: File) {
        self.record = Some(BufWriter::new(into));
    }

    /// A sum over everything that happened, and the number of turns.
    pub fn trace(&self) -> (u64, u64) {
        (self.trace, self.steps)
    }

    /// The life that the running thread belongs to.
    pub fn life(&self) -> Life {
        self.threads[ME.get() - 1].life
    }

    /// A new life; threads that its first one starts belong to it.
    pub fn new_life(&mut self) -> Life {
        self.lives.push(Standing::Running);
        self.clocks.push(0);
        self.lives.len() - 1
    }

    /// From now on the wall clock of a life is wrong by so many seconds.
    pub fn set_clock(&mut self, life: Life, wrong: i64) {
        self.clocks[life] = wrong;
    }

    /// By how many seconds the wall clock of the running thread is wrong.
    pub fn clock(&self) -> i64 {
        self.clocks[self.life()]
    }

    /// Nothing of this life runs any more.
    pub fn kill(&mut self, life: Life) {
        self.lives[life] = Standing::Dead;
    }

    /// Nothing of this life runs for now.
    pub fn freeze(&mut self, life: Life) {
        if self.lives[life] == Standing::Running {
            self.lives[life] = Standing::Frozen;
        }
    }

    /// It goes on.
    pub fn thaw(&mut self, life: Life) {
        if self.lives[life] == Standing::Frozen {
            self.lives[life] = Standing::Running;
        }
    }

    /// It goes on at this moment, if somebody else runs on until then.
    pub fn thaw_at(&mut self, life: Life, at: u64) {
        self.to_thaw = Some((life, at));
    }

    /// What the running thread does from now on, it does for this life.
    pub fn enter(&mut self, life: Life) {
        self.threads[ME.get() - 1].life = life;
    }

    /// A thread is about to start, for the life of the running one.
    pub fn new_thread(&mut self) -> usize {
        let life = self.life();
        self.threads.push(Thread::new(life));
        self.threads.len() - 1
    }

    /// What a new thread waits for.
    pub fn waiting(&self, thread: usize) -> Waiting {
        Waiting(self.threads[thread].baton)
    }

    /// The system's name for a thread.
    pub fn name_thread(&mut self, thread: usize, handle: libc::pthread_t) {
        self.threads[thread].handle = Some(handle);
    }

    /// The newest thread with this name of the system's.
    pub fn thread_of(&self, handle: libc::pthread_t) -> Option<usize> {
        self.threads.iter().rposition(|t| t.handle == Some(handle))
    }

    /// Wakes up to `most` of those that wait for an address.
    pub fn wake(&mut self, address: usize, bits: u32, most: usize) -> usize {
        let waits = |t: &Thread| matches!(t.wait, Some(Wait::Futex(a, b)) if a == address && b & bits != 0);
        let lives = |t: &Thread| self.lives[t.life] != Standing::Dead;
        let mut waiting: Vec<usize> =
            (0..self.threads.len()).filter(|n| waits(&self.threads[*n]) && lives(&self.threads[*n])).collect();
        let mut woken = 0;
        while woken < most && !waiting.is_empty() {
            let chosen = waiting.swap_remove(self.schedule.below(waiting.len() as u64) as usize);
            (self.threads[chosen].wait, self.threads[chosen].deadline) = (None, None);
            woken += 1;
        }
        woken
    }

    fn is_alive(&self, thread: &Thread) -> bool {
        !thread.done && self.lives[thread.life] == Standing::Running
    }

    /// Those that can go on now.
    fn ready(&self) -> Vec<usize> {
        let mut polled = Vec::new();
        for (n, thread) in self.threads.iter().enumerate() {
            if let Some(Wait::Epoll(fd)) = thread.wait
                && self.is_alive(thread)
            {
                polled.push((n, libc::pollfd { fd, events: libc::POLLIN, revents: 0 }));
            }
        }
        let mut fds: Vec<libc::pollfd> = polled.iter().map(|(_, fd)| *fd).collect();
        // SAFETY: the array lives across the call, which does not wait.
        unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, 0) };
        let readable = |n: usize| polled.iter().zip(&fds).any(|((thread, _), fd)| *thread == n && fd.revents != 0);
        let can_go_on = |n: &usize| {
            let thread = &self.threads[*n];
            let due = thread.deadline.is_some_and(|at| at <= self.now);
            self.is_alive(thread)
                && match thread.wait {
                    None => true,
                    _ if due => true,
                    Some(Wait::Epoll(_)) => readable(*n),
                    Some(Wait::End(other)) => self.threads[other].done,
                    Some(Wait::Futex(..) | Wait::Time) => false,
                }
        };
        (0..self.threads.len()).filter(can_go_on).collect()
    }

    fn choose(&mut self) -> usize {
        loop {
            if let Some((life, _)) = self.to_thaw.take_if(|(_, at)| *at <= self.now) {
                self.thaw(life);
            }
            let ready = self.ready();
            if !ready.is_empty() {
                let chosen = ready[self.schedule.below(ready.len() as u64) as usize];
                self.steps += 1;
                self.looks = 0;
                self.now += 1_000 + self.schedule.below(1_000);
                self.trace = sum(sum(self.trace, self.now), chosen as u64);
                let thread = &mut self.threads[chosen];
                if let Some(record) = &mut self.record {
                    let (now, life, wait) = (self.now, thread.life, thread.wait);
                    let _ = writeln!(record, "{now} thread {chosen} of life {life}: {wait:?} of {}", ready.len());
                }
                thread.late = thread.wait.is_some();
                (thread.wait, thread.deadline) = (None, None);
                return chosen;
            }
            let next = self.threads.iter().filter(|t| self.is_alive(t)).filter_map(|t| t.deadline).min();
            match next {
                Some(at) if at <= self.end => self.now = self.now.max(at),
                Some(_) => stuck("it has not ended in time"),
                None => stuck("everybody waits for ever"),
            }
        }
    }
}

fn sum(so_far: u64, what: u64) -> u64 {
    (so_far.rotate_left(5) ^ what).wrapping_mul(0x517c_c1b7_2722_0a95)
}

fn stuck(why: &str) -> ! {
    println!("WRONG  {why}");
    end(1)
}

/// The running thread waits. False: until the deadline, and for nothing else.
pub fn wait(wait: Wait, deadline: Option<u64>) -> bool {
    let me = ME.get() - 1;
    let world = world();
    (world.threads[me].wait, world.threads[me].deadline) = (Some(wait), deadline);
    pass_on(me);
    !self::world().threads[me].late
}

/// Gives others a turn.
pub fn give_way() {
    let me = ME.get() - 1;
    pass_on(me);
}

fn pass_on(me: usize) {
    let world = world();
    let (next, mine) = (world.choose(), world.threads[me].baton);
    if next != me {
        world.threads[next].baton.give();
        mine.take();
    }
}

/// The running thread waits for a time to pass.
pub fn rest(span: Duration) {
    let until = world().now + span.as_nanos() as u64;
    wait(Wait::Time, Some(until));
}

/// A new thread begins, as soon as it is its turn.
pub fn arrive(thread: usize, baton: Waiting) {
    baton.0.take();
    ME.set(thread + 1);
}

/// What a new thread waits for.
#[derive(Clone, Copy)]
pub struct Waiting(&'static Baton);

// SAFETY: a semaphore is for several threads.
unsafe impl Send for Waiting {}

/// The running thread is done.
pub fn leave() {
    let me = ME.replace(0) - 1;
    // It still has the baton.
    let world = world();
    world.threads[me].done = true;
    let next = world.choose();
    world.threads[next].baton.give();
}
