//! One write that many watchers wait for: how long until the last of them has been told.
//!
//! Each watcher is a connection of its own with a one-shot watch on the same record, set and
//! confirmed before the write is sent; the watches are set again before each write. The time runs
//! from the sending of the write to the arrival of the last event at the generator.

use crate::failure::{Result, wrong};
use crate::generator::{Generator, latencies};
use crate::load::{Latency, Target, unique};
use crate::systems::accord::AccordConnection;
use crate::systems::zookeeper::ZookeeperConnection;
use crate::systems::{Connection, System};
use crate::workload::{Ask, Expected, Keys, Workload};
use bytes::Bytes;

/// How long a watcher may take.
const TIMEOUT_NS: u64 = 30_000_000_000;

/// What was measured.
#[derive(Clone, Copy, Debug)]
pub struct Watched {
    /// From the write to the last event.
    pub last: Latency,
    /// Writes.
    pub writes: usize,
}

/// Measures `writes` writes before `watchers` watchers.
///
/// # Errors
/// If a server does something wrong, or the system is neither Accord nor ZooKeeper.
pub fn run(target: &Target<'_>, watchers: usize, writes: usize) -> Result<Watched> {
    let watching = Watching { target, watchers, writes };
    match target.system {
        System::Accord | System::Corosync => {
            watching.run(|now, out| AccordConnection::new(now, 4, out))
        }
        System::Zookeeper => watching.run(ZookeeperConnection::new),
        System::Library | System::Etcd => {
            let what = "watch compares accord and zookeeper";
            Err(crate::failure::Failure::Usage(what.to_owned()))
        }
    }
}

struct Watching<'a> {
    target: &'a Target<'a>,
    watchers: usize,
    writes: usize,
}

impl Watching<'_> {
    fn run<C: Connection>(&self, new: impl Fn(u64, &mut Vec<u8>) -> C) -> Result<Watched> {
        // One connection more than watchers: the writer's.
        let connections = self.watchers + 1;
        let workload = Workload { connections, window: 4, keys: 1, ..Workload::default() };
        let connect = || Generator::connect(&workload, &self.target.addresses, unique(), new);
        let mut generator = self.target.inside(connect)??;
        let parent = Keys::parent(0);
        let key = Bytes::from([&parent[..], b"/watched"].concat());
        for key in [parent, key.clone()] {
            let value = Bytes::from_static(b"nothing ");
            generator.ask(self.watchers, Ask::Ensure { key, value }, Expected::Done)?;
            generator.run_until(Generator::is_quiet)?;
        }
        // A server that lags might not have the record yet, and would tell of its creation.
        for at in 0..self.watchers {
            let read = Ask::Read { key: key.clone(), linearizable: true };
            generator.ask(at, read, Expected::Any)?;
        }
        generator.run_until(Generator::is_quiet)?;
        let mut last = latencies();
        for write in 0..self.writes {
            let (before, watchers) = (generator.watch_events(), self.watchers);
            for at in 0..watchers {
                generator.ask(at, Ask::Watch { key: key.clone() }, Expected::Watch)?;
            }
            generator.run_until(Generator::is_quiet)?;
            if generator.watch_events() != before {
                return Err(wrong("a watch told of a change before there was one"));
            }
            let value = Bytes::copy_from_slice(&(write as u64).to_be_bytes());
            let began = generator.now();
            generator.ask(watchers, Ask::Write { key: key.clone(), value }, Expected::Done)?;
            let told = |this: &Generator<C>| this.watch_events() >= before + watchers;
            let late = began + TIMEOUT_NS;
            generator.run_until(|this| told(this) || this.now() > late)?;
            if !told(&generator) {
                let count = generator.watch_events() - before;
                return Err(wrong(format!("only {count} of {watchers} watchers were told")));
            }
            last.saturating_record(generator.now() - began);
            generator.run_until(Generator::is_quiet)?;
        }
        generator.settle()?;
        generator.finish()?;
        Ok(Watched { last: Latency::of(&last), writes: self.writes })
    }
}
