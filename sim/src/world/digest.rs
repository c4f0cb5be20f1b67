//! What of a bare world goes into the digest of its run: everything that can differ between two
//! runs of a plan and is seen outside of a machine.
//!
//! Named with its time, its place and a number of its kind: what a server is handed (datagrams and
//! messages beside the group with their sender and bytes, deliveries and views, timers, what
//! clients and operators say), what servers and clients send (bytes, even of what is lost on the
//! way), every record that is given to a disk, how far each write is durable, starts and deaths of
//! processes with what the disk had, faults that begin, end or are skipped, what clients ask, and
//! in the end the state of each server, the clients' histories and the verdict. Not in it: what a
//! machine does inside itself, and the story's words.
//!
//! In the simulators' worlds it is what passes the seam of `accord-net` ([`crate::worlds`]): bytes
//! read and written, datagrams, connections, syncs; and the histories and the verdict, as here.

use crate::judge::Violation;
use crate::world::clock::WorldTime;
use crate::world::conns::{ToClient, ToServer};
use crate::world::event_kind::EventKind;
use crate::world::input::NodeInput;
use crate::world::trace::Trace;
use crate::world::who::Actor;
use accord_core::group::GroupEvent;
use accord_core::ids::ConnId;
use accord_core::protocol::{encode_client, encode_server};
use accord_core::server::{Input, Output};
use accord_core::wire::Encode;
use accord_models::History;
use bytes::Bytes;

/// A server is handed an input; deliveries and views go by [`group`].
pub fn input(trace: &mut Trace, now: WorldTime, who: Actor, input: &NodeInput) {
    match input {
        NodeInput::Datagram { from, bytes } => {
            trace.numbered(now, who, EventKind::Datagram, u64::from(*from), bytes);
        }
        NodeInput::Group(_) => {}
        NodeInput::Server(input) => server_input(trace, now, who, input),
        NodeInput::Conn(conn, what) => {
            trace.numbered(now, who, EventKind::Conn, conn.0, &up(what));
        }
        NodeInput::Timer => trace.event(now, who, EventKind::Timer, &[]),
    }
}

fn server_input(trace: &mut Trace, now: WorldTime, who: Actor, input: &Input) {
    match input {
        Input::Peer { from, message } => {
            trace.numbered(now, who, EventKind::Peer, u64::from(from.0), message);
        }
        Input::Stored { ticket } => trace.numbered(now, who, EventKind::Stored, ticket.0, &[]),
        Input::Written { conn, messages } => {
            let count = (*messages as u64).to_le_bytes();
            trace.numbered(now, who, EventKind::Input, conn.0, &count);
        }
        // What was worked out shows in what the server writes, sends and serves because of it.
        Input::JobDone(_) => trace.event(now, who, EventKind::Input, b"worked"),
        // Seldom: the words of all it has.
        other => trace.event(now, who, EventKind::Input, format!("{other:?}").as_bytes()),
    }
}

/// The group layer hands a server its next event.
pub fn group(trace: &mut Trace, now: WorldTime, who: Actor, event: &GroupEvent) {
    match event {
        GroupEvent::Deliver { from, payload } => {
            trace.numbered(now, who, EventKind::Delivery, u64::from(from.0), payload);
        }
        GroupEvent::View(view) => {
            let members = view.members.iter().flat_map(|member| member.0.to_le_bytes());
            let members: Vec<u8> = members.chain(view.id.to_bytes()).collect();
            trace.numbered(now, who, EventKind::View, view.id.seq, &members);
        }
    }
}

/// A server asks for something. What it sends is taken in where it is sent.
pub fn output(trace: &mut Trace, now: WorldTime, who: Actor, output: &Output) {
    let words = match output {
        Output::Persist { ticket, record } => {
            return trace.numbered(now, who, EventKind::Persist, ticket.0, &record.to_bytes());
        }
        Output::Multicast(payload) => {
            return trace.event(now, who, EventKind::Output, payload);
        }
        Output::Client { .. } | Output::Peer { .. } => return,
        Output::Job(job) => format!("work on {} bytes", job.bytes()),
        // Seldom: the words of all it has.
        other => format!("{other:?}"),
    };
    trace.event(now, who, EventKind::Output, words.as_bytes());
}

/// A client sends something to a server.
pub fn sent_up(trace: &mut Trace, now: WorldTime, client: u32, conn: ConnId, what: &ToServer) {
    trace.numbered(now, Actor::Client(client), EventKind::SentUp, conn.0, &up(what));
}

/// A server sends something to a client: also an answer.
pub fn sent_down(trace: &mut Trace, now: WorldTime, node: u32, conn: ConnId, what: &ToClient) {
    trace.numbered(now, Actor::Server(node), EventKind::SentDown, conn.0, &down(what));
}

/// A connection brings something to a client.
pub fn to_client(trace: &mut Trace, now: WorldTime, client: u32, conn: ConnId, what: &ToClient) {
    trace.numbered(now, Actor::Client(client), EventKind::ClientConn, conn.0, &down(what));
}

fn up(what: &ToServer) -> Bytes {
    match what {
        ToServer::Connect => Bytes::from_static(&[0]),
        ToServer::Message(message) => encode_client(message),
        ToServer::Closed => Bytes::from_static(&[2]),
    }
}

fn down(what: &ToClient) -> Bytes {
    match what {
        ToClient::Accepted => Bytes::from_static(&[0]),
        ToClient::Message(message) => encode_server(message),
        ToClient::Closed => Bytes::from_static(&[2]),
    }
}

/// What the clients of the workload at `number` saw.
pub fn history(trace: &mut Trace, now: WorldTime, number: usize, history: &History) {
    let text = history.to_string();
    trace.numbered(now, Actor::World, EventKind::History, number as u64, text.as_bytes());
}

/// The first property that did not hold, or none.
pub fn verdict(trace: &mut Trace, now: WorldTime, violation: Option<&Violation>) {
    let text = violation.map(ToString::to_string).unwrap_or_default();
    trace.event(now, Actor::World, EventKind::Verdict, text.as_bytes());
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
