//! The models with the bounds at which they are gone through.
//!
//! A [`Case`] is a model at bounds that bring out one thing: several cases of one model cost less
//! than one case with the sum of their bounds. Each has small bounds as well, at which the number
//! of its states is pinned by a test.

use crate::replica::bounds::{self as replica, Grain, Prologue, nodes, pairs_and_all};
use crate::replica::{self as replicas, ReplicaModel};
use crate::ring::world as ring;
use crate::ring::{self as rings, RingModel};
use crate::run::Explorable;
use crate::service::bounds::{self as service, Op, Script};
use crate::service::{self as services, ServiceModel};
use accord_core::group::adversary::Loss;
use accord_core::ids::NodeId;

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
    /// Its name.
    pub name: &'static str,
    /// What it is about, in a sentence.
    pub about: &'static str,
    /// The model.
    pub model: Box<dyn Explorable>,
}

/// Bugs that the models are known to find, each with the case that finds it and its level.
pub const KNOWN_BUGS: [(&str, &str, &str); 13] = [
    ("ack-before-sync", "replica-crash", "small"),
    ("answer-before-quorum", "replica-views", "small"),
    ("append-before-sync", "replica-views", "full"),
    ("change-before-commit", "voters", "full"),
    ("conflicting-suffix-kept", "replica-views", "full"),
    ("epoch-reused", "replica-views", "full"),
    ("event-after-result", "watches-own", "small"),
    ("read-without-barrier", "replica-reads", "full"),
    ("reattached-session-expires", "sessions-return", "small"),
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
    cases.extend(service_cases(full));
    cases.extend(ring_cases(full));
    cases
}

/// More at the full level.
const fn pick<T: Copy>(full: bool, small: T, more: T) -> T {
    if full { more } else { small }
}

fn replica_cases(full: bool) -> Vec<Case> {
    use replicas::{BACK, CONFLICT, LATER, LOST, READ, RIVALS, SMALLER, TRUNCATED};
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
    use replicas::{ADDED, READMITTED, REMOVED};
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

fn replica_case(
    name: &'static str,
    about: &'static str,
    reached: &[replicas::Reached],
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
