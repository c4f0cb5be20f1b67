//! Every example does what it says, on a cluster of its own, and ends by itself.

// Each example is a program of its own; what they share is a module of each.
#![allow(clippy::duplicate_mod)]

// What only their `main` needs is not needed here.
#[allow(dead_code)]
#[path = "../examples/barrier.rs"]
mod barrier;
#[allow(dead_code)]
#[path = "../examples/configuration.rs"]
mod configuration;
#[allow(dead_code)]
#[path = "../examples/leader_election.rs"]
mod leader_election;
#[allow(dead_code)]
#[path = "../examples/lock.rs"]
mod lock;
#[allow(dead_code)]
#[path = "../examples/membership.rs"]
mod membership;
#[allow(dead_code)]
#[path = "../examples/queue.rs"]
mod queue;

use std::time::Duration;

/// How long an example may take before it counts as one that does not end.
const TIMEOUT: Duration = Duration::from_secs(60);

macro_rules! runs {
    ($($name:ident)+) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let servers = crate::$name::common::Servers::embedded().expect("servers start");
            let run = tokio::time::timeout(TIMEOUT, crate::$name::run(&servers)).await;
            run.expect("it ends by itself").expect("it succeeds");
        }
    )+};
}

mod runs {
    use super::TIMEOUT;
    runs! { barrier configuration leader_election lock membership queue }
}
