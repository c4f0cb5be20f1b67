//! The ring: real members over a network that the trace moves datagram by datagram.
//!
//! After each command every member's invariants are checked, and every event is judged by the
//! checker of the ordering contract. Members start with a seed that is their number, so that
//! timers and view ids are the same in every run.
//!
//! Setting up:
//! - `members COUNT [LIMIT=NUMBER ...]`: that many members, none started. Limits are named as in
//!   `RingLimits`, without `_max` (`datagram_bytes=300`).
//! - `start NODE...`: they start, each as a ring of one.
//! - `form NODE...`: they start and run until they are one ring at rest: the usual beginning, of
//!   which only the end is shown.
//!
//! What happens to members:
//! - `submit NODE WORD...`: each word is a message; `bytes=NUMBER` makes them that long.
//! - `crash NODE...`; `leave NODE`: in order, with a word to the others.
//! - `vote NODE... [voters=COUNT]`: these learn that they vote, as the log says.
//!
//! The network, step by step:
//! - `way [NODE...]`: what is on its way, to these members.
//! - `receive NODE [count=COUNT|all] [from=NODE]`: the oldest datagram (or more) on its way to a
//!   member arrives.
//! - `lose NODE [kind=KIND] [from=NODE] [all]`: the oldest such datagram on its way to a member is
//!   lost. Kinds are the first words of what `way` shows.
//! - `advance DURATION`: time passes (`600ms`) and timers fire; nothing arrives.
//!
//! Many steps at once, showing only events and changes of stage:
//! - `cut NODE NODE`: from now on `run` loses what these two send each other; `oneway FROM TO`:
//!   only in this direction; `heal`.
//! - `run DURATION [showing=WORD]`: time passes, what is on its way arrives at once, and timers
//!   fire. What has the word in it is shown as well.
//!
//! Looking: `status NODE...`.

mod commands;
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
