//! Going through a model's states, and what came of it.
//!
//! Every run is bounded by a number of states, so that a model that grew too large ends with a word
//! about it and not with the machine's memory.

use stateright::{Checker, CheckerBuilder, Expectation, HasDiscoveries, Model};
use std::fmt::Debug;
use std::hash::Hash;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

/// How far a run may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Steps from the initial state; none: as far as there are states.
    pub depth: Option<usize>,
    /// States generated, those that were there before included.
    pub states_max: usize,
    /// Threads of the checker.
    pub threads: usize,
}

/// How far a run has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Different states.
    pub unique: usize,
    /// States generated.
    pub generated: usize,
    /// The longest shortest path to a state.
    pub depth: usize,
    /// Time spent.
    pub spent: Duration,
    /// The most memory that the process held at a time, where the system tells.
    pub memory_bytes: u64,
}

/// A way to a state in which a property does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counterexample {
    /// The property.
    pub property: &'static str,
    /// What happens, each with the state that it leads to. The first is the initial state.
    pub steps: Vec<(String, String)>,
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// How far it came.
    pub progress: Progress,
    /// True if no state within the model's bounds was left out.
    pub complete: bool,
    /// How many properties hold in all states that were seen, if none is broken.
    pub always: usize,
    /// How many states were to be reached.
    pub sometimes: usize,
    /// Those that were not.
    pub unreached: Vec<&'static str>,
    /// The properties that do not hold.
    pub broken: Vec<Counterexample>,
}

impl Report {
    /// True if the run shows what it should.
    pub fn is_good(&self) -> bool {
        self.broken.is_empty() && (self.unreached.is_empty() || !self.complete)
    }
}

/// A model that can be gone through.
pub trait Explorable: Send + Sync {
    /// Goes through all states, telling `progress` how far it has come now and then.
    fn verify(&self, limits: Limits, progress: &mut dyn FnMut(Progress)) -> Report;

    /// Shows the states in a browser. Does not return.
    fn explore(&self, address: SocketAddr);
}

/// How often progress is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

impl<M> Explorable for M
where
    M: Model + Clone + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq + Send + Sync,
{
    fn verify(&self, limits: Limits, progress: &mut dyn FnMut(Progress)) -> Report {
        // Depth first needs little memory, but a bound on the depth makes sense breadth first only,
        // and so does the shortest counterexample.
        if limits.depth.is_some() {
            return watch(self, self.builder(limits).spawn_bfs(), limits, progress);
        }
        let report = watch(self, self.builder(limits).spawn_dfs(), limits, progress);
        let Some(steps) = report.broken.iter().map(|broken| broken.steps.len()).min() else {
            return report;
        };
        let shorter = Limits { depth: Some(steps + 1), ..limits };
        let shortest = watch(self, self.builder(shorter).spawn_bfs(), shorter, progress);
        if shortest.broken.is_empty() { report } else { shortest }
    }

    fn explore(&self, address: SocketAddr) {
        self.clone().checker().serve(address);
    }
}

/// Sets a checker up.
trait Build: Model + Clone + Send + Sync + 'static {
    fn builder(&self, limits: Limits) -> CheckerBuilder<Self>
    where
        Self::State: Hash + Send + Sync,
    {
        let builder = self
            .clone()
            .checker()
            .threads(limits.threads)
            .target_state_count(limits.states_max)
            .finish_when(HasDiscoveries::AnyFailures);
        match limits.depth {
            Some(depth) => builder.target_max_depth(depth),
            None => builder,
        }
    }
}
impl<M: Model + Clone + Send + Sync + 'static> Build for M {}

/// Waits for a checker, and tells how far it has come now and then.
fn watch<M>(
    model: &M,
    mut checker: impl Checker<M>,
    limits: Limits,
    progress: &mut dyn FnMut(Progress),
) -> Report
where
    M: Model,
    M::State: Clone + Debug + Hash + PartialEq,
    M::Action: Clone + Debug + PartialEq,
{
    let begun = Instant::now();
    let handles = checker.handles();
    let mut last = Progress::default();
    let mut look = |checker: &dyn Checker<M>| {
        last = Progress {
            unique: checker.unique_state_count(),
            generated: checker.state_count(),
            depth: checker.max_depth(),
            spent: begun.elapsed(),
            memory_bytes: last.memory_bytes.max(resident_bytes()),
        };
        last
    };
    while !handles.iter().all(thread::JoinHandle::is_finished) {
        thread::sleep(POLL_INTERVAL);
        progress(look(&checker));
    }
    for handle in handles {
        handle.join().expect("a model does not panic");
    }
    let progress = look(&checker);
    report(model, &checker, limits, progress)
}

fn report<M>(model: &M, checker: &impl Checker<M>, limits: Limits, progress: Progress) -> Report
where
    M: Model,
    M::State: Clone + Debug + Hash + PartialEq,
    M::Action: Clone + Debug + PartialEq,
{
    let within = limits.depth.is_none_or(|depth| progress.depth < depth);
    let mut report = Report {
        progress,
        complete: within && progress.generated < limits.states_max,
        always: 0,
        sometimes: 0,
        unreached: Vec::new(),
        broken: Vec::new(),
    };
    let mut found = checker.discoveries();
    for property in model.properties() {
        let path = found.remove(property.name);
        match (property.expectation, path) {
            (Expectation::Sometimes, Some(_)) => report.sometimes += 1,
            (Expectation::Sometimes, None) => {
                report.sometimes += 1;
                report.unreached.push(property.name);
            }
            (Expectation::Always | Expectation::Eventually, None) => report.always += 1,
            (Expectation::Always | Expectation::Eventually, Some(path)) => {
                let mut steps = Vec::new();
                let mut happens = "at first".to_owned();
                for (state, action) in path.into_vec() {
                    steps.push((happens, format!("{state:?}")));
                    happens = action.map(|it| model.format_action(&it)).unwrap_or_default();
                }
                report.broken.push(Counterexample { property: property.name, steps });
            }
        }
    }
    report.complete &= report.broken.is_empty();
    report
}

/// What the process holds in memory now; 0 where the system does not tell.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    kib.and_then(|kib| kib.parse::<u64>().ok()).map_or(0, |kib| kib << 10)
}
