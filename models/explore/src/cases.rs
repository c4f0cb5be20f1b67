//! The models with the bounds at which they are gone through.
//!
//! A [`Case`] is a model at bounds that bring out one thing: several cases of one model cost less
//! than one case with the sum of their bounds. Each has small bounds as well, at which the number
//! of its states is pinned by a test.

use crate::replica::bounds::{self as replica, Grain, Prologue, Without, nodes, pairs_and_all};
use crate::replica::{self as replicas, ReplicaModel};
use crate::ring::world as ring;
use crate::ring::{self as rings, RingModel};
use crate::run::Explorable;
use crate::service::bounds::{self as service, Op, Script};
use crate::service::{self as services, ServiceModel};
use accord_core::group::adversary::Loss;
use accord_core::ids::NodeId;
use accord_core::replica::config::ReplicaLimits;

/// How much may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// What a test can go through.
    Small,
    /// What is gone through before something is claimed.
    Full,
}

/// A model at its bounds.
pub struct Case {
    /// The name on the command line and in `tests/pinned.rs`.
    pub name: &'static str,
    /// What it is about, in a sentence.
    pub about: &'static str,
    /// The model.
    pub model: Box<dyn Explorable>,
}

/// Bugs that the models are known to find, each with the case that finds it and its level.
pub const KNOWN_BUGS: [(&str, &str, &str); 20] = [
    ("ack-before-sync", "replica-crash", "small"),
    ("answer-before-quorum", "replica-views", "small"),
    ("append-before-sync", "replica-views", "full"),
    ("change-before-commit", "voters-twice", "small"),
    ("commits-counted-as-planned", "voters-twice", "small"),
    ("conflicting-suffix-kept", "replica-views", "full"),
    ("digest-votes-as-planned", "digests", "small"),
    ("epoch-reused", "replica-views", "full"),
    ("event-after-result", "watches-own", "small"),
    ("image-of-the-past-taken", "recovery-image", "small"),
    ("left-behind-by-index", "recovery-more", "small"),
    ("met-recovery-forgotten", "recovery", "small"),
    ("observer-promises-no-era", "recovery-cut", "small"),
    ("read-without-barrier", "replica-reads", "full"),
    ("reattached-session-expires", "sessions-return", "small"),
    ("recoveries-share-revisions", "recovery-apart", "small"),
    ("recovery-drops-message", "ring-recovery", "full"),
    ("retry-executed-twice", "sessions", "small"),
    ("watch-lost-at-reattach", "watches", "small"),
    ("wiped-server-votes", "replica-wipe", "small"),
];

/// All cases.
pub fn cases(level: Level) -> Vec<Case> {
    let full = level == Level::Full;
    let mut cases = replica_cases(full);
    cases.extend(voters_cases(full));
    cases.extend([voters_twice(full), digests(full)]);
    cases.extend(recovery_cases(full));
    cases.extend(service_cases(full));
    cases.extend(ring_cases(full));
    cases
}

/// More at the full level.
const fn pick<T: Copy>(full: bool, small: T, more: T) -> T {
    if full { more } else { small }
}

fn replica_cases(full: bool) -> Vec<Case> {
    use replicas::reached::{BACK, CONFLICT, LATER, LOST, READ, RIVALS, SMALLER, TRUNCATED};
    let quiet = replica::Bounds {
        writes: 1,
        views: 1,
        losses: vec![Loss::Ordered],
        ..replica::Bounds::quiet(Grain::All)
    };
    let apart = replica::Bounds { prologue: Prologue::Apart(NodeId(3)), ..quiet.clone() };
    let crossing: Vec<_> = [[2, 3], [1, 3]].map(|side| nodes(&side)).into();
    let around = replica::Bounds {
        sides: if full { pairs_and_all(3)[..3].to_vec() } else { crossing[..1].to_vec() },
        losses: pick(full, &[Loss::Ordered][..], &[Loss::Ordered, Loss::Nothing]).to_vec(),
        ..apart.clone()
    };
    let views_reached: &[_] =
        pick(full, &[SMALLER, LATER, RIVALS], &[SMALLER, LATER, RIVALS, CONFLICT, TRUNCATED]);
    vec![
        replica_case(
            "replica-views",
            "one write, and views of two servers one after another: suffixes conflict",
            views_reached,
            replica::Bounds { views: pick(full, 1, 2), sides: crossing, ..apart.clone() },
        ),
        replica_case(
            "replica-order",
            "one write among three servers, delivered one event at a time, and a view of two",
            &[SMALLER, LATER, RIVALS, CONFLICT],
            replica::Bounds {
                grain: pick(full, Grain::All, Grain::Event),
                sides: vec![nodes(&[2, 3])],
                ..if full { quiet } else { apart.clone() }
            },
        ),
        replica_case(
            "replica-crash",
            "one write, a crash that loses what was not synced, and a view",
            &[SMALLER, LATER, LOST, BACK],
            replica::Bounds { crashes: 1, ..around.clone() },
        ),
        replica_case(
            "replica-wipe",
            "one write, a disk that is lost, and a view",
            &[LATER],
            replica::Bounds { wipes: 1, ..around },
        ),
        replica_case(
            "replica-reads",
            "a write, and linearizable reads at a server that is left behind",
            &[SMALLER, READ, RIVALS],
            replica::Bounds {
                writers: nodes(&[2]),
                writes: pick(full, 0, 1),
                reads: pick(full, 1, 2),
                readers: nodes(&[1]),
                sides: vec![nodes(&[2, 3])],
                ..apart
            },
        ),
    ]
}

fn voters_cases(full: bool) -> Vec<Case> {
    use replicas::reached::{ADDED, READMITTED, REMOVED};
    let quiet = replica::Bounds {
        losses: vec![Loss::Ordered],
        views: 1,
        ..replica::Bounds::quiet(Grain::All)
    };
    vec![
        replica_case(
            "voters",
            "a voter is removed or an observer added while views change",
            pick(full, &[ADDED][..], &[ADDED, REMOVED]),
            replica::Bounds {
                observers: 1,
                prologue: Prologue::Apart(NodeId(2)),
                changes: pick(full, 1, 2),
                changeable: nodes(&[3, 4]),
                sides: vec![nodes(&[2, 3])],
                ..quiet.clone()
            },
        ),
        replica_case(
            "voters-readmitted",
            "a voter that lost its disk gets its vote back while its old disk returns",
            &[READMITTED],
            replica::Bounds {
                prologue: Prologue::Wiped(NodeId(3)),
                mortals: nodes(&[3]),
                crashes: pick(full, 0, 1),
                swaps: pick(full, 0, 1),
                views: pick(full, 0, 1),
                views_last: true,
                sides: vec![nodes(&[2, 3])],
                ..quiet
            },
        ),
    ]
}

/// Two changes of voters in one epoch; then those who were a majority before them are lost.
fn voters_twice(full: bool) -> Case {
    use replicas::reached::{ADDED, CHANGED_TWICE, REMOVED, WITHOUT_OLD};
    replica_case(
        "voters-twice",
        "voters are changed twice in an epoch while some stand still, and the old majority is lost",
        &[ADDED, REMOVED, CHANGED_TWICE, WITHOUT_OLD],
        replica::Bounds {
            observers: 1,
            writes: 1,
            changes: 2,
            changeable: nodes(&[3, 4]),
            pausable: nodes(&[2, 4]),
            pauses: pick(full, 1, 2),
            mortals: nodes(&[1]),
            crashes: pick(full, 0, 1),
            sides: [&[1, 4][..], &[2, 3], &[2, 4]].map(nodes).into(),
            losses: vec![Loss::Ordered],
            views: pick(full, 1, 2),
            ..replica::Bounds::quiet(Grain::Rest)
        },
    )
}

/// A damaged state beside a voter that is readmitted.
fn digests(full: bool) -> Case {
    replica_case(
        "digests",
        "the state of a voter is damaged while another one gets its vote back",
        &[replicas::reached::READMITTED, replicas::reached::OUTVOTED],
        replica::Bounds {
            prologue: Prologue::Wiped(NodeId(3)),
            writes: 2,
            damages: 1,
            mortals: nodes(&[1, 2]),
            pausable: nodes(&[2, 3]),
            pauses: pick(full, 0, 2),
            limits: ReplicaLimits { digest_interval: 1, ..ReplicaLimits::default() },
            ..replica::Bounds::quiet(Grain::Rest)
        },
    )
}

/// The majority is lost, the cluster is recovered from server 1, and old disks are found.
fn recovery_cases(full: bool) -> Vec<Case> {
    use replicas::reached::{APART, BESIDE, GROWN, LEFT_BEHIND, PROMISED, TAKEN_IN};
    let sides: [&[u32]; 5] = [&[1], &[1, 2], &[1, 3], &[2, 3], &[1, 2, 3]];
    let quiet = replica::Bounds {
        losses: vec![Loss::Ordered],
        sides: sides.map(nodes).into(),
        writers: nodes(pick(full, &[1][..], &[1, 2])),
        writes: 1,
        newcomers: nodes(pick(full, &[3][..], &[2, 3])),
        recoverers: nodes(&[1]),
        recoveries: 1,
        exchanges: 2,
        views: 3,
        ..replica::Bounds::quiet(Grain::Rest)
    };
    let lost = |without| replica::Bounds { prologue: Prologue::Lost(without), ..quiet.clone() };
    vec![
        replica_case(
            "recovery",
            "the cluster is recovered and grows; old disks with nothing that it lacks are found",
            &[GROWN, TAKEN_IN, PROMISED, BESIDE],
            replica::Bounds { writes: pick(full, 0, 1), ..lost(Without::Less) },
        ),
        replica_case(
            "recovery-more",
            "the same, but the old disks hold what the lost servers committed without it",
            pick(full, &[LEFT_BEHIND, BESIDE][..], &[GROWN, LEFT_BEHIND, PROMISED, BESIDE]),
            replica::Bounds { views: pick(full, 2, 3), ..lost(Without::More) },
        ),
        replica_case(
            "recovery-apart",
            "the cluster is recovered twice, also from an old disk, and what came of it meets",
            pick(full, &[APART][..], &[LEFT_BEHIND, APART]),
            replica::Bounds {
                writers: nodes(&[1, 2]),
                writes: 2,
                newcomers: nodes(pick(full, &[][..], &[3])),
                recoverers: nodes(&[1, 2]),
                recoveries: 2,
                exchanges: pick(full, 1, 2),
                sides: [&[2][..], &[1, 2], &[2, 3]].map(nodes).into(),
                ..lost(Without::Nothing)
            },
        ),
        recovery_cut(full, &quiet),
        recovery_crash(full, &quiet),
        recovery_image(&quiet),
    ]
}

/// Old disks meet the recovered cluster one after another, event by event.
fn recovery_cut(full: bool, quiet: &replica::Bounds) -> Case {
    use replicas::reached::{BESIDE, PROMISED, TAKEN_IN};
    replica_case(
        "recovery-cut",
        "an old disk meets the recovered cluster, is cut off at any point, and meets the other one",
        &[TAKEN_IN, PROMISED, BESIDE],
        replica::Bounds {
            grain: Grain::All,
            prologue: Prologue::Recovered(Without::Nothing),
            writes: 0,
            recoveries: 0,
            exchanges: 0,
            sides: [&[1, 2][..], &[2, 3]].map(nodes).into(),
            mortals: nodes(&[2]),
            crashes: pick(full, 0, 1),
            views: 2,
            ..quiet.clone()
        },
    )
}

/// The recovered server crashes at any point, and the cluster is recovered again; perhaps from the
/// old disk that was there.
fn recovery_crash(full: bool, quiet: &replica::Bounds) -> Case {
    use replicas::reached::{LOST, TWICE};
    replica_case(
        "recovery-crash",
        "a recovery is interrupted by a crash, and the operator asks again",
        &[LOST, TWICE],
        replica::Bounds {
            grain: Grain::All,
            prologue: Prologue::Lost(Without::Nothing),
            writes: 0,
            newcomers: Vec::new(),
            recoverers: nodes(pick(full, &[1][..], &[1, 2])),
            recoveries: 2,
            exchanges: pick(full, 0, 1),
            sides: [&[1][..], &[1, 2]].map(nodes).into(),
            mortals: nodes(&[1]),
            crashes: 1,
            views: 2,
            ..quiet.clone()
        },
    )
}

/// A new server has been sent an image by those who are lost then.
fn recovery_image(quiet: &replica::Bounds) -> Case {
    use replicas::reached::{INSTALLED, REFUSED};
    replica_case(
        "recovery-image",
        "a server with an image of those who are lost takes part in the recovered cluster",
        &[INSTALLED, REFUSED],
        replica::Bounds {
            observers: 1,
            prologue: Prologue::Apart(NodeId(1)),
            writers: nodes(&[2]),
            writes: 1,
            exchanges: 0,
            mortals: nodes(&[4]),
            newcomers: nodes(&[4]),
            wipes: 1,
            timeouts: 1,
            looks_later: true,
            limits: ReplicaLimits { log_bytes_retained: 0, ..ReplicaLimits::default() },
            sides: [&[2, 3, 4][..], &[1, 4]].map(nodes).into(),
            views: 3,
            ..quiet.clone()
        },
    )
}

fn replica_case(
    name: &'static str,
    about: &'static str,
    reached: &[replicas::reached::Reached],
    bounds: replica::Bounds,
) -> Case {
    Case { name, about, model: Box::new(ReplicaModel { bounds, reached: reached.to_vec() }) }
}

fn script(servers: &[u32], ops: &[Op]) -> Script {
    Script { servers: nodes(servers), ops: ops.to_vec() }
}

fn service_cases(full: bool) -> Vec<Case> {
    let quiet = service::Bounds {
        servers: 2,
        scripts: Vec::new(),
        breaks: 1,
        first_only: true,
        client_timers: 1,
        quiet_clients: true,
        server_timers: 0,
        views: 0,
    };
    let (one, two) = (&[Op::Increment][..], &[Op::Increment, Op::Increment][..]);
    vec![
        sessions_case(
            "sessions",
            "a client that loses its connection, and a server that finds its session silent",
            service::Bounds {
                scripts: vec![script(&[1, 2], pick(full, one, two))],
                server_timers: 1,
                ..quiet.clone()
            },
        ),
        sessions_case(
            "sessions-return",
            "a client that comes back to the server that is about to end its session",
            service::Bounds {
                scripts: vec![script(&[1], pick(full, one, two))],
                server_timers: 1,
                ..quiet.clone()
            },
        ),
        Case {
            name: "sessions-linear",
            about: "two clients at two servers: increments and reads, with a lost connection",
            model: Box::new(ServiceModel {
                bounds: service::Bounds {
                    scripts: vec![
                        script(&[1, 2], one),
                        script(&[2, 1], pick(full, &[Op::Read], &[Op::Increment, Op::Read])),
                    ],
                    ..quiet.clone()
                },
                properties: services::SESSIONS,
                reached: services::LINEAR_REACHED,
            }),
        },
        watches_case(
            "watches",
            "a client that watches and reads, and one that writes at the other server",
            service::Bounds {
                scripts: vec![script(&[1, 2], &[Op::Watch, Op::ReadLocally]), script(&[2, 1], one)],
                ..quiet.clone()
            },
        ),
        watches_case(
            "watches-own",
            "a client that watches what it changes itself",
            service::Bounds {
                scripts: vec![script(&[1, 2], &[Op::Watch, Op::Increment, Op::Increment])],
                breaks: pick(full, 1, 2),
                client_timers: pick(full, 1, 2),
                ..quiet
            },
        ),
    ]
}

fn sessions_case(name: &'static str, about: &'static str, bounds: service::Bounds) -> Case {
    let (properties, reached) = (services::SESSIONS, services::SESSIONS_REACHED);
    Case { name, about, model: Box::new(ServiceModel { bounds, properties, reached }) }
}

fn watches_case(name: &'static str, about: &'static str, bounds: service::Bounds) -> Case {
    let (properties, reached) = (services::WATCHES, services::WATCHES_REACHED);
    Case { name, about, model: Box::new(ServiceModel { bounds, properties, reached }) }
}

fn ring_cases(full: bool) -> Vec<Case> {
    use rings::{CARRIED, DELIVERED, RESENT, SMALLER, STALE, TOKEN_LOST};
    let quiet = ring::Bounds {
        members: 3,
        submits: nodes(&[3]),
        mortals: Vec::new(),
        losses: 0,
        data_only: true,
        copies: 0,
        arrivals: 9,
        timers: 2,
        skews: 0,
    };
    vec![
        ring_case(
            "ring-losses",
            "messages of members of a ring, with datagrams lost and overtaken",
            pick(full, &[DELIVERED][..], &[DELIVERED, RESENT]),
            ring::Bounds {
                submits: nodes(pick(full, &[3][..], &[3, 2])),
                losses: pick(full, 0, 1),
                arrivals: pick(full, 9, 12),
                ..quiet.clone()
            },
        ),
        ring_case(
            "ring-copies",
            "a message in a ring, with late copies of any datagram",
            &[DELIVERED, STALE],
            ring::Bounds {
                copies: 1,
                data_only: !full,
                arrivals: pick(full, 9, 12),
                ..quiet.clone()
            },
        ),
        ring_case(
            "ring-recovery",
            "a member that sends and crashes; the others form a ring and recover what it sent",
            pick(full, &[TOKEN_LOST][..], &[SMALLER, CARRIED, TOKEN_LOST]),
            ring::Bounds {
                mortals: nodes(&[3]),
                losses: pick(full, 0, 1),
                arrivals: pick(full, 16, 34),
                timers: pick(full, 6, 13),
                ..quiet
            },
        ),
    ]
}

fn ring_case(
    name: &'static str,
    about: &'static str,
    reached: &[rings::Reached],
    bounds: ring::Bounds,
) -> Case {
    Case { name, about, model: Box::new(RingModel { bounds, reached: reached.to_vec() }) }
}
