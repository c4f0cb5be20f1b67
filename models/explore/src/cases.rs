//! The models with the bounds at which they are gone through.
//!
//! A [`Case`] is a model at bounds that bring out one thing: several cases of one model cost less
//! than one case with the sum of their bounds. Each has small bounds as well, at which the number
//! of its states is pinned by a test.

use crate::replica::bounds::{self as replica, Grain, Prologue, nodes, pairs_and_all};
use crate::replica::{self as replicas, ReplicaModel};
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

/// All cases.
pub fn cases(level: Level) -> Vec<Case> {
    let full = level == Level::Full;
    let mut cases = replica_cases(full);
    cases.extend(service_cases(full));
    cases
}

/// More at the full level.
const fn pick<T: Copy>(full: bool, small: T, more: T) -> T {
    if full { more } else { small }
}

fn replica_cases(full: bool) -> Vec<Case> {
    use replicas::{BACK, CONFLICT, LATER, LOST, READ, RIVALS, SMALLER, TRUNCATED};
    let quiet = replica::Bounds::quiet(Grain::All);
    let apart = replica::Bounds { prologue: Prologue::Apart(NodeId(3)), ..quiet.clone() };
    vec![
        replica_case(
            "replica-views",
            "one write, and views of any two servers, one after another",
            &[SMALLER, LATER, RIVALS, CONFLICT],
            replica::Bounds {
                writes: 1,
                views: pick(full, 1, 2),
                sides: pick_sides(full),
                losses: vec![Loss::Ordered],
                ..apart.clone()
            },
        ),
        replica_case(
            "replica-order",
            "one write among three servers, delivered one event at a time, and one view",
            &[SMALLER, LATER, RIVALS, CONFLICT],
            replica::Bounds {
                grain: pick(full, Grain::All, Grain::Event),
                writes: 1,
                views: 1,
                sides: vec![nodes(&[2, 3])],
                losses: vec![Loss::Ordered],
                ..pick_start(full, &quiet, &apart)
            },
        ),
        replica_case(
            "replica-crash",
            "one write, a crash that loses what was not synced, views of any two servers",
            &[SMALLER, LATER, LOST, BACK],
            replica::Bounds {
                writes: 1,
                views: pick(full, 1, 2),
                sides: pick_sides(full),
                losses: vec![Loss::Ordered],
                crashes: 1,
                ..apart.clone()
            },
        ),
        replica_case(
            "replica-wipe",
            "one write, a disk that is lost, views of any two servers and of all",
            &[LATER],
            replica::Bounds {
                writes: 1,
                views: pick(full, 1, 2),
                sides: pick_sides(full),
                losses: vec![Loss::Ordered],
                wipes: 1,
                ..apart.clone()
            },
        ),
        replica_case(
            "replica-reads",
            "a write and linearizable reads at a server that is left behind",
            &[SMALLER, READ, RIVALS],
            replica::Bounds {
                writes: 1,
                writers: nodes(&[2]),
                reads: pick(full, 1, 2),
                readers: nodes(&[1]),
                views: 1,
                sides: pairs_and_all(3).into_iter().take(3).collect(),
                losses: vec![Loss::Ordered],
                ..apart.clone()
            },
        ),
        replica_case(
            "replica-conflict",
            "two writes at servers that are cut off in turn: conflicting suffixes are dropped",
            &[TRUNCATED, CONFLICT],
            replica::Bounds {
                writers: nodes(&[1]),
                writes: 1,
                views: 2,
                sides: pick(full, &[[2, 3], [1, 3]][..], &[[2, 3], [1, 2], [1, 3]]).iter().map(|side| nodes(side)).collect(),
                losses: vec![Loss::Ordered],
                ..apart
            },
        ),
    ]
}

fn pick_sides(full: bool) -> Vec<Vec<NodeId>> {
    let pairs = pairs_and_all(3).into_iter().take(3);
    if full { pairs.collect() } else { vec![nodes(&[2, 3]), nodes(&[1, 3])] }
}

fn pick_start(full: bool, one: &replica::Bounds, other: &replica::Bounds) -> replica::Bounds {
    if full { one.clone() } else { other.clone() }
}

fn replica_case(
    name: &'static str,
    about: &'static str,
    reached: &[replicas::Reached],
    bounds: replica::Bounds,
) -> Case {
    Case { name, about, model: Box::new(ReplicaModel { bounds, reached: reached.to_vec() }) }
}

fn script(servers: [u32; 2], ops: &[Op]) -> Script {
    Script { servers: servers.map(NodeId).to_vec(), ops: ops.to_vec() }
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
                scripts: vec![script([1, 2], pick(full, one, two))],
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
                        script([1, 2], one),
                        script([2, 1], pick(full, &[Op::Read], &[Op::Increment, Op::Read])),
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
                scripts: vec![
                    script([1, 2], &[Op::Watch, Op::ReadLocally]),
                    script([2, 1], one),
                ],
                ..quiet.clone()
            },
        ),
        watches_case(
            "watches-own",
            "a client that watches what it changes itself",
            service::Bounds {
                scripts: vec![script([1, 2], &[Op::Watch, Op::Increment, Op::Increment])],
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
