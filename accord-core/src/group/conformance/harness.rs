//! What properties are written in: a rig with a judge, and words for what happens to it.

use super::{Rig, Setup};
use crate::group::contract::{ContractChecker, Run};
use crate::group::{GroupEvent, SubmitError, View};
use crate::ids::NodeId;
use crate::time::Duration;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;

/// Under load, a member submits no more while this many of its messages are not delivered to it.
const OUTSTANDING_MAX: u64 = 50;
/// The sizes of messages under load, in bytes, in turns.
const SIZES: [usize; 6] = [8, 100, 1000, 100_000, 8, 3000];

/// A member as the harness knows it.
#[derive(Debug, Default)]
struct Member {
    incarnation: u64,
    up: bool,
    /// Messages accepted and not delivered here, since the last view.
    outstanding: u64,
    /// True while its events are not polled.
    neglected: bool,
    /// Messages delivered to it in its present run.
    delivered: u64,
}

/// A rig, the judge of all that its members are told, and counts.
#[derive(Debug)]
pub struct Harness<R> {
    /// The members, faults and time.
    pub rig: R,
    property: &'static str,
    checker: ContractChecker,
    members: BTreeMap<NodeId, Member>,
    submitted: u64,
    accepted: u64,
}

impl<R: Rig> Harness<R> {
    /// A rig of all its members, for a property.
    pub fn new(property: &'static str) -> Self {
        Self::with(property, Setup { members: R::MEMBERS, seed: 1, tight: false })
    }

    /// A rig that is set up so, for a property.
    pub fn with(property: &'static str, setup: Setup) -> Self {
        Self::over(property, R::new(setup), 1..=setup.members)
    }

    /// A rig with these members, which are up, for a property or a test of this rig alone.
    pub fn over(property: &'static str, rig: R, nodes: impl IntoIterator<Item = u32>) -> Self {
        let fresh = |node| (NodeId(node), Member { incarnation: 1, up: true, ..Member::default() });
        Self {
            rig,
            property,
            checker: ContractChecker::new(),
            members: nodes.into_iter().map(fresh).collect(),
            submitted: 0,
            accepted: 0,
        }
    }

    // ---------------------------------------------------------------------------- looking

    /// All nodes, up or down.
    pub fn nodes(&self) -> Vec<NodeId> {
        self.members.keys().copied().collect()
    }

    /// All nodes but one.
    pub fn others(&self, node: NodeId) -> Vec<NodeId> {
        self.nodes().into_iter().filter(|other| *other != node).collect()
    }

    /// True if the member runs.
    pub fn is_up(&self, node: NodeId) -> bool {
        self.members[&node].up
    }

    /// Messages accepted so far, of all members.
    pub const fn accepted(&self) -> u64 {
        self.accepted
    }

    /// The judge.
    pub const fn checker(&self) -> &ContractChecker {
        &self.checker
    }

    /// Messages delivered to the member's present run.
    pub fn delivered_to(&self, node: NodeId) -> u64 {
        self.members[&node].delivered
    }

    /// The view that the member is in.
    pub fn view_of(&self, node: NodeId) -> Option<View> {
        self.checker.view_of(self.run_of(node))
    }

    fn run_of(&self, node: NodeId) -> Run {
        Run { node, incarnation: self.members[&node].incarnation }
    }

    fn live(&self) -> Vec<Run> {
        let up = self.members.iter().filter(|(_, member)| member.up);
        up.map(|(node, _)| self.run_of(*node)).collect()
    }

    /// Fails the property.
    ///
    /// # Panics
    /// Always.
    pub fn fail(&mut self, why: &str) -> ! {
        let (property, rig) = (self.property, self.rig.describe());
        panic!("{}: {property} does not hold: {why}\n{rig}", R::NAME)
    }

    /// Fails the property unless the condition holds.
    ///
    /// # Panics
    /// If it does not.
    pub fn expect(&mut self, condition: bool, what: &str) {
        if !condition {
            self.fail(what);
        }
    }

    // ---------------------------------------------------------------------------- acting

    /// Lets a member submit a message of its own, of `bytes` bytes (at least 8).
    ///
    /// # Errors
    /// As the implementation says.
    pub fn submit(&mut self, node: NodeId, bytes: usize) -> Result<(), SubmitError> {
        self.submitted += 1;
        let mut payload = self.submitted.to_le_bytes().to_vec();
        payload.resize(bytes.max(payload.len()), node.0 as u8);
        let payload = Bytes::from(payload);
        self.rig.submit(node, payload.clone())?;
        let run = self.run_of(node);
        self.checker.on_submit(run, &payload);
        self.accepted += 1;
        self.members.get_mut(&node).expect("a member submits").outstanding += 1;
        Ok(())
    }

    /// Takes and judges what the members are told.
    ///
    /// # Panics
    /// If the contract is broken.
    pub fn pump(&mut self) {
        for node in self.nodes() {
            if self.members[&node].up && !self.members[&node].neglected {
                while let Some(event) = self.rig.poll(node) {
                    self.on_event(node, &event);
                }
            }
        }
    }

    fn on_event(&mut self, node: NodeId, event: &GroupEvent) {
        let run = self.run_of(node);
        if let Err(violation) = self.checker.on_event(run, event) {
            self.fail(&format!("{violation}"));
        }
        let member = self.members.get_mut(&node).expect("a member is told");
        match event {
            GroupEvent::View(_) => member.outstanding = 0,
            GroupEvent::Deliver { from, .. } => {
                member.delivered += 1;
                if *from == node {
                    member.outstanding = member.outstanding.saturating_sub(1);
                }
            }
        }
    }

    /// Lets time pass.
    pub fn run_for(&mut self, span: Duration) {
        let end = self.rig.now() + span;
        while self.rig.now() < end {
            self.rig.step();
            self.pump();
        }
    }

    /// All members that are up submit for a while.
    pub fn load(&mut self, span: Duration) {
        let end = self.rig.now() + span;
        let bytes_max = self.rig.message_bytes_max();
        for size in SIZES.into_iter().cycle() {
            for node in self.nodes() {
                let member = &self.members[&node];
                if member.up && !member.neglected && member.outstanding < OUTSTANDING_MAX {
                    // A full group is a reason to wait, and judged elsewhere.
                    let _ = self.submit(node, size.min(bytes_max));
                }
            }
            self.rig.step();
            self.pump();
            if self.rig.now() >= end {
                return;
            }
        }
    }

    /// Lets time pass until something has come about.
    ///
    /// # Panics
    /// If it does not come about.
    pub fn wait(&mut self, what: &str, mut until: impl FnMut(&mut Self) -> bool) {
        let end = self.rig.now() + R::TIMEOUT;
        loop {
            self.pump();
            if until(self) {
                return;
            }
            if self.rig.now() >= end {
                self.fail(&format!("this has not come about: {what}"));
            }
            self.rig.step();
        }
    }

    /// Waits until these members share a view of just them.
    pub fn wait_for_view(&mut self, nodes: &[NodeId]) {
        self.wait(&format!("a view of {nodes:?}"), |h| {
            let first = h.view_of(nodes[0]);
            first.as_ref().is_some_and(|view| view.members == nodes)
                && nodes.iter().all(|node| h.view_of(*node) == first)
        });
    }

    /// Waits until all that are up share a view and each was delivered what it submitted in it.
    pub fn settle(&mut self) {
        let live = self.live();
        let mut why = String::new();
        let end = self.rig.now() + R::TIMEOUT;
        loop {
            self.pump();
            match self.checker.check_converged(&live) {
                Ok(()) => return,
                Err(violation) if self.rig.now() >= end => why = format!("{violation}"),
                Err(_) => {}
            }
            if !why.is_empty() {
                self.fail(&why);
            }
            self.rig.step();
        }
    }

    /// Stops a member without a word.
    pub fn crash(&mut self, node: NodeId) {
        self.end(node);
        self.rig.crash(node);
    }

    /// Stops a member in order.
    pub fn leave(&mut self, node: NodeId) {
        self.end(node);
        self.rig.leave(node);
    }

    fn end(&mut self, node: NodeId) {
        let run = self.run_of(node);
        self.checker.on_stop(run);
        self.members.get_mut(&node).expect("a member ends").up = false;
    }

    /// Starts a member that is down, as a run of its own.
    pub fn start(&mut self, node: NodeId) {
        let member = self.members.get_mut(&node).expect("a member starts");
        let incarnation = member.incarnation + 1;
        *member = Member { incarnation, up: true, ..Member::default() };
        self.rig.start(node);
    }

    /// Takes no events of a member from here on.
    pub fn neglect(&mut self, node: NodeId) {
        self.members.get_mut(&node).expect("a member is neglected").neglected = true;
    }

    /// Takes the member's events again.
    pub fn attend(&mut self, node: NodeId) {
        self.members.get_mut(&node).expect("a member is attended to").neglected = false;
    }

    /// Cuts the network: members on one side reach each other.
    pub fn partition(&mut self, sides: &[Vec<NodeId>]) {
        let named: BTreeSet<NodeId> = sides.iter().flatten().copied().collect();
        assert!(named.len() == sides.iter().map(Vec::len).sum::<usize>(), "sides are disjoint");
        self.rig.partition(sides);
    }
}
