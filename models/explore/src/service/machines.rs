//! The machines of the model: the core's `Server` and `Client`, each with a clock of its own, and
//! the connections between them.

use super::bounds::Op;
use super::oracle::OpId;
use crate::kept::Fingerprint;
use accord_core::client::{Client, ReadId};
use accord_core::fingerprint;
use accord_core::ids::{ConnId, NodeId, RequestId};
use accord_core::protocol::{ClientMessage, ServerMessage};
use accord_core::server::Server;
use accord_core::time::Instant;
use std::collections::{BTreeMap, VecDeque};

/// A server with its clock, which stands still but for timers that fire.
#[derive(Clone, Debug)]
pub struct Host {
    /// The machine under test.
    pub server: Server,
    /// Its clock.
    pub clock: Instant,
}

impl Fingerprint for Host {
    fn fingerprint(&self) -> u64 {
        fingerprint::of(&(self.server.fingerprint(), self.clock))
    }
}

/// A client with its clock and its script.
#[derive(Clone, Debug)]
pub struct User {
    /// The machine under test.
    pub client: Client,
    /// Its clock.
    pub clock: Instant,
    /// Its connection, as far as it knows.
    pub conn: Option<ConnId>,
    /// How many operations of its script it has begun.
    pub begun: usize,
    /// Requests that are not answered.
    pub requests: BTreeMap<RequestId, OpId>,
    /// Linearizable reads that are not answered.
    pub reads: BTreeMap<ReadId, OpId>,
    /// True once its session has ended.
    pub over: bool,
    /// True if the watch that it has set is for one change.
    pub once: bool,
}

impl Fingerprint for User {
    fn fingerprint(&self) -> u64 {
        let Self { client, clock, conn, begun, requests, reads, over, once } = self;
        fingerprint::of(&(client.fingerprint(), clock, conn, begun, requests, reads, over, once))
    }
}

impl User {
    /// What it does next.
    pub fn next_op(&self, ops: &[Op]) -> Option<Op> {
        ops.get(self.begun).copied().filter(|_| !self.over)
    }
}

/// What goes over a connection: messages in order, then its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parcel<T> {
    /// A message.
    Message(T),
    /// The other side has hung up, or the connection is broken.
    End,
}

/// A connection. Each side may have what the other said before it notices the end.
#[derive(Clone, Debug)]
pub struct Conn {
    /// Which client.
    pub user: usize,
    /// Which server.
    pub node: NodeId,
    /// On its way to the server.
    pub to_server: VecDeque<Parcel<ClientMessage>>,
    /// On its way to the client.
    pub to_client: VecDeque<Parcel<ServerMessage>>,
    /// The client has not ended it.
    pub client_open: bool,
    /// The server has not ended it.
    pub server_open: bool,
}

impl Fingerprint for Conn {
    fn fingerprint(&self) -> u64 {
        fingerprint::of(self)
    }
}
