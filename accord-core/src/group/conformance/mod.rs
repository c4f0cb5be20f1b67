//! The conformance suite of the ordering contract: one list of properties for every implementation.
//!
//! A [`Rig`] is a set of members of one implementation, with time and faults. [`run_all`] tries
//! every property of the list on it. What a rig cannot do it says itself ([`Rig::LACKS`]): a
//! property that needs that is counted in the [`Report`], and the rig's test pins those, so that
//! nothing is skipped in silence.
//!
//! The judge is [`ContractChecker`](super::contract::ContractChecker), shown every event of every
//! member. Beyond it, properties demand progress: that views form, that all is delivered.
//!
//! Read next: `properties` for the list, `harness` for what they are written in, `campaign` for
//! random faults.

mod campaign;
mod harness;
mod properties;

use super::{GroupEvent, SubmitError};
use crate::ids::NodeId;
use crate::rng::Rng;
use crate::time::{Duration, Instant};
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;

pub use campaign::{Tally, campaign};
pub use harness::Harness;

/// What a property may need of a rig.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// More than one member.
    Peers,
    /// Members that stop without a word.
    Crash,
    /// Members that stop in order.
    Leave,
    /// Networks that fall apart.
    Partition,
    /// Members that stand still for a while.
    Hold,
    /// Datagrams that are lost.
    Loss,
    /// Members that stop taking their events.
    Neglect,
    /// Daemons apart from the members, which die and are started again.
    Daemon,
    /// Daemons that stand still for a while.
    DaemonHold,
}

/// How a rig is to be set up.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// How many members, with the node ids from 1.
    pub members: u32,
    /// For all that the rig draws.
    pub seed: u64,
    /// True for bounds so small that each of them is met.
    pub tight: bool,
}

/// Members of one implementation, faults for them, and time.
///
/// Nothing happens to the members but in these calls, or, on real machines, between them. A fault
/// that [`Rig::LACKS`] names is never asked for.
pub trait Rig: Sized {
    /// What it is.
    const NAME: &'static str;
    /// What it cannot do, each with the reason.
    const LACKS: &'static [(Need, &'static str)];
    /// How many members most properties are tried with.
    const MEMBERS: u32;
    /// The most members that it can have.
    const MEMBERS_MAX: u32;
    /// How long members submit while something happens to them.
    const LOAD: Duration;
    /// The most that any expected event may take.
    const TIMEOUT: Duration;
    /// How many campaigns of random faults [`run_all`] tries.
    const CAMPAIGNS: u64;

    /// Members that are all started.
    fn new(setup: Setup) -> Self;
    /// The time of the rig's clock.
    fn now(&self) -> Instant;
    /// Lets a little time pass. Takes no member's events.
    fn step(&mut self);
    /// The largest message, in bytes.
    fn message_bytes_max(&self) -> usize;
    /// Hands a message to a member that is up.
    ///
    /// # Errors
    /// As the implementation says.
    fn submit(&mut self, node: NodeId, payload: Bytes) -> Result<(), SubmitError>;
    /// The next event of a member that is up.
    fn poll(&mut self, node: NodeId) -> Option<GroupEvent>;
    /// Starts a member that is down.
    fn start(&mut self, node: NodeId);
    /// What can be said of all members, for a failure's message.
    fn describe(&mut self) -> String;

    /// Stops a member without a word ([`Need::Crash`]).
    fn crash(&mut self, node: NodeId) {
        self.lacks(&node)
    }
    /// Stops a member in order ([`Need::Leave`]).
    fn leave(&mut self, node: NodeId) {
        self.lacks(&node)
    }
    /// Only members of one side reach each other; one that is on no side reaches no other
    /// ([`Need::Partition`]).
    fn partition(&mut self, sides: &[Vec<NodeId>]) {
        self.lacks(&sides)
    }
    /// Ends partitions and losses of datagrams.
    fn heal(&mut self) {}
    /// Lets a member stand still ([`Need::Hold`]).
    fn hold(&mut self, node: NodeId) {
        self.lacks(&node)
    }
    /// Lets it go on.
    fn release(&mut self, node: NodeId) {
        self.lacks(&node)
    }
    /// Loses `percent` of the datagrams between all members ([`Need::Loss`]).
    fn lose(&mut self, percent: u32) {
        self.lacks(&percent)
    }
    /// Kills a member's daemon ([`Need::Daemon`]).
    fn kill_daemon(&mut self, node: NodeId) {
        self.lacks(&node)
    }
    /// Starts it again.
    fn start_daemon(&mut self, node: NodeId) {
        self.lacks(&node)
    }
    /// Lets a member's daemon stand still ([`Need::DaemonHold`]).
    fn hold_daemon(&mut self, node: NodeId) {
        self.lacks(&node)
    }
    /// Lets it go on.
    fn release_daemon(&mut self, node: NodeId) {
        self.lacks(&node)
    }
    /// A fault of a kind that this rig alone knows, for campaigns. What it breaks, `heal` mends.
    fn disturb(&mut self, _rng: &mut Rng) {}

    /// For a fault that was asked for and cannot be had.
    ///
    /// # Panics
    /// Always.
    fn lacks(&self, what: &dyn core::fmt::Debug) -> ! {
        panic!("{} was asked for a fault that it lacks, for {what:?}", Self::NAME)
    }
}

/// What came of a suite; failures are panics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The properties that were tried and hold.
    pub held: Vec<&'static str>,
    /// Those that the rig cannot be tried for, with what it lacks.
    pub out_of_reach: Vec<(&'static str, Need)>,
}

/// Tries every property of the list on rigs of this kind.
///
/// # Panics
/// At the first property that does not hold, with its name.
pub fn run_all<R: Rig>() -> Report {
    let mut report = Report::default();
    for property in properties::all::<R>() {
        let lacks = |need: &&Need| R::LACKS.iter().any(|(lack, _)| lack == *need);
        match property.needs.iter().find(lacks) {
            Some(need) => report.out_of_reach.push((property.name, *need)),
            None => {
                (property.run)(property.name);
                report.held.push(property.name);
            }
        }
    }
    report
}
