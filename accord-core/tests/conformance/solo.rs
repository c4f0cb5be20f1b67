//! A group of one as a rig of the conformance suite.

use accord_core::group::conformance::{Need, Rig, Setup, run_all};
use accord_core::group::solo::{Solo, SoloLimits};
use accord_core::group::{GroupEvent, SubmitError};
use accord_core::ids::NodeId;
use accord_core::rng::Rng;
use accord_core::time::{Duration, Instant};
use bytes::Bytes;

const STEP: Duration = Duration::from_millis(1);
const ALONE: &str = "there is one member, and no network";

/// One member alone, in virtual time.
pub struct SoloRig {
    solo: Option<Solo>,
    limits: SoloLimits,
    rng: Rng,
    now: Instant,
}

impl SoloRig {
    fn solo(&mut self) -> &mut Solo {
        self.solo.as_mut().expect("it is up")
    }
}

impl Rig for SoloRig {
    const NAME: &'static str = "solo";
    const LACKS: &'static [(Need, &'static str)] = &[
        (Need::Peers, ALONE),
        (Need::Leave, ALONE),
        (Need::Partition, ALONE),
        (Need::Hold, "it has no timers: its caller holds it by not polling"),
        (Need::Loss, ALONE),
        (Need::Neglect, ALONE),
        (Need::Daemon, ALONE),
        (Need::DaemonHold, ALONE),
    ];
    const MEMBERS: u32 = 1;
    const MEMBERS_MAX: u32 = 1;
    const LOAD: Duration = Duration::from_millis(300);
    const TIMEOUT: Duration = Duration::from_secs(1);
    const CAMPAIGNS: u64 = 50;

    fn new(setup: Setup) -> Self {
        let limits = match setup.tight {
            true => {
                SoloLimits { message_bytes_max: 100, queue_bytes_max: 1000, queue_messages_max: 20 }
            }
            false => SoloLimits {
                message_bytes_max: 100_000,
                queue_bytes_max: 1_000_000,
                queue_messages_max: 2000,
            },
        };
        let mut rig = Self { solo: None, limits, rng: Rng::new(setup.seed), now: Instant::ZERO };
        rig.start(NodeId(1));
        rig
    }

    fn now(&self) -> Instant {
        self.now
    }

    fn step(&mut self) {
        self.now = self.now + STEP;
    }

    fn message_bytes_max(&self) -> usize {
        self.limits.message_bytes_max
    }

    fn submit(&mut self, _: NodeId, payload: Bytes) -> Result<(), SubmitError> {
        let now = self.now;
        let result = self.solo().submit(now, payload);
        self.solo().check();
        result
    }

    fn poll(&mut self, _: NodeId) -> Option<GroupEvent> {
        let event = self.solo().poll_event();
        self.solo().check();
        event
    }

    fn start(&mut self, node: NodeId) {
        self.solo = Some(Solo::new(node, self.limits, self.rng.next_u64(), self.now));
    }

    fn describe(&mut self) -> String {
        format!("{:?}", self.solo)
    }

    fn crash(&mut self, _: NodeId) {
        self.solo = None;
    }
}

// Claims: C-order
#[test]
fn solo_has_every_property_of_the_contract_that_one_member_can_have() {
    let report = run_all::<SoloRig>();
    let held = [
        "all_are_delivered_the_same_in_one_order",
        "the_largest_message_passes_and_a_larger_one_is_refused",
        "a_full_group_refuses_and_loses_nothing",
        "a_member_alone_is_delivered_its_own",
        "a_quick_restart_is_another_member",
        "whatever_happens_the_contract_is_kept_and_all_converges",
    ];
    assert_eq!((&report.held[..], report.out_of_reach.len()), (&held[..], 12));
    assert!(report.out_of_reach.iter().all(|(_, need)| *need == Need::Peers), "{report:?}");
}
