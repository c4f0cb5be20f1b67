//! What of a bare world goes into the digest of its run: everything that can differ between two
//! runs of a plan and is seen outside of a machine.
//!
//! Named with its time, its place and a number of its kind: what a server is handed (datagrams and
//! messages beside the group with their sender and bytes, deliveries and views, timers, words of
//! clients), what servers and clients send (bytes, even of what is lost on the way), every record
//! that is given to a disk, how far each write is durable, starts and deaths of processes with what
//! the disk had, faults that begin, end or are skipped, what clients ask, and in the end the state
//! of each server, the clients' histories and the verdict. Not in it: what a machine does inside
//! itself, and the story's words.
//!
//! In the simulators' worlds it is what passes the seam of `accord-net` ([`crate::worlds`]): bytes
//! read and written, datagrams, connections, syncs; and the histories and the verdict, as here.

use crate::judge::Violation;
use crate::world::clock::WorldTime;
use crate::world::conns::{ToClient, ToServer};
use crate::world::input::NodeInput;
use crate::world::trace::Trace;
use crate::world::who::Actor;
use accord_core::group::GroupEvent;
use accord_core::ids::ConnId;
use accord_core::protocol::{encode_client, encode_server};
use accord_core::server::{Input, Output};
use accord_core::wire::Encode;
use accord_models::History;

/// The kinds of event. Those below 30 stand for what is handed to a machine or asked by it.
#[allow(missing_docs, reason = "each is described where it is used, in this module")]
pub mod kind {
    pub const DATAGRAM: u8 = 0;
    pub const DELIVERY: u8 = 1;
    pub const VIEW: u8 = 2;
    pub const PEER: u8 = 3;
    pub const STORED: u8 = 4;
    pub const INPUT: u8 = 5;
    pub const CONN: u8 = 6;
    pub const TIMER: u8 = 7;
    pub const CLIENT_CONN: u8 = 10;
    pub const CLIENT_TIMER: u8 = 11;
    pub const START: u8 = 12;
    pub const DEATH: u8 = 13;
    pub const PERSIST: u8 = 14;
    pub const OUTPUT: u8 = 15;
    pub const SENT_DATAGRAM: u8 = 16;
    pub const SENT_PEER: u8 = 17;
    pub const SENT_UP: u8 = 18;
    pub const SENT_DOWN: u8 = 19;
    pub const SUBMIT: u8 = 20;
    pub const READ: u8 = 21;
    pub const FAULT_BEGINS: u8 = 30;
    pub const FAULT_ENDS: u8 = 31;
    pub const FAULT_SKIPPED: u8 = 32;
    pub const STATE: u8 = 40;
    pub const HISTORY: u8 = 41;
    pub const VERDICT: u8 = 42;
}

/// A server is handed an input; deliveries and views go by [`group`].
pub fn input(trace: &mut Trace, now: WorldTime, who: Actor, input: &NodeInput) {
    let (what, number, bytes): (u8, u64, &[u8]) = match input {
        NodeInput::Datagram { from, bytes } => (kind::DATAGRAM, u64::from(*from), bytes),
        NodeInput::Group(_) => return,
        NodeInput::Server(input) => match &**input {
            Input::Peer { from, message } => (kind::PEER, u64::from(from.0), message),
            Input::Stored { ticket } => (kind::STORED, ticket.0, &[]),
            Input::Written { conn, .. } => (kind::INPUT, conn.0, &[1]),
            Input::Worked(_) => (kind::INPUT, 0, &[2]),
            Input::Admin { admin, .. } => (kind::INPUT, admin.0, &[3]),
            _ => (kind::INPUT, 0, &[]),
        },
        // What it says was taken in when it was sent.
        NodeInput::Conn(conn, _) => (kind::CONN, conn.0, &[]),
        NodeInput::Timer => (kind::TIMER, 0, &[]),
    };
    trace.numbered(now, who, what, number, bytes);
}

/// The group layer hands a server its next event.
pub fn group(trace: &mut Trace, now: WorldTime, who: Actor, event: &GroupEvent) {
    match event {
        GroupEvent::Deliver { from, payload } => {
            trace.numbered(now, who, kind::DELIVERY, u64::from(from.0), payload);
        }
        GroupEvent::View(view) => {
            let members = view.members.iter().flat_map(|member| member.0.to_le_bytes());
            let members: Vec<u8> = members.chain(view.id.to_bytes()).collect();
            trace.numbered(now, who, kind::VIEW, view.id.seq, &members);
        }
    }
}

/// A server asks for something. What it sends is taken in where it is sent.
pub fn output(trace: &mut Trace, now: WorldTime, who: Actor, output: &Output) {
    let (number, what) = match output {
        Output::Persist { ticket, record } => {
            return trace.numbered(now, who, kind::PERSIST, ticket.0, &record.to_bytes());
        }
        Output::Multicast(payload) => {
            return trace.numbered(now, who, kind::OUTPUT, 1, payload);
        }
        Output::Client { .. } | Output::Peer { .. } => return,
        Output::Disconnect { conn, .. } => (conn.0, 2),
        Output::Standing(_) => (0, 3),
        Output::Work(_) => (0, 4),
        Output::Admin { admin, .. } => (admin.0, 5),
        Output::Halt(_) => (0, 6),
    };
    trace.numbered(now, who, kind::OUTPUT, number, &[what]);
}

/// A client sends something to a server.
pub fn sent_up(trace: &mut Trace, now: WorldTime, client: u32, conn: ConnId, what: &ToServer) {
    let bytes = match what {
        ToServer::Connect => vec![0],
        ToServer::Message(message) => encode_client(message).to_vec(),
        ToServer::Closed => vec![2],
    };
    trace.numbered(now, Actor::Client(client), kind::SENT_UP, conn.0, &bytes);
}

/// A server sends something to a client: also an answer.
pub fn sent_down(trace: &mut Trace, now: WorldTime, node: u32, conn: ConnId, what: &ToClient) {
    let bytes = match what {
        ToClient::Accepted => vec![0],
        ToClient::Message(message) => encode_server(message).to_vec(),
        ToClient::Closed => vec![2],
    };
    trace.numbered(now, Actor::Server(node), kind::SENT_DOWN, conn.0, &bytes);
}

/// What the clients of the workload at `number` saw.
pub fn history(trace: &mut Trace, now: WorldTime, number: usize, history: &History) {
    let text = history.to_string();
    trace.numbered(now, Actor::World, kind::HISTORY, number as u64, text.as_bytes());
}

/// The first property that did not hold, or none.
pub fn verdict(trace: &mut Trace, now: WorldTime, violation: Option<&Violation>) {
    let text = violation.map(ToString::to_string).unwrap_or_default();
    trace.event(now, Actor::World, kind::VERDICT, text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use accord_core::ids::{Epoch, NodeId, Revision, StoreId};
    use accord_core::protocol::{ClientMessage, ServerMessage};
    use accord_core::replica::io::{Record, Ticket};
    use std::collections::BTreeSet;

    /// The digest of a world in which only `act` happened.
    fn digest(act: impl FnOnce(&mut Trace)) -> u64 {
        let mut trace = Trace::new(None);
        act(&mut trace);
        trace.digest()
    }

    fn all_differ(digests: &[u64]) {
        let distinct: BTreeSet<u64> = digests.iter().copied().collect();
        assert_eq!(distinct.len(), digests.len());
    }

    #[test]
    fn another_answer_is_another_digest() {
        let (now, conn) = (WorldTime::START, ConnId(1));
        let sent = |what: ToClient| digest(|trace| sent_down(trace, now, 1, conn, &what));
        let pong = |revision| ServerMessage::Pong { nonce: 1, revision: Revision(revision) };
        let asked = |nonce| ToServer::Message(ClientMessage::Ping { nonce });
        all_differ(&[
            sent(ToClient::Message(pong(1))),
            sent(ToClient::Message(pong(2))),
            sent(ToClient::Accepted),
            sent(ToClient::Closed),
            digest(|trace| sent_up(trace, now, 1, conn, &asked(1))),
            digest(|trace| sent_up(trace, now, 1, conn, &asked(2))),
            digest(|trace| sent_up(trace, now, 1, ConnId(2), &asked(2))),
        ]);
    }

    #[test]
    fn another_record_on_a_disk_is_another_digest() {
        let (now, who) = (WorldTime::START, Actor::Server(1));
        let persist = |ticket, record| {
            let asked = Output::Persist { ticket: Ticket(ticket), record };
            digest(|trace| output(trace, now, who, &asked))
        };
        let identity = Record::Identity { node: NodeId(1), store: StoreId(7), bootstrap: true };
        all_differ(&[
            persist(1, Record::Promise(Epoch(1))),
            persist(1, Record::Promise(Epoch(2))),
            persist(2, Record::Promise(Epoch(2))),
            persist(1, identity),
        ]);
    }

    #[test]
    fn another_sender_is_another_digest() {
        let (now, who) = (WorldTime::START, Actor::Server(1));
        let bytes = bytes::Bytes::from_static(b"word");
        let datagram = |from| NodeInput::Datagram { from, bytes: bytes.clone() };
        let payload = &bytes;
        let delivery = |from| GroupEvent::Deliver { from: NodeId(from), payload: payload.clone() };
        all_differ(&[
            digest(|trace| input(trace, now, who, &datagram(2))),
            digest(|trace| input(trace, now, who, &datagram(3))),
            digest(|trace| group(trace, now, who, &delivery(2))),
            digest(|trace| group(trace, now, who, &delivery(3))),
        ]);
    }
}
