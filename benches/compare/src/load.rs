//! One measurement: a workload on a cluster, and all that is to be known of it afterwards.

use crate::failure::{Failure, Result, wrong};
use crate::generator::{Generator, Recorded};
use crate::measure::Usage;
use crate::systems::accord::AccordConnection;
use crate::systems::counters::log_syncs;
use crate::systems::etcd::EtcdConnection;
use crate::systems::zookeeper::ZookeeperConnection;
use crate::systems::{Cluster, Connection, Mode, System};
use crate::workload::Workload;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a measurement takes.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Load before anything is recorded.
    pub warm: Duration,
    /// The load goes on like this until its rate is stable, but no longer.
    pub warm_max: Duration,
    /// What is recorded.
    pub measure: Duration,
}

/// What is measured: a cluster that was started here, or servers that run elsewhere.
#[derive(Clone, Debug)]
pub struct Target<'a> {
    /// Which system.
    pub system: System,
    /// What its writes are safe in.
    pub mode: Mode,
    /// Where its servers are.
    pub addresses: Vec<SocketAddr>,
    /// The cluster, if it was started here.
    pub cluster: Option<&'a Cluster>,
}

impl Target<'_> {
    /// Does something where the servers can be reached.
    ///
    /// # Errors
    /// If that place is gone.
    pub fn inside<T>(&self, act: impl FnOnce() -> T) -> Result<T> {
        match self.cluster {
            Some(cluster) => cluster.inside(act),
            None => Ok(act()),
        }
    }
}

impl<'a> From<&'a Cluster> for Target<'a> {
    fn from(cluster: &'a Cluster) -> Self {
        Self {
            system: cluster.setup.system,
            mode: cluster.setup.mode,
            addresses: cluster.addresses.clone(),
            cluster: Some(cluster),
        }
    }
}

/// Latencies in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Half were faster.
    pub p50_us: f64,
    /// Nine in ten were.
    pub p90_us: f64,
    /// 99 in 100.
    pub p99_us: f64,
    /// 999 in 1,000.
    pub p999_us: f64,
    /// The slowest.
    pub max_us: f64,
    /// The mean.
    pub mean_us: f64,
}

impl Latency {
    /// Of a histogram in nanoseconds.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        Self {
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: histogram.max() as f64 / 1e3,
            mean_us: histogram.mean() / 1e3,
        }
    }
}

/// One measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// What it belongs to.
    pub row: String,
    /// Which of several equal ones.
    pub round: usize,
    /// Of which system.
    pub system: System,
    /// What its writes are safe in.
    pub mode: Mode,
    /// On how many servers.
    pub servers: usize,
    /// What was asked.
    pub workload: Workload,
    /// Requests answered.
    pub requests: u64,
    /// Of those, reads.
    pub reads: u64,
    /// Over how long.
    pub seconds: f64,
    /// From when a request was due to its answer.
    pub latency: Latency,
    /// What all servers together used. Zeros if they run elsewhere.
    pub servers_usage: Usage,
    /// How often the servers together say to have synced their logs. None if they do not say.
    #[serde(default)]
    pub log_syncs: Option<u64>,
    /// Processor seconds of Corosync's daemons, which those of the servers contain.
    #[serde(default)]
    pub daemons_seconds: f64,
    /// Processor seconds of the generator.
    pub generator_seconds: f64,
}

impl Measurement {
    /// Requests a second.
    pub fn per_second(&self) -> f64 {
        self.requests as f64 / self.seconds
    }

    /// Processor microseconds of all servers for a request.
    pub fn servers_us(&self) -> f64 {
        self.servers_usage.cpu_seconds * 1e6 / self.requests.max(1) as f64
    }

    /// Processor microseconds of the generator for a request.
    pub fn generator_us(&self) -> f64 {
        self.generator_seconds * 1e6 / self.requests.max(1) as f64
    }
}

/// Measures a workload.
///
/// # Errors
/// If a server does something wrong.
pub fn measure(
    target: &Target<'_>,
    (row, round): (&str, usize),
    workload: &Workload,
    timing: Timing,
) -> Result<Measurement> {
    workload.check()?;
    let window = workload.window;
    let load = Load { target, workload, timing };
    let (recorded, used) = match target.system {
        System::Accord | System::Corosync => {
            load.run(|now, out| AccordConnection::new(now, window, out))
        }
        System::Zookeeper => load.run(ZookeeperConnection::new),
        System::Etcd => load.run(EtcdConnection::new),
        System::Library => crate::library::run(target, workload, timing),
    }
    .map_err(|error| explain(target, error))?;
    Ok(Measurement {
        row: row.to_owned(),
        round,
        system: target.system,
        mode: target.mode,
        servers: target.addresses.len(),
        workload: workload.clone(),
        requests: recorded.requests,
        reads: recorded.reads,
        seconds: recorded.elapsed.as_secs_f64(),
        latency: Latency::of(&recorded.latency),
        servers_usage: used.servers,
        log_syncs: used.log_syncs,
        daemons_seconds: used.daemons_seconds,
        generator_seconds: used.generator_seconds,
    })
}

/// Measures a workload, and again if a server refused something: on a busy machine leaders change.
/// That is noted. A wrong answer is not forgiven.
///
/// # Errors
/// If a server does something wrong, or refuses something each time.
pub fn measure_patiently(
    target: &Target<'_>,
    row: (&str, usize),
    workload: &Workload,
    timing: Timing,
    mut note: impl FnMut(String),
) -> Result<Measurement> {
    const ATTEMPTS: usize = 3;
    const PAUSE: Duration = Duration::from_secs(2);
    let mut attempt = 1;
    loop {
        match measure(target, row, workload, timing) {
            Err(Failure::Refused(what)) if attempt < ATTEMPTS => {
                note(format!("measured again ({}): {what}", row.0));
                attempt += 1;
                std::thread::sleep(PAUSE);
            }
            done => return done,
        }
    }
}

/// Adds what the servers logged.
pub fn explain(target: &Target<'_>, error: Failure) -> Failure {
    match (error, target.cluster) {
        (Failure::Wrong(what), Some(cluster)) => {
            wrong(format!("{}: {what}\n{}", target.system.name(), cluster.log_tails()))
        }
        (Failure::Refused(what), _) => {
            Failure::Refused(format!("{}: {what}", target.system.name()))
        }
        (error, _) => error,
    }
}

/// What was used during a measurement.
#[derive(Clone, Copy, Debug)]
pub struct Used {
    /// By the servers.
    pub servers: Usage,
    /// How often they synced their logs, if they say so.
    pub log_syncs: Option<u64>,
    /// Of that, processor seconds of daemons.
    pub daemons_seconds: f64,
    /// By the generator.
    pub generator_seconds: f64,
}

/// Reads what was used so far.
#[derive(Debug)]
pub struct Meter {
    pids: Vec<u32>,
    daemon_pids: Vec<u32>,
    servers: Usage,
    daemons: Usage,
    /// What the servers have counted. They are asked beside the load: it does not stand still.
    log_syncs: JoinHandle<Option<u64>>,
    system: System,
    counters: Vec<SocketAddr>,
    generator_seconds: f64,
}

impl Meter {
    /// Begins to count.
    ///
    /// # Errors
    /// If a server has ended.
    pub fn begin(target: &Target<'_>) -> Result<Self> {
        let daemon_pids = target.cluster.map(Cluster::daemon_pids).unwrap_or_default();
        let mut pids = target.cluster.map(Cluster::pids).unwrap_or_default();
        pids.extend(&daemon_pids);
        let system = target.system;
        let counters = target.cluster.map_or_else(Vec::new, |cluster| cluster.counters.clone());
        let asked = counters.clone();
        let log_syncs = std::thread::spawn(move || log_syncs(system, &asked));
        let (servers, daemons) = (Usage::of(&pids)?, Usage::of(&daemon_pids)?);
        let generator_seconds = Usage::of_self()?;
        Ok(Self {
            pids,
            daemon_pids,
            servers,
            daemons,
            log_syncs,
            system,
            counters,
            generator_seconds,
        })
    }

    /// What was used since.
    ///
    /// # Errors
    /// If a server has ended.
    pub fn end(self) -> Result<Used> {
        let generator_seconds = Usage::of_self()? - self.generator_seconds;
        let servers = Usage::of(&self.pids)?.since(self.servers);
        let daemons = Usage::of(&self.daemon_pids)?.since(self.daemons);
        let before = self.log_syncs.join().expect("asking does not panic");
        let after = log_syncs(self.system, &self.counters);
        let log_syncs = after.zip(before).and_then(|(after, before)| after.checked_sub(before));
        Ok(Used { servers, log_syncs, daemons_seconds: daemons.cpu_seconds, generator_seconds })
    }
}

struct Load<'a> {
    target: &'a Target<'a>,
    workload: &'a Workload,
    timing: Timing,
}

impl Load<'_> {
    fn run<C: Connection>(&self, new: impl Fn(u64, &mut Vec<u8>) -> C) -> Result<(Recorded, Used)> {
        let run = unique();
        let addresses = &self.target.addresses;
        let connect = || Generator::connect(self.workload, addresses, run, new);
        let mut generator = self.target.inside(connect)??;
        generator.prepare()?;
        generator.begin()?;
        generator.keep_up(self.timing.warm)?;
        self.warm_up(&mut generator)?;
        let meter = Meter::begin(self.target)?;
        generator.record();
        self.keep_up(&mut generator, self.timing.measure)?;
        let recorded = generator.recorded();
        let used = meter.end()?;
        generator.settle()?;
        match generator.finish() {
            // What is left in the store then is no fault of what was measured.
            Ok(()) | Err(Failure::Refused(_)) => Ok((recorded, used)),
            Err(error) => Err(error),
        }
    }

    /// Goes on until the rate of three seconds in a row is about the same, or time is up.
    fn warm_up<C: Connection>(&self, generator: &mut Generator<C>) -> Result<()> {
        const ALIKE: f64 = 0.05;
        const SLICE: Duration = Duration::from_secs(1);
        let mut rates: Vec<f64> = Vec::new();
        let end = generator.now() + self.timing.warm_max.as_nanos() as u64;
        let start = generator.now() + self.timing.warm.as_nanos() as u64;
        while start < end && generator.now() < end {
            let before = generator.answered();
            self.keep_up(generator, SLICE)?;
            rates.push((generator.answered() - before) as f64);
            let Some(last) = rates.last_chunk::<3>() else { continue };
            let (min, max) = (last.iter().copied().fold(f64::MAX, f64::min), last.iter().copied());
            if max.fold(0.0, f64::max) <= min * (1.0 + ALIKE) {
                break;
            }
        }
        Ok(())
    }

    /// Keeps the load up, and what the servers leave behind small.
    fn keep_up<C: Connection>(&self, generator: &mut Generator<C>, time: Duration) -> Result<()> {
        const SLICE: Duration = Duration::from_secs(5);
        let mut rest = time;
        while !rest.is_zero() {
            let slice = rest.min(SLICE);
            generator.keep_up(slice)?;
            rest -= slice;
            if let Some(cluster) = self.target.cluster {
                cluster.tidy();
            }
        }
        Ok(())
    }
}

/// A number that no other load on the same cluster has; of few digits, because it is in the keys.
pub fn unique() -> u64 {
    use std::time::SystemTime;
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64 & 0xf_ffff_ffff)
}
