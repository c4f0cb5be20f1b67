//! The clients of a trace, and how what they receive is shown.

use super::cluster::Cluster;
use accord_core::ids::{ConnId, SessionId};
use accord_core::protocol::{ClientMessage, ServerMessage};
use accord_core::state::{Event, KeyEventKind, MemberEventKind, Outcome, ReadResult, TxnOutcome};
use std::collections::{BTreeMap, BTreeSet};

/// One client.
#[derive(Default)]
pub struct Client {
    /// Its connections, the present one last.
    pub conns: Vec<ConnId>,
    pub session: Option<SessionId>,
    /// The requests that it made, from number 1.
    pub requests: Vec<ClientMessage>,
    pub reads: u64,
    pub watches: u64,
    pub pings: u64,
}

/// The servers and their clients.
#[derive(Default)]
pub struct World {
    pub cluster: Option<Cluster>,
    pub clients: BTreeMap<String, Client>,
    /// True while what servers multicast waits.
    pub holding: bool,
    /// Connections whose end was shown.
    ended: BTreeSet<ConnId>,
    pub output: String,
}

impl World {
    pub fn cluster(&mut self) -> Result<&mut Cluster, String> {
        self.cluster.as_mut().ok_or_else(|| "the first command is cluster".into())
    }

    pub fn client(&mut self, name: &str) -> Result<&mut Client, String> {
        self.clients.get_mut(name).ok_or_else(|| format!("there is no client {name}"))
    }

    /// The present connection of a client.
    pub fn conn(&mut self, name: &str) -> Result<ConnId, String> {
        let conn = self.client(name)?.conns.last().copied();
        conn.ok_or_else(|| format!("{name} has no connection"))
    }

    /// A client says something; unless servers hold back, what follows is delivered.
    pub fn tell(&mut self, name: &str, message: ClientMessage) -> Result<(), String> {
        let conn = self.conn(name)?;
        let holding = self.holding;
        let cluster = self.cluster()?;
        match holding {
            true => cluster.say(conn, message),
            false => cluster.tell(conn, message),
        }
        Ok(())
    }

    /// Shows what the clients received. On a connection of before, the client's name has a mark.
    pub fn show_received(&mut self) {
        let Some(cluster) = &mut self.cluster else { return };
        for (name, client) in &mut self.clients {
            let last = client.conns.last().copied();
            for conn in client.conns.clone() {
                let who = if Some(conn) == last { name.clone() } else { format!("{name}'") };
                for message in cluster.take(conn) {
                    let session = match message {
                        ServerMessage::Opened { session, .. } => Some(session),
                        _ => client.session,
                    };
                    client.session = session;
                    self.output.push_str(&format!("{who} <- {}\n", said(&message)));
                }
                if let Some(reason) = cluster.closed(conn)
                    && self.ended.insert(conn)
                {
                    self.output.push_str(&format!("{who}: hung up on: {reason}\n"));
                }
            }
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).to_string()
}

fn said(message: &ServerMessage) -> String {
    match message {
        ServerMessage::Opened { session, timeout_ms, revision, .. } => {
            format!("opened {session} for {timeout_ms}ms at {revision}")
        }
        ServerMessage::Attached { session, generation, revision, .. } => {
            format!("attached {session}, attachment {generation}, at {revision}")
        }
        ServerMessage::SessionRefused { reason } => format!("session refused: {reason}"),
        ServerMessage::SessionClosed { reason } => format!("session over: {reason}"),
        ServerMessage::Reply { request, outcome } => format!("{request}: {}", outcome_of(outcome)),
        ServerMessage::RequestRefused { request, reason } => format!("{request} refused: {reason}"),
        ServerMessage::ReadReply { read, revision, result } => {
            format!("read {read} at {revision}: {}", result_of(result))
        }
        ServerMessage::ReadRefused { read, reason } => format!("read {read} refused: {reason}"),
        ServerMessage::Watching { watch, from, members } => {
            let members = members.as_ref().map(|them| {
                let them: Vec<String> = them.iter().map(ToString::to_string).collect();
                format!(", members [{}]", them.join(" "))
            });
            format!("{watch} tells what comes after {from}{}", members.unwrap_or_default())
        }
        ServerMessage::WatchRefused { watch, reason } => format!("{watch} refused: {reason}"),
        ServerMessage::Events { watch, revision, events } => {
            let events: Vec<String> = events.iter().map(event).collect();
            format!("{watch} at {revision}: {}", events.join(", "))
        }
        ServerMessage::WatchLost { watch, oldest } => {
            format!("{watch} is lost: the history begins at {oldest}")
        }
        ServerMessage::Status { primary: true } => "the server is in the primary component".into(),
        ServerMessage::Status { primary: false } => "the server has no primary component".into(),
        ServerMessage::Pong { nonce, revision } => format!("pong {nonce} at {revision}"),
    }
}

fn outcome_of(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Txn(TxnOutcome::Committed { revision, .. }) => format!("committed at {revision}"),
        other => format!("{other:?}"),
    }
}

fn result_of(result: &ReadResult) -> String {
    match result {
        ReadResult::Value { value, .. } => text(value),
        other => format!("{other:?}"),
    }
}

fn event(event: &Event) -> String {
    match event {
        Event::Key(it) => {
            let kind = match it.kind {
                KeyEventKind::Created => "created",
                KeyEventKind::Changed => "changed",
                KeyEventKind::Deleted => "deleted",
                KeyEventKind::Copied => "copied",
            };
            format!("{} {kind} {}", text(&it.key), text(&it.data)).trim_end().to_string()
        }
        Event::Tree(it) => format!("{:?} {}", it.kind, text(&it.path)),
        Event::Member(it) => match it.kind {
            MemberEventKind::Joined => format!("{} joined", it.session),
            MemberEventKind::Left => format!("{} left", it.session),
        },
    }
}
