//! The tree of znodes from outside: answers recorded from a real ZooKeeper, a naive model that it
//! must agree with, encodings, and what ends by itself.

mod codec;
mod model;
mod naive;
mod quota;
mod reaping;
mod recorded;
#[path = "../state/reseal.rs"]
mod reseal;
mod script;
mod snapshots;
mod world;
