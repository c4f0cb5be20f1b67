//! What may happen in one run of the model, and how often.

use accord_core::ids::NodeId;

/// What a client does next, once it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// Adds one to the counter.
    Increment,
    /// Reads the counter, linearizably.
    Read,
    /// Reads the counter at its server.
    ReadLocally,
    /// Watches the counter from now on.
    Watch,
    /// Watches the counter for one change.
    WatchOnce,
}

/// A client: where it begins, and what it does, in this order.
#[derive(Clone, Debug)]
pub struct Script {
    /// The servers that it tries; it begins with the first.
    pub servers: Vec<NodeId>,
    /// What it does. An operation begins without waiting for the one before.
    pub ops: Vec<Op>,
}

/// What may happen, and how often.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Servers, all of them voters.
    pub servers: u32,
    /// The clients.
    pub scripts: Vec<Script>,
    /// Connections that break.
    pub breaks: u8,
    /// The first client alone suffers breaks and time-outs.
    pub first_only: bool,
    /// Timers of clients that fire: a wait is over, a ping is due, a server is silent.
    pub client_timers: u8,
    /// True if timers of clients fire only while they have no session attached: no pings.
    pub quiet_clients: bool,
    /// Timers of servers that fire: sessions were silent for too long.
    pub server_timers: u8,
    /// Views of all servers formed anew.
    pub views: u8,
}

/// How often each thing has happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Used {
    /// Broken connections.
    pub breaks: u8,
    /// Timers of clients.
    pub client_timers: u8,
    /// Timers of servers.
    pub server_timers: u8,
    /// Views.
    pub views: u8,
}
