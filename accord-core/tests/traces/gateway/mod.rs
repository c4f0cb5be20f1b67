//! What servers owe to their clients: sessions, requests, reads and watches at real servers in
//! memory mode. Between the servers everything is delivered at once, unless the trace says
//! otherwise.
//!
//! After each command every server's invariants are checked, and what the clients received since
//! the last command is shown. Clients are named by letters (`a`); each has one session at most and
//! numbers its requests, reads and watches from 1.
//!
//! Setting up:
//! - `cluster COUNT [LIMIT=NUMBER ...]`: that many servers in one primary component. Limits:
//!   `history_events` (of changes kept for watches), `timeout_ms` (the longest of a session).
//!
//! Connections and sessions:
//! - `open CLIENT NODE [timeout=DURATION]`: a new connection, and a new session on it.
//! - `attach CLIENT NODE [seen=REVISION]`: a new connection, and the client's session on it. What
//!   is left of the old connection stays; what comes there is shown with a mark (`a'`).
//! - `hangup CLIENT`: the connection breaks. `close CLIENT`: the session ends.
//! - `ping CLIENT`.
//!
//! Requests and reads:
//! - `put CLIENT KEY VALUE`, `lock CLIENT KEY` (creates an ephemeral record), `delete CLIENT KEY`:
//!   a request with the next number. `again CLIENT NUMBER` sends one again.
//! - `read CLIENT KEY [local] [after=NUMBER] [watch] [once]`: with a place behind a request; with a
//!   watch that is set in the same step (`once`: for the first change).
//! - `watch CLIENT KEY [once] [from=REVISION]`, `watch CLIENT members`, `unwatch CLIENT NUMBER`.
//!
//! Servers and the network between them:
//! - `partition NODE... | NODE...`: these components.
//! - `hold`: what servers multicast from now on waits. `release`: it is delivered, and waits no
//!   more.
//! - `pass DURATION`: time passes, with every timer on time; while servers hold back, at its end.

mod clients;
#[path = "../../service/cluster.rs"]
#[allow(dead_code, reason = "the tests of servers use more of it")]
mod cluster;
mod commands;

use crate::Stage;
use crate::script::Command;

pub use clients::World;

impl Stage for World {
    fn execute(&mut self, command: &Command) -> Result<(), String> {
        commands::execute(self, command)
    }

    fn output(&self) -> &str {
        &self.output
    }

    fn check(&mut self) {
        for server in self.cluster.iter().flat_map(|cluster| cluster.servers.values()) {
            server.check();
        }
    }
}
