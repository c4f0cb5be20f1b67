//! The last judgements over a simulated world, and what came of it.

use super::fault_driver::FaultDriver;
use super::process::OnPanic as _;
use crate::judge::Property;
use crate::judge::digests::FinalState;
use crate::world::Run;
use accord_core::ids::NodeId;
use accord_core::replica::io::ClosedReason;
use accord_models::Outcome;
use std::panic::{AssertUnwindSafe, catch_unwind};

impl FaultDriver {
    /// Judges the world at rest. A panic in it is a violation like any other.
    pub(super) fn judge_end(&self) {
        if self.harness.env.borrow().violation.is_some() {
            return;
        }
        if catch_unwind(AssertUnwindSafe(|| self.judge_all())).is_err() {
            self.harness.on_panic(crate::world::panics::take_last());
        }
    }

    fn judge_all(&self) {
        let harness = &self.harness;
        if self.faults.amnesia.is_some() {
            self.judge_amnesia();
        } else {
            self.judge_states();
        }
        harness.clients.iter().for_each(|client| client.borrow_mut().give_up(harness));
        let env = &mut *harness.env.borrow_mut();
        for workload in &harness.workloads {
            let workload = &mut *workload.borrow_mut();
            workload.check(env);
            if workload.history().count(Outcome::Ok) > 0 {
                env.judge(Property::Workload, Ok(()));
            }
        }
        if self.faults.amnesia.is_none() {
            env.judge(Property::Convergence, Ok(()));
        }
        env.judge(Property::Invariants, Ok(()));
    }

    fn judge_amnesia(&self) {
        let closed = |machine: &super::machine::Machine| {
            machine.look(|server| {
                let status = server.replica().status();
                (status.closed, status.epoch, server.replica().log().voters().is_empty())
            })
        };
        let seen: Vec<_> = self.harness.machines.iter().map(|it| closed(&it.borrow())).collect();
        // Where nobody remembers that there was a cluster, all that can be said is that there is
        // none.
        let nobody_knows = seen.iter().flatten().all(|(_, _, empty)| *empty);
        for (host, (reason, epoch, _)) in
            seen.into_iter().enumerate().filter_map(|(i, it)| Some((i, it?)))
        {
            let noticed = match &reason {
                Some(ClosedReason::NoQuorum { forgotten, .. }) => !forgotten.is_empty(),
                Some(ClosedReason::NotFormed { .. }) => nobody_knows,
                _ => false,
            };
            if !noticed {
                let id = host + 1;
                let detail = format!(
                    "a majority lost its memory, and n{id} does not say so: it is in {epoch:?}, {reason:?}"
                );
                return self.harness.fail(Property::AmnesiaNoticed, detail);
            }
        }
        self.harness.env.borrow_mut().judge(Property::AmnesiaNoticed, Ok(()));
    }

    fn judge_states(&self) {
        let mut states = Vec::new();
        for machine in &self.harness.machines {
            let machine = machine.borrow();
            let node = NodeId(machine.id);
            let state = machine.look(|server| {
                server.check();
                let state = server.state();
                state.check();
                let (digest, digest_full) = (state.digest(), state.digest_full());
                FinalState { node, applied: server.applied(), digest, digest_full }
            });
            let Some(state) = state else { continue };
            let env = &mut *self.harness.env.borrow_mut();
            let judgement = env.judges.acknowledged.on_end(node, state.applied);
            env.judge(Property::AcknowledgedSurvive, judgement);
            states.push(state);
        }
        let judgement = crate::judge::digests::check(&states);
        self.harness.env.borrow_mut().judge(Property::DigestsAgree, judgement);
    }

    /// What came of the world, which is over.
    pub(super) fn finish(&self) -> Run {
        let env = &mut *self.harness.env.borrow_mut();
        let mut counts = env.counts.clone();
        counts.views = self.harness.views.borrow().len() as u64;
        counts.epochs = env.judges.epochs.count();
        counts.simulated_ns = env.now.as_nanos();
        counts.core_events = env.trace.events();
        for (number, workload) in self.harness.workloads.iter().enumerate() {
            let workload = &mut *workload.borrow_mut();
            crate::world::digest::history(&mut env.trace, env.now, number, workload.history());
        }
        crate::world::digest::verdict(&mut env.trace, env.now, env.violation.as_ref());
        let mut histories = Vec::new();
        let mut undecided = Vec::new();
        for workload in &self.harness.workloads {
            let workload = &mut *workload.borrow_mut();
            let history = workload.history();
            counts.operations_ok += history.count(Outcome::Ok) as u64;
            counts.operations_failed += history.count(Outcome::Fail) as u64;
            counts.operations_unknown += history.count(Outcome::Info) as u64;
            histories.push((workload.kind().name(), workload.history().clone()));
            undecided.extend(workload.undecided());
        }
        let trace = std::mem::take(&mut env.trace);
        Run {
            digest: trace.digest(),
            violation: env.violation.clone(),
            undecided,
            histories,
            counts,
            story: trace.finish(),
            record: None,
        }
    }
}
