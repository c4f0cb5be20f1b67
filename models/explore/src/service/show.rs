//! How states and actions of the model are shown.

use super::machines::{Conn, Parcel};
use super::world::{Action, State};
use std::collections::VecDeque;
use std::fmt::{self, Debug};

/// An action as a sentence.
pub(super) fn action(action: Action) -> String {
    match action {
        Action::Begin(user) => format!("client {user} begins its next operation"),
        Action::Deliver(node) => format!("{node} is delivered what waits for it"),
        Action::ServerReads(conn) => format!("the server reads what came over {conn}"),
        Action::ClientReads(conn) => format!("the client reads a message of {conn}"),
        Action::Break(conn, true) => format!("{conn} breaks, and what the client said is lost"),
        Action::Break(conn, false) => format!("{conn} breaks"),
        Action::ClientTimer(user) => format!("a timer of client {user} is due"),
        Action::ServerTimer(node) => format!("a timer of {node} is due"),
        Action::Form(loss) => format!("a view of all forms; lost: {loss:?}"),
    }
}

fn parcels<T: Debug>(queue: &VecDeque<Parcel<T>>) -> String {
    let name = |parcel: &Parcel<T>| match parcel {
        Parcel::Message(message) => {
            let text = format!("{message:?}");
            text.split([' ', '{', '(']).next().unwrap_or_default().to_owned()
        }
        Parcel::End => "end".to_owned(),
    };
    queue.iter().map(name).collect::<Vec<_>>().join(" ")
}

fn conn(f: &mut fmt::Formatter<'_>, conn: &Conn) -> fmt::Result {
    let half = |open| if open { "" } else { " (closed)" };
    write!(f, "client {}{}", conn.user, half(conn.client_open))?;
    write!(f, " to {}{}", conn.node, half(conn.server_open))?;
    write!(f, ", up [{}]", parcels(&conn.to_server))?;
    writeln!(f, ", down [{}]", parcels(&conn.to_client))
}

impl Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (node, host) in &self.hosts {
            let state = host.server.state();
            let sessions = state.sessions().map(|(id, session)| {
                let owner = session.owner();
                format!("{id} (attachment {}, at {owner:?})", session.generation())
            });
            let sessions: Vec<String> = sessions.collect();
            write!(f, "{node} at {}: applied {}", host.clock, host.server.applied())?;
            writeln!(f, ", {}, sessions {}", state.revision(), sessions.join(", "))?;
        }
        for (at, user) in self.users.iter().enumerate() {
            write!(f, "client {at} at {}: session {:?}", user.clock, user.client.session())?;
            let ready = if user.client.is_ready() { "attached" } else { "not attached" };
            write!(f, ", {ready}, saw {}, {} operations begun", user.client.seen(), user.begun)?;
            writeln!(f, ", unanswered {}, told {}", user.requests.len(), self.oracle.told(at))?;
        }
        for (id, it) in &self.conns {
            write!(f, "{id}: ")?;
            conn(f, it)?;
        }
        if let Some(flaw) = &self.flaw {
            writeln!(f, "BROKEN: {}: {}", flaw.property, flaw.detail)?;
        }
        Ok(())
    }
}
