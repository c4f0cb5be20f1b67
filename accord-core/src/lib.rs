//! The sans-IO, deterministic core of Accord.
//!
//! Nothing in this crate performs IO, reads a clock, starts a thread or draws randomness that it
//! was not handed. Every machine in it takes inputs together with the current [`time::Instant`] and
//! hands back outputs; a driver (tokio, a simulator, a model checker) moves the bytes. Read the
//! modules in this order:
//!
//! 1. [`time`], [`ids`], [`limits`], [`wire`], [`pieces`]: the vocabulary: instants, ids, bounds,
//!    bytes.
//! 2. [`group`]: the ordering contract and its implementations.
//! 3. [`replica`]: from agreed order to durable, linearizable commits.
//! 4. [`state`]: what is replicated: store, transactions, sessions, events.
//! 5. [`service`]: what is ordered, the replica and the state; [`gateway`]: the clients in front of
//!    it; [`server`]: both as one machine, which is what a driver runs.
//! 6. [`client`]: the client's half of the session, also sans-IO; [`protocol`]: what both say.
//!
//! # The loop
//!
//! A driver hands each [`server::Input`] with the present time to [`server::Server::handle`], which
//! only takes it in. [`server::Server::poll_output`] works out what follows: the driver carries out
//! every [`server::Output`] in order, until none is left; then it waits for the next
//! message, completed write or deadline of the server. Before it polls, it may hand in as many
//! inputs as there are: what comes together goes out together. Time never goes back. The group
//! layer and the client are driven in the same way. Here is the whole of it for one server in
//! memory mode, which executes one write:
//!
//! ```
//! use accord_core::client::{Client, ClientConfig, ClientEvent, ClientInput, ClientOutput};
//! use accord_core::group::solo::{Solo, SoloLimits};
//! use accord_core::holder::{Principal, SecretKey};
//! use accord_core::ids::{ConnId, NodeId, StoreId};
//! use accord_core::limits::Limits;
//! use accord_core::replica::config::{Durability, ReplicaConfig, ReplicaLimits};
//! use accord_core::replica::log::Recovered;
//! use accord_core::server::{Input, Output, Server, ServerConfig, ServerLimits};
//! use accord_core::state::{Flags, Step, Txn};
//! use accord_core::time::Instant;
//!
//! let (node, conn, now) = (NodeId(1), ConnId(1), Instant::ZERO);
//! let replica = ReplicaConfig {
//!     node,
//!     initial: [node].into(),
//!     durability: Durability::Memory,
//!     limits: ReplicaLimits::default(),
//! };
//! let config = ServerConfig {
//!     replica,
//!     state: Limits::default(),
//!     limits: ServerLimits::default(),
//!     // From the system's randomness, in earnest.
//!     secrets: SecretKey::new([7; 32]),
//! };
//! // The first start of a new cluster: an empty store, and permission to form the cluster with it.
//! let mut server = Server::new(config, Recovered::fresh(StoreId(7), true), 1, now);
//! let mut group = Solo::new(node, SoloLimits::default(), 2, now);
//! let mut client = Client::new(ClientConfig::new(vec![node]), 3, now);
//!
//! let write = Txn::of(vec![Step::Write {
//!     key: "greeting".into(),
//!     value: "hello".into(),
//!     offset: 0,
//!     flags: Flags::CREATE,
//! }]);
//! let request = client.submit(now, &write).expect("nothing else is under way");
//!
//! let mut inputs = std::collections::VecDeque::new();
//! let done = loop {
//!     while let Some(event) = group.poll_event() {
//!         inputs.push_back(Input::Group(event));
//!     }
//!     let mut events = Vec::new();
//!     while let Some(output) = client.poll_output() {
//!         match output {
//!             ClientOutput::Connect { .. } => {
//!                 inputs.push_back(Input::Connected { conn, principal: Principal::Anonymous });
//!                 client.handle(now, ClientInput::Connected);
//!             }
//!             ClientOutput::Send(message) => inputs.push_back(Input::Client { conn, message }),
//!             ClientOutput::Disconnect => inputs.push_back(Input::Disconnected { conn }),
//!             ClientOutput::Event(event) => events.push(event),
//!         }
//!     }
//!     let finished = |event: &ClientEvent| matches!(event, ClientEvent::Done { .. });
//!     if let Some(done) = events.into_iter().find(finished) {
//!         break done;
//!     }
//!     // A driver would wait here. Nothing in this one takes time.
//!     assert!(!inputs.is_empty(), "somebody has something to say");
//!     for input in inputs.drain(..) {
//!         server.handle(now, input);
//!     }
//!     while let Some(output) = server.poll_output() {
//!         match output {
//!             Output::Multicast(message) => group.submit(now, message).expect("it has room"),
//!             Output::Client { conn, message } => {
//!                 client.handle(now, ClientInput::Message(message));
//!                 inputs.push_back(Input::Written { conn, messages: 1 });
//!             }
//!             Output::Disconnect { .. } => client.handle(now, ClientInput::Disconnected),
//!             Output::Persist { .. } => unreachable!("memory mode writes nothing"),
//!             Output::Peer { .. } => unreachable!("there is no other server"),
//!             Output::Operator { .. } => unreachable!("no operator asked anything"),
//!             Output::Standing(_) => {} // One server alone has nothing to choose.
//!             Output::Job(job) => server.handle(now, Input::JobDone(job.run())),
//!             Output::Halt(reason) => panic!("{reason}"),
//!         }
//!     }
//! };
//! assert!(matches!(done, ClientEvent::Done { request: found, .. } if found == request));
//! ```
#![no_std]
#![forbid(unsafe_code)]
#![deny(clippy::disallowed_types, clippy::disallowed_methods, clippy::float_arithmetic)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod client;
#[cfg(feature = "testing")]
pub mod fingerprint;
pub mod gateway;
pub mod group;
pub mod holder;
pub mod ids;
pub mod limits;
pub mod pieces;
pub mod protocol;
pub mod replica;
pub mod rng;
pub mod server;
pub mod service;
pub mod state;
pub mod stream;
pub mod time;
pub mod wire;
