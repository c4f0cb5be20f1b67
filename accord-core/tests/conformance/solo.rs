//! The contract over a group of one.

use accord_core::group::contract::{ContractChecker, Run};
use accord_core::group::solo::{Solo, SoloLimits};
use accord_core::group::{GroupEvent, SubmitError};
use accord_core::ids::NodeId;
use accord_core::rng::Rng;
use accord_core::time::Instant;
use bytes::Bytes;

const LIMITS: SoloLimits =
    SoloLimits { message_bytes_max: 100, queue_bytes_max: 1000, queue_messages_max: 20 };
const RUN: Run = Run { node: NodeId(3), incarnation: 0 };

#[test]
fn the_contract_holds_for_one() {
    for seed in 0..50 {
        let mut rng = Rng::new(seed);
        let mut solo = Solo::new(RUN.node, LIMITS, rng.next_u64(), Instant::ZERO);
        let mut checker = ContractChecker::new();
        let mut refused = 0;
        for number in 0..2000u64 {
            let mut payload = number.to_le_bytes().to_vec();
            payload.resize(8 + rng.below(93) as usize, 0);
            match solo.submit(Instant::ZERO, Bytes::from(payload.clone())) {
                Ok(()) => checker.on_submit(RUN, &payload),
                Err(SubmitError::Full) => refused += 1,
                Err(error) => assert!(payload.len() > LIMITS.message_bytes_max, "{error}"),
            }
            solo.check();
            for _ in 0..rng.below(3) {
                let Some(event) = solo.poll_event() else { break };
                checker.on_event(RUN, &event).unwrap();
            }
        }
        while let Some(event) = solo.poll_event() {
            checker.on_event(RUN, &event).unwrap();
        }
        assert_eq!(checker.check_converged(&[RUN]), Ok(()));
        assert!(refused > 0 && checker.deliveries() > 1000, "seed {seed}");
    }
}

#[test]
fn a_full_or_oversized_submission_is_refused_by_name() {
    let mut solo = Solo::new(RUN.node, LIMITS, 0, Instant::ZERO);
    let too_large = SubmitError::TooLarge { bytes: 101, bytes_max: 100 };
    assert_eq!(solo.submit(Instant::ZERO, Bytes::from(vec![0; 101])), Err(too_large));
    for _ in 0..10 {
        assert_eq!(solo.submit(Instant::ZERO, Bytes::from(vec![0; 100])), Ok(()));
    }
    assert_eq!(solo.submit(Instant::ZERO, Bytes::new()), Ok(()));
    assert_eq!(solo.submit(Instant::ZERO, Bytes::from(vec![0])), Err(SubmitError::Full));
    assert!(matches!(solo.poll_event(), Some(GroupEvent::View(_))));
    assert!(matches!(solo.poll_event(), Some(GroupEvent::Deliver { .. })));
    assert_eq!(solo.submit(Instant::ZERO, Bytes::from(vec![0])), Ok(()));
}
