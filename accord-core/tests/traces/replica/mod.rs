//! The replication protocol: real replicas over the adversarial group.
//!
//! Every trace also checks, after each command, that no two servers commit different entries at one
//! index and that every replica's invariants hold. The commands:
//!
//! Setting up:
//! - `cluster COUNT [mode=memory] [LIMIT=NUMBER ...]`: that many servers, none started. Limits are
//!   named as in `ReplicaLimits`, without `_max` (`batch_bytes=1`); `initial=COUNT` lets only the
//!   first ones form the cluster; `separate` says that they are of several clusters, whose logs
//!   differ; `looks_later` that an image which has arrived is looked at when `look` says so.
//! - `start NODE... [bootstrap]`: with what is on its disk; `bootstrap` allows it to form a
//!   cluster.
//! - `crash NODE... [keeping=COUNT]`: writes under way are lost but the first COUNT.
//! - `wipe NODE...`: empties the disk of a server that is down.
//! - `lose NODE count=COUNT`: the disk of a server that is down lied: its last records, which it
//!   had said were durable, are gone.
//! - `swap NODE`: exchanges its disk for the one on the shelf, which is blank at first.
//! - `form NODE...`: starts them with `bootstrap`, forms a view of them, and lets them run: the
//!   usual beginning, of which only the end is shown.
//!
//! The group, step by step (see `AdversarialGroup`):
//! - `view NODE... [loss=nothing|ordered|everything|COUNT]`: a view of these forms; those who move
//!   together lose messages of their old view: none, all that none of them was delivered, also
//!   what was not ordered, or all beyond the COUNT first.
//! - `order NODE... [count=COUNT]`: the next message (or more) of each takes its place in the
//!   order.
//! - `deliver NODE... [count=COUNT|all]`: the next event (or more) is delivered to each.
//! - `abandon NODE`: it misses the last view that waits for it.
//! - `pause NODE`, `resume NODE`.
//!
//! The disk and the way between servers:
//! - `stored NODE [count=COUNT|all]`: the oldest write (or more) is durable.
//! - `fail NODE`: the oldest write fails.
//! - `snapshot NODE`: the state that the replica asked for is handed over.
//! - `look NODE`: the last image that arrived whole is read and handed over.
//! - `peer FROM TO [count=COUNT]`, `drop FROM TO`: the messages between two servers beside the
//!   group arrive; are lost.
//! - `advance DURATION`: time passes (`600ms`) and timers fire.
//!
//! What clients and operators do:
//! - `propose NODE COMMAND...`: each word is a command.
//! - `read NODE`: asks for a barrier.
//! - `voters NODE add|remove NODE [store=NUMBER]`: asks for a change of voters.
//! - `recover NODE`: the operator's last resort.
//! - `corrupt NODE`: damages the applied state.
//!
//! Taking many steps, showing only what matters to clients:
//! - `run [NODE...]`: among these (or all that are up) everything is ordered, delivered, stored,
//!   exchanged until nothing is left to do.
//!
//! Looking:
//! - `status NODE...`, `log NODE...`, `state NODE...`, `disk NODE...` (writes under way).

mod commands;
mod show;
mod world;

use crate::Stage;
use crate::script::Command;

pub use world::World;

impl Stage for World {
    fn execute(&mut self, command: &Command) -> Result<(), String> {
        commands::execute(self, command)
    }

    fn output(&self) -> &str {
        &self.output
    }

    fn check(&mut self) {
        World::check(self);
    }
}
