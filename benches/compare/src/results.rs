//! Results on disk: everything as JSON, the measurements as CSV, and what they were made with.

use crate::failure::{During, Result, wrong};
use crate::load::{Latency, Measurement};
use crate::measure::Usage;
use crate::systems::{Cluster, Mode, System};
use crate::workload::Workload;
use accord_testbed::spawn::find;
use accord_testbed::systems::etcd;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

/// What was measured, and how.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// With what.
    pub manifest: Manifest,
    /// What was left out, and why.
    pub skipped: Vec<String>,
    /// All measurements, in the order in which they were made.
    pub measurements: Vec<Measurement>,
}

/// What measurements were made with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The command line.
    pub command: Vec<String>,
    /// When it began, in seconds since 1970.
    pub began: u64,
    /// The commit of the sources here, if this is a repository.
    pub commit: String,
    /// The processor, and how many.
    pub processor: String,
    /// The kernel.
    pub kernel: String,
    /// Memory in KiB.
    pub memory_kib: u64,
    /// Versions of all programs.
    pub versions: BTreeMap<String, String>,
    /// What a write is safe in when it is answered, for each side.
    pub durability: BTreeMap<String, String>,
    /// The first server's command line and configuration, for each side.
    pub configurations: BTreeMap<String, Vec<String>>,
}

impl Manifest {
    /// Of this machine, now.
    pub fn new(accord: Option<&Path>) -> Self {
        let began = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpu.lines().find_map(|line| line.strip_prefix("model name"));
        let model = model.map_or("unknown", |line| line.trim_start_matches(['\t', ' ', ':']));
        let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
        let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let memory = memory.lines().next().and_then(|line| line.split_whitespace().nth(1));
        Self {
            command: std::env::args().collect(),
            began: began.map_or(0, |since| since.as_secs()),
            commit: output("git", &["rev-parse", "HEAD"]),
            processor: format!("{model}, {cores} processors"),
            kernel: output("uname", &["-sr"]),
            memory_kib: memory.and_then(|kib| kib.parse().ok()).unwrap_or(0),
            versions: versions(accord),
            ..Self::default()
        }
    }

    /// Notes how a cluster was started.
    pub fn describe(&mut self, cluster: &Cluster) {
        let (system, mode) = (cluster.setup.system, cluster.setup.mode);
        let side = format!("{}, {}", system.name(), mode.name());
        self.configurations.insert(side.clone(), cluster.described.clone());
        self.durability.insert(side, durability(system, mode).to_owned());
    }
}

/// What a write is safe in when it is answered.
pub const fn durability(system: System, mode: Mode) -> &'static str {
    match (system, mode) {
        (System::Accord | System::Corosync | System::Library, Mode::Memory) => {
            "the memory of a majority"
        }
        (System::Accord | System::Corosync | System::Library, Mode::Persistent) => {
            "the disks of a majority (fdatasync)"
        }
        (System::Zookeeper, Mode::Memory) => {
            "a majority's log in a tmpfs, not synced (forceSync=no)"
        }
        (System::Zookeeper, Mode::Persistent) => "the disks of a majority (fsync)",
        (System::Etcd, Mode::Memory) => {
            "a majority's log in a tmpfs, not synced (--unsafe-no-fsync)"
        }
        (System::Etcd, Mode::Persistent) => "the disks of a majority (fsync)",
    }
}

fn versions(accord: Option<&Path>) -> BTreeMap<String, String> {
    let mut versions = BTreeMap::new();
    if let Some(accord) = accord {
        let said = output(&accord.display().to_string(), &["--version"]);
        versions.insert("Accord".to_owned(), said.trim_start_matches("accord ").to_owned());
    }
    if let Some(program) = find("etcd") {
        let said = etcd::version(&program).unwrap_or_default();
        versions.insert("etcd".to_owned(), said);
    }
    if let Some(java) = find("java") {
        let asked = Command::new(java).arg("-version").output();
        let said = asked.map(|output| String::from_utf8_lossy(&output.stderr).into_owned());
        let first = said.unwrap_or_default().lines().next().unwrap_or_default().to_owned();
        versions.insert("Java".to_owned(), first);
    }
    if let Some(version) = zookeeper_version() {
        versions.insert("ZooKeeper".to_owned(), version);
    }
    versions
}

/// Beside the jar that is used there is its like with the version in its name.
fn zookeeper_version() -> Option<String> {
    let files = std::fs::read_dir("/usr/share/java").ok()?.flatten();
    let names = files.map(|file| file.file_name().to_string_lossy().into_owned());
    let version = |name: String| {
        let version = name.strip_prefix("zookeeper-")?.strip_suffix(".jar")?;
        version.starts_with(|c: char| c.is_ascii_digit()).then(|| version.to_owned())
    };
    names.filter_map(version).next()
}

fn output(program: &str, args: &[&str]) -> String {
    let asked = Command::new(program).args(args).output();
    asked.map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

/// One line of a CSV, as it is read: what pictures and tables are made of.
#[derive(Deserialize)]
struct Read {
    row: String,
    round: usize,
    system: System,
    mode: Mode,
    servers: usize,
    connections: usize,
    window: usize,
    value_bytes: usize,
    read_percent: u32,
    steps: usize,
    rate: Option<u64>,
    requests: u64,
    seconds: f64,
    servers_us: f64,
    generator_us: f64,
    p50_us: f64,
    p99_us: f64,
    p999_us: f64,
    max_us: f64,
    resident_bytes: u64,
    written_bytes: u64,
    #[serde(default)]
    log_syncs: Option<u64>,
    #[serde(default)]
    daemons_seconds: f64,
}

impl From<Read> for Measurement {
    /// What the lines do not have, such as the 90th percentile, is not a number.
    fn from(line: Read) -> Self {
        let Read { connections, window, value_bytes, read_percent, steps, rate, .. } = line;
        let sizes = Workload { connections, window, value_bytes, ..Workload::default() };
        let seconds_of = |us: f64| us * line.requests as f64 / 1e6;
        let (p90_us, mean_us) = (f64::NAN, f64::NAN);
        let Read { p50_us, p99_us, p999_us, max_us, resident_bytes, written_bytes, .. } = line;
        Self {
            workload: Workload { read_percent, steps, rate, ..sizes },
            reads: line.requests * u64::from(read_percent) / 100,
            latency: Latency { p50_us, p90_us, p99_us, p999_us, max_us, mean_us },
            servers_usage: Usage {
                cpu_seconds: seconds_of(line.servers_us),
                resident_bytes,
                written_bytes,
                ..Usage::default()
            },
            generator_seconds: seconds_of(line.generator_us),
            row: line.row,
            round: line.round,
            system: line.system,
            mode: line.mode,
            servers: line.servers,
            requests: line.requests,
            seconds: line.seconds,
            log_syncs: line.log_syncs,
            daemons_seconds: line.daemons_seconds,
        }
    }
}

/// One line of the CSV.
#[derive(Serialize)]
struct Line<'a> {
    row: &'a str,
    round: usize,
    system: System,
    mode: Mode,
    servers: usize,
    connections: usize,
    window: usize,
    value_bytes: usize,
    read_percent: u32,
    steps: usize,
    rate: Option<u64>,
    requests: u64,
    seconds: f64,
    per_second: f64,
    servers_us: f64,
    generator_us: f64,
    p50_us: f64,
    p99_us: f64,
    p999_us: f64,
    max_us: f64,
    resident_bytes: u64,
    written_bytes: u64,
    log_syncs: Option<u64>,
    daemons_seconds: f64,
}

impl<'a> Line<'a> {
    fn of(of: &'a Measurement) -> Self {
        let Measurement { workload, latency, .. } = of;
        Self {
            row: &of.row,
            round: of.round,
            system: of.system,
            mode: of.mode,
            servers: of.servers,
            connections: workload.connections,
            window: workload.window,
            value_bytes: workload.value_bytes,
            read_percent: workload.read_percent,
            steps: workload.steps,
            rate: workload.rate,
            requests: of.requests,
            seconds: of.seconds,
            per_second: of.per_second(),
            servers_us: of.servers_us(),
            generator_us: of.generator_us(),
            p50_us: latency.p50_us,
            p99_us: latency.p99_us,
            p999_us: latency.p999_us,
            max_us: latency.max_us,
            resident_bytes: of.servers_usage.resident_bytes,
            written_bytes: of.servers_usage.written_bytes,
            log_syncs: of.log_syncs,
            daemons_seconds: of.daemons_seconds,
        }
    }
}

/// True if a file of results is a CSV, which has no manifest.
pub fn is_csv(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("csv"))
}

impl Results {
    /// Reads what [`Self::write`] wrote: the JSON with everything, or the CSV with measurements
    /// alone.
    ///
    /// # Errors
    /// If there is no such file, or it is something else.
    pub fn read(path: &Path) -> Result<Self> {
        if is_csv(path) {
            return Self::read_csv(path);
        }
        let text = std::fs::read_to_string(path).during(path.display())?;
        serde_json::from_str(&text)
            .map_err(|error| wrong(format!("{} has no results: {error}", path.display())))
    }

    fn read_csv(path: &Path) -> Result<Self> {
        let unusable = |error| wrong(format!("{} has no results: {error}", path.display()));
        let mut csv = csv::Reader::from_path(path).map_err(unusable)?;
        let lines = csv.deserialize().map(|line| line.map(|line: Read| line.into()));
        let measurements = lines.collect::<std::result::Result<Vec<_>, _>>().map_err(unusable)?;
        Ok(Self { measurements, ..Self::default() })
    }

    /// Writes `results.json` and `results.csv`.
    ///
    /// # Errors
    /// If the directory cannot be written.
    pub fn write(&self, dir: &Path) -> Result<()> {
        std::fs::create_dir_all(dir).during(dir.display())?;
        let json = serde_json::to_string_pretty(self).map_err(wrong)?;
        let path = dir.join("results.json");
        std::fs::write(&path, json + "\n").during(path.display())?;
        let mut csv = csv::Writer::from_path(dir.join("results.csv")).map_err(wrong)?;
        for measurement in &self.measurements {
            csv.serialize(Line::of(measurement)).map_err(wrong)?;
        }
        csv.flush().during("results.csv")
    }
}
