//! How states and actions of the model are shown.

use super::world::{Action, Datagram, State};
use std::fmt;

/// An action as a sentence.
pub(super) fn action(action: Action) -> String {
    match action {
        Action::Submit(node) => format!("{node} submits a message"),
        Action::Arrive(at) => format!("datagram {at} arrives"),
        Action::Lose(at) => format!("datagram {at} is lost"),
        Action::Copy(at) => format!("datagram {at} arrives, and a copy of it will come late"),
        Action::Late(at) => format!("late copy {at} arrives"),
        Action::Timer(node) => format!("a timer of {node} is due"),
        Action::Crash(node) => format!("{node} crashes"),
    }
}

/// What a datagram is, as its second byte says.
fn datagram((to, from, bytes): &Datagram) -> String {
    let kind = match bytes.get(1) {
        Some(1) => "data",
        Some(2) => "token",
        Some(3) => "commit token",
        Some(4) => "presence",
        Some(5) => "wake-up",
        Some(6) => "farewell",
        _ => "unknown",
    };
    format!("{kind} {from}>{to}")
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "at {}", self.now)?;
        for (node, member) in &self.members {
            let status = member.ring.status();
            let view = &status.view;
            write!(f, "{node}: {:?}", status.stage)?;
            write!(f, " in {} {:?}, {} delivered", view.id, view.members, member.delivered)?;
            write!(f, ", {} to send, {} kept", status.pending_messages, status.stored_packets)?;
            let next = member.ring.next_deadline();
            writeln!(f, ", next timer {next:?}")?;
        }
        for (name, set) in [("on their way", &self.flying), ("late", &self.late)] {
            if !set.is_empty() {
                let shown: Vec<String> = set.iter().map(datagram).collect();
                writeln!(f, "{name}: {}", shown.join(", "))?;
            }
        }
        if let Some(flaw) = &self.flaw {
            writeln!(f, "BROKEN: {}: {}", flaw.property, flaw.detail)?;
        }
        Ok(())
    }
}
