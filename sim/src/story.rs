//! The words of the story: inputs and outputs of machines as people read them in a trace file.
//!
//! Called only when the story is told. Messages through the group are shown decoded, since the
//! cause of most violations is seen in who knew what of the order.

use crate::conns::{ToClient, ToServer};
use crate::env::Env;
use crate::node::NodeInput;
use crate::trace::Actor;
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

/// Tells what a server is told.
pub fn tell_input(env: &mut Env, who: Actor, input: &NodeInput) {
    let line = match input {
        // The ring's own traffic would drown everything else.
        NodeInput::Datagram { .. } | NodeInput::Timer => return,
        NodeInput::Group(event) => return tell_group(env, who, event),
        NodeInput::Server(input) => match &**input {
            Input::Peer { from, message } => format!("<- {from} {}", peer_message(message)),
            Input::Written { .. } => return,
            other => format!("<- {}", short(other)),
        },
        NodeInput::Conn(conn, what) => format!("<- {}", to_server(*conn, what)),
    };
    env.tell(who, || line);
}

/// Tells what a server's group layer delivers.
pub fn tell_group(env: &mut Env, who: Actor, event: &GroupEvent) {
    let line = match event {
        GroupEvent::View(view) => format!("<= view {} {:?}", view.id, view.members),
        GroupEvent::Deliver { from, payload } => format!("<= {from} {}", group_message(payload)),
    };
    env.tell(who, || line);
}

/// Tells what a server asks.
pub fn tell_output(env: &mut Env, who: Actor, output: &Output) {
    let line = match output {
        Output::Multicast(payload) => format!("=> {}", group_message(payload)),
        Output::Peer { to, message } => format!("-> {to} {}", peer_message(message)),
        Output::Client { conn, message } => format!("-> {conn} {}", short(message)),
        other => format!("-> {}", short(other)),
    };
    env.tell(who, || line);
}

/// Tells what a connection brings to a client.
pub fn tell_client(env: &mut Env, who: Actor, what: &ToClient) {
    let line = match what {
        ToClient::Accepted => "is connected".to_owned(),
        ToClient::Message(message) => format!("<- {}", short(message)),
        ToClient::Closed => "is disconnected".to_owned(),
    };
    env.tell(who, || line);
}
