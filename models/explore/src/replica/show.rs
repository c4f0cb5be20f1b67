//! How states and actions of the model are shown: a line for each server, a sentence for an action.

use super::world::{Action, State};
use accord_core::replica::io::{Body, Entry, commands};
use std::fmt::{self, Write};

/// An action as a sentence.
pub(super) fn action(action: &Action) -> String {
    match action {
        Action::Write(node) => format!("a client writes at {node}"),
        Action::Read(node) => format!("a client reads at {node}"),
        Action::Deliver(node) => format!("{node} is delivered what waits for it"),
        Action::Sync(node) => format!("the disk of {node} syncs"),
        Action::Peer(at) => format!("message {at} beside the group arrives"),
        Action::Timeout(node) => format!("{node} takes its request for a transfer for lost"),
        Action::Crash(node) => format!("{node} crashes and loses what it had not synced"),
        Action::Wipe(node) => format!("{node} crashes and loses its disk"),
        Action::Start(node) => format!("{node} starts"),
        Action::SwapBack(node) => format!("{node} starts with the disk it had before"),
        Action::Form(members, loss) => format!("a view of {members:?} forms; lost: {loss:?}"),
        Action::Change(node, change) => format!("{node} is asked for {change:?}"),
        Action::Recover(node) => format!("the cluster is recovered from {node}"),
        Action::Exchange(node) => format!("{node} starts with its other disk"),
        Action::Look(node) => format!("{node} looks at the image that it was sent"),
        Action::Pause(node) => format!("{node} stands still"),
        Action::Resume(node) => format!("{node} goes on"),
        Action::Damage(node) => format!("the state of {node} is damaged"),
    }
}

fn entry(entry: &Entry) -> String {
    let epoch = entry.epoch;
    match &entry.body {
        Body::Marker { .. } => format!("{epoch}:marker"),
        Body::Batch { commands: batch, .. } => {
            let written: Vec<u8> = commands(batch).map(|command| command[0]).collect();
            format!("{epoch}:{written:?}")
        }
        Body::Voters(set) if set.recovery_at(entry.index).is_some() => {
            format!("{epoch}:RECOVERY {:?}", set.voters)
        }
        Body::Voters(set) => format!("{epoch}:{:?}", set.voters),
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (node, disk) in &self.disks {
            let Some(server) = self.servers.get(node) else {
                writeln!(f, "{node} is down, {} records on its disk", disk.records.len())?;
                continue;
            };
            let status = server.replica.status();
            let view = self.group.view(*node);
            let mut line = format!("{node}");
            match view {
                Some(view) => write!(line, " in {} {:?}", view.id, view.members)?,
                None => line.push_str(" alone"),
            }
            match (status.epoch, status.closed) {
                (Some(epoch), _) if status.synced => write!(line, ", {epoch} open")?,
                (Some(epoch), _) => write!(line, ", {epoch} open, fetching")?,
                (None, closed) => write!(line, ", promised {}, {closed:?}", status.promised)?,
            }
            let log = server.replica.log();
            let from = log.base().index.0 + 1;
            let entries = (from..=log.last().index.0)
                .filter_map(|at| log.get(accord_core::ids::Index(at)).map(entry));
            let entries: Vec<String> = entries.collect();
            write!(line, ", log [{}]", entries.join(" "))?;
            write!(line, ", durable {}, commit {}", status.durable, status.commit)?;
            write!(line, ", unsynced {}", server.unsynced.len())?;
            if self.paused.contains(node) {
                line.push_str(", stands still");
            }
            if server.damaged {
                line.push_str(", damaged");
            }
            if let Some(reason) = &server.halted {
                write!(line, ", STOPPED: {reason}")?;
            }
            writeln!(f, "{line}")?;
        }
        if let Some(flaw) = &self.flaw {
            writeln!(f, "BROKEN: {}: {}", flaw.property, flaw.detail)?;
        }
        Ok(())
    }
}
