//! The load generator: one thread, many connections, the same for every system.
//!
//! Whatever arrived on a connection is answered with new requests, and those leave in one system
//! call. Every answer is judged. In a closed loop a request follows an answer. In an open loop
//! requests are due at fixed times, and wait if their connection has as many outstanding as it may:
//! their latency counts from when they were due, so that a server that stalls is not spared.
//!
//! Read on in [`crate::load`], which measures what happens meanwhile.

use crate::failure::{During, Failure, Result, wrong};
use crate::systems::{Connection, Exchange};
use crate::workload::{Ask, Expected, Keys, Workload};
use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

/// Bytes read at once.
const READ_BYTES: usize = 256 << 10;
/// How long all may be silent while answers are due.
const TIMEOUT_NS: u64 = 60_000_000_000;
/// How often sessions are looked after.
const TICK_NS: u64 = 250_000_000;
/// What a load created is removed with at most so many requests outstanding on a connection. Few,
/// because etcd refuses requests when its members have much to catch up with.
const REMOVED_AT_ONCE: usize = 16;
const TIMER: Token = Token(usize::MAX);
/// Latencies above this are recorded as this.
const LATENCY_NS_MAX: u64 = 600_000_000_000;

/// A histogram of latencies in nanoseconds.
pub fn latencies() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3).expect("the bounds make sense")
}

/// One client.
struct Peer<C> {
    stream: TcpStream,
    connection: C,
    keys: Keys,
    /// What is to be sent, and how much of it was.
    out: Vec<u8>,
    sent: usize,
    pending: Pending,
    /// When requests were due that have not been sent.
    backlog: VecDeque<u64>,
    /// Steps of the script that were asked.
    fed: usize,
}

/// Requests under way, by tag.
#[derive(Default)]
struct Pending {
    slots: Vec<Option<(u64, Expected)>>,
    free: Vec<usize>,
}

impl Pending {
    fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    fn insert(&mut self, due: u64, expected: Expected) -> u64 {
        let at = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.slots[at] = Some((due, expected));
        at as u64
    }

    fn take(&mut self, tag: u64) -> Option<(u64, Expected)> {
        let at = usize::try_from(tag).ok()?;
        let taken = self.slots.get_mut(at)?.take();
        if taken.is_some() {
            self.free.push(at);
        }
        taken
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// The record above the keys.
    Parent,
    /// The keys, unless they are there.
    Ensure,
    /// A first value of each.
    First,
    /// The workload, without an end.
    Load,
    /// The end of what the load created.
    Remove,
    /// Nothing more.
    Nothing,
}

/// What was measured.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Requests answered.
    pub requests: u64,
    /// Of those, reads.
    pub reads: u64,
    /// Over how long.
    pub elapsed: Duration,
    /// From when each was due to its answer.
    pub latency: Histogram<u64>,
}

/// Connections to a cluster under load.
pub struct Generator<C> {
    workload: Workload,
    poll: Poll,
    events: Events,
    clock: Instant,
    peers: Vec<Peer<C>>,
    source: Source,
    pace: Option<Pace>,
    exchange: Exchange,
    scratch: Vec<u8>,
    recorded: Option<Recorded>,
    /// Requests answered since the load began.
    answered: u64,
    heard: u64,
    next_tick: u64,
    watch_events: usize,
}

/// Requests that are due at fixed times.
struct Pace {
    timer: TimerFd,
    interval_ns: f64,
    began: u64,
    asked: u64,
}

impl Pace {
    fn new(rate: u64, poll: &Poll) -> Result<Self> {
        let timer =
            TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK).during("a timer")?;
        let fd = timer.as_fd().as_raw_fd();
        let registered = poll.registry().register(&mut SourceFd(&fd), TIMER, Interest::READABLE);
        registered.during("a timer")?;
        Ok(Self { timer, interval_ns: 1e9 / rate as f64, began: 0, asked: 0 })
    }

    fn next_due(&self) -> u64 {
        self.began + (self.asked as f64 * self.interval_ns) as u64
    }

    /// Has the timer go off when the next is due.
    fn arm(&self, now: u64) -> Result<()> {
        let wait = Duration::from_nanos(self.next_due().saturating_sub(now).max(1));
        let expiration = Expiration::OneShot(TimeSpec::from_duration(wait));
        self.timer.set(expiration, TimerSetTimeFlags::empty()).during("a timer")
    }
}

impl<C: Connection> Generator<C> {
    /// Connects, and waits until all sessions are open. `run` tells apart what several loads
    /// create.
    ///
    /// # Errors
    /// If a server does not take a connection.
    pub fn connect(
        workload: &Workload,
        addresses: &[SocketAddr],
        run: u64,
        new: impl Fn(u64, &mut Vec<u8>) -> C,
    ) -> Result<Self> {
        let poll = Poll::new().during("a poll")?;
        let pace = workload.rate.map(|rate| Pace::new(rate, &poll)).transpose()?;
        let mut generator = Self {
            workload: workload.clone(),
            poll,
            events: Events::with_capacity(1024),
            clock: Instant::now(),
            peers: Vec::new(),
            source: Source::Nothing,
            pace,
            exchange: Exchange::default(),
            scratch: vec![0; READ_BYTES],
            recorded: None,
            answered: 0,
            heard: 0,
            next_tick: 0,
            watch_events: 0,
        };
        for at in 0..workload.connections {
            generator.connect_one(at, addresses[at % addresses.len()], run, &new)?;
        }
        generator.run_until(|this| this.peers.iter().all(|peer| peer.connection.is_ready()))?;
        Ok(generator)
    }

    fn connect_one(
        &mut self,
        at: usize,
        address: SocketAddr,
        run: u64,
        new: &impl Fn(u64, &mut Vec<u8>) -> C,
    ) -> Result<()> {
        let what = || format!("cannot connect to {address}");
        let stream = std::net::TcpStream::connect(address).during(what())?;
        stream.set_nonblocking(true).during(what())?;
        stream.set_nodelay(true).during(what())?;
        let mut stream = TcpStream::from_std(stream);
        let both = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, Token(at), both).during(what())?;
        let number = u16::try_from(at).map_err(|_| wrong("at most 65,536 connections"))?;
        let mut out = Vec::new();
        let connection = new(self.now(), &mut out);
        self.peers.push(Peer {
            stream,
            connection,
            keys: Keys::new(&self.workload, number, run, C::ORDERED),
            out,
            sent: 0,
            pending: Pending::default(),
            backlog: VecDeque::new(),
            fed: 0,
        });
        self.flush(at)
    }

    /// Nanoseconds since the generator was made.
    pub fn now(&self) -> u64 {
        self.clock.elapsed().as_nanos() as u64
    }

    /// Makes the keys exist, each with a value that this load knows.
    ///
    /// # Errors
    /// If a server does.
    pub fn prepare(&mut self) -> Result<()> {
        let fills_keys = !self.workload.fresh || self.workload.read_percent > 0;
        let sources: &[Source] = match fills_keys {
            true => &[Source::Parent, Source::Ensure, Source::First],
            false => &[Source::Parent],
        };
        sources.iter().try_for_each(|source| self.feed(*source))
    }

    /// Asks for all of a source that has an end.
    fn feed(&mut self, source: Source) -> Result<()> {
        self.source = source;
        self.peers.iter_mut().for_each(|peer| peer.fed = 0);
        self.fill_all()?;
        self.run_until(Self::is_quiet)?;
        self.source = Source::Nothing;
        Ok(())
    }

    /// Begins the load.
    ///
    /// # Errors
    /// If a request cannot be sent.
    pub fn begin(&mut self) -> Result<()> {
        self.source = Source::Load;
        let now = self.now();
        if let Some(pace) = &mut self.pace {
            pace.began = now;
            return pace.arm(now);
        }
        self.fill_all()
    }

    /// Keeps the load up for so long.
    ///
    /// # Errors
    /// If a server does something wrong.
    pub fn keep_up(&mut self, time: Duration) -> Result<()> {
        let end = self.now() + time.as_nanos() as u64;
        self.run_until(|this| this.now() >= end)
    }

    /// Requests answered since the beginning.
    pub const fn answered(&self) -> u64 {
        self.answered
    }

    /// Records from here on.
    pub fn record(&mut self) {
        let elapsed = Duration::from_nanos(self.now());
        let latency = latencies();
        self.recorded = Some(Recorded { requests: 0, reads: 0, elapsed, latency });
    }

    /// What was recorded.
    ///
    /// # Panics
    /// If nothing was to be.
    pub fn recorded(&mut self) -> Recorded {
        let mut recorded = self.recorded.take().expect("recording has begun");
        recorded.elapsed = Duration::from_nanos(self.now()) - recorded.elapsed;
        recorded
    }

    /// Ends the load: waits for all answers.
    ///
    /// # Errors
    /// If an answer is wrong, or does not come.
    pub fn settle(&mut self) -> Result<()> {
        self.source = Source::Nothing;
        self.run_until(Self::is_quiet)
    }

    /// Removes what the load created, so that the next one finds what this one found, and ends the
    /// sessions.
    ///
    /// # Errors
    /// If an answer is wrong, or does not come.
    pub fn finish(mut self) -> Result<()> {
        self.workload.window = self.workload.window.min(REMOVED_AT_ONCE);
        self.feed(Source::Remove)?;
        let now = self.now();
        for at in 0..self.peers.len() {
            let Peer { connection, out, .. } = &mut self.peers[at];
            connection.close(now, out);
            self.flush(at)?;
        }
        Ok(())
    }

    /// Sends one request over one connection.
    ///
    /// # Errors
    /// If it cannot be sent.
    pub fn ask(&mut self, at: usize, ask: Ask, expected: Expected) -> Result<()> {
        let now = self.now();
        let peer = &mut self.peers[at];
        let tag = peer.pending.insert(now, expected);
        peer.connection.ask(now, tag, ask, &mut peer.out)?;
        self.flush(at)
    }

    /// Watches told of changes so far.
    pub const fn watch_events(&self) -> usize {
        self.watch_events
    }

    /// True if every request is answered.
    pub fn is_quiet(&self) -> bool {
        self.peers.iter().all(|peer| peer.pending.len() == 0)
    }

    /// Moves bytes until it is true.
    ///
    /// # Errors
    /// If a server does something wrong, or nothing for long.
    pub fn run_until(&mut self, mut done: impl FnMut(&Self) -> bool) -> Result<()> {
        self.heard = self.now();
        while !done(self) {
            crate::interrupt::check()?;
            self.step()?;
        }
        Ok(())
    }

    fn step(&mut self) -> Result<()> {
        let wait = Duration::from_nanos(TICK_NS / 10);
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            polled => polled.during("waiting for sockets")?,
        }
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            if event.token() == TIMER {
                self.on_due()?;
                continue;
            }
            let at = event.token().0;
            if event.is_readable() {
                self.receive(at)?;
            }
            self.fill(at)?;
            self.flush(at)?;
        }
        self.events = events;
        let now = self.now();
        if now >= self.next_tick {
            self.next_tick = now + TICK_NS;
            self.tick(now)?;
        }
        Ok(())
    }

    fn tick(&mut self, now: u64) -> Result<()> {
        for at in 0..self.peers.len() {
            let peer = &mut self.peers[at];
            peer.connection.tick(now, &mut peer.out)?;
            self.flush(at)?;
        }
        let waits = self.peers.iter().any(|peer| peer.pending.len() > 0);
        match waits && now.saturating_sub(self.heard) > TIMEOUT_NS {
            true => Err(wrong("no server answered anything for a minute")),
            false => Ok(()),
        }
    }

    /// Requests have become due.
    fn on_due(&mut self) -> Result<()> {
        let now = self.now();
        let Some(pace) = &mut self.pace else { return Ok(()) };
        if self.source != Source::Load {
            return Ok(());
        }
        let first = pace.asked;
        while pace.next_due() <= now {
            let at = (pace.asked % self.peers.len() as u64) as usize;
            self.peers[at].backlog.push_back(pace.next_due());
            pace.asked += 1;
        }
        pace.arm(now)?;
        let touched = (pace.asked - first).min(self.peers.len() as u64);
        for turn in first..first + touched {
            let at = (turn % self.peers.len() as u64) as usize;
            self.fill(at)?;
            self.flush(at)?;
        }
        Ok(())
    }

    fn receive(&mut self, at: usize) -> Result<()> {
        loop {
            let peer = &mut self.peers[at];
            let bytes = match peer.stream.read(&mut self.scratch) {
                Ok(0) => {
                    let what = format!("the server hung up on connection {at}");
                    return Err(Failure::Refused(what));
                }
                Ok(bytes) => bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).during(format!("connection {at}")),
            };
            let now = self.clock.elapsed().as_nanos() as u64;
            self.exchange.out = std::mem::take(&mut peer.out);
            peer.connection.receive(now, &self.scratch[..bytes], &mut self.exchange)?;
            peer.out = std::mem::take(&mut self.exchange.out);
            self.take_answers(at, now)?;
            // A short read has emptied the socket; what comes later is another event.
            if bytes < self.scratch.len() {
                return Ok(());
            }
        }
    }

    fn take_answers(&mut self, at: usize, now: u64) -> Result<()> {
        let peer = &mut self.peers[at];
        self.watch_events += std::mem::take(&mut self.exchange.events);
        self.heard = now;
        for (tag, answer) in self.exchange.answers.drain(..) {
            let Some((due, expected)) = peer.pending.take(tag) else {
                return Err(wrong("a request was answered twice"));
            };
            peer.keys.judge(&expected, &answer)?;
            if self.source == Source::Load {
                self.answered += 1;
            }
            if let Some(recorded) = &mut self.recorded {
                recorded.requests += 1;
                recorded.reads += u64::from(matches!(expected, Expected::Read { .. }));
                recorded.latency.saturating_record(now.saturating_sub(due));
            }
        }
        Ok(())
    }

    fn fill_all(&mut self) -> Result<()> {
        for at in 0..self.peers.len() {
            self.fill(at)?;
            self.flush(at)?;
        }
        Ok(())
    }

    /// Asks as much over a connection as may be outstanding.
    fn fill(&mut self, at: usize) -> Result<()> {
        if self.source == Source::Nothing {
            return Ok(());
        }
        let now = self.clock.elapsed().as_nanos() as u64;
        let open = self.pace.is_some() && self.source == Source::Load;
        let peer = &mut self.peers[at];
        while peer.pending.len() < self.workload.window {
            let due = match open {
                true => match peer.backlog.pop_front() {
                    Some(due) => due,
                    None => break,
                },
                false => now,
            };
            let Some((ask, expected)) = next_ask(self.source, &self.workload, at, peer) else {
                break;
            };
            let tag = peer.pending.insert(due, expected);
            peer.connection.ask(now, tag, ask, &mut peer.out)?;
        }
        Ok(())
    }

    /// Sends what the socket takes.
    fn flush(&mut self, at: usize) -> Result<()> {
        let peer = &mut self.peers[at];
        peer.connection.drain(&mut peer.out)?;
        while peer.sent < peer.out.len() {
            match peer.stream.write(&peer.out[peer.sent..]) {
                Ok(bytes) => peer.sent += bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).during(format!("connection {at}")),
            }
        }
        peer.out.clear();
        peer.sent = 0;
        Ok(())
    }
}

fn next_ask<C>(
    source: Source,
    workload: &Workload,
    at: usize,
    peer: &mut Peer<C>,
) -> Option<(Ask, Expected)> {
    let fed = peer.fed;
    peer.fed += 1;
    match source {
        Source::Nothing => None,
        Source::Load => Some(peer.keys.next(workload)),
        Source::Parent if fed == 0 => {
            let key = Keys::parent(u16::try_from(at).unwrap_or(u16::MAX));
            Some((Ask::Ensure { key, value: "parent".into() }, Expected::Done))
        }
        Source::Parent => None,
        Source::Ensure => Some((peer.keys.ensure(fed)?, Expected::Done)),
        Source::First => peer.keys.first_write(fed),
        Source::Remove => peer.keys.remove(fed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pending_requests_are_taken_once() {
        let mut pending = Pending::default();
        let first = pending.insert(5, Expected::Done);
        let second = pending.insert(6, Expected::Watch);
        assert_eq!((first, second, pending.len()), (0, 1, 2));
        assert_eq!(pending.take(0), Some((5, Expected::Done)));
        assert_eq!((pending.take(0), pending.take(7)), (None, None));
        assert_eq!((pending.insert(7, Expected::Watch), pending.len()), (0, 2));
    }
}
