//! Connections between clients and servers, as both ends see them.
//!
//! A connection brings everything in order until it breaks. While a client or a server is cut off,
//! what is sent is swallowed and nobody is told; a connection that swallowed something is broken
//! for good, which both ends learn when the cut ends. Invariant: what arrives over a connection
//! that its receiver has closed, or whose server died, means nothing.

use crate::plan::options::Options;
use crate::plan::rng::{Concern, Rng};
use crate::world::clock::WorldTime;
use crate::world::network::Stream;
use accord_core::ids::ConnId;
use accord_core::protocol::{ClientMessage, ServerMessage};
use accord_core::time::Duration;

/// What a connection brings to its server.
#[derive(Clone, Debug)]
pub enum ToServer {
    /// A client wants to connect.
    Connect,
    /// It says something.
    Message(ClientMessage),
    /// It hung up.
    Closed,
}

/// What a connection brings to its client.
#[derive(Clone, Debug)]
pub enum ToClient {
    /// The server has accepted.
    Accepted,
    /// It says something.
    Message(ServerMessage),
    /// It hung up, or there is no server.
    Closed,
}

/// One connection.
#[derive(Debug)]
pub struct Conn {
    /// The client's number.
    pub client: u32,
    /// The client's life that opened it.
    pub life: u64,
    /// The server's number.
    pub node: u32,
    /// The incarnation of the server that accepted it.
    pub incarnation: Option<u64>,
    /// False once the client has closed it or was told that it is closed.
    pub client_open: bool,
    /// False until the server accepted it, and once it closed it or was told that it is closed.
    pub server_open: bool,
    /// It has swallowed something.
    pub broken: bool,
    up: Stream,
    down: Stream,
}

/// All connections of a world.
#[derive(Debug)]
pub struct Conns {
    conns: Vec<Conn>,
    /// The first that may still be open at either end.
    first_open: usize,
    rng: Rng,
    delay_min: Duration,
    delay_max: Duration,
    /// Cuts in force, by server.
    unreachable: Vec<u32>,
    /// Cuts in force, by client.
    isolated: Vec<u32>,
}

impl Conns {
    /// No connections.
    pub fn new(options: &Options) -> Self {
        Self {
            conns: Vec::new(),
            first_open: 0,
            rng: Rng::of(options.seed, Concern::Connections, 0),
            delay_min: options.delay_min,
            delay_max: options.delay_max,
            unreachable: vec![0; options.nodes() as usize + 1],
            isolated: vec![0; options.clients as usize + 1],
        }
    }

    /// A new connection.
    pub fn open(&mut self, client: u32, life: u64, node: u32) -> ConnId {
        self.conns.push(Conn {
            client,
            life,
            node,
            incarnation: None,
            client_open: true,
            server_open: false,
            broken: false,
            up: Stream::default(),
            down: Stream::default(),
        });
        ConnId(self.conns.len() as u64)
    }

    /// The connection of this number.
    ///
    /// # Panics
    /// If there never was one.
    pub fn get(&mut self, conn: ConnId) -> &mut Conn {
        &mut self.conns[conn.0 as usize - 1]
    }

    /// When what is sent now arrives at the server; `None` if it is swallowed.
    pub fn send_up(&mut self, now: WorldTime, conn: ConnId) -> Option<WorldTime> {
        let delay = self.rng.duration(self.delay_min, self.delay_max);
        let passes = self.passes(conn);
        let conn = self.get(conn);
        conn.broken |= !passes;
        (!conn.broken).then(|| conn.up.send(now, delay))
    }

    /// When what is sent now arrives at the client; `None` if it is swallowed.
    pub fn send_down(&mut self, now: WorldTime, conn: ConnId) -> Option<WorldTime> {
        let delay = self.rng.duration(self.delay_min, self.delay_max);
        let passes = self.passes(conn);
        let conn = self.get(conn);
        conn.broken |= !passes;
        (!conn.broken).then(|| conn.down.send(now, delay))
    }

    fn passes(&mut self, conn: ConnId) -> bool {
        let (client, node) = {
            let conn = self.get(conn);
            (conn.client as usize, conn.node as usize)
        };
        self.unreachable[node] == 0 && self.isolated[client] == 0
    }

    /// Begins or ends a server's cut from its clients.
    ///
    /// # Panics
    /// If one ends that never began.
    pub fn cut_server(&mut self, node: u32, begin: bool) {
        change(&mut self.unreachable[node as usize], begin);
    }

    /// Begins or ends a client's cut from all servers.
    ///
    /// # Panics
    /// If one ends that never began.
    pub fn cut_client(&mut self, client: u32, begin: bool) {
        change(&mut self.isolated[client as usize], begin);
    }

    /// Connections that have swallowed something and whose ends can be told by now.
    pub fn broken_and_free(&mut self) -> Vec<ConnId> {
        self.select(|conns, id| {
            let broken = conns.get(id).broken;
            broken && conns.passes(id)
        })
    }

    /// Connections that the server `node` has accepted and not closed.
    pub fn of_server(&mut self, node: u32) -> Vec<ConnId> {
        self.select(|conns, id| {
            let conn = conns.get(id);
            conn.node == node && conn.server_open
        })
    }

    /// Connections that the client has not closed.
    pub fn of_client(&mut self, client: u32) -> Vec<ConnId> {
        self.select(|conns, id| {
            let conn = conns.get(id);
            conn.client == client && conn.client_open
        })
    }

    fn select(&mut self, mut wanted: impl FnMut(&mut Self, ConnId) -> bool) -> Vec<ConnId> {
        while let Some(conn) = self.conns.get(self.first_open)
            && !conn.client_open
            && !conn.server_open
        {
            self.first_open += 1;
        }
        let ids = (self.first_open..self.conns.len()).map(|index| ConnId(index as u64 + 1));
        ids.filter(|id| {
            let conn = self.get(*id);
            (conn.client_open || conn.server_open) && wanted(self, *id)
        })
        .collect()
    }
}

fn change(cuts: &mut u32, begin: bool) {
    let changed = if begin { cuts.checked_add(1) } else { cuts.checked_sub(1) };
    *cuts = changed.expect("a fault ends once, after it began");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_cut_swallows_breaks_the_connection_for_good() {
        let mut conns = Conns::new(&Options::default());
        let (near, far) = (conns.open(1, 1, 1), conns.open(1, 1, 2));
        conns.cut_server(2, true);
        assert!(conns.send_up(WorldTime::START, near).is_some());
        assert!(conns.send_up(WorldTime::START, far).is_none());
        assert!(conns.broken_and_free().is_empty());
        conns.cut_server(2, false);
        assert!(conns.send_up(WorldTime::START, far).is_none(), "a gap in a stream does not heal");
        assert_eq!(conns.broken_and_free(), [far]);
        conns.get(far).client_open = false;
        assert_eq!((conns.broken_and_free(), conns.of_client(1)), (vec![], vec![near]));
    }

    #[test]
    fn a_stream_keeps_its_order() {
        let mut conns = Conns::new(&Options::default());
        let conn = conns.open(1, 1, 1);
        let at: Vec<_> = (0..100).map(|_| conns.send_down(WorldTime::START, conn)).collect();
        assert!(at.is_sorted());
    }
}
