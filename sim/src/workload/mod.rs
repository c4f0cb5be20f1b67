//! What clients do, and what they must see.
//!
//! A [`Workload`] deals out operations to the clients it is given, hears what came of them, keeps the
//! history, and judges it in the end. Worlds compose them: clients are dealt out to the world's
//! workloads in turn, and each workload keeps to keys of its own, so none needs to know of the others.
//!
//! To add one: a file here with a type that implements [`Workload`], a variant of [`WorkloadKind`], and
//! a line in [`create`]. [`ledger::Ledger`] does the bookkeeping that all of them need.

pub mod hands;
pub mod ledger;
pub mod register;

use crate::env::Env;
use crate::options::Options;
use accord_core::client::ClientEvent;
use accord_models::check::{Budget, Options as CheckOptions};
use accord_models::{Explanation, History};
pub use hands::Hands;

/// The workloads there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WorkloadKind {
    /// Registers with compare-and-set, judged for linearizability key by key.
    Register,
}

impl WorkloadKind {
    /// Every workload.
    pub const ALL: [Self; 1] = [Self::Register];

    /// The word for it in plans and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Register => "register",
        }
    }

    /// The workload of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// The workload of this kind for the world of `options`.
pub fn create(kind: WorkloadKind, options: &Options) -> Box<dyn Workload> {
    match kind {
        WorkloadKind::Register => Box::new(register::Registers::new(options)),
    }
}

/// What some of the clients do.
///
/// A client has *lives*: a life is one session of the core's client, from its start until the session is
/// lost, closed, or the client is gone. Lives are numbered over the whole world and never come back.
pub trait Workload {
    /// Which workload it is.
    fn kind(&self) -> WorkloadKind;

    /// A life has begun; its session may not be open yet.
    fn begin(&mut self, _hands: &mut Hands<'_>) {}

    /// The client has time: start an operation, or more. Called only while the world is stormy and
    /// operations are left; each call counts as one.
    fn step(&mut self, hands: &mut Hands<'_>);

    /// The client was told something.
    fn on_event(&mut self, hands: &mut Hands<'_>, event: &ClientEvent);

    /// A life has ended: what it had outstanding will never be known.
    fn on_life_ended(&mut self, life: u64, time_ns: u64);

    /// The world is healed, the client is connected and has nothing outstanding: do what proves that
    /// all is well, such as reading everything once more. True if that is done for this life.
    ///
    /// Called again and again until it is; a client that never gets there fails the world.
    fn conclude(&mut self, hands: &mut Hands<'_>) -> bool;

    /// Judges what was seen. Called once, when the world is at rest; violations go to
    /// [`Env::fail`] as [`crate::properties::Property::Workload`].
    fn check(&mut self, env: &mut Env);

    /// What could not be decided, if anything.
    fn undecided(&mut self) -> Option<String> {
        None
    }

    /// The history so far, for counting and for saving.
    fn history(&mut self) -> &History;
}

/// How histories are judged: with patience for what a world of this size produces, and no more.
pub fn check_options() -> CheckOptions {
    let budget = Budget { steps_max: 2_000_000, cache_bytes_max: 256 << 20, ..Budget::default() };
    CheckOptions { budget, ..CheckOptions::default() }
}

/// The words for a refused history.
pub fn explain(name: &str, why: &Explanation, history: &History) -> String {
    let mut words = format!("{name}: {}: {}", why.anomaly, why.summary);
    for index in why.operations.iter().take(EXPLAINED_MAX) {
        let op = &history.operations()[*index];
        let (from, outcome) = (op.invoked.time_ns, op.outcome.name());
        let to = op.completed.map(|moment| moment.time_ns);
        words.push_str(&format!(
            "\n    process {} {} {} -> {} {} [{from}..{to:?}]",
            op.process, op.f, op.input, outcome, op.output
        ));
    }
    words
}

/// The most operations shown of a refused history.
const EXPLAINED_MAX: usize = 12;
