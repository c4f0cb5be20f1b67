//! The group layer keeps its promises: the core's own online checker, shown every event of every
//! run.

use super::Judgement;
use accord_core::group::GroupEvent;
use accord_core::group::contract::{ContractChecker, Run};
use accord_core::ids::NodeId;

/// The checker of one world.
#[derive(Debug, Default)]
pub struct Contract(ContractChecker);

impl Contract {
    /// Distinct views seen.
    pub const fn views(&self) -> u64 {
        self.0.views()
    }

    /// A run's submission was accepted.
    pub fn on_submit(&mut self, node: u32, incarnation: u64, payload: &[u8]) {
        self.0.on_submit(run(node, incarnation), payload);
    }

    /// A run ended.
    pub fn on_stop(&mut self, node: u32, incarnation: u64) {
        self.0.on_stop(run(node, incarnation));
    }

    /// A run was given an event.
    ///
    /// # Errors
    /// The promise that it breaks.
    pub fn on_event(&mut self, node: u32, incarnation: u64, event: &GroupEvent) -> Judgement {
        let judged = self.0.on_event(run(node, incarnation), event);
        judged.map_err(|violation| violation.to_string())
    }

    /// When all has come to rest: each run was delivered all it submitted, in one common view.
    ///
    /// # Errors
    /// The promise that is not kept.
    pub fn check_end(&self, live: impl IntoIterator<Item = (u32, u64)>) -> Judgement {
        let live: Vec<Run> = live.into_iter().map(|(node, life)| run(node, life)).collect();
        self.0.check_converged(&live).map_err(|violation| violation.to_string())
    }
}

const fn run(node: u32, incarnation: u64) -> Run {
    Run { node: NodeId(node), incarnation }
}
