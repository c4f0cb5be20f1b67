//! What clients do, and what they must see.
//!
//! A [`Workload`] deals out operations to the clients it is given, hears what came of them, keeps
//! the history, and judges it in the end. Worlds compose them: clients are dealt out to the world's
//! workloads in turn, and each workload keeps to keys of its own, so none needs to know of the
//! others.
//!
//! To add one: a file here with a type that implements [`Workload`], a variant of [`WorkloadKind`],
//! and a line in [`create`]. [`ledger::Ledger`] does the bookkeeping that all of them need.

pub mod churn;
pub mod client_ctx;
pub mod ledger;
pub mod lock;
pub mod membership;
pub mod queue;
pub mod register;
pub mod store;
pub mod transaction;
pub mod watch;

use crate::judge::Property;
use crate::plan::WorkloadKind;
use crate::plan::options::Options;
use crate::world::env::Surroundings;
use accord_core::client::ClientEvent;
use accord_core::state::{ListQuery, Range, ReadQuery};
use accord_models::check::{Budget, Options as CheckOptions};
use accord_models::{Explanation, History, Model, Verdict};
use bytes::Bytes;
pub use client_ctx::{ClientCtx, Intent};

/// The workload of this kind for the world of `options`.
pub fn create(kind: WorkloadKind, options: &Options) -> Box<dyn Workload> {
    match kind {
        WorkloadKind::Register => Box::new(register::Registers::new(options)),
        WorkloadKind::Transaction => Box::new(transaction::Transactions::new(options)),
        WorkloadKind::Lock => Box::new(lock::Locks::new(options)),
        WorkloadKind::Queue => Box::new(queue::Queues::new(options)),
        WorkloadKind::Membership => Box::new(membership::Membership::new(options)),
        WorkloadKind::Watch => Box::new(watch::Watches::new(options)),
        WorkloadKind::Churn => Box::new(churn::Churn::new(options)),
        WorkloadKind::Store => Box::new(store::Stores::new(options)),
    }
}

/// What some of the clients do.
///
/// A client has *lives*: a life is one session of the core's client, from its start until the
/// session is lost, closed, or the client is gone. Lives are numbered over the whole world and
/// never come back.
pub trait Workload {
    /// Which workload it is.
    fn kind(&self) -> WorkloadKind;

    /// A life has begun; its session may not be open yet.
    fn begin(&mut self, _hands: &mut ClientCtx<'_>) {}

    /// The client has time: start an operation, or more. Called only while the world is stormy and
    /// operations are left; each call counts as one.
    fn step(&mut self, ctx: &mut ClientCtx<'_>);

    /// The client was told something.
    fn on_event(&mut self, ctx: &mut ClientCtx<'_>, event: &ClientEvent);

    /// A life has ended: what it had outstanding will never be known.
    fn on_life_ended(&mut self, life: u64, time_ns: u64);

    /// The world is healed, the client is connected and has nothing outstanding: do what proves
    /// that all is well, such as reading everything once more. True if that is done for this life.
    ///
    /// Called again and again until it is; a client that never gets there fails the world.
    fn conclude(&mut self, ctx: &mut ClientCtx<'_>) -> bool;

    /// Judges what was seen. Called once, when the world is at rest; violations go to
    /// [`Surroundings::fail`] as [`crate::judge::Property::Workload`].
    fn check(&mut self, env: &mut Surroundings);

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

/// Judges a history by a model: a violation goes to `env`, what stays open is returned.
pub fn judge(
    env: &mut Surroundings,
    kind: WorkloadKind,
    model: Model,
    history: &History,
) -> Option<String> {
    let name = kind.name();
    match accord_models::check::check(history, model, &check_options()) {
        Ok(Verdict::Valid) => None,
        Ok(Verdict::Invalid(why)) => {
            env.fail(Property::Workload, explain(name, &why, history));
            None
        }
        Ok(Verdict::Undecided { why }) => Some(format!("{name}: {why}")),
        Err(error) => {
            env.fail(Property::Workload, format!("{name}: {error}"));
            None
        }
    }
}

/// The query for a whole record of at most so many bytes.
pub fn get(key: Bytes, length_max: u64) -> ReadQuery {
    ReadQuery::Get { key, offset: 0, length_max }
}

/// The first records whose keys begin with `prefix`.
pub fn first_of(prefix: &'static str, limit: u32, keys_only: bool) -> ListQuery {
    let range = Range::Prefix(Bytes::from_static(prefix.as_bytes()));
    ListQuery { range, after: None, limit, keys_only }
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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::plan::{FaultMix, Overrides, Plan};
    use crate::world;

    /// True if a history is refused.
    pub(crate) fn refuses(kind: WorkloadKind, model: Model, history: &History) -> bool {
        let mut env = Surroundings::new(&Options::default(), None);
        let undecided = judge(&mut env, kind, model, history);
        assert_eq!(undecided, None);
        env.violation.is_some()
    }

    /// Runs a small world with one workload alone.
    fn run(kind: WorkloadKind, seed: u64, faults: FaultMix) -> world::Run {
        let options = vec![("workloads", kind.name().to_owned()), ("operations", "200".to_owned())];
        world::run(&Plan::draw(seed, &Overrides { options, faults }), None)
    }

    #[test]
    fn each_workload_alone_gets_its_operations_done_in_a_calm_world() {
        for kind in WorkloadKind::ALL {
            let run = run(kind, 5, FaultMix::none());
            assert_eq!(run.violation, None, "{}", kind.name());
            assert!(run.counts.operations_ok >= 20, "{}: {:?}", kind.name(), run.counts);
        }
    }

    #[test]
    fn each_workload_alone_stands_a_storm() {
        for kind in WorkloadKind::ALL {
            for seed in 0..3 {
                let run = run(kind, seed, FaultMix::default());
                assert_eq!(run.violation, None, "{} in the world of seed {seed}", kind.name());
            }
        }
    }

    #[test]
    fn each_name_names_its_workload() {
        for kind in WorkloadKind::ALL {
            assert_eq!(WorkloadKind::named(kind.name()), Some(kind));
        }
    }
}
