//! The words of the story: inputs and outputs of machines as people read them in a trace file.
//!
//! Called only when the story is told. Messages through the group are shown decoded, since the
//! cause of most violations is seen in who knew what of the order.

use crate::world::conns::{ToClient, ToServer};
use crate::world::input::NodeInput;
use accord_core::group::GroupEvent;
use accord_core::group::ring::datagram_kind;
use accord_core::ids::ConnId;
use accord_core::replica::message::{GroupMessage, PeerMessage};
use accord_core::server::{Input, Output};
use accord_core::wire::Decode;
use bytes::Bytes;
use std::fmt::Debug;

/// The longest line, in characters.
const LINE_CHARS_MAX: usize = 600;

fn short(what: &impl Debug) -> String {
    let text = format!("{what:?}");
    match text.char_indices().nth(LINE_CHARS_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

fn group_message(payload: &Bytes) -> String {
    match GroupMessage::from_payload(payload) {
        Ok(message) => short(&message),
        Err(error) => format!("{} bytes that are no message: {error}", payload.len()),
    }
}

/// What a message beside the group says.
pub fn peer_message(bytes: &Bytes) -> String {
    match PeerMessage::from_bytes(bytes) {
        Ok(message) => short(&message),
        Err(error) => format!("{} bytes that are no message: {error}", bytes.len()),
    }
}

/// What a datagram between rings is.
pub fn datagram(bytes: &Bytes) -> String {
    format!("{}, {} bytes", datagram_kind(bytes), bytes.len())
}

/// What a connection brings to its server.
pub fn to_server(conn: ConnId, what: &ToServer) -> String {
    match what {
        ToServer::Connect => format!("{conn} connects"),
        ToServer::Message(message) => format!("{conn} {}", short(message)),
        ToServer::Closed => format!("{conn} closes"),
    }
}

/// What a connection brings to its client.
pub fn to_client(conn: ConnId, what: &ToClient) -> String {
    match what {
        ToClient::Accepted => format!("{conn} is accepted"),
        ToClient::Message(message) => format!("{conn} {}", short(message)),
        ToClient::Closed => format!("{conn} is closed"),
    }
}

/// What a server is handed. `None`: not worth a line.
pub fn input(input: &NodeInput) -> Option<String> {
    match input {
        // The ring's own traffic would drown everything else.
        NodeInput::Datagram { .. } | NodeInput::Timer => None,
        NodeInput::Group(event) => Some(group(event)),
        NodeInput::Server(input) => match &**input {
            Input::Peer { from, message } => Some(format!("<- {from} {}", peer_message(message))),
            Input::Written { .. } => None,
            other => Some(format!("<- {}", short(other))),
        },
        NodeInput::Conn(conn, what) => Some(format!("<- {}", to_server(*conn, what))),
    }
}

/// What a server's group layer delivers.
pub fn group(event: &GroupEvent) -> String {
    match event {
        GroupEvent::View(view) => format!("<= view {} {:?}", view.id, view.members),
        GroupEvent::Deliver { from, payload } => format!("<= {from} {}", group_message(payload)),
    }
}

/// What a server asks.
pub fn output(output: &Output) -> String {
    match output {
        Output::Multicast(payload) => format!("=> {}", group_message(payload)),
        Output::Peer { to, message } => format!("-> {to} {}", peer_message(message)),
        Output::Client { conn, message } => format!("-> {conn} {}", short(message)),
        other => format!("-> {}", short(other)),
    }
}

/// What a connection brings to a client, as the client sees it.
pub fn at_client(what: &ToClient) -> String {
    match what {
        ToClient::Accepted => "is connected".to_owned(),
        ToClient::Message(message) => format!("<- {}", short(message)),
        ToClient::Closed => "is disconnected".to_owned(),
    }
}
